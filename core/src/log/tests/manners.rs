//! Commands, events, files kept and removed.

use super::world::{Act, CONFIG, End, PLAY, World};
use crate::base::disk::DiskOp;
use crate::base::event::Fitness;
use crate::base::ids::Zxid;
use crate::log::names::{self, Name};
use crate::log::testdisk::{Cut, Prng};
use crate::log::{Entry, Store, StoreEvent, StoreOut};
use bytes::Bytes;

fn count(world: &World, wanted: impl Fn(Name) -> bool) -> usize {
    let listing = world.disk.listing();
    listing
        .iter()
        .filter(|f| wanted(names::parse(&f.0)))
        .count()
}

fn snapshots(world: &World) -> usize {
    count(world, |n| matches!(n, Name::Snapshot { .. }))
}

fn segments(world: &World) -> usize {
    count(world, |n| matches!(n, Name::Segment(_)))
}

#[test]
fn an_empty_disk_is_empty_until_a_promise_is_made() {
    let mut world = World::new(1);
    let fitness = |w: &World| w.recovered.clone().expect("recovered").fitness;
    assert_eq!(fitness(&world), Fitness::Empty);
    for cut in [None, Some(Cut::Drop), Some(Cut::Keep)] {
        world.restart(cut);
        assert_eq!(world.recover(), Fitness::Empty);
    }
    world.play(&[Act::Epochs, Act::Settle]);
    world.restart(Some(Cut::Drop));
    assert_eq!(world.recover(), Fitness::Whole);
}

#[test]
fn a_log_without_any_promise_is_amnesia() {
    let mut world = World::new(1);
    world.play(&[Act::Append(2), Act::Settle]);
    world.restart(None);
    assert_eq!(world.recover(), Fitness::Amnesiac);
}

#[test]
fn only_the_kept_snapshots_stay_and_the_log_from_the_oldest_of_them() {
    let mut world = World::new(1);
    world.play(&[Act::Epochs]);
    let mut most = 0;
    for _ in 0..12 {
        world.play(&[Act::Append(20), Act::Settle, Act::Snapshot, Act::Settle]);
        most = most.max(segments(&world));
    }
    assert_eq!(snapshots(&world), CONFIG.snapshots_kept);
    assert!(segments(&world) <= most && most < 12 * 3, "{most} segments");
    world.encore();
}

#[test]
fn the_first_snapshot_alone_lets_no_log_go() {
    let mut world = World::new(1);
    world.play(&[Act::Append(30), Act::Settle]);
    let before = segments(&world);
    world.play(&[Act::Snapshot, Act::Settle]);
    assert_eq!((snapshots(&world), segments(&world)), (1, before));
}

#[test]
fn a_snapshot_waits_for_the_log_it_stands_for() {
    let mut world = World::new(1);
    world.play(&[Act::Append(40), Act::Snapshot, Act::Settle]);
    let events = world.events.iter();
    let order: Vec<&StoreEvent> = events
        .filter(|e| {
            matches!(
                e,
                StoreEvent::LogDurable { .. } | StoreEvent::SnapshotDurable { .. }
            )
        })
        .collect();
    assert!(
        matches!(order.last(), Some(StoreEvent::SnapshotDurable { zxid }) if *zxid == world.store.last())
    );
}

#[test]
fn an_install_leaves_nothing_of_the_old_log() {
    let mut world = World::new(1);
    world.play(&[
        Act::Epochs,
        Act::Append(20),
        Act::Settle,
        Act::Snapshot,
        Act::Settle,
    ]);
    world.play(&[Act::Append(5), Act::Install, Act::Settle]);
    assert_eq!((snapshots(&world), segments(&world)), (1, 1));
    world.encore();
}

#[test]
fn nothing_of_a_cut_record_is_left_on_the_platter() {
    for append in 1..30 {
        let mut world = World::new(1);
        world.play(&[Act::Epochs, Act::Append(30), Act::Settle]);
        world.play(&[Act::Truncate(append), Act::Settle]);
        let (end, last) = (world.disk.listing(), world.state().last());
        world.disk.power_cut(Cut::Drop);
        assert_eq!(world.disk.listing(), end, "a deletion came undone");
        for (file, _) in world.disk.listing() {
            let Name::Segment(id) = names::parse(&file) else {
                continue;
            };
            let bytes = Bytes::from(world.disk.bytes(&file));
            let scan = crate::log::segment::scan(&bytes, id, u64::MAX, 0);
            assert!(scan.zxid_max <= last, "{file} holds {:?}", scan.zxid_max);
        }
    }
}

#[test]
fn an_aborted_install_leaves_no_file() {
    let mut world = World::new(1);
    let before = world.disk.listing().len();
    world.play(&[Act::Abort, Act::Settle, Act::Abort, Act::Settle]);
    assert_eq!(world.disk.listing().len(), before);
}

