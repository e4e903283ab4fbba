//! What a search needs to know of a history, gathered once, when the first mismatch comes.
//!
//! Nothing in here depends on where anything is placed.

use super::case::{Case, RequestIndex};
use super::changes::{Aspect, Place, counter, each_change, itself, kids};
use super::choices::makes_ephemeral;
use super::musts;
use super::quiet::Quiet;
use super::refuted;
use super::replay::{Replay, What};
use super::sightings;
use super::unanswered::CandidateIndex;
use super::wants::aspects;
use crate::history::Op;
use crate::model::{Paths, SessionIndex};
use rustc_hash::{FxHashMap, FxHashSet};

/// What a search needs to know.
pub struct Survey {
    /// Requests whose answers nothing unseen explains.
    pub refuted: FxHashSet<RequestIndex>,
    /// Where nothing can have happened.
    pub quiet: Quiet,
    /// The zxids of items that have to do with an aspect, sorted.
    pub marks: FxHashMap<Aspect, Vec<i64>>,
    /// The requests of unknown fate that change an aspect, if they take effect.
    pub changing: FxHashMap<Aspect, Vec<CandidateIndex>>,
    /// For each candidate, the counters that it moves if it takes effect, and by how much;
    /// sorted.
    pub counted: Vec<Vec<(Place, i64)>>,
    /// For each candidate, what its client sent before and after it on the same connection,
    /// of unknown fate too.
    pub neighbours: Vec<[Option<CandidateIndex>; 2]>,
    /// For each candidate, the zxid by which it has happened, if what was seen of it, or of
    /// what its client sent after it on the same connection, is its doing; the greatest
    /// number if nothing was seen.
    pub due: Vec<i64>,
}

impl Replay<'_, '_> {
    /// Gathers the survey and claims what it can; false if that was done before.
    pub(super) fn survey(&mut self) -> bool {
        if self.survey.is_some() {
            return false;
        }
        let refuted = refuted::refuted(
            self.case,
            &self.holes,
            &self.candidates,
            &mut self.tree.paths,
        );
        let quiet = Quiet::of(
            self.case,
            &self.holes,
            &self.candidates,
            &refuted,
            &mut self.tree.paths,
        );
        self.candidates.outlive(&quiet.alive);
        sightings::narrow(self.case, &mut self.tree.paths, &mut self.candidates);
        let mut changing: FxHashMap<Aspect, Vec<CandidateIndex>> = FxHashMap::default();
        let mut counted = Vec::with_capacity(self.candidates.list.len());
        for (number, candidate) in (0..).zip(&self.candidates.list) {
            let mut changed: Vec<Aspect> = Vec::new();
            let mut counts: Vec<Place> = Vec::new();
            if let Some(request) = candidate.request {
                let op = self.case.requests[request as usize].op;
                each_change(op, &mut self.tree.paths, &mut |change| {
                    changed.extend(change.aspects());
                    counts.extend(change.counted());
                });
            }
            counts.sort_unstable();
            let alike = counts.chunk_by(|first, second| first == second);
            counted.push(alike.map(|alike| (alike[0], alike.len() as i64)).collect());
            let lapse = candidate.lapse.iter();
            let gone = lapse.flat_map(|lapse| lapse.changes());
            changed.extend(gone.flat_map(|change| change.aspects()));
            changed.sort_unstable();
            changed.dedup();
            for aspect in changed {
                changing.entry(aspect).or_default().push(number);
            }
        }
        let neighbours = self.neighbours();
        let mut due = musts::seen_by(self.case, &mut self.tree.paths, &self.candidates);
        self.candidates.precede(&due);
        // What is sent on one connection arrives in that order or not at all.
        for number in (0..due.len()).rev() {
            if let Some(next) = neighbours[number][1] {
                due[number] = due[number].min(due[next as usize]);
            }
        }
        self.survey = Some(Survey {
            refuted,
            quiet,
            marks: self.marks(),
            changing,
            counted,
            neighbours,
            due,
        });
        self.claim_seen();
        true
    }

    fn neighbours(&self) -> Vec<[Option<CandidateIndex>; 2]> {
        let list = &self.candidates.list;
        let mut neighbours = vec![[None, None]; list.len()];
        let mut last: FxHashMap<(SessionIndex, u32), CandidateIndex> = FxHashMap::default();
        for (number, candidate) in (0..).zip(list) {
            let Some(request) = candidate.request else {
                continue;
            };
            let connection = self.case.requests[request as usize].connection;
            if let Some(before) = last.insert((candidate.session, connection), number) {
                neighbours[number as usize][0] = Some(before);
                neighbours[before as usize][1] = Some(number);
            }
        }
        neighbours
    }

    fn marks(&mut self) -> FxHashMap<Aspect, Vec<i64>> {
        let (case, paths) = (self.case, &mut self.tree.paths);
        let ephemerals = ephemerals_asked_for(case, paths);
        let mut marks: FxHashMap<Aspect, Vec<i64>> = FxHashMap::default();
        let mut concerned: Vec<Aspect> = Vec::new();
        for &(zxid, what) in &self.items {
            match what {
                What::Hole(hole) => {
                    for evidence in &self.holes[hole as usize].1 {
                        let parent = paths.parent(evidence.path);
                        concerned.extend([itself(evidence.path), kids(evidence.path)]);
                        concerned.extend([itself(parent), kids(parent)]);
                        concerned.extend([counter(evidence.path), counter(parent)]);
                    }
                }
                What::Transaction(request) => {
                    let request = &case.requests[request as usize];
                    aspects(request.op, paths, &mut concerned);
                    if matches!(request.op, Op::Close) {
                        concerned.extend(ephemerals.get(&request.session).into_iter().flatten());
                    }
                }
                What::Read(request) => {
                    let path = case.requests[request as usize].path;
                    concerned.extend([itself(path), kids(path), counter(path)]);
                }
            }
            for aspect in concerned.drain(..) {
                let list = marks.entry(aspect).or_default();
                if list.last() != Some(&zxid) {
                    list.push(zxid);
                }
            }
        }
        marks
    }
}

/// What the end of each session may change: the ephemerals it asked for, whatever came of it.
fn ephemerals_asked_for<'h>(
    case: &Case<'h>,
    paths: &mut Paths<'h>,
) -> FxHashMap<SessionIndex, Vec<Aspect>> {
    let mut asked: FxHashMap<SessionIndex, Vec<Aspect>> = FxHashMap::default();
    for request in case
        .requests
        .iter()
        .filter(|request| makes_ephemeral(request.op))
    {
        aspects(request.op, paths, asked.entry(request.session).or_default());
    }
    for list in asked.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    asked
}
