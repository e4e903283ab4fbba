//! Containers and TTL nodes go by the servers' own doing: where that is legal it explains what
//! is seen afterwards, and where it is not it convicts. Every verdict of valid here has been
//! confirmed by the verifier.

mod story;

use gamekeeper_checker::certificate::{Effect, Step};
use gamekeeper_checker::history::*;
use gamekeeper_checker::verify::verify;
use gamekeeper_checker::{
    Options, Property, Verdict, acquit, judge, judge_verified, judge_with_certificate,
};
use story::*;

const TTL_MS: u64 = 100;

/// As in [`start`], with servers that remove unused containers after so many milliseconds.
fn unused_go_after(container_unused_ms: u64) -> Header {
    Header {
        container_unused_ms,
        ..start()
    }
}

fn make(path: &str, lapse: Option<Lapse>, sequential: bool) -> Op {
    Op::Create {
        path: path.into(),
        data: Some("".into()),
        acl: Acl::open(),
        ephemeral: false,
        lapse,
        sequential,
        stat: false,
    }
}

fn made_as(time: (u64, u64), zxid: i64, op: Op, path: &str) -> Line {
    Request {
        session: 1,
        time,
        zxid,
        op,
        result: Ok(Answer::Path(path.into())),
    }
}

fn container(time: (u64, u64), path: &str, zxid: i64) -> Line {
    made_as(time, zxid, make(path, Some(Lapse::Container), false), path)
}

fn ttl(time: (u64, u64), path: &str, zxid: i64) -> Line {
    made_as(
        time,
        zxid,
        make(path, Some(Lapse::Ttl(TTL_MS)), false),
        path,
    )
}

fn plain(time: (u64, u64), path: &str, zxid: i64) -> Line {
    made_as(time, zxid, make(path, None, false), path)
}

fn delete(time: (u64, u64), path: &str, zxid: i64, result: Result<Answer, ErrorCode>) -> Line {
    let (path, version) = (path.into(), -1);
    Request {
        session: 1,
        time,
        zxid,
        op: Op::Delete { path, version },
        result,
    }
}

fn missing(time: (u64, u64), path: &str, zxid: i64) -> Line {
    exists(2, time, path, zxid, Err(ErrorCode::NO_NODE))
}

/// A Stat of a node that never was set, with so many children made and left.
fn parent(czxid: i64, pzxid: i64, made: i32, left: i32) -> Stat {
    Stat {
        czxid,
        mzxid: czxid,
        pzxid,
        cversion: 2 * made - left,
        num_children: left,
        ..ZERO
    }
}

/// Acquitted by the thorough judge, and confirmed; true if one pass does not doubt it either.
fn is_valid(header: Header, lines: &[Line]) -> bool {
    let (history, options) = (history(header, lines), Options::default());
    let (verdict, certificate) = judge_with_certificate(&history, &options);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    let certificate = certificate.expect("a valid verdict comes with its certificate");
    assert_eq!(verify(&history, &certificate, options.terms()), Ok(()));
    let verdict = judge_verified(&history, &options);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    acquit(&history, &options).is_ok()
}

fn valid(lines: &[Line]) {
    assert!(is_valid(start(), lines), "one pass doubts it");
}

fn p14(lines: &[Line], needed: &[usize]) {
    convicts(Property::EphemeralsStay, lines, needed);
}

/// `/c` had a child, and has none from 30 ms, zxid 7, on.
fn used_container() -> Vec<Line> {
    vec![
        container((0, 10), "/c", 5),
        plain((11, 20), "/c/x", 6),
        delete((21, 30), "/c/x", 7, Ok(Answer::Done)),
    ]
}

#[test]
fn an_empty_container_that_was_used_may_go() {
    let mut lines = used_container();
    lines.push(missing((40, 50), "/c", 8));
    valid(&lines);
    lines[3] = missing((31, 32), "/c", 7);
    // Nothing can have happened between its child's end and that.
    p14(&lines, &[3]);
}

#[test]
fn a_container_that_was_never_used_stays() {
    let lines = [container((0, 10), "/c", 5), missing((40, 50), "/c", 8)];
    p14(&lines, &[0, 1]);
}

