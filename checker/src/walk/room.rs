//! Room: how much more can have happened to a node between two counts of it.
//!
//! Two Stats of one life of a node say how often it changed in between. What answered requests
//! and seen transactions do not explain of that is how many changes of unknown fate lie in the
//! gap: not one more. So where enough are placed, no other need be tried there; and where fewer
//! numbers are open than changes are missed, nothing need be tried at all.
//!
//! What always holds: a gap is called full only if every order with the same requests placed in
//! it contradicts a Stat, and those requests are named. What can still be placed is counted too
//! generously, never too strictly.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "counted".

use super::changes::{Part, Place};
use super::replay::{Mismatch, Replay};
use super::slots::Stretches;
use super::survey::Survey;
use super::unanswered::CandidateIndex;
use super::wants::number_of;
use crate::model::{Diff, Paths};
use rustc_hash::FxHashMap;

/// Zxids in `(after, upto]`, between two counts of one life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) after: i64,
    pub(super) upto: i64,
    /// How many changes in it nobody was told of; at least one.
    pub(super) missing: i64,
}

/// What is placed in a gap.
#[derive(Debug, Default)]
struct Filled {
    /// How much it counts.
    sum: i64,
    /// It was named as being in the way.
    named: bool,
}

/// How far gaps are filled, for as long as nothing else is placed.
#[derive(Default)]
pub(super) struct Fill {
    by_place: FxHashMap<Place, Vec<Filled>>,
}

/// Numbers in `(after, upto]` at which a candidate cannot lie for want of room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full {
    after: i64,
    upto: i64,
}

impl Full {
    /// The end below which to go on, if `zxid` is in one of them.
    pub(super) fn excludes(all: &[Full], zxid: i64) -> Option<i64> {
        let mut at = all.iter();
        at.find(|full| full.after < zxid && zxid <= full.upto)
            .map(|full| full.after)
    }
}

impl Survey {
    fn gaps(&self, place: Place) -> &[Gap] {
        self.quiet.gaps.get(&place).map_or(&[], Vec::as_slice)
    }

    /// How often a candidate moves a counter.
    fn counts(&self, number: CandidateIndex, place: Place) -> i64 {
        let counted = &self.counted[number as usize];
        let at = counted.binary_search_by_key(&place, |&(place, _)| place);
        at.map_or(0, |at| counted[at].1)
    }
}

impl Replay<'_, '_> {
    /// Where in `(low, high)` one candidate more would be counted too many; what is placed there
    /// already is added to `in_the_way`, once for each `fill`.
    pub(super) fn full_gaps(
        &self,
        number: CandidateIndex,
        (low, high): (i64, i64),
        fill: &mut Fill,
        in_the_way: &mut Vec<CandidateIndex>,
    ) -> Vec<Full> {
        let mut full = Vec::new();
        let Some(survey) = &self.survey else {
            return full;
        };
        for &(place, counts) in &survey.counted[number as usize] {
            let gaps = survey.gaps(place);
            let filled = fill.by_place.entry(place);
            let filled = filled.or_insert_with(|| self.filled(survey, place));
            let first = gaps.partition_point(|gap| gap.upto <= low);
            let within = gaps.iter().zip(filled).skip(first);
            for (gap, filled) in within.take_while(|(gap, _)| gap.after < high) {
                if filled.sum + counts <= gap.missing {
                    continue;
                }
                let (after, upto) = (gap.after, gap.upto);
                full.push(Full { after, upto });
                if !std::mem::replace(&mut filled.named, true) {
                    let placed = self.assigned.range(after + 1..=upto);
                    let counted = placed.filter(|&(_, &each)| survey.counts(each, place) > 0);
                    in_the_way.extend(counted.map(|(_, &each)| each));
                }
            }
        }
        full
    }

