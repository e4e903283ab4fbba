//! One input as it was named: a file, a pipe, standard input.
//!
//! Its beginning is looked at to tell what it is, and it is read afterwards. What always holds: what
//! can be read only once (standard input, a pipe, `<(zcat soak.jsonl.gz)`) is opened once, and
//! nothing of it is lost between the look and the reading.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

/// Bytes that a format is recognised by.
const BEGINNING_BYTES: usize = 4096;

/// How compressed files begin, what they are called and what unpacks them.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"BZh", "bzip2", "bzcat"),
];

/// An input that is open.
pub struct Inlet {
    name: PathBuf,
    /// The first bytes, at least to the end of the first line unless that is longer.
    beginning: Vec<u8>,
    /// What of it has not been given away.
    kept: Option<Kept>,
    /// Length of what can be read again.
    length: Option<u64>,
}

/// Where the bytes are.
enum Kept {
    /// A file, and all of it is still to come.
    Whole(File),
    /// A stream that the beginning has been taken from.
    Rest(Box<dyn Read + Send>),
}

impl Inlet {
    /// Opens what is called `name` (`-` is standard input) and looks at how it begins.
    ///
    /// # Errors
    /// It cannot be read, or is a folder or compressed: one line that names it, and the cure.
    pub fn open(name: &Path) -> Result<Inlet, String> {
        let named = |reason: String| format!("{}: {reason}", name.display());
        let mut inlet = Inlet {
            name: name.to_owned(),
            beginning: Vec::with_capacity(BEGINNING_BYTES),
            kept: None,
            length: None,
        };
        inlet.begin().map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => named(format!(
                "is a directory; name the history in it, {}",
                name.join("history.jsonl").display()
            )),
            _ => named(error.to_string()),
        })?;
        let compressed = |(magic, ..): &&(&[u8], _, _)| inlet.beginning.starts_with(magic);
        match COMPRESSED.iter().find(compressed) {
            Some((_, kind, unpack)) if inlet.length.is_some() => Err(named(format!(
                "is compressed ({kind}); `{unpack} {} | zkcheck -` judges it",
                name.display()
            ))),
            Some((_, kind, unpack)) => Err(named(format!(
                "is compressed ({kind}); unpack it on its way here (`{unpack}`)"
            ))),
            None => Ok(inlet),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.name.as_os_str() == "-" {
            return self.begin_stream(Box::new(io::stdin()));
        }
        let mut file = File::open(&self.name)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return self.begin_stream(Box::new(file));
        }
        let mut look = file.by_ref().take(BEGINNING_BYTES as u64);
        look.read_to_end(&mut self.beginning)?;
        file.rewind()?;
        (self.kept, self.length) = (Some(Kept::Whole(file)), Some(metadata.len()));
        Ok(())
    }

    /// Looks no further than the first line if more has not come yet: whoever writes may wait.
    fn begin_stream(&mut self, mut stream: Box<dyn Read + Send>) -> io::Result<()> {
        let mut buffer = [0; BEGINNING_BYTES];
        while self.beginning.len() < BEGINNING_BYTES && !self.beginning.contains(&b'\n') {
            let room = BEGINNING_BYTES - self.beginning.len();
            match stream.read(&mut buffer[..room]) {
                Ok(0) => break,
                Ok(bytes) => self.beginning.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.kept = Some(Kept::Rest(stream));
        Ok(())
    }

    /// As it was named.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// How it begins: a few kilobytes at most.
    pub fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// How long it is, if it is a file, which can be read as often as one likes; `None`: once.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// All bytes, from the first on.
    ///
    /// # Errors
    /// A file cannot be opened again. (A stream that was given away is empty.)
    pub fn bytes(&mut self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self.kept.take() {
            Some(Kept::Whole(file)) => Box::new(file),
            Some(Kept::Rest(rest)) => Box::new(Cursor::new(self.beginning.clone()).chain(rest)),
            None if self.length.is_some() => Box::new(File::open(&self.name)?),
            None => Box::new(io::empty()),
        })
    }
}
