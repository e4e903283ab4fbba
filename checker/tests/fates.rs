//! Requests of unknown fate that no log of the servers tells of: what was seen later decides,
//! however little that is.
//!
//! Each story is what was left of a life of the simulator, or of a recorded ensemble, that the
//! judge once could not decide, or decided wrongly, without the servers' log.

mod story;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{Options, judge_verified};
use story::*;

fn verdict(lines: &[Line]) -> &'static str {
    judge_verified(&history(start(), lines), &Options::default()).word()
}

fn lost(session: i64, op: Op) -> Line {
    let time = (session as u64, session as u64 + 10);
    Lost { session, time, op }
}

/// `/q` as somebody sees it at `zxid`, after `creates` of children of which `children` are left.
fn parent(zxid: i64, creates: i32, children: i32, pzxid: i64) -> Line {
    let stat = Stat {
        cversion: 2 * creates - children,
        num_children: children,
        pzxid,
        ..stat(4, 4, 0, "")
    };
    exists(9, (5000, 5001), "/q", zxid, Ok(stat))
}

fn listed(zxid: i64, names: &[&str]) -> Line {
    Request {
        session: 9,
        time: (5010, 5011),
        zxid,
        op: Op::Children {
            path: "/q".into(),
            watch: false,
            stat: false,
        },
        result: Ok(Answer::Names(
            names.iter().map(|&name| name.into()).collect(),
        )),
    }
}

fn numbered(session: i64, time: (u64, u64), number: i32, zxid: i64) -> Line {
    let path = format!("/q/n-{number:010}");
    Request {
        session,
        time,
        zxid,
        op: create_with("/q/n-", true, true),
        result: Ok(Answer::Path(path.as_str().into())),
    }
}

/// Nobody ever saw the node: it was made and went with its session, and the parent counted.
#[test]
fn a_lost_ephemeral_and_the_end_of_its_session_are_told_by_the_parent_alone() {
    let lost = lost(1, create_with("/q/e", true, false));
    let last = create(2, (4000, 4001), "/q/z", 9);
    assert_eq!(verdict(&[lost.clone(), parent(8, 4, 0, 6)]), "valid");
    assert_eq!(verdict(&[lost.clone(), parent(8, 4, 1, 6)]), "valid");
    let unseen = [lost.clone(), last.clone(), parent(9, 5, 1, 9)];
    assert_eq!(verdict(&unseen), "valid");
    // Two creates are one more than were asked for; and one cannot have gone twice.
    let twice = [lost.clone(), last.clone(), parent(9, 6, 1, 9)];
    assert_eq!(verdict(&twice), "invalid");
    let gone = Stat {
        cversion: 10,
        num_children: 1,
        pzxid: 9,
        ..stat(4, 4, 0, "")
    };
    let gone = exists(9, (5000, 5001), "/q", 9, Ok(gone));
    assert_eq!(verdict(&[lost, last, gone]), "invalid");
}

/// Sequential ephemerals of sessions that expired: a later name counts them all.
#[test]
fn lost_places_in_a_queue_are_told_by_the_next_number() {
    let queue = |number: i32| {
        let mut lines: Vec<Line> = (1..=3)
            .map(|session| lost(session, create_with("/q/n-", true, true)))
            .collect();
        lines.push(numbered(5, (4000, 4001), number, 20));
        lines.push(listed(20, &[&format!("n-{number:010}")]));
        verdict(&lines)
    };
    assert_eq!([3, 4, 6].map(queue), ["valid"; 3]);
    assert_eq!(queue(7), "invalid");
}

/// The number in the name of a lost child tells of children made before it, which nobody saw.
#[test]
fn a_number_that_is_too_low_asks_for_earlier_children() {
    let story = |name: &str| {
        verdict(&[
            lost(1, create_with("/q/e", true, false)),
            lost(1, create_with("/q/f", true, false)),
            lost(2, create_with("/q/n-", false, true)),
            create(3, (4000, 4001), "/q/z", 20),
            listed(20, &[name, "z"]),
        ])
    };
    assert_eq!(story("n-0000000003"), "valid");
    assert_eq!(story("n-0000000005"), "valid");
    assert_eq!(story("n-0000000006"), "invalid");
}

/// Nothing names the transaction of a change of an ACL; aversion counts, and the last one shows.
#[test]
fn lost_changes_of_an_acl_are_told_by_their_number_and_the_last() {
    let acl = |perms: i32| Acl::new(perms, "world", "anyone");
    let story = |perms: i32, aversion: i32| {
        let mut lines: Vec<Line> = [17, 19, 21]
            .map(|perms| Op::SetAcl {
                path: "/a".into(),
                acl: [acl(perms)].into(),
                version: -1,
            })
            .map(|op| lost(1, op))
            .into();
        lines.push(set(2, (4000, 4001), "/y", "1", after_set(3, 20, 1, "1")));
        lines.push(Request {
            session: 9,
            time: (5000, 5001),
            zxid: 20,
            op: Op::GetAcl { path: "/a".into() },
            result: Ok(Answer::Acl {
                acl: [acl(perms)].into(),
                stat: Stat { aversion, ..A0 },
            }),
        });
        verdict(&lines)
    };
    assert_eq!(story(17, 1), "valid");
    assert_eq!(story(21, 2), "valid");
    assert_eq!(story(21, 3), "valid");
    // The first of two is not the last of them.
    assert_eq!(story(17, 2), "invalid");
    assert_eq!(story(21, 4), "invalid");
}

