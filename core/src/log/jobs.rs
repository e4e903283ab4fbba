//! Numbered disk operations, gathered into jobs of steps.
//!
//! A step's operations are submitted together and take effect in order; the next step is
//! submitted only after every one of them succeeded. A file gets its final name in the
//! step *after* the one that synced it: the name is the promise. A job that failed ran no
//! later step, and a lenient step (deletions of what is void anyway) cannot fail.

use super::StoreOut;
use crate::base::disk::{DiskDone, DiskError, DiskLane, DiskOp, DiskRequest, DiskToken, DiskValue};
use std::collections::VecDeque;

/// A job's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct JobId(u64);

/// Operations submitted together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    ops: Vec<DiskOp>,
    lenient: bool,
}

impl Step {
    /// Operations that must all succeed.
    pub fn all(ops: Vec<DiskOp>) -> Step {
        Step {
            ops,
            lenient: false,
        }
    }

    /// Operations that may fail.
    pub fn lenient(ops: Vec<DiskOp>) -> Step {
        Step { ops, lenient: true }
    }
}

/// The worst that happened to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// The error.
    pub error: DiskError,
    /// What failed.
    pub verb: &'static str,
}

impl Failure {
    /// True when all that is known to be wrong is the lack of space.
    pub fn no_space(&self) -> bool {
        self.error == DiskError::NoSpace
    }

    /// True when a directory could not be made durable: no name made since the last
    /// success can be trusted any more, whosever it is.
    pub fn names_in_doubt(&self) -> bool {
        self.verb == "sync-dir" && !self.no_space()
    }

    /// For people.
    pub fn reason(&self, whose: &str) -> String {
        format!("{whose}: {}: {}", self.verb, self.error)
    }
}

/// What a finished job brings: the last operation's value.
pub(super) type JobResult = Result<DiskValue, Failure>;

#[derive(Clone, Debug)]
struct Job {
    lane: DiskLane,
    steps: VecDeque<Step>,
    outstanding: usize,
    lenient: bool,
    value: DiskValue,
    failure: Option<Failure>,
}

/// Every job under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    next_token: u64,
    next_job: u64,
    /// Oldest first. A handful at a time, and mostly the oldest is done first: a list is
    /// searched faster than a map.
    tokens: VecDeque<Under>,
    /// In no order.
    jobs: Vec<(JobId, Job)>,
}

/// An operation under way.
#[derive(Clone, Copy, Debug)]
struct Under {
    token: DiskToken,
    job: JobId,
    verb: &'static str,
}

impl Jobs {
    /// Submits the first step of a job; there must be at least one operation in all.
    pub fn start(&mut self, lane: DiskLane, steps: Vec<Step>, out: &mut StoreOut) -> JobId {
        let steps: VecDeque<Step> = steps.into_iter().filter(|s| !s.ops.is_empty()).collect();
        assert!(!steps.is_empty(), "a job with nothing to do");
        let (id, mut job) = self.begin(lane, steps);
        self.next_step(id, &mut job, out);
        self.jobs.push((id, job));
        id
    }

    fn begin(&mut self, lane: DiskLane, steps: VecDeque<Step>) -> (JobId, Job) {
        let id = JobId(self.next_job);
        self.next_job += 1;
        let job = Job {
            lane,
            steps,
            outstanding: 0,
            lenient: false,
            value: DiskValue::Done,
            failure: None,
        };
        (id, job)
    }

    /// Submits a job of one step, whose operations must all succeed; there must be one.
    pub fn all<const N: usize>(
        &mut self,
        lane: DiskLane,
        ops: [DiskOp; N],
        out: &mut StoreOut,
    ) -> JobId {
        const { assert!(N > 0, "a job with nothing to do") };
        let (id, mut job) = self.begin(lane, VecDeque::new());
        self.submit(id, &mut job, false, N, ops, out);
        self.jobs.push((id, job));
        id
    }

    /// Takes a completion; returns the job when it is finished. A token that is not known
    /// is the shell's mistake, and ignored.
    pub fn done(&mut self, done: DiskDone, out: &mut StoreOut) -> Option<(JobId, JobResult)> {
        let token = self.tokens.iter().position(|t| t.token == done.token)?;
        let Under { job: id, verb, .. } = self.tokens.remove(token)?;
        let at = self.jobs.iter().position(|(job, _)| *job == id)?;
        let job = &mut self.jobs[at].1;
        assert!(job.outstanding > 0, "a completion too many");
        job.outstanding -= 1;
        match done.result {
            Ok(value) => job.value = value,
            Err(_) if job.lenient => {}
            Err(error) => job.blame(Failure { error, verb }),
        }
        if job.outstanding > 0 {
            return None;
        }
        let (id, mut job) = self.jobs.swap_remove(at);
        if let Some(failure) = job.failure {
            return Some((id, Err(failure)));
        }
        if job.steps.is_empty() {
            return Some((id, Ok(job.value)));
        }
        self.next_step(id, &mut job, out);
        self.jobs.push((id, job));
        None
    }

