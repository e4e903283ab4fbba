//! The second opinion confirms every acquittal, and refuses what is not proved.

mod dice;
mod mutate;
mod toy;

use gamekeeper_checker::certificate::{Effect, Sight, Step};
use gamekeeper_checker::history::{Acl, Answer, Body, ErrorCode, Header, Op, SessionEvent, Stat};
use gamekeeper_checker::verify::{Refusal, Verifier, verify};
use gamekeeper_checker::{
    Certificate, History, Options, Property, Stream, Verdict, judge_verified,
    judge_with_certificate,
};
use mutate::{Life, MUTATORS};
use std::collections::{BTreeMap, BTreeSet};
use toy::{Shape, valid_history};

fn certified(history: &History, seed: u64) -> Certificate {
    let (verdict, certificate) = judge_with_certificate(history, &Options::default());
    assert!(
        matches!(verdict, Verdict::Valid(_)),
        "seed {seed}: {verdict}"
    );
    certificate.expect("a valid verdict comes with its certificate")
}

fn confirms(seeds: std::ops::Range<u64>, shape: Shape) {
    for seed in seeds {
        let history = valid_history(seed, shape);
        let certificate = certified(&history, seed);
        let opinion = verify(&history, &certificate, Options::default().terms());
        assert_eq!(opinion, Ok(()), "seed {seed}");
    }
}

#[test]
fn histories_with_lost_answers_watches_and_acls_are_confirmed() {
    let plain = Shape {
        watches: 0,
        acls: false,
        ..Shape::default()
    };
    confirms(0..60, plain);
    confirms(0..30, Shape { losses: 0, ..plain });
    confirms(0..30, Shape::default());
}
/// The rule that a forged certificate is refused by.
fn rule_against(history: &History, forged: &Certificate) -> Option<&'static str> {
    let opinion = verify(history, forged, Options::default().terms());
    opinion.err().map(|refusal| refusal.rule)
}

#[test]
fn no_forgery_of_a_place_is_confirmed() {
    let history = valid_history(3, Shape::default());
    let honest = certified(&history, 3);
    assert_eq!(rule_against(&history, &honest), None);
    for place in 0..honest.order.len() {
        let mut forged = honest.clone();
        let gone = forged.order.remove(place);
        let needed = match gone.effect {
            Effect::End(_) | Effect::Lapse(_) => false,
            Effect::Request(record) => answered(&history, record),
        };
        assert!(
            !needed || rule_against(&history, &forged).is_some(),
            "{gone:?} left out"
        );
        forged.order.insert(place, gone.clone());
        forged.order.insert(place, gone.clone());
        assert_eq!(
            rule_against(&history, &forged),
            Some("form"),
            "{gone:?} twice"
        );
        forged.order.remove(place);
        forged.order[place].zxid = 0;
        if needed {
            assert_eq!(rule_against(&history, &forged), Some("form"), "{gone:?}");
        }
    }
    let mut forged = honest.clone();
    let effect = Effect::End(0x77);
    let end = Step { zxid: 0, effect };
    forged.order.extend([end.clone(), end]);
    assert_eq!(rule_against(&history, &forged), Some("form"), "two ends");
    for place in 0..honest.sights.len() {
        let mut forged = honest.clone();
        forged.sights[place].prefix += 1;
        assert!(
            rule_against(&history, &forged).is_some(),
            "sight {place} moved"
        );
        forged.sights[place].prefix -= 1;
        let prefix = forged.sights[place].prefix;
        if prefix > 0 && honest.order[prefix - 1].zxid != 0 {
            forged.sights[place].prefix -= 1;
            let rule = rule_against(&history, &forged);
            assert!(rule.is_some(), "sight {place} moved back");
        }
        forged.sights.remove(place);
        assert_eq!(
            rule_against(&history, &forged),
            Some("form"),
            "sight {place} left out"
        );
    }
}

