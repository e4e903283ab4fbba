//! The replicated state of one server: the tree and the sessions, and nothing else that is
//! the same everywhere.
//!
//! It takes committed transactions as bytes, in order, and says what each did: for the reply
//! ([`Applied::result`]), for the watches ([`Applied::events`]), for those who keep track of
//! sessions. It can be written down as it is at one moment ([`Replica::snapshot_begin`])
//! while transactions go on, and loaded again ([`Replica::load`], `snapshot`).
//!
//! What always holds: replicas that applied the same transactions are equal and have equal
//! digests; one that met a transaction it cannot apply must not be used any more.
//!
//! Answers to `ZKDatabase` and `FinalRequestProcessor.applyRequest`.

use super::snapshot::Writing;
use crate::base::{SessionId, Zxid};
use crate::proto::{CreateOp, ErrorCode, MultiResult, OpCode, Response};
use crate::session::SessionTable;
use crate::tree::{ApplyError, DataTree, TreeEvent, TxnResult};
use crate::txn::{self, Txn, TxnError, TxnHeader};
use bytes::Bytes;
use std::collections::BTreeMap;

pub use super::snapshot::{ReplicaLoader, SnapshotError};
pub use crate::tree::SnapshotId;

/// A committed transaction cannot be applied: the server must stop.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its bytes are not a transaction.
    #[error(transparent)]
    Txn(#[from] TxnError),
    /// Its bytes are those of another place in the order.
    #[error("the transaction at {place:?} says it is {says:?}")]
    Misnumbered {
        /// Where it was committed.
        place: Zxid,
        /// What its header says.
        says: Zxid,
    },
    /// It does not fit the tree.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What a transaction did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Who did it.
    pub header: TxnHeader,
    /// What kind it was; [`OpCode::Error`] for a write that failed.
    pub kind: OpCode,
    /// The answer to whoever asked for it. A multi that failed answers with a body, too.
    pub result: Result<Response, ErrorCode>,
    /// For the watches, in the order they are to be told, before the answer.
    pub events: Vec<TreeEvent>,
    /// The session it opened, with its timeout in ms.
    pub opened_session: Option<(SessionId, u32)>,
    /// The session it closed. It may have been closed before.
    pub closed_session: Option<SessionId>,
}

/// Tree and sessions.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    tree: DataTree,
    sessions: SessionTable,
    snapshots: BTreeMap<SnapshotId, Writing>,
    snapshots_begun: u64,
}

impl Replica {
    /// The state before the first transaction.
    pub fn new() -> Replica {
        Replica::default()
    }

    pub(super) fn of_parts(tree: DataTree, sessions: SessionTable) -> Replica {
        Replica {
            tree,
            sessions,
            ..Replica::default()
        }
    }

    /// The znodes.
    pub fn tree(&self) -> &DataTree {
        &self.tree
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// The last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.tree.last_zxid()
    }

    /// A number that equal replicas share.
    pub fn digest(&self) -> u64 {
        self.tree.digest().wrapping_add(self.sessions.digest())
    }

