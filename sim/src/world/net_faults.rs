//! What can happen to roads, connections and machines.
//!
//! What always holds: a cut tells neither side anything; a break delivers a prefix of what was
//! on its way and each side notices after its own delay, or never by itself; nothing here
//! reorders or repeats bytes of a connection. Answers to section 3 of the fault model.

use super::HostId;
use super::conn::{Conn, End, Net, Scene};
use super::road::purpose;
use crate::trace::Kind;

/// Of four sides of broken connections one does not notice by itself.
const UNNOTICED_IN: u64 = 4;

/// How a program or its machine ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// The kernel says goodbye for it: what was written arrives, then the end.
    Closes,
    /// Nothing is said; whoever writes gets a reset.
    Resets,
    /// The machine is gone: nothing is said, nothing is answered.
    Silent,
}

impl Net {
    /// Blocks a road: what has not arrived is held.
    pub(super) fn cut(&mut self, scene: &mut Scene<'_>, from: HostId, to: HostId) {
        let now_ns = scene.now_ns;
        let road = self.roads.get_mut(from, to);
        let was_blocked = road.is_blocked();
        if road.cuts == 0 {
            road.cut_since_ns = now_ns;
        }
        road.cuts += 1;
        if !was_blocked {
            self.hold(now_ns, from, to);
        }
        self.tell(scene, from, to, format_args!("cut"));
    }

    /// Takes one cut back. Without any there is nothing to heal.
    pub(super) fn heal(&mut self, scene: &mut Scene<'_>, from: HostId, to: HostId) {
        let road = self.roads.get_mut(from, to);
        if road.cuts == 0 {
            return;
        }
        road.cuts -= 1;
        let cut_ns = scene.now_ns - road.cut_since_ns;
        self.tell(scene, from, to, format_args!("heal"));
        let again_ns = self.config.retransmit_ns_max.min(cut_ns);
        self.release(scene, from, to, again_ns);
    }

    /// Holds everything on a road until it is unclogged.
    pub(super) fn clog(&mut self, scene: &mut Scene<'_>, from: HostId, to: HostId) {
        let road = self.roads.get_mut(from, to);
        let was_blocked = road.is_blocked();
        road.clogs += 1;
        if !was_blocked {
            self.hold(scene.now_ns, from, to);
        }
        self.tell(scene, from, to, format_args!("clog"));
    }

    /// Takes one clog back: all that was held comes at once.
    pub(super) fn unclog(&mut self, scene: &mut Scene<'_>, from: HostId, to: HostId) {
        let road = self.roads.get_mut(from, to);
        if road.clogs == 0 {
            return;
        }
        road.clogs -= 1;
        self.tell(scene, from, to, format_args!("unclog"));
        self.release(scene, from, to, 0);
    }

    /// Takes back every cut, clog, delay, corruption and refusal.
    pub(super) fn heal_all(&mut self, scene: &mut Scene<'_>) {
        let hosts: Vec<HostId> = (0..self.machines.len()).map(HostId::at).collect();
        for &from in &hosts {
            self.machine_mut(from).refusals = 0;
            for &to in &hosts {
                let road = self.roads.get_mut(from, to);
                road.extra_ns = 0;
                road.corrupt_permille = 0;
                road.cuts = road.cuts.min(1);
                road.clogs = road.clogs.min(1);
                self.heal(scene, from, to);
                self.unclog(scene, from, to);
            }
        }
    }

    fn hold(&mut self, now_ns: u64, from: HostId, to: HostId) {
        for conn in self.conns.iter_mut().flatten() {
            if let Some(side) = conn.side_towards(from, to) {
                conn.pipes[side].hold(now_ns);
            }
        }
    }

