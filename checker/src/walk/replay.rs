//! The walk: one pass along the proposed order, with the tree at its side.
//!
//! Transactions are applied and reads evaluated in the order of zxids. Where something does
//! not agree, only what is not known may be to blame: the fate of an unanswered request, the
//! moment a session ended. The walk then places one of them at a free zxid before the
//! mismatch, goes back there, and walks on; when nothing is left to place, it returns to the
//! last decision that has to do with the paths in question. Acceptance needs no trust in
//! that search: what is accepted has been replayed from the start state in one order.
//!
//! Answers to: `consistency.md` 3.2, W3, R1 and the resolution of unanswered transactions.

use super::case::{Case, RequestIndex, Role};
use super::evidence::{self, Deed, Evidence};
use super::sightings;
use super::slots::Slots;
use super::times::{Times, records};
use super::unanswered::{self, Candidate, CandidateIndex, Candidates};
use super::wants::{Aspect, Want, aspects, itself, kids, wants};
use super::witness::Placements;
use super::{Options, blame};
use crate::certificate::{Effect, Step};
use crate::history::{EventType, Op, Value};
use crate::model::{AclTable, Ask, Diff, NO_PATH, PathId, Paths, SessionIndex, Tree};
use crate::verdict::{Class, Property, Verdict, Violation};
use std::collections::BTreeMap;

/// What stands at a place of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A transaction that was seen, but claimed by nobody: index into the holes.
    Hole(u32),
    /// An answered transaction.
    Transaction(RequestIndex),
    /// A read.
    Read(RequestIndex),
}

/// A place of the order and what stands there; a transaction comes before the reads that saw it.
pub type Item = (i64, What);

/// Why an item does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The answer differs from the model.
    Differs(Diff),
    /// A transaction of a session that had ended.
    AfterEnd,
    /// Nothing is placed at a zxid that was seen; index of the evidence.
    Unclaimed(usize),
    /// What is placed at a zxid that was seen did something else; index of the evidence.
    OtherDeed(usize),
    /// What was placed cannot happen there; why, if the tree says so.
    Misplaced(CandidateIndex, Option<Diff>),
}

/// A choice, kept until it is known to be right or wrong.
struct Decision {
    /// Candidates and zxids not tried yet, best last.
    rest: Vec<(CandidateIndex, i64)>,
    /// The one being tried.
    current: Vec<(CandidateIndex, i64)>,
    /// What it has to do with; sorted.
    relevant: Vec<Aspect>,
    /// The item whose sake it is for.
    at: usize,
    /// How many placements for the sake of other placements led here.
    depth: u32,
}

/// Walk after walk: how far the placing of one thing may ask for the placing of another,
/// whether all that a client sent before it on its connection is placed with it, and how
/// many placements are tried before the next walk.
const LEVELS: [(u32, bool, u64); 6] = [
    (0, false, 10_000),
    (0, true, 50_000),
    (1, true, 50_000),
    (1, false, 100_000),
    (2, false, 200_000),
    (5, false, u64::MAX),
];

/// The walk.
pub struct Replay<'c, 'h> {
    /// The case.
    pub case: &'c Case<'h>,
    /// The tree so far.
    pub tree: Tree<'h>,
    /// Unclaimed transactions, in order.
    pub holes: Vec<(i64, Vec<Evidence<'h>>)>,
    /// What may have happened.
    pub candidates: Candidates,
    /// Whether anything is of unknown fate; if not, a walk cannot be taken back.
    pub uncertain: bool,
    options: &'c Options,
    items: Vec<Item>,
    slots: Slots,
    assigned: BTreeMap<i64, CandidateIndex>,
    next_assigned: i64,
    decisions: Vec<Decision>,
    /// The windows of the ends of sessions are as narrow as reads make them.
    narrowed: bool,
    /// How far the placing of one thing may ask for the placing of another.
    depth_max: u32,
    /// Whether what a client sent together is placed together.
    in_bursts: bool,
    tries_max: u64,
    steps: u64,
    tries: u64,
    /// A search was cut short, so that finding nothing proves nothing.
    cut_short: bool,
    /// The mismatch furthest along the order that nothing could mend.
    furthest: Option<(usize, Box<Violation>)>,
}

impl<'c, 'h> Replay<'c, 'h> {
    /// Prepares the walk; takes the case's paths and ACLs over.
    pub fn new(case: &'c mut Case<'h>, times: &Times, options: &'c Options) -> Self {
        let mut paths = std::mem::replace(&mut case.paths, Paths::new());
        let acls = std::mem::replace(&mut case.acls, AclTable::new());
        let holes = match options.open_world(case.history) {
            true => evidence::Holes::new(),
            false => evidence::collect(case, &mut paths),
        };
        let candidates = match options.open_world(case.history) {
            true => Candidates::none(case.sessions.len()),
            false => unanswered::collect(case, times, &mut paths, options.write_is_touch),
        };
        let holes: Vec<_> = holes.into_iter().collect();
        let case: &'c Case<'h> = case;
        let items = items_of(case, &holes);
        let ids = case.sessions.iter().map(|session| session.id).collect();
        let mut tree = Tree::new(&case.history.header.start, paths, acls, ids, |id| {
            case.index_of_session(id)
        });
        let uncertain = !holes.is_empty()
            || candidates
                .list
                .iter()
                .any(|candidate| candidate.request.is_some())
            || case
                .requests
                .iter()
                .any(|request| makes_ephemeral(request.op));
        if uncertain {
            tree.keep_undo();
        }
        let slots = Slots::of(case, &holes, candidates.list.len());
        Replay {
            case,
            tree,
            holes,
            candidates,
            uncertain,
            options,
            items,
            slots,
            assigned: BTreeMap::new(),
            next_assigned: i64::MAX,
            decisions: Vec::new(),
            narrowed: false,
            depth_max: 0,
            in_bursts: false,
            tries_max: 0,
            steps: 0,
            tries: 0,
            cut_short: false,
            furthest: None,
        }
    }

