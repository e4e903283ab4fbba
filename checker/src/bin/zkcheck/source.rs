//! Our own histories from an [`Inlet`]: their readers, and the bar while bytes come.
//!
//! What always holds: nothing is drawn unless standard error is a terminal and the input is
//! large or its size unknown.

use crate::fetch::Fetched;
use crate::inlet::Inlet;
use gamekeeper_checker::history::{Batch, Entry, Header, History, ReadError, Reader};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::io::{self, BufRead, BufReader, Cursor, Read};
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
pub type Input = Box<dyn BufRead + Send>;

/// Opens a history, ours in either form.
///
/// # Errors
/// One line that names the input.
pub fn open(inlet: &mut Inlet) -> Result<Reader<Input>, String> {
    let bar = bar_of(inlet);
    let large = inlet
        .length()
        .is_some_and(|length| length >= FETCHED_BYTES_MIN);
    let bytes = bytes_of(inlet)?;
    reader_of(
        inlet.name(),
        match large {
            true => Box::new(Fetched::of(bar.wrap_read(bytes))),
            false => buffered(bar.wrap_read(bytes)),
        },
    )
}

/// As [`open`], for a file that still grows: it has ended when nothing came for so long.
///
/// # Errors
/// One line that names the input.
pub fn open_growing(inlet: &mut Inlet, idle: Duration) -> Result<Reader<Input>, String> {
    let opened = bytes_of(inlet)?;
    let bytes = match inlet.length() {
        Some(_) => buffered(Tail { opened, idle }),
        None => buffered(opened),
    };
    reader_of(inlet.name(), bytes)
}

fn bytes_of(inlet: &mut Inlet) -> Result<Box<dyn Read + Send>, String> {
    let bytes = inlet.bytes();
    bytes.map_err(|error| format!("{}: {error}", inlet.name().display()))
}

fn buffered(bytes: impl Read + Send + 'static) -> Input {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, bytes))
}

fn reader_of(file: &Path, input: Input) -> Result<Reader<Input>, String> {
    Reader::new(input).map_err(|error| named(file, &error))
}

/// A file that somebody still writes.
struct Tail {
    opened: Box<dyn Read + Send>,
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
    read_all(file, open(&mut Inlet::open(file)?)?)
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
    reader_of(file, Box::new(Cursor::new(Kept(bytes))))
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

/// Where a record is, by its index: the line, if there are lines and they can be read again.
pub fn place(inlet: &mut Inlet, record: usize) -> String {
    let line = inlet.length().and_then(|_| line_of(inlet, record));
    match line {
        Some(line) => format!("line {line}"),
        None => format!("record {}", record + 1),
    }
}

fn line_of(inlet: &mut Inlet, record: usize) -> Option<u64> {
    let mut reader = open(inlet).ok()?;
    let mut left = record + 1;
    while left > 0 {
        match reader.entry().ok()?? {
            Entry::Record(_) => left -= 1,
            Entry::Txn(_) => {}
        }
    }
    reader.line()
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

/// The bar for reading an input. indicatif draws nothing if standard error is no terminal.
fn bar_of(inlet: &Inlet) -> ProgressBar {
    match inlet.length() {
        None => spinner("{spinner} read {bytes} ({binary_bytes_per_sec})"),
        Some(length) if length >= BAR_BYTES_MIN => ProgressBar::new(length)
            .with_finish(ProgressFinish::AndClear)
            .with_style(style(
                "reading {wide_bar} {bytes}/{total_bytes} ({binary_bytes_per_sec}, {eta} left)",
            )),
        Some(_) => ProgressBar::hidden(),
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
