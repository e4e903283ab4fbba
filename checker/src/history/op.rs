//! Requests and answers as a client sees them.
//!
//! Plain data with ZooKeeper's fields; nothing in here decides anything. Paths are as the
//! client sent them, absolute and without chroot.
//!
//! Answers to: `protocol.md` sections 5 to 9 and 13.

use super::{Path, Value};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// create, or create2 when `stat` is set.
    Create {
        /// The path as sent, without the sequence suffix.
        path: Path,
        /// Bytes, or null.
        data: Option<Value>,
        /// ACL as sent.
        acl: Arc<[Acl]>,
        /// To be removed with the session.
        ephemeral: bool,
        /// To be removed by the servers themselves; never an ephemeral.
        lapse: Option<Lapse>,
        /// The server appends the parent's create counter.
        sequential: bool,
        /// create2: the answer carries a Stat.
        stat: bool,
    },
    /// delete
    Delete {
        /// Path.
        path: Path,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// exists
    Exists {
        /// Path.
        path: Path,
        /// Register a one-shot watch.
        watch: bool,
    },
    /// getData
    Get {
        /// Path.
        path: Path,
        /// Register a one-shot watch.
        watch: bool,
    },
    /// setData
    Set {
        /// Path.
        path: Path,
        /// Bytes, or null.
        data: Option<Value>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// getChildren, or getChildren2 when `stat` is set.
    Children {
        /// Path.
        path: Path,
        /// Register a one-shot watch.
        watch: bool,
        /// getChildren2: the answer carries a Stat.
        stat: bool,
    },
    /// getACL
    GetAcl {
        /// Path.
        path: Path,
    },
    /// setACL
    SetAcl {
        /// Path.
        path: Path,
        /// The new ACL as sent.
        acl: Arc<[Acl]>,
        /// Expected aversion, -1 for any.
        version: i32,
    },
    /// check; inside a multi only.
    Check {
        /// Path.
        path: Path,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// sync
    Sync {
        /// Path (without meaning).
        path: Path,
    },
    /// addWatch: a watch that stays when it fires.
    AddWatch {
        /// Path, of a node that need not be there.
        path: Path,
        /// What it waits for.
        mode: WatchMode,
    },
    /// removeWatches
    RemoveWatches {
        /// Path.
        path: Path,
        /// Which of those there.
        watches: WatchKind,
    },
    /// multi: create, delete, set, check; all or nothing.
    Multi {
        /// The parts, in order.
        ops: Vec<Op>,
    },
    /// closeSession
    Close,
}

impl Op {
    /// The operation's name in the format, which is also how reports call it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Create { stat: false, .. } => "create",
            Op::Create { stat: true, .. } => "create2",
            Op::Delete { .. } => "delete",
            Op::Exists { .. } => "exists",
            Op::Get { .. } => "get",
            Op::Set { .. } => "set",
            Op::Children { stat: false, .. } => "children",
            Op::Children { stat: true, .. } => "children2",
            Op::GetAcl { .. } => "get_acl",
            Op::SetAcl { .. } => "set_acl",
            Op::Check { .. } => "check",
            Op::Sync { .. } => "sync",
            Op::AddWatch { .. } => "add_watch",
            Op::RemoveWatches { .. } => "remove_watches",
            Op::Multi { .. } => "multi",
            Op::Close => "close",
        }
    }

    /// What is done at once: the parts of a multi, or else the operation itself. Readers refuse
    /// a multi within a multi.
    pub fn parts(&self) -> &[Op] {
        match self {
            Op::Multi { ops } => ops,
            single => std::slice::from_ref(single),
        }
    }

    /// The path asked about; none for multi and close.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Op::Create { path, .. }
            | Op::Delete { path, .. }
            | Op::Exists { path, .. }
            | Op::Get { path, .. }
            | Op::Set { path, .. }
            | Op::Children { path, .. }
            | Op::GetAcl { path }
            | Op::SetAcl { path, .. }
            | Op::Check { path, .. }
            | Op::Sync { path }
            | Op::AddWatch { path, .. }
            | Op::RemoveWatches { path, .. } => Some(path),
            Op::Multi { .. } | Op::Close => None,
        }
    }

    /// True if the request becomes a transaction with a zxid of its own (also when it fails).
    pub fn is_transaction(&self) -> bool {
        match self {
            Op::Create { .. }
            | Op::Delete { .. }
            | Op::Set { .. }
            | Op::SetAcl { .. }
            | Op::Check { .. }
            | Op::Multi { .. }
            | Op::Close => true,
            Op::Exists { .. }
            | Op::Get { .. }
            | Op::Children { .. }
            | Op::GetAcl { .. }
            | Op::Sync { .. }
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. } => false,
        }
    }

    /// True if it says which watches there shall be, and nothing else.
    pub fn arranges_watches(&self) -> bool {
        matches!(self, Op::AddWatch { .. } | Op::RemoveWatches { .. })
    }

    /// True if nothing of the tree decides the answer: what the path names need not be there,
    /// and nobody is asked for leave.
    pub fn asks_no_node(&self) -> bool {
        self.arranges_watches() || matches!(self, Op::Sync { .. })
    }
}

