//! The search: is there an order of the transactions that explains every answer?
//!
//! Transactions are put one after the other, depth first, on one tree that can be taken back.
//! Three things make that small.
//!
//! 1. *Only what may come next is tried.* Nothing may that was called after something not yet
//!    settled had returned (W1, R3), so that only what was in flight together is ever put in
//!    different orders, however long the history.
//! 2. *Reads never branch.* As soon as a session's next answer is what the tree would say, it
//!    is settled there: of all prefixes that fit the earliest is best, since a smaller one
//!    only loosens what follows. A read may lie long before it was called, for a server may
//!    lag; a sync waits for all that had been answered before it (R4).
//! 3. *No configuration is tried twice.* What the rest of the search can do depends on where
//!    each session stands, and on the tree without its zxids: 128 bits for all of it are
//!    remembered. Of two that are the same, the one that used up no more requests of unknown
//!    fate can do all that the other can; those whose turn is over make no difference.
//! 4. *What changes nothing never branches.* A refused transaction stands as early as it is right
//!    and in turn, for the reason that a read does.
//!
//! Requests of unknown fate, and ends of sessions, are tried where nothing answered can come
//! next or all of that failed, so the latest place that mends a dead end is tried first; and
//! only right before something that they cannot be exchanged with (see [`super::reach`]).
//!
//! Where a session registers watches the earliest prefix need not be the best: then a read has
//! a choice at each state of its node (see [`super::watching`]). That is asked only where an order
//! without it was refused for the sake of a notification. Otherwise notifications are not looked
//! at, and never what a client says of itself when it reconnects; so an order that is found has
//! to be proved along those, too, before it acquits.
//!
//! Answers to: `consistency.md` 3.3 (L3); Lowe, *Testing for linearizability* (2017).

mod hearing;
mod next;

use super::puzzle::{Place, Puzzle};
use super::watching::{Ears, Watching};
use crate::history::Op;
use crate::model::{PathId, Tree};
use crate::walk::case::{RequestIndex, Role};
use rustc_hash::{FxHashMap, FxHashSet};

/// Sessions and requests of unknown fate that are looked at for the price of a configuration:
/// where there are more, each costs accordingly.
const PIECES_A_CONFIGURATION: usize = 256;

/// Configurations that are remembered which differ in nothing but in what was used up of
/// requests of unknown fate.
const SPENT_MAX: usize = 64;

/// What is put next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The next transaction of a line.
    Next(usize),
    /// One of unknown fate, by its number.
    Lost(usize),
    /// The end of a session, by its number.
    End(usize),
    /// A line's read, which registers a watch, sees this state.
    See(usize),
    /// It does not, and waits for another.
    Pass(usize),
}

/// Where reads stand: after how many transactions.
pub type Sights = FxHashMap<RequestIndex, usize>;

/// How a search ends.
pub enum Outcome {
    /// An order of transactions that explains every answer, and where the reads stand in it.
    Order(Vec<Deed>, Sights),
    /// There is none. What the order that came farthest could not go on with: a request of
    /// each session that stands still.
    Nowhere(Vec<RequestIndex>),
    /// The budget ended first.
    Unknown,
}

/// What may be tried.
pub struct Allowance {
    /// How many configurations may still be visited, by all searches together.
    pub configurations: u64,
    /// How many have been.
    pub spent: u64,
    /// Whether wall clock times that a read shows are held against later ones. A read that is
    /// settled too early may then have taught the wrong time, so that what fails with it
    /// proves nothing; but an order that is found with it is likelier to be right.
    pub learns: bool,
    /// Whether `exists` on a node without READ permission must have been refused.
    pub exists_needs_read: bool,
}

/// One transaction put, and what there is to take back.
struct Frame {
    /// What else may stand here, the likeliest last.
    untried: Vec<Deed>,
    /// What stands here.
    deed: Option<Deed>,
    undo: usize,
    /// The lines that went on after it, with where they stood.
    moved: Vec<(usize, Place)>,
    /// What was known of watches before it.
    ears: Ears,
    key: u128,
    /// What its line had used up of unknown fate before it.
    last_lost: usize,
}

/// Of each line the last request of unknown fate that took effect, as far as that still keeps
/// others from it: those that were sent before it and may yet be in turn.
type Spent = Vec<(usize, usize)>;

