//! A text that is put or appended to.
//!
//! Answers to: Porcupine's key-value test model (get, put, append; a text starts empty).

use crate::linear::{Class, Model};
use std::sync::Arc;

/// One text; `Keyed<Text>` is a key-value store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

/// What can be asked of a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextOp {
    /// What is it?
    Get,
    /// Let it be this.
    Put(Arc<str>),
    /// Let this stand at its end.
    Append(Arc<str>),
}

/// What a text answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextOutcome {
    /// All of it.
    Text(Arc<str>),
    /// A put or an append was done.
    Done,
}

impl Model for Text {
    type Op = TextOp;
    type Outcome = TextOutcome;
    type State = Arc<str>;
    type Key = ();

    fn start(&self, _key: &()) -> Arc<str> {
        "".into()
    }

    fn step(
        &self,
        state: &Arc<str>,
        op: &TextOp,
        outcome: Option<&TextOutcome>,
    ) -> Option<Arc<str>> {
        match (op, outcome) {
            (TextOp::Get, None) => Some(state.clone()),
            (TextOp::Get, Some(TextOutcome::Text(text))) => (text == state).then(|| state.clone()),
            (TextOp::Put(text), None | Some(TextOutcome::Done)) => Some(text.clone()),
            (TextOp::Append(more), None | Some(TextOutcome::Done)) => {
                Some([&**state, &**more].concat().into())
            }
            (TextOp::Get, Some(TextOutcome::Done))
            | (TextOp::Put(_) | TextOp::Append(_), Some(TextOutcome::Text(_))) => None,
        }
    }

    fn key(&self, _op: &TextOp) {}

    fn class(&self, op: &TextOp, outcome: Option<&TextOutcome>) -> Class {
        match (op, outcome) {
            (TextOp::Get, _) => Class::ReadOnly,
            (TextOp::Put(_), None | Some(TextOutcome::Done)) => Class::Overwrite,
            (TextOp::Put(_) | TextOp::Append(_), _) => Class::Update,
        }
    }

    fn words(&self, op: &TextOp, outcome: Option<&TextOutcome>) -> String {
        match (op, outcome) {
            (TextOp::Get, Some(TextOutcome::Text(text))) => format!("get -> {text:?}"),
            (TextOp::Get, _) => "get -> never learned".to_owned(),
            (TextOp::Put(text), _) => format!("put {text:?}{}", unlearned(outcome)),
            (TextOp::Append(more), _) => format!("append {more:?}{}", unlearned(outcome)),
        }
    }

    fn state_words(&self, state: &Arc<str>) -> String {
        format!("the text {state:?}")
    }

    fn key_words(&self, _key: &()) -> String {
        String::new()
    }
}

fn unlearned(outcome: Option<&TextOutcome>) -> &'static str {
    match outcome {
        Some(_) => "",
        None => " -> never learned",
    }
}
