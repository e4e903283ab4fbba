//! Small random histories: a handful of requests by a few sessions on two paths, consistent
//! by construction, with answers that get lost and sessions that end; and ways to spoil them.

#![allow(dead_code)]

pub mod dense;
pub mod model;
pub mod spoil;

pub use crate::dice::Dice;
use gamekeeper_checker::history::*;
use model::State;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

struct Pending {
    xid: i32,
    op: Op,
    done: Option<(i64, Result<Answer, ErrorCode>)>,
    /// What is told before its answer.
    before: Vec<(i64, EventType, String)>,
}

struct Client {
    session: i64,
    pending: VecDeque<Pending>,
    /// Lost on the way, and perhaps still to take effect.
    ghosts: VecDeque<(i32, Op)>,
    position: usize,
    /// Registered watches: of children or not, and the path.
    watches: BTreeSet<(bool, String)>,
    gone: bool,
}

struct World {
    dice: Dice,
    now: u64,
    log: Vec<(i64, State)>,
    clients: Vec<Client>,
    history: History,
    xid: i32,
    value: u32,
    lossy: bool,
    ephemeral: bool,
    watching: bool,
    /// Nodes may go by themselves, so that time goes by in fractions of milliseconds.
    lapsing: bool,
    /// When each transaction took place.
    times: BTreeMap<i64, u64>,
    /// What watches each transaction of the log fires.
    fired: Vec<Vec<(EventType, String)>>,
}

/// A consistent history of at most `requests_max` requests, with the servers' log beside it.
pub fn valid(seed: u64, requests_max: usize) -> History {
    lived(seed, requests_max, (false, false))
}

/// As [`valid`], with reads that register watches, and nothing lost.
pub fn watching(seed: u64, requests_max: usize) -> History {
    lived(seed, requests_max, (true, false))
}

/// As [`valid`], with containers and TTL nodes, and without the servers' log.
pub fn lapsing(seed: u64, requests_max: usize) -> History {
    let mut history = lived(seed, requests_max, (false, true));
    history.txns.clear();
    history
}

fn lived(seed: u64, requests_max: usize, (watching, lapsing): (bool, bool)) -> History {
    let mut dice = Dice(seed);
    let lapse = match lapsing {
        true => [None, Some(Lapse::Container), Some(Lapse::Ttl(1))][dice.below(3)],
        false => None,
    };
    let (state, start) = model::start_with(lapse);
    let header = Header {
        start,
        ..Header::default()
    };
    let clients = 3 + dice.below(3);
    let mut world = World {
        now: 1,
        log: vec![(model::START_ZXID, state)],
        clients: (1..=clients as i64).map(client).collect(),
        history: History::new(header),
        xid: 0,
        value: 0,
        lossy: !dice.one_in(3) && !watching,
        ephemeral: dice.one_in(3),
        dice,
        watching,
        lapsing,
        times: BTreeMap::new(),
        fired: vec![Vec::new()],
    };
    let requests = 3 + world.dice.below(requests_max - 2);
    while world.xid < requests as i32 {
        world.step(true);
    }
    for _ in 0..200 {
        world.step(false);
    }
    world.history
}

fn client(session: i64) -> Client {
    let (pending, ghosts) = (VecDeque::new(), VecDeque::new());
    Client {
        session,
        pending,
        ghosts,
        position: 0,
        watches: BTreeSet::new(),
        gone: false,
    }
}

impl World {
    fn step(&mut self, may_ask: bool) {
        let unit = if self.lapsing { 150_000 } else { 1 };
        self.now += unit * self.dice.below(3) as u64;
        if self.lapsing && self.dice.one_in(8) {
            return self.lapse();
        }
        let client = self.dice.below(self.clients.len());
        if self.clients[client].gone {
            if self.clients.iter().all(|client| client.gone) {
                self.xid = i32::MAX;
            }
            return;
        }
        match self.dice.below(24) {
            0..=8 if may_ask => self.ask(client),
            9..=15 => self.serve(client),
            20..=22 if self.watching => self.tell(client),
            16..=21 => self.answer(client),
            22 if self.lossy => self.lose(client),
            23 if self.ephemeral && self.dice.one_in(4) => self.expire(client),
            _ => self.act_late(client),
        }
    }

    fn record(&mut self, client: usize, body: Body) {
        self.history.push(client as u32, self.now, body);
    }

    fn ask(&mut self, client: usize) {
        if self.clients[client].pending.len() >= 3 {
            return;
        }
        let op = self.op();
        self.xid += 1;
        let (xid, session) = (self.xid, self.clients[client].session);
        self.clients[client].pending.push_back(Pending {
            xid,
            op: op.clone(),
            done: None,
            before: Vec::new(),
        });
        self.record(client, Body::Invoke { session, xid, op });
    }

    fn path(&mut self) -> Path {
        ["/a", "/a", "/a/k", "/b"][self.dice.below(4)].into()
    }

