//! Scenarios as TOML. A file fixes what it names; the seed draws the rest.
//!
//! What always holds: a key nobody knows is an error that names it, never ignored; a file
//! written by [`Scenario::to_toml`] reads back equal.

use super::{Scenario, draw};
use crate::plan;
use thiserror::Error;
use toml::{Table, Value};

/// Most voters, and most observers, a file may ask for.
const SERVERS_MAX: u8 = 9;
/// Most clients a file may ask for in all.
const CLIENTS_MAX: u64 = 256;
/// Longest phase a file may ask for, ms: one virtual day.
const PHASE_MS_MAX: u64 = 86_400_000;
/// Most planned faults a file may name.
const FAULTS_MAX: usize = 10_000;

/// Why a file is no scenario.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ScenarioError {
    /// It is not TOML, or a value has the wrong type.
    #[error("{0}")]
    Malformed(String),
    /// It names something scenarios do not have.
    #[error("unknown key `{0}`")]
    UnknownKey(String),
    /// A value is outside what can be run.
    #[error("{0}")]
    OutOfRange(String),
}

/// What a file fixes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ScenarioFile {
    table: Table,
}

impl ScenarioFile {
    /// Reads the text of a file. Keys are judged later, by [`ScenarioFile::complete`].
    pub fn parse(text: &str) -> Result<ScenarioFile, ScenarioError> {
        let table: Table =
            toml::from_str(text).map_err(|e| ScenarioError::Malformed(one_line(&e.to_string())))?;
        Ok(ScenarioFile { table })
    }

    /// True when it fixes nothing.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The seed the file names, if it names one.
    pub fn seed(&self) -> Result<Option<u64>, ScenarioError> {
        self.table.get("seed").map(seed_of).transpose()
    }

    /// The intensity the file names, if it names one, in thousandths.
    pub fn intensity_permille(&self) -> Result<Option<u32>, ScenarioError> {
        let Some(value) = self.table.get("intensity_permille") else {
            return Ok(None);
        };
        value
            .as_integer()
            .and_then(|n| u32::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| {
                ScenarioError::Malformed("`intensity_permille` is not a whole number".into())
            })
    }

    /// The scenario: what the file names as it says, the rest drawn from `seed`.
    ///
    /// The plan is drawn last, for the ensemble and phases the file asks for. Lists
    /// (`workloads`, `plan`) are replaced whole.
    pub fn complete(&self, seed: u64, intensity_permille: u32) -> Result<Scenario, ScenarioError> {
        let mut drawn = table_of(&draw::frame(seed, intensity_permille));
        overlay(&mut drawn, &self.table, "")?;
        let mut scenario: Scenario = Value::Table(drawn)
            .try_into()
            .map_err(|e: toml::de::Error| ScenarioError::Malformed(one_line(&e.to_string())))?;
        scenario.seed = seed;
        scenario.intensity_permille = intensity_permille;
        check(&scenario)?;
        if !self.table.contains_key("plan") {
            scenario.plan = plan::draw(&scenario);
        }
        scenario.plan.sort_by_key(|planned| planned.at_ms);
        plan::check(&scenario).map_err(ScenarioError::OutOfRange)?;
        Ok(scenario)
    }
}

impl Scenario {
    /// The scenario as a file that fixes everything.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a scenario is made of numbers, names, tables and lists")
    }

    /// Reads a file that fixes everything.
    pub fn from_toml(text: &str) -> Result<Scenario, ScenarioError> {
        let file = ScenarioFile::parse(text)?;
        let seed = file
            .seed()?
            .ok_or_else(|| ScenarioError::Malformed("`seed` is missing".into()))?;
        let intensity = file
            .intensity_permille()?
            .ok_or_else(|| ScenarioError::Malformed("`intensity_permille` is missing".into()))?;
        for name in table_of(&draw::frame(seed, intensity)).keys() {
            if !file.table.contains_key(name) {
                return Err(ScenarioError::Malformed(format!("`{name}` is missing")));
            }
        }
        file.complete(seed, intensity)
    }
}

fn table_of(scenario: &Scenario) -> Table {
    match Value::try_from(scenario).expect("a scenario is plain data") {
        Value::Table(table) => table,
        _ => unreachable!("a struct is written as a table"),
    }
}

