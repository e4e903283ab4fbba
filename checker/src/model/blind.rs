//! The tree for those who know no zxids: answers are compared without them, and a state can
//! be recognised when another order of the same transactions leads to it again.
//!
//! What always holds of a blind tree: wall clock times that it learnt from an answer are
//! forgotten with the transaction in which it learnt them; a Stat of zeros was not recorded
//! and says nothing.
//!
//! Answers to: `consistency.md` 3.3.

use super::paths::PathId;
use super::tree::{Tree, Undo};
use std::hash::{DefaultHasher, Hash, Hasher};

impl Tree<'_> {
    /// From here on zxids in answers are not looked at, and everything can be taken back.
    pub fn go_blind(&mut self) {
        self.blind = true;
        self.keep_undo = true;
    }

    /// How much there is to take back.
    pub fn mark_undo(&self) -> usize {
        self.undo.len()
    }

    /// Takes back what changed since there was so much to take back.
    pub fn undo_to(&mut self, mark: usize) {
        while self.undo.len() > mark {
            self.take_back();
        }
    }

    /// The paths whose nodes changed, or were learnt about, since there was so much to take
    /// back; one may be named twice.
    pub fn changed_since(&self, mark: usize) -> impl Iterator<Item = PathId> + '_ {
        self.undo[mark..].iter().filter_map(|(_, undo)| match undo {
            Undo::Node { id, .. } => Some(*id),
            Undo::Event { .. } | Undo::Trace { .. } | Undo::End { .. } => None,
        })
    }

    /// A node in 128 bits: the same for the same state of the same path, whichever
    /// transactions led to it; 0 for what does not exist.
    pub fn digest(&self, id: PathId) -> u128 {
        let node = self.node(id);
        if !node.exists {
            return 0;
        }
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, id, node.owner, node.acl).hash(&mut hasher);
            (node.version, node.creates, node.aversion, node.children).hash(&mut hasher);
            (node.ctime, node.mtime, &node.data).hash(&mut hasher);
            hasher.finish()
        };
        u128::from(half(1)) << 64 | u128::from(half(2))
    }
}
