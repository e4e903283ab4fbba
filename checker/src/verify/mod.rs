//! The second opinion: does a certificate prove what it claims?
//!
//! Takes the order and the prefixes that an acquittal exhibits and checks the definition
//! itself, rule by rule, with a tree of its own. It searches nothing, knows nothing of how the
//! order was found, and shares no line with the judge: only the words of the history are
//! common. What it accepts is consistent even if the judge is wrong; what it refuses says that
//! the judge contradicts itself, and is no verdict about the service.
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
//!
//! It does not look at notifications (N1 to N3), nor at what a client says about itself when
//! it reconnects, and it knows only closed worlds: in an open one anybody may write anything.
//!
//! Answers to: `consistency.md` 3.1 and 6.

mod asked;
mod rights;
mod tree;

use crate::certificate::{Certificate, Effect, Sight, Step};
use crate::history::{Answer, ErrorCode, History, Op, Start, SyncPromise};
use asked::{Asked, Reading};
use std::collections::{BTreeMap, BTreeSet};
use tree::{Caller, Tree};

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
    /// The rule: `form`, `W1` to `W3`, `R1` to `R4`, `E`.
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
    prove(history, &asked::read(history), certificate, terms)
}

/// As [`verify`], for an acquittal that claims no more than this: the zxids are honest, and
/// nothing of unknown fate took effect. Returns the certificate that says so.
///
/// # Errors
/// The first rule that it does not prove.
pub fn verify_zxids(history: &History, terms: Terms) -> Result<Certificate, Refusal> {
    let reading = asked::read(history);
    let mut order = Vec::new();
    for asked in reading.asked.iter().filter(|asked| asked.answer.is_some()) {
        if asked.op.is_transaction() {
            let (zxid, effect) = (asked.zxid, Effect::Request(asked.invoke));
            order.push(Step { zxid, effect });
        }
    }
    order.sort_by_key(|step| step.zxid);
    let mut sights = Vec::new();
    for asked in reading.asked.iter().filter(|asked| asked.answer.is_some()) {
        if !asked.op.is_transaction() {
            let prefix = order.partition_point(|step| step.zxid <= asked.zxid);
            let invoke = asked.invoke;
            sights.push(Sight { invoke, prefix });
        }
    }
    let certificate = Certificate { order, sights };
    prove(history, &reading, &certificate, terms).map(|()| certificate)
}

fn prove(
    history: &History,
    reading: &Reading<'_>,
    certificate: &Certificate,
    terms: Terms,
) -> Result<(), Refusal> {
    let proof = Proof {
        history,
        reading,
        certificate,
        terms,
    };
    let places = proof.form()?;
    proof.times(&places)?;
    proof.sessions(&places)?;
    proof.ends()?;
    proof.replay(&places)
}

struct Proof<'a, 'h> {
    history: &'h History,
    reading: &'a Reading<'h>,
    certificate: &'a Certificate,
    terms: Terms,
}

/// Where each request stands: a transaction at its index in the order, a read after a number
/// of transactions.
struct Places {
    transaction: Vec<Option<usize>>,
    sight: Vec<Option<usize>>,
}

impl<'a, 'h> Proof<'a, 'h> {
    fn asked_at(&self, record: usize) -> Result<(usize, &'a Asked<'h>), Refusal> {
        match self.reading.number_of(record) {
            Some(number) => Ok((number, &self.reading.asked[number])),
            None => refuse(
                "form",
                record,
                "the certificate names a record that asks nothing",
            ),
        }
    }

