//! Every property is broken, one at a time, in lives of the simulator, and named each time.

mod dice;
mod mutate;

use gamekeeper_checker::history::{self, History};
use gamekeeper_checker::{Options, Property, Verdict, judge};
use mutate::{Dice, Life, MUTATORS};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often each mutator is tried on each life.
const TRIES: u64 = 3;

fn lives(folder: &Path) -> Vec<(PathBuf, History)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .map(|path| {
            if path.is_dir() {
                path.join("history.jsonl")
            } else {
                path
            }
        })
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
                && path.exists()
        })
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let file = std::fs::File::open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let history = history::read(std::io::BufReader::new(file));
        let history = history.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, history)
    };
    files.into_iter().map(read).collect()
}

/// What each mutator did to all lives: places found, and what was said instead of its name.
#[derive(Default)]
struct Tally {
    named: usize,
    otherwise: Vec<String>,
}

/// `LIVES=DIR` tries other lives than the ones kept here: history files, or run directories.
#[test]
fn every_property_broken_in_a_life_is_named() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lives");
    let folder = std::env::var_os("LIVES").map_or(kept, PathBuf::from);
    let mut tallies: BTreeMap<(Property, &str), Tally> = BTreeMap::new();
    for (file, history) in lives(&folder) {
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
    assert_eq!(
        tallies.len(),
        MUTATORS.len(),
        "no valid life in {}",
        folder.display()
    );
    assert_eq!(failures, 0);
}
