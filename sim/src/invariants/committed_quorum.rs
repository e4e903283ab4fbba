//! `CommittedLogIsDurable`: when a transaction is delivered for the first time, a quorum of
//! voters has said that it holds it durably.
//!
//! Holding is judged by the end of each voter's durable log, which is generous (a log of
//! another branch may reach as far), so a breach is always one.

use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::{ServerId, Zxid};
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
}

impl Invariant for CommittedQuorum {
    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        self.held.insert(by.server, found.last);
        Ok(())
    }

    fn acked(&mut self, by: Witness, zxid: Zxid) -> Result<(), Breach> {
        let held = self.held.entry(by.server).or_default();
        *held = (*held).max(zxid);
        Ok(())
    }

    fn snapshot_installed(&mut self, by: Witness, zxid: Zxid, _: u64) -> Result<(), Breach> {
        self.acked(by, zxid)
    }

    fn truncated(&mut self, by: Witness, zxid: Zxid) -> Result<(), Breach> {
        let held = self.held.entry(by.server).or_default();
        *held = (*held).min(zxid);
        Ok(())
    }

    fn delivered(&mut self, by: Witness, zxid: Zxid, _: u32) -> Result<(), Breach> {
        // Everything below was judged when it was delivered first.
        if zxid <= self.delivered_max {
            return Ok(());
        }
        self.delivered_max = zxid;
        let holders = self
            .held
            .iter()
            .filter(|(server, held)| server.0 <= self.voters && **held >= zxid)
            .map(|(server, _)| *server);
        if holders.clone().count() > usize::from(self.voters / 2) {
            return Ok(());
        }
        let holders: Vec<ServerId> = holders.collect();
        Err(Breach::new(
            "CommittedLogIsDurable",
            vec![format!(
                "{by} delivered {zxid:?} while only {holders:?} of {} voters hold it durably",
                self.voters
            )],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{delivered, tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

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
