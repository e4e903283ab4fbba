//! The store against a disk that loses power, fails, fills up and rots.
//!
//! | room | asks |
//! |---|---|
//! | `world` | a store, its disk, and a model of what the log must hold |
//! | `crash` | power cuts and process crashes at every operation |
//! | `trouble` | errors and full disks at every operation |
//! | `rot` | damage to what was durable, byte by byte |
//! | `manners` | commands, events, files kept and removed |

mod crash;
mod manners;
mod rot;
mod trouble;
mod world;
