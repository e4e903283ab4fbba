//! Every property is broken, one at a time, in lives of the simulator, and named each time.

mod dice;
mod mutate;

use gamekeeper_checker::{Options, Property, Verdict, judge};
use mutate::{Dice, Life, MUTATORS, lives};
use std::collections::BTreeMap;

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
    let mut tallies: BTreeMap<(Property, &str), Tally> = BTreeMap::new();
    for (file, history) in lives() {
        let verdict = judge(&history, &Options::default());
        if !matches!(verdict, Verdict::Valid(_)) {
            println!("{}: left out, it is {verdict}", file.display());
            continue;
        }
        let life = Life::of(&history);
        for (property, name, mutator) in MUTATORS {
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
        failures += otherwise.len() + usize::from(*named == 0);
    }
    assert_eq!(tallies.len(), MUTATORS.len(), "no valid life among them");
    assert_eq!(failures, 0);
}
