//! Containers and nodes with a time to live: what may go by the servers' own doing.
//!
//! A leader removes a container that has had a child and has none, and a childless node whose
//! time to live is over, in a transaction that no client is told. Each life of such a node is
//! a candidate here: one silent delete, in the window that what clients saw of that life
//! leaves. Whether it can happen at a place, the tree and the clients' times decide: no
//! earlier than the time to live after the node can have been made or set last, which is no
//! earlier than anything ordered before was asked for.
//!
//! What it is not: a duty. Servers remove such nodes when they get round to it, so one that
//! stays breaks nothing.
//!
//! Answers to: `consistency.md` 3.2, "closed"; `protocol.md` 9.5 (`ContainerManager`).

use super::case::{Case, Request, Role};
use super::changes::{Aspect, Change, being, counter, itself, kids};
use super::choices::{is_numbered, may_name};
use super::evidence::{Deed, Evidence, made};
use super::quiet::each_part;
use super::replay::Replay;
use super::times::Times;
use super::unanswered::{Candidate, CandidateIndex, Candidates};
use crate::history::{Answer, ErrorCode, EventType, Header, Lapse, Op, Path, Start};
use crate::model::{Diff, NO_PATH, NO_SESSION, PathId, Paths};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// A node that may go.
#[derive(Debug, Clone)]
pub struct Lapsing {
    /// Where; [`NO_PATH`] if that is not known before it is made.
    pub path: PathId,
    /// The node above.
    pub parent: PathId,
    /// What makes it, if the path is not known.
    pub maker: Option<Maker>,
    /// After each zxid at which it was made or set, the last at which its time cannot be over.
    fresh: Vec<(i64, i64)>,
}

/// A request of unknown fate that makes a sequential node, or several.
#[derive(Debug, Clone)]
pub struct Maker {
    /// Which request.
    by: CandidateIndex,
    /// What the name begins with.
    pub prefix: Path,
    /// How many it makes before that are called so, too.
    before: usize,
}

/// When what stands up to a zxid in the order can have happened: no earlier than the latest
/// call of an answered transaction among it.
#[derive(Default)]
pub struct Asked {
    by_zxid: Vec<(i64, u64)>,
}

impl Asked {
    fn of(case: &Case<'_>) -> Self {
        let answered = case.requests.iter();
        let answered = answered.filter(|request| request.role == Role::Transaction);
        let mut by_zxid: Vec<(i64, u64)> = answered
            .map(|request| (request.zxid, request.call))
            .collect();
        by_zxid.sort_unstable();
        let mut latest = 0;
        for (_, call) in &mut by_zxid {
            latest = latest.max(*call);
            *call = latest;
        }
        Asked { by_zxid }
    }

    /// The earliest time at which the transaction at a zxid can have happened.
    fn by(&self, zxid: i64) -> u64 {
        let upto = self.by_zxid.partition_point(|&(at, _)| at <= zxid);
        upto.checked_sub(1).map_or(0, |last| self.by_zxid[last].1)
    }
}

/// How long servers whose clocks may run fast wait at least, nanoseconds.
pub(crate) fn patience_ns(header: &Header, ms: u64) -> u64 {
    let drift = ms.saturating_mul(header.clock_drift_ppm.min(1_000_000));
    ms.saturating_mul(1_000_000).saturating_sub(drift)
}

/// True if a create, or a part of a multi, makes a node that may go by itself.
pub fn makes_lapsing(op: &Op) -> bool {
    op.parts().iter().any(|part| lapse_of(part).is_some())
}

fn lapse_of(op: &Op) -> Option<Lapse> {
    match op {
        Op::Create { lapse, .. } => *lapse,
        _ => None,
    }
}

/// True if anything in a history may go by itself.
pub fn may_lapse(case: &Case<'_>) -> bool {
    let mut requests = case.requests.iter();
    let given = match &case.history.header.start {
        Start::Fresh => false,
        Start::Nodes { nodes, .. } => nodes.iter().any(|node| node.lapse.is_some()),
    };
    given || requests.any(|request| makes_lapsing(request.op))
}

/// A life that an answer, or the start state, tells the beginning of.
struct Birth {
    zxid: i64,
    lapse: Option<Lapse>,
}

