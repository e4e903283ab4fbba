//! What a shadow lets through of each request, answer and node.
//!
//! One request at a time, and without a look at the rest of the history: what it asks of the nodes
//! in question, and what it was told of them. The table at the head of [`super::shadow`] says what
//! is left out and why. What always holds: what it lets through is no more than was said.
//!
//! Answers to: `consistency.md` 3.1 ("partition writes only") and 3.3 (components).

use super::sights::is_numbered;
use crate::history::{Answer, ErrorCode, Op, Path, StartNode, Stat, SubAnswer, Value};
use crate::walk::case::{Request, Role};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// What the answer to a request is in a shadow; None if it was lost.
pub type Told = Option<Result<Answer, ErrorCode>>;

/// What a shadow lets through.
pub struct Lens<'h> {
    /// The node whose children are looked at too.
    pub family: Option<&'h str>,
    /// The nodes in question.
    pub nodes: FxHashSet<&'h str>,
}

impl Lens<'_> {
    /// A request in the shadow: None if it says nothing there. The outer None: nobody can tell.
    pub fn request(&self, request: &Request<'_>) -> Option<Option<(Op, Told)>> {
        let answer = match request.role {
            Role::Nothing => return Some(None),
            Role::Unanswered => None,
            Role::Transaction | Role::Read | Role::ReadSomewhere | Role::Sync => request.answer,
        };
        match (request.op, answer) {
            (Op::Close | Op::Sync { .. }, _) => Some(None),
            (Op::Multi { ops }, None) => {
                let mut parts = Vec::new();
                for op in ops {
                    parts.extend(self.part(op, None)?.map(|(op, _)| op));
                }
                // What it made may have had another number, and the rest was done all the same.
                let guessed = ops.iter().any(|op| self.is_guessed(op));
                match parts.len() {
                    0 => Some(None),
                    2.. if guessed => None,
                    _ => Some(Some((Op::Multi { ops: parts }, None))),
                }
            }
            (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => self.multi(ops, results),
            (Op::Multi { .. }, Some(_)) => Some(None),
            (op, None) => self.part(op, None),
            (op, Some(answer)) => self.part(op, Some(answer)),
        }
    }

    fn multi(&self, ops: &[Op], results: &[SubAnswer]) -> Option<Option<(Op, Told)>> {
        let failure = |result: &SubAnswer| matches!(result, Err(code) if *code != ErrorCode::OK);
        let failed = results.iter().position(failure);
        if results.len() != ops.len() {
            return Some(None);
        }
        let (mut parts, mut answers) = (Vec::new(), Vec::new());
        for (index, (op, result)) in ops.iter().zip(results).enumerate() {
            let seen = match failed {
                None => self.part(op, Some(result))?,
                // What it would have made is not told.
                Some(failed) if index < failed => {
                    if self.is_guessed(op) {
                        return Some(None);
                    }
                    let part = self.part(op, None)?;
                    part.map(|(op, _)| (op, Some(Err(ErrorCode::OK))))
                }
                Some(failed) if index == failed => match self.part(op, Some(result))? {
                    Some(part) => Some(part),
                    None => return Some(None),
                },
                Some(_) => None,
            };
            if let Some((op, Some(answer))) = seen {
                parts.push(op);
                answers.push(answer);
            }
        }
        let answer = Some(Ok(Answer::Multi(answers)));
        Some((!parts.is_empty()).then_some((Op::Multi { ops: parts }, answer)))
    }

    /// One operation that is no multi.
    fn part(&self, op: &Op, answer: Option<&SubAnswer>) -> Option<Option<(Op, Told)>> {
        let path = &**op.path()?;
        let seen = self.nodes.contains(path);
        let wide = |path: &str| self.family == Some(path);
        let within = parent_of(path).is_some_and(wide);
        let refused = answer.and_then(|answer| answer.as_ref().err().copied());
        let hidden = match op {
            Op::Create {
                sequential: true, ..
            } if !within => return self.numbered(op, answer),
            Op::Create { .. } if within => false,
            Op::Create { .. } => {
                !seen || refused.is_some_and(|code| code != ErrorCode::NODE_EXISTS)
            }
            Op::Delete { .. } => {
                let foreign = match refused {
                    Some(ErrorCode::NO_AUTH) => !within,
                    Some(ErrorCode::NOT_EMPTY) => !wide(path),
                    Some(_) | None => false,
                };
                !seen || foreign
            }
            Op::Children { .. } if !wide(path) => return Some(self.listed(path, seen, answer)),
            Op::Exists { .. }
            | Op::Get { .. }
            | Op::GetAcl { .. }
            | Op::Children { .. }
            | Op::Set { .. }
            | Op::SetAcl { .. }
            | Op::Check { .. } => !seen,
            Op::Sync { .. }
            | Op::Multi { .. }
            | Op::Close
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. } => true,
        };
        Some((!hidden).then(|| {
            (
                unwatched(op),
                answer.map(|answer| self.narrowed(path, answer)),
            )
        }))
    }

    /// True if an operation may make a node in question, or another.
    fn is_guessed(&self, op: &Op) -> bool {
        let (
            Op::Create {
                sequential: true, ..
            },
            Some(prefix),
        ) = (op, op.path())
        else {
            return false;
        };
        let within = parent_of(prefix).is_some_and(|parent| self.family == Some(parent));
        !within && self.nodes.iter().any(|path| is_numbered(path, prefix))
    }

    /// A sequential create under a parent that is not looked at.
    fn numbered(&self, op: &Op, answer: Option<&SubAnswer>) -> Option<Option<(Op, Told)>> {
        let made: Path = match answer {
            Some(Ok(Answer::Path(made) | Answer::Created { path: made, .. })) => made.clone(),
            Some(_) => return Some(None),
            None => {
                let prefix = op.path()?;
                let mut fitting = self.nodes.iter().filter(|path| is_numbered(path, prefix));
                match (fitting.next(), fitting.next()) {
                    (None, _) => return Some(None),
                    (Some(&path), None) => path.into(),
                    (Some(_), Some(_)) => return None,
                }
            }
        };
        if !self.nodes.contains(&*made) {
            return Some(None);
        }
        let mut create = op.clone();
        if let Op::Create {
            path, sequential, ..
        } = &mut create
        {
            (*path, *sequential) = (made.clone(), false);
        }
        Some(Some((
            create,
            answer.map(|answer| self.narrowed(&made, answer)),
        )))
    }

    /// A list of children that are not all looked at: it shows its own node, or one child.
    fn listed(&self, path: &str, seen: bool, answer: Option<&SubAnswer>) -> Option<(Op, Told)> {
        let exists = |path: &str, told: SubAnswer| {
            let op = Op::Exists {
                path: path.into(),
                watch: false,
            };
            Some((op, Some(told)))
        };
        let answer = answer?;
        if seen {
            return match answer {
                Ok(Answer::NamesStat { stat, .. }) => {
                    let stat = Answer::Stat(*stat);
                    exists(path, self.narrowed(path, &Ok(stat)))
                }
                Ok(_) => exists(path, Ok(Answer::Stat(Stat::default()))),
                Err(ErrorCode::NO_NODE) => exists(path, Err(ErrorCode::NO_NODE)),
                Err(_) => None,
            };
        }
        let child = self
            .nodes
            .iter()
            .find(|child| parent_of(child) == Some(path))?;
        match answer {
            Ok(Answer::Names(names) | Answer::NamesStat { names, .. }) => {
                let name = child.rsplit('/').next();
                let there = names.iter().any(|other| Some(&**other) == name);
                exists(
                    child,
                    match there {
                        true => Ok(Answer::Stat(Stat::default())),
                        false => Err(ErrorCode::NO_NODE),
                    },
                )
            }
            Ok(_) => None,
            Err(ErrorCode::NO_NODE) => exists(child, Err(ErrorCode::NO_NODE)),
            Err(_) => None,
        }
    }

    /// An answer without the children of nodes whose children are not looked at.
    fn narrowed(&self, path: &str, answer: &SubAnswer) -> SubAnswer {
        let mut answer = answer.clone();
        if self.family != Some(path)
            && let Ok(
                Answer::Created { stat, .. }
                | Answer::Stat(stat)
                | Answer::Data { stat, .. }
                | Answer::NamesStat { stat, .. }
                | Answer::Acl { stat, .. },
            ) = &mut answer
        {
            (stat.cversion, stat.num_children) = (0, 0);
        }
        answer
    }

    /// The tree before the first record: what was there of these nodes, and all above them.
    pub fn start(&self, given: &[StartNode]) -> Vec<StartNode> {
        let mut above: BTreeSet<&str> = BTreeSet::new();
        for path in &self.nodes {
            let mut path = *path;
            while let Some(parent) = parent_of(path) {
                if parent != "/" && !self.nodes.contains(parent) {
                    above.insert(parent);
                }
                path = parent;
            }
        }
        let above = above.into_iter().map(|path| StartNode {
            path: path.into(),
            data: Some(Value::from("")),
            stat: Stat::default(),
            acl: Vec::new(),
            lapse: None,
        });
        let own = given.iter().filter(|node| self.nodes.contains(&*node.path));
        let own = own.map(|node| {
            let mut node = node.clone();
            if self.family != Some(&*node.path) {
                (node.stat.cversion, node.stat.num_children) = (0, 0);
            }
            node
        });
        let mut nodes: Vec<StartNode> = above.chain(own).collect();
        nodes.sort_by(|left, right| left.path.cmp(&right.path));
        nodes
    }
}

/// The same without asking to be told.
fn unwatched(op: &Op) -> Op {
    let mut op = op.clone();
    if let Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } = &mut op {
        *watch = false;
    }
    op
}

/// The path above; None of the root.
pub fn parent_of(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}
