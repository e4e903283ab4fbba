//! A store, its disk, and a model of what the log must hold.
//!
//! The model is the list of log commands given (append, cut, install) and how many of them
//! were reported durable. What a recovery reports must be the log after some prefix of
//! the commands that is no shorter than that, and nothing else.

use crate::base::disk::{DiskDone, DiskLane, DiskRequest};
use crate::base::event::Fitness;
use crate::base::ids::{Epoch, Zxid};
use crate::base::time::Mono;
use crate::log::testdisk::{Cut, Prng, TestDisk};
use crate::log::{Entry, EpochRecord, Recovered, Store, StoreConfig, StoreEvent, StoreOut};
use bytes::Bytes;
use std::collections::VecDeque;

/// Sizes small enough that everything happens.
pub const CONFIG: StoreConfig = StoreConfig {
    segment_bytes: 700,
    batch_bytes_max: 300,
    snapshots_kept: 2,
    read_bytes: 600,
};

/// A log as it ought to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    root: Option<(Zxid, Bytes)>,
    entries: Vec<Entry>,
}

impl State {
    pub fn last(&self) -> Zxid {
        self.entries.last().map_or(self.base(), |e| e.zxid)
    }

    pub fn base(&self) -> Zxid {
        self.root.as_ref().map_or(Zxid::ZERO, |r| r.0)
    }

    /// The snapshot body of this state at a zxid it went through.
    pub fn body(&self, zxid: Zxid) -> Option<Bytes> {
        if zxid == self.base() {
            return self.root.as_ref().map(|r| r.1.clone());
        }
        let upto = self.entries.iter().position(|e| e.zxid == zxid)?;
        let mut crc = crc32fast::Hasher::new();
        if let Some((_, body)) = &self.root {
            crc.update(body);
        }
        for entry in &self.entries[..=upto] {
            crc.update(&entry.zxid.0.to_le_bytes());
            crc.update(&entry.payload);
        }
        let line = format!("{zxid:?} {:08x} ", crc.finalize());
        Some(Bytes::from(line.repeat(40 + upto % 50)))
    }

    fn matches(&self, recovered: &Recovered) -> bool {
        let from = match &recovered.snapshot {
            None if self.root.is_some() => return false,
            None => 0,
            Some((zxid, body)) => {
                if self.body(*zxid).as_ref() != Some(body) {
                    return false;
                }
                self.entries.partition_point(|e| e.zxid <= *zxid)
            }
        };
        self.entries[from..] == recovered.tail
    }

    /// True when the report is this state cut short: a snapshot it went through and
    /// records right after that.
    pub fn begins_with(&self, recovered: &Recovered) -> bool {
        let mut short = self.clone();
        let last = recovered.tail.last().map(|e| e.zxid);
        let last = last.or(recovered.snapshot.as_ref().map(|s| s.0));
        let last = last.unwrap_or(Zxid::ZERO);
        short.entries.retain(|e| e.zxid <= last);
        (recovered.snapshot.is_none() && recovered.tail.is_empty()) || short.matches(recovered)
    }
}

#[derive(Clone, Debug)]
enum Command {
    Append(Entry),
    Truncate(Zxid),
    Install(Zxid, Bytes),
}

/// What a play does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Appends so many records.
    Append(u32),
    /// Saves a greater epoch record.
    Epochs,
    /// Cuts so many records, as far as no snapshot forbids, and enters a new epoch.
    Truncate(usize),
    /// Takes a snapshot of the log's end.
    Snapshot,
    /// Takes a leader's snapshot.
    Install,
    /// Begins to take a leader's snapshot, and gives it up.
    Abort,
    /// Carries out so many operations.
    Run(u32),
    /// Lets time pass.
    Tick,
    /// Carries out everything that is under way.
    Settle,
}

