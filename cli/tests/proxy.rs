//! The proxy as its neighbours see it: bytes that pass unchanged, ends that pass too, and a
//! history in which a session is one process.

use gamekeeper_checker::history::{self, Body, Header, History, SessionEvent, World};
use gamekeeper_cli::arguments::{ProxyArguments, Service, ServiceArguments};
use gamekeeper_cli::book::Book;
use gamekeeper_cli::proxy::ear::{Ear, Why};
use gamekeeper_cli::proxy::ledger::Ledger;
use gamekeeper_cli::proxy::{Proxy, Tally};
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::{Record, Writer};
use gamekeeper_core::proto::{
    AuthPacket, ConnectRequest, ConnectResponse, DeleteRequest, ErrorCode, EventType, ReplyHeader,
    Request, RequestHeader, WatcherEvent, xid,
};
use gamekeeper_runtime::TokioRuntime;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy before servers that the test plays itself.
struct Stage {
    folder: tempfile::TempDir,
    servers: Vec<TcpListener>,
    proxy: Proxy,
}

impl Stage {
    async fn new(servers: usize) -> Stage {
        let folder = tempfile::tempdir().expect("a directory");
        let mut listeners = Vec::new();
        let mut listen = Vec::new();
        for _ in 0..servers {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listen.push(format!("127.0.0.1:0={}", listener.local_addr().unwrap()));
            listeners.push(listener);
        }
        let arguments = ProxyArguments {
            listen,
            out: folder.path().join("history"),
            seconds: None,
            exclusive: false,
            auth_file: None,
            service: ServiceArguments {
                service: Service::Zookeeper,
                tick_ms: 2000,
                sync_limit: 5,
            },
        };
        Stage {
            folder,
            servers: listeners,
            proxy: Proxy::open(&arguments).await.expect("it listens"),
        }
    }

    /// A connection through the proxy: the client's end, the server's end.
    async fn connect(&self, server: usize) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.addrs[server]);
        let client = client.await.expect("the proxy listens");
        let (server, _) = self.servers[server].accept().await.expect("it dials");
        (client, server)
    }

    async fn finish(self) -> (Tally, History) {
        let path: PathBuf = self.folder.path().join("history");
        let tally = self.proxy.close().await.expect("a recording");
        let text = std::fs::read_to_string(&path).expect("it was written");
        assert!(!text.contains("owl"), "a secret is in the history");
        let history = history::read(BufReader::new(File::open(&path).unwrap()));
        (tally, history.expect("it is of the format"))
    }
}

/// Says something at one end and hears exactly that at the other.
async fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.expect("it takes it");
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).await.expect("it comes");
    assert_eq!(got, bytes);
}

/// The other end has closed.
async fn ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // Reset is an end, too.
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, [] as [u8; 0]);
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn hello(session: i64) -> Vec<u8> {
    hello_with(session, 0)
}

/// A greeting with a password of this byte; the right one has zeroes.
fn hello_with(session: i64, byte: u8) -> Vec<u8> {
    let request = ConnectRequest {
        session: SessionId(session),
        password: Some(vec![byte; 16].into()),
        ..ConnectRequest::default()
    };
    framed(&request.to_bytes())
}

fn welcome(session: i64) -> Vec<u8> {
    let answer = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 4000,
        session: SessionId(session),
        password: vec![0; 16].into(),
        read_only: None,
    };
    framed(&answer.to_bytes())
}

/// The session asked for is gone.
fn gone() -> Vec<u8> {
    let answer = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 0,
        session: SessionId(0),
        password: vec![0; 16].into(),
        read_only: None,
    };
    framed(&answer.to_bytes())
}

fn delete(number: i32) -> Vec<u8> {
    let request = Request::Delete(DeleteRequest {
        path: "/a".into(),
        version: -1,
    });
    framed(&request.frame(number))
}

/// A request without a body.
fn request(number: i32, op: i32) -> Vec<u8> {
    let mut out = Writer::new();
    RequestHeader { xid: number, op }.write(&mut out);
    framed(&out.finish())
}

fn notification() -> Vec<u8> {
    let event = WatcherEvent {
        kind: EventType::NodeDeleted,
        path: "/a".into(),
    };
    framed(&event.frame(-1))
}

fn reply(number: i32) -> Vec<u8> {
    framed(&ReplyHeader::new(number, Zxid::from_wire(3), ErrorCode::Ok).frame())
}

