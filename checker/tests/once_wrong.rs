//! Histories that were once judged wrongly, as small as they could be made.
//!
//! Found by comparing the judges with an enumerator of all orders (`agree.rs`), or by breaking
//! lives of the simulator (`mutators.rs`), or by recording servers that are in use.

mod story;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{
    Options, Property, Verdict, judge, judge_verified, judge_with_certificate,
};
use story::*;

fn convicts(property: Property, lines: &[Line]) {
    let history = history(start(), lines);
    for judge in [judge, judge_verified] {
        let verdict = judge(&history, &Options::default());
        assert_eq!(verdict.property(), Some(property), "{verdict}");
    }
}

fn both_acquit(lines: &[Line]) {
    let verdict = judge_verified(&history(start(), lines), &Options::default());
    assert_eq!(verdict.word(), "valid", "{verdict}");
    acquits(lines);
}

fn answered(op: Op, zxid: i64, result: Result<Answer, ErrorCode>) -> Line {
    answered_at((20, 21), op, zxid, result)
}

fn answered_at(time: (u64, u64), op: Op, zxid: i64, result: Result<Answer, ErrorCode>) -> Line {
    let session = 1;
    Request {
        session,
        time,
        zxid,
        op,
        result,
    }
}

/// Acquitted: of errors that a read cannot have, nothing was said.
#[test]
fn reads_and_syncs_fail_with_no_error_of_a_write() {
    let path: Path = "/a".into();
    let get = Op::Get {
        path: path.clone(),
        watch: false,
    };
    let refused = |op, code| [answered(op, 4, Err(code))];
    let kind = Property::LinearizableWrites;
    convicts(kind, &refused(get, ErrorCode::BAD_VERSION));
    convicts(kind, &refused(Op::Sync { path }, ErrorCode::NO_NODE));
}

/// A panic: a close has no path that could be missing.
#[test]
fn a_close_fails_with_no_error_of_the_tree() {
    let lines = [answered(Op::Close, 5, Err(ErrorCode::NO_NODE))];
    convicts(Property::LinearizableWrites, &lines);
}

/// Acquitted: what was lost was placed before the history began.
#[test]
fn a_lost_delete_does_not_explain_the_state_before_it() {
    let lost = Lost {
        session: 2,
        time: (0, 10),
        op: Op::Delete {
            path: "/a".into(),
            version: -1,
        },
    };
    let get = Op::Get {
        path: "/a".into(),
        watch: false,
    };
    let gone = |zxid| answered(get.clone(), zxid, Err(ErrorCode::NO_NODE));
    convicts(Property::OneOrder, &[lost.clone(), gone(4)]);
    let verdict = judge_verified(&history(start(), &[lost, gone(5)]), &Options::default());
    assert_eq!(verdict.word(), "valid", "{verdict}");
}

/// Acquitted: the node had once been closed to others, so a notification of it might have
/// been kept back. This one came, and too late.
#[test]
fn a_notification_that_came_was_not_kept_back() {
    let acl = |acl: Vec<Acl>| Op::SetAcl {
        path: "/a".into(),
        acl: acl.into(),
        version: -1,
    };
    let shown = |aversion, stat: Stat| Ok(Answer::Stat(Stat { aversion, ..stat }));
    let closing = acl(vec![Acl::new(31, "digest", "owner:hash")]);
    let lines = [
        Note {
            session: 3,
            time: 0,
            body: Body::Session(SessionEvent::Connected {
                session: 3,
                timeout_ms: 0,
                reattached: false,
                address: Some("10.0.0.1".into()),
            }),
        },
        Note {
            session: 3,
            time: 0,
            body: Body::Session(SessionEvent::Auth {
                identity: Identity::new("digest", "owner:hash"),
            }),
        },
        Note {
            session: 3,
            time: 1,
            body: Body::Session(SessionEvent::AuthDone { ok: true }),
        },
        Request {
            session: 3,
            time: (2, 3),
            zxid: 5,
            op: closing,
            result: shown(1, A0),
        },
        Request {
            session: 3,
            time: (4, 5),
            zxid: 6,
            op: acl(Acl::open().to_vec()),
            result: shown(2, A0),
        },
        get_watching(1, (6, 7), "/a", "0", Stat { aversion: 2, ..A0 }, 6, true),
        set(
            2,
            (8, 9),
            "/a",
            "1",
            Stat {
                aversion: 2,
                ..after_set(1, 7, 1, "1")
            },
        ),
        get(
            1,
            (10, 11),
            "/a",
            "1",
            Stat {
                aversion: 2,
                ..after_set(1, 7, 1, "1")
            },
            7,
        ),
        notify(1, 12, EventType::NodeDataChanged, "/a", 7),
    ];
    convicts(Property::WatchBeforeData, &lines);
}

