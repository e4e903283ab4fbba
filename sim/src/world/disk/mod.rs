//! A simulated disk: one directory of one host, with lanes, delays and faults.
//!
//! No task runs here. Operations lie in their lane with a due time on the disk's own clock,
//! which stands still while the disk is stuck; whoever looks first after that time carries
//! them out, in order of due time, so that what anybody sees is what should have happened by
//! then. Directories outlive the programs of their host; what happens to them when a program
//! or a machine dies is row D1 and row D2 of the fault model.
//!
//! What always holds: operations of a lane take effect and complete in order; a dead program's
//! operations reach nothing; every draw hangs on host, directory and number of the operation.

mod control;
mod handle;
mod judge;
mod store;

pub use control::{DiskControl, DiskImage, Rot};
pub use handle::SimDisk;
pub use store::SECTOR_BYTES;

use super::HostId;
use super::alarm::{NEVER, Waiter};
use super::conn::Scene;
use super::keyed::{Key, Law};
use crate::trace::Kind;
use gamekeeper_core::base::{DiskDone, DiskError, DiskLane, DiskOp, DiskRequest, DiskValue};
use std::collections::VecDeque;
use store::Store;

/// Most bytes a simulated file may have: a wild offset is a bug of the program under test,
/// and must not take the memory of the tool.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// How long a disk takes when nothing is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// Everything but syncs.
    pub write: Law,
    /// Syncs of files and of the directory.
    pub sync: Law,
}

impl Default for DiskConfig {
    fn default() -> DiskConfig {
        DiskConfig {
            write: Law::us(5, 20),
            sync: Law::us(300, 1_500),
        }
    }
}

/// A fault that waits for the next operation it fits, and strikes once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// A file's sync fails (row D5): pending writes are kept or dropped at random and clean.
    SyncError,
    /// The directory's sync fails: pending changes of names are kept or dropped at random.
    SyncDirError,
    /// A write fails; nothing was written (row D6).
    WriteError,
    /// A write fails; a first part was written (row D6).
    ShortWrite,
    /// A read fails once.
    ReadError,
}

struct Armed {
    fault: DiskFault,
    prefix: String,
}

struct Queued {
    /// On the disk's clock.
    due_ns: u64,
    number: u64,
    session: u64,
    request: DiskRequest,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Queued>,
    last_due_ns: u64,
}

/// A host's directory.
pub(super) struct Directory {
    pub(super) host: HostId,
    pub(super) name: String,
    key: Key,
    config: DiskConfig,
    store: Store,
    lanes: [Lane; 2],
    done: VecDeque<DiskDone>,
    waiter: Waiter,
    /// Number of the handle that has it open, if any.
    open: Option<u64>,
    sessions: u64,
    operations: u64,
    cuts: u64,
    stuck_since_ns: Option<u64>,
    stuck_ns: u64,
    extra_ns: u64,
    armed: Vec<Armed>,
    space_bytes: Option<u64>,
    /// Faults that struck.
    struck: u64,
}

impl Directory {
    pub(super) fn new(host: HostId, name: &str, key: Key, config: DiskConfig) -> Directory {
        Directory {
            host,
            name: name.to_string(),
            key,
            config,
            store: Store::default(),
            lanes: Default::default(),
            done: VecDeque::new(),
            waiter: Waiter::default(),
            open: None,
            sessions: 0,
            operations: 0,
            cuts: 0,
            stuck_since_ns: None,
            stuck_ns: 0,
            extra_ns: 0,
            armed: Vec::new(),
            space_bytes: None,
            struck: 0,
        }
    }

    /// Opens it for a program; `None` while a handle of this program has it open.
    pub(super) fn open(&mut self, scene: &mut Scene<'_>) -> Option<u64> {
        self.settle(scene);
        if self.open.is_some() {
            return None;
        }
        self.sessions += 1;
        self.open = Some(self.sessions);
        self.done.clear();
        self.open
    }

    pub(super) fn close(&mut self, session: u64) {
        if self.open == Some(session) {
            self.open = None;
            self.done.clear();
            self.waiter.forget();
        }
    }

    /// The disk's clock.
    fn clock_ns(&self, now_ns: u64) -> u64 {
        self.stuck_since_ns.unwrap_or(now_ns) - self.stuck_ns
    }

    /// When something due on the disk's clock will be due in truth.
    fn true_ns(&self, due_ns: u64) -> u64 {
        match self.stuck_since_ns {
            Some(_) => NEVER,
            None => due_ns + self.stuck_ns,
        }
    }

