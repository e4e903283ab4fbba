//! What sessions were told by notifications, as part of the puzzle.
//!
//! A watch registered at some prefix fires on the next change of its table and path, and the
//! notification comes before any answer that shows as much (N1 to N3). That ties reads to places
//! in the order: a read that registers a watch may have to see less, or more, than the earliest
//! prefix that answers it. Each line's stream of notifications stands between its answers; here
//! is what a line is waiting for, and what an applied transaction fires.
//!
//! Weaker than the walk on purpose, so that what is impossible here is impossible: notifications
//! of one moment may come in any order; whatever setWatches or a lost read may have registered
//! may be told at any time; nothing has to be told of a node that not everybody may read; and
//! nothing after a client stopped taking watches down.
//!
//! Answers to: `consistency.md` 3.4, P10 to P12.

use super::part::Part;
use super::puzzle::{Place, Puzzle};
use crate::history::{Body, EventType, Op, SessionEvent};
use crate::model::{Event, OPEN, PathId, Paths, SessionIndex, Tree};
use crate::walk::case::{Case, RequestIndex};
use crate::walk::{Table, registers, tables_of};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// What a session heard between two answers.
#[derive(Debug, Clone, Copy)]
enum Heard {
    /// A notification.
    Told {
        path: PathId,
        event: EventType,
        /// Nobody can tell what it comes from.
        free: bool,
    },
    /// The connection was gone, and all its watches.
    Gone,
}

/// One thing heard.
#[derive(Debug, Clone, Copy)]
struct Item {
    /// So many answers came before it.
    place: Place,
    time: u64,
    heard: Heard,
}

/// What all sessions heard; does not change during a search.
pub struct Watching {
    lines: Vec<Vec<Item>>,
    /// Reads that register a watch.
    registers: FxHashMap<RequestIndex, (Table, PathId)>,
    blur: u64,
}

/// What the servers and sessions know of watches at some point of the search.
#[derive(Debug, Clone, Default)]
pub struct Ears {
    /// How much each line has heard.
    heard: Vec<usize>,
    /// Registered and not fired.
    live: BTreeSet<(usize, Table, PathId)>,
    /// Fired and not told, and whether it has to be.
    pending: BTreeSet<(usize, PathId, EventType, bool)>,
    /// Lines whose next read lets the present state of its node pass.
    passing: BTreeSet<usize>,
}

