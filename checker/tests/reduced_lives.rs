//! Whichever property is broken in a life of the simulator: the failure can be told, reduced
//! to a few records, and drawn.

mod dice;
mod mutate;

use gamekeeper_checker::explain::{Budget, explain, timeline};
use gamekeeper_checker::history;
use gamekeeper_checker::{Options, Property, Verdict, judge};
use mutate::{Dice, Life, MUTATORS};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most records that the middle one of all reductions may have.
const MEDIAN_MAX: usize = 8;

/// What must be among the words of a failure, for whoever is to act on it.
const TOLD: [(&str, &[&str]); 3] = [
    (
        "a notification comes twice",
        &["leaving a watch", "a second notification"],
    ),
    (
        "one part of a multi fails alone",
        &["part 1 of the multi failed (NoNode)"],
    ),
    (
        "a read is allowed what it may not",
        &["right would have been: NoAuth", ", ACL "],
    ),
];

/// `LIVES=FILE` tries another life than the one kept here, `TRIES=N` more of each kind.
#[test]
fn whatever_is_broken_in_a_life_is_told_in_a_few_records() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lives/seed-1.jsonl");
    let file = std::env::var_os("LIVES").map_or(kept, PathBuf::from);
    let tries = std::env::var("TRIES").map_or(1, |tries| tries.parse().unwrap());
    let input =
        std::fs::File::open(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let whole = history::read(std::io::BufReader::new(input)).unwrap();
    let (life, options) = (Life::of(&whole), Options::default());
    let mut sizes: BTreeMap<(Property, &str), Vec<usize>> = BTreeMap::new();
    for (property, name, mutator) in MUTATORS {
        for seed in 0..tries {
            let Some(broken) = mutator(&life, &mut Dice(seed)) else {
                continue;
            };
            let Verdict::Invalid(violation) = judge(&broken, &options) else {
                continue;
            };
            let explanation = explain(&broken, &options, &violation, Budget::default());
            let reduction = explanation.reduction.as_ref();
            let reduction = reduction.unwrap_or_else(|| panic!("{name}: {violation}"));
            assert_eq!(reduction.violation.property, violation.property, "{name}");
            let told = explanation.to_string();
            assert!(told.contains(violation.property.name()), "{told}");
            assert!(!told.contains("(no path)"), "{told}");
            assert!(!told.contains("0xffff"), "{told}");
            let must = TOLD.iter().filter(|(broken, _)| *broken == name);
            for word in must.flat_map(|(_, words)| *words) {
                assert!(told.contains(word), "{word}: {told}");
            }
            assert!((1..=5).contains(&explanation.convicting.len()), "{told}");
            timeline::page(name, &broken, &explanation, &[]).unwrap();
            let size = reduction.history.records.len();
            println!(
                "{} {name}: {size} of {} records, {} judgements, minimal: {}",
                violation.property.code(),
                broken.records.len(),
                reduction.judgements,
                reduction.minimal()
            );
            sizes.entry((property, name)).or_default().push(size);
        }
    }
    assert!(sizes.len() > MUTATORS.len() / 2, "{sizes:?}");
    let mut all: Vec<usize> = sizes.into_values().flatten().collect();
    all.sort_unstable();
    assert!(all[all.len() / 2] <= MEDIAN_MAX, "{all:?}");
}
