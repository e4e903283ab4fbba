//! The shadow of a history on a few nodes: what it says of these, and of nothing else.
//!
//! A history that has an order leaves each node with one: leave everything else out of that
//! order, and what was done to the node and seen of it still agrees. So a shadow without an order
//! convicts (class A), and shadows are small where the tie between a node and its parent's
//! list would hold a whole life together. What makes a shadow weaker than the history, never
//! stronger:
//!
//! | of the history | in the shadow |
//! |---|---|
//! | nodes above those in question | are there from the beginning, and open to all |
//! | Stats | tell no children, but those of the node whose children are in question too |
//! | a list of children | tells whether the node in question is among them |
//! | a sequential create | makes the node that it was said to make; a lost one may make the node in question, if the name fits |
//! | refusals because of what is not in question (parent, children, rights) | left out |
//! | parts of a multi on other nodes | left out; with the whole multi, if such a part failed |
//! | other transactions | left out; of sessions that may own the node they stay as multis of no parts, since a session ends after all of them |
//! | notifications | left out |
//!
//! What a shadow is not fit for: to acquit (see [`super::part`]).
//!
//! Answers to: `consistency.md` 3.1 ("partition writes only") and 3.3 (components).

use super::sights::is_numbered;
use crate::history::{
    Answer, Body, ErrorCode, History, Op, Path, Record, SessionEvent, Start, StartNode, Stat,
    SubAnswer, Value,
};
use crate::model::{NO_SESSION, SessionIndex};
use crate::walk::case::{Case, Request, RequestIndex, Role};
use crate::walk::makes_ephemeral;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// What the answer to a request is in a shadow; None if it was lost.
type Told = Option<Result<Answer, ErrorCode>>;

