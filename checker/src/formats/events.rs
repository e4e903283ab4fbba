//! Jepsen's events paired into calls: invocations and what became of them.
//!
//! The order of the file is the clock: an operation returned before another was called if
//! its completion stands ahead of the other's invocation. What became of a call:
//!
//! | completion | what it says |
//! |---|---|
//! | `:ok` | it took effect and answered |
//! | `:fail` | it had no effect: as if never asked |
//! | `:info`, or none | nobody knows, and it may still take effect |
//!
//! A process that calls again without a completion has crashed in between and come back;
//! processes that are no numbers (the nemesis) are passed over.
//!
//! Answers to: Jepsen's and Knossos' histories (`knossos.history`).

use super::FormatError;
use super::edn::Form;
use rustc_hash::FxHashMap;

/// What an event says of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl Kind {
    /// By Jepsen's name.
    pub(super) fn of_name(name: &str) -> Option<Kind> {
        Some(match name {
            "invoke" => Kind::Invoke,
            "ok" => Kind::Ok,
            "fail" => Kind::Fail,
            "info" => Kind::Info,
            _ => return None,
        })
    }
}

/// One event of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) line: usize,
    /// `None`: not a client.
    pub(super) process: Option<u32>,
    pub(super) kind: Kind,
    pub(super) f: String,
    pub(super) key: Option<Form>,
    pub(super) value: Form,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It answered this.
    Ok(Form),
    /// It had no effect, and said this.
    Fail(Form),
    /// Nobody knows.
    Unknown,
}

/// An invocation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Line of the invocation.
    pub(super) line: usize,
    pub(super) process: u32,
    /// Number of the event that called, and of the one that returned.
    pub(super) call: i64,
    pub(super) ret: Option<i64>,
    pub(super) f: String,
    pub(super) key: Option<Form>,
    pub(super) asked: Form,
    pub(super) fate: Fate,
}

/// The calls that had an effect, or may have had: one operation each, in this order.
pub(super) fn asked(calls: &[Call]) -> impl Iterator<Item = &Call> {
    calls
        .iter()
        .filter(|call| !matches!(call.fate, Fate::Fail(_)))
}

/// Pairs events.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    open: FxHashMap<u32, usize>,
    events: i64,
}

impl Calls {
    /// The next event of the file.
    ///
    /// # Errors
    /// A completion of what was not asked.
    pub(super) fn push(&mut self, event: Event) -> Result<(), FormatError> {
        let Some(process) = event.process else {
            return Ok(());
        };
        self.events += 1;
        if event.kind == Kind::Invoke {
            self.open.insert(process, self.calls.len());
            self.calls.push(Call {
                line: event.line,
                process,
                call: self.events,
                ret: None,
                f: event.f,
                key: event.key,
                asked: event.value,
                fate: Fate::Unknown,
            });
            return Ok(());
        }
        let Some(open) = self.open.remove(&process) else {
            // A process may say more than once that it does not know.
            return match event.kind {
                Kind::Info => Ok(()),
                Kind::Invoke | Kind::Ok | Kind::Fail => {
                    let reason =
                        format!("process {process} has nothing in flight that could end here");
                    Err(FormatError::new(event.line, ":type", reason))
                }
            };
        };
        let call = &mut self.calls[open];
        if call.f != event.f {
            let reason = format!("`:{}` ends `:{}` of line {}", event.f, call.f, call.line);
            return Err(FormatError::new(event.line, ":f", reason));
        }
        match event.kind {
            Kind::Ok => {
                call.ret = Some(self.events);
                call.fate = Fate::Ok(event.value);
            }
            Kind::Fail => {
                call.ret = Some(self.events);
                call.fate = Fate::Fail(event.value);
            }
            Kind::Info | Kind::Invoke => {}
        }
        Ok(())
    }

    /// All calls, in order of invocation.
    pub(super) fn finish(self) -> Vec<Call> {
        self.calls
    }
}

