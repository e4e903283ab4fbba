//! [`Zab`]: one server's role and the passage from one to the next.

use super::common::{Common, Next};
use super::election::Election;
use super::leader::Leader;
use super::learner::Learner;
use super::message::{Formation, Message, PeerState};
use super::{Boot, ConfirmId, LinkKind, ZabConfig, ZabInput, ZabOutput};
use crate::base::event::{Event, Role};
use crate::base::{LinkId, Mono, Now, ServerId, Zxid, earlier};
use bytes::Bytes;

#[derive(Clone, Debug)]
enum State {
    Looking(Election),
    Learning(Box<Learner>),
    Leading(Box<Leader>),
}

/// Election, discovery, synchronisation and broadcast of one server.
#[derive(Clone, Debug)]
pub struct Zab {
    common: Common,
    state: State,
    /// The role is over, but the disk is still at work on a cut or a snapshot.
    doomed: Option<&'static str>,
    role: Role,
    halted: bool,
}

impl Zab {
    /// Begins to elect.
    pub fn new(config: ZabConfig, boot: Boot, now: Now, out: &mut Vec<ZabOutput>) -> Zab {
        let mut common = Common::new(config, boot, now);
        let election = Election::new(&mut common, now, out);
        let mut zab = Zab {
            common,
            state: State::Looking(election),
            doomed: None,
            role: Role::Recovering,
            halted: false,
        };
        zab.tell_role(out);
        zab.common.links.timer(now.mono, out);
        zab.reconsider(now, out);
        zab
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, input: ZabInput, out: &mut Vec<ZabOutput>) {
        if self.halted {
            return;
        }
        let from = out.len();
        let next = self.dispatch(now, input, out);
        self.pass_on(next, now, out);
        if self.serves_since(&out[from..]) {
            self.tell_peers(out);
        }
        self.tell_role(out);
        self.halted |= out[from..]
            .iter()
            .any(|o| matches!(o, ZabOutput::Halt { .. }));
    }

    fn dispatch(&mut self, now: Now, input: ZabInput, out: &mut Vec<ZabOutput>) -> Next {
        match input {
            ZabInput::Timer => self.timer(now, out),
            ZabInput::LinkUp { link, peer, kind } => self.link_up(link, peer, kind, now, out),
            ZabInput::LinkDown { link } => self.link_down(link, now, out),
            ZabInput::Message { link, message } => self.message(link, message, now, out),
            ZabInput::EpochsDurable(record) => {
                self.common.saved(record, out);
                match &mut self.state {
                    State::Looking(election) => election.reconsider(&mut self.common, now, out),
                    State::Learning(learner) => learner.epochs_durable(&mut self.common, out),
                    State::Leading(leader) => leader.epochs_durable(&mut self.common, now, out),
                }
            }
            ZabInput::LogDurable { upto } => {
                self.common.durable = self.common.durable.max(upto);
                match &mut self.state {
                    State::Looking(election) => election.reconsider(&mut self.common, now, out),
                    State::Learning(learner) => learner.log_durable(&mut self.common, out),
                    State::Leading(leader) => leader.log_durable(&mut self.common, now, out),
                }
            }
            ZabInput::Truncated { last } => match &mut self.state {
                State::Learning(learner) => learner.truncated(&mut self.common, last, out),
                State::Looking(_) | State::Leading(_) => unreachable!("only learners cut"),
            },
            ZabInput::Installed { zxid } => match &mut self.state {
                State::Learning(learner) => learner.installed(&mut self.common, zxid, out),
                State::Looking(_) | State::Leading(_) => unreachable!("only learners install"),
            },
            ZabInput::InstallFailed => {
                if let State::Learning(learner) = &mut self.state {
                    learner.install_failed();
                }
                Next::Look("the leader's snapshot does not load")
            }
            ZabInput::SnapshotChunk { link, chunk, last } => {
                if let State::Leading(leader) = &mut self.state {
                    leader.snapshot_chunk(link, chunk, last, out);
                }
                Next::Stay
            }
            ZabInput::Rejoin => {
                self.rejoin(out);
                Next::Stay
            }
        }
    }

    /// The operator's word: a wiped server may be given its vote back by the next leader
    /// that is elected without it.
    fn rejoin(&mut self, out: &mut Vec<ZabOutput>) {
        let common = &mut self.common;
        common.rejoins = true;
        // One that is still empty may yet turn out to take part in the first boot.
        let waits = common.is_voter() && !common.epochs.voting && !common.epochs.restorable;
        if waits && common.formation == Formation::Formed {
            common.save(|record| record.restorable = true, out);
        }
    }