#[tokio::test]
async fn bytes_pass_unchanged_whatever_they_are() {
    let stage = Stage::new(1).await;
    let noise: Vec<u8> = (0..300_000u32)
        .map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8)
        .collect();
    for odd in [
        &b"ruok"[..],
        &[0xff; 9],
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &hello(0)[..7],
        &noise[..],
    ] {
        let (mut client, mut server) = stage.connect(0).await;
        passes(&mut client, &mut server, odd).await;
        passes(&mut server, &mut client, odd).await;
        passes(&mut client, &mut server, b"and on").await;
    }
    // A client that only closes its half still hears the rest.
    let (mut client, mut server) = stage.connect(0).await;
    passes(&mut client, &mut server, b"srvr").await;
    client.shutdown().await.unwrap();
    ends(&mut server).await;
    passes(&mut server, &mut client, b"Mode: leader\n").await;
    drop(server);
    ends(&mut client).await;
    let (tally, history) = stage.finish().await;
    assert_eq!((tally.connections, tally.records), (6, 0));
    assert_eq!(history.records, []);
}

#[tokio::test]
async fn the_death_of_either_side_reaches_the_other() {
    let stage = Stage::new(1).await;
    let (mut client, mut server) = stage.connect(0).await;
    passes(&mut client, &mut server, &hello(0)).await;
    client.shutdown().await.unwrap();
    ends(&mut server).await;
    drop(server);
    ends(&mut client).await;
    let (mut client, mut server) = stage.connect(0).await;
    passes(&mut client, &mut server, &hello(0)).await;
    drop(server);
    ends(&mut client).await;
    // No server at all: the client is told at once, the proxy goes on.
    let Stage {
        folder,
        servers,
        proxy,
    } = stage;
    drop(servers);
    let mut client = TcpStream::connect(proxy.addrs[0]).await.unwrap();
    ends(&mut client).await;
    let stage = Stage {
        folder,
        servers: Vec::new(),
        proxy,
    };
    let (tally, history) = stage.finish().await;
    assert_eq!(tally.processes, 2);
    let ends = |body: &&Body| **body == Body::Session(SessionEvent::Disconnected);
    let bodies: Vec<&Body> = history.records.iter().map(|record| &record.body).collect();
    assert_eq!(bodies.iter().copied().filter(|body| ends(body)).count(), 2);
}

/// Servers answer a wrong password as they answer for a session that is gone: neither ends the
/// life of the session for its own client.
#[tokio::test]
async fn who_names_a_session_without_its_password_does_not_take_its_place() {
    let stage = Stage::new(1).await;
    let (mut client, mut server) = stage.connect(0).await;
    passes(&mut client, &mut server, &hello(0)).await;
    passes(&mut server, &mut client, &welcome(77)).await;
    for (session, byte) in [(77, 9), (1234, 9)] {
        let (mut stranger, mut its_server) = stage.connect(0).await;
        passes(&mut stranger, &mut its_server, &hello_with(session, byte)).await;
        passes(&mut its_server, &mut stranger, &gone()).await;
    }
    passes(&mut client, &mut server, &delete(1)).await;
    passes(&mut server, &mut client, &reply(1)).await;
    let (mut again, mut server) = stage.connect(0).await;
    passes(&mut again, &mut server, &hello(77)).await;
    passes(&mut server, &mut again, &gone()).await;

    let (tally, history) = stage.finish().await;
    assert_eq!(tally.left_out.get(&Why::Stranger), Some(&1));
    let told = |body: &Body| {
        history
            .records
            .iter()
            .filter(|record| record.body == *body)
            .count()
    };
    let expired = |session| Body::Session(SessionEvent::Expired { session });
    assert_eq!((told(&expired(77)), told(&expired(1234))), (1, 0));
    let answered = |record: &&history::Record| matches!(record.body, Body::Return { .. });
    assert_eq!(history.records.iter().filter(answered).count(), 1);
}

/// A port scanner is no reason to know less of the world, whoever answers TLS is.
#[tokio::test]
async fn the_world_opens_when_another_protocol_is_answered() {
    let folder = tempfile::tempdir().expect("a directory");
    let open_after = |said: &[u8], answer: &[u8]| {
        let book = Book::create(&folder.path().join("history"), Header::default());
        let ledger = Ledger::new(book.expect("a file"), TokioRuntime::new());
        let (mut ear, connection) = (Ear::default(), ledger.begin(1));
        ledger.hear(connection, ear.from_client(said));
        ledger.hear(connection, ear.from_server(answer));
        ledger.finish().expect("a recording").open
    };
    assert!(!open_after(b"GET / HTTP/1.0\r\n\r\n", b""));
    assert!(open_after(&[0x16, 3, 1, 2, 0, 1], &[0x16, 3, 1]));
}

