//! What happened long before it shows: ends of sessions, and writes whose answer was lost.
//!
//! A session that expires takes its ephemerals with it at a zxid that no client is told, and a
//! write whose answer was lost may have happened or not. Nobody may look for hours, and then
//! the order has long gone by. But what nothing was said about in between may have happened in
//! between. So when an answer does not agree, what would make it agree is put at a number that
//! no transaction has, after the last sight of all it touches. What always holds: nothing that
//! was settled would have been answered otherwise, nor any watch have fired that did not.
//!
//! To a second opinion it is shown where the order is by then, without its number: what it
//! touches was not looked at in between, so that both places are as good.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen", "counted" and "mismatch";
//! P13, P14.

use super::clients::Open;
use super::guess::{GUESSES_MAX, Guess};
use super::seen::Sight;
use super::settle::op_of;
use super::window::Place;
use super::{Doubt, Placed, Stream};
use crate::history::{Answer, EventType, Op, Path, Record, Stat};
use crate::model::{Ask, Diff, NO_PATH, NO_SESSION, PathId, SessionIndex, Tree, Who};
use std::borrow::Borrow;
use std::collections::BTreeSet;

/// What is put in between for the sake of one answer.
const MENDS_MAX: usize = 1 << 10;

/// Requests of unknown fate that are tried for one of these.
const TRIES_MAX: usize = 256;

/// What the tree is asked.
#[derive(Clone, Copy)]
pub enum Question<'a, 'q> {
    /// A request, and what it was answered.
    Asked(&'q Ask<'a>),
    /// Whether setWatches has to tell of this event on a path, given what its client had seen.
    Again(EventType, PathId, i64),
    /// Whether a request of unknown fate does what was seen.
    Seen(&'q Attempt<'a>),
}

/// A request of unknown fate that may have done what was seen.
pub struct Attempt<'a> {
    pub op: &'a Op,
    pub path: PathId,
    pub session: SessionIndex,
    pub who: Who,
    pub number: u64,
    pub sights: &'a [(Path, Sight)],
}

impl Attempt<'_> {
    /// Does it in the open transaction of a tree.
    ///
    /// # Errors
    /// What was seen and is not so then.
    pub fn apply(&self, tree: &mut Tree<'_>, zxid: i64) -> Result<(), Diff> {
        if !happens(tree, self.op, self.path, (self.session, self.who)) {
            return Err(Diff::Kind);
        }
        let mut sights = self.sights.iter();
        sights.try_for_each(|(path, sight)| sight.differs(tree, path, zxid))
    }
}

impl Question<'_, '_> {
    /// The path asked about.
    pub fn path(&self) -> PathId {
        match self {
            Question::Asked(ask) => ask.path,
            Question::Again(_, path, _) => *path,
            Question::Seen(attempt) => attempt.path,
        }
    }

    /// The Stat that was told of the path asked about.
    pub fn told(&self) -> Option<Stat> {
        let Question::Asked(ask) = self else {
            return None;
        };
        match ask.answer.as_ref().ok()? {
            Answer::Stat(stat)
            | Answer::Data { stat, .. }
            | Answer::NamesStat { stat, .. }
            | Answer::Acl { stat, .. } => Some(*stat),
            Answer::Created { .. }
            | Answer::Path(_)
            | Answer::Names(_)
            | Answer::Multi(_)
            | Answer::Done => None,
        }
    }
}

/// What may be put in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    End(SessionIndex),
    Lost(SessionIndex, i32),
    Lapse(PathId),
}

/// True if a deed left less to explain.
fn is_nearer(before: &Diff, after: &Result<(), Diff>) -> bool {
    match (before, after) {
        (_, Ok(())) => true,
        (
            Diff::Stat {
                path,
                field,
                expected,
                got,
            },
            Err(Diff::Stat {
                path: now,
                field: left,
                expected: nearer,
                got: same,
            }),
        ) if (path, field) == (now, left) => got.abs_diff(*expected) > same.abs_diff(*nearer),
        (before, Err(after)) => before != after,
    }
}

