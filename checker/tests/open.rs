//! Where others write too: what no stranger can excuse is convicted, everything else goes.

mod dice;
mod talk;
mod toy;

use gamekeeper_checker::history::{Acl, Answer, Body, ErrorCode, History, Op, Stat, Value, World};
use gamekeeper_checker::{Options, Property, Verdict, judge, judge_verified};
use std::collections::BTreeSet;
use talk::{Talk, beside, seen, session, stat};
use toy::{Shape, valid_history};

/// A valid life of which only some clients were recorded, from some moment on.
fn overheard(seed: u64) -> History {
    let mut history = valid_history(seed, Shape::default());
    history.header.world = World::Open;
    let last = history.records.last().map_or(0, |record| record.time);
    let from = last * (seed % 4) / 8;
    // A client whose beginning was missed has watches and credentials that nobody knows of.
    let begun_later = |process: u32| {
        let first = history.records.iter().find(|r| r.process == process);
        first.is_some_and(|first| first.time >= from)
    };
    let kept: BTreeSet<u32> = history
        .records
        .iter()
        .map(|record| record.process)
        .filter(|&process| from == 0 || begun_later(process))
        .filter(|&process| (seed >> 2 >> (process % 8)) & 1 == 0)
        .collect();
    history.records.retain(|r| kept.contains(&r.process));
    history
}

#[test]
fn what_some_of_the_clients_saw_is_valid_where_others_write_too() {
    let mut requests = 0;
    for seed in 0..600 {
        match judge_verified(&overheard(seed), &Options::default()) {
            Verdict::Valid(summary) => requests += summary.requests,
            other => panic!("seed {seed}: {other}"),
        }
    }
    assert!(requests > 10_000, "{requests} requests are no test");
}

#[test]
fn strangers_may_do_whatever_a_client_could() {
    let later = Stat {
        czxid: 40,
        pzxid: 40,
        ..stat(41, 1)
    };
    seen()
        .get(22, "x", stat(12, 2))
        .names(23, &["a", "b"])
        .set(-1, "y", 25, stat(25, 7))
        .get(26, "y", stat(25, 7))
        .get(30, "z", stat(28, 9))
        .gone(35)
        .names(36, &[])
        .get(45, "w", later)
        .valid();
}

#[test]
fn p2_a_set_that_wanted_a_version_leaves_the_next() {
    seen().set(2, "y", 25, stat(25, 3)).valid();
    seen()
        .set(2, "y", 25, stat(25, 4))
        .breaks(Property::ConditionalWrites);
}

#[test]
fn p7_one_mzxid_is_one_value() {
    seen()
        .get(25, "y", stat(12, 2))
        .breaks(Property::NoFutureReads);
    let written = || seen().set(-1, "y", 25, stat(25, 3));
    written()
        .get(26, "z", stat(25, 3))
        .breaks(Property::NoFutureReads);
    let made = Stat {
        czxid: 25,
        pzxid: 25,
        ..stat(25, 0)
    };
    let create = || Talk::new().create("/p/a", 25);
    create().get(27, "x", made).valid();
    create().get(27, "y", made).breaks(Property::NoFutureReads);
}

/// A multi's first part tells its node's Stat before its second makes a child there; what else the
/// Stat says holds. (An Apache ensemble's client made a container and a child of it at once.)
#[test]
fn p17_what_a_multi_does_to_a_node_after_its_stat_shows_in_the_next() {
    let child = |talk: Talk, stat: Stat| {
        let made = Talk::new().create("/p/a/b", 0).0.records.remove(1).body;
        let Body::Invoke { op: create, .. } = made else {
            panic!("{made:?}")
        };
        let set = Op::Set {
            path: "/p/a".into(),
            data: Some(Value::from("y")),
            version: -1,
        };
        let ops = vec![set, create];
        let results = vec![Ok(Answer::Stat(stat)), Ok(Answer::Path("/p/a/b".into()))];
        talk.ask(Op::Multi { ops }, 25, Ok(Answer::Multi(results)))
    };
    let after = |version: i32, cversion: i32| Stat {
        pzxid: 25,
        cversion,
        num_children: 1,
        ..stat(25, version)
    };
    let made = child(seen(), stat(25, 3));
    made.get(26, "y", after(3, 1)).valid();
    child(seen(), stat(25, 3))
        .get(26, "z", after(3, 1))
        .breaks(Property::NoFutureReads);
    child(seen(), stat(24, 3)).breaks(Property::StatArithmetic);
}

