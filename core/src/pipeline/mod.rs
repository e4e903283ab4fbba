//! Requests to transactions, transactions to replies.
//!
//! | part | lives on | does |
//! |---|---|---|
//! | [`front`] | every server | client connections: handshake, FIFO, reads, watches, replies |
//! | [`relay`] | between servers | carries what a front asks of the leader, and the answers |
//! | [`chief`] | the established leader | sessions, syncs, the one order of writes |
//! | [`prep`], [`overlay`] | the chief's desk | judge a write against the tree as it will be |
//! | [`replica`], [`snapshot`] | every server | the replicated state and its snapshot body |

pub mod chief;
pub mod conn;
pub mod front;
pub mod overlay;
pub mod prep;
pub mod reads;
pub mod relay;
pub mod replica;
pub mod reply;
pub mod snapshot;

pub use front::TimeoutBounds;
