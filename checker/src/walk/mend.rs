//! The search: what of unknown fate to place where, so that the walk agrees.
//!
//! Where something does not agree, only what is not known may be to blame: the fate of an
//! unanswered request, the moment a session ended. The walk places one of them at a free
//! zxid before the mismatch, goes back there, and walks on; when nothing is left to place, it
//! returns to the last decision that has to do with the paths in question.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "mismatch".

use super::blame;
use super::changes::{Aspect, being, counter, each_change, itself, kids, life};
use super::nogoods::{Key, Nogoods};
use super::replay::{Mismatch, Replay, What};
use super::unanswered::CandidateIndex;
use super::wants::{aspects, diff_hangs_on, hangs_on, number_of, short_of};
use super::witness::Placements;
use crate::model::{Diff, PathId};
use crate::verdict::{Verdict, Violation};

/// A choice, kept until it is known to be right or wrong.
struct Decision {
    /// Candidates and zxids not tried yet, best last.
    rest: Vec<(CandidateIndex, i64)>,
    /// The one being tried.
    current: Option<(CandidateIndex, i64)>,
    /// What the one being tried changes; sorted.
    changed: Vec<Aspect>,
    /// Why there is no way on, as far as is known.
    conflict: Conflict,
    /// The item whose sake it is for.
    at: usize,
    /// How many placements for the sake of other placements led here.
    depth: u32,
    /// Not all that could be tried is: finding nothing here proves nothing.
    cut_short: bool,
}

/// What has to be different for there to be a way on: something placed that touches one of the
/// aspects, or one of the candidates, which stand in the way where they are.
#[derive(Clone, Default)]
pub(super) struct Conflict {
    /// What the mismatches hang on; sorted.
    pub(super) relevant: Vec<Aspect>,
    /// Candidates that hold a number, or a place in the order of their session; sorted.
    pub(super) holders: Vec<CandidateIndex>,
}

impl Conflict {
    fn join(&mut self, other: Conflict) {
        self.relevant.extend(other.relevant);
        self.holders.extend(other.holders);
        self.sort();
    }

    fn sort(&mut self) {
        self.relevant.sort_unstable();
        self.relevant.dedup();
        self.holders.sort_unstable();
        self.holders.dedup();
    }
}

impl Decision {
    /// True if what it placed has to do with a conflict.
    fn is_to_blame(&self, conflict: &Conflict) -> bool {
        self.current.is_some_and(|(number, _)| {
            conflict.holders.binary_search(&number).is_ok()
                || intersects(&self.changed, &conflict.relevant)
        })
    }
}

/// How one walk searches.
struct Level {
    /// How far the placing of one thing may ask for the placing of another.
    depth_max: u32,
    /// Whether what is not known to mend a mismatch, but touches it, is tried too.
    thorough: bool,
    /// How many placements are tried before the next walk.
    tries_max: u64,
}

/// Walk after walk, each looking further than the one before: first with little patience, since
/// what walks into a blind alley early seldom finds out of it, then with more.
const LEVELS: [Level; 14] = [
    level(0, false, 1_000),
    level(1, false, 1_000),
    level(2, false, 1_000),
    level(5, false, 1_000),
    level(0, false, 10_000),
    level(1, false, 10_000),
    level(2, false, 10_000),
    level(5, false, 10_000),
    level(0, false, 100_000),
    level(1, false, 100_000),
    level(2, false, 100_000),
    level(5, false, 100_000),
    level(5, true, u64::MAX),
    level(u32::MAX, true, u64::MAX),
];

const fn level(depth_max: u32, thorough: bool, tries_max: u64) -> Level {
    Level {
        depth_max,
        thorough,
        tries_max,
    }
}

/// What trying a placement counts for in [`Replay::work`], in items walked over: choosing it looks
/// at what touches the same nodes.
pub(super) const TRY_STEPS: u64 = 50;

