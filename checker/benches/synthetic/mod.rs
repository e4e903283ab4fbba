//! Valid histories of any length, for measuring: one order of transactions in memory, and
//! clients that always have a request under way.
//!
//! It is no simulator: there is one server, and but for [`Shape::Sessions`] no connection breaks
//! and nobody is left without an answer. What always holds: the same plan gives the same history, and every
//! history is consistent by construction, because each request takes effect at one moment
//! between its question and its answer. The tree in here is a plain map of its own.

use gamekeeper_checker::history::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What the clients do.
    pub shape: Shape,
    /// Requests, each with its answer.
    pub operations: usize,
    /// Clients, each with a request under way nearly all the time.
    pub clients: usize,
    /// Of every number of the dice.
    pub seed: u64,
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// So many nodes; half of the requests get, four in ten set, one in ten sets at a
    /// version.
    Registers(usize),
    /// A tree of small folders: everything but watches.
    Tree,
    /// The same, by sessions that come, make ephemerals, lose answers and expire, told to
    /// nobody.
    Sessions,
}

const SESSION: i64 = 0x1_0000_0000_0001;
/// Of those that expire, ms.
const TIMEOUT_MS: u64 = 2_000;
const TICK_NS: u64 = 500_000_000;
/// One in so many requests loses its answer, and its client its session.
const LOSSES: usize = 10_000;
const FOLDERS: usize = 64;
const NAMES: usize = 12;

#[derive(Default)]
struct Node {
    stat: Stat,
    data: Option<Value>,
    creates: i32,
    kids: BTreeSet<Path>,
}

/// A client's request on its way.
enum Phase {
    Idle,
    Sent(Op),
    Done(Body),
}

struct World {
    dice: ChaCha8Rng,
    history: History,
    now: u64,
    zxid: i64,
    nodes: HashMap<Path, Node>,
    folders: Vec<Path>,
    names: Vec<Vec<Path>>,
    xids: Vec<i32>,
    /// The present session of each client, and the ephemerals it made.
    sessions: Vec<(i64, Vec<Path>)>,
    /// What goes when, and with which session.
    leaving: VecDeque<(u64, Vec<Path>)>,
    last_session: i64,
    pace: usize,
}