/// True if the request that a record asked was answered.
fn answered(history: &History, record: usize) -> bool {
    let asked = &history.records[record];
    let Body::Invoke { xid: number, .. } = asked.body else {
        return false;
    };
    let later = &history.records[record + 1..];
    let mut own = later.iter().filter(|later| later.process == asked.process);
    own.find_map(|later| match later.body {
        Body::Return { xid, .. } if xid == number => Some(true),
        Body::Lost { xid } if xid == number => Some(false),
        _ => None,
    })
    .unwrap_or(false)
}

/// An order without zxids can be wrong in every other way.
#[test]
fn an_order_of_unknown_zxids_is_judged_by_time_session_and_answer() {
    let set = |session, data: &str| Body::Invoke {
        session,
        xid: data.parse().expect("a number"),
        op: Op::Set {
            path: "/zookeeper/quota".into(),
            data: Some(data.into()),
            version: -1,
        },
    };
    let stat = |version| Stat {
        version,
        data_length: 1,
        mzxid: version as i64,
        ..Stat::default()
    };
    let done = |xid, version| Body::Return {
        xid,
        zxid: 0,
        result: Ok(Answer::Stat(stat(version))),
    };
    let order = |records: &[usize]| {
        let step = |&record| Step {
            zxid: 0,
            effect: Effect::Request(record),
        };
        Certificate {
            order: records.iter().map(step).collect(),
            sights: Vec::new(),
        }
    };
    // Together: only the answers tell which came first.
    let mut history = History::new(Header::default());
    for (process, body) in [
        (1, set(1, "1")),
        (2, set(2, "2")),
        (1, done(1, 2)),
        (2, done(2, 1)),
    ] {
        history.push(process, 5, body);
    }
    assert_eq!(rule_against(&history, &order(&[1, 0])), None);
    assert_eq!(rule_against(&history, &order(&[0, 1])), Some("W3"));
    // One after the other: the times tell, and within a session the order sent.
    let mut history = History::new(Header::default());
    for (time, body) in [
        (1, set(1, "1")),
        (2, done(1, 2)),
        (3, set(1, "2")),
        (4, done(2, 1)),
    ] {
        history.push(1, time, body);
    }
    assert_eq!(rule_against(&history, &order(&[2, 0])), Some("W1"));
    history.header.clock_error_ns = 10;
    assert_eq!(rule_against(&history, &order(&[2, 0])), Some("W2"));
}

/// Of a getChildren whose prefix is not known, the names are judged all the same.
#[test]
fn names_without_a_zxid_need_a_prefix_that_lists_them() {
    let told = |names: &[&str]| {
        let mut history = History::new(Header::default());
        let op = Op::Children {
            path: "/zookeeper".into(),
            watch: false,
            stat: false,
        };
        let result = Ok(Answer::Names(
            names.iter().map(|&name| name.into()).collect(),
        ));
        history.push(
            1,
            1,
            Body::Invoke {
                session: 1,
                xid: 1,
                op,
            },
        );
        history.push(
            1,
            2,
            Body::Return {
                xid: 1,
                zxid: 0,
                result,
            },
        );
        judge_verified(&history, &Options::default())
    };
    assert!(matches!(told(&["config", "quota"]), Verdict::Valid(_)));
    for names in [
        &["config", "other"][..],
        &["quota"],
        &["quota", "quota"],
        &["a", "b", "c"],
    ] {
        assert_eq!(
            told(names).property(),
            Some(Property::NoFutureReads),
            "{names:?}"
        );
    }
}

