//! ZooKeeper sessions from the other side.
//!
//! Two layers. [`ClientSession`] is the protocol as a pure state machine: inputs and the time
//! in, outputs out. [`Client`] is what an application holds: a driver task carries the machine
//! through any world behind the runtime seam, and a [`Tap`] hears everything it does, in order.
//!
//! ```text
//!   Client (handles) ──commands──▶ driver ──Input──▶ ClientSession
//!      ▲  outcomes, events           │ ◀──Output────────┘
//!      └─────────────────────────────┤
//!                                    └── every Output ──▶ Tap
//! ```
//!
//! What it never does: send a request twice, decide anything by the wall clock, name a socket
//! or an executor.

mod driver;
pub mod error;
pub mod frame;
pub mod handle;
pub mod limits;
pub mod session;
mod shared;
pub mod tap;

pub use error::ClientError;
pub use handle::{Client, ClientConfig, InFlight};
pub use session::{
    ClientSession, Input, Outcome, Output, Reason, RequestId, Sent, SessionConfig, State,
    WatchLists, Watched,
};
pub use shared::Events;
pub use tap::Tap;
