//! States as small numbers, and what operations do to them.
//!
//! The search compares and hashes states all the time; here each gets a number at first
//! sight. What an operation did to a state is remembered where asking the model again would
//! be dearer than remembering.

use super::{Class, Model, OperationOf};
use rustc_hash::FxHashMap;
use std::hash::BuildHasher;

/// No state.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Not asked yet.
const UNASKED: u32 = u32::MAX - 1;

/// What the table of numbers holds for each state, roughly.
const NUMBER_BYTES: usize = 16;

/// What an answer of the model holds where it is remembered, roughly.
const ANSWER_BYTES: usize = 24;

/// Collect not before the states hold this many bytes.
const COLLECTED_BYTES_MIN: usize = 16 << 20;

/// The states seen so far of one object, and the operations on it.
pub(super) struct Space<'a, M: Model> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    states: Vec<M::State>,
    /// Numbers by hash of the state; equal hashes are told apart by the states themselves.
    index: hash_index::Index,
    hasher: rustc_hash::FxBuildHasher,
    /// Per operation of the part: what it leaves, if that depends on nothing.
    overwrites: Vec<u32>,
    /// Answers of the model, where states are dear to build.
    memo: Option<FxHashMap<(u32, u32), u32>>,
    /// Bytes of the states and of what is remembered of them.
    held: usize,
    collect_at: usize,
}

impl<'a, M: Model> Space<'a, M> {
    /// A space that knows the start of `key`, and that as state 0.
    pub(super) fn new(model: &'a M, key: &M::Key, history: &'a [OperationOf<M>]) -> Self {
        let mut space = Space {
            model,
            history,
            states: Vec::new(),
            index: hash_index::Index::default(),
            hasher: rustc_hash::FxBuildHasher,
            overwrites: vec![UNASKED; history.len()],
            memo: std::mem::needs_drop::<M::State>().then(FxHashMap::default),
            held: 0,
            collect_at: COLLECTED_BYTES_MIN,
        };
        space.start(key);
        space
    }

    /// The number of the start of `key`.
    pub(super) fn start(&mut self, key: &M::Key) -> u32 {
        self.number(self.model.start(key))
    }

    /// Whether it is time for [`Space::collect`].
    pub(super) fn is_full(&self) -> bool {
        self.held >= self.collect_at
    }

    /// Forgets every state that is none of the `kept`, and renumbers those.
    pub(super) fn collect<'k>(&mut self, kept: impl Iterator<Item = &'k mut u32>) {
        let mut states: Vec<Option<M::State>> = std::mem::take(&mut self.states)
            .into_iter()
            .map(Some)
            .collect();
        let mut numbers = vec![NOWHERE; states.len()];
        self.index = hash_index::Index::default();
        self.overwrites.fill(UNASKED);
        if let Some(memo) = &mut self.memo {
            memo.clear();
        }
        self.held = 0;
        for number in kept {
            let old = *number as usize;
            if let Some(state) = states[old].take() {
                numbers[old] = self.number(state);
            }
            *number = numbers[old];
        }
        self.collect_at = (self.held * 2).max(COLLECTED_BYTES_MIN);
    }

    /// The state with this number.
    pub(super) fn state(&self, number: u32) -> &M::State {
        &self.states[number as usize]
    }

    /// The state after operation `op` in `state`, or [`NOWHERE`].
    pub(super) fn step(&mut self, state: u32, op: u32, class: Class) -> u32 {
        match class {
            Class::Overwrite => self.overwrite(state, op),
            Class::ReadOnly => match self.reads(state, op) {
                true => state,
                false => NOWHERE,
            },
            Class::Update => match self.memo.as_ref().and_then(|memo| memo.get(&(state, op))) {
                Some(known) => *known,
                None => self.ask(state, op),
            },
        }
    }

    fn overwrite(&mut self, state: u32, op: u32) -> u32 {
        match self.overwrites[op as usize] {
            UNASKED => {
                let after = self.ask(state, op);
                self.overwrites[op as usize] = after;
                after
            }
            known => known,
        }
    }

    /// Whether an operation that changes nothing fits `state`.
    fn reads(&mut self, state: u32, op: u32) -> bool {
        let operation = &self.history[op as usize];
        let before = &self.states[state as usize];
        self.model
            .step(before, &operation.op, operation.outcome.as_ref())
            .is_some()
    }

    fn ask(&mut self, state: u32, op: u32) -> u32 {
        let operation = &self.history[op as usize];
        let before = &self.states[state as usize];
        let after = match self
            .model
            .step(before, &operation.op, operation.outcome.as_ref())
        {
            Some(after) if after == *before => state,
            Some(after) => self.number(after),
            None => NOWHERE,
        };
        if let Some(memo) = &mut self.memo {
            memo.insert((state, op), after);
            self.held += ANSWER_BYTES;
        }
        after
    }

    /// Bytes held, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.held + self.overwrites.capacity() * 4
    }

    fn number(&mut self, state: M::State) -> u32 {
        let hash = self.hasher.hash_one(&state);
        if let Some(number) = self
            .index
            .find(hash, |number| self.states[number as usize] == state)
        {
            return number;
        }
        let number = self.states.len() as u32;
        assert!(number < UNASKED, "states are numbered with 32 bits");
        self.held += self.model.bytes(&state) + NUMBER_BYTES;
        self.states.push(state);
        let (hasher, states) = (&self.hasher, &self.states);
        self.index.insert(hash, number, |number| {
            hasher.hash_one(&states[number as usize])
        });
        number
    }
}

/// An open table of numbers by hash.
mod hash_index {
    /// No number.
    const FREE: u32 = u32::MAX;

    /// Numbers by the hash of what they stand for.
    #[derive(Default)]
    pub(in super::super) struct Index {
        slots: Vec<u32>,
        len: usize,
    }

    impl Index {
        /// The number under `hash` that `is` the one looked for.
        pub(in super::super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
            if self.slots.is_empty() {
                return None;
            }
            let mask = self.slots.len() - 1;
            let mut at = spread(hash) & mask;
            loop {
                match self.slots[at] {
                    FREE => return None,
                    number if is(number) => return Some(number),
                    _ => at = (at + 1) & mask,
                }
            }
        }

        /// Adds a number that is not there; `rehash` tells the hash of one that is.
        pub(in super::super) fn insert(
            &mut self,
            hash: u64,
            number: u32,
            rehash: impl Fn(u32) -> u64,
        ) {
            if (self.len + 1) * 2 > self.slots.len() {
                let size = (self.slots.len() * 2).max(16);
                let old = std::mem::replace(&mut self.slots, vec![FREE; size]);
                for number in old.into_iter().filter(|number| *number != FREE) {
                    self.put(rehash(number), number);
                }
            }
            self.put(hash, number);
            self.len += 1;
        }

        fn put(&mut self, hash: u64, number: u32) {
            let mask = self.slots.len() - 1;
            let mut at = spread(hash) & mask;
            while self.slots[at] != FREE {
                at = (at + 1) & mask;
            }
            self.slots[at] = number;
        }
    }

    fn spread(hash: u64) -> usize {
        (hash ^ hash >> 32) as usize
    }
}
