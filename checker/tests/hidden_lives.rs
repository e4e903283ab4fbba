//! Whole lives of the simulator without their zxids: valid ones stay valid, and of what is
//! broken in them it is told whether the answers or the zxids are wrong.

mod dice;
mod mutate;
mod naive;
mod small;

use dice::Dice;
use gamekeeper_checker::{
    CLASS_CONFIGURATIONS, CONFIGURATIONS, Class, History, Options, Verdict, classify, judge,
    judge_verified, judge_without_zxids,
};
use mutate::{Life, MUTATORS, lives};
use naive::hidden::without_zxids;
use std::collections::BTreeMap;

/// How often each mutator is tried on each life.
const TRIES: u64 = 2;

/// Enough for what shows on one node, seldom for the whole.
const FEW_CONFIGURATIONS: u64 = 4_000;

/// What is broken by changing zxids and nothing else.
const OF_ZXIDS_ALONE: [&str; 2] = [
    "two transactions at one zxid",
    "a transaction at the start of an epoch",
];

/// What no order explains, whatever the answers: it takes a search along notifications to see.
const OF_NOTIFICATIONS: [&str; 2] = ["a notification comes after", "a notification of another"];

#[test]
fn a_valid_life_is_valid_without_its_zxids() {
    for (file, life) in lives() {
        let verdict = judge_without_zxids(&life, &Options::default(), CONFIGURATIONS);
        assert_eq!(verdict.word(), "valid", "{}: {verdict}", file.display());
        let verdict = judge_verified(&without_zxids(&life), &Options::default());
        assert_eq!(verdict.word(), "valid", "{}: {verdict}", file.display());
    }
}

/// Nothing that is said of a broken life without its zxids is at odds with its class; counts what
/// stays open, and what does not.
fn agrees_without_zxids(broken: &History, class: Class, decided: &mut [u32; 2]) {
    let stripped = without_zxids(broken);
    let verdict = judge_without_zxids(&stripped, &Options::default(), FEW_CONFIGURATIONS);
    let at_odds = match class {
        Class::Inconsistent => "valid",
        Class::ZxidNotHonest => "invalid",
        Class::Undetermined => "malformed",
    };
    assert_ne!(verdict.word(), at_odds, "{verdict}");
    decided[usize::from(verdict.word() != "unknown")] += 1;
}

#[test]
fn what_is_broken_in_a_life_has_a_class() {
    let mut tallies: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    let mut decided = [0, 0];
    for (file, whole) in lives() {
        let life = Life::of(&whole);
        for (_, name, mutator) in MUTATORS {
            for seed in 0..TRIES {
                let Some(broken) = mutator(&life, &mut Dice(seed)) else {
                    break;
                };
                let options = Options::default();
                let Verdict::Invalid(mut violation) = judge(&broken, &options) else {
                    continue;
                };
                classify(&broken, &options, &mut violation, CLASS_CONFIGURATIONS);
                println!("{} {name} {seed}: {violation}", file.display());
                if seed == 0 {
                    agrees_without_zxids(&broken, violation.class, &mut decided);
                }
                let tally = tallies.entry(name).or_default();
                tally[match violation.class {
                    Class::Inconsistent => 0,
                    Class::ZxidNotHonest => 1,
                    Class::Undetermined => 2,
                }] += 1;
            }
        }
    }
    println!("{decided:?} open and decided without zxids");
    assert!(decided[1] > decided[0]);
    for (name, [inconsistent, dishonest, undetermined]) in &tallies {
        println!("{name}: {inconsistent} A, {dishonest} B, {undetermined} undetermined");
        let is_of = |kinds: &[&str]| kinds.iter().any(|kind| name.contains(kind));
        match (is_of(&OF_ZXIDS_ALONE), is_of(&OF_NOTIFICATIONS)) {
            (true, _) => assert_eq!(inconsistent + undetermined, 0, "{name}"),
            (false, true) => assert_eq!(dishonest + undetermined, 0, "{name}"),
            (false, false) => assert_eq!(*undetermined, 0, "{name}"),
        }
    }
}
