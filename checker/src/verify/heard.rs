//! What clients heard besides answers: notifications, against the order as it is proved.
//!
//! Of every connection it is known what is registered now. When a transaction has its place,
//! what it fires is looked for among what the connection was told already, and else is due:
//! nothing that shows as much may come before it. What was told and nothing fired has no cause.
//! Kept is what is on its way, however long the history.
//!
//! | rule | says |
//! |---|---|
//! | N1 | a notification comes before any answer as new as its cause |
//! | N2 | one registration, one notification; one for each cause if it stays |
//! | N3 | a notification has a cause that fired a live registration; they come in the order of causes |
//! | R3 | nobody is told of what was not asked for yet |
//!
//! What it is not: a check of rights. What not everybody may read need not be told.
//!
//! Answers to: `consistency.md` P10 to P12.

use super::asked::{Asked, Kind};
use super::bounds::Track;
use super::murk::Murk;
use super::tree::Tree;
use super::waits::{Fires, Hears, LineId, Wait, Waits};
use super::{Refusal, refuse};
use crate::history::{
    Body, ErrorCode, EventType, Header, Op, Path, Record, SessionEvent, Start, WatchKind, WatchMode,
};
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Notifications of a connection that are remembered to know a second one by.
const RECENT_MAX: usize = 1 << 8;

/// What happened to a path, at a zxid; 0 if that is not known.
#[derive(Clone, Copy)]
pub struct Cause<'p> {
    /// The transaction.
    pub zxid: i64,
    /// It has the place after this one, or its number.
    pub last: i64,
    /// What it did.
    pub event: EventType,
    /// To which path.
    pub path: &'p str,
    /// For all to see.
    pub clear: bool,
    /// It cannot have happened before.
    pub begun: u64,
}

/// A notification, as long as nothing is placed that caused it.
struct Told {
    record: usize,
    time: u64,
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

/// One connection of one client.
struct Line<R> {
    /// Nothing more comes on it.
    gone: bool,
    /// What comes of its watches is not recorded any more.
    silent: bool,
    /// Where its session was closed: of what happens later it may still be told.
    closed: i64,
    /// The greatest zxid that an answer showed, and the record; and that was asked for after
    /// the last setWatches was answered.
    shown: (i64, usize),
    shown_again: (i64, usize),
    again: usize,
    /// setWatches on their way.
    frames: VecDeque<R>,
    told: VecDeque<Told>,
    due: Vec<Due>,
    /// Records of notifications along their causes.
    order: Track,
    /// Perhaps registered.
    perhaps: BTreeSet<(Hears, Rc<str>)>,
    recent: VecDeque<(EventType, Rc<str>)>,
}

impl<R> Line<R> {
    fn new() -> Self {
        Line {
            gone: false,
            silent: false,
            closed: i64::MAX,
            shown: (0, 0),
            shown_again: (0, 0),
            again: 0,
            frames: VecDeque::new(),
            told: VecDeque::new(),
            due: Vec::new(),
            order: Track::default(),
            perhaps: BTreeSet::new(),
            recent: VecDeque::new(),
        }
    }

    /// It was told of something by a record; what caused it has a number, or 0.
    fn tells(
        &mut self,
        zxid: i64,
        record: usize,
        what: (EventType, Rc<str>),
    ) -> Result<(), Refusal> {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(what);
        if zxid == 0 {
            return Ok(());
        }
        if !self.order.follows(zxid as u64, record as u64) {
            let reason = "it comes before a notification of an earlier cause";
            return refuse("N3", record, reason);
        }
        self.skip(zxid, record)
    }

    /// Something of a zxid was told: nothing older is told any more.
    fn skip(&mut self, zxid: i64, record: usize) -> Result<(), Refusal> {
        if self.due.iter().any(|due| due.must && due.zxid < zxid) {
            return refuse("N1", record, "an earlier cause was not told before it");
        }
        self.due.retain(|due| due.zxid >= zxid);
        Ok(())
    }

