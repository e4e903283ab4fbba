//! Snapshots: their bytes, the writer of one, and which of them are kept.
//!
//! A snapshot is written under a temporary name, synced, renamed, and its directory
//! synced; only then does anybody rely on it (row D4). Its trailer binds length and
//! checksum of the body to its zxid and generation. An own snapshot waits for its name
//! until the log is durable up to its zxid, so that the log never ends before a snapshot.
//! Only snapshots known to be good count as kept: written by this process, or read and
//! verified by its recovery (ZOOKEEPER-3231). Log is retired only behind as many good
//! snapshots as the configuration asks for (row D11).

use super::jobs::{Failure, JobId, JobResult, Jobs, Step, delete_files};
use super::names;
use super::record::{u32_at, u64_at};
use super::{StoreEvent, StoreOut};
use crate::base::disk::{DiskLane, DiskOp};
use crate::base::ids::Zxid;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Bytes before the body.
pub(super) const HEADER_BYTES: u64 = 32;
/// Bytes after it.
pub(super) const TRAILER_BYTES: u64 = 24;

const MAGIC: u64 = 0x0031_5041_4e53_4b47;
const TRAILER_MAGIC: u64 = 0x0031_444e_4550_4e53;
const VERSION: u32 = 1;

fn header(generation: u64, zxid: Zxid) -> Bytes {
    let mut buf = BytesMut::with_capacity(HEADER_BYTES as usize);
    buf.put_u64_le(MAGIC);
    buf.put_u32_le(VERSION);
    buf.put_u64_le(generation);
    buf.put_u64_le(zxid.0);
    let crc = crc32fast::hash(&buf);
    buf.put_u32_le(crc);
    buf.freeze()
}

fn trailer(generation: u64, zxid: Zxid, body_len: u64, body_crc: u32) -> Bytes {
    let mut buf = BytesMut::with_capacity(TRAILER_BYTES as usize);
    buf.put_u64_le(TRAILER_MAGIC);
    buf.put_u64_le(body_len);
    buf.put_u32_le(body_crc);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header(generation, zxid));
    crc.update(&buf);
    buf.put_u32_le(crc.finalize());
    buf.freeze()
}

/// The body of a snapshot file; `None` when it is bad or another's.
pub(super) fn read(file: &Bytes, generation: u64, zxid: Zxid) -> Option<Bytes> {
    let body_len = (file.len() as u64).checked_sub(HEADER_BYTES + TRAILER_BYTES)?;
    let end = (HEADER_BYTES + body_len) as usize;
    let body = file.slice(HEADER_BYTES as usize..end);
    let good = file[..HEADER_BYTES as usize] == header(generation, zxid)
        && u64_at(file, end + 8) == body_len
        && u32_at(file, end + 16) == crc32fast::hash(&body)
        && file[end..] == trailer(generation, zxid, body_len, u32_at(file, end + 16));
    good.then_some(body)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Filling,
    /// Every byte was given; waits for its writes, and an own one for the log.
    Ended,
    Naming(JobId),
    /// Durable under its name.
    Named,
}

/// Writes one snapshot.
#[derive(Clone, Debug)]
struct Writer {
    zxid: Zxid,
    generation: u64,
    temp: String,
    offset: u64,
    body_crc: crc32fast::Hasher,
    writes: BTreeMap<JobId, usize>,
    failure: Option<Failure>,
    stage: Stage,
}

impl Writer {
    fn begin(
        zxid: Zxid,
        generation: u64,
        serial: u64,
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) -> Writer {
        let temp = names::snapshot_temp(generation, zxid, serial);
        let step = Step::all(vec![
            DiskOp::Create { file: temp.clone() },
            DiskOp::Write {
                file: temp.clone(),
                offset: 0,
                data: header(generation, zxid),
            },
        ]);
        let job = jobs.start(DiskLane::Snapshot, vec![step], out);
        Writer {
            zxid,
            generation,
            temp,
            offset: HEADER_BYTES,
            body_crc: crc32fast::Hasher::new(),
            writes: BTreeMap::from([(job, 0)]),
            failure: None,
            stage: Stage::Filling,
        }
    }

