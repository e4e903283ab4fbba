//! Logs as Jepsen, Knossos and Elle print them: every form is read, the published anomalies of
//! transactions are found and their healthy twins are not, with times and without.
//!
//! Answers to: Adya (1999) and Elle (2020) for the anomalies; the workloads of Jepsen and
//! Knossos for the forms.

use gamekeeper_checker::explain::Budget;
use gamekeeper_checker::formats::{
    Finding, Format, FormatError, Report, Settings, judge, judge_explained,
};
use gamekeeper_checker::linear::Times;

fn judged(text: &str) -> Result<Report, FormatError> {
    judge(text.as_bytes(), &Settings::default())
}

fn verdict(text: &str) -> String {
    let report = judged(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    match &report.finding {
        Finding::Valid { .. } => "valid".into(),
        Finding::Invalid { reason, .. } => format!("invalid: {reason}"),
        Finding::Unknown(reason) => format!("unknown: {reason}"),
    }
}

/// A transaction in short: `ax1 ry12` appends 1 to x and reads 1 and 2 of y; `!` before it says
/// that it failed, `?` that nobody knows.
fn transaction(short: &str) -> (&'static str, String, String) {
    let kind = match short.as_bytes()[0] {
        b'!' => "fail",
        b'?' => "info",
        _ => "ok",
    };
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for part in short.trim_start_matches(['!', '?']).split(' ') {
        let (f, key, rest) = (&part[..1], &part[1..2], &part[2..]);
        if f == "a" {
            let append = format!("[:append :{key} {rest}]");
            asked.push(append.clone());
            told.push(append);
        } else {
            let list: Vec<String> = rest.chars().map(String::from).collect();
            asked.push(format!("[:r :{key} nil]"));
            told.push(format!("[:r :{key} [{}]]", list.join(" ")));
        }
    }
    let told = if kind == "ok" { &told } else { &asked };
    (
        kind,
        format!("[{}]", asked.join(" ")),
        format!("[{}]", told.join(" ")),
    )
}

/// Completions alone.
fn answers(short: &[&str]) -> String {
    let line = |short: &&str| {
        let (kind, _, told) = transaction(short);
        format!("{{:type :{kind}, :f :txn, :value {told}}}\n")
    };
    short.iter().map(line).collect()
}

/// All of them at once, with invocations.
fn together(short: &[&str]) -> String {
    let (mut calls, mut returns) = (String::new(), String::new());
    for (process, one) in short.iter().enumerate() {
        let (kind, asked, told) = transaction(one);
        calls += &format!("{{:process {process}, :type :invoke, :f :txn, :value {asked}}}\n");
        returns += &format!("{{:process {process}, :type :{kind}, :f :txn, :value {told}}}\n");
    }
    calls + &returns
}

/// One after the other, by one process.
fn in_turn(short: &[&str]) -> String {
    let pair = |one: &&str| {
        let (kind, asked, told) = transaction(one);
        format!(
            "{{:process 0, :type :invoke, :f :txn, :value {asked}}}\n\
             {{:process 0, :type :{kind}, :f :txn, :value {told}}}\n"
        )
    };
    short.iter().map(pair).collect()
}

/// Name as it is told, transactions that have the anomaly, and others that nearly do.
type Anomaly<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const ANOMALIES: &[Anomaly<'_>] = &[
    (
        "G0, write cycle",
        &["ax1 ay1", "ax2 ay2", "rx12 ry21"],
        &["ax1 ay1", "ax2 ay2", "rx12 ry12"],
    ),
    ("G1a", &["!ax1", "rx1"], &["?ax1", "rx1"]),
    ("G1a", &["!ax1", "ax2", "rx12"], &["ax1", "ax2", "rx12"]),
    (
        "G1b, intermediate read",
        &["ax1 ax2", "rx1", "rx12"],
        &["ax1 ax2", "rx", "rx12"],
    ),
    (
        "G1b, intermediate read",
        &["ax1 ax2", "ax3", "rx132"],
        &["ax1 ax2", "ax3", "rx312"],
    ),
    (
        "G1c, circular information flow",
        &["ax1 ry1", "ax2 ay1", "rx12"],
        &["ax1 ry", "ax2 ay1", "rx12"],
    ),
    (
        "G1c, circular information flow",
        &["ax1 ry1", "ay1 rx1"],
        &["ax1 ry", "ay1 rx1"],
    ),
    (
        "G-single, read skew",
        &["ax1 ay1", "rx ry1"],
        &["ax1 ay1", "rx1 ry1"],
    ),
    (
        "G2, anti-dependency cycle",
        &["rx ay1", "ry ax1"],
        &["rx ay1", "ry1 ax1"],
    ),
    (
        "G2, anti-dependency cycle",
        &["rx ay1", "ry ax1", "rx1 ry1"],
        &["rx ay1", "ry1 ax1", "rx1 ry1"],
    ),
    // A long fork: two readers disagree about which of two writes came first.
    (
        "G2, anti-dependency cycle",
        &["ax1", "ay1", "rx1 ry", "rx ry1"],
        &["ax1", "ay1", "rx1 ry", "rx1 ry1"],
    ),
    ("lost update", &["rx ax1", "rx ax2"], &["rx ax1", "rx1 ax2"]),
    (
        "G-single, read skew",
        &["rx ax1", "rx ax2", "rx12"],
        &["rx ax1", "rx1 ax2", "rx12"],
    ),
    ("internal inconsistency", &["ax1 rx"], &["ax1 rx1"]),
    (
        "internal inconsistency",
        &["ax1", "rx1 ax2 rx1"],
        &["ax1", "rx1 ax2 rx12"],
    ),
    (
        "incompatible orders",
        &["ax1", "ax2", "rx12", "rx21"],
        &["ax1", "ax2", "rx12", "rx12"],
    ),
    ("stands in :x twice", &["ax1", "rx11"], &["ax1", "rx1"]),
];

#[test]
fn published_anomalies_are_found_and_their_healthy_twins_are_not() {
    for &(name, sick, healthy) in ANOMALIES {
        for log in [answers, together] {
            let said = verdict(&log(sick));
            assert!(said.contains(name), "{name}: {sick:?}: {said}");
            assert_eq!(verdict(&log(healthy)), "valid", "{name}: {healthy:?}");
        }
    }
}

#[test]
fn what_was_over_comes_before_what_was_asked_later_if_times_were_recorded() {
    let stale = ["ax1", "rx"];
    assert!(verdict(&in_turn(&stale)).contains("G-single, read skew along time"));
    assert_eq!(verdict(&answers(&stale)), "valid");
    // Of one process, the order of the file says as much.
    let one = answers(&stale).replace("{:type", "{:process 4, :type");
    assert!(verdict(&one).contains("along the order of a client"));
    let two = one.replacen("4", "5", 1);
    assert_eq!(verdict(&two), "valid");
}

#[test]
fn a_verdict_without_times_says_so() {
    for short in [["ax1", "rx1"], ["ax1", "rx2"]] {
        let report = judged(&answers(&short)).unwrap();
        assert_eq!(report.times, Times::Unrecorded);
        assert!(
            report.to_string().contains("no times were recorded"),
            "{report}"
        );
        assert_eq!(report.json()["times"], false);
        let report = judged(&in_turn(&short)).unwrap();
        assert!(!report.to_string().contains("no times"), "{report}");
        assert_eq!(report.json()["times"], true);
    }
}

#[test]
fn a_failure_without_times_is_reduced_to_one_without_times() {
    let more: Vec<String> = (0..9).map(|at| format!("az{at}")).collect();
    let mut short: Vec<&str> = more.iter().map(String::as_str).collect();
    short.extend(["rx ay1", "ry ax1"]);
    let text = answers(&short);
    let judged = judge_explained(
        text.as_bytes(),
        &Settings::default(),
        Some(Budget::default()),
    );
    let failure = judged.unwrap().failure.unwrap();
    let small = String::from_utf8(failure.small.clone().unwrap()).unwrap();
    assert_eq!(small.lines().count(), 2, "{small}");
    assert!(!small.contains(":invoke"), "{small}");
    assert!(verdict(&small).contains("G2"), "{small}");
    let page = failure.page("x").unwrap();
    assert!(page.contains("sequential consistency"));
}

#[test]
fn every_printed_form_of_an_event_is_read() {
    let plain = "{:process 0 :type :invoke :f :write :value 1}{:process 0 :type :ok :f :write :value 1}\
                 {:process 1 :type :invoke :f :read :value nil}{:process 1 :type :ok :f :read :value 1}";
    assert_eq!(verdict(plain), "valid");
    let broken = |text: &str| text.replace(":f :read, :value 1", ":f :read, :value 2");
    for text in [
        // As jepsen.history prints operations, with index and time.
        "#jepsen.history.Op{:index 0, :time 3, :type :invoke, :process 0, :f :write, :value 1}\n\
         #jepsen.history.Op{:index 1, :time 5, :type :ok, :process 0, :f :write, :value 1}\n\
         #jepsen.history.Op{:index 2, :time 6, :type :invoke, :process 1, :f :read, :value nil}\n\
         #jepsen.history.Op{:index 3, :time 7, :type :ok, :process 1, :f :read, :value 1}\n",
        // A list with comments, commas, metadata and what EDN leaves out.
        "; a history\n({:type :invoke, :f :write, :value 1, :process 0, :time 9}\n #_ {:nothing 1}\n \
         ^{:line 4} {:type :ok, :f :write, :value 1N, :process 0, :time 10N} ; done\n,,,\n \
         {:type :invoke, :f :read, :value nil, :process 1, :error nil}\n\
         {:type :ok, :f :read, :value 1, :process 1, :node \"n1\", :at #inst \"2020-01-01\", :e #error {:a 1/2}})",
        // A nemesis in between, and what is printed of objects.
        "[{:process :nemesis, :type :info, :f :start, :value nil}\n\
         {:process 0, :type :invoke, :f :write, :value 1}\n\
         {:process :nemesis, :type :info, :f :start, :value [:isolated {\"n1\" #{\"n2\" \"n3\"}}]}\n\
         {:process 0, :type :ok, :f :write, :value 1, :jepsen.x/latency 1.5}\n\
         {:process 1, :type :invoke, :f :read, :value nil}\n\
         {:process 1, :type :ok, :f :read, :value 1, :error [:timeout #object[a.B 0x1f \"x\"]]}\n\
         {:process :nemesis, :type :info, :f :stop, :value ##NaN}]",
        // Without :process, one at a time.
        "{:type :invoke, :f :write, :value 1}\n{:type :ok, :f :write, :value 1}\n\
         {:type :invoke, :f :read, :value nil}\n{:type :ok, :f :read, :value 1}\n",
        // Answers alone, with and without processes.
        "{:type :ok, :f :write, :value 1}\n{:type :ok, :f :read, :value 1}\n",
        "{:process 3, :type :ok, :f :write, :value 1}\n{:process nil, :type :ok, :f :read, :value 1}\n",
    ] {
        assert_eq!(
            Format::recognise(text.as_bytes()),
            Some(Format::Edn),
            "{text}"
        );
        assert_eq!(verdict(text), "valid", "{text}");
        assert!(verdict(&broken(text)).starts_with("invalid"), "{text}");
    }
    let json = "{\"type\":\"ok\",\"f\":\"write\",\"value\":1}\n{\"type\":\"ok\",\"f\":\"read\",\"value\":1}\n";
    assert_eq!(verdict(json), "valid");
    assert!(
        verdict(&json.replace("\"read\",\"value\":1", "\"read\",\"value\":2"))
            .starts_with("invalid")
    );
}

#[test]
fn values_are_what_they_are_written_as() {
    for value in [
        "nil", "1", "-7", "1/2", "1.5", "\"a b\"", ":k", ":n/k", "x", "\\c", "[1 2]", "{:a 1}",
    ] {
        let text = format!(
            "{{:type :ok, :process 0, :f :write, :value {value}}} {{:type :ok, :process 0, :f :read, :value {value}}}"
        );
        assert_eq!(verdict(&text), "valid", "{text}");
        let other = text.replacen(value, "other", 1);
        assert!(verdict(&other).starts_with("invalid"), "{other}");
    }
}

/// Requests with their answers, one after the other.
fn requests(lines: &[(&str, &str, &str)]) -> String {
    let pair = |&(f, asked, told): &(&str, &str, &str)| {
        format!(
            "{{:process 0, :type :invoke, :f :{f}, :value {asked}}}\n\
             {{:process 0, :type :ok, :f :{f}, :value {told}}}\n"
        )
    };
    lines.iter().map(pair).collect()
}

/// The same without the invocations.
fn without_invocations(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(":invoke"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_workloads_of_jepsen_are_judged_with_keys_and_without() {
    let sick: [&[(&str, &str, &str)]; 9] = [
        &[
            ("write", "1", "1"),
            ("cas", "[1 2]", "[1 2]"),
            ("read", "nil", "1"),
        ],
        &[
            ("write", "[:x 1]", "[:x 1]"),
            ("cas", "[:x [1 2]]", "[:x [1 2]]"),
            ("read", "[:x nil]", "[:x 1]"),
        ],
        &[
            ("add", "1", "1"),
            ("add", "2", "2"),
            ("read", "nil", "#{2}"),
        ],
        &[
            ("add", "[7 1]", "[7 1]"),
            ("add", "[8 2]", "[8 2]"),
            ("read", "[7 nil]", "[7 #{1 2}]"),
        ],
        &[
            ("enqueue", "1", "1"),
            ("enqueue", "2", "2"),
            ("dequeue", "nil", "2"),
        ],
        &[
            ("enqueue", "[0 1]", "[0 1]"),
            ("enqueue", "[1 2]", "[1 2]"),
            ("dequeue", "[0 nil]", "[0 2]"),
        ],
        &[
            ("enqueue", "1", "1"),
            ("enqueue", "2", "2"),
            ("drain", "nil", "[1 1]"),
        ],
        &[("acquire", "nil", "nil"), ("acquire", "nil", "nil")],
        &[
            ("acquire", "[3 nil]", "[3 nil]"),
            ("acquire", "[3 nil]", "[3 nil]"),
        ],
    ];
    let well: [&[(&str, &str, &str)]; 9] = [
        &[
            ("write", "1", "1"),
            ("cas", "[1 2]", "[1 2]"),
            ("read", "nil", "2"),
        ],
        &[
            ("write", "[:x 1]", "[:x 1]"),
            ("cas", "[:x [1 2]]", "[:x [1 2]]"),
            ("read", "[:y nil]", "[:y nil]"),
        ],
        &[
            ("add", "1", "1"),
            ("add", "2", "2"),
            ("read", "nil", "[2 1]"),
        ],
        &[
            ("add", "[7 1]", "[7 1]"),
            ("add", "[8 2]", "[8 2]"),
            ("read", "[7 nil]", "[7 #{1}]"),
        ],
        &[
            ("enqueue", "1", "1"),
            ("enqueue", "2", "2"),
            ("dequeue", "nil", "1"),
        ],
        &[
            ("enqueue", "[0 1]", "[0 1]"),
            ("enqueue", "[1 2]", "[1 2]"),
            ("dequeue", "[1 nil]", "[1 2]"),
        ],
        &[
            ("enqueue", "1", "1"),
            ("enqueue", "2", "2"),
            ("drain", "nil", "[1 2]"),
            ("dequeue", "nil", "nil"),
        ],
        &[
            ("acquire", "nil", "nil"),
            ("release", "nil", "nil"),
            ("acquire", "nil", "nil"),
        ],
        &[
            ("acquire", "[3 nil]", "[3 nil]"),
            ("acquire", "[4 nil]", "[4 nil]"),
        ],
    ];
    for (sick, well) in sick.iter().zip(well) {
        for with in [str::to_string, without_invocations] {
            let (sick, well) = (with(&requests(sick)), with(&requests(well)));
            assert!(verdict(&sick).starts_with("invalid"), "{sick}");
            assert_eq!(verdict(&well), "valid", "{well}");
        }
    }
}

/// The error of a file: line, field, and the rest.
fn refused(text: &str) -> (usize, String, String) {
    let error = judged(text).expect_err(text);
    assert!(!error.to_string().contains('\n'), "{error}");
    (error.line, error.field, error.reason)
}

#[test]
fn a_completion_without_its_invocation_is_an_error_where_others_have_one() {
    let invoke = "{:process 0 :type :invoke :f :write :value 1}";
    let ok = "{:process 0 :type :ok :f :write :value 1}";
    let stray = "{:process 7 :type :ok :f :read :value 1}";
    for (lines, line) in [
        ([invoke, ok, stray], 3),
        ([invoke, stray, ok], 2),
        ([stray, invoke, ok], 1),
    ] {
        let (number, field, reason) = refused(&lines.join("\n"));
        assert_eq!((number, field.as_str()), (line, ":type"), "{reason}");
        assert!(
            reason.contains("process 7 has nothing in flight"),
            "{reason}"
        );
        assert!(reason.contains("is an :invoke"), "{reason}");
    }
    // That it does not know a process may say at any time.
    let info = "{:process 7 :type :info :f :read :value 1}";
    for lines in [[info, invoke, ok], [invoke, info, ok], [invoke, ok, info]] {
        assert_eq!(verdict(&lines.join("\n")), "valid");
    }
}

#[test]
fn what_no_model_knows_is_refused_with_the_models_that_are() {
    let (_, field, reason) = refused("{:process 0 :type :invoke :f :transfer :value {:from 1}}");
    assert_eq!(field, ":f");
    for name in ["register", "kv", "set", "queue", "mutex", "list-append"] {
        assert!(reason.contains(name), "{reason}");
    }
    let (_, field, reason) = refused("{:type :ok :f :txn :value [[:w :x 1] [:r :x 1]]}");
    assert_eq!(field, ":value");
    assert!(reason.contains("[:append k v]"), "{reason}");
    let counter = "{:type :ok :f :add :value 1} {:type :ok :f :read :value 1}";
    assert!(
        refused(counter).2.contains("counters"),
        "{}",
        refused(counter).2
    );
    let drained = "{:process 0 :type :invoke :f :drain} {:process 0 :type :info :f :drain}";
    assert!(refused(drained).2.contains("may have taken anything"));
    assert_eq!(refused("INFO  jepsen.util - 0\t:ok\t:read\t1").1, "type");
}
