//! The files of one directory: what programs see, and what is on the platter, apart.
//!
//! Each file is an inode with live bytes, durable bytes and the ordered changes between them;
//! the directory has live names, durable names and the ordered changes between those. It knows
//! no time, no lane and no fault but damage; those live in the parent.
//!
//! What always holds: with no change pending and no failed sync behind it, live and durable
//! bytes of a file are equal; a returned sync leaves no change of its kind pending. Answers to
//! section 5 of the fault model.

use bytes::Bytes;
use gamekeeper_core::base::DiskError;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a disk writes whole or not at all, bytes.
pub const SECTOR_BYTES: u64 = 512;

/// A change of a file's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Write { offset: u64, data: Bytes },
    Truncate { len: u64 },
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => put(bytes, *offset, data),
            Change::Truncate { len } => bytes.resize(*len as usize, 0),
        }
    }
}

/// Writes at an offset; a gap before it reads as zeroes. Nothing written extends nothing.
pub(super) fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let (start, end) = (offset as usize, offset as usize + data.len());
    if start == bytes.len() {
        bytes.extend_from_slice(data);
        return;
    }
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

/// One file, whatever its names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
    /// Sectors that cannot be read until they are written again.
    pub(super) unreadable: BTreeSet<u64>,
    /// Durable ranges that were damaged and not durably written since.
    rotten: Vec<Range<u64>>,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        match &change {
            Change::Write { offset, data } => {
                let whole =
                    offset.div_ceil(SECTOR_BYTES)..(offset + data.len() as u64) / SECTOR_BYTES;
                self.unreadable.retain(|sector| !whole.contains(sector));
            }
            Change::Truncate { len } => {
                let kept = len.div_ceil(SECTOR_BYTES);
                self.unreadable.retain(|sector| *sector < kept);
            }
        }
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
            let kept = |rotten: &Range<u64>| match &change {
                Change::Write { offset, data } => {
                    rotten.start < *offset || rotten.end > offset + data.len() as u64
                }
                Change::Truncate { len } => rotten.start < *len,
            };
            self.rotten.retain(kept);
        }
    }

    fn is_rotten(&self) -> bool {
        !self.rotten.is_empty() || !self.unreadable.is_empty()
    }
}

/// A change of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NameChange {
    Link {
        name: String,
        inode: u64,
    },
    Unlink {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        inode: u64,
    },
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink { name } => {
                names.remove(name);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// Every file of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Store {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) name_changes: Vec<NameChange>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
}

impl Store {
    fn file_mut(&mut self, name: &str) -> Result<&mut Inode, DiskError> {
        let inode = self.names.get(name).ok_or(DiskError::NotFound)?;
        let file = self.inodes.get_mut(inode);
        Ok(file.expect("a name means an inode that exists"))
    }

    /// The file of a live name.
    pub(super) fn file(&self, name: &str) -> Result<&Inode, DiskError> {
        let inode = self.names.get(name).ok_or(DiskError::NotFound)?;
        Ok(&self.inodes[inode])
    }

