//! Transactions over lists, with times and without, and every model without times: what is
//! decided by sorting, or by a search without a clock, against an enumerator of all orders.

use gamekeeper_checker::linear::models::{
    Keyed, Lists, ListsOp, Mutex, MutexOp, Queue, QueueOp, QueueOutcome, Register, RegisterOp,
    RegisterOutcome, Set, SetOp, SetOutcome, Symbol,
};
use gamekeeper_checker::linear::{
    Budget, Model, Operation, OperationOf, Verdict, certify_unclocked, check, check_unclocked,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Operations per random history: the enumerator tries up to this many factorial orders.
const OPERATIONS_MAX: usize = 6;

/// Histories of each kind; `UNCLOCKED_SEEDS=COUNT` tries more.
fn seeds() -> u64 {
    let asked = std::env::var("UNCLOCKED_SEEDS").ok();
    asked.map_or(1500, |count| count.parse().expect("a number"))
}

/// Tries every order: the definition, and nothing else. `may_follow` says whether one may come
/// next while another has not come yet.
struct Naive<'a, M: Model> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    clocked: bool,
}

impl<M: Model> Naive<'_, M> {
    fn any(&self) -> bool {
        self.extend(&mut vec![false; self.history.len()], &mut BTreeMap::new())
    }

    fn extend(&self, placed: &mut [bool], states: &mut BTreeMap<M::Key, M::State>) -> bool {
        let all = 0..self.history.len();
        let left: Vec<usize> = all.filter(|&at| !placed[at]).collect();
        let one = |at: usize| &self.history[at];
        if left.iter().all(|&at| one(at).ret.is_none()) {
            return true;
        }
        left.iter().any(|&at| {
            let must_wait = left
                .iter()
                .any(|&other| match (self.clocked, one(other).ret) {
                    (_, None) => false,
                    (true, Some(ret)) => ret < one(at).call,
                    (false, Some(_)) => other < at && one(other).client == one(at).client,
                });
            if must_wait {
                return false;
            }
            let key = self.model.key(&one(at).op);
            let before = states.get(&key).cloned();
            let state = before.clone().unwrap_or_else(|| self.model.start(&key));
            let (op, outcome) = (&one(at).op, one(at).outcome.as_ref());
            let Some(after) = self.model.step(&state, op, outcome) else {
                return false;
            };
            placed[at] = true;
            states.insert(key.clone(), after);
            let found = self.extend(placed, states);
            placed[at] = false;
            match before {
                Some(before) => states.insert(key, before),
                None => states.remove(&key),
            };
            found
        })
    }
}

/// A history by up to three clients of an object that answers for itself in some order, now and
/// then unanswered; then, half of the time, another's answer or place.
fn live<M: Model>(
    model: &M,
    dice: &mut SmallRng,
    ask: impl Fn(&mut SmallRng) -> M::Op,
    answer: impl Fn(&M::State, &M::Op) -> M::Outcome,
) -> Vec<OperationOf<M>> {
    let count = dice.random_range(1..=OPERATIONS_MAX);
    let clients = dice.random_range(1..=OPERATIONS_MAX as u32);
    let mut states: BTreeMap<M::Key, M::State> = BTreeMap::new();
    let mut history = Vec::new();
    for at in 0..count as i64 {
        let op = ask(dice);
        let lost = dice.random_ratio(1, 6);
        let mut outcome = None;
        if !(lost && dice.random()) {
            let key = model.key(&op);
            let state = states
                .entry(key.clone())
                .or_insert_with(|| model.start(&key));
            let told = answer(state, &op);
            *state = model.step(state, &op, Some(&told)).expect("its own answer");
            outcome = Some(told).filter(|_| !lost);
        }
        let (call, ret) = (
            at * 10 - dice.random_range(0..40),
            at * 10 + dice.random_range(0..40),
        );
        history.push(Operation {
            client: dice.random_range(0..clients),
            call,
            ret: (!lost).then_some(ret),
            op,
            outcome,
        });
    }
    if dice.random() {
        let (at, other) = (dice.random_range(0..count), dice.random_range(0..count));
        match dice.random_range(0..3) {
            0 if history[at].ret.is_some() && history[other].ret.is_some() => {
                history[at].outcome = history[other].outcome.clone();
            }
            1 => history.swap(at, other),
            _ => history[at].client = history[other].client,
        }
    }
    history
}

/// How the verdict and the enumerator agree; true if both say valid.
fn agree<M: Model>(model: &M, history: &[OperationOf<M>], clocked: bool) -> bool {
    let expected = Naive {
        model,
        history,
        clocked,
    }
    .any();
    let verdict = match clocked {
        true => check(model, history),
        false => check_unclocked(model, history, &Budget::default()),
    };
    match (&verdict, expected) {
        (Verdict::Valid(order), true) if !clocked => {
            assert_eq!(certify_unclocked(model, history, order.operations()), None);
        }
        (Verdict::Valid(_), true) => {}
        (Verdict::Invalid(conviction), false) => {
            assert!(
                history[conviction.operation].ret.is_some(),
                "{conviction:?}"
            );
        }
        _ => panic!("{expected}, but {verdict:?} of {history:#?}"),
    }
    expected
}

/// Of so many random histories, how many were valid.
fn tally(mut one: impl FnMut(&mut SmallRng) -> bool) {
    let seeds = seeds();
    let valid = (0..seeds)
        .filter(|&seed| one(&mut SmallRng::seed_from_u64(seed)))
        .count() as u64;
    println!("{valid} of {seeds} valid");
    assert!(
        valid > seeds / 8 && valid < seeds,
        "{valid} of {seeds} are no trial"
    );
}

