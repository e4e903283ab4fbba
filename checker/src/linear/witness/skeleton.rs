//! What the search over all keys together is given: the moments of the zxids, the clients whose
//! operations do not all have one, and between which moments each transaction lies.
//!
//! Keys on which everything has a zxid are not followed: their values are known whatever is
//! placed elsewhere. Nor are clients of whom everything answered has one: the zxids order what
//! they saw. Moments of nothing but reads of such clients on such keys are left out, and their
//! reads stand at the moment kept before.
//!
//! What always holds: an order that comes from here is looked at again by whoever asked, along
//! the times and values of all operations.
//!
//! Answers to: `consistency.md` 3.2, *unanswered*.

use super::super::models::{RegisterOp, RegisterOutcome, Symbol};
use super::super::{Model, Operation, OperationOf};
use super::place::Bounds;
use super::together::{
    Act, Kind, Look, Moment, NEVER, Piece, Seat, TOGETHER_MAX, Together, Turn, moment_of,
};
use super::{Walk, is_effective, is_refused, is_transaction};
use rustc_hash::FxHashMap;
use std::ops::Range;

/// How many reads a moment is told by.
const READS_TOLD_MAX: usize = 3;

/// The pieces as operations in time.
pub(super) struct Skeleton<'a> {
    pub(super) model: Together<'a>,
    pub(super) history: Vec<OperationOf<Together<'a>>>,
    /// For each of them, the operation it stands for.
    names: Vec<u32>,
}

/// Builds a [`Skeleton`].
struct Mason<'a, 'w> {
    walk: &'w Walk<'a>,
    bounds: &'w Bounds,
    skeleton: Skeleton<'a>,
    /// Numbers of followed keys and clients.
    keys: FxHashMap<Symbol, usize>,
    clients: FxHashMap<u32, u32>,
    /// Turns of followed clients, by operation.
    seats: FxHashMap<u32, (u32, u32)>,
    /// Numbers of pieces that several unanswered transactions share.
    shared: FxHashMap<(Symbol, RegisterOp, u32), u32>,
}

impl<'a> Skeleton<'a> {
    /// Lays out `order` (by zxid) and what is `loose`.
    ///
    /// # Errors
    /// More operations of one client were called at one time than can be told apart; in words.
    pub(super) fn new(
        walk: &Walk<'a>,
        order: &[u32],
        loose: &[u32],
        bounds: &Bounds,
    ) -> Result<Self, String> {
        let mut keys: Vec<Symbol> = loose.iter().map(|index| walk.op(*index).op.0).collect();
        keys.sort_unstable();
        keys.dedup();
        let clients = followed(walk, loose);
        let numbered = keys.iter().enumerate();
        let mut mason = Mason {
            walk,
            bounds,
            keys: numbered.map(|(number, key)| (*key, number)).collect(),
            skeleton: Skeleton {
                model: Together::new(walk.model, walk.history, keys, clients.len()),
                history: Vec::new(),
                names: Vec::new(),
            },
            clients,
            seats: FxHashMap::default(),
            shared: FxHashMap::default(),
        };
        mason.seat(order, loose)?;
        mason.moments(order);
        mason.looks();
        mason.fixed(order);
        mason.loose(loose);
        Ok(mason.skeleton)
    }

    /// The operations that a piece of the search's history is told by.
    pub(super) fn told(&self, at: usize) -> &[u32] {
        match &self.model.pieces[self.history[at].op as usize] {
            Piece {
                kind: Kind::Act(_), ..
            } => &self.names[at..at + 1],
            Piece { of, .. } => of,
        }
    }