    /// Watches of it fire.
    fn fire(&mut self, cause: &Cause<'_>, fires: &Fires, error: u64) -> Result<(), Refusal> {
        let mut told = self.told.iter_mut().enumerate();
        let told = told.find(|(_, told)| told.record > fires.since && told.is_of(cause));
        let must = fires.must && cause.clear && cause.zxid <= self.closed;
        if let Some((at, told)) = told {
            let (record, time) = (told.record, told.time);
            let what = (told.event, told.path.clone());
            match told.made_up {
                true => told.used = true,
                false => drop(self.told.remove(at)),
            }
            if cause.clear && time.saturating_add(error) < cause.begun {
                return refuse("R3", record, "it was told before its cause was called");
            }
            let zxid = if cause.clear { cause.zxid } else { 0 };
            return self.tells(zxid, record, what);
        }
        let (shown, record) = match fires.again {
            true => self.shown_again,
            false => self.shown,
        };
        let skipped = self.told.iter().find(|told| told.zxid > cause.zxid);
        let (path, zxid) = (cause.path, cause.zxid);
        if must && shown >= zxid {
            let reason = format!(
                "it shows {shown:#x}, but a watch hears of {path} at {zxid:#x} and nothing was told"
            );
            return refuse("N1", record, reason);
        }
        if let Some(told) = skipped.filter(|_| must) {
            return refuse("N1", told.record, "an earlier cause was not told before it");
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
}

/// A setWatches that was answered.
struct Again<R> {
    line: LineId,
    frame: R,
    /// No other was on its way.
    last: bool,
}

/// Every connection, and what is registered.
pub struct Ears<R> {
    lines: FxHashMap<LineId, Line<R>>,
    count: LineId,
    waits: Waits,
    /// By the zxid of the answer, and its record.
    again: BTreeMap<(i64, usize), Again<R>>,
    /// Connections on which nothing more comes, by the greatest zxid that they were told of.
    leaving: BTreeSet<(i64, LineId)>,
    /// What may have happened elsewhere than the order has it.
    pub murk: Murk,
    /// Nothing is judged.
    pub deaf: bool,
    start: i64,
    error: u64,
}

/// The watches that an event ends.
fn ended_by(event: EventType) -> &'static [Hears] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[Hears::Node],
        EventType::NodeChildrenChanged => &[Hears::List],
        EventType::NodeDeleted => &[Hears::Node, Hears::List],
    }
}

/// True if removeWatches takes away what hears that and fires once.
fn takes(kind: WatchKind, hears: Hears) -> bool {
    match kind {
        WatchKind::Any => true,
        WatchKind::Data => hears == Hears::Node,
        WatchKind::Children => hears == Hears::List,
        WatchKind::Persistent | WatchKind::Recursive => false,
    }
}

/// True if a request registers watches, or takes them away.
pub fn watches(op: &Op) -> bool {
    waits_for(op).is_some() || op.arranges_watches()
}

/// What a request waits for, if it asks to.
fn waits_for(op: &Op) -> Option<(&Path, Hears)> {
    match op {
        Op::Get { path, watch: true } | Op::Exists { path, watch: true } => {
            Some((path, Hears::Node))
        }
        Op::Children {
            path, watch: true, ..
        } => Some((path, Hears::List)),
        _ => None,
    }
}

/// What comes on a connection, as it is read. `line` is its number, given when one is needed.
impl<R: Borrow<Record>> Ears<R> {
    /// Before the first record.
    pub fn new(header: &Header) -> Self {
        Ears {
            lines: FxHashMap::default(),
            count: 0,
            waits: Waits::default(),
            again: BTreeMap::new(),
            leaving: BTreeSet::new(),
            murk: Murk::default(),
            deaf: false,
            start: match header.start {
                Start::Fresh => 0,
                Start::Nodes { zxid, .. } => zxid,
            },
            error: header.clock_error_ns.saturating_mul(2),
        }
    }

