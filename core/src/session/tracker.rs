//! The leader's tracker: who was heard from, who is due to expire, who belongs to which server.
//!
//! Deadlines are rounded up to the next tick, so sessions share buckets and expiry costs one
//! look a tick; a session expires between its timeout and a tick later. Answers to
//! `SessionTrackerImpl`, `ExpiryQueue`, `LeaderSessionTracker`.
//!
//! What always holds: no session is due before its full timeout after the last touch; a
//! closing session stays closing until its transaction is applied, whatever is touched or
//! attached (ZOOKEEPER-1496).

use crate::base::{Mono, ServerId, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// May a request of this session be taken from this server?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionCheck {
    /// Yes.
    Ok,
    /// It is being closed.
    Closing,
    /// It belongs to another server now.
    Moved,
    /// There is no such session.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    timeout_ms: u32,
    /// The bucket it lies in.
    deadline: Mono,
    owner: Option<ServerId>,
    closing: bool,
}

/// Liveness of every session, on an established leader.
#[derive(Clone, Debug)]
pub struct SessionTracker {
    tick_ns: u64,
    sessions: BTreeMap<SessionId, Tracked>,
    buckets: BTreeMap<Mono, BTreeSet<SessionId>>,
}

impl SessionTracker {
    /// Nobody yet.
    ///
    /// # Panics
    /// When the tick is 0.
    pub fn new(tick_ms: u64) -> SessionTracker {
        assert!(tick_ms > 0, "a tick of no length");
        SessionTracker {
            tick_ns: tick_ms * 1_000_000,
            sessions: BTreeMap::new(),
            buckets: BTreeMap::new(),
        }
    }

    /// The first tick strictly after `now + timeout`.
    fn bucket(&self, now: Mono, timeout_ms: u32) -> Mono {
        let end = now.plus_ms(u64::from(timeout_ms));
        Mono((end.0 / self.tick_ns + 1) * self.tick_ns)
    }

    /// A session exists from now on, with its full timeout and no owner.
    pub fn add(&mut self, session: SessionId, timeout_ms: u32, now: Mono) {
        self.remove(session);
        let deadline = self.bucket(now, timeout_ms);
        let tracked = Tracked {
            timeout_ms,
            deadline,
            owner: None,
            closing: false,
        };
        self.sessions.insert(session, tracked);
        self.buckets.entry(deadline).or_default().insert(session);
    }

    /// A session is being created: it counts from its proposal on, because a follower may
    /// have applied it, and its client moved on, before the leader's own disk has it. False
    /// when the id is taken.
    pub fn open(&mut self, session: SessionId, timeout_ms: u32, now: Mono) -> bool {
        if self.sessions.contains_key(&session) {
            return false;
        }
        self.add(session, timeout_ms, now);
        true
    }