#[test]
fn a_container_that_was_never_used_goes_when_the_servers_say_so() {
    let lines = |time| [container((0, 10), "/c", 5), missing(time, "/c", 8)];
    is_valid(unused_go_after(100), &lines((40, 101)));
    let early = history(unused_go_after(100), &lines((40, 99)));
    let verdict = judge(&early, &Options::default());
    assert_eq!(
        verdict.property(),
        Some(Property::EphemeralsStay),
        "{verdict}"
    );
}

#[test]
fn a_container_with_children_stays() {
    let lines = [
        container((0, 10), "/c", 5),
        plain((11, 20), "/c/x", 6),
        missing((40, 50), "/c", 8),
    ];
    p14(&lines, &[2]);
    let told = [
        container((0, 10), "/c", 5),
        plain((11, 20), "/c/x", 6),
        watching((21, 25), "/c", parent(5, 6, 1, 1), 6),
        notify(2, 40, EventType::NodeDeleted, "/c", 7),
    ];
    p14(&told, &[3]);
}

#[test]
fn a_plain_node_never_goes_by_itself() {
    let lines = [plain((0, 10), "/c", 5), missing((400, 500), "/c", 8)];
    convicts(Property::Durability, &lines, &[0, 1]);
}

#[test]
fn a_ttl_node_goes_when_its_time_is_over_and_not_before() {
    let lines = |time| [ttl((0, 10), "/t", 5), missing(time, "/t", 8)];
    valid(&lines((90, 100)));
    p14(&lines((90, 99)), &[0, 1]);
}

#[test]
fn what_came_before_it_bounds_when_a_ttl_node_was_made() {
    // The create that was called at 0 is ordered after one that was called at 50.
    let lines = |time| {
        [
            create(3, (50, 60), "/m", 5),
            ttl((0, 70), "/t", 6),
            missing(time, "/t", 8),
        ]
    };
    valid(&lines((90, 150)));
    p14(&lines((90, 149)), &[0, 1, 2]);
}

#[test]
fn a_set_gives_a_ttl_node_its_time_again() {
    let lines = |time| {
        [
            ttl((0, 10), "/t", 5),
            set(1, (80, 85), "/t", "x", stat(5, 6, 1, "x")),
            missing(time, "/t", 8),
        ]
    };
    valid(&lines((170, 180)));
    p14(&lines((170, 179)), &[1, 2]);
}

#[test]
fn a_set_that_was_lost_gives_it_its_time_again_if_it_happened() {
    let lost = |data: &str| Lost {
        session: 1,
        time: (80, 85),
        op: set_op("/t", data, -1),
    };
    let seen = get(2, (86, 87), "/t", "x", stat(5, 6, 1, "x"), 6);
    let gone = |time| missing(time, "/t", 8);
    valid(&[ttl((0, 10), "/t", 5), lost("x"), gone((110, 120))]);
    valid(&[
        ttl((0, 10), "/t", 5),
        lost("x"),
        seen.clone(),
        gone((110, 180)),
    ]);
    let lines = [ttl((0, 10), "/t", 5), lost("x"), seen, gone((110, 179))];
    let verdict = judge(&history(start(), &lines), &Options::default());
    assert!(!matches!(verdict, Verdict::Valid(_)), "{verdict}");
}

#[test]
fn a_ttl_node_with_a_child_stays_however_old() {
    let lines = [
        ttl((0, 10), "/t", 5),
        plain((11, 20), "/t/x", 6),
        missing((900, 1000), "/t", 8),
    ];
    p14(&lines, &[1, 2]);
}

#[test]
fn clocks_that_run_fast_are_given_their_due() {
    let header = Header {
        clock_drift_ppm: 100_000,
        ..start()
    };
    let lines = |time| [ttl((0, 10), "/t", 5), missing(time, "/t", 8)];
    is_valid(header.clone(), &lines((80, 90)));
    convicts_in(header, Property::EphemeralsStay, &lines((80, 89)), &[0, 1]);
    let header = Header {
        clock_error_ns: 5 * MS,
        ..start()
    };
    is_valid(header.clone(), &lines((80, 90)));
    convicts_in(header, Property::EphemeralsStay, &lines((80, 89)), &[0, 1]);
}

fn watching(time: (u64, u64), path: &str, stat: Stat, zxid: i64) -> Line {
    get_watching(2, time, path, "", stat, zxid, true)
}

