//! Containers and TTL nodes that go by the servers' own doing.
//!
//! As the end of a session it is told to nobody, so it is put where it shows: at the number that
//! a Stat or a notification names within the window, or, when an answer does not agree, at one
//! in the past after the last sight of all it touches. What always holds: it goes only where the
//! tree lets it, and no earlier than its time is over, counted from the latest that anything
//! was asked for which stands in the order up to the change that gave it that time.
//!
//! Answers to: `consistency.md` 3.2, "closed"; `protocol.md` 9.5 (`ContainerManager`).

use super::clients::Client;
use super::late::Question;
use super::seen::Sight;
use super::settle::op_of;
use super::window::Place;
use super::{Doubt, Placed, Stream};
use crate::history::{EventType, Lapse, Op, Path, Record, Start};
use crate::model::{Diff, NO_PATH, PathId, Tree};
use crate::walk::{makes_lapsing, patience_ns};
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// How many of one parent are tried for the sake of one answer.
const TRIES_MAX: usize = 256;

/// The containers and TTL nodes there are.
#[derive(Clone, Default)]
pub struct Lapses {
    /// False until there may be one.
    any: bool,
    /// The latest call of any request that stands in the order.
    begun: u64,
    /// By parent, with the time before which it cannot have been made or set last.
    known: BTreeMap<(PathId, PathId), u64>,
}

impl Lapses {
    /// Those of a start state, of whose times nothing is known.
    pub fn given(start: &Start, tree: &Tree<'_>) -> Self {
        let nodes = match start {
            Start::Fresh => &[][..],
            Start::Nodes { nodes, .. } => nodes,
        };
        let lapsing = nodes.iter().filter(|node| node.lapse.is_some());
        let known = lapsing.filter_map(|node| {
            let path = tree.paths.find(&node.path)?;
            Some(((tree.paths.parent(path), path), 0))
        });
        let known: BTreeMap<_, _> = known.collect();
        Lapses {
            any: !known.is_empty(),
            begun: 0,
            known,
        }
    }

    /// True if anything may go by itself.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// Something may be done that makes one.
    #[inline]
    pub fn expect(&mut self, op: &Op) {
        self.any = self.any || makes_lapsing(op);
    }

    /// A request that was called then has its place in the order.
    pub fn placed(&mut self, called: u64) {
        self.begun = self.begun.max(called);
    }

    fn below(&self, parent: PathId) -> impl Iterator<Item = PathId> + '_ {
        let those = self.known.range((parent, 0)..=(parent, PathId::MAX));
        those.map(|(&(_, path), _)| path)
    }
}

impl<R: Borrow<Record>> Stream<R> {
    /// What is under way may be done before it is answered.
    pub(super) fn expect_under_way(&mut self) {
        if !self.lapses.any {
            let open = self.clients.values().flat_map(Client::all_under_way);
            open.for_each(|open| self.lapses.expect(op_of(open.call.borrow())));
        }
    }

    /// Learns what a transaction just did to containers and TTL nodes.
    pub(super) fn note_lapsing(&mut self) {
        if !self.lapses.any {
            return;
        }
        for &(event, path) in self.tree.fired() {
            let key = (self.tree.paths.parent(path), path);
            let begun = self.lapses.begun;
            match event {
                EventType::NodeCreated if self.tree.node(path).lapse.is_some() => {
                    self.lapses.known.insert(key, begun);
                }
                EventType::NodeDataChanged => {
                    self.lapses
                        .known
                        .entry(key)
                        .and_modify(|changed| *changed = begun);
                }
                EventType::NodeDeleted => drop(self.lapses.known.remove(&key)),
                EventType::NodeCreated | EventType::NodeChildrenChanged => {}
            }
        }
    }

    /// Forgets the paths at which nothing is, whose numbers change.
    pub(super) fn forget_absent(&mut self) {
        let known = std::mem::take(&mut self.lapses.known);
        let name = |path| Path::from(self.tree.paths.name(path));
        let named: Vec<(Path, u64)> = known
            .into_iter()
            .map(|((_, path), changed)| (name(path), changed))
            .collect();
        self.tree.forget_absent();
        for (name, changed) in named {
            let path = self.tree.paths.id_of(&name);
            let key = (self.tree.paths.parent(path), path);
            self.lapses.known.insert(key, changed);
        }
    }

