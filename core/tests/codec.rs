//! Codecs: what is written comes back, and hostile bytes are error values.

use bytes::Bytes;
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::{JuteError, Record, Writer};
use gamekeeper_core::proto::{
    Acl, AuthPacket, CheckRequest, ConnectRequest, ConnectResponse, CreateOp, CreateRequest,
    DecodeError, DeleteRequest, ErrorCode, Id, MultiOp, MultiResult, OpCode, ReplyHeader, Request,
    RequestHeader, Response, SetAclRequest, SetDataRequest, SetWatches, Stat, WatchRequest,
};
use gamekeeper_core::txn::{self, CreateTxn, Txn, TxnError, TxnHeader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::Arc;

fn path() -> impl Strategy<Value = Arc<str>> {
    ".{0,12}".prop_map(Arc::from)
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn acl() -> impl Strategy<Value = Vec<Acl>> {
    vec(
        (any::<i32>(), ".{0,6}", ".{0,9}").prop_map(|(perms, s, i)| Acl::new(perms, Id::new(s, i))),
        0..4,
    )
}

fn stat() -> impl Strategy<Value = Stat> {
    (any::<[u64; 3]>(), any::<[i64; 3]>(), any::<[i32; 5]>()).prop_map(|(z, l, i)| Stat {
        czxid: Zxid(z[0]),
        mzxid: Zxid(z[1]),
        ctime: l[0],
        mtime: l[1],
        version: i[0],
        cversion: i[1],
        aversion: i[2],
        owner: SessionId(l[2]),
        data_length: i[3],
        num_children: i[4],
        pzxid: Zxid(z[2]),
    })
}

fn create_op() -> impl Strategy<Value = CreateOp> {
    prop_oneof![Just(CreateOp::Create), Just(CreateOp::Create2)]
}

fn create(flags: impl Strategy<Value = i32>) -> impl Strategy<Value = CreateRequest> {
    (create_op(), path(), data(), acl(), flags).prop_map(|(op, path, data, acl, flags)| {
        CreateRequest {
            op,
            path,
            data,
            acl: Some(acl),
            flags,
        }
    })
}

fn set_data() -> impl Strategy<Value = SetDataRequest> {
    (path(), data(), any::<i32>()).prop_map(|(path, data, version)| SetDataRequest {
        path,
        data,
        version,
    })
}

fn multi_op() -> impl Strategy<Value = MultiOp> {
    prop_oneof![
        create(0..4).prop_map(MultiOp::Create),
        (path(), any::<i32>())
            .prop_map(|(path, version)| MultiOp::Delete(DeleteRequest { path, version })),
        set_data().prop_map(MultiOp::SetData),
        (path(), any::<i32>())
            .prop_map(|(path, version)| MultiOp::Check(CheckRequest { path, version })),
    ]
}

fn watch() -> impl Strategy<Value = WatchRequest> {
    (path(), any::<bool>()).prop_map(|(path, watch)| WatchRequest { path, watch })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        create(any::<i32>()).prop_map(Request::Create),
        (path(), any::<i32>())
            .prop_map(|(path, version)| Request::Delete(DeleteRequest { path, version })),
        watch().prop_map(Request::Exists),
        watch().prop_map(Request::GetData),
        set_data().prop_map(Request::SetData),
        path().prop_map(|path| Request::GetAcl { path }),
        (path(), option::of(acl()), any::<i32>()).prop_map(|(path, acl, version)| {
            Request::SetAcl(SetAclRequest { path, acl, version })
        }),
        watch().prop_map(Request::GetChildren),
        watch().prop_map(Request::GetChildren2),
        path().prop_map(|path| Request::Sync { path }),
        Just(Request::Ping),
        vec(multi_op(), 0..5).prop_map(Request::Multi),
        (option::of(".{0,8}"), data())
            .prop_map(|(scheme, auth)| Request::Auth(AuthPacket { scheme, auth })),
        (
            any::<i64>(),
            vec(path(), 0..3),
            vec(path(), 0..3),
            vec(path(), 0..3)
        )
            .prop_map(|(relative_zxid, data, exist, child)| Request::SetWatches(
                SetWatches {
                    relative_zxid,
                    data,
                    exist,
                    child,
                }
            )),
        Just(Request::CloseSession),
    ]
}

fn multi_result() -> impl Strategy<Value = MultiResult> {
    prop_oneof![
        path().prop_map(|path| MultiResult::Create { path }),
        (path(), stat()).prop_map(|(path, stat)| MultiResult::Create2 { path, stat }),
        Just(MultiResult::Delete),
        stat().prop_map(|stat| MultiResult::SetData { stat }),
        Just(MultiResult::Check),
        any::<i32>().prop_map(|err| MultiResult::Error { err }),
    ]
}

fn response() -> impl Strategy<Value = (OpCode, Response)> {
    let names = || vec(".{0,8}", 0..4);
    prop_oneof![
        Just((OpCode::Delete, Response::Empty)),
        path().prop_map(|path| (OpCode::Create, Response::Create { path })),
        (path(), stat())
            .prop_map(|(path, stat)| (OpCode::Create2, Response::Create2 { path, stat })),
        stat().prop_map(|stat| (OpCode::Exists, Response::Exists { stat })),
        (data(), stat())
            .prop_map(|(data, stat)| (OpCode::GetData, Response::GetData { data, stat })),
        stat().prop_map(|stat| (OpCode::SetData, Response::SetData { stat })),
        (acl(), stat()).prop_map(|(acl, stat)| (OpCode::GetAcl, Response::GetAcl { acl, stat })),
        stat().prop_map(|stat| (OpCode::SetAcl, Response::SetAcl { stat })),
        names().prop_map(|children| (OpCode::GetChildren, Response::GetChildren { children })),
        (names(), stat()).prop_map(|(children, stat)| (
            OpCode::GetChildren2,
            Response::GetChildren2 { children, stat }
        )),
        path().prop_map(|path| (OpCode::Sync, Response::Sync { path })),
        vec(multi_result(), 0..4).prop_map(|r| (OpCode::Multi, Response::Multi(r))),
    ]
}

fn flat_txn() -> impl Strategy<Value = Txn> {
    prop_oneof![
        any::<i32>().prop_map(|timeout_ms| Txn::CreateSession { timeout_ms }),
        option::of(vec(path(), 0..3)).prop_map(|paths| Txn::CloseSession { paths }),
        any::<i32>().prop_map(|code| Txn::Error { code }),
        (
            create_op(),
            path(),
            data(),
            acl(),
            any::<bool>(),
            any::<i32>()
        )
            .prop_map(
                |(op, path, data, acl, ephemeral, parent_cversion)| Txn::Create(CreateTxn {
                    op,
                    path,
                    data,
                    acl,
                    ephemeral,
                    parent_cversion,
                })
            ),
        path().prop_map(|path| Txn::Delete { path }),
        (path(), data(), any::<i32>()).prop_map(|(path, data, version)| Txn::SetData {
            path,
            data,
            version
        }),
        (path(), acl(), any::<i32>()).prop_map(|(path, acl, version)| Txn::SetAcl {
            path,
            acl,
            version
        }),
        (path(), any::<i32>()).prop_map(|(path, version)| Txn::Check { path, version }),
    ]
}

fn any_txn() -> impl Strategy<Value = Txn> {
    prop_oneof![flat_txn(), vec(flat_txn(), 0..4).prop_map(Txn::Multi)]
}

fn header() -> impl Strategy<Value = TxnHeader> {
    (any::<i64>(), any::<i32>(), any::<u64>(), any::<i64>()).prop_map(|(s, cxid, z, time_ms)| {
        TxnHeader {
            session: SessionId(s),
            cxid,
            zxid: Zxid(z),
            time_ms,
        }
    })
}

proptest! {
    #[test]
    fn requests_come_back_as_written(request in request(), xid: i32) {
        let frame = request.frame(xid);
        let (header, body) = RequestHeader::split(&frame).unwrap();
        prop_assert_eq!(header.xid, xid);
        prop_assert_eq!(Request::decode(header.op, body), Ok(request));
    }

    #[test]
    fn every_cut_request_is_an_error(request in request(), at in any::<prop::sample::Index>()) {
        let frame = request.frame(1);
        let (header, body) = RequestHeader::split(&frame).unwrap();
        if !body.is_empty() {
            let cut = &body[..at.index(body.len())];
            let got = Request::decode(header.op, cut);
            let truncated =
                matches!(got, Err(DecodeError::Marshalling(JuteError::Truncated { .. })));
            prop_assert!(truncated, "{got:?}");
        }
    }

    #[test]
    fn trailing_bytes_of_a_request_are_ignored(request in request(), tail: Vec<u8>) {
        let mut out = Writer::new();
        request.encode(&mut out);
        out.raw(&tail);
        prop_assert_eq!(Request::decode(request.op().to_wire(), &out.finish()), Ok(request));
    }

    #[test]
    fn responses_come_back_as_written((op, response) in response(), xid: i32, zxid: u64) {
        let frame = response.frame(xid, Zxid(zxid));
        let (header, body) = ReplyHeader::split(&frame).unwrap();
        prop_assert_eq!(header, ReplyHeader::new(xid, Zxid(zxid), ErrorCode::Ok));
        prop_assert_eq!(Response::decode(op, body), Ok(response));
    }

    #[test]
    fn transactions_come_back_as_written(header in header(), txn in any_txn()) {
        let bytes = txn::encode(&header, &txn);
        prop_assert_eq!(txn::decode(&bytes), Ok((header, txn)));
    }

    #[test]
    fn handshakes_come_back_as_written(
        zxid: i64, timeout_ms: i32, session: i64, password in data(), read_only: Option<bool>,
    ) {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: zxid,
            timeout_ms,
            session: SessionId(session),
            password: password.clone(),
            read_only,
        };
        prop_assert_eq!(ConnectRequest::from_slice(&request.to_bytes()), Ok(request));
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session: SessionId(session),
            password: password.unwrap_or_default(),
            read_only,
        };
        prop_assert_eq!(ConnectResponse::from_slice(&response.to_bytes()), Ok(response));
    }

    #[test]
    fn hostile_bytes_never_panic(op in prop_oneof![any::<i32>(), -12..110i32], bytes: Vec<u8>) {
        let _ = Request::decode(op, &bytes);
        if let Some(op) = OpCode::from_wire(op) {
            let _ = Response::decode(op, &bytes);
        }
        let _ = txn::decode(&bytes);
        let _ = ConnectRequest::from_slice(&bytes);
        let _ = ConnectResponse::from_slice(&bytes);
    }

    #[test]
    fn a_flipped_byte_never_panics(
        header in header(), txn in any_txn(), request in request(),
        at in any::<prop::sample::Index>(), with: u8,
    ) {
        let mut bytes = txn::encode(&header, &txn).to_vec();
        let i = at.index(bytes.len());
        bytes[i] ^= with;
        let _ = txn::decode(&bytes);
        let mut frame = request.frame(1).to_vec();
        let i = at.index(frame.len());
        frame[i] ^= with;
        let (head, body) = RequestHeader::split(&frame).unwrap();
        let _ = Request::decode(head.op, body);
    }
}