/// A play that goes down every road.
pub const PLAY: &[Act] = &[
    Act::Epochs,
    Act::Settle,
    Act::Append(3),
    Act::Run(3),
    Act::Append(9),
    Act::Settle,
    Act::Tick,
    Act::Settle,
    Act::Snapshot,
    Act::Append(4),
    Act::Settle,
    Act::Epochs,
    Act::Append(5),
    Act::Run(1),
    Act::Truncate(7),
    Act::Append(6),
    Act::Run(2),
    Act::Snapshot,
    Act::Settle,
    Act::Append(11),
    Act::Tick,
    Act::Settle,
    Act::Truncate(1),
    Act::Settle,
    Act::Snapshot,
    Act::Settle,
    Act::Append(2),
    Act::Abort,
    Act::Install,
    Act::Append(3),
    Act::Settle,
    Act::Tick,
    Act::Append(8),
    Act::Epochs,
    Act::Snapshot,
    Act::Settle,
    Act::Append(2),
    Act::Install,
    Act::Settle,
    Act::Truncate(1),
    Act::Append(4),
    Act::Settle,
    Act::Snapshot,
    Act::Append(4),
    Act::Settle,
    Act::Snapshot,
    Act::Settle,
    Act::Append(3),
    Act::Settle,
];

/// What every recovered store must still be able to do.
pub const ENCORE: &[Act] = &[
    Act::Append(3),
    Act::Epochs,
    Act::Truncate(1),
    Act::Append(9),
    Act::Snapshot,
    Act::Settle,
    Act::Append(1),
    Act::Settle,
];

/// How a run of operations ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Nothing is left to do.
    Quiet,
    /// The given operation number was reached.
    Limit,
    /// The store stopped itself.
    Failed,
}

/// A store in its world.
#[derive(Clone, Debug)]
pub struct World {
    pub disk: TestDisk,
    pub store: Store,
    pub config: StoreConfig,
    pub now: Mono,
    pub events: Vec<StoreEvent>,
    pub recovered: Option<Recovered>,
    /// Stop when so many operations were carried out.
    pub limit: Option<u64>,
    /// The disk is full for this range of operations, or until the store tried again often.
    pub full_between: Option<(u64, u64)>,
    retries: u32,
    is_full: bool,
    lanes: [VecDeque<DiskRequest>; 2],
    chance: Prng,
    commands: Vec<Command>,
    origin: State,
    durable_commands: usize,
    truncates_reported: usize,
    installs_reported: usize,
    committed_before_install: Zxid,
    promises: Vec<EpochRecord>,
    promises_durable: Option<usize>,
    /// Snapshots begun: the log is not cut before them.
    committed: Zxid,
    epoch: u32,
}

impl World {
    /// An empty disk and a store that has recovered from it.
    pub fn new(seed: u64) -> World {
        let mut world = World::unopened(seed);
        assert_eq!(world.run(), End::Quiet);
        world
    }

    /// An empty disk and a store about to read it.
    pub fn unopened(seed: u64) -> World {
        let mut out = StoreOut::default();
        let store = Store::open(CONFIG, &mut out);
        let mut world = World {
            disk: TestDisk::new(seed),
            store,
            config: CONFIG,
            now: Mono(0),
            events: Vec::new(),
            recovered: None,
            limit: None,
            full_between: None,
            retries: 0,
            is_full: false,
            lanes: [VecDeque::new(), VecDeque::new()],
            chance: Prng(seed ^ 0xabcd),
            commands: Vec::new(),
            origin: State::default(),
            durable_commands: 0,
            truncates_reported: 0,
            installs_reported: 0,
            committed_before_install: Zxid::ZERO,
            promises: Vec::new(),
            promises_durable: None,
            committed: Zxid::ZERO,
            epoch: 1,
        };
        world.absorb(out);
        world
    }

    /// The state after the first `n` commands.
    fn state_after(&self, n: usize) -> State {
        let mut state = self.origin.clone();
        for command in &self.commands[..n] {
            match command {
                Command::Append(entry) => state.entries.push(entry.clone()),
                Command::Truncate(after) => state.entries.retain(|e| e.zxid <= *after),
                Command::Install(zxid, body) => {
                    state.root = Some((*zxid, body.clone()));
                    state.entries.clear();
                }
            }
        }
        state
    }

    /// The state after every command.
    pub fn state(&self) -> State {
        self.state_after(self.commands.len())
    }

