//! A history file that grows while it is recorded.
//!
//! Whole lines only, the header first, even where the disk is full. The one thing that may
//! change later is the header's world, from closed to open, when something happened that the
//! history does not hold: its line keeps room for that. Once a file cannot be written any more
//! nothing more is, and the recording counts as failed.

use crate::trouble::Trouble;
use gamekeeper_checker::history::{Header, Record, World, Writer};
use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 64 << 10;

/// Lines on their way to the file.
#[derive(Debug)]
struct Pile {
    file: File,
    /// Not written yet.
    lines: Vec<u8>,
    /// Bytes of the file; it ends with a whole line.
    written: u64,
}

impl Pile {
    /// Writes the lines that wait. If that fails, those that were written whole stay.
    fn hand_over(&mut self) -> io::Result<()> {
        let mut done = 0;
        while done < self.lines.len() {
            match self.file.write(&self.lines[done..]) {
                Ok(0) => return Err(self.cut(done, io::ErrorKind::WriteZero.into())),
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(done, error)),
            }
        }
        self.written += done as u64;
        self.lines.clear();
        Ok(())
    }

    /// Takes back what was written of a line that does not fit.
    fn cut(&mut self, done: usize, error: io::Error) -> io::Error {
        let mut lines = self.lines[..done].iter();
        let whole = lines
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        self.written += whole as u64;
        self.lines.clear();
        // What is no file cannot be cut; the reason why it cannot be written is told anyway.
        let _ = self.file.set_len(self.written);
        error
    }
}

/// The pile, shared between the book and the format's writer.
#[derive(Clone, Debug)]
struct Sheet(Arc<Mutex<Pile>>);

impl Sheet {
    fn lock(&self) -> MutexGuard<'_, Pile> {
        // Nothing in here panics between two writes of a line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Nothing: only the book knows where a line ends.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    /// Whether a file can be written there, before anything is done for its sake. One that is
    /// there already stays as it is, and none is left behind.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub fn try_place(path: &Path) -> Result<(), Trouble> {
        let cannot = |error: io::Error| Trouble::new(format!("{}: {error}", path.display()));
        match File::create_new(path) {
            Ok(_) => std::fs::remove_file(path).map_err(cannot),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let opened = File::options().append(true).open(path);
                opened.map(drop).map_err(cannot)
            }
            Err(error) => Err(cannot(error)),
        }
    }

    /// Begins a file (replacing an old one) with this header.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn create(path: &Path, header: Header) -> Result<Book, Trouble> {
        let cannot = |error: io::Error| Trouble::new(format!("{}: {error}", path.display()));
        let file = File::create(path).map_err(cannot)?;
        let header_bytes = header_line(&header).map_err(cannot)?.len();
        let sheet = Sheet(Arc::new(Mutex::new(Pile {
            file,
            lines: Vec::with_capacity(2 * BUFFER_BYTES),
            written: 0,
        })));
        let writer = Writer::new(sheet.clone(), &header).map_err(cannot)?;
        sheet.lock().hand_over().map_err(cannot)?;
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
            let mut written = self.writer.record(record);
            let mut pile = self.sheet.lock();
            if written.is_ok() && pile.lines.len() >= BUFFER_BYTES {
                written = pile.hand_over();
            }
            drop(pile);
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
        let mut pile = self.sheet.lock();
        pile.hand_over()?;
        let file = &mut pile.file;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&line)?;
        file.seek(SeekFrom::End(0)).map(|_| ())
    }

    /// Hands everything over to the file.
    ///
    /// # Errors
    ///
    /// It cannot be written any more, since now or before.
    pub fn flush(&mut self) -> Result<(), Trouble> {
        if self.failed.is_none() {
            let written = self.sheet.lock().hand_over();
            self.note(written);
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Ends the file; how many records it has.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub fn finish(mut self) -> Result<u64, Trouble> {
        self.flush().map(|()| self.records)
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && self.failed.is_none()
        {
            let line = format!(
                "{}: {error}; what was recorded until then is in it",
                self.path.display()
            );
            self.failed = Some(Trouble::new(line));
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
    fn whether_a_place_will_do_is_found_out_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let [fresh, old] = ["fresh.jsonl", "old.jsonl"].map(|name| folder.path().join(name));
        std::fs::write(&old, "kept").unwrap();
        assert_eq!(Book::try_place(&fresh), Ok(()));
        assert!(!fresh.exists());
        assert_eq!(Book::try_place(&old), Ok(()));
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept");
        for bad in [folder.path().join("none/a.jsonl"), folder.path().into()] {
            let trouble = Book::try_place(&bad).unwrap_err().to_string();
            assert!(trouble.starts_with(&*bad.to_string_lossy()), "{trouble}");
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

    /// A disk that is full takes a part of a line, which nobody could read.
    #[test]
    fn what_is_written_ends_with_a_whole_line_whatever_fits() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthr").unwrap();
        let mut pile = Pile {
            file,
            lines: b"two\nthree\n".to_vec(),
            written: 4,
        };
        let full = pile.cut(7, io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!((pile.written, pile.lines.len()), (8, 0));
        assert_eq!(pile.file.metadata().unwrap().len(), 8);
    }

    #[test]
    fn a_file_that_cannot_be_written_any_more_fails_the_recording_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut book = Book::create(&path, Header::default()).unwrap();
        book.push(&final_mark());
        book.flush().unwrap();
        book.sheet.lock().file = File::create("/dev/full").unwrap();
        book.push(&final_mark());
        let trouble = book.flush().unwrap_err();
        assert!(
            trouble.to_string().contains("history.jsonl: No space"),
            "{trouble}"
        );
        book.push(&final_mark());
        assert_eq!(book.finish(), Err(trouble));
        let history = history::read(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(history.records, [final_mark()]);
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
