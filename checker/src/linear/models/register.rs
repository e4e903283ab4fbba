//! A register with compare-and-set.
//!
//! Answers to: Jepsen's and Knossos' `cas-register`.

use super::{NIL, Symbol, Symbols};
use crate::linear::{Access, Class, Model};
use std::sync::Arc;

/// One register; [`Keyed`](super::Keyed) makes it a map of registers.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// Names of the values, for words.
    pub symbols: Arc<Symbols>,
}

/// What can be asked of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterOp {
    /// What is the value?
    Read,
    /// Let this be the value.
    Write(Symbol),
    /// If the first is the value, let the second be.
    Cas(Symbol, Symbol),
}

/// What a register answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterOutcome {
    /// A read's value.
    Value(Symbol),
    /// A write was done.
    Done,
    /// Whether a compare-and-set found its value (and replaced it).
    Swapped(bool),
}

impl Model for Register {
    type Op = RegisterOp;
    type Outcome = RegisterOutcome;
    type State = Symbol;
    type Key = ();

    fn start(&self, _key: &()) -> Symbol {
        NIL
    }

    fn step(
        &self,
        state: &Symbol,
        op: &RegisterOp,
        outcome: Option<&RegisterOutcome>,
    ) -> Option<Symbol> {
        match (*op, outcome) {
            (RegisterOp::Read, None) => Some(*state),
            (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => {
                (value == state).then_some(*state)
            }
            (RegisterOp::Write(value), None | Some(RegisterOutcome::Done)) => Some(value),
            (RegisterOp::Cas(from, to), None) => Some(if from == *state { to } else { *state }),
            (RegisterOp::Cas(from, to), Some(RegisterOutcome::Swapped(true))) => {
                (from == *state).then_some(to)
            }
            (RegisterOp::Cas(from, _), Some(RegisterOutcome::Swapped(false))) => {
                (from != *state).then_some(*state)
            }
            // An answer to another question.
            (RegisterOp::Read, Some(RegisterOutcome::Done | RegisterOutcome::Swapped(_)))
            | (
                RegisterOp::Write(_),
                Some(RegisterOutcome::Value(_) | RegisterOutcome::Swapped(_)),
            )
            | (RegisterOp::Cas(..), Some(RegisterOutcome::Value(_) | RegisterOutcome::Done)) => {
                None
            }
        }
    }

    fn key(&self, _op: &RegisterOp) {}

    fn class(&self, op: &RegisterOp, outcome: Option<&RegisterOutcome>) -> Class {
        match (op, outcome) {
            (RegisterOp::Read, _)
            | (RegisterOp::Cas(..), Some(RegisterOutcome::Swapped(false))) => Class::ReadOnly,
            (RegisterOp::Cas(from, to), _) if from == to => Class::ReadOnly,
            (RegisterOp::Write(_), None | Some(RegisterOutcome::Done)) => Class::Overwrite,
            (RegisterOp::Write(_) | RegisterOp::Cas(..), _) => Class::Update,
        }
    }

    fn access(&self, op: &RegisterOp, outcome: Option<&RegisterOutcome>) -> Option<Access> {
        match (op, outcome) {
            (RegisterOp::Read, None) => Some(Access::Nothing),
            (RegisterOp::Read, Some(RegisterOutcome::Value(NIL))) => Some(Access::ReadStart),
            (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => {
                Some(Access::Read(u64::from(value.0)))
            }
            // It cannot be told from the start.
            (RegisterOp::Write(NIL), _) => None,
            (RegisterOp::Write(value), None | Some(RegisterOutcome::Done)) => {
                Some(Access::Write(u64::from(value.0)))
            }
            (RegisterOp::Read | RegisterOp::Write(_) | RegisterOp::Cas(..), _) => None,
        }
    }

    fn kin(&self, op: &RegisterOp, outcome: Option<&RegisterOutcome>) -> Option<u64> {
        match (op, outcome) {
            (RegisterOp::Cas(..), Some(RegisterOutcome::Swapped(false))) => None,
            // What was put there and what took it away.
            (RegisterOp::Write(value) | RegisterOp::Cas(value, _), _)
            | (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => Some(u64::from(value.0)),
            (RegisterOp::Read, _) => None,
        }
    }

    fn words(&self, op: &RegisterOp, outcome: Option<&RegisterOutcome>) -> String {
        let name = |symbol: &Symbol| self.symbols.name(*symbol);
        let asked = match op {
            RegisterOp::Read => "read".to_owned(),
            RegisterOp::Write(value) => format!("write {}", name(value)),
            RegisterOp::Cas(from, to) => format!("compare-and-set {} to {}", name(from), name(to)),
        };
        match outcome {
            Some(RegisterOutcome::Value(value)) => format!("{asked} -> {}", name(value)),
            Some(RegisterOutcome::Done) => format!("{asked} -> done"),
            Some(RegisterOutcome::Swapped(true)) => format!("{asked} -> swapped"),
            Some(RegisterOutcome::Swapped(false)) => format!("{asked} -> refused"),
            None => format!("{asked} -> never learned"),
        }
    }

    fn state_words(&self, state: &Symbol) -> String {
        format!("the value {}", self.symbols.name(*state))
    }

    fn key_words(&self, _key: &()) -> String {
        String::new()
    }
}
