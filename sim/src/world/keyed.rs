//! Draws that hang on a name instead of on a turn.
//!
//! A draw is a hash of the seed and of what it is for: this link, that connection, the n-th
//! chunk. So leaving one connection or one disk operation out of a run moves no draw of any
//! other. What always holds: integer arithmetic only, equal in every build.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64: a bijection in which every output bit hangs on every input bit.
pub(crate) fn mix(word: u64) -> u64 {
    let mut z = word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The name of a draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(u64);

impl Key {
    /// The root of one consumer's draws under a seed.
    pub(super) fn new(seed: u64, label: &str) -> Key {
        label
            .bytes()
            .fold(Key(mix(seed ^ GOLDEN)), |key, byte| key.and(byte.into()))
    }

    /// This name, and one word more.
    pub(super) fn and(self, word: u64) -> Key {
        Key(mix(
            self.0.wrapping_add(GOLDEN) ^ mix(word.wrapping_add(GOLDEN))
        ))
    }

    /// Any 64 bits.
    pub(super) fn word(self) -> u64 {
        mix(self.0.wrapping_add(GOLDEN))
    }

    /// A number below `bound`, which must be positive.
    pub(super) fn below(self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0..=most`.
    pub(super) fn upto(self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(bound) => self.below(bound),
            None => self.word(),
        }
    }

    /// True in `permille` of a thousand draws.
    pub(super) fn chance(self, permille: u64) -> bool {
        permille > 0 && self.below(1000) < permille
    }
}

/// A law of delays, in nanoseconds: `base`, evenly up to `spread` on top, and for
/// `tail_permille` of a thousand evenly up to `tail` on top of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Law {
    /// Least.
    pub base_ns: u64,
    /// Evenly drawn on top.
    pub spread_ns: u64,
    /// How many in a thousand have a tail.
    pub tail_permille: u64,
    /// Evenly drawn on top of those.
    pub tail_ns: u64,
}

impl Law {
    /// `base` to `base + spread` microseconds, without a tail.
    pub const fn us(base: u64, spread: u64) -> Law {
        Law {
            base_ns: base * 1000,
            spread_ns: spread * 1000,
            tail_permille: 0,
            tail_ns: 0,
        }
    }

    pub(super) fn draw(&self, key: Key) -> u64 {
        let tail = match key.and(1).chance(self.tail_permille) {
            true => key.and(2).upto(self.tail_ns),
            false => 0,
        };
        self.base_ns + key.upto(self.spread_ns) + tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draw_is_its_name() {
        let key = Key::new(7, "network").and(1).and(2);
        assert_eq!(key.word(), Key::new(7, "network").and(1).and(2).word());
        assert_ne!(key.word(), Key::new(7, "network").and(2).and(1).word());
        assert_ne!(key.word(), Key::new(8, "network").and(1).and(2).word());
        assert_ne!(key.word(), Key::new(7, "disk").and(1).and(2).word());
    }

    #[test]
    fn law_reaches_its_bounds_and_not_further() {
        let law = Law {
            base_ns: 10,
            spread_ns: 3,
            tail_permille: 100,
            tail_ns: 1000,
        };
        let drawn: Vec<u64> = (0..5000)
            .map(|n| law.draw(Key::new(1, "test").and(n)))
            .collect();
        assert_eq!(drawn.iter().min(), Some(&10));
        assert!(*drawn.iter().max().unwrap() <= 1013);
        let tails = drawn.iter().filter(|ns| **ns > 13).count();
        assert!((300..700).contains(&tails), "{tails}");
    }
}
