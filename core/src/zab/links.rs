//! The links of one server: which are up, to whom, and when to dial again.
//!
//! Election links are kept up between every pair of servers. The larger id dials at once,
//! the smaller one only when that has not helped for a while: a server that came back may
//! know of no link where its neighbours still see the old one. The newest of a pair counts.
//! Each side says something now and then, and gives up a link that is silent, because a
//! link whose other end is gone may look well for ever. Learner links are only known by number here; what they mean is
//! the learner's and the leader's business. Nobody waits for anybody here: a dial that
//! hangs delays no other (ZOOKEEPER-822).

use super::{LinkKind, ZabConfig, ZabOutput};
use crate::base::{LinkId, Mono, ServerId, earlier};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum State {
    /// Not up. Dialled at the instant when it is ours to dial.
    Down {
        dial_at: Option<Mono>,
    },
    Dialling(LinkId),
    Up(LinkId),
}

#[derive(Clone, Copy, Debug)]
struct ElectionLink {
    state: State,
    wait_ms: u64,
    heard_at: Mono,
}

/// Every link of this server.
#[derive(Clone, Debug)]
pub struct Links {
    me: ServerId,
    dialled: u64,
    wait_ms: (u64, u64),
    /// Something is said on every election link each time this has passed, ms.
    keepalive_ms: u64,
    keepalive_at: Mono,
    election: BTreeMap<ServerId, ElectionLink>,
    /// The earliest instant at which an election link is to be dialled.
    dial_at: Option<Mono>,
    /// The other end of every link that is up or dialled.
    ends: BTreeMap<LinkId, (ServerId, LinkKind)>,
}

impl Links {
    /// No links; the election links that are ours to dial are due at once.
    pub fn new(config: &ZabConfig, now: Mono) -> Links {
        let wait_ms = config.redial_wait_ms;
        let election = config
            .members
            .keys()
            .filter(|peer| **peer != config.me)
            .map(|peer| {
                let patience = patience_ms(config.me, *peer, wait_ms.0);
                let dial_at = Some(now.plus_ms(patience));
                let state = State::Down { dial_at };
                (
                    *peer,
                    ElectionLink {
                        state,
                        wait_ms: wait_ms.0,
                        heard_at: now,
                    },
                )
            })
            .collect();
        let keepalive_ms = (config.init_limit * config.tick_ms / 2).max(1);
        let mut links = Links {
            me: config.me,
            dialled: 0,
            wait_ms,
            keepalive_ms,
            keepalive_at: now.plus_ms(keepalive_ms),
            election,
            dial_at: None,
            ends: BTreeMap::new(),
        };
        links.look_ahead();
        links
    }

    /// Finds the next dial; asked after every change of an election link, since deadlines
    /// are wanted far more often than links change.
    fn look_ahead(&mut self) {
        let dials = self.election.values().filter_map(|link| match link.state {
            State::Down { dial_at } => dial_at,
            State::Dialling(_) | State::Up(_) => None,
        });
        self.dial_at = dials.min();
    }

    /// Dials a learner link.
    pub fn dial(&mut self, to: ServerId, kind: LinkKind, out: &mut Vec<ZabOutput>) -> LinkId {
        self.dialled += 1;
        let link = LinkId::dialled(self.dialled);
        self.ends.insert(link, (to, kind));
        out.push(ZabOutput::Dial { link, to, kind });
        link
    }

