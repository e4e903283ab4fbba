//! Jepsen's calls as histories of the models.
//!
//! | requests | model |
//! |---|---|
//! | `:read`, `:write`, `:cas` | register |
//! | `:get`, `:put`, `:append` with `:key` | key-value texts (Porcupine's) |
//! | `:add`, `:remove`, `:contains`, `:read` | set |
//! | `:enqueue`, `:dequeue`, `:drain` | queue |
//! | `:acquire`, `:release` | mutex |
//! | transactions of `[:append k v]` and `[:r k list]` | list-append (Elle's) |
//!
//! With `:key`, or if every value is a pair `[key value]` (`jepsen.independent`), each key has an
//! object of its own.
//!
//! Answers to: the workloads of Jepsen and Knossos of these names; Porcupine's key-value
//! logs; Elle's list-append.

use super::FormatError;
use super::edn::Form;
use super::events::{Call, Fate, Log, asked, cut, is_transaction};
use super::judge::ModelName;
use crate::explain::operations::Case;
use crate::linear::models::{
    Keyed, Lists, ListsOp, ListsOutcome, Mutex, MutexOp, NIL, Queue, QueueOp, QueueOutcome,
    Register, RegisterOp, RegisterOutcome, Set, SetOp, SetOutcome, Symbol, Symbols, Text, TextOp,
    TextOutcome,
};
use crate::linear::{Model, Operation, Times};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The models and what can be asked of them.
const KNOWN: &str = "register (:read, :write, :cas), kv (:get, :put, :append), set (:add, :remove, :contains, :read), queue (:enqueue, :dequeue, :drain), mutex (:acquire, :release), list-append (:txn)";

/// The model that the requests are of.
///
/// # Errors
/// The requests are of none, or of two.
pub(super) fn model_of(calls: &[Call]) -> Result<ModelName, FormatError> {
    let mut found: Option<(ModelName, &Call)> = None;
    for call in calls {
        let model = match call.f.as_str() {
            // Registers and sets are both read.
            "read" => continue,
            "txn" if call.asked == Form::Nil => continue,
            _ if is_transaction(&call.asked) => ModelName::ListAppend,
            "write" | "cas" => ModelName::Register,
            "get" | "put" | "append" => ModelName::KeyValue,
            "add" | "remove" | "contains" => ModelName::Set,
            "enqueue" | "dequeue" | "drain" => ModelName::Queue,
            "acquire" | "release" => ModelName::Mutex,
            "txn" => {
                let asked = cut(&call.asked.show());
                let reason = format!(
                    "{asked} is no transaction that is known: these are made of [:append k v] and [:r k list]"
                );
                return Err(FormatError::new(call.line, ":value", reason));
            }
            f => {
                let reason = format!(
                    "{} is a request of no model that is known; these are: {KNOWN}",
                    cut(&format!(":{f}"))
                );
                return Err(FormatError::new(call.line, ":f", reason));
            }
        };
        match found {
            Some((other, first)) if other != model => {
                let reason = format!(
                    "`:{}` is a request to a {}, `:{}` of line {} to a {}; name the one meant by --model",
                    call.f,
                    model.name(),
                    first.f,
                    first.line,
                    other.name()
                );
                return Err(FormatError::new(call.line, ":f", reason));
            }
            Some(_) => {}
            None => found = Some((model, call)),
        }
    }
    Ok(found.map_or(ModelName::Register, |(model, _)| model))
}

/// Operations, and the line of each.
type Operations<Op, Outcome> = (Vec<Operation<Op, Outcome>>, Vec<u32>);