/// What is known of one path.
#[derive(Default)]
struct Known {
    births: Vec<Birth>,
    /// Zxids at which it was set.
    sets: Vec<i64>,
    /// Zxids at which it was there, and was not.
    there: Vec<i64>,
    missing: Vec<i64>,
    /// Zxids at which somebody deleted it.
    deleted: Vec<i64>,
    /// Requests of unknown fate may have made it, or deleted it.
    perhaps_made: bool,
    perhaps_deleted: bool,
}

/// Adds what may go to the candidates of a case.
pub fn collect<'h>(
    case: &Case<'h>,
    times: &Times,
    paths: &mut Paths<'h>,
    candidates: &mut Candidates,
) {
    if !may_lapse(case) {
        return;
    }
    let mut collector = Collector {
        case,
        times,
        asked: Asked::of(case),
        known: FxHashMap::default(),
        parents: FxHashSet::default(),
        sequential: Vec::new(),
    };
    collector.births(paths);
    collector.sights(paths);
    collector.of_answered(paths, candidates);
    collector.of_unanswered(paths, candidates);
    candidates.asked = collector.asked;
}

struct Collector<'c, 'h> {
    case: &'c Case<'h>,
    times: &'c Times,
    asked: Asked,
    known: FxHashMap<PathId, Known>,
    /// Their parents.
    parents: FxHashSet<PathId>,
    /// Sequential creates of unknown fate.
    sequential: Vec<&'h Op>,
}

