//! The walk from an unknown directory to a judgement and its repair.
//!
//! Reads, in this order: the listing, the small files, every segment's header, snapshots
//! from the newest down to the first good one, and the segments from that snapshot on.
//! `judge` then says what they prove and `repair` makes it so; only after that
//! [`StoreEvent::Recovered`] is reported. Nothing is written before everything is read.

use super::epochs::{COPY_BYTES, Copy};
use super::jobs::{JobId, JobResult, Jobs};
use super::judge::{Chosen, Evidence, Verdict};
use super::mark::{self, Mark};
use super::names::{self, EPOCH_A, EPOCH_B, MARK, Name};
use super::reader::Reader;
use super::repair::{self, Listing, Repair};
use super::segment::{self, HEADER_BYTES, SegmentHeader};
use super::snapshot;
use super::{Recovered, StoreConfig, StoreEvent, StoreOut};
use crate::base::disk::{DiskLane, DiskOp, DiskValue};
use crate::base::ids::Zxid;
use crate::base::limits::LOG_RETRY_MS;
use crate::base::time::Mono;
use std::collections::{BTreeMap, VecDeque};

/// A file to be read, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    EpochCopy(usize),
    Mark,
    Header(u64),
    Snapshot(u64, Zxid),
    Segment(u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    SmallFilesAndHeaders,
    Snapshots,
    Segments,
}

#[derive(Clone, Debug)]
enum Work {
    /// Only while a step is carried out, and when all is done.
    Between,
    Listing(JobId),
    Reading(JobId, Goal, Box<Reader>),
    Repairing(JobId, Box<Verdict>, Box<Repair>),
    Full(Mono, Box<Verdict>),
}

/// What a recovered store goes on with.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    /// The repair that was carried out.
    pub repair: Repair,
    /// The epoch copies on disk.
    pub epochs: Option<Copy>,
    /// No generation from this on was ever used.
    pub next_generation: u64,
    /// No serial of a temporary snapshot from this on was ever used.
    pub next_serial: u64,
    /// What to report.
    pub report: Recovered,
}

/// Recovers one directory.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    config: StoreConfig,
    lens: BTreeMap<String, u64>,
    listing: Listing,
    evidence: Evidence,
    goals: VecDeque<Goal>,
    stage: Stage,
    work: Work,
}

impl Recovery {
    /// Asks for the listing.
    pub fn begin(config: StoreConfig, jobs: &mut Jobs, out: &mut StoreOut) -> Recovery {
        let job = jobs.all(DiskLane::Log, [DiskOp::List], out);
        Recovery {
            config,
            lens: BTreeMap::new(),
            listing: Listing::default(),
            evidence: Evidence::default(),
            goals: VecDeque::new(),
            stage: Stage::SmallFilesAndHeaders,
            work: Work::Listing(job),
        }
    }

    /// True while the disk has no room for the repair.
    pub fn full(&self) -> bool {
        matches!(self.work, Work::Full(..))
    }

    /// When to call [`Recovery::timer`].
    pub fn deadline(&self) -> Option<Mono> {
        match &self.work {
            Work::Full(until, _) => Some(*until),
            Work::Between | Work::Listing(_) | Work::Reading(..) | Work::Repairing(..) => None,
        }
    }

    /// Tries the repair again when it is time.
    pub fn timer(&mut self, now: Mono, jobs: &mut Jobs, out: &mut StoreOut) {
        if let Work::Full(until, verdict) = &self.work
            && *until <= now
        {
            let verdict = verdict.clone();
            self.repair(verdict, jobs, out);
        }
    }

