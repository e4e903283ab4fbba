//! Registers with zxids, judged by ZooKeeper's promises: writes are linearizable, reads may
//! lag but never go back.
//!
//! The zxids propose the order, and here it is tried in one pass: `W1`, `W2`, `W3` for the
//! transactions (writes and compare-and-sets, refused ones too), `R1`, `R2`, `R3` for the
//! reads, a client being a session. Operations without a zxid are placed by search between
//! those that have one, in the time that the zxids make (`place`).
//!
//! What always holds: accepting needs no trust in the zxids, since the order they propose is
//! checked against times and values that clients saw; rejecting means that this order is
//! wrong, and the class says whether another one could be right.
//!
//! Not here: znodes, sessions, watches: the walk over a ZooKeeper history is another room.
//!
//! Answers to: `consistency.md` 3.1, 3.2 (steps 1 to 4, and *unanswered*).

mod class;
mod place;
mod skeleton;
mod together;

use super::models::{Keyed, NIL, Register, RegisterOp, RegisterOutcome, Symbol};
use super::{Budget, Model, OperationOf};
use crate::verdict::{Class, Property};
use class::Suspect;
use rustc_hash::FxHashMap;
use std::cell::Cell;

/// An operation of a map of registers.
type Op = OperationOf<Keyed<Register>>;

/// What ZooKeeper's promises say of a history of registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnessed {
    /// The order that the zxids propose explains everything; reads stand where they read.
    Valid(Vec<u32>),
    /// It does not.
    Invalid {
        /// What is broken.
        property: Property,
        /// Whether any order could explain the history.
        class: Class,
        /// Why, in words.
        reason: String,
        /// Convicting operations, by index, the one that convicts first.
        operations: Vec<usize>,
        /// The state before, in words; empty where none matters.
        state: String,
    },
    /// Not decided, and why.
    Unknown(String),
}

/// A broken promise, its class not yet known.
struct Broken {
    property: Property,
    reason: String,
    operations: Vec<usize>,
    state: String,
}

impl Broken {
    fn new(property: Property, operations: &[usize], reason: impl Into<String>) -> Box<Self> {
        let (operations, state) = (operations.to_vec(), String::new());
        Box::new(Broken {
            property,
            reason: reason.into(),
            operations,
            state,
        })
    }
}

/// Why the zxids' order was not accepted.
enum Refused {
    Broken(Box<Broken>),
    Unknown(String),
}

impl From<Box<Broken>> for Refused {
    fn from(broken: Box<Broken>) -> Self {
        Refused::Broken(broken)
    }
}

/// Judges `history`, whose operations carry `zxids` (`None`: never learned).
///
/// # Panics
/// If there are not as many zxids as operations.
pub fn check_zookeeper(
    model: &Keyed<Register>,
    history: &[Op],
    zxids: &[Option<i64>],
    budget: &Budget,
) -> Witnessed {
    let (mut witnessed, _) = check_zookeeper_counted(model, history, zxids, budget);
    if let Witnessed::Invalid {
        class, operations, ..
    } = &mut witnessed
    {
        *class = Suspect::new(model, history, zxids, operations, budget).class();
    }
    witnessed
}

/// As [`check_zookeeper`], but leaves the class undetermined; and how many configurations were
/// visited.
pub(crate) fn check_zookeeper_counted(
    model: &Keyed<Register>,
    history: &[Op],
    zxids: &[Option<i64>],
    budget: &Budget,
) -> (Witnessed, u64) {
    assert_eq!(history.len(), zxids.len(), "one zxid an operation");
    let walk = Walk {
        model,
        history,
        zxids,
        budget,
        visited: Cell::new(0),
    };
    let witnessed = match walk.run() {
        Ok(order) => Witnessed::Valid(order),
        Err(Refused::Unknown(reason)) => Witnessed::Unknown(reason),
        Err(Refused::Broken(broken)) => Witnessed::Invalid {
            class: Class::Undetermined,
            property: broken.property,
            reason: broken.reason,
            operations: broken.operations,
            state: broken.state,
        },
    };
    (witnessed, walk.visited.get())
}

