//! Replays an order that is said to explain a history.
//!
//! This is not the search and shares nothing with it: it walks the order once. Whoever
//! doubts a `Valid` needs to read only this file and the model.
//!
//! Answers to: Herlihy and Wing's definition, clause by clause.

use super::{Model, OperationOf};

/// Why an order does not explain a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The operation stands in the order twice, or is none of the history's.
    Twice(usize),
    /// It was answered and stands nowhere.
    Missing(usize),
    /// It returned before something was called that the order places ahead of it.
    TooLate(usize),
    /// The model would not have given its outcome there.
    Illegal(usize),
}

/// Checks that `order` (indices into `history`) explains the operations `part` of `history`
/// on the object `key`; says what is wrong with it otherwise.
pub fn certify<M: Model>(
    model: &M,
    key: &M::Key,
    history: &[OperationOf<M>],
    part: &[u32],
    order: &[u32],
) -> Option<Flaw> {
    let mut missing = vec![false; history.len()];
    for index in part {
        missing[*index as usize] = true;
    }
    let mut state = model.start(key);
    let mut latest_call = i64::MIN;
    for index in order.iter().map(|index| *index as usize) {
        let Some(operation) = history.get(index) else {
            return Some(Flaw::Twice(index));
        };
        if !std::mem::replace(&mut missing[index], false) {
            return Some(Flaw::Twice(index));
        }
        // Returning before the call of anything placed ahead would contradict real time.
        latest_call = latest_call.max(operation.call);
        if operation.ret.is_some_and(|ret| ret < latest_call) {
            return Some(Flaw::TooLate(index));
        }
        match model.step(&state, &operation.op, operation.outcome.as_ref()) {
            Some(after) => state = after,
            None => return Some(Flaw::Illegal(index)),
        }
    }
    let left = part.iter().map(|index| *index as usize);
    left.into_iter()
        .find(|index| missing[*index] && history[*index].ret.is_some())
        .map(Flaw::Missing)
}
