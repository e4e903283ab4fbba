//! What is written before a recovered store goes on.
//!
//! Every start opens a new head and carries over the records that no witness proves
//! durable. They may be visible only because a process died after a sync that failed (row
//! D5: clean pages over old bytes) or never came (row D1), so syncing the old file proves
//! nothing; writing them anew does. The same goes for the two small files. The order:
//!
//! 1. temporary files of earlier lives go;
//! 2. the mark is replaced, with the damage, if any, *before* the damaged part goes;
//! 3. the new head gets its name: from here on the judgement holds at any later start;
//! 4. both epoch copies are replaced;
//! 5. what became void goes.
//!
//! A power cut between any two leaves a directory that is judged the same, and a full disk
//! repeats all of it with another head.

use super::epochs;
use super::jobs::{Step, delete_files, replace_file};
use super::judge::{Evidence, Verdict};
use super::mark::Mark;
use super::names::{self, MARK};
use super::record::Place;
use super::segment::SegmentHeader;
use super::writer::{Indexed, LogLayout, cut_file, open_steps};
use crate::base::disk::DiskOp;
use std::collections::BTreeMap;

/// What was listed, as far as a repair cares.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Lengths of the segments.
    pub segments: BTreeMap<u64, u64>,
    /// Temporary files.
    pub temps: Vec<String>,
    /// No segment number from this on was ever used.
    pub next_segment: u64,
    /// No serial of a temporary snapshot from this on was ever used.
    pub next_serial: u64,
}

/// One attempt, and what it leaves when it succeeds.
#[derive(Clone, Debug)]
pub(super) struct Repair {
    /// The attempt.
    pub steps: Vec<Step>,
    /// The log afterwards.
    pub layout: LogLayout,
    /// The mark afterwards.
    pub mark: Mark,
    /// The snapshots afterwards: true for the one that was read.
    pub snapshots: BTreeMap<(u64, crate::base::ids::Zxid), bool>,
}

/// Plans the next attempt; `listing` learns of the head it makes.
pub(super) fn plan(listing: &mut Listing, evidence: &Evidence, verdict: &Verdict) -> Repair {
    let id = listing.next_segment;
    listing.next_segment += 1;
    let header = SegmentHeader {
        id,
        generation: verdict.generation,
        follows: verdict.follows,
        base: verdict.base,
        sealed: 0,
    };
    let (header, data, ends) = header.encode_with(&verdict.carried);
    let before = evidence.mark.unwrap_or_default();
    let mark = Mark {
        seq: before.seq + 1,
        damage: verdict.damage,
        ..before
    };

    let mut steps = Vec::new();
    if !listing.temps.is_empty() {
        steps.push(delete_files(listing.temps.iter().cloned()));
        steps.push(Step::all(vec![DiskOp::SyncDir]));
    }
    steps.extend(replace_file(MARK, names::temp(MARK), mark.file()));
    steps.extend(open_steps(&header, data));
    if let Some(copy) = &verdict.epochs {
        steps.extend(epochs::renew(copy));
    }
    steps.extend(clear(listing, evidence, verdict));

    // Should this attempt fail, the next one finds these.
    listing.temps = vec![
        names::temp(MARK),
        names::segment_temp(id),
        names::temp(names::EPOCH_A),
        names::temp(names::EPOCH_B),
    ];
    listing.segments.insert(id, header.sealed);
    Repair {
        steps,
        layout: layout(header, &ends, verdict, id + 1),
        mark,
        snapshots: kept_snapshots(evidence, verdict),
    }
}

fn clear(listing: &Listing, evidence: &Evidence, verdict: &Verdict) -> Vec<Step> {
    let mut steps = Vec::new();
    let follows = verdict.follows;
    let longer = |len: &u64| *len > follows.offset;
    if listing.segments.get(&follows.segment).is_some_and(longer) {
        steps.push(cut_file(follows));
    }
    let kept = |id: &u64| verdict.closed.iter().any(|c| c.id == *id);
    let segments = listing.segments.keys().filter(|id| !kept(id));
    let snapshots = kept_snapshots(evidence, verdict);
    let void = evidence
        .snapshots
        .keys()
        .filter(|key| !snapshots.contains_key(key));
    let segments = segments.map(|id| names::segment(*id));
    let void = void.map(|(generation, zxid)| names::snapshot(*generation, *zxid));
    steps.push(delete_files(segments.chain(void)));
    steps.push(Step::all(vec![DiskOp::SyncDir]));
    steps
}

fn kept_snapshots(
    evidence: &Evidence,
    verdict: &Verdict,
) -> BTreeMap<(u64, crate::base::ids::Zxid), bool> {
    let chosen = evidence.chosen.as_ref().map(|c| (c.generation, c.zxid));
    let found = evidence.snapshots.iter();
    found
        .filter(|((generation, _), good)| *generation == verdict.generation && **good)
        .map(|(key, _)| (*key, Some(*key) == chosen))
        .collect()
}

fn layout(header: SegmentHeader, ends: &[u64], verdict: &Verdict, next_segment: u64) -> LogLayout {
    let floor = verdict.floor();
    let mut layout = LogLayout {
        closed: verdict.closed.clone(),
        head: header,
        head_end: header.sealed,
        index: verdict.index.clone(),
        floor,
        floor_end: verdict.floor_end,
        last: verdict.last(),
        next_segment,
    };
    for (entry, end) in verdict.carried.iter().zip(ends) {
        let end = Place {
            segment: header.id,
            offset: *end,
        };
        let zxid = entry.zxid;
        if zxid == floor {
            layout.floor_end = end;
        } else if zxid > floor {
            layout.index.push(Indexed { zxid, end });
        }
    }
    layout
}
