//! The log while the store runs: batches, rolls, cuts, and installed snapshots.
//!
//! Commands wait in one queue and are carried out in order, one at a time, and only from
//! a place where everything written is durable. Appends are gathered into a batch, written
//! and synced together while the next batch fills. Every change of course (a full segment, a cut,
//! an installed snapshot, the escape from a full disk) is the same act: open a segment
//! whose header says what it follows (see `segment`); then remove what became void, and
//! only then report.
//!
//! What always holds: the head's `end` is durable and everything before it; no sync is
//! tried twice; a batch that found no space is written again only into a new segment, so
//! nothing rests on the pages of the failed attempt (rows D5 to D7).

use super::jobs::{JobId, JobResult, Jobs, Step, delete_files, replace_file};
use super::names;
use super::record::{self, Place};
use super::segment::{HEADER_BYTES, SegmentHeader};
use super::{Entry, StoreConfig, StoreEvent, StoreOut};
use crate::base::disk::{DiskLane, DiskOp};
use crate::base::ids::Zxid;
use crate::base::limits::LOG_RETRY_MS;
use crate::base::time::Mono;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A closed segment that the log still leads through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Closed {
    /// Its number.
    pub id: u64,
    /// The zxid before its first record.
    pub base: Zxid,
    /// Where the next segment goes on.
    pub end: u64,
}

/// Where a record ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Indexed {
    /// The record.
    pub zxid: Zxid,
    /// The byte after it.
    pub end: Place,
}

/// The log as recovery leaves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LogLayout {
    /// Closed segments, oldest first.
    pub closed: Vec<Closed>,
    /// The head.
    pub head: SegmentHeader,
    /// Durable bytes of the head.
    pub head_end: u64,
    /// Every record after `floor`.
    pub index: Vec<Indexed>,
    /// The zxid of the snapshot everything starts from.
    pub floor: Zxid,
    /// Where the record `floor` ends.
    pub floor_end: Place,
    /// The last zxid.
    pub last: Zxid,
    /// No segment with this number or a greater one ever existed.
    pub next_segment: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Command {
    Append(Entry),
    Truncate(Zxid),
    Install {
        zxid: Zxid,
        generation: u64,
        ready: bool,
    },
}

/// Why a segment is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    Roll,
    Escape,
    Truncate(Zxid),
    Install { zxid: Zxid, generation: u64 },
}

#[derive(Clone, Debug)]
enum Work {
    Idle,
    Batch {
        job: JobId,
        entries: Vec<Entry>,
    },
    Opening {
        job: JobId,
        header: SegmentHeader,
        why: Why,
    },
    Clearing {
        job: JobId,
        why: Why,
    },
    Full {
        until: Mono,
        why: Why,
        leftover: Option<u64>,
    },
}

/// Writes the log.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    config: StoreConfig,
    layout: LogLayout,
    index: VecDeque<Indexed>,
    queue: VecDeque<Command>,
    work: Work,
    /// True from the first lack of space until something became durable again.
    full: bool,
    /// What [`LogWriter::last`] says: the log's end once the queue is carried out.
    last: Zxid,
    /// The last zxid reported durable.
    reported: Zxid,
    /// Reports stop here while a cut waits: what lies beyond is durable, but doomed.
    limit: Option<Zxid>,
}

impl LogWriter {
    /// Goes on from what recovery left.
    pub fn new(config: StoreConfig, layout: LogLayout) -> LogWriter {
        LogWriter {
            config,
            index: layout.index.iter().copied().collect(),
            queue: VecDeque::new(),
            work: Work::Idle,
            full: false,
            last: layout.last,
            reported: layout.last,
            limit: None,
            layout,
        }
    }

    /// The last zxid appended.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The last zxid reported durable.
    pub fn durable(&self) -> Zxid {
        self.reported.min(self.last)
    }

    /// The durable end, for the mark.
    pub fn durable_end(&self) -> (Place, Zxid) {
        let end = Place {
            segment: self.layout.head.id,
            offset: self.layout.head_end,
        };
        (end, self.layout.last)
    }

    /// Counts installed snapshots.
    pub fn generation(&self) -> u64 {
        self.layout.head.generation
    }

    /// True while the disk has no room for the log.
    pub fn full(&self) -> bool {
        self.full
    }

    /// Commands that wait.
    pub fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// When to call [`LogWriter::timer`].
    pub fn deadline(&self) -> Option<Mono> {
        match &self.work {
            Work::Full { until, .. } => Some(*until),
            Work::Idle | Work::Batch { .. } | Work::Opening { .. } | Work::Clearing { .. } => None,
        }
    }

