//! What a workload is to do, as plain data: a scenario file can hold it, a seed can draw it.
//!
//! Nothing here runs anything; see `run`.

use serde::{Deserialize, Serialize};

/// What kind of traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everything on a small shared tree, pipelined.
    Mix,
    /// Compare-and-set on one znode.
    Register,
    /// A lock of ephemeral sequential nodes.
    Lock,
    /// Sessions that come and go with their ephemerals.
    Churn,
    /// One-shot watches of all kinds.
    Watches,
    /// Atomic pairs and failing multis.
    Multi,
    /// Digest identities and protected nodes.
    Acl,
}

impl Kind {
    /// Every kind, in a fixed order.
    pub const ALL: [Kind; 7] = [
        Kind::Mix,
        Kind::Register,
        Kind::Lock,
        Kind::Churn,
        Kind::Watches,
        Kind::Multi,
        Kind::Acl,
    ];
}

/// One workload of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// What kind of traffic.
    pub kind: Kind,
    /// How many clients do it.
    pub clients: u32,
    /// Most operations a client starts, in all; 0 = until it is stopped.
    #[serde(default)]
    pub ops_max: u64,
    /// Least pause between two steps of a client, milliseconds.
    pub think_ms_min: u32,
    /// Longest pause between two steps of a client, milliseconds.
    pub think_ms_max: u32,
    /// Longest value written, bytes (a value is never shorter than its own label).
    pub value_bytes_max: u32,
    /// How many keys the clients share.
    pub keys: u32,
    /// Most requests of one client under way at a time.
    pub pipeline: u32,
    /// Session timeout asked for, milliseconds.
    pub timeout_ms: u32,
    /// How often in a thousand steps a client first moves to another server with its session.
    #[serde(default)]
    pub roam_permille: u32,
}

impl WorkloadSpec {
    /// A moderate workload of a kind: a client does on the order of ten operations a second.
    pub fn moderate(kind: Kind) -> WorkloadSpec {
        WorkloadSpec {
            kind,
            clients: 3,
            ops_max: 0,
            think_ms_min: 20,
            think_ms_max: 300,
            value_bytes_max: 64,
            keys: 4,
            pipeline: 4,
            timeout_ms: 6000,
            roam_permille: 0,
        }
    }

    /// What is wrong with it, if anything: a message for people.
    ///
    /// # Errors
    ///
    /// A number that no workload can work with.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("workload {:?}: {what}", self.kind));
        if self.clients == 0 || self.clients > CLIENTS_MAX {
            return wrong("clients must be 1 to 1000");
        }
        if self.keys == 0 || self.keys > KEYS_MAX {
            return wrong("keys must be 1 to 10000");
        }
        if self.pipeline == 0 || self.pipeline > PIPELINE_MAX {
            return wrong("pipeline must be 1 to 512");
        }
        if self.think_ms_min > self.think_ms_max {
            return wrong("think_ms_min must not exceed think_ms_max");
        }
        if self.think_ms_max == 0 {
            return wrong("think_ms_max must not be 0");
        }
        if self.value_bytes_max > VALUE_BYTES_MAX {
            return wrong("value_bytes_max must not exceed 1000000");
        }
        if self.timeout_ms == 0 {
            return wrong("timeout_ms must not be 0");
        }
        if self.roam_permille > 1000 {
            return wrong("roam_permille must not exceed 1000");
        }
        Ok(())
    }
}

/// Most clients of one workload.
pub const CLIENTS_MAX: u32 = 1000;
/// Most keys of one workload.
pub const KEYS_MAX: u32 = 10_000;
/// Deepest pipeline; below the client's own bound on outstanding requests.
pub const PIPELINE_MAX: u32 = 512;
/// Largest value, bytes; with path and header it must fit a frame.
pub const VALUE_BYTES_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moderate_specs_are_sound_and_absurd_ones_are_named() {
        for kind in Kind::ALL {
            WorkloadSpec::moderate(kind).check().expect("sound");
        }
        let absurd = WorkloadSpec {
            keys: 0,
            ..WorkloadSpec::moderate(Kind::Mix)
        };
        assert!(absurd.check().unwrap_err().contains("keys"));
    }
}
