//! What a failure tells is true: the reduced history is a history, convicts of the same by
//! the same records, and nothing more of it can be left out.

mod dice;
mod toy;

use gamekeeper_checker::explain::timeline::{self, Lane, Span, Tone};
use gamekeeper_checker::explain::{Budget, Explanation, Reduction, Spent, explain, reduce};
use gamekeeper_checker::history::{self, Answer, Body, ErrorCode, Header, History, Op, Record};
use gamekeeper_checker::{Options, Property, Verdict, Violation, judge};
use toy::{Shape, valid_history};

/// A valid history, of every fourth seed with lost answers, in which `spoil` has changed one
/// record of the last third.
fn spoilt(seed: u64, spoil: impl Fn(&mut Body) -> bool) -> Option<History> {
    let plain = Shape {
        losses: 0,
        ..Shape::default()
    };
    let shape = match seed % 4 {
        0 => Shape::default(),
        _ => plain,
    };
    let mut history = valid_history(
        seed,
        Shape {
            acls: false,
            ..shape
        },
    );
    let third = history.records.len() / 3;
    let mut late = history.records.iter_mut().skip(third * 2);
    late.any(|record| spoil(&mut record.body))
        .then_some(history)
}

/// A read that was answered is told that there is no such node.
fn deny(body: &mut Body) -> bool {
    match body {
        Body::Return { result, .. } if matches!(result, Ok(Answer::Data { .. })) => {
            *result = Err(ErrorCode::NO_NODE);
            true
        }
        _ => false,
    }
}

/// A read is told of one set more than there was.
fn count_wrong(body: &mut Body) -> bool {
    match body {
        Body::Return {
            result: Ok(Answer::Data { stat, .. }),
            ..
        } => {
            stat.version += 1;
            true
        }
        _ => false,
    }
}

/// A read is told bytes that nobody wrote.
fn invent(body: &mut Body) -> bool {
    match body {
        Body::Return {
            result: Ok(Answer::Data { data, stat }),
            ..
        } => {
            *data = Some("invented".into());
            stat.data_length = 8;
            true
        }
        _ => false,
    }
}

const SPOILERS: [fn(&mut Body) -> bool; 3] = [deny, count_wrong, invent];

/// Every spoilt history of some seeds that is judged invalid.
fn invalid(seeds: std::ops::Range<u64>) -> impl Iterator<Item = (History, Box<Violation>)> {
    seeds
        .flat_map(|seed| SPOILERS.map(|spoil| spoilt(seed, spoil)))
        .flatten()
        .filter_map(|history| match judge(&history, &Options::default()) {
            Verdict::Invalid(violation) => Some((history, violation)),
            _ => None,
        })
}

fn reduced(history: &History, violation: &Violation) -> Reduction {
    reduced_soon(history, violation).expect("the whole convicts")
}

/// None where it takes too long to see that the whole convicts.
fn reduced_soon(history: &History, violation: &Violation) -> Option<Reduction> {
    reduce(history, &Options::default(), violation, Budget::default())
}

/// The convicting records by their place in the history that was reduced.
fn places(violation: &Violation, origin: &[usize]) -> Vec<usize> {
    let records = violation.records.iter();
    records.map(|(index, _)| origin[*index]).collect()
}

#[test]
fn a_reduced_history_convicts_of_the_same_by_the_same_records_also_when_read_back() {
    let mut seen = 0;
    for (history, violation) in invalid(0..24) {
        let reduction = reduced(&history, &violation);
        let mut file = Vec::new();
        history::write(&mut file, &reduction.history).unwrap();
        let read = history::read(&file[..]).unwrap();
        assert_eq!(read, reduction.history);
        let Verdict::Invalid(again) = judge(&read, &Options::default()) else {
            panic!("the reduced history does not convict");
        };
        assert_eq!(
            (again.property, &again.reason),
            (violation.property, &violation.reason)
        );
        let whole: Vec<usize> = violation.records.iter().map(|(index, _)| *index).collect();
        assert_eq!(places(&again, &reduction.origin), whole);
        for (place, record) in reduction.origin.iter().zip(&read.records) {
            let whole = &history.records[*place];
            assert!(whole == record || (parts(record) > 0 && parts(record) < parts(whole)));
        }
        seen += 1;
    }
    assert!(seen > 40, "only {seen} histories were invalid");
}

