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
//! waits for its place, what is registered and on its way, and a few running maxima for each rule.
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
//! | L | no container or TTL node goes by itself before it may |
//! | N1 | a notification comes before any answer as new as its cause |
//! | N2 | one registration gives one notification |
//! | N3 | a notification has a cause that fired a live registration; they come in the order of causes |
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
//! | `tree`, `znode`, `rights` | what each request does (W3, R1) |
//! | `free` | free writes, where others wrote too (F) |
//! | `heard` | what clients heard besides answers, along the order (N1 to N3) |
//! | `line` | one connection: what it was told, and what it was to be told |
//! | `waits` | the watches that are registered now |
//! | `murk` | where another order is as good, of a history in memory |
//! | `waiting` | requests that have no place yet |
//! | `texts` | paths and names as numbers, so that no other thread's are touched |
//!
//! Answers to: `consistency.md` 3.1 and 6.

mod asked;
mod bounds;
mod free;
mod heard;
mod line;
mod lives;
mod murk;
mod rights;
mod texts;
mod tree;
mod waiting;
mod waits;
mod znode;

use crate::certificate::{Certificate, Effect, Step};
use crate::history::{Body, Header, History, Path, Record, Start, SubAnswer};
use asked::{Asked, Kind, Reading, Reply};
use bounds::Clock;
use heard::Ears;
use line::Cause;
use lives::Life;
use murk::Murk;
use rights::Caller;
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use tree::Tree;

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
    /// The rule: `form`, `W1` to `W3`, `R1` to `R4`, `E`, `L`, `N1` to `N3`, `F`.
    pub rule: &'static str,
    /// Index of the record that does not fit.
    pub record: usize,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rule, line, reason) = (self.rule, self.record + 1, &self.reason);
        write!(f, "{rule} fails at record {line}: {reason}")
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

/// Refuses unless something holds.
fn demand(rule: &'static str, record: usize, holds: bool, else_why: &str) -> Result<(), Refusal> {
    match holds {
        true => Ok(()),
        false => refuse(rule, record, else_why),
    }
}

/// Checks a certificate against the history it is for.
///
/// # Errors
/// The first rule that it does not prove.
pub fn verify(history: &History, certificate: &Certificate, terms: Terms) -> Result<(), Refusal> {
    let (mut verifier, numbers) = Verifier::of_all(history, terms, false)?;
    verifier.reading.ears.murk = Murk::of(history, &verifier.reading, &certificate.order);
    let number = |record: usize| match numbers.get(&record) {
        Some(number) => Ok(*number),
        None => refuse("form", record, "it asks nothing and has a place"),
    };
    let mut sights = Vec::new();
    for sight in &certificate.sights {
        let number = number(sight.invoke)?;
        let zxid = verifier.zxid_of(number);
        sights.push((sight.prefix, zxid, sight.invoke, number));
    }
    sights.sort_unstable();
    let mut sights = sights.into_iter().peekable();
    for place in 0..=certificate.order.len() {
        while let Some((.., read)) = sights.next_if(|&(prefix, ..)| prefix == place) {
            verifier.see(read)?;
        }
        let Some(Step { effect, zxid }) = certificate.order.get(place) else {
            break;
        };
        match effect {
            Effect::Request(record) => verifier.place(number(*record)?, *zxid)?,
            Effect::End(session) => verifier.end(*session, *zxid)?,
            Effect::Lapse(path) => verifier.lapse(path, *zxid)?,
        }
    }
    match sights.next() {
        Some((_, _, record, _)) => refuse("form", record, "it sees more than there is"),
        None => verifier.finish(),
    }
}