    /// True when every command was reported durable.
    pub fn all_durable(&self) -> bool {
        self.durable_commands == self.commands.len()
            && self.promises_durable.map_or(0, |n| n + 1) == self.promises.len()
    }

    /// Plays acts until the end, a limit, or a failure.
    pub fn play(&mut self, acts: &[Act]) -> End {
        for act in acts {
            let end = self.act(*act);
            if end != End::Quiet {
                return end;
            }
        }
        End::Quiet
    }

    fn act(&mut self, act: Act) -> End {
        let mut out = StoreOut::default();
        match act {
            Act::Append(n) => {
                for _ in 0..n {
                    let entry = self.next_entry();
                    self.commands.push(Command::Append(entry.clone()));
                    self.store.append(entry, &mut out);
                }
            }
            Act::Epochs => {
                let accepted = self.promises.last().map_or(0, |p| p.accepted.0) + 1;
                let record = EpochRecord {
                    accepted: Epoch(accepted),
                    current: Epoch(accepted - 1),
                    voting: true,
                    restorable: false,
                };
                self.promises.push(record);
                self.store.save_epochs(record, &mut out);
            }
            Act::Truncate(n) => {
                let state = self.state();
                let at = state.entries.len().saturating_sub(n);
                let after = match at {
                    0 => state.base(),
                    at => state.entries[at - 1].zxid,
                };
                let after = after.max(self.committed);
                self.commands.push(Command::Truncate(after));
                self.epoch += 1;
                self.store.truncate(after, &mut out);
                assert_eq!(self.store.last(), after);
            }
            Act::Snapshot => self.snapshot(&mut out),
            Act::Install => self.install(&mut out),
            Act::Abort => {
                self.store.install_begin(Zxid::new(Epoch(99), 9), &mut out);
                self.store
                    .install_chunk(Bytes::from_static(b"half"), &mut out);
                self.store.install_abort(&mut out);
            }
            Act::Run(n) => {
                let before = self.limit;
                let stop = self.disk.executed + u64::from(n);
                self.limit = Some(before.map_or(stop, |l| l.min(stop)));
                let end = self.run();
                self.limit = before;
                let hit = before.is_some_and(|l| self.disk.executed >= l);
                return if end == End::Limit && !hit {
                    End::Quiet
                } else {
                    end
                };
            }
            Act::Tick => {
                self.now = self.now.plus_ms(1000);
                self.store.timer(self.now, &mut out);
            }
            Act::Settle => return self.run(),
        }
        self.absorb(out);
        End::Quiet
    }

    fn next_entry(&mut self) -> Entry {
        let last = self.state().last();
        let zxid = if last.epoch().0 == self.epoch {
            Zxid::new(last.epoch(), last.counter() + 1)
        } else {
            Zxid::new(Epoch(self.epoch), 1)
        };
        let len = (zxid.0.wrapping_mul(2_654_435_761) >> 7) % 150;
        let fill = (zxid.0 ^ (zxid.0 >> 30)) as u8 | 1;
        Entry {
            zxid,
            payload: Bytes::from(vec![fill; len as usize]),
        }
    }

    fn snapshot(&mut self, out: &mut StoreOut) {
        let state = self.state();
        let zxid = state.last();
        let Some(body) = state.body(zxid).filter(|_| !self.store.snapshot_busy()) else {
            return;
        };
        self.committed = zxid;
        self.store.snapshot_begin(zxid, out);
        for chunk in body.chunks(200) {
            self.store
                .snapshot_chunk(Bytes::copy_from_slice(chunk), out);
        }
        self.store.snapshot_end(out);
    }

    /// A leader's snapshot: it lacks what this server has not committed, and is ahead.
    fn install(&mut self, out: &mut StoreOut) {
        self.epoch += 1;
        let zxid = Zxid::new(Epoch(self.epoch), 20);
        let body = Bytes::from(format!("state of {zxid:?} from afar. ").repeat(30));
        self.committed_before_install = self.committed;
        self.committed = zxid;
        self.commands.push(Command::Install(zxid, body.clone()));
        self.store.install_begin(zxid, out);
        for chunk in body.chunks(300) {
            self.store.install_chunk(Bytes::copy_from_slice(chunk), out);
        }
        self.store.install_end(out);
        assert_eq!(self.store.last(), zxid);
    }

