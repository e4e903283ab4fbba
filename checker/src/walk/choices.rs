//! The choices: what could have happened before a mismatch so that there is none.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions.

use super::changes::{Aspect, Change, counter, itself, kids, path_of};
use super::evidence::Deed;
use super::lapses::makes_lapsing;
use super::mend::Conflict;
use super::replay::{Mismatch, Replay, What};
use super::room::{Fill, Full};
use super::slots::Stretches;
use super::sums::Where;
use super::unanswered::{CandidateIndex, Owned};
use super::wants::{number_of, wants};
use crate::history::{EventType, Op};
use crate::model::{Diff, NO_PATH, PathId, SessionIndex};
use rustc_hash::FxHashSet;
use std::cmp::Reverse;

/// Whose ephemerals the end of a session takes away.
#[derive(Clone, Copy)]
enum Reach {
    /// Those that the tree has now: of no other can the end be missed.
    Now,
    /// Those that it ever had, whatever was placed.
    Ever,
}

impl Replay<'_, '_> {
    /// What could be placed where to mend a mismatch at `place`; the best last. What stands
    /// in the way is added to `conflict`.
    pub(super) fn alternatives(
        &mut self,
        place: i64,
        what: What,
        why: &Mismatch,
        conflict: &mut Conflict,
    ) -> Vec<(CandidateIndex, i64)> {
        let mut alternatives = Vec::new();
        let mut in_the_way = Vec::new();
        // A read sees what happened at its own zxid.
        let bound = match (what, why) {
            (What::Read(_), Mismatch::Differs(_)) => place.saturating_add(1),
            (_, _) => place,
        };
        let mut wanted = self.wanted(place, what, why);
        let sums = match self.search.thorough {
            true => None,
            false => self.missed(what, why),
        };
        let sums = sums
            .and_then(|missed| Some((missed.path, self.addends(missed, place.saturating_add(1))?)));
        let adds_up = |number: CandidateIndex, there: Where| {
            sums.as_ref()
                .is_none_or(|(_, addends)| addends.fits(number, there))
        };
        let before = wanted.len();
        wanted.retain(|&(number, _)| adds_up(number, Where::Before));
        let mut dropped = wanted.len() < before;
        let unlikely = match why {
            Mismatch::Differs(_) | Mismatch::OtherDeed(_) | Mismatch::Misplaced(_, Some(_)) => {
                let mut others = self.changing(place, &conflict.relevant);
                others.retain(|(other, _)| wanted.iter().all(|(number, _)| number != other));
                others
            }
            Mismatch::Unclaimed(_) | Mismatch::AfterEnd | Mismatch::Misplaced(_, None) => {
                Vec::new()
            }
        };
        let mut could_be = Vec::new();
        let mut fill = Fill::default();
        for (number, floor) in unlikely {
            // One that is left out means that the search is no proof.
            if self.search.thorough || !self.search.cut_short {
                self.places(
                    number,
                    (floor, bound),
                    &mut fill,
                    &mut could_be,
                    &mut in_the_way,
                );
                self.search.cut_short |= !self.search.thorough && !could_be.is_empty();
            }
        }
        if self.search.thorough {
            alternatives.append(&mut could_be);
        }
        let begin = alternatives.len();
        let short = self.short_of(why).is_some();
        let among: FxHashSet<CandidateIndex> = wanted.iter().map(|&(number, _)| number).collect();
        for (number, floor) in wanted {
            let assigned = self.candidates.list[number as usize].assigned;
            if short && assigned.is_some_and(|place| place < bound) {
                // It is counted.
                continue;
            }
            self.places(
                number,
                (floor, bound),
                &mut fill,
                &mut alternatives,
                &mut in_the_way,
            );
        }
        if !self.search.thorough
            && alternatives.len() > begin
            && self.too_few(&alternatives[begin..], bound, why, &mut in_the_way)
        {
            alternatives.truncate(begin);
            self.search.cut_short = true;
        }
        let alternatives_wanted = &mut alternatives[begin..];
        // What happens mostly happens soon after it can, and what a client sent together
        // happens together: the nearest place is tried first.
        alternatives_wanted.sort_by_cached_key(|&(number, slot)| {
            let far = self
                .likely(number)
                .map_or(0, |likely| (slot - likely).abs());
            let due = self.due(number);
            let turn = if due < i64::MAX {
                number
            } else {
                CandidateIndex::MAX
            };
            let skipped = self.skipped(number, &among);
            // Of equals what was sent first is tried first, so that the next finds room.
            (Reverse((due, turn, skipped, far)), slot, Reverse(number))
        });
        alternatives.dedup();
        if let (What::Hole(hole), Mismatch::Unclaimed(_)) = (what, why) {
            let begin = alternatives.len();
            for number in self.suspects(hole as usize) {
                if self.is_idle(number, hole as usize) && !self.search.thorough {
                    self.search.cut_short = true;
                    continue;
                }
                if self.candidates.list[number as usize].assigned.is_some() {
                    if !self.claimed.contains_key(&number) {
                        in_the_way.push(number);
                    }
                    continue;
                }
                let (after, before) = self.among_siblings(number);
                if place <= after || place >= before {
                    in_the_way.extend(self.placed_siblings(number));
                } else if self.fits_hole(number, place, hole as usize) {
                    match adds_up(number, Where::There) {
                        true => alternatives.push((number, place)),
                        false => dropped = true,
                    }
                }
            }
            alternatives[begin..].sort_by_key(|&(number, _)| !self.cuts_off(number, place));
        }
        conflict.holders.append(&mut in_the_way);
        if dropped && let Some((path, _)) = sums {
            self.search.cut_short = true;
            conflict.relevant.extend([kids(path), counter(path)]);
        }
        alternatives
    }

