//! Bugs that were found once: the lives that show them are valid now.
//!
//! Each file of `scenarios/regressions` names on top the plant that shows that it can fail
//! (`ci/plant.sh --scenario FILE NAME`).

use gamekeeper_sim::life::{Cast, Keep, Progress, live_on_fresh_thread};
use gamekeeper_sim::outcome::Verdict;
use gamekeeper_sim::scenario::ScenarioFile;
use std::fs;
use std::path::PathBuf;

const SEEDS: std::ops::Range<u64> = 0..1;

#[test]
fn remembered_bugs_stay_gone() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/regressions");
    let mut lived = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the scenario is there");
        assert!(
            text.contains("ci/plant.sh"),
            "{}: what plants it?",
            path.display()
        );
        let file = ScenarioFile::parse(&text).expect("the scenario is sound");
        for seed in SEEDS {
            let scenario = file.complete(seed, 1000).expect("the scenario is complete");
            let progress = Progress::default();
            let life = live_on_fresh_thread(&scenario, Cast::Service, Keep::Outcome, &progress);
            let verdict = life.outcome.verdict;
            assert_eq!(verdict, Verdict::Valid, "{}, seed {seed}", path.display());
            lived += 1;
        }
    }
    assert!(lived > 0, "no file is left");
}