    /// How many things of unknown fate the order needs.
    pub fn resolved(&self) -> usize {
        self.assigned.len()
    }

    /// The order as the walk left it: what was answered, and what it placed.
    pub fn order(&self) -> Vec<Step> {
        let mut order: Vec<Step> = Vec::new();
        for &(zxid, what) in &self.items {
            if let What::Transaction(request) = what {
                let effect = Effect::Request(self.case.requests[request as usize].invoke as usize);
                order.push(Step { zxid, effect });
            }
        }
        for (&zxid, &number) in &self.assigned {
            let candidate = &self.candidates.list[number as usize];
            let effect = match candidate.request {
                Some(request) => {
                    Effect::Request(self.case.requests[request as usize].invoke as usize)
                }
                None => Effect::End(self.case.sessions[candidate.session as usize].id),
            };
            order.push(Step { zxid, effect });
        }
        order.sort_unstable_by_key(|step| step.zxid);
        order
    }

    /// P19: two requests outside one multi never share a zxid.
    ///
    /// # Errors
    /// The first pair that does.
    pub fn check_unique(&self) -> Result<(), Box<Violation>> {
        let twins = self
            .items
            .windows(2)
            .find_map(|pair| match (pair[0], pair[1]) {
                ((left, What::Transaction(first)), (right, What::Transaction(second)))
                    if left == right =>
                {
                    Some((left, first, second))
                }
                _ => None,
            });
        let Some((zxid, first, second)) = twins else {
            return Ok(());
        };
        let (first, second) = (
            &self.case.requests[first as usize],
            &self.case.requests[second as usize],
        );
        Err(Box::new(Violation {
            property: Property::ZxidSanity,
            class: Class::Undetermined,
            records: records(
                self.case,
                &[first.invoke, first.done, second.invoke, second.done],
            ),
            state_before: String::new(),
            reason: format!("two requests were answered as transaction {zxid:#x}"),
        }))
    }

    /// True if others may have written unseen.
    pub fn open_world(&self) -> bool {
        self.options.open_world(self.case.history)
    }

    /// Walks to the end: first placing nothing for the sake of other placements, which
    /// nearly always suffices, then looking further and further.
    ///
    /// # Errors
    /// The verdict, if it is not valid.
    pub fn run(&mut self) -> Result<(), Verdict> {
        let mut outcome = Ok(());
        for (depth_max, in_bursts, tries_max) in LEVELS {
            (self.depth_max, self.in_bursts) = (depth_max, in_bursts);
            self.tries_max = tries_max.min(self.options.tries_max);
            outcome = self.walk();
            match outcome {
                Err(Verdict::Unknown(_)) => self.start_over(),
                Ok(()) | Err(_) => return outcome,
            }
        }
        outcome
    }

    /// Walks once with everything of unknown fate where a witness has it, and nothing else.
    ///
    /// # Errors
    /// The first mismatch.
    pub fn follow(&mut self, placed: &Placements) -> Result<(), Box<Violation>> {
        for (&place, &number) in placed {
            self.candidates.list[number as usize].assigned = Some(place);
            self.assigned.insert(place, number);
        }
        self.next_assigned = self.assigned_from(i64::MIN);
        for at in 0..self.items.len() {
            let (zxid, what) = self.items[at];
            let outcome = self
                .catch_up(zxid)
                .and_then(|()| self.look(zxid, what).map_err(|why| (zxid, why)));
            if let Err((place, why)) = outcome {
                return Err(blame::blame(self, place, what, &why));
            }
        }
        Ok(())
    }

