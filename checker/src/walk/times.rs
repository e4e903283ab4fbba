//! What zxids and times say without looking at the tree.
//!
//! P1 (real time), P3, P4, P5, P7 (future), P8 and P19 are comparisons of header zxids
//! along time and along each session; and what was known to have happened by a given time
//! is the lower bound for whatever was asked later.
//!
//! Answers to: `consistency.md` 3.2 steps 1, 2 and 4.

use super::case::{Case, Request, RequestIndex, Role, lag_ns};
use crate::history::{Answer, Body, SessionEvent, SyncPromise};
use crate::verdict::{Class, Property, Violation, words};

/// The greatest zxid known by a time, with the record that showed it.
#[derive(Debug, Clone, Copy)]
struct Step {
    time: u64,
    zxid: i64,
    record: u32,
}

/// What had been shown to clients by any time.
pub struct Times {
    /// By transactions answered.
    transactions: Vec<Step>,
    /// By anything answered, notifications and setWatches too.
    anything: Vec<Step>,
    /// Twice the clock error: how much earlier a time must be to be surely earlier.
    blur: u64,
}

impl Times {
    /// Reads the times of a case.
    pub fn of(case: &Case<'_>) -> Self {
        let mut times = Times {
            transactions: Vec::new(),
            anything: Vec::new(),
            blur: case.history.header.clock_error_ns.saturating_mul(2),
        };
        for &index in &case.order {
            let record = &case.history.records[index as usize];
            let (zxid, transaction) = match &record.body {
                Body::Return { zxid, .. } => {
                    match case.requests[case.request_of[index as usize] as usize].role {
                        Role::Transaction => (*zxid, true),
                        Role::Read | Role::Sync => (*zxid, false),
                        Role::ReadSomewhere | Role::Unanswered | Role::Nothing => continue,
                    }
                }
                Body::Notify { zxid, .. } => (*zxid, false),
                // The state in which watches were registered again is named as a read names its.
                Body::Session(SessionEvent::SetWatchesDone { zxid }) if *zxid > 0 => (*zxid, false),
                Body::Invoke { .. }
                | Body::Lost { .. }
                | Body::Session(_)
                | Body::Ping { .. }
                | Body::Final => continue,
            };
            let step = Step {
                time: record.time,
                zxid,
                record: index,
            };
            for list in [
                Some(&mut times.anything),
                transaction.then_some(&mut times.transactions),
            ]
            .into_iter()
            .flatten()
            {
                if list.last().is_none_or(|last| last.zxid < zxid) {
                    list.push(step);
                }
            }
        }
        times
    }

    /// The greatest zxid anybody had been shown surely before `time`; whatever was asked at
    /// `time` comes later in the order.
    pub fn known_before(&self, time: u64) -> i64 {
        self.find(&self.anything, time).map_or(0, |step| step.zxid)
    }

    /// The latest time at which a client of this session can have sent something that the
    /// leader of an epoch still answered: a newer one had its quorum by the time anybody was
    /// shown anything of a newer epoch; then followers and old leader wait for each other for
    /// as long as their patience lasts, and one that was stopped may wake up and answer first
    /// what was sent meanwhile, by a client that waits no longer than its session lasts.
    fn last_word(&self, case: &Case<'_>, epoch: i64, request: &Request<'_>) -> u64 {
        let newer = self
            .anything
            .partition_point(|step| step.zxid >> 32 <= epoch);
        let Some(deposed) = self.anything.get(newer) else {
            return u64::MAX;
        };
        let header = &case.history.header;
        let session = case.sessions.get(request.session as usize);
        let timeout = session.map_or(0, |session| session.timeout_ns);
        let timeout = match timeout {
            0 => header.timeout_ms_max.saturating_mul(1_000_000),
            known => known,
        };
        let patience = lag_ns(header).saturating_add(timeout);
        let slow = patience / 1_000_000 * header.clock_drift_ppm.min(1_000_000);
        let last = deposed.time.saturating_add(patience).saturating_add(slow);
        last.saturating_add(self.blur)
    }

