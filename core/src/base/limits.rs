//! Every bound of the core, by name. A queue, loop or buffer without one here has none.

/// Largest client frame and znode, bytes (ZooKeeper's `jute.maxbuffer`).
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Largest transaction between servers and on disk, bytes: a frame and what the leader adds.
pub const TXN_BYTES_MAX: usize = FRAME_BYTES_MAX + 0xf_ffff;

/// How long the store waits before it tries again on a full disk, ms.
pub const LOG_RETRY_MS: u64 = 200;

/// How long durable log may go without a high-water mark that witnesses it, ms. Bounds
/// the extra syncs as well: one per this time.
pub const LOG_MARK_MS: u64 = 100;

/// Largest frame between servers, bytes.
pub const PEER_FRAME_BYTES_MAX: usize = TXN_BYTES_MAX + 4096;

/// Most batches of frames that wait for the shell's driver; behind them connections are not
/// read.
pub const SHELL_QUEUE_MAX: usize = 1024;

/// Most messages, or disk completions, the shell's driver takes before it lets others run.
pub const SHELL_DRAIN_MAX: usize = 256;

/// Smallest and largest read the shell asks of a socket, bytes. It grows while reads fill it.
pub const SHELL_READ_BYTES: (usize, usize) = (4096, 64 * 1024);

/// Most bytes that wait for a client that does not read before it is closed.
pub const CLIENT_BACKLOG_BYTES_MAX: usize = 16 << 20;

/// Most bytes that wait for a server that does not read before its link is closed.
pub const LINK_BACKLOG_BYTES_MAX: usize = 256 << 20;

/// Most client connections of one server.
pub const CLIENTS_MAX: usize = 16 * 1024;

/// Most accepted links of one server, introduced or not.
pub const LINKS_ACCEPTED_MAX: usize = 256;

/// Most proposals a leader keeps outstanding before it stops taking requests.
pub const OUTSTANDING_PROPOSALS_MAX: u32 = 4096;

/// Most requests of one client connection that wait for an answer before its socket is
/// not read any more.
pub const CONN_PENDING_MAX: usize = 1000;

/// Most epochs a learner lists to find the point where its log leaves the leader's.
pub const HISTORY_EPOCHS_MAX: usize = 64;

/// Most nodes a snapshot visits in one step.
pub const SNAPSHOT_VISITS_MAX: usize = 4096;

/// Most different ACLs a snapshot numbers; a list beyond them is written with every node.
pub const SNAPSHOT_ACLS_MAX: i32 = 65_536;

/// Largest record of a snapshot body, bytes: path, data and ACL came in a frame each.
pub const SNAPSHOT_RECORD_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

/// Most identities of one connection.
pub const IDENTITIES_MAX: usize = 64;
/// Most messages that wait behind a snapshot or a cut while a learner is brought in line;
/// beyond them it starts over.
pub const SYNC_BACKLOG_MAX: usize = 65_536;
/// Most pieces of a snapshot under way to one learner.
pub const SNAPSHOT_CHUNKS_MAX: u32 = 8;

/// How long a connection may stay without introducing itself, ms
/// (`zookeeper.nio.sessionlessCnxnTimeout`).
pub const FRESH_CONN_MS_MAX: u64 = 10_000;

/// Most requests that wait at the leader for room among the outstanding proposals.
pub const CHIEF_BACKLOG_MAX: usize = 65_536;
