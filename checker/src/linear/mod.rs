//! Linearizability of anything that can be written as a state and a step.
//!
//! This is the generic half of the judge: it knows no znode, no session and no zxid. Who
//! has a register, a queue or a lock of their own implements [`Model`] (a page) and calls
//! [`check`]. A history is linearizable if its operations can be put in one order that
//! explains every outcome and in which an operation that returned before another was called
//! comes first; intervals are closed, so one that returns at the very moment another is
//! called may come after it. An operation that never returned may have taken effect at any
//! time after its call, or never.
//!
//! Always true of a verdict: `Valid` carries an order that has been replayed by
//! [`certify`], code that shares nothing with the search; `Invalid` was reached without
//! dropping a single possibility; everything else is `Unknown` and says which budget ended.
//!
//! Answers to: Herlihy and Wing, *Linearizability* (1990), whose locality theorem allows
//! [`Model::key`]; Gibbons and Korach, *Testing shared memories* (1997), zones;
//! Lowe, *Testing for linearizability* (2017), just-in-time linearization;
//! `consistency.md` 3.3.

mod aftermath;
mod certify;
mod chain;
mod front;
pub mod generate;
mod mask;
pub mod models;
mod report;
mod search;
mod space;
mod unclocked;
mod witness;
mod zones;

use rustc_hash::FxHashMap;
use std::fmt::Debug;
use std::hash::Hash;

pub use certify::{Flaw, certify, certify_unclocked};
pub use report::{Conviction, Order, PROPERTY, PROPERTY_UNCLOCKED, Verdict};
pub use unclocked::check_unclocked;
pub(crate) use unclocked::check_unclocked_counted;
pub(crate) use witness::check_zookeeper_counted;
pub use witness::{Witnessed, check_zookeeper};

/// What is checked against: a sequential object.
///
/// A counter that answers what it held before it was incremented:
///
/// ```
/// use gamekeeper_checker::linear::{Model, Operation, check};
///
/// struct Counter;
///
/// impl Model for Counter {
///     type Op = ();
///     type Outcome = u64;
///     type State = u64;
///     type Key = ();
///
///     fn start(&self, _: &()) -> u64 {
///         0
///     }
///
///     fn step(&self, state: &u64, _: &(), outcome: Option<&u64>) -> Option<u64> {
///         outcome.is_none_or(|told| told == state).then_some(state + 1)
///     }
///
///     fn key(&self, _: &()) {}
/// }
///
/// let increment = |client, call, ret, told| Operation {
///     client,
///     call,
///     ret: Some(ret),
///     op: (),
///     outcome: Some(told),
/// };
/// let together = [increment(1, 0, 10, 1), increment(2, 5, 15, 0)];
/// assert_eq!(check(&Counter, &together).word(), "valid");
/// let one_after_another = [increment(1, 0, 10, 1), increment(2, 11, 15, 0)];
/// assert_eq!(check(&Counter, &one_after_another).word(), "invalid");
/// ```
///
/// Only `start`, `step` and `key` must be written; the rest makes the search faster
/// ([`Model::class`]) or its reasons clearer. All methods must be functions of their
/// arguments: the search calls them in any order and remembers the answers.
pub trait Model {
    /// What is asked. Two requests that are equal must have equal effects: the search
    /// treats unanswered ones among them as interchangeable.
    type Op: Clone + Eq + Hash + Debug;
    /// What is answered.
    type Outcome: Clone + Eq + Hash + Debug;
    /// The object between two operations.
    type State: Clone + Eq + Hash + Debug;
    /// Which of several independent objects a request touches.
    type Key: Clone + Ord + Debug;

    /// The object that `key` names, before the first operation.
    fn start(&self, key: &Self::Key) -> Self::State;

    /// The state after `op` in `state`, or `None` if it could not have been answered with
    /// `outcome` there. An outcome of `None` was never learned: then the answer is what the
    /// operation does to `state`, whatever it would have said.
    fn step(
        &self,
        state: &Self::State,
        op: &Self::Op,
        outcome: Option<&Self::Outcome>,
    ) -> Option<Self::State>;

    /// The object that `op` touches. Histories of different keys are judged apart, which
    /// is sound for linearizability (and for little else). One key for all: no partition.
    fn key(&self, op: &Self::Op) -> Self::Key;

