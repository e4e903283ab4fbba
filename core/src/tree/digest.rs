//! The mixing that tree and session digests are made of.
//!
//! A digest is the wrapping sum of one well-mixed 64-bit hash per item, so it depends only
//! on the set of items and costs O(1) per change: subtract the old hash, add the new. It
//! tells accidents apart, not adversaries: whoever chooses bytes can make hashes collide.
//!
//! The hash folds 128-bit products: `state = fold((word ^ A) * (state ^ B))`, every field a
//! word, byte strings as their length followed by little-endian words padded with zeroes.

const A: u64 = 0x9e37_79b9_7f4a_7c15;
const B: u64 = 0xd6e8_feb8_6659_fd93;
const C: u64 = 0xa076_1d64_78bd_642f;

/// A running hash.
#[derive(Clone, Copy, Debug)]
pub struct Mix(u64);

impl Mix {
    /// A hash of its own kind: equal fields under different tags give different hashes.
    pub const fn new(tag: u64) -> Mix {
        Mix(fold(tag ^ C, A))
    }

    /// Mixes in a number.
    #[must_use]
    pub const fn word(self, word: u64) -> Mix {
        Mix(fold(word ^ A, self.0 ^ B))
    }

    /// Mixes in a signed number.
    #[must_use]
    pub const fn long(self, word: i64) -> Mix {
        self.word(word as u64)
    }

    /// Mixes in two 4-byte numbers.
    #[must_use]
    pub const fn ints(self, high: i32, low: i32) -> Mix {
        self.word((high as u32 as u64) << 32 | low as u32 as u64)
    }

    /// Mixes in a byte string and its length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Mix {
        let mut mix = self.word(bytes.len() as u64);
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            mix = mix.word(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            mix = mix.word(u64::from_le_bytes(word));
        }
        mix
    }

    /// Mixes in a byte string that may be null, which is not the same as empty.
    #[must_use]
    pub fn opt_bytes(self, bytes: Option<&[u8]>) -> Mix {
        match bytes {
            None => self.word(u64::MAX),
            Some(bytes) => self.bytes(bytes),
        }
    }

    /// The hash.
    pub const fn finish(self) -> u64 {
        fold(self.0 ^ A, C)
    }
}

const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_get_unrelated_hashes() {
        let base = Mix::new(1).bytes(b"/node").long(7).finish();
        let near = [
            Mix::new(2).bytes(b"/node").long(7).finish(),
            Mix::new(1).bytes(b"/nodf").long(7).finish(),
            Mix::new(1).bytes(b"/node\0").long(7).finish(),
            Mix::new(1).bytes(b"/node").long(8).finish(),
            Mix::new(1).bytes(b"/node").long(7).word(0).finish(),
        ];
        for other in near {
            let differing = (base ^ other).count_ones();
            assert!((12..=52).contains(&differing), "{differing} bits differ");
        }
    }

    #[test]
    fn null_and_empty_hash_apart() {
        let null = Mix::new(1).opt_bytes(None).finish();
        let empty = Mix::new(1).opt_bytes(Some(b"")).finish();
        assert_ne!(null, empty);
    }

    #[test]
    fn sums_over_counters_do_not_collide() {
        // The sum is what the digest is: pairs (a, b) with a + b constant must differ.
        let hash = |n: u64| Mix::new(1).word(n).finish();
        let sums: std::collections::BTreeSet<u64> = (0..1000)
            .map(|n| hash(n).wrapping_add(hash(2000 - n)))
            .collect();
        assert_eq!(sums.len(), 1000);
    }
}
