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
use super::line::{Cause, Line, Told};
use super::murk::Murk;
use super::tree::Tree;
use super::waits::{Asks, Hears, LineId, Wait, Waits, asks, takes};
use super::{Refusal, refuse};
use crate::history::{Body, ErrorCode, EventType, Header, Op, Record, SessionEvent, Start};
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The connection of whose watches nothing is recorded any more.
const SILENT: LineId = LineId::MAX;

/// A setWatches that was answered.
struct Again<R> {
    line: LineId,
    frame: R,
    /// No other was on its way.
    last: bool,
}

/// Every connection, and what is registered.
pub struct Ears<R> {
    lines: FxHashMap<LineId, Line<R>>,
    count: LineId,
    waits: Waits,
    /// By the zxid of the answer, and its record.
    again: BTreeMap<(i64, usize), Again<R>>,
    /// Connections on which nothing more comes, by the greatest zxid that they were told of.
    leaving: BTreeSet<(i64, LineId)>,
    /// What may have happened elsewhere than the order has it.
    pub murk: Murk,
    /// Nothing is judged.
    pub deaf: bool,
    start: i64,
    error: u64,
}

/// The watches that an event ends.
fn ended_by(event: EventType) -> &'static [Hears] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[Hears::Node],
        EventType::NodeChildrenChanged => &[Hears::List],
        EventType::NodeDeleted => &[Hears::Node, Hears::List],
    }
}

/// What comes on a connection, as it is read. `line` is its number, given when one is needed.
impl<R: Borrow<Record>> Ears<R> {
    /// Before the first record.
    pub fn new(header: &Header) -> Self {
        Ears {
            lines: FxHashMap::default(),
            count: 0,
            waits: Waits::default(),
            again: BTreeMap::new(),
            leaving: BTreeSet::new(),
            murk: Murk::default(),
            deaf: false,
            start: match header.start {
                Start::Fresh => 0,
                Start::Nodes { zxid, .. } => zxid,
            },
            error: header.clock_error_ns.saturating_mul(2),
        }
    }

