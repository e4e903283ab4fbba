//! One ZooKeeper session seen from the client, as a state machine.
//!
//! ```text
//!            Start                Linked              handshake answered
//!   Idle ───────────▶ Dialing ───────────▶ Greeting ───────────────────▶ Live
//!                      ▲   ▲      connection lost, deadline    │           │
//!                      │   └───────────────────────────────────┴───────────┤
//!                    Resting  (after each full round without an answer)    │
//!                                                                          ▼
//!                              expired, auth failed, closed, abandoned:  Over
//! ```
//!
//! Feed it an [`Input`] with the time, act on every [`Output`] in order, sleep until
//! [`ClientSession::deadline`], feed [`Input::Timer`]. It knows no socket, clock, task or
//! address: servers are numbers, in an order that the caller has shuffled.
//!
//! What always holds:
//!
//! * A request is sent at most once in its life. What was sent and not answered when the
//!   connection goes is [`Output::Lost`]: unknown, and never sent again (JETCD-0.8.2).
//! * On a new connection credentials go first, then every watch (in frames of bounded size,
//!   all relative to the same zxid), then requests (ZOOKEEPER-204, ZOOKEEPER-706).
//! * Replies are matched in order; one that does not fit ends the connection.
//! * `last_zxid_seen` never falls, and only replies to requests raise it: a server that is
//!   behind what this session has *read* refuses it. Answers to setWatches do not count: if
//!   they did, a connection lost between two frames would lose the changes in between.
//!
//! Answers to `ClientCnxn.java`, `protocol.md` sections 3, 4, 11 and 12.6.

mod types;
mod watches;
mod wire;

#[cfg(test)]
mod tests;

pub use types::{Input, Output, Reason, RequestId, Sent, SessionConfig, State, Watched};
pub use watches::WatchLists;

use crate::error::ClientError;
use crate::limits::CREDENTIALS_MAX;
use bytes::Bytes;
use gamekeeper_core::base::limits::FRAME_BYTES_MAX;
use gamekeeper_core::base::{Mono, SessionId, Xid, Zxid};
use gamekeeper_core::proto::{ErrorCode, Request, Response};
use std::collections::VecDeque;
use std::sync::Arc;
use watches::WatchBook;
use wire::Reply;

/// See the module's head.
#[derive(Debug)]
pub struct ClientSession {
    config: SessionConfig,
    phase: Phase,
    /// `NONE` until the first handshake is answered.
    id: SessionId,
    password: Bytes,
    /// Negotiated; what was asked for until then.
    timeout_ms: u64,
    last_zxid_seen: Zxid,
    /// The server of the current, or else the last, attempt.
    server: usize,
    /// Connections tried since a server last answered a request or ping.
    attempts: usize,
    next_xid: i32,
    /// Not sent yet; only filled while there is no connection.
    queue: VecDeque<Queued>,
    /// Sent, in the order in which answers must come.
    pending: VecDeque<Pending>,
    /// Every credential of this session, sent again on every connection.
    credentials: Vec<Credential>,
    /// Credentials of this connection without an answer, by index, oldest first.
    credentials_sent: VecDeque<usize>,
    watches: WatchBook,
    /// A closeSession was asked for: nothing may be submitted any more.
    closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Dialing { since: Mono },
    Greeting { since: Mono },
    Live { sent: Mono, heard: Mono },
    Resting { until: Mono },
    Over { state: State },
}

#[derive(Debug)]
struct Queued {
    id: RequestId,
    request: Arc<Request>,
    since: Mono,
}

#[derive(Debug)]
enum Pending {
    Request {
        id: RequestId,
        xid: Xid,
        request: Arc<Request>,
    },
    SetWatches,
}

#[derive(Debug)]
struct Credential {
    scheme: String,
    secret: Bytes,
    /// Who waits for the first answer.
    waiter: Option<RequestId>,
}

