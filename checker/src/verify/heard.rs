//! What clients heard besides answers: notifications, against the order that was proved.
//!
//! Once a certificate's order has been replayed, the second opinion goes through the records
//! again and asks of every connection whether its notifications follow from that order. It
//! shares no line with the judge's room of watches.
//!
//! | rule | says |
//! |---|---|
//! | N1 | a notification comes before any answer as new as its cause |
//! | N2 | one registration, one notification; one for each cause if it stays |
//! | N3 | a notification has a live registration, and the first cause since is of its type and zxid; they come in the order of causes |
//! | R2 | a client that comes back names all it has seen |
//! | W2 | answers of a connection come in the order asked |
//!
//! What it is not: a check of rights. Of paths that not everybody may read, or that something
//! of unknown fate may have touched, notifications are only counted (N2).
//!
//! Answers to: `consistency.md` P3, P5, P10 to P12.

use super::causes::{Cause, Causes};
use super::posts::{Heard, Posts};
use super::told::Request;
use super::{Refusal, refuse};
use crate::certificate::Step;
use crate::history::{
    Body, ErrorCode, EventType, History, Op, Record, SessionEvent, WatchKind, WatchMode,
};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    Node,
    Children,
}

type Wait<'h> = (&'h str, For);

/// A registration: at which zxid, by which record, and whether by setWatches.
#[derive(Clone, Copy)]
struct Made {
    zxid: i64,
    record: usize,
    again: bool,
}