    fn release(&mut self, scene: &mut Scene<'_>, from: HostId, to: HostId, again_ns: u64) {
        if self.roads.is_blocked(from, to) {
            return;
        }
        let roads = &self.roads;
        let (alarms, now_ns) = (scene.alarms, scene.now_ns);
        for conn in self.conns.iter_mut().flatten() {
            let Some(side) = conn.side_towards(from, to) else {
                continue;
            };
            let key = conn.pipes[side].key.and(now_ns);
            let wait_ns = key.and(purpose::RETRANSMIT).upto(again_ns);
            conn.pipes[side].release(alarms, now_ns, |nth| {
                wait_ns + roads.latency_when_free(from, to, key.and(nth))
            });
            // The road carries acknowledgements of what goes the other way, too.
            let ack_ns = roads.ack_latency(from, to);
            conn.pipes[1 - side].acknowledge(alarms, now_ns, 0, ack_ns);
            for owed in 0..2 {
                if conn.sides[owed].owes_reset {
                    conn.owe_reset(scene, roads, owed, wait_ns);
                }
            }
        }
    }

    /// Makes a road slower by up to `extra_ns`, on top of delays at work already.
    pub(super) fn delay(
        &mut self,
        scene: &mut Scene<'_>,
        from: HostId,
        to: HostId,
        extra_ns: u64,
        begins: bool,
    ) {
        let road = self.roads.get_mut(from, to);
        road.extra_ns = match begins {
            true => road.extra_ns.saturating_add(extra_ns),
            false => road.extra_ns.saturating_sub(extra_ns),
        };
        let sum_ns = road.extra_ns;
        self.tell(scene, from, to, format_args!("delay {sum_ns} ns"));
    }

    /// Flips a bit in so many of a thousand chunks on a road.
    pub(super) fn corrupt(
        &mut self,
        scene: &mut Scene<'_>,
        from: HostId,
        to: HostId,
        permille: u64,
    ) {
        self.roads.get_mut(from, to).corrupt_permille = permille;
        self.tell(scene, from, to, format_args!("corrupt {permille} permille"));
    }

    /// Breaks every connection between two hosts. Gives back how many.
    pub(super) fn break_between(&mut self, scene: &mut Scene<'_>, a: HostId, b: HostId) -> usize {
        let notice_ns = self.config.notice_ns_max;
        let mut broken = 0;
        for conn in self.conns.iter_mut().flatten() {
            if !conn.is_between(a, b) || conn.sides.iter().any(|side| side.end != End::Open) {
                continue;
            }
            broken += 1;
            for side in 0..2 {
                let key = conn.pipes[side].key.and(scene.now_ns);
                let keep = key
                    .and(purpose::PREFIX)
                    .upto(conn.pipes[side].unread() as u64);
                conn.pipes[side].sever(keep as usize);
                let notices = key.and(purpose::NOTICE);
                if notices.below(UNNOTICED_IN) > 0 {
                    let at_ns = scene.now_ns + notices.and(1).upto(notice_ns);
                    conn.breaks_at(scene, side, at_ns);
                }
            }
        }
        self.tell(scene, a, b, format_args!("break {broken} connections"));
        broken
    }

    /// The `forgetter` loses its connections with `other` at once; `other` is told nothing,
    /// and nothing it sends is answered. Gives back how many.
    pub(super) fn forget_between(
        &mut self,
        scene: &mut Scene<'_>,
        forgetter: HostId,
        other: HostId,
    ) -> usize {
        let mut forgotten = 0;
        for conn in self.conns.iter_mut().flatten() {
            if !conn.is_between(forgetter, other)
                || conn.sides.iter().any(|side| side.end != End::Open)
            {
                continue;
            }
            let Some(side) = conn.side_on(forgetter) else {
                continue;
            };
            forgotten += 1;
            conn.forgotten = true;
            conn.pipes[1 - side].sever(0);
            let unread = conn.pipes[side].unread();
            conn.pipes[side].sever(unread);
            conn.breaks_at(scene, side, scene.now_ns);
        }
        let told = format_args!("forget {forgotten} connections");
        self.tell(scene, forgetter, other, told);
        forgotten
    }