#[test]
fn reductions_are_small() {
    let mut sizes: Vec<usize> = invalid(40..64)
        .filter_map(|(history, violation)| reduced_soon(&history, &violation))
        .map(|reduction| reduction.history.records.len())
        .collect();
    assert!(sizes.len() > 60, "only {} were reduced", sizes.len());
    sizes.sort_unstable();
    let (median, most) = (sizes[sizes.len() / 2], sizes[sizes.len() * 9 / 10]);
    assert!(
        median <= 6 && most <= 24,
        "median {median}, nine of ten {most}: {sizes:?}"
    );
}

#[test]
fn nothing_more_can_be_left_out_of_a_minimal_one() {
    let mut seen = 0;
    for (history, violation) in invalid(80..90) {
        let Some(first) = reduced_soon(&history, &violation) else {
            continue;
        };
        assert!(first.minimal());
        let second = reduced(&first.history, &first.violation);
        assert_eq!(second.history.records, first.history.records);
        seen += 1;
    }
    assert!(seen > 20, "only {seen} histories were reduced");
}

#[test]
fn a_reduction_is_the_same_every_time_and_keeps_its_budget() {
    for (history, violation) in invalid(90..94) {
        let first = reduced(&history, &violation);
        assert_eq!(first.history, reduced(&history, &violation).history);
        let budget = Budget {
            judgements: 9,
            ..Budget::default()
        };
        let options = Options::default();
        let Some(hasty) = reduce(&history, &options, &violation, budget) else {
            continue;
        };
        assert!(hasty.judgements <= 9 + 1);
        assert!(matches!(
            judge(&hasty.history, &options),
            Verdict::Invalid(_)
        ));
    }
}

/// Of how many parts the multi is that is asked or answered here.
fn parts(record: &Record) -> usize {
    match &record.body {
        Body::Invoke {
            op: Op::Multi { ops },
            ..
        } => ops.len(),
        Body::Return {
            result: Ok(Answer::Multi(results)),
            ..
        } => results.len(),
        _ => 0,
    }
}

/// A multi sets `/a` and creates two nodes; then `/a` is read as it was before.
const LOST_PART: &str = r#"{"type":"header","version":1}
{"type":"invoke","process":1,"time":1000000,"session":"0x11","xid":1,"f":"create","path":"/a","value":"1"}
{"type":"ok","process":1,"time":2000000,"xid":1,"zxid":4294967297,"answer":"path","path":"/a"}
{"type":"invoke","process":1,"time":3000000,"session":"0x11","xid":2,"f":"multi","ops":[{"f":"create","path":"/b","value":"1"},{"f":"set","path":"/a","value":"2","version":0},{"f":"create","path":"/c","value":"1"}]}
{"type":"ok","process":1,"time":4000000,"xid":2,"zxid":4294967298,"answer":"multi","results":[{"answer":"path","path":"/b"},{"answer":"stat","stat":{"czxid":4294967297,"mzxid":4294967298,"ctime":1,"mtime":3,"version":1,"cversion":0,"aversion":0,"ephemeral_owner":0,"data_length":1,"num_children":0,"pzxid":4294967297}},{"answer":"path","path":"/c"}]}
{"type":"invoke","process":2,"time":5000000,"session":"0x12","xid":1,"f":"get","path":"/a"}
{"type":"ok","process":2,"time":6000000,"xid":1,"zxid":4294967298,"answer":"data","value":"1","stat":{"czxid":4294967297,"mzxid":4294967297,"ctime":1,"mtime":1,"version":0,"cversion":0,"aversion":0,"ephemeral_owner":0,"data_length":1,"num_children":0,"pzxid":4294967297}}
"#;

#[test]
fn of_a_multi_only_the_parts_stay_that_convict() {
    let history = history::read(LOST_PART.as_bytes()).unwrap();
    let Verdict::Invalid(violation) = judge(&history, &Options::default()) else {
        panic!("valid");
    };
    let reduction = reduced(&history, &violation);
    let multis: Vec<usize> = reduction.history.records.iter().map(parts).collect();
    assert_eq!(multis, [1, 1, 0, 0], "{:?}", reduction.history.records);
    let left = match &reduction.history.records[0].body {
        Body::Invoke {
            op: Op::Multi { ops },
            ..
        } => ops[0].path().map(ToString::to_string),
        other => panic!("{other:?}"),
    };
    assert_eq!(left.as_deref(), Some("/a"));
    assert!(reduction.minimal());
}

