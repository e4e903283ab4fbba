//! What one connection's server knows of its client's watches, as far as the client can tell.
//!
//! A new connection begins with none: what was registered on an older one is gone, or comes
//! again with setWatches. Always true: every registration that is due is live.
//!
//! Answers to: `protocol.md` section 12.

use super::standing::{Post, Scope, Standing};
use crate::history::{ErrorCode, EventType, Op, WatchKind, WatchMode};
use crate::model::{Event, Who};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The server's two tables of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Of exists and getData.
    Data,
    /// Of getChildren.
    Child,
}

/// A place in one of the tables.
pub type Key<'h> = (Table, &'h str);

/// How the node was when a registration was made; of several that have not fired, how it
/// may have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// There was a node.
    pub there: bool,
    /// There was none.
    pub missing: bool,
}

impl Found {
    /// True if a watch on such a node can fire on `event` first.
    pub fn fits(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated => self.missing,
            EventType::NodeDeleted
            | EventType::NodeDataChanged
            | EventType::NodeChildrenChanged => self.there,
        }
    }
}

/// What a registration was spent on, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// The answer that made it.
    pub asked: Option<u32>,
    /// The notification.
    pub told: Option<u32>,
}

/// One registration that has not fired as far as the client knows.
#[derive(Debug, Clone, Copy)]
pub struct Live<'h> {
    /// Where.
    pub path: &'h str,
    /// The answer that made it.
    pub record: u32,
    /// At which prefix, the first of several.
    pub since: i64,
    /// On what kind of node.
    pub found: Found,
    /// What it fires on, if anything; known in a closed world only.
    pub fires: Option<Event>,
    /// The first zxid by which it must have fired, seen or not what came before.
    pub certain: Option<i64>,
    /// Made by setWatches, so that only requests sent after its answer convict.
    pub again: bool,
}

