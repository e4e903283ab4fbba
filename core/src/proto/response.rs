//! Responses: what follows the reply header of a successful request.

use super::code::{ErrorCode, OpCode};
use super::multi::{self, MultiResult};
use super::record::{Acl, ReplyHeader, Stat};
use crate::base::Zxid;
use crate::jute::{JuteError, Reader, Record, Writer};
use bytes::Bytes;
use std::sync::Arc;

/// The body of a successful reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// No body: delete, ping, auth, setWatches, closeSession.
    Empty,
    /// create.
    Create {
        /// Where the node is, sequence number included.
        path: Arc<str>,
    },
    /// create2.
    Create2 {
        /// Where the node is, sequence number included.
        path: Arc<str>,
        /// Its stat.
        stat: Stat,
    },
    /// exists.
    Exists {
        /// The node's stat.
        stat: Stat,
    },
    /// getData.
    GetData {
        /// The node's data; may be null.
        data: Option<Bytes>,
        /// Its stat.
        stat: Stat,
    },
    /// setData.
    SetData {
        /// The stat after it.
        stat: Stat,
    },
    /// getACL.
    GetAcl {
        /// The node's ACL, digests hidden from those without ADMIN.
        acl: Vec<Acl>,
        /// Its stat.
        stat: Stat,
    },
    /// setACL.
    SetAcl {
        /// The stat after it.
        stat: Stat,
    },
    /// getChildren.
    GetChildren {
        /// Names, not paths, in no order a client may rely on.
        children: Vec<String>,
    },
    /// getChildren2.
    GetChildren2 {
        /// Names, not paths, in no order a client may rely on.
        children: Vec<String>,
        /// The parent's stat.
        stat: Stat,
    },
    /// sync.
    Sync {
        /// The request's path.
        path: Arc<str>,
    },
    /// multi, succeeded or failed.
    Multi(Vec<MultiResult>),
}

impl Response {
    /// Writes the body.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Response::Empty => {}
            Response::Create { path } | Response::Sync { path } => out.string(path),
            Response::Create2 { path, stat } => {
                out.string(path);
                stat.write(out);
            }
            Response::Exists { stat } | Response::SetData { stat } | Response::SetAcl { stat } => {
                stat.write(out);
            }
            Response::GetData { data, stat } => {
                out.buffer(data.as_deref());
                stat.write(out);
            }
            Response::GetAcl { acl, stat } => {
                out.records(Some(acl));
                stat.write(out);
            }
            Response::GetChildren { children } => out.strings(children),
            Response::GetChildren2 { children, stat } => {
                out.strings(children);
                stat.write(out);
            }
            Response::Multi(results) => multi::write_results(results, out),
        }
    }

    /// Reads the body of a successful reply to a request with this code. An operation that
    /// cannot be asked for has no body either.
    pub fn decode(op: OpCode, body: &[u8]) -> Result<Response, JuteError> {
        let mut from = Reader::new(body);
        let from = &mut from;
        Ok(match op {
            OpCode::Create => Response::Create {
                path: from.shared()?,
            },
            OpCode::Create2 => Response::Create2 {
                path: from.shared()?,
                stat: Stat::read(from)?,
            },
            OpCode::Exists => Response::Exists {
                stat: Stat::read(from)?,
            },
            OpCode::GetData => Response::GetData {
                data: from.buffer()?,
                stat: Stat::read(from)?,
            },
            OpCode::SetData => Response::SetData {
                stat: Stat::read(from)?,
            },
            OpCode::GetAcl => Response::GetAcl {
                acl: from.records()?.ok_or(JuteError::UnexpectedNull)?,
                stat: Stat::read(from)?,
            },
            OpCode::SetAcl => Response::SetAcl {
                stat: Stat::read(from)?,
            },
            OpCode::GetChildren => Response::GetChildren {
                children: names(from)?,
            },
            OpCode::GetChildren2 => Response::GetChildren2 {
                children: names(from)?,
                stat: Stat::read(from)?,
            },
            OpCode::Sync => Response::Sync {
                path: from.shared()?,
            },
            OpCode::Multi => Response::Multi(multi::read_results(from)?),
            OpCode::Notification
            | OpCode::Delete
            | OpCode::Ping
            | OpCode::Check
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
            | OpCode::WhoAmI
            | OpCode::CreateSession
            | OpCode::CloseSession
            | OpCode::Error => Response::Empty,
        })
    }

    /// The whole frame of a successful reply.
    pub fn frame(&self, xid: i32, zxid: Zxid) -> Bytes {
        let mut out = Writer::with_capacity(128);
        ReplyHeader::new(xid, zxid, ErrorCode::Ok).write(&mut out);
        self.encode(&mut out);
        out.finish()
    }
}

fn names(from: &mut Reader<'_>) -> Result<Vec<String>, JuteError> {
    from.vector(|from| Ok(from.string()?.into_owned()))?
        .ok_or(JuteError::UnexpectedNull)
}
