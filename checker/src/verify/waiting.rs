//! What has no place yet, by its number in the order sent.
//!
//! Most find their place soon, so each is found by how far behind the newest it was sent, in a
//! queue. Those that wait much longer than the others are looked up in a map. What always
//! holds: the queue grows only if more than half of what it holds waits.
//!
//! Answers to: nothing but the clock.

use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// What waits.
pub struct Waiting<T> {
    /// The number of the first in the queue.
    first: u64,
    near: VecDeque<Option<T>>,
    /// Those that the queue does not reach.
    far: FxHashMap<u64, T>,
    len: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        let (near, far) = (VecDeque::new(), FxHashMap::default());
        let (first, len) = (0, 0);
        Waiting {
            first,
            near,
            far,
            len,
        }
    }
}

impl<T> Waiting<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of the next.
    pub fn next(&self) -> u64 {
        self.first + self.near.len() as u64
    }

    /// Lets the next wait.
    pub fn push(&mut self, next: T) {
        if self.near.len() == self.near.capacity() {
            self.leave();
        }
        self.near.push_back(Some(next));
        self.len += 1;
    }

    /// What is empty leaves the queue; if that is little, so does its older half, unless more
    /// than half waits.
    #[cold]
    fn leave(&mut self) {
        let (all, waiting) = (self.near.len(), self.len - self.far.len());
        let empty = self.near.iter().take_while(|place| place.is_none()).count();
        let left = match empty < all / 4 {
            true if waiting > all / 2 => return,
            true => all / 2,
            false => empty,
        };
        let gone = (self.first..).zip(self.near.drain(..left));
        self.far
            .extend(gone.filter_map(|(number, one)| Some((number, one?))));
        self.first += left as u64;
    }

    /// The one of a number, if it waits.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        match number.checked_sub(self.first) {
            Some(at) => self.near.get_mut(at as usize)?.as_mut(),
            None => self.far.get_mut(&number),
        }
    }

    /// The one of a number, if it waits; it does not any more.
    pub fn take(&mut self, number: u64) -> Option<T> {
        let taken = match number.checked_sub(self.first) {
            Some(at) => self.near.get_mut(at as usize)?.take(),
            None => self.far.remove(&number),
        };
        self.len -= usize::from(taken.is_some());
        taken
    }

    /// Forgets those that are not worth keeping.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for place in &mut self.near {
            place.take_if(|one| !keep(one));
        }
        self.far.retain(|_, one| keep(one));
        self.len = self.iter().count();
    }

    /// All that wait.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.far.values().chain(self.near.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_number_however_long_it_waits() {
        let mut waiting = Waiting::default();
        for number in 0..10_000 {
            assert_eq!(waiting.next(), number);
            waiting.push(number);
            assert!(number % 7 == 0 || waiting.take(number) == Some(number));
        }
        waiting.retain(|number| number % 2 == 0);
        for number in 0..10_000 {
            let mut kept = (number % 14 == 0).then_some(number);
            assert_eq!(waiting.get_mut(number), kept.as_mut());
            assert_eq!((waiting.take(number), waiting.take(number)), (kept, None));
        }
        assert!(waiting.len() == 0 && waiting.iter().next().is_none());
    }

    #[test]
    fn those_that_wait_for_ever_keep_nobody_else() {
        let mut waiting = Waiting::default();
        (0..100).for_each(|number| waiting.push(number));
        for number in 100..10_000 {
            waiting.push(number);
            assert_eq!(waiting.take(number), Some(number));
            assert!(waiting.near.capacity() <= 400);
        }
        assert!((0..100).all(|number| waiting.take(number) == Some(number)));
    }
}
