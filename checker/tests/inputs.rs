//! However a history comes (a file, a pipe, standard input; from an editor that begins texts with a
//! mark, or that ends lines as Windows does) it gets its verdict, and what is no history is told
//! with the place and the cure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const OWN: &str = r#"{"type":"header","version":1}
{"type":"invoke","process":1,"time":10,"session":"0x1","xid":1,"f":"get","path":"/a"}
{"type":"fail","process":1,"time":20,"xid":1,"zxid":9,"error":"NoNode"}
"#;
const REGISTERS: &str = "# h\n1\t0\t10\tw\tx\ta\t-\t-\t-1\n2\t20\t30\tr\tx\t-\t-\ta\t-1\n";
const EVENTS: &str = "{:process 0, :type :invoke, :f :write, :value 1}\n{:process 0, :type :ok, :f :write, :value 1}\n";
const JSON: &str = "{\"process\": 0, \"type\": \"invoke\", \"f\": \"write\", \"value\": 1}\n{\"process\": 0, \"type\": \"ok\", \"f\": \"write\", \"value\": 1}\n";
const LOG: &str =
    "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0\t:ok\t:write\t1\n";

/// A history in every form that is text.
const FORMS: [(&str, &str); 5] = [
    ("own.jsonl", OWN),
    ("registers.tsv", REGISTERS),
    ("events.edn", EVENTS),
    ("events.json", JSON),
    ("events.log", LOG),
];

fn file(name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inputs");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, bytes).unwrap();
    file
}

fn run(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkcheck"));
    command.args(arguments).arg(file).output().unwrap()
}

/// Runs a line of shell; `$0` is zkcheck and `$1` the file.
fn shell(line: &str, file: &Path) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", line, env!("CARGO_BIN_EXE_zkcheck")]);
    command.arg(file).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into()
}

