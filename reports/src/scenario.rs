//! The part of `scenario.toml` that a report shows: the ensemble, its traffic, the plan.
//!
//! What it is not: the simulator's own scenario. Keys that no report shows are ignored, so
//! that a scenario may grow.
//!
//! Answers to: `docs/SIMULATION.md`, "A scenario".

use serde::Deserialize;

/// What was to be lived.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Scenario {
    /// Servers.
    pub cluster: Cluster,
    /// How fast they are.
    pub timing: Timing,
    /// When the plan begins.
    pub phases: Phases,
    /// Who asks for what.
    #[serde(default)]
    pub workloads: Vec<Workload>,
    /// Faults, in the order planned.
    #[serde(default)]
    pub plan: Vec<Planned>,
}

/// Servers: voters are 1 to `voters`, observers those after.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Cluster {
    /// How many vote.
    pub voters: u8,
    /// How many only follow.
    #[serde(default)]
    pub observers: u8,
}

impl Cluster {
    /// How many servers there are.
    pub fn servers(self) -> u32 {
        u32::from(self.voters) + u32::from(self.observers)
    }
}

/// The part of the timing that explains a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Timing {
    /// The servers' tick, milliseconds.
    pub tick_ms: u64,
    /// Ticks to find a leader and catch up with it.
    pub init_limit: u64,
    /// Ticks a learner may be silent.
    pub sync_limit: u64,
    /// What clients ask for, milliseconds.
    pub session_timeout_ms: u64,
}

/// The course of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Phases {
    /// Before the plan begins, milliseconds.
    pub warmup_ms: u64,
}

/// One kind of traffic.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Workload {
    /// Its name.
    pub kind: String,
    /// How many clients it has.
    pub clients: u64,
}

/// One fault of the plan; it may have been skipped.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Planned {
    /// When, milliseconds after the warm-up.
    pub at_ms: u64,
    /// For how long, milliseconds; 0 for what happens at once.
    #[serde(default)]
    pub for_ms: u64,
    /// Which, with its own keys.
    pub fault: toml::Table,
}

impl Planned {
    /// The fault's name.
    pub fn kind(&self) -> &str {
        self.fault
            .get("kind")
            .and_then(toml::Value::as_str)
            .unwrap_or("?")
    }

    /// The fault with its keys, in a few words.
    pub fn words(&self) -> String {
        let mut text = self.kind().to_string();
        for (key, value) in self.fault.iter().filter(|(key, _)| *key != "kind") {
            let value = match value.as_str() {
                Some(word) => word.to_string(),
                None => value.to_string(),
            };
            text.push_str(&format!(", {key} {value}"));
        }
        text
    }

    /// From when to when it was planned, nanoseconds of the run.
    pub fn span(&self, phases: Phases) -> (u64, u64) {
        const NS_PER_MS: u64 = 1_000_000;
        let from = phases.warmup_ms.saturating_add(self.at_ms);
        let until = from.saturating_add(self.for_ms);
        (
            from.saturating_mul(NS_PER_MS),
            until.saturating_mul(NS_PER_MS),
        )
    }
}
