//! What was asked, by whom, when, and what became of it: records read for the verifier.
//!
//! A second reading of the records, sharing no code with the judge's. It keeps what the
//! definition names (session, call, return, response, header zxid) and the identities a
//! request was sent with, each until its request has its place in the order.
//!
//! Answers to: `consistency.md` 3.1.

use super::heard::Ears;
use super::lives::{Lives, Talk};
use super::rights::Who;
use super::tree::decided_by_state;
use super::waiting::Waiting;
use super::waits::{LineId, watches};
use super::{Refusal, demand, refuse};
use crate::history::{Body, Header, Identity, Op, Record, SessionEvent, SubAnswer, SyncPromise};
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use std::collections::VecDeque;
use std::rc::Rc;

/// What kind of request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It sees a prefix of the order.
    Read,
    /// So does a sync, which says nothing of the tree.
    Sync,
    /// A transaction.
    Write,
    /// The transaction that ends a session.
    Close,
}

impl Kind {
    fn of(op: &Op) -> Self {
        match op {
            Op::Sync { .. } => Kind::Sync,
            Op::Close => Kind::Close,
            op if op.is_transaction() => Kind::Write,
            _ => Kind::Read,
        }
    }

    /// True if it has a place of its own in the order.
    pub fn is_transaction(self) -> bool {
        matches!(self, Kind::Write | Kind::Close)
    }
}

/// When a request was answered, at which zxid and what.
pub type Reply<'a> = (u64, i64, &'a SubAnswer);

/// A request.
pub struct Asked<R> {
    /// Record that asked.
    pub invoke: usize,
    /// Place among all requests, in the order sent.
    pub number: u64,
    /// Its session, by its place among all lives.
    pub life: usize,
    /// What kind it is.
    pub kind: Kind,
    /// When it was sent.
    pub call: u64,
    /// With which identities.
    pub who: Rc<Who>,
    /// When the last sync was sent that its session had been answered before; 0 if none.
    pub synced: u64,
    /// It registers watches, or takes them away.
    pub watches: bool,
    /// The connection that it was answered on, as far as that is listened to.
    pub line: LineId,
    /// Record that answered it.
    pub replied: usize,
    question: R,
    reply: Option<R>,
    connection: usize,
}

impl<R: Borrow<Record>> Asked<R> {
    /// The question.
    pub fn op(&self) -> &Op {
        match &self.question.borrow().body {
            Body::Invoke { op, .. } => op,
            _ => &Op::Close,
        }
    }

    /// When it was answered, at which zxid and what, if it was; that says something about the
    /// tree.
    pub fn answer(&self) -> Option<Reply<'_>> {
        let reply = self.reply.as_ref()?.borrow();
        match &reply.body {
            Body::Return { zxid, result, .. } => Some((reply.time, *zxid, result)),
            _ => None,
        }
    }

    /// What was sent on another connection than it was answered on has no identities that are
    /// sure.
    #[inline(always)]
    fn doubt(&mut self, client: &Client) {
        let same = self.connection == client.connection;
        if same && Rc::ptr_eq(&self.who, &client.who) {
            return;
        }
        self.who = Rc::new(Who {
            surely: match same {
                true => self.who.surely.clone(),
                false => Default::default(),
            },
            perhaps: client.who.perhaps.clone(),
            address_unknown: self.who.address_unknown || client.who.address_unknown,
        });
    }
}

/// The requests under way of a client, by xid. These mostly grow.
#[derive(Default)]
struct Open(VecDeque<(i32, u64)>);

impl Open {
    #[inline(always)]
    fn insert(&mut self, xid: i32, number: u64) {
        if self.0.back().is_none_or(|&(last, _)| last < xid) {
            return self.0.push_back((xid, number));
        }
        let at = self.0.partition_point(|&(known, _)| known < xid);
        match self.0.get_mut(at).filter(|(known, _)| *known == xid) {
            Some(known) => known.1 = number,
            None => self.0.insert(at, (xid, number)),
        }
    }

    #[inline(always)]
    fn remove(&mut self, xid: i32) -> Option<u64> {
        if let Some((_, number)) = self.0.pop_front_if(|(first, _)| *first == xid) {
            return Some(number);
        }
        let at = self.0.binary_search_by_key(&xid, |&(xid, _)| xid).ok()?;
        self.0.remove(at).map(|(_, number)| number)
    }
}

#[derive(Default)]
struct Client {
    /// Its session, by its place among all lives.
    life: usize,
    connection: usize,
    open: Open,
    offered: Vec<Identity>,
    who: Rc<Who>,
    talk: Talk,
    /// One more than the number of the request that was answered last on its connection.
    answered: u64,
    line: LineId,
}