/// As [`verify`], where others wrote too: the zxids are the order, and a tree that changes
/// without a recorded write is somebody else's free write. Says which of the rules hold that
/// need no tree, and whether free writes explain every Stat; see `free`.
///
/// # Errors
/// The first rule that it does not prove; `F` where no free write explains an answer.
pub fn verify_open(history: &History, terms: Terms) -> Result<(), Refusal> {
    let (mut verifier, _) = Verifier::of_all(history, terms, true)?;
    let waiting = verifier.reading.waiting.iter();
    let named = waiting.filter_map(|asked| {
        let ((_, zxid, _), read) = (asked.answer()?, !asked.kind.is_transaction());
        (!read || zxid > 0).then_some(((zxid, read, asked.number), asked))
    });
    let mut named: Vec<_> = named.collect();
    named.sort_unstable_by_key(|(place, _)| *place);
    let (places, answered): (Vec<_>, Vec<_>) = named.into_iter().unzip();
    let free = free::check(&answered);
    for (zxid, read, number) in places {
        match read {
            true => verifier.see(number)?,
            false => verifier.place(number, zxid)?,
        }
    }
    verifier.prefix.clock.finish()?;
    free
}

/// A proof under way. `R` is a record, shared or borrowed.
pub struct Verifier<R> {
    header: Header,
    terms: Terms,
    reading: Reading<R>,
    prefix: Prefix,
    /// The record read last.
    read: usize,
    waiting_max: usize,
}

/// What the order comes to, as far as it is known.
struct Prefix {
    tree: Tree,
    /// Others wrote too, so that the tree is not known.
    strangers: bool,
    clock: Clock,
    /// The latest that any request placed so far was called.
    begun: u64,
    /// Transactions placed so far.
    places: u64,
    /// What the next zxid must exceed; the last one placed; the greatest that was seen.
    floor: i64,
    last: i64,
    seen: i64,
}

