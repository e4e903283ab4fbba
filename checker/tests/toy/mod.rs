//! A toy ZooKeeper: one linear order of transactions in memory, replicas that lag, clients
//! that pipeline, lose connections, watch, expire. Whatever it records is consistent by
//! construction, and every choice is drawn from a seed.
//!
//! It shares nothing with the judge: its tree is a plain map cloned at every transaction.

#![allow(dead_code)]

use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;
const TIMEOUT_MS: u64 = 4000;

/// Splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

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
    /// Notifications carry their zxid.
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

    fn connect_new(&mut self, client: usize) {
        let session = self.next_session;
        self.next_session += 1;
        self.record(
            client,
            Body::Session(SessionEvent::Connecting {
                session: 0,
                last_zxid_seen: 0,
            }),
        );
        self.blank();
        self.now += 1000;
        let head = self.head();
        let old = std::mem::take(&mut self.clients[client]);
        self.clients[client] = Client {
            session,
            connected: true,
            xid: old.xid,
            identity: old.identity,
            position: head,
            last_sent: self.now,
            ..Client::default()
        };
        self.connected(client, false);
    }

    fn connected(&mut self, client: usize, reattached: bool) {
        let session = self.clients[client].session;
        let address = Some("10.0.0.1".into());
        self.record(
            client,
            Body::Session(SessionEvent::Connected {
                session,
                timeout_ms: TIMEOUT_MS,
                reattached,
                address,
            }),
        );
        if let Some(identity) = self.clients[client].identity.clone() {
            self.record(client, Body::Session(SessionEvent::Auth { identity }));
            self.record(client, Body::Session(SessionEvent::AuthDone { ok: true }));
        }
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

    fn path(&mut self) -> String {
        let top = self.dice.below(self.shape.paths);
        match self.dice.below(3) {
            0 => format!("/n{top}/c{}", self.dice.below(3)),
            _ => format!("/n{top}"),
        }
    }

    fn fresh_value(&mut self) -> Option<Value> {
        self.value += 1;
        match self.dice.below(12) {
            0 => None,
            1 => Some("same".into()),
            _ => Some(Value::from(format!("v{}", self.value).as_str())),
        }
    }

    fn acl(&mut self, client: usize) -> std::sync::Arc<[Acl]> {
        match &self.clients[client].identity {
            Some(_) if self.dice.one_in(12) => [Acl::new(31, "auth", "")].into(),
            _ => Acl::open(),
        }
    }

    fn write_op(&mut self, client: usize, inside: bool) -> Op {
        let path: Path = self.path().as_str().into();
        let version = match self.dice.below(3) {
            0 => self.dice.below(4) as i32,
            _ => -1,
        };
        match self.dice.below(if inside { 8 } else { 9 }) {
            0..=2 => {
                let (ephemeral, sequential) = (self.dice.one_in(3), self.dice.one_in(3));
                let path = if sequential {
                    format!("{path}/s-").as_str().into()
                } else {
                    path
                };
                let acl = self.acl(client);
                let stat = self.dice.one_in(2) && !inside;
                Op::Create {
                    path,
                    data: self.fresh_value(),
                    acl,
                    ephemeral,
                    sequential,
                    stat,
                }
            }
            3..=5 => Op::Set {
                path,
                data: self.fresh_value(),
                version,
            },
            6 => Op::Delete { path, version },
            7 if inside => Op::Check { path, version },
            7 => {
                let count = self.dice.below(4);
                Op::Multi {
                    ops: (0..count).map(|_| self.write_op(client, true)).collect(),
                }
            }
            _ => Op::SetAcl {
                path,
                acl: self.acl(client),
                version: -1,
            },
        }
    }

    fn read_op(&mut self) -> Op {
        let path: Path = self.path().as_str().into();
        let watch = self.shape.watches > 0 && self.dice.one_in(self.shape.watches);
        match self.dice.below(10) {
            0..=2 => Op::Get { path, watch },
            3..=5 => Op::Exists { path, watch },
            6..=7 => Op::Children {
                path,
                watch,
                stat: self.dice.one_in(2),
            },
            8 => Op::GetAcl { path },
            _ => Op::Sync { path },
        }
    }

    fn invoke(&mut self, client: usize) {
        if self.clients[client].pending.len() >= 4 || self.clients[client].closing {
            return;
        }
        let op = match self.dice.below(40) {
            0 => Op::Close,
            1..=19 => self.write_op(client, false),
            _ => self.read_op(),
        };
        self.send(client, op);
    }

    fn send(&mut self, client: usize, op: Op) {
        let me = &mut self.clients[client];
        me.xid += 1;
        me.closing = op == Op::Close;
        me.last_sent = self.now;
        let (session, xid) = (me.session, me.xid);
        me.pending.push_back(Pending {
            xid,
            op: op.clone(),
            answered: false,
        });
        self.record(client, Body::Invoke { session, xid, op });
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

    fn lose(&mut self, client: usize) {
        let me = &mut self.clients[client];
        me.inbox.clear();
        me.connected = false;
        me.data_watches.clear();
        me.child_watches.clear();
        let pending: Vec<Pending> = me.pending.drain(..).collect();
        // What no server had taken yet may still be on its way to the leader, in order.
        let underway = pending
            .iter()
            .filter(|pending| !pending.answered && pending.op.is_transaction());
        me.ghosts
            .extend(underway.map(|pending| (pending.xid, pending.op.clone())));
        let reach = self.dice.below(me.ghosts.len() + 1);
        me.ghosts.truncate(reach);
        for pending in pending {
            self.record(client, Body::Lost { xid: pending.xid });
        }
        self.record(client, Body::Session(SessionEvent::Disconnected));
    }

    fn while_disconnected(&mut self, client: usize) {
        match self.dice.below(12) {
            0..=3 => self.let_ghosts_act(),
            4 => self.expire(client),
            5..=6 => self.reattach(client),
            _ => {}
        }
    }

    fn expire(&mut self, client: usize) {
        let session = self.clients[client].session;
        if !self.alive(client) {
            self.told_expired(client);
            return;
        }
        self.now = self
            .now
            .max(self.clients[client].last_sent + TIMEOUT_MS * 1_000_000 + 1_000_000);
        // Everybody else has been pinging meanwhile.
        for other in 0..self.clients.len() {
            if other != client {
                self.clients[other].last_sent = self.now;
                if self.clients[other].connected {
                    self.record(other, Body::Ping { sent: self.now });
                }
            }
        }
        self.close_session(client, session);
        if self.dice.one_in(2) {
            self.told_expired(client);
        }
    }

    fn told_expired(&mut self, client: usize) {
        let (session, last_zxid_seen) =
            (self.clients[client].session, self.clients[client].last_zxid);
        self.record(
            client,
            Body::Session(SessionEvent::Connecting {
                session,
                last_zxid_seen,
            }),
        );
        self.record(client, Body::Session(SessionEvent::Expired { session }));
        self.connect_new(client);
    }

    fn alive(&self, client: usize) -> bool {
        self.clients[client].session != 0 && !self.clients[client].closing
    }

    fn reattach(&mut self, client: usize) {
        if !self.alive(client) {
            return self.told_expired(client);
        }
        let last = self.clients[client].last_zxid;
        let lowest = self
            .log
            .partition_point(|applied| applied.zxid < last)
            .min(self.head());
        let position = lowest + self.dice.below(self.head() - lowest + 1);
        let session = self.clients[client].session;
        self.record(
            client,
            Body::Session(SessionEvent::Connecting {
                session,
                last_zxid_seen: last,
            }),
        );
        let me = &mut self.clients[client];
        me.position = position;
        me.connected = true;
        me.last_sent = self.now;
        self.connected(client, true);
        self.set_watches(client, last);
    }

    fn set_watches(&mut self, client: usize, relative_zxid: i64) {
        let me = &self.clients[client];
        let list = |set: &BTreeSet<String>| {
            set.iter()
                .map(|path| path.as_str().into())
                .collect::<Vec<Path>>()
        };
        let (data, exist, child) = (list(&me.my_data), list(&me.my_exist), list(&me.my_child));
        if data.is_empty() && exist.is_empty() && child.is_empty() {
            return;
        }
        let (tree, at) = (
            self.log[me.position].tree.clone(),
            self.log[me.position].zxid,
        );
        let me = &mut self.clients[client];
        let tell = |me: &mut Client, event, path: &Path| {
            me.inbox.push_back(Message::Notify {
                zxid: -1,
                event,
                path: path.to_string(),
            });
        };
        for path in &data {
            match tree.get(&**path) {
                None => tell(me, EventType::NodeDeleted, path),
                Some(node) if node.stat.mzxid > relative_zxid => {
                    tell(me, EventType::NodeDataChanged, path)
                }
                Some(_) => drop(me.data_watches.insert(path.to_string())),
            }
        }
        for path in &exist {
            match tree.get(&**path) {
                Some(_) => tell(me, EventType::NodeCreated, path),
                None => drop(me.data_watches.insert(path.to_string())),
            }
        }
        for path in &child {
            match tree.get(&**path) {
                None => tell(me, EventType::NodeDeleted, path),
                Some(node) if node.stat.pzxid > relative_zxid => {
                    tell(me, EventType::NodeChildrenChanged, path)
                }
                Some(_) => drop(me.child_watches.insert(path.to_string())),
            }
        }
        me.inbox.push_back(Message::SetWatchesDone { zxid: at });
        self.record(
            client,
            Body::Session(SessionEvent::SetWatches {
                relative_zxid,
                data,
                exist,
                child,
            }),
        );
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
                let readable = only.is_none() || only == me.identity;
                if wanted && readable {
                    me.inbox.push_back(Message::Notify { zxid, event, path });
                }
            }
        }
        self.clients[client].position = self.clients[client].position.max(to);
    }

    fn may(&self, client: usize, node: &Node) -> bool {
        node.only.is_none() || node.only == self.clients[client].identity
    }

    fn read(&mut self, client: usize, op: &Op) -> Result<Answer, ErrorCode> {
        let Some(path) = op.path().filter(|_| !matches!(op, Op::Sync { .. })) else {
            return Ok(Answer::Done);
        };
        let tree = self.log[self.clients[client].position].tree.clone();
        let found = tree.get(&**path);
        let may = found.is_none_or(|node| self.may(client, node));
        let me = &mut self.clients[client];
        if let Op::Exists { watch: true, .. } = op
            && may
        {
            me.data_watches.insert(path.to_string());
        }
        let node = found.ok_or(ErrorCode::NO_NODE)?;
        if !may {
            return Err(ErrorCode::NO_AUTH);
        }
        let stat = shown(node);
        let names = || {
            let prefix = if **path == *"/" {
                "/".to_string()
            } else {
                format!("{path}/")
            };
            let below = tree.keys().filter_map(|key| key.strip_prefix(&prefix));
            below
                .filter(|name| !name.is_empty() && !name.contains('/'))
                .map(Path::from)
                .collect::<Vec<_>>()
        };
        Ok(match op {
            Op::Get { watch, .. } => {
                if *watch {
                    me.data_watches.insert(path.to_string());
                }
                Answer::Data {
                    data: node.data.clone(),
                    stat,
                }
            }
            Op::Children {
                watch,
                stat: with_stat,
                ..
            } => {
                if *watch {
                    me.child_watches.insert(path.to_string());
                }
                match with_stat {
                    true => Answer::NamesStat {
                        names: names(),
                        stat,
                    },
                    false => Answer::Names(names()),
                }
            }
            Op::GetAcl { .. } => {
                let acl = match &node.only {
                    Some(identity) => vec![Acl {
                        perms: 31,
                        identity: identity.clone(),
                    }],
                    None => vec![Acl::new(31, "world", "anyone")],
                };
                Answer::Acl { acl, stat }
            }
            _ => Answer::Stat(stat),
        })
    }

    fn write(&mut self, client: usize, xid: i32, op: &Op) -> (i64, Result<Answer, ErrorCode>) {
        let zxid = self.zxid();
        let mut tree = (*self.log[self.head()].tree).clone();
        let mut events = Vec::new();
        let result = match op {
            Op::Multi { ops } => {
                let (mut trial, mut fired) = (tree.clone(), Vec::new());
                let mut results = Vec::new();
                for op in ops {
                    match self.apply(client, op, zxid, &mut trial, &mut fired) {
                        Ok(answer) => results.push(Ok(answer)),
                        Err(code) => {
                            results = vec![Err(ErrorCode::OK); results.len()];
                            results.push(Err(code));
                            results.resize(ops.len(), Err(ErrorCode::RUNTIME_INCONSISTENCY));
                            break;
                        }
                    }
                }
                if results.iter().all(Result::is_ok) {
                    (tree, events) = (trial, fired);
                }
                Ok(Answer::Multi(results))
            }
            Op::Close => {
                let session = self.clients[client].session;
                end_session(session, zxid, &mut tree, &mut events);
                Ok(Answer::Done)
            }
            _ => self.apply(client, op, zxid, &mut tree, &mut events),
        };
        let session = self.clients[client].session;
        let kind = match (op, &result) {
            (Op::Close, _) => TxnKind::Close,
            (_, Ok(Answer::Multi(parts))) if parts.iter().any(Result::is_err) => TxnKind::Refused,
            (_, Ok(_)) => TxnKind::Write,
            (_, Err(_)) => TxnKind::Refused,
        };
        self.txns.push(Txn {
            zxid,
            session,
            xid,
            kind,
        });
        self.truth
            .push((zxid, format!("session {session:#x} {op:?} -> {result:?}")));
        self.log.push(Applied {
            zxid,
            events,
            tree: Rc::new(tree),
        });
        (zxid, result)
    }

    fn close_session(&mut self, client: usize, session: i64) {
        let zxid = self.zxid();
        let mut tree = (*self.log[self.head()].tree).clone();
        let mut events = Vec::new();
        end_session(session, zxid, &mut tree, &mut events);
        self.txns.push(Txn {
            zxid,
            session,
            xid: 0,
            kind: TxnKind::Close,
        });
        self.truth.push((zxid, format!("expiry of {session:#x}")));
        self.log.push(Applied {
            zxid,
            events,
            tree: Rc::new(tree),
        });
        self.clients[client].closing = true;
        self.clients[client].ghosts.clear();
    }

    fn apply(
        &mut self,
        client: usize,
        op: &Op,
        zxid: i64,
        tree: &mut Tree,
        events: &mut Vec<(EventType, String, Option<Identity>)>,
    ) -> Result<Answer, ErrorCode> {
        let time = self.now as i64 / 1_000_000;
        let path = op.path().expect("single writes name a path").to_string();
        let parent = parent_of(&path);
        let node = tree.get(&path).cloned();
        let holder = tree.get(&parent).cloned();
        let version_is = |wanted: i32, actual: i32| match wanted == -1 || wanted == actual {
            true => Ok(()),
            false => Err(ErrorCode::BAD_VERSION),
        };
        match op {
            Op::Create {
                data,
                acl,
                ephemeral,
                sequential,
                stat: with_stat,
                ..
            } => {
                let holder = holder.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &holder) {
                    return Err(ErrorCode::NO_AUTH);
                }
                let path = if *sequential {
                    format!("{path}{:010}", holder.creates)
                } else {
                    path
                };
                if tree.contains_key(&path) {
                    return Err(ErrorCode::NODE_EXISTS);
                }
                if holder.stat.ephemeral_owner != 0 {
                    return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
                }
                let only = (&*acl[0].identity.scheme == "auth")
                    .then(|| self.clients[client].identity.clone())
                    .flatten();
                let ephemeral_owner = if *ephemeral {
                    self.clients[client].session
                } else {
                    0
                };
                let stat = Stat {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: time,
                    mtime: time,
                    ephemeral_owner,
                    data_length: data.as_ref().map_or(0, |data| data.bytes().len() as i32),
                    ..Stat::default()
                };
                let made = Node {
                    data: data.clone(),
                    stat,
                    creates: 0,
                    only: only.clone(),
                };
                let answer = match with_stat {
                    true => Answer::Created {
                        path: path.as_str().into(),
                        stat: shown(&made),
                    },
                    false => Answer::Path(path.as_str().into()),
                };
                tree.insert(path.clone(), made);
                let holder = tree.get_mut(&parent).expect("checked above");
                holder.creates += 1;
                holder.stat.num_children += 1;
                holder.stat.pzxid = zxid;
                events.push((EventType::NodeCreated, path, only));
                events.push((EventType::NodeChildrenChanged, parent, holder.only.clone()));
                Ok(answer)
            }
            Op::Delete { version, .. } => {
                let holder = holder.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &holder) {
                    return Err(ErrorCode::NO_AUTH);
                }
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                version_is(*version, node.stat.version)?;
                if node.stat.num_children > 0 {
                    return Err(ErrorCode::NOT_EMPTY);
                }
                remove(&path, zxid, tree, events);
                Ok(Answer::Done)
            }
            Op::Set { data, version, .. } => {
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &node) {
                    return Err(ErrorCode::NO_AUTH);
                }
                version_is(*version, node.stat.version)?;
                let node = tree.get_mut(&path).expect("checked above");
                node.data = data.clone();
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                node.stat.mtime = time;
                node.stat.data_length = data.as_ref().map_or(0, |data| data.bytes().len() as i32);
                events.push((EventType::NodeDataChanged, path, node.only.clone()));
                Ok(Answer::Stat(shown(node)))
            }
            Op::SetAcl { acl, version, .. } => {
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &node) {
                    return Err(ErrorCode::NO_AUTH);
                }
                version_is(*version, node.stat.aversion)?;
                let only = (&*acl[0].identity.scheme == "auth")
                    .then(|| self.clients[client].identity.clone())
                    .flatten();
                let node = tree.get_mut(&path).expect("checked above");
                node.only = only;
                node.stat.aversion += 1;
                Ok(Answer::Stat(shown(node)))
            }
            Op::Check { version, .. } => {
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &node) {
                    return Err(ErrorCode::NO_AUTH);
                }
                version_is(*version, node.stat.version)?;
                Ok(Answer::Done)
            }
            _ => unreachable!("not a single write"),
        }
    }
}

fn parent_of(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".into(),
        Some(slash) => path[..slash].into(),
    }
}

fn shown(node: &Node) -> Stat {
    Stat {
        cversion: node.creates * 2 - node.stat.num_children,
        ..node.stat
    }
}

fn remove(
    path: &str,
    zxid: i64,
    tree: &mut Tree,
    events: &mut Vec<(EventType, String, Option<Identity>)>,
) {
    let node = tree.remove(path).expect("only what exists is removed");
    let parent = parent_of(path);
    let holder = tree.get_mut(&parent).expect("parents outlive children");
    holder.stat.num_children -= 1;
    holder.stat.pzxid = zxid;
    events.push((EventType::NodeDeleted, path.to_string(), node.only));
    events.push((EventType::NodeChildrenChanged, parent, holder.only.clone()));
}

fn end_session(
    session: i64,
    zxid: i64,
    tree: &mut Tree,
    events: &mut Vec<(EventType, String, Option<Identity>)>,
) {
    let owned: Vec<String> = tree
        .iter()
        .filter(|(_, node)| node.stat.ephemeral_owner == session)
        .map(|(path, _)| path.clone())
        .collect();
    for path in owned {
        remove(&path, zxid, tree, events);
    }
}