    fn next_step(&mut self, id: JobId, job: &mut Job, out: &mut StoreOut) {
        let Step { ops, lenient } = job.steps.pop_front().expect("a step is left");
        self.submit(id, job, lenient, ops.len(), ops, out);
    }

    fn submit(
        &mut self,
        id: JobId,
        job: &mut Job,
        lenient: bool,
        count: usize,
        ops: impl IntoIterator<Item = DiskOp>,
        out: &mut StoreOut,
    ) {
        job.outstanding = count;
        job.lenient = lenient;
        for op in ops {
            let token = DiskToken(self.next_token);
            self.next_token += 1;
            self.tokens.push_back(Under {
                token,
                job: id,
                verb: verb(&op),
            });
            out.disk.push(DiskRequest {
                token,
                lane: job.lane,
                op,
            });
        }
    }
}

impl Job {
    /// The first failure counts, except that after a lack of space a device that fails
    /// is worse news. (A file that was not created for lack of space is not found either;
    /// that is no news.)
    fn blame(&mut self, failure: Failure) {
        match self.failure {
            None => self.failure = Some(failure),
            Some(earlier) if earlier.no_space() && failure.error == DiskError::Io => {
                self.failure = Some(failure);
            }
            Some(_) => {}
        }
    }
}

fn verb(op: &DiskOp) -> &'static str {
    match op {
        DiskOp::Create { .. } => "create",
        DiskOp::Write { .. } => "write",
        DiskOp::Sync { .. } => "sync",
        DiskOp::Truncate { .. } => "truncate",
        DiskOp::Rename { .. } => "rename",
        DiskOp::Delete { .. } => "delete",
        DiskOp::SyncDir => "sync-dir",
        DiskOp::Read { .. } => "read",
        DiskOp::List => "list",
    }
}

/// Steps that put a whole file in place, durably, or not at all.
pub(super) fn replace_file(name: &str, temp: String, data: bytes::Bytes) -> Vec<Step> {
    vec![
        Step::all(vec![
            DiskOp::Create { file: temp.clone() },
            DiskOp::Write {
                file: temp.clone(),
                offset: 0,
                data,
            },
            DiskOp::Sync { file: temp.clone() },
        ]),
        Step::all(vec![
            DiskOp::Rename {
                from: temp,
                to: name.to_owned(),
            },
            DiskOp::SyncDir,
        ]),
    ]
}

/// A step that removes files nobody needs.
pub(super) fn delete_files(files: impl IntoIterator<Item = String>) -> Step {
    Step::lenient(
        files
            .into_iter()
            .map(|file| DiskOp::Delete { file })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(
        out: &mut StoreOut,
        jobs: &mut Jobs,
        errors: &[(usize, DiskError)],
    ) -> Option<JobResult> {
        let requests = std::mem::take(&mut out.disk);
        let mut last = None;
        for (i, request) in requests.iter().enumerate() {
            let error = errors.iter().find(|(at, _)| *at == i).map(|(_, e)| *e);
            let result = error.map_or(Ok(DiskValue::Done), Err);
            let token = request.token;
            last = jobs.done(DiskDone { token, result }, out).map(|(_, r)| r);
        }
        last
    }

    #[test]
    fn a_file_gets_its_name_only_after_its_sync_returned() {
        let (mut jobs, mut out) = (Jobs::default(), StoreOut::default());
        let steps = replace_file("x", "x.tmp".into(), bytes::Bytes::from_static(b"1"));
        jobs.start(DiskLane::Log, steps, &mut out);
        assert_eq!(out.disk.len(), 3);
        assert_eq!(answer(&mut out, &mut jobs, &[]), None);
        assert!(matches!(out.disk[0].op, DiskOp::Rename { .. }));
        assert_eq!(answer(&mut out, &mut jobs, &[]), Some(Ok(DiskValue::Done)));
    }

    #[test]
    fn no_step_follows_a_failed_one_and_the_worst_error_counts() {
        let (mut jobs, mut out) = (Jobs::default(), StoreOut::default());
        let steps = replace_file("x", "x.tmp".into(), bytes::Bytes::from_static(b"1"));
        jobs.start(DiskLane::Log, steps, &mut out);
        let errors = [(1, DiskError::NoSpace), (2, DiskError::Io)];
        let failure = Failure {
            error: DiskError::Io,
            verb: "sync",
        };
        assert_eq!(answer(&mut out, &mut jobs, &errors), Some(Err(failure)));
        assert!(out.disk.is_empty());
    }

    #[test]
    fn a_lenient_step_cannot_fail() {
        let (mut jobs, mut out) = (Jobs::default(), StoreOut::default());
        jobs.start(DiskLane::Log, vec![delete_files(["gone".into()])], &mut out);
        let errors = [(0, DiskError::NotFound)];
        assert_eq!(
            answer(&mut out, &mut jobs, &errors),
            Some(Ok(DiskValue::Done))
        );
    }
}
