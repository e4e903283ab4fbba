//! Histories whose zxids are hidden: an enumerator of all orders agrees with the search, and
//! the class of a conviction is what it claims to be.

mod dice;
mod naive;
mod small;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{
    CLASS_CONFIGURATIONS, Class, Options, Property, Verdict, classify, judge, judge_verified,
    judge_without_zxids,
};
use naive::hidden::{consistent_without_zxids, without_zxids};
use small::Dice;

/// Most requests of a history that is enumerated.
const REQUESTS_MAX: usize = 7;

/// A small history, spoilt or not.
fn history(seed: u64) -> History {
    let mut history = small::valid(seed, REQUESTS_MAX);
    history.txns.clear();
    small::half_spoilt(history, seed)
}

/// What the two say, where they do not agree.
fn disagreement(history: &History) -> Option<String> {
    let consistent = consistent_without_zxids(history);
    let verdict = judge_without_zxids(history, &Options::default(), 1_000_000);
    let agrees = match verdict {
        Verdict::Valid(_) => consistent,
        Verdict::Invalid(_) => !consistent,
        Verdict::Unknown(_) | Verdict::Malformed { .. } => false,
    };
    (!agrees).then(|| format!("consistent: {consistent}; judged: {verdict}"))
}

#[test]
fn search_and_enumerator_agree_on_small_histories_without_zxids() {
    let seeds = small::seeds("HIDDEN_SEEDS", 0..300);
    let count = seeds.end - seeds.start;
    let (mut consistent, mut circles, mut wrong) = (0, 0, 0);
    for seed in seeds {
        let history = history(seed);
        consistent += u64::from(consistent_without_zxids(&history));
        let verdict = judge_without_zxids(&history, &Options::default(), 0);
        // What no search was needed for.
        circles += u64::from(verdict.property().is_some());
        if let Some(words) = disagreement(&history) {
            wrong += 1;
            if wrong <= 3 {
                let small = small::shrunk(history, |less| disagreement(less).is_some());
                let words = disagreement(&small).unwrap_or(words);
                println!("seed {seed}: {words}\n{}", naive::lines(&small));
            }
        }
    }
    println!(
        "{count} histories, {consistent} consistent, {circles} circles, {wrong} disagreements"
    );
    assert_eq!(wrong, 0);
    assert!(consistent > count / 3 && consistent < count && circles > count / 100);
}

/// The class of what is wrong with a history; None if nothing is.
fn class(history: &History) -> Option<Class> {
    match judge(history, &Options::default()) {
        Verdict::Invalid(mut violation) => {
            classify(
                history,
                &Options::default(),
                &mut violation,
                CLASS_CONFIGURATIONS,
            );
            assert!(!violation.class_reason.is_empty());
            Some(violation.class)
        }
        Verdict::Valid(_) => None,
        Verdict::Unknown(reason) | Verdict::Malformed { reason, .. } => panic!("{reason}"),
    }
}

#[test]
fn class_of_a_conviction_is_what_the_enumerator_finds() {
    let (mut inconsistent, mut dishonest) = (0, 0);
    for seed in small::seeds("HIDDEN_SEEDS", 0..300) {
        let history = history(seed);
        match class(&history) {
            None => {}
            Some(class) => {
                let expected = match consistent_without_zxids(&history) {
                    true => Class::ZxidNotHonest,
                    false => Class::Inconsistent,
                };
                assert_eq!(class, expected, "seed {seed}: {}", naive::lines(&history));
                match class {
                    Class::Inconsistent => inconsistent += 1,
                    Class::ZxidNotHonest | Class::Undetermined => dishonest += 1,
                }
            }
        }
    }
    println!("{inconsistent} inconsistent, {dishonest} with dishonest zxids");
    assert!(inconsistent > 10 && dishonest > 10);
}