#[test]
fn records_cut_before_they_were_written_are_never_reported() {
    let mut world = World::new(1);
    // The first record's batch is durable, the next one under way when the cut comes.
    world.play(&[Act::Append(1), Act::Append(9), Act::Run(2)]);
    world.play(&[Act::Truncate(9), Act::Epochs, Act::Settle]);
    let kept = world.state().last();
    assert_eq!(world.store.durable(), kept);
    for event in &world.events {
        if let StoreEvent::LogDurable { upto } = event {
            assert!(*upto <= kept);
        }
    }
    world.encore();
}

#[test]
fn one_sync_serves_everything_that_waited_for_it() {
    let mut out = StoreOut::default();
    let world = World::new(1);
    let mut store: Store = world.store.clone();
    for counter in 1..=8 {
        let entry = Entry {
            zxid: Zxid((1 << 32) + counter),
            payload: Bytes::new(),
        };
        store.append(entry, &mut out);
    }
    let syncs = |out: &StoreOut| {
        let is = |r: &&crate::base::DiskRequest| matches!(r.op, DiskOp::Sync { .. });
        out.disk.iter().filter(is).count()
    };
    assert_eq!(
        syncs(&out),
        1,
        "the first goes alone, the others wait together"
    );
    let mut next = StoreOut::default();
    for request in out.disk {
        let done = crate::base::DiskDone {
            token: request.token,
            result: Ok(crate::base::DiskValue::Done),
        };
        store.step(world.now, done, &mut next);
    }
    assert_eq!(syncs(&next), 1);
    assert_eq!(store.backlog(), 0);
}

#[test]
fn a_full_disk_is_reported_and_not_tried_again_before_its_time() {
    let mut world = World::new(1);
    world.full_between = Some((0, u64::MAX));
    world.play(&[Act::Append(3), Act::Run(2)]);
    assert!(world.events.contains(&StoreEvent::Full(true)));
    assert!(world.store.deadline().is_some_and(|at| at > world.now));
    assert_eq!(world.store.durable(), Zxid::ZERO);
    let mut out = StoreOut::default();
    world.store.timer(world.now, &mut out);
    assert!(out.disk.is_empty());
    world.full_between = None;
    world.play(&[Act::Epochs, Act::Settle]);
    assert_eq!(
        world
            .events
            .iter()
            .filter(|e| **e == StoreEvent::Full(false))
            .count(),
        1
    );
    world.encore();
}

#[test]
fn foreign_files_are_left_alone_and_temporary_ones_go() {
    let mut world = World::new(1);
    world.play(PLAY);
    world.disk.plant("myid", b"1".to_vec());
    world.disk.plant(&names::segment_temp(77), b"torn".to_vec());
    world.disk.plant(&names::temp(names::MARK), Vec::new());
    world
        .disk
        .plant(&names::snapshot_temp(9, Zxid(9), 9), b"half".to_vec());
    world.restart(None);
    assert_eq!(world.recover(), Fitness::Whole);
    let names: Vec<String> = world.disk.listing().into_iter().map(|f| f.0).collect();
    assert!(names.contains(&"myid".to_owned()));
    assert!(names.iter().all(|n| !n.ends_with(".tmp")));
}

#[test]
fn the_same_seed_gives_the_same_play() {
    let play = || {
        let mut world = World::new(9);
        world.play(PLAY);
        (world.events, world.disk.executed, world.disk.listing())
    };
    assert_eq!(play(), play());
}

/// Chance plays, with chance cuts, and the model as judge.
#[test]
fn chance_plays_with_chance_cuts_lose_nothing() {
    for seed in 0..250 {
        let mut chance = Prng(seed);
        let mut world = World::new(seed);
        world.play(&[Act::Epochs, Act::Settle]);
        for _ in 0..chance.below(40) + 10 {
            let act = match chance.below(12) {
                0 => Act::Epochs,
                1 => Act::Truncate(chance.below(9) as usize),
                2 => Act::Snapshot,
                3 if chance.below(3) == 0 => Act::Install,
                4 => Act::Abort,
                5 => Act::Tick,
                6 => Act::Settle,
                7 | 8 => Act::Run(chance.below(12) as u32),
                _ => Act::Append(chance.below(7) as u32),
            };
            // One install at a time is the rule.
            let end = match act {
                Act::Install | Act::Abort => world.play(&[Act::Settle, act]),
                _ => world.play(&[act]),
            };
            assert_eq!(end, End::Quiet);
            if chance.below(25) == 0 {
                let cut = (chance.below(3) > 0).then(|| Cut::Mix(Prng(chance.next())));
                world.restart(cut);
                assert_eq!(world.recover(), Fitness::Whole);
            }
        }
        world.play(&[Act::Settle]);
        assert!(world.all_durable(), "something hangs");
        world.encore();
    }
}
