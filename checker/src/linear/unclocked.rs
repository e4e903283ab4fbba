//! Operations of which nobody noted the times: is there any order that explains them?
//!
//! A log of answers alone carries no real time. What is left to ask is whether one order gives
//! every answer and keeps each client's operations in the order in which they stand (Lamport's
//! sequential consistency; where no client asked twice, any order at all will do). Unlike
//! linearizability this is not local: two objects that are each in order may have none together,
//! so objects are judged apart only if no client ties them.
//!
//! The search is depth first. Each configuration (how far every client is, what of unknown fate
//! has happened, every object's state) is tried once; what only looks is taken as soon as it is
//! right, which never loses an order. It is done twice, since hints differ: first in the order
//! of the file, then with what overwrites last.
//!
//! Answers to: Lamport, *How to make a multiprocessor computer that correctly executes
//! multiprocess programs* (1979); Gibbons and Korach (1997), who show that it takes a search.

use super::certify::certify_unclocked;
use super::report::{Conviction, Order, Verdict};
use super::{Budget, Class, Model, OperationOf, Sorted, Times, in_turn, zones};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Clients that are looked at for the price of a configuration: where there are more, each
/// costs accordingly.
const CLIENTS_A_CONFIGURATION: usize = 256;

/// Bytes that a remembered configuration takes, nearly.
const CONFIGURATION_BYTES: usize = 40;

/// Most operations that a conviction names.
const STUCK_TOLD_MAX: usize = 4;

/// Judges `history` without its times: is there an order that explains it and keeps each
/// client's operations in the order of the history? Calls and returns are not looked at, but
/// that an operation without a return is of unknown fate.
pub fn check_unclocked<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    budget: &Budget,
) -> Verdict {
    check_unclocked_counted(model, history, budget).0
}

/// As [`check_unclocked`], and how many configurations were visited, whatever the verdict.
pub(crate) fn check_unclocked_counted<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    budget: &Budget,
) -> (Verdict, u64) {
    let parts = parts(model, history);
    let (order, spent) = in_turn(&parts, budget, |part, left| {
        check_part(model, history, part, left)
    });
    let mut order = match order {
        Ok(order) => order,
        Err(verdict) => return (verdict, spent),
    };
    let flaw = certify_unclocked(model, history, order.operations());
    assert!(
        flaw.is_none(),
        "an order that does not explain the history: {flaw:?}"
    );
    order.visited = spent;
    (Verdict::Valid(order), spent)
}

/// The operations, apart where no client touches two objects.
fn parts<M: Model>(model: &M, history: &[OperationOf<M>]) -> Vec<Vec<u32>> {
    let mut keys: BTreeMap<M::Key, usize> = BTreeMap::new();
    let mut above: Vec<usize> = Vec::new();
    fn top(above: &mut [usize], mut one: usize) -> usize {
        while above[one] != one {
            above[one] = above[above[one]];
            one = above[one];
        }
        one
    }
    let mut of_client: FxHashMap<u32, usize> = FxHashMap::default();
    let mut of_operation = Vec::with_capacity(history.len());
    for operation in history {
        let fresh = keys.len();
        let key = *keys.entry(model.key(&operation.op)).or_insert(fresh);
        if key == above.len() {
            above.push(key);
        }
        let other = *of_client.entry(operation.client).or_insert(key);
        let (one, other) = (top(&mut above, key), top(&mut above, other));
        above[one.max(other)] = one.min(other);
        of_operation.push(key);
    }
    let mut parts: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (index, key) in (0..).zip(of_operation) {
        parts.entry(top(&mut above, key)).or_default().push(index);
    }
    parts.into_values().collect()
}

fn check_part<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    part: &[u32],
    budget: &Budget,
) -> (Verdict, u64) {
    let brief = |operations, reason: String| {
        let conviction = Conviction::sorted(operations, String::new(), reason);
        (Verdict::Invalid(Box::new(conviction)), 0)
    };
    match model.sorted(history, part, Times::Unrecorded) {
        Sorted::Order(order) => return (Verdict::Valid(Order::new::<M>(history, order)), 0),
        Sorted::Contradiction(operations, reason) => return brief(operations, reason),
        Sorted::Unfit => {}
    }
    let mut clients = FxHashSet::default();
    let free = part
        .iter()
        .all(|&index| clients.insert(history[index as usize].client));
    if free && let Some(decided) = at_once(model, history, part) {
        return match decided {
            Ok(order) => (Verdict::Valid(Order::new::<M>(history, order)), 0),
            Err((operations, reason)) => {
                let with = |at| (at, "contradicts it".to_owned());
                brief(
                    operations.into_iter().map(with).collect(),
                    reason.to_owned(),
                )
            }
        };
    }
    let mut spent = 0;
    for hint in [Hint::File, Hint::Kind] {
        let share = match hint {
            Hint::File => budget.configurations / 2,
            Hint::Kind => budget.configurations - spent,
        };
        let mut search = Search::new(model, history, part, hint);
        let outcome = search.run(share, budget.bytes);
        spent += search.spent;
        match outcome {
            Some(verdict) => return (verdict, spent),
            None => continue,
        }
    }
    let reason = format!(
        "{spent} configurations; no times were recorded, so every order would have to be tried"
    );
    (Verdict::Unknown(reason), spent)
}