    fn chunk(&mut self, data: Bytes, jobs: &mut Jobs, out: &mut StoreOut) {
        assert_eq!(self.stage, Stage::Filling, "a chunk after the end");
        if data.is_empty() || self.failure.is_some() {
            return;
        }
        self.body_crc.update(&data);
        let len = data.len();
        let op = DiskOp::Write {
            file: self.temp.clone(),
            offset: self.offset,
            data,
        };
        self.offset += len as u64;
        self.writes
            .insert(jobs.all(DiskLane::Snapshot, [op], out), len);
    }

    /// Seals and names the file once nothing stands in its way.
    fn settle(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        if self.stage != Stage::Ended || !self.writes.is_empty() || self.failure.is_some() {
            return;
        }
        let body_crc = self.body_crc.clone().finalize();
        let body_len = self.offset - HEADER_BYTES;
        let file = self.temp.clone();
        let steps = vec![
            Step::all(vec![
                DiskOp::Write {
                    file: file.clone(),
                    offset: self.offset,
                    data: trailer(self.generation, self.zxid, body_len, body_crc),
                },
                DiskOp::Sync { file: file.clone() },
            ]),
            Step::all(vec![
                DiskOp::Rename {
                    from: file,
                    to: names::snapshot(self.generation, self.zxid),
                },
                DiskOp::SyncDir,
            ]),
        ];
        self.stage = Stage::Naming(jobs.start(DiskLane::Snapshot, steps, out));
    }

    fn finished(&mut self, job: JobId, result: &JobResult) -> bool {
        let naming = self.stage == Stage::Naming(job);
        if !naming && self.writes.remove(&job).is_none() {
            return false;
        }
        match result {
            Ok(_) if naming => self.stage = Stage::Named,
            Ok(_) => {}
            Err(failure) => self.failure = Some(*failure),
        }
        true
    }

    fn remove_temp(&self, jobs: &mut Jobs, out: &mut StoreOut) {
        let step = delete_files([self.temp.clone()]);
        jobs.start(DiskLane::Snapshot, vec![step], out);
    }
}

/// What became of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Nothing to act on.
    None,
    /// The own snapshot is durable under its name.
    OwnNamed(Zxid),
    /// The leader's snapshot of this generation is durable under its name.
    InstallNamed(u64),
    /// The leader's snapshot of this generation could not be written.
    InstallFailed(u64),
}

/// Every snapshot of the directory, and the two that may be in the making.
#[derive(Clone, Debug)]
pub(super) struct Snapshots {
    kept: usize,
    /// Final names on disk; true for those known to be good.
    files: BTreeMap<(u64, Zxid), bool>,
    own: Option<Writer>,
    install: Option<Writer>,
    next_generation: u64,
    next_serial: u64,
}

impl Snapshots {
    /// Goes on from what recovery left: no generation or serial from the `next` ones on
    /// was ever used.
    pub fn new(
        kept: usize,
        files: BTreeMap<(u64, Zxid), bool>,
        next_generation: u64,
        next_serial: u64,
    ) -> Snapshots {
        assert!(kept >= 2, "fewer than two snapshots are no fallback");
        Snapshots {
            kept,
            files,
            own: None,
            install: None,
            next_generation,
            next_serial,
        }
    }

    /// Bytes given and not yet written.
    pub fn backlog_bytes(&self) -> usize {
        let both = self.own.iter().chain(&self.install);
        both.flat_map(|w| w.writes.values()).sum()
    }

    /// Begins an own snapshot.
    pub fn begin(&mut self, zxid: Zxid, generation: u64, jobs: &mut Jobs, out: &mut StoreOut) {
        assert!(self.own.is_none(), "two own snapshots at once");
        let serial = self.serial();
        self.own = Some(Writer::begin(zxid, generation, serial, jobs, out));
    }

