//! Small histories in which much is counted: few nodes, made anew again and again, often by the
//! parts of one multi; several lost requests; and Stats that tell what they did.

use super::model::{self, State};
use crate::dice::Dice;
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, VecDeque};

/// Sessions that lose requests, and two that only look on.
const LOSERS: usize = 3;

/// Who reads everything at the end.
const LAST: i64 = 6;

struct Dense {
    dice: Dice,
    now: u64,
    xid: i32,
    zxid: i64,
    log: Vec<(i64, State)>,
    history: History,
    /// What each session lost, and perhaps is still to take effect.
    lost: BTreeMap<i64, VecDeque<Op>>,
    /// How many may yet be lost.
    lost_max: usize,
    /// The last state that a session has seen.
    seen: BTreeMap<i64, usize>,
    gone: Vec<i64>,
    ephemeral: bool,
}

/// A consistent history without the servers' log.
pub fn dense(seed: u64) -> History {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (state, start) = model::start_with(None);
    let mut dense = Dense {
        now: 0,
        xid: 0,
        zxid: model::START_ZXID,
        log: vec![(model::START_ZXID, state)],
        history: History::new(Header {
            start,
            ..Header::default()
        }),
        lost: BTreeMap::new(),
        lost_max: 2 + dice.below(4),
        seen: BTreeMap::new(),
        gone: Vec::new(),
        ephemeral: dice.one_in(4),
        dice,
    };
    for _ in 0..8 + dense.dice.below(10) {
        dense.step();
    }
    for path in ["/a", "/b", "/a/k"] {
        if dense.dice.one_in(2) {
            dense.read(LAST, path.into(), dense.log.len() - 1);
        }
    }
    dense.history
}

impl Dense {
    fn step(&mut self) {
        let loser = 1 + self.dice.below(LOSERS) as i64;
        let onlooker = 4 + self.dice.below(2) as i64;
        match self.dice.below(12) {
            0..=3 => self.lose(loser),
            4..=6 => {
                let found = self.lost.get_mut(&loser).and_then(VecDeque::pop_front);
                if let Some(op) = found.filter(|_| !self.dice.one_in(6)) {
                    let _ = self.apply(loser, &op);
                }
            }
            7 if self.ephemeral => self.end(loser),
            7..=8 => self.ask(onlooker),
            9 => self.ask(loser),
            _ => {
                let seen = self.seen.get(&onlooker).copied().unwrap_or(0);
                let at = seen + self.dice.below(self.log.len() - seen);
                let path = self.path();
                self.read(onlooker, path, at);
            }
        }
    }

    fn lose(&mut self, session: i64) {
        if self.lost_max > 0 && !self.gone.contains(&session) {
            let op = self.likely_op(session, 3);
            self.invoke(session, &op);
            self.lost_max -= 1;
            self.lost.entry(session).or_default().push_back(op);
        }
    }

    fn end(&mut self, session: i64) {
        if !self.gone.contains(&session) && self.dice.one_in(2) {
            self.zxid += 1;
            let state = model::end(self.state(), session, self.zxid);
            self.log.push((self.zxid, state));
            self.lost.remove(&session);
            self.gone.push(session);
        }
    }

    /// Asks for a write and is answered: nothing that was lost before comes after it.
    fn ask(&mut self, session: i64) {
        if self.gone.contains(&session) {
            return;
        }
        let op = self.likely_op(session, 4);
        self.lost.remove(&session);
        let xid = self.invoke(session, &op);
        let (zxid, result) = self.apply(session, &op);
        self.seen.insert(session, self.log.len() - 1);
        self.answer(session, xid, zxid, result);
    }

    fn read(&mut self, session: i64, path: Path, at: usize) {
        let watch = false;
        let op = match self.dice.below(4) {
            0 => Op::Children {
                path,
                watch,
                stat: true,
            },
            1 => Op::Get { path, watch },
            _ => Op::Exists { path, watch },
        };
        self.seen.insert(session, at);
        let xid = self.invoke(session, &op);
        let (zxid, state) = &self.log[at];
        let (zxid, result) = (*zxid, model::read(state, &op));
        self.answer(session, xid, zxid, result);
    }

