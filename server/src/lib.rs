//! The shell that carries a peer's inputs and outputs, generic over the runtime.
//!
//! [`serve`] gives one [`Machine`](gamekeeper_core::peer::Machine) its sockets, its disk and
//! its clock, and obeys it blindly and in order. The shell knows framing, back-pressure and
//! incarnations of connections, and nothing of what the bytes mean.
//!
//! ```text
//!  client socket ─ reader task ─┐  whole frames,          ┌─ staged bytes ─ one write a wake
//!  peer socket ── reader task ──┼─ one batch a read ─► driver ──── disk operations
//!  accept, dial ── short tasks ─┘  (bounded channel)      └─ timer, armed once a deadline
//! ```
//!
//! | room | what it does |
//! |---|---|
//! | [`config`] | addresses and bounds |
//! | [`observe`] | who is told of events and outputs, and may stop the process between two |
//! | [`hello`] | how servers introduce themselves to each other |
//! | [`wire`] | client framing and the peer wire, over byte slices |
//! | `gate` | lets the driver pause or end a connection's reader |
//! | `reader` | socket to batches |
//! | `accept`, `dial` | how connections begin |
//! | `line` | the writing side of a connection |
//! | `driver` | the one loop that steps the machine |

mod accept;
pub mod config;
mod dial;
mod driver;
mod gate;
pub mod hello;
mod line;
pub mod observe;
mod reader;
mod serve;
pub mod wire;

pub use config::ShellConfig;
pub use observe::{Flow, Observer};
pub use serve::{Halted, ServeError, serve};
