//! The walk: one pass along the proposed order, with the tree at its side.
//!
//! Transactions are applied and reads evaluated in the order of zxids; what is placed of
//! requests of unknown fate is applied where it is placed. Where something does not agree,
//! [`super::mend`] says how to go on. Acceptance needs no trust in that search: what is
//! accepted has been replayed from the start state in one order.
//!
//! Answers to: `consistency.md` 3.2, W3, R1 and the resolution of unanswered transactions.

use super::case::{Case, RequestIndex, Role};
use super::choices::makes_ephemeral;
use super::evidence::{self, Deed, Evidence};
use super::lapses::may_lapse;
use super::mend::Search;
use super::slots::Slots;
use super::survey::Survey;
use super::times::{Times, records};
use super::unanswered::{self, CandidateIndex, Candidates};
use super::witness::Placements;
use super::{Options, blame};
use crate::certificate::{Effect, Step};
use crate::history::{EventType, Op};
use crate::model::{AclTable, Diff, NO_PATH, PathId, Paths, Tree};
use crate::verdict::{Class, Property, Verdict, Violation};
use rustc_hash::FxHashMap;
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
    pub(super) options: &'c Options,
    pub(super) times: &'c Times,
    pub(super) items: Vec<Item>,
    pub(super) slots: Slots,
    /// What a search needs to know, once there is one.
    pub(super) survey: Option<Survey>,
    pub(super) assigned: BTreeMap<i64, CandidateIndex>,
    pub(super) next_assigned: i64,
    /// What lies where it does in every order; see [`super::claims`].
    pub(super) claimed: BTreeMap<CandidateIndex, i64>,
    /// Which node each that goes by itself was, where it was applied last.
    lapsed: FxHashMap<CandidateIndex, PathId>,
    pub(super) search: Search,
    /// How much has been walked and tried since the beginning, whatever was started over; see
    /// [`TRY_STEPS`](super::mend::TRY_STEPS).
    pub(super) work: u64,
}

impl<'c, 'h> Replay<'c, 'h> {
    /// Prepares the walk; takes the case's paths and ACLs over.
    pub fn new(case: &'c mut Case<'h>, times: &'c Times, options: &'c Options) -> Self {
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
                .any(|request| makes_ephemeral(request.op))
            || may_lapse(case);
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
            times,
            items,
            slots,
            survey: None,
            assigned: BTreeMap::new(),
            next_assigned: i64::MAX,
            claimed: BTreeMap::new(),
            lapsed: FxHashMap::default(),
            search: Search::default(),
            work: 0,
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
            let effect = match (candidate.request, self.lapsed.get(&number)) {
                (Some(request), _) => {
                    Effect::Request(self.case.requests[request as usize].invoke as usize)
                }
                (None, Some(path)) => Effect::Lapse(self.tree.paths.name(*path).into()),
                (None, None) => Effect::End(self.case.sessions[candidate.session as usize].id),
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
            class_reason: String::new(),
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
        for candidate in &mut self.candidates.list {
            candidate.assigned = None;
        }
        self.put_claims();
        self.next_assigned = self.assigned_from(i64::MIN);
        self.search = Search::default();
    }

    pub(super) fn walk(&mut self) -> Result<(), Verdict> {
        let mut at = 0;
        while let Some(&(zxid, what)) = self.items.get(at) {
            self.search.steps += 1;
            self.work += 1;
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
            self.apply_candidate(number, place)
                .map_err(|diff| (place, Mismatch::Misplaced(number, diff)))?;
            self.next_assigned = self.assigned_from(place + 1);
        }
        Ok(())
    }

    pub(super) fn assigned_from(&self, zxid: i64) -> i64 {
        self.assigned
            .range(zxid..)
            .next()
            .map_or(i64::MAX, |(&place, _)| place)
    }

    pub(super) fn apply_candidate(
        &mut self,
        number: CandidateIndex,
        place: i64,
    ) -> Result<(), Option<Diff>> {
        let candidate = &self.candidates.list[number as usize];
        let (session, request) = (candidate.session, candidate.request);
        self.tree.begin(place);
        if let Some(lapse) = candidate.lapse.clone() {
            let path = self.lapse(&lapse, place)?;
            self.lapsed.insert(number, path);
            return Ok(());
        }
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
                let ask = request.ask();
                self.tree.write(&ask).map_err(Mismatch::Differs)
            }
            What::Read(request) => {
                let ask = self.case.requests[request as usize].ask();
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
        let ask = self.case.requests[request as usize].ask();
        self.tree.read(&ask, self.options.exists_needs_read).is_ok()
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
