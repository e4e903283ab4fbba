//! A history file that grows while it is recorded.
//!
//! Whole lines only, the header first. The one thing that may change later is the header's
//! world, from closed to open, when something happened that the history does not hold: its
//! line keeps room for that. A file that cannot be written any more is told once; what is
//! recorded afterwards is lost, and the recording counts as failed.

use crate::trouble::Trouble;
use gamekeeper_checker::history::{Header, Record, World, Writer};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 64 << 10;

/// The file, shared between the book and the format's writer.
#[derive(Clone, Debug)]
struct Sheet(Arc<Mutex<BufWriter<File>>>);

impl Sheet {
    fn lock(&self) -> MutexGuard<'_, BufWriter<File>> {
        // Nothing in here panics between two writes of a line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// See the module's head.
pub struct Book {
    path: PathBuf,
    header: Header,
    /// Bytes of the header line without its end.
    header_bytes: usize,
    sheet: Sheet,
    writer: Writer<Sheet>,
    records: u64,
    failed: Option<Trouble>,
}

impl Book {
    /// Begins a file (replacing an old one) with this header.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn create(path: &Path, header: Header) -> Result<Book, Trouble> {
        let cannot = |error: io::Error| Trouble::new(format!("{}: {error}", path.display()));
        let file = File::create(path).map_err(cannot)?;
        let header_bytes = header_line(&header).map_err(cannot)?.len();
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut sheet = Sheet(Arc::new(Mutex::new(file)));
        let writer = Writer::new(sheet.clone(), &header).map_err(cannot)?;
        sheet.flush().map_err(cannot)?;
        Ok(Book {
            path: path.to_owned(),
            header,
            header_bytes,
            sheet,
            writer,
            records: 0,
            failed: None,
        })
    }

    /// What holds for the history so far.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record) {
        if self.failed.is_none() {
            self.records += 1;
            let written = self.writer.record(record);
            self.note(written);
        }
    }

    /// From now on others may have written, too.
    pub fn open_world(&mut self) {
        if self.header.world == World::Open {
            return;
        }
        self.header.world = World::Open;
        let amended = self.amend();
        self.note(amended);
    }

    fn amend(&mut self) -> io::Result<()> {
        let mut line = header_line(&self.header)?;
        assert!(
            line.len() <= self.header_bytes,
            "open is shorter than closed"
        );
        line.resize(self.header_bytes, b' ');
        let mut sheet = self.sheet.lock();
        sheet.flush()?;
        let file = sheet.get_mut();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&line)?;
        file.seek(SeekFrom::End(0)).map(|_| ())
    }

    /// Hands everything over to the file.
    pub fn flush(&mut self) {
        let flushed = self.sheet.flush();
        self.note(flushed);
    }

    /// Ends the file; how many records it has.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub fn finish(mut self) -> Result<u64, Trouble> {
        self.flush();
        match self.failed.take() {
            Some(trouble) => Err(trouble),
            None => Ok(self.records),
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && self.failed.is_none()
        {
            let trouble = Trouble::new(format!("{}: {error}", self.path.display()));
            eprintln!("zkcli: {trouble}; nothing more is recorded");
            self.failed = Some(trouble);
        }
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("path", &self.path)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// The header's line without its end.
fn header_line(header: &Header) -> io::Result<Vec<u8>> {
    let mut line = Writer::new(Vec::new(), header)?.into_inner();
    assert_eq!(line.pop(), Some(b'\n'), "a header is one line");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_checker::history::{self, Body};
    use std::io::BufReader;

    fn final_mark() -> Record {
        Record {
            process: 0,
            time: 7,
            server: None,
            body: Body::Final,
        }
    }

    #[test]
    fn a_world_that_opens_late_is_open_from_the_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut book = Book::create(&path, Header::default()).unwrap();
        book.push(&final_mark());
        book.open_world();
        book.open_world();
        book.push(&final_mark());
        assert_eq!(book.finish(), Ok(2));
        let history = history::read(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(history.header.world, World::Open);
        assert_eq!(history.records, [final_mark(), final_mark()]);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let trouble = Book::create(Path::new("/nowhere/x.jsonl"), Header::default()).unwrap_err();
        assert!(
            trouble.to_string().starts_with("/nowhere/x.jsonl: "),
            "{trouble}"
        );
    }
}
