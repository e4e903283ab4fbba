//! Where others wrote too: a replay in which every change that nobody recorded is a free write.
//!
//! Along the zxids each path is what it was last seen to be, until it is seen to be otherwise;
//! then somebody who was not recorded must have written, and this says whether he can have:
//! after the path was last seen, by a transaction whose number no recorded request has, with
//! versions that only grow. It shares no line with the judge's room of open worlds, and proves
//! less: not that lists agree with their members, not counters, not rights.
//!
//! Answers to: `consistency.md` 3.2, open world.

use super::asked::Asked;
use super::{Refusal, refuse};
use crate::history::{Answer, ErrorCode, Op, Record, Stat, SubAnswer, Value};
use rustc_hash::{FxHashMap, FxHashSet};

/// Below this servers write without transactions.
const SYSTEM: &str = "/zookeeper";

/// A node, or that there is none, as somebody was told.
#[derive(Clone, Copy)]
struct Told<'h> {
    path: &'h str,
    stat: Option<Stat>,
    data: Option<Option<&'h Value>>,
}

/// A path as it was seen last.
struct Seen {
    zxid: i64,
    stat: Option<Stat>,
}

#[derive(Default)]
struct Free<'h> {
    seen: FxHashMap<&'h str, Seen>,
    /// What was written to a path at an mzxid.
    bytes: FxHashMap<(&'h str, i64), Option<&'h Value>>,
    /// The paths that recorded transactions made or wrote.
    wrote: FxHashMap<i64, FxHashSet<&'h str>>,
}

/// Checks answers, in the order of their zxids.
///
/// # Errors
/// One that no free write explains.
pub fn check(answered: &[&Asked<&Record>]) -> Result<(), Refusal> {
    let mut free = Free::default();
    for asked in answered.iter().filter(|asked| asked.kind.is_transaction()) {
        if let Some((_, zxid, result)) = asked.answer() {
            let parts = parts(asked.op(), result);
            free.wrote.insert(zxid, written(&parts));
            free.bytes.extend(made(zxid, &parts));
        }
    }
    for asked in answered {
        if let Some((_, zxid, result)) = asked.answer() {
            let mut told = told_by(zxid, parts(asked.op(), result)).into_iter();
            told.try_for_each(|told| free.take(zxid, asked.invoke, told))?;
        }
    }
    Ok(())
}

/// A request, or a part of one that was done, and what was answered.
type Part<'h> = (&'h Op, &'h SubAnswer);

fn parts<'h>(op: &'h Op, result: &'h SubAnswer) -> Vec<Part<'h>> {
    match (op, result) {
        (Op::Multi { ops }, Ok(Answer::Multi(results))) => {
            let done = results.iter().all(Result::is_ok);
            ops.iter().zip(results).filter(|_| done).collect()
        }
        part => vec![part],
    }
}

fn subject<'h>((op, result): Part<'h>) -> Option<&'h str> {
    match result {
        Ok(Answer::Path(path) | Answer::Created { path, .. }) => Some(path),
        Ok(_) | Err(_) => op.path().map(|path| &**path),
    }
}

fn written<'h>(parts: &[Part<'h>]) -> FxHashSet<&'h str> {
    let done = parts.iter().filter(|(_, result)| result.is_ok());
    let writes = done.filter(|(op, _)| matches!(op, Op::Create { .. } | Op::Set { .. }));
    writes.filter_map(|part| subject(*part)).collect()
}

