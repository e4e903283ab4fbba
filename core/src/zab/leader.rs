//! LEADING: discovery, synchronisation, broadcast.
//!
//! What always holds:
//! * the own accepted epoch is durable before the epoch is proposed to anyone
//!   (ZOOKEEPER-1291), the own current epoch and log before this server counts itself;
//! * choosing what a learner gets and registering it for what follows is one step, and
//!   NewLeader travels in the same stream (ZOOKEEPER-962, 1136, 3104; TLA+ issue 1);
//! * nothing is committed before a quorum has acknowledged NewLeader, inherited entries
//!   included (LOGCABIN-44); commits are in order and rest on durable copies of a quorum of
//!   fit voters, acknowledged on links of this leadership (GEN-stale-ack).
//!
//! | room | what |
//! |---|---|
//! | here | the leadership, its learners' coming and going, who hears which message |
//! | [`handle`] | one learner |
//! | [`sync`] | from the accepted epochs of a quorum to an established epoch |
//! | [`broadcast`] | proposals, acknowledgements, commits |
//! | [`vigil`] | pings, and when a leader gives up |
//!
//! Answers to `Leader` and `LearnerHandler`.

mod broadcast;
mod handle;
mod sync;
mod vigil;

use super::common::{Common, Next};
use super::message::{Message, PeerState, Vote};
use super::{MemberKind, ZabOutput};
use crate::base::{Epoch, Event, LinkId, Mono, Now, ServerId, Zxid};
use handle::{Handle, Step};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Collects accepted epochs of a quorum.
    Discovery,
    /// The new epoch is on its way to the own disk, then to the learners.
    Proposing,
    /// A quorum promised: histories are brought in line.
    Synchronisation,
    /// Established.
    Broadcast,
}

/// One leadership.
#[derive(Clone, Debug)]
pub struct Leader {
    phase: Phase,
    epoch: Epoch,
    began_at: Mono,
    handles: BTreeMap<LinkId, Handle>,
    /// Accepted epochs of fit voters, the own one included.
    accepted: BTreeMap<ServerId, Epoch>,
    /// The highest epoch that anybody has told of, learners without a vote included.
    highest: Epoch,
    promised: BTreeSet<ServerId>,
    synced: BTreeSet<ServerId>,
    committed: Zxid,
    next_counter: u32,
    ping_at: Mono,
    round: u64,
    confirmed: u64,
    asked: u64,
    own_progress_at: Mono,
}

