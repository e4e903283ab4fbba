//! Run directories turned into something to look at.
//!
//! A run directory is what `sim` leaves behind (`docs/SIMULATION.md`, "Run directories"). It
//! is read whole ([`read`]), sorted into lanes of servers and clients ([`lanes`]), summed up
//! in words ([`summary`]) and drawn as a page ([`svg`], [`html`]).
//!
//! What it is not: it judges nothing and knows nothing of the simulator's code, only the
//! files' format. What always holds: the same directory gives the same bytes.

pub mod conviction;
pub mod elections;
pub mod failure;
pub mod html;
pub mod lanes;
pub mod read;
pub mod reported;
pub mod scenario;
pub mod summary;
pub mod svg;
#[cfg(test)]
mod testing;
