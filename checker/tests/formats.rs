//! Foreign histories: the examples of the documentation, what is refused and how, and that
//! no bytes make the reader panic.

use gamekeeper_checker::formats::{Finding, Format, ModelName, Settings, judge, tsv};
use gamekeeper_checker::linear::Budget;
use gamekeeper_checker::linear::generate::{self, Values, generate};
use proptest::prelude::*;

const FORMATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FORMATS.md");

fn word(finding: &Finding) -> &'static str {
    match finding {
        Finding::Valid { .. } => "valid",
        Finding::Invalid { .. } => "invalid",
        Finding::Unknown(_) => "unknown",
    }
}

fn verdict(text: &str) -> &'static str {
    let report = judge(text.as_bytes(), &Settings::default());
    word(
        &report
            .unwrap_or_else(|error| panic!("{error}: {text}"))
            .finding,
    )
}

#[test]
fn the_documents_examples_are_judged_as_it_says() {
    let document = std::fs::read_to_string(FORMATS).expect("the document is there");
    let mut lines = document.lines();
    let mut found = 0;
    while let Some(line) = lines.next() {
        let Some((format, said)) = line
            .strip_prefix("```")
            .and_then(|info| info.split_once(' '))
        else {
            continue;
        };
        let Some(format) = Format::of_name(format) else {
            continue;
        };
        let mut example = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            example.push_str(line);
            example.push('\n');
        }
        assert_eq!(
            Format::recognise(example.as_bytes()),
            Some(format),
            "{example}"
        );
        assert_eq!(verdict(&example), said, "{example}");
        found += 1;
    }
    assert!(found >= 10, "{found} examples");
}

/// Judges and gives the error.
fn refused(text: &str) -> (usize, String, String) {
    let error = judge(text.as_bytes(), &Settings::default()).expect_err(text);
    assert!(!error.to_string().contains('\n'), "{error}");
    (error.line, error.field, error.reason)
}

#[test]
fn a_wrong_line_is_named_by_number_and_field() {
    let good = "# x\n0\t1\t2\tr\tk\t-\t-\t-\t-1\n";
    assert_eq!(verdict(good), "valid");
    for (line, field) in [
        ("x\t1\t2\tr\tk\t-\t-\t-\t-1", "field client"),
        ("0\t-1\t2\tr\tk\t-\t-\t-\t-1", "field call"),
        ("0\t1\t-2\tr\tk\t-\t-\t-\t-1", "field return"),
        ("0\t5\t2\tr\tk\t-\t-\t-\t-1", "field return"),
        ("0\t1\t2\tq\tk\t-\t-\t-\t-1", "field f"),
        ("0\t1\t2\tr\t\t-\t-\t-\t-1", "field key"),
        ("0\t1\t2\tw\tk\t\t-\t-\t-1", "field arg1"),
        ("0\t1\t2\tc\tk\ta\t\t1\t-1", "field arg2"),
        ("0\t1\t2\tc\tk\ta\tb\tyes\t-1", "field out"),
        ("0\t1\t2\tr\tk\t-\t-\t-\t-2", "field zxid"),
        ("0\t1\t2\tr\tk\t-\t-\t-", "field zxid"),
        ("0\t1\t2\tr\tk\t-\t-\t-\t-1\t7", "after field zxid"),
        (
            "0\t1\t99999999999999999999\tr\tk\t-\t-\t-\t-1",
            "field return",
        ),
    ] {
        let (number, named, _) = refused(&format!("{good}{line}\n"));
        assert_eq!((number, named.as_str()), (3, field), "{line}");
    }
}

