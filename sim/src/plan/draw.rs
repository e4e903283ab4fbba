//! How a plan is drawn: a swarm. Each seed allows a random subset of the kinds of fault with
//! random weights, so that some seeds are all partitions and others all disks; what every
//! ensemble must survive together (a lost leader, a crash with recovery, a partition, a bad
//! disk) is put into nearly every plan.
//!
//! Two lanes of faults run side by side, each with pauses, so that two faults often overlap
//! and the ensemble still finds time to commit.

use super::{CrashPoint, Death, Fault, PlannedFault, Target, Way};
use crate::draw::{Draws, fork};
use crate::scenario::{INTENSITY_NORMAL, Scenario};

/// Kinds that can be drawn, with their usual weight.
const KINDS: [(Kind, u64); 29] = [
    (Kind::Halves, 6),
    (Kind::Ring, 2),
    (Kind::Bridge, 3),
    (Kind::Isolate, 8),
    (Kind::Depose, 6),
    (Kind::CutLink, 5),
    (Kind::CutClients, 4),
    (Kind::LatencySpike, 4),
    (Kind::Clog, 4),
    (Kind::Break, 6),
    (Kind::HalfOpen, 4),
    (Kind::Refuse, 2),
    (Kind::Corrupt, 3),
    (Kind::Kill, 10),
    (Kind::KillAll, 2),
    (Kind::CrashLoop, 2),
    (Kind::KillAt, 6),
    (Kind::Pause, 5),
    (Kind::FsyncError, 4),
    (Kind::WriteError, 4),
    (Kind::DiskFull, 4),
    (Kind::SlowDisk, 4),
    (Kind::StuckDisk, 3),
    (Kind::RotLog, 4),
    (Kind::RotSnapshot, 3),
    (Kind::RotEpoch, 3),
    (Kind::Misdirect, 2),
    (Kind::WallJump, 2),
    (Kind::Drift, 1),
];

/// How many in a thousand plans carry each of the four things every run should see.
const STAPLE_PERMILLE: u64 = 985;
/// Mean pause between two faults of a lane at normal intensity, ms.
const PAUSE_MS_MEAN: u64 = 6_000;
/// Shortest pause, ms.
const PAUSE_MS_MIN: u64 = 200;
/// Usual duration of a fault at normal intensity, ms.
const LASTS_MS: (u64, u64) = (300, 5_000);
/// Durations grow with intensity to this many thousandths at most.
const LASTS_PERMILLE_MAX: u64 = 1_500;
/// The first and last part of chaos is left to what is already at work, ms.
const MARGIN_MS: u64 = 500;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Halves,
    Ring,
    Bridge,
    Isolate,
    Depose,
    CutLink,
    CutClients,
    LatencySpike,
    Clog,
    Break,
    HalfOpen,
    Refuse,
    Corrupt,
    Kill,
    KillAll,
    CrashLoop,
    KillAt,
    Pause,
    FsyncError,
    WriteError,
    DiskFull,
    SlowDisk,
    StuckDisk,
    RotLog,
    RotSnapshot,
    RotEpoch,
    Misdirect,
    WallJump,
    Drift,
}

/// Draws the plan of a scenario from its seed, shape, phases and intensity.
pub fn draw(scenario: &Scenario) -> Vec<PlannedFault> {
    let intensity = u64::from(scenario.intensity_permille);
    if intensity == 0 {
        return Vec::new();
    }
    let mut swarm = fork(scenario.seed, "swarm");
    let mut drawer = Drawer {
        draws: fork(scenario.seed, "plan"),
        servers: scenario.cluster.servers(),
        voters: scenario.cluster.voters,
        silence_ms: scenario.timing.tick_ms * scenario.timing.sync_limit,
        lasts_permille: intensity.clamp(200, LASTS_PERMILLE_MAX),
    };
    let weights = swarm_weights(&mut swarm);
    let chaos_ms = scenario.phases.chaos_ms;
    let mut plan = drawer.staples(&mut swarm, chaos_ms);
    let pause_ms = (PAUSE_MS_MEAN * u64::from(INTENSITY_NORMAL) / intensity).max(PAUSE_MS_MIN);
    for lane in [Lane::Network, Lane::Machine] {
        let weights: Vec<u64> = KINDS
            .iter()
            .zip(&weights)
            .map(|((kind, _), weight)| if lane.holds(*kind) { *weight } else { 0 })
            .collect();
        if weights.iter().sum::<u64>() == 0 {
            continue;
        }
        let mut at_ms = MARGIN_MS + drawer.pause(pause_ms);
        while at_ms + MARGIN_MS < chaos_ms {
            let kind = KINDS[drawer.draws.weighted(&weights)].0;
            let planned = drawer.planned(kind, at_ms);
            at_ms += planned.for_ms + drawer.pause(pause_ms);
            plan.push(planned);
        }
    }
    plan.sort_by_key(|planned| planned.at_ms);
    plan
}