/// Turns calls into operations with `turn`, which tells request and outcome of one given what
/// it answered, if it did. What had no effect is no operation ([`asked`]).
fn operations<Op, Outcome>(
    calls: &[Call],
    mut turn: impl FnMut(&Call, Option<&Form>) -> Result<(Op, Option<Outcome>), FormatError>,
) -> Result<Operations<Op, Outcome>, FormatError> {
    let (mut history, mut lines) = (
        Vec::with_capacity(calls.len()),
        Vec::with_capacity(calls.len()),
    );
    for call in asked(calls) {
        let answer = match &call.fate {
            Fate::Ok(answer) => Some(answer),
            Fate::Unknown | Fate::Fail(_) => None,
        };
        let (op, outcome) = turn(call, answer)?;
        history.push(Operation {
            client: call.process,
            call: call.call,
            ret: call.ret,
            op,
            outcome,
        });
        lines.push(u32::try_from(call.line).unwrap_or(u32::MAX));
    }
    Ok((history, lines))
}

fn wrong(call: &Call, field: &str, reason: impl Into<String>) -> FormatError {
    FormatError::new(call.line, field, reason)
}

fn foreign(call: &Call, model: ModelName) -> FormatError {
    let reason = format!(
        "{} is no request to a {}",
        cut(&format!(":{}", call.f)),
        model.name()
    );
    wrong(call, ":f", reason)
}

fn symbol(symbols: &mut Symbols, form: &Form) -> Symbol {
    match form {
        Form::Nil => NIL,
        form => symbols.number(&form.show()),
    }
}

/// True if a request asks for what it is answered and brings nothing along.
fn is_question(call: &Call) -> bool {
    matches!(
        call.f.as_str(),
        "read" | "dequeue" | "drain" | "acquire" | "release"
    )
}

/// Whether objects are told apart by values `[key value]`, as `jepsen.independent` does: every
/// question asks `[key nil]`. Where there are only answers, all values must be such pairs.
fn is_independent(log: &Log) -> bool {
    let is_pair = |form: &Form| matches!(form, Form::Seq(pair) if pair.len() == 2);
    let nested = |call: &Call| match &call.asked {
        Form::Seq(pair) if call.f == "cas" => pair.get(1).is_some_and(is_pair),
        asked => is_pair(asked),
    };
    let asks_key =
        |call: &Call| matches!(&call.asked, Form::Seq(pair) if matches!(&pair[..], [_, Form::Nil]));
    let mut questions = log.calls.iter().filter(|call| is_question(call)).peekable();
    questions.peek().is_some()
        && log.calls.iter().all(|call| call.key.is_none())
        && match log.times {
            Times::Recorded => questions.all(asks_key),
            Times::Unrecorded => log.calls.iter().all(nested),
        }
}

/// Takes the keys out of values `[key value]`, if there are any, and lets a `:drain` be as many
/// `:dequeue`s as it took elements, all while it lasted.
///
/// # Errors
/// A value has no key though others do; nobody knows what was drained.
pub(super) fn normal(mut log: Log) -> Result<Log, FormatError> {
    if is_independent(&log) {
        for call in &mut log.calls {
            let (key, asked) = pair(call, &call.asked)?;
            let fate = match &call.fate {
                Fate::Ok(answer) => Fate::Ok(pair(call, answer)?.1),
                // What it says of what did not happen matters little.
                Fate::Fail(answer) => Fate::Fail(match pair(call, answer) {
                    Ok((_, answer)) => answer,
                    Err(_) => answer.clone(),
                }),
                Fate::Unknown => Fate::Unknown,
            };
            call.fate = fate;
            (call.key, call.asked) = (Some(key), asked);
        }
    }
    match log.calls.iter().any(|call| call.f == "drain") {
        true => drained(log),
        false => Ok(log),
    }
}

