//! Watches along the order: what each connection waits for, and what it was told.
//!
//! Registrations and notifications come here in the order of zxids, not as they were
//! received: a notification stands right behind its transaction. So a transaction that fires a
//! watch is followed at once by the notifications of it that ever came; where one is missing,
//! nothing as new may have come on its connection, nor may it later. Everything is as exact as
//! where watches surely fire: a notification that only something unseen explains is a doubt.
//! Servers before 3.9 name no transaction in a notification; how those find theirs is told in
//! `nameless`.
//!
//! What is left of connections that are gone fires no more, and is forgotten together, once it
//! may be as much as all the rest: whoever leaves is not looked for among all that wait.
//!
//! Answers to: `consistency.md` P10 to P12, P20; `protocol.md` section 12.

use super::Doubt;
use super::nameless::Nameless;
use super::standing::{Fires, Standing};
use crate::history::{EventType, Op, Path, WatchKind, WatchMode};
use crate::model::{AclId, AclTable};
use rustc_hash::{FxHashMap, FxHashSet};

/// Number of one connection of one client, never used again.
pub type ConnectionId = u32;

/// Most registrations, and notifications that are due, of all connections together.
const REGISTRATIONS_MAX: usize = 1 << 20;

/// What may be left of connections that are gone, however little else there is.
const LEFT_SLACK: usize = 1 << 10;

/// The server's two tables of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Of getData and exists.
    Data,
    /// Of getChildren.
    Child,
}

/// The table in which a request registers a watch.
pub fn registers(op: &Op) -> Option<Table> {
    match op {
        Op::Exists { watch: true, .. } | Op::Get { watch: true, .. } => Some(Table::Data),
        Op::Children { watch: true, .. } => Some(Table::Child),
        _ => None,
    }
}

fn tables_of(event: EventType) -> &'static [Table] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[Table::Data],
        EventType::NodeDeleted => &[Table::Data, Table::Child],
        EventType::NodeChildrenChanged => &[Table::Child],
    }
}

/// What a transaction did to a path.
#[derive(Debug, Clone, Copy)]
pub struct Fired {
    /// The transaction.
    pub zxid: i64,
    /// What it did.
    pub event: EventType,
    /// Who may be told.
    pub acl: AclId,
    /// Everybody may, so that whoever waits for it must be told.
    pub must: bool,
}

/// A registration that has fired, whose notification is due.
#[derive(Debug, Clone)]
pub struct Due {
    pub fired: Fired,
    pub path: Path,
    /// The record that registered it.
    pub since: usize,
}

/// A registration: who, in which table, by which record.
type Registration = (ConnectionId, Table, usize);

/// What every connection waits for.
#[derive(Clone, Default)]
pub struct Watches {
    live: FxHashMap<Path, Vec<Registration>>,
    count: usize,
    standing: Standing,
    /// How many have fired.
    fired: u64,
    /// What fired with the last transaction and was not told yet.
    due: Vec<(ConnectionId, Due)>,
    /// What setWatches has to make up for, told before its answer.
    caught_up: FxHashMap<ConnectionId, Vec<(EventType, Path)>>,
    /// Connections of whose watches nothing is recorded any more.
    left_out: FxHashSet<ConnectionId>,
    /// Connections that are gone, of which registrations may be left.
    gone: FxHashSet<ConnectionId>,
    /// With more than this of both, they are forgotten.
    kept_max: usize,
    /// What was told without a zxid.
    pub nameless: Nameless,
}

impl Watches {
    /// True if nobody waits for anything.
    pub fn is_idle(&self) -> bool {
        self.live.is_empty() && self.standing.count() == 0
    }

    /// How many have fired so far.
    pub fn fired(&self) -> u64 {
        self.fired
    }

    /// True if somebody was to be told of the last transaction.
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// A watch is registered, as record `since` tells; registered already, it stays one.
    ///
    /// # Errors
    /// There are too many.
    pub fn register(
        &mut self,
        connection: ConnectionId,
        table: Table,
        path: &Path,
        since: usize,
    ) -> Result<(), Doubt> {
        if self.left_out.contains(&connection) {
            return Ok(());
        }
        self.check_room()?;
        self.standing.meets(connection, path, table);
        let list = self.live.entry(path.clone()).or_default();
        let mut known = list.iter();
        if !known.any(|&(other, of, _)| (other, of) == (connection, table)) {
            list.push((connection, table, since));
            self.count += 1;
        }
        Ok(())
    }

    fn check_room(&mut self) -> Result<(), Doubt> {
        if self.count + self.standing.count() >= REGISTRATIONS_MAX {
            self.sweep();
        }
        match self.count + self.standing.count() >= REGISTRATIONS_MAX {
            true => Err(Doubt::because("too many watches")),
            false => Ok(()),
        }
    }