    fn op(&mut self) -> Op {
        let path = self.path();
        let stat = self.dice.one_in(2);
        let watch = self.watching;
        match self.dice.below(20) {
            0..=3 => Op::Get { path, watch },
            4..=5 => Op::Exists { path, watch },
            6..=7 => Op::Children { path, watch, stat },
            8 => Op::Sync { path },
            9 if self.ephemeral && self.dice.one_in(2) => Op::Close,
            9..=10 => Op::Multi {
                ops: (0..1 + self.dice.below(2)).map(|_| self.single()).collect(),
            },
            _ => match self.single() {
                Op::Check { path, version } => Op::Delete { path, version },
                op => op,
            },
        }
    }

    fn single(&mut self) -> Op {
        let path = self.path();
        let version = [-1, -1, 0, 1][self.dice.below(4)];
        self.value += 1;
        let data = Some(Value::from(format!("{}", self.value % 5).as_str()));
        match self.dice.below(8) {
            0..=2 => {
                let sequential = self.dice.one_in(4);
                let path = if sequential { "/a/s-".into() } else { path };
                let lapse = match self.lapsing && !self.dice.one_in(3) {
                    true => [
                        Some(Lapse::Container),
                        Some(Lapse::Ttl(1)),
                        Some(Lapse::Ttl(2)),
                    ][self.dice.below(3)],
                    false => None,
                };
                Op::Create {
                    path,
                    data,
                    acl: Acl::open(),
                    ephemeral: self.ephemeral && lapse.is_none() && self.dice.one_in(2),
                    lapse,
                    sequential,
                    stat: self.dice.one_in(2),
                }
            }
            3..=5 => Op::Set {
                path,
                data,
                version,
            },
            6 => Op::Delete { path, version },
            _ => Op::Check { path, version },
        }
    }

    fn zxid(&mut self) -> i64 {
        let last = self.log[self.log.len() - 1].0;
        match self.dice.below(20) {
            0 => ((last >> 32) + 1) << 32 | 1,
            1..=3 => last + 2,
            _ => last + 1,
        }
    }

    fn transact(&mut self, session: i64, xid: i32, op: &Op) -> (i64, Result<Answer, ErrorCode>) {
        let zxid = self.zxid();
        let before = &self.log[self.log.len() - 1].1;
        let (state, result) = model::write(before, op, session, zxid);
        self.fired.push(model::events(before, op, session, zxid));
        let refused = match &result {
            Err(_) => true,
            Ok(Answer::Multi(results)) => results.iter().any(Result::is_err),
            Ok(_) => false,
        };
        let kind = match (op, refused) {
            (Op::Close, _) => TxnKind::Close,
            (_, true) => TxnKind::Refused,
            (_, false) => TxnKind::Write,
        };
        self.log.push((zxid, state));
        self.times.insert(zxid, self.now);
        self.history.txns.push(Txn {
            zxid,
            session,
            xid,
            kind,
        });
        (zxid, result)
    }

    fn serve(&mut self, client: usize) {
        let head = self.log.len() - 1;
        let me = &mut self.clients[client];
        let Some(number) = me.pending.iter().position(|pending| pending.done.is_none()) else {
            return;
        };
        let (xid, op, session) = (
            me.pending[number].xid,
            me.pending[number].op.clone(),
            me.session,
        );
        let from = me.position;
        let done = if op.is_transaction() {
            // What was sent on an older connection is refused from here on.
            me.ghosts.clear();
            let done = self.transact(session, xid, &op);
            self.clients[client].position = self.log.len() - 1;
            done
        } else {
            let reach = head - me.position;
            let by = match op {
                Op::Sync { .. } => reach,
                _ => self.dice.below(reach + 1),
            };
            let me = &mut self.clients[client];
            me.position += by;
            let (zxid, state) = &self.log[me.position];
            (*zxid, model::read(state, &op))
        };
        let told = self.told(client, from);
        self.register(client, &op, &done.1);
        let pending = &mut self.clients[client].pending[number];
        (pending.done, pending.before) = (Some(done), told);
    }

    /// What a client is told as its server goes on from `from` to where it is.
    fn told(&mut self, client: usize, from: usize) -> Vec<(i64, EventType, String)> {
        let me = &mut self.clients[client];
        let mut told = Vec::new();
        for number in from + 1..=me.position {
            for (event, path) in &self.fired[number] {
                let (data, child) = ((false, path.clone()), (true, path.clone()));
                let fired = match event {
                    EventType::NodeCreated | EventType::NodeDataChanged => me.watches.remove(&data),
                    EventType::NodeChildrenChanged => me.watches.remove(&child),
                    EventType::NodeDeleted => me.watches.remove(&data) | me.watches.remove(&child),
                };
                if fired {
                    told.push((self.log[number].0, *event, path.clone()));
                }
            }
        }
        told
    }

