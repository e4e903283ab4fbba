//! All keys together, as one object that the search can place transactions on.
//!
//! A key alone does not show everything: one zxid is one moment for all keys, and what a client
//! does on one key has its order with what it does on another. So here the object is the whole
//! history as far as it has been placed: which moment of the zxids it has come to, the value of
//! every followed key, and how far every followed client has got. Its steps:
//!
//! 1. A transaction with a zxid is legal only when its moment is the next one (or, if it was
//!    refused, is there), so the zxids' order cannot be broken; one without a zxid at any moment
//!    that its [`Bounds`](super::place::Bounds) allow. W1 is the search's own affair.
//! 2. A moment is not left before everything that shares its zxid has been placed: nothing that
//!    takes effect comes between.
//! 3. Reads never branch. One without zxid is placed as soon as its client has got there and the
//!    value is right; a moment of reads alone as soon as all of them can be placed. The earliest
//!    place is best, since a later one allows no more to whatever follows. That they were placed
//!    in time is asked at their return (R3).
//! 4. What was never answered stands right before what sees it, else it is left out: applied
//!    earlier it helps nobody (but a moment that is not complete has to be completed first).
//!
//! What always holds: a legal step breaks nothing that the promises say of what has been placed,
//! and what is not tried could be exchanged for something that is.
//!
//! Answers to: `consistency.md` 3.1, 3.3 (*reads without zxid*). Rules 3 and 4 are our own.

use super::super::models::{Keyed, Register, RegisterOp, RegisterOutcome, Symbol};
use super::super::{Class, Model, OperationOf};

/// Cell of a state: number of the moment that it has come to.
const MOMENT: usize = 0;
/// How many transactions of that moment are placed.
const DONE: usize = 1;
/// How many values are marked as unseen.
const MARKED: usize = 2;
/// The first value; after the values come the clients' cells.
const VALUES: usize = 3;

/// Set in a value that something unanswered left and nobody has seen.
const UNSEEN: u32 = 1 << 31;

/// How many keys the words for a state name.
const KEYS_TOLD_MAX: usize = 8;

/// No upper bound.
pub(super) const NEVER: u32 = u32::MAX;

/// What stands at one zxid.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) zxid: i64,
    /// A transaction made it.
    pub(super) changes: bool,
    /// How many transactions stand here, refused ones too.
    pub(super) transactions: u32,
    /// What reads need here: the key's cell, the value.
    pub(super) sees: Vec<(u32, u32)>,
    /// Reads of followed clients: the client, the turn.
    pub(super) readers: Vec<(u32, u32)>,
    /// It can begin before all that belongs to it can be placed.
    pub(super) held: bool,
}

/// A client whose operations do not all have zxids.
#[derive(Debug)]
pub(super) struct Client {
    /// What was answered to it, in the order of calls.
    pub(super) turns: Vec<Turn>,
    /// The cell of its first turn not placed. After it follow the cell of those that are placed
    /// beyond, as bits, and that of the last unanswered one placed.
    pub(super) cell: usize,
}

/// Cells of a client.
const CLIENT_CELLS: usize = 3;

/// Turns of one time that can be told apart.
pub(super) const TOGETHER_MAX: usize = 32;

/// One operation of a followed client.
#[derive(Debug)]
pub(super) struct Turn {
    /// Index in the history.
    pub(super) index: u32,
    pub(super) look: Look,
    /// It was called at the time of the turn before: nobody knows which came first.
    pub(super) with_last: bool,
}

/// When a turn is placed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// When its transaction is.
    Acts,
    /// At this moment.
    At(u32),
    /// When the key in this cell has this value.
    Sees(u32, u32),
}

/// What the search places or asks about.
#[derive(Debug)]
pub(super) struct Piece {
    /// Indices in the history: one operation, or some of a moment's reads.
    pub(super) of: Vec<u32>,
    pub(super) kind: Kind,
}

/// The kinds of pieces.
#[derive(Debug)]
pub(super) enum Kind {
    /// A transaction is placed.
    Act(Act),
    /// A read without zxid has been placed: the client, its turn.
    Settled(u32, u32),
    /// A moment without transactions that took effect has begun.
    Begun(u32),
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) op: (Symbol, RegisterOp),
    pub(super) outcome: Option<RegisterOutcome>,
    /// It took effect, if it was placed.
    pub(super) effective: bool,
    /// The moment that its zxid says.
    pub(super) fixed: Option<u32>,
    /// Moments that it must not be ahead of, and the first that it must be ahead of.
    pub(super) low: u32,
    pub(super) high: u32,
    /// The cell of its key, if that is followed.
    pub(super) key: Option<u32>,
    pub(super) seat: Seat,
    /// It was never answered, and nothing has to come after it.
    pub(super) free: bool,
}

