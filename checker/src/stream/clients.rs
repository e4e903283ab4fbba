//! Clients and sessions along the stream: what is under way, and what was shown to whom.
//!
//! The comparisons of zxids and times that need no tree are made here, as each answer
//! comes; they are those of `walk::times` and `walk::sessions`, but turned round: here
//! nothing is convicted, and what is not plainly right is a doubt.
//!
//! Answers to: `consistency.md` 3.2 steps 1, 2 and 4; P3, P4, P5, P8, P14.

use super::Doubt;
use super::watches::ConnectionId;
use crate::history::{EventType, Header, Op, Path, SyncPromise};
use crate::model::{Credentials, SessionIndex, Who};
use crate::walk::Role;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Most requests under way on one client.
const OPEN_MAX: usize = 1 << 16;

const UNASKED: &str = "an answer to nothing that was asked";

/// Answers that each session keeps for as long as a server goes on without its leader.
const TALK_KEPT: u64 = 256;

/// Most answers that are remembered because the clocks may err.
const RECENT_MAX: usize = 1 << 20;

/// A request under way.
#[derive(Clone)]
pub struct Open<R> {
    pub xid: i32,
    /// Place among all requests, in the order sent.
    pub number: u64,
    /// The record that asked.
    pub invoke: usize,
    pub call: R,
    pub session: SessionIndex,
    pub who: Who,
    /// The connection it was sent on, `u32::MAX` if before one.
    pub connection: u32,
    /// When it was sent, ns.
    pub sent: u64,
    /// The greatest transaction answered surely before it was sent.
    pub answered_before: i64,
    /// The greatest zxid shown to anybody surely before it was sent; once it is lost, also the
    /// greatest that its session was answered at when it had asked before.
    pub shown_before: i64,
    /// The servers' log has it, and it has its place already.
    pub placed: bool,
}

/// What one connection showed its client.
#[derive(Clone)]
pub struct Connection {
    pub id: ConnectionId,
    /// The greatest zxid answered.
    pub newest: i64,
    /// The zxid of the last notification.
    pub last_told: i64,
    /// A notification of this zxid has not come though it is due: nothing as new may come.
    pub overdue: i64,
    /// Watches were registered, or notifications came.
    pub waits: bool,
}

impl Connection {
    fn new(id: ConnectionId) -> Self {
        Connection {
            id,
            newest: 0,
            last_told: 0,
            overdue: i64::MAX,
            waits: false,
        }
    }

    /// P10: something was answered at `zxid`.
    ///
    /// # Errors
    /// A notification is due that should have come first.
    pub fn answered(&mut self, zxid: i64) -> Result<(), Doubt> {
        self.newest = self.newest.max(zxid);
        self.in_time(zxid)
    }

    /// P10, P12: a notification of `zxid` comes.
    ///
    /// # Errors
    /// Something as new came before it.
    pub fn told(&mut self, zxid: i64) -> Result<(), Doubt> {
        if zxid <= self.newest || zxid < self.last_told {
            return Err(Doubt::because("a notification comes late"));
        }
        self.last_told = zxid;
        self.in_time(zxid)
    }

    fn in_time(&self, zxid: i64) -> Result<(), Doubt> {
        match zxid >= self.overdue {
            true => Err(Doubt::because("a notification is missing")),
            false => Ok(()),
        }
    }

    /// A notification of `zxid` that is due has not come.
    ///
    /// # Errors
    /// Something as new has.
    pub fn misses(&mut self, zxid: i64) -> Result<(), Doubt> {
        self.overdue = self.overdue.min(zxid);
        match self.newest >= zxid || self.last_told > zxid {
            true => Err(Doubt::because("a notification is missing")),
            false => Ok(()),
        }
    }
}

/// One client object.
#[derive(Clone)]
pub struct Client<R> {
    pub session: Option<SessionIndex>,
    pub connected: bool,
    pub connection: u32,
    pub credentials: Credentials,
    pub last_returned: u64,
    pub shown: Connection,
    /// setWatches frames on their way.
    pub again: VecDeque<R>,
    /// What was told while they were, without a zxid.
    pub caught_up: Vec<(EventType, Path)>,
    open: VecDeque<Open<R>>,
    /// The greatest number ever asked under.
    xid_max: i32,
}

impl<R> Client<R> {
    pub fn new(connection: ConnectionId) -> Self {
        Client {
            shown: Connection::new(connection),
            again: VecDeque::new(),
            caught_up: Vec::new(),
            session: None,
            connected: false,
            connection: 0,
            credentials: Credentials::default(),
            last_returned: 0,
            open: VecDeque::new(),
            xid_max: i32::MIN,
        }
    }

