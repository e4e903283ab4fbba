//! What is tried first: what a client sent in one go, in the order sent, at one free number after
//! the other.
//!
//! Whatever stands here changes the order of attempts only, never what is attempted.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "counted".

use super::replay::Replay;
use super::slots::Stretches;
use super::unanswered::CandidateIndex;
use rustc_hash::FxHashSet;

/// How far apart, in requests of unknown fate, two of one connection may be to be looked at
/// together.
const BURST_MAX: i64 = 64;

impl Replay<'_, '_> {
    /// How many of those wanted were sent before a candidate on the same connection and are
    /// not placed: what arrives of a connection arrives in order.
    pub(super) fn skipped(
        &self,
        number: CandidateIndex,
        among: &FxHashSet<CandidateIndex>,
    ) -> usize {
        let Some(survey) = &self.survey else { return 0 };
        let before = |number: &CandidateIndex| survey.neighbours[*number as usize][0];
        let earlier = std::iter::successors(before(&number), before).take(BURST_MAX as usize);
        let unplaced = |number: &CandidateIndex| {
            among.contains(number) && self.candidates.list[*number as usize].assigned.is_none()
        };
        earlier.filter(unplaced).count()
    }

    /// The zxid by which a candidate has happened, as far as what was seen tells.
    pub(super) fn due(&self, number: CandidateIndex) -> i64 {
        let survey = self.survey.as_ref();
        survey.map_or(i64::MAX, |survey| survey.due[number as usize])
    }

    /// Where a candidate lies if what its client sent on one connection took numbers without a
    /// gap: those sent before it too, for a refused write has a number as well. They are
    /// counted from the nearest that is placed, or from the last that was known before.
    pub(super) fn likely(&self, number: CandidateIndex) -> Option<i64> {
        let survey = self.survey.as_ref()?;
        let list = &self.candidates.list;
        let low = list[number as usize].low;
        let [mut before, mut after] = survey.neighbours[number as usize];
        let mut first = 1;
        let place_of = |other: Option<CandidateIndex>| list[other? as usize].assigned;
        for step in 1..=BURST_MAX {
            if let Some(place) = place_of(before) {
                return Some(self.slots.free_after(place, &self.assigned, step));
            }
            if let Some(place) = place_of(after) {
                return Some(self.slots.free_before(place, &self.assigned, step));
            }
            if before.is_some_and(|before| list[before as usize].high > low) {
                first = 1 + step;
            }
            before = before.and_then(|before| survey.neighbours[before as usize][0]);
            after = after.and_then(|after| survey.neighbours[after as usize][1]);
        }
        Some(self.slots.free_after(low, &self.assigned, first))
    }

    /// True if a session that ends at `place` leaves no room for all that it had sent and nobody
    /// was told of: mostly that has happened.
    pub(super) fn cuts_off(&self, number: CandidateIndex, place: i64) -> bool {
        if !self.candidates.list[number as usize].is_end() {
            return false;
        }
        let sent = self.siblings(number).iter();
        let sent = sent.map(|&sent| &self.candidates.list[sent as usize]);
        let sent = sent.filter(|sent| {
            let free = sent.request.is_some() && sent.assigned.is_none();
            free && sent.low < place && place <= sent.high
        });
        let search = Stretches {
            low: sent.clone().map(|sent| sent.low).min().unwrap_or(place),
            high: place,
            marks: &[],
            excluded: &|_| None,
        };
        let count = sent.count();
        (self.slots).count_open(&search, &self.assigned, count) < count
    }
}
