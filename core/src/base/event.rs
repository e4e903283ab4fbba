//! What a peer tells its observers: facts for invariants, logs and metrics.
//!
//! Events change nothing; a shell may drop them. The simulator judges its invariants on
//! them, so each is emitted at the moment it becomes true and not before.

use super::ids::{Epoch, ServerId, SessionId, Zxid};

/// The part a peer plays now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Reading its disk.
    Recovering,
    /// Electing.
    Looking,
    /// Elected by a quorum of votes, not yet established (discovery or synchronisation).
    Electing {
        /// The leader in question, perhaps itself.
        leader: ServerId,
    },
    /// Established leader: its epoch's NEWLEADER is acknowledged by a quorum.
    Leading {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Voting learner that may serve clients.
    Following {
        /// Its leader.
        leader: ServerId,
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// Non-voting learner that may serve clients.
    Observing {
        /// Its leader.
        leader: ServerId,
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// Stopped for good; only a restart helps.
    Halted,
}

impl Role {
    /// True when this peer may answer clients.
    pub fn serves(self) -> bool {
        matches!(
            self,
            Role::Leading { .. } | Role::Following { .. } | Role::Observing { .. }
        )
    }
}

/// What recovery found out about this server's right to vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// Everything it ever promised is there.
    Whole,
    /// Nothing on disk at all: first boot, or a wiped disk (rows D15, D16).
    Empty,
    /// A durable record is damaged (rows D10, D11, D13, D14): no vote and no ack until a
    /// leader past `mark` has filled it again.
    Damaged {
        /// The greatest zxid this server is known to have held.
        mark: Zxid,
        /// True when it has also forgotten what it promised, as [`Fitness::Amnesiac`]: both
        /// cures are needed.
        promises_lost: bool,
    },
    /// Both epoch copies are bad, or it was wiped and has been filled again: it has
    /// forgotten what it promised (row D12) and does not vote until a leader, whose epoch
    /// was established after its return by a quorum without it, restores it.
    Amnesiac,
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Recovery finished.
    Recovered {
        /// Zxid of the snapshot it starts from.
        snapshot: Zxid,
        /// Last zxid of its log.
        last: Zxid,
        /// Accepted epoch on disk.
        accepted: Epoch,
        /// Current epoch on disk.
        current: Epoch,
        /// What it is fit for.
        fitness: Fitness,
    },
    /// The role changed.
    Role(Role),
    /// The accepted epoch is durable.
    EpochAccepted(Epoch),
    /// The current epoch is durable.
    EpochCurrent(Epoch),
    /// A quorum acknowledged this leader's NEWLEADER.
    Established {
        /// Its epoch.
        epoch: Epoch,
        /// The last zxid of its history at that moment.
        history_last: Zxid,
    },
    /// A leader broadcast a transaction.
    Proposed {
        /// Its zxid.
        zxid: Zxid,
        /// CRC-32 of its payload.
        hash: u32,
    },
    /// This server acknowledged, or counted for itself, its log up to here as durable.
    Acked {
        /// The last durable zxid.
        zxid: Zxid,
    },
    /// A transaction was committed here and handed to the state machine.
    Delivered {
        /// Its zxid.
        zxid: Zxid,
        /// CRC-32 of its payload.
        hash: u32,
    },
    /// A delivered transaction was applied to the tree.
    Applied {
        /// Its zxid.
        zxid: Zxid,
        /// The digest of tree and sessions after it.
        digest: u64,
    },
    /// The log was cut after this zxid.
    Truncated {
        /// Last zxid kept.
        zxid: Zxid,
    },
    /// A leader's snapshot replaced the state.
    SnapshotInstalled {
        /// The zxid it stands for.
        zxid: Zxid,
        /// The digest of tree and sessions in it.
        digest: u64,
    },
    /// A snapshot of the own state is durable.
    SnapshotTaken {
        /// The zxid it stands for.
        zxid: Zxid,
    },
    /// The leader began to expire a session.
    SessionExpiring(SessionId),
    /// A rare road was walked; see `probe!`.
    Probe(&'static str),
    /// The peer stopped itself (fail-stop) and wants a restart.
    Halted {
        /// Why, for people.
        reason: String,
    },
}
