//! Transactions over lists in one order, without a search.
//!
//! A list that was read tells in which order its elements were appended. If no element is
//! appended twice, that fixes who comes before whom: of two appends the one that stands first
//! (`ww`), an append before who read it (`wr`), who did not read it before the append (`rw`).
//! What nobody read was appended after every read of its list, and its order is free. Any order
//! that respects these, and the clock, replays to exactly the answers; so a circle is the only
//! other thing that can be wrong, besides what one or two transactions contradict by themselves.
//!
//! Not here: histories in which an element is appended twice to a list; they are searched.
//!
//! Answers to: Adya, Liskov and O'Neil, *Generalized isolation level definitions* (2000), for
//! the phenomena; Kingsbury and Alvaro, *Elle* (2020), who read them off lists.

use super::{Lists, ListsOp, ListsOutcome, Symbol};
use crate::circle::{Precedence, Waiting};
use crate::linear::{Operation, Sorted, Times};
use rustc_hash::{FxHashMap, FxHashSet};

type Transaction = Operation<Vec<ListsOp>, ListsOutcome>;

/// Why one transaction comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its append to this list stands first.
    Append(Symbol),
    /// The other read its append to this list.
    Read(Symbol),
    /// It did not read the other's append to this list.
    Miss(Symbol),
    /// It had returned before the other was called.
    Time,
    /// Its client asked it first, and no times were recorded.
    Client,
}

/// A contradiction: who takes part and how, and why.
type Flaw = (Vec<(u32, String)>, String);

/// One list, and who touched it.
#[derive(Default)]
struct List<'h> {
    /// Who appended what to it, in their own order.
    appends: FxHashMap<u32, Vec<Symbol>>,
    /// The longest that was read, and by whom.
    longest: (&'h [Symbol], Option<u32>),
    /// Who read how much of it that was not their own.
    reads: Vec<(u32, &'h [Symbol])>,
}

/// Of a list, within one transaction: what was there before, if that was read, and what was
/// appended since.
type Own<'h> = (Symbol, Option<&'h [Symbol]>, Vec<Symbol>);

/// Sorts the transactions `part` of `history`.
pub(super) fn sorted(lists: &Lists, history: &[Transaction], part: &[u32], times: Times) -> Sorted {
    let mut sorting = Sorting {
        lists,
        history,
        part,
        found: FxHashMap::default(),
        appended_by: FxHashMap::default(),
        effective: FxHashSet::default(),
    };
    if !sorting.find_appends() {
        return Sorted::Unfit;
    }
    match sorting.order(times) {
        Ok(order) => Sorted::Order(order),
        Err((operations, reason)) => Sorted::Contradiction(operations, reason),
    }
}

struct Sorting<'a, 'h> {
    lists: &'a Lists,
    history: &'h [Transaction],
    part: &'a [u32],
    found: FxHashMap<Symbol, List<'h>>,
    appended_by: FxHashMap<(Symbol, Symbol), u32>,
    /// What was answered, and what was not but seen.
    effective: FxHashSet<u32>,
}