    /// More of it; nothing when it was abandoned in between.
    pub fn chunk(&mut self, data: Bytes, jobs: &mut Jobs, out: &mut StoreOut) {
        if let Some(own) = &mut self.own {
            own.chunk(data, jobs, out);
        }
    }

    /// The end of it.
    pub fn end(&mut self) {
        if let Some(own) = &mut self.own {
            assert_eq!(own.stage, Stage::Filling, "a second end");
            own.stage = Stage::Ended;
        }
    }

    /// True while an own snapshot is being written.
    pub fn busy(&self) -> bool {
        self.own.is_some()
    }

    /// Begins a leader's snapshot in a new generation; one under way is forgotten.
    pub fn install_begin(&mut self, zxid: Zxid, jobs: &mut Jobs, out: &mut StoreOut) {
        self.install_abort(jobs, out);
        assert!(self.install.is_none(), "an install was not awaited");
        let serial = self.serial();
        let generation = self.next_generation;
        self.next_generation += 1;
        self.install = Some(Writer::begin(zxid, generation, serial, jobs, out));
    }

    /// More of it.
    pub fn install_chunk(&mut self, data: Bytes, jobs: &mut Jobs, out: &mut StoreOut) {
        let install = self.install.as_mut().expect("an install has begun");
        install.chunk(data, jobs, out);
    }

    /// The end of it: its zxid and generation.
    pub fn install_end(&mut self) -> (Zxid, u64) {
        let install = self.install.as_mut().expect("an install has begun");
        assert_eq!(install.stage, Stage::Filling, "a second end");
        install.stage = Stage::Ended;
        (install.zxid, install.generation)
    }

    /// Forgets a leader's snapshot that has not ended.
    pub fn install_abort(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        if let Some(install) = self.install.take_if(|w| w.stage == Stage::Filling) {
            install.remove_temp(jobs, out);
        }
    }

    /// The log turned to the leader's snapshot: everything else is void. Returns nothing
    /// when no install was under way.
    pub fn installed(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        let install = self.install.take().expect("an install is under way");
        if let Some(own) = self.own.take() {
            out.events
                .push(StoreEvent::SnapshotFailed { zxid: own.zxid });
            own.remove_temp(jobs, out);
        }
        let void = std::mem::take(&mut self.files);
        let void: Vec<String> = void.keys().map(|(g, z)| names::snapshot(*g, *z)).collect();
        self.files.insert((install.generation, install.zxid), true);
        if !void.is_empty() {
            jobs.start(DiskLane::Snapshot, vec![delete_files(void)], out);
        }
    }

    /// Takes a finished job; `None` when it is not this room's, an error when the store
    /// must stop.
    pub fn finished(
        &mut self,
        job: JobId,
        result: &JobResult,
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) -> Option<Result<Progress, String>> {
        let (own, writer) = if self.own.as_mut().is_some_and(|w| w.finished(job, result)) {
            (true, self.own.as_mut()?)
        } else if self
            .install
            .as_mut()
            .is_some_and(|w| w.finished(job, result))
        {
            (false, self.install.as_mut()?)
        } else {
            return None;
        };
        if let Some(failure) = writer.failure {
            if failure.names_in_doubt() {
                return Some(Err(failure.reason("snapshot")));
            }
            return Some(Ok(self.give_up(own, jobs, out)));
        }
        if writer.stage != Stage::Named {
            return Some(Ok(Progress::None));
        }
        let (generation, zxid) = (writer.generation, writer.zxid);
        if !own {
            return Some(Ok(Progress::InstallNamed(generation)));
        }
        self.files.insert((generation, zxid), true);
        self.own = None;
        Some(Ok(Progress::OwnNamed(zxid)))
    }

