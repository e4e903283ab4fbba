//! zkcheck: judges recorded histories.
//!
//! Exit code = verdict: 0 valid, 1 invalid, 2 unreadable (one line says where), 3 unknown.
//! Of several files the worst verdict counts: unreadable, then invalid, then unknown.

use clap::Parser;
use gamekeeper_checker::history::{self, History, World};
use gamekeeper_checker::{Options, Verdict, judge};
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Judges recorded histories of a ZooKeeper service.
#[derive(Parser)]
#[command(name = "zkcheck", version, about)]
struct Arguments {
    /// Histories as JSON lines; `-` reads standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object a file instead of words.
    #[arg(long)]
    json: bool,
    /// Judge as if others could have written too, whatever the header says.
    #[arg(long)]
    open: bool,
    /// Judge as if every client had been recorded, whatever the header says.
    #[arg(long, conflicts_with = "open")]
    closed: bool,
}

/// What became of one file.
enum Outcome {
    Judged(Verdict),
    Unreadable(String),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody is left to tell if even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let world = match (arguments.open, arguments.closed) {
        (true, _) => Some(World::Open),
        (_, true) => Some(World::Closed),
        (false, false) => None,
    };
    let options = Options {
        world,
        ..Options::default()
    };
    let mut worst = 0;
    for file in &arguments.files {
        let outcome = check(file, &options);
        if report(file, &outcome, arguments.json).is_err() {
            return ExitCode::from(2);
        }
        worst = worse(worst, code(&outcome));
    }
    ExitCode::from(worst)
}

fn check(file: &Path, options: &Options) -> Outcome {
    match read(file) {
        Ok(history) => match judge(&history, options) {
            Verdict::Malformed { record, reason } => Outcome::Unreadable(format!(
                "{}: record {}: {reason}",
                file.display(),
                record + 1
            )),
            verdict => Outcome::Judged(verdict),
        },
        Err(error) => Outcome::Unreadable(format!("{}: {error}", file.display())),
    }
}

fn read(file: &Path) -> Result<History, history::ReadError> {
    match file.as_os_str() == "-" {
        true => history::read(BufReader::new(io::stdin().lock())),
        false => history::read(BufReader::with_capacity(1 << 20, File::open(file)?)),
    }
}

fn code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Judged(Verdict::Valid(_)) => 0,
        Outcome::Judged(Verdict::Invalid(_)) => 1,
        Outcome::Judged(Verdict::Malformed { .. }) | Outcome::Unreadable(_) => 2,
        Outcome::Judged(Verdict::Unknown(_)) => 3,
    }
}

fn worse(left: u8, right: u8) -> u8 {
    let rank = |code: u8| match code {
        2 => 3,
        1 => 2,
        3 => 1,
        _ => 0,
    };
    if rank(right) > rank(left) {
        right
    } else {
        left
    }
}

fn report(file: &Path, outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match (outcome, json) {
        (Outcome::Judged(verdict), false) => writeln!(output, "{}: {verdict}", file.display()),
        (Outcome::Unreadable(reason), false) => writeln!(io::stderr().lock(), "{reason}"),
        (outcome, true) => writeln!(output, "{}", json_of(file, outcome)),
    }
}

fn json_of(file: &Path, outcome: &Outcome) -> serde_json::Value {
    let file = file.display().to_string();
    match outcome {
        Outcome::Unreadable(reason) => {
            serde_json::json!({ "file": file, "verdict": "unreadable", "reason": reason })
        }
        Outcome::Judged(Verdict::Valid(summary)) => serde_json::json!({
            "file": file, "verdict": "valid",
            "requests": summary.requests, "transactions": summary.transactions, "reads": summary.reads,
            "sessions": summary.sessions, "notifications": summary.notifications,
            "unanswered": summary.unanswered, "resolved": summary.resolved,
        }),
        Outcome::Judged(Verdict::Invalid(violation)) => {
            let record = |(index, words): &(usize, String)| serde_json::json!({ "record": index + 1, "words": words });
            serde_json::json!({
                "file": file, "verdict": "invalid",
                "property": violation.property.code(), "name": violation.property.name(),
                "class": violation.class.name(), "reason": violation.reason,
                "records": violation.records.iter().map(record).collect::<Vec<_>>(),
                "state_before": violation.state_before,
            })
        }
        Outcome::Judged(Verdict::Unknown(budget)) => {
            serde_json::json!({ "file": file, "verdict": "unknown", "reason": budget })
        }
        Outcome::Judged(Verdict::Malformed { record, reason }) => {
            serde_json::json!({ "file": file, "verdict": "unreadable", "record": record + 1, "reason": reason })
        }
    }
}
