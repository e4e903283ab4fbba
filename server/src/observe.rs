//! Who is told what the machine does, and may stop the process between two outputs.
//!
//! In production metrics stand here; in the simulator the invariants, the trace and the
//! crash points ("between append and sync") do.

use gamekeeper_core::base::{Event, Now};
use gamekeeper_core::peer::Output;
use std::net::SocketAddr;

/// Whether the driver goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It does.
    Continue,
    /// It stops for ever, right here, as a crash would make it: what was carried out before
    /// is with the disk and the network, this output and everything after is not. The
    /// future of `serve` stays pending and keeps its sockets until it is dropped.
    Die,
}

/// Watches one server from inside its driver. Must be quick: it runs between two steps.
pub trait Observer: Send + 'static {
    /// The sockets are open, `peer` only when there are peers.
    fn listening(&mut self, client: SocketAddr, peer: Option<SocketAddr>) {
        let _ = (client, peer);
    }

    /// A fact, at the moment it is carried out among the other outputs.
    fn event(&mut self, now: Now, event: &Event);

    /// Asked before each output, events included, is carried out.
    fn before(&mut self, now: Now, output: &Output) -> Flow {
        let _ = (now, output);
        Flow::Continue
    }

    /// So many inputs were stepped since the last call.
    fn stepped(&mut self, count: u64) {
        let _ = count;
    }
}

/// Watches nothing.
impl Observer for () {
    fn event(&mut self, _now: Now, _event: &Event) {}
}
