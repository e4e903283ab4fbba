//! Broadcast: proposals out, acknowledgements in, commits in order.
//!
//! Answers to `Leader.propose`, `processAck` and `tryToCommit`.

use super::handle::Step;
use super::{Leader, Phase};
use crate::base::limits::{OUTSTANDING_PROPOSALS_MAX, SYNC_BACKLOG_MAX};
use crate::base::{Event, Now, ServerId, Zxid};
use crate::log::Entry;
use crate::zab::common::{Common, Next};
use crate::zab::message::Message;
use crate::zab::{ZabOutput, quorum};
use bytes::Bytes;

impl Leader {
    /// The zxid the next proposal gets, while there is room for one.
    pub(in crate::zab) fn next_zxid(&self, common: &Common) -> Option<Zxid> {
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

    pub(in crate::zab) fn propose(
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
    pub(in crate::zab) fn advance(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) {
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

    pub(in crate::zab) fn held_by(&self, voter: ServerId) -> Zxid {
        self.handles
            .values()
            .filter(|h| h.server == voter && h.voting)
            .filter(|h| matches!(h.step, Step::Synced | Step::UpToDate))
            .map(|h| h.acked)
            .max()
            .unwrap_or_default()
    }

    /// The own log is durable further.
    pub(in crate::zab) fn log_durable(
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
    pub(in crate::zab) fn epochs_durable(
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
}
