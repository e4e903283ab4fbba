//! Histories of a register that busy clients share, drawn from a seed.
//!
//! For measuring and for tests: the same settings give the same rows on every machine. A
//! register is lived through for real (every operation takes effect at a point within its
//! interval), so an unbroken history is linearizable, and consistent with its zxids.
//!
//! Answers to: `consistency.md` 5 (every client always has an operation in flight; 50 %
//! read, 40 % write, 10 % compare-and-set).

use super::Operation;
use super::models::{NIL, RegisterOp, RegisterOutcome, Symbol};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Values that [`Values::Few`] draws from.
const FEW: u32 = 5;

/// Which values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of five.
    Few,
    /// Each write its own.
    Distinct,
}

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Clients, each with an operation in flight at every moment; at least one.
    pub clients: u32,
    /// Operations.
    pub operations: u32,
    /// What everything is drawn from.
    pub seed: u64,
    /// Which values are written.
    pub values: Values,
    /// Writes whose outcome is never learned; half of them take effect.
    pub unanswered: u32,
    /// Percent of the operations that are compare-and-set.
    pub cas_percent: u32,
    /// Plants one read near the end that nothing explains.
    pub broken: bool,
    /// Reads are answered by a replica that lags: fine for ZooKeeper, not for a register.
    pub stale: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            clients: 5,
            operations: 1000,
            seed: 1,
            values: Values::Few,
            unanswered: 0,
            cas_percent: 10,
            broken: false,
            stale: false,
        }
    }
}

/// An operation, and the zxid that came with its answer.
pub type Row = (Operation<RegisterOp, RegisterOutcome>, Option<i64>);

/// Draws a history. Values are symbols 1 and up; rows are in order of call.
pub fn generate(settings: &Settings) -> Vec<Row> {
    let mut world = World::new(settings);
    while let Some(Reverse((_, step, index))) = world.agenda.pop() {
        match step {
            Step::Effect => world.effect(index),
            Step::Return => world.start_next(index),
        }
    }
    let mut rows = world.rows;
    if settings.broken {
        break_late(&mut rows);
    }
    rows.sort_by_key(|(operation, _)| operation.call);
    rows
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u32) -> u32 {
        (self.roll() % u64::from(bound)) as u32
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Effect,
    Return,
}

struct World<'a> {
    settings: &'a Settings,
    dice: Dice,
    rows: Vec<Row>,
    agenda: BinaryHeap<Reverse<(i64, Step, usize)>>,
    /// Values by zxid: what the register held after each.
    past: Vec<Symbol>,
    /// The zxid each client has seen.
    seen: Vec<usize>,
    written: u32,
    lost: u32,
    crowd: u32,
}

impl<'a> World<'a> {
    fn new(settings: &'a Settings) -> Self {
        let mut world = World {
            settings,
            dice: Dice(settings.seed),
            rows: Vec::with_capacity(settings.operations as usize),
            agenda: BinaryHeap::new(),
            past: vec![NIL],
            seen: Vec::new(),
            written: 0,
            lost: 0,
            crowd: 0,
        };
        for _ in 0..settings.clients {
            let begin = i64::from(world.dice.below(100));
            world.enter(begin);
        }
        world
    }

    /// A new client comes.
    fn enter(&mut self, at: i64) {
        let client = self.crowd;
        self.crowd += 1;
        self.seen.push(0);
        self.start(client, at);
    }

    fn start_next(&mut self, index: usize) {
        let (operation, _) = &self.rows[index];
        let (client, ret) = (operation.client, operation.ret.expect("it returns now"));
        self.start(client, ret + 1);
    }

