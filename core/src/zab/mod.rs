//! Zab: election, discovery, synchronisation and broadcast of bytes it does not understand.
//!
//! A pure state machine. It owns the votes, the promises, the in-memory end of the log
//! (everything logged and not yet delivered, and a bounded window of what was) and the
//! links between servers. It does not own the disk (it asks for appends, cuts and epoch
//! records and is told when they are durable) nor the tree (it delivers committed entries
//! in order, and asks for a snapshot when a learner needs one).
//!
//! What always holds: a promise, a vote, an acknowledgement leaves only after what it
//! rests on is durable; entries are delivered in zxid order, each once per process, and
//! only when a quorum of voters holds them under an established leader; a cut never
//! reaches a delivered entry.

mod common;
mod election;
mod leader;
mod learner;
mod links;
pub mod machine;
pub mod message;
pub mod quorum;
pub mod syncplan;
pub mod window;
pub mod wire;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod story_test;
#[cfg(test)]
mod testjudge;
#[cfg(test)]
mod teststeer;
#[cfg(test)]
mod testworld;

pub use machine::Zab;

use crate::base::event::{Event, Fitness};
use crate::base::ids::{Epoch, LinkId, ServerId, Zxid};
use crate::log::{Entry, EpochRecord};
use bytes::Bytes;
use message::Message;
use std::collections::BTreeMap;

/// What a member of the ensemble is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberKind {
    /// Votes and counts in quorums.
    Voter,
    /// Learns only.
    Observer,
}

/// What a link between two servers carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// Notifications; kept up between every pair, dialled by the larger id.
    Election,
    /// One learner's life with one leader; dialled by the learner, closed when either role ends.
    Learner,
}

/// Ensemble and timing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZabConfig {
    /// This server.
    pub me: ServerId,
    /// Every server, this one included.
    pub members: BTreeMap<ServerId, MemberKind>,
    /// `tickTime`, ms.
    pub tick_ms: u64,
    /// `initLimit`, ticks: connect, discovery and synchronisation.
    pub init_limit: u64,
    /// `syncLimit`, ticks: silence that ends a link or a leadership.
    pub sync_limit: u64,
    /// How long an elected candidate waits for a better vote, ms (200; cut short when every
    /// reachable voter agrees).
    pub finalize_wait_ms: u64,
    /// First and longest wait between notifications while LOOKING, ms (200, 60000).
    pub notify_wait_ms: (u64, u64),
    /// First and longest wait before an election link is dialled again, ms.
    pub redial_wait_ms: (u64, u64),
    /// Most delivered entries kept in memory for DIFF.
    pub history_entries_max: usize,
    /// Most payload bytes of them.
    pub history_bytes_max: usize,
}

/// What the store found, as far as Zab cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    /// The epoch record, if one was found.
    pub epochs: Option<EpochRecord>,
    /// The state that is already in the tree.
    pub snapshot: Zxid,
    /// The log after it, durable, not known to be committed.
    pub tail: Vec<Entry>,
    /// The right to vote as far as the disk tells.
    pub fitness: Fitness,
}

/// What goes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ZabInput {
    /// The deadline came.
    Timer,
    /// A link is up: a dialled one was answered, or an accepted one introduced itself.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Who is at the other end.
        peer: ServerId,
        /// What it carries.
        kind: LinkKind,
    },
    /// A link broke, or a dial failed.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A message of a link, in the order sent.
    Message {
        /// The link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// The record asked for by [`ZabOutput::SaveEpochs`] is durable.
    EpochsDurable(EpochRecord),
    /// Every entry appended so far up to here is durable.
    LogDurable {
        /// The last durable zxid.
        upto: Zxid,
    },
    /// The cut asked for by [`ZabOutput::Truncate`] is durable.
    Truncated {
        /// The last zxid kept.
        last: Zxid,
    },
    /// The snapshot passed on by [`ZabOutput::InstallEnd`] is in the tree and durable.
    Installed {
        /// Its zxid.
        zxid: Zxid,
    },
    /// It could not be installed (damaged on the way): the learner starts over.
    InstallFailed,
    /// The piece asked for by [`ZabOutput::SnapshotNext`].
    SnapshotChunk {
        /// The learner's link.
        link: LinkId,
        /// The bytes.
        chunk: Bytes,
        /// True for the last piece.
        last: bool,
    },
    /// The operator lets a wiped server back in (row D15).
    Rejoin,
}

/// What comes out, to be carried out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ZabOutput {
    /// Connect to a server.
    Dial {
        /// The new link's number.
        link: LinkId,
        /// To whom.
        to: ServerId,
        /// What for.
        kind: LinkKind,
    },
    /// Send on a link.
    Send {
        /// The link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a link; nothing of it arrives any more.
    Hangup {
        /// The link.
        link: LinkId,
    },
    /// Make this record durable in both copies.
    SaveEpochs(EpochRecord),
    /// Append to the log.
    Append(Entry),
    /// Cut the log after this zxid.
    Truncate {
        /// The last zxid to keep.
        after: Zxid,
    },
    /// A leader's snapshot begins; forget one that was under way.
    InstallBegin {
        /// The zxid it stands for.
        zxid: Zxid,
    },
    /// A piece of it.
    InstallChunk(Bytes),
    /// It is complete: put it on disk, then in the tree, then say [`ZabInput::Installed`].
    InstallEnd,
    /// The link broke half-way: forget the pieces; disk and tree are as before.
    InstallAbort,
    /// A learner needs the state as delivered so far: fix it now (point in time) and wait
    /// for [`ZabOutput::SnapshotNext`].
    SnapshotFor {
        /// The learner's link.
        link: LinkId,
        /// The last delivered zxid, which the snapshot must stand for.
        zxid: Zxid,
    },
    /// The learner has room for one more piece: answer with one [`ZabInput::SnapshotChunk`].
    SnapshotNext {
        /// The learner's link.
        link: LinkId,
    },
    /// The learner is gone: stop feeding it.
    SnapshotCancel {
        /// The learner's link.
        link: LinkId,
    },
    /// Committed: apply it.
    Deliver(Entry),
    /// This server leads, established; requests may be proposed.
    Leading {
        /// Its epoch.
        epoch: Epoch,
    },
    /// This server is synchronised with an established leader and may serve.
    Following {
        /// The leader.
        leader: ServerId,
        /// Its epoch.
        epoch: Epoch,
        /// False for an observer or a voter that may not vote yet.
        voting: bool,
    },
    /// The role ended: stop serving, drop what waits for the leader.
    Looking,
    /// Bytes from the other side of a learner link, in order with proposals and commits.
    App {
        /// From whom.
        from: ServerId,
        /// The bytes.
        bytes: Bytes,
    },
    /// A learner can be sent to from now on (leader only).
    LearnerUp {
        /// The learner.
        server: ServerId,
    },
    /// A learner is gone (leader only).
    LearnerDown {
        /// The learner.
        server: ServerId,
    },
    /// The learner is about to answer the leader's ping: a good moment to send what was touched.
    PongDue,
    /// A damaged server was filled again, durably: the damage found at start means nothing
    /// any more.
    Healed,
    /// A quorum followed this leader after the [`ConfirmId`] was taken.
    Confirmed(ConfirmId),
    /// A fact for observers.
    Event(Event),
    /// A promise of the protocol was broken by somebody: stop.
    Halt {
        /// Why, for people.
        reason: String,
    },
}

/// Numbers the leader's confirmation rounds; ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConfirmId(pub u64);
