//! The servers' own log as a witness: where it puts what no client was told of.
//!
//! A log says of every transaction which request it was. So the walk can put each request of
//! unknown fate where the log has it, leave out what the log has not, and look whether all
//! that clients saw agrees. If it does, the history is valid, whoever wrote the log: what is
//! accepted has been replayed against times and values that clients saw. If it does not,
//! nothing is proved yet, and the search goes on as if there were no log.
//!
//! What this is not: a source of convictions. Only where the search cannot decide, and the
//! log is whole, is the history held against it (see [`against`]).
//!
//! Answers to: `consistency.md` 3.2, "a server transaction log may be imported as one more
//! witness, never as truth".

use super::case::{Case, RequestIndex, Role};
use super::times::records;
use super::unanswered::{Candidate, CandidateIndex, Candidates};
use crate::history::{Body, History, Op, TxnKind};
use crate::model::SessionIndex;
use crate::verdict::{Class, Property, Violation};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// What stands where, according to the log.
pub type Placements = BTreeMap<i64, CandidateIndex>;

/// Where the log puts the candidates; None if there is no log.
///
/// # Errors
/// Why the log cannot be of this history, as a violation of what it breaks.
pub fn placements(
    case: &Case<'_>,
    candidates: &Candidates,
) -> Option<Result<Placements, Box<Violation>>> {
    let history: &History = case.history;
    if history.txns.is_empty() {
        return None;
    }
    Some(read(case, candidates))
}

fn read(case: &Case<'_>, candidates: &Candidates) -> Result<Placements, Box<Violation>> {
    let known = by_name(case, candidates);
    let closes = answered_closes(case);
    let taken = answered(case);
    let mut placed = Placements::new();
    let mut ended: FxHashMap<SessionIndex, i64> = FxHashMap::default();
    let mut last_sent: FxHashMap<SessionIndex, RequestIndex> = FxHashMap::default();
    let mut txns: Vec<_> = case.history.txns.iter().collect();
    txns.sort_by_key(|txn| txn.zxid);
    for txn in txns {
        let Some(&session) = case.session_index.get(&txn.session) else {
            continue;
        };
        let number = match txn.kind {
            TxnKind::Open | TxnKind::Refused => continue,
            // Only the first end of a session does anything, and one that was answered
            // stands in the order already.
            TxnKind::Close if ended.contains_key(&session) => continue,
            TxnKind::Close => {
                ended.insert(session, txn.zxid);
                if closes.get(&session) == Some(&txn.zxid) {
                    continue;
                }
                candidates.end_of[session as usize]
            }
            TxnKind::Write => match known.get(&(session, txn.xid)) {
                Some(&number) => number,
                None => continue,
            },
        };
        let candidate = &candidates.list[number as usize];
        check_window(case, candidate, txn.zxid)?;
        if let Some(request) = candidate.request {
            check_sent(case, request, txn.zxid, last_sent.insert(session, request))?;
        }
        let no_number = txn.zxid <= case.start_zxid || txn.zxid & 0xffff_ffff == 0;
        let twice = placed.insert(txn.zxid, number).is_some();
        if twice || no_number || taken.contains(&txn.zxid) {
            let reason = format!(
                "the servers' log has an unanswered request at {:#x}, where it cannot be",
                txn.zxid
            );
            return Err(violation(case, candidate, Property::ZxidSanity, reason));
        }
    }
    Ok(placed)
}

/// Requests of unknown fate by session and number.
fn by_name(
    case: &Case<'_>,
    candidates: &Candidates,
) -> FxHashMap<(SessionIndex, i32), CandidateIndex> {
    let numbered = (0..).zip(&candidates.list);
    numbered
        .filter_map(|(number, candidate)| {
            let request = &case.requests[candidate.request? as usize];
            match case.history.records[request.invoke as usize].body {
                Body::Invoke { xid, .. } => Some(((candidate.session, xid), number)),
                Body::Return { .. }
                | Body::Lost { .. }
                | Body::Notify { .. }
                | Body::Session(_)
                | Body::Ping { .. }
                | Body::Final => None,
            }
        })
        .collect()
}

fn answered(case: &Case<'_>) -> FxHashSet<i64> {
    let requests = case.requests.iter();
    let transactions = requests.filter(|request| request.role == Role::Transaction);
    transactions.map(|request| request.zxid).collect()
}

fn answered_closes(case: &Case<'_>) -> FxHashMap<SessionIndex, i64> {
    let requests = case.requests.iter();
    let closes = requests
        .filter(|request| request.role == Role::Transaction && matches!(request.op, Op::Close));
    closes
        .map(|request| (request.session, request.zxid))
        .collect()
}

/// Nothing can lie where what clients saw, and when, rules it out.
fn check_window(case: &Case<'_>, candidate: &Candidate, zxid: i64) -> Result<(), Box<Violation>> {
    let (low, high) = (candidate.low, candidate.high);
    if low < zxid && zxid < high {
        return Ok(());
    }
    let (property, reason) = match (candidate.request, zxid <= low) {
        (None, true) => (
            Property::EphemeralsStay,
            format!(
                "the session's end took effect at {zxid:#x}, but when it could first end {low:#x} was known"
            ),
        ),
        (None, false) => (
            Property::EphemeralsEnd,
            format!("the session ended at {zxid:#x}, after its close was answered at {high:#x}"),
        ),
        (Some(_), true) => (
            Property::LinearizableWrites,
            format!(
                "an unanswered request took effect at {zxid:#x}, but {low:#x} was known when it was sent"
            ),
        ),
        (Some(_), false) => (
            Property::SessionFifo,
            format!(
                "an unanswered request took effect at {zxid:#x}, after a later one of its session at {high:#x}"
            ),
        ),
    };
    Err(violation(case, candidate, property, reason))
}

/// Requests of a session take effect in the order sent.
fn check_sent(
    case: &Case<'_>,
    request: RequestIndex,
    zxid: i64,
    before: Option<RequestIndex>,
) -> Result<(), Box<Violation>> {
    let Some(before) = before.filter(|&before| before >= request) else {
        return Ok(());
    };
    let invokes = [request, before].map(|number| case.requests[number as usize].invoke);
    Err(Box::new(Violation {
        property: Property::SessionFifo,
        class: Class::Undetermined,
        class_reason: String::new(),
        records: records(case, &invokes),
        state_before: String::new(),
        reason: format!("an unanswered request took effect at {zxid:#x}, after one sent later"),
    }))
}

fn violation(
    case: &Case<'_>,
    candidate: &Candidate,
    property: Property,
    reason: String,
) -> Box<Violation> {
    let convicting = match candidate.request {
        Some(request) => vec![case.requests[request as usize].invoke],
        None => {
            let session = &case.sessions[candidate.session as usize];
            let told = session.expired.map(|(_, record)| record);
            let proof = session.heard.map(|_| session.heard_record);
            proof.into_iter().chain(told).collect()
        }
    };
    Box::new(Violation {
        property,
        class: Class::Undetermined,
        class_reason: String::new(),
        records: records(case, &convicting),
        state_before: String::new(),
        reason,
    })
}

/// A history held against the whole log of its own servers, because the search could not
/// decide. In a world that writes down every commit the order is a fact.
pub fn against(mut violation: Box<Violation>) -> Box<Violation> {
    violation.reason = format!(
        "judged by the servers' own log, which has every transaction: {}",
        violation.reason
    );
    violation
}