    /// Takes everything back to before the first transaction, with nothing placed.
    pub fn start_over(&mut self) {
        self.tree.rewind(i64::MIN);
        self.assigned.clear();
        self.decisions.clear();
        self.next_assigned = i64::MAX;
        for candidate in &mut self.candidates.list {
            (candidate.assigned, candidate.may_fail) = (None, false);
        }
        (self.tries, self.steps, self.cut_short, self.furthest) = (0, 0, false, None);
    }

    fn walk(&mut self) -> Result<(), Verdict> {
        let mut at = 0;
        while let Some(&(zxid, what)) = self.items.get(at) {
            self.steps += 1;
            let outcome = match self.next_assigned <= zxid {
                true => self
                    .catch_up(zxid)
                    .and_then(|()| self.look(zxid, what).map_err(|why| (zxid, why))),
                false => self.look(zxid, what).map_err(|why| (zxid, why)),
            };
            match outcome {
                Ok(()) => at += 1,
                Err((place, why)) => at = self.mend(at, place, what, why)?,
            }
        }
        Ok(())
    }

    /// Applies what is placed up to `zxid` and has not been applied.
    fn catch_up(&mut self, zxid: i64) -> Result<(), (i64, Mismatch)> {
        while self.next_assigned <= zxid {
            let place = self.next_assigned;
            let number = self.assigned[&place];
            let applied = self.apply_candidate(number, place);
            if let Err(diff) = applied
                && !self.candidates.list[number as usize].may_fail
            {
                return Err((place, Mismatch::Misplaced(number, diff)));
            }
            self.next_assigned = self.assigned_from(place + 1);
        }
        Ok(())
    }

    fn assigned_from(&self, zxid: i64) -> i64 {
        self.assigned
            .range(zxid..)
            .next()
            .map_or(i64::MAX, |(&place, _)| place)
    }

    fn apply_candidate(&mut self, number: CandidateIndex, place: i64) -> Result<(), Option<Diff>> {
        let candidate = &self.candidates.list[number as usize];
        let (session, request) = (candidate.session, candidate.request);
        self.tree.begin(place);
        let Some(request) = request else {
            self.tree.end(session);
            return Ok(());
        };
        if self.tree.ended(session).is_some() {
            return Err(None);
        }
        let request = &self.case.requests[request as usize];
        let outcome = match request.op {
            Op::Multi { ops } => {
                let outcome = self
                    .tree
                    .multi(ops, session, request.who, |_| true, |_, _| {});
                outcome.map_err(|(part, code)| (ops[part].path(), code))
            }
            op => {
                let outcome = self
                    .tree
                    .apply(op, request.path, session, request.who, true);
                outcome.map(|_| ()).map_err(|code| (op.path(), code))
            }
        };
        outcome.map_err(|(path, code)| {
            let path = path.map_or(NO_PATH, |path| self.tree.paths.id(path));
            Some(Diff::Outcome {
                expected: Some(code),
                got: None,
                path,
                part: None,
                conditional: false,
            })
        })
    }

    fn look(&mut self, zxid: i64, what: What) -> Result<(), Mismatch> {
        match what {
            What::Hole(hole) => self.look_at_hole(zxid, hole as usize),
            What::Transaction(request) => {
                let request = &self.case.requests[request as usize];
                self.tree.begin(zxid);
                if self.tree.ended(request.session).is_some() && !matches!(request.op, Op::Close) {
                    return Err(Mismatch::AfterEnd);
                }
                let ask = ask_of(self.case, request.invoke);
                self.tree.write(&ask).map_err(Mismatch::Differs)
            }
            What::Read(request) => {
                let ask = ask_of(self.case, self.case.requests[request as usize].invoke);
                self.tree
                    .read(&ask, self.options.exists_needs_read)
                    .map_err(Mismatch::Differs)
            }
        }
    }

