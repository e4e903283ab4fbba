//! The command line of the simulator.
//!
//! What always holds: the exit code is 0 when every run was valid, 1 for a violation, 2 for
//! wrong usage or broken input (told in one line), 3 when a run was unknown or vacuous;
//! results go to standard output, bars and complaints to standard error.

use crate::life::{Cast, Keep, Life, Progress, live_on_fresh_thread};
use crate::outcome::replay_line;
use crate::rundir::RunDir;
use crate::scenario::{self, INTENSITY_NORMAL, Scenario, ScenarioFile};
use crate::shrink;
use crate::sweep::{self, SweepOptions};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Greatest intensity, in thousandths: a hundred times the normal.
const INTENSITY_PERMILLE_MAX: u32 = 100_000;
/// Largest scenario file read, bytes.
const SCENARIO_BYTES_MAX: u64 = 4 << 20;
/// Where run directories of failures go unless told otherwise.
const RUNS: &str = "runs";
/// Exit code for wrong usage and broken input.
const EXIT_USAGE: u8 = 2;

/// Lives the life of a whole quorum in a simulated world and judges it.
///
/// Exit code: 0 valid, 1 a violation, 2 wrong usage or broken input, 3 unknown or vacuous.
#[derive(Parser, Debug)]
#[command(name = "sim", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Lives a range of seeds, each on a fresh thread, and sums up.
    Sweep(SweepArgs),
    /// Lives the scenario of a run directory again and compares the fingerprints.
    Replay {
        /// The run directory.
        dir: PathBuf,
    },
    /// Leaves out of a failing life whatever it fails without, and writes what is left as a
    /// scenario.
    Shrink(ShrinkArgs),
    /// Measures events per processor second of the server and of a null server in the same world.
    Calibrate(CalibrateArgs),
}