#[test]
fn a_notification_tells_where_it_went() {
    let lines = |told| {
        [
            ttl((0, 10), "/t", 5),
            watching((11, 20), "/t", parent(5, 5, 0, 0), 5),
            notify(2, told, EventType::NodeDeleted, "/t", 7),
            create(3, (told + 1, told + 5), "/m", 8),
            missing((told + 6, told + 9), "/t", 8),
        ]
    };
    valid(&lines(100));
    let verdict = judge(&history(start(), &lines(99)), &Options::default());
    assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict}");
}

#[test]
fn its_parent_counts_it() {
    let all = |pzxid, made, left| {
        [
            plain((0, 1), "/p", 5),
            ttl((2, 10), "/p/t", 6),
            plain((11, 20), "/p/n", 7),
            exists(2, (150, 160), "/p", 9, Ok(parent(5, pzxid, made, left))),
        ]
    };
    valid(&all(7, 2, 2));
    valid(&all(8, 2, 1));
    valid(&all(9, 2, 1));
    // A child less, but of an older change.
    for (pzxid, made, left) in [(7, 2, 1), (8, 2, 0), (8, 3, 1)] {
        let verdict = judge(
            &history(start(), &all(pzxid, made, left)),
            &Options::default(),
        );
        assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict}");
    }
}

#[test]
fn it_can_be_made_again_and_go_again() {
    let mut lines = Vec::new();
    for life in 0..3 {
        let (begin, zxid) = (life * 200, 5 + 2 * life as i64);
        lines.push(ttl((begin, begin + 10), "/t", zxid));
    }
    lines.push(missing((590, 600), "/t", 12));
    valid(&lines);
    let mut early = lines.clone();
    early[1] = ttl((90, 99), "/t", 7);
    p14(&early, &[0, 1]);
    let mut no_room = lines.clone();
    no_room[1] = ttl((200, 210), "/t", 6);
    let verdict = judge(&history(start(), &no_room), &Options::default());
    assert_eq!(
        verdict.property(),
        Some(Property::EphemeralsStay),
        "{verdict}"
    );
}

#[test]
fn sequential_ones_and_those_of_a_multi_go_too() {
    let op = make("/q/t-", Some(Lapse::Ttl(TTL_MS)), true);
    let made = made_as((0, 10), 5, op.clone(), "/q/t-0000000003");
    let gone = missing((190, 200), "/q/t-0000000003", 8);
    valid(&[made, gone.clone()]);
    let several = |results: Vec<SubAnswer>| Request {
        session: 1,
        time: (0, 10),
        zxid: 5,
        op: Op::Multi {
            ops: vec![op.clone(), make("/c", Some(Lapse::Container), false)],
        },
        result: Ok(Answer::Multi(results)),
    };
    let both = vec![
        Ok(Answer::Path("/q/t-0000000003".into())),
        Ok(Answer::Path("/c".into())),
    ];
    valid(&[several(both.clone()), gone]);
    p14(&[several(both), missing((190, 200), "/c", 8)], &[0, 1]);
}

#[test]
fn one_whose_create_was_lost_may_have_been_made_and_gone() {
    for (op, told, made) in [
        (
            make("/q/t-", Some(Lapse::Ttl(TTL_MS)), true),
            "/q/t-0000000003",
            4,
        ),
        (make("/q/t", Some(Lapse::Ttl(TTL_MS)), false), "/q/t", 4),
    ] {
        let (session, time) = (1, (0, 10));
        let lost = Lost { session, time, op };
        let counted = |time, pzxid, left| {
            let stat = Stat {
                pzxid,
                num_children: left,
                cversion: 2 * made - left,
                ..stat(4, 4, 0, "")
            };
            exists(2, time, "/q", 9, Ok(stat))
        };
        let was = exists(2, (20, 30), told, 6, Ok(stat(6, 6, 0, "")));
        let is_gone = missing((190, 200), told, 9);
        // Two things of unknown fate at one place are more than one pass sees.
        is_valid(start(), &[lost.clone(), counted((190, 200), 7, 0)]);
        valid(&[lost.clone(), was.clone(), is_gone.clone()]);
        valid(&[
            lost.clone(),
            was.clone(),
            is_gone,
            counted((201, 210), 8, 0),
        ]);
        p14(&[lost.clone(), was, missing((31, 40), told, 9)], &[2]);
        let early = [lost, counted((31, 40), 7, 0)];
        let verdict = judge(&history(start(), &early), &Options::default());
        assert!(!matches!(verdict, Verdict::Valid(_)), "{verdict}");
    }
}

