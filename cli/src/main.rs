//! zkcli: the operator's hands on a live ensemble. Today it records.
//!
//! Exit code 0 when the recording is complete, 2 for wrong usage, a file that cannot be
//! written or an ensemble that does not answer (one line on standard error says which).
//! It judges nothing: that is `zkcheck`'s.

use clap::Parser;
use gamekeeper_cli::arguments::{Arguments, Verb, first_lines};
use gamekeeper_cli::{proxy, record};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            // Nobody is left to tell if even this cannot be printed.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return complain(&first_lines(&error.to_string())),
    };
    let outcome = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(async {
            match arguments.verb {
                Verb::Proxy(arguments) => proxy::run(arguments).await.map(|done| done.to_string()),
                Verb::Record(arguments) => {
                    record::run(arguments).await.map(|done| done.to_string())
                }
            }
        }),
        Err(error) => return complain(&format!("no threads to work with: {error}")),
    };
    match outcome {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(trouble) => complain(&trouble.to_string()),
    }
}

fn complain(what: &str) -> ExitCode {
    eprintln!("zkcli: {what}");
    ExitCode::from(2)
}
