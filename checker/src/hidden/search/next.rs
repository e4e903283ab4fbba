//! The search: what may stand next in an order, and in which turn that is tried.
//!
//! What time allows, of the answered the likeliest first; of what nobody was told only what some
//! session waits for. What is refused where it stands needs no choice.
//!
//! Answers to: `consistency.md` 3.1 (W1, W2, R3) and 3.3 (L3).

use super::hearing::Choice;
use super::{Deed, Search};
use crate::hidden::puzzle::Lost;
use crate::hidden::reach::{Reach, Reached};
use crate::history::Answer;
use crate::walk::case::{Request, RequestIndex, Role};
use rustc_hash::FxHashSet;

impl<'h> Search<'_, '_, 'h> {
    /// What may stand next, the likeliest last.
    pub(super) fn next_deeds(&mut self) -> Vec<Deed> {
        let puzzle = self.puzzle;
        match self.choice() {
            Choice::None => {}
            Choice::Between(deeds) => return deeds,
            Choice::DeadEnd => return Vec::new(),
        }
        let watching = self.watching;
        let heard = watching.map_or(u64::MAX, |watching| watching.soonest(&self.ears));
        let soonest = puzzle.soonest(&self.places).min(heard);
        if let Some(line) = self.refused_here(soonest) {
            return vec![Deed::Next(line)];
        }
        let mut stuck = Vec::new();
        let mut deeds: Vec<(i64, Deed)> = Vec::new();
        for line in 0..puzzle.lines.len() {
            let Some(number) = puzzle.next(line, &self.places) else {
                continue;
            };
            stuck.push((line, number));
            let request = &puzzle.case.requests[number as usize];
            if request.role == Role::Transaction && request.call <= soonest {
                deeds.push((puzzle.known.likely[number as usize], Deed::Next(line)));
            }
        }
        let settled: usize = self.places.iter().sum();
        let urgent = stuck
            .iter()
            .copied()
            .min_by_key(|&(_, number)| puzzle.case.requests[number as usize].ret);
        let stuck: Vec<RequestIndex> = stuck.into_iter().map(|(_, number)| number).collect();
        if urgent
            .is_some_and(|(line, urgent)| !self.ears.lets_pass(line) && self.is_hopeless(urgent))
        {
            deeds.clear();
        } else {
            self.untold(soonest, &stuck, &mut deeds);
        }
        if settled >= self.farthest.0 {
            self.farthest = (settled, stuck);
        }
        // Of equals the last is tried first: what helps the one that returns soonest.
        let helps = |deed: Deed| {
            let urgent = urgent.map(|(_, urgent)| self.reach_of_request(urgent));
            urgent.is_some_and(|urgent| self.reach_of(deed).decides(urgent))
        };
        deeds.sort_by_cached_key(|&(hint, deed)| (std::cmp::Reverse(hint), helps(deed)));
        deeds.into_iter().map(|(_, deed)| deed).collect()
    }

    /// A line whose next transaction was refused, rightly so here, and may stand here. Not where
    /// its session sent something of unknown fate before that it would then come too late for.
    fn refused_here(&mut self, soonest: u64) -> Option<usize> {
        let puzzle = self.puzzle;
        if self.watching.is_some() {
            return None;
        }
        (0..puzzle.lines.len()).find(|&line| {
            let Some(number) = puzzle.next(line, &self.places) else {
                return false;
            };
            let request = &puzzle.case.requests[number as usize];
            let fits = request.role == Role::Transaction
                && request.call <= soonest
                && changes_nothing(request)
                && self.tree.ended(request.session).is_none();
            let place = self.places[line];
            let fenced = |(number, lost): (usize, &Lost)| {
                lost.line == line && lost.fence == place && !self.is_passed(number)
            };
            fits && !puzzle.lost.iter().enumerate().any(fenced) && self.is_right_here(request)
        })
    }

