//! Placing what has no zxid: operations that were never answered, or answered without one, go
//! between those that have one, key by key, by search.
//!
//! What always holds: between the places that [`Bounds`] gives, nothing that W1, W2, R2 or R3
//! says of two operations is broken; what only the keys together show is looked at afterwards.
//!
//! Answers to: `consistency.md` 3.2, *unanswered*.

use super::super::models::{RegisterOp, RegisterOutcome, Symbol};
use super::super::{Model, Verdict, check_counted};
use super::{Broken, Op, Refused, Walk, is_effective, is_transaction};
use crate::verdict::Property;
use rustc_hash::FxHashMap;

/// Placing what has no zxid.
impl Walk<'_> {
    /// Lets the search place `loose` between the others, key by key, and checks what it finds
    /// against what a key alone does not show.
    pub(super) fn place(&self, order: Vec<u32>, loose: Vec<u32>) -> Result<Vec<u32>, Refused> {
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
        let (verdict, visited) = check_counted(self.model, &history, self.budget);
        self.visited.set(self.visited.get() + visited);
        match verdict {
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
                let (reason, state) = (
                    conviction.reason.clone(),
                    conviction.states_told().join(" or "),
                );
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