/// What the verifier says of a history while one pass judges it, if it is shown every place
/// but one.
fn shown_all_but(history: &History, hidden: Option<usize>) -> (Result<(), Refusal>, usize) {
    let options = Options::default();
    let mut stream = Stream::new(&history.header, &options, 16);
    stream.exhibit();
    let mut verifier = Verifier::new(&history.header, options.terms());
    let (mut opinion, mut count) = (Ok(()), 0);
    for (index, record) in history.records.iter().enumerate() {
        stream.take(record).expect("nothing is in doubt");
        opinion = opinion.and_then(|()| verifier.read(index, record));
        for placed in stream.placed() {
            if Some(count) != hidden {
                opinion = opinion.and_then(|()| placed.show(&mut verifier));
            }
            count += 1;
        }
    }
    stream.finish().expect("nothing is in doubt");
    for placed in stream.placed() {
        opinion = opinion.and_then(|()| placed.show(&mut verifier));
    }
    (opinion.and_then(|()| verifier.finish()), count)
}

#[test]
fn places_of_one_pass_are_confirmed_as_they_come_and_none_may_be_missing() {
    let shape = Shape {
        losses: 0,
        watches: 0,
        ..Shape::default()
    };
    let history = valid_history(5, shape);
    let (opinion, count) = shown_all_but(&history, None);
    assert_eq!(opinion, Ok(()));
    assert!(count > 50, "only {count} found their place before the end");
    for hidden in 0..count {
        let (opinion, _) = shown_all_but(&history, Some(hidden));
        assert!(opinion.is_err(), "place {hidden} was not missed");
    }
}

/// The verifier's opinion on the order that the zxids tell.
fn by_zxids(history: &History) -> Result<(), Refusal> {
    let (mut order, mut reads) = (Vec::new(), Vec::new());
    let mut open = BTreeMap::new();
    for (index, record) in history.records.iter().enumerate() {
        match &record.body {
            Body::Invoke { xid, op, .. } => {
                open.insert((record.process, *xid), (index, op));
            }
            Body::Return { xid, zxid, .. } => {
                let (invoke, op) = open[&(record.process, *xid)];
                match op.is_transaction() {
                    true => order.push(Step {
                        zxid: *zxid,
                        effect: Effect::Request(invoke),
                    }),
                    false => reads.push((invoke, *zxid)),
                }
            }
            _ => {}
        }
    }
    order.sort_by_key(|step| step.zxid);
    let sight = |(invoke, zxid)| Sight {
        invoke,
        prefix: order.partition_point(|step| step.zxid <= zxid),
    };
    let sights = reads.into_iter().map(sight).collect();
    let certificate = Certificate { order, sights };
    verify(history, &certificate, Options::default().terms())
}

fn asked(session: i64, xid: i32, op: Op) -> Body {
    Body::Invoke { session, xid, op }
}

fn created(xid: i32, zxid: i64, path: &str) -> Body {
    let result = Ok(Answer::Path(path.into()));
    Body::Return { xid, zxid, result }
}

fn create(path: &str) -> Op {
    Op::Create {
        path: path.into(),
        data: None,
        acl: Acl::open(),
        ephemeral: false,
        lapse: None,
        sequential: path.ends_with('/'),
        stat: false,
    }
}

fn connected(session: i64) -> Body {
    Body::Session(SessionEvent::Connected {
        session,
        timeout_ms: 10_000,
        reattached: false,
        address: None,
    })
}

/// A history of one client, a record a second.
fn alone(bodies: impl IntoIterator<Item = Body>) -> History {
    let mut history = History::new(Header::default());
    for (second, body) in bodies.into_iter().enumerate() {
        history.push(1, second as u64 * 1_000_000_000, body);
    }
    history
}