#[test]
fn wrong_events_are_named_by_line_and_field() {
    for (text, line, field) in [
        (
            "{:process 0 :type :ok :f :read :value 1}\n{:process 1 :type :invoke :f :read}",
            1,
            ":type",
        ),
        ("{:process 0 :type :begin :f :read}", 1, ":type"),
        ("{:process -1 :type :invoke :f :read}", 1, ":process"),
        (
            "{:type :invoke :f :read}\n{:type :invoke :f :read}",
            2,
            ":process",
        ),
        ("\n{:process 0 :type :invoke}", 2, ":f"),
        ("{:process 0 :type :invoke :f :dance}", 1, ":f"),
        (
            "{:process 0 :type :invoke :f :read}\n{:process 0 :type :ok :f :write}",
            2,
            ":f",
        ),
        (
            "{:process 0 :type :invoke :f :add :value 1}\n{:process 1 :type :invoke :f :cas :value [1 2]}",
            2,
            ":f",
        ),
        ("{:process 0 :type :invoke :f :cas :value 3}", 1, ":value"),
        ("{:process 0 :type :invoke :f :get :value nil}", 1, ":key"),
        ("[{:process 0 :type :invoke :f :read}\n", 2, "form"),
        ("[{:process 0 :type :invoke :f :read}]\n[]", 2, "form"),
        (
            "[{\"process\": 0, \"type\": \"invoke\", \"f\": \"read\"},",
            1,
            "column 48",
        ),
        ("INFO  jepsen.util - 3\t:invoke\t:cas", 1, "value"),
        ("INFO  jepsen.util - 3\t:sang\t:cas\t[1 2]", 1, "type"),
        ("nothing known", 1, "beginning"),
        ("", 1, "beginning"),
    ] {
        let (number, named, reason) = refused(text);
        assert_eq!((number, named.as_str()), (line, field), "{text}: {reason}");
    }
}

#[test]
fn our_own_histories_are_left_to_their_reader() {
    let own = r#"{"type":"header","version":1,"world":"closed"}"#;
    assert_eq!(Format::recognise(own.as_bytes()), None);
    let record =
        r#"{"type":"invoke","process":1,"time":5,"session":"0x1","xid":1,"f":"get","path":"/"}"#;
    assert_eq!(Format::recognise(record.as_bytes()), None);
}

#[test]
fn a_model_that_cannot_judge_the_requests_says_so() {
    let settings = |model| Settings {
        model: Some(model),
        ..Settings::default()
    };
    let queue = "{:process 0 :type :invoke :f :enqueue :value 1}";
    let error = judge(queue.as_bytes(), &settings(ModelName::Register)).unwrap_err();
    assert_eq!(error.field, ":f");
    let error = judge(b"# x\n", &settings(ModelName::Queue)).unwrap_err();
    assert_eq!(error.field, "--model");
    let error = judge(queue.as_bytes(), &settings(ModelName::ZooKeeper)).unwrap_err();
    assert_eq!(error.field, "--model");
}

#[test]
fn one_process_may_crash_and_come_back() {
    let text = "{:process 0 :type :invoke :f :write :value 1}\n{:process 0 :type :invoke :f :read :value nil}\n{:process 0 :type :ok :f :read :value 1}";
    assert_eq!(verdict(text), "valid");
}

#[test]
fn independent_keys_are_told_apart() {
    let text = "{:process 0 :type :invoke :f :write :value [7 1]}\n{:process 0 :type :ok :f :write :value [7 1]}\n\
                {:process 0 :type :invoke :f :read :value [8 nil]}\n{:process 0 :type :ok :f :read :value [8 nil]}\n\
                {:process 0 :type :invoke :f :cas :value [7 [1 2]]}\n{:process 0 :type :ok :f :cas :value [7 [1 2]]}";
    assert_eq!(verdict(text), "valid");
}

/// A drawn history as a file.
fn drawn(settings: &generate::Settings) -> Vec<u8> {
    let registers = tsv::Registers::drawn(generate(settings));
    let mut bytes = Vec::new();
    tsv::write(&registers, &mut bytes).expect("a vector takes all");
    bytes
}

#[test]
fn drawn_histories_are_what_they_claim() {
    let base = generate::Settings {
        operations: 400,
        ..generate::Settings::default()
    };
    let register = Settings {
        ignore_zxid: true,
        ..Settings::default()
    };
    let told = |bytes: &[u8], settings: &Settings| {
        let report = judge(bytes, settings).expect("it was written by us");
        word(&report.finding)
    };
    for seed in 0..8 {
        for values in [Values::Few, Values::Distinct] {
            for unanswered in [0, 10] {
                let settings = generate::Settings {
                    seed,
                    values,
                    unanswered,
                    clients: 6,
                    ..base
                };
                let whole = drawn(&settings);
                assert_eq!(told(&whole, &register), "valid", "{settings:?}");
                assert_eq!(told(&whole, &Settings::default()), "valid", "{settings:?}");
                let broken = drawn(&generate::Settings {
                    broken: true,
                    ..settings
                });
                assert_eq!(told(&broken, &register), "invalid", "{settings:?}");
                assert_eq!(
                    told(&broken, &Settings::default()),
                    "invalid",
                    "{settings:?}"
                );
                let stale = drawn(&generate::Settings {
                    stale: true,
                    ..settings
                });
                assert_eq!(told(&stale, &Settings::default()), "valid", "{settings:?}");
                assert_eq!(told(&stale, &register), "invalid", "{settings:?}");
            }
        }
    }
}

