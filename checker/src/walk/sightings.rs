//! When sessions that nobody closed were last and first known to be alive and gone.
//!
//! An ephemeral ends with its session. Whoever sees one tells that its session had not ended
//! by then; whoever does not see one any more, that nobody can have deleted, tells that it
//! had. Where sessions expire by the dozen these two bounds are what finds each end its
//! place; without them the walk would try all orders.
//!
//! What always holds: a bound is only taken from a node that exactly one request can have
//! made, and that nothing but the end of its session can have removed. Where two bounds of a
//! session contradict each other neither is used: the walk then finds what is wrong.
//!
//! Answers to: `consistency.md` P13, and 3.2, unanswered transactions, "seen".

use super::case::{Case, RequestIndex, Role};
use super::changes::Part;
use super::choices::may_name;
use super::unanswered::{Candidates, Owned};
use crate::history::{Answer, Op, Stat};
use crate::model::{NO_PATH, PathId, Paths, SessionIndex};
use rustc_hash::{FxHashMap, FxHashSet};

/// What can have happened to a path.
struct Fate {
    /// Answered creates: session, zxid, ephemeral.
    made: Vec<(SessionIndex, i64, bool)>,
    /// Something else may have made it.
    made_otherwise: bool,
    /// The first zxid at which a request may have deleted it.
    deleted: i64,
}

impl Default for Fate {
    fn default() -> Self {
        Fate {
            made: Vec::new(),
            made_otherwise: false,
            deleted: i64::MAX,
        }
    }
}

/// Bounds of the end of one session: after `low`, before `high`.
#[derive(Clone, Copy)]
struct Bounds {
    low: i64,
    high: i64,
}

struct Collector<'c, 'h> {
    case: &'c Case<'h>,
    fates: FxHashMap<PathId, Fate>,
    /// By parent, sequential creates of unknown fate: what they made is called like them.
    sequential: FxHashMap<PathId, Vec<&'h Op>>,
    /// The first zxid that each request of unknown fate may have, if it took effect.
    since: FxHashMap<RequestIndex, i64>,
    /// Ephemerals with a single maker, by parent.
    below: FxHashMap<PathId, Vec<PathId>>,
    bounds: Vec<Bounds>,
}

/// Narrows the windows of the ends of sessions to what reads say of their ephemerals.
pub fn narrow<'h>(case: &Case<'h>, paths: &mut Paths<'h>, candidates: &mut Candidates) {
    let nothing = Bounds {
        low: i64::MIN,
        high: i64::MAX,
    };
    let mut collector = Collector {
        case,
        fates: FxHashMap::default(),
        sequential: FxHashMap::default(),
        since: candidates
            .list
            .iter()
            .filter_map(|candidate| Some((candidate.request?, candidate.low + 1)))
            .collect(),
        below: FxHashMap::default(),
        bounds: vec![nothing; case.sessions.len()],
    };
    collector.collect_fates(paths);
    collector.collect_ephemerals(paths);
    collector.collect_sightings(paths);
    for (&parent, ephemerals) in &collector.below {
        for path in ephemerals {
            let fate = &collector.fates[path];
            let (owner, from, _) = fate.made[0];
            if let Some(&end) = candidates.end_of.get(owner as usize) {
                candidates.list[end as usize].owned.push(Owned {
                    from,
                    until: fate.deleted,
                    parts: [(*path, Part::Node), (parent, Part::Kids)],
                });
            }
        }
    }
    for (session, bounds) in collector.bounds.iter().enumerate() {
        let end = &mut candidates.list[candidates.end_of[session] as usize];
        let (low, high) = (end.low.max(bounds.low), end.high.min(bounds.high));
        if high.saturating_sub(low) > 1 {
            (end.low, end.high) = (low, high);
        }
    }
}

