//! The client side of every server: connections, sessions attached here, FIFO, replies, watches.
//!
//! It never decides a write. Writes, syncs, new and moved sessions leave as [`Relay`]s for
//! the leader's [`super::chief::Chief`], whether that sits in this process or not; reads are
//! answered from the applied state it is shown.
//!
//! What always holds: per connection, answers leave in request order; a notification of a
//! transaction leaves before any reply that reflects it; nothing is answered while this
//! server is not synchronised with an established leader. Answers to `NIOServerCnxn`,
//! `CommitProcessor`, `FinalRequestProcessor`.

use super::conn::{Conn, Stage, Waiting};
use super::reads::{self, Reading};
use super::relay::{Relay, RequestId};
use super::replica::{Applied, Replica};
use super::reply;
use crate::auth::{self, Identities};
use crate::base::limits::{CONN_PENDING_MAX, FRESH_CONN_MS_MAX};
use crate::base::{ConnId, Mono, Now, SessionId, Zxid};
use crate::jute::Record;
use crate::peer::{Outbox, Output};
use crate::proto::{
    AuthPacket, ConnectRequest, DecodeError, ErrorCode, OpCode, Request, RequestHeader, Response,
    WatcherEvent, perms,
};
use crate::session::{SessionIds, password};
use crate::watch::WatchTable;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// Bounds of the session timeouts a client may have, ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeoutBounds {
    /// `minSessionTimeout`.
    pub min_ms: u32,
    /// `maxSessionTimeout`.
    pub max_ms: u32,
}

/// Where the front puts what follows from an input.
#[derive(Debug)]
pub struct FrontOut<'a> {
    /// Frames and closes for clients.
    pub outbox: &'a mut Outbox,
    /// Messages for the leader, in order.
    pub relays: &'a mut Vec<Relay>,
}

/// The client side of one server process.
#[derive(Debug)]
pub struct Front {
    timeouts: TimeoutBounds,
    session_ids: SessionIds,
    serving: bool,
    conns: BTreeMap<ConnId, Conn>,
    by_session: BTreeMap<SessionId, ConnId>,
    watches: WatchTable,
    next_request: u64,
    /// Requests at the leader, and the connection that waits for each.
    asked: BTreeMap<RequestId, ConnId>,
    /// Requests whose transaction is known.
    assigned: BTreeMap<Zxid, RequestId>,
    /// Connections that may begin once this is applied.
    fenced: BTreeSet<(Zxid, ConnId)>,
    /// Connections with a confirmed sync that waits until this is applied.
    syncing: BTreeSet<(Zxid, ConnId)>,
    touched: BTreeSet<SessionId>,
    fresh: VecDeque<(Mono, ConnId)>,
}

impl Front {
    /// No connections, not serving.
    pub fn new(timeouts: TimeoutBounds, session_ids: SessionIds) -> Front {
        Front {
            timeouts,
            session_ids,
            serving: false,
            conns: BTreeMap::new(),
            by_session: BTreeMap::new(),
            watches: WatchTable::default(),
            next_request: 0,
            asked: BTreeMap::new(),
            assigned: BTreeMap::new(),
            fenced: BTreeSet::new(),
            syncing: BTreeSet::new(),
            touched: BTreeSet::new(),
            fresh: VecDeque::new(),
        }
    }

    /// This server is synchronised with an established leader: clients are welcome.
    pub fn start_serving(&mut self) {
        self.serving = true;
    }

