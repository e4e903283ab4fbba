//! Registers with zxids, judged by ZooKeeper's promises: writes are linearizable, reads may
//! lag but never go back.
//!
//! The zxids propose the order, and here it is tried in one pass: `W1`, `W2`, `W3` for the
//! transactions (writes and compare-and-sets, refused ones too), `R1`, `R2`, `R3` for the
//! reads, a client being a session. Operations without a zxid are placed by search between
//! those that have one, in the time that the zxids make.
//!
//! What always holds: accepting needs no trust in the zxids, since the order they propose is
//! checked against times and values that clients saw; rejecting means that this order is
//! wrong, and the class says whether another one could be right.
//!
//! Not here: znodes, sessions, watches: the walk over a ZooKeeper history is another room.
//!
//! Answers to: `consistency.md` 3.1, 3.2 (steps 1 to 4, and *unanswered*).

use super::models::{Keyed, NIL, Register, RegisterOp, RegisterOutcome, Symbol};
use super::{Budget, Model, OperationOf, Verdict, check_within};
use crate::verdict::{Class, Property};
use rustc_hash::FxHashMap;

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
    assert_eq!(history.len(), zxids.len(), "one zxid an operation");
    match (Walk {
        model,
        history,
        zxids,
        budget,
    })
    .run()
    {
        Ok(order) => Witnessed::Valid(order),
        Err(Refused::Unknown(reason)) => Witnessed::Unknown(reason),
        Err(Refused::Broken(broken)) => Witnessed::Invalid {
            class: class(model, history, budget),
            property: broken.property,
            reason: broken.reason,
            operations: broken.operations,
            state: broken.state,
        },
    }
}

