//! An order, written into the history: the same answers with zxids that are honest.
//!
//! Whoever finds an order has to prove it, and the proof is a history. Every transaction gets
//! the number of its place; every read, Stat, notification and reconnect the numbers that
//! follow; what was of unknown fate and took effect comes as the servers' log. That history
//! goes to the ordinary walk and to the verifier, who know nothing of how it came about. What
//! they accept is an order that explains all that was seen but zxids.
//!
//! A read may have several places that fit. Where the reported zxid, taken as a hint, names
//! one of them it is taken, because watches and later sessions agree with it in a history of
//! which only a part is wrong; where it does not, the earliest.
//!
//! Answers to: `consistency.md` 3.3 ("reads without zxid, write order known") and 6.

use super::again::Again;
use super::puzzle::{Place, Puzzle};
use super::search::{Deed, Sights};
use crate::history::{Answer, Body, History, SessionEvent, Stat, Txn, TxnKind};
use crate::model::{Node, PathId, SessionIndex, Tree};
use crate::walk::case::{Request, RequestIndex, Role};
use rustc_hash::FxHashMap;

/// How the places of what is not a transaction are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// A read takes the place that its zxid names, if it can.
    pub reads_as_told: bool,
    /// A notification keeps naming the transaction that it named.
    pub notifications_as_told: bool,
}

/// What is tried, the likeliest first.
pub const MANNERS: [Manner; 3] = [
    Manner {
        reads_as_told: true,
        notifications_as_told: true,
    },
    Manner {
        reads_as_told: true,
        notifications_as_told: false,
    },
    Manner {
        reads_as_told: false,
        notifications_as_told: false,
    },
];

/// An order about to be written down.
pub struct Fill<'p, 'c, 'h> {
    puzzle: &'p Puzzle<'c, 'h>,
    deeds: &'p [Deed],
    /// Where the reads have to stand; None leaves it to the manner.
    sights: Option<&'p Sights>,
    /// What each transaction's zxid was said to be; of what nobody was told, the one before's.
    hints: Vec<i64>,
    sorted: Vec<i64>,
    /// Some answer names a zxid, so that those of events mean something.
    names_zxids: bool,
    again: Again,
    /// How much of the order had been called by when, and which is whose: no read sees more.
    begun: Vec<u64>,
    own: FxHashMap<RequestIndex, usize>,
    /// Before the first number.
    base: i64,
    filled: History,
    manner: Manner,
}

impl<'p, 'c, 'h> Fill<'p, 'c, 'h> {
    /// Writes the order down. `tree` is blind and in its start state, and is so again after.
    /// None if not all reads find a place in this manner.
    pub fn write(
        puzzle: &'p Puzzle<'c, 'h>,
        deeds: &'p [Deed],
        sights: Option<&'p Sights>,
        tree: &mut Tree<'h>,
        exists_needs_read: bool,
        manner: Manner,
    ) -> Option<History> {
        let epoch = (puzzle.case.start_zxid >> 32) + 1;
        let hints = hints(puzzle, deeds);
        let (begun, own) = begun(puzzle, deeds);
        let mut sorted = hints.clone();
        sorted.sort_unstable();
        let mut fill = Fill {
            hints,
            sorted,
            names_zxids: puzzle.case.requests.iter().any(|request| request.zxid > 0),
            again: Again::of(puzzle.case, tree),
            begun,
            own,
            puzzle,
            deeds,
            sights,
            base: epoch << 32,
            filled: puzzle.case.history.clone(),
            manner,
        };
        (fill.filled.txns, fill.filled.header.txns) = (Vec::new(), None);
        let start = tree.mark_undo();
        let done = fill.walk(tree, exists_needs_read);
        tree.undo_to(start);
        done.then(|| {
            fill.write_events();
            fill.filled
        })
    }

    /// The zxid after so many transactions.
    fn zxid(&self, count: usize) -> i64 {
        match count {
            0 => self.puzzle.case.start_zxid,
            count => self.base + count as i64,
        }
    }

    /// After how many transactions a number of this order stands.
    fn count_of(&self, zxid: i64) -> usize {
        usize::try_from(zxid - self.base).unwrap_or(0)
    }

    /// How many transactions a zxid as told covers.
    fn covered(&self, told: i64) -> usize {
        self.sorted.partition_point(|&hint| hint <= told)
    }