    /// A connection of which something is heard; None if nothing is judged of it.
    fn line(&mut self, line: &mut LineId) -> Option<&mut Line<R>> {
        if self.deaf {
            return None;
        }
        if *line == 0 {
            self.count += 1;
            *line = self.count;
            self.lines.insert(*line, Line::new());
        }
        self.lines.get_mut(line).filter(|line| !line.silent)
    }

    /// The connection ends.
    pub fn leave(&mut self, line: &mut LineId) {
        if let Some(left) = self.lines.get_mut(line) {
            (left.gone, left.due) = (true, Vec::new());
            let told = left.told.iter().map(|told| told.zxid);
            let until = told.fold(left.shown.0, i64::max);
            self.leaving.insert((until, *line));
        }
        *line = 0;
    }

    /// What comes of its watches is not recorded from here on; nor need what came before be.
    pub fn silence(&mut self, id: &mut LineId) {
        if let Some(line) = self.line(id) {
            *line = Line {
                silent: true,
                ..Line::new()
            };
        }
        self.waits.forget(*id);
    }

    /// A request was answered with something that the tree decides.
    ///
    /// # Errors
    /// N1: something that it shows was to be told before.
    pub fn answered(&mut self, line: &mut LineId, asked: &Asked<R>) -> Result<(), Refusal> {
        if *line == 0 && !asked.watches {
            return Ok(());
        }
        let (Some(line), Some((_, zxid, result))) = (self.line(line), asked.answer()) else {
            return Ok(());
        };
        let (later, index) = (asked.invoke > line.again, asked.replied);
        line.shown = line.shown.max((zxid, index));
        if later {
            line.shown_again = line.shown_again.max((zxid, index));
        }
        let shows = |due: &Due| due.zxid <= zxid && (later || !due.again);
        if let Some(due) = line.due.iter().find(|due| due.must && shows(due)) {
            let (path, due) = (&due.path, due.zxid);
            let reason = format!(
                "it shows {zxid:#x}, but a watch hears of {path} at {due:#x} and nothing was told"
            );
            return refuse("N1", index, reason);
        }
        line.due.retain(|due| !shows(due));
        if asked.kind == Kind::Close && result.is_ok() {
            (line.closed, line.due) = (zxid, Vec::new());
        }
        Ok(())
    }

    /// Nobody knows where a request of a connection happened, or whether.
    pub fn lost(&mut self, line: &mut LineId, asked: &Asked<R>) {
        if !asked.watches {
            return;
        }
        let (op, waits) = (asked.op(), waits_for(asked.op()));
        if let Some(line) = self.line(line) {
            line.perhaps
                .extend(waits.map(|(path, hears)| (hears, (&**path).into())));
        }
        if let Op::AddWatch { path, .. } | Op::RemoveWatches { path, .. } = op {
            self.waits.doubt(*line, path);
        }
        if let Op::AddWatch { path, mode } = op {
            self.stay(path, *mode, (*line, 0, asked.invoke), false);
        }
    }

    /// A notification comes.
    ///
    /// # Errors
    /// N1: something as new was shown before it, or something older was to be told before.
    pub fn notified(
        &mut self,
        line: &mut LineId,
        (record, time): (usize, u64),
        (zxid, event, path): (i64, EventType, &str),
    ) -> Result<(), Refusal> {
        let Some(line) = self.line(line) else {
            return Ok(());
        };
        if zxid > 0 && zxid <= line.shown.0 {
            let reason = format!("it is of {zxid:#x}, which an answer had shown before");
            return refuse("N1", record, reason);
        }
        let made_up = zxid <= 0 && !line.frames.is_empty();
        let is_told = |due: &Due| {
            let same = due.event == event && *due.path == *path && due.since < record;
            same && (zxid <= 0 || due.zxid == 0 || due.zxid == zxid)
        };
        let due = line.due.iter().position(is_told);
        let due = due.map(|due| line.due.remove(due));
        if let Some(due) = due.as_ref().filter(|_| !made_up) {
            return line.tells(due.zxid, record, (event, due.path.clone()));
        }
        let told = Told {
            record,
            time,
            zxid,
            event,
            path: path.into(),
            shown: line.shown.0,
            made_up,
            used: due.is_some(),
        };
        line.told.push_back(told);
        line.skip(zxid, record)
    }

