//! FOLLOWING and OBSERVING: one life with one leader, from the dial to the break.
//!
//! ```text
//! dial → LearnerInfo → LeaderInfo → (accepted epoch durable) → AckEpoch
//!      → Diff | Trunc → (cut durable) | Snap… → (snapshot durable)
//!      → Propose… → NewLeader → (log durable, then current epoch durable) → AckNewLeader
//!      → UpToDate → serving: Propose → (durable) → Ack, Commit → deliver
//! ```
//!
//! What always holds: each arrow marked with a disk in brackets waits for it (ZOOKEEPER-3023,
//! 3911, 4643, 4646, 4785); nothing is delivered before UpToDate; a message that comes while
//! the disk works on a cut or a snapshot waits behind it. Answers to `Learner`, `Follower`,
//! `Observer`.

use super::common::{Common, Next};
use super::message::{Message, PeerState, Vote};
use super::{LinkKind, ZabConfig, ZabOutput};
use crate::base::limits::SYNC_BACKLOG_MAX;
use crate::base::{Epoch, Event, LinkId, Mono, Now, ServerId, Zxid};
use crate::log::Entry;
use bytes::Bytes;
use std::collections::VecDeque;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The link is being dialled, or is to be at the instant.
    Dialling { again_at: Option<Mono> },
    /// Waits for the leader's epoch.
    Introduced,
    /// The accepted epoch is on its way to the disk.
    Promising,
    /// Waits for Diff, Trunc or Snap.
    Promised,
    /// The cut is on its way to the disk.
    Cutting,
    /// A snapshot is coming in.
    Receiving { chunks: u32 },
    /// The snapshot is on its way to the disk.
    Installing,
    /// Takes the history.
    Syncing,
    /// NewLeader came: waits until the log up to here is durable.
    Forcing { upto: Zxid },
    /// The current epoch is on its way to the disk.
    Adopting,
    /// Waits for UpToDate.
    Acked,
    /// Committed up to what UpToDate said comes first.
    CatchingUp { upto: Zxid },
    /// Serves.
    Serving,
}

/// One life with one leader.
#[derive(Clone, Debug)]
pub struct Learner {
    leader: ServerId,
    link: LinkId,
    stage: Stage,
    epoch: Epoch,
    committed: Zxid,
    dials: u32,
    /// The end of patience: of discovery and synchronisation as a whole, then of silence.
    give_up_at: Mono,
    held: VecDeque<Message>,
    snapshot: Zxid,
    snapshot_crc: crc32fast::Hasher,
    restoring: bool,
    /// It has asked for its vote back when it introduced itself.
    asked_vote: bool,
    counts: bool,
}

/// Most times a leader is dialled.
const DIALS_MAX: u32 = 5;

