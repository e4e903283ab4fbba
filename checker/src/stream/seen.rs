//! What was seen and nobody claims: a look ahead within the window.
//!
//! Where there is no log, a Stat or a notification may still name the zxid of a change that no
//! answered request made. While it waits in the window that tells where, and mostly which, of
//! the requests of unknown fate took effect, or which session ended. The first that does just
//! what was seen is placed there. That may be the wrong one of several; then something will not
//! agree later, and be in doubt.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen".

use super::clients::Open;
use super::late::{Attempt, Question};
use super::settle::{Answered, Beside, Entry, op_of};
use super::window::{Key, Place, Rank};
use super::{Doubt, Placed, Stream};
use crate::history::{Answer, Body, EventType, Op, Path, Record, Stat, Value};
use crate::model::{Diff, SessionIndex, Tree};
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
    /// True if it says of a path only that its children changed.
    pub fn is_of_children(&self) -> bool {
        matches!(
            self.0,
            Deed::ChildChanged | Deed::Fired(EventType::NodeChildrenChanged)
        )
    }

    /// True if the transaction that the tree did last, `zxid`, did this to a path.
    pub fn holds(&self, tree: &Tree<'_>, path: &Path, zxid: i64) -> bool {
        self.differs(tree, path, zxid).is_ok()
    }

    /// As whether it did this to a path.
    ///
    /// # Errors
    /// What it did otherwise.
    pub fn differs(&self, tree: &Tree<'_>, path: &Path, zxid: i64) -> Result<(), Diff> {
        let path = tree.paths.find(path).ok_or(Diff::Kind)?;
        let node = tree.node(path);
        let done = match &self.0 {
            Deed::Created => node.exists && node.czxid == zxid,
            Deed::Modified(version, data) => {
                let bytes = data.as_ref().is_none_or(|data| *data == node.data);
                let written = node.exists && node.mzxid == zxid && bytes;
                if written && node.version != *version {
                    return Err(Diff::Stat {
                        path,
                        field: "version",
                        expected: node.version.into(),
                        got: (*version).into(),
                    });
                }
                written
            }
            Deed::ChildChanged => node.exists && node.pzxid == zxid,
            Deed::Fired(event) => tree.fired().contains(&(*event, path)),
        };
        match done {
            true => Ok(()),
            false => Err(Diff::Kind),
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
        let unseen = self.left_behind || !self.lost.is_empty() || self.lapses.is_any();
        self.logged == 0 && unseen
    }

    /// Looks ahead, if anything can have happened that no answer tells of.
    pub(super) fn look_ahead(&mut self, left: &[Key]) {
        self.seen.clear();
        if !self.may_look_ahead() {
            return;
        }
        self.room.keep(self.settled_to);
        if self.hinted {
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
            .filter(|(_, open)| open.shown_before < zxid)
            .map(|(key, open)| (open.number, *key))
            .collect();
        lost.sort_unstable();
        let place = Place::new(zxid, Rank::Transaction)?;
        let (mut does, mut nearly) = (Vec::new(), Vec::new());
        for (_, key) in lost.into_iter().take(TRIES_MAX) {
            match self.attempt(key, place, sights) {
                None => {}
                Some(Ok(())) => does.push(key),
                Some(Err(diff)) => nearly.push((key, diff)),
            }
        }
        let mut ends = self.ends_for(zxid, sights).into_iter();
        let mut gone = self.lapses_for(zxid, sights).into_iter();
        let mut does = does.into_iter();
        // That children changed, many may have done; who looks at them later may know whom.
        let vague = sights
            .iter()
            .all(|(_, sight)| sight.0 == Deed::ChildChanged);
        if vague && does.len() + ends.len() + gone.len() > 1 {
            return Ok(());
        }
        if let Some(key) = does.next() {
            return self.explain_by_request(key, place, sights);
        }
        if let Some(session) = ends.next() {
            return self.explain_by_end(session, zxid);
        }
        if let Some(path) = gone.next() {
            return self.explain_by_lapse(path, zxid);
        }
        // One of several in a row, of which only the last was seen.
        for (key, diff) in nearly {
            if self.attempt_after_others(key, place, sights, diff)? {
                break;
            }
        }
        Ok(())
    }

    /// What a request of unknown fate would do at a place, if it may lie there: just what was
    /// seen, or something else.
    fn attempt(
        &mut self,
        key: (SessionIndex, i32),
        place: Place,
        sights: &[(Path, Sight)],
    ) -> Option<Result<(), Diff>> {
        let open = self.lost.remove(&key)?;
        let zxid = place.zxid();
        let known = self.sessions.get(open.session).placed;
        let late = open.number < known || zxid <= open.shown_before;
        let may = !late && self.tree.ended(open.session).is_none();
        let attempt = self.attempt_of(&open, sights);
        let mut did = Err(Diff::Kind);
        if may {
            self.tree.try_out(zxid, |tree| {
                did = attempt.apply(tree, zxid);
                false
            });
        }
        self.lost.insert(key, open);
        (did != Err(Diff::Kind)).then_some(did)
    }

    fn attempt_of<'a>(&mut self, open: &'a Open<R>, sights: &'a [(Path, Sight)]) -> Attempt<'a> {
        let op = op_of(open.call.borrow());
        Attempt {
            op,
            path: self.path_of(op),
            session: open.session,
            who: open.who,
            number: open.number,
            sights,
        }
    }

    /// Places a request of unknown fate that does what was seen.
    fn explain_by_request(
        &mut self,
        key: (SessionIndex, i32),
        place: Place,
        sights: &[(Path, Sight)],
    ) -> Result<(), Doubt> {
        let (Some(open), zxid) = (self.lost.remove(&key), place.zxid()) else {
            return Ok(());
        };
        let attempt = self.attempt_of(&open, sights);
        let did = |tree: &mut Tree<'static>| attempt.apply(tree, zxid).is_ok();
        if !self.tree.try_out(zxid, did) {
            return Err(Doubt::because("an unanswered request that fails there"));
        }
        self.go_on_to(zxid)?;
        let known = self.sessions.get(open.session);
        (known.placed, known.last_placed) = (open.number + 1, zxid);
        self.lapses.placed(open.sent);
        self.saw_paths(attempt.op, attempt.path, zxid, false);
        let found = Placed::Request(open.number, zxid);
        self.resolved(zxid, found, Some(open.invoke))
    }

    /// Places a request of unknown fate that did what was seen if others did something before.
    fn attempt_after_others(
        &mut self,
        key: (SessionIndex, i32),
        place: Place,
        sights: &[(Path, Sight)],
        diff: Diff,
    ) -> Result<bool, Doubt> {
        let Some(open) = self.lost.remove(&key) else {
            return Ok(false);
        };
        let attempt = self.attempt_of(&open, sights);
        let mended = self.mend(place, Question::Seen(&attempt), diff)?;
        self.lost.insert(key, open);
        match mended {
            Ok(()) => self.explain_by_request(key, place, sights).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Sessions left behind whose end would do just what was seen.
    fn ends_for(&mut self, zxid: i64, sights: &[(Path, Sight)]) -> Vec<SessionIndex> {
        let left = self.left.iter().copied();
        let owns = |session: &SessionIndex| self.tree.ephemerals_of(*session).next().is_some();
        let mut ends: Vec<SessionIndex> = left.filter(owns).collect();
        ends.retain(|&session| {
            let mut done = self.tree.ended(session).is_none();
            self.tree.try_out(zxid, |tree| {
                tree.end(session);
                let mut sights = sights.iter();
                done &= sights.all(|(path, sight)| sight.holds(tree, path, zxid));
                false
            });
            done
        });
        ends
    }

    fn explain_by_end(&mut self, session: SessionIndex, zxid: i64) -> Result<(), Doubt> {
        self.begin(zxid)?;
        self.tree.end(session);
        let shown = self.shown.first(zxid);
        self.left.remove(&session);
        self.sessions.get(session).end(shown, &self.judging)?;
        let id = self.sessions.get(session).id;
        self.resolved(zxid, Placed::End(id, zxid), None)
    }
}
