//! What sessions were told by notifications, as part of the puzzle.
//!
//! A watch registered at some prefix fires on the next change of its table and path, and the
//! notification comes before any answer that shows as much (N1 to N3). That ties reads to places
//! in the order: a read that registers a watch may have to see less, or more, than the earliest
//! prefix that answers it. Each connection has a stream of notifications between its answers; here
//! is what was told when, and what an applied transaction fires.
//!
//! Weaker than the walk on purpose, so that what is impossible here is impossible: notifications
//! of one transaction may come in any order; whatever setWatches or a lost read may have registered
//! may be told at any time, and so what a read of that session registers on that path need not be
//! told any more; nothing has to be told of a node that not everybody may read, on a connection
//! that is gone, or to a client that has watches which stay, or stopped taking watches down; and
//! who was told of a change may still be answered from before it, since R2 is of answers.
//!
//! Answers to: `consistency.md` 3.4, P10 to P12.

use super::part::Part;
use super::puzzle::{Place, Puzzle};
use crate::history::{Body, EventType, Op, SessionEvent};
use crate::model::{Event, OPEN, PathId, Paths, SessionIndex, Tree};
use crate::walk::case::{Case, RequestIndex};
use crate::walk::{Table, registers, tables_of};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};

/// A notification.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// So many answers came before it.
    place: Place,
    time: u64,
    path: PathId,
    event: EventType,
    /// Nobody can tell what it comes from.
    free: bool,
}

/// What one session heard, connection by connection.
#[derive(Debug, Clone, Default)]
struct Line {
    /// Where connections ended: so many answers came before.
    gone: Vec<Place>,
    told: Vec<Vec<Told>>,
}

impl Line {
    /// The connection on which an answer came.
    fn connection(&self, place: Place) -> usize {
        self.gone.partition_point(|&gone| gone <= place)
    }

    /// What was told on the present connection.
    fn latest(&mut self) -> &mut Vec<Told> {
        self.told.resize(self.gone.len() + 1, Vec::new());
        &mut self.told[self.gone.len()]
    }
}

/// What all sessions heard; does not change during a search.
pub struct Watching {
    lines: Vec<Line>,
    /// Reads that register a watch.
    registers: FxHashMap<RequestIndex, (Table, PathId)>,
    /// Paths of which a line may have been told by what nobody saw register: what a read
    /// registers there may have been told already.
    doubtful: FxHashSet<(usize, PathId)>,
    blur: u64,
}

/// A connection of a line.
type Ear = (usize, usize);

/// What the servers and sessions know of watches at some point of the search.
#[derive(Debug, Clone, Default)]
pub struct Ears {
    /// How much was heard on each connection, of those on which something was.
    heard: BTreeMap<Ear, usize>,
    /// Registered and not fired.
    live: BTreeSet<(Ear, Table, PathId)>,
    /// Fired and not told, in the order fired.
    pending: BTreeSet<Pending>,
    /// Lines whose next read lets the present state of its node pass.
    passing: BTreeSet<usize>,
}

/// A watch that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    ear: Ear,
    /// By which transaction.
    zxid: i64,
    path: PathId,
    event: EventType,
    /// It has to be told.
    sure: bool,
}

impl Watching {
    /// What the sessions of a puzzle heard, up to the part's end. None if nobody was told
    /// anything and nobody asked to be.
    pub fn of(part: &Part, puzzle: &Puzzle<'_, '_>, paths: &Paths<'_>) -> Option<Watching> {
        let case = puzzle.case;
        let mut watching = Watching {
            lines: vec![Line::default(); puzzle.lines.len()],
            registers: FxHashMap::default(),
            doubtful: FxHashSet::default(),
            blur: puzzle.blur,
        };
        let mut free: FxHashSet<(SessionIndex, PathId)> = FxHashSet::default();
        for (number, request) in (0..).zip(&case.requests) {
            let Some(table) = registers(request.op) else {
                continue;
            };
            match part.keeps(number, request) && part.answered(request) {
                true => drop(watching.registers.insert(number, (table, request.path))),
                false => drop(free.insert((request.session, request.path))),
            }
        }
        watching.add_streams(part, puzzle, paths, free);
        let told = watching.lines.iter().flat_map(|line| &line.told).flatten();
        (told.count() > 0 || !watching.registers.is_empty()).then_some(watching)
    }

