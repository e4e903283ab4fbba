//! Placing what has no zxid: operations that were never answered, or answered without one, go
//! between those that have one, by search: key by key first, which nearly always decides, then
//! all keys together ([`super::together`]).
//!
//! What shares a zxid shares a moment: nothing comes between, and the search sees it as one
//! operation. What only looks may stand at such a moment too, which is right behind it.
//!
//! What always holds: between the places that [`Bounds`] gives, nothing that W1, W2, R2 or R3
//! says of two operations is broken; what only the keys together show is looked at afterwards.
//!
//! Answers to: `consistency.md` 3.2, *unanswered*.

use super::super::models::{Keyed, Register, RegisterOp, RegisterOutcome, Symbol};
use super::super::{
    Budget, Class, Conviction, Model, Operation, OperationOf, Verdict, check_counted,
};
use super::skeleton::Skeleton;
use super::{Broken, Refused, Walk, is_effective, is_transaction};
use crate::verdict::Property;
use rustc_hash::FxHashMap;

/// What the first search of a key alone may visit, and so many more for each operation of the
/// history: it is quick or not worth it.
const QUICK_CONFIGURATIONS: (u64, u64) = (10_000, 4);

/// How many keys may need as much.
const QUICK_KEYS: u64 = 4;

/// A key alone is not worth it where more than one answered operation in so many has no zxid.
const LOOSE_PART_MAX: usize = 4;

/// How placing key by key ends, if no key convicts.
enum Apart {
    /// An order that holds for all keys together.
    Placed(Vec<u32>),
    /// Orders of each key that do not hold together; others may.
    Contrary,
    /// The budget ended.
    Spent,
}

/// The operations of one key: in the order of zxids, and those that have none.
#[derive(Default)]
struct Key {
    fixed: Vec<u32>,
    loose: Vec<u32>,
}