    fn register(&mut self, client: usize, op: &Op, result: &Result<Answer, ErrorCode>) {
        let (child, path) = match op {
            Op::Get { path, watch: true } | Op::Exists { path, watch: true } => (false, path),
            Op::Children {
                path, watch: true, ..
            } => (true, path),
            _ => return,
        };
        if result.is_ok() || matches!(op, Op::Exists { .. }) {
            self.clients[client]
                .watches
                .insert((child, path.to_string()));
        }
    }

    /// Now and then a server tells of what happened though nobody asks.
    fn tell(&mut self, client: usize) {
        let head = self.log.len() - 1;
        let me = &mut self.clients[client];
        if me.pending.iter().any(|pending| pending.done.is_some()) {
            return;
        }
        let from = me.position;
        me.position += self.dice.below(head - from + 1);
        let told = self.told(client, from);
        self.notify(client, told);
    }

    fn notify(&mut self, client: usize, told: Vec<(i64, EventType, String)>) {
        for (zxid, event, path) in told {
            let path = path.as_str().into();
            self.record(client, Body::Notify { zxid, event, path });
        }
    }

    fn answer(&mut self, client: usize) {
        let me = &mut self.clients[client];
        if me
            .pending
            .front()
            .is_none_or(|pending| pending.done.is_none())
        {
            return;
        }
        let Pending {
            xid,
            op,
            done,
            before,
        } = me.pending.pop_front().expect("looked at above");
        let (zxid, result) = done.expect("looked at above");
        me.gone |= op == Op::Close;
        let gone = me.gone;
        self.notify(client, before);
        self.record(client, Body::Return { xid, zxid, result });
        if gone {
            self.give_up(client);
        }
    }

    fn lose(&mut self, client: usize) {
        let me = &mut self.clients[client];
        let undone = me.pending.iter().filter(|pending| pending.done.is_none());
        let late = undone.filter(|pending| pending.op.is_transaction() && pending.op != Op::Close);
        let late: Vec<(i32, Op)> = late
            .map(|pending| (pending.xid, pending.op.clone()))
            .collect();
        me.ghosts.extend(late);
        me.gone |= me.pending.iter().any(|pending| pending.op == Op::Close);
        self.give_up(client);
    }

    fn give_up(&mut self, client: usize) {
        for Pending { xid, .. } in std::mem::take(&mut self.clients[client].pending) {
            self.record(client, Body::Lost { xid });
        }
    }

    fn act_late(&mut self, client: usize) {
        let session = self.clients[client].session;
        if let Some((xid, op)) = self.clients[client].ghosts.pop_front() {
            // Nobody is told.
            let _ = self.transact(session, xid, &op);
        }
    }

    /// The servers remove what has lapsed.
    fn lapse(&mut self) {
        let before = &self.log[self.log.len() - 1].1;
        let over = |since: &Option<(i64, u64)>| {
            since.is_none_or(|(changed, ttl_ms)| {
                let changed = self.times.get(&changed).copied().unwrap_or(0);
                self.now >= changed + ttl_ms * 1_000_000
            })
        };
        let mut lapsing = model::lapsing(before);
        lapsing.retain(|(_, since)| over(since));
        if lapsing.is_empty() {
            return;
        }
        let (path, _) = &lapsing[self.dice.below(lapsing.len())];
        let zxid = self.zxid();
        let before = &self.log[self.log.len() - 1].1;
        let state = model::lapse(before, path, zxid);
        self.fired.push(model::events_between(before, &state));
        self.log.push((zxid, state));
    }

    fn expire(&mut self, client: usize) {
        let session = self.clients[client].session;
        let zxid = self.zxid();
        let before = &self.log[self.log.len() - 1].1;
        let state = model::end(before, session, zxid);
        self.fired.push(model::events_between(before, &state));
        self.log.push((zxid, state));
        let (xid, kind) = (0, TxnKind::Close);
        self.history.txns.push(Txn {
            zxid,
            session,
            xid,
            kind,
        });
        self.clients[client].gone = true;
        self.clients[client].ghosts.clear();
        self.give_up(client);
    }
}

/// Every other history spoilt, once or twice.
pub fn half_spoilt(mut history: History, seed: u64) -> History {
    let mut dice = Dice(!seed);
    if dice.one_in(2) {
        for _ in 0..1 + dice.below(2) {
            spoil::spoil(&mut history, &mut dice);
        }
    }
    history
}

/// Leaves out whole requests as long as two still disagree.
pub fn shrunk(mut history: History, disagree: impl Fn(&History) -> bool) -> History {
    let mut index = 0;
    while index < history.records.len() {
        let mut less = history.clone();
        spoil::forget_at(&mut less, index);
        match less.records.len() < history.records.len() && disagree(&less) {
            true => (history, index) = (less, 0),
            false => index += 1,
        }
    }
    history
}

/// The seeds that the environment asks for as `A..B`, or the usual ones.
pub fn seeds(variable: &str, usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var(variable) else {
        return usual;
    };
    let ends = asked.split_once("..");
    let ends = ends.and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    ends.unwrap_or_else(|| panic!("{variable} is A..B, not {asked}"))
}