/// Linearizable is more than ZooKeeper promises: then only the zxids are wrong. If not even
/// the transactions are linearizable, no order explains the history.
fn class(model: &Keyed<Register>, history: &[Op], budget: &Budget) -> Class {
    if let Verdict::Valid(_) = check_within(model, history, budget) {
        return Class::ZxidNotHonest;
    }
    let transactions = history.iter().filter(|operation| is_transaction(operation));
    match check_within(model, &transactions.cloned().collect::<Vec<_>>(), budget) {
        Verdict::Invalid(_) => Class::Inconsistent,
        Verdict::Valid(_) | Verdict::Unknown(_) | Verdict::Malformed { .. } => Class::Undetermined,
    }
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

    /// Everything answered with a zxid, in the zxids' order: at one zxid the transaction
    /// first, then what was refused there, then reads.
    fn proposed(&self) -> Vec<u32> {
        let answered = |index: &u32| {
            self.history[*index as usize].ret.is_some() && self.zxids[*index as usize].is_some()
        };
        let mut order: Vec<u32> = (0..self.history.len() as u32).filter(answered).collect();
        let rank = |index: u32| {
            let operation = &self.history[index as usize];
            u8::from(is_refused(operation)) + 2 * u8::from(!is_transaction(operation))
        };
        order.sort_by_key(|index| (self.zxid(*index), rank(*index)));
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

    /// W2 and R2: along a client's calls zxids do not fall, and its transactions' rise.
    fn sessions(&self) -> Result<(), Refused> {
        let mut calls: Vec<u32> = (0..self.history.len() as u32).collect();
        calls.sort_by_key(|index| self.op(*index).call);
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
        let same_place = |last: &u32| self.zxid(*last) == self.zxid(index);
        let property = match operation.op.1 {
            RegisterOp::Cas(..) => Property::ConditionalWrites,
            RegisterOp::Write(_) => Property::LinearizableWrites,
            RegisterOp::Read if last.as_ref().is_some_and(same_place) => Property::ReplicasAgree,
            RegisterOp::Read => Property::OneOrder,
        };
        let words = self.model.words(&operation.op, operation.outcome.as_ref());
        let state = self.model.state_words(&state);
        let reason = format!(
            "at zxid {} stands {state}, but client {} was told {words}",
            self.zxid(index),
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

/// Placing what has no zxid.
impl Walk<'_> {
    /// Lets the search place `loose` between the others, key by key, and checks what it finds
    /// against what a key alone does not show.
    fn place(&self, order: Vec<u32>, loose: Vec<u32>) -> Result<Vec<u32>, Refused> {
        let bounds = Bounds::new(self, &order);
        let mut by_key: FxHashMap<Symbol, (Vec<u32>, Vec<u32>)> = FxHashMap::default();
        for index in &loose {
            by_key
                .entry(self.op(*index).op.0)
                .or_default()
                .1
                .push(*index);
        }
        let mut rest = Vec::new();
        for index in &order {
            match by_key.get_mut(&self.op(*index).op.0) {
                Some((fixed, _)) => fixed.push(*index),
                None => rest.push(*index),
            }
        }
        self.replay(&rest)?;
        let mut keys: Vec<_> = by_key.into_iter().collect();
        keys.sort_by_key(|(key, _)| *key);
        // Placed operations, by the place they follow.
        let mut placed: Vec<(i128, u32)> = Vec::new();
        for (_, (fixed, loose)) in keys {
            placed.extend(self.place_key(&fixed, &loose, &bounds)?);
        }
        let mut order = self.merged(&order, placed);
        // Between two changes all that only looks commutes: there, the calls' order is as good
        // as any, and no client finds its own turned round.
        for run in
            order.chunk_by_mut(|a, b| !is_effective(self.op(*a)) && !is_effective(self.op(*b)))
        {
            run.sort_by_key(|index| self.op(*index).call);
        }
        self.whole(&order)?;
        Ok(order)
    }

    /// Places the loose operations of one key. Time is the key's fixed operations, one after
    /// another at even times; the gaps between them are odd.
    fn place_key(
        &self,
        fixed: &[u32],
        loose: &[u32],
        bounds: &Bounds,
    ) -> Result<Vec<(i128, u32)>, Refused> {
        let mut history: Vec<Op> = Vec::with_capacity(fixed.len() + loose.len());
        let mut slots: Vec<i64> = Vec::with_capacity(fixed.len());
        for (at, index) in fixed.iter().enumerate() {
            // What shares a zxid shares a moment: nothing comes between.
            let together = at > 0 && self.zxid(fixed[at - 1]) == self.zxid(*index);
            slots.push(if together {
                slots[at - 1]
            } else {
                2 * at as i64
            });
            history.push(Op {
                call: slots[at],
                ret: Some(slots[at]),
                ..self.op(*index).clone()
            });
        }
        self.agree(fixed)?;
        for index in loose {
            let operation = self.op(*index);
            let (low, high) = bounds.of(self, *index);
            let after = fixed.partition_point(|at| self.place_of(*at) <= low);
            let before = fixed.partition_point(|at| self.place_of(*at) < high);
            let call = if after == 0 { -1 } else { slots[after - 1] + 1 };
            let ret = slots.get(before).map_or(i64::MAX, |slot| slot - 1);
            if operation.ret.is_some() && (low >= high || ret < call) {
                let reason =
                    "what it must follow and what must follow it leave no place among the zxids";
                return Err(
                    Broken::new(Property::LinearizableWrites, &[*index as usize], reason).into(),
                );
            }
            if low >= high {
                continue;
            }
            let ret = operation.ret.map(|_| ret);
            history.push(Op {
                call,
                ret,
                ..operation.clone()
            });
        }
        let names: Vec<u32> = fixed
            .iter()
            .chain(loose.iter().filter(|index| self.fits(**index, bounds)))
            .copied()
            .collect();
        match check_within(self.model, &history, self.budget) {
            Verdict::Valid(found) => {
                let mut place = i128::MIN;
                let mut placed = Vec::new();
                for at in found.operations() {
                    let index = names[*at as usize];
                    match (*at as usize) < fixed.len() {
                        true => place = place.max(self.place_of(index)),
                        false => {
                            place = place.max(bounds.of(self, index).0);
                            placed.push((place, index));
                        }
                    }
                }
                Ok(placed)
            }
            Verdict::Invalid(conviction) => {
                let index = names[conviction.operation];
                let others = conviction.with.iter().map(|(at, _)| names[*at] as usize);
                let operations = std::iter::once(index as usize).chain(others).collect();
                let property = match self.op(index).op.1 {
                    RegisterOp::Cas(..) => Property::ConditionalWrites,
                    RegisterOp::Write(_) => Property::LinearizableWrites,
                    RegisterOp::Read => Property::OneOrder,
                };
                let (reason, state) = (conviction.reason, conviction.states.join(" or "));
                Err(Box::new(Broken {
                    property,
                    reason,
                    operations,
                    state,
                })
                .into())
            }
            Verdict::Unknown(reason) => Err(Refused::Unknown(reason)),
            Verdict::Malformed { .. } => unreachable!("every interval was checked"),
        }
    }

    fn fits(&self, index: u32, bounds: &Bounds) -> bool {
        let (low, high) = bounds.of(self, index);
        low < high
    }

    /// At one zxid a key has one value, whatever was placed around it.
    fn agree(&self, fixed: &[u32]) -> Result<(), Refused> {
        for pair in fixed.windows(2) {
            let (first, second) = (self.op(pair[0]), self.op(pair[1]));
            let left = match (first.op.1, first.outcome) {
                (RegisterOp::Write(value), _) => value,
                (RegisterOp::Cas(_, value), Some(RegisterOutcome::Swapped(true))) => value,
                (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => value,
                (RegisterOp::Read | RegisterOp::Cas(..), _) => continue,
            };
            let together = self.zxid(pair[0]) == self.zxid(pair[1]);
            if together
                && self
                    .model
                    .step(&left, &second.op, second.outcome.as_ref())
                    .is_none()
            {
                return Err(self.illegal(pair[1], left, Some(pair[0])).into());
            }
        }
        Ok(())
    }

    /// The order with `placed` operations behind the zxids they follow.
    fn merged(&self, order: &[u32], mut placed: Vec<(i128, u32)>) -> Vec<u32> {
        placed.sort_by_key(|(place, _)| *place);
        let mut merged = Vec::with_capacity(order.len() + placed.len());
        let mut next = placed.into_iter().peekable();
        for index in order {
            while let Some((_, loose)) = next.next_if(|(place, _)| *place < self.place_of(*index)) {
                merged.push(loose);
            }
            merged.push(*index);
        }
        merged.extend(next.map(|(_, loose)| loose));
        merged
    }

    /// W1 and W2 among operations that the search placed key by key. What it got wrong here
    /// another placing might get right, so this is no conviction.
    fn whole(&self, order: &[u32]) -> Result<(), Refused> {
        let unknown = || {
            Refused::Unknown("operations without zxid whose keys must be placed together".into())
        };
        self.real_time(order).map_err(|_| unknown())?;
        // Per client, the latest call so far of each kind: by whether it writes, then by
        // whether it has a zxid. (Those with zxids have been compared with each other.)
        let mut latest: FxHashMap<u32, [[i64; 2]; 2]> = FxHashMap::default();
        for index in order {
            let operation = self.op(*index);
            let (writes, fixed) = (
                is_transaction(operation),
                self.zxids[*index as usize].is_some(),
            );
            let latest = latest.entry(operation.client).or_insert([[i64::MIN; 2]; 2]);
            // A client need not have seen what it was never answered.
            let binds = |other: usize| other == 1 || operation.ret.is_some();
            let ahead = |other: usize, with: usize| {
                binds(other) && (!fixed || with == 0) && latest[other][with] > operation.call
            };
            if [(0, 0), (0, 1), (1, 0), (1, 1)]
                .iter()
                .any(|(other, with)| ahead(*other, *with))
            {
                return Err(unknown());
            }
            let own = &mut latest[usize::from(writes)][usize::from(fixed)];
            *own = (*own).max(operation.call);
        }
        Ok(())
    }
}

/// Between which places an operation without zxid must lie.
struct Bounds {
    /// Answered operations by return, with the greatest place so far.
    returned: Vec<(i64, i128)>,
    /// Transactions by call, from the last, with the least place so far.
    called: Vec<(i64, i128)>,
    /// Per client: calls, places and whether they are transactions, in order of call.
    clients: FxHashMap<u32, Vec<(i64, i128, bool)>>,
}

impl Bounds {
    fn new(walk: &Walk, order: &[u32]) -> Self {
        let mut returned: Vec<(i64, i128)> = Vec::with_capacity(order.len());
        let mut called = Vec::new();
        let mut clients: FxHashMap<u32, Vec<(i64, i128, bool)>> = FxHashMap::default();
        for index in order {
            let (operation, place) = (walk.op(*index), walk.place_of(*index));
            returned.push((operation.ret.expect("it was answered"), place));
            if is_transaction(operation) {
                called.push((operation.call, place));
            }
            let client = clients.entry(operation.client).or_default();
            client.push((operation.call, place, is_transaction(operation)));
        }
        returned.sort_unstable();
        let mut greatest = i128::MIN;
        for (_, place) in &mut returned {
            greatest = greatest.max(*place);
            *place = greatest;
        }
        called.sort_unstable();
        let mut least = i128::MAX;
        for (_, place) in called.iter_mut().rev() {
            least = least.min(*place);
            *place = least;
        }
        clients.values_mut().for_each(|calls| calls.sort_unstable());
        Bounds {
            returned,
            called,
            clients,
        }
    }

    /// The place that it must be behind, and the one that it must be ahead of.
    fn of(&self, walk: &Walk, index: u32) -> (i128, i128) {
        let operation = walk.op(index);
        let writes = is_transaction(operation);
        let mut low = i128::MIN;
        if writes {
            // It was called after these returned, so none of them saw it.
            let ahead = self
                .returned
                .partition_point(|(ret, _)| *ret < operation.call);
            low = ahead
                .checked_sub(1)
                .map_or(low, |last| self.returned[last].1);
        }
        let mut high = i128::MAX;
        if let Some(ret) = operation.ret {
            let behind = self.called.partition_point(|(call, _)| *call <= ret);
            high = self.called.get(behind).map_or(high, |(_, place)| *place);
        }
        let Some(calls) = self.clients.get(&operation.client) else {
            return (low, high);
        };
        let later = calls.partition_point(|(call, ..)| *call < operation.call);
        let shares = |place: i128| i128::from(!is_effective(operation)) * place.rem_euclid(2);
        if let Some((_, place, _)) = later.checked_sub(1).map(|before| calls[before]) {
            // What only looks may share a place with what only looks.
            low = low.max(place - shares(place));
        }
        // What comes after an unanswered transaction need not have seen it, unless it is one.
        let binds = |(.., writes): &&(i64, i128, bool)| operation.ret.is_some() || *writes;
        if let Some((_, place, _)) = calls[later..].iter().find(binds) {
            high = high.min(place + shares(*place));
        }
        (low, high)
    }
}