    /// A watch that stays is registered at a prefix, as record `since` tells.
    ///
    /// # Errors
    /// There are too many; or a list that was watched for once may not be any more.
    pub fn stay(
        &mut self,
        connection: ConnectionId,
        (path, mode): (&Path, WatchMode),
        zxid: i64,
        since: usize,
    ) -> Result<(), Doubt> {
        if self.left_out.contains(&connection) {
            return Ok(());
        }
        self.check_room()?;
        let lists =
            |&(other, table, _): &Registration| (other, table) == (connection, Table::Child);
        let replaces = mode == WatchMode::Recursive;
        if replaces && (self.live.get(path).into_iter().flatten()).any(lists) {
            return Err(Doubt::because("watches of two modes on one path"));
        }
        self.standing.add(connection, (path, mode), zxid, since);
        Ok(())
    }

    /// removeWatches did what it was asked to.
    pub fn remove(&mut self, connection: ConnectionId, path: &Path, kind: WatchKind) {
        self.standing.remove(connection, path, kind);
        let gone = |table: Table| match kind {
            WatchKind::Any => true,
            WatchKind::Data => table == Table::Data,
            WatchKind::Children => table == Table::Child,
            WatchKind::Persistent | WatchKind::Recursive => false,
        };
        let Some(list) = self.live.get_mut(path) else {
            return;
        };
        let before = list.len();
        list.retain(|&(other, table, _)| other != connection || !gone(table));
        self.count -= before - list.len();
        if list.is_empty() {
            self.live.remove(path);
        }
    }

    /// A transaction did something at `path`: every watch on it fires, once for each
    /// connection, and is used up unless it stays. True if there was one.
    pub fn fire(&mut self, fired: Fired, path: &str) -> bool {
        let gone = &self.gone;
        let mut fires = self.standing.fired(fired.event, path, fired.zxid);
        fires.retain(|fires| !gone.contains(&fires.connection));
        let mut shared = None;
        if let Some((path, list)) = self.live.get_key_value(path) {
            let (path, before) = (path.clone(), list.len());
            let mut left = list.clone();
            left.retain(|&(connection, table, since)| {
                if gone.contains(&connection) {
                    return false;
                }
                let now = tables_of(fired.event).contains(&table);
                if now {
                    also(&mut fires, connection, since);
                }
                !now
            });
            self.count -= before - left.len();
            shared = Some(path.clone());
            match left.is_empty() {
                true => self.live.remove(&path),
                false => self.live.insert(path, left),
            };
        }
        let some = !fires.is_empty();
        self.fired += fires.len() as u64;
        let shared = shared.filter(|_| some);
        let path = some.then(|| shared.unwrap_or_else(|| path.into()));
        for (fires, path) in fires.into_iter().zip(path.iter().cycle()) {
            let must = fired.must && fires.sure;
            let (fired, path) = (Fired { must, ..fired }, path.clone());
            let since = fires.since;
            self.due
                .push((fires.connection, Due { fired, path, since }));
        }
        some
    }

    /// A notification of the last transaction came as record `index`.
    ///
    /// # Errors
    /// Nothing on its connection waited for it.
    pub fn notified(
        &mut self,
        connection: ConnectionId,
        event: EventType,
        path: &Path,
        index: usize,
    ) -> Result<(), Doubt> {
        let of = self.due.iter().position(|(other, due)| {
            let told = *other == connection && due.fired.event == event && due.path == *path;
            told && due.since <= index
        });
        match of.map(|of| self.due.remove(of)) {
            Some(_) => Ok(()),
            None if self.left_out.contains(&connection) => Ok(()),
            None => Err(Doubt::because("a notification that nothing explains")),
        }
    }

    /// The last transaction has fired all that it does: of what was told already without naming
    /// it, when that was first.
    ///
    /// # Errors
    /// It was told in another order than it happened, or to somebody who may not read it.
    pub fn tell_nameless(&mut self, acls: &AclTable) -> Result<Option<u64>, Doubt> {
        let (nameless, mut result) = (&mut self.nameless, Ok(None::<u64>));
        self.due.retain(|(connection, due)| {
            let told = nameless.claims(*connection, due, acls);
            let waits = told == Ok(None);
            match (&mut result, told) {
                (Ok(first), Ok(Some(time))) => {
                    *first = Some(first.map_or(time, |first| first.min(time)));
                }
                (Ok(_), Err(doubt)) => result = Err(doubt),
                (_, _) => {}
            }
            waits
        });
        nameless.settle_claims();
        result
    }

