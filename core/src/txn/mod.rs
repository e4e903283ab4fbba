//! Transaction records: what lies in the log, travels in a proposal and is applied to the tree.
//!
//! The layout is ZooKeeper's (`docs/FORMATS.md`), so that logs can be converted. A record
//! says what *becomes*, not what was asked: versions are the new ones, sequence numbers are
//! in the path, a failed write is an [`Txn::Error`].
//!
//! What always holds: [`decode`] of [`encode`] is the same record; hostile bytes are an
//! error value; a multi holds no multi.
//!
//! Answers to `SerializeUtils`, `TxnHeader` and the records of `org.apache.zookeeper.txn`.

use crate::base::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, Writer};
use crate::proto::{Acl, CreateOp, OpCode};
use bytes::Bytes;
use std::sync::Arc;

/// Why bytes are not a transaction record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TxnError {
    /// The bytes are malformed.
    #[error("malformed transaction: {0}")]
    Malformed(#[from] JuteError),
    /// A kind of transaction that this server cannot apply: containers, nodes with a time to
    /// live, reconfiguration, or one nobody knows.
    #[error("transaction type {0} is not supported")]
    Unsupported(i32),
}

/// Who did it, and its place in the order. The type is the [`Txn`]'s own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// The session that asked; [`SessionId::NONE`] for the server itself.
    pub session: SessionId,
    /// The xid of the request; 0 for the server itself.
    pub cxid: i32,
    /// Its place in the order.
    pub zxid: Zxid,
    /// The leader's wall clock, Unix ms.
    pub time_ms: i64,
}

/// A node came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTxn {
    /// By which operation: it decides the answer.
    pub op: CreateOp,
    /// Where, sequence number included.
    pub path: Arc<str>,
    /// Its data.
    pub data: Option<Bytes>,
    /// Its ACL, normalised.
    pub acl: Vec<Acl>,
    /// True when it belongs to the header's session.
    pub ephemeral: bool,
    /// The parent's stored child counter after it; -1 (older logs): one more than it was.
    pub parent_cversion: i32,
}

/// What became of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn {
    /// A session was opened.
    CreateSession {
        /// Its timeout.
        timeout_ms: i32,
    },
    /// The header's session was closed.
    CloseSession {
        /// Its ephemerals, in the order they are deleted; `None` in older logs.
        paths: Option<Vec<Arc<str>>>,
    },
    /// The write failed; nothing changed.
    Error {
        /// The code, as on the wire.
        code: i32,
    },
    /// A node came to be.
    Create(CreateTxn),
    /// A node went.
    Delete {
        /// Which.
        path: Arc<str>,
    },
    /// A node's data were replaced.
    SetData {
        /// Which node.
        path: Arc<str>,
        /// The new data.
        data: Option<Bytes>,
        /// The new version.
        version: i32,
    },
    /// A node's ACL was replaced.
    SetAcl {
        /// Which node.
        path: Arc<str>,
        /// The new list, normalised.
        acl: Vec<Acl>,
        /// The new ACL version.
        version: i32,
    },
    /// A version was compared, within multi.
    Check {
        /// Which node.
        path: Arc<str>,
        /// The version asked for.
        version: i32,
    },
    /// Several in one; if it failed, every one of them is an [`Txn::Error`].
    Multi(Vec<Txn>),
}

impl Txn {
    /// The record's type.
    pub fn kind(&self) -> OpCode {
        match self {
            Txn::CreateSession { .. } => OpCode::CreateSession,
            Txn::CloseSession { .. } => OpCode::CloseSession,
            Txn::Error { .. } => OpCode::Error,
            Txn::Create(create) => create.op.op(),
            Txn::Delete { .. } => OpCode::Delete,
            Txn::SetData { .. } => OpCode::SetData,
            Txn::SetAcl { .. } => OpCode::SetAcl,
            Txn::Check { .. } => OpCode::Check,
            Txn::Multi(_) => OpCode::Multi,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Txn::CreateSession { timeout_ms } => out.int(*timeout_ms),
            Txn::CloseSession { paths: None } => {}
            Txn::CloseSession { paths: Some(paths) } => out.strings(paths),
            Txn::Error { code } => out.int(*code),
            Txn::Create(create) => {
                out.string(&create.path);
                out.buffer(create.data.as_deref());
                out.records(Some(&create.acl));
                out.bool(create.ephemeral);
                out.int(create.parent_cversion);
            }
            Txn::Delete { path } => out.string(path),
            Txn::SetData {
                path,
                data,
                version,
            } => {
                out.string(path);
                out.buffer(data.as_deref());
                out.int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                out.string(path);
                out.records(Some(acl));
                out.int(*version);
            }
            Txn::Check { path, version } => {
                out.string(path);
                out.int(*version);
            }
            Txn::Multi(txns) => out.vector(txns, |out, txn| {
                assert!(
                    !matches!(txn, Txn::Multi(_)),
                    "a multi within a multi was proposed"
                );
                out.int(txn.kind().to_wire());
                out.framed(|out| txn.write(out));
            }),
        }
    }

