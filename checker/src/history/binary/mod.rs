//! The binary twin of the JSON-lines form: the same records, read several times faster.
//!
//! A header, then blocks of records, then an end. Each block has a checksum that covers
//! its number too, and introduces its own texts, so that a reader holds one block at a
//! time, and a file that was cut, damaged or put together wrongly is refused in one line
//! that names the block. Nothing is allocated before its length is known to be sane.
//!
//! | room | holds |
//! |---|---|
//! | `encode` | records to bytes |
//! | `decode` | bytes to records |
//! | `place` | where a record is put together |
//!
//! Answers to: `docs/FORMATS.md`, "Checker histories, binary"; `consistency.md` section 4.

mod decode;
mod encode;
mod place;

use super::reader::{Batch, Interner, ReadError};
use super::{Header, History, Piece, Record, Txn, json};
use decode::{Block, u32_at};
use encode::Payload;
use std::io::{self, BufRead, Read, Write};

/// What a binary history begins with.
pub const MAGIC: [u8; 8] = *b"\0GKHST1\0";

/// The version of the layout.
const VERSION: u32 = 1;

/// A block is written when it holds so many bytes.
const BLOCK_BYTES: usize = 512 << 10;

/// Largest block and largest header that are read or written, bytes: one record may be as long as
/// the longest line of JSON.
const BLOCK_BYTES_MAX: usize = 32 << 20;

/// Stands for nothing where a length or the number of a text is expected.
const NULL: u32 = u32::MAX;

/// Largest code of an operation.
const CODE_MAX: u8 = 15;

/// What an entry of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    /// A text that entries after it name by number.
    Text = 0,
    Invoke = 1,
    Ok = 2,
    Fail = 3,
    Info = 4,
    Notify = 5,
    Session = 6,
    Ping = 7,
    Final = 8,
    Txn = 9,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Tag::Text,
            1 => Tag::Invoke,
            2 => Tag::Ok,
            3 => Tag::Fail,
            4 => Tag::Info,
            5 => Tag::Notify,
            6 => Tag::Session,
            7 => Tag::Ping,
            8 => Tag::Final,
            9 => Tag::Txn,
            _ => return None,
        })
    }
}

/// Writes a history block by block, as it is observed. One that is dropped without
/// [`BinaryWriter::finish`] leaves a file that reads as cut off.
pub struct BinaryWriter<W: Write> {
    output: W,
    payload: Payload,
    blocks: u64,
}

impl<W: Write> BinaryWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(mut output: W, header: &Header) -> io::Result<Self> {
        let text = json::header_text(header)?;
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend(checked_length(text.len())?.to_le_bytes());
        head.extend(text.as_bytes());
        let sum = crc32fast::hash(&head);
        output.write_all(&head)?;
        output.write_all(&sum.to_le_bytes())?;
        Ok(BinaryWriter {
            output,
            payload: Payload::default(),
            blocks: 0,
        })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// When writing fails, or a record is too large to be read again.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.payload.record(record);
        self.flush_if_full()
    }

    /// Writes one transaction of the servers' log; anywhere among the records.
    ///
    /// # Errors
    /// When writing fails.
    pub fn txn(&mut self, txn: &Txn) -> io::Result<()> {
        self.payload.txn(txn);
        self.flush_if_full()
    }

    /// Writes what is left, and the end. Returns the output, for flushing.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        if self.payload.count > 0 {
            self.block()?;
        }
        // A block of nothing is the end.
        self.block()?;
        Ok(self.output)
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        match self.payload.bytes.len() >= BLOCK_BYTES {
            true => self.block(),
            false => Ok(()),
        }
    }

    fn block(&mut self) -> io::Result<()> {
        let length = checked_length(self.payload.bytes.len())?;
        let count = self.payload.count;
        let sum = checksum(self.blocks, count, &self.payload.bytes);
        for number in [length, count, sum] {
            self.output.write_all(&number.to_le_bytes())?;
        }
        self.output.write_all(&self.payload.bytes)?;
        self.blocks += 1;
        self.payload.clear();
        Ok(())
    }
}

/// Writes a whole history.
///
/// # Errors
/// When writing fails, or a record is too large to be read again.
pub fn write_binary(output: impl Write, history: &History) -> io::Result<()> {
    let mut writer = BinaryWriter::new(output, &history.header)?;
    history.interleaved().try_for_each(|line| match line {
        Piece::Record(record) => writer.record(record),
        Piece::Txn(txn) => writer.txn(txn),
    })?;
    writer.finish()?.flush()
}

fn checked_length(length: usize) -> io::Result<u32> {
    match length <= BLOCK_BYTES_MAX {
        true => Ok(length as u32),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a record of {length} bytes is too large for the binary form"),
        )),
    }
}

