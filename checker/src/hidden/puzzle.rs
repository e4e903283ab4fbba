//! The puzzle: what has to be put into an order, and what each piece waits for.
//!
//! Of a history, or of a part of it, this keeps the answered requests of every session in the
//! order sent, the requests of unknown fate, and the ends of sessions that own ephemerals.
//! Zxids are kept only as hints of what to try first; nothing here decides by them.
//!
//! Answers to: `consistency.md` 3.1 (W1, W2, R2 to R4) and 3.3.

use super::part::Part;
use super::reach::{Reach, Reaches};
use super::recall::NO_HINT;
use crate::history::{Op, Start, SyncPromise};
use crate::model::{NO_SESSION, SessionIndex};
use crate::walk::case::{Case, RequestIndex, Role};
use crate::walk::makes_ephemeral;
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// The place in a [`Line`].
pub type Place = usize;

/// What is found out about each request before anything is searched.
pub struct Known {
    /// Where it stands in a likely order; a hint, no more.
    pub likely: Vec<i64>,
    /// What it looks at and changes.
    pub reaches: Rc<Reaches>,
    /// When sessions are likely to have ended whose end nobody was told; a hint, no more.
    pub ends: FxHashMap<SessionIndex, i64>,
}

/// What one session was answered, in the order sent.
pub struct Line {
    /// Answered transactions, reads and syncs.
    pub asked: Vec<RequestIndex>,
    /// The earliest return from each place on, what is surely later taken into account.
    soonest: Vec<u64>,
    /// The same of transactions alone.
    soonest_transaction: Vec<u64>,
    /// The earliest call from each place on.
    called: Vec<u64>,
    /// One past the last transaction that an end of the session has to wait for.
    pub last_transaction: Place,
}

/// A transaction of unknown fate.
pub struct Lost {
    /// The request.
    pub request: RequestIndex,
    /// Its session's line.
    pub line: usize,
    /// How much of the line was sent before it.
    pub after: Place,
    /// The line's next transaction, which fences it.
    pub fence: Place,
    /// When it was sent.
    pub call: u64,
    /// The zxid that it is likely to have.
    pub hint: i64,
}

/// The end of a session that nobody was told of.
pub struct End {
    /// The session.
    pub session: SessionIndex,
    /// Its line.
    pub line: usize,
    /// The earliest that it can have ended.
    pub begin: u64,
    /// The zxid that it is likely to have.
    pub hint: i64,
}

/// All of it.
pub struct Puzzle<'c, 'h> {
    /// The whole case.
    pub case: &'c Case<'h>,
    /// One for each session, and for each request that has none.
    pub lines: Vec<Line>,
    /// In the order sent.
    pub lost: Vec<Lost>,
    /// Of the sessions that may own ephemerals.
    pub ends: Vec<End>,
    /// What was found out about each request before.
    pub known: Rc<Known>,
    /// The reach of nothing.
    pub nothing: Reach,
    /// Twice the clock error.
    pub blur: u64,
    /// Whether what follows a sync sees all that had been answered before it.
    pub sync_counts: bool,
}

impl<'c, 'h> Puzzle<'c, 'h> {
    /// The puzzle of a part of a case. `sync_counts` asks for R4 even where only the
    /// leader's word is promised.
    pub fn of(
        case: &'c Case<'h>,
        known: &Rc<Known>,
        part: &Part,
        write_is_touch: bool,
        sync_counts: bool,
    ) -> Self {
        let mut puzzle = Puzzle {
            case,
            known: Rc::clone(known),
            nothing: Reach::default(),
            lines: Vec::new(),
            lost: Vec::new(),
            ends: Vec::new(),
            blur: case.history.header.clock_error_ns.saturating_mul(2),
            sync_counts: sync_counts || case.history.header.sync == SyncPromise::Quorum,
        };
        let mut line_of: FxHashMap<SessionIndex, usize> = FxHashMap::default();
        let mut owners = owners_at_the_start(case);
        for (index, request) in case.requests.iter().enumerate() {
            let index = index as RequestIndex;
            if !part.keeps(index, request) {
                continue;
            }
            let line = match request.session {
                NO_SESSION => puzzle.new_line(),
                session => *(line_of.entry(session)).or_insert_with(|| puzzle.new_line()),
            };
            if makes_ephemeral(request.op) {
                owners.insert(request.session);
            }
            let answered = part.answered(request);
            match request.role {
                Role::Transaction if answered => {
                    if !matches!(request.op, Op::Close) {
                        let line = &mut puzzle.lines[line];
                        line.last_transaction = line.asked.len() + 1;
                    }
                    puzzle.lines[line].asked.push(index);
                }
                Role::Read | Role::ReadSomewhere | Role::Sync if answered => {
                    puzzle.lines[line].asked.push(index);
                }
                Role::Transaction | Role::Unanswered if !matches!(request.op, Op::Close) => {
                    puzzle.lost.push(Lost {
                        request: index,
                        line,
                        after: puzzle.lines[line].asked.len(),
                        fence: Place::MAX,
                        call: request.call,
                        hint: known.likely[index as usize],
                    });
                }
                Role::Transaction
                | Role::Unanswered
                | Role::Read
                | Role::ReadSomewhere
                | Role::Sync
                | Role::Nothing => {}
            }
        }
        puzzle.find_fences();
        puzzle.find_soonest();
        for session in 0..case.sessions.len() as SessionIndex {
            if owners.contains(&session) {
                let line = *(line_of.entry(session)).or_insert_with(|| puzzle.new_line());
                let begin = puzzle.begin_of_end(session, line, part, write_is_touch);
                let hint = *known.ends.get(&session).unwrap_or(&NO_HINT);
                puzzle.ends.push(End {
                    session,
                    line,
                    begin,
                    hint,
                });
            }
        }
        puzzle
    }

