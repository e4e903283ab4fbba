//! ZooKeeper's promises over registers with zxids, against an enumerator of its own.

use gamekeeper_checker::linear::generate::{Settings, generate};
use gamekeeper_checker::linear::models::{
    Keyed, Register, RegisterOp, RegisterOutcome, Symbol, Symbols,
};
use gamekeeper_checker::linear::{Budget, Model, OperationOf, Witnessed, check_zookeeper};
use gamekeeper_checker::{Class, Property};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

type Op = OperationOf<Keyed<Register>>;

/// A history and its zxids.
#[derive(Debug, Clone)]
struct Case {
    history: Vec<Op>,
    zxids: Vec<Option<i64>>,
}

fn model() -> Keyed<Register> {
    let mut symbols = Symbols::default();
    for name in ["a", "b", "c", "d", "e", "f"] {
        symbols.number(name);
    }
    let symbols = Arc::new(symbols);
    Keyed {
        model: Register {
            symbols: symbols.clone(),
        },
        symbols,
    }
}

fn is_refused(operation: &Op) -> bool {
    operation.outcome == Some(RegisterOutcome::Swapped(false))
}

fn writes(operation: &Op) -> bool {
    operation.op.1 != RegisterOp::Read
}

fn show(case: &Case) -> String {
    let row = |(operation, zxid): (&Op, &Option<i64>)| {
        let Op {
            client,
            call,
            ret,
            op,
            outcome,
        } = operation;
        format!("\n{client} [{call}, {ret:?}] {op:?} {outcome:?} zxid {zxid:?}")
    };
    case.history.iter().zip(&case.zxids).map(row).collect()
}

/// Tries every way to put what has no zxid between what has one.
fn naive(case: &Case) -> bool {
    let refused = |at: &usize| is_refused(&case.history[*at]);
    let fixed = |at: &usize| case.zxids[*at].is_some() && case.history[*at].ret.is_some();
    let mut order: Vec<usize> = (0..case.history.len()).filter(fixed).collect();
    // (What was refused may carry the zxid of what it saw: then it is like a read, and of looks
    // at one zxid the calls' order is as good as any.)
    let looks = |at: &usize| !writes(&case.history[*at]) || refused(at);
    order.sort_by_key(|at| (case.zxids[*at], looks(at), case.history[*at].call));
    let took_effect = |at: &&usize| writes(&case.history[**at]) && !refused(at);
    let zxids: Vec<_> = order
        .iter()
        .filter(took_effect)
        .map(|at| case.zxids[*at])
        .collect();
    if zxids.windows(2).any(|pair| pair[0] == pair[1]) {
        return false;
    }
    let loose: Vec<usize> = (0..case.history.len())
        .filter(|at| !fixed(at) && (case.history[*at].ret.is_some() || writes(&case.history[*at])))
        .collect();
    insert(case, order, &loose)
}

fn insert(case: &Case, order: Vec<usize>, loose: &[usize]) -> bool {
    let Some((first, rest)) = loose.split_first() else {
        return holds(case, &order);
    };
    if case.history[*first].ret.is_none() && insert(case, order.clone(), rest) {
        return true;
    }
    (0..=order.len()).any(|place| {
        let mut order = order.clone();
        order.insert(place, *first);
        insert(case, order, rest)
    })
}

