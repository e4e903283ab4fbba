//! Sums: how many children a node is missed, made and gone, and who could make them up.
//!
//! A Stat says how many children were ever made below a node, and how many are left. Where the
//! tree has other numbers, what happened unseen adds up to the differences: lost creates, lost
//! deletes, and ends of sessions, which take all of a session's ephemerals at once, those of
//! its lost creates too. Placed one by one, each looks as good as any other; which of them can
//! be part of an exact sum is known beforehand.
//!
//! What it is not: a proof. Windows are taken as wide as they can be, but what else holds a
//! candidate back is not looked at, so what does not add up here is only left for later.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "counted".

use super::changes::{Change, each_change};
use super::choices::makes_ephemeral;
use super::evidence::{Deed, Evidence};
use super::replay::{Mismatch, Replay, What};
use super::unanswered::CandidateIndex;
use crate::history::{Answer, EventType, Stat};
use crate::model::{Diff, PathId, SessionIndex};
use std::collections::BTreeMap;

/// Greatest sum that is looked at.
const SUM_MAX: i64 = 64;

/// How many children more were made below a node, and how many more are gone, than the walk
/// knows of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    pub(super) path: PathId,
    made: i64,
    gone: i64,
}

/// Where a candidate is to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Somewhere before what does not add up.
    Before,
    /// Right there: what its session did comes before it, and the session's end after.
    There,
}

/// What a session can add to a sum.
#[derive(Debug, Default)]
struct Share {
    /// Creates of ephemerals, of unknown fate.
    creates: Vec<CandidateIndex>,
    /// How many ephemerals it has there now.
    owned: i64,
    /// Its end, if that can be placed.
    end: Option<CandidateIndex>,
    /// It has ended: what it makes before that is gone by now.
    ended: bool,
}

/// All that can add to a sum.
pub(super) struct Addends {
    missed: Missed,
    shares: BTreeMap<SessionIndex, Share>,
    /// Others, each with the children it makes and takes away.
    loose: Vec<(CandidateIndex, i64, i64)>,
}

/// The sums that can be reached so far, by children made and gone.
struct Reached {
    missed: Missed,
    cells: Vec<bool>,
}

impl Replay<'_, '_> {
    /// What does not add up, if what was seen says so.
    pub(super) fn missed(&self, what: What, why: &Mismatch) -> Option<Missed> {
        let (path, seen) = match (what, why) {
            (What::Hole(hole), Mismatch::Unclaimed(_)) => {
                let evidence = self.holes[hole as usize].1.iter();
                let mut counted = evidence.filter_map(|seen| Some((seen.path, seen.left?)));
                counted.next()?
            }
            (What::Hole(hole), Mismatch::Differs(Diff::Stat { path, .. })) => {
                let evidence = self.holes[hole as usize].1.iter();
                let mut counted = evidence.filter(|seen| seen.path == *path);
                (*path, counted.find_map(|seen| seen.left)?)
            }
            (What::Read(request), Mismatch::Differs(Diff::Stat { path, .. })) => {
                let request = &self.case.requests[request as usize];
                match request.answer {
                    Some(Ok(
                        Answer::Stat(stat)
                        | Answer::Data { stat, .. }
                        | Answer::NamesStat { stat, .. }
                        | Answer::Acl { stat, .. },
                    )) if request.path == *path => (*path, stat),
                    Some(_) | None => return None,
                }
            }
            (_, _) => return None,
        };
        let node = self.tree.node(path);
        let Stat {
            cversion,
            num_children,
            czxid,
            ..
        } = *seen;
        if !node.exists || node.czxid != czxid {
            return None;
        }
        let made = i64::from(cversion.wrapping_add(num_children) / 2) - i64::from(node.creates);
        let left = i64::from(num_children) - i64::from(node.children);
        let gone = made - left;
        (made <= SUM_MAX && gone <= SUM_MAX).then_some(Missed { path, made, gone })
    }

