//! By when a watch must have fired, where others write too.
//!
//! A change is certain if a recorded request made it, a Stat shows its zxid, or another
//! client was notified of it. A registration from before it has fired by then, and its client
//! has been told, if the node was there all along and nobody can have taken READ from the
//! client: the aversion is the same at both ends.
//!
//! Answers to: `consistency.md` P10, P12.

use super::deeds::parts;
use super::steady::AVERSION;
use super::{OWN, Overheard};
use crate::history::{Body, EventType, Op};
use crate::model::{NO_PATH, PathId, Who};
use crate::verdict::{Class, Property, Violation};
use crate::walk::case::RequestIndex;
use crate::walk::times::records;
use crate::walk::watches::{Table, tables_of};
use rustc_hash::FxHashMap;

/// Changes that are tried before a registration is given up as one that proves nothing.
const CHANGES_MAX: usize = 64;

/// Certain changes of each path, by the table whose watches they fire.
#[derive(Default)]
pub struct Events {
    data: FxHashMap<PathId, Vec<i64>>,
    child: FxHashMap<PathId, Vec<i64>>,
}

impl Events {
    fn put(&mut self, table: Table, path: PathId, zxid: i64) {
        let list = match table {
            Table::Data => &mut self.data,
            Table::Child => &mut self.child,
        };
        if zxid > 0 && path != NO_PATH {
            list.entry(path).or_default().push(zxid);
        }
    }

    /// The changes after `zxid`, in order.
    fn after(&self, table: Table, path: PathId, zxid: i64) -> &[i64] {
        let list = match table {
            Table::Data => &self.data,
            Table::Child => &self.child,
        };
        let changes = list.get(&path).map_or(&[][..], Vec::as_slice);
        &changes[changes.partition_point(|&change| change <= zxid)..]
    }

    fn sort(&mut self) {
        for list in self.data.values_mut().chain(self.child.values_mut()) {
            list.sort_unstable();
            list.dedup();
        }
    }
}

impl Overheard<'_, '_> {
    /// Takes down every change that is certain.
    ///
    /// # Errors
    /// P19: one that is said to be of an epoch's start.
    pub(super) fn gather_events(&mut self) -> Result<(), Box<Violation>> {
        let mut events = std::mem::take(&mut self.events);
        for (_, request) in self.deeds.requests(self.case) {
            for (op, answer) in parts(request) {
                let path = self.about(op, answer);
                match op {
                    Op::Create { .. } => {
                        self.fire(&mut events, EventType::NodeCreated, path, request.zxid)
                    }
                    Op::Delete { .. } => {
                        self.fire(&mut events, EventType::NodeDeleted, path, request.zxid)
                    }
                    Op::Set { .. } => {
                        self.fire(&mut events, EventType::NodeDataChanged, path, request.zxid)
                    }
                    _ => {}
                }
            }
        }
        for (&path, sights) in &self.sights {
            for (sight, stat) in sights
                .iter()
                .filter_map(|sight| Some((sight, sight.stat()?)))
            {
                self.fire(&mut events, EventType::NodeCreated, path, stat.czxid);
                self.fire(&mut events, EventType::NodeDataChanged, path, stat.mzxid);
                self.fire(
                    &mut events,
                    EventType::NodeChildrenChanged,
                    path,
                    stat.pzxid,
                );
                let named = [stat.czxid, stat.mzxid, stat.pzxid];
                if let Some(zxid) = named.into_iter().find(|&zxid| starts_epoch(zxid)) {
                    let reason = start_of_epoch(zxid);
                    return self.convict(Property::ZxidSanity, &[sight.request], reason);
                }
            }
        }
        for (index, record) in self.case.history.records.iter().enumerate() {
            let Body::Notify { zxid, event, path } = &record.body else {
                continue;
            };
            if path.starts_with(OWN) {
                continue;
            }
            let path = self.paths.id(path);
            self.fire(&mut events, *event, path, *zxid);
            if starts_epoch(*zxid) {
                return Err(Box::new(Violation {
                    property: Property::ZxidSanity,
                    class: Class::Inconsistent,
                    class_reason: String::new(),
                    records: records(self.case, &[index as u32]),
                    state_before: String::new(),
                    reason: start_of_epoch(*zxid),
                }));
            }
        }
        events.sort();
        self.events = events;
        Ok(())
    }