    pub(super) fn create(&mut self, name: &str) -> Result<(), DiskError> {
        if self.names.contains_key(name) {
            return Err(DiskError::Exists);
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.rename_by(NameChange::Link {
            name: name.to_string(),
            inode,
        });
        Ok(())
    }

    pub(super) fn write(&mut self, name: &str, offset: u64, data: Bytes) -> Result<(), DiskError> {
        let file = self.file_mut(name)?;
        if !data.is_empty() {
            file.change(Change::Write { offset, data });
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        self.file_mut(name)?.change(Change::Truncate { len });
        Ok(())
    }

    pub(super) fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.file_mut(name)?.sync();
        Ok(())
    }

    /// A sync that fails (row D5): each pending change is kept or dropped as `keeps` says, and
    /// all are marked clean; the live bytes stay visible.
    pub(super) fn sync_badly(
        &mut self,
        name: &str,
        mut keeps: impl FnMut(u64) -> bool,
    ) -> Result<(), DiskError> {
        let file = self.file_mut(name)?;
        for (nth, change) in file.pending.drain(..).enumerate() {
            if keeps(nth as u64) {
                change.apply(&mut file.durable);
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let inode = *self.names.get(from).ok_or(DiskError::NotFound)?;
        if from != to {
            self.rename_by(NameChange::Rename {
                from: from.to_string(),
                to: to.to_string(),
                inode,
            });
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), DiskError> {
        self.file(name)?;
        self.rename_by(NameChange::Unlink {
            name: name.to_string(),
        });
        Ok(())
    }

    fn rename_by(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    pub(super) fn sync_dir(&mut self) {
        for change in self.name_changes.drain(..) {
            change.apply(&mut self.durable_names);
        }
        self.collect();
    }

    pub(super) fn read(&self, name: &str, offset: u64, len: u64) -> Result<Bytes, DiskError> {
        let file = self.file(name)?;
        let size = file.live.len() as u64;
        let start = offset.min(size);
        let end = start.saturating_add(len).min(size);
        let sectors = start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        if start < end && file.unreadable.range(sectors).next().is_some() {
            return Err(DiskError::Io);
        }
        Ok(Bytes::copy_from_slice(
            &file.live[start as usize..end as usize],
        ))
    }

    /// Live names and lengths.
    pub(super) fn list(&self) -> Vec<(String, u64)> {
        let length = |inode: &u64| self.inodes[inode].live.len() as u64;
        (self.names.iter())
            .map(|(name, inode)| (name.clone(), length(inode)))
            .collect()
    }

    /// Bytes that live files take up.
    pub(super) fn used(&self) -> u64 {
        let used = self.names.values();
        used.map(|inode| self.inodes[inode].live.len() as u64).sum()
    }

    /// The durable bytes under a durable name.
    pub(super) fn durable(&self, name: &str) -> Option<&[u8]> {
        let inode = self.durable_names.get(name)?;
        Some(&self.inodes[inode].durable)
    }

    /// Damages durable bytes, and what is visible of them: as if the cache had let them go.
    /// The part of the range past the durable end is left alone; false when nothing is left.
    pub(super) fn damage(
        &mut self,
        name: &str,
        range: Range<u64>,
        mut hurt: impl FnMut(&mut [u8]),
    ) -> bool {
        let Some(inode) = self.durable_names.get(name) else {
            return false;
        };
        let file = self.inodes.get_mut(inode).expect("a name means an inode");
        let start = range.start as usize;
        let end = (range.end as usize).min(file.durable.len());
        if start >= end {
            return false;
        }
        hurt(&mut file.durable[start..end]);
        file.rotten.push(start as u64..end as u64);
        let visible = end.min(file.live.len());
        if start < visible {
            let (live, durable) = (&mut file.live, &file.durable);
            live[start..visible].copy_from_slice(&durable[start..visible]);
        }
        true
    }

    /// Makes the sectors of a durable range unreadable; false when there are none.
    pub(super) fn make_unreadable(&mut self, name: &str, range: Range<u64>) -> bool {
        let Some(inode) = self.durable_names.get(name) else {
            return false;
        };
        let file = self.inodes.get_mut(inode).expect("a name means an inode");
        let end = range.end.min(file.durable.len() as u64);
        if range.start >= end {
            return false;
        }
        let sectors = range.start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        file.unreadable.extend(sectors);
        true
    }

    /// True while a file that a name can reach holds damage.
    pub(super) fn is_rotten(&self) -> bool {
        self.inodes.values().any(Inode::is_rotten)
    }

    /// The durable end of a file is gone, without a trace (row D14).
    pub(super) fn lose_tail(&mut self, name: &str, from: u64) -> bool {
        let Some(inode) = self.durable_names.get(name) else {
            return false;
        };
        let file = self.inodes.get_mut(inode).expect("a name means an inode");
        let loses = (from as usize) < file.durable.len();
        file.durable.truncate(from as usize);
        file.live.truncate(from as usize);
        file.pending.clear();
        loses
    }

    /// Forgets inodes that no name can reach any more.
    pub(super) fn collect(&mut self) {
        let mut reached: BTreeSet<u64> = self.names.values().copied().collect();
        reached.extend(self.durable_names.values());
        for change in &self.name_changes {
            match change {
                NameChange::Link { inode, .. } | NameChange::Rename { inode, .. } => {
                    reached.insert(*inode);
                }
                NameChange::Unlink { .. } => {}
            }
        }
        self.inodes.retain(|inode, _| reached.contains(inode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(store: &mut Store, name: &str, text: &'static [u8]) {
        store.create(name).unwrap();
        store.write(name, 0, Bytes::from_static(text)).unwrap();
    }

    #[test]
    fn durable_is_what_was_synced_under_a_synced_name() {
        let mut store = Store::default();
        written(&mut store, "a", b"one");
        assert_eq!(store.durable("a"), None);
        store.sync_dir();
        assert_eq!(store.durable("a"), Some(&b""[..]));
        store.sync("a").unwrap();
        assert_eq!(store.durable("a"), Some(&b"one"[..]));
        store.write("a", 1, Bytes::from_static(b"XX")).unwrap();
        assert_eq!(store.durable("a"), Some(&b"one"[..]));
        assert_eq!(store.read("a", 0, 9), Ok(Bytes::from_static(b"oXX")));
    }

    #[test]
    fn failed_sync_leaves_the_bytes_visible_and_clean() {
        let mut store = Store::default();
        written(&mut store, "a", b"one");
        store.sync_dir();
        store.sync_badly("a", |_| false).unwrap();
        assert_eq!(store.read("a", 0, 9), Ok(Bytes::from_static(b"one")));
        store.sync("a").unwrap();
        assert_eq!(store.durable("a"), Some(&b""[..]), "clean is not dirty");
    }

    #[test]
    fn replaced_file_lives_on_under_its_durable_name() {
        let mut store = Store::default();
        written(&mut store, "old", b"old");
        store.sync("old").unwrap();
        store.sync_dir();
        written(&mut store, "new", b"new");
        store.sync("new").unwrap();
        store.rename("new", "old").unwrap();
        assert_eq!(store.durable("old"), Some(&b"old"[..]));
        assert_eq!(store.read("old", 0, 9), Ok(Bytes::from_static(b"new")));
        store.sync_dir();
        assert_eq!(store.durable("old"), Some(&b"new"[..]));
        assert_eq!(store.inodes.len(), 1);
    }

    #[test]
    fn unreadable_sector_is_an_error_until_it_is_written_again() {
        let mut store = Store::default();
        store.create("a").unwrap();
        store.write("a", 0, Bytes::from(vec![7; 1500])).unwrap();
        store.sync("a").unwrap();
        store.sync_dir();
        assert!(store.make_unreadable("a", 600..601));
        assert!(store.read("a", 0, 512).is_ok());
        assert_eq!(store.read("a", 0, 513), Err(DiskError::Io));
        assert_eq!(store.read("a", 1023, 1), Err(DiskError::Io));
        assert!(store.read("a", 1024, 100).is_ok());
        store.write("a", 512, Bytes::from(vec![8; 512])).unwrap();
        assert!(store.read("a", 0, 1500).is_ok());
    }
}
