//! Who judges a part of a history again, and what must stay the same.
//!
//! Leaving operations out can make a history wrong in new ways: without the write whose value
//! a read saw, that read is inexplicable, whatever was wrong before. So "still not
//! linearizable" proves nothing. What must stay the same:
//!
//! 1. The same operation convicts: the earliest whose answer nothing explains. Whatever
//!    returned before it is explained without what was left out.
//! 2. The states that were possible before it are among those that were possible then: no
//!    state is new that only an omission made. (Where a conviction holds too many states to
//!    name, this is not asked.)
//! 3. If its answer would have been right at an earlier time, it still would: what made it
//!    right once is still there (and if not, nothing left out makes it look stale).
//!
//! Where zxids are judged, the same property is broken by the same operations in the same
//! words, which name zxids and values; and whoever wrote what was read stays.

use super::{Broken, Case};
use crate::explain::reduce::Budget;
use crate::linear::models::{Keyed, Register, RegisterOp, RegisterOutcome, Symbol};
use crate::linear::{
    self, Conviction, Model, OperationOf, Times, Verdict, Witnessed, check_zookeeper_counted,
};
use rustc_hash::FxHashSet;

/// Judges parts of a history.
pub(super) trait Court {
    /// What convicts and is never left out, by index, in order.
    fn convicting(&self) -> &[u32];

    /// Whether the operations `kept` alone convict as all of them do, and how many steps it
    /// took to see that, `steps_max` at most (nearly).
    fn convicts(&self, kept: &[u32], steps_max: u64) -> (bool, u64);
}

/// When the convicting answer would have been right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Earlier: it is stale.
    Earlier,
    /// Never up to then.
    Never,
}

impl Timing {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Timing::Earlier => {
                "stale: had it been asked early enough, the answer would have been right"
            }
            Timing::Never => "never right: at no earlier time would it have been the right answer",
        }
    }
}

/// Judges linearizability.
pub(super) struct Linear<'a, M: Model> {
    case: &'a Case<M>,
    convicting: [u32; 1],
    /// The states possible before; None if there are too many to compare.
    states: Option<FxHashSet<&'a str>>,
    timing: Option<Timing>,
}

impl<'a, M: Model> Linear<'a, M> {
    pub(super) fn new(
        case: &'a Case<M>,
        conviction: &'a Conviction,
        kept: &[u32],
        budget: &Budget,
    ) -> Self {
        let few = conviction.states_left == 0 && !conviction.states.is_empty();
        let states = conviction.states.iter().map(String::as_str);
        let mut court = Linear {
            case,
            convicting: [conviction.operation as u32],
            states: few.then(|| states.collect()),
            timing: None,
        };
        court.timing = match case.times {
            Times::Recorded => court.timing_of(kept, budget.steps / TIMING_PART).0,
            Times::Unrecorded => None,
        };
        court
    }

    pub(super) fn timing(&self) -> Option<Timing> {
        self.timing
    }

    fn judge(&self, history: &[OperationOf<M>], steps_max: u64) -> (Verdict, u64) {
        let budget = linear::Budget {
            configurations: steps_max,
            ..linear::Budget::default()
        };
        let (verdict, visited) = self.case.check_part(history, &budget);
        (verdict, visited + history.len() as u64)
    }

    /// When the convicting answer would have been right among `kept`; None if that takes too
    /// long to see.
    fn timing_of(&self, kept: &[u32], steps_max: u64) -> (Option<Timing>, u64) {
        let accused = &self.case.history[self.convicting[0] as usize];
        let key = self.case.model.key(&accused.op);
        let end = accused.ret.expect("what convicts was answered");
        let operations = kept.iter().map(|index| &self.case.history[*index as usize]);
        let before =
            operations.filter(|one| one.call <= end && self.case.model.key(&one.op) == key);
        let earliest = before
            .clone()
            .map(|one| one.call)
            .min()
            .unwrap_or(accused.call);
        let relaxed = before.map(|one| {
            let mut one_more = one.clone();
            if std::ptr::eq(one, accused) {
                one_more.call = earliest;
            } else if one.ret.is_some_and(|ret| ret > end) {
                // What is answered later may say what it likes.
                (one_more.ret, one_more.outcome) = (None, None);
            }
            one_more
        });
        let relaxed: Vec<OperationOf<M>> = relaxed.collect();
        match self.judge(&relaxed, steps_max) {
            (Verdict::Valid(_), steps) => (Some(Timing::Earlier), steps),
            (Verdict::Invalid(_), steps) => (Some(Timing::Never), steps),
            (Verdict::Unknown(_) | Verdict::Malformed { .. }, steps) => (None, steps),
        }
    }
}

