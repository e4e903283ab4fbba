//! Nodes, sessions, and the way back.
//!
//! A transaction is applied between [`Tree::begin`] and the next one; every change goes
//! through `touch`, which keeps the old node, so [`Tree::rewind`] restores any earlier
//! point exactly. The number of children is kept, a list of them is not: a node knows its
//! parent, and that is enough to compare a list of names.
//!
//! Answers to: `protocol.md` 9.1, 10 and 12.3.

use super::acl::{AclId, AclTable, OPEN, READ_ONLY, Who};
use super::paths::{NO_PATH, PathId, Paths};
use crate::history::{EventType, Lapse, Start, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::LazyLock;

/// Number of a session within one judgement.
pub type SessionIndex = u32;

/// No session: the owner of a node that stays.
pub const NO_SESSION: SessionIndex = u32::MAX;

/// A wall clock time nobody has seen yet.
pub(super) const TIME_UNKNOWN: i64 = i64::MIN;

/// One znode, or the place of one that does not exist.
#[derive(Debug, Clone)]
pub struct Node {
    /// False: nothing else in here means anything.
    pub exists: bool,
    /// Content and Stat are the server's own affair (`/zookeeper/config`).
    pub opaque: bool,
    /// zxid of the create.
    pub czxid: i64,
    /// zxid of the last create or set.
    pub mzxid: i64,
    /// zxid of the last create or delete of a child.
    pub pzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    /// Bytes or null.
    pub data: Option<Value>,
    /// Sets since the create.
    pub version: i32,
    /// Creates of children ever; the source of sequence numbers.
    pub creates: i32,
    /// ACL changes since the create.
    pub aversion: i32,
    /// Children now.
    pub children: i32,
    /// Owner, [`NO_SESSION`] for none.
    pub owner: SessionIndex,
    /// How it goes by the servers' own doing, if it does.
    pub lapse: Option<Lapse>,
    /// Who may do what.
    pub acl: AclId,
}

/// What is where nothing is.
pub(super) const NOWHERE: Node = Node {
    exists: false,
    opaque: false,
    czxid: 0,
    mzxid: 0,
    pzxid: 0,
    ctime: TIME_UNKNOWN,
    mtime: TIME_UNKNOWN,
    data: None,
    version: 0,
    creates: 0,
    aversion: 0,
    children: 0,
    owner: NO_SESSION,
    lapse: None,
    acl: OPEN,
};

/// The data of the nodes that are always there: empty, which is not null.
static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::from(&b""[..]));

/// What a watch on a path would have fired on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The transaction.
    pub zxid: i64,
    /// The type delivered.
    pub event: EventType,
    /// The ACL that decides who may be told.
    pub acl: AclId,
}

#[derive(Clone)]
pub(super) enum Undo {
    Node { id: PathId, old: Node },
    Event { id: PathId },
    Trace { id: PathId },
    End { session: SessionIndex, old: i64 },
}

/// The tree after some prefix of the transactions.
#[derive(Clone)]
pub struct Tree<'h> {
    /// All paths.
    pub paths: Paths<'h>,
    /// All ACLs and identities.
    pub acls: AclTable,
    /// Ids of the sessions, by index.
    pub session_ids: Vec<i64>,
    /// The zxid at which a session ended; `i64::MAX` while it has not.
    pub(super) ended: Vec<i64>,
    /// Every path at which a session ever made an ephemeral, once.
    pub(super) ephemerals: Vec<Vec<PathId>>,
    pub(super) ephemeral_known: FxHashSet<(SessionIndex, PathId)>,
    pub(super) nodes: Vec<Node>,
    pub(super) undo: Vec<(i64, Undo)>,
    /// Whether transactions may have to be taken back; parts of a multi always may.
    pub(super) keep_undo: bool,
    /// Whether zxids in answers are looked at; see [`super::blind`].
    pub(super) blind: bool,
    pub(super) in_multi: bool,
    pub(super) zxid: i64,
    /// Events of watched paths in the order of transactions.
    pub(super) events: FxHashMap<PathId, Vec<Event>>,
    /// Paths below which everything is watched.
    pub(super) below: Vec<PathId>,
    /// Every state of traced paths, with the zxid from which it held.
    pub(super) traces: FxHashMap<PathId, Vec<(i64, Node)>>,
    /// Events of the transaction applied last.
    pub(super) fired: Vec<(EventType, PathId)>,
    pub(super) closed: FxHashSet<PathId>,
    /// Marks for finding repeated names; one generation a list.
    pub(super) marks: Vec<u32>,
    pub(super) generation: u32,
}

