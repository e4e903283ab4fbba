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
//! Answers to `Leader` and `LearnerHandler`.

use super::common::{Common, Next};
use super::message::{Message, PeerState, Vote};
use super::syncplan::{self, SyncPlan};
use super::{ConfirmId, MemberKind, ZabOutput, quorum};
use crate::base::limits::{OUTSTANDING_PROPOSALS_MAX, SNAPSHOT_CHUNKS_MAX, SYNC_BACKLOG_MAX};
use crate::base::{Epoch, Event, LinkId, Mono, Now, ServerId, Zxid};
use crate::log::Entry;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

/// How far a learner is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The link is up.
    Linked,
    /// It has introduced itself.
    Introduced,
    /// It was told the epoch.
    Told,
    /// It has acknowledged the epoch and waits for a quorum to do so.
    Promised,
    /// It is sent the history; everything proposed goes to it, too.
    Syncing,
    /// It has acknowledged NewLeader.
    Synced,
    /// It was told to serve.
    UpToDate,
}

/// A snapshot on its way to a learner, and what has to go behind it.
#[derive(Clone, Debug)]
struct Feed {
    sent: u32,
    acked: u32,
    crc: crc32fast::Hasher,
    done: bool,
    behind: VecDeque<Message>,
}

#[derive(Clone, Debug)]
struct Handle {
    server: ServerId,
    step: Step,
    observer: bool,
    /// Its promises and acknowledgements count.
    voting: bool,
    needs_snapshot: bool,
    amnesiac: bool,
    /// An amnesiac that was there before the epoch was established without it.
    restore: bool,
    history: Vec<Zxid>,
    /// Durable there, as far as it said.
    acked: Zxid,
    /// The end of what precedes NewLeader.
    sync_end: Zxid,
    /// Observers: sent as committed up to here.
    informed: Zxid,
    feed: Option<Feed>,
    pong: u64,
    heard_at: Mono,
    /// Since when it has owed an acknowledgement.
    behind_since: Option<Mono>,
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

    fn introduced(
        &mut self,
        common: &mut Common,
        link: LinkId,
        accepted: Epoch,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        let handle = &self.handles[&link];
        match self.phase {
            Phase::Discovery => {
                self.highest = self.highest.max(accepted);
                if handle.voting {
                    self.accepted.insert(handle.server, accepted);
                    self.choose_epoch(common, out);
                }
                Next::Stay
            }
            _ if accepted > self.epoch => {
                // It has promised a later epoch than this one and will follow no other:
                // only a new leadership can have both.
                Next::Look("a learner has promised a later epoch")
            }
            Phase::Proposing => Next::Stay,
            Phase::Synchronisation | Phase::Broadcast => {
                self.tell(common, link, out);
                Next::Stay
            }
        }
    }

    /// With the accepted epochs of a quorum known, the new epoch is above all of them
    /// (ZOOKEEPER-1343), and is accepted here first.
    pub(super) fn choose_epoch(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) {
        let known: BTreeSet<ServerId> = self.accepted.keys().copied().collect();
        if self.phase != Phase::Discovery || !quorum::is_quorum(&common.voters, &known) {
            return;
        }
        let epoch = Epoch(self.highest.0 + 1);
        self.epoch = epoch;
        self.phase = Phase::Proposing;
        common.save(|record| record.accepted = epoch, out);
    }

    fn tell(&mut self, common: &Common, link: LinkId, out: &mut Vec<ZabOutput>) {
        let handle = self.handles.get_mut(&link).expect("a known learner");
        handle.step = Step::Told;
        common.send(link, Message::LeaderInfo { epoch: self.epoch }, out);
    }

