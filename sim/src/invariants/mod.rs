//! Safety invariants of the ensemble, judged on what servers report, the moment they do.
//!
//! | page | TLA+ name | what it says | breaks when |
//! |---|---|---|---|
//! | [`leadership`] | `Leadership1` | one established leader an epoch | two quorums elect, an epoch is forgotten |
//! | [`prefix_consistency`] | `PrefixConsistency` | of two delivered sequences one is a prefix of the other | a hole, DIFF one record short, TRUNC skipped |
//! | [`agreement`] | `Agreement` | nobody delivers another transaction at the same zxid | an epoch is used twice, logs diverge |
//! | [`total_order`] | `TotalOrder` | every process delivers in zxid order | a transaction delivered twice or late |
//! | [`integrity`] | `Integrity` | what is delivered was proposed | garbage from a disk or a link |
//! | [`primary_order`] | `LocalPrimaryOrder`, `GlobalPrimaryOrder`, `PrimaryIntegrity` | a leader proposes in order, and knows all that was delivered before it | election ignores history |
//! | [`durable_ack`] | (wall 2) | what was acknowledged and delivered is never missing after recovery | ack before fsync |
//! | [`committed_quorum`] | `CommittedLogIsDurable` | at its first delivery a quorum of voters holds a transaction durably | commit with one ack too few |
//! | [`established_quorum`] | (wall 2) | at the establishment of a leader a quorum of voters holds its epoch durably | NEWLEADER acknowledged with the epoch in memory |
//! | [`explained_damage`] | (wall 2) | a server that finds damage has a damaged disk | a sync believed that never was |
//! | [`tree_digest`] | (D in R2) | after the same zxid every tree is equal | apply that hangs on more than the transaction |
//! | [`monotonic`] | `MonotonicRead` of epochs | epochs never fall on one disk, commits never in one process | an epoch not persisted |
//!
//! What they are not: opinions about clients, whom the checker judges. What always holds:
//! each page judges one event in O(log n) and keeps no event; a breach names the events in
//! words. Delivered state is judged per incarnation: a process that died delivered what it
//! delivered.

pub mod agreement;
pub mod committed_quorum;
pub mod durable_ack;
pub mod established_quorum;
pub mod explained_damage;
pub mod integrity;
pub mod leadership;
pub mod ledger;
pub mod monotonic;
pub mod prefix_consistency;
pub mod primary_order;
pub mod total_order;
pub mod tree_digest;

use gamekeeper_core::base::event::Fitness;
use gamekeeper_core::base::{Epoch, Event, ServerId, Zxid};
use std::fmt;

/// Who says something, and when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Witness {
    /// Virtual nanoseconds since the beginning.
    pub at_ns: u64,
    /// Which server.
    pub server: ServerId,
    /// Which process of that server, from 1.
    pub incarnation: u32,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {}.{:06} s server {} (process {})",
            self.at_ns / 1_000_000_000,
            self.at_ns / 1000 % 1_000_000,
            self.server,
            self.incarnation
        )
    }
}

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// Its name.
    pub invariant: &'static str,
    /// The events that convict, in words.
    pub records: Vec<String>,
}

impl Breach {
    /// A breach with its convicting events.
    pub fn new(invariant: &'static str, records: Vec<String>) -> Breach {
        Breach { invariant, records }
    }
}

/// What a process found on its disk; see [`Event::Recovered`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// Zxid of the snapshot it starts from.
    pub snapshot: Zxid,
    /// Last zxid of its log.
    pub last: Zxid,
    /// Accepted epoch.
    pub accepted: Epoch,
    /// Current epoch.
    pub current: Epoch,
    /// What it is fit for.
    pub fitness: Fitness,
}

/// One page: judges events in the order in which they happen. A page implements what it
/// judges; of everything else it knows nothing.
pub trait Invariant {
    /// A process read its disk.
    fn recovered(&mut self, _: Witness, _: Recovery) -> Result<(), Breach> {
        Ok(())
    }

    /// The accepted epoch is durable.
    fn epoch_accepted(&mut self, _: Witness, _: Epoch) -> Result<(), Breach> {
        Ok(())
    }

    /// The current epoch is durable.
    fn epoch_current(&mut self, _: Witness, _: Epoch) -> Result<(), Breach> {
        Ok(())
    }

    /// A quorum acknowledged this leader's NEWLEADER; its history ends at the zxid.
    fn established(&mut self, _: Witness, _: Epoch, _: Zxid) -> Result<(), Breach> {
        Ok(())
    }

