//! The verdict over a foreign history, in the terms of its file.

use crate::explain::operations::Case;
use crate::linear::models::{Keyed, Register};
use crate::linear::{Conviction, Model, Times, Verdict, Witnessed};
use crate::verdict::Property;
use serde_json::{Value, json};
use std::fmt;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// An order explains the history.
    Valid {
        /// Lines of the operations in that order, each where it was called.
        order: Vec<u32>,
        /// Configurations that the search visited; 0 where none was needed.
        visited: u64,
        /// The most that were alive at once.
        alive_max: usize,
    },
    /// Nothing explains it.
    Invalid {
        /// The property that is broken, by name.
        property: String,
        /// What kind of wrong it is, where that is known; else empty.
        class: String,
        /// Why, in words.
        reason: String,
        /// Convicting operations: lines and words, the one that convicts first.
        records: Vec<(u32, String)>,
        /// The states that the object can have been in before; empty where none matters.
        states: Vec<String>,
        /// How many operations of the object, by return, can be explained before that one,
        /// where that is known.
        prefix: Option<usize>,
    },
    /// Not decided; why.
    Unknown(String),
}

/// A verdict over a foreign history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the history was judged as: `register`, `queue`, `zookeeper`...
    pub model: String,
    /// Operations in the history.
    pub operations: usize,
    /// Those of them whose outcome was never learned.
    pub unanswered: usize,
    /// Whether times were recorded.
    pub times: Times,
    /// What was found.
    pub finding: Finding,
}

impl Report {
    fn new<M: Model>(case: &Case<M>, finding: Finding) -> Report {
        let unanswered = case.history.iter().filter(|one| one.ret.is_none());
        Report {
            model: case.name.to_owned(),
            operations: case.history.len(),
            unanswered: unanswered.count(),
            times: case.times,
            finding,
        }
    }

    /// The report of a check of linearizability.
    pub(super) fn linear<M: Model>(case: &Case<M>, verdict: &Verdict) -> Report {
        let lines = &case.lines;
        let finding = match verdict {
            Verdict::Valid(order) => Finding::Valid {
                order: order
                    .operations()
                    .iter()
                    .map(|index| lines[*index as usize])
                    .collect(),
                visited: order.visited,
                alive_max: order.alive_max,
            },
            Verdict::Invalid(conviction) => convicted(case, conviction),
            Verdict::Unknown(reason) => Finding::Unknown(reason.clone()),
            Verdict::Malformed { index, reason } => {
                unreachable!(
                    "line {}: readers refuse what contradicts itself: {reason}",
                    lines[*index]
                )
            }
        };
        Report::new(case, finding)
    }

    /// The report of registers judged by ZooKeeper's promises.
    pub(super) fn zookeeper(case: &Case<Keyed<Register>>, witnessed: &Witnessed) -> Report {
        let lines = &case.lines;
        let finding = match witnessed {
            Witnessed::Valid(order) => Finding::Valid {
                order: order.iter().map(|index| lines[*index as usize]).collect(),
                visited: 0,
                alive_max: 0,
            },
            Witnessed::Invalid {
                property,
                class,
                reason,
                operations,
                state,
            } => Finding::Invalid {
                property: format!("{} {}", property.code(), property.name()),
                class: class.name().to_owned(),
                reason: reason.clone(),
                records: operations
                    .iter()
                    .map(|at| (lines[*at], words(case, *at)))
                    .collect(),
                states: Some(state.clone())
                    .into_iter()
                    .filter(|state| !state.is_empty())
                    .collect(),
                prefix: None,
            },
            Witnessed::Unknown(reason) => Finding::Unknown(reason.clone()),
        };
        Report::new(case, finding)
    }

    /// The exit code of a run over this history: 0 valid, 1 invalid, 3 unknown.
    pub fn code(&self) -> u8 {
        match self.finding {
            Finding::Valid { .. } => 0,
            Finding::Invalid { .. } => 1,
            Finding::Unknown(_) => 3,
        }
    }

