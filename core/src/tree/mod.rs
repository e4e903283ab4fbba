//! The tree of znodes: what the committed transactions so far have made.
//!
//! It applies transaction records, answers lookups, says what changed ([`TreeEvent`]) and
//! can be walked as it was at one moment ([`snapshot`]). It decides nothing: whether a
//! request is allowed was decided before the record was proposed. It has never heard of
//! sessions beyond the number that owns an ephemeral, nor of who watches.
//!
//! What always holds: it holds exactly the committed prefix of the order up to
//! [`DataTree::last_zxid`], so a record that does not fit it is a broken invariant and an
//! [`ApplyError`], and nothing is replayed. Equal trees have equal digests however they came
//! about. `/`, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config` are always there.
//! Nothing recurses, so depth costs nothing but the length of paths.
//!
//! Answers to `DataTree` and `DigestCalculator`.

pub mod acl;
pub mod digest;
pub mod node;
pub mod path;
pub mod snapshot;
pub mod walk;

pub use acl::AclList;
pub use node::{Node, StoredStat, next_version};
pub use snapshot::{SnapshotId, TreeLoader};

use crate::base::{SessionId, Zxid};
use crate::proto::{Acl, CreateOp, EventType, Stat};
use crate::txn::{CreateTxn, Txn, TxnHeader};
use acl::AclTable;
use bytes::Bytes;
use snapshot::Walks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A record does not fit the tree: leader and tree disagree about the past. The tree may
/// hold a part of it; whoever sees this must stop.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("transaction {zxid:?} does not fit the tree: {what} ({path:?})")]
pub struct ApplyError {
    /// The record's zxid.
    pub zxid: Zxid,
    /// What does not fit.
    pub what: &'static str,
    /// At which node.
    pub path: Arc<str>,
}

/// What a record did, for the reply to whoever asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxnResult {
    /// A session was opened.
    SessionCreated,
    /// A session was closed.
    SessionClosed,
    /// It had failed; the code as on the wire.
    Error(i32),
    /// A node came to be.
    Created {
        /// By which operation.
        op: CreateOp,
        /// Where.
        path: Arc<str>,
        /// Its figures.
        stat: Stat,
    },
    /// A node went.
    Deleted,
    /// Data were replaced.
    DataSet {
        /// The figures after it.
        stat: Stat,
    },
    /// An ACL was replaced.
    AclSet {
        /// The figures after it.
        stat: Stat,
    },
    /// A version was compared.
    Checked,
    /// Several in one, in order.
    Multi(Vec<TxnResult>),
}

/// Something that watches may wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeEvent {
    /// What happened.
    pub kind: EventType,
    /// To which node.
    pub path: Arc<str>,
    /// The ACL that decides who may hear of it: that of the node, also of one just deleted.
    pub acl: Arc<AclList>,
}

/// What applying one record came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// For the reply.
    pub result: TxnResult,
    /// For the watches, in the order they are to be told.
    pub events: Vec<TreeEvent>,
}

/// The znodes.
#[derive(Clone, Debug)]
pub struct DataTree {
    nodes: BTreeMap<Arc<str>, Node>,
    acls: AclTable,
    ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    digest: u64,
    last_zxid: Zxid,
    walks: Walks,
}

impl DataTree {
    /// The tree before the first transaction: the four nodes that are always there. (The
    /// figures of `/zookeeper/config` are those of an ensemble's, where -1 means that no
    /// change was ever made.)
    pub fn new() -> DataTree {
        let mut tree = DataTree::empty(Zxid::ZERO);
        let plain = StoredStat::default();
        let config = StoredStat {
            version: -1,
            aversion: -1,
            ..plain
        };
        for (path, acl, stat) in [
            (path::ROOT, Acl::open(), plain),
            (path::ZOOKEEPER, Acl::open(), plain),
            (path::CONFIG, Acl::read_only(), config),
            (path::QUOTA, Acl::open(), plain),
        ] {
            let fits = tree.load(path.into(), Some(Bytes::new()), &acl, stat);
            assert_eq!(fits, Ok(()), "the first nodes fit");
        }
        tree
    }

