//! Run directories turned into something to look at.
//!
//! A run directory is what `sim` leaves behind (`docs/SIMULATION.md`, "Run directories"). It
//! is read whole ([`read`]), sorted into lanes of servers and clients ([`lanes`]) and summed up
//! in words ([`summary`]).
//!
//! What it is not: it judges nothing and knows nothing of the simulator's code, only the
//! files' format. What always holds: the same directory gives the same bytes.

pub mod lanes;
pub mod read;
pub mod scenario;
pub mod summary;
#[cfg(test)]
mod testing;
