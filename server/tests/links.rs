//! The peer side of the shell on tokio's loopback: two shells, and a forger.

mod common;

use common::{CLUSTER, Place, Server, Wire, config, loopback};
use gamekeeper_core::base::ServerId;
use gamekeeper_core::base::limits::PEER_FRAME_BYTES_MAX;
use gamekeeper_core::zab::LinkKind;
use gamekeeper_runtime::{Either, Listener, Runtime, TokioRuntime, race};
use gamekeeper_server::hello::{HELLO_BYTES, Hello};
use gamekeeper_server::wire::put_peer_frame;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn pass_ms(ms: u64) {
    let runtime = TokioRuntime::new();
    runtime.sleep_until(runtime.now().mono.plus_ms(ms)).await;
}

/// What server 2 says when it dials server 1.
fn hello() -> Hello {
    Hello {
        dialled: true,
        cluster_id: CLUSTER,
        from: ServerId(2),
        to: ServerId(1),
        kind: LinkKind::Election,
    }
}

fn frame(sequence: u64, said: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_peer_frame(&mut bytes, sequence, said.as_bytes());
    bytes
}

/// Server 1, which knows a server 2 somewhere.
async fn lonely(place: &Place) -> Server {
    let mut config = config(1, &[(2, loopback(1))], place);
    config.hello_ms_max = 100;
    Server::start(config).await
}

/// A forger as server 2, linked with server 1.
async fn forger(server: &mut Server) -> Wire {
    let mut wire = Wire::connect(server.peer_addr.expect("it has a peer")).await;
    wire.send(&hello().encode()).await;
    let mut bytes = [0; HELLO_BYTES];
    wire.read.read_exact(&mut bytes).await.expect("is answered");
    assert_eq!(Hello::decode(&bytes), Ok(hello().answer()));
    server.notes("up s2 Election").await;
    wire
}

#[tokio::test]
async fn two_servers_exchange_messages_and_notice_a_kill() {
    let (place_one, place_two) = (Place::new(), Place::new());
    let mut one = lonely(&place_one).await;
    let mut two = Server::start(config(
        2,
        &[(1, one.peer_addr.expect("it has a peer"))],
        &place_two,
    ))
    .await;
    let mut at_one = one.client(1).await;
    let mut at_two = two.client(1).await;
    at_two.say("dial 1").await;
    two.notes("up s1 Learner").await;
    one.notes("up s2 Learner").await;
    for i in 0..100 {
        at_two.say(&format!("tell from two {i}")).await;
        at_one.say(&format!("tell from one {i}")).await;
    }
    for i in 0..100 {
        one.notes(&format!("told from two {i}")).await;
        two.notes(&format!("told from one {i}")).await;
    }
    two.end.abort();
    one.notes("down s2").await;
    at_two.is_over().await;
}

#[tokio::test]
async fn closed_link_ends_at_the_other_side_after_what_was_said() {
    let (place_one, place_two) = (Place::new(), Place::new());
    let mut one = lonely(&place_one).await;
    let peers = [(1, one.peer_addr.expect("it has a peer"))];
    let mut two = Server::start(config(2, &peers, &place_two)).await;
    let mut at_two = two.client(1).await;
    for _ in 0..3 {
        at_two.say("dial 1").await;
        two.notes("up s1 Learner").await;
        one.notes("up s2 Learner").await;
        at_two.say(&format!("tell {}", "x".repeat(900_000))).await;
        at_two.say("tell goodbye").await;
        at_two.say("hangup").await;
        one.notes("told 900000 bytes").await;
        one.notes("told goodbye").await;
        one.notes("down s2").await;
    }
    // The side that hung up was told nothing more of the links.
    two.client(2).await;
}

