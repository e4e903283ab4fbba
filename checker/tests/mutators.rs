//! Every property is broken, one at a time, in lives of the simulator, and named each time.

mod dice;
mod mutate;
mod toy;

use gamekeeper_checker::history::{History, World};
use gamekeeper_checker::{Options, Property, Verdict, judge};
use mutate::{Dice, Life, MUTATORS, Mutator, OF_RETURNING, OF_STAYING, lives};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toy::{Shape, valid_history, valid_history_with_log};

/// How often each mutator is tried on each life.
const TRIES: u64 = 3;

/// What each mutator did to all lives: places found, and what was said instead of its name.
#[derive(Default)]
struct Tally {
    named: usize,
    otherwise: Vec<String>,
}

/// `LIVES=DIR` tries other lives than the ones kept here: history files, or run directories.
#[test]
fn every_property_broken_in_a_life_is_named() {
    all_are_named(lives(), &MUTATORS);
}

#[test]
fn whatever_is_broken_of_watches_that_stay_is_named() {
    let lives = (0..12).map(|seed| {
        let shape = Shape {
            losses: [0, 60][seed as usize % 2],
            stay: 3,
            acls: false,
            ..Shape::default()
        };
        let life = valid_history_with_log(seed, shape);
        (PathBuf::from(format!("toy {seed}")), life)
    });
    all_are_named(lives.collect(), &OF_STAYING);
}

#[test]
fn watches_registered_again_in_a_state_to_come_are_named() {
    let lives = (0..12).map(|seed| {
        let life = valid_history_with_log(seed, Shape::default());
        (PathBuf::from(format!("toy {seed}")), life)
    });
    all_are_named(lives.collect(), &OF_RETURNING);
}

/// Where others wrote too some of it is excused, and nothing is called by another name.
#[test]
fn what_no_stranger_excuses_of_watches_that_stay_is_named() {
    let mut tallies: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for seed in 0..12 {
        let shape = Shape {
            losses: 0,
            stay: 3,
            acls: false,
            ..Shape::default()
        };
        let mut history = valid_history(seed, shape);
        history.header.world = World::Open;
        (history.records).retain(|record| record.process != seed as u32 % 5);
        let life = Life::of(&history);
        for (property, name, mutator) in OF_STAYING {
            let Some(broken) = mutator(&life, &mut Dice(seed)) else {
                continue;
            };
            let found = judge(&broken, &Options::default()).property();
            assert!(found.is_none_or(|found| found == property), "{seed} {name}");
            tallies.entry(name).or_default()[usize::from(found.is_some())] += 1;
        }
    }
    println!("excused and named: {tallies:?}");
    let named = tallies.values().filter(|[_, named]| *named > 0);
    assert!(named.count() >= 4, "{tallies:?}");
}

/// Each mutator breaks its property, and no other, wherever it finds a place.
fn all_are_named(lives: Vec<(PathBuf, History)>, mutators: &[(Property, &'static str, Mutator)]) {
    let mut tallies: BTreeMap<(Property, &str), Tally> = BTreeMap::new();
    for (file, history) in lives {
        let verdict = judge(&history, &Options::default());
        if !matches!(verdict, Verdict::Valid(_)) {
            println!("{}: left out, it is {verdict}", file.display());
            continue;
        }
        let life = Life::of(&history);
        for &(property, name, mutator) in mutators {
            let tally = tallies.entry((property, name)).or_default();
            for seed in 0..TRIES {
                let Some(broken) = mutator(&life, &mut Dice(seed)) else {
                    break;
                };
                let verdict = judge(&broken, &Options::default());
                match verdict.property() == Some(property) {
                    true => tally.named += 1,
                    false => tally
                        .otherwise
                        .push(format!("{} try {seed}: {verdict}", file.display())),
                }
            }
        }
    }
    let mut failures = 0;
    for ((property, name), Tally { named, otherwise }) in &tallies {
        println!(
            "{} {name}: named {named} times, {} otherwise",
            property.code(),
            otherwise.len()
        );
        otherwise
            .iter()
            .take(2)
            .for_each(|words| println!("  {words}"));
        // Other lives than the ones kept here need not offer a place for each.
        let missing = *named == 0 && std::env::var_os("LIVES").is_none();
        failures += otherwise.len() + usize::from(missing);
    }
    assert_eq!(tallies.len(), mutators.len(), "no valid life among them");
    assert_eq!(failures, 0);
}
