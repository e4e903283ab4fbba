//! What a header says of `sync` and of the clocks changes what is asked: each promise and each
//! tolerance, on both sides of its edge.

mod story;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{Options, Property, Verdict, judge, judge_verified};
use story::*;

fn verdict(header: Header, lines: &[Line]) -> Verdict {
    judge_verified(&history(header, lines), &Options::default())
}

fn is_valid(header: &Header, lines: &[Line]) {
    let verdict = verdict(header.clone(), lines);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
}

fn breaks(header: &Header, lines: &[Line], property: Property) -> String {
    match verdict(header.clone(), lines) {
        Verdict::Invalid(violation) => {
            assert_eq!(violation.property, property, "{violation}");
            violation.reason
        }
        other => panic!("{other}"),
    }
}

fn of(sync: SyncPromise) -> Header {
    Header { sync, ..start() }
}

fn sync(session: i64, time: (u64, u64)) -> Line {
    Request {
        session,
        time,
        zxid: 4,
        op: Op::Sync { path: "/a".into() },
        result: Ok(Answer::Done),
    }
}

const SECOND_EPOCH: i64 = 1 << 32 | 1;

/// Session 1 writes at `zxid`; session 2, sent `later` ms after, does not see it after a sync.
fn missed(zxid: i64, later: u64) -> Vec<Line> {
    let asked = 10 + later;
    vec![
        connected(2, 0, 4000),
        set(1, (1, 10), "/a", "1", after_set(1, zxid, 1, "1")),
        sync(2, (asked, asked + 1)),
        get(2, (asked + 2, asked + 3), "/a", "0", A0, 4),
    ]
}

#[test]
fn p8_a_quorum_that_confirmed_a_sync_has_seen_everything() {
    let header = of(SyncPromise::Quorum);
    let reason = breaks(&header, &missed(5, 1), Property::SyncThenRead);
    assert!(!reason.contains("leader"), "{reason}");
    // Even where a deposed leader explains it, it is told but no excuse.
    let reason = breaks(&header, &missed(SECOND_EPOCH, 1), Property::SyncThenRead);
    assert!(reason.contains("may still have been alive"), "{reason}");
    // Answered at the very moment the sync was sent: not before.
    is_valid(&header, &missed(5, 0));
}

#[test]
fn p8_a_leaders_word_binds_while_it_is_the_only_one() {
    let header = of(SyncPromise::Leader);
    let reason = breaks(&header, &missed(5, 1), Property::SyncThenRead);
    assert!(reason.contains("one leader only"), "{reason}");
}

/// Two times syncLimit + 1 ticks, 24 s, and a session timeout of 4 s after the first word of
/// the new leader nobody listens to the old one any more.
#[test]
fn p8_two_leaders_are_not_alive_for_ever() {
    let header = of(SyncPromise::Leader);
    is_valid(&header, &missed(SECOND_EPOCH, 1));
    is_valid(&header, &missed(SECOND_EPOCH, 28_000));
    let reason = breaks(
        &header,
        &missed(SECOND_EPOCH, 28_001),
        Property::SyncThenRead,
    );
    assert!(reason.contains("given up"), "{reason}");
    // Clocks that run slow, and clocks that err, give it longer.
    let drifting = Header {
        clock_drift_ppm: 1000,
        ..header.clone()
    };
    is_valid(&drifting, &missed(SECOND_EPOCH, 28_028));
    breaks(
        &drifting,
        &missed(SECOND_EPOCH, 28_029),
        Property::SyncThenRead,
    );
    let erring = Header {
        clock_error_ns: MS,
        ..header
    };
    is_valid(&erring, &missed(SECOND_EPOCH, 28_002));
    breaks(
        &erring,
        &missed(SECOND_EPOCH, 28_003),
        Property::SyncThenRead,
    );
}

#[test]
fn p8_is_not_asked_of_whoever_promises_nothing() {
    is_valid(&of(SyncPromise::None), &missed(5, 1));
    is_valid(&of(SyncPromise::None), &missed(SECOND_EPOCH, 90_000));
}

