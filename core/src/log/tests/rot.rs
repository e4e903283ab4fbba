//! Damage to what was durable, byte by byte (rows D10 to D16).

use super::world::{Act, PLAY, World};
use crate::base::event::Fitness;
use crate::base::ids::Zxid;
use crate::log::names::{self, EPOCH_A, EPOCH_B, MARK, Name};
use crate::log::testdisk::{Cut, Prng};
use crate::log::{Recovered, StoreEvent};

/// A stopped world in which everything is durable and a mark says so.
fn witnessed() -> World {
    let mut world = World::new(1);
    world.play(PLAY);
    world.play(&[Act::Append(3), Act::Settle, Act::Tick, Act::Settle]);
    assert!(world.all_durable());
    world.disk.power_cut(Cut::Drop);
    world
}

/// As [`witnessed`], with one record more that nothing witnesses.
fn unwitnessed() -> (World, Zxid) {
    let mut world = witnessed();
    world.restart(None);
    world.recover();
    world.play(&[Act::Append(2), Act::Settle, Act::Tick, Act::Settle]);
    let before = world.store.last();
    world.play(&[Act::Append(1), Act::Settle]);
    world.disk.power_cut(Cut::Drop);
    (world, before)
}

fn files(world: &World) -> Vec<(String, usize)> {
    let listing = world.disk.listing().into_iter();
    listing.map(|(file, len)| (file, len as usize)).collect()
}

fn flip(world: &mut World, file: &str, at: usize, bits: u8) {
    let mut bytes = world.disk.bytes(file);
    bytes[at] ^= bits;
    world.disk.plant(file, bytes);
}

fn last(recovered: &Recovered) -> Zxid {
    let snapshot = recovered.snapshot.as_ref().map_or(Zxid::ZERO, |s| s.0);
    recovered.tail.last().map_or(snapshot, |e| e.zxid)
}

/// Recovers a rotten disk: it is whole, or says that it is not.
fn judge(mut world: World, what: &str) -> Fitness {
    let before = world.state().last();
    world.restart(None);
    let recovered = world.recover_damaged();
    let last = last(&recovered);
    match recovered.fitness {
        Fitness::Whole | Fitness::Amnesiac => {
            assert_eq!(last, before, "silent loss: {what}");
        }
        Fitness::Damaged { mark, .. } => assert!(mark > last, "{what}"),
        Fitness::Empty => panic!("silent amnesia: {what}"),
    }
    recovered.fitness
}

#[test]
fn any_flipped_byte_of_a_witnessed_disk_is_harmless_or_noticed() {
    let world = witnessed();
    let (mut harmless, mut noticed) = (0, 0);
    for (file, len) in files(&world) {
        for at in (0..len).step_by(3) {
            let mut rotten = world.clone();
            flip(&mut rotten, &file, at, 0x10);
            match judge(rotten, &format!("{file} at {at}")) {
                Fitness::Whole => harmless += 1,
                Fitness::Damaged { promises_lost, .. } => {
                    assert!(!promises_lost);
                    noticed += 1;
                }
                other @ (Fitness::Empty | Fitness::Amnesiac) => panic!("{other:?}"),
            }
        }
    }
    assert!(harmless > 100 && noticed > 100, "{harmless} and {noticed}");
}

#[test]
fn any_unreadable_or_zeroed_sector_is_harmless_or_noticed() {
    let world = witnessed();
    for (file, len) in files(&world) {
        for sector in 0..len.div_ceil(512) {
            let mut spoiled = world.clone();
            spoiled.disk.spoil(&file, sector);
            judge(spoiled, &format!("{file}: unreadable sector {sector}"));
            let mut zeroed = world.clone();
            let mut bytes = world.disk.bytes(&file);
            let end = len.min((sector + 1) * 512);
            bytes[sector * 512..end].fill(0);
            zeroed.disk.plant(&file, bytes);
            judge(zeroed, &format!("{file}: zeroed sector {sector}"));
        }
    }
}

#[test]
fn a_sector_that_turns_readable_again_has_lost_nothing_silently() {
    let world = witnessed();
    for (file, len) in files(&world) {
        for sector in 0..len.div_ceil(512) {
            let mut world = world.clone();
            world.disk.spoil(&file, sector);
            world.restart(None);
            world.recover_damaged();
            let damaged = world.store.last();
            world.restart(Some(Cut::Drop));
            let recovered = world.recover_damaged();
            assert_eq!(last(&recovered), damaged);
        }
    }
}

