//! Steering a [`World`]: what can happen next, letting all of it happen, letting time pass.

use super::ZabInput;
use super::testworld::World;
use crate::base::event::Role;
use crate::base::{LinkId, Mono, ServerId};

impl World {
    /// Ends of wires of a server at which something can happen.
    pub fn ready(&self, id: ServerId) -> Vec<LinkId> {
        let ends = self.servers[&id].ends.iter();
        let open = |peer| !self.cuts.contains(&(id, peer));
        ends.filter(|(_, end)| open(end.peer) && (end.dialling || !end.inbox.is_empty()))
            .map(|(link, _)| *link)
            .collect()
    }

    pub fn network_at(&mut self, id: ServerId, link: LinkId) {
        if self.servers[&id].ends[&link].dialling {
            self.connect(id, link);
        } else {
            self.receive(id, link);
        }
    }

    pub fn deadline(&self, id: ServerId) -> Option<Mono> {
        self.servers[&id].zab.as_ref()?.deadline()
    }

    /// Everything that can happen without time happens.
    pub fn settle(&mut self) {
        for round in 0.. {
            let mut quiet = true;
            for id in self.ids() {
                for link in self.ready(id) {
                    quiet = false;
                    if self.ready(id).contains(&link) {
                        self.network_at(id, link);
                    }
                }
                if let Some(input) = self.server(id).local.pop_front() {
                    quiet = false;
                    self.step(id, input);
                }
                let disk = &self.servers[&id].disk;
                if self.held.contains(&id) || self.servers[&id].zab.is_none() {
                    continue;
                }
                quiet &= disk.ops.is_empty() && disk.saves.is_empty();
                self.finish_save(id);
                self.finish_ops(id, 3);
            }
            if quiet {
                return;
            }
            assert!(round < 20_000, "a storm: no end of messages without time");
        }
    }

    /// Lets time pass until `done`, at most `ms`.
    pub fn until(&mut self, ms: u64, what: &str, done: impl Fn(&World) -> bool) {
        let end = self.now.plus_ms(ms);
        loop {
            self.settle();
            if done(self) {
                return;
            }
            let next = self.ids().into_iter();
            let next = next.filter_map(|id| self.deadline(id)).min();
            let next = next.expect("somebody always waits for something");
            assert!(next <= end, "not in {ms} ms: {what}: {}", self.roles());
            self.now = self.now.max(next);
            for id in self.ids() {
                if self.deadline(id).is_some_and(|at| at <= self.now) {
                    self.step(id, ZabInput::Timer);
                }
            }
        }
    }

    pub fn leader(&self) -> Option<ServerId> {
        let leads = |id: &ServerId| {
            let zab = self.servers[id].zab.as_ref();
            zab.is_some_and(|zab| matches!(zab.role(), Role::Leading { .. }))
        };
        self.ids().into_iter().find(leads)
    }

    /// One leads, and all the others that are up serve under it.
    pub fn is_serving(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        self.servers.iter().all(|(id, server)| {
            let role = server.zab.as_ref().map(super::Zab::role);
            match role {
                Some(Role::Leading { .. }) => *id == leader,
                Some(Role::Following { leader: l, .. } | Role::Observing { leader: l, .. }) => {
                    l == leader && server.serving
                }
                None => true,
                Some(_) => false,
            }
        })
    }

    pub fn roles(&self) -> String {
        let role = |(id, server): (&ServerId, &super::testworld::Server)| {
            format!("s{id} {:?}", server.zab.as_ref().map(super::Zab::role))
        };
        self.servers.iter().map(role).collect::<Vec<_>>().join(", ")
    }

    /// Forgets the voters that are fit again.
    pub fn note_healed(&self, hurt: &mut Vec<ServerId>) {
        hurt.retain(|id| {
            let server = &self.servers[id];
            !server.zab.as_ref().is_some_and(super::Zab::is_fit)
        });
    }

    /// Lets so much time pass.
    pub fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        loop {
            self.settle();
            let due = self
                .ids()
                .into_iter()
                .filter_map(|id| self.deadline(id))
                .min();
            match due.filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            for id in self.ids() {
                if self.deadline(id).is_some_and(|at| at <= self.now) {
                    self.step(id, ZabInput::Timer);
                }
            }
        }
        self.now = end;
    }
}
