//! Who is to be told of what: the one-shot watches of the connections of one server.
//!
//! Two tables, as ZooKeeper has them: *data* (exists and getData) and *child* (getChildren).
//! Watches belong to a connection and vanish with it. Events come from applied transactions
//! only, in their order, so a notification can be sent before any reply that reflects the
//! change. Persistent and recursive modes are not built yet; the tables are keyed so that a
//! mode can join the connection. Answers to `WatchManager` and `DataTree.setWatches`.

use crate::base::{ConnId, Zxid};
use crate::proto::{EventType, SetWatches, WatcherEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which table a watch is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WatchKind {
    /// Set by exists and getData.
    Data,
    /// Set by getChildren.
    Child,
}

/// What re-registration needs to know of an existing node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Last change of its data.
    pub mzxid: Zxid,
    /// Last change of its children.
    pub pzxid: Zxid,
}

type Table = BTreeMap<Arc<str>, BTreeSet<ConnId>>;

/// Every watch of this server's connections.
#[derive(Clone, Debug, Default)]
pub struct WatchTable {
    data: Table,
    child: Table,
    by_conn: BTreeMap<ConnId, BTreeSet<(WatchKind, Arc<str>)>>,
}

impl WatchTable {
    fn table(&mut self, kind: WatchKind) -> &mut Table {
        match kind {
            WatchKind::Data => &mut self.data,
            WatchKind::Child => &mut self.child,
        }
    }

    /// Registers; the same again changes nothing.
    pub fn add(&mut self, conn: ConnId, path: &str, kind: WatchKind) {
        let path: Arc<str> = match self.table(kind).get_key_value(path) {
            Some((known, _)) => known.clone(),
            None => path.into(),
        };
        self.table(kind)
            .entry(path.clone())
            .or_default()
            .insert(conn);
        self.by_conn.entry(conn).or_default().insert((kind, path));
    }

    /// Takes the watches that an event fires and returns whom to tell, each once. A deleted
    /// node's data and child watches of one connection make one notification.
    pub fn trigger(&mut self, event: EventType, path: &str) -> BTreeSet<ConnId> {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => self.take(WatchKind::Data, path),
            EventType::NodeChildrenChanged => self.take(WatchKind::Child, path),
            EventType::NodeDeleted => {
                let mut told = self.take(WatchKind::Data, path);
                told.append(&mut self.take(WatchKind::Child, path));
                told
            }
        }
    }

    fn take(&mut self, kind: WatchKind, path: &str) -> BTreeSet<ConnId> {
        let Some((path, conns)) = self.table(kind).remove_entry(path) else {
            return BTreeSet::new();
        };
        for conn in &conns {
            if let Some(own) = self.by_conn.get_mut(conn) {
                own.remove(&(kind, path.clone()));
                if own.is_empty() {
                    self.by_conn.remove(conn);
                }
            }
        }
        conns
    }

    /// A connection is gone, and its watches with it (ZOOKEEPER-3131).
    pub fn remove_conn(&mut self, conn: ConnId) {
        for (kind, path) in self.by_conn.remove(&conn).unwrap_or_default() {
            let table = self.table(kind);
            if let Some(conns) = table.get_mut(&path) {
                conns.remove(&conn);
                if conns.is_empty() {
                    table.remove(&path);
                }
            }
        }
    }

    /// Re-registers after a reconnect: what changed since the client last looked is told at
    /// once (the returned events, in list order), the rest is watched again. Section 12.6:
    ///
    /// | list | node absent | node present |
    /// |---|---|---|
    /// | data | deleted | changed if `mzxid` is newer, else watch |
    /// | exist | watch | created |
    /// | child | deleted | children changed if `pzxid` is newer, else watch |
    pub fn catch_up(
        &mut self,
        conn: ConnId,
        lists: &SetWatches,
        look: impl Fn(&str) -> Option<Seen>,
    ) -> Vec<WatcherEvent> {
        let since = lists.relative_zxid;
        let mut missed = Vec::new();
        let mut tell = |kind, path: &str| {
            missed.push(WatcherEvent {
                kind,
                path: path.into(),
            })
        };
        for path in &lists.data {
            match look(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(node) if node.mzxid.to_wire() > since => {
                    tell(EventType::NodeDataChanged, path);
                }
                Some(_) => self.add(conn, path, WatchKind::Data),
            }
        }
        for path in &lists.exist {
            match look(path) {
                None => self.add(conn, path, WatchKind::Data),
                Some(_) => tell(EventType::NodeCreated, path),
            }
        }
        for path in &lists.child {
            match look(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(node) if node.pzxid.to_wire() > since => {
                    tell(EventType::NodeChildrenChanged, path);
                }
                Some(_) => self.add(conn, path, WatchKind::Child),
            }
        }
        missed
    }

    /// Number of watches.
    pub fn len(&self) -> usize {
        self.by_conn.values().map(BTreeSet::len).sum()
    }

    /// True when nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.by_conn.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    #[test]
    fn one_node_deleted_for_data_and_child_watch_of_one_connection() {
        let mut w = WatchTable::default();
        w.add(A, "/n", WatchKind::Data);
        w.add(A, "/n", WatchKind::Child);
        w.add(B, "/n", WatchKind::Child);
        assert_eq!(w.trigger(EventType::NodeDeleted, "/n"), [A, B].into());
        assert!(w.is_empty());
    }

    #[test]
    fn a_watch_fires_once_and_only_for_its_kind() {
        let mut w = WatchTable::default();
        w.add(A, "/n", WatchKind::Data);
        w.add(A, "/n", WatchKind::Data);
        assert!(w.trigger(EventType::NodeChildrenChanged, "/n").is_empty());
        assert_eq!(w.trigger(EventType::NodeDataChanged, "/n"), [A].into());
        assert!(w.trigger(EventType::NodeDataChanged, "/n").is_empty());
    }

    #[test]
    fn a_connection_takes_its_watches_with_it() {
        let mut w = WatchTable::default();
        w.add(A, "/n", WatchKind::Data);
        w.add(B, "/n", WatchKind::Data);
        w.remove_conn(A);
        assert_eq!(w.trigger(EventType::NodeCreated, "/n"), [B].into());
        assert!(w.is_empty());
    }

    #[test]
    fn re_registration_tells_what_was_missed_and_watches_the_rest() {
        let mut w = WatchTable::default();
        let lists = SetWatches {
            relative_zxid: 5,
            data: vec!["/old".into(), "/new".into(), "/gone".into()],
            exist: vec!["/gone".into(), "/old".into()],
            child: vec!["/old".into(), "/new".into(), "/gone".into()],
        };
        let look = |path: &str| match path {
            "/old" => Some(Seen {
                mzxid: Zxid(5),
                pzxid: Zxid(5),
            }),
            "/new" => Some(Seen {
                mzxid: Zxid(6),
                pzxid: Zxid(6),
            }),
            _ => None,
        };
        let missed: Vec<(EventType, String)> = w
            .catch_up(A, &lists, look)
            .into_iter()
            .map(|event| (event.kind, event.path.to_string()))
            .collect();
        assert_eq!(
            missed,
            [
                (EventType::NodeDataChanged, "/new".to_owned()),
                (EventType::NodeDeleted, "/gone".to_owned()),
                (EventType::NodeCreated, "/old".to_owned()),
                (EventType::NodeChildrenChanged, "/new".to_owned()),
                (EventType::NodeDeleted, "/gone".to_owned()),
            ]
        );
        assert_eq!(w.len(), 3, "data and child of /old, existence of /gone");
    }
}
