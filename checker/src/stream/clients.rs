//! Clients and sessions along the stream: what is under way, and what was shown to whom.
//!
//! The comparisons of zxids and times that need no tree are made here, as each answer
//! comes; they are those of `walk::times` and `walk::sessions`, but turned round: here
//! nothing is convicted, and what is not plainly right is a doubt.
//!
//! Answers to: `consistency.md` 3.2 steps 1, 2 and 4; P3, P4, P5, P8, P14.

use super::Doubt;
use crate::history::{Header, Op, SyncPromise};
use crate::model::{Credentials, SessionIndex, Who};
use crate::walk::Role;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Most requests under way on one client.
const OPEN_MAX: usize = 1 << 16;

/// Most answers that are remembered because the clocks may err.
const RECENT_MAX: usize = 1 << 20;

/// A request under way.
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
    /// The greatest zxid shown to anybody surely before it was sent.
    pub shown_before: i64,
}

/// One client object.
pub struct Client<R> {
    pub session: Option<SessionIndex>,
    pub connected: bool,
    pub connection: u32,
    pub credentials: Credentials,
    pub last_returned: u64,
    open: VecDeque<Open<R>>,
}

impl<R> Client<R> {
    pub fn new() -> Self {
        Client {
            session: None,
            connected: false,
            connection: 0,
            credentials: Credentials::default(),
            last_returned: 0,
            open: VecDeque::new(),
        }
    }

    /// A request leaves.
    ///
    /// # Errors
    /// Its number is under way already, or too many are.
    pub fn ask(&mut self, open: Open<R>) -> Result<(), Doubt> {
        if self.open.iter().any(|other| other.xid == open.xid) {
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
    pub fn answered(&mut self, xid: i32) -> Result<Open<R>, Doubt> {
        let place = self.open.iter().position(|open| open.xid == xid);
        place
            .and_then(|place| self.open.remove(place))
            .ok_or(Doubt::because("an answer to nothing that was asked"))
    }

    /// The requests that nobody will answer any more.
    pub fn left_open(&self) -> impl Iterator<Item = &Open<R>> {
        self.open.iter()
    }
}

/// What is known of one session.
pub struct Session {
    pub id: i64,
    pub timeout_ns: u64,
    pub close_sent: bool,
    pub expired: bool,
    /// The latest time at which something was sent that was answered.
    last_sent: u64,
    last_number: u64,
    write_zxid: i64,
    read_zxid: i64,
    sync_floor: i64,
}

/// Every session.
#[derive(Default)]
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
            timeout_ns: 0,
            close_sent: false,
            expired: false,
            last_sent: 0,
            last_number: 0,
            write_zxid: 0,
            read_zxid: 0,
            sync_floor: i64::MIN,
        });
        self.index.insert(id, fresh);
        (fresh, true)
    }

    /// The number of a session met before.
    pub fn find(&self, id: i64) -> Option<SessionIndex> {
        self.index.get(&id).copied()
    }

    pub fn get(&mut self, session: SessionIndex) -> &mut Session {
        &mut self.list[session as usize]
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl Session {
    /// Something sent at `sent` was answered.
    pub fn heard(&mut self, sent: u64) {
        self.last_sent = self.last_sent.max(sent);
    }

    /// The greatest zxid the session was answered at.
    pub fn seen(&self) -> i64 {
        self.write_zxid.max(self.read_zxid)
    }

    /// P3, P4, P5, P8: an answer that has a place in the order.
    ///
    /// # Errors
    /// It does not follow what the session saw before.
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
            }));
        }
        if role == Role::Sync {
            self.sync_floor = self.sync_floor.max(open.answered_before);
        }
        Ok(())
    }

    /// P14: the client is told at `told` that the session is gone. Whatever was answered
    /// counts as heard by the leader here, which asks for more than must be.
    ///
    /// # Errors
    /// That may have been too early.
    pub fn expire(&mut self, told: u64, header: &Header) -> Result<(), Doubt> {
        let drift = self.timeout_ns / 1_000_000 * header.clock_drift_ppm.min(1_000_000);
        let timeout = self.timeout_ns - drift.min(self.timeout_ns);
        let blur = header.clock_error_ns.saturating_mul(2);
        let earliest = self.last_sent.saturating_add(timeout).saturating_sub(blur);
        if self.timeout_ns != 0 && !self.close_sent && told < earliest {
            return Err(Doubt::because("a session may have expired too early"));
        }
        self.expired = true;
        Ok(())
    }
}

/// The greatest zxids that had been shown to clients surely before a time.
pub struct Shown {
    /// Twice the clock error: how much earlier a time must be to be surely earlier.
    blur: u64,
    /// Shown, but perhaps not surely before what is asked now: time, zxid, of a transaction.
    recent: VecDeque<(u64, i64, bool)>,
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
        self.greatest = self.greatest.max(zxid);
        if transaction {
            self.greatest_transaction = self.greatest_transaction.max(zxid);
        }
        self.recent.push_back((time, zxid, transaction));
        Ok(())
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