impl<R: Borrow<Record>> Stream<R> {
    /// Something was said of the paths of a request.
    pub(super) fn saw_paths(&mut self, op: &Op, path: PathId, zxid: i64, failed: bool) {
        if !self.room.is_kept() || op.asks_no_node() {
            return;
        }
        self.saw_path(op, path, zxid, failed);
        if let Op::Multi { ops } = op {
            for op in ops {
                let path = op.path().and_then(|path| self.tree.paths.find(path));
                self.saw_path(op, path.unwrap_or(NO_PATH), zxid, failed);
                self.room.dated(path.unwrap_or(NO_PATH), zxid);
            }
        }
    }

    fn saw_path(&mut self, op: &Op, path: PathId, zxid: i64, failed: bool) {
        self.room.saw(path, zxid);
        if let Op::Create { sequential, .. } = op
            && path != NO_PATH
        {
            let parent = self.tree.paths.parent(path);
            match (failed, sequential) {
                (true, _) => self.room.saw(parent, zxid),
                (false, true) => self.room.counted(parent, zxid),
                (false, false) => {}
            }
        }
    }

    /// What was asked does not agree with the tree: looks for what can have happened long ago,
    /// with which it does.
    ///
    /// # Errors
    /// What was found does not agree with something else.
    pub(super) fn mend(
        &mut self,
        place: Place,
        question: Question<'_, '_>,
        mut diff: Diff,
    ) -> Result<Result<(), Diff>, Doubt> {
        let zxid = place.zxid();
        let shown = |first| self.shown.first(first);
        self.room
            .pass_all(zxid - i64::from(place.is_transaction()), shown);
        let mut tried = BTreeSet::new();
        for _ in 0..MENDS_MAX {
            if let Some(left) = self.redate(place, question, &diff) {
                match left {
                    Ok(()) => return Ok(Ok(())),
                    Err(left) => diff = left,
                }
                continue;
            }
            let suspects = self.suspects(place, question, &diff);
            let mut found = None;
            for deed in suspects.into_iter().filter(|deed| tried.insert(*deed)) {
                found = match deed {
                    Deed::End(session) => self.end_late(session, place, question, &diff)?,
                    Deed::Lapse(path) => self.lapse_late(path, place, question, &diff)?,
                    Deed::Lost(session, xid) => {
                        self.write_late((session, xid), place, question, &diff)?
                    }
                };
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some(Ok(())) => return Ok(Ok(())),
                Some(Err(left)) => diff = left,
                None => return Ok(Err(diff)),
            }
        }
        Ok(Err(diff))
    }

