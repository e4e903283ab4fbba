//! What the judge says, and about what.
//!
//! Answers to: `consistency.md` 3.4 (the properties) and 3.5 (what a failure must print).

use crate::explain::words::plain;
pub use crate::explain::words::record as words;
use crate::history::World;

/// Declares the properties with number, short name and sentence once.
macro_rules! properties {
    ($($(#[$doc:meta])* $variant:ident = $code:expr, $name:expr;)*) => {
        /// A property of `consistency.md` 3.4.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Property { $($(#[$doc])* $variant,)* }

        impl Property {
            /// Every property, in order.
            pub const ALL: [Property; 20] = [$(Property::$variant,)*];

            /// `P1` to `P20`.
            pub fn code(self) -> &'static str {
                match self { $(Property::$variant => $code,)* }
            }

            /// A few words.
            pub fn name(self) -> &'static str {
                match self { $(Property::$variant => $name,)* }
            }
        }
    };
}

properties! {
    /// W1, W3: one order of writes that respects time and explains every answer.
    LinearizableWrites = "P1", "linearizable-writes";
    /// Versions decide conditional writes.
    ConditionalWrites = "P2", "conditional-writes";
    /// W2: a session's transactions take effect in the order sent.
    SessionFifo = "P3", "session-fifo";
    /// R2: a read sees its session's earlier writes.
    ReadYourWrites = "P4", "read-your-writes";
    /// R2: a session never goes back, not even over a reconnect.
    MonotonicReads = "P5", "monotonic-reads";
    /// R1 and R2: all sessions see prefixes of one order.
    OneOrder = "P6", "one-order";
    /// R1, R3: nothing is read before it was asked for, and nothing that nobody wrote.
    NoFutureReads = "P7", "no-future-reads";
    /// R4: after sync, a read sees all that was answered before the sync.
    SyncThenRead = "P8", "stale-after-sync";
    /// What was answered stays.
    Durability = "P9", "durability";
    /// N1: the notification comes before newer data.
    WatchBeforeData = "P10", "watch-before-data";
    /// N2: one registration, one notification.
    WatchOneShot = "P11", "watch-one-shot";
    /// N3: no notification without registration and cause.
    WatchNotSpurious = "P12", "watch-not-spurious";
    /// E1: ephemerals end with their session, and so do its writes.
    EphemeralsEnd = "P13", "ephemerals-end-with-session";
    /// E2: and never before.
    EphemeralsStay = "P14", "no-early-expiry";
    /// Sequence numbers count creates.
    SequentialNames = "P15", "sequential-names";
    /// A multi is one transaction or none.
    MultiAtomic = "P16", "multi-atomic";
    /// Each field of a Stat follows from the transactions.
    StatArithmetic = "P17", "stat-arithmetic";
    /// Two replicas at one zxid hold the same.
    ReplicasAgree = "P18", "replicas-agree";
    /// zxids are unique, and an epoch's start belongs to nobody.
    ZxidSanity = "P19", "zxid-sanity";
    /// Nothing without the ACL's leave.
    AccessControl = "P20", "access-control";
}

/// Whether the observations themselves are impossible, or only the zxids reported with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A: no order of transactions explains what clients saw.
    Inconsistent,
    /// B: an order exists, but not the reported one.
    ZxidNotHonest,
    /// Not decided: with the zxids as reported, nothing explains it.
    Undetermined,
}

impl Class {
    /// A word.
    pub fn name(self) -> &'static str {
        match self {
            Class::Inconsistent => "inconsistent",
            Class::ZxidNotHonest => "zxid not honest",
            Class::Undetermined => "undetermined",
        }
    }
}

/// Why a history is not ZooKeeper-consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which property is broken.
    pub property: Property,
    /// What kind of wrong it is: [`Class::Undetermined`] until [`crate::classify`] was asked.
    pub class: Class,
    /// Why it is of that class, in words; empty until then.
    pub class_reason: String,
    /// The convicting records, as indices into the history, each with its place in words.
    pub records: Vec<(usize, String)>,
    /// The state before, in words; empty where no state is involved.
    pub state_before: String,
    /// The judge's reason.
    pub reason: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} {}: {}",
            self.property.code(),
            self.property.name(),
            plain(&self.reason)
        )?;
        for (index, words) in &self.records {
            writeln!(f, "  record {}: {words}", index + 1)?;
        }
        if !self.state_before.is_empty() {
            writeln!(f, "  before: {}", plain(&self.state_before))?;
        }
        write!(f, "  class: {}", self.class.name())?;
        match self.class_reason.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", plain(&self.class_reason)),
        }
    }
}

/// What was looked at on the way to a valid verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Requests in the history.
    pub requests: usize,
    /// Answered transactions in the order.
    pub transactions: usize,
    /// Reads evaluated at their zxid.
    pub reads: usize,
    /// Requests of unknown fate, and how many of them the order needs.
    pub unanswered: usize,
    /// Requests of unknown fate and session ends that the order needs.
    pub resolved: usize,
    /// Notifications matched with registrations.
    pub notifications: usize,
    /// Sessions.
    pub sessions: usize,
    /// Open if others may have written too: then there is no one order, and valid means that
    /// nothing is told that their writes could not explain. Closed also where others might have
    /// written, but what was recorded explains itself.
    pub world: World,
}

/// The judgement. Only [`Verdict::Valid`] acquits: it exhibits an order of transactions and
/// a prefix for every read that explain all that clients saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Consistent.
    Valid(Summary),
    /// Not consistent.
    Invalid(Box<Violation>),
    /// Not decided: the budget that ran out, in words.
    Unknown(String),
    /// No history: a record contradicts what a recorder can have observed (an answer to no
    /// question, time running backwards). The recorder is to blame, not the service.
    Malformed {
        /// Index of the record.
        record: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Verdict {
    /// One word: `valid`, `invalid`, `unknown`, `malformed`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Valid(_) => "valid",
            Verdict::Invalid(_) => "invalid",
            Verdict::Unknown(_) => "unknown",
            Verdict::Malformed { .. } => "malformed",
        }
    }

    /// The broken property, if one is.
    pub fn property(&self) -> Option<Property> {
        match self {
            Verdict::Invalid(violation) => Some(violation.property),
            Verdict::Valid(_) | Verdict::Unknown(_) | Verdict::Malformed { .. } => None,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Valid(summary) if summary.world == World::Open => write!(
                f,
                "valid: others may have written too, and nothing in {} transactions, {} reads and {} notifications of {} sessions contradicts that",
                summary.transactions, summary.reads, summary.notifications, summary.sessions
            ),
            Verdict::Valid(summary) => {
                write!(
                    f,
                    "valid: {} transactions and {} reads of {} sessions in one order",
                    summary.transactions, summary.reads, summary.sessions
                )?;
                match (summary.unanswered, summary.resolved) {
                    (0, 0) => Ok(()),
                    (unanswered, resolved) => write!(
                        f,
                        "; {unanswered} requests of unknown fate, and {resolved} of them, or of session ends that nobody was told of, have a place in it"
                    ),
                }
            }
            Verdict::Invalid(violation) => write!(f, "invalid: {violation}"),
            Verdict::Unknown(budget) => write!(f, "unknown: {budget}"),
            Verdict::Malformed { record, reason } => {
                write!(f, "malformed: record {}: {reason}", record + 1)
            }
        }
    }
}
