//! From bytes to a verdict: recognise, read, choose a model, judge.

use super::report::Report;
use super::tsv::{self, Registers};
use super::{FormatError, quoted};
use crate::linear::models::{Keyed, Register};
use crate::linear::{Budget, check_within};
use std::sync::Arc;

/// A foreign format, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Tab-separated registers.
    Tsv,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 1] = [Format::Tsv];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Tsv => "tsv",
        }
    }

    /// By name.
    pub fn of_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of a file that begins like this; `None` if it is none of these (a history
    /// of our own, perhaps).
    pub fn recognise(beginning: &[u8]) -> Option<Format> {
        match beginning.first()? {
            b'#' => Some(Format::Tsv),
            _ => None,
        }
    }
}

/// What to judge a history as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelName {
    /// Registers with compare-and-set, linearizable.
    Register,
}

impl ModelName {
    /// Every model.
    pub const ALL: [ModelName; 1] = [ModelName::Register];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ModelName::Register => "register",
        }
    }

    /// By name.
    pub fn of_name(name: &str) -> Option<ModelName> {
        ModelName::ALL
            .into_iter()
            .find(|model| model.name() == name)
    }
}

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// The format; `None`: by its beginning.
    pub format: Option<Format>,
    /// The model; `None`: the one that the format and the requests suggest.
    pub model: Option<ModelName>,
    /// Judge as if no zxid had been recorded.
    pub ignore_zxid: bool,
    /// When to give up.
    pub budget: Budget,
}

/// Reads and judges a foreign history.
///
/// # Errors
/// The bytes are no history of the format, or of none that is known; or the model cannot
/// judge such a history.
pub fn judge(bytes: &[u8], settings: &Settings) -> Result<Report, FormatError> {
    let format = settings
        .format
        .or_else(|| Format::recognise(bytes))
        .ok_or_else(|| {
            let reason = format!("{} begins no format that is known", quoted(bytes));
            FormatError::new(1, "beginning", reason)
        })?;
    match format {
        Format::Tsv => Ok(registers(tsv::read(bytes)?, settings)),
    }
}

fn registers(registers: Registers, settings: &Settings) -> Report {
    let symbols = Arc::new(registers.symbols);
    let model = Keyed {
        model: Register {
            symbols: symbols.clone(),
        },
        symbols,
    };
    let verdict = check_within(&model, &registers.history, &settings.budget);
    Report::linear(
        "register",
        &model,
        &registers.history,
        &registers.lines,
        verdict,
    )
}
