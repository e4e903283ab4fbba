//! The judge's own model of a znode tree.
//!
//! Written from the documentation, sharing no line with the service that is judged. It
//! replays one total order of transactions, answers what a client should have been told
//! at any point of it, and can be taken back to an earlier point, because the judge tries
//! out where requests of unknown fate belong.
//!
//! | room | holds |
//! |---|---|
//! | `paths` | paths as numbers |
//! | `acl` | permissions and identities, known from both sides |
//! | `blind` | the same tree for those who know no zxids and try out orders |
//! | `tree` | nodes, sessions, the way back |
//! | `writes` | what a transaction does to them, watch events |
//! | `looks` | Stat arithmetic, names, nodes in words |
//! | `eval` | one request against the tree: what differs from its answer |
//!
//! Answers to: `protocol.md` sections 7, 9, 10, 12.3 and 13.

mod acl;
mod blind;
mod eval;
mod looks;
mod paths;
mod tree;
mod writes;

pub use acl::{Access, AclId, AclTable, Credentials, OPEN, READ, Who};
pub use eval::{Ask, Diff, is_decided_by_state};
pub use paths::{NO_PATH, PathId, Paths};
pub use tree::{Event, NO_SESSION, Node, SessionIndex, Tree};