    /// Where one candidate could lie after `floor` and before `bound`.
    fn places(
        &mut self,
        number: CandidateIndex,
        (floor, bound): (i64, i64),
        fill: &mut Fill,
        found: &mut Vec<(CandidateIndex, i64)>,
        in_the_way: &mut Vec<CandidateIndex>,
    ) {
        let candidate = &self.candidates.list[number as usize];
        if candidate.assigned.is_some() {
            if !self.claimed.contains_key(&number) {
                in_the_way.push(number);
            }
            return;
        }
        let (low, high) = (candidate.low.max(floor), candidate.high.min(bound));
        let (after, before) = self.among_siblings(number);
        if after > low || before < high {
            in_the_way.extend(self.placed_siblings(number));
        }
        let mut concerned = Vec::new();
        self.touched(number, &mut concerned);
        let full = self.full_gaps(number, (low, high), fill, in_the_way);
        let survey = self.survey.as_ref();
        let marks: Vec<&[i64]> = concerned
            .iter()
            .filter_map(|aspect| survey?.marks.get(aspect).map(Vec::as_slice))
            .collect();
        let search = Stretches {
            low: low.max(after),
            high: high.min(before),
            marks: &marks,
            excluded: &|zxid| {
                Full::excludes(&full, zxid).or_else(|| self.excluded(number, zxid, true))
            },
        };
        if let Some(likely) = self.likely(number)
            && self.slots.is_open(likely, &search, &self.assigned)
        {
            found.push((number, likely));
        }
        let places_max = self.options.places_max;
        let cut = self
            .slots
            .between(&search, &self.assigned, places_max, |slot| match slot {
                Ok(free) => found.push((number, free)),
                Err(holder) => in_the_way.push(holder),
            });
        self.search.cut_short |= cut;
        self.holders_of_its_numbers(number, bound, in_the_way);
    }

    /// What was seen at a number may be its doing, though another is placed there.
    fn holders_of_its_numbers(
        &self,
        number: CandidateIndex,
        bound: i64,
        in_the_way: &mut Vec<CandidateIndex>,
    ) {
        let candidate = &self.candidates.list[number as usize];
        let low = candidate.low.saturating_add(1);
        let high = candidate.high.min(bound).max(low);
        for (&zxid, &holder) in self.assigned.range(low..high) {
            if self.claimed.contains_key(&holder) {
                continue;
            }
            let hole = self.holes.binary_search_by_key(&zxid, |(zxid, _)| *zxid);
            if hole.is_ok_and(|hole| self.fits_hole(number, zxid, hole)) {
                in_the_way.push(holder);
            }
        }
    }

    /// Candidates that change something of what a mismatch at `place` hangs on, and after
    /// which zxid.
    fn changing(&self, place: i64, relevant: &[Aspect]) -> Vec<(CandidateIndex, i64)> {
        let mut found = Vec::new();
        for aspect in relevant {
            let requests = self
                .survey
                .as_ref()
                .and_then(|survey| survey.changing.get(aspect));
            let floor = self.born(path_of(*aspect), place);
            found.extend(requests.into_iter().flatten().map(|&each| (each, floor)));
        }
        for (session, &end) in self.candidates.end_of.iter().enumerate() {
            let mut ephemerals = self.tree.ephemerals_ever(session as SessionIndex);
            if ephemerals.any(|path| {
                relevant.contains(&itself(path))
                    || relevant.contains(&kids(self.tree.paths.parent(path)))
            }) {
                found.push((end, i64::MIN));
            }
        }
        self.sorted(found)
    }

