//! One znode: data, ACL, figures, children.
//!
//! What always holds: the hash of path and data is kept beside them, so that a change of a
//! figure never reads the data again.
//!
//! Answers to `DataNode` and `StatPersisted`.

use super::acl::AclList;
use super::digest::Mix;
use super::path;
use crate::base::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, Record, Writer};
use crate::proto::Stat;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The figures that are stored, 60 bytes; what clients see is computed from them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredStat {
    /// The transaction that created the node.
    pub czxid: Zxid,
    /// The transaction that last changed its data.
    pub mzxid: Zxid,
    /// When it was created, Unix ms.
    pub ctime: i64,
    /// When its data was last changed, Unix ms.
    pub mtime: i64,
    /// Changes of the data.
    pub version: i32,
    /// Creates of children: the counter behind sequence numbers.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// The owner of an ephemeral, else [`SessionId::NONE`].
    pub owner: SessionId,
    /// The transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

impl Record for StoredStat {
    fn write(&self, out: &mut Writer) {
        out.long(self.czxid.to_wire());
        out.long(self.mzxid.to_wire());
        out.long(self.ctime);
        out.long(self.mtime);
        out.int(self.version);
        out.int(self.cversion);
        out.int(self.aversion);
        out.long(self.owner.0);
        out.long(self.pzxid.to_wire());
    }

    fn read(from: &mut Reader<'_>) -> Result<StoredStat, JuteError> {
        Ok(StoredStat {
            czxid: Zxid::from_wire(from.long()?),
            mzxid: Zxid::from_wire(from.long()?),
            ctime: from.long()?,
            mtime: from.long()?,
            version: from.int()?,
            cversion: from.int()?,
            aversion: from.int()?,
            owner: SessionId(from.long()?),
            pzxid: Zxid::from_wire(from.long()?),
        })
    }
}

/// The version after `version`: one more, wrapping, but never -1, which means "any" in a
/// request.
pub const fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}

/// A znode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    path: Arc<str>,
    data: Option<Bytes>,
    acl: Arc<AclList>,
    pub(super) stat: StoredStat,
    /// Full paths: shared with the tree's keys, and in the order of the names.
    pub(super) children: BTreeSet<Arc<str>>,
    content_hash: u64,
}

const TAG_CONTENT: u64 = 3;
const TAG_NODE: u64 = 4;

impl Node {
    pub(super) fn new(
        path: Arc<str>,
        data: Option<Bytes>,
        acl: Arc<AclList>,
        stat: StoredStat,
    ) -> Node {
        Node {
            content_hash: content_hash(&path, data.as_deref()),
            path,
            data,
            acl,
            stat,
            children: BTreeSet::new(),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// Its data; null is not the same as empty.
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Its ACL.
    pub fn acl(&self) -> &Arc<AclList> {
        &self.acl
    }

    /// The stored figures.
    pub fn stored(&self) -> &StoredStat {
        &self.stat
    }

    /// The figures as clients see them.
    pub fn stat(&self) -> Stat {
        let stat = &self.stat;
        let num_children = wire_len(self.children.len());
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            // Creates twice, less those still there: creates and deletes.
            cversion: stat.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: stat.aversion,
            owner: stat.owner,
            data_length: wire_len(self.data.as_ref().map_or(0, Bytes::len)),
            num_children,
            pzxid: stat.pzxid,
        }
    }

    /// True when it belongs to a session.
    pub fn is_ephemeral(&self) -> bool {
        self.stat.owner != SessionId::NONE
    }

    /// How many children it has.
    pub fn child_count(&self) -> usize {
        self.children.len()
    }

    /// The children's names, ascending.
    pub fn child_names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|child| path::name(child))
    }

    pub(super) fn set_data(&mut self, data: Option<Bytes>) {
        self.content_hash = content_hash(&self.path, data.as_deref());
        self.data = data;
    }

    pub(super) fn replace_acl(&mut self, acl: Arc<AclList>) -> Arc<AclList> {
        std::mem::replace(&mut self.acl, acl)
    }

    /// Its share of the tree's digest.
    pub(super) fn digest(&self) -> u64 {
        let stat = &self.stat;
        Mix::new(TAG_NODE)
            .word(self.content_hash)
            .word(self.acl.hash())
            .word(stat.czxid.0)
            .word(stat.mzxid.0)
            .word(stat.pzxid.0)
            .long(stat.ctime)
            .long(stat.mtime)
            .ints(stat.version, stat.cversion)
            .ints(stat.aversion, 0)
            .long(stat.owner.0)
            .finish()
    }
}

fn content_hash(path: &str, data: Option<&[u8]>) -> u64 {
    Mix::new(TAG_CONTENT)
        .bytes(path.as_bytes())
        .opt_bytes(data)
        .finish()
}

fn wire_len(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_skip_minus_one() {
        assert_eq!(next_version(0), 1);
        assert_eq!(next_version(-1), 0);
        assert_eq!(next_version(-2), 0);
        assert_eq!(next_version(-3), -2);
        assert_eq!(next_version(i32::MAX), i32::MIN);
    }

    #[test]
    fn stored_figures_take_60_bytes() {
        assert_eq!(StoredStat::default().to_bytes().len(), 60);
    }
}
