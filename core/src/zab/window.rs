//! The end of the log that is kept in memory: everything logged and not delivered, and a
//! bounded stretch of what was.
//!
//! What always holds: entries are contiguous from the floor; the delivered point lies
//! between floor and last; no cut reaches below it. Answers to `ZKDatabase.committedLog`,
//! `Leader.outstandingProposals` and the pending list of a follower, which here are one.

use crate::base::Zxid;
use crate::base::limits::HISTORY_EPOCHS_MAX;
use crate::log::Entry;
use std::collections::VecDeque;

/// The in-memory end of the log.
#[derive(Clone, Debug)]
pub struct Window {
    /// Everything up to here is in the state and no longer (or never was) in `entries`.
    floor: Zxid,
    entries: VecDeque<Entry>,
    delivered: Zxid,
    /// Delivered entries kept.
    kept: usize,
    kept_bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl Window {
    /// A window over a state at `floor` and the log after it.
    pub fn new(floor: Zxid, tail: Vec<Entry>, entries_max: usize, bytes_max: usize) -> Window {
        let mut window = Window {
            floor,
            entries: VecDeque::new(),
            delivered: floor,
            kept: 0,
            kept_bytes: 0,
            entries_max,
            bytes_max,
        };
        for entry in tail {
            window.push(entry);
        }
        window
    }

    /// The last logged zxid.
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.floor, |entry| entry.zxid)
    }

    /// The zxid before the first entry.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// The last delivered zxid.
    pub fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// May an entry with this zxid come next? Behind a snapshot of an epoch's end, or behind
    /// nothing, the first of any later epoch may.
    pub fn accepts(&self, zxid: Zxid) -> bool {
        self.last().precedes(zxid)
    }

    /// Appends.
    ///
    /// # Panics
    /// When there is a gap.
    pub fn push(&mut self, entry: Entry) {
        assert!(
            self.accepts(entry.zxid),
            "{:?} after {:?}",
            entry.zxid,
            self.last()
        );
        self.entries.push_back(entry);
    }

    /// Delivers everything up to `upto`, in order.
    ///
    /// # Panics
    /// When `upto` lies beyond the log.
    pub fn deliver(&mut self, upto: Zxid, mut each: impl FnMut(&Entry)) {
        if upto <= self.delivered {
            return;
        }
        assert!(
            upto <= self.last(),
            "{upto:?} is committed and not logged here"
        );
        while let Some(entry) = self.entries.get(self.kept)
            && entry.zxid <= upto
        {
            each(entry);
            self.delivered = entry.zxid;
            self.kept += 1;
            self.kept_bytes += entry.payload.len();
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.kept > 0 && (self.kept > self.entries_max || self.kept_bytes > self.bytes_max) {
            let entry = self.entries.pop_front().expect("kept entries are entries");
            self.kept -= 1;
            self.kept_bytes -= entry.payload.len();
            self.floor = entry.zxid;
        }
    }

    /// Entries after `zxid`, which must not be below the floor.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Entry> {
        assert!(zxid >= self.floor, "{zxid:?} is below the window");
        let from = self.entries.partition_point(|entry| entry.zxid <= zxid);
        self.entries.range(from..)
    }

    /// Drops everything after `after`.
    ///
    /// # Panics
    /// When that reaches a delivered entry.
    pub fn truncate(&mut self, after: Zxid) {
        assert!(
            after >= self.delivered,
            "a cut at {after:?} below {:?}",
            self.delivered
        );
        let keep = self.entries.partition_point(|entry| entry.zxid <= after);
        self.entries.truncate(keep);
    }

    /// A snapshot replaced everything.
    pub fn reset(&mut self, zxid: Zxid) {
        self.entries.clear();
        self.floor = zxid;
        self.delivered = zxid;
        self.kept = 0;
        self.kept_bytes = 0;
    }

    /// The floor, then the last zxid of each epoch after it, ascending: what this server can
    /// send to others.
    pub fn history(&self) -> Vec<Zxid> {
        self.history_from(self.floor)
    }

    /// The delivered point, then the last zxid of each epoch after it, ascending: what this
    /// server may have to give up. What is delivered is in every later leader's history, so
    /// there is no need to tell where below it the window begins. Of very many epochs only
    /// the last are told.
    pub fn history_undelivered(&self) -> Vec<Zxid> {
        let mut history = self.history_from(self.delivered);
        let excess = history.len().saturating_sub(HISTORY_EPOCHS_MAX);
        history.drain(1..=excess);
        history
    }

    fn history_from(&self, base: Zxid) -> Vec<Zxid> {
        let mut history = vec![base];
        for entry in self.after(base) {
            let last = history.last_mut().expect("starts with the floor");
            if last.epoch() == entry.zxid.epoch() && history.len() > 1 {
                *history.last_mut().expect("not empty") = entry.zxid;
            } else {
                history.push(entry.zxid);
            }
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use bytes::Bytes;

    fn entry(epoch: u32, counter: u32) -> Entry {
        Entry {
            zxid: Zxid::new(Epoch(epoch), counter),
            payload: Bytes::from_static(b"x"),
        }
    }

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    #[test]
    fn history_lists_the_floor_and_the_end_of_each_epoch() {
        let tail = vec![
            entry(1, 6),
            entry(1, 7),
            entry(3, 1),
            entry(3, 2),
            entry(4, 1),
        ];
        let window = Window::new(z(1, 5), tail, 10, 100);
        assert_eq!(window.history(), [z(1, 5), z(1, 7), z(3, 2), z(4, 1)]);
    }

    #[test]
    fn delivery_is_in_order_once_and_trims_what_is_too_much() {
        let tail = vec![entry(1, 1), entry(1, 2), entry(1, 3)];
        let mut window = Window::new(Zxid::ZERO, tail, 2, 100);
        let mut seen = Vec::new();
        window.deliver(z(1, 2), |e| seen.push(e.zxid));
        window.deliver(z(1, 1), |e| seen.push(e.zxid));
        window.deliver(z(1, 3), |e| seen.push(e.zxid));
        assert_eq!(seen, [z(1, 1), z(1, 2), z(1, 3)]);
        assert_eq!(window.floor(), z(1, 1));
        assert_eq!(window.after(z(1, 2)).count(), 1);
    }

    #[test]
    #[should_panic(expected = "a cut")]
    fn a_cut_never_reaches_a_delivered_entry() {
        let mut window = Window::new(Zxid::ZERO, vec![entry(1, 1), entry(1, 2)], 2, 100);
        window.deliver(z(1, 2), |_| {});
        window.truncate(z(1, 1));
    }
}
