//! Just-in-time linearization: the search for an order, along the time of the history.
//!
//! It walks calls and returns as they happened and keeps every configuration (a state, and
//! what of the operations in flight has been applied) that explains all answers so far. An
//! operation is applied only when something that returns needs it:
//!
//! 1. At a call, a configuration whose state already answers the operation without being
//!    changed by it takes it at once: that never takes a possibility away.
//! 2. At a return of x, a configuration without x applies x, or other operations in flight
//!    and then x. What is applied after x can wait for a later return.
//! 3. An operation that overwrites the state hides all others in flight that overwrite too:
//!    each may have happened just before, unseen, or happen later. The configuration keeps
//!    both possibilities open as one (`either`), and 2^k configurations become one.
//! 4. For the same reason an overwrite is never applied on top of one that nobody saw.
//! 5. Operations that never return are applied only to be seen. Equal ones are
//!    interchangeable, so the one called first goes first.
//!
//! Not here: what makes a configuration needless ([`super::front`]), what is told of the end
//! ([`super::aftermath`]), and trust: an order that is found is replayed by
//! [`super::certify()`].
//!
//! Answers to: Lowe (2017); `consistency.md` 3.3 (L3). Rules 3 and 4 are our own.

use super::chain::{Chains, ROOT};
use super::front::{Configuration, Front, Kinds};
use super::mask::{Mask, Wide, slots};
use super::report::{Order, Verdict};
use super::space::{NOWHERE, Space};
use super::{Budget, Class, Model, OperationOf};
use rustc_hash::FxHashMap;

/// What happens at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Index of the operation in the history.
    pub(super) op: u32,
    pub(super) returns: bool,
}

/// The operations of one object as events, with what the search needs to know of each.
pub(super) struct Plan {
    pub(super) events: Vec<Event>,
    /// Slots needed at once.
    width: usize,
}

/// A configuration that was compared with so many others cost as much as visiting one.
const COMPARED_A_VISIT: usize = 256;

/// Judges the operations `part` of `history`; returns what it visited, too.
pub(super) fn search<M: Model>(
    model: &M,
    key: &M::Key,
    history: &[OperationOf<M>],
    part: &[u32],
    budget: &Budget,
) -> (Verdict, u64) {
    let plan = plan(model, history, part);
    let task = Task {
        model,
        key,
        history,
        plan: &plan,
        budget,
    };
    match plan.width {
        0..=64 => task.run::<u64>(),
        65..=128 => task.run::<u128>(),
        129..=256 => task.run::<Wide<4>>(),
        257..=1024 => task.run::<Wide<16>>(),
        1025..=4096 => task.run::<Wide<64>>(),
        width => (
            Verdict::Unknown(format!("{width} operations in flight at once")),
            0,
        ),
    }
}

/// Calls and returns by time. Intervals are closed: at equal times calls come first. An
/// operation that never returned and changes nothing is no event at all.
fn plan<M: Model>(model: &M, history: &[OperationOf<M>], part: &[u32]) -> Plan {
    let mut timed: Vec<(i64, bool, u32)> = Vec::with_capacity(part.len() * 2);
    for index in part {
        let operation = &history[*index as usize];
        let class = model.class(&operation.op, operation.outcome.as_ref());
        match operation.ret {
            Some(ret) => timed.push((ret, true, *index)),
            None if class == Class::ReadOnly => continue,
            None => {}
        }
        timed.push((operation.call, false, *index));
    }
    timed.sort_unstable();
    let (mut flying, mut width) = (0usize, 0);
    for (_, returns, _) in &timed {
        match returns {
            true => flying -= 1,
            false => flying += 1,
        }
        width = width.max(flying);
    }
    let events = timed
        .into_iter()
        .map(|(_, returns, op)| Event { op, returns })
        .collect();
    Plan { events, width }
}