#[test]
fn a_session_that_ended_writes_no_more_and_none_ends_early_or_is_served_again() {
    let write = [asked(1, 1, create("/a")), created(1, 7, "/a")];
    let gone = [Body::Session(SessionEvent::Expired { session: 1 })];
    let result = Ok(Answer::Done);
    let (xid, zxid) = (9, 5);
    let close = [asked(1, xid, Op::Close), Body::Return { xid, zxid, result }];
    let rule = |bodies: &[&[Body]]| {
        let opinion = by_zxids(&alone(bodies.concat()));
        opinion.err().map(|refusal| refusal.rule)
    };
    let begin = [connected(1)];
    assert_eq!(rule(&[&begin, &write]), None);
    assert_eq!(rule(&[&begin, &close, &write]), Some("W2"));
    assert_eq!(rule(&[&begin, &write, &gone]), Some("E"));
    // Nothing proves that the leader had heard of it, but it was gone.
    assert_eq!(rule(&[&begin, &gone]), None);
    let (path, result) = ("/a".into(), Err(ErrorCode::NO_NODE));
    let watch = false;
    let read = [
        asked(1, xid, Op::Exists { path, watch }),
        Body::Return { xid, zxid, result },
    ];
    assert_eq!(rule(&[&begin, &read, &gone]), None);
    assert_eq!(rule(&[&begin, &gone, &read]), Some("E"));
}

/// That a session cannot have ended yet may be learnt when its end has its place already.
#[test]
fn an_end_that_proves_to_be_later_than_what_follows_it_is_refused() {
    let late = |sent: u64| {
        let terms = Options::default().terms();
        let mut verifier = Verifier::new(&Header::default(), terms);
        let mut history = alone([connected(1), Body::Ping { sent: 0 }]);
        history.push(2, 1_000_000_000, asked(2, 1, create("/a")));
        history.push(2, 2_000_000_000, created(1, 7, "/a"));
        history.push(1, sent, Body::Ping { sent });
        let (last, records) = history.records.split_last().expect("some");
        for (index, record) in records.iter().enumerate() {
            assert_eq!(verifier.read(index, record), Ok(()));
        }
        assert_eq!(verifier.end(1, 6), Ok(()));
        assert_eq!(verifier.place(0, 7), Ok(()));
        verifier.read(records.len(), last)
    };
    assert_eq!(late(20_000_000_000), Ok(()));
    // What was answered so long before had been passed on, and 10 s had to go by.
    let refusal = late(40_000_000_000).err();
    assert_eq!(refusal.map(|refusal| refusal.rule), Some("W1"));
}

#[test]
fn what_returned_before_a_session_can_have_ended_does_not_come_after_its_end() {
    let mut history = alone([
        connected(1),
        asked(1, 1, create("/a")),
        created(1, 6, "/a"),
        asked(2, 2, create("/b")),
        created(2, 8, "/b"),
    ]);
    let told = |history: &History| {
        let request = |record, zxid| Step {
            zxid,
            effect: Effect::Request(record),
        };
        let effect = Effect::End(1);
        let end = Step { zxid: 7, effect };
        let certificate = Certificate {
            order: vec![request(1, 6), end, request(3, 8)],
            sights: Vec::new(),
        };
        rule_against(history, &certificate)
    };
    assert_eq!(told(&history), Some("W1"));
    history.records[4].time = 11_000_000_000;
    assert_eq!(told(&history), None);
}

#[test]
fn who_is_asked_first_is_answered_first() {
    let sync = |xid| {
        let path = "/zookeeper".into();
        asked(1, xid, Op::Sync { path })
    };
    let done = |xid| Body::Return {
        xid,
        zxid: 1,
        result: Ok(Answer::Done),
    };
    let told = |first, then| {
        let opinion = by_zxids(&alone([sync(1), sync(2), done(first), done(then)]));
        opinion.map_err(|refusal| refusal.rule)
    };
    assert_eq!(told(1, 2), Ok(()));
    assert_eq!(told(2, 1), Err("W2"));
}

#[test]
fn a_list_names_every_child_and_each_once() {
    let told = |names: &[&str]| {
        let list = Op::Children {
            path: "/zookeeper".into(),
            watch: false,
            stat: false,
        };
        let names = names.iter().map(|&name| name.into()).collect();
        let told = Body::Return {
            xid: 1,
            zxid: 1,
            result: Ok(Answer::Names(names)),
        };
        let opinion = by_zxids(&alone([asked(1, 1, list), told]));
        opinion.map_err(|refusal| refusal.rule)
    };
    assert_eq!(told(&["config", "quota"]), Ok(()));
    assert_eq!(told(&["quota", "config"]), Ok(()));
    assert_eq!(told(&["quota"]), Err("R1"));
    assert_eq!(told(&["quota", "quota"]), Err("R1"));
    assert_eq!(told(&["config", "other"]), Err("R1"));
    assert_eq!(told(&["config", "quota", "quota"]), Err("R1"));
}