#[test]
fn rot_in_an_unwitnessed_last_record_reads_as_a_torn_tail() {
    let (world, before) = unwitnessed();
    let head = files(&world)
        .into_iter()
        .rfind(|f| f.0.starts_with("log."))
        .expect("a head");
    let mut cut = 0;
    for at in 0..head.1 {
        let mut rotten = world.clone();
        flip(&mut rotten, &head.0, at, 1);
        rotten.restart(None);
        let recovered = rotten.recover_damaged();
        if recovered.fitness == Fitness::Whole && last(&recovered) < world.state().last() {
            assert_eq!(
                last(&recovered),
                before,
                "more than the last record, at {at}"
            );
            cut += 1;
            let reported = rotten.state();
            rotten.restart(Some(Cut::Drop));
            rotten.recover();
            assert_eq!(rotten.state(), reported);
        }
    }
    assert!(cut > 30, "{cut} cut");
}

#[test]
fn an_unreadable_end_is_not_taken_for_a_torn_one() {
    let mut world = witnessed();
    world.config.segment_bytes = u64::MAX;
    world.restart(None);
    world.recover();
    // A last record that reaches, unwitnessed, into a sector of its own.
    let (file, sector) = loop {
        world.play(&[Act::Tick, Act::Settle]);
        let head = |w: &World| files(w).into_iter().rfind(|f| f.0.starts_with("log."));
        let (_, before) = head(&world).expect("a head");
        world.play(&[Act::Append(1), Act::Settle]);
        let (file, after) = head(&world).expect("a head");
        if (before - 1) / 512 < (after - 1) / 512 && before % 512 != 0 {
            break (file, (after - 1) / 512);
        }
    };
    let mut torn = world.clone();
    let bytes = world.disk.bytes(&file)[..sector * 512].to_vec();
    torn.disk.plant(&file, bytes);
    torn.restart(None);
    assert_eq!(torn.recover_damaged().fitness, Fitness::Whole);
    world.disk.spoil(&file, sector);
    assert!(matches!(
        judge(world, "unreadable"),
        Fitness::Damaged { .. }
    ));
}

#[test]
fn damage_is_remembered_until_a_leader_has_filled_the_log_again() {
    let world = witnessed();
    let (file, len) = files(&world)
        .into_iter()
        .rfind(|f| f.0.starts_with("log."))
        .expect("a head");
    for at in (0..len).step_by(17) {
        let mut world = world.clone();
        flip(&mut world, &file, at, 0x80);
        world.restart(None);
        let first = world.recover_damaged();
        let Fitness::Damaged { mark, .. } = first.fitness else {
            continue;
        };
        for cut in [None, Some(Cut::Drop), Some(Cut::Mix(Prng(at as u64)))] {
            world.restart(cut);
            let again = world.recover_damaged();
            assert_eq!(again.fitness, first.fitness);
            assert_eq!(last(&again), last(&first));
        }
        world.play(&[Act::Append(1), Act::Settle]);
        assert!(world.store.last() > mark);
        world.encore();
    }
}

#[test]
fn damage_is_forgotten_when_told_so() {
    let mut world = witnessed();
    let (file, len) = files(&world)
        .into_iter()
        .rfind(|f| f.0.starts_with("log."))
        .expect("a head");
    flip(&mut world, &file, len / 2, 1);
    world.restart(None);
    let first = world.recover_damaged();
    assert!(matches!(first.fitness, Fitness::Damaged { .. }));
    world.store.heal(world.now);
    world.play(&[Act::Tick, Act::Settle]);
    world.restart(Some(Cut::Drop));
    assert_eq!(world.recover(), Fitness::Whole);
}

#[test]
fn a_damaged_recovery_can_be_cut_at_any_operation() {
    let mut world = witnessed();
    let (file, len) = files(&world)
        .into_iter()
        .rfind(|f| f.0.starts_with("log."))
        .expect("a head");
    flip(&mut world, &file, len / 2, 1);
    world.restart(None);
    let first = world.disk.executed;
    let mut whole = world.clone();
    let report = whole.recover_damaged();
    assert!(matches!(report.fitness, Fitness::Damaged { .. }));
    for n in first..whole.disk.executed {
        for cut in [
            Cut::Keep,
            Cut::Drop,
            Cut::Mix(Prng(n)),
            Cut::Mix(Prng(n + 1000)),
        ] {
            let mut world = world.clone();
            world.limit = Some(n);
            world.run();
            world.limit = None;
            world.restart(Some(cut));
            let again = world.recover_damaged();
            assert_eq!(again.fitness, report.fitness, "cut at {n}");
            assert_eq!(last(&again), last(&report));
        }
    }
}

