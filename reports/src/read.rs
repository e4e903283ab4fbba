//! Reads a run directory whole, and refuses one that is not whole.
//!
//! What always holds: an error is one line that names the file, and the line in it where
//! there is one. A file that was cut off inside a line is noticed in every format.
//!
//! What it is not: it checks no number against another; that is the simulator's business.
//!
//! Answers to: `docs/SIMULATION.md`, "Run directories"; `docs/FORMATS.md` for histories.

use crate::reported::{Beat, Event, beat_of, event_of};
use crate::scenario::Scenario;
use gamekeeper_checker::history::{self, History};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layout this crate reads.
pub const RUN_DIR_VERSION: u32 = 1;

/// Largest file that is read, bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a directory cannot be reported on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be had.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said, or that it is too large.
        reason: String,
    },
    /// A line does not say what it should.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// A run directory that was read.
#[derive(Debug)]
pub struct Run {
    /// What became of it.
    pub outcome: Outcome,
    /// What was lived.
    pub scenario: Scenario,
    /// What clients saw.
    pub history: History,
    /// What servers reported, in the order of time.
    pub events: Vec<Event>,
    /// When servers' programs began, ended, stood still and went on.
    pub beats: Vec<Beat>,
    /// Whether the directory also holds why the history is invalid: `explanation.txt`.
    pub explained: bool,
}

/// How the run was judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything held.
    Valid,
    /// Something did not.
    Invalid,
    /// The judge could not decide.
    Unknown,
    /// Nothing was put to the test.
    Vacuous,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Invalid => "invalid",
            Verdict::Unknown => "unknown",
            Verdict::Vacuous => "vacuous",
        }
    }
}

/// What clients' operations came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ops {
    /// Answered without an error.
    pub ok: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Never answered.
    pub unknown: u64,
}

/// `outcome.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's seed.
    pub seed: u64,
    /// How it was judged.
    pub verdict: Verdict,
    /// The property that broke.
    #[serde(default)]
    pub property: Option<String>,
    /// The records that convict, in words.
    #[serde(default)]
    pub records: Vec<String>,
    /// Where a panic arose.
    #[serde(default)]
    pub place: Option<String>,
    /// Why there is no judgement.
    #[serde(default)]
    pub why: Option<String>,
    /// The trace's hash.
    pub fingerprint: String,
    /// Distinct transactions delivered.
    pub commits: u64,
    /// How long it lasted, virtual.
    pub virtual_ns: u64,
    /// Leaderships established.
    pub elections: u64,
    /// Programs killed.
    pub crashes: u64,
    /// Recoveries completed.
    pub recoveries: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Faults that did not, by kind and reason.
    pub skipped: BTreeMap<String, u64>,
    /// Operations of clients.
    pub ops: Ops,
}

/// Reads a run directory.
///
/// # Errors
/// [`ReadError`] at the first file that is missing, of another version, cut off or
/// malformed.
pub fn read(dir: &Path) -> Result<Run, ReadError> {
    let version = File::open(dir, "version")?;
    let said = String::from_utf8_lossy(&version.bytes);
    if said.trim() != RUN_DIR_VERSION.to_string() {
        let shown: String = said.trim().chars().take(20).collect();
        return Err(version.refuse(
            1,
            format!("version {shown:?}, this tool reads {RUN_DIR_VERSION}"),
        ));
    }
    let scenario = read_scenario(&File::open(dir, "scenario.toml")?)?;
    let outcome = File::open(dir, "outcome.json")?;
    let outcome = serde_json::from_slice(&outcome.bytes)
        .map_err(|error| outcome.refuse(error.line().max(1), plain(&error)))?;
    let servers = scenario.cluster.servers();
    Ok(Run {
        outcome,
        history: read_history(&File::open(dir, "history.jsonl")?)?,
        events: read_events(&File::open(dir, "events.jsonl")?, servers)?,
        beats: read_beats(&File::open(dir, "trace.log")?, servers)?,
        scenario,
        explained: dir.join("explanation.txt").is_file(),
    })
}

/// A file's name and bytes.
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn open(dir: &Path, name: &str) -> Result<File, ReadError> {
        let path = dir.join(name);
        let refuse = |reason: String| ReadError::File {
            path: path.clone(),
            reason,
        };
        let length = fs::metadata(&path)
            .map_err(|error| refuse(error.to_string()))?
            .len();
        if length > FILE_BYTES_MAX {
            return Err(refuse(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        let bytes = fs::read(&path).map_err(|error| refuse(error.to_string()))?;
        Ok(File { path, bytes })
    }

    fn refuse(&self, line: usize, reason: String) -> ReadError {
        ReadError::Line {
            path: self.path.clone(),
            line,
            reason: one_line(&reason),
        }
    }

    /// The lines with their numbers; the last has to end.
    fn lines(&self) -> impl Iterator<Item = (usize, Result<&str, ReadError>)> {
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
        lines.enumerate().map(|(index, line)| {
            let text = match line.strip_suffix(b"\n") {
                None => Err("cut off: the last line does not end".to_string()),
                Some(line) => std::str::from_utf8(line)
                    .map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to())),
            };
            (
                index + 1,
                text.map_err(|reason| self.refuse(index + 1, reason)),
            )
        })
    }
}