/// The definition, along one order of everything.
fn holds(case: &Case, order: &[usize]) -> bool {
    let model = model();
    let refused = |at: &usize| is_refused(&case.history[*at]);
    let mut states = std::collections::BTreeMap::new();
    for (place, at) in order.iter().enumerate() {
        let now = &case.history[*at];
        let state = states.entry(now.op.0).or_insert(Symbol(0));
        match model.step(state, &now.op, now.outcome.as_ref()) {
            Some(after) => *state = after,
            None => return false,
        }
        for (ahead, before) in order[..place].iter().enumerate() {
            let earlier = &case.history[*before];
            // W1 and R3.
            if writes(earlier) && now.ret.is_some_and(|ret| ret < earlier.call) {
                return false;
            }
            // W2 and R2. Reads at one place commute, and what was never answered binds writes.
            // (What was refused may share the zxid of what it saw; then it is like a read.)
            let shares = |other: &usize| {
                case.zxids[*other].is_some() && case.zxids[*other] == case.zxids[*at]
            };
            let changes =
                |other: &usize| writes(&case.history[*other]) && !(refused(other) && shares(other));
            let commute = !order[ahead..=place].iter().any(changes);
            let unbound = !writes(earlier) && now.ret.is_none();
            if earlier.client == now.client && earlier.call > now.call && !commute && !unbound {
                return false;
            }
            // A client's zxids do not fall, even where nothing lies between them.
            let fell = case.zxids[*before] < case.zxids[*at] && earlier.call > now.call;
            if fell && case.zxids[*before].is_some() && earlier.client == now.client {
                return false;
            }
            // What shares a zxid has no change between.
            let loose = order[ahead..place]
                .iter()
                .any(|at| case.zxids[*at].is_none() && writes(&case.history[*at]) && !refused(at));
            if loose && case.zxids[*at].is_some() && case.zxids[*at] == case.zxids[*before] {
                return false;
            }
        }
        let seen = |before: &usize| {
            case.history[*before].client == now.client
                && case.zxids[*before].is_some()
                && case.zxids[*before] == case.zxids[*at]
                && case.history[*before].call < now.call
        };
        if writes(now) && !is_refused(now) && case.zxids[*at].is_some() && order.iter().any(seen) {
            return false;
        }
    }
    true
}

/// A small history of one or two registers with some zxids hidden, some outcomes lost.
fn draw(seed: u64) -> Case {
    let mut dice = SmallRng::seed_from_u64(seed);
    let settings = Settings {
        clients: dice.random_range(1..4),
        operations: dice.random_range(2..7),
        seed,
        stale: dice.random(),
        cas_percent: 25,
        unanswered: dice.random_range(0..2),
        ..Settings::default()
    };
    let mut rows = generate(&settings);
    // Some recorders give what was refused the zxid of the state that it saw.
    if dice.random() {
        let refused = |outcome| outcome == Some(RegisterOutcome::Swapped(false));
        let changed = rows.iter().filter(|(operation, _)| {
            operation.op != RegisterOp::Read && !refused(operation.outcome)
        });
        let changed: Vec<i64> = changed.filter_map(|(_, zxid)| *zxid).collect();
        for (_, zxid) in rows.iter_mut().filter(|(at, _)| refused(at.outcome)) {
            *zxid = changed.iter().copied().filter(|at| Some(*at) < *zxid).max();
        }
    }
    let mut case = Case {
        history: Vec::new(),
        zxids: Vec::new(),
    };
    for (operation, zxid) in rows {
        let hidden = dice.random_ratio(1, 8);
        case.zxids.push(zxid.filter(|_| !hidden));
        case.history.push(Op {
            client: operation.client,
            call: operation.call,
            ret: operation.ret,
            op: (Symbol(1), operation.op),
            outcome: operation.outcome,
        });
    }
    if seed % 2 == 1 {
        spoil(&mut case, &mut dice);
    }
    forget(&mut case);
    case
}

/// What was never answered has told no zxid.
fn forget(case: &mut Case) {
    for at in 0..case.history.len() {
        if case.history[at].ret.is_none() {
            case.zxids[at] = None;
        }
    }
}

/// Changes something, so that the history may be wrong.
fn spoil(case: &mut Case, dice: &mut SmallRng) {
    let at = dice.random_range(0..case.history.len());
    let other = dice.random_range(0..case.history.len());
    match dice.random_range(0..5) {
        0 => case.zxids.swap(at, other),
        1 => case.zxids[at] = case.zxids[at].map(|zxid| (zxid + dice.random_range(-1..=1)).max(0)),
        2 => case.history[at].client = case.history[other].client,
        3 => {
            let operation = &mut case.history[at];
            operation.call = (operation.call + dice.random_range(-6..=6)).max(0);
            operation.ret = operation.ret.map(|ret| ret.max(operation.call));
        }
        _ if case.history[at].op.1 == RegisterOp::Read && case.history[at].ret.is_some() => {
            let value = Symbol(dice.random_range(0..4));
            case.history[at].outcome = Some(RegisterOutcome::Value(value));
        }
        _ => {}
    }
}