#[derive(Args, Debug)]
struct CalibrateArgs {
    /// How many seeds to live with each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

#[derive(Args, Debug)]
struct ShrinkArgs {
    /// A run directory: its scenario is shrunk.
    #[arg(value_name = "DIR", conflicts_with_all = ["seed", "scenario", "intensity"])]
    dir: Option<PathBuf>,
    /// The seed of the failing life.
    #[arg(long)]
    seed: Option<u64>,
    /// The scenario file it was lived with.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// The intensity it was lived with.
    #[arg(long, value_name = "X", value_parser = parse_intensity)]
    intensity: Option<u32>,
    /// Where the scenario goes (without it: runs/shrunk-SEED.toml).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Most lives to spend.
    #[arg(long, default_value_t = shrink::LIVES_MAX, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    lives: u64,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// What everything the scenario file does not name is drawn from (without it: the
    /// file's seed, or 0).
    #[arg(long)]
    seed: Option<u64>,
    /// A scenario as TOML: it fixes what it names.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// How hard to strike; 1 is normal, 0 leaves the ensemble alone.
    #[arg(long, value_name = "X", value_parser = parse_intensity)]
    intensity: Option<u32>,
    /// Write the run directory here (without it: under runs/, on failure only).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct SweepArgs {
    /// The seeds, half-open: 0..100 is 0 to 99.
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    seeds: (u64, u64),
    /// A scenario as TOML, or a directory of them: every seed lives each.
    #[arg(long, value_name = "FILE|DIR")]
    scenario: Option<PathBuf>,
    /// How hard to strike; 1 is normal.
    #[arg(long, value_name = "X", value_parser = parse_intensity)]
    intensity: Option<u32>,
    /// How many lives at a time (without it: one for each processor).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
    /// Begin no new life after so many minutes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: Option<u64>,
    /// Begin no new life once one was a violation.
    #[arg(long)]
    stop_at_first: bool,
    /// Where failures keep their run directories (without it: under runs/).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write a line for each life into this file: seed, fingerprint, verdict.
    #[arg(long, value_name = "FILE")]
    fingerprints: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // `--help` and `--version` are answers, not errors.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return complain(&first_lines(&error.to_string())),
    };
    let done = match cli.command {
        None => run(&cli.run),
        Some(Command::Sweep(args)) => run_sweep(&args),
        Some(Command::Replay { dir }) => replay(&dir),
        Some(Command::Shrink(args)) => run_shrink(&args),
        Some(Command::Calibrate(args)) => calibrate(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(what) => complain(&what),
    }
}

fn complain(what: &str) -> ExitCode {
    eprintln!("sim: {what}");
    ExitCode::from(EXIT_USAGE)
}

/// The complaint of the argument parser without its manual, in one line.
fn first_lines(text: &str) -> String {
    let complaint: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let joined = complaint.join(" ");
    let told = joined.strip_prefix("error: ").unwrap_or(&joined);
    format!("{told} (see --help)")
}

fn run(args: &RunArgs) -> Result<u8, String> {
    let file = args.scenario.as_deref();
    if file.is_none() && args.seed.is_none() {
        return Err("say which life: --seed N, or --scenario FILE (see --help)".into());
    }
    let parsed = file.map(read_scenario).transpose()?.unwrap_or_default();
    let scenario = complete(&parsed, file, args.seed, args.intensity)?;
    if let Some(dir) = &args.out {
        RunDir::claim(dir).map_err(|e| e.to_string())?;
    }
    if !args.json {
        println!("{scenario}");
    }
    let keep = match args.out {
        Some(_) => Keep::Everything,
        None => Keep::Outcome,
    };
    let mut life = live_with_bar(&scenario, keep, args.json);
    if life.outcome.verdict.exit_code() != 0 && keep == Keep::Outcome {
        life = sweep::live_again(&scenario, life);
    }
    let code = life.outcome.verdict.exit_code();
    let dir = match &args.out {
        Some(dir) => Some(dir.clone()),
        None if code != 0 => Some(Path::new(RUNS).join(format!("seed-{}", scenario.seed))),
        None => None,
    };
    if args.json {
        println!("{}", life.outcome.to_json());
    } else {
        let name = file.map(|f| f.display().to_string());
        let replay = replay_line(&scenario, name.as_deref());
        print!("{}", life.outcome.print(&replay));
    }
    // Told first: a verdict must not be lost because there is no room to keep it.
    if let Some(dir) = &dir {
        let explained = RunDir::write(dir, &scenario, &life).map_err(|e| e.to_string())?;
        if !args.json {
            println!("kept       {}", dir.display());
            for file in explained {
                println!("why        {}", file.display());
            }
        }
    }
    Ok(code)
}

/// Lives with a bar on a terminal, and silently everywhere else.
fn live_with_bar(scenario: &Scenario, keep: Keep, quiet: bool) -> Life {
    let phases = &scenario.phases;
    let expected_ms = phases.warmup_ms + phases.chaos_ms;
    let bar = ProgressBar::new(expected_ms);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} ms of virtual time")
            .expect("the template is well-formed"),
    );
    let progress = Progress::default();
    let life = thread::scope(|scope| {
        let living = scope.spawn(|| live_on_fresh_thread(scenario, Cast::Service, keep, &progress));
        while !living.is_finished() {
            bar.set_position((progress.virtual_ns() / 1_000_000).min(expected_ms));
            thread::park_timeout(Duration::from_millis(20));
        }
        living.join().expect("panics of a life are caught inside")
    });
    bar.finish_and_clear();
    life
}

