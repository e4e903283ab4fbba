//! A history as a picture sees it: things that happened, by number, in the order in which they
//! began.

use super::deed::{Clock, Deed};
use super::units::{self, Unit};
use crate::history::History;

/// Things that happened, by number.
pub trait Stage {
    /// How many.
    fn len(&self) -> usize;
    /// Whether nothing happened.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// When one began and ended, by the stage's clock; what has no end ends where it began.
    fn span(&self, number: usize) -> (u64, u64);
    /// One in words.
    fn deed(&self, number: usize) -> Deed;
    /// How times are told.
    fn clock(&self) -> Clock;
}

/// One of our own histories.
pub(super) struct Recorded<'a> {
    pub(super) history: &'a History,
    pub(super) units: Vec<Unit>,
}

impl<'a> Recorded<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        Recorded {
            history,
            units: units::cut(history),
        }
    }
}

impl Stage for Recorded<'_> {
    fn len(&self) -> usize {
        self.units.len()
    }

    fn span(&self, number: usize) -> (u64, u64) {
        let unit = &self.units[number];
        let from = self.history.records[unit.first as usize].time;
        let until = unit
            .second
            .map_or(from, |second| self.history.records[second as usize].time);
        (from, until)
    }

    fn deed(&self, number: usize) -> Deed {
        Deed::of(self.history, &self.units[number])
    }

    fn clock(&self) -> Clock {
        Clock::Nanoseconds
    }
}