    /// Puts the transactions one after the other and everything else between them; false if
    /// something finds no place.
    fn walk(&mut self, tree: &mut Tree<'h>, exists_needs_read: bool) -> bool {
        let puzzle = self.puzzle;
        let wishes = self.wishes();
        let mut places: Vec<Place> = vec![0; puzzle.lines.len()];
        for count in 0..=self.deeds.len() {
            if let Some(deed) = count.checked_sub(1).map(|index| self.deeds[index]) {
                tree.begin(self.zxid(count));
                match deed {
                    Deed::Next(line) => {
                        let Some(number) = puzzle.next(line, &places) else {
                            return false;
                        };
                        let request = &puzzle.case.requests[number as usize];
                        if request.role != Role::Transaction {
                            return false;
                        }
                        self.write_transaction(tree, request, count);
                        places[line] += 1;
                    }
                    Deed::Lost(number) => self.write_lost(tree, number, count),
                    Deed::End(number) => self.write_end(tree, number, count),
                    Deed::See(_) | Deed::Pass(_) => return false,
                }
            }
            self.again.note(tree, count);
            for line in 0..places.len() {
                while let Some(number) = puzzle.next(line, &places) {
                    let request = &puzzle.case.requests[number as usize];
                    let early = wishes.get(&number).is_some_and(|&wish| count < wish);
                    if early || !self.fits(tree, request, &places, exists_needs_read) {
                        break;
                    }
                    self.write_read(tree, request, count);
                    places[line] += 1;
                }
            }
        }
        puzzle.is_solved(&places)
    }

    fn fits(
        &self,
        tree: &mut Tree<'h>,
        request: &Request<'h>,
        places: &[Place],
        exists_needs_read: bool,
    ) -> bool {
        match request.role {
            Role::Read | Role::ReadSomewhere => {
                tree.read(&request.ask(), exists_needs_read).is_ok()
            }
            Role::Sync => {
                !self.puzzle.sync_counts || self.puzzle.soonest_transaction(places) >= request.call
            }
            Role::Transaction | Role::Unanswered | Role::Nothing => false,
        }
    }

    /// After how many transactions each read wishes to be placed, where it may be.
    fn wishes(&self) -> FxHashMap<RequestIndex, usize> {
        if let Some(sights) = self.sights {
            return sights.clone();
        }
        let mut wishes = FxHashMap::default();
        if !self.manner.reads_as_told {
            return wishes;
        }
        let case = self.puzzle.case;
        for line in &self.puzzle.lines {
            let mut limit = self.deeds.len();
            for &number in line.asked.iter().rev() {
                let request = &case.requests[number as usize];
                if let Some(&index) = self.own.get(&number) {
                    limit = limit.min(index);
                    continue;
                }
                let ret = request.ret.saturating_add(self.puzzle.blur);
                limit = limit.min(self.begun.partition_point(|&call| call <= ret));
                let wish = self.covered(request.zxid);
                if request.zxid > 0 && wish <= limit {
                    wishes.insert(number, wish);
                }
            }
        }
        wishes
    }

    fn write_transaction(&mut self, tree: &mut Tree<'h>, request: &Request<'h>, count: usize) {
        let mut nodes = Vec::new();
        let ops = request.op.parts();
        if is_granted(request) {
            let (session, who) = (request.session, request.who);
            let look = |tree: &mut Tree<'h>, path| nodes.push((path, tree.node(path).clone()));
            // The search has seen it succeed.
            let _ = tree.multi(ops, session, who, |_| true, look);
        }
        self.answer(tree, request, self.zxid(count), &nodes);
    }

    fn write_lost(&mut self, tree: &mut Tree<'h>, number: usize, count: usize) {
        let case = self.puzzle.case;
        let request = &case.requests[self.puzzle.lost[number].request as usize];
        let (session, who) = (request.session, request.who);
        let _ = tree.multi(request.op.parts(), session, who, |_| true, |_, _| {});
        let session = case.sessions.get(session as usize);
        self.filled.txns.push(Txn {
            zxid: self.zxid(count),
            session: session.map_or(0, |session| session.id),
            xid: case.xid_of(request.invoke).unwrap_or(0),
            kind: TxnKind::Write,
        });
    }

    fn write_end(&mut self, tree: &mut Tree<'h>, number: usize, count: usize) {
        let session = self.puzzle.ends[number].session;
        tree.end(session);
        self.filled.txns.push(Txn {
            zxid: self.zxid(count),
            session: self.puzzle.case.sessions[session as usize].id,
            xid: 0,
            kind: TxnKind::Close,
        });
    }

