//! Monotonic epochs and commits: on one disk neither epoch ever falls, the current one never
//! passes the accepted one, and a recovered server remembers what it promised.
//!
//! A server that found both epoch copies bad says so (`Amnesiac`) and is not judged until it
//! promises again.

use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::event::Fitness;
use gamekeeper_core::base::{Epoch, ServerId};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Monotonic {
    promised: BTreeMap<ServerId, Promise>,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    accepted: Epoch,
    current: Epoch,
    by: Witness,
}

impl Monotonic {
    /// This server's disk was damaged beyond the contract.
    pub fn forgive(&mut self, server: ServerId) {
        self.promised.remove(&server);
    }

    fn promise(&mut self, by: Witness, accepted: Epoch, current: Epoch) -> Result<(), Breach> {
        let now = Promise {
            accepted,
            current,
            by,
        };
        let before = self.promised.insert(by.server, now).unwrap_or(now);
        for (what, was, is) in [
            ("accepted", before.accepted, accepted),
            ("current", before.current, current),
        ] {
            if is < was {
                return Err(Breach::new(
                    "MonotonicEpochs",
                    vec![
                        format!("{} had {what} epoch {was} on its disk", before.by),
                        format!("{by} has {what} epoch {is}"),
                    ],
                ));
            }
        }
        if current > accepted {
            return Err(Breach::new(
                "MonotonicEpochs",
                vec![format!(
                    "{by} has current epoch {current} past its accepted epoch {accepted}"
                )],
            ));
        }
        Ok(())
    }

    fn known(&self, server: ServerId) -> (Epoch, Epoch) {
        self.promised
            .get(&server)
            .map_or((Epoch::ZERO, Epoch::ZERO), |p| (p.accepted, p.current))
    }
}

impl Invariant for Monotonic {
    fn epoch_accepted(&mut self, by: Witness, epoch: Epoch) -> Result<(), Breach> {
        let (_, current) = self.known(by.server);
        self.promise(by, epoch, current)
    }

    /// The current epoch is only set once it is accepted, perhaps in one record.
    fn epoch_current(&mut self, by: Witness, epoch: Epoch) -> Result<(), Breach> {
        let (accepted, _) = self.known(by.server);
        self.promise(by, accepted.max(epoch), epoch)
    }

    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        match found.fitness {
            Fitness::Whole
            | Fitness::Empty
            | Fitness::Damaged {
                promises_lost: false,
                ..
            } => self.promise(by, found.accepted, found.current),
            Fitness::Amnesiac
            | Fitness::Damaged {
                promises_lost: true,
                ..
            } => {
                self.forgive(by.server);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{recovered, tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

    #[test]
    fn promise_forgotten_by_a_restart_is_a_breach() {
        let story = [
            (1, 1, Event::EpochAccepted(Epoch(3))),
            (1, 2, recovered(z(0, 0), z(0, 0), 2)),
        ];
        assert!(tell(&mut Monotonic::default(), &story).is_err());
    }

    #[test]
    fn epochs_that_rise_are_fine_and_falling_ones_are_not() {
        let story = [
            (1, 1, Event::EpochAccepted(Epoch(3))),
            (1, 1, Event::EpochCurrent(Epoch(3))),
            (1, 2, recovered(z(0, 0), z(0, 0), 3)),
            (1, 2, Event::EpochAccepted(Epoch(4))),
        ];
        assert_eq!(tell(&mut Monotonic::default(), &story), Ok(()));
        let story = [
            (1, 1, Event::EpochAccepted(Epoch(3))),
            (1, 1, Event::EpochAccepted(Epoch(2))),
        ];
        assert!(tell(&mut Monotonic::default(), &story).is_err());
    }
}
