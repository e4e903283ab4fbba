//! What must come before what, as far as answers say so by themselves: a graph, and circles.
//!
//! Versions and counters only grow while a node lives. Of a node that nothing can delete, or
//! make a second time, every answer that shows a number says which changes it has seen and
//! which it has not; real time (W1, R3, R4) and the order in which sessions ask (W2, R2) say
//! the rest. A read stands in the graph as the end of its prefix. A circle proves that no
//! order exists, and a short one tells why in a few records; without one, sorting gives a
//! likely order for histories that never had zxids. Sound for convicting even where requests
//! of unknown fate are about: they may change numbers, but never back.
//!
//! What is not used: zxids of any kind; and Gibbons and Korach's zones, which decide registers
//! whose values differ, because ZooKeeper's reads may lag behind any write that is not their
//! session's own: that a read of an old value was asked late proves nothing.
//!
//! Answers to: `consistency.md` 3.3 (L1); Kingsbury and Alvaro, *Elle* (2020), for circles as
//! counterexamples. Cost: sorting.

use crate::history::{Answer, ErrorCode, Op, Start, Stat, SyncPromise};
use crate::model::{PathId, Paths};
use crate::verdict::Property;
use crate::walk::case::{Case, Request, RequestIndex, Role};
use crate::walk::makes_ephemeral;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Edges that are looked along for a shorter circle than the first.
const CIRCLE_STEPS_MAX: u64 = 2_000_000;

/// Digits at the end of a sequential node's name.
const SEQUENCE_DIGITS: usize = 10;

/// A number of a node that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Counter {
    /// Sets since the create; -1 before it.
    Version,
    /// ACL changes.
    Aversion,
    /// Children ever made.
    Creates,
}

impl Counter {
    fn words(self) -> &'static str {
        match self {
            Counter::Version => "version",
            Counter::Aversion => "aversion",
            Counter::Creates => "number of children made",
        }
    }
}

/// Why one comes before the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It had returned before the other was called.
    Time,
    /// Its session asked it first.
    Session,
    /// What the other shows, or makes, of a number.
    Counter(PathId, Counter),
}

/// One answer and a number of a node.
#[derive(Debug, Clone, Copy)]
struct Sight {
    value: i64,
    request: RequestIndex,
    /// It made the number so.
    made: bool,
}

/// Answers that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// The property that this kind of contradiction breaks.
    pub property: Property,
    /// The requests, each before the next and the last before the first.
    pub requests: Vec<RequestIndex>,
    /// Why, in words.
    pub reason: String,
}

/// The graph. Nodes are requests, then moments.
struct Graph<'c, 'h> {
    case: &'c Case<'h>,
    edges: Vec<Vec<(u32, Why)>>,
}

/// Sorts what was answered, as far as answers say; for each request its place in a likely
/// order.
///
/// # Errors
/// A circle.
pub fn sort(case: &mut Case<'_>) -> Result<Vec<i64>, Circle> {
    let (sights, mortal) = sights_of(case);
    let case: &Case<'_> = case;
    let mut graph = Graph {
        edges: vec![Vec::new(); case.requests.len()],
        case,
    };
    graph.add_sessions();
    graph.add_time();
    for (&(path, counter), sights) in &sights {
        if !mortal.contains(&path) {
            graph.add_counter(path, counter, sights)?;
        }
    }
    graph.sorted()
}

impl Graph<'_, '_> {
    fn answered(&self, index: RequestIndex) -> bool {
        is_settled(&self.case.requests[index as usize])
    }

    /// W2, R2.
    fn add_sessions(&mut self) {
        let mut last: FxHashMap<u32, RequestIndex> = FxHashMap::default();
        for index in 0..self.case.requests.len() as RequestIndex {
            let session = self.case.requests[index as usize].session;
            if !self.answered(index) || session as usize >= self.case.sessions.len() {
                continue;
            }
            if let Some(before) = last.insert(session, index) {
                self.edges[before as usize].push((index, Why::Session));
            }
        }
    }

