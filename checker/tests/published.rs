//! The examples that the specification gives for its properties, line by line.
//!
//! Each is judged to break its property; then every line is dropped in turn, and the rest is
//! legal, or breaks what is said here: in a world in which everybody is recorded a value that
//! was read must have been written, and a notification asked for.
//!
//! Answers to: `consistency.md` 3.4.

mod story;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{Options, Property, judge_verified};
use story::*;

/// Judges `context` and `lines` together, then without each of the lines: `left[i]` is what
/// the rest breaks without line i.
fn published(property: Property, context: &[Line], lines: &[Line], left: &[Option<Property>]) {
    assert_eq!(lines.len(), left.len());
    let judged = |lines: &[Line]| {
        let all = [context, lines].concat();
        judge_verified(&history(start(), &all), &Options::default())
    };
    let verdict = judged(lines);
    assert_eq!(verdict.property(), Some(property), "{verdict}");
    for (index, left) in left.iter().enumerate() {
        let mut rest = lines.to_vec();
        rest.remove(index);
        let verdict = judged(&rest);
        let word = if left.is_some() { "invalid" } else { "valid" };
        assert_eq!(
            (verdict.word(), verdict.property()),
            (word, *left),
            "without line {index}: {verdict}"
        );
    }
}

fn one(path_created: i64, zxid: i64) -> Stat {
    after_set(path_created, zxid, 1, "1")
}

#[test]
fn p1_writes_linearizable() {
    let lines = [create(1, (0, 10), "/m", 6), create(2, (20, 30), "/n", 5)];
    published(Property::LinearizableWrites, &[], &lines, &[None, None]);
}

#[test]
fn p2_conditional_operations() {
    let conditional = |session, time, data: &str, zxid| Request {
        session,
        time,
        zxid,
        op: set_op("/a", data, 0),
        result: Ok(Answer::Stat(after_set(1, zxid, 1, data))),
    };
    let lines = [
        conditional(1, (0, 10), "x", 5),
        conditional(2, (1, 11), "y", 6),
    ];
    published(Property::ConditionalWrites, &[], &lines, &[None, None]);
}

#[test]
fn p3_session_fifo() {
    let lines = [
        set(1, (0, 10), "/a", "1", one(1, 6)),
        set(1, (1, 11), "/x", "1", one(2, 5)),
    ];
    published(Property::SessionFifo, &[], &lines, &[None, None]);
}

#[test]
fn p4_read_your_writes() {
    let unseen = exists(1, (11, 20), "/m", 4, Err(ErrorCode::NO_NODE));
    let lines = [create(1, (0, 10), "/m", 5), unseen];
    published(Property::ReadYourWrites, &[], &lines, &[None, None]);
}

#[test]
fn p5_monotonic_reads() {
    let two = after_set(1, 6, 2, "2");
    let context = [
        set(9, (0, 1), "/a", "1", one(1, 5)),
        set(9, (2, 3), "/a", "2", two),
    ];
    let lines = [
        get(1, (4, 5), "/a", "2", two, 6),
        get(1, (9, 12), "/a", "1", one(1, 5), 5),
    ];
    published(Property::MonotonicReads, &context, &lines, &[None, None]);
}

#[test]
fn p6_one_order_for_all() {
    let context = [
        set(1, (0, 10), "/x", "1", one(2, 5)),
        set(1, (11, 19), "/y", "1", one(3, 6)),
    ];
    let lines = [
        get(2, (20, 21), "/y", "1", ZERO, 0),
        get(2, (22, 23), "/x", "0", ZERO, 0),
    ];
    published(Property::OneOrder, &context, &lines, &[None, None]);
}

#[test]
fn p7_no_future_reads() {
    let lines = [
        get(2, (0, 5), "/a", "1", one(1, 5), 5),
        set(1, (10, 15), "/a", "1", one(1, 5)),
    ];
    let invented = Some(Property::NoFutureReads);
    published(Property::NoFutureReads, &[], &lines, &[None, invented]);
}

#[test]
fn p8_sync_then_read() {
    let sync = Request {
        session: 2,
        time: (11, 12),
        zxid: 4,
        op: Op::Sync { path: "/a".into() },
        result: Ok(Answer::Done),
    };
    let lines = [
        set(1, (0, 10), "/a", "1", one(1, 5)),
        sync,
        get(2, (13, 14), "/a", "0", A0, 4),
    ];
    published(Property::SyncThenRead, &[], &lines, &[None, None, None]);
}

#[test]
fn p9_durability() {
    let unseen = exists(2, (90, 99), "/m", 5, Err(ErrorCode::NO_NODE));
    let lines = [create(1, (0, 10), "/m", 5), unseen];
    published(Property::Durability, &[], &lines, &[None, None]);
}

