//! The definition without zxids, tried out: every order and every prefix there is.
//!
//! Written from `consistency.md` 3.1 and, for notifications, P10 to P12 alone; for tiny histories
//! without ACLs and reconnects, and of which those with watches have lost nothing. All orders of all transactions are enumerated, each with any of the requests
//! of unknown fate and of the sessions' ends in it; for each order the reads of each session
//! take any prefixes that never go back. No zxid is looked at, not even those in Stats.

use super::{Asked, makes_ephemeral, requests, same};
use crate::small::model::{self, State};
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Asked(usize),
    End(i64),
}

struct Naive<'h> {
    asked: Vec<Asked<'h>>,
    owners: BTreeSet<i64>,
    /// Of each answered request, the record of its answer.
    done: Vec<Option<usize>>,
    told: Vec<Told>,
}

/// A notification.
struct Told {
    record: usize,
    session: i64,
    time: u64,
    event: EventType,
    path: String,
}

/// True if some order of the transactions and some prefixes explain a history but for zxids.
pub fn consistent_without_zxids(history: &History) -> bool {
    let asked = requests(history);
    let owners = asked.iter().filter(|asked| makes_ephemeral(asked.op));
    let owners = owners.map(|asked| asked.session).collect();
    let (done, told) = streams(history, &asked);
    let naive = Naive {
        asked,
        owners,
        done,
        told,
    };
    let (state, _) = model::start();
    naive.extend(&mut Vec::new(), &mut vec![state])
}

/// True if any transaction was answered.
pub fn answers_transactions(history: &History) -> bool {
    let asked = requests(history);
    let answered = |asked: &Asked<'_>| asked.answer.is_some() && asked.op.is_transaction();
    asked.iter().any(answered)
}

