//! Reads the sources of every crate that runs in the simulator and refuses what breaks
//! replay or goes around the seam, where `clippy.toml` cannot name it.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose `src` runs in the simulator.
const ROOMS: [&str; 4] = ["server", "client", "workload", "sim"];

/// Parts of tokio that belong behind the seam.
const BEHIND_THE_SEAM: [&str; 6] = ["time", "net", "fs", "spawn", "task", "process"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The code without its comments; blanks stay only between two words.
fn code(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut code = String::new();
    let mut blank = false;
    for line in text.lines() {
        for c in line.split("//").next().unwrap_or("").chars() {
            if c.is_whitespace() {
                blank = true;
                continue;
            }
            if blank && is_word(c) && code.ends_with(is_word) {
                code.push(' ');
            }
            blank = false;
            code.push(c);
        }
        blank = true;
    }
    code
}

/// Everything wrong with a source.
fn faults(code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, _) in code.match_indices("select!") {
        let body = code[at + "select!".len()..].trim_start_matches(['{', '(']);
        if !body.starts_with("biased;") {
            faults.push("select! without biased; draws from a generator no seed knows".to_string());
        }
    }
    for (at, found) in code.match_indices("tokio::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        for name in named(&code[at + found.len()..]) {
            if BEHIND_THE_SEAM.contains(&name) {
                faults.push(format!("tokio::{name} goes around the runtime"));
            }
        }
    }
    faults
}

/// The first names of a path's rest: one, or those of a group in braces.
fn named(rest: &str) -> Vec<&str> {
    let end = |text: &str| {
        let name = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        name.unwrap_or(text.len())
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![&rest[..end(rest)]];
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(&group[start..][..end(&group[start..])]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(&group[start..][..end(&group[start..])]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn sources_keep_to_the_seam() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace");
    let mut read = 0;
    let mut found = Vec::new();
    for room in ROOMS {
        let mut files = Vec::new();
        sources(&root.join(room).join("src"), &mut files);
        assert!(!files.is_empty(), "{room} has sources");
        for file in files {
            let text = fs::read_to_string(&file).expect("text");
            read += 1;
            for fault in faults(&code(&text)) {
                found.push(format!("{}: {fault}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "in {read} files:\n{}", found.join("\n"));
}

#[test]
fn the_reader_finds_what_it_looks_for() {
    for bad in [
        "tokio::select! { a = b => c }",
        "futures::select!{a = b => c}",
        "tokio::spawn(async {})",
        "let t = ::tokio::time::sleep(d);",
        "use tokio::{io::{self, AsyncRead}, net::TcpStream};",
        "use tokio::\n    fs;",
        "tokio::task::spawn_blocking(|| ())",
    ] {
        assert_eq!(faults(&code(bad)).len(), 1, "{bad}");
    }
    for good in [
        "tokio::select! { biased; a = b => c }",
        "// tokio::spawn(x)",
        "use tokio::io::{AsyncRead, AsyncWrite};",
        "use tokio::sync::mpsc;",
        "runtime.spawn(name, task)",
        "my_tokio::time()",
    ] {
        assert!(faults(&code(good)).is_empty(), "{good}");
    }
}
