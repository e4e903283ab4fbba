//! A scenario in a few lines, for people.

use super::{Latency, Scenario};
use std::collections::BTreeMap;
use std::fmt;

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (c, t, s) = (&self.cluster, &self.timing, &self.sizes);
        writeln!(
            f,
            "scenario   seed {}, intensity {}",
            self.seed,
            permille(self.intensity_permille)
        )?;
        writeln!(
            f,
            "ensemble   {} voters, {} observers; tick {} ms, init {}, sync {}; sessions {} ms; restart after {} ms",
            c.voters,
            c.observers,
            t.tick_ms,
            t.init_limit,
            t.sync_limit,
            t.session_timeout_ms,
            t.restart_ms
        )?;
        writeln!(
            f,
            "sizes      segment {} B, batch {} B, snapshot every {} txns, chunk {} B, window {} txns, drain {}",
            s.segment_bytes,
            s.batch_bytes_max,
            s.snapshot_every_txns,
            s.snapshot_chunk_bytes,
            s.history_entries_max,
            s.drain_limit
        )?;
        writeln!(
            f,
            "network    peers {}, clients {}, {} B in flight",
            law(self.network.peers),
            law(self.network.clients),
            self.network.window_bytes
        )?;
        writeln!(
            f,
            "disk       write {}, sync {}; clocks off {} ms, drift {} ppm",
            law(self.disk.write),
            law(self.disk.sync),
            self.clock.wall_offset_ms_max,
            self.clock.drift_ppm_max
        )?;
        let traffic: Vec<String> = self
            .workloads
            .iter()
            .map(|w| format!("{} {} ({} keys)", w.clients, w.kind.name(), w.keys))
            .collect();
        writeln!(f, "clients    {}", traffic.join(", "))?;
        writeln!(
            f,
            "phases     warm-up {} ms, chaos {} ms, heal {}, converge within {} ms",
            self.phases.warmup_ms,
            self.phases.chaos_ms,
            if self.phases.heal_core_only {
                "a core"
            } else {
                "all"
            },
            self.phases.converge_ms_max
        )?;
        let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
        for planned in &self.plan {
            *kinds.entry(planned.fault.kind()).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(k, n)| format!("{k} {n}")).collect();
        write!(
            f,
            "plan       {} faults: {}",
            self.plan.len(),
            kinds.join(", ")
        )
    }
}

/// Thousandths as a decimal number.
pub fn permille(value: u32) -> String {
    let text = format!("{}.{:03}", value / 1000, value % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn law(law: Latency) -> String {
    format!("{}..{} us", law.base_us, law.base_us + law.spread_us)
}
