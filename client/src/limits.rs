//! Every bound of the client, by name. The wire's own bounds are the core's.

/// Most requests of one session that are queued or unanswered at a time; further submissions
/// wait in the handle.
pub const OUTSTANDING_MAX: usize = 1000;

/// Most commands that wait between the handles of a session and its driver.
pub const COMMANDS_MAX: usize = 64;

/// Most watch events that wait for the application. When they are not taken, the session
/// stops reading its connection, and in the end loses it, rather than drop one.
pub const EVENTS_MAX: usize = 4096;

/// Largest frame accepted from a server, bytes. A server's answers have no bound of their
/// own (a list of children may be long); this one only keeps a broken peer in check.
pub const REPLY_BYTES_MAX: usize = 64 << 20;

/// Most bytes of paths in one setWatches frame; more watches go in further frames
/// (ZOOKEEPER-706).
pub const SET_WATCHES_BYTES_MAX: usize = 128 << 10;

/// Most credentials one session carries.
pub const CREDENTIALS_MAX: usize = 64;

/// Bytes asked of a connection in one read.
pub const READ_CHUNK_BYTES: usize = 16 << 10;

/// Reads in a row before the driver looks after its other duties.
pub const READS_PER_WAKE_MAX: usize = 16;
