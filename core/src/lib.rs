//! Pure ZooKeeper: the whole server as a function of its inputs.
//!
//! A [`peer::Peer`] is one server of an ensemble. It is fed [`peer::Input`]s and answers
//! with [`peer::Output`]s; whoever carries the two can run it: the tokio shell, the
//! simulator, a test. Nothing in this crate knows a clock, a file, a socket, a thread,
//! a future or an unordered map, and nothing is global: time is handed in, disk
//! operations leave as numbered outputs and come back as inputs.
//!
//! Rooms in reading order, each blind to those behind it:
//!
//! | room | knows |
//! |---|---|
//! | [`base`] | identifiers, time, limits, the vocabulary of disk operations and events |
//! | [`jute`] | the wire encoding, of nothing in particular |
//! | [`proto`] | the client protocol's records |
//! | [`txn`] | transaction records, as they lie in the log |
//! | [`tree`] | znodes, and nothing of sessions |
//! | [`watch`] | who is to be told of what |
//! | [`session`] | timeouts, owners, expiry |
//! | [`auth`] | identities and access-control lists |
//! | [`log`] | write-ahead log, snapshots, epoch copies, recovery |
//! | [`zab`] | election, discovery, synchronisation, broadcast of bytes it does not understand |
//! | [`pipeline`] | requests to transactions, transactions to replies |
//! | [`peer`] | all of the above as one machine |

pub mod auth;
pub mod base;
pub mod jute;
pub mod log;
pub mod peer;
pub mod pipeline;
pub mod proto;
pub mod session;
pub mod tree;
pub mod txn;
pub mod watch;
pub mod zab;