    /// What might be missing: ends of sessions left behind, and what was lost.
    fn suspects(&mut self, place: Place, question: Question<'_, '_>, diff: &Diff) -> Vec<Deed> {
        let owner = |path: PathId| {
            let owner = self.tree.node(path).owner;
            let there = self.tree.node(path).exists && owner != NO_SESSION;
            there.then_some(owner)
        };
        let (one, whose) = match diff {
            // Nothing that happens besides makes a change an earlier one.
            Diff::Stat {
                field: "pzxid" | "mzxid",
                expected,
                got,
                ..
            } if expected > got => return Vec::new(),
            Diff::Missing(path) => (owner(*path), *path),
            Diff::NameMissing { path, child } => (owner(*child), *path),
            Diff::Stat { path, .. } | Diff::Outcome { path, .. } => (owner(*path), *path),
            Diff::Name { .. } => (None, self.tree.paths.parent(question.path())),
            Diff::Data(path) | Diff::Extra(path) | Diff::Acl(path) => (None, *path),
            Diff::NameExtra { path, .. } | Diff::Access { path, .. } => (None, *path),
            Diff::NameTwice { .. } | Diff::MultiForm | Diff::Kind => return Vec::new(),
        };
        let mut suspects: Vec<Deed> = one.map(Deed::End).into_iter().collect();
        if one.is_none() {
            let under = |session: &SessionIndex| {
                let mut owned = self.tree.ephemerals_of(*session);
                owned.any(|path| self.tree.paths.parent(path) == whose)
            };
            // Whose time was over first has gone first, more likely than not.
            let mut gone: Vec<SessionIndex> = self.left.iter().copied().filter(under).collect();
            let (sessions, judging) = (&mut self.sessions, &self.judging);
            gone.sort_by_key(|session| sessions.get(*session).may_end_from(judging));
            suspects.extend(gone.into_iter().map(Deed::End));
        }
        let gone = self.may_have_gone(question, diff);
        suspects.extend(gone.into_iter().map(Deed::Lapse));
        let (name, exact) = (
            self.tree.paths.name(whose),
            match diff {
                Diff::NameMissing { child, .. } | Diff::NameExtra { child, .. } => *child,
                _ => whose,
            },
        );
        let exact = match exact {
            NO_PATH => None,
            exact => Some(self.tree.paths.name(exact)),
        };
        let before = match question {
            Question::Seen(attempt) => (attempt.session, attempt.number),
            Question::Asked(_) | Question::Again(..) => (NO_SESSION, 0),
        };
        let may = |open: &Open<R>| {
            let early = open.session != before.0 || open.number < before.1;
            early && open.shown_before < place.zxid()
        };
        let lost = self.lost.iter().filter(|(_, open)| may(open));
        let near = lost.filter(|(_, open)| touches(op_of(open.call.borrow()), name));
        let mut near: Vec<(bool, u64, Deed)> = near
            .map(|(&(session, xid), open)| {
                let op = op_of(open.call.borrow());
                let other = op.path().map(|path| &**path) != exact;
                (other, open.number, Deed::Lost(session, xid))
            })
            .collect();
        near.sort_unstable();
        suspects.extend(near.into_iter().map(|(_, _, deed)| deed).take(TRIES_MAX));
        suspects
    }

    /// Puts the end of a session at a number in the past, if it can have been there; what is
    /// left to explain then.
    fn end_late(
        &mut self,
        session: SessionIndex,
        place: Place,
        question: Question<'_, '_>,
        diff: &Diff,
    ) -> Result<Option<Result<(), Diff>>, Doubt> {
        if self.tree.ended(session).is_some() || !self.left.contains(&session) {
            return Ok(None);
        }
        let gone: Vec<PathId> = self.tree.ephemerals_of(session).collect();
        let mut paths = gone.clone();
        paths.extend(gone.iter().map(|&path| self.tree.paths.parent(path)));
        let known = self.sessions.get(session);
        let low = known.seen();
        let time = known
            .may_end_from(&self.judging)
            .saturating_sub(self.judging.blur);
        let Some((zxid, shown)) = self.number_for(&paths, low, time, place, question) else {
            return Ok(None);
        };
        let guess = self.guess_of(&gone, (low, time), place, shown);
        let left = self.try_between(zxid, place, question, diff, |tree| {
            tree.end(session);
            true
        });
        let Some(left) = left else {
            return Ok(None);
        };
        self.left.remove(&session);
        self.sessions.get(session).end(shown, &self.judging)?;
        let found = Placed::End(self.sessions.get(session).id, 0);
        self.put_between(zxid, place, (found, None), guess)?;
        Ok(Some(left))
    }

