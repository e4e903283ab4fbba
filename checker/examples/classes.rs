//! How many planted violations have a class, and how dear it was to tell:
//! `LIVES=DIR cargo run --release -p gamekeeper-checker --example classes -- [WORD]…`.
//!
//! Every mutator of `tests/mutate` breaks every life, twice; what the judge convicts is classed.
//! A line for each: life, mutator, property, class, seconds, reason. Then how many of each
//! class. Words leave out the mutators (and lives) that contain none of them; `--write DIR` keeps
//! what was broken. It says nothing of the service.

#[path = "../tests/dice/mod.rs"]
mod dice;
#[path = "../tests/mutate/mod.rs"]
mod mutate;

use dice::Dice;
use gamekeeper_checker::history::{History, write};
use gamekeeper_checker::{CLASS_CONFIGURATIONS, Options, Verdict, classify, judge};
use mutate::{Life, MUTATORS, lives};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// How often each mutator is tried on each life.
const TRIES: u64 = 2;

/// Characters of a reason that are printed.
const REASON_MAX: usize = 150;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let flag = words.iter().position(|word| word == "--write");
    let folder = flag.map(|at| words.drain(at..(at + 2).min(words.len())).next_back());
    let folder = folder.flatten();
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, whole) in lives() {
        let life = Life::of(&whole);
        for (property, name, mutator) in MUTATORS {
            let line = format!("{} {} {name}", file.display(), property.code());
            if !words.is_empty() && !words.iter().all(|word| line.contains(word.as_str())) {
                continue;
            }
            for seed in 0..TRIES {
                let Some(broken) = mutator(&life, &mut Dice(seed)) else {
                    break;
                };
                let options = Options::default();
                let Verdict::Invalid(mut violation) = judge(&broken, &options) else {
                    continue;
                };
                if let Some(folder) = &folder {
                    let name = format!("{line} {seed}.jsonl").replace(['/', ' '], "_");
                    if let Err(error) = keep(&Path::new(folder).join(name), &broken) {
                        eprintln!("{folder}: {error}");
                        return ExitCode::from(2);
                    }
                }
                let start = Instant::now();
                classify(&broken, &options, &mut violation, CLASS_CONFIGURATIONS);
                *tally.entry(violation.class.name()).or_default() += 1;
                let reason: String = violation.class_reason.chars().take(REASON_MAX).collect();
                println!(
                    "{line} {seed}: {} {} {:.2} s: {reason}",
                    violation.property.code(),
                    violation.class.name(),
                    start.elapsed().as_secs_f64()
                );
            }
        }
    }
    println!("{tally:?}");
    ExitCode::SUCCESS
}

fn keep(file: &Path, history: &History) -> std::io::Result<()> {
    let file = std::fs::File::create(file)?;
    write(std::io::BufWriter::new(file), history)
}