impl<'h> Verifier<&'h Record> {
    /// A proof that has read a whole history, and the numbers of its requests by the records
    /// that asked.
    fn of_all(
        history: &'h History,
        terms: Terms,
        strangers: bool,
    ) -> Result<(Self, FxHashMap<usize, u64>), Refusal> {
        let mut verifier = Verifier::new(&history.header, terms);
        (verifier.prefix.strangers, verifier.reading.ears.deaf) = (strangers, strangers);
        let mut records: Vec<(usize, &Record)> = history.records.iter().enumerate().collect();
        records.sort_by_key(|(_, record)| record.time);
        let mut numbers = FxHashMap::default();
        for (index, record) in records {
            if matches!(record.body, Body::Invoke { .. }) {
                numbers.insert(index, numbers.len() as u64);
            }
            verifier.read(index, record)?;
        }
        Ok((verifier, numbers))
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
            prefix: Prefix {
                tree: Tree::new(&header.start, terms.exists_needs_read),
                strangers: false,
                clock: Clock::new(header),
                begun: 0,
                places: 0,
                floor: start,
                last: i64::MIN,
                seen: i64::MIN,
            },
            read: 0,
            waiting_max: LOST_SLACK,
            header: header.clone(),
        }
    }

    /// Reads the next record in order of time: number `index` of the history.
    ///
    /// # Errors
    /// A rule that it breaks.
    #[inline]
    pub fn read(&mut self, index: usize, record: R) -> Result<(), Refusal> {
        self.read = index;
        let Some(number) = self.reading.read(index, record)? else {
            return Ok(());
        };
        let life = &self.reading.lives.all[number];
        life.check_expired(&self.header, self.terms)?;
        let clock = &mut self.prefix.clock;
        if clock.is_watched(number) {
            let begin = life.end(&self.header, self.terms);
            clock.ended_later(number, begin, index)?;
            if !self.reading.is_held(number) {
                clock.forget(number);
            }
        }
        Ok(())
    }

    /// The zxid at which a request was answered, if it was and waits for its place.
    fn zxid_of(&mut self, number: u64) -> i64 {
        let asked = self.reading.waiting.get_mut(number);
        let answer = asked.as_ref().and_then(|asked| asked.answer());
        answer.map_or(0, |(_, zxid, _)| zxid)
    }

    /// The next transaction of the order is the end of a session, told to nobody. Its zxid is
    /// 0 if it is not known.
    ///
    /// # Errors
    /// The rule that does not allow it there.
    pub fn end(&mut self, session: i64, zxid: i64) -> Result<(), Refusal> {
        let (prefix, reading) = (&mut self.prefix, &mut self.reading);
        prefix.begin(zxid, self.read, &mut reading.ears)?;
        let number = reading.lives.of(session);
        let life = &mut reading.lives.all[number];
        if std::mem::replace(&mut life.ended, true) {
            return refuse(
                "form",
                self.read,
                format!("session {session:#x} ends twice"),
            );
        }
        prefix.clock.begin(life.end(&self.header, self.terms));
        if reading.is_held(number) {
            prefix.clock.watch(number);
        }
        prefix.tree.end(session, zxid);
        prefix.fire(zxid, &mut reading.ears)
    }

    /// The next transaction of the order removes the container or TTL node at a path, told to
    /// nobody. Its zxid is 0 if it is not known.
    ///
    /// # Errors
    /// The rule that does not allow it there.
    pub fn lapse(&mut self, path: &Path, zxid: i64) -> Result<(), Refusal> {
        let (prefix, ears) = (&mut self.prefix, &mut self.reading.ears);
        prefix.begin(zxid, self.read, ears)?;
        match prefix.tree.lapse(path, zxid, &self.header) {
            Ok(from) => prefix.clock.begin(from),
            Err(why) => refuse("L", self.read, format!("{path} cannot go by itself: {why}"))?,
        }
        prefix.fire(zxid, ears)
    }

    /// The next transaction of the order is a request, by its number in the order read. Its
    /// zxid is 0 if it is not known.
    ///
    /// # Errors
    /// The rule that does not allow it there.
    pub fn place(&mut self, number: u64, zxid: i64) -> Result<(), Refusal> {
        let asked = self.reading.waiting.take(number);
        let Some(asked) = asked.filter(|asked| asked.kind.is_transaction()) else {
            let reason = "a request has no place among the transactions, or one already";
            return refuse("form", self.read, reason);
        };
        let (prefix, ears) = (&mut self.prefix, &mut self.reading.ears);
        prefix.begin(zxid, asked.invoke, ears)?;
        prefix.place(&asked, &mut self.reading.lives.all[asked.life], zxid)?;
        prefix.fire(zxid, ears)?;
        if asked.line != 0 {
            ears.placed(&asked, (prefix.last, prefix.begun), &mut prefix.tree)?;
        }
        self.forget_lost();
        Ok(())
    }

    /// The next read, or sync, after what was placed: that was all it saw. By its number in the
    /// order read.
    ///
    /// # Errors
    /// The rule that does not allow it there.
    pub fn see(&mut self, number: u64) -> Result<(), Refusal> {
        let asked = self.reading.waiting.take(number);
        let asked = asked.filter(|asked| !asked.kind.is_transaction());
        let Some((asked, answer)) = asked
            .as_ref()
            .and_then(|asked| Some((asked, asked.answer()?)))
        else {
            let reason = "a request is no answered read, or has a prefix already";
            return refuse("form", self.read, reason);
        };
        let (prefix, ears) = (&mut self.prefix, &mut self.reading.ears);
        prefix.see(asked, &mut self.reading.lives.all[asked.life], answer)?;
        match asked.line {
            0 => Ok(()),
            _ => ears.placed(asked, (prefix.last, prefix.begun), &mut prefix.tree),
        }
    }

    /// The order ends here.
    ///
    /// # Errors
    /// Something was answered and has no place.
    pub fn finish(mut self) -> Result<(), Refusal> {
        for asked in self.reading.waiting.iter() {
            let why = "it was answered and has no place";
            demand("form", asked.invoke, asked.answer().is_none(), why)?;
        }
        self.prefix.clock.finish()?;
        let Prefix {
            tree, last, begun, ..
        } = &mut self.prefix;
        self.reading.ears.finish(*last, *begun, tree)
    }

    /// Forgets requests of unknown fate that W2 allows no place any more, if many wait.
    fn forget_lost(&mut self) {
        if self.reading.waiting.len() <= self.waiting_max {
            return;
        }
        let Reading { waiting, lives, .. } = &mut self.reading;
        waiting.retain(|asked| {
            let life = &lives.all[asked.life];
            asked.answer().is_some() || !life.order.is_past(asked.number) && !life.ended
        });
        self.waiting_max = 2 * waiting.len() + LOST_SLACK;
    }
}

