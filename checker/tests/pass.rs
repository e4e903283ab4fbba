//! zkcheck on histories that are converted, come in on standard input, or still grow.

#[path = "../benches/synthetic/mod.rs"]
mod synthetic;

use gamekeeper_checker::history::{self, History};
use gamekeeper_checker::{NARROW_WINDOW, Options, STRETCH, Stream, Stretches};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use synthetic::{Plan, Shape};

fn short(shape: Shape, operations: usize) -> History {
    synthetic::history(Plan {
        shape,
        operations,
        clients: 5,
        seed: 7,
    })
}

fn zkcheck() -> Command {
    Command::new(env!("CARGO_BIN_EXE_zkcheck"))
}

/// A folder of its own for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn lines_of(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    history::write(&mut bytes, history).unwrap();
    bytes
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into()
}

#[test]
fn a_history_converted_to_binary_and_back_is_the_same_file_and_gets_the_same_verdict() {
    let folder = folder("convert");
    let [lines, binary, back] = ["a.jsonl", "a.gkh", "b.jsonl"].map(|name| folder.join(name));
    fs::write(&lines, lines_of(&short(Shape::Tree, 2000))).unwrap();
    for (from, to) in [(&lines, &binary), (&binary, &back)] {
        let output = zkcheck().arg("convert").args([from, to]).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
    }
    assert_eq!(fs::read(&lines).unwrap(), fs::read(&back).unwrap());
    for file in [&lines, &binary] {
        let output = zkcheck().arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    }
    let itself = zkcheck().arg("convert").args([&binary, &binary]).output();
    assert_eq!(itself.unwrap().status.code(), Some(2));
    assert!(
        fs::metadata(&binary).unwrap().len() > 0,
        "it is still there"
    );
    let mut cut = fs::read(&binary).unwrap();
    cut.truncate(cut.len() / 2);
    fs::write(&binary, cut).unwrap();
    let output = zkcheck().arg(&binary).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("is cut off"), "{}", words(&output));
    assert_eq!(words(&output).lines().count(), 1);
}

/// zkcheck on what comes from standard input.
fn judged(bytes: Vec<u8>) -> Output {
    let mut child = zkcheck()
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&bytes).unwrap();
    drop(input);
    child.wait_with_output().unwrap()
}

#[test]
fn a_long_history_is_judged_in_one_pass_and_a_violation_in_it_is_still_found() {
    let mut history = short(Shape::Registers(3), 70_000);
    let valid = judged(lines_of(&history));
    assert_eq!(valid.status.code(), Some(0), "{}", words(&valid));
    let last = history.records.iter_mut().rev();
    let mut reads = last.filter_map(|record| match &mut record.body {
        history::Body::Return {
            result: Ok(history::Answer::Data { data, .. }),
            ..
        } => Some(data),
        _ => None,
    });
    *reads.next().unwrap() = Some("never written".into());
    let mut binary = Vec::new();
    history::write_binary(&mut binary, &history).unwrap();
    let invalid = judged(binary);
    assert_eq!(invalid.status.code(), Some(1), "{}", words(&invalid));
}

/// Forgets the answer to a write of a client that wrote elsewhere before the same node was
/// written, and never read, by another.
fn lose_an_answer(history: &mut History) {
    let mut asked = HashMap::new();
    // Of each node: the last write of it, by record and client, and whether that one wrote since.
    let mut last: HashMap<history::Path, (usize, u32, bool)> = HashMap::new();
    for (index, record) in history.records.iter().enumerate() {
        match &record.body {
            history::Body::Invoke { xid, op, .. } => {
                asked.insert((record.process, *xid), op.clone());
            }
            history::Body::Return { xid, .. } => {
                let op = asked.remove(&(record.process, *xid)).unwrap();
                let path = op.path().unwrap().clone();
                let before = last.remove(&path);
                if !matches!(op, history::Op::Set { .. }) {
                    continue;
                }
                if let Some((lost, process, true)) = before
                    && process != record.process
                {
                    let record = &mut history.records[lost];
                    let history::Body::Return { xid, .. } = record.body else {
                        unreachable!("answers were noted");
                    };
                    record.body = history::Body::Lost { xid };
                    return;
                }
                let own = last.values_mut().filter(|own| own.1 == record.process);
                own.for_each(|own| own.2 = true);
                last.insert(path, (index, record.process, false));
            }
            _ => {}
        }
    }
    panic!("nobody overwrites unread what another wrote");
}

