//! Errors and full disks at every operation (rows D5 to D7).

use super::world::{Act, End, PLAY, World};
use crate::base::event::Fitness;
use crate::log::StoreEvent;
use crate::log::testdisk::{Cut, Fault, Prng};

fn operations_of_the_play() -> u64 {
    let mut world = World::new(1);
    world.play(PLAY);
    world.disk.executed
}

/// A world whose play was struck by one fault.
fn struck(n: u64, fault: Fault) -> (World, End) {
    let mut world = World::unopened(1);
    world.disk.faults.insert(n, fault);
    let end = match world.run() {
        End::Quiet => world.play(PLAY),
        end => end,
    };
    (world, end)
}

/// Restarts without a power cut, and then proves that the recovery believed only what it
/// had written itself.
fn recover_and_hold(world: &mut World) {
    world.restart(None);
    let fitness = world.recover();
    assert!(
        matches!(fitness, Fitness::Whole | Fitness::Empty),
        "{fitness:?}"
    );
    let reported = world.state();
    world.restart(Some(Cut::Drop));
    world.recover();
    assert_eq!(
        world.state(),
        reported,
        "clean pages were taken for durable"
    );
    world.encore();
}

#[test]
fn a_failed_operation_stops_the_store_or_harms_nothing() {
    let (mut stopped, mut went_on) = (0, 0);
    for n in 0..operations_of_the_play() {
        let (mut world, end) = struck(n, Fault::Io);
        match end {
            End::Failed => {
                stopped += 1;
                recover_and_hold(&mut world);
            }
            End::Quiet => {
                went_on += 1;
                assert!(world.all_durable(), "something hangs after operation {n}");
                world.encore();
            }
            End::Limit => unreachable!("there is no limit"),
        }
    }
    assert!(
        stopped > 20 && went_on > 10,
        "{stopped} stopped, {went_on} went on"
    );
}

#[test]
fn a_failed_operation_and_a_power_cut_lose_nothing_reported() {
    for n in 0..operations_of_the_play() {
        let (struck, _) = struck(n, Fault::Io);
        for cut in [Cut::Keep, Cut::Drop, Cut::Mix(Prng(n))] {
            let mut world = struck.clone();
            world.restart(Some(cut));
            let fitness = world.recover();
            assert!(
                matches!(fitness, Fitness::Whole | Fitness::Empty),
                "{fitness:?}"
            );
            world.encore();
        }
    }
}

#[test]
fn a_failed_operation_of_a_recovery_is_survived_by_the_next_one() {
    for n in (0..operations_of_the_play()).step_by(5) {
        let mut before = World::unopened(1);
        before.limit = Some(n);
        if before.run() == End::Quiet {
            before.play(PLAY);
        }
        before.limit = None;
        before.restart(None);
        let first = before.disk.executed;
        let mut whole = before.clone();
        whole.recover();
        // Reads come first; a read that fails is damage, and the business of `rot`.
        let reads = whole.disk.executed - first;
        for m in (first..whole.disk.executed).skip(reads as usize / 2) {
            let mut world = before.clone();
            world.disk.faults.insert(m, Fault::Io);
            if world.run() == End::Failed {
                recover_and_hold(&mut world);
            }
        }
    }
}

#[test]
fn a_failed_store_does_nothing_any_more() {
    let mut world = World::new(1);
    world.disk.faults.insert(world.disk.executed + 1, Fault::Io);
    world.play(&[Act::Append(1)]);
    assert_eq!(world.play(&[Act::Settle]), End::Failed);
    let executed = world.disk.executed;
    world.events.clear();
    world.play(&[Act::Append(1), Act::Epochs, Act::Tick, Act::Settle]);
    assert_eq!(world.disk.executed, executed);
    assert!(world.events.is_empty() && world.store.deadline().is_none());
}

#[test]
fn lack_of_space_at_any_operation_is_waited_out() {
    let mut waited = 0;
    for n in 0..operations_of_the_play() {
        for long in [1, 4, 1000] {
            let mut world = World::unopened(1);
            world.full_between = Some((n, n + long));
            assert_eq!(world.run(), End::Quiet);
            assert_eq!(world.play(PLAY), End::Quiet, "operation {n}");
            assert!(world.all_durable(), "something hangs after operation {n}");
            let full = |e: &&StoreEvent| matches!(e, StoreEvent::Full(_));
            let last = world.events.iter().rfind(full);
            assert!(matches!(last, None | Some(StoreEvent::Full(false))));
            waited += u64::from(last.is_some());
            world.full_between = None;
            world.encore();
        }
    }
    assert!(waited > 100, "{waited} waited");
}

#[test]
fn a_sync_that_lacks_space_is_never_believed_later() {
    for n in 0..operations_of_the_play() {
        let (mut world, end) = struck(n, Fault::NoSpace);
        match end {
            End::Failed => recover_and_hold(&mut world),
            End::Quiet => {
                assert!(world.all_durable(), "something hangs after operation {n}");
                world.encore();
            }
            End::Limit => unreachable!("there is no limit"),
        }
    }
}

#[test]
fn a_power_cut_on_a_full_disk_loses_nothing_reported() {
    for n in 0..operations_of_the_play() {
        let mut world = World::unopened(1);
        world.full_between = Some((n, u64::MAX));
        world.limit = Some(n + n % 23);
        if world.run() == End::Quiet {
            world.play(PLAY);
        }
        world.limit = None;
        world.full_between = None;
        world.restart(Some(Cut::Mix(Prng(n))));
        let fitness = world.recover();
        assert!(
            matches!(fitness, Fitness::Whole | Fitness::Empty),
            "{fitness:?}"
        );
        world.encore();
    }
}

#[test]
fn a_recovery_on_a_full_disk_waits_for_space() {
    let mut world = World::new(1);
    world.play(PLAY);
    let state = world.state();
    world.restart(Some(Cut::Drop));
    world.full_between = Some((0, u64::MAX));
    assert_eq!(world.recover(), Fitness::Whole);
    assert!(world.events.contains(&StoreEvent::Full(true)));
    assert_eq!(world.state(), state);
    world.encore();
}