    fn look_at_hole(&self, zxid: i64, hole: usize) -> Result<(), Mismatch> {
        if !self.assigned.contains_key(&zxid) {
            return Err(Mismatch::Unclaimed(0));
        }
        for (index, evidence) in self.holes[hole].1.iter().enumerate() {
            let node = self.tree.node(evidence.path);
            let right = match evidence.deed {
                Deed::Created => node.exists && node.czxid == zxid,
                Deed::Modified => node.exists && node.mzxid == zxid,
                Deed::ChildChanged => node.exists && node.pzxid == zxid,
                Deed::Fired(event) => self.tree.fired().contains(&(event, evidence.path)),
            };
            if !right || evidence.data.is_some_and(|data| data != node.data.as_ref()) {
                return Err(Mismatch::OtherDeed(index));
            }
            if let Some(left) = evidence.left {
                let made = left.cversion.wrapping_add(left.num_children) / 2;
                for (field, expected, got) in [
                    ("children made", node.creates, made),
                    ("numChildren", node.children, left.num_children),
                ] {
                    if expected != got {
                        return Err(Mismatch::Differs(Diff::Stat {
                            path: evidence.path,
                            field,
                            expected: expected.into(),
                            got: got.into(),
                        }));
                    }
                }
            }
            if let Some(version) = evidence.version
                && version != node.version
            {
                let (path, expected, got) = (evidence.path, node.version.into(), version.into());
                return Err(Mismatch::Differs(Diff::Stat {
                    path,
                    field: "version",
                    expected,
                    got,
                }));
            }
        }
        Ok(())
    }

    /// Something does not agree at `place`: places what may have happened before it, or
    /// takes an earlier decision back. Returns the item to go on from.
    fn mend(&mut self, at: usize, place: i64, what: What, why: Mismatch) -> Result<usize, Verdict> {
        if !self.narrowed {
            sightings::narrow(self.case, &mut self.tree.paths, &mut self.candidates);
            self.narrowed = true;
        }
        let mut relevant = self.relevant(what, &why);
        // What does not agree any more because of what was placed for the sake of a later
        // item asks for more to be placed: one deeper.
        let depth = self.decisions.last().map_or(0, |last| {
            let deeper = matches!(why, Mismatch::Misplaced(..)) || at < last.at;
            if deeper {
                last.depth + 1
            } else if at == last.at {
                last.depth
            } else {
                0
            }
        });
        let mut rest = Vec::new();
        if depth <= self.depth_max {
            rest = self.alternatives(place, what, &why, &mut relevant);
        } else {
            self.cut_short = true;
        }
        if rest.is_empty() && self.furthest.as_ref().is_none_or(|(known, _)| *known < at) {
            let violation = blame::blame(self, place, what, &why);
            self.furthest = Some((at, violation));
        }
        relevant.sort_unstable();
        relevant.dedup();
        self.decisions.push(Decision {
            rest,
            current: Vec::new(),
            relevant,
            at,
            depth,
        });
        self.advance(place)
    }

    /// Tries the next alternative of the last decision, or of one before it.
    fn advance(&mut self, place: i64) -> Result<usize, Verdict> {
        let mut back_to = place;
        while let Some(last) = self.decisions.last_mut() {
            let undone = std::mem::take(&mut last.current);
            let next = last.rest.pop();
            back_to = back_to.min(self.take_off(&undone));
            if let Some((number, place)) = next {
                let placed = self.placement(number, place);
                let last = self.decisions.last_mut();
                let mut touched =
                    last.map_or_else(Vec::new, |last| std::mem::take(&mut last.relevant));
                for &(each, place) in &placed {
                    self.touched(each, &mut touched);
                    self.assigned.insert(place, each);
                    let candidate = &mut self.candidates.list[each as usize];
                    // All but the one that is wanted may have failed.
                    (candidate.assigned, candidate.may_fail) = (Some(place), each != number);
                    back_to = back_to.min(place);
                }
                touched.sort_unstable();
                touched.dedup();
                if let Some(last) = self.decisions.last_mut() {
                    (last.relevant, last.current) = (touched, placed);
                }
                self.tries += 1;
                if self.tries > self.tries_max
                    || self.steps > self.options.steps_max(self.items.len())
                {
                    return Err(Verdict::Unknown(format!(
                        "{} placements of requests of unknown fate tried, {} steps walked",
                        self.tries, self.steps
                    )));
                }
                return Ok(self.go_back(back_to));
            }
            self.give_up_last(&mut back_to);
        }
        match (self.cut_short, self.furthest.take()) {
            (false, Some((_, violation))) if !self.in_bursts => Err(Verdict::Invalid(violation)),
            (_, _) => Err(Verdict::Unknown(format!(
                "requests of unknown fate were placed {} deep and at {} places each, and more may be needed",
                self.depth_max, self.options.places_max
            ))),
        }
    }

