//! Access-control lists, each different one kept once.
//!
//! Most nodes share a handful of lists, so a node holds a shared reference and the table
//! counts them; a list leaves with its last node.
//!
//! Answers to `ReferenceCountedACLCache`.

use super::digest::Mix;
use crate::proto::Acl;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// A list that nodes share, with its hash at hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclList {
    entries: Box<[Acl]>,
    hash: u64,
}

impl AclList {
    /// A list outside any table.
    pub fn new(entries: &[Acl]) -> AclList {
        AclList {
            hash: hash(entries),
            entries: entries.into(),
        }
    }

    /// A hash of the entries and their order.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl Deref for AclList {
    type Target = [Acl];

    fn deref(&self) -> &[Acl] {
        &self.entries
    }
}

fn hash(entries: &[Acl]) -> u64 {
    entries
        .iter()
        .fold(Mix::new(TAG_ACL).word(entries.len() as u64), |mix, acl| {
            mix.long(i64::from(acl.perms))
                .bytes(acl.id.scheme.as_bytes())
                .bytes(acl.id.id.as_bytes())
        })
        .finish()
}

const TAG_ACL: u64 = 2;

/// Every list in use, and by how many nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct AclTable {
    by_hash: BTreeMap<u64, Vec<(Arc<AclList>, usize)>>,
}

impl AclTable {
    /// The shared list with these entries, one use counted.
    pub fn intern(&mut self, entries: &[Acl]) -> Arc<AclList> {
        let hash = hash(entries);
        let bucket = self.by_hash.entry(hash).or_default();
        if let Some((list, uses)) = bucket.iter_mut().find(|(l, _)| *l.entries == *entries) {
            *uses += 1;
            return Arc::clone(list);
        }
        let list = Arc::new(AclList {
            entries: entries.into(),
            hash,
        });
        bucket.push((Arc::clone(&list), 1));
        list
    }

    /// Takes back one use.
    pub fn release(&mut self, list: &AclList) {
        let bucket = self.by_hash.get_mut(&list.hash);
        let bucket = bucket.expect("a node's list is in the table");
        let at = bucket.iter().position(|(l, _)| **l == *list);
        let at = at.expect("a node's list is in the table");
        bucket[at].1 -= 1;
        if bucket[at].1 == 0 {
            bucket.swap_remove(at);
            if bucket.is_empty() {
                self.by_hash.remove(&list.hash);
            }
        }
    }

    /// Different lists in use.
    pub fn len(&self) -> usize {
        self.by_hash.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Id;

    #[test]
    fn a_list_lives_as_long_as_its_nodes() {
        let mut table = AclTable::default();
        let one = table.intern(&Acl::open());
        let two = table.intern(&Acl::open());
        assert!(Arc::ptr_eq(&one, &two));
        let other = table.intern(&[Acl::new(1, Id::anyone())]);
        assert_eq!(table.len(), 2);
        table.release(&one);
        assert_eq!(table.len(), 2);
        table.release(&two);
        table.release(&other);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn order_matters() {
        let a = Acl::new(1, Id::anyone());
        let b = Acl::new(2, Id::anyone());
        let ab = AclList::new(&[a.clone(), b.clone()]);
        let ba = AclList::new(&[b, a]);
        assert_ne!(ab.hash(), ba.hash());
    }
}
