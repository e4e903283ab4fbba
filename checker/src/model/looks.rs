//! Looks: what a node says of itself, and how that differs from what a client was told.
//!
//! A Stat follows from the transactions that touched the node, except for wall clock times,
//! which are learnt from the first client that saw them. Lists of names are compared by
//! marks, because no list of children is kept.
//!
//! Answers to: `protocol.md` 9.1 and 10; P17.

use super::acl::OPEN;
use super::paths::PathId;
use super::tree::{TIME_UNKNOWN, Tree};
use crate::explain::words;
use crate::history::{Lapse, StartNode, Stat};

impl Tree<'_> {
    /// The first field in which a Stat differs from the node: its name, what it should be,
    /// what it was said to be. Wall clock times nobody has seen before are learnt.
    pub fn stat_differs(&mut self, id: PathId, seen: &Stat) -> Option<(&'static str, i64, i64)> {
        let owner = self
            .session_ids
            .get(self.node(id).owner as usize)
            .copied()
            .unwrap_or(0);
        let node = &mut self.nodes[id as usize];
        // Some servers show what they keep there (ClickHouse Keeper).
        let owner = match node.lapse {
            Some(lapse) if seen.ephemeral_owner == lapse.owner() => lapse.owner(),
            Some(_) | None => owner,
        };
        if node.opaque || self.blind && *seen == Stat::default() {
            return None;
        }
        let (czxid, mzxid, pzxid) = match self.blind {
            true => (seen.czxid, seen.mzxid, seen.pzxid),
            false => (node.czxid, node.mzxid, node.pzxid),
        };
        let data_length = node
            .data
            .as_ref()
            .map_or(0, |data| data.bytes().len() as i64);
        let cversion = node.creates.wrapping_mul(2).wrapping_sub(node.children);
        // The reported cversion hides a counter that only ever grows.
        let made = seen.cversion.wrapping_add(seen.num_children) / 2;
        let fields = [
            ("czxid", czxid, seen.czxid),
            ("mzxid", mzxid, seen.mzxid),
            ("version", node.version.into(), seen.version.into()),
            ("ephemeralOwner", owner, seen.ephemeral_owner),
            ("aversion", node.aversion.into(), seen.aversion.into()),
            ("children made", node.creates.into(), made.into()),
            (
                "numChildren",
                node.children.into(),
                seen.num_children.into(),
            ),
            ("cversion", cversion.into(), seen.cversion.into()),
            ("pzxid", pzxid, seen.pzxid),
            ("dataLength", data_length, seen.data_length.into()),
        ];
        let differing = fields
            .iter()
            .fold(0, |bits, (_, expected, got)| bits | (expected ^ got));
        if differing != 0 {
            return fields
                .into_iter()
                .find(|(_, expected, got)| expected != got);
        }
        if self.blind && (node.ctime == TIME_UNKNOWN || node.mtime == TIME_UNKNOWN) {
            self.touch(id);
        }
        let node = &mut self.nodes[id as usize];
        for (field, known, got) in [
            ("ctime", &mut node.ctime, seen.ctime),
            ("mtime", &mut node.mtime, seen.mtime),
        ] {
            if *known == TIME_UNKNOWN {
                *known = got;
            } else if *known != got {
                return Some((field, *known, got));
            }
        }
        None
    }

    /// Starts a comparison of a list of names with the children of a node.
    pub fn next_generation(&mut self) {
        self.generation += 1;
        if self.nodes.len() < self.paths.len() {
            self.grow();
        }
    }

    /// Marks a path; false if it was marked in this comparison before.
    pub fn mark(&mut self, id: PathId) -> bool {
        if self.marks.len() <= id as usize {
            self.grow();
        }
        let fresh = self.marks[id as usize] != self.generation;
        self.marks[id as usize] = self.generation;
        fresh
    }

    /// A child of `parent` that is not marked.
    pub fn unmarked_child(&self, parent: PathId) -> Option<PathId> {
        (0..self.nodes.len() as PathId).find(|&id| {
            self.paths.parent(id) == parent
                && self.node(id).exists
                && self.marks[id as usize] != self.generation
        })
    }

    /// Every node as it stands, in the order of paths, for a history that begins here. A
    /// wall clock time that nobody has seen stays unknown.
    pub fn start_nodes(&self) -> Vec<StartNode> {
        let existing = (0..self.nodes.len() as PathId).filter(|&id| {
            let node = self.node(id);
            node.exists && !node.opaque
        });
        let mut nodes: Vec<StartNode> = existing.map(|id| self.start_node(id)).collect();
        nodes.sort_by(|left, right| left.path.cmp(&right.path));
        nodes
    }

    fn start_node(&self, id: PathId) -> StartNode {
        let node = self.node(id);
        let owner = self.session_ids.get(node.owner as usize);
        let stat = Stat {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: node.creates.wrapping_mul(2).wrapping_sub(node.children),
            aversion: node.aversion,
            ephemeral_owner: owner.copied().unwrap_or(0),
            data_length: node
                .data
                .as_ref()
                .map_or(0, |data| data.bytes().len() as i32),
            num_children: node.children,
            pzxid: node.pzxid,
        };
        let acl = match node.acl {
            OPEN => Vec::new(),
            closed => self.acls.entries(closed).to_vec(),
        };
        StartNode {
            path: self.paths.name(id).into(),
            data: node.data.clone(),
            stat,
            acl,
            lapse: node.lapse,
        }
    }

    /// A node in words, for reports.
    pub fn describe(&self, id: PathId) -> String {
        let (path, node) = (self.paths.name(id), self.node(id));
        if !node.exists {
            return format!("{path} does not exist");
        }
        let data = node
            .data
            .as_ref()
            .map_or("null".to_string(), |data| format!("{data:?}"));
        let owner = match (self.session_ids.get(node.owner as usize), node.lapse) {
            (Some(owner), _) => format!(", ephemeral of session {owner:#x}"),
            (None, Some(Lapse::Container)) => ", container".to_string(),
            (None, Some(Lapse::Ttl(0))) => ", perhaps a container or TTL node".to_string(),
            (None, Some(Lapse::Ttl(ttl_ms))) => format!(", time to live {ttl_ms} ms"),
            (None, None) => String::new(),
        };
        let acl = match node.acl {
            OPEN => String::new(),
            closed => format!(", {}", words::acl(self.acls.entries(closed))),
        };
        format!(
            "{path} = {data}, version {}, czxid {:#x}, mzxid {:#x}, pzxid {:#x}, {} {}, {} ever created{owner}{acl}",
            node.version,
            node.czxid,
            node.mzxid,
            node.pzxid,
            node.children,
            if node.children == 1 {
                "child"
            } else {
                "children"
            },
            node.creates
        )
    }
}