#[derive(Clone, Copy)]
enum Lane {
    Network,
    Machine,
}

impl Lane {
    fn holds(self, kind: Kind) -> bool {
        let network = matches!(
            kind,
            Kind::Halves
                | Kind::Ring
                | Kind::Bridge
                | Kind::Isolate
                | Kind::Depose
                | Kind::CutLink
                | Kind::CutClients
                | Kind::LatencySpike
                | Kind::Clog
                | Kind::Break
                | Kind::HalfOpen
                | Kind::Refuse
                | Kind::Corrupt
        );
        match self {
            Lane::Network => network,
            Lane::Machine => !network,
        }
    }
}

/// Half of the kinds, each one to three times as likely as usual.
fn swarm_weights(swarm: &mut Draws) -> Vec<u64> {
    KINDS
        .iter()
        .map(|(_, weight)| {
            let allowed = swarm.chance(500);
            let factor = swarm.range(1, 3);
            if allowed { weight * factor } else { 0 }
        })
        .collect()
}

struct Drawer {
    draws: Draws,
    servers: u8,
    voters: u8,
    silence_ms: u64,
    lasts_permille: u64,
}

impl Drawer {
    /// The four things nearly every run should see: a lost leader, a crash with recovery, a
    /// partition, a bad disk.
    fn staples(&mut self, swarm: &mut Draws, chaos_ms: u64) -> Vec<PlannedFault> {
        let disk = swarm.pick(&[
            Kind::FsyncError,
            Kind::WriteError,
            Kind::DiskFull,
            Kind::SlowDisk,
            Kind::RotLog,
        ]);
        let partition = swarm.pick(&[Kind::Halves, Kind::Isolate, Kind::Bridge, Kind::CutLink]);
        let mut staples = Vec::new();
        for kind in [None, Some(Kind::Kill), Some(partition), Some(disk)] {
            let wanted = swarm.chance(STAPLE_PERMILLE);
            let span = chaos_ms.saturating_sub(4 * MARGIN_MS).max(1);
            let at_ms = (MARGIN_MS + self.draws.below(span)).min(chaos_ms);
            let planned = match kind {
                Some(kind) => self.planned(kind, at_ms),
                None => self.lost_leader(at_ms),
            };
            if wanted {
                staples.push(planned);
            }
        }
        staples
    }

    /// Takes the leader away long enough for the others to notice and choose another.
    fn lost_leader(&mut self, at_ms: u64) -> PlannedFault {
        let target = Target::Leader;
        let fault = match self.draws.below(6) {
            0 => Fault::Isolate {
                target,
                way: self.way(),
            },
            1 => Fault::Pause { target },
            2 | 3 => Fault::Kill {
                target,
                death: self.death(),
            },
            4 | 5 => Fault::Depose {
                target,
                keeps: self.draws.below(3) as u8,
            },
            other => unreachable!("{other} is not below 6"),
        };
        PlannedFault {
            at_ms,
            for_ms: self.silence_ms * 2 + self.draws.range(500, 2_000),
            fault,
        }
    }

