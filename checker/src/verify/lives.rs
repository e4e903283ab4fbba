//! How long sessions live: what the leader must have heard of each, and when it may end it.
//!
//! Answers to: `consistency.md` P14.

use super::bounds::Order;
use super::{Refusal, Terms, demand};
use crate::history::Header;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Most answers of one connection kept for what the leader heard; of more, some are left out,
/// which lets sessions expire earlier than they may.
const TALK_MAX: usize = 1 << 12;

/// Every session, in the order met. The first is none: of what was asked before there was one.
pub struct Lives {
    /// By number.
    pub all: Vec<Life>,
    known: FxHashMap<i64, usize>,
}

impl Lives {
    /// None yet.
    pub fn new() -> Self {
        let (all, known) = (vec![Life::default()], FxHashMap::from_iter([(0, 0)]));
        Lives { all, known }
    }

    /// The number of a session.
    pub fn of(&mut self, session: i64) -> usize {
        *self.known.entry(session).or_insert_with(|| {
            self.all.push(Life {
                session,
                ..Life::default()
            });
            self.all.len() - 1
        })
    }
}

/// What is known of a session, and of its end.
#[derive(Default)]
pub struct Life {
    /// Its id, 0 if it is none.
    pub session: i64,
    /// What of its requests has been placed.
    pub order: Order,
    /// Its end has its place in the order.
    pub ended: bool,
    /// Negotiated timeout; 0 if not known.
    pub timeout_ns: u64,
    /// First time the client asked to close it.
    pub close_sent: Option<u64>,
    /// A close was answered, and so stands in the order itself.
    pub close_answered: bool,
    /// When the client was told that it is gone, and the record.
    pub expired: Option<(u64, usize)>,
    /// The latest time at which something was sent that the leader answered.
    pub heard_by_leader: Option<u64>,
    /// The last answered sync: its place among all requests, and when it was sent.
    pub synced: (u64, u64),
    /// The greatest zxid that its client was shown.
    pub shown: i64,
    /// The latest time at which something was sent that a follower must have passed on.
    passed_on: Option<u64>,
}

impl Life {
    /// A follower must have passed on what was sent at `heard`.
    pub fn told(&mut self, heard: Option<u64>) {
        self.passed_on = self.passed_on.max(heard);
    }

    /// The session is served, as record `index` tells.
    ///
    /// # Errors
    /// E: its client had been told that it is gone.
    #[inline]
    pub fn served(&self, index: usize, time: u64) -> Result<(), Refusal> {
        let gone = |(told, record)| index > record && time >= told;
        let why = "a session was served after it had been told that it is gone";
        demand("E", index, !self.expired.is_some_and(gone), why)
    }

    /// The earliest time at which the session can have expired; 0 if nothing is known.
    pub fn expiry(&self, header: &Header, terms: Terms) -> u64 {
        if self.timeout_ns == 0 {
            return 0;
        }
        let by_leader = self.heard_by_leader.filter(|_| terms.write_is_touch);
        let drift = self.timeout_ns / 1_000_000 * header.clock_drift_ppm.min(1_000_000);
        let patience = self.timeout_ns - drift.min(self.timeout_ns);
        let error = header.clock_error_ns.saturating_mul(2);
        self.passed_on.max(by_leader).map_or(0, |heard| {
            heard.saturating_add(patience).saturating_sub(error)
        })
    }

    /// The earliest time at which the session can have ended, told to nobody.
    pub fn end(&self, header: &Header, terms: Terms) -> u64 {
        let expiry = self.expiry(header, terms);
        let lost_close = self.close_sent.filter(|_| !self.close_answered);
        lost_close.map_or(expiry, |sent| sent.min(expiry))
    }

    /// E: nobody is told too early that a session is gone.
    ///
    /// # Errors
    /// Its client was.
    pub fn check_expired(&self, header: &Header, terms: Terms) -> Result<(), Refusal> {
        let Some((told, record)) = self.expired else {
            return Ok(());
        };
        let closed = self.close_sent.is_some_and(|sent| sent <= told);
        let why = "it was told before the session can have expired";
        demand(
            "E",
            record,
            closed || told >= self.expiry(header, terms),
            why,
        )
    }
}

/// What was answered on one connection and perhaps not passed on yet: sent, answered.
#[derive(Default)]
pub struct Talk {
    recent: VecDeque<(u64, u64)>,
    /// The latest time at which something was sent that was answered.
    last: u64,
}

impl Talk {
    /// How long a follower goes on answering whom its leader does not hear of. Followers pass
    /// on every half tick whom they heard. A leader drops those that say nothing for
    /// syncLimit ticks, and they wait as long for its word: who went on answering for longer
    /// than both together had told it.
    pub fn lag(header: &Header) -> u64 {
        let ticks = header.sync_limit.saturating_add(1).saturating_mul(2);
        let tick = header.tick_ms.saturating_mul(1_000_000);
        tick.saturating_mul(ticks)
    }

    /// Something sent at `sent` was answered at `time`. Returns the latest time at which
    /// something was sent that must have been passed on by now.
    #[inline(always)]
    pub fn answered(&mut self, sent: u64, time: u64, lag: u64) -> Option<u64> {
        self.last = self.last.max(sent);
        if self.recent.len() < TALK_MAX {
            self.recent.push_back((sent, time));
        }
        let mut heard = None;
        while let Some(&(sent, answered)) = self.recent.front()
            && answered.saturating_add(lag) <= self.last
        {
            heard = heard.max(Some(sent));
            self.recent.pop_front();
        }
        heard
    }
}