impl<'h> Sorting<'_, 'h> {
    /// Finds who appended what; false if an element was appended twice.
    fn find_appends(&mut self) -> bool {
        for &index in self.part {
            let transaction = &self.history[index as usize];
            if transaction.ret.is_some() {
                self.effective.insert(index);
            }
            for part in &transaction.op {
                if let ListsOp::Append(key, element) = part {
                    let twice = self.appended_by.insert((*key, *element), index);
                    if twice.is_some() {
                        return false;
                    }
                    let appends = &mut self.found.entry(*key).or_default().appends;
                    appends.entry(index).or_default().push(*element);
                }
            }
        }
        true
    }

    fn order(&mut self, times: Times) -> Result<Vec<u32>, Flaw> {
        for &index in self.part {
            self.read_own(index)?;
        }
        let mut keys: Vec<Symbol> = self.found.keys().copied().collect();
        keys.sort_unstable_by_key(|key| key.0);
        // Two more nodes a list: its end, as it was read, and where nothing is known.
        let mut graph = Precedence::new(self.history.len());
        let mut chains = Vec::with_capacity(keys.len());
        for &key in &keys {
            chains.push(self.chain(key)?);
        }
        for (&key, chain) in keys.iter().zip(&chains) {
            self.add_list(key, chain, &mut graph)?;
        }
        self.add_times(times, &mut graph);
        let ret = |node: u32| {
            let transaction = self.history.get(node as usize);
            transaction.map_or(i64::MIN, |one| one.ret.unwrap_or(i64::MAX))
        };
        let order = graph.sort(ret).map_err(|left| self.circle(&graph, &left))?;
        let is_one = |node: &u32| self.effective.contains(node);
        Ok(order.into_iter().filter(is_one).collect())
    }

    /// Takes down what a transaction read; its own reads must agree with each other and with
    /// what it appended.
    fn read_own(&mut self, index: u32) -> Result<(), Flaw> {
        let transaction = &self.history[index as usize];
        let Some(outcome) = &transaction.outcome else {
            return Ok(());
        };
        let mut seen = outcome.iter();
        let mut own: Vec<Own<'h>> = Vec::new();
        for part in &transaction.op {
            let (ListsOp::Append(key, _) | ListsOp::Read(key)) = part;
            let place = own.iter().position(|(other, ..)| other == key);
            let place = place.unwrap_or_else(|| {
                own.push((*key, None, Vec::new()));
                own.len() - 1
            });
            let (_, before, added) = &mut own[place];
            let list: &'h [Symbol] = match part {
                ListsOp::Append(_, element) => {
                    added.push(*element);
                    continue;
                }
                ListsOp::Read(_) => match seen.next() {
                    Some(list) => list,
                    None => {
                        let reason = "it was told less than it asked".to_owned();
                        return Err((vec![(index, String::new())], reason));
                    }
                },
            };
            let outside = list.strip_suffix(&added[..]);
            let outside = outside.filter(|outside| before.is_none_or(|before| before == *outside));
            let mine = |element: &Symbol| self.appended_by.get(&(*key, *element)) == Some(&index);
            let Some(outside) = outside.filter(|outside| !outside.iter().any(mine)) else {
                let name = self.lists.symbols.name(*key);
                let reason = format!(
                    "internal inconsistency: what it read of {name} contradicts what it read or appended itself"
                );
                return Err((vec![(index, String::new())], reason));
            };
            *before = Some(outside);
            let found = self.found.entry(*key).or_default();
            if found.longest.1.is_none() || found.longest.0.len() < list.len() {
                found.longest = (list, Some(index));
            }
        }
        for (key, before, _) in own {
            if let Some(before) = before {
                let found = self.found.entry(key).or_default();
                found.reads.push((index, before));
            }
        }
        Ok(())
    }

    /// Who appended to a list, in the order in which the longest read shows it; each read must
    /// show a beginning of that, and all of a transaction's appends or none.
    fn chain(&mut self, key: Symbol) -> Result<Vec<u32>, Flaw> {
        let found = &self.found[&key];
        let (longest, reader) = found.longest;
        let Some(reader) = reader else {
            return Ok(Vec::new());
        };
        let name = self.lists.symbols.name(key);
        let mut chain: Vec<u32> = Vec::new();
        // How much of the list stands at the end of each group.
        let mut ends: FxHashSet<usize> = FxHashSet::from_iter([0]);
        let mut shown_by: FxHashSet<u32> = FxHashSet::default();
        let mut place = 0;
        while place < longest.len() {
            let element = longest[place];
            let Some(&by) = self.appended_by.get(&(key, element)) else {
                let reason = format!(
                    "it read {} in {name}, which no transaction appended that can have taken effect (G1a, aborted read, if a failed one did)",
                    self.lists.symbols.name(element)
                );
                return Err((vec![(reader, String::new())], reason));
            };
            let group = &found.appends[&by];
            let shown = &longest[place..longest.len().min(place + group.len())];
            // Its own reads may come before its last append.
            let whole = shown.len() == group.len() || by == reader;
            if !whole || shown != &group[..shown.len()] {
                return Err((told(reader, by, "appended it"), g1b(&name)));
            }
            if !shown_by.insert(by) {
                let reason = format!("one append stands in {name} twice");
                return Err((told(reader, by, "appended it"), reason));
            }
            chain.push(by);
            place += group.len();
            ends.insert(place);
        }
        for &(other, before) in &found.reads {
            if !longest.starts_with(before) {
                let reason = format!(
                    "incompatible orders: two transactions read {name} in ways of which neither continues the other"
                );
                return Err((told(other, reader, "read it otherwise"), reason));
            }
            if !ends.contains(&before.len()) {
                let by = self.appended_by[&(key, before[before.len() - 1])];
                return Err((told(other, by, "appended it"), g1b(&name)));
            }
        }
        self.effective.extend(&chain);
        Ok(chain)
    }

    fn add_list(
        &self,
        key: Symbol,
        chain: &[u32],
        graph: &mut Precedence<Why>,
    ) -> Result<(), Flaw> {
        let found = &self.found[&key];
        let mut chain = chain.to_vec();
        let mut length = 0;
        // The group that a list of each length ends with.
        let mut groups: FxHashMap<usize, usize> = FxHashMap::from_iter([(0, 0)]);
        for (number, by) in chain.iter().enumerate() {
            length += found.appends[by].len();
            groups.insert(length, number + 1);
        }
        let shown: FxHashSet<u32> = chain.iter().copied().collect();
        // Who read all that anybody read, and appended what nobody read, comes next.
        let whole = |before: &[Symbol]| groups[&before.len()] == shown.len();
        let unseen = |index: &u32| !shown.contains(index) && found.appends.contains_key(index);
        let next = found.reads.iter().filter(|(_, before)| whole(before));
        let mut next = next.map(|(index, _)| *index).filter(unseen);
        let first = next.next();
        if let (Some(first), Some(other)) = (first, next.next()) {
            let reason = format!(
                "lost update: two transactions read the same of {} and both appended to it (G-single)",
                self.lists.symbols.name(key)
            );
            return Err((told(first, other, "read the same and appended"), reason));
        }
        chain.extend(first);
        for pair in chain.windows(2) {
            graph.add(pair[0], pair[1], Why::Append(key));
        }
        let end = graph.add_node();
        if let Some(&last) = chain.last() {
            graph.add(last, end, Why::Append(key));
        }
        for &(reader, before) in &found.reads {
            let group = groups[&before.len()];
            if let Some(last) = group.checked_sub(1) {
                graph.add(chain[last], reader, Why::Read(key));
            }
            match chain.get(group) {
                Some(&missed) => graph.add(reader, missed, Why::Miss(key)),
                None => graph.add(reader, end, Why::Miss(key)),
            }
        }
        for &index in found.appends.keys() {
            if unseen(&index) && Some(index) != first && self.effective.contains(&index) {
                graph.add(end, index, Why::Append(key));
            }
        }
        Ok(())
    }

    fn add_times(&self, times: Times, graph: &mut Precedence<Why>) {
        let effective = || self.part.iter().filter(|one| self.effective.contains(one));
        match times {
            Times::Recorded => {
                let one = |index: u32| &self.history[index as usize];
                let returns = effective().filter_map(|&index| Some((one(index).ret?, index)));
                let calls: Vec<_> = effective().map(|&index| (one(index).call, index)).collect();
                graph.add_time(returns.collect(), &calls, Why::Time);
            }
            Times::Unrecorded => {
                let mut last: FxHashMap<u32, u32> = FxHashMap::default();
                for &index in effective() {
                    let client = self.history[index as usize].client;
                    if let Some(&before) = last.get(&client) {
                        graph.add(before, index, Why::Client);
                    }
                    // What was never answered may have taken effect after what follows.
                    if self.history[index as usize].ret.is_some() {
                        last.insert(client, index);
                    }
                }
            }
        }
    }

    /// A circle as a contradiction: the transaction that returned last first.
    fn circle(&self, graph: &Precedence<Why>, left: &Waiting) -> Flaw {
        let depends = |why: Why| !matches!(why, Why::Time | Why::Client);
        let circle = graph.circle(left, depends);
        let is_transaction = |node: u32| (node as usize) < self.history.len();
        // Moments and ends of lists stand between two transactions and are not told: why one
        // comes before the next is what leads away from it.
        let mut steps: Vec<(u32, Why)> = Vec::new();
        for (place, &(node, _)) in circle.iter().enumerate() {
            if is_transaction(node) {
                let (_, why) = circle[(place + 1) % circle.len()];
                steps.push((node, why));
            }
        }
        let answered = |index: u32| self.history[index as usize].ret;
        let last = (0..steps.len()).max_by_key(|&place| (answered(steps[place].0), steps[place].0));
        steps.rotate_left(last.unwrap_or(0));
        let mut told: Vec<(u32, String)> = steps
            .iter()
            .map(|&(index, why)| (index, self.words(why)))
            .collect();
        let reason = format!(
            "{}: a circle, in which each comes before the next; the first {}",
            phenomenon(&steps),
            told[0].1
        );
        // Who saw in which order they appended.
        for &(_, why) in &steps {
            let Why::Append(key) = why else { continue };
            let witness = self.found[&key].longest.1;
            let witness = witness.filter(|witness| told.iter().all(|(index, _)| index != witness));
            if let Some(witness) = witness {
                let name = self.lists.symbols.name(key);
                told.push((witness, format!("saw the order of the appends to {name}")));
            }
        }
        // What convicts is an answer.
        if let Some(place) = told
            .iter()
            .position(|&(index, _)| answered(index).is_some())
        {
            let answered = told.remove(place);
            told.insert(0, answered);
        }
        (told, reason)
    }

    fn words(&self, why: Why) -> String {
        let name = |key: Symbol| self.lists.symbols.name(key);
        match why {
            Why::Append(key) => format!("appended to {} before the next", name(key)),
            Why::Read(key) => format!("appended to {} what the next read", name(key)),
            Why::Miss(key) => format!("did not read what the next appended to {}", name(key)),
            Why::Time => "was over when the next was called".to_owned(),
            Why::Client => "was asked before the next by the same client".to_owned(),
        }
    }
}

