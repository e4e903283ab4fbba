//! What the judge of notifications knows of the world besides the connection.
//!
//! | knows | when | what follows |
//! |---|---|---|
//! | nothing | before anything else was looked at | counting: P11, P12 |
//! | the walk | in a closed world, once there is an order | what every registration fires on |
//! | what was overheard | in an open world | by when a registration must have fired |
//!
//! Answers to: `consistency.md` P10 to P12, P20.

use super::connection::{Key, Table, tables_of};
use super::standing::{Course, Post, Scope, Told, Trigger};
use crate::history::EventType;
use crate::model::{Access, AclId, Event, NO_PATH, PathId, Who};
use crate::walk::case::RequestIndex;
use crate::walk::open::Overheard;
use crate::walk::replay::Replay;

/// READ permission, which the receiver of an event needs.
const READ: i32 = 1;

/// Where the judge's knowledge comes from.
#[derive(Clone, Copy)]
pub enum Known<'c, 'h> {
    /// No tree, no order.
    Nothing,
    /// The walk, which reached the end.
    Walked(&'c Replay<'c, 'h>),
    /// What recorded clients saw and did while others wrote, too.
    Overheard(&'c Overheard<'c, 'h>),
}

impl<'c, 'h> Known<'c, 'h> {
    /// The walk, if there was one.
    pub fn walk(self) -> Option<&'c Replay<'c, 'h>> {
        match self {
            Known::Walked(replay) => Some(replay),
            Known::Nothing | Known::Overheard(_) => None,
        }
    }

    /// What was overheard, if others wrote too.
    pub fn overheard(self) -> Option<&'c Overheard<'c, 'h>> {
        match self {
            Known::Overheard(overheard) => Some(overheard),
            Known::Nothing | Known::Walked(_) => None,
        }
    }

    /// The event that a registration made at `zxid` fires on, if that is known.
    pub fn fires(self, key: Key<'_>, zxid: i64) -> Option<Event> {
        self.events_after(key, zxid).next()
    }

    /// The first zxid by which a registration made at `zxid` must have fired, and its client,
    /// as `who`, been told. `held` if the answer proves that the client might read the node.
    pub fn certain(self, key: Key<'_>, zxid: i64, who: Who, held: bool) -> Option<i64> {
        match self {
            Known::Nothing => None,
            Known::Walked(replay) => {
                let mut events = self.events_after(key, zxid);
                let certain = events.find(|&event| must_arrive(replay, event, key.1));
                certain.map(|event| event.zxid)
            }
            Known::Overheard(overheard) => overheard.certain(key.0, key.1, zxid, who, held),
        }
    }

    /// The events after `zxid` that a registration can fire on.
    fn events_after(self, (table, path): Key<'_>, zxid: i64) -> impl Iterator<Item = Event> + 'c {
        let events = self.events(path);
        let start = events.partition_point(|event| event.zxid <= zxid);
        events[start..]
            .iter()
            .filter(move |event| tables_of(event.event).contains(&table))
            .copied()
    }

    /// The events of a path along the walk.
    pub fn events(self, path: &str) -> &'c [Event] {
        let Some(tree) = self.walk().map(|replay| &replay.tree) else {
            return &[];
        };
        tree.paths.find(path).map_or(&[], |path| tree.events(path))
    }

    /// True if something that nobody was told of could have fired `event` on a path.
    pub fn could_have_fired(self, event: EventType, path: &str) -> bool {
        self.walk().is_some_and(|replay| {
            let path = replay.tree.paths.find(path);
            path.is_some_and(|path| replay.could_have_fired(event, path))
        })
    }

    /// True if something that nobody was told of could have changed a path at all.
    pub fn is_murky(self, path: &str) -> bool {
        [
            EventType::NodeCreated,
            EventType::NodeDeleted,
            EventType::NodeDataChanged,
            EventType::NodeChildrenChanged,
        ]
        .into_iter()
        .any(|event| self.could_have_fired(event, path))
    }

    /// True if `event` on a path surely happened, and where the walk has it.
    pub fn surely_fired(self, (zxid, event): (i64, EventType), path: &str) -> bool {
        self.walk().is_some_and(|replay| {
            let path = replay.tree.paths.find(path);
            path.is_some_and(|path| replay.surely_fired(zxid, event, path))
        })
    }

    /// The recorded request at a zxid, if it cannot have fired that event.
    pub fn did_not_fire(self, zxid: i64, event: EventType, path: &str) -> Option<RequestIndex> {
        match self {
            Known::Nothing => None,
            Known::Walked(replay) => {
                let events = self.events(path);
                let start = events.partition_point(|fired| fired.zxid < zxid);
                let mut fired = events[start..]
                    .iter()
                    .take_while(|fired| fired.zxid == zxid);
                let did = fired.any(|fired| fired.event == event);
                replay.transaction_at(zxid).filter(|_| !did)
            }
            Known::Overheard(overheard) => overheard.did_not_fire(zxid, event, path),
        }
    }