/// One create as ZooKeeper's own client writes it, byte by byte.
#[test]
fn create_is_laid_out_as_zookeeper_does() {
    let request = Request::Create(CreateRequest {
        op: CreateOp::Create,
        path: "/a".into(),
        data: Some(Bytes::from_static(b"x")),
        acl: Some(Acl::open()),
        flags: 1,
    });
    let expected: &[u8] = b"\0\0\0\x05\0\0\0\x01\
        \0\0\0\x02/a\0\0\0\x01x\
        \0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\
        \0\0\0\x01";
    assert_eq!(&request.frame(5)[..], expected);
}

#[test]
fn an_empty_multi_is_legal() {
    let body = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";
    assert_eq!(Request::decode(14, body), Ok(Request::Multi(Vec::new())));
    assert!(matches!(
        Request::decode(14, &body[..5]),
        Err(DecodeError::Marshalling(_))
    ));
}

#[test]
fn a_multi_with_a_malformed_part_fails_whole() {
    let part = |create: CreateRequest| {
        let mut out = Writer::new();
        Request::Multi(vec![MultiOp::Create(create)]).encode(&mut out);
        Request::decode(14, &out.finish())
    };
    let create = |flags, acl| CreateRequest {
        op: CreateOp::Create,
        path: "/a".into(),
        data: None,
        acl,
        flags,
    };
    assert!(part(create(3, Some(Vec::new()))).is_ok());
    for flags in [-1, 5, 6, 7] {
        let got = part(create(flags, Some(Acl::open())));
        assert!(matches!(got, Err(DecodeError::Marshalling(_))), "{flags}");
    }
    let got = part(create(0, None));
    assert!(matches!(got, Err(DecodeError::Marshalling(_))));
    let got = part(create(4, Some(Acl::open())));
    assert_eq!(got, Err(DecodeError::Unimplemented(19)));
    // A read inside: getData of "/a" without a watch.
    let read = b"\0\0\0\x04\0\xff\xff\xff\xff\0\0\0\x02/a\0\xff\xff\xff\xff\x01\xff\xff\xff\xff";
    assert!(matches!(
        Request::decode(14, read),
        Err(DecodeError::Marshalling(_))
    ));
}

