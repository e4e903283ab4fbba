//! The order that zxids tell, with what convicts forgotten.
//!
//! Of a history that was convicted the zxids are wrong in one place, or the answers are; all
//! the rest still says when things happened. So the answers that convict are taken for lost, and
//! the ordinary walk is asked again: where it acquits, its certificate says which requests of
//! unknown fate took effect and when sessions ended that nobody saw end, which is what a search
//! without zxids finds hardest. Nothing is decided by it: whoever searches tries first what it says.
//!
//! Answers to: `consistency.md` 3.2 ("Rejecting") and 3.3.

use crate::certificate::{Certificate, Effect};
use crate::history::{Body, History, TxnKind};
use crate::model::SessionIndex;
use crate::verdict::Verdict;
use crate::walk::case::{Case, RequestIndex, Role};
use crate::walk::{Options, judge_with_certificate};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often a history that is still convicted is tried with more of it forgotten.
const ROUNDS_MAX: usize = 12;

/// Most transactions that are forgotten alone.
const SINGLE_MAX: usize = 3;

/// As [`Options::steps_min`], for a walk that should have little to search for.
const STEPS_MIN: u64 = 50_000;

/// As [`Options::steps_per_item_max`], for the same walk.
const STEPS_PER_ITEM_MAX: u64 = 10;

/// As [`Options::tries_max`], for the same walk.
const TRIES_MAX: u64 = 20_000;

/// The hint of what nobody was told: after everything that was answered.
pub const NO_HINT: i64 = i64::MAX;

/// Where zxids put what nobody was told of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recalled {
    /// Requests that took effect, of unknown fate or forgotten.
    pub requests: FxHashMap<RequestIndex, i64>,
    /// Ends of sessions.
    pub ends: FxHashMap<SessionIndex, i64>,
}

impl Recalled {
    /// What the servers' log has.
    pub fn of_log(case: &Case<'_>) -> Self {
        let mut numbered: FxHashMap<(SessionIndex, i32), i64> = FxHashMap::default();
        let mut recalled = Recalled::default();
        for txn in &case.history.txns {
            let Some(&session) = case.session_index.get(&txn.session) else {
                continue;
            };
            match txn.kind {
                TxnKind::Write => {
                    numbered.insert((session, txn.xid), txn.zxid);
                }
                TxnKind::Close => {
                    recalled.ends.entry(session).or_insert(txn.zxid);
                }
                TxnKind::Open | TxnKind::Refused => {}
            }
        }
        for (number, request) in (0..).zip(&case.requests) {
            let xid = case.xid_of(request.invoke);
            let zxid = xid.and_then(|xid| numbered.get(&(request.session, xid)));
            if let (Role::Unanswered, Some(&zxid)) = (request.role, zxid) {
                recalled.requests.insert(number, zxid);
            }
        }
        recalled
    }
}

/// What may be forgotten first of a case that was convicted by these records, the likeliest
/// first: its reads, since nothing hangs on them, each of its transactions, or all of them.
pub fn rings(case: &Case<'_>, records: &[usize]) -> Vec<FxHashSet<RequestIndex>> {
    let all = requests_of(case, records.iter().copied());
    let (mut reads, mut transactions) = (all.clone(), all.clone());
    reads.retain(|&number| !is_transaction(case, number));
    transactions.retain(|&number| is_transaction(case, number));
    let mut single: Vec<RequestIndex> = transactions.iter().copied().collect();
    single.sort_unstable();
    let single = single.into_iter().rev().take(SINGLE_MAX);
    let mut rings = vec![reads];
    rings.extend(single.map(|number| FxHashSet::from_iter([number])));
    for more in [transactions, all] {
        if !rings.contains(&more) {
            rings.push(more);
        }
    }
    rings.retain(|ring| !ring.is_empty());
    rings
}

/// What the walk makes of a case where nobody knows the time; None if it does not acquit.
pub fn without_time(case: &Case<'_>, options: &Options) -> Option<Recalled> {
    let mut history = case.history.clone();
    let times = history.records.iter().map(|record| record.time);
    history.header.clock_error_ns = times.max().unwrap_or(0);
    match judge_with_certificate(&history, &patient(options)) {
        (Verdict::Valid(_), Some(certificate)) => Some(read(case, &certificate)),
        _ => None,
    }
}

fn patient(options: &Options) -> Options {
    Options {
        steps_min: options.steps_min.min(STEPS_MIN),
        steps_per_item_max: options.steps_per_item_max.min(STEPS_PER_ITEM_MAX),
        tries_max: options.tries_max.min(TRIES_MAX),
        ..options.clone()
    }
}

/// What the walk makes of a case without these answers, or as few more as it takes; None if it
/// does not acquit.
pub fn forgetting(
    case: &Case<'_>,
    mut forgotten: FxHashSet<RequestIndex>,
    options: &Options,
) -> Option<Recalled> {
    let options = patient(options);
    for _ in 0..ROUNDS_MAX {
        let less = without(case, &forgotten);
        match judge_with_certificate(&less, &options) {
            (Verdict::Valid(_), Some(certificate)) => return Some(read(case, &certificate)),
            (Verdict::Invalid(violation), _) => {
                let records = violation.records.iter().map(|&(index, _)| index);
                let mut more = requests_of(case, records);
                more.retain(|number| !forgotten.contains(number));
                if more.iter().any(|&number| !is_transaction(case, number)) {
                    more.retain(|&number| !is_transaction(case, number));
                }
                if more.is_empty() {
                    return None;
                }
                forgotten.extend(more);
            }
            (Verdict::Valid(_) | Verdict::Unknown(_) | Verdict::Malformed { .. }, _) => {
                return None;
            }
        }
    }
    None
}

fn is_transaction(case: &Case<'_>, number: RequestIndex) -> bool {
    case.requests[number as usize].role == Role::Transaction
}

fn requests_of(case: &Case<'_>, records: impl Iterator<Item = usize>) -> FxHashSet<RequestIndex> {
    let numbers = records.filter_map(|record| case.request_of.get(record).copied());
    let answered = |number: &RequestIndex| {
        let request = case.requests.get(*number as usize);
        request.is_some_and(|request| request.answer.is_some())
    };
    numbers.filter(answered).collect()
}

/// The history in which some answers were lost.
fn without(case: &Case<'_>, forgotten: &FxHashSet<RequestIndex>) -> History {
    let mut history = case.history.clone();
    for &number in forgotten {
        let body = &mut history.records[case.requests[number as usize].done as usize].body;
        if let &mut Body::Return { xid, .. } = body {
            *body = Body::Lost { xid };
        }
    }
    history
}

fn read(case: &Case<'_>, certificate: &Certificate) -> Recalled {
    let mut recalled = Recalled::default();
    for step in &certificate.order {
        match step.effect {
            Effect::Request(invoke) => {
                let number = case.request_of[invoke];
                recalled.requests.insert(number, step.zxid);
            }
            Effect::End(session) => {
                let session = case.index_of_session(session);
                recalled.ends.entry(session).or_insert(step.zxid);
            }
            // Where anything goes by itself nobody recalls.
            Effect::Lapse(_) => {}
        }
    }
    recalled
}
