//! A failure as a page: what convicts in words, and a picture of the time around it.
//!
//! | room | holds |
//! |---|---|
//! | `window` | which stretches of time are shown |
//! | `picture` | everything on the page but the rows |
//! | `rows` | who did what when, as bars |
//!
//! What always holds: one file that loads nothing and runs nothing (no script, no address);
//! every text from a history goes through the template engine's escaping; only the stretches
//! of a window are drawn, never a whole history, and a bounded number of things in them.
//!
//! Answers to: `consistency.md` 3.5.

mod picture;
mod rows;
mod window;

use super::Explanation;
use super::account::Account;
use super::stage::{Recorded, Stage};
use super::words;
use crate::history::History;
use askama::Template;
use picture::{Page, Picture};
use std::collections::BTreeSet;

/// A lane that the history knows nothing of: what a server was, which fault struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// What its lanes are called together; each group can be hidden: `servers`, `faults`.
    pub group: String,
    /// Its name.
    pub name: String,
    /// What happened in it, in order.
    pub spans: Vec<Span>,
}

/// A stretch of time in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Nanoseconds.
    pub from: u64,
    /// Nanoseconds; equal to `from` for a moment.
    pub until: u64,
    /// A word.
    pub label: String,
    /// More words.
    pub words: String,
    /// How it is drawn.
    pub tone: Tone,
}

/// How a span is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Calm,
    /// More than that: a leader.
    Strong,
    /// In between.
    Restless,
    /// Not there.
    Absent,
    /// A fault.
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Calm => "calm",
            Tone::Strong => "strong",
            Tone::Restless => "restless",
            Tone::Absent => "absent",
            Tone::Bad => "bad",
        }
    }
}

/// What is on a page.
pub struct Scene<'a> {
    /// The failure.
    pub account: &'a Account,
    /// The history.
    pub stage: &'a dyn Stage,
    /// What convicts, by number, in the account's order.
    pub convicting: Vec<usize>,
    /// What could not be left out, by number; None if nothing was reduced.
    pub needed: Option<BTreeSet<usize>>,
    /// What the history knows nothing of.
    pub lanes: &'a [Lane],
}

impl Scene<'_> {
    /// The whole page. `name` is what the history is called.
    ///
    /// # Errors
    /// The template could not be filled in.
    pub fn page(&self, name: &str) -> Result<String, askama::Error> {
        Page {
            name: words::plain(name),
            property: self.account.property(),
            section: self.section()?,
        }
        .render()
    }

    /// The part of a page that belongs to one violation, with its own style sheet.
    ///
    /// # Errors
    /// The template could not be filled in.
    pub fn section(&self) -> Result<String, askama::Error> {
        Picture::of(self).render()
    }
}

/// The whole page of a violation in one of our histories. `name` is what the history is called.
///
/// # Errors
/// The template could not be filled in.
pub fn page(
    name: &str,
    history: &History,
    explanation: &Explanation,
    lanes: &[Lane],
) -> Result<String, askama::Error> {
    on_stage(history, explanation, lanes, |scene| scene.page(name))
}

/// The part of a page that belongs to one violation, with its own style sheet, for whoever has
/// a page already.
///
/// # Errors
/// The template could not be filled in.
pub fn section(
    history: &History,
    explanation: &Explanation,
    lanes: &[Lane],
) -> Result<String, askama::Error> {
    on_stage(history, explanation, lanes, |scene| scene.section())
}

fn on_stage<T>(
    history: &History,
    explanation: &Explanation,
    lanes: &[Lane],
    draw: impl FnOnce(&Scene) -> T,
) -> T {
    let stage = Recorded::new(history);
    let numbers = |records: &BTreeSet<usize>| -> Vec<usize> {
        let all = 0..stage.units.len();
        all.filter(|&number| {
            let mut of_it = stage.units[number].records();
            of_it.any(|record| records.contains(&(record as usize)))
        })
        .collect()
    };
    let convicting = explanation.convicting.iter();
    let convicting = convicting.flat_map(|deed| deed.records().iter().copied());
    let needed = explanation.reduction.as_ref();
    let needed = needed.map(|reduction| numbers(&reduction.origin.iter().copied().collect()));
    draw(&Scene {
        account: &explanation.account(),
        stage: &stage,
        convicting: numbers(&convicting.collect()),
        needed: needed.map(|needed| needed.into_iter().collect()),
        lanes,
    })
}
