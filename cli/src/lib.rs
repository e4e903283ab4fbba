//! The operator's hands: `zkcli`, as a library for its own tests.
//!
//! Two recorders for live ensembles, ours or Apache's, that write histories for `zkcheck`.
//!
//! | room | what is in it |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`hosts`] | names to addresses |
//! | [`book`] | a history file that grows |
//! | [`record`] | our own workloads against a live ensemble |
//! | [`proxy`] | a transparent recorder between other people's clients and their servers |

pub mod arguments;
pub mod book;
pub mod hosts;
pub mod proxy;
pub mod record;
mod stop;
mod trouble;

pub use trouble::Trouble;