    /// W1, R3: nothing comes before a transaction that was called after it had returned. R4:
    /// nor a transaction after a sync. Moments in between keep the edges few.
    fn add_time(&mut self) {
        let header = &self.case.history.header;
        let promised = header.sync == SyncPromise::Quorum;
        self.add_moments(|_| true, |role| role == Role::Transaction);
        if promised {
            self.add_moments(|role| role == Role::Transaction, |role| role == Role::Sync);
        }
    }

    fn add_moments(&mut self, from: impl Fn(Role) -> bool, to: impl Fn(Role) -> bool) {
        let blur = self.case.history.header.clock_error_ns.saturating_mul(2);
        let all = 0..self.case.requests.len() as RequestIndex;
        let settled: Vec<RequestIndex> = all.filter(|&index| self.answered(index)).collect();
        let role = |index: RequestIndex| self.case.requests[index as usize].role;
        let mut returns: Vec<(u64, RequestIndex)> = settled
            .iter()
            .filter(|&&index| from(role(index)))
            .map(|&index| {
                let request = &self.case.requests[index as usize];
                (request.ret.saturating_add(blur), index)
            })
            .collect();
        returns.sort_unstable();
        let targets: Vec<RequestIndex> = settled
            .iter()
            .copied()
            .filter(|&index| to(role(index)))
            .collect();
        let first = self.edges.len() as u32;
        self.edges
            .resize(self.edges.len() + returns.len(), Vec::new());
        for (moment, &(_, index)) in (first..).zip(&returns) {
            self.edges[index as usize].push((moment, Why::Time));
            if moment > first {
                self.edges[moment as usize - 1].push((moment, Why::Time));
            }
        }
        for index in targets {
            let call = self.case.requests[index as usize].call;
            let before = returns.partition_point(|&(ret, _)| ret < call);
            if before > 0 {
                self.edges[first as usize + before - 1].push((index, Why::Time));
            }
        }
    }

    /// One node's number: whoever shows it comes after what made it so, and before what made
    /// it greater.
    fn add_counter(
        &mut self,
        path: PathId,
        counter: Counter,
        sights: &[Sight],
    ) -> Result<(), Circle> {
        let mut makers: Vec<(i64, RequestIndex)> = Vec::new();
        for sight in sights.iter().filter(|sight| sight.made) {
            makers.push((sight.value, sight.request));
        }
        makers.sort_unstable();
        makers.dedup();
        let why = Why::Counter(path, counter);
        for pair in makers.windows(2) {
            let ((value, left), (next, right)) = (pair[0], pair[1]);
            if value == next {
                return Err(self.twice(path, counter, value, left, right));
            }
            self.add(left, right, why);
        }
        for sight in sights.iter().filter(|sight| !sight.made) {
            let later = makers.partition_point(|&(value, _)| value <= sight.value);
            if let Some(&(_, maker)) = later.checked_sub(1).map(|last| &makers[last]) {
                self.add(maker, sight.request, why);
            }
            if let Some(&(_, maker)) = makers.get(later) {
                self.add(sight.request, maker, why);
            }
        }
        Ok(())
    }

    fn add(&mut self, from: RequestIndex, to: RequestIndex, why: Why) {
        if from != to {
            self.edges[from as usize].push((to, why));
        }
    }

    fn twice(
        &self,
        path: PathId,
        counter: Counter,
        value: i64,
        left: RequestIndex,
        right: RequestIndex,
    ) -> Circle {
        Circle {
            property: match counter {
                Counter::Version | Counter::Aversion => Property::ConditionalWrites,
                Counter::Creates => Property::SequentialNames,
            },
            requests: vec![left, right],
            reason: format!(
                "two requests both made the {} of {} {value}, and nothing ever deleted it",
                counter.words(),
                self.case.paths.name(path)
            ),
        }
    }

