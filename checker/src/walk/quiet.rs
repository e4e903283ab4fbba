//! Stretches of the order in which nothing can have happened to a node.
//!
//! A Stat names the last change: between that zxid and the prefix it was read at, nothing
//! can have changed the node. And it counts: where two Stats of one life of a node differ by
//! exactly what answered requests and seen transactions explain, nothing unseen can lie in
//! between. Both hold whatever the fate of any request is, so the search need not try there.
//!
//! What always holds: a stretch is excluded only if every order that explains all Stats
//! leaves it empty.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "counted".

use super::case::{Case, Request, Role};
use super::evidence::{Deed, Evidence, each_stat};
use crate::history::{Answer, EventType, Op, Stat};
use crate::model::{NO_PATH, PathId, Paths};
use rustc_hash::FxHashMap;

/// What of a node a transaction changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// That it is there, or not.
    Node,
    /// Its bytes.
    Data,
    /// Its children.
    Kids,
    /// Its ACL.
    Acl,
}

/// A part of a node.
pub type Place = (PathId, Part);

/// Zxids in `(after, upto]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    after: i64,
    upto: i64,
}

/// The stretches of every part of every node.
#[derive(Default)]
pub struct Quiet {
    /// Nothing at all happened, by the zxids that Stats name; in order, apart from each other.
    still: FxHashMap<Place, Vec<Stretch>>,
    /// Nothing happened but what is known, by the counters.
    counted: FxHashMap<Place, Vec<Stretch>>,
    /// For each session, the greatest zxid at which an ephemeral of it was seen.
    pub alive: Vec<i64>,
}

/// A counter at one prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Count {
    zxid: i64,
    czxid: i64,
    value: i32,
}