    /// A setWatches is sent.
    pub fn asks_again(&mut self, line: &mut LineId, frame: R) {
        if let Some(line) = self.line(line) {
            line.frames.push_back(frame);
        }
    }

    /// The oldest setWatches on its way was answered in the state after `zxid`.
    pub fn again(&mut self, id: &mut LineId, index: usize, zxid: i64) {
        let Some(line) = self.line(id) else {
            return;
        };
        (line.again, line.shown_again) = (index, (0, 0));
        if let Some(frame) = line.frames.pop_front() {
            let (line, last) = (*id, self.lines[id].frames.is_empty());
            self.again
                .insert((zxid, index), Again { line, frame, last });
        }
    }
}

/// What is heard along the order.
impl<R: Borrow<Record>> Ears<R> {
    /// True if nothing fires whatever happens.
    pub fn is_idle(&self) -> bool {
        self.waits.is_empty()
    }

    /// The order goes on to a transaction; what has the place before it cannot have begun
    /// before `begun`.
    ///
    /// # Errors
    /// N1, N3: what was told until then, or was not, is not explained by what happened.
    pub fn pass(
        &mut self,
        (last, zxid): (i64, i64),
        begun: u64,
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        self.register_again((last, (zxid, 0)), tree)?;
        while let Some(&(until, line)) = self.leaving.first()
            && until < zxid
        {
            self.leaving.pop_first();
            let mut told = self.lines[&line].told.iter();
            // Its cause may lie further on.
            let awaited = told.any(|told| {
                told.zxid <= 0 && !told.made_up && begun <= told.time.saturating_add(self.error)
            });
            match awaited {
                true => drop(self.leaving.insert((zxid, line))),
                false => {
                    self.explain(line, i64::MAX, usize::MAX)?;
                    self.lines.remove(&line);
                    self.waits.forget(line);
                }
            }
        }
        Ok(())
    }

    /// The order ends.
    ///
    /// # Errors
    /// As [`Ears::pass`].
    pub fn finish(&mut self, last: i64, tree: &mut Tree) -> Result<(), Refusal> {
        self.register_again((last, (i64::MAX, 0)), tree)?;
        let lines: Vec<LineId> = self.lines.keys().copied().collect();
        let mut lines = lines.into_iter();
        lines.try_for_each(|line| self.explain(line, i64::MAX, usize::MAX))
    }

    /// A transaction did something.
    ///
    /// # Errors
    /// What was told of it comes too late, too early, or in another order.
    pub fn fire(&mut self, cause: Cause<'_>) -> Result<(), Refusal> {
        let clear = cause.clear && cause.zxid != 0 && self.murk.is_clear(cause.path);
        let cause = Cause { clear, ..cause };
        for fires in self.waits.fired(cause.event, cause.path) {
            if let Some(line) = self.lines.get_mut(&fires.line).filter(|line| !line.silent) {
                line.fire(&cause, &fires, self.error)?;
            }
        }
        Ok(())
    }