#[test]
fn what_a_client_must_not_send_is_unimplemented() {
    for op in [
        0, 10, 13, 16, 19, 20, 21, 22, 99, 102, 107, 9999, -1, -2, -10, -12,
    ] {
        assert_eq!(
            Request::decode(op, b""),
            Err(DecodeError::Unimplemented(op)),
            "{op}"
        );
    }
}

#[test]
fn a_null_path_or_watch_list_is_malformed() {
    let null = b"\xff\xff\xff\xff\0\0\0\0\0";
    for op in [2, 3, 4, 5, 6, 7, 8, 9, 12] {
        assert_eq!(
            Request::decode(op, null),
            Err(DecodeError::Marshalling(JuteError::UnexpectedNull)),
            "{op}"
        );
    }
    let lists = b"\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(
        Request::decode(101, lists),
        Err(DecodeError::Marshalling(JuteError::UnexpectedNull))
    );
}

#[test]
fn set_watches2_without_persistent_watches_is_set_watches() {
    let mut out = Writer::new();
    let watches = SetWatches {
        relative_zxid: 3,
        data: vec!["/a".into()],
        ..SetWatches::default()
    };
    watches.write(&mut out);
    let plain = out.clone();
    out.strings::<&str>(&[]);
    out.strings::<&str>(&[]);
    assert_eq!(
        Request::decode(105, &out.finish()),
        Ok(Request::SetWatches(watches))
    );
    let mut out = plain;
    out.strings::<&str>(&[]);
    out.strings(&["/p"]);
    assert_eq!(
        Request::decode(105, &out.finish()),
        Err(DecodeError::Unimplemented(105))
    );
}

