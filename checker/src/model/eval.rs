//! One request against the tree: does the answer agree?
//!
//! A write is applied, a read is looked up; either way the first difference between what
//! the model says and what the client was told comes back as a [`Diff`]. Names for
//! differences, not judgements: which property is broken is decided elsewhere.
//!
//! Answers to: `protocol.md` sections 7 and 10; `consistency.md` W3 and R1.

use super::acl::{ADMIN, Access, READ, Who};
use super::paths::{NO_PATH, PathId};
use super::tree::{Node, SessionIndex, Tree};
use crate::history::{Answer, ErrorCode, Op, Path, Stat, Value};

/// An answered request, as the tree needs it.
#[derive(Clone, Copy)]
pub struct Ask<'h> {
    /// What was asked.
    pub op: &'h Op,
    /// Path asked about.
    pub path: PathId,
    /// By whom.
    pub session: SessionIndex,
    /// With which identities.
    pub who: Who,
    /// What was answered.
    pub answer: &'h Result<Answer, ErrorCode>,
}

/// How an answer differs from the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diff {
    /// The model has the node, the client was told it does not exist.
    Missing(PathId),
    /// The client was shown a node the model does not have.
    Extra(PathId),
    /// Other bytes.
    Data(PathId),
    /// One field of a Stat.
    Stat {
        /// Whose.
        path: PathId,
        /// Field.
        field: &'static str,
        /// By the model.
        expected: i64,
        /// In the answer.
        got: i64,
    },
    /// A child is not in the list of names.
    NameMissing {
        /// Parent.
        path: PathId,
        /// The child, if the model can tell which.
        child: PathId,
    },
    /// A name in the list is no child.
    NameExtra {
        /// Parent.
        path: PathId,
        /// No child of it.
        child: PathId,
    },
    /// A name is in the list twice.
    NameTwice {
        /// Parent.
        path: PathId,
        /// The name's path.
        child: PathId,
    },
    /// Another ACL.
    Acl(PathId),
    /// Something was allowed that the ACL forbids, or the reverse.
    Access {
        /// Whose ACL.
        path: PathId,
        /// True if the client was allowed.
        was_allowed: bool,
    },
    /// A write ended otherwise than it must.
    Outcome {
        /// By the model; None is success.
        expected: Option<ErrorCode>,
        /// In the answer; None is success.
        got: Option<ErrorCode>,
        /// Path of the write.
        path: PathId,
        /// Index in the multi.
        part: Option<usize>,
        /// True if the request named an expected version.
        conditional: bool,
    },
    /// A create made another path than it must.
    Name {
        /// By the model.
        expected: PathId,
        /// In the answer.
        got: String,
    },
    /// The results of a multi do not have the form they must have.
    MultiForm,
    /// The answer is of another kind than the request.
    Kind,
}

/// True for errors that the state decides; all others (bad arguments, expired session, ...)
/// say nothing about the tree.
pub fn is_decided_by_state(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NO_NODE
            | ErrorCode::NO_AUTH
            | ErrorCode::BAD_VERSION
            | ErrorCode::NO_CHILDREN_FOR_EPHEMERALS
            | ErrorCode::NODE_EXISTS
            | ErrorCode::NOT_EMPTY
    )
}

