//! Notifications: each wanted, each once, each before what it announces.
//!
//! Two passes over every client's stream of records. The first only counts: a notification
//! needs a registration that has not been used up. The second, after the walk, knows when
//! every registration fires: the notification must be that one, and nothing newer may come
//! before it. That states a lost watch as a safety property; no timeout is needed.
//!
//! Answers to: `consistency.md` P10 to P12, P20; `protocol.md` section 12.

use super::case::{Case, Request, Role};
use super::replay::Replay;
use super::times::records;
use crate::history::{Body, ErrorCode, EventType, Op, Record, SessionEvent};
use crate::model::{Access, Event, Tree, Who};
use crate::verdict::{Class, Property, Violation};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// READ permission, which the receiver of an event needs.
const READ: i32 = 1;

/// The server's two tables of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Data,
    Child,
}

/// One registration that has not fired as far as the client knows.
#[derive(Debug, Clone, Copy)]
struct Live<'h> {
    path: &'h str,
    /// The answer that made it.
    record: u32,
    /// What it fires on, if anything.
    fires: Option<Event>,
    /// The first event it must have fired by, seen or not what came before.
    certain: Option<Event>,
    /// Made by setWatches, so that only requests sent after its answer convict.
    again: bool,
}

type Key<'h> = (Table, &'h str);