impl<'h> Tree<'h> {
    /// The tree before the first transaction. `session_of` gives the index of a session id.
    pub fn new(
        start: &Start,
        mut paths: Paths<'h>,
        mut acls: AclTable,
        session_ids: Vec<i64>,
        session_of: impl Fn(i64) -> SessionIndex,
    ) -> Self {
        let mut nodes = vec![NOWHERE; paths.len()];
        for (path, children, acl) in [
            ("/", 1, OPEN),
            ("/zookeeper", 2, OPEN),
            ("/zookeeper/quota", 0, OPEN),
            ("/zookeeper/config", 0, READ_ONLY),
        ] {
            let id = paths.id_of(path);
            nodes.resize(paths.len(), NOWHERE);
            let opaque = path == "/zookeeper/config";
            nodes[id as usize] = Node {
                exists: true,
                opaque,
                children,
                acl,
                data: Some(EMPTY.clone()),
                ..NOWHERE
            };
        }
        if let Start::Nodes {
            zxid: _,
            nodes: given,
        } = start
        {
            for given in given {
                let id = paths.id_of(&given.path);
                nodes.resize(paths.len(), NOWHERE);
                let stat = given.stat;
                nodes[id as usize] = Node {
                    exists: true,
                    opaque: false,
                    czxid: stat.czxid,
                    mzxid: stat.mzxid,
                    pzxid: stat.pzxid,
                    ctime: stat.ctime,
                    mtime: stat.mtime,
                    data: given.data.clone(),
                    version: stat.version,
                    creates: stat.cversion.wrapping_add(stat.num_children) / 2,
                    aversion: stat.aversion,
                    children: stat.num_children,
                    owner: if stat.ephemeral_owner == 0 {
                        NO_SESSION
                    } else {
                        session_of(stat.ephemeral_owner)
                    },
                    lapse: given.lapse,
                    acl: match given.acl.is_empty() {
                        true => OPEN,
                        false => acls.normalised(&given.acl, Who::default()),
                    },
                };
            }
        }
        let mut ephemerals = vec![Vec::new(); session_ids.len()];
        for (id, node) in nodes.iter().enumerate() {
            if let Some(list) = ephemerals.get_mut(node.owner as usize) {
                list.push(id as PathId);
            }
        }
        Tree {
            marks: vec![0; nodes.len()],
            ended: vec![i64::MAX; session_ids.len()],
            paths,
            acls,
            session_ids,
            ephemeral_known: FxHashSet::default(),
            ephemerals,
            nodes,
            undo: Vec::new(),
            keep_undo: false,
            blind: false,
            in_multi: false,
            zxid: 0,
            events: FxHashMap::default(),
            below: Vec::new(),
            traces: FxHashMap::default(),
            fired: Vec::new(),
            closed: FxHashSet::default(),
            generation: 0,
        }
    }

    /// Makes room for one more session; returns its index.
    pub fn add_session(&mut self, id: i64) -> SessionIndex {
        self.session_ids.push(id);
        self.ended.push(i64::MAX);
        self.ephemerals.push(Vec::new());
        (self.session_ids.len() - 1) as SessionIndex
    }

