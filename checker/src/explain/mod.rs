//! What a failure tells: the property and what it promises, the records that convict, the
//! state before, what would have been right, and a small history that fails the same way.
//!
//! | room | holds |
//! |---|---|
//! | `words` | a record as a sentence |
//! | `meaning` | properties and classes for somebody who meets them first here |
//! | `deed` | a request with its answer as one thing |
//! | `account` | a failure as it is told, whoever judged it |
//! | `units`, `thin`, `reduce` | leaving out what does not matter |
//! | `state` | the tree at a place of the order |
//! | `stage`, `timeline` | a page with a picture of the time around it |
//! | `operations` | the same for histories of operations on a model: registers, queues, locks |
//!
//! What it is not: a judgement. It takes a verdict as given and never changes it.
//!
//! Answers to: `consistency.md` 3.5.

mod account;
mod deed;
pub mod meaning;
pub mod operations;
mod reduce;
mod stage;
mod state;
mod thin;
pub mod timeline;
mod units;
pub mod words;

pub use account::{Account, Convicting, Reduced};
pub use deed::{Clock, Deed, Kind, Places};
pub use reduce::{Budget, Reduction, Spent, reduce};
pub use stage::Stage;

use crate::history::{ErrorCode, History, Start};
use crate::verdict::{Property, Violation};
use crate::walk::Options;
use std::fmt;

/// A violation, explained.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What was found.
    pub violation: Violation,
    /// What convicts, a request with its answer as one.
    pub convicting: Vec<Deed>,
    /// For reads among those: which, and what would have been right.
    pub right: Vec<(usize, String)>,
    /// How many records the history has.
    pub records: usize,
    /// A smaller history that convicts the same way; None if none was found.
    pub reduction: Option<Reduction>,
}

/// Explains a violation found in a history under these options.
pub fn explain(
    history: &History,
    options: &Options,
    violation: &Violation,
    budget: Budget,
) -> Explanation {
    let convicts = |record: u32| {
        let found = violation.records.iter();
        found.clone().any(|(index, _)| *index == record as usize)
    };
    let mut units = units::cut(history);
    units.retain(|unit| unit.records().any(convicts));
    let right = units.iter().enumerate().filter_map(|(index, unit)| {
        let right = match violation.property {
            // The tree would have told what it may not: it is asked nothing of rights.
            Property::AccessControl if state::was_granted(history, unit) => {
                Some(ErrorCode::NO_AUTH.to_string())
            }
            _ => state::right_answer(history, options, unit),
        };
        right
            .filter(|_| !violation.state_before.is_empty())
            .map(|right| (index, right))
    });
    Explanation {
        violation: violation.clone(),
        right: right.collect(),
        convicting: units.iter().map(|unit| Deed::of(history, unit)).collect(),
        records: history.records.len(),
        reduction: reduce(history, options, violation, budget),
    }
}

impl Explanation {
    /// As it is told.
    pub fn account(&self) -> Account {
        let violation = &self.violation;
        let right = |index: usize| {
            let mut right = self.right.iter().filter(|(which, _)| *which == index);
            right
                .next()
                .map_or(String::new(), |(_, right)| right.clone())
        };
        let convicting = self.convicting.iter().enumerate();
        let convicting = convicting.map(|(index, deed)| Convicting {
            deed: deed.clone(),
            part: String::new(),
            right: right(index),
        });
        let before = words::plain(&violation.state_before);
        let before = before.split("; ").filter(|part| !part.is_empty());
        Account {
            code: violation.property.code(),
            name: violation.property.name(),
            model: "",
            promise: meaning::promise(violation.property),
            reason: words::plain(&violation.reason),
            convicting: convicting.collect(),
            before: before.map(str::to_string).collect(),
            class: meaning::class(violation.class),
            class_reason: words::plain(&violation.class_reason),
            reduced: self.reduction.as_ref().map(|one| self.reduced(one)),
        }
    }

    fn reduced(&self, reduction: &Reduction) -> Reduced {
        let how = Spent::words(reduction.spent);
        let left = &reduction.history;
        let convicts = |deed: &Deed| {
            let mut records = reduction.violation.records.iter();
            records.any(|(index, _)| deed.records().contains(index))
        };
        Reduced {
            summary: format!(
                "{} of {} records convict the same way ({} judgements; {how})",
                left.records.len(),
                self.records,
                reduction.judgements
            ),
            start: match &left.header.start {
                Start::Fresh => None,
                Start::Nodes { zxid, nodes } => {
                    Some((*zxid, nodes.iter().map(words::node).collect()))
                }
            },
            story: Deed::all(left)
                .into_iter()
                .map(|deed| (deed.clone(), convicts(&deed)))
                .collect(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account().fmt(f)
    }
}