/// The search; borrow a blind tree in its start state.
pub struct Search<'p, 'c, 'h> {
    puzzle: &'p Puzzle<'c, 'h>,
    tree: &'p mut Tree<'h>,
    watching: Option<&'p Watching>,
    ears: Ears,
    exists_needs_read: bool,
    places: Vec<Place>,
    lost_done: Vec<bool>,
    /// For each line, one past the last of its requests of unknown fate that took effect.
    last_lost: Vec<usize>,
    ended: Vec<bool>,
    /// What tells configurations apart.
    key: u128,
    digests: Vec<u128>,
    /// By all but the requests of unknown fate that took effect: which did.
    visited: FxHashMap<u128, Vec<Spent>>,
    farthest: (usize, Vec<RequestIndex>),
}

impl<'p, 'c, 'h> Search<'p, 'c, 'h> {
    /// Prepares a search, with regard to notifications if they are given.
    pub fn new(
        puzzle: &'p Puzzle<'c, 'h>,
        tree: &'p mut Tree<'h>,
        watching: Option<&'p Watching>,
    ) -> Self {
        if let Some(watching) = watching {
            watching.watch(tree);
        }
        Search {
            ears: Ears::default(),
            watching,
            exists_needs_read: false,
            places: vec![0; puzzle.lines.len()],
            lost_done: vec![false; puzzle.lost.len()],
            last_lost: vec![0; puzzle.lines.len()],
            ended: vec![false; puzzle.ends.len()],
            key: 0,
            digests: Vec::new(),
            visited: FxHashMap::default(),
            farthest: (0, Vec::new()),
            puzzle,
            tree,
        }
    }

    /// Searches; the tree is as before when it ends.
    pub fn run(mut self, allowance: &mut Allowance) -> Outcome {
        let start = self.tree.mark_undo();
        self.exists_needs_read = allowance.exists_needs_read;
        self.tree.begin(0);
        let mut moved = Vec::new();
        self.settle(allowance, start, &mut moved);
        let mut frames = vec![self.frame(start, moved)];
        let outcome = self.descend(&mut frames, allowance);
        self.tree.undo_to(start);
        outcome
    }

    fn descend(&mut self, frames: &mut Vec<Frame>, allowance: &mut Allowance) -> Outcome {
        let pieces = self.places.len() + self.lost_done.len() + self.ended.len();
        let price = 1 + (pieces / PIECES_A_CONFIGURATION) as u64;
        loop {
            if self.is_solved() {
                return self.solution(frames);
            }
            let depth = frames.len();
            let top = &mut frames[depth - 1];
            let Some(deed) = top.untried.pop() else {
                let left = frames.pop().map(|frame| self.take_back(frame));
                if frames.is_empty() || left.is_none() {
                    return Outcome::Nowhere(std::mem::take(&mut self.farthest.1));
                }
                continue;
            };
            if allowance.configurations < price {
                return Outcome::Unknown;
            }
            allowance.configurations -= price;
            allowance.spent += price;
            if let Some(frame) = self.put(deed, depth as i64, allowance) {
                frames.push(frame);
            }
        }
    }

    fn is_solved(&self) -> bool {
        let heard = self
            .watching
            .is_none_or(|watching| watching.is_over(&self.ears));
        heard && self.puzzle.is_solved(&self.places)
    }

    fn solution(&self, frames: &[Frame]) -> Outcome {
        let (mut deeds, mut sights) = (Vec::new(), Sights::default());
        for frame in frames {
            match frame.deed {
                Some(deed @ (Deed::Next(_) | Deed::Lost(_) | Deed::End(_))) => deeds.push(deed),
                Some(Deed::See(_) | Deed::Pass(_)) | None => {}
            }
            for &(line, place) in &frame.moved {
                sights.insert(self.puzzle.lines[line].asked[place], deeds.len());
            }
        }
        Outcome::Order(deeds, sights)
    }

