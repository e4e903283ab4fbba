//! Simulator events per second: inputs stepped by all servers of a life, with the service and
//! with the null server in the same world (`sim calibrate` tells the same per processor
//! second, over many seeds).
//!
//! A life is short here, 15 virtual seconds, so that a sample is tens of milliseconds; it is
//! hurt, healed and judged like every other.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use gamekeeper_sim::life::{Cast, Keep, Life, Progress, live_on_fresh_thread};
use gamekeeper_sim::scenario::{INTENSITY_NORMAL, Scenario, ScenarioFile};
use std::time::Duration;

/// Three voters, five voters, and a life with observers.
const SEEDS: [u64; 3] = [1, 2, 7];
const FILE: &str = "[phases]\nwarmup_ms = 3000\nchaos_ms = 12000\n";

fn scenario(seed: u64) -> Scenario {
    let file = ScenarioFile::parse(FILE).expect("the file is TOML");
    let completed = file.complete(seed, INTENSITY_NORMAL);
    completed.expect("the file names what scenarios have")
}

fn live(scenario: &Scenario, cast: Cast) -> Life {
    live_on_fresh_thread(scenario, cast, Keep::Outcome, &Progress::default())
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for seed in SEEDS {
        let scenario = scenario(seed);
        for (name, cast) in [("service", Cast::Service), ("null", Cast::Null)] {
            let events = live(&scenario, cast).outcome.events;
            group.throughput(Throughput::Elements(events));
            group.bench_function(format!("{name}/seed-{seed}"), |bencher| {
                bencher.iter(|| live(&scenario, cast).outcome.events);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
