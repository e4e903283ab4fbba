//! The same seed is the same life: alone, again, and beside others; whatever is recorded.

use gamekeeper_sim::life::{Cast, Keep, Life, Progress, live_on_fresh_thread};
use gamekeeper_sim::scenario::{Scenario, ScenarioFile};
use std::thread;

const SEEDS: std::ops::Range<u64> = 100..106;

/// A short but hard life of this seed.
fn scenario(seed: u64) -> Scenario {
    let file = ScenarioFile::parse("[phases]\nchaos_ms = 6000\nwarmup_ms = 2500\n");
    file.and_then(|file| file.complete(seed, 6000))
        .expect("the file is sound")
}

fn live(seed: u64, cast: Cast, keep: Keep) -> Life {
    live_on_fresh_thread(&scenario(seed), cast, keep, &Progress::default())
}

/// What has to repeat: everything but the processor time.
fn repeatable(mut life: Life) -> Life {
    life.outcome.cpu_ns = 0;
    life.outcome.judge_ns = 0;
    life
}

#[test]
fn seed_lives_the_same_life_alone_and_beside_others() {
    let alone: Vec<Life> = SEEDS
        .map(|seed| repeatable(live(seed, Cast::Service, Keep::Everything)))
        .collect();
    let together: Vec<Life> = thread::scope(|scope| {
        let lives: Vec<_> = SEEDS
            .map(|seed| scope.spawn(move || live(seed, Cast::Service, Keep::Everything)))
            .collect();
        let lived = lives.into_iter().map(|life| life.join());
        lived
            .map(|life| repeatable(life.expect("panics are caught inside")))
            .collect()
    });
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(alone.outcome, together.outcome);
        assert!(
            alone.history == together.history,
            "clients saw other things"
        );
        assert!(alone.events == together.events, "servers did other things");
        assert!(alone.trace == together.trace, "the world went another way");
        assert!(!alone.history.is_empty() && !alone.events.is_empty());
    }
    let mut fingerprints: Vec<&str> = alone
        .iter()
        .map(|life| life.outcome.fingerprint.as_str())
        .collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), alone.len(), "other seeds, other lives");
}

#[test]
fn what_is_recorded_changes_nothing() {
    for seed in SEEDS.take(2) {
        let everything = repeatable(live(seed, Cast::Service, Keep::Everything));
        let outcome = repeatable(live(seed, Cast::Service, Keep::Outcome));
        assert_eq!(everything.outcome, outcome.outcome);
        assert!(outcome.history.is_empty() && outcome.events.is_empty());
    }
}

#[test]
fn null_servers_live_the_same_life_too() {
    let life = || repeatable(live(7, Cast::Null, Keep::Outcome));
    let (first, second) = (life(), life());
    assert_eq!(first.outcome, second.outcome);
    assert!(first.outcome.events > 1000, "{:?}", first.outcome);
}
