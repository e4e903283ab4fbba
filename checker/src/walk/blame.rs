//! Which property a mismatch breaks, and the words for it.
//!
//! The walk knows only that something cannot be; this names it. A name is a judgement of
//! kind, not of guilt: the history is inconsistent whatever it is called.
//!
//! Answers to: `consistency.md` 3.4 and 3.5.

use super::case::RequestIndex;
use super::evidence::{Deed, Evidence};
use super::replay::{Mismatch, Replay, What};
use super::times::records;
use crate::history::{Answer, ErrorCode, EventType, Op, Value};
use crate::model::{Diff, NO_PATH, NO_SESSION, PathId};
use crate::verdict::{Class, Property, Violation};

/// The violation that a mismatch is, if nothing can mend it.
pub fn blame(replay: &mut Replay<'_, '_>, zxid: i64, what: What, why: &Mismatch) -> Box<Violation> {
    if let What::Transaction(_) = what {
        replay.tree.rewind(zxid);
    }
    let request = match what {
        What::Hole(_) => None,
        What::Transaction(request) | What::Read(request) => Some(request),
    };
    let (property, reason, mut others, path) = match (why, what) {
        (Mismatch::Unclaimed(index) | Mismatch::OtherDeed(index), What::Hole(hole)) => {
            let evidence = replay.holes[hole as usize].1[*index];
            let (property, reason) = of_hole(replay, zxid, &evidence);
            (property, reason, vec![evidence.record], evidence.path)
        }
        (Mismatch::AfterEnd, _) => after_end(replay, request),
        (Mismatch::Differs(diff), What::Hole(hole)) => {
            let evidence = replay.holes[hole as usize].1[0];
            let how = match diff {
                Diff::Stat {
                    path,
                    field,
                    expected,
                    got,
                } => format!(
                    "left {field} of {} at {}, which would be {} by the order of all others",
                    replay.tree.paths.name(*path),
                    number(field, *got),
                    number(field, *expected)
                ),
                _ => "left a state that the order of all others does not".into(),
            };
            let reason =
                format!("the transaction seen at {zxid:#x}, which nobody was told of, {how}");
            (
                Property::StatArithmetic,
                reason,
                vec![evidence.record],
                evidence.path,
            )
        }
        (Mismatch::Differs(diff), What::Transaction(request)) => {
            differs(replay, zxid, request, false, diff)
        }
        (Mismatch::Differs(diff), What::Read(request)) => {
            differs(replay, zxid, request, true, diff)
        }
        (Mismatch::Misplaced(number, _), _) if replay.kept(*number).is_some() => {
            let (path, why) = replay.kept(*number).unwrap_or((NO_PATH, ""));
            let seen = match what {
                What::Hole(hole) => replay.holes[hole as usize].1[0].record,
                What::Transaction(request) | What::Read(request) => {
                    replay.case.requests[request as usize].done
                }
            };
            let mut others = writer(replay, replay.tree.node(path).mzxid);
            others.push(seen);
            let name = replay.tree.paths.name(path);
            let reason = format!("{name} is gone at {zxid:#x}, though {why}");
            (Property::EphemeralsStay, reason, others, path)
        }
        (Mismatch::Misplaced(..) | Mismatch::Unclaimed(_) | Mismatch::OtherDeed(_), _) => (
            Property::LinearizableWrites,
            format!("no order of the unanswered requests explains what was seen up to {zxid:#x}"),
            Vec::new(),
            request.map_or(NO_PATH, |request| {
                replay.case.requests[request as usize].path
            }),
        ),
    };
    if let Some(request) = request {
        let request = &replay.case.requests[request as usize];
        others.extend([request.invoke, request.done]);
    }
    let mut state_before = match path {
        NO_PATH => String::new(),
        path => replay.tree.describe(path),
    };
    if path != NO_PATH && replay.tree.paths.parent(path) != NO_PATH {
        state_before = format!(
            "{state_before}; {}",
            replay.tree.describe(replay.tree.paths.parent(path))
        );
    }
    Box::new(Violation {
        property,
        class: Class::Undetermined,
        class_reason: String::new(),
        records: records(replay.case, &others),
        state_before,
        reason,
    })
}

type Blame = (Property, String, Vec<u32>, PathId);