impl Watching {
    /// What the sessions of a puzzle heard, up to the part's end. None if nobody was told
    /// anything and nobody asked to be.
    pub fn of(part: &Part, puzzle: &Puzzle<'_, '_>, paths: &Paths<'_>) -> Option<Watching> {
        let case = puzzle.case;
        let mut watching = Watching {
            lines: vec![Vec::new(); puzzle.lines.len()],
            registers: FxHashMap::default(),
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
        let told = watching.lines.iter().any(|items| !items.is_empty());
        (told || !watching.registers.is_empty()).then_some(watching)
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
            let heard = match &record.body {
                Body::Return { .. } => {
                    let request = case.request_of[index as usize];
                    if let Some(&place) = place_of.get(&request) {
                        places[line] = places[line].max(place + 1);
                    }
                    continue;
                }
                Body::Notify { event, path, .. } => {
                    let Some(path) = paths.find(path) else {
                        continue;
                    };
                    let free = deaf.contains(&session) || free.contains(&(session, path));
                    let event = *event;
                    Heard::Told { path, event, free }
                }
                Body::Session(SessionEvent::SetWatches {
                    data, exist, child, ..
                }) => {
                    let wishes = data.iter().chain(exist).chain(child);
                    let wishes = wishes.filter_map(|path| paths.find(path));
                    free.extend(wishes.map(|path| (session, path)));
                    continue;
                }
                Body::Session(SessionEvent::WatchesLeftOut) => {
                    deaf.insert(session);
                    continue;
                }
                Body::Session(
                    SessionEvent::Connecting { .. }
                    | SessionEvent::Connected { .. }
                    | SessionEvent::Disconnected
                    | SessionEvent::Expired { .. }
                    | SessionEvent::Abandoned { .. },
                ) => Heard::Gone,
                Body::Session(
                    SessionEvent::SetWatchesDone { .. }
                    | SessionEvent::Auth { .. }
                    | SessionEvent::AuthDone { .. },
                )
                | Body::Invoke { .. }
                | Body::Lost { .. }
                | Body::Ping { .. }
                | Body::Final => continue,
            };
            self.lines[line].push(Item {
                place: places[line],
                time: record.time,
                heard,
            });
        }
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

    /// What everybody knows in the beginning.
    pub fn ears(&self) -> Ears {
        Ears {
            heard: vec![0; self.lines.len()],
            ..Ears::default()
        }
    }

    /// True if a read registers a watch.
    pub fn registers(&self, number: RequestIndex) -> bool {
        self.registers.contains_key(&number)
    }

    /// When the earliest notification came that is not explained yet: nothing may stand before
    /// it that was called later.
    pub fn soonest(&self, ears: &Ears) -> u64 {
        let next = self.lines.iter().zip(&ears.heard);
        let next = next.filter_map(|(items, &heard)| items.get(heard));
        let times = next.map(|item| item.time.saturating_add(self.blur));
        times.min().unwrap_or(u64::MAX)
    }

    /// The path of the notification that a line is waiting for.
    pub fn awaits(&self, line: usize, place: Place, ears: &Ears) -> Option<PathId> {
        match self.item(line, place, ears)?.heard {
            Heard::Told { path, .. } => Some(path),
            Heard::Gone => None,
        }
    }

    fn item(&self, line: usize, place: Place, ears: &Ears) -> Option<Item> {
        let next = self.lines[line].get(ears.heard[line]).copied();
        next.filter(|item| item.place == place)
    }

    /// Lets a line hear what it can at a place; true if that is all that it heard there, and
    /// nothing else had to be told first.
    pub fn listen(&self, line: usize, place: Place, ears: &mut Ears) -> bool {
        while let Some(item) = self.item(line, place, ears) {
            match item.heard {
                Heard::Gone => {
                    ears.live.retain(|&(other, ..)| other != line);
                    ears.pending.retain(|&(other, ..)| other != line);
                }
                Heard::Told { path, event, free } => {
                    let mut told = [true, false]
                        .map(|sure| (line, path, event, sure))
                        .into_iter();
                    if !told.any(|told| ears.pending.remove(&told)) && !free {
                        return false;
                    }
                }
            }
            ears.heard[line] += 1;
        }
        !ears
            .pending
            .iter()
            .any(|&(other, .., sure)| other == line && sure)
    }

    /// True if a line may have something to hear.
    pub fn is_stirred(&self, line: usize, place: Place, ears: &Ears) -> bool {
        self.item(line, place, ears).is_some()
    }

    /// True if all was heard.
    pub fn is_over(&self, ears: &Ears) -> bool {
        let mut lines = self.lines.iter().zip(&ears.heard);
        lines.all(|(items, &heard)| items.len() == heard)
    }

    /// A read of a line was answered here: its watch is registered.
    pub fn register(&self, line: usize, number: RequestIndex, op: &Op, ok: bool, ears: &mut Ears) {
        ears.passing.remove(&line);
        // An error registers nothing, but for exists.
        if let Some(&(table, path)) = self.registers.get(&number)
            && (ok || matches!(op, Op::Exists { .. }))
        {
            ears.live.insert((line, table, path));
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
                let fired: Vec<(usize, Table, PathId)> = ears
                    .live
                    .iter()
                    .filter(|(_, table, other)| *other == path && tables.contains(table))
                    .copied()
                    .collect();
                for fired in fired {
                    ears.live.remove(&fired);
                    let sure = event.acl == OPEN;
                    ears.pending.insert((fired.0, path, event.event, sure));
                }
            }
        }
    }
}

impl Ears {
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
        let heard = self.heard.iter().enumerate();
        let live = self.live.iter();
        let pending = self.pending.iter();
        heard
            .map(|(line, &heard)| (3, line, heard))
            .chain(live.map(|&(line, table, path)| (4 + table as u64, line, path as usize)))
            .chain(pending.map(|&(line, path, event, sure)| {
                (8 + 2 * event as u64 + u64::from(sure), line, path as usize)
            }))
            .chain(self.passing.iter().map(|&line| (6, line, 0)))
    }
}
