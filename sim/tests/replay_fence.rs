//! What would break replay without anybody noticing is not in the source at all.
//!
//! The `clippy.toml` of each folder forbids the same by name where clippy can; macros and
//! crates it cannot name are found here. Comments do not count.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose code runs inside a life.
const INSIDE: [&str; 5] = ["core", "server", "client", "workload", "sim"];

/// Words, and why they are not there.
const FORBIDDEN: [(&str, &str); 11] = [
    (
        "select!",
        "an unbiased choice draws from a process-global counter: race, or poll_fn",
    ),
    ("HashMap", "iteration order differs between runs: BTreeMap"),
    ("HashSet", "iteration order differs between runs: BTreeSet"),
    ("ahash", "its seed is an address or a build's"),
    ("foldhash", "its seed is an address or a build's"),
    (
        "FuturesUnordered",
        "its order hangs on wakes: a VecDeque and poll_fn",
    ),
    ("tokio::spawn", "ask the runtime"),
    ("tokio::time", "ask the runtime"),
    ("tokio::net", "ask the runtime"),
    ("tokio::fs", "ask the runtime"),
    ("thread_rng", "draws are forked from the seed"),
];

/// Programs for the real world only, which no life runs.
fn is_outside(path: &Path) -> bool {
    let file = path.file_name().and_then(|name| name.to_str());
    path.components().any(|part| part.as_os_str() == "bin") || file == Some("main.rs")
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries {
        let path = entry.expect("can be listed").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_outside(&path) {
            into.push(path);
        }
    }
}

#[test]
fn nothing_that_breaks_replay_is_written_anywhere_inside() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in INSIDE {
        sources(&root.join(folder).join("src"), &mut files);
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    let mut found = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("can be read");
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            let words = FORBIDDEN.iter().filter(|(word, _)| code.contains(word));
            found.extend(
                words.map(|(word, why)| format!("{}:{number}: {word}: {why}", file.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
