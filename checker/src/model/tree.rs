//! Nodes, their Stat arithmetic, and the way back.
//!
//! A transaction is applied between [`Tree::begin`] and the next one; every change goes
//! through `touch`, which keeps the old node, so [`Tree::rewind`] restores any earlier
//! point exactly. The number of children is kept, a list of them is not: a node knows its
//! parent, and that is enough to compare a list of names.
//!
//! Answers to: `protocol.md` 9.1, 9.4, 9.5, 10 and 12.3.

use super::acl::{
    ADMIN, Access, AclId, AclTable, CREATE, DELETE, OPEN, READ, READ_ONLY, WRITE, Who,
};
use super::paths::{NO_PATH, PathId, Paths};
use crate::history::{ErrorCode, EventType, Op, Start, StartNode, Stat, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::LazyLock;

/// Number of a session within one judgement.
pub type SessionIndex = u32;

/// No session: the owner of a node that stays.
pub const NO_SESSION: SessionIndex = u32::MAX;

/// A wall clock time nobody has seen yet.
const TIME_UNKNOWN: i64 = i64::MIN;

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
    /// Who may do what.
    pub acl: AclId,
}

const NOWHERE: Node = Node {
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

pub(super) enum Undo {
    Node { id: PathId, old: Node },
    Event { id: PathId },
    Trace { id: PathId },
    End { session: SessionIndex, old: i64 },
}

/// The tree after some prefix of the transactions.
pub struct Tree<'h> {
    /// All paths.
    pub paths: Paths<'h>,
    /// All ACLs and identities.
    pub acls: AclTable,
    /// Ids of the sessions, by index.
    pub session_ids: Vec<i64>,
    /// The zxid at which a session ended; `i64::MAX` while it has not.
    ended: Vec<i64>,
    /// Every path at which a session ever made an ephemeral, once.
    ephemerals: Vec<Vec<PathId>>,
    ephemeral_known: FxHashSet<(SessionIndex, PathId)>,
    pub(super) nodes: Vec<Node>,
    pub(super) undo: Vec<(i64, Undo)>,
    /// Whether transactions may have to be taken back; parts of a multi always may.
    pub(super) keep_undo: bool,
    /// Whether zxids in answers are looked at; see [`super::blind`].
    pub(super) blind: bool,
    in_multi: bool,
    zxid: i64,
    /// Events of watched paths in the order of transactions.
    events: FxHashMap<PathId, Vec<Event>>,
    /// Every state of traced paths, with the zxid from which it held.
    traces: FxHashMap<PathId, Vec<(i64, Node)>>,
    /// Events of the transaction applied last.
    fired: Vec<(EventType, PathId)>,
    closed: FxHashSet<PathId>,
    /// Marks for finding repeated names; one generation a list.
    marks: Vec<u32>,
    generation: u32,
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

    fn grow(&mut self) {
        self.nodes.resize(self.paths.len(), NOWHERE);
        self.marks.resize(self.paths.len(), 0);
    }

    /// Applies one write of `session` in the transaction that is open; `lenient` decides
    /// permissions that are unclear. Returns the path made or changed. On an error nothing
    /// has changed.
    ///
    /// # Errors
    /// What the server must answer.
    pub fn apply(
        &mut self,
        op: &Op,
        id: PathId,
        session: SessionIndex,
        who: Who,
        lenient: bool,
    ) -> Result<PathId, ErrorCode> {
        match op {
            Op::Create {
                data,
                acl,
                ephemeral,
                sequential,
                ..
            } => {
                let owner = if *ephemeral { session } else { NO_SESSION };
                let acl = self.acls.normalised(acl, who);
                self.create(id, data.as_ref(), acl, owner, *sequential, who, lenient)
            }
            Op::Delete { version, .. } => self.delete(id, *version, who, lenient).map(|()| id),
            Op::Set { data, version, .. } => self
                .set(id, data.as_ref(), *version, who, lenient)
                .map(|()| id),
            Op::SetAcl { acl, version, .. } => {
                let acl = self.acls.normalised(acl, who);
                self.set_acl(id, acl, *version, who, lenient).map(|()| id)
            }
            Op::Check { version, .. } => {
                self.existing(id)?;
                self.permit(id, READ, who, lenient)?;
                self.expect_version(*version, self.node(id).version)
                    .map(|()| id)
            }
            Op::Close => {
                self.end(session);
                Ok(NO_PATH)
            }
            Op::Multi { ops } => self
                .multi(ops, session, who, |_| lenient, |_, _| {})
                .map(|()| NO_PATH)
                .map_err(|(_, code)| code),
            Op::Exists { .. }
            | Op::Get { .. }
            | Op::Children { .. }
            | Op::GetAcl { .. }
            | Op::Sync { .. } => Ok(id),
        }
    }

    /// Applies the parts of a multi, all or none, calling `look` after each with its path;
    /// `lenient` decides permissions that are unclear, part by part.
    ///
    /// # Errors
    /// The index of the part that fails, and its code.
    pub fn multi(
        &mut self,
        ops: &[Op],
        session: SessionIndex,
        who: Who,
        lenient: impl Fn(usize) -> bool,
        mut look: impl FnMut(&mut Self, PathId),
    ) -> Result<(), (usize, ErrorCode)> {
        let mark = self.undo.len();
        self.in_multi = true;
        for (index, op) in ops.iter().enumerate() {
            let id = match op.path() {
                Some(path) => self.paths.id_shared(path),
                None => NO_PATH,
            };
            self.grow();
            match self.apply(op, id, session, who, lenient(index)) {
                Ok(id) => look(self, id),
                Err(code) => {
                    while self.undo.len() > mark {
                        self.take_back();
                    }
                    self.fired.clear();
                    self.in_multi = false;
                    return Err((index, code));
                }
            }
        }
        self.in_multi = false;
        Ok(())
    }

    /// Ends a session in the transaction that is open: all its ephemerals go.
    pub fn end(&mut self, session: SessionIndex) {
        let Some(&old) = self.ended.get(session as usize) else {
            return;
        };
        let gone: Vec<PathId> = self.ephemerals_of(session).collect();
        for id in gone {
            if self.node(id).exists {
                self.remove(id);
            }
        }
        if old == i64::MAX {
            self.undo.push((self.zxid, Undo::End { session, old }));
            self.ended[session as usize] = self.zxid;
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn create(
        &mut self,
        id: PathId,
        data: Option<&Value>,
        acl: AclId,
        owner: SessionIndex,
        sequential: bool,
        who: Who,
        lenient: bool,
    ) -> Result<PathId, ErrorCode> {
        let parent = self.paths.parent(id);
        if parent == NO_PATH {
            return Err(ErrorCode::NODE_EXISTS);
        }
        self.existing(parent)?;
        self.permit(parent, CREATE, who, lenient)?;
        let id = match sequential {
            true => self.numbered(id, parent),
            false => id,
        };
        if self.node(id).exists {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if self.node(parent).owner != NO_SESSION {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let zxid = self.zxid;
        self.touch(id);
        self.nodes[id as usize] = Node {
            exists: true,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            data: data.cloned(),
            owner,
            acl,
            ..NOWHERE
        };
        self.retrace(id);
        self.note_closed(id, acl);
        self.touch(parent);
        let node = &mut self.nodes[parent as usize];
        node.creates = node.creates.wrapping_add(1);
        node.children += 1;
        node.pzxid = zxid;
        let parent_acl = node.acl;
        self.retrace(parent);
        if let Some(list) = self.ephemerals.get_mut(owner as usize)
            && self.ephemeral_known.insert((owner, id))
        {
            list.push(id);
        }
        self.fire(EventType::NodeCreated, id, acl);
        self.fire(EventType::NodeChildrenChanged, parent, parent_acl);
        Ok(id)
    }

    fn delete(
        &mut self,
        id: PathId,
        version: i32,
        who: Who,
        lenient: bool,
    ) -> Result<(), ErrorCode> {
        let parent = self.paths.parent(id);
        if parent == NO_PATH {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        self.existing(parent)?;
        self.permit(parent, DELETE, who, lenient)?;
        self.existing(id)?;
        let node = self.node(id);
        self.expect_version(version, node.version)?;
        if node.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        self.remove(id);
        Ok(())
    }

    fn remove(&mut self, id: PathId) {
        let (zxid, parent, acl) = (self.zxid, self.paths.parent(id), self.node(id).acl);
        self.touch(id);
        self.nodes[id as usize].exists = false;
        self.retrace(id);
        self.touch(parent);
        let node = &mut self.nodes[parent as usize];
        node.children -= 1;
        node.pzxid = zxid;
        let parent_acl = node.acl;
        self.retrace(parent);
        self.fire(EventType::NodeDeleted, id, acl);
        self.fire(EventType::NodeChildrenChanged, parent, parent_acl);
    }

    fn set(
        &mut self,
        id: PathId,
        data: Option<&Value>,
        version: i32,
        who: Who,
        lenient: bool,
    ) -> Result<(), ErrorCode> {
        self.existing(id)?;
        self.permit(id, WRITE, who, lenient)?;
        self.expect_version(version, self.node(id).version)?;
        let zxid = self.zxid;
        self.touch(id);
        let node = &mut self.nodes[id as usize];
        node.data = data.cloned();
        node.version = node.version.wrapping_add(1);
        node.mzxid = zxid;
        node.mtime = TIME_UNKNOWN;
        let acl = node.acl;
        self.retrace(id);
        self.fire(EventType::NodeDataChanged, id, acl);
        Ok(())
    }

    fn set_acl(
        &mut self,
        id: PathId,
        acl: AclId,
        version: i32,
        who: Who,
        lenient: bool,
    ) -> Result<(), ErrorCode> {
        self.existing(id)?;
        self.permit(id, ADMIN, who, lenient)?;
        self.expect_version(version, self.node(id).aversion)?;
        self.touch(id);
        let node = &mut self.nodes[id as usize];
        node.acl = acl;
        self.note_closed(id, acl);
        let node = &mut self.nodes[id as usize];
        node.aversion = node.aversion.wrapping_add(1);
        self.retrace(id);
        Ok(())
    }

    fn note_closed(&mut self, id: PathId, acl: AclId) {
        if acl != OPEN && !self.acls.world_readable(acl) {
            self.closed.insert(id);
        }
    }

    fn existing(&self, id: PathId) -> Result<(), ErrorCode> {
        match self.node(id).exists {
            true => Ok(()),
            false => Err(ErrorCode::NO_NODE),
        }
    }

    fn permit(&self, id: PathId, wanted: i32, who: Who, lenient: bool) -> Result<(), ErrorCode> {
        match self.acls.access(self.node(id).acl, wanted, who) {
            Access::Yes => Ok(()),
            Access::Unclear if lenient => Ok(()),
            Access::Unclear | Access::No => Err(ErrorCode::NO_AUTH),
        }
    }

    fn expect_version(&self, wanted: i32, actual: i32) -> Result<(), ErrorCode> {
        match wanted == -1 || wanted == actual {
            true => Ok(()),
            false => Err(ErrorCode::BAD_VERSION),
        }
    }

    /// The path that a sequential create under `parent` makes now.
    fn numbered(&mut self, id: PathId, parent: PathId) -> PathId {
        let path = format!("{}{:010}", self.paths.name(id), self.node(parent).creates);
        let id = self.paths.id_of_made(path);
        self.grow();
        id
    }

    fn touch(&mut self, id: PathId) {
        if self.keep_undo || self.in_multi {
            let old = self.nodes[id as usize].clone();
            self.undo.push((self.zxid, Undo::Node { id, old }));
        }
    }

    fn retrace(&mut self, id: PathId) {
        if self.traces.is_empty() {
            return;
        }
        if let Some(states) = self.traces.get_mut(&id) {
            states.push((self.zxid, self.nodes[id as usize].clone()));
            self.undo.push((self.zxid, Undo::Trace { id }));
        }
    }

    fn fire(&mut self, event: EventType, id: PathId, acl: AclId) {
        self.fired.push((event, id));
        if self.events.is_empty() {
            return;
        }
        if let Some(events) = self.events.get_mut(&id) {
            events.push(Event {
                zxid: self.zxid,
                event,
                acl,
            });
            self.undo.push((self.zxid, Undo::Event { id }));
        }
    }

    /// The first field in which a Stat differs from the node: its name, what it should be,
    /// what it was said to be. Wall clock times nobody has seen before are learnt.
    pub fn stat_differs(&mut self, id: PathId, seen: &Stat) -> Option<(&'static str, i64, i64)> {
        let owner = self
            .session_ids
            .get(self.node(id).owner as usize)
            .copied()
            .unwrap_or(0);
        let node = &mut self.nodes[id as usize];
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
        let owner = match self.session_ids.get(node.owner as usize) {
            Some(owner) => format!(", ephemeral of session {owner:#x}"),
            None => String::new(),
        };
        format!(
            "{path} = {data}, version {}, czxid {:#x}, mzxid {:#x}, pzxid {:#x}, {} children, {} ever created{owner}",
            node.version, node.czxid, node.mzxid, node.pzxid, node.children, node.creates
        )
    }
}