/// Acquitted: a lost create was placed at the number that belongs to a new epoch's start.
#[test]
fn nothing_happens_at_the_start_of_an_epoch() {
    let lost = Lost {
        session: 2,
        time: (0, 10),
        op: create_with("/a/k", false, false),
    };
    let parent = Stat {
        num_children: 1,
        cversion: 1,
        pzxid: 1 << 32,
        ..A0
    };
    let lines = [lost, exists(1, (20, 21), "/a", 1 << 32 | 1, Ok(parent))];
    convicts(Property::ZxidSanity, &lines);
}

/// Convicted: the Stat of a multi's first part was taken for what the whole multi had left, so
/// that its second part seemed to explain the version, and not the lost request before it.
#[test]
fn a_lost_set_is_counted_before_a_multi_that_sets_twice() {
    let shown = |version| Ok(Answer::Stat(after_set(1, 6, version, "1")));
    let lines = [
        get(1, (0, 1), "/a", "0", A0, 4),
        Lost {
            session: 2,
            time: (2, 3),
            op: set_op("/a", "9", -1),
        },
        Request {
            session: 1,
            time: (4, 5),
            zxid: 6,
            op: Op::Multi {
                ops: vec![set_op("/a", "1", -1), set_op("/a", "1", -1)],
            },
            result: Ok(Answer::Multi(vec![shown(2), shown(3)])),
        },
    ];
    acquits(&lines);
}

/// Convicted: a notification that names no transaction was taken for the answered create's,
/// though a lost one can have fired it before; so another seemed to come too late.
#[test]
fn what_was_lost_may_have_been_told_first() {
    let watching = |path: &str, time| Request {
        session: 1,
        time,
        zxid: 4,
        op: Op::Exists {
            path: path.into(),
            watch: true,
        },
        result: Err(ErrorCode::NO_NODE),
    };
    let lost = |op, time| Lost {
        session: 2,
        time,
        op,
    };
    let gone = Op::Delete {
        path: "/a/x".into(),
        version: -1,
    };
    let lines = [
        watching("/a/x", (0, 1)),
        watching("/a/k", (0, 1)),
        lost(create_with("/a/x", false, false), (2, 9)),
        lost(gone, (3, 9)),
        create(3, (4, 5), "/a/k", 7),
        create(3, (6, 7), "/a/x", 8),
        notify(1, 10, EventType::NodeCreated, "/a/x", -1),
        notify(1, 11, EventType::NodeCreated, "/a/k", -1),
    ];
    acquits(&lines);
}

