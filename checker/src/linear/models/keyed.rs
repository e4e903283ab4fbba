//! Many objects of one kind, by key.

use super::{NIL, Symbol, Symbols};
use crate::linear::{Access, Class, Model};
use std::sync::Arc;

/// A map of objects, each judged apart. Requests are `(key, request)`; the
/// key nil is not mentioned in words.
#[derive(Debug, Clone)]
pub struct Keyed<M> {
    /// What stands behind each key.
    pub model: M,
    /// Names of the keys, for words.
    pub symbols: Arc<Symbols>,
}

impl<M: Model<Key = ()>> Model for Keyed<M> {
    type Op = (Symbol, M::Op);
    type Outcome = M::Outcome;
    type State = M::State;
    type Key = Symbol;

    fn start(&self, _key: &Symbol) -> M::State {
        self.model.start(&())
    }

    fn step(
        &self,
        state: &M::State,
        op: &(Symbol, M::Op),
        outcome: Option<&M::Outcome>,
    ) -> Option<M::State> {
        self.model.step(state, &op.1, outcome)
    }

    fn key(&self, op: &(Symbol, M::Op)) -> Symbol {
        op.0
    }

    fn class(&self, op: &(Symbol, M::Op), outcome: Option<&M::Outcome>) -> Class {
        self.model.class(&op.1, outcome)
    }

    fn access(&self, op: &(Symbol, M::Op), outcome: Option<&M::Outcome>) -> Option<Access> {
        self.model.access(&op.1, outcome)
    }

    fn kin(&self, op: &(Symbol, M::Op), outcome: Option<&M::Outcome>) -> Option<u64> {
        self.model.kin(&op.1, outcome)
    }

    fn words(&self, op: &(Symbol, M::Op), outcome: Option<&M::Outcome>) -> String {
        let words = self.model.words(&op.1, outcome);
        match op.0 {
            NIL => words,
            key => format!("{}: {words}", self.symbols.name(key)),
        }
    }

    fn state_words(&self, state: &M::State) -> String {
        self.model.state_words(state)
    }

    fn key_words(&self, key: &Symbol) -> String {
        match *key {
            NIL => String::new(),
            key => format!("key {}", self.symbols.name(key)),
        }
    }
}
