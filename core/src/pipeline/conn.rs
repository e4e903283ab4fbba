//! One client connection of this server: handshake state and the FIFO of its requests.
//!
//! What always holds: answers leave in the order the requests came (`ping` included, `auth`
//! excepted, which is answered at once as ZooKeeper does); a read is evaluated only when
//! everything before it is answered.

use super::relay::RequestId;
use crate::auth::Identities;
use crate::base::{Mono, SessionId, Zxid};
use crate::proto::Request;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// How far a connection is.
#[derive(Debug)]
pub enum Stage {
    /// Nothing came yet; dropped at the instant.
    Fresh {
        /// When it is given up.
        deadline: Mono,
    },
    /// Waits for a new session's transaction, or for the leader's word on an old one.
    Handshaking {
        /// The request at the leader.
        id: RequestId,
        /// True for a re-attachment.
        attach: bool,
    },
    /// Attached, but this server has not applied everything up to the fence yet.
    Fenced {
        /// Where it may begin.
        fence: Zxid,
    },
    /// Serving.
    Open,
    /// Closed after its last answer; takes nothing more.
    Ending,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub enum Waiting {
    /// To be evaluated when it reaches the head.
    Read {
        /// Its number on the connection.
        xid: i32,
        /// What to read.
        request: Request,
    },
    /// A write that may not be sent before the sync in front of it is answered.
    Held {
        /// Its number on the connection.
        xid: i32,
        /// What to write.
        request: Box<Request>,
        /// As whom.
        identities: Identities,
    },
    /// Sent to the leader.
    Write {
        /// Its number at this server.
        id: RequestId,
        /// Its number on the connection.
        xid: i32,
        /// The answer, once the transaction is applied.
        reply: Option<Bytes>,
    },
    /// Sent to the leader.
    Sync {
        /// Its number at this server.
        id: RequestId,
        /// Its number on the connection.
        xid: i32,
        /// Echoed.
        path: Arc<str>,
        /// Confirmed: answered once this is applied here.
        upto: Option<Zxid>,
    },
    /// An answer that was known at once and waits for its turn.
    Answer(Bytes),
    /// Not taken by the leader: the connection is closed when its turn comes.
    Refused,
    /// As `Answer`, and then the connection is closed.
    Last(Bytes),
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// How far it is.
    pub stage: Stage,
    /// Its session, [`SessionId::NONE`] before the handshake.
    pub session: SessionId,
    /// Negotiated timeout, ms.
    pub timeout_ms: u32,
    /// Whether the client's handshake carried the read-only byte (so must the answer).
    pub read_only_byte: bool,
    /// Who the client is.
    pub identities: Identities,
    /// Unanswered requests, oldest first.
    pub queue: VecDeque<Waiting>,
    /// The shell was told not to read.
    pub paused: bool,
}

impl Conn {
    /// A connection that has said nothing yet.
    pub fn new(identities: Identities, deadline: Mono) -> Conn {
        Conn {
            stage: Stage::Fresh { deadline },
            session: SessionId::NONE,
            timeout_ms: 0,
            read_only_byte: false,
            identities,
            queue: VecDeque::new(),
            paused: false,
        }
    }
}