/// A contradiction: the judge of one pass took the delete for what the read had seen that its
/// session had sent before it, for that was answered only when the delete was under way.
#[test]
fn what_was_lost_lies_after_what_its_session_had_asked_before() {
    let delete = |session, time| Lost {
        session,
        time,
        op: Op::Delete {
            path: "/a".into(),
            version: -1,
        },
    };
    let lines = [
        exists(1, (10, 30), "/a", 6, Err(ErrorCode::NO_NODE)),
        delete(1, (11, 40)),
        delete(2, (12, 40)),
    ];
    let verdict = judge_verified(&history(start(), &lines), &Options::default());
    assert_eq!(verdict.word(), "valid", "{verdict}");
    convicts(Property::OneOrder, &lines[..2]);
    // The same, if the delete was given up first.
    let mut lines = lines;
    lines[0] = exists(1, (10, 50), "/a", 6, Err(ErrorCode::NO_NODE));
    let verdict = judge_verified(&history(start(), &lines), &Options::default());
    assert_eq!(verdict.word(), "valid", "{verdict}");
    convicts(Property::OneOrder, &lines[..2]);
}

/// Undecided: what was lost was tried in every place, though no state gives such an answer.
#[test]
fn nothing_that_was_lost_explains_an_answer_that_no_state_gives() {
    let lost = |session, op| Lost {
        session,
        time: (0, 10),
        op,
    };
    let delete = |version| Op::Delete {
        path: "/a".into(),
        version,
    };
    let lines = [
        lost(2, delete(-1)),
        lost(2, delete(1)),
        lost(3, create_with("/a", true, false)),
        lost(3, set_op("/a", "1", 1)),
        lost(3, create_with("/a", true, false)),
        exists(1, (20, 21), "/a", 1 << 32 | 2, Err(ErrorCode::BAD_VERSION)),
    ];
    convicts(Property::LinearizableWrites, &lines);
}

/// Undecided: what cannot take effect was looked for six placements deep at most, though there
/// was not much of it.
#[test]
fn what_was_lost_and_never_deletes_does_not_explain_that_a_node_is_gone() {
    let lost = |session, op| Lost {
        session,
        time: (0, 10),
        op,
    };
    let twice = Op::Multi {
        ops: vec![
            create_with("/a", true, false),
            create_with("/a", false, false),
        ],
    };
    let set = |version| set_op("/a", "1", version);
    let lines = [
        lost(3, create_with("/a", false, false)),
        lost(3, twice),
        lost(2, set(0)),
        lost(1, create_with("/a", false, false)),
        lost(2, set(-1)),
        lost(2, set(0)),
        Request {
            session: 3,
            time: (20, 21),
            zxid: 11,
            op: set(-1),
            result: Err(ErrorCode::NO_NODE),
        },
    ];
    let verdict = judge_verified(&history(start(), &lines), &Options::default());
    assert_eq!(verdict.word(), "invalid", "{verdict}");
}

/// Convicted: one multi makes a node, sets it, and makes it anew: two lives that one zxid made, of
/// which the version that the first was left with says nothing of the second.
#[test]
fn version_of_a_life_that_its_own_multi_ended_is_not_counted_from() {
    let op = |parts: &[Op]| Op::Multi {
        ops: parts.to_vec(),
    };
    let lost = |session, op| Lost {
        session,
        time: (3, 10),
        op,
    };
    let (make, set) = (create_with("/q/n", false, false), set_op("/q/n", "", -1));
    let delete = Op::Delete {
        path: "/q/n".into(),
        version: -1,
    };
    let made = Ok(Answer::Path("/q/n".into()));
    let was_set = |version| Ok(Answer::Stat(stat(5, 5, version, "")));
    let twice = Request {
        session: 1,
        time: (1, 2),
        zxid: 5,
        op: op(&[make.clone(), set.clone(), set.clone(), delete, make]),
        result: Ok(Answer::Multi(vec![
            made.clone(),
            was_set(1),
            was_set(2),
            Ok(Answer::Done),
            made,
        ])),
    };
    let seen = |stat: Stat| exists(9, (5000, 5001), "/q/n", 9, Ok(stat));
    let acl = Op::SetAcl {
        path: "/q/n".into(),
        acl: Acl::open(),
        version: -1,
    };
    let once = Stat {
        aversion: 1,
        ..stat(5, 5, 0, "")
    };
    let lost_acl = [twice.clone(), lost(2, acl), seen(once)];
    let lost_sets = [
        twice,
        lost(2, set.clone()),
        lost(3, set),
        seen(stat(5, 8, 2, "")),
    ];
    for lines in [&lost_acl[..], &lost_sets[..]] {
        let (verdict, _) = judge_with_certificate(&history(start(), lines), &Options::default());
        assert_eq!(verdict.word(), "valid", "{verdict}");
    }
}

