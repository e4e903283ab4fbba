//! Explained damage: a server that finds its disk damaged has a disk that was damaged.
//!
//! Recovery calls a record damaged when something on the disk proves that it was durable once.
//! A sound server only believes its syncs, so nothing but rot (rows D10 to D14) makes that
//! happen. One that believes too early (an acknowledgement before its sync, a failed sync taken
//! for a done one) loses those records with the power, finds the proof, and calls *itself*
//! damaged: it keeps its promises by not voting, and no other page would ever see the bug.
//!
//! Generous: once a disk was wounded, everything that server says of damage is excused.

use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::ServerId;
use gamekeeper_core::base::event::Fitness;
use std::collections::BTreeSet;

/// See the module's head.
#[derive(Debug)]
pub struct ExplainedDamage {
    voters: u8,
    wounded: BTreeSet<ServerId>,
}

impl ExplainedDamage {
    /// Servers 1 to `voters` vote; of an observer nobody wants promises.
    pub fn new(voters: u8) -> ExplainedDamage {
        ExplainedDamage {
            voters,
            wounded: BTreeSet::new(),
        }
    }

    /// Durable bytes of this server were damaged.
    pub fn wounded(&mut self, server: ServerId) {
        self.wounded.insert(server);
    }
}

impl Invariant for ExplainedDamage {
    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        let Recovery { last, fitness, .. } = found;
        let what = match fitness {
            Fitness::Whole | Fitness::Empty => return Ok(()),
            Fitness::Damaged { mark, .. } => format!("a log that once reached {mark:?}"),
            Fitness::Amnesiac if by.server.0 > self.voters => return Ok(()),
            Fitness::Amnesiac => "promises that it has forgotten".to_string(),
        };
        if self.wounded.contains(&by.server) {
            return Ok(());
        }
        Err(Breach::new(
            "ExplainedDamage",
            vec![
                format!("{by} recovered up to {last:?} and found proof of {what}"),
                format!("nothing ever damaged the disk of server {}", by.server),
            ],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{recovered, tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

    fn damaged() -> Event {
        let mut event = recovered(z(0, 0), z(1, 2), 1);
        if let Event::Recovered { fitness, .. } = &mut event {
            *fitness = Fitness::Damaged {
                mark: z(1, 3),
                promises_lost: false,
            };
        }
        event
    }

    #[test]
    fn damage_of_a_disk_that_nobody_touched_is_a_breach() {
        let whole = recovered(z(0, 0), z(1, 2), 1);
        let story = [(1, 2, whole), (1, 3, damaged())];
        assert!(tell(&mut ExplainedDamage::new(3), &story).is_err());
    }

    #[test]
    fn damage_of_a_wounded_disk_is_explained() {
        let mut page = ExplainedDamage::new(3);
        page.wounded(ServerId(1));
        assert_eq!(tell(&mut page, &[(1, 2, damaged())]), Ok(()));
        assert!(tell(&mut page, &[(2, 2, damaged())]).is_err());
    }
}
