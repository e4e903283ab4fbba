//! Answers that no order explains, whatever became of the requests of unknown fate.
//!
//! | refuted | by answered transactions |
//! |---|---|
//! | a Stat that names the last change of a part of its node | one that changed that part afterwards, and no later than the prefix that was read |
//! | a list with an ephemeral that one request made | the close of its session |
//! | a count of a part of its node, as its version | a greater one before it, or as great a one and changes since |
//! | the number in the name of a sequential node | a create before it that was told this number or a greater one |
//!
//! The search has nothing to try for such an answer, and must not take it at its word when it
//! asks where something unseen can lie: else it finds fault with what is right.
//!
//! What always holds: it is no more than a short cut. The walk comes to each of these answers
//! and finds that it differs.
//!
//! Answers to: `consistency.md` 3.1, W3 and R1.

use super::case::{Case, RequestIndex, Role};
use super::changes::{Change, Part, Place, each_change};
use super::choices::may_name;
use super::evidence::{Evidence, each_stat, made};
use super::quiet::{counted_back, each_part};
use super::unanswered::Candidates;
use crate::history::{Answer, ErrorCode, Op};
use crate::model::{PathId, Paths, SessionIndex};
use rustc_hash::{FxHashMap, FxHashSet};

/// The requests whose answers differ in every order.
pub fn refuted<'h>(
    case: &Case<'h>,
    holes: &[(i64, Vec<Evidence<'h>>)],
    candidates: &Candidates,
    paths: &mut Paths<'h>,
) -> FxHashSet<RequestIndex> {
    let lapsing = (candidates.list.iter()).any(|each| each.lapse.is_some());
    let mut refuted = FxHashSet::default();
    refuted.extend(counted_back(case, holes, candidates, paths));
    stale(case, paths, &mut refuted);
    left_behind(case, paths, &mut refuted);
    if !lapsing {
        numbered_again(case, paths, &mut refuted);
    }
    refuted
}

/// Reads whose Stats miss an answered transaction.
fn stale<'h>(case: &Case<'h>, paths: &mut Paths<'h>, refuted: &mut FxHashSet<RequestIndex>) {
    let changed = changed(case, paths);
    for (number, request) in (0..).zip(&case.requests) {
        if request.role != Role::Read {
            continue;
        }
        each_stat(request, paths, |path, stat, _, _| {
            let told = [
                (Part::Node, stat.czxid),
                (Part::Data, stat.mzxid),
                (Part::Kids, stat.pzxid),
            ];
            let wrong = told.into_iter().any(|(part, last)| {
                let zxids = changed.get(&(path, part)).map_or(&[][..], Vec::as_slice);
                let next = zxids.partition_point(|&zxid| zxid <= last);
                zxids.get(next).is_some_and(|&zxid| zxid <= request.zxid)
            });
            if wrong {
                refuted.insert(number);
            }
        });
    }
}

/// The zxids at which answered transactions changed parts of nodes; sorted.
fn changed<'h>(case: &Case<'h>, paths: &mut Paths<'h>) -> FxHashMap<Place, Vec<i64>> {
    let mut changed: FxHashMap<Place, Vec<i64>> = FxHashMap::default();
    let transactions = (case.requests.iter()).filter(|each| each.role == Role::Transaction);
    for request in transactions {
        for (op, _, _) in each_part(request) {
            each_change(op, paths, &mut |change| {
                for place in change.places() {
                    changed.entry(place).or_default().push(request.zxid);
                }
            });
        }
    }
    changed.values_mut().for_each(|list| list.sort_unstable());
    changed
}

