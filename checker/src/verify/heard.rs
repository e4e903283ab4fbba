//! What clients heard besides answers: notifications, against the order as it is proved.
//!
//! Of every connection it is known what is registered now. When a transaction has its place,
//! what it fires is looked for among what the connection was told already, and else is due:
//! nothing that shows as much may come before it. What was told and nothing fired has no cause.
//! Kept is what is on its way, however long the history.
//!
//! What it is not: a check of rights. What not everybody may read need not be told.
//!
//! Answers to: `consistency.md` P10 to P12.

use super::asked::Asked;
use super::line::{Cause, Line};
use super::murk::Murk;
use super::tree::Tree;
use super::waits::{Asks, Hears, LineId, Wait, Waits, asks, takes};
use super::{Refusal, demand};
use crate::history::{ErrorCode, EventType, Header, Op, Record, SessionEvent, Start};
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// The connection of whose watches nothing is recorded any more.
const SILENT: LineId = LineId::MAX;

/// A setWatches that was answered.
struct Again {
    line: LineId,
    frame: SessionEvent,
    /// No other was on its way.
    last: bool,
    /// When it was answered.
    time: u64,
}

/// Every connection, and what is registered.
#[derive(Default)]
pub struct Ears {
    lines: FxHashMap<LineId, Line>,
    count: LineId,
    waits: Waits,
    /// By the zxid of the answer, and its record.
    again: BTreeMap<(i64, usize), Again>,
    /// Connections on which nothing more comes, by the greatest zxid that they were told of.
    leaving: BTreeSet<(i64, LineId)>,
    /// What may have happened elsewhere than the order has it.
    pub murk: Murk,
    /// Nothing is judged.
    pub deaf: bool,
    start: i64,
    error: u64,
}

/// What comes on a connection, as it is read. `line` is its number, given when one is needed.
impl Ears {
    /// Before the first record.
    pub fn new(header: &Header) -> Self {
        Ears {
            start: match header.start {
                Start::Fresh => 0,
                Start::Nodes { zxid, .. } => zxid,
            },
            error: header.clock_error_ns.saturating_mul(2),
            ..Ears::default()
        }
    }

    /// A connection of which something is heard; None if nothing is judged of it.
    pub fn line(&mut self, line: &mut LineId) -> Option<&mut Line> {
        if *line == 0 && !self.deaf {
            self.count += 1;
            *line = self.count;
            self.lines.insert(*line, Line::new(*line));
        }
        self.lines.get_mut(line)
    }

    /// The connection ends.
    pub fn leave(&mut self, line: &mut LineId) {
        if let Some(left) = self.lines.get_mut(line) {
            self.leaving.insert((left.leave(), *line));
        }
        *line = 0;
    }

    /// What comes of its watches is not recorded from here on; nor need what came before be.
    pub fn silence(&mut self, line: &mut LineId) {
        self.lines.remove(line);
        self.waits.forget(*line);
        *line = SILENT;
    }

    /// Nobody knows where a request of a connection happened, or whether.
    pub fn lost<R: Borrow<Record>>(&mut self, line: &mut LineId, asked: &Asked<R>) {
        if !asked.watches {
            return;
        }
        let op = asked.op();
        match (self.line(line), asks(op)) {
            (Some(line), Some((path, Asks::Once(hears)))) => {
                line.perhaps.insert((hears, (&**path).into()));
            }
            (Some(_), registers) => {
                let path = op.path().into_iter();
                path.for_each(|path| self.waits.doubt(*line, path));
                if let Some((path, asks)) = registers {
                    self.register(path, asks, (*line, 0, asked.invoke), false);
                }
            }
            (None, _) => {}
        }
    }

    /// The oldest setWatches on its way was answered in the state after `zxid`.
    pub fn again(&mut self, id: &mut LineId, (index, time): (usize, u64), zxid: i64) {
        if let Some(line) = self.line(id)
            && let Some(frame) = line.again(index)
        {
            let (line, last) = (*id, line.frames.is_empty());
            let again = Again {
                line,
                frame,
                last,
                time,
            };
            self.again.insert((zxid, index), again);
        }
    }
}

/// What is heard along the order.
impl Ears {
    /// True if nothing fires whatever happens.
    pub fn is_idle(&self) -> bool {
        self.waits.is_empty()
    }

