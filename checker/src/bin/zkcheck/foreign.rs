//! Histories that others wrote: `--format`, `--model`, `--ignore-zxid`, or recognised by how
//! they begin. Our own histories are `source`'s.

use crate::check::Outcome;
use crate::explain::ExplainArguments;
use clap::Args;
use clap::builder::PossibleValuesParser;
use gamekeeper_checker::formats::{self, Format, ModelName, Settings};
use gamekeeper_checker::linear::Budget;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// Largest foreign history that is read, bytes. It is held in memory whole.
const BYTES_MAX: u64 = 2 << 30;

/// Bytes that a format is recognised by.
const BEGINNING_BYTES: usize = 4096;

/// Switches for histories that others wrote.
#[derive(Args, Debug)]
pub struct ForeignArguments {
    /// The file's format, if it is not ours and not to be told by its beginning.
    #[arg(long, value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)))]
    format: Option<String>,
    /// What a foreign history is judged as; else what its format and requests suggest.
    #[arg(long, value_parser = PossibleValuesParser::new(ModelName::ALL.map(ModelName::name)))]
    model: Option<String>,
    /// Judge as if no zxid had been recorded: those of headers, notifications and Stats are not
    /// looked at.
    #[arg(long)]
    pub ignore_zxid: bool,
    /// Give up a search without zxids after this many configurations.
    #[arg(long, value_name = "COUNT")]
    pub configurations: Option<u64>,
}

impl ForeignArguments {
    fn settings(&self) -> Settings {
        let budget = Budget::default();
        Settings {
            format: self.format.as_deref().and_then(Format::of_name),
            model: self.model.as_deref().and_then(ModelName::of_name),
            ignore_zxid: self.ignore_zxid,
            budget: Budget {
                configurations: self.configurations.unwrap_or(budget.configurations),
                ..budget
            },
        }
    }
}

/// Judges `file` if it is a foreign history, and explains what is wrong with it if that is
/// asked for; `None` leaves the file to others, unread.
///
/// # Errors
/// A file could not be written: one line that names it.
pub fn check(
    file: &Path,
    arguments: &ForeignArguments,
    explain: &ExplainArguments,
) -> Result<Option<Outcome>, String> {
    let settings = arguments.settings();
    let named = |reason: String| {
        let reason = format!("{}: {reason}", file.display());
        Ok(Some(Outcome::Unreadable(reason)))
    };
    match is_foreign(file, &settings) {
        Ok(true) => {}
        // What cannot be opened is told where our own histories are read.
        Ok(false) | Err(_) => return Ok(None),
    }
    let bytes = match read(file) {
        Ok(bytes) if bytes.len() as u64 > BYTES_MAX => {
            return named(format!("longer than {} MiB", BYTES_MAX >> 20));
        }
        Ok(bytes) => bytes,
        Err(error) => return named(error.to_string()),
    };
    let effort = explain.wanted().then(|| explain.budget());
    let judged = match formats::judge_explained(&bytes, &settings, effort) {
        Ok(judged) => judged,
        Err(error) => return named(error.to_string()),
    };
    if let Some(failure) = &judged.failure {
        explain.write_foreign(file, failure)?;
    }
    Ok(Some(Outcome::Foreign(Box::new(judged))))
}

fn is_foreign(file: &Path, settings: &Settings) -> io::Result<bool> {
    if settings.format.is_some() {
        return Ok(true);
    }
    if file.as_os_str() == "-" {
        // What is looked at here stays in the buffer for whoever reads.
        let mut input = io::stdin().lock();
        return Ok(Format::recognise(input.fill_buf()?).is_some());
    }
    let mut beginning = Vec::with_capacity(BEGINNING_BYTES);
    File::open(file)?
        .take(BEGINNING_BYTES as u64)
        .read_to_end(&mut beginning)?;
    Ok(Format::recognise(&beginning).is_some())
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match file.as_os_str() == "-" {
        true => io::stdin()
            .lock()
            .take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)?,
        false => File::open(file)?
            .take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}