    /// Takes a finished job; `Ok(Some)` when recovery is done, an error when the store
    /// must stop.
    pub fn finished(
        &mut self,
        job: JobId,
        result: JobResult,
        now: Mono,
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) -> Result<Option<Box<Ready>>, String> {
        let mine = match &self.work {
            Work::Listing(id) | Work::Reading(id, ..) | Work::Repairing(id, ..) => Some(*id),
            Work::Between | Work::Full(..) => None,
        };
        if mine != Some(job) {
            return Ok(None);
        }
        match std::mem::replace(&mut self.work, Work::Between) {
            Work::Listing(_) => match result {
                Ok(DiskValue::Listing(files)) => self.listed(files),
                Ok(DiskValue::Done | DiskValue::Bytes(_)) => {
                    return Err("recovery: the directory was not listed".into());
                }
                Err(failure) => return Err(failure.reason("recovery")),
            },
            Work::Reading(_, goal, mut reader) => {
                reader.take(result.map_err(|failure| failure.error));
                if let Some(op) = reader.op() {
                    let id = jobs.all(lane(goal), [op], out);
                    self.work = Work::Reading(id, goal, reader);
                    return Ok(None);
                }
                self.read(goal, *reader);
            }
            Work::Repairing(_, verdict, repair) => match result {
                Ok(_) => return Ok(Some(self.ready(*verdict, *repair, out))),
                Err(failure) if failure.no_space() => {
                    self.work = Work::Full(now.plus_ms(LOG_RETRY_MS), verdict);
                    return Ok(None);
                }
                Err(failure) => return Err(failure.reason("recovery")),
            },
            Work::Between | Work::Full(..) => unreachable!("no job is under way"),
        }
        self.go_on(jobs, out);
        Ok(None)
    }

    /// Reads the next file, or takes the next stage.
    fn go_on(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        loop {
            if let Some(goal) = self.goals.pop_front() {
                let reader = self.reader(goal);
                if let Some(op) = reader.op() {
                    let id = jobs.all(lane(goal), [op], out);
                    self.work = Work::Reading(id, goal, Box::new(reader));
                    return;
                }
                self.read(goal, reader);
                continue;
            }
            match self.stage {
                Stage::SmallFilesAndHeaders => {
                    self.stage = Stage::Snapshots;
                    self.forget_stillborn_heads();
                    let candidates = self.evidence.candidates().into_iter();
                    self.goals = candidates.map(|(g, z)| Goal::Snapshot(g, z)).collect();
                }
                Stage::Snapshots => {
                    self.stage = Stage::Segments;
                    let wanted = self.evidence.to_scan().into_iter();
                    self.goals = wanted.map(|(id, limit)| Goal::Segment(id, limit)).collect();
                }
                Stage::Segments => {
                    let verdict = Box::new(self.evidence.judge());
                    self.repair(verdict, jobs, out);
                    return;
                }
            }
        }
    }

    fn repair(&mut self, verdict: Box<Verdict>, jobs: &mut Jobs, out: &mut StoreOut) {
        let mut repair = repair::plan(&mut self.listing, &self.evidence, &verdict);
        let steps = std::mem::take(&mut repair.steps);
        let job = jobs.start(DiskLane::Log, steps, out);
        self.work = Work::Repairing(job, verdict, Box::new(repair));
    }

    fn ready(&self, verdict: Verdict, repair: Repair, out: &mut StoreOut) -> Box<Ready> {
        for probe in &verdict.probes {
            out.events.push(StoreEvent::Probe(probe));
        }
        Box::new(Ready {
            next_generation: self.evidence.next_generation.max(verdict.generation + 1),
            next_serial: self.listing.next_serial,
            epochs: verdict.epochs,
            repair,
            report: Recovered {
                epochs: verdict.epochs.map(|c| c.record),
                snapshot: verdict.snapshot,
                tail: verdict.tail,
                fitness: verdict.fitness,
            },
        })
    }