#[test]
fn writes_see_that_it_is_gone() {
    let mut lines = used_container();
    lines.push(delete((40, 50), "/c", 9, Err(ErrorCode::NO_NODE)));
    valid(&lines);
    lines[3] = Request {
        session: 1,
        time: (40, 50),
        zxid: 9,
        op: make("/c/y", None, false),
        result: Err(ErrorCode::NO_NODE),
    };
    valid(&lines);
    lines[3] = container((40, 50), "/c", 9);
    valid(&lines);
    lines.remove(2);
    let verdict = judge(&history(start(), &lines), &Options::default());
    assert_eq!(
        verdict.property(),
        Some(Property::EphemeralsStay),
        "{verdict}"
    );
}

#[test]
fn it_shows_no_owner_or_the_number_of_its_kind() {
    for (lapse, number) in [
        (Lapse::Container, i64::MIN),
        (Lapse::Ttl(TTL_MS), 0xff00_0000_0000_0064_u64 as i64),
    ] {
        let shown = |owner| {
            let stat = Stat {
                ephemeral_owner: owner,
                ..parent(5, 5, 0, 0)
            };
            [
                made_as((0, 10), 5, make("/c", Some(lapse), false), "/c"),
                exists(2, (11, 20), "/c", 5, Ok(stat)),
            ]
        };
        valid(&shown(0));
        valid(&shown(number));
        for other in [1, number + 1] {
            convicts(Property::StatArithmetic, &shown(other), &[1]);
        }
    }
}

#[test]
fn given_ones_may_go_too() {
    let mut header = start();
    let Start::Nodes { nodes, .. } = &mut header.start else {
        panic!("a start state");
    };
    nodes[0].lapse = Some(Lapse::Ttl(TTL_MS));
    is_valid(header.clone(), &[missing((0, 10), "/a", 8)]);
    let Start::Nodes { nodes, .. } = &mut header.start else {
        panic!("a start state");
    };
    // One of which the recorder could not tell.
    nodes[0].lapse = Some(Lapse::Ttl(0));
    is_valid(header.clone(), &[missing((0, 10), "/a", 8)]);
    let mut bytes = Vec::new();
    write(&mut bytes, &history(header.clone(), &[])).unwrap();
    assert_eq!(read(&bytes[..]).unwrap().header, header);
    convicts_in(
        header,
        Property::OneOrder,
        &[missing((0, 10), "/x", 8)],
        &[0],
    );
}

#[test]
fn without_zxids_nothing_is_decided() {
    let lines = [
        made_as(
            (0, 10),
            0,
            make("/t", Some(Lapse::Ttl(TTL_MS)), false),
            "/t",
        ),
        missing((290, 300), "/t", 0),
    ];
    let verdict = judge(&history(start(), &lines), &Options::default());
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict}");
}

/// Histories in which something went by itself, and was seen to.
fn seen_to_go() -> Vec<Vec<Line>> {
    let ttl_gone = vec![ttl((0, 10), "/t", 5), missing((190, 200), "/t", 8)];
    let mut container_gone = used_container();
    container_gone.push(missing((40, 50), "/c", 8));
    let made_again = vec![ttl((0, 10), "/t", 5), ttl((190, 200), "/t", 7)];
    let told = vec![
        ttl((0, 10), "/t", 5),
        watching((11, 20), "/t", parent(5, 5, 0, 0), 5),
        notify(2, 150, EventType::NodeDeleted, "/t", 7),
        create(3, (151, 155), "/m", 8),
    ];
    vec![ttl_gone, container_gone, made_again, told]
}

/// The same, but for how each node goes by itself.
fn with_lapse(lines: &[Line], to: impl Fn(Lapse) -> Option<Lapse>) -> Vec<Line> {
    let mut lines = lines.to_vec();
    for line in &mut lines {
        if let Request {
            op: Op::Create { lapse, .. },
            ..
        } = line
        {
            *lapse = lapse.and_then(&to);
        }
    }
    lines
}

#[test]
fn what_went_by_itself_convicts_where_it_may_not() {
    for lines in seen_to_go() {
        valid(&lines);
        let convicted = |lines: &[Line]| {
            let verdict = judge(&history(start(), lines), &Options::default());
            assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict}");
            verdict.property()
        };
        convicted(&with_lapse(&lines, |_| None));
        let longer = with_lapse(&lines, |_| Some(Lapse::Ttl(10_000)));
        assert_eq!(convicted(&longer), Some(Property::EphemeralsStay));
    }
}