    /// A leader broadcast a transaction with this CRC-32.
    fn proposed(&mut self, _: Witness, _: Zxid, _: u32) -> Result<(), Breach> {
        Ok(())
    }

    /// The log up to here was acknowledged as durable.
    fn acked(&mut self, _: Witness, _: Zxid) -> Result<(), Breach> {
        Ok(())
    }

    /// A committed transaction with this CRC-32 was handed to the state machine.
    fn delivered(&mut self, _: Witness, _: Zxid, _: u32) -> Result<(), Breach> {
        Ok(())
    }

    /// A transaction was applied; the digest of what is there after it.
    fn applied(&mut self, _: Witness, _: Zxid, _: u64) -> Result<(), Breach> {
        Ok(())
    }

    /// The log was cut after this zxid.
    fn truncated(&mut self, _: Witness, _: Zxid) -> Result<(), Breach> {
        Ok(())
    }

    /// A leader's snapshot replaced the state; the digest of what is in it.
    fn snapshot_installed(&mut self, _: Witness, _: Zxid, _: u64) -> Result<(), Breach> {
        Ok(())
    }

    /// Takes one event, of whatever kind. Facts that no page judges end here.
    fn observe(&mut self, by: Witness, event: &Event) -> Result<(), Breach> {
        match *event {
            Event::Recovered {
                snapshot,
                last,
                accepted,
                current,
                fitness,
            } => self.recovered(
                by,
                Recovery {
                    snapshot,
                    last,
                    accepted,
                    current,
                    fitness,
                },
            ),
            Event::EpochAccepted(epoch) => self.epoch_accepted(by, epoch),
            Event::EpochCurrent(epoch) => self.epoch_current(by, epoch),
            Event::Established {
                epoch,
                history_last,
            } => self.established(by, epoch, history_last),
            Event::Proposed { zxid, hash } => self.proposed(by, zxid, hash),
            Event::Acked { zxid } => self.acked(by, zxid),
            Event::Delivered { zxid, hash } => self.delivered(by, zxid, hash),
            Event::Applied { zxid, digest } => self.applied(by, zxid, digest),
            Event::Truncated { zxid } => self.truncated(by, zxid),
            Event::SnapshotInstalled { zxid, digest } => self.snapshot_installed(by, zxid, digest),
            Event::Role(_)
            | Event::SnapshotTaken { .. }
            | Event::SessionExpiring(_)
            | Event::Probe(_)
            | Event::Halted { .. } => Ok(()),
        }
    }
}

/// Every page.
#[derive(Debug)]
pub struct Invariants {
    leadership: leadership::Leadership,
    prefix_consistency: prefix_consistency::PrefixConsistency,
    agreement: agreement::Agreement,
    total_order: total_order::TotalOrder,
    integrity: integrity::Integrity,
    primary_order: primary_order::PrimaryOrder,
    durable_ack: durable_ack::DurableAck,
    committed_quorum: committed_quorum::CommittedQuorum,
    established_quorum: established_quorum::EstablishedQuorum,
    explained_damage: explained_damage::ExplainedDamage,
    tree_digest: tree_digest::TreeDigest,
    monotonic: monotonic::Monotonic,
    forgiven: bool,
}

impl Invariants {
    /// Nothing was observed yet; servers 1 to `voters` vote.
    pub fn new(voters: u8) -> Invariants {
        Invariants {
            leadership: Default::default(),
            prefix_consistency: Default::default(),
            agreement: Default::default(),
            total_order: Default::default(),
            integrity: Default::default(),
            primary_order: Default::default(),
            durable_ack: Default::default(),
            committed_quorum: committed_quorum::CommittedQuorum::new(voters),
            established_quorum: established_quorum::EstablishedQuorum::new(voters),
            explained_damage: explained_damage::ExplainedDamage::new(voters),
            tree_digest: Default::default(),
            monotonic: Default::default(),
            forgiven: false,
        }
    }

    /// Durable bytes of this server were damaged by a fault within the contract.
    pub fn wounded(&mut self, server: ServerId) {
        self.explained_damage.wounded(server);
    }

    /// A disk lost promises by a fault outside the contract (rows D14 to D16): what servers say
    /// from now on breaks nothing that was promised. What clients see of it is the checker's
    /// to judge.
    pub fn forgive(&mut self) {
        self.forgiven = true;
    }

    /// How many distinct transactions were delivered.
    pub fn commits(&self) -> u64 {
        self.agreement.commits()
    }

    /// How many leaderships were established.
    pub fn elections(&self) -> u64 {
        self.leadership.elections()
    }
}

