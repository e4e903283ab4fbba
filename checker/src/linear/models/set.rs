//! A set.
//!
//! Answers to: Jepsen's `set` workload (add, read all) and Knossos' `set` model.

use super::{Symbol, Symbols};
use crate::linear::{Class, Model};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One set, empty at the start.
#[derive(Debug, Clone, Default)]
pub struct Set {
    /// Names of the elements, for words.
    pub symbols: Arc<Symbols>,
}

/// What can be asked of a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SetOp {
    /// Let this be in it.
    Add(Symbol),
    /// Let this not be in it.
    Remove(Symbol),
    /// Is this in it?
    Contains(Symbol),
    /// What is in it?
    Read,
}

/// What a set answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SetOutcome {
    /// An addition or removal was done, whatever was there before.
    Done,
    /// An addition or removal told whether it changed anything; or whether the element is in.
    Told(bool),
    /// All elements.
    Elements(BTreeSet<Symbol>),
    /// A list of elements in which this one stands twice: no set.
    Repeated(Symbol),
}

impl Model for Set {
    type Op = SetOp;
    type Outcome = SetOutcome;
    type State = BTreeSet<Symbol>;
    type Key = ();

    fn start(&self, _key: &()) -> BTreeSet<Symbol> {
        BTreeSet::new()
    }

    fn step(
        &self,
        state: &BTreeSet<Symbol>,
        op: &SetOp,
        outcome: Option<&SetOutcome>,
    ) -> Option<BTreeSet<Symbol>> {
        let mut after = state.clone();
        let answer = match op {
            SetOp::Add(element) => Some(after.insert(*element)),
            SetOp::Remove(element) => Some(after.remove(element)),
            SetOp::Contains(element) => Some(state.contains(element)),
            SetOp::Read => None,
        };
        let fits = match (op, outcome) {
            (_, None) => true,
            (SetOp::Add(_) | SetOp::Remove(_), Some(SetOutcome::Done)) => true,
            (_, Some(SetOutcome::Told(told))) => answer == Some(*told),
            (SetOp::Read, Some(SetOutcome::Elements(elements))) => elements == state,
            (SetOp::Contains(_) | SetOp::Read, Some(SetOutcome::Done)) => false,
            (_, Some(SetOutcome::Elements(_) | SetOutcome::Repeated(_))) => false,
        };
        fits.then_some(after)
    }

    fn key(&self, _op: &SetOp) {}

    fn class(&self, op: &SetOp, outcome: Option<&SetOutcome>) -> Class {
        match (op, outcome) {
            (SetOp::Contains(_) | SetOp::Read, _) => Class::ReadOnly,
            (SetOp::Add(_) | SetOp::Remove(_), Some(SetOutcome::Told(false))) => Class::ReadOnly,
            (SetOp::Add(_) | SetOp::Remove(_), _) => Class::Update,
        }
    }

    fn kin(&self, op: &SetOp, _outcome: Option<&SetOutcome>) -> Option<u64> {
        match op {
            SetOp::Add(element) | SetOp::Remove(element) | SetOp::Contains(element) => {
                Some(u64::from(element.0))
            }
            SetOp::Read => None,
        }
    }

    fn words(&self, op: &SetOp, outcome: Option<&SetOutcome>) -> String {
        let asked = match op {
            SetOp::Add(element) => format!("add {}", self.symbols.name(*element)),
            SetOp::Remove(element) => format!("remove {}", self.symbols.name(*element)),
            SetOp::Contains(element) => format!("contains {}?", self.symbols.name(*element)),
            SetOp::Read => "read".to_owned(),
        };
        match outcome {
            None => format!("{asked} -> never learned"),
            Some(SetOutcome::Done) => asked,
            Some(SetOutcome::Repeated(element)) => {
                format!("{asked} -> {} twice", self.symbols.name(*element))
            }
            Some(SetOutcome::Told(told)) => format!("{asked} -> {told}"),
            Some(SetOutcome::Elements(elements)) => format!("{asked} -> {}", self.list(elements)),
        }
    }

    fn state_words(&self, state: &BTreeSet<Symbol>) -> String {
        format!("the elements {}", self.list(state))
    }

    fn key_words(&self, _key: &()) -> String {
        String::new()
    }
}

impl Set {
    /// How many elements are named before the rest is counted.
    const TOLD_MAX: usize = 20;

    fn list(&self, elements: &BTreeSet<Symbol>) -> String {
        let names = elements
            .iter()
            .take(Self::TOLD_MAX)
            .map(|element| self.symbols.name(*element));
        let names = names.collect::<Vec<_>>().join(" ");
        match elements.len() {
            0..=Self::TOLD_MAX => format!("{{{names}}}"),
            more => format!("{{{names} and {} more}}", more - Self::TOLD_MAX),
        }
    }
}
