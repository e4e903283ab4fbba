//! Which recorded request stands at a zxid, what it can have done there, and where strangers
//! find room to write.
//!
//! A leader numbers the transactions of its epoch one by one, refused ones too, so what
//! others did between two zxids of one epoch had one of the numbers that nobody recorded.
//!
//! Answers to: `consistency.md` 3.2 (an unexplained zxid is a free write); P13, P19.

use super::Overheard;
use crate::history::{Answer, ErrorCode, EventType, Op};
use crate::model::{NO_PATH, PathId};
use crate::verdict::{Property, Violation};
use crate::walk::case::{Case, Request, RequestIndex, Role};
use crate::walk::evidence::made;
use rustc_hash::FxHashMap;

/// The zxids that recorded requests have.
#[derive(Default)]
pub struct Deeds {
    /// Which recorded request stands at a zxid.
    at: FxHashMap<i64, RequestIndex>,
    /// Their zxids, in order.
    taken: Vec<i64>,
    /// When a session was answered that it is closed.
    closed: FxHashMap<i64, (i64, RequestIndex)>,
}

impl Deeds {
    /// The recorded request at a zxid.
    pub fn at(&self, zxid: i64) -> Option<RequestIndex> {
        self.at.get(&zxid).copied()
    }

    /// When a session ended by a recorded close, and the close.
    pub fn closed(&self, session: i64) -> Option<(i64, RequestIndex)> {
        self.closed.get(&session).copied()
    }

    /// True if somebody who was not recorded may have written after `from`, up to and at `to`.
    pub fn room(&self, from: i64, to: i64) -> bool {
        if from >= to {
            return false;
        }
        let numbers = to - from;
        let first = self.taken.partition_point(|&zxid| zxid <= from);
        let last = self.taken.partition_point(|&zxid| zxid <= to);
        // A new epoch begins after nobody knows how many transactions of the old one.
        from >> 32 != to >> 32 || ((last - first) as i64) < numbers
    }

    /// The recorded transactions in order.
    pub fn requests<'c, 'h>(
        &'c self,
        case: &'c Case<'h>,
    ) -> impl Iterator<Item = (RequestIndex, &'c Request<'h>)> {
        let indices = self.taken.iter().map(|zxid| self.at[zxid]);
        indices.map(|index| (index, &case.requests[index as usize]))
    }
}

/// What a transaction did, with its answers: its parts if it is a multi, nothing if it failed.
pub fn parts<'c, 'h>(
    request: &'c Request<'h>,
) -> impl DoubleEndedIterator<Item = (&'h Op, &'h Answer)> + 'c {
    let (ops, results): (&'h [Op], &'h [Result<Answer, ErrorCode>]) =
        match (request.op, request.answer) {
            (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => (ops, results),
            (_, None) => (&[], &[]),
            (op, Some(answer)) => (std::slice::from_ref(op), std::slice::from_ref(answer)),
        };
    let whole = results.iter().all(Result::is_ok);
    let parts = ops.iter().zip(results).filter(move |_| whole);
    parts.filter_map(|(op, result)| result.as_ref().ok().map(|answer| (op, answer)))
}

impl<'h> Overheard<'_, 'h> {
    /// P19: whose zxid is whose. P13: a closed session writes no more.
    ///
    /// # Errors
    /// Two requests at one zxid, or one after its session's end.
    pub(super) fn claim(&mut self) -> Result<(), Box<Violation>> {
        for (index, request) in self.case.requests.iter().enumerate() {
            if request.role != Role::Transaction {
                continue;
            }
            let index = index as RequestIndex;
            if let Some(other) = self.deeds.at.insert(request.zxid, index) {
                let reason = format!(
                    "two requests were answered as transaction {:#x}",
                    request.zxid
                );
                return self.convict(Property::ZxidSanity, &[other, index], reason);
            }
            self.deeds.taken.push(request.zxid);
            if matches!((request.op, request.answer), (Op::Close, Some(Ok(_))))
                && let Some(session) = self.case.sessions.get(request.session as usize)
            {
                let ended = (request.zxid, index);
                self.deeds.closed.insert(session.id, ended);
            }
        }
        self.deeds.taken.sort_unstable();
        for (index, request) in self.deeds.requests(self.case) {
            let session = self.case.sessions.get(request.session as usize);
            let ended = session.and_then(|session| self.deeds.closed(session.id));
            if let Some((zxid, close)) = ended
                && zxid < request.zxid
                && !matches!(request.op, Op::Close)
            {
                let reason = format!(
                    "a transaction took effect at {:#x}, but its session had ended at {zxid:#x}",
                    request.zxid
                );
                return self.convict(Property::EphemeralsEnd, &[close, index], reason);
            }
        }
        Ok(())
    }

    /// True if a recorded transaction can have made a path, or written to it.
    pub(super) fn may_have_written(&self, doer: RequestIndex, path: PathId, made_it: bool) -> bool {
        let wrote = |(op, answer): (&Op, &Answer)| {
            let there = made(answer).or(op.path());
            let there = there.and_then(|there| self.paths.find(there));
            match op {
                Op::Create { .. } => there == Some(path),
                // A part that sets may follow the part that makes.
                Op::Set { .. } => there == Some(path) && !made_it,
                _ => false,
            }
        };
        parts(&self.case.requests[doer as usize]).any(wrote)
    }

    /// True if a recorded transaction can have made or removed a child of a path, or the node
    /// itself anew.
    pub(super) fn may_have_changed_children(&self, doer: RequestIndex, path: PathId) -> bool {
        self.may_have_fired(doer, EventType::NodeChildrenChanged, path)
            || self.may_have_written(doer, path, true)
    }

    /// True if a recorded transaction can have fired `event` on a path.
    pub(super) fn may_have_fired(
        &self,
        doer: RequestIndex,
        event: EventType,
        path: PathId,
    ) -> bool {
        let find = |name: Option<&crate::history::Path>| {
            name.and_then(|name| self.paths.find(name))
                .unwrap_or(NO_PATH)
        };
        let fired = |(op, answer): (&Op, &Answer)| match op {
            Op::Create { .. } => {
                let made = find(made(answer));
                match event {
                    EventType::NodeCreated => made == path,
                    EventType::NodeChildrenChanged => self.paths.parent(made) == path,
                    EventType::NodeDeleted | EventType::NodeDataChanged => false,
                }
            }
            Op::Delete { path: gone, .. } => {
                let gone = find(Some(gone));
                match event {
                    EventType::NodeDeleted => gone == path,
                    EventType::NodeChildrenChanged => self.paths.parent(gone) == path,
                    EventType::NodeCreated | EventType::NodeDataChanged => false,
                }
            }
            Op::Set { path: set, .. } => {
                event == EventType::NodeDataChanged && find(Some(set)) == path
            }
            // Whatever the session's ephemerals were.
            Op::Close => {
                matches!(
                    event,
                    EventType::NodeDeleted | EventType::NodeChildrenChanged
                )
            }
            _ => false,
        };
        parts(&self.case.requests[doer as usize]).any(fired)
    }

    /// The path a successful part is about, as a number.
    pub(super) fn about(&self, op: &'h Op, answer: &'h Answer) -> PathId {
        let path = made(answer).or(op.path());
        path.and_then(|path| self.paths.find(path))
            .unwrap_or(NO_PATH)
    }
}
