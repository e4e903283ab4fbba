//! Scenarios outside of the contract: each must be convicted, and for the right reason.
//!
//! A harness that calls everything valid looks just like a service without a bug. These lives
//! break something on purpose, so a green run here shows that the whole pipe works: the nemesis
//! strikes, the recorder records, the judge convicts. A file under `scenarios/negative` that is
//! not in the table below is an error, so that no canary is forgotten.

use gamekeeper_sim::life::{Cast, Keep, Progress, live_on_fresh_thread};
use gamekeeper_sim::outcome::Verdict;
use gamekeeper_sim::scenario::ScenarioFile;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A file, some seeds, and the properties of which one has to be named. Which of them is
/// convicted first hangs on who looked first.
const CANARIES: [(&str, [u64; 2], &[&str]); 2] = [
    // The damage is noticed, two of three do not vote: no write may commit, and none does.
    ("lost-tail.toml", [1, 2], &["liveness"]),
    // Nobody can notice: what was acknowledged is gone.
    ("rollback.toml", [2, 3], &["P1", "P6", "P9"]),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/negative")
}

#[test]
fn every_canary_dies_of_what_was_done_to_it() {
    for (name, seeds, properties) in CANARIES {
        let text = fs::read_to_string(folder().join(name)).expect("the scenario is there");
        let file = ScenarioFile::parse(&text).expect("the scenario is sound");
        for seed in seeds {
            let scenario = file.complete(seed, 1000).expect("the scenario is complete");
            let progress = Progress::default();
            let life = live_on_fresh_thread(&scenario, Cast::Service, Keep::Outcome, &progress);
            let Verdict::Invalid {
                property, records, ..
            } = &life.outcome.verdict
            else {
                panic!(
                    "{name}, seed {seed}: the canary lives: {:?}",
                    life.outcome.verdict
                );
            };
            let code = property.split(' ').next().unwrap_or_default();
            assert!(
                properties.contains(&code),
                "{name}, seed {seed}: convicted of {property}: {records:?}"
            );
        }
    }
}

#[test]
fn no_canary_is_forgotten() {
    let known: BTreeMap<&str, _> = CANARIES.iter().map(|(name, ..)| (*name, ())).collect();
    for entry in fs::read_dir(folder()).expect("the folder is there") {
        let name = entry.expect("the folder can be read").file_name();
        let name = name.to_string_lossy();
        assert!(known.contains_key(&*name), "{name} is in no table");
    }
}