    /// Sorts the graph; where there is a choice, what returned first comes first.
    fn sorted(&self) -> Result<Vec<i64>, Circle> {
        let mut waits = vec![0u32; self.edges.len()];
        for (to, _) in self.edges.iter().flatten() {
            waits[*to as usize] += 1;
        }
        let key = |node: u32| match self.case.requests.get(node as usize) {
            Some(request) => (request.ret, node),
            // Moments take no place.
            None => (0, node),
        };
        let free = (0..self.edges.len() as u32).filter(|&node| waits[node as usize] == 0);
        let mut free: BinaryHeap<Reverse<(u64, u32)>> =
            free.map(|node| Reverse(key(node))).collect();
        let mut places = vec![i64::MAX; self.case.requests.len()];
        let mut count = 0;
        while let Some(Reverse((_, node))) = free.pop() {
            if let Some(place) = places.get_mut(node as usize) {
                *place = count;
            }
            count += 1;
            for &(to, _) in &self.edges[node as usize] {
                waits[to as usize] -= 1;
                if waits[to as usize] == 0 {
                    free.push(Reverse(key(to)));
                }
            }
        }
        match count as usize == self.edges.len() {
            true => Ok(places),
            false => Err(self.circle(&waits)),
        }
    }

    /// A circle among the nodes that sorting left over, through as few numbers as can be found.
    /// Time and sessions alone make none, so every circle passes a request that a number puts
    /// before another.
    fn circle(&self, waits: &[u32]) -> Circle {
        let requests = 0..self.case.requests.len() as u32;
        let counts = |&(_, why): &(u32, Why)| matches!(why, Why::Counter(..));
        let starts = requests.filter(|&node| {
            waits[node as usize] > 0 && self.edges[node as usize].iter().any(counts)
        });
        let mut best: Option<(u32, Vec<(u32, Why)>)> = None;
        let mut steps = 0;
        for start in starts {
            let limit = best.as_ref().map_or(u32::MAX, |(numbers, _)| *numbers);
            if limit <= 1 || best.is_some() && steps > CIRCLE_STEPS_MAX {
                break;
            }
            best = self
                .circle_through(start, waits, limit, &mut steps)
                .or(best);
        }
        let (_, circle) = best.expect("what cannot be sorted has a circle through a number");
        self.told(&circle)
    }

    /// The way from a node back to it with the fewest numbers, if fewer than `limit`: how many,
    /// and the nodes after it, each with why it comes next.
    fn circle_through(
        &self,
        start: u32,
        waits: &[u32],
        limit: u32,
        steps: &mut u64,
    ) -> Option<(u32, Vec<(u32, Why)>)> {
        let mut known: FxHashMap<u32, (u32, u32, Why)> = FxHashMap::default();
        let mut queue = VecDeque::from([(0, start)]);
        while let Some((cost, node)) = queue.pop_front() {
            if node == start && cost > 0 {
                return Some((cost, way_back(start, &known)));
            }
            if known.get(&node).is_some_and(|&(best, _, _)| best < cost) {
                continue;
            }
            for &(to, why) in &self.edges[node as usize] {
                *steps += 1;
                let number = matches!(why, Why::Counter(..));
                let cost = cost + u32::from(number);
                let worse = known.get(&to).is_some_and(|&(best, _, _)| best <= cost);
                if waits[to as usize] == 0 || cost >= limit || worse {
                    continue;
                }
                known.insert(to, (cost, node, why));
                match number {
                    true => queue.push_back((cost, to)),
                    false => queue.push_front((cost, to)),
                }
            }
        }
        None
    }

    /// A circle in words: requests only, moments left out.
    fn told(&self, circle: &[(u32, Why)]) -> Circle {
        let is_request = |node: u32| (node as usize) < self.case.requests.len();
        let mut steps: Vec<(u32, Why)> = Vec::new();
        for (place, &(node, why)) in circle.iter().enumerate() {
            // Of several steps along one session the first and the last say all.
            let next = circle.get(place + 1).map(|&(_, why)| why);
            if is_request(node) && !(why == Why::Session && next == Some(Why::Session)) {
                steps.push((node, why));
            }
        }
        let mut reasons = Vec::new();
        for (place, &(to, why)) in steps.iter().enumerate() {
            let from = steps[(place + steps.len() - 1) % steps.len()].0;
            let record = |request: u32| self.case.requests[request as usize].invoke + 1;
            let why = match why {
                Why::Time => "it was over when the other was called".to_string(),
                Why::Session => "its session asked it first".to_string(),
                Why::Counter(path, counter) => {
                    format!("the {} of {}", counter.words(), self.case.paths.name(path))
                }
            };
            reasons.push(format!(
                "{} comes before {} ({why})",
                record(from),
                record(to)
            ));
        }
        Circle {
            property: self.property_of(&steps),
            requests: steps.iter().map(|&(request, _)| request).collect(),
            reason: format!(
                "the answers contradict each other: what record {}",
                reasons.join(", what record ")
            ),
        }
    }