fn drained(log: Log) -> Result<Log, FormatError> {
    let most = log.calls.iter().map(|call| call.process).max();
    let mut fresh = most.unwrap_or(0);
    let mut calls = Vec::with_capacity(log.calls.len());
    for call in log.calls {
        if call.f != "drain" {
            calls.push(call);
            continue;
        }
        let elements = match &call.fate {
            Fate::Fail(_) | Fate::Ok(Form::Nil) => continue,
            Fate::Ok(Form::Seq(elements)) => elements,
            Fate::Ok(other) => {
                let reason = format!("is answered by {}, no list", cut(&other.show()));
                return Err(wrong(&call, ":value", reason));
            }
            Fate::Unknown => {
                let reason = "a :drain without an answer may have taken anything, and nothing can be judged after it";
                return Err(wrong(&call, ":type", reason));
            }
        };
        for element in elements {
            // They may overlap, which one process cannot do.
            fresh = match log.times {
                Times::Recorded => fresh.saturating_add(1),
                Times::Unrecorded => fresh,
            };
            calls.push(Call {
                f: "dequeue".to_owned(),
                process: match log.times {
                    Times::Recorded => fresh,
                    Times::Unrecorded => call.process,
                },
                asked: Form::Nil,
                fate: Fate::Ok(element.clone()),
                ..call.clone()
            });
        }
    }
    Ok(Log { calls, ..log })
}

/// Registers. `refusals`: a `:cas` that failed with its own arguments looked and found
/// another value, as in the etcd logs of Knossos and Porcupine. (Elsewhere `:fail` only says
/// that nothing happened.)
pub(super) fn registers(log: &Log, refusals: bool) -> Result<Case<Keyed<Register>>, FormatError> {
    let mut symbols = Symbols::default();
    let looked: Vec<Call>;
    let calls = match refusals {
        false => &log.calls,
        true => {
            looked = log.calls.iter().cloned().map(look).collect();
            &looked
        }
    };
    let operations = operations(calls, |call, answer| {
        let key = key_of(call, &mut symbols);
        let refused = answer == Some(&refusal());
        let op = match call.f.as_str() {
            "read" => RegisterOp::Read,
            "write" => RegisterOp::Write(symbol(&mut symbols, &call.asked)),
            "cas" => {
                let (from, to) = pair(call, &call.asked)?;
                RegisterOp::Cas(symbol(&mut symbols, &from), symbol(&mut symbols, &to))
            }
            _ => return Err(foreign(call, ModelName::Register)),
        };
        let outcome = answer.map(|answer| match op {
            RegisterOp::Read => RegisterOutcome::Value(symbol(&mut symbols, answer)),
            RegisterOp::Write(_) => RegisterOutcome::Done,
            RegisterOp::Cas(..) => RegisterOutcome::Swapped(!refused),
        });
        Ok(((key, op), outcome))
    })?;
    let symbols = Arc::new(symbols);
    let model = Register {
        symbols: symbols.clone(),
    };
    let model = Keyed { model, symbols };
    Ok(case(ModelName::Register, model, operations, log.times))
}

fn key_of(call: &Call, symbols: &mut Symbols) -> Symbol {
    call.key.as_ref().map_or(NIL, |key| symbol(symbols, key))
}

fn case<M: Model>(
    name: ModelName,
    model: M,
    (history, lines): Operations<M::Op, M::Outcome>,
    times: Times,
) -> Case<M> {
    Case {
        name: name.name(),
        model,
        history,
        lines,
        zxids: Vec::new(),
        times,
    }
}

/// Stands for "refused"; no file can hold it, since a keyword there has no blank.
fn refusal() -> Form {
    Form::Keyword("was refused".to_owned())
}

fn look(mut call: Call) -> Call {
    if call.f == "cas" && call.fate == Fate::Fail(call.asked.clone()) {
        call.fate = Fate::Ok(refusal());
    }
    call
}

fn pair(call: &Call, form: &Form) -> Result<(Form, Form), FormatError> {
    match form {
        Form::Seq(pair) if pair.len() == 2 => Ok((pair[0].clone(), pair[1].clone())),
        _ => Err(wrong(
            call,
            ":value",
            format!("{} is no pair", cut(&form.show())),
        )),
    }
}