    fn epoch_acked(
        &mut self,
        common: &mut Common,
        link: LinkId,
        promised: bool,
        current: Epoch,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        let handle = self.handles.get_mut(&link).expect("a known learner");
        let last = handle.history.iter().max().copied().unwrap_or_default();
        let established = self.phase == Phase::Broadcast;
        if handle.voting
            && !established
            && (current, last) > (common.epochs.current, common.window.last())
        {
            return Next::Look("a learner knows more");
        }
        handle.step = Step::Promised;
        if promised && handle.voting {
            self.promised.insert(handle.server);
        }
        match self.phase {
            Phase::Synchronisation | Phase::Broadcast => self.synchronise(common, link, now, out),
            Phase::Discovery | Phase::Proposing => self.begin_sync(common, now, out),
        }
        Next::Stay
    }

    // --- synchronisation ----------------------------------------------------------------

    fn begin_sync(&mut self, common: &mut Common, now: Now, out: &mut Vec<ZabOutput>) {
        if self.phase != Phase::Proposing
            || common.epochs.accepted != self.epoch
            || !quorum::is_quorum(&common.voters, &self.promised)
        {
            return;
        }
        self.phase = Phase::Synchronisation;
        let epoch = self.epoch;
        common.save(|record| record.current = epoch, out);
        for link in self.links_at(Step::Promised) {
            self.synchronise(common, link, now, out);
        }
    }

    /// Plans, sends and registers, in one step.
    fn synchronise(&mut self, common: &Common, link: LinkId, now: Now, out: &mut Vec<ZabOutput>) {
        let handle = self.handles.get_mut(&link).expect("a known learner");
        if handle.needs_snapshot && self.phase != Phase::Broadcast {
            // Before the epoch is established the own delivered state may be older than the
            // learner's. Its acknowledgement does not count, so nobody waits for it.
            return;
        }
        let plan = if handle.needs_snapshot {
            SyncPlan::Snap
        } else {
            syncplan::plan(&handle.history, &common.window.history())
        };
        handle.step = Step::Syncing;
        let base = match plan {
            SyncPlan::Diff { from } => {
                common.send(link, Message::Diff { from }, out);
                from
            }
            SyncPlan::Trunc { after } => {
                common.send(link, Message::Trunc { after }, out);
                after
            }
            SyncPlan::Snap => {
                let zxid = common.window.delivered();
                handle.feed = Some(Feed {
                    sent: 0,
                    acked: 0,
                    crc: crc32fast::Hasher::new(),
                    done: false,
                    behind: VecDeque::new(),
                });
                common.send(link, Message::SnapBegin { zxid }, out);
                out.push(ZabOutput::SnapshotFor { link, zxid });
                zxid
            }
        };
        // An observer is given what is committed; the rest reaches it as it commits.
        let end = if handle.observer {
            common.window.delivered().max(base)
        } else {
            common.window.last()
        };
        handle.sync_end = end;
        handle.informed = end;
        handle.behind_since = Some(now.mono);
        for entry in common
            .window
            .after(base)
            .take_while(|entry| entry.zxid <= end)
        {
            let Entry { zxid, payload } = entry.clone();
            handle.say(link, Message::Propose { zxid, payload }, out);
        }
        handle.say(link, Message::NewLeader { epoch: self.epoch }, out);
        self.feed(link, out);
    }

    /// Asks for as many pieces of a snapshot as the learner has room for.
    fn feed(&mut self, link: LinkId, out: &mut Vec<ZabOutput>) {
        let Some(feed) = self.handles.get_mut(&link).and_then(|h| h.feed.as_mut()) else {
            return;
        };
        if feed.done {
            return;
        }
        while feed.sent < feed.acked + SNAPSHOT_CHUNKS_MAX {
            feed.sent += 1;
            out.push(ZabOutput::SnapshotNext { link });
        }
    }

    pub(super) fn snapshot_chunk(
        &mut self,
        link: LinkId,
        chunk: Bytes,
        last: bool,
        out: &mut Vec<ZabOutput>,
    ) {
        let Some(handle) = self.handles.get_mut(&link) else {
            return;
        };
        let Some(feed) = &mut handle.feed else { return };
        if feed.done {
            return; // Asked for before the end was known.
        }
        feed.crc.update(&chunk);
        out.push(ZabOutput::Send {
            link,
            message: Message::SnapChunk(chunk),
        });
        if last {
            feed.done = true;
            let crc = feed.crc.clone().finalize();
            out.push(ZabOutput::Send {
                link,
                message: Message::SnapEnd { crc },
            });
            for message in std::mem::take(&mut feed.behind) {
                out.push(ZabOutput::Send { link, message });
            }
        }
    }