/// One that a lost multi made goes, and not the one beside it that is called alike. Once, whose
/// name had been met first was taken for it.
#[test]
fn of_what_one_multi_made_only_what_may_go_goes() {
    let sequential = |ttl_ms| make("/a/s-", ttl_ms, true);
    let names = |list: &[&str], zxid| Request {
        session: 1,
        time: (300, 310),
        zxid,
        op: Op::Children {
            path: "/a".into(),
            watch: false,
            stat: false,
        },
        result: Ok(Answer::Names(
            list.iter().map(|&name| name.into()).collect(),
        )),
    };
    let lost = |ops| Lost {
        session: 2,
        time: (0, 10),
        op: Op::Multi { ops },
    };
    let (stays, goes) = (None, Some(Lapse::Ttl(TTL_MS)));
    let both = [sequential(goes), sequential(stays)];
    let left = |name| names(&[name], 10);
    let is_valid = |ops: &[Op], last: Line| {
        let lines = [lost(ops.to_vec()), last];
        let verdict = judge_verified(&history(start(), &lines), &Options::default());
        verdict.word() == "valid"
    };
    assert!(is_valid(&both, left("s-0000000001")));
    assert!(!is_valid(&both, left("s-0000000000")));
    let both = [sequential(stays), sequential(goes)];
    assert!(!is_valid(&both, left("s-0000000001")));
    assert!(is_valid(&both, left("s-0000000000")));
    let all = [sequential(goes), sequential(goes)];
    assert!(is_valid(&all, names(&[], 10)));
    assert!(is_valid(&all, left("s-0000000001")));
    assert!(is_valid(&all, left("s-0000000000")));
}

/// A certificate with one more step at a zxid.
fn forged(lines: &[Line], header: Header, path: &str, zxid: i64) -> Result<(), &'static str> {
    let (history, options) = (history(header, lines), Options::default());
    let (verdict, certificate) = judge_with_certificate(&history, &options);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    let mut certificate = certificate.expect("a valid verdict comes with its certificate");
    let effect = Effect::Lapse(path.into());
    let place = certificate.order.partition_point(|step| step.zxid < zxid);
    certificate.order.insert(place, Step { zxid, effect });
    for sight in &mut certificate.sights {
        sight.prefix += usize::from(sight.prefix >= place);
    }
    verify(&history, &certificate, options.terms()).map_err(|refusal| refusal.rule)
}

#[test]
fn the_verifier_lets_nothing_go_that_may_not() {
    let later = |zxid| create(3, (300, 310), "/m", zxid);
    let forge = |lines: &[Line], path, zxid| forged(lines, start(), path, zxid);
    let used = [used_container(), vec![later(9)]].concat();
    assert_eq!(forge(&used, "/c", 8), Ok(()));
    assert_eq!(forge(&used[..3], "/nowhere", 8), Err("L"));
    assert_eq!(forge(&used, "/x", 8), Err("L"), "it is plain");
    let unused = [container((0, 10), "/c", 5), later(9)];
    assert_eq!(forge(&unused, "/c", 8), Err("L"));
    assert_eq!(forged(&unused, unused_go_after(290), "/c", 8), Ok(()));
    assert_eq!(forged(&unused, unused_go_after(311), "/c", 8), Err("W1"));
    let full = [ttl((0, 10), "/t", 5), plain((11, 20), "/t/x", 6), later(9)];
    assert_eq!(forge(&full, "/t", 8), Err("L"));
    let old = [ttl((0, 10), "/t", 5), later(9)];
    assert_eq!(forge(&old, "/t", 8), Ok(()));
    let set_late = set(1, (211, 220), "/t", "x", stat(5, 6, 1, "x"));
    let young = [ttl((0, 10), "/t", 5), set_late, later(9)];
    assert_eq!(forge(&young, "/t", 8), Err("W1"));
    let read = exists(2, (90, 99), "/m", 7, Err(ErrorCode::NO_NODE));
    let read_early = [ttl((0, 10), "/t", 5), later(9), read];
    assert_eq!(forge(&read_early, "/t", 6), Err("R3"));
}
