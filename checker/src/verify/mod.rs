//! The second opinion: does a certificate prove what it claims?
//!
//! Takes the order and the prefixes that an acquittal exhibits and checks the definition
//! itself, rule by rule, with a tree of its own. It searches nothing, knows nothing of how the
//! order was found, and shares no line with the judge: only the words of the history are
//! common. What it accepts is consistent even if the judge is wrong; what it refuses says that
//! the judge contradicts itself, and is no verdict about the service.
//!
//! It goes along with a judge of one pass: it reads the records as they come, takes each
//! request's place once the judge has found it, in the order of places, and keeps a tree, what
//! waits for its place, and a few running maxima for each rule.
//!
//! | rule | says |
//! |---|---|
//! | form | every answered transaction, read and sync has its one place; zxids fit the places |
//! | W1 | what had returned before another was called comes before it |
//! | W2 | a session's transactions come in the order sent, none after its end |
//! | W3 | every answered transaction is answered as the tree says |
//! | R1 | every read is answered as the tree says at its prefix |
//! | R2 | no session goes back |
//! | R3 | nobody sees what was not asked for yet |
//! | R4 | after a sync everything is seen that had been answered before it |
//! | E | no session ends before it can have expired, or comes back |
//! | N1 | a notification comes before any answer as new as its cause |
//! | N2 | one registration gives one notification |
//! | N3 | a notification has a live registration, and the first cause since is the one told |
//!
//! In an open world anybody may write anything: the rules that need no tree are checked, and F
//! instead of W3 and R1: what changed unseen, a free write can have changed. Notifications,
//! lists, sequence numbers and rights are the judge's word alone there.
//!
//! | room | holds |
//! |---|---|
//! | `asked` | records read: questions paired with answers, identities |
//! | `lives` | when sessions can end (E) |
//! | `bounds` | the running maxima of W1, W2 and R2 to R4 |
//! | `tree`, `rights` | what each request does (W3, R1) |
//! | `free` | free writes, where others wrote too (F) |
//! | `heard`, `causes` | what clients heard besides answers, and what caused it (N1 to N3) |
//! | `waiting` | requests that have no place yet |
//! | `texts` | copies of paths that no other thread touches |
//!
//! Answers to: `consistency.md` 3.1 and 6.

mod asked;
mod bounds;
mod causes;
mod free;
mod heard;
mod lives;
mod rights;
mod texts;
mod tree;
mod waiting;

use crate::certificate::{Certificate, Effect, Step};
use crate::history::{Answer, ErrorCode, Header, History, Op, Record, Start};
use asked::{Asked, Reading};
use bounds::{Clock, Order};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Borrow;
use tree::{Caller, Tree};

/// Requests of unknown fate that may gather before those that cannot have a place any more are
/// looked for.
const LOST_SLACK: usize = 1 << 16;

/// Which rules of the service hold; of [`crate::Options`] what a verifier must know too.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// `exists` on a node without READ permission must be refused.
    pub exists_needs_read: bool,
    /// An answered write proves that the leader heard its session when it was sent.
    pub write_is_touch: bool,
}

/// What a certificate does not prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule: `form`, `W1` to `W3`, `R1` to `R4`, `E`, `N1` to `N3`, `F`.
    pub rule: &'static str,
    /// Index of the record that does not fit.
    pub record: usize,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} fails at record {}: {}",
            self.rule,
            self.record + 1,
            self.reason
        )
    }
}

fn refuse<T>(rule: &'static str, record: usize, reason: impl Into<String>) -> Result<T, Refusal> {
    let reason = reason.into();
    Err(Refusal {
        rule,
        record,
        reason,
    })
}

/// Checks a certificate against the history it is for.
///
/// # Errors
/// The first rule that it does not prove.
pub fn verify(history: &History, certificate: &Certificate, terms: Terms) -> Result<(), Refusal> {
    let mut verifier = Verifier::of_all(history, terms, false)?;
    let mut sights = certificate.sights.clone();
    sights.sort_by_key(|sight| (sight.prefix, verifier.zxid_of(sight.invoke), sight.invoke));
    let mut sights = sights.into_iter().peekable();
    for place in 0..=certificate.order.len() {
        while let Some(sight) = sights.next_if(|sight| sight.prefix == place) {
            verifier.see(sight.invoke)?;
        }
        if let Some(&step) = certificate.order.get(place) {
            verifier.place(step)?;
        }
    }
    match sights.next() {
        Some(sight) => refuse("form", sight.invoke, "it sees more than there is"),
        None => verifier.finish(),
    }?;
    heard::check(history, &certificate.order)
}

