//! What was lived through for real is never convicted.
//!
//! Long lives of one object, each operation with a point within its interval at which it
//! took effect: whatever their clients, haste, values and lost answers, they are valid.
//! Short random histories, which `tests/linear.rs` compares with an enumerator, seldom hold
//! the tangles that a long life runs into by itself.
//!
//! ```sh
//! LIVED=0..5000 cargo test --release -p gamekeeper-checker --test lived    # more of them
//! ```

use gamekeeper_checker::linear::models::{
    Register, RegisterOp, RegisterOutcome, Symbol, Text, TextOp, TextOutcome,
};
use gamekeeper_checker::linear::{Model, Operation, OperationOf, Verdict, check};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::sync::Arc;

/// Operations of a life.
const OPERATIONS: usize = 1000;

/// Lives of each object in an ordinary run.
const LIVES: Range<u64> = 0..12;

fn lives() -> Range<u64> {
    let Ok(asked) = std::env::var("LIVED") else {
        return LIVES;
    };
    let ends = asked
        .split_once("..")
        .and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    ends.expect("LIVED is a range, such as 0..5000")
}

/// A way of living.
struct Manner {
    clients: usize,
    /// Longest interval of an ordinary operation.
    haste: i64,
    /// Every so many operations one answer is lost.
    lost_one_in: u32,
    /// Different values.
    values: u32,
    /// Of a hundred operations so many read, and so many more depend on the state.
    reads: u32,
    depend: u32,
}

impl Manner {
    fn drawn(dice: &mut SmallRng) -> Self {
        let mut one_of = |from: &[u32]| from[dice.random_range(0..from.len())];
        Manner {
            clients: one_of(&[2, 3, 5, 5, 8]) as usize,
            haste: i64::from(one_of(&[3, 20, 300])),
            lost_one_in: one_of(&[500, u32::MAX]),
            values: one_of(&[2, 3, 5, 100]),
            reads: one_of(&[10, 30, 50]),
            depend: one_of(&[5, 10, 30, 45]),
        }
    }

    /// Calls, returns, and the moments between at which each takes effect; in their order.
    fn intervals(&self, dice: &mut SmallRng) -> Vec<(i64, u32, i64, i64)> {
        let mut free = vec![0; self.clients];
        let mut drawn = Vec::with_capacity(OPERATIONS);
        for _ in 0..OPERATIONS {
            let (client, _) = free.iter().enumerate().min_by_key(|(_, at)| **at).unwrap();
            let slow = if dice.random_ratio(1, 8) { 10 } else { 1 };
            let call: i64 = free[client] + 1;
            let ret = call + dice.random_range(0..=self.haste * slow);
            free[client] = ret;
            drawn.push((dice.random_range(call..=ret), client as u32, call, ret));
        }
        drawn.sort();
        drawn
    }
}

/// Lives through `ask`ed operations of the model's object.
fn live<M: Model<Key = ()>>(
    model: &M,
    manner: &Manner,
    dice: &mut SmallRng,
    ask: impl Fn(&M::State, &mut SmallRng) -> M::Op,
    answer: impl Fn(&M::State, &M::Op) -> M::Outcome,
) -> Vec<OperationOf<M>> {
    let mut state = model.start(&());
    let mut history = Vec::with_capacity(OPERATIONS);
    for (_, client, call, ret) in manner.intervals(dice) {
        let op = ask(&state, dice);
        let outcome = answer(&state, &op);
        let lost = dice.random_ratio(1, manner.lost_one_in);
        if !lost || dice.random() {
            state = model
                .step(&state, &op, Some(&outcome))
                .expect("the object answers for itself");
        }
        history.push(Operation {
            client,
            call,
            ret: (!lost).then_some(ret),
            op,
            outcome: (!lost).then_some(outcome),
        });
    }
    history
}

fn symbol(manner: &Manner, dice: &mut SmallRng) -> Symbol {
    Symbol(dice.random_range(1..=manner.values))
}

#[test]
fn a_registers_life_is_never_convicted() {
    for seed in lives() {
        let mut dice = SmallRng::seed_from_u64(seed);
        let manner = Manner::drawn(&mut dice);
        let ask = |state: &Symbol, dice: &mut SmallRng| match dice.random_range(0..100) {
            drawn if drawn < manner.reads => RegisterOp::Read,
            drawn if drawn < manner.reads + manner.depend => {
                let from = match dice.random() {
                    true => *state,
                    false => symbol(&manner, dice),
                };
                RegisterOp::Cas(from, symbol(&manner, dice))
            }
            _ => RegisterOp::Write(symbol(&manner, dice)),
        };
        let answer = |state: &Symbol, op: &RegisterOp| match op {
            RegisterOp::Read => RegisterOutcome::Value(*state),
            RegisterOp::Write(_) => RegisterOutcome::Done,
            RegisterOp::Cas(from, _) => RegisterOutcome::Swapped(from == state),
        };
        let history = live(&Register::default(), &manner, &mut dice, ask, answer);
        let verdict = check(&Register::default(), &history);
        assert!(
            matches!(verdict, Verdict::Valid(_)),
            "seed {seed}: {verdict:?}"
        );
    }
}

#[test]
fn a_texts_life_is_never_convicted() {
    for seed in lives() {
        let mut dice = SmallRng::seed_from_u64(seed);
        let manner = Manner::drawn(&mut dice);
        let word = |dice: &mut SmallRng| symbol(&manner, dice).0.to_string().into();
        let ask = |state: &Arc<str>, dice: &mut SmallRng| match dice.random_range(0..100) {
            drawn if drawn < manner.reads => TextOp::Get,
            // A text that only grows would soon be all there is to see.
            drawn if drawn < manner.reads + manner.depend && state.len() < 6 => {
                TextOp::Append(word(dice))
            }
            _ => TextOp::Put(word(dice)),
        };
        let answer = |state: &Arc<str>, op: &TextOp| match op {
            TextOp::Get => TextOutcome::Text(state.clone()),
            TextOp::Put(_) | TextOp::Append(_) => TextOutcome::Done,
        };
        let history = live(&Text, &manner, &mut dice, ask, answer);
        let verdict = check(&Text, &history);
        assert!(
            matches!(verdict, Verdict::Valid(_)),
            "seed {seed}: {verdict:?}"
        );
    }
}

/// Client 0 overwrites what is there with the same value. To whom it may look idle, but it
/// hides client 3's write, without which the second swap has nothing to swap: 3, 2, 0, 2
/// again, 3. Found by a long life of five clients and five values.
#[test]
fn an_overwrite_that_changes_nothing_hides_others() {
    let did = |client, call, ret, op, outcome| Operation {
        client,
        call,
        ret: Some(ret),
        op,
        outcome: Some(outcome),
    };
    let write = |value| RegisterOp::Write(Symbol(value));
    let swap = |from, to| RegisterOp::Cas(Symbol(from), Symbol(to));
    let history = [
        did(0, 0, 60, write(2), RegisterOutcome::Done),
        did(1, 10, 30, swap(3, 2), RegisterOutcome::Swapped(true)),
        did(2, 11, 29, write(3), RegisterOutcome::Done),
        did(4, 12, 40, swap(2, 3), RegisterOutcome::Swapped(true)),
        did(3, 31, 50, write(7), RegisterOutcome::Done),
        did(
            5,
            70,
            80,
            RegisterOp::Read,
            RegisterOutcome::Value(Symbol(3)),
        ),
    ];
    let verdict = check(&Register::default(), &history);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
}