/// A consistent history.
pub fn history(plan: Plan) -> History {
    let mut world = World::new(plan);
    let mut phases: Vec<Phase> = (0..plan.clients).map(|_| Phase::Idle).collect();
    let (mut sent, mut answered) = (0, 0);
    while answered < plan.operations {
        let client = world.below(plan.clients);
        world.now += 1 + world.below(world.pace) as u64;
        world.expire();
        let phase = std::mem::replace(&mut phases[client], Phase::Idle);
        phases[client] = match phase {
            Phase::Idle if sent == plan.operations => Phase::Idle,
            Phase::Idle => {
                sent += 1;
                Phase::Sent(world.ask(client, plan.shape))
            }
            Phase::Sent(op) if plan.shape == Shape::Sessions && world.below(LOSSES) == 0 => {
                answered += 1;
                world.lose(client, &op);
                Phase::Idle
            }
            Phase::Sent(op) => Phase::Done(world.obey(client, &op)),
            Phase::Done(body) => {
                answered += 1;
                world.history.push_at(client as u32, world.now, 1, body);
                Phase::Idle
            }
        };
    }
    world.history
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = World {
            dice: ChaCha8Rng::seed_from_u64(plan.seed),
            history: History::new(Header::default()),
            now: 1_000_000,
            zxid: 1 << 32,
            nodes: HashMap::new(),
            folders: Vec::new(),
            names: Vec::new(),
            xids: vec![0; plan.clients],
            sessions: vec![(0, Vec::new()); plan.clients],
            leaving: VecDeque::new(),
            last_session: SESSION - 1,
            pace: match plan.shape {
                Shape::Registers(_) | Shape::Tree => 1000,
                Shape::Sessions => 100_000,
            },
        };
        world.history.records.reserve(2 * plan.operations + 1000);
        world.nodes.insert("/".into(), Node::default());
        for client in 0..plan.clients {
            world.open(client, plan.shape);
        }
        let folders = match plan.shape {
            Shape::Registers(count) => count,
            Shape::Tree | Shape::Sessions => FOLDERS,
        };
        for folder in 0..folders {
            let path: Path = format!("/node-{folder:04}").into();
            let names = (0..NAMES).map(|name| format!("{path}/{name:02}").into());
            world.names.push(names.collect());
            world.folders.push(path.clone());
            let create = world.create(path, false);
            world.at_once(0, create);
        }
        world
    }

    /// A session begins, which takes a number that nobody is told.
    fn open(&mut self, client: usize, shape: Shape) {
        self.zxid += 1;
        self.now += 1000;
        self.last_session += 1;
        self.sessions[client] = (self.last_session, Vec::new());
        let connected = SessionEvent::Connected {
            session: self.last_session,
            timeout_ms: match shape {
                Shape::Registers(_) | Shape::Tree => 30_000,
                Shape::Sessions => TIMEOUT_MS,
            },
            reattached: false,
            address: Some("10.0.0.1".into()),
        };
        let connecting = SessionEvent::Connecting {
            session: 0,
            last_zxid_seen: 0,
        };
        for event in [connecting, connected] {
            let now = self.now;
            self.history.push(client as u32, now, Body::Session(event));
        }
    }

    /// A request, done or not, is never answered, and its client comes back with another
    /// session.
    fn lose(&mut self, client: usize, op: &Op) {
        if self.below(2) == 0 {
            self.obey(client, op);
        }
        let (session, ephemerals) = std::mem::take(&mut self.sessions[client]);
        let xid = self.xids[client];
        let left = [
            Body::Lost { xid },
            Body::Session(SessionEvent::Disconnected),
            Body::Session(SessionEvent::Abandoned { session }),
        ];
        for body in left {
            self.history.push(client as u32, self.now, body);
        }
        // Servers look for sessions that are over once a tick.
        let due = (self.now + TIMEOUT_MS * 1_000_000).next_multiple_of(TICK_NS);
        let at = self.leaving.partition_point(|(other, _)| *other <= due);
        self.leaving.insert(at, (due, ephemerals));
        self.open(client, Shape::Sessions);
    }

    /// Ends the sessions whose time is over.
    fn expire(&mut self) {
        while self
            .leaving
            .front()
            .is_some_and(|(due, _)| *due <= self.now)
        {
            let (_, ephemerals) = self.leaving.pop_front().expect("it was there");
            self.zxid += 1;
            for path in ephemerals {
                if self.nodes.remove(&path).is_some() {
                    self.note_child(&path, false);
                }
            }
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.dice.next_u32() as usize) % n.max(1)
    }

    fn at_once(&mut self, client: usize, op: Op) {
        self.sent(client, op.clone());
        let answer = self.obey(client, &op);
        self.now += 1000;
        self.history.push_at(client as u32, self.now, 1, answer);
        self.now += 1000;
    }

    fn sent(&mut self, client: usize, op: Op) {
        self.xids[client] += 1;
        let body = Body::Invoke {
            session: self.sessions[client].0,
            xid: self.xids[client],
            op,
        };
        self.history.push_at(client as u32, self.now, 1, body);
    }

    fn ask(&mut self, client: usize, shape: Shape) -> Op {
        let op = match shape {
            Shape::Registers(_) => self.register_op(),
            Shape::Tree => self.tree_op(),
            Shape::Sessions if self.below(40) == 0 => self.ephemeral(client),
            Shape::Sessions => self.tree_op(),
        };
        self.sent(client, op.clone());
        op
    }

    fn register_op(&mut self) -> Op {
        let path = self.folder();
        match self.below(10) {
            0..5 => Op::Get { path, watch: false },
            5..9 => self.set(path, -1),
            _ => {
                let version = self.nodes[&path].stat.version - self.below(2) as i32;
                self.set(path, version.max(0))
            }
        }
    }

    fn tree_op(&mut self) -> Op {
        let folder = self.below(self.folders.len());
        let name = self.below(NAMES);
        let path = self.names[folder][name].clone();
        let version = match self.below(3) {
            0 => self.nodes.get(&path).map_or(0, |node| node.stat.version),
            _ => -1,
        };
        match self.below(20) {
            0..2 => self.create(path, false),
            2 => self.create(path, true),
            3..5 => Op::Delete { path, version },
            5..9 => Op::Get { path, watch: false },
            9..12 => self.set(path, version),
            12..14 => Op::Exists { path, watch: false },
            14..16 => self.list(folder, false),
            16 => self.list(folder, true),
            17 => Op::Sync { path },
            _ => {
                let other = self.below(NAMES);
                let other = self.names[folder][other].clone();
                let check = Op::Check {
                    path: path.clone(),
                    version,
                };
                let ops = vec![check, self.set(path, -1), self.set(other, -1)];
                Op::Multi { ops }
            }
        }
    }

    fn folder(&mut self) -> Path {
        let folder = self.below(self.folders.len());
        self.folders[folder].clone()
    }

    fn list(&mut self, folder: usize, stat: bool) -> Op {
        Op::Children {
            path: self.folders[folder].clone(),
            watch: false,
            stat,
        }
    }

    fn value(&mut self) -> Option<Value> {
        let number = self.dice.next_u32();
        Some(Value::from(format!("value-{number:08x}").as_str()))
    }

    fn set(&mut self, path: Path, version: i32) -> Op {
        let data = self.value();
        Op::Set {
            path,
            data,
            version,
        }
    }

    fn create(&mut self, path: Path, stat: bool) -> Op {
        Op::Create {
            path,
            data: self.value(),
            acl: Acl::open(),
            ephemeral: false,
            lapse: None,
            sequential: false,
            stat,
        }
    }

    /// A name that nobody else uses, so that an ephemeral stays until its session ends.
    fn ephemeral(&mut self, client: usize) -> Op {
        let folder = self.folders[client % self.folders.len()].clone();
        let number = self.dice.next_u32();
        let path = format!("{folder}/e-{number:08x}").into();
        match self.create(path, false) {
            Op::Create {
                path, data, acl, ..
            } => Op::Create {
                path,
                data,
                acl,
                ephemeral: true,
                lapse: None,
                sequential: false,
                stat: false,
            },
            other => other,
        }
    }

    /// The request takes effect now; what will be answered.
    fn obey(&mut self, client: usize, op: &Op) -> Body {
        if op.is_transaction() {
            self.zxid += 1;
        }
        let result = match op {
            Op::Multi { ops } => self.multi(ops),
            op => self.one(op),
        };
        if let (Op::Create { path, .. }, Ok(_)) = (op, &result)
            && matches!(
                op,
                Op::Create {
                    ephemeral: true,
                    ..
                }
            )
        {
            let (session, made) = &mut self.sessions[client];
            made.push(path.clone());
            if let Some(node) = self.nodes.get_mut(path) {
                node.stat.ephemeral_owner = *session;
            }
        }
        Body::Return {
            xid: self.xids[client],
            zxid: self.zxid,
            result,
        }
    }

    fn multi(&mut self, ops: &[Op]) -> Result<Answer, ErrorCode> {
        let missing = |op: &Op| match op {
            Op::Check { path, version } | Op::Set { path, version, .. } => {
                match self.nodes.get(path) {
                    None => Some(ErrorCode::NO_NODE),
                    Some(node) if *version != -1 && *version != node.stat.version => {
                        Some(ErrorCode::BAD_VERSION)
                    }
                    Some(_) => None,
                }
            }
            _ => None,
        };
        let failed = ops.iter().position(|op| missing(op).is_some());
        let Some(failed) = failed else {
            let results = ops.iter().map(|op| self.one(op)).collect();
            return Ok(Answer::Multi(results));
        };
        let code = missing(&ops[failed]).unwrap_or(ErrorCode::OK);
        let results = (0..ops.len()).map(|part| {
            Err(match part.cmp(&failed) {
                std::cmp::Ordering::Less => ErrorCode::OK,
                std::cmp::Ordering::Equal => code,
                std::cmp::Ordering::Greater => ErrorCode::RUNTIME_INCONSISTENCY,
            })
        });
        Ok(Answer::Multi(results.collect()))
    }

    fn one(&mut self, op: &Op) -> Result<Answer, ErrorCode> {
        let (zxid, clock) = (self.zxid, (self.now / 1_000_000) as i64);
        let path = op.path().expect("every operation in here has a path");
        let here = self.nodes.get_mut(path);
        match op {
            Op::Create { data, stat, .. } => {
                if here.is_some() {
                    return Err(ErrorCode::NODE_EXISTS);
                }
                let node = fresh(data.clone(), zxid, clock);
                let seen = node.stat;
                self.nodes.insert(path.clone(), node);
                self.note_child(path, true);
                Ok(match stat {
                    true => Answer::Created {
                        path: path.clone(),
                        stat: seen,
                    },
                    false => Answer::Path(path.clone()),
                })
            }
            Op::Delete { version, .. } => {
                let node = here.ok_or(ErrorCode::NO_NODE)?;
                expect(*version, node)?;
                self.nodes.remove(path);
                self.note_child(path, false);
                Ok(Answer::Done)
            }
            Op::Set { data, version, .. } => {
                let node = here.ok_or(ErrorCode::NO_NODE)?;
                expect(*version, node)?;
                node.data = data.clone();
                (node.stat.version, node.stat.mzxid) = (node.stat.version + 1, zxid);
                node.stat.mtime = clock;
                node.stat.data_length = length(data);
                Ok(Answer::Stat(node.stat))
            }
            Op::Check { version, .. } => {
                expect(*version, here.ok_or(ErrorCode::NO_NODE)?)?;
                Ok(Answer::Done)
            }
            Op::Exists { .. } => Ok(Answer::Stat(here.ok_or(ErrorCode::NO_NODE)?.stat)),
            Op::Get { .. } => {
                let node = here.ok_or(ErrorCode::NO_NODE)?;
                Ok(Answer::Data {
                    data: node.data.clone(),
                    stat: node.stat,
                })
            }
            Op::Children { stat, .. } => {
                let node = here.ok_or(ErrorCode::NO_NODE)?;
                let names = node.kids.iter().cloned().collect();
                Ok(match stat {
                    true => Answer::NamesStat {
                        names,
                        stat: node.stat,
                    },
                    false => Answer::Names(names),
                })
            }
            Op::Sync { .. } | Op::AddWatch { .. } | Op::RemoveWatches { .. } => Ok(Answer::Done),
            Op::GetAcl { .. } | Op::SetAcl { .. } | Op::Multi { .. } | Op::Close => {
                unreachable!("not drawn")
            }
        }
    }

    fn note_child(&mut self, path: &Path, made: bool) {
        let slash = path.rfind('/').unwrap_or(0);
        let parent = self.nodes.get_mut(&path[..slash.max(1)]);
        let parent = parent.expect("folders are made first and stay");
        let name: Path = path[slash + 1..].into();
        match made {
            true => {
                parent.creates += 1;
                parent.kids.insert(name);
            }
            false => {
                parent.kids.remove(&name);
            }
        }
        parent.stat.num_children = parent.kids.len() as i32;
        parent.stat.cversion = 2 * parent.creates - parent.stat.num_children;
        parent.stat.pzxid = self.zxid;
    }
}

fn fresh(data: Option<Value>, zxid: i64, clock: i64) -> Node {
    let stat = Stat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: clock,
        mtime: clock,
        data_length: length(&data),
        ..Stat::default()
    };
    Node {
        stat,
        data,
        ..Node::default()
    }
}

fn length(data: &Option<Value>) -> i32 {
    data.as_ref().map_or(0, |data| data.bytes().len() as i32)
}

fn expect(version: i32, node: &Node) -> Result<(), ErrorCode> {
    match version == -1 || version == node.stat.version {
        true => Ok(()),
        false => Err(ErrorCode::BAD_VERSION),
    }
}
