//! The search where notifications count: what sessions hear as it goes on, and which state a
//! read that registers a watch sees.
//!
//! A read has one choice for each stretch of the order in which its node stays as it is: to see
//! it at the beginning of the stretch, or to let it pass. Anywhere else in the stretch it would
//! register the same watch and only see later what it may see now.
//!
//! Answers to: `consistency.md` 3.4, P10 to P12.

use super::{Deed, Place, Search, mark};
use crate::history::Op;
use crate::model::PathId;
use crate::walk::case::RequestIndex;

/// What has to be decided before any transaction is put.
pub(super) enum Choice {
    /// Nothing.
    None,
    /// What a read sees, the likeliest last.
    Between(Vec<Deed>),
    /// A session was answered before it was told.
    DeadEnd,
}

impl Search<'_, '_, '_> {
    /// Fires the watches of what was just applied; false if a session was answered by it before
    /// it was told.
    pub(super) fn is_heard(&mut self, deed: Deed, undo: usize, zxid: i64) -> bool {
        let Some(watching) = self.watching else {
            return true;
        };
        let changed: Vec<PathId> = self.tree.changed_since(undo).collect();
        watching.fire(self.tree, &changed, zxid, &mut self.ears);
        match deed {
            Deed::Next(line) => self.hears(line) || self.closes(line),
            Deed::Lost(_) | Deed::End(_) | Deed::See(_) | Deed::Pass(_) => true,
        }
    }

    /// Whoever closes its session is told nothing any more.
    fn closes(&self, line: usize) -> bool {
        let next = self.puzzle.next(line, &self.places);
        next.is_some_and(|next| matches!(self.puzzle.case.requests[next as usize].op, Op::Close))
    }

    /// Lets a line hear what it can; true if nothing keeps it from its next answer.
    pub(super) fn hears(&mut self, line: usize) -> bool {
        let place: Place = self.places[line];
        self.watching
            .is_none_or(|watching| watching.listen(line, place, &mut self.ears))
    }

    /// The paths of which lines were told what is not explained yet.
    pub(super) fn awaited(&self) -> Vec<PathId> {
        let awaited = self.watching.map(|watching| watching.awaited(&self.ears));
        awaited.into_iter().flatten().collect()
    }

    /// A line's read sees the present state.
    pub(super) fn see(&mut self, line: usize, moved: &mut Vec<(usize, Place)>) {
        let (Some(watching), Some(number)) = (self.watching, self.puzzle.next(line, &self.places))
        else {
            return;
        };
        let request = &self.puzzle.case.requests[number as usize];
        let ok = matches!(request.answer, Some(Ok(_)));
        let place = self.places[line];
        watching.register((line, place), number, (request.op, ok), &mut self.ears);
        self.go_on(line, moved);
    }

    /// What has to be decided here about watches.
    pub(super) fn choice(&mut self) -> Choice {
        let Some(watching) = self.watching else {
            return Choice::None;
        };
        for line in 0..self.places.len() {
            let is_owed = !self.hears(line);
            let Some(number) = self.puzzle.next(line, &self.places) else {
                continue;
            };
            if self.closes(line) {
                continue;
            }
            if is_owed {
                return Choice::DeadEnd;
            }
            if !watching.registers(number) || self.ears.lets_pass(line) {
                continue;
            }
            if self.is_right(number, false) {
                return Choice::Between(match self.can_change(number) {
                    true => vec![Deed::Pass(line), Deed::See(line)],
                    false => vec![Deed::See(line)],
                });
            }
        }
        Choice::None
    }

    /// Tells apart what is known of watches.
    pub(super) fn mark_of_ears(&self) -> u128 {
        let facts = self.ears.facts();
        let marks = facts.map(|(kind, ear, what)| mark(3, ear, what).rotate_left(kind as u32));
        marks.fold(0, |all, one| all ^ one)
    }

    /// True if what is still to come may change what a request is answered.
    pub(super) fn can_change(&self, number: RequestIndex) -> bool {
        let puzzle = self.puzzle;
        let request = &puzzle.case.requests[number as usize];
        let asked = self.reach_of_request(number);
        let until = request.ret.saturating_add(puzzle.blur);
        let mut coming = puzzle.called_by(until, &self.places);
        let mut lost = puzzle.lost.iter().zip(&self.lost_done);
        let mut ends = puzzle.ends.iter().zip(&self.ended);
        coming.any(|other| other != number && self.reach_of_request(other).decides(asked))
            || lost.any(|(lost, &done)| {
                !done && lost.call <= until && self.reach_of_request(lost.request).decides(asked)
            })
            || ends.any(|(end, &done)| {
                let reach = &puzzle.known.reaches.ends[end.session as usize];
                !done && end.begin <= until && reach.decides(asked)
            })
    }
}
