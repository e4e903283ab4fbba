//! A scenario: everything a life depends on, as plain data, drawn whole from a seed before
//! anything runs.
//!
//! What it is not: it knows no world and no server; `life` turns it into both. What always
//! holds: the same seed, file and intensity give the same scenario in every build, and a
//! scenario written out and read again is equal, so that the value and not the seed is what
//! runs, is saved and is shrunk.

mod draw;
mod file;
mod print;

pub use draw::draw;
pub use file::{ScenarioError, ScenarioFile};
pub use print::permille;

use crate::plan::PlannedFault;
use serde::{Deserialize, Serialize};

/// Intensity of a scenario as drawn, in thousandths.
pub const INTENSITY_NORMAL: u32 = 1000;

/// One life of a quorum, before it is lived.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What everything not named by a file was drawn from, and the key of every draw made
    /// while running (latencies, disk delays, client choices).
    #[serde(with = "file::seed_text")]
    pub seed: u64,
    /// How hard the plan was drawn to strike, in thousandths of the normal.
    pub intensity_permille: u32,
    /// Who there is.
    pub cluster: Cluster,
    /// Their timeouts.
    pub timing: Timing,
    /// Sizes that decide how often rare roads are walked.
    pub sizes: Sizes,
    /// Delays and windows of connections.
    pub network: Network,
    /// Delays of disks.
    pub disk: DiskLaw,
    /// Wall clocks and drift.
    pub clock: ClockLaw,
    /// The course of the run.
    pub phases: Phases,
    /// What clients do.
    pub workloads: Vec<Traffic>,
    /// What goes wrong, in order of time.
    pub plan: Vec<PlannedFault>,
}

/// Who there is. Voters are servers 1 to `voters`, observers follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Voting servers, 1 to 9.
    pub voters: u8,
    /// Observers, 0 to 9.
    pub observers: u8,
}

impl Cluster {
    /// Every server.
    pub fn servers(&self) -> u8 {
        self.voters + self.observers
    }

    /// `f`: how many voters may be missing while the rest goes on.
    pub fn tolerated(&self) -> u8 {
        (self.voters - 1) / 2
    }
}

/// Timeouts of servers and clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// `tickTime`, ms.
    pub tick_ms: u64,
    /// `initLimit`, ticks.
    pub init_limit: u64,
    /// `syncLimit`, ticks.
    pub sync_limit: u64,
    /// What clients ask for as session timeout, ms.
    pub session_timeout_ms: u64,
    /// How long a candidate waits for a better vote, ms.
    pub finalize_wait_ms: u64,
    /// First wait between notifications, ms.
    pub notify_wait_ms_min: u64,
    /// Longest wait between notifications, ms.
    pub notify_wait_ms_max: u64,
    /// After how long a halted server is started again by its supervisor, ms.
    pub restart_ms: u64,
}

/// Sizes of logs, windows and batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// A log segment is closed at this size, bytes.
    pub segment_bytes: u64,
    /// Most bytes between two syncs of the log.
    pub batch_bytes_max: u64,
    /// Bytes per read during recovery.
    pub read_bytes: u64,
    /// Transactions between two snapshots.
    pub snapshot_every_txns: u64,
    /// Snapshots kept, at least 2.
    pub snapshots_kept: u64,
    /// Bytes of a snapshot sent in one message.
    pub snapshot_chunk_bytes: u64,
    /// Committed transactions kept in memory for DIFF.
    pub history_entries_max: u64,
    /// Most bytes of them.
    pub history_bytes_max: u64,
    /// Most messages a server's driver takes in one poll.
    pub drain_limit: u64,
}

/// Delays and windows of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Between servers.
    pub peers: Latency,
    /// Between clients and servers.
    pub clients: Latency,
    /// Bytes in flight on one connection before its writer must wait.
    pub window_bytes: u64,
    /// How late an end notices that its connection broke, ms at most.
    pub notice_ms_max: u64,
}

/// A law of delays: `base + 0..=spread`, and for some `+ 0..=tail`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Least, us.
    pub base_us: u64,
    /// Evenly drawn on top, us.
    pub spread_us: u64,
    /// How many in a thousand have a tail.
    pub tail_permille: u64,
    /// Evenly drawn on top of those, us.
    pub tail_us: u64,
}

/// Delays of disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskLaw {
    /// Of writes and everything else that is not a sync.
    pub write: Latency,
    /// Of syncs.
    pub sync: Latency,
}

/// Wall clocks and drift.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockLaw {
    /// Servers' wall clocks start at most this far from the truth, ms.
    pub wall_offset_ms_max: u64,
    /// Their clocks run at most this much fast or slow, parts per million.
    pub drift_ppm_max: u64,
}

/// The course of a run, in virtual time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// Undisturbed beginning, ms.
    pub warmup_ms: u64,
    /// The plan at work, ms. The times in a plan count from its start.
    pub chaos_ms: u64,
    /// After the healing, how long the ensemble may take to commit and agree again, ms.
    pub converge_ms_max: u64,
    /// True when only a core of f + 1 voters is healed and the rest stays dead.
    pub heal_core_only: bool,
}

/// What a group of clients does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// What they do.
    pub kind: TrafficKind,
    /// How many they are.
    pub clients: u64,
    /// Least pause of one client between two steps, ms.
    pub think_ms_min: u64,
    /// Longest pause of one client between two steps, ms, at least 1.
    pub think_ms_max: u64,
    /// Distinct znodes the group works on.
    pub keys: u64,
    /// Largest value written, bytes.
    pub value_bytes_max: u64,
    /// Most requests of one client under way at a time.
    pub pipeline: u64,
    /// How often in a thousand steps a client first moves to another server.
    #[serde(default)]
    pub roam_permille: u64,
}

/// The kinds of work clients do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficKind {
    /// Everything over a shared tree.
    Mix,
    /// A compare-and-set register.
    Register,
    /// A lock of ephemeral sequential nodes.
    Lock,
    /// Sessions that come and go.
    Sessions,
    /// Watches.
    Watches,
    /// Transactions of several operations.
    Multi,
    /// Access control.
    Acls,
}

impl TrafficKind {
    /// Every kind.
    pub const ALL: [TrafficKind; 7] = [
        TrafficKind::Mix,
        TrafficKind::Register,
        TrafficKind::Lock,
        TrafficKind::Sessions,
        TrafficKind::Watches,
        TrafficKind::Multi,
        TrafficKind::Acls,
    ];

    /// Its name in files and prints.
    pub fn name(self) -> &'static str {
        match self {
            TrafficKind::Mix => "mix",
            TrafficKind::Register => "register",
            TrafficKind::Lock => "lock",
            TrafficKind::Sessions => "sessions",
            TrafficKind::Watches => "watches",
            TrafficKind::Multi => "multi",
            TrafficKind::Acls => "acls",
        }
    }
}
