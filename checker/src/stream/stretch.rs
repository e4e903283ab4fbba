//! A stretch of a stream as a history of its own, for the thorough judge to look at alone.
//!
//! It begins with the tree as it was, with what was under way, answered but not settled, or of
//! unknown fate, and with who the clients were. Watches are left out: which were registered
//! before is not told, so that nothing could be asked of them. What always holds: it asks for
//! less than the whole history does of the same records, so that what explains the whole,
//! if the order before the stretch is right, explains the stretch.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions.

use super::Stream;
use super::clients::Sessions;
use super::settle::Entry;
use crate::certificate::{Certificate, Effect, Step};
use crate::history::{Body, Header, History, Op, Record, SessionEvent, Start, Txn, TxnKind};
use crate::verdict::Verdict;
use crate::walk::{Known, Options, order_of_stretch};
use rustc_hash::FxHashSet;
use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};

/// Events of one client that are kept to tell who it is.
const EVENTS_MAX: usize = 1 << 6;

/// Placements that are tried for one stretch.
const TRIES_MAX: u64 = 100_000;

/// Steps that are walked for one stretch, for each item of its order.
const STEPS_PER_ITEM_MAX: u64 = 100;

/// Steps that are walked however short the order is.
const STEPS_MIN: u64 = 3_000_000;

/// A record, and its place in the whole history.
type Numbered = (usize, Record);

/// Who each client is: its session, and the identities it has added.
#[derive(Clone, Default)]
pub struct Prelude {
    clients: BTreeMap<u32, Vec<Numbered>>,
}

impl Prelude {
    /// The next record.
    pub fn take(&mut self, index: usize, record: &Record) {
        let Body::Session(event) = &record.body else {
            return;
        };
        let events = self.clients.entry(record.process).or_default();
        match event {
            SessionEvent::Connected { session, .. } => {
                let same = |event: &Numbered| matches!(&event.1.body, Body::Session(SessionEvent::Connected { session: other, .. }) if other == session);
                match events.first().is_some_and(same) {
                    // Of what was before, only who it may be besides still counts.
                    true => {
                        let mut known: Vec<Body> = Vec::new();
                        let mut first = true;
                        events.retain(|(_, event)| {
                            let new = is_auth(event) && !known.contains(&event.body);
                            known.extend(new.then(|| event.body.clone()));
                            std::mem::take(&mut first) || new
                        });
                    }
                    false => events.clear(),
                }
            }
            SessionEvent::Expired { .. } | SessionEvent::Abandoned { .. } => events.clear(),
            SessionEvent::Disconnected
            | SessionEvent::Auth { .. }
            | SessionEvent::AuthDone { .. } => {}
            SessionEvent::Connecting { .. }
            | SessionEvent::SetWatches { .. }
            | SessionEvent::SetWatchesDone { .. }
            | SessionEvent::WatchesLeftOut => return,
        }
        if events.len() < EVENTS_MAX {
            events.push((index, record.clone()));
        }
    }
}

impl Prelude {
    /// What was answered to each client and perhaps not yet told to the leader, as pings.
    fn talk<'a>(&'a self, sessions: &'a Sessions) -> impl Iterator<Item = Numbered> + 'a {
        let clients = self.clients.values().filter_map(|events| events.first());
        clients.flat_map(|(_, first)| {
            let session = match &first.body {
                Body::Session(SessionEvent::Connected { session, .. }) => sessions.find(*session),
                _ => None,
            };
            let talk = session.into_iter();
            let talk = talk.flat_map(|session| sessions.known(session).talk());
            talk.map(|(sent, answered)| {
                let body = Body::Ping { sent };
                let ping = Record {
                    // One entry may stand for several, and what was sent last is of the last.
                    time: sent.max(answered),
                    body,
                    ..first.clone()
                };
                (usize::MAX, ping)
            })
        })
    }
}

