//! Discovery and synchronisation: from the accepted epochs of a quorum to an established one.
//!
//! Answers to `Leader.getEpochToPropose`, `waitForEpochAck`, `waitForNewLeaderAck` and
//! `LearnerHandler.syncFollower`.

use super::handle::{Feed, Step};
use super::{Leader, Phase};
use crate::base::limits::SNAPSHOT_CHUNKS_MAX;
use crate::base::{Epoch, Event, LinkId, Now, ServerId};
use crate::log::Entry;
use crate::zab::common::{Common, Next};
use crate::zab::message::Message;
use crate::zab::syncplan::{self, SyncPlan};
use crate::zab::{ZabOutput, quorum};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};

impl Leader {
    pub(in crate::zab) fn introduced(
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
    pub(in crate::zab) fn choose_epoch(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) {
        let known: BTreeSet<ServerId> = self.accepted.keys().copied().collect();
        if self.phase != Phase::Discovery || !quorum::is_quorum(&common.voters, &known) {
            return;
        }
        let epoch = Epoch(self.highest.0 + 1);
        self.epoch = epoch;
        self.phase = Phase::Proposing;
        common.save(|record| record.accepted = epoch, out);
    }

    pub(in crate::zab) fn tell(&mut self, common: &Common, link: LinkId, out: &mut Vec<ZabOutput>) {
        let handle = self.handles.get_mut(&link).expect("a known learner");
        handle.step = Step::Told;
        common.send(link, Message::LeaderInfo { epoch: self.epoch }, out);
    }

    pub(in crate::zab) fn epoch_acked(
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

    pub(in crate::zab) fn begin_sync(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) {
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
    pub(in crate::zab) fn synchronise(
        &mut self,
        common: &Common,
        link: LinkId,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) {
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
    pub(in crate::zab) fn feed(&mut self, link: LinkId, out: &mut Vec<ZabOutput>) {
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

    pub(in crate::zab) fn snapshot_chunk(
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

    pub(in crate::zab) fn newleader_acked(
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
    pub(in crate::zab) fn establish(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) {
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

    pub(in crate::zab) fn welcome(
        &mut self,
        common: &mut Common,
        link: LinkId,
        out: &mut Vec<ZabOutput>,
    ) {
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
}