/// Key-value texts.
pub(super) fn texts(log: &Log) -> Result<Case<Keyed<Text>>, FormatError> {
    let mut symbols = Symbols::default();
    let text = |form: &Form| -> Arc<str> {
        match form {
            Form::Text(text) => text.as_str().into(),
            Form::Nil => "".into(),
            form => form.show().into(),
        }
    };
    let operations = operations(&log.calls, |call, answer| {
        let Some(key) = &call.key else {
            return Err(wrong(call, ":key", "is missing"));
        };
        let key = symbols.number(&key.show());
        let op = match call.f.as_str() {
            "get" => TextOp::Get,
            "put" => TextOp::Put(text(&call.asked)),
            "append" => TextOp::Append(text(&call.asked)),
            _ => return Err(foreign(call, ModelName::KeyValue)),
        };
        let outcome = answer.map(|answer| match op {
            TextOp::Get => TextOutcome::Text(text(answer)),
            TextOp::Put(_) | TextOp::Append(_) => TextOutcome::Done,
        });
        Ok(((key, op), outcome))
    })?;
    let model = Keyed {
        model: Text,
        symbols: Arc::new(symbols),
    };
    Ok(case(ModelName::KeyValue, model, operations, log.times))
}

/// A set.
pub(super) fn sets(log: &Log) -> Result<Case<Keyed<Set>>, FormatError> {
    let mut symbols = Symbols::default();
    let operations = operations(&log.calls, |call, answer| {
        let key = key_of(call, &mut symbols);
        let op = match call.f.as_str() {
            "add" => SetOp::Add(symbol(&mut symbols, &call.asked)),
            "remove" => SetOp::Remove(symbol(&mut symbols, &call.asked)),
            "contains" => SetOp::Contains(symbol(&mut symbols, &call.asked)),
            "read" => SetOp::Read,
            _ => return Err(foreign(call, ModelName::Set)),
        };
        let outcome = match (&op, answer) {
            (_, None) => None,
            (SetOp::Add(_) | SetOp::Remove(_), Some(_)) => Some(SetOutcome::Done),
            (SetOp::Contains(_), Some(Form::Bool(told))) => Some(SetOutcome::Told(*told)),
            (SetOp::Read, Some(Form::Nil)) => None,
            (SetOp::Read, Some(Form::Seq(list) | Form::Set(list))) => {
                Some(elements(&mut symbols, list))
            }
            (SetOp::Contains(_) | SetOp::Read, Some(answer)) => {
                let told = cut(&answer.show());
                let reason = match (&op, answer) {
                    (SetOp::Read, Form::Int(_)) => format!(
                        "is answered by {told}, no set; counters are no model that is known"
                    ),
                    _ => format!("is answered by {told}"),
                };
                return Err(wrong(call, ":value", reason));
            }
        };
        Ok(((key, op), outcome))
    })?;
    let symbols = Arc::new(symbols);
    let model = Set {
        symbols: symbols.clone(),
    };
    let model = Keyed { model, symbols };
    Ok(case(ModelName::Set, model, operations, log.times))
}

fn elements(symbols: &mut Symbols, list: &[Form]) -> SetOutcome {
    let mut elements = BTreeSet::new();
    for element in list {
        let element = symbol(symbols, element);
        if !elements.insert(element) {
            return SetOutcome::Repeated(element);
        }
    }
    SetOutcome::Elements(elements)
}

/// A queue.
pub(super) fn queues(log: &Log) -> Result<Case<Keyed<Queue>>, FormatError> {
    let mut symbols = Symbols::default();
    let operations = operations(&log.calls, |call, answer| {
        let key = key_of(call, &mut symbols);
        let op = match call.f.as_str() {
            "enqueue" => QueueOp::Enqueue(symbol(&mut symbols, &call.asked)),
            "dequeue" => QueueOp::Dequeue,
            _ => return Err(foreign(call, ModelName::Queue)),
        };
        let outcome = answer.map(|answer| match (&op, answer) {
            (QueueOp::Enqueue(_), _) => QueueOutcome::Done,
            (QueueOp::Dequeue, Form::Nil) => QueueOutcome::Empty,
            (QueueOp::Dequeue, first) => QueueOutcome::Element(symbol(&mut symbols, first)),
        });
        Ok(((key, op), outcome))
    })?;
    let symbols = Arc::new(symbols);
    let model = Queue {
        symbols: symbols.clone(),
    };
    let model = Keyed { model, symbols };
    Ok(case(ModelName::Queue, model, operations, log.times))
}