#[test]
fn wrong_zxids_alone_are_class_b() {
    let mut told = 0;
    for seed in small::seeds("HIDDEN_SEEDS", 0..300) {
        let mut history = small::valid(seed, 2 * REQUESTS_MAX);
        history.txns.clear();
        if class(&history).is_some() {
            // What was lost took effect after its session had been closed.
            continue;
        }
        small::spoil::spoil_zxids(&mut history, &mut Dice(!seed));
        if let Some(class) = class(&history) {
            assert_eq!(
                class,
                Class::ZxidNotHonest,
                "seed {seed}: {}",
                naive::lines(&history)
            );
            told += 1;
        }
    }
    println!("{told} convicted");
    assert!(told > 50);
}

/// A small history with watches; spoilt or not, in what was told or in what was answered.
fn watched(seed: u64) -> History {
    let mut history = small::watching(seed, REQUESTS_MAX);
    history.txns.clear();
    let mut dice = Dice(!seed);
    match dice.below(4) {
        0 => {}
        1 => small::spoil::spoil_zxids(&mut history, &mut dice),
        _ => small::spoil::spoil_told(&mut history, &mut dice),
    }
    history
}

#[test]
fn notifications_take_part_in_the_search_as_the_enumerator_has_it() {
    let (mut told, mut consistent, mut convicted) = (0, 0, 0);
    let (mut wrong, mut open, mut lenient) = (0, 0, 0);
    let seeds = small::seeds("HIDDEN_SEEDS", 0..600);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let history = watched(seed);
        let notified = |record: &Record| matches!(record.body, Body::Notify { .. });
        told += u64::from(history.records.iter().any(notified));
        let expected = consistent_without_zxids(&history);
        consistent += u64::from(expected);
        let hidden = judge_without_zxids(&without_zxids(&history), &Options::default(), 100_000);
        // What is said of the answers: that they have an order, or none.
        let said = [
            match hidden {
                Verdict::Valid(_) => Some(true),
                Verdict::Invalid(_) => Some(false),
                Verdict::Unknown(_) | Verdict::Malformed { .. } => None,
            },
            match class(&history) {
                None | Some(Class::ZxidNotHonest) => Some(true),
                Some(Class::Inconsistent) => Some(false),
                Some(Class::Undetermined) => None,
            },
        ];
        convicted += u64::from(said.contains(&Some(false)));
        open += said.iter().filter(|said| said.is_none()).count() as u64;
        // The walk lets pass what something of unknown fate may have fired, when it could not.
        lenient += u64::from(!expected && said.contains(&Some(true)));
        if expected && said.contains(&Some(false)) {
            wrong += 1;
            if wrong <= 3 {
                println!("seed {seed}: {hidden}\n{}", naive::lines(&history));
            }
        }
    }
    println!(
        "{count} histories, {told} with notifications, {consistent} consistent, {convicted} convicted, {open} open, {lenient} let pass"
    );
    assert_eq!(wrong, 0);
    assert!(told > count / 10 && consistent > count / 3 && convicted > count / 100);
    assert!(open <= count / 20 && lenient <= count / 200);
}

#[test]
fn a_history_that_tells_no_zxids_is_judged_without_them() {
    let mut consistent = 0;
    for seed in small::seeds("HIDDEN_SEEDS", 0..300) {
        let history = without_zxids(&history(seed));
        assert_eq!(disagreement(&history), None, "seed {seed}");
        let verdict = judge(&history, &Options::default());
        if naive::hidden::answers_transactions(&history) {
            let expected = match consistent_without_zxids(&history) {
                true => "valid",
                false => "invalid",
            };
            assert_eq!(verdict.word(), expected, "seed {seed}: {verdict}");
            let verdict = judge_verified(&history, &Options::default());
            assert_eq!(verdict.word(), expected, "seed {seed}: {verdict}");
            consistent += u64::from(expected == "valid");
        }
    }
    assert!(consistent > 50);
}

