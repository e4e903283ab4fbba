//! `zkcheck export`: one of our histories in a format of others, on standard output.

use crate::{output_error, source};
use clap::Args;
use clap::builder::PossibleValuesParser;
use gamekeeper_checker::formats::export;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// What to write, and how.
#[derive(Args, Debug)]
pub struct ExportArguments {
    /// A history of our own; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// EDN registers (a znode a key: writes, and reads after a sync), or Elle's list-append
    /// (sequential children).
    #[arg(long, default_value = "edn", value_parser = PossibleValuesParser::new(["edn", "list-append"]))]
    format: String,
}

/// Prints the history. Returns the exit code.
///
/// # Errors
/// The file is no history or cannot be exported, or standard output cannot be written.
pub fn run(arguments: &ExportArguments) -> Result<u8, String> {
    let history = source::read(&arguments.file)?;
    let mut output = BufWriter::new(io::stdout().lock());
    let written = match arguments.format.as_str() {
        "list-append" => export::list_append(&history, &mut output),
        _ => export::edn(&history, &mut output),
    };
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            Err(format!("{}: {error}", arguments.file.display()))
        }
        written => written.or_else(output_error).map(|()| 0),
    }
}