/// As [`verify`], of what clients heard besides answers, for an order that a [`Verifier`] has
/// proved and in which nothing of unknown fate took effect.
///
/// # Errors
/// The first rule that it does not prove.
pub fn verify_heard(history: &History) -> Result<(), Refusal> {
    heard::check(history, &heard::told_order(history))
}

/// As [`verify`], where others wrote too: the zxids are the order, and a tree that changes
/// without a recorded write is somebody else's free write. Says which of the rules hold that
/// need no tree, and whether free writes explain every Stat; see `free`.
///
/// # Errors
/// The first rule that it does not prove; `F` where no free write explains an answer.
pub fn verify_open(history: &History, terms: Terms) -> Result<(), Refusal> {
    let mut verifier = Verifier::of_all(history, terms, true)?;
    let order = heard::told_order(history);
    let mut reads = free::reads(history).into_iter().peekable();
    for &step in &order {
        while let Some((_, read)) = reads.next_if(|&(zxid, _)| zxid < step.zxid) {
            verifier.see(read)?;
        }
        verifier.place(step)?;
    }
    reads.try_for_each(|(_, read)| verifier.see(read))?;
    verifier.clock.finish()?;
    free::check(history, &order)
}

/// A proof under way. `R` is a record, shared or borrowed.
pub struct Verifier<R> {
    header: Header,
    terms: Terms,
    reading: Reading<R>,
    tree: Tree,
    /// Others wrote too, so that the tree is not known.
    strangers: bool,
    clock: Clock,
    orders: FxHashMap<i64, Order>,
    ended: FxHashSet<i64>,
    /// Transactions placed so far.
    places: u64,
    /// What the next zxid must exceed; the last one placed; the greatest that was seen.
    floor: i64,
    last: i64,
    seen: i64,
    waiting_max: usize,
}

impl<'h> Verifier<&'h Record> {
    /// A proof that has read a whole history.
    fn of_all(history: &'h History, terms: Terms, strangers: bool) -> Result<Self, Refusal> {
        let mut verifier = Verifier::new(&history.header, terms);
        verifier.strangers = strangers;
        let mut records: Vec<(usize, &Record)> = history.records.iter().enumerate().collect();
        records.sort_by_key(|(_, record)| record.time);
        for (index, record) in records {
            verifier.read(index, record)?;
        }
        Ok(verifier)
    }
}

impl<R: Borrow<Record>> Verifier<R> {
    /// Begins a proof.
    pub fn new(header: &Header, terms: Terms) -> Self {
        let start = match header.start {
            Start::Fresh => 0,
            Start::Nodes { zxid, .. } => zxid,
        };
        Verifier {
            terms,
            reading: Reading::new(header),
            tree: Tree::new(&header.start, terms.exists_needs_read),
            strangers: false,
            clock: Clock::new(header),
            orders: FxHashMap::default(),
            ended: FxHashSet::default(),
            places: 0,
            floor: start,
            last: i64::MIN,
            seen: i64::MIN,
            waiting_max: LOST_SLACK,
            header: header.clone(),
        }
    }

    /// Reads the next record in order of time: number `index` of the history.
    ///
    /// # Errors
    /// A rule that it breaks.
    pub fn read(&mut self, index: usize, record: R) -> Result<(), Refusal> {
        let Some(session) = self.reading.read(index, record)? else {
            return Ok(());
        };
        let Some(life) = self.reading.lives.get(&session) else {
            return Ok(());
        };
        life.check_expired(&self.header, self.terms)?;
        if self.clock.is_watched(session) {
            let begin = life.end(&self.header, self.terms);
            self.clock.ended_later(session, begin, index)?;
            if !self.reading.is_held(session) {
                self.clock.forget(session);
            }
        }
        Ok(())
    }