/// Where a transaction stands among its client's turns.
#[derive(Debug)]
pub(super) enum Seat {
    /// Nobody asks: the zxids say it.
    Anywhere,
    /// It is a turn: the client, the turn.
    Turn(u32, u32),
    /// It was never answered: the client, the turns that were called before, those of the
    /// first transactions called after, and its rank among the client's unanswered ones.
    Between(u32, u32, std::ops::Range<u32>, u32),
}

/// The object.
#[derive(Debug)]
pub(super) struct Together<'a> {
    pub(super) model: &'a Keyed<Register>,
    pub(super) pieces: Vec<Piece>,
    /// Number 0 stands before everything.
    pub(super) moments: Vec<Moment>,
    pub(super) clients: Vec<Client>,
    /// The followed keys, in the order of their cells.
    pub(super) keys: Vec<Symbol>,
    /// The operations as they were asked, for words.
    pub(super) history: &'a [OperationOf<Keyed<Register>>],
}

/// How far the placing has come.
pub(super) type Cells = Box<[u32]>;

/// The moment that a state has come to.
pub(super) fn moment_of(state: &[u32]) -> u32 {
    state[MOMENT]
}

impl<'a> Together<'a> {
    /// Nothing yet, of the followed keys and as many clients.
    pub(super) fn new(
        model: &'a Keyed<Register>,
        history: &'a [OperationOf<Keyed<Register>>],
        keys: Vec<Symbol>,
        clients: usize,
    ) -> Self {
        let cell = |client: usize| VALUES + keys.len() + CLIENT_CELLS * client;
        let clients = (0..clients).map(|client| Client {
            turns: Vec::new(),
            cell: cell(client),
        });
        Together {
            model,
            pieces: Vec::new(),
            moments: vec![Moment::default()],
            clients: clients.collect(),
            keys,
            history,
        }
    }

    /// The cell of the followed key with this number.
    pub(super) fn cell_of(number: usize) -> u32 {
        (VALUES + number) as u32
    }

    /// Whether the client's turn has been placed.
    pub(super) fn is_past(&self, cells: &[u32], client: u32, turn: u32) -> bool {
        let cell = self.clients[client as usize].cell;
        let next = cells[cell];
        turn < next
            || (turn - next < TOGETHER_MAX as u32 && cells[cell + 1] >> (turn - next) & 1 == 1)
    }

    /// Whether the client may take this turn now.
    fn is_next(&self, cells: &[u32], client: u32, turn: u32) -> bool {
        let one = &self.clients[client as usize];
        let next = cells[one.cell];
        let ahead = |range: std::ops::Range<u32>| {
            let mut turns = range.map(|turn| &one.turns[turn as usize]);
            turns.all(|turn| turn.with_last)
        };
        turn == next
            || (turn > next && ahead(next + 1..turn + 1) && !self.is_past(cells, client, turn))
    }

    /// Places a turn.
    fn put(&self, cells: &mut [u32], client: u32, turn: u32) {
        let cell = self.clients[client as usize].cell;
        cells[cell + 1] |= 1 << (turn - cells[cell]);
        let placed = cells[cell + 1].trailing_ones();
        cells[cell] += placed;
        cells[cell + 1] = cells[cell + 1].checked_shr(placed).unwrap_or(0);
    }

    /// Whether everything of the moment is placed, so that it can be left.
    fn is_complete(&self, cells: &[u32]) -> bool {
        let moment = &self.moments[cells[MOMENT] as usize];
        cells[DONE] == moment.transactions
            && moment
                .readers
                .iter()
                .all(|(client, turn)| self.is_past(cells, *client, *turn))
    }

    /// Somebody has seen the value.
    fn seen(cells: &mut [u32], key: u32) {
        if cells[key as usize] & UNSEEN != 0 {
            cells[key as usize] &= !UNSEEN;
            cells[MARKED] -= 1;
        }
    }