    fn form(&self) -> Result<Places, Refusal> {
        let count = self.reading.asked.len();
        let mut places = Places {
            transaction: vec![None; count],
            sight: vec![None; count],
        };
        let order = &self.certificate.order;
        let start = match self.history.header.start {
            Start::Fresh => 0,
            Start::Nodes { zxid, .. } => zxid,
        };
        let (mut last, mut ended) = (start, BTreeSet::new());
        for (index, step) in order.iter().enumerate() {
            let record = match step.effect {
                Effect::End(session) if !ended.insert(session) => {
                    return refuse("form", 0, format!("session {session:#x} ends twice"));
                }
                Effect::End(_) => 0,
                Effect::Request(record) => {
                    let (number, asked) = self.asked_at(record)?;
                    if !asked.op.is_transaction()
                        || asked.refused
                        || places.transaction[number].is_some()
                    {
                        return refuse(
                            "form",
                            record,
                            "it has no place among the transactions, or one already",
                        );
                    }
                    if asked.answer.is_some() && asked.zxid != step.zxid {
                        return refuse("form", record, "it was answered at another zxid");
                    }
                    places.transaction[number] = Some(index);
                    record
                }
            };
            if step.zxid != 0 {
                if step.zxid <= last || step.zxid & 0xffff_ffff == 0 {
                    return refuse(
                        "form",
                        record,
                        format!("{:#x} cannot follow {last:#x}", step.zxid),
                    );
                }
                last = step.zxid;
            }
        }
        for sight in &self.certificate.sights {
            let (number, asked) = self.asked_at(sight.invoke)?;
            let fits =
                !asked.op.is_transaction() && asked.answer.is_some() && sight.prefix <= order.len();
            if !fits || places.sight[number].is_some() {
                return refuse(
                    "form",
                    sight.invoke,
                    "it is no answered read, or has a prefix already",
                );
            }
            let (seen, unseen) = order.split_at(sight.prefix);
            let ahead = seen
                .iter()
                .rev()
                .find(|step| step.zxid != 0)
                .is_some_and(|step| step.zxid > asked.zxid);
            let behind = unseen
                .iter()
                .find(|step| step.zxid != 0)
                .is_some_and(|step| step.zxid <= asked.zxid);
            if asked.zxid > 0 && (ahead || behind) {
                return refuse(
                    "form",
                    sight.invoke,
                    "its prefix is not the one its reply names",
                );
            }
            places.sight[number] = Some(sight.prefix);
        }
        for (number, asked) in self
            .reading
            .asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.answer.is_some())
        {
            if places.transaction[number]
                .or(places.sight[number])
                .is_none()
            {
                return refuse("form", asked.invoke, "it was answered and has no place");
            }
        }
        Ok(places)
    }

    /// The earliest that each transaction, or one before it, can have begun: what returned
    /// before, or was seen before, does not hold it.
    fn begins(&self) -> Result<Vec<u64>, Refusal> {
        let mut begun = vec![0];
        for step in &self.certificate.order {
            let begin = match step.effect {
                Effect::Request(record) => self.asked_at(record)?.1.call,
                Effect::End(session) => {
                    let expiry = self.expiry(session);
                    let life = self
                        .reading
                        .lives
                        .get(&session)
                        .filter(|life| !life.close_answered);
                    let lost = life.and_then(|life| life.close_sent);
                    lost.map_or(expiry, |sent| sent.min(expiry))
                }
            };
            begun.push(begin.max(begun[begun.len() - 1]));
        }
        Ok(begun)
    }

    fn expiry(&self, session: i64) -> u64 {
        self.reading
            .expiry(session, &self.history.header, self.terms.write_is_touch)
    }

    /// W1, R3, R4.
    fn times(&self, places: &Places) -> Result<(), Refusal> {
        let error = self.history.header.clock_error_ns.saturating_mul(2);
        let begun = self.begins()?;
        // By return: how much of the order every later sync must see.
        let mut returned: Vec<(u64, usize)> = Vec::new();
        for (number, asked) in self
            .reading
            .asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.answer.is_some())
        {
            let surely = asked.ret.saturating_add(error);
            if let Some(place) = places.transaction[number] {
                if surely < begun[place] {
                    return refuse(
                        "W1",
                        asked.invoke,
                        "it returned before something ordered earlier was called",
                    );
                }
                returned.push((surely, place));
            }
            if let Some(prefix) = places.sight[number]
                && surely < begun[prefix]
            {
                return refuse(
                    "R3",
                    asked.invoke,
                    "it was answered before something it saw was called",
                );
            }
        }
        returned.sort_unstable();
        let mut synced: BTreeMap<i64, usize> = BTreeMap::new();
        let mut floors = vec![0];
        returned
            .iter()
            .for_each(|&(_, place)| floors.push(floors[floors.len() - 1].max(place + 1)));
        for (number, asked) in self
            .reading
            .asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.session != 0)
        {
            let Some(prefix) = places.sight[number] else {
                continue;
            };
            let floor = synced.entry(asked.session).or_default();
            if matches!(asked.op, Op::Sync { .. }) {
                *floor = floors[returned.partition_point(|&(ret, _)| ret < asked.call)].max(*floor);
            } else if prefix < *floor && !self.may_be_deposed(prefix, *floor) {
                return refuse(
                    "R4",
                    asked.invoke,
                    "it missed what had been answered before an earlier sync",
                );
            }
        }
        Ok(())
    }

    /// Where only the leader's word is promised, one of an older epoch may not have known
    /// that a newer one had begun.
    fn may_be_deposed(&self, prefix: usize, floor: usize) -> bool {
        let epoch = |count: usize| {
            count
                .checked_sub(1)
                .map_or(0, |last| self.certificate.order[last].zxid >> 32)
        };
        self.history.header.sync == SyncPromise::Leader && epoch(prefix) < epoch(floor)
    }

    /// W2 and R2. What was lost may take effect after later reads of its session, for they may
    /// have been sent to a server that lags; never before earlier ones.
    fn sessions(&self, places: &Places) -> Result<(), Refusal> {
        #[derive(Default)]
        struct Bound {
            written: usize,
            seen: usize,
            /// Of what nobody asked for, such as new sessions, only the zxids tell.
            zxid: i64,
        }
        let mut bounds: BTreeMap<i64, Bound> = BTreeMap::new();
        for (number, asked) in self
            .reading
            .asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.session != 0)
        {
            let bound = bounds.entry(asked.session).or_default();
            if let Some(place) = places.transaction[number] {
                if place < bound.written || place < bound.seen {
                    return refuse(
                        "W2",
                        asked.invoke,
                        "it lies before what its session had sent or seen earlier",
                    );
                }
                bound.written = place + 1;
                if asked.answer.is_some() {
                    bound.seen = place + 1;
                }
            }
            if let Some(prefix) = places.sight[number] {
                if prefix < bound.seen || asked.zxid > 0 && asked.zxid < bound.zxid {
                    return refuse(
                        "R2",
                        asked.invoke,
                        "it sees less than its session had seen or written",
                    );
                }
                (bound.seen, bound.zxid) = (prefix, asked.zxid.max(bound.zxid));
            }
        }
        Ok(())
    }

    /// E: nobody is told too early that a session is gone, and no session comes back.
    fn ends(&self) -> Result<(), Refusal> {
        for (&session, life) in &self.reading.lives {
            let Some((told, record)) = life.expired else {
                continue;
            };
            let closed = life.close_sent.is_some_and(|sent| sent <= told);
            if !closed && told < self.expiry(session) {
                return refuse(
                    "E",
                    record,
                    "it was told before the session can have expired",
                );
            }
            if let Some((_, served)) = life
                .served
                .filter(|&(time, served)| served > record && time >= told)
            {
                return refuse(
                    "E",
                    served,
                    "a session was served after it had been told that it is gone",
                );
            }
        }
        Ok(())
    }

    /// W3 and R1.
    fn replay(&self, places: &Places) -> Result<(), Refusal> {
        let mut tree = Tree::new(&self.history.header.start, self.terms.exists_needs_read);
        let mut ended = BTreeSet::new();
        let mut sights: Vec<(usize, usize)> = Vec::new();
        for (number, prefix) in places.sight.iter().enumerate() {
            sights.extend(prefix.map(|prefix| (prefix, number)));
        }
        sights.sort_unstable();
        let mut sights = sights.into_iter().peekable();
        for place in 0..=self.certificate.order.len() {
            while let Some((_, number)) = sights.next_if(|&(prefix, _)| prefix == place) {
                read(&mut tree, &self.reading.asked[number])?;
            }
            let Some(step) = self.certificate.order.get(place) else {
                break;
            };
            tree.begin();
            match step.effect {
                Effect::End(session) => {
                    tree.end(session, step.zxid);
                    ended.insert(session);
                }
                Effect::Request(record) => {
                    let (_, asked) = self.asked_at(record)?;
                    let gone = ended.contains(&asked.session) && !matches!(asked.op, Op::Close);
                    match asked.answer {
                        Some(_) if gone => {
                            return refuse("W2", record, "its session had ended before");
                        }
                        Some(answer) => write(&mut tree, asked, step.zxid, answer)?,
                        None if gone => {}
                        None => attempt(&mut tree, asked, step.zxid),
                    }
                    if matches!(asked.op, Op::Close) {
                        ended.insert(asked.session);
                    }
                }
            }
        }
        Ok(())
    }
}

