//! Jepsen's calls as histories of the models.
//!
//! | requests | model |
//! |---|---|
//! | `:read`, `:write`, `:cas` | register; with `:key` or values `[key value]`, a map of registers |
//! | `:get`, `:put`, `:append` with `:key` | key-value texts (Porcupine's) |
//! | `:add`, `:remove`, `:contains`, `:read` | set |
//! | `:enqueue`, `:dequeue` | queue |
//! | `:acquire`, `:release` | mutex |
//! | transactions of `[:append k v]` and `[:r k list]` | list-append (Elle's) |
//!
//! Answers to: the workloads of Jepsen and Knossos of these names; Porcupine's key-value
//! logs; Elle's list-append.

use super::FormatError;
use super::edn::Form;
use super::events::{Call, Fate, asked, cut, is_transaction};
use super::judge::ModelName;
use crate::explain::operations::Case;
use crate::linear::Operation;
use crate::linear::models::{
    Keyed, Lists, ListsOp, ListsOutcome, Mutex, MutexOp, NIL, Queue, QueueOp, QueueOutcome,
    Register, RegisterOp, RegisterOutcome, Set, SetOp, SetOutcome, Symbol, Symbols, Text, TextOp,
    TextOutcome,
};
use std::collections::BTreeSet;
use std::sync::Arc;

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
            _ if is_transaction(&call.asked) => ModelName::ListAppend,
            "write" | "cas" => ModelName::Register,
            "get" | "put" | "append" => ModelName::KeyValue,
            "add" | "remove" | "contains" => ModelName::Set,
            "enqueue" | "dequeue" => ModelName::Queue,
            "acquire" | "release" => ModelName::Mutex,
            f => {
                let reason = format!(
                    "{} is a request of no model that is known",
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

/// Whether registers are told apart by values `[key value]`, as `jepsen.independent` does:
/// every read asks `[key nil]`.
fn is_independent(calls: &[Call]) -> bool {
    let mut reads = calls.iter().filter(|call| call.f == "read").peekable();
    let asks_key =
        |call: &Call| matches!(&call.asked, Form::Seq(pair) if matches!(&pair[..], [_, Form::Nil]));
    reads.peek().is_some() && reads.all(asks_key)
}

/// Registers. `refusals`: a `:cas` that failed with its own arguments looked and found
/// another value, as in the etcd logs of Knossos and Porcupine. (Elsewhere `:fail` only says
/// that nothing happened.)
pub(super) fn registers(
    calls: &[Call],
    refusals: bool,
) -> Result<Case<Keyed<Register>>, FormatError> {
    let mut symbols = Symbols::default();
    let independent = is_independent(calls);
    let looked: Vec<Call>;
    let calls = match refusals {
        false => calls,
        true => {
            looked = calls.iter().cloned().map(look).collect();
            &looked
        }
    };
    let (history, lines) = operations(calls, |call, answer| {
        let (key, asked, answer) = match (&call.key, independent) {
            (Some(key), _) => (key.clone(), call.asked.clone(), answer.cloned()),
            (None, false) => (Form::Nil, call.asked.clone(), answer.cloned()),
            (None, true) => {
                let (key, asked) = pair(call, &call.asked)?;
                let answer = answer.map(|answer| pair(call, answer).map(|(_, answer)| answer));
                (key, asked, answer.transpose()?)
            }
        };
        let key = symbol(&mut symbols, &key);
        let refused = answer.as_ref() == Some(&refusal());
        let op = match call.f.as_str() {
            "read" => RegisterOp::Read,
            "write" => RegisterOp::Write(symbol(&mut symbols, &asked)),
            "cas" => {
                let (from, to) = pair(call, &asked)?;
                RegisterOp::Cas(symbol(&mut symbols, &from), symbol(&mut symbols, &to))
            }
            _ => return Err(foreign(call, ModelName::Register)),
        };
        let outcome = answer.map(|answer| match op {
            RegisterOp::Read => RegisterOutcome::Value(symbol(&mut symbols, &answer)),
            RegisterOp::Write(_) => RegisterOutcome::Done,
            RegisterOp::Cas(..) => RegisterOutcome::Swapped(!refused),
        });
        Ok(((key, op), outcome))
    })?;
    let symbols = Arc::new(symbols);
    let model = Keyed {
        model: Register {
            symbols: symbols.clone(),
        },
        symbols,
    };
    Ok(Case {
        name: ModelName::Register.name(),
        model,
        history,
        lines,
        zxids: Vec::new(),
    })
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
pub(super) fn texts(calls: &[Call]) -> Result<Case<Keyed<Text>>, FormatError> {
    let mut symbols = Symbols::default();
    let text = |form: &Form| -> Arc<str> {
        match form {
            Form::Text(text) => text.as_str().into(),
            Form::Nil => "".into(),
            form => form.show().into(),
        }
    };
    let (history, lines) = operations(calls, |call, answer| {
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
    Ok(Case {
        name: ModelName::KeyValue.name(),
        model: Keyed {
            model: Text,
            symbols: Arc::new(symbols),
        },
        history,
        lines,
        zxids: Vec::new(),
    })
}

/// A set.
pub(super) fn sets(calls: &[Call]) -> Result<Case<Set>, FormatError> {
    let mut symbols = Symbols::default();
    let (history, lines) = operations(calls, |call, answer| {
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
                return Err(wrong(
                    call,
                    ":value",
                    format!("is answered by {}", cut(&answer.show())),
                ));
            }
        };
        Ok((op, outcome))
    })?;
    Ok(Case {
        name: ModelName::Set.name(),
        model: Set {
            symbols: Arc::new(symbols),
        },
        history,
        lines,
        zxids: Vec::new(),
    })
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
pub(super) fn queues(calls: &[Call]) -> Result<Case<Queue>, FormatError> {
    let mut symbols = Symbols::default();
    let (history, lines) = operations(calls, |call, answer| {
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
        Ok((op, outcome))
    })?;
    Ok(Case {
        name: ModelName::Queue.name(),
        model: Queue {
            symbols: Arc::new(symbols),
        },
        history,
        lines,
        zxids: Vec::new(),
    })
}

/// A lock.
pub(super) fn mutexes(calls: &[Call]) -> Result<Case<Mutex>, FormatError> {
    let (history, lines) = operations(calls, |call, answer| {
        let op = match call.f.as_str() {
            "acquire" => MutexOp::Acquire,
            "release" => MutexOp::Release,
            _ => return Err(foreign(call, ModelName::Mutex)),
        };
        Ok((op, answer.map(|_| true)))
    })?;
    Ok(Case {
        name: ModelName::Mutex.name(),
        model: Mutex,
        history,
        lines,
        zxids: Vec::new(),
    })
}

/// Transactions over lists.
pub(super) fn lists(calls: &[Call]) -> Result<Case<Lists>, FormatError> {
    let mut symbols = Symbols::default();
    let (history, lines) = operations(calls, |call, answer| {
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
    let tied = Lists::tie(history.iter().map(|operation| &operation.op));
    let model = Lists {
        symbols: Arc::new(symbols),
        tied: Arc::new(tied),
    };
    Ok(Case {
        name: ModelName::ListAppend.name(),
        model,
        history,
        lines,
        zxids: Vec::new(),
    })
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
