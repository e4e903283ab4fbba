//! One log record: bytes that know where they belong.
//!
//! The checksum of a record's head binds its segment and offset besides its zxid and
//! length, so a record written to the wrong place reads as bad there, as do the old bytes
//! it should have replaced (row D13). `synced_upto` is the offset of the segment that was
//! durable when the record was written: a witness that everything before it had been
//! there (row D3). The head has a checksum of its own, so it can bear witness even when
//! the payload is bad.

use super::Entry;
use crate::base::ids::Zxid;
use crate::base::limits::TXN_BYTES_MAX;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 32;
/// Records begin at multiples of this, so that a search need not look everywhere.
pub(super) const ALIGN: u64 = 8;

const MAGIC: u32 = 0x474b_5231;

/// A place in the log: a segment and an offset in it. Segment 0 is no segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    /// The segment's number.
    pub segment: u64,
    /// Bytes from the segment's begin.
    pub offset: u64,
}

impl Place {
    /// Before every segment: what a log that starts from a snapshot, or from nothing, follows.
    pub const NOWHERE: Place = Place {
        segment: 0,
        offset: 0,
    };
}

/// What a good head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Payload bytes.
    pub len: u32,
    /// The record's zxid.
    pub zxid: Zxid,
    /// Durable offset of the segment when this was written; 0 in a segment's sealed part.
    pub synced_upto: u64,
    body_crc: u32,
}

/// Bytes a record with this payload takes, padding included.
pub(super) fn span(payload: usize) -> u64 {
    ((HEAD_BYTES + payload) as u64).next_multiple_of(ALIGN)
}

/// Appends one record, made for `place`.
pub(super) fn encode(buf: &mut BytesMut, place: Place, synced_upto: u64, entry: &Entry) {
    assert!(
        entry.payload.len() <= TXN_BYTES_MAX,
        "a transaction over its bound"
    );
    assert!(place.offset.is_multiple_of(ALIGN), "a record out of line");
    let begin = buf.len();
    let head = Head {
        len: entry.payload.len() as u32,
        zxid: entry.zxid,
        synced_upto,
        body_crc: crc32fast::hash(&entry.payload),
    };
    let span = span(entry.payload.len()) as usize;
    buf.reserve(span);
    let mut bytes = [0; HEAD_BYTES];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&head.len.to_le_bytes());
    bytes[8..16].copy_from_slice(&head.zxid.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.synced_upto.to_le_bytes());
    bytes[24..28].copy_from_slice(&head.body_crc.to_le_bytes());
    bytes[28..].copy_from_slice(&head_crc(&head, place).to_le_bytes());
    buf.put_slice(&bytes);
    buf.put_slice(&entry.payload);
    let padding = span - (buf.len() - begin);
    buf.put_bytes(0, padding);
}

/// Reads a head found at `place`; `None` when it was not made for that place, or is bad.
pub(super) fn head(bytes: &[u8], place: Place) -> Option<Head> {
    let bytes = bytes.get(..HEAD_BYTES)?;
    if u32_at(bytes, 0) != MAGIC {
        return None;
    }
    let head = Head {
        len: u32_at(bytes, 4),
        zxid: Zxid(u64_at(bytes, 8)),
        synced_upto: u64_at(bytes, 16),
        body_crc: u32_at(bytes, 24),
    };
    let good = head.len as usize <= TXN_BYTES_MAX && u32_at(bytes, 28) == head_crc(&head, place);
    good.then_some(head)
}

/// The record whose good head is at the begin of `bytes`; `None` when the payload is bad.
pub(super) fn body(bytes: &Bytes, head: &Head) -> Option<Entry> {
    let end = HEAD_BYTES + head.len as usize;
    if bytes.len() < end {
        return None;
    }
    let payload = bytes.slice(HEAD_BYTES..end);
    (crc32fast::hash(&payload) == head.body_crc).then_some(Entry {
        zxid: head.zxid,
        payload,
    })
}

fn head_crc(head: &Head, place: Place) -> u32 {
    let mut bytes = [0; 44];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..12].copy_from_slice(&place.segment.to_le_bytes());
    bytes[12..20].copy_from_slice(&place.offset.to_le_bytes());
    bytes[20..24].copy_from_slice(&head.len.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.zxid.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.synced_upto.to_le_bytes());
    bytes[40..].copy_from_slice(&head.body_crc.to_le_bytes());
    crc32fast::hash(&bytes)
}

/// Reads a little-endian number; the caller has checked the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// Reads a little-endian number; the caller has checked the length.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        segment: 3,
        offset: 96,
    };

    fn written(payload: &'static [u8]) -> Bytes {
        let mut buf = BytesMut::new();
        let entry = Entry {
            zxid: Zxid(77),
            payload: Bytes::from_static(payload),
        };
        encode(&mut buf, PLACE, 64, &entry);
        buf.freeze()
    }

    #[test]
    fn a_record_reads_back_in_its_place_only() {
        let bytes = written(b"hello");
        assert_eq!(bytes.len() as u64, span(5));
        let found = head(&bytes, PLACE).expect("a good head");
        assert_eq!((found.zxid, found.synced_upto), (Zxid(77), 64));
        assert_eq!(body(&bytes, &found).expect("a good body").payload, "hello");
        let elsewhere = [
            Place {
                segment: 4,
                ..PLACE
            },
            Place {
                offset: 104,
                ..PLACE
            },
        ];
        assert!(elsewhere.iter().all(|p| head(&bytes, *p).is_none()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = written(b"a payload");
        for bit in 0..(HEAD_BYTES + 9) * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = head(&bad, PLACE).and_then(|h| body(&Bytes::from(bad), &h));
            assert_eq!(read, None, "bit {bit}");
        }
    }

    #[test]
    fn a_head_cut_short_is_no_head() {
        let bytes = written(b"x");
        assert!((0..HEAD_BYTES).all(|n| head(&bytes[..n], PLACE).is_none()));
    }
}
