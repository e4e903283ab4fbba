//! Histories that others wrote: `--format`, `--model`, `--ignore-zxid`, or recognised by how
//! they begin. Our own histories are `source`'s.

use crate::check::Outcome;
use crate::explain::ExplainArguments;
use crate::inlet::Inlet;
use clap::Args;
use clap::builder::PossibleValuesParser;
use gamekeeper_checker::formats::{self, Format, ModelName, Settings};
use gamekeeper_checker::linear::Budget;
use std::io::{self, Read};

/// Largest foreign history that is read, bytes. It is held in memory whole.
const BYTES_MAX: u64 = 2 << 30;

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

/// Whether `inlet` is a history that others wrote, or is to be read as one.
pub fn is_foreign(inlet: &Inlet, arguments: &ForeignArguments) -> bool {
    arguments.format.is_some() || Format::recognise(inlet.beginning()).is_some()
}

/// Judges `inlet` if it is a foreign history, and explains what is wrong with it if that is
/// asked for; `None` leaves it to others, unread.
///
/// # Errors
/// A file could not be written: one line that names it.
pub fn check(
    inlet: &mut Inlet,
    arguments: &ForeignArguments,
    explain: &ExplainArguments,
) -> Result<Option<Outcome>, String> {
    if !is_foreign(inlet, arguments) {
        return Ok(None);
    }
    let settings = arguments.settings();
    let bytes = read(inlet);
    let named = |reason: String| {
        let reason = format!("{}: {reason}", inlet.name().display());
        Ok(Some(Outcome::Unreadable(reason)))
    };
    let bytes = match bytes {
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
        explain.write_foreign(inlet.name(), failure)?;
    }
    Ok(Some(Outcome::Foreign(Box::new(judged))))
}

fn read(inlet: &mut Inlet) -> io::Result<Vec<u8>> {
    let length = inlet.length().unwrap_or_default().min(BYTES_MAX);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    inlet.bytes()?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