#[derive(Default)]
struct Line<'h> {
    /// What comes of its watches is not recorded any more.
    silent: bool,
    waits: BTreeMap<Wait<'h>, Made>,
    /// By the zxid of the cause that ends the wait.
    due: BTreeSet<(i64, Wait<'h>)>,
    spent: BTreeSet<Wait<'h>>,
    perhaps: BTreeSet<Wait<'h>>,
    /// Watches that stay.
    posts: Posts<'h>,
    frames: VecDeque<usize>,
    /// The record that answered the last of them.
    again: usize,
    /// Notifications that only a setWatches on its way can explain.
    made_up: Vec<(EventType, &'h str, usize)>,
    /// Those that a watch that stays explains as well.
    made_up_perhaps: Vec<(EventType, &'h str)>,
    last_cause: i64,
    /// The greatest zxid that an answer showed.
    shown: i64,
    /// The record that asked what was answered last.
    answered: usize,
}

impl<'h> Line<'h> {
    /// A watch that stays is registered. Of a list that was watched for once it may be the only
    /// one now.
    fn stay(
        &mut self,
        causes: &Causes<'h>,
        (path, mode): (&'h str, WatchMode),
        zxid: i64,
        again: bool,
    ) {
        if self.silent {
            return;
        }
        self.posts.add(causes, (path, mode), zxid, again);
        let list = (path, For::Children);
        if mode == WatchMode::Recursive && self.forget(list) {
            self.perhaps.insert(list);
        }
    }

    /// Takes a wait back that has not ended; true if there was one.
    fn forget(&mut self, wait: Wait<'h>) -> bool {
        self.due.retain(|(_, other)| *other != wait);
        self.waits.remove(&wait).is_some()
    }

    fn end(&mut self, wait: Wait<'h>, cause: Option<Cause>) {
        self.waits.remove(&wait);
        self.spent.insert(wait);
        if let Some(cause) = cause {
            self.due.remove(&(cause.zxid, wait));
        }
    }
}

struct Ear<'c, 'h> {
    history: &'h History,
    causes: &'c Causes<'h>,
    /// The requests by the records that ended them.
    ended: FxHashMap<usize, Request<'h>>,
    lines: FxHashMap<u32, Line<'h>>,
    seen: FxHashMap<i64, i64>,
}

/// Checks what was heard besides answers against an order that has been proved.
///
/// # Errors
/// The first rule that does not hold.
pub fn check(history: &History, requests: &[Request<'_>], order: &[Step]) -> Result<(), Refusal> {
    let causes = Causes::of(history, requests, order);
    let ended = requests
        .iter()
        .filter_map(|asked| Some((asked.end?, *asked)));
    let mut ear = Ear {
        history,
        causes: &causes,
        ended: ended.collect(),
        lines: FxHashMap::default(),
        seen: FxHashMap::default(),
    };
    let mut records = history.records.iter().enumerate();
    records.try_for_each(|(index, record)| ear.hear(index, record))
}

/// The waits that an event ends.
fn ended_by(event: EventType) -> &'static [For] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[For::Node],
        EventType::NodeChildrenChanged => &[For::Children],
        EventType::NodeDeleted => &[For::Node, For::Children],
    }
}

/// What a request waits for, if it asks to.
fn waits_for(op: &Op) -> Option<(&str, For)> {
    match op {
        Op::Get { path, watch: true } | Op::Exists { path, watch: true } => Some((path, For::Node)),
        Op::Children {
            path, watch: true, ..
        } => Some((path, For::Children)),
        _ => None,
    }
}

impl<'h> Ear<'_, 'h> {
    fn hear(&mut self, index: usize, record: &'h Record) -> Result<(), Refusal> {
        let process = record.process;
        match &record.body {
            Body::Return { .. } | Body::Lost { .. } => match self.ended.get(&index) {
                Some(&asked) => self.end(index, process, asked),
                None => Ok(()),
            },
            Body::Notify { zxid, event, path } => {
                self.notification(index, process, *zxid, *event, path)
            }
            Body::Session(event) => self.session(index, process, event),
            Body::Invoke { .. } | Body::Ping { .. } | Body::Final => Ok(()),
        }
    }

    /// A request was answered, or given up.
    fn end(&mut self, index: usize, process: u32, asked: Request<'h>) -> Result<(), Refusal> {
        let op = asked.op;
        let line = self.lines.entry(process).or_default();
        let Some((zxid, result)) = asked.answer else {
            line.perhaps.extend(waits_for(op));
            self.arrange(process, op, None);
            return Ok(());
        };
        if asked.invoke < line.answered {
            return refuse("W2", index, "it was answered after what was asked later");
        }
        line.answered = asked.invoke;
        if asked.zxid().is_none() {
            return Ok(());
        }
        if zxid > 0 {
            line.shown = line.shown.max(zxid);
            let seen = self.seen.entry(asked.session).or_default();
            *seen = zxid.max(*seen);
            let late = line.due.iter().take_while(|(due, _)| *due <= zxid);
            let mut late =
                late.filter(|(_, wait)| asked.invoke > line.again || !line.waits[wait].again);
            if let Some((due, (path, _))) = late.next() {
                let reason = format!(
                    "it shows {zxid:#x}, but the watch on {path} fires at {due:#x} and nothing was told"
                );
                return refuse("N1", index, reason);
            }
            if let Err(untold) = line.posts.pass(zxid, asked.invoke > line.again) {
                let reason = format!(
                    "it shows {zxid:#x}, but the watch on {} hears of {} at {:#x} and nothing was told",
                    untold.post, untold.path, untold.zxid
                );
                return refuse("N1", index, reason);
            }
        }
        if result.is_ok() && op.arranges_watches() {
            self.arrange(process, op, Some(zxid));
            return Ok(());
        }
        if matches!((op, result), (Op::Close, Ok(_))) {
            // Until the connection ends they may still be told.
            line.due.clear();
            line.posts.loosen_all();
            line.perhaps
                .extend(std::mem::take(&mut line.waits).into_keys());
        }
        let stays =
            result.is_ok() || matches!(op, Op::Exists { .. }) && *result == Err(ErrorCode::NO_NODE);
        match waits_for(op).filter(|_| stays) {
            Some(wait) if zxid > 0 => self.wait(process, wait, zxid, index, false),
            wait => line.perhaps.extend(wait),
        }
        Ok(())
    }

    /// The first cause that ends a wait begun at `zxid`, if it is known.
    fn first(&self, (path, waiting): Wait<'_>, zxid: i64) -> Option<Cause> {
        let causes = self.causes.on(path);
        let later = causes.partition_point(|cause| cause.zxid <= zxid);
        let mut ends = causes[later..].iter();
        let first = ends.find(|cause| ended_by(cause.event).contains(&waiting));
        first.copied().filter(|_| self.causes.is_clear(path))
    }

    fn wait(&mut self, process: u32, wait: Wait<'h>, zxid: i64, record: usize, again: bool) {
        let first = self.first(wait, zxid);
        let line = self.lines.entry(process).or_default();
        if line.silent {
            return;
        }
        line.posts.meet(wait.0, wait.1 == For::Children);
        line.waits.entry(wait).or_insert_with(|| {
            line.due.extend(first.map(|cause| (cause.zxid, wait)));
            Made {
                zxid,
                record,
                again,
            }
        });
    }

    /// addWatch or removeWatches was answered in the state after a zxid, 0 if that is not known;
    /// None if it never was.
    fn arrange(&mut self, process: u32, op: &'h Op, answered: Option<i64>) {
        let causes = self.causes;
        let line = self.lines.entry(process).or_default();
        match op {
            _ if line.silent => {}
            Op::AddWatch { path, mode } => {
                line.stay(causes, (path, *mode), answered.unwrap_or(0), false);
            }
            Op::RemoveWatches { path, watches } => {
                line.posts.remove(path, *watches, answered.is_some());
                let once: &[For] = match watches {
                    WatchKind::Any => &[For::Node, For::Children],
                    WatchKind::Data => &[For::Node],
                    WatchKind::Children => &[For::Children],
                    WatchKind::Persistent | WatchKind::Recursive => &[],
                };
                for &waiting in once {
                    let there = line.forget((path, waiting));
                    if there && answered.is_none() {
                        line.perhaps.insert((path, waiting));
                    } else if answered.is_some() {
                        line.perhaps.remove(&(&**path, waiting));
                    }
                }
            }
            _ => {}
        }
    }

    fn notification(
        &mut self,
        index: usize,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &'h str,
    ) -> Result<(), Refusal> {
        if self.lines.get(&process).is_some_and(|line| line.silent) {
            return Ok(());
        }
        let causes = self.causes;
        let clear = causes.is_clear(path);
        let waits = ended_by(event).iter().map(|&waiting| (path, waiting));
        let firsts: Vec<(Wait<'h>, Option<Cause>, bool)> = waits
            .map(|wait| {
                let line = self.lines.get(&process);
                let made = line.and_then(|line| line.waits.get(&wait));
                let first = made.and_then(|made| self.first(wait, made.zxid));
                let right =
                    |first: Cause| first.event == event && (zxid <= 0 || first.zxid == zxid);
                let fits = made.is_some() && (!clear || first.is_some_and(right));
                (wait, first, fits)
            })
            .collect();
        let line = self.lines.entry(process).or_default();
        if zxid > 0 && zxid <= line.shown {
            let reason = format!("it is of {zxid:#x}, which an answer had shown before");
            return refuse("N1", index, reason);
        }
        let mut perhaps = false;
        for (wait, _, _) in &firsts {
            if line.perhaps.remove(wait) {
                line.spent.insert(*wait);
                perhaps = true;
            }
        }
        let made_up = zxid <= 0 && !line.frames.is_empty();
        let heard = line.posts.hear(causes, (zxid, event, path), made_up);
        let mut cause = match heard {
            Heard::Of(cause) => Some(cause),
            Heard::Nothing | Heard::Perhaps => None,
        };
        let mut told = heard != Heard::Nothing;
        if told && made_up {
            line.made_up_perhaps.push((event, path));
        }
        for (wait, first, _) in firsts.iter().filter(|(_, _, fits)| *fits) {
            line.end(*wait, *first);
            (cause, told) = (cause.or(*first), true);
        }
        if let Some(cause) = cause {
            let order = (line.last_cause, line.due.first().map(|(due, _)| *due));
            line.last_cause = cause.zxid;
            if let Err(untold) = line.posts.pass(cause.zxid - 1, true) {
                let reason = format!("{:#x} was not told before it", untold.zxid);
                return refuse("N1", index, reason);
            }
            return match order {
                (last, _) if cause.zxid < last => refuse(
                    "N3",
                    index,
                    "it comes after a notification of a later cause",
                ),
                (_, Some(due)) if due < cause.zxid => {
                    refuse("N1", index, "an earlier cause was not told before it")
                }
                (_, _) => Ok(()),
            };
        }
        if told || perhaps {
            return Ok(());
        }
        if !line.frames.is_empty() {
            line.made_up.push((event, path, index));
            return Ok(());
        }
        let live = firsts.iter().find_map(|(wait, _, _)| line.waits.get(wait));
        match live {
            Some(made) => {
                let reason = format!(
                    "the watch of record {} on {path} does not fire on that",
                    made.record + 1
                );
                refuse("N3", index, reason)
            }
            None if firsts.iter().any(|(wait, _, _)| line.spent.contains(wait)) => {
                refuse("N2", index, format!("the watch on {path} had fired before"))
            }
            None => refuse("N3", index, format!("nothing was waiting for {path}")),
        }
    }

    fn session(
        &mut self,
        index: usize,
        process: u32,
        event: &'h SessionEvent,
    ) -> Result<(), Refusal> {
        let line = self.lines.entry(process).or_default();
        match event {
            SessionEvent::SetWatches { .. } if line.silent => {}
            SessionEvent::SetWatches { .. } => line.frames.push_back(index),
            SessionEvent::WatchesLeftOut => {
                *line = Line {
                    silent: true,
                    answered: line.answered,
                    ..Line::default()
                }
            }
            SessionEvent::SetWatchesDone { zxid } => {
                line.again = index;
                if let Some(frame) = line.frames.pop_front() {
                    return self.again(index, process, frame, *zxid);
                }
            }
            SessionEvent::Auth { .. } | SessionEvent::AuthDone { .. } => {}
            SessionEvent::Connecting {
                session,
                last_zxid_seen,
            } => {
                *line = Line::default();
                let seen = self.seen.get(session).copied().unwrap_or(0);
                if *session != 0 && seen > *last_zxid_seen {
                    let reason = format!("it had seen {seen:#x} and names {last_zxid_seen:#x}");
                    return refuse("R2", index, reason);
                }
            }
            SessionEvent::Connected { .. }
            | SessionEvent::Disconnected
            | SessionEvent::Expired { .. }
            | SessionEvent::Abandoned { .. } => *line = Line::default(),
        }
        Ok(())
    }

    /// A setWatches was answered in the state after `zxid`: each of its watches was made up for
    /// if there was cause, and else is registered.
    fn again(
        &mut self,
        index: usize,
        process: u32,
        frame: usize,
        zxid: i64,
    ) -> Result<(), Refusal> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        }) = &self.history.records[frame].body
        else {
            return Ok(());
        };
        let node = data.iter().map(|path| (&**path, For::Node, false));
        let born = exist.iter().map(|path| (&**path, For::Node, true));
        let children = child.iter().map(|path| (&**path, For::Children, false));
        let mut owed: Vec<(EventType, &str)> = Vec::new();
        for (path, waiting, for_birth) in node.chain(born).chain(children) {
            if !self.causes.is_clear(path) {
                let line = self.lines.entry(process).or_default();
                line.perhaps.insert((path, waiting));
                continue;
            }
            match self.owed(path, waiting, for_birth, *relative_zxid, zxid) {
                Some(event) => owed.push((event, path)),
                None => self.wait(process, (path, waiting), zxid, index, true),
            }
        }
        let causes = self.causes;
        let line = self.lines.entry(process).or_default();
        for (path, mode) in stays {
            line.stay(causes, (path, *mode), zxid, true);
        }
        for &(event, path) in &owed {
            let told = |&(seen, at, _): &(EventType, &str, usize)| (seen, at) == (event, path);
            let perhaps = line.made_up_perhaps.contains(&(event, path));
            if !perhaps && !line.made_up.iter().any(told) {
                let reason = format!("{} of {path} was never made up for", event.name());
                return refuse("N1", index, reason);
            }
        }
        let Line {
            made_up, perhaps, ..
        } = line;
        made_up.retain(|&(event, path, _)| {
            let mut waits = ended_by(event).iter().map(|&waiting| (path, waiting));
            !owed.contains(&(event, path)) && !waits.any(|wait| perhaps.contains(&wait))
        });
        match made_up.first() {
            Some(&(_, path, record)) if line.frames.is_empty() => refuse(
                "N3",
                record,
                format!("nothing of {path} was to be made up for"),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// What setWatches has to tell of a path to a client that had seen all up to `relative`.
    fn owed(
        &self,
        path: &str,
        waiting: For,
        for_birth: bool,
        relative: i64,
        zxid: i64,
    ) -> Option<EventType> {
        let causes = self.causes.on(path);
        let past = &causes[..causes.partition_point(|cause| cause.zxid <= zxid)];
        let was = |event| past.iter().rposition(|cause| cause.event == event);
        let (made, gone) = (was(EventType::NodeCreated), was(EventType::NodeDeleted));
        if for_birth {
            return (made > gone).then_some(EventType::NodeCreated);
        }
        if gone > made {
            return Some(EventType::NodeDeleted);
        }
        let event = match waiting {
            For::Node => EventType::NodeDataChanged,
            For::Children => EventType::NodeChildrenChanged,
        };
        let changed = was(event).max(made).map(|last| past[last].zxid);
        changed.filter(|&last| last > relative).map(|_| event)
    }
}