/// An order of one register's operations, or what contradicts each other.
type Decided = Result<Vec<u32>, (Vec<u32>, &'static str)>;

/// All at the same time: then zones may decide without a search.
fn at_once<M: Model>(model: &M, history: &[OperationOf<M>], part: &[u32]) -> Option<Decided> {
    let one = |&index: &u32| {
        let mut operation = history[index as usize].clone();
        (operation.call, operation.ret) = (0, operation.ret.map(|_| 0));
        operation
    };
    let together: Vec<OperationOf<M>> = part.iter().map(one).collect();
    let all: Vec<u32> = (0..together.len() as u32).collect();
    let whole = |order: Vec<u32>| order.into_iter().map(|at| part[at as usize]).collect();
    match zones::zones(model, &together, &all) {
        zones::Zones::Order(order) => Some(Ok(whole(order))),
        zones::Zones::Contradiction(operations, reason) => Some(Err((whole(operations), reason))),
        zones::Zones::NotApplicable => None,
    }
}

/// What is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// What stands first in the history.
    File,
    /// What needs a certain state before what does not.
    Kind,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// The next operation of a client that was answered.
    Next(usize),
    /// One of unknown fate.
    Lost(usize),
}

/// One client's answered operations.
struct Line {
    operations: Vec<u32>,
    place: usize,
}

/// An operation of unknown fate, and how much of its client's line comes before it.
struct Lost {
    operation: u32,
    line: usize,
    after: usize,
    done: bool,
}