/// The sync that was sent last counts, not the first that should have seen the write.
#[test]
fn p8_a_later_sync_is_not_excused_by_an_earlier_one() {
    let mut lines = missed(SECOND_EPOCH, 1);
    lines.push(sync(2, (40_000, 40_001)));
    lines.push(get(2, (40_002, 40_003), "/a", "0", A0, 4));
    breaks(&of(SyncPromise::Leader), &lines, Property::SyncThenRead);
}

fn erring(ms: u64) -> Header {
    Header {
        clock_error_ns: ms * MS,
        ..start()
    }
}

/// Both recorders may err, so two times are surely in order only if they are more than twice
/// the error apart.
#[test]
fn w1_times_within_the_error_of_the_clocks_are_in_no_order() {
    let apart = |ms: u64| {
        [
            create(1, (0, 10), "/m", 6),
            create(2, (10 + ms, 50), "/n", 5),
        ]
    };
    breaks(&erring(0), &apart(1), Property::LinearizableWrites);
    breaks(&erring(10), &apart(21), Property::LinearizableWrites);
    is_valid(&erring(10), &apart(20));
    is_valid(&erring(0), &apart(0));
}

#[test]
fn r3_a_read_may_seem_to_come_before_the_write_it_saw_by_the_error() {
    let one = after_set(1, 5, 1, "1");
    let apart = |ms: u64| {
        [
            get(2, (0, 10), "/a", "1", one, 5),
            set(1, (10 + ms, 50), "/a", "1", one),
        ]
    };
    breaks(&erring(0), &apart(1), Property::NoFutureReads);
    breaks(&erring(10), &apart(21), Property::NoFutureReads);
    is_valid(&erring(10), &apart(20));
}

#[test]
fn r4_a_sync_promises_what_was_surely_answered_before_it() {
    let header = |ms| erring(ms);
    breaks(&header(10), &missed(5, 21), Property::SyncThenRead);
    is_valid(&header(10), &missed(5, 20));
}

fn expired(time: u64) -> Vec<Line> {
    let body = Body::Session(SessionEvent::Expired { session: 1 });
    let session = 1;
    vec![
        connected(1, 0, 10_000),
        ephemeral(1, (1, 2), 5),
        Note {
            session,
            time,
            body,
        },
    ]
}

/// Heard at 1 ms with a timeout of 10 s.
#[test]
fn p14_expiry_is_judged_with_the_drift_and_the_error_of_the_clocks() {
    let exact = start();
    is_valid(&exact, &expired(10_001));
    breaks(&exact, &expired(10_000), Property::EphemeralsStay);
    let drifting = Header {
        clock_drift_ppm: 500,
        ..start()
    };
    is_valid(&drifting, &expired(9_996));
    breaks(&drifting, &expired(9_995), Property::EphemeralsStay);
    is_valid(&erring(10), &expired(9_981));
    breaks(&erring(10), &expired(9_980), Property::EphemeralsStay);
}

/// The same for an ephemeral that others see gone.
#[test]
fn p14_an_ephemeral_is_gone_early_by_more_than_the_tolerance() {
    let gone = |time: u64| {
        [
            connected(1, 0, 10_000),
            ephemeral(1, (1, 2), 5),
            exists(2, (time - 1, time), "/e", 9, Err(ErrorCode::NO_NODE)),
        ]
    };
    let drifting = Header {
        clock_drift_ppm: 500,
        ..start()
    };
    is_valid(&start(), &gone(10_001));
    breaks(&start(), &gone(10_000), Property::EphemeralsStay);
    is_valid(&drifting, &gone(9_996));
    breaks(&drifting, &gone(9_995), Property::EphemeralsStay);
}

/// What the words `leader` and `quorum` also change: whether a write proves that its session
/// was heard.
#[test]
fn p14_a_write_is_no_touch_where_zookeeper_itself_is_judged() {
    let header = of(SyncPromise::Leader);
    let told = history(header, &expired(5_000));
    assert!(matches!(
        judge(&told, &Options::default()),
        Verdict::Valid(_)
    ));
}
