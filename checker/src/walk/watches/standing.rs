//! Watches that stay when they fire: what each has been told, and what it must be told next.
//!
//! A registration runs along its *course*: everything known of that it fires on, in the order
//! of transactions. How far its client has been told is a *cursor*; several where a notification
//! names no transaction and could be of more than one. What surely happened and surely may be
//! told cannot be skipped; what only perhaps did, can. Events of one transaction may be told in
//! any order.
//!
//! Two tables on the server, so three kinds of posts: addWatch puts a persistent watch on the
//! node and on the list of its children, a recursive one on the node and all below. Servers
//! before 3.9 keep one mode for each path of a connection and table; there an older registration
//! that meets a newer one may be gone, and nothing is asked of it any more.
//!
//! Answers to: `consistency.md` P10 to P12; `protocol.md` 12.2 to 12.7; ZOOKEEPER-4466.

use super::connection::Table;
use crate::history::{EventType, WatchMode};
use crate::model::{AclId, PathId};
use std::rc::Rc;

/// Cursors of one registration that are followed; with more nothing is asked of it any more.
const CURSORS_MAX: usize = 32;

/// What a watch that stays waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Changes of the node.
    Node,
    /// Changes of the list of its children.
    List,
    /// Changes of the node and of every node below.
    Below,
}

/// Where a watch that stays is registered.
pub type Post<'h> = (Scope, &'h str);

impl Scope {
    /// What addWatch registers.
    pub fn of(mode: WatchMode) -> &'static [Scope] {
        match mode {
            WatchMode::Persistent => &[Scope::Node, Scope::List],
            WatchMode::Recursive => &[Scope::Below],
        }
    }

    /// True if it fires on `event` of a path that it sees.
    pub fn fires(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => self != Scope::List,
            EventType::NodeDeleted => true,
            EventType::NodeChildrenChanged => self == Scope::List,
        }
    }

    /// The table it is in, where only one mode has room for each path.
    pub fn table(self) -> Table {
        match self {
            Scope::Node | Scope::Below => Table::Data,
            Scope::List => Table::Child,
        }
    }
}

/// Every post that may see an event on a path.
pub fn posts_seeing(event: EventType, path: &str) -> impl Iterator<Item = Post<'_>> {
    let here = [Scope::Node, Scope::List].into_iter();
    let here = here.map(move |scope| (scope, path));
    let all = here.chain(upwards(path).map(|path| (Scope::Below, path)));
    all.filter(move |(scope, _)| scope.fires(event))
}

/// A path and every path above it.
pub fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    })
}

/// Something that a registration fires on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// The transaction.
    pub zxid: i64,
    /// What it did.
    pub event: EventType,
    /// To which path.
    pub path: PathId,
    /// Who may be told, if that is known.
    pub acl: Option<AclId>,
    /// It surely happened there, and surely may be told.
    pub must: bool,
}

/// A notification.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Of which transaction; -1 if it does not say.
    pub zxid: i64,
    /// Of what.
    pub event: EventType,
    /// On which path.
    pub path: PathId,
}

impl Told {
    fn of(self, trigger: &Trigger) -> bool {
        (self.event, self.path) == (trigger.event, trigger.path)
            && (self.zxid <= 0 || self.zxid == trigger.zxid)
    }
}

/// Everything a registration fires on, in order.
#[derive(Debug, Default)]
pub struct Course {
    triggers: Vec<Trigger>,
    /// For each, the first at or after it that cannot be skipped.
    next_must: Vec<usize>,
}

impl Course {
    /// Of these, which are sorted by zxid.
    pub fn new(triggers: Vec<Trigger>) -> Self {
        let mut next_must = vec![triggers.len(); triggers.len() + 1];
        for (at, trigger) in triggers.iter().enumerate().rev() {
            next_must[at] = if trigger.must { at } else { next_must[at + 1] };
        }
        Course {
            triggers,
            next_must,
        }
    }

    /// Where the transaction of a trigger ends.
    fn end(&self, at: usize) -> usize {
        let zxid = self.triggers[at].zxid;
        let rest = &self.triggers[at..];
        at + rest.partition_point(|trigger| trigger.zxid == zxid)
    }

    fn first_after(&self, zxid: i64) -> usize {
        self.triggers
            .partition_point(|trigger| trigger.zxid <= zxid)
    }

    /// The first trigger that the client must still be told of.
    fn due(&self, cursor: &Cursor) -> Option<&Trigger> {
        let end = match cursor.told.is_empty() {
            true => cursor.at,
            false => self.end(cursor.at),
        };
        let mut here = cursor.at..end;
        let left = here.find(|at| self.triggers[*at].must && !cursor.told.contains(at));
        let first = left.unwrap_or_else(|| self.next_must.get(end).copied().unwrap_or(usize::MAX));
        self.triggers.get(first)
    }

