//! The snapshot body: a replica as bytes, and back.
//!
//! The body is a row of framed records (`docs/FORMATS.md`): Begin, every session, every
//! node, End. It is the same whether it goes to a file or to a learner; who carries it adds
//! checksums and places. Pad records keep a step from coming out empty.
//!
//! What always holds: [`ReplicaLoader`] accepts a body only whole, in order and with the
//! digests it promised; hostile bytes are a [`SnapshotError`], never a panic, and make it
//! hold at most one record more than it was fed.

use super::replica::Replica;
use crate::base::limits::{SNAPSHOT_RECORD_BYTES_MAX, SNAPSHOT_VISITS_MAX};
use crate::base::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, Writer};
use crate::session::SessionTable;
use crate::tree::snapshot::LoadError;
use crate::tree::{DataTree, SnapshotId, TreeLoader};
use bytes::Bytes;

/// "GKSB".
const MAGIC: i32 = 0x474b_5342;
/// The layout's version.
const VERSION: i32 = 1;

const TAG_PAD: u8 = 0;
const TAG_BEGIN: u8 = 1;
const TAG_SESSION: u8 = 2;
const TAG_NODE: u8 = 3;
const TAG_END: u8 = 4;

/// Bytes of a session's record, for the bound on a step.
const SESSION_BYTES: usize = 17;

/// Why bytes are not a snapshot body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A record is malformed.
    #[error("malformed record: {0}")]
    Malformed(#[from] JuteError),
    /// It does not begin like a snapshot body.
    #[error("not a snapshot body")]
    NotASnapshot,
    /// It was written by another version.
    #[error("snapshot version {0}")]
    Version(i32),
    /// A record is too long, or empty.
    #[error("record of {0} bytes")]
    RecordLength(u32),
    /// A record where it must not be.
    #[error("record {tag} {place}")]
    Unexpected {
        /// Its tag.
        tag: u8,
        /// Where it was.
        place: &'static str,
    },
    /// The nodes are not a tree.
    #[error(transparent)]
    Tree(#[from] LoadError),
    /// Sessions are not those that were written.
    #[error("the sessions are not those that were written")]
    Sessions,
    /// The body ends before its End.
    #[error("the body is cut off")]
    Cut,
}

/// How far the writing of a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Sessions,
    Nodes,
    End,
    Done,
}

/// A body being written.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    stage: Stage,
    digest: u64,
    /// Written and not given away yet.
    out: Writer,
}

impl Writing {
    /// Begins the body of this state; the snapshots of tree and sessions are opened by the
    /// caller at the same moment.
    pub fn begin(tree: &DataTree, sessions: &SessionTable) -> Writing {
        let digest = tree.digest().wrapping_add(sessions.digest());
        let mut out = Writer::new();
        out.framed(|out| {
            out.byte(TAG_BEGIN);
            out.int(MAGIC);
            out.int(VERSION);
            out.long(tree.last_zxid().to_wire());
            out.long(wire_count(sessions.len()));
            out.long(sessions.digest() as i64);
            out.long(wire_count(tree.node_count()));
            out.long(tree.digest() as i64);
        });
        Writing {
            stage: Stage::Sessions,
            digest,
            out,
        }
    }

    /// At least one and at most `bytes_max` bytes more.
    pub fn next(
        &mut self,
        id: SnapshotId,
        bytes_max: usize,
        tree: &mut DataTree,
        sessions: &mut SessionTable,
    ) -> Bytes {
        assert!(bytes_max > 0, "a step of no bytes");
        while self.out.len() < bytes_max && self.stage != Stage::Done {
            if !self.write_more(id, bytes_max, tree, sessions) {
                break;
            }
        }
        if self.out.is_empty() {
            // Only nodes younger than the snapshot were met.
            self.out.framed(|out| out.byte(TAG_PAD));
        }
        self.out.split_front(bytes_max)
    }

    /// Writes on in the stage it is in. True when that is done; false: enough for a step.
    fn write_more(
        &mut self,
        id: SnapshotId,
        bytes_max: usize,
        tree: &mut DataTree,
        sessions: &mut SessionTable,
    ) -> bool {
        let out = &mut self.out;
        let (done, next) = match self.stage {
            Stage::Sessions => {
                let visits_max = (bytes_max / SESSION_BYTES).clamp(1, SNAPSHOT_VISITS_MAX);
                let done = sessions.snapshot_step(id, visits_max, |session, timeout_ms| {
                    out.framed(|out| {
                        out.byte(TAG_SESSION);
                        out.long(session.0);
                        out.int(timeout_ms as i32);
                    });
                });
                (done, Stage::Nodes)
            }
            Stage::Nodes => {
                let done = tree.snapshot_step(id, out, bytes_max, |out, node| {
                    out.framed(|out| {
                        out.byte(TAG_NODE);
                        node(out);
                    });
                });
                (done, Stage::End)
            }
            Stage::End => {
                out.framed(|out| {
                    out.byte(TAG_END);
                    out.long(self.digest as i64);
                });
                (true, Stage::Done)
            }
            Stage::Done => (false, Stage::Done),
        };
        if done {
            self.stage = next;
        }
        done
    }