    /// Forgets every path at which nothing is, so that a tree that is replayed for long needs
    /// memory for what there is, not for what there ever was. Numbers of paths change.
    pub fn forget_absent(&mut self) {
        assert!(
            self.events.is_empty() && self.traces.is_empty() && !self.keep_undo,
            "whoever looks back needs what is absent now"
        );
        let mut paths = Paths::new();
        let mut fresh = vec![NO_PATH; self.nodes.len()];
        let mut nodes = Vec::new();
        for (old, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            // Parents have smaller numbers than their children, and exist if these do.
            if node.exists || old == 0 {
                fresh[old] = paths.id_of(self.paths.name(old as PathId));
                nodes.push(node);
            }
        }
        assert_eq!(paths.len(), nodes.len(), "a node without its parent");
        self.ephemeral_known.clear();
        for (session, list) in self.ephemerals.iter_mut().enumerate() {
            let session = session as SessionIndex;
            list.retain_mut(|id| {
                *id = fresh[*id as usize];
                let owned = nodes.get(*id as usize);
                owned.is_some_and(|node: &Node| node.owner == session)
            });
            let known = list.iter().map(|&id| (session, id));
            self.ephemeral_known.extend(known);
        }
        let closed = std::mem::take(&mut self.closed);
        let closed = closed.into_iter().map(|id| fresh[id as usize]);
        self.closed = closed.filter(|&id| id != NO_PATH).collect();
        self.marks = vec![0; nodes.len()];
        self.generation = 0;
        self.undo.clear();
        self.fired.clear();
        (self.paths, self.nodes) = (paths, nodes);
    }

    /// From here on keep what [`Tree::rewind`] needs.
    pub fn keep_undo(&mut self) {
        self.keep_undo = true;
    }

    /// Remember the events of a path, for watches.
    pub fn watch(&mut self, id: PathId) {
        self.events.entry(id).or_default();
    }

    /// Remember the events of a path and of every path below it, for watches that see those.
    pub fn watch_below(&mut self, id: PathId) {
        self.watch(id);
        if !self.below.contains(&id) {
            self.below.push(id);
        }
    }

