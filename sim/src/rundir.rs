//! The run directory: everything needed to live a run again and to judge it again next year.
//!
//! | file | what |
//! |---|---|
//! | `version` | the number of this layout |
//! | `scenario.toml` | the whole scenario, plan included |
//! | `outcome.json` | the outcome, one JSON object |
//! | `history.jsonl` | what clients saw; `zkcheck` reads it |
//! | `events.jsonl` | what servers reported, one JSON object a line |
//! | `trace.log` | the short log, in fixed columns |
//! | `explanation.txt` | of an invalid history only: what convicts, in words |
//! | `reduced.jsonl` | of an invalid history only: a smaller one that fails the same way |
//!
//! What always holds: a directory of another version, or with a missing or broken file, is
//! an error of one line that names the file.

use crate::life::{Life, why};
use crate::outcome::{Outcome, Verdict};
use crate::scenario::Scenario;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The number of the layout.
pub const RUN_DIR_VERSION: u32 = 1;

const VERSION: &str = "version";
const SCENARIO: &str = "scenario.toml";
const OUTCOME: &str = "outcome.json";
const HISTORY: &str = "history.jsonl";
const EVENTS: &str = "events.jsonl";
const TRACE: &str = "trace.log";
const EXPLANATION: &str = "explanation.txt";
const REDUCED: &str = "reduced.jsonl";
/// Most bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// What is wrong with a file whose end is missing.
const CUT: &str = "ends in the middle of a line: it was cut off; record the run again";
/// Written and removed again to see whether a directory takes files.
const CLAIM: &str = ".claim";

/// Why a directory is no run directory, or cannot be written.
#[derive(Debug, Error)]
pub enum RunDirError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file does not say what it should.
    #[error("{path}: {what}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A run directory that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDir {
    /// What was lived.
    pub scenario: Scenario,
    /// What became of it.
    pub outcome: Outcome,
}

impl RunDir {
    /// Reads a directory and judges every file it needs.
    pub fn read(dir: &Path) -> Result<RunDir, RunDirError> {
        let version = text(dir, VERSION)?;
        if version.trim() != RUN_DIR_VERSION.to_string() {
            let shown: String = version.trim().chars().take(20).collect();
            return Err(malformed(
                dir,
                VERSION,
                format!("version {shown:?}, this tool reads {RUN_DIR_VERSION}"),
            ));
        }
        let scenario = Scenario::from_toml(&text(dir, SCENARIO)?)
            .map_err(|e| malformed(dir, SCENARIO, e.to_string()))?;
        let outcome = serde_json::from_str(&text(dir, OUTCOME)?)
            .map_err(|e| malformed(dir, OUTCOME, e.to_string()))?;
        for name in [HISTORY, EVENTS] {
            let text = text(dir, name)?;
            judge_lines(&text).map_err(|what| malformed(dir, name, what))?;
        }
        if !is_whole(&text(dir, TRACE)?) {
            return Err(malformed(dir, TRACE, CUT.into()));
        }
        Ok(RunDir { scenario, outcome })
    }

    /// Makes a directory if it is missing and finds out whether it takes files, so that an
    /// impossible place is told before a life is lived for it.
    pub fn claim(dir: &Path) -> Result<(), RunDirError> {
        let told = |path: &Path, error| RunDirError::File {
            path: path.to_path_buf(),
            error,
        };
        fs::create_dir_all(dir).map_err(|error| told(dir, error))?;
        let path = dir.join(CLAIM);
        fs::write(&path, b"").map_err(|error| told(&path, error))?;
        fs::remove_file(&path).map_err(|error| told(&path, error))
    }

