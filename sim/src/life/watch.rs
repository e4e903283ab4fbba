//! The observer inside one server's driver: tells the stage, and stops the process at the
//! point where it is to die.

use super::stage::{Signal, StageHandle};
use crate::invariants::Witness;
use crate::plan::CrashPoint;
use gamekeeper_core::base::{DiskLane, DiskOp, DiskRequest, Event, Now, ServerId};
use gamekeeper_core::peer::Output;
use gamekeeper_server::{Flow, Observer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Writes to the snapshot lane after which a process dies "in the middle of a snapshot".
const SNAPSHOT_WRITES_BEFORE_DEATH: u32 = 2;

/// Which point a server is armed for, shared by the nemesis and the watcher.
#[derive(Clone, Debug, Default)]
pub struct Trigger(Arc<AtomicU8>);

impl Trigger {
    /// Arms for a point, or with `None` disarms.
    pub fn set(&self, point: Option<CrashPoint>) {
        let place = CrashPoint::ALL.iter().position(|p| Some(*p) == point);
        let code = place.map_or(0, |place| place as u8 + 1);
        self.0.store(code, Ordering::Relaxed);
    }

    fn get(&self) -> Option<CrashPoint> {
        let code = self.0.load(Ordering::Relaxed);
        CrashPoint::ALL
            .get(usize::from(code).wrapping_sub(1))
            .copied()
    }
}

/// The world as the watcher of one server needs it.
pub trait Scenery: Send + Sync {
    /// True virtual time, nanoseconds.
    fn now_ns(&self) -> u64;

    /// Makes a fact of this server part of the run's fingerprint.
    fn note(&self, numbers: [u64; 3]);
}

/// Watches one process of one server.
pub struct Watcher {
    server: ServerId,
    incarnation: u32,
    stage: StageHandle,
    scenery: Arc<dyn Scenery>,
    trigger: Trigger,
    /// Of the way to the armed point: epoch copy last touched, snapshot writes, rename seen.
    epoch_copy: String,
    snapshot_writes: u32,
    snapshot_renamed: bool,
}

impl Watcher {
    /// A watcher of a process that begins now.
    pub fn new(
        server: ServerId,
        stage: StageHandle,
        trigger: Trigger,
        scenery: Arc<dyn Scenery>,
    ) -> Watcher {
        let incarnation = stage.begin(server);
        Watcher {
            server,
            incarnation,
            stage,
            scenery,
            trigger,
            epoch_copy: String::new(),
            snapshot_writes: 0,
            snapshot_renamed: false,
        }
    }

    /// True when the process stands at its point.
    fn at(&mut self, point: CrashPoint, output: &Output) -> bool {
        match (point, output) {
            (CrashPoint::AfterLogSync, Output::Event(Event::Acked { .. })) => true,
            (point, Output::Disk(request)) => self.disk_at(point, request),
            (_, _) => false,
        }
    }

    fn disk_at(&mut self, point: CrashPoint, request: &DiskRequest) -> bool {
        let file = file_of(&request.op);
        match point {
            CrashPoint::AfterLogWrite => {
                request.lane == DiskLane::Log
                    && matches!(request.op, DiskOp::Sync { .. })
                    && file.starts_with("log.")
            }
            CrashPoint::AfterLogSync => false,
            CrashPoint::AfterEpochSync => {
                let Some(copy) = file.get(.."epoch.x".len()) else {
                    return false;
                };
                if !copy.starts_with("epoch.") {
                    return false;
                }
                let other = !self.epoch_copy.is_empty() && self.epoch_copy != copy;
                self.epoch_copy = copy.to_string();
                other
            }
            CrashPoint::InSnapshot => {
                if request.lane == DiskLane::Snapshot {
                    let write = matches!(request.op, DiskOp::Write { .. });
                    self.snapshot_writes += u32::from(write);
                    let sync = matches!(request.op, DiskOp::Sync { .. });
                    return self.snapshot_writes > SNAPSHOT_WRITES_BEFORE_DEATH || sync;
                }
                false
            }
            CrashPoint::AfterSnapshotRename => {
                if request.lane == DiskLane::Snapshot {
                    let renamed = self.snapshot_renamed;
                    self.snapshot_renamed |= matches!(request.op, DiskOp::Rename { .. });
                    return renamed && matches!(request.op, DiskOp::SyncDir);
                }
                false
            }
        }
    }
}

/// What of an event belongs into the fingerprint: what was decided, not how it came about.
fn numbers_of(event: &Event) -> Option<[u64; 3]> {
    match event {
        Event::Delivered { zxid, hash } => Some([1, zxid.0, u64::from(*hash)]),
        Event::Applied { zxid, digest } => Some([2, zxid.0, *digest]),
        Event::SnapshotInstalled { zxid, digest } => Some([3, zxid.0, *digest]),
        Event::Established {
            epoch,
            history_last,
        } => Some([4, epoch.0.into(), history_last.0]),
        Event::Recovered { last, accepted, .. } => Some([5, last.0, accepted.0.into()]),
        Event::Role(_)
        | Event::EpochAccepted(_)
        | Event::EpochCurrent(_)
        | Event::Proposed { .. }
        | Event::Acked { .. }
        | Event::Truncated { .. }
        | Event::SnapshotTaken { .. }
        | Event::SessionExpiring(_)
        | Event::Probe(_)
        | Event::Halted { .. } => None,
    }
}

fn file_of(op: &DiskOp) -> &str {
    match op {
        DiskOp::Create { file }
        | DiskOp::Write { file, .. }
        | DiskOp::Sync { file }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete { file }
        | DiskOp::Read { file, .. } => file,
        DiskOp::Rename { from, .. } => from,
        DiskOp::SyncDir | DiskOp::List => "",
    }
}

impl Observer for Watcher {
    fn event(&mut self, _now: Now, event: &Event) {
        let by = Witness {
            at_ns: self.scenery.now_ns(),
            server: self.server,
            incarnation: self.incarnation,
        };
        if let Some(numbers) = numbers_of(event) {
            self.scenery.note(numbers);
        }
        self.stage.event(by, event);
    }

    fn before(&mut self, _now: Now, output: &Output) -> Flow {
        let Some(point) = self.trigger.get() else {
            self.epoch_copy.clear();
            self.snapshot_writes = 0;
            self.snapshot_renamed = false;
            return Flow::Continue;
        };
        if !self.at(point, output) {
            return Flow::Continue;
        }
        self.trigger.set(None);
        self.stage.signal(Signal::Point(self.server));
        Flow::Die
    }

    fn stepped(&mut self, count: u64) {
        self.stage.lock().steps += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_core::base::DiskToken;

    struct Nowhere;

    impl Scenery for Nowhere {
        fn now_ns(&self) -> u64 {
            0
        }
        fn note(&self, _numbers: [u64; 3]) {}
    }

    fn watcher() -> (Watcher, Trigger, StageHandle) {
        let stage = StageHandle::new(3, 3, false);
        let trigger = Trigger::default();
        let nowhere = Arc::new(Nowhere);
        let watcher = Watcher::new(ServerId(1), stage.clone(), trigger.clone(), nowhere);
        (watcher, trigger, stage)
    }

    fn disk(lane: DiskLane, op: DiskOp) -> Output {
        Output::Disk(DiskRequest {
            token: DiskToken(1),
            lane,
            op,
        })
    }

    fn sync(file: &str) -> Output {
        let file = file.to_string();
        disk(DiskLane::Log, DiskOp::Sync { file })
    }

    #[test]
    fn process_dies_between_write_and_sync_when_armed_and_not_before() {
        let (mut watcher, trigger, stage) = watcher();
        let log = sync("log.0000000000000001");
        assert_eq!(watcher.before(Now::default(), &log), Flow::Continue);
        trigger.set(Some(CrashPoint::AfterLogWrite));
        assert_eq!(
            watcher.before(Now::default(), &sync("epoch.a")),
            Flow::Continue
        );
        assert_eq!(watcher.before(Now::default(), &log), Flow::Die);
        assert_eq!(stage.signals(), [Signal::Point(ServerId(1))]);
    }

    #[test]
    fn process_dies_between_the_two_epoch_copies() {
        let (mut watcher, trigger, _) = watcher();
        trigger.set(Some(CrashPoint::AfterEpochSync));
        for file in ["epoch.a.tmp", "epoch.a", "mark"] {
            assert_eq!(watcher.before(Now::default(), &sync(file)), Flow::Continue);
        }
        assert_eq!(
            watcher.before(Now::default(), &sync("epoch.b.tmp")),
            Flow::Die
        );
    }
}
