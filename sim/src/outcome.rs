//! What became of a life: verdict, numbers, fingerprint; printed for people and as one JSON
//! object for everything else.
//!
//! What it is not: it judges nothing. What always holds: everything but `cpu_ns` and
//! `judge_ns` is a function of the scenario.

use crate::plan::Family;
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// How a life is judged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every property and invariant held.
    Valid,
    /// One did not.
    Invalid {
        /// The property (`P1` to `P20`), the invariant by its TLA+ name, `panic`, or
        /// `liveness`.
        property: String,
        /// The records or events that convict, in words; for a panic its message.
        records: Vec<String>,
        /// Where in the source, for a panic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<String>,
    },
    /// The judge could not decide within its budget.
    Unknown {
        /// Why.
        why: String,
    },
    /// Nothing was put to the test: a failure of the harness and not a pass.
    Vacuous {
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Invalid { .. } => "invalid",
            Verdict::Unknown { .. } => "unknown",
            Verdict::Vacuous { .. } => "vacuous",
        }
    }

    /// The exit code it asks for: 0 valid, 1 a violation, 3 unknown or vacuous.
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Valid => 0,
            Verdict::Invalid { .. } => 1,
            Verdict::Unknown { .. } | Verdict::Vacuous { .. } => 3,
        }
    }

    /// What two failures have in common when they are one bug: property and place, or the
    /// first record with its numbers blotted out.
    pub fn signature(&self) -> String {
        match self {
            Verdict::Valid => "valid".into(),
            Verdict::Invalid {
                property,
                records,
                place,
            } => match place {
                Some(place) => format!("{property} at {place}"),
                None => {
                    let first = records.first().map_or("", String::as_str);
                    format!("{property}: {}", blot(first))
                }
            },
            Verdict::Unknown { why } => format!("unknown: {}", blot(why)),
            Verdict::Vacuous { why } => format!("vacuous: {}", blot(why)),
        }
    }
}

/// Replaces every word with a digit in it by `#`, and cuts what is too long to compare.
fn blot(text: &str) -> String {
    const WORDS_MAX: usize = 20;
    let words = text.split_whitespace().take(WORDS_MAX);
    let blotted = words.map(|word| match word.contains(|c: char| c.is_ascii_digit()) {
        true => "#",
        false => word,
    });
    blotted.collect::<Vec<&str>>().join(" ")
}

/// What clients' operations came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ops {
    /// Answered without an error.
    pub ok: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Never answered.
    pub unknown: u64,
}

/// What became of a life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its scenario's seed.
    pub seed: u64,
    /// The judgement.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The hash of the trace, hexadecimal.
    pub fingerprint: String,
    /// Distinct transactions delivered.
    pub commits: u64,
    /// Inputs all servers stepped.
    pub events: u64,
    /// How long it lasted, virtual.
    pub virtual_ns: u64,
    /// How long the plan was at work, virtual.
    pub chaos_ns: u64,
    /// Leaderships established.
    pub elections: u64,
    /// Processes killed, halted ones included.
    pub crashes: u64,
    /// Recoveries completed after a crash.
    pub recoveries: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Faults that did not, by kind and reason.
    pub skipped: BTreeMap<String, u64>,
    /// Operations of clients.
    pub ops: Ops,
    /// Rare roads walked, by name.
    pub probes: BTreeMap<String, u64>,
    /// Messages delivered to servers, by name.
    pub messages: BTreeMap<String, u64>,
    /// Processor time it took; not a function of the scenario.
    #[serde(default)]
    pub cpu_ns: u64,
    /// How much of it the judge took; not a function of the scenario.
    #[serde(default)]
    pub judge_ns: u64,
}

impl Outcome {
    /// An outcome in which nothing has happened yet.
    pub fn new(seed: u64) -> Outcome {
        Outcome {
            seed,
            verdict: Verdict::Vacuous {
                why: "nothing happened".into(),
            },
            fingerprint: String::new(),
            commits: 0,
            events: 0,
            virtual_ns: 0,
            chaos_ns: 0,
            elections: 0,
            crashes: 0,
            recoveries: 0,
            faults: BTreeMap::new(),
            skipped: BTreeMap::new(),
            ops: Ops::default(),
            probes: BTreeMap::new(),
            messages: BTreeMap::new(),
            cpu_ns: 0,
            judge_ns: 0,
        }
    }

    /// True when a fault of this family struck.
    pub fn saw(&self, family: Family) -> bool {
        self.faults
            .keys()
            .any(|kind| family_of(kind) == Some(family))
    }

    /// True when a leader was lost and another established.
    pub fn saw_leader_change(&self) -> bool {
        self.elections > 1
    }

    /// True when a server died and came back.
    pub fn saw_recovery(&self) -> bool {
        self.crashes > 0 && self.recoveries > 0
    }

