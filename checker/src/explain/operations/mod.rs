//! Failures of histories of operations: registers, queues, locks, whatever has a
//! [`Model`]; explained like a failure of a ZooKeeper history.
//!
//! | room | holds |
//! |---|---|
//! | `court` | who judges a part of the history again, and what must stay the same |
//! | `reduce` | leaving out what does not matter |
//!
//! What it is not: a judgement. It takes a conviction as given and never changes it.
//!
//! Answers to: `consistency.md` 3.5, for 3.3.

mod court;
mod reduce;

use super::account::{Account, Convicting, Reduced};
use super::deed::{Clock, Deed, Kind, Places};
use super::reduce::Budget;
use super::stage::Stage;
use super::timeline::Scene;
use super::{meaning, words};
use crate::linear::models::{Keyed, Register};
use crate::linear::{
    self, Conviction, Model, OperationOf, PROPERTY, PROPERTY_UNCLOCKED, Times, Verdict,
    check_counted, check_unclocked_counted,
};
use crate::verdict::{Class, Property};
pub use court::Timing;
pub use reduce::Reduction;

use court::{Linear, Witness};
use reduce::reduce;

/// Most letters of an operation, a state or a reason that are told.
const TOLD_CHARS_MAX: usize = 400;
/// Most states that are told.
const STATES_TOLD_MAX: usize = 8;

/// A history of operations with what it is judged against.
#[derive(Debug, Clone)]
pub struct Case<M: Model> {
    /// The model's name.
    pub name: &'static str,
    /// What it is judged against.
    pub model: M,
    /// The operations.
    pub history: Vec<OperationOf<M>>,
    /// For each, its line in the file that tells of it, from 1.
    pub lines: Vec<u32>,
    /// For each, its zxid; empty if the file tells of none.
    pub zxids: Vec<Option<i64>>,
    /// Whether calls and returns tell the time.
    pub times: Times,
}

/// What ZooKeeper's promises say is broken, as [`crate::linear::Witnessed::Invalid`] has it.
#[derive(Debug, Clone, Copy)]
pub struct Broken<'a> {
    /// What is broken.
    pub property: Property,
    /// Whether any order could explain the history.
    pub class: Class,
    /// Why, in words.
    pub reason: &'a str,
    /// Convicting operations, by index.
    pub operations: &'a [usize],
    /// The state before; empty where none matters.
    pub state: &'a str,
}

/// A failure of a history of operations, explained.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// As it is told.
    pub account: Account,
    /// What convicts, by index, in the account's order.
    pub convicting: Vec<usize>,
    /// A smaller history that convicts the same way; None if none was found.
    pub reduction: Option<Reduction>,
}

/// Explains why a history is not linearizable.
pub fn explain<M: Model>(case: &Case<M>, conviction: &Conviction, budget: Budget) -> Explanation {
    let (conviction, kept) = &in_full(case, conviction);
    let kept = kept.clone();
    let first = std::iter::once((conviction.operation, String::new()));
    let others = conviction
        .with
        .iter()
        .map(|(index, part)| (*index, part.clone()));
    let convicting: Vec<(usize, String)> = first.chain(others).collect();
    let court = Linear::new(case, conviction, &kept, &budget);
    let reduction = reduce(case, &court, kept, budget);
    let mut before: Vec<String> = conviction
        .states
        .iter()
        .take(STATES_TOLD_MAX)
        .cloned()
        .collect();
    for state in before.iter_mut().skip(1) {
        state.insert_str(0, "or ");
    }
    match conviction.states.len() + conviction.states_left - before.len() {
        0 => {}
        more => before.push(format!("or one of {more} more")),
    }
    let account = Account {
        code: "",
        name: case.property(),
        model: case.name,
        promise: match case.times {
            Times::Recorded => {
                "All operations have one order that respects time and gives every answer."
            }
            Times::Unrecorded => {
                "All operations have one order that keeps each client's and gives every answer. (No times were recorded; numbers are places in the file.)"
            }
        },
        reason: told(&conviction.reason),
        convicting: convicting
            .iter()
            .map(|(index, part)| case.convicting(*index, part))
            .collect(),
        before: before.iter().map(|state| told(state)).collect(),
        class: court.timing().map_or("", Timing::words),
        class_reason: String::new(),
        reduced: reduction
            .as_ref()
            .map(|one| case.reduced(one, &[conviction.operation])),
    };
    Explanation {
        account,
        convicting: convicting.into_iter().map(|(index, _)| index).collect(),
        reduction,
    }
}

/// Explains what of ZooKeeper's promises a history of registers breaks.
pub fn explain_zookeeper(
    case: &Case<Keyed<Register>>,
    broken: Broken,
    budget: Budget,
) -> Explanation {
    let court = Witness::new(case, broken);
    let reduction = reduce(case, &court, case.everything(), budget);
    let mut convicting: Vec<(usize, String)> = broken
        .operations
        .iter()
        .map(|index| (*index, String::new()))
        .collect();
    if let Some(source) = court.source() {
        convicting.push((source, "wrote what was read".to_owned()));
    }
    let account = Account {
        code: broken.property.code(),
        name: broken.property.name(),
        model: case.name,
        promise: meaning::promise(broken.property),
        reason: told(broken.reason),
        convicting: convicting
            .iter()
            .map(|(index, part)| case.convicting(*index, part))
            .collect(),
        before: Some(told(broken.state))
            .into_iter()
            .filter(|state| !state.is_empty())
            .collect(),
        class: meaning::class(broken.class),
        class_reason: String::new(),
        reduced: reduction
            .as_ref()
            .map(|one| case.reduced(one, broken.operations)),
    };
    Explanation {
        account,
        convicting: convicting.into_iter().map(|(index, _)| index).collect(),
        reduction,
    }
}

