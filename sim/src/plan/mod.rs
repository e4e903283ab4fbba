//! The plan: every fault of a run, with its time, as an ordered list of plain values.
//!
//! What it is not: it strikes nobody; the nemesis does, asking the atlas first. What always
//! holds: times count from the start of chaos; targets that hang on the course of the run
//! (`leader`) stay names until the moment of striking, so that dropping one fault from a
//! plan changes the meaning of no other.
//!
//! Answers to sections 3 to 5 of the fault model. Faults of rows D14 to D16 exist for
//! negative scenarios only and are never drawn.

mod draw;

pub use draw::draw;

use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One fault and its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// When it strikes, ms after the start of chaos.
    pub at_ms: u64,
    /// How long it lasts, ms: until the cut is healed, the server restarted, the disk well.
    /// Damage with a duration takes the server down for so long, damage without lies in
    /// wait. Without meaning for what is over at once.
    #[serde(default)]
    pub for_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// Whom a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// The server that last said it leads, and is up.
    Leader,
    /// The n-th voter by number, from 1, that does not lead.
    Follower(u8),
    /// This server.
    Server(u8),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Leader => write!(f, "leader"),
            Target::Follower(nth) => write!(f, "follower {nth}"),
            Target::Server(id) => write!(f, "server {id}"),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0);
        let target = match text.split_once(' ') {
            None if text == "leader" => Some(Target::Leader),
            Some(("follower", nth)) => number(nth).map(Target::Follower),
            Some(("server", id)) => number(id).map(Target::Server),
            None | Some(_) => None,
        };
        target.ok_or_else(|| {
            format!("`{text}` is no target; say `leader`, `follower N` or `server N`")
        })
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Target, String> {
        text.parse()
    }
}

/// Which way a cut works.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Nothing passes.
    Both,
    /// Nothing leaves the target (or goes from the first to the second).
    Out,
    /// Nothing reaches the target (or goes from the second to the first).
    In,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Death {
    /// The process only (row D1): what it wrote stays visible.
    Crash,
    /// The machine (row D2): what was not synced is judged by the disk model.
    PowerCut,
}

/// Where in its work a server is struck.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashPoint {
    /// A log write is visible, its sync not yet begun.
    AfterLogWrite,
    /// A log sync is done, its completion not yet told.
    AfterLogSync,
    /// One epoch copy is durable, the other not yet.
    AfterEpochSync,
    /// In the middle of a snapshot's writes.
    InSnapshot,
    /// A snapshot has its name, the directory is not yet synced.
    AfterSnapshotRename,
}

impl CrashPoint {
    /// Every point.
    pub const ALL: [CrashPoint; 5] = [
        CrashPoint::AfterLogWrite,
        CrashPoint::AfterLogSync,
        CrashPoint::AfterEpochSync,
        CrashPoint::InSnapshot,
        CrashPoint::AfterSnapshotRename,
    ];
}

