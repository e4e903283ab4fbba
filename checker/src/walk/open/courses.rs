//! What watches that stay must be told, where others write too.
//!
//! A trigger is certain if a recorded request did it, a Stat shows its zxid, or another client
//! was notified of it; and it must be told where the ACL is known to have let the client read.
//! Strangers do more, which may be told and need not: a course holds what is certain only.
//!
//! Answers to: `consistency.md` P11.

use super::deeds::parts;
use super::{OWN, Overheard};
use crate::history::{Body, EventType, Op, SessionEvent};
use crate::model::{Access, NO_PATH, PathId, READ, Who};
use crate::walk::watches::{Post, Scope, Trigger};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Something certain: when, where, what.
type Sure = (i64, PathId, EventType);

/// Everything certain, with how often one transaction did it.
#[derive(Default)]
pub struct Certain {
    all: BTreeMap<Sure, usize>,
    by_path: FxHashMap<PathId, Vec<Sure>>,
}

impl Certain {
    fn put(&mut self, sure: Sure, times: usize) {
        if sure.0 > 0 && sure.1 != NO_PATH {
            let known = self.all.entry(sure).or_insert(0);
            *known = times.max(*known);
        }
    }

    fn came_or_went(&mut self, sure: Sure, parent: PathId, times: usize) {
        self.put(sure, times);
        self.put((sure.0, parent, EventType::NodeChildrenChanged), times);
    }
}

impl Overheard<'_, '_> {
    /// Takes down all that is certain, if anybody asks for it.
    pub(super) fn gather_courses(&mut self) {
        let history = self.case.history;
        if !history.records.iter().any(|record| stays(&record.body)) {
            return;
        }
        let mut certain = Certain::default();
        for (_, request) in self.deeds.requests(self.case) {
            let mut did: BTreeMap<Sure, usize> = BTreeMap::new();
            for (op, answer) in parts(request) {
                let event = match op {
                    Op::Create { .. } => EventType::NodeCreated,
                    Op::Delete { .. } => EventType::NodeDeleted,
                    Op::Set { .. } => EventType::NodeDataChanged,
                    _ => continue,
                };
                let path = self.about(op, answer);
                *did.entry((request.zxid, path, event)).or_insert(0) += 1;
                if event != EventType::NodeDataChanged {
                    let list = (request.zxid, self.paths.parent(path));
                    let list = (list.0, list.1, EventType::NodeChildrenChanged);
                    *did.entry(list).or_insert(0) += 1;
                }
            }
            for (sure, times) in did {
                certain.put(sure, times);
            }
        }
        for (&path, sights) in &self.sights {
            for stat in sights.iter().filter_map(|sight| sight.stat()) {
                let parent = self.paths.parent(path);
                let made = (stat.czxid, path, EventType::NodeCreated);
                certain.came_or_went(made, parent, 1);
                if stat.mzxid != stat.czxid {
                    certain.put((stat.mzxid, path, EventType::NodeDataChanged), 1);
                }
                if stat.pzxid != stat.czxid {
                    certain.put((stat.pzxid, path, EventType::NodeChildrenChanged), 1);
                }
            }
        }
        for record in &history.records {
            if let Body::Notify { zxid, event, path } = &record.body
                && let Some(path) = self.paths.find(path)
            {
                certain.put((*zxid, path, *event), 1);
            }
        }
        for &sure in certain.all.keys() {
            certain.by_path.entry(sure.1).or_default().push(sure);
        }
        self.certain = certain;
    }

    /// What a watch that stays fires on, as far as it is certain, for a client that is `who`.
    pub fn course(&self, (scope, path): Post<'_>, who: Who) -> Vec<Trigger> {
        let Some(path) = self.paths.find(path) else {
            return Vec::new();
        };
        let mut triggers = Vec::new();
        let mut put = |sure: &Sure| {
            let &(zxid, path, event) = sure;
            if scope.fires(event) {
                let must = self.must_tell(*sure, who);
                let times = self.certain.all.get(sure).copied().unwrap_or(0);
                let acl = None;
                let trigger = Trigger {
                    zxid,
                    event,
                    path,
                    acl,
                    must,
                };
                triggers.extend(std::iter::repeat_n(trigger, times));
            }
        };
        match scope {
            Scope::Node | Scope::List => {
                let here = self.certain.by_path.get(&path);
                here.into_iter().flatten().for_each(&mut put);
            }
            Scope::Below => {
                let all = self.certain.all.keys();
                let below = |sure: &&Sure| self.paths.upwards(sure.1).any(|above| above == path);
                all.filter(below).for_each(&mut put);
            }
        }
        triggers
    }

    fn must_tell(&self, (zxid, path, event): Sure, who: Who) -> bool {
        if self.paths.name(path).starts_with(OWN) {
            return false;
        }
        // One transaction may take a right away and then do what it hides.
        let sets_acl = self.deeds.at(zxid).is_some_and(|doer| {
            let doer = &self.case.requests[doer as usize];
            doer.op
                .parts()
                .iter()
                .any(|op| matches!(op, Op::SetAcl { .. }))
        });
        let acl = match event {
            EventType::NodeCreated => self.acl_of_newborn(path, zxid),
            EventType::NodeDataChanged | EventType::NodeChildrenChanged => self.acl_at(path, zxid),
            EventType::NodeDeleted => self.acl_at(path, zxid - 1),
        };
        let may = acl.is_some_and(|(acl, _)| self.acls.access(acl, READ, who) == Access::Yes);
        may && !sets_acl
    }

    /// The number of a path, if anything is known of it.
    pub fn path(&self, path: &str) -> Option<PathId> {
        self.paths.find(path)
    }

    /// The name of a path.
    pub fn name(&self, path: PathId) -> &str {
        self.paths.name(path)
    }

    /// True if everything that a transaction did is known.
    pub fn knows_all_of(&self, zxid: i64) -> bool {
        let doer = self
            .deeds
            .at(zxid)
            .map(|doer| self.case.requests[doer as usize].op);
        // Which ephemerals a session had is not.
        doer.is_some_and(|op| zxid > 0 && !matches!(op, Op::Close))
    }
}

/// True if a record asks for a watch that stays.
fn stays(body: &Body) -> bool {
    match body {
        Body::Invoke { op, .. } => matches!(op, Op::AddWatch { .. }),
        Body::Session(SessionEvent::SetWatches { stays, .. }) => !stays.is_empty(),
        Body::Session(_)
        | Body::Return { .. }
        | Body::Lost { .. }
        | Body::Notify { .. }
        | Body::Ping { .. }
        | Body::Final => false,
    }
}
