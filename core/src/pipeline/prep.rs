//! From a request to a transaction: every check a write must pass, in ZooKeeper's order.
//!
//! Pure judgement: nothing is changed here but the draft. A refused write becomes an error
//! transaction, which has its place in the order like any other; whatever can fail fails
//! here, so that applying never does. Answers to `PrepRequestProcessor` and section 10 of
//! the protocol reference.

use super::overlay::{Draft, View};
use crate::auth::{self, Identities};
use crate::base::SessionId;
use crate::proto::{
    CheckRequest, CreateRequest, DeleteRequest, ErrorCode, MultiOp, Request, SetAclRequest,
    SetDataRequest, perms,
};
use crate::tree::{AclList, next_version, path};
use crate::txn::{CreateTxn, Txn};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The session.
    pub session: SessionId,
    /// The identities of the connection the request came on.
    pub identities: &'a Identities,
}

/// Judges a write. On `Ok` the draft holds its changes; on `Err` the draft must be dropped
/// and the transaction inside says what was wrong.
pub fn prepare(draft: &mut Draft<'_>, asker: Asker<'_>, request: &Request) -> Result<Txn, Txn> {
    let single = |result: Result<Txn, ErrorCode>| result.map_err(refusal);
    match request {
        Request::Create(r) => single(create(draft, asker, r)),
        Request::Delete(r) => single(delete(draft, asker, r)),
        Request::SetData(r) => single(set_data(draft, asker, r)),
        Request::SetAcl(r) => single(set_acl(draft, asker, r)),
        Request::Multi(ops) => multi(draft, asker, ops),
        Request::CloseSession
        | Request::Exists(_)
        | Request::GetData(_)
        | Request::GetAcl { .. }
        | Request::GetChildren(_)
        | Request::GetChildren2(_)
        | Request::Sync { .. }
        | Request::Ping
        | Request::Auth(_)
        | Request::SetWatches(_) => unreachable!("the front forwards writes only"),
    }
}

fn refusal(code: ErrorCode) -> Txn {
    Txn::Error {
        code: code.to_wire(),
    }
}

/// The closing of a session: its ephemerals go, parents shrink.
pub fn close_session(draft: &mut Draft<'_>, paths: &BTreeSet<Arc<str>>) {
    for path in paths {
        if draft.view(path).is_some() {
            remove_child(draft, path);
        }
    }
}

/// Each operation sees those before it; the first that fails fails all. The results of a
/// failed multi: 0 before the culprit, its code, RUNTIMEINCONSISTENCY after (section 7).
fn multi(draft: &mut Draft<'_>, asker: Asker<'_>, ops: &[MultiOp]) -> Result<Txn, Txn> {
    let mut txns = Vec::with_capacity(ops.len());
    for (i, op) in ops.iter().enumerate() {
        let result = match op {
            MultiOp::Create(r) => create(draft, asker, r),
            MultiOp::Delete(r) => delete(draft, asker, r),
            MultiOp::SetData(r) => set_data(draft, asker, r),
            MultiOp::Check(r) => check(draft, asker, r),
        };
        match result {
            Ok(txn) => txns.push(txn),
            Err(code) => return Err(failed_multi(i, code, ops.len())),
        }
    }
    Ok(Txn::Multi(txns))
}

fn failed_multi(culprit: usize, code: ErrorCode, len: usize) -> Txn {
    let at = |i: usize| match i.cmp(&culprit) {
        std::cmp::Ordering::Less => ErrorCode::Ok,
        std::cmp::Ordering::Equal => code,
        std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
    };
    Txn::Multi((0..len).map(|i| refusal(at(i))).collect())
}