/// Placing what has no zxid.
impl Walk<'_> {
    /// Lets the search place `loose` between the others, key by key, and checks what it finds
    /// against what a key alone does not show.
    pub(super) fn place(&self, order: Vec<u32>, loose: Vec<u32>) -> Result<Vec<u32>, Refused> {
        let bounds = Bounds::new(self, &order);
        let mut by_key: FxHashMap<Symbol, Key> = FxHashMap::default();
        for index in &loose {
            let key = by_key.entry(self.op(*index).op.0).or_default();
            key.loose.push(*index);
        }
        let mut rest = Vec::new();
        for index in &order {
            match by_key.get_mut(&self.op(*index).op.0) {
                Some(key) => key.fixed.push(*index),
                None => rest.push(*index),
            }
        }
        self.replay(&rest)?;
        let mut keys: Vec<(Symbol, Key)> = by_key.into_iter().collect();
        keys.sort_by_key(|(symbol, _)| *symbol);
        // A key alone is quick or not worth it, unless all keys together take too long. It is
        // not where little has a zxid: there the zxids make no time in which much is in order.
        let answered = loose.iter().filter(|at| self.op(**at).ret.is_some());
        let quick = match answered.count() * LOOSE_PART_MAX > self.history.len() {
            true => 0,
            false => QUICK_CONFIGURATIONS.0 + QUICK_CONFIGURATIONS.1 * self.history.len() as u64,
        };
        let quick = quick.min(self.budget.configurations);
        let apart = self.place_apart(&order, &keys, &bounds, quick)?;
        if let Apart::Placed(found) = apart {
            return Ok(found);
        }
        let left = || {
            self.budget
                .configurations
                .saturating_sub(self.visited.get())
        };
        let spent = match self.place_together(&order, &loose, &bounds, left() / 2) {
            Err(Refused::Unknown(reason)) if matches!(apart, Apart::Spent) => reason,
            decided => return decided,
        };
        match self.place_apart(&order, &keys, &bounds, left())? {
            Apart::Placed(found) => Ok(found),
            Apart::Spent | Apart::Contrary => Err(Refused::Unknown(spent)),
        }
    }

    /// Places the loose operations of each key as if there were no other, visiting so many
    /// configurations at most for a key, and for some of them together. What is wrong with one
    /// key is wrong with all.
    fn place_apart(
        &self,
        order: &[u32],
        keys: &[(Symbol, Key)],
        bounds: &Bounds,
        configurations: u64,
    ) -> Result<Apart, Refused> {
        // Placed operations, by the place they follow.
        let mut placed: Vec<(i128, u32)> = Vec::new();
        let mut spent = false;
        let end = self
            .visited
            .get()
            .saturating_add(configurations.saturating_mul(QUICK_KEYS));
        for (_, key) in keys {
            let left = end.saturating_sub(self.visited.get()).min(configurations);
            match self.place_key(&key.fixed, &key.loose, bounds, left) {
                Ok(found) => placed.extend(found),
                Err(Refused::Broken(broken)) => return Err(broken.into()),
                Err(Refused::Unknown(_)) => spent = true,
            }
        }
        if spent {
            return Ok(Apart::Spent);
        }
        let mut found = self.merged(order, placed);
        // Between two changes all that only looks commutes: there, the calls' order is as good
        // as any, and no client finds its own turned round.
        for run in
            found.chunk_by_mut(|a, b| !is_effective(self.op(*a)) && !is_effective(self.op(*b)))
        {
            run.sort_by_key(|index| self.op(*index).call);
        }
        Ok(match self.whole(&found) {
            true => Apart::Placed(found),
            false => Apart::Contrary,
        })
    }

    /// Places the loose operations of all keys at once.
    fn place_together(
        &self,
        order: &[u32],
        loose: &[u32],
        bounds: &Bounds,
        configurations: u64,
    ) -> Result<Vec<u32>, Refused> {
        let skeleton = Skeleton::new(self, order, loose, bounds).map_err(Refused::Unknown)?;
        let budget = Budget {
            configurations,
            ..*self.budget
        };
        let (verdict, visited) = check_counted(&skeleton.model, &skeleton.history, &budget);
        self.visited.set(self.visited.get() + visited);
        match verdict {
            Verdict::Valid(found) => {
                let found = skeleton.unfold(self, order, found.operations());
                match self.replay(&found).is_ok() && self.whole(&found) {
                    true => Ok(found),
                    false => Err(Refused::Unknown(
                        "internal contradiction: an order that does not explain the history".into(),
                    )),
                }
            }
            Verdict::Invalid(conviction) => {
                let told = |at: usize| skeleton.told(at);
                let mut broken = self.convicted(&conviction, told);
                let accused = told(conviction.operation)
                    .iter()
                    .map(|index| *index as usize);
                let others = accused.filter(|index| !broken.operations.contains(index));
                let others: Vec<usize> = others.collect();
                broken.operations.splice(1..1, others);
                Err(broken.into())
            }
            Verdict::Unknown(reason) => Err(Refused::Unknown(format!(
                "{reason}, placing {} operations without zxid",
                loose.len()
            ))),
            Verdict::Malformed { .. } => unreachable!("readers refuse what contradicts itself"),
        }
    }

    /// Places the loose operations of one key. Time is the key's moments, one after another at
    /// even times; the gaps between them are odd.
    fn place_key(
        &self,
        fixed: &[u32],
        loose: &[u32],
        bounds: &Bounds,
        configurations: u64,
    ) -> Result<Vec<(i128, u32)>, Refused> {
        let moments: Vec<&[u32]> = fixed
            .chunk_by(|a, b| self.zxid(*a) == self.zxid(*b))
            .collect();
        let mut history: Vec<OperationOf<Moments>> = Vec::new();
        // What each operation of that history stands for.
        let mut names: Vec<&[u32]> = Vec::new();
        for (at, moment) in moments.iter().enumerate() {
            self.agree(moment)?;
            let time = 2 * at as i64;
            history.push(self.at_once(moment, time, Some(time)));
            names.push(moment);
        }
        for index in loose {
            let operation = self.op(*index);
            let (low, high) = bounds.of(self, *index);
            let zxid_of = |moment: &&[u32]| 2 * i128::from(self.zxid(moment[0]));
            let looks = i128::from(!is_effective(operation));
            let after = moments.partition_point(|moment| zxid_of(moment) <= low);
            let before = moments.partition_point(|moment| zxid_of(moment) + 1 - looks < high);
            let call = 2 * after as i64 - 1;
            let ret = match before == moments.len() {
                true => i64::MAX,
                false => 2 * before as i64 - 1,
            };
            if low >= high || ret < call {
                if operation.ret.is_none() {
                    continue;
                }
                let reason =
                    "what it must follow and what must follow it leave no place among the zxids";
                return Err(
                    Broken::new(Property::LinearizableWrites, &[*index as usize], reason).into(),
                );
            }
            let alone = std::slice::from_ref(index);
            history.push(self.at_once(alone, call, operation.ret.map(|_| ret)));
            names.push(alone);
        }
        let key = self.op(loose[0]).op.0;
        let model = Moments(self.model.clone(), key);
        let budget = Budget {
            configurations,
            ..*self.budget
        };
        let (verdict, visited) = check_counted(&model, &history, &budget);
        self.visited.set(self.visited.get() + visited);
        match verdict {
            Verdict::Valid(found) => {
                let mut place = i128::MIN;
                let mut placed = Vec::new();
                for at in found.operations() {
                    let at = *at as usize;
                    let last = *names[at].last().expect("a moment holds something");
                    match at < moments.len() {
                        true => place = place.max(self.place_of(last)),
                        false => {
                            place = place.max(bounds.of(self, last).0);
                            placed.push((place, last));
                        }
                    }
                }
                Ok(placed)
            }
            Verdict::Invalid(conviction) => Err(self.convicted(&conviction, |at| names[at]).into()),
            Verdict::Unknown(reason) => Err(Refused::Unknown(reason)),
            Verdict::Malformed { .. } => unreachable!("every interval was checked"),
        }
    }

    /// `together` as one operation of the search.
    fn at_once(&self, together: &[u32], call: i64, ret: Option<i64>) -> OperationOf<Moments> {
        let steps = together.iter().map(|index| self.told(*index));
        Operation {
            client: self.op(together[0]).client,
            call,
            ret,
            op: steps.collect(),
            outcome: ret.map(|_| ()),
        }
    }

    /// What the search found impossible, in our words.
    fn convicted<'n>(
        &self,
        conviction: &Conviction,
        names: impl Fn(usize) -> &'n [u32],
    ) -> Box<Broken> {
        let moment = names(conviction.operation);
        let steps: Vec<_> = moment.iter().map(|index| self.told(*index)).collect();
        let index = moment[decisive(&steps)];
        let others = conviction.with.iter().map(|(at, _)| names(*at)[0]);
        let property = match self.op(index).op.1 {
            RegisterOp::Cas(..) => Property::ConditionalWrites,
            RegisterOp::Write(_) => Property::LinearizableWrites,
            RegisterOp::Read => Property::OneOrder,
        };
        let operations = std::iter::once(index).chain(others);
        Box::new(Broken {
            property,
            reason: conviction.reason.clone(),
            operations: operations.map(|index| index as usize).collect(),
            state: conviction.states_told().join(" or "),
        })
    }

    /// What was asked and answered.
    fn told(&self, index: u32) -> (RegisterOp, Option<RegisterOutcome>) {
        (self.op(index).op.1, self.op(index).outcome)
    }

    /// At one zxid a key has one value, whatever is placed around it.
    fn agree(&self, moment: &[u32]) -> Result<(), Refused> {
        let steps: Vec<_> = moment.iter().map(|index| self.told(*index)).collect();
        let first = decisive(&steps);
        let Some(value) = left(&steps[first]) else {
            return Ok(());
        };
        // What took effect stands first, and is not asked what it left.
        let looks = usize::from(is_effective(self.op(moment[0])));
        let differs = |index: &&u32| {
            let (op, outcome) = (&self.op(**index).op, self.op(**index).outcome.as_ref());
            **index != moment[first] && self.model.step(&value, op, outcome).is_none()
        };
        match moment[looks..].iter().find(differs) {
            Some(other) => Err(self.illegal(*other, value, Some(moment[first])).into()),
            None => Ok(()),
        }
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

    /// Whether W1 and W2 hold for all operations in this order. (Where the search placed key by
    /// key and they do not, another placing may do, so this is no conviction.)
    fn whole(&self, order: &[u32]) -> bool {
        if self.real_time(order).is_err() {
            return false;
        }
        // Per client, the latest call so far of each kind: by whether it writes, then by
        // whether it has a zxid. (Those with zxids have been compared with each other.)
        let mut latest: FxHashMap<u32, [[i64; 2]; 2]> = FxHashMap::default();
        order.iter().all(|index| {
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
            let kinds = [(0, 0), (0, 1), (1, 0), (1, 1)];
            let turned = kinds.iter().any(|(other, with)| ahead(*other, *with));
            let own = &mut latest[usize::from(writes)][usize::from(fixed)];
            *own = (*own).max(operation.call);
            !turned
        })
    }
}

