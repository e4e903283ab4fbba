//! The servers' log is a witness: an honest one spares the search, a lying one changes
//! nothing.

mod toy;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{Options, Property, Verdict, judge};
use toy::{Dice, Shape, valid_history_with_log};

/// Many lost answers on few nodes.
const CROWDED: Shape = Shape {
    clients: 6,
    steps: 500,
    paths: 2,
    losses: 12,
    watches: 5,
    acls: false,
    notify_zxid: true,
};

/// Judged with little patience: what takes long is no matter here.
fn judged(history: &History) -> Verdict {
    let options = Options {
        tries_max: 300,
        ..Options::default()
    };
    judge(history, &options)
}

fn without_log(history: &History) -> History {
    let mut bare = history.clone();
    bare.txns.clear();
    bare.header.txns = None;
    bare
}

/// Options that give up at once: what is decided then, the log decided.
fn no_search() -> Options {
    Options {
        tries_max: 0,
        ..Options::default()
    }
}

#[test]
fn honest_log_spares_the_search() {
    for seed in 0..150 {
        let history = valid_history_with_log(seed, CROWDED);
        let verdict = judge(&history, &no_search());
        assert!(matches!(verdict, Verdict::Valid(_)), "{seed}: {verdict}");
    }
}

/// Something untrue is said in the log, still in so many words.
fn lie(txns: &mut Vec<Txn>, dice: &mut Dice) {
    let (at, other) = (dice.below(txns.len()), dice.below(txns.len()));
    match dice.below(6) {
        0 => drop(txns.remove(at)),
        1 => txns[at].zxid += dice.below(7) as i64 - 3,
        2 => txns[at].xid += dice.below(5) as i32 - 2,
        3 => {
            let zxid = txns[at].zxid;
            txns[at].zxid = std::mem::replace(&mut txns[other].zxid, zxid);
        }
        4 => {
            let kinds = [
                TxnKind::Open,
                TxnKind::Close,
                TxnKind::Write,
                TxnKind::Refused,
            ];
            txns[at].kind = kinds[dice.below(4)];
        }
        _ => {
            let copy = Txn {
                zxid: txns[other].zxid + 1,
                ..txns[at]
            };
            txns.push(copy);
        }
    }
}

/// The history with its log as told by a liar, who says that it is whole.
fn lied_about(history: &History, dice: &mut Dice) -> History {
    let mut told = history.clone();
    for _ in 0..=dice.below(6) {
        lie(&mut told.txns, dice);
    }
    told.header.txns = Some(told.txns.len() as u64);
    told
}

#[test]
fn lying_log_makes_no_valid_history_invalid() {
    let mut dice = Dice(7);
    for seed in 0..150 {
        let history = valid_history_with_log(seed, Shape::default());
        let told = lied_about(&history, &mut dice);
        let verdict = judge(&told, &Options::default());
        assert!(matches!(verdict, Verdict::Valid(_)), "{seed}: {verdict}");
    }
}

/// One answer says something else than it said; false where it had nothing to say.
fn spoil(history: &mut History, dice: &mut Dice) -> bool {
    let at = dice.below(history.records.len());
    let Body::Return { zxid, result, .. } = &mut history.records[at].body else {
        return false;
    };
    match result {
        Ok(Answer::Data { data, stat }) => match dice.below(3) {
            0 => *data = Some("never written".into()),
            1 => stat.version += 1,
            _ => stat.mzxid -= 1,
        },
        Ok(Answer::NamesStat { names, stat }) => match names.pop() {
            Some(_) => {}
            None => stat.cversion += 2,
        },
        Ok(Answer::Stat(stat)) => stat.version -= 1,
        Ok(_) => *zxid -= 2,
        Err(_) => *result = Ok(Answer::Done),
    }
    true
}

#[test]
fn lying_log_makes_no_invalid_history_valid() {
    let (mut dice, mut convicted) = (Dice(11), 0);
    for seed in 0..200 {
        let mut history = valid_history_with_log(seed, Shape::default());
        while !spoil(&mut history, &mut dice) {}
        // Not every change is a wrong, and not every wrong can be told from a lost answer.
        if !matches!(judged(&without_log(&history)), Verdict::Invalid(_)) {
            continue;
        }
        convicted += 1;
        for told in [history.clone(), lied_about(&history, &mut dice)] {
            let verdict = judged(&told);
            assert!(matches!(verdict, Verdict::Invalid(_)), "{seed}: {verdict}");
        }
    }
    assert!(convicted > 100, "only {convicted} were wrong at all");
}

#[test]
fn undecided_history_that_contradicts_a_whole_log_is_convicted_by_it_and_by_no_other() {
    let (mut dice, mut convicted) = (Dice(13), 0);
    for seed in 0..100 {
        let mut history = valid_history_with_log(seed, CROWDED);
        while !spoil(&mut history, &mut dice) {}
        let bare = judge(&without_log(&history), &no_search());
        if !matches!(bare, Verdict::Unknown(_)) {
            continue;
        }
        let Verdict::Invalid(violation) = judge(&history, &no_search()) else {
            continue;
        };
        convicted += 1;
        let words = "judged by the servers' own log";
        assert!(violation.reason.contains(words), "{}", violation.reason);
        assert!(Property::ALL.contains(&violation.property));
        let mut cut = history.clone();
        cut.txns.pop();
        let verdict = judge(&cut, &no_search());
        assert!(matches!(verdict, Verdict::Unknown(_)), "{seed}: {verdict}");
    }
    assert!(convicted > 20, "only {convicted} were convicted by the log");
}