/// Acquitted: of a multi that deletes a node, which was put at a number in the past, nobody asked
/// whether the node had a child then.
#[test]
fn multi_that_deletes_a_node_lies_nowhere_where_it_had_a_child() {
    let delete = |path: &str, version| Op::Delete {
        path: path.into(),
        version,
    };
    let anew = vec![
        delete("/x", -1),
        create_with("/x", false, false),
        set_op("/x", "1", -1),
    ];
    let answered = |time, zxid, op| Request {
        session: 1,
        time,
        zxid,
        op,
        result: Ok(Answer::Done),
    };
    let lines = [
        Lost {
            session: 3,
            time: (0, 30),
            op: Op::Multi { ops: anew },
        },
        create(1, (1, 2), "/x/k", 5),
        answered((3, 4), 7, delete("/x/k", -1)),
        answered((20, 21), 8, delete("/x", 1)),
    ];
    convicts(Property::ConditionalWrites, &lines);
}

/// Stories of a client that is told of everything, perhaps: its removeWatches was lost. It is
/// told that /a was deleted and created, by requests of unknown fate; much later /a is deleted by one
/// that was answered.
fn told_of_what_was_lost(lines: Vec<Line>) {
    let asked = |op| Request {
        session: 9,
        time: (1, 2),
        zxid: 4,
        op,
        result: Ok(Answer::Done),
    };
    let lost = |session, time, op| Lost { session, time, op };
    let path: Path = "/".into();
    let mode = WatchMode::Recursive;
    let watches = WatchKind::Any;
    let delete = Op::Delete {
        path: "/a".into(),
        version: -1,
    };
    let deleted = Request {
        session: 6,
        time: (60, 61),
        zxid: 60,
        op: delete.clone(),
        result: Ok(Answer::Done),
    };
    let mut story = vec![
        asked(Op::AddWatch {
            path: path.clone(),
            mode,
        }),
        lost(
            9,
            (3, 4),
            Op::RemoveWatches {
                path: path.clone(),
                watches,
            },
        ),
        lost(2, (5, 9), delete),
        lost(3, (5, 9), create_with("/a", false, false)),
        lost(4, (5, 9), set_op("/x", "never", -1)),
        notify(9, 7, EventType::NodeDeleted, "/a", -1),
        notify(9, 8, EventType::NodeCreated, "/a", -1),
        deleted,
        set(5, (90, 91), "/y", "2", after_set(3, 90, 2, "2")),
    ];
    story.extend(lines);
    let history = history(start(), &story);
    for judge in [judge, judge_verified] {
        let verdict = judge(&history, &Options::default());
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    }
}

/// Convicted of P7: with more places than are followed up to which the client may have been
/// told, the one farthest ahead was kept, and what came next was only of what was sent later.
#[test]
fn a_client_that_was_told_much_at_once_may_have_been_told_less() {
    let event = EventType::NodeDataChanged;
    let x = |at: u64, version: i32| {
        set(
            1,
            (at, at),
            "/x",
            "1",
            after_set(2, at as i64, version, "1"),
        )
    };
    let mut lines: Vec<Line> = (10..22)
        .zip(1..)
        .map(|(at, version)| x(at, version))
        .collect();
    lines.extend((10..22).map(|at| notify(9, at + 1, event, "/x", -1)));
    lines.push(set(5, (30, 31), "/y", "1", after_set(3, 30, 1, "1")));
    lines.push(notify(9, 31, event, "/y", -1));
    lines.extend((70..82).zip(13..).map(|(at, version)| x(at, version)));
    told_of_what_was_lost(lines);
}

