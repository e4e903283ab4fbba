//! The command as a process: whatever it is fed, it answers with an exit code that is the
//! verdict, at most one line of complaint, and bounded memory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Most address space a run may take that is fed something hostile, KiB.
const MEMORY_KIB_MAX: u32 = 1_500_000;

const HEADER: &str = r#"{"type":"header","version":1}"#;
const ASK: &str =
    r#"{"type":"invoke","process":1,"time":10,"session":"0x1","xid":1,"f":"get","path":"/a"}"#;
const TOLD: &str = r#"{"type":"fail","process":1,"time":20,"xid":1,"zxid":9,"error":"NoNode"}"#;
const ASK_AGAIN: &str =
    r#"{"type":"invoke","process":1,"time":30,"session":"0x1","xid":2,"f":"get","path":"/a"}"#;
const TOLD_OLDER: &str =
    r#"{"type":"fail","process":1,"time":40,"xid":2,"zxid":8,"error":"NoNode"}"#;

/// A folder of its own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("zkcheck-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, bytes).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind in the temporary folder at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn valid() -> String {
    lines(&[HEADER, ASK, TOLD])
}

fn invalid() -> String {
    lines(&[HEADER, ASK, TOLD, ASK_AGAIN, TOLD_OLDER])
}

fn zkcheck() -> Command {
    Command::new(env!("CARGO_BIN_EXE_zkcheck"))
}

fn run(arguments: &[&str], files: &[&Path]) -> Output {
    zkcheck().args(arguments).args(files).output().unwrap()
}