    /// What the search may assume of `op` with `outcome`. The default assumes nothing.
    fn class(&self, _op: &Self::Op, _outcome: Option<&Self::Outcome>) -> Class {
        Class::Update
    }

    /// How the operation touches a plain register, if that is all it does: then histories
    /// whose written values are all different are decided without any search.
    fn access(&self, _op: &Self::Op, _outcome: Option<&Self::Outcome>) -> Option<Access> {
        None
    }

    /// Whether sorting alone decides the operations `part` of `history`, and what it says. The
    /// default leaves them to the search.
    fn sorted(
        &self,
        _history: &[Operation<Self::Op, Self::Outcome>],
        _part: &[u32],
        _times: Times,
    ) -> Sorted {
        Sorted::Unfit
    }

    /// A number that the operation shares with those of its key that make sense only together
    /// with it (what puts a value and what takes or reads it): when a failure is made small,
    /// they are left out together.
    fn kin(&self, _op: &Self::Op, _outcome: Option<&Self::Outcome>) -> Option<u64> {
        None
    }

    /// Bytes that a state holds, roughly: the search counts them against its budget.
    fn bytes(&self, _state: &Self::State) -> usize {
        std::mem::size_of::<Self::State>()
    }

    /// The operation in words, for reports.
    fn words(&self, op: &Self::Op, outcome: Option<&Self::Outcome>) -> String {
        match outcome {
            Some(outcome) => format!("{op:?} -> {outcome:?}"),
            None => format!("{op:?} -> ?"),
        }
    }

    /// The state in words, for reports.
    fn state_words(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }

    /// The object in words, for reports; empty if there is only one.
    fn key_words(&self, key: &Self::Key) -> String {
        format!("{key:?}")
    }
}

/// What a model promises of an operation with its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It never changes the state (a refused compare-and-set counts too).
    ReadOnly,
    /// It is legal in every state, and what it leaves does not depend on what it found.
    Overwrite,
    /// Nothing is promised.
    Update,
}

/// What is known of when operations happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Times {
    /// When each was called and when it returned.
    Recorded,
    /// Nothing, but that a client's operations came one after the other, as they stand in the
    /// history.
    Unrecorded,
}

/// What sorting says of operations before any search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sorted {
    /// This order explains them. It is replayed before anybody is told.
    Order(Vec<u32>),
    /// None does: who contradicts each other and the part they play, the one that convicts
    /// first, and why.
    Contradiction(Vec<(u32, String)>, String),
    /// They are not of the kind that sorting decides.
    Unfit,
}

/// How an operation touches a register; values are any numbers that tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// It read this value.
    Read(u64),
    /// It wrote this value, whatever was there.
    Write(u64),
    /// It read the start value.
    ReadStart,
    /// It changes nothing and learned nothing.
    Nothing,
}

/// One operation of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<Op, Outcome> {
    /// Who asked; only for words.
    pub client: u32,
    /// When it was asked, nanoseconds on any clock that all operations share.
    pub call: i64,
    /// When it was answered, same clock; `None`: never.
    pub ret: Option<i64>,
    /// What was asked.
    pub op: Op,
    /// What was answered; `None`: never learned.
    pub outcome: Option<Outcome>,
}

/// An operation of a model's history.
pub type OperationOf<M> = Operation<<M as Model>::Op, <M as Model>::Outcome>;

/// How much a check may cost before it gives up. The figures are counts, never seconds, so
/// that the same history gets the same verdict on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Configurations that the search may visit, over all keys.
    pub configurations: u64,
    /// Bytes that the search may hold at once.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            configurations: 200_000_000,
            bytes: 768 << 20,
        }
    }
}

/// The search may visit this many configurations to explain what sorting has decided.
const EXPLAINED_CONFIGURATIONS_MAX: u64 = 5_000_000;

/// Judges `history` against `model` within the default [`Budget`].
pub fn check<M: Model>(model: &M, history: &[OperationOf<M>]) -> Verdict {
    check_within(model, history, &Budget::default())
}

/// Judges `history` against `model`. An operation that returns before it is called makes
/// the verdict [`Verdict::Malformed`].
pub fn check_within<M: Model>(model: &M, history: &[OperationOf<M>], budget: &Budget) -> Verdict {
    check_counted(model, history, budget).0
}

