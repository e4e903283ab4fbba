//! `Leadership1`: at most one leader is established in an epoch.
//!
//! An epoch is promised to one leader by a quorum before it leads (discovery), so two
//! established leaders of one epoch mean a forgotten promise or two quorums that do not meet.

use super::{Breach, Invariant, Witness};
use gamekeeper_core::base::{Epoch, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Leadership {
    leaders: BTreeMap<Epoch, Witness>,
}

impl Leadership {
    /// How many leaderships were established.
    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }
}

impl Invariant for Leadership {
    fn established(&mut self, by: Witness, epoch: Epoch, _: Zxid) -> Result<(), Breach> {
        let first = *self.leaders.entry(epoch).or_insert(by);
        if (first.server, first.incarnation) == (by.server, by.incarnation) {
            return Ok(());
        }
        Err(Breach::new(
            "Leadership1",
            vec![
                format!("{first} was established as leader of epoch {epoch}"),
                format!("{by} was established as leader of epoch {epoch} too"),
            ],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::tell;
    use super::*;
    use gamekeeper_core::base::Event;
    use gamekeeper_core::base::Zxid;

    fn established(epoch: u32) -> Event {
        Event::Established {
            epoch: Epoch(epoch),
            history_last: Zxid::ZERO,
        }
    }

    #[test]
    fn second_leader_of_an_epoch_is_a_breach() {
        let story = [(1, 1, established(4)), (2, 1, established(4))];
        let breach = tell(&mut Leadership::default(), &story).unwrap_err();
        assert_eq!(breach.invariant, "Leadership1");
    }

    #[test]
    fn restarted_leader_may_not_lead_its_old_epoch() {
        let story = [(1, 1, established(4)), (1, 2, established(4))];
        assert!(tell(&mut Leadership::default(), &story).is_err());
    }

    #[test]
    fn leaders_of_different_epochs_are_fine() {
        let story = [(1, 1, established(4)), (2, 1, established(5))];
        assert_eq!(tell(&mut Leadership::default(), &story), Ok(()));
    }
}