impl<'h> Collector<'_, 'h> {
    fn collect_fates(&mut self, paths: &mut Paths<'h>) {
        for (index, request) in (0..).zip(&self.case.requests) {
            let answered = match (request.role, request.answer) {
                (Role::Transaction, Some(Ok(answer))) => Some(answer),
                // Refused, or not asked of the tree: nothing was made or deleted.
                (_, Some(Err(_))) => continue,
                (_, _) => None,
            };
            let zxid = match answered {
                Some(_) => request.zxid,
                None => self.since.get(&index).copied().unwrap_or(i64::MIN),
            };
            let by = (request.session, zxid);
            match (request.op, answered) {
                (Op::Multi { ops }, Some(Answer::Multi(results))) => {
                    for (op, result) in ops.iter().zip(results) {
                        if let Ok(answer) = result {
                            self.fate(op, Some(answer), by, paths);
                        }
                    }
                }
                (Op::Multi { ops }, _) => {
                    ops.iter().for_each(|op| self.fate(op, None, by, paths));
                }
                (op, answered) => self.fate(op, answered, by, paths),
            }
        }
    }

    fn fate(
        &mut self,
        op: &'h Op,
        answered: Option<&'h Answer>,
        (session, zxid): (SessionIndex, i64),
        paths: &mut Paths<'h>,
    ) {
        match (op, answered) {
            (
                Op::Create { ephemeral, .. },
                Some(Answer::Path(made) | Answer::Created { path: made, .. }),
            ) => {
                let made = paths.id(made);
                let fate = self.fates.entry(made).or_default();
                fate.made.push((session, zxid, *ephemeral));
            }
            (
                Op::Create {
                    path,
                    sequential: true,
                    ..
                },
                _,
            ) => {
                let parent = paths.id(path);
                let parent = paths.parent(parent);
                self.sequential.entry(parent).or_default().push(op);
            }
            (Op::Create { path, .. }, _) => {
                self.fates.entry(paths.id(path)).or_default().made_otherwise = true;
            }
            (Op::Delete { path, .. }, _) => {
                let fate = self.fates.entry(paths.id(path)).or_default();
                fate.deleted = fate.deleted.min(zxid);
            }
            (_, _) => {}
        }
    }

    fn collect_ephemerals(&mut self, paths: &Paths<'h>) {
        for (&path, fate) in &self.fates {
            let [(_, _, true)] = fate.made[..] else {
                continue;
            };
            let parent = paths.parent(path);
            let mut others = self.sequential.get(&parent).into_iter().flatten();
            if !fate.made_otherwise
                && parent != NO_PATH
                && !others.any(|op| may_name(op, paths.name(path)))
            {
                self.below.entry(parent).or_default().push(path);
            }
        }
    }

    fn collect_sightings(&mut self, paths: &mut Paths<'h>) {
        let case = self.case;
        let mut listed = FxHashSet::default();
        for request in case.requests.iter().filter(|r| r.role == Role::Read) {
            match request.answer {
                Some(Ok(Answer::Names(names) | Answer::NamesStat { names, .. })) => {
                    let Some(ephemerals) = self.below.remove(&request.path) else {
                        continue;
                    };
                    listed.clear();
                    listed.extend(names.iter().map(|name| paths.child(request.path, name)));
                    for &path in &ephemerals {
                        self.seen(path, request.zxid, listed.contains(&path));
                    }
                    self.below.insert(request.path, ephemerals);
                }
                Some(Ok(
                    Answer::Stat(stat) | Answer::Data { stat, .. } | Answer::Acl { stat, .. },
                )) => {
                    self.owned(stat, request.zxid);
                }
                Some(Err(code)) if *code == crate::history::ErrorCode::NO_NODE => {
                    let parent = paths.parent(request.path);
                    if self
                        .below
                        .get(&parent)
                        .is_some_and(|all| all.contains(&request.path))
                    {
                        self.seen(request.path, request.zxid, false);
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    /// The Stat of somebody's ephemeral, as of `zxid`.
    fn owned(&mut self, stat: &Stat, zxid: i64) {
        let owner = self.case.index_of_session(stat.ephemeral_owner);
        if let Some(bounds) = self.bounds.get_mut(owner as usize) {
            bounds.low = bounds.low.max(zxid);
        }
    }

    /// An ephemeral with a single maker was there at `zxid`, or was not.
    fn seen(&mut self, path: PathId, zxid: i64, there: bool) {
        let fate = &self.fates[&path];
        let (owner, made, _) = fate.made[0];
        let Some(bounds) = self.bounds.get_mut(owner as usize) else {
            return;
        };
        match there {
            true => bounds.low = bounds.low.max(zxid),
            false if made <= zxid && zxid < fate.deleted => {
                bounds.high = bounds.high.min(zxid.saturating_add(1));
            }
            false => {}
        }
    }
}
