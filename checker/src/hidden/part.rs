//! A part of a case: some of its requests, up to some time.
//!
//! What makes a part fit to convict: if the whole has an order, so has the part. Three cuts
//! keep that true, and only these are made here.
//!
//! 1. *Reads go.* Whatever order explains the whole explains it without them.
//! 2. *What comes later goes.* All that was asked after a moment goes, and what was not yet
//!    answered then is of unknown fate. Take an order of the whole up to the last of its
//!    transactions that was answered, or seen by a read answered, by that moment: by W1 and R3
//!    everything in it had been asked by then, and it explains the part.
//! 3. *Other paths go.* Two paths are tied if one request touches both: the parts of a multi,
//!    and every node with its parent (whose list it is in, and whose counter names it). All
//!    requests on paths that nothing ties to the ones in question go, writes too: none of
//!    those changes, or looks at, what is kept. The root is always there, so it ties nothing
//!    unless a write, or what convicts, looks at its Stat, its children, its ACL or its
//!    counter, or changes it; other reads of it go.
//!
//! What a part is not fit for: to acquit. Reads of two paths that nothing ties are tied by the
//! session that reads them (`consistency.md` 3.1, the trap), so that each part may have an
//! order though the whole has none. Whoever acquits exhibits an order of the whole.
//!
//! Answers to: `consistency.md` 3.1 and 3.3 (components).

use crate::history::Op;
use crate::model::{NO_PATH, PathId, Paths};
use crate::walk::case::{Case, Request, RequestIndex};
use rustc_hash::FxHashSet;

/// The number of the root, the first path of every case.
const ROOT: PathId = 0;

/// Which requests are kept.
pub struct Part {
    /// Nothing that was asked later is kept, no answer that came later is known.
    pub until: u64,
    /// The requests that are kept; None keeps all.
    kept: Option<FxHashSet<RequestIndex>>,
}

impl Part {
    /// Everything.
    pub fn whole() -> Part {
        Part {
            until: u64::MAX,
            kept: None,
        }
    }

    /// What is tied to the paths that these records ask about, up to a time. None if that is
    /// everything, or nothing.
    pub fn tied_to(case: &mut Case<'_>, records: &[usize], until: u64) -> Option<Part> {
        let number = |record: &usize| case.request_of.get(*record).copied();
        let convicting: FxHashSet<RequestIndex> = records.iter().filter_map(number).collect();
        let touched = touched(case, &convicting);
        let mut ties = Ties::new(case.paths.len());
        for paths in &touched {
            for pair in paths.windows(2) {
                ties.tie(pair[0], pair[1]);
            }
        }
        let paths = convicting
            .iter()
            .filter_map(|&index| touched.get(index as usize));
        let wanted: FxHashSet<PathId> = paths.flatten().map(|&path| ties.top(path)).collect();
        let mut kept = FxHashSet::default();
        for (index, paths) in touched.iter().enumerate() {
            // Closes and syncs concern every path, and watches more than the one they name.
            let keep = match (paths.first(), case.requests[index].op) {
                (_, op) if matches!(op, Op::Close) || op.asks_no_node() => true,
                (Some(&path), _) => wanted.contains(&ties.top(path)),
                (None, _) => false,
            };
            if keep {
                kept.insert(index as RequestIndex);
            }
        }
        let proper = !wanted.is_empty() && kept.len() < case.requests.len();
        proper.then_some(Part {
            until,
            kept: Some(kept),
        })
    }

    /// True if a request is kept.
    pub fn keeps(&self, index: RequestIndex, request: &Request<'_>) -> bool {
        let kept = self.kept.as_ref();
        request.call <= self.until && kept.is_none_or(|kept| kept.contains(&index))
    }

    /// True if the answer to a request is known.
    pub fn answered(&self, request: &Request<'_>) -> bool {
        request.answer.is_some() && request.ret <= self.until
    }
}

/// The paths that each request touches, with their parents, but without the root where it
/// ties nothing: what only reads it goes then.
fn touched(case: &mut Case<'_>, convicting: &FxHashSet<RequestIndex>) -> Vec<Vec<PathId>> {
    let mut touched = Vec::with_capacity(case.requests.len());
    let mut root_matters = false;
    for (index, request) in case.requests.iter().enumerate() {
        let mut paths = Vec::new();
        touches(request.op, &mut case.paths, &mut paths);
        touched.push(paths);
        let stays = request.op.is_transaction() || convicting.contains(&(index as RequestIndex));
        root_matters |= stays && request.op.parts().iter().any(looks_at_root);
    }
    if !root_matters {
        for paths in &mut touched {
            paths.retain(|&path| path != ROOT);
        }
    }
    touched
}

fn touches<'h>(op: &'h Op, paths: &mut Paths<'h>, touched: &mut Vec<PathId>) {
    if let Op::Multi { ops } = op {
        ops.iter().for_each(|op| touches(op, paths, touched));
    }
    // A sync's path means nothing.
    if let (Some(path), false) = (op.path(), op.asks_no_node()) {
        let id = paths.id(path);
        let both = [id, paths.parent(id)];
        touched.extend(both.into_iter().filter(|&path| path != NO_PATH));
    }
}

/// True if a part of a request tells, or changes, more of the root than that it is there.
fn looks_at_root(op: &Op) -> bool {
    match op {
        Op::Create {
            path, sequential, ..
        } => &**path == "/" || *sequential && path.rfind('/') == Some(0),
        Op::Delete { path, .. }
        | Op::Exists { path, .. }
        | Op::Get { path, .. }
        | Op::Set { path, .. }
        | Op::Children { path, .. }
        | Op::GetAcl { path }
        | Op::SetAcl { path, .. }
        | Op::Check { path, .. } => &**path == "/",
        Op::Multi { .. }
        | Op::Sync { .. }
        | Op::AddWatch { .. }
        | Op::RemoveWatches { .. }
        | Op::Close => false,
    }
}

/// Union-find.
struct Ties {
    above: Vec<PathId>,
}

impl Ties {
    fn new(count: usize) -> Self {
        Ties {
            above: (0..count as PathId).collect(),
        }
    }

    fn top(&mut self, path: PathId) -> PathId {
        let mut top = path;
        while self.above[top as usize] != top {
            let next = self.above[top as usize];
            self.above[top as usize] = self.above[next as usize];
            top = next;
        }
        top
    }

    fn tie(&mut self, left: PathId, right: PathId) {
        let (left, right) = (self.top(left), self.top(right));
        self.above[left.max(right) as usize] = left.min(right);
    }
}
