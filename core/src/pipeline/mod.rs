//! Requests to transactions, transactions to replies.

pub mod replica;
pub mod snapshot;
