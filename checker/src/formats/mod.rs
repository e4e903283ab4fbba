//! Histories that others wrote: read, recognised, judged.
//!
//! | format | room | models |
//! |---|---|---|
//! | tab-separated registers | [`tsv`] | registers, and ZooKeeper's when there are zxids |
//! | Jepsen's events as EDN, Porcupine's key-value logs, Elle's list-append | `calls`, `edn`, `events`, `jepsen` | all |
//! | the same as JSON | `calls`, `events`, `jepsen` | all |
//! | Knossos' text log | `calls`, `events`, `jepsen` | registers |
//!
//! What always holds: whatever the bytes, reading ends with a history or with one
//! [`FormatError`] that names line and field; nothing here panics or recurses without bound, and
//! no single event holds more than some million values.
//!
//! Answers to: `consistency.md` 4; the formats themselves are told in `docs/FORMATS.md`.

mod calls;
mod edn;
mod events;
pub mod export;
mod failure;
mod jepsen;
mod judge;
mod report;
pub mod tsv;

pub use failure::{Failure, Judged};
pub use judge::{Format, ModelName, Settings, judge, judge_explained};
pub use report::{Finding, Report};

/// What is wrong with a foreign history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {field}: {reason}")]
pub struct FormatError {
    /// The line, from 1.
    pub line: usize,
    /// The field that is to blame.
    pub field: String,
    /// What is wrong with it, and what was expected.
    pub reason: String,
}

impl FormatError {
    /// The field `field` of line `line` is wrong because of `reason`.
    pub(crate) fn new(line: usize, field: impl Into<String>, reason: impl Into<String>) -> Self {
        FormatError {
            line,
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// At most this much of a wrong field is repeated to the reader.
const QUOTED_CHARS_MAX: usize = 40;

/// A wrong field, safe to print: cut, on one line, invalid bytes replaced.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED_CHARS_MAX * 4)]);
    let cut: String = text
        .chars()
        .take(QUOTED_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    match text.chars().count() > QUOTED_CHARS_MAX {
        true => format!("`{cut}…`"),
        false => format!("`{cut}`"),
    }
}
