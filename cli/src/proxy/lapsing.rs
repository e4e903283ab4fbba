//! Creates of containers and TTL nodes, alone and in multis: requests that our own service does
//! not know, and so our client's vocabulary has no words for.
//!
//! What it is not: a judge of what a server will accept. What the history's format cannot hold
//! is nothing here, and left out like any other such request.
//!
//! Answers to: `protocol.md` 6, 7 and 9.2; `CreateMode`, `MultiOperationRecord`.

use gamekeeper_checker::history::{Acl, Lapse, Op, Value};
use gamekeeper_core::jute::{JuteError, Reader, Record};
use gamekeeper_core::proto::{self, CheckRequest, DeleteRequest, OpCode, SetDataRequest};
use gamekeeper_workload::convert;

/// Flags of a container, and of nodes with a time to live.
const CONTAINER: i32 = 4;
const TTL: i32 = 5;
const TTL_SEQUENTIAL: i32 = 6;

/// The request of that code in these bytes; nothing if it is none of those, or cannot be held.
pub fn op(code: i32, body: &[u8]) -> Option<Op> {
    let mut from = Reader::new(body);
    match OpCode::from_wire(code)? {
        OpCode::CreateContainer => {
            let asked = Asked::read(&mut from, false).ok()?;
            // The code decides, not the flags: they only say whether it is sequential.
            let sequential = match asked.flags {
                0 | 1 | CONTAINER => false,
                2 | 3 => true,
                _ => return None,
            };
            Some(asked.op((false, sequential), Some(Lapse::Container), true))
        }
        OpCode::CreateTtl => time_to_live(&mut from),
        OpCode::Multi => multi(&mut from),
        _ => None,
    }
}

/// What a create asks for.
struct Asked {
    path: std::sync::Arc<str>,
    data: Option<Value>,
    acl: Vec<Acl>,
    flags: i32,
    ttl_ms: i64,
}

impl Asked {
    fn read(from: &mut Reader<'_>, has_ttl: bool) -> Result<Asked, JuteError> {
        let path = from.shared()?;
        let data = from.buffer()?;
        let acl: Option<Vec<proto::Acl>> = from.records()?;
        Ok(Asked {
            path,
            data: data.map(|bytes| Value::from(&bytes[..])),
            acl: convert::acl(acl.as_deref().unwrap_or_default()),
            flags: from.int()?,
            ttl_ms: if has_ttl { from.long()? } else { -1 },
        })
    }

    fn op(self, (ephemeral, sequential): (bool, bool), lapse: Option<Lapse>, stat: bool) -> Op {
        Op::Create {
            path: self.path,
            data: self.data,
            acl: self.acl.into(),
            ephemeral,
            lapse,
            sequential,
            stat,
        }
    }
}

fn time_to_live(from: &mut Reader<'_>) -> Option<Op> {
    let asked = Asked::read(from, true).ok()?;
    let ttl_ms = u64::try_from(asked.ttl_ms).ok()?;
    let sequential = match asked.flags {
        TTL => false,
        TTL_SEQUENTIAL => true,
        _ => return None,
    };
    let known = (1..=Lapse::TTL_MS_MAX).contains(&ttl_ms);
    known.then(|| asked.op((false, sequential), Some(Lapse::Ttl(ttl_ms)), true))
}

/// A multi; within it the flags decide and not the code.
fn multi(from: &mut Reader<'_>) -> Option<Op> {
    let mut ops = Vec::new();
    loop {
        let (code, done, _) = (from.int().ok()?, from.bool().ok()?, from.int().ok()?);
        if done {
            return Some(Op::Multi { ops });
        }
        ops.push(part(OpCode::from_wire(code)?, from)?);
    }
}

fn part(code: OpCode, from: &mut Reader<'_>) -> Option<Op> {
    Some(match code {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            let asked = Asked::read(from, false).ok()?;
            let (flags, stat) = (asked.flags, code != OpCode::Create);
            match flags {
                0..=3 => asked.op((flags & 1 != 0, flags & 2 != 0), None, stat),
                CONTAINER => asked.op((false, false), Some(Lapse::Container), true),
                _ => return None,
            }
        }
        OpCode::CreateTtl => time_to_live(from)?,
        OpCode::Delete => {
            let DeleteRequest { path, version } = DeleteRequest::read(from).ok()?;
            Op::Delete { path, version }
        }
        OpCode::SetData => {
            let asked = SetDataRequest::read(from).ok()?;
            Op::Set {
                path: asked.path,
                data: asked.data.map(|bytes| Value::from(&bytes[..])),
                version: asked.version,
            }
        }
        OpCode::Check => {
            let CheckRequest { path, version } = CheckRequest::read(from).ok()?;
            Op::Check { path, version }
        }
        _ => return None,
    })
}