    /// Queues a record, which must directly follow the last one.
    pub fn append(&mut self, entry: Entry) {
        assert!(
            self.last.precedes(entry.zxid),
            "{:?} appended after {:?}",
            entry.zxid,
            self.last
        );
        self.last = entry.zxid;
        self.queue.push_back(Command::Append(entry));
    }

    /// Queues a cut after a zxid that is in the log, or is where it begins.
    pub fn truncate(&mut self, after: Zxid) {
        let floor = self
            .queue
            .iter()
            .fold(self.layout.floor, |floor, c| match c {
                Command::Install { zxid, .. } => *zxid,
                Command::Append(_) | Command::Truncate(_) => floor,
            });
        assert!(
            floor <= after && after <= self.last,
            "cut after {after:?} of a log from {floor:?} to {:?}",
            self.last
        );
        while matches!(self.queue.back(), Some(Command::Append(e)) if e.zxid > after) {
            self.queue.pop_back();
        }
        self.last = after;
        self.reported = self.reported.min(after);
        self.limit = Some(self.limit.map_or(after, |l| l.min(after)));
        self.queue.push_back(Command::Truncate(after));
    }

    /// Queues the end of everything before it: a snapshot that is being put on disk.
    pub fn install(&mut self, zxid: Zxid, generation: u64) {
        self.last = zxid;
        self.limit = Some(Zxid::ZERO);
        self.queue.push_back(Command::Install {
            zxid,
            generation,
            ready: false,
        });
    }

    /// The snapshot is durable under its name: the log may turn to it.
    pub fn install_ready(&mut self, wanted: u64) {
        for command in &mut self.queue {
            if let Command::Install {
                generation, ready, ..
            } = command
            {
                *ready |= *generation == wanted;
            }
        }
    }

    /// The snapshot could not be put on disk: forgets it and what was queued behind it.
    pub fn install_failed(&mut self, failed: u64, out: &mut StoreOut) {
        let at = self.queue.iter().position(
            |c| matches!(c, Command::Install { generation, .. } if *generation == failed),
        );
        let Some(at) = at else { return };
        self.queue.truncate(at);
        self.last = self.queue.iter().fold(self.written_last(), |_, c| match c {
            Command::Append(entry) => entry.zxid,
            Command::Truncate(zxid) | Command::Install { zxid, .. } => *zxid,
        });
        self.lift_limit();
        self.report_durable(out);
    }

    /// A snapshot is durable: the log will not be cut before it, nor read from before it.
    pub fn raise_floor(&mut self, zxid: Zxid) {
        while let Some(first) = self.index.front().copied().filter(|i| i.zxid <= zxid) {
            self.index.pop_front();
            self.layout.floor = first.zxid;
            self.layout.floor_end = first.end;
        }
    }

