//! The running maxima: what of times and session orders has to be kept along the order.
//!
//! Every rule here says of two requests that the one must not come after the other. Along the
//! order that is one comparison with a maximum over what came before, so nothing else need be
//! remembered.
//!
//! Answers to: `consistency.md` 3.1, W1, W2, R2, R3, R4.

use super::asked::{Asked, Kind};
use super::{Refusal, demand};
use crate::history::{Header, SyncPromise};

/// The end of a session whose client is still there, so that more may be learnt of it.
struct Ended {
    life: usize,
    /// When the first of what comes after it in the order was answered, and which record.
    returned: (u64, usize),
}

/// A read that missed what had been answered before its session's sync, which a leader that
/// had been deposed is forgiven.
struct Missed {
    /// When the sync was sent.
    synced: u64,
    epoch: i64,
    record: usize,
}

/// W1, R3 and R4: times along the order.
#[derive(Default)]
pub struct Clock {
    /// Twice the error of the clocks.
    error: u64,
    promise: SyncPromise,
    /// The earliest that anything placed so far can have begun, at its greatest.
    begun: u64,
    /// The latest sync before any read placed so far: when it was sent, and the read.
    synced: (u64, usize),
    /// The epoch of that read.
    synced_epoch: i64,
    missed: Option<Missed>,
    ended: Vec<Ended>,
}

impl Clock {
    /// Before anything is placed.
    pub fn new(header: &Header) -> Self {
        Clock {
            error: header.clock_error_ns.saturating_mul(2),
            promise: header.sync,
            ..Clock::default()
        }
    }

    /// Something that cannot have begun before `time` has the next place.
    pub fn begin(&mut self, time: u64) {
        self.begun = self.begun.max(time);
    }

    /// W1, R4: an answered transaction has the next place, in an epoch.
    ///
    /// # Errors
    /// It had returned, at `ret`, before something earlier began, or before a sync whose session
    /// did not see it.
    pub fn wrote(&mut self, record: usize, ret: u64, epoch: i64) -> Result<(), Refusal> {
        let surely = self.surely(record, ret);
        let why = "it returned before something ordered earlier was called";
        demand("W1", record, surely >= self.begun, why)?;
        let deposed = |read: i64| self.promise == SyncPromise::Leader && read < epoch;
        // Whom a newer leader had deposed may have missed anything.
        let excused = |missed: &Missed| deposed(missed.epoch) && surely < missed.synced;
        if self.missed.as_ref().is_some_and(excused) {
            self.missed = None;
        }
        let (synced, read) = self.synced;
        if surely < synced && !deposed(self.synced_epoch) {
            let epoch = self.synced_epoch;
            let first = self.missed.get_or_insert(Missed {
                synced,
                epoch,
                record: read,
            });
            first.synced = first.synced.min(synced);
            if self.promise == SyncPromise::Quorum {
                return self.finish();
            }
        }
        Ok(())
    }

    /// R3: a read or a sync sees what was placed, whose last epoch is given.
    ///
    /// # Errors
    /// It was answered, at `ret`, before something it saw began.
    pub fn saw<R>(&mut self, asked: &Asked<R>, ret: u64, epoch: i64) -> Result<(), Refusal> {
        let begun = self.begun <= self.surely(asked.invoke, ret);
        let why = "it was answered before something it saw was called";
        demand("R3", asked.invoke, begun, why)?;
        if epoch > self.synced_epoch && self.promise == SyncPromise::Leader {
            self.synced = (0, 0);
        }
        self.synced_epoch = epoch;
        if asked.kind != Kind::Sync && self.promise != SyncPromise::None {
            self.synced = self.synced.max((asked.synced, asked.invoke));
        }
        Ok(())
    }

    /// R4 at the end of the order.
    ///
    /// # Errors
    /// A read missed what had been answered before a sync, and no later leader excuses it.
    pub fn finish(&self) -> Result<(), Refusal> {
        let record = self.missed.as_ref().map(|missed| missed.record);
        let why = "it missed what had been answered before an earlier sync";
        demand("R4", record.unwrap_or_default(), record.is_none(), why)
    }

