//! One file, read in pieces, around what the device will not give back.
//!
//! A piece that fails is read again sector by sector, so that one bad sector does not
//! hide the good records beside it. What stays unreadable is filled with zeroes, which no
//! checksum accepts, and remembered: unreadable is not the same as never written.

use crate::base::disk::{DiskError, DiskOp, DiskValue};
use bytes::{Bytes, BytesMut};

/// What a device fails at once, bytes.
const SECTOR_BYTES: u64 = 512;

/// Reads one file from its begin.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    file: String,
    piece: u64,
    len: u64,
    careful_upto: u64,
    unreadable_end: u64,
    bytes: BytesMut,
}

impl Reader {
    /// Will read up to `len` bytes, `piece` at a time.
    pub fn new(file: String, len: u64, piece: u64) -> Reader {
        Reader {
            file,
            piece: piece.max(1),
            len,
            careful_upto: 0,
            unreadable_end: 0,
            bytes: BytesMut::new(),
        }
    }

    /// The next read; `None` when all is read.
    pub fn op(&self) -> Option<DiskOp> {
        let offset = self.bytes.len() as u64;
        let len = self.wanted();
        (len > 0).then(|| DiskOp::Read {
            file: self.file.clone(),
            offset,
            len,
        })
    }

    /// Takes the answer to the last read.
    pub fn take(&mut self, result: Result<DiskValue, DiskError>) {
        let at = self.bytes.len() as u64;
        let wanted = self.wanted();
        match result {
            Ok(DiskValue::Bytes(data)) => {
                let data = &data[..data.len().min(wanted as usize)];
                if data.is_empty() {
                    self.len = at;
                }
                self.bytes.extend_from_slice(data);
            }
            Err(DiskError::NotFound) => self.len = at,
            // Any other answer is no answer.
            Ok(DiskValue::Done | DiskValue::Listing(_))
            | Err(DiskError::Io | DiskError::NoSpace | DiskError::Exists) => {
                if wanted > SECTOR_BYTES && at >= self.careful_upto {
                    self.careful_upto = at + wanted;
                } else {
                    self.bytes.resize((at + wanted) as usize, 0);
                    self.unreadable_end = at + wanted;
                }
            }
        }
    }

    /// The bytes read, and the end of the last unreadable ones, 0 when there are none.
    pub fn finish(self) -> (Bytes, u64) {
        (self.bytes.freeze(), self.unreadable_end)
    }

    fn wanted(&self) -> u64 {
        let at = self.bytes.len() as u64;
        let piece = if at < self.careful_upto {
            SECTOR_BYTES - at % SECTOR_BYTES
        } else {
            self.piece
        };
        piece.min(self.len - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(file: &[u8], bad: std::ops::Range<u64>, piece: u64) -> (Bytes, u64) {
        let mut reader = Reader::new("f".into(), file.len() as u64, piece);
        while let Some(DiskOp::Read { offset, len, .. }) = reader.op() {
            let (from, to) = (offset as usize, (offset + len) as usize);
            let hit = bad.start < offset + len && offset < bad.end;
            reader.take(if hit {
                Err(DiskError::Io)
            } else {
                Ok(DiskValue::Bytes(Bytes::copy_from_slice(&file[from..to])))
            });
        }
        reader.finish()
    }

    #[test]
    fn a_bad_sector_hides_only_itself() {
        let file: Vec<u8> = (0..5000u32).map(|n| n as u8 | 1).collect();
        for piece in [100, 512, 700, 4096, 1 << 20] {
            let (bytes, unreadable_end) = read_all(&file, 1024..1536, piece);
            assert_eq!(bytes.len(), file.len());
            let lost: Vec<usize> = (0..file.len()).filter(|i| bytes[*i] != file[*i]).collect();
            assert!(
                lost.iter().all(|i| (512..2048).contains(i)),
                "piece {piece}"
            );
            assert!((1536..2048).contains(&unreadable_end));
        }
    }

    #[test]
    fn a_file_shorter_than_listed_ends_where_it_ends() {
        let mut reader = Reader::new("f".into(), 100, 64);
        reader.take(Ok(DiskValue::Bytes(Bytes::from_static(b"abc"))));
        reader.take(Ok(DiskValue::Bytes(Bytes::new())));
        assert_eq!(reader.op(), None);
        assert_eq!(reader.finish(), (Bytes::from_static(b"abc"), 0));
    }
}