    /// Drops the last decision, which nothing can save, and those before it that have
    /// nothing to do with it, so that the last one left is one that may be to blame.
    fn give_up_last(&mut self, back_to: &mut i64) {
        let Some(hopeless) = self.decisions.pop() else {
            return;
        };
        while let Some(last) = self.decisions.last_mut() {
            if intersects(&last.relevant, &hopeless.relevant) {
                last.relevant.extend(hopeless.relevant);
                last.relevant.sort_unstable();
                last.relevant.dedup();
                return;
            }
            let undone = std::mem::take(&mut last.current);
            *back_to = (*back_to).min(self.take_off(&undone));
            self.decisions.pop();
        }
    }

    /// Takes what was placed off the order again; returns the lowest place.
    fn take_off(&mut self, placed: &[(CandidateIndex, i64)]) -> i64 {
        let mut lowest = i64::MAX;
        for &(number, place) in placed {
            self.assigned.remove(&place);
            let candidate = &mut self.candidates.list[number as usize];
            (candidate.assigned, candidate.may_fail) = (None, false);
            lowest = lowest.min(place);
        }
        lowest
    }

    /// What to place where, so that a candidate lies at `place`; in bursts with all that its
    /// client had sent before it on the same connection. Wanted last.
    fn placement(&self, number: CandidateIndex, place: i64) -> Vec<(CandidateIndex, i64)> {
        let mut placed = vec![(number, place)];
        let candidate = &self.candidates.list[number as usize];
        let Some(request) = candidate.request.filter(|_| self.in_bursts) else {
            return placed;
        };
        let connection = self.case.requests[request as usize].connection;
        let (mut bound, mut earlier) = (place, number);
        while let Some(before) = earlier.checked_sub(1) {
            let sibling = &self.candidates.list[before as usize];
            earlier = before;
            let Some(sent) = sibling.request else { break };
            if sibling.session != candidate.session {
                continue;
            }
            if sibling.assigned.is_some()
                || self.case.requests[sent as usize].connection != connection
                || sibling.high != candidate.high
            {
                break;
            }
            let free = self.slots.next_free(bound, &self.assigned);
            match free.filter(|&free| free > sibling.low) {
                Some(free) => {
                    placed.push((before, free));
                    bound = free;
                }
                None => break,
            }
        }
        placed.reverse();
        placed
    }

    fn go_back(&mut self, place: i64) -> usize {
        self.tree.rewind(place);
        self.next_assigned = self.assigned_from(place);
        self.items.partition_point(|&(zxid, _)| zxid < place)
    }

    /// What a mismatch hangs on: earlier choices about anything else are not to blame.
    fn relevant(&mut self, what: What, why: &Mismatch) -> Vec<Aspect> {
        let mut relevant = Vec::new();
        let case = self.case;
        match what {
            What::Hole(hole) => {
                for evidence in &self.holes[hole as usize].1 {
                    let parent = self.tree.paths.parent(evidence.path);
                    relevant.extend([itself(evidence.path), kids(evidence.path), kids(parent)]);
                }
            }
            What::Transaction(request) => {
                let request = &case.requests[request as usize];
                aspects(request.op, &mut self.tree.paths, &mut relevant);
                if *why == Mismatch::AfterEnd {
                    self.touched_by_end(request.session, &mut relevant);
                }
            }
            What::Read(request) => {
                let path = case.requests[request as usize].path;
                relevant.extend([itself(path), kids(path)]);
            }
        }
        match why {
            Mismatch::Differs(Diff::NameExtra { child, .. } | Diff::NameMissing { child, .. }) => {
                relevant.push(itself(*child));
            }
            Mismatch::Misplaced(number, _) => {
                // The item after it is not to blame for it.
                relevant.clear();
                self.touched(*number, &mut relevant);
                let session = self.candidates.list[*number as usize].session;
                self.touched_by_end(session, &mut relevant);
            }
            Mismatch::Differs(_)
            | Mismatch::AfterEnd
            | Mismatch::Unclaimed(_)
            | Mismatch::OtherDeed(_) => {}
        }
        relevant
    }

    /// What a candidate changes or hangs on.
    fn touched(&mut self, number: CandidateIndex, touched: &mut Vec<Aspect>) {
        let candidate = &self.candidates.list[number as usize];
        match candidate.request {
            Some(request) => {
                aspects(
                    self.case.requests[request as usize].op,
                    &mut self.tree.paths,
                    touched,
                );
            }
            None => self.touched_by_end(candidate.session, touched),
        }
    }

    fn touched_by_end(&self, session: SessionIndex, touched: &mut Vec<Aspect>) {
        for path in self.tree.ephemerals_ever(session) {
            touched.extend([itself(path), kids(self.tree.paths.parent(path))]);
        }
    }