    /// Writes a life into a directory, making it if it is missing.
    ///
    /// An invalid history is explained and reduced. Returns the files that hold that, none if
    /// there is nothing to explain; what an earlier life left of them is removed.
    ///
    /// The version is written last: a directory without one was cut off while being written.
    pub fn write(
        dir: &Path,
        scenario: &Scenario,
        life: &Life,
    ) -> Result<Vec<PathBuf>, RunDirError> {
        fs::create_dir_all(dir).map_err(|error| RunDirError::File {
            path: dir.to_path_buf(),
            error,
        })?;
        let explained = explain(dir, life)?;
        let outcome = format!("{}\n", life.outcome.to_json());
        let version = format!("{RUN_DIR_VERSION}\n");
        for (name, bytes) in [
            (SCENARIO, scenario.to_toml().as_bytes()),
            (OUTCOME, outcome.as_bytes()),
            (HISTORY, &life.history),
            (EVENTS, &life.events),
            (TRACE, life.trace.as_bytes()),
            (VERSION, version.as_bytes()),
        ] {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|error| RunDirError::File { path, error })?;
        }
        Ok(explained)
    }
}

/// Writes why the history of a life is invalid, if it is.
fn explain(dir: &Path, life: &Life) -> Result<Vec<PathBuf>, RunDirError> {
    let why = match life.outcome.verdict {
        Verdict::Invalid { .. } => why(&life.history),
        Verdict::Valid | Verdict::Unknown { .. } | Verdict::Vacuous { .. } => None,
    };
    let (words, reduced) = match why {
        Some(why) => (Some(why.words.into_bytes()), why.reduced),
        None => (None, None),
    };
    let mut written = Vec::new();
    for (name, bytes) in [(EXPLANATION, words), (REDUCED, reduced)] {
        let path = dir.join(name);
        let done = match &bytes {
            Some(bytes) => fs::write(&path, bytes),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
        };
        match done {
            Ok(()) => written.extend(bytes.map(|_| path)),
            Err(error) => return Err(RunDirError::File { path, error }),
        }
    }
    Ok(written)
}

fn text(dir: &Path, name: &str) -> Result<String, RunDirError> {
    let told = |e| {
        malformed(
            dir,
            name,
            format!("{e}; a run directory is what --out writes"),
        )
    };
    let path = dir.join(name);
    let length = fs::metadata(&path).map_err(told)?.len();
    if length > FILE_BYTES_MAX {
        let what = format!("longer than {FILE_BYTES_MAX} bytes: no run leaves so much");
        return Err(malformed(dir, name, what));
    }
    fs::read_to_string(path).map_err(told)
}

/// True for what does not end in the middle of a line.
fn is_whole(text: &str) -> bool {
    text.is_empty() || text.ends_with('\n')
}

/// Says what is wrong with a file of one JSON object a line.
fn judge_lines(text: &str) -> Result<(), String> {
    if !is_whole(text) {
        return Err(CUT.into());
    }
    let ends = [text.lines().next(), text.lines().next_back()];
    for line in ends.into_iter().flatten() {
        let object: Result<serde_json::Map<_, _>, _> = serde_json::from_str(line);
        object.map_err(|e| format!("not one JSON object a line: {e}"))?;
    }
    Ok(())
}

fn malformed(dir: &Path, name: &str, what: String) -> RunDirError {
    RunDirError::Malformed {
        path: dir.join(name),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn fresh(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gamekeeper-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn directory_reads_back_what_was_written() {
        let dir = fresh("rundir-whole");
        let scenario = scenario::draw(5, scenario::INTENSITY_NORMAL);
        let life = Life::new(5);
        RunDir::write(&dir, &scenario, &life).unwrap();
        let read = RunDir::read(&dir).unwrap();
        assert_eq!((read.scenario, read.outcome), (scenario, life.outcome));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn cut_or_foreign_directory_is_one_line_that_names_the_file() {
        let dir = fresh("rundir-cut");
        let scenario = scenario::draw(5, scenario::INTENSITY_NORMAL);
        for (name, bytes) in [
            (VERSION, Some("2")),
            (VERSION, None),
            (SCENARIO, Some("[cluster")),
            (SCENARIO, Some("seed = 5")),
            (OUTCOME, Some("{\"seed\":5,")),
            (HISTORY, None),
        ] {
            RunDir::write(&dir, &scenario, &Life::new(5)).unwrap();
            match bytes {
                Some(bytes) => fs::write(dir.join(name), bytes).unwrap(),
                None => fs::remove_file(dir.join(name)).unwrap(),
            }
            let error = RunDir::read(&dir).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
