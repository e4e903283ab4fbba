//! One server: store, Zab and request pipeline as a single machine.

pub mod config;
pub mod io;
pub mod machine;

pub use config::PeerConfig;
pub use io::{Input, Machine, Outbox, Output};
pub use machine::Peer;
