//! The tree at a place of the order, and what a read would have been told there.
//!
//! Used for the words of a failure only: where the judge has no state, nothing is said.

use super::units::{self, Unit};
use super::words;
use crate::history::{Answer, Body, ErrorCode, History, Op, StartNode};
use crate::walk::{Meter, Options, left_by};

/// Prefixes longer than this are not replayed for the sake of words, records.
const RECORDS_MAX: usize = 5_000_000;

/// How many placements of requests of unknown fate may be tried for the sake of words.
const TRIES_MAX: u64 = 200;

/// Whether `unit` was shown, or did, what rights are needed for; of an ACL that was shown it may
/// be the ACL that is wrong.
pub fn was_granted(history: &History, unit: &Unit) -> bool {
    let asked = &history.records[unit.first as usize].body;
    if matches!(
        asked,
        Body::Invoke {
            op: Op::GetAcl { .. },
            ..
        }
    ) {
        return false;
    }
    let answer = unit
        .second
        .map(|answer| &history.records[answer as usize].body);
    matches!(answer, Some(Body::Return { result: Ok(_), .. }))
}

/// What the read in `unit` would have been told by a tree that holds every transaction up to
/// its zxid, in words; None if it was told that, is no read, or there is no such tree.
pub fn right_answer(history: &History, options: &Options, unit: &Unit) -> Option<String> {
    let Body::Invoke { op, .. } = &history.records[unit.first as usize].body else {
        return None;
    };
    let Body::Return { zxid, result, .. } = &history.records[unit.second? as usize].body else {
        return None;
    };
    if !reads(op) || *zxid <= 0 || history.records.len() > RECORDS_MAX {
        return None;
    }
    let nodes = tree_at(history, options, *zxid)?;
    let right = answer_of(op, &nodes)?;
    let differs = match (&right, result) {
        (Err(right), Err(told)) => right != told,
        (Ok(right), Ok(told)) => forget_times(right.clone()) != forget_times(told.clone()),
        (_, _) => true,
    };
    differs.then(|| words::outcome(&right))
}

/// Every node after the transactions up to `zxid`. Reads say nothing: they may be the lie.
fn tree_at(history: &History, options: &Options, zxid: i64) -> Option<Vec<StartNode>> {
    let mut before = History::new(history.header.clone());
    let mut kept: Vec<u32> = Vec::new();
    for unit in units::cut(history) {
        let read = match &history.records[unit.first as usize].body {
            Body::Invoke { op, .. } => reads(op),
            Body::Return { .. } | Body::Notify { .. } => true,
            Body::Lost { .. } | Body::Session(_) | Body::Ping { .. } | Body::Final => false,
        };
        if !read && unit.zxid.is_none_or(|place| place <= zxid) {
            kept.extend(unit.records());
        }
    }
    kept.sort_unstable();
    let records = kept
        .iter()
        .map(|&record| history.records[record as usize].clone());
    before.records = records.collect();
    before.header.txns = None;
    let options = Options {
        tries_max: options.tries_max.min(TRIES_MAX),
        steps_per_item_max: options.steps_per_item_max.min(TRIES_MAX),
        steps_min: options.steps_min.min(TRIES_MAX),
        ..options.clone()
    };
    let left = left_by(&before, &options, &mut Meter::default());
    left.ok().map(|left| left.nodes)
}

fn reads(op: &Op) -> bool {
    match op {
        Op::Exists { .. } | Op::Get { .. } | Op::Children { .. } | Op::GetAcl { .. } => true,
        Op::Create { .. }
        | Op::Delete { .. }
        | Op::Set { .. }
        | Op::SetAcl { .. }
        | Op::Check { .. }
        | Op::Sync { .. }
        | Op::AddWatch { .. }
        | Op::RemoveWatches { .. }
        | Op::Multi { .. }
        | Op::Close => false,
    }
}

/// What a read is told. ACLs are not asked: a denial is explained elsewhere.
fn answer_of(op: &Op, nodes: &[StartNode]) -> Option<Result<Answer, ErrorCode>> {
    let path = op.path()?;
    let Ok(at) = nodes.binary_search_by(|node| (*node.path).cmp(path)) else {
        return Some(Err(ErrorCode::NO_NODE));
    };
    let (node, stat) = (&nodes[at], nodes[at].stat);
    Some(Ok(match op {
        Op::Exists { .. } => Answer::Stat(stat),
        Op::Get { .. } => Answer::Data {
            data: node.data.clone(),
            stat,
        },
        Op::Children { stat: with, .. } => {
            let names = nodes.iter().filter_map(|node| child_of(path, &node.path));
            let names = names.map(Into::into).collect();
            match with {
                true => Answer::NamesStat { names, stat },
                false => Answer::Names(names),
            }
        }
        _ => return None,
    }))
}

/// The name of a child of `parent`.
fn child_of<'a>(parent: &str, path: &'a str) -> Option<&'a str> {
    let name = match parent {
        "/" => path.strip_prefix('/')?,
        _ => path.strip_prefix(parent)?.strip_prefix('/')?,
    };
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Wall clock times are learnt from what was told, so they never differ; order of names says nothing.
fn forget_times(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Stat(stat) | Answer::Data { stat, .. } => (stat.ctime, stat.mtime) = (0, 0),
        Answer::Names(names) => names.sort(),
        Answer::NamesStat { names, stat } => {
            names.sort();
            (stat.ctime, stat.mtime) = (0, 0);
        }
        Answer::Done
        | Answer::Path(_)
        | Answer::Created { .. }
        | Answer::Acl { .. }
        | Answer::Multi(_) => {}
    }
    answer
}