    /// A request leaves.
    ///
    /// # Errors
    /// Its number is under way already, or too many are.
    #[inline(always)]
    pub fn ask(&mut self, open: Open<R>) -> Result<(), Doubt> {
        // Most number their requests upwards.
        let upwards = open.xid > self.xid_max;
        self.xid_max = self.xid_max.max(open.xid);
        if !upwards && self.open.iter().any(|other| other.xid == open.xid) {
            return Err(Doubt::because(
                "an xid is asked a second time before it is answered",
            ));
        }
        if self.open.len() == OPEN_MAX {
            return Err(Doubt::because("too many requests of one client under way"));
        }
        self.open.push_back(open);
        Ok(())
    }

    /// The request that an answer belongs to.
    ///
    /// # Errors
    /// There is none.
    #[inline(always)]
    pub fn answered(&mut self, xid: i32) -> Result<Open<R>, Doubt> {
        if self.open.front().is_some_and(|open| open.xid == xid) {
            return self.open.pop_front().ok_or(Doubt::because(UNASKED));
        }
        let place = self.open.iter().position(|open| open.xid == xid);
        let open = place.and_then(|place| self.open.swap_remove_front(place));
        open.ok_or(Doubt::because(UNASKED))
    }

    /// Another connection begins; what the last one showed.
    pub fn reconnect(&mut self, connection: ConnectionId) -> Connection {
        self.again.clear();
        self.caught_up.clear();
        std::mem::replace(&mut self.shown, Connection::new(connection))
    }

    /// The request of a session that is under way under a number.
    pub fn under_way(&mut self, session: SessionIndex, xid: i32) -> Option<&mut Open<R>> {
        let mut open = self.open.iter_mut();
        open.find(|open| (open.session, open.xid) == (session, xid))
    }

    /// Every request under way.
    pub fn all_under_way(&self) -> impl Iterator<Item = &Open<R>> {
        self.open.iter()
    }

    /// The requests that nobody will answer any more.
    pub fn leave_open(&mut self) -> impl Iterator<Item = Open<R>> + '_ {
        self.open.drain(..)
    }
}

/// What is known of one session.
#[derive(Clone, Default)]
pub struct Session {
    pub id: i64,
    pub timeout_ns: u64,
    pub close_sent: Option<u64>,
    pub close_answered: bool,
    pub expired: bool,
    /// One more than the number of its latest transaction in the order.
    pub placed: u64,
    /// The zxid of that.
    pub last_placed: i64,
    /// One more than the number of the latest write whose answer was lost.
    pub lost: u64,
    /// Its end stands in the order, and nothing as new was shown before this time.
    pub ended_by: Option<u64>,
    /// The latest time at which something was sent that the leader must have heard.
    heard: Option<u64>,
    /// The latest time at which something was sent that some server must have passed on.
    passed_on: Option<u64>,
    /// What was answered on this connection and perhaps not yet passed on: sent, answered.
    talk: VecDeque<(u64, u64)>,
    last_number: u64,
    write_zxid: i64,
    read_zxid: i64,
    sync_floor: i64,
}

/// Every session.
#[derive(Clone, Default)]
pub struct Sessions {
    list: Vec<Session>,
    index: FxHashMap<i64, SessionIndex>,
}

impl Sessions {
    /// The number of a session, and whether it is new.
    pub fn index(&mut self, id: i64) -> (SessionIndex, bool) {
        if let Some(&known) = self.index.get(&id) {
            return (known, false);
        }
        let fresh = self.list.len() as SessionIndex;
        self.list.push(Session {
            id,
            sync_floor: i64::MIN,
            ..Session::default()
        });
        self.index.insert(id, fresh);
        (fresh, true)
    }

    /// The number of a session met before.
    pub fn find(&self, id: i64) -> Option<SessionIndex> {
        self.index.get(&id).copied()
    }

    /// What is known of a session.
    pub fn known(&self, session: SessionIndex) -> &Session {
        &self.list[session as usize]
    }