fn transaction(dice: &mut SmallRng, fresh: &std::cell::Cell<u32>, repeated: bool) -> Vec<ListsOp> {
    let parts = dice.random_range(1..=3);
    let part = |_| {
        let key = Symbol(1 + dice.random_range(0..2));
        fresh.set(fresh.get() + 1);
        match dice.random_range(0..5) {
            0..=2 => ListsOp::Read(key),
            // Seldom twice, which leaves it to the search.
            3 if repeated => ListsOp::Append(key, Symbol(10)),
            _ => ListsOp::Append(key, Symbol(10 + fresh.get())),
        }
    };
    (0..parts).map(part).collect()
}

fn lists(dice: &mut SmallRng, clocked: bool, repeated: bool) -> bool {
    let fresh = std::cell::Cell::new(0);
    let mut model = Lists::default();
    let asked = |dice: &mut SmallRng| transaction(dice, &fresh, repeated);
    let answers = |state: &BTreeMap<Symbol, Arc<[Symbol]>>, op: &Vec<ListsOp>| {
        let mut lists = state.clone();
        let mut seen = Vec::new();
        for part in op {
            match part {
                ListsOp::Read(key) => seen.push(lists.get(key).cloned().unwrap_or_default()),
                ListsOp::Append(key, element) => {
                    let old = lists.get(key).cloned().unwrap_or_default();
                    lists.insert(*key, old.iter().chain([element]).copied().collect());
                }
            }
        }
        seen
    };
    // All lists tied: one state.
    model.tied = Arc::new(
        [(Symbol(1), Symbol(1)), (Symbol(2), Symbol(1))]
            .into_iter()
            .collect(),
    );
    let mut history = live(&model, dice, asked, answers);
    if dice.random_ratio(1, 3) {
        bend(&mut history, dice);
    }
    model.tied = Arc::new(Lists::tie(history.iter().map(|one| &one.op)));
    agree(&model, &history, clocked)
}

/// Changes what one read saw: an element fewer, twice, swapped, or one never appended.
fn bend(history: &mut [OperationOf<Lists>], dice: &mut SmallRng) {
    let at = dice.random_range(0..history.len());
    let Some(seen) = history[at]
        .outcome
        .as_mut()
        .and_then(|seen| seen.first_mut())
    else {
        return;
    };
    let mut list = seen.to_vec();
    match dice.random_range(0..4) {
        0 => drop(list.pop()),
        1 => list.extend(list.clone().first()),
        2 if list.len() > 1 => list.swap(0, 1),
        2 => list.reverse(),
        _ => list.push(Symbol(10 + dice.random_range(0..20))),
    }
    *seen = list.into();
}

#[test]
fn transactions_sorted_by_what_they_read_agree_with_every_order() {
    tally(|dice| lists(dice, true, false));
}

#[test]
fn transactions_without_times_agree_with_every_order() {
    tally(|dice| lists(dice, false, false));
}

#[test]
fn transactions_that_repeat_an_element_are_searched() {
    tally(|dice| lists(dice, true, true));
    tally(|dice| lists(dice, false, true));
}

#[test]
fn registers_without_times_agree_with_every_order() {
    let model = Keyed {
        model: Register::default(),
        symbols: Arc::default(),
    };
    let ask = |dice: &mut SmallRng| {
        let value = |dice: &mut SmallRng| Symbol(1 + dice.random_range(0..3));
        let op = match dice.random_range(0..3) {
            0 => RegisterOp::Read,
            1 => RegisterOp::Write(value(dice)),
            _ => RegisterOp::Cas(value(dice), value(dice)),
        };
        (Symbol(dice.random_range(0..2)), op)
    };
    let answer = |state: &Symbol, op: &(Symbol, RegisterOp)| match op.1 {
        RegisterOp::Read => RegisterOutcome::Value(*state),
        RegisterOp::Write(_) => RegisterOutcome::Done,
        RegisterOp::Cas(from, _) => RegisterOutcome::Swapped(from == *state),
    };
    tally(|dice| agree(&model, &live(&model, dice, ask, answer), false));
}

#[test]
fn sets_queues_and_locks_without_times_agree_with_every_order() {
    let element = |dice: &mut SmallRng| Symbol(1 + dice.random_range(0..3));
    let set = Set::default();
    tally(|dice| {
        let ask = |dice: &mut SmallRng| match dice.random_range(0..4) {
            0 | 1 => SetOp::Add(element(dice)),
            2 => SetOp::Remove(element(dice)),
            _ => SetOp::Read,
        };
        let answer = |state: &std::collections::BTreeSet<Symbol>, op: &SetOp| match op {
            SetOp::Read => SetOutcome::Elements(state.clone()),
            SetOp::Contains(element) => SetOutcome::Told(state.contains(element)),
            SetOp::Add(_) | SetOp::Remove(_) => SetOutcome::Done,
        };
        agree(&set, &live(&set, dice, ask, answer), false)
    });
    let queue = Queue::default();
    tally(|dice| {
        let ask = |dice: &mut SmallRng| match dice.random() {
            true => QueueOp::Enqueue(element(dice)),
            false => QueueOp::Dequeue,
        };
        let answer = |state: &std::collections::VecDeque<Symbol>, op: &QueueOp| match op {
            QueueOp::Enqueue(_) => QueueOutcome::Done,
            QueueOp::Dequeue => state
                .front()
                .map_or(QueueOutcome::Empty, |&first| QueueOutcome::Element(first)),
        };
        agree(&queue, &live(&queue, dice, ask, answer), false)
    });
    tally(|dice| {
        let ask = |dice: &mut SmallRng| match dice.random() {
            true => MutexOp::Acquire,
            false => MutexOp::Release,
        };
        let answer = |held: &bool, op: &MutexOp| *held != (*op == MutexOp::Acquire);
        agree(&Mutex, &live(&Mutex, dice, ask, answer), false)
    });
}
