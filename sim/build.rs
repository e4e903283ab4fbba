//! Finds the names of all rare roads marked in the sources, so that a sweep can tell which
//! of them nobody has walked.

use std::fs;
use std::path::{Path, PathBuf};

/// What marks a road: the name follows as a literal. (`Look` is the way back to the election;
/// its reason is told as a probe.)
const MARKS: [&str; 4] = ["Probe(", "probe!(", "Look(", "probes.push("];
/// What marks several: every literal up to the semicolon is a name.
const LISTS: [&str; 1] = ["let probe ="];

fn main() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    println!("cargo:rerun-if-changed={}", sources.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut names = Vec::new();
    for file in files(&sources) {
        let text = fs::read_to_string(&file).expect("sources are readable");
        // What tests mark is no road of the service.
        let service = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        // However the formatter broke the lines.
        let service: String = service.split_whitespace().collect::<Vec<&str>>().join(" ");
        let service = service.replace("( ", "(").replace(" .", ".");
        for mark in MARKS {
            for after in service.split(mark).skip(1) {
                if let Some(name) = after.strip_prefix('"').and_then(|t| t.split('"').next()) {
                    names.push(name.to_string());
                }
            }
        }
        for mark in LISTS {
            for after in service.split(mark).skip(1) {
                let until = after.split(';').next().unwrap_or("");
                names.extend(until.split('"').skip(1).step_by(2).map(str::to_string));
            }
        }
    }
    names.sort();
    names.dedup();
    let list = format!("&{names:?}");
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it")).join("probes.rs");
    fs::write(out, list).expect("the output folder is writable");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the core has sources")
        .map(|entry| entry.expect("sources are readable").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
