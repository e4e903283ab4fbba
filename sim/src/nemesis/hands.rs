//! What a nemesis can do to a world, as a trait: the simulated world implements it, and so
//! does the notebook of the tests.

use crate::plan::{CrashPoint, Death};
use gamekeeper_core::base::ServerId;

/// An end of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Node {
    /// A server.
    Server(ServerId),
    /// The client host of this number, from 0.
    Client(u32),
}

/// What lasts until it is ended. Each is switched on once and off once, however many faults
/// of a plan overlap in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Condition {
    /// Nothing passes from the first to the second, and neither is told.
    Cut(Node, Node),
    /// What passes between two servers is held and delivered at the end.
    Clogged(ServerId, ServerId),
    /// New connections to this server are refused.
    Refusing(ServerId),
    /// Some chunks from the first to the second server have a byte flipped.
    Corrupting(ServerId, ServerId),
    /// The server's process stands still.
    Paused(ServerId),
    /// Its disk has no space.
    DiskFull(ServerId),
    /// Its disk completes nothing.
    DiskStuck(ServerId),
    /// It dies (by [`Hands::kill`], whoever hears of it) the next time it comes to the point.
    Armed(ServerId, CrashPoint),
}

/// What has an amount; 0 is the normal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dial {
    /// Microseconds at most added to all that leaves or reaches this server.
    Latency(ServerId),
    /// Microseconds at most added to each operation of its disk.
    DiskLatency(ServerId),
    /// Parts per million its clocks run fast, on top of what it was born with.
    Drift(ServerId),
}

/// What is over at once and hurts durable bytes. Each answers whether there was anything
/// to hurt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Damage {
    /// A durable log record that a later one or the mark witnesses (D10).
    RotLog,
    /// A durable snapshot, not the only one (D11).
    RotSnapshot,
    /// One epoch copy (D12).
    RotEpoch,
    /// Old data at a witnessed record's place, its data elsewhere (D13).
    Misdirect,
    /// The durable end of the log, without a trace (D14).
    LoseTail,
    /// Nothing yet: what is on the disk now is remembered.
    Remember,
    /// Everything is as it was when it was remembered (D16).
    Rollback,
    /// Everything (D15).
    Wipe,
}

/// The nemesis' hands.
pub trait Hands {
    /// Begins or ends a condition.
    fn set(&mut self, condition: Condition, on: bool);
    /// Turns a dial.
    fn turn(&mut self, dial: Dial, to: i64);
    /// Breaks every connection of a server, some in the middle of a frame; both ends notice.
    fn break_connections(&mut self, server: ServerId, draw: u64);
    /// Makes `end` forget its connections with `other` without a word.
    fn half_open(&mut self, end: Node, other: Node);
    /// Ends a server's process (and, for a power cut, judges its unsynced bytes).
    fn kill(&mut self, server: ServerId, death: Death, draw: u64);
    /// Starts a server that is down.
    fn start(&mut self, server: ServerId);
    /// The next sync of its log fails (D5).
    fn fail_next_sync(&mut self, server: ServerId);
    /// The next write to its log fails, perhaps having written a part (D6).
    fn fail_next_write(&mut self, server: ServerId, draw: u64);
    /// Damages durable bytes; false when there are none to damage.
    fn damage(&mut self, server: ServerId, damage: Damage, draw: u64) -> bool;
    /// True while the disk of a server holds damaged bytes.
    fn is_rotten(&self, server: ServerId) -> bool;
    /// Moves a server's wall clock.
    fn jump_wall(&mut self, server: ServerId, by_ms: i64);
    /// The contract is left: the invariants are silent from now on.
    fn forgive(&mut self);
}
