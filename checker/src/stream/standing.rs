//! Watches that stay when they fire: those of addWatch, of every connection.
//!
//! A persistent one waits for all that happens to its node and to the list of its children, a
//! recursive one for all that happens to its node and to every node below, but not to lists.
//! Servers before 3.9 keep one mode for each path of a connection, the last that was asked for;
//! later ones keep them all. So where two meet, the one that came first may be gone: it may
//! fire, and need not.
//!
//! Answers to: `consistency.md` P10 to P12; `protocol.md` 12.2 and 12.7; ZOOKEEPER-4466.

use super::watches::{ConnectionId, Table};
use crate::history::{EventType, Path, WatchKind, WatchMode};
use rustc_hash::{FxHashMap, FxHashSet};

/// What a registration waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Changes of the node.
    Node,
    /// Changes of the list of its children.
    List,
    /// Changes of the node and of those below.
    Below,
}

impl Scope {
    fn of(mode: WatchMode) -> &'static [Scope] {
        match mode {
            WatchMode::Persistent => &[Scope::Node, Scope::List],
            WatchMode::Recursive => &[Scope::Below],
        }
    }

    fn fires(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => self != Scope::List,
            EventType::NodeDeleted => true,
            EventType::NodeChildrenChanged => self == Scope::List,
        }
    }
}

/// One registration.
#[derive(Debug, Clone, Copy)]
struct Stays {
    connection: ConnectionId,
    scope: Scope,
    /// The record that registered it.
    since: usize,
    /// The prefix at which it was.
    made: i64,
    /// It is surely there.
    sure: bool,
}

/// A watch that fires: whose it is, the last record that registered it, and whether it surely does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fires {
    pub connection: ConnectionId,
    pub since: usize,
    pub sure: bool,
}

/// Every registration, by path.
#[derive(Clone, Default)]
pub struct Standing {
    at: FxHashMap<Path, Vec<Stays>>,
    count: usize,
    /// How many of them see what is below.
    recursive: usize,
}

impl Standing {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// addWatch at a prefix, `made`, as record `since` tells.
    pub fn add(
        &mut self,
        connection: ConnectionId,
        (path, mode): (&Path, WatchMode),
        made: i64,
        since: usize,
    ) {
        let list = self.at.entry(path.clone()).or_default();
        let mut known = [false; 3];
        for stays in list.iter_mut() {
            if stays.connection != connection {
                continue;
            }
            known[stays.scope as usize] = true;
            match (Scope::of(mode).contains(&stays.scope), mode) {
                // One that may have been gone is here again.
                (true, _) if !stays.sure => (stays.sure, stays.made) = (true, made),
                (true, _) => {}
                // What changes the node is told by either.
                (false, WatchMode::Recursive) if stays.scope == Scope::Node => {}
                (false, _) => stays.sure = false,
            }
        }
        for &scope in Scope::of(mode) {
            if !known[scope as usize] {
                self.count += 1;
                self.recursive += usize::from(scope == Scope::Below);
                list.push(Stays {
                    connection,
                    scope,
                    since,
                    made,
                    sure: true,
                });
            }
        }
    }

    /// A one-shot watch is registered on the same path.
    pub fn meets(&mut self, connection: ConnectionId, path: &str, table: Table) {
        for stays in self.at.get_mut(path).into_iter().flatten() {
            let other = stays.connection != connection;
            let apart = (stays.scope == Scope::List) != (table == Table::Child);
            stays.sure &= other || apart;
        }
    }

    /// removeWatches has done what it was asked to.
    pub fn remove(&mut self, connection: ConnectionId, path: &str, kind: WatchKind) {
        let Some(list) = self.at.get_mut(path) else {
            return;
        };
        list.retain_mut(|stays| {
            let hit = match kind {
                WatchKind::Any => true,
                WatchKind::Data => stays.scope != Scope::List,
                WatchKind::Children => stays.scope == Scope::List,
                WatchKind::Persistent => stays.scope != Scope::Below,
                WatchKind::Recursive => stays.scope == Scope::Below,
            };
            if stays.connection != connection || !hit {
                return true;
            }
            // Before 3.9 such a kind names a table and takes away whatever is in it.
            stays.sure = false;
            let perhaps = matches!(kind, WatchKind::Data | WatchKind::Children);
            self.count -= usize::from(!perhaps);
            self.recursive -= usize::from(!perhaps && stays.scope == Scope::Below);
            perhaps
        });
        if list.is_empty() {
            self.at.remove(path);
        }
    }

