//! Sessions: the replicated table of who exists, and the leader's tracker of who still lives.
//!
//! | type | lives on | changes by |
//! |---|---|---|
//! | [`SessionTable`] | every server, part of the replicated state | committed transactions only |
//! | [`SessionTracker`] | the established leader | time, touches, attachments; made anew with each leadership |
//! | [`SessionIds`] | every server process | each new session |
//!
//! What always holds: a session begins and ends at a commit (the leader's tracker alone knows
//! it from its proposal on, and is gone with the leadership); only the leader expires; a
//! closing session accepts nothing more; deadlines restart with a new leader.

pub mod ids;
pub mod table;
pub mod tracker;

pub use ids::{SessionIds, password};
pub use table::SessionTable;
pub use tracker::{SessionCheck, SessionTracker};
