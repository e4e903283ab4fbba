//! Durable acknowledgements: what a server acknowledged and anybody delivered is in that
//! server's log, or in its snapshot, after every recovery.
//!
//! A delivered transaction is never cut by a leader, so the only way to lose it is a disk
//! that did not hold it when it was acknowledged. Judged at recovery, where the simulated
//! platter has spoken: an interrupted cut of what was *not* delivered is no breach.
//!
//! A server whose recovery found damage says so and is not judged; its promise is kept by
//! not voting.

use super::ledger::Ledger;
use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::event::Fitness;
use gamekeeper_core::base::{ServerId, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub struct DurableAck {
    /// The greatest zxid each server said it held durably, and when.
    acked: BTreeMap<ServerId, (Zxid, Witness)>,
    delivered: Ledger<()>,
}

impl Invariant for DurableAck {
    fn acked(&mut self, by: Witness, zxid: Zxid) -> Result<(), Breach> {
        let acked = self.acked.entry(by.server).or_insert((zxid, by));
        if zxid > acked.0 {
            *acked = (zxid, by);
        }
        Ok(())
    }

    fn snapshot_installed(&mut self, by: Witness, zxid: Zxid, _: u64) -> Result<(), Breach> {
        self.acked(by, zxid)
    }

    fn truncated(&mut self, by: Witness, zxid: Zxid) -> Result<(), Breach> {
        if let Some((acked, _)) = self.acked.get_mut(&by.server) {
            *acked = (*acked).min(zxid);
        }
        Ok(())
    }

    fn delivered(&mut self, _: Witness, zxid: Zxid, _: u32) -> Result<(), Breach> {
        self.delivered.first(zxid, ());
        Ok(())
    }

    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        let Recovery { last, fitness, .. } = found;
        let Some((acked, when)) = self.acked.get(&by.server).copied() else {
            return Ok(());
        };
        self.acked.insert(by.server, (last, by));
        match fitness {
            Fitness::Whole => {}
            Fitness::Empty => {
                return Err(Breach::new(
                    "DurableAck",
                    vec![
                        format!("{when} acknowledged {acked:?} as durable"),
                        format!("{by} found an empty disk"),
                    ],
                ));
            }
            // It knows that something is missing.
            Fitness::Damaged { .. } | Fitness::Amnesiac => return Ok(()),
        }
        if acked <= last {
            return Ok(());
        }
        match self.delivered.last_of(Zxid(last.0 + 1)..=acked) {
            Some(lost) => Err(Breach::new(
                "DurableAck",
                vec![
                    format!("{when} acknowledged everything up to {acked:?} as durable"),
                    format!("{by} recovered a log that ends at {last:?} and calls itself whole"),
                    format!("{lost:?} was delivered and is missing"),
                ],
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{Line, delivered, recovered, tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

    fn acked(zxid: Zxid) -> Event {
        Event::Acked { zxid }
    }

    fn judge(story: &[Line]) -> Result<(), Breach> {
        tell(&mut DurableAck::default(), story)
    }

    #[test]
    fn acknowledged_and_delivered_but_gone_after_recovery_is_a_breach() {
        let story = [
            (1, 1, acked(z(1, 3))),
            (2, 1, delivered(z(1, 3), 0)),
            (1, 2, recovered(z(0, 0), z(1, 2), 1)),
        ];
        assert!(judge(&story).is_err());
    }

    #[test]
    fn cut_of_what_nobody_delivered_is_no_breach() {
        let story = [
            (1, 1, acked(z(1, 3))),
            (2, 1, delivered(z(1, 2), 0)),
            (1, 2, recovered(z(0, 0), z(1, 2), 1)),
        ];
        assert_eq!(judge(&story), Ok(()));
    }

    #[test]
    fn server_that_knows_its_damage_is_not_judged() {
        let mut event = recovered(z(0, 0), z(1, 2), 1);
        if let Event::Recovered { fitness, .. } = &mut event {
            *fitness = Fitness::Damaged {
                mark: z(1, 3),
                promises_lost: false,
            };
        }
        let story = [
            (1, 1, acked(z(1, 3))),
            (2, 1, delivered(z(1, 3), 0)),
            (1, 2, event),
        ];
        assert_eq!(judge(&story), Ok(()));
    }
}