    // --- passages -----------------------------------------------------------------------

    /// Follows up until the role stays. While a cut or an installation is on its way to the
    /// disk the role lingers, deaf, until it is through.
    fn pass_on(&mut self, mut next: Next, now: Now, out: &mut Vec<ZabOutput>) {
        if let Some(reason) = self.doomed {
            next = Next::Look(reason);
        }
        loop {
            match next {
                Next::Stay => return,
                Next::Look(reason) => {
                    if let State::Learning(learner) = &mut self.state
                        && learner.is_on_disk()
                    {
                        if self.doomed.replace(reason).is_none() {
                            learner.deafen();
                            let link = learner.link();
                            self.common.links.hangup(link, out);
                        }
                        return;
                    }
                    next = self.look(reason, now, out);
                }
                Next::Lead => next = self.lead(now, out),
                Next::Follow(leader) => next = self.follow(leader, now, out),
            }
        }
    }

    fn look(&mut self, reason: &'static str, now: Now, out: &mut Vec<ZabOutput>) -> Next {
        self.doomed = None;
        out.push(ZabOutput::Event(Event::Probe(reason)));
        match &mut self.state {
            State::Looking(_) => return Next::Stay,
            State::Learning(learner) => {
                learner.end(out);
                let link = learner.link();
                self.common.links.hangup(link, out);
            }
            State::Leading(leader) => leader.end(&mut self.common, out),
        }
        out.push(ZabOutput::Looking);
        let election = Election::new(&mut self.common, now, out);
        self.state = State::Looking(election);
        self.tell_role(out);
        self.reconsidered(now, out)
    }

    fn reconsidered(&mut self, now: Now, out: &mut Vec<ZabOutput>) -> Next {
        match &mut self.state {
            State::Looking(election) => election.reconsider(&mut self.common, now, out),
            State::Learning(_) | State::Leading(_) => Next::Stay,
        }
    }

    fn reconsider(&mut self, now: Now, out: &mut Vec<ZabOutput>) {
        let next = self.reconsidered(now, out);
        self.pass_on(next, now, out);
        self.tell_role(out);
    }

    fn lead(&mut self, now: Now, out: &mut Vec<ZabOutput>) -> Next {
        let State::Looking(election) = &mut self.state else {
            return Next::Stay;
        };
        let parked = election.take_parked();
        let mut leader = Box::new(Leader::new(&self.common, now));
        for (link, (server, _)) in &parked {
            leader.link_up(&mut self.common, *link, *server, now, out);
        }
        self.state = State::Leading(leader);
        self.tell_peers(out);
        let State::Leading(leader) = &mut self.state else {
            unreachable!("just set")
        };
        leader.choose_epoch(&mut self.common, out);
        for (link, (_, messages)) in parked {
            for message in messages {
                let State::Leading(leader) = &mut self.state else {
                    return Next::Stay;
                };
                let next = leader.message(&mut self.common, link, message, now, out);
                if next != Next::Stay {
                    return next;
                }
            }
        }
        Next::Stay
    }

    fn follow(&mut self, leader: ServerId, now: Now, out: &mut Vec<ZabOutput>) -> Next {
        let State::Looking(election) = &mut self.state else {
            return Next::Stay;
        };
        for link in election.take_parked().into_keys() {
            self.common.links.hangup(link, out);
        }
        let learner = Learner::new(&mut self.common, leader, now, out);
        self.state = State::Learning(Box::new(learner));
        self.tell_peers(out);
        Next::Stay
    }

    // --- links and messages -------------------------------------------------------------

    fn link_up(
        &mut self,
        link: LinkId,
        peer: ServerId,
        kind: LinkKind,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        if link.is_dialled() && self.common.links.end(link).is_none() {
            return Next::Stay; // Hung up while it was being dialled.
        }
        if !self.common.config.members.contains_key(&peer) {
            out.push(ZabOutput::Hangup { link });
            return Next::Stay;
        }
        self.common.links.up(link, peer, kind, now.mono, out);
        match (kind, &mut self.state) {
            (LinkKind::Election, State::Looking(election)) => {
                election.link_up(&self.common, link, out);
            }
            (LinkKind::Election, State::Learning(_) | State::Leading(_)) => {
                let notification = self.notification();
                self.common.send(link, notification, out);
            }
            (LinkKind::Learner, State::Looking(election)) => election.park(link, peer),
            (LinkKind::Learner, State::Leading(leader)) => {
                leader.link_up(&mut self.common, link, peer, now, out);
            }
            (LinkKind::Learner, State::Learning(learner)) if learner.link() == link => {
                return learner.link_up(&self.common, out);
            }
            (LinkKind::Learner, State::Learning(_)) => self.common.links.hangup(link, out),
        }
        Next::Stay
    }