    fn property_of(&self, steps: &[(u32, Why)]) -> Property {
        let request = |number: u32| &self.case.requests[number as usize];
        let is_read = |&(number, _): &(u32, Why)| request(number).role != Role::Transaction;
        if steps
            .iter()
            .any(|&(number, _)| request(number).role == Role::Sync)
        {
            return Property::SyncThenRead;
        }
        if !steps.iter().any(is_read) {
            return Property::LinearizableWrites;
        }
        let pairs =
            (0..steps.len()).map(|to| (steps[(to + steps.len() - 1) % steps.len()], steps[to]));
        let mut kinds = pairs.map(|(from, to)| {
            let (before, after) = (request(from.0), request(to.0));
            let follows = to.1 == Why::Session && after.role != Role::Transaction;
            match (follows, before.role == Role::Transaction) {
                (true, true) => Some(Property::ReadYourWrites),
                (true, false) if before.path == after.path => Some(Property::MonotonicReads),
                (true, false) => Some(Property::OneOrder),
                (false, _) => None,
            }
        });
        let found = kinds.find_map(|kind| kind);
        found.unwrap_or(Property::NoFutureReads)
    }
}

/// True if a request has a place in every order, or sees a prefix of it.
fn is_settled(request: &Request<'_>) -> bool {
    match request.role {
        Role::Transaction | Role::Read | Role::ReadSomewhere | Role::Sync => true,
        Role::Unanswered | Role::Nothing => false,
    }
}

/// The way that a search went from a node back to it.
fn way_back(start: u32, known: &FxHashMap<u32, (u32, u32, Why)>) -> Vec<(u32, Why)> {
    let mut way = Vec::new();
    let mut at = start;
    loop {
        let (_, before, why) = known[&at];
        way.push((at, why));
        at = before;
        if at == start {
            way.reverse();
            return way;
        }
    }
}

type Sights = std::collections::BTreeMap<(PathId, Counter), Vec<Sight>>;