/// Two requests of a session need both of the only free numbers; what another session lost may
/// lie at one of them, but need not.
#[test]
fn what_holds_a_number_makes_room_for_two_in_a_row() {
    let lines = [
        lost(1, create_with("/q/e", false, false)),
        lost(1, create_with("/q/f", false, false)),
        lost(2, set_op("/x", "lost", -1)),
        set(1, (100, 101), "/y", "1", after_set(3, 7, 1, "1")),
        set(3, (200, 201), "/x", "2", after_set(2, 20, 2, "2")),
        listed(20, &["e", "f"]),
    ];
    assert_eq!(verdict(&lines), "valid");
}

/// What a client made and nobody deleted, of `/q` at `zxid`.
fn made(session: i64, time: u64, path: &str, zxid: i64) -> Line {
    Request {
        session,
        time: (time, time + 1),
        zxid,
        op: create_with(path, true, false),
        result: Ok(Answer::Path(path.into())),
    }
}

fn deleted(session: i64, time: u64, path: &str, zxid: i64) -> Line {
    Request {
        session,
        time: (time, time + 1),
        zxid,
        op: Op::Delete {
            path: path.into(),
            version: -1,
        },
        result: Ok(Answer::Done),
    }
}

/// The parent is seen twice, and in between five children were made and six are gone: the lost
/// creates of two sessions, and the end of one of these, which takes what was answered, too.
/// None of these explains anything alone; and many another session could have ended.
#[test]
fn lost_creates_and_a_lost_end_are_placed_where_their_sum_is_exact() {
    let mut lines = Vec::new();
    for session in 20..60 {
        let (zxid, path) = (4 * session, format!("/q/own-{session}"));
        let time = 10 * session as u64;
        lines.push(made(session, time, &path, zxid));
        lines.push(deleted(session, time + 2, &path, zxid + 2));
    }
    for (path, zxid) in [("/q/a", 301), ("/q/b", 303), ("/q/c", 305)] {
        lines.push(made(1, 700 + zxid as u64, path, zxid));
    }
    // The lost creates were asked for later than the end may have come.
    lines.push(set(3, (1050, 1051), "/y", "1", after_set(3, 311, 1, "1")));
    for (session, path) in [
        (1, "/q/d"),
        (1, "/q/e"),
        (1, "/q/f"),
        (2, "/q/g"),
        (2, "/q/h"),
    ] {
        let op = create_with(path, true, false);
        let time = (1100, 2000);
        lines.push(Lost { session, time, op });
    }
    let seen = |creates: i32, children: i32| {
        let seen = parent(340, creates, children, 330);
        verdict(&[lines.as_slice(), &[seen]].concat())
    };
    // Three were made before the history, one by each other session, and three are known.
    let before = 3 + 40 + 3;
    assert_eq!(seen(before + 5, 2), "valid");
    assert_eq!(seen(before + 4, 1), "valid");
}

/// A refused delete tells that the session had ended: that is found at once, though the delete
/// would have taken the node away itself, and many a lost create touches it. (In a recorded
/// ensemble there were too many of these to try them all.)
#[test]
fn refused_delete_asks_for_the_end_of_the_session_that_owned_the_node() {
    let mut lines = vec![
        made(1, 100, "/q/e", 6),
        set(4, (4000, 4001), "/x", "1", after_set(2, 10, 1, "1")),
    ];
    for session in 20..30 {
        let (time, op) = ((4100, 4200), create_with("/q/e", true, false));
        lines.push(Lost { session, time, op });
    }
    lines.push(Request {
        session: 5,
        time: (5000, 5001),
        zxid: 30,
        op: Op::Delete {
            path: "/q/e".into(),
            version: -1,
        },
        result: Err(ErrorCode::NO_NODE),
    });
    let options = Options {
        tries_max: 10,
        ..Options::default()
    };
    let verdict = judge_verified(&history(start(), &lines), &options);
    assert_eq!(verdict.word(), "valid", "{verdict}");
}

