//! Notifications that name no transaction, as servers before 3.9 send them.
//!
//! They cannot wait in the window, for nobody knows where they belong. Each waits beside its
//! connection until the order comes to a transaction that fires a watch of that connection on
//! the same path with the same event, and is told of that; or the transaction has been passed
//! and what it owed waits until the notification comes. What always holds: a connection's
//! notifications are claimed in the order in which they came and in the order of zxids at once,
//! by registrations that were made before, and before anything as new was answered.
//!
//! Answers to: `consistency.md` P10 to P12 ("match by path and type against triggers in
//! order"); P20; ZOOKEEPER-4655.

use super::Doubt;
use super::watches::{ConnectionId, Due};
use crate::history::{EventType, Path};
use crate::model::{Access, AclTable, READ, Who};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Most notifications that wait, and most that are owed, of one connection.
const WAITING_MAX: usize = 1 << 16;

/// A notification.
#[derive(Debug, Clone)]
pub struct Told {
    pub event: EventType,
    pub path: Path,
    /// The record, and when it came.
    pub arrived: usize,
    pub time: u64,
    /// The greatest zxid answered on its connection before.
    pub newest: i64,
    pub who: Who,
}

impl Told {
    /// True if it can tell of what is due.
    fn tells(&self, due: &Due) -> bool {
        let same = self.event == due.fired.event && self.path == due.path;
        same && due.since < self.arrived && self.newest < due.fired.zxid
    }
}

/// One connection.
#[derive(Clone, Default)]
struct Waiting {
    told: VecDeque<Told>,
    /// What has fired and was not told; none of it is older than what was claimed last.
    owed: Vec<Due>,
    /// The last transaction claimed, and the last record that told of it.
    last: (i64, usize),
    /// The last record that told of an earlier one.
    before: usize,
    /// Nothing more comes.
    ended: bool,
}

impl Waiting {
    /// P10, P12, P20: `told` is of `due`.
    fn claim(&mut self, told: &Told, due: &Due, acls: &AclTable) -> Result<(), Doubt> {
        let zxid = due.fired.zxid;
        let skipped = |other: &Due| other.fired.must && other.fired.zxid < zxid;
        let (last, record) = self.last;
        if zxid > last {
            self.before = record;
        }
        if zxid < last || told.arrived < self.before || self.owed.iter().any(skipped) {
            return Err(Doubt::because("notifications come in another order"));
        }
        let latest = if zxid == last { record } else { 0 };
        self.last = (zxid, told.arrived.max(latest));
        match acls.access(due.fired.acl, READ, told.who) {
            Access::No => Err(Doubt::because("a notification of what may not be read")),
            Access::Yes | Access::Unclear => Ok(()),
        }
    }
}

/// Every connection that was told something without a zxid, or is owed something.
#[derive(Clone)]
pub struct Nameless {
    connections: FxHashMap<ConnectionId, Waiting>,
    /// Connections with notifications that the present transaction has claimed, and how many
    /// of the first that wait.
    claimed: Vec<(ConnectionId, usize)>,
    /// No notification that waits came before this record.
    oldest: usize,
}

impl Default for Nameless {
    fn default() -> Self {
        Nameless {
            connections: FxHashMap::default(),
            claimed: Vec::new(),
            oldest: usize::MAX,
        }
    }
}

impl Nameless {
    /// A notification comes. If the order has been where it belongs already, what else is owed
    /// to its connection: the first zxid of that, `i64::MAX` if nothing is.
    ///
    /// # Errors
    /// It is out of order, or there are too many.
    pub fn arrives(
        &mut self,
        connection: ConnectionId,
        told: Told,
        acls: &AclTable,
    ) -> Result<Option<i64>, Doubt> {
        let waiting = self.connections.entry(connection).or_default();
        let of = waiting.owed.iter().position(|due| told.tells(due));
        let Some(of) = of.filter(|_| waiting.told.is_empty()) else {
            if waiting.told.len() == WAITING_MAX {
                return Err(Doubt::because("too many notifications that name no zxid"));
            }
            self.oldest = self.oldest.min(told.arrived);
            waiting.told.push_back(told);
            return Ok(None);
        };
        let due = waiting.owed.remove(of);
        waiting.claim(&told, &due, acls)?;
        let left = waiting.owed.iter().filter(|due| due.fired.must);
        Ok(Some(
            left.map(|due| due.fired.zxid).min().unwrap_or(i64::MAX),
        ))
    }

    /// Whether something that has just fired was told already, and when.
    ///
    /// # Errors
    /// It was told in another order than it happened, or to somebody who may not read it.
    pub fn claims(
        &mut self,
        connection: ConnectionId,
        due: &Due,
        acls: &AclTable,
    ) -> Result<Option<u64>, Doubt> {
        let Some(waiting) = self.connections.get_mut(&connection) else {
            return Ok(None);
        };
        let claimed = &mut self.claimed;
        let free = |at: &usize| !claimed.contains(&(connection, *at));
        let mut tells = (0..waiting.told.len()).filter(|&at| waiting.told[at].tells(due));
        let Some(at) = tells.find(free) else {
            return Ok(None);
        };
        let told = waiting.told[at].clone();
        claimed.push((connection, at));
        waiting.claim(&told, due, acls)?;
        Ok(Some(told.time))
    }

    /// The present transaction has fired all that it does.
    pub fn settle_claims(&mut self) {
        self.claimed.sort_unstable();
        self.claimed.dedup();
        for (connection, at) in std::mem::take(&mut self.claimed).into_iter().rev() {
            if let Some(waiting) = self.connections.get_mut(&connection) {
                waiting.told.remove(at);
            }
        }
        self.find_oldest();
    }

    fn find_oldest(&mut self) {
        let told = self.connections.values().flat_map(|waiting| &waiting.told);
        self.oldest = told.map(|told| told.arrived).min().unwrap_or(usize::MAX);
    }

    /// True if nothing was told that waits.
    pub fn is_empty(&self) -> bool {
        self.oldest == usize::MAX
    }

    /// The order comes to a transaction asked by a record: what was told before must have
    /// happened by now.
    ///
    /// # Errors
    /// It has not.
    pub fn is_before(&self, invoke: usize) -> Result<(), Doubt> {
        match self.oldest < invoke {
            true => Err(Doubt::because("a notification that nothing explains")),
            false => Ok(()),
        }
    }

    /// What the last transaction fired was not told.
    pub fn owe(&mut self, connection: ConnectionId, due: &Due) {
        let waiting = self.connections.entry(connection).or_default();
        if waiting.owed.len() < WAITING_MAX {
            waiting.owed.push(due.clone());
        }
    }

    /// Nothing more comes on a connection. True if nothing of it waits.
    pub fn end(&mut self, connection: ConnectionId) -> bool {
        match self.connections.get_mut(&connection) {
            Some(waiting) => {
                waiting.ended = true;
                waiting.told.is_empty()
            }
            None => true,
        }
    }

    /// A connection on which nothing more comes, and of which nothing waits any more.
    pub fn through(&self) -> Option<ConnectionId> {
        let mut all = self.connections.iter();
        let through = all.find(|(_, waiting)| waiting.ended && waiting.told.is_empty());
        through.map(|(connection, _)| *connection)
    }

    /// A connection is of no interest any more.
    pub fn forget(&mut self, connection: ConnectionId) {
        let forgotten = self.connections.remove(&connection);
        if forgotten.is_some_and(|waiting| !waiting.told.is_empty()) {
            self.find_oldest();
        }
    }
}