#[tokio::test]
async fn damaged_stream_breaks_the_link_and_is_never_a_message() {
    let place = Place::new();
    let mut server = lonely(&place).await;
    let mut changed = frame(1, "two");
    changed[9] ^= 0x20;
    let too_long = (PEER_FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    let damages = [
        ("a changed byte", changed),
        ("a frame repeated", frame(0, "one")),
        ("a frame lost", frame(2, "three")),
        ("a length out of bounds", [&too_long[..], &[0; 4]].concat()),
    ];
    for (what, damage) in damages {
        let mut wire = forger(&mut server).await;
        let bytes = [frame(0, "one"), damage, frame(2, "three")].concat();
        wire.send(&bytes).await;
        server.notes("told one").await;
        server.notes("down s2").await;
        let closed = wire.read.read_u8().await;
        assert!(closed.is_err(), "after {what}");
    }
}

#[tokio::test]
async fn frame_cut_short_is_never_a_message() {
    let place = Place::new();
    let mut server = lonely(&place).await;
    let mut wire = forger(&mut server).await;
    let bytes = [frame(0, "one"), frame(1, "two")].concat();
    wire.send(&bytes[..bytes.len() - 1]).await;
    drop(wire);
    server.notes("told one").await;
    server.notes("down s2").await;
}

#[tokio::test]
async fn longest_and_empty_messages_pass() {
    let place = Place::new();
    let mut server = lonely(&place).await;
    let mut wire = forger(&mut server).await;
    wire.send(&frame(0, "")).await;
    server.notes("told ").await;
    wire.send(&frame(1, &"x".repeat(PEER_FRAME_BYTES_MAX)))
        .await;
    server
        .notes(&format!("told {PEER_FRAME_BYTES_MAX} bytes"))
        .await;
}

#[tokio::test]
async fn wrong_hello_is_closed_without_an_answer() {
    let place = Place::new();
    let mut server = lonely(&place).await;
    let mut next_version = hello().encode();
    next_version[5] += 1;
    let mut damaged = hello().encode();
    damaged[23] ^= 1;
    let (me, stranger) = (ServerId(1), ServerId(3));
    for (what, bytes) in [
        (
            "another cluster",
            Hello {
                cluster_id: CLUSTER + 1,
                ..hello()
            }
            .encode(),
        ),
        (
            "another addressee",
            Hello {
                to: stranger,
                ..hello()
            }
            .encode(),
        ),
        (
            "a stranger",
            Hello {
                from: stranger,
                ..hello()
            }
            .encode(),
        ),
        (
            "itself",
            Hello {
                from: me,
                ..hello()
            }
            .encode(),
        ),
        ("an answer", hello().answer().encode()),
        ("another version", next_version),
        ("a damaged hello", damaged),
        ("not a peer at all", *b"GET / HTTP/1.1\r\nHost: zk"),
    ] {
        let mut wire = Wire::connect(server.peer_addr.expect("it has a peer")).await;
        wire.send(&bytes).await;
        let answer = wire.read.read_u8().await;
        assert!(answer.is_err(), "{what} was answered");
    }
    forger(&mut server).await;
}

#[tokio::test]
async fn silent_caller_is_dropped() {
    let place = Place::new();
    let mut server = lonely(&place).await;
    let mut wire = Wire::connect(server.peer_addr.expect("it has a peer")).await;
    wire.send(&hello().encode()[..HELLO_BYTES - 1]).await;
    assert!(
        wire.read.read_u8().await.is_err(),
        "dropped by the bound in time"
    );
    forger(&mut server).await;
}

/// A server 1 whose server 2 is whatever listens at an address, and a client of it.
async fn dials(place: &Place, two: SocketAddr) -> (Server, Wire) {
    let mut config = config(1, &[(2, two)], place);
    config.hello_ms_max = 100;
    let mut server = Server::start(config).await;
    let mut client = server.client(1).await;
    client.say("dial 2").await;
    (server, client)
}

#[tokio::test]
async fn dial_that_cannot_succeed_ends_in_link_down() {
    let runtime = TokioRuntime::new();
    let mut fake = runtime.listen(loopback(0)).await.expect("listens");
    let addr = fake.local_addr().expect("has an address");

    // Nobody answers, then the wrong one does.
    let place = Place::new();
    let (mut server, mut client) = dials(&place, addr).await;
    let mute = fake.accept().await.expect("is dialled");
    server.notes("down").await;
    drop(mute);

    client.say("dial 2").await;
    let (mut read, mut write, _) = fake.accept().await.expect("is dialled");
    let mut bytes = [0; HELLO_BYTES];
    read.read_exact(&mut bytes).await.expect("hears a hello");
    let dialled = Hello::decode(&bytes).expect("it is one");
    let other = Hello {
        from: ServerId(3),
        ..dialled.answer()
    };
    write.write_all(&other.encode()).await.expect("answers");
    server.notes("down").await;

    // Nobody listens; nobody is known by that number.
    drop(fake);
    client.say("dial 2").await;
    server.notes("down").await;
    client.say("dial 9").await;
    server.notes("down").await;
}

#[tokio::test]
async fn link_closed_while_it_is_dialled_is_never_heard_of_again() {
    let runtime = TokioRuntime::new();
    let mut fake = runtime.listen(loopback(0)).await.expect("listens");
    let place = Place::new();
    let addr = fake.local_addr().expect("has an address");
    let (mut server, mut client) = dials(&place, addr).await;
    let (mut read, _write, _) = fake.accept().await.expect("is dialled");
    client.say("hangup").await;
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.expect("is closed");
    assert_eq!(heard.len(), HELLO_BYTES);
    pass_ms(150).await; // past the bound of the hello
    server.client(2).await;
}

#[tokio::test]
async fn server_that_does_not_read_loses_its_link_and_delays_nobody() {
    let place = Place::new();
    let mut config = config(1, &[(2, loopback(1))], &place);
    config.link_backlog_bytes_max = 1 << 20;
    let mut server = Server::start(config).await;
    let _deaf = forger(&mut server).await;
    let mut client = server.client(1).await;
    let text = format!("tell {}", "x".repeat(500_000));
    let talk = async {
        loop {
            client.say(&text).await;
            client.say("echo and you?").await;
            client.hears("echo and you?").await;
        }
    };
    let lost = race(server.notes("down s2"), talk).await;
    assert_eq!(lost, Either::First(()));
}

#[tokio::test]
async fn link_lost_and_closed_in_one_step_is_not_told() {
    let place = Place::new();
    let mut config = config(1, &[(2, loopback(1))], &place);
    config.link_backlog_bytes_max = 1 << 20;
    let mut server = Server::start(config).await;
    let mut deaf = forger(&mut server).await;
    let mut client = server.client(1).await;
    // Ten messages pass the bound at the third; the machine asserts that no end follows.
    client.say("shout-and-hangup").await;
    let mut heard = Vec::new();
    let _ = deaf.read.read_to_end(&mut heard).await;
    client.say("dial 9").await;
    server.notes("down").await;
}