impl Naive<'_> {
    /// Tries every order that goes on like this one.
    fn extend(&self, order: &mut Vec<What>, states: &mut Vec<State>) -> bool {
        let complete = self.asked.iter().enumerate().all(|(number, asked)| {
            asked.answer.is_none()
                || !asked.op.is_transaction()
                || order.contains(&What::Asked(number))
        });
        if complete && self.reads_fit(order, states) {
            return true;
        }
        let requests = (0..self.asked.len()).map(What::Asked);
        let ends = self.owners.iter().map(|&session| What::End(session));
        requests.chain(ends).any(|what| {
            let Some(after) = self.next(order, &states[states.len() - 1], what) else {
                return false;
            };
            order.push(what);
            states.push(after);
            let found = self.extend(order, states);
            order.pop();
            states.pop();
            found
        })
    }

    /// The state after `what`, if it can come next.
    fn next(&self, order: &[What], state: &State, what: What) -> Option<State> {
        if order.contains(&what) {
            return None;
        }
        let zxid = model::START_ZXID + 1 + order.len() as i64;
        match what {
            What::End(session) => {
                let over = self.asked.iter().enumerate().all(|(number, asked)| {
                    asked.session != session
                        || asked.answer.is_none()
                        || !asked.op.is_transaction()
                        || *asked.op == Op::Close
                        || order.contains(&What::Asked(number))
                });
                over.then(|| model::end(state, session, zxid))
            }
            What::Asked(number) => {
                let asked = &self.asked[number];
                let lost_close = asked.answer.is_none() && *asked.op == Op::Close;
                if !asked.op.is_transaction() || lost_close || !self.in_time(order, number) {
                    return None;
                }
                let (after, result) = model::write(state, asked.op, asked.session, zxid);
                match asked.answer {
                    Some(told) => same(&hidden(&result), &hidden(told)).then_some(after),
                    // What changes nothing may as well not have happened.
                    None => (after != *state).then_some(after),
                }
            }
        }
    }

    /// W1, W2, and that nothing of a session follows its end.
    fn in_time(&self, order: &[What], number: usize) -> bool {
        let asked = &self.asked[number];
        order.iter().all(|&before| match before {
            What::End(session) => session != asked.session || *asked.op == Op::Close,
            What::Asked(before) => {
                let earlier = &self.asked[before];
                let real_time = asked.ret.is_none_or(|ret| ret >= earlier.call);
                let own = asked.session == earlier.session;
                let closed = own && *earlier.op == Op::Close && *asked.op != Op::Close;
                real_time && !closed && (!own || before < number)
            }
        })
    }

    /// R1 to R4, session by session.
    fn reads_fit(&self, order: &[What], states: &[State]) -> bool {
        let sessions: BTreeSet<i64> = self.asked.iter().map(|asked| asked.session).collect();
        (sessions.into_iter()).all(|session| self.session_fits(session, order, states))
    }

    /// R1, R3, R4 for one read or sync.
    fn sees(&self, number: usize, prefix: usize, order: &[What], state: &State) -> bool {
        let read = &self.asked[number];
        let told = read.answer.expect("answered");
        let no_future = order[..prefix].iter().all(|&what| match what {
            What::Asked(write) => Some(self.asked[write].call) <= read.ret,
            What::End(_) => true,
        });
        let synced = !matches!(read.op, Op::Sync { .. })
            || order[prefix..].iter().all(|&what| match what {
                What::Asked(write) => {
                    let ret = self.asked[write].ret;
                    ret.is_none_or(|ret| ret >= read.call)
                }
                What::End(_) => true,
            });
        no_future && synced && same(&hidden(&model::read(state, read.op)), &hidden(told))
    }

    /// R2: one request after the other, each at any prefix that is not before the last one's. What
    /// was lost only limits what was sent before it. N1 to N3 once all have their prefixes.
    fn session_fits(&self, session: i64, order: &[What], states: &[State]) -> bool {
        let own = (0..self.asked.len()).filter(|&number| self.asked[number].session == session);
        let own: Vec<usize> = own.collect();
        let fired = self.fired(order, states);
        let mut at = Vec::new();
        self.places_fit(&own, &mut at, 0, order, states, &mut |at| {
            self.told_fits(session, at, order, &fired)
        })
    }

    /// Tries all prefixes of a session's requests; `at` has those of the answered ones so far.
    fn places_fit(
        &self,
        left: &[usize],
        at: &mut Vec<(usize, usize)>,
        least: usize,
        order: &[What],
        states: &[State],
        fits: &mut impl FnMut(&[(usize, usize)]) -> bool,
    ) -> bool {
        let Some((&number, rest)) = left.split_first() else {
            return fits(at);
        };
        let place = order.iter().position(|&what| what == What::Asked(number));
        let is_answered = self.asked[number].answer.is_some();
        let prefixes: Vec<usize> = match (is_answered, place) {
            (true | false, Some(place)) if least > place => return false,
            (true, Some(place)) => vec![place + 1],
            (false, _) => return self.places_fit(rest, at, least, order, states, fits),
            (true, None) => (least..states.len())
                .filter(|&prefix| self.sees(number, prefix, order, &states[prefix]))
                .collect(),
        };
        prefixes.into_iter().any(|prefix| {
            at.push((number, prefix));
            let found = self.places_fit(rest, at, prefix, order, states, fits);
            at.pop();
            found
        })
    }

    /// N1 to N3 for one session: what its watches fire is told in that order, each after the answer
    /// that registered the watch and before any that shows as much; what is never told, no answer
    /// shows.
    fn told_fits(
        &self,
        session: i64,
        at: &[(usize, usize)],
        order: &[What],
        fired: &[Vec<(EventType, String)>],
    ) -> bool {
        let mut told = self.told.iter().filter(|told| told.session == session);
        // Who was told that its session is closed is told nothing more.
        let closed = |&&(number, _): &&(usize, usize)| {
            *self.asked[number].op == Op::Close
                && self.asked[number].answer == Some(&Ok(Answer::Done))
        };
        let closed = at
            .iter()
            .find(closed)
            .and_then(|&(number, _)| self.done[number]);
        if closed.is_some_and(|closed| told.clone().any(|told| told.record > closed)) {
            return false;
        }
        // Each watch with the record of the answer that registered it.
        let mut live: BTreeMap<(bool, String), usize> = BTreeMap::new();
        for moment in 0..=order.len() {
            let mut due: BTreeMap<(EventType, String), usize> = BTreeMap::new();
            for (event, path) in moment.checked_sub(1).map_or(&[][..], |last| &fired[last]) {
                let mut waited = |child| live.remove(&(child, path.clone()));
                let waited = match event {
                    EventType::NodeCreated | EventType::NodeDataChanged => vec![waited(false)],
                    EventType::NodeChildrenChanged => vec![waited(true)],
                    EventType::NodeDeleted => vec![waited(false), waited(true)],
                };
                if let Some(record) = waited.into_iter().flatten().min() {
                    due.insert((*event, path.clone()), record);
                }
            }
            while !due.is_empty() {
                let answers = |record: Option<usize>| {
                    at.iter().any(|&(number, prefix)| {
                        prefix >= moment
                            && record.is_none_or(|record| self.done[number] < Some(record))
                    })
                };
                let Some(next) = told.next() else {
                    if answers(None) {
                        return false;
                    }
                    break;
                };
                let no_future = order[..moment].iter().all(|&what| match what {
                    What::Asked(write) => self.asked[write].call <= next.time,
                    What::End(_) => true,
                });
                let registered = due.remove(&(next.event, next.path.clone()));
                let is_due = registered.is_some_and(|registered| registered < next.record);
                if !is_due || !no_future || answers(Some(next.record)) {
                    return false;
                }
            }
            for &(number, prefix) in at {
                let watch = registered(&self.asked[number]).filter(|_| prefix == moment);
                if let (Some(watch), Some(record)) = (watch, self.done[number]) {
                    live.entry(watch).or_insert(record);
                }
            }
        }
        told.next().is_none()
    }

    /// What watches each transaction of an order fires.
    fn fired(&self, order: &[What], states: &[State]) -> Vec<Vec<(EventType, String)>> {
        let one = |(at, &what): (usize, &What)| match what {
            What::End(_) => model::events_between(&states[at], &states[at + 1]),
            What::Asked(number) => {
                let asked = &self.asked[number];
                model::events(&states[at], asked.op, asked.session, 0)
            }
        };
        order.iter().enumerate().map(one).collect()
    }
}

