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
use crate::history::{Answer, Path, SyncPromise};
use crate::verdict::{Class, Property, Violation};

fn is_judged(request: &Request<'_>) -> bool {
    request.role == Role::ReadSomewhere
}

/// Tells the tree which paths' states will be asked for: those read, and the children that
/// were listed.
pub fn trace_paths(replay: &mut Replay<'_, '_>) {
    let case = replay.case;
    for request in case.requests.iter().filter(|request| is_judged(request)) {
        replay.tree.trace(request.path);
        for name in listed(request) {
            let child = replay.tree.paths.child(request.path, name);
            replay.tree.trace(child);
        }
    }
}

/// The names that a getChildren was told.
fn listed<'h>(request: &Request<'h>) -> &'h [Path] {
    match request.answer {
        Some(Ok(Answer::Names(names) | Answer::NamesStat { names, .. })) => names,
        Some(Ok(_) | Err(_)) | None => &[],
    }
}

/// True if every listed child, and no name twice, was there at a zxid.
fn listed_at(replay: &Replay<'_, '_>, request: &Request<'_>, zxid: i64) -> bool {
    let names = listed(request);
    let mut seen: Vec<&Path> = names.iter().collect();
    seen.sort_unstable();
    seen.dedup();
    let parent = replay.tree.paths.name(request.path).to_string();
    let parent = parent.trim_end_matches('/');
    let there = |name: &Path| {
        let child = replay.tree.paths.find(&format!("{parent}/{name}"));
        let states = child.map_or(&[][..], |child| replay.tree.states(child));
        let now = states.partition_point(|(since, _)| *since <= zxid);
        now.checked_sub(1).is_some_and(|last| states[last].1.exists)
    };
    seen.len() == names.len() && names.iter().all(there)
}

/// Where a session must be by now, and the request that says so.
#[derive(Clone, Copy)]
struct Bound {
    zxid: i64,
    request: Option<RequestIndex>,
}

/// Finds a prefix for every such read; returns the zxid of each, in the order asked.
///
/// # Errors
/// The first that has none.
pub fn check(replay: &mut Replay<'_, '_>) -> Result<Vec<(RequestIndex, i64)>, Box<Violation>> {
    let case = replay.case;
    if replay.open_world() || !case.requests.iter().any(is_judged) {
        return Ok(Vec::new());
    }
    let mut placed = Vec::new();
    let ends = upper_ends(case);
    let floors = sync_floors(case);
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
            Role::Transaction | Role::Read => Some(request.zxid),
            Role::Sync => Some(request.zxid.max(floors[index])),
            Role::ReadSomewhere if is_judged(request) => {
                let zxid = earliest(replay, request, *bound, ends[index])?;
                placed.push((index as RequestIndex, zxid));
                Some(zxid)
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
    Ok(placed)
}

/// For each request, the zxid that its prefix must end before: that of its session's next
/// transaction, or of what its next read does not see any more.
fn upper_ends(case: &Case<'_>) -> Vec<i64> {
    let mut ends = vec![i64::MAX; case.requests.len()];
    let mut of_session = vec![i64::MAX; case.sessions.len()];
    for (index, request) in case.requests.iter().enumerate().rev() {
        let Some(known) = of_session.get_mut(request.session as usize) else {
            continue;
        };
        ends[index] = *known;
        match request.role {
            Role::Transaction => *known = request.zxid,
            Role::Read => *known = request.zxid.saturating_add(1).min(*known),
            Role::Sync | Role::ReadSomewhere | Role::Unanswered | Role::Nothing => {}
        }
    }
    ends
}

/// For each sync, the greatest transaction that had been answered before it (R4). A leader
/// that gives its own word alone may have missed it.
fn sync_floors(case: &Case<'_>) -> Vec<i64> {
    let blur = case.history.header.clock_error_ns.saturating_mul(2);
    let answered = case
        .requests
        .iter()
        .filter(|request| request.role == Role::Transaction);
    let mut returned: Vec<(u64, i64)> = answered
        .map(|request| (request.ret.saturating_add(blur), request.zxid))
        .collect();
    returned.sort_unstable();
    let mut greatest = vec![i64::MIN];
    for &(_, zxid) in &returned {
        greatest.push(zxid.max(greatest[greatest.len() - 1]));
    }
    let promised = case.history.header.sync == SyncPromise::Quorum;
    let floor = |request: &Request<'_>| match request.role == Role::Sync && promised {
        true => greatest[returned.partition_point(|&(ret, _)| ret < request.call)],
        false => i64::MIN,
    };
    case.requests.iter().map(floor).collect()
}

fn earliest(
    replay: &Replay<'_, '_>,
    request: &Request<'_>,
    bound: Bound,
    end: i64,
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
        if future || zxid >= end {
            break;
        }
        if replay.tree.state_answers(node, answer) && listed_at(replay, request, zxid) {
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
    let ever = replay.tree.states(request.path).iter().any(|(zxid, node)| {
        replay.tree.state_answers(node, answer) && listed_at(replay, request, *zxid)
    });
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
        class: Class::Undetermined,
        class_reason: String::new(),
        records: records(replay.case, &convicting),
        state_before: replay.tree.describe(request.path),
        reason: match ever {
            true => "no prefix that the session can have been at by then gives this answer".into(),
            false => "no prefix at all gives this answer".into(),
        },
    })
}
