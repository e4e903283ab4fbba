//! How fast a history in memory is judged: one hot register, many, and a tree; at three
//! lengths, because time per operation may not grow with the length.
//!
//! Every history is valid, so that all of it is walked. An operation is a request and its
//! answer. Only the judging is timed.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[path = "synthetic/mod.rs"]
mod synthetic;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use gamekeeper_checker::{Options, Verdict, judge};
use std::hint::black_box;
use synthetic::{Plan, Shape};

/// Lengths, operations.
const LENGTHS: [usize; 3] = [10_000, 100_000, 1_000_000];

fn walk(c: &mut Criterion) {
    for (name, shape) in [
        ("one_register", Shape::Registers(1)),
        ("many_registers", Shape::Registers(1000)),
        ("tree", Shape::Tree),
    ] {
        let mut group = c.benchmark_group(format!("walk/{name}"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        for operations in LENGTHS {
            let plan = Plan {
                shape,
                operations,
                clients: 10,
                seed: 1,
            };
            let history = synthetic::history(plan);
            let options = Options::default();
            let verdict = judge(&history, &options);
            assert!(matches!(verdict, Verdict::Valid(_)), "{name}: {verdict}");
            group.throughput(Throughput::Elements(operations as u64));
            group.bench_function(BenchmarkId::from_parameter(operations), |b| {
                b.iter(|| judge(black_box(&history), &options));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, walk);
criterion_main!(benches);
