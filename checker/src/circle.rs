//! What must come before what: a graph that is sorted, or shows a circle.
//!
//! Nodes are numbers, edges say why one comes before the other. If all can stand in one order,
//! sorting finds one; if not there is a circle, and of the circles that are looked at the one
//! through the fewest edges that matter is told. What nodes and reasons mean is the caller's.
//!
//! Answers to: Kahn, *Topological sorting of large networks* (1962); Kingsbury and Alvaro,
//! *Elle* (2020), for circles as counterexamples. Cost: sorting.

use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Edges that are looked along for a shorter circle than the first.
const CIRCLE_STEPS_MAX: u64 = 2_000_000;

/// Nodes, each with those that come after it and why.
#[derive(Debug, Clone)]
pub struct Precedence<W> {
    edges: Vec<Vec<(u32, W)>>,
}

/// What could not be sorted, without what only follows: how many nodes each still waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting(Vec<u32>);

impl<W: Copy> Precedence<W> {
    /// So many nodes, none before another.
    pub fn new(nodes: usize) -> Self {
        Precedence {
            edges: vec![Vec::new(); nodes],
        }
    }

    /// Says that one node comes before another; nothing comes before itself by being named
    /// twice.
    pub fn add(&mut self, from: u32, to: u32, why: W) {
        if from != to {
            self.edges[from as usize].push((to, why));
        }
    }

    /// One more node.
    pub fn add_node(&mut self) -> u32 {
        self.edges.push(Vec::new());
        self.edges.len() as u32 - 1
    }

    /// Adds what a clock says: a node of `returns` comes before all of `calls` that were called
    /// later than it returned. Nodes of their own, one for each moment, keep the edges few.
    pub fn add_time<T: Ord + Copy>(
        &mut self,
        mut returns: Vec<(T, u32)>,
        calls: &[(T, u32)],
        why: W,
    ) {
        returns.sort_unstable();
        let first = self.edges.len() as u32;
        let nodes = self.edges.len() + returns.len();
        self.edges.resize(nodes, Vec::new());
        for (moment, &(_, node)) in (first..).zip(&returns) {
            self.add(node, moment, why);
            if moment > first {
                self.add(moment - 1, moment, why);
            }
        }
        for &(call, node) in calls {
            let before = returns.partition_point(|&(ret, _)| ret < call);
            if before > 0 {
                self.add(first + before as u32 - 1, node, why);
            }
        }
    }

    /// All nodes in an order that respects every edge; where there is a choice, the one with
    /// the smallest key comes first.
    ///
    /// # Errors
    /// There is none; [`Precedence::circle`] says why.
    pub fn sort<K: Ord>(&self, key: impl Fn(u32) -> K) -> Result<Vec<u32>, Waiting> {
        let mut waits = vec![0u32; self.edges.len()];
        for (to, _) in self.edges.iter().flatten() {
            waits[*to as usize] += 1;
        }
        let free = (0..self.edges.len() as u32).filter(|&node| waits[node as usize] == 0);
        let mut free: BinaryHeap<Reverse<(K, u32)>> =
            free.map(|node| Reverse((key(node), node))).collect();
        let mut order = Vec::with_capacity(self.edges.len());
        while let Some(Reverse((_, node))) = free.pop() {
            order.push(node);
            for &(to, _) in &self.edges[node as usize] {
                waits[to as usize] -= 1;
                if waits[to as usize] == 0 {
                    free.push(Reverse((key(to), to)));
                }
            }
        }
        match order.len() == self.edges.len() {
            true => Ok(order),
            false => {
                self.trim(&mut waits);
                Err(Waiting(waits))
            }
        }
    }