/// Lays `file` over `drawn`, table by table. A name `drawn` does not have is an error.
fn overlay(drawn: &mut Table, file: &Table, path: &str) -> Result<(), ScenarioError> {
    for (key, value) in file {
        let name = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (drawn.get_mut(key), value) {
            (None, _) => return Err(ScenarioError::UnknownKey(name)),
            (Some(Value::Table(inner)), Value::Table(over)) => overlay(inner, over, &name)?,
            (Some(old), new) if !same_shape(old, new) && key != "seed" => {
                return Err(ScenarioError::Malformed(format!(
                    "`{name}` must be {}, not {}",
                    shape_of(old),
                    shape_of(new)
                )));
            }
            (Some(old), new) => *old = new.clone(),
        }
    }
    Ok(())
}

fn same_shape(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn shape_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a point",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    let range = |name: &str, value: u64, low: u64, high: u64| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(ScenarioError::OutOfRange(format!(
                "`{name}` is {value}, must be {low} to {high}"
            )))
        }
    };
    let s = scenario;
    let day = PHASE_MS_MAX;
    range(
        "cluster.voters",
        s.cluster.voters.into(),
        1,
        SERVERS_MAX.into(),
    )?;
    range(
        "cluster.observers",
        s.cluster.observers.into(),
        0,
        SERVERS_MAX.into(),
    )?;
    range("timing.tick_ms", s.timing.tick_ms, 10, 60_000)?;
    range("timing.init_limit", s.timing.init_limit, 1, 1000)?;
    range("timing.sync_limit", s.timing.sync_limit, 1, 1000)?;
    range(
        "timing.session_timeout_ms",
        s.timing.session_timeout_ms,
        1,
        day,
    )?;
    range("timing.finalize_wait_ms", s.timing.finalize_wait_ms, 1, day)?;
    range(
        "timing.notify_wait_ms_min",
        s.timing.notify_wait_ms_min,
        1,
        day,
    )?;
    let notify_min = s.timing.notify_wait_ms_min;
    range(
        "timing.notify_wait_ms_max",
        s.timing.notify_wait_ms_max,
        notify_min,
        day,
    )?;
    range("timing.restart_ms", s.timing.restart_ms, 1, day)?;
    range("sizes.segment_bytes", s.sizes.segment_bytes, 256, 1 << 30)?;
    range("sizes.batch_bytes_max", s.sizes.batch_bytes_max, 1, 1 << 30)?;
    range("sizes.read_bytes", s.sizes.read_bytes, 64, 1 << 30)?;
    range(
        "sizes.snapshot_every_txns",
        s.sizes.snapshot_every_txns,
        1,
        1 << 30,
    )?;
    range("sizes.snapshots_kept", s.sizes.snapshots_kept, 2, 100)?;
    range(
        "sizes.snapshot_chunk_bytes",
        s.sizes.snapshot_chunk_bytes,
        1,
        1 << 20,
    )?;
    range(
        "sizes.history_entries_max",
        s.sizes.history_entries_max,
        1,
        1 << 20,
    )?;
    range(
        "sizes.history_bytes_max",
        s.sizes.history_bytes_max,
        1,
        1 << 30,
    )?;
    range("sizes.drain_limit", s.sizes.drain_limit, 1, 1 << 20)?;
    range("network.window_bytes", s.network.window_bytes, 64, 1 << 30)?;
    range("network.notice_ms_max", s.network.notice_ms_max, 1, day)?;
    for (name, law) in [
        ("network.peers", s.network.peers),
        ("network.clients", s.network.clients),
        ("disk.write", s.disk.write),
        ("disk.sync", s.disk.sync),
    ] {
        range(&format!("{name}.base_us"), law.base_us, 0, day)?;
        range(&format!("{name}.spread_us"), law.spread_us, 0, day)?;
        range(&format!("{name}.tail_permille"), law.tail_permille, 0, 1000)?;
        range(&format!("{name}.tail_us"), law.tail_us, 0, day)?;
    }
    range(
        "clock.wall_offset_ms_max",
        s.clock.wall_offset_ms_max,
        0,
        day,
    )?;
    range(
        "clock.drift_ppm_max",
        s.clock.drift_ppm_max,
        0,
        plan::DRIFT_PPM_MAX,
    )?;
    range("phases.warmup_ms", s.phases.warmup_ms, 1, day)?;
    range("phases.chaos_ms", s.phases.chaos_ms, 1, day)?;
    range("phases.converge_ms_max", s.phases.converge_ms_max, 1, day)?;
    let mut clients = 0u64;
    for (index, traffic) in s.workloads.iter().enumerate() {
        let name = |field: &str| format!("workloads[{index}].{field}");
        range(&name("clients"), traffic.clients, 1, CLIENTS_MAX)?;
        let think_max = traffic.think_ms_max;
        range(&name("think_ms_max"), think_max, 1, day)?;
        range(&name("think_ms_min"), traffic.think_ms_min, 0, think_max)?;
        range(&name("keys"), traffic.keys, 1, 10_000)?;
        range(
            &name("value_bytes_max"),
            traffic.value_bytes_max,
            0,
            1_000_000,
        )?;
        range(&name("pipeline"), traffic.pipeline, 1, 512)?;
        range(&name("roam_permille"), traffic.roam_permille, 0, 1000)?;
        clients += traffic.clients;
    }
    range("workloads", clients, 1, CLIENTS_MAX)?;
    if s.plan.len() > FAULTS_MAX {
        return Err(ScenarioError::OutOfRange(format!(
            "`plan` names {} faults, at most {FAULTS_MAX} can be run",
            s.plan.len()
        )));
    }
    Ok(())
}