/// What answers show of numbers, and the paths of which that says nothing because their nodes
/// may have been there more than once.
fn sights_of(case: &mut Case<'_>) -> (Sights, FxHashSet<PathId>) {
    let mut look = Look {
        sights: Sights::new(),
        mortal: FxHashSet::default(),
        prefixes: Vec::new(),
        at_start: at_start(case),
    };
    for index in 0..case.requests.len() {
        let request = &case.requests[index];
        let settled = is_settled(request);
        look.notes_fate(request.op, &mut case.paths);
        if let (true, Some(answer)) = (settled, request.answer) {
            look.looks_at(index as RequestIndex, request.op, answer, &mut case.paths);
        }
    }
    for &(path, _) in look.sights.keys() {
        let name = case.paths.name(path);
        let made = look.prefixes.iter().any(|prefix| is_numbered(name, prefix));
        if made {
            look.mortal.insert(path);
        }
    }
    (look.sights, look.mortal)
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    let number = name.strip_prefix(prefix);
    number.is_some_and(|number| {
        number.len() >= SEQUENCE_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn at_start(case: &Case<'_>) -> FxHashSet<String> {
    let mut there: FxHashSet<String> = FxHashSet::default();
    let always = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
    there.extend(always.map(String::from));
    if let Start::Nodes { nodes, .. } = &case.history.header.start {
        there.extend(nodes.iter().map(|node| node.path.to_string()));
    }
    there
}

struct Look {
    sights: Sights,
    mortal: FxHashSet<PathId>,
    /// Of sequential ephemerals.
    prefixes: Vec<String>,
    at_start: FxHashSet<String>,
}

impl Look {
    /// Notes what can end a node's life, whatever became of the request.
    fn notes_fate<'h>(&mut self, op: &'h Op, paths: &mut Paths<'h>) {
        for part in op.parts() {
            let (Some(path), ephemeral) = (part.path(), makes_ephemeral(part)) else {
                continue;
            };
            match part {
                Op::Create {
                    sequential: true, ..
                } if ephemeral => self.prefixes.push(path.to_string()),
                Op::Delete { .. } => drop(self.mortal.insert(paths.id(path))),
                _ if ephemeral => drop(self.mortal.insert(paths.id(path))),
                _ => {}
            }
        }
    }

    fn looks_at<'h>(
        &mut self,
        request: RequestIndex,
        op: &'h Op,
        answer: &'h Result<Answer, ErrorCode>,
        paths: &mut Paths<'h>,
    ) {
        let path = op.path().map(|path| paths.id(path));
        match (op, answer) {
            (Op::Multi { ops }, Ok(Answer::Multi(results))) => {
                // A failed one shows nothing.
                if results.len() == ops.len() && results.iter().all(Result::is_ok) {
                    for (op, answer) in ops.iter().zip(results) {
                        self.looks_at(request, op, answer, paths);
                    }
                }
            }
            (
                Op::Create {
                    sequential,
                    path: asked,
                    ..
                },
                Ok(Answer::Path(made) | Answer::Created { path: made, .. }),
            ) => {
                let node = paths.id(made);
                if !self.at_start.contains(&**made) {
                    self.note(node, Counter::Version, 0, request, true);
                }
                let number = made
                    .strip_prefix(&**asked)
                    .and_then(|number| number.parse::<i64>().ok());
                if let (true, Some(number)) = (*sequential, number) {
                    self.note(
                        paths.parent(node),
                        Counter::Creates,
                        number + 1,
                        request,
                        true,
                    );
                }
            }
            (Op::Set { .. }, Ok(Answer::Stat(stat))) => {
                if let Some(path) = path {
                    self.note(path, Counter::Version, stat.version.into(), request, true);
                    self.note(path, Counter::Creates, made_by(stat), request, false);
                    self.note(
                        path,
                        Counter::Aversion,
                        stat.aversion.into(),
                        request,
                        false,
                    );
                }
            }
            (Op::SetAcl { .. }, Ok(Answer::Stat(stat))) => {
                if let Some(path) = path {
                    self.note(path, Counter::Aversion, stat.aversion.into(), request, true);
                    self.note(path, Counter::Version, stat.version.into(), request, false);
                    self.note(path, Counter::Creates, made_by(stat), request, false);
                }
            }
            (
                Op::Exists { .. } | Op::Get { .. } | Op::Children { .. } | Op::GetAcl { .. },
                Ok(
                    Answer::Stat(stat)
                    | Answer::Data { stat, .. }
                    | Answer::NamesStat { stat, .. }
                    | Answer::Acl { stat, .. },
                ),
            ) if *stat != Stat::default() => {
                if let Some(path) = path {
                    self.note(path, Counter::Version, stat.version.into(), request, false);
                    self.note(
                        path,
                        Counter::Aversion,
                        stat.aversion.into(),
                        request,
                        false,
                    );
                    self.note(path, Counter::Creates, made_by(stat), request, false);
                }
            }
            (
                Op::Exists { .. } | Op::Get { .. } | Op::Children { .. } | Op::GetAcl { .. },
                Err(ErrorCode::NO_NODE),
            ) => {
                if let Some(path) = path {
                    self.note(path, Counter::Version, -1, request, false);
                }
            }
            (_, _) => {}
        }
    }

    fn note(
        &mut self,
        path: PathId,
        counter: Counter,
        value: i64,
        request: RequestIndex,
        made: bool,
    ) {
        let sights = self.sights.entry((path, counter)).or_default();
        sights.push(Sight {
            value,
            request,
            made,
        });
    }
}

/// Children ever made, which the reported cversion hides.
fn made_by(stat: &Stat) -> i64 {
    i64::from(stat.cversion.wrapping_add(stat.num_children) / 2)
}