/// A lock.
pub(super) fn mutexes(log: &Log) -> Result<Case<Keyed<Mutex>>, FormatError> {
    let mut symbols = Symbols::default();
    let operations = operations(&log.calls, |call, answer| {
        let key = key_of(call, &mut symbols);
        let op = match call.f.as_str() {
            "acquire" => MutexOp::Acquire,
            "release" => MutexOp::Release,
            _ => return Err(foreign(call, ModelName::Mutex)),
        };
        Ok(((key, op), answer.map(|_| true)))
    })?;
    let model = Keyed {
        model: Mutex,
        symbols: Arc::new(symbols),
    };
    Ok(case(ModelName::Mutex, model, operations, log.times))
}

/// Transactions over lists.
pub(super) fn lists(log: &Log) -> Result<Case<Lists>, FormatError> {
    let mut symbols = Symbols::default();
    let operations = operations(&log.calls, |call, answer| {
        let asked = parts(call, &call.asked)?;
        let mut op = Vec::with_capacity(asked.len());
        for (f, key, value) in &asked {
            let key = symbols.number(&key.show());
            op.push(match *f {
                "append" => ListsOp::Append(key, symbol(&mut symbols, value)),
                _ => ListsOp::Read(key),
            });
        }
        let outcome = match answer {
            Some(answer) => Some(seen(call, &parts(call, answer)?, &asked, &mut symbols)?),
            None => None,
        };
        Ok((op, outcome))
    })?;
    let tied = Lists::tie(operations.0.iter().map(|operation| &operation.op));
    let model = Lists {
        symbols: Arc::new(symbols),
        tied: Arc::new(tied),
    };
    Ok(case(ModelName::ListAppend, model, operations, log.times))
}

/// What the reads of a transaction saw.
fn seen(
    call: &Call,
    answered: &[(&str, &Form, &Form)],
    asked: &[(&str, &Form, &Form)],
    symbols: &mut Symbols,
) -> Result<ListsOutcome, FormatError> {
    let same = |((f, key, _), (g, other, _)): (&(&str, &Form, &Form), &(&str, &Form, &Form))| {
        f == g && key == other
    };
    if answered.len() != asked.len() || !answered.iter().zip(asked).all(same) {
        return Err(wrong(call, ":value", "is answered by another transaction"));
    }
    let reads = answered.iter().filter(|(f, ..)| *f == "r");
    let list = |(_, _, value): &(&str, &Form, &Form)| match value {
        Form::Nil => Ok([].into()),
        Form::Seq(list) => Ok(list
            .iter()
            .map(|element| symbol(symbols, element))
            .collect()),
        other => Err(wrong(
            call,
            ":value",
            format!("a read saw {}, no list", cut(&other.show())),
        )),
    };
    reads.map(list).collect()
}

/// A transaction's parts: name, key, value.
fn parts<'a>(
    call: &Call,
    form: &'a Form,
) -> Result<Vec<(&'a str, &'a Form, &'a Form)>, FormatError> {
    let no_transaction = || {
        wrong(
            call,
            ":value",
            format!("{} is no transaction", cut(&form.show())),
        )
    };
    let Form::Seq(parts) = form else {
        return Err(no_transaction());
    };
    let part = |part: &'a Form| match part {
        Form::Seq(fields) => match (fields.first().and_then(Form::name), &fields[..]) {
            (Some(f @ ("append" | "r")), [_, key, value]) => Ok((f, key, value)),
            (Some("r"), [_, key]) => Ok(("r", key, &Form::Nil)),
            _ => Err(no_transaction()),
        },
        _ => Err(no_transaction()),
    };
    parts.iter().map(part).collect()
}
