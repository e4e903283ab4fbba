//! What servers say to each other. The content is ZooKeeper's; the bytes are ours (`wire`).
//!
//! Who says what when, and what must be durable first: `docs/ZAB.md`.

use crate::base::ids::{Epoch, ServerId, Zxid};
use bytes::Bytes;

/// A vote: whom to follow, and why. Compared by (`epoch`, `zxid`, `leader`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The proposed leader.
    pub leader: ServerId,
    /// Its last logged zxid.
    pub zxid: Zxid,
    /// Its current epoch.
    pub epoch: Epoch,
}

/// The sender's state in a notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerState {
    /// Electing.
    Looking,
    /// Following `vote.leader`.
    Following,
    /// Leading.
    Leading,
    /// Learning from `vote.leader` without a vote.
    Observing,
}

/// How far a server is with the ensemble's first boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Formation {
    /// Its disk is empty: it has never promised anything, or has been wiped.
    Empty,
    /// It has heard every voter be empty or founding, wrote its first epoch record, and
    /// knows of no leader yet.
    Founding,
    /// It has accepted an epoch.
    Formed,
}

/// One message. Notifications travel on election links, everything else on learner links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Any to any: my state and my vote.
    Notification {
        /// The sender's state.
        state: PeerState,
        /// Its vote, `None` when it has none to give (observer, unfit, empty).
        vote: Option<Vote>,
        /// Its election round.
        round: u64,
        /// How far it is with the first boot.
        formation: Formation,
    },
    /// Learner to leader: who I am (FOLLOWERINFO, OBSERVERINFO).
    LearnerInfo {
        /// Its accepted epoch.
        accepted: Epoch,
        /// True when its acknowledgements count.
        voting: bool,
        /// True when it must be sent a whole snapshot (damaged, empty).
        needs_snapshot: bool,
        /// True when it has forgotten what it promised and asks for its vote back.
        amnesiac: bool,
    },
    /// Leader to learner: the epoch I propose.
    LeaderInfo {
        /// The new epoch.
        epoch: Epoch,
    },
    /// Learner to leader: accepted, durably (or already accepted before: `promised` false).
    AckEpoch {
        /// True when this is a new promise.
        promised: bool,
        /// Its current epoch.
        current: Epoch,
        /// Its delivered zxid first, then the last zxid of every epoch in its log after that,
        /// ascending; the last one is its last zxid.
        history: Vec<Zxid>,
    },
    /// Leader to learner: what you have is a prefix of mine.
    Diff {
        /// The learner's last zxid.
        from: Zxid,
    },
    /// Leader to learner: cut after this zxid, which we share.
    Trunc {
        /// The last zxid to keep.
        after: Zxid,
    },
    /// Leader to learner: a whole snapshot follows.
    SnapBegin {
        /// The zxid it stands for.
        zxid: Zxid,
    },
    /// A piece of it.
    SnapChunk(Bytes),
    /// Learner to leader: so many pieces arrived; keeps a bounded number under way.
    SnapAck {
        /// How many so far.
        chunks: u32,
    },
    /// The end of it.
    SnapEnd {
        /// CRC-32 of all the pieces.
        crc: u32,
    },
    /// Leader to learner: log this.
    Propose {
        /// Its zxid.
        zxid: Zxid,
        /// The transaction.
        payload: Bytes,
    },
    /// Leader to learner: all you need for the epoch was sent.
    NewLeader {
        /// The epoch.
        epoch: Epoch,
    },
    /// Learner to leader: all of it is durable, and so is the current epoch.
    AckNewLeader {
        /// The epoch.
        epoch: Epoch,
    },
    /// Leader to learner: the epoch is established; serve.
    UpToDate {
        /// Committed up to here.
        committed: Zxid,
        /// True when an amnesiac gets its vote back.
        restore_vote: bool,
    },
    /// Follower to leader: durable up to here.
    Ack {
        /// The last durable zxid.
        zxid: Zxid,
    },
    /// Leader to follower: committed up to here.
    Commit {
        /// The last committed zxid.
        zxid: Zxid,
    },
    /// Leader to observer: committed (INFORM).
    Inform {
        /// Its zxid.
        zxid: Zxid,
        /// The transaction.
        payload: Bytes,
    },
    /// Leader to learner: I am here; are you still mine?
    Ping {
        /// Number of the round.
        round: u64,
    },
    /// Learner to leader: still yours.
    Pong {
        /// The ping's number.
        round: u64,
    },
    /// Either way, once synchronised: bytes of the request pipeline.
    App(Bytes),
}
