//! The store as one machine: recovery first, then log, snapshots, epochs and mark side by
//! side.
//!
//! Feed it completions ([`Store::step`]) and the time when its deadline comes
//! ([`Store::timer`]); it answers with operations and events. It owns no thread of thought of its
//! own: each room decides for itself, and this file carries what one room must tell
//! another (a durable log lets a snapshot take its name; a durable snapshot lets old log
//! go). After [`StoreEvent::Failed`] it does nothing any more.

use super::epochs::EpochSaver;
use super::jobs::{Jobs, delete_files};
use super::mark::MarkKeeper;
use super::recovery::{Ready, Recovery};
use super::snapshot::{Progress, Snapshots};
use super::writer::LogWriter;
use super::{Entry, EpochRecord, StoreConfig, StoreEvent, StoreOut};
use crate::base::disk::{DiskDone, DiskLane};
use crate::base::ids::Zxid;
use crate::base::time::{Mono, earlier};
use bytes::Bytes;

#[derive(Clone, Debug)]
struct Rooms {
    log: LogWriter,
    snapshots: Snapshots,
    epochs: EpochSaver,
    mark: MarkKeeper,
}

#[derive(Clone, Debug)]
enum Phase {
    Recovering(Box<Recovery>),
    Running(Box<Rooms>),
    Failed,
}

/// Log, snapshots and promises of one server; see the room's description.
///
/// Commands may be given once [`StoreEvent::Recovered`] was reported. They are carried
/// out in the order given; each answers with its event when it is durable.
#[derive(Clone, Debug)]
pub struct Store {
    config: StoreConfig,
    jobs: Jobs,
    phase: Phase,
    full: bool,
}

impl Store {
    /// Begins to recover what is on disk; [`StoreEvent::Recovered`] follows.
    pub fn open(config: StoreConfig, out: &mut StoreOut) -> Store {
        assert!(
            config.snapshots_kept >= 2,
            "fewer than two snapshots are no fallback"
        );
        assert!(config.batch_bytes_max > 0, "a batch must hold something");
        let mut jobs = Jobs::default();
        let recovery = Recovery::begin(config, &mut jobs, out);
        Store {
            config,
            jobs,
            phase: Phase::Recovering(Box::new(recovery)),
            full: false,
        }
    }

    /// Takes a completion. One that was never asked for is ignored.
    pub fn step(&mut self, now: Mono, done: DiskDone, out: &mut StoreOut) {
        let Some((job, result)) = self.jobs.done(done, out) else {
            return;
        };
        let outcome = match &mut self.phase {
            Phase::Recovering(recovery) => recovery
                .finished(job, result, now, &mut self.jobs, out)
                .map(|ready| {
                    if let Some(ready) = ready {
                        self.run(*ready, now, out);
                    }
                }),
            Phase::Running(rooms) => rooms.finished(job, &result, now, &mut self.jobs, out),
            Phase::Failed => return,
        };
        match outcome {
            Ok(()) => self.settle(now, out),
            Err(reason) => {
                self.phase = Phase::Failed;
                out.events.push(StoreEvent::Failed { reason });
            }
        }
    }

    /// Call it when [`Store::deadline`] has come; earlier does no harm.
    pub fn timer(&mut self, now: Mono, out: &mut StoreOut) {
        let jobs = &mut self.jobs;
        match &mut self.phase {
            Phase::Recovering(recovery) => recovery.timer(now, jobs, out),
            Phase::Running(rooms) => {
                rooms.log.timer(now, jobs, out);
                rooms.epochs.timer(now, jobs, out);
                let end = rooms.log.durable_end();
                rooms.mark.timer(now, end, jobs, out);
            }
            Phase::Failed => {}
        }
        self.settle(now, out);
    }