#[test]
fn p9_what_is_there_before_and_after_is_there_in_between() {
    let after = |talk: Talk| talk.get(30, "x", stat(12, 2));
    after(seen().gone(25)).breaks(Property::Durability);
    after(Talk::new().gone(25)).breaks(Property::Durability);
    after(seen().names(25, &["b"])).breaks(Property::Durability);
    after(seen().names(25, &["b", "a"])).valid();
}

#[test]
fn p13_an_ephemeral_of_a_closed_session_is_gone() {
    let mut talk = Talk::new();
    talk.0.push(2, 2, session(7));
    let (session, xid) = (7, 1);
    let (op, zxid, result) = (Op::Close, 15, Ok(Answer::Done));
    talk.0.push(2, 3, Body::Invoke { session, xid, op });
    talk.0.push(2, 4, Body::Return { xid, zxid, result });
    let owned = Stat {
        ephemeral_owner: 7,
        ..stat(12, 2)
    };
    talk.get(20, "x", owned).breaks(Property::EphemeralsEnd);
}

#[test]
fn p17_stats_are_chains() {
    for wrong in [
        stat(12, 3),
        stat(11, 2),
        stat(18, 3),
        stat(24, 2),
        stat(24, 1),
        Stat {
            pzxid: 24,
            ..stat(12, 2)
        },
        Stat {
            cversion: 1,
            ..stat(12, 2)
        },
        Stat {
            ctime: 5,
            ..stat(12, 2)
        },
        Stat {
            data_length: 2,
            ..stat(12, 2)
        },
        Stat {
            mzxid: 26,
            ..stat(12, 2)
        },
        // Another life that began while this one was still seen.
        Stat {
            czxid: 15,
            pzxid: 15,
            ..stat(15, 0)
        },
    ] {
        seen().get(25, "x", wrong).breaks(Property::StatArithmetic);
    }
    seen().get(25, "y", stat(24, 3)).valid();
    // Whose zxid it is is known: the client's own, of another node.
    let made = || Talk::new().create("/p/b", 12);
    made()
        .get(20, "x", stat(12, 2))
        .breaks(Property::StatArithmetic);
    made().get(20, "x", stat(13, 2)).valid();
}

#[test]
fn p18_one_zxid_is_one_state() {
    seen().get(20, "x", stat(12, 2)).valid();
    seen()
        .get(20, "x", stat(11, 1))
        .breaks(Property::ReplicasAgree);
    seen().gone(20).breaks(Property::ReplicasAgree);
}

#[test]
fn p19_two_requests_are_not_one_transaction() {
    let talk = beside(Talk::new().create("/p/a", 25), "/p/b", 25);
    talk.breaks(Property::ZxidSanity);
}

#[test]
fn p13_a_closed_session_writes_no_more() {
    let closed = Talk::new().ask(Op::Close, 15, Ok(Answer::Done));
    closed.create("/p/a", 16).breaks(Property::EphemeralsEnd);
}

fn numbered(talk: Talk, zxid: i64, made: &str) -> Talk {
    let op = Op::Create {
        path: "/p/n-".into(),
        data: None,
        acl: Acl::open(),
        ephemeral: false,
        lapse: None,
        sequential: true,
        stat: false,
    };
    talk.ask(op, zxid, Ok(Answer::Path(made.into())))
}

