//! The generic search against an enumerator that tries every order.
//!
//! Thousands of small random histories of every model, half of them mutated: the verdicts
//! must be equal, and what is called valid comes with an order that the enumerator's own
//! rules accept.

use gamekeeper_checker::linear::generate::{Settings, Values, generate};
use gamekeeper_checker::linear::models::{
    Mutex, MutexOp, NIL, Queue, QueueOp, QueueOutcome, Register, RegisterOp, RegisterOutcome, Set,
    SetOp, SetOutcome, Symbol, Text, TextOp, TextOutcome,
};
use gamekeeper_checker::linear::{
    Budget, Class, Model, Operation, OperationOf, Verdict, check, check_within,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Operations per random history: the enumerator tries up to this many factorial orders.
const OPERATIONS_MAX: usize = 6;

/// Tries every order: the definition, and nothing else.
fn naive<M: Model<Key = ()>>(model: &M, history: &[OperationOf<M>]) -> bool {
    let mut placed = vec![false; history.len()];
    naive_from(model, history, &mut placed, &model.start(&()))
}

fn naive_from<M: Model<Key = ()>>(
    model: &M,
    history: &[OperationOf<M>],
    placed: &mut [bool],
    state: &M::State,
) -> bool {
    let left = |placed: &[bool]| {
        (0..history.len())
            .filter(|at| !placed[*at])
            .collect::<Vec<_>>()
    };
    if left(placed).iter().all(|at| history[*at].ret.is_none()) {
        return true;
    }
    for at in left(placed) {
        let after_another = |other: &usize| {
            history[*other]
                .ret
                .is_some_and(|ret| ret < history[at].call)
        };
        if left(placed).iter().any(after_another) {
            continue;
        }
        let operation = &history[at];
        if let Some(next) = model.step(state, &operation.op, operation.outcome.as_ref()) {
            placed[at] = true;
            let found = naive_from(model, history, placed, &next);
            placed[at] = false;
            if found {
                return true;
            }
        }
    }
    false
}

/// Lives through a random history of an object: `ask` draws a request, `answer` tells what
/// the object says to it.
fn live<M: Model<Key = ()>>(
    model: &M,
    dice: &mut SmallRng,
    ask: impl Fn(&mut SmallRng) -> M::Op,
    answer: impl Fn(&M::State, &M::Op) -> M::Outcome,
) -> Vec<OperationOf<M>> {
    let count = dice.random_range(1..=OPERATIONS_MAX);
    let span = dice.random_range(2..30);
    let mut points: Vec<(i64, OperationOf<M>)> = (0..count)
        .map(|client| {
            let call = dice.random_range(0..span);
            let ret = call + dice.random_range(0..8);
            let op = ask(dice);
            let operation = Operation {
                client: client as u32,
                call,
                ret: Some(ret),
                op,
                outcome: None,
            };
            (dice.random_range(call..=ret), operation)
        })
        .collect();
    points.sort_by_key(|(point, _)| *point);
    let mut state = model.start(&());
    for (_, operation) in &mut points {
        let lost = dice.random_ratio(1, 5);
        if lost {
            operation.ret = None;
        }
        if lost && dice.random() {
            continue;
        }
        let outcome = answer(&state, &operation.op);
        state = model
            .step(&state, &operation.op, Some(&outcome))
            .expect("the object answers for itself");
        operation.outcome = (!lost).then_some(outcome);
    }
    let mut history: Vec<_> = points.into_iter().map(|(_, operation)| operation).collect();
    history.sort_by_key(|operation| operation.client);
    history
}

/// Breaks a history, perhaps: other times, or another's outcome.
fn mutate<M: Model>(history: &mut [OperationOf<M>], dice: &mut SmallRng) {
    let at = dice.random_range(0..history.len());
    let other = dice.random_range(0..history.len());
    match dice.random_range(0..3) {
        0 => {
            history[at].outcome = history[other]
                .outcome
                .clone()
                .filter(|_| history[at].ret.is_some())
        }
        1 => {
            let shift = dice.random_range(-6..=6);
            history[at].call += shift;
            history[at].ret = history[at].ret.map(|ret| ret + shift);
        }
        _ => {
            if let Some(ret) = history[at].ret {
                history[at].call = ret;
            }
        }
    }
    if history[at].ret.is_some() && history[at].outcome.is_none() {
        history[at].outcome = history
            .iter()
            .find_map(|operation| operation.outcome.clone());
    }
}

/// Judges `rounds` histories both ways. Returns how many were valid and how many not.
fn agree<M: Model<Key = ()>>(
    model: &M,
    rounds: u64,
    ask: impl Fn(&mut SmallRng) -> M::Op,
    answer: impl Fn(&M::State, &M::Op) -> M::Outcome,
) -> (u64, u64) {
    let mut counts = (0, 0);
    for seed in 0..rounds {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut history = live(model, &mut dice, &ask, &answer);
        if seed % 2 == 1 {
            mutate::<M>(&mut history, &mut dice);
        }
        let truth = naive(model, &history);
        match check(model, &history) {
            Verdict::Valid(order) => {
                assert!(truth, "seed {seed}: called valid: {history:?}");
                replay(model, &history, order.operations());
                counts.0 += 1;
            }
            Verdict::Invalid(conviction) => {
                assert!(
                    !truth,
                    "seed {seed}: called invalid ({conviction:?}): {history:?}"
                );
                assert!(history[conviction.operation].ret.is_some());
                counts.1 += 1;
            }
            verdict => panic!("seed {seed}: {verdict:?} of {history:?}"),
        }
    }
    counts
}

/// The enumerator's rules, along one order.
fn replay<M: Model<Key = ()>>(model: &M, history: &[OperationOf<M>], order: &[u32]) {
    let mut state = model.start(&());
    for (place, at) in order.iter().enumerate() {
        let operation = &history[*at as usize];
        for earlier in &order[..place] {
            assert!(
                operation
                    .ret
                    .is_none_or(|ret| ret >= history[*earlier as usize].call)
            );
        }
        let after = model.step(&state, &operation.op, operation.outcome.as_ref());
        state = after.expect("a legal order");
    }
    let answered = history
        .iter()
        .filter(|operation| operation.ret.is_some())
        .count();
    assert!(order.len() >= answered);
}

/// A register that no zones decide; if `told`, the search is told all else.
struct Searched {
    register: Register,
    told: bool,
}

impl Model for Searched {
    type Op = RegisterOp;
    type Outcome = RegisterOutcome;
    type State = Symbol;
    type Key = ();

    fn start(&self, key: &()) -> Symbol {
        self.register.start(key)
    }

    fn step(
        &self,
        state: &Symbol,
        op: &RegisterOp,
        outcome: Option<&RegisterOutcome>,
    ) -> Option<Symbol> {
        self.register.step(state, op, outcome)
    }

    fn key(&self, _op: &RegisterOp) {}

    fn class(&self, op: &RegisterOp, outcome: Option<&RegisterOutcome>) -> Class {
        match self.told {
            true => self.register.class(op, outcome),
            false => Class::Update,
        }
    }
}

#[test]
fn zones_and_searches_agree_on_busy_registers() {
    let base = Settings {
        clients: 5,
        operations: 40,
        ..Settings::default()
    };
    let (mut valid, mut invalid) = (0, 0);
    for seed in 0..300 {
        let mut dice = SmallRng::seed_from_u64(seed);
        let settings = Settings {
            seed,
            values: if dice.random() {
                Values::Distinct
            } else {
                Values::Few
            },
            cas_percent: if dice.random() { 0 } else { 10 },
            unanswered: dice.random_range(0..4),
            ..base
        };
        let rows = generate(&settings);
        let mut history: Vec<_> = rows.into_iter().map(|(operation, _)| operation).collect();
        if seed % 2 == 1 {
            mutate::<Register>(&mut history, &mut dice);
        }
        let all = check(&Register::default(), &history).word();
        for told in [false, true] {
            let register = Register::default();
            let searched = check(&Searched { register, told }, &history);
            assert_eq!(all, searched.word(), "seed {seed}, told: {told}");
        }
        match all {
            "valid" => valid += 1,
            _ => invalid += 1,
        }
    }
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

fn symbol(dice: &mut SmallRng) -> Symbol {
    Symbol(dice.random_range(1..4))
}

#[test]
fn registers_agree_with_the_enumerator() {
    let ask = |dice: &mut SmallRng| match dice.random_range(0..10) {
        0..4 => RegisterOp::Read,
        4..8 => RegisterOp::Write(symbol(dice)),
        _ => RegisterOp::Cas(symbol(dice), symbol(dice)),
    };
    let answer = |state: &Symbol, op: &RegisterOp| match op {
        RegisterOp::Read => RegisterOutcome::Value(*state),
        RegisterOp::Write(_) => RegisterOutcome::Done,
        RegisterOp::Cas(from, _) => RegisterOutcome::Swapped(from == state),
    };
    let (valid, invalid) = agree(&Register::default(), 2500, ask, answer);
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn registers_without_cas_agree_with_the_enumerator() {
    let ask = |dice: &mut SmallRng| match dice.random_range(0..2) {
        0 => RegisterOp::Read,
        _ => RegisterOp::Write(Symbol(dice.random_range(1..1000))),
    };
    let answer = |state: &Symbol, op: &RegisterOp| match op {
        RegisterOp::Read => RegisterOutcome::Value(*state),
        RegisterOp::Write(_) | RegisterOp::Cas(..) => RegisterOutcome::Done,
    };
    let (valid, invalid) = agree(&Register::default(), 2500, ask, answer);
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn texts_agree_with_the_enumerator() {
    let word = |dice: &mut SmallRng| ["a", "b", "c"][dice.random_range(0..3)].into();
    let ask = |dice: &mut SmallRng| match dice.random_range(0..10) {
        0..4 => TextOp::Get,
        4..6 => TextOp::Put(word(dice)),
        _ => TextOp::Append(word(dice)),
    };
    let answer = |state: &std::sync::Arc<str>, op: &TextOp| match op {
        TextOp::Get => TextOutcome::Text(state.clone()),
        TextOp::Put(_) | TextOp::Append(_) => TextOutcome::Done,
    };
    let (valid, invalid) = agree(&Text, 1500, ask, answer);
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn sets_agree_with_the_enumerator() {
    let ask = |dice: &mut SmallRng| match dice.random_range(0..8) {
        0..3 => SetOp::Add(symbol(dice)),
        3..5 => SetOp::Remove(symbol(dice)),
        5 => SetOp::Contains(symbol(dice)),
        _ => SetOp::Read,
    };
    let answer = |state: &std::collections::BTreeSet<Symbol>, op: &SetOp| match op {
        SetOp::Add(element) if element.0 == 1 => SetOutcome::Done,
        SetOp::Add(element) => SetOutcome::Told(!state.contains(element)),
        SetOp::Remove(element) if element.0 == 1 => SetOutcome::Done,
        SetOp::Remove(element) | SetOp::Contains(element) => {
            SetOutcome::Told(state.contains(element))
        }
        SetOp::Read => SetOutcome::Elements(state.clone()),
    };
    let (valid, invalid) = agree(&Set::default(), 1500, ask, answer);
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn queues_agree_with_the_enumerator() {
    let ask = |dice: &mut SmallRng| match dice.random() {
        true => QueueOp::Dequeue,
        false => QueueOp::Enqueue(symbol(dice)),
    };
    let answer =
        |state: &std::collections::VecDeque<Symbol>, op: &QueueOp| match (op, state.front()) {
            (QueueOp::Enqueue(_), _) => QueueOutcome::Done,
            (QueueOp::Dequeue, Some(first)) => QueueOutcome::Element(*first),
            (QueueOp::Dequeue, None) => QueueOutcome::Empty,
        };
    let (valid, invalid) = agree(&Queue::default(), 1500, ask, answer);
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn locks_agree_with_the_enumerator() {
    let ask = |dice: &mut SmallRng| match dice.random() {
        true => MutexOp::Acquire,
        false => MutexOp::Release,
    };
    let answer = |held: &bool, op: &MutexOp| *held != (*op == MutexOp::Acquire);
    let (valid, invalid) = agree(&Mutex, 1500, ask, answer);
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn intervals_are_closed() {
    let write = Operation {
        client: 0,
        call: 0,
        ret: Some(5),
        op: RegisterOp::Write(Symbol(1)),
        outcome: Some(RegisterOutcome::Done),
    };
    let read = |call| Operation {
        client: 1,
        call,
        ret: Some(9),
        op: RegisterOp::Read,
        outcome: Some(RegisterOutcome::Value(NIL)),
    };
    let model = Register::default();
    assert_eq!(check(&model, &[write.clone(), read(5)]).word(), "valid");
    assert_eq!(check(&model, &[write, read(6)]).word(), "invalid");
}

#[test]
fn a_budget_that_ends_is_told_and_no_verdict_is_guessed() {
    let history: Vec<_> = (0..40)
        .map(|client| Operation {
            client,
            call: 0,
            ret: Some(10),
            op: QueueOp::Enqueue(Symbol(client)),
            outcome: Some(QueueOutcome::Done),
        })
        .collect();
    let budget = Budget {
        configurations: 5_000,
        ..Budget::default()
    };
    let mut history = history;
    history.push(Operation {
        client: 99,
        call: 11,
        ret: Some(12),
        op: QueueOp::Dequeue,
        outcome: Some(QueueOutcome::Element(Symbol(1000))),
    });
    let verdict = check_within(&Queue::default(), &history, &budget);
    assert_eq!(verdict, Verdict::Unknown("5000 configurations".into()));
}

#[test]
fn hundreds_in_flight_are_no_reason_to_panic() {
    let write = |client, call, ret, value| Operation {
        client,
        call,
        ret,
        op: RegisterOp::Write(Symbol(value)),
        outcome: ret.map(|_| RegisterOutcome::Done),
    };
    for crowd in [60, 100, 200, 1000, 4000, 5000] {
        // They never return, and the last write is surely overwritten by one of them.
        let mut history: Vec<_> = (0..crowd).map(|client| write(client, 0, None, 1)).collect();
        history.push(write(crowd, 1, Some(2), 2));
        history.push(Operation {
            client: crowd,
            call: 11,
            ret: Some(12),
            op: RegisterOp::Cas(Symbol(1), Symbol(3)),
            outcome: Some(RegisterOutcome::Swapped(true)),
        });
        let verdict = check(&Register::default(), &history);
        match crowd {
            0..4096 => assert_eq!(verdict.word(), "valid", "{crowd}"),
            _ => assert_eq!(
                verdict,
                Verdict::Unknown("5001 operations in flight at once".into())
            ),
        }
    }
}
