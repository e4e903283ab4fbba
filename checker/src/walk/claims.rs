//! Claims: which request of unknown fate a transaction was that somebody saw.
//!
//! What was seen of a transaction (path, deed, bytes, version) fits few requests. Where it
//! fits only one, that one is claimed once and for all, before anything is searched, and the
//! windows of its session's other requests shrink by it; so one claim leads to the next.
//!
//! What always holds: what is claimed lies there in every order that explains what was seen.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen".

use super::choices::{makes_ephemeral, may_name};
use super::evidence::{Deed, Evidence};
use super::replay::Replay;
use super::unanswered::CandidateIndex;
use crate::history::{EventType, Op, Path, Value};
use crate::model::{PathId, SessionIndex};
use rustc_hash::{FxHashMap, FxHashSet};

/// Rounds of claims; each makes at least one, so this bounds nothing but a mistake.
const ROUNDS_MAX: usize = 1_000_000;

impl Replay<'_, '_> {
    /// Claims what only one request of unknown fate can have been.
    pub(super) fn claim_seen(&mut self) {
        let asked = self.ephemerals_asked_for();
        let mut open: Vec<usize> = (0..self.holes.len()).collect();
        for _ in 0..ROUNDS_MAX {
            let before = open.len();
            open.retain(|&hole| match self.only_suspect(hole, &asked) {
                Some(number) => {
                    self.claim(number, self.holes[hole].0);
                    false
                }
                None => true,
            });
            if open.len() == before {
                return;
            }
        }
    }

    /// The one candidate that a hole can be, if there is only one and it is free.
    fn only_suspect(
        &self,
        hole: usize,
        asked: &FxHashMap<PathId, FxHashSet<SessionIndex>>,
    ) -> Option<CandidateIndex> {
        let place = self.holes[hole].0;
        let mut suspects = self.suspects(hole);
        suspects.retain(|&number| {
            let suspect = &self.candidates.list[number as usize];
            suspect.request.is_some() || suspect.lapse.is_some()
        });
        for evidence in &self.holes[hole].1 {
            let below = match evidence.deed {
                Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => evidence.path,
                Deed::Fired(EventType::NodeDeleted) => self.tree.paths.parent(evidence.path),
                Deed::Created | Deed::Modified | Deed::Fired(_) => continue,
            };
            let sessions = asked.get(&below).into_iter().flatten();
            suspects.extend(sessions.map(|&session| self.candidates.end_of[session as usize]));
        }
        suspects.sort_unstable();
        suspects.dedup();
        let claimed = |number: &CandidateIndex| self.claimed.contains_key(number);
        let mut fitting = suspects
            .into_iter()
            .filter(|number| !claimed(number) && self.fits_hole(*number, place, hole));
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }

    fn claim(&mut self, number: CandidateIndex, place: i64) {
        self.claimed.insert(number, place);
        self.put_claims();
        let session = self.candidates.list[number as usize].session;
        let me = self.candidates.list[number as usize].request;
        for other in &mut self.candidates.list {
            if other.session != session {
                continue;
            }
            match (other.request, me) {
                (Some(other_sent), Some(sent)) if other_sent > sent => {
                    other.low = other.low.max(place);
                }
                (Some(other_sent), Some(sent)) if other_sent < sent => {
                    other.high = other.high.min(place);
                }
                (Some(_), None) => other.high = other.high.min(place),
                (None, Some(_)) => other.low = other.low.max(place),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    /// Puts what is claimed into the order.
    pub(super) fn put_claims(&mut self) {
        for (&number, &place) in &self.claimed {
            self.assigned.insert(place, number);
            self.candidates.list[number as usize].assigned = Some(place);
        }
    }

    /// For each path, the sessions that asked for an ephemeral below it.
    fn ephemerals_asked_for(&mut self) -> FxHashMap<PathId, FxHashSet<SessionIndex>> {
        let mut asked: FxHashMap<PathId, FxHashSet<SessionIndex>> = FxHashMap::default();
        let (case, paths) = (self.case, &mut self.tree.paths);
        let mut ask = |session: SessionIndex, path: &'_ Path| {
            if let Some(parent) = paths.find(path).map(|path| paths.parent(path))
                && (session as usize) < case.sessions.len()
            {
                asked.entry(parent).or_default().insert(session);
            }
        };
        for request in &case.requests {
            for part in request
                .op
                .parts()
                .iter()
                .filter(|part| makes_ephemeral(part))
            {
                part.path()
                    .into_iter()
                    .for_each(|path| ask(request.session, path));
            }
        }
        if let crate::history::Start::Nodes { nodes, .. } = &case.history.header.start {
            for node in nodes {
                ask(case.index_of_session(node.stat.ephemeral_owner), &node.path);
            }
        }
        asked
    }

    /// True if a request can be what was seen of one transaction, as far as they tell.
    pub(super) fn could_be(&self, op: &Op, evidence: &Evidence<'_>) -> bool {
        match op {
            // A later part may have changed what an earlier one left.
            Op::Multi { ops } => {
                let deed = Evidence {
                    data: None,
                    version: None,
                    ..*evidence
                };
                ops.iter().any(|op| self.could_have_done(op, &deed))
            }
            op => self.could_have_done(op, evidence),
        }
    }

    fn could_have_done(&self, op: &Op, evidence: &Evidence<'_>) -> bool {
        let paths = &self.tree.paths;
        let Some(path) = op.path().and_then(|path| paths.find(path)) else {
            return false;
        };
        let is_at = |path| path == evidence.path;
        let names = || match op {
            Op::Create {
                sequential: true, ..
            } => may_name(op, paths.name(evidence.path)),
            _ => is_at(path),
        };
        let below = is_at(paths.parent(path));
        match (evidence.deed, op) {
            (Deed::Created, Op::Create { data, .. }) => names() && same_bytes(evidence, data),
            (Deed::Modified, Op::Create { data, .. }) => {
                names() && same_bytes(evidence, data) && evidence.version.is_none_or(|v| v == 0)
            }
            (Deed::Modified, Op::Set { data, version, .. }) => {
                let left =
                    |seen: i32| seen > 0 && (*version == -1 || version.wrapping_add(1) == seen);
                is_at(path) && same_bytes(evidence, data) && evidence.version.is_none_or(left)
            }
            (Deed::ChildChanged, Op::Create { .. } | Op::Delete { .. }) => below,
            (Deed::Fired(EventType::NodeCreated), Op::Create { .. }) => names(),
            (Deed::Fired(EventType::NodeDeleted), Op::Delete { .. }) => is_at(path),
            (Deed::Fired(EventType::NodeDataChanged), Op::Set { .. }) => is_at(path),
            (
                Deed::Fired(EventType::NodeChildrenChanged),
                Op::Create { .. } | Op::Delete { .. },
            ) => below,
            (Deed::Created | Deed::Modified | Deed::ChildChanged | Deed::Fired(_), _) => false,
        }
    }
}

fn same_bytes(evidence: &Evidence<'_>, data: &Option<Value>) -> bool {
    evidence.data.is_none_or(|seen| seen == data.as_ref())
}
