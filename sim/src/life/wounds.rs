//! Where a disk may be hurt, and whether the wound is still there.
//!
//! A log record may rot only when something else proves that it was there (rows D10, D13):
//! the head of a later record of the same segment whose `synced_upto` lies past its end.
//! Anything less cannot be told from a torn tail and is row D14. The reading of segments
//! here is the harness' own, from `docs/FORMATS.md`, so that a mistake of the log's does not
//! hide in it.

use std::ops::Range;

/// First word of a record's head, little-endian.
const RECORD_MAGIC: [u8; 4] = 0x474b_5231_u32.to_le_bytes();
/// Bytes of a record's head.
const HEAD_BYTES: usize = 32;
/// Records begin at multiples of this.
const ALIGN: usize = 8;
/// Longest payload believed, bytes.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// A record's head as it stands in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    begin: usize,
    end: usize,
    synced_upto: u64,
}

/// The records of a segment's durable bytes, in order.
fn heads(bytes: &[u8]) -> Vec<Head> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEAD_BYTES <= bytes.len() {
        match head(bytes, at) {
            Some(head) => {
                found.push(head);
                at = head.end;
            }
            None => at += ALIGN,
        }
    }
    found
}

fn head(bytes: &[u8], at: usize) -> Option<Head> {
    let head = &bytes[at..at + HEAD_BYTES];
    if head[..4] != RECORD_MAGIC {
        return None;
    }
    let len = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
    let synced_upto = u64::from_le_bytes(head[16..24].try_into().ok()?);
    let end = at.checked_add((HEAD_BYTES + len).next_multiple_of(ALIGN))?;
    (len <= PAYLOAD_BYTES_MAX && end <= bytes.len()).then_some(Head {
        begin: at,
        end,
        synced_upto,
    })
}

/// What of a segment may rot.
#[derive(Clone, Debug)]
pub struct Segment {
    heads: Vec<Head>,
    /// For each record: the furthest that it or any later one vouches for.
    vouched: Vec<u64>,
}

impl Segment {
    /// Reads the durable bytes of a segment.
    pub fn read(bytes: &[u8]) -> Segment {
        let heads = heads(bytes);
        let mut vouched: Vec<u64> = heads.iter().map(|head| head.synced_upto).collect();
        for at in (1..vouched.len()).rev() {
            vouched[at - 1] = vouched[at - 1].max(vouched[at]);
        }
        Segment { heads, vouched }
    }

    /// True when damage to this range leaves every record it touches witnessed by one it
    /// does not touch. Nothing before the first record may rot.
    pub fn may_rot(&self, range: &Range<u64>) -> bool {
        let first = self
            .heads
            .first()
            .map_or(u64::MAX, |head| head.begin as u64);
        let after = self.heads.partition_point(|h| (h.begin as u64) < range.end);
        let Some(last) = after.checked_sub(1).map(|at| &self.heads[at]) else {
            return false;
        };
        let vouched = self.vouched.get(after).copied().unwrap_or(0);
        range.start >= first && vouched >= last.end as u64
    }

    /// The places of all records.
    pub fn places(&self) -> Vec<Range<u64>> {
        let places = self.heads.iter().map(|h| h.begin as u64..h.end as u64);
        places.collect()
    }

    /// The places of records that may rot.
    pub fn witnessed(&self) -> Vec<Range<u64>> {
        let mut places = self.places();
        places.retain(|place| self.may_rot(place));
        places
    }
}

/// Damage done to durable bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wound {
    /// In which file.
    pub file: String,
    /// Where.
    pub range: Range<u64>,
    /// What was there afterwards; `None` when it cannot be read.
    pub left: Option<Vec<u8>>,
}

impl Wound {
    /// True while a file's durable bytes (`None`: no such file) still show it. What cannot be
    /// read counts until its file is gone.
    pub fn shows(&self, durable: Option<&[u8]>) -> bool {
        match (durable, &self.left) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(bytes), Some(left)) => {
                bytes.get(self.range.start as usize..self.range.end as usize) == Some(left)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment: 96 bytes of header, then records of 8 bytes of payload.
    fn segment(synced: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0; 96];
        for upto in synced {
            bytes.extend(RECORD_MAGIC);
            bytes.extend(8u32.to_le_bytes());
            bytes.extend(7u64.to_le_bytes());
            bytes.extend(upto.to_le_bytes());
            bytes.extend([0; 8]);
            bytes.extend([1; 8]);
        }
        bytes
    }

    #[test]
    fn record_is_witnessed_by_a_later_one_that_saw_its_end_durable() {
        // Two batches of two, then one of one: each knows what was durable before its batch.
        let bytes = segment(&[96, 96, 176, 176, 256]);
        let witnessed = Segment::read(&bytes).witnessed();
        assert_eq!(witnessed, [96..136, 136..176, 176..216, 216..256]);
        // Cut in the last record: its witness goes with it.
        let witnessed = Segment::read(&bytes[..bytes.len() - 1]).witnessed();
        assert_eq!(witnessed, [96..136, 136..176]);
    }

    #[test]
    fn last_batch_and_a_lonely_one_have_no_witness() {
        for bytes in [segment(&[96, 96, 96]), segment(&[]), Vec::new()] {
            assert!(Segment::read(&bytes).witnessed().is_empty());
        }
    }

    #[test]
    fn range_that_takes_its_own_witness_along_may_not_rot() {
        let segment = Segment::read(&segment(&[96, 96, 176, 176, 256]));
        assert!(segment.may_rot(&(100..200)));
        assert!(segment.may_rot(&(96..256)));
        assert!(!segment.may_rot(&(96..257)), "the last witness is hit");
        assert!(
            !segment.may_rot(&(0..100)),
            "the segment's own header is hit"
        );
    }

    #[test]
    fn wound_is_healed_when_its_bytes_are_written_again_or_its_file_is_gone() {
        let wound = Wound {
            file: "log.1".into(),
            range: 1..3,
            left: Some(vec![9, 9]),
        };
        assert!(wound.shows(Some(&[0, 9, 9, 0])));
        assert!(!wound.shows(Some(&[0, 9, 8, 0])));
        assert!(!wound.shows(Some(&[0, 9])));
        assert!(!wound.shows(None));
        let unreadable = Wound {
            left: None,
            ..wound
        };
        assert!(unreadable.shows(Some(&[])) && !unreadable.shows(None));
    }
}