    /// Does what has become possible; the log is durable up to `durable`.
    pub fn settle(&mut self, durable: Zxid, jobs: &mut Jobs, out: &mut StoreOut) {
        if let Some(own) = self.own.as_mut().filter(|w| w.zxid <= durable) {
            own.settle(jobs, out);
        }
        if let Some(install) = &mut self.install {
            install.settle(jobs, out);
        }
    }

    /// Forgets snapshots older than the kept ones; returns their names and the zxid from
    /// which the log is still needed, or `None` while too few are known to be good.
    pub fn retire(&mut self, generation: u64) -> Option<(Vec<String>, Zxid)> {
        let good = self
            .files
            .iter()
            .rev()
            .filter(|(key, good)| key.0 == generation && **good);
        let oldest = good.map(|(key, _)| *key).nth(self.kept - 1)?;
        let newer = self.files.split_off(&oldest);
        let old = std::mem::replace(&mut self.files, newer);
        let names = old.keys().map(|(g, z)| names::snapshot(*g, *z)).collect();
        Some((names, oldest.1))
    }

    fn give_up(&mut self, own: bool, jobs: &mut Jobs, out: &mut StoreOut) -> Progress {
        if own {
            let writer = self.own.take().expect("the one that failed");
            writer.remove_temp(jobs, out);
            let zxid = writer.zxid;
            out.events.push(StoreEvent::SnapshotFailed { zxid });
            return Progress::None;
        }
        let ended = self
            .install
            .as_ref()
            .is_some_and(|w| w.stage != Stage::Filling);
        if !ended {
            // The leader is still sending: the end will be told of it.
            return Progress::None;
        }
        self.fail_install(jobs, out)
    }

    /// Reports an install that failed before its end was given.
    pub fn settle_failed_install(&mut self, jobs: &mut Jobs, out: &mut StoreOut) -> Progress {
        let failed = |w: &Writer| w.failure.is_some() && w.stage != Stage::Filling;
        if self.install.as_ref().is_some_and(failed) {
            return self.fail_install(jobs, out);
        }
        Progress::None
    }

    fn fail_install(&mut self, jobs: &mut Jobs, out: &mut StoreOut) -> Progress {
        let writer = self.install.take().expect("the one that failed");
        writer.remove_temp(jobs, out);
        let zxid = writer.zxid;
        out.events.push(StoreEvent::InstallFailed { zxid });
        Progress::InstallFailed(writer.generation)
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body: &'static [u8]) -> Bytes {
        let mut buf = BytesMut::from(&header(2, Zxid(9))[..]);
        buf.put_slice(body);
        buf.put_slice(&trailer(
            2,
            Zxid(9),
            body.len() as u64,
            crc32fast::hash(body),
        ));
        buf.freeze()
    }

    #[test]
    fn a_snapshot_reads_back_under_its_own_name_only() {
        let bytes = file(b"tree");
        assert_eq!(read(&bytes, 2, Zxid(9)), Some(Bytes::from_static(b"tree")));
        assert_eq!(read(&bytes, 1, Zxid(9)), None);
        assert_eq!(read(&bytes, 2, Zxid(8)), None);
        assert_eq!(read(&file(b""), 2, Zxid(9)), Some(Bytes::new()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = file(b"body");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&Bytes::from(bad), 2, Zxid(9)), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes.slice(..len), 2, Zxid(9)), None, "{len} bytes");
        }
    }

    #[test]
    fn unproven_snapshots_do_not_count_as_kept() {
        let files = [(1, false), (2, false), (3, true)];
        let files = files.map(|(z, good)| ((0, Zxid(z)), good)).into();
        let mut snapshots = Snapshots::new(2, files, 1, 1);
        assert_eq!(snapshots.retire(0), None);
        snapshots.files.insert((0, Zxid(4)), true);
        let (names, from) = snapshots.retire(0).expect("two are good");
        assert_eq!((names.len(), from), (2, Zxid(3)));
    }
}