    fn surely(&mut self, record: usize, ret: u64) -> u64 {
        let surely = ret.saturating_add(self.error);
        for ended in &mut self.ended {
            ended.returned = ended.returned.min((surely, record));
        }
        surely
    }

    /// From here on it may be learnt of a session that has ended that this was later.
    pub fn watch(&mut self, life: usize) {
        self.ended.push(Ended {
            life,
            returned: (u64::MAX, 0),
        });
    }

    /// True between [`Clock::watch`] and [`Clock::forget`].
    pub fn is_watched(&self, life: usize) -> bool {
        self.ended.iter().any(|ended| ended.life == life)
    }

    /// Nothing more can be learnt of a session.
    pub fn forget(&mut self, life: usize) {
        self.ended.retain(|ended| ended.life != life);
    }

    /// W1: a session cannot have ended before `begin`, as is known now.
    ///
    /// # Errors
    /// Something that comes after its end in the order had returned by then.
    pub fn ended_later(&mut self, life: usize, begin: u64, index: usize) -> Result<(), Refusal> {
        self.begin(begin);
        let mut own = self.ended.iter().filter(|ended| ended.life == life);
        let why = "its session had to end later than what was ordered after its end returned";
        demand("W1", index, own.all(|ended| ended.returned.0 >= begin), why)
    }
}

/// The greatest number up to a place, and before it.
#[derive(Default)]
pub struct Track {
    at: u64,
    here: u64,
    before: u64,
}

impl Track {
    /// A request stands at a place not before the last one. False if something sent later
    /// stands before it.
    pub fn follows(&mut self, at: u64, number: u64) -> bool {
        if at > self.at {
            (self.at, self.before) = (at, self.before.max(self.here));
        }
        let follows = number >= self.before;
        self.here = self.here.max(number);
        follows
    }

    fn greatest(&self) -> u64 {
        self.before.max(self.here)
    }
}

/// W2 and R2: the requests of one session along the order. What was lost may take effect after
/// later reads of its session, for they may have been sent to a server that lags; never before
/// earlier ones.
#[derive(Default)]
pub struct Order {
    /// One more than the number of the latest transaction placed.
    written: u64,
    /// Reads by how much of the order they saw.
    seen: Track,
    /// Reads by zxid: of what nobody asked for, such as new sessions, only that tells.
    named: Track,
}

impl Order {
    /// A transaction has the next place.
    ///
    /// # Errors
    /// W2: it lies before what was sent earlier. R2: what was read later did not see it.
    pub fn wrote<R>(&mut self, asked: &Asked<R>, answered: bool) -> Result<(), Refusal> {
        let (free, record) = (asked.life == 0, asked.invoke);
        let why = "it lies before what its session had sent earlier";
        demand("W2", record, free || !self.is_past(asked.number), why)?;
        let seen = !answered || asked.number >= self.seen.greatest();
        let why = "what its session read later did not see it";
        demand("R2", record, free || seen, why)?;
        self.written = asked.number + 1;
        Ok(())
    }

    /// True if a transaction sent later has a place already.
    pub fn is_past(&self, number: u64) -> bool {
        number < self.written
    }

    /// A read that names a zxid, or none, sees the first `prefix` transactions.
    ///
    /// # Errors
    /// R2: it sees less than its session had seen or written, or what it sent later.
    pub fn saw<R>(&mut self, asked: &Asked<R>, zxid: i64, prefix: u64) -> Result<(), Refusal> {
        let named = zxid <= 0 || self.named.follows(zxid as u64, asked.number);
        let seen = self.seen.follows(prefix, asked.number);
        let holds = asked.life == 0 || named && seen && !self.is_past(asked.number);
        let why = "it sees less than its session had seen or written";
        demand("R2", asked.invoke, holds, why)
    }
}
