//! Whole peers, from client frames to client frames.

mod testbed;

use bytes::Bytes;
use gamekeeper_core::base::{ConnId, Now, ServerId, SessionId, Zxid};
use gamekeeper_core::jute::Record;
use gamekeeper_core::pipeline::TimeoutBounds;
use gamekeeper_core::pipeline::front::{Front, FrontOut};
use gamekeeper_core::pipeline::relay::Relay;
use gamekeeper_core::pipeline::replica::Replica;
use gamekeeper_core::proto::{
    Acl, ConnectRequest, CreateOp, CreateRequest, DeleteRequest, MultiOp, OpCode, Request,
    Response, SetDataRequest, WatchRequest,
};
use gamekeeper_core::session::{SessionIds, password};
use testbed::Cluster;

fn create(path: &str, flags: i32) -> CreateRequest {
    CreateRequest {
        op: CreateOp::Create,
        path: path.into(),
        data: Some(b"v"[..].to_vec().into()),
        acl: Some(Acl::open()),
        flags,
    }
}

fn get(path: &str, watch: bool) -> Request {
    Request::GetData(WatchRequest {
        path: path.into(),
        watch,
    })
}

fn set(path: &str, data: &str) -> Request {
    let data = Some(data.as_bytes().to_vec().into());
    Request::SetData(SetDataRequest {
        path: path.into(),
        data,
        version: -1,
    })
}

const ONE: ServerId = ServerId(1);

#[test]
fn one_server_founds_itself_and_serves() {
    let mut c = Cluster::new(1);
    assert_eq!(c.leader(), Some(ONE));
    let (conn, _, _) = c.connect(ONE);
    let (header, body) = c.ask(ONE, conn, 1, &Request::Create(create("/a", 0)));
    assert_eq!((header.xid, header.err), (1, 0));
    assert_eq!(
        Response::decode(OpCode::Create, &body),
        Ok(Response::Create { path: "/a".into() })
    );
    let (header, body) = c.ask(ONE, conn, 2, &get("/a", false));
    assert_eq!(header.err, 0);
    let Ok(Response::GetData { data, .. }) = Response::decode(OpCode::GetData, &body) else {
        panic!("not data");
    };
    assert_eq!(data.as_deref(), Some(&b"v"[..]));
    let (header, _) = c.ask(ONE, conn, 3, &Request::Create(create("/a", 0)));
    assert_eq!(header.err, -110, "and a refused write has its own zxid");
    assert_eq!(header.zxid & 0xffff_ffff, 3);
}

#[test]
fn three_servers_elect_commit_through_any_of_them_and_agree() {
    let mut c = Cluster::new(3);
    c.run(2000);
    let leader = c.leader().expect("a leader");
    for id in 1..=3 {
        let id = ServerId(id);
        let (conn, _, _) = c.connect(id);
        let path = format!("/from-{id}");
        let (header, _) = c.ask(id, conn, 1, &Request::Create(create(&path, 0)));
        assert_eq!(header.err, 0, "through {id}, leader {leader}");
        let (header, body) = c.ask(id, conn, 2, &Request::Sync { path: "/".into() });
        assert_eq!(header.err, 0);
        let echoed = Ok(Response::Sync { path: "/".into() });
        assert_eq!(Response::decode(OpCode::Sync, &body), echoed);
    }
    assert!(c.agrees());
}

#[test]
fn a_leader_that_dies_is_replaced_and_nothing_is_lost() {
    let mut c = Cluster::new(3);
    c.run(2000);
    let leader = c.leader().expect("a leader");
    let (conn, session, password) = c.connect(leader);
    assert_eq!(
        c.ask(leader, conn, 1, &Request::Create(create("/kept", 0)))
            .0
            .err,
        0
    );
    assert_eq!(
        c.ask(leader, conn, 2, &Request::Create(create("/mine", 1)))
            .0
            .err,
        0
    );
    c.crash(leader);
    c.run(20_000);
    let next = c.leader().expect("another leader");
    assert_ne!(next, leader);
    let request = ConnectRequest {
        timeout_ms: 30_000,
        session,
        password: Some(password),
        read_only: Some(false),
        ..ConnectRequest::default()
    };
    let (conn, again, _) = c.handshake(next, &request).expect("the session lives on");
    assert_eq!(again, session);
    assert_eq!(c.ask(next, conn, 3, &get("/kept", false)).0.err, 0);
    assert_eq!(c.ask(next, conn, 4, &get("/mine", false)).0.err, 0);
    c.boot(leader);
    c.run(20_000);
    assert_eq!(c.ask(next, conn, 5, &set("/kept", "w")).0.err, 0);
    assert!(c.agrees(), "the old leader has caught up");
}

#[test]
fn only_a_leader_that_a_quorum_follows_calls_a_session_expired() {
    let mut c = Cluster::new(3);
    c.run(2000);
    let leader = c.leader().expect("a leader");
    let session = SessionId(0x0700_0000_0000_0001);
    let request = ConnectRequest {
        timeout_ms: 30_000,
        session,
        password: Some(password(session).to_vec().into()),
        read_only: Some(false),
        ..ConnectRequest::default()
    };
    assert!(c.handshake(leader, &request).is_none());
    let refused = c.inbox.len() as u64;
    assert_eq!(
        c.inbox[&ConnId(refused)],
        [Bytes::new()],
        "told, then closed"
    );
    c.mute(leader);
    assert!(c.handshake(leader, &request).is_none());
    assert!(
        !c.inbox.contains_key(&ConnId(refused + 1)),
        "a successor may have opened it"
    );
}

