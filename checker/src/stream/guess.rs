//! Numbers that were chosen for what nobody named, and are changed when a Stat tells more.
//!
//! When something is put in between long after, any free number may be as good as another; but a
//! later Stat of a parent may tell when its children changed last, and it was not then. As long
//! as no Stat has told the number, it is given another, or exchanged with that of something else.
//! What always holds: no Stat that was told is contradicted.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "seen"; P17.

use super::Stream;
use super::late::{Question, ask};
use super::window::Place;
use crate::history::Record;
use crate::model::{Diff, NO_PATH, PathId};
use std::borrow::Borrow;

/// Guesses that may still be changed.
pub const GUESSES_MAX: usize = 1 << 10;

/// A number that was chosen for something that nobody named, and what hangs on it: as long as
/// no Stat told of it, another may be as good.
#[derive(Debug, Clone, Default)]
pub struct Guess {
    /// It happened after that, and was not shown before `time`.
    low: i64,
    time: u64,
    /// It had happened by there, and its number was first shown then.
    place: i64,
    shown: u64,
    /// Paths whose children it changed, and when these had changed last before.
    pub parents: Vec<(PathId, i64)>,
    /// Those of which a Stat has told its number.
    told: Vec<PathId>,
}

impl Guess {
    fn touches(&self, path: PathId) -> bool {
        self.parents.iter().any(|(parent, _)| *parent == path)
    }

    /// True if it can have the number of another, as far as times and Stats tell.
    fn can_be(&self, number: i64, other: &Guess) -> bool {
        let told = other.told.iter().all(|&path| self.touches(path));
        told && number > self.low && number <= self.place && self.time <= other.shown
    }
}

impl<R: Borrow<Record>> Stream<R> {
    /// What will have to be known to give what happens to these paths another number.
    pub(super) fn guess_of(
        &self,
        changed: &[PathId],
        (low, time): (i64, u64),
        place: Place,
        shown: u64,
    ) -> Guess {
        let parents = changed.iter().filter(|&&path| path != NO_PATH);
        let parents = parents.map(|&path| self.tree.paths.parent(path));
        let mut parents: Vec<(PathId, i64)> = parents
            .map(|parent| (parent, self.tree.node(parent).pzxid))
            .collect();
        parents.sort_unstable();
        parents.dedup();
        let said = changed.iter().chain(parents.iter().map(|(path, _)| path));
        let low = said
            .map(|&path| self.room.last_of(path))
            .fold(low, i64::max);
        Guess {
            low,
            time,
            place: place.zxid(),
            shown,
            parents,
            told: Vec::new(),
        }
    }

    /// A Stat tells that the children of a path changed last at another number than was chosen
    /// for something that was put in between: where nobody was told that, it may have had
    /// another, or that of something else that was put in between. What is left to explain then.
    pub(super) fn redate(
        &mut self,
        place: Place,
        question: Question<'_, '_>,
        diff: &Diff,
    ) -> Option<Result<(), Diff>> {
        let Diff::Stat {
            path,
            field: "pzxid",
            expected,
            got: told,
        } = *diff
        else {
            return None;
        };
        let movable = |(zxid, guess): &(&i64, &Guess)| {
            let open = guess.touches(path) && !guess.told.contains(&path);
            open && !self.is_confirmed(**zxid, guess)
        };
        let mut which = match told < expected {
            true => self.guesses.range(expected..=expected),
            false => self.guesses.range(..told),
        };
        let late = |guess: &Guess| guess.place >= told.min(expected);
        let zxid = which.rfind(|entry| movable(entry) && late(entry.1));
        let zxid = zxid.map(|(zxid, _)| *zxid)?;
        let guess = self.guesses.get(&zxid)?;
        let other = self.guesses.get(&told);
        let mut away = (zxid, guess.shown);
        let number = match other {
            Some(other) => {
                if !other.can_be(zxid, guess) && other.told.is_empty() && guess.told.is_empty() {
                    away = self.room.find(other.low, told, other.time, true)?;
                }
                let moves = away.0 != zxid || other.can_be(zxid, guess);
                let may = moves && guess.can_be(told, other) && !self.is_confirmed(told, other);
                (may && self.may_move(other, told, away.0, guess)).then_some((told, other.shown))
            }
            None if !guess.told.is_empty() => None,
            None => {
                let named = self.room.find(told - 1, told + 1, guess.time, true);
                let named = named.filter(|(named, _)| *named > guess.low && *named <= guess.place);
                let before = || self.room.find(guess.low, told.min(zxid), guess.time, true);
                named.or_else(|| before().filter(|_| told < zxid))
            }
        };
        let (number, shown) = number?;
        let nobody = Guess::default();
        if !self.may_move(guess, zxid, number, other.unwrap_or(&nobody)) {
            return None;
        }
        let mut guess = self.guesses.remove(&zxid)?;
        let mut other = self.guesses.remove(&number);
        if let Some(other) = &mut other {
            self.renumber(other, number, away.0, &guess);
            std::mem::swap(&mut guess.told, &mut other.told);
            other.shown = away.1;
        }
        self.renumber(&guess, zxid, number, other.as_ref().unwrap_or(&nobody));
        match other {
            Some(other) => {
                self.room.take(away.0);
                self.guesses.insert(away.0, other);
            }
            None => self.room.take(number),
        }
        guess.shown = shown;
        self.guesses.insert(number, guess);
        Some(self.ask_tree_only(place, question))
    }

    /// True if a Stat has told the number of a guess in a way that is not kept.
    fn is_confirmed(&self, zxid: i64, guess: &Guess) -> bool {
        guess.parents.iter().any(|(path, _)| {
            let told = self.room.last_stat_of(*path) >= zxid && !guess.told.contains(path);
            told && self.tree.node(*path).pzxid == zxid
        })
    }

    /// True if of no path of a guess, but those of `other`, a Stat was told since its children
    /// changed between the number of the guess and a later one.
    fn may_move(&self, guess: &Guess, from: i64, to: i64, other: &Guess) -> bool {
        let mut alone = guess
            .parents
            .iter()
            .filter(|(path, _)| !other.touches(*path));
        alone.all(|(path, _)| {
            let changed = self.tree.node(*path).pzxid;
            !(from < changed && changed < to && self.room.last_stat_of(*path) >= changed)
        })
    }

    /// What was put in between has another number; what `other` changed too stays as it is.
    fn renumber(&mut self, guess: &Guess, from: i64, to: i64, other: &Guess) {
        let alone = guess
            .parents
            .iter()
            .filter(|(path, _)| !other.touches(*path));
        for (path, before) in alone {
            let changed = self.tree.node(*path).pzxid;
            match changed < to {
                true if changed >= from => self.tree.redate_children(*path, changed, to),
                _ => self.tree.redate_children(*path, from, to.max(*before)),
            }
        }
    }

    /// A Stat was told, and so when the children of its node changed last.
    pub(super) fn told_stat(&mut self, question: Question<'_, '_>, zxid: i64) {
        let (told, path) = (question.told(), question.path());
        if told.is_some() {
            self.room.dated(path, zxid);
        }
        if let Some(stat) = told
            && let Some(guess) = self.guesses.get_mut(&stat.pzxid)
            && !guess.told.contains(&path)
        {
            guess.told.push(path);
        }
    }

    fn ask_tree_only(&mut self, place: Place, question: Question<'_, '_>) -> Result<(), Diff> {
        let needs_read = self.options.exists_needs_read;
        let mut agrees = Ok(());
        self.tree.try_out(place.zxid(), |tree| {
            agrees = ask(tree, place, question, needs_read);
            false
        });
        agrees
    }
}
