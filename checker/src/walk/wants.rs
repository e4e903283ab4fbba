//! What would have to have happened for a mismatch not to be one.
//!
//! A mismatch asks for very little: that a node had been made, or was gone, or had been
//! set once more. Only candidates that provide just that are worth placing. Beside it
//! stands the wider question which earlier choices could have anything to do with a
//! mismatch at all; it is answered in [`Aspect`]s, so that two children of one parent are
//! not taken for relatives.
//!
//! Always true: whatever set of unseen changes could mend a mismatch holds at least one
//! that provides one of its wants; what that one needs in turn shows as the next mismatch.

use crate::history::{ErrorCode, Op};
use crate::model::{Diff, NO_PATH, PathId, Paths, SessionIndex};

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

/// Whether a session has ended.
pub fn life(session: SessionIndex) -> Aspect {
    1 << 40 | u64::from(session)
}

/// A change that would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Want {
    /// The node made.
    Exists(PathId),
    /// The node gone.
    Absent(PathId),
    /// The node set.
    Set(PathId),
    /// The node's ACL changed.
    Acl(PathId),
    /// A child made.
    MoreKids(PathId),
    /// A child gone.
    FewerKids(PathId),
}

/// What a write provides, if it happens.
pub fn provided<'h>(op: &'h Op, paths: &mut Paths<'h>, provides: &mut Vec<Want>) {
    match op {
        Op::Create {
            path, sequential, ..
        } => {
            let path = paths.id(path);
            if !sequential {
                provides.push(Want::Exists(path));
            }
            provides.push(Want::MoreKids(paths.parent(path)));
        }
        Op::Delete { path, .. } => {
            let path = paths.id(path);
            provides.extend([Want::Absent(path), Want::FewerKids(paths.parent(path))]);
        }
        Op::Set { path, .. } => provides.push(Want::Set(paths.id(path))),
        Op::SetAcl { path, .. } => provides.push(Want::Acl(paths.id(path))),
        Op::Multi { ops } => ops.iter().for_each(|op| provided(op, paths, provides)),
        Op::Check { .. }
        | Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Sync { .. }
        | Op::Close => {}
    }
}

/// Everything a write changes or its outcome hangs on.
pub fn aspects<'h>(op: &'h Op, paths: &mut Paths<'h>, aspects: &mut Vec<Aspect>) {
    changes(op, paths, aspects);
    hangs_on(op, paths, aspects);
}

/// What a write changes, if it is carried out.
pub fn changes<'h>(op: &'h Op, paths: &mut Paths<'h>, changed: &mut Vec<Aspect>) {
    if let Op::Multi { ops } = op {
        return ops.iter().for_each(|op| changes(op, paths, changed));
    }
    let Some(path) = op.path() else { return };
    let path = paths.id(path);
    let parent = paths.parent(path);
    match op {
        Op::Create { .. } => changed.extend([itself(path), kids(parent), counter(parent)]),
        Op::Delete { .. } => changed.extend([itself(path), kids(parent)]),
        Op::Set { .. } | Op::SetAcl { .. } => changed.push(itself(path)),
        Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Check { .. }
        | Op::Multi { .. }
        | Op::Sync { .. }
        | Op::Close => {}
    }
}

/// What the outcome of a write hangs on.
pub fn hangs_on<'h>(op: &'h Op, paths: &mut Paths<'h>, needed: &mut Vec<Aspect>) {
    if let Op::Multi { ops } = op {
        return ops.iter().for_each(|op| hangs_on(op, paths, needed));
    }
    let Some(path) = op.path() else { return };
    let path = paths.id(path);
    let parent = paths.parent(path);
    match op {
        Op::Create { sequential, .. } => {
            needed.extend([itself(path), itself(parent)]);
            if *sequential {
                needed.push(counter(parent));
            }
        }
        Op::Delete { .. } => needed.extend([itself(path), kids(path), itself(parent)]),
        Op::Set { .. } | Op::SetAcl { .. } | Op::Check { .. } => needed.push(itself(path)),
        Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Multi { .. }
        | Op::Sync { .. }
        | Op::Close => {}
    }
}

