//! What was seen and nobody claims: a look ahead within the window.
//!
//! Where there is no log, a Stat or a notification may still name the zxid of a change that no
//! answered request made. While it waits in the window that tells where, and mostly which, of
//! the requests of unknown fate took effect, or which session ended. The first that does just
//! what was seen is placed there. That may be the wrong one of several; then something will not
//! agree later, and be in doubt.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen".

use super::settle::{Answered, Beside, Entry};
use super::window::{Key, Place};
use super::{Doubt, Placed, Stream};
use crate::history::{Answer, Body, EventType, Op, Path, Record, Stat, Value};
use crate::model::{SessionIndex, Tree};
use rustc_hash::FxHashSet;
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Requests of unknown fate that are tried for one zxid.
const TRIES_MAX: usize = 256;

/// What a transaction of unknown origin did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Deed {
    Created,
    /// It left this version, and these bytes if they were read.
    Modified(i32, Option<Option<Value>>),
    ChildChanged,
    Fired(EventType),
}

/// Deeds by zxid.
pub type Seen = BTreeMap<i64, Vec<(Path, Sight)>>;

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight(Deed);

impl Sight {
    /// True if the transaction that the tree did last, `zxid`, did this to a path.
    fn holds(&self, tree: &Tree<'_>, path: &Path, zxid: i64) -> bool {
        let Some(path) = tree.paths.find(path) else {
            return false;
        };
        let node = tree.node(path);
        match &self.0 {
            Deed::Created => node.exists && node.czxid == zxid,
            Deed::Modified(version, data) => {
                let bytes = data.as_ref().is_none_or(|data| *data == node.data);
                node.exists && node.mzxid == zxid && node.version == *version && bytes
            }
            Deed::ChildChanged => node.exists && node.pzxid == zxid,
            Deed::Fired(event) => tree.fired().contains(&(*event, path)),
        }
    }
}

/// Gathers what the entries of a window name and no answer among them claims.
struct Gatherer {
    claimed: FxHashSet<i64>,
    after: i64,
    seen: Seen,
}

impl Gatherer {
    fn add(&mut self, zxid: i64, path: &Path, deed: Deed) {
        if zxid > self.after && !self.claimed.contains(&zxid) {
            let sight = (path.clone(), Sight(deed));
            let list = self.seen.entry(zxid).or_default();
            if !list.contains(&sight) {
                list.push(sight);
            }
        }
    }

    fn stat(&mut self, path: &Path, stat: &Stat, data: Option<Option<Value>>) {
        self.add(stat.mzxid, path, Deed::Modified(stat.version, data));
        self.add(stat.czxid, path, Deed::Created);
        if stat.pzxid != stat.czxid {
            self.add(stat.pzxid, path, Deed::ChildChanged);
        }
    }

    fn answer(&mut self, op: &Op, answer: &Answer) {
        match (answer, op.path()) {
            (Answer::Created { path, stat }, _) => self.stat(path, stat, None),
            (Answer::Data { data, stat }, Some(path)) => self.stat(path, stat, Some(data.clone())),
            (
                Answer::Stat(stat) | Answer::NamesStat { stat, .. } | Answer::Acl { stat, .. },
                Some(path),
            ) => self.stat(path, stat, None),
            (Answer::Multi(results), _) => {
                if let Op::Multi { ops } = op {
                    let done = ops.iter().zip(results);
                    done.filter_map(|(op, result)| Some((op, result.as_ref().ok()?)))
                        .for_each(|(op, answer)| self.answer(op, answer));
                }
            }
            (_, _) => {}
        }
    }

    fn entry<R: Borrow<Record>>(&mut self, entry: &Entry<R>) {
        match entry {
            Entry::Answered(Answered { call, reply, .. }) => {
                if let (Body::Invoke { op, .. }, Body::Return { result, .. }) =
                    (&call.borrow().body, &reply.borrow().body)
                    && let Ok(answer) = result
                {
                    self.answer(op, answer);
                }
            }
            Entry::Beside(beside) => {
                if let Beside::Notified { record, .. } = &**beside
                    && let Body::Notify { zxid, event, path } = &record.borrow().body
                {
                    self.add(*zxid, path, Deed::Fired(*event));
                }
            }
        }
    }
}