#[test]
fn p10_watch_before_data() {
    let lines = [
        get_watching(1, (0, 1), "/a", "0", A0, 4, true),
        set(2, (2, 3), "/a", "1", one(1, 5)),
        get(1, (4, 5), "/a", "1", one(1, 5), 5),
        notify(1, 6, EventType::NodeDataChanged, "/a", -1),
    ];
    let unasked = Some(Property::WatchNotSpurious);
    let invented = Some(Property::NoFutureReads);
    let missing = Some(Property::WatchBeforeData);
    published(
        Property::WatchBeforeData,
        &[],
        &lines,
        &[unasked, invented, None, missing],
    );
}

#[test]
fn p11_one_shot() {
    let two = after_set(1, 6, 2, "2");
    let context = [
        set(2, (2, 3), "/a", "1", one(1, 5)),
        set(2, (4, 5), "/a", "2", two),
    ];
    let lines = [
        get_watching(1, (0, 1), "/a", "0", A0, 4, true),
        notify(1, 6, EventType::NodeDataChanged, "/a", 5),
        notify(1, 7, EventType::NodeDataChanged, "/a", 6),
    ];
    // Of the second change alone nobody can be told: the watch was used up by the first.
    let spurious = Some(Property::WatchNotSpurious);
    published(
        Property::WatchOneShot,
        &context,
        &lines,
        &[spurious, spurious, None],
    );
}

#[test]
fn p12_no_spurious_notification() {
    let op = Op::Exists {
        path: "/m".into(),
        watch: true,
    };
    let (session, time, zxid, result) = (1, (0, 1), 4, Err(ErrorCode::NO_NODE));
    let watching = Request {
        session,
        time,
        zxid,
        op,
        result,
    };
    let lines = [watching, notify(1, 3, EventType::NodeCreated, "/m", 5)];
    let unasked = Some(Property::WatchNotSpurious);
    published(Property::WatchNotSpurious, &[], &lines, &[unasked, None]);
}

#[test]
fn p13_ephemerals_end_with_the_session() {
    let left = Stat {
        ephemeral_owner: 1,
        ..stat(5, 5, 0, "")
    };
    let lines = [
        ephemeral(1, (0, 10), 5),
        closed(1, (11, 20), 7),
        exists(2, (50, 51), "/e", 8, Ok(left)),
    ];
    // The Stat alone names a transaction that nobody sent.
    let unexplained = Some(Property::StatArithmetic);
    published(
        Property::EphemeralsEnd,
        &[],
        &lines,
        &[unexplained, None, None],
    );
}

#[test]
fn p14_never_before() {
    let lines = [
        connected(1, 0, 100),
        ephemeral(1, (0, 1), 5),
        exists(2, (60, 61), "/e", 9, Err(ErrorCode::NO_NODE)),
    ];
    published(Property::EphemeralsStay, &[], &lines, &[None, None, None]);
}

#[test]
fn p15_sequential_names() {
    let made = |session, zxid| Request {
        session,
        time: (0, 10),
        zxid,
        op: create_with("/q/n-", false, true),
        result: Ok(Answer::Path("/q/n-0000000003".into())),
    };
    published(
        Property::SequentialNames,
        &[],
        &[made(1, 8), made(2, 9)],
        &[None, None],
    );
}

#[test]
fn p16_multi_is_atomic() {
    let (x, y) = (one(2, 5), one(3, 5));
    let context = [both(
        vec![Ok(Answer::Stat(x)), Ok(Answer::Stat(y))],
        (0, 10),
    )];
    let lines = [
        get(2, (20, 21), "/x", "1", x, 5),
        get(2, (22, 23), "/y", "0", stat(3, 3, 0, "0"), 5),
    ];
    // At the multi's own zxid the second read misses its part without the first too.
    let parted = Some(Property::MultiAtomic);
    published(Property::MultiAtomic, &context, &lines, &[parted, None]);
}

#[test]
fn p17_stat_arithmetic() {
    let lines = [
        set(1, (0, 10), "/a", "1", one(1, 5)),
        get(2, (11, 12), "/a", "1", after_set(1, 5, 0, "1"), 5),
    ];
    let invented = Some(Property::NoFutureReads);
    published(Property::StatArithmetic, &[], &lines, &[invented, None]);
}

#[test]
fn p18_replicas_agree() {
    let lines = [
        get(1, (0, 1), "/a", "0", A0, 4),
        exists(2, (0, 1), "/a", 4, Err(ErrorCode::NO_NODE)),
    ];
    // Alone, the second is a node that is gone for no reason.
    let gone = Some(Property::OneOrder);
    published(Property::ReplicasAgree, &[], &lines, &[gone, None]);
}

#[test]
fn p19_zxid_sanity() {
    let lines = [create(1, (0, 10), "/m", 5), create(2, (1, 11), "/n", 5)];
    published(Property::ZxidSanity, &[], &lines, &[None, None]);
}