    /// Nothing more comes on some connections.
    pub fn forget(&mut self, gone: &FxHashSet<ConnectionId>) {
        if self.count == 0 {
            return;
        }
        self.at.retain(|_, list| {
            list.retain(|stays| {
                let own = gone.contains(&stays.connection);
                self.count -= usize::from(own);
                self.recursive -= usize::from(own && stays.scope == Scope::Below);
                !own
            });
            !list.is_empty()
        });
    }

    /// Whose watches fire on an event of a transaction at `path`, each connection once.
    pub fn fired(&self, event: EventType, path: &str, zxid: i64) -> Vec<Fires> {
        let mut fired: Vec<Fires> = Vec::new();
        if self.count == 0 {
            return fired;
        }
        let mut place = Some(path);
        while let Some(at) = place {
            for stays in self.at.get(at).into_iter().flatten() {
                let here = at == path || stays.scope == Scope::Below;
                if here && stays.made < zxid && stays.scope.fires(event) {
                    also(&mut fired, *stays);
                }
            }
            place = above(at).filter(|_| self.recursive > 0);
        }
        fired
    }
}

fn also(fired: &mut Vec<Fires>, stays: Stays) {
    let of = |fires: &&mut Fires| fires.connection == stays.connection;
    match fired.iter_mut().find(of) {
        Some(fires) => {
            fires.since = fires.since.max(stays.since);
            fires.sure |= stays.sure;
        }
        None => fired.push(Fires {
            connection: stays.connection,
            since: stays.since,
            sure: stays.sure,
        }),
    }
}

/// The node above a path.
fn above(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(standing: &Standing, event: EventType, path: &str) -> Vec<(ConnectionId, bool)> {
        let fired = standing.fired(event, path, 10).into_iter();
        fired.map(|fires| (fires.connection, fires.sure)).collect()
    }

    #[test]
    fn a_recursive_one_sees_nodes_below_but_no_lists_and_a_persistent_one_its_own() {
        let mut standing = Standing::default();
        standing.add(1, (&"/a".into(), WatchMode::Persistent), 5, 5);
        standing.add(2, (&"/".into(), WatchMode::Recursive), 6, 5);
        let (both, one) = (vec![(1, true), (2, true)], vec![(1, true)]);
        assert_eq!(told(&standing, EventType::NodeDataChanged, "/a"), both);
        assert_eq!(told(&standing, EventType::NodeChildrenChanged, "/a"), one);
        let two = vec![(2, true)];
        assert_eq!(told(&standing, EventType::NodeDeleted, "/a/b"), two);
        assert_eq!(told(&standing, EventType::NodeCreated, "/ab"), two);
        standing.remove(2, "/", WatchKind::Any);
        assert_eq!(told(&standing, EventType::NodeDeleted, "/a/b"), vec![]);
        assert_eq!(standing.count(), 2);
    }

    #[test]
    fn where_modes_meet_the_earlier_one_may_be_gone() {
        let mut standing = Standing::default();
        let path: Path = "/a".into();
        standing.add(1, (&path, WatchMode::Recursive), 5, 5);
        standing.add(1, (&path, WatchMode::Persistent), 6, 5);
        let maybe = vec![(1, false)];
        assert_eq!(told(&standing, EventType::NodeCreated, "/a/b"), maybe);
        let sure = vec![(1, true)];
        assert_eq!(told(&standing, EventType::NodeDataChanged, "/a"), sure);
        standing.meets(1, "/a", Table::Data);
        assert_eq!(told(&standing, EventType::NodeDataChanged, "/a"), maybe);
        assert_eq!(told(&standing, EventType::NodeChildrenChanged, "/a"), sure);
        standing.remove(1, "/a", WatchKind::Children);
        assert_eq!(told(&standing, EventType::NodeChildrenChanged, "/a"), maybe);
        standing.forget(&FxHashSet::from_iter([1]));
        assert_eq!(standing.count(), 0);
    }
}
