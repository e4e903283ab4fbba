//! Records that answer nothing: connections, sessions, notifications, what was lost.
//!
//! Each leaves its mark on the client or the session at once; what belongs into the order, a
//! notification or an answered setWatches, waits in the window for its turn.
//!
//! Answers to: `consistency.md` P5, P10 to P14.

use super::clients::closes;
use super::nameless::Told;
use super::settle::Beside;
use super::settle::Entry;
use super::watches::ConnectionId;
use super::window::{Place, Rank};
use super::{Doubt, LOST_MAX, Stream};
use crate::history::{Body, Record, SessionEvent};
use crate::model::SessionIndex;
use std::borrow::Borrow;

impl<R: Borrow<Record>> Stream<R> {
    /// The connection of a client ends, or another begins.
    pub(super) fn reconnect(&mut self, process: u32) -> Result<(), Doubt> {
        self.connections += 1;
        if let Some(session) = self.client(process).session {
            self.left_behind = true;
            self.left.insert(session);
        }
        let next = self.connections;
        let old = self.client(process).reconnect(next);
        if !old.waits {
            return Ok(());
        }
        let place = Place::new(old.newest.max(old.last_told), Rank::Gone)?;
        let id = old.id;
        self.gone.insert(id, old);
        match self.window.is_past(place) {
            true => {
                self.depart(id);
                Ok(())
            }
            false => self.wait(place, Beside::Gone(id)),
        }
    }

    /// The order has reached all that a connection which ended had seen. What it was told
    /// without a zxid may lie further on.
    pub(super) fn depart(&mut self, id: ConnectionId) {
        if self.watches.nameless.end(id) {
            self.gone.remove(&id);
            self.watches.forget(id);
        }
    }

    pub(super) fn wait(&mut self, place: Place, beside: Beside<R>) -> Result<(), Doubt> {
        match self.window.push(place, Entry::Beside(Box::new(beside)))? {
            true => self.settle(self.window.size()),
            false => Ok(()),
        }
    }

    /// The client gives a request up. What read is of no consequence, even with a watch: where
    /// that was registered nevertheless, its notification is in doubt.
    pub(super) fn lose(&mut self, process: u32, xid: i32) -> Result<(), Doubt> {
        let client = self.client(process);
        let now = client.credentials.who();
        let mut open = client.answered(xid)?;
        let Body::Invoke { op, .. } = &open.call.borrow().body else {
            return Ok(());
        };
        if !op.is_transaction() {
            return Ok(());
        }
        self.lapses.expect(op);
        self.summary.unanswered += 1;
        if open.placed || closes(op) {
            return Ok(());
        }
        open.who.surely = 0;
        open.who = open.who.until(now);
        if self.lost.len() >= LOST_MAX {
            let (sessions, tree) = (&mut self.sessions, &self.tree);
            self.lost.retain(|&(session, _), open| {
                open.number >= sessions.get(session).placed && tree.ended(session).is_none()
            });
        }
        if self.lost.len() < LOST_MAX {
            self.sessions.get(open.session).loses(&mut open);
            self.lost.insert((open.session, xid), open);
        }
        Ok(())
    }

    /// Something was answered to a session at a zxid after a write that it had sent later was
    /// lost: that lies further on.
    pub(super) fn lost_after(&mut self, session: SessionIndex, number: u64, zxid: i64) {
        let lost = self
            .lost
            .range_mut((session, i32::MIN)..=(session, i32::MAX));
        for (_, open) in lost.filter(|(_, open)| open.number > number) {
            open.shown_before = open.shown_before.max(zxid);
        }
    }

    pub(super) fn notified(&mut self, record: R, process: u32, zxid: i64) -> Result<(), Doubt> {
        let Body::Notify { event, path, .. } = &record.borrow().body else {
            return Ok(());
        };
        self.summary.notifications += 1;
        let (time, arrived) = (record.borrow().time, self.taken - 1);
        let client = self.client(process);
        client.shown.waits = true;
        if zxid <= 0 && !client.again.is_empty() {
            client.caught_up.push((*event, path.clone()));
            return Ok(());
        }
        if zxid <= 0 {
            let told = Told {
                event: *event,
                path: path.clone(),
                arrived,
                time,
                newest: client.shown.newest,
                who: client.credentials.who(),
            };
            let id = client.shown.id;
            if self.watches.is_left_out(id) {
                return Ok(());
            }
            let owed = self.watches.nameless.arrives(id, told, &self.tree.acls)?;
            if let Some(owed) = owed {
                self.client(process).shown.overdue = owed;
            }
            return Ok(());
        }
        client.shown.told(zxid)?;
        let (connection, who) = (client.shown.id, client.credentials.who());
        self.shown.note(time, zxid, false)?;
        let place = Place::new(zxid, Rank::Notification)?;
        let beside = Beside::Notified {
            connection,
            record,
            arrived,
            who,
        };
        self.wait(place, beside)
    }