/// The nodes that a shadow tells of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Focus<'h> {
    /// One node, but not its children.
    Node(&'h str),
    /// One node and its children, but not theirs.
    Family(&'h str),
}

/// The requests of a case by what they have to do with.
pub struct Shadows<'c, 'h> {
    case: &'c Case<'h>,
    by_path: FxHashMap<&'h str, Vec<RequestIndex>>,
    by_session: FxHashMap<SessionIndex, Vec<RequestIndex>>,
    children: FxHashMap<&'h str, BTreeSet<&'h str>>,
    /// By client, the records of what became of its sessions.
    events: FxHashMap<u32, Vec<u32>>,
}

impl<'c, 'h> Shadows<'c, 'h> {
    /// Sorts the requests of a case.
    pub fn of(case: &'c Case<'h>) -> Self {
        let mut shadows = Shadows {
            case,
            by_path: FxHashMap::default(),
            by_session: FxHashMap::default(),
            children: FxHashMap::default(),
            events: FxHashMap::default(),
        };
        for (index, record) in (0..).zip(&case.history.records) {
            if tells_of_sessions(&record.body) {
                shadows
                    .events
                    .entry(record.process)
                    .or_default()
                    .push(index);
            }
        }
        for (number, request) in (0..).zip(&case.requests) {
            for path in paths_of(request) {
                let known = shadows.by_path.entry(path).or_default();
                if known.last() != Some(&number) {
                    known.push(number);
                }
            }
            let own = shadows.by_session.entry(request.session).or_default();
            own.push(number);
        }
        for &path in shadows.by_path.keys() {
            if let Some(parent) = parent_of(path).filter(|_| !is_of_servers(path)) {
                shadows.children.entry(parent).or_default().insert(path);
            }
        }
        shadows
    }

    /// What is worth a look after these records convicted: the nodes that they are about, each
    /// alone, then each with its children, and as one of its parent's.
    pub fn near(&self, records: &[usize]) -> Vec<Focus<'h>> {
        let numbers = records
            .iter()
            .filter_map(|&at| self.case.request_of.get(at));
        let requests = numbers.filter_map(|&number| self.case.requests.get(number as usize));
        let told = records.iter().filter_map(|&at| {
            let record = self.case.history.records.get(at);
            match record.map(|record| &record.body) {
                Some(Body::Notify { path, .. }) => Some(&**path),
                _ => None,
            }
        });
        let mut paths: Vec<&'h str> = Vec::new();
        for path in requests.flat_map(own_paths).chain(told) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        let alone = paths.iter().map(|&path| Focus::Node(path));
        let families = paths.iter().map(|&path| Focus::Family(path));
        let parents = paths.iter().filter_map(|&path| parent_of(path));
        let mut near: Vec<Focus<'h>> = Vec::new();
        for focus in alone.chain(families).chain(parents.map(Focus::Family)) {
            if !near.contains(&focus) {
                near.push(focus);
            }
        }
        near
    }

    /// Every node that anything was ever asked about, each alone.
    pub fn everywhere(&self) -> Vec<Focus<'h>> {
        let mut paths: Vec<&'h str> = self.by_path.keys().copied().collect();
        paths.sort_unstable();
        paths.into_iter().map(Focus::Node).collect()
    }

    /// The shadow on some nodes; None if nothing was asked about them, or it cannot be cast.
    pub fn cast(&self, focus: &Focus<'h>) -> Option<History> {
        let (family, nodes) = match *focus {
            Focus::Node(path) => (None, vec![path]),
            Focus::Family(path) => {
                let children = self.children.get(path)?;
                (
                    Some(path),
                    [path].into_iter().chain(children.iter().copied()).collect(),
                )
            }
        };
        let lens = Lens {
            family,
            nodes: nodes.iter().copied().collect(),
        };
        // The root has a child that nobody made.
        if nodes.iter().any(|path| is_of_servers(path)) || family.is_none() && nodes[0] == "/" {
            return None;
        }
        let mut told: Vec<(RequestIndex, Op, Told)> = Vec::new();
        let mut owners: FxHashSet<SessionIndex> = self.owners_at_the_start(&lens);
        for number in self.related(&lens) {
            let request = &self.case.requests[number as usize];
            if let Some((op, answer)) = lens.request(request)? {
                if makes_ephemeral(&op) {
                    owners.insert(request.session);
                }
                told.push((number, op, answer));
            }
        }
        if told.is_empty() {
            return None;
        }
        self.add_sessions(&owners, &mut told);
        Some(self.written(&lens, told))
    }

    fn related(&self, lens: &Lens<'h>) -> BTreeSet<RequestIndex> {
        let parents = lens.nodes.iter().filter_map(|path| parent_of(path));
        let paths = lens.nodes.iter().copied().chain(parents);
        let numbers = paths.filter_map(|path| self.by_path.get(path));
        numbers.flatten().copied().collect()
    }

    fn owners_at_the_start(&self, lens: &Lens<'_>) -> FxHashSet<SessionIndex> {
        let nodes = start_nodes(self.case.history).iter();
        let own = nodes.filter(|node| lens.nodes.contains(&*node.path));
        let owners = own.map(|node| node.stat.ephemeral_owner);
        let owners = owners.filter(|&owner| owner != 0);
        owners
            .map(|owner| self.case.index_of_session(owner))
            .collect()
    }

    /// Adds the syncs of all sessions that take part, and all transactions, closes too, of those
    /// that may own a node.
    fn add_sessions(
        &self,
        owners: &FxHashSet<SessionIndex>,
        told: &mut Vec<(RequestIndex, Op, Told)>,
    ) {
        let requests = &self.case.requests;
        let kept: FxHashSet<RequestIndex> = told.iter().map(|&(number, ..)| number).collect();
        let sessions = kept.iter().map(|&number| requests[number as usize].session);
        let mut sessions: FxHashSet<SessionIndex> =
            sessions.chain(owners.iter().copied()).collect();
        sessions.remove(&NO_SESSION);
        let own = sessions
            .iter()
            .filter_map(|session| self.by_session.get(session));
        for &number in own.flatten().filter(|number| !kept.contains(number)) {
            let request = &requests[number as usize];
            let own = owners.contains(&request.session);
            if matches!(request.op, Op::Close) && own || request.role == Role::Sync {
                told.push((number, request.op.clone(), request.answer.cloned()));
            } else if request.role == Role::Transaction && own {
                let nothing = Op::Multi { ops: Vec::new() };
                told.push((number, nothing, Some(Ok(Answer::Multi(Vec::new())))));
            }
        }
    }

    fn written(&self, lens: &Lens<'_>, told: Vec<(RequestIndex, Op, Told)>) -> History {
        let history = self.case.history;
        let mut header = history.header.clone();
        header.txns = None;
        header.start = Start::Nodes {
            zxid: self.case.start_zxid,
            nodes: lens.start(start_nodes(history)),
        };
        let mut bodies: FxHashMap<u32, Body> = FxHashMap::default();
        let mut processes: FxHashSet<u32> = FxHashSet::default();
        for (number, op, answer) in told {
            let request = &self.case.requests[number as usize];
            let asked = &history.records[request.invoke as usize];
            processes.insert(asked.process);
            let Body::Invoke { session, xid, .. } = asked.body else {
                continue;
            };
            bodies.insert(request.invoke, Body::Invoke { session, xid, op });
            let done = match (answer, &history.records[request.done as usize].body) {
                (Some(result), &Body::Return { xid, zxid, .. }) => {
                    Body::Return { xid, zxid, result }
                }
                (None, &Body::Lost { xid }) => Body::Lost { xid },
                _ => continue,
            };
            bodies.insert(request.done, done);
        }
        for event in processes
            .iter()
            .flat_map(|process| self.events.get(process))
            .flatten()
        {
            bodies.insert(*event, history.records[*event as usize].body.clone());
        }
        let mut bodies: Vec<(u32, Body)> = bodies.into_iter().collect();
        bodies.sort_unstable_by_key(|&(index, _)| index);
        let mut shadow = History::new(header);
        shadow
            .records
            .extend(bodies.into_iter().map(|(index, body)| {
                let record = &history.records[index as usize];
                Record {
                    process: record.process,
                    time: record.time,
                    server: record.server,
                    body,
                }
            }));
        shadow
    }
}

