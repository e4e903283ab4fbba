//! What a failure tells: the property and what it promises, the records that convict, the
//! state before, what would have been right, and a small history that fails the same way.
//!
//! | room | holds |
//! |---|---|
//! | `words` | a record as a sentence |
//! | `meaning` | properties and classes for somebody who meets them first here |
//! | `deed` | a request with its answer as one thing |
//! | `units`, `reduce` | leaving out what does not matter |
//! | `state` | the tree at a place of the order |
//! | `window`, `timeline` | a page with a picture of the time around it |
//!
//! What it is not: a judgement. It takes a verdict as given and never changes it.
//!
//! Answers to: `consistency.md` 3.5.

mod deed;
pub mod meaning;
mod reduce;
mod state;
pub mod timeline;
mod units;
mod window;
pub mod words;

pub use deed::{Deed, Kind};
pub use reduce::{Budget, Reduction, reduce};

use crate::history::{History, Start};
use crate::verdict::Violation;
use crate::walk::Options;
use std::fmt;

/// Most things of a reduced history that are told one by one.
const STORY_MAX: usize = 40;
/// Most nodes of a start state that are told one by one.
const NODES_MAX: usize = 12;

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
        let right = state::right_answer(history, options, unit);
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
    /// How much smaller the reduced history is, if there is one.
    pub fn reduced_in_words(&self) -> Option<String> {
        let reduction = self.reduction.as_ref()?;
        let how = match reduction.minimal {
            true => "nothing more can be left out",
            false => "the budget ran out, more might go",
        };
        Some(format!(
            "{} of {} records convict the same way ({} judgements; {how})",
            reduction.history.records.len(),
            self.records,
            reduction.judgements
        ))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let violation = &self.violation;
        let property = violation.property;
        writeln!(f, "invalid: {} {}", property.code(), property.name())?;
        writeln!(f, "  {}", meaning::promise(property))?;
        writeln!(f, "\n  found     {}", words::plain(&violation.reason))?;
        for (index, deed) in self.convicting.iter().enumerate() {
            let title = if index == 0 { "convicts" } else { "" };
            writeln!(f, "  {title:<9} {}: {}", deed.who(), deed.what)?;
            if !deed.told.is_empty() {
                writeln!(f, "            → {}", deed.told)?;
            }
            writeln!(f, "              {} ({})", deed.when(), deed.places())?;
            for (_, right) in self.right.iter().filter(|(which, _)| *which == index) {
                writeln!(f, "            right would have been: {right}")?;
            }
        }
        if !violation.state_before.is_empty() {
            writeln!(f, "  before    {}", words::plain(&violation.state_before))?;
        }
        write!(f, "  class     {}", meaning::class(violation.class))?;
        match &self.reduction {
            Some(reduction) => {
                let summary = self.reduced_in_words().unwrap_or_default();
                write!(f, "\n\n  reduced   {summary}")?;
                tell(f, &reduction.history)
            }
            None => Ok(()),
        }
    }
}

/// The reduced history, told.
fn tell(f: &mut fmt::Formatter<'_>, reduced: &History) -> fmt::Result {
    if let Start::Nodes { zxid, nodes } = &reduced.header.start {
        write!(
            f,
            "\n    start at zxid {zxid:#x} with {} nodes",
            nodes.len()
        )?;
        for node in nodes.iter().take(NODES_MAX) {
            write!(f, "\n      {}", words::node(node))?;
        }
    }
    let story = Deed::all(reduced);
    for deed in story.iter().take(STORY_MAX) {
        write!(f, "\n    {}: {}: {}", deed.when(), deed.who(), deed.what)?;
        if !deed.told.is_empty() {
            write!(f, " → {}", deed.told)?;
        }
    }
    if story.len() > STORY_MAX {
        write!(f, "\n    and {} more", story.len() - STORY_MAX)?;
    }
    Ok(())
}
