//! The nemesis' hands in the simulated world.

use super::stage::StageHandle;
use super::watch::Trigger;
use super::wounds::{Segment, Wound};
use crate::nemesis::{Condition, Damage, Dial, Hands, Node};
use crate::plan::{DRIFT_PPM_MAX, Death};
use crate::world::{DiskControl, DiskFault, DiskImage, HostId, Rot, SECTOR_BYTES, World};
use gamekeeper_core::base::ServerId;
use std::collections::BTreeMap;
use std::ops::Range;

/// How many of a thousand chunks have a bit flipped while a link corrupts.
const CORRUPT_PERMILLE: u64 = 50;
/// Bytes a disk that runs full still takes, at most.
const SPARE_BYTES_MAX: u64 = 2048;
/// Most bytes of a snapshot that rot at once.
const SNAPSHOT_ROT_BYTES_MAX: u64 = 64;
/// Names of log segments, and of everything that is still being written.
const LOG: &str = "log.";
const SNAPSHOT: &str = "snap.";
const UNFINISHED: &str = ".tmp";
const EPOCH_COPIES: [&str; 2] = ["epoch.a", "epoch.b"];
const MARK: &str = "mark";

/// See the module's head.
pub struct WorldHands {
    world: World,
    stage: StageHandle,
    servers: Vec<HostId>,
    clients: Vec<HostId>,
    triggers: Vec<Trigger>,
    /// What each server's clocks were born with, ppm.
    drifts: Vec<i64>,
    latencies: BTreeMap<ServerId, u64>,
    wounds: BTreeMap<ServerId, Vec<Wound>>,
    /// Disks as they were, for a later rollback.
    remembered: BTreeMap<ServerId, DiskImage>,
    /// Processes killed, for the outcome.
    pub(super) kills: u64,
}

impl WorldHands {
    /// Hands for these servers and clients, in order of their numbers.
    pub fn new(
        world: World,
        stage: StageHandle,
        servers: Vec<HostId>,
        clients: Vec<HostId>,
        triggers: Vec<Trigger>,
        drifts: Vec<i64>,
    ) -> WorldHands {
        WorldHands {
            world,
            stage,
            servers,
            clients,
            triggers,
            drifts,
            latencies: BTreeMap::new(),
            wounds: BTreeMap::new(),
            remembered: BTreeMap::new(),
            kills: 0,
        }
    }

    /// Ends what is left of faults in network and disks: errors that were armed and never met.
    pub fn heal(&mut self) {
        self.world.heal_network();
        for server in &self.servers {
            self.world.disk(*server).heal();
        }
    }

    fn host(&self, server: ServerId) -> HostId {
        self.servers[usize::from(server.0) - 1]
    }

    fn node(&self, node: Node) -> HostId {
        match node {
            Node::Server(server) => self.host(server),
            Node::Client(number) => self.clients[number as usize],
        }
    }

    fn disk(&self, server: ServerId) -> DiskControl {
        self.world.disk(self.host(server))
    }

    fn others(&self, server: ServerId) -> impl Iterator<Item = HostId> {
        let me = self.host(server);
        let all = self.servers.iter().chain(&self.clients).copied();
        all.filter(move |host| *host != me)
    }

    fn set_latency(&mut self, server: ServerId, us: u64) {
        let host = self.host(server);
        let before = self.latencies.insert(server, us).unwrap_or(0);
        for other in self.others(server) {
            for (from, to) in [(host, other), (other, host)] {
                if before > 0 {
                    self.world.undelay(from, to, before * 1000);
                }
                if us > 0 {
                    self.world.delay(from, to, us * 1000);
                }
            }
        }
    }

    /// Names of durable, finished files.
    fn finished(disk: &DiskControl, prefix: &str) -> Vec<String> {
        let all = disk.durable_files().into_iter().map(|(name, _)| name);
        all.filter(|name| name.starts_with(prefix) && !name.ends_with(UNFINISHED))
            .collect()
    }

    fn rot(&mut self, server: ServerId, file: &str, range: Range<u64>, rot: Rot) -> bool {
        let disk = self.disk(server);
        if !disk.rot(file, range.clone(), rot) {
            return false;
        }
        let after = disk.durable_bytes(file).unwrap_or_default();
        let left = after.get(range.start as usize..range.end as usize);
        let wound = Wound {
            file: file.to_string(),
            left: match rot {
                Rot::Unreadable => None,
                Rot::Flip | Rot::Zeroes | Rot::Garbage => left.map(<[u8]>::to_vec),
            },
            range,
        };
        self.wounds.entry(server).or_default().push(wound);
        true
    }

