//! Mutators of notifications, P10 to P12, and of watches that are registered again, P7.

use super::{Asked, Dice, Life};
use gamekeeper_checker::history::*;
use std::collections::BTreeMap;

/// A notification and the read that asked for it, on one connection.
#[derive(Clone, Copy)]
pub struct Told<'h> {
    pub at: usize,
    pub zxid: i64,
    pub event: EventType,
    pub path: &'h str,
    pub process: u32,
}

/// Notifications by answered transactions, of watches set by an answered read on the same
/// connection, of paths that are clear.
fn told<'h>(life: &Life<'h>) -> Vec<Told<'h>> {
    let mut waiting: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let answers: BTreeMap<usize, &Asked<'_>> =
        life.asked.iter().map(|asked| (asked.done, asked)).collect();
    let mut found = Vec::new();
    let history: &'h History = life.history;
    for (at, Record { process, body, .. }) in history.records.iter().enumerate() {
        match body {
            Body::Return { .. } => {
                let watching = answers
                    .get(&at)
                    .filter(|asked| asked.is_read() && watches(asked.op));
                waiting.extend(watching.map(|asked| ((*process, asked.path()), at)));
            }
            Body::Session(_) => waiting.retain(|(other, _), _| other != process),
            Body::Notify { zxid, event, path } => {
                let asked = waiting.remove(&(*process, &**path)).is_some();
                if asked && life.writes.contains_key(zxid) && life.is_clear(path) {
                    let (zxid, event, process) = (*zxid, *event, *process);
                    found.push(Told {
                        at,
                        zxid,
                        event,
                        path,
                        process,
                    });
                }
            }
            Body::Invoke { .. } | Body::Lost { .. } | Body::Ping { .. } | Body::Final => {}
        }
    }
    found
}

/// True if a read asks to be told of the next change.
pub fn watches(op: &Op) -> bool {
    match op {
        Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } => *watch,
        _ => false,
    }
}

/// The answer that follows at once, if it shows as much.
pub fn next_answer(life: &Life<'_>, told: &Told<'_>) -> Option<usize> {
    let later = life.history.records.iter().enumerate().skip(told.at + 1);
    let mut own = later.filter(|(_, record)| record.process == told.process);
    let (at, _) = own.next()?;
    let answer = life.asked.iter().find(|asked| asked.done == at)?;
    let counts = answer.is_read() || answer.is_write() && !matches!(answer.op, Op::Close);
    (counts && answer.zxid >= told.zxid).then_some(at)
}

/// One of these comes behind the next answer that shows as much or more.
pub fn delayed(life: &Life<'_>, told: &[Told<'_>], dice: &mut Dice) -> Option<History> {
    let places = told
        .iter()
        .filter_map(|told| Some((told.at, next_answer(life, told)?)));
    let (early, late) = dice.pick(&places.collect::<Vec<_>>())?;
    let mut history = life.history.clone();
    let mut notification = history.records.remove(early);
    notification.time = history.records[late - 1].time;
    history.records.insert(late, notification);
    Some(history)
}

/// One of these is told again at once.
pub fn doubled(life: &Life<'_>, told: &[Told<'_>], dice: &mut Dice) -> Option<History> {
    let told = dice.pick(told)?;
    let mut history = life.history.clone();
    let again = history.records[told.at].clone();
    history.records.insert(told.at + 1, again);
    Some(history)
}

/// Ahead of one of these comes one of a path that nobody else names.
pub fn of_a_stranger(life: &Life<'_>, told: &[Told<'_>], dice: &mut Dice) -> Option<History> {
    let told = dice.pick(told)?;
    let mut history = life.history.clone();
    let mut other = history.records[told.at].clone();
    other.body = Body::Notify {
        zxid: told.zxid,
        event: EventType::NodeDataChanged,
        path: format!("{}-nobody-asked", told.path).as_str().into(),
    };
    history.records.insert(told.at, other);
    Some(history)
}

/// P10: the next answer that shows as much or more comes first.
pub fn too_late(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    delayed(life, &told(life), dice)
}

/// P11: a notification is told again at once.
pub fn twice(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    doubled(life, &told(life), dice)
}

/// P12: a client is notified of a node it never asked about.
pub fn unasked(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    of_a_stranger(life, &told(life), dice)
}

/// P12: a change of data is told as a creation.
pub fn of_another_type(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = told(life);
    places.retain(|told| told.event == EventType::NodeDataChanged);
    let mut history = life.history.clone();
    if let Body::Notify { event, .. } = &mut history.records[dice.pick(&places)?.at].body {
        *event = EventType::NodeCreated;
    }
    Some(history)
}

/// P7: watches are registered again in a state that has what was asked for afterwards.
pub fn again_too_early(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let blur = 2 * life.history.header.clock_error_ns;
    let writes = || life.writes.values().map(|&number| &life.asked[number]);
    let mut places = Vec::new();
    for (at, record) in life.history.records.iter().enumerate() {
        let Body::Session(SessionEvent::SetWatchesDone { zxid }) = &record.body else {
            continue;
        };
        let later = writes().find(|write| write.call > record.time + blur && write.zxid > *zxid);
        places.extend(later.map(|write| (at, write.zxid)));
    }
    let mut history = life.history.clone();
    let (at, later) = dice.pick(&places)?;
    history.records[at].body = Body::Session(SessionEvent::SetWatchesDone { zxid: later });
    Some(history)
}