fn read_scenario(file: &File) -> Result<Scenario, ReadError> {
    let text = std::str::from_utf8(&file.bytes).map_err(|error| {
        let head = &file.bytes[..error.valid_up_to()];
        file.refuse(line_of(head), "invalid UTF-8".into())
    })?;
    let scenario: Scenario = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        file.refuse(line_of(&text.as_bytes()[..at]), error.message().to_string())
    })?;
    if scenario.cluster.voters == 0 {
        return Err(file.refuse(1, "a cluster of no voters".into()));
    }
    Ok(scenario)
}

fn line_of(head: &[u8]) -> usize {
    head.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn read_history(file: &File) -> Result<History, ReadError> {
    history::read(file.bytes.as_slice()).map_err(|error| match error {
        history::ReadError::Io(error) => ReadError::File {
            path: file.path.clone(),
            reason: one_line(&error.to_string()),
        },
        history::ReadError::Line {
            line,
            field,
            reason,
        } => {
            let field = field.map(|field| format!("field `{field}`: "));
            let reason = format!("{}{reason}", field.unwrap_or_default());
            file.refuse(usize::try_from(line).unwrap_or(usize::MAX), reason)
        }
    })
}

fn read_events(file: &File, servers: u32) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    for (number, text) in file.lines() {
        let refuse = |reason: String| file.refuse(number, reason);
        let text = text?;
        events.push(event_of(text, servers).map_err(refuse)?);
    }
    events.sort_by_key(|event| event.time);
    Ok(events)
}

fn read_beats(file: &File, servers: u32) -> Result<Vec<Beat>, ReadError> {
    let mut beats = Vec::new();
    for (number, text) in file.lines() {
        match beat_of(text?, servers) {
            Ok(beat) => beats.extend(beat),
            Err(reason) => return Err(file.refuse(number, reason)),
        }
    }
    beats.sort_by_key(|beat: &Beat| beat.time);
    Ok(beats)
}

/// The error without its "at line 1 column n", which would be misread as the file's line.
pub(crate) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_string()
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Directory;

    #[test]
    fn whole_directory_is_read() {
        let dir = Directory::new("read-whole");
        let run = read(dir.path()).unwrap();
        assert_eq!(run.scenario.cluster.servers(), 3);
        assert_eq!(run.outcome.verdict, Verdict::Invalid);
        assert_eq!(run.history.records.len(), 8);
        assert_eq!(
            run.beats.last().map(|beat| beat.turn),
            Some(crate::reported::Turn::Start(2))
        );
    }

    #[test]
    fn damaged_file_is_one_line_that_names_file_and_line() {
        let cases: [(&str, Option<&str>, &str); 11] = [
            ("version", None, "version: "),
            ("version", Some("2\n"), "line 1: version \"2\""),
            ("scenario.toml", Some("seed = 5\n[cluster"), "line 2: "),
            (
                "scenario.toml",
                Some("[cluster]\nvoters = \"x\""),
                "line 2: ",
            ),
            ("outcome.json", Some("{\"seed\":5,"), "line 1: "),
            ("history.jsonl", Some(""), "line 1: "),
            ("history.jsonl", None, "history.jsonl: "),
            ("events.jsonl", Some("{\"time\":5\n"), "line 1: "),
            (
                "events.jsonl",
                Some("{\"time\":5,\"server\":9,\"process\":1,\"event\":\"x\"}\n"),
                "line 1: server 9 is not one of 3",
            ),
            (
                "trace.log",
                Some("1.000000 s1 start 1\n1.0"),
                "line 2: cut off",
            ),
            ("trace.log", Some("soon s1 start 1\n"), "line 1: no time"),
        ];
        for (name, bytes, expected) in cases {
            let dir = Directory::new("read-damaged");
            match bytes {
                Some(bytes) => dir.put(name, bytes),
                None => dir.remove(name),
            }
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(expected) && !error.contains('\n'),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn cut_of_any_file_anywhere_is_survived() {
        for name in [
            "scenario.toml",
            "outcome.json",
            "history.jsonl",
            "events.jsonl",
            "trace.log",
        ] {
            let dir = Directory::new("read-cut");
            let whole = fs::read(dir.path().join(name)).unwrap();
            // A prime step meets the lines everywhere.
            for end in (0..whole.len()).step_by(7) {
                fs::write(dir.path().join(name), &whole[..end]).unwrap();
                // A cut between two lines may pass; one that does not must say where.
                if let Err(error) = read(dir.path()) {
                    assert!(error.to_string().contains(name), "{error}");
                }
            }
        }
    }
}