    /// Applies the next committed transaction.
    ///
    /// # Errors
    /// When the bytes cannot be applied. A part of them may have been; the replica is of no
    /// use any more.
    ///
    /// # Panics
    /// When `zxid` is not the next one.
    pub fn apply(&mut self, zxid: Zxid, payload: &[u8]) -> Result<Applied, ReplicaError> {
        let (header, txn) = txn::decode(payload)?;
        if header.zxid != zxid {
            return Err(ReplicaError::Misnumbered {
                place: zxid,
                says: header.zxid,
            });
        }
        let done = self.tree.apply(&header, &txn)?;
        let mut applied = Applied {
            header,
            kind: txn.kind(),
            result: answer(done.result),
            events: done.events,
            opened_session: None,
            closed_session: None,
        };
        match txn {
            Txn::CreateSession { timeout_ms } => {
                let timeout_ms = u32::try_from(timeout_ms).unwrap_or(0);
                self.sessions.open(header.session, timeout_ms);
                applied.opened_session = Some((header.session, timeout_ms));
            }
            Txn::CloseSession { .. } => {
                self.sessions.close(header.session);
                applied.closed_session = Some(header.session);
            }
            Txn::Error { .. }
            | Txn::Create(_)
            | Txn::Delete { .. }
            | Txn::SetData { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Multi(_) => {}
        }
        Ok(applied)
    }

    /// Opens a snapshot of the state as it is now, without copying it.
    pub fn snapshot_begin(&mut self) -> SnapshotId {
        self.snapshots_begun += 1;
        let id = SnapshotId(self.snapshots_begun);
        self.snapshots
            .insert(id, Writing::begin(&self.tree, &self.sessions));
        self.tree.snapshot_open(id);
        self.sessions.snapshot_open(id);
        id
    }

    /// The next bytes of an open snapshot, at least one and at most `bytes_max`, and whether
    /// they were the last; then the snapshot is closed. A step costs in proportion to
    /// `bytes_max` and to one node, whatever the size of the state.
    ///
    /// # Panics
    /// When no such snapshot is open, or `bytes_max` is 0.
    pub fn snapshot_next(&mut self, id: SnapshotId, bytes_max: usize) -> (Bytes, bool) {
        let writing = self.snapshots.get_mut(&id).expect("the snapshot is open");
        let chunk = writing.next(id, bytes_max, &mut self.tree, &mut self.sessions);
        let done = writing.is_done();
        if done {
            self.snapshot_cancel(id);
        }
        (chunk, done)
    }

    /// Closes a snapshot before its end; one that is not open is no matter.
    pub fn snapshot_cancel(&mut self, id: SnapshotId) {
        self.snapshots.remove(&id);
        self.tree.snapshot_close(id);
        self.sessions.snapshot_close(id);
    }

    /// How many snapshots are open.
    pub fn snapshots_open(&self) -> usize {
        self.snapshots.len()
    }

    /// The state that a whole snapshot body holds.
    ///
    /// # Errors
    /// When the body is not exactly what a replica wrote.
    pub fn load(body: &[u8]) -> Result<Replica, SnapshotError> {
        let mut loader = ReplicaLoader::new();
        loader.feed(body)?;
        loader.finish()
    }
}

/// Two replicas are equal when tree and sessions are.
impl PartialEq for Replica {
    fn eq(&self, other: &Replica) -> bool {
        self.tree == other.tree && self.sessions == other.sessions
    }
}

impl Eq for Replica {}

fn answer(result: TxnResult) -> Result<Response, ErrorCode> {
    Ok(match result {
        TxnResult::Error(code) => {
            return Err(ErrorCode::from_wire(code).unwrap_or(ErrorCode::SystemError));
        }
        TxnResult::SessionCreated
        | TxnResult::SessionClosed
        | TxnResult::Deleted
        | TxnResult::Checked => Response::Empty,
        TxnResult::Created { op, path, stat } => match op {
            CreateOp::Create => Response::Create { path },
            CreateOp::Create2 => Response::Create2 { path, stat },
        },
        TxnResult::DataSet { stat } => Response::SetData { stat },
        TxnResult::AclSet { stat } => Response::SetAcl { stat },
        TxnResult::Multi(parts) => Response::Multi(parts.into_iter().map(part_answer).collect()),
    })
}

fn part_answer(result: TxnResult) -> MultiResult {
    match result {
        TxnResult::Error(err) => MultiResult::Error { err },
        TxnResult::Created { op, path, stat } => match op {
            CreateOp::Create => MultiResult::Create { path },
            CreateOp::Create2 => MultiResult::Create2 { path, stat },
        },
        TxnResult::Deleted => MultiResult::Delete,
        TxnResult::DataSet { stat } => MultiResult::SetData { stat },
        TxnResult::Checked => MultiResult::Check,
        TxnResult::SessionCreated
        | TxnResult::SessionClosed
        | TxnResult::AclSet { .. }
        | TxnResult::Multi(_) => unreachable!("the tree refuses such parts of a multi"),
    }
}
