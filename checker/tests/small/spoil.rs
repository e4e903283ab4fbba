//! Ways to spoil a small history: most leave something that nothing explains, some only
//! hide what was known. The result is always something a recorder could have written.

use super::Dice;
use gamekeeper_checker::history::*;

/// Changes one thing somewhere, drawn from the dice; some histories offer nothing to change.
pub fn spoil(history: &mut History, dice: &mut Dice) {
    let answers: Vec<usize> = (0..history.records.len())
        .filter(|&index| matches!(history.records[index].body, Body::Return { .. }))
        .collect();
    if answers.is_empty() {
        return;
    }
    let at = answers[dice.below(answers.len())];
    match dice.below(10) {
        0 => {
            if let Body::Return { zxid, .. } = &mut history.records[at].body {
                *zxid += [-2, -1, 1, 2][dice.below(4)];
            }
        }
        1 => swap_zxids(history, at, answers[dice.below(answers.len())]),
        2..=3 => other_answer(history, at, dice),
        4 => other_time(history, at, dice),
        5 => forget(history, at),
        6 => lose(history, at),
        7 => other_question(history, dice),
        8 => {
            // An old answer again: what another read of the same thing was told.
            let other = answers[dice.below(answers.len())];
            if asked(history, at) == asked(history, other) {
                let told = history.records[other].body.clone();
                if let (
                    Body::Return { zxid, result, .. },
                    Body::Return {
                        zxid: z, result: r, ..
                    },
                ) = (&mut history.records[at].body, told)
                {
                    *result = r;
                    if dice.one_in(2) {
                        *zxid = z;
                    }
                }
            }
        }
        _ => other_session(history, dice),
    }
}

/// Changes one notification: when it comes, whether, how often, what it says.
pub fn spoil_told(history: &mut History, dice: &mut Dice) {
    let told: Vec<usize> = (0..history.records.len())
        .filter(|&index| matches!(history.records[index].body, Body::Notify { .. }))
        .collect();
    if told.is_empty() {
        return;
    }
    let at = told[dice.below(told.len())];
    match dice.below(5) {
        0 => drop(history.records.remove(at)),
        1 => history.records.insert(at, history.records[at].clone()),
        2 => {
            if let Body::Notify { event, .. } = &mut history.records[at].body {
                *event = [
                    EventType::NodeCreated,
                    EventType::NodeDeleted,
                    EventType::NodeDataChanged,
                    EventType::NodeChildrenChanged,
                ][dice.below(4)];
            }
        }
        // Before, or behind, some others of its client.
        earlier => {
            let mut record = history.records.remove(at);
            let to = match earlier {
                3 => at.saturating_sub(1 + dice.below(4)),
                _ => (at + 1 + dice.below(4)).min(history.records.len()),
            };
            let neighbour = to.min(history.records.len() - 1);
            record.time = history.records[neighbour].time;
            history.records.insert(to, record);
        }
    }
}

/// Changes zxids and nothing else: of headers or of a Stat.
pub fn spoil_zxids(history: &mut History, dice: &mut Dice) {
    let answers: Vec<usize> = (0..history.records.len())
        .filter(|&index| matches!(history.records[index].body, Body::Return { .. }))
        .collect();
    if answers.is_empty() {
        return;
    }
    for _ in 0..1 + dice.below(3) {
        let at = answers[dice.below(answers.len())];
        if dice.one_in(3) {
            swap_zxids(history, at, answers[dice.below(answers.len())]);
        } else if let Body::Return { zxid, result, .. } = &mut history.records[at].body {
            let by = [-2, -1, 1, 2][dice.below(4)];
            match result {
                Ok(Answer::Data { stat, .. } | Answer::Stat(stat)) if dice.one_in(2) => {
                    stat.mzxid += by;
                }
                Ok(_) | Err(_) => *zxid += by,
            }
        }
    }
}

/// The record that asks what the record at `at` answers.
fn invoke_of(history: &History, at: usize) -> Option<usize> {
    let (process, number) = match &history.records[at] {
        Record {
            process,
            body: Body::Return { xid, .. } | Body::Lost { xid },
            ..
        } => (*process, *xid),
        _ => return None,
    };
    history.records[..at].iter().rposition(|record| {
        record.process == process
            && matches!(record.body, Body::Invoke { xid, .. } if xid == number)
    })
}

fn asked(history: &History, at: usize) -> Option<Op> {
    match &history.records[invoke_of(history, at)?].body {
        Body::Invoke { op, .. } => Some(op.clone()),
        _ => None,
    }
}

fn swap_zxids(history: &mut History, left: usize, right: usize) {
    let zxid_of = |history: &History, at: usize| match history.records[at].body {
        Body::Return { zxid, .. } => zxid,
        _ => 0,
    };
    let (first, second) = (zxid_of(history, left), zxid_of(history, right));
    for (at, new) in [(left, second), (right, first)] {
        if let Body::Return { zxid, .. } = &mut history.records[at].body {
            *zxid = new;
        }
    }
}

