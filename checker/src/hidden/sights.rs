//! What answers show of numbers that only grow while a node lives.
//!
//! Of every node that nothing can delete, or make a second time, each answer that shows a
//! version, an ACL version or how many children were ever made is a sight of it. What such a
//! sight says of the order is `graph`'s.
//!
//! Answers to: `consistency.md` 3.3 (L1).

use crate::history::{Answer, ErrorCode, Op, Start, Stat};
use crate::model::{PathId, Paths};
use crate::walk::case::{Case, Request, RequestIndex, Role};
use crate::walk::makes_ephemeral;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// Digits at the end of a sequential node's name.
const SEQUENCE_DIGITS: usize = 10;

/// A number of a node that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// Sets since the create; -1 before it.
    Version,
    /// ACL changes.
    Aversion,
    /// Children ever made.
    Creates,
}

impl Counter {
    /// Its name in sentences.
    pub fn words(self) -> &'static str {
        match self {
            Counter::Version => "version",
            Counter::Aversion => "aversion",
            Counter::Creates => "number of children made",
        }
    }
}

/// One answer and a number of a node.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// The number.
    pub value: i64,
    /// Whose answer it is.
    pub request: RequestIndex,
    /// It made the number so.
    pub made: bool,
}

/// Sights of each node's numbers.
pub type Sights = BTreeMap<(PathId, Counter), Vec<Sight>>;

/// True if a request has a place in every order, or sees a prefix of it.
pub fn is_settled(request: &Request<'_>) -> bool {
    match request.role {
        Role::Transaction | Role::Read | Role::ReadSomewhere | Role::Sync => true,
        Role::Unanswered | Role::Nothing => false,
    }
}

/// What answers show of numbers, and the paths of which that says nothing because their nodes
/// may have been there more than once.
pub fn sights_of(case: &mut Case<'_>) -> (Sights, FxHashSet<PathId>) {
    let mut look = Look {
        sights: Sights::new(),
        mortal: FxHashSet::default(),
        prefixes: Vec::new(),
        at_start: at_start(case),
    };
    for index in 0..case.requests.len() {
        let request = &case.requests[index];
        let settled = is_settled(request);
        look.notes_fate(request.op, &mut case.paths);
        if let (true, Some(answer)) = (settled, request.answer) {
            look.looks_at(index as RequestIndex, request.op, answer, &mut case.paths);
        }
    }
    for &(path, _) in look.sights.keys() {
        let name = case.paths.name(path);
        let made = look.prefixes.iter().any(|prefix| is_numbered(name, prefix));
        if made {
            look.mortal.insert(path);
        }
    }
    (look.sights, look.mortal)
}

/// True if a sequential create of `prefix` may make a node of this name.
pub fn is_numbered(name: &str, prefix: &str) -> bool {
    let number = name.strip_prefix(prefix);
    number.is_some_and(|number| {
        number.len() >= SEQUENCE_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn at_start(case: &Case<'_>) -> FxHashSet<String> {
    let mut there: FxHashSet<String> = FxHashSet::default();
    let always = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
    there.extend(always.map(String::from));
    if let Start::Nodes { nodes, .. } = &case.history.header.start {
        there.extend(nodes.iter().map(|node| node.path.to_string()));
    }
    there
}

struct Look {
    sights: Sights,
    mortal: FxHashSet<PathId>,
    /// Of sequential ephemerals.
    prefixes: Vec<String>,
    at_start: FxHashSet<String>,
}

impl Look {
    /// Notes what can end a node's life, whatever became of the request.
    fn notes_fate<'h>(&mut self, op: &'h Op, paths: &mut Paths<'h>) {
        for part in op.parts() {
            let (Some(path), ephemeral) = (part.path(), makes_ephemeral(part)) else {
                continue;
            };
            match part {
                Op::Create {
                    sequential: true, ..
                } if ephemeral => self.prefixes.push(path.to_string()),
                Op::Delete { .. } => drop(self.mortal.insert(paths.id(path))),
                _ if ephemeral => drop(self.mortal.insert(paths.id(path))),
                _ => {}
            }
        }
    }

    fn looks_at<'h>(
        &mut self,
        request: RequestIndex,
        op: &'h Op,
        answer: &'h Result<Answer, ErrorCode>,
        paths: &mut Paths<'h>,
    ) {
        let path = op.path().map(|path| paths.id(path));
        match (op, answer) {
            (Op::Multi { ops }, Ok(Answer::Multi(results))) => {
                // A failed one shows nothing.
                if results.len() == ops.len() && results.iter().all(Result::is_ok) {
                    for (op, answer) in ops.iter().zip(results) {
                        self.looks_at(request, op, answer, paths);
                    }
                }
            }
            (
                Op::Create {
                    sequential,
                    path: asked,
                    ..
                },
                Ok(Answer::Path(made) | Answer::Created { path: made, .. }),
            ) => {
                let node = paths.id(made);
                if !self.at_start.contains(&**made) {
                    self.note(node, Counter::Version, 0, request, true);
                }
                let number = made
                    .strip_prefix(&**asked)
                    .and_then(|number| number.parse::<i64>().ok());
                if let (true, Some(number)) = (*sequential, number) {
                    self.note(
                        paths.parent(node),
                        Counter::Creates,
                        number + 1,
                        request,
                        true,
                    );
                }
            }
            (Op::Set { .. }, Ok(Answer::Stat(stat))) => {
                if let Some(path) = path {
                    self.note(path, Counter::Version, stat.version.into(), request, true);
                    self.note(path, Counter::Creates, made_by(stat), request, false);
                    self.note(
                        path,
                        Counter::Aversion,
                        stat.aversion.into(),
                        request,
                        false,
                    );
                }
            }
            (Op::SetAcl { .. }, Ok(Answer::Stat(stat))) => {
                if let Some(path) = path {
                    self.note(path, Counter::Aversion, stat.aversion.into(), request, true);
                    self.note(path, Counter::Version, stat.version.into(), request, false);
                    self.note(path, Counter::Creates, made_by(stat), request, false);
                }
            }
            (
                Op::Exists { .. } | Op::Get { .. } | Op::Children { .. } | Op::GetAcl { .. },
                Ok(
                    Answer::Stat(stat)
                    | Answer::Data { stat, .. }
                    | Answer::NamesStat { stat, .. }
                    | Answer::Acl { stat, .. },
                ),
            ) if *stat != Stat::default() => {
                if let Some(path) = path {
                    self.note(path, Counter::Version, stat.version.into(), request, false);
                    self.note(
                        path,
                        Counter::Aversion,
                        stat.aversion.into(),
                        request,
                        false,
                    );
                    self.note(path, Counter::Creates, made_by(stat), request, false);
                }
            }
            (
                Op::Exists { .. } | Op::Get { .. } | Op::Children { .. } | Op::GetAcl { .. },
                Err(ErrorCode::NO_NODE),
            ) => {
                if let Some(path) = path {
                    self.note(path, Counter::Version, -1, request, false);
                }
            }
            (_, _) => {}
        }
    }

    fn note(
        &mut self,
        path: PathId,
        counter: Counter,
        value: i64,
        request: RequestIndex,
        made: bool,
    ) {
        let sights = self.sights.entry((path, counter)).or_default();
        sights.push(Sight {
            value,
            request,
            made,
        });
    }
}

/// Children ever made, which the reported cversion hides.
fn made_by(stat: &Stat) -> i64 {
    i64::from(stat.cversion.wrapping_add(stat.num_children) / 2)
}