    /// The order goes on to a transaction; what has the place before it cannot have begun
    /// before `begun`.
    ///
    /// # Errors
    /// N1, N3: what was told until then, or was not, is not explained by what happened.
    pub fn pass(
        &mut self,
        (last, zxid): (i64, i64),
        begun: u64,
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        self.register_again((last, (zxid, 0)), begun, tree)?;
        while let Some(&(until, id)) = self.leaving.first()
            && until < zxid
        {
            self.leaving.pop_first();
            let Some(line) = self.lines.get_mut(&id) else {
                continue;
            };
            if line.awaits_more(begun, self.error) {
                self.leaving.insert((zxid, id));
                continue;
            }
            line.explain(i64::MAX, usize::MAX, &self.murk, &self.waits)?;
            self.lines.remove(&id);
            self.waits.forget(id);
        }
        Ok(())
    }

    /// The order ends.
    ///
    /// # Errors
    /// As [`Ears::pass`].
    pub fn finish(&mut self, last: i64, begun: u64, tree: &mut Tree) -> Result<(), Refusal> {
        self.register_again((last, (i64::MAX, 0)), begun, tree)?;
        let mut lines = self.lines.values_mut();
        lines.try_for_each(|line| line.explain(i64::MAX, usize::MAX, &self.murk, &self.waits))
    }

    /// A transaction did something.
    ///
    /// # Errors
    /// What was told of it comes too late, too early, or in another order.
    pub fn fire(&mut self, cause: Cause<'_>) -> Result<(), Refusal> {
        let clear = cause.clear && cause.zxid != 0 && self.murk.is_clear(cause.path);
        let cause = Cause { clear, ..cause };
        for fires in self.waits.fired(cause.event, cause.path) {
            if let Some(line) = self.lines.get_mut(&fires.line) {
                line.fire(&cause, &fires, self.error)?;
            }
        }
        Ok(())
    }

    /// An answered request has its place, after a transaction: all that is told before the
    /// answer has a cause by now. What it registers, is.
    ///
    /// # Errors
    /// As [`Ears::pass`].
    pub fn placed<R: Borrow<Record>>(
        &mut self,
        asked: &Asked<R>,
        (last, begun): (i64, u64),
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        let (id, record) = (asked.line, asked.replied);
        if !self.lines.contains_key(&id) {
            return Ok(());
        }
        let Some((_, zxid, result)) = asked.answer() else {
            return Ok(());
        };
        if asked.watches {
            self.register_again((last, (zxid, record)), begun, tree)?;
        }
        let Some(line) = self.lines.get_mut(&id) else {
            return Ok(());
        };
        line.explain(last, record, &self.murk, &self.waits)?;
        let op = asked.op();
        if let (Op::RemoveWatches { path, watches }, Ok(_)) = (op, result) {
            line.excuse(record, &self.murk, &self.waits);
            let gone = |hears, at: &str| takes(*watches, hears, false) && *at == **path;
            line.perhaps.retain(|(hears, at)| !gone(*hears, at));
            self.waits.remove(id, path, *watches);
        }
        let for_birth = matches!(op, Op::Exists { .. }) && *result == Err(ErrorCode::NO_NODE);
        if let Some((path, asks)) = asks(op).filter(|_| result.is_ok() || for_birth) {
            self.register(path, asks, (id, zxid, record), false);
        }
        Ok(())
    }

    /// A watch is registered in the state after a zxid, not positive if that is not known, as a
    /// record tells; perhaps, if it fires once and nobody knows on what first.
    fn register(
        &mut self,
        path: &str,
        asks: Asks,
        (id, zxid, since): (LineId, i64, usize),
        again: bool,
    ) {
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        match asks {
            Asks::Once(hears) if zxid <= 0 || !self.murk.is_clear(path) => {
                line.excuse(since, &self.murk, &self.waits);
                line.perhaps.insert((hears, path.into()));
            }
            Asks::Once(_) | Asks::Stays(_) => {
                let wait = Wait {
                    line: id,
                    hears: Hears::Node,
                    stays: false,
                    loose: zxid <= 0,
                    again,
                    since,
                };
                self.waits.add(path, asks, wait);
            }
        }
    }

    /// Registers what setWatches asked for that was answered before a zxid and a record.
    fn register_again(
        &mut self,
        (last, before): (i64, (i64, usize)),
        begun: u64,
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        while let Some(entry) = self.again.first_entry()
            && *entry.key() < before
        {
            let ((zxid, record), again) = entry.remove_entry();
            let why = "its prefix is not the one its reply names";
            demand("form", record, zxid >= last || zxid <= 0, why)?;
            let why = "its prefix has what was called after its reply";
            let time = again.time.saturating_add(self.error);
            demand("R3", record, zxid <= 0 || begun <= time, why)?;
            self.watch_again(zxid, record, &again, tree)?;
        }
        Ok(())
    }