    /// When [`Store::timer`] is next needed.
    pub fn deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Recovering(recovery) => recovery.deadline(),
            Phase::Running(rooms) => {
                let log = earlier(rooms.log.deadline(), rooms.epochs.deadline());
                earlier(log, rooms.mark.deadline())
            }
            Phase::Failed => None,
        }
    }

    /// Appends a record. It must directly follow [`Store::last`] ([`Zxid::precedes`]);
    /// [`StoreEvent::LogDurable`] tells when it is durable.
    pub fn append(&mut self, entry: Entry, out: &mut StoreOut) {
        self.with(|rooms, jobs| {
            rooms.log.append(entry);
            rooms.log.pump(jobs, out);
        });
    }

    /// Makes a promise durable in both copies; [`StoreEvent::EpochsDurable`] follows.
    pub fn save_epochs(&mut self, record: EpochRecord, out: &mut StoreOut) {
        self.with(|rooms, jobs| rooms.epochs.save(record, jobs, out));
    }

    /// Cuts the log after `after`, which must not lie before the newest snapshot;
    /// [`StoreEvent::Truncated`] follows once nothing later can come back. What was
    /// appended before and lies beyond is not reported durable any more, and the next
    /// record follows `after`.
    pub fn truncate(&mut self, after: Zxid, out: &mut StoreOut) {
        self.with(|rooms, jobs| {
            rooms.log.truncate(after);
            rooms.log.pump(jobs, out);
        });
    }

    /// Begins an own snapshot of the state at `zxid`; one at a time
    /// ([`Store::snapshot_busy`]).
    pub fn snapshot_begin(&mut self, zxid: Zxid, out: &mut StoreOut) {
        self.with(|rooms, jobs| {
            let generation = rooms.log.generation();
            rooms.snapshots.begin(zxid, generation, jobs, out);
        });
    }

    /// More of it; see [`Store::snapshot_backlog_bytes`] for when to wait.
    pub fn snapshot_chunk(&mut self, data: Bytes, out: &mut StoreOut) {
        self.with(|rooms, jobs| rooms.snapshots.chunk(data, jobs, out));
    }

    /// The end of it: [`StoreEvent::SnapshotDurable`] or [`StoreEvent::SnapshotFailed`]
    /// follows (the latter perhaps came already). It becomes durable no earlier than the
    /// log up to its zxid.
    pub fn snapshot_end(&mut self, out: &mut StoreOut) {
        self.with(|rooms, jobs| {
            rooms.snapshots.end();
            rooms.snapshots.settle(rooms.log.durable(), jobs, out);
        });
    }

    /// True from [`Store::snapshot_begin`] to the event that ends it.
    pub fn snapshot_busy(&self) -> bool {
        self.rooms().is_some_and(|rooms| rooms.snapshots.busy())
    }

    /// Bytes of snapshots given and not yet written; a caller that feeds chunks bounds this.
    pub fn snapshot_backlog_bytes(&self) -> usize {
        self.rooms()
            .map_or(0, |rooms| rooms.snapshots.backlog_bytes())
    }

    /// Begins to take a leader's snapshot; one that did not end is forgotten. Between
    /// [`Store::install_end`] and its event no other may begin.
    pub fn install_begin(&mut self, zxid: Zxid, out: &mut StoreOut) {
        self.with(|rooms, jobs| rooms.snapshots.install_begin(zxid, jobs, out));
    }

    /// More of it.
    pub fn install_chunk(&mut self, data: Bytes, out: &mut StoreOut) {
        self.with(|rooms, jobs| rooms.snapshots.install_chunk(data, jobs, out));
    }

    /// The end of it: the log existing now is void once [`StoreEvent::Installed`] is
    /// reported, and as it was before after [`StoreEvent::InstallFailed`]. A power cut
    /// leaves one or the other. The next record follows the snapshot's zxid.
    pub fn install_end(&mut self, out: &mut StoreOut) {
        self.with(|rooms, jobs| {
            let (zxid, generation) = rooms.snapshots.install_end();
            rooms.log.install(zxid, generation);
            let progress = rooms.snapshots.settle_failed_install(jobs, out);
            rooms.follow(progress, jobs, out);
            rooms.snapshots.settle(rooms.log.durable(), jobs, out);
            rooms.log.pump(jobs, out);
        });
    }

    /// Forgets a leader's snapshot that has not ended; nothing when there is none.
    pub fn install_abort(&mut self, out: &mut StoreOut) {
        self.with(|rooms, jobs| rooms.snapshots.install_abort(jobs, out));
    }

    /// Forgets noticed damage because a leader has filled this server again, though its
    /// history did not reach the damage's zxid (which was never committed). Without this,
    /// damage is forgotten when the durable log reaches that zxid.
    pub fn heal(&mut self, now: Mono) {
        self.with(|rooms, _| {
            rooms.mark.heal();
            let (place, zxid) = rooms.log.durable_end();
            rooms.mark.durable(place, zxid, now);
        });
    }

    /// The last zxid appended, or where the log was cut or a snapshot installed since.
    pub fn last(&self) -> Zxid {
        self.rooms().map_or(Zxid::ZERO, |rooms| rooms.log.last())
    }

    /// The last zxid reported durable.
    pub fn durable(&self) -> Zxid {
        self.rooms().map_or(Zxid::ZERO, |rooms| rooms.log.durable())
    }

    /// Log commands given and not yet begun; a caller that appends bounds this.
    pub fn backlog(&self) -> usize {
        self.rooms().map_or(0, |rooms| rooms.log.backlog())
    }

    fn rooms(&self) -> Option<&Rooms> {
        match &self.phase {
            Phase::Running(rooms) => Some(rooms),
            Phase::Recovering(_) | Phase::Failed => None,
        }
    }

    fn with(&mut self, command: impl FnOnce(&mut Rooms, &mut Jobs)) {
        match &mut self.phase {
            Phase::Running(rooms) => command(rooms, &mut self.jobs),
            Phase::Recovering(_) => panic!("a command before Recovered"),
            Phase::Failed => {}
        }
    }

    fn run(&mut self, ready: Ready, now: Mono, out: &mut StoreOut) {
        let repair = ready.repair;
        let mut rooms = Rooms {
            log: LogWriter::new(self.config, repair.layout),
            snapshots: Snapshots::new(
                self.config.snapshots_kept,
                repair.snapshots,
                ready.next_generation,
                ready.next_serial,
            ),
            epochs: EpochSaver::new(ready.epochs),
            mark: MarkKeeper::new(repair.mark),
        };
        let (place, zxid) = rooms.log.durable_end();
        rooms.mark.durable(place, zxid, now);
        self.phase = Phase::Running(Box::new(rooms));
        out.events.push(StoreEvent::Recovered(ready.report));
    }

    /// What may have become possible, and news of the space left.
    fn settle(&mut self, now: Mono, out: &mut StoreOut) {
        let full = match &mut self.phase {
            Phase::Recovering(recovery) => recovery.full(),
            Phase::Running(rooms) => {
                rooms.log.pump(&mut self.jobs, out);
                rooms
                    .snapshots
                    .settle(rooms.log.durable(), &mut self.jobs, out);
                let (place, zxid) = rooms.log.durable_end();
                rooms.mark.durable(place, zxid, now);
                rooms.log.full() || rooms.epochs.full()
            }
            Phase::Failed => return,
        };
        if full != self.full {
            self.full = full;
            out.events.push(StoreEvent::Full(full));
        }
    }
}

