//! report: a run directory in words, and as a page.
//!
//! Exit code: 0 when the report was made, whatever the verdict; 2 when the directory cannot
//! be read or the page cannot be written, with one line that says why.

use clap::Parser;
use gamekeeper_reports::html;
use gamekeeper_reports::lanes::Lanes;
use gamekeeper_reports::read::read;
use gamekeeper_reports::summary::Summary;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Sums up a run directory of the simulator.
#[derive(Parser)]
#[command(name = "report", version, about)]
struct Arguments {
    /// The run directory.
    dir: PathBuf,
    /// Writes a page with the space-time picture, in one file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// One JSON object instead of words.
    #[arg(long)]
    json: bool,
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
    match report(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("report: {reason}");
            ExitCode::from(2)
        }
    }
}

fn report(arguments: &Arguments) -> Result<(), String> {
    let run = read(&arguments.dir).map_err(|error| error.to_string())?;
    let lanes = Lanes::of(&run);
    let summary = Summary::of(&run, &lanes);
    if let Some(file) = &arguments.html {
        let page = html::page(&run, &lanes, &summary);
        std::fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let mut text = match arguments.json {
        true => serde_json::to_string(&summary).map_err(|error| error.to_string())?,
        false => summary.text(),
    };
    if arguments.json {
        text.push('\n');
    }
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads only the first lines has seen what was wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