    /// Dials every election link that is due.
    pub fn timer(&mut self, now: Mono, out: &mut Vec<ZabOutput>) {
        if self.dial_at.is_none_or(|at| at > now) {
            return;
        }
        let due: Vec<ServerId> = self
            .election
            .iter()
            .filter(
                |(_, link)| matches!(link.state, State::Down { dial_at: Some(at) } if at <= now),
            )
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            let link = self.dial(peer, LinkKind::Election, out);
            self.election.get_mut(&peer).expect("a known peer").state = State::Dialling(link);
        }
        self.look_ahead();
    }

    /// True, once per period, when something is to be said on every election link.
    pub fn keepalive(&mut self, now: Mono) -> bool {
        let due = self.keepalive_at <= now;
        if due {
            self.keepalive_at = now.plus_ms(self.keepalive_ms);
        }
        due
    }

    /// Something came on an election link.
    pub fn heard(&mut self, peer: ServerId, now: Mono) {
        if let Some(known) = self.election.get_mut(&peer) {
            known.heard_at = now;
        }
    }

    /// Election links on which nothing came for three periods.
    pub fn silent(&self, now: Mono) -> Vec<LinkId> {
        self.election
            .values()
            .filter(|known| known.heard_at.plus_ms(3 * self.keepalive_ms) <= now)
            .filter_map(|known| match known.state {
                State::Up(link) => Some(link),
                State::Dialling(_) | State::Down { .. } => None,
            })
            .collect()
    }

    /// When the next dial or keepalive is due.
    pub fn deadline(&self) -> Option<Mono> {
        let keepalive = (!self.election.is_empty()).then_some(self.keepalive_at);
        earlier(self.dial_at, keepalive)
    }

    /// A link is up. Of two election links of a pair the older is hung up.
    pub fn up(
        &mut self,
        link: LinkId,
        peer: ServerId,
        kind: LinkKind,
        now: Mono,
        out: &mut Vec<ZabOutput>,
    ) {
        self.ends.insert(link, (peer, kind));
        if kind != LinkKind::Election {
            return;
        }
        let Some(known) = self.election.get_mut(&peer) else {
            return;
        };
        let older = match known.state {
            State::Up(older) | State::Dialling(older) if older != link => Some(older),
            State::Up(_) | State::Dialling(_) | State::Down { .. } => None,
        };
        *known = ElectionLink {
            state: State::Up(link),
            wait_ms: self.wait_ms.0,
            heard_at: now,
        };
        self.look_ahead();
        if let Some(older) = older {
            self.ends.remove(&older);
            out.push(ZabOutput::Hangup { link: older });
        }
    }

    /// A link is gone. Returns who was at its other end, if it still counted.
    pub fn down(&mut self, link: LinkId, now: Mono) -> Option<(ServerId, LinkKind)> {
        let (peer, kind) = self.ends.remove(&link)?;
        if kind == LinkKind::Election
            && let Some(known) = self.election.get_mut(&peer)
        {
            let current = match known.state {
                State::Up(current) | State::Dialling(current) => current == link,
                State::Down { .. } => false,
            };
            if !current {
                return None;
            }
            let patience = patience_ms(self.me, peer, known.wait_ms);
            known.state = State::Down {
                dial_at: Some(now.plus_ms(known.wait_ms + patience)),
            };
            known.wait_ms = (known.wait_ms * 2).min(self.wait_ms.1);
            self.look_ahead();
        }
        Some((peer, kind))
    }

    /// Closes a link from this side.
    pub fn hangup(&mut self, link: LinkId, out: &mut Vec<ZabOutput>) {
        if self.ends.remove(&link).is_some() {
            out.push(ZabOutput::Hangup { link });
        }
    }

    /// Who is at the other end of a link that still counts.
    pub fn end(&self, link: LinkId) -> Option<(ServerId, LinkKind)> {
        self.ends.get(&link).copied()
    }

    /// The election link to a server, when it is up.
    pub fn election(&self, peer: ServerId) -> Option<LinkId> {
        match self.election.get(&peer)?.state {
            State::Up(link) => Some(link),
            State::Dialling(_) | State::Down { .. } => None,
        }
    }

    /// Every election link that is up.
    pub fn elections(&self) -> impl Iterator<Item = (ServerId, LinkId)> + '_ {
        self.election
            .iter()
            .filter_map(|(peer, link)| match link.state {
                State::Up(link) => Some((*peer, link)),
                State::Dialling(_) | State::Down { .. } => None,
            })
    }
}

/// How long the smaller id leaves the dialling to the larger one, ms.
fn patience_ms(me: ServerId, peer: ServerId, wait_ms: u64) -> u64 {
    if me > peer { 0 } else { 3 * wait_ms }
}
