//! Notifications: each wanted, each once, each before what it announces.
//!
//! A pass over every client's stream of records. Without an order it only counts: a
//! notification needs a registration that has not been used up. With one it knows when
//! every registration fires: the notification must be that one, and nothing newer may come
//! before it. Where others wrote too it knows by when a registration must have fired, and
//! what it cannot have fired on. That states a lost watch as a safety property; no timeout
//! is needed.
//!
//! | room | holds |
//! |---|---|
//! | `connection` | what is registered on a connection |
//! | `known` | what is known of the events: nothing, the walk's, or what was overheard |
//! | `told` | a notification came |
//! | `standing` | watches that stay when they fire |
//! | `stays` | addWatch, removeWatches, and what those were told |
//! | `again` | connections, and watches registered again with setWatches |
//!
//! Answers to: `consistency.md` P10 to P12, P20; `protocol.md` section 12.

mod again;
mod connection;
mod known;
mod standing;
mod stays;
mod told;

use super::case::{Case, Request, RequestIndex, Role};
use super::open::Overheard;
use super::replay::Replay;
use super::times::records;
use crate::history::{Body, Op, Record, SessionEvent, WatchMode};
use crate::model::Who;
use crate::verdict::{Class, Property, Violation};
use connection::{Connection, Found, Key, Live, found};
pub use connection::{Table, registers, tables_of};
use known::Known;
use rustc_hash::{FxHashMap, FxHashSet};
use standing::Course;
pub use standing::{Post, Scope, Trigger};
use stays::naming;
use std::rc::Rc;

struct Watcher<'c, 'h> {
    case: &'c Case<'h>,
    known: Known<'c, 'h>,
    connections: FxHashMap<u32, Connection<'h>>,
    /// What watches that stay fire on, of those that were asked for last.
    courses: FxHashMap<Post<'h>, (Who, Rc<Course>)>,
    /// The records with which connections begin whose server names transactions in
    /// notifications, by process; 0 if the beginning was not recorded.
    naming: FxHashSet<(u32, u32)>,
    /// The transactions of the walk, in order, each with the one up to there that was sent last.
    sent: Vec<(i64, RequestIndex)>,
    matched: usize,
}

/// A registration that an answer made.
struct Registration<'h> {
    key: Key<'h>,
    zxid: i64,
    record: u32,
    found: Found,
    who: Who,
    /// The answer proves that the client might read the node.
    held: bool,
    again: bool,
}

/// Tells the tree of which paths the events will be asked for.
pub fn watch_paths(replay: &mut Replay<'_, '_>) {
    let case = replay.case;
    for request in &case.requests {
        if registers(request.op).is_some() {
            replay.tree.watch(request.path);
        }
        if let Op::AddWatch { mode, .. } = request.op {
            watch_all(replay, request.op.path().map(|path| &**path), *mode);
        }
    }
    for record in &case.history.records {
        match &record.body {
            Body::Notify { path, .. } => watch(replay, path),
            Body::Session(SessionEvent::SetWatches {
                data,
                exist,
                child,
                stays,
                ..
            }) => {
                let lists = [data, exist, child].into_iter().flatten();
                lists.for_each(|path| watch(replay, path));
                for (path, mode) in stays {
                    watch_all(replay, Some(path), *mode);
                }
            }
            Body::Invoke { .. }
            | Body::Return { .. }
            | Body::Lost { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => {}
        }
    }
}

fn watch<'h>(replay: &mut Replay<'_, 'h>, path: &'h str) {
    let path = replay.tree.paths.id(path);
    replay.tree.watch(path);
}

fn watch_all<'h>(replay: &mut Replay<'_, 'h>, path: Option<&'h str>, mode: WatchMode) {
    let Some(path) = path.map(|path| replay.tree.paths.id(path)) else {
        return;
    };
    match mode {
        WatchMode::Persistent => replay.tree.watch(path),
        WatchMode::Recursive => replay.tree.watch_below(path),
    }
}

/// The first pass: P11 and P12 by counting.
///
/// # Errors
/// The first violation.
pub fn check_counts(case: &Case<'_>) -> Result<(), Box<Violation>> {
    Watcher::of(case, Known::Nothing).run().map(|_| ())
}

/// The second pass, with the order known: P10, P12, P20. Returns how many notifications
/// were matched.
///
/// # Errors
/// The first violation.
pub fn check<'c, 'h>(replay: &'c Replay<'c, 'h>) -> Result<usize, Box<Violation>> {
    let mut watcher = Watcher::of(replay.case, Known::Walked(replay));
    watcher.sent = sent_last(replay.case);
    watcher.run()
}

/// Along the answered transactions, the one so far that was sent last; nothing, where every
/// notification says itself what it is of.
fn sent_last(case: &Case<'_>) -> Vec<(i64, RequestIndex)> {
    let nameless = |record: &Record| matches!(record.body, Body::Notify { zxid, .. } if zxid <= 0);
    let mut sent: Vec<(i64, RequestIndex)> = Vec::new();
    if !case.history.records.iter().any(nameless) {
        return sent;
    }
    let requests = (0..).zip(&case.requests);
    let transactions = requests.filter(|(_, request)| request.role == Role::Transaction);
    sent.extend(transactions.map(|(number, request)| (request.zxid, number)));
    sent.sort_unstable();
    let call = |number: RequestIndex| case.requests[number as usize].call;
    let mut latest = 0;
    for (_, number) in &mut sent {
        if call(*number) < call(latest) {
            *number = latest;
        }
        latest = *number;
    }
    sent
}

/// The only pass where others wrote, too: what no stranger excuses of P10 to P12 and P20.
/// Returns how many notifications there are.
///
/// # Errors
/// The first violation.
pub fn check_overheard<'c, 'h>(
    case: &'c Case<'h>,
    overheard: &'c Overheard<'c, 'h>,
) -> Result<usize, Box<Violation>> {
    Watcher::of(case, Known::Overheard(overheard)).run()
}