/// What one connection's server knows of its client's watches.
#[derive(Default)]
struct Connection<'h> {
    live: BTreeMap<Key<'h>, Live<'h>>,
    /// Registrations by the zxid at which they fire.
    due: BTreeSet<(i64, Key<'h>)>,
    used_up: BTreeSet<Key<'h>>,
    /// Perhaps registered: the request was lost, or its prefix is not known.
    perhaps: BTreeSet<Key<'h>>,
    /// setWatches frames on their way.
    again: VecDeque<u32>,
    again_done: u32,
    /// Notifications that only a setWatches on its way explains.
    caught_up: Vec<(EventType, &'h str, u32)>,
    last_zxid: i64,
    /// The answer that showed most so far: its zxid and record.
    newest_answer: Option<(i64, u32)>,
    who: Option<Who>,
}

impl<'h> Connection<'h> {
    fn remove(&mut self, key: Key<'h>) -> Option<Live<'h>> {
        let live = self.live.remove(&key)?;
        if let Some(event) = live.certain {
            self.due.remove(&(event.zxid, key));
        }
        self.used_up.insert(key);
        Some(live)
    }
}

struct Watcher<'c, 'h> {
    case: &'c Case<'h>,
    /// The walk, once it is done.
    replay: Option<&'c Replay<'c, 'h>>,
    tree: Option<&'c Tree<'h>>,
    open_world: bool,
    connections: FxHashMap<u32, Connection<'h>>,
    matched: usize,
}

/// Tells the tree of which paths the events will be asked for.
pub fn watch_paths(replay: &mut Replay<'_, '_>) {
    let case = replay.case;
    for request in &case.requests {
        if registers(request.op).is_some() {
            replay.tree.watch(request.path);
        }
    }
    for record in &case.history.records {
        match &record.body {
            Body::Notify { path, .. } => watch(replay, path),
            Body::Session(SessionEvent::SetWatches {
                data, exist, child, ..
            }) => {
                data.iter()
                    .chain(exist)
                    .chain(child)
                    .for_each(|path| watch(replay, path));
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

/// The first pass: P11 and P12 by counting.
///
/// # Errors
/// The first violation.
pub fn check_counts(case: &Case<'_>) -> Result<(), Box<Violation>> {
    Watcher {
        case,
        replay: None,
        tree: None,
        open_world: true,
        connections: FxHashMap::default(),
        matched: 0,
    }
    .run()
    .map(|_| ())
}

/// The second pass, with the order known: P10, P12, P20. Returns how many notifications
/// were matched.
///
/// # Errors
/// The first violation.
pub fn check<'c, 'h>(replay: &'c Replay<'c, 'h>) -> Result<usize, Box<Violation>> {
    let (case, open_world) = (replay.case, replay.open_world());
    Watcher {
        case,
        replay: Some(replay),
        tree: Some(&replay.tree),
        open_world,
        connections: FxHashMap::default(),
        matched: 0,
    }
    .run()
}

/// The table a read with a watch registers in.
fn registers(op: &Op) -> Option<Table> {
    match op {
        Op::Exists { watch: true, .. } | Op::Get { watch: true, .. } => Some(Table::Data),
        Op::Children { watch: true, .. } => Some(Table::Child),
        _ => None,
    }
}

fn tables_of(event: EventType) -> &'static [Table] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[Table::Data],
        EventType::NodeDeleted => &[Table::Data, Table::Child],
        EventType::NodeChildrenChanged => &[Table::Child],
    }
}

impl<'c, 'h> Watcher<'c, 'h> {
    fn run(mut self) -> Result<usize, Box<Violation>> {
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
            connection.live.clear();
            connection.due.clear();
        }
        let (Some(table), Some(path)) = (registers(request.op), request.op.path()) else {
            return Ok(());
        };
        let key = (table, &**path);
        let stays = match (request.op, request.answer) {
            (_, None) => {
                connection.perhaps.insert(key);
                return Ok(());
            }
            (_, Some(Ok(_))) => true,
            (Op::Exists { .. }, Some(Err(code))) => *code == ErrorCode::NO_NODE,
            (_, Some(Err(_))) => false,
        };
        if stays && request.role == Role::ReadSomewhere {
            connection.perhaps.insert(key);
        } else if stays {
            self.register(process, key, request.zxid, index, false);
        }
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
            return Ok(());
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

    /// True if an event must reach whoever waits for it: it surely happened, and surely
    /// everybody may read the node.
    fn must_arrive(&self, event: Event, path: &str) -> bool {
        let Some(replay) = self.replay else {
            return false;
        };
        let Some(path) = replay.tree.paths.find(path) else {
            return false;
        };
        replay.surely_fired(event.zxid, event.event, path)
            && !replay.tree.was_ever_closed(path)
            && !replay.could_have_acl(path)
    }

    fn register(&mut self, process: u32, key: Key<'h>, zxid: i64, record: u32, again: bool) {
        let fires = self.events_after(key, zxid).next();
        let certain = self
            .events_after(key, zxid)
            .find(|&event| self.must_arrive(event, key.1));
        let connection = self.connections.entry(process).or_default();
        if let Some(known) = connection.live.get(&key).copied() {
            // One that fired unseen, because the node was not to be read, is used up.
            if known.fires.is_none_or(|event| event.zxid > zxid) {
                return;
            }
            connection.remove(key);
        }
        if let Some(event) = certain {
            connection.due.insert((event.zxid, key));
        }
        let live = Live {
            path: key.1,
            record,
            fires,
            certain,
            again,
        };
        connection.live.insert(key, live);
    }

    /// The events after `zxid` that a registration can fire on.
    fn events_after(&self, (table, path): Key<'h>, zxid: i64) -> impl Iterator<Item = Event> + '_ {
        let events = self.events(path);
        let start = events.partition_point(|event| event.zxid <= zxid);
        events[start..]
            .iter()
            .filter(move |event| tables_of(event.event).contains(&table))
            .copied()
    }

    /// True if something that nobody was told of could have fired `event` on a path.
    fn could_have_fired(&self, event: EventType, path: &str) -> bool {
        self.replay.is_some_and(|replay| {
            let path = replay.tree.paths.find(path);
            path.is_some_and(|path| replay.could_have_fired(event, path))
        })
    }

    /// True if something that nobody was told of could have changed a path at all.
    fn is_murky(&self, path: &str) -> bool {
        [
            EventType::NodeCreated,
            EventType::NodeDeleted,
            EventType::NodeDataChanged,
            EventType::NodeChildrenChanged,
        ]
        .into_iter()
        .any(|event| self.could_have_fired(event, path))
    }

    fn events(&self, path: &str) -> &[Event] {
        self.tree
            .and_then(|tree| tree.paths.find(path).map(|path| tree.events(path)))
            .unwrap_or(&[])
    }

    fn notified(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &'h str,
    ) -> Result<(), Box<Violation>> {
        self.matched += 1;
        self.check_in_time(index, process, zxid, path)?;
        let keys = || tables_of(event).iter().map(|&table| (table, path));
        let connection = self.connections.entry(process).or_default();
        let fits = |live: &Live<'h>| {
            self.tree.is_none()
                || live
                    .fires
                    .is_some_and(|fires| fires.event == event && (zxid <= 0 || fires.zxid == zxid))
        };
        let fired: Vec<(Key<'h>, Live<'h>)> = keys()
            .filter_map(|key| {
                connection
                    .live
                    .get(&key)
                    .filter(|live| fits(live))
                    .map(|live| (key, *live))
            })
            .collect();
        // Whatever else was registered there has fired with it: a second notification
        // needs a registration of its own.
        let mut perhaps = false;
        for key in keys() {
            if connection.perhaps.remove(&key) {
                connection.used_up.insert(key);
                perhaps = true;
            }
        }
        if let Some(&(_, live)) = fired.first() {
            for (key, _) in fired {
                connection.remove(key);
            }
            return match live.fires {
                Some(fires) => self.check_order(index, process, fires, live),
                None => Ok(()),
            };
        }
        let waiting: Vec<Key<'h>> = keys()
            .filter(|key| connection.live.contains_key(key))
            .collect();
        if !waiting.is_empty() && self.could_have_fired(event, path) {
            let connection = self.connections.entry(process).or_default();
            for key in waiting {
                connection.remove(key);
            }
            return Ok(());
        }
        let connection = self.connections.entry(process).or_default();
        if perhaps {
            return Ok(());
        }
        if !connection.again.is_empty() {
            connection.caught_up.push((event, path, index));
            return Ok(());
        }
        self.unexplained(index, process, event, path)
    }

    /// P10 for a notification that names its transaction, whoever asked for it and when: a
    /// server tells it as it applies the transaction, before anything that shows as much.
    fn check_in_time(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        path: &str,
    ) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        let Some((newest, answer)) = connection.newest_answer else {
            return Ok(());
        };
        if self.replay.is_none() || zxid <= 0 || zxid > newest {
            return Ok(());
        }
        let reason = format!(
            "a notification of {path} at {zxid:#x} came after an answer that showed {newest:#x}"
        );
        Err(self.violation(Property::WatchBeforeData, &[answer, index], reason))
    }

    fn unexplained(
        &mut self,
        index: u32,
        process: u32,
        event: EventType,
        path: &'h str,
    ) -> Result<(), Box<Violation>> {
        let connection = &self.connections[&process];
        let mut keys = tables_of(event).iter().map(|&table| (table, path));
        let live = keys.clone().find_map(|key| connection.live.get(&key));
        if let Some(live) = live {
            if self.open_world {
                return Ok(());
            }
            let due = live.fires.map_or("nothing".to_string(), |fires| {
                format!("{} at {:#x}", fires.event.name(), fires.zxid)
            });
            let reason = format!("the watch on {path} can only have fired on {due}");
            return Err(self.violation(Property::WatchNotSpurious, &[live.record, index], reason));
        }
        match keys.any(|key| connection.used_up.contains(&key)) {
            true => {
                let reason = format!("a second notification came for one registration on {path}");
                Err(self.violation(Property::WatchOneShot, &[index], reason))
            }
            false => {
                let reason = format!(
                    "nothing on this connection was waiting for {} on {path}",
                    event.name()
                );
                Err(self.violation(Property::WatchNotSpurious, &[index], reason))
            }
        }
    }

    /// P10 and P12 among notifications, and P20 for this one.
    fn check_order(
        &mut self,
        index: u32,
        process: u32,
        fires: Event,
        live: Live<'h>,
    ) -> Result<(), Box<Violation>> {
        // Where the transaction was only placed by the walk, its number proves nothing.
        let path = self
            .replay
            .and_then(|replay| replay.tree.paths.find(live.path));
        let sure =
            |replay: &Replay<'_, '_>, path| replay.surely_fired(fires.zxid, fires.event, path);
        if !self
            .replay
            .zip(path)
            .is_some_and(|(replay, path)| sure(replay, path))
        {
            return Ok(());
        }
        let connection = self.connections.entry(process).or_default();
        if fires.zxid < connection.last_zxid {
            let reason = format!(
                "a notification of {:#x} came after one of {:#x}",
                fires.zxid, connection.last_zxid
            );
            return Err(self.violation(Property::WatchNotSpurious, &[live.record, index], reason));
        }
        connection.last_zxid = fires.zxid;
        let who = connection.who;
        if let Some(&(zxid, key)) = connection.due.first()
            && zxid < fires.zxid
        {
            let other = connection.live[&key];
            let reason = format!(
                "the watch on {} fires before the one that was notified at {:#x}",
                key.1, fires.zxid
            );
            return Err(self.violation(Property::WatchBeforeData, &[other.record, index], reason));
        }
        if let (Some(who), Some(tree)) = (who, self.tree)
            && tree.acls.access(fires.acl, READ, who) == Access::No
        {
            let reason = "a client was notified of a node that it may not read".to_string();
            return Err(self.violation(Property::AccessControl, &[live.record, index], reason));
        }
        Ok(())
    }

    fn session_event(
        &mut self,
        index: u32,
        process: u32,
        event: &'h SessionEvent,
    ) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        match event {
            SessionEvent::Connecting { .. }
            | SessionEvent::Connected { .. }
            | SessionEvent::Disconnected
            | SessionEvent::Expired { .. }
            | SessionEvent::Abandoned { .. } => *connection = Connection::default(),
            SessionEvent::SetWatches { .. } => connection.again.push_back(index),
            SessionEvent::SetWatchesDone { zxid } => {
                connection.again_done = index;
                if let Some(sent) = connection.again.pop_front() {
                    return self.registered_again(index, process, sent, *zxid);
                }
            }
            SessionEvent::Auth { .. } | SessionEvent::AuthDone { .. } => connection.who = None,
        }
        Ok(())
    }

    /// A setWatches was answered at `zxid`: what had changed must have been told by now, the
    /// rest is registered.
    fn registered_again(
        &mut self,
        index: u32,
        process: u32,
        sent: u32,
        zxid: i64,
    ) -> Result<(), Box<Violation>> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
        }) = &self.case.history.records[sent as usize].body
        else {
            return Ok(());
        };
        let mut due = Vec::new();
        let lists = [
            (data, Table::Data, false),
            (exist, Table::Data, true),
            (child, Table::Child, false),
        ];
        for (list, table, for_creation) in lists {
            for path in list {
                if self.tree.is_none() || self.open_world || self.is_murky(path) {
                    let connection = self.connections.entry(process).or_default();
                    connection.perhaps.insert((table, path));
                    continue;
                }
                match self.caught_up_by(path, table, for_creation, *relative_zxid, zxid) {
                    Some(event) => due.push((event, &**path)),
                    None => self.register(process, (table, path), zxid, index, true),
                }
            }
        }
        let connection = self.connections.entry(process).or_default();
        for &(event, path) in &due {
            let told = connection
                .caught_up
                .iter()
                .any(|&(seen, at, _)| (seen, at) == (event, path));
            if !told {
                let reason = format!(
                    "{} of {path} was missed while disconnected and never made up for",
                    event.name()
                );
                return Err(self.violation(Property::WatchBeforeData, &[sent, index], reason));
            }
        }
        let perhaps = &connection.perhaps;
        connection.caught_up.retain(|&(seen, at, _)| {
            let murky = tables_of(seen)
                .iter()
                .any(|&table| perhaps.contains(&(table, at)));
            !murky && !due.contains(&(seen, at))
        });
        if connection.again.is_empty() {
            let left = std::mem::take(&mut connection.caught_up);
            for (event, path, record) in left {
                if self.tree.is_some() && !self.open_world {
                    let reason =
                        format!("setWatches had no cause to tell {} of {path}", event.name());
                    return Err(self.violation(
                        Property::WatchNotSpurious,
                        &[sent, record, index],
                        reason,
                    ));
                }
            }
        }
        Ok(())
    }

    /// The event that setWatches makes up for, in the state after `zxid`; None if the watch
    /// is registered instead.
    fn caught_up_by(
        &self,
        path: &str,
        table: Table,
        for_creation: bool,
        relative: i64,
        zxid: i64,
    ) -> Option<EventType> {
        let events = self.events(path);
        let past = &events[..events.partition_point(|event| event.zxid <= zxid)];
        let came_or_went =
            |event: &&Event| matches!(event.event, EventType::NodeCreated | EventType::NodeDeleted);
        let exists = match past.iter().rev().find(came_or_went) {
            Some(last) => last.event == EventType::NodeCreated,
            None => match events.iter().find(came_or_went) {
                Some(next) => next.event == EventType::NodeDeleted,
                None => self.tree.is_some_and(|tree| {
                    tree.paths
                        .find(path)
                        .is_some_and(|path| tree.node(path).exists)
                }),
            },
        };
        if for_creation {
            return exists.then_some(EventType::NodeCreated);
        }
        if !exists {
            return Some(EventType::NodeDeleted);
        }
        let changed_after = |wanted: EventType| {
            let changes = past.iter().rev();
            let mut changes = changes
                .filter(|event| event.event == wanted || event.event == EventType::NodeCreated);
            changes.next().is_some_and(|last| last.zxid > relative)
        };
        match table {
            Table::Data => {
                changed_after(EventType::NodeDataChanged).then_some(EventType::NodeDataChanged)
            }
            Table::Child => changed_after(EventType::NodeChildrenChanged)
                .then_some(EventType::NodeChildrenChanged),
        }
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