impl Tree<'_> {
    /// Applies an answered write in the open transaction and compares.
    ///
    /// # Errors
    /// The first difference; the transaction may then be half applied and must be rewound.
    pub fn write(&mut self, ask: &Ask<'_>) -> Result<(), Diff> {
        if let Op::Multi { ops } = ask.op {
            return self.write_multi(ops, ask);
        }
        if let Err(code) = ask.answer
            && !is_decided_by_state(*code)
        {
            // A refusal for reasons outside the tree: nothing happened.
            return Ok(());
        }
        let lenient = *ask.answer != Err(ErrorCode::NO_AUTH);
        let outcome = self.apply(ask.op, ask.path, ask.session, ask.who, lenient);
        match (outcome, ask.answer) {
            (Ok(path), Ok(answer)) => self.written(ask.op, path, answer),
            (Err(expected), Err(got)) if expected == *got => Ok(()),
            (outcome, got) => Err(outcome_diff(
                ask,
                outcome.err(),
                got.as_ref().err().copied(),
                None,
            )),
        }
    }

    /// Compares a successful write's answer with the node it left.
    fn written(&mut self, op: &Op, path: PathId, answer: &Answer) -> Result<(), Diff> {
        match (op, answer) {
            (Op::Create { .. }, Answer::Path(made)) => self.same_path(path, made),
            (Op::Create { .. }, Answer::Created { path: made, stat }) => {
                self.same_path(path, made)?;
                self.same_stat(path, stat)
            }
            (Op::Set { .. } | Op::SetAcl { .. }, Answer::Stat(stat)) => self.same_stat(path, stat),
            (Op::Delete { .. } | Op::Check { .. } | Op::Close, Answer::Done) => Ok(()),
            (_, _) => Err(Diff::Kind),
        }
    }

    fn write_multi(&mut self, ops: &[Op], ask: &Ask<'_>) -> Result<(), Diff> {
        let results = match ask.answer {
            Ok(Answer::Multi(results)) => results,
            Ok(_) => return Err(Diff::Kind),
            Err(code) if is_decided_by_state(*code) => return self.refused_multi(ops, ask, *code),
            Err(_) => return Ok(()),
        };
        if results.len() != ops.len() {
            return Err(Diff::MultiForm);
        }
        let Some(failed) = results
            .iter()
            .position(|result| matches!(result, Err(code) if *code != ErrorCode::OK))
        else {
            return self.granted_multi(ops, ask, results);
        };
        let after = &results[failed + 1..];
        if results[..failed].iter().any(Result::is_ok)
            || after
                .iter()
                .any(|result| *result != Err(ErrorCode::RUNTIME_INCONSISTENCY))
        {
            return Err(Diff::MultiForm);
        }
        match &results[failed] {
            Err(code) if is_decided_by_state(*code) => self.failed_multi(ops, ask, failed, *code),
            Err(_) | Ok(_) => Ok(()),
        }
    }

    /// A multi whose parts all report success.
    fn granted_multi(
        &mut self,
        ops: &[Op],
        ask: &Ask<'_>,
        results: &[Result<Answer, ErrorCode>],
    ) -> Result<(), Diff> {
        if results.iter().any(Result::is_err) {
            return Err(Diff::MultiForm);
        }
        let (mut index, mut first) = (0, None);
        let outcome = self.multi(
            ops,
            ask.session,
            ask.who,
            |_| true,
            |tree, path| {
                if let (None, Ok(answer)) = (&first, &results[index]) {
                    first = tree.written(&ops[index], path, answer).err();
                }
                index += 1;
            },
        );
        match (outcome, first) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(diff)) => Err(diff),
            (Err((part, code)), _) => Err(self.part_diff(ops, ask, part, Some(code), None)),
        }
    }

    /// A multi that reports a failure at `failed`.
    fn failed_multi(
        &mut self,
        ops: &[Op],
        ask: &Ask<'_>,
        failed: usize,
        code: ErrorCode,
    ) -> Result<(), Diff> {
        match self.multi(
            ops,
            ask.session,
            ask.who,
            |part| part < failed || code != ErrorCode::NO_AUTH,
            |_, _| {},
        ) {
            Err((part, expected)) if part == failed && expected == code => Ok(()),
            Err((part, expected)) if part <= failed => {
                let got = if part == failed { Some(code) } else { None };
                Err(self.part_diff(ops, ask, part, Some(expected), got))
            }
            Ok(()) | Err(_) => Err(self.part_diff(ops, ask, failed, None, Some(code))),
        }
    }

    /// A multi that a client library reports by its first error alone.
    fn refused_multi(&mut self, ops: &[Op], ask: &Ask<'_>, code: ErrorCode) -> Result<(), Diff> {
        match self.multi(
            ops,
            ask.session,
            ask.who,
            |_| code != ErrorCode::NO_AUTH,
            |_, _| {},
        ) {
            Err((_, expected)) if expected == code => Ok(()),
            Err((part, expected)) => {
                Err(self.part_diff(ops, ask, part, Some(expected), Some(code)))
            }
            Ok(()) => Err(self.part_diff(ops, ask, 0, None, Some(code))),
        }
    }

    fn part_diff(
        &mut self,
        ops: &[Op],
        ask: &Ask<'_>,
        part: usize,
        expected: Option<ErrorCode>,
        got: Option<ErrorCode>,
    ) -> Diff {
        let path = match ops.get(part).and_then(Op::path) {
            Some(path) => self.paths.id_shared(path),
            None => NO_PATH,
        };
        let op = ops.get(part).unwrap_or(ask.op);
        outcome_diff(&Ask { op, path, ..*ask }, expected, got, Some(part))
    }

    /// Compares an answered read with the tree as it is.
    ///
    /// # Errors
    /// The first difference.
    pub fn read(&mut self, ask: &Ask<'_>, exists_needs_read: bool) -> Result<(), Diff> {
        if ask.op.asks_no_node() {
            return match ask.answer {
                Ok(Answer::Done) => Ok(()),
                Ok(_) | Err(_) => Err(Diff::Kind),
            };
        }
        self.next_generation();
        let node = self.node(ask.path);
        match ask.answer {
            Err(code) => read_refused(self, ask, node, *code),
            Ok(_) if !node.exists => Err(Diff::Extra(ask.path)),
            Ok(answer) => {
                self.read_allowed(ask, node, exists_needs_read)?;
                self.read_answer(ask, answer)
            }
        }
    }

    /// True if a node in this state would have given this answer to a read, as far as the node
    /// itself decides: of names, only how many. A Stat of zeros was not recorded.
    pub fn state_answers(&self, node: &Node, answer: &Result<Answer, ErrorCode>) -> bool {
        let same_stat = |stat: &Stat| {
            *stat == Stat::default()
                || (stat.czxid, stat.mzxid, stat.version, stat.pzxid)
                    == (node.czxid, node.mzxid, node.version, node.pzxid)
        };
        match answer {
            Err(ErrorCode::NO_NODE) => !node.exists,
            Err(_) => node.exists,
            Ok(Answer::Stat(stat)) => node.exists && same_stat(stat),
            Ok(Answer::Data { data, stat }) => {
                node.exists && same_data(node, data.as_ref()) && same_stat(stat)
            }
            Ok(Answer::Names(names)) => {
                node.exists && names.len() as i64 == i64::from(node.children)
            }
            Ok(Answer::NamesStat { names, stat }) => {
                node.exists && names.len() as i64 == i64::from(node.children) && same_stat(stat)
            }
            Ok(Answer::Acl { acl, stat }) => {
                let same = node.opaque || self.acls.shows_as(node.acl, acl);
                node.exists && same && same_stat(stat)
            }
            Ok(Answer::Done | Answer::Path(_) | Answer::Created { .. } | Answer::Multi(_)) => false,
        }
    }

    fn read_allowed(
        &self,
        ask: &Ask<'_>,
        node: &Node,
        exists_needs_read: bool,
    ) -> Result<(), Diff> {
        let wanted = match ask.op {
            Op::Exists { .. } if !exists_needs_read => return Ok(()),
            Op::GetAcl { .. } => READ | ADMIN,
            _ => READ,
        };
        match self.acls.access(node.acl, wanted, ask.who) {
            Access::No => Err(Diff::Access {
                path: ask.path,
                was_allowed: true,
            }),
            Access::Yes | Access::Unclear => Ok(()),
        }
    }

    fn read_answer(&mut self, ask: &Ask<'_>, answer: &Answer) -> Result<(), Diff> {
        let node = self.node(ask.path);
        match (ask.op, answer) {
            (Op::Exists { .. }, Answer::Stat(stat)) => self.same_stat(ask.path, stat),
            (Op::Get { .. }, Answer::Data { data, stat }) => {
                let same = same_data(node, data.as_ref());
                // The bytes are judged first when the Stat claims to be this very version.
                if !same && stat.mzxid == node.mzxid {
                    return Err(Diff::Data(ask.path));
                }
                self.same_stat(ask.path, stat)?;
                if same {
                    Ok(())
                } else {
                    Err(Diff::Data(ask.path))
                }
            }
            (Op::Children { .. }, Answer::Names(names)) => self.same_names(ask.path, names),
            (Op::Children { .. }, Answer::NamesStat { names, stat }) => {
                self.same_names(ask.path, names)?;
                self.same_stat(ask.path, stat)
            }
            (Op::GetAcl { .. }, Answer::Acl { acl, stat }) => {
                self.same_stat(ask.path, stat)?;
                let node = self.node(ask.path);
                match node.opaque || self.acls.shows_as(node.acl, acl) {
                    true => Ok(()),
                    false => Err(Diff::Acl(ask.path)),
                }
            }
            (_, _) => Err(Diff::Kind),
        }
    }

    fn same_names(&mut self, path: PathId, names: &[Path]) -> Result<(), Diff> {
        for name in names {
            let child = self.paths.child_shared(path, name);
            if !self.mark(child) {
                return Err(Diff::NameTwice { path, child });
            }
            if !self.node(child).exists {
                return Err(Diff::NameExtra { path, child });
            }
        }
        if names.len() as i64 != i64::from(self.node(path).children) {
            return Err(Diff::NameMissing {
                path,
                child: match self.blind {
                    // Which one nobody asks, and finding it takes long.
                    true => NO_PATH,
                    false => self.unmarked_child(path).unwrap_or(NO_PATH),
                },
            });
        }
        Ok(())
    }

    fn same_path(&self, expected: PathId, got: &Path) -> Result<(), Diff> {
        match self.paths.is_named(expected, got) {
            true => Ok(()),
            false => Err(Diff::Name {
                expected,
                got: got.to_string(),
            }),
        }
    }

    fn same_stat(&mut self, path: PathId, stat: &Stat) -> Result<(), Diff> {
        match self.stat_differs(path, stat) {
            None => Ok(()),
            Some((field, expected, got)) => Err(Diff::Stat {
                path,
                field,
                expected,
                got,
            }),
        }
    }
}

