//! A toy ZooKeeper: one linear order of transactions in memory, replicas that lag, clients
//! that pipeline, lose connections, watch, expire. Whatever it records is consistent by
//! construction, and every choice is drawn from a seed.
//!
//! It shares nothing with the judge: its tree is a plain map cloned at every transaction.

#![allow(dead_code)]

mod session;
mod stays;
mod tree;
mod wishes;

pub use crate::dice::Dice;
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;
const TIMEOUT_MS: u64 = 4000;

#[derive(Clone, Debug)]
struct Node {
    data: Option<Value>,
    stat: Stat,
    creates: i32,
    /// None: open to the world.
    only: Option<Identity>,
}

type Tree = BTreeMap<String, Node>;

struct Applied {
    zxid: i64,
    events: Vec<(EventType, String, Option<Identity>)>,
    tree: Rc<Tree>,
}

#[derive(Clone)]
struct Pending {
    xid: i32,
    op: Op,
    answered: bool,
}

enum Message {
    Answer {
        xid: i32,
        zxid: i64,
        result: Result<Answer, ErrorCode>,
    },
    Notify {
        zxid: i64,
        event: EventType,
        path: String,
    },
    SetWatchesDone {
        zxid: i64,
    },
}

#[derive(Default)]
struct Client {
    session: i64,
    connected: bool,
    xid: i32,
    identity: Option<Identity>,
    pending: VecDeque<Pending>,
    ghosts: VecDeque<(i32, Op)>,
    inbox: VecDeque<Message>,
    position: usize,
    last_zxid: i64,
    last_sent: u64,
    closing: bool,
    data_watches: BTreeSet<String>,
    child_watches: BTreeSet<String>,
    my_data: BTreeSet<String>,
    my_exist: BTreeSet<String>,
    my_child: BTreeSet<String>,
    /// What its server keeps, and what it knows of.
    stays: stays::Stays,
    my_stays: stays::Wanted,
}

/// What the toy does and how much.
#[derive(Clone, Copy)]
pub struct Shape {
    pub clients: usize,
    pub steps: usize,
    pub paths: usize,
    /// One step in so many loses a connection; 0 never.
    pub losses: usize,
    /// One read in so many watches; 0 never.
    pub watches: usize,
    pub acls: bool,
    /// One read in so many is addWatch or removeWatches instead; 0 never.
    pub stay: usize,
    /// Notifications carry their zxid, and one path of a connection has room for watches of
    /// several modes, as since 3.9.
    pub notify_zxid: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            clients: 4,
            steps: 600,
            paths: 5,
            losses: 40,
            watches: 3,
            acls: true,
            stay: 0,
            notify_zxid: true,
        }
    }
}

/// The toy.
pub struct Toy {
    dice: Dice,
    shape: Shape,
    now: u64,
    epoch: i64,
    counter: i64,
    next_session: i64,
    log: Vec<Applied>,
    clients: Vec<Client>,
    pub history: History,
    /// What really happened: zxid and words of every transaction.
    pub truth: Vec<(i64, String)>,
    /// The same as a server's log has it.
    pub txns: Vec<Txn>,
    value: u64,
}

/// A consistent history.
pub fn valid_history(seed: u64, shape: Shape) -> History {
    let mut history = valid_history_with_log(seed, shape);
    history.txns.clear();
    history.header.txns = None;
    history
}

/// A consistent history, and the log of its server.
pub fn valid_history_with_log(seed: u64, shape: Shape) -> History {
    let mut toy = Toy::new(seed, shape);
    for _ in 0..shape.steps {
        toy.step();
    }
    toy.finish();
    toy.history.header.txns = Some(toy.txns.len() as u64);
    toy.history.txns = toy.txns;
    toy.history
}

