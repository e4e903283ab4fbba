//! Free zxids: numbers that no answered transaction has and nobody saw.
//!
//! Within an epoch zxids are consecutive, so what happened unseen can only lie at a number
//! that is missing, or after the last number seen of an epoch.
//!
//! Answers to: `protocol.md` 15.4.

use super::case::{Case, Role};
use super::evidence::Evidence;
use super::replay::Item;
use super::unanswered::CandidateIndex;
use crate::history::Body;
use std::collections::BTreeMap;

/// Most numbers after the last one seen of an epoch that are looked at.
const TAIL_MAX: i64 = 64;

/// Up to this size every number of a gap is offered.
const SMALL_GAP: usize = 8;

/// Which numbers are taken.
pub struct Slots {
    /// Taken numbers, in order.
    taken: Vec<i64>,
    /// Greatest number seen of each epoch.
    epochs: BTreeMap<i64, i64>,
    /// How many unseen numbers may follow the last one of an epoch.
    tail: i64,
    /// The last number before the history: nothing unseen lies there or earlier.
    start: i64,
}

impl Slots {
    /// The numbers of a case; `candidates` is how many things may have happened unseen.
    pub fn of(case: &Case<'_>, holes: &[(i64, Vec<Evidence<'_>>)], candidates: usize) -> Self {
        let mut taken: Vec<i64> = holes.iter().map(|(zxid, _)| *zxid).collect();
        let mut epochs = BTreeMap::new();
        let mut note = |zxid: i64| {
            let last = epochs.entry(zxid >> 32).or_insert(zxid);
            *last = zxid.max(*last);
        };
        note(case.start_zxid);
        taken.iter().for_each(|&zxid| note(zxid));
        for request in case.requests.iter().filter(|request| request.zxid > 0) {
            if request.role == Role::Transaction {
                taken.push(request.zxid);
            }
            note(request.zxid);
        }
        for record in &case.history.records {
            if let Body::Notify { zxid, .. } = record.body
                && zxid > 0
            {
                note(zxid);
            }
        }
        taken.sort_unstable();
        taken.dedup();
        Slots {
            taken,
            epochs,
            tail: TAIL_MAX.min(candidates as i64),
            start: case.start_zxid,
        }
    }

    /// Visits places in `(low, high)` from the highest. The numbers of a gap, which no item
    /// and nothing placed divides, are alike but for the room they leave on either side: of
    /// a small gap all are visited, of a large one the middle. Where a number is held by
    /// something placed, visits the holder. Returns true if there were more than `places_max`.
    pub fn between(
        &self,
        low: i64,
        high: i64,
        items: &[Item],
        assigned: &BTreeMap<i64, CandidateIndex>,
        places_max: usize,
        mut visit: impl FnMut(Result<i64, CandidateIndex>),
    ) -> bool {
        let low = low.max(self.start);
        let mut gap: Vec<i64> = Vec::new();
        let (mut bound, mut behind, mut places) = (high, usize::MAX, 0);
        while let Some(place) = self.free_below(bound).filter(|&place| place > low) {
            bound = place;
            let before = items.partition_point(|&(zxid, _)| zxid < place);
            if before != behind || assigned.contains_key(&place) {
                places += flush(&mut gap, &mut visit);
                behind = before;
            }
            match assigned.get(&place) {
                Some(&holder) => visit(Err(holder)),
                None => gap.push(place),
            }
            if places > places_max {
                return true;
            }
            if gap.len() as i64 >= TAIL_MAX {
                // On with the next item below: such a gap is wide enough for everybody.
                match before.checked_sub(1) {
                    Some(last) => bound = items[last].0.saturating_add(1).min(place),
                    None => break,
                }
            }
        }
        flush(&mut gap, &mut visit);
        false
    }

    /// The greatest number below `bound` that is free and at which nothing is placed.
    pub fn next_free(&self, bound: i64, assigned: &BTreeMap<i64, CandidateIndex>) -> Option<i64> {
        let mut free = self.free_below(bound)?;
        while assigned.contains_key(&free) {
            free = self.free_below(free)?;
        }
        Some(free).filter(|&free| free > self.start)
    }

    /// The greatest number below `bound` that is not taken.
    fn free_below(&self, bound: i64) -> Option<i64> {
        let (&epoch, &last) = self.epochs.range(..=(bound - 1) >> 32).next_back()?;
        let mut place = (bound - 1).min(last + self.tail);
        let mut index = self.taken.partition_point(|&taken| taken <= place);
        while index > 0 && self.taken[index - 1] == place {
            index -= 1;
            place -= 1;
        }
        if place & 0xffff_ffff == 0 || place >> 32 < epoch {
            return self
                .epochs
                .range(..epoch)
                .next_back()
                .and_then(|_| self.free_below((epoch << 32).min(place)));
        }
        Some(place)
    }
}

/// Visits what a gap has to offer, from the highest, and empties it.
fn flush(gap: &mut Vec<i64>, visit: &mut impl FnMut(Result<i64, CandidateIndex>)) -> usize {
    let offered = match gap.len() <= SMALL_GAP {
        true => 0..gap.len(),
        false => gap.len() / 2..gap.len() / 2 + 1,
    };
    let count = offered.len();
    gap[offered].iter().for_each(|&place| visit(Ok(place)));
    gap.clear();
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::replay::What;

    fn slots(taken: &[i64], last: &[i64], tail: i64) -> Slots {
        let epochs = last.iter().map(|&zxid| (zxid >> 32, zxid)).collect();
        Slots {
            taken: taken.to_vec(),
            epochs,
            tail,
            start: 0,
        }
    }

    fn visited(slots: &Slots, low: i64, high: i64, items: &[i64]) -> Vec<i64> {
        let items: Vec<Item> = items.iter().map(|&zxid| (zxid, What::Read(0))).collect();
        let mut seen = Vec::new();
        slots.between(low, high, &items, &BTreeMap::new(), 100, |slot| {
            seen.extend(slot)
        });
        seen
    }

    #[test]
    fn every_number_of_a_small_gap_is_visited() {
        let slots = slots(&[1, 2, 6, 7], &[7], 0);
        assert_eq!(visited(&slots, 0, 7, &[1, 2, 6, 7]), [5, 4, 3]);
        assert_eq!(visited(&slots, 0, 7, &[1, 2, 4, 6, 7]), [5, 4, 3]);
        assert_eq!(visited(&slots, 0, 100, &[1, 2, 6, 7]), [5, 4, 3]);
        assert_eq!(visited(&slots, 4, 7, &[1, 2, 4, 6, 7]), [5]);
        assert_eq!(visited(&slots, 0, 3, &[1, 2]), [0; 0]);
    }

    #[test]
    fn nothing_unseen_lies_before_the_start() {
        let slots = Slots {
            start: 4,
            ..slots(&[6], &[6], 0)
        };
        assert_eq!(visited(&slots, 0, 7, &[6]), [5]);
        assert_eq!(slots.next_free(5, &BTreeMap::new()), None);
    }

    #[test]
    fn the_end_of_an_epoch_has_room_for_what_nobody_saw() {
        let second = 1i64 << 32;
        let slots = slots(&[1, 2, second + 1], &[2, second + 1], 3);
        let items = [1, 2, second + 1];
        assert_eq!(visited(&slots, 0, second + 1, &items), [5, 4, 3]);
        let both = [second + 4, second + 3, second + 2, 5, 4, 3];
        assert_eq!(visited(&slots, 0, second + 5, &items), both);
    }
}
