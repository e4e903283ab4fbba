//! From bytes to a verdict: recognise, read, choose a model, judge.

use super::edn::{Form, Reader};
use super::events::{self, Call, Calls};
use super::jepsen::{self, Read};
use super::report::Report;
use super::tsv::{self, Registers};
use super::{FormatError, quoted};
use crate::linear::models::{Keyed, Register};
use crate::linear::{Budget, Model, check_within, check_zookeeper};
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
            b'#' if text.starts_with(b"#{") || text.starts_with(b"#jepsen") => Some(Format::Edn),
            b'#' => Some(Format::Tsv),
            b'[' if after(1) == Some(b'{') => {
                let brace = text.iter().position(|byte| *byte == b'{').unwrap_or(0);
                match after(brace + 1) {
                    Some(b'"') => Some(Format::Json),
                    _ => Some(Format::Edn),
                }
            }
            b'[' | b'(' | b';' => Some(Format::Edn),
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

/// Whether a line is a foreign event as JSON; ours begin with a header, and number requests.
fn is_json_event(line: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(line) else {
        return false;
    };
    let has = |key: &str| object.contains_key(key);
    has("process") && has("type") && (has("f") || has("value")) && !has("xid")
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
            let reason = format!(
                "{} begins no format that is known; name it by --format",
                quoted(bytes)
            );
            FormatError::new(1, "beginning", reason)
        })?;
    match format {
        Format::Tsv => registers(tsv::read(bytes)?, settings),
        Format::Edn => calls(&edn_calls(bytes)?, false, settings),
        Format::Json => calls(&json_calls(bytes)?, false, settings),
        Format::Log => calls(&log_calls(bytes)?, true, settings),
    }
}

/// Registers that carry zxids are judged by ZooKeeper's promises, unless asked otherwise;
/// others by linearizability.
fn registers(registers: Registers, settings: &Settings) -> Result<Report, FormatError> {
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
    let symbols = Arc::new(registers.symbols);
    let model = Keyed {
        model: Register {
            symbols: symbols.clone(),
        },
        symbols,
    };
    let (history, lines) = (registers.history, registers.lines);
    if name == ModelName::ZooKeeper {
        if settings.ignore_zxid {
            let reason = "zookeeper judges by zxids, and --ignore-zxid hides them";
            return Err(FormatError::new(1, "--model", reason));
        }
        let witnessed = check_zookeeper(&model, &history, &registers.zxids, &settings.budget);
        return Ok(Report::zookeeper(
            name.name(),
            &model,
            &history,
            &lines,
            witnessed,
        ));
    }
    Ok(report(
        name,
        Read {
            model,
            history,
            lines,
        },
        settings,
    ))
}

fn calls(calls: &[Call], refusals: bool, settings: &Settings) -> Result<Report, FormatError> {
    let name = match settings.model {
        Some(model) => model,
        None => jepsen::model_of(calls)?,
    };
    Ok(match name {
        ModelName::Register => report(name, jepsen::registers(calls, refusals)?, settings),
        ModelName::KeyValue => report(name, jepsen::texts(calls)?, settings),
        ModelName::Set => report(name, jepsen::sets(calls)?, settings),
        ModelName::Queue => report(name, jepsen::queues(calls)?, settings),
        ModelName::Mutex => report(name, jepsen::mutexes(calls)?, settings),
        ModelName::ListAppend => report(name, jepsen::lists(calls)?, settings),
        ModelName::ZooKeeper => {
            let reason = "zookeeper needs zxids, which only the tab-separated format carries";
            return Err(FormatError::new(1, "--model", reason));
        }
    })
}

fn report<M: Model>(name: ModelName, read: Read<M>, settings: &Settings) -> Report {
    let verdict = check_within(&read.model, &read.history, &settings.budget);
    Report::linear(
        name.name(),
        &read.model,
        &read.history,
        &read.lines,
        verdict,
    )
}

/// Events as EDN: maps one after another, or in one vector or list.
fn edn_calls(bytes: &[u8]) -> Result<Vec<Call>, FormatError> {
    let mut reader = Reader::new(bytes, 1);
    let mut calls = Calls::default();
    let inside = reader.enter()?;
    loop {
        if inside && reader.leave()? {
            break;
        }
        // A map's line is where it begins.
        reader.peek()?;
        let line = reader.line();
        match reader.next()? {
            Some(form) => calls.push(events::of_map(&form, line)?)?,
            None => break,
        }
    }
    match reader.next()? {
        None => Ok(calls.finish()),
        Some(_) => Err(FormatError::new(
            reader.line(),
            "form",
            "something follows the history",
        )),
    }
}

/// Events as JSON: objects one a line, or in one array.
fn json_calls(bytes: &[u8]) -> Result<Vec<Call>, FormatError> {
    let mut calls = Calls::default();
    let begin = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    if begin.is_some_and(|begin| bytes[begin] == b'[') {
        let values: Vec<serde_json::Value> = serde_json::from_slice(bytes).map_err(|error| {
            FormatError::new(
                error.line(),
                format!("column {}", error.column()),
                json_reason(&error),
            )
        })?;
        // An element's line is lost here; its number says as much.
        for (number, value) in values.into_iter().enumerate() {
            calls.push(events::of_map(&form_of(value), number + 1)?)?;
        }
        return Ok(calls.finish());
    }
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value = serde_json::from_slice(line).map_err(|error| {
            FormatError::new(
                number + 1,
                format!("column {}", error.column()),
                json_reason(&error),
            )
        })?;
        calls.push(events::of_map(&form_of(value), number + 1)?)?;
    }
    Ok(calls.finish())
}

/// What is wrong with JSON, without the place, which is told apart.
fn json_reason(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.split_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => words,
    }
}

/// (serde_json bounds the depth of what it reads.)
fn form_of(value: serde_json::Value) -> Form {
    match value {
        serde_json::Value::Null => Form::Nil,
        serde_json::Value::Bool(value) => Form::Bool(value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Form::Int(number),
            None => Form::Other(number.to_string()),
        },
        // `":append"` is how some write a keyword.
        serde_json::Value::String(text) => match text.strip_prefix(':') {
            Some(name) => Form::Keyword(name.to_owned()),
            None => Form::Text(text),
        },
        serde_json::Value::Array(values) => Form::Seq(values.into_iter().map(form_of).collect()),
        serde_json::Value::Object(entries) => {
            let entry = |(key, value): (String, _)| (Form::Keyword(key), form_of(value));
            Form::Map(entries.into_iter().map(entry).collect())
        }
    }
}

fn log_calls(bytes: &[u8]) -> Result<Vec<Call>, FormatError> {
    let mut calls = Calls::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if let Some(event) = events::of_log_line(line, number + 1)? {
            calls.push(event)?;
        }
    }
    Ok(calls.finish())
}