/// What can go wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The servers named, and clients by the parity of their number, are cut off from the rest.
    PartitionHalves {
        /// One side.
        side: Vec<u8>,
        /// Which way; `out` lets the side hear and not speak.
        way: Way,
    },
    /// Each server reaches its two neighbours only.
    PartitionRing {},
    /// Two halves that only one server reaches.
    PartitionBridge {
        /// That server.
        centre: Target,
    },
    /// One server is cut off from every other (clients still reach it).
    Isolate {
        /// Which.
        target: Target,
        /// Which way.
        way: Way,
    },
    /// A leader is deposed and does not know it: it and some companions are cut off from the
    /// rest, who forget their connections with them at once and elect another, while the
    /// old leader hears nothing but silence and believes until its patience ends. Clients
    /// leave it, and reach both sides again once half of that patience is over.
    Depose {
        /// The leader.
        target: Target,
        /// How many other servers stay with it, observers first; fewer where a quorum of
        /// voters would not be left on the other side.
        keeps: u8,
    },
    /// One link between two servers is cut.
    CutLink {
        /// One end.
        a: Target,
        /// The other end.
        b: Target,
        /// Which way, from `a` to `b` being out.
        way: Way,
    },
    /// Clients and one server no longer reach each other.
    CutClients {
        /// Which server.
        target: Target,
        /// Which way, from the server being out.
        way: Way,
    },
    /// Everything to and from a server is slower.
    LatencySpike {
        /// Which.
        target: Target,
        /// By how much at most, us.
        extra_us: u64,
    },
    /// A link holds what it is given, and delivers all at the end.
    Clog {
        /// One end.
        a: Target,
        /// The other end.
        b: Target,
    },
    /// Every connection of a server breaks, some in the middle of a frame.
    BreakConnections {
        /// Which.
        target: Target,
    },
    /// One end of the connections between two servers forgets them without a word.
    HalfOpen {
        /// Which end forgets.
        target: Target,
        /// The other end.
        other: Target,
    },
    /// A server refuses new connections.
    RefuseConnects {
        /// Which.
        target: Target,
    },
    /// Bytes between two servers are flipped.
    CorruptBytes {
        /// From.
        from: Target,
        /// To.
        to: Target,
    },
    /// A server dies and is started again.
    Kill {
        /// Which.
        target: Target,
        /// How.
        death: Death,
    },
    /// All servers die at the same instant and are started again.
    KillAll {
        /// How.
        death: Death,
    },
    /// A server dies again and again, each time soon after its start.
    CrashLoop {
        /// Which.
        target: Target,
        /// How.
        death: Death,
        /// How often.
        times: u64,
        /// How long it lives in between, ms.
        up_ms: u64,
    },
    /// A server dies the next time it comes to a point of its work; at the end of the
    /// duration at the latest it is started again.
    KillAt {
        /// Which.
        target: Target,
        /// Where.
        point: CrashPoint,
        /// How.
        death: Death,
    },
    /// A server stops for a while and goes on as if nothing had been.
    Pause {
        /// Which.
        target: Target,
    },
    /// The next log sync fails (row D5).
    FsyncError {
        /// Whose.
        target: Target,
    },
    /// The next log write fails, perhaps having written a part (row D6).
    WriteError {
        /// Whose.
        target: Target,
    },
    /// The disk is full (row D7).
    DiskFull {
        /// Whose.
        target: Target,
    },
    /// The disk is slow (row D8).
    SlowDisk {
        /// Whose.
        target: Target,
        /// By how much at most, us an operation.
        extra_us: u64,
    },
    /// The disk does nothing at all (row D8).
    StuckDisk {
        /// Whose.
        target: Target,
    },
    /// A durable, witnessed log record rots (row D10).
    RotLog {
        /// Whose.
        target: Target,
    },
    /// A snapshot rots (row D11).
    RotSnapshot {
        /// Whose.
        target: Target,
    },
    /// One of the two epoch copies rots (row D12).
    RotEpoch {
        /// Whose.
        target: Target,
    },
    /// A write went elsewhere: old data where it should be, its data in another place (row D13).
    Misdirect {
        /// Whose.
        target: Target,
    },
    /// The wall clock jumps.
    WallJump {
        /// Whose.
        target: Target,
        /// By how much, ms, either way.
        by_ms: i64,
    },
    /// The clocks begin to run fast or slow.
    Drift {
        /// Whose.
        target: Target,
        /// How much, parts per million.
        ppm: i64,
    },
    /// Negative (row D14): the durable end of the log is gone, without a trace.
    LoseTail {
        /// Whose.
        target: Target,
    },
    /// Negative (row D16): at the end of the duration the machine loses its power, and comes
    /// back with its whole disk as it was at the beginning.
    Rollback {
        /// Whose.
        target: Target,
    },
    /// Negative (row D15): the server dies and comes back with an empty disk.
    Wipe {
        /// Whose.
        target: Target,
    },
}

/// What a kind of fault is about; coverage and swarms go by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// Who reaches whom.
    Partition,
    /// How connections behave.
    Link,
    /// Processes that die or stop.
    Process,
    /// Disks.
    Disk,
    /// Clocks.
    Clock,
}

