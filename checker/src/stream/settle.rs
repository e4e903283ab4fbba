//! Place by place: what has left the window, against the tree.
//!
//! Answered transactions are replayed, reads evaluated, watches fired. What the servers' own
//! log has and no client was told of (a write whose answer was lost, the end of a session)
//! takes effect where the log has it. The log is believed as far as everything that clients
//! saw agrees with that, and no further.
//!
//! Answers to: `consistency.md` 3.2, W3, R1, P10 to P14; "a server transaction log may be
//! imported as one more witness, never as truth".

use super::clients::{Open, closes};
use super::late::{Question, happens};
use super::watches::{ConnectionId, Fired, registers};
use super::window::{Key, Place};
use super::{Doubt, OPAQUE, PATHS_SLACK, Placed, Stream};
use crate::history::{Answer, Body, ErrorCode, EventType, Op, Path, Record, Stat, Txn, TxnKind};
use crate::model::{Access, Ask, Diff, NO_PATH, PathId, READ, SessionIndex, Who};
use std::borrow::Borrow;

/// What waits in the window.
#[derive(Clone)]
pub enum Entry<R> {
    /// An answered request.
    Answered(Answered<R>),
    /// Something else, which is rare.
    Beside(Box<Beside<R>>),
}

/// An answered request on its way into the order.
#[derive(Clone)]
pub struct Answered<R> {
    /// The record that asked, and the one that answered.
    pub invoke: usize,
    pub arrived: usize,
    /// Place among all requests, in the order sent.
    pub number: u64,
    pub call: R,
    pub reply: R,
    pub session: SessionIndex,
    pub who: Who,
    pub connection: ConnectionId,
    /// The path asked about, once it was looked up; [`NO_PATH`] if there is none.
    pub path: PathId,
}

/// What else waits in the window.
#[derive(Clone)]
pub enum Beside<R> {
    /// A notification.
    Notified {
        connection: ConnectionId,
        record: R,
        arrived: usize,
        who: Who,
    },
    /// An answered setWatches.
    Again {
        connection: ConnectionId,
        /// What was sent, and what had been told by the time it was answered.
        frame: R,
        told: Vec<(EventType, Path)>,
        arrived: usize,
        /// No other was on its way.
        last: bool,
    },
    /// A connection on which nothing more came.
    Gone(ConnectionId),
}

impl<R: Borrow<Record>> Stream<R> {
    /// Lets answers find their place until `keep` are left that wait.
    pub(super) fn settle(&mut self, keep: usize) -> Result<(), Doubt> {
        let mut left = std::mem::take(&mut self.leaving);
        self.window.leave(keep, &mut left)?;
        let last = left.last().map(|(place, _)| place.zxid());
        self.look_up(&left);
        self.look_ahead(&left);
        for key in left.drain(..) {
            let (place, _) = key;
            self.follow_seen(place)?;
            self.follow_log(place)?;
            match self.window.take(key) {
                Some(Entry::Answered(answered)) => self.settle_answer(place, answered)?,
                Some(Entry::Beside(beside)) => self.settle_beside(place, *beside)?,
                None => {}
            }
        }
        self.leaving = left;
        // Of what was shown first, no more is asked than of what comes.
        if let Some(last) = last {
            self.room.pass_all(last, |first| self.shown.first(first));
            self.shown.first(last);
            self.settled_to = self.settled_to.max(last);
        }
        if self.tree.paths.len() > self.paths_max {
            self.forget_absent();
            self.guesses.clear();
            self.room
                .forget_paths(last.unwrap_or(self.last).max(self.last));
            self.opaque = self.tree.paths.id_of(OPAQUE);
            self.paths_max = 2 * self.tree.paths.len() + PATHS_SLACK;
        }
        Ok(())
    }

    /// Finds the paths of what is leaving, before any of it is judged. The records were read a
    /// while ago and are far away by now; so the processor fetches many of them at a time.
    fn look_up(&mut self, left: &[Key]) {
        self.expect_under_way();
        for key in left {
            let Some(Entry::Answered(answered)) = self.window.entry_mut(*key) else {
                continue;
            };
            let (call, reply) = (answered.call.borrow(), answered.reply.borrow());
            if let (Body::Invoke { op, .. }, Body::Return { .. }) = (&call.body, &reply.body) {
                self.lapses.expect(op);
                if let Some(path) = op.path() {
                    answered.path = self.tree.paths.id_shared(path);
                }
            }
        }
    }

    /// Does what the servers' log has before a place, or at it if no answer has it.
    fn follow_log(&mut self, place: Place) -> Result<(), Doubt> {
        while let Some(&txn) = self.log.front()
            && txn.zxid <= place.zxid()
        {
            self.log.pop_front();
            let claimed = txn.zxid == place.zxid() && place.is_transaction();
            if !claimed && txn.zxid > self.last {
                self.unanswered(txn)?;
            }
        }
        let past = place.zxid() > self.last || !place.is_transaction() && !place.is_notification();
        match past {
            true => self.missed(self.last),
            false => Ok(()),
        }
    }