#[test]
fn records_of_older_and_richer_logs_are_read() {
    let header = TxnHeader {
        session: SessionId(1),
        cxid: 2,
        zxid: Zxid(3),
        time_ms: 4,
    };
    let create = Txn::Create(CreateTxn {
        op: CreateOp::Create,
        path: "/a".into(),
        data: None,
        acl: Acl::open(),
        ephemeral: false,
        parent_cversion: -1,
    });
    let bytes = txn::encode(&header, &create);
    // Version 0 of the record ends before the parent's counter.
    assert_eq!(
        txn::decode(&bytes[..bytes.len() - 4]),
        Ok((header, create.clone()))
    );
    // A digest may follow.
    let mut with_digest = bytes.to_vec();
    with_digest.extend_from_slice(&[0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(txn::decode(&with_digest), Ok((header, create)));
}

#[test]
fn unsupported_transactions_say_so() {
    for kind in [16, 19, 20, 21, 4, 777] {
        let mut bytes = txn::encode(
            &TxnHeader {
                session: SessionId(1),
                cxid: 2,
                zxid: Zxid(3),
                time_ms: 4,
            },
            &Txn::Delete { path: "/a".into() },
        )
        .to_vec();
        bytes[28..32].copy_from_slice(&i32::to_be_bytes(kind));
        assert_eq!(txn::decode(&bytes), Err(TxnError::Unsupported(kind)));
    }
}
