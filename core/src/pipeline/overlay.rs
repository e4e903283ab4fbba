//! The leader's look-ahead: what the tree will be once everything outstanding is applied.
//!
//! Requests are judged against the tree as it *will* be (ZooKeeper's `outstandingChanges`),
//! so that pipelined requests see each other. The overlay keeps one record per path that an
//! outstanding transaction touches; the record goes when its last transaction is applied.
//!
//! What always holds: [`Overlay::view`] equals the tree after applying every outstanding
//! transaction in order. A multi is judged in a [`Draft`] which is merged whole or dropped
//! whole, so that a failed multi leaves nothing behind (ZOOKEEPER-1624).

use crate::base::{SessionId, Zxid};
use crate::tree::{AclList, DataTree};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a request needs to know of one existing node.
#[derive(Clone, Debug)]
pub struct View {
    /// Data version.
    pub version: i32,
    /// Stored child version: creates below this node so far.
    pub cversion: i32,
    /// ACL version.
    pub aversion: i32,
    /// Owning session, [`SessionId::NONE`] for a persistent node.
    pub owner: SessionId,
    /// Number of children.
    pub children: usize,
    /// Its access-control list.
    pub acl: Arc<AclList>,
}

/// `None`: the node will not exist.
type Record = Option<View>;

/// Outstanding changes by path.
#[derive(Debug, Default)]
pub struct Overlay {
    records: BTreeMap<Arc<str>, (Zxid, Record)>,
    by_zxid: VecDeque<(Zxid, Vec<Arc<str>>)>,
}

impl Overlay {
    /// The node as it will be, `None` when it will not exist.
    pub fn view(&self, tree: &DataTree, path: &str) -> Option<View> {
        match self.records.get(path) {
            Some((_, record)) => record.clone(),
            None => from_tree(tree, path),
        }
    }

    /// A draft on top of everything outstanding.
    pub fn draft<'a>(&'a self, tree: &'a DataTree) -> Draft<'a> {
        Draft {
            overlay: self,
            tree,
            records: BTreeMap::new(),
        }
    }

    /// Takes over what a draft changed, as the doing of `zxid`.
    pub fn merge(&mut self, zxid: Zxid, changes: DraftChanges) {
        if changes.0.is_empty() {
            return;
        }
        let mut paths = Vec::with_capacity(changes.0.len());
        for (path, record) in changes.0 {
            paths.push(path.clone());
            self.records.insert(path, (zxid, record));
        }
        self.by_zxid.push_back((zxid, paths));
    }

    /// A transaction was applied: what only it changed is in the tree now.
    pub fn applied(&mut self, zxid: Zxid) {
        while self.by_zxid.front().is_some_and(|(z, _)| *z <= zxid) {
            let (z, paths) = self.by_zxid.pop_front().expect("front was seen");
            for path in paths {
                if self.records.get(&path).is_some_and(|(last, _)| *last == z) {
                    self.records.remove(&path);
                }
            }
        }
    }

    /// The ephemerals `owner` will have, sorted: committed ones and outstanding creates,
    /// less outstanding deletes.
    pub fn ephemerals(&self, tree: &DataTree, owner: SessionId) -> BTreeSet<Arc<str>> {
        let mut paths: BTreeSet<Arc<str>> = tree.ephemerals(owner).cloned().collect();
        for (path, (_, record)) in &self.records {
            match record {
                Some(view) if view.owner == owner => {
                    paths.insert(path.clone());
                }
                _ => {
                    paths.remove(path);
                }
            }
        }
        paths
    }

    /// Number of paths with outstanding changes.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

fn from_tree(tree: &DataTree, path: &str) -> Option<View> {
    tree.get(path).map(|node| View {
        version: node.stored().version,
        cversion: node.stored().cversion,
        aversion: node.stored().aversion,
        owner: node.stored().owner,
        children: node.child_count(),
        acl: node.acl().clone(),
    })
}

/// Changes of one request (or one multi) that may still fail.
#[derive(Debug)]
pub struct Draft<'a> {
    overlay: &'a Overlay,
    tree: &'a DataTree,
    records: BTreeMap<Arc<str>, Record>,
}

/// What a successful draft changed.
#[derive(Debug)]
pub struct DraftChanges(BTreeMap<Arc<str>, Record>);

impl Draft<'_> {
    /// The node as it will be after this draft.
    pub fn view(&self, path: &str) -> Option<View> {
        match self.records.get(path) {
            Some(record) => record.clone(),
            None => self.overlay.view(self.tree, path),
        }
    }

    /// The node will be like this.
    pub fn set(&mut self, path: &Arc<str>, view: View) {
        self.records.insert(path.clone(), Some(view));
    }

    /// The node will not exist.
    pub fn remove(&mut self, path: &Arc<str>) {
        self.records.insert(path.clone(), None);
    }

    /// The changes, to be merged.
    pub fn into_changes(self) -> DraftChanges {
        DraftChanges(self.records)
    }
}