/// Where a search stands.
#[derive(Default)]
pub struct Search {
    /// What was chosen, in the order chosen.
    decisions: Vec<Decision>,
    /// What is placed for their sake.
    placed: Key,
    /// What was placed in vain.
    nogoods: Nogoods,
    /// How far the placing of one thing may ask for the placing of another.
    depth_max: u32,
    /// Whether what is not known to mend a mismatch, but touches it, is tried too.
    pub(super) thorough: bool,
    tries_max: u64,
    /// Items walked over.
    pub(super) steps: u64,
    tries: u64,
    /// What is chosen from, or what ended the search, was cut short.
    pub(super) cut_short: bool,
    /// What went by itself did so too early after what was placed; not all that is tried.
    pub(super) too_early: bool,
    /// The mismatch furthest along the order for which there was nothing to try.
    furthest: Option<(usize, Box<Violation>)>,
    /// The one further along, if any, for which all was tried in vain, with what was placed then.
    in_vain: Option<(usize, Placements)>,
}

impl Replay<'_, '_> {
    /// Walks to the end: first placing nothing for the sake of other placements, which
    /// nearly always suffices, then looking further and further.
    ///
    /// # Errors
    /// The verdict, if it is not valid.
    pub fn run(&mut self) -> Result<(), Verdict> {
        let mut outcome = Ok(());
        for level in LEVELS {
            self.search = Search {
                depth_max: level.depth_max,
                thorough: level.thorough,
                tries_max: level.tries_max.min(self.options.tries_max),
                ..Search::default()
            };
            outcome = self.walk();
            match outcome {
                // What ended without an end in sight does not end any deeper.
                Err(Verdict::Unknown(_)) if level.thorough && !self.search.decisions.is_empty() => {
                    return outcome;
                }
                Err(Verdict::Unknown(_)) => self.start_over(),
                Ok(()) | Err(_) => return outcome,
            }
        }
        outcome
    }

    /// Something does not agree at `place`: places what may have happened before it, or
    /// takes an earlier decision back. Returns the item to go on from.
    pub(super) fn mend(
        &mut self,
        at: usize,
        place: i64,
        what: What,
        why: Mismatch,
    ) -> Result<usize, Verdict> {
        if self.uncertain && self.survey() {
            return Ok(self.go_back(i64::MIN));
        }
        if self.is_refuted(what, &why) {
            return Err(Verdict::Invalid(blame::blame(self, place, what, &why)));
        }
        if let (What::Transaction(_), Mismatch::Differs(Diff::Outcome { expected: None, .. })) =
            (what, &why)
        {
            // What it would have done hides what may have been done before it.
            self.tree.rewind(place);
        }
        let mut conflict = self.conflict(what, &why);
        // What does not agree any more because of what was placed for the sake of a later
        // item asks for more to be placed: one deeper.
        let depth = self.search.decisions.last().map_or(0, |last| {
            let deeper = matches!(why, Mismatch::Misplaced(..)) || at < last.at;
            if deeper {
                last.depth + 1
            } else if at == last.at {
                last.depth
            } else {
                0
            }
        });
        self.search.cut_short = std::mem::take(&mut self.search.too_early);
        let mut rest = Vec::new();
        if depth <= self.search.depth_max {
            rest = self.alternatives(place, what, &why, &mut conflict);
        } else {
            self.search.cut_short = true;
        }
        if rest.is_empty()
            && self
                .search
                .furthest
                .as_ref()
                .is_none_or(|(known, _)| *known < at)
        {
            let violation = blame::blame(self, place, what, &why);
            self.search.furthest = Some((at, violation));
        }
        conflict.sort();
        self.search.decisions.push(Decision {
            rest,
            current: None,
            changed: Vec::new(),
            conflict,
            at,
            depth,
            cut_short: self.search.cut_short,
        });
        self.advance(place)
    }

    /// True if nothing that is placed mends it.
    fn is_refuted(&self, what: What, why: &Mismatch) -> bool {
        let survey = self.survey.as_ref();
        match (what, why) {
            (What::Read(request) | What::Transaction(request), Mismatch::Differs(_)) => {
                survey.is_some_and(|survey| survey.refuted.contains(&request))
            }
            (_, _) => false,
        }
    }