    fn find(&self, steps: &[Step], time: u64) -> Option<Step> {
        let end = steps.partition_point(|step| step.time.saturating_add(self.blur) < time);
        end.checked_sub(1).map(|last| steps[last])
    }
}

/// Convicting records, with their words.
pub fn records(case: &Case<'_>, indices: &[u32]) -> Vec<(usize, String)> {
    let mut indices = indices.to_vec();
    indices.sort_unstable();
    indices.dedup();
    indices
        .iter()
        .map(|&index| (index as usize, words(&case.history.records[index as usize])))
        .collect()
}

fn violation(
    case: &Case<'_>,
    property: Property,
    indices: &[u32],
    reason: String,
) -> Box<Violation> {
    Box::new(Violation {
        property,
        class: Class::Undetermined,
        class_reason: String::new(),
        records: records(case, indices),
        state_before: String::new(),
        reason,
    })
}

/// Checks everything that needs no tree.
///
/// # Errors
/// The first violation.
pub fn check(case: &Case<'_>, times: &Times) -> Result<(), Box<Violation>> {
    check_without_zxids(case)?;
    check_numbers(case)?;
    check_sessions(case, times)?;
    check_real_time(case, times)
}

/// Checks what needs no zxids either.
///
/// # Errors
/// The first violation.
pub fn check_without_zxids(case: &Case<'_>) -> Result<(), Box<Violation>> {
    check_reply_order(case)?;
    check_syncs(case)
}

fn check_reply_order(case: &Case<'_>) -> Result<(), Box<Violation>> {
    let Some((later, earlier)) = case.disorder else {
        return Ok(());
    };
    let (later, earlier) = (
        &case.requests[later as usize],
        &case.requests[earlier as usize],
    );
    let reason =
        "answers of one connection came in another order than the requests were sent".to_string();
    Err(violation(
        case,
        Property::SessionFifo,
        &[earlier.invoke, later.invoke, later.done, earlier.done],
        reason,
    ))
}

/// W3 for syncs, which do not look at the tree: they cannot fail for its sake.
fn check_syncs(case: &Case<'_>) -> Result<(), Box<Violation>> {
    let mut syncs = case
        .requests
        .iter()
        .filter(|request| request.role == Role::Sync);
    match syncs.find(|sync| !matches!(sync.answer, Some(Ok(Answer::Done)))) {
        None => Ok(()),
        Some(sync) => Err(violation(
            case,
            Property::LinearizableWrites,
            &[sync.invoke, sync.done],
            "the answer is of another kind than the request".into(),
        )),
    }
}

/// P19: a transaction has a number of its own, which is no epoch's start.
fn check_numbers(case: &Case<'_>) -> Result<(), Box<Violation>> {
    for request in case
        .requests
        .iter()
        .filter(|request| request.role == Role::Transaction)
    {
        if request.zxid <= case.start_zxid || request.zxid & 0xffff_ffff == 0 {
            let reason = format!("{:#x} can be no transaction's zxid", request.zxid);
            return Err(violation(
                case,
                Property::ZxidSanity,
                &[request.invoke, request.done],
                reason,
            ));
        }
    }
    Ok(())
}

/// What a session has seen so far, in the order sent.
#[derive(Clone, Copy, Default)]
struct Seen {
    read: Option<RequestIndex>,
    read_zxid: i64,
    write: Option<RequestIndex>,
    write_zxid: i64,
    sync: Option<RequestIndex>,
    sync_floor: Option<Step>,
}