    fn write_read(&mut self, tree: &mut Tree<'h>, request: &Request<'h>, count: usize) {
        let node = tree.node(request.path).clone();
        self.answer(tree, request, self.zxid(count), &[(request.path, node)]);
    }

    /// Writes the zxids of one answer: the header's, and of each Stat those of its node. The
    /// tree learns the wall clock times in it.
    fn answer(
        &mut self,
        tree: &mut Tree<'h>,
        request: &Request<'h>,
        header: i64,
        nodes: &[(PathId, Node)],
    ) {
        let record = &mut self.filled.records[request.done as usize];
        let Body::Return { zxid, result, .. } = &mut record.body else {
            return;
        };
        *zxid = header;
        let stats: Vec<Option<&mut Stat>> = match result {
            Ok(Answer::Multi(results)) => {
                let parts = results.iter_mut().map(|part| part.as_mut().ok());
                parts.map(|part| part.and_then(stat_of)).collect()
            }
            Ok(answer) => vec![stat_of(answer)],
            Err(_) => Vec::new(),
        };
        for (stat, (path, node)) in stats.into_iter().zip(nodes) {
            let Some(stat) = stat else { continue };
            match *stat == Stat::default() && request.role != Role::Transaction {
                // It was not recorded, which only those may say whose place is not known.
                true => *zxid = 0,
                false => {
                    let _ = tree.stat_differs(*path, stat);
                    write_stat(stat, node);
                }
            }
        }
    }

    /// Writes what notifications, and clients of themselves, say of zxids between the answers.
    fn write_events(&mut self) {
        let case = self.puzzle.case;
        let named = self.named();
        // What each session has been shown.
        let mut seen: FxHashMap<SessionIndex, i64> = FxHashMap::default();
        for index in 0..self.filled.records.len() {
            let fresh = match &case.history.records[index].body {
                Body::Session(event) => {
                    let session = case.session_of.get(&(index as u32)).copied();
                    self.number_of(index as u32, event, session, &seen)
                }
                _ => 0,
            };
            match &mut self.filled.records[index].body {
                Body::Return { zxid, .. } => {
                    let request = &case.requests[case.request_of[index] as usize];
                    let known = seen.entry(request.session).or_insert(0);
                    match request.role {
                        // Since when it waits nobody knows.
                        Role::Nothing if request.op.arranges_watches() => {}
                        // It says nothing of the tree.
                        Role::Nothing => *zxid = *known,
                        Role::Transaction
                        | Role::Read
                        | Role::ReadSomewhere
                        | Role::Sync
                        | Role::Unanswered => *known = (*zxid).max(*known),
                    }
                }
                Body::Notify { zxid, .. } => {
                    let known = named.get(zxid).copied();
                    *zxid = known
                        .filter(|_| self.manner.notifications_as_told)
                        .unwrap_or(-1);
                }
                Body::Session(event) => write_event(event, fresh),
                Body::Invoke { .. } | Body::Lost { .. } | Body::Ping { .. } | Body::Final => {}
            }
        }
    }

    /// The number that a session event names, if it names any.
    fn number_of(
        &self,
        index: u32,
        event: &SessionEvent,
        session: Option<SessionIndex>,
        seen: &FxHashMap<SessionIndex, i64>,
    ) -> i64 {
        let shown = |session: SessionIndex| seen.get(&session).copied().unwrap_or(0);
        let mapped = |told: i64| match self.names_zxids {
            true => self.zxid(self.covered(told)),
            false => 0,
        };
        let seen = session.map_or(0, shown);
        match event {
            SessionEvent::Connecting {
                session,
                last_zxid_seen,
            } => mapped(*last_zxid_seen).max(shown(self.puzzle.case.index_of_session(*session))),
            SessionEvent::SetWatches { relative_zxid, .. } if self.names_zxids => {
                mapped(*relative_zxid)
            }
            SessionEvent::SetWatches { .. } => seen,
            SessionEvent::SetWatchesDone { zxid } => {
                let done = self.filled.records[index as usize].time;
                let time = done.saturating_add(self.puzzle.blur);
                let most = self.begun.partition_point(|&call| call <= time);
                match self.names_zxids {
                    // No more than had been asked for by then.
                    true => mapped(*zxid).min(self.zxid(most)).max(seen),
                    false => {
                        let seen_by = (self.count_of(seen), most);
                        self.zxid(self.again.place(index, seen, seen_by))
                    }
                }
            }
            SessionEvent::Connected { .. }
            | SessionEvent::Disconnected
            | SessionEvent::Expired { .. }
            | SessionEvent::Abandoned { .. }
            | SessionEvent::WatchesLeftOut
            | SessionEvent::Auth { .. }
            | SessionEvent::AuthDone { .. } => 0,
        }
    }