    /// Tries the next alternative of the last decision, or of one before it.
    fn advance(&mut self, place: i64) -> Result<usize, Verdict> {
        let mut back_to = place;
        while let Some(last) = self.search.decisions.last_mut() {
            let undone = last.current.take();
            last.current = last.rest.pop();
            let next = last.current;
            back_to = back_to.min(self.take_off(undone));
            if let Some((number, place)) = next {
                back_to = back_to.min(place);
                self.put(number, place);
                self.search.tries += 1;
                self.work += TRY_STEPS;
                if self.search.tries > self.search.tries_max
                    || self.search.steps > self.options.steps_max(self.items.len())
                {
                    return Err(Verdict::Unknown(format!(
                        "{} placements of requests of unknown fate tried, {} steps walked",
                        self.search.tries, self.search.steps
                    )));
                }
                let Some(why) = self.search.nogoods.why(self.search.placed) else {
                    return Ok(self.go_back(back_to));
                };
                self.search.cut_short = false;
                self.jump_back(why.clone(), &mut back_to);
            } else {
                self.give_up_last(&mut back_to);
            }
        }
        match (self.search.cut_short, self.search.furthest.take()) {
            (false, Some((at, violation))) => Err(Verdict::Invalid(
                self.blame_in_vain(at).unwrap_or(violation),
            )),
            (_, _) => Err(Verdict::Unknown(format!(
                "requests of unknown fate were placed {} deep and at {} places each, and more may be needed",
                self.search.depth_max, self.options.places_max
            ))),
        }
    }

    /// Drops the last decision, which nothing can save, and those before it that have
    /// nothing to do with it, so that the last one left is one that may be to blame.
    fn give_up_last(&mut self, back_to: &mut i64) {
        let Some(hopeless) = self.search.decisions.pop() else {
            return;
        };
        self.search.cut_short = hopeless.cut_short;
        let further = |known: &(usize, Placements)| known.0 < hopeless.at;
        if self.search.in_vain.as_ref().is_none_or(further) {
            self.search.in_vain = Some((hopeless.at, self.assigned.clone()));
        }
        if !hopeless.cut_short {
            self.search
                .nogoods
                .keep(self.search.placed, &hopeless.conflict);
        }
        self.jump_back(hopeless.conflict, back_to);
    }

    /// Drops the decisions that have nothing to do with a conflict, from the last.
    fn jump_back(&mut self, conflict: Conflict, back_to: &mut i64) {
        while let Some(last) = self.search.decisions.last_mut() {
            if last.is_to_blame(&conflict) {
                last.cut_short |= self.search.cut_short;
                last.conflict.join(conflict);
                return;
            }
            let undone = last.current.take();
            *back_to = (*back_to).min(self.take_off(undone));
            self.search.decisions.pop();
        }
    }

    /// The violation that the mismatch furthest along is, if it lies behind item `at`. Whatever
    /// was tried for its sake went wrong before it, and that was not what the client saw.
    fn blame_in_vain(&mut self, at: usize) -> Option<Box<Violation>> {
        let (_, placed) = (self.search.in_vain.take()).filter(|(item, _)| *item > at)?;
        self.start_over();
        self.follow(&placed).err()
    }

    /// Places a candidate for the sake of the last decision.
    fn put(&mut self, number: CandidateIndex, place: i64) {
        self.assigned.insert(place, number);
        self.candidates.list[number as usize].assigned = Some(place);
        self.search.placed ^= Nogoods::mark(number, place);
        let mut changed = Vec::new();
        self.changed(number, &mut changed);
        changed.sort_unstable();
        changed.dedup();
        if let Some(last) = self.search.decisions.last_mut() {
            last.changed = changed;
        }
    }

    /// Takes what was placed off the order again; returns its place.
    fn take_off(&mut self, placed: Option<(CandidateIndex, i64)>) -> i64 {
        let Some((number, place)) = placed else {
            return i64::MAX;
        };
        self.assigned.remove(&place);
        self.search.placed ^= Nogoods::mark(number, place);
        self.candidates.list[number as usize].assigned = None;
        place
    }

    fn go_back(&mut self, place: i64) -> usize {
        self.tree.rewind(place);
        self.next_assigned = self.assigned_from(place);
        self.items.partition_point(|&(zxid, _)| zxid < place)
    }