#[test]
fn steps_of_the_search_bound_a_reduction_and_it_says_so() {
    let mut seen = 0;
    for (history, violation) in invalid(0..12) {
        let budget = Budget {
            steps: 300,
            ..Budget::default()
        };
        let explanation = explain(&history, &Options::default(), &violation, budget);
        let Some(reduction) = &explanation.reduction else {
            continue;
        };
        if reduction.spent == Some(Spent::Steps) {
            assert!(
                explanation
                    .to_string()
                    .contains("the steps of the search ran out")
            );
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} ran out");
}

#[test]
fn another_failure_is_no_reduction_of_this_one() {
    let (history, violation) = invalid(0..5).next().unwrap();
    let other = Violation {
        property: Property::ZxidSanity,
        ..*violation
    };
    assert!(reduce(&history, &Options::default(), &other, Budget::default()).is_none());
}

#[test]
fn an_explanation_tells_what_would_have_been_right() {
    let told = |history: &History, violation: &Violation| -> Explanation {
        explain(history, &Options::default(), violation, Budget::default())
    };
    let mut rights = 0;
    for (history, violation) in invalid(0..10) {
        let explanation = told(&history, &violation);
        let text = explanation.to_string();
        assert!(
            text.contains(&violation.reason) && text.contains("convicts"),
            "{text}"
        );
        rights += explanation.right.len();
    }
    assert!(rights > 5, "{rights}");
}

/// Whatever is asked of `path`: two reads of one session, the second of an older zxid.
fn back_in_time(path: &str) -> History {
    let mut history = History::new(Header::default());
    for (xid, time, zxid) in [(1, 10, 9), (2, 1_000_000_000, 8)] {
        let op = Op::Get {
            path: path.into(),
            watch: false,
        };
        let invoke = Body::Invoke {
            session: 0x11,
            xid,
            op,
        };
        let result = Err(ErrorCode::NO_NODE);
        history.push(1, time, invoke);
        history.push(1, time + 5, Body::Return { xid, zxid, result });
    }
    history
}

fn page_of(history: &History, lanes: &[Lane]) -> String {
    let options = Options::default();
    let Verdict::Invalid(violation) = judge(history, &options) else {
        panic!("valid");
    };
    let explanation = explain(history, &options, &violation, Budget::default());
    timeline::page("<i>name</i>", history, &explanation, lanes).unwrap()
}

#[test]
fn a_hostile_path_cannot_write_into_the_page_or_to_the_terminal() {
    let hostile = "/\"><script>alert('x')</script>\u{1b}[31m\u{0}&";
    let page = page_of(&back_in_time(hostile), &[]);
    assert!(
        !page.contains("<script") && !page.contains("<i>name"),
        "{page}"
    );
    let odd = |c: char| c.is_control() && c != '\n';
    assert!(!page.contains(odd));
    assert!(page.contains("alert("), "the path is shown");
    let options = Options::default();
    let Verdict::Invalid(violation) = judge(&back_in_time(hostile), &options) else {
        panic!("valid");
    };
    let told = explain(
        &back_in_time(hostile),
        &options,
        &violation,
        Budget::default(),
    );
    assert!(!told.to_string().contains(odd) && !violation.to_string().contains(odd));
}

#[test]
fn the_page_needs_no_other_file_and_runs_nothing() {
    for (history, _) in invalid(0..4) {
        let page = page_of(&history, &[]);
        for word in ["<script", "http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}

#[test]
fn a_page_shows_the_window_and_never_the_whole_history() {
    let mut history = back_in_time("/a");
    let last = history.records.split_off(2);
    for xid in 10..20_010 {
        let time = u64::from(xid as u32) * 20_000;
        let op = Op::Sync { path: "/s".into() };
        let invoke = Body::Invoke {
            session: 0x12,
            xid,
            op,
        };
        let result = Ok(Answer::Done);
        history.push(2, time, invoke);
        history.push(
            2,
            time + 5,
            Body::Return {
                xid,
                zxid: 9,
                result,
            },
        );
    }
    history.records.extend(last);
    let page = page_of(&history, &[]);
    assert!(page.len() < 200_000, "{} bytes", page.len());
    assert!(page.contains("left out"));
}

#[test]
fn lanes_from_elsewhere_are_drawn_where_the_window_is() {
    let span = |label: &str, from, until| Span {
        from,
        until,
        label: label.into(),
        words: format!("{label} in words"),
        tone: Tone::Strong,
    };
    let lane = Lane {
        group: "servers".into(),
        name: "server 1".into(),
        spans: vec![
            span("leading", 0, 2_000_000_000),
            span("long-after", 5_000_000_000, 6_000_000_000),
        ],
    };
    let page = page_of(&back_in_time("/a"), &[lane]);
    assert!(page.contains("leading in words") && !page.contains("long-after"));
}
