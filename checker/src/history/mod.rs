//! A recorded history: what every client asked, was told, and when.
//!
//! A history is a flat sequence of records in the order in which the recording process
//! observed them. It is not sorted by zxid and says nothing about what servers did: only
//! what clients saw. Always true of a sound recording: times never fall within one
//! process, and the order of records of one process is the order in which that client
//! sent and received.
//!
//! Answers to: `consistency.md` sections 3.1 and 4; the shape of a line follows Jepsen's
//! (invoke, ok, fail, info).

mod binary;
mod digest;
mod json;
mod op;
mod reader;
mod value;

use std::sync::Arc;

pub use binary::{BinaryWriter, write_binary};
pub use digest::digest_identity;
pub use json::{LINE_BYTES_MAX, Writer, write};
pub use op::{Acl, Answer, ErrorCode, Identity, Lapse, Op, Stat, SubAnswer, WatchKind, WatchMode};
pub(crate) use reader::BYTE_ORDER_MARK;
pub use reader::{Batch, Entry, ReadError, Reader, read, read_each};
pub use value::Value;

/// A path or a child's name, shared cheaply.
pub type Path = Arc<str>;

/// The version of the format that this crate writes.
pub const FORMAT_VERSION: u32 = 1;

/// A whole history in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// What holds for the history as a whole.
    pub header: Header,
    /// Every record, in the order observed by the recorder.
    pub records: Vec<Record>,
    /// What the servers' own log says, if it was imported: a witness for what no client was
    /// told, never the truth.
    pub txns: Vec<Txn>,
}

impl History {
    /// An empty history.
    pub fn new(header: Header) -> Self {
        History {
            header,
            records: Vec::new(),
            txns: Vec::new(),
        }
    }

    /// True if the header vouches that [`History::txns`] is every transaction committed.
    pub fn log_is_whole(&self) -> bool {
        self.header.txns == Some(self.txns.len() as u64)
    }

    /// All there is, in the order in which a judge of one pass can use it: each transaction of
    /// the servers' log before the first record that shows its zxid or a greater one.
    pub(crate) fn interleaved(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut txns = self.txns.iter().peekable();
        let mut records = self.records.iter().peekable();
        std::iter::from_fn(move || {
            let shown = records.peek().map_or(i64::MAX, |record| record.shows());
            match txns.next_if(|txn| txn.zxid <= shown) {
                Some(txn) => Some(Piece::Txn(txn)),
                None => records.next().map(Piece::Record),
            }
        })
    }

    /// Appends one observation: at `time` (nanoseconds since the recorder's origin) client
    /// object `process` saw `body`. Call it in the order of observation.
    pub fn push(&mut self, process: u32, time: u64, body: Body) {
        self.records.push(Record {
            process,
            time,
            server: None,
            body,
        });
    }

    /// As [`History::push`], naming the server the client was talking to.
    pub fn push_at(&mut self, process: u32, time: u64, server: u32, body: Body) {
        self.records.push(Record {
            process,
            time,
            server: Some(server),
            body,
        });
    }
}

/// One line of a history, or entry of a block.
pub(crate) enum Piece<'h> {
    Record(&'h Record),
    Txn(&'h Txn),
}

/// What holds for a history as a whole; the first line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Greatest error of the recorded times, nanoseconds; 0 when one process recorded all.
    pub clock_error_ns: u64,
    /// Whether all clients of the service are in the history.
    pub world: World,
    /// What the service promises for `sync`.
    pub sync: SyncPromise,
    /// The servers' tick, milliseconds.
    pub tick_ms: u64,
    /// How many ticks a follower may be silent before its leader drops it.
    pub sync_limit: u64,
    /// Smallest session timeout the servers grant, milliseconds.
    pub timeout_ms_min: u64,
    /// Largest session timeout the servers grant, milliseconds.
    pub timeout_ms_max: u64,
    /// How much faster than the recorder's clock a server's may run, parts per million.
    /// Early expiry (P14) is judged with this tolerance.
    pub clock_drift_ppm: u64,
    /// How long a container that never had a child stays at least, milliseconds; 0 for ever
    /// (the servers' `znode.container.maxNeverUsedIntervalMs`).
    pub container_unused_ms: u64,
    /// The tree before the first record.
    pub start: Start,
    /// How many transactions were committed, if all of them are in [`History::txns`]; one that
    /// was cut off in between does not have so many.
    pub txns: Option<u64>,
}

