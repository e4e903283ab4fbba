//! How fast committed transactions are applied, with and without snapshots being taken, and
//! how fast a snapshot is written and loaded.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gamekeeper_core::base::{Epoch, SessionId, Zxid};
use gamekeeper_core::pipeline::replica::Replica;
use gamekeeper_core::proto::{Acl, CreateOp};
use gamekeeper_core::txn::{self, CreateTxn, Txn, TxnHeader};
use std::hint::black_box;

const GROUPS: usize = 100;

/// A replica and the zxid that comes next.
struct World {
    replica: Replica,
    versions: Vec<i32>,
}

impl World {
    /// `nodes` nodes of 100 bytes, a hundred parents.
    fn new(nodes: usize) -> World {
        let mut world = World {
            replica: Replica::new(),
            versions: vec![0; nodes],
        };
        for group in 0..GROUPS {
            world.apply(&create(format!("/group-{group:03}")));
        }
        for i in 0..nodes {
            world.apply(&create(path(i)));
        }
        world
    }

    fn encode(&self, txn: &Txn) -> (Zxid, Bytes) {
        let last = self.replica.last_zxid();
        let header = TxnHeader {
            session: SessionId(1),
            cxid: 1,
            zxid: Zxid::new(Epoch(1), last.counter() + 1),
            time_ms: 1,
        };
        (header.zxid, txn::encode(&header, txn))
    }

    fn apply(&mut self, txn: &Txn) {
        let (zxid, payload) = self.encode(txn);
        self.replica.apply(zxid, &payload).unwrap();
    }

    fn set(&mut self, i: usize) -> (Zxid, Bytes) {
        let i = i % self.versions.len();
        self.versions[i] += 1;
        self.encode(&Txn::SetData {
            path: path(i).into(),
            data: Some(Bytes::from(vec![8; 100])),
            version: self.versions[i],
        })
    }
}

fn path(i: usize) -> String {
    format!("/group-{:03}/node-{i:08}", i % GROUPS)
}

fn create(path: String) -> Txn {
    Txn::Create(CreateTxn {
        op: CreateOp::Create,
        path: path.into(),
        data: Some(Bytes::from(vec![7; 100])),
        acl: Acl::open(),
        ephemeral: false,
        parent_cversion: -1,
    })
}

fn apply(c: &mut Criterion) {
    for nodes in [1_000, 100_000] {
        let mut group = c.benchmark_group(format!("apply/{nodes}"));
        let mut world = World::new(nodes);
        let mut i = 0usize;
        let mut steps = |world: &mut World, b: &mut criterion::Bencher<'_>| {
            b.iter(|| {
                i = i.wrapping_add(7919);
                let (zxid, payload) = world.set(i);
                black_box(world.replica.apply(zxid, &payload).unwrap());
            });
        };
        group.bench_function("setData", |b| steps(&mut world, b));
        let snapshots: Vec<_> = (0..3).map(|_| world.replica.snapshot_begin()).collect();
        group.bench_function("setData/3-snapshots-open", |b| steps(&mut world, b));
        for id in snapshots {
            world.replica.snapshot_cancel(id);
        }
        let mut n = 0u64;
        group.bench_function("create+delete", |b| {
            b.iter(|| {
                n += 1;
                let path = format!("/group-042/fresh-{n:010}");
                world.apply(&create(path.clone()));
                world.apply(&Txn::Delete { path: path.into() });
            });
        });
        let tree = world.replica.tree();
        let paths: Vec<String> = (0..nodes).map(path).collect();
        let mut i = 0usize;
        group.bench_function("get", |b| {
            b.iter(|| {
                i = (i + 7919) % nodes;
                black_box(tree.get(&paths[i]).unwrap().stat())
            });
        });
        group.finish();
    }
}

fn snapshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot/100000");
    group.sample_size(10);
    let mut world = World::new(100_000);
    let mut body = Vec::new();
    group.bench_function("write", |b| {
        b.iter(|| {
            body.clear();
            let id = world.replica.snapshot_begin();
            loop {
                let (chunk, done) = world.replica.snapshot_next(id, 64 * 1024);
                body.extend_from_slice(&chunk);
                if done {
                    break;
                }
            }
        });
    });
    group.bench_function("one-step-64KiB", |b| {
        b.iter_batched(
            || (),
            |()| {
                let id = world.replica.snapshot_begin();
                black_box(world.replica.snapshot_next(id, 64 * 1024));
                world.replica.snapshot_cancel(id);
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("load", |b| b.iter(|| Replica::load(&body).unwrap()));
    group.finish();
}

criterion_group!(benches, apply, snapshot);
criterion_main!(benches);