/// P3, P4, P5, P8: positions along each session.
fn check_sessions(case: &Case<'_>, times: &Times) -> Result<(), Box<Violation>> {
    let mut seen = vec![Seen::default(); case.sessions.len()];
    for (index, request) in case.requests.iter().enumerate() {
        let Some(seen) = seen.get_mut(request.session as usize) else {
            continue;
        };
        match request.role {
            Role::Transaction => {
                check_transaction(case, seen, request)?;
                if request.zxid > seen.write_zxid {
                    (seen.write, seen.write_zxid) = (Some(index as u32), request.zxid);
                }
            }
            Role::Read | Role::Sync => {
                check_read(case, times, seen, request)?;
                if request.role == Role::Sync {
                    let floor = times.find(&times.transactions, request.call);
                    // Of two that promise as much, the later one excuses less.
                    if floor.map(|step| step.zxid) >= seen.sync_floor.map(|step| step.zxid) {
                        (seen.sync, seen.sync_floor) = (Some(index as u32), floor);
                    }
                }
                if request.zxid > seen.read_zxid {
                    (seen.read, seen.read_zxid) = (Some(index as u32), request.zxid);
                }
            }
            Role::ReadSomewhere | Role::Unanswered | Role::Nothing => {}
        }
    }
    check_connects(case)
}

fn check_transaction(
    case: &Case<'_>,
    seen: &Seen,
    request: &Request<'_>,
) -> Result<(), Box<Violation>> {
    let (earlier, what) = match (seen.write, seen.read) {
        (Some(write), _) if request.zxid <= seen.write_zxid => (write, "a transaction"),
        (_, Some(read)) if request.zxid <= seen.read_zxid => (read, "a read"),
        (_, _) => return Ok(()),
    };
    let earlier = &case.requests[earlier as usize];
    let session = case.sessions[request.session as usize].id;
    let reason = format!(
        "session {session:#x} sent {what} first, answered at zxid {:#x}, and then a transaction that took effect at {:#x}",
        earlier.zxid, request.zxid
    );
    Err(violation(
        case,
        Property::SessionFifo,
        &[earlier.invoke, earlier.done, request.invoke, request.done],
        reason,
    ))
}

fn check_read(
    case: &Case<'_>,
    times: &Times,
    seen: &Seen,
    request: &Request<'_>,
) -> Result<(), Box<Violation>> {
    let session = case.sessions[request.session as usize].id;
    let (property, earlier, what) = match (seen.write, seen.read) {
        (Some(write), _) if request.zxid < seen.write_zxid => {
            (Property::ReadYourWrites, write, "own transaction")
        }
        (_, Some(read)) if request.zxid < seen.read_zxid => {
            (Property::MonotonicReads, read, "earlier read")
        }
        (_, _) => return check_synced(case, times, seen, request),
    };
    let earlier = &case.requests[earlier as usize];
    let reason = format!(
        "session {session:#x} reads at zxid {:#x} after its {what} at {:#x}",
        request.zxid, earlier.zxid
    );
    Err(violation(
        case,
        property,
        &[earlier.invoke, earlier.done, request.invoke, request.done],
        reason,
    ))
}

/// P8. Where only the leader's word is promised, a leader of an older epoch than the missed
/// transaction's may not have known that it was deposed; ZooKeeper allows that for as long as
/// it can have been alive.
fn check_synced(
    case: &Case<'_>,
    times: &Times,
    seen: &Seen,
    request: &Request<'_>,
) -> Result<(), Box<Violation>> {
    let (Some(sync), Some(floor)) = (seen.sync, seen.sync_floor) else {
        return Ok(());
    };
    if request.role != Role::Read || request.zxid >= floor.zxid {
        return Ok(());
    }
    let sync = &case.requests[sync as usize];
    let (old, new) = (request.zxid >> 32, floor.zxid >> 32);
    let two_leaders = old < new && sync.call <= times.last_word(case, old, request);
    let leaders = match case.history.header.sync {
        SyncPromise::None => return Ok(()),
        SyncPromise::Leader if two_leaders => return Ok(()),
        SyncPromise::Leader if old < new => {
            format!("; the leader of epoch {old} must have given up long before the sync was sent")
        }
        SyncPromise::Leader => format!("; there was one leader only, that of epoch {new}"),
        SyncPromise::Quorum if two_leaders => {
            format!("; the leader of epoch {old} may still have been alive beside that of {new}")
        }
        SyncPromise::Quorum => String::new(),
    };
    let reason = format!(
        "a read after sync saw zxid {:#x}, but the transaction at {:#x} had been answered before the sync was sent{leaders}",
        request.zxid, floor.zxid
    );
    Err(violation(
        case,
        Property::SyncThenRead,
        &[floor.record, sync.invoke, sync.done, request.done],
        reason,
    ))
}

