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

use super::case::{Case, Request, RequestIndex, Role};
use super::changes::{Change, Part, Place, each_change};
use super::choices::is_numbered;
use super::evidence::{Deed, Evidence, each_stat, made};
use super::room::Gap;
use super::unanswered::Candidates;
use crate::history::{Answer, EventType, Op, Stat};
use crate::model::{PathId, Paths};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Ordering;

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
    /// Where more happened than is known, by the counters; in order, apart from each other.
    pub(super) gaps: FxHashMap<Place, Vec<Gap>>,
    /// For each session, the greatest zxid at which an ephemeral of it was seen.
    pub alive: Vec<i64>,
}

/// A counter at one prefix, of one life of its node: the zxid that made it, or [`ANY_LIFE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Count {
    zxid: i64,
    life: i64,
    value: i32,
    /// Whose answer says so.
    told: RequestIndex,
}

/// Whichever life of a node that nobody ever asked to delete: it can have gone with a session,
/// but then it had no children, so that the count of children made never goes back.
const ANY_LIFE: i64 = i64::MIN;

/// What is counted, as far as anybody was told.
struct Counts {
    by_place: FxHashMap<Place, Vec<Count>>,
    /// Nodes that somebody asked to delete, or that go by themselves.
    mortal: FxHashSet<PathId>,
    /// Zxid before the history.
    start: i64,
}

