//! Replays an order that is said to explain a history.
//!
//! This is not the search and shares nothing with it: it walks the order once. Whoever
//! doubts a `Valid` needs to read only this file and the model.
//!
//! Where no times were recorded the order has to keep each client's operations in theirs instead.
//!
//! Answers to: Herlihy and Wing's definition, clause by clause.

use super::{Model, OperationOf};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

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

/// Checks that `order` explains the whole of `history` without its times: every client's
/// operations stand in it in the order of the history, but that what was never answered may
/// come later. Says what is wrong with it otherwise.
pub fn certify_unclocked<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    order: &[u32],
) -> Option<Flaw> {
    let mut missing = vec![true; history.len()];
    let mut states: BTreeMap<M::Key, M::State> = BTreeMap::new();
    // Of each client, the last in the history that stands in the order so far.
    let mut last: FxHashMap<u32, usize> = FxHashMap::default();
    for index in order.iter().map(|index| *index as usize) {
        let Some(operation) = history.get(index) else {
            return Some(Flaw::Twice(index));
        };
        if !std::mem::replace(&mut missing[index], false) {
            return Some(Flaw::Twice(index));
        }
        let last = last.entry(operation.client).or_insert(index);
        if operation.ret.is_some() && *last > index {
            return Some(Flaw::TooLate(index));
        }
        *last = index.max(*last);
        let key = model.key(&operation.op);
        let state = states.remove(&key).unwrap_or_else(|| model.start(&key));
        match model.step(&state, &operation.op, operation.outcome.as_ref()) {
            Some(after) => states.insert(key, after),
            None => return Some(Flaw::Illegal(index)),
        };
    }
    let answered = |index: &usize| missing[*index] && history[*index].ret.is_some();
    (0..history.len()).find(answered).map(Flaw::Missing)
}
