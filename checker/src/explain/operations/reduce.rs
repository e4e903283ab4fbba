//! Reduction: far fewer operations that convict for the same reason.
//!
//! 1. What was asked after the convicting answer goes.
//! 2. The operations of other objects go, key by key.
//! 3. What only looked goes if it can, then what was never answered.
//! 4. Whole clients go, then whole stretches of the file, then what belongs together (a value's write and its reads), then
//!    single operations, in halves, quarters, and so on; last, any two together; all of it
//!    again until nothing goes.
//!
//! Deterministic: the budget is in judgements, operations judged and steps of the search.

use super::Case;
use super::court::Court;
use crate::explain::reduce::{Budget, Spent};
use crate::explain::thin::{thin, thin_pairs};
use crate::linear::{Class, Model};
use std::collections::BTreeMap;

/// A judgement may take so many times the steps that the whole took: what is hard to decide is
/// not worth leaving out.
const STEPS_OF_WHOLE: u64 = 2;
/// Steps that a judgement may take however few the whole took.
const STEPS_MIN: u64 = 10_000;

/// Into how many stretches the history is cut.
const STRETCHES: u32 = 64;

/// Operations that convict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduction {
    /// What is left, by index, in the order of the history.
    pub kept: Vec<u32>,
    /// How many judgements it took.
    pub judgements: u32,
    /// What ran out before nothing more could go.
    pub spent: Option<Spent>,
}

impl Reduction {
    /// How much is left of `all`, and why not less.
    pub(super) fn words(&self, all: usize, noun: &str) -> String {
        let (kept, judgements) = (self.kept.len(), self.judgements);
        let how = Spent::words(self.spent);
        format!("{kept} of {all} {noun} convict the same way ({judgements} judgements; {how})")
    }
}

/// Makes a history small in the eyes of `court`, beginning with `kept`. None if these do not
/// convict, or if that takes too long to see.
pub(super) fn reduce<M: Model>(
    case: &Case<M>,
    court: &impl Court,
    kept: Vec<u32>,
    budget: Budget,
) -> Option<Reduction> {
    let mut reducer = Reducer {
        court,
        kept: Vec::new(),
        budget,
        steps_max: budget.steps,
        judgements: 0,
        operations: 0,
        steps: 0,
    };
    if !reducer.try_kept(kept) {
        return None;
    }
    reducer.steps_max = reducer.steps * STEPS_OF_WHOLE + STEPS_MIN;
    let of = |index: u32| &case.history[index as usize];
    let convicting = court.convicting().iter();
    let end = convicting.filter_map(|index| of(*index).ret).max();
    let later = |index: u32| end.is_none_or(|end| of(index).call > end);
    reducer.thin(|index| later(index).then_some(()));
    reducer.thin(|index| Some(case.model.key(&of(index).op)));
    loop {
        let before = reducer.kept.len();
        reducer.thin(|index| {
            let (op, outcome) = (&of(index).op, of(index).outcome.as_ref());
            match (of(index).ret, case.model.class(op, outcome)) {
                (None, _) => Some(1),
                (Some(_), Class::ReadOnly) => Some(0),
                (Some(_), Class::Overwrite | Class::Update) => None,
            }
        });
        reducer.thin(|index| Some(of(index).client));
        let stretch = reducer.kept.len() as u32 / STRETCHES + 1;
        let places = reducer.kept.clone();
        reducer.thin(|index| Some(places.partition_point(|one| *one < index) as u32 / stretch));
        reducer.thin(|index| case.model.kin(&of(index).op, of(index).outcome.as_ref()));
        reducer.thin(Some);
        let loose = reducer.loose();
        thin_pairs(loose, |gone| reducer.leave_out(gone));
        if reducer.spent().is_some() || reducer.kept.len() == before {
            break;
        }
    }
    Some(Reduction {
        spent: reducer.spent(),
        judgements: reducer.judgements,
        kept: reducer.kept,
    })
}

struct Reducer<'a, C> {
    court: &'a C,
    /// The fewest that convict so far.
    kept: Vec<u32>,
    budget: Budget,
    /// Most steps of one judgement.
    steps_max: u64,
    judgements: u32,
    operations: u64,
    steps: u64,
}

impl<C: Court> Reducer<'_, C> {
    fn spent(&self) -> Option<Spent> {
        self.budget
            .spent(self.judgements, self.operations, self.steps)
    }

    /// Keeps these alone if they convict.
    fn try_kept(&mut self, kept: Vec<u32>) -> bool {
        if self.spent().is_some() {
            return false;
        }
        let steps_max = self.steps_max.min(self.budget.steps - self.steps);
        let (convicts, steps) = self.court.convicts(&kept, steps_max);
        self.judgements += 1;
        self.operations += kept.len() as u64;
        self.steps += steps;
        if convicts {
            self.kept = kept;
        }
        convicts
    }

    fn leave_out(&mut self, gone: &[u32]) -> bool {
        let mut gone = gone.to_vec();
        gone.sort_unstable();
        let stays = |index: &u32| gone.binary_search(index).is_err();
        let kept = self.kept.iter().copied().filter(stays).collect();
        self.try_kept(kept)
    }

    /// What may go.
    fn loose(&self) -> Vec<u32> {
        let convicts = |index: &u32| self.court.convicting().contains(index);
        self.kept
            .iter()
            .copied()
            .filter(|index| !convicts(index))
            .collect()
    }

    /// Leaves out as many groups of what may go as can be; what has no group stays.
    fn thin<K: Ord>(&mut self, group: impl Fn(u32) -> Option<K>) {
        let mut groups: BTreeMap<K, Vec<u32>> = BTreeMap::new();
        for index in self.loose() {
            if let Some(key) = group(index) {
                groups.entry(key).or_default().push(index);
            }
        }
        thin(groups.into_values().collect(), |gone| self.leave_out(gone));
    }
}
