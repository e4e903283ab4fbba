//! A map from transactions to what was first said of them.
//!
//! Zxids come in runs: within an epoch the counters follow each other. So each epoch has a
//! list with a place for every counter, and nothing is searched for. A counter far beyond the
//! others (a broken server may say anything) goes to a sorted map, so that memory is bounded
//! by how much is said and not by what.

use gamekeeper_core::base::{Epoch, Zxid};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Empty places a list may gain at once.
const GAP_MAX: usize = 1 << 12;

/// See the module's head.
#[derive(Debug)]
pub struct Ledger<T> {
    epochs: BTreeMap<Epoch, Vec<Option<T>>>,
    stray: BTreeMap<Zxid, T>,
    count: u64,
}

impl<T> Default for Ledger<T> {
    fn default() -> Ledger<T> {
        Ledger {
            epochs: BTreeMap::new(),
            stray: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<T> Ledger<T> {
    /// How many transactions something was said of.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What was first said of a transaction; `value`, if nothing was.
    pub fn first(&mut self, zxid: Zxid, value: T) -> &T {
        let counter = zxid.counter() as usize;
        let list = self.epochs.entry(zxid.epoch()).or_default();
        if counter >= list.len() {
            if counter - list.len() > GAP_MAX || self.stray.contains_key(&zxid) {
                return self.stray.entry(zxid).or_insert_with(|| {
                    self.count += 1;
                    value
                });
            }
            list.resize_with(counter + 1, || None);
        }
        let place = &mut list[counter];
        if place.is_none() {
            // It may have been a stray before the list grew up to it.
            *place = Some(match self.stray.remove(&zxid) {
                Some(earlier) => earlier,
                None => {
                    self.count += 1;
                    value
                }
            });
        }
        place.as_ref().expect("just filled")
    }

    /// What was first said of a transaction.
    pub fn get(&self, zxid: Zxid) -> Option<&T> {
        let list = self.epochs.get(&zxid.epoch())?;
        let listed = list.get(zxid.counter() as usize).and_then(Option::as_ref);
        match self.stray.is_empty() {
            true => listed,
            false => listed.or_else(|| self.stray.get(&zxid)),
        }
    }

    /// The last transaction of a range of which anything was said.
    pub fn last_of(&self, range: RangeInclusive<Zxid>) -> Option<Zxid> {
        let (first, last) = (*range.start(), *range.end());
        if first > last {
            return None;
        }
        let listed = self
            .epochs
            .range(first.epoch()..=last.epoch())
            .rev()
            .find_map(|(epoch, list)| {
                let end = match *epoch == last.epoch() {
                    true => list.len().min(last.counter() as usize + 1),
                    false => list.len(),
                };
                let begin = match *epoch == first.epoch() {
                    true => end.min(first.counter() as usize),
                    false => 0,
                };
                let at = list[begin..end].iter().rposition(Option::is_some)?;
                Some(Zxid::new(*epoch, (begin + at) as u32))
            });
        let stray = self.stray.range(range).next_back().map(|(zxid, _)| *zxid);
        listed.max(stray)
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::z;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_said_first_stays() {
        let mut ledger = Ledger::default();
        assert_eq!(*ledger.first(z(1, 3), "a"), "a");
        assert_eq!(*ledger.first(z(1, 3), "b"), "a");
        assert_eq!(
            (ledger.get(z(1, 3)), ledger.get(z(1, 2))),
            (Some(&"a"), None)
        );
        assert_eq!(ledger.count(), 1);
    }

    #[test]
    fn counter_out_of_the_blue_takes_no_room_for_those_before_it() {
        let mut ledger = Ledger::default();
        ledger.first(z(1, u32::MAX), 7);
        assert!(ledger.epochs[&Epoch(1)].is_empty());
        assert_eq!(ledger.get(z(1, u32::MAX)), Some(&7));
        assert_eq!(ledger.last_of(Zxid::ZERO..=z(2, 0)), Some(z(1, u32::MAX)));
    }

    /// Mostly close together, so that ends of ranges fall on what was said.
    fn place() -> impl Strategy<Value = (u32, u32)> {
        (0u32..4, prop_oneof![3 => 0u32..30, 1 => 0u32..20_000])
    }

    proptest! {
        #[test]
        fn ledger_says_what_a_sorted_map_says(
            said in prop::collection::vec(place(), 0..60),
            asked in prop::collection::vec((place(), place()), 20),
        ) {
            let (mut ledger, mut map) = (Ledger::default(), BTreeMap::new());
            for (n, (epoch, counter)) in said.into_iter().enumerate() {
                let zxid = z(epoch, counter);
                let expected = *map.entry(zxid).or_insert(n);
                prop_assert_eq!(*ledger.first(zxid, n), expected);
            }
            prop_assert_eq!(ledger.count(), map.len() as u64);
            for ((e1, c1), (e2, c2)) in asked {
                let (from, to) = (z(e1, c1), z(e2, c2));
                prop_assert_eq!(ledger.get(from), map.get(&from));
                let last = (from <= to)
                    .then(|| map.range(from..=to).next_back().map(|(zxid, _)| *zxid))
                    .flatten();
                prop_assert_eq!(ledger.last_of(from..=to), last);
            }
        }
    }
}
