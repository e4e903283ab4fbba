//! Pings: which learners are there, whether a quorum still follows, and what a round of
//! answers proves.
//!
//! Answers to the loop of `Leader.lead` and to `Leader.processSync`, which asks nobody.

use super::handle::Step;
use super::{Leader, Phase};
use crate::base::{Event, LinkId, Mono, Now, ServerId};
use crate::zab::common::{Common, Next};
use crate::zab::message::Message;
use crate::zab::{ConfirmId, ZabOutput, quorum};
use std::collections::BTreeSet;

impl Leader {
    pub(in crate::zab) fn deadline(&self) -> Option<Mono> {
        Some(self.ping_at)
    }

    pub(in crate::zab) fn timer(
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

    pub(in crate::zab) fn ping(&mut self, out: &mut Vec<ZabOutput>) {
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
    pub(in crate::zab) fn drop_silent(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) {
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
    pub(in crate::zab) fn judge_itself(&self, common: &Common, now: Now) -> Next {
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
    pub(in crate::zab) fn confirm(
        &mut self,
        common: &Common,
        out: &mut Vec<ZabOutput>,
    ) -> ConfirmId {
        self.ping(out);
        self.asked = self.round;
        self.count_pongs(common, out);
        ConfirmId(self.round)
    }

    pub(in crate::zab) fn count_pongs(&mut self, common: &Common, out: &mut Vec<ZabOutput>) {
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
}
