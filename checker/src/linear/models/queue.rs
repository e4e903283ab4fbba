//! A queue: first in, first out.
//!
//! Answers to: Knossos' `fifo-queue` model.

use super::{Symbol, Symbols};
use crate::linear::{Class, Model};
use std::collections::VecDeque;
use std::sync::Arc;

/// One queue, empty at the start.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// Names of the elements, for words.
    pub symbols: Arc<Symbols>,
}

/// What can be asked of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueOp {
    /// Let this be its last element.
    Enqueue(Symbol),
    /// Give its first element.
    Dequeue,
}

/// What a queue answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueOutcome {
    /// An element was enqueued.
    Done,
    /// This was the first element; it is gone now.
    Element(Symbol),
    /// There was none.
    Empty,
}

impl Model for Queue {
    type Op = QueueOp;
    type Outcome = QueueOutcome;
    type State = VecDeque<Symbol>;
    type Key = ();

    fn start(&self, _key: &()) -> VecDeque<Symbol> {
        VecDeque::new()
    }

    fn step(
        &self,
        state: &VecDeque<Symbol>,
        op: &QueueOp,
        outcome: Option<&QueueOutcome>,
    ) -> Option<VecDeque<Symbol>> {
        let fits = match (op, outcome) {
            (_, None) | (QueueOp::Enqueue(_), Some(QueueOutcome::Done)) => true,
            (QueueOp::Dequeue, Some(QueueOutcome::Element(first))) => state.front() == Some(first),
            (QueueOp::Dequeue, Some(QueueOutcome::Empty)) => state.is_empty(),
            (QueueOp::Dequeue, Some(QueueOutcome::Done))
            | (QueueOp::Enqueue(_), Some(QueueOutcome::Element(_) | QueueOutcome::Empty)) => false,
        };
        fits.then(|| {
            let mut after = state.clone();
            match op {
                QueueOp::Enqueue(last) => after.push_back(*last),
                QueueOp::Dequeue => drop(after.pop_front()),
            }
            after
        })
    }

    fn key(&self, _op: &QueueOp) {}

    fn class(&self, op: &QueueOp, outcome: Option<&QueueOutcome>) -> Class {
        match (op, outcome) {
            (QueueOp::Dequeue, Some(QueueOutcome::Empty)) => Class::ReadOnly,
            (QueueOp::Enqueue(_) | QueueOp::Dequeue, _) => Class::Update,
        }
    }

    fn kin(&self, op: &QueueOp, outcome: Option<&QueueOutcome>) -> Option<u64> {
        match (op, outcome) {
            (QueueOp::Enqueue(element), _)
            | (QueueOp::Dequeue, Some(QueueOutcome::Element(element))) => {
                Some(u64::from(element.0))
            }
            (QueueOp::Dequeue, Some(QueueOutcome::Done | QueueOutcome::Empty) | None) => None,
        }
    }

    fn words(&self, op: &QueueOp, outcome: Option<&QueueOutcome>) -> String {
        let asked = match op {
            QueueOp::Enqueue(last) => format!("enqueue {}", self.symbols.name(*last)),
            QueueOp::Dequeue => "dequeue".to_owned(),
        };
        match outcome {
            None => format!("{asked} -> never learned"),
            Some(QueueOutcome::Done) => asked,
            Some(QueueOutcome::Element(first)) => {
                format!("{asked} -> {}", self.symbols.name(*first))
            }
            Some(QueueOutcome::Empty) => format!("{asked} -> empty"),
        }
    }

    fn state_words(&self, state: &VecDeque<Symbol>) -> String {
        const TOLD_MAX: usize = 8;
        let names = state
            .iter()
            .take(TOLD_MAX)
            .map(|element| self.symbols.name(*element));
        let names = names.collect::<Vec<_>>().join(" ");
        format!(
            "a queue of {} [{names}{}]",
            state.len(),
            if state.len() > TOLD_MAX { " ..." } else { "" }
        )
    }

    fn key_words(&self, _key: &()) -> String {
        String::new()
    }
}