impl<'h> Collector<'_, 'h> {
    /// Every path at which a node that may go was surely made.
    fn births(&mut self, paths: &mut Paths<'h>) {
        if let Start::Nodes { zxid, nodes } = &self.case.history.header.start {
            for node in nodes.iter().filter(|node| node.lapse.is_some()) {
                let (path, zxid, lapse) = (paths.id(&node.path), *zxid, node.lapse);
                let known = self.known.entry(path).or_default();
                known.births.push(Birth { zxid, lapse });
            }
        }
        for request in answered(self.case) {
            for (op, answer, _) in each_part(request) {
                if let (Some(_), Some(path)) = (lapse_of(op), made(answer)) {
                    self.known.entry(paths.id(path)).or_default();
                }
            }
        }
        let known = self.known.keys();
        self.parents.extend(known.map(|&path| paths.parent(path)));
    }

    /// What was seen of these paths.
    fn sights(&mut self, paths: &mut Paths<'h>) {
        for request in &self.case.requests {
            match (request.role, request.answer) {
                (Role::Unanswered, _) => self.perhaps(request.op, paths),
                (Role::Transaction, Some(_)) => {
                    for (op, answer, _) in each_part(request) {
                        self.done(op, answer, request, paths);
                    }
                    self.refused(request, paths);
                }
                (Role::Read, Some(Ok(answer))) => {
                    self.there(request.path, request.zxid);
                    self.above(request.path, request.zxid, paths);
                    self.listed(request, answer, paths);
                }
                (Role::Read, Some(Err(ErrorCode::NO_NODE))) => {
                    if let Some(known) = self.known.get_mut(&request.path) {
                        known.missing.push(request.zxid);
                    }
                }
                (_, _) => {}
            }
        }
    }

    fn there(&mut self, path: PathId, zxid: i64) {
        if let Some(known) = self.known.get_mut(&path) {
            known.there.push(zxid);
        }
    }

    fn above(&mut self, path: PathId, zxid: i64, paths: &Paths<'h>) {
        if path != NO_PATH {
            self.there(paths.parent(path), zxid);
        }
    }

    fn listed(&mut self, request: &Request<'h>, answer: &'h Answer, paths: &mut Paths<'h>) {
        let (Answer::Names(names) | Answer::NamesStat { names, .. }) = answer else {
            return;
        };
        if self.parents.contains(&request.path) {
            for name in names {
                let child = paths.child_shared(request.path, name);
                self.there(child, request.zxid);
            }
        }
    }

    /// An answered write, or part of a multi, that took effect.
    fn done(&mut self, op: &'h Op, answer: &'h Answer, by: &Request<'h>, paths: &mut Paths<'h>) {
        let Some(path) = made(answer).or(op.path()) else {
            return;
        };
        let path = paths.id(path);
        self.above(path, by.zxid, paths);
        let Some(known) = self.known.get_mut(&path) else {
            return;
        };
        match op {
            Op::Create { lapse, .. } => known.births.push(Birth {
                zxid: by.zxid,
                lapse: *lapse,
            }),
            Op::Delete { .. } => known.deleted.push(by.zxid),
            Op::Set { .. } => known.sets.push(by.zxid),
            _ => {}
        }
        if !matches!(op, Op::Delete { .. }) {
            known.there.push(by.zxid);
        }
    }

    /// A single write that was refused says whether its node was there.
    fn refused(&mut self, request: &Request<'h>, paths: &Paths<'h>) {
        let Some(Err(code)) = request.answer else {
            return;
        };
        match (request.op, *code) {
            (Op::Multi { .. }, _) => {}
            (_, ErrorCode::BAD_VERSION | ErrorCode::NOT_EMPTY | ErrorCode::NODE_EXISTS) => {
                self.there(request.path, request.zxid);
                self.above(request.path, request.zxid, paths);
            }
            (_, _) => {}
        }
    }

    fn perhaps(&mut self, op: &'h Op, paths: &mut Paths<'h>) {
        for part in op.parts() {
            let known = part.path().and_then(|path| {
                let path = paths.find(path)?;
                self.known.get_mut(&path)
            });
            match part {
                Op::Create {
                    sequential: true, ..
                } => self.sequential.push(part),
                Op::Create { .. } => {
                    known
                        .into_iter()
                        .for_each(|known| known.perhaps_made = true);
                }
                Op::Delete { .. } => {
                    known
                        .into_iter()
                        .for_each(|known| known.perhaps_deleted = true);
                }
                _ => {}
            }
        }
    }

    /// A candidate for each life that was told of.
    fn of_answered(&mut self, paths: &Paths<'h>, candidates: &mut Candidates) {
        let known: BTreeMap<PathId, Known> = std::mem::take(&mut self.known).into_iter().collect();
        for (path, mut known) in known {
            let mut others = self.sequential.iter();
            known.perhaps_made |= others.any(|op| may_name(op, paths.name(path)));
            known.births.sort_by_key(|birth| birth.zxid);
            known.sets.sort_unstable();
            let births = known.births.iter();
            let nexts = births.clone().skip(1).map(|birth| birth.zxid);
            for (birth, next) in births.zip(nexts.chain([i64::MAX])) {
                if let Some(lapse) = birth.lapse {
                    let window = self.window(&known, birth.zxid, next);
                    let fresh = self.fresh(&known, birth.zxid, next, lapse);
                    let parent = paths.parent(path);
                    let lapsing = Lapsing {
                        path,
                        parent,
                        maker: None,
                        fresh,
                    };
                    add(candidates, lapsing, window);
                }
            }
        }
    }

    /// Where the life that begins at one zxid and is over by another can end by itself. Who saw
    /// the node saw that life, unless something of unknown fate made another.
    fn window(&self, known: &Known, from: i64, next: i64) -> (i64, i64) {
        let within = |zxid: &i64| from < *zxid && *zxid < next;
        let deleted = known.deleted.iter().copied().find(within);
        if known.perhaps_made {
            return (from, next);
        }
        if let Some(deleted) = deleted {
            // Somebody else ended it.
            return (deleted, deleted);
        }
        let there = known.there.iter().copied().filter(within);
        let low = there.max().unwrap_or(from).max(from);
        let missing = known.missing.iter().copied().filter(within);
        let high = missing.min().filter(|_| !known.perhaps_deleted);
        let high = high.map_or(next, |zxid| zxid.saturating_add(1));
        match high > low {
            true => (low, high),
            // The walk will say what is wrong.
            false => (low, next),
        }
    }

    fn fresh(&self, known: &Known, from: i64, next: i64, lapse: Lapse) -> Vec<(i64, i64)> {
        let Some(ttl_ms) = lapse.ttl_ms() else {
            return Vec::new();
        };
        let sets = known.sets.iter().copied();
        let within = sets.filter(|&zxid| from < zxid && zxid < next);
        let changes = std::iter::once(from).chain(within);
        let patience = patience_ns(&self.case.history.header, ttl_ms);
        let over = |zxid| self.asked.by(zxid).saturating_add(patience);
        changes
            .filter(|&zxid| zxid > self.case.start_zxid)
            .map(|zxid| (zxid, self.times.known_before(over(zxid))))
            .collect()
    }

    /// A candidate for each create of unknown fate.
    fn of_unanswered(&mut self, paths: &mut Paths<'h>, candidates: &mut Candidates) {
        let case = self.case;
        let made: Vec<(CandidateIndex, i64, &'h Op)> = (0..)
            .zip(&candidates.list)
            .filter_map(|(number, maker)| {
                let op = case.requests[maker.request? as usize].op;
                Some((number, maker.low, op))
            })
            .collect();
        for (number, low, op) in made {
            for (index, part) in op.parts().iter().enumerate() {
                let Op::Create {
                    path: name,
                    lapse: Some(_),
                    sequential,
                    ..
                } = part
                else {
                    continue;
                };
                let asked = paths.id(name);
                let alike = |part: &&Op| matches!(part, Op::Create { path, sequential: true, .. } if path == name);
                let before = op.parts()[..index].iter().filter(alike).count();
                let prefix = name.clone();
                let maker = sequential.then_some(Maker {
                    by: number,
                    prefix,
                    before,
                });
                let lapsing = Lapsing {
                    path: if maker.is_none() { asked } else { NO_PATH },
                    parent: paths.parent(asked),
                    maker,
                    fresh: Vec::new(),
                };
                add(candidates, lapsing, (low, i64::MAX));
            }
        }
    }
}

