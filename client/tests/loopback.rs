//! The async face over real sockets, against a server of a page: it knows one node and breaks
//! the connection when told to.
//!
//! What the state machine promises is tested where it lives; here it is carried: dialling,
//! framing, callers, events, taps, the ends.

use bytes::{Bytes, BytesMut};
use gamekeeper_client::frame::FrameCutter;
use gamekeeper_client::{Client, ClientConfig, ClientError, Output, State, Tap};
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::Record;
use gamekeeper_core::proto::{
    Acl, ConnectRequest, ConnectResponse, CreateMode, ErrorCode, EventType, ReplyHeader, Request,
    RequestHeader, Response, Stat, WatchRequest, WatcherEvent,
};
use gamekeeper_runtime::TokioRuntime;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SESSION: SessionId = SessionId(7);

/// Serves one connection after the other; `/break` closes the one it arrives on.
async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        connection(stream).await;
    }
}

async fn connection(mut stream: TcpStream) {
    let mut cutter = FrameCutter::default();
    let mut bytes = BytesMut::with_capacity(4096);
    let (mut greeted, mut zxid) = (false, 10);
    loop {
        while let Some(frame) = cutter.cut().expect("a length") {
            zxid += 1;
            let answers = match greeted {
                false => vec![greeting(&frame)],
                true => match answers(&frame, zxid) {
                    Some(answers) => answers,
                    None => return,
                },
            };
            greeted = true;
            for answer in answers {
                let length = (answer.len() as u32).to_be_bytes();
                let whole = [&length[..], &answer].concat();
                // In two writes: a frame may come in pieces.
                let (first, second) = whole.split_at(3);
                stream.write_all(first).await.expect("write");
                stream.flush().await.expect("flush");
                stream.write_all(second).await.expect("write");
            }
        }
        bytes.clear();
        match stream.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => cutter.feed(&bytes),
            _ => return,
        }
    }
}

fn greeting(frame: &[u8]) -> Bytes {
    let request = ConnectRequest::from_slice(frame).expect("a handshake");
    assert!([SessionId::NONE, SESSION].contains(&request.session));
    let response = ConnectResponse {
        protocol_version: 0,
        timeout_ms: request.timeout_ms,
        session: SESSION,
        password: Bytes::from_static(&[9; 16]),
        read_only: Some(false),
    };
    response.to_bytes()
}

/// What a request is answered with; `None` breaks the connection.
fn answers(frame: &[u8], zxid: u64) -> Option<Vec<Bytes>> {
    let (header, body) = RequestHeader::split(frame).expect("a header");
    let stat = Stat::default();
    let response = match Request::decode(header.op, body).expect("a request") {
        Request::Create(r) => Response::Create { path: r.path },
        Request::Delete(r) if &*r.path == "/break" => return None,
        Request::GetData(r) => {
            let data = Some(Bytes::from_static(b"here"));
            let reply = Response::GetData { data, stat }.frame(header.xid, Zxid(zxid));
            let kind = EventType::NodeDataChanged;
            let event = WatcherEvent { kind, path: r.path };
            return Some(match r.watch {
                true => vec![reply, event.frame(zxid as i64 + 1)],
                false => vec![reply],
            });
        }
        Request::Exists(_) => {
            let header = ReplyHeader::new(header.xid, Zxid(zxid), ErrorCode::NoNode);
            return Some(vec![header.frame()]);
        }
        _ => Response::Empty,
    };
    Some(vec![response.frame(header.xid, Zxid(zxid))])
}

/// Remembers the kinds of what it hears.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<&'static str>>>);

impl Tap for Ear {
    fn hear(&mut self, output: &Output) {
        self.0.lock().expect("ear").push(match output {
            Output::Connect { .. } => "connect",
            Output::Send { .. } => "send",
            Output::Drop { .. } => "drop",
            Output::Reply { .. } => "reply",
            Output::Lost { .. } => "lost",
            Output::Refused { .. } => "refused",
            Output::AuthAnswered { .. } => "auth",
            Output::SetWatchesAnswered { .. } => "watches",
            Output::PingAnswered { .. } => "pong",
            Output::Event(_) => "event",
            Output::State(_) => "state",
        });
    }
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(serve(listener));
    addr
}

async fn config() -> ClientConfig {
    ClientConfig {
        servers: vec![server().await],
        timeout_ms: 30_000,
        rest_ms: 10,
    }
}

#[tokio::test]
async fn a_session_lives_through_a_broken_connection_and_ends_with_close() {
    let ear = Ear::default();
    let rt = TokioRuntime::new();
    let (client, mut events) = Client::open(&rt, config().await, ear.clone());
    let State::Connected { reattached, .. } = client.ready().await else {
        panic!("not attached");
    };
    assert!(!reattached);
    let path = client
        .create("/a", "x", CreateMode::default(), Acl::open())
        .await;
    assert_eq!(path.as_deref(), Ok("/a"));
    assert_eq!(client.exists("/b", false).await, Ok(None));
    client.add_auth("digest", "ann:owl").await.expect("auth");
    let (data, _) = client.get("/a", true).await.expect("data");
    assert_eq!(data.as_deref(), Some(&b"here"[..]));
    assert_eq!(&*events.next().await.expect("event").event.path, "/a");

    let lost = client.delete("/break", -1).await;
    assert_eq!(lost, Err(ClientError::ConnectionLoss));
    // Handed over without a connection, sent on the next one.
    assert_eq!(client.delete("/a", -1).await, Ok(()));
    let State::Connected { reattached, .. } = client.state() else {
        panic!("not attached");
    };
    assert!(reattached);

    client.close().await.expect("closed");
    assert_eq!(client.state(), State::Closed);
    assert_eq!(client.delete("/a", -1).await, Err(ClientError::Closed));
    assert_eq!(events.next().await, None);
    let heard = ear.0.lock().expect("ear");
    let count = |what| heard.iter().filter(|h| **h == what).count();
    assert_eq!((count("connect"), count("lost"), count("event")), (2, 1, 1));
    assert_eq!(heard.last(), Some(&"state"));
}

#[tokio::test]
async fn a_pipeline_comes_back_in_order() {
    let rt = TokioRuntime::new();
    let (client, events) = Client::open(&rt, config().await, ());
    drop(events);
    let mut flights = Vec::new();
    for i in 0..3000 {
        let path = format!("/{i}").into();
        let request = Request::GetData(WatchRequest { path, watch: false });
        // More than may be outstanding: the handle waits for room.
        flights.push(client.send(request).await.expect("handed over"));
    }
    let mut last = Zxid::ZERO;
    for flight in flights {
        let (zxid, _) = flight.outcome().await.expect("data");
        assert!(zxid > last);
        last = zxid;
    }
    client.close().await.expect("closed");
}

#[tokio::test]
async fn dropping_every_handle_ends_the_driver_and_leaves_the_session() {
    let ear = Ear::default();
    let rt = TokioRuntime::new();
    let (client, mut events) = Client::open(&rt, config().await, ear.clone());
    client.ready().await;
    drop(client);
    assert_eq!(events.next().await, None, "the session is over");
    assert_eq!(ear.0.lock().expect("ear")[3..], ["state", "drop", "state"]);
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_tried_again_after_a_rest() {
    let rt = TokioRuntime::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let nobody = closed.local_addr().expect("address");
    drop(closed);
    let mut config = config().await;
    config.servers.insert(0, nobody);
    let (client, _events) = Client::open(&rt, config, ());
    let State::Connected { server, .. } = client.ready().await else {
        panic!("not attached");
    };
    assert_eq!(server, 1);
}
