//! The replicated table of sessions: id to timeout. Like the tree it can be read as it was
//! at one moment, in steps, while it goes on changing.

use crate::base::SessionId;
use crate::tree::SnapshotId;
use crate::tree::digest::Mix;
use crate::tree::walk::{Seen, Walk};
use std::collections::BTreeMap;

/// Who exists. Changed by committed transactions only, so equal on every server at a zxid.
#[derive(Clone, Debug, Default)]
pub struct SessionTable {
    timeouts: BTreeMap<SessionId, u32>,
    digest: u64,
    walks: BTreeMap<SnapshotId, Walk<SessionId, u32>>,
}

/// Two tables are equal when their sessions are; open snapshots are not looked at.
impl PartialEq for SessionTable {
    fn eq(&self, other: &SessionTable) -> bool {
        self.timeouts == other.timeouts
    }
}

impl Eq for SessionTable {}

impl SessionTable {
    /// A createSession transaction. A session that exists keeps its newer timeout.
    pub fn open(&mut self, session: SessionId, timeout_ms: u32) {
        self.before_write(session);
        if let Some(old) = self.timeouts.insert(session, timeout_ms) {
            self.digest = self.digest.wrapping_sub(hash(session, old));
        }
        self.digest = self.digest.wrapping_add(hash(session, timeout_ms));
    }

    /// A closeSession transaction. False when there was no such session.
    pub fn close(&mut self, session: SessionId) -> bool {
        self.before_write(session);
        match self.timeouts.remove(&session) {
            Some(old) => {
                self.digest = self.digest.wrapping_sub(hash(session, old));
                true
            }
            None => false,
        }
    }

    /// Does it exist?
    pub fn contains(&self, session: SessionId) -> bool {
        self.timeouts.contains_key(&session)
    }

    /// Its timeout, ms.
    pub fn timeout_ms(&self, session: SessionId) -> Option<u32> {
        self.timeouts.get(&session).copied()
    }

    /// Every session with its timeout in ms, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, u32)> + '_ {
        self.timeouts
            .iter()
            .map(|(session, timeout)| (*session, *timeout))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.timeouts.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.timeouts.is_empty()
    }

    /// A sum over the entries: equal for equal tables, however they came about.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn before_write(&mut self, session: SessionId) {
        for walk in self.walks.values_mut() {
            walk.before_write(&session, || self.timeouts.get(&session).copied());
        }
    }

    /// Opens a snapshot of the table as it is now.
    ///
    /// # Panics
    /// When one with this id is open.
    pub fn snapshot_open(&mut self, id: SnapshotId) {
        let before = self.walks.insert(id, Walk::new());
        assert!(before.is_none(), "snapshot {id:?} is open already");
    }

    /// Visits the next `visits_max` sessions of a snapshot, by id; `visit` gets the timeout
    /// in ms. True when there are no more.
    ///
    /// # Panics
    /// When no such snapshot is open.
    pub fn snapshot_step(
        &mut self,
        id: SnapshotId,
        visits_max: usize,
        mut visit: impl FnMut(SessionId, u32),
    ) -> bool {
        let walk = self.walks.get_mut(&id).expect("the snapshot is open");
        let mut visits = 0;
        walk.step(&self.timeouts, |session, seen| {
            match seen {
                Seen::Live(timeout_ms) => visit(*session, *timeout_ms),
                Seen::Saved(timeout_ms) => visit(*session, timeout_ms),
                Seen::Absent => {}
            }
            visits += 1;
            visits < visits_max
        })
    }

    /// Closes a snapshot, finished or not; one that is not open is no matter.
    pub fn snapshot_close(&mut self, id: SnapshotId) {
        self.walks.remove(&id);
    }
}

const TAG_SESSION: u64 = 5;

/// The same mixing as the tree's digest, under a tag of its own.
fn hash(session: SessionId, timeout_ms: u32) -> u64 {
    Mix::new(TAG_SESSION)
        .long(session.0)
        .word(u64::from(timeout_ms))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_knows_the_entries_and_not_their_history() {
        let mut a = SessionTable::default();
        a.open(SessionId(1), 4000);
        a.open(SessionId(2), 5000);
        a.open(SessionId(1), 6000);
        let mut b = SessionTable::default();
        b.open(SessionId(1), 6000);
        b.open(SessionId(3), 1);
        b.open(SessionId(2), 5000);
        assert_ne!(a.digest(), b.digest());
        assert!(b.close(SessionId(3)));
        assert!(!b.close(SessionId(3)));
        assert_eq!(a, b);
        assert_eq!(a.digest(), b.digest());
    }
}