    /// The order of everything that the order `found` of pieces means: per change one place,
    /// which those that only look share.
    pub(super) fn unfold(&self, walk: &Walk, order: &[u32], found: &[u32]) -> Vec<u32> {
        let model = &self.model;
        let mut place = 0;
        let mut state = model.start(&());
        // Per operation: its place, whether it only looks there, when it was called.
        let mut placed: Vec<(u32, bool, i64, u32)> = Vec::with_capacity(order.len());
        let mut begun = vec![0; model.moments.len()];
        self.settled(&mut placed, walk, None, &state, place);
        for at in found.iter().map(|at| *at as usize) {
            let piece = self.history[at].op;
            let after = model.step(&state, &piece, self.history[at].outcome.as_ref());
            let after = after.expect("the search asked the same model");
            if let Kind::Act(act) = &model.pieces[piece as usize].kind {
                place += u32::from(act.effective);
                if act.effective || act.fixed.is_none() {
                    let index = self.names[at];
                    placed.push((place, !act.effective, walk.op(index).call, index));
                }
            }
            for number in moment_of(&state)..moment_of(&after) {
                begun[number as usize + 1] = place;
            }
            self.settled(&mut placed, walk, Some(&*state), &after, place);
            state = after;
        }
        for index in order.iter().filter(|index| !is_effective(walk.op(**index))) {
            let number = self.behind(walk.zxid(*index).into());
            placed.push((begun[number as usize], true, walk.op(*index).call, *index));
        }
        placed.sort_unstable();
        placed.into_iter().map(|(.., index)| index).collect()
    }

    /// Adds the reads without zxid that were placed between two states.
    fn settled(
        &self,
        placed: &mut Vec<(u32, bool, i64, u32)>,
        walk: &Walk,
        before: Option<&[u32]>,
        after: &[u32],
        place: u32,
    ) {
        for (client, one) in (0..).zip(&self.model.clients) {
            let from = before.map_or(0, |before| before[one.cell]);
            let until = (after[one.cell] as usize + TOGETHER_MAX).min(one.turns.len()) as u32;
            for turn in from..until {
                let was = before.is_some_and(|before| self.model.is_past(before, client, turn));
                let Turn { index, look, .. } = one.turns[turn as usize];
                if matches!(look, Look::Sees(..)) && !was && self.model.is_past(after, client, turn)
                {
                    placed.push((place, true, walk.op(index).call, index));
                }
            }
        }
    }

    /// The last moment whose zxid is not above this one.
    fn behind(&self, zxid: i128) -> u32 {
        let moments = &self.model.moments[1..];
        moments.partition_point(|moment| i128::from(moment.zxid) <= zxid) as u32
    }

    fn add(&mut self, client: u32, span: (i64, Option<i64>), piece: u32, name: u32) {
        let (call, ret) = span;
        self.history.push(Operation {
            client,
            call,
            ret,
            op: piece,
            outcome: ret.map(|_| ()),
        });
        self.names.push(name);
    }
}

/// Clients whose order the zxids alone do not tell, with their numbers.
fn followed(walk: &Walk, loose: &[u32]) -> FxHashMap<u32, u32> {
    let mut unanswered: FxHashMap<u32, u32> = FxHashMap::default();
    let mut clients = FxHashMap::default();
    for index in loose {
        let operation = walk.op(*index);
        let lost = unanswered.entry(operation.client).or_default();
        *lost += u32::from(operation.ret.is_none());
        if operation.ret.is_some() || *lost > 1 {
            let number = clients.len() as u32;
            clients.entry(operation.client).or_insert(number);
        }
    }
    clients
}