    fn start(&mut self, client: u32, call: i64) {
        if self.rows.len() >= self.settings.operations as usize {
            return;
        }
        let op = self.draw();
        let ret = call + 100 + i64::from(self.dice.below(1000));
        let point = call + i64::from(self.dice.below((ret - call) as u32 + 1));
        let index = self.rows.len();
        let left = self.settings.operations - index as u32;
        let lose = matches!(op, RegisterOp::Write(_))
            && self.lost < self.settings.unanswered
            && (self.dice.below(left) < 3 * (self.settings.unanswered - self.lost));
        let outcome = None;
        if lose {
            self.lost += 1;
            self.rows.push((
                Operation {
                    client,
                    call,
                    ret: None,
                    op,
                    outcome,
                },
                None,
            ));
            if self.dice.below(2) == 0 {
                let late = i64::from(self.dice.below(20_000));
                self.agenda
                    .push(Reverse((point + late, Step::Effect, index)));
            }
            // The client that lost it is gone; another takes its place.
            self.enter(ret + 1);
            return;
        }
        self.rows.push((
            Operation {
                client,
                call,
                ret: Some(ret),
                op,
                outcome,
            },
            None,
        ));
        self.agenda.push(Reverse((point, Step::Effect, index)));
        self.agenda.push(Reverse((ret, Step::Return, index)));
    }

    fn draw(&mut self) -> RegisterOp {
        let percent = self.dice.below(100);
        if percent < 50 {
            return RegisterOp::Read;
        }
        if percent >= 50 + self.settings.cas_percent {
            return RegisterOp::Write(self.value());
        }
        let from = match self.settings.values {
            Values::Few => Symbol(1 + self.dice.below(FEW)),
            Values::Distinct => *self.past.last().expect("there is a beginning"),
        };
        RegisterOp::Cas(from, self.value())
    }

    fn value(&mut self) -> Symbol {
        match self.settings.values {
            Values::Few => Symbol(1 + self.dice.below(FEW)),
            Values::Distinct => {
                self.written += 1;
                Symbol(self.written)
            }
        }
    }

    fn effect(&mut self, index: usize) {
        let now = *self.past.last().expect("there is a beginning");
        let (operation, zxid) = &mut self.rows[index];
        let client = operation.client as usize;
        let outcome = match operation.op {
            RegisterOp::Read => {
                let newest = self.past.len() - 1;
                let lag = if self.settings.stale {
                    self.dice.below(6) as usize
                } else {
                    0
                };
                let at = newest.saturating_sub(lag).max(self.seen[client]);
                self.seen[client] = at;
                *zxid = Some(at as i64);
                operation.outcome = Some(RegisterOutcome::Value(self.past[at]));
                return;
            }
            RegisterOp::Write(value) => {
                self.past.push(value);
                RegisterOutcome::Done
            }
            RegisterOp::Cas(from, to) => {
                self.past.push(if from == now { to } else { now });
                RegisterOutcome::Swapped(from == now)
            }
        };
        if operation.ret.is_some() {
            operation.outcome = Some(outcome);
            *zxid = Some(self.past.len() as i64 - 1);
            self.seen[client] = self.past.len() - 1;
        }
    }
}

/// Lets a read of the last tenth see what was surely overwritten before it was called.
fn break_late(rows: &mut [Row]) {
    let from = rows.len() * 9 / 10;
    let Some(victim) = (from..rows.len()).find(|at| rows[*at].0.op == RegisterOp::Read) else {
        return;
    };
    let (call, ret) = (
        rows[victim].0.call,
        rows[victim].0.ret.expect("reads are answered"),
    );
    let value_of = |op: &RegisterOp| match op {
        RegisterOp::Read => None,
        RegisterOp::Write(value) | RegisterOp::Cas(_, value) => Some(*value),
    };
    // Whatever was in flight within two lifetimes before, or never returned, may be seen.
    let visible = |row: &&Row| row.0.call <= ret && row.0.ret.is_none_or(|ret| ret >= call - 2200);
    let seen: Vec<Symbol> = rows
        .iter()
        .filter(visible)
        .filter_map(|row| value_of(&row.0.op))
        .collect();
    let older = rows
        .iter()
        .filter_map(|row| value_of(&row.0.op))
        .find(|value| !seen.contains(value));
    let stale = older.unwrap_or(Symbol(u32::MAX));
    rows[victim].0.outcome = Some(RegisterOutcome::Value(stale));
}
