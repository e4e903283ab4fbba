//! What a search leaves to be told: the order that it found, or why there is none.
//!
//! What always holds: every operation that the search hid gets a place at which it leaves
//! the state as it is, or right before one that overwrites it; and a conviction names the
//! operation at whose return the last configuration died, what left the state before it and
//! what was in flight and did not help.
//!
//! Not here: the search itself, which has decided already.
//!
//! Answers to: `consistency.md` 3.5.

use super::chain::Step;
use super::mask::{Mask, slots};
use super::report::{Conviction, STATES_KEPT_MAX};
use super::search::{Search, Task};
use super::space::{NOWHERE, Space};
use super::{Class, Model};
use rustc_hash::FxHashMap;

/// How many states the reason of a conviction names.
const STATES_NAMED_MAX: usize = 8;

/// How many other operations a conviction names.
const OTHERS_TOLD_MAX: usize = 3;

impl<M: Model> Task<'_, M> {
    /// Gives every hidden operation its place: where it leaves the state as it is, or before
    /// the overwrite that hid it.
    pub(super) fn unhide(
        &self,
        space: &mut Space<M>,
        steps: Vec<Step>,
        calls_before: u32,
    ) -> Vec<u32> {
        if steps.iter().all(|step| !step.hidden) {
            return steps.into_iter().map(|step| step.op).collect();
        }
        let called = self.calls(&steps, calls_before);
        let seen: Vec<&Step> = steps.iter().filter(|step| !step.hidden).collect();
        let mut states = vec![space.start(self.key)];
        for (at, step) in seen.iter().enumerate() {
            let after = space.step(states[at], step.op, self.class(step.op));
            assert!(after != NOWHERE, "the search asked the same model");
            states.push(after);
        }
        // Per gap (before the seen step of that number): those that change nothing, then
        // those that the next step overwrites.
        let mut gaps: Vec<(Vec<u32>, Vec<u32>)> = vec![Default::default(); seen.len() + 1];
        let mut ahead = 0;
        for step in &steps {
            if !step.hidden {
                ahead += 1;
                continue;
            }
            let class = self.class(step.op);
            let mut gap = ahead;
            loop {
                let after = space.step(states[gap], step.op, class);
                if after == states[gap] {
                    gaps[gap].0.push(step.op);
                    break;
                }
                let hides = seen
                    .get(gap)
                    .is_some_and(|next| self.class(next.op) == Class::Overwrite);
                if gap < ahead && hides && after != NOWHERE {
                    gaps[gap].1.push(step.op);
                    break;
                }
                assert!(
                    gap > 0 && seen[gap - 1].event > called[&step.op],
                    "hidden nowhere"
                );
                gap -= 1;
            }
        }
        let mut order = Vec::with_capacity(steps.len());
        for (gap, (same, overwritten)) in gaps.into_iter().enumerate() {
            order.extend(same);
            order.extend(overwritten);
            order.extend(seen.get(gap).map(|step| step.op));
        }
        order
    }

    /// At which event each hidden operation was called.
    fn calls(&self, steps: &[Step], before: u32) -> FxHashMap<u32, u32> {
        let hidden = steps
            .iter()
            .filter(|step| step.hidden)
            .map(|step| (step.op, 0));
        let mut called: FxHashMap<u32, u32> = hidden.collect();
        for (number, event) in self.plan.events.iter().enumerate().take(before as usize) {
            if !event.returns
                && let Some(at) = called.get_mut(&event.op)
            {
                *at = number as u32;
            }
        }
        called
    }

    fn class(&self, op: u32) -> Class {
        let operation = &self.history[op as usize];
        self.model.class(&operation.op, operation.outcome.as_ref())
    }

    fn words(&self, op: u32) -> String {
        let operation = &self.history[op as usize];
        self.model.words(&operation.op, operation.outcome.as_ref())
    }

    /// Why nothing explains the return of `op` at event `number`.
    pub(super) fn convict<K: Mask>(
        &self,
        search: &mut Search<M, K>,
        op: u32,
        number: u32,
    ) -> Conviction {
        let mut states: Vec<u32> = search.live.iter().map(|entry| entry.state).collect();
        states.sort_unstable();
        states.dedup();
        let kept = states.iter().take(STATES_KEPT_MAX);
        let words = kept.map(|state| self.model.state_words(search.space.state(*state)));
        let words: Vec<String> = words.collect();
        let reason = format!(
            "client {} was told {}, but every order of what came before leaves {}{}, and nothing in flight mends that",
            self.history[op as usize].client,
            self.words(op),
            words[..words.len().min(STATES_NAMED_MAX)].join(" or "),
            if words.len() > STATES_NAMED_MAX {
                " or one of others"
            } else {
                ""
            },
        );
        // The chain that got furthest tells which operation left the state.
        let best = search.live.iter().next().expect("it lived until now");
        let steps = search.chains.read(best.chain);
        let prefix = self.unhide(&mut search.space, steps, number);
        let mut with = Vec::new();
        let last = prefix
            .iter()
            .rev()
            .find(|last| self.class(**last) != Class::ReadOnly);
        if let Some(last) = last {
            with.push((*last as usize, "left the state before".to_owned()));
        }
        for slot in slots(search.occupied) {
            let other = search.slots[slot].op;
            let named = other == op || with.iter().any(|(index, _)| *index == other as usize);
            if !named && with.len() < OTHERS_TOLD_MAX && self.class(other) != Class::ReadOnly {
                with.push((other as usize, "in flight, and no help".to_owned()));
            }
        }
        let returned = self.plan.events[..number as usize]
            .iter()
            .filter(|event| event.returns)
            .count();
        let key = self.model.key_words(self.key);
        Conviction {
            operation: op as usize,
            with,
            key,
            reason,
            states_left: states.len() - words.len(),
            states: words,
            prefix,
            returned: Some(returned),
        }
    }
}
