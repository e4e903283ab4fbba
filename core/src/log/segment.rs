//! A segment's header, and the search for everything good in a segment's bytes.
//!
//! The header says what the segment follows: a place in an earlier segment and the zxid
//! of the record that ends there. That makes every change of course one atomic step. A
//! segment gets its name only after its first bytes are durable, so
//!
//! * rolling: the header follows the end of the segment before;
//! * cutting (TRUNC): it follows an earlier place; whatever lies between is void;
//! * installing a leader's snapshot: it follows nowhere; every older segment is void.
//!
//! The segment with the greatest number is the head, and what it leads back to is the log.
//! A void segment whose deletion a power cut took back is simply not on the way.
//! `sealed` is how far the segment was durable when it got its name (the carried tail of
//! a recovery, see `repair`): a witness like a record's `synced_upto`.

use super::Entry;
use super::names::NUMBER_END;
use super::record::{self, ALIGN, Place, u32_at, u64_at};
use crate::base::ids::Zxid;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a header; the first record's offset.
pub(super) const HEADER_BYTES: u64 = 96;

const MAGIC: u64 = 0x0031_474f_4c4b_4700;
const VERSION: u32 = 1;
const CRC_AT: usize = 64;

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    /// Its number, never reused in a directory.
    pub id: u64,
    /// Counts installed snapshots; snapshots of another generation mean nothing here.
    pub generation: u64,
    /// What it follows; [`Place::NOWHERE`] when `base` is a snapshot's zxid, or zero.
    pub follows: Place,
    /// The zxid before its first record.
    pub base: Zxid,
    /// Durable bytes when it got its name.
    pub sealed: u64,
}

impl SegmentHeader {
    /// The bytes of a new segment: this header, `sealed` filled in, and carried records.
    /// Returns the end offset of each record as well.
    pub fn encode_with(mut self, carried: &[Entry]) -> (SegmentHeader, Bytes, Vec<u64>) {
        let mut records = BytesMut::new();
        let mut ends = Vec::with_capacity(carried.len());
        for entry in carried {
            let place = Place {
                segment: self.id,
                offset: HEADER_BYTES + records.len() as u64,
            };
            record::encode(&mut records, place, 0, entry);
            ends.push(HEADER_BYTES + records.len() as u64);
        }
        self.sealed = HEADER_BYTES + records.len() as u64;
        let mut buf = BytesMut::with_capacity(self.sealed as usize);
        buf.put_u64_le(MAGIC);
        buf.put_u32_le(VERSION);
        buf.put_u32_le(0);
        buf.put_u64_le(self.id);
        buf.put_u64_le(self.generation);
        buf.put_u64_le(self.follows.segment);
        buf.put_u64_le(self.follows.offset);
        buf.put_u64_le(self.base.0);
        buf.put_u64_le(self.sealed);
        let crc = crc32fast::hash(&buf);
        buf.put_u32_le(crc);
        buf.put_bytes(0, HEADER_BYTES as usize - buf.len());
        buf.put_slice(&records);
        (self, buf.freeze(), ends)
    }

    /// Reads the header of segment `id`; `None` when it is bad, or another segment's.
    pub fn decode(bytes: &[u8], id: u64) -> Option<SegmentHeader> {
        let bytes = bytes.get(..HEADER_BYTES as usize)?;
        if u64_at(bytes, 0) != MAGIC
            || u32_at(bytes, 8) != VERSION
            || u32_at(bytes, CRC_AT) != crc32fast::hash(&bytes[..CRC_AT])
        {
            return None;
        }
        let header = SegmentHeader {
            id: u64_at(bytes, 16),
            generation: u64_at(bytes, 24),
            follows: Place {
                segment: u64_at(bytes, 32),
                offset: u64_at(bytes, 40),
            },
            base: Zxid(u64_at(bytes, 48)),
            sealed: u64_at(bytes, 56),
        };
        let sound = header.id == id && header.generation < NUMBER_END;
        sound.then_some(header)
    }
}

/// A good record and where it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// The record.
    pub entry: Entry,
    /// Its first byte.
    pub start: u64,
    /// The byte after its padding.
    pub end: u64,
}

