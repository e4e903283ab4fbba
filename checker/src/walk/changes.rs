//! What a write changes, if it takes effect: the one place that says so.
//!
//! Everything that asks whether an unseen write could have to do with something asks it
//! here, in one of three grains: a [`Change`] (a child made), the [`Place`] whose counter or
//! zxid tells of it (the children of a node), the [`Aspect`] that choices are about.
//!
//! What it is not: a model. Whether a write takes effect, the tree decides.
//!
//! Answers to: `consistency.md` 3.0 (what a Stat says of which change).

use crate::history::Op;
use crate::model::{NO_PATH, PathId, Paths, SessionIndex};

/// One change of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// The node made.
    Made(PathId),
    /// The node gone.
    Gone(PathId),
    /// The node set.
    Set(PathId),
    /// The node's ACL changed.
    Acl(PathId),
    /// A child made.
    MoreKids(PathId),
    /// A child gone.
    FewerKids(PathId),
}

/// What of a node the fields of a Stat tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// That it is there, or not: czxid.
    Node,
    /// Its bytes: mzxid and version.
    Data,
    /// Its children: pzxid and cversion.
    Kids,
    /// How many children were ever made: cversion with numChildren, and the numbers in the
    /// names of sequential children.
    Made,
    /// Its ACL: aversion.
    Acl,
}

/// A part of a node.
pub type Place = (PathId, Part);

/// A third of a node, or the life of a session: what choices can be about.
pub type Aspect = u64;

/// Existence, data, version, ACL, owner.
pub fn itself(path: PathId) -> Aspect {
    u64::from(path) * 3
}

/// Which children there are, how many, and when that changed last.
pub fn kids(path: PathId) -> Aspect {
    u64::from(path) * 3 + 1
}

/// How many children were ever made: the source of sequence numbers.
pub fn counter(path: PathId) -> Aspect {
    u64::from(path) * 3 + 2
}

/// Whether there is a node, and which life of it: what its counters are counted from.
pub fn being(path: PathId) -> Aspect {
    1 << 41 | u64::from(path)
}

/// The path that an aspect is of; [`NO_PATH`] if it is a session's life.
pub fn path_of(aspect: Aspect) -> PathId {
    PathId::try_from(aspect / 3).unwrap_or(NO_PATH)
}

/// Whether a session has ended.
pub fn life(session: SessionIndex) -> Aspect {
    1 << 40 | u64::from(session)
}

impl Change {
    /// The path of the node that it changes.
    pub fn path(self) -> PathId {
        match self {
            Change::Made(path)
            | Change::Gone(path)
            | Change::Set(path)
            | Change::Acl(path)
            | Change::MoreKids(path)
            | Change::FewerKids(path) => path,
        }
    }

    /// The aspects that it changes.
    pub fn aspects(self) -> impl Iterator<Item = Aspect> {
        let (first, second) = match self {
            Change::Made(path) | Change::Gone(path) => (itself(path), Some(being(path))),
            Change::Set(path) | Change::Acl(path) => (itself(path), None),
            Change::MoreKids(path) => (kids(path), Some(counter(path))),
            Change::FewerKids(path) => (kids(path), None),
        };
        std::iter::once(first).chain(second)
    }

    /// The parts of nodes whose Stats tell of it.
    pub fn places(self) -> impl Iterator<Item = Place> {
        let (life, bytes) = match self {
            Change::Made(path) | Change::Gone(path) => {
                (Some((path, Part::Node)), Some((path, Part::Data)))
            }
            Change::Set(_) | Change::Acl(_) | Change::MoreKids(_) | Change::FewerKids(_) => {
                (None, None)
            }
        };
        life.into_iter().chain(bytes).chain(self.counted())
    }

    /// The parts of nodes that count it: version, aversion, cversion or the count of children
    /// made goes up by one.
    pub fn counted(self) -> impl Iterator<Item = Place> {
        let (first, second) = match self {
            Change::Set(path) => (Some((path, Part::Data)), None),
            Change::Acl(path) => (Some((path, Part::Acl)), None),
            Change::MoreKids(path) => (Some((path, Part::Kids)), Some((path, Part::Made))),
            Change::FewerKids(path) => (Some((path, Part::Kids)), None),
            Change::Made(_) | Change::Gone(_) => (None, None),
        };
        let parts = first.into_iter().chain(second);
        parts.filter(|&(path, _)| path != NO_PATH)
    }
}

/// What a write changes, if it takes effect, one part of a multi after the other. Which node
/// a sequential create makes is not known before.
pub fn each_change<'h>(op: &'h Op, paths: &mut Paths<'h>, visit: &mut impl FnMut(Change)) {
    if let Op::Multi { ops } = op {
        return ops.iter().for_each(|op| each_change(op, paths, visit));
    }
    let Some(path) = op.path() else { return };
    let path = paths.id(path);
    match op {
        Op::Create { sequential, .. } => {
            if !sequential {
                visit(Change::Made(path));
            }
            visit(Change::MoreKids(paths.parent(path)));
        }
        Op::Delete { .. } => {
            visit(Change::Gone(path));
            visit(Change::FewerKids(paths.parent(path)));
        }
        Op::Set { .. } => visit(Change::Set(path)),
        Op::SetAcl { .. } => visit(Change::Acl(path)),
        Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Check { .. }
        | Op::Multi { .. }
        | Op::Sync { .. }
        | Op::AddWatch { .. }
        | Op::RemoveWatches { .. }
        | Op::Close => {}
    }
}
