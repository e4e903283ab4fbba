//! Disk operations as data: what leaves a peer as a numbered output and returns as an input.
//!
//! One server owns one flat directory. Operations of one lane take effect in the order they
//! were submitted and complete in that order; between lanes there is no order at all.
//!
//! What each completion promises:
//!
//! | operation | when it completes `Ok` |
//! |---|---|
//! | `Create` | the file exists and is empty, visible but perhaps not durable (its name neither) |
//! | `Write`, `Truncate` | visible to reads, perhaps not durable |
//! | `Sync` | every write and truncation of that file submitted before it is durable |
//! | `Rename`, `Delete` | visible, perhaps not durable |
//! | `SyncDir` | every create, rename and delete submitted before it is durable |
//! | `Read`, `List` | the value is what is visible now |
//!
//! After an `Err` of `Sync` or `Write` nothing is known of the bytes; see rows D5 and D6 of
//! the fault model: the caller never retries the sync and never acknowledges the record.

use bytes::Bytes;
use thiserror::Error;

/// The number of one operation; the completion carries it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct DiskToken(pub u64);

/// A queue of operations that complete in order. Two lanes keep a snapshot's bulk from
/// delaying the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum DiskLane {
    /// The write-ahead log and the epoch copies.
    Log,
    /// Snapshots.
    Snapshot,
}

/// One disk operation. File names are plain names inside the server's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// Creates an empty file; [`DiskError::Exists`] when the name is taken.
    Create {
        /// Name.
        file: String,
    },
    /// Writes at an offset, extending the file (a gap reads as zeroes).
    Write {
        /// Name.
        file: String,
        /// Where, bytes.
        offset: u64,
        /// What.
        data: Bytes,
    },
    /// Makes the file's bytes and length durable.
    Sync {
        /// Name.
        file: String,
    },
    /// Sets the length.
    Truncate {
        /// Name.
        file: String,
        /// New length, bytes.
        len: u64,
    },
    /// Renames, replacing `to` when it exists.
    Rename {
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Removes a file; [`DiskError::NotFound`] when there is none.
    Delete {
        /// Name.
        file: String,
    },
    /// Makes creates, renames and deletes durable.
    SyncDir,
    /// Reads up to `len` bytes; fewer at the end of the file.
    Read {
        /// Name.
        file: String,
        /// Where, bytes.
        offset: u64,
        /// How many at most.
        len: u64,
    },
    /// Lists every file with its length, sorted by name.
    List,
}

/// An operation on its way to the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskRequest {
    /// Its number.
    pub token: DiskToken,
    /// Its queue.
    pub lane: DiskLane,
    /// What to do.
    pub op: DiskOp,
}

/// What a successful operation returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskValue {
    /// Nothing but success.
    Done,
    /// The bytes of a `Read`.
    Bytes(Bytes),
    /// The names and lengths of a `List`.
    Listing(Vec<(String, u64)>),
}

/// Why an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DiskError {
    /// The device failed (EIO).
    #[error("input/output error")]
    Io,
    /// No space left (ENOSPC). Nothing, or a part, was written.
    #[error("no space left on device")]
    NoSpace,
    /// No such file.
    #[error("no such file")]
    NotFound,
    /// `Create` met an existing file.
    #[error("file exists")]
    Exists,
}

/// An operation that came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskDone {
    /// Its number.
    pub token: DiskToken,
    /// How it went.
    pub result: Result<DiskValue, DiskError>,
}