    /// The oldest setWatches on its way is answered.
    fn watched_again(&mut self, process: u32, time: u64, zxid: i64) -> Result<(), Doubt> {
        let arrived = self.taken - 1;
        if zxid > 0 {
            self.shown.note(time, zxid, false)?;
        }
        let client = self.client(process);
        let Some(frame) = client.again.pop_front() else {
            return Ok(());
        };
        client.shown.waits = true;
        let beside = Beside::Again {
            connection: client.shown.id,
            frame,
            told: std::mem::take(&mut client.caught_up),
            arrived,
            last: client.again.is_empty(),
        };
        self.wait(Place::new(zxid, Rank::Read)?, beside)
    }

    pub(super) fn session_event(
        &mut self,
        process: u32,
        time: u64,
        event: &SessionEvent,
    ) -> Result<(), Doubt> {
        match event {
            SessionEvent::Connecting {
                session,
                last_zxid_seen,
            } => {
                self.reconnect(process)?;
                let known = self.sessions.find(*session);
                match known.is_some_and(|known| self.sessions.get(known).seen() > *last_zxid_seen) {
                    true => Err(Doubt::because("a client tells a server less than it saw")),
                    false => Ok(()),
                }
            }
            SessionEvent::Connected {
                session,
                timeout_ms,
                address,
                ..
            } => {
                let session = self.session(*session);
                let known = self.sessions.get(session);
                if known.expired {
                    return Err(Doubt::because("a session that was gone is served"));
                }
                known.connected(timeout_ms.saturating_mul(1_000_000));
                self.reconnect(process)?;
                let client = self.clients.get_mut(process);
                let Some(client) = client else {
                    return Ok(());
                };
                self.left.remove(&session);
                let fresh = client.session != Some(session);
                client.session = Some(session);
                client.connected = true;
                client.connection += 1;
                client.last_returned = 0;
                let table = &mut self.tree.acls;
                client
                    .credentials
                    .connected(address.as_deref(), fresh, table);
                Ok(())
            }
            SessionEvent::Disconnected => {
                self.reconnect(process)?;
                let Some(client) = self.clients.get_mut(process) else {
                    return Ok(());
                };
                client.connected = false;
                client.credentials.disconnected(&mut self.tree.acls);
                Ok(())
            }
            SessionEvent::Expired { session } | SessionEvent::Abandoned { session } => {
                let session = self.session(*session);
                if matches!(event, SessionEvent::Expired { .. }) {
                    self.sessions.get(session).expire(time, &self.judging)?;
                }
                self.reconnect(process)?;
                let client = self.client(process);
                (client.session, client.connected) = (None, false);
                Ok(())
            }
            SessionEvent::SetWatches { .. } => Ok(()),
            SessionEvent::WatchesLeftOut => {
                let client = self.client(process);
                (client.shown.waits, client.shown.overdue) = (true, i64::MAX);
                let connection = client.shown.id;
                self.watches.leave_out(connection);
                Ok(())
            }
            SessionEvent::SetWatchesDone { zxid } => self.watched_again(process, time, *zxid),
            SessionEvent::Auth { identity } => {
                self.client(process);
                let Some(client) = self.clients.get_mut(process) else {
                    return Ok(());
                };
                client
                    .credentials
                    .authenticate(identity, &mut self.tree.acls);
                Ok(())
            }
            SessionEvent::AuthDone { ok } => {
                self.client(process);
                let Some(client) = self.clients.get_mut(process) else {
                    return Ok(());
                };
                client.credentials.authenticated(*ok, &mut self.tree.acls);
                Ok(())
            }
        }
    }
}
