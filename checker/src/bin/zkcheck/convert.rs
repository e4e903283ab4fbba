//! `zkcheck convert IN OUT`: a history from JSON lines to binary, or back.

use crate::inlet::Inlet;
use crate::source;
use clap::Args;
use gamekeeper_checker::history::{BinaryWriter, Entry, Reader, Writer};
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What to convert.
#[derive(Args, Debug)]
pub struct ConvertArguments {
    /// A history, JSON lines or binary; `-` reads standard input.
    input: PathBuf,
    /// The history to write: binary, unless the name ends in `.jsonl`.
    output: PathBuf,
}

/// Converts, entry by entry. Returns the exit code.
///
/// # Errors
/// The input cannot be read or the output cannot be written; one line that names which.
pub fn run(arguments: &ConvertArguments) -> Result<u8, String> {
    let ConvertArguments { input, output } = arguments;
    let same =
        |left: &Path, right: &Path| Some(left.canonicalize().ok()? == right.canonicalize().ok()?);
    if same(input, output) == Some(true) {
        return Err(format!(
            "{}: cannot be converted into itself",
            input.display()
        ));
    }
    let reader = source::open(&mut Inlet::open(input)?)?;
    let made = |error: io::Error| format!("{}: {error}", output.display());
    let lines = output.extension().is_some_and(|ending| ending == "jsonl");
    let file = BufWriter::new(File::create(output).map_err(made)?);
    let header = reader.header().clone();
    match lines {
        true => {
            let mut writer = Writer::new(file, &header).map_err(made)?;
            copy(input, output, reader, |entry| match entry {
                Entry::Record(record) => writer.record(&record),
                Entry::Txn(txn) => writer.txn(&txn),
            })?;
            writer.into_inner().flush().map_err(made)?;
        }
        false => {
            let mut writer = BinaryWriter::new(file, &header).map_err(made)?;
            copy(input, output, reader, |entry| match entry {
                Entry::Record(record) => writer.record(&record),
                Entry::Txn(txn) => writer.txn(&txn),
            })?;
            let mut file = writer.finish().map_err(made)?;
            file.flush().map_err(made)?;
        }
    }
    Ok(0)
}

fn copy(
    input: &Path,
    output: &Path,
    mut reader: Reader<impl BufRead>,
    mut write: impl FnMut(Entry) -> io::Result<()>,
) -> Result<(), String> {
    loop {
        let entry = reader
            .entry()
            .map_err(|error| format!("{}: {error}", input.display()))?;
        match entry {
            Some(entry) => {
                write(entry).map_err(|error| format!("{}: {error}", output.display()))?
            }
            None => return Ok(()),
        }
    }
}