    /// An answered request has its place, after a transaction: all that is told before the
    /// answer has a cause by now. What it registers, is.
    ///
    /// # Errors
    /// As [`Ears::pass`].
    pub fn placed(&mut self, asked: &Asked<R>, last: i64, tree: &mut Tree) -> Result<(), Refusal> {
        let (line, record) = (asked.line, asked.replied);
        let (Some(_), Some((_, zxid, result))) = (self.lines.get(&line), asked.answer()) else {
            return Ok(());
        };
        let op = asked.op();
        let stays = match op {
            Op::Exists { .. } => result.is_ok() || *result == Err(ErrorCode::NO_NODE),
            _ => result.is_ok(),
        };
        let waits = waits_for(op).filter(|_| stays);
        if waits.is_some() || op.arranges_watches() {
            self.register_again((last, (zxid, record)), tree)?;
        }
        self.explain(line, last, record)?;
        match (op, result) {
            (Op::AddWatch { path, mode }, Ok(_)) => {
                self.stay(path, *mode, (line, zxid, record), false);
            }
            (Op::RemoveWatches { path, watches }, Ok(_)) => {
                self.excuse(line, record);
                self.waits.remove(line, path, *watches);
                if let Some(line) = self.lines.get_mut(&line) {
                    let stays =
                        |(hears, at): &(Hears, Rc<str>)| !takes(*watches, *hears) || **at != **path;
                    line.perhaps.retain(stays);
                }
            }
            (_, _) => {}
        }
        if let Some((path, hears)) = waits {
            self.once(path, hears, (line, zxid, record), false);
        }
        Ok(())
    }

    /// A watch that fires once is registered in the state after a zxid, as a record tells.
    fn once(
        &mut self,
        path: &str,
        hears: Hears,
        (line, zxid, since): (LineId, i64, usize),
        again: bool,
    ) {
        if zxid <= 0 || !self.murk.is_clear(path) {
            self.excuse(line, since);
            if let Some(line) = self.lines.get_mut(&line) {
                line.perhaps.insert((hears, path.into()));
            }
            return;
        }
        if self.lines.get(&line).is_some_and(|line| !line.silent) {
            let wait = Wait {
                line,
                hears,
                stays: false,
                loose: false,
                again,
                since,
            };
            self.waits.once(path, wait);
        }
    }

    /// A watch that stays is registered in the state after a zxid, not positive if that is not
    /// known, as a record tells.
    fn stay(
        &mut self,
        path: &str,
        mode: WatchMode,
        (line, zxid, since): (LineId, i64, usize),
        again: bool,
    ) {
        if self.lines.get(&line).is_some_and(|line| !line.silent) {
            let wait = Wait {
                line,
                hears: Hears::Node,
                stays: true,
                loose: zxid <= 0,
                again,
                since,
            };
            self.waits.stay(path, mode, wait);
        }
    }

    /// Takes what was told before a record by what nobody knows to have happened.
    fn excuse(&mut self, id: LineId, before: usize) {
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        let Line {
            told,
            perhaps,
            recent,
            ..
        } = line;
        told.retain(|told| {
            if told.record >= before || told.made_up {
                return true;
            }
            let mut waited = false;
            for &hears in ended_by(told.event) {
                waited |= perhaps.remove(&(hears, told.path.clone()));
            }
            let excused = waited
                || !self.murk.is_clear(&told.path) && self.waits.hears(id, told.event, &told.path);
            recent.extend(excused.then(|| (told.event, told.path.clone())));
            !excused
        });
    }

    /// What was told of up to a zxid and before a record has been caused by now.
    ///
    /// # Errors
    /// N2, N3: it was not.
    fn explain(&mut self, id: LineId, upto: i64, before: usize) -> Result<(), Refusal> {
        let named = |told: &Told| (told.zxid > 0 || upto == i64::MAX) && told.zxid <= upto;
        let late = |told: &Told| named(told) && told.record < before && !told.made_up;
        if self.lines[&id].told.iter().any(late) {
            self.excuse(id, before);
        }
        let line = &self.lines[&id];
        let Some(told) = line.told.iter().find(|told| late(told)) else {
            return Ok(());
        };
        let (path, event) = (&told.path, told.event);
        let again = |(seen, at): &(EventType, Rc<str>)| told.is(*seen, at);
        match line.recent.iter().any(again) {
            true => {
                let reason = format!("{} of {path} had been told before", event.name());
                refuse("N2", told.record, reason)
            }
            false => {
                let reason = format!("no watch hears {} of {path} then", event.name());
                refuse("N3", told.record, reason)
            }
        }
    }