    /// The new number of each transaction that was answered, by the one it was said to have.
    fn named(&self) -> FxHashMap<i64, i64> {
        let deeds = self.deeds.iter().enumerate();
        let told = deeds.filter(|(_, deed)| matches!(deed, Deed::Next(_)));
        let number = |(index, _): (usize, &Deed)| (self.hints[index], self.zxid(index + 1));
        told.map(number).collect()
    }
}

fn write_event(event: &mut SessionEvent, fresh: i64) {
    match event {
        SessionEvent::Connecting { last_zxid_seen, .. } => *last_zxid_seen = fresh,
        SessionEvent::SetWatches { relative_zxid, .. } => *relative_zxid = fresh,
        SessionEvent::SetWatchesDone { zxid } => *zxid = fresh,
        SessionEvent::Connected { .. }
        | SessionEvent::Disconnected
        | SessionEvent::Expired { .. }
        | SessionEvent::Abandoned { .. }
        | SessionEvent::WatchesLeftOut
        | SessionEvent::Auth { .. }
        | SessionEvent::AuthDone { .. } => {}
    }
}

fn hints(puzzle: &Puzzle<'_, '_>, deeds: &[Deed]) -> Vec<i64> {
    let mut places: Vec<Place> = vec![0; puzzle.lines.len()];
    let mut hints: Vec<i64> = Vec::with_capacity(deeds.len());
    for &deed in deeds {
        let before = hints.last().copied().unwrap_or(puzzle.case.start_zxid);
        let hint = match deed {
            Deed::Lost(number) => puzzle.lost[number].hint,
            Deed::End(number) => puzzle.ends[number].hint,
            Deed::See(_) | Deed::Pass(_) => before,
            Deed::Next(line) => loop {
                let Some(number) = puzzle.next(line, &places) else {
                    break before;
                };
                places[line] += 1;
                let request = &puzzle.case.requests[number as usize];
                if request.role == Role::Transaction {
                    break request.zxid;
                }
            },
        };
        hints.push(if hint == i64::MAX { before } else { hint });
    }
    hints
}

/// The latest call among the first transactions of an order, and where those that were answered
/// stand in it.
fn begun(puzzle: &Puzzle<'_, '_>, deeds: &[Deed]) -> (Vec<u64>, FxHashMap<RequestIndex, usize>) {
    let requests = &puzzle.case.requests;
    let mut begun: Vec<u64> = Vec::with_capacity(deeds.len());
    let mut own: FxHashMap<RequestIndex, usize> = FxHashMap::default();
    let mut places: Vec<Place> = vec![0; puzzle.lines.len()];
    for (index, &deed) in deeds.iter().enumerate() {
        let call = match deed {
            Deed::Lost(number) => puzzle.lost[number].call,
            Deed::End(number) => puzzle.ends[number].begin,
            Deed::See(_) | Deed::Pass(_) => 0,
            Deed::Next(line) => {
                let asked = &puzzle.lines[line].asked;
                while let Some(&number) = asked.get(places[line]) {
                    places[line] += 1;
                    if requests[number as usize].role == Role::Transaction {
                        own.insert(number, index);
                        break;
                    }
                }
                let last = asked[places[line] - 1];
                requests[last as usize].call
            }
        };
        begun.push(call.max(begun.last().copied().unwrap_or(0)));
    }
    (begun, own)
}

/// True if a transaction was answered to have taken effect.
fn is_granted(request: &Request<'_>) -> bool {
    match request.answer {
        Some(Ok(Answer::Multi(results))) => results.iter().all(Result::is_ok),
        Some(Ok(_)) => true,
        Some(Err(_)) | None => false,
    }
}

fn stat_of(answer: &mut Answer) -> Option<&mut Stat> {
    match answer {
        Answer::Created { stat, .. }
        | Answer::Stat(stat)
        | Answer::Data { stat, .. }
        | Answer::NamesStat { stat, .. }
        | Answer::Acl { stat, .. } => Some(stat),
        Answer::Done | Answer::Path(_) | Answer::Names(_) | Answer::Multi(_) => None,
    }
}

fn write_stat(stat: &mut Stat, node: &Node) {
    if !node.opaque {
        (stat.czxid, stat.mzxid, stat.pzxid) = (node.czxid, node.mzxid, node.pzxid);
    }
}