/// What is to be judged.
pub(super) struct Task<'a, M: Model> {
    pub(super) model: &'a M,
    pub(super) key: &'a M::Key,
    pub(super) history: &'a [OperationOf<M>],
    pub(super) plan: &'a Plan,
    budget: &'a Budget,
}

impl<M: Model> Task<'_, M> {
    fn run<K: Mask>(&self) -> (Verdict, u64) {
        let mut search: Search<M, K> = Search::new(self);
        for (number, event) in self.plan.events.iter().enumerate() {
            let number = number as u32;
            if !event.returns {
                search.call(event.op, number);
                continue;
            }
            match search.ret(event.op, number, self.budget) {
                Outcome::Alive => {}
                Outcome::Dead => {
                    let conviction = self.convict(&mut search, event.op, number);
                    return (Verdict::Invalid(Box::new(conviction)), search.visited);
                }
                Outcome::Spent(reason) => return (Verdict::Unknown(reason), search.visited),
            }
        }
        let best = search
            .live
            .iter()
            .next()
            .expect("a living search has a configuration");
        let steps = search.chains.read(best.chain);
        let operations = self.unhide(&mut search.space, steps, u32::MAX);
        let mut order = Order::new::<M>(self.history, operations);
        order.alive_max = search.alive_max;
        (Verdict::Valid(order), search.visited)
    }
}

/// What a return leaves.
enum Outcome {
    Alive,
    Dead,
    Spent(String),
}

/// An operation in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flying {
    pub(super) op: u32,
    slot: usize,
    class: Class,
    /// The slot of an equal operation that never returns and was called before.
    twin: Option<usize>,
}

/// The walk through one object's events.
pub(super) struct Search<'a, M: Model, K> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    pub(super) space: Space<'a, M>,
    pub(super) chains: Chains,
    pub(super) live: Front<K>,
    work: Front<K>,
    next: Front<K>,
    /// In flight, by slot; only `occupied` ones count.
    pub(super) slots: Vec<Flying>,
    pub(super) occupied: K,
    kinds: Kinds<K>,
    /// Answered operations in flight that overwrite.
    overwrites: K,
    /// All operations in flight that overwrite.
    burying: K,
    /// The last unanswered operation of each kind.
    twins: FxHashMap<M::Op, usize>,
    visited: u64,
    alive_max: usize,
}

impl<'a, M: Model, K: Mask> Search<'a, M, K> {
    fn new(task: &Task<'a, M>) -> Self {
        let mut live = Front::new();
        let kinds = Kinds {
            reads: K::EMPTY,
            optional: K::EMPTY,
        };
        let start = Configuration {
            state: 0,
            chain: ROOT,
            unseen: false,
            applied: K::EMPTY,
            either: K::EMPTY,
        };
        live.insert(start, &kinds);
        let nobody = Flying {
            op: 0,
            slot: 0,
            class: Class::Update,
            twin: None,
        };
        Search {
            model: task.model,
            history: task.history,
            space: Space::new(task.model, task.key, task.history),
            chains: Chains::new(),
            live,
            work: Front::new(),
            next: Front::new(),
            slots: vec![nobody; K::SLOTS.min(task.plan.width)],
            occupied: K::EMPTY,
            kinds,
            overwrites: K::EMPTY,
            burying: K::EMPTY,
            twins: FxHashMap::default(),
            visited: 1,
            alive_max: 1,
        }
    }

