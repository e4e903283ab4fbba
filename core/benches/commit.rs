//! The commit path inside the core: a client's frame to its reply, over prepare, propose,
//! log, acknowledge, commit and apply, with instant links and disks in memory. What is
//! measured is the machine, not the shell around it.
//!
//! One iteration is one burst: so many sets in flight at once, then all their replies.

#[path = "../tests/testbed/mod.rs"]
mod testbed;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gamekeeper_core::base::{ConnId, ServerId};
use gamekeeper_core::proto::{Acl, CreateOp, CreateRequest, Request, SetDataRequest};
use testbed::Cluster;

fn cluster(voters: u8) -> (Cluster, ServerId, ConnId) {
    let mut cluster = Cluster::new(voters);
    cluster.run(5000);
    cluster.forget_events();
    let leader = cluster.leader().expect("a leader");
    let (conn, _, _) = cluster.connect(leader);
    let create = CreateRequest {
        op: CreateOp::Create,
        path: "/bench".into(),
        data: None,
        acl: Some(Acl::open()),
        flags: 0,
    };
    let (header, _) = cluster.ask(leader, conn, 1, &Request::Create(create));
    assert_eq!(header.err, 0);
    (cluster, leader, conn)
}

fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    for voters in [1, 3] {
        for value_bytes in [100, 1024] {
            for in_flight in [1, 16, 256] {
                let (mut cluster, leader, conn) = cluster(voters);
                let set = Request::SetData(SetDataRequest {
                    path: "/bench".into(),
                    data: Some(vec![7; value_bytes].into()),
                    version: -1,
                });
                group.throughput(Throughput::Elements(in_flight));
                let id = BenchmarkId::new(
                    format!("{voters} voters, {value_bytes} B"),
                    format!("{in_flight} in flight"),
                );
                group.bench_function(id, |b| {
                    b.iter(|| {
                        for xid in 0..in_flight {
                            cluster.send(leader, conn, xid as i32 + 2, &set);
                        }
                        cluster.settle();
                        let replies = cluster.inbox.get_mut(&conn).expect("replies");
                        assert_eq!(replies.len() as u64, in_flight);
                        replies.clear();
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
