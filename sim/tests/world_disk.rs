//! The disk fault model, row by row (section "Disks" of `docs/SIMULATION.md`).

use bytes::Bytes;
use gamekeeper_core::base::{DiskError, DiskLane, DiskOp, DiskRequest, DiskToken, DiskValue, Mono};
use gamekeeper_runtime::{Disk, Runtime};
use gamekeeper_sim::world::{
    self, DiskControl, DiskFault, HostId, Rot, SimDisk, SimRuntime, World, WorldConfig,
};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

const MS: u64 = 1_000_000;

/// A host whose disk the test uses from outside, one operation at a time.
struct Bench {
    world: World,
    host: HostId,
    runtime: Arc<Mutex<Option<SimRuntime>>>,
    disk: Option<SimDisk>,
    token: u64,
}

impl Bench {
    async fn new(world: &World) -> Bench {
        let slot = Arc::new(Mutex::new(None));
        let lent = slot.clone();
        let host = world.host("s1", [10, 0, 0, 1].into(), move |runtime| {
            *lent.lock().unwrap() = Some(runtime);
            std::future::pending()
        });
        let mut bench = Bench {
            world: world.clone(),
            host,
            runtime: slot,
            disk: None,
            token: 0,
        };
        bench.boot().await;
        bench
    }

    async fn boot(&mut self) {
        self.world.start(self.host);
        self.world.sleep_ms(1).await;
        let runtime = self.runtime.lock().unwrap().clone().unwrap();
        self.disk = Some(runtime.disk("data").expect("opens"));
    }

    fn control(&self) -> DiskControl {
        self.world.disk(self.host)
    }

    fn submit(&mut self, op: DiskOp) {
        self.token += 1;
        let request = DiskRequest {
            token: DiskToken(self.token),
            lane: DiskLane::Log,
            op,
        };
        self.disk.as_mut().unwrap().submit(request);
    }

    async fn run(&mut self, op: DiskOp) -> Result<DiskValue, DiskError> {
        self.submit(op);
        let disk = self.disk.as_mut().unwrap();
        let done = poll_fn(|cx| disk.poll_done(cx)).await;
        assert_eq!(done.token, DiskToken(self.token));
        done.result
    }

    async fn ok(&mut self, op: DiskOp) {
        assert_eq!(self.run(op.clone()).await, Ok(DiskValue::Done), "{op:?}");
    }

    /// A synced file under a synced name.
    async fn durable(&mut self, file: &str, bytes: Vec<u8>) {
        self.ok(create(file)).await;
        self.ok(write(file, 0, bytes)).await;
        self.ok(sync(file)).await;
        self.ok(DiskOp::SyncDir).await;
    }