    /// Of what waits, lets go what only follows circles and leads to none.
    fn trim(&self, waits: &mut [u32]) {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); waits.len()];
        let mut after = vec![0u32; waits.len()];
        for (node, edges) in (0u32..).zip(&self.edges) {
            for &(to, _) in edges.iter().filter(|&&(to, _)| waits[to as usize] > 0) {
                before[to as usize].push(node);
                after[node as usize] += 1;
            }
        }
        let is_last = |&node: &u32| waits[node as usize] > 0 && after[node as usize] == 0;
        let mut last: Vec<u32> = (0..waits.len() as u32).filter(is_last).collect();
        while let Some(node) = last.pop() {
            waits[node as usize] = 0;
            for &earlier in &before[node as usize] {
                after[earlier as usize] -= 1;
                if waits[earlier as usize] > 0 && after[earlier as usize] == 0 {
                    last.push(earlier);
                }
            }
        }
    }

    /// A circle among the nodes that sorting left over, through as few edges that matter as can
    /// be found: the nodes, each with why it comes after the one before it (the first after the
    /// last). Edges that do not matter make no circle alone.
    pub fn circle(&self, left: &Waiting, matters: impl Fn(W) -> bool) -> Vec<(u32, W)> {
        let starts = (0..self.edges.len() as u32).filter(|&node| {
            let edges = &self.edges[node as usize];
            left.0[node as usize] > 0 && edges.iter().any(|&(_, why)| matters(why))
        });
        let mut best: Option<(u32, Vec<(u32, W)>)> = None;
        let mut steps = 0;
        for start in starts {
            let limit = best.as_ref().map_or(u32::MAX, |(numbers, _)| *numbers);
            if limit <= 1 || best.is_some() && steps > CIRCLE_STEPS_MAX {
                break;
            }
            let found = self.circle_through(start, &left.0, limit, &matters, &mut steps);
            best = found.or(best);
        }
        let (_, circle) = best.expect("what cannot be sorted has a circle through what matters");
        circle
    }

    /// The way from a node back to it with the fewest edges that matter, if fewer than `limit`:
    /// how many, and the nodes after it, each with why it comes next.
    fn circle_through(
        &self,
        start: u32,
        waits: &[u32],
        limit: u32,
        matters: &impl Fn(W) -> bool,
        steps: &mut u64,
    ) -> Option<(u32, Vec<(u32, W)>)> {
        let mut known: FxHashMap<u32, (u32, u32, W)> = FxHashMap::default();
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
                let matters = matters(why);
                let cost = cost + u32::from(matters);
                let worse = known.get(&to).is_some_and(|&(best, _, _)| best <= cost);
                if waits[to as usize] == 0 || cost >= limit || worse {
                    continue;
                }
                known.insert(to, (cost, node, why));
                match matters {
                    true => queue.push_back((cost, to)),
                    false => queue.push_front((cost, to)),
                }
            }
        }
        None
    }
}

/// The way that a search went from a node back to it.
fn way_back<W: Copy>(start: u32, known: &FxHashMap<u32, (u32, u32, W)>) -> Vec<(u32, W)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_respects_every_edge_and_else_the_keys() {
        let mut graph = Precedence::new(4);
        graph.add(3, 0, 'a');
        graph.add(0, 2, 'b');
        assert_eq!(graph.sort(|node| node).unwrap(), [1, 3, 0, 2]);
        assert_eq!(graph.sort(std::cmp::Reverse).unwrap(), [3, 1, 0, 2]);
    }

    #[test]
    fn a_circle_goes_through_as_few_edges_that_matter_as_can_be() {
        let mut graph = Precedence::new(5);
        for (from, to, why) in [
            (0, 1, 'x'),
            (1, 2, 'x'),
            (2, 0, 'x'),
            (2, 3, '-'),
            (3, 1, '-'),
        ] {
            graph.add(from, to, why);
        }
        let left = graph.sort(|node| node).unwrap_err();
        let mut circle = graph.circle(&left, |why| why == 'x');
        circle.sort_unstable();
        assert_eq!(circle, [(1, '-'), (2, 'x'), (3, '-')]);
    }

    #[test]
    fn what_returned_comes_before_what_was_called_later_and_nothing_else() {
        let mut graph = Precedence::new(3);
        graph.add_time(vec![(10, 0), (20, 1), (30, 2)], &[(10, 1), (15, 2)], 't');
        // 0 returned at 10: before the call of 2 at 15, not before that of 1 at 10.
        let place = |order: &[u32], node| order.iter().position(|&one| one == node);
        let order = graph.sort(std::cmp::Reverse).unwrap();
        assert!(place(&order, 0) < place(&order, 2));
        graph.add(1, 0, 'a');
        assert!(graph.sort(|node| node).is_ok());
        graph.add(2, 0, 'a');
        assert!(graph.sort(|node| node).is_err());
    }
}