    pub fn get(&mut self, session: SessionIndex) -> &mut Session {
        &mut self.list[session as usize]
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Session> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl Session {
    /// A connection begins: another server may know nothing of what was not passed on.
    pub fn connected(&mut self, timeout_ns: u64) {
        self.timeout_ns = timeout_ns;
        self.talk.clear();
    }

    /// Something sent at `sent` was answered at `time`, by the leader or by any server. Where
    /// answers are too many to keep each, what was sent counts as answered earlier than it
    /// was, which asks for more than must be.
    ///
    /// # Errors
    /// P14: the session's end came too early for that.
    pub fn heard(
        &mut self,
        sent: u64,
        time: u64,
        by_leader: bool,
        judging: &Judging,
    ) -> Result<(), Doubt> {
        if by_leader {
            self.heard = self.heard.max(Some(sent));
        }
        while let Some(&(first, answered)) = self.talk.front()
            && answered.saturating_add(judging.lag) <= sent
        {
            self.talk.pop_front();
            self.passed_on = self.passed_on.max(Some(first));
        }
        match self.talk.back_mut() {
            Some((last, answered)) if time - *answered <= judging.lag / TALK_KEPT => {
                *last = sent.max(*last);
            }
            Some(_) | None => self.talk.push_back((sent, time)),
        }
        self.check_end(judging)
    }

    /// P14: the session's end stands in the order, where `shown` is the first time at which
    /// anything as new was shown.
    ///
    /// # Errors
    /// It cannot have begun by then.
    pub fn end(&mut self, shown: u64, judging: &Judging) -> Result<(), Doubt> {
        self.ended_by = Some(shown);
        self.check_end(judging)
    }

    /// As [`Session::end`], with what is known by now.
    ///
    /// # Errors
    /// As there.
    pub fn check_end(&self, judging: &Judging) -> Result<(), Doubt> {
        let Some(shown) = self.ended_by else {
            return Ok(());
        };
        match shown.saturating_add(judging.blur) < self.may_end_from(judging) {
            true => Err(Doubt::because("a session may have ended too early")),
            false => Ok(()),
        }
    }

    /// The earliest time at which the session can have ended, told to nobody.
    pub fn may_end_from(&self, judging: &Judging) -> u64 {
        let expiry = self.expiry(judging);
        let lost_close = self.close_sent.filter(|_| !self.close_answered);
        lost_close.map_or(expiry, |sent| sent.min(expiry))
    }

    /// What was answered on this connection and perhaps not yet passed on: sent, answered.
    pub fn talk(&self) -> impl Iterator<Item = (u64, u64)> {
        self.talk.iter().copied()
    }

    /// The latest time at which something was sent that the leader is known to have heard.
    pub fn heard_last(&self, judging: &Judging) -> Option<u64> {
        let by_leader = self.heard.filter(|_| judging.write_is_touch);
        by_leader.max(self.passed_on)
    }

    /// The earliest time at which the session can have expired; 0 if nothing is known.
    fn expiry(&self, judging: &Judging) -> u64 {
        if self.timeout_ns == 0 {
            return 0;
        }
        let drift = self.timeout_ns / 1_000_000 * judging.drift_ppm;
        let timeout = self.timeout_ns - drift.min(self.timeout_ns);
        self.heard_last(judging).map_or(0, |heard| {
            heard.saturating_add(timeout).saturating_sub(judging.blur)
        })
    }

    /// A write whose answer was lost lies after all that its session had asked before, be that
    /// answered while the write was under way.
    pub fn loses<R>(&mut self, open: &mut Open<R>) {
        open.shown_before = open.shown_before.max(self.seen());
        self.lost = self.lost.max(open.number + 1);
    }

    /// The greatest zxid the session was answered at.
    pub fn seen(&self) -> i64 {
        self.write_zxid.max(self.read_zxid)
    }

    /// P3, P4, P5, P8: an answer that has a place in the order.
    ///
    /// # Errors
    /// It does not follow what the session saw before.
    #[inline(always)]
    pub fn follow<R>(
        &mut self,
        open: &Open<R>,
        zxid: i64,
        role: Role,
        sync: SyncPromise,
    ) -> Result<(), Doubt> {
        if open.number < self.last_number {
            return Err(Doubt::because(
                "a session was answered in another order than it asked",
            ));
        }
        self.last_number = open.number;
        let backwards = match role {
            Role::Transaction => {
                let backwards = zxid <= self.write_zxid || zxid <= self.read_zxid;
                self.write_zxid = zxid;
                backwards || zxid <= open.answered_before || zxid <= open.shown_before
            }
            Role::Read | Role::Sync => {
                let backwards = zxid < self.write_zxid || zxid < self.read_zxid;
                self.read_zxid = zxid;
                backwards
            }
            Role::ReadSomewhere | Role::Unanswered | Role::Nothing => false,
        };
        if backwards {
            return Err(Doubt::because(
                "an answer lies before what was known already",
            ));
        }
        if role == Role::Read && zxid < self.sync_floor {
            return Err(Doubt::because(match sync {
                SyncPromise::Quorum => "a read after sync is stale",
                SyncPromise::Leader => "a read after sync is stale, unless two leaders were alive",
                SyncPromise::None => "a read after sync is stale",
            }));
        }
        if role == Role::Sync && sync != SyncPromise::None {
            self.sync_floor = self.sync_floor.max(open.answered_before);
        }
        Ok(())
    }

    /// P14: the client is told at `told` that the session is gone.
    ///
    /// # Errors
    /// That may have been too early.
    pub fn expire(&mut self, told: u64, judging: &Judging) -> Result<(), Doubt> {
        let closed = self.close_sent.is_some_and(|sent| sent <= told);
        if !closed && told < self.expiry(judging) {
            return Err(Doubt::because("a session may have expired too early"));
        }
        self.expired = true;
        Ok(())
    }
}

/// What P14 is judged by.
#[derive(Clone)]
pub struct Judging {
    /// How long a server goes on answering when its leader does not hear it.
    pub lag: u64,
    /// Twice the clock error.
    pub blur: u64,
    pub drift_ppm: u64,
    pub write_is_touch: bool,
}

/// The greatest zxids that had been shown to clients surely before a time.
#[derive(Clone)]
pub struct Shown {
    /// Twice the clock error: how much earlier a time must be to be surely earlier.
    blur: u64,
    /// Shown, but perhaps not surely before what is asked now: time, zxid, of a transaction.
    recent: VecDeque<(u64, i64, bool)>,
    /// When each greatest zxid so far was first shown; in order.
    firsts: VecDeque<(i64, u64)>,
    greatest: i64,
    greatest_transaction: i64,
    before: i64,
    transaction_before: i64,
}

impl Shown {
    pub fn new(header: &Header) -> Self {
        Shown {
            blur: header.clock_error_ns.saturating_mul(2),
            recent: VecDeque::new(),
            firsts: VecDeque::new(),
            greatest: 0,
            greatest_transaction: 0,
            before: 0,
            transaction_before: 0,
        }
    }

    /// `zxid` was shown at `time`.
    ///
    /// # Errors
    /// Too much happened within the error of the clocks.
    pub fn note(&mut self, time: u64, zxid: i64, transaction: bool) -> Result<(), Doubt> {
        let more = zxid > self.greatest || transaction && zxid > self.greatest_transaction;
        if !more {
            return Ok(());
        }
        if self.recent.len() == RECENT_MAX {
            return Err(Doubt::because(
                "too many answers within the error of the clocks",
            ));
        }
        if zxid > self.greatest {
            self.greatest = zxid;
            self.firsts.push_back((zxid, time));
        }
        if transaction {
            self.greatest_transaction = self.greatest_transaction.max(zxid);
        }
        self.recent.push_back((time, zxid, transaction));
        Ok(())
    }

    /// The first time at which `zxid`, or anything as new, was shown to anybody. Zxids never
    /// fall from one call to the next.
    pub fn first(&mut self, zxid: i64) -> u64 {
        while self.firsts.front().is_some_and(|&(shown, _)| shown < zxid) {
            self.firsts.pop_front();
        }
        self.firsts.front().map_or(u64::MAX, |&(_, time)| time)
    }

    /// The greatest zxid that is known to have been shown by `time`, of those not passed yet.
    pub fn by(&self, time: u64) -> Option<i64> {
        let end = self.firsts.partition_point(|&(_, shown)| shown <= time);
        Some(self.firsts.get(end.checked_sub(1)?)?.0)
    }

    /// The greatest transaction, and the greatest zxid at all, shown surely before `time`.
    /// Times never fall from one call to the next.
    pub fn before(&mut self, time: u64) -> (i64, i64) {
        while let Some(&(at, zxid, transaction)) = self.recent.front()
            && at.saturating_add(self.blur) < time
        {
            self.before = self.before.max(zxid);
            if transaction {
                self.transaction_before = self.transaction_before.max(zxid);
            }
            self.recent.pop_front();
        }
        (self.transaction_before, self.before)
    }
}

/// True if a request is a closeSession.
pub fn closes(op: &Op) -> bool {
    matches!(op, Op::Close)
}