/// As [`check_within`], and how many configurations were visited, whatever the verdict.
pub(crate) fn check_counted<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    budget: &Budget,
) -> (Verdict, u64) {
    let backwards =
        |operation: &OperationOf<M>| operation.ret.is_some_and(|ret| ret < operation.call);
    if let Some(index) = history.iter().position(backwards) {
        let reason = "it returns before it is called".to_owned();
        return (Verdict::Malformed { index, reason }, 0);
    }
    assert!(
        history.len() < u32::MAX as usize / 2,
        "operations are numbered with 31 bits"
    );
    let mut parts: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
    let mut keys: std::collections::BTreeMap<M::Key, u64> = std::collections::BTreeMap::new();
    for (index, operation) in history.iter().enumerate() {
        let fresh = keys.len() as u64;
        let number = *keys.entry(model.key(&operation.op)).or_insert(fresh);
        parts.entry(number).or_default().push(index as u32);
    }
    let (order, spent) = in_turn(&keys, budget, |(key, number), left| {
        check_part(model, key, history, &parts[number], left)
    });
    let verdict = match order {
        Ok(mut order) => {
            order.merge();
            order.visited = spent;
            Verdict::Valid(order)
        }
        Err(verdict) => verdict,
    };
    (verdict, spent)
}

/// Judges parts that do not concern each other, one after the other within one budget. Returns
/// the orders of all, or what was found instead, and what was spent. A violation of one outweighs
/// that another could not be decided.
fn in_turn<P>(
    parts: impl IntoIterator<Item = P>,
    budget: &Budget,
    mut check: impl FnMut(P, &Budget) -> (Verdict, u64),
) -> (Result<Order, Verdict>, u64) {
    let (mut order, mut spent, mut unknown) = (Order::default(), 0, None);
    for part in parts {
        let left = Budget {
            configurations: budget.configurations - spent,
            bytes: budget.bytes,
        };
        let (verdict, visited) = check(part, &left);
        spent = (spent + visited).min(budget.configurations);
        match verdict {
            Verdict::Valid(part) => order.join(part),
            Verdict::Unknown(reason) => {
                unknown.get_or_insert(reason);
            }
            verdict @ (Verdict::Invalid(_) | Verdict::Malformed { .. }) => {
                return (Err(verdict), spent);
            }
        }
    }
    match unknown {
        Some(reason) => (Err(Verdict::Unknown(reason)), spent),
        None => (Ok(order), spent),
    }
}

/// Judges the operations of one key. Returns what the search spent, too.
fn check_part<M: Model>(
    model: &M,
    key: &M::Key,
    history: &[OperationOf<M>],
    part: &[u32],
    budget: &Budget,
) -> (Verdict, u64) {
    let (verdict, visited) = match model.sorted(history, part, Times::Recorded) {
        Sorted::Order(order) => (Verdict::Valid(Order::new::<M>(history, order)), 0),
        Sorted::Contradiction(operations, reason) => {
            let conviction = Conviction::sorted(operations, model.key_words(key), reason);
            (Verdict::Invalid(Box::new(conviction)), 0)
        }
        Sorted::Unfit => check_by_zones(model, key, history, part, budget),
    };
    if let Verdict::Valid(order) = &verdict {
        let flaw = certify(model, key, history, part, order.operations());
        assert!(
            flaw.is_none(),
            "an order that does not explain the history: {flaw:?}"
        );
    }
    (verdict, visited)
}

/// Judges by zones if these decide, else by a search.
fn check_by_zones<M: Model>(
    model: &M,
    key: &M::Key,
    history: &[OperationOf<M>],
    part: &[u32],
    budget: &Budget,
) -> (Verdict, u64) {
    match zones::zones(model, history, part) {
        zones::Zones::Order(order) => (Verdict::Valid(Order::new::<M>(history, order)), 0),
        // The search says the same and tells more, if it does not take long.
        zones::Zones::Contradiction(operations, reason) => {
            let configurations = budget.configurations.min(EXPLAINED_CONFIGURATIONS_MAX);
            let budget = Budget {
                configurations,
                ..*budget
            };
            match search::search(model, key, history, part, &budget) {
                (Verdict::Unknown(_), visited) => {
                    let key = model.key_words(key);
                    (
                        Verdict::Invalid(Box::new(Conviction::brief(&operations, key, reason))),
                        visited,
                    )
                }
                (Verdict::Valid(_), _) => unreachable!("zones and search contradict each other"),
                explained => explained,
            }
        }
        zones::Zones::NotApplicable => search::search(model, key, history, part, budget),
    }
}