    /// `op` is in flight from now on.
    fn call(&mut self, op: u32, event: u32) {
        let operation = &self.history[op as usize];
        let class = self.model.class(&operation.op, operation.outcome.as_ref());
        let optional = operation.ret.is_none();
        let slot = (0..self.slots.len()).find(|slot| !self.occupied.has(*slot));
        let slot = slot.expect("the plan counted the slots");
        let twin = match optional {
            true => self.twins.insert(operation.op.clone(), slot),
            false => None,
        };
        self.slots[slot] = Flying {
            op,
            slot,
            class,
            twin,
        };
        self.occupied = self.occupied.with(slot);
        if class == Class::Overwrite {
            self.burying = self.burying.with(slot);
        }
        match (optional, class) {
            (true, _) => self.kinds.optional = self.kinds.optional.with(slot),
            (false, Class::ReadOnly) => self.kinds.reads = self.kinds.reads.with(slot),
            (false, Class::Overwrite) => self.overwrites = self.overwrites.with(slot),
            (false, Class::Update) => {}
        }
        if optional {
            return;
        }
        for entry in self.live.iter_mut() {
            if self.space.step(entry.state, op, class) != entry.state {
                continue;
            }
            if class == Class::ReadOnly {
                entry.applied = entry.applied.with(slot);
                entry.chain = self.chains.push(entry.chain, op, event, false);
            } else {
                entry.either = entry.either.with(slot);
            }
        }
    }

    /// `op` returns: what does not explain it dies.
    fn ret(&mut self, op: u32, event: u32, budget: &Budget) -> Outcome {
        let slot = slots(self.occupied).find(|slot| self.slots[*slot].op == op);
        let slot = slot.expect("it was called");
        if self.live.iter().all(|entry| entry.applied.has(slot)) {
            for entry in self.live.iter_mut() {
                entry.applied = entry.applied.without(slot);
            }
        } else {
            self.next.clear();
            self.work.clear();
            self.take_up(slot, event);
            if let Err(reason) = self.explore(slot, event, budget) {
                return Outcome::Spent(reason);
            }
            if self.next.len() == 0 {
                return Outcome::Dead;
            }
            std::mem::swap(&mut self.live, &mut self.next);
            self.alive_max = self.alive_max.max(self.live.len());
        }
        self.occupied = self.occupied.without(slot);
        self.kinds.reads = self.kinds.reads.without(slot);
        self.overwrites = self.overwrites.without(slot);
        self.burying = self.burying.without(slot);
        if self.chains.is_full() {
            self.chains.collect(self.live.chains());
        }
        if self.space.is_full() {
            self.space
                .collect(self.live.iter_mut().map(|entry| &mut entry.state));
        }
        Outcome::Alive
    }

    /// Sorts the living: those that have applied `slot` are through, the others must work.
    fn take_up(&mut self, slot: usize, event: u32) {
        for entry in self.live.iter() {
            let mut entry = *entry;
            entry.unseen = false;
            if entry.applied.has(slot) {
                entry.applied = entry.applied.without(slot);
                self.next.insert(entry, &self.kinds);
                continue;
            }
            if entry.either.has(slot) {
                entry.either = entry.either.without(slot);
                if self.next.insert(entry, &self.kinds) {
                    let chain = self
                        .chains
                        .push(entry.chain, self.slots[slot].op, event, true);
                    self.next.chain_last(chain);
                }
            }
            self.work.insert(entry, &self.kinds);
        }
    }

    /// Applies what is in flight until `slot` is applied, in every way that matters.
    fn explore(&mut self, slot: usize, event: u32, budget: &Budget) -> Result<(), String> {
        let goal = self.slots[slot];
        let mut at = 0;
        while let Some((entry, gone)) = self.work.get(at) {
            at += 1;
            if gone {
                continue;
            }
            self.apply(&entry, &goal, &goal, event);
            for other in slots(self.helpers(&entry)) {
                if other != slot {
                    self.apply(&entry, &{ self.slots[other] }, &goal, event);
                }
            }
            if self.visited > budget.configurations {
                return Err(format!("{} configurations", tell(budget.configurations)));
            }
            if at % 1024 == 0 && self.bytes() > budget.bytes {
                return Err(format!("{} MiB of configurations", budget.bytes >> 20));
            }
        }
        match self.bytes() > budget.bytes {
            true => Err(format!("{} MiB of configurations", budget.bytes >> 20)),
            false => Ok(()),
        }
    }

