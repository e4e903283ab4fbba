//! What goes into a [`ClientSession`](super::ClientSession) and what comes out of it.

use super::WatchLists;
use crate::error::ClientError;
use bytes::Bytes;
use gamekeeper_core::base::{SessionId, Xid, Zxid};
use gamekeeper_core::proto::{ErrorCode, Request, Response, WatcherEvent};
use std::sync::Arc;

/// How a session behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionConfig {
    /// How many servers there are to choose from.
    pub servers: usize,
    /// The session timeout to ask for, milliseconds.
    pub timeout_ms: u32,
    /// Pause after every server was tried once and none answered, milliseconds.
    pub rest_ms: u32,
}

/// A request's number between the session and its caller; never on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RequestId(pub u64);

/// What happens to a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Begin to connect. Once.
    Start,
    /// Send a request, now or once there is a connection.
    Submit {
        /// Comes back with the outcome.
        id: RequestId,
        /// What to ask.
        request: Request,
    },
    /// Add a credential to this and every later connection.
    AddAuth {
        /// Comes back with the first answer.
        id: RequestId,
        /// `digest`, …
        scheme: String,
        /// `user:password`, …
        secret: Bytes,
    },
    /// The connection that [`Output::Connect`] asked for stands.
    Linked,
    /// A frame came, without its length.
    Frame(Bytes),
    /// The connection broke, or could not be had.
    Disconnected,
    /// The deadline has come (harmless when it has not).
    Timer,
    /// Close the session at the server.
    Close {
        /// Comes back with the outcome.
        id: RequestId,
    },
    /// Leave this server for the next one, with the session; without a connection nothing.
    MoveOn,
    /// Leave without a word; the session will expire by itself.
    Abandon,
}

/// What a session wants done, or wants known. In this order things happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect to a server; answer with [`Input::Linked`] or [`Input::Disconnected`].
    Connect {
        /// Which, by its place in the caller's order.
        server: usize,
    },
    /// Put bytes on the connection (length included).
    Send {
        /// The bytes.
        frame: Bytes,
        /// What they are.
        what: Sent,
    },
    /// Let go of the connection (or of the attempt), also when it broke by itself.
    Drop {
        /// Whose.
        server: usize,
        /// Why.
        reason: Reason,
    },
    /// A request was answered.
    Reply {
        /// Whose.
        id: RequestId,
        /// Its number on the wire.
        xid: Xid,
        /// The header's zxid.
        zxid: Zxid,
        /// What had been asked.
        request: Arc<Request>,
        /// The answer.
        result: Result<Response, ErrorCode>,
    },
    /// A request was sent and will never be answered: its outcome is unknown.
    Lost {
        /// Whose.
        id: RequestId,
        /// Its number on the wire.
        xid: Xid,
    },
    /// A request was never sent and will not be.
    Refused {
        /// Whose.
        id: RequestId,
        /// Why.
        error: ClientError,
    },
    /// A credential was answered.
    AuthAnswered {
        /// Who waits for it; `None` when it was answered on an earlier connection.
        id: Option<RequestId>,
        /// `None` when it was accepted.
        error: Option<ErrorCode>,
    },
    /// The oldest unanswered setWatches frame was answered.
    SetWatchesAnswered {
        /// The header's zxid.
        zxid: Zxid,
    },
    /// The oldest unanswered ping was answered.
    PingAnswered {
        /// The header's zxid.
        zxid: Zxid,
    },
    /// A watch fired.
    Event(Watched),
    /// The state changed.
    State(State),
}

/// What a frame to the server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The handshake.
    Connect {
        /// The session to re-attach to, or `NONE` for a new one.
        session: SessionId,
        /// What the server must have caught up with.
        last_zxid_seen: Zxid,
    },
    /// A request.
    Request {
        /// Its number.
        xid: Xid,
        /// What is asked.
        request: Arc<Request>,
    },
    /// Watches registered anew.
    SetWatches {
        /// What the client has seen.
        relative: Zxid,
        /// The watches.
        lists: WatchLists,
    },
    /// A credential.
    Auth {
        /// `digest`, …
        scheme: String,
        /// `user:password`, …
        secret: Bytes,
    },
    /// A sign of life.
    Ping,
}

/// Why a connection was let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It broke, or could not be had, or was left for another. A server that lags behind this
    /// session, or serves nobody at the moment, shows itself so.
    Broken,
    /// It, or the answer to the handshake, did not come in time.
    ConnectTimeout,
    /// Nothing was heard for two thirds of the session timeout.
    Silence,
    /// A frame could not be understood.
    Garbled,
    /// An answer nobody waited for at that point.
    OutOfOrder,
    /// The session has expired.
    Expired,
    /// A credential was refused.
    AuthFailed,
    /// The session was closed or abandoned.
    Closed,
}

/// A watch event as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// The header's zxid as on the wire: the transaction's, or -1 when the server does not say.
    pub zxid: i64,
    /// Type and path.
    pub event: WatcherEvent,
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Looking for the first connection.
    Connecting,
    /// Attached to a server.
    Connected {
        /// Which, by its place in the caller's order.
        server: usize,
        /// The session's id.
        session: SessionId,
        /// Negotiated timeout, milliseconds.
        timeout_ms: u64,
        /// True when the session existed before.
        reattached: bool,
    },
    /// The connection is lost, the session perhaps not; looking for another.
    Disconnected,
    /// A server said that the session is gone. The end.
    Expired,
    /// A credential was refused. The end of this object, not of the session.
    AuthFailed,
    /// Closed by its own side, or abandoned. The end.
    Closed,
}

impl State {
    /// True for the three ends.
    pub fn is_over(self) -> bool {
        match self {
            State::Connecting | State::Connected { .. } | State::Disconnected => false,
            State::Expired | State::AuthFailed | State::Closed => true,
        }
    }

    /// What a request is told that comes too late for this state.
    pub(crate) fn refusal(self) -> ClientError {
        match self {
            State::Expired => ClientError::SessionExpired,
            State::AuthFailed => ClientError::AuthFailed,
            State::Connecting | State::Connected { .. } | State::Disconnected | State::Closed => {
                ClientError::Closed
            }
        }
    }
}