/// Exit code 2 and one line that holds all of `named`.
fn refused(output: &Output, named: &[&str]) {
    let told = words(output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    for named in named {
        assert!(told.contains(named), "{named}: {told}");
    }
}

#[test]
fn what_can_be_read_only_once_is_judged_as_a_file_is() {
    for (name, text) in FORMS {
        let file = file(name, text);
        let verdict = |output: &Output| {
            let told = words(output);
            let (_, verdict) = told.split_once(": ").expect(name);
            (output.status.code(), verdict.to_owned())
        };
        let told = verdict(&run(&[], &file));
        assert_eq!(told.0, Some(0), "{}", told.1);
        for line in [
            r#""$0" <(cat "$1")"#,
            r#"cat "$1" | "$0" /dev/stdin"#,
            r#"cat "$1" | "$0" -"#,
            r#"{ head -c 5 "$1"; sleep 0.1; tail -c +6 "$1"; } | "$0" -"#,
            r#"rm -f "$1.pipe"; mkfifo "$1.pipe"; cat "$1" > "$1.pipe" & "$0" "$1.pipe""#,
        ] {
            assert_eq!(verdict(&shell(line, &file)), told, "{name}: {line}");
        }
    }
}

#[test]
fn marks_of_editors_and_line_ends_of_windows_change_no_verdict() {
    for (name, text) in FORMS {
        for (kind, bytes) in [
            ("marked", format!("\u{feff}{text}")),
            ("windows", text.replace('\n', "\r\n")),
            ("blank", format!("{text}\n\n\r\n")),
            ("endless", text.trim_end().to_owned()),
        ] {
            let output = run(&[], &file(&format!("{kind}-{name}"), bytes));
            let told = words(&output);
            assert_eq!(output.status.code(), Some(0), "{kind} {name}: {told}");
        }
    }
}

#[test]
fn standard_input_is_named_once() {
    let file = file("once.jsonl", OWN);
    refused(&shell(r#""$0" - - < "$1""#, &file), &["standard input"]);
}

#[test]
fn what_is_compressed_is_told_with_what_unpacks_it() {
    let packed = file("own.jsonl.zst", b"\x28\xb5\x2f\xfd\x04\x58");
    refused(&run(&[], &packed), &["zstd", "zstdcat", "| zkcheck -"]);
    let packed = file("own.jsonl.gz", b"\x1f\x8b\x08\x00");
    refused(&shell(r#""$0" - < "$1""#, &packed), &["gzip", "zcat"]);
}

#[test]
fn what_is_no_history_is_told_how_histories_begin() {
    let other = file("other.txt", "2024-01-01 INFO something\n");
    refused(&run(&[], &other), &["line 1", "header", "--format"]);
    let number = file("number", "{\"type\":\"header\",\"version\":1}\n7\n");
    refused(&run(&[], &number), &["line 2", "expected an object"]);
    let tail = file("tail.jsonl", OWN.split_once('\n').unwrap().1);
    refused(
        &run(&[], &tail),
        &["line 1", "first line must be", "invoke"],
    );
}

#[test]
fn what_is_wrong_is_told_in_few_words_however_long_it_is() {
    let long = "x".repeat(1_000_000);
    for line in [
        format!("{{\"type\":\"{long}\"}}"),
        format!("{{\"{long}\":{{\"a\":}}}}"),
        format!("{{\"type\":\"final\",\"process\":\"{long}\"}}"),
    ] {
        let file = file(
            "long.jsonl",
            format!("{{\"type\":\"header\",\"version\":1}}\n{line}\n"),
        );
        let output = run(&[], &file);
        refused(&output, &["line 2"]);
        assert!(words(&output).len() < 1000);
    }
    let header = format!("{{\"type\":\"header\",\"version\":1,\"world\":\"{long}\"}}\n");
    let events = format!("{{:process 0 :type :invoke :f :{long} :value nil}}\n");
    for (name, text) in [("header.jsonl", header), ("long.edn", events)] {
        let output = run(&[], &file(name, text));
        refused(&output, &["line 1"]);
        assert!(words(&output).len() < 1000);
    }
}

#[test]
fn what_holds_no_event_of_a_client_is_not_called_valid() {
    let of = |process: &str| EVENTS.replace(":process 0", &format!(":process {process}"));
    refused(
        &run(&[], &file("named.edn", of(":first"))),
        &["line 1", ":process"],
    );
    assert_eq!(
        run(&[], &file("texts.edn", of("\"0\""))).status.code(),
        Some(0)
    );
    let nemesis = of(":nemesis") + EVENTS;
    assert_eq!(
        run(&[], &file("nemesis.edn", nemesis)).status.code(),
        Some(0)
    );
    let other = file("other.log", "INFO  jepsen.util - nothing yet\n");
    refused(&run(&[], &other), &["no line tells of an event"]);
    let empty = file("empty.edn", "[]");
    assert_eq!(run(&[], &empty).status.code(), Some(0));
}

#[test]
fn a_record_that_contradicts_others_is_told_by_its_line() {
    let (header, rest) = OWN.split_once('\n').unwrap();
    let log = r#"{"type":"txn","zxid":3,"session":"0x1","xid":1,"f":"write"}"#;
    let again = rest.lines().last().unwrap();
    let twice = file("twice.jsonl", format!("{header}\n{log}\n\n{rest}{again}\n"));
    refused(&run(&[], &twice), &["line 6: ", "xid 1"]);
    refused(&run(&["--whole"], &twice), &["line 6: "]);
}

#[test]
fn only_histories_of_our_own_are_followed() {
    let registers = file("followed.tsv", REGISTERS);
    let output = run(&["--follow", "--idle", "0"], &registers);
    refused(&output, &["followed.tsv", "without --follow"]);
}

#[test]
fn events_in_an_array_are_told_by_the_line_they_begin_on() {
    let array = "[\n  {\"process\": 0,\n   \"type\": \"invoke\", \"f\": \"write\", \"value\": 1},\n\n  {\"process\": 0, \"type\": \"ok\", \"f\": \"write\", \"value\": 1}";
    let whole = file("array.json", format!("{array}\n]\n"));
    assert_eq!(run(&[], &whole).status.code(), Some(0));
    for (tail, named) in [
        (",\n {\"process\": 0}]", "line 6, :type"),
        (",\n {\"process\": 0,\n  \"type\": }]", "line 7, column 11"),
        (",\n {\"process\": 0, ?", "line 6, column 17"),
        ("\n {", "line 6, column 2: expected `,` or `]`"),
        ("\n", "ends inside a list"),
        (",\n", "ends inside a list"),
        ("]\n\n7", "line 7, column 1: something follows"),
    ] {
        let array = file("array.json", format!("{array}{tail}"));
        refused(&run(&[], &array), &[named]);
    }
}

#[test]
fn values_that_have_no_order_are_equal_in_any() {
    let events = "{:process 0, :type :invoke, :f :write, :value {:a 1, :b #{1 2}}}\n\
        {:process 0, :type :ok, :f :write, :value {:a 1, :b #{1 2}}}\n\
        {:process 1, :type :invoke, :f :read, :value nil}\n";
    for (read, code) in [
        ("{:b #{2 1}, :a 1}", 0),
        ("{:b #{2 1}, :a 2}", 1),
        ("{:b 1, :a #{1 2}}", 1),
    ] {
        let read = format!("{events}{{:process 1, :type :ok, :f :read, :value {read}}}\n");
        let output = run(&[], &file("values.edn", &read));
        assert_eq!(output.status.code(), Some(code), "{read}");
    }
}

/// Our own history, and then a read that goes back.
fn older() -> String {
    let rest = OWN.split_once('\n').unwrap().1;
    let older = rest.replace("10", "30").replace("20", "40");
    let older = older
        .replace("\"xid\":1", "\"xid\":2")
        .replace(":9,", ":8,");
    format!("{OWN}{older}")
}

/// The words in backticks of the guide's row that begins so.
fn keys_of(guide: &str, row: &str) -> Vec<String> {
    let row = guide.lines().find(|line| line.starts_with(row)).expect(row);
    let words = row.split('`').skip(1).step_by(2);
    let examples = ["P9", "durability"];
    let keys = words.filter(|word| !examples.contains(word) && !word.starts_with("--"));
    keys.map(str::to_owned).collect()
}

#[test]
fn json_has_the_keys_that_the_guide_tells() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CHECKER.md");
    let guide = fs::read_to_string(guide).unwrap();
    let guide = guide.split_once("### As JSON").unwrap().1;
    let wrong = file("wrong.jsonl", older());
    let swap = "1\t40\t50\tc\tx\ta\tb\t1\t-1\n";
    let stale = REGISTERS.replace("\ta\t-1", "\tb\t-1");
    let wrong_tsv = file("wrong.tsv", &stale);
    let wrong_zxid = file("zxid.tsv", stale.replace("\t-1\n", "\t7\n"));
    let own = file("json.jsonl", OWN);
    let other = file("json.tsv", REGISTERS);
    let undecided = file("undecided.tsv", format!("{REGISTERS}{swap}"));
    let empty = file("empty", "");
    let invalid = "| invalid | ";
    let theirs = "| invalid, of others | ";
    for (arguments, file, rows) in [
        ("", &own, &["| valid | "][..]),
        ("", &wrong, &[invalid]),
        ("--explain", &wrong, &[invalid, "| invalid, with"]),
        ("--ignore-zxid --open", &own, &["| unknown | "]),
        ("", &empty, &["| unreadable | "]),
        ("", &other, &["| valid, of others | "]),
        ("", &wrong_tsv, &[theirs]),
        ("", &wrong_zxid, &[theirs]),
        (
            "--explain",
            &wrong_tsv,
            &[theirs, "| invalid, of others, with"],
        ),
        (
            "--configurations 0",
            &undecided,
            &["| unknown, of others | "],
        ),
    ] {
        let arguments: Vec<&str> = arguments.split_whitespace().chain(["--json"]).collect();
        let output = run(&arguments, file);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect(rows[0]);
        let mut keys: Vec<String> = rows.iter().flat_map(|row| keys_of(guide, row)).collect();
        keys.extend(["file".to_owned(), "verdict".to_owned()]);
        keys.sort();
        let told: Vec<&String> = object.as_object().unwrap().keys().collect();
        assert_eq!(told, keys.iter().collect::<Vec<_>>(), "{object}");
        let word = rows[0].trim_start_matches("| ").split([' ', ',']).next();
        assert_eq!(object["verdict"].as_str(), word);
    }
}

#[test]
fn json_names_records_and_sessions_as_words_do() {
    let wrong = file("older.jsonl", older());
    let object: serde_json::Value =
        serde_json::from_slice(&run(&["--json", "--explain"], &wrong).stdout).unwrap();
    let records = |object: &serde_json::Value| {
        let records = object.as_array().unwrap().iter();
        records
            .map(|one| one["record"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(records(&object["records"]), [1, 2, 3, 4]);
    assert_eq!(
        object["convicting"][0]["records"],
        serde_json::json!([1, 2])
    );
    assert_eq!(object["convicting"][1]["session"], "0x1");
}