/// Answered transactions.
fn answered<'c, 'h>(case: &'c Case<'h>) -> impl Iterator<Item = &'c Request<'h>> {
    let requests = case.requests.iter();
    requests.filter(|request| request.role == Role::Transaction)
}

fn add(candidates: &mut Candidates, lapsing: Lapsing, (low, high): (i64, i64)) {
    let number = candidates.list.len() as CandidateIndex;
    let changes: Vec<Change> = lapsing.changes().collect();
    for &change in &changes {
        candidates.providing.entry(change).or_default().push(number);
    }
    if lapsing.maker.is_some() {
        candidates.unnamed.push(number);
    }
    candidates.list.push(Candidate {
        request: None,
        lapse: Some(Box::new(lapsing)),
        session: NO_SESSION,
        low,
        high,
        parts: changes.into_iter().flat_map(Change::places).collect(),
        owned: Vec::new(),
        assigned: None,
    });
}

impl Lapsing {
    /// What it changes, as far as that is known before.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let gone = (self.path != NO_PATH).then_some(Change::Gone(self.path));
        gone.into_iter().chain([Change::FewerKids(self.parent)])
    }

    /// The end below which it may lie, if at `zxid` its time cannot be over.
    pub fn too_fresh(&self, zxid: i64) -> Option<i64> {
        let last = self.fresh.partition_point(|&(changed, _)| changed < zxid);
        let (changed, until) = self.fresh[last.checked_sub(1)?];
        (zxid <= until).then_some(changed)
    }

    /// True if it can be what was seen of one transaction.
    pub fn could_be(&self, evidence: &Evidence<'_>, paths: &Paths<'_>) -> bool {
        match evidence.deed {
            Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
                evidence.path == self.parent
            }
            Deed::Fired(EventType::NodeDeleted) => match &self.maker {
                None => evidence.path == self.path,
                Some(maker) => is_numbered(&maker.prefix, paths.name(evidence.path)),
            },
            Deed::Created
            | Deed::Modified
            | Deed::Fired(EventType::NodeCreated | EventType::NodeDataChanged) => false,
        }
    }
}

impl Replay<'_, '_> {
    /// What may go by itself and may be called so, though that is not known before.
    pub(super) fn lapses_called(&self, path: PathId, found: &mut Vec<CandidateIndex>) {
        for &number in &self.candidates.unnamed {
            let lapse = &self.candidates.list[number as usize].lapse;
            let maker = lapse.as_ref().and_then(|lapse| lapse.maker.as_ref());
            let name = (path != NO_PATH).then(|| self.tree.paths.name(path));
            if let (Some(maker), Some(name)) = (maker, name)
                && is_numbered(&maker.prefix, name)
            {
                found.push(number);
            }
        }
    }

    /// What one that goes by itself changes or hangs on.
    pub(super) fn lapse_touches(&self, lapsing: &Lapsing, touched: &mut Vec<Aspect>) {
        touched.extend([kids(lapsing.parent), itself(lapsing.parent)]);
        match lapsing.maker {
            None => {
                let path = lapsing.path;
                touched.extend([itself(path), being(path), kids(path), counter(path)]);
            }
            Some(_) => touched.push(counter(lapsing.parent)),
        }
    }

