//! What every answer says of a path, at its place of the order.
//!
//! Also what an answer must be by itself, whatever others did: a write's own Stat names the
//! write, a list is as long as its Stat says, a multi's results are all of one kind.
//!
//! Answers to: `consistency.md` P2, P16, P17.

use super::{OWN, Overheard};
use crate::history::{Answer, ErrorCode, Op, Path, Stat, SubAnswer, Value};
use crate::model::PathId;
use crate::verdict::{Property, Violation};
use crate::walk::case::{Request, RequestIndex, Role};
use crate::walk::evidence;
use rustc_hash::{FxHashMap, FxHashSet};

/// How a path was at one place of the order.
#[derive(Debug, Clone, Copy)]
pub enum State<'h> {
    /// No such node.
    Absent,
    /// A node that came to be at `life`.
    Alive {
        /// Its czxid.
        life: i64,
        /// All of it, if it was told.
        stat: Option<Stat>,
        /// Its bytes, if they were.
        data: Option<Option<&'h Value>>,
    },
}

/// Somebody saw a path.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'h> {
    /// Where.
    pub zxid: i64,
    /// How it was.
    pub state: State<'h>,
    /// Who saw it.
    pub request: RequestIndex,
}

impl<'h> Sight<'h> {
    /// True if there was no node.
    pub fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    /// The node's czxid, if there was one.
    pub fn life(&self) -> Option<i64> {
        match self.state {
            State::Absent => None,
            State::Alive { life, .. } => Some(life),
        }
    }

    /// The node's Stat, if there was one and it was told.
    pub fn stat(&self) -> Option<&Stat> {
        match &self.state {
            State::Absent => None,
            State::Alive { stat, .. } => stat.as_ref(),
        }
    }
}

/// A list of names somebody was given, at its parent's place of the order.
pub struct Listing<'h> {
    /// Where.
    pub zxid: i64,
    /// The names.
    pub names: &'h [Path],
    /// Who was given it.
    pub request: RequestIndex,
}

/// The path that an answer names as made.
pub fn made(answer: &Result<Answer, ErrorCode>) -> Option<&Path> {
    answer.as_ref().ok().and_then(evidence::made)
}