/// A life of one to three registers of which many zxids were never learned: reads lag, answers
/// are lost, and some recorders give what was refused the zxid of the state that it saw.
fn draw_keys(seed: u64) -> Case {
    let mut dice = SmallRng::seed_from_u64(seed);
    let (clients, keys) = (dice.random_range(1..4), dice.random_range(1..4u32));
    let (hidden, lost) = (dice.random_range(1..8u32), dice.random_range(0..3u32));
    let long = dice.random_range(3..20);
    let (shares, lags): (bool, bool) = (dice.random(), dice.random());
    let mut free = vec![0; clients as usize];
    // When each operation happens, who asks, and between which times.
    let mut plan: Vec<(f64, u32, i64, i64)> = Vec::new();
    for _ in 0..dice.random_range(2..7) {
        let client = dice.random_range(0..clients);
        let call = free[client as usize] + dice.random_range(0..4);
        let ret = call + dice.random_range(0..long);
        free[client as usize] = ret + dice.random_range(1..4);
        let point = call as f64 + dice.random::<f64>() * (ret - call) as f64;
        plan.push((point, client, call, ret));
    }
    plan.sort_by(|a, b| a.partial_cmp(b).expect("times are numbers"));
    let mut states = vec![(0, vec![Symbol(0); keys as usize])];
    let mut seen = vec![0; clients as usize];
    let (mut case, mut zxid) = (case(&[]), 0);
    for (_, client, call, ret) in plan {
        let key = dice.random_range(0..keys) as usize;
        let last = states.len() - 1;
        let from = if lags { seen[client as usize] } else { last };
        let (mut at, now) = (dice.random_range(from..=last), states[last].1[key]);
        let mut value = || Symbol(dice.random_range(1..4));
        let (op, outcome, after) = match value().0 {
            1 => (
                RegisterOp::Read,
                RegisterOutcome::Value(states[at].1[key]),
                None,
            ),
            2 => {
                let new = value();
                (RegisterOp::Write(new), RegisterOutcome::Done, Some(new))
            }
            _ => {
                let (old, new) = (if value().0 == 1 { value() } else { now }, value());
                let swapped = RegisterOutcome::Swapped(old == now);
                (
                    RegisterOp::Cas(old, new),
                    swapped,
                    (old == now).then_some(new),
                )
            }
        };
        let answered = !dice.random_ratio(lost, 6);
        if op != RegisterOp::Read {
            zxid += 1;
            at = last;
            let happened = answered || dice.random();
            if let (Some(after), true) = (after, happened) {
                states.push((zxid, states[last].1.clone()));
                at = last + 1;
                states[at].1[key] = after;
            } else if !shares {
                // Its zxid is its own.
                states.push((zxid, states[last].1.clone()));
                at = last + 1;
            }
        }
        if answered {
            seen[client as usize] = at;
        }
        case.zxids
            .push(Some(states[at].0).filter(|_| !dice.random_ratio(hidden, 8)));
        case.history.push(Op {
            client,
            call,
            ret: answered.then_some(ret),
            op: (Symbol(key as u32 + 1), op),
            outcome: answered.then_some(outcome),
        });
    }
    for _ in 0..4 * (seed % 2) {
        spoil(&mut case, &mut dice);
    }
    forget(&mut case);
    case
}

/// Whether some order explains the answers of a convicted history.
fn true_class(case: &Case) -> Class {
    let hidden = Case {
        zxids: vec![None; case.zxids.len()],
        history: case.history.clone(),
    };
    match naive(&hidden) {
        true => Class::ZxidNotHonest,
        false => Class::Inconsistent,
    }
}

