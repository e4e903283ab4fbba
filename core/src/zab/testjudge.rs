//! What must be true in every world, checked at the moment something is said or done.
//!
//! | property | TLA+ name |
//! |---|---|
//! | an epoch is established once | Leadership1, Leadership2 |
//! | delivered sequences are prefixes of one order | PrefixConsistency, TotalOrder, Agreement |
//! | what is delivered was broadcast by a leader, as it is | Integrity |
//! | a quorum holds the history of an epoch that is established | (Zab 4.2) |
//! | a quorum holds what is delivered | (commit rule) |
//! | an epoch is promised once by each server | (Zab 2.1) |
//! | an established epoch's history holds what was delivered of all before it | PrimaryIntegrity |
//! | what is acknowledged, promised or voted upon is durable | (durable ack) |
//! | a confirmation says that no later epoch was established when it was asked for | (sync) |

use super::message::Message;
use super::testworld::{Disk, Server, last_of};
use super::{ConfirmId, ZabOutput};
use crate::base::event::Event;
use crate::base::{Epoch, ServerId, Zxid};
use crate::log::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// What has been seen so far.
#[derive(Default)]
pub struct Judge {
    proposed: BTreeMap<Zxid, u32>,
    /// The one order, as far as anybody has delivered.
    pub order: Vec<(Zxid, u32)>,
    pub established: BTreeMap<Epoch, (ServerId, Vec<(Zxid, u32)>)>,
    /// Questions not yet answered: the highest epoch established when they were asked.
    asked: BTreeMap<(ServerId, ConfirmId), Epoch>,
    leads: BTreeMap<ServerId, Epoch>,
    promised: BTreeSet<(ServerId, Epoch)>,
    /// Servers that were hurt once: what they held is no longer on their disks.
    pub hurt: BTreeSet<ServerId>,
    pub probes: BTreeMap<&'static str, u32>,
}

type Servers = BTreeMap<ServerId, Server>;

fn facts(entries: &[Entry]) -> Vec<(Zxid, u32)> {
    let fact = |entry: &Entry| (entry.zxid, crc32fast::hash(&entry.payload));
    entries.iter().map(fact).collect()
}

impl Judge {
    /// A leader asks for a confirmation.
    pub fn asked(&mut self, id: ServerId, round: ConfirmId) {
        let highest = self.established.keys().max().copied().unwrap_or_default();
        self.asked.insert((id, round), highest);
    }

    /// Its questions will not be answered.
    pub fn crashed(&mut self, id: ServerId) {
        self.asked.retain(|(server, _), _| *server != id);
        self.leads.remove(&id);
    }

    /// A snapshot replaced a server's state.
    pub fn installed(&mut self, id: ServerId, state: &[Entry]) {
        let state = facts(state);
        assert!(
            self.order.starts_with(&state),
            "s{id} was given a state that is no prefix of the order"
        );
    }

    /// A server is about to do or say this.
    pub fn saw(&mut self, id: ServerId, output: &ZabOutput, all: &Servers, voters: usize) {
        let server = &all[&id];
        match output {
            ZabOutput::Event(event) => self.event(id, event, all, voters),
            ZabOutput::Deliver(entry) => {
                let holders = self.count(all, voters, |disk| disk.holds(entry.zxid));
                assert!(
                    holders > voters / 2,
                    "{:?} is delivered without a quorum",
                    entry.zxid
                );
                self.delivered(id, entry, server);
            }
            ZabOutput::Send { message, .. } => {
                said(id, message, server);
                self.promise(id, message, server);
            }
            ZabOutput::Following { epoch, .. } => {
                let (_, history) = &self.established[epoch];
                assert!(
                    server.state.len() >= history.len(),
                    "s{id} serves an older state"
                );
            }
            ZabOutput::Confirmed(round) => self.confirmed(id, *round),
            ZabOutput::Looking => self.crashed(id),
            ZabOutput::Leading { epoch } => {
                self.leads.insert(id, *epoch);
            }
            _ => {}
        }
    }

    /// Voters of which this is true, or may have been before they were hurt.
    fn count(&self, all: &Servers, voters: usize, holds: impl Fn(&Disk) -> bool) -> usize {
        let voters = all.iter().take(voters);
        voters
            .filter(|(id, server)| self.hurt.contains(id) || holds(&server.disk))
            .count()
    }

    fn promise(&mut self, id: ServerId, message: &Message, server: &Server) {
        if let Message::AckEpoch { promised: true, .. } = message {
            let epoch = server.disk.epochs.unwrap_or_default().accepted;
            let first = self.promised.insert((id, epoch));
            assert!(
                first || self.hurt.contains(&id),
                "s{id} promises {epoch:?} again"
            );
        }
    }