fn is_auth(record: &Record) -> bool {
    matches!(record.body, Body::Session(SessionEvent::Auth { .. }))
}

/// A stretch of a stream.
pub struct Stretch {
    history: History,
    sessions: Vec<Known>,
}

impl Stretch {
    /// What a stream has not settled, and these records after.
    pub fn of<R: Borrow<Record>>(stream: &Stream<R>, prelude: &Prelude, records: &[R]) -> Self {
        let sessions = stream.sessions.all().map(|session| Known {
            session: session.id,
            timeout_ns: session.timeout_ns,
            heard: session.heard_last(&stream.judging),
            close_sent: session.close_sent,
        });
        Stretch {
            sessions: sessions.collect(),
            history: history_of(stream, prelude, records),
        }
    }

    /// What of unknown fate took effect, and where, in the order of zxids.
    ///
    /// # Errors
    /// The thorough judge knows no order; if it is for the sake of an answer, the zxid of that.
    pub fn hints(&self, options: &Options) -> Result<VecDeque<Txn>, Option<i64>> {
        let options = Options {
            tries_max: options.tries_max.min(TRIES_MAX),
            steps_per_item_max: options.steps_per_item_max.min(STEPS_PER_ITEM_MAX),
            steps_min: options.steps_min.min(STEPS_MIN),
            ..options.clone()
        };
        match order_of_stretch(&self.history, &options, &self.sessions) {
            Ok(certificate) => Ok(self.unanswered(certificate)),
            Err(Verdict::Invalid(violation)) => {
                let records = violation.records.iter();
                Err(records.filter_map(|(record, _)| self.place(*record)).max())
            }
            Err(Verdict::Valid(_) | Verdict::Unknown(_) | Verdict::Malformed { .. }) => Err(None),
        }
    }

