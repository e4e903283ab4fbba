//! From bytes to a verdict: recognise, read, choose a model, judge.

use super::events::{self, Call, Kind, Log};
use super::failure::Judged;
use super::report::Report;
use super::tsv::{self, Registers};
use super::{FormatError, calls, jepsen, quoted};
use crate::explain::Budget as Effort;
use crate::explain::operations::{self, Case};
use crate::history::BYTE_ORDER_MARK;
use crate::linear::models::{Keyed, Register};
use crate::linear::{Budget, Model, Times, Verdict, Witnessed, check_zookeeper};
use std::sync::Arc;

/// Declares an enum whose variants have names on the command line.
macro_rules! named {
    ($(#[$about:meta])* $name:ident, $count:expr, $($(#[$doc:meta])* $variant:ident = $text:expr,)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: [$name; $count] = [$($name::$variant,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// By name.
            pub fn of_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A foreign format.
    Format, 4,
    /// Tab-separated registers.
    Tsv = "tsv",
    /// Jepsen's, Knossos', Porcupine's and Elle's events as EDN.
    Edn = "edn",
    /// The same events as JSON.
    Json = "json",
    /// Knossos' text log.
    Log = "log",
}

named! {
    /// What a history is judged as.
    ModelName, 7,
    /// Registers with compare-and-set.
    Register = "register",
    /// Texts under keys: get, put, append.
    KeyValue = "kv",
    /// A set.
    Set = "set",
    /// A queue, first in, first out.
    Queue = "queue",
    /// A lock.
    Mutex = "mutex",
    /// Transactions over lists.
    ListAppend = "list-append",
    /// Registers by ZooKeeper's promises: linearizable writes, reads that may lag.
    ZooKeeper = "zookeeper",
}

impl Format {
    /// The format of a file that begins like this; `None` if it is none of these (a history
    /// of our own, perhaps). A few kilobytes are enough.
    pub fn recognise(beginning: &[u8]) -> Option<Format> {
        let beginning = unmarked(beginning);
        let begin = beginning
            .iter()
            .position(|byte| !byte.is_ascii_whitespace())?;
        let text = &beginning[begin..];
        let after = |from: usize| {
            text.get(from..)?
                .iter()
                .copied()
                .find(|byte| !byte.is_ascii_whitespace())
        };
        let first_line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match text[0] {
            b'#' if is_tagged(first_line) => Some(Format::Edn),
            b'#' => Some(Format::Tsv),
            b'[' if after(1) == Some(b'{') => {
                let brace = text.iter().position(|byte| *byte == b'{').unwrap_or(0);
                match after(brace + 1) {
                    Some(b'"') => Some(Format::Json),
                    _ => Some(Format::Edn),
                }
            }
            b'[' | b'(' | b';' | b'^' => Some(Format::Edn),
            b'{' if after(1) == Some(b':') => Some(Format::Edn),
            b'{' => is_json_event(first_line).then_some(Format::Json),
            _ => {
                let mark: &[u8] = b"jepsen.util";
                text.windows(mark.len())
                    .any(|window| window == mark)
                    .then_some(Format::Log)
            }
        }
    }
}

/// Bytes without a mark that some editors begin a text with.
fn unmarked(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Whether a line begins with a tagged map or set, or with what EDN leaves out; else it is the
/// first of a table.
fn is_tagged(line: &[u8]) -> bool {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'{';
    let end = line.iter().position(ends);
    line.starts_with(b"#_") || end.is_some_and(|end| line[end] == b'{')
}

/// Whether a line is a foreign event as JSON; ours begin with a header, and number requests.
fn is_json_event(line: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(line) else {
        return false;
    };
    let has = |key: &str| object.contains_key(key);
    let kind = object.get("type").and_then(|kind| kind.as_str());
    let kind = kind.and_then(|kind| Kind::of_name(kind.trim_start_matches(':')));
    kind.is_some() && (has("f") || has("value")) && !has("xid")
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
    judge_explained(bytes, settings, None).map(|judged| judged.report)
}

/// As [`judge`]; if `effort` is given and the history is invalid, explained too.
///
/// # Errors
/// As [`judge`].
pub fn judge_explained(
    bytes: &[u8],
    settings: &Settings,
    effort: Option<Effort>,
) -> Result<Judged, FormatError> {
    let bytes = unmarked(bytes);
    let format = settings
        .format
        .or_else(|| Format::recognise(bytes))
        .ok_or_else(|| {
            let reason = format!(
                "{} begins no format that is known; name it by --format",
                quoted(bytes)
            );
            FormatError::new(1, "beginning", reason)
        })?;
    let bench = Bench { settings, effort };
    match format {
        Format::Tsv => bench.registers(tsv::read(bytes)?),
        Format::Edn => bench.calls(calls::of_edn(bytes)?, false),
        Format::Json => bench.calls(calls::of_json(bytes)?, false),
        Format::Log => bench.calls(calls::of_log(bytes)?, true),
    }
}

/// Who judges.
struct Bench<'a> {
    settings: &'a Settings,
    effort: Option<Effort>,
}

impl Bench<'_> {
    /// Registers that carry zxids are judged by ZooKeeper's promises, unless asked otherwise;
    /// others by linearizability.
    fn registers(&self, registers: Registers) -> Result<Judged, FormatError> {
        let settings = self.settings;
        let with_zxids = !settings.ignore_zxid && registers.zxids.iter().any(Option::is_some);
        let name = match settings.model {
            None if with_zxids => ModelName::ZooKeeper,
            None => ModelName::Register,
            Some(name @ (ModelName::Register | ModelName::ZooKeeper)) => name,
            Some(other) => {
                let reason = format!(
                    "tab-separated lines are of registers, not of a {}",
                    other.name()
                );
                return Err(FormatError::new(1, "--model", reason));
            }
        };
        if name == ModelName::ZooKeeper && settings.ignore_zxid {
            let reason = "zookeeper judges by zxids, and --ignore-zxid hides them";
            return Err(FormatError::new(1, "--model", reason));
        }
        let symbols = Arc::new(registers.symbols);
        let case = Case {
            name: name.name(),
            model: Keyed {
                model: Register {
                    symbols: symbols.clone(),
                },
                symbols,
            },
            history: registers.history,
            lines: registers.lines,
            zxids: match name {
                ModelName::ZooKeeper => registers.zxids,
                _ => Vec::new(),
            },
            times: Times::Recorded,
        };
        Ok(match name {
            ModelName::ZooKeeper => self.zookeeper(case),
            _ => self.linear(case, tsv::small),
        })
    }

    fn calls(&self, log: Log, refusals: bool) -> Result<Judged, FormatError> {
        let log = jepsen::normal(log)?;
        let name = match self.settings.model {
            Some(model) => model,
            None => jepsen::model_of(&log.calls)?,
        };
        Ok(match name {
            ModelName::Register => {
                let case = jepsen::registers(&log, refusals)?;
                match log.times {
                    Times::Recorded => self.linear(case, tsv::small),
                    // Its lines are of times.
                    Times::Unrecorded => self.linear(case, events(&log)),
                }
            }
            ModelName::KeyValue => self.linear(jepsen::texts(&log)?, events(&log)),
            ModelName::Set => self.linear(jepsen::sets(&log)?, events(&log)),
            ModelName::Queue => self.linear(jepsen::queues(&log)?, events(&log)),
            ModelName::Mutex => self.linear(jepsen::mutexes(&log)?, events(&log)),
            ModelName::ListAppend => self.linear(jepsen::lists(&log)?, events(&log)),
            ModelName::ZooKeeper => {
                let reason = "zookeeper needs zxids, which only the tab-separated format carries";
                return Err(FormatError::new(1, "--model", reason));
            }
        })
    }

    fn linear<M: Model + 'static>(
        &self,
        case: Case<M>,
        small: impl FnOnce(&Case<M>, &[u32]) -> Vec<u8>,
    ) -> Judged {
        let verdict = case.check(&self.settings.budget).0;
        let report = Report::linear(&case, &verdict);
        let explanation = match (&verdict, self.effort) {
            (Verdict::Invalid(conviction), Some(effort)) => {
                Some(operations::explain(&case, conviction, effort))
            }
            _ => None,
        };
        Judged::new(report, explanation, case, small)
    }

    fn zookeeper(&self, case: Case<Keyed<Register>>) -> Judged {
        let budget = &self.settings.budget;
        let witnessed = check_zookeeper(&case.model, &case.history, &case.zxids, budget);
        let report = Report::zookeeper(&case, &witnessed);
        let explanation = match (&witnessed, self.effort) {
            (
                Witnessed::Invalid {
                    property,
                    class,
                    reason,
                    operations,
                    state,
                },
                Some(effort),
            ) => {
                let (property, class) = (*property, *class);
                let broken = operations::Broken {
                    property,
                    class,
                    reason,
                    operations,
                    state,
                };
                Some(operations::explain_zookeeper(&case, broken, effort))
            }
            _ => None,
        };
        Judged::new(report, explanation, case, tsv::small)
    }
}

/// What writes some of the calls that a case was made of.
fn events<M: Model>(log: &Log) -> impl FnOnce(&Case<M>, &[u32]) -> Vec<u8> {
    |_, kept| {
        let asked: Vec<&Call> = events::asked(&log.calls).collect();
        let kept = kept.iter().map(|index| asked[*index as usize]);
        calls::to_edn(kept, log.times)
    }
}