/// How many of the drawn histories are valid and how many are not, enumerator and judge agreeing.
fn agree(seeds: std::ops::Range<u64>, draw: fn(u64) -> Case) -> (u32, u32) {
    let (mut valid, mut invalid) = (0, 0);
    for seed in seeds {
        let case = draw(seed);
        let truth = naive(&case);
        match check_zookeeper(&model(), &case.history, &case.zxids, &Budget::default()) {
            Witnessed::Valid(_) => {
                assert!(truth, "seed {seed}: called valid: {}", show(&case));
                valid += 1;
            }
            Witnessed::Invalid {
                property,
                class,
                reason,
                operations,
                ..
            } => {
                assert_eq!(class, true_class(&case), "seed {seed}: {}", show(&case));
                assert!(
                    !truth,
                    "seed {seed}: called invalid ({property:?}: {reason}): {}",
                    show(&case)
                );
                assert!(!operations.is_empty(), "seed {seed}: nobody is convicted");
                invalid += 1;
            }
            Witnessed::Unknown(reason) => {
                panic!("seed {seed}: undecided ({reason}): {}", show(&case))
            }
        }
    }
    (valid, invalid)
}

#[test]
fn zookeepers_promises_agree_with_the_enumerator() {
    let (valid, invalid) = agree(0..6000, draw);
    assert!(valid > 1500 && invalid > 300, "{valid}, {invalid}");
}

#[test]
fn what_has_no_zxid_is_placed_on_all_keys_as_the_enumerator_places_it() {
    let (valid, invalid) = agree(0..8000, draw_keys);
    assert!(valid > 4000 && invalid > 1000, "{valid}, {invalid}");
}

/// A history in few words: client, call, return, request, outcome, zxid. A negative return or
/// zxid was never learned.
fn case(rows: &[(u32, i64, i64, RegisterOp, RegisterOutcome, i64)]) -> Case {
    let mut case = Case {
        history: Vec::new(),
        zxids: Vec::new(),
    };
    for (client, call, ret, op, outcome, zxid) in rows {
        case.history.push(Op {
            client: *client,
            call: *call,
            ret: Some(*ret).filter(|ret| *ret >= 0),
            op: (Symbol(1), *op),
            outcome: Some(*outcome).filter(|_| *ret >= 0),
        });
        case.zxids.push(Some(*zxid).filter(|zxid| *zxid >= 0));
    }
    case
}