#[test]
fn an_abandoned_session_expires_and_takes_its_ephemerals() {
    let mut c = Cluster::new(3);
    c.run(2000);
    let leader = c.leader().expect("a leader");
    let follower = (1..=3).map(ServerId).find(|id| *id != leader).unwrap();
    let (conn, _, _) = c.connect(follower);
    assert_eq!(
        c.ask(follower, conn, 1, &Request::Create(create("/e", 1)))
            .0
            .err,
        0
    );
    c.run(40_000);
    let (conn, _, _) = c.connect(leader);
    assert_eq!(c.ask(leader, conn, 1, &get("/e", false)).0.err, -101);
    assert!(c.agrees());
}

#[test]
fn a_client_of_the_leader_that_only_reads_keeps_its_session() {
    let mut c = Cluster::new(1);
    let (conn, _, _) = c.connect(ONE);
    for xid in 1..10 {
        c.run(20_000);
        assert_eq!(c.ask(ONE, conn, xid, &get("/", false)).0.err, 0);
    }
}

#[test]
fn a_watch_is_told_before_the_data_that_fired_it() {
    let mut c = Cluster::new(1);
    let (a, _, _) = c.connect(ONE);
    let (b, _, _) = c.connect(ONE);
    c.ask(ONE, a, 1, &Request::Create(create("/w", 0)));
    c.ask(ONE, a, 2, &get("/w", true));
    c.ask(ONE, b, 1, &set("/w", "2"));
    c.send(ONE, a, 3, &get("/w", false));
    c.settle();
    assert_eq!(c.reply(a).unwrap().0.xid, -1);
    assert_eq!(c.reply(a).unwrap().0.xid, 3);
    assert!(c.reply(a).is_none());
}

#[test]
fn a_write_behind_a_sync_is_sent_only_once_the_sync_is_answered() {
    let replica = Replica::default();
    let bounds = TimeoutBounds {
        min_ms: 1000,
        max_ms: 9000,
    };
    let mut front = Front::new(bounds, SessionIds::new(ONE, 1));
    front.start_serving();
    let (mut outbox, mut relays) = (Vec::new(), Vec::new());
    let mut out = FrontOut {
        outbox: &mut outbox,
        relays: &mut relays,
    };
    let (conn, session) = (ConnId(1), SessionId(7));
    front.opened(Now::default(), conn, "10.0.0.9".parse().unwrap());
    let hello = ConnectRequest {
        session,
        password: Some(password(session).to_vec().into()),
        ..ConnectRequest::default()
    };
    front.frame(conn, hello.to_bytes(), &replica, &mut out);
    let Some(Relay::Attach { id, .. }) = out.relays.pop() else {
        panic!("no attach")
    };
    let attached = Relay::Attached {
        id,
        timeout_ms: Some(2000),
        fence: Zxid::ZERO,
    };
    front.relay(&attached, &replica, &mut out);
    for (xid, request) in [
        (1, Request::Sync { path: "/".into() }),
        (2, set("/s", "later")),
    ] {
        front.frame(conn, request.frame(xid), &replica, &mut out);
    }
    let [Relay::Sync { id, .. }] = out.relays[..] else {
        panic!("{:?}", out.relays)
    };
    front.relay(
        &Relay::Synced {
            id,
            upto: Zxid::ZERO,
        },
        &replica,
        &mut out,
    );
    assert!(matches!(
        out.relays[..],
        [Relay::Sync { .. }, Relay::Request { cxid: 2, .. }]
    ));
}

#[test]
fn a_failed_multi_leaves_nothing_behind() {
    let mut c = Cluster::new(1);
    let (conn, _, _) = c.connect(ONE);
    let missing = DeleteRequest {
        path: "/missing".into(),
        version: -1,
    };
    let ops = vec![MultiOp::Create(create("/s-", 2)), MultiOp::Delete(missing)];
    // Pipelined behind it, a sequential create must get the number the multi gave back.
    c.send(ONE, conn, 1, &Request::Multi(ops));
    c.send(ONE, conn, 2, &Request::Create(create("/s-", 2)));
    c.settle();
    let (header, _) = c.reply(conn).unwrap();
    assert_eq!(
        (header.xid, header.err),
        (1, 0),
        "the failure is in the body"
    );
    let (_, body) = c.reply(conn).unwrap();
    assert_eq!(
        Response::decode(OpCode::Create, &body),
        Ok(Response::Create {
            path: "/s-0000000000".into()
        }),
    );
}

#[test]
fn a_closing_session_gets_nothing_more() {
    let mut c = Cluster::new(1);
    let (conn, _, _) = c.connect(ONE);
    c.send(ONE, conn, 1, &Request::Create(create("/e", 1)));
    c.send(ONE, conn, 2, &Request::CloseSession);
    c.send(ONE, conn, 3, &Request::Create(create("/late", 1)));
    c.settle();
    assert_eq!(c.reply(conn).unwrap().0.xid, 1);
    assert_eq!(c.reply(conn).unwrap().0.xid, 2);
    assert!(c.reply(conn).is_none(), "closed");
    let (conn, session, _) = c.connect(ONE);
    assert_ne!(session, SessionId::NONE);
    for path in ["/e", "/late"] {
        assert_eq!(c.ask(ONE, conn, 1, &get(path, false)).0.err, -101, "{path}");
    }
}
