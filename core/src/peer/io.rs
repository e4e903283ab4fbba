//! What goes into a peer and what comes out: the whole contract with the shell.
//!
//! The shell obeys blindly and in order. It frames and checksums bytes, numbers accepted
//! connections, and knows nothing of what they mean.

use crate::base::disk::{DiskDone, DiskRequest};
use crate::base::event::Event;
use crate::base::ids::{ConnId, LinkId, ServerId};
use crate::base::time::{Mono, Now};
use crate::zab::LinkKind;
use bytes::Bytes;
use std::net::IpAddr;

/// What goes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The peer's deadline came.
    Timer,
    /// A client connected.
    ClientOpened {
        /// Its connection.
        conn: ConnId,
        /// Its address, for the `ip` scheme.
        addr: IpAddr,
    },
    /// A whole frame of a client, without its length.
    ClientFrame {
        /// Its connection.
        conn: ConnId,
        /// The payload.
        frame: Bytes,
    },
    /// A client's connection is gone, whoever closed it. Nothing of it follows.
    ClientClosed {
        /// Its connection.
        conn: ConnId,
    },
    /// A dialled link was answered, or an accepted one introduced itself.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Who is at the other end.
        peer: ServerId,
        /// What it carries.
        kind: LinkKind,
    },
    /// A whole message of a link; checksum and length verified.
    LinkMessage {
        /// The link.
        link: LinkId,
        /// The message's bytes.
        message: Bytes,
    },
    /// A link broke, or a dial failed. Nothing of it follows.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A disk operation came back.
    Disk(DiskDone),
    /// The operator lets a wiped server back in.
    Rejoin,
}

/// What comes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a frame (without its length) to a client.
    ClientSend {
        /// Its connection.
        conn: ConnId,
        /// The payload.
        frame: Bytes,
    },
    /// Close a client's connection after what was sent. `ClientClosed` may still follow.
    ClientClose {
        /// Its connection.
        conn: ConnId,
    },
    /// Stop, or go on, reading from a client.
    ClientPause {
        /// Its connection.
        conn: ConnId,
        /// True to stop.
        pause: bool,
    },
    /// Connect to a server; answer with `LinkUp` or `LinkDown`.
    Dial {
        /// The new link's number.
        link: LinkId,
        /// To whom.
        to: ServerId,
        /// What for.
        kind: LinkKind,
    },
    /// Send a message on a link.
    LinkSend {
        /// The link.
        link: LinkId,
        /// The message's bytes.
        message: Bytes,
    },
    /// Close a link. No `LinkDown` is needed any more.
    LinkClose {
        /// The link.
        link: LinkId,
    },
    /// Submit a disk operation.
    Disk(DiskRequest),
    /// A fact for observers.
    Event(Event),
    /// Stop this process; only a restart helps (fail-stop).
    Halt {
        /// Why, for people.
        reason: String,
    },
}

/// Outputs in the order they must be carried out.
pub type Outbox = Vec<Output>;

/// Anything a shell can run: a peer, or a null machine to measure the shell with.
pub trait Machine: Send + 'static {
    /// The first step of a process: submits recovery.
    fn start(&mut self, now: Now, out: &mut Outbox);

    /// Takes one input; appends what follows from it.
    fn step(&mut self, now: Now, input: Input, out: &mut Outbox);

    /// When [`Input::Timer`] is wanted next, if at all. In the past means at once.
    fn deadline(&self) -> Option<Mono>;
}