    /// Registers what setWatches asked for that was answered before a zxid and a record.
    fn register_again(
        &mut self,
        (last, before): (i64, (i64, usize)),
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        while let Some(entry) = self.again.first_entry()
            && *entry.key() < before
        {
            let ((zxid, record), again) = entry.remove_entry();
            if zxid < last && zxid > 0 {
                let reason = "its prefix is not the one its reply names";
                return refuse("form", record, reason);
            }
            self.watch_again(zxid, record, again, tree)?;
        }
        Ok(())
    }

    /// A setWatches was answered in the state of the tree: each of its watches was made up for
    /// if there was cause, and else is registered.
    fn watch_again(
        &mut self,
        zxid: i64,
        record: usize,
        again: Again<R>,
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        }) = &again.frame.borrow().body
        else {
            return Ok(());
        };
        let id = again.line;
        if self.lines.get(&id).is_none_or(|line| line.silent) {
            return Ok(());
        }
        let data = data.iter().map(|path| (path, Hears::Node, false));
        let exist = exist.iter().map(|path| (path, Hears::Node, true));
        let child = child.iter().map(|path| (path, Hears::List, false));
        let mut owed: Vec<(EventType, &str)> = Vec::new();
        for (path, hears, for_birth) in data.chain(exist).chain(child) {
            let mut known = zxid;
            let event = match (tree.changed(path), hears) {
                (Some(_), _) if for_birth => Some(EventType::NodeCreated),
                (None, _) => (!for_birth).then_some(EventType::NodeDeleted),
                (Some((node, list)), hears) => {
                    let (changed, event) = match hears {
                        Hears::List => (list, EventType::NodeChildrenChanged),
                        Hears::Node | Hears::Below => (node, EventType::NodeDataChanged),
                    };
                    let late = changed.is_none_or(|changed| changed > *relative_zxid);
                    // Nobody knows when, or what was told before the history.
                    if late && changed.is_none_or(|changed| changed <= self.start) {
                        known = 0;
                    }
                    late.then_some(event)
                }
            };
            match event.filter(|_| known > 0 && self.murk.is_clear(path)) {
                Some(event) => owed.push((event, path)),
                None => self.once(path, hears, (id, known, record), true),
            }
        }
        for (path, mode) in stays {
            self.stay(path, *mode, (id, zxid, record), true);
        }
        self.made_up(id, record, &owed, again.last)
    }

    /// Before a setWatches was answered by a record, these were owed and nothing else, if no
    /// other was on its way.
    fn made_up(
        &mut self,
        id: LineId,
        record: usize,
        owed: &[(EventType, &str)],
        last: bool,
    ) -> Result<(), Refusal> {
        let Some(line) = self.lines.get_mut(&id) else {
            return Ok(());
        };
        let before = |told: &Told| told.made_up && told.record < record;
        for &(event, path) in owed {
            let mut told = line.told.iter().filter(|told| before(told));
            if !told.any(|told| told.is(event, path)) {
                let reason = format!("{} of {path} was never made up for", event.name());
                return refuse("N1", record, reason);
            }
        }
        let is_owed = |told: &Told| owed.iter().any(|&(event, path)| told.is(event, path));
        line.told
            .retain(|told| !(before(told) && (told.used || is_owed(told))));
        let mut left = line.told.iter().filter(|told| last && before(told));
        let unwanted = left.find(|told| {
            let mut waits = ended_by(told.event).iter();
            !waits.any(|&hears| line.perhaps.contains(&(hears, told.path.clone())))
                && !self.waits.hears(id, told.event, &told.path)
        });
        if let Some(told) = unwanted {
            let reason = format!("nothing of {} was to be made up for", told.path);
            return refuse("N3", told.record, reason);
        }
        line.told.retain(|told| !(last && before(told)));
        Ok(())
    }
}
