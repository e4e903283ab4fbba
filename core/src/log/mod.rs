//! The write-ahead log, the snapshots and the epoch copies of one server, as a state machine
//! over numbered disk operations.
//!
//! What it is not: it does not know what a payload means, and it never decides what to
//! keep; `zab` and `peer` do.
//!
//! What always holds: nothing is reported durable ([`StoreEvent::LogDurable`],
//! [`StoreEvent::EpochsDurable`], …) before the disk said so; recovery keeps every record
//! whose sync returned; damage is told from a torn tail by witnesses, never by guess
//! (rows D1 to D16 of the fault model).
//!
//! Rooms, leaves first; the bytes are drawn in `docs/FORMATS.md`:
//!
//! | room | holds |
//! |---|---|
//! | `names` | what files are called |
//! | `record` | one log record, bound to its place |
//! | `segment` | a segment's header and the search through its bytes |
//! | `snapshot` | snapshot bytes, the writer of one, and which are kept |
//! | `epochs`, `mark` | the two small files: promises, and the high-water mark |
//! | `jobs` | numbered operations, gathered into steps |
//! | `writer` | the log while it runs: batches, rolls, cuts, voids |
//! | `reader` | one file, read in pieces around bad sectors |
//! | `judge` | what the bytes found prove: torn tail, damage, or whole |
//! | `repair` | what is written before a recovered store goes on |
//! | `recovery` | the walk from an unknown directory to a judgement and its repair |
//! | `store` | all of the above as one machine |

mod epochs;
mod jobs;
mod judge;
mod mark;
mod names;
mod reader;
mod record;
mod recovery;
mod repair;
mod segment;
mod snapshot;
mod store;
mod writer;

#[cfg(test)]
mod testdisk;
#[cfg(test)]
mod tests;

pub use store::Store;

use crate::base::disk::{DiskDone, DiskRequest};
use crate::base::event::Fitness;
use crate::base::ids::{Epoch, Zxid};
use bytes::Bytes;

/// One log record: a zxid and bytes that mean nothing to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place in the order.
    pub zxid: Zxid,
    /// The transaction as `txn` encodes it.
    pub payload: Bytes,
}

/// What a server has promised, in two checksummed copies on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EpochRecord {
    /// The greatest epoch accepted (`acceptedEpoch`).
    pub accepted: Epoch,
    /// The epoch of the last leader whose NEWLEADER was acknowledged (`currentEpoch`).
    pub current: Epoch,
    /// False while this server has forgotten promises and must not vote (rows D12, D15).
    pub voting: bool,
    /// While not voting: true when a fit leader may give it the vote back (row D12, or after
    /// the operator's rejoin), false while a wiped server waits for that word (row D15).
    pub restorable: bool,
}

/// Sizes and counts of the store; the simulator draws small ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// A segment is closed when it holds at least this many bytes.
    pub segment_bytes: u64,
    /// Most bytes of one batch between two syncs.
    pub batch_bytes_max: usize,
    /// Snapshots kept, at least 2, with every log record from the oldest of them on.
    pub snapshots_kept: usize,
    /// Bytes per read during recovery.
    pub read_bytes: u64,
}

/// What the store found on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The epoch record; `None` when the disk was empty or both copies are bad.
    pub epochs: Option<EpochRecord>,
    /// The newest good snapshot's zxid and body (exactly the bytes given when it was
    /// written, checksum verified); `None` for the empty state at zxid 0.
    pub snapshot: Option<(Zxid, Bytes)>,
    /// The contiguous log after that snapshot, synced again before this is reported.
    pub tail: Vec<Entry>,
    /// The right to vote as far as the disk tells.
    pub fitness: Fitness,
}

/// What the store reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreEvent {
    /// Recovery is done; appends may begin.
    Recovered(Recovered),
    /// Every appended entry up to here is durable.
    LogDurable {
        /// The last durable zxid.
        upto: Zxid,
    },
    /// Both copies of this record are durable.
    EpochsDurable(EpochRecord),
    /// The log was cut, durably: nothing after this zxid is left.
    Truncated {
        /// The last zxid kept.
        last: Zxid,
    },
    /// An own snapshot is durable; older log and snapshots may have been removed.
    SnapshotDurable {
        /// Its zxid.
        zxid: Zxid,
    },
    /// An installed snapshot is durable and every older log record void.
    Installed {
        /// Its zxid.
        zxid: Zxid,
    },
    /// A leader's snapshot could not be put on disk (no space, I/O error). The log and the
    /// snapshots are as before it; appends queued behind it are forgotten.
    InstallFailed {
        /// Its zxid.
        zxid: Zxid,
    },
    /// Own snapshot abandoned (no space, I/O error); nothing is lost, try again later.
    SnapshotFailed {
        /// Its zxid.
        zxid: Zxid,
    },
    /// The disk is full: the appends not yet reported durable wait and are tried again
    /// when the store is stepped at its deadline. Nothing was acknowledged.
    Full(bool),
    /// The log cannot go on (row D5): the server must stop and be restarted.
    Failed {
        /// Why, for people.
        reason: String,
    },
    /// A rare road; see `probe!`.
    Probe(&'static str),
}

/// Where the store puts its disk operations and its events.
#[derive(Debug, Default)]
pub struct StoreOut {
    /// Disk operations, in order.
    pub disk: Vec<DiskRequest>,
    /// Events, in order.
    pub events: Vec<StoreEvent>,
}

/// A completed disk operation on its way into the store.
pub type StoreInput = DiskDone;
