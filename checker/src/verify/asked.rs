//! What was asked, by whom, when, and what became of it: records read for the verifier.
//!
//! A second reading of the records, sharing no code with the judge's. It keeps what the
//! definition names (session, call, return, response, header zxid) and the identities a
//! request was sent with, each until its request has its place in the order.
//!
//! Answers to: `consistency.md` 3.1.

use super::Refusal;
use super::lives::{Life, Talk};
use super::refuse;
use super::rights::Who;
use super::tree::decided_by_state;
use super::waiting::Waiting;
use crate::history::{
    Answer, Body, ErrorCode, Header, Identity, Op, Record, SessionEvent, SyncPromise,
};
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A request.
pub struct Asked<R> {
    /// Record that asked.
    pub invoke: usize,
    /// Place among all requests, in the order sent.
    pub number: u64,
    /// Session, 0 if it never had one.
    pub session: i64,
    /// When it was sent.
    pub call: u64,
    /// When it was answered; `u64::MAX` if it was not yet, or never.
    pub ret: u64,
    /// Zxid of the reply.
    pub zxid: i64,
    /// With which identities.
    pub who: Who,
    /// When the last sync was sent that its session had been answered before; 0 if none.
    pub synced: u64,
    question: R,
    reply: Option<R>,
    connection: usize,
}

impl<R: Borrow<Record>> Asked<R> {
    /// The question.
    pub fn op(&self) -> &Op {
        op_of(self.question.borrow())
    }

    /// The answer, if it came; it says something about the tree.
    pub fn answer(&self) -> Option<&Result<Answer, ErrorCode>> {
        match &self.reply.as_ref()?.borrow().body {
            Body::Return { result, .. } => Some(result),
            _ => None,
        }
    }
}

fn op_of(record: &Record) -> &Op {
    match &record.body {
        Body::Invoke { op, .. } => op,
        _ => &Op::Close,
    }
}

#[derive(Default)]
struct Client {
    session: i64,
    connection: usize,
    /// Requests under way by number, and the records that asked.
    open: FxHashMap<i32, usize>,
    offered: Vec<Identity>,
    surely: BTreeSet<Identity>,
    perhaps: BTreeSet<Identity>,
    /// The two above and whether the address is hidden, for requests to share.
    who: Who,
    talk: Talk,
}

impl Client {
    fn renew(&mut self) {
        (self.who.surely, self.who.perhaps) =
            (Rc::new(self.surely.clone()), Rc::new(self.perhaps.clone()));
    }
}

/// The records so far, as far as they still matter.
pub struct Reading<R> {
    /// Requests that have no place yet, by the record that asked. What was answered with an
    /// error that is none of the tree's needs none.
    pub waiting: Waiting<R>,
    /// Sessions by id.
    pub lives: FxHashMap<i64, Life>,
    clients: FxHashMap<u32, Client>,
    asked: u64,
    sync: SyncPromise,
    lag: u64,
}

impl<R: Borrow<Record>> Reading<R> {
    /// Before the first record.
    pub fn new(header: &Header) -> Self {
        Reading {
            waiting: Waiting::new(),
            lives: FxHashMap::default(),
            clients: FxHashMap::default(),
            asked: 0,
            sync: header.sync,
            lag: Talk::lag(header),
        }
    }

    /// Reads the next record. Returns the session that it says something new about.
    ///
    /// # Errors
    /// E: a session is served after it had been told that it is gone.
    pub fn read(&mut self, index: usize, record: R) -> Result<Option<i64>, Refusal> {
        let seen: &Record = record.borrow();
        let (process, time) = (seen.process, seen.time);
        let client = self.clients.entry(process).or_default();
        match &seen.body {
            Body::Invoke { session, xid, .. } => {
                let session = match *session {
                    0 => client.session,
                    session => session,
                };
                client.open.insert(*xid, index);
                self.invoke(index, session, process, record);
                Ok(None)
            }
            Body::Return { xid, .. } => match client.open.remove(xid) {
                Some(asked) => self.answer(index, asked, process, record),
                None => Ok(None),
            },
            Body::Lost { xid } => {
                if let Some(number) = client.open.remove(xid)
                    && let Some(asked) = self.waiting.get_mut(number)
                {
                    asked.connection = usize::MAX;
                    doubt(asked, client);
                    if !asked.op().is_transaction() {
                        self.waiting.remove(number);
                    }
                }
                Ok(None)
            }
            Body::Ping { sent } => {
                let heard = client.talk.answered(*sent, time, self.lag);
                let session = client.session;
                self.life(session).told(heard);
                Ok(Some(session))
            }
            Body::Session(event) => self.session_event(index, process, time, event),
            Body::Notify { .. } | Body::Final => Ok(None),
        }
    }

    /// True if a client may still be told something in this session.
    pub fn is_held(&self, session: i64) -> bool {
        self.clients
            .values()
            .any(|client| client.session == session)
    }