impl Fault {
    /// Its name in files, counts and prints.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::PartitionHalves { .. } => "partition-halves",
            Fault::PartitionRing {} => "partition-ring",
            Fault::PartitionBridge { .. } => "partition-bridge",
            Fault::Isolate { .. } => "isolate",
            Fault::Depose { .. } => "depose",
            Fault::CutLink { .. } => "cut-link",
            Fault::CutClients { .. } => "cut-clients",
            Fault::LatencySpike { .. } => "latency-spike",
            Fault::Clog { .. } => "clog",
            Fault::BreakConnections { .. } => "break-connections",
            Fault::HalfOpen { .. } => "half-open",
            Fault::RefuseConnects { .. } => "refuse-connects",
            Fault::CorruptBytes { .. } => "corrupt-bytes",
            Fault::Kill { .. } => "kill",
            Fault::KillAll { .. } => "kill-all",
            Fault::CrashLoop { .. } => "crash-loop",
            Fault::KillAt { .. } => "kill-at",
            Fault::Pause { .. } => "pause",
            Fault::FsyncError { .. } => "fsync-error",
            Fault::WriteError { .. } => "write-error",
            Fault::DiskFull { .. } => "disk-full",
            Fault::SlowDisk { .. } => "slow-disk",
            Fault::StuckDisk { .. } => "stuck-disk",
            Fault::RotLog { .. } => "rot-log",
            Fault::RotSnapshot { .. } => "rot-snapshot",
            Fault::RotEpoch { .. } => "rot-epoch",
            Fault::Misdirect { .. } => "misdirect",
            Fault::WallJump { .. } => "wall-jump",
            Fault::Drift { .. } => "drift",
            Fault::LoseTail { .. } => "lose-tail",
            Fault::Rollback { .. } => "rollback",
            Fault::Wipe { .. } => "wipe",
        }
    }

    /// What it is about.
    pub fn family(&self) -> Family {
        match self {
            Fault::PartitionHalves { .. }
            | Fault::PartitionRing {}
            | Fault::PartitionBridge { .. }
            | Fault::Isolate { .. }
            | Fault::Depose { .. }
            | Fault::CutLink { .. }
            | Fault::CutClients { .. } => Family::Partition,
            Fault::LatencySpike { .. }
            | Fault::Clog { .. }
            | Fault::BreakConnections { .. }
            | Fault::HalfOpen { .. }
            | Fault::RefuseConnects { .. }
            | Fault::CorruptBytes { .. } => Family::Link,
            Fault::Kill { .. }
            | Fault::KillAll { .. }
            | Fault::CrashLoop { .. }
            | Fault::KillAt { .. }
            | Fault::Pause { .. } => Family::Process,
            Fault::FsyncError { .. }
            | Fault::WriteError { .. }
            | Fault::DiskFull { .. }
            | Fault::SlowDisk { .. }
            | Fault::StuckDisk { .. }
            | Fault::RotLog { .. }
            | Fault::RotSnapshot { .. }
            | Fault::RotEpoch { .. }
            | Fault::Misdirect { .. }
            | Fault::LoseTail { .. }
            | Fault::Rollback { .. }
            | Fault::Wipe { .. } => Family::Disk,
            Fault::WallJump { .. } | Fault::Drift { .. } => Family::Clock,
        }
    }

    /// True for what damages durable bytes of one server: the atlas has to agree first.
    pub fn damages(&self) -> bool {
        matches!(
            self,
            Fault::RotLog { .. }
                | Fault::RotSnapshot { .. }
                | Fault::RotEpoch { .. }
                | Fault::Misdirect { .. }
                | Fault::LoseTail { .. }
                | Fault::Rollback { .. }
                | Fault::Wipe { .. }
        )
    }

    /// True for what the ensemble promises nothing about (rows D14 to D16): a scenario that
    /// names it is a negative test.
    pub fn breaks_the_promise(&self) -> bool {
        matches!(
            self,
            Fault::LoseTail { .. } | Fault::Rollback { .. } | Fault::Wipe { .. }
        )
    }

    /// Every target it names.
    pub fn targets(&self) -> Vec<Target> {
        match self {
            Fault::PartitionHalves { side, .. } => {
                side.iter().map(|id| Target::Server(*id)).collect()
            }
            Fault::PartitionRing {} | Fault::KillAll { .. } => Vec::new(),
            Fault::PartitionBridge { centre } => vec![*centre],
            Fault::CutLink { a, b, .. } | Fault::Clog { a, b } => vec![*a, *b],
            Fault::HalfOpen { target, other } => vec![*target, *other],
            Fault::CorruptBytes { from, to } => vec![*from, *to],
            Fault::Isolate { target, .. }
            | Fault::Depose { target, .. }
            | Fault::CutClients { target, .. }
            | Fault::LatencySpike { target, .. }
            | Fault::BreakConnections { target }
            | Fault::RefuseConnects { target }
            | Fault::Kill { target, .. }
            | Fault::CrashLoop { target, .. }
            | Fault::KillAt { target, .. }
            | Fault::Pause { target }
            | Fault::FsyncError { target }
            | Fault::WriteError { target }
            | Fault::DiskFull { target }
            | Fault::SlowDisk { target, .. }
            | Fault::StuckDisk { target }
            | Fault::RotLog { target }
            | Fault::RotSnapshot { target }
            | Fault::RotEpoch { target }
            | Fault::Misdirect { target }
            | Fault::WallJump { target, .. }
            | Fault::Drift { target, .. }
            | Fault::LoseTail { target }
            | Fault::Rollback { target }
            | Fault::Wipe { target } => vec![*target],
        }
    }
}

