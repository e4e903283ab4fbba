//! One server: store, Zab and request pipeline as a single machine.

pub mod io;

pub use io::{Input, Machine, Outbox, Output};
