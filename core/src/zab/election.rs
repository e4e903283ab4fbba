//! LOOKING: fast leader election.
//!
//! Votes of LOOKING peers of one round are tallied until a quorum proposes the same leader,
//! then a short while for a better one, cut short when every reachable voter agrees. What
//! settled peers say is kept apart (ZOOKEEPER-975) and only joins this server to a leader
//! that itself says it leads (ZOOKEEPER-569). Terminating wrongly is not unsafe: discovery
//! checks again. Answers to `FastLeaderElection`.
//!
//! What always holds: the vote's zxid is the last *durable* record (ZOOKEEPER-596); a server
//! that has forgotten promises, is damaged, or is empty gives no vote.

use super::common::{Common, Next};
use super::message::{Formation, Message, PeerState, Vote};
use super::{ZabOutput, quorum};
use crate::base::{Event, LinkId, Mono, Now, ServerId, Zxid};
use crate::log::EpochRecord;
use std::collections::{BTreeMap, BTreeSet};

/// One stay in LOOKING.
#[derive(Clone, Debug)]
pub struct Election {
    proposal: Option<Vote>,
    /// Votes of LOOKING peers of this round, the own one included.
    votes: BTreeMap<ServerId, Vote>,
    /// What peers that have settled say.
    settled: BTreeMap<ServerId, (PeerState, Vote, u64)>,
    finalize_at: Option<Mono>,
    resend_at: Mono,
    wait_ms: u64,
    /// Learner links of peers that have elected this server before it knows.
    parked: BTreeMap<LinkId, (ServerId, Vec<Message>)>,
}

/// Is `new` a better vote than `old`? Epoch first, then zxid, then id: a total order
/// (ZOOKEEPER-1419, GEN-election-counter).
pub fn beats(new: &Vote, old: &Vote) -> bool {
    (new.epoch, new.zxid, new.leader) > (old.epoch, old.zxid, old.leader)
}

/// Most messages kept of a parked learner link; it sends one and waits.
const PARKED_MESSAGES_MAX: usize = 4;

impl Election {
    /// Starts a round.
    pub(super) fn new(common: &mut Common, now: Now, out: &mut Vec<ZabOutput>) -> Election {
        common.round += 1;
        let wait_ms = common.config.notify_wait_ms.0;
        let mut election = Election {
            proposal: None,
            votes: BTreeMap::new(),
            settled: BTreeMap::new(),
            finalize_at: None,
            resend_at: now.mono.plus_ms(wait_ms),
            wait_ms,
            parked: BTreeMap::new(),
        };
        election.stand(common);
        election.broadcast(common, out);
        election
    }

    /// Proposes itself if it may vote by now.
    fn stand(&mut self, common: &Common) -> bool {
        if self.proposal.is_some() || !may_vote(common) {
            return false;
        }
        // Votes that came before it might vote count as well (their senders have no reason
        // to repeat them soon).
        let own = own_vote(common);
        let best = self.votes.values().fold(
            own,
            |best, vote| {
                if beats(vote, &best) { *vote } else { best }
            },
        );
        self.proposal = Some(best);
        self.votes.insert(common.me(), best);
        true
    }

    pub(super) fn notification(&self, common: &Common) -> Message {
        Message::Notification {
            state: PeerState::Looking,
            vote: self.proposal,
            round: common.round,
            formation: common.formation,
        }
    }

    fn broadcast(&self, common: &Common, out: &mut Vec<ZabOutput>) {
        for (_, link) in common.links.elections() {
            common.send(link, self.notification(common), out);
        }
    }

    /// Something that may have changed this server's right to vote.
    pub(super) fn reconsider(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        self.found(common, out);
        if self.stand(common) {
            self.broadcast(common, out);
        }
        self.decide(common, now)
    }

    /// The first boot: an empty voter writes its first record once every voter is known to
    /// be empty or founding; one that meets a formed ensemble has been wiped (row D15).
    fn found(&mut self, common: &mut Common, out: &mut Vec<ZabOutput>) {
        if common.formation != Formation::Empty || !common.is_voter() || common.founding {
            return;
        }
        if common.anybody_formed() {
            out.push(ZabOutput::Event(Event::Probe(
                "wiped voter waits for rejoin",
            )));
            common.founding = true;
            common.needs_snapshot = true;
            let rejoins = common.rejoins;
            let change = |record: &mut EpochRecord| {
                record.voting = false;
                record.restorable = rejoins;
            };
            common.save(change, out);
        } else if common.all_voters(|formation| formation != Formation::Formed) {
            common.founding = true;
            common.save(|record| record.voting = true, out);
        }
    }

    /// An election link came up: introduce.
    pub(super) fn link_up(&mut self, common: &Common, link: LinkId, out: &mut Vec<ZabOutput>) {
        common.send(link, self.notification(common), out);
    }

    /// A peer that has elected this server already.
    pub(super) fn park(&mut self, link: LinkId, server: ServerId) {
        self.parked.insert(link, (server, Vec::new()));
    }

    pub(super) fn parked_message(&mut self, link: LinkId, message: Message) {
        if let Some((_, messages)) = self.parked.get_mut(&link)
            && messages.len() < PARKED_MESSAGES_MAX
        {
            messages.push(message);
        }
    }

    pub(super) fn parked_down(&mut self, link: LinkId) {
        self.parked.remove(&link);
    }

    pub(super) fn take_parked(&mut self) -> BTreeMap<LinkId, (ServerId, Vec<Message>)> {
        std::mem::take(&mut self.parked)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        Some(
            self.finalize_at
                .map_or(self.resend_at, |at| at.min(self.resend_at)),
        )
    }