    fn newleader_acked(
        &mut self,
        common: &mut Common,
        link: LinkId,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if self.phase == Phase::Broadcast {
            self.welcome(common, link, out);
            self.advance(common, now, out);
            Next::Stay
        } else {
            self.establish(common, now, out);
            Next::Stay
        }
    }

    /// The epoch is established once a quorum, this server among it, holds the whole
    /// history and the current epoch durably.
    fn establish(&mut self, common: &mut Common, now: Now, out: &mut Vec<ZabOutput>) {
        let ready = self.phase == Phase::Synchronisation
            && common.epochs.current == self.epoch
            && common.is_drained();
        if ready {
            self.synced.insert(common.me());
        }
        if !ready || !quorum::is_quorum(&common.voters, &self.synced) {
            return;
        }
        self.phase = Phase::Broadcast;
        let history_last = common.window.last();
        out.push(ZabOutput::Event(Event::Acked { zxid: history_last }));
        out.push(ZabOutput::Event(Event::Established {
            epoch: self.epoch,
            history_last,
        }));
        for handle in self.handles.values_mut() {
            handle.restore = handle.amnesiac && handle.step != Step::Linked;
        }
        self.own_progress_at = now.mono;
        self.committed = self.committed.max(history_last);
        common.deliver(self.committed, out);
        out.push(ZabOutput::Leading { epoch: self.epoch });
        for link in self.links_at(Step::Synced) {
            self.welcome(common, link, out);
        }
        for link in self.links_at(Step::Promised) {
            self.synchronise(common, link, now, out);
        }
    }

    fn welcome(&mut self, common: &mut Common, link: LinkId, out: &mut Vec<ZabOutput>) {
        let committed = self.committed;
        let handle = self.handles.get_mut(&link).expect("a known learner");
        if handle.observer && handle.informed < common.window.floor() {
            // It took so long that what it needs next has left the window.
            out.push(ZabOutput::Event(Event::Probe(
                "observer fell out of the window",
            )));
            self.drop_learner(common, link, out);
            return;
        }
        handle.step = Step::UpToDate;
        let (server, restore_vote) = (handle.server, handle.restore);
        handle.inform(common, link, committed, out);
        common.send(
            link,
            Message::UpToDate {
                committed,
                restore_vote,
            },
            out,
        );
        out.push(ZabOutput::LearnerUp { server });
    }

    // --- broadcast ----------------------------------------------------------------------

    /// The zxid the next proposal gets, while there is room for one.
    pub(super) fn next_zxid(&self, common: &Common) -> Option<Zxid> {
        let delivered = common.window.delivered();
        let done = if delivered.epoch() == self.epoch {
            delivered.counter()
        } else {
            0
        };
        let outstanding = self.next_counter - 1 - done;
        (self.phase == Phase::Broadcast
            && outstanding < OUTSTANDING_PROPOSALS_MAX
            && self.next_counter != u32::MAX)
            .then(|| Zxid::new(self.epoch, self.next_counter))
    }

