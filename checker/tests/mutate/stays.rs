//! Mutators of what watches that stay are told: P10 to P12.

use super::watch::{Told, delayed, doubled, next_answer, of_a_stranger, watches};
use super::{Asked, Dice, Life};
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet};

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

/// Notifications that nothing but watches that stay explains, on one connection, by answered
/// transactions, of paths that are clear; and whether a list of this connection's watches sees
/// the lists above, too.
fn told_or_listed<'h>(life: &Life<'h>) -> Vec<(Told<'h>, bool)> {
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
                    let (zxid, event) = (*zxid, *event);
                    let told = Told {
                        at,
                        zxid,
                        event,
                        path,
                        process,
                    };
                    found.push((told, listed));
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

fn told<'h>(life: &Life<'h>) -> Vec<Told<'h>> {
    let all = told_or_listed(life).into_iter();
    all.map(|(told, _)| told).collect()
}

/// P10: the next answer that shows as much or more comes first.
pub fn too_late(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    delayed(life, &told(life), dice)
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
    doubled(life, &told(life), dice)
}

/// P12: a client is told of a node that nobody ever made.
pub fn of_nothing(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    of_a_stranger(life, &told(life), dice)
}

/// P12: a recursive watch is told that a list changed (ZOOKEEPER-4475).
pub fn of_a_list(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = told_or_listed(life);
    places.retain(|(told, listed)| {
        let came_or_went = matches!(told.event, EventType::NodeCreated | EventType::NodeDeleted);
        came_or_went && !listed
    });
    let (told, _) = dice.pick(&places)?;
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
