//! Everything a peer is told before its first step.

use crate::log::StoreConfig;
use crate::pipeline::TimeoutBounds;
use crate::zab::ZabConfig;

/// Configuration of one peer. Nothing else reaches it but inputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// Ensemble and protocol timing.
    pub zab: ZabConfig,
    /// Sizes of log and snapshots.
    pub store: StoreConfig,
    /// Bounds of session timeouts.
    pub timeouts: TimeoutBounds,
    /// An own snapshot is begun after this many transactions.
    pub snapshot_txns: u64,
    /// Bytes of a snapshot given out per step.
    pub snapshot_chunk_bytes: usize,
    /// Entropy for session ids, different in every process: a server that restarts must not
    /// give out an id that it gave out before.
    pub session_seed: u64,
}