impl<R: Borrow<Record>> Stream<R> {
    /// True if something can have happened that neither an answer nor the log tells of.
    pub(super) fn may_look_ahead(&self) -> bool {
        self.logged == 0 && (self.left_behind || !self.lost.is_empty())
    }

    /// Looks ahead, if anything can have happened that no answer tells of.
    pub(super) fn look_ahead(&mut self, left: &[Key]) {
        self.seen.clear();
        if !self.may_look_ahead() {
            return;
        }
        let all = || self.window.entries(left);
        let transactions = all().filter(|(place, _)| place.is_transaction());
        let mut gatherer = Gatherer {
            claimed: transactions.map(|(place, _)| place.zxid()).collect(),
            after: self.last,
            seen: Seen::new(),
        };
        all().for_each(|(_, entry)| gatherer.entry(entry));
        self.seen = gatherer.seen;
    }

    /// Does what was seen to happen before a place, or at it, and no answer claims.
    pub(super) fn follow_seen(&mut self, place: Place) -> Result<(), Doubt> {
        while let Some(first) = self.seen.first_entry()
            && *first.key() <= place.zxid()
        {
            let (zxid, sights) = first.remove_entry();
            let claimed = zxid == place.zxid() && place.is_transaction();
            if !claimed && zxid > self.last && zxid & 0xffff_ffff != 0 {
                self.explain(zxid, &sights)?;
            }
        }
        Ok(())
    }

    /// Places the first request of unknown fate, or else the first end of a session, that did
    /// just what was seen.
    fn explain(&mut self, zxid: i64, sights: &[(Path, Sight)]) -> Result<(), Doubt> {
        let mut lost: Vec<_> = self
            .lost
            .iter()
            .map(|(key, open)| (open.number, *key))
            .collect();
        lost.sort_unstable();
        self.begin(zxid)?;
        for (_, key) in lost.into_iter().take(TRIES_MAX) {
            let Some(open) = self.lost.remove(&key) else {
                continue;
            };
            let known = self.sessions.get(open.session).placed;
            let late = open.number < known || zxid <= open.shown_before;
            let may = !late && self.tree.ended(open.session).is_none();
            let Body::Invoke { op, .. } = &open.call.borrow().body else {
                continue;
            };
            let path = self.path_of(op);
            let done = may
                && self.tree.try_out(zxid, |tree| {
                    let done = tree.apply(op, path, open.session, open.who, true).is_ok();
                    done && sights
                        .iter()
                        .all(|(path, sight)| sight.holds(tree, path, zxid))
                });
            if done {
                self.sessions.get(open.session).placed = open.number + 1;
                return self.resolved(Placed::Request(open.number, zxid), Some(open.invoke));
            }
            self.lost.insert(key, open);
        }
        self.explain_by_end(zxid, sights)
    }

    fn explain_by_end(&mut self, zxid: i64, sights: &[(Path, Sight)]) -> Result<(), Doubt> {
        let held: Vec<SessionIndex> = self
            .clients
            .values()
            .filter(|client| client.connected)
            .filter_map(|client| client.session)
            .collect();
        for session in 0..self.sessions.len() as SessionIndex {
            let gone = self.tree.ended(session).is_none() && !held.contains(&session);
            if !gone || self.tree.ephemerals_of(session).next().is_none() {
                continue;
            }
            let done = self.tree.try_out(zxid, |tree| {
                tree.end(session);
                sights
                    .iter()
                    .all(|(path, sight)| sight.holds(tree, path, zxid))
            });
            if done {
                let shown = self.shown.first(zxid);
                self.sessions.get(session).end(shown, &self.judging)?;
                let id = self.sessions.get(session).id;
                return self.resolved(Placed::End(id, zxid), None);
            }
        }
        Ok(())
    }
}