/// One step, and what there is to take back.
struct Frame<S> {
    untried: Vec<Deed>,
    /// How long the order was before.
    length: usize,
    deed: Option<Deed>,
    /// The object that changed, and its state before.
    before: Option<(usize, S)>,
    /// Lines that went on, once for each operation.
    moved: Vec<usize>,
    key: u128,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    hint: Hint,
    /// Of each operation of the history, its object's place in `states`.
    objects: FxHashMap<u32, usize>,
    states: Vec<M::State>,
    lines: Vec<Line>,
    lost: Vec<Lost>,
    order: Vec<u32>,
    key: u128,
    visited: FxHashSet<u128>,
    farthest: (usize, Vec<u32>),
    spent: u64,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [OperationOf<M>], part: &[u32], hint: Hint) -> Self {
        let mut search = Search {
            model,
            history,
            hint,
            objects: FxHashMap::default(),
            states: Vec::new(),
            lines: Vec::new(),
            lost: Vec::new(),
            order: Vec::new(),
            key: 0,
            visited: FxHashSet::default(),
            farthest: (0, Vec::new()),
            spent: 0,
        };
        let mut keys: BTreeMap<M::Key, usize> = BTreeMap::new();
        let mut line_of: FxHashMap<u32, usize> = FxHashMap::default();
        for &index in part {
            let operation = &history[index as usize];
            let key = model.key(&operation.op);
            let object = *keys.entry(key).or_insert_with_key(|key| {
                search.states.push(model.start(key));
                search.states.len() - 1
            });
            search.objects.insert(index, object);
            let line = *line_of.entry(operation.client).or_insert_with(|| {
                let (operations, place) = (Vec::new(), 0);
                search.lines.push(Line { operations, place });
                search.lines.len() - 1
            });
            match operation.ret {
                Some(_) => search.lines[line].operations.push(index),
                None => search.lost.push(Lost {
                    operation: index,
                    line,
                    after: search.lines[line].operations.len(),
                    done: false,
                }),
            }
        }
        search
    }

    /// The verdict, or None if the budget ended first.
    fn run(&mut self, configurations: u64, bytes: usize) -> Option<Verdict> {
        let price = 1 + (self.lines.len() / CLIENTS_A_CONFIGURATION) as u64;
        let mut moved = Vec::new();
        self.settle(&mut moved);
        let mut frames = vec![Frame {
            untried: self.next_deeds(),
            length: 0,
            deed: None,
            before: None,
            moved,
            key: 0,
        }];
        loop {
            if self
                .lines
                .iter()
                .all(|line| line.place == line.operations.len())
            {
                let order = std::mem::take(&mut self.order);
                return Some(Verdict::Valid(Order::new::<M>(self.history, order)));
            }
            let Some(top) = frames.last_mut() else {
                return Some(Verdict::Invalid(Box::new(self.conviction())));
            };
            let Some(deed) = top.untried.pop() else {
                if let Some(frame) = frames.pop() {
                    self.take_back(frame);
                }
                continue;
            };
            let full = self.visited.len() * CONFIGURATION_BYTES >= bytes;
            if full || self.spent + price > configurations {
                return None;
            }
            self.spent += price;
            if let Some(frame) = self.put(deed) {
                frames.push(frame);
            }
        }
    }

    /// Does one thing more; None if it cannot come next or has led here before.
    fn put(&mut self, deed: Deed) -> Option<Frame<M::State>> {
        let index = match deed {
            Deed::Next(line) => self.next(line)?,
            Deed::Lost(number) => self.lost[number].operation,
        };
        let (object, after) = (self.objects[&index], self.after(index)?);
        let mut frame = Frame {
            untried: Vec::new(),
            length: self.order.len(),
            deed: Some(deed),
            before: None,
            moved: Vec::new(),
            key: self.key,
        };
        if after != self.states[object] {
            self.key ^= digest(&(object, &self.states[object])) ^ digest(&(object, &after));
            frame.before = Some((object, std::mem::replace(&mut self.states[object], after)));
        }
        self.order.push(index);
        match deed {
            Deed::Next(line) => self.go_on(line, &mut frame.moved),
            Deed::Lost(number) => {
                self.lost[number].done = true;
                self.key ^= digest(&("lost", number));
            }
        }
        self.settle(&mut frame.moved);
        if !self.visited.insert(self.key) {
            self.take_back(frame);
            return None;
        }
        frame.untried = self.next_deeds();
        Some(frame)
    }

    fn take_back(&mut self, frame: Frame<M::State>) {
        self.order.truncate(frame.length);
        for line in frame.moved {
            self.lines[line].place -= 1;
        }
        if let Some((object, state)) = frame.before {
            self.states[object] = state;
        }
        if let Some(Deed::Lost(number)) = frame.deed {
            self.lost[number].done = false;
        }
        self.key = frame.key;
    }

    fn next(&self, line: usize) -> Option<u32> {
        let line = &self.lines[line];
        line.operations.get(line.place).copied()
    }

    /// The object's state after an operation, if it can be answered so now.
    fn after(&self, index: u32) -> Option<M::State> {
        let operation = &self.history[index as usize];
        let state = &self.states[self.objects[&index]];
        self.model
            .step(state, &operation.op, operation.outcome.as_ref())
    }

    fn class(&self, index: u32) -> Class {
        let operation = &self.history[index as usize];
        self.model.class(&operation.op, operation.outcome.as_ref())
    }

    fn go_on(&mut self, line: usize, moved: &mut Vec<usize>) {
        let place = self.lines[line].place;
        self.key ^= digest(&(line, place)) ^ digest(&(line, place + 1));
        self.lines[line].place = place + 1;
        moved.push(line);
    }

    /// Takes all that only looks and is right now.
    fn settle(&mut self, moved: &mut Vec<usize>) {
        for line in 0..self.lines.len() {
            while let Some(index) = self.next(line) {
                if self.class(index) != Class::ReadOnly || self.after(index).is_none() {
                    break;
                }
                self.order.push(index);
                self.go_on(line, moved);
            }
        }
    }

    /// What may come next, the likeliest last.
    fn next_deeds(&mut self) -> Vec<Deed> {
        let mut deeds: Vec<(bool, Class, u32, Deed)> = Vec::new();
        // Of equal ones with nothing behind them one will do.
        let mut equal = FxHashSet::default();
        let mut stuck = Vec::new();
        for number in 0..self.lines.len() {
            let Some(index) = self.next(number) else {
                continue;
            };
            stuck.push(index);
            let operation = &self.history[index as usize];
            let line = &self.lines[number];
            let is_last = line.place + 1 == line.operations.len()
                && !self.lost.iter().any(|lost| lost.line == number);
            let known = is_last && !equal.insert((&operation.op, operation.outcome.as_ref()));
            if !known && self.after(index).is_some() {
                deeds.push((false, self.class(index), index, Deed::Next(number)));
            }
        }
        equal.clear();
        for (number, lost) in self.lost.iter().enumerate() {
            let waits = lost.done || self.lines[lost.line].place < lost.after;
            let operation = &self.history[lost.operation as usize];
            let changes = || {
                let state = &self.states[self.objects[&lost.operation]];
                self.after(lost.operation)
                    .is_some_and(|after| after != *state)
            };
            if !waits && equal.insert((&operation.op, None)) && changes() {
                let class = self.class(lost.operation);
                deeds.push((true, class, lost.operation, Deed::Lost(number)));
            }
        }
        if self.order.len() >= self.farthest.0 {
            self.farthest = (self.order.len(), stuck);
        }
        let overwrites = |class: Class| class == Class::Overwrite && self.hint == Hint::Kind;
        deeds.sort_by_key(|&(lost, class, index, _)| {
            std::cmp::Reverse((lost, overwrites(class), index))
        });
        deeds.into_iter().map(|(.., deed)| deed).collect()
    }

    fn conviction(&mut self) -> Conviction {
        let mut stuck = std::mem::take(&mut self.farthest.1);
        stuck.sort_unstable();
        stuck.truncate(STUCK_TOLD_MAX);
        let stuck = stuck.into_iter();
        let stuck = stuck.map(|index| (index, "cannot come next either".to_owned()));
        let reason =
            "no order gives every answer; the one that comes farthest can go on with none of these"
                .to_owned();
        Conviction::sorted(stuck.collect(), String::new(), reason)
    }
}

/// 128 bits that tell configurations apart.
fn digest(what: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        what.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