impl ClientSession {
    /// A session that does nothing until [`Input::Start`].
    ///
    /// # Panics
    ///
    /// When there is no server to talk to.
    pub fn new(config: SessionConfig) -> ClientSession {
        assert!(config.servers > 0, "a session needs a server");
        ClientSession {
            phase: Phase::Idle,
            id: SessionId::NONE,
            password: Bytes::from_static(&[0; 16]),
            timeout_ms: u64::from(config.timeout_ms),
            last_zxid_seen: Zxid::ZERO,
            server: 0,
            attempts: 0,
            next_xid: 1,
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            credentials: Vec::new(),
            credentials_sent: VecDeque::new(),
            watches: WatchBook::default(),
            closing: false,
            config,
        }
    }

    /// Requests queued or unanswered.
    pub fn outstanding(&self) -> usize {
        self.queue.len() + self.pending.len()
    }

    /// True after the last output.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over { .. })
    }

    /// When [`Input::Timer`] is next of use; `None` when only other inputs are.
    pub fn deadline(&self) -> Option<Mono> {
        let own = match self.phase {
            Phase::Idle | Phase::Over { .. } => return None,
            Phase::Dialing { since } | Phase::Greeting { since } => {
                since.plus_ms(self.connect_timeout_ms())
            }
            Phase::Live { sent, heard } => self.ping_due(sent).min(self.silence_due(heard)),
            Phase::Resting { until } => until,
        };
        let queued = self.queue.front().map(|q| q.since.plus_ms(self.timeout_ms));
        Some(queued.map_or(own, |queued| queued.min(own)))
    }

    /// One step. Outputs are appended to `out`; act on them in order.
    pub fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Output>) {
        if let Phase::Over { state } = self.phase {
            return step_over(state, input, out);
        }
        match input {
            Input::Start => {
                assert!(self.phase == Phase::Idle, "started twice");
                out.push(Output::State(State::Connecting));
                self.dial(now, out);
            }
            Input::Submit { id, request } => self.submit(now, id, Arc::new(request), out),
            Input::AddAuth { id, scheme, secret } => self.add_auth(now, id, scheme, secret, out),
            Input::Linked => self.greet(now, out),
            Input::Frame(frame) => self.frame(now, frame, out),
            Input::Disconnected => self.lose(now, Reason::Broken, out),
            Input::Timer => self.timer(now, out),
            Input::Close { id } => self.close(now, id, out),
            Input::MoveOn => {
                if matches!(self.phase, Phase::Live { .. }) {
                    self.lose(now, Reason::Broken, out);
                }
            }
            Input::Abandon => self.end(State::Closed, Reason::Closed, out),
        }
    }

    fn connect_timeout_ms(&self) -> u64 {
        (self.timeout_ms / self.config.servers as u64).max(1)
    }

    fn ping_due(&self, sent: Mono) -> Mono {
        sent.plus_ms((self.timeout_ms / 3).max(1))
    }

    fn silence_due(&self, heard: Mono) -> Mono {
        heard.plus_ms((self.timeout_ms * 2 / 3).max(1))
    }

    fn dial(&mut self, now: Mono, out: &mut Vec<Output>) {
        self.phase = Phase::Dialing { since: now };
        out.push(Output::Connect {
            server: self.server,
        });
    }

    /// The connection stands: sends the handshake.
    fn greet(&mut self, now: Mono, out: &mut Vec<Output>) {
        assert!(
            matches!(self.phase, Phase::Dialing { .. }),
            "linked without dialling"
        );
        self.phase = Phase::Greeting { since: now };
        let frame = wire::connect(
            self.last_zxid_seen,
            self.config.timeout_ms,
            self.id,
            &self.password,
        );
        let what = Sent::Connect {
            session: self.id,
            last_zxid_seen: self.last_zxid_seen,
        };
        out.push(Output::Send { frame, what });
    }

    fn frame(&mut self, now: Mono, frame: Bytes, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Greeting { .. } => self.greeted(now, frame, out),
            Phase::Live { sent, .. } => {
                self.phase = Phase::Live { sent, heard: now };
                if let Err(reason) = self.reply(frame, out) {
                    self.lose(now, reason, out);
                }
            }
            Phase::Idle | Phase::Dialing { .. } | Phase::Resting { .. } | Phase::Over { .. } => {
                unreachable!("a frame without a connection")
            }
        }
    }

    /// The handshake's answer.
    fn greeted(&mut self, now: Mono, frame: Bytes, out: &mut Vec<Output>) {
        let Ok(answer) = wire::read_connect(&frame) else {
            return self.lose(now, Reason::Garbled, out);
        };
        let reattached = self.id != SessionId::NONE;
        // A server that answers a re-attachment with another session has forgotten ours: its
        // ephemerals and watches are not this session's (CH-116690).
        if answer.timeout_ms == 0 || (reattached && answer.session != self.id) {
            return self.end(State::Expired, Reason::Expired, out);
        }
        self.id = answer.session;
        self.password = answer.password;
        self.timeout_ms = answer.timeout_ms;
        self.phase = Phase::Live {
            sent: now,
            heard: now,
        };
        out.push(Output::State(State::Connected {
            server: self.server,
            session: self.id,
            timeout_ms: self.timeout_ms,
            reattached,
        }));
        (0..self.credentials.len()).for_each(|index| self.send_credential(now, index, out));
        self.send_watches(now, out);
        while let Some(queued) = self.queue.pop_front() {
            self.send_request(now, queued.id, queued.request, out);
        }
    }

    fn send_watches(&mut self, now: Mono, out: &mut Vec<Output>) {
        let relative = self.last_zxid_seen;
        for lists in self.watches.batches() {
            let frame = wire::set_watches(relative, &lists);
            self.pending.push_back(Pending::SetWatches);
            self.send(now, frame, Sent::SetWatches { relative, lists }, out);
        }
    }

    fn send_credential(&mut self, now: Mono, index: usize, out: &mut Vec<Output>) {
        let Credential { scheme, secret, .. } = &self.credentials[index];
        let frame = wire::auth(scheme, secret);
        let what = Sent::Auth {
            scheme: scheme.clone(),
            secret: secret.clone(),
        };
        self.credentials_sent.push_back(index);
        self.send(now, frame, what, out);
    }

    fn send_request(
        &mut self,
        now: Mono,
        id: RequestId,
        request: Arc<Request>,
        out: &mut Vec<Output>,
    ) {
        let xid = Xid(self.next_xid);
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        let frame = wire::request(xid, &request);
        self.pending.push_back(Pending::Request {
            id,
            xid,
            request: request.clone(),
        });
        self.send(now, frame, Sent::Request { xid, request }, out);
    }

    fn send(&mut self, now: Mono, frame: Bytes, what: Sent, out: &mut Vec<Output>) {
        let Phase::Live { sent, .. } = &mut self.phase else {
            unreachable!("sent without a connection")
        };
        *sent = now;
        out.push(Output::Send { frame, what });
    }

    fn submit(&mut self, now: Mono, id: RequestId, request: Arc<Request>, out: &mut Vec<Output>) {
        if self.closing {
            let error = ClientError::Closed;
            return out.push(Output::Refused { id, error });
        }
        if let Err(error) = acceptable(&request) {
            return out.push(Output::Refused { id, error });
        }
        if *request == Request::CloseSession {
            return self.close(now, id, out);
        }
        match self.phase {
            Phase::Live { .. } => self.send_request(now, id, request, out),
            _ => self.queue.push_back(Queued {
                id,
                request,
                since: now,
            }),
        }
    }

    fn add_auth(
        &mut self,
        now: Mono,
        id: RequestId,
        scheme: String,
        secret: Bytes,
        out: &mut Vec<Output>,
    ) {
        if self.credentials.len() == CREDENTIALS_MAX {
            let error = ClientError::TooManyCredentials;
            return out.push(Output::Refused { id, error });
        }
        self.credentials.push(Credential {
            scheme,
            secret,
            waiter: Some(id),
        });
        if matches!(self.phase, Phase::Live { .. }) {
            self.send_credential(now, self.credentials.len() - 1, out);
        }
    }

    /// Asks the server to close the session, behind everything already sent. Without a
    /// connection there is nobody to ask, and the session is left to expire.
    fn close(&mut self, now: Mono, id: RequestId, out: &mut Vec<Output>) {
        if self.closing || !matches!(self.phase, Phase::Live { .. }) {
            let error = ClientError::Closed;
            out.push(Output::Refused { id, error });
            return self.end(State::Closed, Reason::Closed, out);
        }
        self.closing = true;
        self.send_request(now, id, Arc::new(Request::CloseSession), out);
    }

    fn timer(&mut self, now: Mono, out: &mut Vec<Output>) {
        while let Some(stale) = self
            .queue
            .pop_front_if(|q| now >= q.since.plus_ms(self.timeout_ms))
        {
            out.push(Output::Refused {
                id: stale.id,
                error: ClientError::NotSent,
            });
        }
        match self.phase {
            Phase::Idle | Phase::Over { .. } => {}
            Phase::Dialing { since } | Phase::Greeting { since } => {
                if now >= since.plus_ms(self.connect_timeout_ms()) {
                    self.lose(now, Reason::ConnectTimeout, out);
                }
            }
            Phase::Live { sent, heard } => {
                if now >= self.silence_due(heard) {
                    self.lose(now, Reason::Silence, out);
                } else if now >= self.ping_due(sent) {
                    self.send(now, wire::ping(), Sent::Ping, out);
                }
            }
            Phase::Resting { until } => {
                if now >= until {
                    self.dial(now, out);
                }
            }
        }
    }

    /// One frame of a live connection. `Err` names what ends the connection.
    fn reply(&mut self, frame: Bytes, out: &mut Vec<Output>) -> Result<(), Reason> {
        let Ok((reply, body)) = wire::read_reply(&frame) else {
            return Err(Reason::Garbled);
        };
        match reply {
            Reply::Notification { zxid } => {
                let event = wire::read_event(body).map_err(|_| Reason::Garbled)?;
                self.watches.on_event(event.kind, &event.path);
                out.push(Output::Event(Watched { zxid, event }));
            }
            Reply::Ping { zxid } => {
                self.attempts = 0;
                out.push(Output::PingAnswered { zxid });
            }
            Reply::Auth { error } => return self.auth_answered(error, out),
            Reply::SetWatches { zxid } => match self.pending.pop_front() {
                Some(Pending::SetWatches) => out.push(Output::SetWatchesAnswered { zxid }),
                Some(Pending::Request { .. }) | None => return Err(Reason::OutOfOrder),
            },
            Reply::Request { xid, zxid, error } => self.answered(xid, zxid, error, body, out)?,
        }
        Ok(())
    }

    fn auth_answered(
        &mut self,
        error: Option<ErrorCode>,
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let Some(index) = self.credentials_sent.pop_front() else {
            return Err(Reason::OutOfOrder);
        };
        let id = self.credentials[index].waiter.take();
        out.push(Output::AuthAnswered { id, error });
        if error.is_some() {
            self.end(State::AuthFailed, Reason::AuthFailed, out);
        }
        Ok(())
    }

    fn answered(
        &mut self,
        xid: Xid,
        zxid: Zxid,
        error: Option<ErrorCode>,
        body: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let fits =
            matches!(self.pending.front(), Some(Pending::Request { xid: x, .. }) if *x == xid);
        let Some(Pending::Request { id, request, .. }) = self.pending.pop_front_if(|_| fits) else {
            return Err(Reason::OutOfOrder);
        };
        let result = match error {
            Some(error) => Err(error),
            None => match wire::read_response(&request, body) {
                Ok(response) => Ok(response),
                Err(_) => {
                    // Answered, but not with anything we can tell: as good as lost.
                    out.push(Output::Lost { id, xid });
                    return Err(Reason::Garbled);
                }
            },
        };
        self.attempts = 0;
        self.last_zxid_seen = self.last_zxid_seen.max(zxid);
        self.watches.on_reply(&request, &result);
        let closed = *request == Request::CloseSession && result.is_ok();
        out.push(Output::Reply {
            id,
            xid,
            zxid,
            request,
            result,
        });
        if closed {
            self.end(State::Closed, Reason::Closed, out);
        }
        Ok(())
    }

    /// The connection is gone or given up: settles what was sent and turns to the next server.
    fn lose(&mut self, now: Mono, reason: Reason, out: &mut Vec<Output>) {
        assert!(self.has_link(), "lost a connection that was not there");
        if self.closing {
            return self.end(State::Closed, reason, out);
        }
        let was_live = matches!(self.phase, Phase::Live { .. });
        self.unlink(reason, out);
        if was_live {
            out.push(Output::State(State::Disconnected));
        }
        self.server = (self.server + 1) % self.config.servers;
        self.attempts += 1;
        if self.attempts.is_multiple_of(self.config.servers) {
            let until = now.plus_ms(u64::from(self.config.rest_ms.max(1)));
            self.phase = Phase::Resting { until };
        } else {
            self.dial(now, out);
        }
    }

    /// True while there is a connection, or an attempt at one.
    fn has_link(&self) -> bool {
        match self.phase {
            Phase::Dialing { .. } | Phase::Greeting { .. } | Phase::Live { .. } => true,
            Phase::Idle | Phase::Resting { .. } | Phase::Over { .. } => false,
        }
    }

    /// Lets go of the connection, if any: what was sent on it is lost.
    fn unlink(&mut self, reason: Reason, out: &mut Vec<Output>) {
        if self.has_link() {
            out.push(Output::Drop {
                server: self.server,
                reason,
            });
        }
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Request { id, xid, .. } => out.push(Output::Lost { id, xid }),
                Pending::SetWatches => {}
            }
        }
        self.credentials_sent.clear();
    }

    /// The end: everything that waits is told so.
    fn end(&mut self, state: State, reason: Reason, out: &mut Vec<Output>) {
        self.unlink(reason, out);
        self.phase = Phase::Over { state };
        let error = state.refusal();
        let waiters = self.credentials.iter_mut().filter_map(|c| c.waiter.take());
        for id in self.queue.drain(..).map(|q| q.id).chain(waiters) {
            out.push(Output::Refused { id, error });
        }
        out.push(Output::State(state));
    }
}

