//! The definition, tried out: every order there is, and whether any explains a history.
//!
//! Written from `consistency.md` 3.1 alone, for histories of a dozen requests without watches,
//! ACLs and reconnects, whose zxids are honest. Everything answered stands at its zxid; what
//! was lost may stand at any free number or nowhere, and so may the end of a session. All
//! placements are tried, one number after the other.

// Two test programs use a half each.
#![allow(dead_code)]

pub mod hidden;

use crate::small::model::{self, START_ZXID, State};
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet};

struct Asked<'h> {
    session: i64,
    call: u64,
    ret: Option<u64>,
    zxid: i64,
    op: &'h Op,
    answer: Option<&'h Result<Answer, ErrorCode>>,
}

/// What may stand at a number that is free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Maybe {
    Lost(usize),
    End(i64),
}

struct Naive<'h> {
    asked: Vec<Asked<'h>>,
    /// Numbers at which a transaction can stand, in order.
    numbers: Vec<i64>,
    maybes: Vec<Maybe>,
}

/// What is placed so far.
#[derive(Clone, Default)]
struct Placed {
    at: BTreeMap<i64, Maybe>,
    ended: BTreeSet<i64>,
}

/// True if some order of the transactions and some prefixes explain a history.
pub fn consistent(history: &History) -> bool {
    let asked = requests(history);
    let given = match &history.header.start {
        Start::Nodes { nodes, .. } => nodes.iter().find_map(|node| node.lapse),
        Start::Fresh => None,
    };
    let lives = asked.iter().flat_map(|asked| asked.op.parts());
    let lives = lives.filter(|part| matches!(part, Op::Create { lapse: Some(_), .. }));
    let lapses = lives.count() + usize::from(given.is_some());
    let naive = Naive {
        numbers: numbers(&asked, lapses),
        maybes: maybes(&asked),
        asked,
    };
    let (state, _) = model::start_with(given);
    let before = naive.numbers.first().map_or(i64::MAX, |first| first - 1);
    naive.answered_rules_hold()
        && naive.reads_hold(&state, i64::MIN, before)
        && naive.search(0, &state, &Placed::default())
}

fn requests(history: &History) -> Vec<Asked<'_>> {
    let mut asked: Vec<Asked<'_>> = Vec::new();
    let mut open: BTreeMap<(u32, i32), usize> = BTreeMap::new();
    for Record {
        process,
        time,
        body,
        ..
    } in &history.records
    {
        match body {
            Body::Invoke { session, xid, op } => {
                open.insert((*process, *xid), asked.len());
                let (session, call) = (*session, *time);
                asked.push(Asked {
                    session,
                    call,
                    ret: None,
                    zxid: 0,
                    op,
                    answer: None,
                });
            }
            Body::Return { xid, zxid, result } => {
                let asked = &mut asked[open[&(*process, *xid)]];
                (asked.ret, asked.zxid, asked.answer) = (Some(*time), *zxid, Some(result));
            }
            _ => {}
        }
    }
    asked
}

fn maybes(asked: &[Asked<'_>]) -> Vec<Maybe> {
    let lost = |asked: &Asked<'_>| {
        asked.answer.is_none() && asked.op.is_transaction() && *asked.op != Op::Close
    };
    let numbers = 0..asked.len();
    let mut maybes: Vec<Maybe> = numbers
        .filter(|&number| lost(&asked[number]))
        .map(Maybe::Lost)
        .collect();
    let owners = asked.iter().filter(|asked| makes_ephemeral(asked.op));
    let owners: BTreeSet<i64> = owners.map(|asked| asked.session).collect();
    maybes.extend(owners.into_iter().map(Maybe::End));
    maybes
}

fn makes_ephemeral(op: &Op) -> bool {
    match op {
        Op::Create { ephemeral, .. } => *ephemeral,
        Op::Multi { ops } => ops.iter().any(makes_ephemeral),
        _ => false,
    }
}

