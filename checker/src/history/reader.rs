//! A history entry by entry, in whichever of our two forms it comes.
//!
//! The first byte tells them apart: a binary history begins with a zero, which JSON never
//! does. What always holds: at most one line or block is in memory, and whatever is not of the format
//! is refused in one line.
//!
//! Answers to: `docs/FORMATS.md`.

use super::binary::{Blocks, MAGIC};
use super::json::Lines;
use super::{Header, History, Record, Txn};
use rustc_hash::FxHashSet;
use std::io::{self, BufRead};
use std::sync::Arc;

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes could not be had at all, or those of a binary history are not of the format.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is not what the format says.
    #[error("line {line}{}: {reason}", field.as_ref().map(|f| format!(", field `{f}`")).unwrap_or_default())]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// The field, where one is to blame.
        field: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a line, or an entry of a block, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Something a client saw.
    Record(Record),
    /// A transaction of the servers' log.
    Txn(Txn),
}

/// Some entries of a history, to be used again for the next ones.
#[derive(Debug, Default)]
pub struct Batch {
    /// What clients saw, in order.
    pub records: Vec<Record>,
    /// What the servers' log says, in order.
    pub txns: Vec<Txn>,
}

impl Batch {
    /// Forgets the entries, keeps the room.
    pub fn clear(&mut self) {
        self.records.clear();
        self.txns.clear();
    }
}

/// What some editors begin a text with; it says nothing.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Most texts that are shared; a history that names more shares the first of them.
const TEXTS_MAX: usize = 1 << 16;

/// Shares equal texts.
#[derive(Default)]
pub struct Interner(FxHashSet<Arc<str>>);

impl Interner {
    /// The text, shared with earlier ones that are equal.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let fresh: Arc<str> = text.into();
        if self.0.len() < TEXTS_MAX {
            self.0.insert(fresh.clone());
        }
        fresh
    }
}

/// Reads a history piece by piece, so that one larger than memory can be looked through.
pub struct Reader<B> {
    header: Header,
    source: Source<B>,
    /// For whoever reads a single entry.
    single: Batch,
}

enum Source<B> {
    Lines(Lines<B>),
    Blocks(Box<Blocks<B>>),
}

impl<B: BufRead> Reader<B> {
    /// Reads the header.
    ///
    /// # Errors
    /// There is none, or it is not of the format.
    pub fn new(mut input: B) -> Result<Self, ReadError> {
        if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        let binary = input.fill_buf()?.first() == MAGIC.first();
        let (source, header) = match binary {
            true => {
                let (blocks, header) = Blocks::open(input)?;
                (Source::Blocks(Box::new(blocks)), header)
            }
            false => {
                let (lines, header) = Lines::open(input)?;
                (Source::Lines(lines), header)
            }
        };
        Ok(Reader {
            header,
            source,
            single: Batch::default(),
        })
    }

    /// What holds for the history as a whole.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// True if it comes in the binary form, which is read much faster than lines.
    pub fn is_binary(&self) -> bool {
        matches!(self.source, Source::Blocks(_))
    }

    /// Number of the line that the last entry stood on, from 1, if it comes in lines.
    pub fn line(&self) -> Option<u64> {
        match &self.source {
            Source::Lines(lines) => Some(lines.number()),
            Source::Blocks(_) => None,
        }
    }

    /// The next entry; None at the end.
    ///
    /// # Errors
    /// The place that is not of the format, or that reading failed.
    pub fn entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut single = std::mem::take(&mut self.single);
        let read = self.batch(&mut single, 1);
        let record = single.records.pop().map(Entry::Record);
        let entry = record.or_else(|| single.txns.pop().map(Entry::Txn));
        self.single = single;
        read.map(|_| entry)
    }

    /// Appends the next entries to a batch, at most so many; false if there are no more. Many
    /// at once are read faster than one after another.
    ///
    /// # Errors
    /// As [`Reader::entry`]; what came before the bad place is in the batch.
    pub fn batch(&mut self, batch: &mut Batch, entries_max: usize) -> Result<bool, ReadError> {
        match &mut self.source {
            Source::Lines(lines) => lines.batch(batch, entries_max),
            Source::Blocks(blocks) => blocks.batch(batch, entries_max),
        }
    }
}

/// Entries that are read at a time where nobody waits for the first of them.
const ENTRIES_AT_ONCE: usize = 1 << 12;

/// Reads a whole history, JSON lines or binary.
///
/// # Errors
/// [`ReadError`] at the first place that is not of the format, or when reading fails.
pub fn read(input: impl BufRead) -> Result<History, ReadError> {
    let mut reader = Reader::new(input)?;
    let mut batch = Batch::default();
    while reader.batch(&mut batch, ENTRIES_AT_ONCE)? {}
    Ok(History {
        header: reader.header,
        records: batch.records,
        txns: batch.txns,
    })
}

/// Reads a history and hands out record after record. What the servers' log says is passed
/// over. Returns the header.
///
/// # Errors
/// As [`read`]; records before the bad place have been handed out by then.
pub fn read_each(input: impl BufRead, mut take: impl FnMut(Record)) -> Result<Header, ReadError> {
    let mut reader = Reader::new(input)?;
    let mut batch = Batch::default();
    loop {
        let read = reader.batch(&mut batch, ENTRIES_AT_ONCE);
        batch.records.drain(..).for_each(&mut take);
        batch.txns.clear();
        if !read? {
            return Ok(reader.header);
        }
    }
}