/// `/p` at a zxid: made at 5, `count` children ever made, none deleted.
fn parent(talk: Talk, zxid: i64, pzxid: i64, count: i32) -> Talk {
    let op = Op::Exists {
        path: "/p".into(),
        watch: false,
    };
    let stat = Stat {
        czxid: 5,
        mzxid: 5,
        pzxid,
        cversion: count,
        num_children: count,
        ..Stat::default()
    };
    talk.ask(op, zxid, Ok(Answer::Stat(stat)))
}

#[test]
fn p15_numbers_grow_by_what_was_made_in_between() {
    let first = || numbered(parent(Talk::new(), 20, 20, 3), 25, "/p/n-0000000004");
    // Another may have made one in between, for there is room.
    parent(first(), 40, 25, 5).valid();
    parent(numbered(first(), 30, "/p/n-0000000005"), 40, 30, 6).valid();
    parent(numbered(first(), 30, "/p/n-0000000009"), 40, 30, 10).valid();
    let again = numbered(first(), 30, "/p/n-0000000004");
    parent(again, 40, 30, 6).breaks(Property::SequentialNames);
    let below = || numbered(parent(Talk::new(), 20, 20, 3), 25, "/p/n-0000000002");
    parent(below(), 40, 25, 4).breaks(Property::SequentialNames);
    below().valid();
    let above = parent(first(), 40, 25, 4);
    above.breaks(Property::SequentialNames);
    // Other children count, too.
    let mut others = first().create("/p/b", 27);
    others = numbered(others, 30, "/p/n-0000000005");
    parent(others, 40, 30, 7).breaks(Property::SequentialNames);
    // Nobody had room to write.
    let next = numbered(first(), 26, "/p/n-0000000006");
    parent(next, 40, 26, 7).breaks(Property::SequentialNames);
    let next = numbered(first(), 26, "/p/n-0000000005");
    parent(next, 40, 26, 6).valid();
    // In between the parent may have been made anew: it was not seen.
    let twice = numbered(Talk::new(), 20, "/p/n-0000000004");
    numbered(twice, 30, "/p/n-0000000001").valid();
    let root = |zxid, made: &str, talk: Talk| {
        let op = Op::Create {
            path: "/n-".into(),
            data: None,
            acl: Acl::open(),
            ephemeral: false,
            lapse: None,
            sequential: true,
            stat: false,
        };
        talk.ask(op, zxid, Ok(Answer::Path(made.into())))
    };
    root(30, "/n-0000000004", root(20, "/n-0000000004", Talk::new()))
        .breaks(Property::SequentialNames);
}

#[test]
fn p16_a_multi_fails_as_a_whole() {
    let multi = |results: Vec<Result<Answer, ErrorCode>>| {
        let check = || Op::Check {
            path: "/p/a".into(),
            version: 1,
        };
        let ops = vec![check(), check(), check()];
        Talk::new().ask(Op::Multi { ops }, 20, Ok(Answer::Multi(results)))
    };
    let (bad, ok, rest) = (
        ErrorCode::BAD_VERSION,
        ErrorCode::OK,
        ErrorCode::RUNTIME_INCONSISTENCY,
    );
    multi(vec![Err(ok), Err(bad), Err(rest)]).valid();
    multi(vec![Ok(Answer::Done), Ok(Answer::Done), Ok(Answer::Done)]).valid();
    for wrong in [
        vec![Ok(Answer::Done), Err(bad), Err(rest)],
        vec![Err(ok), Err(bad), Err(bad)],
        vec![Err(ok), Err(ok), Err(ok)],
        vec![Err(ok), Err(bad)],
    ] {
        multi(wrong).breaks(Property::MultiAtomic);
    }
}

#[test]
fn p1_p2_refusals_have_their_reason() {
    let refused = |code| {
        let op = Op::Delete {
            path: "/p/a".into(),
            version: 2,
        };
        seen().ask(op, 25, Err(code))
    };
    let same = |talk: Talk| talk.get(30, "x", stat(12, 2));
    same(refused(ErrorCode::BAD_VERSION)).breaks(Property::ConditionalWrites);
    same(refused(ErrorCode::NOT_EMPTY)).breaks(Property::LinearizableWrites);
    // It may have had another version, or a child, for a while.
    refused(ErrorCode::BAD_VERSION).valid();
    refused(ErrorCode::NOT_EMPTY)
        .get(30, "y", stat(24, 3))
        .breaks(Property::LinearizableWrites);
    refused(ErrorCode::BAD_VERSION)
        .get(30, "y", stat(24, 3))
        .valid();
}