fn run_sweep(args: &SweepArgs) -> Result<u8, String> {
    let mut scenarios = Vec::new();
    for path in args.scenario.iter().flat_map(|path| files_of(path)) {
        let path = path?;
        let file = read_scenario(&path)?;
        // Every seed must be able to complete it; the first tells.
        complete(&file, Some(&path), Some(args.seeds.0), args.intensity)?;
        scenarios.push((path.display().to_string(), file));
    }
    if let Some(dir) = &args.out {
        RunDir::claim(dir).map_err(|e| e.to_string())?;
    }
    let roll = args.fingerprints.as_deref();
    if let Some(path) = roll {
        // A place that takes nothing is told before the lives are lived.
        fs::write(path, "").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let options = SweepOptions {
        seeds: args.seeds,
        scenarios,
        intensity_permille: args.intensity,
        jobs: args.jobs.map_or_else(default_jobs, |jobs| jobs as usize),
        minutes_max: args.minutes,
        stop_at_first: args.stop_at_first,
        out: args.out.clone().unwrap_or_else(|| PathBuf::from(RUNS)),
        quiet: args.json,
    };
    let (summary, lines) = sweep::sweep(&options)?;
    if let Some(path) = roll {
        fs::write(path, lines).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if args.json {
        println!("{}", summary.to_json());
    } else {
        print!("{summary}");
    }
    Ok(summary.exit_code())
}

fn replay(dir: &Path) -> Result<u8, String> {
    let recorded = RunDir::read(dir).map_err(|e| e.to_string())?;
    println!("{}", recorded.scenario);
    let life = live_with_bar(&recorded.scenario, Keep::Outcome, false);
    let again = format!("sim replay {}", dir.display());
    print!("{}", life.outcome.print(&again));
    if life.outcome.fingerprint == recorded.outcome.fingerprint {
        println!("same       the fingerprint is the recorded one");
        return Ok(life.outcome.verdict.exit_code());
    }
    println!(
        "differs    the recorded fingerprint is {}",
        recorded.outcome.fingerprint
    );
    // A run that does not repeat is a bug of the harness or of determinism: a violation.
    Ok(1)
}

fn run_shrink(args: &ShrinkArgs) -> Result<u8, String> {
    let (scenario, origin) = match &args.dir {
        Some(dir) => {
            let recorded = RunDir::read(dir).map_err(|e| e.to_string())?;
            (recorded.scenario, format!("`{}`", dir.display()))
        }
        None => {
            let file = args.scenario.as_deref();
            if file.is_none() && args.seed.is_none() {
                return Err("say which life: DIR, or --seed N (see --help)".into());
            }
            let parsed = file.map(read_scenario).transpose()?.unwrap_or_default();
            let scenario = complete(&parsed, file, args.seed, args.intensity)?;
            let name = file.map(|f| f.display().to_string());
            let origin = format!("`{}`", replay_line(&scenario, name.as_deref()));
            (scenario, origin)
        }
    };
    let out = match &args.out {
        Some(path) => path.clone(),
        None => Path::new(RUNS).join(format!("shrunk-{}.toml", scenario.seed)),
    };
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let keep = |text: &str| fs::write(&out, text).map_err(|e| format!("{}: {e}", out.display()));
    keep("")?;
    let shrunk = shrink_with_bar(&scenario, args.lives)?;
    keep(&shrink::to_file(&shrunk, &origin))?;
    println!("{}", shrunk.scenario);
    let sizes = |s: &Scenario| {
        let clients: u64 = s.workloads.iter().map(|w| w.clients).sum();
        let (faults, chaos_ms) = (s.plan.len(), s.phases.chaos_ms);
        format!("{faults} faults, {clients} clients, {chaos_ms} ms of chaos")
    };
    println!("was        {}", sizes(&scenario));
    println!("is         {}", sizes(&shrunk.scenario));
    println!("fails      {}", shrunk.verdict.signature());
    let end = match shrunk.cut_short {
        true => "; --lives ended it, more may go",
        false => "",
    };
    println!("lives      {}{end}", shrunk.lives);
    println!("kept       {}", out.display());
    Ok(0)
}

/// Shrinks with a line of progress on a terminal, and silently everywhere else.
fn shrink_with_bar(scenario: &Scenario, lives_max: u64) -> Result<shrink::Shrunk, String> {
    let bar = ProgressBar::new(lives_max);
    let template = "{bar:40} {pos}/{len} lives, {msg}";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    let live = |s: &Scenario| {
        let life = live_on_fresh_thread(s, Cast::Service, Keep::Outcome, &Progress::default());
        life.outcome.verdict
    };
    let shrunk = shrink::shrink(scenario, lives_max, live, |best, lives| {
        bar.set_position(lives);
        let (faults, chaos_ms) = (best.plan.len(), best.phases.chaos_ms);
        bar.set_message(format!("{faults} faults, {chaos_ms} ms of chaos left"));
    });
    bar.finish_and_clear();
    shrunk
}

fn calibrate(args: &CalibrateArgs) -> Result<u8, String> {
    let bar = ProgressBar::new(args.seeds);
    let measured = crate::life::calibrate(args.first, args.seeds, |_| bar.inc(1));
    bar.finish_and_clear();
    print!("{measured}");
    Ok(0)
}

/// Fills a scenario file up; flags win over the file, the file over what is usual.
fn complete(
    file: &ScenarioFile,
    path: Option<&Path>,
    seed: Option<u64>,
    intensity: Option<u32>,
) -> Result<Scenario, String> {
    let named = |e: scenario::ScenarioError| match path {
        Some(path) => format!("{}: {e}", path.display()),
        None => e.to_string(),
    };
    let seed = match seed {
        Some(seed) => seed,
        None => file.seed().map_err(named)?.unwrap_or(0),
    };
    let intensity = match intensity {
        Some(intensity) => intensity,
        None => file
            .intensity_permille()
            .map_err(named)?
            .unwrap_or(INTENSITY_NORMAL),
    };
    file.complete(seed, intensity).map_err(named)
}

fn read_scenario(path: &Path) -> Result<ScenarioFile, String> {
    let told = |what: String| format!("{}: {what}", path.display());
    let cure = "a scenario is a TOML file, as under scenarios/";
    let meta = fs::metadata(path).map_err(|e| told(format!("{e}; {cure}")))?;
    if meta.len() > SCENARIO_BYTES_MAX {
        let long = format!("longer than {SCENARIO_BYTES_MAX} bytes");
        return Err(told(format!("{long}; {cure}")));
    }
    let text = fs::read_to_string(path).map_err(|e| told(format!("{e}; {cure}")))?;
    let file = ScenarioFile::parse(&text).map_err(|e| told(e.to_string()))?;
    if file.is_empty() {
        // Whoever names a file wants something fixed by it: this one was cut, or never written.
        let cure = "name at least one key, or leave --scenario out";
        return Err(told(format!("fixes nothing; {cure}")));
    }
    Ok(file)
}

/// A file itself, or every `.toml` of a directory in order of name.
fn files_of(path: &Path) -> Vec<Result<PathBuf, String>> {
    if !path.is_dir() {
        return vec![Ok(path.to_path_buf())];
    }
    let told = |what: &str| vec![Err(format!("{}: {what}", path.display()))];
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return told(&error.to_string()),
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return told("no .toml file in this directory");
    }
    files.into_iter().map(Ok).collect()
}

fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get())
}

