//! `EstablishedQuorum`: when a leader is established, a quorum of voters has the epoch as its
//! current one durably.
//!
//! This is what makes a later election know of the epoch: a voter that acknowledges NEWLEADER
//! with the epoch in memory only votes, after a restart, as if the epoch had never been
//! (ZOOKEEPER-1282, 4643; the epoch's part of `CommittedLogIsDurable`).

use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::{Epoch, ServerId, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug)]
pub struct EstablishedQuorum {
    voters: u8,
    /// The current epoch each server has said its disk holds.
    current: BTreeMap<ServerId, Epoch>,
}

impl EstablishedQuorum {
    /// Servers 1 to `voters` vote.
    pub fn new(voters: u8) -> EstablishedQuorum {
        EstablishedQuorum {
            voters,
            current: BTreeMap::new(),
        }
    }
}

impl Invariant for EstablishedQuorum {
    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        self.epoch_current(by, found.current)
    }

    fn epoch_current(&mut self, by: Witness, epoch: Epoch) -> Result<(), Breach> {
        self.current.insert(by.server, epoch);
        Ok(())
    }

    fn established(&mut self, by: Witness, epoch: Epoch, _: Zxid) -> Result<(), Breach> {
        let held = self.current.iter();
        let holders: Vec<ServerId> = held
            .filter(|(server, current)| server.0 <= self.voters && **current >= epoch)
            .map(|(server, _)| *server)
            .collect();
        if holders.len() > usize::from(self.voters / 2) {
            return Ok(());
        }
        Err(Breach::new(
            "EstablishedQuorum",
            vec![format!(
                "{by} was established as leader of epoch {epoch} while only {holders:?} of {} \
                 voters hold the epoch durably",
                self.voters
            )],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{recovered, tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

    #[test]
    fn epoch_that_one_voter_of_three_holds_is_not_established() {
        let established = Event::Established {
            epoch: Epoch(2),
            history_last: z(1, 4),
        };
        let adopted = |epoch| Event::EpochCurrent(Epoch(epoch));
        let mut story = vec![
            (1, 1, adopted(2)),
            (2, 1, adopted(1)),
            // Server 4 observes and does not count.
            (4, 1, adopted(2)),
            (1, 1, established.clone()),
        ];
        assert!(tell(&mut EstablishedQuorum::new(3), &story).is_err());
        story[1] = (2, 1, adopted(2));
        assert_eq!(tell(&mut EstablishedQuorum::new(3), &story), Ok(()));
        // It came back without it.
        story.insert(3, (2, 2, recovered(z(0, 0), z(1, 4), 1)));
        assert!(tell(&mut EstablishedQuorum::new(3), &story).is_err());
    }
}