    /// True if the next answer of a line is not what the tree says, and nothing that may still
    /// come before it can change that.
    fn is_hopeless(&mut self, number: RequestIndex) -> bool {
        let puzzle = self.puzzle;
        let request = &puzzle.case.requests[number as usize];
        let right = match request.role {
            // It would have been settled here.
            Role::Read | Role::ReadSomewhere => false,
            Role::Transaction => self.is_right_here(request),
            Role::Sync | Role::Unanswered | Role::Nothing => true,
        };
        if right {
            return false;
        }
        !self.can_change(number)
    }

    /// True if the tree answers a transaction as it was answered.
    fn is_right_here(&mut self, request: &Request<'h>) -> bool {
        let mark = self.tree.mark_undo();
        let right = self.tree.write(&request.ask()).is_ok();
        self.tree.undo_to(mark);
        right
    }

    pub(super) fn reach_of_request(&self, number: RequestIndex) -> &Reach {
        &self.puzzle.known.reaches.requests[number as usize]
    }

    fn reach_of(&self, deed: Deed) -> &Reach {
        let puzzle = self.puzzle;
        match deed {
            Deed::Next(line) => match puzzle.next(line, &self.places) {
                Some(request) => self.reach_of_request(request),
                None => &puzzle.nothing,
            },
            Deed::Lost(number) => self.reach_of_request(puzzle.lost[number].request),
            Deed::End(number) => &puzzle.known.reaches.ends[puzzle.ends[number].session as usize],
            Deed::See(_) | Deed::Pass(_) => &puzzle.nothing,
        }
    }

    /// Adds what nobody was told of and may stand next: only what cannot be exchanged with what
    /// comes right after it, which is what some session waits for, or more of the same.
    fn untold(&self, soonest: u64, next: &[RequestIndex], deeds: &mut Vec<(i64, Deed)>) {
        let puzzle = self.puzzle;
        let mut left: Vec<Deed> = Vec::new();
        for (number, lost) in puzzle.lost.iter().enumerate() {
            let place = self.places[lost.line];
            let in_turn = lost.after <= place && place <= lost.fence;
            if in_turn && lost.call <= soonest && !self.is_passed(number) {
                left.push(Deed::Lost(number));
            }
        }
        for (number, end) in puzzle.ends.iter().enumerate() {
            let over = self.places[end.line] >= puzzle.lines[end.line].last_transaction;
            if over && end.begin <= soonest && !self.ended[number] {
                left.push(Deed::End(number));
            }
        }
        if left.is_empty() {
            return;
        }
        let mut reached = Reached::default();
        for &request in next {
            reached.add(&puzzle.known.reaches.requests[request as usize]);
        }
        for path in self.awaited() {
            reached.look(path);
        }
        // Of lines: what has to come after whatever the session had sent earlier.
        let mut waited_for: FxHashSet<usize> = FxHashSet::default();
        let mut again = true;
        while again {
            let before = left.len();
            left.retain(|&deed| {
                let reach = self.reach_of(deed);
                let (line, hint) = match deed {
                    Deed::Lost(number) => (puzzle.lost[number].line, puzzle.lost[number].hint),
                    Deed::End(number) => (puzzle.ends[number].line, puzzle.ends[number].hint),
                    Deed::Next(_) | Deed::See(_) | Deed::Pass(_) => return false,
                };
                let fenced = match deed {
                    Deed::Lost(number) => {
                        puzzle.lost[number].fence == self.places[line] || waited_for.contains(&line)
                    }
                    Deed::End(_) | Deed::Next(_) | Deed::See(_) | Deed::Pass(_) => false,
                };
                if !fenced && !reached.meets(reach) {
                    return true;
                }
                reached.add(reach);
                waited_for.insert(line);
                deeds.push((hint, deed));
                false
            });
            again = left.len() < before;
        }
    }
}

/// True if a transaction was answered that nothing came of it.
fn changes_nothing(request: &Request<'_>) -> bool {
    match request.answer {
        Some(Ok(Answer::Multi(results))) => {
            results.is_empty() || results.iter().any(Result::is_err)
        }
        Some(Err(_)) => true,
        Some(Ok(_)) | None => false,
    }
}