    fn empty(last_zxid: Zxid) -> DataTree {
        DataTree {
            nodes: BTreeMap::new(),
            acls: AclTable::default(),
            ephemerals: BTreeMap::new(),
            digest: 0,
            last_zxid,
            walks: Walks::default(),
        }
    }

    /// The node at a path. The empty path is the root, as ZooKeeper's reads have it.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes
            .get(if path.is_empty() { path::ROOT } else { path })
    }

    /// The last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// A number that equal trees share: the sum of one hash per node, over path, data, ACL
    /// and stored figures.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Different ACLs in use.
    pub fn acl_count(&self) -> usize {
        self.acls.len()
    }

    /// Every node, in key order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The ephemerals of a session, in key order.
    pub fn ephemerals(&self, owner: SessionId) -> impl Iterator<Item = &Arc<str>> {
        self.ephemerals.get(&owner).into_iter().flatten()
    }

    /// Sessions that own ephemerals.
    pub fn owners(&self) -> impl Iterator<Item = SessionId> {
        self.ephemerals.keys().copied()
    }

    /// Applies the next record.
    ///
    /// # Panics
    /// When the record is not the next one: the log below promises that.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn) -> Result<Applied, ApplyError> {
        assert!(
            self.last_zxid.precedes(header.zxid),
            "{:?} was applied after {:?}",
            header.zxid,
            self.last_zxid
        );
        let mut step = Step {
            tree: self,
            header,
            events: Vec::new(),
        };
        let result = step.one(txn)?;
        let events = step.events;
        self.last_zxid = header.zxid;
        Ok(Applied { result, events })
    }

    /// Changes a node, keeping the digest and the open walks right.
    fn edit<R>(&mut self, path: &str, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let node = self.nodes.get_mut(path)?;
        self.walks.before_write(node.path(), Some(node));
        let before = node.digest();
        let out = change(node);
        let after = node.digest();
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        Some(out)
    }

    /// Puts a node where none is. Its parent is not touched.
    fn insert(&mut self, node: Node) -> Result<(), &'static str> {
        let path = Arc::clone(node.path());
        self.walks.before_write(&path, None);
        if node.is_ephemeral() {
            self.ephemerals
                .entry(node.stat.owner)
                .or_default()
                .insert(Arc::clone(&path));
        }
        self.digest = self.digest.wrapping_add(node.digest());
        match self.nodes.insert(path, node) {
            None => Ok(()),
            Some(_) => Err("the node exists"),
        }
    }

    /// Takes a node away. Its parent is not touched.
    fn remove(&mut self, path: &str) -> Option<Node> {
        if !self.walks.is_empty() {
            let node = self.nodes.get(path)?;
            self.walks.before_write(node.path(), Some(node));
        }
        let node = self.nodes.remove(path)?;
        self.digest = self.digest.wrapping_sub(node.digest());
        self.acls.release(node.acl());
        if node.is_ephemeral() {
            let owned = self.ephemerals.get_mut(&node.stat.owner);
            let owned = owned.expect("every ephemeral is listed under its owner");
            owned.remove(path);
            if owned.is_empty() {
                self.ephemerals.remove(&node.stat.owner);
            }
        }
        Some(node)
    }

    /// Puts a node with its figures under its parent, whose figures know of it already.
    fn load(
        &mut self,
        path: Arc<str>,
        data: Option<Bytes>,
        acl: &[Acl],
        stat: StoredStat,
    ) -> Result<(), &'static str> {
        path::validate(&path).map_err(|_| "the path is invalid")?;
        if &*path != path::ROOT {
            let parent = path::parent(&path).and_then(|parent| self.nodes.get_mut(parent));
            let parent = parent.ok_or("the parent is missing")?;
            if parent.is_ephemeral() {
                return Err("the parent is ephemeral");
            }
            parent.children.insert(Arc::clone(&path));
        }
        let acl = self.acls.intern(acl);
        self.insert(Node::new(path, data, acl, stat))
    }
}

impl Default for DataTree {
    fn default() -> Self {
        DataTree::new()
    }
}

