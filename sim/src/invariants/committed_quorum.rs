//! `CommittedLogIsDurable`: when a transaction is delivered for the first time, a quorum of
//! voters has said that it holds it durably.
//!
//! Holding is judged by the end of each voter's durable log, which is generous (a log of
//! another branch may reach as far), so a breach is always one.

use super::{Breach, Invariant, Witness};
use gamekeeper_core::base::{Event, ServerId, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug)]
pub struct CommittedQuorum {
    voters: u8,
    held: BTreeMap<ServerId, Zxid>,
    delivered_max: Zxid,
}

impl CommittedQuorum {
    /// Servers 1 to `voters` count.
    pub fn new(voters: u8) -> CommittedQuorum {
        CommittedQuorum {
            voters,
            held: BTreeMap::new(),
            delivered_max: Zxid::ZERO,
        }
    }

    fn delivered(&mut self, by: Witness, zxid: Zxid) -> Result<(), Breach> {
        // Everything below was judged when it was delivered first.
        if zxid <= self.delivered_max {
            return Ok(());
        }
        self.delivered_max = zxid;
        let holders: Vec<ServerId> = self
            .held
            .iter()
            .filter(|(server, held)| server.0 <= self.voters && **held >= zxid)
            .map(|(server, _)| *server)
            .collect();
        if holders.len() > usize::from(self.voters / 2) {
            return Ok(());
        }
        Err(Breach::new(
            "CommittedLogIsDurable",
            vec![format!(
                "{by} delivered {zxid:?} while only {holders:?} of {} voters hold it durably",
                self.voters
            )],
        ))
    }
}

impl Invariant for CommittedQuorum {
    fn observe(&mut self, by: Witness, event: &Event) -> Result<(), Breach> {
        match event {
            Event::Recovered { last, .. } => {
                self.held.insert(by.server, *last);
                Ok(())
            }
            Event::Acked { zxid } | Event::SnapshotInstalled { zxid, .. } => {
                let held = self.held.entry(by.server).or_default();
                *held = (*held).max(*zxid);
                Ok(())
            }
            Event::Truncated { zxid } => {
                let held = self.held.entry(by.server).or_default();
                *held = (*held).min(*zxid);
                Ok(())
            }
            Event::Delivered { zxid, .. } => self.delivered(by, *zxid),
            Event::Role(_)
            | Event::EpochAccepted(_)
            | Event::EpochCurrent(_)
            | Event::Established { .. }
            | Event::Proposed { .. }
            | Event::Applied { .. }
            | Event::SnapshotTaken { .. }
            | Event::SessionExpiring(_)
            | Event::Probe(_)
            | Event::Halted { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{delivered, tell, z};
    use super::*;

    #[test]
    fn delivery_with_one_acknowledgement_too_few_is_a_breach() {
        let acked = |zxid| Event::Acked { zxid };
        let story = [
            (1, 1, acked(z(1, 1))),
            (4, 1, acked(z(1, 1))),
            (1, 1, delivered(z(1, 1), 0)),
        ];
        // Server 4 observes and does not count.
        assert!(tell(&mut CommittedQuorum::new(3), &story).is_err());
        let story = [
            (1, 1, acked(z(1, 1))),
            (2, 1, acked(z(1, 2))),
            (1, 1, delivered(z(1, 1), 0)),
        ];
        assert_eq!(tell(&mut CommittedQuorum::new(3), &story), Ok(()));
    }
}