    /// What could be placed where to mend a mismatch at `place`; the best last. What stands
    /// in the way is added to `relevant`.
    fn alternatives(
        &mut self,
        place: i64,
        what: What,
        why: &Mismatch,
        relevant: &mut Vec<Aspect>,
    ) -> Vec<(CandidateIndex, i64)> {
        let mut alternatives = Vec::new();
        let mut in_the_way = Vec::new();
        // A read sees what happened at its own zxid.
        let bound = match (what, why) {
            (What::Read(_), Mismatch::Differs(_)) => place.saturating_add(1),
            (_, _) => place,
        };
        for number in self.sorted(self.wanted(what, why)) {
            let candidate = &self.candidates.list[number as usize];
            if candidate.assigned.is_some() {
                in_the_way.push(number);
                continue;
            }
            let (low, high) = (candidate.low, candidate.high.min(bound));
            let (after, before) = self.among_siblings(number);
            if after > low || before < high {
                in_the_way.extend(self.placed_siblings(number));
            }
            let (low, high) = (low.max(after), high.min(before));
            let cut = self.slots.between(
                low,
                high,
                &self.items,
                &self.assigned,
                self.options.places_max,
                |slot| match slot {
                    Ok(free) => alternatives.push((number, free)),
                    Err(holder) => in_the_way.push(holder),
                },
            );
            self.cut_short |= cut;
        }
        // What happens mostly happens soon after it can: the nearest place is tried first.
        alternatives.sort_by_key(|&(number, slot)| {
            let wait = slot - self.candidates.list[number as usize].low;
            (std::cmp::Reverse(wait), slot, number)
        });
        if let (What::Hole(hole), Mismatch::Unclaimed(_)) = (what, why) {
            for number in self.sorted(self.suspects(hole as usize)) {
                if self.candidates.list[number as usize].assigned.is_some() {
                    in_the_way.push(number);
                    continue;
                }
                let (after, before) = self.among_siblings(number);
                if place <= after || place >= before {
                    in_the_way.extend(self.placed_siblings(number));
                } else if self.fits_hole(number, place, hole as usize) {
                    alternatives.push((number, place));
                }
            }
        }
        in_the_way.sort_unstable();
        in_the_way.dedup();
        for holder in in_the_way {
            self.touched(holder, relevant);
        }
        alternatives
    }

    fn sorted(&self, mut found: Vec<CandidateIndex>) -> Vec<CandidateIndex> {
        found.sort_unstable_by_key(|&number| (self.candidates.list[number as usize].low, number));
        found.dedup();
        found
    }

    /// Candidates one of which must have happened before, if anything is to mend a mismatch.
    fn wanted(&self, what: What, why: &Mismatch) -> Vec<CandidateIndex> {
        let diff = match (why, what) {
            (Mismatch::Differs(diff), _) => diff,
            (Mismatch::Misplaced(_, Some(diff)), _) => diff,
            (Mismatch::Unclaimed(_), What::Hole(hole)) => {
                return self.makers_of_ephemerals(hole as usize);
            }
            (Mismatch::Misplaced(_, None) | Mismatch::AfterEnd, _) => return Vec::new(),
            (Mismatch::OtherDeed(index), What::Hole(hole)) => {
                // A sequential node may have got another name for want of an earlier sibling.
                let evidence = self.holes[hole as usize].1[*index];
                let mut found = Vec::new();
                if matches!(
                    evidence.deed,
                    Deed::Created | Deed::Modified | Deed::Fired(EventType::NodeCreated)
                ) {
                    let parent = self.tree.paths.parent(evidence.path);
                    self.providers(Want::MoreKids(parent), &mut found);
                }
                return found;
            }
            (Mismatch::Unclaimed(_) | Mismatch::OtherDeed(_), _) => return Vec::new(),
        };
        let mut found = Vec::new();
        for want in wants(diff, &self.tree.paths) {
            self.providers(want, &mut found);
        }
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
            self.providers(Want::FewerKids(path), &mut found);
        }
        found
    }

    fn providers(&self, want: Want, found: &mut Vec<CandidateIndex>) {
        found.extend(self.candidates.providing.get(&want).into_iter().flatten());
        match want {
            Want::Exists(path) if path != NO_PATH => {
                let name = self.tree.paths.name(path);
                let siblings = self
                    .candidates
                    .providing
                    .get(&Want::MoreKids(self.tree.paths.parent(path)));
                found.extend(siblings.into_iter().flatten().filter(|&&number| {
                    let request = self.candidates.list[number as usize].request;
                    request.is_some_and(|request| {
                        may_name(self.case.requests[request as usize].op, name)
                    })
                }));
            }
            Want::Absent(path) => self.ends(found, |ever| ever == path),
            Want::FewerKids(parent) => {
                self.ends(found, |ever| self.tree.paths.parent(ever) == parent)
            }
            Want::Exists(_) | Want::Set(_) | Want::Acl(_) | Want::MoreKids(_) => {}
        }
    }