fn caller<'a>(asked: &'a Asked<'_>, zxid: i64, doubt: bool) -> Caller<'a> {
    Caller {
        session: asked.session,
        who: &asked.who,
        zxid,
        doubt,
    }
}

/// Does a request of unknown fate; if it cannot succeed here, it failed here.
fn attempt(tree: &mut Tree, asked: &Asked<'_>, zxid: i64) {
    let ops = match asked.op {
        Op::Multi { ops } => ops.as_slice(),
        single => std::slice::from_ref(single),
    };
    if run(tree, ops, caller(asked, zxid, true)).is_err() {
        tree.roll_back();
    }
}

fn run(tree: &mut Tree, ops: &[Op], by: Caller<'_>) -> Result<(), ErrorCode> {
    ops.iter()
        .try_for_each(|op| tree.execute(op, path_of(op), by).map(|_| ()))
}

fn path_of(op: &Op) -> &str {
    op.path().map_or("", |path| path)
}

/// W3: an answered transaction. Where it is not known whether the client may, the answer says.
fn write(
    tree: &mut Tree,
    asked: &Asked<'_>,
    zxid: i64,
    answer: &Result<Answer, ErrorCode>,
) -> Result<(), Refusal> {
    let by = caller(asked, zxid, *answer != Err(ErrorCode::NO_AUTH));
    match (asked.op, answer) {
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
fn read(tree: &mut Tree, asked: &Asked<'_>) -> Result<(), Refusal> {
    let Some(answer) = asked.answer else {
        return Ok(());
    };
    let by = caller(asked, 0, *answer != Err(ErrorCode::NO_AUTH));
    single(tree, asked.op, by, answer, asked.zxid > 0).or_else(|done| {
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
    let done = tree.execute(op, path_of(op), by);
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