    /// Carries out operations, and lets time pass on a full disk, until nothing is left.
    pub fn run(&mut self) -> End {
        loop {
            if self.limit.is_some_and(|limit| self.disk.executed >= limit) {
                return End::Limit;
            }
            if !self.one_op() && !self.try_again() {
                return End::Quiet;
            }
            if matches!(self.events.last(), Some(StoreEvent::Failed { .. })) {
                return End::Failed;
            }
        }
    }

    /// On a full disk: lets time pass until the store tries again.
    fn try_again(&mut self) -> bool {
        if !self.is_full {
            return false;
        }
        self.retries += 1;
        if self.retries > 3 {
            self.full_between = None;
        }
        self.now = self.store.deadline().expect("a full store has a deadline");
        let mut out = StoreOut::default();
        self.store.timer(self.now, &mut out);
        self.absorb(out);
        true
    }

    fn one_op(&mut self) -> bool {
        let full = self.full_between;
        self.disk.full = full.is_some_and(|(from, to)| (from..to).contains(&self.disk.executed));
        let first = self.chance.below(2) as usize;
        for lane in [first, 1 - first] {
            if let Some(request) = self.lanes[lane].pop_front() {
                let result = self.disk.execute(&request.op);
                let token = request.token;
                let mut out = StoreOut::default();
                self.store
                    .step(self.now, DiskDone { token, result }, &mut out);
                self.absorb(out);
                return true;
            }
        }
        false
    }

    /// Takes what the store put out, and checks every report against the model.
    pub fn absorb(&mut self, out: StoreOut) {
        for request in out.disk {
            let lane = usize::from(request.lane == DiskLane::Snapshot);
            self.lanes[lane].push_back(request);
        }
        for event in out.events {
            self.note(&event);
            self.events.push(event);
        }
    }

    fn note(&mut self, event: &StoreEvent) {
        match event {
            StoreEvent::LogDurable { upto } => {
                let is = |c: &Command| matches!(c, Command::Append(e) if e.zxid == *upto);
                let at = self.commands.iter().rposition(is);
                let at = at.expect("an appended zxid is reported durable");
                self.durable_commands = self.durable_commands.max(at + 1);
            }
            StoreEvent::Truncated { last } => {
                let cut = |(_, c): &(usize, &Command)| matches!(c, Command::Truncate(_));
                let mut cuts = self.commands.iter().enumerate().filter(cut);
                let (at, command) = cuts
                    .nth(self.truncates_reported)
                    .expect("a cut was asked for");
                assert!(matches!(command, Command::Truncate(z) if z == last));
                self.truncates_reported += 1;
                self.durable_commands = self.durable_commands.max(at + 1);
            }
            StoreEvent::Installed { zxid } => {
                let inst = |(_, c): &(usize, &Command)| matches!(c, Command::Install(..));
                let mut all = self.commands.iter().enumerate().filter(inst);
                let (at, command) = all.nth(self.installs_reported).expect("an install began");
                assert!(matches!(command, Command::Install(z, _) if z == zxid));
                self.installs_reported += 1;
                self.durable_commands = self.durable_commands.max(at + 1);
            }
            StoreEvent::InstallFailed { zxid } => {
                let is = |c: &Command| matches!(c, Command::Install(z, _) if z == zxid);
                let at = self
                    .commands
                    .iter()
                    .rposition(is)
                    .expect("an install began");
                self.commands.truncate(at);
                self.committed = self.committed_before_install;
                assert_eq!(self.store.last(), self.state().last());
            }
            StoreEvent::EpochsDurable(record) => {
                let at = self.promises.iter().position(|p| p == record);
                self.promises_durable = Some(at.expect("a promise that was asked for"));
            }
            StoreEvent::Recovered(recovered) => self.recovered = Some(recovered.clone()),
            StoreEvent::Full(full) => {
                assert_ne!(self.is_full, *full, "no news");
                self.is_full = *full;
            }
            StoreEvent::SnapshotDurable { .. }
            | StoreEvent::SnapshotFailed { .. }
            | StoreEvent::Failed { .. }
            | StoreEvent::Probe(_) => {}
        }
    }

