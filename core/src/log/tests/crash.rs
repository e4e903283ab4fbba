//! Power cuts and process crashes at every operation (rows D1 to D4, D9).

use super::world::{Act, End, PLAY, World};
use crate::base::event::Fitness;
use crate::log::testdisk::{Cut, Prng};

fn operations_of_the_play() -> u64 {
    let mut world = World::unopened(1);
    assert_eq!(world.run(), End::Quiet);
    assert_eq!(world.play(PLAY), End::Quiet);
    assert!(world.all_durable(), "something hangs");
    world.disk.executed
}

/// The world after `n` operations of the play.
fn world_after(n: u64) -> World {
    let mut world = World::unopened(1);
    world.limit = Some(n);
    if world.run() == End::Quiet {
        world.play(PLAY);
    }
    world.limit = None;
    world
}

fn cuts(salt: u64) -> Vec<Cut> {
    let mixes = (0..4).map(|n| Cut::Mix(Prng(salt * 7919 + n)));
    [Cut::Keep, Cut::Drop].into_iter().chain(mixes).collect()
}

fn assert_unharmed(fitness: Fitness) {
    assert!(
        matches!(fitness, Fitness::Whole | Fitness::Empty),
        "{fitness:?} after a mere power cut"
    );
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_reported() {
    for n in 0..=operations_of_the_play() {
        let before = world_after(n);
        for cut in cuts(n) {
            let mut world = before.clone();
            world.restart(Some(cut));
            assert_unharmed(world.recover());
            world.encore();
        }
    }
}

#[test]
fn a_second_cut_at_any_operation_of_the_recovery_is_survived() {
    for n in (0..=operations_of_the_play()).step_by(3) {
        let mut world = world_after(n);
        world.restart(Some(Cut::Mix(Prng(n))));
        let first = world.disk.executed;
        let mut whole = world.clone();
        assert_unharmed(whole.recover());
        for m in first..whole.disk.executed {
            let mut world = world.clone();
            world.limit = Some(m);
            assert_eq!(world.run(), End::Limit);
            world.limit = None;
            world.restart(Some(Cut::Mix(Prng(n * 1000 + m))));
            assert_unharmed(world.recover());
            if m % 5 == 0 {
                world.encore();
            }
        }
    }
}

#[test]
fn what_a_process_crash_left_visible_is_durable_once_recovered() {
    for n in 0..=operations_of_the_play() {
        let mut world = world_after(n);
        world.restart(None);
        assert_unharmed(world.recover());
        let reported = world.state();
        world.restart(Some(Cut::Drop));
        assert_unharmed(world.recover());
        assert_eq!(world.state(), reported, "a vote may have been built on it");
        world.encore();
    }
}

#[test]
fn a_recovery_interrupted_by_a_process_crash_is_begun_again() {
    for n in (0..=operations_of_the_play()).step_by(4) {
        let mut world = world_after(n);
        world.restart(None);
        let first = world.disk.executed;
        let mut whole = world.clone();
        whole.recover();
        for m in first..whole.disk.executed {
            let mut world = world.clone();
            world.limit = Some(m);
            world.run();
            world.limit = None;
            world.restart(None);
            assert_unharmed(world.recover());
            let reported = world.state();
            world.restart(Some(Cut::Drop));
            assert_unharmed(world.recover());
            assert_eq!(world.state(), reported);
        }
    }
}

#[test]
fn many_cuts_in_a_row_add_up_to_no_loss() {
    for seed in 0..150 {
        let mut chance = Prng(seed);
        let mut world = World::new(seed);
        world.play(&[Act::Epochs, Act::Settle]);
        for _ in 0..12 {
            world.limit = Some(world.disk.executed + chance.below(90));
            world.play(&PLAY[chance.below(PLAY.len() as u64) as usize..]);
            world.limit = None;
            let cut = (chance.below(3) > 0).then(|| Cut::Mix(Prng(chance.next())));
            world.restart(cut);
            if chance.below(3) == 0 {
                world.limit = Some(world.disk.executed + chance.below(40));
                world.run();
                world.limit = None;
                world.restart(Some(Cut::Mix(Prng(chance.next()))));
            }
            assert_unharmed(world.recover());
        }
        world.encore();
    }
}
