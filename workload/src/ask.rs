//! Requests and answers in few words, for the workloads. No decisions.

use bytes::Bytes;
use gamekeeper_core::proto::{
    Acl, CheckRequest, CreateMode, CreateOp, CreateRequest, DeleteRequest, Id, MultiOp, Request,
    Response, SetAclRequest, SetDataRequest, Stat, WatchRequest,
};

/// Any version.
pub(crate) const ANY: i32 = -1;

/// What kind of node to create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Persistent,
    Ephemeral,
    PersistentSequential,
    EphemeralSequential,
}

impl Mode {
    fn flags(self) -> i32 {
        let (ephemeral, sequential) = match self {
            Mode::Persistent => (false, false),
            Mode::Ephemeral => (true, false),
            Mode::PersistentSequential => (false, true),
            Mode::EphemeralSequential => (true, true),
        };
        CreateMode {
            ephemeral,
            sequential,
        }
        .flags()
    }
}

fn creation(op: CreateOp, path: &str, data: Bytes, mode: Mode, acl: Vec<Acl>) -> CreateRequest {
    CreateRequest {
        op,
        path: path.into(),
        data: Some(data),
        acl: Some(acl),
        flags: mode.flags(),
    }
}

pub(crate) fn create(path: &str, data: Bytes, mode: Mode) -> Request {
    create_with(path, data, mode, Acl::open())
}

pub(crate) fn create_with(path: &str, data: Bytes, mode: Mode, acl: Vec<Acl>) -> Request {
    Request::Create(creation(CreateOp::Create, path, data, mode, acl))
}

pub(crate) fn create2(path: &str, data: Bytes, mode: Mode) -> Request {
    Request::Create(creation(CreateOp::Create2, path, data, mode, Acl::open()))
}

pub(crate) fn delete(path: &str, version: i32) -> Request {
    let path = path.into();
    Request::Delete(DeleteRequest { path, version })
}

fn watched(path: &str, watch: bool) -> WatchRequest {
    let path = path.into();
    WatchRequest { path, watch }
}

pub(crate) fn exists(path: &str, watch: bool) -> Request {
    Request::Exists(watched(path, watch))
}

pub(crate) fn get(path: &str, watch: bool) -> Request {
    Request::GetData(watched(path, watch))
}

pub(crate) fn children(path: &str, watch: bool) -> Request {
    Request::GetChildren(watched(path, watch))
}

pub(crate) fn children2(path: &str, watch: bool) -> Request {
    Request::GetChildren2(watched(path, watch))
}

fn replacement(path: &str, data: Bytes, version: i32) -> SetDataRequest {
    SetDataRequest {
        path: path.into(),
        data: Some(data),
        version,
    }
}

pub(crate) fn set(path: &str, data: Bytes, version: i32) -> Request {
    Request::SetData(replacement(path, data, version))
}

pub(crate) fn sync(path: &str) -> Request {
    Request::Sync { path: path.into() }
}

pub(crate) fn get_acl(path: &str) -> Request {
    Request::GetAcl { path: path.into() }
}

pub(crate) fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Request {
    Request::SetAcl(SetAclRequest {
        path: path.into(),
        acl: Some(acl),
        version,
    })
}

pub(crate) fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl::new(perms, Id::new(scheme, id))
}

pub(crate) fn multi(ops: Vec<MultiOp>) -> Request {
    Request::Multi(ops)
}

pub(crate) fn op_create(path: &str, data: Bytes, mode: Mode) -> MultiOp {
    MultiOp::Create(creation(CreateOp::Create, path, data, mode, Acl::open()))
}

pub(crate) fn op_delete(path: &str, version: i32) -> MultiOp {
    let path = path.into();
    MultiOp::Delete(DeleteRequest { path, version })
}

pub(crate) fn op_set(path: &str, data: Bytes, version: i32) -> MultiOp {
    MultiOp::SetData(replacement(path, data, version))
}

pub(crate) fn op_check(path: &str, version: i32) -> MultiOp {
    let path = path.into();
    MultiOp::Check(CheckRequest { path, version })
}

/// The path of a child.
pub(crate) fn join(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}

/// The node whose data a single request reads or writes.
pub(crate) fn data_path(request: &Request) -> Option<&str> {
    match request {
        Request::Exists(r) | Request::GetData(r) => Some(&r.path),
        Request::SetData(r) => Some(&r.path),
        Request::Create(_)
        | Request::Delete(_)
        | Request::GetAcl { .. }
        | Request::SetAcl(_)
        | Request::GetChildren(_)
        | Request::GetChildren2(_)
        | Request::Sync { .. }
        | Request::Ping
        | Request::Multi(_)
        | Request::Auth(_)
        | Request::SetWatches(_)
        | Request::CloseSession => None,
    }
}

/// The Stat in an answer, of whatever node.
pub(crate) fn stat_of(response: &Response) -> Option<&Stat> {
    match response {
        Response::Create2 { stat, .. }
        | Response::Exists { stat }
        | Response::GetData { stat, .. }
        | Response::SetData { stat }
        | Response::GetAcl { stat, .. }
        | Response::SetAcl { stat }
        | Response::GetChildren2 { stat, .. } => Some(stat),
        Response::Empty
        | Response::Create { .. }
        | Response::GetChildren { .. }
        | Response::Sync { .. }
        | Response::Multi(_) => None,
    }
}
