//! Transactions that were seen, but that no answered request claims.
//!
//! A Stat or a notification names the zxid of a change. If no answered transaction has that
//! number, something of unknown fate does, and what was seen says a good deal about it:
//! which path, created or changed, which bytes and version it left.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen".

use super::case::{Case, Request, Role};
use crate::history::{Answer, Body, EventType, Op, Path, Stat, Value};
use crate::model::{PathId, Paths};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// Most pieces of evidence kept for one number; more of the same adds nothing.
const EVIDENCE_PER_ZXID_MAX: usize = 32;

/// What an unclaimed transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Made the node.
    Created,
    /// Made or set the node.
    Modified,
    /// Made or deleted a child.
    ChildChanged,
    /// Fired this.
    Fired(EventType),
}

/// One observation of an unclaimed transaction.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'h> {
    /// What it did.
    pub deed: Deed,
    /// To which path.
    pub path: PathId,
    /// Who saw it.
    pub record: u32,
    /// The version it left, where it can be told.
    pub version: Option<i32>,
    /// The bytes it left, where they were read.
    pub data: Option<Option<&'h Value>>,
    /// The Stat of the node it left, where it changed the node's children last.
    pub left: Option<&'h Stat>,
}

/// All unclaimed transactions, by zxid.
pub type Holes<'h> = BTreeMap<i64, Vec<Evidence<'h>>>;

/// Collects the evidence of a case.
pub fn collect<'h>(case: &Case<'h>, paths: &mut Paths<'h>) -> Holes<'h> {
    let claimed: FxHashSet<i64> = case
        .requests
        .iter()
        .filter(|request| request.role == Role::Transaction)
        .map(|request| request.zxid)
        .collect();
    let mut collector = Collector {
        claimed,
        start: case.start_zxid,
        holes: Holes::new(),
    };
    for request in &case.requests {
        each_stat(request, paths, |path, stat, data, _| {
            collector.stat(request.done, path, stat, data);
        });
    }
    for (index, record) in case.history.records.iter().enumerate() {
        if let Body::Notify { zxid, event, path } = &record.body
            && *zxid > 0
        {
            let path = paths.id(path);
            let seen = Evidence {
                deed: Deed::Fired(*event),
                path,
                record: index as u32,
                version: None,
                data: None,
                left: None,
            };
            collector.add(*zxid, seen);
        }
    }
    collector.holes
}

struct Collector<'h> {
    claimed: FxHashSet<i64>,
    start: i64,
    holes: Holes<'h>,
}

/// The bytes that came with a Stat, if they were read.
type Bytes<'h> = Option<Option<&'h Value>>;

/// Visits every Stat that a request was answered with, and what its transaction did after it
/// was taken: the later parts of a multi.
pub fn each_stat<'h>(
    request: &Request<'h>,
    paths: &mut Paths<'h>,
    mut visit: impl FnMut(PathId, &'h Stat, Bytes<'h>, &'h [Op]),
) {
    let Some(Ok(answer)) = request.answer else {
        return;
    };
    if let (Answer::Multi(results), Op::Multi { ops }) = (answer, request.op) {
        for ((op, result), later) in ops.iter().zip(results).zip(1..) {
            if let (Some(path), Ok(answer)) = (op.path(), result)
                && let Some((stat, data)) = stat_of(answer)
            {
                let path = paths.id(made(answer).unwrap_or(path));
                visit(path, stat, data, &ops[later..]);
            }
        }
    } else if let Some((stat, data)) = stat_of(answer) {
        let path = match made(answer) {
            Some(path) => paths.id(path),
            None => request.path,
        };
        visit(path, stat, data, &[]);
    }
}

fn stat_of(answer: &Answer) -> Option<(&Stat, Bytes<'_>)> {
    match answer {
        Answer::Created { stat, .. }
        | Answer::Stat(stat)
        | Answer::NamesStat { stat, .. }
        | Answer::Acl { stat, .. } => Some((stat, None)),
        Answer::Data { data, stat } => Some((stat, Some(data.as_ref()))),
        Answer::Done | Answer::Path(_) | Answer::Names(_) | Answer::Multi(_) => None,
    }
}

impl<'h> Collector<'h> {
    fn stat(&mut self, record: u32, path: PathId, stat: &'h Stat, data: Option<Option<&'h Value>>) {
        let Stat {
            czxid,
            mzxid,
            pzxid,
            ..
        } = *stat;
        let seen = Evidence {
            deed: Deed::Modified,
            path,
            record,
            version: Some(stat.version),
            data,
            left: None,
        };
        self.add(mzxid, seen);
        let created = Evidence {
            deed: Deed::Created,
            version: None,
            data: data.filter(|_| czxid == mzxid),
            ..seen
        };
        self.add(czxid, created);
        if pzxid != czxid {
            let changed = Evidence {
                deed: Deed::ChildChanged,
                left: Some(stat),
                data: None,
                ..created
            };
            self.add(pzxid, changed);
        }
    }

    fn add(&mut self, zxid: i64, seen: Evidence<'h>) {
        if zxid <= self.start || self.claimed.contains(&zxid) {
            return;
        }
        let list = self.holes.entry(zxid).or_default();
        let known = list
            .iter_mut()
            .find(|known| known.deed == seen.deed && known.path == seen.path);
        if let Some(known) = known {
            // The first who saw it stays on record; later ones may know more.
            known.version = known.version.or(seen.version);
            known.data = known.data.or(seen.data);
        } else if list.len() < EVIDENCE_PER_ZXID_MAX {
            list.push(seen);
        }
    }
}

/// The node that an answered create made.
pub fn made(answer: &Answer) -> Option<&Path> {
    match answer {
        Answer::Path(path) | Answer::Created { path, .. } => Some(path),
        Answer::Done
        | Answer::Stat(_)
        | Answer::Data { .. }
        | Answer::Names(_)
        | Answer::NamesStat { .. }
        | Answer::Acl { .. }
        | Answer::Multi(_) => None,
    }
}
