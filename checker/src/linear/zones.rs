//! Registers whose written values all differ: decided by sorting, without search.
//!
//! If a value is written once, its write and its reads must stand together in any order: a
//! cluster. Of each cluster count the first return and the last call: before the one and
//! after the other, something of it was surely under way. Cluster A must come before cluster
//! B exactly if something of A returned before something of B was called, so a history is
//! linearizable if and only if no two clusters must each come before the other (a longer
//! circle always holds one of two), and no read returned before its write was called.
//!
//! Not here: compare-and-set and repeated values, for which this is no longer true; and an
//! explanation of what is wrong, for which the search is asked.
//!
//! Answers to: Gibbons and Korach, *Testing shared memories* (1997), zones; `consistency.md`
//! 3.3 (L2). Cost: sorting.

use super::{Access, Model, OperationOf};
use rustc_hash::FxHashMap;

/// What the zones say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Zones {
    /// Linearizable, in this order.
    Order(Vec<u32>),
    /// Not linearizable: these operations contradict each other, and how.
    Contradiction(Vec<u32>, &'static str),
    /// The history is not of the kind that zones decide.
    NotApplicable,
}

/// One value's write and reads.
#[derive(Debug, Clone)]
struct Cluster {
    write: Option<u32>,
    reads: Vec<u32>,
    first_return: i64,
    last_call: i64,
}

impl Cluster {
    fn new() -> Self {
        Cluster {
            write: None,
            reads: Vec::new(),
            first_return: i64::MAX,
            last_call: i64::MIN,
        }
    }

    fn add(&mut self, call: i64, ret: Option<i64>) {
        self.first_return = self.first_return.min(ret.unwrap_or(i64::MAX));
        self.last_call = self.last_call.max(call);
    }
}

/// Judges the operations `part` of `history`, all on one register.
pub(super) fn zones<M: Model>(model: &M, history: &[OperationOf<M>], part: &[u32]) -> Zones {
    let mut values: FxHashMap<u64, Cluster> = FxHashMap::default();
    let mut start = Cluster::new();
    let mut anywhere = Vec::new();
    for index in part {
        let operation = &history[*index as usize];
        let (call, ret) = (operation.call, operation.ret);
        match model.access(&operation.op, operation.outcome.as_ref()) {
            None => return Zones::NotApplicable,
            // An unanswered read has no effect and no duty.
            Some(Access::Nothing) if ret.is_none() => {}
            Some(Access::Nothing) => anywhere.push(*index),
            Some(Access::Write(value)) => {
                let cluster = values.entry(value).or_insert_with(Cluster::new);
                if cluster.write.replace(*index).is_some() {
                    return Zones::NotApplicable;
                }
                cluster.add(call, ret);
            }
            Some(Access::Read(value)) => {
                let cluster = values.entry(value).or_insert_with(Cluster::new);
                cluster.reads.push(*index);
                cluster.add(call, ret);
            }
            Some(Access::ReadStart) => {
                start.reads.push(*index);
                start.add(call, ret);
            }
        }
    }
    // The start value was written before everything.
    start.first_return = i64::MIN;
    let mut clusters = vec![start];
    let mut sorted: Vec<(u64, Cluster)> = values.into_iter().collect();
    // (A map's order must not decide between orders.)
    sorted.sort_unstable_by_key(|(value, cluster)| (cluster.last_call, *value));
    for (_, cluster) in sorted {
        let Some(write) = cluster.write else {
            return Zones::Contradiction(cluster.reads[..1].to_vec(), "nobody wrote what was read");
        };
        let called = history[write as usize].call;
        let too_early = |read: &&u32| history[**read as usize].ret.is_some_and(|ret| ret < called);
        if let Some(read) = cluster.reads.iter().find(too_early) {
            let reason = "it was read before it was asked to be written";
            return Zones::Contradiction(vec![*read, write], reason);
        }
        if cluster.reads.is_empty() && history[write as usize].ret.is_none() {
            // Nobody saw it: it need not have happened.
            continue;
        }
        clusters.push(cluster);
    }
    match arrange(&clusters) {
        Ok(order) => Zones::Order(flatten::<M>(history, &clusters, &order, anywhere)),
        Err(pair) => {
            let some = |at: usize| clusters[at].write.or(clusters[at].reads.first().copied());
            let reason = "these values were each seen before and after the other";
            Zones::Contradiction(pair.into_iter().filter_map(some).collect(), reason)
        }
    }
}

/// An order of clusters in which none that must come later comes first; or two that must each
/// come before the other.
///
/// Of those left, the one with the least last call may go first unless another has returned
/// before that call; if one has, the one with the least first return is of those and nothing
/// may go ahead of it. So only two need to be looked at each time.
fn arrange(clusters: &[Cluster]) -> Result<Vec<usize>, [usize; 2]> {
    let mut by_call: Vec<usize> = (0..clusters.len()).collect();
    let mut by_return = by_call.clone();
    by_call.sort_by_key(|at| clusters[*at].last_call);
    by_return.sort_by_key(|at| clusters[*at].first_return);
    let mut gone = vec![false; clusters.len()];
    let mut order = Vec::with_capacity(clusters.len());
    let (mut calls, mut returns) = (0, 0);
    for _ in 0..clusters.len() {
        while gone[by_call[calls]] {
            calls += 1;
        }
        while gone[by_return[returns]] {
            returns += 1;
        }
        // Who of the others has to go ahead of `at`: if any, the first to return.
        let blocker = |at: usize| {
            let mut others = by_return[returns..]
                .iter()
                .filter(|other| !gone[**other] && **other != at);
            let first = others.next().copied();
            first.filter(|other| clusters[*other].first_return < clusters[at].last_call)
        };
        let (caller, returner) = (by_call[calls], by_return[returns]);
        let next = match (blocker(caller), blocker(returner)) {
            (None, _) => caller,
            (Some(_), None) => returner,
            (Some(_), Some(other)) => return Err([returner, other]),
        };
        gone[next] = true;
        order.push(next);
    }
    Ok(order)
}

/// The operations of clusters in order: each write before its reads. Operations that fit
/// anywhere go as early as they were called.
fn flatten<M: Model>(
    history: &[OperationOf<M>],
    clusters: &[Cluster],
    order: &[usize],
    mut anywhere: Vec<u32>,
) -> Vec<u32> {
    anywhere.sort_by_key(|index| history[*index as usize].call);
    let mut anywhere = anywhere.into_iter().peekable();
    let mut flat = Vec::new();
    let mut push = |index: u32| {
        let operation = &history[index as usize];
        // Whatever fits anywhere and returned before this was called has to go ahead; what
        // was called before this may.
        while let Some(early) =
            anywhere.next_if(|early| history[*early as usize].call <= operation.call)
        {
            flat.push(early);
        }
        flat.push(index);
    };
    for cluster in order {
        let cluster = &clusters[*cluster];
        cluster.write.into_iter().for_each(&mut push);
        let mut reads = cluster.reads.clone();
        reads.sort_by_key(|index| history[*index as usize].call);
        reads.into_iter().for_each(&mut push);
    }
    flat.extend(anywhere);
    flat
}