    fn listed(&mut self, files: Vec<(String, u64)>) {
        let mut goals = VecDeque::from([Goal::EpochCopy(0), Goal::EpochCopy(1), Goal::Mark]);
        self.listing.next_segment = 1;
        for (file, len) in files {
            let listing = &mut self.listing;
            match names::parse(&file) {
                Name::Segment(id) => {
                    listing.segments.insert(id, len);
                    listing.next_segment = listing.next_segment.max(id.saturating_add(1));
                    self.evidence.segments.insert(id, None);
                    goals.push_back(Goal::Header(id));
                }
                Name::SegmentTemp(id) => {
                    listing.next_segment = listing.next_segment.max(id.saturating_add(1));
                    listing.temps.push(file.clone());
                }
                Name::Snapshot { generation, zxid } => {
                    self.see_generation(generation);
                    self.evidence.snapshots.insert((generation, zxid), true);
                }
                Name::SnapshotTemp { generation, serial } => {
                    listing.next_serial = listing.next_serial.max(serial.saturating_add(1));
                    listing.temps.push(file.clone());
                    self.see_generation(generation);
                }
                Name::SmallTemp => listing.temps.push(file.clone()),
                Name::Small => self.evidence.second_copy |= file == EPOCH_B,
                Name::Foreign => {}
            }
            self.lens.insert(file, len);
        }
        self.goals = goals;
    }

    /// A head too short for a header, which the mark does not know, was never begun. We
    /// name no such file, but one that somebody left must not stop a start
    /// (ZOOKEEPER-2332); the repair removes it.
    fn forget_stillborn_heads(&mut self) {
        let marked = self.evidence.mark.map(|m| m.place.segment);
        while let Some((id, None)) = self.evidence.head()
            && self.listing.segments[&id] < HEADER_BYTES
            && marked.is_some_and(|segment| segment < id)
        {
            self.evidence.segments.remove(&id);
        }
    }

    fn see_generation(&mut self, generation: u64) {
        let next = &mut self.evidence.next_generation;
        *next = (*next).max(generation.saturating_add(1));
    }

    fn reader(&self, goal: Goal) -> Reader {
        let (file, limit) = match goal {
            Goal::EpochCopy(0) => (EPOCH_A.to_owned(), COPY_BYTES),
            Goal::EpochCopy(_) => (EPOCH_B.to_owned(), COPY_BYTES),
            Goal::Mark => (MARK.to_owned(), mark::FILE_BYTES),
            Goal::Header(id) => (names::segment(id), HEADER_BYTES),
            Goal::Snapshot(generation, zxid) => (names::snapshot(generation, zxid), u64::MAX),
            Goal::Segment(id, limit) => (names::segment(id), limit),
        };
        let len = self.lens.get(&file).copied().unwrap_or(0).min(limit);
        Reader::new(file, len, self.config.read_bytes)
    }

    /// A whole file was read: notes what it proves.
    fn read(&mut self, goal: Goal, reader: Reader) {
        let (bytes, unreadable_end) = reader.finish();
        match goal {
            Goal::EpochCopy(n) => self.evidence.copies[n] = Copy::decode(&bytes),
            Goal::Mark => {
                self.evidence.mark = Mark::read(&bytes);
                let segment = self.evidence.mark.unwrap_or_default().place.segment;
                let next = &mut self.listing.next_segment;
                *next = (*next).max(segment.saturating_add(1));
            }
            Goal::Header(id) => {
                let header = SegmentHeader::decode(&bytes, id);
                self.see_generation(header.map_or(0, |h| h.generation));
                self.evidence.segments.insert(id, header);
            }
            Goal::Snapshot(generation, zxid) => match snapshot::read(&bytes, generation, zxid) {
                Some(body) => {
                    self.evidence.chosen = Some(Chosen {
                        generation,
                        zxid,
                        body,
                    });
                    self.goals.clear();
                }
                None => {
                    self.evidence.snapshots.insert((generation, zxid), false);
                }
            },
            Goal::Segment(id, limit) => {
                let scan = segment::scan(&bytes, id, limit, unreadable_end);
                self.evidence.scans.insert(id, scan);
            }
        }
    }
}

/// Bulk goes where bulk goes.
fn lane(goal: Goal) -> DiskLane {
    match goal {
        Goal::Snapshot(..) => DiskLane::Snapshot,
        Goal::EpochCopy(_) | Goal::Mark | Goal::Header(_) | Goal::Segment(..) => DiskLane::Log,
    }
}
