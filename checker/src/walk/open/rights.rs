//! Who may do what, as far as the ACLs are known.
//!
//! An ACL is known from the recorded create or setACL that gave it, or from a getACL that was
//! shown all of it. Every setACL adds one to the node's aversion, so an ACL is that of a life
//! and an aversion, and holds wherever the aversion shows that nobody set another.
//!
//! Answers to: `consistency.md` P20; `protocol.md` section 13.

use super::deeds::parts;
use super::steady::AVERSION;
use super::{OWN, Overheard};
use crate::history::{Acl, Answer, ErrorCode, EventType, Op, Start};
use crate::model::{Access, NO_PATH, PathId, Who};
use crate::verdict::{Property, Violation};
use crate::walk::case::{Request, RequestIndex};
use rustc_hash::FxHashMap;

const READ: i32 = 1;
const WRITE: i32 = 2;
const CREATE: i32 = 4;
const DELETE: i32 = 8;
const ADMIN: i32 = 16;

/// The root's number among the paths.
const ROOT: PathId = 0;

/// The number that the table gives to an ACL.
type AclId = u32;

/// Path, czxid, aversion.
type Place = (PathId, i64, i32);

/// The ACLs that are known, and from which request.
#[derive(Default)]
pub struct Rights {
    known: FxHashMap<Place, (AclId, Option<RequestIndex>)>,
}

/// An ACL that was given or shown.
struct Given<'h> {
    place: Place,
    acl: &'h [Acl],
    who: Who,
    request: RequestIndex,
}

