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

use super::lens::{Lens, Told, parent_of};
use crate::history::{Answer, Body, History, Op, Record, SessionEvent, Start, StartNode};
use crate::model::{NO_SESSION, SessionIndex};
use crate::walk::case::{Case, Request, RequestIndex, Role};
use crate::walk::makes_ephemeral;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// The nodes that a shadow tells of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Focus<'h> {
    /// One node, but not its children.
    Node(&'h str),
    /// One node and its children, but not theirs.
    Family(&'h str),
}

/// What a history says of a few nodes.
pub struct Shadow {
    /// That, as a history of its own.
    pub history: History,
    /// Which record of the whole each of its records is.
    pub records: Vec<u32>,
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

    /// The shadow on some nodes. None if nothing was asked about them, or it cannot be cast.
    pub fn cast(&self, focus: &Focus<'h>) -> Option<Shadow> {
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

    fn written(&self, lens: &Lens<'_>, told: Vec<(RequestIndex, Op, Told)>) -> Shadow {
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
        let mut shadow = Shadow {
            history: History::new(header),
            records: Vec::with_capacity(bodies.len()),
        };
        for (index, body) in bodies {
            let record = &history.records[index as usize];
            shadow.records.push(index);
            shadow.history.records.push(Record {
                process: record.process,
                time: record.time,
                server: record.server,
                body,
            });
        }
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

fn start_nodes(history: &History) -> &[StartNode] {
    match &history.header.start {
        Start::Fresh => &[],
        Start::Nodes { nodes, .. } => nodes,
    }
}

/// True of what is there from the beginning, below the root.
fn is_of_servers(path: &str) -> bool {
    path.starts_with("/zookeeper")
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