#[test]
fn the_newest_snapshot_may_rot_and_nothing_is_lost() {
    let world = witnessed();
    let snapshots = files(&world).into_iter();
    let newest = snapshots.rev().find(|f| f.0.starts_with("snap."));
    let (file, len) = newest.expect("a snapshot");
    for at in (0..len).step_by(11) {
        let mut rotten = world.clone();
        flip(&mut rotten, &file, at, 4);
        assert_eq!(judge(rotten, &file), Fitness::Whole);
    }
}

#[test]
fn at_any_time_the_newest_of_two_snapshots_may_rot() {
    let mut world = World::new(3);
    world.play(&[
        Act::Epochs,
        Act::Append(5),
        Act::Settle,
        Act::Snapshot,
        Act::Settle,
    ]);
    for round in 1..20 {
        world.play(&[Act::Append(round), Act::Settle, Act::Snapshot, Act::Settle]);
        world.play(&[Act::Append(round % 4), Act::Settle]);
        let mut rotten = world.clone();
        rotten.disk.power_cut(Cut::Mix(Prng(u64::from(round))));
        let newest = files(&rotten)
            .into_iter()
            .rfind(|f| f.0.starts_with("snap."));
        let (file, len) = newest.expect("a snapshot");
        flip(&mut rotten, &file, len / 2, 4);
        assert_eq!(judge(rotten, &file), Fitness::Whole);
    }
}

#[test]
fn no_covering_snapshot_is_damage_and_never_an_empty_start() {
    let mut world = witnessed();
    for (file, len) in files(&world) {
        if file.starts_with("snap.") {
            flip(&mut world, &file, len / 2, 4);
        }
    }
    let mark = world.state().last();
    world.restart(None);
    let recovered = world.recover_damaged();
    assert_eq!((recovered.snapshot, recovered.tail), (None, vec![]));
    assert!(matches!(recovered.fitness, Fitness::Damaged { mark: m, .. } if m >= mark));
    world.restart(Some(Cut::Drop));
    let again = world.recover_damaged();
    assert_eq!(again.fitness, recovered.fitness);
    world.play(&[Act::Install, Act::Settle]);
    world.encore();
}

#[test]
fn any_lost_file_is_harmless_or_noticed() {
    let world = witnessed();
    for (file, _) in files(&world) {
        let mut lacking = world.clone();
        lacking.disk.lose(&file);
        judge(lacking, &format!("{file} lost"));
    }
}

#[test]
fn a_lost_tail_is_noticed_by_the_mark() {
    let world = witnessed();
    for (file, len) in files(&world) {
        let Name::Segment(_) = names::parse(&file) else {
            continue;
        };
        for keep in (0..len).rev().step_by(9) {
            let mut lacking = world.clone();
            let bytes = world.disk.bytes(&file)[..keep].to_vec();
            lacking.disk.plant(&file, bytes);
            judge(lacking, &format!("{file} ends at {keep}"));
        }
    }
}

#[test]
fn a_misdirected_write_is_noticed_in_both_places() {
    let world = witnessed();
    let segments = files(&world)
        .into_iter()
        .filter(|f| f.0.starts_with("log."));
    let segments: Vec<(String, usize)> = segments.collect();
    let mut chance = Prng(5);
    for (target, target_len) in &segments {
        for (source, source_len) in &segments {
            for _ in 0..20 {
                let from = chance.below(*source_len as u64) as usize & !7;
                let to = chance.below(*target_len as u64) as usize & !7;
                let len = (source_len - from).min(target_len - to).min(160);
                let stray = world.disk.bytes(source)[from..from + len].to_vec();
                let mut struck = world.clone();
                let mut bytes = world.disk.bytes(target);
                bytes[to..to + len].copy_from_slice(&stray);
                struck.disk.plant(target, bytes);
                judge(struck, &format!("{source} {from} at {target} {to}"));
            }
        }
    }
}

