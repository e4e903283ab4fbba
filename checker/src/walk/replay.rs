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
use super::slots::Slots;
use super::times::{Times, records};
use super::unanswered::{self, Candidate, CandidateIndex, Candidates, paths_changed};
use super::{Options, blame};
use crate::history::{Op, Value};
use crate::model::{AclTable, Ask, Diff, NO_PATH, PathId, Paths, Tree};
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
    /// What was placed earlier cannot happen there any more.
    Misplaced(CandidateIndex),
}

/// A choice, kept until it is known to be right or wrong.
struct Decision {
    /// Candidates and zxids not tried yet, best last.
    rest: Vec<(CandidateIndex, i64)>,
    /// The one being tried.
    current: Option<(CandidateIndex, i64)>,
    /// Paths it has to do with; sorted.
    relevant: Vec<PathId>,
}

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
    options: &'c Options,
    items: Vec<Item>,
    slots: Slots,
    assigned: BTreeMap<i64, CandidateIndex>,
    next_assigned: i64,
    decisions: Vec<Decision>,
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
            options,
            items,
            slots,
            assigned: BTreeMap::new(),
            next_assigned: i64::MAX,
            decisions: Vec::new(),
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

    /// Walks to the end.
    ///
    /// # Errors
    /// The verdict, if it is not valid.
    pub fn run(&mut self) -> Result<(), Verdict> {
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
            if !self.apply_candidate(number, place) {
                return Err((place, Mismatch::Misplaced(number)));
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

    fn apply_candidate(&mut self, number: CandidateIndex, place: i64) -> bool {
        let candidate = &self.candidates.list[number as usize];
        let (session, request) = (candidate.session, candidate.request);
        self.tree.begin(place);
        let Some(request) = request else {
            self.tree.end(session);
            return true;
        };
        if self.tree.ended(session).is_some() {
            return false;
        }
        let request = &self.case.requests[request as usize];
        self.tree
            .apply(request.op, request.path, session, request.who, true)
            .is_ok()
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
            if !right || evidence.data.is_some_and(|data| data != node.data) {
                return Err(Mismatch::OtherDeed(index));
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
        let mut relevant = self.relevant_paths(what, &why);
        let rest = self.alternatives(place, what, &why, &mut relevant);
        if rest.is_empty() && self.furthest.as_ref().is_none_or(|(known, _)| *known < at) {
            let violation = blame::blame(self, place, what, &why);
            self.furthest = Some((at, violation));
        }
        relevant.sort_unstable();
        relevant.dedup();
        self.decisions.push(Decision {
            rest,
            current: None,
            relevant,
        });
        self.advance(place)
    }

    /// Tries the next alternative of the last decision, or of one before it.
    fn advance(&mut self, place: i64) -> Result<usize, Verdict> {
        let mut back_to = place;
        while let Some(last) = self.decisions.last_mut() {
            if let Some((number, place)) = last.current.take() {
                self.assigned.remove(&place);
                self.candidates.list[number as usize].assigned = None;
                back_to = back_to.min(place);
            }
            if let Some((number, place)) = last.rest.pop() {
                last.current = Some((number, place));
                self.assigned.insert(place, number);
                self.candidates.list[number as usize].assigned = Some(place);
                self.tries += 1;
                if self.tries > self.options.tries_max
                    || self.steps > self.options.steps_max(self.items.len())
                {
                    return Err(Verdict::Unknown(format!(
                        "{} placements of requests of unknown fate tried, {} steps walked",
                        self.tries, self.steps
                    )));
                }
                return Ok(self.go_back(back_to.min(place)));
            }
            self.give_up_last(&mut back_to);
        }
        match (self.cut_short, self.furthest.take()) {
            (false, Some((_, violation))) => Err(Verdict::Invalid(violation)),
            (_, _) => Err(Verdict::Unknown(format!(
                "a request of unknown fate has more than {} places where it may lie",
                self.options.places_max
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
            if let Some((number, place)) = last.current {
                self.assigned.remove(&place);
                self.candidates.list[number as usize].assigned = None;
                *back_to = (*back_to).min(place);
            }
            self.decisions.pop();
        }
    }

    fn go_back(&mut self, place: i64) -> usize {
        self.tree.rewind(place);
        self.next_assigned = self.assigned_from(place);
        self.items.partition_point(|&(zxid, _)| zxid < place)
    }

    /// Paths whose earlier changes could have to do with a mismatch.
    fn relevant_paths(&mut self, what: What, why: &Mismatch) -> Vec<PathId> {
        let mut relevant = Vec::new();
        let case = self.case;
        match what {
            What::Hole(hole) => {
                for evidence in &self.holes[hole as usize].1 {
                    relevant.extend([evidence.path, self.tree.paths.parent(evidence.path)]);
                }
            }
            What::Transaction(request) => {
                let request = &case.requests[request as usize];
                relevant.extend(named(request.op, &mut self.tree.paths));
                if *why == Mismatch::AfterEnd {
                    for path in self.tree.ephemerals_ever(request.session) {
                        relevant.extend([path, self.tree.paths.parent(path)]);
                    }
                }
            }
            What::Read(request) => relevant.push(case.requests[request as usize].path),
        }
        match why {
            Mismatch::Differs(Diff::NameExtra { child, .. } | Diff::NameMissing { child, .. }) => {
                relevant.push(*child)
            }
            Mismatch::Misplaced(number) => relevant.extend(self.touched(*number)),
            Mismatch::Differs(_)
            | Mismatch::AfterEnd
            | Mismatch::Unclaimed(_)
            | Mismatch::OtherDeed(_) => {}
        }
        relevant.retain(|&path| path != NO_PATH);
        relevant.sort_unstable();
        relevant.dedup();
        relevant
    }

    /// Paths a candidate changes, as far as can be told now.
    fn touched(&mut self, number: CandidateIndex) -> Vec<PathId> {
        let candidate = &self.candidates.list[number as usize];
        match candidate.request {
            Some(request) => named(
                self.case.requests[request as usize].op,
                &mut self.tree.paths,
            ),
            None => {
                let paths: Vec<PathId> = self.tree.ephemerals_ever(candidate.session).collect();
                paths
                    .into_iter()
                    .flat_map(|path| [path, self.tree.paths.parent(path)])
                    .collect()
            }
        }
    }

    /// What could be placed where to mend a mismatch at `place`; the best last. Paths of
    /// what stands in the way are added to `relevant`.
    fn alternatives(
        &mut self,
        place: i64,
        what: What,
        why: &Mismatch,
        relevant: &mut Vec<PathId>,
    ) -> Vec<(CandidateIndex, i64)> {
        if !can_be_mended(why) {
            return Vec::new();
        }
        let mut found = self.candidates_for(relevant);
        found.sort_unstable_by_key(|&number| (self.candidates.list[number as usize].high, number));
        let mut alternatives = Vec::new();
        let mut in_the_way = Vec::new();
        for &number in &found {
            let candidate = &self.candidates.list[number as usize];
            let (after, before) = self.among_siblings(number);
            let (low, high) = (
                candidate.low.max(after),
                candidate.high.min(place).min(before),
            );
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
        for holder in in_the_way {
            relevant.extend(self.touched(holder));
        }
        // The latest place disturbs the least of what agreed before; among equals the one
        // whose window closes first.
        alternatives.reverse();
        alternatives.sort_by_key(|&(_, slot)| slot);
        if let (What::Hole(hole), Mismatch::Unclaimed(_)) = (what, why) {
            let exact = found
                .iter()
                .rev()
                .filter(|&&number| self.fits_hole(number, place, hole as usize));
            alternatives.extend(exact.map(|&number| (number, place)));
        }
        alternatives
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

    fn candidates_for(&self, relevant: &[PathId]) -> Vec<CandidateIndex> {
        let mut found = Vec::new();
        for path in relevant {
            found.extend(self.candidates.touching.get(path).into_iter().flatten());
        }
        for (session, &end) in self.candidates.end_of.iter().enumerate() {
            let concerned = self.tree.ephemerals_ever(session as u32).any(|path| {
                relevant.binary_search(&path).is_ok()
                    || relevant
                        .binary_search(&self.tree.paths.parent(path))
                        .is_ok()
            });
            if concerned {
                found.push(end);
            }
        }
        found.retain(|&number| self.candidates.list[number as usize].assigned.is_none());
        found.sort_unstable();
        found.dedup();
        found
    }

    fn fits_hole(&self, number: CandidateIndex, place: i64, hole: usize) -> bool {
        let candidate = &self.candidates.list[number as usize];
        let (after, before) = self.among_siblings(number);
        if place <= candidate.low.max(after) || place >= candidate.high.min(before) {
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

    /// The request in words' reach: the answered transaction at a zxid.
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

fn named<'h>(op: &'h Op, paths: &mut Paths<'h>) -> Vec<PathId> {
    let mut named = paths_changed(op, paths);
    if let Op::Multi { ops } = op {
        for op in ops {
            named.extend(op.path().map(|path| paths.id(path)));
        }
    }
    named
}

/// False where no change that is not known could make a difference: a Stat that names its
/// own zxids was produced by transactions that have all been placed.
fn can_be_mended(why: &Mismatch) -> bool {
    match why {
        Mismatch::Differs(diff) => match diff {
            Diff::Missing(_)
            | Diff::Extra(_)
            | Diff::NameMissing { .. }
            | Diff::NameExtra { .. }
            | Diff::Access { .. }
            | Diff::Outcome { .. }
            | Diff::Name { .. } => true,
            Diff::Stat {
                field,
                expected,
                got,
                ..
            } => match *field {
                "version" | "aversion" => got > expected,
                "numChildren" | "cversion" => true,
                _ => false,
            },
            Diff::Data(_)
            | Diff::NameTwice { .. }
            | Diff::Acl(_)
            | Diff::MultiForm
            | Diff::Kind => false,
        },
        Mismatch::Unclaimed(_) | Mismatch::Misplaced(_) => true,
        Mismatch::AfterEnd | Mismatch::OtherDeed(_) => false,
    }
}

fn makes_ephemeral(op: &Op) -> bool {
    match op {
        Op::Create { ephemeral, .. } => *ephemeral,
        Op::Multi { ops } => ops.iter().any(makes_ephemeral),
        _ => false,
    }
}

fn intersects(left: &[PathId], right: &[PathId]) -> bool {
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