    /// What could add up to it before `bound`; None if that cannot be told.
    pub(super) fn addends(&mut self, missed: Missed, bound: i64) -> Option<Addends> {
        let mut addends = Addends {
            missed,
            shares: BTreeMap::new(),
            loose: Vec::new(),
        };
        let providing = &self.candidates.providing;
        let more = providing.get(&Change::MoreKids(missed.path));
        let fewer = providing.get(&Change::FewerKids(missed.path));
        let mut numbers: Vec<CandidateIndex> = Vec::new();
        numbers.extend(more.into_iter().chain(fewer).flatten());
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let candidate = &self.candidates.list[number as usize];
            let session = candidate.session;
            if !self.has_window(number, bound) {
                continue;
            }
            let Some(request) = candidate.request else {
                // A node that goes by itself.
                addends.loose.push((number, 0, 1));
                continue;
            };
            let op = self.case.requests[request as usize].op;
            let (mut made, mut gone) = (0, 0);
            each_change(op, &mut self.tree.paths, &mut |change| {
                made += i64::from(change == Change::MoreKids(missed.path));
                gone += i64::from(change == Change::FewerKids(missed.path));
            });
            match (makes_ephemeral(op), (made, gone)) {
                (true, (1, 0)) => addends
                    .shares
                    .entry(session)
                    .or_default()
                    .creates
                    .push(number),
                (true, _) => return None,
                (false, _) => addends.loose.push((number, made, gone)),
            }
        }
        for (session, &end) in (0..).zip(&self.candidates.end_of) {
            let owned = self.tree.ephemerals_of(session);
            let owned = owned.filter(|&path| self.tree.paths.parent(path) == missed.path);
            let owned = owned.count() as i64;
            if owned == 0 && !addends.shares.contains_key(&session) {
                continue;
            }
            let share = addends.shares.entry(session).or_default();
            share.owned = owned;
            share.ended = self.tree.ended(session).is_some();
            share.end = Some(end).filter(|&end| !share.ended && self.has_window(end, bound));
        }
        Some(addends)
    }

    /// True if a session's end would take away nothing of what was seen to go at a hole.
    pub(super) fn is_idle(&self, number: CandidateIndex, hole: usize) -> bool {
        let candidate = &self.candidates.list[number as usize];
        let gone = |evidence: &Evidence<'_>, path: PathId| match evidence.deed {
            Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                self.tree.paths.parent(path) == evidence.path
            }
            Deed::Fired(EventType::NodeDeleted) => path == evidence.path,
            Deed::Created | Deed::Modified | Deed::Fired(_) => false,
        };
        candidate.is_end()
            && self.holes[hole].1.iter().any(|evidence| {
                let mut owned = self.tree.ephemerals_of(candidate.session);
                !owned.any(|path| gone(evidence, path))
            })
    }

    /// True if a candidate is not placed, and something is left of its window before `bound`.
    fn has_window(&self, number: CandidateIndex, bound: i64) -> bool {
        let candidate = &self.candidates.list[number as usize];
        let (after, before) = self.among_siblings(number);
        let (low, high) = (
            candidate.low.max(after),
            candidate.high.min(before).min(bound),
        );
        candidate.assigned.is_none() && low.saturating_add(1) < high
    }
}

impl Addends {
    /// True if a candidate placed somewhere can be part of an exact sum.
    pub(super) fn fits(&self, number: CandidateIndex, place: Where) -> bool {
        let mut reached = Reached::nothing(self.missed);
        for share in self.shares.values() {
            let mut ways = share.ways();
            if share.end == Some(number) {
                ways.retain(|way| way.ends);
            } else if share.creates.contains(&number) {
                ways.retain(|way| way.made > 0 && !(way.ends && place == Where::There));
            }
            reached.add(&ways);
        }
        for &(other, made, gone) in &self.loose {
            let taken = Way {
                made,
                gone,
                ends: false,
            };
            match other == number {
                true => reached.add(&[taken]),
                false => reached.add(&[Way::NONE, taken]),
            }
        }
        reached.all()
    }
}

/// One way in which a session can add to a sum.
#[derive(Debug, Clone, Copy)]
struct Way {
    made: i64,
    gone: i64,
    /// It ends the session.
    ends: bool,
}

impl Way {
    const NONE: Way = Way {
        made: 0,
        gone: 0,
        ends: false,
    };
}

impl Share {
    fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        for made in 0..=self.creates.len() as i64 {
            let gone = if self.ended { made } else { 0 };
            ways.push(Way {
                made,
                gone,
                ends: false,
            });
            if self.end.is_some() {
                ways.push(Way {
                    made,
                    gone: self.owned + made,
                    ends: true,
                });
            }
        }
        ways
    }
}

impl Reached {
    fn nothing(missed: Missed) -> Self {
        let size = (missed.made + 1).max(0) * (missed.gone + 1).max(0);
        let mut cells = vec![false; size as usize];
        cells.iter_mut().take(1).for_each(|cell| *cell = true);
        Reached { missed, cells }
    }

    fn add(&mut self, ways: &[Way]) {
        let width = self.missed.gone + 1;
        let mut next = vec![false; self.cells.len()];
        for (cell, _) in (0i64..).zip(&self.cells).filter(|(_, reached)| **reached) {
            let (made, gone) = (cell / width, cell % width);
            for way in ways {
                let (made, gone) = (made + way.made, gone + way.gone);
                if made <= self.missed.made && gone <= self.missed.gone {
                    next[(made * width + gone) as usize] = true;
                }
            }
        }
        self.cells = next;
    }

    /// True if everything that is missed can be reached.
    fn all(&self) -> bool {
        self.cells.last().copied().unwrap_or(false)
    }
}