/// Two that contradict each other.
fn told(one: u32, other: u32, part: &str) -> Vec<(u32, String)> {
    match one == other {
        true => vec![(one, String::new())],
        false => vec![(one, String::new()), (other, part.to_owned())],
    }
}

fn g1b(name: &str) -> String {
    format!(
        "G1b, intermediate read: it read some of what one transaction appended to {name} without the rest, or apart from it"
    )
}

/// The name of a circle, by what it is made of.
fn phenomenon(steps: &[(u32, Why)]) -> String {
    let count = |is: fn(&Why) -> bool| steps.iter().filter(|(_, why)| is(why)).count();
    let (reads, misses) = (
        count(|why| matches!(why, Why::Read(_))),
        count(|why| matches!(why, Why::Miss(_))),
    );
    let name = match (misses, reads) {
        (0, 0) => "G0, write cycle",
        (0, _) => "G1c, circular information flow",
        (1, _) => "G-single, read skew",
        (_, _) => "G2, anti-dependency cycle",
    };
    let (time, client) = (
        count(|why| matches!(why, Why::Time)),
        count(|why| matches!(why, Why::Client)),
    );
    match (time, client) {
        (0, 0) => name.to_owned(),
        (0, _) => format!("{name} along the order of a client"),
        (_, _) => format!("{name} along time"),
    }
}