impl Leader {
    pub(super) fn new(common: &Common, now: Now) -> Leader {
        Leader {
            phase: Phase::Discovery,
            epoch: Epoch::ZERO,
            began_at: now.mono,
            handles: BTreeMap::new(),
            accepted: BTreeMap::from([(common.me(), common.epochs.accepted)]),
            highest: common.epochs.accepted,
            promised: BTreeSet::new(),
            synced: BTreeSet::new(),
            committed: common.window.delivered(),
            next_counter: 1,
            ping_at: now.mono.plus_ms(common.config.tick_ms / 2),
            round: 0,
            confirmed: 0,
            asked: 0,
            own_progress_at: now.mono,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Committed up to here, whether delivered on this server or not.
    pub(super) fn committed(&self) -> Zxid {
        self.committed
    }

    pub(super) fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.handles.keys().copied()
    }

    fn links_at(&self, step: Step) -> Vec<LinkId> {
        let there = self.handles.iter().filter(|(_, h)| h.step == step);
        there.map(|(link, _)| *link).collect()
    }

    pub(super) fn notification(&self, common: &Common) -> Message {
        let epoch = self.epoch.max(common.epochs.current);
        let vote = Vote {
            leader: common.me(),
            zxid: common.window.last(),
            epoch,
        };
        Message::Notification {
            state: PeerState::Leading,
            vote: Some(vote),
            round: common.round,
            formation: common.formation,
        }
    }

    // --- learners come and go -----------------------------------------------------------

    pub(super) fn link_up(
        &mut self,
        common: &mut Common,
        link: LinkId,
        server: ServerId,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) {
        let older: Vec<LinkId> = self
            .handles
            .iter()
            .filter(|(_, h)| h.server == server)
            .map(|(l, _)| *l)
            .collect();
        for older in older {
            self.drop_learner(common, older, out);
        }
        let observer = common.config.members.get(&server) == Some(&MemberKind::Observer);
        self.handles.insert(
            link,
            Handle {
                server,
                step: Step::Linked,
                observer,
                voting: false,
                needs_snapshot: false,
                amnesiac: false,
                restore: false,
                history: Vec::new(),
                acked: Zxid::ZERO,
                sync_end: Zxid::ZERO,
                informed: Zxid::ZERO,
                feed: None,
                pong: 0,
                heard_at: now.mono,
                behind_since: None,
            },
        );
    }

    /// Forgets a learner whose link is gone.
    pub(super) fn link_down(&mut self, link: LinkId, out: &mut Vec<ZabOutput>) {
        let Some(handle) = self.handles.remove(&link) else {
            return;
        };
        if handle.feed.is_some_and(|feed| !feed.done) {
            out.push(ZabOutput::SnapshotCancel { link });
        }
        if self.phase == Phase::Discovery {
            self.accepted.remove(&handle.server);
        }
        if handle.step == Step::UpToDate {
            out.push(ZabOutput::LearnerDown {
                server: handle.server,
            });
        }
    }

    fn drop_learner(&mut self, common: &mut Common, link: LinkId, out: &mut Vec<ZabOutput>) {
        common.links.hangup(link, out);
        self.link_down(link, out);
    }

    /// Leaves the role.
    pub(super) fn end(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) {
        for link in self.links().collect::<Vec<_>>() {
            self.drop_learner(common, link, out);
        }
    }

    // --- messages -----------------------------------------------------------------------

    pub(super) fn message(
        &mut self,
        common: &mut Common,
        link: LinkId,
        message: Message,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        let Some(handle) = self.handles.get_mut(&link) else {
            return Next::Stay;
        };
        handle.heard_at = now.mono;
        match (message, handle.step) {
            (
                Message::LearnerInfo {
                    accepted,
                    voting,
                    needs_snapshot,
                    amnesiac,
                },
                Step::Linked,
            ) => {
                handle.step = Step::Introduced;
                handle.voting = voting && common.voters.contains(&handle.server);
                handle.needs_snapshot = needs_snapshot;
                handle.amnesiac = amnesiac;
                self.introduced(common, link, accepted, out)
            }
            (
                Message::AckEpoch {
                    promised,
                    current,
                    history,
                },
                Step::Told,
            ) => {
                handle.history = history;
                self.epoch_acked(common, link, promised, current, now, out)
            }
            (Message::SnapAck { chunks }, Step::Syncing) => {
                if let Some(feed) = &mut handle.feed {
                    feed.acked = chunks.min(feed.sent);
                }
                self.feed(link, out);
                Next::Stay
            }
            (Message::AckNewLeader { epoch }, Step::Syncing) if epoch == self.epoch => {
                handle.step = Step::Synced;
                handle.acked = handle.acked.max(handle.sync_end);
                // What it owed was the history; what was proposed meanwhile it owes from now.
                handle.behind_since = (handle.acked < common.window.last()).then_some(now.mono);
                handle.feed = None;
                let (server, voting) = (handle.server, handle.voting);
                if voting {
                    self.synced.insert(server);
                }
                self.newleader_acked(common, link, now, out)
            }
            (Message::Ack { zxid }, Step::Synced | Step::UpToDate) => {
                if zxid > handle.acked {
                    handle.acked = zxid;
                    handle.behind_since = None;
                }
                self.advance(common, now, out);
                Next::Stay
            }
            (Message::Pong { round }, _) => {
                handle.pong = handle.pong.max(round);
                self.count_pongs(common, out);
                Next::Stay
            }
            (Message::App(bytes), Step::UpToDate) => {
                out.push(ZabOutput::App {
                    from: handle.server,
                    bytes,
                });
                Next::Stay
            }
            (_, _) => {
                out.push(ZabOutput::Event(Event::Probe(
                    "learner spoke out of its turn",
                )));
                self.drop_learner(common, link, out);
                Next::Stay
            }
        }
    }

    /// The link of a learner that may be sent to.
    pub(super) fn app_link(&self, server: ServerId) -> Option<LinkId> {
        self.handles
            .iter()
            .find(|(_, h)| h.server == server && h.step == Step::UpToDate)
            .map(|(link, _)| *link)
    }
}