fn of_hole(replay: &Replay<'_, '_>, zxid: i64, evidence: &Evidence<'_>) -> (Property, String) {
    let path = replay.tree.paths.name(evidence.path).to_string();
    let impatient = || {
        let gone = match evidence.deed {
            Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                early_end_below(replay, evidence.path, zxid)
            }
            Deed::Fired(EventType::NodeDeleted) => early_end_of(replay, evidence.path, zxid),
            Deed::Created | Deed::Modified | Deed::Fired(_) => false,
        };
        gone.then(|| {
            (
                Property::EphemeralsStay,
                format!("an ephemeral is gone at {zxid:#x}, before its session can have expired"),
            )
        })
    };
    if let Some(found) = impatient() {
        return found;
    }
    let gone = match evidence.deed {
        Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
            replay.kept_below(evidence.path)
        }
        Deed::Fired(EventType::NodeDeleted) => Some(evidence.path),
        Deed::Created | Deed::Modified | Deed::Fired(_) => None,
    };
    let kept = gone.and_then(|gone| Some((gone, replay.keeps(gone)?)));
    if let Some((gone, why)) = kept {
        let name = replay.tree.paths.name(gone);
        let reason = format!("{name} is gone at {zxid:#x}, though {why}");
        return (Property::EphemeralsStay, reason);
    }
    match evidence.deed {
        Deed::Fired(event) => (
            Property::WatchNotSpurious,
            format!(
                "{} {path} was notified at {zxid:#x}, but no transaction can have caused it there",
                event.name()
            ),
        ),
        Deed::Created | Deed::Modified
            if evidence
                .data
                .is_some_and(|data| !ever_written(replay, evidence.path, data)) =>
        {
            (
                Property::NoFutureReads,
                format!("{path} was read with bytes that nobody ever wrote to it"),
            )
        }
        Deed::Created | Deed::Modified | Deed::ChildChanged => (
            Property::StatArithmetic,
            format!(
                "a Stat of {path} names zxid {zxid:#x}, but no transaction can have changed it there"
            ),
        ),
    }
}

fn after_end(replay: &Replay<'_, '_>, request: Option<RequestIndex>) -> Blame {
    let request = &replay.case.requests[request.unwrap_or_default() as usize];
    let end = replay.tree.ended(request.session).unwrap_or_default();
    let session = replay
        .case
        .sessions
        .get(request.session as usize)
        .map_or(0, |session| session.id);
    let reason = format!(
        "session {session:#x} ended at {end:#x}, but a transaction of it took effect at {:#x}",
        request.zxid
    );
    (
        Property::EphemeralsEnd,
        reason,
        writer(replay, end),
        request.path,
    )
}

fn differs(
    replay: &mut Replay<'_, '_>,
    zxid: i64,
    request: RequestIndex,
    is_read: bool,
    diff: &Diff,
) -> Blame {
    let asked = replay.case.requests[request as usize].path;
    let name = |replay: &Replay<'_, '_>, path: PathId| replay.tree.paths.name(path).to_string();
    match *diff {
        Diff::Missing(path) | Diff::NameMissing { child: path, .. } => {
            let why = replay.keeps(path).unwrap_or("it must have been");
            let reason = format!(
                "{} was not there at {zxid:#x}, though {why}",
                name(replay, path)
            );
            let property = match replay.tree.node(path).owner == NO_SESSION {
                _ if replay.keeps(path).is_some() => Property::EphemeralsStay,
                true => stale(replay, request, path),
                false => Property::EphemeralsStay,
            };
            with_twin(
                replay,
                zxid,
                request,
                is_read,
                (
                    property,
                    reason,
                    writer(replay, replay.tree.node(path).czxid),
                    path,
                ),
            )
        }
        Diff::Extra(path) | Diff::NameExtra { child: path, .. } => {
            let reason = format!(
                "{} was there at {zxid:#x}, though it cannot have been",
                name(replay, path)
            );
            let (property, others) = extra(replay, path);
            with_twin(
                replay,
                zxid,
                request,
                is_read,
                (property, reason, others, path),
            )
        }
        Diff::Data(path) => {
            let reason = format!(
                "{} was read with other bytes than it had at {zxid:#x}",
                name(replay, path)
            );
            let seen = match replay.case.requests[request as usize].answer {
                Some(Ok(Answer::Data { data, .. })) => data.as_ref(),
                _ => None,
            };
            let property = match ever_written(replay, path, seen) {
                true => stale(replay, request, path),
                false => Property::NoFutureReads,
            };
            with_twin(
                replay,
                zxid,
                request,
                is_read,
                (
                    property,
                    reason,
                    writer(replay, replay.tree.node(path).mzxid),
                    path,
                ),
            )
        }
        Diff::Stat {
            path,
            field,
            expected,
            got,
        } => {
            let reason = format!(
                "{field} of {} was {}, but at {zxid:#x} it must be {}",
                name(replay, path),
                number(field, got),
                number(field, expected)
            );
            let property = match matches!(field, "czxid" | "mzxid") && got < expected && is_read {
                true => stale(replay, request, path),
                false => Property::StatArithmetic,
            };
            let others = writer(replay, replay.tree.node(path).mzxid);
            match property == Property::StatArithmetic && !matches!(field, "czxid" | "mzxid") {
                true => (property, reason, others, path),
                false => with_twin(
                    replay,
                    zxid,
                    request,
                    is_read,
                    (property, reason, others, path),
                ),
            }
        }
        Diff::NameTwice { path, child } => (
            Property::StatArithmetic,
            format!("{} is listed twice", name(replay, child)),
            Vec::new(),
            path,
        ),
        Diff::Acl(path) => (
            Property::AccessControl,
            format!("another ACL of {} was shown", name(replay, path)),
            Vec::new(),
            path,
        ),
        Diff::Access { path, was_allowed } => {
            let what = if was_allowed {
                "was allowed what its ACL forbids"
            } else {
                "was denied what its ACL allows"
            };
            (
                Property::AccessControl,
                format!("on {} a client {what}", name(replay, path)),
                Vec::new(),
                path,
            )
        }
        Diff::Name { expected, ref got } => {
            let reason = format!(
                "the sequential node made at {zxid:#x} must be {}, not {got}",
                name(replay, expected)
            );
            (Property::SequentialNames, reason, Vec::new(), asked)
        }
        Diff::MultiForm => (
            Property::MultiAtomic,
            form_of_multi(replay, request),
            Vec::new(),
            asked,
        ),
        Diff::Kind => (
            Property::LinearizableWrites,
            "the answer is of another kind than the request".into(),
            Vec::new(),
            asked,
        ),
        Diff::Outcome {
            expected,
            got,
            path,
            part,
            conditional,
        } => outcome(
            replay,
            zxid,
            request,
            (expected, got, path, part, conditional),
        ),
    }
}