    /// Begins a moment, if its reads are right here.
    fn begin(&self, cells: &mut [u32], number: u32) -> Option<()> {
        for (key, value) in &self.moments[number as usize].sees {
            if cells[*key as usize] & !UNSEEN != *value {
                return None;
            }
            Self::seen(cells, *key);
        }
        cells[MOMENT] = number;
        cells[DONE] = 0;
        Some(())
    }

    /// Rule 3.
    fn settle(&self, cells: &mut [u32]) {
        loop {
            self.look(cells);
            if !self.take(cells) {
                return;
            }
        }
    }

    /// Places the reads that clients have got to.
    fn look(&self, cells: &mut [u32]) {
        for client in 0..self.clients.len() as u32 {
            while self.look_once(cells, client) {}
        }
    }

    fn look_once(&self, cells: &mut [u32], client: u32) -> bool {
        let one = &self.clients[client as usize];
        let next = cells[one.cell];
        let turns = &one.turns[next as usize..];
        let together = turns.iter().skip(1).take_while(|turn| turn.with_last);
        for (turn, at) in turns.iter().take(1).chain(together).zip(next..) {
            let right = match turn.look {
                Look::Acts => false,
                Look::At(moment) => cells[MOMENT] == moment,
                Look::Sees(key, value) => cells[key as usize] & !UNSEEN == value,
            };
            if !right || self.is_past(cells, client, at) {
                continue;
            }
            if let Look::Sees(key, _) = turn.look {
                Self::seen(cells, key);
            }
            self.put(cells, client, at);
            return true;
        }
        false
    }

    /// Places the next moment if it is of reads alone and all of them can be placed here.
    fn take(&self, cells: &mut [u32]) -> bool {
        let number = cells[MOMENT] + 1;
        let Some(moment) = self.moments.get(number as usize) else {
            return false;
        };
        let wrong = |(key, value): &(u32, u32)| cells[*key as usize] & !UNSEEN != *value;
        if moment.transactions > 0 || moment.sees.iter().any(wrong) || !self.is_complete(cells) {
            return false;
        }
        let mut after: Cells = cells.into();
        self.begin(&mut after, number).expect("its reads are right");
        self.look(&mut after);
        let complete = self.is_complete(&after);
        if complete {
            cells.copy_from_slice(&after);
        }
        complete
    }

    /// Whether the client's order lets a transaction be placed.
    fn may(&self, cells: &[u32], seat: &Seat) -> bool {
        match seat {
            Seat::Anywhere => true,
            Seat::Turn(client, turn) => self.is_next(cells, *client, *turn),
            Seat::Between(client, before, after, rank) => {
                let one = &self.clients[*client as usize];
                let acted = |turn: u32| {
                    matches!(one.turns[turn as usize].look, Look::Acts)
                        && self.is_past(cells, *client, turn)
                };
                cells[one.cell] >= *before
                    && cells[one.cell + 2] <= *rank
                    && !after.clone().any(acted)
            }
        }
    }

    /// Rule 4: whether something that is waiting to be seen forbids to place another that was
    /// never answered. Of several that one operation sees, those of the first key go first.
    fn waits(&self, cells: &[u32], act: &Act) -> bool {
        let Some(key) = act.key.filter(|_| cells[MARKED] > 0) else {
            return false;
        };
        let later = &cells[key as usize + 1..VALUES + self.keys.len()];
        let buries = matches!(act.op.1, RegisterOp::Write(_)) && cells[key as usize] & UNSEEN != 0;
        buries || later.iter().any(|cell| cell & UNSEEN != 0)
    }

    /// What the transaction does to its key.
    fn change(&self, cells: &mut [u32], act: &Act, key: u32) -> Option<()> {
        let unseen = cells[key as usize] & UNSEEN != 0;
        // Rule 4: what would be buried here is left out instead.
        if unseen && matches!(act.op.1, RegisterOp::Write(_)) {
            return None;
        }
        let before = Symbol(cells[key as usize] & !UNSEEN);
        let after = self.model.step(&before, &act.op, act.outcome.as_ref())?;
        Self::seen(cells, key);
        cells[key as usize] = after.0;
        if act.outcome.is_some() {
            return Some(());
        }
        if after == before {
            return None;
        }
        if act.free {
            cells[key as usize] |= UNSEEN;
            cells[MARKED] += 1;
        }
        Some(())
    }

