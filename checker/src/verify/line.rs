//! One connection of one client: what it was told, and what it was to be told.
//!
//! Two things meet here, in either order: a notification is read, and its cause finds its place.
//! Whichever comes first waits for the other. What always holds: what is due is no older than
//! anything that was shown.
//!
//! Answers to: `consistency.md` P10 to P12.

use super::asked::{Asked, Kind};
use super::bounds::Track;
use super::murk::Murk;
use super::waits::{Fires, Hears, LineId, Waits};
use super::{Refusal, demand, refuse};
use crate::history::{EventType, Record, SessionEvent};
use std::borrow::Borrow;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// Notifications of a connection that are remembered to know a second one by.
const RECENT_MAX: usize = 1 << 8;

/// What happened to a path.
#[derive(Clone, Copy)]
pub struct Cause<'p> {
    /// The transaction; 0 if its number is not known.
    pub zxid: i64,
    /// That one, or the last before it whose number is known.
    pub last: i64,
    /// What it did.
    pub event: EventType,
    /// To which path.
    pub path: &'p str,
    /// For all to see, and surely there.
    pub clear: bool,
    /// It cannot have happened before.
    pub begun: u64,
}

/// A notification that was read, as long as nothing is placed that caused it.
struct Told {
    /// The record, and when it came.
    at: (usize, u64),
    /// Not positive if it does not say of what.
    zxid: i64,
    event: EventType,
    path: Rc<str>,
    /// The greatest zxid that an answer had shown before.
    shown: i64,
    /// A setWatches on its way may have made up for it.
    made_up: bool,
    /// Something else has caused it too.
    used: bool,
}

impl Told {
    fn is(&self, event: EventType, path: &str) -> bool {
        self.event == event && *self.path == *path
    }

    fn is_of(&self, cause: &Cause<'_>) -> bool {
        let then = match (self.zxid > 0, cause.zxid) {
            (true, 0) => self.zxid <= cause.last,
            (true, zxid) => self.zxid == zxid,
            (false, _) => self.shown < cause.last,
        };
        then && !self.used && self.is(cause.event, cause.path)
    }
}

/// What was to be told, and was not yet.
struct Due {
    zxid: i64,
    event: EventType,
    path: Rc<str>,
    since: usize,
    must: bool,
    again: bool,
}

/// A connection.
#[derive(Default)]
pub struct Line {
    id: LineId,
    /// Nothing more comes on it.
    gone: bool,
    /// Where its session was closed: of what happens later it may still be told.
    closed: i64,
    /// The greatest zxid that an answer showed, and the record.
    shown: (i64, usize),
    /// That an answer showed which was asked for after setWatches was answered last.
    shown_again: (i64, usize),
    /// The record that answered setWatches last.
    again: usize,
    /// setWatches on their way.
    pub frames: VecDeque<SessionEvent>,
    /// Notifications without a cause so far, in the order read.
    told: VecDeque<Told>,
    due: Vec<Due>,
    /// Records of notifications along their causes.
    order: Track,
    /// What is perhaps registered.
    pub perhaps: BTreeSet<(Hears, Rc<str>)>,
    /// What it was told of last.
    recent: VecDeque<(EventType, Rc<str>)>,
}

fn missed<T>(record: usize, shown: i64, path: &str, zxid: i64) -> Result<T, Refusal> {
    let reason = format!(
        "it shows {shown:#x}, but a watch hears of {path} at {zxid:#x} and nothing was told"
    );
    refuse("N1", record, reason)
}

impl Line {
    /// Before anything came on it.
    pub fn new(id: LineId) -> Self {
        Line {
            id,
            closed: i64::MAX,
            ..Line::default()
        }
    }

    /// Nothing more comes on it. Returns the greatest zxid that it was told of.
    pub fn leave(&mut self) -> i64 {
        (self.gone, self.due) = (true, Vec::new());
        let told = self.told.iter().map(|told| told.zxid);
        told.fold(self.shown.0, i64::max)
    }

    /// The oldest setWatches on its way was answered by a record.
    pub fn again(&mut self, record: usize) -> Option<SessionEvent> {
        (self.again, self.shown_again) = (record, (0, 0));
        self.frames.pop_front()
    }