    fn link_down(&mut self, link: LinkId, now: Now, out: &mut Vec<ZabOutput>) -> Next {
        let Some((peer, kind)) = self.common.links.down(link, now.mono) else {
            return Next::Stay;
        };
        match (kind, &mut self.state) {
            (LinkKind::Election, State::Looking(election)) => {
                election.link_down(peer);
                election.reconsider(&mut self.common, now, out)
            }
            (LinkKind::Election, State::Learning(_) | State::Leading(_)) => Next::Stay,
            (LinkKind::Learner, State::Looking(election)) => {
                election.parked_down(link);
                Next::Stay
            }
            (LinkKind::Learner, State::Learning(learner)) => {
                if learner.link() == link && self.doomed.is_none() {
                    learner.link_down(&self.common, now)
                } else {
                    Next::Stay
                }
            }
            (LinkKind::Learner, State::Leading(leader)) => {
                leader.link_down(link, out);
                Next::Stay
            }
        }
    }

    fn message(
        &mut self,
        link: LinkId,
        message: Message,
        now: Now,
        out: &mut Vec<ZabOutput>,
    ) -> Next {
        let Some((peer, kind)) = self.common.links.end(link) else {
            return Next::Stay;
        };
        match (kind, message) {
            (
                LinkKind::Election,
                Message::Notification {
                    state,
                    vote,
                    round,
                    formation,
                },
            ) => {
                self.common.links.heard(peer, now.mono);
                self.common.formations.insert(peer, formation);
                if let State::Looking(election) = &mut self.state {
                    return election.notified(&mut self.common, peer, state, vote, round, now, out);
                }
                if state == PeerState::Looking {
                    let notification = self.notification();
                    self.common.send(link, notification, out);
                }
                Next::Stay
            }
            (LinkKind::Learner, message) => match &mut self.state {
                State::Looking(election) => {
                    election.parked_message(link, message);
                    Next::Stay
                }
                State::Learning(learner) => {
                    if learner.link() == link && self.doomed.is_none() {
                        learner.message(&mut self.common, message, now, out)
                    } else {
                        Next::Stay
                    }
                }
                State::Leading(leader) => leader.message(&mut self.common, link, message, now, out),
            },
            (LinkKind::Election, _) => {
                out.push(ZabOutput::Hangup { link });
                self.link_down(link, now, out)
            }
        }
    }

    fn timer(&mut self, now: Now, out: &mut Vec<ZabOutput>) -> Next {
        self.common.links.timer(now.mono, out);
        if self.common.links.keepalive(now.mono) {
            self.keep_links(now, out);
        }
        match &mut self.state {
            State::Looking(election) => election.timer(&mut self.common, now, out),
            State::Learning(learner) if self.doomed.is_none() => {
                learner.timer(&mut self.common, now, out)
            }
            State::Learning(_) => Next::Stay,
            State::Leading(leader) => leader.timer(&mut self.common, now, out),
        }
    }

    /// Says something on every election link and gives up those that are silent: of a
    /// server that died without a word, or came back, an old link may look well for ever.
    fn keep_links(&mut self, now: Now, out: &mut Vec<ZabOutput>) {
        for link in self.common.links.silent(now.mono) {
            out.push(ZabOutput::Event(Event::Probe(
                "silent election link given up",
            )));
            out.push(ZabOutput::Hangup { link });
            if let Some((peer, _)) = self.common.links.down(link, now.mono)
                && let State::Looking(election) = &mut self.state
            {
                election.link_down(peer);
            }
        }
        self.tell_peers(out);
    }

    fn notification(&self) -> Message {
        match &self.state {
            State::Looking(election) => election.notification(&self.common),
            State::Learning(learner) => learner.notification(&self.common),
            State::Leading(leader) => leader.notification(&self.common),
        }
    }

    /// Says the own state to everybody: after settling, and again once the epoch is known,
    /// so that joiners find agreement (ZOOKEEPER-1818) and nobody waits for a resend.
    fn tell_peers(&self, out: &mut Vec<ZabOutput>) {
        let notification = self.notification();
        for (_, link) in self.common.links.elections() {
            self.common.send(link, notification.clone(), out);
        }
    }