    /// The zxid that a record tells.
    fn place(&self, record: usize) -> Option<i64> {
        match self.history.records.get(record)?.body {
            Body::Return { zxid, .. } => Some(zxid),
            Body::Invoke { .. }
            | Body::Lost { .. }
            | Body::Notify { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => None,
        }
    }

    /// Of an order, what no answer tells.
    fn unanswered(&self, certificate: Certificate) -> VecDeque<Txn> {
        let records = &self.history.records;
        let mut open: BTreeMap<(u32, i32), usize> = BTreeMap::new();
        let mut answered: FxHashSet<usize> = FxHashSet::default();
        for (index, record) in records.iter().enumerate() {
            match record.body {
                Body::Invoke { xid, .. } => drop(open.insert((record.process, xid), index)),
                Body::Return { xid, .. } => {
                    answered.extend(open.remove(&(record.process, xid)));
                }
                Body::Lost { .. }
                | Body::Notify { .. }
                | Body::Session(_)
                | Body::Ping { .. }
                | Body::Final => {}
            }
        }
        let steps = certificate.order.into_iter();
        let told = steps.filter_map(|Step { zxid, effect }| {
            let (session, xid, kind) = match effect {
                Effect::End(session) => (session, 0, TxnKind::Close),
                // The stream puts these where they show, by itself.
                Effect::Lapse(_) => return None,
                Effect::Request(asked) if answered.contains(&asked) => return None,
                Effect::Request(asked) => match records[asked].body {
                    Body::Invoke { session, xid, .. } => (session, xid, TxnKind::Write),
                    _ => return None,
                },
            };
            Some(Txn {
                zxid,
                session,
                xid,
                kind,
            })
        });
        told.collect()
    }
}

fn history_of<R: Borrow<Record>>(stream: &Stream<R>, prelude: &Prelude, records: &[R]) -> History {
    if stream.taken == 0 {
        let records = records.iter().map(|record| record.borrow().clone());
        return History {
            header: stream.header.clone(),
            records: records.collect(),
            txns: Vec::new(),
        };
    }
    let start = Start::Nodes {
        zxid: stream.settled_to.max(stream.last),
        nodes: stream.tree.start_nodes(),
    };
    let mut history = History::new(Header {
        start,
        txns: None,
        ..stream.header.clone()
    });
    let (pending, mut unasked) = pending(stream);
    let mut begun: Vec<Numbered> = prelude.clients.values().flatten().cloned().collect();
    begun.extend(pending);
    begun.extend(prelude.talk(&stream.sessions));
    begun.sort_by_key(|(index, record)| (record.time, *index));
    history.records = begun.into_iter().map(|(_, record)| record).collect();
    let later = records.iter().filter_map(|record| {
        let record = record.borrow();
        let kept = without_watches(record);
        match record.body {
            Body::Invoke { xid, .. } if kept.is_none() => {
                unasked.insert((record.process, xid));
                None
            }
            Body::Return { xid, .. } | Body::Lost { xid } => {
                kept.filter(|_| !unasked.remove(&(record.process, xid)))
            }
            Body::Invoke { .. }
            | Body::Notify { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => kept,
        }
    });
    history.records.extend(later);
    history
}

/// What a stream has not settled: questions, answers, and what was lost and can still happen;
/// and, by client and number, questions under way that are left out, as their place is known
/// already or they are of watches.
fn pending<R: Borrow<Record>>(stream: &Stream<R>) -> (Vec<Numbered>, FxHashSet<(u32, i32)>) {
    let mut found: Vec<Numbered> = Vec::new();
    let mut unasked = FxHashSet::default();
    let mut ask = |invoke: usize, call: &R, id: i64| {
        let mut call = without_watches(call.borrow())?;
        if let Body::Invoke { session, .. } = &mut call.body {
            *session = id;
        }
        found.push((invoke, call.clone()));
        Some(call)
    };
    let id_of = |session| stream.tree.session_ids[session as usize];
    for open in stream
        .clients
        .values()
        .flat_map(|client| client.all_under_way())
    {
        let asked = !open.placed && ask(open.invoke, &open.call, id_of(open.session)).is_some();
        if !asked {
            unasked.insert((open.call.borrow().process, open.xid));
        }
    }
    let mut told: Vec<Numbered> = Vec::new();
    for (&(session, xid), open) in &stream.lost {
        let fenced = open.number < stream.sessions.known(session).placed;
        if fenced || stream.tree.ended(session).is_some() {
            continue;
        }
        if let Some(call) = ask(open.invoke, &open.call, id_of(session)) {
            let body = Body::Lost { xid };
            told.push((open.invoke, Record { body, ..call }));
        }
    }
    for (_, entry) in stream.window.entries(&[]) {
        if let Entry::Answered(answered) = entry
            && ask(answered.invoke, &answered.call, id_of(answered.session)).is_some()
        {
            told.push((answered.arrived, answered.reply.borrow().clone()));
        }
    }
    found.extend(told);
    (found, unasked)
}

/// A record without its watch; None if it is of watches only.
fn without_watches(record: &Record) -> Option<Record> {
    let mut record = record.clone();
    match &mut record.body {
        Body::Notify { .. }
        | Body::Session(
            SessionEvent::SetWatches { .. }
            | SessionEvent::SetWatchesDone { .. }
            | SessionEvent::WatchesLeftOut,
        ) => return None,
        Body::Invoke { op, .. } => match op {
            Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } => {
                *watch = false;
            }
            Op::Create { .. }
            | Op::Delete { .. }
            | Op::Set { .. }
            | Op::GetAcl { .. }
            | Op::SetAcl { .. }
            | Op::Check { .. }
            | Op::Sync { .. }
            | Op::Multi { .. }
            | Op::Close => {}
            Op::AddWatch { .. } | Op::RemoveWatches { .. } => return None,
        },
        Body::Return { .. }
        | Body::Lost { .. }
        | Body::Session(_)
        | Body::Ping { .. }
        | Body::Final => {}
    }
    Some(record)
}