impl Learner {
    pub(super) fn new(
        common: &mut Common,
        leader: ServerId,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Learner {
        let link = common.links.dial(leader, LinkKind::Learner, out);
        Learner {
            leader,
            link,
            stage: Stage::Dialling { again_at: None },
            epoch: Epoch::ZERO,
            committed: Zxid::ZERO,
            dials: 1,
            give_up_at: common.ticks(now.mono, common.config.init_limit),
            held: VecDeque::new(),
            snapshot: Zxid::ZERO,
            snapshot_crc: crc32fast::Hasher::new(),
            restoring: false,
            asked_vote: false,
            counts: common.is_fit(),
        }
    }

    pub(super) fn leader(&self) -> ServerId {
        self.leader
    }

    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    /// True when its acknowledgements count.
    pub(super) fn counts(&self) -> bool {
        self.counts
    }

    /// What it tells peers that look for a leader: observers and the unfit name theirs too,
    /// but are not counted.
    pub(super) fn notification(&self, common: &Common) -> Message {
        let state = if self.counts {
            PeerState::Following
        } else {
            PeerState::Observing
        };
        let vote = Vote {
            leader: self.leader,
            zxid: common.window.last(),
            epoch: self.epoch.max(common.epochs.current),
        };
        Message::Notification {
            state,
            vote: Some(vote),
            round: common.round,
            formation: common.formation,
        }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.stage {
            Stage::Dialling { again_at: Some(at) } => Some(at.min(self.give_up_at)),
            _ => Some(self.give_up_at),
        }
    }

    pub(super) fn timer(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if self.give_up_at <= now.mono {
            return Next::Look("no word from the leader");
        }
        if let Stage::Dialling { again_at: Some(at) } = self.stage
            && at <= now.mono
        {
            self.dials += 1;
            self.link = common.links.dial(self.leader, LinkKind::Learner, out);
            self.stage = Stage::Dialling { again_at: None };
        }
        Next::Stay
    }

    pub(super) fn link_up(&mut self, common: &Common, out: &mut Vec<ZabOutput>) -> Next {
        let info = Message::LearnerInfo {
            accepted: common.epochs.accepted,
            voting: self.counts,
            needs_snapshot: common.needs_snapshot,
            amnesiac: common.is_amnesiac(),
        };
        self.asked_vote = common.is_amnesiac();
        common.send(self.link, info, out);
        self.stage = Stage::Introduced;
        Next::Stay
    }

    /// The link broke. A leader that is not there yet is dialled again, as long as its
    /// election link says that it lives.
    pub(super) fn link_down(&mut self, common: &Common, now: Now) -> Next {
        let dialling = matches!(self.stage, Stage::Dialling { .. });
        if dialling && self.dials < DIALS_MAX && common.links.election(self.leader).is_some() {
            let again_at = now
                .mono
                .plus_ms(common.config.tick_ms / 4 * u64::from(self.dials));
            self.stage = Stage::Dialling {
                again_at: Some(again_at),
            };
            return Next::Stay;
        }
        Next::Look("lost the leader")
    }

    /// Leaves the role.
    pub(super) fn end(&mut self, out: &mut Vec<ZabOutput>) {
        if let Stage::Receiving { .. } = self.stage {
            out.push(ZabOutput::InstallAbort);
        }
    }

    /// The snapshot did not load: nothing of it is on disk.
    pub(super) fn install_failed(&mut self) {
        self.stage = Stage::Promised;
        self.held.clear();
    }

    /// The role is over but for the disk: what waits behind it is dropped.
    pub(super) fn deafen(&mut self) {
        self.held.clear();
    }

    /// True while a cut or an installation is on its way to the disk: the role must not end
    /// before it is through, or the next one would build on sand.
    pub(super) fn is_on_disk(&self) -> bool {
        matches!(self.stage, Stage::Cutting | Stage::Installing)
    }

    pub(super) fn message(
        &mut self,
        common: &mut Common,
        message: Message,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if let Some(patience) = self.stage.patience(&common.config) {
            self.give_up_at = common.ticks(now.mono, patience);
        }
        // A ping is answered whatever the disk does; everything else keeps its order.
        if self.is_on_disk() && !matches!(message, Message::Ping { .. }) {
            if self.held.len() == SYNC_BACKLOG_MAX {
                return Next::Look("the disk is too slow for what is proposed");
            }
            self.held.push_back(message);
            return Next::Stay;
        }
        self.take(common, message, out)
    }

    fn take(&mut self, common: &mut Common, message: Message, out: &mut Vec<ZabOutput>) -> Next {
        match (message, self.stage) {
            (Message::LeaderInfo { epoch }, Stage::Introduced) => {
                self.leader_info(common, epoch, out)
            }
            (Message::Diff { from }, Stage::Promised) if from == common.window.last() => {
                self.stage = Stage::Syncing;
                Next::Stay
            }
            (Message::Trunc { after }, Stage::Promised) => self.cut(common, after, out),
            (Message::SnapBegin { zxid }, Stage::Promised) => self.snap_begin(common, zxid, out),
            (Message::SnapChunk(chunk), Stage::Receiving { chunks }) => {
                self.snapshot_crc.update(&chunk);
                out.push(ZabOutput::InstallChunk(chunk));
                let chunks = chunks + 1;
                self.stage = Stage::Receiving { chunks };
                common.send(self.link, Message::SnapAck { chunks }, out);
                Next::Stay
            }
            (Message::SnapEnd { crc }, Stage::Receiving { .. }) => {
                if crc != self.snapshot_crc.clone().finalize() {
                    return Next::Look("the leader's snapshot was damaged on the way");
                }
                out.push(ZabOutput::InstallEnd);
                self.stage = Stage::Installing;
                Next::Stay
            }
            (Message::Propose { zxid, payload }, stage) if stage.takes_entries() => {
                self.log(common, zxid, payload, out)
            }
            (Message::Inform { zxid, payload }, stage) if stage.takes_entries() => {
                let next = self.log(common, zxid, payload, out);
                self.committed = self.committed.max(zxid);
                self.deliver(common, out);
                next
            }
            (Message::NewLeader { epoch }, Stage::Syncing) if epoch == self.epoch => {
                self.stage = Stage::Forcing {
                    upto: common.window.last(),
                };
                self.log_durable(common, out)
            }
            (
                Message::UpToDate {
                    committed,
                    restore_vote,
                },
                Stage::Acked,
            ) => self.up_to_date(common, committed, restore_vote, out),
            (Message::Commit { zxid }, Stage::CatchingUp { .. } | Stage::Serving) => {
                self.committed = self.committed.max(zxid);
                self.deliver(common, out);
                Next::Stay
            }
            (Message::Ping { round }, _) => {
                out.push(ZabOutput::PongDue);
                common.send(self.link, Message::Pong { round }, out);
                Next::Stay
            }
            (Message::App(bytes), Stage::CatchingUp { .. } | Stage::Serving) => {
                out.push(ZabOutput::App {
                    from: self.leader,
                    bytes,
                });
                Next::Stay
            }
            (_, _) => Next::Look("a message out of its turn"),
        }
    }

    fn leader_info(&mut self, common: &mut Common, epoch: Epoch, out: &mut Vec<ZabOutput>) -> Next {
        self.epoch = epoch;
        if epoch < common.epochs.accepted {
            return Next::Look("the leader's epoch is older than a promise");
        }
        self.stage = Stage::Promising;
        if epoch == common.epochs.accepted {
            self.ack_epoch(common, false, out);
        } else {
            common.save(|record| record.accepted = epoch, out);
        }
        Next::Stay
    }

    fn ack_epoch(&mut self, common: &Common, promised: bool, out: &mut Vec<ZabOutput>) {
        let history = common.window.history_undelivered();
        let current = common.epochs.current;
        common.send(
            self.link,
            Message::AckEpoch {
                promised,
                current,
                history,
            },
            out,
        );
        self.stage = Stage::Promised;
    }

    fn cut(&mut self, common: &mut Common, after: Zxid, out: &mut Vec<ZabOutput>) -> Next {
        if after < common.window.delivered() {
            let reason = format!(
                "server {} wants the log cut after {after} below the delivered {}",
                self.leader,
                common.window.delivered()
            );
            out.push(ZabOutput::Halt { reason });
            return Next::Stay;
        }
        out.push(ZabOutput::Event(Event::Probe("log cut by the leader")));
        common.window.truncate(after);
        common.durable = common.durable.min(after);
        out.push(ZabOutput::Truncate { after });
        self.stage = Stage::Cutting;
        Next::Stay
    }

    fn snap_begin(&mut self, common: &Common, zxid: Zxid, out: &mut Vec<ZabOutput>) -> Next {
        if zxid < common.window.delivered() {
            let reason = format!(
                "server {} sends a snapshot at {zxid} below the delivered {}",
                self.leader,
                common.window.delivered()
            );
            out.push(ZabOutput::Halt { reason });
            return Next::Stay;
        }
        out.push(ZabOutput::Event(Event::Probe("snapshot from the leader")));
        out.push(ZabOutput::InstallBegin { zxid });
        self.snapshot = zxid;
        self.snapshot_crc = crc32fast::Hasher::new();
        self.stage = Stage::Receiving { chunks: 0 };
        Next::Stay
    }

    fn log(
        &mut self,
        common: &mut Common,
        zxid: Zxid,
        payload: Bytes,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if !common.window.accepts(zxid) {
            return Next::Look("a gap in the leader's proposals");
        }
        common.append(Entry { zxid, payload }, out);
        Next::Stay
    }

    fn up_to_date(
        &mut self,
        common: &mut Common,
        committed: Zxid,
        restore_vote: bool,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        self.committed = self.committed.max(committed);
        self.stage = Stage::CatchingUp { upto: committed };
        if restore_vote && !common.epochs.voting {
            out.push(ZabOutput::Event(Event::Probe(
                "amnesiac gets its vote back",
            )));
            self.restoring = true;
            common.save(|record| record.voting = true, out);
        }
        self.deliver(common, out);
        Next::Stay
    }

    fn deliver(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) {
        if !matches!(self.stage, Stage::CatchingUp { .. } | Stage::Serving) {
            return;
        }
        common.deliver(self.committed, out);
        if let Stage::CatchingUp { upto } = self.stage
            && common.window.delivered() >= upto
        {
            self.stage = Stage::Serving;
            let (leader, epoch, voting) = (self.leader, self.epoch, self.counts);
            out.push(ZabOutput::Following {
                leader,
                epoch,
                voting,
            });
        }
    }

    /// More of the log is durable.
    pub(super) fn log_durable(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) -> Next {
        match self.stage {
            Stage::Forcing { upto } if common.durable >= upto => {
                self.stage = Stage::Adopting;
                let epoch = self.epoch;
                if common.epochs.current == epoch {
                    return self.adopted(common, out);
                }
                common.save(|record| record.current = epoch, out);
            }
            Stage::Acked | Stage::CatchingUp { .. } | Stage::Serving => {
                if self.counts {
                    let zxid = common.durable;
                    out.push(ZabOutput::Event(Event::Acked { zxid }));
                    common.send(self.link, Message::Ack { zxid }, out);
                }
                self.deliver(common, out);
            }
            _ => {}
        }
        Next::Stay
    }

    fn adopted(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) -> Next {
        if self.counts {
            out.push(ZabOutput::Event(Event::Acked {
                zxid: common.durable,
            }));
        }
        common.send(self.link, Message::AckNewLeader { epoch: self.epoch }, out);
        self.stage = Stage::Acked;
        common.needs_snapshot = false;
        if let Some(mark) = common.damaged
            && (self.epoch > mark.epoch() || common.durable >= mark)
        {
            // Everything it ever held and was committed is there again (row D10). It comes
            // back as a voter, in an introduction of its own.
            out.push(ZabOutput::Event(Event::Probe(
                "damaged server is whole again",
            )));
            common.damaged = None;
            out.push(ZabOutput::Healed);
            return Next::Look("whole again");
        }
        Next::Stay
    }

    /// An epoch record is durable.
    pub(super) fn epochs_durable(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) -> Next {
        match self.stage {
            Stage::Promising if common.epochs.accepted == self.epoch => {
                self.ack_epoch(common, true, out);
                Next::Stay
            }
            Stage::Adopting if common.epochs.current == self.epoch => self.adopted(common, out),
            _ if self.restoring && common.epochs.voting => Next::Look("voting again"),
            Stage::Dialling { .. } => Next::Stay,
            _ if common.is_amnesiac() && !self.asked_vote => {
                Next::Look("introduces itself again to get its vote back")
            }
            _ => Next::Stay,
        }
    }

    /// The cut is durable.
    pub(super) fn truncated(
        &mut self,
        common: &mut Common,
        last: Zxid,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        assert_eq!(last, common.window.last(), "another cut");
        common.durable = last;
        out.push(ZabOutput::Event(Event::Truncated { zxid: last }));
        self.stage = Stage::Syncing;
        self.take_held(common, out)
    }

    /// The snapshot is durable and in the tree.
    pub(super) fn installed(
        &mut self,
        common: &mut Common,
        zxid: Zxid,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        assert_eq!(zxid, self.snapshot, "another snapshot");
        common.window.reset(zxid);
        common.durable = zxid;
        self.committed = self.committed.max(zxid);
        self.stage = Stage::Syncing;
        self.take_held(common, out)
    }

    fn take_held(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) -> Next {
        while let Some(message) = self.held.pop_front() {
            let next = self.take(common, message, out);
            if next != Next::Stay {
                return next;
            }
        }
        Next::Stay
    }
}

impl Stage {
    /// Ticks of silence that end the role from here on. Discovery has one bound as a whole;
    /// a long history or snapshot may take its time as long as the leader is heard.
    fn patience(self, config: &ZabConfig) -> Option<u64> {
        match self {
            Stage::Dialling { .. } | Stage::Introduced | Stage::Promising | Stage::Promised => None,
            Stage::Cutting
            | Stage::Receiving { .. }
            | Stage::Installing
            | Stage::Syncing
            | Stage::Forcing { .. }
            | Stage::Adopting
            | Stage::Acked => Some(config.init_limit),
            Stage::CatchingUp { .. } | Stage::Serving => Some(config.sync_limit),
        }
    }

    fn takes_entries(self) -> bool {
        match self {
            Stage::Syncing
            | Stage::Forcing { .. }
            | Stage::Adopting
            | Stage::Acked
            | Stage::CatchingUp { .. }
            | Stage::Serving => true,
            Stage::Dialling { .. }
            | Stage::Introduced
            | Stage::Promising
            | Stage::Promised
            | Stage::Cutting
            | Stage::Receiving { .. }
            | Stage::Installing => false,
        }
    }
}
