//! Reduction: a much smaller history that convicts for the same reason.
//!
//! Delta debugging: leave something out, judge what is left, keep it out if the verdict is
//! still the same. Leaving records out of a history can make it wrong in new ways (who
//! leaves out a write makes every later read inexplicable), so that "still invalid" proves
//! nothing. What always holds here is stronger: the reduced history breaks the same
//! property, convicted by the very same records, in the same words, with the same state of
//! the node before. Whatever stood before the conviction in the order of zxids and was left
//! out was therefore not needed to explain anything that is still there.
//!
//! 1. What was recorded after the last convicting record goes.
//! 2. All notifications go if they can, all pings, all reads, and so on.
//! 3. The past becomes a start state: the tree as the judge had it shortly before the first
//!    convicting transaction.
//! 4. Whole clients go, then sessions, then paths, then single requests and notifications;
//!    each in halves, quarters, and so on, then one by one until nothing more can go.
//! 5. Parts of multis go, each with its result, but never all of one.
//! 6. Nodes of the start state go.
//!
//! Deterministic: the budget is in judgements, records judged and steps of the search, never in
//! seconds.
//!
//! Answers to: `consistency.md` 3.5; Zeller and Hildebrandt, Simplifying and Isolating
//! Failure-Inducing Input.

use super::thin::thin;
use super::units::{self, Unit, UnitIndex};
use crate::history::{Answer, Body, History, Op, Record, Start, StartNode, Txn, TxnKind};
use crate::verdict::{Property, Verdict, Violation};
use crate::walk::{Left, Meter, Options, judge_metered, left_by};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};

/// How hard a judgement may try, placements of requests of unknown fate and steps for each
/// item of the order: as little as the conviction needs, for the sake of speed. What is hard
/// to decide is not worth leaving out.
const EFFORTS: [(u64, u64); 3] = [(20, 4), (400, 40), (10_000, 200)];

/// Most configurations of one judgement of a history that tells no zxids.
const CONFIGURATIONS_MAX: u64 = 100_000;

/// Most start states that are tried.
const STARTS_TRIED_MAX: u32 = 12;

/// How much work a reduction may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most judgements.
    pub judgements: u32,
    /// Most records in all of them together.
    pub records: u64,
    /// Most steps of the search in all of them together.
    pub steps: u64,
}

/// What of a [`Budget`] ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Judgements.
    Judgements,
    /// Records judged.
    Records,
    /// Steps of the search.
    Steps,
}

impl Spent {
    /// Why a reduction is no smaller.
    pub fn words(spent: Option<Spent>) -> &'static str {
        match spent {
            None => "nothing more can be left out",
            Some(Spent::Judgements) => "the judgements ran out, more might go",
            Some(Spent::Records) => "the records to be judged ran out, more might go",
            Some(Spent::Steps) => "the steps of the search ran out, more might go",
        }
    }
}

impl Budget {
    /// What has run out, if anything.
    pub(super) fn spent(&self, judgements: u32, records: u64, steps: u64) -> Option<Spent> {
        if judgements >= self.judgements {
            Some(Spent::Judgements)
        } else if records >= self.records {
            Some(Spent::Records)
        } else if steps >= self.steps {
            Some(Spent::Steps)
        } else {
            None
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            judgements: 2_000,
            records: 20_000_000,
            steps: 10_000_000,
        }
    }
}

/// A history made small.
#[derive(Debug, Clone)]
pub struct Reduction {
    /// What is left; it convicts.
    pub history: History,
    /// Of what.
    pub violation: Violation,
    /// For each record that is left, its index in the original.
    pub origin: Vec<usize>,
    /// How many judgements it took.
    pub judgements: u32,
    /// What ran out before nothing more could go.
    pub spent: Option<Spent>,
}

impl Reduction {
    /// True if nothing more can go.
    pub fn minimal(&self) -> bool {
        self.spent.is_none()
    }
}