    fn rot_log(&mut self, server: ServerId, draw: u64) -> bool {
        let disk = self.disk(server);
        let rot = rot_of(draw);
        let mut places = Vec::new();
        for file in Self::finished(&disk, LOG) {
            let bytes = disk.durable_bytes(&file).unwrap_or_default();
            let segment = Segment::read(&bytes);
            for record in segment.witnessed() {
                let range = match rot {
                    Rot::Unreadable => sectors(&record),
                    Rot::Flip | Rot::Zeroes | Rot::Garbage => record,
                };
                if segment.may_rot(&range) {
                    places.push((file.clone(), range));
                }
            }
        }
        match pick(&places, draw) {
            Some((file, range)) => self.rot(server, &file, range, rot),
            None => false,
        }
    }

    fn rot_snapshot(&mut self, server: ServerId, draw: u64) -> bool {
        let disk = self.disk(server);
        let files = Self::finished(&disk, SNAPSHOT);
        let Some(file) = pick(&files, draw) else {
            return false;
        };
        let len = disk.durable_bytes(&file).map_or(0, |b| b.len() as u64);
        if len == 0 {
            return false;
        }
        let begin = (draw >> 16) % len;
        let end = (begin + 1 + (draw >> 40) % SNAPSHOT_ROT_BYTES_MAX).min(len);
        self.rot(server, &file, begin..end, rot_of(draw))
    }

    fn rot_epoch(&mut self, server: ServerId, draw: u64) -> bool {
        let disk = self.disk(server);
        let file = EPOCH_COPIES[(draw >> 8) as usize % 2];
        let len = disk.durable_bytes(file).map_or(0, |b| b.len() as u64);
        let rot = match rot_of(draw) {
            // Whether a copy that cannot be read was replaced could not be told.
            Rot::Unreadable => Rot::Garbage,
            rot @ (Rot::Flip | Rot::Zeroes | Rot::Garbage) => rot,
        };
        len > 0 && self.rot(server, file, 0..len, rot)
    }

    fn misdirect(&mut self, server: ServerId, draw: u64) -> bool {
        let disk = self.disk(server);
        let mut places = Vec::new();
        for file in Self::finished(&disk, LOG) {
            let bytes = disk.durable_bytes(&file).unwrap_or_default();
            let records = Segment::read(&bytes).witnessed();
            for pair in records.windows(2) {
                let (to, from) = (&pair[0], &pair[1]);
                let fits = to.end - to.start >= from.end - from.start;
                // The witness of the later one is a witness of both.
                if fits {
                    places.push((file.clone(), from.clone(), to.start));
                }
            }
        }
        let Some((file, from, to)) = pick(&places, draw) else {
            return false;
        };
        if !disk.misdirect(&file, from.clone(), &file, to) {
            return false;
        }
        let bytes = disk.durable_bytes(&file).unwrap_or_default();
        let len = from.end - from.start;
        for range in [from, to..to + len] {
            let left = bytes.get(range.start as usize..range.end as usize);
            let wound = Wound {
                file: file.clone(),
                left: left.map(<[u8]>::to_vec),
                range,
            };
            self.wounds.entry(server).or_default().push(wound);
        }
        true
    }

    /// The newest segment loses its second half, and the mark that would tell is gone.
    fn lose_tail(&mut self, server: ServerId) -> bool {
        let disk = self.disk(server);
        let Some(file) = Self::finished(&disk, LOG).pop() else {
            return false;
        };
        let bytes = disk.durable_bytes(&file).unwrap_or_default();
        let places = Segment::read(&bytes).places();
        let Some(place) = places.get(places.len() / 2) else {
            return false;
        };
        disk.lose_tail(MARK, 0);
        disk.lose_tail(&file, place.start)
    }
}

fn rot_of(draw: u64) -> Rot {
    [Rot::Flip, Rot::Zeroes, Rot::Garbage, Rot::Unreadable][(draw % 4) as usize]
}

fn pick<T: Clone>(from: &[T], draw: u64) -> Option<T> {
    let place = (draw >> 2).checked_rem(from.len() as u64)?;
    from.get(place as usize).cloned()
}

/// The whole sectors a range touches.
fn sectors(range: &Range<u64>) -> Range<u64> {
    range.start / SECTOR_BYTES * SECTOR_BYTES..range.end.next_multiple_of(SECTOR_BYTES)
}