    async fn read(&mut self, file: &str) -> Result<Vec<u8>, DiskError> {
        let file = file.to_string();
        let read = DiskOp::Read {
            file,
            offset: 0,
            len: 1 << 20,
        };
        match self.run(read).await? {
            DiskValue::Bytes(bytes) => Ok(bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn look(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.disk.as_mut().unwrap().poll_done(&mut cx) != Poll::Pending
    }
}

fn create(file: &str) -> DiskOp {
    let file = file.to_string();
    DiskOp::Create { file }
}

fn write(file: &str, offset: u64, data: Vec<u8>) -> DiskOp {
    DiskOp::Write {
        file: file.to_string(),
        offset,
        data: Bytes::from(data),
    }
}

fn sync(file: &str) -> DiskOp {
    let file = file.to_string();
    DiskOp::Sync { file }
}

fn rename(from: &str, to: &str) -> DiskOp {
    let (from, to) = (from.to_string(), to.to_string());
    DiskOp::Rename { from, to }
}

/// Lives a life with a bench.
fn with_bench<T: Send>(seed: u64, act: impl AsyncFnOnce(Bench) -> T + Send) -> T {
    let lived = world::run(WorldConfig::new(seed), async |world: World| {
        act(Bench::new(&world).await).await
    });
    lived.unwrap_or_else(|panic| panic!("{panic}"))
}

#[test]
fn d1_process_crash_keeps_what_was_written_visible_and_makes_nothing_durable() {
    for seed in 0..20 {
        with_bench(seed, async |mut bench: Bench| {
            bench.durable("log", vec![1; 100]).await;
            bench.ok(write("log", 100, vec![2; 100])).await;
            bench.world.crash(bench.host);
            bench.boot().await;
            let all = [vec![1; 100], vec![2; 100]].concat();
            assert_eq!(bench.read("log").await, Ok(all));
            let durable = bench.control().durable_bytes("log");
            assert_eq!(durable, Some(vec![1; 100]));
        });
    }
}

#[test]
fn d1_operation_at_work_when_the_program_dies_happens_or_not_and_those_behind_it_never() {
    let mut seen = BTreeSet::new();
    for seed in 0..30 {
        seen.insert(with_bench(seed, async |mut bench: Bench| {
            bench.durable("log", vec![1]).await;
            bench.submit(write("log", 1, vec![2]));
            bench.submit(write("log", 2, vec![3]));
            bench.world.crash(bench.host);
            bench.boot().await;
            bench.read("log").await.unwrap()
        }));
    }
    assert_eq!(seen, [vec![1], vec![1, 2]].into_iter().collect());
}

#[test]
fn d2_power_cut_never_touches_what_was_synced_and_judges_the_rest() {
    let mut lengths = BTreeSet::new();
    for seed in 0..60 {
        let (log, snap) = with_bench(seed, async |mut bench: Bench| {
            bench.durable("log", vec![1; 700]).await;
            bench.ok(write("log", 700, vec![2; 700])).await;
            bench.ok(create("snap")).await;
            bench.world.power_cut(bench.host);
            bench.boot().await;
            let log = bench.read("log").await.unwrap();
            assert_eq!(bench.control().durable_bytes("log").unwrap(), log);
            (log, bench.read("snap").await)
        });
        assert_eq!(log[..700], [1; 700]);
        lengths.insert((log.len(), snap.is_ok()));
    }
    assert!(lengths.contains(&(700, false)) && lengths.contains(&(1400, true)));
    assert!(lengths.len() > 4, "{lengths:?}");
}

#[test]
fn d2_power_cut_after_a_crash_still_takes_the_unsynced_bytes() {
    let lost = (0..20).any(|seed| {
        with_bench(seed, async |mut bench: Bench| {
            bench.durable("log", vec![1]).await;
            bench.ok(write("log", 1, vec![2])).await;
            bench.world.crash(bench.host);
            bench.world.power_cut(bench.host);
            bench.boot().await;
            bench.read("log").await.unwrap() == [1]
        })
    });
    assert!(lost);
}

#[test]
fn d4_rename_that_was_not_synced_may_be_lost_with_the_old_file_still_there() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        seen.insert(with_bench(seed, async |mut bench: Bench| {
            bench.durable("snap", vec![1]).await;
            bench.ok(create("tmp")).await;
            bench.ok(write("tmp", 0, vec![2])).await;
            bench.ok(sync("tmp")).await;
            bench.ok(rename("tmp", "snap")).await;
            bench.world.power_cut(bench.host);
            bench.boot().await;
            bench.read("snap").await.unwrap()
        }));
    }
    assert_eq!(seen, [vec![1], vec![2]].into_iter().collect());
}

#[test]
fn d5_failed_sync_drops_or_keeps_and_marks_clean_while_the_bytes_stay_visible() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        seen.insert(with_bench(seed, async |mut bench: Bench| {
            bench.durable("log", vec![1]).await;
            bench.ok(write("log", 1, vec![2])).await;
            bench.control().arm(DiskFault::SyncError, "log");
            assert_eq!(bench.run(sync("log")).await, Err(DiskError::Io));
            assert_eq!(bench.control().struck(), 1);
            assert_eq!(bench.read("log").await, Ok(vec![1, 2]));
            // The kernel lost the error: a second sync succeeds and proves nothing.
            bench.ok(sync("log")).await;
            bench.world.crash(bench.host);
            bench.boot().await;
            assert_eq!(bench.read("log").await, Ok(vec![1, 2]));
            bench.control().durable_bytes("log").unwrap()
        }));
    }
    assert_eq!(seen, [vec![1], vec![1, 2]].into_iter().collect());
}