    fn fire(&self, events: &mut Events, event: EventType, path: PathId, zxid: i64) {
        for &table in tables_of(event) {
            events.put(table, path, zxid);
        }
        match event {
            EventType::NodeCreated | EventType::NodeDeleted => {
                // A node that is made anew had been deleted before.
                events.put(Table::Child, path, zxid);
                events.put(Table::Child, self.paths.parent(path), zxid);
            }
            EventType::NodeDataChanged | EventType::NodeChildrenChanged => {}
        }
    }

    /// The first change by which a watch registered at `zxid` must have fired, and its client
    /// been told. `held` if the answer that registered it proves that the client might read.
    pub fn certain(
        &self,
        table: Table,
        path: &str,
        zxid: i64,
        who: Who,
        held: bool,
    ) -> Option<i64> {
        if path.starts_with(OWN) {
            return None;
        }
        let path = self.paths.find(path)?;
        let changes = self.events.after(table, path, zxid).iter().copied();
        let mut changes = changes.take(CHANGES_MAX);
        let Some(before) = self.steady(path, zxid, AVERSION) else {
            // Somebody may have made and removed the node in between, for other eyes only.
            let born = |change: &i64| {
                !self.deeds.room(zxid, change - 1) && self.lets_read(path, *change, 0, who)
            };
            return changes
                .next()
                .filter(born)
                .filter(|_| self.was_absent(path, zxid));
        };
        let may = held || self.lets_read(path, before.life, before.value, who);
        let same = |change: i64| {
            let there = self.steady(path, change, AVERSION);
            // One that removed the node left no aversion.
            let there = there.or_else(|| self.steady(path, change - 1, AVERSION));
            there.is_some_and(|there| (there.life, there.value) == (before.life, before.value))
        };
        changes.find(|&change| may && same(change))
    }

    fn was_absent(&self, path: PathId, zxid: i64) -> bool {
        let sights = self.sights.get(&path).map_or(&[][..], Vec::as_slice);
        let at = sights.partition_point(|sight| sight.zxid < zxid);
        let mut there = sights[at..].iter().take_while(|sight| sight.zxid == zxid);
        there.any(|sight| sight.is_absent())
    }

    /// A change that setWatches, answered at `zxid`, had to make up for to a client that had
    /// seen all up to `relative`; None if it surely is not known.
    pub fn missed(
        &self,
        table: Table,
        path: &str,
        for_creation: bool,
        relative: i64,
        zxid: i64,
    ) -> Option<i64> {
        if path.starts_with(OWN) {
            return None;
        }
        let path = self.paths.find(path)?;
        if for_creation {
            let lives = self.lives.get(&path).into_iter().flatten();
            let mut there = lives.filter(|life| life.from <= zxid && zxid <= life.to);
            return there.next().map(|life| life.from);
        }
        let change = self.events.after(table, path, relative).first().copied();
        change.filter(|&change| change <= zxid)
    }

    /// The recorded request at a zxid, if it cannot have fired that event.
    pub fn did_not_fire(&self, zxid: i64, event: EventType, path: &str) -> Option<RequestIndex> {
        let path = self.paths.find(path)?;
        let doer = self.deeds.at(zxid)?;
        (!self.may_have_fired(doer, event, path)).then_some(doer)
    }
}

fn starts_epoch(zxid: i64) -> bool {
    zxid > 0 && zxid & 0xffff_ffff == 0
}

fn start_of_epoch(zxid: i64) -> String {
    format!(
        "a change is said to be of {zxid:#x}, but the start of an epoch belongs to no transaction"
    )
}
