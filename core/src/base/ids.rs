//! Numbers that mean something, each a type of its own so that they never meet by accident.

use std::fmt;

/// A transaction's place in the one order of the ensemble: epoch in the high half,
/// counter in the low half. Counter 0 is the start of an epoch and belongs to no transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Zxid = Zxid(0);

    /// The zxid of `counter` in `epoch`.
    pub const fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(((epoch.0 as u64) << 32) | counter as u64)
    }

    /// The epoch half.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The counter half.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// True when `next` may directly follow `self` in a log: the next counter of the same
    /// epoch, or the first of any later one.
    pub const fn precedes(self, next: Zxid) -> bool {
        if self.epoch().0 == next.epoch().0 {
            self.counter() != u32::MAX && next.counter() == self.counter() + 1
        } else {
            next.epoch().0 > self.epoch().0 && next.counter() == 1
        }
    }

    /// The signed form used on the client wire.
    pub const fn to_wire(self) -> i64 {
        self.0 as i64
    }

    /// Reads the signed form used on the client wire.
    pub const fn from_wire(wire: i64) -> Zxid {
        Zxid(wire as u64)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch().0, self.counter())
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A leader's term. Epoch 0 is before the first leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// Before the first leader.
    pub const ZERO: Epoch = Epoch(0);
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A server of the ensemble (`myid`), 1 to 254.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u8);

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A client session. 0 means "none yet"; the high byte is the server that created it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A request's number on its connection, chosen by the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Xid(pub i32);

/// A client connection of this server, numbered by the shell, never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ConnId(pub u64);

/// A connection between two servers. Accepted links are numbered by the shell, dialled
/// links by the peer (top bit set); neither is reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    const DIALLED: u64 = 1 << 63;

    /// The `n`-th link this peer dials.
    pub const fn dialled(n: u64) -> LinkId {
        LinkId(n | Self::DIALLED)
    }

    /// True for a link that this peer dialled itself.
    pub const fn is_dialled(self) -> bool {
        self.0 & Self::DIALLED != 0
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_dialled() { 'd' } else { 'a' };
        write!(f, "link-{side}{}", self.0 & !Self::DIALLED)
    }
}