#[test]
fn d6_write_error_writes_nothing_and_a_short_write_a_part() {
    let mut parts = BTreeSet::new();
    for seed in 0..20 {
        parts.insert(with_bench(seed, async |mut bench: Bench| {
            bench.durable("log", vec![1; 10]).await;
            bench.control().arm(DiskFault::WriteError, "log");
            bench.control().arm(DiskFault::ShortWrite, "");
            let failed = bench.run(write("log", 10, vec![2; 10])).await;
            assert_eq!(failed, Err(DiskError::Io));
            assert_eq!(bench.read("log").await, Ok(vec![1; 10]));
            let failed = bench.run(write("log", 10, vec![2; 10])).await;
            assert_eq!(failed, Err(DiskError::Io));
            bench.ok(write("log", 30, vec![3])).await;
            let log = bench.read("log").await.unwrap();
            log.iter().filter(|byte| **byte == 2).count()
        }));
    }
    assert!(parts.len() > 3 && *parts.last().unwrap() < 10, "{parts:?}");
}

#[test]
fn armed_fault_waits_for_the_file_it_is_meant_for() {
    with_bench(1, async |mut bench: Bench| {
        bench.control().arm(DiskFault::SyncError, "log.");
        bench.durable("snap", vec![1]).await;
        bench.ok(create("log.1")).await;
        assert_eq!(bench.run(sync("log.1")).await, Err(DiskError::Io));
        bench.ok(sync("log.1")).await;
        bench.control().arm(DiskFault::SyncDirError, "");
        assert_eq!(bench.run(DiskOp::SyncDir).await, Err(DiskError::Io));
        bench.control().arm(DiskFault::ReadError, "log.");
        assert_eq!(bench.read("log.1").await, Err(DiskError::Io));
        assert_eq!(bench.read("log.1").await, Ok(vec![]));
    });
}

#[test]
fn d7_full_disk_refuses_growth_only_and_recovers_when_there_is_room() {
    with_bench(1, async |mut bench: Bench| {
        bench.durable("log", vec![1; 1000]).await;
        bench.control().fill(10);
        assert_eq!(
            bench.run(write("log", 1000, vec![2; 100])).await,
            Err(DiskError::NoSpace)
        );
        let log = bench.read("log").await.unwrap();
        assert!((1000..=1010).contains(&log.len()));
        bench.control().fill(0);
        assert_eq!(bench.run(create("new")).await, Err(DiskError::NoSpace));
        bench.ok(write("log", 0, vec![3; 1000])).await;
        bench.ok(sync("log")).await;
        let delete = DiskOp::Delete { file: "log".into() };
        bench.ok(delete).await;
        bench.ok(create("new")).await;
        bench.control().set_space(None);
        bench.ok(write("new", 0, vec![4; 5000])).await;
    });
}

#[test]
fn d8_stuck_disk_does_nothing_and_then_goes_on_and_a_slow_one_is_slow() {
    with_bench(1, async |mut bench: Bench| {
        bench.durable("log", vec![1]).await;
        bench.submit(write("log", 1, vec![2]));
        bench.control().set_stuck(true);
        bench.world.sleep_ms(60_000).await;
        assert!(!bench.look(), "a stuck disk completed something");
        assert_eq!(bench.control().visible_bytes("log"), Some(vec![1]));
        let before_ns = bench.world.now_ns();
        bench.control().set_stuck(false);
        let disk = bench.disk.as_mut().unwrap();
        let done = poll_fn(|cx| disk.poll_done(cx)).await;
        assert_eq!(done.result, Ok(DiskValue::Done));
        bench.ok(sync("log")).await;
        assert!(bench.world.now_ns() - before_ns < 10 * MS);
        let mut longest_ns = 0;
        bench.control().set_slow(1000 * MS);
        for _ in 0..10 {
            let before_ns = bench.world.now_ns();
            bench.ok(write("log", 1, vec![2])).await;
            longest_ns = longest_ns.max(bench.world.now_ns() - before_ns);
        }
        assert!((200 * MS..1001 * MS).contains(&longest_ns));
        bench.control().set_slow(0);
        let before_ns = bench.world.now_ns();
        bench.ok(write("log", 1, vec![2])).await;
        assert!(bench.world.now_ns() - before_ns < MS);
    });
}

