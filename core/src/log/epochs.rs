//! The epoch record: what this server has promised, in two checksummed copies.
//!
//! While the store runs the copies are overwritten in place, one after the other, the
//! second only after the first is durable: whatever a power cut does, one of them is
//! good. Both are durable before [`StoreEvent::EpochsDurable`], so that a rotten copy
//! takes no promise with it (row D12). The first copy exists, durably, before the second
//! is created; so a second copy on disk proves that promises were made. Answers to
//! ZooKeeper's `acceptedEpoch` and `currentEpoch` files.

use super::jobs::{JobId, JobResult, Jobs, Step, replace_file};
use super::names::{self, EPOCH_A, EPOCH_B, NUMBER_END};
use super::record::{u32_at, u64_at};
use super::{EpochRecord, StoreEvent, StoreOut};
use crate::base::disk::{DiskLane, DiskOp};
use crate::base::ids::Epoch;
use crate::base::limits::LOG_RETRY_MS;
use crate::base::time::Mono;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::VecDeque;

/// Bytes of a copy.
pub(super) const COPY_BYTES: u64 = 40;

const MAGIC: u64 = 0x0031_4f50_454b_4700;
const VERSION: u32 = 1;
const CRC_AT: usize = 36;

/// One copy: a record and its place among all that were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Copy {
    /// Greater is newer.
    pub seq: u64,
    /// The record.
    pub record: EpochRecord,
}

impl Copy {
    /// The bytes of a copy.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(COPY_BYTES as usize);
        buf.put_u64_le(MAGIC);
        buf.put_u32_le(VERSION);
        let flags = u32::from(self.record.voting) | u32::from(self.record.restorable) << 1;
        buf.put_u32_le(flags);
        buf.put_u64_le(self.seq);
        buf.put_u32_le(self.record.accepted.0);
        buf.put_u32_le(self.record.current.0);
        buf.put_u32_le(0);
        let crc = crc32fast::hash(&buf);
        buf.put_u32_le(crc);
        buf.freeze()
    }

    /// Reads a copy; `None` when it is bad.
    pub fn decode(bytes: &[u8]) -> Option<Copy> {
        let bytes = bytes.get(..COPY_BYTES as usize)?;
        let good = u64_at(bytes, 0) == MAGIC
            && u32_at(bytes, 8) == VERSION
            && u64_at(bytes, 16) < NUMBER_END
            && u32_at(bytes, CRC_AT) == crc32fast::hash(&bytes[..CRC_AT]);
        good.then(|| Copy {
            seq: u64_at(bytes, 16),
            record: EpochRecord {
                accepted: Epoch(u32_at(bytes, 24)),
                current: Epoch(u32_at(bytes, 28)),
                voting: u32_at(bytes, 12) & 1 != 0,
                restorable: u32_at(bytes, 12) & 2 != 0,
            },
        })
    }
}