    /// What keeps a container or TTL node that is there, if it is one.
    pub(super) fn keeps(&self, path: PathId) -> Option<&'static str> {
        let node = self.tree.node(path);
        let lapse = node.lapse.filter(|_| node.exists)?;
        Some(match lapse {
            Lapse::Container | Lapse::Ttl(_) if node.children > 0 => "it had children",
            Lapse::Container if node.creates == 0 => "it never had a child",
            Lapse::Container => "its last child can have gone only later",
            Lapse::Ttl(_) => "its time to live cannot have been over",
        })
    }

    /// What keeps a container or TTL node that was let go where it cannot, and where it is.
    pub(super) fn kept(&self, number: CandidateIndex) -> Option<(PathId, &'static str)> {
        let lapsing = self.candidates.list[number as usize].lapse.as_ref()?;
        let path = match &lapsing.maker {
            None => lapsing.path,
            Some(maker) => self.made_by(maker)?,
        };
        Some((path, self.keeps(path)?))
    }

    /// A container or TTL node that is there, under a path.
    pub(super) fn kept_below(&self, parent: PathId) -> Option<PathId> {
        let lapsing = self
            .candidates
            .list
            .iter()
            .filter_map(|each| each.lapse.as_ref());
        let mut below = lapsing.filter(|lapsing| lapsing.parent == parent);
        below.find_map(|lapsing| self.keeps(lapsing.path).map(|_| lapsing.path))
    }

    /// Lets a node go by itself at a place; which one.
    ///
    /// # Errors
    /// What the tree has against it; none if it is only too early.
    pub(super) fn lapse(&mut self, lapsing: &Lapsing, place: i64) -> Result<PathId, Option<Diff>> {
        let header = &self.case.history.header;
        let path = match &lapsing.maker {
            None => lapsing.path,
            Some(maker) => self
                .made_by(maker)
                .ok_or_else(|| Some(self.not_made(lapsing.parent)))?,
        };
        let unused_ms = header.container_unused_ms;
        let node = self.tree.node(path);
        let patience = node.lapse.and_then(|lapse| match lapse {
            Lapse::Ttl(ttl_ms) => Some(ttl_ms),
            Lapse::Container if node.creates == 0 && unused_ms > 0 => Some(unused_ms),
            Lapse::Container => None,
        });
        if let Some(ms) = patience.filter(|_| node.exists && node.mzxid > self.case.start_zxid) {
            let changed = node.mzxid;
            let over = self
                .asked_by(changed)
                .saturating_add(patience_ns(header, ms));
            if place <= self.times.known_before(over) {
                // What of unknown fate set it may lie elsewhere; not all of that is tried.
                let by = self.assigned.get(&changed);
                let movable = by.is_some_and(|by| !self.claimed.contains_key(by));
                self.search.too_early |= movable;
                return Err(None);
            }
        }
        let gone = self.tree.lapse(path, unused_ms > 0);
        gone.map(|()| path).map_err(Some)
    }

    /// The earliest time at which the transaction at a zxid can have happened.
    fn asked_by(&self, zxid: i64) -> u64 {
        let placed = self.assigned.range(..=zxid);
        let placed =
            placed.filter_map(|(_, &number)| self.candidates.list[number as usize].request);
        let called = placed.map(|request| self.case.requests[request as usize].call);
        called.fold(self.candidates.asked.by(zxid), u64::max)
    }

    /// The node that a sequential create of unknown fate made where it is placed. What was made
    /// there and is gone still counts: numbers grow from one part of a multi to the next.
    fn made_by(&self, maker: &Maker) -> Option<PathId> {
        let place = self.candidates.list[maker.by as usize].assigned?;
        let number = |id: PathId| {
            let made = self.tree.node(id).czxid == place;
            let name = made.then(|| self.tree.paths.name(id))?;
            name.strip_prefix(&*maker.prefix)?.parse::<i32>().ok()
        };
        let ids = 0..self.tree.paths.len() as PathId;
        let mut made: Vec<(i32, PathId)> = ids.filter_map(|id| Some((number(id)?, id))).collect();
        made.sort_unstable();
        let (_, id) = *made.get(maker.before)?;
        self.tree.node(id).exists.then_some(id)
    }

    /// As a difference: a child more would have to have been made.
    fn not_made(&self, parent: PathId) -> Diff {
        let made = self.tree.node(parent).creates.into();
        Diff::Stat {
            path: parent,
            field: "children made",
            expected: made,
            got: made + 1,
        }
    }
}