/// Longest duration of a fault, ms: a virtual day. Also the longest delay, us.
const LASTS_MS_MAX: u64 = 86_400_000;
/// Furthest jump of a wall clock, ms: ten years.
const WALL_JUMP_MS_MAX: u64 = 315_360_000_000;
/// Most a clock may run fast or slow, parts per million.
pub const DRIFT_PPM_MAX: u64 = 50_000;

/// Says what in a plan cannot be run in its scenario.
pub fn check(scenario: &Scenario) -> Result<(), String> {
    let servers = scenario.cluster.servers();
    for (index, planned) in scenario.plan.iter().enumerate() {
        let place = |what: String| Err(format!("`plan[{index}]`: {what}"));
        if planned.at_ms > scenario.phases.chaos_ms {
            return place(format!(
                "at {} ms, but chaos lasts {} ms",
                planned.at_ms, scenario.phases.chaos_ms
            ));
        }
        for target in planned.fault.targets() {
            match target {
                Target::Server(id) if !(1..=servers).contains(&id) => {
                    return place(format!("there is no server {id}"));
                }
                Target::Server(_) | Target::Leader | Target::Follower(_) => {}
            }
        }
        if planned.for_ms > LASTS_MS_MAX {
            return place(format!("lasts longer than {LASTS_MS_MAX} ms"));
        }
        match planned.fault {
            Fault::CrashLoop { times, up_ms, .. } if times > 1000 || up_ms > LASTS_MS_MAX => {
                return place("a crash loop has at most 1000 rounds of a day".into());
            }
            Fault::LatencySpike { extra_us, .. } | Fault::SlowDisk { extra_us, .. }
                if extra_us > LASTS_MS_MAX =>
            {
                return place(format!("`extra_us` is over {LASTS_MS_MAX}"));
            }
            Fault::WallJump { by_ms, .. } if by_ms.unsigned_abs() > WALL_JUMP_MS_MAX => {
                return place(format!("`by_ms` is over {WALL_JUMP_MS_MAX}"));
            }
            Fault::Drift { ppm, .. } if ppm.unsigned_abs() > DRIFT_PPM_MAX => {
                return place(format!("`ppm` is over {DRIFT_PPM_MAX}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_its_words() {
        for target in [Target::Leader, Target::Follower(2), Target::Server(5)] {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for text in ["", "boss", "server", "server 0", "server x", "leader 1"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn kind_is_the_name_in_the_file() {
        let fault = Fault::RotLog {
            target: Target::Leader,
        };
        let text = serde_json::to_string(&fault).unwrap();
        assert_eq!(text, r#"{"kind":"rot-log","target":"leader"}"#);
        assert_eq!(fault.kind(), "rot-log");
    }
}