    fn life(&mut self, session: i64) -> &mut Life {
        self.lives.entry(session).or_default()
    }

    fn invoke(&mut self, index: usize, session: i64, process: u32, record: R) {
        let client = self.clients.entry(process).or_default();
        let call = record.borrow().time;
        let closes = matches!(op_of(record.borrow()), Op::Close);
        let asked = Asked {
            invoke: index,
            number: self.asked,
            session,
            call,
            ret: u64::MAX,
            zxid: 0,
            who: client.who.clone(),
            synced: 0,
            question: record,
            reply: None,
            connection: client.connection,
        };
        self.asked += 1;
        self.waiting.insert(asked);
        if closes {
            self.life(session).close_sent.get_or_insert(call);
        }
    }

    fn answer(
        &mut self,
        index: usize,
        asked: usize,
        process: u32,
        record: R,
    ) -> Result<Option<i64>, Refusal> {
        let (waiting, clients) = (&mut self.waiting, &mut self.clients);
        let (Some(request), Some(client)) = (waiting.get_mut(asked), clients.get_mut(&process))
        else {
            return refuse("form", index, "what was placed as lost is answered");
        };
        let Body::Return { zxid, result, .. } = &record.borrow().body else {
            return Ok(None);
        };
        if result.as_ref().is_err_and(|code| !decided_by_state(*code)) {
            waiting.remove(asked);
            return Ok(None);
        }
        let (time, session, call) = (record.borrow().time, request.session, request.call);
        let succeeded = result.is_ok();
        (request.ret, request.zxid) = (time, *zxid);
        doubt(request, client);
        let heard = match session == client.session {
            true => client.talk.answered(call, time, self.lag),
            false => None,
        };
        let life = self.lives.entry(session).or_default();
        life.told(heard);
        let sync = matches!(request.op(), Op::Sync { .. });
        if request.op().is_transaction() || sync && self.sync == SyncPromise::Quorum {
            life.heard_by_leader = life.heard_by_leader.max(Some(call));
        }
        life.close_answered |= matches!(request.op(), Op::Close) && succeeded;
        request.synced = life.synced;
        if sync {
            life.synced = life.synced.max(call);
        }
        request.reply = Some(record);
        life.served(index, time)?;
        Ok(Some(session))
    }

    fn session_event(
        &mut self,
        index: usize,
        process: u32,
        time: u64,
        event: &SessionEvent,
    ) -> Result<Option<i64>, Refusal> {
        let client = self.clients.entry(process).or_default();
        let mut concerned = None;
        match event {
            SessionEvent::Connecting { .. }
            | SessionEvent::SetWatches { .. }
            | SessionEvent::SetWatchesDone { .. }
            | SessionEvent::WatchesLeftOut => return Ok(None),
            SessionEvent::Connected {
                session,
                timeout_ms,
                address,
                ..
            } => {
                if client.session != *session {
                    client.perhaps.clear();
                }
                for asked in client.open.values().filter(|_| client.session == 0) {
                    let asked = self.waiting.get_mut(*asked);
                    if let Some(asked) = asked.filter(|asked| asked.session == 0) {
                        asked.session = *session;
                    }
                }
                client.session = *session;
                client.connection = index + 1;
                client.talk = Talk::default();
                client.offered.clear();
                let address = address.as_ref().map(|address| Identity::new("ip", address));
                client.who.address_unknown = address.is_none();
                client.perhaps.extend(address.clone());
                client.surely = address.into_iter().collect();
                client.renew();
                let life = self.life(*session);
                life.timeout_ns = timeout_ms.saturating_mul(1_000_000);
                life.served(index, time)?;
                return Ok(Some(*session));
            }
            SessionEvent::Disconnected => {
                client.connection = 0;
                client.talk = Talk::default();
                client.offered.clear();
                client.surely.clear();
            }
            SessionEvent::Expired { session } => {
                (client.session, client.connection) = (0, 0);
                self.life(*session).expired.get_or_insert((time, index));
                concerned = Some(*session);
            }
            SessionEvent::Abandoned { .. } => (client.session, client.connection) = (0, 0),
            SessionEvent::Auth { identity } => {
                client.offered.push(identity.clone());
                client.perhaps.insert(identity.clone());
            }
            SessionEvent::AuthDone { ok } => {
                let first = (!client.offered.is_empty()).then(|| client.offered.remove(0));
                client.surely.extend(first.filter(|_| *ok));
            }
        }
        if let Some(client) = self.clients.get_mut(&process) {
            client.renew();
        }
        Ok(concerned)
    }
}

/// What was sent on another connection than it was answered on has no identities that are sure.
fn doubt<R>(asked: &mut Asked<R>, client: &Client) {
    if asked.connection != client.connection {
        asked.who.surely = Rc::default();
    }
    asked.who.perhaps = client.who.perhaps.clone();
    asked.who.address_unknown |= client.who.address_unknown;
}
