//! Listening and dialling: how a connection comes to be in the table of `conn`.
//!
//! A request is judged when it has come to the other machine: by what listens there then, not
//! when it was sent. What always holds: a request is numbered per road, so that its draws, and
//! those of its connection, hang on no other pair of hosts.

use super::HostId;
use super::alarm::{NEVER, Waiter};
use super::conn::{Conn, ConnRef, Half, Net, Scene};
use super::keyed::Key;
use crate::trace::Kind;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// Connections a listener holds before its program accepted them.
const BACKLOG_MAX: usize = 128;

/// A listener, and the connections its program has not accepted yet.
pub(super) struct Backlog {
    serial: u64,
    waiting: VecDeque<(u64, ConnRef, SocketAddr)>,
    waiter: Waiter,
}

/// What became of a request for a connection when it came to the other machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It exists; the dialler hears of it at that time.
    Connected(ConnRef, u64),
    /// The dialler hears of the refusal at that time.
    Refused(u64),
    /// Nobody answers.
    Lost,
}

/// One request for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub(super) from: HostId,
    pub(super) incarnation: u64,
    pub(super) to: HostId,
    pub(super) port: u16,
    pub(super) from_addr: SocketAddr,
    pub(super) key: Key,
}

impl Net {
    /// Binds a port (0: any free one) for the program that runs now.
    pub(super) fn listen(&mut self, host: HostId, port: u16) -> io::Result<(u16, u64)> {
        let port = match port {
            0 => self.free_port(host),
            port => port,
        };
        if self.listeners.contains_key(&(host, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let serial = self.serial();
        let backlog = Backlog {
            serial,
            waiting: VecDeque::new(),
            waiter: Waiter::default(),
        };
        self.listeners.insert((host, port), backlog);
        Ok((port, serial))
    }

    fn free_port(&mut self, host: HostId) -> u16 {
        loop {
            let port = self.machine_mut(host).take_port();
            if !self.listeners.contains_key(&(host, port)) {
                return port;
            }
        }
    }

    /// A listener was dropped: whoever waits in it is reset.
    pub(super) fn unlisten(&mut self, scene: &mut Scene<'_>, host: HostId, port: u16, serial: u64) {
        let ours = self.listeners.get(&(host, port));
        if ours.is_none_or(|backlog| backlog.serial != serial) {
            return;
        }
        let backlog = self.listeners.remove(&(host, port));
        for (_, conn, _) in backlog.into_iter().flat_map(|backlog| backlog.waiting) {
            self.drop_half(scene, conn, Half::Read);
            self.drop_half(scene, conn, Half::Write);
        }
    }

    /// Every listener of a host is gone with its program.
    pub(super) fn forget_listeners(&mut self, host: HostId) {
        self.listeners.retain(|(at, _), _| *at != host);
    }

    pub(super) fn poll_accept(
        &mut self,
        scene: &mut Scene<'_>,
        (host, port, serial): (HostId, u16, u64),
        cx: &mut Context<'_>,
    ) -> Poll<(ConnRef, SocketAddr)> {
        let ours = self.listeners.get_mut(&(host, port));
        let Some(backlog) = ours.filter(|backlog| backlog.serial == serial) else {
            return Poll::Pending;
        };
        match backlog.waiting.front() {
            Some((ready_ns, ..)) if *ready_ns > scene.now_ns => {
                let at_ns = *ready_ns;
                (backlog.waiter).wait(scene.alarms, cx, scene.now_ns, at_ns);
                Poll::Pending
            }
            Some(_) => {
                let (_, conn, from) = backlog.waiting.pop_front().expect("it was just seen");
                Poll::Ready((conn, from))
            }
            None => {
                (backlog.waiter).wait(scene.alarms, cx, scene.now_ns, NEVER);
                Poll::Pending
            }
        }
    }

    /// Numbers and names a request for a connection.
    pub(super) fn dial(&mut self, from: HostId, to: HostId, from_ip: SocketAddr) -> Dial {
        let road = self.roads.get_mut(from, to);
        road.dials += 1;
        let nth = road.dials;
        let key = (self.key)
            .and(from.index() as u64)
            .and(to.index() as u64)
            .and(nth);
        let machine = self.machine_mut(from);
        Dial {
            from,
            incarnation: machine.incarnation,
            to,
            port: 0,
            from_addr: SocketAddr::new(from_ip.ip(), machine.take_port()),
            key,
        }
    }

    /// A request for a connection has come to the other machine.
    pub(super) fn arrive(&mut self, scene: &mut Scene<'_>, dial: &Dial) -> Verdict {
        let now_ns = scene.now_ns;
        let there = *self.machine(dial.to);
        let back = self.roads.latency(dial.to, dial.from, dial.key.and(2));
        let Some(back_ns) = back else {
            return Verdict::Lost;
        };
        if self.roads.is_blocked(dial.from, dial.to) || !there.powered {
            return Verdict::Lost;
        }
        let at_ns = now_ns + back_ns;
        let numbers = [dial.to.index() as u64, dial.port.into(), at_ns];
        let listening = self.listeners.contains_key(&(dial.to, dial.port));
        if !listening || there.refusals > 0 {
            (scene.trace).numbers(now_ns, dial.from.0, Kind::Refuse, numbers);
            return Verdict::Refused(at_ns);
        }
        let conn = self.connect(dial, there.incarnation);
        let backlog = (self.listeners).get_mut(&(dial.to, dial.port));
        let backlog = backlog.expect("it was just seen");
        if backlog.waiting.len() >= BACKLOG_MAX {
            self.remove(conn.slot);
            return Verdict::Lost;
        }
        let accepted = ConnRef { side: 1, ..conn };
        // Roads differ, so what was asked for later may be ready earlier.
        let place = (backlog.waiting).partition_point(|(ready_ns, ..)| *ready_ns <= at_ns);
        (backlog.waiting).insert(place, (at_ns, accepted, dial.from_addr));
        (backlog.waiter).ring_at(scene.alarms, now_ns, at_ns);
        (scene.trace).numbers(now_ns, dial.from.0, Kind::Connect, numbers);
        Verdict::Connected(conn, at_ns)
    }

    fn connect(&mut self, dial: &Dial, incarnation_there: u64) -> ConnRef {
        let serial = self.serial();
        let window = self.config.window_bytes as usize;
        let conn = Conn::new(serial, dial, incarnation_there, window);
        let slot = self.insert(conn);
        ConnRef {
            slot,
            serial,
            side: 0,
        }
    }
}