/// Nine pipelined sets of one session were lost, and all took effect: the versions that others see
/// ask for as many, so that the session cannot have ended where a child was seen to go, which
/// leaves numbers for seven. It was another's lost delete. (A recorded ensemble; one by one this
/// takes some 60,000 tries.)
#[test]
fn pipelined_sets_are_placed_where_there_is_room_for_all_of_them() {
    let sets = |paths: &[&str]| -> Vec<Op> {
        let each = paths.iter().map(|path| set_op(path, "lost", -1));
        each.collect()
    };
    let mut lines = vec![
        made(1, 100, "/q/own", 6),
        made(2, 102, "/q/e", 7),
        set(1, (104, 105), "/x", "1", after_set(2, 10, 1, "1")),
    ];
    for session in [5, 6] {
        let (time, ops) = ((90, 91), sets(&["/x", "/y"]));
        let op = Op::Multi { ops };
        lines.push(Lost { session, time, op });
    }
    for op in sets(&["/x", "/x", "/y", "/x", "/y", "/x", "/x", "/x", "/y"]) {
        let (session, time) = (1, (200, 300));
        lines.push(Lost { session, time, op });
    }
    lines.push(Lost {
        session: 3,
        time: (200, 300),
        op: Op::Delete {
            path: "/q/e".into(),
            version: -1,
        },
    });
    lines.push(set(4, (4000, 4001), "/y", "2", after_set(3, 30, 4, "2")));
    lines.push(set(4, (4002, 4003), "/x", "2", after_set(2, 31, 8, "2")));
    lines.push(parent(31, 5, 1, 18));
    let options = Options {
        tries_max: 1_000,
        ..Options::default()
    };
    let verdict = judge_verified(&history(start(), &lines), &options);
    assert_eq!(verdict.word(), "valid", "{verdict}");
}

/// A child that was seen may be the last of what a session sent in one go, or another's: the sets
/// before it, which all are counted, leave it no room. That shows at once.
#[test]
fn fewer_numbers_than_are_missed_end_a_try() {
    let mut lines = vec![set(1, (104, 105), "/x", "1", after_set(2, 10, 1, "1"))];
    for _ in 0..12 {
        let (session, time, op) = (3, (200, 300), set_op("/x", "lost", -1));
        lines.push(Lost { session, time, op });
    }
    for session in [1, 3] {
        let (time, op) = ((200, 300), create_with("/q/e", false, false));
        lines.push(Lost { session, time, op });
    }
    lines.push(set(4, (4002, 4003), "/x", "2", after_set(2, 41, 14, "2")));
    lines.push(parent(41, 4, 1, 21));
    let options = Options {
        tries_max: 100,
        ..Options::default()
    };
    let verdict = judge_verified(&history(start(), &lines), &options);
    assert_eq!(verdict.word(), "valid", "{verdict}");
}

/// No order of four lost requests at four free numbers explains that a folder of no folder is
/// missed. Each set of placements is looked at once, in whatever order it comes together.
#[test]
fn what_was_tried_in_vain_is_not_tried_in_another_order() {
    let mut lines = vec![
        deleted(4, 100, "/x", 5),
        lost(1, create_with("/x/a", true, false)),
        lost(2, create_with("/x/b", true, false)),
        lost(3, set_op("/x", "lost", -1)),
        lost(5, create_with("/x", false, false)),
    ];
    lines.push(Request {
        session: 4,
        time: (110, 111),
        zxid: 10,
        op: create_with("/x", false, false),
        result: Err(ErrorCode::NO_NODE),
    });
    let options = Options {
        tries_max: 1_000,
        ..Options::default()
    };
    let verdict = judge_verified(&history(start(), &lines), &options);
    assert_eq!(verdict.word(), "invalid", "{verdict}");
}

/// Sets that one session sent in one go and nobody answered: they took the numbers that others
/// left free, one after the other, and the last that was seen of them tells how many there were.
#[test]
fn pipelined_sets_lie_at_the_numbers_that_others_left() {
    let mut lines = Vec::new();
    for turn in 0..16 {
        let op = set_op(["/x", "/y"][turn % 2], &format!("lost {turn}"), -1);
        let (session, time) = (1, (200, 300));
        lines.push(Lost { session, time, op });
    }
    for turn in 0..16_u64 {
        let path = format!("/q/other-{turn}");
        lines.push(made(2, 210 + 4 * turn, &path, 8 + 3 * turn as i64));
    }
    lines.push(set(4, (4000, 4001), "/x", "2", after_set(2, 60, 9, "2")));
    lines.push(set(4, (4002, 4003), "/y", "2", after_set(3, 61, 9, "2")));
    let options = Options {
        tries_max: 40,
        ..Options::default()
    };
    let verdict = judge_verified(&history(start(), &lines), &options);
    assert_eq!(verdict.word(), "valid", "{verdict}");
}

/// A version goes down, though nobody deleted the node: no lost set mends that, and none is tried.
#[test]
fn no_lost_set_is_tried_for_a_version_that_goes_down() {
    let mut lines: Vec<Line> = (11..31)
        .map(|session| lost(session, set_op("/x", "lost", -1)))
        .collect();
    lines.push(set(3, (1, 2), "/x", "0", after_set(2, 5, 1, "0")));
    lines.push(set(4, (4000, 4001), "/x", "1", after_set(2, 30, 9, "1")));
    let seen = |version: i32| {
        let last = set(4, (4100, 4101), "/x", "2", after_set(2, 60, version, "2"));
        let options = Options {
            tries_max: 100,
            ..Options::default()
        };
        let lines = [lines.as_slice(), &[last]].concat();
        judge_verified(&history(start(), &lines), &options).word()
    };
    assert_eq!(seen(10), "valid");
    assert_eq!(seen(15), "valid");
    assert_eq!(seen(9), "invalid");
    assert_eq!(seen(5), "invalid");
}