fn property(case: &Case) -> (Property, Class) {
    match check_zookeeper(&model(), &case.history, &case.zxids, &Budget::default()) {
        Witnessed::Invalid {
            property, class, ..
        } => (property, class),
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn each_promise_is_named_when_it_is_broken() {
    use RegisterOp::{Cas, Read, Write};
    use RegisterOutcome::{Done, Swapped, Value};
    let [a, b, nil] = [Symbol(2), Symbol(3), Symbol(0)];
    let told = |rows: &[_]| property(&case(rows)).0;
    // The later write has the smaller zxid.
    assert_eq!(
        told(&[
            (0, 0, 10, Write(a), Done, 6),
            (1, 20, 30, Write(b), Done, 5)
        ]),
        Property::LinearizableWrites
    );
    assert_eq!(
        told(&[(0, 0, 10, Write(a), Done, 5), (0, 0, 12, Write(b), Done, 5)]),
        Property::ZxidSanity
    );
    assert_eq!(
        told(&[(0, 0, 10, Write(a), Done, 6), (0, 5, 30, Write(b), Done, 5)]),
        Property::SessionFifo
    );
    assert_eq!(
        told(&[
            (0, 0, 10, Write(a), Done, 5),
            (0, 11, 12, Read, Value(nil), 4)
        ]),
        Property::ReadYourWrites
    );
    let written = [(0, 0, 1, Write(a), Done, 5), (0, 2, 3, Write(b), Done, 6)];
    let back = [(1, 4, 5, Read, Value(b), 6), (1, 9, 12, Read, Value(a), 5)];
    assert_eq!(told(&[written, back].concat()), Property::MonotonicReads);
    assert_eq!(
        told(&[(1, 0, 5, Read, Value(a), 5), (0, 10, 15, Write(a), Done, 5)]),
        Property::NoFutureReads
    );
    let lost = [
        (0, 0, 10, Cas(nil, a), Swapped(true), 5),
        (1, 1, 11, Cas(nil, b), Swapped(true), 6),
    ];
    assert_eq!(
        property(&case(&lost)),
        (Property::ConditionalWrites, Class::Inconsistent)
    );
    let replica = [(0, 0, 1, Write(a), Done, 5), (1, 2, 3, Read, Value(b), 5)];
    assert_eq!(told(&replica), Property::ReplicasAgree);
    // Two reads by two clients may lag; the same history is no register's.
    let lagging = case(
        &[
            written,
            [(1, 4, 5, Read, Value(b), 6), (2, 9, 12, Read, Value(a), 5)],
        ]
        .concat(),
    );
    let verdict = check_zookeeper(
        &model(),
        &lagging.history,
        &lagging.zxids,
        &Budget::default(),
    );
    assert!(matches!(verdict, Witnessed::Valid(_)), "{verdict:?}");
}

#[test]
fn an_order_that_exists_but_is_not_the_reported_one_is_told_apart() {
    use RegisterOp::{Read, Write};
    use RegisterOutcome::{Done, Value};
    let rows = [
        (0, 0, 10, Write(Symbol(2)), Done, 6),
        (1, 20, 30, Read, Value(Symbol(2)), 5),
    ];
    assert_eq!(property(&case(&rows)).1, Class::ZxidNotHonest);
}

/// A write of unknown fate lies before zxid 2 or behind it, so it cannot turn the value round
/// between two that looked at zxid 2.
#[test]
fn nothing_comes_between_what_shares_a_zxid() {
    use RegisterOp::{Cas, Read, Write};
    use RegisterOutcome::{Done, Swapped, Value};
    let [a, b, c] = [Symbol(1), Symbol(2), Symbol(3)];
    let rows = [
        (0, 2, 9, Write(a), Done, 2),
        (1, 3, -1, Write(c), Done, -1),
        (2, 9, 15, Cas(b, a), Swapped(false), 2),
        (3, 13, 16, Read, Value(c), 2),
    ];
    assert_eq!(property(&case(&rows)).0, Property::ReplicasAgree);
}

/// Client 1's first read learned no zxid. It returned before the swap was called that was
/// refused at zxid 1, and still saw what was written there.
#[test]
fn what_was_refused_hides_nothing_from_reads_before_it() {
    use RegisterOp::{Cas, Read, Write};
    use RegisterOutcome::{Done, Swapped, Value};
    let [a, b] = [Symbol(1), Symbol(2)];
    let rows = [
        (0, 1, 5, Write(a), Done, 1),
        (1, 5, 8, Read, Value(a), -1),
        (1, 11, 15, Cas(b, b), Swapped(false), 1),
    ];
    let case = case(&rows);
    let verdict = check_zookeeper(&model(), &case.history, &case.zxids, &Budget::default());
    assert!(matches!(verdict, Witnessed::Valid(_)), "{verdict:?}");
}

/// Whoever reports of what was refused the zxid of the state that it saw reports one that others
/// have seen before.
#[test]
fn what_was_refused_may_share_its_zxid_with_earlier_reads() {
    use RegisterOp::{Cas, Read, Write};
    use RegisterOutcome::{Done, Swapped, Value};
    let [a, b] = [Symbol(1), Symbol(2)];
    let rows = [
        (0, 0, 10, Write(a), Done, 5),
        (1, 20, 30, Read, Value(a), 5),
        (1, 40, 50, Cas(b, a), Swapped(false), 5),
        (0, 60, 70, Cas(b, a), Swapped(false), 5),
    ];
    let case = case(&rows);
    let verdict = check_zookeeper(&model(), &case.history, &case.zxids, &Budget::default());
    assert!(matches!(verdict, Witnessed::Valid(_)), "{verdict:?}");
}