    fn read(kind: i32, from: &mut Reader<'_>) -> Result<Txn, TxnError> {
        let Some(known) = OpCode::from_wire(kind) else {
            return Err(TxnError::Unsupported(kind));
        };
        Ok(match known {
            OpCode::CreateSession => Txn::CreateSession {
                timeout_ms: from.int()?,
            },
            OpCode::CloseSession => Txn::CloseSession {
                paths: match from.left() {
                    0 => None,
                    _ => from.strings()?,
                },
            },
            OpCode::Error => Txn::Error { code: from.int()? },
            OpCode::Create => Txn::Create(read_create(CreateOp::Create, from)?),
            OpCode::Create2 => Txn::Create(read_create(CreateOp::Create2, from)?),
            OpCode::Delete => Txn::Delete {
                path: from.shared()?,
            },
            OpCode::SetData => Txn::SetData {
                path: from.shared()?,
                data: from.buffer()?,
                version: from.int()?,
            },
            OpCode::SetAcl => Txn::SetAcl {
                path: from.shared()?,
                acl: from.records()?.unwrap_or_default(),
                version: from.int()?,
            },
            OpCode::Check => Txn::Check {
                path: from.shared()?,
                version: from.int()?,
            },
            OpCode::Multi => read_multi(from)?,
            OpCode::Notification
            | OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Sync
            | OpCode::Ping
            | OpCode::GetChildren2
            | OpCode::Reconfig
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::CreateContainer
            | OpCode::DeleteContainer
            | OpCode::CreateTtl
            | OpCode::MultiRead
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::WhoAmI => return Err(TxnError::Unsupported(kind)),
        })
    }
}

fn read_create(op: CreateOp, from: &mut Reader<'_>) -> Result<CreateTxn, TxnError> {
    Ok(CreateTxn {
        op,
        path: from.shared()?,
        data: from.buffer()?,
        acl: from.records()?.unwrap_or_default(),
        ephemeral: from.bool()?,
        // The oldest logs end before this field.
        parent_cversion: match from.left() {
            0..=3 => -1,
            _ => from.int()?,
        },
    })
}

fn read_multi(from: &mut Reader<'_>) -> Result<Txn, TxnError> {
    let parts = from
        .vector(|from| {
            let kind = from.int()?;
            let body = from.slice()?.ok_or(JuteError::UnexpectedNull)?;
            Ok((kind, body))
        })?
        .ok_or(JuteError::UnexpectedNull)?;
    let mut txns = Vec::with_capacity(parts.len());
    for (kind, body) in parts {
        if kind == OpCode::Multi.to_wire() {
            // ZooKeeper has no multi within multi; refusing it keeps the reader flat.
            return Err(TxnError::Unsupported(kind));
        }
        txns.push(Txn::read(kind, &mut Reader::new(body))?);
    }
    Ok(Txn::Multi(txns))
}

/// The record as it is proposed and logged.
pub fn encode(header: &TxnHeader, txn: &Txn) -> Bytes {
    let mut out = Writer::with_capacity(128);
    out.long(header.session.0);
    out.int(header.cxid);
    out.long(header.zxid.to_wire());
    out.long(header.time_ms);
    out.int(txn.kind().to_wire());
    txn.write(&mut out);
    out.finish()
}

/// Reads a record. What follows it (ZooKeeper appends a digest of its tree) is ignored.
pub fn decode(bytes: &[u8]) -> Result<(TxnHeader, Txn), TxnError> {
    let mut from = Reader::new(bytes);
    let header = TxnHeader {
        session: SessionId(from.long()?),
        cxid: from.int()?,
        zxid: Zxid::from_wire(from.long()?),
        time_ms: from.long()?,
    };
    let kind = from.int()?;
    Ok((header, Txn::read(kind, &mut from)?))
}