/// From the first number after the start to the last seen; of every epoch a few more than
/// were seen, for its last transactions may be among those that nobody was told of. Of a wide
/// gap only as many as could all be needed, on either side of what was seen.
fn numbers(asked: &[Asked<'_>], lapses: usize) -> Vec<i64> {
    let spare = (maybes(asked).len() + lapses) as i64;
    let mut last: BTreeMap<i64, i64> = BTreeMap::from([(0, START_ZXID)]);
    for zxid in asked.iter().flat_map(named_by) {
        let known = last.entry(zxid >> 32).or_insert(zxid);
        *known = zxid.max(*known);
    }
    let mut numbers = BTreeSet::new();
    for (epoch, last) in last.range(0..) {
        let first = (epoch << 32).max(START_ZXID) + 1;
        let named = asked.iter().flat_map(named_by).chain([first, *last]);
        for zxid in named.filter(|zxid| zxid >> 32 == *epoch) {
            numbers.extend((zxid - spare).max(first)..=(zxid + spare).min(last + spare));
        }
    }
    numbers.into_iter().collect()
}

/// Every number that an answer names.
fn named_by(asked: &Asked<'_>) -> Vec<i64> {
    fn of_answer(answer: &Answer) -> Vec<i64> {
        match answer {
            Answer::Created { stat, .. }
            | Answer::Stat(stat)
            | Answer::Data { stat, .. }
            | Answer::NamesStat { stat, .. }
            | Answer::Acl { stat, .. } => vec![stat.czxid, stat.mzxid, stat.pzxid],
            Answer::Multi(parts) => parts.iter().flatten().flat_map(of_answer).collect(),
            Answer::Done | Answer::Path(_) | Answer::Names(_) => Vec::new(),
        }
    }
    let told = asked.answer.and_then(|answer| answer.as_ref().ok());
    let header = asked.answer.map(|_| asked.zxid);
    told.map_or(Vec::new(), of_answer)
        .into_iter()
        .chain(header)
        .collect()
}

impl Naive<'_> {
    fn transactions(&self) -> impl Iterator<Item = &Asked<'_>> {
        self.asked
            .iter()
            .filter(|asked| asked.answer.is_some() && asked.op.is_transaction())
    }

    fn sights(&self) -> impl Iterator<Item = &Asked<'_>> {
        self.asked
            .iter()
            .filter(|asked| asked.answer.is_some() && !asked.op.is_transaction())
    }

    /// The rules among what was answered: these positions are all given.
    fn answered_rules_hold(&self) -> bool {
        let numbers: BTreeSet<i64> = self.transactions().map(|asked| asked.zxid).collect();
        let unique = numbers.len() == self.transactions().count();
        let sane = numbers
            .iter()
            .all(|&zxid| zxid > START_ZXID && zxid & 0xffff_ffff != 0);
        // W1.
        let real_time = self.transactions().all(|a| {
            self.transactions()
                .all(|b| a.ret.is_none_or(|ret| ret >= b.call) || a.zxid < b.zxid)
        });
        // R3.
        let no_future = self.sights().all(|read| {
            self.transactions()
                .all(|write| write.zxid > read.zxid || Some(write.call) <= read.ret)
        });
        unique && sane && real_time && no_future && self.sessions_hold() && self.syncs_hold()
    }

    /// W2 and R2, and that answers come in the order asked.
    fn sessions_hold(&self) -> bool {
        let answered: Vec<&Asked<'_>> = self
            .asked
            .iter()
            .filter(|asked| asked.answer.is_some())
            .collect();
        answered.iter().enumerate().all(|(number, first)| {
            answered[number + 1..]
                .iter()
                .filter(|second| second.session == first.session)
                .all(|second| match second.op.is_transaction() {
                    true => first.zxid < second.zxid,
                    false => first.zxid <= second.zxid,
                })
        })
    }

    /// R4.
    fn syncs_hold(&self) -> bool {
        let position = |wanted: &Asked<'_>| {
            self.asked
                .iter()
                .position(|asked| std::ptr::eq(asked, wanted))
                .expect("one of them")
        };
        let syncs = self
            .sights()
            .filter(|sight| matches!(sight.op, Op::Sync { .. }));
        syncs.into_iter().all(|sync| {
            let later = |read: &&Asked<'_>| {
                read.session == sync.session
                    && position(read) > position(sync)
                    && !matches!(read.op, Op::Sync { .. })
            };
            let before = |write: &&Asked<'_>| write.ret.is_some_and(|ret| ret < sync.call);
            self.sights().filter(later).all(|read| {
                self.transactions()
                    .filter(before)
                    .all(|write| write.zxid <= read.zxid)
            })
        })
    }

    /// R1 for the reads from one number to before another.
    fn reads_hold(&self, state: &State, from: i64, to: i64) -> bool {
        let mut here = self
            .sights()
            .filter(|sight| (from..=to).contains(&sight.zxid));
        here.all(|sight| {
            same(
                &model::read(state, sight.op),
                sight.answer.expect("answered"),
            )
        })
    }

    fn search(&self, index: usize, state: &State, placed: &Placed) -> bool {
        let Some(&zxid) = self.numbers.get(index) else {
            return true;
        };
        let until = self
            .numbers
            .get(index + 1)
            .map_or(i64::MAX, |next| next - 1);
        let goes_on = |state: &State, placed: &Placed| {
            self.reads_hold(state, zxid, until) && self.search(index + 1, state, placed)
        };
        if let Some(asked) = self.transactions().find(|asked| asked.zxid == zxid) {
            let gone = placed.ended.contains(&asked.session) && *asked.op != Op::Close;
            let (after, result) = model::write(state, asked.op, asked.session, zxid);
            let mut placed = placed.clone();
            if *asked.op == Op::Close {
                placed.ended.insert(asked.session);
            }
            return !gone
                && same(&result, asked.answer.expect("answered"))
                && goes_on(&after, &placed);
        }
        if goes_on(state, placed) {
            return true;
        }
        let mut lapsing = model::lapsing(state).into_iter();
        let lapsed = lapsing.any(|(path, since)| {
            self.may_lapse(since, zxid, placed)
                && goes_on(&model::lapse(state, &path, zxid), placed)
        });
        lapsed
            || self.maybes.iter().any(|&maybe| {
                if !self.may_stand(maybe, zxid, placed) {
                    return false;
                }
                let mut placed = placed.clone();
                placed.at.insert(zxid, maybe);
                let after = match maybe {
                    Maybe::End(session) => {
                        placed.ended.insert(session);
                        model::end(state, session, zxid)
                    }
                    Maybe::Lost(number) => {
                        let asked = &self.asked[number];
                        let (after, result) = model::write(state, asked.op, asked.session, zxid);
                        let failed = match result {
                            Err(_) => true,
                            Ok(Answer::Multi(results)) => results.iter().any(Result::is_err),
                            Ok(_) => false,
                        };
                        if failed {
                            // Nothing happened: the same as not standing here.
                            return false;
                        }
                        after
                    }
                };
                goes_on(&after, &placed)
            })
    }

    /// W1 and R3 for what goes by itself: it has waited since the latest call of what stands up
    /// to its last change, and nothing that returned before that is over comes after it.
    fn may_lapse(&self, since: Option<(i64, u64)>, zxid: i64, placed: &Placed) -> bool {
        let Some((changed, ttl_ms)) = since.filter(|&(changed, _)| changed > START_ZXID) else {
            return true;
        };
        let answered = self.transactions().filter(|asked| asked.zxid <= changed);
        let lost = placed.at.range(..=changed);
        let lost = lost.filter_map(|(_, maybe)| match maybe {
            Maybe::Lost(number) => Some(&self.asked[*number]),
            Maybe::End(_) => None,
        });
        let called = answered.chain(lost).map(|asked| asked.call).max();
        let over = called.unwrap_or(0) + ttl_ms * 1_000_000;
        let mut told = self.asked.iter().filter(|asked| asked.answer.is_some());
        told.all(|asked| asked.ret >= Some(over) || asked.zxid < zxid)
    }

    /// W1, W2, R2 and R3 for what was lost; the end of a session comes after all of it.
    fn may_stand(&self, maybe: Maybe, zxid: i64, placed: &Placed) -> bool {
        if placed.at.values().any(|&other| other == maybe) {
            return false;
        }
        let (number, session) = match maybe {
            Maybe::Lost(number) => (number, self.asked[number].session),
            Maybe::End(session) => (self.asked.len(), session),
        };
        if placed.ended.contains(&session) {
            return false;
        }
        let call = self.asked.get(number).map_or(0, |asked| asked.call);
        let answered = self
            .asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.answer.is_some());
        let fits = answered.into_iter().all(|(other, asked)| {
            let own = asked.session == session;
            let write = asked.op.is_transaction();
            // What had returned before this was called comes before it.
            let real_time = asked.ret >= Some(call) || asked.zxid < zxid;
            let session_order = match maybe {
                _ if !own => true,
                Maybe::End(_) if *asked.op == Op::Close => zxid < asked.zxid,
                Maybe::End(_) => !write || asked.zxid < zxid,
                Maybe::Lost(_) if other < number => asked.zxid < zxid,
                Maybe::Lost(_) => !write || zxid < asked.zxid,
            };
            real_time && session_order
        });
        let later_sibling = |&other: &Maybe| match other {
            Maybe::Lost(other) => other > number && self.asked[other].session == session,
            Maybe::End(_) => false,
        };
        fits && !placed.at.values().any(later_sibling)
    }
}

/// Equal but for the order of names.
fn same(expected: &Result<Answer, ErrorCode>, told: &Result<Answer, ErrorCode>) -> bool {
    let sorted = |answer: &Result<Answer, ErrorCode>| {
        let mut answer = answer.clone();
        if let Ok(Answer::Names(names) | Answer::NamesStat { names, .. }) = &mut answer {
            names.sort();
        }
        answer
    };
    sorted(expected) == sorted(told)
}

/// For the reports of a test: a history, one record a line.
pub fn lines(history: &History) -> String {
    let line = |Record {
                    process,
                    time,
                    body,
                    ..
                }: &Record| format!("{process} @{time} {body:?}\n");
    history.records.iter().map(line).collect()
}
