//! Writes: what a transaction does to the tree.
//!
//! Every operation checks in the server's order (parent, permission, node, version), and
//! changes nodes only after all checks passed. What always holds: every change goes through
//! `touch` first, so that it can be taken back, and through `retrace` and `fire` after, so that
//! whoever looks back finds it.
//!
//! Answers to: `protocol.md` 9.1, 9.4, 9.5, 10 and 12.3.

use super::acl::{ADMIN, Access, AclId, CREATE, DELETE, OPEN, READ, WRITE, Who};
use super::eval::Diff;
use super::paths::{NO_PATH, PathId};
use super::tree::{Event, NO_SESSION, NOWHERE, Node, SessionIndex, TIME_UNKNOWN, Tree, Undo};
use crate::history::{ErrorCode, EventType, Lapse, Op, Value};

impl Tree<'_> {
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
                lapse,
                sequential,
                ..
            } => {
                let made = Node {
                    exists: true,
                    data: data.clone(),
                    owner: if *ephemeral { session } else { NO_SESSION },
                    lapse: *lapse,
                    acl: self.acls.normalised(acl, who),
                    ..NOWHERE
                };
                self.create(id, made, *sequential, who, lenient)
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
            | Op::Sync { .. }
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. } => Ok(id),
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

    /// A container or TTL node goes by the servers' own doing, in the transaction that is open.
    /// Whether it is time, the caller knows; `unused` if a container may go that never had a
    /// child.
    ///
    /// # Errors
    /// What the tree has against it, as what would have had to be; nothing has changed then.
    pub fn lapse(&mut self, id: PathId, unused: bool) -> Result<(), Diff> {
        let node = self.node(id);
        let refused = |expected| Diff::Outcome {
            expected: Some(expected),
            got: None,
            path: id,
            part: None,
            conditional: false,
        };
        match node.lapse.filter(|_| node.exists) {
            None => Err(refused(ErrorCode::NO_NODE)),
            Some(_) if node.children > 0 => Err(refused(ErrorCode::NOT_EMPTY)),
            Some(Lapse::Container) if node.creates == 0 && !unused => Err(Diff::Stat {
                path: id,
                field: "children made",
                expected: 0,
                got: 1,
            }),
            Some(Lapse::Container | Lapse::Ttl(_)) => {
                self.remove(id);
                Ok(())
            }
        }
    }

    fn create(
        &mut self,
        id: PathId,
        made: Node,
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
        let (zxid, owner, acl) = (self.zxid, made.owner, made.acl);
        self.touch(id);
        self.nodes[id as usize] = Node {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ..made
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

    pub(super) fn touch(&mut self, id: PathId) {
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
        let below = &self.below;
        if !below.is_empty() && self.paths.upwards(id).any(|above| below.contains(&above)) {
            self.watch(id);
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
}
