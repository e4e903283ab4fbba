//! What a nemesis does to roads, connections and clocks.
//!
//! Faults of roads nest: each cut, clog, delay and refusal is taken back by its own
//! counterpart, so overlapping faults undo only what they did. Direction matters everywhere:
//! a road leads *from* one host *to* another.

use super::conn::{Net, Scene};
use super::disk::{Directory, DiskControl};
use super::keyed::Law;
use super::{HostId, World};
use crate::trace::Kind;

impl World {
    fn net<T>(&self, act: impl FnOnce(&mut Net, &mut Scene<'_>) -> T) -> T {
        self.inner.with(|state, scene| act(&mut state.net, scene))
    }

    /// Gives a road (one direction) a law of its own.
    pub fn set_law(&self, from: HostId, to: HostId, law: Law) {
        self.net(|net, _| net.roads.get_mut(from, to).law = law);
    }

    /// Cuts a road: nothing passes, and nobody is told. What is under way is held, and sent
    /// again some time after the last heal.
    pub fn cut(&self, from: HostId, to: HostId) {
        assert!(from != to, "{from:?} cannot be cut off from itself");
        self.net(|net, scene| net.cut(scene, from, to));
    }

    /// Cuts both directions.
    pub fn cut_both(&self, a: HostId, b: HostId) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Takes one cut of a road back.
    pub fn heal(&self, from: HostId, to: HostId) {
        self.net(|net, scene| net.heal(scene, from, to));
    }

    /// Takes one cut of each direction back.
    pub fn heal_both(&self, a: HostId, b: HostId) {
        self.heal(a, b);
        self.heal(b, a);
    }

    /// Cuts a host off from all these others, both ways.
    pub fn isolate(&self, host: HostId, from: &[HostId]) {
        for &other in from.iter().filter(|other| **other != host) {
            self.cut_both(host, other);
        }
    }

    /// Takes one [`World::isolate`] back.
    pub fn rejoin(&self, host: HostId, with: &[HostId]) {
        for &other in with.iter().filter(|other| **other != host) {
            self.heal_both(host, other);
        }
    }

    /// Holds everything on a road.
    pub fn clog(&self, from: HostId, to: HostId) {
        assert!(from != to, "{from:?} cannot be clogged to itself");
        self.net(|net, scene| net.clog(scene, from, to));
    }

    /// Takes one clog back: what was held arrives at once.
    pub fn unclog(&self, from: HostId, to: HostId) {
        self.net(|net, scene| net.unclog(scene, from, to));
    }

    /// Makes everything on a road up to `extra_ns` slower.
    pub fn delay(&self, from: HostId, to: HostId, extra_ns: u64) {
        self.net(|net, scene| net.delay(scene, from, to, extra_ns, true));
    }

    /// Takes such a delay back.
    pub fn undelay(&self, from: HostId, to: HostId, extra_ns: u64) {
        self.net(|net, scene| net.delay(scene, from, to, extra_ns, false));
    }

    /// Flips a bit in so many of a thousand chunks, on connections of corruptible ports
    /// only; 0 ends it.
    pub fn corrupt(&self, from: HostId, to: HostId, permille: u64) {
        self.net(|net, scene| net.corrupt(scene, from, to, permille));
    }

    /// Breaks every connection between two hosts: a prefix of what is under way arrives,
    /// perhaps ending in the middle of a frame; each side notices after its own delay, or
    /// only by its own timeout. Gives back how many broke.
    pub fn break_connections(&self, a: HostId, b: HostId) -> usize {
        self.net(|net, scene| net.break_between(scene, a, b))
    }

    /// Half-open: the `forgetter` loses its connections with `other`, which is told nothing
    /// and gets no answer. Gives back how many.
    pub fn forget_connections(&self, forgetter: HostId, other: HostId) -> usize {
        self.net(|net, scene| net.forget_between(scene, forgetter, other))
    }

    /// Refuses connections to a host, though it listens.
    pub fn refuse_connects(&self, host: HostId) {
        self.net(|net, scene| net.refuse(scene, host, true));
    }

    /// Takes one such refusal back.
    pub fn allow_connects(&self, host: HostId) {
        self.net(|net, scene| net.refuse(scene, host, false));
    }

    /// Takes back every fault of roads, however often it was made.
    pub fn heal_network(&self) {
        self.net(Net::heal_all);
    }

    /// Connections that exist, also half-dead ones.
    pub fn connections(&self) -> usize {
        self.net(|net, _| net.open())
    }

    /// From now on a host's clocks run so many parts per million fast (or slow). Alarms
    /// armed before ring by the old speed when that is later.
    pub fn set_drift(&self, host: HostId, ppm: i64) {
        self.inner.with(|state, scene| {
            let clock = &mut state.host_mut(host).clock;
            clock.set_drift(scene.now_ns, ppm);
            (scene.trace).text(
                scene.now_ns,
                host.0,
                Kind::Clock,
                format_args!("drift {ppm} ppm"),
            );
        });
    }

    /// Moves a host's wall clock, either way.
    pub fn jump_wall(&self, host: HostId, by_ms: i64) {
        self.inner.with(|state, scene| {
            state.host_mut(host).clock.jump_wall(by_ms);
            let text = format_args!("wall jumps {by_ms} ms");
            (scene.trace).text(scene.now_ns, host.0, Kind::Clock, text);
        });
    }

    /// A host's disk, for a nemesis and for oracles.
    pub fn disk(&self, host: HostId) -> DiskControl {
        DiskControl {
            world: self.clone(),
            host,
        }
    }

    /// The directory a host opened first, when there is one.
    pub(super) fn with_directory<T>(
        &self,
        host: HostId,
        act: impl FnOnce(&mut Directory, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        self.inner.with(|state, scene| {
            let mut mine = state.directories.iter_mut();
            let directory = mine.find(|directory| directory.host == host)?;
            Some(act(directory, scene))
        })
    }
}