/// Makes a history small that was judged invalid with `violation`.
///
/// Returns None if the whole history does not convict in these words under these options, if
/// that takes too long to see to be done over and over, or if the budget allows no judgement.
pub fn reduce(
    history: &History,
    options: &Options,
    violation: &Violation,
    budget: Budget,
) -> Option<Reduction> {
    let mut reducer = Reducer::new(history, options, violation, budget);
    let whole = reducer.everything();
    let found = EFFORTS.iter().find_map(|&(tries, steps)| {
        reducer.options.tries_max = options.tries_max.min(tries);
        reducer.options.steps_per_item_max = options.steps_per_item_max.min(steps);
        reducer.options.steps_min = options.steps_min.min(steps * 1_000);
        reducer.convicts(&whole)
    })?;
    reducer.found = Some((whole, found));
    reducer.end_early();
    reducer.forget_log();
    reducer.thin_groups(units::by_kind);
    reducer.begin_late();
    reducer.thin_groups(units::by_process);
    reducer.thin_groups(|_, units, among| units::by_session(units, among));
    reducer.thin_groups(units::by_path);
    reducer.thin_units();
    if reducer.thin_parts() {
        reducer.thin_units();
    }
    reducer.thin_start();
    Some(reducer.finish())
}

/// What is kept.
#[derive(Clone)]
struct Cut {
    units: Vec<UnitIndex>,
    /// Parts of multis that are left out, each by its place in the original.
    parts: BTreeSet<(UnitIndex, usize)>,
    /// Records from this one on are left out, answers too.
    end: u32,
    start: Start,
    /// Whether the servers' own log is kept.
    log: bool,
}

/// What must stay the same.
struct Wanted {
    property: Property,
    reason: String,
    /// The convicting records, by their place in the original.
    records: BTreeSet<usize>,
    /// The state of the node concerned.
    state: String,
}

struct Reducer<'a> {
    history: &'a History,
    options: Options,
    units: Vec<Unit>,
    /// Units that convict; they never go.
    convicting: Vec<UnitIndex>,
    wanted: Wanted,
    budget: Budget,
    judgements: u32,
    records: u64,
    steps: u64,
    /// The smallest that convicts so far.
    found: Option<(Cut, Box<Violation>)>,
}

impl<'a> Reducer<'a> {
    fn new(history: &'a History, options: &Options, violation: &Violation, budget: Budget) -> Self {
        let units = units::cut(history);
        let records: BTreeSet<usize> = violation.records.iter().map(|(index, _)| *index).collect();
        let convicts = |unit: &Unit| {
            unit.records()
                .any(|record| records.contains(&(record as usize)))
        };
        let convicting = (0..units.len() as UnitIndex)
            .filter(|&unit| convicts(&units[unit as usize]))
            .collect();
        Reducer {
            history,
            options: options.clone(),
            convicting,
            units,
            wanted: Wanted {
                property: violation.property,
                reason: violation.reason.clone(),
                records,
                state: own_state(violation).to_string(),
            },
            budget,
            judgements: 0,
            records: 0,
            steps: 0,
            found: None,
        }
    }

    fn everything(&self) -> Cut {
        Cut {
            units: (0..self.units.len() as UnitIndex).collect(),
            parts: BTreeSet::new(),
            end: self.history.records.len() as u32,
            start: self.history.header.start.clone(),
            log: true,
        }
    }

    fn spent(&self) -> Option<Spent> {
        self.budget.spent(self.judgements, self.records, self.steps)
    }

    /// The history that a cut leaves, and where its records come from.
    fn build(&self, cut: &Cut) -> (History, Vec<usize>) {
        let kept = cut
            .units
            .iter()
            .flat_map(|&unit| self.units[unit as usize].records());
        let mut origin: Vec<usize> = kept
            .filter(|&record| record < cut.end)
            .map(|record| record as usize)
            .collect();
        origin.sort_unstable();
        let mut header = self.history.header.clone();
        header.start = cut.start.clone();
        let mut history = History::new(header);
        let records = origin
            .iter()
            .map(|&record| self.history.records[record].clone());
        history.records = records.collect();
        for (unit, part) in cut.parts.iter().rev() {
            for record in self.units[*unit as usize].records() {
                if let Ok(place) = origin.binary_search(&(record as usize)) {
                    drop_part(&mut history.records[place], *part);
                }
            }
        }
        history.header.txns = None;
        if cut.log {
            history.txns = self.log_of(&history);
            let whole = self.history.log_is_whole();
            history.header.txns = whole.then_some(history.txns.len() as u64);
        }
        (history, origin)
    }

    /// What the servers' log has of the requests that are left, and of all sessions.
    fn log_of(&self, left: &History) -> Vec<Txn> {
        let asked: FxHashSet<(i64, i32)> = left
            .records
            .iter()
            .filter_map(|record| match &record.body {
                Body::Invoke { session, xid, .. } => Some((*session, *xid)),
                Body::Return { .. }
                | Body::Lost { .. }
                | Body::Notify { .. }
                | Body::Session(_)
                | Body::Ping { .. }
                | Body::Final => None,
            })
            .collect();
        let begun = match left.header.start {
            Start::Fresh => 0,
            Start::Nodes { zxid, .. } => zxid,
        };
        let stays = |txn: &&Txn| {
            let of_session = matches!(txn.kind, TxnKind::Open | TxnKind::Close);
            txn.zxid > begun && (of_session || asked.contains(&(txn.session, txn.xid)))
        };
        self.history.txns.iter().filter(stays).copied().collect()
    }