    pub(super) fn submit(&mut self, scene: &mut Scene<'_>, session: u64, request: DiskRequest) {
        if self.open != Some(session) {
            return;
        }
        self.settle(scene);
        let clock_ns = self.clock_ns(scene.now_ns);
        self.operations += 1;
        let number = self.operations;
        let key = self.key.and(number);
        let law = match &request.op {
            DiskOp::Sync { .. } | DiskOp::SyncDir => &self.config.sync,
            DiskOp::Create { .. }
            | DiskOp::Write { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Delete { .. }
            | DiskOp::Read { .. }
            | DiskOp::List => &self.config.write,
        };
        let takes_ns = law.draw(key) + key.and(3).upto(self.extra_ns);
        let lane = &mut self.lanes[lane_index(request.lane)];
        lane.last_due_ns = lane.last_due_ns.max(clock_ns) + takes_ns;
        let due_ns = lane.last_due_ns;
        let numbers = [request.token.0, number, due_ns];
        (scene.trace).numbers(scene.now_ns, self.host.0, Kind::Submit, numbers);
        lane.queue.push_back(Queued {
            due_ns,
            number,
            session,
            request,
        });
        let at_ns = self.next_ns();
        self.waiter.ring_at(scene.alarms, scene.now_ns, at_ns);
    }

    fn next_ns(&self) -> u64 {
        let fronts = self.lanes.iter().filter_map(|lane| lane.queue.front());
        let first = fronts.map(|queued| queued.due_ns).min();
        first.map_or(NEVER, |due_ns| self.true_ns(due_ns))
    }

    pub(super) fn poll_done(
        &mut self,
        scene: &mut Scene<'_>,
        session: u64,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<DiskDone> {
        if self.open != Some(session) {
            return std::task::Poll::Pending;
        }
        self.settle(scene);
        if let Some(done) = self.done.pop_front() {
            return std::task::Poll::Ready(done);
        }
        let at_ns = self.next_ns();
        self.waiter.wait(scene.alarms, cx, scene.now_ns, at_ns);
        std::task::Poll::Pending
    }

    /// Carries out everything that is due.
    pub(super) fn settle(&mut self, scene: &mut Scene<'_>) {
        let clock_ns = self.clock_ns(scene.now_ns);
        while let Some(queued) = self.take_due(clock_ns) {
            let at_ns = queued.due_ns + self.stuck_ns;
            self.carry_out(scene, at_ns, queued);
        }
    }

    fn take_due(&mut self, clock_ns: u64) -> Option<Queued> {
        let first = (0..self.lanes.len())
            .filter_map(|lane| {
                let front = self.lanes[lane].queue.front()?;
                (front.due_ns <= clock_ns).then_some((front.due_ns, front.number, lane))
            })
            .min()?;
        self.lanes[first.2].queue.pop_front()
    }

    fn carry_out(&mut self, scene: &mut Scene<'_>, at_ns: u64, queued: Queued) {
        let key = self.key.and(queued.number).and(7);
        let result = self.perform(&queued.request.op, key);
        let told = match &result {
            Ok(_) => 0,
            Err(error) => 1 + *error as u64,
        };
        let numbers = [queued.request.token.0, queued.number, told];
        (scene.trace).numbers(at_ns, self.host.0, Kind::Disk, numbers);
        if self.open == Some(queued.session) {
            let token = queued.request.token;
            self.done.push_back(DiskDone { token, result });
        }
    }

    fn perform(&mut self, op: &DiskOp, key: Key) -> Result<DiskValue, DiskError> {
        match op {
            DiskOp::Create { file } => self.create(file),
            DiskOp::Write { file, offset, data } => {
                let end = offset.saturating_add(data.len() as u64);
                assert!(end <= FILE_BYTES_MAX, "{file}: a write ends at {end}");
                self.write(file, *offset, data, key)
            }
            DiskOp::Sync { file } => self.sync(file, key),
            DiskOp::Truncate { file, len } => {
                assert!(*len <= FILE_BYTES_MAX, "{file}: truncated to {len}");
                self.store.truncate(file, *len).map(|()| DiskValue::Done)
            }
            DiskOp::Rename { from, to } => self.store.rename(from, to).map(|()| DiskValue::Done),
            DiskOp::Delete { file } => self.store.delete(file).map(|()| DiskValue::Done),
            DiskOp::SyncDir => self.sync_dir(key),
            DiskOp::Read { file, offset, len } => {
                if self.store.file(file).is_ok() && self.strikes(DiskFault::ReadError, file) {
                    return Err(DiskError::Io);
                }
                self.store.read(file, *offset, *len).map(DiskValue::Bytes)
            }
            DiskOp::List => Ok(DiskValue::Listing(self.store.list())),
        }
    }

    fn create(&mut self, file: &str) -> Result<DiskValue, DiskError> {
        let exists = self.store.file(file).is_ok();
        let full = |space: u64| space <= self.store.used();
        if !exists && self.space_bytes.is_some_and(full) {
            self.struck += 1;
            return Err(DiskError::NoSpace);
        }
        self.store.create(file).map(|()| DiskValue::Done)
    }

    fn write(
        &mut self,
        file: &str,
        offset: u64,
        data: &bytes::Bytes,
        key: Key,
    ) -> Result<DiskValue, DiskError> {
        let length = self.store.file(file)?.live.len() as u64;
        if self.strikes(DiskFault::WriteError, file) {
            return Err(DiskError::Io);
        }
        if self.strikes(DiskFault::ShortWrite, file) {
            let part = key.upto((data.len() as u64).saturating_sub(1));
            self.store
                .write(file, offset, data.slice(..part as usize))?;
            return Err(DiskError::Io);
        }
        let grows = (offset + data.len() as u64).saturating_sub(length);
        let room = |space: u64| space.saturating_sub(self.store.used());
        if let Some(room) = self.space_bytes.map(room)
            && grows > room
            && !data.is_empty()
        {
            self.struck += 1;
            // What fits may have been written; the gap before it takes room as well.
            let fits = (length + room).saturating_sub(offset);
            let part = fits.min(key.upto(fits)) as usize;
            self.store.write(file, offset, data.slice(..part))?;
            return Err(DiskError::NoSpace);
        }
        let written = self.store.write(file, offset, data.clone());
        written.map(|()| DiskValue::Done)
    }

    fn sync(&mut self, file: &str, key: Key) -> Result<DiskValue, DiskError> {
        self.store.file(file)?;
        if self.strikes(DiskFault::SyncError, file) {
            let keeps = |nth| key.and(nth).chance(500);
            self.store.sync_badly(file, keeps)?;
            return Err(DiskError::Io);
        }
        self.store.sync(file).map(|()| DiskValue::Done)
    }

    fn sync_dir(&mut self, key: Key) -> Result<DiskValue, DiskError> {
        if self.strikes(DiskFault::SyncDirError, "") {
            for (nth, change) in (0..).zip(self.store.name_changes.drain(..)) {
                if key.and(nth).chance(500) {
                    change.apply(&mut self.store.durable_names);
                }
            }
            self.store.collect();
            return Err(DiskError::Io);
        }
        self.store.sync_dir();
        Ok(DiskValue::Done)
    }

    /// True, once, when such a fault waits for such a file.
    fn strikes(&mut self, fault: DiskFault, file: &str) -> bool {
        let waits = |armed: &Armed| armed.fault == fault && file.starts_with(&armed.prefix);
        match self.armed.iter().position(waits) {
            Some(index) => {
                self.armed.remove(index);
                self.struck += 1;
                true
            }
            None => false,
        }
    }

    /// The program died (row D1). What it had written stays visible. The operation at work in
    /// each lane may have been carried out; those behind it never were.
    pub(super) fn program_died(&mut self, scene: &mut Scene<'_>) {
        self.settle(scene);
        self.open = None;
        self.done.clear();
        self.waiter.forget();
        for lane in 0..self.lanes.len() {
            let queue = std::mem::take(&mut self.lanes[lane].queue);
            self.lanes[lane].last_due_ns = 0;
            let Some(first) = queue.into_iter().next() else {
                continue;
            };
            // A sync that was under way proves nothing, so it is not carried out: what it
            // might have made durable a power cut may keep as well.
            let syncs = matches!(first.request.op, DiskOp::Sync { .. } | DiskOp::SyncDir);
            let key = self.key.and(first.number).and(8);
            if !syncs && self.stuck_since_ns.is_none() && key.chance(500) {
                let at_ns = scene.now_ns;
                self.carry_out(scene, at_ns, first);
            }
        }
    }

    /// The machine lost power (row D2).
    pub(super) fn power_cut(&mut self, scene: &mut Scene<'_>) {
        self.program_died(scene);
        self.cuts += 1;
        let key = self.key.and(u64::MAX).and(self.cuts);
        judge::power_cut(&mut self.store, key);
    }

    /// Drops what keeps tasks alive.
    pub(super) fn clear(&mut self) {
        self.waiter.forget();
    }
}

fn lane_index(lane: DiskLane) -> usize {
    match lane {
        DiskLane::Log => 0,
        DiskLane::Snapshot => 1,
    }
}