/// Files that are nearly right: what is cut, doubled or bent in the middle is found by
/// code, not by luck.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let document = std::fs::read_to_string(FORMATS).expect("the document is there");
    let mut examples: Vec<Vec<u8>> = Vec::new();
    for block in document.split("```").skip(1).step_by(2) {
        if let Some((_, example)) = block.split_once('\n') {
            examples.push(example.as_bytes().to_vec());
        }
    }
    let bend = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
    (
        prop::sample::select(examples),
        prop::collection::vec(bend, 0..6),
    )
        .prop_map(|(mut bytes, bends)| {
            for (at, byte, how) in bends {
                if bytes.is_empty() {
                    break;
                }
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.truncate(at),
                    2 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop_oneof![nearly(), prop::collection::vec(any::<u8>(), 0..200)]) {
        let budget = Budget { configurations: 10_000, ..Budget::default() };
        let _ = judge(&bytes, &Settings { budget, ..Settings::default() });
        for format in Format::ALL {
            for model in ModelName::ALL {
                let settings = Settings { format: Some(format), model: Some(model), budget, ..Settings::default() };
                if let Err(error) = judge(&bytes, &settings) {
                    prop_assert!(error.line >= 1);
                    prop_assert!(!error.to_string().contains('\n'), "{}", error);
                }
            }
        }
    }
}

#[test]
fn an_export_is_what_was_seen_in_the_words_of_others() {
    use gamekeeper_checker::formats::export;
    use gamekeeper_checker::history::{Answer, Body, Header, History, Op, World};
    let mut history = History::new(Header::default());
    let ask = |xid, op| Body::Invoke {
        session: 1,
        xid,
        op,
    };
    let create = |path: &str, sequential| Op::Create {
        path: path.into(),
        data: None,
        acl: [].into(),
        ephemeral: false,
        lapse: None,
        sequential,
        stat: false,
    };
    let done = |xid, answer| Body::Return {
        xid,
        zxid: i64::from(xid),
        result: Ok(answer),
    };
    history.push(1, 0, ask(1, create("/a", false)));
    history.push(1, 1, done(1, Answer::Path("/a".into())));
    history.push(1, 2, ask(2, create("/a/n-", true)));
    history.push(1, 3, done(2, Answer::Path("/a/n-0000000000".into())));
    history.push(
        1,
        4,
        ask(
            3,
            Op::Children {
                path: "/a".into(),
                watch: false,
                stat: false,
            },
        ),
    );
    history.push(1, 5, done(3, Answer::Names(vec!["n-0000000000".into()])));
    history.push(
        1,
        6,
        ask(
            4,
            Op::Delete {
                path: "/a/n-0000000000".into(),
                version: -1,
            },
        ),
    );
    history.push(1, 7, Body::Lost { xid: 4 });
    let mut edn = Vec::new();
    export::edn(&history, &mut edn).expect("a vector takes all");
    let edn = String::from_utf8(edn).expect("it is text");
    assert_eq!(edn.lines().count(), 5, "{edn}");
    assert!(
        edn.contains(":f :write, :value [\"/a/n-0000000000\" nil]"),
        "{edn}"
    );
    assert_eq!(verdict(&edn), "valid", "{edn}");
    // Without the delete the children are a list.
    history.records.truncate(6);
    let mut lists = Vec::new();
    export::list_append(&history, &mut lists).expect("a vector takes all");
    let lists = String::from_utf8(lists).expect("it is text");
    assert!(
        lists.contains("[[:r \"/a\" [\"n-0000000000\"]]]"),
        "{lists}"
    );
    assert_eq!(verdict(&lists), "valid", "{lists}");
    history.header.world = World::Open;
    assert!(export::edn(&history, Vec::new()).is_err());
    // An empty file would look like a success.
    history.header.world = World::Closed;
    history.records.truncate(2);
    assert!(export::list_append(&history, Vec::new()).is_err());
}
