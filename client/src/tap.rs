//! The ear on a session: sees every output of the state machine in the exact order in which
//! it happens.
//!
//! A history of a session is what its tap heard, no more and no less. The tap brings its own
//! clock (in the simulator the world's true one, not the node's drifting one), so a session's
//! notion of time never leaks into a history.

use crate::session::Output;

/// Listens to one session. Called synchronously by the driver: a [`Output::Send`] is heard
/// before its first byte leaves, a reply after its last byte came and before the caller of the
/// request is told.
pub trait Tap: Send + 'static {
    /// Hears one output.
    fn hear(&mut self, output: &Output);
}

/// Nobody listens.
impl Tap for () {
    fn hear(&mut self, _output: &Output) {}
}
