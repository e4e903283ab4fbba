//! Lists of children against the lives of the children, and recorded changes of children
//! against every later Stat of the parent.
//!
//! Answers to: `consistency.md` P9.

use super::Overheard;
use crate::history::Op;
use crate::model::{NO_PATH, PathId};
use crate::verdict::{Property, Violation};
use crate::walk::case::RequestIndex;
use crate::walk::evidence::made;
use rustc_hash::{FxHashMap, FxHashSet};

impl Overheard<'_, '_> {
    /// P9: whoever lives all around a list of names is in it.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn check_listings(&mut self) -> Result<(), Box<Violation>> {
        let mut children: FxHashMap<PathId, Vec<PathId>> = FxHashMap::default();
        for &path in self.lives.keys() {
            let parent = self.paths.parent(path);
            if parent != NO_PATH && self.listings.contains_key(&parent) {
                children.entry(parent).or_default().push(path);
            }
        }
        let mut children: Vec<(PathId, Vec<PathId>)> = children.into_iter().collect();
        children.sort_unstable();
        let mut listed = FxHashSet::default();
        for (parent, mut known) in children {
            known.sort_unstable();
            for listing in std::mem::take(self.listings.entry(parent).or_default()) {
                listed.clear();
                listed.extend(
                    listing
                        .names
                        .iter()
                        .map(|name| self.paths.child(parent, name)),
                );
                for path in known.iter().filter(|path| !listed.contains(path)) {
                    let lives = &self.lives[path];
                    let next = lives.partition_point(|life| life.from <= listing.zxid);
                    let around = next.checked_sub(1).map(|place| lives[place]);
                    if let Some(life) = around.filter(|life| listing.zxid <= life.to) {
                        let reason = format!(
                            "{} was there from {:#x} to {:#x}, but is not in the list of {:#x}",
                            self.paths.name(*path),
                            life.from,
                            life.to,
                            listing.zxid
                        );
                        let indices = [life.first, listing.request, life.last];
                        return self.convict(Property::Durability, &indices, reason);
                    }
                }
            }
        }
        Ok(())
    }

    /// P9: a recorded create or delete of a child shows in the pzxid of every later Stat of
    /// the parent's same life.
    ///
    /// # Errors
    /// The first Stat that misses one.
    pub(super) fn check_children(&self) -> Result<(), Box<Violation>> {
        // By parent: when children came and went, and by whom.
        let mut changes: FxHashMap<PathId, Vec<(i64, RequestIndex)>> = FxHashMap::default();
        for (index, request) in self.deeds.requests(self.case) {
            for (op, answer) in super::deeds::parts(request) {
                let path = match op {
                    Op::Create { .. } => made(answer),
                    Op::Delete { path, .. } => Some(path),
                    _ => None,
                };
                let path = path.and_then(|path| self.paths.find(path));
                let parent = path.map_or(NO_PATH, |path| self.paths.parent(path));
                if parent != NO_PATH {
                    let changes = changes.entry(parent).or_default();
                    changes.push((request.zxid, index));
                }
            }
        }
        let mut parents: Vec<PathId> = changes.keys().copied().collect();
        parents.sort_unstable();
        for parent in parents {
            let changes = &changes[&parent];
            for sight in self.sights.get(&parent).into_iter().flatten() {
                let Some(stat) = sight.stat() else {
                    continue;
                };
                let seen = changes.partition_point(|&(zxid, _)| zxid <= sight.zxid);
                let last = seen.checked_sub(1).map(|last| changes[last]);
                if let Some((zxid, doer)) = last
                    && zxid > stat.czxid.max(stat.pzxid)
                {
                    let reason = format!(
                        "a child of {} came or went at {zxid:#x}, but at {:#x} the last change of its children is said to be of {:#x}",
                        self.paths.name(parent),
                        sight.zxid,
                        stat.pzxid
                    );
                    let indices = [doer, sight.request];
                    return self.convict(Property::Durability, &indices, reason);
                }
            }
        }
        Ok(())
    }
}