    fn add_streams(
        &mut self,
        part: &Part,
        puzzle: &Puzzle<'_, '_>,
        paths: &Paths<'_>,
        mut free: FxHashSet<(SessionIndex, PathId)>,
    ) {
        let case: &Case<'_> = puzzle.case;
        let mut line_of: FxHashMap<SessionIndex, usize> = FxHashMap::default();
        let mut place_of: FxHashMap<RequestIndex, Place> = FxHashMap::default();
        for (line, asked) in puzzle.lines.iter().enumerate() {
            for (place, &number) in asked.asked.iter().enumerate() {
                line_of.insert(case.requests[number as usize].session, line);
                place_of.insert(number, place);
            }
        }
        let mut of_process: FxHashMap<u32, SessionIndex> = FxHashMap::default();
        let mut deaf: FxHashSet<SessionIndex> = FxHashSet::default();
        let mut places: Vec<Place> = vec![0; puzzle.lines.len()];
        for (index, record) in (0u32..).zip(&case.history.records) {
            if record.time > part.until {
                continue;
            }
            let session = match &record.body {
                Body::Session(_) => case.session_of.get(&index).copied(),
                Body::Invoke { session, .. } => Some(case.index_of_session(*session)),
                _ => None,
            };
            // What ends a session names none any more.
            let session = session.or(of_process.get(&record.process).copied());
            let Some(session) = session else { continue };
            of_process.insert(record.process, session);
            let Some(&line) = line_of.get(&session) else {
                continue;
            };
            match &record.body {
                Body::Return { .. } => {
                    let request = case.request_of[index as usize];
                    if let Some(&place) = place_of.get(&request) {
                        places[line] = places[line].max(place + 1);
                    }
                }
                Body::Notify { event, path, .. } => {
                    let Some(path) = paths.find(path) else {
                        continue;
                    };
                    self.lines[line].latest().push(Told {
                        place: places[line],
                        time: record.time,
                        path,
                        event: *event,
                        free: deaf.contains(&session) || free.contains(&(session, path)),
                    });
                }
                Body::Session(SessionEvent::SetWatches {
                    data,
                    exist,
                    child,
                    stays,
                    ..
                }) => {
                    if !stays.is_empty() {
                        deaf.insert(session);
                    }
                    let wishes = data.iter().chain(exist).chain(child);
                    let wishes = wishes.filter_map(|path| paths.find(path));
                    free.extend(wishes.map(|path| (session, path)));
                }
                Body::Session(SessionEvent::WatchesLeftOut) => {
                    deaf.insert(session);
                }
                Body::Session(
                    SessionEvent::Connecting { .. }
                    | SessionEvent::Connected { .. }
                    | SessionEvent::Disconnected
                    | SessionEvent::Expired { .. }
                    | SessionEvent::Abandoned { .. },
                ) => self.lines[line].gone.push(places[line]),
                Body::Session(
                    SessionEvent::SetWatchesDone { .. }
                    | SessionEvent::Auth { .. }
                    | SessionEvent::AuthDone { .. },
                ) => {}
                Body::Invoke { op, .. } => {
                    // What stays fires too often to be followed here.
                    if op.arranges_watches() {
                        deaf.insert(session);
                    }
                }
                Body::Lost { .. } | Body::Ping { .. } | Body::Final => {}
            }
        }
        let lines = free.iter();
        let lines = lines.filter_map(|(session, path)| Some((*line_of.get(session)?, *path)));
        self.doubtful = lines.collect();
        // Who stopped taking watches down is asked nothing about any.
        let sessions = |number: RequestIndex| case.requests[number as usize].session;
        self.registers
            .retain(|&number, _| !deaf.contains(&sessions(number)));
    }

    /// Tells the tree of which paths the events will be asked for.
    pub fn watch(&self, tree: &mut Tree<'_>) {
        for &(_, path) in self.registers.values() {
            tree.watch(path);
        }
    }

    /// True if a read registers a watch.
    pub fn registers(&self, number: RequestIndex) -> bool {
        self.registers.contains_key(&number)
    }