    /// What a mismatch hangs on: earlier choices about anything else are not to blame.
    fn conflict(&mut self, what: What, why: &Mismatch) -> Conflict {
        let (mut relevant, mut holders) = (Vec::new(), Vec::new());
        if let Some(path) = self.short_of(why) {
            // More of the same is asked for: what is placed already takes nothing away, unless
            // it began another life of the node, or stands in the way.
            if let What::Hole(hole) = what {
                holders.extend(self.assigned.get(&self.holes[hole as usize].0));
            }
            relevant.push(being(path));
            if number_of(self.tree.paths.name(path)).is_some() {
                relevant.push(counter(self.tree.paths.parent(path)));
            }
            return Conflict { relevant, holders };
        }
        let case = self.case;
        match (why, what) {
            (Mismatch::Misplaced(number, _), _) => {
                // The item after it is not to blame for it.
                holders.push(*number);
                let candidate = &self.candidates.list[*number as usize];
                match &candidate.lapse {
                    Some(lapse) => self.lapse_touches(lapse, &mut relevant),
                    None => relevant.push(life(candidate.session)),
                }
                if let Some(request) = candidate.request {
                    let op = case.requests[request as usize].op;
                    hangs_on(op, &mut self.tree.paths, &mut relevant);
                }
            }
            (Mismatch::AfterEnd, What::Transaction(request)) => {
                relevant.push(life(case.requests[request as usize].session));
            }
            // No state gives such an answer, whatever happened.
            (Mismatch::Differs(Diff::Kind | Diff::MultiForm), _) => {}
            (Mismatch::Differs(diff), What::Transaction(request)) => {
                let op = case.requests[request as usize].op;
                hangs_on(op, &mut self.tree.paths, &mut relevant);
                diff_hangs_on(diff, &self.tree.paths, &mut relevant);
            }
            (Mismatch::Differs(diff), What::Read(request)) => {
                relevant.push(itself(case.requests[request as usize].path));
                diff_hangs_on(diff, &self.tree.paths, &mut relevant);
            }
            (Mismatch::Differs(_) | Mismatch::OtherDeed(_), What::Hole(hole)) => {
                let (zxid, seen) = &self.holes[hole as usize];
                for evidence in seen {
                    let parent = self.tree.paths.parent(evidence.path);
                    relevant.extend([itself(evidence.path), kids(evidence.path)]);
                    relevant.extend([counter(evidence.path), counter(parent)]);
                }
                if let Some(&number) = self.assigned.get(zxid) {
                    holders.push(number);
                    self.touched(number, &mut relevant);
                }
            }
            // Whoever can have been it and lies elsewhere stands in the way, and is added.
            (Mismatch::Unclaimed(_), _) => {}
            (Mismatch::AfterEnd | Mismatch::OtherDeed(_), _) => {
                unreachable!("only transactions come after an end, only holes are deeds")
            }
        }
        Conflict { relevant, holders }
    }

    /// The node of which too little has been counted, if that is the mismatch.
    pub(super) fn short_of(&self, why: &Mismatch) -> Option<PathId> {
        match why {
            Mismatch::Differs(diff) => short_of(diff, &self.tree.paths),
            Mismatch::AfterEnd
            | Mismatch::Unclaimed(_)
            | Mismatch::OtherDeed(_)
            | Mismatch::Misplaced(..) => None,
        }
    }

    /// What a candidate changes.
    fn changed(&mut self, number: CandidateIndex, changed: &mut Vec<Aspect>) {
        match self.candidates.list[number as usize].request {
            Some(request) => {
                let op = self.case.requests[request as usize].op;
                each_change(op, &mut self.tree.paths, &mut |change| {
                    changed.extend(change.aspects());
                });
            }
            None => self.touched(number, changed),
        }
    }

    /// What a candidate changes or hangs on.
    pub(super) fn touched(&mut self, number: CandidateIndex, touched: &mut Vec<Aspect>) {
        let candidate = &self.candidates.list[number as usize];
        if let Some(lapse) = &candidate.lapse {
            return self.lapse_touches(lapse, touched);
        }
        match candidate.request {
            Some(request) => {
                aspects(
                    self.case.requests[request as usize].op,
                    &mut self.tree.paths,
                    touched,
                );
            }
            None => {
                touched.push(life(candidate.session));
                for path in self.tree.ephemerals_ever(candidate.session) {
                    touched.extend([itself(path), being(path)]);
                    touched.push(kids(self.tree.paths.parent(path)));
                }
            }
        }
    }
}

fn intersects(left: &[Aspect], right: &[Aspect]) -> bool {
    left.iter().any(|path| right.binary_search(path).is_ok())
}