impl<'h> Overheard<'_, 'h> {
    /// P20: what was allowed or refused against ACLs that are known.
    ///
    /// # Errors
    /// The first that an ACL does not explain.
    pub(super) fn check_rights(&mut self) -> Result<(), Box<Violation>> {
        self.learn_given();
        self.learn_shown()?;
        for (index, request) in self.case.requests.iter().enumerate() {
            // On a connection whose beginning is not known others may have authenticated.
            if request.connection != u32::MAX && request.answer.is_some() {
                self.judge(index as RequestIndex, request)?;
            }
        }
        Ok(())
    }

    fn learn_given(&mut self) {
        let fresh = match &self.case.history.header.start {
            Start::Fresh => true,
            Start::Nodes { nodes, .. } => nodes.iter().all(|node| &*node.path != "/"),
        };
        if fresh {
            let open = self.acls.normalised(&Acl::open(), Who::default());
            self.rights.known.insert((ROOT, 0, 0), (open, None));
        }
        let mut given = Vec::new();
        for (request, asked) in self.deeds.requests(self.case) {
            for (op, answer) in parts(asked) {
                let path = self.about(op, answer);
                let (acl, place): (&'h [Acl], Place) = match (op, answer) {
                    (Op::Create { acl, .. }, _) => (acl, (path, asked.zxid, 0)),
                    (Op::SetAcl { acl, .. }, Answer::Stat(stat)) => {
                        (acl, (path, stat.czxid, stat.aversion))
                    }
                    (_, _) => continue,
                };
                let by_sender = acl.iter().any(|entry| &*entry.identity.scheme == "auth");
                if asked.connection == u32::MAX && by_sender {
                    continue;
                }
                let who = asked.who;
                given.push(Given {
                    place,
                    acl,
                    who,
                    request,
                });
            }
        }
        for given in given {
            let acl = self.acls.normalised(given.acl, given.who);
            let known = (acl, Some(given.request));
            self.rights.known.insert(given.place, known);
        }
    }

    /// What getACL showed, against what is known and against each other.
    fn learn_shown(&mut self) -> Result<(), Box<Violation>> {
        for (index, request) in self.case.requests.iter().enumerate() {
            let index = index as RequestIndex;
            let (Op::GetAcl { path }, Some(Ok(Answer::Acl { acl, stat }))) =
                (request.op, request.answer)
            else {
                continue;
            };
            let place = (request.path, stat.czxid, stat.aversion);
            if path.starts_with(OWN) {
                continue;
            }
            match self.rights.known.get(&place) {
                Some(&(known, giver)) if !self.acls.shows_as(known, acl) => {
                    let reason = format!(
                        "another ACL of {path} was shown than it had been given as aversion {}",
                        stat.aversion
                    );
                    let told: Vec<RequestIndex> = giver.into_iter().chain([index]).collect();
                    return self.convict(Property::AccessControl, &told, reason);
                }
                Some(_) => {}
                None if acl.iter().any(|entry| entry.identity.id.ends_with(":x")) => {}
                None => {
                    let known = self.acls.normalised(acl, Who::default());
                    self.rights.known.insert(place, (known, Some(index)));
                }
            }
        }
        Ok(())
    }

    fn judge(&self, index: RequestIndex, request: &Request<'h>) -> Result<(), Box<Violation>> {
        if let (Op::Multi { .. }, _) = (request.op, request.answer) {
            return parts(request).try_for_each(|(op, answer)| {
                let path = self.about(op, answer);
                let aversion = aversion_of(op, answer);
                self.needs(op, path).map_or(Ok(()), |(path, wanted)| {
                    self.allows(index, request, path, wanted, true, aversion)
                })
            });
        }
        let allowed = match request.answer {
            Some(Ok(_)) => true,
            Some(Err(code)) if *code == ErrorCode::NO_AUTH => false,
            Some(Err(_)) | None => return Ok(()),
        };
        let aversion = match request.answer {
            Some(Ok(answer)) => aversion_of(request.op, answer),
            Some(Err(_)) | None => None,
        };
        match self.needs(request.op, request.path) {
            Some((path, wanted)) => self.allows(index, request, path, wanted, allowed, aversion),
            None => Ok(()),
        }
    }

    /// Whose ACL decides about a request, and which permission is needed.
    fn needs(&self, op: &Op, path: PathId) -> Option<(PathId, i32)> {
        let parent = self.paths.parent(path);
        match op {
            Op::Create { .. } => Some((parent, CREATE)),
            Op::Delete { .. } => Some((parent, DELETE)),
            Op::Exists { .. } => self.exists_needs_read.then_some((path, READ)),
            Op::Get { .. } | Op::Children { .. } | Op::Check { .. } => Some((path, READ)),
            Op::GetAcl { .. } => Some((path, READ | ADMIN)),
            Op::Set { .. } => Some((path, WRITE)),
            Op::SetAcl { .. } => Some((path, ADMIN)),
            Op::Sync { .. }
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. }
            | Op::Multi { .. }
            | Op::Close => None,
        }
    }

    fn allows(
        &self,
        index: RequestIndex,
        request: &Request<'h>,
        path: PathId,
        wanted: i32,
        allowed: bool,
        aversion: Option<(i64, i32)>,
    ) -> Result<(), Box<Violation>> {
        if path == NO_PATH || self.paths.name(path).starts_with(OWN) {
            return Ok(());
        }
        let known = match aversion {
            Some((life, aversion)) => self.rights.known.get(&(path, life, aversion)).copied(),
            None => self.acl_at(path, request.zxid),
        };
        let Some((acl, giver)) = known else {
            return Ok(());
        };
        let access = self.acls.access(acl, wanted, request.who);
        let wrong = match allowed {
            true => access == Access::No,
            false => access == Access::Yes,
        };
        if !wrong {
            return Ok(());
        }
        let name = self.paths.name(path);
        let reason = match allowed {
            true => format!("a request was answered that the ACL of {name} does not allow"),
            false => format!("a request was refused that the ACL of {name} allows"),
        };
        let told: Vec<RequestIndex> = giver.into_iter().chain([index]).collect();
        self.convict(Property::AccessControl, &told, reason)
    }

    /// The ACL of a path after a zxid, if it is known.
    pub(super) fn acl_at(&self, path: PathId, zxid: i64) -> Option<(AclId, Option<RequestIndex>)> {
        let steady = self.steady(path, zxid, AVERSION)?;
        let place = (path, steady.life, steady.value);
        self.rights.known.get(&place).copied()
    }

    /// The ACL with which a node was made at `zxid`.
    pub(super) fn acl_of_newborn(
        &self,
        path: PathId,
        zxid: i64,
    ) -> Option<(AclId, Option<RequestIndex>)> {
        self.rights.known.get(&(path, zxid, 0)).copied()
    }

    /// True if `who` surely may read the node of that life and aversion.
    pub(super) fn lets_read(&self, path: PathId, life: i64, aversion: i32, who: Who) -> bool {
        let known = self.rights.known.get(&(path, life, aversion));
        known.is_some_and(|&(acl, _)| self.acls.access(acl, READ, who) == Access::Yes)
    }

    /// True if `who` surely may not be told of an event on a path at a zxid.
    pub fn forbids(&self, zxid: i64, event: EventType, path: &str, who: Who) -> bool {
        let Some(path) = self.paths.find(path) else {
            return false;
        };
        let known = match event {
            EventType::NodeCreated => self.acl_of_newborn(path, zxid),
            EventType::NodeDataChanged | EventType::NodeChildrenChanged => self.acl_at(path, zxid),
            // As it was before; nobody can say who was the last to change it.
            EventType::NodeDeleted => None,
        };
        known.is_some_and(|(acl, _)| self.acls.access(acl, READ, who) == Access::No)
    }
}

/// The life and aversion of the node that a request found, if its answer tells.
fn aversion_of(op: &Op, answer: &Answer) -> Option<(i64, i32)> {
    match (op, answer) {
        (Op::SetAcl { .. }, Answer::Stat(stat)) => Some((stat.czxid, stat.aversion - 1)),
        (
            Op::Get { .. }
            | Op::Exists { .. }
            | Op::Children { .. }
            | Op::GetAcl { .. }
            | Op::Set { .. },
            Answer::Stat(stat)
            | Answer::Data { stat, .. }
            | Answer::NamesStat { stat, .. }
            | Answer::Acl { stat, .. },
        ) => Some((stat.czxid, stat.aversion)),
        (_, _) => None,
    }
}