/// A watch of which the history can say nothing is not the session's end in it, and the world
/// stays as it is.
#[tokio::test]
async fn of_a_session_whose_watches_nobody_understands_only_those_are_left_out() {
    let stage = Stage::new(2).await;
    let (mut client, mut first) = stage.connect(0).await;
    passes(&mut client, &mut first, &hello(0)).await;
    passes(&mut first, &mut client, &welcome(77)).await;
    passes(&mut client, &mut first, &request(1, 106)).await;
    passes(&mut first, &mut client, &reply(1)).await;
    passes(&mut client, &mut first, &request(2, 18)).await;
    passes(&mut first, &mut client, &reply(2)).await;
    passes(&mut first, &mut client, &notification()).await;
    passes(&mut client, &mut first, &delete(3)).await;
    passes(&mut first, &mut client, &reply(3)).await;
    drop(client);
    ends(&mut first).await;
    drop(first);
    // Its watches are set again, and are as unknown as before.
    let (mut again, mut second) = stage.connect(1).await;
    passes(&mut again, &mut second, &hello(77)).await;
    passes(&mut second, &mut again, &welcome(77)).await;
    passes(&mut again, &mut second, &request(xid::SET_WATCHES, 105)).await;
    passes(&mut second, &mut again, &notification()).await;
    passes(&mut second, &mut again, &reply(xid::SET_WATCHES)).await;
    passes(&mut again, &mut second, &delete(4)).await;
    passes(&mut second, &mut again, &reply(4)).await;
    // Another session's watches are heard.
    let (mut other, mut third) = stage.connect(1).await;
    passes(&mut other, &mut third, &hello(0)).await;
    passes(&mut third, &mut other, &welcome(78)).await;
    passes(&mut third, &mut other, &notification()).await;

    let (tally, history) = stage.finish().await;
    assert_eq!((tally.watches_left_out, tally.left_out.len()), (1, 0));
    let left_out = Body::Session(SessionEvent::WatchesLeftOut);
    let told: Vec<(u32, bool)> = history
        .records
        .iter()
        .filter(|record| matches!(record.body, Body::Notify { .. }) || record.body == left_out)
        .map(|record| (record.process, record.body == left_out))
        .collect();
    assert_eq!(told, [(1, true), (1, true), (2, false)]);
    let answers = |record: &&history::Record| matches!(record.body, Body::Return { .. });
    assert_eq!(history.records.iter().filter(answers).count(), 2);
}

#[tokio::test]
async fn a_session_that_comes_back_elsewhere_is_the_same_process() {
    let stage = Stage::new(2).await;
    let (mut client, mut first) = stage.connect(0).await;
    passes(&mut client, &mut first, &hello(0)).await;
    passes(&mut first, &mut client, &welcome(77)).await;
    let auth = Request::Auth(AuthPacket {
        scheme: Some("digest".into()),
        auth: Some("ann:owl".into()),
    });
    passes(&mut client, &mut first, &framed(&auth.frame(xid::AUTH))).await;
    passes(&mut client, &mut first, &delete(1)).await;
    passes(&mut first, &mut client, &reply(1)).await;
    passes(&mut client, &mut first, &delete(2)).await;

    // It comes back before the proxy knows that the first connection is dead.
    let (mut again, mut second) = stage.connect(1).await;
    passes(&mut again, &mut second, &hello(77)).await;
    passes(&mut second, &mut again, &welcome(77)).await;
    passes(&mut again, &mut second, &delete(3)).await;
    passes(&mut second, &mut again, &reply(3)).await;
    // What the first still says has no place in the history any more.
    passes(&mut first, &mut client, &reply(2)).await;
    // Another one is another process.
    let (mut other, mut third) = stage.connect(1).await;
    passes(&mut other, &mut third, &hello(0)).await;
    passes(&mut third, &mut other, &welcome(78)).await;

    let (tally, history) = stage.finish().await;
    assert_eq!((tally.connections, tally.processes), (3, 2));
    let said: Vec<(u32, Option<u32>, String)> = history
        .records
        .iter()
        .map(|record| {
            let word = match &record.body {
                Body::Invoke { session, xid, .. } => format!("ask {xid} in {session}"),
                Body::Return { xid, .. } => format!("answer {xid}"),
                Body::Lost { xid } => format!("lost {xid}"),
                Body::Session(SessionEvent::Connecting { session, .. }) => {
                    format!("hello {session}")
                }
                Body::Session(SessionEvent::Connected { reattached, .. }) => {
                    format!("welcome {reattached}")
                }
                Body::Session(SessionEvent::Disconnected) => "gone".into(),
                Body::Session(SessionEvent::Auth { .. }) => "auth".into(),
                other => format!("{other:?}"),
            };
            (record.process, record.server, word)
        })
        .collect();
    let expected = [
        (1, 1, "hello 0"),
        (1, 1, "welcome false"),
        (1, 1, "auth"),
        (1, 1, "ask 1 in 77"),
        (1, 1, "answer 1"),
        (1, 1, "ask 2 in 77"),
        (1, 1, "lost 2"),
        (1, 1, "gone"),
        (1, 2, "hello 77"),
        (1, 2, "welcome true"),
        (1, 2, "ask 3 in 77"),
        (1, 2, "answer 3"),
        (2, 2, "hello 0"),
        (2, 2, "welcome false"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(process, server, word)| (process, Some(server), word.to_string()))
        .collect();
    assert_eq!(said, expected);
    assert_eq!(history.header.world, World::Open);
}