/// What a watch that stays waits for (`AddWatchMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchMode {
    /// 0: for all that happens to the node and to the list of its children.
    Persistent,
    /// 1: for all that happens to the node and to every node below it, but not to lists.
    Recursive,
}

impl WatchMode {
    /// The name in the format.
    pub fn name(self) -> &'static str {
        match self {
            WatchMode::Persistent => "persistent",
            WatchMode::Recursive => "recursive",
        }
    }

    /// By the name in the format.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [WatchMode::Persistent, WatchMode::Recursive];
        all.into_iter().find(|mode| mode.name() == name)
    }

    /// Those of a list that are of this mode.
    pub fn among(self, stays: &[(Path, WatchMode)]) -> impl Iterator<Item = &Path> {
        let own = stays.iter().filter(move |(_, mode)| *mode == self);
        own.map(|(path, _)| path)
    }

    /// One list of two, the recursive ones last.
    pub fn join(persistent: Vec<Path>, recursive: Vec<Path>) -> Vec<(Path, WatchMode)> {
        let persistent = persistent
            .into_iter()
            .map(|path| (path, WatchMode::Persistent));
        let recursive = recursive
            .into_iter()
            .map(|path| (path, WatchMode::Recursive));
        persistent.chain(recursive).collect()
    }

    /// By number on the wire.
    pub fn of_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(WatchMode::Persistent),
            1 => Some(WatchMode::Recursive),
            _ => None,
        }
    }
}

/// Which watches on a path are taken away (`WatcherType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// 1: those of getChildren; before 3.9 whatever waits for changes of the list.
    Children,
    /// 2: those of getData and exists; before 3.9 whatever waits for changes of the node.
    Data,
    /// 3: all.
    Any,
    /// 4, since 3.9: those of addWatch that are not recursive.
    Persistent,
    /// 5, since 3.9: those of addWatch that are.
    Recursive,
}

impl WatchKind {
    const ALL: [WatchKind; 5] = [
        WatchKind::Children,
        WatchKind::Data,
        WatchKind::Any,
        WatchKind::Persistent,
        WatchKind::Recursive,
    ];

    /// The name in the format.
    pub fn name(self) -> &'static str {
        match self {
            WatchKind::Children => "children",
            WatchKind::Data => "data",
            WatchKind::Any => "any",
            WatchKind::Persistent => "persistent",
            WatchKind::Recursive => "recursive",
        }
    }

    /// By the name in the format.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32 + 1
    }

    /// By number on the wire.
    pub fn of_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// How a node goes by the servers' own doing, told to nobody (`ContainerManager`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// createContainer: it may go once it has had a child and has none.
    Container,
    /// createTTL: it may go while it has no child, so many milliseconds after it was made or
    /// set last. 1 to [`Lapse::TTL_MS_MAX`]; of a start node also 0, where nobody could tell
    /// what kind of node it is, or for how long it stays.
    Ttl(u64),
}

impl Lapse {
    /// The longest time to live that a server takes, milliseconds: forty bits.
    pub const TTL_MS_MAX: u64 = (1 << 40) - 1;

    /// Both, as a history may name them.
    ///
    /// # Errors
    /// Which field is wrong, and why.
    pub(crate) fn of_fields(
        ephemeral: bool,
        container: bool,
        ttl_ms: Option<u64>,
    ) -> Result<Option<Lapse>, (&'static str, &'static str)> {
        match (container, ttl_ms) {
            (false, None) => Ok(None),
            (_, _) if ephemeral => Err(("ephemeral", "a container or TTL node is no ephemeral")),
            (true, None) => Ok(Some(Lapse::Container)),
            (true, Some(_)) => Err(("ttl_ms", "a container has no time to live")),
            (false, Some(1..=Lapse::TTL_MS_MAX)) => Ok(ttl_ms.map(Lapse::Ttl)),
            (false, Some(_)) => Err(("ttl_ms", "expected 1 to 1099511627775")),
        }
    }

    /// The time to live, milliseconds; a container has none.
    pub fn ttl_ms(self) -> Option<u64> {
        match self {
            Lapse::Container => None,
            Lapse::Ttl(ttl_ms) => Some(ttl_ms),
        }
    }

    /// The number that servers keep as the owner of such a node. Clients are shown 0, but by
    /// servers that show what they keep (`EphemeralType`).
    pub fn owner(self) -> i64 {
        match self {
            Lapse::Container => i64::MIN,
            Lapse::Ttl(ttl_ms) => (0xff00_u64 << 48 | ttl_ms) as i64,
        }
    }
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: delete, close, check, addWatch, removeWatches; sync too, whose path says nothing.
    Done,
    /// create: the path made.
    Path(Path),
    /// create2: the path made and its Stat.
    Created {
        /// The path made.
        path: Path,
        /// Its Stat.
        stat: Stat,
    },
    /// exists, setData, setACL.
    Stat(Stat),
    /// getData
    Data {
        /// Bytes, or null.
        data: Option<Value>,
        /// The node's Stat.
        stat: Stat,
    },
    /// getChildren: names in any order.
    Names(Vec<Path>),
    /// getChildren2
    NamesStat {
        /// Names in any order.
        names: Vec<Path>,
        /// The parent's Stat.
        stat: Stat,
    },
    /// getACL
    Acl {
        /// The ACL as shown to this client.
        acl: Vec<Acl>,
        /// The node's Stat.
        stat: Stat,
    },
    /// multi, successful or not: a failed multi has an error in each part.
    Multi(Vec<SubAnswer>),
}