/// Lists that still have an ephemeral whose session had been closed.
fn left_behind<'h>(case: &Case<'h>, paths: &mut Paths<'h>, refuted: &mut FxHashSet<RequestIndex>) {
    let mut closes: FxHashMap<SessionIndex, i64> = FxHashMap::default();
    let mut ephemerals: FxHashMap<PathId, SessionIndex> = FxHashMap::default();
    let mut others: FxHashSet<PathId> = FxHashSet::default();
    let mut sequential: Vec<&Op> = Vec::new();
    for request in &case.requests {
        if let (Op::Close, Role::Transaction, Some(Ok(_))) =
            (request.op, request.role, request.answer)
        {
            closes.insert(request.session, request.zxid);
        }
        // An error that is none of the tree's decides nothing.
        let answer = (request.answer).filter(|_| request.role != Role::Unanswered);
        for (op, path) in creates(request.op, answer, paths) {
            match (op, path) {
                (
                    Op::Create {
                        ephemeral: true, ..
                    },
                    Some(path),
                ) => {
                    if ephemerals.insert(path, request.session).is_some() {
                        others.insert(path);
                    }
                }
                (_, Some(path)) => drop(others.insert(path)),
                (
                    Op::Create {
                        sequential: false,
                        path,
                        ..
                    },
                    None,
                ) => drop(others.insert(paths.id(path))),
                (op, None) => sequential.push(op),
            }
        }
    }
    ephemerals.retain(|path, session| closes.contains_key(session) && !others.contains(path));
    for (number, request) in (0..).zip(&case.requests) {
        let names = match (request.role, request.answer) {
            (Role::Read, Some(Ok(Answer::Names(names) | Answer::NamesStat { names, .. }))) => names,
            (_, _) => continue,
        };
        let wrong = names.iter().any(|name| {
            let path = paths.child(request.path, name);
            let session = ephemerals.get(&path);
            session.is_some_and(|session| closes[session] <= request.zxid)
                && !sequential.iter().any(|op| may_name(op, paths.name(path)))
        });
        if wrong {
            refuted.insert(number);
        }
    }
}

/// The creates of a request that may have taken effect, each with what it made if that is known.
fn creates<'h>(
    op: &'h Op,
    answer: Option<&'h Result<Answer, ErrorCode>>,
    paths: &mut Paths<'h>,
) -> Vec<(&'h Op, Option<PathId>)> {
    let parts: Vec<(&Op, Option<&Answer>)> = match (op, answer) {
        (_, Some(Err(_))) => Vec::new(),
        (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => {
            let answers = results.iter().map(|result| result.as_ref().ok());
            ops.iter().zip(answers).collect()
        }
        (Op::Multi { ops }, _) => ops.iter().map(|op| (op, None)).collect(),
        (op, Some(Ok(answer))) => vec![(op, Some(answer))],
        (op, None) => vec![(op, None)],
    };
    let creates = parts
        .into_iter()
        .filter(|(op, _)| matches!(op, Op::Create { .. }));
    creates
        .map(|(op, answer)| (op, answer.and_then(made).map(|path| paths.id(path))))
        .collect()
}

/// Sequential creates that were told a number which one before them had, under parents that
/// nobody asked to delete.
fn numbered_again<'h>(
    case: &Case<'h>,
    paths: &mut Paths<'h>,
    refuted: &mut FxHashSet<RequestIndex>,
) {
    let mut mortal: FxHashSet<PathId> = FxHashSet::default();
    let mut told: FxHashMap<PathId, Vec<(i64, i32, RequestIndex)>> = FxHashMap::default();
    for (index, request) in (0..).zip(&case.requests) {
        each_change(request.op, paths, &mut |change| {
            if let Change::Gone(path) = change {
                mortal.insert(path);
            }
        });
        let Op::Create {
            path,
            sequential: true,
            ..
        } = request.op
        else {
            continue;
        };
        let answer = request.answer.and_then(|answer| answer.as_ref().ok());
        let number = answer.and_then(made);
        let number = number.and_then(|made| made.strip_prefix(&**path)?.parse().ok());
        let number = number.filter(|number: &i32| *number >= 0);
        if let (Some(number), Role::Transaction) = (number, request.role) {
            let parent = paths.id(path);
            let list = told.entry(paths.parent(parent)).or_default();
            list.push((request.zxid, number, index));
        }
    }
    told.retain(|parent, _| !mortal.contains(parent));
    for list in told.values_mut() {
        list.sort_unstable();
        let mut greatest = i32::MIN;
        for &(_, number, index) in list.iter() {
            if number <= greatest {
                refuted.insert(index);
            }
            greatest = greatest.max(number);
        }
    }
}