impl<'c, 'h> Watcher<'c, 'h> {
    fn of(case: &'c Case<'h>, known: Known<'c, 'h>) -> Self {
        Watcher {
            case,
            known,
            connections: FxHashMap::default(),
            courses: FxHashMap::default(),
            naming: naming(case.history),
            sent: Vec::new(),
            matched: 0,
        }
    }

    fn run(mut self) -> Result<usize, Box<Violation>> {
        for &(process, _) in self.naming.iter().filter(|(_, begin)| *begin == 0) {
            let connection = self.connections.entry(process).or_default();
            connection.names_zxids = true;
        }
        let history = self.case.history;
        for (index, record) in history.records.iter().enumerate() {
            self.take(index as u32, record)?;
        }
        Ok(self.matched)
    }

    fn take(&mut self, index: u32, record: &'h Record) -> Result<(), Box<Violation>> {
        match &record.body {
            Body::Return { .. } | Body::Lost { .. } => {
                let request = &self.case.requests[self.case.request_of[index as usize] as usize];
                self.answered(index, record.process, request)
            }
            Body::Notify { zxid, event, path } => {
                self.notified(index, record.process, *zxid, *event, path)
            }
            Body::Session(event) => self.session_event(index, record.process, event),
            Body::Invoke { .. } | Body::Ping { .. } | Body::Final => Ok(()),
        }
    }

    fn answered(
        &mut self,
        index: u32,
        process: u32,
        request: &'c Request<'h>,
    ) -> Result<(), Box<Violation>> {
        self.check_due(index, process, request)?;
        let connection = self.connections.entry(process).or_default();
        connection.who = Some(request.who);
        if matches!((request.op, request.answer), (Op::Close, Some(Ok(_)))) {
            connection.close();
        }
        if request.op.arranges_watches() {
            self.arranged(index, process, request);
            return Ok(());
        }
        let (Some(table), Some(path)) = (registers(request.op), request.op.path()) else {
            return Ok(());
        };
        let key = (table, &**path);
        let Some(answer) = request.answer else {
            connection.perhaps.insert(key);
            return Ok(());
        };
        let Some(found) = found(request.op, answer) else {
            return Ok(());
        };
        if request.role == Role::ReadSomewhere {
            connection.perhaps.insert(key);
            return Ok(());
        }
        let asks_leave = |overheard: &Overheard<'_, '_>| match request.op {
            Op::Exists { .. } => overheard.exists_needs_read,
            _ => true,
        };
        let held = found.there && self.known.overheard().is_some_and(asks_leave);
        let registration = Registration {
            key,
            zxid: request.zxid,
            record: index,
            found,
            who: request.who,
            held,
            again: false,
        };
        self.register(process, registration);
        Ok(())
    }

    /// P10: nothing at or past the zxid at which a registration fires may come before its
    /// notification.
    fn check_due(
        &mut self,
        index: u32,
        process: u32,
        request: &Request<'h>,
    ) -> Result<(), Box<Violation>> {
        if !matches!(request.role, Role::Transaction | Role::Read | Role::Sync)
            || request.done != index
        {
            return Ok(());
        }
        let connection = self.connections.entry(process).or_default();
        if connection
            .newest_answer
            .is_none_or(|(zxid, _)| zxid < request.zxid)
        {
            connection.newest_answer = Some((request.zxid, index));
        }
        let after_again = request.invoke > connection.again_done;
        let overdue = connection
            .due
            .iter()
            .take_while(|(zxid, _)| *zxid <= request.zxid);
        let mut overdue = overdue.filter(|(_, key)| after_again || !connection.live[key].again);
        let Some(&(zxid, key)) = overdue.next() else {
            return self.check_standing_due(index, process, request, after_again);
        };
        let live = connection.live[&key];
        let reason = format!(
            "the watch on {} fires at {zxid:#x}, but an answer at {:#x} came before its notification",
            key.1, request.zxid
        );
        Err(self.violation(
            Property::WatchBeforeData,
            &[live.record, request.invoke, index],
            reason,
        ))
    }

    fn register(&mut self, process: u32, made: Registration<'h>) {
        let Registration {
            key, zxid, record, ..
        } = made;
        let fires = self.known.fires(key, zxid);
        let certain = self.known.certain(key, zxid, made.who, made.held);
        let by_walk = self.known.walk().is_some();
        let connection = self.connections.entry(process).or_default();
        if connection.left_out {
            return;
        }
        let mut live = Live {
            path: key.1,
            record,
            since: zxid,
            found: made.found,
            fires,
            certain,
            again: made.again,
        };
        if let Some(known) = connection.live.get(&key).copied() {
            // One that fired unseen, because the node was not to be read, is used up.
            if by_walk && known.fires.is_none_or(|event| event.zxid > zxid) {
                connection.meets(key);
                return;
            }
            connection.remove(key);
            if !by_walk {
                live.since = known.since.min(zxid);
                live.found.there |= known.found.there;
                live.found.missing |= known.found.missing;
                live.again &= known.again;
                if let (Some(before), certain) = (known.certain, certain)
                    && certain.is_none_or(|certain| before <= certain)
                {
                    (live.certain, live.record) = (known.certain, known.record);
                    live.again = known.again;
                }
            }
        }
        connection.put(key, live);
        connection.meets(key);
    }

    fn violation(&self, property: Property, indices: &[u32], reason: String) -> Box<Violation> {
        Box::new(Violation {
            property,
            class: Class::Undetermined,
            class_reason: String::new(),
            records: records(self.case, indices),
            state_before: String::new(),
            reason,
        })
    }
}
