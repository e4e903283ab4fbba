//! Quorum arithmetic: majorities of a named set of voters, and nothing else.
//!
//! A leaf without state. Observers and strangers never count, because only the voters
//! handed in are looked at (ZOOKEEPER-769, ZOOKEEPER-2959).

use crate::base::{ServerId, Zxid};
use std::collections::BTreeSet;

/// True when more than half of `voters` are among `acks`.
pub fn is_quorum(voters: &BTreeSet<ServerId>, acks: &BTreeSet<ServerId>) -> bool {
    voters.intersection(acks).count() > voters.len() / 2
}

/// The greatest value that more than half of the voters have reached, given what each voter
/// has reached (one element a voter, in any order).
///
/// # Panics
/// When there are no voters.
pub fn reached_by_quorum<T: Ord + Copy>(mut each: Vec<T>) -> T {
    assert!(!each.is_empty(), "an ensemble without voters");
    let need = each.len() / 2 + 1;
    each.sort_unstable_by(|a, b| b.cmp(a));
    each[need - 1]
}

/// The greatest zxid held durably by a quorum.
pub fn committed(held: Vec<Zxid>) -> Zxid {
    reached_by_quorum(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(ids: &[u8]) -> BTreeSet<ServerId> {
        ids.iter().map(|id| ServerId(*id)).collect()
    }

    #[test]
    fn half_is_not_a_majority() {
        assert!(!is_quorum(&ids(&[1, 2, 3, 4]), &ids(&[1, 2])));
        assert!(is_quorum(&ids(&[1, 2, 3, 4]), &ids(&[1, 2, 3])));
        assert!(is_quorum(&ids(&[1]), &ids(&[1])));
        assert!(
            !is_quorum(&ids(&[1, 2, 3]), &ids(&[1, 7, 8, 9])),
            "strangers do not count"
        );
    }

    #[test]
    fn a_table_of_commits() {
        for (held, commit) in [
            (vec![5], 5),
            (vec![5, 3], 3),
            (vec![5, 3, 0], 3),
            (vec![5, 5, 0], 5),
            (vec![9, 7, 5, 3], 5),
            (vec![9, 7, 5, 3, 1], 5),
        ] {
            assert_eq!(reached_by_quorum(held.clone()), commit, "{held:?}");
        }
    }

    proptest! {
        /// The slow twin: try every value, count who reached it.
        #[test]
        fn agrees_with_counting(held in prop::collection::vec(0_u32..20, 1..8)) {
            let slow = (0..20)
                .rev()
                .find(|v| held.iter().filter(|h| *h >= v).count() > held.len() / 2)
                .unwrap();
            prop_assert_eq!(reached_by_quorum(held), slow);
        }
    }
}