/// The bytes of nodes whose creation was answered without a Stat.
fn made<'h>(zxid: i64, parts: &[Part<'h>]) -> Vec<((&'h str, i64), Option<&'h Value>)> {
    let sets = |path: &str| {
        let set = |op: &Op| matches!(op, Op::Set { path: set, .. } if **set == *path);
        parts.iter().any(|(op, _)| set(op))
    };
    let bytes = parts.iter().filter_map(|part| match part {
        (Op::Create { data, .. }, Ok(Answer::Path(path))) if !sets(path) => {
            Some(((&**path, zxid), data.as_ref()))
        }
        (_, _) => None,
    });
    bytes.collect()
}

/// What an answer tells of paths, as they were when all of it was done; of several parts about
/// one path the last.
fn told_by(zxid: i64, parts: Vec<Part<'_>>) -> Vec<Told<'_>> {
    let mut all: Vec<Told<'_>> = Vec::new();
    // Nodes that came and went from the part in hand on, each one more or less.
    let mut later: Vec<(&str, i32)> = Vec::new();
    // Made without a word of how, so that nothing earlier counts.
    let mut made = Vec::new();
    for part in parts.into_iter().rev() {
        let Some(path) = subject(part) else {
            continue;
        };
        match part {
            (Op::Create { .. }, Ok(_)) => later.push((path, 1)),
            (Op::Delete { .. }, Ok(_)) => later.push((path, -1)),
            (_, _) => {}
        }
        if path.starts_with(SYSTEM) || made.contains(&path) {
            continue;
        }
        let told = |stat, data| Some(Told { path, stat, data });
        let there = |stat: &Stat, data| told(Some(after(*stat, zxid, path, &later)), data);
        let gone = told(None, None);
        let told = match part {
            (Op::Delete { .. }, Ok(_)) => gone,
            (Op::Create { .. }, Err(_)) => None,
            (Op::Create { .. }, Ok(Answer::Path(_))) => {
                made.push(path);
                None
            }
            (_, Err(code)) if *code == ErrorCode::NO_NODE => gone,
            (Op::Create { data, .. }, Ok(Answer::Created { stat, .. }))
            | (Op::Set { data, .. }, Ok(Answer::Stat(stat))) => there(stat, Some(data.as_ref())),
            (_, Ok(Answer::Data { data, stat })) => there(stat, Some(data.as_ref())),
            (
                _,
                Ok(Answer::Stat(stat) | Answer::Acl { stat, .. } | Answer::NamesStat { stat, .. }),
            ) => there(stat, None),
            (_, _) => None,
        };
        if let Some(told) = told.filter(|told| all.iter().all(|other| other.path != told.path)) {
            all.push(told);
        }
    }
    all
}

/// The Stat of a node after children of it came and went at `zxid`.
fn after(mut stat: Stat, zxid: i64, path: &str, later: &[(&str, i32)]) -> Stat {
    let parent = |child: &str| child.rfind('/').map(|end| end.max(1));
    for (child, more) in later {
        if parent(child) == Some(path.len()) && child.starts_with(path) {
            stat.pzxid = zxid;
            stat.cversion = stat.cversion.wrapping_add(1);
            stat.num_children = stat.num_children.wrapping_add(*more);
        }
    }
    stat
}

impl<'h> Free<'h> {
    fn take(&mut self, zxid: i64, asked: usize, told: Told<'h>) -> Result<(), Refusal> {
        let Told { path, stat, data } = told;
        let no = |why: &str| refuse("F", asked, format!("{path} at {zxid:#x}: {why}"));
        if let Some(stat) = stat {
            if stat.mzxid < stat.czxid || stat.mzxid > zxid || stat.pzxid > zxid {
                return no("its Stat is of another time");
            }
            for written in [stat.czxid, stat.mzxid] {
                let recorded = self.wrote.get(&written);
                if recorded.is_some_and(|paths| !paths.contains(path)) {
                    return no("the recorded request at a zxid of its Stat wrote elsewhere");
                }
            }
            let known = data.map(|data| *self.bytes.entry((path, stat.mzxid)).or_insert(data));
            if known != data {
                return no("one write left two values");
            }
        }
        let before = self.seen.insert(path, Seen { zxid, stat });
        let Some(before) = before else {
            return Ok(());
        };
        match (before.stat, stat) {
            (_, None) if before.zxid == zxid && before.stat.is_some() => no("it was there"),
            (_, None) => Ok(()),
            (None, Some(stat)) if stat.czxid <= before.zxid => {
                no("it was not there, though it had been made before")
            }
            (None, Some(_)) => Ok(()),
            (Some(old), Some(new)) => match between(before.zxid, &old, &new, zxid) {
                Some(why) => no(why),
                None => Ok(()),
            },
        }
    }
}

/// Why no free writes lead from one Stat to another, if none do.
fn between(before: i64, old: &Stat, new: &Stat, zxid: i64) -> Option<&'static str> {
    if before == zxid && old != new {
        return Some("one state was told as two");
    }
    if old.czxid != new.czxid {
        return (new.czxid <= before).then_some("another node had its place");
    }
    let (wrote, children) = (old.mzxid != new.mzxid, old.pzxid != new.pzxid);
    let back =
        new.version < old.version || new.cversion < old.cversion || new.aversion < old.aversion;
    if back || wrote != (old.version != new.version) || children != (old.cversion != new.cversion) {
        return Some("its versions do not follow");
    }
    if wrote && new.mzxid <= before || children && new.pzxid <= before {
        return Some("it was seen without a change that had happened");
    }
    let fixed = (old.ctime, old.ephemeral_owner) == (new.ctime, new.ephemeral_owner);
    let data = wrote || (old.mtime, old.data_length) == (new.mtime, new.data_length);
    let counted = children || old.num_children == new.num_children;
    (!(fixed && data && counted)).then_some("something changed without a write")
}
