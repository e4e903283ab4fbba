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

use super::sights::{Counter, Sight, is_settled, sights_of};
use crate::circle::Precedence;
use crate::history::SyncPromise;
use crate::model::PathId;
use crate::verdict::Property;
use crate::walk::case::{Case, RequestIndex, Role};
use rustc_hash::FxHashMap;

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
    order: Precedence<Why>,
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
        order: Precedence::new(case.requests.len()),
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
                self.order.add(before, index, Why::Session);
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
        let requests = &self.case.requests;
        let blur = self.case.history.header.clock_error_ns.saturating_mul(2);
        let all = (0..).zip(requests).filter(|(_, one)| is_settled(one));
        let (mut returns, mut calls) = (Vec::new(), Vec::new());
        for (index, request) in all {
            if from(request.role) {
                returns.push((request.ret.saturating_add(blur), index));
            }
            if to(request.role) {
                calls.push((request.call, index));
            }
        }
        self.order.add_time(returns, &calls, Why::Time);
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
            self.order.add(left, right, why);
        }
        for sight in sights.iter().filter(|sight| !sight.made) {
            let later = makers.partition_point(|&(value, _)| value <= sight.value);
            if let Some(&(_, maker)) = later.checked_sub(1).map(|last| &makers[last]) {
                self.order.add(maker, sight.request, why);
            }
            if let Some(&(_, maker)) = makers.get(later) {
                self.order.add(sight.request, maker, why);
            }
        }
        Ok(())
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
        let requests = &self.case.requests;
        // Moments take no place.
        let ret = |node: u32| requests.get(node as usize).map_or(0, |request| request.ret);
        let order = self.order.sort(ret).map_err(|left| {
            // Time and sessions alone make no circle.
            let circle = (self.order).circle(&left, |why| matches!(why, Why::Counter(..)));
            self.told(&circle)
        })?;
        let mut places = vec![i64::MAX; requests.len()];
        for (place, node) in (0..).zip(order) {
            if let Some(of_request) = places.get_mut(node as usize) {
                *of_request = place;
            }
        }
        Ok(places)
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
                "the answers contradict each other: record {}",
                reasons.join(", record ")
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
