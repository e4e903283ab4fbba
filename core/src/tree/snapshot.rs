//! The tree as it was at one moment, node by node, while transactions go on; and the way
//! back from such nodes to a tree.
//!
//! Any number of snapshots may be open. A write to a node that one has not reached yet
//! leaves the node's image with it, shared between all that need it; children are not part
//! of an image, as the keys tell them.
//!
//! What always holds: what is read from a snapshot is the tree of the moment it was opened;
//! a step visits a bounded number of nodes; [`TreeLoader`] accepts only nodes in key order
//! that form a tree with the promised digest.
//!
//! The layout of a node is in `docs/FORMATS.md`. ZooKeeper's own snapshots are fuzzy; ours
//! are not.

use super::acl::AclList;
use super::node::{Node, StoredStat};
use super::walk::{Seen, Walk};
use super::{DataTree, path};
use crate::base::Zxid;
use crate::base::limits::{SNAPSHOT_ACLS_MAX, SNAPSHOT_VISITS_MAX};
use crate::jute::{JuteError, Reader, Record, Writer};
use crate::proto::Acl;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An open snapshot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SnapshotId(pub u64);

/// Why nodes are not a tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// A node's bytes are malformed.
    #[error("malformed node: {0}")]
    Malformed(#[from] JuteError),
    /// A node does not fit those before it.
    #[error("misplaced node {path:?}: {what}")]
    Misplaced {
        /// What does not fit.
        what: &'static str,
        /// Which node.
        path: Arc<str>,
    },
    /// A node that is always there is not.
    #[error("a node that is always there is missing")]
    Incomplete,
    /// The nodes are not those that were written.
    #[error("digest {found:#x}, expected {expected:#x}")]
    Digest {
        /// The digest of the nodes.
        found: u64,
        /// The digest promised.
        expected: u64,
    },
}

/// A node as it was.
#[derive(Debug)]
struct Image {
    data: Option<Bytes>,
    acl: Arc<AclList>,
    stat: StoredStat,
}

impl Image {
    fn of(node: &Node) -> Image {
        Image {
            data: node.data().cloned(),
            acl: Arc::clone(node.acl()),
            stat: *node.stored(),
        }
    }
}

/// One open snapshot: where it is, and the ACLs it has written.
#[derive(Clone, Debug, Default)]
struct Open {
    walk: Walk<Arc<str>, Arc<Image>>,
    /// Lists written so far, by hash, with their numbers.
    acls: BTreeMap<u64, Vec<(Arc<AclList>, i32)>>,
    acls_len: i32,
}

/// Every open snapshot of a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Walks {
    open: BTreeMap<SnapshotId, Open>,
}

impl Walks {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Must be called before a node changes, comes (`None`) or goes.
    pub fn before_write(&mut self, path: &Arc<str>, node: Option<&Node>) {
        if self.open.is_empty() {
            return;
        }
        let mut image = None;
        for open in self.open.values_mut() {
            open.walk.before_write(path, || {
                let node = node?;
                Some(Arc::clone(
                    image.get_or_insert_with(|| Arc::new(Image::of(node))),
                ))
            });
        }
    }
}

impl DataTree {
    /// Opens a snapshot of the tree as it is now.
    ///
    /// # Panics
    /// When one with this id is open.
    pub fn snapshot_open(&mut self, id: SnapshotId) {
        let before = self.walks.open.insert(id, Open::default());
        assert!(before.is_none(), "snapshot {id:?} is open already");
    }

    /// Writes the next nodes, each framed by `frame`, until `out` holds `bytes_max` bytes or
    /// enough nodes were visited. True when there are no more.
    ///
    /// # Panics
    /// When no such snapshot is open.
    pub fn snapshot_step(
        &mut self,
        id: SnapshotId,
        out: &mut Writer,
        bytes_max: usize,
        mut frame: impl FnMut(&mut Writer, &mut dyn FnMut(&mut Writer)),
    ) -> bool {
        let open = self.walks.open.get_mut(&id);
        let Open {
            walk,
            acls,
            acls_len,
        } = open.expect("the snapshot is open");
        let mut visits = 0;
        walk.step(&self.nodes, |path, seen| {
            let mut put = |data: Option<&Bytes>, acl: &Arc<AclList>, stat: &StoredStat| {
                frame(out, &mut |out| {
                    out.string(path);
                    out.buffer(data.map(|data| &data[..]));
                    write_acl(acl, acls, acls_len, out);
                    stat.write(out);
                });
            };
            match seen {
                Seen::Live(node) => put(node.data(), node.acl(), node.stored()),
                Seen::Saved(image) => put(image.data.as_ref(), &image.acl, &image.stat),
                Seen::Absent => {}
            }
            visits += 1;
            out.len() < bytes_max && visits < SNAPSHOT_VISITS_MAX
        })
    }