    /// The order goes on: the connections that were to be told of the last transaction and
    /// were not.
    pub fn overdue(&mut self) -> impl Iterator<Item = ConnectionId> {
        let due = std::mem::take(&mut self.due).into_iter();
        due.inspect(|(connection, due)| self.nameless.owe(*connection, due))
            .filter(|(_, due)| due.fired.must)
            .map(|(connection, _)| connection)
    }

    /// What a connection was told while setWatches was on its way.
    pub fn caught_up(&mut self, connection: ConnectionId, told: Vec<(EventType, Path)>) {
        if !told.is_empty() {
            self.caught_up.entry(connection).or_default().extend(told);
        }
    }

    /// setWatches had to make up for these events, each of which is used up with that.
    ///
    /// # Errors
    /// One of them was not told.
    pub fn make_up(
        &mut self,
        connection: ConnectionId,
        due: &[(EventType, &Path)],
    ) -> Result<(), Doubt> {
        if self.left_out.contains(&connection) {
            return Ok(());
        }
        let told = self.caught_up.entry(connection).or_default();
        let was_told = |(event, path): &(EventType, &Path)| {
            told.iter().any(|(other, at)| other == event && at == *path)
        };
        if !due.iter().all(was_told) {
            return Err(Doubt::because("setWatches did not make up for an event"));
        }
        told.retain(|(event, path)| !due.contains(&(*event, path)));
        Ok(())
    }

    /// The last setWatches on its way is answered.
    ///
    /// # Errors
    /// Something was made up for that had not happened.
    pub fn settled(&mut self, connection: ConnectionId) -> Result<(), Doubt> {
        match self.caught_up.remove(&connection) {
            Some(left) if !left.is_empty() && !self.left_out.contains(&connection) => {
                Err(Doubt::because("setWatches told what had not happened"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// From here on nothing is asked of a connection's watches, not even of earlier ones.
    pub fn leave_out(&mut self, connection: ConnectionId) {
        self.forget(connection);
        self.due.retain(|(other, _)| *other != connection);
        self.left_out.insert(connection);
    }

    /// True after [`Watches::leave_out`].
    pub fn is_left_out(&self, connection: ConnectionId) -> bool {
        self.left_out.contains(&connection)
    }

    /// Nothing more came on a connection.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.left_out.remove(&connection);
        self.caught_up.remove(&connection);
        self.nameless.forget(connection);
        self.gone.insert(connection);
        if self.count + self.standing.count() + self.gone.len() > self.kept_max {
            self.sweep();
        }
    }

    /// Forgets what is left of all connections that are gone.
    fn sweep(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        if gone.is_empty() {
            return;
        }
        let mut count = 0;
        self.live.retain(|_, list| {
            list.retain(|(connection, _, _)| !gone.contains(connection));
            count += list.len();
            !list.is_empty()
        });
        self.count = count;
        self.standing.forget(&gone);
        self.kept_max = 2 * (count + self.standing.count()) + LEFT_SLACK;
    }
}

/// A watch that is used up fires with those that stay: its client is told once.
fn also(fires: &mut Vec<Fires>, connection: ConnectionId, since: usize) {
    match fires
        .iter_mut()
        .find(|other| other.connection == connection)
    {
        Some(other) => {
            other.since = other.since.max(since);
            other.sure = true;
        }
        None => fires.push(Fires {
            connection,
            since,
            sure: true,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(watches: &mut Watches, event: EventType, path: &str, zxid: i64) -> Vec<ConnectionId> {
        let fired = Fired {
            zxid,
            event,
            acl: AclId::default(),
            must: true,
        };
        watches.fire(fired, path);
        watches.overdue().collect()
    }

    #[test]
    fn what_is_left_of_connections_that_are_gone_is_never_more_than_the_rest_and_some() {
        let (mut watches, stay) = (Watches::default(), 3 * LEFT_SLACK);
        let path = |name: &str, at: usize| Path::from(format!("/{name}{at}").as_str());
        for at in 0..stay {
            assert!(
                watches
                    .register(1, Table::Data, &path("stays", at), at)
                    .is_ok()
            );
        }
        for id in 2..10 * stay as ConnectionId {
            let own = path("gone", id as usize);
            assert!(watches.register(id, Table::Data, &own, 0).is_ok());
            assert!(watches.stay(id, (&own, WatchMode::Recursive), 0, 0).is_ok());
            watches.forget(id);
            let kept = watches.count + watches.standing.count() + watches.gone.len();
            assert!(kept <= 2 * stay + LEFT_SLACK, "{kept}");
            let told = told(&mut watches, EventType::NodeCreated, &own, 1);
            assert!(told.is_empty() && watches.fired() == 0);
        }
        for at in 0..stay {
            let (event, path) = (EventType::NodeCreated, path("stays", at));
            assert_eq!(told(&mut watches, event, &path, 1), [1]);
        }
    }
}