    /// As [`Stream::end_late`], for a write whose answer was lost.
    fn write_late(
        &mut self,
        key: (SessionIndex, i32),
        place: Place,
        question: Question<'_, '_>,
        diff: &Diff,
    ) -> Result<Option<Result<(), Diff>>, Doubt> {
        let Some(open) = self.lost.remove(&key) else {
            return Ok(None);
        };
        let known = self.sessions.get(open.session);
        let low = open.shown_before.max(known.last_placed);
        let may = open.number >= known.placed && self.tree.ended(open.session).is_none();
        let op = op_of(open.call.borrow());
        let path = self.path_of(op);
        let paths = self.touched(op, path);
        let floor = paths.iter().map(|&path| self.tree.node(path));
        let floor = floor.map(|node| if node.exists { node.czxid } else { i64::MIN });
        let low = low.max(floor.max().unwrap_or(i64::MIN));
        let counts = paths.iter().map(|&path| self.room.last_count_of(path));
        let low = match op {
            Op::Create { .. } | Op::Multi { .. } => low.max(counts.max().unwrap_or(low)),
            _ => low,
        };
        let low = low.max(self.childless_since(op));
        let found = match may {
            true => self.number_for(&paths, low, 0, place, question),
            false => None,
        };
        let changed = match op {
            Op::Create { .. } | Op::Delete { .. } => &[path][..],
            _ => &[],
        };
        let shown = found.map_or(0, |(_, shown)| shown);
        let guess = self.guess_of(changed, (low, 0), place, shown);
        let left = found.and_then(|(zxid, _)| {
            let (session, who) = (open.session, open.who);
            let deed = |tree: &mut Tree<'static>| happens(tree, op, path, (session, who));
            let left = self.try_between(zxid, place, question, diff, deed);
            left.map(|left| (zxid, left))
        });
        let Some((zxid, left)) = left else {
            self.lost.insert(key, open);
            return Ok(None);
        };
        let known = self.sessions.get(open.session);
        (known.placed, known.last_placed) = (open.number + 1, zxid);
        self.lapses.placed(open.sent);
        self.saw_paths(op, path, zxid, false);
        let found = (Placed::Request(open.number, 0), Some(open.invoke));
        self.put_between(zxid, place, found, guess)?;
        Ok(Some(left))
    }

    /// The zxid since which what a write, or a part of a multi, deletes had no children: they
    /// came and went while it was there.
    fn childless_since(&self, op: &Op) -> i64 {
        let deleted = op.parts().iter().filter_map(|part| match part {
            Op::Delete { path, .. } => self.tree.paths.find(path),
            _ => None,
        });
        let since = deleted.map(|path| self.tree.node(path).pzxid);
        since.max().unwrap_or(i64::MIN)
    }

    /// The paths of which something would have been said otherwise.
    fn touched(&self, op: &Op, path: PathId) -> Vec<PathId> {
        let parent = |path| match path {
            NO_PATH => NO_PATH,
            path => self.tree.paths.parent(path),
        };
        match op {
            Op::Create { .. } | Op::Delete { .. } => vec![path, parent(path)],
            Op::Multi { ops } => {
                let find = |op: &Op| op.path().and_then(|path| self.tree.paths.find(path));
                let paths = ops.iter().map(|op| find(op).unwrap_or(NO_PATH));
                paths.flat_map(|path| [path, parent(path)]).collect()
            }
            _ => vec![path],
        }
    }

    /// A number for what touches these paths, after `low` and not shown before `time`, and when
    /// anything as new was shown. Where what was told names a number, that; else rather before
    /// a change that is known than after it.
    pub(super) fn number_for(
        &self,
        paths: &[PathId],
        low: i64,
        time: u64,
        place: Place,
        question: Question<'_, '_>,
    ) -> Option<(i64, u64)> {
        let there = paths.iter().filter(|&&path| path != NO_PATH);
        let said = there.clone().map(|&path| self.room.last_of(path));
        let low = said.max().unwrap_or(i64::MAX).max(low);
        let high = place.zxid() + i64::from(!place.is_transaction());
        let told = question.told().filter(|_| paths.contains(&question.path()));
        if let Some(stat) = told {
            let named = [stat.pzxid, stat.mzxid, stat.czxid].into_iter();
            let mut named = named.filter(|&named| low < named && named < high);
            let named = named.find_map(|named| self.room.find(named - 1, named + 1, time, true));
            if named.is_some() {
                return named;
            }
        }
        let changed = there
            .map(|&path| self.tree.node(path))
            .filter(|node| node.exists);
        let changed = changed.map(|node| node.pzxid.max(node.mzxid)).min();
        let changed = told
            .map(|stat| stat.pzxid)
            .or(changed)
            .unwrap_or(high)
            .min(high);
        let before = self.room.find(low, changed, time, true);
        before.or_else(|| match told {
            Some(_) => self.room.find(low, high, time, true),
            None => self.room.find(low, high, time, false),
        })
    }