    /// The zxid at which a request was answered, if it was and waits for its place.
    fn zxid_of(&self, invoke: usize) -> i64 {
        let asked = self.reading.waiting.get(invoke);
        asked.map_or(0, |asked| asked.zxid)
    }

    fn epoch(&self) -> i64 {
        self.last.max(0) >> 32
    }

    /// The next transaction of the order.
    ///
    /// # Errors
    /// The rule that does not allow it there.
    pub fn place(&mut self, step: Step) -> Result<(), Refusal> {
        let record = match step.effect {
            Effect::Request(record) => record,
            Effect::End(_) => 0,
        };
        if step.zxid != 0 {
            if step.zxid <= self.floor || step.zxid & 0xffff_ffff == 0 {
                let reason = format!("{:#x} cannot follow {:#x}", step.zxid, self.floor);
                return refuse("form", record, reason);
            }
            if step.zxid <= self.seen {
                return refuse("form", record, "a read that named it did not see it");
            }
            (self.floor, self.last) = (step.zxid, step.zxid);
        }
        self.tree.begin();
        match step.effect {
            Effect::End(session) => self.end(session, step.zxid)?,
            Effect::Request(record) => self.request(record, step.zxid)?,
        }
        self.places += 1;
        if self.reading.waiting.len() > self.waiting_max {
            self.forget_lost();
        }
        Ok(())
    }

    fn end(&mut self, session: i64, zxid: i64) -> Result<(), Refusal> {
        if !self.ended.insert(session) {
            return refuse("form", 0, format!("session {session:#x} ends twice"));
        }
        let life = self.reading.lives.get(&session);
        let begin = life.map_or(0, |life| life.end(&self.header, self.terms));
        self.clock.begin(begin);
        if self.reading.is_held(session) {
            self.clock.watch(session);
        }
        self.tree.end(session, zxid);
        Ok(())
    }

    fn request(&mut self, record: usize, zxid: i64) -> Result<(), Refusal> {
        let waiting = self.reading.waiting.remove(record);
        let Some(asked) = waiting.filter(|asked| asked.op().is_transaction()) else {
            let reason = "it has no place among the transactions, or one already";
            return refuse("form", record, reason);
        };
        if asked.answer().is_some() && asked.zxid != zxid {
            return refuse("form", record, "it was answered at another zxid");
        }
        let gone = self.ended.contains(&asked.session) && !matches!(asked.op(), Op::Close);
        let epoch = self.epoch();
        let order = self.orders.entry(asked.session).or_default();
        self.clock.begin(asked.call);
        match asked.answer() {
            Some(_) if gone => return refuse("W2", record, "its session had ended before"),
            Some(answer) => {
                self.clock.wrote(&asked, epoch)?;
                order.wrote(&asked, true)?;
                if !self.strangers {
                    write(&mut self.tree, &asked, zxid, answer)?;
                }
            }
            None => {
                order.wrote(&asked, false)?;
                if !gone {
                    attempt(&mut self.tree, &asked, zxid);
                }
            }
        }
        if matches!(asked.op(), Op::Close) {
            self.ended.insert(asked.session);
        }
        Ok(())
    }

    /// The next read, or sync, after what was placed: that was all it saw.
    ///
    /// # Errors
    /// The rule that does not allow it there.
    pub fn see(&mut self, record: usize) -> Result<(), Refusal> {
        let asked = self.reading.waiting.remove(record);
        let asked = asked.filter(|asked| !asked.op().is_transaction() && asked.answer().is_some());
        let Some(asked) = asked else {
            return refuse(
                "form",
                record,
                "it is no answered read, or has a prefix already",
            );
        };
        if asked.zxid > 0 {
            if asked.zxid < self.last {
                return refuse("form", record, "its prefix is not the one its reply names");
            }
            self.seen = self.seen.max(asked.zxid);
        }
        let epoch = self.epoch();
        self.clock.saw(&asked, epoch)?;
        let order = self.orders.entry(asked.session).or_default();
        order.saw(&asked, self.places)?;
        match self.strangers {
            true => Ok(()),
            false => read(&mut self.tree, &asked),
        }
    }