    /// Judges a cut. The violation, if it convicts of the same in the same words.
    fn convicts(&mut self, cut: &Cut) -> Option<Box<Violation>> {
        if self.spent().is_some() {
            return None;
        }
        let (history, origin) = self.build(cut);
        let mut meter = self.meter();
        let verdict = judge_metered(&history, &self.options, &mut meter);
        self.spend(&history, &meter);
        let Verdict::Invalid(found) = verdict else {
            return None;
        };
        let wanted = &self.wanted;
        let records = found.records.iter().map(|(index, _)| origin[*index]);
        let same = found.property == wanted.property
            && found.reason == wanted.reason
            && own_state(&found) == wanted.state
            && records.collect::<BTreeSet<_>>() == wanted.records;
        same.then_some(found)
    }

    fn meter(&self) -> Meter {
        Meter {
            configurations: CONFIGURATIONS_MAX,
            steps: 0,
        }
    }

    fn spend(&mut self, history: &History, meter: &Meter) {
        self.judgements += 1;
        self.records += history.records.len() as u64;
        self.steps += meter.steps;
    }

    /// Keeps a cut if it convicts.
    fn try_cut(&mut self, cut: Cut) -> bool {
        let found = self.convicts(&cut);
        let convicts = found.is_some();
        if let Some(found) = found {
            self.found = Some((cut, found));
        }
        convicts
    }

    fn current(&self) -> Cut {
        let (cut, _) = self.found.as_ref().expect("set before anything is tried");
        cut.clone()
    }

    /// Nothing after the last convicting record is needed to see what is wrong by then.
    fn end_early(&mut self) {
        let mut cut = self.current();
        let last = self.wanted.records.last().copied().unwrap_or_default();
        cut.end = last as u32 + 1;
        cut.units
            .retain(|&unit| self.units[unit as usize].first < cut.end);
        self.try_cut(cut);
    }

    fn forget_log(&mut self) {
        if !self.history.txns.is_empty() {
            self.try_cut(Cut {
                log: false,
                ..self.current()
            });
        }
    }

    /// Begins as late as possible, with the tree as it was then.
    fn begin_late(&mut self) {
        let zxids = |units: &[UnitIndex]| -> BTreeSet<i64> {
            let zxids = units.iter().map(|&unit| self.units[unit as usize].zxid);
            zxids.flatten().collect()
        };
        let Some(&bound) = zxids(&self.convicting).first() else {
            return;
        };
        let current = self.current();
        let earlier: Vec<i64> = zxids(&current.units).range(..bound).copied().collect();
        let mut back = 1;
        for _ in 0..STARTS_TRIED_MAX {
            let Some(place) = earlier.len().checked_sub(back) else {
                return;
            };
            if self.spent().is_some() || self.begin_at(&current, earlier[place]) {
                return;
            }
            back *= 2;
        }
    }

    /// Puts the tree after `zxid` in the place of all that came up to there.
    fn begin_at(&mut self, current: &Cut, zxid: i64) -> bool {
        let folded = |unit: &Unit| unit.zxid.is_some_and(|place| place <= zxid);
        let mut past = current.clone();
        past.units.retain(|&unit| {
            let unit = &self.units[unit as usize];
            unit.zxid.is_none() || folded(unit)
        });
        let (history, origin) = self.build(&past);
        let mut meter = self.meter();
        let left = left_by(&history, &self.options, &mut meter);
        self.spend(&history, &meter);
        let Ok(Left { nodes, placed }) = left else {
            return false;
        };
        let placed: BTreeSet<u32> = placed
            .iter()
            .map(|&record| origin[record as usize] as u32)
            .collect();
        let mut cut = current.clone();
        cut.start = Start::Nodes { zxid, nodes };
        cut.units.retain(|&unit| {
            let unit = &self.units[unit as usize];
            !folded(unit) && !placed.contains(&unit.first)
        });
        self.try_cut(cut)
    }

    fn thin_groups(
        &mut self,
        group: impl Fn(&History, &[Unit], &[UnitIndex]) -> Vec<Vec<UnitIndex>>,
    ) {
        let groups = group(self.history, &self.units, &self.loose());
        self.thin(groups, without_units);
    }