impl<'h> Overheard<'_, 'h> {
    /// Takes down what a request's answer says of the tree.
    ///
    /// # Errors
    /// What it says contradicts itself.
    pub(super) fn look(
        &mut self,
        index: RequestIndex,
        request: &Request<'h>,
    ) -> Result<(), Box<Violation>> {
        let Some(answer) = request.answer else {
            return Ok(());
        };
        match (request.role, request.op, answer) {
            (Role::Transaction, Op::Multi { ops }, Ok(Answer::Multi(results))) => {
                self.multi(index, request.zxid, ops, results)
            }
            (Role::Transaction | Role::Read, op, answer) => {
                self.single(index, request.zxid, op, answer)
            }
            (Role::ReadSomewhere | Role::Sync | Role::Unanswered | Role::Nothing, _, _) => Ok(()),
        }
    }

    fn multi(
        &mut self,
        index: RequestIndex,
        zxid: i64,
        ops: &'h [Op],
        results: &'h [SubAnswer],
    ) -> Result<(), Box<Violation>> {
        if ops.len() != results.len() || !is_whole(results) {
            let reason = "the results of a multi are neither all successes nor one failure that undid the rest".to_string();
            return self.convict(Property::MultiAtomic, &[index], reason);
        }
        if results.iter().any(Result::is_err) {
            return Ok(());
        }
        // Only the last part about a path says how the transaction left it; what came or went
        // below it after that is added.
        let mut last = FxHashSet::default();
        let mut below: FxHashMap<PathId, (i32, i32)> = FxHashMap::default();
        for (op, result) in ops.iter().zip(results).rev() {
            let Some(path) = made(result).or(op.path()) else {
                continue;
            };
            let path = self.paths.id(path);
            if last.insert(path) && !matches!(op, Op::Check { .. }) {
                self.single(index, zxid, op, result)?;
                if let Some(&changes) = below.get(&path) {
                    self.add_below(path, changes);
                }
            }
            let children = match op {
                Op::Create { .. } => 1,
                Op::Delete { .. } => -1,
                _ => continue,
            };
            let (count, left) = below.entry(self.paths.parent(path)).or_default();
            (*count, *left) = (*count + 1, *left + children);
        }
        Ok(())
    }

    /// Adds to the last sight of a path so many changes of its children, and children more, that
    /// its transaction made after its Stat was taken.
    fn add_below(&mut self, path: PathId, (changes, children): (i32, i32)) {
        let last = self.sights.get_mut(&path).and_then(|all| all.last_mut());
        if let Some(Sight { zxid, state, .. }) = last
            && let State::Alive {
                stat: Some(stat), ..
            } = state
        {
            stat.pzxid = *zxid;
            stat.cversion = stat.cversion.wrapping_add(changes);
            stat.num_children = stat.num_children.wrapping_add(children);
        }
    }

    fn single(
        &mut self,
        index: RequestIndex,
        zxid: i64,
        op: &'h Op,
        answer: &'h Result<Answer, ErrorCode>,
    ) -> Result<(), Box<Violation>> {
        let Some(asked) = made(answer).or(op.path()) else {
            return Ok(());
        };
        if asked.starts_with(OWN) {
            return Ok(());
        }
        let path = self.paths.id(asked);
        let mut sight = |state| {
            let sights = self.sights.entry(path).or_default();
            sights.push(Sight {
                zxid,
                state,
                request: index,
            });
        };
        let alive = |stat: &'h Stat, data| State::Alive {
            life: stat.czxid,
            stat: Some(*stat),
            data,
        };
        match (op, answer) {
            // A create is told that its parent is missing.
            (Op::Create { .. }, Err(_)) => {}
            (_, Err(code)) if *code == ErrorCode::NO_NODE => sight(State::Absent),
            (Op::Delete { .. }, Ok(_)) => sight(State::Absent),
            (Op::Create { data, .. }, Ok(Answer::Created { stat, .. })) => {
                sight(alive(stat, Some(data.as_ref())));
                self.written(index, zxid, stat, true)?;
            }
            (Op::Create { data, .. }, Ok(_)) => sight(State::Alive {
                life: zxid,
                stat: None,
                data: Some(data.as_ref()),
            }),
            (Op::Set { data, version, .. }, Ok(Answer::Stat(stat))) => {
                sight(alive(stat, Some(data.as_ref())));
                self.written(index, zxid, stat, false)?;
                if *version != -1 && stat.version != version.wrapping_add(1) {
                    let reason = format!(
                        "a set that wanted version {version} left version {}",
                        stat.version
                    );
                    return self.convict(Property::ConditionalWrites, &[index], reason);
                }
            }
            (_, Ok(Answer::Stat(stat) | Answer::Acl { stat, .. })) => sight(alive(stat, None)),
            (_, Ok(Answer::Data { data, stat })) => sight(alive(stat, Some(data.as_ref()))),
            (_, Ok(Answer::NamesStat { names, stat })) => {
                sight(alive(stat, None));
                self.list(index, zxid, path, names);
                if names.len() != stat.num_children as usize {
                    let reason = format!(
                        "{} names were listed, but the Stat counts {} children",
                        names.len(),
                        stat.num_children
                    );
                    return self.convict(Property::StatArithmetic, &[index], reason);
                }
            }
            (_, Ok(Answer::Names(names))) => self.list(index, zxid, path, names),
            (_, Ok(_) | Err(_)) => {}
        }
        Ok(())
    }

    /// P17: a write's own Stat names the write.
    fn written(
        &self,
        index: RequestIndex,
        zxid: i64,
        stat: &Stat,
        created: bool,
    ) -> Result<(), Box<Violation>> {
        if stat.mzxid == zxid && (!created || stat.czxid == zxid) {
            return Ok(());
        }
        let reason = format!(
            "a write at {zxid:#x} left a Stat with czxid {:#x} and mzxid {:#x}",
            stat.czxid, stat.mzxid
        );
        self.convict(Property::StatArithmetic, &[index], reason)
    }

    fn list(&mut self, request: RequestIndex, zxid: i64, parent: PathId, names: &'h [Path]) {
        self.listings.entry(parent).or_default().push(Listing {
            zxid,
            names,
            request,
        });
    }
}

/// P16: a multi that failed has the failure at one part, what went before it undone, and
/// nothing after it tried.
fn is_whole(results: &[SubAnswer]) -> bool {
    if results.iter().all(Result::is_ok) {
        return true;
    }
    let failed = results
        .iter()
        .position(|result| !matches!(result, Ok(_) | Err(ErrorCode::OK)));
    failed.is_some_and(|failed| {
        let (before, rest) = results.split_at(failed);
        before.iter().all(|result| *result == Err(ErrorCode::OK))
            && rest[1..]
                .iter()
                .all(|result| *result == Err(ErrorCode::RUNTIME_INCONSISTENCY))
    })
}
