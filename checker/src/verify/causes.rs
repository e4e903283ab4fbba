//! What fired along a proved order, as far as nothing else can have: the causes that
//! notifications are held against.
//!
//! Answered transactions say themselves what they did, so no tree is needed, only who owns
//! which ephemeral. Paths that a request of unknown fate, or an end that was told to nobody,
//! may have touched, and containers and TTL nodes are *murky*; those that ever had an ACL that does not let everybody read,
//! or may have had, are *secret*. Of both only the count of notifications is judged.
//!
//! Answers to: `consistency.md` P10 to P12; `protocol.md` 12.

use super::told::Request;
use crate::certificate::{Effect, Step};
use crate::history::{Acl, Answer, Body, ErrorCode, EventType, History, Op, SessionEvent, Start};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// Digits that a server puts behind a sequential name.
const SUFFIX: usize = 10;

/// The permission to read.
const MAY_READ: i32 = 1;

/// One event of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// The transaction.
    pub zxid: i64,
    /// What it did to the path.
    pub event: EventType,
}

/// Every cause, by path.
#[derive(Default)]
pub struct Causes<'h> {
    events: FxHashMap<&'h str, Vec<Cause>>,
    murky: FxHashSet<&'h str>,
    /// Sequential names whose number nobody was told begin like these.
    murky_prefixes: FxHashSet<&'h str>,
    secret: FxHashSet<&'h str>,
    owned: FxHashMap<i64, BTreeSet<&'h str>>,
}

/// The node above a path.
fn above(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    }
}

