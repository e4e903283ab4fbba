//! `PrefixConsistency`: of any two delivered sequences, one is a prefix of the other.
//!
//! Kept as one chain: the first process to deliver b after a makes b the successor of a and a
//! the predecessor of b, for everybody and for ever. A process that goes from a to another
//! transaction has left one out, or delivered one that others do not have.
//!
//! ```text
//!  s1 delivers  1.1  1.2  2.1       chain 1.1 → 1.2 → 2.1
//!  s2 delivers  1.1       2.1       breach: 1.2 follows 1.1
//! ```

use super::ledger::Ledger;
use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::{ServerId, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub struct PrefixConsistency {
    after: Ledger<(Zxid, Witness)>,
    before: Ledger<(Zxid, Witness)>,
    /// Where the living process of each server stands.
    at: BTreeMap<ServerId, Zxid>,
}

impl PrefixConsistency {
    /// The last delivered transaction that a snapshot holds. A snapshot may stand for the
    /// start of an epoch (counter 0), which belongs to no transaction.
    fn base(&self, snapshot: Zxid) -> Zxid {
        if snapshot.counter() != 0 {
            return snapshot;
        }
        let last = self.before.last_of(Zxid::ZERO..=snapshot);
        last.unwrap_or(Zxid::ZERO)
    }

    fn link(&mut self, from: Zxid, to: Zxid, by: Witness) -> Result<(), Breach> {
        let (after, first) = *self.after.first(from, (to, by));
        if after != to {
            return Err(Breach::new(
                "PrefixConsistency",
                vec![
                    format!("{first} delivered {after:?} right after {from:?}"),
                    format!("{by} delivered {to:?} right after {from:?}"),
                ],
            ));
        }
        let (before, first) = *self.before.first(to, (from, by));
        if before != from {
            return Err(Breach::new(
                "PrefixConsistency",
                vec![
                    format!("{first} delivered {to:?} right after {before:?}"),
                    format!("{by} delivered {to:?} right after {from:?}"),
                ],
            ));
        }
        Ok(())
    }
}

impl Invariant for PrefixConsistency {
    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        let base = self.base(found.snapshot);
        self.at.insert(by.server, base);
        Ok(())
    }

    fn snapshot_installed(&mut self, by: Witness, zxid: Zxid, _: u64) -> Result<(), Breach> {
        let base = self.base(zxid);
        self.at.insert(by.server, base);
        Ok(())
    }

    fn delivered(&mut self, by: Witness, zxid: Zxid, _: u32) -> Result<(), Breach> {
        let from = self.at.insert(by.server, zxid).unwrap_or(Zxid::ZERO);
        self.link(from, zxid, by)
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{delivered, recovered, tell, z};
    use super::*;

    #[test]
    fn hole_in_a_delivered_sequence_is_a_breach() {
        let story = [
            (1, 1, delivered(z(1, 1), 0)),
            (1, 1, delivered(z(1, 2), 0)),
            (1, 1, delivered(z(2, 1), 0)),
            (2, 1, delivered(z(1, 1), 0)),
            (2, 1, delivered(z(2, 1), 0)),
        ];
        assert!(tell(&mut PrefixConsistency::default(), &story).is_err());
    }

    #[test]
    fn hole_is_seen_whichever_comes_first() {
        let story = [
            (2, 1, delivered(z(1, 1), 0)),
            (2, 1, delivered(z(2, 1), 0)),
            (1, 1, delivered(z(1, 1), 0)),
            (1, 1, delivered(z(1, 2), 0)),
        ];
        assert!(tell(&mut PrefixConsistency::default(), &story).is_err());
    }

    #[test]
    fn snapshot_takes_the_place_of_what_it_holds() {
        let story = [
            (1, 1, delivered(z(1, 1), 0)),
            (1, 1, delivered(z(1, 2), 0)),
            (1, 1, delivered(z(2, 1), 0)),
            (2, 1, recovered(z(1, 2), z(1, 2), 1)),
            (2, 1, delivered(z(2, 1), 0)),
            // A snapshot may stand for the start of epoch 2.
            (3, 1, recovered(z(2, 0), z(2, 0), 2)),
            (3, 1, delivered(z(2, 1), 0)),
        ];
        assert_eq!(tell(&mut PrefixConsistency::default(), &story), Ok(()));
    }
}
