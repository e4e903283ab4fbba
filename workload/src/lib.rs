//! Traffic, and what it must leave behind.
//!
//! Workloads that any ensemble can be put under, generic over the runtime seam, so that the
//! simulator and a live cluster get the very same traffic; and the recorder that writes down
//! what their clients saw, for the checker to judge. Everything a workload does is a function
//! of its specification, its random stream and what the world answers.
//!
//! | room | what is in it |
//! |---|---|
//! | [`spec`] | what to do, as data |
//! | [`run`] | clients, stop signal, counts |
//! | `actor` | one client's life |
//! | `alarm` | a limit on its waits |
//! | `kinds` | one file per kind of traffic |
//! | [`root`] | the folder a run stays in |
//! | [`recorder`] | the history |
//! | [`convert`] | from the protocol's words to the history's |
//! | [`final_reads`](mod@final_reads) | reading everything from everybody at the end |

mod actor;
mod alarm;
mod ask;
pub mod convert;
pub mod final_reads;
mod kinds;
pub mod recorder;
pub mod root;
pub mod run;
pub mod spec;

pub use final_reads::{FinalReads, final_reads, final_reads_below};
pub use recorder::{Recorder, Scribe};
pub use root::Root;
pub use run::{Server, Stats, Stop, client_stream, run, run_below, run_client};
pub use spec::{Kind, WorkloadSpec};