    /// True if `who` may surely not be told of an event of the walk.
    pub fn forbids(self, acl: AclId, who: Who) -> bool {
        self.walk()
            .is_some_and(|replay| replay.tree.acls.access(acl, READ, who) == Access::No)
    }

    /// Everything known of that a watch which stays fires on, for a client that is `who`.
    pub fn course(self, post: Post<'_>, who: Who) -> Course {
        match self {
            Known::Nothing => Course::default(),
            Known::Walked(replay) => course_of_walk(replay, post),
            Known::Overheard(overheard) => Course::new(overheard.course(post, who)),
        }
    }

    /// The number of a path; [`NO_PATH`] if nothing is known of it.
    pub fn path(self, path: &str) -> PathId {
        let found = match self {
            Known::Nothing => None,
            Known::Walked(replay) => replay.tree.paths.find(path),
            Known::Overheard(overheard) => overheard.path(path),
        };
        found.unwrap_or(NO_PATH)
    }

    /// The name of a path that a course holds.
    pub fn name(self, path: PathId) -> &'c str {
        match self {
            Known::Nothing => "",
            Known::Walked(replay) => replay.tree.paths.name(path),
            Known::Overheard(overheard) => overheard.name(path),
        }
    }

    /// True if a notification can be of something that no course knows.
    pub fn may_be_unseen(self, told: Told, path: &str) -> bool {
        match self {
            Known::Nothing => true,
            Known::Walked(replay) => {
                let named = told.zxid > 0 && replay.transaction_at(told.zxid).is_some();
                !named && self.could_have_fired(told.event, path)
            }
            Known::Overheard(overheard) => !overheard.knows_all_of(told.zxid),
        }
    }

    /// The event that setWatches makes up for, in the state after `zxid`; None if the watch
    /// is registered instead.
    pub fn caught_up_by(
        self,
        path: &str,
        table: Table,
        for_creation: bool,
        relative: i64,
        zxid: i64,
    ) -> Option<EventType> {
        let events = self.events(path);
        let past = &events[..events.partition_point(|event| event.zxid <= zxid)];
        let came_or_went =
            |event: &&Event| matches!(event.event, EventType::NodeCreated | EventType::NodeDeleted);
        let exists = match past.iter().rev().find(came_or_went) {
            Some(last) => last.event == EventType::NodeCreated,
            None => match events.iter().find(came_or_went) {
                Some(next) => next.event == EventType::NodeDeleted,
                None => self.walk().is_some_and(|replay| {
                    let tree = &replay.tree;
                    let path = tree.paths.find(path);
                    path.is_some_and(|path| tree.node(path).exists)
                }),
            },
        };
        if for_creation {
            return exists.then_some(EventType::NodeCreated);
        }
        if !exists {
            return Some(EventType::NodeDeleted);
        }
        let changed_after = |wanted: EventType| {
            let changes = past.iter().rev();
            let mut changes = changes
                .filter(|event| event.event == wanted || event.event == EventType::NodeCreated);
            changes.next().is_some_and(|last| last.zxid > relative)
        };
        match table {
            Table::Data => {
                changed_after(EventType::NodeDataChanged).then_some(EventType::NodeDataChanged)
            }
            Table::Child => changed_after(EventType::NodeChildrenChanged)
                .then_some(EventType::NodeChildrenChanged),
        }
    }
}

fn course_of_walk(replay: &Replay<'_, '_>, (scope, path): Post<'_>) -> Course {
    let tree = &replay.tree;
    let Some(path) = tree.paths.find(path) else {
        return Course::default();
    };
    let paths: Vec<PathId> = match scope {
        Scope::Node | Scope::List => vec![path],
        Scope::Below => tree.watched_below(path).collect(),
    };
    let mut triggers = Vec::new();
    for path in paths {
        let name = tree.paths.name(path);
        let events = tree.events(path).iter();
        let seen = events.filter(|event| scope.fires(event.event));
        triggers.extend(seen.map(|event| Trigger {
            zxid: event.zxid,
            event: event.event,
            path,
            acl: Some(event.acl),
            must: must_arrive(replay, *event, name),
        }));
    }
    triggers.sort_by_key(|trigger| (trigger.zxid, trigger.path));
    Course::new(triggers)
}

/// True if an event must reach whoever waits for it: it surely happened, and surely
/// everybody may read the node.
fn must_arrive(replay: &Replay<'_, '_>, event: Event, path: &str) -> bool {
    let Some(path) = replay.tree.paths.find(path) else {
        return false;
    };
    replay.surely_fired(event.zxid, event.event, path)
        && !replay.tree.was_ever_closed(path)
        && !replay.could_have_acl(path)
}