    fn planned(&mut self, kind: Kind, at_ms: u64) -> PlannedFault {
        let usual = self.draws.log_range(LASTS_MS.0, LASTS_MS.1) * self.lasts_permille / 1000;
        let fault = self.fault(kind);
        let for_ms = match &fault {
            Fault::BreakConnections { .. }
            | Fault::HalfOpen { .. }
            | Fault::FsyncError { .. }
            | Fault::WriteError { .. }
            | Fault::WallJump { .. } => 0,
            // Rot alone lies in wait; with a duration the server dies and meets it.
            Fault::RotLog { .. }
            | Fault::RotSnapshot { .. }
            | Fault::RotEpoch { .. }
            | Fault::Misdirect { .. } => {
                if self.draws.chance(700) {
                    usual
                } else {
                    0
                }
            }
            // The whole ensemble is down: short, or nothing is ever committed.
            Fault::KillAll { .. } => usual / 4 + 50,
            Fault::PartitionHalves { .. }
            | Fault::PartitionRing {}
            | Fault::PartitionBridge { .. }
            | Fault::Isolate { .. }
            | Fault::Depose { .. }
            | Fault::CutLink { .. }
            | Fault::CutClients { .. }
            | Fault::LatencySpike { .. }
            | Fault::Clog { .. }
            | Fault::RefuseConnects { .. }
            | Fault::CorruptBytes { .. }
            | Fault::Kill { .. }
            | Fault::CrashLoop { .. }
            | Fault::KillAt { .. }
            | Fault::Pause { .. }
            | Fault::DiskFull { .. }
            | Fault::SlowDisk { .. }
            | Fault::StuckDisk { .. }
            | Fault::Drift { .. }
            | Fault::LoseTail { .. }
            | Fault::Rollback { .. }
            | Fault::Wipe { .. } => usual,
        };
        PlannedFault {
            at_ms,
            for_ms,
            fault,
        }
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        let target = self.target();
        match kind {
            Kind::Halves => Fault::PartitionHalves {
                side: self.side(),
                way: self.way(),
            },
            Kind::Ring => Fault::PartitionRing {},
            Kind::Bridge => Fault::PartitionBridge { centre: target },
            Kind::Isolate => Fault::Isolate {
                target,
                way: self.way(),
            },
            Kind::Depose => Fault::Depose {
                target: Target::Leader,
                keeps: self.draws.below(3) as u8,
            },
            Kind::CutLink => Fault::CutLink {
                a: target,
                b: self.other(target),
                way: self.way(),
            },
            Kind::CutClients => Fault::CutClients {
                target,
                way: self.way(),
            },
            Kind::LatencySpike => Fault::LatencySpike {
                target,
                extra_us: self.draws.log_range(1_000, 400_000),
            },
            Kind::Clog => Fault::Clog {
                a: target,
                b: self.other(target),
            },
            Kind::Break => Fault::BreakConnections { target },
            Kind::HalfOpen => Fault::HalfOpen {
                target,
                other: self.other(target),
            },
            Kind::Refuse => Fault::RefuseConnects { target },
            Kind::Corrupt => Fault::CorruptBytes {
                from: target,
                to: self.other(target),
            },
            Kind::Kill => Fault::Kill {
                target,
                death: self.death(),
            },
            Kind::KillAll => Fault::KillAll {
                death: self.death(),
            },
            Kind::CrashLoop => Fault::CrashLoop {
                target,
                death: self.death(),
                times: self.draws.range(2, 5),
                up_ms: self.draws.log_range(20, 1_500),
            },
            Kind::KillAt => Fault::KillAt {
                target,
                point: self.draws.pick(&CrashPoint::ALL),
                death: self.death(),
            },
            Kind::Pause => Fault::Pause { target },
            Kind::FsyncError => Fault::FsyncError { target },
            Kind::WriteError => Fault::WriteError { target },
            Kind::DiskFull => Fault::DiskFull { target },
            Kind::SlowDisk => Fault::SlowDisk {
                target,
                extra_us: self.draws.log_range(2_000, 300_000),
            },
            Kind::StuckDisk => Fault::StuckDisk { target },
            Kind::RotLog => Fault::RotLog { target },
            Kind::RotSnapshot => Fault::RotSnapshot { target },
            Kind::RotEpoch => Fault::RotEpoch { target },
            Kind::Misdirect => Fault::Misdirect { target },
            Kind::WallJump => Fault::WallJump {
                target,
                by_ms: self.signed(10, 7_200_000),
            },
            Kind::Drift => Fault::Drift {
                target,
                ppm: self.signed(10, 500),
            },
        }
    }