fn seed_of(value: &Value) -> Result<u64, ScenarioError> {
    let parsed = match value {
        Value::Integer(n) => u64::try_from(*n).ok(),
        Value::String(text) => text.parse().ok(),
        Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => None,
    };
    parsed.ok_or_else(|| {
        ScenarioError::Malformed("`seed` must be a whole number from 0 to 2^64 - 1".into())
    })
}

/// Parsers like to draw pictures; one line is wanted.
pub(crate) fn one_line(text: &str) -> String {
    let kept: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('|') && !picture(line))
        .collect();
    kept.join(": ")
}

/// True for the quoted source line of a parser's picture, `12 | text`.
fn picture(line: &str) -> bool {
    line.split_once('|')
        .is_some_and(|(number, _)| number.trim().parse::<u64>().is_ok())
}

/// TOML's integers end at 2^63 - 1, seeds at 2^64 - 1: the upper half is written as text.
pub(super) mod seed_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seed {
        Number(u64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(seed: &u64, to: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(number) => to.serialize_i64(number),
            Err(_) => to.serialize_str(&seed.to_string()),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Seed::deserialize(from)? {
            Seed::Number(number) => Ok(number),
            Seed::Text(text) => text
                .parse()
                .map_err(|_| D::Error::custom("`seed` must be a whole number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::INTENSITY_NORMAL;

    fn complete(text: &str) -> Result<Scenario, ScenarioError> {
        ScenarioFile::parse(text)?.complete(7, INTENSITY_NORMAL)
    }

    #[test]
    fn scenario_written_out_reads_back_equal() {
        for seed in (0..50).chain([u64::MAX]) {
            let drawn = draw::draw(seed, INTENSITY_NORMAL);
            let text = drawn.to_toml();
            assert_eq!(Scenario::from_toml(&text), Ok(drawn), "{text}");
        }
    }

    #[test]
    fn file_fixes_what_it_names_and_moves_no_other_draw() {
        let drawn = draw::frame(7, INTENSITY_NORMAL);
        let fixed = complete("[cluster]\nvoters = 5\nobservers = 2\n").unwrap();
        assert_eq!((fixed.cluster.voters, fixed.cluster.observers), (5, 2));
        assert_eq!(fixed.sizes, drawn.sizes);
        assert_eq!(fixed.workloads, drawn.workloads);
    }

    #[test]
    fn unknown_key_is_named() {
        assert_eq!(
            complete("[cluster]\nvotrs = 3\n"),
            Err(ScenarioError::UnknownKey("cluster.votrs".into()))
        );
        let error = complete("plan = [{ at_ms = 1, for_ms = 2, fault = { kind = 'flood' } }]")
            .unwrap_err()
            .to_string();
        assert!(error.contains("flood") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn wrong_type_and_range_are_named_in_one_line() {
        for (text, word) in [
            ("cluster = 3", "cluster"),
            ("[timing]\ntick_ms = 'soon'", "tick_ms"),
            ("[cluster]\nvoters = 0", "voters"),
            ("[cluster]\nvoters = -1", "-1"),
            ("workloads = []", "workloads"),
            ("x = = 3", "1"),
            ("seed = -4", "seed"),
        ] {
            let error = match ScenarioFile::parse(text).and_then(|f| {
                f.seed()?;
                f.complete(7, INTENSITY_NORMAL)
            }) {
                Ok(_) => panic!("{text} was taken"),
                Err(e) => e.to_string(),
            };
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }
}