fn same_data(node: &Node, seen: Option<&Value>) -> bool {
    node.opaque || node.data.as_ref() == seen
}

fn read_refused(tree: &Tree<'_>, ask: &Ask<'_>, node: &Node, code: ErrorCode) -> Result<(), Diff> {
    match code {
        ErrorCode::NO_NODE if node.exists => Err(Diff::Missing(ask.path)),
        ErrorCode::NO_AUTH if !node.exists => Err(Diff::Extra(ask.path)),
        ErrorCode::NO_AUTH => {
            let wanted = if matches!(ask.op, Op::GetAcl { .. }) {
                READ | ADMIN
            } else {
                READ
            };
            match tree.acls.access(node.acl, wanted, ask.who) == Access::Yes {
                true => Err(Diff::Access {
                    path: ask.path,
                    was_allowed: false,
                }),
                false => Ok(()),
            }
        }
        ErrorCode::NO_NODE => Ok(()),
        // Of the other errors that the state decides, no read has any.
        _ => Err(Diff::Kind),
    }
}

fn outcome_diff(
    ask: &Ask<'_>,
    expected: Option<ErrorCode>,
    got: Option<ErrorCode>,
    part: Option<usize>,
) -> Diff {
    if expected == Some(ErrorCode::NO_AUTH) || got == Some(ErrorCode::NO_AUTH) {
        return Diff::Access {
            path: ask.path,
            was_allowed: got != Some(ErrorCode::NO_AUTH),
        };
    }
    let conditional = match ask.op {
        Op::Delete { version, .. }
        | Op::Set { version, .. }
        | Op::SetAcl { version, .. }
        | Op::Check { version, .. } => *version != -1,
        _ => false,
    };
    Diff::Outcome {
        expected,
        got,
        path: ask.path,
        part,
        conditional,
    }
}
