//! A lock.
//!
//! Answers to: Knossos' `mutex` model. Who holds it is not part of the state, as there: a
//! lock that is released by somebody else is another property.

use crate::linear::{Class, Model};

/// One lock, free at the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mutex;

/// What can be asked of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MutexOp {
    /// Take it.
    Acquire,
    /// Give it back.
    Release,
}

impl Model for Mutex {
    type Op = MutexOp;
    /// Whether it was taken or given back. (What failed had no effect and says that the
    /// lock was taken, or free.)
    type Outcome = bool;
    /// Whether somebody holds it.
    type State = bool;
    type Key = ();

    fn start(&self, _key: &()) -> bool {
        false
    }

    fn step(&self, held: &bool, op: &MutexOp, outcome: Option<&bool>) -> Option<bool> {
        let wanted = match op {
            MutexOp::Acquire => true,
            MutexOp::Release => false,
        };
        let works = *held != wanted;
        match outcome {
            Some(worked) => (*worked == works).then_some(if works { wanted } else { *held }),
            None => Some(if works { wanted } else { *held }),
        }
    }

    fn key(&self, _op: &MutexOp) {}

    fn class(&self, _op: &MutexOp, outcome: Option<&bool>) -> Class {
        match outcome {
            Some(false) => Class::ReadOnly,
            Some(true) => Class::Update,
            // Whatever it found, the lock is held (or free) afterwards.
            None => Class::Overwrite,
        }
    }

    fn words(&self, op: &MutexOp, outcome: Option<&bool>) -> String {
        let asked = match op {
            MutexOp::Acquire => "acquire",
            MutexOp::Release => "release",
        };
        match outcome {
            Some(true) => asked.to_owned(),
            Some(false) => format!("{asked} -> refused"),
            None => format!("{asked} -> never learned"),
        }
    }

    fn state_words(&self, held: &bool) -> String {
        match held {
            true => "the lock held".to_owned(),
            false => "the lock free".to_owned(),
        }
    }

    fn key_words(&self, _key: &()) -> String {
        String::new()
    }
}
