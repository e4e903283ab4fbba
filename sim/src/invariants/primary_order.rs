//! `LocalPrimaryOrder`, `GlobalPrimaryOrder` and `PrimaryIntegrity`: what leaders propose.
//!
//! Local: one process proposes in an epoch, counters without a gap from 1. Integrity of the
//! primary: a leader's history, when it is established, holds everything of earlier epochs
//! that anybody delivered. Global: nothing of an earlier epoch that it does not hold is
//! delivered for the first time afterwards.

use super::{Breach, Invariant, Witness};
use gamekeeper_core::base::{Epoch, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub struct PrimaryOrder {
    proposers: BTreeMap<Epoch, (Witness, u32)>,
    /// History with which the leader of each epoch was established.
    histories: BTreeMap<Epoch, (Zxid, Witness)>,
    /// The greatest zxid of each epoch that was delivered, and by whom.
    delivered: BTreeMap<Epoch, (Zxid, Witness)>,
}

impl Invariant for PrimaryOrder {
    fn proposed(&mut self, by: Witness, zxid: Zxid, _: u32) -> Result<(), Breach> {
        let fresh = (by, 0);
        let (proposer, counter) = self.proposers.entry(zxid.epoch()).or_insert(fresh);
        if (proposer.server, proposer.incarnation) != (by.server, by.incarnation) {
            return Err(Breach::new(
                "LocalPrimaryOrder",
                vec![
                    format!("{proposer} proposed in epoch {}", zxid.epoch()),
                    format!("{by} proposed {zxid:?} in the same epoch"),
                ],
            ));
        }
        if zxid.counter() != *counter + 1 {
            return Err(Breach::new(
                "LocalPrimaryOrder",
                vec![format!(
                    "{by} proposed {zxid:?} right after counter {counter} of its epoch"
                )],
            ));
        }
        *counter += 1;
        Ok(())
    }

    fn established(&mut self, by: Witness, epoch: Epoch, last: Zxid) -> Result<(), Breach> {
        self.histories.entry(epoch).or_insert((last, by));
        let earlier = self.delivered.range(..epoch).next_back();
        match earlier {
            Some((_, (zxid, first))) if *zxid > last => Err(Breach::new(
                "PrimaryIntegrity",
                vec![
                    format!("{first} delivered {zxid:?}"),
                    format!(
                        "{by} was established as leader of epoch {epoch} with a history that \
                         ends at {last:?}"
                    ),
                ],
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn delivered(&mut self, by: Witness, zxid: Zxid, _: u32) -> Result<(), Breach> {
        let seen = self.delivered.entry(zxid.epoch()).or_insert((zxid, by));
        if zxid > seen.0 {
            *seen = (zxid, by);
        }
        // The next established epoch decides what of this one lives on.
        let beyond = (
            std::ops::Bound::Excluded(zxid.epoch()),
            std::ops::Bound::Unbounded,
        );
        match self.histories.range(beyond).next() {
            Some((epoch, (last, leader))) if zxid > *last => Err(Breach::new(
                "GlobalPrimaryOrder",
                vec![
                    format!(
                        "{leader} was established as leader of epoch {epoch} with a history \
                         that ends at {last:?}"
                    ),
                    format!("{by} delivered {zxid:?} all the same"),
                ],
            )),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{Line, delivered, proposed, tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

    fn breach(story: &[Line]) -> &'static str {
        tell(&mut PrimaryOrder::default(), story)
            .unwrap_err()
            .invariant
    }

    fn established(epoch: u32, history_last: Zxid) -> Event {
        Event::Established {
            epoch: Epoch(epoch),
            history_last,
        }
    }

    #[test]
    fn gap_or_second_proposer_in_an_epoch_is_a_breach() {
        let gap = [(1, 1, proposed(z(1, 1), 0)), (1, 1, proposed(z(1, 3), 0))];
        assert_eq!(breach(&gap), "LocalPrimaryOrder");
        let second = [(1, 1, proposed(z(1, 1), 0)), (2, 1, proposed(z(1, 2), 0))];
        assert_eq!(breach(&second), "LocalPrimaryOrder");
    }

    #[test]
    fn leader_without_a_delivered_transaction_is_a_breach() {
        let story = [
            (1, 1, delivered(z(1, 2), 0)),
            (2, 1, established(2, z(1, 1))),
        ];
        assert_eq!(breach(&story), "PrimaryIntegrity");
    }

    #[test]
    fn delivery_past_the_next_leaders_history_is_a_breach() {
        let story = [
            (2, 1, established(2, z(1, 1))),
            (1, 1, delivered(z(1, 2), 0)),
        ];
        assert_eq!(breach(&story), "GlobalPrimaryOrder");
    }
}