#[test]
fn p19_the_start_of_an_epoch_is_nobodys() {
    seen()
        .get(1 << 33, "y", stat(1 << 32, 3))
        .breaks(Property::ZxidSanity);
}

/// `/p/a`, made at 10 with this ACL.
fn owned(acl: Acl) -> Talk {
    let op = Op::Create {
        path: "/p/a".into(),
        data: Some(Value::from("x")),
        acl: [acl].into(),
        ephemeral: false,
        lapse: None,
        sequential: false,
        stat: false,
    };
    Talk::new().ask(op, 10, Ok(Answer::Path("/p/a".into())))
}

#[test]
fn p20_acls_bind_as_long_as_nobody_can_have_set_another() {
    let mine = || Acl::new(31, "digest", "me:hash");
    let all = || Acl::new(31, "world", "anyone");
    let unchanged = stat(10, 0);
    // An address is known, an identity was never given.
    owned(all()).get(20, "x", unchanged).valid();
    owned(mine())
        .get(20, "x", unchanged)
        .breaks(Property::AccessControl);
    let changed = Stat {
        aversion: 1,
        ..unchanged
    };
    owned(mine()).get(20, "x", changed).valid();
    let set = |version| Op::Set {
        path: "/p/a".into(),
        data: Some(Value::from("y")),
        version,
    };
    let refused = |acl| owned(acl).ask(set(-1), 15, Err(ErrorCode::NO_AUTH));
    refused(all())
        .get(20, "x", unchanged)
        .breaks(Property::AccessControl);
    refused(all()).get(20, "x", changed).valid();
    refused(all()).valid();
    // Nobody had room to change it.
    owned(all())
        .ask(set(-1), 11, Err(ErrorCode::NO_AUTH))
        .breaks(Property::AccessControl);
    let shown = |acl: Acl, stat| {
        let op = Op::GetAcl {
            path: "/p/a".into(),
        };
        owned(all()).ask(
            op,
            20,
            Ok(Answer::Acl {
                acl: vec![acl],
                stat,
            }),
        )
    };
    shown(all(), unchanged).valid();
    let read_only = || Acl::new(1, "world", "anyone");
    shown(read_only(), unchanged).breaks(Property::AccessControl);
    shown(read_only(), changed).valid();
}

#[test]
fn where_others_write_the_verdict_claims_no_order() {
    let verdict = judge(&seen().gone(30).0, &Options::default()).to_string();
    assert!(
        verdict.starts_with("valid: others may have written too"),
        "{verdict}"
    );
    assert!(!verdict.contains("one order"), "{verdict}");
}

#[test]
fn servers_write_below_zookeeper_without_a_transaction() {
    let config = |mtime, zxid| {
        let path = "/zookeeper/config".into();
        let op = Op::Exists { path, watch: false };
        (
            op,
            zxid,
            Ok(Answer::Stat(Stat {
                mtime,
                ..Stat::default()
            })),
        )
    };
    let ((a, x, b), (c, y, d)) = (config(1, 5), config(2, 5));
    Talk::new().ask(a, x, b).ask(c, y, d).valid();
}

#[test]
fn where_nothing_was_lost_the_verdict_speaks_of_no_lost_requests() {
    let shape = Shape {
        losses: 0,
        watches: 0,
        ..Shape::default()
    };
    let verdict = judge(&valid_history(1, shape), &Options::default()).to_string();
    assert!(verdict.ends_with("in one order"), "{verdict}");
    let lossy = judge(&valid_history(1, Shape::default()), &Options::default()).to_string();
    assert!(lossy.contains("requests of unknown fate, and"), "{lossy}");
}
