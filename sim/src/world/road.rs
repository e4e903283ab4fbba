//! The roads between hosts: latency laws, and what is wrong with each direction of each.
//!
//! What always holds: faults nest. Two cuts of a road need two heals, so that overlapping
//! faults of a plan undo only what they did themselves.

use super::HostId;
use super::keyed::{Key, Law};

/// Names the draws of one chunk beside its latency.
pub(super) mod purpose {
    pub(in crate::world) const EXTRA: u64 = 101;
    pub(in crate::world) const RETRANSMIT: u64 = 102;
    pub(in crate::world) const RESET: u64 = 103;
    pub(in crate::world) const SHORT: u64 = 104;
    pub(in crate::world) const CORRUPT: u64 = 105;
    pub(in crate::world) const PREFIX: u64 = 106;
    pub(in crate::world) const NOTICE: u64 = 107;
    pub(in crate::world) const FIN: u64 = 108;
}

/// How the network of a world behaves when nothing is wrong, and how connections end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetConfig {
    /// Latency of every road that has no law of its own.
    pub law: Law,
    /// Latency of a host to itself.
    pub loopback: Law,
    /// Bytes on their way or unread in one direction of a connection before its writer must
    /// wait; at least 1.
    pub window_bytes: u64,
    /// How many in a thousand writes take only a part of what they are given.
    pub short_write_permille: u64,
    /// How late an end notices that its connection broke, at most. Some never do.
    pub notice_ns_max: u64,
    /// How long after a heal the bytes that were held are sent again, at most; never longer
    /// than the cut itself lasted.
    pub retransmit_ns_max: u64,
    /// First and last port whose connections may be given corrupted bytes: ports of the
    /// servers' own checksummed wire, and none of clients.
    pub corruptible_ports: (u16, u16),
}

impl Default for NetConfig {
    fn default() -> NetConfig {
        NetConfig {
            law: Law::us(100, 400),
            loopback: Law::us(5, 5),
            window_bytes: 256 * 1024,
            short_write_permille: 0,
            notice_ns_max: 2_000_000_000,
            retransmit_ns_max: 500_000_000,
            corruptible_ports: (0, 0),
        }
    }
}

/// One direction of a road.
#[derive(Clone, Copy, Debug)]
pub(super) struct Road {
    pub(super) law: Law,
    pub(super) cuts: u32,
    pub(super) clogs: u32,
    /// When the first of the cuts at work was made.
    pub(super) cut_since_ns: u64,
    /// Sum of the delays at work; each message draws its own share.
    pub(super) extra_ns: u64,
    pub(super) corrupt_permille: u64,
    /// Connections asked for in this direction so far.
    pub(super) dials: u64,
}

impl Road {
    fn new(law: Law) -> Road {
        Road {
            law,
            cuts: 0,
            clogs: 0,
            cut_since_ns: 0,
            extra_ns: 0,
            corrupt_permille: 0,
            dials: 0,
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.cuts > 0 || self.clogs > 0
    }

    fn latency(&self, key: Key) -> u64 {
        let extra = match self.extra_ns {
            0 => 0,
            most => key.and(purpose::EXTRA).upto(most),
        };
        self.law.draw(key) + extra
    }
}

/// Every road, by its two ends.
pub(super) struct Roads {
    from_to: Vec<Vec<Road>>,
    law: Law,
    loopback: Law,
}

impl Roads {
    pub(super) fn new(config: &NetConfig) -> Roads {
        Roads {
            from_to: Vec::new(),
            law: config.law,
            loopback: config.loopback,
        }
    }

    /// Roads to and from one host more.
    pub(super) fn add_host(&mut self) {
        for roads in &mut self.from_to {
            roads.push(Road::new(self.law));
        }
        let hosts = self.from_to.len() + 1;
        let mut roads = vec![Road::new(self.law); hosts];
        roads[hosts - 1] = Road::new(self.loopback);
        self.from_to.push(roads);
    }

    pub(super) fn get(&self, from: HostId, to: HostId) -> &Road {
        &self.from_to[from.index()][to.index()]
    }

    pub(super) fn get_mut(&mut self, from: HostId, to: HostId) -> &mut Road {
        &mut self.from_to[from.index()][to.index()]
    }

    pub(super) fn is_blocked(&self, from: HostId, to: HostId) -> bool {
        self.get(from, to).is_blocked()
    }

    /// How long what is named `key` takes; `None` while the road is blocked.
    pub(super) fn latency(&self, from: HostId, to: HostId, key: Key) -> Option<u64> {
        let road = self.get(from, to);
        (!road.is_blocked()).then(|| road.latency(key))
    }

    /// The same, whatever blocks the road.
    pub(super) fn latency_when_free(&self, from: HostId, to: HostId, key: Key) -> u64 {
        self.get(from, to).latency(key)
    }

    /// The least an acknowledgement takes; `None` while the road is blocked.
    pub(super) fn ack_latency(&self, from: HostId, to: HostId) -> Option<u64> {
        let road = self.get(from, to);
        (!road.is_blocked()).then_some(road.law.base_ns)
    }
}