/// Between which places an operation without zxid must lie.
pub(super) struct Bounds {
    /// Answered operations by return, with the greatest place so far.
    returned: Vec<(i64, i128)>,
    /// Transactions by call, from the last, with the least place so far.
    called: Vec<(i64, i128)>,
    /// Of them those that took effect: only these a look can see too early.
    changed: Vec<(i64, i128)>,
    /// Per client: calls, places and whether they are transactions, in order of call.
    clients: FxHashMap<u32, Vec<(i64, i128, bool)>>,
}

impl Bounds {
    fn new(walk: &Walk, order: &[u32]) -> Self {
        let mut returned: Vec<(i64, i128)> = Vec::with_capacity(order.len());
        let (mut called, mut changed) = (Vec::new(), Vec::new());
        let mut clients: FxHashMap<u32, Vec<(i64, i128, bool)>> = FxHashMap::default();
        for index in order {
            let (operation, place) = (walk.op(*index), walk.place_of(*index));
            returned.push((operation.ret.expect("it was answered"), place));
            if is_transaction(operation) {
                called.push((operation.call, place));
            }
            if is_effective(operation) {
                changed.push((operation.call, place));
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
        for by_call in [&mut called, &mut changed] {
            by_call.sort_unstable();
            let mut least = i128::MAX;
            for (_, place) in by_call.iter_mut().rev() {
                least = least.min(*place);
                *place = least;
            }
        }
        clients.values_mut().for_each(|calls| calls.sort_unstable());
        Bounds {
            returned,
            called,
            changed,
            clients,
        }
    }

    /// The place that it must be behind, and the one that it must be ahead of.
    pub(super) fn of(&self, walk: &Walk, index: u32) -> (i128, i128) {
        let operation = walk.op(index);
        let writes = is_transaction(operation);
        let shares = |place: i128| i128::from(!is_effective(operation)) * place.rem_euclid(2);
        let mut low = i128::MIN;
        if writes {
            // It was called after these returned, so none of them saw it.
            let ahead = self
                .returned
                .partition_point(|(ret, _)| *ret < operation.call);
            low = ahead.checked_sub(1).map_or(low, |last| {
                let place = self.returned[last].1;
                place - shares(place)
            });
        }
        let mut high = i128::MAX;
        if let Some(ret) = operation.ret {
            let later = match is_effective(operation) {
                true => &self.called,
                false => &self.changed,
            };
            let behind = later.partition_point(|(call, _)| *call <= ret);
            high = later.get(behind).map_or(high, |(_, place)| *place);
        }
        let Some(calls) = self.clients.get(&operation.client) else {
            return (low, high);
        };
        // Of calls at one time nobody knows which was first.
        let earlier = calls.partition_point(|(call, ..)| *call < operation.call);
        let later = calls.partition_point(|(call, ..)| *call <= operation.call);
        if let Some((_, place, _)) = earlier.checked_sub(1).map(|before| calls[before]) {
            // What only looks may share a place with what only looks.
            low = low.max(place - shares(place));
        }
        // What comes after an unanswered transaction need not have seen it, unless it is one.
        let binds = |(.., writes): &&(i64, i128, bool)| operation.ret.is_some() || *writes;
        if let Some((_, place, _)) = calls[later..].iter().find(binds) {
            high = high.min(place + shares(*place));
        }
        if is_effective(operation) {
            // What looks at a zxid does not see what comes behind it.
            low |= 1;
        }
        (low, high)
    }
}

/// The value there after it, if it tells.
fn left(step: &(RegisterOp, Option<RegisterOutcome>)) -> Option<Symbol> {
    match step {
        (RegisterOp::Write(value), _) => Some(*value),
        (RegisterOp::Cas(_, value), Some(RegisterOutcome::Swapped(true))) => Some(*value),
        (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => Some(*value),
        (RegisterOp::Read | RegisterOp::Cas(..), _) => None,
    }
}

/// Which of the operations at one moment says most about the value then.
fn decisive(steps: &[(RegisterOp, Option<RegisterOutcome>)]) -> usize {
    let tells = |step| left(step).is_some();
    steps.iter().position(tells).unwrap_or(0)
}

/// One register of which several operations may happen at one moment, in the order given.
struct Moments(Keyed<Register>, Symbol);

impl Moments {
    /// The operation as the register knows it.
    fn on_key(&self, op: RegisterOp) -> (Symbol, RegisterOp) {
        (self.1, op)
    }
}

impl Model for Moments {
    type Op = Vec<(RegisterOp, Option<RegisterOutcome>)>;
    type Outcome = ();
    type State = Symbol;
    type Key = ();

    fn start(&self, _key: &()) -> Symbol {
        self.0.start(&self.1)
    }

    fn step(&self, state: &Symbol, op: &Self::Op, _outcome: Option<&()>) -> Option<Symbol> {
        op.iter().try_fold(*state, |state, (op, outcome)| {
            self.0.step(&state, &self.on_key(*op), outcome.as_ref())
        })
    }

    fn key(&self, _op: &Self::Op) {}

    fn class(&self, op: &Self::Op, _outcome: Option<&()>) -> Class {
        let class =
            |(op, outcome): &(_, Option<_>)| self.0.class(&self.on_key(*op), outcome.as_ref());
        match op.as_slice() {
            [alone] => class(alone),
            several if several.iter().all(|one| class(one) == Class::ReadOnly) => Class::ReadOnly,
            _ => Class::Update,
        }
    }

    fn words(&self, op: &Self::Op, _outcome: Option<&()>) -> String {
        let words =
            |(op, outcome): &(_, Option<_>)| self.0.words(&self.on_key(*op), outcome.as_ref());
        op.iter().map(words).collect::<Vec<_>>().join(" and ")
    }

    fn state_words(&self, state: &Symbol) -> String {
        self.0.state_words(state)
    }
}