/// What a difference hangs on.
pub fn diff_hangs_on(diff: &Diff, paths: &Paths<'_>, needed: &mut Vec<Aspect>) {
    // A sequential node has its name from its parent's counter.
    let existence = |path: PathId, needed: &mut Vec<Aspect>| {
        needed.push(itself(path));
        if path != NO_PATH && number_of(paths.name(path)).is_some() {
            needed.push(counter(paths.parent(path)));
        }
    };
    match *diff {
        Diff::Missing(path) | Diff::Extra(path) | Diff::Data(path) | Diff::Acl(path) => {
            existence(path, needed);
        }
        Diff::NameMissing {
            path,
            child: NO_PATH,
        } => needed.extend([kids(path), counter(path)]),
        Diff::NameMissing { child, .. }
        | Diff::NameExtra { child, .. }
        | Diff::NameTwice { child, .. } => existence(child, needed),
        Diff::Stat { path, field, .. } => {
            existence(path, needed);
            match field {
                "children made" => needed.push(counter(path)),
                "numChildren" | "cversion" | "pzxid" => needed.extend([kids(path), counter(path)]),
                _ => {}
            }
        }
        Diff::Access { path, .. } => {
            existence(path, needed);
            existence(paths.parent(path), needed);
        }
        Diff::Name { expected, .. } => {
            let parent = paths.parent(expected);
            needed.extend([counter(parent), itself(parent)]);
        }
        Diff::Outcome { path, .. } => {
            existence(path, needed);
            needed.push(kids(path));
            if path != NO_PATH {
                existence(paths.parent(path), needed);
            }
        }
        Diff::MultiForm | Diff::Kind => {}
    }
}

/// What would mend a difference; nothing if no unseen change could.
pub fn wants(diff: &Diff, paths: &Paths<'_>) -> Vec<Want> {
    match *diff {
        Diff::Missing(path) => vec![Want::Absent(path)],
        Diff::Extra(path) => vec![Want::Exists(path)],
        Diff::NameMissing {
            path,
            child: NO_PATH,
        } => vec![Want::FewerKids(path)],
        Diff::NameMissing { child, .. } => vec![Want::Absent(child)],
        Diff::NameExtra { child, .. } => vec![Want::Exists(child)],
        Diff::Stat {
            path,
            field,
            expected,
            got,
        } => match field {
            "version" if got > expected => vec![Want::Set(path)],
            "aversion" if got > expected => vec![Want::Acl(path)],
            "children made" if got > expected => vec![Want::MoreKids(path)],
            "numChildren" if got > expected => vec![Want::MoreKids(path)],
            "numChildren" | "cversion" => vec![Want::MoreKids(path), Want::FewerKids(path)],
            _ => Vec::new(),
        },
        Diff::Name {
            expected, ref got, ..
        } => match number_of(got) > number_of(paths.name(expected)) {
            true => vec![Want::MoreKids(paths.parent(expected))],
            false => Vec::new(),
        },
        Diff::Access { path, .. } => {
            let parent = paths.parent(path);
            [path, parent]
                .into_iter()
                .flat_map(|path| [Want::Acl(path), Want::Absent(path), Want::Exists(path)])
                .collect()
        }
        Diff::Outcome {
            expected,
            got,
            path,
            ..
        } => {
            let mut wants = Vec::new();
            unwanted(expected, path, paths, &mut wants);
            wanted(got, path, paths, &mut wants);
            wants.sort_unstable();
            wants.dedup();
            wants
        }
        Diff::Data(_) | Diff::NameTwice { .. } | Diff::Acl(_) | Diff::MultiForm | Diff::Kind => {
            Vec::new()
        }
    }
}

/// The number at the end of a sequential node's name.
fn number_of(name: &str) -> Option<i64> {
    let digits = name.len().checked_sub(10)?;
    name.get(digits..)?.parse().ok()
}

/// What takes the cause of an error away.
fn unwanted(expected: Option<ErrorCode>, path: PathId, paths: &Paths<'_>, wants: &mut Vec<Want>) {
    let parent = paths.parent(path);
    match expected {
        Some(ErrorCode::NO_NODE) => wants.extend([Want::Exists(path), Want::Exists(parent)]),
        Some(ErrorCode::BAD_VERSION) => {
            wants.extend([Want::Set(path), Want::Acl(path), Want::Absent(path)])
        }
        Some(ErrorCode::NODE_EXISTS) => wants.push(Want::Absent(path)),
        Some(ErrorCode::NOT_EMPTY) => wants.push(Want::FewerKids(path)),
        Some(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS) => wants.push(Want::Absent(parent)),
        Some(ErrorCode::NO_AUTH) => {
            for path in [path, parent] {
                wants.extend([Want::Acl(path), Want::Absent(path), Want::Exists(path)]);
            }
        }
        Some(_) | None => {}
    }
}

/// What causes an error.
fn wanted(got: Option<ErrorCode>, path: PathId, paths: &Paths<'_>, wants: &mut Vec<Want>) {
    let parent = paths.parent(path);
    match got {
        Some(ErrorCode::NO_NODE) => wants.extend([Want::Absent(path), Want::Absent(parent)]),
        Some(ErrorCode::BAD_VERSION) => {
            wants.extend([
                Want::Set(path),
                Want::Acl(path),
                Want::Absent(path),
                Want::Exists(path),
            ]);
        }
        Some(ErrorCode::NODE_EXISTS) => wants.push(Want::Exists(path)),
        Some(ErrorCode::NOT_EMPTY) => wants.extend([Want::MoreKids(path), Want::Exists(path)]),
        Some(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS) => {
            wants.extend([Want::Absent(parent), Want::Exists(parent)])
        }
        Some(_) | None => {}
    }
}
