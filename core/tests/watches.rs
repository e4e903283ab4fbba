//! The trigger table: what the tree says happened, and whom the watches tell.

use gamekeeper_core::base::{ConnId, Epoch, SessionId, Zxid};
use gamekeeper_core::proto::EventType::{
    self, NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted,
};
use gamekeeper_core::proto::{Acl, CreateOp, Id, perms};
use gamekeeper_core::tree::DataTree;
use gamekeeper_core::txn::{CreateTxn, Txn, TxnHeader};
use gamekeeper_core::watch::WatchKind::{self, Child, Data};
use gamekeeper_core::watch::WatchTable;

const C1: ConnId = ConnId(1);
const C2: ConnId = ConnId(2);
const C3: ConnId = ConnId(3);

/// A tree and the watches on it; every transaction's events are dispatched at once.
struct World {
    tree: DataTree,
    watches: WatchTable,
    told: Vec<(u64, EventType, String)>,
}

impl World {
    fn new() -> World {
        World {
            tree: DataTree::new(),
            watches: WatchTable::default(),
            told: Vec::new(),
        }
    }

    fn apply(&mut self, txn: Txn) {
        let header = TxnHeader {
            session: SessionId(7),
            cxid: 0,
            zxid: Zxid::new(Epoch(1), self.tree.last_zxid().counter() + 1),
            time_ms: 0,
        };
        for event in self.tree.apply(&header, &txn).unwrap().events {
            for conn in self.watches.trigger(event.kind, &event.path) {
                self.told.push((conn.0, event.kind, event.path.to_string()));
            }
        }
    }

    fn told(&mut self) -> Vec<(u64, EventType, String)> {
        std::mem::take(&mut self.told)
    }

    fn watch(&mut self, conn: ConnId, kind: WatchKind, path: &str) {
        self.watches.add(conn, path, kind);
    }
}

fn create_with(path: &str, acl: Vec<Acl>, ephemeral: bool) -> Txn {
    Txn::Create(CreateTxn {
        op: CreateOp::Create,
        path: path.into(),
        data: None,
        acl,
        ephemeral,
        parent_cversion: -1,
    })
}

fn create(path: &str) -> Txn {
    create_with(path, Acl::open(), false)
}

fn delete(path: &str) -> Txn {
    Txn::Delete { path: path.into() }
}

fn set(path: &str, version: i32) -> Txn {
    Txn::SetData {
        path: path.into(),
        data: None,
        version,
    }
}

#[test]
fn an_exist_watch_hears_of_the_creation_once() {
    let mut world = World::new();
    world.watch(C1, Data, "/a");
    world.apply(create("/a"));
    assert_eq!(world.told(), [(1, NodeCreated, "/a".into())]);
    world.apply(set("/a", 1));
    assert_eq!(world.told(), []);
}

#[test]
fn a_data_watch_hears_of_a_change() {
    let mut world = World::new();
    world.apply(create("/a"));
    world.watch(C1, Data, "/a");
    world.apply(set("/a", 1));
    assert_eq!(world.told(), [(1, NodeDataChanged, "/a".into())]);
}

#[test]
fn data_and_child_watch_of_one_client_hear_of_a_deletion_once() {
    let mut world = World::new();
    world.apply(create("/a"));
    world.watch(C1, Data, "/a");
    world.watch(C1, Child, "/a");
    world.watch(C2, Child, "/a");
    world.watch(C3, Child, "/");
    world.apply(delete("/a"));
    let expected = [
        (1, NodeDeleted, "/a".into()),
        (2, NodeDeleted, "/a".into()),
        (3, NodeChildrenChanged, "/".into()),
    ];
    assert_eq!(world.told(), expected);
    assert!(world.watches.is_empty());
}

#[test]
fn a_child_watch_hears_of_children_not_of_their_data() {
    let mut world = World::new();
    world.apply(create("/a"));
    world.watch(C1, Child, "/a");
    world.apply(create("/a/b"));
    assert_eq!(world.told(), [(1, NodeChildrenChanged, "/a".into())]);
    world.watch(C1, Child, "/a");
    world.apply(set("/a/b", 1));
    world.apply(create("/a/b/c"));
    world.apply(set("/a", 1));
    assert_eq!(world.told(), []);
    world.apply(delete("/a/b/c"));
    world.apply(delete("/a/b"));
    assert_eq!(world.told(), [(1, NodeChildrenChanged, "/a".into())]);
}

#[test]
fn create_and_delete_in_one_multi_are_both_told() {
    let mut world = World::new();
    world.watch(C1, Data, "/a");
    world.watch(C1, Child, "/");
    world.watch(C2, Child, "/a");
    world.apply(Txn::Multi(vec![create("/a"), delete("/a")]));
    let expected = [
        (1, NodeCreated, "/a".into()),
        (1, NodeChildrenChanged, "/".into()),
        (2, NodeDeleted, "/a".into()),
    ];
    assert_eq!(world.told(), expected);
}

#[test]
fn failed_writes_checks_and_acl_changes_tell_nobody() {
    let mut world = World::new();
    world.apply(create("/a"));
    world.watch(C1, Data, "/a");
    world.watch(C1, Child, "/a");
    world.apply(Txn::Error { code: -101 });
    world.apply(Txn::SetAcl {
        path: "/a".into(),
        acl: Acl::read_only(),
        version: 1,
    });
    world.apply(Txn::Multi(vec![Txn::Error { code: 0 }]));
    world.apply(Txn::Multi(vec![Txn::Check {
        path: "/a".into(),
        version: 0,
    }]));
    assert_eq!(world.told(), []);
    assert_eq!(world.watches.len(), 2);
}

#[test]
fn the_ephemerals_of_a_closed_session_are_told_like_deletions() {
    let mut world = World::new();
    for path in ["/a", "/b"] {
        world.apply(create_with(path, Acl::open(), true));
    }
    world.watch(C1, Data, "/b");
    world.watch(C2, Child, "/");
    world.apply(Txn::CloseSession {
        paths: Some(vec!["/b".into(), "/a".into()]),
    });
    let expected = [
        (1, NodeDeleted, "/b".into()),
        (2, NodeChildrenChanged, "/".into()),
    ];
    assert_eq!(world.told(), expected);
}

/// The filter at delivery needs the list of the node, of the deleted node, of the parent.
#[test]
fn every_event_carries_the_list_that_decides_who_hears_of_it() {
    let mut tree = DataTree::new();
    let secret = vec![Acl::new(perms::ALL, Id::new("digest", "u:h"))];
    let steps = [
        (create_with("/s", secret.clone(), false), NodeCreated),
        (delete("/s"), NodeDeleted),
    ];
    for (i, (txn, kind)) in steps.into_iter().enumerate() {
        let header = TxnHeader {
            session: SessionId(7),
            cxid: 0,
            zxid: Zxid::new(Epoch(1), i as u32 + 1),
            time_ms: 0,
        };
        let events = tree.apply(&header, &txn).unwrap().events;
        let told: Vec<_> = events
            .iter()
            .map(|e| (e.kind, &*e.path, e.acl.to_vec()))
            .collect();
        let expected = [
            (kind, "/s", secret.clone()),
            (NodeChildrenChanged, "/", Acl::open()),
        ];
        assert_eq!(told, expected);
    }
}