    /// Ends of sessions that ever made an ephemeral at such a path.
    fn ends(&self, found: &mut Vec<CandidateIndex>, at: impl Fn(PathId) -> bool) {
        for (session, &end) in self.candidates.end_of.iter().enumerate() {
            if self.tree.ephemerals_ever(session as SessionIndex).any(&at) {
                found.push(end);
            }
        }
    }

    /// Candidates that may be the transaction seen at a hole.
    fn suspects(&self, hole: usize) -> Vec<CandidateIndex> {
        let mut found = Vec::new();
        let Some(evidence) = self.holes[hole].1.first() else {
            return found;
        };
        let (path, parent) = (evidence.path, self.tree.paths.parent(evidence.path));
        let wants: &[Want] = match evidence.deed {
            Deed::Created | Deed::Fired(EventType::NodeCreated) => &[Want::Exists(path)],
            Deed::Modified | Deed::Fired(EventType::NodeDataChanged) => {
                &[Want::Exists(path), Want::Set(path)]
            }
            Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                &[Want::MoreKids(path), Want::FewerKids(path)]
            }
            Deed::Fired(EventType::NodeDeleted) => &[Want::Absent(path), Want::FewerKids(parent)],
        };
        wants
            .iter()
            .for_each(|&want| self.providers(want, &mut found));
        found
    }

    /// An unseen ephemeral may have to be made before the end of its session can explain a hole.
    fn makers_of_ephemerals(&self, hole: usize) -> Vec<CandidateIndex> {
        let mut found = Vec::new();
        for evidence in &self.holes[hole].1 {
            let wants = match evidence.deed {
                Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                    Want::MoreKids(evidence.path)
                }
                Deed::Fired(EventType::NodeDeleted) => Want::Exists(evidence.path),
                Deed::Created | Deed::Modified | Deed::Fired(_) => continue,
            };
            self.providers(wants, &mut found);
        }
        found.retain(|&number| {
            let request = self.candidates.list[number as usize].request;
            request.is_some_and(|request| makes_ephemeral(self.case.requests[request as usize].op))
        });
        found
    }

    /// Between which zxids a candidate must lie for the sake of those of its session that
    /// are placed: requests in the order sent, the end after them all.
    fn among_siblings(&self, number: CandidateIndex) -> (i64, i64) {
        let order = |candidate: &Candidate| candidate.request.unwrap_or(RequestIndex::MAX);
        let me = &self.candidates.list[number as usize];
        let (mut after, mut before) = (i64::MIN, i64::MAX);
        for (&place, &other) in &self.assigned {
            let other = &self.candidates.list[other as usize];
            if other.session != me.session {
                continue;
            }
            match order(other) < order(me) {
                true => after = after.max(place),
                false => before = before.min(place),
            }
        }
        (after, before)
    }

    fn placed_siblings(&self, number: CandidateIndex) -> Vec<CandidateIndex> {
        let session = self.candidates.list[number as usize].session;
        let placed = self.assigned.values().copied();
        placed
            .filter(|&other| self.candidates.list[other as usize].session == session)
            .collect()
    }

    fn fits_hole(&self, number: CandidateIndex, place: i64, hole: usize) -> bool {
        let candidate = &self.candidates.list[number as usize];
        if place <= candidate.low || place >= candidate.high {
            return false;
        }
        let Some(request) = candidate.request else {
            return true;
        };
        let op = self.case.requests[request as usize].op;
        self.holes[hole]
            .1
            .iter()
            .all(|evidence| match (evidence.deed, op) {
                (_, Op::Multi { .. }) => true,
                (Deed::Created, Op::Create { data, .. })
                | (Deed::Modified, Op::Create { data, .. } | Op::Set { data, .. }) => {
                    same_bytes(evidence, data.as_ref())
                }
                (Deed::Created | Deed::Modified, _) => false,
                (Deed::ChildChanged, Op::Create { .. } | Op::Delete { .. }) => true,
                (Deed::ChildChanged, _) => false,
                (Deed::Fired(_), _) => true,
            })
    }

    /// True if something that nobody was told of could have fired `event` on a path.
    pub fn could_have_fired(&self, event: EventType, path: PathId) -> bool {
        let wants: &[Want] = match event {
            EventType::NodeCreated => &[Want::Exists(path)],
            EventType::NodeDeleted => &[Want::Absent(path)],
            EventType::NodeDataChanged => &[Want::Set(path)],
            EventType::NodeChildrenChanged => &[Want::MoreKids(path), Want::FewerKids(path)],
        };
        let mut found = Vec::new();
        wants
            .iter()
            .for_each(|&want| self.providers(want, &mut found));
        !found.is_empty()
    }

    /// True if something that nobody was told of could have changed the ACL of a path.
    pub fn could_have_acl(&self, path: PathId) -> bool {
        let mut found = Vec::new();
        self.providers(Want::Acl(path), &mut found);
        !found.is_empty()
    }

    /// True if `event` on a path surely happened at `zxid`: an answered transaction did it,
    /// or a client saw just that.
    pub fn surely_fired(&self, zxid: i64, event: EventType, path: PathId) -> bool {
        if self.transaction_at(zxid).is_some() {
            return true;
        }
        let hole = self.holes.binary_search_by_key(&zxid, |(zxid, _)| *zxid);
        let evidence = hole.map_or(&[][..], |hole| self.holes[hole].1.as_slice());
        evidence.iter().any(|evidence| {
            evidence.path == path
                && match evidence.deed {
                    Deed::Created => event == EventType::NodeCreated,
                    Deed::Modified => event == EventType::NodeDataChanged,
                    Deed::ChildChanged => event == EventType::NodeChildrenChanged,
                    Deed::Fired(fired) => event == fired,
                }
        })
    }

    /// The answered transaction at a zxid.
    pub fn transaction_at(&self, zxid: i64) -> Option<RequestIndex> {
        let start = self.items.partition_point(|&(at, _)| at < zxid);
        self.items[start..]
            .iter()
            .take_while(|&&(at, _)| at == zxid)
            .find_map(|&(_, what)| match what {
                What::Transaction(request) => Some(request),
                What::Hole(_) | What::Read(_) => None,
            })
    }

    /// The reads at a zxid.
    pub fn reads_at(&self, zxid: i64) -> impl Iterator<Item = RequestIndex> + '_ {
        let start = self.items.partition_point(|&(at, _)| at < zxid);
        self.items[start..]
            .iter()
            .take_while(move |&&(at, _)| at == zxid)
            .filter_map(|&(_, what)| match what {
                What::Read(request) => Some(request),
                What::Hole(_) | What::Transaction(_) => None,
            })
    }

    /// True if a read agrees with the tree as it is.
    pub fn agrees(&mut self, request: RequestIndex) -> bool {
        let ask = ask_of(self.case, self.case.requests[request as usize].invoke);
        self.tree.read(&ask, self.options.exists_needs_read).is_ok()
    }
}