    /// Its closing was applied.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session) {
            self.leave_bucket(session, tracked.deadline);
        }
    }

    fn leave_bucket(&mut self, session: SessionId, deadline: Mono) {
        if let Some(bucket) = self.buckets.get_mut(&deadline) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&deadline);
            }
        }
    }

    /// It was heard from. False when it does not exist or is closing.
    pub fn touch(&mut self, session: SessionId, now: Mono) -> bool {
        let Some(tracked) = self.sessions.get(&session).copied() else {
            return false;
        };
        if tracked.closing {
            return false;
        }
        let deadline = self.bucket(now, tracked.timeout_ms);
        if deadline > tracked.deadline {
            self.leave_bucket(session, tracked.deadline);
            self.buckets.entry(deadline).or_default().insert(session);
            self.sessions.insert(
                session,
                Tracked {
                    deadline,
                    ..tracked
                },
            );
        }
        true
    }

    /// A client came to `server` with this session: it is that server's now. Its timeout in
    /// ms, or `None` when it does not exist or is closing.
    pub fn attach(&mut self, session: SessionId, server: ServerId, now: Mono) -> Option<u32> {
        if !self.touch(session, now) {
            return None;
        }
        let tracked = self.sessions.get_mut(&session).expect("touched");
        tracked.owner = Some(server);
        Some(tracked.timeout_ms)
    }

    /// May a request of this session come from `server`? The first that asks owns it.
    pub fn check(&mut self, session: SessionId, server: ServerId) -> SessionCheck {
        let Some(tracked) = self.sessions.get_mut(&session) else {
            return SessionCheck::Unknown;
        };
        if tracked.closing {
            SessionCheck::Closing
        } else if *tracked.owner.get_or_insert(server) == server {
            SessionCheck::Ok
        } else {
            SessionCheck::Moved
        }
    }

    /// Its closing is under way: nothing more is taken from it.
    pub fn set_closing(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.closing = true;
            let deadline = tracked.deadline;
            self.leave_bucket(session, deadline);
        }
    }

    /// Marks every session that is due as closing and returns them in order.
    pub fn expire_due(&mut self, now: Mono) -> Vec<SessionId> {
        let mut due = Vec::new();
        while let Some((deadline, bucket)) = self.buckets.first_key_value()
            && *deadline <= now
        {
            due.extend(bucket.iter().copied());
            self.buckets.pop_first();
        }
        for session in &due {
            self.sessions
                .get_mut(session)
                .expect("in a bucket, so tracked")
                .closing = true;
        }
        due
    }

    /// When [`SessionTracker::expire_due`] may find somebody.
    pub fn deadline(&self) -> Option<Mono> {
        self.buckets.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: SessionId = SessionId(7);
    const ONE: ServerId = ServerId(1);
    const TWO: ServerId = ServerId(2);

    fn at(ms: u64) -> Mono {
        Mono(0).plus_ms(ms)
    }

    #[test]
    fn a_session_expires_after_its_timeout_and_within_a_tick_of_it() {
        let mut t = SessionTracker::new(100);
        t.add(S, 250, at(30));
        assert_eq!(t.deadline(), Some(at(300)));
        assert!(t.expire_due(at(299)).is_empty());
        assert!(t.touch(S, at(299)));
        assert!(
            t.expire_due(at(549)).is_empty(),
            "touched at 299: not before 549"
        );
        assert_eq!(t.expire_due(at(600)), [S]);
        assert!(t.expire_due(at(10_000)).is_empty(), "once");
    }

    #[test]
    fn an_id_that_is_taken_is_not_opened_again() {
        let mut t = SessionTracker::new(100);
        assert!(t.open(S, 1000, at(0)));
        assert_eq!(
            t.attach(S, TWO, at(1)),
            Some(1000),
            "known before it is applied"
        );
        assert!(!t.open(S, 1000, at(2)));
        assert_eq!(
            t.check(S, ONE),
            SessionCheck::Moved,
            "its owner is not forgotten"
        );
    }

    #[test]
    fn an_end_on_the_tick_waits_for_the_next_one() {
        let mut t = SessionTracker::new(100);
        t.add(S, 100, at(100));
        assert_eq!(t.deadline(), Some(at(300)));
    }

    #[test]
    fn a_closing_session_is_neither_touched_nor_attached_nor_served() {
        let mut t = SessionTracker::new(100);
        t.add(S, 100, at(0));
        assert_eq!(t.check(S, ONE), SessionCheck::Ok);
        t.set_closing(S);
        assert!(!t.touch(S, at(1)));
        assert_eq!(t.attach(S, ONE, at(1)), None);
        assert_eq!(t.check(S, ONE), SessionCheck::Closing);
        assert!(t.expire_due(at(10_000)).is_empty(), "it is closing already");
        t.remove(S);
        assert_eq!(t.check(S, ONE), SessionCheck::Unknown);
    }

    #[test]
    fn the_latest_attachment_owns_the_session() {
        let mut t = SessionTracker::new(100);
        t.add(S, 1000, at(0));
        assert_eq!(t.check(S, ONE), SessionCheck::Ok);
        assert_eq!(t.check(S, TWO), SessionCheck::Moved);
        assert_eq!(t.attach(S, TWO, at(1)), Some(1000));
        assert_eq!(t.check(S, TWO), SessionCheck::Ok);
        assert_eq!(t.check(S, ONE), SessionCheck::Moved);
    }

    #[test]
    fn old_news_never_shortens_a_life() {
        let mut t = SessionTracker::new(100);
        t.add(S, 200, at(0));
        assert!(t.touch(S, at(500)));
        assert!(t.touch(S, at(100)));
        assert_eq!(t.deadline(), Some(at(800)));
    }

    proptest! {
        /// Whoever expires was silent for its timeout, and for at most a tick more.
        #[test]
        fn nobody_is_expired_early_or_forgotten(
            tick in 1u64..3000, timeout in 1u32..10_000,
            waits in prop::collection::vec(1u64..4000, 0..20),
        ) {
            let mut t = SessionTracker::new(tick);
            let mut now = 17;
            t.add(S, timeout, at(now));
            for wait in waits {
                let deadline = t.deadline().unwrap();
                prop_assert!(deadline > at(now + u64::from(timeout)));
                prop_assert!(deadline <= at(now + u64::from(timeout) + tick));
                now += wait;
                if at(now) >= deadline {
                    prop_assert_eq!(t.expire_due(at(now)), [S]);
                    prop_assert_eq!(t.deadline(), None);
                    break;
                }
                prop_assert_eq!(t.expire_due(at(now)), []);
                prop_assert!(t.touch(S, at(now)));
            }
        }
    }
}