    fn serves_since(&self, outputs: &[ZabOutput]) -> bool {
        outputs
            .iter()
            .any(|o| matches!(o, ZabOutput::Leading { .. } | ZabOutput::Following { .. }))
    }

    fn tell_role(&mut self, out: &mut Vec<ZabOutput>) {
        let role = self.role();
        if role != self.role {
            self.role = role;
            out.push(ZabOutput::Event(Event::Role(role)));
        }
    }

    // --- what the pipeline asks ---------------------------------------------------------

    /// When [`ZabInput::Timer`] is wanted next.
    pub fn deadline(&self) -> Option<Mono> {
        if self.halted {
            return None;
        }
        let state = match &self.state {
            State::Looking(election) => election.deadline(),
            State::Learning(learner) if self.doomed.is_none() => learner.deadline(),
            State::Learning(_) => None,
            State::Leading(leader) => leader.deadline(),
        };
        earlier(state, self.common.links.deadline())
    }

    /// The zxid the next proposal will get: only on an established leader with room for
    /// one more outstanding proposal.
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.state {
            State::Leading(leader) if !self.halted => leader.next_zxid(&self.common),
            State::Leading(_) | State::Looking(_) | State::Learning(_) => None,
        }
    }

    /// Broadcasts.
    ///
    /// # Panics
    /// When [`Zab::next_zxid`] is `None`.
    pub fn propose(&mut self, now: Now, payload: Bytes, out: &mut Vec<ZabOutput>) -> Zxid {
        match &mut self.state {
            State::Leading(leader) => leader.propose(&mut self.common, payload, now, out),
            State::Looking(_) | State::Learning(_) => panic!("a proposal without leadership"),
        }
    }

    /// Asks a quorum whether it still follows. [`ZabOutput::Confirmed`] with this number or
    /// a greater one says that it did after this call; it never comes if the leadership
    /// ends.
    ///
    /// # Panics
    /// When this server does not lead.
    pub fn confirm(&mut self, out: &mut Vec<ZabOutput>) -> ConfirmId {
        match &mut self.state {
            State::Leading(leader) => leader.confirm(&self.common, out),
            State::Looking(_) | State::Learning(_) => panic!("a confirmation without leadership"),
        }
    }

    /// On a leader: committed up to here. It may run ahead of [`Zab::delivered`], which
    /// also waits for the own disk.
    ///
    /// # Panics
    /// When this server does not lead.
    pub fn committed(&self) -> Zxid {
        match &self.state {
            State::Leading(leader) => leader.committed(),
            State::Looking(_) | State::Learning(_) => panic!("commits without leadership"),
        }
    }

    /// Sends bytes to a synchronised learner, or to the leader. False when there is no such
    /// link: what was to be said is moot.
    pub fn send_app(&mut self, to: ServerId, bytes: Bytes, out: &mut Vec<ZabOutput>) -> bool {
        let link = match &self.state {
            State::Looking(_) => None,
            State::Learning(learner) => {
                (learner.leader() == to && learner.is_serving()).then(|| learner.link())
            }
            State::Leading(leader) => leader.app_link(to),
        };
        if let Some(link) = link {
            self.common.send(link, Message::App(bytes), out);
        }
        link.is_some()
    }

    /// The part played now.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Looking(_) => Role::Looking,
            State::Leading(leader) if leader.is_established() => Role::Leading {
                epoch: leader.epoch(),
            },
            State::Leading(_) => Role::Electing {
                leader: self.common.me(),
            },
            State::Learning(learner) if learner.is_serving() => {
                let (leader, epoch) = (learner.leader(), learner.epoch());
                if learner.counts() {
                    Role::Following { leader, epoch }
                } else {
                    Role::Observing { leader, epoch }
                }
            }
            State::Learning(learner) => Role::Electing {
                leader: learner.leader(),
            },
        }
    }

    /// May its votes and acknowledgements count? False for observers, and for voters that
    /// have forgotten or lost something (rows D10, D12, D15).
    pub fn is_fit(&self) -> bool {
        self.common.is_fit()
    }

    /// The last delivered zxid.
    pub fn delivered(&self) -> Zxid {
        self.common.window.delivered()
    }

    /// The last logged zxid, durable or not.
    pub fn last_logged(&self) -> Zxid {
        self.common.window.last()
    }
}