/// A conviction that says which states were possible, and the operations it follows from. One
/// by sorting alone says nothing of states; but the values that contradict each other do so
/// alone, too, and those few operations can be searched.
fn in_full<M: Model>(case: &Case<M>, conviction: &Conviction) -> (Conviction, Vec<u32>) {
    let as_it_is = (conviction.clone(), case.everything());
    if !conviction.states.is_empty() {
        return as_it_is;
    }
    let kin = |index: usize| {
        let operation = &case.history[index];
        let kin = case.model.kin(&operation.op, operation.outcome.as_ref())?;
        Some((case.model.key(&operation.op), kin))
    };
    let others = conviction.with.iter().map(|(index, _)| *index);
    let named = std::iter::once(conviction.operation).chain(others);
    let named: Vec<_> = named.filter_map(kin).collect();
    let mut kept = case.everything();
    kept.retain(|index| kin(*index as usize).is_some_and(|kin| named.contains(&kin)));
    let history: Vec<OperationOf<M>> = kept
        .iter()
        .map(|index| case.history[*index as usize].clone())
        .collect();
    match case.check_part(&history, &linear::Budget::default()).0 {
        Verdict::Invalid(found) if !found.states.is_empty() => {
            let whole = |index: usize| kept[index] as usize;
            let with = found.with.into_iter();
            let found = Conviction {
                operation: whole(found.operation),
                with: with.map(|(index, part)| (whole(index), part)).collect(),
                reason: format!("{}; {}", conviction.reason, found.reason),
                prefix: Vec::new(),
                ..*found
            };
            (found, kept)
        }
        _ => as_it_is,
    }
}

impl Explanation {
    /// What a page of it shows; `stage` is the history it was found in.
    pub fn scene<'a>(&'a self, stage: &'a dyn Stage) -> Scene<'a> {
        let needed = self.reduction.as_ref();
        Scene {
            account: &self.account,
            stage,
            convicting: self.convicting.clone(),
            needed: needed.map(|one| one.kept.iter().map(|index| *index as usize).collect()),
            lanes: &[],
        }
    }
}

impl<M: Model> Case<M> {
    /// Judges it, with its times or without; and how many configurations were visited.
    pub fn check(&self, budget: &linear::Budget) -> (Verdict, u64) {
        self.check_part(&self.history, budget)
    }

    /// As [`Case::check`], some of its operations.
    fn check_part(&self, history: &[OperationOf<M>], budget: &linear::Budget) -> (Verdict, u64) {
        match self.times {
            Times::Recorded => check_counted(&self.model, history, budget),
            Times::Unrecorded => check_unclocked_counted(&self.model, history, budget),
        }
    }

    /// What is judged, by name.
    pub fn property(&self) -> &'static str {
        match self.times {
            Times::Recorded => PROPERTY,
            Times::Unrecorded => PROPERTY_UNCLOCKED,
        }
    }

    /// Every operation, by index.
    fn everything(&self) -> Vec<u32> {
        (0..self.history.len() as u32).collect()
    }

    fn convicting(&self, index: usize, part: &str) -> Convicting {
        Convicting {
            deed: self.deed(index),
            part: told(part),
            right: String::new(),
        }
    }

    fn reduced(&self, reduction: &Reduction, convicting: &[usize]) -> Reduced {
        let story = reduction.kept.iter().map(|index| {
            let index = *index as usize;
            (self.deed(index), convicting.contains(&index))
        });
        Reduced {
            summary: reduction.words(self.history.len(), "operations"),
            start: None,
            story: story.collect(),
        }
    }
}

impl<M: Model> Stage for Case<M> {
    fn len(&self) -> usize {
        self.history.len()
    }

    fn span(&self, number: usize) -> (u64, u64) {
        let operation = &self.history[number];
        let from = time(operation.call);
        (from, operation.ret.map_or(from, time))
    }

    fn deed(&self, number: usize) -> Deed {
        let operation = &self.history[number];
        let outcome = operation.outcome.as_ref();
        Deed {
            kind: match operation.ret {
                None => Kind::Unanswered,
                Some(_) => Kind::Ok,
            },
            process: operation.client,
            session: 0,
            server: None,
            from: time(operation.call),
            until: operation.ret.map(time),
            zxid: self.zxids.get(number).copied().flatten(),
            what: told(&self.model.words(&operation.op, outcome)),
            told: String::new(),
            places: Places::Line(self.lines[number]),
        }
    }

    fn clock(&self) -> Clock {
        Clock::Numbers
    }
}

/// Formats give no time below 0.
fn time(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// Words from a history, on one line, cut.
fn told(text: &str) -> String {
    let text = words::plain(text);
    match text.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