    /// Forgets the segments that hold nothing after `zxid`; returns their names.
    pub fn retire(&mut self, zxid: Zxid) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(first) = self.layout.closed.first() {
            let next = self
                .layout
                .closed
                .get(1)
                .map_or(self.layout.head.base, |c| c.base);
            if next > zxid {
                break;
            }
            names.push(names::segment(first.id));
            self.layout.closed.remove(0);
        }
        names
    }

    /// Begins what can be begun.
    pub fn pump(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        while matches!(self.work, Work::Idle) {
            match self.queue.front() {
                None => return,
                Some(Command::Append(_)) if self.layout.head_end >= self.config.segment_bytes => {
                    self.open(Why::Roll, None, jobs, out);
                }
                Some(Command::Append(_)) => self.begin_batch(jobs, out),
                Some(Command::Truncate(after)) if *after == self.layout.last => {
                    let after = *after;
                    self.queue.pop_front();
                    self.report_cut(after, out);
                }
                Some(Command::Truncate(after)) => {
                    self.open(Why::Truncate(*after), None, jobs, out);
                }
                Some(Command::Install { ready: false, .. }) => return,
                Some(Command::Install {
                    zxid, generation, ..
                }) => {
                    let (zxid, generation) = (*zxid, *generation);
                    self.open(Why::Install { zxid, generation }, None, jobs, out);
                }
            }
        }
    }

    /// Tries again when it is time.
    pub fn timer(&mut self, now: Mono, jobs: &mut Jobs, out: &mut StoreOut) {
        if let Work::Full {
            until,
            why,
            leftover,
        } = self.work
            && until <= now
        {
            self.open(why, leftover, jobs, out);
        }
    }

    /// Takes a finished job; `None` when it is not this room's, an error when the store
    /// must stop. `Ok(Some)` carries the generation of a snapshot that is now installed.
    pub fn finished(
        &mut self,
        job: JobId,
        result: &JobResult,
        now: Mono,
        jobs: &mut Jobs,
        out: &mut StoreOut,
    ) -> Option<Result<Option<Zxid>, String>> {
        let mine = match &self.work {
            Work::Batch { job, .. } | Work::Opening { job, .. } | Work::Clearing { job, .. } => {
                Some(*job)
            }
            Work::Idle | Work::Full { .. } => None,
        };
        if mine != Some(job) {
            return None;
        }
        let work = std::mem::replace(&mut self.work, Work::Idle);
        Some(match (work, result) {
            (Work::Batch { entries, .. }, Ok(_)) => {
                self.batch_durable(&entries, out);
                Ok(None)
            }
            (Work::Opening { header, why, .. }, Ok(_)) => {
                self.opened(header, why, jobs, out);
                Ok(None)
            }
            (Work::Clearing { why, .. }, Ok(_)) => Ok(self.cleared(why, out)),
            (Work::Batch { entries, .. }, Err(failure)) if failure.no_space() => {
                for entry in entries.into_iter().rev() {
                    self.queue.push_front(Command::Append(entry));
                }
                self.no_space(Why::Escape, None, now);
                Ok(None)
            }
            (Work::Opening { header, why, .. }, Err(failure)) if failure.no_space() => {
                self.no_space(why, Some(header.id), now);
                Ok(None)
            }
            (Work::Batch { .. } | Work::Opening { .. } | Work::Clearing { .. }, Err(failure)) => {
                Err(failure.reason("log"))
            }
            (Work::Idle | Work::Full { .. }, _) => unreachable!("no job is under way"),
        })
    }

    /// The end of what is on disk, as opposed to what is queued.
    fn written_last(&self) -> Zxid {
        match &self.work {
            Work::Batch { entries, .. } => entries.last().map_or(self.layout.last, |e| e.zxid),
            Work::Idle | Work::Opening { .. } | Work::Clearing { .. } | Work::Full { .. } => {
                self.layout.last
            }
        }
    }

    fn begin_batch(&mut self, jobs: &mut Jobs, out: &mut StoreOut) {
        let start = self.layout.head_end;
        let (mut bytes, mut entries) = (0, Vec::new());
        while bytes < self.config.batch_bytes_max {
            let Some(Command::Append(entry)) =
                self.queue.pop_front_if(|c| matches!(c, Command::Append(_)))
            else {
                break;
            };
            bytes += record::span(entry.payload.len()) as usize;
            entries.push(entry);
        }
        assert!(!entries.is_empty(), "a batch of nothing");
        let mut data = BytesMut::with_capacity(bytes);
        for entry in &entries {
            let place = Place {
                segment: self.layout.head.id,
                offset: start + data.len() as u64,
            };
            record::encode(&mut data, place, start, entry);
        }
        let file = names::segment(self.layout.head.id);
        let write = DiskOp::Write {
            file: file.clone(),
            offset: start,
            data: data.freeze(),
        };
        let job = jobs.all(DiskLane::Log, [write, DiskOp::Sync { file }], out);
        self.work = Work::Batch { job, entries };
    }

    fn batch_durable(&mut self, entries: &[Entry], out: &mut StoreOut) {
        for entry in entries {
            assert!(self.layout.last.precedes(entry.zxid), "a gap in the log");
            self.layout.last = entry.zxid;
            self.layout.head_end += record::span(entry.payload.len());
            self.index.push_back(Indexed {
                zxid: entry.zxid,
                end: Place {
                    segment: self.layout.head.id,
                    offset: self.layout.head_end,
                },
            });
        }
        self.full = false;
        self.report_durable(out);
    }

    fn report_durable(&mut self, out: &mut StoreOut) {
        let upto = self
            .limit
            .map_or(self.layout.last, |l| l.min(self.layout.last));
        if upto > self.reported {
            self.reported = upto;
            out.events.push(StoreEvent::LogDurable { upto });
        }
    }

    /// Opens the segment that `why` calls for. `leftover` is a failed attempt's number.
    fn open(&mut self, why: Why, leftover: Option<u64>, jobs: &mut Jobs, out: &mut StoreOut) {
        let id = self.layout.next_segment;
        self.layout.next_segment += 1;
        let head = &self.layout.head;
        let end = Place {
            segment: head.id,
            offset: self.layout.head_end,
        };
        let (follows, base, generation) = match why {
            Why::Roll | Why::Escape => (end, self.layout.last, head.generation),
            Why::Truncate(after) => (self.end_of(after), after, head.generation),
            Why::Install { zxid, generation } => (Place::NOWHERE, zxid, generation),
        };
        let header = SegmentHeader {
            id,
            generation,
            follows,
            base,
            sealed: 0,
        };
        let (header, data, _) = header.encode_with(&[]);
        let mut steps = Vec::new();
        if why == Why::Escape {
            // What the failed batch wrote is void; giving it back may make the room.
            steps.push(Step::lenient(vec![DiskOp::Truncate {
                file: names::segment(head.id),
                len: self.layout.head_end,
            }]));
        }
        let leftovers = leftover.map(|id| [names::segment_temp(id), names::segment(id)]);
        steps.push(delete_files(leftovers.into_iter().flatten()));
        steps.extend(open_steps(&header, data));
        let job = jobs.start(DiskLane::Log, steps, out);
        self.work = Work::Opening { job, header, why };
    }

    fn end_of(&self, zxid: Zxid) -> Place {
        if zxid == self.layout.floor {
            return self.layout.floor_end;
        }
        let at = self.index.binary_search_by_key(&zxid, |i| i.zxid);
        self.index[at.expect("the zxid of a cut is in the log")].end
    }

    fn no_space(&mut self, why: Why, leftover: Option<u64>, now: Mono) {
        self.full = true;
        self.work = Work::Full {
            until: now.plus_ms(LOG_RETRY_MS),
            why,
            leftover,
        };
    }

    /// The new head is durable: from here on what it does not follow is void.
    fn opened(&mut self, header: SegmentHeader, why: Why, jobs: &mut Jobs, out: &mut StoreOut) {
        let layout = &mut self.layout;
        layout.closed.push(Closed {
            id: layout.head.id,
            base: layout.head.base,
            end: layout.head_end,
        });
        layout.head = header;
        layout.head_end = header.sealed;
        match why {
            Why::Roll | Why::Escape => {
                self.full &= !self.queue.is_empty();
            }
            Why::Truncate(_) | Why::Install { .. } => {
                let steps = self.clear_void();
                let job = jobs.start(DiskLane::Log, steps, out);
                self.work = Work::Clearing { job, why };
            }
        }
    }

    /// Forgets the void segments; returns the steps that remove them, and the void end of
    /// the segment that the head follows.
    fn clear_void(&mut self) -> Vec<Step> {
        let layout = &mut self.layout;
        let follows = layout.head.follows;
        layout.last = layout.head.base;
        self.index
            .truncate(self.index.partition_point(|i| i.zxid <= layout.last));
        let (kept, void): (Vec<Closed>, Vec<Closed>) =
            layout.closed.iter().partition(|c| c.id <= follows.segment);
        layout.closed = kept;
        let mut steps = Vec::new();
        if let Some(last) = layout.closed.last_mut().filter(|c| c.id == follows.segment)
            && last.end > follows.offset
        {
            last.end = follows.offset;
            steps.push(cut_file(follows));
        }
        steps.push(delete_files(void.iter().map(|c| names::segment(c.id))));
        steps.push(Step::all(vec![DiskOp::SyncDir]));
        steps
    }

    fn cleared(&mut self, why: Why, out: &mut StoreOut) -> Option<Zxid> {
        self.full = false;
        self.queue.pop_front();
        match why {
            Why::Truncate(after) => {
                self.report_cut(after, out);
                None
            }
            Why::Install { zxid, .. } => {
                self.layout.floor = zxid;
                self.layout.floor_end = Place::NOWHERE;
                self.reported = zxid;
                self.lift_limit();
                out.events.push(StoreEvent::Installed { zxid });
                Some(zxid)
            }
            Why::Roll | Why::Escape => unreachable!("these void nothing"),
        }
    }

    fn report_cut(&mut self, last: Zxid, out: &mut StoreOut) {
        if self.reported < last && self.limit.is_none_or(|l| last <= l) {
            self.report_durable(out);
        }
        self.reported = last;
        self.lift_limit();
        out.events.push(StoreEvent::Truncated { last });
    }

    fn lift_limit(&mut self) {
        let cut_waits = self.queue.iter().any(|c| !matches!(c, Command::Append(_)));
        if !cut_waits {
            self.limit = None;
        }
    }
}

/// Steps that give a segment its first bytes, and then its name.
pub(super) fn open_steps(header: &SegmentHeader, data: Bytes) -> Vec<Step> {
    replace_file(
        &names::segment(header.id),
        names::segment_temp(header.id),
        data,
    )
}

/// A step that removes, durably, what lies past `end` in its segment.
pub(super) fn cut_file(end: Place) -> Step {
    let file = names::segment(end.segment);
    assert!(end.offset >= HEADER_BYTES, "a cut into a header");
    Step::all(vec![
        DiskOp::Truncate {
            file: file.clone(),
            len: end.offset,
        },
        DiskOp::Sync { file },
    ])
}