    /// Puts a transaction next and settles what can be; None if it cannot stand there, or has
    /// led here before.
    fn put(&mut self, deed: Deed, zxid: i64, allowance: &Allowance) -> Option<Frame> {
        let undo = self.tree.mark_undo();
        self.tree.begin(zxid);
        let ears = self.ears.clone();
        if !self.apply(deed) || !self.is_heard(deed, undo, zxid) {
            self.tree.undo_to(undo);
            self.ears = ears;
            return None;
        }
        let (key, puzzle) = (self.key, self.puzzle);
        let last_lost = match deed {
            Deed::Lost(number) => self.last_lost[puzzle.lost[number].line],
            Deed::Next(_) | Deed::End(_) | Deed::See(_) | Deed::Pass(_) => 0,
        };
        self.recognise(undo);
        let mut moved = Vec::new();
        match deed {
            Deed::Next(line) => self.go_on(line, &mut moved),
            Deed::See(line) => self.see(line, &mut moved),
            Deed::Pass(line) => self.ears.pass(line, true),
            // What changes nothing need not stand anywhere.
            Deed::Lost(_) | Deed::End(_) if self.key == key => {
                self.tree.undo_to(undo);
                return None;
            }
            Deed::Lost(number) => {
                self.lost_done[number] = true;
                self.last_lost[puzzle.lost[number].line] = number + 1;
            }
            Deed::End(number) => self.ended[number] = true,
        }
        self.key ^= self.mark_of(deed);
        self.settle(allowance, undo, &mut moved);
        let mut frame = Frame {
            untried: Vec::new(),
            deed: Some(deed),
            undo,
            moved,
            ears,
            key,
            last_lost,
        };
        if !self.is_new() {
            self.take_back(frame);
            return None;
        }
        frame.untried = self.next_deeds();
        Some(frame)
    }

    fn frame(&mut self, undo: usize, moved: Vec<(usize, Place)>) -> Frame {
        Frame {
            untried: self.next_deeds(),
            deed: None,
            undo,
            moved,
            ears: self.ears.clone(),
            key: 0,
            last_lost: 0,
        }
    }

    /// True if no configuration was visited that can do all that this one can: the same, of
    /// which no more requests of unknown fate are used up.
    fn is_new(&mut self) -> bool {
        let mut spent = Spent::new();
        for (line, &last) in self.last_lost.iter().enumerate() {
            let kept = last.checked_sub(1).map(|number| &self.puzzle.lost[number]);
            if kept.is_some_and(|lost| lost.fence >= self.places[line]) {
                spent.push((line, last));
            }
        }
        let key = self.key ^ self.mark_of_ears();
        let known = self.visited.entry(key).or_default();
        if known.iter().any(|less| is_within(less, &spent)) {
            return false;
        }
        known.retain(|more| !is_within(&spent, more));
        if known.len() < SPENT_MAX {
            known.push(spent);
        }
        true
    }

    fn take_back(&mut self, frame: Frame) {
        let changed: Vec<_> = self.tree.changed_since(frame.undo).collect();
        self.tree.undo_to(frame.undo);
        for id in changed {
            self.digests[id as usize] = self.tree.digest(id);
        }
        for (line, place) in frame.moved.into_iter().rev() {
            self.places[line] = place;
        }
        match frame.deed {
            Some(Deed::Lost(number)) => {
                self.lost_done[number] = false;
                self.last_lost[self.puzzle.lost[number].line] = frame.last_lost;
            }
            Some(Deed::End(number)) => self.ended[number] = false,
            Some(Deed::Next(_) | Deed::See(_) | Deed::Pass(_)) | None => {}
        }
        self.ears = frame.ears;
        self.key = frame.key;
    }

    /// Takes what changed in the tree into account.
    fn recognise(&mut self, since: usize) {
        let changed: Vec<_> = self.tree.changed_since(since).collect();
        for id in changed {
            let place = id as usize;
            if self.digests.len() <= place {
                self.digests.resize(place + 1, 0);
            }
            let now = self.tree.digest(id);
            self.key ^= self.digests[place] ^ now;
            self.digests[place] = now;
        }
    }

    /// What sets a configuration in which this happened apart; of a line its place does, of
    /// requests of unknown fate [`Search::is_new`] knows.
    fn mark_of(&self, deed: Deed) -> u128 {
        match deed {
            Deed::Next(_) | Deed::Lost(_) | Deed::See(_) | Deed::Pass(_) => 0,
            Deed::End(number) => mark(2, number, 0),
        }
    }

    fn go_on(&mut self, line: usize, moved: &mut Vec<(usize, Place)>) {
        let place = self.places[line];
        moved.push((line, place));
        self.places[line] = place + 1;
        self.key ^= mark(0, line, place) ^ mark(0, line, place + 1);
    }

