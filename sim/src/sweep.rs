//! Many lives: a range of seeds, each on a fresh thread, summed up.
//!
//! What always holds: a seed's outcome does not hang on how many others are lived at the
//! same time; every failure keeps a run directory, and failures are told by signature, so
//! that one bug is one line however many seeds meet it.

use crate::life::{Cast, Keep, Life, PROBES, PROBES_BEYOND, Progress, live_on_fresh_thread};
use crate::outcome::{Outcome, Verdict, replay_line};
use crate::plan::Family;
use crate::rundir::RunDir;
use crate::scenario::{self, INTENSITY_NORMAL, Scenario, ScenarioFile};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Run directories kept of one signature: further ones tell nothing new.
const KEPT_PER_SIGNATURE: usize = 5;
/// Seeds listed of one signature.
const SEEDS_LISTED: usize = 8;

/// What to sweep over.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The seeds, half-open.
    pub seeds: (u64, u64),
    /// Scenario files with their names; none for drawn ones only.
    pub scenarios: Vec<(String, ScenarioFile)>,
    /// Intensity in thousandths, over the files'.
    pub intensity_permille: Option<u32>,
    /// How many lives at a time.
    pub jobs: usize,
    /// No new life is begun after so many minutes.
    pub minutes_max: Option<u64>,
    /// No new life is begun once one was a violation.
    pub stop_at_first: bool,
    /// Where failures keep their run directories.
    pub out: PathBuf,
    /// True to draw no bar.
    pub quiet: bool,
}

/// One bug as far as its signature tells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// What its runs have in common.
    pub signature: String,
    /// How many runs failed like this.
    pub count: u64,
    /// Some of their seeds, the least first.
    pub seeds: Vec<u64>,
    /// The line that lives the first of them again.
    pub replay: String,
    /// Run directories that were kept.
    pub kept: Vec<String>,
}

/// What a sweep came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// Lives lived.
    pub runs: u64,
    /// Lives by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Shares of runs, in thousandths, that saw each of the four things every run should.
    pub coverage_permille: BTreeMap<String, u64>,
    /// Virtual seconds of chaos, median.
    pub chaos_s_median: u64,
    /// Committed transactions, median.
    pub commits_median: u64,
    /// Inputs stepped, all runs.
    pub events: u64,
    /// Virtual time, all runs, nanoseconds.
    pub virtual_ns: u64,
    /// Processor time, all runs, nanoseconds.
    pub cpu_ns: u64,
    /// How much of it the judge took.
    pub judge_ns: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Faults that did not, by kind and reason.
    pub skipped: BTreeMap<String, u64>,
    /// Rare roads walked, in how many runs.
    pub probes: BTreeMap<String, u64>,
    /// Rare roads nobody walked.
    pub probes_unwalked: Vec<String>,
    /// Messages delivered to servers, by name.
    pub messages: BTreeMap<String, u64>,
    /// Messages nobody was ever sent.
    pub messages_undelivered: Vec<String>,
    /// Failures by signature, the most frequent first.
    pub failures: Vec<Failure>,
    /// Why the last run directory that could not be written was not.
    pub unkept: Option<String>,
}

impl Summary {
    /// 1 if any life was a violation, else 3 if any was unknown or vacuous, else 0.
    pub fn exit_code(&self) -> u8 {
        let any = |name: &str| self.verdicts.get(name).is_some_and(|n| *n > 0);
        match () {
            () if any("invalid") => 1,
            () if any("unknown") || any("vacuous") => 3,
            () => 0,
        }
    }

    /// One JSON object on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a summary is made of names and numbers")
    }
}