impl Hands for WorldHands {
    fn set(&mut self, condition: Condition, on: bool) {
        let world = &self.world;
        match (condition, on) {
            (Condition::Cut(from, to), true) => world.cut(self.node(from), self.node(to)),
            (Condition::Cut(from, to), false) => world.heal(self.node(from), self.node(to)),
            (Condition::Clogged(a, b), on) => {
                for (from, to) in [(a, b), (b, a)] {
                    match on {
                        true => world.clog(self.host(from), self.host(to)),
                        false => world.unclog(self.host(from), self.host(to)),
                    }
                }
            }
            (Condition::Refusing(server), true) => world.refuse_connects(self.host(server)),
            (Condition::Refusing(server), false) => world.allow_connects(self.host(server)),
            (Condition::Corrupting(from, to), on) => {
                let permille = if on { CORRUPT_PERMILLE } else { 0 };
                world.corrupt(self.host(from), self.host(to), permille);
            }
            (Condition::Paused(server), true) => world.pause(self.host(server)),
            (Condition::Paused(server), false) => world.resume(self.host(server)),
            (Condition::DiskFull(server), true) => {
                let disk = self.disk(server);
                disk.fill(disk.used_bytes() % SPARE_BYTES_MAX);
            }
            (Condition::DiskFull(server), false) => self.disk(server).set_space(None),
            (Condition::DiskStuck(server), on) => self.disk(server).set_stuck(on),
            (Condition::Armed(server, point), on) => {
                self.triggers[usize::from(server.0) - 1].set(on.then_some(point));
            }
        }
    }

    fn turn(&mut self, dial: Dial, to: i64) {
        let amount = u64::try_from(to).unwrap_or(0);
        match dial {
            Dial::Latency(server) => self.set_latency(server, amount),
            Dial::DiskLatency(server) => self.disk(server).set_slow(amount * 1000),
            Dial::Drift(server) => {
                let most = 2 * DRIFT_PPM_MAX as i64;
                let born = self.drifts[usize::from(server.0) - 1];
                let ppm = born.saturating_add(to).clamp(-most, most);
                self.world.set_drift(self.host(server), ppm);
            }
        }
    }

    fn break_connections(&mut self, server: ServerId, _draw: u64) {
        for other in self.others(server) {
            self.world.break_connections(self.host(server), other);
        }
    }

    fn half_open(&mut self, end: Node, other: Node) {
        self.world
            .forget_connections(self.node(end), self.node(other));
    }

    fn kill(&mut self, server: ServerId, death: Death, draw: u64) {
        let host = self.host(server);
        self.kills += 1;
        match death {
            Death::Crash if draw.is_multiple_of(2) => self.world.crash(host),
            Death::Crash => self.world.crash_closing(host),
            Death::PowerCut => self.world.power_cut(host),
        }
        self.stage.fell(server);
    }

    fn start(&mut self, server: ServerId) {
        self.world.start(self.host(server));
    }

    fn fail_next_sync(&mut self, server: ServerId) {
        self.disk(server).arm(DiskFault::SyncError, LOG);
    }

    fn fail_next_write(&mut self, server: ServerId, draw: u64) {
        let fault = match draw.is_multiple_of(2) {
            true => DiskFault::WriteError,
            false => DiskFault::ShortWrite,
        };
        self.disk(server).arm(fault, LOG);
    }

    fn damage(&mut self, server: ServerId, damage: Damage, draw: u64) -> bool {
        let done = match damage {
            Damage::RotLog => self.rot_log(server, draw),
            Damage::RotSnapshot => self.rot_snapshot(server, draw),
            Damage::RotEpoch => self.rot_epoch(server, draw),
            Damage::Misdirect => self.misdirect(server, draw),
            Damage::LoseTail => self.lose_tail(server),
            Damage::Remember => {
                let image = self.disk(server).image();
                self.remembered.insert(server, image);
                true
            }
            Damage::Rollback => {
                let Some(image) = self.remembered.remove(&server) else {
                    return false;
                };
                self.disk(server).restore(&image);
                true
            }
            Damage::Wipe => {
                self.disk(server).wipe();
                true
            }
        };
        if done {
            self.stage.lock().invariants.wounded(server);
        }
        done
    }

    fn is_rotten(&self, server: ServerId) -> bool {
        let disk = self.disk(server);
        let mut wounds = self.wounds.get(&server).into_iter().flatten();
        wounds.any(|wound| wound.shows(disk.durable_bytes(&wound.file).as_deref()))
    }

    fn jump_wall(&mut self, server: ServerId, by_ms: i64) {
        self.world.jump_wall(self.host(server), by_ms);
    }

    fn forgive(&mut self) {
        self.stage.lock().invariants.forgive();
    }
}