    /// The report as one JSON object.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "model": self.model,
            "operations": self.operations,
            "unanswered": self.unanswered,
            "times": self.times == Times::Recorded,
        });
        let more = match &self.finding {
            Finding::Valid {
                visited, alive_max, ..
            } => json!({
                "verdict": "valid", "configurations": visited, "alive_max": alive_max,
            }),
            Finding::Invalid {
                property,
                class,
                reason,
                records,
                states,
                prefix,
            } => {
                let record =
                    |(line, words): &(u32, String)| json!({ "line": line, "words": words });
                let (code, name) = match property.split_once(' ') {
                    Some((code, name)) if is_code(code) => (Some(code), name),
                    _ => (None, property.as_str()),
                };
                json!({
                    "verdict": "invalid", "property": code, "name": name, "class": class, "reason": reason,
                    "records": records.iter().map(record).collect::<Vec<_>>(),
                    "states_before": states, "prefix": prefix,
                })
            }
            Finding::Unknown(reason) => json!({ "verdict": "unknown", "reason": reason }),
        };
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    }
}

fn convicted<M: Model>(case: &Case<M>, conviction: &Conviction) -> Finding {
    let lines = &case.lines;
    let words = |index: usize| words(case, index);
    let first = (lines[conviction.operation], words(conviction.operation));
    let others = conviction.with.iter();
    let others = others.map(|(index, part)| (lines[*index], format!("{} ({part})", words(*index))));
    Finding::Invalid {
        property: case.property().to_owned(),
        class: String::new(),
        reason: conviction.reason.clone(),
        records: std::iter::once(first).chain(others).collect(),
        states: conviction.states_told(),
        prefix: conviction.returned,
    }
}

/// Whether a word is the code of a property of ZooKeeper's: `P9`.
fn is_code(word: &str) -> bool {
    Property::ALL.iter().any(|property| property.code() == word)
}

/// An operation in words, with its interval if it has one.
fn words<M: Model>(case: &Case<M>, index: usize) -> String {
    let operation = &case.history[index];
    let words = (case.model).words(&operation.op, operation.outcome.as_ref());
    let until = operation.ret;
    let until = until.map_or("never".to_owned(), |ret| ret.to_string());
    match case.times {
        Times::Recorded => {
            format!(
                "client {} [{}, {until}] {words}",
                operation.client, operation.call
            )
        }
        Times::Unrecorded => format!("client {} {words}", operation.client),
    }
}

impl Report {
    /// What it was judged as.
    fn judged_as(&self) -> String {
        match self.times {
            Times::Recorded => format!("model {}", self.model),
            Times::Unrecorded => format!(
                "model {}; no times were recorded: only an order is looked for that keeps each client's",
                self.model
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::Valid { order, visited, .. } => {
                write!(
                    f,
                    "valid: {} of {} operations in one order",
                    order.len(),
                    self.operations
                )?;
                write!(
                    f,
                    ", {} of unknown fate ({}",
                    self.unanswered,
                    self.judged_as()
                )?;
                match visited {
                    0 => write!(f, ")"),
                    _ => write!(f, ", {visited} configurations)"),
                }
            }
            Finding::Invalid {
                property,
                class,
                reason,
                records,
                states,
                prefix,
            } => {
                writeln!(f, "invalid: {property}: {reason}")?;
                for (line, words) in records {
                    writeln!(f, "  line {line}: {words}")?;
                }
                if !states.is_empty() {
                    writeln!(f, "  before: {}", states.join("; "))?;
                }
                if !class.is_empty() {
                    writeln!(f, "  class: {class}")?;
                }
                match prefix {
                    Some(prefix) => write!(
                        f,
                        "  explained until then: {prefix} operations ({})",
                        self.judged_as()
                    ),
                    None => write!(f, "  {}", self.judged_as()),
                }
            }
            Finding::Unknown(reason) => write!(f, "unknown: {reason} ({})", self.judged_as()),
        }
    }
}
