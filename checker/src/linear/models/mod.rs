//! Objects that histories are often of.
//!
//! | model | asked | partitioned by |
//! |---|---|---|
//! | [`Register`] | read, write, compare-and-set | nothing: one register |
//! | [`Keyed`] of any model | `(key, request)` | the key |
//! | [`Text`] | get, put, append | nothing: one text; `Keyed<Text>` is Porcupine's key-value test |
//! | [`Set`] | add, remove, contains, read all | nothing |
//! | [`Queue`] | enqueue, dequeue, in order of arrival | nothing |
//! | [`Lists`] | transactions of appends and reads | keys that a transaction ties |
//! | [`Mutex`] | acquire, release | nothing |
//!
//! Each is a page; so is yours: implement [`Model`](super::Model).

mod appends;
mod keyed;
mod lists;
mod mutex;
mod queue;
mod register;
mod set;
mod symbol;
mod text;

pub use keyed::Keyed;
pub use lists::{Lists, ListsOp, ListsOutcome};
pub use mutex::{Mutex, MutexOp};
pub use queue::{Queue, QueueOp, QueueOutcome};
pub use register::{Register, RegisterOp, RegisterOutcome};
pub use set::{Set, SetOp, SetOutcome};
pub use symbol::{NIL, Symbol, Symbols};
pub use text::{Text, TextOp, TextOutcome};