    /// The watched paths of which something is remembered, at or below a path.
    pub fn watched_below(&self, id: PathId) -> impl Iterator<Item = PathId> + '_ {
        let paths = self.events.keys().copied();
        paths.filter(move |&path| self.paths.upwards(path).any(|above| above == id))
    }

    /// Remember every state of a path, for reads whose prefix is not known.
    pub fn trace(&mut self, id: PathId) {
        self.grow();
        let node = self.nodes[id as usize].clone();
        self.traces
            .entry(id)
            .or_insert_with(|| vec![(i64::MIN, node)]);
    }

    /// The states a traced path went through.
    pub fn states(&self, id: PathId) -> &[(i64, Node)] {
        self.traces.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The events of a watched path.
    pub fn events(&self, id: PathId) -> &[Event] {
        self.events.get(&id).map_or(&[], Vec::as_slice)
    }

    /// True if a path ever had an ACL that did not let everybody read, in this replay or in
    /// one that was taken back.
    pub fn was_ever_closed(&self, id: PathId) -> bool {
        self.closed.contains(&id)
    }

    /// Events of the transaction applied last, on any path.
    pub fn fired(&self) -> &[(EventType, PathId)] {
        &self.fired
    }

    /// The node at a path, existing or not.
    pub fn node(&self, id: PathId) -> &Node {
        self.nodes.get(id as usize).unwrap_or(const { &NOWHERE })
    }

    /// The zxid at which a session ended, if it has.
    pub fn ended(&self, session: SessionIndex) -> Option<i64> {
        self.ended
            .get(session as usize)
            .copied()
            .filter(|&zxid| zxid != i64::MAX)
    }

    /// Paths of the ephemerals that a session owns now.
    pub fn ephemerals_of(&self, session: SessionIndex) -> impl Iterator<Item = PathId> + '_ {
        let list = self
            .ephemerals
            .get(session as usize)
            .map_or(&[][..], Vec::as_slice);
        list.iter().copied().filter(move |&id| {
            let node = self.node(id);
            node.exists && node.owner == session
        })
    }

    /// Every path at which a session ever made an ephemeral.
    pub fn ephemerals_ever(&self, session: SessionIndex) -> impl Iterator<Item = PathId> + '_ {
        self.ephemerals
            .get(session as usize)
            .into_iter()
            .flatten()
            .copied()
    }

    /// Opens transaction `zxid`, closing the one before.
    pub fn begin(&mut self, zxid: i64) {
        self.zxid = zxid;
        self.fired.clear();
        if !self.keep_undo {
            self.undo.clear();
        }
        if self.nodes.len() < self.paths.len() {
            self.grow();
        }
    }

    /// Opens transaction `zxid` and does something in it, which is taken back unless it
    /// returns true.
    pub fn try_out(&mut self, zxid: i64, deed: impl FnOnce(&mut Self) -> bool) -> bool {
        self.begin(zxid);
        let (kept, mark) = (self.keep_undo, self.undo.len());
        self.keep_undo = true;
        let done = deed(self);
        self.keep_undo = kept;
        if !done {
            while self.undo.len() > mark {
                self.take_back();
            }
            self.fired.clear();
        }
        done
    }

    /// Does something in a transaction that lies further back than others that were done
    /// already, and looks what has come of it at `now`. What changed later has changed later;
    /// what is done while looking is taken back, and unless that returns true, so is all.
    pub fn try_between(
        &mut self,
        zxid: i64,
        deed: impl FnOnce(&mut Self) -> bool,
        now: i64,
        look: impl FnOnce(&mut Self) -> bool,
    ) -> bool {
        self.begin(zxid);
        let (kept, mark) = (self.keep_undo, self.undo.len());
        self.keep_undo = true;
        let mut done = deed(self);
        let end = self.undo.len();
        if done {
            for at in mark..end {
                if let (_, Undo::Node { id, old }) = &self.undo[at] {
                    let node = &mut self.nodes[*id as usize];
                    node.pzxid = match old.exists && node.exists {
                        true => node.pzxid.max(old.pzxid),
                        false => node.pzxid,
                    };
                }
            }
            let fired = std::mem::take(&mut self.fired);
            self.zxid = now;
            done = look(self);
            (self.fired, self.zxid) = (fired, zxid);
        }
        let left = if done { end } else { mark };
        while self.undo.len() > left {
            self.take_back();
        }
        if !done {
            self.fired.clear();
        }
        self.keep_undo = kept;
        done
    }

    /// If the children of a path changed last at one zxid, they did so at another.
    pub fn redate_children(&mut self, id: PathId, from: i64, to: i64) {
        let node = &mut self.nodes[id as usize];
        if node.exists && node.pzxid == from {
            node.pzxid = to;
        }
    }

    /// Takes back every transaction with a zxid of at least `zxid`.
    pub fn rewind(&mut self, zxid: i64) {
        while let Some((at, _)) = self.undo.last()
            && *at >= zxid
        {
            self.take_back();
        }
    }

    pub(super) fn take_back(&mut self) {
        match self.undo.pop() {
            Some((_, Undo::Node { id, old })) => self.nodes[id as usize] = old,
            Some((_, Undo::Event { id })) => {
                self.events.get_mut(&id).map(Vec::pop);
            }
            Some((_, Undo::Trace { id })) => {
                self.traces.get_mut(&id).map(Vec::pop);
            }
            Some((_, Undo::End { session, old })) => self.ended[session as usize] = old,
            None => {}
        }
    }

    pub(super) fn grow(&mut self) {
        self.nodes.resize(self.paths.len(), NOWHERE);
        self.marks.resize(self.paths.len(), 0);
    }
}
