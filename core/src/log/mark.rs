//! The high-water mark: a second file that remembers how far the log was durable.
//!
//! It is a lower bound written a while after the fact, and therefore a witness only of
//! loss, never of health: a log that ends before it has lost its tail (row D14). It also
//! remembers damage, so that a log cut back to its good part does not look whole at the
//! next start (row D10: never plain truncation). Two slots, a page apart, are written in
//! turn; the damage is in both. A place counts only as long as the chain of segments
//! still leads through it, so a cut of the log needs no new mark.

use super::StoreOut;
use super::jobs::{JobId, JobResult, Jobs};
use super::names::{MARK, NUMBER_END};
use super::record::{Place, u32_at, u64_at};
use crate::base::disk::{DiskLane, DiskOp};
use crate::base::ids::Zxid;
use crate::base::limits::LOG_MARK_MS;
use crate::base::time::Mono;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the file.
pub(super) const FILE_BYTES: u64 = SLOT_AT[1] + SLOT_BYTES;

const SLOT_AT: [u64; 2] = [0, 4096];
const SLOT_BYTES: u64 = 56;
const MAGIC: u64 = 0x0031_4b52_4d4b_4700;
const VERSION: u32 = 1;
const CRC_AT: usize = 52;

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mark {
    /// Greater is newer.
    pub seq: u64,
    /// The log was durable up to here; [`Place::NOWHERE`] when nothing is said.
    pub place: Place,
    /// The last zxid before that place.
    pub zxid: Zxid,
    /// The log is damaged until it holds this zxid; zero when it is not.
    pub damage: Zxid,
}

impl Mark {
    fn encode(&self, buf: &mut BytesMut) {
        let begin = buf.len();
        buf.put_u64_le(MAGIC);
        buf.put_u32_le(VERSION);
        buf.put_u64_le(self.seq);
        buf.put_u64_le(self.place.segment);
        buf.put_u64_le(self.place.offset);
        buf.put_u64_le(self.zxid.0);
        buf.put_u64_le(self.damage.0);
        let crc = crc32fast::hash(&buf[begin..]);
        buf.put_u32_le(crc);
    }

    /// A whole file with this mark in both slots.
    pub fn file(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(FILE_BYTES as usize);
        self.encode(&mut buf);
        buf.put_bytes(0, SLOT_AT[1] as usize - buf.len());
        self.encode(&mut buf);
        buf.freeze()
    }

    fn decode(bytes: &[u8]) -> Option<Mark> {
        let bytes = bytes.get(..SLOT_BYTES as usize)?;
        let good = u64_at(bytes, 0) == MAGIC
            && u32_at(bytes, 8) == VERSION
            && u32_at(bytes, CRC_AT) == crc32fast::hash(&bytes[..CRC_AT]);
        let mark = Mark {
            seq: u64_at(bytes, 12),
            place: Place {
                segment: u64_at(bytes, 20),
                offset: u64_at(bytes, 28),
            },
            zxid: Zxid(u64_at(bytes, 36)),
            damage: Zxid(u64_at(bytes, 44)),
        };
        (good && mark.seq.max(mark.place.segment) < NUMBER_END).then_some(mark)
    }

    /// Reads a file: its newest good slot.
    pub fn read(file: &[u8]) -> Option<Mark> {
        SLOT_AT
            .iter()
            .filter_map(|at| Mark::decode(file.get(*at as usize..)?))
            .max_by_key(|mark| mark.seq)
    }
}

/// Keeps the mark while the store runs.
#[derive(Clone, Debug)]
pub(super) struct MarkKeeper {
    written: Mark,
    damage: Zxid,
    due: Option<Mono>,
    job: Option<(JobId, Mark)>,
}

impl MarkKeeper {
    /// Goes on from a mark that recovery put in place.
    pub fn new(written: Mark) -> MarkKeeper {
        MarkKeeper {
            written,
            damage: written.damage,
            due: None,
            job: None,
        }
    }

    /// Notes that the log is durable up to `place`; forgets damage that `zxid` is past.
    pub fn durable(&mut self, place: Place, zxid: Zxid, now: Mono) {
        if self.damage <= zxid {
            self.damage = Zxid::ZERO;
        }
        let stale = self.written.place != place || self.written.damage != self.damage;
        if stale && self.due.is_none() {
            self.due = Some(now.plus_ms(LOG_MARK_MS));
        }
    }

    /// Forgets the damage: a leader has filled the log past it.
    pub fn heal(&mut self) {
        self.damage = Zxid::ZERO;
    }

    /// When to call [`MarkKeeper::timer`].
    pub fn deadline(&self) -> Option<Mono> {
        self.due.filter(|_| self.job.is_none())
    }

    /// Writes the mark when it is time. `place` and `zxid` are durable.
    pub fn timer(
        &mut self,
        now: Mono,
        (place, zxid): (Place, Zxid),
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) {
        if self.job.is_some() || self.due.is_none_or(|at| at > now) {
            return;
        }
        self.due = None;
        let mark = Mark {
            seq: self.written.seq + 1,
            place,
            zxid,
            damage: self.damage,
        };
        let mut data = BytesMut::with_capacity(SLOT_BYTES as usize);
        mark.encode(&mut data);
        let ops = [
            DiskOp::Write {
                file: MARK.to_owned(),
                offset: SLOT_AT[(mark.seq % 2) as usize],
                data: data.freeze(),
            },
            DiskOp::Sync {
                file: MARK.to_owned(),
            },
        ];
        self.job = Some((jobs.all(DiskLane::Log, ops, out), mark));
    }

    /// Takes a finished job; `None` when it is not this room's, an error when the store
    /// must stop. Lack of space is no trouble: the mark may lag.
    pub fn finished(
        &mut self,
        job: JobId,
        result: &JobResult,
        now: Mono,
    ) -> Option<Result<(), String>> {
        let (_, mark) = self.job.take_if(|(id, _)| *id == job)?;
        match result {
            Ok(_) => self.written = mark,
            Err(failure) if failure.no_space() => {
                // The slot may be torn: the next attempt must take the same one.
                self.due = Some(now.plus_ms(LOG_MARK_MS));
            }
            Err(failure) => return Some(Err(failure.reason("mark"))),
        }
        Some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seq: u64) -> Mark {
        Mark {
            seq,
            place: Place {
                segment: 2,
                offset: 96,
            },
            zxid: Zxid(5),
            damage: Zxid(6),
        }
    }

    #[test]
    fn one_bad_slot_leaves_the_other() {
        let file = mark(4).file();
        assert_eq!(file.len() as u64, FILE_BYTES);
        for at in SLOT_AT {
            for bit in 0..SLOT_BYTES as usize * 8 {
                let mut bad = file.to_vec();
                bad[at as usize + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Mark::read(&bad), Some(mark(4)), "slot {at} bit {bit}");
            }
        }
        assert_eq!(Mark::read(&file[..SLOT_BYTES as usize]), Some(mark(4)));
        assert_eq!(Mark::read(&[]), None);
    }

    #[test]
    fn damage_is_forgotten_only_past_its_zxid() {
        let mut keeper = MarkKeeper::new(mark(1));
        keeper.durable(mark(1).place, Zxid(5), Mono(0));
        assert_eq!(keeper.deadline(), None);
        keeper.durable(mark(1).place, Zxid(6), Mono(0));
        assert_eq!(keeper.deadline(), Some(Mono(0).plus_ms(LOG_MARK_MS)));
    }
}