    fn invoke(&mut self, session: i64, op: &Op) -> i32 {
        self.xid += 1;
        let (xid, op) = (self.xid, op.clone());
        self.tell(session, Body::Invoke { session, xid, op });
        xid
    }

    fn answer(&mut self, session: i64, xid: i32, zxid: i64, result: Result<Answer, ErrorCode>) {
        self.tell(session, Body::Return { xid, zxid, result });
    }

    fn tell(&mut self, session: i64, body: Body) {
        self.now += 1;
        self.history.push(session as u32, self.now, body);
    }

    fn state(&self) -> &State {
        &self.log[self.log.len() - 1].1
    }

    /// Carries a write out, now and then with a number left free before it.
    fn apply(&mut self, session: i64, op: &Op) -> (i64, Result<Answer, ErrorCode>) {
        self.zxid += if self.dice.one_in(8) { 2 } else { 1 };
        let (state, result) = model::write(self.state(), op, session, self.zxid);
        self.log.push((self.zxid, state));
        (self.zxid, result)
    }

    fn fails(&self, op: &Op, session: i64) -> bool {
        match model::write(self.state(), op, session, self.zxid + 1).1 {
            Err(_) => true,
            Ok(Answer::Multi(results)) => results.iter().any(Result::is_err),
            Ok(_) => false,
        }
    }

    /// A write, mostly one that would succeed; so many of ten are multis.
    fn likely_op(&mut self, session: i64, multis: usize) -> Op {
        let mut op = self.op(multis);
        for _ in 0..5 {
            if self.fails(&op, session) && !self.dice.one_in(10) {
                op = self.op(multis);
            }
        }
        op
    }

    fn op(&mut self, multis: usize) -> Op {
        if self.dice.below(10) >= multis {
            return self.single();
        }
        let path = self.path();
        let delete = || delete(&path);
        let ops = match self.dice.below(6) {
            0 => vec![delete(), self.create(&path), self.set(&path)],
            1 => vec![self.set(&path), delete(), self.create(&path)],
            // Two lives in one transaction.
            2 => {
                let first = [self.create(&path), self.set(&path), delete()];
                let second = [self.create(&path), self.set(&path)];
                first.into_iter().chain(second).collect()
            }
            3 => vec![self.set(&path), self.set(&path)],
            _ => (0..2 + self.dice.below(2)).map(|_| self.single()).collect(),
        };
        Op::Multi { ops }
    }

    fn single(&mut self) -> Op {
        let path = self.path();
        match self.dice.below(8) {
            0..=2 => self.create(&path),
            3..=5 => self.set(&path),
            _ => delete(&path),
        }
    }

    fn path(&mut self) -> Path {
        ["/a", "/a/k", "/a/k", "/b", "/b"][self.dice.below(5)].into()
    }

    fn create(&mut self, path: &Path) -> Op {
        let sequential = self.dice.one_in(3);
        let numbered = ["/a/s-", "/b/s-"][self.dice.below(2)];
        Op::Create {
            path: match sequential {
                true => numbered.into(),
                false => path.clone(),
            },
            data: Some("".into()),
            acl: Acl::open(),
            ephemeral: self.ephemeral && self.dice.one_in(2),
            lapse: None,
            sequential,
            stat: self.dice.one_in(2),
        }
    }

    fn set(&mut self, path: &Path) -> Op {
        Op::Set {
            path: path.clone(),
            data: Some(["", "", "x", "y"][self.dice.below(4)].into()),
            version: match self.dice.one_in(8) {
                true => self.dice.below(3) as i32,
                false => -1,
            },
        }
    }
}

fn delete(path: &Path) -> Op {
    Op::Delete {
        path: path.clone(),
        version: -1,
    }
}
