//! zkcheck: judges recorded histories.
//!
//! Exit code = verdict: 0 valid, 1 invalid, 2 unreadable (one line says where), 3 unknown.
//! Of several files the worst counts: unreadable, then invalid, then unknown. What always
//! holds: results go to standard output, complaints and bars to standard error, and a
//! complaint is one line that names what is wrong and what to do about it.
//!
//! | file | what it is |
//! |---|---|
//! | `ahead` | one thread reads while another judges |
//! | `arguments` | the command line and its help |
//! | `check` | `zkcheck FILE…`: read, judge, print |
//! | `convert` | `zkcheck convert`: JSON lines to binary and back |
//! | `explain` | `--explain`, `--reduce`, `--html`: what a failure tells |
//! | `foreign` | histories that others wrote |
//! | `export` | `zkcheck export`: a history of ours in a format of others |
//! | `generate` | `zkcheck generate`: a register history, for measuring |
//! | `inlet` | where bytes come from: files, pipes, standard input |
//! | `source` | our own histories from there, and the bar |
//! | `fetch` | large files fetched ahead of those who read them |
//! | `pass` | long histories judged while they are read |
//! | `follow` | `--follow`: a history that still grows |
//! | `second` | the second opinion on them |
//! | `print` | a verdict in words and as JSON |
//! | `properties` | `zkcheck properties`: what is judged |

mod ahead;
mod arguments;
mod check;
mod convert;
mod explain;
mod export;
mod fetch;
mod follow;
mod foreign;
mod generate;
mod inlet;
mod onepass;
mod pass;
mod print;
mod properties;
mod second;
mod source;

use arguments::{Arguments, Verb};
use clap::Parser;
use gamekeeper_checker::explain::words::plain;
use std::io;
use std::process::ExitCode;

/// Exit code for wrong usage and for input that is not what it should be.
const EXIT_UNREADABLE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            // `--help` and `--version` are answers; nobody is left to tell if they cannot be printed.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return complain(&arguments::in_one_line(&error)),
    };
    let done = match &arguments.verb {
        None => check::run(&arguments.check),
        Some(Verb::Properties) => properties::run(),
        Some(Verb::Export(arguments)) => export::run(arguments),
        Some(Verb::Convert(arguments)) => convert::run(arguments),
        Some(Verb::Generate(arguments)) => generate::run(arguments),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(reason) => complain(&reason),
    }
}

/// Tells one line on standard error; the exit code that goes with it.
fn complain(line: &str) -> ExitCode {
    eprintln!("zkcheck: {}", plain(line));
    ExitCode::from(EXIT_UNREADABLE)
}

/// Why standard output could not be written, unless its reader has simply seen enough.
fn output_error(error: io::Error) -> Result<(), String> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(format!("standard output: {error}")),
    }
}