    /// The earliest time at which a node may go by itself, as the recorder's clock may show it;
    /// None if it never may as it is.
    fn lapses_from(&self, path: PathId) -> Option<u64> {
        let node = self.tree.node(path);
        let unused_ms = self.header.container_unused_ms;
        let ms = match node.lapse.filter(|_| node.exists && node.children == 0)? {
            Lapse::Ttl(ttl_ms) => ttl_ms,
            Lapse::Container if node.creates > 0 => return Some(0),
            Lapse::Container if unused_ms > 0 => unused_ms,
            Lapse::Container => return None,
        };
        let changed = self
            .lapses
            .known
            .get(&(self.tree.paths.parent(path), path))?;
        let given = node.mzxid <= self.start_zxid;
        let over = changed.saturating_add(patience_ns(&self.header, ms));
        Some(if given { 0 } else { over }.saturating_sub(self.judging.blur))
    }

    /// The nodes that may have gone by themselves, for the sake of a difference; whose time was
    /// over first comes first.
    pub(super) fn may_have_gone(&self, question: Question<'_, '_>, diff: &Diff) -> Vec<PathId> {
        if !self.lapses.any {
            return Vec::new();
        }
        let parent = |path| self.tree.paths.parent(path);
        let (ones, under) = match *diff {
            Diff::Missing(path) => ([path, NO_PATH], NO_PATH),
            Diff::NameMissing {
                path,
                child: NO_PATH,
            } => ([NO_PATH; 2], path),
            Diff::NameMissing { child, .. } => ([child, NO_PATH], NO_PATH),
            Diff::Stat { path, .. } => ([path, NO_PATH], path),
            Diff::Outcome { path, .. } => ([path, parent(path)], path),
            Diff::Access { path, .. } => ([path, question.path()], NO_PATH),
            Diff::Extra(_)
            | Diff::Data(_)
            | Diff::NameExtra { .. }
            | Diff::NameTwice { .. }
            | Diff::Acl(_)
            | Diff::Name { .. }
            | Diff::MultiForm
            | Diff::Kind => return Vec::new(),
        };
        let all = ones.into_iter().chain(self.lapses.below(under));
        let those = all.filter_map(|path| Some((self.lapses_from(path)?, path)));
        let mut those: Vec<(u64, PathId)> = those.take(TRIES_MAX).collect();
        those.sort_unstable();
        those.dedup();
        those.into_iter().map(|(_, path)| path).collect()
    }

    /// Lets a node go at a number in the past, if it can have gone there; what is left to
    /// explain then.
    pub(super) fn lapse_late(
        &mut self,
        path: PathId,
        place: Place,
        question: Question<'_, '_>,
        diff: &Diff,
    ) -> Result<Option<Result<(), Diff>>, Doubt> {
        let Some(time) = self.lapses_from(path) else {
            return Ok(None);
        };
        let node = self.tree.node(path);
        let low = node.czxid.max(node.mzxid).max(node.pzxid);
        let paths = [path, self.tree.paths.parent(path)];
        let Some((zxid, shown)) = self.number_for(&paths, low, time, place, question) else {
            return Ok(None);
        };
        let guess = self.guess_of(&[path], (low, time), place, shown);
        let unused = self.header.container_unused_ms > 0;
        let left = self.try_between(zxid, place, question, diff, |tree| {
            tree.lapse(path, unused).is_ok()
        });
        let Some(left) = left else {
            return Ok(None);
        };
        let found = Placed::Lapse(self.tree.paths.name(path).into(), 0);
        self.put_between(zxid, place, (found, None), guess)?;
        Ok(Some(left))
    }

    /// Nodes whose end would do just what was seen of a transaction.
    pub(super) fn lapses_for(&mut self, zxid: i64, sights: &[(Path, Sight)]) -> Vec<PathId> {
        let Some((path, sight)) = sights.first().filter(|_| self.lapses.any) else {
            return Vec::new();
        };
        let Some(path) = self.tree.paths.find(path) else {
            return Vec::new();
        };
        let mut found: Vec<PathId> = match sight.is_of_children() {
            true => self.lapses.below(path).collect(),
            false => vec![path],
        };
        let shown = self.shown.first(zxid);
        found.retain(|&path| self.lapses_from(path).is_some_and(|time| shown >= time));
        let unused = self.header.container_unused_ms > 0;
        found.retain(|&path| {
            let mut done = false;
            self.tree.try_out(zxid, |tree| {
                let mut sights = sights.iter();
                done = tree.lapse(path, unused).is_ok()
                    && sights.all(|(path, sight)| sight.holds(tree, path, zxid));
                false
            });
            done
        });
        found
    }

    /// Lets a node go where that was seen.
    pub(super) fn explain_by_lapse(&mut self, path: PathId, zxid: i64) -> Result<(), Doubt> {
        self.begin(zxid)?;
        let unused = self.header.container_unused_ms > 0;
        if self.tree.lapse(path, unused).is_err() {
            return Err(Doubt::because("a node that cannot go by itself there"));
        }
        let name = self.tree.paths.name(path).into();
        self.resolved(zxid, Placed::Lapse(name, zxid), None)
    }
}