impl Prefix {
    fn epoch(&self) -> i64 {
        self.last.max(0) >> 32
    }

    /// A transaction comes next, as which the record asked.
    #[inline(always)]
    fn begin(&mut self, zxid: i64, record: usize, ears: &mut Ears) -> Result<(), Refusal> {
        self.places += 1;
        if zxid != 0 {
            if zxid <= self.floor || zxid & 0xffff_ffff == 0 {
                let reason = format!("{zxid:#x} cannot follow {:#x}", self.floor);
                return refuse("form", record, reason);
            }
            let why = "a read that named it did not see it";
            demand("form", record, zxid > self.seen, why)?;
            ears.pass((self.last, zxid), self.begun, &mut self.tree)?;
            (self.floor, self.last) = (zxid, zxid);
        }
        self.tree.heard = !ears.is_idle();
        Ok(())
    }

    /// The transaction has done what it does.
    #[inline]
    fn fire(&mut self, zxid: i64, ears: &mut Ears) -> Result<(), Refusal> {
        for fired in self.tree.fired() {
            ears.fire(Cause {
                zxid,
                last: self.last,
                event: fired.event,
                path: self.tree.path_of(&fired),
                clear: fired.open,
                begun: self.begun,
            })?;
        }
        Ok(())
    }

    /// A request begins there.
    fn place<R: Borrow<Record>>(
        &mut self,
        asked: &Asked<R>,
        life: &mut Life,
        zxid: i64,
    ) -> Result<(), Refusal> {
        let epoch = self.epoch();
        let gone = life.ended && asked.kind != Kind::Close;
        life.ended |= asked.kind == Kind::Close;
        self.clock.begin(asked.call);
        self.begun = self.begun.max(asked.call);
        let Some((ret, told, answer)) = asked.answer() else {
            life.order.wrote(asked, false)?;
            // If it cannot succeed here, it failed here.
            if !gone {
                let _ = self.replay(asked, life, zxid, None);
            }
            return Ok(());
        };
        let record = asked.invoke;
        demand(
            "form",
            record,
            told == zxid,
            "it was answered at another zxid",
        )?;
        demand("W2", record, !gone, "its session had ended before")?;
        self.clock.wrote(asked.invoke, ret, epoch)?;
        life.order.wrote(asked, true)?;
        let gives = self.replay(asked, life, zxid, Some(answer));
        gives.or_else(|done| refuse("W3", record, format!("it gives {done}")))
    }

    /// A read, or a sync, saw all that was placed.
    fn see<R: Borrow<Record>>(
        &mut self,
        asked: &Asked<R>,
        life: &mut Life,
        (ret, zxid, answer): Reply<'_>,
    ) -> Result<(), Refusal> {
        if zxid > 0 {
            let why = "its prefix is not the one its reply names";
            demand("form", asked.invoke, zxid >= self.last, why)?;
            self.seen = self.seen.max(zxid);
        }
        self.clock.saw(asked, ret, self.epoch())?;
        life.order.saw(asked, zxid, self.places)?;
        let gives = self.replay(asked, life, zxid.max(0), Some(answer));
        gives.or_else(|done| refuse("R1", asked.invoke, format!("at its prefix it gives {done}")))
    }

    /// Does a request on the tree. The error is, in words, what that gives instead of what was
    /// answered, or why it can do nothing there.
    fn replay<R: Borrow<Record>>(
        &mut self,
        asked: &Asked<R>,
        life: &Life,
        zxid: i64,
        answer: Option<&SubAnswer>,
    ) -> Result<(), String> {
        let by = Caller {
            session: life.session,
            who: &asked.who,
            zxid,
            doubt: true,
            begun: self.begun,
        };
        match answer {
            _ if self.strangers => Ok(()),
            Some(answer) => self.tree.answers(asked.op(), answer, &by),
            None => {
                let done = self.tree.attempt(asked.op(), &by);
                done.map_err(|code| code.to_string())
            }
        }
    }
}