impl Default for Header {
    fn default() -> Self {
        Header {
            clock_error_ns: 0,
            world: World::Closed,
            sync: SyncPromise::Quorum,
            tick_ms: 2000,
            sync_limit: 5,
            timeout_ms_min: 4000,
            timeout_ms_max: 40_000,
            clock_drift_ppm: 0,
            container_unused_ms: 0,
            start: Start::Fresh,
            txns: None,
        }
    }
}

/// Whether all clients of the service are in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum World {
    /// Every client was recorded, and the start state is known: every change needs a cause.
    #[default]
    Closed,
    /// Others may write too: an unexplained change is somebody else's.
    Open,
}

/// What the service promises for `sync` (property P8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPromise {
    /// Confirmed by a quorum: a read after it sees every write answered before it was called.
    #[default]
    Quorum,
    /// ZooKeeper's: answered by the leader alone, which may have been deposed unawares.
    Leader,
    /// Nothing, which is what ZooKeeper's leader gives its own clients: it answers them from
    /// what it has applied, and a follower may have applied, and told, more.
    None,
}

/// The tree before the first record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// A new ensemble: `/`, `/zookeeper`, `/zookeeper/quota`, `/zookeeper/config`, no
    /// session, no transaction.
    #[default]
    Fresh,
    /// As new, and these nodes besides (parents before children), as of the given zxid.
    Nodes {
        /// The last transaction before the history.
        zxid: i64,
        /// Nodes beside the four of a fresh tree; one of those four named here replaces it.
        nodes: Vec<StartNode>,
    },
}

/// One node of a given start state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartNode {
    /// Absolute path.
    pub path: Path,
    /// Bytes, or null.
    pub data: Option<Value>,
    /// The node's Stat as a client would read it.
    pub stat: Stat,
    /// The node's ACL; empty means open to the world.
    pub acl: Vec<Acl>,
    /// How it goes by the servers' own doing, if it does.
    pub lapse: Option<Lapse>,
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The client object: one connection at a time, one session after another.
    pub process: u32,
    /// Nanoseconds since the recorder's origin.
    pub time: u64,
    /// The server the client was talking to, where known.
    pub server: Option<u32>,
    /// What was observed.
    pub body: Body,
}

impl Record {
    /// The zxid that it tells, if it does; else one that nothing has.
    fn shows(&self) -> i64 {
        match self.body {
            Body::Return { zxid, .. } | Body::Notify { zxid, .. } => zxid,
            Body::Invoke { .. }
            | Body::Lost { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => i64::MIN,
        }
    }
}

/// One transaction as the servers' log has it: which request stands at which zxid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn {
    /// Its place in the order.
    pub zxid: i64,
    /// The session that asked, or that is opened or closed.
    pub session: i64,
    /// The request's number; says nothing where a server acted by itself.
    pub xid: i32,
    /// Its kind.
    pub kind: TxnKind,
}

/// What kind of transaction the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnKind {
    /// A session began (createSession).
    Open,
    /// A session ended (closeSession), by its client or by expiry.
    Close,
    /// A write that took effect.
    Write,
    /// A write that was refused (an error transaction).
    Refused,
}

impl TxnKind {
    /// The name in the format.
    pub fn name(self) -> &'static str {
        match self {
            TxnKind::Open => "open",
            TxnKind::Close => "close",
            TxnKind::Write => "write",
            TxnKind::Refused => "refused",
        }
    }

    /// By the name in the format.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [
            TxnKind::Open,
            TxnKind::Close,
            TxnKind::Write,
            TxnKind::Refused,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A request was handed to the client's connection. Exactly one [`Body::Return`] or
    /// [`Body::Lost`] with the same process and xid follows, or the history ends before.
    Invoke {
        /// Session id; 0 while the client has none yet.
        session: i64,
        /// The request's number, unique within process and session.
        xid: i32,
        /// What was asked.
        op: Op,
    },
    /// A request was answered.
    Return {
        /// Number of the request.
        xid: i32,
        /// The reply header's zxid.
        zxid: i64,
        /// The answer, or the error code.
        result: Result<Answer, ErrorCode>,
    },
    /// The client gave a request up: whether it took effect is not known and never will be.
    Lost {
        /// Number of the request.
        xid: i32,
    },
    /// A watch notification arrived.
    Notify {
        /// The header's zxid: the triggering transaction, or -1 where the server does not say.
        zxid: i64,
        /// The event type.
        event: EventType,
        /// The event's path.
        path: Path,
    },
    /// Something happened to the client's session or connection.
    Session(SessionEvent),
    /// A ping was answered (at the record's time); it was sent at `sent`.
    Ping {
        /// When it was sent, nanoseconds since the recorder's origin.
        sent: u64,
    },
    /// From here on the cluster is healed and the final reads begin.
    Final,
}