/// A connection, seen from its client.
#[derive(Default)]
pub struct Connection<'h> {
    /// Whether its beginning was recorded; if not, nobody knows what was registered on it.
    pub begun: bool,
    /// Whether what comes of its watches is not recorded any more.
    pub left_out: bool,
    /// Registrations that have not fired.
    pub live: BTreeMap<Key<'h>, Live<'h>>,
    /// Registrations by the zxid at which they fire.
    pub due: BTreeSet<(i64, Key<'h>)>,
    /// Registrations that stay.
    pub standing: BTreeMap<Post<'h>, Standing>,
    /// Those by the zxid at which their client must be told something.
    pub standing_due: BTreeSet<(i64, Post<'h>)>,
    /// Those of which it is not known how far their client was told.
    pub unclear: BTreeSet<Post<'h>>,
    /// Its server names transactions in notifications, as those do that keep several modes of
    /// watches on one path.
    pub names_zxids: bool,
    /// What has fired and was not registered since.
    pub used_up: BTreeMap<Key<'h>, Spent>,
    /// Perhaps registered: the request was lost, or its prefix is not known.
    pub perhaps: BTreeSet<Key<'h>>,
    /// setWatches frames on their way.
    pub again: VecDeque<u32>,
    /// The answer to the last of them.
    pub again_done: u32,
    /// Every path of which something was told.
    pub heard: BTreeSet<&'h str>,
    /// Notifications that only a setWatches on its way explains.
    pub caught_up: Vec<(EventType, &'h str, u32)>,
    /// Notifications that a setWatches on its way explains, and a watch that stays as well.
    pub caught_up_perhaps: Vec<(EventType, &'h str, u32)>,
    /// The zxid of the last notification.
    pub last_zxid: i64,
    /// The answer that showed most so far: its zxid and record.
    pub newest_answer: Option<(i64, u32)>,
    /// With which identities the last request was sent.
    pub who: Option<Who>,
}

impl<'h> Connection<'h> {
    /// Nothing is asked of its watches any more.
    pub fn leave_out(&mut self) {
        self.left_out = true;
        self.live.clear();
        self.due.clear();
        self.standing.clear();
        self.standing_due.clear();
        self.again.clear();
        self.caught_up.clear();
    }

    /// The session was closed: whatever is registered may fire until the connection ends.
    pub fn close(&mut self) {
        self.due.clear();
        let live = std::mem::take(&mut self.live);
        self.perhaps.extend(live.into_keys());
        self.standing_due.clear();
        for standing in self.standing.values_mut() {
            standing.sure = false;
        }
    }

    /// Takes a registration that stays out, to be changed and put back.
    pub fn lift(&mut self, post: Post<'h>) -> Option<Standing> {
        let standing = self.standing.remove(&post)?;
        if let Some(due) = standing.due() {
            self.standing_due.remove(&(due.zxid, post));
        }
        self.unclear.remove(&post);
        Some(standing)
    }

    /// Puts a registration that stays in.
    pub fn stand(&mut self, post: Post<'h>, standing: Standing) {
        if let Some(due) = standing.due() {
            self.standing_due.insert((due.zxid, post));
        }
        if standing.is_unclear() {
            self.unclear.insert(post);
        }
        self.standing.insert(post, standing);
    }

    /// From here on nothing is asked of a registration that stays, if there is one.
    pub fn doubt(&mut self, post: Post<'h>) {
        if let Some(mut standing) = self.lift(post) {
            standing.sure = false;
            self.stand(post, standing);
        }
    }

    /// A one-shot watch was registered: where only one mode has room it is the only one now.
    pub fn meets(&mut self, (table, path): Key<'h>) {
        if self.standing.is_empty() {
            return;
        }
        for scope in [Scope::Node, Scope::List, Scope::Below] {
            if scope.table() == table && !self.names_zxids {
                self.doubt((scope, path));
            }
        }
    }

    /// A watch that stays is registered: which others may be gone where only one mode has room.
    pub fn meets_standing(&mut self, path: &'h str, mode: WatchMode) {
        if self.names_zxids {
            return;
        }
        match mode {
            WatchMode::Persistent => self.doubt((Scope::Below, path)),
            WatchMode::Recursive => {
                // What changes the node is told by either, what changes the list is not.
                self.doubt((Scope::List, path));
                let list = (Table::Child, path);
                if self.remove(list).is_some() {
                    self.perhaps.insert(list);
                }
            }
        }
    }

    /// removeWatches did what it was asked to.
    pub fn take_away(&mut self, path: &'h str, kind: WatchKind) {
        let (tables, scopes): (&[Table], &[Scope]) = match kind {
            WatchKind::Any => (
                &[Table::Data, Table::Child],
                &[Scope::Node, Scope::List, Scope::Below],
            ),
            WatchKind::Data => (&[Table::Data], &[Scope::Node, Scope::Below]),
            WatchKind::Children => (&[Table::Child], &[Scope::List]),
            WatchKind::Persistent => (&[], &[Scope::Node, Scope::List]),
            WatchKind::Recursive => (&[], &[Scope::Below]),
        };
        for &table in tables {
            self.remove((table, path));
            self.used_up.remove(&(table, path));
            self.perhaps.remove(&(table, path));
        }
        // A kind that names a table takes away whatever is in it, or what fires once only.
        let perhaps = matches!(kind, WatchKind::Data | WatchKind::Children);
        for &scope in scopes {
            match perhaps {
                true if self.names_zxids => {}
                true => self.doubt((scope, path)),
                false => drop(self.lift((scope, path))),
            }
        }
    }

    /// Takes a registration out; it counts as fired.
    pub fn remove(&mut self, key: Key<'h>) -> Option<Live<'h>> {
        let live = self.live.remove(&key)?;
        if let Some(zxid) = live.certain {
            self.due.remove(&(zxid, key));
        }
        let asked = Some(live.record);
        self.used_up.insert(key, Spent { asked, told: None });
        Some(live)
    }

    /// Puts a registration in.
    pub fn put(&mut self, key: Key<'h>, live: Live<'h>) {
        if let Some(zxid) = live.certain {
            self.due.insert((zxid, key));
        }
        self.live.insert(key, live);
    }
}

/// The table a read with a watch registers in.
pub fn registers(op: &Op) -> Option<Table> {
    match op {
        Op::Exists { watch: true, .. } | Op::Get { watch: true, .. } => Some(Table::Data),
        Op::Children { watch: true, .. } => Some(Table::Child),
        _ => None,
    }
}

/// How a read with a watch found its node, if the watch stays registered after that answer.
pub fn found<T>(op: &Op, answer: &Result<T, ErrorCode>) -> Option<Found> {
    let found = |there| Found {
        there,
        missing: !there,
    };
    match (op, answer) {
        (_, Ok(_)) => Some(found(true)),
        (Op::Exists { .. }, Err(code)) if *code == ErrorCode::NO_NODE => Some(found(false)),
        (_, Err(_)) => None,
    }
}

/// The tables whose watches an event fires.
pub fn tables_of(event: EventType) -> &'static [Table] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[Table::Data],
        EventType::NodeDeleted => &[Table::Data, Table::Child],
        EventType::NodeChildrenChanged => &[Table::Child],
    }
}
