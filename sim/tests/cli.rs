//! The command line from outside: exit codes, and one clear line for whatever is wrong.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(args)
        .output()
        .expect("the binary runs")
}

fn temp(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("gamekeeper-cli-{}-{name}", std::process::id()));
    fs::write(&path, text).expect("the folder for temporary files is writable");
    path
}

/// Code 2, nothing on standard output, one line on standard error that has the word.
fn complains(args: &[&str], word: &str) {
    let output = sim(args);
    let told = String::from_utf8(output.stderr).expect("complaints are text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{args:?}: {told}");
    assert!(told.contains(word), "{args:?}: {told}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn wrong_usage_is_code_two_and_one_line() {
    complains(&[], "--seed");
    complains(&["--flood"], "--flood");
    complains(&["--seed", "many"], "many");
    complains(&["--seed", "1", "--intensity", "-3"], "-3");
    complains(&["sweep"], "--seeds");
    complains(&["sweep", "--seeds", "5..5"], "5..5");
    complains(&["sweep", "--seeds", "0..1", "--jobs", "0"], "0");
    complains(&["sweep", "--seeds", "9..5"], "A below B");
    complains(&["sweep", "--seeds", "0..x"], "0..x");
    complains(&["--seed", "18446744073709551616"], "18446744073709551616");
    complains(&["calibrate", "--seeds", "0"], "0");
    complains(&["shrink"], "--seed N");
    complains(&["shrink", "somewhere", "--seed", "1"], "--seed");
    complains(&["shrink", "--seed", "1", "--lives", "0"], "0");
    complains(&["dance"], "dance");
}

#[test]
fn place_that_takes_no_files_is_told_before_a_life_is_lived() {
    let file = temp("in-the-way", "");
    let inside = file.join("run");
    let inside = inside.to_str().expect("a plain path");
    let many = "0..1000000000";
    complains(&["--seed", "1", "--out", inside], inside);
    complains(&["sweep", "--seeds", many, "--out", inside], inside);
    complains(
        &["sweep", "--seeds", many, "--fingerprints", inside],
        inside,
    );
    complains(&["shrink", "--seed", "1", "--out", inside], "in-the-way");
    fs::remove_file(file).expect("it was there");
}

#[test]
fn broken_scenarios_are_code_two_and_one_line() {
    complains(&["--scenario", "/nowhere/x.toml"], "/nowhere/x.toml");
    complains(&["--seed", "1", "--scenario", "/"], "/");
    for (name, text, word) in [
        ("syntax", "cluster = [[", "line 1"),
        ("key", "[cluster]\nvotrs = 3", "cluster.votrs"),
        ("type", "[cluster]\nvoters = \"three\"", "cluster.voters"),
        ("range", "[cluster]\nvoters = 200", "cluster.voters"),
        (
            "target",
            "[[plan]]\nat_ms = 1\nfault = { kind = \"pause\", target = \"boss\" }",
            "boss",
        ),
        (
            "server",
            "[cluster]\nvoters = 3\nobservers = 0\n[[plan]]\nat_ms = 1\nfault = { kind = \"pause\", target = \"server 9\" }",
            "server 9",
        ),
        ("binary", "\u{0}\u{1}\u{2}", "line 1"),
        ("empty", "", "at least one key"),
        ("only-comments", "# nothing\n", "at least one key"),
        (
            "huge",
            "[phases]\nchaos_ms = 99999999999999999999",
            "line 2",
        ),
        (
            "large",
            "[phases]\nchaos_ms = 9223372036854775807",
            "phases.chaos_ms",
        ),
        ("negative", "[sizes]\nread_bytes = -1", "-1"),
        ("no-voters", "[cluster]\nvoters = 0", "cluster.voters"),
        ("many-voters", "[cluster]\nvoters = 1000", "cluster.voters"),
        ("no-chaos", "[phases]\nchaos_ms = 0", "phases.chaos_ms"),
        ("no-work", "workloads = []", "workloads"),
        (
            "no-clients",
            &traffic("clients = 0"),
            "workloads[0].clients",
        ),
        (
            "crowd",
            &traffic("clients = 100000"),
            "workloads[0].clients",
        ),
        (
            "kind",
            &traffic("clients = 1").replace("mix", "mixx"),
            "mixx",
        ),
        ("field", &traffic("clients = 1\ncolour = 3"), "colour"),
        (
            "late",
            "[phases]\nchaos_ms = 1000\n[[plan]]\nat_ms = 2000\nfault = { kind = \"partition-ring\" }",
            "plan[0]",
        ),
    ] {
        let path = temp(name, text);
        let path = path.to_str().expect("a plain path");
        complains(&["--scenario", path], word);
        complains(&["sweep", "--seeds", "0..2", "--scenario", path], word);
        fs::remove_file(path).expect("it was there");
    }
}

/// A workload with these lines in it.
fn traffic(lines: &str) -> String {
    format!(
        "[[workloads]]\nkind = \"mix\"\nthink_ms_min = 1\nthink_ms_max = 2\nkeys = 1\n\
         value_bytes_max = 8\npipeline = 1\n{lines}\n"
    )
}

#[test]
fn bytes_that_are_no_text_are_no_scenario() {
    let path = temp("bytes", "");
    fs::write(&path, [0xff, 0xfe, 0x00, 0x80]).expect("it is writable");
    complains(
        &["--scenario", path.to_str().expect("a plain path")],
        "TOML file",
    );
    fs::remove_file(path).expect("it was there");
}

#[test]
fn missing_or_foreign_run_directory_is_code_two_and_one_line() {
    complains(&["replay", "/nowhere"], "/nowhere");
    complains(&["replay", "/"], "version");
    complains(&["shrink", "/nowhere"], "/nowhere");
}

/// Every file of a run directory: removed, emptied, cut in its middle, and overwritten with
/// something else.
#[test]
fn broken_run_directory_is_code_two_and_names_the_file() {
    let dir = temp("run", "");
    fs::remove_file(&dir).expect("it was there");
    let scenario = temp(
        "short.toml",
        "plan = []\n[phases]\nwarmup_ms = 1500\nchaos_ms = 200\n",
    );
    let (dir_text, scenario_text) = (
        dir.to_str().expect("a plain path"),
        scenario.to_str().expect("a plain path"),
    );
    let kept = sim(&["--scenario", scenario_text, "--out", dir_text]);
    assert_ne!(kept.status.code(), Some(2), "{kept:?}");
    let again = sim(&["replay", dir_text]);
    assert_eq!(again.status.code(), kept.status.code(), "{again:?}");
    for name in [
        "version",
        "scenario.toml",
        "outcome.json",
        "history.jsonl",
        "events.jsonl",
        "trace.log",
    ] {
        let path = dir.join(name);
        let whole = fs::read(&path).expect("it was written");
        fs::remove_file(&path).expect("it was written");
        complains(&["replay", dir_text], name);
        let half = &whole[..whole.len() / 2];
        for broken in [&b""[..], half, b"\xff\xfe\x00\x01", b"{\"seed\":", b"[x"] {
            // A run that recorded nothing leaves these empty, and half a version is one.
            let recorded = ["history.jsonl", "events.jsonl", "trace.log"].contains(&name);
            if (broken.is_empty() && recorded) || (broken == half && name == "version") {
                continue;
            }
            fs::write(&path, broken).expect("it is writable");
            complains(&["replay", dir_text], name);
        }
        fs::write(&path, whole).expect("it is writable");
    }
    fs::remove_dir_all(dir).expect("it was there");
    fs::remove_file(scenario).expect("it was there");
}

#[test]
fn failing_life_is_shrunk_to_a_scenario_that_fails_alike() {
    let house = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/negative");
    let negative = house.join("lost-tail.toml");
    let negative = negative.to_str().expect("a plain path");
    let out = temp("shrunk.toml", "");
    let out_text = out.to_str().expect("a plain path");
    let args = ["shrink", "--seed", "1", "--scenario", negative];
    let shrunk = sim(&[&args[..], &["--lives", "12", "--out", out_text]].concat());
    let told = String::from_utf8(shrunk.stdout).expect("it is text");
    assert_eq!(shrunk.status.code(), Some(0), "{told}");
    let failure = |told: &str, line: &str| {
        let found = told.lines().find_map(|l| l.strip_prefix(line));
        found
            .and_then(|l| l.split(':').next())
            .unwrap_or("none")
            .to_string()
    };
    let text = fs::read_to_string(&out).expect("it was written");
    let file = gamekeeper_sim::scenario::Scenario::from_toml(&text).expect("it is complete");
    assert!(file.plan.len() < 4 || file.workloads.len() == 1, "{told}");
    let again = sim(&["--scenario", out_text, "--out", &format!("{out_text}.run")]);
    let lived = String::from_utf8(again.stdout).expect("it is text");
    assert_eq!(again.status.code(), Some(1), "{lived}");
    assert_eq!(
        failure(&told, "fails      "),
        failure(&lived, "verdict    invalid: "),
        "{lived}"
    );
    let valid = sim(&["shrink", "--seed", "1", "--lives", "2", "--out", out_text]);
    assert_eq!(valid.status.code(), Some(2));
    fs::remove_dir_all(format!("{out_text}.run")).expect("it was written");
    fs::remove_file(out).expect("it was written");
}

#[test]
fn invalid_history_is_explained_and_reduced_beside_it() {
    let house = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/negative");
    let negative = house.join("rollback.toml");
    let negative = negative.to_str().expect("a plain path");
    let out = std::env::temp_dir().join(format!("gamekeeper-why-{}", std::process::id()));
    let out_text = out.to_str().expect("a plain path");
    let args = ["--seed", "2", "--scenario", negative, "--out", out_text];
    let lived = sim(&args);
    let told = String::from_utf8(lived.stdout).expect("it is text");
    assert_eq!(lived.status.code(), Some(1), "{told}");
    let file = |name: &str| fs::read(out.join(name)).expect("it was written");
    let (words, reduced) = (file("explanation.txt"), file("reduced.jsonl"));
    assert!(words.starts_with(b"invalid: P"), "{told}");
    for name in ["explanation.txt", "reduced.jsonl"] {
        assert!(told.contains(&format!("{out_text}/{name}")), "{told}");
    }
    let judged = |bytes: &[u8]| {
        let history = gamekeeper_checker::history::read(bytes).expect("it is a history");
        let verdict = gamekeeper_checker::judge(&history, &gamekeeper_checker::Options::default());
        (history.records.len(), verdict.property())
    };
    let (whole, small) = (judged(&file("history.jsonl")), judged(&reduced));
    assert!(small.0 * 10 < whole.0, "{small:?} of {whole:?}");
    assert!(small.1.is_some());
    assert_eq!(small.1, whole.1);
    // The same again, word for word; and nothing of it beside a life that is valid.
    fs::remove_dir_all(&out).expect("it was there");
    sim(&args);
    assert_eq!(
        (words, reduced),
        (file("explanation.txt"), file("reduced.jsonl"))
    );
    let valid = sim(&["--seed", "5", "--intensity", "0", "--out", out_text]);
    assert_eq!(valid.status.code(), Some(0));
    assert!(!out.join("explanation.txt").exists() && !out.join("reduced.jsonl").exists());
    fs::remove_dir_all(&out).expect("it was written");
}

#[test]
fn every_scenario_of_the_house_can_be_completed() {
    let house = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    for folder in [
        house.clone(),
        house.join("negative"),
        house.join("regressions"),
    ] {
        for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("it is text");
            let file = gamekeeper_sim::scenario::ScenarioFile::parse(&text).expect("it is TOML");
            for seed in 0..20 {
                let completed = file.complete(seed, 1000);
                assert!(completed.is_ok(), "{}: {completed:?}", path.display());
            }
        }
    }
}

#[test]
fn help_is_an_answer() {
    for args in [
        &["--help"][..],
        &["sweep", "--help"],
        &["replay", "--help"],
        &["shrink", "--help"],
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}