    /// The zxid that made the node which somebody saw at `place`: what happened to its path
    /// before that has left nothing on it. The least number if nobody did.
    fn born(&self, path: PathId, place: i64) -> i64 {
        let survey = self.survey.as_ref();
        let seen = survey.and_then(|survey| survey.quiet.life_at(path, place));
        seen.unwrap_or(i64::MIN)
    }

    /// Each candidate once, with the lowest zxid that is named for it.
    fn sorted(&self, mut found: Vec<(CandidateIndex, i64)>) -> Vec<(CandidateIndex, i64)> {
        let low = |number: CandidateIndex| self.candidates.list[number as usize].low;
        found.sort_unstable_by_key(|&(number, floor)| (low(number), number, floor));
        found.dedup_by_key(|&mut (number, _)| number);
        found
    }

    /// Candidates one of which must have happened before `place`, if anything is to mend a
    /// mismatch there, and after which zxid.
    fn wanted(&self, place: i64, what: What, why: &Mismatch) -> Vec<(CandidateIndex, i64)> {
        if let (Mismatch::Unclaimed(_), What::Hole(hole)) = (why, what) {
            let makers = self.makers_of_ephemerals(hole as usize);
            return self.sorted(makers.into_iter().map(|each| (each, i64::MIN)).collect());
        }
        let (mut found, mut providers) = (Vec::new(), Vec::new());
        for change in self.wanted_changes(what, why) {
            self.providers(change, Reach::Now, &mut providers);
            let floor = self.born(change.path(), place);
            found.extend(providers.drain(..).map(|each| (each, floor)));
        }
        self.sorted(found)
    }

    fn wanted_changes(&self, what: What, why: &Mismatch) -> Vec<Change> {
        let diff = match (why, what) {
            (Mismatch::Differs(diff) | Mismatch::Misplaced(_, Some(diff)), _) => diff,
            (Mismatch::OtherDeed(index), What::Hole(hole)) => {
                // A sequential node may have got another name for want of an earlier sibling.
                let evidence = self.holes[hole as usize].1[*index];
                let made = matches!(
                    evidence.deed,
                    Deed::Created | Deed::Modified | Deed::Fired(EventType::NodeCreated)
                );
                let parent = self.tree.paths.parent(evidence.path);
                return made
                    .then_some(Change::MoreKids(parent))
                    .into_iter()
                    .collect();
            }
            (Mismatch::Misplaced(_, None) | Mismatch::AfterEnd, _)
            | (Mismatch::Unclaimed(_) | Mismatch::OtherDeed(_), _) => return Vec::new(),
        };
        let mut wanted = wants(diff, &self.tree.paths);
        // A close that left no child to take away would have left the parent alone.
        if let Diff::Stat {
            path,
            field: "pzxid",
            expected,
            got,
        } = *diff
            && got < expected
            && self
                .transaction_at(expected)
                .is_some_and(|close| matches!(self.case.requests[close as usize].op, Op::Close))
        {
            wanted.push(Change::FewerKids(path));
        }
        let earlier = wanted
            .iter()
            .filter_map(|&change| self.earlier_kids(change));
        let earlier: Vec<Change> = earlier.collect();
        wanted.extend(earlier);
        wanted
    }

    /// A sequential child that is missed bears a number: so many must have been made before
    /// it. If they were, and what could be called like it has another name, it may have been
    /// made too early.
    fn earlier_kids(&self, change: Change) -> Option<Change> {
        let Change::Made(path) = change else {
            return None;
        };
        let name = (path != NO_PATH).then(|| self.tree.paths.name(path))?;
        let number = number_of(name)?;
        let parent = self.tree.paths.parent(path);
        let kids = Change::MoreKids(parent);
        let is_called_otherwise = |&number: &CandidateIndex| {
            let candidate = &self.candidates.list[number as usize];
            let request = candidate.request.filter(|_| candidate.assigned.is_some());
            request.is_some_and(|request| may_name(self.case.requests[request as usize].op, name))
        };
        let too_few = i64::from(self.tree.node(parent).creates) < number;
        let providers = self.candidates.providing.get(&kids)?;
        (too_few || providers.iter().any(is_called_otherwise)).then_some(kids)
    }