    fn pause(&mut self, mean_ms: u64) -> u64 {
        self.draws.range(mean_ms / 4 + 1, mean_ms * 7 / 4 + 1)
    }

    fn target(&mut self) -> Target {
        match self.draws.below(10) {
            0..=3 => Target::Leader,
            4..=6 if self.voters > 1 => {
                Target::Follower(self.draws.range(1, u64::from(self.voters) - 1) as u8)
            }
            _ => Target::Server(self.draws.range(1, u64::from(self.servers)) as u8),
        }
    }

    /// Somebody else, as far as names can tell.
    fn other(&mut self, target: Target) -> Target {
        for _ in 0..8 {
            let other = self.target();
            if other != target {
                return other;
            }
        }
        Target::Leader
    }

    /// A side of a partition: any proper, non-empty part of the servers.
    fn side(&mut self) -> Vec<u8> {
        let mut all: Vec<u8> = (1..=self.servers).collect();
        self.draws.shuffle(&mut all);
        let most = u64::from(self.servers).saturating_sub(1).max(1);
        all.truncate(self.draws.range(1, most) as usize);
        all.sort_unstable();
        all
    }

    fn way(&mut self) -> Way {
        [Way::Both, Way::Out, Way::In][self.draws.weighted(&[6, 2, 2])]
    }

    fn death(&mut self) -> Death {
        self.draws.pick(&[Death::Crash, Death::PowerCut])
    }

    fn signed(&mut self, low: u64, high: u64) -> i64 {
        let size = self.draws.log_range(low, high) as i64;
        if self.draws.chance(500) { size } else { -size }
    }
}

/// The share, in thousandths, of plans that hold at least one fault of a family.
#[cfg(test)]
fn share_with(family: super::Family, plans: &[Vec<PlannedFault>]) -> usize {
    let with = plans
        .iter()
        .filter(|plan| plan.iter().any(|p| p.fault.family() == family))
        .count();
    with * 1000 / plans.len()
}

#[cfg(test)]
mod tests {
    use super::super::Family;
    use super::*;
    use crate::scenario;

    fn plans(intensity: u32) -> Vec<Vec<PlannedFault>> {
        (0..300)
            .map(|seed| scenario::draw(seed, intensity).plan)
            .collect()
    }

    #[test]
    fn nearly_every_plan_has_a_crash_a_partition_and_a_disk_fault() {
        let plans = plans(INTENSITY_NORMAL);
        for family in [Family::Partition, Family::Process, Family::Disk] {
            assert!(share_with(family, &plans) >= 970, "{family:?}");
        }
    }

    #[test]
    fn every_kind_is_drawn_by_somebody_and_none_outside_the_promise() {
        let plans = plans(INTENSITY_NORMAL);
        let mut kinds: Vec<&str> = plans.iter().flatten().map(|p| p.fault.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS.len(), "{kinds:?}");
        assert!(!plans.iter().flatten().any(|p| p.fault.breaks_the_promise()));
    }

    #[test]
    fn intensity_scales_how_often_faults_strike() {
        let count = |intensity| plans(intensity).iter().map(Vec::len).sum::<usize>();
        let (none, normal, triple) = (count(0), count(1000), count(3000));
        assert_eq!(none, 0);
        assert!(triple > normal * 3 / 2, "{normal} {triple}");
    }

    #[test]
    fn drawn_plan_is_ordered_and_passes_its_own_check() {
        for seed in 0..300 {
            let drawn = scenario::draw(seed, 3000);
            assert!(drawn.plan.is_sorted_by_key(|p| p.at_ms));
            assert_eq!(super::super::check(&drawn), Ok(()));
        }
    }
}