/// The watch that an answer registers, if any.
fn registered(asked: &Asked<'_>) -> Option<(bool, String)> {
    let (child, path) = match asked.op {
        Op::Get { path, watch: true } | Op::Exists { path, watch: true } => (false, path),
        Op::Children {
            path, watch: true, ..
        } => (true, path),
        _ => return None,
    };
    let is_ok = asked.answer.is_some_and(Result::is_ok);
    let stays = is_ok || matches!(asked.op, Op::Exists { .. });
    stays.then(|| (child, path.to_string()))
}

/// The record of each request's answer, and all notifications.
fn streams(history: &History, asked: &[Asked<'_>]) -> (Vec<Option<usize>>, Vec<Told>) {
    let (mut done, mut told) = (vec![None; asked.len()], Vec::new());
    let mut open: BTreeMap<(u32, i32), usize> = BTreeMap::new();
    let asks = history
        .records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Invoke { session, .. } => Some((record.process, *session)),
            _ => None,
        });
    let session_of: BTreeMap<u32, i64> = asks.collect();
    let mut number = 0;
    for (
        record,
        Record {
            process,
            time,
            body,
            ..
        },
    ) in history.records.iter().enumerate()
    {
        match body {
            Body::Invoke { xid, .. } => {
                open.insert((*process, *xid), number);
                number += 1;
            }
            Body::Return { xid, .. } => {
                if let Some(number) = open.remove(&(*process, *xid)) {
                    done[number] = Some(record);
                }
            }
            Body::Notify { event, path, .. } => told.push(Told {
                record,
                session: session_of.get(process).copied().unwrap_or(0),
                time: *time,
                event: *event,
                path: path.to_string(),
            }),
            Body::Lost { .. } | Body::Session(_) | Body::Ping { .. } | Body::Final => {}
        }
    }
    (done, told)
}

/// Takes every zxid out of what was recorded, as if behind a client library.
pub fn without_zxids(history: &History) -> History {
    let mut history = history.clone();
    history.txns.clear();
    for record in &mut history.records {
        match &mut record.body {
            Body::Return { zxid, result, .. } => {
                *zxid = 0;
                *result = hidden(result);
            }
            Body::Notify { zxid, .. } => *zxid = -1,
            Body::Session(event) => hide_event(event),
            Body::Invoke { .. } | Body::Lost { .. } | Body::Ping { .. } | Body::Final => {}
        }
    }
    history
}

fn hide_event(event: &mut SessionEvent) {
    match event {
        SessionEvent::Connecting { last_zxid_seen, .. } => *last_zxid_seen = 0,
        SessionEvent::SetWatches { relative_zxid, .. } => *relative_zxid = 0,
        SessionEvent::SetWatchesDone { zxid } => *zxid = 0,
        SessionEvent::Connected { .. }
        | SessionEvent::Disconnected
        | SessionEvent::Expired { .. }
        | SessionEvent::Abandoned { .. }
        | SessionEvent::WatchesLeftOut
        | SessionEvent::Auth { .. }
        | SessionEvent::AuthDone { .. } => {}
    }
}

/// An answer with all zxids in it hidden.
fn hidden(answer: &Result<Answer, ErrorCode>) -> Result<Answer, ErrorCode> {
    fn hide(answer: &mut Answer) {
        match answer {
            Answer::Created { stat, .. }
            | Answer::Stat(stat)
            | Answer::Data { stat, .. }
            | Answer::NamesStat { stat, .. }
            | Answer::Acl { stat, .. } => {
                (stat.czxid, stat.mzxid, stat.pzxid) = (0, 0, 0);
            }
            Answer::Multi(parts) => parts.iter_mut().flatten().for_each(hide),
            Answer::Done | Answer::Path(_) | Answer::Names(_) => {}
        }
    }
    let mut answer = answer.clone();
    if let Ok(answer) = &mut answer {
        hide(answer);
    }
    answer
}