    /// The order ends here.
    ///
    /// # Errors
    /// Something was answered and has no place.
    pub fn finish(self) -> Result<(), Refusal> {
        let mut waiting = self.reading.waiting.iter();
        match waiting.find(|asked| asked.answer().is_some()) {
            Some(asked) => refuse("form", asked.invoke, "it was answered and has no place"),
            None => self.clock.finish(),
        }
    }

    /// Forgets requests of unknown fate that W2 allows no place any more.
    fn forget_lost(&mut self) {
        let (orders, ended) = (&self.orders, &self.ended);
        self.reading.waiting.retain(|asked| {
            let order = orders.get(&asked.session);
            let passed = order.is_some_and(|order| order.is_past(asked.number));
            asked.answer().is_some() || !passed && !ended.contains(&asked.session)
        });
        self.waiting_max = 2 * self.reading.waiting.len() + LOST_SLACK;
    }
}

fn caller<R>(asked: &Asked<R>, zxid: i64, doubt: bool) -> Caller<'_> {
    Caller {
        session: asked.session,
        who: &asked.who,
        zxid,
        doubt,
    }
}

/// Does a request of unknown fate; if it cannot succeed here, it failed here.
fn attempt<R: Borrow<Record>>(tree: &mut Tree, asked: &Asked<R>, zxid: i64) {
    if run(tree, asked.op().parts(), caller(asked, zxid, true)).is_err() {
        tree.roll_back();
    }
}

fn run(tree: &mut Tree, ops: &[Op], by: Caller<'_>) -> Result<(), ErrorCode> {
    ops.iter().try_for_each(|op| {
        let path = tree.path_of(op);
        tree.execute(op, &path, by).map(|_| ())
    })
}

/// W3: an answered transaction. Where it is not known whether the client may, the answer says.
fn write<R: Borrow<Record>>(
    tree: &mut Tree,
    asked: &Asked<R>,
    zxid: i64,
    answer: &Result<Answer, ErrorCode>,
) -> Result<(), Refusal> {
    let by = caller(asked, zxid, *answer != Err(ErrorCode::NO_AUTH));
    match (asked.op(), answer) {
        (Op::Multi { ops }, Ok(Answer::Multi(results))) => match tree.multi(ops, by, results) {
            Ok(()) => Ok(()),
            Err(reason) => refuse("W3", asked.invoke, reason),
        },
        (Op::Multi { ops }, Err(code)) => {
            let done = run(tree, ops, by);
            tree.roll_back();
            match done == Err(*code) {
                true => Ok(()),
                false => refuse("W3", asked.invoke, format!("it gives {done:?}")),
            }
        }
        (op, answer) => single(tree, op, by, answer, zxid != 0)
            .or_else(|done| refuse("W3", asked.invoke, format!("it gives {done}"))),
    }
}

/// R1: a read at its prefix.
fn read<R: Borrow<Record>>(tree: &mut Tree, asked: &Asked<R>) -> Result<(), Refusal> {
    let Some(answer) = asked.answer() else {
        return Ok(());
    };
    let by = caller(asked, 0, *answer != Err(ErrorCode::NO_AUTH));
    single(tree, asked.op(), by, answer, asked.zxid > 0).or_else(|done| {
        let reason = format!("at its prefix it gives {done}");
        refuse("R1", asked.invoke, reason)
    })
}

/// Does one request and compares; what it gives instead, in words, if that is not what was
/// answered.
fn single(
    tree: &mut Tree,
    op: &Op,
    by: Caller<'_>,
    answer: &Result<Answer, ErrorCode>,
    whole: bool,
) -> Result<(), String> {
    let path = tree.path_of(op);
    let done = tree.execute(op, &path, by);
    let fits = match (&done, answer) {
        (Ok(path), Ok(answer)) => tree.shows(op, path, answer, whole),
        (Err(code), Err(told)) => code == told,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    };
    match (fits, done) {
        (true, _) => Ok(()),
        (false, Ok(path)) => Err(format!("another state of {path} than was answered")),
        (false, Err(code)) => Err(format!("{code}, not what was answered")),
    }
}