impl Quiet {
    /// Reads the Stats of a case, but not those that are `refuted`.
    pub fn of<'h>(
        case: &Case<'h>,
        holes: &[(i64, Vec<Evidence<'h>>)],
        candidates: &Candidates,
        refuted: &FxHashSet<RequestIndex>,
        paths: &mut Paths<'h>,
    ) -> Self {
        let mut quiet = Quiet {
            alive: vec![0; case.sessions.len()],
            ..Quiet::default()
        };
        let counts = Counts::of(case, candidates, refuted, paths, &mut |path, stat, zxid| {
            quiet.note_still(path, stat, zxid);
            let owner = case.index_of_session(stat.ephemeral_owner);
            if let Some(alive) = quiet.alive.get_mut(owner as usize) {
                *alive = zxid.max(*alive);
            }
        });
        let known = known_changes(case, holes, paths);
        for (place, counts) in counts.by_place {
            let known = known.get(&place).map_or(&[][..], Vec::as_slice);
            let (stretches, gaps) = explained(counts, known);
            if !stretches.is_empty() {
                quiet.counted.insert(place, stretches);
            }
            if !gaps.is_empty() {
                quiet.gaps.insert(place, gaps);
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

    /// The zxid that made the node which somebody saw at a zxid.
    pub fn life_at(&self, path: PathId, zxid: i64) -> Option<i64> {
        self.excludes(&[(path, Part::Node)], zxid, false)
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

/// Requests whose Stats count less than the Stats before them and the known changes since, so
/// that one of the two differs in every order: the later, and the earlier too if it alone is in
/// the way of all others.
pub(super) fn counted_back<'h>(
    case: &Case<'h>,
    holes: &[(i64, Vec<Evidence<'h>>)],
    candidates: &Candidates,
    paths: &mut Paths<'h>,
) -> Vec<RequestIndex> {
    let none = FxHashSet::default();
    let counts = Counts::of(case, candidates, &none, paths, &mut |_, _, _| {});
    let known = known_changes(case, holes, paths);
    let mut back = Vec::new();
    for (place, mut counts) in counts.by_place {
        let known = known.get(&place).map_or(&[][..], Vec::as_slice);
        counts.sort_unstable();
        let mut before: Vec<Count> = Vec::new();
        for count in counts {
            let life = before.last().is_some_and(|last| last.life == count.life);
            if !life {
                before.clear();
            }
            let agrees = |earlier: Option<&Count>| {
                earlier.is_none_or(|&earlier| missing(earlier, count, known) >= 0)
            };
            if agrees(before.last()) {
                before.push(count);
                continue;
            }
            back.push(count.told);
            if agrees(before.iter().nth_back(1)) {
                back.extend(before.pop().map(|last| last.told));
                before.push(count);
            }
        }
    }
    back
}

impl Counts {
    /// Reads the Stats and names that were answered, but not those that are `refuted`; each Stat
    /// is shown to `seen`, with the zxid it was taken at.
    fn of<'h>(
        case: &Case<'h>,
        candidates: &Candidates,
        refuted: &FxHashSet<RequestIndex>,
        paths: &mut Paths<'h>,
        seen: &mut impl FnMut(PathId, &Stat, i64),
    ) -> Self {
        let mut counts = Counts::none(case, candidates, paths);
        let mut sights = Vec::new();
        for (number, request) in (0..).zip(&case.requests) {
            let placed = matches!(request.role, Role::Read | Role::Transaction);
            if !placed || refuted.contains(&number) {
                continue;
            }
            each_stat(request, paths, |path, stat, _, later| {
                sights.push((path, stat, later));
            });
            for (path, stat, later) in sights.drain(..) {
                // Of a life that is over after the transaction it says nothing then; another
                // may have the same czxid.
                if !ends(path, later, paths) {
                    counts.note(path, stat, &moved_by(later, paths), (request.zxid, number));
                }
                seen(path, stat, request.zxid);
            }
            if request.role == Role::Transaction {
                counts.note_names(request, number, paths);
            }
        }
        counts
    }

    fn none<'h>(case: &Case<'h>, candidates: &Candidates, paths: &mut Paths<'h>) -> Self {
        let mut mortal = FxHashSet::default();
        for request in &case.requests {
            each_change(request.op, paths, &mut |change| {
                if let Change::Gone(path) = change {
                    mortal.insert(path);
                }
            });
        }
        for lapsing in candidates
            .list
            .iter()
            .filter_map(|each| each.lapse.as_ref())
        {
            let all = 0..paths.len() as PathId;
            match &lapsing.maker {
                None => drop(mortal.insert(lapsing.path)),
                Some(super::lapses::Maker { prefix, .. }) => {
                    mortal.extend(all.filter(|&path| is_numbered(prefix, paths.name(path))));
                }
            }
        }
        Counts {
            by_place: FxHashMap::default(),
            mortal,
            start: case.start_zxid,
        }
    }

    /// Notes what a Stat says of a node's counters after its whole transaction, of which
    /// `moved` was yet to come when the Stat was taken.
    fn note(
        &mut self,
        path: PathId,
        stat: &Stat,
        moved: &[Place],
        (zxid, told): (i64, RequestIndex),
    ) {
        for (part, value) in [
            (Part::Data, stat.version),
            (Part::Kids, stat.cversion),
            (
                Part::Made,
                stat.cversion.wrapping_add(stat.num_children) / 2,
            ),
            (Part::Acl, stat.aversion),
        ] {
            let life = match part == Part::Made && !self.mortal.contains(&path) {
                true => ANY_LIFE,
                false => stat.czxid,
            };
            let counts = self.by_place.entry((path, part)).or_default();
            // A life begins with nothing counted, unless it began before the history.
            if stat.czxid > self.start {
                counts.push(Count {
                    zxid: stat.czxid,
                    life,
                    value: 0,
                    told,
                });
            }
            counts.push(Count {
                zxid,
                life,
                value: value.wrapping_add(times(moved, (path, part))),
                told,
            });
        }
    }

    /// Notes what the names of sequential children say: each bears the number of children
    /// made before it. Of which life of the parent must be sure.
    fn note_names<'h>(&mut self, request: &Request<'h>, told: RequestIndex, paths: &mut Paths<'h>) {
        for (op, answer, later) in each_part(request) {
            let Op::Create {
                path,
                sequential: true,
                ..
            } = op
            else {
                continue;
            };
            let parent = paths.id(path);
            let parent = paths.parent(parent);
            let number = made(answer).and_then(|made| made.strip_prefix(&**path)?.parse().ok());
            let Some(number) = number.filter(|_: &i32| !self.mortal.contains(&parent)) else {
                continue;
            };
            let place = (parent, Part::Made);
            let moved = times(&moved_by(later, paths), place);
            self.by_place.entry(place).or_default().push(Count {
                zxid: request.zxid,
                life: ANY_LIFE,
                value: number.wrapping_add(1).wrapping_add(moved),
                told,
            });
        }
    }
}

/// The counters that operations move, once for each time.
fn moved_by<'h>(ops: &'h [Op], paths: &mut Paths<'h>) -> Vec<Place> {
    let mut moved = Vec::new();
    for op in ops {
        each_change(op, paths, &mut |change| moved.extend(change.counted()));
    }
    moved
}

/// True if one of several operations deletes a node.
fn ends<'h>(path: PathId, ops: &'h [Op], paths: &mut Paths<'h>) -> bool {
    let mut gone = false;
    for op in ops {
        each_change(op, paths, &mut |change| {
            gone |= change == Change::Gone(path)
        });
    }
    gone
}

fn times(moved: &[Place], place: Place) -> i32 {
    moved.iter().filter(|&&each| each == place).count() as i32
}

/// Stretches between two counts of one life that known changes explain, and the gaps between
/// two that they do not.
fn explained(mut counts: Vec<Count>, known: &[i64]) -> (Vec<Stretch>, Vec<Gap>) {
    counts.sort_unstable();
    counts.dedup_by_key(|count| (count.zxid, count.life, count.value));
    let (mut stretches, mut gaps) = (Vec::new(), Vec::new());
    for pair in counts.windows(2) {
        let [first, second] = [pair[0], pair[1]];
        if first.life != second.life || first.zxid == second.zxid {
            continue;
        }
        let (after, upto) = (first.zxid, second.zxid);
        let missing = missing(first, second, known);
        match missing.cmp(&0) {
            Ordering::Equal => stretches.push(Stretch { after, upto }),
            Ordering::Greater => gaps.push(Gap {
                after,
                upto,
                missing,
            }),
            // No order explains it.
            Ordering::Less => {}
        }
    }
    join(&mut stretches);
    (stretches, gaps)
}

/// How many changes between two counts are not known; less than none if they contradict each
/// other.
fn missing(first: Count, second: Count, known: &[i64]) -> i64 {
    let index = |zxid| known.partition_point(|&change| change <= zxid);
    let changes = index(second.zxid).saturating_sub(index(first.zxid));
    i64::from(second.value.wrapping_sub(first.value)) - changes as i64
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
        for (op, _, _) in each_part(request) {
            each_change(op, paths, &mut |change| {
                change.counted().for_each(|place| note(place, request.zxid));
            });
        }
    }
    for (zxid, evidence) in holes {
        let mut places: Vec<Place> = evidence
            .iter()
            .flat_map(|seen| seen_changes(seen, paths))
            .flat_map(Change::counted)
            .collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().for_each(|place| note(place, *zxid));
    }
    known.values_mut().for_each(|list| list.sort_unstable());
    known
}

/// The single operations that an answered request surely carried out, with their answers and
/// what was carried out after them.
pub(super) fn each_part<'h>(request: &Request<'h>) -> Vec<(&'h Op, &'h Answer, &'h [Op])> {
    match (request.op, request.answer) {
        (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => {
            let answers = results.iter().map(|result| result.as_ref().ok());
            let parts = ops.iter().zip(answers).zip(1..);
            let parts = parts.map(|((op, answer), later)| Some((op, answer?, &ops[later..])));
            parts.collect::<Option<_>>().unwrap_or_default()
        }
        (op, Some(Ok(answer))) => vec![(op, answer, &[])],
        (_, Some(Err(_)) | None) => Vec::new(),
    }
}

/// What a transaction that somebody saw surely changed.
fn seen_changes(seen: &Evidence<'_>, paths: &Paths<'_>) -> Vec<Change> {
    let path = seen.path;
    match seen.deed {
        Deed::Created | Deed::Fired(EventType::NodeCreated) => {
            vec![Change::MoreKids(paths.parent(path))]
        }
        Deed::Fired(EventType::NodeDeleted) => vec![Change::FewerKids(paths.parent(path))],
        // It may have made the node; then it lies in no stretch of this life.
        Deed::Modified | Deed::Fired(EventType::NodeDataChanged) => vec![Change::Set(path)],
        // A child less, unless it is one more.
        Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged) => {
            vec![Change::FewerKids(path)]
        }
    }
}
