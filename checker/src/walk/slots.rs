//! Free zxids: numbers that no answered transaction has and nobody saw.
//!
//! Within an epoch zxids are consecutive, so what happened unseen can only lie at a number
//! that is missing, or after the last number seen of an epoch.
//!
//! Answers to: `protocol.md` 15.4.

use super::case::{Case, Role};
use super::evidence::Evidence;
use super::unanswered::CandidateIndex;
use crate::history::Body;
use std::collections::BTreeMap;

/// Most numbers after the last one seen of an epoch that are looked at.
const TAIL_MAX: i64 = 64;

/// How many numbers are looked at for the lowest open one of a stretch.
const LOOK_AHEAD: usize = 64;

/// Which numbers are taken.
pub struct Slots {
    /// Taken numbers, in order.
    taken: Vec<i64>,
    /// Greatest number seen of each epoch.
    epochs: BTreeMap<i64, i64>,
    /// How many unseen numbers may follow the last one of an epoch.
    tail: i64,
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
        }
    }

    /// Visits places from the highest. Numbers that nothing divides which the one to place
    /// could notice, or whoever notices it, are alike but for the room they leave on either
    /// side: of those the highest, the middle and the lowest are visited, and what holds a
    /// number beyond them. Returns true if there were more places than `places_max`.
    pub fn between(
        &self,
        search: &Stretches<'_>,
        assigned: &BTreeMap<i64, CandidateIndex>,
        places_max: usize,
        mut visit: impl FnMut(Result<i64, CandidateIndex>),
    ) -> bool {
        let first = self.epochs.keys().next().map_or(0, |epoch| epoch << 32);
        let low = search.low.max(first);
        let (mut bound, mut places) = (search.high, 0);
        while let Some(place) = self.open_below(bound, low, search.excluded) {
            let edge = last_below(search.marks, place).max(low);
            if let Some(&holder) = assigned.get(&place) {
                let next = first_from(search.marks, place);
                let next = next.min(search.high - 1);
                let between = self.has_room(edge, place - 1, search, assigned)
                    && self.has_room(place, next, search, assigned);
                if !between {
                    visit(Err(holder));
                }
                bound = place;
                continue;
            }
            let held = assigned.range(..place).next_back();
            let edge = held.map_or(edge, |(&held, _)| edge.max(held));
            for each in self.spread(edge, place, search, assigned) {
                visit(Ok(each));
                places += 1;
            }
            if places > places_max {
                return true;
            }
            bound = edge.saturating_add(1);
        }
        false
    }

    /// The highest, one near the middle and the lowest open number in `(edge, highest]`, without
    /// repetition; the highest is known to be open, and nothing is placed below it.
    fn spread(
        &self,
        edge: i64,
        highest: i64,
        search: &Stretches<'_>,
        assigned: &BTreeMap<i64, CandidateIndex>,
    ) -> Vec<i64> {
        let mut spread = vec![highest];
        let lowest = (edge + 1..highest)
            .take(LOOK_AHEAD)
            .find(|&number| self.is_open(number, search, assigned));
        let Some(lowest) = lowest else {
            return spread;
        };
        let middle = lowest + (highest - lowest) / 2;
        spread.extend(self.open_below(middle + 1, lowest, search.excluded));
        spread.push(lowest);
        spread
    }

    /// True if a number can be taken: nothing answered or seen has it, nothing is placed
    /// there, and it is where the search looks.
    pub fn is_open(
        &self,
        number: i64,
        search: &Stretches<'_>,
        assigned: &BTreeMap<i64, CandidateIndex>,
    ) -> bool {
        search.low < number
            && number < search.high
            && self.free_below(number + 1) == Some(number)
            && !assigned.contains_key(&number)
            && (search.excluded)(number).is_none()
    }

    /// How many open numbers there are where the search looks at which nothing is placed, at
    /// most `enough`.
    pub fn count_open(
        &self,
        search: &Stretches<'_>,
        assigned: &BTreeMap<i64, CandidateIndex>,
        enough: usize,
    ) -> usize {
        let (mut bound, mut count) = (search.high, 0);
        while count < enough
            && let Some(place) = self.open_below(bound, search.low, search.excluded)
        {
            count += usize::from(!assigned.contains_key(&place));
            bound = place;
        }
        count
    }

    /// The `count`th number after `zxid`, of its epoch, that is not taken, nor anything placed
    /// there.
    pub fn free_after(
        &self,
        zxid: i64,
        assigned: &BTreeMap<i64, CandidateIndex>,
        count: i64,
    ) -> i64 {
        let (mut place, mut left) = (zxid, count);
        let mut next = self.taken.partition_point(|&taken| taken <= zxid);
        while left > 0 {
            place += 1;
            match self.taken.get(next) {
                Some(&taken) if taken == place => next += 1,
                Some(_) | None => left -= i64::from(!assigned.contains_key(&place)),
            }
        }
        place
    }

    /// The `count`th number before `zxid` that is not taken, nor anything placed there.
    pub fn free_before(
        &self,
        zxid: i64,
        assigned: &BTreeMap<i64, CandidateIndex>,
        count: i64,
    ) -> i64 {
        let (mut place, mut left) = (zxid, count);
        let mut next = self.taken.partition_point(|&taken| taken < zxid);
        while left > 0 {
            place -= 1;
            match next.checked_sub(1).map(|last| self.taken[last]) {
                Some(taken) if taken == place => next -= 1,
                Some(_) | None => left -= i64::from(!assigned.contains_key(&place)),
            }
        }
        place
    }

    /// True if `(edge, upto]` has an open number at which nothing is placed.
    fn has_room(
        &self,
        edge: i64,
        upto: i64,
        search: &Stretches<'_>,
        assigned: &BTreeMap<i64, CandidateIndex>,
    ) -> bool {
        let mut bound = upto.saturating_add(1);
        while let Some(place) = self.open_below(bound, edge, search.excluded) {
            if !assigned.contains_key(&place) {
                return true;
            }
            bound = place;
        }
        false
    }

    /// The greatest number in `(low, bound)` that is free and not excluded.
    fn open_below(
        &self,
        bound: i64,
        low: i64,
        excluded: &dyn Fn(i64) -> Option<i64>,
    ) -> Option<i64> {
        let mut place = self.free_below(bound)?;
        while place > low {
            match excluded(place) {
                None => return Some(place),
                Some(after) => place = self.free_below(after.saturating_add(1))?,
            }
        }
        None
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

/// Where to look for places.
pub struct Stretches<'a> {
    /// Above this number.
    pub low: i64,
    /// Below this number.
    pub high: i64,
    /// Sorted lists of the numbers at which there is something that would notice.
    pub marks: &'a [&'a [i64]],
    /// The end below which to go on, where a number is ruled out.
    pub excluded: &'a dyn Fn(i64) -> Option<i64>,
}