    /// Places a transaction.
    fn act(&self, state: &Cells, act: &Act) -> Option<Cells> {
        let now = state[MOMENT];
        if now < act.low || now >= act.high || (act.free && self.waits(state, act)) {
            return None;
        }
        let begins = match act.fixed {
            None => None,
            Some(at) if at == now && !act.effective => None,
            Some(at) if at == now + 1 && act.effective == self.moments[at as usize].changes => {
                Some(at)
            }
            Some(_) => return None,
        };
        let leaves = act.effective || begins.is_some();
        if (leaves && !self.is_complete(state)) || !self.may(state, &act.seat) {
            return None;
        }
        let mut cells = state.clone();
        if let Some(key) = act.key {
            self.change(&mut cells, act, key)?;
        }
        if let Some(number) = begins {
            self.begin(&mut cells, number)?;
        }
        if act.fixed.is_some() {
            cells[DONE] += 1;
        }
        match &act.seat {
            Seat::Anywhere => {}
            Seat::Turn(client, turn) => self.put(&mut cells, *client, *turn),
            Seat::Between(client, _, _, rank) => {
                cells[self.clients[*client as usize].cell + 2] = *rank;
            }
        }
        self.settle(&mut cells);
        (act.free || self.is_tidy(&cells)).then_some(cells)
    }

    /// Rule 4: whether nothing waits to be seen that could have waited to be placed.
    fn is_tidy(&self, cells: &[u32]) -> bool {
        cells[MARKED] == 0 || !self.is_complete(cells)
    }
}

impl Model for Together<'_> {
    /// A piece by number; unanswered transactions that nobody can tell apart share one.
    type Op = u32;
    type Outcome = ();
    type State = Cells;
    type Key = ();

    fn start(&self, _key: &()) -> Cells {
        let cells = VALUES + self.keys.len() + CLIENT_CELLS * self.clients.len();
        let mut cells: Cells = vec![0; cells].into();
        self.settle(&mut cells);
        cells
    }

    fn step(&self, state: &Cells, op: &u32, _outcome: Option<&()>) -> Option<Cells> {
        match &self.pieces[*op as usize].kind {
            Kind::Act(act) => self.act(state, act),
            Kind::Settled(client, turn) => {
                self.is_past(state, *client, *turn).then(|| state.clone())
            }
            Kind::Begun(number) if state[MOMENT] >= *number => Some(state.clone()),
            Kind::Begun(number) => {
                let moment = &self.moments[*number as usize];
                if !moment.held || state[MOMENT] + 1 != *number || !self.is_complete(state) {
                    return None;
                }
                let mut cells = state.clone();
                self.begin(&mut cells, *number)?;
                self.settle(&mut cells);
                self.is_tidy(&cells).then_some(cells)
            }
        }
    }

    fn key(&self, _op: &u32) {}

    fn class(&self, op: &u32, _outcome: Option<&()>) -> Class {
        match &self.pieces[*op as usize].kind {
            Kind::Act(_) => Class::Update,
            Kind::Settled(..) => Class::ReadOnly,
            Kind::Begun(number) if self.moments[*number as usize].held => Class::Update,
            Kind::Begun(_) => Class::ReadOnly,
        }
    }

    fn bytes(&self, state: &Cells) -> usize {
        std::mem::size_of::<Cells>() + std::mem::size_of_val(&**state)
    }

    fn words(&self, op: &u32, _outcome: Option<&()>) -> String {
        let words = |index: &u32| {
            let operation = &self.history[*index as usize];
            self.model.words(&operation.op, operation.outcome.as_ref())
        };
        let words: Vec<String> = self.pieces[*op as usize].of.iter().map(words).collect();
        words.join(" and ")
    }

    fn state_words(&self, state: &Cells) -> String {
        let told = self.keys.iter().zip(&state[VALUES..]).take(KEYS_TOLD_MAX);
        let told = told.map(|(key, value)| {
            let value = self.model.model.symbols.name(Symbol(value & !UNSEEN));
            format!("{} = {value}", self.model.symbols.name(*key))
        });
        let mut told: Vec<String> = told.collect();
        if self.keys.len() > KEYS_TOLD_MAX {
            told.push("...".to_owned());
        }
        match state[MOMENT] {
            0 => format!("{} ahead of all zxids", told.join(", ")),
            number => {
                let zxid = self.moments[number as usize].zxid;
                format!("{} at zxid {zxid}", told.join(", "))
            }
        }
    }
}
