//! The vocabulary every room shares: identifiers, time, limits, disk operations, events.
//!
//! No behaviour lives here beyond arithmetic on the types themselves.

pub mod disk;
pub mod event;
pub mod ids;
pub mod limits;
pub mod time;

pub use disk::{DiskDone, DiskError, DiskLane, DiskOp, DiskRequest, DiskToken, DiskValue};
pub use event::Event;
pub use ids::{ConnId, Epoch, LinkId, ServerId, SessionId, Xid, Zxid};
pub use time::{Mono, Now, earlier};
