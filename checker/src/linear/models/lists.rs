//! Lists under keys, read and appended to by transactions.
//!
//! Answers to: Elle's list-append workload. Judged here is strict serializability (a
//! transaction is one operation); Elle infers weaker levels from the same histories.

use super::{NIL, Symbol, Symbols, appends};
use crate::linear::{Class, Model, Operation, Sorted, Times};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lists, each empty at the start.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// Names of keys and elements, for words.
    pub symbols: Arc<Symbols>,
    /// Which keys are tied by one transaction: key to the least key tied to it. A key that is
    /// missing is tied to none.
    pub tied: Arc<FxHashMap<Symbol, Symbol>>,
}

/// One part of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListsOp {
    /// Let the second stand at the end of the list under the first.
    Append(Symbol, Symbol),
    /// What is the list under this key?
    Read(Symbol),
}

/// What a transaction's reads saw, in order.
pub type ListsOutcome = Vec<Arc<[Symbol]>>;

impl Lists {
    /// Finds which keys the transactions tie together.
    pub fn tie<'a>(
        transactions: impl Iterator<Item = &'a Vec<ListsOp>>,
    ) -> FxHashMap<Symbol, Symbol> {
        let mut tied: FxHashMap<Symbol, Symbol> = FxHashMap::default();
        fn root(tied: &mut FxHashMap<Symbol, Symbol>, mut key: Symbol) -> Symbol {
            while let Some(up) = tied.get(&key).copied().filter(|up| *up != key) {
                // Halving the path keeps later walks short.
                let over = tied.get(&up).copied().unwrap_or(up);
                tied.insert(key, over);
                key = up;
            }
            key
        }
        for transaction in transactions {
            let mut keys = transaction.iter().map(key_of);
            let Some(first) = keys.next() else { continue };
            for key in keys {
                let (a, b) = (root(&mut tied, first), root(&mut tied, key));
                tied.insert(a.max(b), a.min(b));
            }
        }
        let keys: Vec<Symbol> = tied.keys().copied().collect();
        keys.into_iter()
            .map(|key| (key, root(&mut tied, key)))
            .collect()
    }
}

fn key_of(part: &ListsOp) -> Symbol {
    match part {
        ListsOp::Append(key, _) | ListsOp::Read(key) => *key,
    }
}

impl Model for Lists {
    type Op = Vec<ListsOp>;
    type Outcome = ListsOutcome;
    type State = BTreeMap<Symbol, Arc<[Symbol]>>;
    type Key = Symbol;

    fn start(&self, _key: &Symbol) -> Self::State {
        BTreeMap::new()
    }

    fn step(
        &self,
        state: &Self::State,
        op: &Vec<ListsOp>,
        outcome: Option<&ListsOutcome>,
    ) -> Option<Self::State> {
        let mut after = state.clone();
        let mut seen = outcome.into_iter().flatten();
        for part in op {
            match part {
                ListsOp::Append(key, element) => {
                    let old = after.get(key).map_or(&[][..], |list| list);
                    let list: Arc<[Symbol]> = old.iter().chain([element]).copied().collect();
                    after.insert(*key, list);
                }
                ListsOp::Read(key) => {
                    let list = after.get(key).map_or(&[][..], |list| list);
                    if outcome.is_some() && seen.next().is_none_or(|seen| **seen != *list) {
                        return None;
                    }
                }
            }
        }
        Some(after)
    }

    fn key(&self, op: &Vec<ListsOp>) -> Symbol {
        let first = op.first().map_or(NIL, key_of);
        self.tied.get(&first).copied().unwrap_or(first)
    }

    fn class(&self, op: &Vec<ListsOp>, _outcome: Option<&ListsOutcome>) -> Class {
        match op.iter().all(|part| matches!(part, ListsOp::Read(_))) {
            true => Class::ReadOnly,
            false => Class::Update,
        }
    }

    fn sorted(
        &self,
        history: &[Operation<Vec<ListsOp>, ListsOutcome>],
        part: &[u32],
        times: Times,
    ) -> Sorted {
        appends::sorted(self, history, part, times)
    }

    fn words(&self, op: &Vec<ListsOp>, outcome: Option<&ListsOutcome>) -> String {
        let mut seen = outcome.into_iter().flatten();
        let part = |part: &ListsOp| match part {
            ListsOp::Append(key, element) => {
                format!(
                    "append {} to {}",
                    self.symbols.name(*element),
                    self.symbols.name(*key)
                )
            }
            ListsOp::Read(key) => match seen.next() {
                Some(list) => format!("read {} -> {}", self.symbols.name(*key), self.list(list)),
                None => format!("read {}", self.symbols.name(*key)),
            },
        };
        let parts = op.iter().map(part).collect::<Vec<_>>().join(", ");
        match outcome {
            Some(_) => parts,
            None => format!("{parts} -> never learned"),
        }
    }

    fn state_words(&self, state: &Self::State) -> String {
        const TOLD_MAX: usize = 8;
        let list = |(key, list): (&Symbol, &Arc<[Symbol]>)| {
            format!("{}: {}", self.symbols.name(*key), self.list(list))
        };
        let lists = state
            .iter()
            .take(TOLD_MAX)
            .map(list)
            .collect::<Vec<_>>()
            .join(", ");
        let more = if state.len() > TOLD_MAX { ", ..." } else { "" };
        format!("the lists {{{lists}{more}}}")
    }

    fn key_words(&self, _key: &Symbol) -> String {
        String::new()
    }
}

impl Lists {
    fn list(&self, list: &[Symbol]) -> String {
        const TOLD_MAX: usize = 12;
        let from = list.len().saturating_sub(TOLD_MAX);
        let names = list[from..]
            .iter()
            .map(|element| self.symbols.name(*element))
            .collect::<Vec<_>>();
        match from {
            0 => format!("[{}]", names.join(" ")),
            _ => format!("[{from} more, {}]", names.join(" ")),
        }
    }
}
