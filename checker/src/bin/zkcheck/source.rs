//! Where bytes come from: a file, or standard input; and the bar while they come.
//!
//! What always holds: nothing is drawn unless standard error is a terminal and the input is
//! large or its size unknown.

use crate::fetch::Fetched;
use gamekeeper_checker::history::{Batch, Header, History, ReadError, Reader};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files smaller than this are read without a bar, bytes.
const BAR_BYTES_MIN: u64 = 16 << 20;
/// Histories shorter than this are judged without a sign of life, records.
const BAR_RECORDS_MIN: usize = 200_000;
/// How long to wait before looking whether a file has grown.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Entries read at a time.
const ENTRIES_AT_ONCE: usize = 1 << 12;
/// Bytes read at a time; blocks of the binary form are longer, and so are not copied twice.
const BUFFER_BYTES: usize = 1 << 18;
/// Files smaller than this are not fetched ahead, bytes.
const FETCHED_BYTES_MIN: u64 = 16 << 20;

/// Bytes on their way to a reader.
pub type Input = BufReader<Box<dyn Read + Send>>;

/// Opens a history, ours in either form; `-` is standard input.
///
/// # Errors
/// One line that names the file.
pub fn open(file: &Path) -> Result<Reader<Input>, String> {
    open_for(file, None)
}

/// As [`open`], for a file that still grows: it has ended when nothing came for so long.
///
/// # Errors
/// One line that names the file.
pub fn open_growing(file: &Path, idle: Duration) -> Result<Reader<Input>, String> {
    open_for(file, Some(idle))
}

fn open_for(file: &Path, idle: Option<Duration>) -> Result<Reader<Input>, String> {
    let named = |reason: String| format!("{}: {reason}", file.display());
    let bar = bar_of(file);
    let bytes: Box<dyn Read + Send> = match (file.as_os_str() == "-", idle) {
        (true, _) => Box::new(bar.wrap_read(io::stdin())),
        (false, idle) => {
            let opened = File::open(file).map_err(|error| named(error.to_string()))?;
            let metadata = opened.metadata();
            if metadata.as_ref().is_ok_and(|metadata| metadata.is_dir()) {
                return Err(named(format!(
                    "is a directory; name the history in it, {}",
                    file.join("history.jsonl").display()
                )));
            }
            let large = metadata.is_ok_and(|metadata| metadata.len() >= FETCHED_BYTES_MIN);
            match idle {
                Some(idle) => Box::new(Tail { opened, idle }),
                None if large => Box::new(Fetched::of(bar.wrap_read(opened))),
                None => Box::new(bar.wrap_read(opened)),
            }
        }
    };
    let input = BufReader::with_capacity(BUFFER_BYTES, bytes);
    Reader::new(input).map_err(|error| named(error.to_string()))
}

/// A file that somebody still writes.
struct Tail {
    opened: File,
    idle: Duration,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            let bytes = self.opened.read(buffer)?;
            if bytes > 0 || began.elapsed() >= self.idle {
                return Ok(bytes);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Reads on into memory until there are so many records; true at the end of the history.
///
/// # Errors
/// One line that names the file, and the line and field if one is to blame.
pub fn read_rest(
    file: &Path,
    reader: &mut Reader<Input>,
    batch: &mut Batch,
    records_max: usize,
) -> Result<bool, String> {
    while batch.records.len() < records_max {
        let more = reader.batch(batch, ENTRIES_AT_ONCE);
        if !more.map_err(|error| named(file, &error))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads a whole history; `-` is standard input.
///
/// # Errors
/// As [`read_rest`].
pub fn read(file: &Path) -> Result<History, String> {
    read_all(file, open(file)?)
}

/// As [`read`], of a file that is open.
///
/// # Errors
/// As [`read_rest`].
pub fn read_all(file: &Path, mut reader: Reader<Input>) -> Result<History, String> {
    let mut batch = Batch::default();
    read_rest(file, &mut reader, &mut batch, usize::MAX)?;
    Ok(whole(reader.header().clone(), batch))
}

/// Bytes that more than one reader goes through.
struct Kept(Arc<Vec<u8>>);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Opens a history whose bytes were kept.
///
/// # Errors
/// One line that names the file.
pub fn of_bytes(file: &Path, bytes: Arc<Vec<u8>>) -> Result<Reader<Input>, String> {
    let bytes: Box<dyn Read + Send> = Box::new(Cursor::new(Kept(bytes)));
    let reader = Reader::new(BufReader::with_capacity(BUFFER_BYTES, bytes));
    reader.map_err(|error| named(file, &error))
}

/// A history out of its parts.
pub fn whole(header: Header, batch: Batch) -> History {
    History {
        header,
        records: batch.records,
        txns: batch.txns,
    }
}

/// A complaint that names the file.
pub fn named(file: &Path, error: &ReadError) -> String {
    format!("{}: {error}", file.display())
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

/// A sign of life while a file is followed.
pub fn following(file: &Path) -> ProgressBar {
    spinner("{spinner} {prefix}: {msg}").with_prefix(file.display().to_string())
}

/// The bar for reading a file. indicatif draws nothing if standard error is no terminal.
fn bar_of(file: &Path) -> ProgressBar {
    if file.as_os_str() == "-" {
        return spinner("{spinner} read {bytes} ({binary_bytes_per_sec})");
    }
    match std::fs::metadata(file).map(|metadata| metadata.len()) {
        Ok(length) if length >= BAR_BYTES_MIN => ProgressBar::new(length)
            .with_finish(ProgressFinish::AndClear)
            .with_style(style(
                "reading {wide_bar} {bytes}/{total_bytes} ({binary_bytes_per_sec}, {eta} left)",
            )),
        Ok(_) | Err(_) => ProgressBar::hidden(),
    }
}

fn spinner(template: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner()
        .with_finish(ProgressFinish::AndClear)
        .with_style(style(template));
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants")
}