fn is_transaction(operation: &Op) -> bool {
    match operation.op.1 {
        RegisterOp::Write(_) | RegisterOp::Cas(..) => true,
        RegisterOp::Read => false,
    }
}

fn is_refused(operation: &Op) -> bool {
    operation.outcome == Some(RegisterOutcome::Swapped(false))
}

/// Whether it is a transaction that was not refused. (A refused one has a zxid of its own in
/// ZooKeeper. A recorder that reports the zxid of the state it saw instead is understood, too:
/// there is no harm in that, because its place in time is judged all the same.)
fn is_effective(operation: &Op) -> bool {
    is_transaction(operation) && !is_refused(operation)
}

/// The one pass.
struct Walk<'a> {
    model: &'a Keyed<Register>,
    history: &'a [Op],
    zxids: &'a [Option<i64>],
    budget: &'a Budget,
    /// Configurations that the search has visited.
    visited: Cell<u64>,
}

impl Walk<'_> {
    fn run(&self) -> Result<Vec<u32>, Refused> {
        let order = self.proposed();
        self.unique(&order)?;
        self.real_time(&order)?;
        self.sessions()?;
        let loose = self.loose();
        match loose.is_empty() {
            true => {
                self.replay(&order)?;
                Ok(order)
            }
            false => self.place(order, loose),
        }
    }

    /// Everything answered with a zxid, in the zxids' order: at one zxid the transaction that
    /// took effect first, then what only looks there as it was called. (What was refused may
    /// carry the zxid of the state that it saw, which others saw before it.)
    fn proposed(&self) -> Vec<u32> {
        let answered = |index: &u32| {
            self.history[*index as usize].ret.is_some() && self.zxids[*index as usize].is_some()
        };
        let mut order: Vec<u32> = (0..self.history.len() as u32).filter(answered).collect();
        order.sort_by_key(|index| (self.place_of(*index), self.op(*index).call));
        order
    }

    /// The zxid of an operation that has one.
    fn zxid(&self, index: u32) -> i64 {
        self.zxids[index as usize].expect("asked of operations with a zxid")
    }

    /// Where it stands among all zxids: what only looks at a zxid stands behind the
    /// transaction that made it.
    fn place_of(&self, index: u32) -> i128 {
        2 * i128::from(self.zxid(index)) + i128::from(!is_effective(self.op(index)))
    }

    fn op(&self, index: u32) -> &Op {
        &self.history[index as usize]
    }

    /// Two transactions that took effect have two zxids.
    fn unique(&self, order: &[u32]) -> Result<(), Refused> {
        let effective = |index: &&u32| is_effective(self.op(**index));
        let mut last: Option<u32> = None;
        for index in order.iter().filter(effective) {
            if let Some(last) = last.filter(|last| self.zxid(*last) == self.zxid(*index)) {
                let reason = format!("two transactions at zxid {}", self.zxid(last));
                let both = [*index as usize, last as usize];
                return Err(Broken::new(Property::ZxidSanity, &both, reason).into());
            }
            last = Some(*index);
        }
        Ok(())
    }

    /// W1, and R3 for reads: nothing stands behind what was called after it returned.
    fn real_time(&self, order: &[u32]) -> Result<(), Refused> {
        let mut latest: Option<u32> = None;
        for index in order {
            let operation = self.op(*index);
            if is_transaction(operation)
                && latest.is_none_or(|latest| self.op(latest).call < operation.call)
            {
                latest = Some(*index);
            }
            let Some(latest) = latest else { continue };
            if operation.ret.is_some_and(|ret| ret < self.op(latest).call) {
                let (property, reason) = match is_transaction(operation) {
                    true => (
                        Property::LinearizableWrites,
                        "it returned before a transaction was called that the zxids order ahead of it",
                    ),
                    false => (
                        Property::NoFutureReads,
                        "its zxid says that it saw a transaction called after it had returned",
                    ),
                };
                return Err(
                    Broken::new(property, &[*index as usize, latest as usize], reason).into(),
                );
            }
        }
        Ok(())
    }

    /// W2 and R2: along a client's calls zxids do not fall, and its transactions' rise. Of calls
    /// at one time nobody knows which was first.
    fn sessions(&self) -> Result<(), Refused> {
        let mut calls: Vec<u32> = (0..self.history.len() as u32).collect();
        let place = |index: u32| self.zxids[index as usize].map(|_| self.place_of(index));
        calls.sort_by_key(|index| (self.op(*index).call, place(*index)));
        let mut seen: FxHashMap<u32, u32> = FxHashMap::default();
        for index in calls {
            let operation = self.op(index);
            if operation.ret.is_none() || self.zxids[index as usize].is_none() {
                continue;
            }
            let Some(last) = seen.insert(operation.client, index) else {
                continue;
            };
            let (before, now) = (self.zxid(last), self.zxid(index));
            let writes = (is_transaction(self.op(last)), is_transaction(operation));
            // A transaction of its own zxid is new to whoever sends it.
            let back = now < before || (now == before && is_effective(operation));
            if !back {
                continue;
            }
            let (property, reason) = match writes {
                (true, true) => (
                    Property::SessionFifo,
                    "its zxid is not above that of the client's transaction before",
                ),
                (true, false) => (
                    Property::ReadYourWrites,
                    "it does not see the client's own transaction before",
                ),
                (false, false) => (
                    Property::MonotonicReads,
                    "it sees less than the client's read before",
                ),
                (false, true) => (
                    Property::MonotonicReads,
                    "the client's read before has seen past it already",
                ),
            };
            let reason = format!("{reason} (zxid {now} after {before})");
            return Err(Broken::new(property, &[index as usize, last as usize], reason).into());
        }
        Ok(())
    }

    /// Operations that the zxids do not place: unanswered transactions, and what was answered
    /// without a zxid.
    fn loose(&self) -> Vec<u32> {
        let loose = |index: &u32| {
            let operation = self.op(*index);
            match operation.ret {
                None => is_transaction(operation),
                Some(_) => self.zxids[*index as usize].is_none(),
            }
        };
        (0..self.history.len() as u32).filter(loose).collect()
    }

    /// W3 and R1: values along the order.
    fn replay(&self, order: &[u32]) -> Result<(), Refused> {
        let mut states: Vec<Symbol> = vec![NIL; self.model.symbols.len()];
        let mut left: FxHashMap<Symbol, u32> = FxHashMap::default();
        for index in order {
            let operation = self.op(*index);
            let key = operation.op.0;
            let state = states[key.0 as usize];
            match self
                .model
                .step(&state, &operation.op, operation.outcome.as_ref())
            {
                Some(after) => states[key.0 as usize] = after,
                None => return Err(self.illegal(*index, state, left.get(&key).copied()).into()),
            }
            if is_effective(operation) {
                left.insert(key, *index);
            }
        }
        Ok(())
    }

    /// `index` does not fit `state`, which `last` left.
    fn illegal(&self, index: u32, state: Symbol, last: Option<u32>) -> Box<Broken> {
        let operation = self.op(index);
        let same_place = |last: &u32| self.zxids[*last as usize] == self.zxids[index as usize];
        let property = match operation.op.1 {
            RegisterOp::Cas(..) => Property::ConditionalWrites,
            RegisterOp::Write(_) => Property::LinearizableWrites,
            RegisterOp::Read if last.as_ref().is_some_and(same_place) => Property::ReplicasAgree,
            RegisterOp::Read => Property::OneOrder,
        };
        let words = self.model.words(&operation.op, operation.outcome.as_ref());
        let state = self.model.state_words(&state);
        let place = match self.zxids[index as usize] {
            Some(zxid) => format!("at zxid {zxid}"),
            None => "there".to_owned(),
        };
        let reason = format!(
            "{place} stands {state}, but client {} was told {words}",
            operation.client
        );
        let operations: Vec<usize> = [Some(index), last]
            .into_iter()
            .flatten()
            .map(|at| at as usize)
            .collect();
        Box::new(Broken {
            property,
            reason,
            operations,
            state,
        })
    }
}
