//! Calls from files and back: Jepsen's events as EDN, as JSON, as Knossos' text log.
//!
//! What always holds: what is written is read back as the same calls in the same order, but
//! for what a call that had no effect said.

use super::FormatError;
use super::edn::{Form, Reader};
use super::events::{self, Call, Calls, Fate, Log};
use crate::history::LINE_BYTES_MAX;
use crate::linear::Times;

/// Events as EDN: maps one after another, or in one vector or list.
pub(super) fn of_edn(bytes: &[u8]) -> Result<Log, FormatError> {
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
        None => calls.finish(),
        Some(_) => Err(FormatError::new(
            reader.line(),
            "form",
            "something follows the history",
        )),
    }
}

/// Events as JSON: objects one a line, or in one array.
pub(super) fn of_json(bytes: &[u8]) -> Result<Log, FormatError> {
    let mut calls = Calls::default();
    if let Some((elements, _)) = next_token(bytes, 0).filter(|(_, token)| *token == b'[') {
        array(bytes, elements + 1, &mut calls)?;
        return calls.finish();
    }
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if line.len() > LINE_BYTES_MAX {
            let reason = format!("longer than {LINE_BYTES_MAX} bytes");
            return Err(FormatError::new(number + 1, "event", reason));
        }
        let value = serde_json::from_slice(line)
            .map_err(|error| json_error(&error, number + 1, error.column()))?;
        calls.push(events::of_map(&form_of(value), number + 1)?)?;
    }
    calls.finish()
}

/// The events of an array whose elements begin at `at`, each told by the line it begins on.
fn array(bytes: &[u8], mut at: usize, calls: &mut Calls) -> Result<(), FormatError> {
    let mut lines = Lines {
        bytes,
        line: 1,
        began: 0,
        seen: 0,
    };
    let mut is_first = true;
    loop {
        match (next_token(bytes, at), is_first) {
            (Some((end, b']')), _) => {
                let Some((rest, _)) = next_token(bytes, end + 1) else {
                    return Ok(());
                };
                return Err(lines.error(rest, "something follows the history"));
            }
            (Some((comma, b',')), false) => at = comma + 1,
            (Some(_), true) => {}
            (Some((other, _)), false) => return Err(lines.error(other, "expected `,` or `]`")),
            (None, _) => return Err(lines.error(bytes.len(), "ends inside a list")),
        }
        is_first = false;
        at = next_token(bytes, at).map_or(bytes.len(), |(begin, _)| begin);
        let (line, column) = lines.place(at);
        let mut elements = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter();
        let value = match elements.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let column = match error.line() {
                    1 => column - 1 + error.column(),
                    _ => error.column(),
                };
                return Err(json_error(&error, line + error.line() - 1, column));
            }
            None => return Err(lines.error(bytes.len(), "ends inside a list")),
        };
        at += elements.byte_offset();
        calls.push(events::of_map(&form_of(value), line)?)?;
    }
}

/// The next byte that is no white space, and where it is.
fn next_token(bytes: &[u8], from: usize) -> Option<(usize, u8)> {
    let is_token = |at: &usize| !bytes[*at].is_ascii_whitespace();
    let at = (from..bytes.len()).find(is_token)?;
    Some((at, bytes[at]))
}

/// Places in a text by line and column, asked for from the beginning to the end.
struct Lines<'a> {
    bytes: &'a [u8],
    /// The line that `seen` is on, and where it begins.
    line: usize,
    began: usize,
    seen: usize,
}

impl Lines<'_> {
    fn place(&mut self, at: usize) -> (usize, usize) {
        for (offset, byte) in self.bytes[self.seen..at].iter().enumerate() {
            if *byte == b'\n' {
                (self.line, self.began) = (self.line + 1, self.seen + offset + 1);
            }
        }
        self.seen = at;
        (self.line, at - self.began + 1)
    }

    fn error(&mut self, at: usize, reason: &str) -> FormatError {
        let (line, column) = self.place(at);
        FormatError::new(line, format!("column {column}"), reason)
    }
}

fn json_error(error: &serde_json::Error, line: usize, column: usize) -> FormatError {
    FormatError::new(line, format!("column {column}"), json_reason(error))
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

pub(super) fn of_log(bytes: &[u8]) -> Result<Log, FormatError> {
    let mut calls = Calls::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if let Some(event) = events::of_log_line(line, number + 1)? {
            calls.push(event)?;
        }
    }
    let log = calls.finish()?;
    match (log.times, log.calls.first()) {
        (_, None) => {
            let reason =
                "no line tells of an event, as in `INFO  jepsen.util - 0 :invoke :read nil`";
            Err(FormatError::new(1, "first event", reason))
        }
        // Whether a compare-and-set was refused could not be written down again.
        (Times::Unrecorded, Some(first)) => {
            let reason = "ends what was not asked: a text log needs its invocations";
            Err(FormatError::new(first.line, "type", reason))
        }
        (Times::Recorded, Some(_)) => Ok(log),
    }
}

/// Calls as EDN events, one a line, in the order in which they happened. A call whose fate is
/// unknown has no completion; where no times are known there is nothing but completions.
pub(super) fn to_edn<'a>(calls: impl Iterator<Item = &'a Call>, times: Times) -> Vec<u8> {
    let mut lines: Vec<(i64, String)> = Vec::new();
    for call in calls {
        let line = |kind: &str, value: &Form| {
            let key = match &call.key {
                Some(key) => format!(", :key {}", key.written()),
                None => String::new(),
            };
            let (process, f) = (call.process, Form::Keyword(call.f.clone()).written());
            let value = value.written();
            format!("{{:process {process}, :type :{kind}, :f {f}{key}, :value {value}}}\n")
        };
        match (times, &call.fate) {
            (Times::Recorded, _) => lines.push((call.call, line("invoke", &call.asked))),
            (Times::Unrecorded, Fate::Unknown) => {
                lines.push((call.call, line("info", &call.asked)))
            }
            (Times::Unrecorded, Fate::Ok(_) | Fate::Fail(_)) => {}
        }
        match (&call.fate, call.ret) {
            (Fate::Ok(answer), Some(ret)) => lines.push((ret, line("ok", answer))),
            (Fate::Fail(answer), Some(ret)) => lines.push((ret, line("fail", answer))),
            (Fate::Ok(_) | Fate::Fail(_) | Fate::Unknown, _) => {}
        }
    }
    lines.sort_by_key(|(event, _)| *event);
    lines
        .into_iter()
        .flat_map(|(_, line)| line.into_bytes())
        .collect()
}