    /// One by one, beginning later where that has become possible, until nothing more can go.
    fn thin_units(&mut self) {
        loop {
            let before = self.loose().len();
            self.begin_late();
            let singles = self.loose().iter().map(|&unit| vec![unit]).collect();
            self.thin(singles, without_units);
            if self.spent().is_some() || self.loose().len() == before {
                return;
            }
        }
    }

    /// Parts of multis go, but never the last of one; true if any went.
    fn thin_parts(&mut self) -> bool {
        let counts: BTreeMap<UnitIndex, usize> = self
            .current()
            .units
            .into_iter()
            .map(|unit| (unit, parts_of(self.history, &self.units[unit as usize])))
            .collect();
        let parts = counts
            .iter()
            .flat_map(|(unit, count)| (0..*count).map(|part| vec![(*unit, part)]));
        let parts = parts.collect();
        let left = |cut: &Cut, unit: UnitIndex| {
            let gone = cut.parts.range((unit, 0)..=(unit, usize::MAX)).count();
            counts[&unit] - gone
        };
        thin(parts, |gone| {
            let mut cut = self.current();
            cut.parts.extend(gone);
            gone.iter().all(|(unit, _)| left(&cut, *unit) > 0) && self.try_cut(cut)
        });
        !self.current().parts.is_empty()
    }

    /// Units that may go.
    fn loose(&self) -> Vec<UnitIndex> {
        let mut units = self.current().units;
        units.retain(|unit| self.convicting.binary_search(unit).is_err());
        units
    }

    /// A node of the start state goes with all below it.
    fn thin_start(&mut self) {
        let Start::Nodes { nodes, .. } = self.current().start else {
            return;
        };
        let paths = nodes.into_iter().map(|node| vec![node.path]).rev();
        self.thin(paths.collect(), |cut, gone| {
            if let Start::Nodes { nodes, .. } = &mut cut.start {
                nodes.retain(|node| !gone.iter().any(|gone| is_at_or_below(node, gone)));
            }
        });
    }

    /// Leaves out as many of the groups as can be.
    fn thin<T: Clone>(&mut self, groups: Vec<Vec<T>>, without: impl Fn(&mut Cut, &[T])) {
        thin(groups, |gone| {
            let mut cut = self.current();
            without(&mut cut, gone);
            self.try_cut(cut)
        });
    }

    fn finish(self) -> Reduction {
        let spent = self.spent();
        let (history, origin) = self.build(&self.current());
        let (_, violation) = self.found.expect("set before anything is tried");
        Reduction {
            history,
            violation: *violation,
            origin,
            judgements: self.judgements,
            spent,
        }
    }
}

/// How many parts of a multi can go one by one: none where the answer has not one result a part.
fn parts_of(history: &History, unit: &Unit) -> usize {
    let Body::Invoke {
        op: Op::Multi { ops },
        ..
    } = &history.records[unit.first as usize].body
    else {
        return 0;
    };
    let answer = unit
        .second
        .map(|second| &history.records[second as usize].body);
    match answer {
        Some(Body::Return {
            result: Ok(Answer::Multi(results)),
            ..
        }) if results.len() != ops.len() => 0,
        _ => ops.len(),
    }
}

/// Takes a part out of a multi, or its result out of the answer to one.
fn drop_part(record: &mut Record, part: usize) {
    match &mut record.body {
        Body::Invoke {
            op: Op::Multi { ops },
            ..
        } => drop(ops.remove(part)),
        Body::Return {
            result: Ok(Answer::Multi(results)),
            ..
        } => drop(results.remove(part)),
        Body::Invoke { .. }
        | Body::Return { .. }
        | Body::Lost { .. }
        | Body::Notify { .. }
        | Body::Session(_)
        | Body::Ping { .. }
        | Body::Final => {}
    }
}

fn without_units(cut: &mut Cut, gone: &[UnitIndex]) {
    let gone: BTreeSet<UnitIndex> = gone.iter().copied().collect();
    cut.units.retain(|unit| !gone.contains(unit));
}

fn is_at_or_below(node: &StartNode, path: &str) -> bool {
    let below = node.path.strip_prefix(path);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path == "/")
}

/// The state of the node concerned, without its parent's: the parent may lose children that
/// have nothing to do with the failure.
fn own_state(violation: &Violation) -> &str {
    let state = &violation.state_before;
    state.split_once("; /").map_or(state, |(own, _)| own)
}