/// Lives every seed of every scenario and sums up. Beside the summary: a line for each life
/// in order of seeds (seed, scenario if one was named, fingerprint, verdict), which is the
/// same on every machine, in every build and with any number of jobs.
pub fn sweep(options: &SweepOptions) -> Result<(Summary, String), String> {
    let files = options.scenarios.len().max(1) as u64;
    let lives = (options.seeds.1 - options.seeds.0)
        .checked_mul(files)
        .ok_or("more lives than can be counted")?;
    let bar = bar_of(lives, options.quiet);
    let deadline = options
        .minutes_max
        .map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let next = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs)
            .map(|_| {
                scope.spawn(|| {
                    while deadline.is_none_or(|at| Instant::now() < at)
                        && !stopped.load(Ordering::Relaxed)
                    {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= lives {
                            break;
                        }
                        if one(options, index, &tally, &bar)? && options.stop_at_first {
                            stopped.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let mut done = Ok(());
        for worker in workers {
            let ended: Result<(), String> = worker.join().expect("a worker does not panic");
            done = done.and(ended);
        }
        done
    })?;
    bar.finish_and_clear();
    let tally = tally.into_inner().expect("a worker does not panic");
    let lines = tally
        .roll
        .values()
        .map(|line| format!("{line}\n"))
        .collect();
    Ok((tally.summary(), lines))
}

/// Lives the `index`-th life of a sweep: all scenarios of the first seed, then of the next.
/// True when it was a violation.
fn one(
    options: &SweepOptions,
    index: u64,
    tally: &Mutex<Tally>,
    bar: &ProgressBar,
) -> Result<bool, String> {
    let files = options.scenarios.len().max(1) as u64;
    let seed = options.seeds.0 + index / files;
    let named = options.scenarios.get((index % files) as usize);
    let scenario = scenario_of(options, named, seed)?;
    let mut life = live(&scenario, Keep::Outcome);
    if life.outcome.verdict != Verdict::Valid {
        life = live_again(&scenario, life);
    }
    let replay = replay_line(&scenario, named.map(|(name, _)| name.as_str()));
    let mut tally = tally.lock().expect("a worker does not panic");
    tally.call(
        index,
        seed,
        named.map(|(name, _)| plain(name)),
        &life.outcome,
    );
    if tally.add(seed, &life.outcome, replay) {
        let stem = named.map_or_else(String::new, |(name, _)| format!("-{}", plain(name)));
        let dir = options.out.join(format!("seed-{seed}{stem}"));
        match RunDir::write(&dir, &scenario, &life) {
            Ok(_) => tally.kept(&life.outcome, dir.display().to_string()),
            // A full disk must not end the sweep: the replay line tells the same.
            Err(error) => tally.summary.unkept = Some(error.to_string()),
        }
    }
    bar.set_message(format!("{} failures", tally.failed()));
    bar.inc(1);
    Ok(matches!(life.outcome.verdict, Verdict::Invalid { .. }))
}

fn live(scenario: &Scenario, keep: Keep) -> Life {
    live_on_fresh_thread(scenario, Cast::Service, keep, &Progress::default())
}

/// Lives a failed life a second time, with everything recorded. A different fingerprint is a
/// worse finding than the failure itself, and takes its place.
pub fn live_again(scenario: &Scenario, first: Life) -> Life {
    let mut again = live(scenario, Keep::Everything);
    let (was, is) = (&first.outcome.fingerprint, &again.outcome.fingerprint);
    if was != is {
        let records = vec![
            format!("the first time the fingerprint was {was}, the second time {is}"),
            format!(
                "the first verdict was {}",
                first.outcome.verdict.signature()
            ),
            format!("the second was {}", again.outcome.verdict.signature()),
        ];
        again.outcome.verdict = Verdict::Invalid {
            property: "determinism".into(),
            records,
            place: None,
        };
    }
    again
}

fn scenario_of(
    options: &SweepOptions,
    named: Option<&(String, ScenarioFile)>,
    seed: u64,
) -> Result<Scenario, String> {
    let Some((name, file)) = named else {
        let intensity = options.intensity_permille.unwrap_or(INTENSITY_NORMAL);
        return Ok(scenario::draw(seed, intensity));
    };
    let told = |e: scenario::ScenarioError| format!("{name}: {e}");
    let intensity = match options.intensity_permille {
        Some(intensity) => intensity,
        None => file
            .intensity_permille()
            .map_err(told)?
            .unwrap_or(INTENSITY_NORMAL),
    };
    file.complete(seed, intensity).map_err(told)
}

fn bar_of(lives: u64, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(lives);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{bar:40} {pos}/{len} seeds, {per_sec}, {msg}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    bar
}

/// A path's file name without its ending.
fn plain(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.trim_end_matches(".toml").to_string()
}

/// A sweep under way.
#[derive(Default)]
struct Tally {
    summary: Summary,
    chaos_ns: Vec<u64>,
    commits: Vec<u64>,
    saw: BTreeMap<&'static str, u64>,
    failures: BTreeMap<String, Found>,
    /// A line for each life, some 60 bytes.
    roll: BTreeMap<u64, String>,
}

#[derive(Default)]
struct Found {
    count: u64,
    /// Ordered, so that a summary does not hang on which worker was faster.
    seeds: BTreeMap<u64, String>,
    kept: BTreeSet<String>,
}

impl Tally {
    /// Puts the `index`-th life on the roll.
    fn call(&mut self, index: u64, seed: u64, scenario: Option<String>, outcome: &Outcome) {
        let (fingerprint, verdict) = (&outcome.fingerprint, outcome.verdict.name());
        let line = match scenario {
            Some(name) => format!("{seed} {name} {fingerprint} {verdict}"),
            None => format!("{seed} {fingerprint} {verdict}"),
        };
        self.roll.insert(index, line);
    }

    /// Adds an outcome; true when its run directory is worth keeping.
    fn add(&mut self, seed: u64, outcome: &Outcome, replay: String) -> bool {
        let s = &mut self.summary;
        s.runs += 1;
        *s.verdicts.entry(outcome.verdict.name().into()).or_default() += 1;
        s.events += outcome.events;
        s.virtual_ns += outcome.virtual_ns;
        s.cpu_ns += outcome.cpu_ns;
        s.judge_ns += outcome.judge_ns;
        add_all(&mut s.faults, &outcome.faults);
        add_all(&mut s.skipped, &outcome.skipped);
        add_all(&mut s.messages, &outcome.messages);
        for probe in outcome.probes.keys() {
            *s.probes.entry(probe.clone()).or_default() += 1;
        }
        self.chaos_ns.push(outcome.chaos_ns);
        self.commits.push(outcome.commits);
        for (name, saw) in [
            ("leader change", outcome.saw_leader_change()),
            ("crash and recovery", outcome.saw_recovery()),
            ("partition", outcome.saw(Family::Partition)),
            ("disk fault", outcome.saw(Family::Disk)),
        ] {
            *self.saw.entry(name).or_default() += u64::from(saw);
        }
        if outcome.verdict == Verdict::Valid {
            return false;
        }
        let found = self
            .failures
            .entry(outcome.verdict.signature())
            .or_default();
        found.count += 1;
        found.seeds.insert(seed, replay);
        found.kept.len() < KEPT_PER_SIGNATURE
    }

    fn kept(&mut self, outcome: &Outcome, dir: String) {
        let found = self.failures.entry(outcome.verdict.signature());
        found.or_default().kept.insert(dir);
    }

    fn failed(&self) -> u64 {
        self.failures.values().map(|found| found.count).sum()
    }

    fn summary(mut self) -> Summary {
        let runs = self.summary.runs.max(1);
        let mut s = self.summary;
        s.coverage_permille = self
            .saw
            .iter()
            .map(|(name, n)| (name.to_string(), n * 1000 / runs))
            .collect();
        s.chaos_s_median = median(&mut self.chaos_ns) / 1_000_000_000;
        s.commits_median = median(&mut self.commits);
        let beyond = |probe: &str| PROBES_BEYOND.iter().any(|(name, _)| *name == probe);
        s.probes_unwalked = PROBES
            .iter()
            .filter(|probe| !s.probes.contains_key(**probe) && !beyond(probe))
            .map(|probe| probe.to_string())
            .collect();
        s.messages_undelivered = crate::life::mail::MESSAGES
            .iter()
            .filter(|name| !s.messages.contains_key(**name))
            .map(|name| name.to_string())
            .collect();
        s.failures = self.failures.into_iter().map(failure).collect();
        s.failures.sort_by_key(|f| std::cmp::Reverse(f.count));
        s
    }
}

fn failure((signature, found): (String, Found)) -> Failure {
    Failure {
        signature,
        count: found.count,
        replay: found.seeds.values().next().cloned().unwrap_or_default(),
        seeds: found.seeds.keys().take(SEEDS_LISTED).copied().collect(),
        kept: found.kept.into_iter().collect(),
    }
}

fn add_all(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, n) in from {
        *to.entry(name.clone()).or_default() += n;
    }
}

fn median(of: &mut [u64]) -> u64 {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or(0)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |of: &BTreeMap<String, u64>| {
            let parts: Vec<String> = of.iter().map(|(name, n)| format!("{name} {n}")).collect();
            if parts.is_empty() {
                "none".to_string()
            } else {
                parts.join(", ")
            }
        };
        writeln!(f, "runs       {}: {}", self.runs, counts(&self.verdicts))?;
        let coverage: Vec<String> = self
            .coverage_permille
            .iter()
            .map(|(name, n)| format!("{name} {}.{} %", n / 10, n % 10))
            .collect();
        writeln!(f, "coverage   {}", coverage.join(", "))?;
        writeln!(
            f,
            "median     {} s of chaos, {} commits",
            self.chaos_s_median, self.commits_median
        )?;
        let cpu_ms = (self.cpu_ns / 1_000_000).max(1);
        writeln!(
            f,
            "speed      {} seeds and {} events a minute of processor, {} times as fast as life; {} % of the processor in the judge",
            self.runs * 60_000 / cpu_ms,
            self.events * 60_000 / cpu_ms,
            self.virtual_ns / 1_000_000 / cpu_ms,
            self.judge_ns / 10_000 / cpu_ms
        )?;
        writeln!(f, "faults     {}", counts(&self.faults))?;
        writeln!(f, "skipped    {}", counts(&self.skipped))?;
        writeln!(f, "probes     {}", counts(&self.probes))?;
        if !self.probes_unwalked.is_empty() {
            writeln!(f, "unwalked   {}", self.probes_unwalked.join(", "))?;
        }
        if !self.messages_undelivered.is_empty() {
            let names = self.messages_undelivered.join(", ");
            writeln!(f, "unsent     {names}")?;
        }
        for failure in &self.failures {
            writeln!(f, "failure    {} x {}", failure.count, failure.signature)?;
            writeln!(f, "           seeds {:?}", failure.seeds)?;
            writeln!(f, "           {}", failure.replay)?;
            for dir in failure.kept.iter().take(1) {
                writeln!(f, "           kept {dir}")?;
            }
        }
        if let Some(why) = &self.unkept {
            writeln!(f, "unkept     {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            ..Outcome::new(seed)
        }
    }

    #[test]
    fn failures_of_one_signature_are_one_line() {
        let mut tally = Tally::default();
        for seed in [9, 3, 5] {
            let verdict = Verdict::Invalid {
                property: "P5".into(),
                records: vec![format!("session {seed} read old data")],
                place: None,
            };
            assert!(tally.add(seed, &outcome(seed, verdict), format!("replay {seed}")));
        }
        assert!(!tally.add(1, &outcome(1, Verdict::Valid), String::new()));
        let summary = tally.summary();
        assert_eq!(summary.exit_code(), 1);
        assert_eq!(summary.failures.len(), 1);
        assert_eq!(summary.failures[0].seeds, [3, 5, 9]);
        assert_eq!(summary.failures[0].replay, "replay 3");
    }

    #[test]
    fn roads_are_found_in_the_sources_and_those_out_of_reach_are_among_them() {
        for name in [
            "log cut by the leader",
            "log waits for space",
            "log: a hole is covered by the snapshot",
            "lost the leader",
            "snapshot too slow for what is proposed",
        ] {
            assert!(PROBES.contains(&name), "{name} is missing in {PROBES:?}");
        }
        for (name, _) in PROBES_BEYOND {
            assert!(PROBES.contains(name), "{name} is no road any more");
        }
        let unwalked = Tally::default().summary().probes_unwalked;
        assert_eq!(unwalked.len(), PROBES.len() - PROBES_BEYOND.len());
    }

    #[test]
    fn vacuous_run_is_no_pass() {
        let mut tally = Tally::default();
        let why = "nothing committed".into();
        tally.add(1, &outcome(1, Verdict::Vacuous { why }), String::new());
        assert_eq!(tally.summary().exit_code(), 3);
    }
}