/// Convicted of P7: a watch that may be gone was taken to have been told of all that was answered.
#[test]
fn a_client_whose_watch_may_be_gone_was_perhaps_told_of_nothing() {
    let was = after_set(2, 10, 1, "1");
    let again = Lost {
        session: 9,
        time: (14, 20),
        op: Op::AddWatch {
            path: "/".into(),
            mode: WatchMode::Recursive,
        },
    };
    told_of_what_was_lost(vec![
        set(1, (10, 11), "/x", "1", was),
        get(9, (12, 13), "/x", "1", was, 10),
        again,
        set(5, (30, 31), "/y", "1", after_set(3, 30, 1, "1")),
        notify(9, 31, EventType::NodeDataChanged, "/y", -1),
    ]);
}

fn add_watch(path: &str, mode: WatchMode, time: (u64, u64), zxid: i64) -> Line {
    let path = path.into();
    answered_at(time, Op::AddWatch { path, mode }, zxid, Ok(Answer::Done))
}

/// Convicted: of a watch that stays and was perhaps removed, only the furthest was kept of all the
/// places where its client can be; so what it was told next seemed to have been told before.
#[test]
fn a_watch_told_of_what_was_lost_can_still_be_where_it_was() {
    let lost = |op| Lost {
        session: 2,
        time: (2, 99),
        op,
    };
    let delete = Op::Delete {
        path: "/k".into(),
        version: -1,
    };
    let remove = Op::RemoveWatches {
        path: "/".into(),
        watches: WatchKind::Data,
    };
    let set_a = |version: i32, zxid| {
        let time = (zxid as u64, zxid as u64 + 1);
        set(3, time, "/a", "1", after_set(1, zxid, version, "1"))
    };
    let mut lines = vec![
        add_watch("/", WatchMode::Recursive, (0, 1), 4),
        answered_at((1, 2), remove, 4, Ok(Answer::Done)),
        lost(create_with("/k", false, false)),
        lost(delete),
        lost(set_op("/a", "2", -1)),
    ];
    lines.extend((1..15).map(|version| set_a(version, 6 + i64::from(version))));
    lines.push(set(3, (21, 22), "/x", "1", after_set(2, 21, 1, "1")));
    lines.push(create(3, (22, 23), "/k", 22));
    lines.extend((15..30).map(|version| set_a(version, 8 + i64::from(version))));
    // The lost create and delete came first.
    let told = |event, path| notify(1, 100, event, path, -1);
    lines.push(told(EventType::NodeCreated, "/k"));
    lines.push(told(EventType::NodeDeleted, "/k"));
    lines.extend((1..15).map(|_| told(EventType::NodeDataChanged, "/a")));
    lines.push(told(EventType::NodeDataChanged, "/x"));
    both_acquit(&lines);
}

/// Convicted: one that was registered nobody knows when was told of what it can first be of, and
/// that seemed to come too late.
#[test]
fn a_watch_registered_somewhere_may_be_told_of_a_later_change() {
    let lines = [
        set(3, (0, 1), "/a", "1", after_set(1, 5, 1, "1")),
        add_watch("/a", WatchMode::Persistent, (2, 3), 0),
        get_watching(1, (4, 5), "/y", "0", stat(3, 3, 0, "0"), 5, true),
        set(3, (6, 7), "/y", "1", after_set(3, 6, 1, "1")),
        set(3, (8, 9), "/a", "2", after_set(1, 7, 2, "2")),
        notify(1, 10, EventType::NodeDataChanged, "/y", -1),
        notify(1, 11, EventType::NodeDataChanged, "/a", -1),
    ];
    both_acquit(&lines);
}
