//! Streams of draws: one per consumer, forked from the seed by a label.
//!
//! What always holds: two labels share nothing, so that a draw added to one consumer moves no
//! draw of another; everything is integer arithmetic, equal in every build.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A deterministic stream of draws.
pub struct Draws {
    rng: ChaCha8Rng,
}

/// The stream of `label` under `seed`.
///
/// The label is folded with FNV-1a, then both are spread over the 256-bit key by splitmix64:
/// seeds that differ by one, and labels that share a prefix, give unrelated streams.
pub fn fork(seed: u64, label: &str) -> Draws {
    let mut folded: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in label.bytes() {
        folded = (folded ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut state = mix(seed ^ mix(folded));
    let mut key = [0u8; 32];
    for word in key.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&mix(state).to_le_bytes());
    }
    Draws {
        rng: ChaCha8Rng::from_seed(key),
    }
}

/// Splitmix64's finalizer: a bijection whose every output bit hangs on every input bit.
fn mix(word: u64) -> u64 {
    let mut z = word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Draws {
    /// Any 64 bits.
    pub fn word(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `bound`, which must be positive.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        // The high half of a 128-bit product: unbiased enough (2^-64) and free of division.
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range has no draw");
        low + self.below(high - low + 1)
    }

    /// A number in `low..=high` whose magnitude is drawn first: small ones are as frequent
    /// as large ones.
    pub fn log_range(&mut self, low: u64, high: u64) -> u64 {
        assert!(0 < low && low <= high, "a magnitude needs positive bounds");
        let (first, last) = (low.ilog2(), high.ilog2());
        let magnitude = self.range(u64::from(first), u64::from(last));
        let floor = (1u64 << magnitude).max(low);
        let ceiling = ((1u64 << magnitude) * 2 - 1).min(high);
        self.range(floor, ceiling)
    }

    /// True in `permille` of a thousand draws.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of the given, which must not be none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// An index, by weight. The weights must not all be zero.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        unreachable!("a draw below the sum falls into one of the parts")
    }

    /// Brings a slice into a drawn order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_seed_and_label() {
        let take = |seed, label| {
            let mut draws = fork(seed, label);
            [draws.word(), draws.word()]
        };
        assert_eq!(take(7, "plan"), take(7, "plan"));
        assert_ne!(take(7, "plan"), take(8, "plan"));
        assert_ne!(take(7, "plan"), take(7, "plan2"));
    }

    #[test]
    fn draws_stay_in_their_bounds_and_reach_both_ends() {
        let mut draws = fork(1, "test");
        let mut seen = [false; 4];
        for _ in 0..200 {
            seen[draws.range(3, 6) as usize - 3] = true;
            assert!((5..=900).contains(&draws.log_range(5, 900)));
        }
        assert_eq!(seen, [true; 4]);
    }

    #[test]
    fn a_weight_of_zero_is_never_picked() {
        let mut draws = fork(2, "test");
        assert!((0..200).all(|_| draws.weighted(&[0, 3, 0, 1]) % 2 == 1));
    }
}