impl Toy {
    pub fn new(seed: u64, shape: Shape) -> Self {
        let mut tree = Tree::new();
        let node = |children: i32| Node {
            data: Some(Value::from(&b""[..])),
            stat: Stat {
                num_children: children,
                ..Stat::default()
            },
            creates: 0,
            only: None,
        };
        tree.insert("/".into(), node(1));
        tree.insert("/zookeeper".into(), node(2));
        tree.insert("/zookeeper/quota".into(), node(0));
        tree.insert("/zookeeper/config".into(), node(0));
        let header = Header {
            timeout_ms_min: TIMEOUT_MS,
            timeout_ms_max: TIMEOUT_MS,
            tick_ms: 100,
            ..Header::default()
        };
        let mut toy = Toy {
            dice: Dice(seed),
            shape,
            now: SECOND,
            epoch: 1,
            counter: 0,
            next_session: 0x1000,
            log: vec![Applied {
                zxid: 0,
                events: Vec::new(),
                tree: Rc::new(tree),
            }],
            clients: Vec::new(),
            history: History::new(header),
            truth: Vec::new(),
            txns: Vec::new(),
            value: 0,
        };
        for index in 0..shape.clients {
            let identity = (shape.acls && index % 2 == 0)
                .then(|| Identity::new("digest", &format!("u{index}:h")));
            toy.clients.push(Client {
                identity,
                ..Client::default()
            });
            toy.connect_new(index);
        }
        toy
    }

    fn record(&mut self, client: usize, body: Body) {
        self.history.push(client as u32, self.now, body);
    }

    fn zxid(&mut self) -> i64 {
        self.counter += 1;
        self.epoch << 32 | self.counter
    }

    fn head(&self) -> usize {
        self.log.len() - 1
    }

    /// A transaction without visible effect.
    fn blank(&mut self) -> i64 {
        let zxid = self.zxid();
        let tree = self.log[self.head()].tree.clone();
        self.log.push(Applied {
            zxid,
            events: Vec::new(),
            tree,
        });
        zxid
    }

    /// One random thing happens.
    pub fn step(&mut self) {
        self.now += self.dice.below(3) as u64 * 1_000_000;
        let client = self.dice.below(self.clients.len());
        if !self.clients[client].connected {
            return self.while_disconnected(client);
        }
        if self.shape.losses > 0 && self.dice.one_in(self.shape.losses) {
            return self.lose(client);
        }
        if self.shape.losses > 0 && self.dice.one_in(150) {
            self.epoch += 1;
            self.counter = 0;
            return;
        }
        if self.dice.one_in(6) {
            self.let_ghosts_act();
        }
        match self.dice.below(10) {
            0..=3 => self.invoke(client),
            4..=6 => self.serve(client),
            7 => {
                let gap = self.head() - self.clients[client].position;
                let by = self.dice.below(gap + 1);
                let to = self.clients[client].position + by;
                self.advance(client, to);
            }
            _ => self.deliver(client),
        }
    }

    fn let_ghosts_act(&mut self) {
        for client in 0..self.clients.len() {
            if self.dice.one_in(2)
                && let Some((xid, op)) = self.clients[client].ghosts.pop_front()
            {
                let _ = self.write(client, xid, &op);
            }
        }
    }

    /// The client's server takes the next request.
    fn serve(&mut self, client: usize) {
        let me = &mut self.clients[client];
        let Some(pending) = me.pending.iter_mut().find(|pending| !pending.answered) else {
            return;
        };
        pending.answered = true;
        let (xid, op) = (pending.xid, pending.op.clone());
        let (zxid, result) = if op.is_transaction() {
            me.ghosts.clear();
            let (zxid, result) = self.write(client, xid, &op);
            let head = self.head();
            self.advance(client, head);
            (zxid, result)
        } else {
            if matches!(op, Op::Sync { .. }) {
                let head = self.head();
                self.advance(client, head);
            }
            let result = self.read(client, &op);
            (self.log[self.clients[client].position].zxid, result)
        };
        self.clients[client]
            .inbox
            .push_back(Message::Answer { xid, zxid, result });
    }

