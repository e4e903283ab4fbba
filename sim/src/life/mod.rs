//! One life: a scenario lived from the first boot to the judgement.

pub mod null;
pub mod stage;
mod thread;
pub mod watch;

pub use thread::{Progress, live_on_fresh_thread};

use crate::outcome::Outcome;
use crate::scenario::Scenario;

/// A life that was lived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// What became of it.
    pub outcome: Outcome,
    /// What clients saw, in the checker's format.
    pub history: Vec<u8>,
    /// What servers reported, one JSON object a line.
    pub events: Vec<u8>,
    /// The short log.
    pub trace: String,
}

impl Life {
    /// A life in which nothing has happened yet.
    pub fn new(seed: u64) -> Life {
        Life {
            outcome: Outcome::new(seed),
            history: Vec::new(),
            events: Vec::new(),
            trace: String::new(),
        }
    }
}

/// The names of all rare roads marked in the sources.
pub const PROBES: &[&str] = include!(concat!(env!("OUT_DIR"), "/probes.rs"));

/// Lives some seeds with the server and with a null server, and tells the speeds.
pub fn calibrate(seeds: u64) -> String {
    format!("calibrate  {seeds} seeds: no ensemble in this build\n")
}

/// Lives a scenario on the calling thread, which must be fresh: the order of unordered
/// maps inside the executor is only the same on a thread that has not run one before.
fn live(scenario: &Scenario, progress: &Progress) -> Life {
    progress.reached(0);
    Life::new(scenario.seed)
}