/// After the end everything is refused; late news from a connection is ignored.
fn step_over(state: State, input: Input, out: &mut Vec<Output>) {
    match input {
        Input::Submit { id, .. } | Input::AddAuth { id, .. } | Input::Close { id } => {
            let error = state.refusal();
            out.push(Output::Refused { id, error });
        }
        Input::Start
        | Input::Linked
        | Input::Frame(_)
        | Input::Disconnected
        | Input::Timer
        | Input::MoveOn
        | Input::Abandon => {}
    }
}

/// Refuses what may not, or cannot, be sent as a request.
fn acceptable(request: &Request) -> Result<(), ClientError> {
    match request {
        Request::Ping | Request::Auth(_) | Request::SetWatches(_) => {
            return Err(ClientError::NotARequest);
        }
        Request::Create(_)
        | Request::Delete(_)
        | Request::Exists(_)
        | Request::GetData(_)
        | Request::SetData(_)
        | Request::GetAcl { .. }
        | Request::SetAcl(_)
        | Request::GetChildren(_)
        | Request::GetChildren2(_)
        | Request::Sync { .. }
        | Request::Multi(_)
        | Request::CloseSession => {}
    }
    if wire::frame_bytes(request) > FRAME_BYTES_MAX {
        return Err(ClientError::TooLarge);
    }
    Ok(())
}

/// What a request's caller gets in the end.
pub type Outcome = Result<(Zxid, Response), ClientError>;
