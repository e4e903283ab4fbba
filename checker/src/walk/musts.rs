//! What must have happened: requests of unknown fate whose node somebody saw.
//!
//! A node that was not there when the history began, that no answered request made and only
//! one request of unknown fate can have made, was made by that one, no later than it was first
//! seen. Where many creates below one node were lost, and only their number is missed, these
//! are the ones to count on; and what a client sent before them on the same connection.
//!
//! What always holds: a bound is only taken from a node with a single possible maker.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen".

use super::case::{Case, RequestIndex, Role};
use super::changes::{Change, each_change};
use super::choices::may_name;
use super::evidence::{each_stat, made};
use super::unanswered::{CandidateIndex, Candidates};
use crate::history::{Answer, Start};
use crate::model::{PathId, Paths};
use rustc_hash::{FxHashMap, FxHashSet};

/// Who can have made a node that somebody saw.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// One of unknown fate.
    Only(CandidateIndex),
    /// More than one, or one that was answered.
    Others,
}

/// For each candidate, the first zxid at which a node was seen that only it can have made;
/// the greatest number if there is none.
pub fn seen_by<'h>(case: &Case<'h>, paths: &mut Paths<'h>, candidates: &Candidates) -> Vec<i64> {
    let mut seen = vec![i64::MAX; candidates.list.len()];
    let mut makers = Makers::of(case, paths, candidates);
    for request in &case.requests {
        if !matches!(request.role, Role::Read | Role::Transaction) {
            continue;
        }
        let mut see = |maker: Option<CandidateIndex>| {
            if let Some(first) = maker.and_then(|maker| seen.get_mut(maker as usize)) {
                *first = request.zxid.min(*first);
            }
        };
        let mut sights = Vec::new();
        each_stat(request, paths, |path, _, _, _| sights.push(path));
        for path in sights {
            see(makers.only(path, case, paths, candidates));
        }
        if let Some(Ok(Answer::Names(names) | Answer::NamesStat { names, .. })) = request.answer
            && makers.parents.contains(&request.path)
        {
            for name in names {
                let path = paths.child(request.path, name);
                see(makers.only(path, case, paths, candidates));
            }
        }
    }
    seen
}

/// Who can have made what.
struct Makers {
    /// By the names that were asked for, and those that were answered.
    of: FxHashMap<PathId, Maker>,
    /// What was found out of each path that was seen.
    found: FxHashMap<PathId, Maker>,
    /// Sequential creates that are no candidates, but may have made something.
    strange: Vec<RequestIndex>,
    /// Nodes below which something of unknown fate may have made one.
    parents: FxHashSet<PathId>,
}

impl Makers {
    fn of<'h>(case: &Case<'h>, paths: &mut Paths<'h>, candidates: &Candidates) -> Self {
        let mut makers = Makers {
            of: FxHashMap::default(),
            found: FxHashMap::default(),
            strange: Vec::new(),
            parents: FxHashSet::default(),
        };
        let lost = candidates.list.iter();
        let lost: FxHashMap<RequestIndex, CandidateIndex> = lost
            .zip(0..)
            .filter_map(|(candidate, number)| Some((candidate.request?, number)))
            .collect();
        if let Start::Nodes { nodes, .. } = &case.history.header.start {
            for node in nodes {
                makers.of.insert(paths.id(&node.path), Maker::Others);
            }
        }
        for (index, request) in (0..).zip(&case.requests) {
            match (request.role, request.answer) {
                (Role::Transaction, Some(Ok(answer))) => {
                    let mut name = |answer: &'h Answer| {
                        if let Some(path) = made(answer) {
                            makers.of.insert(paths.id(path), Maker::Others);
                        }
                    };
                    match answer {
                        Answer::Multi(results) => results.iter().flatten().for_each(name),
                        answer => name(answer),
                    }
                }
                (Role::Transaction, _) => {}
                (Role::Unanswered | Role::Nothing, _) => {
                    let maker = match lost.get(&index) {
                        Some(&one) => Maker::Only(one),
                        None => {
                            makers.strange.push(index);
                            Maker::Others
                        }
                    };
                    each_change(request.op, paths, &mut |change| match change {
                        Change::Made(path) => makers.add(path, maker),
                        Change::MoreKids(path) => _ = makers.parents.insert(path),
                        Change::Gone(_)
                        | Change::Set(_)
                        | Change::Acl(_)
                        | Change::FewerKids(_) => {}
                    });
                }
                (Role::Read | Role::ReadSomewhere | Role::Sync, _) => {}
            }
        }
        makers
    }

    fn add(&mut self, path: PathId, maker: Maker) {
        let known = self.of.entry(path).or_insert(maker);
        if *known != maker {
            *known = Maker::Others;
        }
    }

    /// The one that must have made a node, if it has to be one of unknown fate and can be only
    /// one.
    fn only<'h>(
        &mut self,
        path: PathId,
        case: &Case<'h>,
        paths: &Paths<'h>,
        candidates: &Candidates,
    ) -> Option<CandidateIndex> {
        let maker = match self.found.get(&path) {
            Some(&maker) => maker,
            None => {
                let maker = self.find(path, case, paths, candidates);
                self.found.insert(path, maker);
                maker
            }
        };
        match maker {
            Maker::Only(number) => Some(number),
            Maker::Others => None,
        }
    }
    fn find(
        &self,
        path: PathId,
        case: &Case<'_>,
        paths: &Paths<'_>,
        candidates: &Candidates,
    ) -> Maker {
        let may_name = |request: RequestIndex| {
            let op = case.requests[request as usize].op;
            may_name(op, paths.name(path))
        };
        let mut all: Vec<CandidateIndex> = match self.of.get(&path) {
            Some(Maker::Others) => return Maker::Others,
            Some(&Maker::Only(one)) => vec![one],
            None => Vec::new(),
        };
        if self.strange.iter().any(|&request| may_name(request)) {
            return Maker::Others;
        }
        let parent = Change::MoreKids(paths.parent(path));
        let siblings = candidates.providing.get(&parent).into_iter().flatten();
        all.extend(siblings.filter(|&&number| {
            let request = candidates.list[number as usize].request;
            request.is_some_and(may_name)
        }));
        all.dedup();
        match all[..] {
            [only] => Maker::Only(only),
            _ => Maker::Others,
        }
    }
}