fn create(draft: &mut Draft<'_>, asker: Asker<'_>, r: &CreateRequest) -> Result<Txn, ErrorCode> {
    let mode = r.mode()?;
    if !path::has_parent(&r.path) {
        return Err(ErrorCode::BadArguments);
    }
    let acl = auth::normalise(r.acl.as_deref().unwrap_or_default(), asker.identities)?;
    let parent_path: Arc<str> = path::parent(&r.path).ok_or(ErrorCode::BadArguments)?.into();
    let mut parent = draft.view(&parent_path).ok_or(ErrorCode::NoNode)?;
    auth::check(&parent.acl, perms::CREATE, asker.identities)?;
    let name: Arc<str> = if mode.sequential {
        path::with_sequence(&r.path, parent.cversion).into()
    } else {
        r.path.clone()
    };
    path::validate(&name).map_err(|_| ErrorCode::BadArguments)?;
    if draft.view(&name).is_some() {
        return Err(ErrorCode::NodeExists);
    }
    if parent.owner != SessionId::NONE {
        return Err(ErrorCode::NoChildrenForEphemerals);
    }
    parent.cversion = parent.cversion.wrapping_add(1);
    parent.children += 1;
    let parent_cversion = parent.cversion;
    draft.set(&parent_path, parent);
    let owner = if mode.ephemeral {
        asker.session
    } else {
        SessionId::NONE
    };
    let view = View {
        version: 0,
        cversion: 0,
        aversion: 0,
        owner,
        children: 0,
        acl: Arc::new(AclList::new(&acl)),
    };
    draft.set(&name, view);
    Ok(Txn::Create(CreateTxn {
        op: r.op,
        path: name,
        data: r.data.clone(),
        acl,
        ephemeral: mode.ephemeral,
        parent_cversion,
    }))
}

fn delete(draft: &mut Draft<'_>, asker: Asker<'_>, r: &DeleteRequest) -> Result<Txn, ErrorCode> {
    if !path::has_parent(&r.path) || path::is_protected(&r.path) {
        return Err(ErrorCode::BadArguments);
    }
    let parent_path = path::parent(&r.path).ok_or(ErrorCode::BadArguments)?;
    let parent = draft.view(parent_path).ok_or(ErrorCode::NoNode)?;
    auth::check(&parent.acl, perms::DELETE, asker.identities)?;
    let node = draft.view(&r.path).ok_or(ErrorCode::NoNode)?;
    expect_version(r.version, node.version)?;
    if node.children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    remove_child(draft, &r.path);
    Ok(Txn::Delete {
        path: r.path.clone(),
    })
}

fn remove_child(draft: &mut Draft<'_>, path: &Arc<str>) {
    let parent_path: Arc<str> = path::parent(path)
        .expect("an existing node other than the root")
        .into();
    let mut parent = draft
        .view(&parent_path)
        .expect("an existing node has a parent");
    parent.children -= 1;
    draft.set(&parent_path, parent);
    draft.remove(path);
}

fn set_data(draft: &mut Draft<'_>, asker: Asker<'_>, r: &SetDataRequest) -> Result<Txn, ErrorCode> {
    path::validate(&r.path).map_err(|_| ErrorCode::BadArguments)?;
    let mut node = draft.view(&r.path).ok_or(ErrorCode::NoNode)?;
    auth::check(&node.acl, perms::WRITE, asker.identities)?;
    expect_version(r.version, node.version)?;
    node.version = next_version(node.version);
    let version = node.version;
    draft.set(&r.path, node);
    Ok(Txn::SetData {
        path: r.path.clone(),
        data: r.data.clone(),
        version,
    })
}

fn set_acl(draft: &mut Draft<'_>, asker: Asker<'_>, r: &SetAclRequest) -> Result<Txn, ErrorCode> {
    path::validate(&r.path).map_err(|_| ErrorCode::BadArguments)?;
    let acl = auth::normalise(r.acl.as_deref().unwrap_or_default(), asker.identities)?;
    let mut node = draft.view(&r.path).ok_or(ErrorCode::NoNode)?;
    auth::check(&node.acl, perms::ADMIN, asker.identities)?;
    expect_version(r.version, node.aversion)?;
    node.aversion = next_version(node.aversion);
    node.acl = Arc::new(AclList::new(&acl));
    let version = node.aversion;
    draft.set(&r.path, node);
    Ok(Txn::SetAcl {
        path: r.path.clone(),
        acl,
        version,
    })
}

fn check(draft: &mut Draft<'_>, asker: Asker<'_>, r: &CheckRequest) -> Result<Txn, ErrorCode> {
    path::validate(&r.path).map_err(|_| ErrorCode::BadArguments)?;
    let node = draft.view(&r.path).ok_or(ErrorCode::NoNode)?;
    auth::check(&node.acl, perms::READ, asker.identities)?;
    expect_version(r.version, node.version)?;
    Ok(Txn::Check {
        path: r.path.clone(),
        version: r.version,
    })
}

/// -1 asks for no version in particular.
fn expect_version(expected: i32, actual: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == actual {
        Ok(())
    } else {
        Err(ErrorCode::BadVersion)
    }
}
