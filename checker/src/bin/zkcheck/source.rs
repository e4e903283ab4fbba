//! Where bytes come from: a file, or standard input; and the bar while they come.
//!
//! What always holds: nothing is drawn unless standard error is a terminal and the input is
//! large or its size unknown.

use gamekeeper_checker::history::{self, History};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

/// Files smaller than this are read without a bar, bytes.
const BAR_BYTES_MIN: u64 = 16 << 20;
/// Histories shorter than this are judged without a sign of life, records.
const BAR_RECORDS_MIN: usize = 200_000;
/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Reads a history; `-` is standard input.
///
/// # Errors
/// One line that names the file, and the line and field if one is to blame.
pub fn read(file: &Path) -> Result<History, String> {
    let named = |reason: String| format!("{}: {reason}", file.display());
    let bar = bar_of(file);
    let history = match file.as_os_str() == "-" {
        true => read_all(io::stdin().lock(), &bar),
        false => {
            let opened = File::open(file).map_err(|error| named(error.to_string()))?;
            if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                return Err(named(format!(
                    "is a directory; name the history in it, {}",
                    file.join("history.jsonl").display()
                )));
            }
            read_all(opened, &bar)
        }
    };
    bar.finish_and_clear();
    history.map_err(|error| named(error.to_string()))
}

fn read_all(input: impl Read, bar: &ProgressBar) -> Result<History, history::ReadError> {
    history::read(BufReader::with_capacity(BUFFER_BYTES, bar.wrap_read(input)))
}

/// Does `work` on a history, with a sign of life beside it if it is long.
pub fn waiting<T>(file: &Path, history: &History, work: impl FnOnce() -> T) -> T {
    let bar = match history.records.len() >= BAR_RECORDS_MIN {
        true => spinner("{spinner} {msg} ({elapsed})"),
        false => ProgressBar::hidden(),
    };
    bar.set_message(format!(
        "judging {} records of {}",
        history.records.len(),
        file.display()
    ));
    let done = work();
    bar.finish_and_clear();
    done
}

/// The bar for reading a file. indicatif draws nothing if standard error is no terminal.
fn bar_of(file: &Path) -> ProgressBar {
    if file.as_os_str() == "-" {
        return spinner("{spinner} read {bytes} ({binary_bytes_per_sec})");
    }
    match std::fs::metadata(file).map(|metadata| metadata.len()) {
        Ok(length) if length >= BAR_BYTES_MIN => ProgressBar::new(length).with_style(style(
            "reading {wide_bar} {bytes}/{total_bytes} ({binary_bytes_per_sec}, {eta} left)",
        )),
        Ok(_) | Err(_) => ProgressBar::hidden(),
    }
}

fn spinner(template: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style(template));
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants")
}
