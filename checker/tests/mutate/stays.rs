//! Mutators of what watches that stay are told: P10 to P12.

use super::watch::watches;
use super::{Asked, Dice, Life};
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet};

/// A notification that nothing but watches that stay explains, on one connection.
#[derive(Clone, Copy)]
struct Told<'h> {
    at: usize,
    zxid: i64,
    event: EventType,
    path: &'h str,
    process: u32,
    /// A list of this connection's watches sees the lists above it, too.
    listed: bool,
}

fn sees((path, mode): &(&str, WatchMode), event: EventType, other: &str) -> bool {
    match mode {
        WatchMode::Persistent => *path == other,
        WatchMode::Recursive => {
            let rest = other.strip_prefix(path.trim_end_matches('/'));
            let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            below && event != EventType::NodeChildrenChanged
        }
    }
}

/// Those by answered transactions, of paths that are clear.
fn told<'h>(life: &Life<'h>) -> Vec<Told<'h>> {
    let mut staying: BTreeMap<u32, BTreeSet<(&str, WatchMode)>> = BTreeMap::new();
    let answers: BTreeMap<usize, &Asked<'_>> =
        life.asked.iter().map(|asked| (asked.done, asked)).collect();
    let once: BTreeSet<(u32, &str)> = life
        .asked
        .iter()
        .filter(|asked| watches(asked.op))
        .map(|asked| (asked.process, asked.path()))
        .collect();
    let mut found = Vec::new();
    let history: &'h History = life.history;
    for (at, Record { process, body, .. }) in history.records.iter().enumerate() {
        let own = staying.entry(*process).or_default();
        match body {
            Body::Return { result: Ok(_), .. } => match answers.get(&at).map(|asked| asked.op) {
                Some(Op::AddWatch { path, mode }) => drop(own.insert((path, *mode))),
                Some(Op::RemoveWatches { path, .. }) => own.retain(|(other, _)| *other != &**path),
                Some(Op::Close) => own.clear(),
                Some(_) | None => {}
            },
            Body::Session(_) => own.clear(),
            Body::Notify { zxid, event, path } => {
                let (process, path): (u32, &'h str) = (*process, path);
                let seen = own.iter().any(|stays| sees(stays, *event, path));
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let listed = own.contains(&(parent, WatchMode::Persistent))
                    || parent.is_empty()
                    || once.contains(&(process, parent));
                let alone = seen && !once.contains(&(process, path));
                if alone && life.writes.contains_key(zxid) && life.is_clear(path) {
                    found.push(Told {
                        at,
                        zxid: *zxid,
                        event: *event,
                        path,
                        process,
                        listed,
                    });
                }
            }
            Body::Return { .. }
            | Body::Invoke { .. }
            | Body::Lost { .. }
            | Body::Ping { .. }
            | Body::Final => {}
        }
    }
    found
}

/// The answer that follows at once, if it shows as much.
fn next_answer(life: &Life<'_>, told: &Told<'_>) -> Option<usize> {
    let answers: BTreeMap<usize, &Asked<'_>> =
        life.asked.iter().map(|asked| (asked.done, asked)).collect();
    let later = life.history.records.iter().enumerate().skip(told.at + 1);
    let mut own = later.filter(|(_, record)| record.process == told.process);
    let (at, _) = own.next()?;
    let answer = answers.get(&at)?;
    let counts = answer.is_read() || answer.is_write() && !matches!(answer.op, Op::Close);
    (counts && answer.zxid >= told.zxid).then_some(at)
}

/// P10: the next answer that shows as much or more comes first.
pub fn too_late(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let all = told(life).into_iter();
    let places: Vec<(usize, usize)> = all
        .filter_map(|told| Some((told.at, next_answer(life, &told)?)))
        .collect();
    let (early, late) = dice.pick(&places)?;
    let mut history = life.history.clone();
    let mut notification = history.records.remove(early);
    notification.time = history.records[late - 1].time;
    history.records.insert(late, notification);
    Some(history)
}

/// P11: a change is not told, though something newer is.
pub fn skipped(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = told(life);
    places.retain(|told| next_answer(life, told).is_some());
    let mut history = life.history.clone();
    history.records.remove(dice.pick(&places)?.at);
    Some(history)
}

/// P11: a change is told again at once.
pub fn twice(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let told = dice.pick(&told(life))?;
    let mut history = life.history.clone();
    let again = history.records[told.at].clone();
    history.records.insert(told.at + 1, again);
    Some(history)
}

/// P12: a client is told of a node that nobody ever made.
pub fn of_nothing(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let told = dice.pick(&told(life))?;
    let mut history = life.history.clone();
    let mut other = history.records[told.at].clone();
    other.body = Body::Notify {
        zxid: told.zxid,
        event: EventType::NodeDataChanged,
        path: format!("{}-nobody-made", told.path).as_str().into(),
    };
    history.records.insert(told.at, other);
    Some(history)
}

/// P12: a recursive watch is told that a list changed (ZOOKEEPER-4475).
pub fn of_a_list(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = told(life);
    places.retain(|told| {
        let came_or_went = matches!(told.event, EventType::NodeCreated | EventType::NodeDeleted);
        came_or_went && !told.listed
    });
    let told = dice.pick(&places)?;
    let mut history = life.history.clone();
    let mut list = history.records[told.at].clone();
    list.body = Body::Notify {
        zxid: told.zxid,
        event: EventType::NodeChildrenChanged,
        path: told.path.rsplit_once('/')?.0.into(),
    };
    history.records.insert(told.at + 1, list);
    Some(history)
}