    fn event(&mut self, id: ServerId, event: &Event, all: &Servers, voters: usize) {
        let server = &all[&id];
        match event {
            Event::Proposed { zxid, hash } => {
                assert_eq!(self.proposed.insert(*zxid, *hash), None, "{zxid:?} twice");
            }
            Event::Acked { zxid } => {
                let durable = server.disk.durable_last();
                assert!(
                    *zxid <= durable,
                    "s{id} acks {zxid:?}, durable is {durable:?}"
                );
            }
            Event::Established {
                epoch,
                history_last,
            } => {
                let history = facts(&server.disk.logged());
                let last = history.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                assert_eq!(last, *history_last, "s{id} names its history's end");
                let holders = self.count(all, voters, |disk| {
                    let current = disk.epochs.unwrap_or_default().current;
                    current > *epoch || (current == *epoch && disk.holds(last))
                });
                assert!(
                    holders > voters / 2,
                    "s{id} establishes {epoch:?} without a quorum"
                );
                let before = self
                    .order
                    .partition_point(|(zxid, _)| zxid.epoch() < *epoch);
                assert!(
                    history.starts_with(&self.order[..before]),
                    "s{id} establishes {epoch:?} without delivered entries"
                );
                let first = self.established.insert(*epoch, (id, history));
                assert!(first.is_none(), "{epoch:?} was established twice");
            }
            Event::Probe(probe) => *self.probes.entry(probe).or_default() += 1,
            _ => {}
        }
    }

    fn delivered(&mut self, id: ServerId, entry: &Entry, server: &Server) {
        let (zxid, at) = (entry.zxid, server.state.len());
        let fact = (zxid, crc32fast::hash(&entry.payload));
        assert_eq!(
            self.proposed.get(&zxid),
            Some(&fact.1),
            "s{id} delivers {zxid:?}, which nobody broadcast so"
        );
        if let Some(known) = self.order.get(at) {
            assert_eq!(*known, fact, "s{id} delivers another entry at {at}");
            return;
        }
        assert_eq!(at, self.order.len(), "s{id} leaves entries out");
        assert!(last_of(&server.state) < zxid, "s{id} delivers out of order");
        for (epoch, (leader, history)) in &self.established {
            assert!(
                *epoch <= zxid.epoch() || history.get(at) == Some(&fact),
                "s{id} delivers {zxid:?}, which s{leader} did not have when it established {epoch:?}"
            );
        }
        self.order.push(fact);
    }

    fn confirmed(&mut self, id: ServerId, round: ConfirmId) {
        let epoch = self.leads[&id];
        let answered = self.asked.range((id, ConfirmId(0))..=(id, round));
        let answered: Vec<_> = answered.map(|(key, highest)| (*key, *highest)).collect();
        for (key, highest) in answered {
            assert!(
                highest <= epoch,
                "s{id} of {epoch:?} is confirmed, {highest:?} was there"
            );
            self.asked.remove(&key);
        }
    }
}

/// What is said must rest on what is durable.
fn said(id: ServerId, message: &Message, server: &Server) {
    let disk = &server.disk;
    let epochs = disk.epochs.unwrap_or_default();
    let durable = disk.durable_last();
    match message {
        Message::Notification {
            vote: Some(vote),
            state,
            ..
        } => {
            let own_vote = vote.leader == id && *state == super::message::PeerState::Looking;
            assert!(
                !own_vote || vote.zxid <= durable,
                "s{id} votes on what is not durable"
            );
            assert!(
                !own_vote || vote.epoch <= epochs.current,
                "s{id} votes on an epoch to come"
            );
        }
        Message::LeaderInfo { epoch } => {
            assert!(
                epochs.accepted >= *epoch,
                "s{id} proposes an epoch it has not accepted"
            );
        }
        Message::AckEpoch {
            history, current, ..
        } => {
            let last = history.iter().max().copied().unwrap_or_default();
            assert!(last <= durable, "s{id} tells a history that is not durable");
            assert!(
                *current <= epochs.current,
                "s{id} tells an epoch that is not durable"
            );
        }
        Message::AckNewLeader { epoch } => {
            assert_eq!(
                epochs.current, *epoch,
                "s{id} acks an epoch that is not durable"
            );
            assert!(
                epochs.accepted >= *epoch,
                "s{id} acks an epoch it has not accepted"
            );
        }
        Message::Ack { zxid } => {
            assert!(
                *zxid <= durable,
                "s{id} acks {zxid:?}, durable is {durable:?}"
            );
        }
        _ => {}
    }
}
