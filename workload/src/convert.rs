//! From the client's vocabulary to the checker's: two rooms that must not know each other.
//!
//! Field by field and without judgement; what the wire said goes into the history as it was.

use gamekeeper_checker::history::{self as seen, Answer, Op, Value};
use gamekeeper_core::proto::{
    Acl, CreateOp, CreateRequest, ErrorCode, EventType, MultiOp, MultiResult, Request, Response,
    Stat,
};
use std::sync::Arc;

/// A request as the history names it.
///
/// # Panics
///
/// On pings, credentials and setWatches, which sessions send by themselves and never as
/// numbered requests.
pub fn op(request: &Request) -> Op {
    match request {
        Request::Create(r) => create(r),
        Request::Delete(r) => Op::Delete {
            path: r.path.clone(),
            version: r.version,
        },
        Request::Exists(r) => Op::Exists {
            path: r.path.clone(),
            watch: r.watch,
        },
        Request::GetData(r) => Op::Get {
            path: r.path.clone(),
            watch: r.watch,
        },
        Request::SetData(r) => Op::Set {
            path: r.path.clone(),
            data: value(r.data.as_deref()),
            version: r.version,
        },
        Request::GetAcl { path } => Op::GetAcl { path: path.clone() },
        Request::SetAcl(r) => Op::SetAcl {
            path: r.path.clone(),
            acl: acl(r.acl.as_deref().unwrap_or_default()).into(),
            version: r.version,
        },
        Request::GetChildren(r) => Op::Children {
            path: r.path.clone(),
            watch: r.watch,
            stat: false,
        },
        Request::GetChildren2(r) => Op::Children {
            path: r.path.clone(),
            watch: r.watch,
            stat: true,
        },
        Request::Sync { path } => Op::Sync { path: path.clone() },
        Request::Multi(ops) => Op::Multi {
            ops: ops.iter().map(multi_op).collect(),
        },
        Request::CloseSession => Op::Close,
        Request::Ping | Request::Auth(_) | Request::SetWatches(_) => {
            unreachable!("not a numbered request: {request:?}")
        }
    }
}

fn create(r: &CreateRequest) -> Op {
    let mode = r.mode().unwrap_or_default();
    Op::Create {
        path: r.path.clone(),
        data: value(r.data.as_deref()),
        acl: acl(r.acl.as_deref().unwrap_or_default()).into(),
        ephemeral: mode.ephemeral,
        lapse: None,
        sequential: mode.sequential,
        stat: r.op == CreateOp::Create2,
    }
}

fn multi_op(op: &MultiOp) -> Op {
    match op {
        MultiOp::Create(r) => create(r),
        MultiOp::Delete(r) => Op::Delete {
            path: r.path.clone(),
            version: r.version,
        },
        MultiOp::SetData(r) => Op::Set {
            path: r.path.clone(),
            data: value(r.data.as_deref()),
            version: r.version,
        },
        MultiOp::Check(r) => Op::Check {
            path: r.path.clone(),
            version: r.version,
        },
    }
}

/// An answer as the history names it.
pub fn answer(response: &Response) -> Answer {
    match response {
        Response::Empty | Response::Sync { .. } => Answer::Done,
        Response::Create { path } => Answer::Path(path.clone()),
        Response::Create2 { path, stat: s } => Answer::Created {
            path: path.clone(),
            stat: stat(s),
        },
        Response::Exists { stat: s }
        | Response::SetData { stat: s }
        | Response::SetAcl { stat: s } => Answer::Stat(stat(s)),
        Response::GetData { data, stat: s } => Answer::Data {
            data: value(data.as_deref()),
            stat: stat(s),
        },
        Response::GetAcl { acl: a, stat: s } => Answer::Acl {
            acl: acl(a),
            stat: stat(s),
        },
        Response::GetChildren { children } => Answer::Names(names(children)),
        Response::GetChildren2 { children, stat: s } => Answer::NamesStat {
            names: names(children),
            stat: stat(s),
        },
        Response::Multi(results) => Answer::Multi(results.iter().map(sub_answer).collect()),
    }
}

fn sub_answer(result: &MultiResult) -> seen::SubAnswer {
    Ok(match result {
        MultiResult::Create { path } => Answer::Path(path.clone()),
        MultiResult::Create2 { path, stat: s } => Answer::Created {
            path: path.clone(),
            stat: stat(s),
        },
        MultiResult::Delete | MultiResult::Check => Answer::Done,
        MultiResult::SetData { stat: s } => Answer::Stat(stat(s)),
        MultiResult::Error { err } => return Err(seen::ErrorCode(*err)),
    })
}

/// An error code as the history names it.
pub fn code(code: ErrorCode) -> seen::ErrorCode {
    seen::ErrorCode(code.to_wire())
}

/// An event type as the history names it.
pub fn event(kind: EventType) -> seen::EventType {
    match kind {
        EventType::NodeCreated => seen::EventType::NodeCreated,
        EventType::NodeDeleted => seen::EventType::NodeDeleted,
        EventType::NodeDataChanged => seen::EventType::NodeDataChanged,
        EventType::NodeChildrenChanged => seen::EventType::NodeChildrenChanged,
    }
}

fn value(data: Option<&[u8]>) -> Option<Value> {
    data.map(Value::from)
}

fn names(children: &[String]) -> Vec<Arc<str>> {
    children.iter().map(|name| name.as_str().into()).collect()
}

/// An ACL as the history names it.
pub fn acl(list: &[Acl]) -> Vec<seen::Acl> {
    let entry = |a: &Acl| seen::Acl::new(a.perms, &a.id.scheme, &a.id.id);
    list.iter().map(entry).collect()
}

/// A Stat as the history names it.
pub fn stat(stat: &Stat) -> seen::Stat {
    seen::Stat {
        czxid: stat.czxid.to_wire(),
        mzxid: stat.mzxid.to_wire(),
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.owner.0,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid.to_wire(),
    }
}