    pub(super) fn propose(
        &mut self,
        common: &mut Common,
        payload: Bytes,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Zxid {
        let zxid = self.next_zxid(common).expect("asked for next_zxid before");
        self.next_counter += 1;
        if common.is_drained() {
            self.own_progress_at = now.mono;
        }
        let hash = crc32fast::hash(&payload);
        out.push(ZabOutput::Event(Event::Proposed { zxid, hash }));
        common.append(
            Entry {
                zxid,
                payload: payload.clone(),
            },
            out,
        );
        let mut overrun = Vec::new();
        for (link, handle) in &mut self.handles {
            let registered = matches!(handle.step, Step::Syncing | Step::Synced | Step::UpToDate);
            if registered && !handle.observer {
                handle.behind_since.get_or_insert(now.mono);
                handle.say(
                    *link,
                    Message::Propose {
                        zxid,
                        payload: payload.clone(),
                    },
                    out,
                );
            }
            let behind = handle.feed.as_ref().map_or(0, |feed| feed.behind.len());
            if behind > SYNC_BACKLOG_MAX {
                overrun.push(*link);
            }
        }
        for link in overrun {
            let probe = "snapshot too slow for what is proposed";
            out.push(ZabOutput::Event(Event::Probe(probe)));
            self.drop_learner(common, link, out);
        }
        zxid
    }

    /// Commits what a quorum holds durably.
    fn advance(&mut self, common: &mut Common, now: Now, out: &mut Vec<ZabOutput>) {
        if self.phase != Phase::Broadcast {
            return;
        }
        let committed = quorum::committed(
            common
                .voters
                .iter()
                .map(|voter| {
                    if *voter == common.me() {
                        common.durable
                    } else {
                        self.held_by(*voter)
                    }
                })
                .collect(),
        );
        for handle in self.handles.values_mut() {
            if handle.acked >= common.window.last() {
                handle.behind_since = None;
            } else if handle.step == Step::UpToDate && !handle.observer && handle.voting {
                handle.behind_since.get_or_insert(now.mono);
            }
        }
        if committed > self.committed {
            self.committed = committed;
            for (link, handle) in &mut self.handles {
                if handle.step != Step::UpToDate {
                    continue;
                }
                if handle.observer {
                    handle.inform(common, *link, committed, out);
                } else {
                    out.push(ZabOutput::Send {
                        link: *link,
                        message: Message::Commit { zxid: committed },
                    });
                }
            }
        }
        common.deliver(self.committed, out);
    }

    fn held_by(&self, voter: ServerId) -> Zxid {
        self.handles
            .values()
            .filter(|h| h.server == voter && h.voting)
            .filter(|h| matches!(h.step, Step::Synced | Step::UpToDate))
            .map(|h| h.acked)
            .max()
            .unwrap_or_default()
    }

    /// The own log is durable further.
    pub(super) fn log_durable(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        self.own_progress_at = now.mono;
        if self.phase == Phase::Broadcast {
            out.push(ZabOutput::Event(Event::Acked {
                zxid: common.durable,
            }));
            self.advance(common, now, out);
        } else {
            self.establish(common, now, out);
        }
        Next::Stay
    }

    /// An own epoch record is durable.
    pub(super) fn epochs_durable(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        match self.phase {
            Phase::Proposing if common.epochs.accepted == self.epoch => {
                self.promised.insert(common.me());
                for link in self.links_at(Step::Introduced) {
                    self.tell(common, link, out);
                }
                self.begin_sync(common, now, out);
            }
            Phase::Synchronisation => self.establish(common, now, out),
            Phase::Discovery | Phase::Proposing | Phase::Broadcast => {}
        }
        Next::Stay
    }

    // --- time ---------------------------------------------------------------------------

    pub(super) fn deadline(&self) -> Option<Mono> {
        Some(self.ping_at)
    }

    pub(super) fn timer(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if self.ping_at > now.mono {
            return Next::Stay;
        }
        self.ping_at = now.mono.plus_ms((common.config.tick_ms / 2).max(1));
        self.ping(out);
        self.drop_silent(common, now, out);
        self.judge_itself(common, now)
    }

    fn ping(&mut self, out: &mut Vec<ZabOutput>) {
        self.round += 1;
        let round = self.round;
        for (link, handle) in &self.handles {
            if handle.step != Step::Linked {
                out.push(ZabOutput::Send {
                    link: *link,
                    message: Message::Ping { round },
                });
            }
        }
    }

    /// Learners that are silent, or owe an acknowledgement, for too long lose their link.
    fn drop_silent(&mut self, common: &mut Common, now: Now, out: &mut Vec<ZabOutput>) {
        let config = &common.config;
        let dropped: Vec<LinkId> = self
            .handles
            .iter()
            .filter(|(_, handle)| {
                let limit = match handle.step {
                    Step::Synced | Step::UpToDate => config.sync_limit,
                    Step::Linked
                    | Step::Introduced
                    | Step::Told
                    | Step::Promised
                    | Step::Syncing => config.init_limit,
                };
                let too_old = |since: Mono| common.ticks(since, limit) <= now.mono;
                too_old(handle.heard_at)
                    || (handle.voting
                        && handle.step == Step::UpToDate
                        && handle.behind_since.is_some_and(too_old))
            })
            .map(|(link, _)| *link)
            .collect();
        for link in dropped {
            out.push(ZabOutput::Event(Event::Probe("silent learner dropped")));
            self.drop_learner(common, link, out);
        }
    }

    /// A leader that is not followed, not established in time, or whose own log is stuck,
    /// gives up (ZOOKEEPER-2247, row D8).
    fn judge_itself(&self, common: &Common, now: Now) -> Next {
        if self.phase != Phase::Broadcast {
            return if common.ticks(self.began_at, common.config.init_limit) <= now.mono {
                Next::Look("not established in time")
            } else {
                Next::Stay
            };
        }
        let limit = common.config.sync_limit;
        let mut heard: BTreeSet<ServerId> = self
            .handles
            .values()
            .filter(|handle| handle.voting && common.ticks(handle.heard_at, limit) > now.mono)
            .map(|handle| handle.server)
            .collect();
        heard.insert(common.me());
        if !quorum::is_quorum(&common.voters, &heard) {
            return Next::Look("not followed by a quorum");
        }
        if !common.is_drained() && common.ticks(self.own_progress_at, limit) <= now.mono {
            return Next::Look("the own log is stuck");
        }
        if self.next_counter == u32::MAX {
            return Next::Look("the epoch's counter is used up");
        }
        Next::Stay
    }

    /// Starts a round of pings; see [`super::Zab::confirm`].
    pub(super) fn confirm(&mut self, common: &Common, out: &mut Vec<ZabOutput>) -> ConfirmId {
        self.ping(out);
        self.asked = self.round;
        self.count_pongs(common, out);
        ConfirmId(self.round)
    }

    fn count_pongs(&mut self, common: &Common, out: &mut Vec<ZabOutput>) {
        let reached = quorum::reached_by_quorum(
            common
                .voters
                .iter()
                .map(|voter| {
                    if *voter == common.me() {
                        return self.round;
                    }
                    self.handles
                        .values()
                        .filter(|h| h.server == *voter && h.voting && h.step == Step::UpToDate)
                        .map(|h| h.pong)
                        .max()
                        .unwrap_or_default()
                })
                .collect(),
        );
        if reached > self.confirmed {
            let news = self.confirmed < self.asked;
            self.confirmed = reached;
            if news && self.phase == Phase::Broadcast {
                out.push(ZabOutput::Confirmed(ConfirmId(reached)));
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

impl Handle {
    /// Sends, behind a snapshot that is still on its way.
    fn say(&mut self, link: LinkId, message: Message, out: &mut Vec<ZabOutput>) {
        match &mut self.feed {
            Some(feed) if !feed.done => feed.behind.push_back(message),
            Some(_) | None => out.push(ZabOutput::Send { link, message }),
        }
    }

    /// Sends an observer what was committed since it was last told.
    fn inform(&mut self, common: &Common, link: LinkId, committed: Zxid, out: &mut Vec<ZabOutput>) {
        if !self.observer || committed <= self.informed {
            return;
        }
        for entry in common
            .window
            .after(self.informed)
            .take_while(|e| e.zxid <= committed)
        {
            let Entry { zxid, payload } = entry.clone();
            out.push(ZabOutput::Send {
                link,
                message: Message::Inform { zxid, payload },
            });
        }
        self.informed = committed;
    }
}