/// Everything good in a segment's bytes, with no opinion on what is missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Scan {
    /// Good records by offset; between two there may be a hole.
    pub found: Vec<Found>,
    /// The greatest `synced_upto` of any good head: this much had been durable.
    pub synced: u64,
    /// The greatest zxid of any good head.
    pub zxid_max: Zxid,
    /// The last byte that the device would not read, and one: the device gave up there.
    pub unreadable_end: u64,
}

impl Scan {
    /// True when a record was appended after the segment got its name, which happens only
    /// once that name is durable.
    pub fn appended(&self) -> bool {
        self.synced > 0
    }
}

/// Looks through segment `id`, from its first record to `limit`.
pub(super) fn scan(bytes: &Bytes, id: u64, limit: u64, unreadable_end: u64) -> Scan {
    let mut scan = Scan {
        unreadable_end: unreadable_end.min(limit),
        ..Scan::default()
    };
    let end = limit.min(bytes.len() as u64);
    let mut at = HEADER_BYTES;
    while at < end {
        let here = bytes.slice(at as usize..end as usize);
        let place = Place {
            segment: id,
            offset: at,
        };
        let Some(head) = record::head(&here, place) else {
            at += ALIGN;
            continue;
        };
        scan.synced = scan.synced.max(head.synced_upto);
        scan.zxid_max = scan.zxid_max.max(head.zxid);
        let next = at + record::span(head.len as usize);
        match record::body(&here, &head) {
            Some(entry) => {
                scan.found.push(Found {
                    entry,
                    start: at,
                    end: next,
                });
                at = next;
            }
            // The length of a good head is to be trusted, but a torn payload may hide the
            // next record's begin only if it was written over; looking closely costs little.
            None => at += ALIGN,
        }
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            id: 5,
            generation: 2,
            follows: Place {
                segment: 4,
                offset: 160,
            },
            base: Zxid(10),
            sealed: 0,
        }
    }

    fn entry(zxid: u64, len: usize) -> Entry {
        Entry {
            zxid: Zxid(zxid),
            payload: Bytes::from(vec![zxid as u8; len]),
        }
    }

    #[test]
    fn header_reads_back_and_every_flipped_bit_is_noticed() {
        let (written, bytes, _) = header().encode_with(&[]);
        assert_eq!(SegmentHeader::decode(&bytes, 5), Some(written));
        assert_eq!(SegmentHeader::decode(&bytes, 6), None);
        assert_eq!(SegmentHeader::decode(&bytes[..95], 5), None);
        for bit in 0..(CRC_AT + 4) * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad, 5), None, "bit {bit}");
        }
    }

    #[test]
    fn scan_finds_good_records_on_both_sides_of_a_bad_one() {
        let carried = [entry(11, 40), entry(12, 40), entry(13, 3)];
        let (_, bytes, ends) = header().encode_with(&carried);
        let mut bad = bytes.to_vec();
        bad[ends[0] as usize + 2] ^= 1;
        let scan = scan(&Bytes::from(bad), 5, u64::MAX, 0);
        let zxids: Vec<u64> = scan.found.iter().map(|f| f.entry.zxid.0).collect();
        assert_eq!(zxids, [11, 13]);
        assert_eq!(scan.zxid_max, Zxid(13));
        assert!(!scan.appended());
    }

    #[test]
    fn a_bad_payload_leaves_its_head_as_a_witness() {
        let mut buf = BytesMut::from(&header().encode_with(&[]).1[..]);
        let place = Place {
            segment: 5,
            offset: HEADER_BYTES,
        };
        record::encode(&mut buf, place, HEADER_BYTES, &entry(11, 8));
        let last = buf.len() - 1;
        buf[last] ^= 1;
        let scan = scan(&buf.freeze(), 5, u64::MAX, 0);
        assert!(scan.found.is_empty());
        assert_eq!((scan.synced, scan.zxid_max), (HEADER_BYTES, Zxid(11)));
    }

    #[test]
    fn any_bytes_can_be_looked_through() {
        for len in [0, 1, 95, 96, 97, 128, 131, 4096] {
            for fill in [0, 0x47, 0xff] {
                let bytes = Bytes::from(vec![fill; len]);
                assert!(scan(&bytes, 5, u64::MAX, 0).found.is_empty());
            }
        }
    }
}
