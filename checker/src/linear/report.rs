//! What a check of linearizability says.
//!
//! Answers to: `consistency.md` 3.5; the certificate of a valid history is Herlihy and
//! Wing's witness, with a point in time for every operation.

use super::{Model, OperationOf};

/// The property that is judged here, by name.
pub const PROPERTY: &str = "linearizability";

/// What is judged where no times were recorded, by name.
pub const PROPERTY_UNCLOCKED: &str = "sequential consistency";

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Linearizable: here is an order, and it has been replayed.
    Valid(Order),
    /// Not linearizable.
    Invalid(Box<Conviction>),
    /// Not decided: the budget that ran out, in words.
    Unknown(String),
    /// No history: an operation contradicts itself.
    Malformed {
        /// Index of the operation.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Verdict {
    /// One word: `valid`, `invalid`, `unknown`, `malformed`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Valid(_) => "valid",
            Verdict::Invalid(_) => "invalid",
            Verdict::Unknown(_) => "unknown",
            Verdict::Malformed { .. } => "malformed",
        }
    }
}

/// An order that explains a history: the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    operations: Vec<u32>,
    /// Per operation of the order, a time within its interval at which it may have happened.
    points: Vec<i64>,
    /// Configurations that the search visited; 0 where none was needed.
    pub visited: u64,
    /// The most configurations that were alive at once.
    pub alive_max: usize,
}

impl Order {
    /// An order of operations of one object.
    pub(super) fn new<M: Model>(history: &[OperationOf<M>], operations: Vec<u32>) -> Self {
        let mut latest = i64::MIN;
        let point = |index: &u32| {
            latest = latest.max(history[*index as usize].call);
            latest
        };
        let points = operations.iter().map(point).collect();
        Order {
            operations,
            points,
            visited: 0,
            alive_max: 0,
        }
    }

    /// Indices into the history, in an order that explains it. Unanswered operations that
    /// nobody needs are left out.
    pub fn operations(&self) -> &[u32] {
        &self.operations
    }

    /// Adds the order of another object.
    pub(super) fn join(&mut self, other: Order) {
        self.operations.extend(other.operations);
        self.points.extend(other.points);
        self.alive_max = self.alive_max.max(other.alive_max);
    }

    /// Makes the orders of several objects one. (Locality: the points never fall within one
    /// object's order, and every point lies in its operation's interval.)
    pub(super) fn merge(&mut self) {
        if self.points.is_sorted() {
            return;
        }
        let mut places: Vec<u32> = (0..self.points.len() as u32).collect();
        places.sort_by_key(|place| self.points[*place as usize]);
        self.operations = places
            .iter()
            .map(|place| self.operations[*place as usize])
            .collect();
        self.points = places
            .iter()
            .map(|place| self.points[*place as usize])
            .collect();
    }
}

/// Why a history is not linearizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conviction {
    /// Index of the operation that nothing explains: the earliest return at which every
    /// possible order has failed.
    pub operation: usize,
    /// Other operations that take part in the contradiction, with the part they play.
    pub with: Vec<(usize, String)>,
    /// The object, in words; empty if there is only one.
    pub key: String,
    /// Why, in words: what was asked and answered, and what the model would have allowed.
    pub reason: String,
    /// The states that the object can have been in just before, in words; the first
    /// [`STATES_KEPT_MAX`] of them.
    pub states: Vec<String>,
    /// How many more there were.
    pub states_left: usize,
    /// The longest prefix of the history (by time of return) that is linearizable: an order
    /// that explains it. It may use operations of the object that return later.
    pub prefix: Vec<u32>,
    /// How many operations of the object had returned by then, where the search got there.
    pub returned: Option<usize>,
}

/// How many states a conviction holds.
pub(super) const STATES_KEPT_MAX: usize = 256;

/// How many states a conviction tells.
const STATES_TOLD_MAX: usize = 8;

impl Conviction {
    /// The states before as they are told: the first few, and how many more there were.
    pub fn states_told(&self) -> Vec<String> {
        let told = self.states.iter().take(STATES_TOLD_MAX).cloned();
        let mut told: Vec<String> = told.collect();
        match self.states.len() - told.len() + self.states_left {
            0 => {}
            more => told.push(format!("and {more} more")),
        }
        told
    }

    /// A conviction by operations that contradict each other, with no prefix.
    pub(super) fn brief(operations: &[u32], key: String, reason: &str) -> Self {
        let operations = operations.iter();
        let operations = operations.map(|at| (*at, "contradicts it".to_owned()));
        Conviction::sorted(operations.collect(), key, reason.to_owned())
    }

    /// As [`Conviction::brief`], with the part that each of the others plays.
    pub(super) fn sorted(operations: Vec<(u32, String)>, key: String, reason: String) -> Self {
        let mut operations = operations.into_iter();
        let (first, _) = operations.next().expect("somebody contradicts");
        Conviction {
            operation: first as usize,
            with: operations.map(|(at, part)| (at as usize, part)).collect(),
            key,
            reason,
            states: Vec::new(),
            states_left: 0,
            prefix: Vec::new(),
            returned: None,
        }
    }
}