#[test]
fn a_numbered_node_may_have_no_other_name() {
    let history = alone([
        asked(1, 1, create("/zookeeper/quota/")),
        created(1, 7, "/zookeeper/quota/0000000000"),
        asked(1, 2, create("/zookeeper/quota/")),
        created(2, 8, "/zookeeper/quota/0000000001"),
    ]);
    assert_eq!(by_zxids(&history), Ok(()));
    let verdict = judge_verified(&history, &Options::default());
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
}

/// Where nothing was lost the zxids are the certificate: whatever is broken then is refused by
/// the verifier alone, and by a rule that has to do with it. Notifications it does not see.
#[test]
fn what_is_broken_is_refused_by_the_zxids_alone() {
    let mut rules: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for seed in 0..12 {
        let shape = Shape {
            losses: 0,
            watches: 0,
            ..Shape::default()
        };
        let history = valid_history(seed, shape);
        assert_eq!(by_zxids(&history), Ok(()), "seed {seed}");
        let life = Life::of(&history);
        for (property, name, mutator) in MUTATORS {
            if let Some(broken) = mutator(&life, &mut mutate::Dice(seed)) {
                let refusal = by_zxids(&broken).err();
                let refusal = refusal.unwrap_or_else(|| panic!("seed {seed}: {name} is proved"));
                rules
                    .entry(property.code())
                    .or_default()
                    .insert(refusal.rule);
            }
        }
    }
    let expected = [
        ("P14", &["R1"][..]),
        ("P15", &["W3"]),
        ("P16", &["W3"]),
        ("P17", &["R1"]),
        ("P18", &["R1"]),
        ("P19", &["form"]),
        ("P2", &["W3"]),
        ("P20", &["R1"]),
        // A read that was sent between the two now sees what had not been asked for.
        ("P3", &["R3", "W2"]),
        ("P4", &["R2"]),
        ("P5", &["R2", "R4"]),
        ("P6", &["R1"]),
        ("P7", &["R1"]),
        ("P8", &["R4"]),
    ];
    let expected = expected.map(|(property, rules)| (property, rules.iter().copied().collect()));
    assert_eq!(rules, BTreeMap::from(expected));
}

#[test]
fn a_read_that_was_sent_before_a_sync_may_miss_what_that_had_to_see() {
    let get = |number| Op::Exists {
        path: format!("/{number}").into(),
        watch: false,
    };
    let answer = |xid, zxid, result| Body::Return { xid, zxid, result };
    let sync = Op::Sync { path: "/".into() };
    let gone = Err(ErrorCode::NO_NODE);
    // Two clients of session 2: one reads, the other syncs and is answered first.
    let told = |first: (u32, Body), second: (u32, Body)| {
        let mut history = History::new(Header::default());
        let lines = [
            (1, asked(1, 1, create("/1"))),
            (1, created(1, 5, "/1")),
            first,
            second,
            (3, answer(2, 5, Ok(Answer::Done))),
            (2, answer(1, 4, gone.clone())),
        ];
        for (second, (process, body)) in lines.into_iter().enumerate() {
            history.push(process, second as u64, body);
        }
        judge_verified(&history, &Options::default())
    };
    let (read, sync) = ((2, asked(2, 1, get(1))), (3, asked(2, 2, sync)));
    let verdict = told(read.clone(), sync.clone());
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    let verdict = told(sync, read);
    assert_eq!(verdict.word(), "invalid", "{verdict}");
}