impl Rooms {
    fn finished(
        &mut self,
        job: super::jobs::JobId,
        result: &super::jobs::JobResult,
        now: Mono,
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) -> Result<(), String> {
        if let Some(outcome) = self.log.finished(job, result, now, jobs, out) {
            if outcome?.is_some() {
                self.snapshots.installed(jobs, out);
            }
            return Ok(());
        }
        if let Some(outcome) = self.epochs.finished(job, result, now, jobs, out) {
            return outcome;
        }
        if let Some(outcome) = self.mark.finished(job, result, now) {
            return outcome;
        }
        if let Some(outcome) = self.snapshots.finished(job, result, jobs, out) {
            let progress = outcome?;
            self.follow(progress, jobs, out);
            return Ok(());
        }
        // An abandoned snapshot's operations, or deletions nobody waits for.
        match result {
            Err(failure) if failure.names_in_doubt() => Err(failure.reason("snapshot")),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn follow(&mut self, progress: Progress, jobs: &mut Jobs, out: &mut StoreOut) {
        match progress {
            Progress::None => {}
            Progress::OwnNamed(zxid) => {
                self.log.raise_floor(zxid);
                out.events.push(StoreEvent::SnapshotDurable { zxid });
                self.retire(jobs, out);
            }
            Progress::InstallNamed(generation) => self.log.install_ready(generation),
            Progress::InstallFailed(generation) => self.log.install_failed(generation, out),
        }
    }

    fn retire(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        let Some((mut names, zxid)) = self.snapshots.retire(self.log.generation()) else {
            return;
        };
        names.extend(self.log.retire(zxid));
        if !names.is_empty() {
            jobs.start(DiskLane::Snapshot, vec![delete_files(names)], out);
        }
    }
}
