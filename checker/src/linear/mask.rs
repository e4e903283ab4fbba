//! Sets of slots: which operations in flight a configuration has applied.
//!
//! A slot is a place in flight, not a place in the history: it is handed out at a call and
//! taken back at the return, so that a set needs as many bits as operations overlap, not as
//! many as there are.

use std::fmt::Debug;
use std::hash::Hash;

/// A set of slots.
pub(super) trait Mask: Copy + Eq + Hash + Debug {
    /// Slots that fit.
    const SLOTS: usize;
    /// Nothing.
    const EMPTY: Self;
    /// Whether `slot` is in the set.
    fn has(self, slot: usize) -> bool;
    /// The set with `slot`.
    fn with(self, slot: usize) -> Self;
    /// The set without `slot`.
    fn without(self, slot: usize) -> Self;
    /// What is in either.
    fn or(self, other: Self) -> Self;
    /// What is in both.
    fn and(self, other: Self) -> Self;
    /// What is in this and not in the other.
    fn minus(self, other: Self) -> Self;
    /// What is in exactly one.
    fn differ(self, other: Self) -> Self;
    /// Whether nothing is in the set.
    fn is_empty(self) -> bool;
    /// The least slot in the set; only of sets that are not empty.
    fn least(self) -> usize;
}

macro_rules! word_mask {
    ($word:ty) => {
        impl Mask for $word {
            const SLOTS: usize = <$word>::BITS as usize;
            const EMPTY: Self = 0;
            fn has(self, slot: usize) -> bool {
                self >> slot & 1 == 1
            }
            fn with(self, slot: usize) -> Self {
                self | 1 << slot
            }
            fn without(self, slot: usize) -> Self {
                self & !(1 << slot)
            }
            fn or(self, other: Self) -> Self {
                self | other
            }
            fn and(self, other: Self) -> Self {
                self & other
            }
            fn minus(self, other: Self) -> Self {
                self & !other
            }
            fn differ(self, other: Self) -> Self {
                self ^ other
            }
            fn is_empty(self) -> bool {
                self == 0
            }
            fn least(self) -> usize {
                self.trailing_zeros() as usize
            }
        }
    };
}

word_mask!(u64);
word_mask!(u128);

/// A set of up to 64 * W slots, for histories with crowds in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wide<const W: usize>([u64; W]);

impl<const W: usize> Wide<W> {
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Wide(std::array::from_fn(|at| f(self.0[at], other.0[at])))
    }
}

impl<const W: usize> Mask for Wide<W> {
    const SLOTS: usize = 64 * W;
    const EMPTY: Self = Wide([0; W]);
    fn has(self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }
    fn with(mut self, slot: usize) -> Self {
        self.0[slot / 64] |= 1 << (slot % 64);
        self
    }
    fn without(mut self, slot: usize) -> Self {
        self.0[slot / 64] &= !(1 << (slot % 64));
        self
    }
    fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }
    fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }
    fn differ(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
    fn is_empty(self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
    fn least(self) -> usize {
        let at = self.0.iter().position(|word| *word != 0);
        let at = at.expect("asked of a set that is not empty");
        at * 64 + self.0[at].trailing_zeros() as usize
    }
}

/// The slots of a set, ascending.
pub(super) fn slots<M: Mask>(mut mask: M) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask.is_empty() {
            return None;
        }
        let slot = mask.least();
        mask = mask.without(slot);
        Some(slot)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds_what_was_put<M: Mask>() {
        let some: Vec<usize> = (0..M::SLOTS).filter(|slot| slot % 7 == 3).collect();
        let set = some.iter().fold(M::EMPTY, |set, slot| set.with(*slot));
        assert_eq!(slots(set).collect::<Vec<_>>(), some);
        assert!(!set.without(3).has(3) && set.has(3));
        assert!(set.minus(set).is_empty() && set.differ(set).is_empty());
        assert_eq!(set.and(M::EMPTY.with(3).with(4)), M::EMPTY.with(3));
        assert_eq!(set.or(M::EMPTY), set);
    }

    #[test]
    fn every_width_is_a_set() {
        holds_what_was_put::<u64>();
        holds_what_was_put::<u128>();
        holds_what_was_put::<Wide<4>>();
        holds_what_was_put::<Wide<16>>();
    }
}
