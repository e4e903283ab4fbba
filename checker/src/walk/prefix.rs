//! Reads whose prefix was not recorded: is there any that fits?
//!
//! The order of transactions is known by now. Each session takes, read after read, the
//! earliest prefix that answers it and is no earlier than the one before; earliest is
//! best, since a smaller one only loosens what follows.
//!
//! Answers to: `consistency.md` 3.3 (reads without zxid, order known), P6.

use super::case::{Case, Request, RequestIndex, Role};
use super::replay::Replay;
use super::times::records;
use crate::history::{Answer, Op};
use crate::verdict::{Class, Property, Violation};

/// True for the reads that are judged here: those of one node.
fn is_judged(request: &Request<'_>) -> bool {
    request.role == Role::ReadSomewhere && matches!(request.op, Op::Exists { .. } | Op::Get { .. })
}

/// Tells the tree which paths' states will be asked for.
pub fn trace_paths(replay: &mut Replay<'_, '_>) {
    for request in replay
        .case
        .requests
        .iter()
        .filter(|request| is_judged(request))
    {
        replay.tree.trace(request.path);
    }
}

/// Where a session must be by now, and the request that says so.
#[derive(Clone, Copy)]
struct Bound {
    zxid: i64,
    request: Option<RequestIndex>,
}

/// Finds a prefix for every such read.
///
/// # Errors
/// The first that has none.
pub fn check(replay: &mut Replay<'_, '_>) -> Result<(), Box<Violation>> {
    let case = replay.case;
    if replay.open_world() || !case.requests.iter().any(is_judged) {
        return Ok(());
    }
    let next_writes = next_writes(case);
    let mut bounds = vec![
        Bound {
            zxid: i64::MIN,
            request: None
        };
        case.sessions.len()
    ];
    for (index, request) in case.requests.iter().enumerate() {
        let Some(bound) = bounds.get_mut(request.session as usize) else {
            continue;
        };
        let reached = match request.role {
            Role::Transaction | Role::Read | Role::Sync => Some(request.zxid),
            Role::ReadSomewhere if is_judged(request) => {
                Some(earliest(replay, request, *bound, next_writes[index])?)
            }
            Role::ReadSomewhere | Role::Unanswered | Role::Nothing => None,
        };
        if let Some(zxid) = reached.filter(|&zxid| zxid > bound.zxid) {
            *bound = Bound {
                zxid,
                request: Some(index as RequestIndex),
            };
        }
    }
    Ok(())
}

/// For each request, the zxid of its session's next answered transaction.
fn next_writes(case: &Case<'_>) -> Vec<i64> {
    let mut next = vec![i64::MAX; case.requests.len()];
    let mut of_session = vec![i64::MAX; case.sessions.len()];
    for (index, request) in case.requests.iter().enumerate().rev() {
        let Some(known) = of_session.get_mut(request.session as usize) else {
            continue;
        };
        next[index] = *known;
        if request.role == Role::Transaction {
            *known = request.zxid;
        }
    }
    next
}

fn earliest(
    replay: &Replay<'_, '_>,
    request: &Request<'_>,
    bound: Bound,
    next_write: i64,
) -> Result<i64, Box<Violation>> {
    let Some(answer) = request.answer else {
        return Ok(bound.zxid);
    };
    let states = replay.tree.states(request.path);
    let first = states
        .partition_point(|(zxid, _)| *zxid <= bound.zxid)
        .saturating_sub(1);
    let blur = replay.case.history.header.clock_error_ns.saturating_mul(2);
    for (zxid, node) in &states[first..] {
        let zxid = *zxid;
        let future = zxid > bound.zxid
            && replay.transaction_at(zxid).is_some_and(|writer| {
                replay.case.requests[writer as usize].call > request.ret.saturating_add(blur)
            });
        if future || zxid >= next_write {
            break;
        }
        if replay.tree.state_answers(node, answer) {
            return Ok(zxid.max(bound.zxid));
        }
    }
    Err(no_prefix(replay, request, answer, bound))
}

fn no_prefix(
    replay: &Replay<'_, '_>,
    request: &Request<'_>,
    answer: &Result<Answer, crate::history::ErrorCode>,
    bound: Bound,
) -> Box<Violation> {
    let earlier = bound
        .request
        .map(|index| &replay.case.requests[index as usize]);
    let ever = replay
        .tree
        .states(request.path)
        .iter()
        .any(|(_, node)| replay.tree.state_answers(node, answer));
    let property = match earlier {
        _ if !ever => Property::NoFutureReads,
        Some(earlier) if earlier.role == Role::Transaction => Property::ReadYourWrites,
        Some(earlier) if earlier.path == request.path => Property::MonotonicReads,
        Some(_) => Property::OneOrder,
        None => Property::NoFutureReads,
    };
    let mut convicting = vec![request.invoke, request.done];
    convicting.extend(
        earlier
            .into_iter()
            .flat_map(|earlier| [earlier.invoke, earlier.done]),
    );
    Box::new(Violation {
        property,
        class: if ever {
            Class::Undetermined
        } else {
            Class::Inconsistent
        },
        records: records(replay.case, &convicting),
        state_before: replay.tree.describe(request.path),
        reason: match ever {
            true => "no prefix that the session can have been at by then gives this answer".into(),
            false => "no prefix at all gives this answer".into(),
        },
    })
}