    fn providers(&self, want: Change, reach: Reach, found: &mut Vec<CandidateIndex>) {
        found.extend(self.candidates.providing.get(&want).into_iter().flatten());
        match want {
            Change::Made(path) if path != NO_PATH => {
                let name = self.tree.paths.name(path);
                let siblings = self
                    .candidates
                    .providing
                    .get(&Change::MoreKids(self.tree.paths.parent(path)));
                found.extend(siblings.into_iter().flatten().filter(|&&number| {
                    let request = self.candidates.list[number as usize].request;
                    request.is_some_and(|request| {
                        may_name(self.case.requests[request as usize].op, name)
                    })
                }));
            }
            Change::Gone(path) => {
                self.ends(found, reach, |ever| ever == path);
                self.lapses_called(path, found);
            }
            Change::FewerKids(parent) => {
                self.ends(found, reach, |ever| self.tree.paths.parent(ever) == parent)
            }
            Change::Made(_) | Change::Set(_) | Change::Acl(_) | Change::MoreKids(_) => {}
        }
    }

    /// Ends of sessions that have an ephemeral at such a path, or ever had.
    fn ends(&self, found: &mut Vec<CandidateIndex>, reach: Reach, at: impl Fn(PathId) -> bool) {
        for (session, &end) in self.candidates.end_of.iter().enumerate() {
            let session = session as SessionIndex;
            let owns = match reach {
                Reach::Now => self.tree.ephemerals_of(session).any(&at),
                Reach::Ever => self.tree.ephemerals_ever(session).any(&at),
            };
            if owns {
                found.push(end);
            }
        }
    }

