//! How fast requests, replies and transactions are read and written.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::Writer;
use gamekeeper_core::proto::{
    Acl, CreateOp, CreateRequest, Request, RequestHeader, Response, SetDataRequest, Stat,
};
use gamekeeper_core::txn::{self, CreateTxn, Txn, TxnHeader};
use std::hint::black_box;

const PATH: &str = "/service/shard-0017/replica-0003";

fn payload(bytes: usize) -> Option<Bytes> {
    Some(Bytes::from(vec![7; bytes]))
}

fn requests(c: &mut Criterion) {
    for bytes in [100, 1024] {
        let mut group = c.benchmark_group(format!("request/{bytes}B"));
        let create = Request::Create(CreateRequest {
            op: CreateOp::Create,
            path: PATH.into(),
            data: payload(bytes),
            acl: Some(Acl::open()),
            flags: 0,
        });
        let set = Request::SetData(SetDataRequest {
            path: PATH.into(),
            data: payload(bytes),
            version: 3,
        });
        for (name, request) in [("create", create), ("setData", set)] {
            let frame = request.frame(1);
            group.throughput(Throughput::Bytes(frame.len() as u64));
            group.bench_function(format!("{name}/encode"), |b| {
                b.iter(|| black_box(&request).frame(1));
            });
            group.bench_function(format!("{name}/decode"), |b| {
                b.iter(|| {
                    let (header, body) = RequestHeader::split(black_box(&frame)).unwrap();
                    Request::decode(header.op, body).unwrap()
                });
            });
        }
        let reply = Response::GetData {
            data: payload(bytes),
            stat: Stat::default(),
        };
        group.bench_function("getData/reply", |b| {
            b.iter(|| black_box(&reply).frame(1, Zxid(9)));
        });
        group.finish();
    }
}

fn transactions(c: &mut Criterion) {
    let mut group = c.benchmark_group("txn");
    let header = TxnHeader {
        session: SessionId(1),
        cxid: 2,
        zxid: Zxid(3),
        time_ms: 4,
    };
    let create = |path: String| {
        Txn::Create(CreateTxn {
            op: CreateOp::Create,
            path: path.into(),
            data: payload(100),
            acl: Acl::open(),
            ephemeral: false,
            parent_cversion: 1,
        })
    };
    let multi = Txn::Multi((0..16).map(|i| create(format!("{PATH}/{i}"))).collect());
    for (name, txn) in [("create", create(PATH.into())), ("multi16", multi)] {
        let bytes = txn::encode(&header, &txn);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{name}/encode"), |b| {
            b.iter(|| txn::encode(&header, black_box(&txn)));
        });
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| txn::decode(black_box(&bytes)).unwrap());
        });
    }
    group.finish();
}

fn children(c: &mut Criterion) {
    let children = (0..1000).map(|i| format!("member-{i:010}")).collect();
    let reply = Response::GetChildren { children };
    c.bench_function("children/1000/encode", |b| {
        b.iter(|| {
            let mut out = Writer::with_capacity(32 * 1024);
            black_box(&reply).encode(&mut out);
            out.finish()
        });
    });
}

criterion_group!(benches, requests, transactions, children);
criterion_main!(benches);