/// Type of a watch event, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// 1
    NodeCreated,
    /// 2
    NodeDeleted,
    /// 3
    NodeDataChanged,
    /// 4
    NodeChildrenChanged,
}

impl EventType {
    /// ZooKeeper's name.
    pub fn name(self) -> &'static str {
        match self {
            EventType::NodeCreated => "NodeCreated",
            EventType::NodeDeleted => "NodeDeleted",
            EventType::NodeDataChanged => "NodeDataChanged",
            EventType::NodeChildrenChanged => "NodeChildrenChanged",
        }
    }

    /// By ZooKeeper's name.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "NodeCreated" => EventType::NodeCreated,
            "NodeDeleted" => EventType::NodeDeleted,
            "NodeDataChanged" => EventType::NodeDataChanged,
            "NodeChildrenChanged" => EventType::NodeChildrenChanged,
            _ => return None,
        })
    }

    /// By number on the wire.
    pub fn of_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => EventType::NodeCreated,
            2 => EventType::NodeDeleted,
            3 => EventType::NodeDataChanged,
            4 => EventType::NodeChildrenChanged,
            _ => return None,
        })
    }
}

/// What happened to a client's session or connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The client sent a ConnectRequest.
    Connecting {
        /// Session to re-attach to; 0 asks for a new one.
        session: i64,
        /// lastZxidSeen in the request.
        last_zxid_seen: i64,
    },
    /// A valid ConnectResponse arrived.
    Connected {
        /// The session's id.
        session: i64,
        /// Negotiated timeout, milliseconds.
        timeout_ms: u64,
        /// True if the session existed before.
        reattached: bool,
        /// The client's address as the server sees it, for ACLs of scheme `ip`; None if not
        /// known (such ACLs then judge nothing).
        address: Option<Arc<str>>,
    },
    /// The connection broke, or the client gave it up. Requests under way get their own
    /// [`Body::Lost`].
    Disconnected,
    /// The server answered that the session is gone (timeout 0).
    Expired {
        /// The session that was asked for.
        session: i64,
    },
    /// The client gave the session up without asking the server to close it; it will expire.
    Abandoned {
        /// The session that was left.
        session: i64,
    },
    /// The client re-registered its watches (one frame of possibly several).
    SetWatches {
        /// relativeZxid of the request.
        relative_zxid: i64,
        /// Data watches.
        data: Vec<Path>,
        /// Exists watches on absent nodes.
        exist: Vec<Path>,
        /// Child watches.
        child: Vec<Path>,
        /// Watches that stay (setWatches2), the recursive ones last.
        stays: Vec<(Path, WatchMode)>,
    },
    /// The oldest unanswered [`SessionEvent::SetWatches`] of this connection was answered.
    SetWatchesDone {
        /// The reply header's zxid.
        zxid: i64,
    },
    /// From here until the connection ends, what the client is told through watches is not
    /// recorded, and so nothing is asked of them: it registers or removes them by requests that
    /// a history has no word for.
    WatchesLeftOut,
    /// The client sent an auth packet that adds this identity.
    Auth {
        /// The identity as ACLs name it (digest: `user:base64(sha1(user:password))`, see
        /// [`digest_identity`]), never the secret itself.
        identity: Identity,
    },
    /// The oldest unanswered auth packet of this connection was answered.
    AuthDone {
        /// True if the identity was added; false if refused (the connection closes).
        ok: bool,
    },
}