    /// How far the gaps of a counter are filled with what is placed at numbers that nobody saw.
    fn filled(&self, survey: &Survey, place: Place) -> Vec<Filled> {
        let gaps = survey.gaps(place);
        let mut filled: Vec<Filled> = gaps.iter().map(|_| Filled::default()).collect();
        for (&zxid, &number) in &self.assigned {
            let counts = survey.counts(number, place);
            let at = gaps.partition_point(|gap| gap.upto < zxid);
            if counts == 0 || gaps.get(at).is_none_or(|gap| zxid <= gap.after) {
                continue;
            }
            let seen = self.holes.binary_search_by_key(&zxid, |(zxid, _)| *zxid);
            filled[at].sum += if seen.is_err() { counts } else { 0 };
        }
        filled
    }

    /// True if what was `found` to be placed before `bound` is less than what is missed. Who
    /// takes the numbers that the rest would need is added to `in_the_way`.
    pub(super) fn too_few(
        &self,
        found: &[(CandidateIndex, i64)],
        bound: i64,
        why: &Mismatch,
        in_the_way: &mut Vec<CandidateIndex>,
    ) -> bool {
        let missed = missed(why, &self.tree.paths);
        let (Some(survey), Some((place, missed))) = (&self.survey, missed) else {
            return false;
        };
        let list = &self.candidates.list;
        let mut numbers: Vec<CandidateIndex> = found.iter().map(|&(number, _)| number).collect();
        numbers.sort_unstable_by_key(|&number| (list[number as usize].session, number));
        numbers.dedup();
        let windows = numbers.into_iter();
        let windows: Vec<_> = windows
            .map(|number| (number, self.among_siblings(number)))
            .collect();
        let session = |number: CandidateIndex| list[number as usize].session;
        let runs = windows.chunk_by(|&(first, between), &(second, others)| {
            between == others && session(first) == session(second)
        });
        let (mut blamed, mut sum) = (Vec::new(), 0);
        for run in runs {
            let (after, before) = run[0].1;
            let run: Vec<CandidateIndex> = run.iter().map(|&(number, _)| number).collect();
            let counts = run.iter().map(|&number| survey.counts(number, place));
            let (total, most) = (counts.clone().sum::<i64>(), counts.max().unwrap_or(0));
            let open = self.open_to(&run, (after, before.min(bound)), &mut blamed);
            sum += total.min(open.saturating_mul(most));
        }
        let too_few = sum < missed;
        if too_few {
            in_the_way.append(&mut blamed);
        }
        too_few
    }

    /// How many numbers are open to some of one session that lie between the same siblings, at
    /// most as many as they are. If that is fewer, who holds others is added to `blamed`.
    fn open_to(
        &self,
        run: &[CandidateIndex],
        (after, before): (i64, i64),
        blamed: &mut Vec<CandidateIndex>,
    ) -> i64 {
        let windows = run
            .iter()
            .map(|&number| &self.candidates.list[number as usize]);
        let low = windows.clone().map(|window| window.low).min();
        let high = windows.map(|window| window.high).max();
        let search = Stretches {
            low: low.unwrap_or(i64::MAX).max(after),
            high: high.unwrap_or(i64::MIN).min(before),
            marks: &[],
            excluded: &|_| None,
        };
        let open = (self.slots).count_open(&search, &self.assigned, run.len());
        if open < run.len() && search.low < search.high {
            let held = self.assigned.range(search.low + 1..search.high);
            blamed.extend(held.map(|(_, &number)| number));
        }
        open as i64
    }
}

/// The counter that is behind, and by how much.
fn missed(why: &Mismatch, paths: &Paths<'_>) -> Option<(Place, i64)> {
    let Mismatch::Differs(diff) = why else {
        return None;
    };
    match *diff {
        Diff::Stat {
            path,
            field,
            expected,
            got,
        } => {
            let part = match field {
                "version" => Part::Data,
                "aversion" => Part::Acl,
                "children made" => Part::Made,
                _ => return None,
            };
            Some(((path, part), got - expected))
        }
        Diff::Name { expected, ref got } => {
            let missed = number_of(got)? - number_of(paths.name(expected))?;
            Some(((paths.parent(expected), Part::Made), missed))
        }
        _ => None,
    }
}