/// The newer of two copies.
pub(super) fn newest(a: Option<Copy>, b: Option<Copy>) -> Option<Copy> {
    match (a, b) {
        (Some(a), Some(b)) if b.seq > a.seq => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

/// Steps that put both copies in place anew, so that neither bytes nor name rest on what
/// an earlier life only believed to be durable (rows D1, D5).
pub(super) fn renew(copy: &Copy) -> Vec<Step> {
    let mut steps = replace_file(EPOCH_A, names::temp(EPOCH_A), copy.encode());
    steps.extend(replace_file(EPOCH_B, names::temp(EPOCH_B), copy.encode()));
    steps
}

/// Writes epoch records while the store runs.
#[derive(Clone, Debug)]
pub(super) struct EpochSaver {
    seq: u64,
    in_place: bool,
    waiting: VecDeque<EpochRecord>,
    job: Option<JobId>,
    retry_at: Option<Mono>,
    temps_left: bool,
}

impl EpochSaver {
    /// Goes on from what was found; the copies were renewed if one was good.
    pub fn new(found: Option<Copy>) -> EpochSaver {
        EpochSaver {
            seq: found.map_or(0, |c| c.seq),
            in_place: found.is_some(),
            waiting: VecDeque::new(),
            job: None,
            retry_at: None,
            temps_left: false,
        }
    }

    /// Asks for a record; records become durable in the order asked.
    pub fn save(&mut self, record: EpochRecord, jobs: &mut Jobs, out: &mut StoreOut) {
        self.waiting.push_back(record);
        self.pump(jobs, out);
    }

    /// True while the disk has no room for a record.
    pub fn full(&self) -> bool {
        self.retry_at.is_some()
    }

    /// When to call [`EpochSaver::timer`].
    pub fn deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    /// Tries again when it is time.
    pub fn timer(&mut self, now: Mono, jobs: &mut Jobs, out: &mut StoreOut) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.pump(jobs, out);
        }
    }

    /// Takes a finished job; `None` when it is not this room's, an error when the store
    /// must stop.
    pub fn finished(
        &mut self,
        job: JobId,
        result: &JobResult,
        now: Mono,
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) -> Option<Result<(), String>> {
        if self.job != Some(job) {
            return None;
        }
        self.job = None;
        match result {
            Ok(_) => {
                self.in_place = true;
                let record = self.waiting.pop_front().expect("the record just saved");
                out.events.push(StoreEvent::EpochsDurable(record));
                self.pump(jobs, out);
            }
            // Writing the same copy again is safe: the other one is durable, and the
            // bytes are written anew, not merely synced again.
            Err(failure) if failure.no_space() => {
                self.temps_left = !self.in_place;
                self.retry_at = Some(now.plus_ms(LOG_RETRY_MS));
            }
            Err(failure) => return Some(Err(failure.reason("epochs"))),
        }
        Some(Ok(()))
    }

    fn pump(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        let Some(record) = self.waiting.front() else {
            return;
        };
        if self.job.is_some() || self.retry_at.is_some() {
            return;
        }
        self.seq += 1;
        let copy = Copy {
            seq: self.seq,
            record: *record,
        };
        let steps = if self.in_place {
            overwrite(&copy)
        } else {
            self.create(&copy)
        };
        self.job = Some(jobs.start(DiskLane::Log, steps, out));
    }

    fn create(&mut self, copy: &Copy) -> Vec<Step> {
        let mut steps = Vec::new();
        if std::mem::take(&mut self.temps_left) {
            let temps = [EPOCH_A, EPOCH_B].map(names::temp);
            steps.push(super::jobs::delete_files(temps));
            steps.push(Step::all(vec![DiskOp::SyncDir]));
        }
        steps.extend(renew(copy));
        steps
    }
}

fn overwrite(copy: &Copy) -> Vec<Step> {
    [EPOCH_A, EPOCH_B]
        .map(|file| {
            Step::all(vec![
                DiskOp::Write {
                    file: file.to_owned(),
                    offset: 0,
                    data: copy.encode(),
                },
                DiskOp::Sync {
                    file: file.to_owned(),
                },
            ])
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(seq: u64) -> Copy {
        Copy {
            seq,
            record: EpochRecord {
                accepted: Epoch(9),
                current: Epoch(8),
                voting: true,
                restorable: true,
            },
        }
    }

    #[test]
    fn every_flipped_bit_of_a_copy_is_noticed() {
        let bytes = copy(3).encode();
        assert_eq!(bytes.len() as u64, COPY_BYTES);
        assert_eq!(Copy::decode(&bytes), Some(copy(3)));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Copy::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn the_newer_good_copy_counts() {
        let (old, new) = (Some(copy(1)), Some(copy(2)));
        assert_eq!(newest(old, new), new);
        assert_eq!(newest(new, old), new);
        assert_eq!(newest(None, old), old);
        assert_eq!(newest(new, None), new);
        assert_eq!(newest(None, None), None);
    }
}