/// An event from a map with `:process`, `:type`, `:f`, `:value` (and perhaps `:key`).
///
/// # Errors
/// A field is missing or of another type.
pub(super) fn of_map(form: &Form, line: usize) -> Result<Event, FormatError> {
    if !matches!(form, Form::Map(_)) {
        let reason = format!("a map belongs here, not {}", cut(&form.show()));
        return Err(FormatError::new(line, "event", reason));
    }
    let process = match form.get("process") {
        Some(Form::Int(number)) => match u32::try_from(*number) {
            Ok(number) => Some(number),
            Err(_) => {
                return Err(FormatError::new(
                    line,
                    ":process",
                    "is not a number from 0 to 2^32 - 1",
                ));
            }
        },
        Some(_) => None,
        None => return Err(FormatError::new(line, ":process", "is missing")),
    };
    let kind = form
        .get("type")
        .and_then(Form::name)
        .and_then(Kind::of_name);
    let Some(kind) = kind else {
        return Err(FormatError::new(
            line,
            ":type",
            "is none of :invoke, :ok, :fail, :info",
        ));
    };
    let value = form.get("value").cloned().unwrap_or(Form::Nil);
    let f = match form.get("f").and_then(Form::name) {
        Some(f) => f.to_owned(),
        // Elle's histories need none: a value made of parts says enough.
        None if process.is_none() || is_transaction(&value) => "txn".to_owned(),
        None => return Err(FormatError::new(line, ":f", "is missing, or no keyword")),
    };
    let key = form.get("key").cloned();
    Ok(Event {
        line,
        process,
        kind,
        f,
        key,
        value,
    })
}

/// Whether a value is a transaction of list-append: `[[:append k v] [:r k nil]]`.
pub(super) fn is_transaction(value: &Form) -> bool {
    let Form::Seq(parts) = value else {
        return false;
    };
    !parts.is_empty()
        && parts.iter().all(|part| match part {
            Form::Seq(part) => part
                .first()
                .is_some_and(|f| matches!(f.name(), Some("append" | "r"))),
            _ => false,
        })
}

/// A line of Knossos' text log: `INFO  jepsen.util - 3 :invoke :cas [4 2]`. `None`: some
/// other line of the log.
///
/// # Errors
/// The line begins like an event and is none.
pub(super) fn of_log_line(line: &[u8], number: usize) -> Result<Option<Event>, FormatError> {
    const MARK: &[u8] = b"jepsen.util";
    let Some(at) = line.windows(MARK.len()).position(|window| window == MARK) else {
        return Ok(None);
    };
    let rest = &line[at + MARK.len()..];
    let rest = match rest {
        [b' ', b'-', b' ', rest @ ..] | [b':', b' ', rest @ ..] => rest,
        _ => return Ok(None),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || !rest.get(digits).is_some_and(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut reader = super::edn::Reader::new(rest, number);
    let mut field = |name: &str| {
        reader
            .next()?
            .ok_or_else(|| FormatError::new(number, name, "is missing"))
    };
    let Form::Int(process) = field("process")? else {
        return Err(FormatError::new(
            number,
            "process",
            "is not a number from 0 to 2^32 - 1",
        ));
    };
    let process = u32::try_from(process)
        .map_err(|_| FormatError::new(number, "process", "is not a number from 0 to 2^32 - 1"))?;
    let kind = field("type")?;
    let kind = kind
        .name()
        .and_then(Kind::of_name)
        .ok_or_else(|| FormatError::new(number, "type", "is none of :invoke, :ok, :fail, :info"))?;
    let f = field("f")?;
    let f = f
        .name()
        .ok_or_else(|| FormatError::new(number, "f", "is no keyword"))?
        .to_owned();
    let value = field("value")?;
    Ok(Some(Event {
        line: number,
        process: Some(process),
        kind,
        f,
        key: None,
        value,
    }))
}

/// At most this much of a wrong value is repeated.
const SHOWN_CHARS_MAX: usize = 60;

/// A value in an error, cut.
pub(super) fn cut(text: &str) -> String {
    match text.chars().nth(SHOWN_CHARS_MAX) {
        Some(_) => format!(
            "`{}…`",
            text.chars().take(SHOWN_CHARS_MAX).collect::<String>()
        ),
        None => format!("`{text}`"),
    }
}
