//! Where the order of a whole history is not the only one: paths that something of unknown fate
//! may have touched elsewhere, or that not everybody may read.
//!
//! The thorough judge gives what happens to these the benefit of the doubt; so of their
//! notifications only the number is judged (N2). The judge of one pass does not, and no path is
//! murky to who goes along with that one.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions; P10 to P12.

use super::asked::{Asked, Kind, Reading};
use super::rights::{READ, Rights};
use super::waits::above;
use crate::certificate::{Effect, Step};
use crate::history::{Acl, Answer, Body, History, Op, Record, SessionEvent, Start, SubAnswer};
use rustc_hash::FxHashSet;
use std::borrow::Borrow;

/// Digits that a server puts behind a sequential name.
const SUFFIX: usize = 10;

/// The paths.
#[derive(Default)]
pub struct Murk {
    paths: FxHashSet<Box<str>>,
    /// Sequential names whose number nobody was told begin like these.
    stems: FxHashSet<Box<str>>,
    /// Sessions that may have ended elsewhere.
    ended: FxHashSet<i64>,
}

impl Murk {
    /// Of a history that was read, and an order that was found for it.
    pub fn of<R: Borrow<Record>>(history: &History, read: &Reading<R>, order: &[Step]) -> Self {
        let mut murk = Murk::default();
        let session = |asked: &Asked<R>| read.lives.all[asked.life].session;
        murk.ended.insert(0);
        for step in order {
            if let Effect::End(session) = step.effect {
                murk.ended.insert(session);
            }
        }
        for record in &history.records {
            use SessionEvent::{Abandoned, Expired};
            if let Body::Session(Expired { session } | Abandoned { session }) = record.body {
                murk.ended.insert(session);
            }
        }
        let lost = read.waiting.iter().filter(|asked| asked.answer().is_none());
        let closes = lost.filter(|asked| asked.kind == Kind::Close);
        murk.ended.extend(closes.map(session));
        if let Start::Nodes { nodes, .. } = &history.header.start {
            for node in nodes {
                let owner = node.stat.ephemeral_owner;
                if node.lapse.is_some() || owner != 0 && murk.ended.contains(&owner) {
                    murk.touch(&node.path);
                }
                murk.close(&node.path, &node.acl);
            }
        }
        for asked in read.waiting.iter() {
            let answer = asked.answer().map(|(_, _, result)| result);
            murk.asked(session(asked), asked.op(), answer);
        }
        murk
    }

    fn asked(&mut self, session: i64, op: &Op, answer: Option<&SubAnswer>) {
        match (op, answer) {
            (Op::Multi { ops }, None) => ops.iter().for_each(|op| self.asked(session, op, None)),
            (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => {
                let parts = ops.iter().zip(results);
                parts.for_each(|(op, result)| self.asked(session, op, Some(result)));
            }
            (
                Op::Create {
                    path,
                    acl,
                    ephemeral,
                    lapse,
                    sequential,
                    ..
                },
                answer,
            ) => {
                let lost = answer.is_none();
                let made = match answer {
                    Some(Ok(Answer::Path(made) | Answer::Created { path: made, .. })) => made,
                    Some(_) => return,
                    None => path,
                };
                // It may go any time, told to nobody.
                let goes = lapse.is_some() || *ephemeral && self.ended.contains(&session);
                if lost || goes {
                    self.touch(made);
                }
                let unnamed = (lost && *sequential).then(|| (&**path).into());
                self.stems.extend(unnamed);
                self.close(made, acl);
            }
            (Op::Delete { path, .. } | Op::Set { path, .. }, None) => self.touch(path),
            (Op::SetAcl { path, .. }, None) => drop(self.paths.insert((&**path).into())),
            (Op::SetAcl { path, acl, .. }, Some(Ok(_))) => self.close(path, acl),
            (_, _) => {}
        }
    }

    /// What happens to a path, and to the list it is in, is not certain.
    fn touch(&mut self, path: &str) {
        self.paths.insert(path.into());
        self.paths.extend(above(path).map(Into::into));
    }

    fn close(&mut self, path: &str, acl: &[Acl]) {
        if !acl.is_empty() && !Rights::of(acl.to_vec(), false).anybody_may(READ) {
            self.paths.insert(path.into());
        }
    }

    /// True if nothing can have happened to a path but what the order tells, for all to see.
    pub fn is_clear(&self, path: &str) -> bool {
        let stem = path
            .len()
            .checked_sub(SUFFIX)
            .and_then(|end| path.get(..end));
        let unnamed = stem.is_some_and(|stem| self.stems.contains(stem));
        !unnamed && !self.paths.contains(path)
    }
}