    /// Connections to a host are refused, or (one refusal less) not any more.
    pub(super) fn refuse(&mut self, scene: &mut Scene<'_>, host: HostId, begins: bool) {
        let machine = self.machine_mut(host);
        machine.refusals = match begins {
            true => machine.refusals + 1,
            false => machine.refusals.saturating_sub(1),
        };
        let refusals = machine.refusals;
        self.tell(scene, host, host, format_args!("refuse {refusals}"));
    }

    /// The program of a host is no more.
    pub(super) fn host_died(&mut self, scene: &mut Scene<'_>, host: HostId, farewell: Farewell) {
        let machine = self.machine_mut(host);
        machine.up = false;
        if farewell == Farewell::Silent {
            machine.powered = false;
        }
        self.forget_listeners(host);
        for slot in 0..self.conns.len() {
            let Some(conn) = &mut self.conns[slot] else {
                continue;
            };
            for side in 0..2 {
                if conn.sides[side].host == host {
                    conn.side_died(scene, &self.roads, side, farewell);
                }
            }
            self.free_if_done(slot);
        }
    }

    /// A program of a host starts; what the machine knew of connections is forgotten, so
    /// whoever waits for an acknowledgement from it is reset when it asks again.
    pub(super) fn host_started(&mut self, scene: &mut Scene<'_>, host: HostId) -> u64 {
        let again_ns = self.config.retransmit_ns_max;
        let machine = self.machine_mut(host);
        let was_powered = machine.powered;
        machine.powered = true;
        machine.up = true;
        machine.incarnation += 1;
        let incarnation = machine.incarnation;
        if was_powered {
            return incarnation;
        }
        for conn in self.conns.iter_mut().flatten() {
            for side in 0..2 {
                let far = &conn.sides[1 - side];
                let lost = far.host == host && far.end == End::Lost;
                if lost && conn.sides[side].end == End::Open && conn.pipes[side].awaits_ack() {
                    let key = conn.pipes[side].key.and(scene.now_ns);
                    let wait_ns = key.and(purpose::RETRANSMIT).upto(again_ns);
                    conn.owe_reset(scene, &self.roads, side, wait_ns);
                }
            }
        }
        incarnation
    }

    fn tell(&self, scene: &mut Scene<'_>, from: HostId, to: HostId, what: std::fmt::Arguments<'_>) {
        let text = format_args!("{what} {} to {}", from.0, to.0);
        (scene.trace).text(scene.now_ns, from.0, Kind::Network, text);
    }
}

impl Conn {
    /// The side that writes from one host to the other; none for a host that talks to itself,
    /// whose road is never blocked.
    fn side_towards(&self, from: HostId, to: HostId) -> Option<usize> {
        (0..2).find(|side| self.sides[*side].host == from && self.sides[1 - side].host == to)
    }

    fn side_died(
        &mut self,
        scene: &mut Scene<'_>,
        roads: &super::road::Roads,
        side: usize,
        farewell: Farewell,
    ) {
        if self.sides[side].end != End::Open {
            if self.sides[side].end == End::Dead && farewell == Farewell::Silent {
                self.sides[side].end = End::Lost;
            }
            return;
        }
        self.pipes[1 - side].reader.forget();
        self.pipes[side].writer.forget();
        match farewell {
            Farewell::Closes => {
                self.shut(scene, roads, side);
                self.sides[side].end = End::Dead;
                if self.pipes[1 - side].holds_bytes() {
                    self.owe_reset(scene, roads, 1 - side, 0);
                }
            }
            Farewell::Resets => self.sides[side].end = End::Dead,
            Farewell::Silent => {
                self.sides[side].end = End::Lost;
                let arrived = self.pipes[side].arrived(scene.now_ns);
                let missing = self.pipes[side].unread() - arrived;
                let key = self.pipes[side].key.and(scene.now_ns);
                let more = key.and(purpose::PREFIX).upto(missing as u64);
                self.pipes[side].sever(arrived + more as usize);
            }
        }
    }
}