    /// A setWatches was answered in the state of the tree: each of its watches was made up for
    /// if there was cause, and else is registered.
    fn watch_again(
        &mut self,
        zxid: i64,
        record: usize,
        again: &Again,
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        let SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        } = &again.frame
        else {
            return Ok(());
        };
        let id = again.line;
        if !self.lines.contains_key(&id) {
            return Ok(());
        }
        let data = data.iter().map(|path| (path, Hears::Node, false));
        let exist = exist.iter().map(|path| (path, Hears::Node, true));
        let child = child.iter().map(|path| (path, Hears::List, false));
        let mut owed: Vec<(EventType, &str)> = Vec::new();
        for (path, hears, for_birth) in data.chain(exist).chain(child) {
            let mut known = zxid;
            let event = match (tree.changed(path), hears) {
                (Some(_), _) if for_birth => Some(EventType::NodeCreated),
                (None, _) => (!for_birth).then_some(EventType::NodeDeleted),
                (Some((node, list)), hears) => {
                    let (changed, event) = match hears {
                        Hears::List => (list, EventType::NodeChildrenChanged),
                        Hears::Node | Hears::Below => (node, EventType::NodeDataChanged),
                    };
                    let late = changed.is_none_or(|changed| changed > *relative_zxid);
                    // Nobody knows when, or what was told before the history.
                    if late && changed.is_none_or(|changed| changed <= self.start) {
                        known = 0;
                    }
                    late.then_some(event)
                }
            };
            match event.filter(|_| known > 0 && self.murk.is_clear(path)) {
                Some(event) => owed.push((event, path)),
                None => self.register(path, Asks::Once(hears), (id, known, record), true),
            }
        }
        for (path, mode) in stays {
            self.register(path, Asks::Stays(*mode), (id, zxid, record), true);
        }
        match self.lines.get_mut(&id) {
            Some(line) => line.made_up(record, &owed, again.last, &self.waits),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Refusal, Terms, Verifier};
    use super::Line;
    use crate::history::{
        Acl, Answer, Body, ErrorCode, EventType, Header, Op, Path, Record, SessionEvent,
    };

    /// A proof of what two clients do, and what the last transaction is.
    struct Proof {
        verifier: Verifier<Record>,
        zxid: i64,
        /// Places that are told in the end only, if they are: writes or not, number, zxid.
        late: Option<Vec<(bool, u64, i64)>>,
        opinion: Result<(), Refusal>,
    }

    impl Proof {
        fn new(late: bool) -> Self {
            let terms = Terms {
                exists_needs_read: false,
                write_is_touch: true,
            };
            Proof {
                verifier: Verifier::new(&Header::default(), terms),
                zxid: 4,
                late: late.then(Vec::new),
                opinion: Ok(()),
            }
        }

        fn go_on(&mut self, step: impl FnOnce(&mut Verifier<Record>) -> Result<(), Refusal>) {
            if self.opinion.is_ok() {
                self.opinion = step(&mut self.verifier);
            }
        }

        fn read(&mut self, process: u32, body: Body) {
            let index = self.verifier.read + 1;
            let record = Record {
                process,
                server: None,
                time: index as u64,
                body,
            };
            self.go_on(|verifier| verifier.read(index, record));
        }

        fn place(&mut self, (write, number, zxid): (bool, u64, i64)) {
            self.go_on(|verifier| match write {
                true => verifier.place(number, zxid),
                false => verifier.see(number),
            });
        }

        fn ask(&mut self, process: u32, op: Op, result: Result<Answer, ErrorCode>) {
            let number = self.verifier.reading.waiting.next();
            let (write, session, xid) = (op.is_transaction(), process.into(), number as i32 + 1);
            self.zxid += i64::from(write);
            let zxid = self.zxid;
            self.read(process, Body::Invoke { session, xid, op });
            self.read(process, Body::Return { xid, zxid, result });
            match &mut self.late {
                Some(late) => late.push((write, number, zxid)),
                None => self.place((write, number, zxid)),
            }
        }

        fn create(&mut self, path: &str) {
            let path: Path = path.into();
            let create = Op::Create {
                path: path.clone(),
                data: None,
                acl: Acl::open(),
                ephemeral: false,
                lapse: None,
                sequential: false,
                stat: false,
            };
            self.ask(2, create, Ok(Answer::Path(path)));
        }