    /// Where a client can be after a notification; nowhere if it is not of what comes next.
    fn steps(&self, from: &Cursor, told: Told, may_skip: bool, into: &mut Vec<Cursor>) {
        let mut cursor = from.clone();
        while cursor.at < self.triggers.len() && into.len() <= CURSORS_MAX {
            let end = self.end(cursor.at);
            let mut free = (cursor.at..end).filter(|at| !cursor.told.contains(at));
            let found = free.clone().find(|&at| told.of(&self.triggers[at]));
            if let Some(found) = found {
                let mut next = cursor.clone();
                next.told.push(found);
                next.told.sort_unstable();
                if !into.contains(&next) {
                    into.push(next);
                }
            }
            let past = told.zxid > 0 && self.triggers[cursor.at].zxid >= told.zxid;
            let stays = !may_skip && free.any(|at| self.triggers[at].must);
            if past || stays || may_skip && found.is_some() {
                return;
            }
            cursor.at = end;
            cursor.told.clear();
        }
    }
}

/// How far a client has been told: all before a transaction, and some of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    /// The transaction's first trigger.
    at: usize,
    /// Those of its triggers that were told.
    told: Vec<usize>,
}

/// A registration that stays.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The answer that made it.
    pub record: u32,
    /// It is surely there; if not, it may be told and need not.
    pub sure: bool,
    /// Made by setWatches, so that only requests sent after its answer convict.
    pub again: bool,
    course: Rc<Course>,
    cursors: Vec<Cursor>,
}

/// Why a notification is not what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// It had been told of that already.
    Again,
    /// Something before it was not told: at which zxid.
    Skips(i64),
    /// Nothing of the kind happened since it was made.
    Unknown,
}

impl Standing {
    /// Made at a prefix by a record.
    pub fn new(course: Rc<Course>, zxid: i64, record: u32, sure: bool, again: bool) -> Self {
        let at = course.first_after(zxid);
        let told = Vec::new();
        Standing {
            record,
            sure,
            again,
            course,
            cursors: vec![Cursor { at, told }],
        }
    }

    /// The zxid by which its client must have been told something more.
    pub fn due(&self) -> Option<&Trigger> {
        if !self.sure {
            return None;
        }
        let mut latest: Option<&Trigger> = None;
        for cursor in &self.cursors {
            let due = self.course.due(cursor)?;
            if latest.is_none_or(|latest| latest.zxid < due.zxid) {
                latest = Some(due);
            }
        }
        latest
    }

    /// True if it is not known of which transaction its client was told last.
    pub fn is_unclear(&self) -> bool {
        self.cursors.len() > 1
    }

    /// Something as new as `zxid` was answered: what had to be told by then was. One that may be
    /// gone had to be told nothing, and whoever lags behind may still be the one that is right.
    pub fn answered(&mut self, zxid: i64) {
        if !self.sure {
            return;
        }
        let course = &self.course;
        let in_time = |cursor: &Cursor| course.due(cursor).is_none_or(|due| due.zxid > zxid);
        if self.cursors.iter().any(in_time) {
            self.cursors.retain(in_time);
        }
    }

    /// Takes a notification of a path that it sees. `unseen`: it can be of something that the
    /// course does not know. Returns what it can be of, nothing if that is not known; None if it
    /// is of nothing that this waits for.
    pub fn tell(&mut self, told: Told, unseen: bool) -> Option<Vec<Trigger>> {
        let mut next = Vec::new();
        for cursor in &self.cursors {
            self.course.steps(cursor, told, !self.sure, &mut next);
        }
        let mut of: Vec<Trigger> = Vec::new();
        for cursor in &next {
            let of_it = cursor.told.iter().map(|&at| self.course.triggers[at]);
            of.extend(of_it.filter(|trigger| told.of(trigger)));
        }
        of.dedup();
        match (next.is_empty(), unseen) {
            (true, false) => return None,
            (true, true) => return Some(Vec::new()),
            (false, true) => {
                of.clear();
                let stay = self.cursors.iter().filter(|stay| !next.contains(stay));
                let stay: Vec<Cursor> = stay.cloned().collect();
                next.extend(stay);
            }
            (false, false) => {}
        }
        if next.len() > CURSORS_MAX {
            next = self.farthest_behind();
            self.sure = false;
        }
        self.cursors = next;
        // One that may skip was followed to the first that it can be of, not to every one.
        if !self.sure && told.zxid <= 0 {
            of.clear();
        }
        Some(of)
    }

    /// The one cursor from which, with skipping, everything can be reached that can be reached
    /// from any.
    fn farthest_behind(&self) -> Vec<Cursor> {
        let first = self.cursors.iter().map(|cursor| cursor.at).min();
        let told = Vec::new();
        first.map(|at| Cursor { at, told }).into_iter().collect()
    }