fn other_answer(history: &mut History, at: usize, dice: &mut Dice) {
    let op = asked(history, at);
    let Body::Return { result, .. } = &mut history.records[at].body else {
        return;
    };
    match result {
        Ok(Answer::Stat(stat) | Answer::Created { stat, .. } | Answer::NamesStat { stat, .. })
            if dice.one_in(2) =>
        {
            other_stat(stat, dice)
        }
        Ok(Answer::Data { stat, .. }) if dice.one_in(2) => other_stat(stat, dice),
        Ok(Answer::Data { data, .. }) => *data = Some(["0", "1", "2", "9"][dice.below(4)].into()),
        Ok(Answer::Names(names) | Answer::NamesStat { names, .. }) => {
            if names.pop().is_none() {
                names.push("k".into());
            }
        }
        Ok(Answer::Multi(results)) => {
            let count = results.len();
            if let Some(Ok(Answer::Stat(stat))) = results.first_mut() {
                return other_stat(stat, dice);
            }
            *results = vec![Err(ErrorCode::NO_NODE)];
            results.resize(count, Err(ErrorCode::RUNTIME_INCONSISTENCY));
        }
        Ok(_) => *result = Err(ErrorCode::NO_NODE),
        Err(code) => match (op, dice.below(2)) {
            (Some(Op::Delete { .. }), 0) => *result = Ok(Answer::Done),
            (
                Some(Op::Create {
                    path,
                    sequential: false,
                    stat: false,
                    ..
                }),
                0,
            ) => *result = Ok(Answer::Path(path)),
            (_, _) => {
                *code = match *code {
                    ErrorCode::NO_NODE => ErrorCode::BAD_VERSION,
                    _ => ErrorCode::NO_NODE,
                }
            }
        },
    }
}

fn other_stat(stat: &mut Stat, dice: &mut Dice) {
    match dice.below(5) {
        0 => stat.version += [-1, 1][dice.below(2)],
        1 => stat.mzxid += [-1, 1][dice.below(2)],
        2 => stat.czxid -= 1,
        3 => stat.pzxid += [-1, 1][dice.below(2)],
        _ => stat.cversion += 2,
    }
}

/// Another time for one record, between those of its process before and after it.
fn other_time(history: &mut History, at: usize, dice: &mut Dice) {
    let process = history.records[at].process;
    let own = |records: &[Record]| -> Vec<u64> {
        let own = records.iter().filter(|record| record.process == process);
        own.map(|record| record.time).collect()
    };
    let low = own(&history.records[..at]).last().copied().unwrap_or(0);
    let high = own(&history.records[at + 1..]).first().copied();
    let high = high.unwrap_or(history.records[at].time + 3);
    history.records[at].time = low + dice.below((high - low + 1) as usize) as u64;
}

/// Nobody recorded that this was asked.
fn forget(history: &mut History, at: usize) {
    if let Some(invoke) = invoke_of(history, at) {
        history.records.remove(at);
        history.records.remove(invoke);
    }
}

/// The answer never came.
fn lose(history: &mut History, at: usize) {
    if let Body::Return { xid, .. } = history.records[at].body {
        history.records[at].body = Body::Lost { xid };
    }
}

fn other_question(history: &mut History, dice: &mut Dice) {
    let count = history.records.len();
    let from = dice.below(count);
    for index in (0..count).map(|offset| (from + offset) % count) {
        if let Body::Invoke { op, .. } = &mut history.records[index].body {
            match op {
                Op::Set { data, version, .. } => match dice.below(2) {
                    0 => *data = Some("7".into()),
                    _ => *version = [-1, 0, 1][dice.below(3)],
                },
                Op::Create { data, .. } => *data = Some("7".into()),
                Op::Delete { version, .. } => *version = [-1, 0, 1][dice.below(3)],
                Op::Get { path, .. } | Op::Exists { path, .. } | Op::Children { path, .. } => {
                    *path = ["/a", "/b"][dice.below(2)].into()
                }
                _ => continue,
            }
            return;
        }
    }
}

/// Two sessions turn out to have been one: their times must not run backwards, so only the
/// sessions are joined, not the clients.
fn other_session(history: &mut History, dice: &mut Dice) {
    let (from, to) = (1 + dice.below(4) as i64, 1 + dice.below(4) as i64);
    for record in &mut history.records {
        if let Body::Invoke { session, .. } = &mut record.body
            && *session == from
        {
            *session = to;
        }
    }
}

/// Leaves out the request that a record asks or answers.
pub fn forget_at(history: &mut History, at: usize) {
    if invoke_of(history, at).is_some() {
        forget(history, at);
    }
}