/// Which part of a reduction's steps may go into seeing when an answer would have been right.
const TIMING_PART: u64 = 10;

impl<M: Model> Court for Linear<'_, M> {
    fn convicting(&self) -> &[u32] {
        &self.convicting
    }

    fn convicts(&self, kept: &[u32], steps_max: u64) -> (bool, u64) {
        let history = kept
            .iter()
            .map(|index| self.case.history[*index as usize].clone());
        let (verdict, steps) = self.judge(&history.collect::<Vec<_>>(), steps_max);
        let Verdict::Invalid(found) = verdict else {
            return (false, steps);
        };
        let known = |states: &FxHashSet<&str>| {
            let mut found = found.states.iter();
            found.all(|state| states.contains(state.as_str()))
        };
        let same = kept[found.operation] == self.convicting[0]
            && (self.states.as_ref()).is_none_or(|states| found.states_left == 0 && known(states));
        if !same || self.timing.is_none() {
            return (same, steps);
        }
        let (timing, more) = self.timing_of(kept, steps_max.saturating_sub(steps));
        (timing == self.timing, steps + more)
    }
}

/// Judges registers with zxids by ZooKeeper's promises.
pub(super) struct Witness<'a> {
    case: &'a Case<Keyed<Register>>,
    broken: Broken<'a>,
    convicting: Vec<u32>,
    source: Option<u32>,
}

impl<'a> Witness<'a> {
    pub(super) fn new(case: &'a Case<Keyed<Register>>, broken: Broken<'a>) -> Self {
        let mut convicting: Vec<u32> = broken.operations.iter().map(|one| *one as u32).collect();
        let sources = broken.operations.iter();
        let sources = sources.filter_map(|one| source(case, *one));
        let source = sources.into_iter().find(|one| !convicting.contains(one));
        convicting.extend(source);
        convicting.sort_unstable();
        convicting.dedup();
        Witness {
            case,
            broken,
            convicting,
            source,
        }
    }

    /// Who wrote what the convicting read saw, unless that convicts anyway.
    pub(super) fn source(&self) -> Option<usize> {
        self.source.map(|source| source as usize)
    }
}

/// The last to write what `reader` was told, before it was told.
fn source(case: &Case<Keyed<Register>>, reader: usize) -> Option<u32> {
    let read = &case.history[reader];
    let value: Symbol = match (read.op.1, read.outcome) {
        (RegisterOp::Read, Some(RegisterOutcome::Value(value))) => value,
        (RegisterOp::Cas(from, _), Some(RegisterOutcome::Swapped(true))) => from,
        (RegisterOp::Read | RegisterOp::Write(_) | RegisterOp::Cas(..), _) => return None,
    };
    let writes = |index: &u32| {
        let one = &case.history[*index as usize];
        let writes = match one.op.1 {
            RegisterOp::Write(written) => written == value,
            RegisterOp::Cas(_, to) => {
                to == value && one.outcome != Some(RegisterOutcome::Swapped(false))
            }
            RegisterOp::Read => false,
        };
        let in_time = read.ret.is_none_or(|ret| one.call <= ret);
        writes && in_time && one.op.0 == read.op.0 && *index as usize != reader
    };
    let writers = (0..case.history.len() as u32).filter(writes);
    writers.max_by_key(|index| case.history[*index as usize].call)
}

impl Court for Witness<'_> {
    fn convicting(&self) -> &[u32] {
        &self.convicting
    }

    fn convicts(&self, kept: &[u32], steps_max: u64) -> (bool, u64) {
        let history = kept
            .iter()
            .map(|index| self.case.history[*index as usize].clone());
        let zxids = kept.iter().map(|index| self.case.zxids[*index as usize]);
        let budget = linear::Budget {
            configurations: steps_max,
            ..linear::Budget::default()
        };
        let (history, zxids): (Vec<_>, Vec<_>) = (history.collect(), zxids.collect());
        let (witnessed, visited) =
            check_zookeeper_counted(&self.case.model, &history, &zxids, &budget);
        let steps = visited + history.len() as u64;
        let Witnessed::Invalid {
            property,
            reason,
            operations,
            state,
            class: _,
        } = witnessed
        else {
            return (false, steps);
        };
        let places = operations.iter().map(|index| kept[*index] as usize);
        let same = property == self.broken.property
            && reason == self.broken.reason
            && state == self.broken.state
            && places.eq(self.broken.operations.iter().copied());
        (same, steps)
    }
}
