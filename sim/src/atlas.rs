//! The atlas of damage: who may lose durable bytes, so that a plan stays within the promise.
//!
//! What it is not: it strikes nobody and repairs nobody. What always holds while only asked
//! faults strike: at most f voters carry damage at any time, which bounds the damaged
//! replicas of every zxid by f (rows D10, D11 and D13) and leaves a quorum of whole ones;
//! a server carries one damage of log, snapshots and epoch copies each at a time, so that of
//! two epoch copies one stays good (row D12) and no second rot takes the witness of the
//! first, which would make it a silent loss (row D14).
//!
//! Damage is over when the disk holds none of it any more *and* the server has recovered
//! and served since. A rotten record that nobody read is still damage.

use crate::plan::Fault;
use gamekeeper_core::base::ServerId;
use std::collections::{BTreeMap, BTreeSet};

/// Why a fault may not strike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// f voters are damaged already (D10, D11).
    Budget,
    /// This part of this server's disk is damaged already (D12, D13).
    Already,
    /// Only negative scenarios may do this (D14 to D16).
    OutsideThePromise,
}

impl Refusal {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Budget => "as many voters damaged as may be",
            Refusal::Already => "damaged already",
            Refusal::OutsideThePromise => "outside the promise",
        }
    }
}

/// Who is damaged.
#[derive(Clone, Debug)]
pub struct Atlas {
    voters: u8,
    tolerated: usize,
    negative: bool,
    damaged: BTreeMap<ServerId, Damage>,
}

#[derive(Clone, Debug, Default)]
struct Damage {
    parts: BTreeSet<Part>,
    /// Set when the server was started again since the last damage.
    recovered: bool,
    /// Set when it served since then.
    served: bool,
}

/// What of a disk is damaged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Log,
    Snapshots,
    Epochs,
    Everything,
}

fn part_of(fault: &Fault) -> Part {
    match fault {
        Fault::RotLog { .. } | Fault::Misdirect { .. } | Fault::LoseTail { .. } => Part::Log,
        Fault::RotSnapshot { .. } => Part::Snapshots,
        Fault::RotEpoch { .. } => Part::Epochs,
        Fault::Rollback { .. } | Fault::Wipe { .. } => Part::Everything,
        other => unreachable!("{} damages nothing", other.kind()),
    }
}

impl Atlas {
    /// Nobody is damaged. `negative` scenarios may leave the promise.
    pub fn new(voters: u8, negative: bool) -> Atlas {
        Atlas {
            voters,
            tolerated: usize::from((voters - 1) / 2),
            negative,
            damaged: BTreeMap::new(),
        }
    }

    /// May this fault damage this server now?
    pub fn may_damage(&self, server: ServerId, fault: &Fault) -> Result<(), Refusal> {
        if !fault.damages() || self.negative {
            return Ok(());
        }
        if fault.breaks_the_promise() {
            return Err(Refusal::OutsideThePromise);
        }
        if let Some(damage) = self.damaged.get(&server)
            && damage.parts.contains(&part_of(fault))
        {
            return Err(Refusal::Already);
        }
        // An observer counts in no quorum: its damage costs nobody's.
        let is_voter = server.0 <= self.voters;
        if is_voter
            && !self.damaged.contains_key(&server)
            && self.damaged_voters() >= self.tolerated
        {
            return Err(Refusal::Budget);
        }
        Ok(())
    }

    /// The fault struck and left damage.
    pub fn damaged(&mut self, server: ServerId, fault: &Fault) {
        let damage = self.damaged.entry(server).or_default();
        damage.parts.insert(part_of(fault));
        damage.recovered = false;
        damage.served = false;
    }

    /// The server finished recovery.
    pub fn recovered(&mut self, server: ServerId) {
        if let Some(damage) = self.damaged.get_mut(&server) {
            damage.recovered = true;
            damage.served = false;
        }
    }

    /// The server serves; `clean` when its disk holds no damaged byte any more.
    pub fn serving(&mut self, server: ServerId, clean: bool) {
        if let Some(damage) = self.damaged.get_mut(&server) {
            damage.served |= damage.recovered;
            if damage.served && clean {
                self.damaged.remove(&server);
            }
        }
    }

    /// True when this server carries damage.
    pub fn is_damaged(&self, server: ServerId) -> bool {
        self.damaged.contains_key(&server)
    }

    /// How many voters carry damage.
    pub fn damaged_voters(&self) -> usize {
        self.damaged.keys().filter(|s| s.0 <= self.voters).count()
    }

    /// How many more voters may stay dead once the ensemble is healed.
    pub fn spare_voters(&self) -> usize {
        self.tolerated.saturating_sub(self.damaged_voters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Target;

    const ROT: Fault = Fault::RotLog {
        target: Target::Leader,
    };

    #[test]
    fn one_of_three_voters_may_be_damaged_and_every_observer() {
        let mut atlas = Atlas::new(3, false);
        assert_eq!(atlas.may_damage(ServerId(1), &ROT), Ok(()));
        atlas.damaged(ServerId(1), &ROT);
        assert_eq!(atlas.may_damage(ServerId(2), &ROT), Err(Refusal::Budget));
        assert_eq!(atlas.may_damage(ServerId(1), &ROT), Err(Refusal::Already));
        let misdirect = Fault::Misdirect {
            target: Target::Leader,
        };
        assert_eq!(
            atlas.may_damage(ServerId(1), &misdirect),
            Err(Refusal::Already)
        );
        assert_eq!(atlas.may_damage(ServerId(4), &ROT), Ok(()));
        assert_eq!(atlas.spare_voters(), 0);
    }

    #[test]
    fn damage_is_over_only_after_recovery_service_and_a_clean_disk() {
        let mut atlas = Atlas::new(3, false);
        atlas.damaged(ServerId(1), &ROT);
        atlas.serving(ServerId(1), true);
        assert!(atlas.is_damaged(ServerId(1)), "it was never read");
        atlas.recovered(ServerId(1));
        assert!(atlas.is_damaged(ServerId(1)), "it does not serve yet");
        atlas.serving(ServerId(1), false);
        assert!(atlas.is_damaged(ServerId(1)), "rot is left on the disk");
        atlas.serving(ServerId(1), true);
        assert!(!atlas.is_damaged(ServerId(1)));
    }

    #[test]
    fn wiping_a_disk_is_for_negative_scenarios() {
        let wipe = Fault::Wipe {
            target: Target::Leader,
        };
        let refused = Atlas::new(5, false).may_damage(ServerId(1), &wipe);
        assert_eq!(refused, Err(Refusal::OutsideThePromise));
        assert_eq!(Atlas::new(5, true).may_damage(ServerId(1), &wipe), Ok(()));
    }
}