    /// Closes a snapshot, finished or not; one that is not open is no matter.
    pub fn snapshot_close(&mut self, id: SnapshotId) {
        self.walks.open.remove(&id);
    }
}

/// A list's number; the first time it is used, the list itself follows.
fn write_acl(
    acl: &Arc<AclList>,
    acls: &mut BTreeMap<u64, Vec<(Arc<AclList>, i32)>>,
    acls_len: &mut i32,
    out: &mut Writer,
) {
    let bucket = acls.entry(acl.hash()).or_default();
    if let Some((_, number)) = bucket.iter().find(|(list, _)| list == acl) {
        out.int(*number);
        return;
    }
    out.int(*acls_len);
    out.records(Some(&acl[..]));
    if *acls_len < SNAPSHOT_ACLS_MAX {
        bucket.push((Arc::clone(acl), *acls_len));
        *acls_len += 1;
    }
}

/// Builds a tree from the nodes of a snapshot, in the order they were written.
#[derive(Clone, Debug)]
pub struct TreeLoader {
    tree: DataTree,
    digest: u64,
    acls: Vec<Vec<Acl>>,
    last: Option<Arc<str>>,
}

impl TreeLoader {
    /// A loader for the snapshot of a tree at `zxid` that had this digest.
    pub fn new(zxid: Zxid, digest: u64) -> TreeLoader {
        TreeLoader {
            tree: DataTree::empty(zxid),
            digest,
            acls: Vec::new(),
            last: None,
        }
    }

    /// Takes the next node.
    pub fn node(&mut self, from: &mut Reader<'_>) -> Result<(), LoadError> {
        let path = from.shared()?;
        let data = from.buffer()?;
        let misplaced = |what| LoadError::Misplaced {
            what,
            path: Arc::clone(&path),
        };
        let number = self.read_acl(from)?;
        let stat = StoredStat::read(from)?;
        if self.last.as_ref().is_some_and(|last| *last >= path) {
            return Err(misplaced("out of order"));
        }
        let zxid = self.tree.last_zxid;
        if stat.czxid.max(stat.mzxid).max(stat.pzxid) > zxid {
            return Err(misplaced("newer than the snapshot"));
        }
        self.last = Some(Arc::clone(&path));
        let loaded = match number {
            Known(n) => self.tree.load(Arc::clone(&path), data, &self.acls[n], stat),
            Once(acl) => self.tree.load(Arc::clone(&path), data, &acl, stat),
        };
        loaded.map_err(misplaced)
    }

    fn read_acl(&mut self, from: &mut Reader<'_>) -> Result<ReadAcl, JuteError> {
        let number = from.int()?;
        let n = usize::try_from(number).map_err(|_| JuteError::BadLength(number))?;
        if n < self.acls.len() {
            return Ok(Known(n));
        }
        if n > self.acls.len() {
            return Err(JuteError::BadValue(i64::from(number), "number of an ACL"));
        }
        let acl = from.records()?.ok_or(JuteError::UnexpectedNull)?;
        if number == SNAPSHOT_ACLS_MAX {
            return Ok(Once(acl));
        }
        self.acls.push(acl);
        Ok(Known(n))
    }

    /// The tree, when it is whole.
    pub fn finish(self) -> Result<DataTree, LoadError> {
        let always = [path::ROOT, path::ZOOKEEPER, path::QUOTA, path::CONFIG];
        if always.iter().any(|path| self.tree.get(path).is_none()) {
            return Err(LoadError::Incomplete);
        }
        if self.tree.digest != self.digest {
            return Err(LoadError::Digest {
                found: self.tree.digest,
                expected: self.digest,
            });
        }
        Ok(self.tree)
    }

    /// Nodes taken so far.
    pub fn node_count(&self) -> usize {
        self.tree.node_count()
    }
}

/// The ACL of a node being loaded.
enum ReadAcl {
    /// One of the numbered lists.
    Known(usize),
    /// A list beyond the numbered ones.
    Once(Vec<Acl>),
}
use ReadAcl::{Known, Once};