/// Two trees are equal when their nodes and their place in the order are; open snapshots
/// are not looked at.
impl PartialEq for DataTree {
    fn eq(&self, other: &DataTree) -> bool {
        self.last_zxid == other.last_zxid && self.nodes == other.nodes
    }
}

impl Eq for DataTree {}

/// One record on its way into the tree.
struct Step<'a> {
    tree: &'a mut DataTree,
    header: &'a TxnHeader,
    events: Vec<TreeEvent>,
}

impl Step<'_> {
    fn misfit(&self, what: &'static str, path: &Arc<str>) -> ApplyError {
        ApplyError {
            zxid: self.header.zxid,
            what,
            path: Arc::clone(path),
        }
    }

    fn event(&mut self, kind: EventType, path: Arc<str>, acl: Arc<AclList>) {
        self.events.push(TreeEvent { kind, path, acl });
    }

    fn one(&mut self, txn: &Txn) -> Result<TxnResult, ApplyError> {
        match txn {
            Txn::CreateSession { .. } => Ok(TxnResult::SessionCreated),
            Txn::CloseSession { paths } => self.close_session(paths.as_deref()),
            Txn::Error { code } => Ok(TxnResult::Error(*code)),
            Txn::Create(create) => self.create(create),
            Txn::Delete { path } => self.delete(path).map(|()| TxnResult::Deleted),
            Txn::SetData {
                path,
                data,
                version,
            } => self.set_data(path, data, *version),
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Txn::Check { path, version } => self.check(path, *version),
            Txn::Multi(parts) => self.multi(parts),
        }
    }

    fn create(&mut self, create: &CreateTxn) -> Result<TxnResult, ApplyError> {
        let path = &create.path;
        let header = self.header;
        let owner = match create.ephemeral {
            true => header.session,
            false => SessionId::NONE,
        };
        if create.ephemeral && owner == SessionId::NONE {
            return Err(self.misfit("an ephemeral has no owner", path));
        }
        path::validate(path).map_err(|_| self.misfit("the path is invalid", path))?;
        if &**path == path::ROOT {
            return Err(self.misfit("the node exists", path));
        }
        let above = path::parent(path).expect("a valid path has a parent");
        let under = self.tree.edit(above, |parent| {
            if parent.is_ephemeral() {
                return Err("the parent is ephemeral");
            }
            let counter = parent.stat.cversion.wrapping_add(1);
            if create.parent_cversion != counter && create.parent_cversion != -1 {
                return Err("the parent's counter is another");
            }
            parent.stat.cversion = counter;
            parent.stat.pzxid = header.zxid;
            parent.children.insert(Arc::clone(path));
            Ok((Arc::clone(parent.path()), Arc::clone(parent.acl())))
        });
        let under = under.unwrap_or(Err("the parent is missing"));
        let (parent_path, parent_acl) = under.map_err(|what| self.misfit(what, path))?;
        let acl = self.tree.acls.intern(&create.acl);
        let stat = StoredStat {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            owner,
            ..StoredStat::default()
        };
        let node = Node::new(
            Arc::clone(path),
            create.data.clone(),
            Arc::clone(&acl),
            stat,
        );
        let stat = node.stat();
        let inserted = self.tree.insert(node);
        inserted.map_err(|what| self.misfit(what, path))?;
        self.event(EventType::NodeCreated, Arc::clone(path), acl);
        self.event(EventType::NodeChildrenChanged, parent_path, parent_acl);
        Ok(TxnResult::Created {
            op: create.op,
            path: Arc::clone(path),
            stat,
        })
    }

    fn delete(&mut self, path: &Arc<str>) -> Result<(), ApplyError> {
        if path::is_protected(path) {
            return Err(self.misfit("the node can never go", path));
        }
        let Some(node) = self.tree.remove(path) else {
            return Err(self.misfit("the node is missing", path));
        };
        if node.child_count() > 0 {
            return Err(self.misfit("the node has children", path));
        }
        let zxid = self.header.zxid;
        let above = path::parent(path).expect("a node's path has a parent");
        let under = self.tree.edit(above, |parent| {
            parent.children.remove(path);
            parent.stat.pzxid = parent.stat.pzxid.max(zxid);
            (Arc::clone(parent.path()), Arc::clone(parent.acl()))
        });
        let (parent_path, parent_acl) = under.expect("a node's parent is there");
        let acl = Arc::clone(node.acl());
        self.event(EventType::NodeDeleted, Arc::clone(node.path()), acl);
        self.event(EventType::NodeChildrenChanged, parent_path, parent_acl);
        Ok(())
    }

    fn set_data(
        &mut self,
        path: &Arc<str>,
        data: &Option<Bytes>,
        version: i32,
    ) -> Result<TxnResult, ApplyError> {
        let header = self.header;
        // The membership's node never counts its changes.
        let uncounted = version == -1 && &**path == path::CONFIG;
        let changed = self.tree.edit(path, |node| {
            if version != next_version(node.stat.version) && !uncounted {
                return Err("the version is another");
            }
            node.set_data(data.clone());
            node.stat.version = version;
            node.stat.mzxid = header.zxid;
            node.stat.mtime = header.time_ms;
            Ok((Arc::clone(node.path()), Arc::clone(node.acl()), node.stat()))
        });
        let changed = changed.unwrap_or(Err("the node is missing"));
        let (shared, acl, stat) = changed.map_err(|what| self.misfit(what, path))?;
        self.event(EventType::NodeDataChanged, shared, acl);
        Ok(TxnResult::DataSet { stat })
    }

    fn set_acl(
        &mut self,
        path: &Arc<str>,
        acl: &[Acl],
        version: i32,
    ) -> Result<TxnResult, ApplyError> {
        let acl = self.tree.acls.intern(acl);
        let changed = self.tree.edit(path, |node| {
            if version != next_version(node.stat.aversion) {
                return Err("the ACL version is another");
            }
            let old = node.replace_acl(acl);
            node.stat.aversion = version;
            Ok((old, node.stat()))
        });
        let changed = changed.unwrap_or(Err("the node is missing"));
        let (old, stat) = changed.map_err(|what| self.misfit(what, path))?;
        self.tree.acls.release(&old);
        Ok(TxnResult::AclSet { stat })
    }

    fn check(&mut self, path: &Arc<str>, version: i32) -> Result<TxnResult, ApplyError> {
        match self.tree.get(path) {
            None => Err(self.misfit("the node is missing", path)),
            Some(node) if version != -1 && version != node.stat.version => {
                Err(self.misfit("the version is another", path))
            }
            Some(_) => Ok(TxnResult::Checked),
        }
    }

    fn multi(&mut self, parts: &[Txn]) -> Result<TxnResult, ApplyError> {
        let failed = parts.iter().any(|part| matches!(part, Txn::Error { .. }));
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            let fits = match part {
                Txn::Error { .. } => true,
                Txn::Create(_) | Txn::Delete { .. } | Txn::SetData { .. } | Txn::Check { .. } => {
                    !failed
                }
                Txn::CreateSession { .. }
                | Txn::CloseSession { .. }
                | Txn::SetAcl { .. }
                | Txn::Multi(_) => false,
            };
            if !fits {
                return Err(self.misfit("a multi has a part it cannot have", &path::ROOT.into()));
            }
            results.push(self.one(part)?);
        }
        Ok(TxnResult::Multi(results))
    }

    /// Deletes what the record lists, then what the session still owns here (older records
    /// list nothing).
    fn close_session(&mut self, paths: Option<&[Arc<str>]>) -> Result<TxnResult, ApplyError> {
        let session = self.header.session;
        for path in paths.unwrap_or_default() {
            if self.tree.get(path).map(|node| node.stat.owner) != Some(session) {
                return Err(self.misfit("the session does not own the node", path));
            }
            self.delete(path)?;
        }
        let left = self.tree.ephemerals.get(&session).cloned();
        for path in left.unwrap_or_default() {
            self.delete(&path)?;
        }
        Ok(TxnResult::SessionClosed)
    }
}