/// The result of one part of a multi: an answer, or the code of an error result (0 before
/// the part that failed, its own code there, -2 after).
pub type SubAnswer = Result<Answer, ErrorCode>;

/// A znode's Stat as a client reads it (`cversion` is the reported one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(expecting = "an object of a Stat's eleven fields")]
pub struct Stat {
    /// zxid of the create.
    pub czxid: i64,
    /// zxid of the last create or setData.
    pub mzxid: i64,
    /// Wall clock of the create, milliseconds.
    pub ctime: i64,
    /// Wall clock of the last create or setData, milliseconds.
    pub mtime: i64,
    /// setData since the create.
    pub version: i32,
    /// Creates and deletes of children: twice the creates less the children.
    pub cversion: i32,
    /// setACL since the create.
    pub aversion: i32,
    /// Owning session, 0 for a node that stays.
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// Children.
    pub num_children: i32,
    /// zxid of the last create or delete of a child, or of the own create.
    pub pzxid: i64,
}

/// Who somebody is, in one authentication scheme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `world`, `auth`, `digest`, `ip`, ...
    pub scheme: Arc<str>,
    /// The name in that scheme.
    pub id: Arc<str>,
}

impl Identity {
    /// From two texts.
    pub fn new(scheme: &str, id: &str) -> Self {
        Identity {
            scheme: scheme.into(),
            id: id.into(),
        }
    }
}

/// One entry of an ACL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    /// READ 1, WRITE 2, CREATE 4, DELETE 8, ADMIN 16.
    pub perms: i32,
    /// To whom.
    pub identity: Identity,
}

static OPEN: LazyLock<Arc<[Acl]>> = LazyLock::new(|| Arc::from([Acl::new(31, "world", "anyone")]));

impl Acl {
    /// From numbers and texts.
    pub fn new(perms: i32, scheme: &str, id: &str) -> Self {
        Acl {
            perms,
            identity: Identity::new(scheme, id),
        }
    }

    /// OPEN_ACL_UNSAFE: everything to everybody.
    pub fn open() -> Arc<[Acl]> {
        OPEN.clone()
    }

    /// True if an ACL is the very one of [`Acl::open`]; it is not looked into, and one that
    /// says the same elsewhere is not it. A quick answer where most are open.
    pub fn is_open(acl: &[Acl]) -> bool {
        std::ptr::eq(acl, &**OPEN)
    }
}

/// An error code of the protocol (negative; 0 only inside the results of a failed multi).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i32);

/// Declares the codes with their names once.
macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $code:expr, $name:expr;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $constant: ErrorCode = ErrorCode($code);)*

            /// ZooKeeper's name, if it is a code of the protocol.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($code => Some($name),)* _ => None }
            }

            /// By ZooKeeper's name.
            pub fn of_name(name: &str) -> Option<Self> {
                match name { $($name => Some(ErrorCode($code)),)* _ => None }
            }
        }
    };
}

codes! {
    /// No error.
    OK = 0, "Ok";
    /// Not tried, because an earlier part of the multi failed.
    RUNTIME_INCONSISTENCY = -2, "RuntimeInconsistency";
    /// Undecodable request.
    MARSHALLING_ERROR = -5, "MarshallingError";
    /// Not implemented.
    UNIMPLEMENTED = -6, "Unimplemented";
    /// Bad path, flags or the like.
    BAD_ARGUMENTS = -8, "BadArguments";
    /// No such node (or parent).
    NO_NODE = -101, "NoNode";
    /// Forbidden by an ACL.
    NO_AUTH = -102, "NoAuth";
    /// Expected version differs.
    BAD_VERSION = -103, "BadVersion";
    /// Parent is ephemeral.
    NO_CHILDREN_FOR_EPHEMERALS = -108, "NoChildrenForEphemerals";
    /// Node exists.
    NODE_EXISTS = -110, "NodeExists";
    /// Node has children.
    NOT_EMPTY = -111, "NotEmpty";
    /// Session is closing or unknown.
    SESSION_EXPIRED = -112, "SessionExpired";
    /// ACL refused.
    INVALID_ACL = -114, "InvalidAcl";
    /// Authentication refused.
    AUTH_FAILED = -115, "AuthFailed";
    /// Session is attached elsewhere now.
    SESSION_MOVED = -118, "SessionMoved";
    /// Write on a read-only server.
    NOT_READ_ONLY = -119, "NotReadOnly";
    /// removeWatches found none.
    NO_WATCHER = -121, "NoWatcher";
    /// Quota exceeded.
    QUOTA_EXCEEDED = -125, "QuotaExceeded";
    /// Refused by the throttle before it was tried.
    THROTTLED_OP = -127, "ThrottledOp";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}
