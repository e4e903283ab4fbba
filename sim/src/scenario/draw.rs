//! How a seed becomes a scenario. Each part has a stream of its own.

use super::{
    ClockLaw, Cluster, DiskLaw, Latency, Network, Phases, Scenario, Sizes, Timing, Traffic,
    TrafficKind,
};
use crate::draw::{Draws, fork};
use crate::plan;

/// Steps (an operation or a few) per virtual second all clients of a run together aim at. Enough for 500
/// committed transactions in 60 s of chaos, and not much more: time is spent on more seeds.
const STEPS_PER_S: (u64, u64) = (8, 14);

/// Draws the whole scenario of a seed.
pub fn draw(seed: u64, intensity_permille: u32) -> Scenario {
    let mut scenario = frame(seed, intensity_permille);
    scenario.plan = plan::draw(&scenario);
    scenario
}

/// Everything but the plan, which depends on the rest.
pub(super) fn frame(seed: u64, intensity_permille: u32) -> Scenario {
    let cluster = cluster(&mut fork(seed, "cluster"));
    Scenario {
        seed,
        intensity_permille,
        cluster,
        timing: timing(&mut fork(seed, "timing")),
        sizes: sizes(&mut fork(seed, "sizes")),
        network: network(&mut fork(seed, "network")),
        disk: disk(&mut fork(seed, "disk")),
        clock: clock(&mut fork(seed, "clock")),
        phases: phases(&mut fork(seed, "phases")),
        workloads: workloads(&mut fork(seed, "workload")),
        plan: Vec::new(),
    }
}

fn cluster(draws: &mut Draws) -> Cluster {
    Cluster {
        voters: if draws.chance(650) { 3 } else { 5 },
        observers: [0, 1, 2][draws.weighted(&[6, 3, 1])],
    }
}

fn timing(draws: &mut Draws) -> Timing {
    let tick_ms = draws.pick(&[150, 200, 250, 300, 400]);
    let notify_wait_ms_min = draws.range(100, 250);
    Timing {
        tick_ms,
        init_limit: draws.range(8, 12),
        sync_limit: draws.range(3, 6),
        session_timeout_ms: tick_ms * draws.range(4, 16),
        finalize_wait_ms: draws.range(50, 200),
        notify_wait_ms_min,
        notify_wait_ms_max: notify_wait_ms_min * draws.range(4, 16),
        restart_ms: draws.log_range(50, 1500),
    }
}

fn sizes(draws: &mut Draws) -> Sizes {
    Sizes {
        segment_bytes: draws.log_range(1 << 10, 1 << 18),
        batch_bytes_max: draws.log_range(512, 1 << 16),
        read_bytes: draws.log_range(512, 1 << 16),
        snapshot_every_txns: draws.log_range(16, 600),
        snapshots_kept: draws.range(2, 3),
        snapshot_chunk_bytes: draws.log_range(128, 1 << 15),
        // With one or two an observer that is slow to synchronise falls out of the window.
        history_entries_max: draws.log_range(1, 512),
        history_bytes_max: draws.log_range(4 << 10, 1 << 20),
        drain_limit: draws.pick(&[1, 4, 256]),
    }
}

fn network(draws: &mut Draws) -> Network {
    Network {
        peers: Latency {
            base_us: draws.log_range(50, 2_000),
            spread_us: draws.log_range(20, 4_000),
            tail_permille: draws.range(0, 20),
            tail_us: draws.log_range(1_000, 100_000),
        },
        clients: Latency {
            base_us: draws.log_range(50, 4_000),
            spread_us: draws.log_range(20, 8_000),
            tail_permille: draws.range(0, 20),
            tail_us: draws.log_range(1_000, 100_000),
        },
        window_bytes: draws.log_range(512, 1 << 18),
        notice_ms_max: draws.log_range(1, 200),
    }
}

fn disk(draws: &mut Draws) -> DiskLaw {
    DiskLaw {
        write: Latency {
            base_us: draws.log_range(5, 200),
            spread_us: draws.log_range(5, 400),
            tail_permille: draws.range(0, 10),
            tail_us: draws.log_range(1_000, 30_000),
        },
        sync: Latency {
            base_us: draws.log_range(100, 4_000),
            spread_us: draws.log_range(100, 8_000),
            tail_permille: draws.range(0, 20),
            tail_us: draws.log_range(5_000, 120_000),
        },
    }
}

fn clock(draws: &mut Draws) -> ClockLaw {
    ClockLaw {
        wall_offset_ms_max: if draws.chance(500) {
            0
        } else {
            draws.log_range(10, 600_000)
        },
        drift_ppm_max: if draws.chance(400) {
            0
        } else {
            draws.log_range(10, 500)
        },
    }
}

fn phases(draws: &mut Draws) -> Phases {
    Phases {
        warmup_ms: draws.range(3_000, 5_000),
        chaos_ms: draws.range(60_000, 68_000),
        converge_ms_max: 60_000,
        heal_core_only: draws.chance(200),
    }
}

/// A swarm: some kinds of work in each run, never all.
fn workloads(draws: &mut Draws) -> Vec<Traffic> {
    let mut kinds = TrafficKind::ALL;
    draws.shuffle(&mut kinds);
    let groups = draws.range(2, 4) as usize;
    let clients: Vec<u64> = (0..groups).map(|_| draws.range(1, 3)).collect();
    let all: u64 = clients.iter().sum();
    let mean = all * 1000 / draws.range(STEPS_PER_S.0, STEPS_PER_S.1);
    kinds
        .iter()
        .zip(clients)
        .map(|(&kind, clients)| Traffic {
            kind,
            clients,
            think_ms_min: mean / 4,
            think_ms_max: mean * 7 / 4 + 1,
            keys: draws.log_range(1, 24),
            value_bytes_max: draws.log_range(8, 512),
            pipeline: draws.log_range(1, 16),
            roam_permille: draws.pick(&[0, 50, 150, 400]),
        })
        .collect()
}