#[test]
fn d10_rot_is_seen_at_once_and_stays_until_it_is_written_over() {
    for rot in [Rot::Flip, Rot::Zeroes, Rot::Garbage, Rot::Unreadable] {
        with_bench(1, async |mut bench: Bench| {
            bench.durable("log", vec![7; 2000]).await;
            assert!(!bench.control().is_rotten());
            assert!(!bench.control().rot("log", 2000..2100, rot));
            assert!(!bench.control().rot("none", 0..1, rot));
            assert!(bench.control().rot("log", 600..700, rot));
            assert!(bench.control().is_rotten());
            match (rot, bench.read("log").await) {
                (Rot::Unreadable, seen) => assert_eq!(seen, Err(DiskError::Io)),
                (_, seen) => {
                    let seen = seen.unwrap();
                    let (before, rest) = seen.split_at(600);
                    assert!(before == [7; 600] && rest[100..] == [7; 1300]);
                    assert_ne!(rest[..100], [7; 100]);
                }
            }
            bench.world.power_cut(bench.host);
            bench.boot().await;
            assert!(bench.control().is_rotten(), "a restart heals nothing");
            bench.ok(write("log", 512, vec![8; 1024])).await;
            assert!(bench.read("log").await.is_ok());
            bench.ok(sync("log")).await;
            assert!(!bench.control().is_rotten());
        });
    }
}

#[test]
fn d13_misdirected_write_leaves_zeroes_and_lands_elsewhere() {
    with_bench(1, async |mut bench: Bench| {
        bench.durable("log", vec![1; 100]).await;
        bench.durable("other", vec![2; 100]).await;
        assert!(!bench.control().misdirect("log", 90..110, "other", 0));
        assert!(bench.control().misdirect("log", 10..20, "other", 50));
        let log = bench.read("log").await.unwrap();
        let other = bench.read("other").await.unwrap();
        assert!(log[10..20] == [0; 10] && log[20..] == [1; 80]);
        assert!(other[50..60] == [1; 10] && other[60..] == [2; 40]);
    });
}

#[test]
fn d14_to_d16_lost_tail_wipe_and_rollback_leave_no_trace() {
    with_bench(1, async |mut bench: Bench| {
        bench.durable("log", vec![1; 100]).await;
        let image = bench.control().image();
        assert!(bench.control().lose_tail("log", 40));
        assert_eq!(bench.read("log").await, Ok(vec![1; 40]));
        assert!(!bench.control().is_rotten());
        bench.world.crash(bench.host);
        bench.control().wipe();
        assert_eq!(bench.control().files(), []);
        bench.boot().await;
        assert_eq!(
            bench.run(DiskOp::List).await,
            Ok(DiskValue::Listing(vec![]))
        );
        bench.world.power_cut(bench.host);
        bench.control().restore(&image);
        bench.boot().await;
        assert_eq!(bench.read("log").await, Ok(vec![1; 100]));
        assert_eq!(bench.control().durable_files(), [("log".to_string(), 100)]);
    });
}

#[test]
fn lanes_do_not_wait_for_each_other() {
    with_bench(1, async |mut bench: Bench| {
        bench.durable("log", vec![1]).await;
        for _ in 0..100 {
            bench.submit(sync("log"));
        }
        let request = DiskRequest {
            token: DiskToken(0),
            lane: DiskLane::Snapshot,
            op: DiskOp::List,
        };
        let disk = bench.disk.as_mut().unwrap();
        disk.submit(request);
        let first = poll_fn(|cx| disk.poll_done(cx)).await;
        assert_eq!(first.token, DiskToken(0));
    });
}

#[test]
fn directory_has_one_program_at_a_time() {
    with_bench(1, async |mut bench: Bench| {
        let runtime = bench.runtime.lock().unwrap().clone().unwrap();
        let second = runtime.disk("data").expect_err("is in use");
        assert!(second.to_string().contains("in use"), "{second}");
        bench.disk = None;
        runtime.disk("data").expect("is free again");
        assert!(runtime.now().mono > Mono(0));
    });
}