/// A field of a Stat: what tells a transaction or a session is hexadecimal, as everywhere.
fn number(field: &str, value: i64) -> String {
    match field.ends_with("zxid") || field.contains("owner") {
        true => format!("{value:#x}"),
        false => value.to_string(),
    }
}

/// Why the results of a multi cannot be those of one.
fn form_of_multi(replay: &Replay<'_, '_>, request: RequestIndex) -> String {
    let request = &replay.case.requests[request as usize];
    let (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) = (request.op, request.answer) else {
        return "the answer is not that of a multi".into();
    };
    if ops.len() != results.len() {
        return format!(
            "a multi of {} parts has {} results",
            ops.len(),
            results.len()
        );
    }
    let failed = results
        .iter()
        .enumerate()
        .find_map(|(at, result)| match result {
            Err(code) if *code != ErrorCode::OK => Some((at + 1, code)),
            Ok(_) | Err(_) => None,
        });
    match failed {
        Some((part, code)) => format!(
            "part {part} of the multi failed ({code}), so none can have been done: Ok belongs to each before it and RuntimeInconsistency to each after it"
        ),
        None => {
            "some parts of the multi were done and others only say Ok, as those of a failed one do"
                .into()
        }
    }
}

fn outcome(
    replay: &Replay<'_, '_>,
    zxid: i64,
    request: RequestIndex,
    (expected, got, path, part, conditional): (
        Option<ErrorCode>,
        Option<ErrorCode>,
        PathId,
        Option<usize>,
        bool,
    ),
) -> Blame {
    let word =
        |code: Option<ErrorCode>| code.map_or("success".to_string(), |code| code.to_string());
    let of_part = part
        .map(|part| format!(" (part {part} of a multi)"))
        .unwrap_or_default();
    let reason = format!(
        "the {} of {} at {zxid:#x}{of_part} must end with {}, not with {}",
        replay.case.requests[request as usize].op.name(),
        replay.tree.paths.name(path),
        word(expected),
        word(got)
    );
    let versions = expected == Some(ErrorCode::BAD_VERSION) || got == Some(ErrorCode::BAD_VERSION);
    let node = replay.tree.node(path);
    let others = writer(replay, node.mzxid);
    let property = if versions || conditional {
        Property::ConditionalWrites
    } else if part.is_some() {
        Property::MultiAtomic
    } else if node.exists && (node.owner != NO_SESSION || node.lapse.is_some()) {
        Property::EphemeralsStay
    } else if !node.exists && ended_owner(replay, path) {
        Property::EphemeralsEnd
    } else {
        Property::LinearizableWrites
    };
    (property, reason, others, path)
}

/// An old state where a newer one is due: part of a multi seen without the rest, a write
/// that was answered and is gone, or merely another order than everybody else's.
fn stale(replay: &Replay<'_, '_>, request: RequestIndex, path: PathId) -> Property {
    let Some(writer) = replay.transaction_at(replay.tree.node(path).mzxid) else {
        return Property::OneOrder;
    };
    let writer = &replay.case.requests[writer as usize];
    if matches!(writer.op, Op::Multi { .. }) {
        return Property::MultiAtomic;
    }
    match writer.ret < replay.case.requests[request as usize].call {
        true => Property::Durability,
        false => Property::OneOrder,
    }
}