    /// One JSON object on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an outcome is made of names and numbers")
    }

    /// The outcome for people; `replay` is the command that lives it again.
    pub fn print(&self, replay: &str) -> String {
        let mut out = String::new();
        let line = |out: &mut String, name: &str, text: fmt::Arguments<'_>| {
            writeln!(out, "{name:<10} {text}").expect("a string takes everything");
        };
        line(
            &mut out,
            "happened",
            format_args!(
                "{} elections, {} crashes, {} recoveries, {} commits",
                self.elections, self.crashes, self.recoveries, self.commits
            ),
        );
        line(&mut out, "faults", format_args!("{}", counts(&self.faults)));
        if !self.skipped.is_empty() {
            line(
                &mut out,
                "skipped",
                format_args!("{}", counts(&self.skipped)),
            );
        }
        let Ops {
            ok,
            failed,
            unknown,
        } = self.ops;
        line(
            &mut out,
            "operations",
            format_args!("{ok} ok, {failed} failed, {unknown} unknown"),
        );
        line(&mut out, "time", format_args!("{}", self.time()));
        self.print_verdict(&mut out);
        line(
            &mut out,
            "fingerprint",
            format_args!("{}", self.fingerprint),
        );
        line(&mut out, "replay", format_args!("{replay}"));
        out
    }

    fn time(&self) -> String {
        let seconds = |ns: u64| format!("{}.{:01} s", ns / 1_000_000_000, ns / 100_000_000 % 10);
        let mut text = format!(
            "{} virtual, {} events",
            seconds(self.virtual_ns),
            self.events
        );
        if let Some(speed) = self.virtual_ns.checked_div(self.cpu_ns) {
            let cpu_ms = self.cpu_ns / 1_000_000;
            write!(
                text,
                ", {cpu_ms} ms of processor, {speed} times as fast as life"
            )
            .expect("a string takes everything");
        }
        text
    }

    fn print_verdict(&self, out: &mut String) {
        let name = self.verdict.name();
        let text = match &self.verdict {
            Verdict::Valid => name.to_string(),
            Verdict::Invalid {
                property,
                records,
                place,
            } => {
                let mut text = format!("{name}: {property}");
                if let Some(place) = place {
                    write!(text, " at {place}").expect("a string takes everything");
                }
                for record in records {
                    write!(text, "\n           - {record}").expect("a string takes everything");
                }
                text
            }
            Verdict::Unknown { why } | Verdict::Vacuous { why } => format!("{name}: {why}"),
        };
        writeln!(out, "verdict    {text}").expect("a string takes everything");
    }
}

/// The line that lives a scenario drawn from its seed again.
pub fn replay_line(scenario: &Scenario, file: Option<&str>) -> String {
    let mut line = format!("cargo run --release --bin sim -- --seed {}", scenario.seed);
    if let Some(file) = file {
        line.push_str(&format!(" --scenario {file}"));
    }
    if scenario.intensity_permille != crate::scenario::INTENSITY_NORMAL {
        let intensity = crate::scenario::permille(scenario.intensity_permille);
        line.push_str(&format!(" --intensity {intensity}"));
    }
    line
}

fn counts(of: &BTreeMap<String, u64>) -> String {
    if of.is_empty() {
        return "none".into();
    }
    let parts: Vec<String> = of.iter().map(|(name, n)| format!("{name} {n}")).collect();
    parts.join(", ")
}

/// The family of a kind of fault by its name.
fn family_of(kind: &str) -> Option<Family> {
    Some(match kind {
        "partition-halves" | "partition-ring" | "partition-bridge" | "isolate" | "depose"
        | "cut-link" | "cut-clients" => Family::Partition,
        "latency-spike" | "clog" | "break-connections" | "half-open" | "refuse-connects"
        | "corrupt-bytes" => Family::Link,
        "kill" | "kill-all" | "crash-loop" | "kill-at" | "pause" => Family::Process,
        "fsync-error" | "write-error" | "disk-full" | "slow-disk" | "stuck-disk" | "rot-log"
        | "rot-snapshot" | "rot-epoch" | "misdirect" | "lose-tail" | "rollback" | "wipe" => {
            Family::Disk
        }
        "wall-jump" | "drift" => Family::Clock,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn json_is_one_object_that_reads_back() {
        let mut outcome = Outcome::new(7);
        outcome.verdict = Verdict::Invalid {
            property: "P5".into(),
            records: vec!["session 2 read /a=1 after /a=2".into()],
            place: None,
        };
        let text = outcome.to_json();
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in [
            "seed",
            "verdict",
            "fingerprint",
            "commits",
            "events",
            "virtual_ns",
            "elections",
            "faults",
        ] {
            assert!(value.get(key).is_some(), "{key} is missing in {text}");
        }
        assert_eq!(value["verdict"], "invalid");
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }

    #[test]
    fn every_kind_of_fault_has_a_family_by_name() {
        for seed in 0..200 {
            for planned in scenario::draw(seed, 3000).plan {
                let family = family_of(planned.fault.kind());
                assert_eq!(family, Some(planned.fault.family()));
            }
        }
    }

    #[test]
    fn signature_forgets_numbers_and_keeps_places() {
        let verdict = |record: &str| Verdict::Invalid {
            property: "Agreement".into(),
            records: vec![record.into()],
            place: None,
        };
        assert_eq!(
            verdict("session 0x3a12 of /lock/1-11 read 12").signature(),
            verdict("session 0xfe of /lock/5-13 read 7").signature()
        );
        assert_ne!(
            verdict("s1 delivered 12").signature(),
            verdict("s1 proposed 12").signature()
        );
    }
}
