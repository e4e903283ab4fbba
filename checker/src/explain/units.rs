//! A history cut into what can be left out as one: a request with its answer, or any other
//! record by itself; and these sorted by client, session and path.
//!
//! What always holds: leaving out any set of units leaves a history that can be judged. No
//! answer loses its question, no client's records change their order.

use crate::history::{Body, History, Op, SessionEvent};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Number of a unit.
pub type UnitIndex = u32;

/// A request with its answer, or another record by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The first record.
    pub first: u32,
    /// The answer, if `first` is a question that was answered or given up.
    pub second: Option<u32>,
    /// The transaction, prefix or cause that its header names, if it names one.
    pub zxid: Option<i64>,
    /// The session it belongs to, 0 if none is known.
    pub session: i64,
}

impl Unit {
    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = u32> {
        [Some(self.first), self.second].into_iter().flatten()
    }
}

/// Cuts a history into units, in the order of their first records.
pub fn cut(history: &History) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::with_capacity(history.records.len() / 2 + 1);
    let mut open: FxHashMap<(u32, i32), usize> = FxHashMap::default();
    let mut session_of: FxHashMap<u32, i64> = FxHashMap::default();
    for (index, record) in history.records.iter().enumerate() {
        let mut unit = Unit {
            first: index as u32,
            second: None,
            zxid: None,
            session: session_of.get(&record.process).copied().unwrap_or(0),
        };
        match &record.body {
            Body::Invoke { session, xid, .. } => {
                unit.session = *session;
                open.insert((record.process, *xid), units.len());
            }
            Body::Return { xid, zxid, .. } => {
                if let Some(asked) = open.remove(&(record.process, *xid)) {
                    units[asked].second = Some(index as u32);
                    units[asked].zxid = Some(*zxid).filter(|&zxid| zxid > 0);
                    continue;
                }
            }
            Body::Lost { xid } => {
                if let Some(asked) = open.remove(&(record.process, *xid)) {
                    units[asked].second = Some(index as u32);
                    continue;
                }
            }
            Body::Notify { zxid, .. } => unit.zxid = Some(*zxid).filter(|&zxid| zxid > 0),
            Body::Session(event) => {
                if let Some(session) = named_by(event) {
                    unit.session = session;
                    session_of.insert(record.process, session);
                }
            }
            Body::Ping { .. } | Body::Final => {}
        }
        units.push(unit);
    }
    units
}

fn named_by(event: &SessionEvent) -> Option<i64> {
    match event {
        SessionEvent::Connecting { session, .. }
        | SessionEvent::Connected { session, .. }
        | SessionEvent::Expired { session }
        | SessionEvent::Abandoned { session } => Some(*session).filter(|&session| session != 0),
        SessionEvent::Disconnected
        | SessionEvent::SetWatches { .. }
        | SessionEvent::SetWatchesDone { .. }
        | SessionEvent::WatchesLeftOut
        | SessionEvent::Auth { .. }
        | SessionEvent::AuthDone { .. } => None,
    }
}

/// The units of each kind: first what other kinds are the cause of.
pub fn by_kind(history: &History, units: &[Unit], among: &[UnitIndex]) -> Vec<Vec<UnitIndex>> {
    grouped(among, |unit| {
        let unit = units[unit as usize];
        Some(match &history.records[unit.first as usize].body {
            Body::Notify { .. } => 0,
            Body::Ping { .. } | Body::Final => 1,
            Body::Invoke { op, .. } if !op.is_transaction() => 2,
            Body::Invoke { .. } if unit.zxid.is_none() => 3,
            Body::Session(_) | Body::Return { .. } | Body::Lost { .. } => 4,
            Body::Invoke { .. } => 5,
        })
    })
}

/// The units of each client, in the order of clients.
pub fn by_process(history: &History, units: &[Unit], among: &[UnitIndex]) -> Vec<Vec<UnitIndex>> {
    grouped(among, |unit| {
        Some(history.records[units[unit as usize].first as usize].process)
    })
}

/// The units of each session, in the order of ids.
pub fn by_session(units: &[Unit], among: &[UnitIndex]) -> Vec<Vec<UnitIndex>> {
    grouped(among, |unit| {
        Some(units[unit as usize].session).filter(|&session| session != 0)
    })
}

/// The units that touch each path, deepest paths first, so that children go before parents;
/// a multi goes with all of its paths together.
pub fn by_path(history: &History, units: &[Unit], among: &[UnitIndex]) -> Vec<Vec<UnitIndex>> {
    let mut groups = grouped(among, |unit| {
        let paths = match &history.records[units[unit as usize].first as usize].body {
            Body::Invoke { op, .. } => paths_of(op),
            Body::Notify { path, .. } => vec![&**path],
            Body::Return { .. }
            | Body::Lost { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => Vec::new(),
        };
        let depth = paths.iter().map(|path| path.matches('/').count()).max()?;
        Some((std::cmp::Reverse(depth), paths))
    });
    groups.retain(|group| !group.is_empty());
    groups
}

/// Every path a request names, once.
fn paths_of(op: &Op) -> Vec<&str> {
    let mut paths: Vec<&str> = match op {
        Op::Multi { ops } => ops.iter().flat_map(paths_of).collect(),
        op => op.path().map(|path| &**path).into_iter().collect(),
    };
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn grouped<K: Ord>(
    among: &[UnitIndex],
    key: impl Fn(UnitIndex) -> Option<K>,
) -> Vec<Vec<UnitIndex>> {
    let mut groups: BTreeMap<K, Vec<UnitIndex>> = BTreeMap::new();
    for &unit in among {
        if let Some(key) = key(unit) {
            groups.entry(key).or_default().push(unit);
        }
    }
    groups.into_values().collect()
}
