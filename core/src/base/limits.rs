//! Every bound of the core, by name. A queue, loop or buffer without one here has none.

/// Largest client frame and znode, bytes (ZooKeeper's `jute.maxbuffer`).
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Largest transaction between servers and on disk, bytes: a frame and what the leader adds.
pub const TXN_BYTES_MAX: usize = FRAME_BYTES_MAX + 0xf_ffff;

/// Largest frame between servers, bytes.
pub const PEER_FRAME_BYTES_MAX: usize = TXN_BYTES_MAX + 4096;

/// Most proposals a leader keeps outstanding before it stops taking requests.
pub const OUTSTANDING_PROPOSALS_MAX: usize = 4096;

/// Most requests of one client connection that wait for an answer before its socket is
/// not read any more.
pub const CONN_PENDING_MAX: usize = 1000;

/// Most epochs a learner lists to find the point where its log leaves the leader's.
pub const HISTORY_EPOCHS_MAX: usize = 64;
