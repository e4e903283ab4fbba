//! What was tried in vain: sets of placements from which there is no way on, whatever else is
//! placed.
//!
//! The walk depends on what is placed where, not on the order in which that was decided; and what
//! is placed for many mismatches in turn comes together in many orders. So a set that was looked
//! at to the end is kept with the reason why it failed, and is not walked again.
//!
//! What always holds: only what failed with nothing left out is kept, so that it is as good a
//! proof the second time. Sets are known by 128 bits of them, which two of a million share with a
//! probability below 10⁻²⁶.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "mismatch".

use super::mend::Conflict;
use super::unanswered::CandidateIndex;
use rustc_hash::FxHashMap;

/// Most aspects and candidates, in all reasons together, that are kept: 32 MiB.
const KEPT_MAX: usize = 1 << 22;

/// A set of placements: what [`Nogoods::mark`] gives for each, by exclusive or.
pub(super) type Key = u128;

/// The sets that failed, and why.
#[derive(Default)]
pub(super) struct Nogoods {
    failed: FxHashMap<Key, Conflict>,
    /// How much the reasons name, and one for each set.
    size: usize,
}

impl Nogoods {
    /// What one placement adds to a key, or takes from it.
    pub(super) fn mark(number: CandidateIndex, place: i64) -> Key {
        let number = u64::from(number);
        let first = scramble(scramble(place as u64).wrapping_add(number));
        let second = scramble(scramble(!number).wrapping_add(place as u64));
        Key::from(first) << 64 | Key::from(second)
    }

    /// Keeps a set that failed with nothing left out; nothing if there are too many.
    pub(super) fn keep(&mut self, key: Key, why: &Conflict) {
        let size = 1 + why.relevant.len() + why.holders.len();
        if self.size + size <= KEPT_MAX && self.failed.insert(key, why.clone()).is_none() {
            self.size += size;
        }
    }

    /// Why a set failed, if it is known to fail.
    pub(super) fn why(&self, key: Key) -> Option<&Conflict> {
        self.failed.get(&key)
    }
}

/// A permutation of 64 bits in which every bit of the input moves half of those of the output
/// (the last steps of SplitMix64).
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_that_of_the_set_in_whatever_order() {
        let (first, second) = (Nogoods::mark(1, 5), Nogoods::mark(2, 6));
        assert_eq!(first ^ second ^ first, second);
        let exchanged = Nogoods::mark(1, 6) ^ Nogoods::mark(2, 5);
        assert_ne!(first ^ second, exchanged);
    }
}