    /// True when everything was given away.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done && self.out.is_empty()
    }
}

fn wire_count(n: usize) -> i64 {
    i64::try_from(n).expect("counts fit into 63 bits")
}

/// What Begin promised.
#[derive(Clone, Debug)]
struct Promised {
    sessions: i64,
    sessions_digest: u64,
    nodes: i64,
    digest: u64,
}

/// Loads a body, whole or piece by piece.
#[derive(Clone, Debug, Default)]
pub struct ReplicaLoader {
    /// Fed, and not yet a whole record.
    pending: Vec<u8>,
    begun: Option<(Promised, TreeLoader)>,
    sessions: SessionTable,
    last_session: Option<SessionId>,
    ended: bool,
}

impl ReplicaLoader {
    /// A loader that has seen nothing.
    pub fn new() -> ReplicaLoader {
        ReplicaLoader::default()
    }

    /// Takes the next piece, of any size.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        if self.pending.is_empty() {
            let used = self.take_records(piece)?;
            self.pending.extend_from_slice(&piece[used..]);
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(piece);
        let used = self.take_records(&bytes)?;
        bytes.drain(..used);
        self.pending = bytes;
        Ok(())
    }

    /// Takes the whole records at the front and says how many bytes they were.
    fn take_records(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let mut used = 0;
        while let Some((len, rest)) = bytes[used..].split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*len);
            if len == 0 || len as usize > SNAPSHOT_RECORD_BYTES_MAX {
                return Err(SnapshotError::RecordLength(len));
            }
            let Some(record) = rest.get(..len as usize) else {
                break;
            };
            self.record(record[0], &mut Reader::new(&record[1..]))?;
            used += 4 + record.len();
        }
        Ok(used)
    }

    fn record(&mut self, tag: u8, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let unexpected = |place| SnapshotError::Unexpected { tag, place };
        if self.ended {
            return Err(unexpected("after the end"));
        }
        let Some((promised, tree)) = &mut self.begun else {
            self.begun = Some(read_begin(tag, from)?);
            return Ok(());
        };
        match tag {
            TAG_PAD => {}
            TAG_BEGIN => return Err(unexpected("again")),
            TAG_SESSION => {
                let session = SessionId(from.long()?);
                let timeout_ms = from.int()? as u32;
                if tree.node_count() > 0 || self.last_session.is_some_and(|last| last >= session) {
                    return Err(unexpected("out of order"));
                }
                self.last_session = Some(session);
                self.sessions.open(session, timeout_ms);
            }
            TAG_NODE => tree.node(from)?,
            TAG_END => {
                if from.long()? as u64 != promised.digest {
                    return Err(unexpected("with another digest than the beginning's"));
                }
                self.ended = true;
            }
            _ => return Err(unexpected("of an unknown kind")),
        }
        if from.left() > 0 {
            return Err(unexpected("with bytes behind it"));
        }
        Ok(())
    }

    /// The replica, when all of it came and is what was written.
    pub fn finish(self) -> Result<Replica, SnapshotError> {
        let Some((promised, tree)) = self.begun else {
            return Err(SnapshotError::Cut);
        };
        if !self.ended {
            return Err(SnapshotError::Cut);
        }
        if !self.pending.is_empty() {
            return Err(SnapshotError::Unexpected {
                tag: TAG_PAD,
                place: "after the end",
            });
        }
        let sessions = self.sessions;
        if wire_count(sessions.len()) != promised.sessions
            || sessions.digest() != promised.sessions_digest
        {
            return Err(SnapshotError::Sessions);
        }
        if wire_count(tree.node_count()) != promised.nodes {
            return Err(LoadError::Incomplete.into());
        }
        let replica = Replica::of_parts(tree.finish()?, sessions);
        assert_eq!(replica.digest(), promised.digest, "both parts were checked");
        Ok(replica)
    }
}

fn read_begin(tag: u8, from: &mut Reader<'_>) -> Result<(Promised, TreeLoader), SnapshotError> {
    if tag != TAG_BEGIN || from.int()? != MAGIC {
        return Err(SnapshotError::NotASnapshot);
    }
    let version = from.int()?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let zxid = Zxid::from_wire(from.long()?);
    let sessions = from.long()?;
    let sessions_digest = from.long()? as u64;
    let nodes = from.long()?;
    let tree_digest = from.long()? as u64;
    let promised = Promised {
        sessions,
        sessions_digest,
        nodes,
        digest: tree_digest.wrapping_add(sessions_digest),
    };
    if from.left() > 0 {
        return Err(SnapshotError::NotASnapshot);
    }
    Ok((promised, TreeLoader::new(zxid, tree_digest)))
}
