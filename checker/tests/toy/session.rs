//! How the toy's clients come, lose their connections, come back with their watches, and are
//! forgotten.

use super::{Client, Message, Pending, TIMEOUT_MS, Toy};
use gamekeeper_checker::history::*;
use std::collections::BTreeSet;

impl Toy {
    pub(super) fn connect_new(&mut self, client: usize) {
        let session = self.next_session;
        self.next_session += 1;
        self.record(
            client,
            Body::Session(SessionEvent::Connecting {
                session: 0,
                last_zxid_seen: 0,
            }),
        );
        self.blank();
        self.now += 1000;
        let head = self.head();
        let old = std::mem::take(&mut self.clients[client]);
        self.clients[client] = Client {
            session,
            connected: true,
            xid: old.xid,
            identity: old.identity,
            position: head,
            last_sent: self.now,
            ..Client::default()
        };
        self.connected(client, false);
    }

    pub(super) fn connected(&mut self, client: usize, reattached: bool) {
        let session = self.clients[client].session;
        let address = Some("10.0.0.1".into());
        self.record(
            client,
            Body::Session(SessionEvent::Connected {
                session,
                timeout_ms: TIMEOUT_MS,
                reattached,
                address,
            }),
        );
        if let Some(identity) = self.clients[client].identity.clone() {
            self.record(client, Body::Session(SessionEvent::Auth { identity }));
            self.record(client, Body::Session(SessionEvent::AuthDone { ok: true }));
        }
    }

    pub(super) fn lose(&mut self, client: usize) {
        let me = &mut self.clients[client];
        me.inbox.clear();
        me.connected = false;
        me.data_watches.clear();
        me.child_watches.clear();
        me.stays = Default::default();
        let pending: Vec<Pending> = me.pending.drain(..).collect();
        // What no server had taken yet may still be on its way to the leader, in order.
        let underway = pending
            .iter()
            .filter(|pending| !pending.answered && pending.op.is_transaction());
        me.ghosts
            .extend(underway.map(|pending| (pending.xid, pending.op.clone())));
        let reach = self.dice.below(me.ghosts.len() + 1);
        me.ghosts.truncate(reach);
        for pending in pending {
            self.record(client, Body::Lost { xid: pending.xid });
        }
        self.record(client, Body::Session(SessionEvent::Disconnected));
    }

    pub(super) fn while_disconnected(&mut self, client: usize) {
        match self.dice.below(12) {
            0..=3 => self.let_ghosts_act(),
            4 => self.expire(client),
            5..=6 => self.reattach(client),
            _ => {}
        }
    }

    pub(super) fn expire(&mut self, client: usize) {
        let session = self.clients[client].session;
        if !self.alive(client) {
            self.told_expired(client);
            return;
        }
        self.now = self
            .now
            .max(self.clients[client].last_sent + TIMEOUT_MS * 1_000_000 + 1_000_000);
        // Everybody else has been pinging meanwhile.
        for other in 0..self.clients.len() {
            if other != client {
                self.clients[other].last_sent = self.now;
                if self.clients[other].connected {
                    self.record(other, Body::Ping { sent: self.now });
                }
            }
        }
        self.close_session(client, session);
        if self.dice.one_in(2) {
            self.told_expired(client);
        }
    }

    pub(super) fn told_expired(&mut self, client: usize) {
        let (session, last_zxid_seen) =
            (self.clients[client].session, self.clients[client].last_zxid);
        self.record(
            client,
            Body::Session(SessionEvent::Connecting {
                session,
                last_zxid_seen,
            }),
        );
        self.record(client, Body::Session(SessionEvent::Expired { session }));
        self.connect_new(client);
    }

    pub(super) fn alive(&self, client: usize) -> bool {
        self.clients[client].session != 0 && !self.clients[client].closing
    }

    pub(super) fn reattach(&mut self, client: usize) {
        if !self.alive(client) {
            return self.told_expired(client);
        }
        let last = self.clients[client].last_zxid;
        let lowest = self
            .log
            .partition_point(|applied| applied.zxid < last)
            .min(self.head());
        let position = lowest + self.dice.below(self.head() - lowest + 1);
        let session = self.clients[client].session;
        self.record(
            client,
            Body::Session(SessionEvent::Connecting {
                session,
                last_zxid_seen: last,
            }),
        );
        let me = &mut self.clients[client];
        me.position = position;
        me.connected = true;
        me.last_sent = self.now;
        self.connected(client, true);
        self.set_watches(client, last);
    }

    pub(super) fn set_watches(&mut self, client: usize, relative_zxid: i64) {
        let me = &self.clients[client];
        let list = |set: &BTreeSet<String>| {
            set.iter()
                .map(|path| path.as_str().into())
                .collect::<Vec<Path>>()
        };
        let (data, exist, child) = (list(&me.my_data), list(&me.my_exist), list(&me.my_child));
        let stays = WatchMode::join(list(&me.my_stays.persistent), list(&me.my_stays.recursive));
        let once = data.len() + exist.len() + child.len();
        if once + stays.len() == 0 {
            return;
        }
        let (tree, at) = (
            self.log[me.position].tree.clone(),
            self.log[me.position].zxid,
        );
        let me = &mut self.clients[client];
        let tell = |me: &mut Client, event, path: &Path| {
            me.inbox.push_back(Message::Notify {
                zxid: -1,
                event,
                path: path.to_string(),
            });
        };
        for path in &data {
            match tree.get(&**path) {
                None => tell(me, EventType::NodeDeleted, path),
                Some(node) if node.stat.mzxid > relative_zxid => {
                    tell(me, EventType::NodeDataChanged, path)
                }
                Some(_) => drop(me.data_watches.insert(path.to_string())),
            }
        }
        for path in &exist {
            match tree.get(&**path) {
                Some(_) => tell(me, EventType::NodeCreated, path),
                None => drop(me.data_watches.insert(path.to_string())),
            }
        }
        for path in &child {
            match tree.get(&**path) {
                None => tell(me, EventType::NodeDeleted, path),
                Some(node) if node.stat.pzxid > relative_zxid => {
                    tell(me, EventType::NodeChildrenChanged, path)
                }
                Some(_) => drop(me.child_watches.insert(path.to_string())),
            }
        }
        let one_mode = !self.shape.notify_zxid;
        for (path, mode) in &stays {
            me.add_watch(path, *mode, one_mode, false);
        }
        me.inbox.push_back(Message::SetWatchesDone { zxid: at });
        self.record(
            client,
            Body::Session(SessionEvent::SetWatches {
                relative_zxid,
                data,
                exist,
                child,
                stays,
            }),
        );
    }
}