/// Runs it on standard input, with little memory.
fn fed(arguments: &[&str], bytes: &[u8]) -> Output {
    let limited = format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_zkcheck")])
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have seen enough before it was fed all.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One line of complaint that holds `named`, exit code 2, nothing else said.
fn refused(what: &str, output: &Output, named: &str) {
    let complaint = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {complaint}");
    assert_eq!(complaint.lines().count(), 1, "{what}: {complaint}");
    assert!(complaint.contains(named), "{what}: {complaint}");
    assert!(!complaint.contains("panicked"), "{what}: {complaint}");
    assert!(complaint.len() < 1000, "{what}: {complaint}");
    assert!(!complaint.trim_end().contains(char::is_control), "{what}");
    assert!(output.stdout.is_empty(), "{what}: {}", text(&output.stdout));
}

/// Everything hostile that is not too large, with what the complaint must name.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let with = |line: &str| lines(&[HEADER, ASK, line]).into_bytes();
    let cut = valid().trim_end().as_bytes()[..valid().len() - 12].to_vec();
    let garbage: Vec<u8> = (0..20_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut not_utf8 = valid().into_bytes();
    let at = not_utf8.len() - 20;
    not_utf8[at] = 0xff;
    let nested = format!(
        r#"{{"type":"invoke","ops":{}"#,
        r#"[{"ops":"#.repeat(100_000)
    );
    vec![
        ("empty", Vec::new(), "empty"),
        ("only blank lines", b"\n\n\n".to_vec(), "empty"),
        ("cut in a record", cut, "line 3"),
        (
            "cut in the header",
            HEADER.as_bytes()[..12].to_vec(),
            "line 1",
        ),
        ("garbage", garbage, "zkcheck: -: "),
        ("zeros", vec![0; 100_000], "zkcheck: -: "),
        ("invalid UTF-8", not_utf8, "line 3: invalid UTF-8"),
        ("no header", lines(&[ASK, TOLD]).into_bytes(), "line 1"),
        (
            "a version of next year",
            br#"{"type":"header","version":999}"#.to_vec(),
            "version",
        ),
        (
            "a wrong type",
            with(&TOLD.replace("20", "\"soon\"")),
            "line 3, field `time`",
        ),
        (
            "a time before time",
            with(&TOLD.replace("20", "-20")),
            "line 3, field `time`",
        ),
        (
            "a number too large",
            with(&TOLD.replace(":9", ":9e99")),
            "line 3, field `zxid`",
        ),
        (
            "a word nobody knows",
            with(&TOLD.replace("NoNode", "NoLuck")),
            "line 3, field `error`",
        ),
        (
            "a field missing",
            with(r#"{"type":"fail","process":1,"time":20,"zxid":9}"#),
            "line 3, field `xid`",
        ),
        ("deep nesting", with(&nested), "line 3"),
        (
            "an answer to no question",
            lines(&[HEADER, TOLD]).into_bytes(),
            "record 1",
        ),
        (
            "time running back",
            with(&TOLD.replace("20", "5")),
            "record 2",
        ),
    ]
}

#[test]
fn whatever_is_no_history_is_refused_in_one_line() {
    for (what, bytes, named) in hostile() {
        refused(what, &fed(&[], &bytes), named);
    }
}

#[test]
fn as_json_a_refusal_is_one_object() {
    for (what, bytes, _) in hostile() {
        let output = fed(&["--json"], &bytes);
        assert_eq!(output.status.code(), Some(2), "{what}");
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["verdict"], "unreadable", "{what}");
    }
}

#[test]
fn huge_lines_are_refused_and_take_little_memory() {
    let long = [HEADER.as_bytes(), b"\n", &vec![b'a'; 40 << 20]].concat();
    refused("a long line", &fed(&[], &long), "line 2: longer than");
    let no_lines = vec![b'{'; 40 << 20];
    refused("no line at all", &fed(&[], &no_lines), "line 1");
    for (field, item) in [
        ("results", "{},"),
        ("ops", "{},"),
        ("acl", "[],"),
        ("names", "\"\","),
    ] {
        let items = item.repeat((15 << 20) / item.len());
        let line =
            format!(r#"{{"type":"ok","process":1,"time":20,"xid":1,"zxid":9,"{field}":[{items}"#);
        let bytes = lines(&[HEADER, ASK, &line]);
        refused(field, &fed(&[], bytes.as_bytes()), "line 3");
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    let folder = Folder::new("names");
    let missing = folder.0.join("missing.jsonl");
    refused("a missing file", &run(&[], &[&missing]), "missing.jsonl");
    refused("a directory", &run(&[], &[&folder.0]), "is a directory");
    let odd = folder.0.join("odd\u{1b}[31m\nname");
    refused("an odd name", &run(&[], &[&odd]), "name");
}

#[test]
fn the_worst_of_several_files_is_the_exit_code() {
    let folder = Folder::new("several");
    let good = folder.file("good.jsonl", valid());
    let bad = folder.file("bad.jsonl", invalid());
    let broken = folder.file("broken.jsonl", "nothing");
    let code = |files: &[&Path]| run(&["--json"], files).status.code();
    assert_eq!(code(&[&good]), Some(0));
    assert_eq!(code(&[&good, &bad, &good]), Some(1));
    assert_eq!(code(&[&bad, &broken, &good]), Some(2));
    let output = run(&["--json"], &[&good, &broken, &bad]);
    let verdicts: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["valid", "unreadable", "invalid"]);
}

#[test]
fn standard_input_is_judged_like_a_file() {
    assert_eq!(fed(&[], valid().as_bytes()).status.code(), Some(0));
    let output = fed(&[], invalid().as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("P5 monotonic-reads"));
    assert!(output.stderr.is_empty());
}

#[test]
fn wrong_usage_is_told_in_one_line_with_its_cure() {
    let folder = Folder::new("usage");
    let good = folder.file("good.jsonl", valid());
    refused("an unknown flag", &run(&["--jsno"], &[&good]), "--json");
    refused("nothing to do", &run(&[], &[]), "zkcheck FILE");
    refused(
        "a contradiction",
        &run(&["--open", "--closed"], &[&good]),
        "--closed",
    );
    let two = run(&["--reduce", "out"], &[&good, &good]);
    refused("one output for two", &two, "--reduce");
    let bad = folder.file("bad.jsonl", invalid());
    let nowhere = folder.0.join("no").join("such").join("folder");
    let output = run(&["--html", nowhere.to_str().unwrap()], &[&bad]);
    refused("an output that cannot be", &output, "folder");
}

#[test]
fn a_violation_is_explained_reduced_and_drawn() {
    let folder = Folder::new("explain");
    let bad = folder.file("bad.jsonl", invalid());
    let (small, page) = (folder.0.join("small.jsonl"), folder.0.join("page.html"));
    let arguments = [
        "--reduce",
        small.to_str().unwrap(),
        "--html",
        page.to_str().unwrap(),
    ];
    let output = run(&arguments, &[&bad]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    for word in [
        "P5 monotonic-reads",
        "convicts",
        "zxid 0x9",
        "zxid 0x8",
        "reduced",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(run(&[], &[&small]).status.code(), Some(1));
    assert!(
        fs::read_to_string(&page)
            .unwrap()
            .contains("monotonic-reads")
    );
    let object = run(&["--json", "--explain"], &[&bad]);
    let object: serde_json::Value = serde_json::from_slice(&object.stdout).unwrap();
    assert_eq!(object["reduced"]["records"], 4);
    assert_eq!(object["convicting"][1]["zxid"], 8);
}

#[test]
fn a_foreign_violation_is_explained_reduced_and_drawn() {
    let folder = Folder::new("foreign");
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMATS.md");
    let formats = fs::read_to_string(formats).unwrap();
    for (kind, ending) in [("tsv", "tsv"), ("edn", "edn"), ("log", "tsv")] {
        let bad = folder.file(kind, block(&formats, &format!("{kind} invalid")));
        let small = folder.0.join(format!("small.{ending}"));
        let page = folder.0.join("page.html");
        let arguments = [
            "--reduce",
            small.to_str().unwrap(),
            "--html",
            page.to_str().unwrap(),
        ];
        let output = run(&arguments, &[&bad]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let told = text(&output.stdout);
        for word in [
            "invalid: linearizability (model ",
            "convicts",
            "before",
            "reduced",
        ] {
            assert!(told.contains(word), "{word}: {told}");
        }
        let object = run(&["--json", "--explain"], &[&small]);
        assert_eq!(object.status.code(), Some(1), "{told}");
        let object: serde_json::Value = serde_json::from_slice(&object.stdout).unwrap();
        assert_eq!(object["reduced"]["minimal"], true);
        assert!(object["convicting"][0]["line"].is_u64(), "{object}");
        assert!(
            fs::read_to_string(&page)
                .unwrap()
                .contains("linearizability")
        );
    }
}

#[test]
fn nobody_listening_is_no_reason_to_panic() {
    let folder = Folder::new("pipe");
    let bad = folder.file("bad.jsonl", invalid());
    let mut child = zkcheck()
        .arg(&bad)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty());
}

#[test]
fn the_help_teaches() {
    let help = text(&run(&["--help"], &[]).stdout);
    for word in [
        "Examples",
        "Exit code",
        "--explain",
        "--reduce",
        "--html",
        "zkcheck -",
    ] {
        assert!(help.contains(word), "{word}");
    }
    let properties = text(&run(&["properties"], &[]).stdout);
    assert_eq!(properties.lines().count(), 20);
}

/// The first block of that kind in a document.
fn block<'a>(document: &'a str, kind: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_guide_tells_todays_truth() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CHECKER.md");
    let guide = fs::read_to_string(guide).unwrap();
    let folder = Folder::new("guide");
    folder.file("lost.jsonl", block(&guide, "jsonl"));
    folder.file("stale.tsv", block(&guide, "tsv"));
    let told = |file: &str| {
        let mut run = zkcheck();
        let run = run.args(["--explain", file]).current_dir(&folder.0);
        text(&run.output().unwrap().stdout)
    };
    let (_, after) = guide.split_once("```tsv").unwrap();
    assert_eq!(told("lost.jsonl"), block(&guide, "text"));
    assert_eq!(told("stale.tsv"), block(after, "text"));
    for line in text(&run(&["properties"], &[]).stdout).lines() {
        let mut words = line.split_whitespace();
        let (code, name) = (words.next().unwrap(), words.next().unwrap());
        assert!(guide.contains(&format!("| {code} | {name} |")), "{line}");
    }
}