/// P5 across reconnects: a client must tell the new server all it has seen.
fn check_connects(case: &Case<'_>) -> Result<(), Box<Violation>> {
    let mut seen: Vec<(i64, u32)> = vec![(0, 0); case.sessions.len()];
    for (index, record) in case.history.records.iter().enumerate() {
        match &record.body {
            Body::Return { .. } => {
                let request = &case.requests[case.request_of[index] as usize];
                if let Some(seen) = seen.get_mut(request.session as usize)
                    && matches!(request.role, Role::Transaction | Role::Read | Role::Sync)
                    && request.zxid > seen.0
                {
                    *seen = (request.zxid, index as u32);
                }
            }
            Body::Session(SessionEvent::Connecting {
                session,
                last_zxid_seen,
            }) if *session != 0 => {
                let number = case.index_of_session(*session);
                if let Some(&(zxid, shown)) = seen.get(number as usize)
                    && zxid > *last_zxid_seen
                {
                    let reason = format!(
                        "the client of session {session:#x} has seen zxid {zxid:#x} but tells a server {last_zxid_seen:#x}"
                    );
                    return Err(violation(
                        case,
                        Property::MonotonicReads,
                        &[shown, index as u32],
                        reason,
                    ));
                }
            }
            Body::Invoke { .. }
            | Body::Lost { .. }
            | Body::Notify { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => {}
        }
    }
    Ok(())
}

/// P1 and P7: what was asked after something was shown comes after it in the order.
fn check_real_time(case: &Case<'_>, times: &Times) -> Result<(), Box<Violation>> {
    let (mut transactions, mut anything) = (0, 0);
    for &index in &case.order {
        let record = &case.history.records[index as usize];
        let Body::Invoke { .. } = record.body else {
            continue;
        };
        let request = &case.requests[case.request_of[index as usize] as usize];
        let surely = |step: &Step| step.time.saturating_add(times.blur) < record.time;
        while times.transactions.get(transactions).is_some_and(surely) {
            transactions += 1;
        }
        while times.anything.get(anything).is_some_and(surely) {
            anything += 1;
        }
        if request.role != Role::Transaction {
            continue;
        }
        let last = |steps: &[Step], end: usize| end.checked_sub(1).map(|last| steps[last]);
        if let Some(step) =
            last(&times.transactions, transactions).filter(|step| step.zxid >= request.zxid)
        {
            let property = if step.zxid == request.zxid {
                Property::ZxidSanity
            } else {
                Property::LinearizableWrites
            };
            let reason = format!(
                "a transaction at zxid {:#x} was answered before the one at {:#x} was even sent",
                step.zxid, request.zxid
            );
            return Err(violation(
                case,
                property,
                &[step.record, index, request.done],
                reason,
            ));
        }
        if let Some(step) = last(&times.anything, anything).filter(|step| step.zxid >= request.zxid)
        {
            let reason = format!(
                "zxid {:#x} was shown to a client before the transaction at {:#x} was sent",
                step.zxid, request.zxid
            );
            return Err(violation(
                case,
                Property::NoFutureReads,
                &[step.record, index, request.done],
                reason,
            ));
        }
    }
    Ok(())
}
