//! The command line from outside: exit codes, and one clear line for whatever is wrong.

use std::process::{Command, Output};

fn zkcli(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zkcli"))
        .args(args)
        .output()
        .expect("the binary runs")
}

/// Code 2, nothing on standard output, one line on standard error that has the word.
fn complains(args: &[&str], word: &str) {
    let output = zkcli(args);
    let told = String::from_utf8(output.stderr).expect("complaints are text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{args:?}: {told}");
    assert!(told.contains(word), "{args:?}: {told}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn wrong_usage_is_code_two_and_one_line() {
    complains(&["dance"], "dance");
    complains(&["record"], "--hosts");
    complains(&["record", "--hosts", "127.0.0.1:1"], "--out");
    let record = |more: &[&'static str], word| {
        let args = ["record", "--hosts", "127.0.0.1:1", "--out", "/nowhere/h"];
        complains(&[&args, more].concat(), word);
    };
    record(&["--workload", "mix,tango"], "tango");
    record(&["--workload", "mix,mix"], "twice");
    record(&["--clients", "0"], "--clients");
    record(&["--seconds", "-1"], "-1");
    record(&["--chroot", "here"], "absolute");
    record(&["--service", "etcd"], "etcd");
    // Told before anybody waits for servers.
    record(&[], "/nowhere/h: ");
}

#[test]
fn hosts_that_are_none_are_named() {
    complains(
        &["record", "--hosts", "nowhere", "--out", "/nowhere/h"],
        "nowhere",
    );
    complains(
        &[
            "record",
            "--hosts",
            "127.0.0.1:99999",
            "--out",
            "/nowhere/h",
        ],
        "99999",
    );
}

#[test]
fn help_is_an_answer_and_promises_nothing_that_is_not_there() {
    let output = zkcli(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stdout).expect("help is text");
    let verbs: Vec<&str> = told
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(verbs, ["record", "proxy", "help"]);
}
