//! Whether a history of registers that its zxids do not explain has another order.
//!
//! | class | proof |
//! |---|---|
//! | B, zxid not honest | an order that explains every answer once the zxids of some operations are hidden: those that convict, what was under way with them, what their clients did, what was done on their keys, all |
//! | A, inconsistent | there is none with all zxids hidden, of the whole history or of a part of it that only takes demands away: what wrote and saw a few values, the keys concerned, the transactions |
//!
//! What is cheap is asked first: an order is nearly always the recorded one with a few
//! operations moved, a contradiction nearly always one of a single key.
//!
//! Answers to: `consistency.md` 3.2 (*rejecting*).

use super::super::models::{Keyed, Register, RegisterOp, RegisterOutcome, Symbol};
use super::super::{Budget, Verdict, check_within};
use super::{Op, Refused, Walk, is_effective, is_transaction};
use crate::verdict::Class;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::Cell;

/// Configurations that each question may cost, and how many keys and clients all of them
/// together may hold.
const CONFIGURATIONS_MAX: (u64, u64) = (1_000_000, 50_000_000);

/// A convicted history.
pub(super) struct Suspect<'a> {
    model: &'a Keyed<Register>,
    history: &'a [Op],
    zxids: &'a [Option<i64>],
    budget: Budget,
    clients: FxHashSet<u32>,
    keys: FxHashSet<Symbol>,
    operations: &'a [usize],
}

/// What a convicting client did last before, and first after, whose values are looked at too.
const NEIGHBOURS: usize = 8;

/// How many of the last writes of a key are looked at, too.
const WRITTEN: usize = 16;

/// How much longer than the convicting operations took the time around them is, on each side.
const AROUND: i64 = 4;

/// Which operations' zxids are hidden: by index and by what they are.
type Ring<'r> = &'r dyn Fn(usize, &Op) -> bool;

/// What hiding some zxids shows.
enum Shown {
    Explained,
    Contradicted,
    Undecided,
}

impl<'a> Suspect<'a> {
    /// The history that `operations` convict.
    pub(super) fn new(
        model: &'a Keyed<Register>,
        history: &'a [Op],
        zxids: &'a [Option<i64>],
        operations: &'a [usize],
        budget: &Budget,
    ) -> Self {
        let keys: FxHashSet<Symbol> = history.iter().map(|one| one.op.0).collect();
        let clients: FxHashSet<u32> = history.iter().map(|one| one.client).collect();
        let each = 1 + keys.len() as u64 + clients.len() as u64;
        let (most, all) = CONFIGURATIONS_MAX;
        let configurations = budget.configurations.min(most).min(all / each);
        let convicting = || operations.iter().map(|at| &history[*at]);
        Suspect {
            model,
            history,
            zxids,
            budget: Budget {
                configurations,
                ..*budget
            },
            clients: convicting().map(|one| one.client).collect(),
            keys: convicting().map(|one| one.op.0).collect(),
            operations,
        }
    }

    /// Its class.
    pub(super) fn class(&self) -> Class {
        let (near, around) = (self.near(0), self.near(AROUND));
        let explained = |ring: Ring<'_>| matches!(self.hidden(ring), Shown::Explained);
        if explained(&|at, _| self.operations.contains(&at)) {
            return Class::ZxidNotHonest;
        }
        if self.values_contradict() {
            return Class::Inconsistent;
        }
        if explained(&|_, one| overlaps(one, near))
            || explained(&|_, one| overlaps(one, around))
            || explained(&|_, one| self.clients.contains(&one.client))
        {
            return Class::ZxidNotHonest;
        }
        if self.keys_contradict() || self.transactions_contradict() {
            return Class::Inconsistent;
        }
        // Linearizable is more than ZooKeeper promises.
        let linearizable = || check_within(self.model, self.history, &self.budget);
        if explained(&|_, one| self.keys.contains(&one.op.0))
            || matches!(linearizable(), Verdict::Valid(_))
        {
            return Class::ZxidNotHonest;
        }
        match self.hidden(&|_, _| true) {
            Shown::Explained => Class::ZxidNotHonest,
            Shown::Contradicted => Class::Inconsistent,
            Shown::Undecided => Class::Undetermined,
        }
    }

    /// What the history says without the zxids of the operations in a ring.
    fn hidden(&self, ring: Ring<'_>) -> Shown {
        let operations = self.history.iter().zip(self.zxids).enumerate();
        let left = operations.map(|(at, (one, zxid))| zxid.filter(|_| !ring(at, one)));
        self.walked(self.history, &left.collect::<Vec<_>>())
    }

    fn walked(&self, history: &[Op], zxids: &[Option<i64>]) -> Shown {
        let walk = Walk {
            model: self.model,
            history,
            zxids,
            budget: &self.budget,
            visited: Cell::new(0),
        };
        match walk.run() {
            Ok(_) => Shown::Explained,
            Err(Refused::Broken(_)) => Shown::Contradicted,
            Err(Refused::Unknown(_)) => Shown::Undecided,
        }
    }