impl<'a> Mason<'a, '_> {
    fn piece(&mut self, of: Vec<u32>, kind: Kind) -> u32 {
        let pieces = &mut self.skeleton.model.pieces;
        pieces.push(Piece { of, kind });
        pieces.len() as u32 - 1
    }

    fn cell(&self, index: u32) -> Option<u32> {
        let key = self.walk.op(index).op.0;
        self.keys.get(&key).map(|number| Together::cell_of(*number))
    }

    /// Gives what was answered to followed clients its turn.
    fn seat(&mut self, order: &[u32], loose: &[u32]) -> Result<(), String> {
        let walk = self.walk;
        let mut turns: Vec<(u32, i64, u32)> = Vec::new();
        for index in order.iter().chain(loose) {
            let operation = walk.op(*index);
            if let (Some(client), Some(_)) = (self.clients.get(&operation.client), operation.ret) {
                turns.push((*client, operation.call, *index));
            }
        }
        turns.sort_unstable();
        for one in turns.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            if one.len() > TOGETHER_MAX {
                let client = walk.op(one[0].2).client;
                return Err(format!(
                    "more than {TOGETHER_MAX} operations that client {client} called at one time"
                ));
            }
            for (number, (client, _, index)) in one.iter().enumerate() {
                let turns = &mut self.skeleton.model.clients[*client as usize].turns;
                self.seats.insert(*index, (*client, turns.len() as u32));
                turns.push(Turn {
                    index: *index,
                    look: Look::Acts,
                    with_last: number > 0,
                });
            }
        }
        Ok(())
    }

    /// The moments that matter.
    fn moments(&mut self, order: &[u32]) {
        let walk = self.walk;
        for all in order.chunk_by(|a, b| walk.zxid(*a) == walk.zxid(*b)) {
            let mut moment = Moment {
                zxid: walk.zxid(all[0]),
                changes: is_effective(walk.op(all[0])),
                ..Moment::default()
            };
            for index in all {
                let operation = walk.op(*index);
                if is_transaction(operation) {
                    moment.transactions += 1;
                    continue;
                }
                if let (Some(cell), Some(RegisterOutcome::Value(value))) =
                    (self.cell(*index), operation.outcome)
                {
                    moment.sees.push((cell, value.0));
                }
                moment.readers.extend(self.seats.get(index));
            }
            moment.sees.sort_unstable();
            moment.sees.dedup();
            moment.held = !moment.changes && moment.transactions > 0;
            if moment.transactions > 0 || !moment.sees.is_empty() || !moment.readers.is_empty() {
                self.skeleton.model.moments.push(moment);
            }
        }
    }

    /// What each turn waits for; and which moments can have to wait for a refused transaction
    /// that nobody has called yet when they begin.
    fn looks(&mut self) {
        let walk = self.walk;
        let numbers: Vec<(u32, u32, Look)> = self
            .seats
            .iter()
            .filter(|(index, _)| !is_transaction(walk.op(**index)))
            .map(|(index, (client, turn))| {
                let look = match walk.zxids[*index as usize] {
                    Some(zxid) => Look::At(self.skeleton.behind(zxid.into())),
                    None => {
                        let cell = self.cell(*index).expect("keys of loose reads are followed");
                        match walk.op(*index).outcome {
                            Some(RegisterOutcome::Value(value)) => Look::Sees(cell, value.0),
                            // (No format has it. It is right nowhere.)
                            _ => Look::Acts,
                        }
                    }
                };
                (*client, *turn, look)
            })
            .collect();
        let Together {
            clients, moments, ..
        } = &mut self.skeleton.model;
        for (client, turn, look) in numbers {
            clients[client as usize].turns[turn as usize].look = look;
        }
        for client in clients {
            let mut waits = false;
            for turn in &client.turns {
                let has_zxid = walk.zxids[turn.index as usize].is_some();
                waits |= !has_zxid && is_refused(walk.op(turn.index));
                if let Look::At(number) = turn.look {
                    let moment = &mut moments[number as usize];
                    moment.held |= waits && !moment.changes;
                }
                waits &= !has_zxid;
            }
        }
    }

    /// Transactions with zxid, and the moments that none of them begins.
    fn fixed(&mut self, order: &[u32]) {
        let walk = self.walk;
        for all in order.chunk_by(|a, b| walk.zxid(*a) == walk.zxid(*b)) {
            let number = self.skeleton.behind(walk.zxid(all[0]).into());
            for index in all.iter().filter(|at| is_transaction(walk.op(**at))) {
                let (low, high) = (0, NEVER);
                let seat = match self.seats.get(index) {
                    Some((client, turn)) => Seat::Turn(*client, *turn),
                    None => Seat::Anywhere,
                };
                self.act(*index, Some(number), low..high, seat, false);
            }
            let followed = |index: &&u32| {
                let read = !is_transaction(walk.op(**index));
                read && (self.cell(**index).is_some() || self.seats.contains_key(*index))
            };
            let mut reads: Vec<u32> = all.iter().filter(followed).copied().collect();
            reads.sort_by_key(|index| walk.op(*index).ret);
            if let (Some(first), false) = (reads.first(), is_effective(walk.op(all[0]))) {
                let (name, operation) = (*first, walk.op(*first));
                let ret = operation.ret.expect("what has a zxid was answered");
                reads.truncate(READS_TOLD_MAX);
                let piece = self.piece(reads, Kind::Begun(number));
                let span = (ret, Some(ret));
                self.skeleton.add(operation.client, span, piece, name);
            }
        }
    }

    /// What has no zxid.
    fn loose(&mut self, loose: &[u32]) {
        let walk = self.walk;
        // How many unanswered transactions each followed client has, by call.
        let mut lost: FxHashMap<u32, Vec<i64>> = FxHashMap::default();
        for index in loose.iter().filter(|at| walk.op(**at).ret.is_none()) {
            let operation = walk.op(*index);
            let calls = lost.entry(operation.client).or_default();
            calls.push(operation.call);
        }
        lost.values_mut().for_each(|calls| calls.sort_unstable());
        for index in loose {
            let operation = walk.op(*index);
            if !is_transaction(operation) {
                let (client, turn) = self.seats[index];
                let piece = self.piece(vec![*index], Kind::Settled(client, turn));
                // It is asked at its return whether it was placed by then.
                let ret = operation.ret.expect("unanswered reads are left out");
                let span = (ret, Some(ret));
                self.skeleton.add(operation.client, span, piece, *index);
                continue;
            }
            let range = self.range(*index);
            let (seat, last) = match (self.seats.get(index), self.clients.get(&operation.client)) {
                (Some((client, turn)), _) => (Seat::Turn(*client, *turn), false),
                (None, Some(client)) => {
                    let calls = &lost[&operation.client];
                    let rank = calls.partition_point(|call| *call < operation.call);
                    let after = self.after(*client, operation.call);
                    let last = after.is_empty() && calls.last() == Some(&operation.call);
                    let before = self.before(*client, operation.call);
                    (Seat::Between(*client, before, after, rank as u32), last)
                }
                (None, None) => (Seat::Anywhere, true),
            };
            let free = operation.ret.is_none() && last && range.end == NEVER;
            self.act(*index, None, range, seat, free);
        }
    }

    /// How many turns of the client were called before.
    fn before(&self, client: u32, call: i64) -> u32 {
        let turns = &self.skeleton.model.clients[client as usize].turns;
        turns.partition_point(|turn| self.walk.op(turn.index).call < call) as u32
    }

    /// The turns of the first transactions of the client that were called after, at one time.
    fn after(&self, client: u32, call: i64) -> Range<u32> {
        let turns = &self.skeleton.model.clients[client as usize].turns;
        let operation = |turn: &Turn| self.walk.op(turn.index);
        let from = turns.partition_point(|turn| operation(turn).call <= call);
        let acts = |turn: &Turn| is_transaction(operation(turn));
        let Some(first) = turns[from..].iter().position(acts) else {
            return 0..0;
        };
        let first = from + first;
        let same = |turn: &&Turn| operation(turn).call == operation(&turns[first]).call;
        let many = turns[first..].iter().take_while(same).count();
        first as u32..(first + many) as u32
    }

    /// Between which moments an operation without zxid lies.
    fn range(&self, index: u32) -> Range<u32> {
        let (low, high) = self.bounds.of(self.walk, index);
        let low = self.skeleton.behind(low.div_euclid(2));
        match high {
            i128::MAX => low..NEVER,
            high => low..self.skeleton.behind(high.div_euclid(2) - 1) + 1,
        }
    }

    fn act(&mut self, index: u32, fixed: Option<u32>, range: Range<u32>, seat: Seat, free: bool) {
        let operation = self.walk.op(index);
        let shared = match seat {
            Seat::Anywhere if free => Some((operation.op.0, operation.op.1, range.start)),
            Seat::Anywhere | Seat::Turn(..) | Seat::Between(..) => None,
        };
        let known = shared.and_then(|shared| self.shared.get(&shared).copied());
        let piece = known.unwrap_or_else(|| {
            let act = Act {
                op: operation.op,
                outcome: operation.outcome,
                effective: is_effective(operation),
                fixed,
                low: range.start,
                high: range.end,
                key: self.cell(index),
                seat,
                free,
            };
            self.piece(vec![index], Kind::Act(act))
        });
        if let Some(shared) = shared {
            self.shared.insert(shared, piece);
        }
        let span = (operation.call, operation.ret);
        self.skeleton.add(operation.client, span, piece, index);
    }
}