/// Every client. Those whose numbers come in turn are found without hashing.
#[derive(Default)]
struct Clients {
    near: Vec<Client>,
    far: FxHashMap<u32, Client>,
}

impl Clients {
    /// The client of a number, who may be new.
    #[inline(always)]
    fn of(&mut self, process: u32) -> &mut Client {
        match (process as usize) < self.near.len() {
            true => &mut self.near[process as usize],
            false => self.of_far(process),
        }
    }

    #[cold]
    fn of_far(&mut self, process: u32) -> &mut Client {
        if process as usize != self.near.len() || self.far.contains_key(&process) {
            return self.far.entry(process).or_default();
        }
        self.near.push_mut(Client::default())
    }
}

/// The records so far, as far as they still matter.
pub struct Reading<R> {
    /// Requests that have no place yet. What was answered with an error that is none of the
    /// tree's needs none.
    pub waiting: Waiting<Asked<R>>,
    /// The sessions.
    pub lives: Lives,
    /// What is heard besides answers.
    pub ears: Ears,
    clients: Clients,
    sync: SyncPromise,
    lag: u64,
}

impl<R: Borrow<Record>> Reading<R> {
    /// Before the first record.
    pub fn new(header: &Header) -> Self {
        Reading {
            waiting: Waiting::default(),
            lives: Lives::new(),
            ears: Ears::new(header),
            clients: Clients::default(),
            sync: header.sync,
            lag: Talk::lag(header),
        }
    }

    /// Reads the next record. Returns the life that it says something new about.
    ///
    /// # Errors
    /// E: a session is served after it had been told that it is gone.
    #[inline(always)]
    pub fn read(&mut self, index: usize, record: R) -> Result<Option<usize>, Refusal> {
        let seen: &Record = record.borrow();
        let time = seen.time;
        let client = self.clients.of(seen.process);
        match &seen.body {
            Body::Invoke { session, xid, op } => {
                let life = match *session {
                    0 => client.life,
                    session if session == self.lives.all[client.life].session => client.life,
                    session => self.lives.of(session),
                };
                let kind = Kind::of(op);
                if kind == Kind::Close {
                    self.lives.all[life].close_sent.get_or_insert(time);
                }
                let number = self.waiting.next();
                client.open.insert(*xid, number);
                self.waiting.push(Asked {
                    invoke: index,
                    number,
                    life,
                    kind,
                    call: time,
                    who: client.who.clone(),
                    synced: 0,
                    watches: kind == Kind::Read && watches(op),
                    line: 0,
                    replied: 0,
                    question: record,
                    reply: None,
                    connection: client.connection,
                });
                Ok(None)
            }
            Body::Return { xid, zxid, result } => {
                let Some(number) = client.open.remove(*xid) else {
                    return Ok(None);
                };
                let why = "it was answered after what was asked later";
                demand("W2", index, number >= client.answered, why)?;
                client.answered = number + 1;
                let Some(asked) = self.waiting.get_mut(number) else {
                    return refuse("form", index, "what was placed as lost is answered");
                };
                let nowhere = *zxid <= 0 && asked.watches && asked.op().arranges_watches();
                if nowhere || result.as_ref().is_err_and(|code| !decided_by_state(*code)) {
                    if result.is_ok() {
                        self.ears.lost(&mut client.line, asked);
                    }
                    self.waiting.take(number);
                    return Ok(None);
                }
                asked.doubt(client);
                let life = &mut self.lives.all[asked.life];
                if asked.life == client.life {
                    life.told(client.talk.answered(asked.call, time, self.lag));
                }
                let by_leader = asked.kind != Kind::Sync || self.sync == SyncPromise::Quorum;
                if by_leader && asked.kind != Kind::Read {
                    life.heard_by_leader = life.heard_by_leader.max(Some(asked.call));
                }
                life.close_answered |= asked.kind == Kind::Close && result.is_ok();
                // Of one that was sent later but answered first, nothing follows.
                let (sync, sent) = life.synced;
                asked.synced = if sync < number { sent } else { 0 };
                if asked.kind == Kind::Sync {
                    life.synced = life.synced.max((number, asked.call));
                }
                life.served(index, time)?;
                life.shown = life.shown.max(*zxid);
                let life = asked.life;
                (asked.reply, asked.replied) = (Some(record), index);
                if (client.line > 0 || asked.watches)
                    && let Some(line) = self.ears.line(&mut client.line)
                {
                    line.answered(asked)?;
                }
                asked.line = client.line;
                Ok(Some(life))
            }
            Body::Lost { xid } => {
                if let Some(number) = client.open.remove(*xid)
                    && let Some(asked) = self.waiting.get_mut(number)
                {
                    asked.connection = usize::MAX;
                    asked.doubt(client);
                    self.ears.lost(&mut client.line, asked);
                    if !asked.kind.is_transaction() {
                        self.waiting.take(number);
                    }
                }
                Ok(None)
            }
            Body::Ping { sent } => {
                let heard = client.talk.answered(*sent, time, self.lag);
                self.lives.all[client.life].told(heard);
                Ok(Some(client.life))
            }
            Body::Notify { zxid, event, path } => {
                if let Some(line) = self.ears.line(&mut client.line) {
                    line.notified((index, time), (*zxid, *event, path))?;
                }
                Ok(None)
            }
            Body::Session(event) => self.session_event(index, seen.process, time, event),
            Body::Final => Ok(None),
        }
    }