fn same_bytes(evidence: &Evidence<'_>, data: Option<&Value>) -> bool {
    evidence.data.is_none_or(|seen| seen == data)
}

/// True if a create, or a part of a multi, could have made the sequential node of that name.
fn may_name(op: &Op, name: &str) -> bool {
    match op {
        Op::Create {
            path,
            sequential: true,
            ..
        } => name
            .strip_prefix(&**path)
            .is_some_and(|number| number.parse::<i32>().is_ok()),
        Op::Multi { ops } => ops.iter().any(|op| may_name(op, name)),
        _ => false,
    }
}

fn makes_ephemeral(op: &Op) -> bool {
    match op {
        Op::Create { ephemeral, .. } => *ephemeral,
        Op::Multi { ops } => ops.iter().any(makes_ephemeral),
        _ => false,
    }
}

fn intersects(left: &[Aspect], right: &[Aspect]) -> bool {
    left.iter().any(|path| right.binary_search(path).is_ok())
}

fn ask_of<'h>(case: &Case<'h>, invoke: u32) -> Ask<'h> {
    let request = &case.requests[case.request_of[invoke as usize] as usize];
    Ask {
        op: request.op,
        path: request.path,
        session: request.session,
        who: request.who,
        answer: request
            .answer
            .expect("only answered requests stand in the order"),
    }
}

fn items_of(case: &Case<'_>, holes: &[(i64, Vec<Evidence<'_>>)]) -> Vec<Item> {
    let mut items = Vec::with_capacity(case.requests.len() + holes.len());
    items.extend(
        holes
            .iter()
            .enumerate()
            .map(|(index, (zxid, _))| (*zxid, What::Hole(index as u32))),
    );
    for (index, request) in case.requests.iter().enumerate() {
        match request.role {
            Role::Transaction => items.push((request.zxid, What::Transaction(index as u32))),
            Role::Read => items.push((request.zxid, What::Read(index as u32))),
            Role::ReadSomewhere | Role::Sync | Role::Unanswered | Role::Nothing => {}
        }
    }
    items.sort();
    items
}