    fn deliver(&mut self, client: usize) {
        let Some(message) = self.clients[client].inbox.pop_front() else {
            return;
        };
        match message {
            Message::Notify { zxid, event, path } => {
                let me = &mut self.clients[client];
                match event {
                    EventType::NodeCreated | EventType::NodeDataChanged => {
                        me.my_data.remove(&path);
                        me.my_exist.remove(&path);
                    }
                    EventType::NodeDeleted => {
                        me.my_data.remove(&path);
                        me.my_exist.remove(&path);
                        me.my_child.remove(&path);
                    }
                    EventType::NodeChildrenChanged => {
                        me.my_child.remove(&path);
                    }
                }
                let zxid = if self.shape.notify_zxid { zxid } else { -1 };
                self.record(
                    client,
                    Body::Notify {
                        zxid,
                        event,
                        path: path.as_str().into(),
                    },
                );
            }
            Message::SetWatchesDone { zxid } => {
                self.record(client, Body::Session(SessionEvent::SetWatchesDone { zxid }));
            }
            Message::Answer { xid, zxid, result } => {
                let one_mode = !self.shape.notify_zxid;
                let me = &mut self.clients[client];
                let pending = me.pending.pop_front().expect("answers come in order");
                assert_eq!(pending.xid, xid);
                me.last_zxid = me.last_zxid.max(zxid);
                match (&pending.op, &result) {
                    (Op::Get { path, watch: true }, Ok(_))
                    | (Op::Exists { path, watch: true }, Ok(_)) => {
                        me.my_data.insert(path.to_string());
                    }
                    (Op::Exists { path, watch: true }, Err(ErrorCode::NO_NODE)) => {
                        me.my_exist.insert(path.to_string());
                    }
                    (
                        Op::Children {
                            path, watch: true, ..
                        },
                        Ok(_),
                    ) => {
                        me.my_child.insert(path.to_string());
                    }
                    (op, Ok(_)) if op.arranges_watches() => me.told_to_stay(op, one_mode),
                    _ => {}
                }
                let closed = pending.op == Op::Close;
                self.record(client, Body::Return { xid, zxid, result });
                if closed {
                    self.record(client, Body::Session(SessionEvent::Disconnected));
                    self.connect_new(client);
                }
            }
        }
    }

    /// Heals, lets everybody read everything.
    pub fn finish(&mut self) {
        for client in 0..self.clients.len() {
            while !self.clients[client].connected {
                self.reattach(client);
            }
            while !self.clients[client].pending.is_empty() || !self.clients[client].inbox.is_empty()
            {
                self.now += 1_000_000;
                self.serve(client);
                self.deliver(client);
            }
        }
        self.record(0, Body::Final);
        for client in 0..self.clients.len() {
            self.send(client, Op::Sync { path: "/".into() });
            let paths: Vec<String> = self.log[self.head()].tree.keys().cloned().collect();
            for path in paths.iter().filter(|path| !path.starts_with("/zookeeper")) {
                self.now += 1_000_000;
                self.send(
                    client,
                    Op::Get {
                        path: path.as_str().into(),
                        watch: false,
                    },
                );
                self.send(
                    client,
                    Op::Children {
                        path: path.as_str().into(),
                        watch: false,
                        stat: true,
                    },
                );
            }
            while !self.clients[client].pending.is_empty() || !self.clients[client].inbox.is_empty()
            {
                self.now += 1_000_000;
                self.serve(client);
                self.deliver(client);
            }
        }
    }

    /// The client's server applies transactions up to an index of the log, firing watches.
    fn advance(&mut self, client: usize, to: usize) {
        for index in self.clients[client].position + 1..=to {
            let (events, zxid) = (self.log[index].events.clone(), self.log[index].zxid);
            let me = &mut self.clients[client];
            me.position = index;
            for (event, path, only) in events {
                let wanted = match event {
                    EventType::NodeCreated | EventType::NodeDataChanged => {
                        me.data_watches.remove(&path)
                    }
                    EventType::NodeDeleted => {
                        me.data_watches.remove(&path) | me.child_watches.remove(&path)
                    }
                    EventType::NodeChildrenChanged => me.child_watches.remove(&path),
                };
                let wanted = wanted | me.stays.sees(event, &path);
                let readable = only.is_none() || only == me.identity;
                if wanted && readable {
                    me.inbox.push_back(Message::Notify { zxid, event, path });
                }
            }
        }
        self.clients[client].position = self.clients[client].position.max(to);
    }
}