/// True of what says when sessions lived, and who their clients were.
fn tells_of_sessions(body: &Body) -> bool {
    match body {
        Body::Session(event) => match event {
            SessionEvent::Connecting { .. }
            | SessionEvent::Connected { .. }
            | SessionEvent::Disconnected
            | SessionEvent::Expired { .. }
            | SessionEvent::Abandoned { .. }
            | SessionEvent::Auth { .. }
            | SessionEvent::AuthDone { .. } => true,
            SessionEvent::SetWatches { .. }
            | SessionEvent::SetWatchesDone { .. }
            | SessionEvent::WatchesLeftOut => false,
        },
        Body::Ping { .. } => true,
        Body::Invoke { .. }
        | Body::Return { .. }
        | Body::Lost { .. }
        | Body::Notify { .. }
        | Body::Final => false,
    }
}

/// What a shadow lets through.
struct Lens<'h> {
    /// The node whose children are looked at too.
    family: Option<&'h str>,
    nodes: FxHashSet<&'h str>,
}

impl Lens<'_> {
    /// A request in the shadow: None if it says nothing there. The outer None: nobody can tell.
    fn request(&self, request: &Request<'_>) -> Option<Option<(Op, Told)>> {
        let answer = match request.role {
            Role::Nothing => return Some(None),
            Role::Unanswered => None,
            Role::Transaction | Role::Read | Role::ReadSomewhere | Role::Sync => request.answer,
        };
        match (request.op, answer) {
            (Op::Close | Op::Sync { .. }, _) => Some(None),
            (Op::Multi { ops }, None) => {
                let mut parts = Vec::new();
                for op in ops {
                    parts.extend(self.part(op, None)?.map(|(op, _)| op));
                }
                // What it made may have had another number, and the rest was done all the same.
                let guessed = ops.iter().any(|op| self.is_guessed(op));
                match parts.len() {
                    0 => Some(None),
                    2.. if guessed => None,
                    _ => Some(Some((Op::Multi { ops: parts }, None))),
                }
            }
            (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => self.multi(ops, results),
            (Op::Multi { .. }, Some(_)) => Some(None),
            (op, None) => self.part(op, None),
            (op, Some(answer)) => self.part(op, Some(answer)),
        }
    }

    fn multi(&self, ops: &[Op], results: &[SubAnswer]) -> Option<Option<(Op, Told)>> {
        let failure = |result: &SubAnswer| matches!(result, Err(code) if *code != ErrorCode::OK);
        let failed = results.iter().position(failure);
        if results.len() != ops.len() {
            return Some(None);
        }
        let (mut parts, mut answers) = (Vec::new(), Vec::new());
        for (index, (op, result)) in ops.iter().zip(results).enumerate() {
            let seen = match failed {
                None => self.part(op, Some(result))?,
                // What it would have made is not told.
                Some(failed) if index < failed => {
                    if self.is_guessed(op) {
                        return Some(None);
                    }
                    let part = self.part(op, None)?;
                    part.map(|(op, _)| (op, Some(Err(ErrorCode::OK))))
                }
                Some(failed) if index == failed => match self.part(op, Some(result))? {
                    Some(part) => Some(part),
                    None => return Some(None),
                },
                Some(_) => None,
            };
            if let Some((op, Some(answer))) = seen {
                parts.push(op);
                answers.push(answer);
            }
        }
        let answer = Some(Ok(Answer::Multi(answers)));
        Some((!parts.is_empty()).then_some((Op::Multi { ops: parts }, answer)))
    }

    /// One operation that is no multi.
    fn part(&self, op: &Op, answer: Option<&SubAnswer>) -> Option<Option<(Op, Told)>> {
        let path = &**op.path()?;
        let seen = self.nodes.contains(path);
        let wide = |path: &str| self.family == Some(path);
        let within = parent_of(path).is_some_and(wide);
        let refused = answer.and_then(|answer| answer.as_ref().err().copied());
        let hidden = match op {
            Op::Create {
                sequential: true, ..
            } if !within => return self.numbered(op, answer),
            Op::Create { .. } if within => false,
            Op::Create { .. } => {
                !seen || refused.is_some_and(|code| code != ErrorCode::NODE_EXISTS)
            }
            Op::Delete { .. } => {
                let foreign = match refused {
                    Some(ErrorCode::NO_AUTH) => !within,
                    Some(ErrorCode::NOT_EMPTY) => !wide(path),
                    Some(_) | None => false,
                };
                !seen || foreign
            }
            Op::Children { .. } if !wide(path) => return Some(self.listed(path, seen, answer)),
            Op::Exists { .. }
            | Op::Get { .. }
            | Op::GetAcl { .. }
            | Op::Children { .. }
            | Op::Set { .. }
            | Op::SetAcl { .. }
            | Op::Check { .. } => !seen,
            Op::Sync { .. }
            | Op::Multi { .. }
            | Op::Close
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. } => true,
        };
        Some((!hidden).then(|| {
            (
                unwatched(op),
                answer.map(|answer| self.narrowed(path, answer)),
            )
        }))
    }

    /// True if an operation may make a node in question, or another.
    fn is_guessed(&self, op: &Op) -> bool {
        let (
            Op::Create {
                sequential: true, ..
            },
            Some(prefix),
        ) = (op, op.path())
        else {
            return false;
        };
        let within = parent_of(prefix).is_some_and(|parent| self.family == Some(parent));
        !within && self.nodes.iter().any(|path| is_numbered(path, prefix))
    }

    /// A sequential create under a parent that is not looked at.
    fn numbered(&self, op: &Op, answer: Option<&SubAnswer>) -> Option<Option<(Op, Told)>> {
        let made: Path = match answer {
            Some(Ok(Answer::Path(made) | Answer::Created { path: made, .. })) => made.clone(),
            Some(_) => return Some(None),
            None => {
                let prefix = op.path()?;
                let mut fitting = self.nodes.iter().filter(|path| is_numbered(path, prefix));
                match (fitting.next(), fitting.next()) {
                    (None, _) => return Some(None),
                    (Some(&path), None) => path.into(),
                    (Some(_), Some(_)) => return None,
                }
            }
        };
        if !self.nodes.contains(&*made) {
            return Some(None);
        }
        let mut create = op.clone();
        if let Op::Create {
            path, sequential, ..
        } = &mut create
        {
            (*path, *sequential) = (made.clone(), false);
        }
        Some(Some((
            create,
            answer.map(|answer| self.narrowed(&made, answer)),
        )))
    }

    /// A list of children that are not all looked at: it shows its own node, or one child.
    fn listed(&self, path: &str, seen: bool, answer: Option<&SubAnswer>) -> Option<(Op, Told)> {
        let exists = |path: &str, told: SubAnswer| {
            let op = Op::Exists {
                path: path.into(),
                watch: false,
            };
            Some((op, Some(told)))
        };
        let answer = answer?;
        if seen {
            return match answer {
                Ok(Answer::NamesStat { stat, .. }) => {
                    let stat = Answer::Stat(*stat);
                    exists(path, self.narrowed(path, &Ok(stat)))
                }
                Ok(_) => exists(path, Ok(Answer::Stat(Stat::default()))),
                Err(ErrorCode::NO_NODE) => exists(path, Err(ErrorCode::NO_NODE)),
                Err(_) => None,
            };
        }
        let child = self
            .nodes
            .iter()
            .find(|child| parent_of(child) == Some(path))?;
        match answer {
            Ok(Answer::Names(names) | Answer::NamesStat { names, .. }) => {
                let name = child.rsplit('/').next();
                let there = names.iter().any(|other| Some(&**other) == name);
                exists(
                    child,
                    match there {
                        true => Ok(Answer::Stat(Stat::default())),
                        false => Err(ErrorCode::NO_NODE),
                    },
                )
            }
            Ok(_) => None,
            Err(ErrorCode::NO_NODE) => exists(child, Err(ErrorCode::NO_NODE)),
            Err(_) => None,
        }
    }

    /// An answer without the children of nodes whose children are not looked at.
    fn narrowed(&self, path: &str, answer: &SubAnswer) -> SubAnswer {
        let mut answer = answer.clone();
        if self.family != Some(path)
            && let Ok(
                Answer::Created { stat, .. }
                | Answer::Stat(stat)
                | Answer::Data { stat, .. }
                | Answer::NamesStat { stat, .. }
                | Answer::Acl { stat, .. },
            ) = &mut answer
        {
            (stat.cversion, stat.num_children) = (0, 0);
        }
        answer
    }

    /// The tree before the first record: what was there of these nodes, and all above them.
    fn start(&self, given: &[StartNode]) -> Vec<StartNode> {
        let mut above: BTreeSet<&str> = BTreeSet::new();
        for path in &self.nodes {
            let mut path = *path;
            while let Some(parent) = parent_of(path) {
                if parent != "/" && !self.nodes.contains(parent) {
                    above.insert(parent);
                }
                path = parent;
            }
        }
        let above = above.into_iter().map(|path| StartNode {
            path: path.into(),
            data: Some(Value::from("")),
            stat: Stat::default(),
            acl: Vec::new(),
            lapse: None,
        });
        let own = given.iter().filter(|node| self.nodes.contains(&*node.path));
        let own = own.map(|node| {
            let mut node = node.clone();
            if self.family != Some(&*node.path) {
                (node.stat.cversion, node.stat.num_children) = (0, 0);
            }
            node
        });
        let mut nodes: Vec<StartNode> = above.chain(own).collect();
        nodes.sort_by(|left, right| left.path.cmp(&right.path));
        nodes
    }
}