    /// True if a client may still be told something in this session.
    pub fn is_held(&self, life: usize) -> bool {
        let mut clients = self.clients.near.iter().chain(self.clients.far.values());
        clients.any(|client| client.life == life)
    }

    fn session_event(
        &mut self,
        index: usize,
        process: u32,
        time: u64,
        event: &SessionEvent,
    ) -> Result<Option<usize>, Refusal> {
        let client = self.clients.of(process);
        let another_connection = matches!(
            event,
            SessionEvent::Connecting { .. }
                | SessionEvent::Connected { .. }
                | SessionEvent::Disconnected
                | SessionEvent::Expired { .. }
                | SessionEvent::Abandoned { .. }
        );
        if another_connection {
            (client.answered, client.connection) = (0, 0);
            client.talk = Talk::default();
            client.offered.clear();
            Rc::make_mut(&mut client.who).surely.clear();
            self.ears.leave(&mut client.line);
        }
        match event {
            SessionEvent::Connecting {
                session,
                last_zxid_seen,
            } => {
                let life = self.lives.of(*session);
                let seen = self.lives.all[life].shown;
                if life != 0 && seen > *last_zxid_seen {
                    let reason = format!("it had seen {seen:#x} and names {last_zxid_seen:#x}");
                    return refuse("R2", index, reason);
                }
            }
            SessionEvent::SetWatchesDone { zxid } => {
                self.ears.again(&mut client.line, (index, time), *zxid);
            }
            SessionEvent::WatchesLeftOut => self.ears.silence(&mut client.line),
            SessionEvent::Connected {
                session,
                timeout_ms,
                address,
                ..
            } => {
                let life = self.lives.of(*session);
                let before = std::mem::replace(&mut client.life, life);
                for (_, number) in client.open.0.iter().filter(|_| before == 0) {
                    let asked = self.waiting.get_mut(*number);
                    if let Some(asked) = asked.filter(|asked| asked.life == 0) {
                        asked.life = life;
                    }
                }
                client.connection = index + 1;
                let who = Rc::make_mut(&mut client.who);
                if before != life {
                    who.perhaps.clear();
                }
                let address = address.as_ref().map(|address| Identity::new("ip", address));
                who.address_unknown = address.is_none();
                who.perhaps.extend(address.clone());
                who.surely = address.into_iter().collect();
                let known = &mut self.lives.all[life];
                known.timeout_ns = timeout_ms.saturating_mul(1_000_000);
                known.served(index, time)?;
                return Ok(Some(life));
            }
            SessionEvent::SetWatches { .. } => {
                if let Some(line) = self.ears.line(&mut client.line) {
                    line.frames.push_back(event.clone());
                }
            }
            SessionEvent::Disconnected => {}
            SessionEvent::Expired { session } => {
                client.life = 0;
                let life = self.lives.of(*session);
                self.lives.all[life].expired.get_or_insert((time, index));
                return Ok(Some(life));
            }
            SessionEvent::Abandoned { .. } => client.life = 0,
            SessionEvent::Auth { identity } => {
                client.offered.push(identity.clone());
                Rc::make_mut(&mut client.who)
                    .perhaps
                    .insert(identity.clone());
            }
            SessionEvent::AuthDone { ok } => {
                let first = (!client.offered.is_empty()).then(|| client.offered.remove(0));
                let first = first.filter(|_| *ok);
                Rc::make_mut(&mut client.who).surely.extend(first);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_whether_their_numbers_come_in_turn_or_not() {
        let mut clients = Clients::default();
        let numbers = [0, 2, 1, u32::MAX, 3];
        for (life, number) in numbers.into_iter().enumerate() {
            clients.of(number).life = life;
        }
        let lives = numbers.map(|number| clients.of(number).life);
        assert_eq!(lives, [0, 1, 2, 3, 4]);
        assert_eq!((clients.near.len(), clients.far.len()), (2, 3));
    }
}
