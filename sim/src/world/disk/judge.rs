//! What a power cut leaves of what was not synced (rows D2, D3, D4, D9).
//!
//! Each pending write is kept, dropped, or kept in a random subset of its sectors; a dropped
//! write that made the file longer may leave the length behind, and then zeroes or garbage;
//! truncations are kept or dropped; changes of names likewise, or only a first part of them
//! as a journal would keep. Nothing that was synced is touched. What is left is durable.

use super::store::{Change, Inode, NameChange, SECTOR_BYTES, Store, put};
use crate::world::keyed::Key;
use std::ops::Range;

/// Of the sectors that a file's length covers though nobody wrote them, one in so many holds
/// garbage.
const GARBAGE_IN: u64 = 8;

/// What becomes of one change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Kept,
    Dropped,
    /// Dropped, and yet the file is as long as if it had been kept.
    LengthOnly,
    Torn,
}

fn fate(key: Key) -> Fate {
    match key.below(8) {
        0..=2 => Fate::Kept,
        3..=4 => Fate::Dropped,
        5 => Fate::LengthOnly,
        _ => Fate::Torn,
    }
}

/// Judges a whole directory.
pub(super) fn power_cut(store: &mut Store, key: Key) {
    judge_names(store, key.and(1));
    for (number, file) in &mut store.inodes {
        judge_file(file, key.and(2).and(*number));
    }
    store.names = store.durable_names.clone();
    store.collect();
}

fn judge_names(store: &mut Store, key: Key) {
    let changes: Vec<NameChange> = store.name_changes.drain(..).collect();
    let as_journal = key.chance(500);
    let kept_first = key.and(1).upto(changes.len() as u64);
    for (nth, change) in (0..).zip(changes) {
        let kept = match as_journal {
            true => nth < kept_first,
            false => key.and(2).and(nth).chance(500),
        };
        if kept {
            change.apply(&mut store.durable_names);
        }
    }
}

fn judge_file(file: &mut Inode, key: Key) {
    let changes: Vec<Change> = file.pending.drain(..).collect();
    for (nth, change) in (0..).zip(changes) {
        let key = key.and(nth);
        match (&change, fate(key)) {
            (_, Fate::Kept) => change.apply(&mut file.durable),
            (_, Fate::Dropped) | (Change::Truncate { .. }, Fate::LengthOnly | Fate::Torn) => {}
            (Change::Write { offset, data }, Fate::LengthOnly) => {
                lengthen(&mut file.durable, offset + data.len() as u64, key.and(1));
            }
            (Change::Write { offset, data }, Fate::Torn) => {
                tear(&mut file.durable, *offset, data, key.and(2));
            }
        }
    }
    file.live = file.durable.clone();
}

/// Keeps some sectors of a write.
fn tear(durable: &mut Vec<u8>, offset: u64, data: &[u8], key: Key) {
    let mut longest = 0;
    for (nth, range) in (0..).zip(sectors(offset, data.len() as u64)) {
        if key.and(nth).chance(500) {
            let part = (range.start - offset) as usize..(range.end - offset) as usize;
            lengthen(durable, range.start, key.and(nth).and(1));
            put(durable, range.start, &data[part]);
            longest = range.end;
        }
    }
    if key.chance(300) {
        lengthen(
            durable,
            longest.max(offset + data.len() as u64),
            key.and(u64::MAX),
        );
    }
}

/// The length was written, the bytes were not: zeroes, or here and there garbage.
fn lengthen(durable: &mut Vec<u8>, len: u64, key: Key) {
    let old = durable.len() as u64;
    if len <= old {
        return;
    }
    durable.resize(len as usize, 0);
    for (nth, range) in (0..).zip(sectors(old, len - old)) {
        let key = key.and(nth);
        if key.below(GARBAGE_IN) == 0 {
            garbage(&mut durable[range.start as usize..range.end as usize], key);
        }
    }
}