/// A decimal number as thousandths; no floating point, so that it means the same everywhere.
fn parse_intensity(text: &str) -> Result<u32, String> {
    let wrong = || {
        format!(
            "`{text}` is no number from 0 to {}",
            INTENSITY_PERMILLE_MAX / 1000
        )
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 || text.is_empty() || text == "." {
        return Err(wrong());
    }
    let whole: u32 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1000)
        .and_then(|n| n.checked_add(thousandths))
        .filter(|n| *n <= INTENSITY_PERMILLE_MAX)
        .ok_or_else(wrong)
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no range of seeds; say A..B with A below B");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let end: u64 = end.parse().map_err(|_| wrong())?;
    if first < end {
        Ok((first, end))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn intensity_is_read_without_floating_point() {
        for (text, permille) in [
            ("1", 1000),
            ("3", 3000),
            ("0.5", 500),
            (".25", 250),
            ("2.", 2000),
            ("0", 0),
        ] {
            assert_eq!(parse_intensity(text), Ok(permille), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "1.2345", "101", "x", "99999999999"] {
            assert!(parse_intensity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seeds_are_half_open_and_not_empty() {
        assert_eq!(parse_seeds("3..7"), Ok((3, 7)));
        for text in ["", "3", "..", "3..", "7..3", "3..3", "-1..3", "a..b"] {
            assert!(parse_seeds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for args in [
            vec!["sim", "--sed", "3"],
            vec!["sim", "--seed", "x"],
            vec!["sim", "sweep"],
            vec!["sim", "sweep", "--seeds", "9"],
            vec!["sim", "--seed", "1", "sweep", "--seeds", "0..1"],
            vec!["sim", "replay"],
        ] {
            let error = Cli::try_parse_from(&args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
            let line = first_lines(&error.to_string());
            assert!(!line.contains('\n') && line.len() > 20, "{line}");
        }
    }
}