impl<'h> Causes<'h> {
    /// Follows an order that has been proved.
    pub fn of(history: &'h History, requests: &[Request<'h>], order: &[Step]) -> Self {
        let mut causes = Causes::default();
        if let Start::Nodes { nodes, .. } = &history.header.start {
            for node in nodes {
                causes.give(&node.path, &node.acl);
                if node.lapse.is_some() {
                    causes.murk(&node.path);
                }
                let owner = node.stat.ephemeral_owner;
                if owner != 0 {
                    causes.owned.entry(owner).or_default().insert(&node.path);
                }
            }
        }
        for step in order {
            let asked = match step.effect {
                Effect::End(session) => {
                    causes.end_untold(session);
                    continue;
                }
                // Murky since it was made.
                Effect::Lapse(_) => continue,
                Effect::Request(record) => {
                    let found = requests.binary_search_by_key(&record, |asked| asked.invoke);
                    found.ok().map(|at| requests[at])
                }
            };
            match asked.map(|asked| (asked.session, asked.op, asked.answer)) {
                Some((session, op, Some((_, result)))) => {
                    causes.done(step.zxid, session, op, result);
                }
                Some((session, op, None)) => causes.perhaps(session, op),
                None => {}
            }
        }
        // What is of unknown fate may have happened elsewhere than in this order.
        for asked in requests.iter().filter(|asked| asked.answer.is_none()) {
            causes.perhaps(asked.session, asked.op);
        }
        for record in &history.records {
            if let Body::Session(
                SessionEvent::Expired { session } | SessionEvent::Abandoned { session },
            ) = record.body
            {
                causes.end_untold(session);
            }
        }
        causes
    }

    fn done(&mut self, zxid: i64, session: i64, op: &'h Op, result: &'h Result<Answer, ErrorCode>) {
        match (op, result) {
            (Op::Multi { ops }, Ok(Answer::Multi(results))) => {
                if results.iter().all(Result::is_ok) {
                    for (op, result) in ops.iter().zip(results) {
                        self.done(zxid, session, op, result);
                    }
                }
            }
            (
                Op::Create {
                    acl,
                    ephemeral,
                    lapse,
                    ..
                },
                Ok(Answer::Path(path) | Answer::Created { path, .. }),
            ) => {
                self.fire(zxid, path, EventType::NodeCreated);
                self.give(path, acl);
                // It may go any time, told to nobody.
                if lapse.is_some() {
                    self.murk(path);
                }
                match (*ephemeral, session) {
                    (false, _) => {}
                    // Asked before there was a session: its end is not followed.
                    (true, 0) => self.murk(path),
                    (true, _) => drop(self.owned.entry(session).or_default().insert(path)),
                }
            }
            (Op::Delete { path, .. }, Ok(_)) => self.fire(zxid, path, EventType::NodeDeleted),
            (Op::Set { path, .. }, Ok(_)) => self.fire(zxid, path, EventType::NodeDataChanged),
            (Op::SetAcl { path, acl, .. }, Ok(_)) => self.give(path, acl),
            (Op::Close, Ok(_)) => {
                for path in self.owned.remove(&session).unwrap_or_default() {
                    // It may have been deleted before, and be another's now.
                    let last = self.events.get(path).and_then(|events| events.last());
                    if last.is_none_or(|last| last.event != EventType::NodeDeleted) {
                        self.fire(zxid, path, EventType::NodeDeleted);
                    }
                }
            }
            (_, _) => {}
        }
    }

    fn fire(&mut self, zxid: i64, path: &'h str, event: EventType) {
        let mut put = |path, event| {
            let cause = Cause { zxid, event };
            self.events.entry(path).or_default().push(cause);
        };
        put(path, event);
        let came_or_went = matches!(event, EventType::NodeCreated | EventType::NodeDeleted);
        if let Some(parent) = above(path).filter(|_| came_or_went) {
            put(parent, EventType::NodeChildrenChanged);
        }
        if event == EventType::NodeDeleted {
            for paths in self.owned.values_mut() {
                paths.remove(path);
            }
        }
    }

    fn give(&mut self, path: &'h str, acl: &[Acl]) {
        let all = |entry: &Acl| &*entry.identity.scheme == "world" && entry.perms & MAY_READ != 0;
        if !acl.is_empty() && !acl.iter().any(all) {
            self.secret.insert(path);
        }
    }

    /// A request that may or may not have happened, here or elsewhere.
    fn perhaps(&mut self, session: i64, op: &'h Op) {
        match op {
            Op::Multi { ops } => ops.iter().for_each(|op| self.perhaps(session, op)),
            Op::Create {
                path,
                acl,
                ephemeral,
                sequential,
                ..
            } => {
                self.murk(path);
                self.give(path, acl);
                if *sequential {
                    self.murky_prefixes.insert(path);
                }
                if *ephemeral {
                    self.owned.entry(session).or_default().insert(path);
                }
            }
            Op::Delete { path, .. } | Op::Set { path, .. } => self.murk(path),
            Op::SetAcl { path, .. } => {
                self.secret.insert(path);
            }
            Op::Close => self.end_untold(session),
            Op::Exists { .. }
            | Op::Get { .. }
            | Op::Children { .. }
            | Op::GetAcl { .. }
            | Op::Check { .. }
            | Op::Sync { .. }
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. } => {}
        }
    }

    fn end_untold(&mut self, session: i64) {
        for path in self.owned.remove(&session).unwrap_or_default() {
            self.murk(path);
        }
    }

    fn murk(&mut self, path: &'h str) {
        self.murky.insert(path);
        self.murky.extend(above(path));
    }

    /// True if nothing but the causes told can have fired on a path, for all to see.
    pub fn is_clear(&self, path: &str) -> bool {
        let stem = path
            .len()
            .checked_sub(SUFFIX)
            .and_then(|end| path.get(..end));
        let unnamed = stem.is_some_and(|stem| self.murky_prefixes.contains(stem));
        !unnamed && !self.murky.contains(path) && !self.secret.contains(path)
    }

    /// Every path that has causes.
    pub fn paths(&self) -> impl Iterator<Item = &'h str> + '_ {
        self.events.keys().copied()
    }

    /// The causes on a path, in order.
    pub fn on(&self, path: &str) -> &[Cause] {
        self.events.get(path).map_or(&[], Vec::as_slice)
    }
}