    /// From when to when the convicting operations were under way, and `more` times as long on
    /// each side.
    fn near(&self, more: i64) -> (i64, i64) {
        let convicting = || self.operations.iter().map(|at| &self.history[*at]);
        let from = convicting().map(|one| one.call).min().unwrap_or(0);
        let to = convicting().filter_map(|one| one.ret).max().unwrap_or(from);
        let long = to.saturating_sub(from).saturating_mul(more);
        (from.saturating_sub(long), to.saturating_add(long))
    }

    /// What was done with a few values has no order of its own. A
    /// register that holds any other value need not be known to hold it: what wrote or saw
    /// such a value can be left out.
    fn values_contradict(&self) -> bool {
        let values = self.values();
        let part = self.history.iter().filter_map(|one| {
            let told = |value: &Symbol| values.contains(&(one.op.0, *value));
            let (op, outcome) = match (one.op.1, one.outcome) {
                (RegisterOp::Read, Some(RegisterOutcome::Value(value))) if told(&value) => {
                    (one.op.1, one.outcome)
                }
                (RegisterOp::Write(value), _) if told(&value) => (one.op.1, one.outcome),
                (RegisterOp::Cas(from, to), Some(RegisterOutcome::Swapped(true)) | None) => {
                    match (told(&from), told(&to)) {
                        (true, true) => (one.op.1, one.outcome),
                        (false, true) => {
                            let done = one.outcome.map(|_| RegisterOutcome::Done);
                            (RegisterOp::Write(to), done)
                        }
                        (true, false) if one.outcome.is_some() => {
                            (RegisterOp::Read, Some(RegisterOutcome::Value(from)))
                        }
                        (_, false) => return None,
                    }
                }
                (RegisterOp::Read | RegisterOp::Write(_) | RegisterOp::Cas(..), _) => return None,
            };
            let op = (one.op.0, op);
            Some(Op {
                op,
                outcome,
                ..one.clone()
            })
        });
        let part: Vec<Op> = part.collect();
        let zxids = vec![None; part.len()];
        matches!(self.walked(&part, &zxids), Shown::Contradicted)
    }

    /// The values that matter most: what the convicting operations, and their clients just
    /// before and after, wrote or saw, and what was written last where they looked.
    fn values(&self) -> FxHashSet<(Symbol, Symbol)> {
        let by_call = |at: &usize| self.history[*at].call;
        let mut clients: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
        let mut writers: FxHashMap<Symbol, Vec<usize>> = FxHashMap::default();
        for (at, one) in self.history.iter().enumerate() {
            if self.clients.contains(&one.client) {
                clients.entry(one.client).or_default().push(at);
            }
            if self.keys.contains(&one.op.0) && is_effective(one) {
                writers.entry(one.op.0).or_default().push(at);
            }
        }
        let lists = clients.values_mut().chain(writers.values_mut());
        lists.for_each(|list| list.sort_by_key(by_call));
        let mut values = FxHashSet::default();
        for convicting in self.operations.iter().map(|at| &self.history[*at]) {
            let own = &clients[&convicting.client];
            let now = own.partition_point(|at| by_call(at) < convicting.call);
            let near = own.iter().skip(now.saturating_sub(NEIGHBOURS));
            let written = writers.get(&convicting.op.0).map_or(&[][..], Vec::as_slice);
            let end = convicting.ret.unwrap_or(convicting.call);
            let end = written.partition_point(|at| by_call(at) <= end);
            let written = &written[end.saturating_sub(WRITTEN)..end];
            let told = near.take(2 * NEIGHBOURS + 1).chain(written);
            values.extend(told.flat_map(|at| values_of(&self.history[*at])));
        }
        values
    }

    /// The operations on the keys concerned have no order of their own.
    fn keys_contradict(&self) -> bool {
        let on_keys = |one: &&Op| self.keys.contains(&one.op.0);
        let part: Vec<Op> = self.history.iter().filter(on_keys).cloned().collect();
        let zxids = vec![None; part.len()];
        matches!(self.walked(&part, &zxids), Shown::Contradicted)
    }

    /// Not even the transactions are linearizable.
    fn transactions_contradict(&self) -> bool {
        let transactions = self.history.iter().filter(|one| is_transaction(one));
        let transactions: Vec<Op> = transactions.cloned().collect();
        let verdict = check_within(self.model, &transactions, &self.budget);
        matches!(verdict, Verdict::Invalid(_))
    }
}

/// The values that an operation wrote or saw, with their key.
fn values_of(one: &Op) -> impl Iterator<Item = (Symbol, Symbol)> {
    let (first, second) = match (one.op.1, one.outcome) {
        (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => (Some(value), None),
        (RegisterOp::Write(value), _) => (Some(value), None),
        (RegisterOp::Cas(from, to), _) => (Some(from), Some(to)),
        (RegisterOp::Read, _) => (None, None),
    };
    let key = one.op.0;
    let values = first.into_iter().chain(second);
    values.map(move |value| (key, value))
}

/// True if an operation was under way at some time between two.
fn overlaps(one: &Op, (from, to): (i64, i64)) -> bool {
    one.call <= to && one.ret.is_none_or(|ret| ret >= from)
}
