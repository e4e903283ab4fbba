//! The judge: decides whether a recorded history is ZooKeeper-consistent.
//!
//! It shares no code with the service it judges: the model of a znode tree in here was
//! written from the documentation alone, so that one misunderstanding cannot hide on both
//! sides of a comparison. It knows no clock, no network and no global state: a verdict is
//! a function of the history and the options.

pub mod certificate;
mod circle;
pub mod explain;
pub mod formats;
mod hidden;
pub mod history;
pub mod linear;
mod model;
mod stream;
mod verdict;
pub mod verify;
mod walk;

pub use certificate::Certificate;
pub use hidden::{CLASS_CONFIGURATIONS, CONFIGURATIONS, classify, judge_without_zxids};
pub use history::{Header, History, Record};
pub use stream::{
    Doubt, InOrder, NARROW_WINDOW, Placed, STRETCH, Stream, Stretches, WINDOW, acquit,
    acquit_verified, in_order_of_time,
};
pub use verdict::{Class, Property, Summary, Verdict, Violation, words};
pub use walk::{Options, confirmed, judge, judge_verified, judge_with_certificate};

/// What the guide shows of Rust, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/CHECKER.md")]
struct Guide;