#[test]
fn where_one_pass_doubts_a_long_history_is_judged_by_going_back() {
    let mut history = short(Shape::Registers(300), 70_000);
    lose_an_answer(&mut history);
    let (header, options) = (&history.header, Options::default());
    let mut stream = Stream::new(header, &options, NARROW_WINDOW);
    let mut records = history.records.iter();
    let doubt = records.find_map(|record| stream.take(record).err());
    assert!(doubt.is_some(), "one pass decides it");
    let mut stretches = Stretches::new(header, &options, NARROW_WINDOW, STRETCH);
    let mut records = history.records.iter();
    let taken = records.try_for_each(|record| stretches.take(record));
    assert!(taken.is_ok(), "{taken:?}");
    assert!(stretches.finish().is_ok());
    let output = judged(lines_of(&history));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let summary = words(&output);
    assert!(summary.contains("unknown fate, and 1 of them"), "{summary}");
}

#[test]
fn a_file_is_followed_while_it_grows() {
    // A binary history says where it ends, so that nobody has to wait for nothing to come.
    let file = folder("follow").join("growing.gkh");
    let mut bytes = Vec::new();
    history::write_binary(&mut bytes, &short(Shape::Tree, 500)).unwrap();
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    fs::write(&file, first).unwrap();
    let child = zkcheck()
        .args(["--follow", "--idle", "600"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = File::options().append(true).open(&file).unwrap();
    writer.write_all(rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
}

#[test]
fn records_that_stand_the_wrong_way_round_are_put_in_order_while_a_file_grows() {
    let mut history = short(Shape::Tree, 1500);
    for at in (1..history.records.len()).step_by(7) {
        if history.records[at - 1].process != history.records[at].process {
            history.records.swap(at - 1, at);
        }
    }
    assert!(!history.records.is_sorted_by_key(|record| record.time));
    let mut bytes = Vec::new();
    history::write_binary(&mut bytes, &history).unwrap();
    let file = folder("disordered").join("growing.gkh");
    fs::write(&file, bytes).unwrap();
    let output = zkcheck()
        .args(["--follow", "--idle", "600"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(
        !words(&output).contains("does not decide"),
        "{}",
        words(&output)
    );
}

#[test]
fn whoever_follows_hears_of_a_violation_before_the_file_has_ended() {
    let mut history = short(Shape::Registers(1), 200);
    // Servers that soon fall silent when they do not hear of each other.
    (history.header.tick_ms, history.header.sync_limit) = (10, 1);
    let last = history.records.iter_mut().rev();
    let mut reads = last.filter_map(|record| match &mut record.body {
        history::Body::Return {
            result: Ok(history::Answer::Data { data, .. }),
            ..
        } => Some(data),
        _ => None,
    });
    *reads.next().unwrap() = Some("never written".into());
    let file = folder("wrong").join("growing.jsonl");
    fs::write(&file, lines_of(&history)).unwrap();
    // Nothing more will come, but nobody waits ten minutes to be sure of that.
    let output = zkcheck()
        .args(["--follow", "--idle", "600"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("one pass does not decide"));
}

#[test]
fn a_tree_that_forgets_what_is_absent_answers_as_before() {
    // Far more names than are kept: each is made, looked for beside another, and deleted.
    let history = short(Shape::Registers(1), 10);
    let mut stream = Stream::new(&history.header, &Options::default(), 64);
    let (mut time, mut zxid) = (history.records.last().unwrap().time, 1i64 << 40 | 1);
    for record in history.records {
        stream.take(record).unwrap();
    }
    let mut xid = 1_000_000;
    let mut tell = |op: history::Op, result: Result<history::Answer, history::ErrorCode>| {
        (time, xid) = (time + 10, xid + 1);
        zxid += i64::from(op.is_transaction());
        let session = 0x1_0000_0000_0001;
        let asked = history::Body::Invoke { session, xid, op };
        let told = history::Body::Return { xid, zxid, result };
        for (later, body) in [(0, asked), (5, told)] {
            let record = history::Record {
                process: 0,
                time: time + later,
                server: None,
                body,
            };
            stream.take(record).unwrap();
        }
    };
    for number in 0..70_000 {
        let path: history::Path = format!("/made-{number}").into();
        let create = history::Op::Create {
            path: path.clone(),
            data: None,
            acl: history::Acl::open(),
            ephemeral: number % 2 == 0,
            lapse: None,
            sequential: false,
            stat: false,
        };
        tell(create, Ok(history::Answer::Path(path.clone())));
        let delete = history::Op::Delete { path, version: -1 };
        tell(delete, Ok(history::Answer::Done));
    }
    let summary = stream.finish().unwrap();
    assert!(summary.transactions > 140_000);
}