/// A node that cannot be there: left behind by an ended session, back after its delete, or invented.
fn extra(replay: &Replay<'_, '_>, path: PathId) -> (Property, Vec<u32>) {
    if ended_owner(replay, path) {
        let ends = (0..replay.case.sessions.len() as u32)
            .filter(|&session| {
                replay
                    .tree
                    .ephemerals_ever(session)
                    .any(|ever| ever == path)
            })
            .filter_map(|session| replay.tree.ended(session));
        return (
            Property::EphemeralsEnd,
            ends.flat_map(|end| writer(replay, end)).collect(),
        );
    }
    let name = replay.tree.paths.name(path);
    let made = replay
        .case
        .requests
        .iter()
        .any(|request| creates(request.op, name));
    (
        if made {
            Property::Durability
        } else {
            Property::NoFutureReads
        },
        Vec::new(),
    )
}

fn ended_owner(replay: &Replay<'_, '_>, path: PathId) -> bool {
    (0..replay.case.sessions.len() as u32).any(|session| {
        replay.tree.ended(session).is_some()
            && replay
                .tree
                .ephemerals_ever(session)
                .any(|ever| ever == path)
    })
}

fn creates(op: &Op, name: &str) -> bool {
    match op {
        Op::Create {
            path,
            sequential: false,
            ..
        } => **path == *name,
        Op::Create {
            path,
            sequential: true,
            ..
        } => name.starts_with(&**path),
        Op::Multi { ops } => ops.iter().any(|op| creates(op, name)),
        _ => false,
    }
}

/// True if the bytes are the node's first or were ever asked to be written to the path.
fn ever_written(replay: &Replay<'_, '_>, path: PathId, data: Option<&Value>) -> bool {
    let name = replay.tree.paths.name(path);
    let mut requests = replay.case.requests.iter();
    replay.tree.node(path).data.as_ref() == data
        || requests.any(|request| writes(request.op, name, data))
        || starts_with(replay, name, data)
}

fn starts_with(replay: &Replay<'_, '_>, name: &str, data: Option<&Value>) -> bool {
    match &replay.case.history.header.start {
        crate::history::Start::Fresh => false,
        crate::history::Start::Nodes { nodes, .. } => nodes
            .iter()
            .any(|node| *node.path == *name && node.data.as_ref() == data),
    }
}

fn writes(op: &Op, name: &str, data: Option<&Value>) -> bool {
    match op {
        Op::Create { data: written, .. } => creates(op, name) && written.as_ref() == data,
        Op::Set {
            path,
            data: written,
            ..
        } => **path == *name && written.as_ref() == data,
        Op::Multi { ops } => ops.iter().any(|op| writes(op, name, data)),
        _ => false,
    }
}

fn early_end_of(replay: &Replay<'_, '_>, path: PathId, zxid: i64) -> bool {
    let node = replay.tree.node(path);
    let end = replay.candidates.end_of.get(node.owner as usize);
    node.exists && end.is_some_and(|&end| replay.candidates.list[end as usize].low >= zxid)
}

fn early_end_below(replay: &Replay<'_, '_>, parent: PathId, zxid: i64) -> bool {
    (0..replay.case.sessions.len() as u32).any(|session| {
        replay.tree.ephemerals_of(session).any(|path| {
            replay.tree.paths.parent(path) == parent && early_end_of(replay, path, zxid)
        })
    })
}

/// The records of whatever answered transaction has a zxid.
fn writer(replay: &Replay<'_, '_>, zxid: i64) -> Vec<u32> {
    let request = replay
        .transaction_at(zxid)
        .map(|request| &replay.case.requests[request as usize]);
    request.map_or(Vec::new(), |request| vec![request.invoke, request.done])
}

/// Renames to P18 what another session read rightly at the same zxid.
fn with_twin(
    replay: &mut Replay<'_, '_>,
    zxid: i64,
    request: RequestIndex,
    is_read: bool,
    blame: Blame,
) -> Blame {
    let (property, reason, mut others, path) = blame;
    if !is_read {
        return (property, reason, others, path);
    }
    let (session, asked) = {
        let request = &replay.case.requests[request as usize];
        (request.session, request.path)
    };
    let twins: Vec<RequestIndex> = replay
        .reads_at(zxid)
        .filter(|&twin| {
            let twin = &replay.case.requests[twin as usize];
            twin.session != session && twin.path == asked
        })
        .collect();
    match twins.into_iter().find(|&twin| replay.agrees(twin)) {
        Some(twin) => {
            let twin = &replay.case.requests[twin as usize];
            others.extend([twin.invoke, twin.done]);
            let reason = format!("{reason}; another session read it rightly at the same zxid");
            (Property::ReplicasAgree, reason, others, path)
        }
        None => (property, reason, others, path),
    }
}