fn checksum(number: u64, count: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Reads a binary history, one block in memory at a time.
pub struct Blocks<B> {
    input: B,
    number: u64,
    block: Block,
    ended: bool,
    interner: Interner,
}

impl<B: BufRead> Blocks<B> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is not one.
    pub fn open(mut input: B) -> Result<(Self, Header), ReadError> {
        let mut head = vec![0; 16];
        fill(&mut input, &mut head, "the header")?;
        if head[..8] != MAGIC {
            return Err(refuse("the header", "has not the magic of a history"));
        }
        let [version, length] = [8, 12].map(|at| u32_at(&head, at));
        if version != VERSION {
            let reason = format!("has version {version}, only {VERSION} is known");
            return Err(refuse("the header", &reason));
        }
        read_exactly(&mut input, length, &mut head, "the header")?;
        let mut sum = [0; 4];
        fill(&mut input, &mut sum, "the header")?;
        if crc32fast::hash(&head) != u32::from_le_bytes(sum) {
            return Err(refuse("the header", "is damaged: its checksum differs"));
        }
        let text =
            std::str::from_utf8(&head[16..]).map_err(|_| refuse("the header", "is not UTF-8"))?;
        let header = json::header_from(text).map_err(|reason| refuse("the header", &reason))?;
        let blocks = Blocks {
            input,
            number: 0,
            block: Block::default(),
            ended: false,
            interner: Interner::default(),
        };
        Ok((blocks, header))
    }

    /// Appends the next records and transactions to a batch, at most so many; false if there
    /// are no more.
    ///
    /// # Errors
    /// The block that is cut or damaged.
    pub fn batch(&mut self, batch: &mut Batch, entries_max: usize) -> Result<bool, ReadError> {
        let mut room = u32::try_from(entries_max).unwrap_or(u32::MAX);
        while room > 0 {
            while self.block.left == 0 {
                if self.ended || !self.next_block()? {
                    return Ok(false);
                }
            }
            let count = room.min(self.block.left);
            let read = self.block.entries(count, &mut self.interner, batch);
            read.map_err(|reason| refuse(&name_of(self.number - 1), reason))?;
            room -= count;
        }
        Ok(true)
    }

    /// Reads a block; false if it is the end. What follows the end is not looked at: nothing
    /// may ever come of a file that is followed.
    fn next_block(&mut self) -> Result<bool, ReadError> {
        let name = name_of(self.number);
        let mut head = [0; 12];
        fill(&mut self.input, &mut head, &name)?;
        let [length, count, sum] = [0, 4, 8].map(|at| u32_at(&head, at));
        let mut bytes = self.block.end();
        refill(&mut self.input, length, &mut bytes, &name)?;
        if checksum(self.number, count, &bytes) != sum {
            return Err(refuse(&name, "is damaged: its checksum differs"));
        }
        self.number += 1;
        self.ended = count == 0;
        if self.ended && !bytes.is_empty() {
            return Err(refuse(&name, "holds more than it counts"));
        }
        self.block.begin(bytes, count);
        Ok(!self.ended)
    }
}

fn name_of(number: u64) -> String {
    format!("block {}", number + 1)
}

/// A reason in one line; [`ReadError`] has no place of its own for blocks.
fn refuse(place: &str, reason: &str) -> ReadError {
    let text = format!("binary history: {place} {reason}");
    ReadError::Io(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn fill(input: &mut impl Read, bytes: &mut [u8], place: &str) -> Result<(), ReadError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refuse(place, "is cut off"),
        _ => ReadError::Io(error),
    })
}

/// Writes `length` bytes over those that are there, and appends what is left of them.
fn refill(
    input: &mut impl BufRead,
    length: u32,
    bytes: &mut Vec<u8>,
    place: &str,
) -> Result<(), ReadError> {
    check_length(length, place)?;
    bytes.truncate(length as usize);
    fill(input, bytes, place)?;
    read_exactly(input, length - bytes.len() as u32, bytes, place)
}

/// Appends `length` bytes; the memory grows with what really comes.
fn read_exactly(
    input: &mut impl BufRead,
    length: u32,
    bytes: &mut Vec<u8>,
    place: &str,
) -> Result<(), ReadError> {
    check_length(length, place)?;
    let read = input.take(length.into()).read_to_end(bytes)?;
    match read == length as usize {
        true => Ok(()),
        false => Err(refuse(place, "is cut off")),
    }
}

fn check_length(length: u32, place: &str) -> Result<(), ReadError> {
    match length as usize <= BLOCK_BYTES_MAX {
        true => Ok(()),
        false => Err(refuse(place, "claims to be longer than any can be")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_counts_more_than_it_holds_makes_no_room_for_it() {
        let mut bytes = BinaryWriter::new(Vec::new(), &Header::default())
            .unwrap()
            .output;
        let last = [&[Tag::Final as u8][..], &[0; 13]].concat();
        let payload = [&last[..], &last[..5]].concat();
        let (length, count) = (payload.len() as u32, u32::MAX);
        for number in [length, count, checksum(0, count, &payload)] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(payload);
        let (mut blocks, _) = Blocks::open(&bytes[..]).unwrap();
        let mut batch = Batch::default();
        let error = blocks.batch(&mut batch, usize::MAX).unwrap_err();
        assert!(
            error.to_string().ends_with("in the middle of a record"),
            "{error}"
        );
        assert_eq!(batch.records.len(), 1);
        assert!(batch.records.capacity() < 100);
    }
}
