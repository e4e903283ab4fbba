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
    complains(&["dance"], "dance");
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
        ("utf-8", "\u{0}", "line 1"),
    ] {
        let path = temp(name, text);
        let path = path.to_str().expect("a plain path");
        complains(&["--scenario", path], word);
        complains(&["sweep", "--seeds", "0..2", "--scenario", path], word);
        fs::remove_file(path).expect("it was there");
    }
}

#[test]
fn missing_or_foreign_run_directory_is_code_two_and_one_line() {
    complains(&["replay", "/nowhere"], "/nowhere");
    complains(&["replay", "/"], "version");
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
    for args in [&["--help"][..], &["sweep", "--help"], &["replay", "--help"]] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}
