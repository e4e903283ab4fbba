//! Connections and listeners: every one that exists, in one table.
//!
//! A connection is two pipes and two sides. A side is open, was closed by its program, or
//! lost its program; the other side finds out by what comes through its pipe or by a reset
//! in answer to something it wrote, and otherwise not at all: the network tells nobody that
//! it was cut.
//!
//! What always holds: a reference names a connection by slot and serial number, so nothing of
//! an old connection reaches a new one; a side whose host lives on under another incarnation
//! neither reads nor writes; a connection both sides are done with is freed.

use super::HostId;
use super::alarm::{Alarms, NEVER};
use super::dial::{Backlog, Dial};
use super::keyed::Key;
use super::pipe::{Found, Pipe};
use super::road::{NetConfig, Roads, purpose};
use crate::trace::{Kind, Trace};
use std::collections::BTreeMap;
use std::io;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// What a dead program's machine answers to bytes for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It is alive: bytes go on their way.
    Take,
    /// A reset, once the bytes have come there.
    Reset,
    /// Nothing.
    Silence,
}

/// How a side stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Its program has it.
    Open,
    /// Its program dropped it.
    Closed,
    /// Its program is dead, the machine goes on and resets what comes.
    Dead,
    /// The machine is gone; when it runs again it resets what comes.
    Lost,
}

pub(super) struct Side {
    pub(super) host: HostId,
    incarnation: u64,
    has_read: bool,
    has_write: bool,
    pub(super) end: End,
    /// From then on this side knows that its connection is no more.
    pub(super) broken_ns: u64,
    /// A reset is due, once both roads are free.
    pub(super) owes_reset: bool,
}

impl Side {
    fn new(host: HostId, incarnation: u64) -> Side {
        Side {
            host,
            incarnation,
            has_read: true,
            has_write: true,
            end: End::Open,
            broken_ns: NEVER,
            owes_reset: false,
        }
    }
}

/// Side 0 dialled, side 1 accepted; pipe `i` carries what side `i` writes.
pub(super) struct Conn {
    pub(super) serial: u64,
    pub(super) sides: [Side; 2],
    pub(super) pipes: [Pipe; 2],
    /// The port it was dialled at.
    port: u16,
    /// One side lost it without a word, and its machine stays silent.
    pub(super) forgotten: bool,
}

/// A side of a connection, as its program holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ConnRef {
    pub(super) slot: usize,
    pub(super) serial: u64,
    pub(super) side: usize,
}

/// Half of a side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    Read,
    Write,
}

/// Whether a machine runs, and the number of its program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Machine {
    pub(super) incarnation: u64,
    pub(super) up: bool,
    pub(super) powered: bool,
    /// Faults at work that refuse connections to it.
    pub(super) refusals: u32,
    next_port: u16,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            incarnation: 0,
            up: false,
            powered: false,
            refusals: 0,
            next_port: 32_768,
        }
    }

    /// True for the program that runs now.
    pub(super) fn runs(&self, incarnation: u64) -> bool {
        self.up && self.incarnation == incarnation
    }

    pub(super) fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == u16::MAX { 32_768 } else { port + 1 };
        port
    }
}

/// Time and trace, as every operation needs them.
pub(super) struct Scene<'a> {
    pub(super) alarms: &'a Alarms,
    pub(super) now_ns: u64,
    pub(super) trace: &'a mut Trace,
}

/// The network: machines as it sees them, roads, listeners, connections.
pub(super) struct Net {
    pub(super) config: NetConfig,
    pub(super) key: Key,
    pub(super) machines: Vec<Machine>,
    pub(super) roads: Roads,
    pub(super) conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    pub(super) listeners: BTreeMap<(HostId, u16), Backlog>,
    serials: u64,
}

impl Net {
    pub(super) fn new(config: NetConfig, key: Key) -> Net {
        assert!(config.window_bytes > 0, "a window lets one byte through");
        Net {
            config,
            key,
            machines: Vec::new(),
            roads: Roads::new(&config),
            conns: Vec::new(),
            free: Vec::new(),
            listeners: BTreeMap::new(),
            serials: 0,
        }
    }

    pub(super) fn add_host(&mut self) {
        self.machines.push(Machine::new());
        self.roads.add_host();
    }

    pub(super) fn machine(&self, host: HostId) -> &Machine {
        &self.machines[host.index()]
    }

    pub(super) fn machine_mut(&mut self, host: HostId) -> &mut Machine {
        &mut self.machines[host.index()]
    }

    pub(super) fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    /// Connections that are not freed.
    pub(super) fn open(&self) -> usize {
        self.conns.len() - self.free.len()
    }

    /// The connection of a reference, when its program still runs.
    fn living(&mut self, me: ConnRef) -> Option<(&mut Conn, &Roads, &[Machine])> {
        let conn = self.conns.get_mut(me.slot)?.as_mut()?;
        let side = &conn.sides[me.side];
        let runs = conn.serial == me.serial
            && side.end == End::Open
            && self.machines[side.host.index()].runs(side.incarnation);
        runs.then_some((conn, &self.roads, &self.machines))
    }

