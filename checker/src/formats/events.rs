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
//! processes that are no numbers (the nemesis) are passed over. Without `:process` every
//! operation is a client's own, and only one of them can be in flight.
//!
//! A log may hold completions alone. Then nothing is known of times, and only the order in which
//! each process did its own ([`Times::Unrecorded`]). A completion without its invocation in a log
//! that has others is an error.
//!
//! Answers to: Jepsen's and Knossos' histories (`knossos.history`).

use super::FormatError;
use super::edn::Form;
use crate::linear::Times;
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

/// Who an event is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Process {
    /// A client, by number.
    Client(u32),
    /// A client, and nothing says which.
    Unnamed,
    /// The nemesis, or another that is no client.
    Other,
}

/// One event of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) line: usize,
    pub(super) process: Process,
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

/// What a file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    /// All calls, in order of invocation, or of completion if that is all there is.
    pub(super) calls: Vec<Call>,
    /// Whether call and return tell the time.
    pub(super) times: Times,
}

/// Pairs events.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    open: FxHashMap<Process, usize>,
    /// Calls whose process has no name yet.
    unnamed: Vec<usize>,
    events: i64,
    /// Line of the first invocation.
    invoked: Option<usize>,
    /// The first completion without one.
    stray: Option<Stray>,
    /// Line of the first event that is of no client.
    passed_over: Option<usize>,
}

/// A completion without an invocation.
struct Stray {
    line: usize,
    who: String,
}

impl Calls {
    /// The next event of the file.
    ///
    /// # Errors
    /// A completion of what was not asked, in a file in which others were.
    pub(super) fn push(&mut self, event: Event) -> Result<(), FormatError> {
        if event.process == Process::Other {
            self.passed_over.get_or_insert(event.line);
            return Ok(());
        }
        self.events += 1;
        if event.kind == Kind::Invoke {
            return self.invoke(event);
        }
        let Some(open) = self.open.remove(&event.process) else {
            return self.complete_alone(event);
        };
        let call = &mut self.calls[open];
        if call.f != event.f {
            let reason = format!("`:{}` ends `:{}` of line {}", event.f, call.f, call.line);
            return Err(FormatError::new(event.line, ":f", reason));
        }
        call.ends(event.kind, event.value, self.events);
        Ok(())
    }

    fn invoke(&mut self, event: Event) -> Result<(), FormatError> {
        if self.invoked.is_none() {
            self.invoked = Some(event.line);
            match self.stray.take() {
                Some(stray) => return Err(stray.error(event.line)),
                // A process may say more than once that it does not know.
                None => self.calls.clear(),
            }
            self.unnamed.clear();
        }
        let open = self.open.insert(event.process, self.calls.len());
        if let (Process::Unnamed, Some(open)) = (event.process, open) {
            let reason = format!(
                "is missing while the operation of line {} is in flight, which names none either: nobody can tell which of them ends",
                self.calls[open].line
            );
            return Err(FormatError::new(event.line, ":process", reason));
        }
        self.add(event);
        Ok(())
    }

    fn complete_alone(&mut self, event: Event) -> Result<(), FormatError> {
        let stray = Stray {
            line: event.line,
            who: match event.process {
                Process::Client(process) => format!("process {process}"),
                Process::Unnamed | Process::Other => "the operation without :process".to_owned(),
            },
        };
        match (self.invoked, event.kind) {
            // A process may say more than once that it does not know.
            (Some(_), Kind::Info) => return Ok(()),
            (Some(line), _) => return Err(stray.error(line)),
            (None, Kind::Info) => {}
            (None, Kind::Invoke | Kind::Ok | Kind::Fail) => {
                self.stray.get_or_insert(stray);
            }
        }
        let (kind, value) = (event.kind, event.value.clone());
        let call = self.add(event);
        let now = call.call;
        call.ends(kind, value, now);
        Ok(())
    }

    fn add(&mut self, event: Event) -> &mut Call {
        let process = match event.process {
            Process::Client(process) => process,
            Process::Unnamed | Process::Other => {
                self.unnamed.push(self.calls.len());
                0
            }
        };
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
        self.calls.last_mut().expect("it was just pushed")
    }

    /// All calls. Those without a process get each a number of their own.
    ///
    /// # Errors
    /// There are events, but none is of a client: they must be named otherwise than they should.
    pub(super) fn finish(mut self) -> Result<Log, FormatError> {
        if let (true, Some(line)) = (self.calls.is_empty(), self.passed_over) {
            let reason = "is no number here, nor in any other event: there is nothing to judge";
            return Err(FormatError::new(line, ":process", reason));
        }
        let named = (0..self.calls.len()).filter(|at| self.unnamed.binary_search(at).is_err());
        let most = named.map(|at| self.calls[at].process).max();
        for (&at, number) in self
            .unnamed
            .iter()
            .zip(most.map_or(0, |most| u64::from(most) + 1)..)
        {
            // Names run out only where 2^32 processes are; then the last is nobody else's.
            self.calls[at].process = u32::try_from(number).unwrap_or(u32::MAX);
        }
        let times = match self.invoked {
            None if !self.calls.is_empty() => Times::Unrecorded,
            None | Some(_) => Times::Recorded,
        };
        Ok(Log {
            calls: self.calls,
            times,
        })
    }
}

impl Call {
    fn ends(&mut self, kind: Kind, value: Form, now: i64) {
        match kind {
            Kind::Ok => (self.ret, self.fate) = (Some(now), Fate::Ok(value)),
            Kind::Fail => (self.ret, self.fate) = (Some(now), Fate::Fail(value)),
            Kind::Info | Kind::Invoke => {}
        }
    }
}

impl Stray {
    fn error(self, invoked: usize) -> FormatError {
        let reason = format!(
            "{} has nothing in flight that could end here (line {invoked} is an :invoke, so all operations must have one)",
            self.who
        );
        FormatError::new(self.line, ":type", reason)
    }
}

/// An event from a map with `:type`, `:f`, `:value` (and perhaps `:process` and `:key`).
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
            Ok(number) => Process::Client(number),
            Err(_) => {
                return Err(FormatError::new(
                    line,
                    ":process",
                    "is not a number from 0 to 2^32 - 1",
                ));
            }
        },
        None | Some(Form::Nil) => Process::Unnamed,
        // Some write all that they write as texts.
        Some(Form::Text(text)) => text.parse().map_or(Process::Other, Process::Client),
        Some(_) => Process::Other,
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
        None if process == Process::Other || is_transaction(&value) => "txn".to_owned(),
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
        process: Process::Client(process),
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