fn start_nodes(history: &History) -> &[StartNode] {
    match &history.header.start {
        Start::Fresh => &[],
        Start::Nodes { nodes, .. } => nodes,
    }
}

/// The same without asking to be told.
fn unwatched(op: &Op) -> Op {
    let mut op = op.clone();
    if let Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } = &mut op {
        *watch = false;
    }
    op
}

/// True of what is there from the beginning, below the root.
fn is_of_servers(path: &str) -> bool {
    path.starts_with("/zookeeper")
}

fn parent_of(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// The paths that a request names, or made.
fn own_paths<'h>(request: &Request<'h>) -> Vec<&'h str> {
    let mut paths: Vec<&'h str> = Vec::new();
    let parts = request.op.parts();
    let results = match request.answer {
        Some(Ok(Answer::Multi(results))) => &results[..],
        Some(result) => std::slice::from_ref(result),
        None => &[],
    };
    for (index, op) in parts.iter().enumerate() {
        let made = match results.get(index) {
            Some(Ok(Answer::Path(made) | Answer::Created { path: made, .. })) => Some(made),
            _ => None,
        };
        if !matches!(op, Op::Sync { .. }) {
            paths.extend(made.or(op.path()).map(|path| &**path));
        }
    }
    paths
}

/// The paths that a request has to do with: those that it names, makes, and may make.
fn paths_of<'h>(request: &Request<'h>) -> Vec<&'h str> {
    let mut paths = own_paths(request);
    for op in request.op.parts() {
        if let Op::Create { path, .. } = op {
            paths.extend(parent_of(path));
        }
    }
    paths
}