    pub(super) fn poll_read(
        &mut self,
        scene: &mut Scene<'_>,
        me: ConnRef,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now_ns = scene.now_ns;
        let Some((conn, roads, _)) = self.living(me) else {
            return Poll::Pending;
        };
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (here, there) = (conn.sides[me.side].host, conn.sides[1 - me.side].host);
        let broken_ns = conn.sides[me.side].broken_ns;
        let serial = conn.serial;
        let pipe = &mut conn.pipes[1 - me.side];
        match pipe.take(now_ns, into) {
            Found::Bytes(count) => {
                let back_ns = roads.ack_latency(here, there);
                pipe.acknowledge(scene.alarms, now_ns, count, back_ns);
                let numbers = [serial, me.side as u64, count as u64];
                (scene.trace).numbers(now_ns, here.0, Kind::Receive, numbers);
                Poll::Ready(Ok(()))
            }
            Found::End => Poll::Ready(Ok(())),
            Found::Nothing(_) if broken_ns <= now_ns => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Found::Nothing(next_ns) => {
                let at_ns = next_ns.min(broken_ns);
                pipe.reader.wait(scene.alarms, cx, now_ns, at_ns);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        scene: &mut Scene<'_>,
        me: ConnRef,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now_ns = scene.now_ns;
        let config = self.config;
        let Some((conn, roads, machines)) = self.living(me) else {
            return Poll::Pending;
        };
        let broken_ns = conn.sides[me.side].broken_ns;
        if broken_ns <= now_ns {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if conn.pipes[me.side].is_shut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let answer = conn.answer(me.side, now_ns, machines);
        let pipe = &mut conn.pipes[me.side];
        let count = accepted(pipe, &config, data.len());
        if count == 0 {
            (pipe.writer).wait(scene.alarms, cx, now_ns, broken_ns);
            return Poll::Pending;
        }
        match answer {
            Answer::Take => conn.send(scene, roads, &config, me.side, &data[..count]),
            Answer::Reset => {
                pipe.swallow(count);
                conn.owe_reset(scene, roads, me.side, 0);
            }
            Answer::Silence => pipe.swallow(count),
        }
        Poll::Ready(Ok(count))
    }

    /// The writing half says that nothing follows.
    pub(super) fn shut(&mut self, scene: &mut Scene<'_>, me: ConnRef) {
        if let Some((conn, roads, _)) = self.living(me) {
            conn.shut(scene, roads, me.side);
        }
    }

    /// A half was dropped by its program.
    pub(super) fn drop_half(&mut self, scene: &mut Scene<'_>, me: ConnRef, half: Half) {
        let Some((conn, roads, _)) = self.living(me) else {
            return;
        };
        match half {
            Half::Read => {
                conn.sides[me.side].has_read = false;
                conn.pipes[1 - me.side].reader.forget();
            }
            Half::Write => {
                conn.sides[me.side].has_write = false;
                conn.pipes[me.side].writer.forget();
                conn.shut(scene, roads, me.side);
            }
        }
        let side = &mut conn.sides[me.side];
        if !side.has_read && !side.has_write {
            side.end = End::Closed;
            let host = side.host;
            let numbers = [conn.serial, me.side as u64, 0];
            (scene.trace).numbers(scene.now_ns, host.0, Kind::Close, numbers);
            if conn.pipes[1 - me.side].holds_bytes() {
                conn.owe_reset(scene, roads, 1 - me.side, 0);
            }
            self.free_if_done(me.slot);
        }
    }

    pub(super) fn insert(&mut self, conn: Conn) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.conns[slot] = Some(conn);
        slot
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.conns[slot] = None;
        self.free.push(slot);
    }

    /// Frees a connection that neither side has any more.
    pub(super) fn free_if_done(&mut self, slot: usize) {
        let done = |conn: &Conn| conn.sides.iter().all(|side| side.end != End::Open);
        if self.conns[slot].as_ref().is_some_and(done) {
            self.remove(slot);
        }
    }

    /// Drops everything: wakers keep tasks alive, and tasks keep the world alive.
    pub(super) fn clear(&mut self) {
        self.listeners.clear();
        self.conns.clear();
        self.free.clear();
    }
}

/// How many of `len` bytes a write takes.
fn accepted(pipe: &Pipe, config: &NetConfig, len: usize) -> usize {
    let fits = pipe.room().min(len);
    let key = pipe.key.and(purpose::SHORT).and(pipe.chunks);
    match fits > 1 && key.chance(config.short_write_permille) {
        true => 1 + key.and(1).below(fits as u64 - 1) as usize,
        false => fits,
    }
}

impl Conn {
    pub(super) fn new(serial: u64, dial: &Dial, incarnation_there: u64, window: usize) -> Conn {
        Conn {
            serial,
            sides: [
                Side::new(dial.from, dial.incarnation),
                Side::new(dial.to, incarnation_there),
            ],
            pipes: [3, 4].map(|way| Pipe::new(dial.key.and(way), window)),
            port: dial.port,
            forgotten: false,
        }
    }

    /// True when it runs between these two.
    pub(super) fn is_between(&self, a: HostId, b: HostId) -> bool {
        let hosts = [self.sides[0].host, self.sides[1].host];
        hosts == [a, b] || hosts == [b, a]
    }

    /// The number of the side on a host, if there is one; 0 for a host that talks to itself.
    pub(super) fn side_on(&self, host: HostId) -> Option<usize> {
        self.sides.iter().position(|side| side.host == host)
    }

    /// What side `side` gets for what it writes.
    fn answer(&self, side: usize, now_ns: u64, machines: &[Machine]) -> Answer {
        let far = &self.sides[1 - side];
        if self.pipes[side].is_severed() {
            let knows = far.broken_ns <= now_ns || far.end != End::Open;
            return match knows && !self.forgotten {
                true => Answer::Reset,
                false => Answer::Silence,
            };
        }
        match far.end {
            End::Open => Answer::Take,
            End::Closed | End::Dead => Answer::Reset,
            End::Lost if machines[far.host.index()].powered => Answer::Reset,
            End::Lost => Answer::Silence,
        }
    }

    fn send(
        &mut self,
        scene: &mut Scene<'_>,
        roads: &Roads,
        config: &NetConfig,
        side: usize,
        data: &[u8],
    ) {
        let (here, there) = (self.sides[side].host, self.sides[1 - side].host);
        let pipe = &mut self.pipes[side];
        let key = pipe.key.and(pipe.chunks);
        let latency_ns = roads.latency(here, there, key);
        let (first, last) = config.corruptible_ports;
        let corrupt = match (first..=last).contains(&self.port) {
            true => roads.get(here, there).corrupt_permille,
            false => 0,
        };
        let due_ns = match key.and(purpose::CORRUPT).chance(corrupt) {
            true => pipe.push(&corrupted(data, key), scene.now_ns, latency_ns),
            false => pipe.push(data, scene.now_ns, latency_ns),
        };
        pipe.reader.ring_at(scene.alarms, scene.now_ns, due_ns);
        let numbers = [self.serial, data.len() as u64, due_ns];
        (scene.trace).numbers(scene.now_ns, here.0, Kind::Send, numbers);
    }

    pub(super) fn shut(&mut self, scene: &mut Scene<'_>, roads: &Roads, side: usize) {
        let (here, there) = (self.sides[side].host, self.sides[1 - side].host);
        let pipe = &mut self.pipes[side];
        let key = pipe.key.and(purpose::FIN);
        let latency_ns = roads.latency(here, there, key);
        let due_ns = pipe.shut(scene.now_ns, latency_ns);
        pipe.reader.ring_at(scene.alarms, scene.now_ns, due_ns);
    }

    /// Side `side` will hear that its connection is no more: after a round trip and
    /// `extra_ns`, but not before what is on its way to it, and only while the roads are free.
    pub(super) fn owe_reset(
        &mut self,
        scene: &mut Scene<'_>,
        roads: &Roads,
        side: usize,
        extra_ns: u64,
    ) {
        let (here, there) = (self.sides[side].host, self.sides[1 - side].host);
        let key = (self.pipes[side].key)
            .and(purpose::RESET)
            .and(self.pipes[side].chunks);
        let out = roads.latency(here, there, key);
        let back = roads.latency(there, here, key.and(1));
        let (Some(out_ns), Some(back_ns)) = (out, back) else {
            self.sides[side].owes_reset = true;
            return;
        };
        self.sides[side].owes_reset = false;
        let last_due_ns = match self.pipes[1 - side].next_due_ns() {
            NEVER => 0,
            _ => self.pipes[1 - side].last_due_ns(),
        };
        let at_ns = (scene.now_ns + out_ns + back_ns + extra_ns).max(last_due_ns);
        self.breaks_at(scene, side, at_ns);
    }

    /// Side `side` knows from `at_ns` on that its connection is no more.
    pub(super) fn breaks_at(&mut self, scene: &mut Scene<'_>, side: usize, at_ns: u64) {
        let known = &mut self.sides[side];
        if at_ns >= known.broken_ns {
            return;
        }
        known.broken_ns = at_ns;
        let numbers = [self.serial, side as u64, at_ns];
        (scene.trace).numbers(scene.now_ns, known.host.0, Kind::Reset, numbers);
        let (alarms, now_ns) = (scene.alarms, scene.now_ns);
        (self.pipes[1 - side].reader).ring_at(alarms, now_ns, at_ns);
        self.pipes[side].writer.ring_at(alarms, now_ns, at_ns);
    }
}

/// The data with one bit flipped.
fn corrupted(data: &[u8], key: Key) -> Vec<u8> {
    let mut data = data.to_vec();
    let bit = key
        .and(purpose::CORRUPT)
        .and(1)
        .below(data.len() as u64 * 8);
    data[bit as usize / 8] ^= 1 << (bit % 8);
    data
}