/// Fills with bytes that mean nothing.
pub(super) fn garbage(bytes: &mut [u8], key: Key) {
    for (nth, part) in (0..).zip(bytes.chunks_mut(8)) {
        let word = key.and(nth).word().to_le_bytes();
        part.copy_from_slice(&word[..part.len()]);
    }
}

/// Cuts a stretch of a file at the borders of sectors.
fn sectors(offset: u64, len: u64) -> impl Iterator<Item = Range<u64>> {
    let end = offset + len;
    let mut start = offset;
    std::iter::from_fn(move || {
        let next = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let range = start..next.min(end);
        start = range.end;
        (range.start < range.end).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::BTreeSet;

    fn synced() -> Store {
        let mut store = Store::default();
        store.create("log").unwrap();
        store.write("log", 0, Bytes::from(vec![1; 1000])).unwrap();
        store.sync("log").unwrap();
        store.sync_dir();
        store
    }

    fn cut(store: &Store, seed: u64) -> Store {
        let mut store = store.clone();
        power_cut(&mut store, Key::new(seed, "test"));
        store
    }

    #[test]
    fn what_was_synced_is_never_touched() {
        let store = synced();
        for seed in 0..200 {
            assert_eq!(cut(&store, seed).durable("log"), Some(&[1; 1000][..]));
        }
        let mut store = store;
        store
            .write("log", 1000, Bytes::from(vec![2; 3000]))
            .unwrap();
        for seed in 0..200 {
            let after = cut(&store, seed);
            let log = after.durable("log").unwrap();
            assert!(log.len() >= 1000 && log[..1000] == [1; 1000]);
            assert_eq!(after.read("log", 0, 9999).unwrap(), log);
        }
    }

    #[test]
    fn unsynced_write_is_kept_dropped_torn_or_only_as_long() {
        let mut store = synced();
        store
            .write("log", 1000, Bytes::from(vec![2; 2000]))
            .unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..300 {
            let after = cut(&store, seed);
            let tail = &after.durable("log").unwrap()[1000..];
            let twos = tail.iter().filter(|byte| **byte == 2).count();
            let zeroes = tail.iter().filter(|byte| **byte == 0).count();
            seen.insert(match (tail.len(), twos, zeroes) {
                (0, ..) => "dropped",
                (2000, 2000, _) => "kept",
                (2000, 0, 2000) => "zeroes",
                (_, twos, zeroes) if twos > 0 && zeroes > 0 => "torn",
                _ => "other",
            });
        }
        let all = ["dropped", "kept", "other", "torn", "zeroes"];
        assert_eq!(seen, all.into_iter().collect());
    }

    #[test]
    fn later_write_may_outlive_an_earlier_one() {
        let mut store = synced();
        store.write("log", 1024, Bytes::from(vec![2; 512])).unwrap();
        store.write("log", 1536, Bytes::from(vec![3; 512])).unwrap();
        let reordered = (0..300).any(|seed| {
            let after = cut(&store, seed);
            let log = after.durable("log").unwrap();
            log.len() == 2048 && log[1024..1536] == [0; 512] && log[1536..] == [3; 512]
        });
        assert!(reordered);
    }

    #[test]
    fn rename_may_come_before_the_data_and_may_be_lost() {
        let mut store = synced();
        store.create("tmp").unwrap();
        store.write("tmp", 0, Bytes::from(vec![4; 100])).unwrap();
        store.rename("tmp", "snap").unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..300 {
            let after = cut(&store, seed);
            let whole = |name: &str| after.durable(name).map(|bytes| bytes == [4; 100]);
            seen.insert((whole("tmp"), whole("snap")));
        }
        assert!(seen.contains(&(None, Some(false))), "name before data");
        assert!(seen.contains(&(None, Some(true))), "both");
        assert!(seen.contains(&(Some(true), None)), "rename lost");
        assert!(seen.contains(&(None, None)), "all lost");
    }

    #[test]
    fn sectors_follow_the_platter_and_not_the_write() {
        let cuts: Vec<_> = sectors(500, 600).collect();
        assert_eq!(cuts, [500..512, 512..1024, 1024..1100]);
        assert_eq!(sectors(512, 0).count(), 0);
    }
}
