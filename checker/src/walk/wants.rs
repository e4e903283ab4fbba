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

use super::changes::{Aspect, Change, counter, each_change, itself, kids};
use crate::history::{ErrorCode, Op};
use crate::model::{Diff, NO_PATH, PathId, Paths};

/// Everything a write changes or its outcome hangs on.
pub fn aspects<'h>(op: &'h Op, paths: &mut Paths<'h>, aspects: &mut Vec<Aspect>) {
    each_change(op, paths, &mut |change| aspects.extend(change.aspects()));
    hangs_on(op, paths, aspects);
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
            needed.push(itself(parent));
            needed.push(if *sequential {
                counter(parent)
            } else {
                itself(path)
            });
        }
        Op::Delete { .. } => needed.extend([itself(path), kids(path), itself(parent)]),
        Op::Set { .. } | Op::SetAcl { .. } | Op::Check { .. } => needed.push(itself(path)),
        Op::Exists { .. }
        | Op::Get { .. }
        | Op::Children { .. }
        | Op::GetAcl { .. }
        | Op::Multi { .. }
        | Op::Sync { .. }
        | Op::AddWatch { .. }
        | Op::RemoveWatches { .. }
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
pub fn wants(diff: &Diff, paths: &Paths<'_>) -> Vec<Change> {
    match *diff {
        Diff::Missing(path) => vec![Change::Gone(path)],
        Diff::Extra(path) => vec![Change::Made(path)],
        Diff::NameMissing {
            path,
            child: NO_PATH,
        } => vec![Change::FewerKids(path)],
        Diff::NameMissing { child, .. } => vec![Change::Gone(child)],
        Diff::NameExtra { child, .. } => vec![Change::Made(child)],
        Diff::Stat {
            path,
            field,
            expected,
            got,
        } => match field {
            "version" if got > expected => vec![Change::Set(path)],
            "aversion" if got > expected => vec![Change::Acl(path)],
            "children made" if got > expected => vec![Change::MoreKids(path)],
            "numChildren" if got > expected => vec![Change::MoreKids(path)],
            "numChildren" => vec![Change::FewerKids(path)],
            "cversion" => vec![Change::MoreKids(path), Change::FewerKids(path)],
            _ => Vec::new(),
        },
        Diff::Name {
            expected, ref got, ..
        } => match number_of(got) > number_of(paths.name(expected)) {
            true => vec![Change::MoreKids(paths.parent(expected))],
            false => Vec::new(),
        },
        Diff::Access { path, .. } => {
            let parent = paths.parent(path);
            [path, parent]
                .into_iter()
                .flat_map(|path| [Change::Acl(path), Change::Gone(path), Change::Made(path)])
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

/// The node of which something was counted less often than it must have happened: whatever
/// mends that has not been placed, or too late.
pub fn short_of(diff: &Diff, paths: &Paths<'_>) -> Option<PathId> {
    match *diff {
        Diff::Stat {
            path,
            field: "version" | "aversion" | "children made",
            expected,
            got,
        } if got > expected => Some(path),
        Diff::Name { expected, ref got } if number_of(got) > number_of(paths.name(expected)) => {
            Some(paths.parent(expected))
        }
        Diff::Stat { .. }
        | Diff::Name { .. }
        | Diff::Missing(_)
        | Diff::Extra(_)
        | Diff::Data(_)
        | Diff::Acl(_)
        | Diff::NameMissing { .. }
        | Diff::NameExtra { .. }
        | Diff::NameTwice { .. }
        | Diff::Access { .. }
        | Diff::Outcome { .. }
        | Diff::MultiForm
        | Diff::Kind => None,
    }
}

/// The number at the end of a sequential node's name.
pub fn number_of(name: &str) -> Option<i64> {
    let digits = name.len().checked_sub(10)?;
    name.get(digits..)?.parse().ok()
}

/// What takes the cause of an error away.
fn unwanted(expected: Option<ErrorCode>, path: PathId, paths: &Paths<'_>, wants: &mut Vec<Change>) {
    let parent = paths.parent(path);
    match expected {
        Some(ErrorCode::NO_NODE) => wants.extend([Change::Made(path), Change::Made(parent)]),
        Some(ErrorCode::BAD_VERSION) => {
            wants.extend([Change::Set(path), Change::Acl(path), Change::Gone(path)])
        }
        Some(ErrorCode::NODE_EXISTS) => wants.push(Change::Gone(path)),
        Some(ErrorCode::NOT_EMPTY) => wants.push(Change::FewerKids(path)),
        Some(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS) => wants.push(Change::Gone(parent)),
        Some(ErrorCode::NO_AUTH) => {
            for path in [path, parent] {
                wants.extend([Change::Acl(path), Change::Gone(path), Change::Made(path)]);
            }
        }
        Some(_) | None => {}
    }
}

/// What causes an error.
fn wanted(got: Option<ErrorCode>, path: PathId, paths: &Paths<'_>, wants: &mut Vec<Change>) {
    let parent = paths.parent(path);
    match got {
        Some(ErrorCode::NO_NODE) => wants.extend([Change::Gone(path), Change::Gone(parent)]),
        Some(ErrorCode::BAD_VERSION) => {
            wants.extend([
                Change::Set(path),
                Change::Acl(path),
                Change::Gone(path),
                Change::Made(path),
            ]);
        }
        Some(ErrorCode::NODE_EXISTS) => wants.push(Change::Made(path)),
        Some(ErrorCode::NOT_EMPTY) => wants.extend([Change::MoreKids(path), Change::Made(path)]),
        Some(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS) => {
            wants.extend([Change::Gone(parent), Change::Made(parent)])
        }
        Some(_) | None => {}
    }
}
