//! What held of a path at a place where nobody looked.
//!
//! Versions only grow within a life. So where they were the same before and after, or have
//! not moved since the birth, nobody changed them in between; and where strangers have no
//! room they changed nothing at all. That also judges refusals, which show no Stat.
//!
//! Answers to: `consistency.md` P1, P2 (open world).

use super::Overheard;
use super::deeds::parts;
use crate::history::{ErrorCode, Op, Stat};
use crate::model::PathId;
use crate::verdict::{Property, Violation};
use crate::walk::case::RequestIndex;

/// A field that only grows within a life.
#[derive(Clone, Copy)]
pub struct Growing<T> {
    /// Reads it.
    pub of: fn(&Stat) -> T,
    /// What it is when a node has just been made, if that is the same for all.
    pub newborn: Option<T>,
    /// Only requests about the node itself change it, so that every recorded change is a sight.
    pub own: bool,
}

/// How often data was set.
const VERSION: Growing<i32> = Growing {
    of: |stat| stat.version,
    newborn: Some(0),
    own: true,
};

/// How often the ACL was set.
pub const AVERSION: Growing<i32> = Growing {
    of: |stat| stat.aversion,
    newborn: Some(0),
    own: true,
};

/// When children came or went last, and how many there are.
const CHILDREN: Growing<(i64, i32)> = Growing {
    of: |stat| (stat.pzxid, stat.num_children),
    newborn: None,
    own: false,
};

/// The owner, which never changes.
const OWNER: Growing<i64> = Growing {
    of: |stat| stat.ephemeral_owner,
    newborn: None,
    own: true,
};

/// A field at some place of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steady<T> {
    /// czxid of the node.
    pub life: i64,
    /// The field.
    pub value: T,
    /// Who saw that.
    pub request: RequestIndex,
}

impl Overheard<'_, '_> {
    /// What a field of the node at `path` was after `zxid`, if no stranger can have changed it
    /// from when it was seen; None also if there may have been no node.
    pub(super) fn steady<T: Copy + PartialEq>(
        &self,
        path: PathId,
        zxid: i64,
        field: Growing<T>,
    ) -> Option<Steady<T>> {
        let sights = self.sights.get(&path)?;
        let (past, future) = sights.split_at(sights.partition_point(|sight| sight.zxid <= zxid));
        let last = past.last().map_or(i64::MIN, |sight| sight.zxid);
        let at_last = past.iter().rev().take_while(|sight| sight.zxid == last);
        let before = at_last.clone().find_map(|sight| {
            // A create that was told no Stat.
            let fresh = sight.life().and(field.newborn);
            let value = sight.stat().map(field.of).or(fresh)?;
            let (life, request) = (sight.life()?, sight.request);
            Some(Steady {
                life,
                value,
                request,
            })
        });
        let after = future.first().and_then(|sight| {
            let (life, value) = (sight.life()?, (field.of)(sight.stat()?));
            let request = sight.request;
            Some(Steady {
                life,
                value,
                request,
            })
        });
        if let Some(after) = after {
            let same = |before: Steady<T>| (before.life, before.value) == (after.life, after.value);
            let unborn = after.life <= zxid && field.newborn == Some(after.value);
            if unborn || before.is_some_and(same) {
                return Some(after);
            }
        }
        let owner = at_last.clone().find_map(|sight| match sight.stat() {
            Some(stat) => Some(stat.ephemeral_owner),
            None => self.makes_to_stay(sight.request).then_some(0),
        })?;
        let ended = self.deeds.closed(owner);
        let gone = ended.is_some_and(|(end, _)| last < end && end <= zxid);
        before.filter(|_| field.own && !gone && !self.deeds.room(last, zxid))
    }

    /// True if whatever a request made is no ephemeral.
    fn makes_to_stay(&self, request: RequestIndex) -> bool {
        let request = &self.case.requests[request as usize];
        parts(request).all(|(op, _)| {
            !matches!(
                op,
                Op::Create {
                    ephemeral: true,
                    ..
                }
            )
        })
    }

    /// True if surely no node was at `path` after `zxid`.
    fn surely_absent(&self, path: PathId, zxid: i64) -> Option<RequestIndex> {
        let sights = self.sights.get(&path)?;
        let past = sights.partition_point(|sight| sight.zxid <= zxid);
        let last = sights[..past].last().filter(|sight| sight.is_absent())?;
        (!self.deeds.room(last.zxid, zxid)).then_some(last.request)
    }

    /// P1 and P2: writes that were refused for a reason that did not hold.
    ///
    /// # Errors
    /// The first.
    pub(super) fn check_refusals(&self) -> Result<(), Box<Violation>> {
        for (index, request) in self.deeds.requests(self.case) {
            let Some(Err(code)) = request.answer else {
                continue;
            };
            let zxid = request.zxid;
            let name = self.paths.name(request.path);
            match (request.op, *code) {
                (Op::Set { version, .. } | Op::Delete { version, .. }, ErrorCode::BAD_VERSION) => {
                    let steady = self.steady(request.path, zxid, VERSION);
                    if let Some(known) = steady.filter(|known| known.value == *version) {
                        let reason = format!(
                            "version {version} of {name} was refused at {zxid:#x}, though it was the node's"
                        );
                        let told = [known.request, index];
                        return self.convict(Property::ConditionalWrites, &told, reason);
                    }
                }
                (Op::Delete { .. }, ErrorCode::NOT_EMPTY) => {
                    let steady = self.steady(request.path, zxid, CHILDREN);
                    if let Some(known) = steady.filter(|known| known.value.1 == 0) {
                        let reason = format!(
                            "a delete of {name} was refused at {zxid:#x} for its children, but it had none"
                        );
                        let told = [known.request, index];
                        return self.convict(Property::LinearizableWrites, &told, reason);
                    }
                }
                (
                    Op::Create {
                        sequential: false, ..
                    },
                    ErrorCode::NODE_EXISTS,
                ) => {
                    if let Some(witness) = self.surely_absent(request.path, zxid) {
                        let reason = format!(
                            "a create of {name} was refused at {zxid:#x} because it was there, but it was not"
                        );
                        let told = [witness, index];
                        return self.convict(Property::LinearizableWrites, &told, reason);
                    }
                }
                (Op::Create { .. }, ErrorCode::NO_CHILDREN_FOR_EPHEMERALS) => {
                    let parent = self.paths.parent(request.path);
                    let steady = self.steady(parent, zxid, OWNER);
                    if let Some(known) = steady.filter(|known| known.value == 0) {
                        let reason = format!(
                            "a create of {name} was refused at {zxid:#x} for an ephemeral parent, which it had not"
                        );
                        let told = [known.request, index];
                        return self.convict(Property::LinearizableWrites, &told, reason);
                    }
                }
                (_, _) => {}
            }
        }
        Ok(())
    }
}
