//! What the records of a whole history tell by themselves: which answers which, in what order.
//!
//! For the rules that look at a history in memory once more. Nothing is judged here.
//!
//! Answers to: `consistency.md` 3.1, 3.2 ("the zxids propose T").

use super::tree::decided_by_state;
use crate::certificate::{Effect, Step};
use crate::history::{Answer, Body, ErrorCode, History, Op};
use rustc_hash::FxHashMap;

/// A request.
#[derive(Clone, Copy)]
pub struct Request<'h> {
    /// The record that asked.
    pub invoke: usize,
    /// The session it names.
    pub session: i64,
    /// What was asked.
    pub op: &'h Op,
    /// The record that answered it, or gave it up.
    pub end: Option<usize>,
    /// The zxid and what was answered.
    pub answer: Option<(i64, &'h Result<Answer, ErrorCode>)>,
}

impl Request<'_> {
    /// The zxid of an answer that says something about the tree.
    pub fn zxid(&self) -> Option<i64> {
        let (zxid, result) = self.answer?;
        let says = !result.as_ref().is_err_and(|code| !decided_by_state(*code));
        says.then_some(zxid)
    }
}

/// The requests of a history, in the order of the records that asked.
pub fn requests(history: &History) -> Vec<Request<'_>> {
    let (mut open, mut all) = (FxHashMap::default(), Vec::<Request<'_>>::new());
    for (index, record) in history.records.iter().enumerate() {
        let (xid, answer) = match &record.body {
            Body::Invoke { session, xid, op } => {
                open.insert((record.process, *xid), all.len());
                all.push(Request {
                    invoke: index,
                    session: *session,
                    op,
                    end: None,
                    answer: None,
                });
                continue;
            }
            Body::Return { xid, zxid, result } => (*xid, Some((*zxid, result))),
            Body::Lost { xid } => (*xid, None),
            Body::Notify { .. } | Body::Session(_) | Body::Ping { .. } | Body::Final => continue,
        };
        if let Some(asked) = open.remove(&(record.process, xid)) {
            (all[asked].end, all[asked].answer) = (Some(index), answer);
        }
    }
    all
}

/// The order of the transactions, as their answers tell it.
pub fn order(requests: &[Request<'_>]) -> Vec<Step> {
    let writes = requests.iter().filter(|asked| asked.op.is_transaction());
    let step = |asked: &Request<'_>| {
        let effect = Effect::Request(asked.invoke);
        asked.zxid().map(|zxid| Step { zxid, effect })
    };
    let mut order: Vec<Step> = writes.filter_map(step).collect();
    order.sort_by_key(|step| step.zxid);
    order
}

/// The reads that name how much of the order they saw, by that: zxid and record.
pub fn reads(requests: &[Request<'_>]) -> Vec<(i64, usize)> {
    let reads = requests.iter().filter(|asked| !asked.op.is_transaction());
    let named = reads.filter_map(|asked| Some((asked.zxid()?, asked.invoke)));
    let mut reads: Vec<(i64, usize)> = named.filter(|&(zxid, _)| zxid > 0).collect();
    reads.sort_unstable();
    reads
}