fn last_below(marks: &[&[i64]], place: i64) -> i64 {
    let lasts = marks.iter().filter_map(|list| {
        let end = list.partition_point(|&mark| mark < place);
        end.checked_sub(1).map(|last| list[last])
    });
    lasts.max().unwrap_or(i64::MIN)
}

fn first_from(marks: &[&[i64]], place: i64) -> i64 {
    let firsts = marks.iter().filter_map(|list| {
        let begin = list.partition_point(|&mark| mark < place);
        list.get(begin).copied()
    });
    firsts.min().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(taken: &[i64], last: &[i64], tail: i64) -> Slots {
        let epochs = last.iter().map(|&zxid| (zxid >> 32, zxid)).collect();
        Slots {
            taken: taken.to_vec(),
            epochs,
            tail,
        }
    }

    fn visited(slots: &Slots, low: i64, high: i64, marks: &[i64]) -> Vec<i64> {
        let mut seen = Vec::new();
        let search = Stretches {
            low,
            high,
            marks: &[marks],
            excluded: &|number| (number == 4).then_some(3),
        };
        slots.between(&search, &BTreeMap::new(), 100, |slot| seen.extend(slot));
        seen
    }

    #[test]
    fn numbers_that_nothing_divides_are_visited_at_their_ends() {
        let slots = slots(&[1, 2, 8, 9], &[9], 0);
        assert_eq!(visited(&slots, 0, 9, &[1, 2, 8, 9]), [7, 5, 3]);
        assert_eq!(visited(&slots, 0, 9, &[1, 2, 5, 9]), [7, 6, 5, 3]);
        assert_eq!(visited(&slots, 0, 100, &[2, 9]), [7, 5, 3]);
        assert_eq!(visited(&slots, 4, 9, &[]), [7, 6, 5]);
        assert_eq!(visited(&slots, 0, 3, &[1, 2]), [0; 0]);
    }

    #[test]
    fn number_near_the_middle_is_visited_where_the_middle_is_taken() {
        let slots = slots(&[1, 2, 9, 10, 11, 19], &[19], 0);
        assert_eq!(visited(&slots, 2, 19, &[]), [18, 8, 3]);
    }

    #[test]
    fn holder_is_visited_only_where_there_is_no_room_on_either_side() {
        let slots = slots(&[1, 2, 6, 7], &[7], 0);
        let search = Stretches {
            low: 0,
            high: 7,
            marks: &[&[2, 6]],
            excluded: &|_| None,
        };
        let visited = |held: &[i64]| {
            let assigned = held.iter().map(|&place| (place, place as u32)).collect();
            let mut seen = Vec::new();
            slots.between(&search, &assigned, 100, |slot| seen.push(slot));
            seen
        };
        assert_eq!(visited(&[4]), [Ok(5), Ok(3)]);
        assert_eq!(visited(&[5]), [Err(5), Ok(4), Ok(3)]);
        assert_eq!(visited(&[3]), [Ok(5), Ok(4), Err(3)]);
        assert_eq!(visited(&[3, 4, 5]), [Err(5), Err(4), Err(3)]);
    }

    #[test]
    fn the_end_of_an_epoch_has_room_for_what_nobody_saw() {
        let second = 1i64 << 32;
        let slots = slots(&[1, 2, second + 1], &[2, second + 1], 3);
        let items = [2, second + 1];
        assert_eq!(visited(&slots, 0, second + 1, &items), [5, 3]);
        let both = [second + 4, second + 3, second + 2, 5, 3];
        assert_eq!(visited(&slots, 0, second + 5, &items), both);
    }
}