    /// Why it does not wait for a notification of a path that it sees.
    pub fn why_not(&self, told: Told) -> Stranger {
        let Some(cursor) = self.cursors.first() else {
            return Stranger::Unknown;
        };
        let of = |trigger: &Trigger| told.of(trigger);
        let triggers = &self.course.triggers;
        let due = self.course.due(cursor).map(|due| due.zxid);
        let later = triggers[cursor.at..].iter().enumerate();
        let mut later = later.filter(|(at, _)| !cursor.told.contains(&(cursor.at + at)));
        match (later.any(|(_, trigger)| of(trigger)), due) {
            (true, Some(due)) => Stranger::Skips(due),
            (true, None) | (false, _) if triggers.iter().any(of) => Stranger::Again,
            (_, _) => Stranger::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(zxid: i64, path: PathId, must: bool) -> Trigger {
        let (event, acl) = (EventType::NodeDataChanged, None);
        Trigger {
            zxid,
            event,
            path,
            acl,
            must,
        }
    }

    fn standing(triggers: Vec<Trigger>) -> Standing {
        Standing::new(Rc::new(Course::new(triggers)), 4, 0, true, false)
    }

    fn told(zxid: i64, path: PathId) -> Told {
        let event = EventType::NodeDataChanged;
        Told { zxid, event, path }
    }

    fn due(standing: &Standing) -> Option<i64> {
        standing.due().map(|due| due.zxid)
    }

    #[test]
    fn what_must_be_told_cannot_be_skipped_and_what_need_not_can() {
        let course = vec![
            trigger(5, 1, true),
            trigger(6, 1, false),
            trigger(7, 1, true),
        ];
        let mut stays = standing(course.clone());
        assert_eq!(due(&stays), Some(5));
        assert_eq!(stays.tell(told(7, 1), false), None);
        assert_eq!(stays.why_not(told(7, 1)), Stranger::Skips(5));
        assert!(stays.tell(told(5, 1), false).is_some());
        assert_eq!(due(&stays), Some(7));
        assert_eq!(stays.tell(told(5, 1), false), None);
        assert_eq!(stays.why_not(told(5, 1)), Stranger::Again);
        assert!(stays.tell(told(7, 1), false).is_some());
        assert_eq!((due(&stays), stays.tell(told(6, 1), false)), (None, None));
    }

    #[test]
    fn a_notification_without_a_zxid_may_be_of_several() {
        let course = vec![
            trigger(5, 1, false),
            trigger(6, 1, true),
            trigger(7, 1, true),
        ];
        let mut stays = standing(course);
        assert_eq!(stays.tell(told(-1, 1), false).map(|of| of.len()), Some(2));
        // Of 5, then 6 is due; of 6, then 7.
        assert!(stays.is_unclear());
        assert_eq!(due(&stays), Some(7));
        stays.answered(6);
        assert_eq!(due(&stays), Some(7));
        assert!(!stays.is_unclear());
        assert!(stays.tell(told(-1, 1), false).is_some());
        assert_eq!(stays.tell(told(-1, 1), false), None);
    }

    #[test]
    fn one_transaction_is_told_in_any_order_and_wholly() {
        let course = vec![
            trigger(5, 1, true),
            trigger(5, 2, true),
            trigger(6, 1, true),
        ];
        let mut stays = standing(course);
        assert!(stays.tell(told(5, 2), false).is_some());
        assert_eq!(
            (due(&stays), stays.tell(told(6, 1), false)),
            (Some(5), None)
        );
        assert!(stays.tell(told(5, 1), false).is_some());
        assert!(stays.tell(told(6, 1), false).is_some());
        assert_eq!(due(&stays), None);
    }

    #[test]
    fn nothing_is_asked_of_one_that_may_be_gone() {
        let mut stays = standing(vec![trigger(5, 1, true), trigger(6, 2, true)]);
        stays.sure = false;
        assert_eq!(due(&stays), None);
        assert!(stays.tell(told(6, 2), false).is_some());
        assert_eq!(stays.tell(told(5, 1), false), None);
    }

    #[test]
    fn with_too_many_places_the_farthest_behind_is_kept() {
        let tellings = 8..8 + 2 * CURSORS_MAX as i64;
        let mut course = vec![trigger(7, 2, true)];
        course.extend(tellings.clone().map(|zxid| trigger(zxid, 1, false)));
        course.push(trigger(1000, 2, true));
        let mut stays = standing(course);
        stays.sure = false;
        for _ in tellings {
            assert_eq!(stays.tell(told(-1, 1), true), Some(Vec::new()));
        }
        // Of 7 or of 1000: it does not say.
        assert_eq!(stays.tell(told(-1, 2), false), Some(Vec::new()));
        assert!(stays.tell(told(1000, 2), false).is_some());
    }

    #[test]
    fn one_that_may_be_gone_is_not_told_of_what_was_answered() {
        let mut stays = standing(vec![trigger(5, 1, true), trigger(9, 2, true)]);
        stays.sure = false;
        assert_eq!(stays.tell(told(-1, 2), true), Some(Vec::new()));
        stays.answered(8);
        assert!(stays.tell(told(5, 1), false).is_some());
    }

    #[test]
    fn a_recursive_one_sees_everything_below_but_no_list() {
        let posts = |event, path| posts_seeing(event, path).collect::<Vec<_>>();
        let below = |path| (Scope::Below, path);
        assert_eq!(
            posts(EventType::NodeDeleted, "/a/b"),
            [
                (Scope::Node, "/a/b"),
                (Scope::List, "/a/b"),
                below("/a/b"),
                below("/a"),
                below("/")
            ]
        );
        let list = posts(EventType::NodeChildrenChanged, "/");
        assert_eq!(list, [(Scope::List, "/")]);
    }
}
