//! The definition without zxids, tried out: every order and every prefix there is.
//!
//! Written from `consistency.md` 3.1 alone, for tiny histories without watches, ACLs and
//! reconnects. All orders of all transactions are enumerated, each with any of the requests
//! of unknown fate and of the sessions' ends in it; for each order the reads of each session
//! take any prefixes that never go back. No zxid is looked at, not even those in Stats.

use super::{Asked, makes_ephemeral, requests, same};
use crate::small::model::{self, State};
use gamekeeper_checker::history::*;
use std::collections::BTreeSet;

/// What stands in an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Asked(usize),
    End(i64),
}

struct Naive<'h> {
    asked: Vec<Asked<'h>>,
    owners: BTreeSet<i64>,
}

/// True if some order of the transactions and some prefixes explain a history but for zxids.
pub fn consistent_without_zxids(history: &History) -> bool {
    let asked = requests(history);
    let owners = asked.iter().filter(|asked| makes_ephemeral(asked.op));
    let owners = owners.map(|asked| asked.session).collect();
    let naive = Naive { asked, owners };
    let (state, _) = model::start();
    naive.extend(&mut Vec::new(), &mut vec![state])
}

/// True if any transaction was answered.
pub fn answers_transactions(history: &History) -> bool {
    let asked = requests(history);
    let answered = |asked: &Asked<'_>| asked.answer.is_some() && asked.op.is_transaction();
    asked.iter().any(answered)
}

impl Naive<'_> {
    /// Tries every order that goes on like this one.
    fn extend(&self, order: &mut Vec<What>, states: &mut Vec<State>) -> bool {
        let complete = self.asked.iter().enumerate().all(|(number, asked)| {
            asked.answer.is_none()
                || !asked.op.is_transaction()
                || order.contains(&What::Asked(number))
        });
        if complete && self.reads_fit(order, states) {
            return true;
        }
        let requests = (0..self.asked.len()).map(What::Asked);
        let ends = self.owners.iter().map(|&session| What::End(session));
        requests.chain(ends).any(|what| {
            let Some(after) = self.next(order, &states[states.len() - 1], what) else {
                return false;
            };
            order.push(what);
            states.push(after);
            let found = self.extend(order, states);
            order.pop();
            states.pop();
            found
        })
    }

    /// The state after `what`, if it can come next.
    fn next(&self, order: &[What], state: &State, what: What) -> Option<State> {
        if order.contains(&what) {
            return None;
        }
        let zxid = model::START_ZXID + 1 + order.len() as i64;
        match what {
            What::End(session) => {
                let over = self.asked.iter().enumerate().all(|(number, asked)| {
                    asked.session != session
                        || asked.answer.is_none()
                        || !asked.op.is_transaction()
                        || *asked.op == Op::Close
                        || order.contains(&What::Asked(number))
                });
                over.then(|| model::end(state, session, zxid))
            }
            What::Asked(number) => {
                let asked = &self.asked[number];
                let lost_close = asked.answer.is_none() && *asked.op == Op::Close;
                if !asked.op.is_transaction() || lost_close || !self.in_time(order, number) {
                    return None;
                }
                let (after, result) = model::write(state, asked.op, asked.session, zxid);
                match asked.answer {
                    Some(told) => {
                        same(&without_zxids(&result), &without_zxids(told)).then_some(after)
                    }
                    // What changes nothing may as well not have happened.
                    None => (after != *state).then_some(after),
                }
            }
        }
    }

    /// W1, W2, and that nothing of a session follows its end.
    fn in_time(&self, order: &[What], number: usize) -> bool {
        let asked = &self.asked[number];
        order.iter().all(|&before| match before {
            What::End(session) => session != asked.session || *asked.op == Op::Close,
            What::Asked(before) => {
                let earlier = &self.asked[before];
                let real_time = asked.ret.is_none_or(|ret| ret >= earlier.call);
                let own = asked.session == earlier.session;
                let closed = own && *earlier.op == Op::Close;
                real_time && !closed && (!own || before < number)
            }
        })
    }

    /// R1 to R4, session by session.
    fn reads_fit(&self, order: &[What], states: &[State]) -> bool {
        let sessions: BTreeSet<i64> = self.asked.iter().map(|asked| asked.session).collect();
        (sessions.into_iter()).all(|session| self.session_fits(session, order, states))
    }

    /// R1, R3, R4 for one read or sync.
    fn sees(&self, number: usize, prefix: usize, order: &[What], state: &State) -> bool {
        let read = &self.asked[number];
        let told = read.answer.expect("answered");
        let no_future = order[..prefix].iter().all(|&what| match what {
            What::Asked(write) => Some(self.asked[write].call) <= read.ret,
            What::End(_) => true,
        });
        let synced = !matches!(read.op, Op::Sync { .. })
            || order[prefix..].iter().all(|&what| match what {
                What::Asked(write) => {
                    let ret = self.asked[write].ret;
                    ret.is_none_or(|ret| ret >= read.call)
                }
                What::End(_) => true,
            });
        no_future
            && synced
            && same(
                &without_zxids(&model::read(state, read.op)),
                &without_zxids(told),
            )
    }

    /// R2: one request after the other, with all the prefixes at which the session can be by
    /// then. What was lost only limits what was sent before it.
    fn session_fits(&self, session: i64, order: &[What], states: &[State]) -> bool {
        let mut at: BTreeSet<usize> = BTreeSet::from([0]);
        for (number, asked) in self.asked.iter().enumerate() {
            if asked.session != session {
                continue;
            }
            let place = order.iter().position(|&what| what == What::Asked(number));
            match (asked.answer.is_some(), place) {
                (true, Some(place)) => {
                    at.retain(|&prefix| prefix <= place);
                    if !at.is_empty() {
                        at = BTreeSet::from([place + 1]);
                    }
                }
                (false, Some(place)) => at.retain(|&prefix| prefix <= place),
                (true, None) => {
                    at = (0..states.len())
                        .filter(|&prefix| at.iter().any(|&before| before <= prefix))
                        .filter(|&prefix| self.sees(number, prefix, order, &states[prefix]))
                        .collect();
                }
                (false, None) => {}
            }
        }
        !at.is_empty()
    }
}

/// An answer with all zxids in it hidden.
pub fn without_zxids(answer: &Result<Answer, ErrorCode>) -> Result<Answer, ErrorCode> {
    fn hide(answer: &mut Answer) {
        match answer {
            Answer::Created { stat, .. }
            | Answer::Stat(stat)
            | Answer::Data { stat, .. }
            | Answer::NamesStat { stat, .. }
            | Answer::Acl { stat, .. } => {
                (stat.czxid, stat.mzxid, stat.pzxid) = (0, 0, 0);
            }
            Answer::Multi(parts) => parts.iter_mut().flatten().for_each(hide),
            Answer::Done | Answer::Path(_) | Answer::Names(_) => {}
        }
    }
    let mut answer = answer.clone();
    if let Ok(answer) = &mut answer {
        hide(answer);
    }
    answer
}
