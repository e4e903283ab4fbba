//! The leader's desk: every write of the ensemble passes here, one at a time.
//!
//! It exists only while this server leads, established; it is made anew at each leadership,
//! with every session at its full timeout, and dropped with it, so nothing of an older
//! leadership can act (ETCD-12528). It owns the session tracker, the overlay of outstanding
//! changes and the answers that wait for a quorum's confirmation. Answers to `PrepRequestProcessor`,
//! `LeaderSessionTracker`, `Leader.processSync` (but confirmed by a quorum).
//!
//! What always holds: zxids are given in the order requests are judged; a session that is
//! closing gets nothing more; a request of a server that is not its session's owner is
//! refused, so a delayed write of an old connection cannot land behind a newer one.

use super::overlay::Overlay;
use super::prep::{self, Asker};
use super::relay::{Relay, RequestId};
use super::replica::Replica;
use crate::auth::Identities;
use crate::base::limits::{CHIEF_BACKLOG_MAX, TXN_BYTES_MAX};
use crate::base::{Event, Mono, Now, ServerId, SessionId, Zxid};
use crate::proto::Request;
use crate::session::{SessionCheck, SessionTracker};
use crate::txn::{Txn, TxnHeader, encode};
use crate::zab::{ConfirmId, Zab, ZabOutput};
use bytes::Bytes;
use std::collections::VecDeque;

/// A write at the leader's desk.
#[derive(Debug)]
struct Petition {
    origin: ServerId,
    id: RequestId,
    session: SessionId,
    cxid: i32,
    what: What,
}

#[derive(Debug)]
enum What {
    Open {
        timeout_ms: u32,
    },
    Write {
        identities: Identities,
        request: Request,
    },
    Expire,
}

/// The hands the chief works with during one step.
#[derive(Debug)]
pub struct ChiefTools<'a> {
    /// The two clocks.
    pub now: Now,
    /// The committed state.
    pub replica: &'a Replica,
    /// Where proposals go.
    pub zab: &'a mut Zab,
    /// What Zab wants done about them.
    pub zab_out: &'a mut Vec<ZabOutput>,
    /// Answers for origins, this server's own front included.
    pub answers: &'a mut Vec<(ServerId, Relay)>,
}

/// The leader's state beyond the tree.
#[derive(Debug)]
pub struct Chief {
    me: ServerId,
    tracker: SessionTracker,
    overlay: Overlay,
    /// Requests that came while too many proposals were outstanding.
    backlog: VecDeque<Petition>,
    /// Answers that are true only while this server leads, and the round that has to prove
    /// that it did after they were asked for.
    unconfirmed: VecDeque<(ConfirmId, ServerId, Relay)>,
    last_proposed: Zxid,
}

impl Chief {
    /// A new leadership: every session of the replica restarts its full timeout
    /// (GEN-expire-after-election).
    pub fn new(me: ServerId, tick_ms: u64, now: Now, replica: &Replica) -> Chief {
        let mut tracker = SessionTracker::new(tick_ms);
        for (session, timeout_ms) in replica.sessions().iter() {
            tracker.add(session, timeout_ms, now.mono);
        }
        Chief {
            me,
            tracker,
            overlay: Overlay::default(),
            backlog: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            last_proposed: replica.last_zxid(),
        }
    }

    /// When [`Chief::timer`] is wanted.
    pub fn deadline(&self) -> Option<Mono> {
        self.tracker.deadline()
    }

    /// Begins to expire the sessions that are due.
    pub fn timer(&mut self, tools: &mut ChiefTools<'_>) {
        for session in self.tracker.expire_due(tools.now.mono) {
            tools
                .zab_out
                .push(ZabOutput::Event(Event::SessionExpiring(session)));
            self.take(
                Petition {
                    origin: self.me,
                    id: RequestId(0),
                    session,
                    cxid: 0,
                    what: What::Expire,
                },
                tools,
            );
        }
    }

    /// A message of a front: a learner's, or this server's own.
    pub fn relay(&mut self, origin: ServerId, relay: Relay, tools: &mut ChiefTools<'_>) {
        match relay {
            Relay::Request {
                id,
                session,
                cxid,
                identities,
                request,
            } => {
                self.tracker.touch(session, tools.now.mono);
                let what = What::Write {
                    identities,
                    request,
                };
                self.take(
                    Petition {
                        origin,
                        id,
                        session,
                        cxid,
                        what,
                    },
                    tools,
                );
            }
            Relay::Open {
                id,
                session,
                timeout_ms,
            } => {
                let what = What::Open { timeout_ms };
                self.take(
                    Petition {
                        origin,
                        id,
                        session,
                        cxid: 0,
                        what,
                    },
                    tools,
                );
            }
            Relay::Attach { id, session } => {
                let timeout_ms = self.tracker.attach(session, origin, tools.now.mono);
                let attached = Relay::Attached {
                    id,
                    timeout_ms,
                    fence: self.last_proposed,
                };
                if timeout_ms.is_some() {
                    tools.answers.push((origin, attached));
                } else {
                    // A leader that was deposed without noticing knows nothing of the
                    // sessions its successor has opened: it must not call them expired.
                    let confirm = tools.zab.confirm(tools.zab_out);
                    self.unconfirmed.push_back((confirm, origin, attached));
                }
            }
            Relay::Sync { id, session } => {
                self.tracker.touch(session, tools.now.mono);
                let confirm = tools.zab.confirm(tools.zab_out);
                let upto = tools.zab.committed();
                let synced = Relay::Synced { id, upto };
                self.unconfirmed.push_back((confirm, origin, synced));
            }
            Relay::Touch(sessions) => {
                for session in sessions {
                    self.tracker.touch(session, tools.now.mono);
                }
            }
            Relay::Assigned { .. }
            | Relay::Refused { .. }
            | Relay::Attached { .. }
            | Relay::Synced { .. } => {}
        }
    }