    /// A request was answered with something that the tree decides.
    ///
    /// # Errors
    /// N1: something that it shows was to be told before.
    pub fn answered<R: Borrow<Record>>(&mut self, asked: &Asked<R>) -> Result<(), Refusal> {
        let Some((_, zxid, result)) = asked.answer() else {
            return Ok(());
        };
        let record = asked.replied;
        // What was registered again is told no later than what is asked for afterwards.
        let later = asked.invoke > self.again;
        self.shown = self.shown.max((zxid, record));
        if later {
            self.shown_again = self.shown_again.max((zxid, record));
        }
        let shows = |due: &Due| due.zxid <= zxid && (later || !due.again);
        if let Some(due) = self.due.iter().find(|due| due.must && shows(due)) {
            return missed(record, zxid, &due.path, due.zxid);
        }
        self.due.retain(|due| !shows(due));
        if asked.kind == Kind::Close && result.is_ok() {
            (self.closed, self.due) = (zxid, Vec::new());
        }
        Ok(())
    }

    /// A notification comes.
    ///
    /// # Errors
    /// N1: something as new was shown before it, or something older was to be told before.
    pub fn notified(
        &mut self,
        (record, time): (usize, u64),
        (zxid, event, path): (i64, EventType, &str),
    ) -> Result<(), Refusal> {
        if zxid > 0 && zxid <= self.shown.0 {
            let reason = format!("it is of {zxid:#x}, which an answer had shown before");
            return refuse("N1", record, reason);
        }
        let made_up = zxid <= 0 && !self.frames.is_empty();
        let is_told = |due: &Due| {
            let same = due.event == event && *due.path == *path && due.since < record;
            same && (zxid <= 0 || due.zxid == 0 || due.zxid == zxid)
        };
        let due = self.due.iter().position(is_told);
        let due = due.map(|due| self.due.remove(due));
        if let Some(due) = due.as_ref().filter(|_| !made_up) {
            return self.tells(due.zxid, record, (event, due.path.clone()));
        }
        self.told.push_back(Told {
            at: (record, time),
            zxid,
            event,
            path: path.into(),
            shown: self.shown.0,
            made_up,
            used: due.is_some(),
        });
        self.skip(zxid, record)
    }

    /// Watches of it fire.
    ///
    /// # Errors
    /// What was told of that comes too late, too early, or in another order.
    pub fn fire(&mut self, cause: &Cause<'_>, fires: &Fires, error: u64) -> Result<(), Refusal> {
        let must = fires.must && cause.clear && cause.zxid <= self.closed;
        let mut told = self.told.iter_mut().enumerate();
        let told = told.find(|(_, told)| told.at.0 > fires.since && told.is_of(cause));
        if let Some((place, told)) = told {
            let (record, time) = told.at;
            let what = (told.event, told.path.clone());
            match told.made_up {
                true => told.used = true,
                false => drop(self.told.remove(place)),
            }
            let begun = !cause.clear || time.saturating_add(error) >= cause.begun;
            demand(
                "R3",
                record,
                begun,
                "it was told before its cause was called",
            )?;
            let zxid = if cause.clear { cause.zxid } else { 0 };
            return self.tells(zxid, record, what);
        }
        let (shown, record) = match fires.again {
            true => self.shown_again,
            false => self.shown,
        };
        let (path, zxid) = (cause.path, cause.zxid);
        if must && shown >= zxid {
            return missed(record, shown, path, zxid);
        }
        let newer = self.told.iter().find(|told| told.zxid > zxid);
        if let Some(told) = newer.filter(|_| must) {
            return missed(told.at.0, told.zxid, path, zxid);
        }
        if !self.gone {
            self.due.push(Due {
                zxid,
                event: cause.event,
                path: path.into(),
                since: fires.since,
                must,
                again: fires.again,
            });
        }
        Ok(())
    }

    /// It was told of something by a record; what caused that has a number, or 0.
    fn tells(
        &mut self,
        zxid: i64,
        record: usize,
        what: (EventType, Rc<str>),
    ) -> Result<(), Refusal> {
        remember(&mut self.recent, what);
        let follows = zxid <= 0 || self.order.follows(zxid as u64, record as u64);
        let why = "it comes before a notification of an earlier cause";
        demand("N3", record, follows, why)?;
        self.skip(zxid, record)
    }