    /// What may be applied to `entry` on the way to a return. (Rule 4: no overwrite on top
    /// of one that nobody saw.)
    fn helpers(&self, entry: &Configuration<K>) -> K {
        let open = self.occupied.minus(entry.applied).minus(self.kinds.reads);
        match entry.unseen {
            true => open.minus(self.burying),
            false => open,
        }
    }

    /// Applies `flying` to `entry` on the way to `goal`, where that makes sense.
    fn apply(&mut self, entry: &Configuration<K>, flying: &Flying, goal: &Flying, event: u32) {
        let overwrites = flying.class == Class::Overwrite;
        let is_goal = flying.slot == goal.slot;
        // Rule 4: what would be buried here may as well have been hidden.
        if overwrites && entry.unseen {
            return;
        }
        // Rule 5.
        if flying.twin.is_some_and(|twin| !entry.applied.has(twin)) {
            return;
        }
        let state = self.space.step(entry.state, flying.op, flying.class);
        // To apply what changes nothing is of use to what returns, and to overwrites that it
        // hides.
        let hidden = match overwrites {
            true => self.overwrites.minus(entry.applied).minus(entry.either),
            false => K::EMPTY,
        };
        let idle = state == entry.state && hidden.without(flying.slot).is_empty();
        if state == NOWHERE || (idle && !is_goal) {
            return;
        }
        let mut after = *entry;
        after.state = state;
        after.applied = after.applied.with(flying.slot);
        after.either = after.either.without(flying.slot);
        let before = after;
        if overwrites {
            after.either = after.either.or(self.overwrites.minus(after.applied));
        }
        self.settle(&mut after);
        let used = after
            .applied
            .differ(before.applied)
            .or(after.either.differ(before.either));
        let used = used.minus(self.overwrites);
        after.unseen = overwrites && used.is_empty();
        let done = after.applied.has(goal.slot);
        if done {
            after.applied = after.applied.without(goal.slot);
            after.either = after.either.without(goal.slot);
            after.unseen = false;
        }
        // Unseen and not done: only what neither reads nor overwrites can make it of use.
        let dead_end = !done && after.unseen && goal.class != Class::Update;
        if dead_end && self.helpers(&after).without(goal.slot).is_empty() {
            return;
        }
        let front = if done { &mut self.next } else { &mut self.work };
        let added = front.insert(after, &self.kinds);
        self.visited += (front.walked() / COMPARED_A_VISIT) as u64;
        if !added {
            return;
        }
        self.visited += 1;
        let mut chain = self.chains.push(entry.chain, flying.op, event, false);
        let mut reads = after.applied;
        if done && !is_goal {
            reads = reads.with(goal.slot);
        }
        for read in slots(reads.minus(before.applied)) {
            chain = self.chains.push(chain, self.slots[read].op, event, false);
        }
        front.chain_last(chain);
    }

    /// Rule 1: takes what the state answers without being changed.
    fn settle(&mut self, entry: &mut Configuration<K>) {
        let open = self
            .occupied
            .minus(entry.applied)
            .minus(entry.either)
            .minus(self.kinds.optional);
        for slot in slots(open) {
            let flying = self.slots[slot];
            if self.space.step(entry.state, flying.op, flying.class) != entry.state {
                continue;
            }
            if flying.class == Class::ReadOnly {
                entry.applied = entry.applied.with(slot);
            } else {
                entry.either = entry.either.with(slot);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.space.bytes()
            + self.chains.bytes()
            + self.live.bytes()
            + self.work.bytes()
            + self.next.bytes()
    }
}

/// A budget as people say it.
fn tell(figure: u64) -> String {
    match figure {
        0..1_000_000 => figure.to_string(),
        _ if figure.is_multiple_of(1_000_000) => format!("{}M", figure / 1_000_000),
        _ => figure.to_string(),
    }
}