impl Invariant for Invariants {
    fn observe(&mut self, by: Witness, event: &Event) -> Result<(), Breach> {
        if self.forgiven {
            // They still count.
            let _commits = self.agreement.observe(by, event);
            let _elections = self.leadership.observe(by, event);
            return Ok(());
        }
        // Agreement goes before the order pages: a transaction that differs convicts
        // better than the hole it leaves.
        self.agreement.observe(by, event)?;
        self.integrity.observe(by, event)?;
        self.total_order.observe(by, event)?;
        self.prefix_consistency.observe(by, event)?;
        self.leadership.observe(by, event)?;
        self.primary_order.observe(by, event)?;
        self.durable_ack.observe(by, event)?;
        self.committed_quorum.observe(by, event)?;
        self.established_quorum.observe(by, event)?;
        self.explained_damage.observe(by, event)?;
        self.tree_digest.observe(by, event)?;
        self.monotonic.observe(by, event)
    }
}

#[cfg(test)]
pub(crate) mod story {
    //! Short stories of events for the pages' tests.

    use super::{Breach, Invariant, Witness};
    use gamekeeper_core::base::event::Fitness;
    use gamekeeper_core::base::{Epoch, Event, ServerId, Zxid};

    /// Process `incarnation` of `server` says `event`.
    pub type Line = (u8, u32, Event);

    /// Tells a story to a page.
    pub fn tell(page: &mut dyn Invariant, story: &[Line]) -> Result<(), Breach> {
        for (index, (server, incarnation, event)) in story.iter().enumerate() {
            let by = Witness {
                at_ns: index as u64,
                server: ServerId(*server),
                incarnation: *incarnation,
            };
            page.observe(by, event)?;
        }
        Ok(())
    }

    pub fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    pub fn delivered(zxid: Zxid, hash: u32) -> Event {
        Event::Delivered { zxid, hash }
    }

    pub fn proposed(zxid: Zxid, hash: u32) -> Event {
        Event::Proposed { zxid, hash }
    }

    pub fn recovered(snapshot: Zxid, last: Zxid, epoch: u32) -> Event {
        Event::Recovered {
            snapshot,
            last,
            accepted: Epoch(epoch),
            current: Epoch(epoch),
            fitness: Fitness::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::story::*;
    use super::*;
    use gamekeeper_core::base::{Epoch, Zxid};

    #[test]
    fn sound_story_of_two_leaders_passes_every_page() {
        let established = |epoch, history_last| Event::Established {
            epoch: Epoch(epoch),
            history_last,
        };
        let acked = |zxid| Event::Acked { zxid };
        let mut story = Vec::new();
        for server in 1..=3 {
            story.push((server, 1, recovered(Zxid::ZERO, Zxid::ZERO, 0)));
            story.push((server, 1, Event::EpochAccepted(Epoch(1))));
            story.push((server, 1, Event::EpochCurrent(Epoch(1))));
        }
        story.push((3, 1, established(1, Zxid::ZERO)));
        story.push((3, 1, proposed(z(1, 1), 11)));
        story.push((3, 1, proposed(z(1, 2), 12)));
        story.push((3, 1, acked(z(1, 1))));
        story.push((1, 1, acked(z(1, 2))));
        story.push((3, 1, delivered(z(1, 1), 11)));
        story.push((1, 1, delivered(z(1, 1), 11)));
        // The leader dies; 1.2 lives on in server 1, who leads epoch 2.
        for server in 1..=2 {
            story.push((server, 1, Event::EpochAccepted(Epoch(2))));
            story.push((server, 1, Event::EpochCurrent(Epoch(2))));
        }
        story.push((2, 1, acked(z(1, 2))));
        story.push((1, 1, established(2, z(1, 2))));
        story.push((1, 1, delivered(z(1, 2), 12)));
        story.push((2, 1, delivered(z(1, 1), 11)));
        story.push((2, 1, delivered(z(1, 2), 12)));
        story.push((1, 1, proposed(z(2, 1), 21)));
        story.push((1, 1, acked(z(2, 1))));
        story.push((2, 1, acked(z(2, 1))));
        story.push((1, 1, delivered(z(2, 1), 21)));
        story.push((3, 2, recovered(Zxid::ZERO, z(1, 1), 1)));
        story.push((3, 2, delivered(z(1, 1), 11)));
        story.push((3, 2, delivered(z(1, 2), 12)));
        story.push((3, 2, delivered(z(2, 1), 21)));
        let mut all = Invariants::new(3);
        assert_eq!(tell(&mut all, &story), Ok(()));
        assert_eq!((all.commits(), all.elections()), (3, 2));
    }
}