    /// The process dies; with a `cut`, the power too. A new one opens the disk.
    pub fn restart(&mut self, cut: Option<Cut>) {
        if let Some(cut) = cut {
            self.disk.power_cut(cut);
        }
        let mut out = StoreOut::default();
        self.store = Store::open(self.config, &mut out);
        self.lanes = [VecDeque::new(), VecDeque::new()];
        self.recovered = None;
        self.events.clear();
        self.is_full = false;
        self.absorb(out);
    }

    /// Carries the recovery through, and checks it against the model. From then on what it
    /// reported is what must stay.
    pub fn recover(&mut self) -> Fitness {
        assert_eq!(self.run(), End::Quiet, "{:?}", self.events.last());
        let recovered = self.recovered.clone().expect("recovery ended");
        let fits = (self.durable_commands..=self.commands.len())
            .rev()
            .find(|n| self.state_after(*n).matches(&recovered));
        let Some(fits) = fits else {
            panic!(
                "recovered {recovered:#?}\nfits no prefix of {:#?}\nfrom {} on, {:#?}",
                self.commands,
                self.durable_commands,
                self.disk.listing()
            );
        };
        assert_eq!(self.store.last(), self.state_after(fits).last());
        assert_eq!(self.store.durable(), self.store.last());
        self.accept_promises(recovered.epochs);
        self.origin = self.state_after(fits);
        self.commands.clear();
        self.durable_commands = 0;
        self.truncates_reported = 0;
        self.installs_reported = 0;
        self.committed = recovered.snapshot.map_or(Zxid::ZERO, |s| s.0);
        self.epoch = self.epoch.max(self.origin.last().epoch().0) + 1;
        recovered.fitness
    }

    /// Carries the recovery of a rotten disk through: what it reports must be the state
    /// cut short. Goes on from there.
    pub fn recover_damaged(&mut self) -> Recovered {
        assert_eq!(self.run(), End::Quiet, "{:?}", self.events.last());
        let recovered = self.recovered.clone().expect("recovery ended");
        let state = self.state();
        assert!(state.begins_with(&recovered), "invented: {recovered:#?}");
        self.origin = State {
            root: recovered.snapshot.clone(),
            entries: recovered.tail.clone(),
        };
        self.commands.clear();
        self.durable_commands = 0;
        self.truncates_reported = 0;
        self.installs_reported = 0;
        self.committed = self.origin.base();
        self.epoch += 1;
        recovered
    }

    /// Carries the recovery of a disk that somebody wrote on: it must end, no more.
    pub fn recover_hostile(&mut self) {
        assert_eq!(self.run(), End::Quiet);
        assert!(self.recovered.is_some(), "recovery ended");
    }

    /// The last promise reported durable.
    pub fn recovered_promise(&self) -> Option<EpochRecord> {
        self.promises_durable.map(|at| self.promises[at])
    }

    fn accept_promises(&mut self, found: Option<EpochRecord>) {
        match found {
            None => assert_eq!(self.promises_durable, None, "promises are lost"),
            Some(found) => {
                let at = self.promises.iter().position(|p| *p == found);
                let at = at.expect("a promise that was asked for");
                assert!(
                    self.promises_durable.is_none_or(|d| d <= at),
                    "an old promise"
                );
                self.promises.truncate(at + 1);
                self.promises_durable = Some(at);
            }
        }
        if found.is_none() {
            self.promises.clear();
        }
    }

    /// A recovered store must still do everything, and keep it through a power cut.
    pub fn encore(&mut self) {
        assert_eq!(self.play(ENCORE), End::Quiet);
        assert!(self.all_durable(), "something hangs");
        self.restart(Some(Cut::Drop));
        let before = self.state();
        let fitness = self.recover();
        assert_eq!(self.state(), before);
        assert_eq!(fitness, Fitness::Whole);
    }
}