#[test]
fn reads_of_one_session_that_go_back_contradict_each_other_in_a_circle() {
    let (_, start) = small::model::start();
    let mut history = History::new(Header {
        start,
        ..Header::default()
    });
    let stat = |version: i32| Stat {
        version,
        data_length: 1,
        ..Stat::default()
    };
    let path: Path = "/a".into();
    let data = |text: &str| Some(Value::from(text));
    let set = Op::Set {
        path: path.clone(),
        data: data("1"),
        version: 0,
    };
    let get = Op::Get { path, watch: false };
    let shown = |text, version| Answer::Data {
        data: data(text),
        stat: Stat {
            mtime: i64::from(version),
            ..stat(version)
        },
    };
    let asked = [
        (1, set, Answer::Stat(stat(1))),
        (2, get.clone(), shown("1", 1)),
        (2, get, shown("0", 0)),
    ];
    for (xid, (session, op, answer)) in (1..).zip(asked) {
        let time = xid as u64 * 10;
        history.push(
            session,
            time,
            Body::Invoke {
                session: session.into(),
                xid,
                op,
            },
        );
        let (zxid, result) = (0, Ok(answer));
        history.push(session, time + 1, Body::Return { xid, zxid, result });
    }
    let Verdict::Invalid(violation) = judge(&history, &Options::default()) else {
        panic!("a session read version 0 after version 1");
    };
    assert_eq!(violation.property, Property::MonotonicReads);
    assert_eq!(violation.class, Class::Inconsistent);
    let records: Vec<usize> = violation.records.iter().map(|&(index, _)| index).collect();
    assert_eq!(records, [0, 1, 2, 3, 4, 5]);
    assert!(
        violation.reason.contains("the version of /a"),
        "{}",
        violation.reason
    );
}

#[test]
fn without_configurations_nothing_is_claimed() {
    let history = without_zxids(&small::valid(1, REQUESTS_MAX));
    let verdict = judge_without_zxids(&history, &Options::default(), 0);
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict}");
}

/// Sets of `/a` that many sessions never got an answer to, each of which may have come before
/// any of many reads; meanwhile `/b` is read to hold what nobody wrote.
fn crowded(shown: &str) -> History {
    let (_, start) = small::model::start();
    let mut history = History::new(Header {
        start,
        ..Header::default()
    });
    let set = |path: &str, text: &str| Op::Set {
        path: path.into(),
        data: Some(text.into()),
        version: -1,
    };
    let get = |path: &str| Op::Get {
        path: path.into(),
        watch: false,
    };
    let read = |text: &str| {
        Ok(Answer::Data {
            data: Some(text.into()),
            stat: Stat::default(),
        })
    };
    let create = Op::Create {
        path: "/b".into(),
        data: Some("0".into()),
        acl: Acl::open(),
        ephemeral: false,
        lapse: None,
        sequential: false,
        stat: false,
    };
    let mut say = |session: i64, body| {
        let time = history.records.len() as u64;
        history.push(session as u32, time, body);
    };
    let ask = |session, op| Body::Invoke {
        session,
        xid: 1,
        op,
    };
    let tell = |result| Body::Return {
        xid: 1,
        zxid: 0,
        result,
    };
    say(1, ask(1, create));
    say(1, tell(Ok(Answer::Path("/b".into()))));
    for session in 10..20 {
        say(session, ask(session, set("/a", &session.to_string())));
    }
    say(2, ask(2, set("/b", "1")));
    for session in 20..24 {
        say(session, ask(session, get("/a")));
        say(session, tell(read(&(session - 10).to_string())));
    }
    say(3, ask(3, get("/b")));
    say(3, tell(read(shown)));
    history
}

#[test]
fn what_one_node_contradicts_convicts_before_the_whole_was_searched() {
    let few = 200;
    let judged = |shown| judge_without_zxids(&crowded(shown), &Options::default(), few);
    assert_ne!(judged("1").word(), "invalid", "{}", judged("1"));
    let Verdict::Invalid(violation) = judged("2") else {
        panic!("{}", judged("2"));
    };
    assert!(violation.reason.contains("about /b"), "{violation}");
    assert!(!violation.records.is_empty());
}
