//! Linearizability without zxids: one register, clients that are never idle.
//!
//! The figures that `consistency.md` 5 asks for: 5 clients and 100 k operations, 10 and 100 k,
//! 20 and 1 k, and 20 writes of unknown outcome among 1 k, whole and broken, for few values
//! and for distinct ones. `zkcheck generate` prints the same histories.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gamekeeper_checker::linear::check;
use gamekeeper_checker::linear::generate::{Settings, Values, generate};
use gamekeeper_checker::linear::models::Register;
use std::hint::black_box;

/// Clients, operations, writes of unknown outcome.
const CASES: [(u32, u32, u32); 4] = [
    (5, 100_000, 0),
    (10, 100_000, 0),
    (20, 1000, 0),
    (5, 1000, 20),
];

fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    for (clients, operations, unanswered) in CASES {
        for values in [Values::Few, Values::Distinct] {
            for broken in [false, true] {
                let settings = Settings {
                    clients,
                    operations,
                    unanswered,
                    values,
                    broken,
                    ..Settings::default()
                };
                let rows = generate(&settings);
                let history: Vec<_> = rows.into_iter().map(|(operation, _)| operation).collect();
                let name = format!("{clients} clients, {operations} ops, {unanswered} unanswered");
                let kind = format!("{values:?}{}", if broken { ", broken" } else { "" });
                group.throughput(Throughput::Elements(u64::from(operations)));
                group.bench_function(BenchmarkId::new(name, kind), |bencher| {
                    bencher.iter(|| {
                        let verdict = check(&Register::default(), black_box(&history));
                        assert_eq!(verdict.word(), if broken { "invalid" } else { "valid" });
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