    /// Does something at a number in the past; what is left to explain, if that is less. Else
    /// nothing is done.
    pub(super) fn try_between(
        &mut self,
        zxid: i64,
        place: Place,
        question: Question<'_, '_>,
        diff: &Diff,
        deed: impl FnOnce(&mut Tree<'static>) -> bool,
    ) -> Option<Result<(), Diff>> {
        let needs_read = self.options.exists_needs_read;
        let mut left = None;
        self.tree.try_between(zxid, deed, place.zxid(), |tree| {
            let now = ask(tree, place, question, needs_read);
            let nearer = is_nearer(diff, &now);
            left = nearer.then_some(now);
            nearer
        });
        left
    }

    /// What was done at a number in the past is told, and fires.
    pub(super) fn put_between(
        &mut self,
        zxid: i64,
        place: Place,
        (found, invoke): (Placed, Option<usize>),
        guess: Guess,
    ) -> Result<(), Doubt> {
        self.room.take(zxid);
        let fired = self.watches.fired();
        self.resolved(zxid, found, invoke)?;
        if self.watches.fired() == fired && !guess.parents.is_empty() {
            self.guesses.insert(zxid, guess);
            if self.guesses.len() > GUESSES_MAX {
                self.guesses.pop_first();
            }
        }
        self.missed(zxid)?;
        self.tree.begin(place.zxid());
        Ok(())
    }

    /// Asks the tree, which is left as it was if it does not agree.
    pub(super) fn ask_tree(
        &mut self,
        place: Place,
        question: Question<'_, '_>,
    ) -> Result<(), Diff> {
        let needs_read = self.options.exists_needs_read;
        let mut agrees = Ok(());
        self.tree.try_out(place.zxid(), |tree| {
            agrees = ask(tree, place, question, needs_read);
            agrees.is_ok()
        });
        agrees
    }
}

/// What the tree says to a question at a place.
///
/// # Errors
/// In what it does not agree.
pub fn ask(
    tree: &mut Tree<'_>,
    place: Place,
    question: Question<'_, '_>,
    exists_needs_read: bool,
) -> Result<(), Diff> {
    let (event, path, seen) = match question {
        Question::Asked(ask) if place.is_transaction() => return tree.write(ask),
        Question::Asked(ask) => return tree.read(ask, exists_needs_read),
        Question::Seen(attempt) => return attempt.apply(tree, place.zxid()),
        Question::Again(event, path, seen) => (event, path, seen),
    };
    let node = tree.node(path);
    let newer = |field, zxid| match zxid > seen {
        true => Ok(()),
        false => Err(Diff::Stat {
            path,
            field,
            expected: zxid,
            got: i64::MAX,
        }),
    };
    match (event, node.exists) {
        (EventType::NodeCreated, true) | (EventType::NodeDeleted, false) => Ok(()),
        (EventType::NodeDeleted, true) => Err(Diff::Missing(path)),
        (_, false) => Err(Diff::Extra(path)),
        (EventType::NodeDataChanged, true) => newer("mzxid", node.mzxid),
        (EventType::NodeChildrenChanged, true) => newer("pzxid", node.pzxid),
    }
}

/// Does a request of unknown fate, in the open transaction of a tree; false if it cannot succeed.
pub fn happens(tree: &mut Tree<'_>, op: &Op, path: PathId, by: (SessionIndex, Who)) -> bool {
    let (session, who) = by;
    match op {
        Op::Multi { ops } => tree.multi(ops, session, who, |_| true, |_, _| {}).is_ok(),
        op => tree.apply(op, path, session, who, true).is_ok(),
    }
}

/// True if a request can have changed what is said of a path.
fn touches(op: &Op, name: &str) -> bool {
    let parent = |path: &str| path.rfind('/').map(|slash| slash.max(1));
    match op {
        Op::Multi { ops } => ops.iter().any(|op| touches(op, name)),
        op => op.path().is_some_and(|path| {
            let under = |slash: usize| path.get(..slash) == Some(name);
            let beside = || {
                matches!(
                    op,
                    Op::Create {
                        sequential: true,
                        ..
                    }
                ) && {
                    let slash = parent(path).unwrap_or(0);
                    path.get(..slash) == name.get(..parent(name).unwrap_or(0))
                }
            };
            **path == *name || parent(path).is_some_and(under) || beside()
        }),
    }
}