    pub(super) fn timer(
        &mut self,
        common: &mut Common,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if self.resend_at <= now.mono {
            self.wait_ms = (self.wait_ms * 2).min(common.config.notify_wait_ms.1);
            self.resend_at = now.mono.plus_ms(self.wait_ms);
            self.broadcast(common, out);
        }
        self.decide(common, now)
    }

    /// A notification of a peer.
    #[allow(clippy::too_many_arguments)] // The message's fields, flat.
    pub(super) fn notified(
        &mut self,
        common: &mut Common,
        from: ServerId,
        state: PeerState,
        vote: Option<Vote>,
        round: u64,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        self.found(common, out);
        if self.stand(common) {
            self.broadcast(common, out);
        }
        if !common.voters.contains(&from) {
            return self.decide(common, now);
        }
        match (state, vote) {
            (PeerState::Looking, vote) => {
                self.settled.remove(&from);
                if let Some(vote) = vote.filter(|vote| common.voters.contains(&vote.leader)) {
                    self.count(common, from, vote, round, out);
                } else {
                    self.votes.remove(&from);
                }
            }
            (PeerState::Following | PeerState::Leading, Some(vote)) => {
                self.settled.insert(from, (state, vote, round));
            }
            (PeerState::Following | PeerState::Leading, None) | (PeerState::Observing, _) => {
                self.settled.remove(&from);
            }
        }
        self.decide(common, now)
    }

    /// Counts the vote of a LOOKING voter.
    fn count(
        &mut self,
        common: &mut Common,
        from: ServerId,
        vote: Vote,
        round: u64,
        out: &mut Vec<ZabOutput>,
    ) {
        if round < common.round {
            // It is behind: tell it, and wait until it has caught up.
            if let Some(link) = common.links.election(from) {
                common.send(link, self.notification(common), out);
            }
            return;
        }
        let Some(proposal) = self.proposal else {
            if round > common.round {
                common.round = round;
                self.votes.clear();
            }
            self.votes.insert(from, vote);
            return;
        };
        if round > common.round {
            common.round = round;
            self.votes.clear();
            let own = own_vote(common);
            let better = if beats(&vote, &own) { vote } else { own };
            self.propose(common, better, out);
        } else if beats(&vote, &proposal) {
            self.propose(common, vote, out);
        }
        self.votes.insert(from, vote);
    }

    fn propose(&mut self, common: &Common, vote: Vote, out: &mut Vec<ZabOutput>) {
        self.proposal = Some(vote);
        self.votes.insert(common.me(), vote);
        self.finalize_at = None;
        self.broadcast(common, out);
    }

    fn decide(&mut self, common: &mut Common, now: Now) -> Next {
        // What is logged must be durable before it is built upon, by voting or by learning.
        if !common.is_drained() {
            return Next::Stay;
        }
        if let Some((leader, round)) = self.settled_leader(common) {
            common.round = common.round.max(round);
            return Next::Follow(leader);
        }
        let Some(proposal) = self.proposal else {
            return Next::Stay;
        };
        let agree: BTreeSet<ServerId> = self
            .votes
            .iter()
            .filter(|(_, vote)| **vote == proposal)
            .map(|(server, _)| *server)
            .collect();
        if !quorum::is_quorum(&common.voters, &agree) {
            self.finalize_at = None;
            return Next::Stay;
        }
        let unanimous = common
            .links
            .elections()
            .all(|(peer, _)| !common.voters.contains(&peer) || agree.contains(&peer));
        let wait = common.config.finalize_wait_ms;
        let finalize_at = *self.finalize_at.get_or_insert(now.mono.plus_ms(wait));
        if !unanimous && now.mono < finalize_at {
            Next::Stay
        } else if proposal.leader == common.me() {
            Next::Lead
        } else {
            Next::Follow(proposal.leader)
        }
    }

    /// A leader that says so itself and that a quorum of settled voters names for the same
    /// epoch. Rounds and zxids legitimately differ between them (ZOOKEEPER-1732).
    fn settled_leader(&self, common: &Common) -> Option<(ServerId, u64)> {
        self.settled
            .iter()
            .find_map(|(server, (state, vote, round))| {
                if *state != PeerState::Leading || vote.leader != *server {
                    return None;
                }
                let follow: BTreeSet<ServerId> = self
                    .settled
                    .iter()
                    .filter(|(_, (_, v, _))| (v.leader, v.epoch) == (vote.leader, vote.epoch))
                    .map(|(server, _)| *server)
                    .collect();
                quorum::is_quorum(&common.voters, &follow).then_some((*server, *round))
            })
    }

    /// An election link is gone: what its peer said may be out of date.
    pub(super) fn link_down(&mut self, peer: ServerId) {
        self.settled.remove(&peer);
    }
}

/// May this server give a vote?
fn may_vote(common: &Common) -> bool {
    common.is_fit()
        && common.is_drained()
        && (common.anybody_formed() || common.all_voters(|f| f == Formation::Founding))
}

fn own_vote(common: &Common) -> Vote {
    let zxid: Zxid = common.window.last();
    Vote {
        leader: common.me(),
        zxid,
        epoch: common.epochs.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;

    fn vote(epoch: u32, zxid: u64, leader: u8) -> Vote {
        Vote {
            leader: ServerId(leader),
            zxid: Zxid(zxid),
            epoch: Epoch(epoch),
        }
    }

    #[test]
    fn votes_are_totally_ordered_epoch_first() {
        let mut votes = Vec::new();
        for epoch in 0..3 {
            for zxid in 0..3 {
                for leader in 1..4 {
                    votes.push(vote(epoch, zxid, leader));
                }
            }
        }
        for (i, a) in votes.iter().enumerate() {
            for (j, b) in votes.iter().enumerate() {
                assert_eq!(beats(a, b), i > j, "{a:?} {b:?}");
            }
        }
    }
}