    fn new_line(&mut self) -> usize {
        self.lines.push(Line {
            asked: Vec::new(),
            soonest: vec![u64::MAX],
            soonest_transaction: vec![u64::MAX],
            called: vec![u64::MAX],
            last_transaction: 0,
        });
        self.lines.len() - 1
    }

    fn find_fences(&mut self) {
        for lost in &mut self.lost {
            let line = &self.lines[lost.line];
            let later = line.asked[lost.after..].iter();
            let fence = later.enumerate().find_map(|(offset, &request)| {
                let role = self.case.requests[request as usize].role;
                (role == Role::Transaction).then_some(lost.after + offset)
            });
            lost.fence = fence.unwrap_or(Place::MAX);
        }
    }

    fn find_soonest(&mut self) {
        for line in &mut self.lines {
            let count = line.asked.len();
            line.soonest = vec![u64::MAX; count + 1];
            line.soonest_transaction = vec![u64::MAX; count + 1];
            line.called = vec![u64::MAX; count + 1];
            for place in (0..count).rev() {
                let request = &self.case.requests[line.asked[place] as usize];
                let ret = request.ret.saturating_add(self.blur);
                line.soonest[place] = ret.min(line.soonest[place + 1]);
                line.called[place] = request.call.min(line.called[place + 1]);
                let own = match request.role {
                    Role::Transaction => ret,
                    Role::Read
                    | Role::ReadSomewhere
                    | Role::Sync
                    | Role::Unanswered
                    | Role::Nothing => u64::MAX,
                };
                line.soonest_transaction[place] = own.min(line.soonest_transaction[place + 1]);
            }
        }
    }

    /// A close that was answered stands in the order itself, and only expiry can come before
    /// it; one that was not may have ended the session any time since it was sent.
    fn begin_of_end(
        &self,
        session: SessionIndex,
        line: usize,
        part: &Part,
        write_is_touch: bool,
    ) -> u64 {
        let expiry = self.case.earliest_expiry(session, write_is_touch);
        let closed = |&request: &RequestIndex| {
            let request = &self.case.requests[request as usize];
            matches!(request.op, Op::Close) && matches!(request.answer, Some(Ok(_)))
        };
        let answered = self.lines[line].asked.iter().any(closed);
        let sent = self.case.sessions[session as usize].close_sent;
        let sent = sent.filter(|&sent| !answered && sent <= part.until);
        sent.map_or(expiry, |sent| sent.min(expiry))
    }

    /// The earliest return among all that is not settled yet: W1 and R3 let nothing come next
    /// that was called later.
    pub fn soonest(&self, places: &[Place]) -> u64 {
        let lines = self.lines.iter().zip(places);
        let each = lines.map(|(line, &place)| line.soonest[place]);
        each.min().unwrap_or(u64::MAX)
    }

    /// As [`Puzzle::soonest`], of transactions alone: what a sync waits for.
    pub fn soonest_transaction(&self, places: &[Place]) -> u64 {
        let lines = self.lines.iter().zip(places);
        let each = lines.map(|(line, &place)| line.soonest_transaction[place]);
        each.min().unwrap_or(u64::MAX)
    }

    /// What is not settled yet and was called by a time.
    pub fn called_by<'a>(
        &'a self,
        until: u64,
        places: &'a [Place],
    ) -> impl Iterator<Item = RequestIndex> + 'a {
        let lines = self.lines.iter().zip(places);
        let left = lines.flat_map(move |(line, &place)| {
            let left = line.asked[place..].iter().zip(&line.called[place..]);
            left.take_while(move |&(_, &earliest)| earliest <= until)
        });
        let called =
            move |&request: &RequestIndex| self.case.requests[request as usize].call <= until;
        left.map(|(&request, _)| request).filter(called)
    }

    /// True if everything answered has its place.
    pub fn is_solved(&self, places: &[Place]) -> bool {
        let mut lines = self.lines.iter().zip(places);
        lines.all(|(line, &place)| place == line.asked.len())
    }

    /// What must be settled next on a line.
    pub fn next(&self, line: usize, places: &[Place]) -> Option<RequestIndex> {
        self.lines[line].asked.get(places[line]).copied()
    }
}

fn owners_at_the_start(case: &Case<'_>) -> FxHashSet<SessionIndex> {
    let nodes = match &case.history.header.start {
        Start::Fresh => &[][..],
        Start::Nodes { nodes, .. } => nodes,
    };
    let owners = nodes.iter().map(|node| node.stat.ephemeral_owner);
    owners
        .filter(|&owner| owner != 0)
        .map(|owner| case.index_of_session(owner))
        .collect()
}