    /// The next notification of each connection that is not explained yet.
    fn unheard<'a>(&'a self, ears: &'a Ears) -> impl Iterator<Item = (Ear, &'a Told)> {
        let lines = self.lines.iter().enumerate();
        let streams = lines.flat_map(|(line, heard)| {
            let told = heard.told.iter().enumerate();
            told.map(move |(connection, told)| ((line, connection), told))
        });
        streams.filter_map(|(ear, told)| Some((ear, told.get(ears.heard(ear))?)))
    }

    /// When the earliest notification came that is not explained yet: nothing may stand before
    /// what it tells of that was called later.
    pub fn soonest(&self, ears: &Ears) -> u64 {
        let times = self
            .unheard(ears)
            .map(|(_, told)| told.time.saturating_add(self.blur));
        times.min().unwrap_or(u64::MAX)
    }

    /// The paths of which notifications came that are not explained yet.
    pub fn awaited<'a>(&'a self, ears: &'a Ears) -> impl Iterator<Item = PathId> + 'a {
        self.unheard(ears).map(|(_, told)| told.path)
    }

    /// True if every notification is explained.
    pub fn is_over(&self, ears: &Ears) -> bool {
        self.unheard(ears).next().is_none()
    }

    /// Lets a line hear what was told before its next answer; true if it is owed nothing more
    /// before that.
    pub fn listen(&self, line: usize, place: Place, ears: &mut Ears) -> bool {
        let present = self.lines[line].connection(place);
        for connection in 0..=present {
            let ear = (line, connection);
            let told = self.lines[line].told.get(connection);
            while let Some(told) = told.and_then(|told| told.get(ears.heard(ear))) {
                let pending = ears.told(ear, told);
                if told.place > place || pending.is_none() && !told.free {
                    break;
                }
                if let Some(pending) = pending {
                    ears.pending.remove(&pending);
                }
                *ears.heard.entry(ear).or_insert(0) += 1;
            }
        }
        !ears.owes((line, present))
    }

    /// A read of a line was answered here: its watch is registered.
    pub fn register(
        &self,
        (line, place): (usize, Place),
        number: RequestIndex,
        (op, ok): (&Op, bool),
        ears: &mut Ears,
    ) {
        ears.passing.remove(&line);
        // An error registers nothing, but for exists.
        if let Some(&(table, path)) = self.registers.get(&number)
            && (ok || matches!(op, Op::Exists { .. }))
        {
            let ear = (line, self.lines[line].connection(place));
            ears.live.insert((ear, table, path));
        }
    }

    /// Fires what the last transaction, at `zxid`, fires of these paths.
    pub fn fire(&self, tree: &Tree<'_>, changed: &[PathId], zxid: i64, ears: &mut Ears) {
        let known: BTreeSet<PathId> = changed.iter().copied().collect();
        for &path in &known {
            let events = tree.events(path).iter().rev();
            let fresh: Vec<Event> = events
                .take_while(|event| event.zxid == zxid)
                .copied()
                .collect();
            for event in fresh.into_iter().rev() {
                let tables = tables_of(event.event);
                let fired: Vec<(Ear, Table, PathId)> = ears
                    .live
                    .iter()
                    .filter(|(_, table, other)| *other == path && tables.contains(table))
                    .copied()
                    .collect();
                for fired in fired {
                    ears.live.remove(&fired);
                    ears.pending.insert(Pending {
                        ear: fired.0,
                        zxid,
                        path,
                        event: event.event,
                        sure: event.acl == OPEN && !self.doubtful.contains(&(fired.0.0, path)),
                    });
                }
            }
        }
    }
}

impl Ears {
    fn heard(&self, ear: Ear) -> usize {
        self.heard.get(&ear).copied().unwrap_or(0)
    }

    /// True if a connection has to be told something before anything else.
    fn owes(&self, ear: Ear) -> bool {
        let mut pending = self.pending.iter();
        pending.any(|pending| pending.ear == ear && pending.sure)
    }

    /// What a notification tells of, if nothing had to be told before.
    fn told(&self, ear: Ear, told: &Told) -> Option<Pending> {
        let mut own = self.pending.iter().filter(|pending| pending.ear == ear);
        let first = own.clone().find(|pending| pending.sure);
        let told = own.find(|pending| (pending.path, pending.event) == (told.path, told.event))?;
        let in_turn = first.is_none_or(|first| first.zxid >= told.zxid);
        in_turn.then_some(*told)
    }

    /// True if a line's next read lets the present state pass.
    pub fn lets_pass(&self, line: usize) -> bool {
        self.passing.contains(&line)
    }

    /// Lets it pass, or not any more.
    pub fn pass(&mut self, line: usize, passes: bool) {
        match passes {
            true => self.passing.insert(line),
            false => self.passing.remove(&line),
        };
    }

    /// Everything that tells two of these apart, as numbers.
    pub fn facts(&self) -> impl Iterator<Item = (u64, usize, usize)> + '_ {
        let ear = |(line, connection): Ear| line | connection << 24;
        let heard = self.heard.iter();
        let live = self.live.iter();
        let pending = (0..).zip(&self.pending);
        heard
            .map(move |(&of, &heard)| (3, ear(of), heard))
            .chain(live.map(move |&(of, table, path)| (4 + table as u64, ear(of), path as usize)))
            .chain(pending.map(move |(turn, pending)| {
                let kind = 8 + 2 * pending.event as u64 + u64::from(pending.sure);
                let what: usize = turn << 32 | pending.path as usize;
                (kind, ear(pending.ear), what)
            }))
            .chain(self.passing.iter().map(|&line| (6, line, 0)))
    }
}