    /// The role ended: every connection is closed, nothing waits any more. What was sent to
    /// the leader may still take effect; its clients will not learn it here.
    pub fn stop_serving(&mut self, outbox: &mut Outbox) {
        self.serving = false;
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.close(conn, outbox);
        }
        self.asked.clear();
        self.assigned.clear();
        self.fenced.clear();
        self.syncing.clear();
        self.touched.clear();
    }

    /// Number of client connections.
    pub fn conn_count(&self) -> usize {
        self.conns.len()
    }

    /// Sessions heard from since the last call.
    pub fn take_touched(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    /// When [`Front::drop_silent`] is wanted.
    pub fn deadline(&self) -> Option<Mono> {
        self.fresh.front().map(|(at, _)| *at)
    }

    /// Closes connections that never introduced themselves.
    pub fn drop_silent(&mut self, now: Now, outbox: &mut Outbox) {
        while let Some((at, conn)) = self.fresh.front().copied() {
            if at > now.mono {
                break;
            }
            self.fresh.pop_front();
            if self
                .conns
                .get(&conn)
                .is_some_and(|c| matches!(c.stage, Stage::Fresh { .. }))
            {
                self.close(conn, outbox);
            }
        }
    }

    /// A client connected.
    pub fn opened(&mut self, now: Now, conn: ConnId, addr: IpAddr) {
        let identities = Identities::of_address(addr);
        let deadline = now.mono.plus_ms(FRESH_CONN_MS_MAX);
        self.fresh.push_back((deadline, conn));
        self.conns.insert(conn, Conn::new(identities, deadline));
    }

    /// A client's connection is gone; its session lives on.
    pub fn gone(&mut self, conn: ConnId) {
        self.forget(conn);
    }

    /// A frame of a client.
    pub fn frame(&mut self, conn: ConnId, frame: Bytes, replica: &Replica, out: &mut FrontOut<'_>) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        if !self.serving {
            self.close(conn, out.outbox);
            return;
        }
        match c.stage {
            Stage::Fresh { .. } => self.handshake(conn, &frame, replica, out),
            // Paused until the handshake is through: no shell feeds a frame here.
            Stage::Handshaking { .. } | Stage::Fenced { .. } => self.close(conn, out.outbox),
            Stage::Open => self.request(conn, &frame, replica, out),
            Stage::Ending => {}
        }
    }

    fn handshake(
        &mut self,
        conn: ConnId,
        frame: &Bytes,
        replica: &Replica,
        out: &mut FrontOut<'_>,
    ) {
        let Ok(request) = ConnectRequest::from_slice(frame) else {
            self.close(conn, out.outbox);
            return;
        };
        // A server behind the client must not show it the past (GEN-zxid-ahead).
        if Zxid::from_wire(request.last_zxid_seen.max(0)) > replica.last_zxid() {
            self.close(conn, out.outbox);
            return;
        }
        let asked_ms = request.timeout_ms.max(0) as u32;
        let timeout_ms = asked_ms.clamp(self.timeouts.min_ms, self.timeouts.max_ms);
        let attach = request.session != SessionId::NONE;
        let session = if attach {
            request.session
        } else {
            self.session_ids.next(|id| replica.sessions().contains(id))
        };
        let c = self
            .conns
            .get_mut(&conn)
            .expect("frame of a known connection");
        c.read_only_byte = request.read_only.is_some();
        if attach && request.password.as_deref() != Some(&password(session)[..]) {
            let refusal = reply::refused(c.read_only_byte);
            out.outbox.push(Output::ClientSend {
                conn,
                frame: refusal,
            });
            self.close(conn, out.outbox);
            return;
        }
        // The password is right: only now may the older connection be dropped.
        if attach && let Some(older) = self.by_session.get(&session).copied() {
            self.close(older, out.outbox);
        }
        let id = self.ask(conn);
        let c = self
            .conns
            .get_mut(&conn)
            .expect("frame of a known connection");
        c.session = session;
        c.timeout_ms = timeout_ms;
        c.stage = Stage::Handshaking { id, attach };
        out.outbox.push(Output::ClientPause { conn, pause: true });
        c.paused = true;
        self.by_session.insert(session, conn);
        out.relays.push(if attach {
            Relay::Attach { id, session }
        } else {
            Relay::Open {
                id,
                session,
                timeout_ms,
            }
        });
    }

    fn request(&mut self, conn: ConnId, frame: &Bytes, replica: &Replica, out: &mut FrontOut<'_>) {
        let c = self
            .conns
            .get_mut(&conn)
            .expect("request of a known connection");
        let Ok((header, body)) = RequestHeader::split(frame) else {
            self.close(conn, out.outbox);
            return;
        };
        self.touched.insert(c.session);
        let request = match Request::decode(header.op, body) {
            Ok(request) => request,
            Err(DecodeError::Unimplemented(_)) => {
                // Answered in its turn, then the connection is closed (section 5).
                c.stage = Stage::Ending;
                let frame =
                    reply::header(header.xid, replica.last_zxid(), ErrorCode::Unimplemented);
                self.enqueue(conn, Waiting::Last(frame), out.outbox);
                self.advance(conn, replica, out);
                return;
            }
            Err(DecodeError::Marshalling(_)) if header.op == OpCode::Auth.to_wire() => {
                self.close(conn, out.outbox);
                return;
            }
            Err(error @ DecodeError::Marshalling(_)) => {
                let frame = reply::header(header.xid, replica.last_zxid(), error.code());
                self.enqueue(conn, Waiting::Answer(frame), out.outbox);
                self.advance(conn, replica, out);
                return;
            }
        };
        match request {
            Request::Auth(packet) => self.authenticate(conn, header.xid, &packet, out),
            Request::Create(_)
            | Request::Delete(_)
            | Request::SetData(_)
            | Request::SetAcl(_)
            | Request::Multi(_)
            | Request::CloseSession => self.forward(conn, header.xid, request, out),
            Request::Sync { path } => {
                let id = self.ask(conn);
                let waiting = Waiting::Sync {
                    id,
                    xid: header.xid,
                    path,
                    upto: None,
                };
                self.enqueue(conn, waiting, out.outbox);
                let session = self.conns[&conn].session;
                out.relays.push(Relay::Sync { id, session });
            }
            Request::Exists(_)
            | Request::GetData(_)
            | Request::GetAcl { .. }
            | Request::GetChildren(_)
            | Request::GetChildren2(_)
            | Request::Ping
            | Request::SetWatches(_) => {
                self.enqueue(
                    conn,
                    Waiting::Read {
                        xid: header.xid,
                        request,
                    },
                    out.outbox,
                );
                self.advance(conn, replica, out);
            }
        }
    }

    /// Sends a write to the leader, unless a sync before it is not answered yet: a write
    /// that overtook it would be visible to reads that were sent before the write.
    fn forward(&mut self, conn: ConnId, xid: i32, request: Request, out: &mut FrontOut<'_>) {
        let c = &self.conns[&conn];
        let identities = c.identities.clone();
        let held = Waiting::Held {
            xid,
            request: Box::new(request),
            identities,
        };
        self.enqueue(conn, held, out.outbox);
        self.release(conn, out);
    }

    /// Sends every held write that has no unanswered sync before it.
    fn release(&mut self, conn: ConnId, out: &mut FrontOut<'_>) {
        while let Some(c) = self.conns.get(&conn) {
            let next = c
                .queue
                .iter()
                .take_while(|waiting| !matches!(waiting, Waiting::Sync { .. }))
                .position(|waiting| matches!(waiting, Waiting::Held { .. }));
            let Some(at) = next else { return };
            let id = self.ask(conn);
            let c = self.conns.get_mut(&conn).expect("seen above");
            let Waiting::Held {
                xid,
                request,
                identities,
            } = std::mem::replace(&mut c.queue[at], Waiting::Refused)
            else {
                unreachable!("found above")
            };
            c.queue[at] = Waiting::Write {
                id,
                xid,
                reply: None,
            };
            let (session, request) = (c.session, *request);
            out.relays.push(Relay::Request {
                id,
                session,
                cxid: xid,
                identities,
                request,
            });
        }
    }

    fn authenticate(
        &mut self,
        conn: ConnId,
        xid: i32,
        packet: &AuthPacket,
        out: &mut FrontOut<'_>,
    ) {
        let c = self
            .conns
            .get_mut(&conn)
            .expect("request of a known connection");
        let result = auth::authenticate(&mut c.identities, packet);
        let code = if result.is_ok() {
            ErrorCode::Ok
        } else {
            ErrorCode::AuthFailed
        };
        out.outbox.push(Output::ClientSend {
            conn,
            frame: reply::header(xid, Zxid::ZERO, code),
        });
        if result.is_err() {
            self.close(conn, out.outbox);
        }
    }

    fn ask(&mut self, conn: ConnId) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.asked.insert(id, conn);
        id
    }

    fn enqueue(&mut self, conn: ConnId, waiting: Waiting, outbox: &mut Outbox) {
        let c = self
            .conns
            .get_mut(&conn)
            .expect("request of a known connection");
        c.queue.push_back(waiting);
        if c.queue.len() >= CONN_PENDING_MAX && !c.paused {
            c.paused = true;
            outbox.push(Output::ClientPause { conn, pause: true });
        }
    }

    /// Answers everything at the head of a connection's queue that can be answered.
    fn advance(&mut self, conn: ConnId, replica: &Replica, out: &mut FrontOut<'_>) {
        let outbox = &mut *out.outbox;
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        while let Some(head) = c.queue.pop_front() {
            match head {
                Waiting::Answer(frame)
                | Waiting::Write {
                    reply: Some(frame), ..
                } => {
                    outbox.push(Output::ClientSend { conn, frame });
                }
                Waiting::Refused => {
                    self.close(conn, outbox);
                    return;
                }
                Waiting::Last(frame) => {
                    outbox.push(Output::ClientSend { conn, frame });
                    self.close(conn, outbox);
                    return;
                }
                Waiting::Sync {
                    xid,
                    path,
                    upto: Some(upto),
                    ..
                } if upto <= replica.last_zxid() => {
                    let frame = Response::Sync { path }.frame(xid, replica.last_zxid());
                    outbox.push(Output::ClientSend { conn, frame });
                }
                Waiting::Read { xid, request } => {
                    let mut reading = Reading {
                        replica,
                        watches: &mut self.watches,
                        conn,
                        identities: &c.identities,
                    };
                    reads::answer(&mut reading, xid, &request, outbox);
                }
                waits @ (Waiting::Write { reply: None, .. }
                | Waiting::Held { .. }
                | Waiting::Sync { .. }) => {
                    c.queue.push_front(waits);
                    break;
                }
            }
        }
        if c.paused && matches!(c.stage, Stage::Open) && c.queue.len() < CONN_PENDING_MAX / 2 {
            c.paused = false;
            outbox.push(Output::ClientPause { conn, pause: false });
        }
        self.release(conn, out);
    }

    /// The leader's answer to one of this server's relays.
    pub fn relay(&mut self, relay: &Relay, replica: &Replica, out: &mut FrontOut<'_>) {
        match relay {
            Relay::Assigned { id, zxid } => {
                assert!(*zxid > replica.last_zxid(), "assigned after it was applied");
                self.assigned.insert(*zxid, *id);
            }
            Relay::Refused { id } => self.refused(*id, replica, out),
            Relay::Attached {
                id,
                timeout_ms,
                fence,
            } => {
                self.attached(*id, *timeout_ms, *fence, replica, out);
            }
            Relay::Synced { id, upto } => self.synced(*id, *upto, replica, out),
            Relay::Request { .. }
            | Relay::Open { .. }
            | Relay::Attach { .. }
            | Relay::Sync { .. }
            | Relay::Touch(_) => {}
        }
    }

    /// The leader led after it was asked. What it had committed then must be applied here
    /// before the sync is answered: this server may know of the commit and still wait for
    /// its own disk.
    fn synced(&mut self, id: RequestId, upto: Zxid, replica: &Replica, out: &mut FrontOut<'_>) {
        let Some(conn) = self.asked.remove(&id) else {
            return;
        };
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        for waiting in &mut c.queue {
            if let Waiting::Sync {
                id: other,
                upto: known,
                ..
            } = waiting
                && *other == id
            {
                *known = Some(upto);
            }
        }
        if upto > replica.last_zxid() {
            self.syncing.insert((upto, conn));
        }
        self.advance(conn, replica, out);
    }

    /// The leader took nothing of it. What came before it on the connection is still
    /// answered; then the connection is closed without an answer.
    fn refused(&mut self, id: RequestId, replica: &Replica, out: &mut FrontOut<'_>) {
        let Some(conn) = self.asked.remove(&id) else {
            return;
        };
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(waiting) = c
            .queue
            .iter_mut()
            .find(|waiting| matches!(waiting, Waiting::Write { id: other, .. } if *other == id))
        else {
            self.close(conn, out.outbox);
            return;
        };
        *waiting = Waiting::Refused;
        self.advance(conn, replica, out);
    }

    fn attached(
        &mut self,
        id: RequestId,
        timeout_ms: Option<u32>,
        fence: Zxid,
        replica: &Replica,
        out: &mut FrontOut<'_>,
    ) {
        let Some(conn) = self.asked.remove(&id) else {
            return;
        };
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(timeout_ms) = timeout_ms else {
            let frame = reply::refused(c.read_only_byte);
            out.outbox.push(Output::ClientSend { conn, frame });
            self.close(conn, out.outbox);
            return;
        };
        c.timeout_ms = timeout_ms;
        if fence > replica.last_zxid() {
            c.stage = Stage::Fenced { fence };
            self.fenced.insert((fence, conn));
        } else {
            self.welcome(conn, out);
        }
    }

    /// The handshake is through: tell the client and take what it sent meanwhile.
    fn welcome(&mut self, conn: ConnId, out: &mut FrontOut<'_>) {
        let c = self
            .conns
            .get_mut(&conn)
            .expect("welcome of a known connection");
        c.stage = Stage::Open;
        let frame = reply::connected(c.session, c.timeout_ms, c.read_only_byte);
        out.outbox.push(Output::ClientSend { conn, frame });
        self.touched.insert(c.session);
        c.paused = false;
        out.outbox.push(Output::ClientPause { conn, pause: false });
    }

    /// A transaction was applied to the replica: notifications first, then the reply.
    pub fn applied(
        &mut self,
        zxid: Zxid,
        applied: &Applied,
        replica: &Replica,
        out: &mut FrontOut<'_>,
    ) {
        for event in &applied.events {
            for conn in self.watches.trigger(event.kind, &event.path) {
                // Without READ the watch is spent and nothing is told (CVE-2024-23944).
                let allowed = self
                    .conns
                    .get(&conn)
                    .is_some_and(|c| auth::check(&event.acl, perms::READ, &c.identities).is_ok());
                if allowed {
                    let told = WatcherEvent {
                        kind: event.kind,
                        path: event.path.clone(),
                    };
                    let frame = told.frame(zxid.to_wire());
                    out.outbox.push(Output::ClientSend { conn, frame });
                }
            }
        }
        if let Some(id) = self.assigned.remove(&zxid)
            && let Some(conn) = self.asked.remove(&id)
        {
            self.answer_write(conn, id, zxid, applied, replica, out);
        }
        if let Some(session) = applied.closed_session
            && let Some(conn) = self.by_session.get(&session).copied()
        {
            self.close(conn, out.outbox);
        }
        while let Some((upto, conn)) = self.syncing.first().copied()
            && upto <= zxid
        {
            self.syncing.pop_first();
            self.advance(conn, replica, out);
        }
        while let Some((fence, conn)) = self.fenced.first().copied()
            && fence <= zxid
        {
            self.fenced.pop_first();
            if self.conns.contains_key(&conn) {
                self.welcome(conn, out);
            }
        }
    }

    fn answer_write(
        &mut self,
        conn: ConnId,
        id: RequestId,
        zxid: Zxid,
        applied: &Applied,
        replica: &Replica,
        out: &mut FrontOut<'_>,
    ) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        if matches!(c.stage, Stage::Handshaking { id: hs, .. } if hs == id) {
            self.welcome(conn, out);
            return;
        }
        for waiting in &mut c.queue {
            if let Waiting::Write {
                id: other,
                xid,
                reply,
            } = waiting
                && *other == id
            {
                *reply = Some(reply::write(*xid, zxid, applied));
            }
        }
        self.advance(conn, replica, out);
    }

    /// Tells the shell to close a connection after what was sent, and forgets it.
    fn close(&mut self, conn: ConnId, outbox: &mut Outbox) {
        if self.conns.contains_key(&conn) {
            outbox.push(Output::ClientClose { conn });
            self.forget(conn);
        }
    }

    fn forget(&mut self, conn: ConnId) {
        let Some(c) = self.conns.remove(&conn) else {
            return;
        };
        self.watches.remove_conn(conn);
        if self.by_session.get(&c.session) == Some(&conn) {
            self.by_session.remove(&c.session);
        }
        if let Stage::Fenced { fence } = c.stage {
            self.fenced.remove(&(fence, conn));
        }
        // What was asked stays in `asked`: the answer finds no connection and is dropped.
    }
}
