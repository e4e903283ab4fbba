//! What each request looks at and what it changes: which two can be exchanged.
//!
//! Two requests of which neither changes what the other looks at give the same answers and the
//! same tree in either order. So whatever nobody was told of can be moved later in an order
//! until it stands right before something that it cannot be exchanged with, and the search
//! need not try it anywhere else.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions 4 and 5.

use crate::history::{Op, Start};
use crate::model::{NO_PATH, NO_SESSION, PathId, Paths};
use crate::walk::case::Case;
use crate::walk::makes_ephemeral;
use rustc_hash::FxHashSet;

/// What one request, or the end of a session, looks at and changes.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Paths whose nodes decide what it does, or answers.
    pub looks: Vec<PathId>,
    /// Paths whose nodes it may change.
    pub changes: Vec<PathId>,
}

/// The reach of several requests together.
#[derive(Debug, Default)]
pub struct Reached {
    looks: FxHashSet<PathId>,
    changes: FxHashSet<PathId>,
}

impl Reached {
    /// Adds one more.
    pub fn add(&mut self, reach: &Reach) {
        self.looks.extend(&reach.looks);
        self.changes.extend(&reach.changes);
    }

    /// Adds that a path is looked at.
    pub fn look(&mut self, path: PathId) {
        self.looks.insert(path);
    }

    /// True if one cannot be exchanged with all of these.
    pub fn meets(&self, reach: &Reach) -> bool {
        let seen = reach.changes.iter().any(|path| self.looks.contains(path));
        seen || reach.looks.iter().any(|path| self.changes.contains(path))
    }
}

/// The reach of every request and of the end of every session.
pub struct Reaches {
    /// By request.
    pub requests: Vec<Reach>,
    /// By session.
    pub ends: Vec<Reach>,
}

impl Reaches {
    /// Of a whole case.
    pub fn of(case: &mut Case<'_>) -> Self {
        let mut surveyor = Surveyor {
            numbered: FxHashSet::default(),
            root_acl: false,
        };
        for request in &case.requests {
            surveyor.survey(request.op, &mut case.paths);
        }
        let mut reaches = Reaches {
            requests: Vec::with_capacity(case.requests.len()),
            ends: vec![Reach::default(); case.sessions.len()],
        };
        for request in &case.requests {
            let mut reach = Reach::default();
            surveyor.reach(request.op, &mut case.paths, &mut reach);
            if makes_ephemeral(request.op)
                && let Some(end) = reaches.ends.get_mut(request.session as usize)
            {
                end.add(&reach.changes);
            }
            reaches.requests.push(reach);
        }
        reaches.add_owned_at_start(case);
        for (request, reach) in case.requests.iter().zip(&mut reaches.requests) {
            let end = reaches.ends.get(request.session as usize);
            if let (Op::Close, Some(end)) = (request.op, end) {
                *reach = end.clone();
            }
        }
        reaches
    }

    fn add_owned_at_start(&mut self, case: &mut Case<'_>) {
        let history = case.history;
        let Start::Nodes { nodes, .. } = &history.header.start else {
            return;
        };
        for node in nodes.iter().filter(|node| node.stat.ephemeral_owner != 0) {
            let path = case.paths.id(&node.path);
            let owner = case.index_of_session(node.stat.ephemeral_owner);
            if owner != NO_SESSION {
                self.ends[owner as usize].add(&[path, case.paths.parent(path)]);
            }
        }
    }
}

impl Reach {
    /// True if this may change what another looks at.
    pub fn decides(&self, other: &Reach) -> bool {
        self.changes.iter().any(|path| other.looks.contains(path))
    }

    /// Adds what the end of a session removes, which it also has to look at.
    fn add(&mut self, paths: &[PathId]) {
        self.looks.extend(paths);
        self.changes.extend(paths);
    }
}

/// What has to be known of all requests first.
struct Surveyor {
    /// Nodes below which children are made whose names tell their number.
    numbered: FxHashSet<PathId>,
    /// Whether the root's ACL ever changes.
    root_acl: bool,
}

impl Surveyor {
    fn survey<'h>(&mut self, op: &'h Op, paths: &mut Paths<'h>) {
        for part in op.parts() {
            if let Op::Create {
                path,
                sequential: true,
                ..
            } = part
            {
                let id = paths.id(path);
                self.numbered.insert(paths.parent(id));
            }
            self.root_acl |= matches!(part, Op::SetAcl { path, .. } if &**path == "/");
        }
    }

    fn reach<'h>(&self, op: &'h Op, paths: &mut Paths<'h>, reach: &mut Reach) {
        if let Op::Multi { ops } = op {
            ops.iter().for_each(|op| self.reach(op, paths, reach));
        }
        let Some(path) = op.path().filter(|_| !op.asks_no_node()) else {
            return;
        };
        let id = paths.id(path);
        let parent = paths.parent(id);
        reach.looks.push(id);
        // A node whose name tells a number is made by a request that does not name it.
        let numbered = self.numbered.contains(&parent);
        match op {
            Op::Create { .. } | Op::Delete { .. } => {
                // The root is always there; only its ACL and its counter can make a difference.
                let root = parent != NO_PATH && paths.parent(parent) == NO_PATH;
                if !root || numbered || self.root_acl {
                    reach.looks.push(parent);
                }
                reach.changes.extend([id, parent]);
            }
            Op::Set { .. } | Op::SetAcl { .. } => {
                reach.looks.extend(numbered.then_some(parent));
                reach.changes.push(id);
            }
            Op::Exists { .. }
            | Op::Get { .. }
            | Op::Children { .. }
            | Op::GetAcl { .. }
            | Op::Check { .. } => reach.looks.extend(numbered.then_some(parent)),
            Op::Multi { .. }
            | Op::Sync { .. }
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. }
            | Op::Close => {}
        }
    }
}