    /// A session of this server's own clients was heard from.
    pub fn touch(&mut self, session: SessionId, now: Now) {
        self.tracker.touch(session, now.mono);
    }

    /// A quorum still follows: every sync asked for before is answered, and every session that
    /// was not found is refused.
    pub fn confirmed(&mut self, upto: ConfirmId, answers: &mut Vec<(ServerId, Relay)>) {
        while self
            .unconfirmed
            .front()
            .is_some_and(|(confirm, ..)| *confirm <= upto)
        {
            let (_, origin, answer) = self.unconfirmed.pop_front().expect("front was seen");
            answers.push((origin, answer));
        }
    }

    /// A transaction was applied to the replica.
    pub fn applied(&mut self, zxid: Zxid, closed: Option<SessionId>) {
        self.overlay.applied(zxid);
        if let Some(session) = closed {
            self.tracker.remove(session);
        }
    }

    /// Goes on with what had to wait for room.
    pub fn work_off(&mut self, tools: &mut ChiefTools<'_>) {
        while !self.backlog.is_empty() && tools.zab.next_zxid().is_some() {
            let petition = self.backlog.pop_front().expect("not empty");
            self.judge(petition, tools);
        }
    }

    fn take(&mut self, petition: Petition, tools: &mut ChiefTools<'_>) {
        if self.backlog.is_empty() && tools.zab.next_zxid().is_some() {
            self.judge(petition, tools);
        } else if self.backlog.len() < CHIEF_BACKLOG_MAX || matches!(petition.what, What::Expire) {
            self.backlog.push_back(petition);
        } else {
            // Bounded: the client loses its connection and comes again.
            tools
                .answers
                .push((petition.origin, Relay::Refused { id: petition.id }));
        }
    }

    fn judge(&mut self, petition: Petition, tools: &mut ChiefTools<'_>) {
        let Petition {
            origin,
            id,
            session,
            cxid,
            what,
        } = petition;
        let expiring = matches!(what, What::Expire);
        let txn = match what {
            What::Open { timeout_ms } => {
                if !self.tracker.open(session, timeout_ms, tools.now.mono) {
                    tools.answers.push((origin, Relay::Refused { id }));
                    return;
                }
                Txn::CreateSession {
                    timeout_ms: timeout_ms as i32,
                }
            }
            What::Expire => self.close_session(session, tools),
            What::Write {
                identities,
                request,
            } => {
                match self.tracker.check(session, origin) {
                    SessionCheck::Ok => {}
                    SessionCheck::Closing | SessionCheck::Moved | SessionCheck::Unknown => {
                        tools.answers.push((origin, Relay::Refused { id }));
                        return;
                    }
                }
                if let Request::CloseSession = request {
                    // From here on the session gets nothing more (ZOOKEEPER-1208).
                    self.tracker.set_closing(session);
                    self.close_session(session, tools)
                } else {
                    self.write(session, &identities, &request, tools)
                }
            }
        };
        let zxid = self.propose(session, cxid, txn, tools);
        if !expiring {
            tools.answers.push((origin, Relay::Assigned { id, zxid }));
        }
    }

    fn write(
        &mut self,
        session: SessionId,
        identities: &Identities,
        request: &Request,
        tools: &mut ChiefTools<'_>,
    ) -> Txn {
        let zxid = tools
            .zab
            .next_zxid()
            .expect("judged only when there is room");
        let asker = Asker {
            session,
            identities,
        };
        let mut draft = self.overlay.draft(tools.replica.tree());
        match prep::prepare(&mut draft, asker, request) {
            Ok(txn) => {
                let changes = draft.into_changes();
                self.overlay.merge(zxid, changes);
                txn
            }
            Err(refused) => refused,
        }
    }

    /// The closing transaction with every path it deletes; replicas delete that list and
    /// any leftover of the owner. A list too large for a frame is left to the replicas,
    /// whose trees are equal at this zxid (ZOOKEEPER-4306).
    fn close_session(&mut self, session: SessionId, tools: &mut ChiefTools<'_>) -> Txn {
        let zxid = tools
            .zab
            .next_zxid()
            .expect("judged only when there is room");
        let tree = tools.replica.tree();
        let paths = self.overlay.ephemerals(tree, session);
        let mut draft = self.overlay.draft(tree);
        prep::close_session(&mut draft, &paths);
        let changes = draft.into_changes();
        self.overlay.merge(zxid, changes);
        let bytes: usize = paths.iter().map(|p| p.len() + 4).sum();
        let paths = (bytes < TXN_BYTES_MAX / 2).then(|| paths.into_iter().collect());
        Txn::CloseSession { paths }
    }

    fn propose(
        &mut self,
        session: SessionId,
        cxid: i32,
        txn: Txn,
        tools: &mut ChiefTools<'_>,
    ) -> Zxid {
        let zxid = tools
            .zab
            .next_zxid()
            .expect("judged only when there is room");
        let header = TxnHeader {
            session,
            cxid,
            zxid,
            time_ms: tools.now.wall_ms,
        };
        let payload: Bytes = encode(&header, &txn);
        let given = tools.zab.propose(tools.now, payload, tools.zab_out);
        assert_eq!(given, zxid, "the transaction was judged for another place");
        self.last_proposed = zxid;
        zxid
    }
}