#[test]
fn one_rotten_epoch_copy_takes_no_promise_with_it() {
    let world = witnessed();
    let promise = world.recovered_promise();
    for file in [EPOCH_A, EPOCH_B] {
        for at in 0..world.disk.bytes(file).len() {
            let mut world = world.clone();
            flip(&mut world, file, at, 2);
            world.restart(None);
            let recovered = world.recover_damaged();
            assert_eq!(recovered.fitness, Fitness::Whole);
            assert_eq!(recovered.epochs, promise);
        }
    }
}

#[test]
fn two_rotten_epoch_copies_are_amnesia_never_epoch_zero() {
    let mut world = witnessed();
    flip(&mut world, EPOCH_A, 20, 2);
    flip(&mut world, EPOCH_B, 20, 2);
    let mut amnesiac = world.clone();
    amnesiac.restart(None);
    let recovered = amnesiac.recover_damaged();
    assert_eq!(
        (recovered.fitness, recovered.epochs),
        (Fitness::Amnesiac, None)
    );
    let (file, len) = files(&world)
        .into_iter()
        .rfind(|f| f.0.starts_with("log."))
        .expect("a head");
    flip(&mut world, &file, len / 2, 1);
    world.restart(None);
    let recovered = world.recover_damaged();
    assert!(matches!(
        recovered.fitness,
        Fitness::Damaged {
            promises_lost: true,
            ..
        }
    ));
}

#[test]
fn promises_without_any_log_are_not_forgotten_either() {
    let mut world = World::new(1);
    world.play(&[Act::Epochs, Act::Settle]);
    flip(&mut world, EPOCH_A, 20, 2);
    flip(&mut world, EPOCH_B, 20, 2);
    world.restart(None);
    let recovered = world.recover_damaged();
    assert_eq!(recovered.fitness, Fitness::Amnesiac);
}

#[test]
fn any_bytes_under_our_names_are_survived() {
    let world = witnessed();
    let mut chance = Prng(77);
    for _ in 0..300 {
        let mut hostile = world.clone();
        for (file, len) in files(&world) {
            let mut bytes = world.disk.bytes(&file);
            match chance.below(5) {
                0 => bytes.iter_mut().for_each(|b| *b = chance.next() as u8),
                1 => bytes.truncate(chance.below(len as u64 + 1) as usize),
                2 => bytes.extend((0..chance.below(900)).map(|n| n as u8)),
                3 => hostile.disk.lose(&file),
                _ => continue,
            }
            hostile.disk.plant(&file, bytes);
        }
        hostile.restart(None);
        hostile.recover_hostile();
    }
}

#[test]
fn a_wiped_disk_is_empty_and_says_so() {
    let mut world = witnessed();
    for (file, _) in files(&world) {
        world.disk.lose(&file);
    }
    world.restart(None);
    world.run();
    let recovered = world.recovered.clone().expect("recovery ended");
    assert_eq!(
        (recovered.fitness, recovered.epochs),
        (Fitness::Empty, None)
    );
}

#[test]
fn a_lost_mark_is_noticed_because_it_may_have_known_of_damage() {
    let mut world = witnessed();
    world.disk.lose(MARK);
    assert!(matches!(judge(world, "mark"), Fitness::Damaged { .. }));
}

#[test]
fn a_segment_too_short_for_a_header_does_not_stop_a_start() {
    for len in [0, 1, 95] {
        let mut world = witnessed();
        world.disk.plant(&names::segment(4000), vec![0; len]);
        world.restart(None);
        assert_eq!(world.recover(), Fitness::Whole);
        assert!(files(&world).iter().all(|f| f.0 != names::segment(4000)));
        world.encore();
    }
}

#[test]
fn rot_that_the_snapshot_covers_is_harmless() {
    let mut world = World::new(1);
    world.config.segment_bytes = u64::MAX;
    world.restart(None);
    world.recover();
    world.play(&[
        Act::Epochs,
        Act::Append(9),
        Act::Settle,
        Act::Snapshot,
        Act::Settle,
    ]);
    world.play(&[Act::Append(3), Act::Settle, Act::Tick, Act::Settle]);
    let (file, _) = files(&world)
        .into_iter()
        .rfind(|f| f.0.starts_with("log."))
        .expect("a head");
    flip(&mut world, &file, 200, 1);
    world.events.clear();
    assert_eq!(judge(world.clone(), "covered"), Fitness::Whole);
    world.restart(None);
    world.recover();
    let probe = StoreEvent::Probe("log: a hole is covered by the snapshot");
    assert!(world.events.contains(&probe));
}