    /// Does it; false if it cannot be done, or answered so.
    fn apply(&mut self, deed: Deed) -> bool {
        let puzzle = self.puzzle;
        let request = match deed {
            Deed::End(number) => {
                self.tree.end(puzzle.ends[number].session);
                return true;
            }
            Deed::See(_) | Deed::Pass(_) => return true,
            Deed::Next(line) => puzzle.next(line, &self.places),
            Deed::Lost(number) => Some(puzzle.lost[number].request),
        };
        let Some(request) = request.map(|number| &puzzle.case.requests[number as usize]) else {
            return false;
        };
        if self.tree.ended(request.session).is_some() && !matches!(request.op, Op::Close) {
            return false;
        }
        match deed {
            Deed::Next(_) => self.tree.write(&request.ask()).is_ok(),
            Deed::Lost(_) | Deed::End(_) | Deed::See(_) | Deed::Pass(_) => {
                let (tree, session) = (&mut *self.tree, request.session);
                let done = tree.apply(request.op, request.path, session, request.who, true);
                done.is_ok()
            }
        }
    }

    /// Lets every session go on as far as the tree answers what it was answered. Where a
    /// session stood before, another answer can only be right now if its node changed.
    fn settle(&mut self, allowance: &Allowance, since: usize, moved: &mut Vec<(usize, Place)>) {
        let everywhere = self.digests.is_empty();
        let mut again = true;
        while again {
            again = false;
            let changed: FxHashSet<PathId> = self.tree.changed_since(since).collect();
            for line in 0..self.places.len() {
                let waits = self.waits_for(line, &changed);
                if waits {
                    self.ears.pass(line, false);
                }
                let fresh = everywhere || moved.iter().any(|&(other, _)| other == line);
                if !fresh && !waits {
                    continue;
                }
                while self.is_answered_here(line, allowance) {
                    self.go_on(line, moved);
                    again = true;
                }
            }
        }
        self.recognise(since);
    }

    /// True if a line's next answer may have become right by these changes.
    fn waits_for(&self, line: usize, changed: &FxHashSet<PathId>) -> bool {
        let next = self.puzzle.next(line, &self.places);
        next.is_some_and(|request| {
            let request = &self.puzzle.case.requests[request as usize];
            request.role == Role::Sync || changed.contains(&request.path)
        })
    }

    /// True if the next request of a line is a read, or sync, that is right here.
    fn is_answered_here(&mut self, line: usize, allowance: &Allowance) -> bool {
        let heard = self.hears(line);
        let Some(number) = self.puzzle.next(line, &self.places) else {
            return false;
        };
        // Where a watch is registered is a choice.
        if !heard
            || self
                .watching
                .is_some_and(|watching| watching.registers(number))
        {
            return false;
        }
        self.is_right(number, allowance.learns)
    }

    /// True if a read, or sync, is right here.
    fn is_right(&mut self, number: RequestIndex, learns: bool) -> bool {
        let request = &self.puzzle.case.requests[number as usize];
        match request.role {
            Role::Sync => {
                !self.puzzle.sync_counts
                    || self.puzzle.soonest_transaction(&self.places) >= request.call
            }
            Role::Read | Role::ReadSomewhere => {
                let mark = self.tree.mark_undo();
                let ask = request.ask();
                let right = self.tree.read(&ask, self.exists_needs_read).is_ok();
                if !right || !learns {
                    self.tree.undo_to(mark);
                }
                right
            }
            Role::Transaction | Role::Unanswered | Role::Nothing => false,
        }
    }

    /// True if a request of unknown fate took effect, or one that its session sent later.
    fn is_passed(&self, number: usize) -> bool {
        number < self.last_lost[self.puzzle.lost[number].line]
    }
}

/// True if of each line no more is used up in one than in the other; both in order of lines.
fn is_within(less: &Spent, more: &Spent) -> bool {
    let mut more = more.iter();
    less.iter().all(|&(line, last)| {
        let same = more.find(|&&(other, _)| other >= line);
        same.is_some_and(|&(other, used)| other == line && used >= last)
    })
}

/// 128 bits for one fact (splitmix64, twice).
fn mark(kind: u64, number: usize, place: Place) -> u128 {
    let half = |salt: u64| {
        let mut z = salt ^ (kind << 62) ^ ((number as u64) << 31) ^ place as u64;
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    u128::from(half(0)) << 64 | u128::from(half(0x5851_f42d_4c95_7f2d))
}