    /// Something of a zxid was told: nothing older is any more.
    fn skip(&mut self, zxid: i64, record: usize) -> Result<(), Refusal> {
        if let Some(due) = self.due.iter().find(|due| due.must && due.zxid < zxid) {
            return missed(record, zxid, &due.path, due.zxid);
        }
        self.due.retain(|due| due.zxid >= zxid);
        Ok(())
    }

    /// Takes what was told before a record by what nobody knows to have happened.
    pub fn excuse(&mut self, before: usize, murk: &Murk, waits: &Waits) {
        self.told.retain(|told| {
            if told.at.0 >= before || told.made_up {
                return true;
            }
            let (event, path) = (told.event, &told.path);
            let mut waited = !murk.is_clear(path) && waits.hears(self.id, event, path);
            for hears in [Hears::Node, Hears::List] {
                waited |= hears.event(event) && self.perhaps.remove(&(hears, path.clone()));
            }
            if waited {
                remember(&mut self.recent, (event, path.clone()));
            }
            !waited
        });
    }

    /// What was told of up to a zxid and before a record has been caused by now.
    ///
    /// # Errors
    /// N2, N3: it was not.
    pub fn explain(
        &mut self,
        upto: i64,
        before: usize,
        murk: &Murk,
        waits: &Waits,
    ) -> Result<(), Refusal> {
        let named = |told: &Told| (told.zxid > 0 || upto == i64::MAX) && told.zxid <= upto;
        let late = |told: &&Told| named(told) && told.at.0 < before && !told.made_up;
        if self.told.iter().any(|told| late(&told)) {
            self.excuse(before, murk, waits);
        }
        let Some(told) = self.told.iter().find(late) else {
            return Ok(());
        };
        let mut recent = self.recent.iter();
        let (rule, why) = match recent.any(|(event, path)| told.is(*event, path)) {
            true => ("N2", "it had been told before"),
            false => ("N3", "no watch hears it then"),
        };
        let (event, path) = (told.event.name(), &told.path);
        refuse(rule, told.at.0, format!("{event} of {path}: {why}"))
    }

    /// True if all that it was told is explained.
    #[cfg(test)]
    pub fn is_explained(&self) -> bool {
        self.told.is_empty()
    }

    /// True if the cause of something that it was told may lie further on in the order than
    /// what cannot have begun before `begun`.
    pub fn awaits_more(&self, begun: u64, error: u64) -> bool {
        let mut told = self
            .told
            .iter()
            .filter(|told| told.zxid <= 0 && !told.made_up);
        told.any(|told| begun <= told.at.1.saturating_add(error))
    }

    /// Before a setWatches was answered by a record, these were owed and nothing else, if no
    /// other was on its way.
    ///
    /// # Errors
    /// N1, N3: others were made up for.
    pub fn made_up(
        &mut self,
        record: usize,
        owed: &[(EventType, &str)],
        last: bool,
        waits: &Waits,
    ) -> Result<(), Refusal> {
        let before = |told: &&Told| told.made_up && told.at.0 < record;
        for &(event, path) in owed {
            let mut told = self.told.iter().filter(before);
            if !told.any(|told| told.is(event, path)) {
                let reason = format!("{} of {path} was never made up for", event.name());
                return refuse("N1", record, reason);
            }
        }
        let is_owed = |told: &Told| owed.iter().any(|&(event, path)| told.is(event, path));
        let done = |told: &Told| before(&told) && (told.used || is_owed(told));
        self.told.retain(|told| !done(told));
        if !last {
            return Ok(());
        }
        for told in self.told.iter().filter(before) {
            let mut perhaps = self.perhaps.iter().filter(|(_, path)| *path == told.path);
            let waited = perhaps.any(|(hears, _)| hears.event(told.event))
                || waits.hears(self.id, told.event, &told.path);
            if !waited {
                let reason = format!("nothing of {} was to be made up for", told.path);
                return refuse("N3", told.at.0, reason);
            }
        }
        self.told.retain(|told| !before(&told));
        Ok(())
    }
}

/// It was told of that.
fn remember(recent: &mut VecDeque<(EventType, Rc<str>)>, what: (EventType, Rc<str>)) {
    recent.push_back(what);
    if recent.len() > RECENT_MAX {
        recent.pop_front();
    }
}