    /// Candidates that may be the transaction seen at a hole.
    pub(super) fn suspects(&self, hole: usize) -> Vec<CandidateIndex> {
        let mut found = Vec::new();
        let Some(evidence) = self.holes[hole].1.first() else {
            return found;
        };
        let (path, parent) = (evidence.path, self.tree.paths.parent(evidence.path));
        let wants: &[Change] = match evidence.deed {
            Deed::Created | Deed::Fired(EventType::NodeCreated) => &[Change::Made(path)],
            Deed::Modified | Deed::Fired(EventType::NodeDataChanged) => {
                &[Change::Made(path), Change::Set(path)]
            }
            Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                &[Change::MoreKids(path), Change::FewerKids(path)]
            }
            Deed::Fired(EventType::NodeDeleted) => &[Change::Gone(path), Change::FewerKids(parent)],
        };
        wants
            .iter()
            .for_each(|&want| self.providers(want, Reach::Ever, &mut found));
        found.sort_unstable_by_key(|&number| (self.candidates.list[number as usize].low, number));
        found.dedup();
        found
    }

    /// An unseen ephemeral may have to be made before the end of its session can explain a hole.
    fn makers_of_ephemerals(&self, hole: usize) -> Vec<CandidateIndex> {
        let mut found = Vec::new();
        for evidence in &self.holes[hole].1 {
            let wants = match evidence.deed {
                Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                    Change::MoreKids(evidence.path)
                }
                Deed::Fired(EventType::NodeDeleted) => Change::Made(evidence.path),
                Deed::Created | Deed::Modified | Deed::Fired(_) => continue,
            };
            self.providers(wants, Reach::Ever, &mut found);
        }
        found.retain(|&number| {
            let request = self.candidates.list[number as usize].request;
            request.is_some_and(|request| {
                let op = self.case.requests[request as usize].op;
                makes_ephemeral(op) || makes_lapsing(op)
            })
        });
        found
    }

    /// Between which zxids a candidate must lie for the sake of those of its session that
    /// are placed: requests in the order sent, the end after them all.
    pub(super) fn among_siblings(&self, number: CandidateIndex) -> (i64, i64) {
        let siblings = self.siblings(number);
        let place = |other: &CandidateIndex| self.candidates.list[*other as usize].assigned;
        let (sent_before, rest) = siblings.split_at(siblings.partition_point(|&at| at < number));
        let after = sent_before.iter().filter_map(place).max();
        let before = rest.iter().filter_map(place).min();
        (after.unwrap_or(i64::MIN), before.unwrap_or(i64::MAX))
    }

    fn placed_siblings(&self, number: CandidateIndex) -> impl Iterator<Item = CandidateIndex> {
        let placed =
            |other: &CandidateIndex| self.candidates.list[*other as usize].assigned.is_some();
        self.siblings(number).iter().copied().filter(placed)
    }

    /// All of the session of a candidate; none of what goes by itself.
    pub(super) fn siblings(&self, number: CandidateIndex) -> &[CandidateIndex] {
        let session = self.candidates.list[number as usize].session;
        let of_session = self.candidates.of_session.get(session as usize);
        of_session.map_or(&[], Vec::as_slice)
    }

    /// The end below which a candidate may lie, if what was seen rules `zxid` out; a number
    /// that nobody saw, if `unseen`.
    fn excluded(&self, number: CandidateIndex, zxid: i64, unseen: bool) -> Option<i64> {
        let quiet = &self.survey.as_ref()?.quiet;
        let candidate = &self.candidates.list[number as usize];
        let by_owned = |owned: &Owned| {
            let after = quiet.excludes(&owned.parts, zxid, unseen)?;
            Some(after.max(owned.from))
        };
        let lapse = candidate.lapse.as_ref();
        if let Some(after) = lapse.and_then(|lapse| lapse.too_fresh(zxid)) {
            return Some(after);
        }
        let owned = candidate.owned.iter();
        quiet.excludes(&candidate.parts, zxid, unseen).or_else(|| {
            owned
                .filter(|owned| owned.from < zxid && zxid < owned.until)
                .find_map(by_owned)
        })
    }

    /// True if a candidate can be the transaction seen at a hole, as far as what was seen tells.
    pub(super) fn fits_hole(&self, number: CandidateIndex, place: i64, hole: usize) -> bool {
        let candidate = &self.candidates.list[number as usize];
        if place <= candidate.low
            || place >= candidate.high
            || self.excluded(number, place, false).is_some()
        {
            return false;
        }
        let evidence = &self.holes[hole].1;
        if let Some(lapse) = &candidate.lapse {
            let mut evidence = evidence.iter();
            return evidence.all(|seen| lapse.could_be(seen, &self.tree.paths));
        }
        match candidate.request {
            Some(request) => {
                let op = self.case.requests[request as usize].op;
                evidence.iter().all(|evidence| self.could_be(op, evidence))
            }
            // The end of a session only takes away.
            None => evidence.iter().all(|evidence| match evidence.deed {
                Deed::ChildChanged
                | Deed::Fired(EventType::NodeDeleted | EventType::NodeChildrenChanged) => true,
                Deed::Created
                | Deed::Modified
                | Deed::Fired(EventType::NodeCreated | EventType::NodeDataChanged) => false,
            }),
        }
    }

    /// True if something that nobody was told of could have fired `event` on a path.
    pub fn could_have_fired(&self, event: EventType, path: PathId) -> bool {
        let wants: &[Change] = match event {
            EventType::NodeCreated => &[Change::Made(path)],
            EventType::NodeDeleted => &[Change::Gone(path)],
            EventType::NodeDataChanged => &[Change::Set(path)],
            EventType::NodeChildrenChanged => &[Change::MoreKids(path), Change::FewerKids(path)],
        };
        let mut found = Vec::new();
        wants
            .iter()
            .for_each(|&want| self.providers(want, Reach::Ever, &mut found));
        !found.is_empty()
    }

    /// True if something that nobody was told of could have changed the ACL of a path.
    pub fn could_have_acl(&self, path: PathId) -> bool {
        let mut found = Vec::new();
        self.providers(Change::Acl(path), Reach::Ever, &mut found);
        !found.is_empty()
    }
}

/// True if a create, or a part of a multi, could have made the sequential node of that name.
pub fn may_name(op: &Op, name: &str) -> bool {
    match op {
        Op::Create {
            path,
            sequential: true,
            ..
        } => is_numbered(path, name),
        Op::Multi { ops } => ops.iter().any(|op| may_name(op, name)),
        _ => false,
    }
}

/// True if a name is that of a sequential node, so begun.
pub fn is_numbered(prefix: &str, name: &str) -> bool {
    let number = name.strip_prefix(prefix);
    number.is_some_and(|number| number.parse::<i32>().is_ok())
}

/// True if a create, or a part of a multi, makes an ephemeral.
pub fn makes_ephemeral(op: &Op) -> bool {
    match op {
        Op::Create { ephemeral, .. } => *ephemeral,
        Op::Multi { ops } => ops.iter().any(makes_ephemeral),
        _ => false,
    }
}