    /// The rest of the servers' log, after the last answer.
    pub(super) fn follow_rest(&mut self) -> Result<(), Doubt> {
        while let Some(txn) = self.log.pop_front() {
            if txn.zxid > self.last {
                self.unanswered(txn)?;
            }
        }
        self.watches.nameless.is_before(usize::MAX)?;
        self.missed(self.last)
    }

    /// P10: notifications of the transaction that fired last, which is `zxid`, that have not
    /// come by now.
    #[inline]
    pub(super) fn missed(&mut self, zxid: i64) -> Result<(), Doubt> {
        match self.watches.is_due() {
            true => self.missed_some(zxid),
            false => Ok(()),
        }
    }

    fn missed_some(&mut self, zxid: i64) -> Result<(), Doubt> {
        for connection in self.watches.overdue() {
            let mut clients = self.clients.values_mut().map(|client| &mut client.shown);
            let shown = clients.find(|shown| shown.id == connection);
            if let Some(shown) = shown.or(self.gone.get_mut(&connection)) {
                shown.misses(zxid)?;
            }
        }
        Ok(())
    }

    /// A transaction of which no client was told.
    fn unanswered(&mut self, txn: Txn) -> Result<(), Doubt> {
        let Some(session) = self.sessions.find(txn.session) else {
            return Ok(());
        };
        match txn.kind {
            TxnKind::Open | TxnKind::Refused => Ok(()),
            TxnKind::Close if self.tree.ended(session).is_some() => Ok(()),
            TxnKind::Close => self.end(session, txn.zxid),
            TxnKind::Write => {
                let mut clients = self.clients.values_mut();
                let open = clients.find_map(|client| client.under_way(session, txn.xid));
                if let Some(open) = open {
                    open.placed = true;
                    let asked = asked_of(open);
                    let (op, invoke) = (op_of(open.call.borrow()).clone(), open.invoke);
                    return self.lost_write(&op, invoke, asked, txn.zxid);
                }
                match self.lost.remove(&(session, txn.xid)) {
                    Some(lost) => {
                        let asked = asked_of(&lost);
                        self.lost_write(op_of(lost.call.borrow()), lost.invoke, asked, txn.zxid)
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// P13, P14: a session ends, told to nobody.
    fn end(&mut self, session: SessionIndex, zxid: i64) -> Result<(), Doubt> {
        self.begin(zxid)?;
        let shown = self.shown.first(zxid);
        self.sessions.get(session).end(shown, &self.judging)?;
        self.tree.end(session);
        let id = self.sessions.get(session).id;
        self.resolved(zxid, Placed::End(id, zxid), None)
    }

    /// A write whose answer was lost, or has not come yet, takes effect.
    fn lost_write(&mut self, op: &Op, invoke: usize, asked: Asked, zxid: i64) -> Result<(), Doubt> {
        let known = self.sessions.get(asked.session);
        let late = asked.number < known.placed || zxid <= asked.shown_before;
        if late || self.tree.ended(asked.session).is_some() {
            return Err(Doubt::because("an unanswered request where it cannot be"));
        }
        (known.placed, known.last_placed) = (asked.number + 1, zxid);
        let path = self.path_of(op);
        self.lapses.placed(asked.sent);
        self.begin(zxid)?;
        let done = happens(&mut self.tree, op, path, (asked.session, asked.who));
        let found = Placed::Request(asked.number, zxid);
        self.resolved(zxid, found, Some(invoke))?;
        match done {
            true => Ok(()),
            false => Err(Doubt::because("an unanswered request that fails there")),
        }
    }

    /// What nobody was told of has taken effect at `zxid`; if it is a request, with the record
    /// that asked.
    ///
    /// # Errors
    /// It had been told of before it can have happened.
    pub(super) fn resolved(
        &mut self,
        zxid: i64,
        found: Placed,
        invoke: Option<usize>,
    ) -> Result<(), Doubt> {
        self.summary.resolved += 1;
        self.note_lapsing();
        invoke.map_or(Ok(()), |invoke| self.watches.nameless.is_before(invoke))?;
        for (event, path) in self.tree.fired() {
            if *event != EventType::NodeChildrenChanged {
                self.room.saw(*path, zxid);
            }
        }
        let told = self.fire(zxid)?;
        if let (Placed::End(id, _), Some(time)) = (&found, told)
            && let Some(session) = self.sessions.find(*id)
        {
            let known = self.sessions.get(session);
            let shown = known.ended_by.unwrap_or(u64::MAX).min(time);
            known.end(shown, &self.judging)?;
        }
        self.exhibited(found);
        Ok(())
    }

    #[inline]
    fn exhibited(&mut self, found: Placed) {
        if let Some(placed) = &mut self.placed {
            placed.push(found);
        }
    }

    /// A transaction begins; what the one before it had to be told was told by now.
    pub(super) fn begin(&mut self, zxid: i64) -> Result<(), Doubt> {
        self.go_on_to(zxid)?;
        self.tree.begin(zxid);
        Ok(())
    }

    /// The order goes on to a transaction, which the tree has begun or will.
    #[inline]
    pub(super) fn go_on_to(&mut self, zxid: i64) -> Result<(), Doubt> {
        self.missed(self.last)?;
        self.room.pass(zxid, |first| self.shown.first(first));
        self.last = zxid;
        Ok(())
    }

    /// Fires the watches on what a transaction, `zxid`, just did; when somebody was told of it
    /// without a zxid.
    fn fire(&mut self, zxid: i64) -> Result<Option<u64>, Doubt> {
        if self.watches.is_idle() {
            return Ok(None);
        }
        for &(event, path) in self.tree.fired() {
            let acl = self.tree.node(path).acl;
            let fired = Fired {
                zxid,
                event,
                acl,
                must: self.tree.acls.world_readable(acl),
            };
            if self.watches.fire(fired, self.tree.paths.name(path)) {
                self.room.saw(path, zxid);
            }
        }
        if self.watches.nameless.is_empty() {
            return Ok(None);
        }
        let told = self.watches.tell_nameless(&self.tree.acls)?;
        while let Some(through) = self.watches.nameless.through() {
            self.gone.remove(&through);
            self.watches.forget(through);
        }
        Ok(told)
    }

    pub(super) fn path_of(&mut self, op: &Op) -> PathId {
        match op.path() {
            Some(path) => self.tree.paths.id_shared(path),
            None => NO_PATH,
        }
    }

    /// One answer against the tree.
    fn settle_answer(&mut self, place: Place, answered: Answered<R>) -> Result<(), Doubt> {
        let (Body::Invoke { op, .. }, Body::Return { result, .. }) =
            (&answered.call.borrow().body, &answered.reply.borrow().body)
        else {
            return Err(Doubt::because("a request and an answer that are none"));
        };
        self.settled += 1;
        let known = self.sessions.get(answered.session);
        if answered.number < known.placed {
            return Err(Doubt::because("a request comes after one sent later"));
        }
        let path = answered.path;
        if path == self.opaque && !self.is_harmless(op, result) {
            return Err(Doubt::because("a node that is the server's own affair"));
        }
        let ask = Ask {
            op,
            path,
            session: answered.session,
            who: answered.who,
            answer: result,
        };
        let agrees = match place.is_transaction() {
            true => {
                let known = self.sessions.get(answered.session);
                (known.placed, known.last_placed) = (answered.number + 1, place.zxid());
                self.begin(place.zxid())?;
                if self.tree.ended(answered.session).is_some() && !closes(op) {
                    return Err(Doubt::because("a transaction of a session that had ended"));
                }
                self.watches.nameless.is_before(answered.invoke)?;
                match self.room.is_kept() {
                    true => self.ask_tree(place, Question::Asked(&ask)),
                    false => self.tree.write(&ask),
                }
            }
            false if op.asks_no_node() => Ok(()),
            false => self.tree.read(&ask, self.options.exists_needs_read),
        };
        let agrees = match agrees {
            Err(diff) if self.room.is_kept() => {
                let question = Question::Asked(&ask);
                match self.mend(place, question, diff)? {
                    Ok(()) => self.ask_tree(place, question),
                    left => left,
                }
            }
            agrees => agrees,
        };
        // A wider window may see what happened that no answer tells of.
        let unsure = self.may_look_ahead();
        agrees.map_err(|diff| Doubt {
            late: unsure,
            ..Doubt::because(reason_of(&diff))
        })?;
        if place.is_transaction() {
            self.lapses.placed(answered.call.borrow().time);
            self.note_lapsing();
            self.fire(place.zxid())?;
        }
        let failed = match result {
            Ok(Answer::Multi(results)) => results.iter().any(Result::is_err),
            Ok(_) => false,
            Err(code) => *code == ErrorCode::NO_NODE,
        };
        if self.room.is_kept() {
            self.told_stat(Question::Asked(&ask), place.zxid());
        }
        self.saw_paths(op, path, place.zxid(), failed);
        if let (Some(table), Some(path)) = (registers(op), op.path())
            && stays_registered(op, result)
        {
            let (connection, arrived) = (answered.connection, answered.arrived);
            self.watches.register(connection, table, path, arrived)?;
        }
        let connection = answered.connection;
        match (op, result) {
            (Op::AddWatch { path, mode }, Ok(_)) => {
                let (asked, zxid) = ((path, *mode), place.zxid());
                self.watches
                    .stay(connection, asked, zxid, answered.arrived)?;
            }
            (Op::RemoveWatches { path, watches }, Ok(_)) => {
                self.watches.remove(connection, path, *watches);
            }
            (_, _) => {}
        }
        self.exhibited(match place.is_transaction() {
            true => Placed::Request(answered.number, place.zxid()),
            false => Placed::Sight(answered.number),
        });
        Ok(())
    }

    /// True if a request for the server's own node says nothing that has to be explained: its
    /// Stat names nothing that happened in this history.
    fn is_harmless(&self, op: &Op, result: &Result<Answer, ErrorCode>) -> bool {
        let before = |stat: &Stat| {
            let latest = stat.czxid.max(stat.mzxid).max(stat.pzxid);
            latest <= self.start_zxid
        };
        !op.is_transaction()
            && match result {
                Ok(
                    Answer::Data { stat, .. }
                    | Answer::Stat(stat)
                    | Answer::NamesStat { stat, .. }
                    | Answer::Acl { stat, .. },
                ) => before(stat),
                Ok(_) | Err(_) => true,
            }
    }

    fn settle_beside(&mut self, place: Place, beside: Beside<R>) -> Result<(), Doubt> {
        match beside {
            Beside::Notified {
                connection,
                record,
                arrived,
                who,
            } => {
                let Body::Notify { event, path, .. } = &record.borrow().body else {
                    return Ok(());
                };
                self.watches.notified(connection, *event, path, arrived)?;
                let node = self.tree.paths.find(path).map(|path| self.tree.node(path));
                let acl = node.map_or(0, |node| node.acl);
                match self.tree.acls.access(acl, READ, who) {
                    Access::No => Err(Doubt::because("a notification of what may not be read")),
                    Access::Yes | Access::Unclear => Ok(()),
                }
            }
            Beside::Again {
                connection,
                frame,
                told,
                arrived,
                last,
            } => {
                self.look_again(place, frame.borrow(), &told)?;
                self.watches.caught_up(connection, told);
                self.watch_again(connection, frame.borrow(), place.zxid(), arrived)?;
                match last {
                    true => self.watches.settled(connection),
                    false => Ok(()),
                }
            }
            Beside::Gone(connection) => {
                debug_assert!(!place.is_transaction(), "an end is no transaction");
                self.depart(connection);
                Ok(())
            }
        }
    }
}

/// In what an answer and the tree differ.
fn reason_of(diff: &Diff) -> &'static str {
    match diff {
        Diff::Missing(_) => "an answer that the tree does not give: a node that it has",
        Diff::Extra(_) => "an answer that the tree does not give: a node that it has not",
        Diff::Data(_) => "an answer that the tree does not give: other bytes",
        Diff::Stat { field, .. } => match *field {
            "version" | "mzxid" | "mtime" | "data_length" => {
                "an answer that the tree does not give: a Stat after other writes"
            }
            "cversion" | "pzxid" | "num_children" => {
                "an answer that the tree does not give: a Stat after other changes of children"
            }
            _ => "an answer that the tree does not give: another Stat",
        },
        Diff::NameMissing { .. } => "an answer that the tree does not give: a child that it has",
        Diff::NameExtra { .. } => "an answer that the tree does not give: a child that it has not",
        Diff::Name { .. } => "an answer that the tree does not give: another name",
        Diff::Acl(_) | Diff::Access { .. } => "an answer that the tree does not give: another ACL",
        Diff::Outcome { .. } => "an answer that the tree does not give: another outcome",
        Diff::NameTwice { .. } | Diff::MultiForm | Diff::Kind => {
            "an answer that the tree does not give: another form"
        }
    }
}

/// Of a request of unknown fate, what its place hangs on.
struct Asked {
    session: SessionIndex,
    number: u64,
    who: Who,
    sent: u64,
    shown_before: i64,
}

fn asked_of<R>(open: &Open<R>) -> Asked {
    Asked {
        session: open.session,
        number: open.number,
        who: open.who,
        sent: open.sent,
        shown_before: open.shown_before,
    }
}

pub(super) fn op_of(record: &Record) -> &Op {
    match &record.body {
        Body::Invoke { op, .. } => op,
        _ => &Op::Close,
    }
}

/// True if a watch stays registered after this answer.
fn stays_registered(op: &Op, result: &Result<Answer, ErrorCode>) -> bool {
    match (op, result) {
        (_, Ok(_)) => true,
        (Op::Exists { .. }, Err(code)) => *code == ErrorCode::NO_NODE,
        (_, Err(_)) => false,
    }
}