        fn watch(&mut self, path: &str) {
            let (path, watch) = (path.into(), true);
            self.ask(1, Op::Exists { path, watch }, Err(ErrorCode::NO_NODE));
        }

        fn told(&mut self, path: &str, zxid: i64) {
            let (event, path) = (EventType::NodeCreated, path.into());
            self.read(1, Body::Notify { zxid, event, path });
        }

        /// The rule that does not hold.
        fn rule(mut self) -> Option<&'static str> {
            let late = self.late.take().into_iter().flatten();
            late.for_each(|place| self.place(place));
            let opinion = self.opinion.and_then(|()| self.verifier.finish());
            opinion.err().map(|refusal| refusal.rule)
        }
    }

    /// What a client is told who waits for `/a`, made at 5, and for `/b`, made at 6, whether it
    /// is answered afterwards, and what that breaks if the places are known at once, and late.
    #[test]
    fn each_rule_refuses_whether_the_cause_or_the_notification_is_known_first() {
        let (a, b) = (("/a", 5), ("/b", 6));
        let (a_of_some, b_of_some) = (("/a", -1), ("/b", -1));
        type Case<'a> = (&'a [(&'a str, i64)], bool, [Option<&'a str>; 2]);
        let cases: [Case<'_>; 13] = [
            (&[a, b], true, [None, None]),
            (&[a_of_some, b_of_some], true, [None, None]),
            (&[a], false, [None, None]),
            (&[a], true, [Some("N1"), Some("N1")]),
            (&[b], false, [Some("N1"), Some("N1")]),
            (&[], true, [Some("N1"), Some("N1")]),
            (&[b, a], false, [Some("N1"), Some("N3")]),
            (&[b_of_some, a_of_some], false, [Some("N1"), Some("N3")]),
            (&[a, a, b], false, [Some("N2"), Some("N2")]),
            (&[a_of_some, a_of_some], false, [Some("N2"), Some("N2")]),
            (&[("/a", 6)], false, [Some("N1"), Some("N1")]),
            (&[a, b, ("/c", 7)], false, [Some("N3"), Some("N3")]),
            (&[a, b, ("/c", -1)], false, [Some("N3"), Some("N3")]),
        ];
        for (told, answered, rules) in cases {
            for (late, rule) in [false, true].into_iter().zip(rules) {
                let mut proof = Proof::new(late);
                proof.watch("/a");
                proof.watch("/b");
                proof.create("/a");
                proof.create("/b");
                told.iter().for_each(|&(path, zxid)| proof.told(path, zxid));
                if answered {
                    proof.watch("/d");
                }
                assert_eq!(proof.rule(), rule, "{told:?}, {answered}, {late}");
            }
        }
    }

    #[test]
    fn what_has_not_changed_is_not_made_up_for() {
        for (made_up, rule) in [(false, None), (true, Some("N3"))] {
            let mut proof = Proof::new(false);
            proof.create("/a");
            let zxid = proof.zxid;
            proof.read(
                1,
                Body::Session(SessionEvent::SetWatches {
                    relative_zxid: zxid,
                    data: vec!["/a".into()],
                    exist: Vec::new(),
                    child: Vec::new(),
                    stays: Vec::new(),
                }),
            );
            if made_up {
                let (event, path) = (EventType::NodeDataChanged, "/a".into());
                let zxid = -1;
                proof.read(1, Body::Notify { zxid, event, path });
            }
            proof.read(1, Body::Session(SessionEvent::SetWatchesDone { zxid }));
            proof.watch("/d");
            assert_eq!(proof.rule(), rule);
        }
    }

    /// Half of them leave before they are told.
    #[test]
    fn nothing_is_kept_of_connections_that_ended() {
        let mut proof = Proof::new(false);
        for round in 0..1000 {
            proof.create("/a");
            if round % 2 == 1 {
                proof.told("/a", proof.zxid);
            }
            proof.read(1, Body::Session(SessionEvent::Disconnected));
            let (path, version) = ("/a".into(), -1);
            proof.ask(2, Op::Delete { path, version }, Ok(Answer::Done));
            proof.watch("/a");
            let ears = &proof.verifier.reading.ears;
            assert!(ears.lines.len() <= 2 && ears.leaving.len() <= 1);
            assert!(ears.lines.values().all(Line::is_explained));
        }
        assert_eq!(proof.rule(), None);
    }
}