    /// A connection of which something is heard; None if nothing is judged of it.
    pub fn line(&mut self, line: &mut LineId) -> Option<&mut Line<R>> {
        if *line == 0 && !self.deaf {
            self.count += 1;
            *line = self.count;
            self.lines.insert(*line, Line::default());
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
    pub fn lost(&mut self, line: &mut LineId, asked: &Asked<R>) {
        if !asked.watches {
            return;
        }
        let op = asked.op();
        match (self.line(line), asks(op)) {
            (Some(line), Some((path, Asks::Once(hears)))) => {
                line.perhaps.insert((hears, (&**path).into()));
            }
            (Some(_), registers) => {
                op.path()
                    .iter()
                    .for_each(|path| self.waits.doubt(*line, path));
                if let Some((path, asks)) = registers {
                    self.register(path, asks, (*line, 0, asked.invoke), false);
                }
            }
            (None, _) => {}
        }
    }

    /// The oldest setWatches on its way was answered in the state after `zxid`.
    pub fn again(&mut self, id: &mut LineId, index: usize, zxid: i64) {
        let Some(line) = self.line(id) else {
            return;
        };
        if let Some(frame) = line.again(index) {
            let (line, last) = (*id, line.frames.is_empty());
            self.again
                .insert((zxid, index), Again { line, frame, last });
        }
    }
}

/// What is heard along the order.
impl<R: Borrow<Record>> Ears<R> {
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
        self.register_again((last, (zxid, 0)), tree)?;
        while let Some(&(until, line)) = self.leaving.first()
            && until < zxid
        {
            self.leaving.pop_first();
            let mut told = self.lines[&line].told.iter();
            // Its cause may lie further on.
            let awaited = told.any(|told| {
                told.zxid <= 0 && !told.made_up && begun <= told.at.1.saturating_add(self.error)
            });
            match awaited {
                true => drop(self.leaving.insert((zxid, line))),
                false => {
                    self.explain(line, i64::MAX, usize::MAX)?;
                    self.lines.remove(&line);
                    self.waits.forget(line);
                }
            }
        }
        Ok(())
    }

    /// The order ends.
    ///
    /// # Errors
    /// As [`Ears::pass`].
    pub fn finish(&mut self, last: i64, tree: &mut Tree) -> Result<(), Refusal> {
        self.register_again((last, (i64::MAX, 0)), tree)?;
        let lines: Vec<LineId> = self.lines.keys().copied().collect();
        let mut lines = lines.into_iter();
        lines.try_for_each(|line| self.explain(line, i64::MAX, usize::MAX))
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
    pub fn placed(&mut self, asked: &Asked<R>, last: i64, tree: &mut Tree) -> Result<(), Refusal> {
        let (line, record) = (asked.line, asked.replied);
        if line == 0 || !self.lines.contains_key(&line) {
            return Ok(());
        }
        let Some((_, zxid, result)) = asked.answer() else {
            return Ok(());
        };
        let op = asked.op();
        let stays = match op {
            Op::Exists { .. } => result.is_ok() || *result == Err(ErrorCode::NO_NODE),
            _ => result.is_ok(),
        };
        let registers = asks(op).filter(|_| stays);
        if asked.watches {
            self.register_again((last, (zxid, record)), tree)?;
        }
        self.explain(line, last, record)?;
        if let (Op::RemoveWatches { path, watches }, Ok(_)) = (op, result) {
            self.excuse(line, record);
            self.waits.remove(line, path, *watches);
            if let Some(line) = self.lines.get_mut(&line) {
                let gone = |hears, at: &str| takes(*watches, hears, false) && *at == **path;
                line.perhaps.retain(|(hears, at)| !gone(*hears, at));
            }
        }
        if let Some((path, asks)) = registers {
            self.register(path, asks, (line, zxid, record), false);
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
        let known = zxid > 0 && self.murk.is_clear(path);
        match (self.lines.get_mut(&id), asks) {
            (Some(_), Asks::Once(hears)) if !known => {
                self.excuse(id, since);
                if let Some(line) = self.lines.get_mut(&id) {
                    line.perhaps.insert((hears, path.into()));
                }
            }
            (Some(_), asks) => {
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
            (None, _) => {}
        }
    }

    /// Takes what was told before a record by what nobody knows to have happened.
    fn excuse(&mut self, id: LineId, before: usize) {
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        let Line { told, perhaps, .. } = line;
        let mut excused = Vec::new();
        told.retain(|told| {
            if told.at.0 >= before || told.made_up {
                return true;
            }
            let mut waited = false;
            for &hears in ended_by(told.event) {
                waited |= perhaps.remove(&(hears, told.path.clone()));
            }
            waited |=
                !self.murk.is_clear(&told.path) && self.waits.hears(id, told.event, &told.path);
            excused.extend(waited.then(|| (told.event, told.path.clone())));
            !waited
        });
        excused.into_iter().for_each(|told| line.remember(told));
    }

    /// What was told of up to a zxid and before a record has been caused by now.
    ///
    /// # Errors
    /// N2, N3: it was not.
    fn explain(&mut self, id: LineId, upto: i64, before: usize) -> Result<(), Refusal> {
        let named = |told: &Told| (told.zxid > 0 || upto == i64::MAX) && told.zxid <= upto;
        let late = |told: &Told| named(told) && told.at.0 < before && !told.made_up;
        if self.lines[&id].told.iter().any(late) {
            self.excuse(id, before);
        }
        let line = &self.lines[&id];
        let Some(told) = line.told.iter().find(|told| late(told)) else {
            return Ok(());
        };
        let again = |(event, path): &(EventType, Rc<str>)| told.is(*event, path);
        let (rule, why) = match line.recent.iter().any(again) {
            true => ("N2", "it had been told before"),
            false => ("N3", "no watch hears it then"),
        };
        let (event, path) = (told.event.name(), &told.path);
        refuse(rule, told.at.0, format!("{event} of {path}: {why}"))
    }

    /// Registers what setWatches asked for that was answered before a zxid and a record.
    fn register_again(
        &mut self,
        (last, before): (i64, (i64, usize)),
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        while let Some(entry) = self.again.first_entry()
            && *entry.key() < before
        {
            let ((zxid, record), again) = entry.remove_entry();
            if zxid < last && zxid > 0 {
                let reason = "its prefix is not the one its reply names";
                return refuse("form", record, reason);
            }
            self.watch_again(zxid, record, again, tree)?;
        }
        Ok(())
    }

    /// A setWatches was answered in the state of the tree: each of its watches was made up for
    /// if there was cause, and else is registered.
    fn watch_again(
        &mut self,
        zxid: i64,
        record: usize,
        again: Again<R>,
        tree: &mut Tree,
    ) -> Result<(), Refusal> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        }) = &again.frame.borrow().body
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
        self.made_up(id, record, &owed, again.last)
    }

    /// Before a setWatches was answered by a record, these were owed and nothing else, if no
    /// other was on its way.
    fn made_up(
        &mut self,
        id: LineId,
        record: usize,
        owed: &[(EventType, &str)],
        last: bool,
    ) -> Result<(), Refusal> {
        let Some(line) = self.lines.get_mut(&id) else {
            return Ok(());
        };
        let before = |told: &Told| told.made_up && told.at.0 < record;
        for &(event, path) in owed {
            let mut told = line.told.iter().filter(|told| before(told));
            if !told.any(|told| told.is(event, path)) {
                let reason = format!("{} of {path} was never made up for", event.name());
                return refuse("N1", record, reason);
            }
        }
        let is_owed = |told: &Told| owed.iter().any(|&(event, path)| told.is(event, path));
        line.told
            .retain(|told| !(before(told) && (told.used || is_owed(told))));
        let mut left = line.told.iter().filter(|told| last && before(told));
        let unwanted = left.find(|told| {
            let mut waits = ended_by(told.event).iter();
            !waits.any(|&hears| line.perhaps.contains(&(hears, told.path.clone())))
                && !self.waits.hears(id, told.event, &told.path)
        });
        if let Some(told) = unwanted {
            let reason = format!("nothing of {} was to be made up for", told.path);
            return refuse("N3", told.at.0, reason);
        }
        line.told.retain(|told| !(last && before(told)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Refusal, Terms, Verifier};
    use crate::history::{
        Acl, Answer, Body, ErrorCode, EventType, Header, Op, Path, Record, SessionEvent,
    };

    /// A proof of what two clients do, and what the next record, request and transaction are.
    struct Proof {
        verifier: Verifier<Record>,
        records: usize,
        requests: u64,
        zxid: i64,
        /// Places that are told in the end only, if they are: reads or not, number, zxid.
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
                records: 0,
                requests: 0,
                zxid: 4,
                late: late.then(Vec::new),
                opinion: Ok(()),
            }
        }

        fn read(&mut self, process: u32, body: Body) {
            let record = Record {
                process,
                server: None,
                time: self.records as u64,
                body,
            };
            if self.opinion.is_ok() {
                self.opinion = self.verifier.read(self.records, record);
            }
            self.records += 1;
        }

        fn place(&mut self, (write, number, zxid): (bool, u64, i64)) {
            if self.opinion.is_ok() {
                self.opinion = match write {
                    true => self.verifier.place(number, zxid),
                    false => self.verifier.see(number),
                };
            }
        }

        fn ask(&mut self, process: u32, op: Op, result: Result<Answer, ErrorCode>) {
            let (write, number) = (op.is_transaction(), self.requests);
            self.requests += 1;
            self.zxid += i64::from(write);
            let (zxid, xid) = (self.zxid, number as i32 + 1);
            let session = process.into();
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
            let exists = Op::Exists { path, watch };
            self.ask(1, exists, Err(ErrorCode::NO_NODE));
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
            assert!(ears.lines.values().all(|line| line.told.is_empty()));
        }
        assert_eq!(proof.rule(), None);
    }
}