impl Quiet {
    /// Reads the Stats of a case.
    pub fn of<'h>(
        case: &Case<'h>,
        holes: &[(i64, Vec<Evidence<'h>>)],
        paths: &mut Paths<'h>,
    ) -> Self {
        let mut quiet = Quiet {
            alive: vec![0; case.sessions.len()],
            ..Quiet::default()
        };
        let mut counts: FxHashMap<Place, Vec<Count>> = FxHashMap::default();
        for request in &case.requests {
            if !matches!(request.role, Role::Read | Role::Transaction) {
                continue;
            }
            each_stat(request, paths, |path, stat, _| {
                quiet.note_still(path, stat, request.zxid);
                note_counts(&mut counts, path, stat, (case.start_zxid, request.zxid));
                let owner = case.index_of_session(stat.ephemeral_owner);
                if let Some(alive) = quiet.alive.get_mut(owner as usize) {
                    *alive = request.zxid.max(*alive);
                }
            });
        }
        let known = known_changes(case, holes, paths);
        for (place, counts) in counts {
            let known = known.get(&place).map_or(&[][..], Vec::as_slice);
            let stretches = explained(counts, known);
            if !stretches.is_empty() {
                quiet.counted.insert(place, stretches);
            }
        }
        quiet.still.values_mut().for_each(join);
        quiet
    }

    fn note_still(&mut self, path: PathId, stat: &Stat, upto: i64) {
        for (part, after) in [
            (Part::Node, stat.czxid),
            (Part::Data, stat.mzxid),
            (Part::Kids, stat.pzxid),
        ] {
            if after < upto {
                let stretches = self.still.entry((path, part)).or_default();
                stretches.push(Stretch { after, upto });
            }
        }
    }

    /// The end below which something that changes `parts` may lie, if it cannot at `zxid`; at
    /// a number that nobody saw, if `unseen`.
    pub fn excludes(&self, parts: &[Place], zxid: i64, unseen: bool) -> Option<i64> {
        let found = |stretches: &FxHashMap<Place, Vec<Stretch>>, place: &Place| {
            let stretches = stretches.get(place)?;
            let next = stretches.partition_point(|stretch| stretch.upto < zxid);
            let stretch = stretches.get(next)?;
            (stretch.after < zxid).then_some(stretch.after)
        };
        let mut parts = parts.iter();
        parts.find_map(|place| {
            found(&self.still, place).or_else(|| match unseen {
                true => found(&self.counted, place),
                false => None,
            })
        })
    }
}

/// Sorts stretches and joins those that touch.
fn join(stretches: &mut Vec<Stretch>) {
    stretches.sort_unstable();
    let mut joined: Vec<Stretch> = Vec::new();
    for &stretch in stretches.iter() {
        match joined.last_mut() {
            Some(last) if stretch.after <= last.upto => last.upto = last.upto.max(stretch.upto),
            Some(_) | None => joined.push(stretch),
        }
    }
    *stretches = joined;
}

fn note_counts(
    counts: &mut FxHashMap<Place, Vec<Count>>,
    path: PathId,
    stat: &Stat,
    (start, zxid): (i64, i64),
) {
    for (part, value) in [
        (Part::Data, stat.version),
        (Part::Kids, stat.cversion),
        (Part::Acl, stat.aversion),
    ] {
        let czxid = stat.czxid;
        let counts = counts.entry((path, part)).or_default();
        // A life begins with nothing counted, unless it began before the history.
        if czxid > start {
            counts.push(Count {
                zxid: czxid,
                czxid,
                value: 0,
            });
        }
        counts.push(Count { zxid, czxid, value });
    }
}

/// Stretches between two counts of one life that known changes explain.
fn explained(mut counts: Vec<Count>, known: &[i64]) -> Vec<Stretch> {
    counts.sort_unstable();
    counts.dedup();
    let mut stretches = Vec::new();
    for pair in counts.windows(2) {
        let [first, second] = [pair[0], pair[1]];
        if first.czxid != second.czxid || first.zxid == second.zxid {
            continue;
        }
        let upto = |zxid| known.partition_point(|&change| change <= zxid);
        let changes = (upto(second.zxid) - upto(first.zxid)) as i64;
        if i64::from(second.value) - i64::from(first.value) == changes {
            stretches.push(Stretch {
                after: first.zxid,
                upto: second.zxid,
            });
        }
    }
    join(&mut stretches);
    stretches
}

/// The zxids at which parts of nodes surely changed, once for each change; sorted.
fn known_changes<'h>(
    case: &Case<'h>,
    holes: &[(i64, Vec<Evidence<'h>>)],
    paths: &mut Paths<'h>,
) -> FxHashMap<Place, Vec<i64>> {
    let mut known: FxHashMap<Place, Vec<i64>> = FxHashMap::default();
    let mut note = |place: Place, zxid| known.entry(place).or_default().push(zxid);
    for request in &case.requests {
        if request.role != Role::Transaction {
            continue;
        }
        for op in effective(request) {
            if let Some(place) = counted_by(op, paths) {
                note(place, request.zxid);
            }
        }
    }
    for (zxid, evidence) in holes {
        let mut places: Vec<Place> = evidence
            .iter()
            .map(|seen| counted_by_deed(seen, paths))
            .collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().for_each(|place| note(place, *zxid));
    }
    known.values_mut().for_each(|list| list.sort_unstable());
    known
}

/// The single operations that an answered request surely carried out.
fn effective<'h>(request: &Request<'h>) -> &'h [Op] {
    match (request.op, request.answer) {
        (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => {
            match results.iter().all(Result::is_ok) {
                true => ops,
                false => &[],
            }
        }
        (op, Some(Ok(_))) => std::slice::from_ref(op),
        (_, Some(Err(_)) | None) => &[],
    }
}

/// The counter that an operation moves, if it is carried out.
fn counted_by<'h>(op: &'h Op, paths: &mut Paths<'h>) -> Option<Place> {
    let path = paths.id(op.path()?);
    match op {
        Op::Create { .. } | Op::Delete { .. } => Some((paths.parent(path), Part::Kids)),
        Op::Set { .. } => Some((path, Part::Data)),
        Op::SetAcl { .. } => Some((path, Part::Acl)),
        Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Check { .. }
        | Op::Multi { .. }
        | Op::Sync { .. }
        | Op::Close => None,
    }
}

/// The counter that a transaction moved which somebody saw.
fn counted_by_deed(seen: &Evidence<'_>, paths: &Paths<'_>) -> Place {
    match seen.deed {
        Deed::Created | Deed::Fired(EventType::NodeCreated | EventType::NodeDeleted) => {
            (paths.parent(seen.path), Part::Kids)
        }
        // It may have made the node; then it lies in no stretch of this life.
        Deed::Modified | Deed::Fired(EventType::NodeDataChanged) => (seen.path, Part::Data),
        Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => (seen.path, Part::Kids),
    }
}

/// What a request changes, if it takes effect.
pub fn changed_by<'h>(op: &'h Op, paths: &mut Paths<'h>, parts: &mut Vec<Place>) {
    if let Op::Multi { ops } = op {
        return ops.iter().for_each(|op| changed_by(op, paths, parts));
    }
    let Some(path) = op.path() else { return };
    let path = paths.id(path);
    let parent = paths.parent(path);
    match op {
        Op::Create {
            sequential: true, ..
        } => parts.push((parent, Part::Kids)),
        Op::Create { .. } | Op::Delete { .. } => {
            parts.extend([(path, Part::Node), (path, Part::Data)]);
            if parent != NO_PATH {
                parts.push((parent, Part::Kids));
            }
        }
        Op::Set { .. } => parts.push((path, Part::Data)),
        Op::SetAcl { .. } => parts.push((path, Part::Acl)),
        Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Check { .. }
        | Op::Multi { .. }
        | Op::Sync { .. }
        | Op::Close => {}
    }
}
