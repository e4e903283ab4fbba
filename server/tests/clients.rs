//! The client side of the shell on tokio's loopback.

mod common;

use common::{Place, Server, Wire, config, framed};
use gamekeeper_core::base::limits::FRAME_BYTES_MAX;
use gamekeeper_core::base::{DiskOp, DiskRequest};
use gamekeeper_core::peer::Output;
use gamekeeper_runtime::{Either, Runtime, TokioRuntime, race};
use tokio::io::AsyncWriteExt;

async fn pass_ms(ms: u64) {
    let runtime = TokioRuntime::new();
    runtime.sleep_until(runtime.now().mono.plus_ms(ms)).await;
}

#[tokio::test]
async fn pipelined_frames_come_back_in_order() {
    for drain_max in [1, 4, 256] {
        let place = Place::new();
        let mut config = config(1, &[], &place);
        config.drain_max = drain_max;
        let mut server = Server::start(config).await;
        assert_eq!(server.peer_addr, None, "no peers, no peer port");
        let mut client = server.client(1).await;
        let bytes: Vec<u8> = (0..1000)
            .flat_map(|i| framed(&format!("echo {i}")))
            .collect();
        client.send(&bytes).await;
        for i in 0..1000 {
            client.hears(&format!("echo {i}")).await;
        }
        drop(client);
        server.notes("closed 1").await;
    }
}

#[tokio::test]
async fn frames_arrive_whole_however_the_bytes_are_cut() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut client = server.client(1).await;
    for byte in framed("echo byte by byte") {
        client.send(&[byte]).await;
    }
    client.hears("echo byte by byte").await;
    let longest = format!("echo {}", "x".repeat(FRAME_BYTES_MAX - 5));
    client.say(&longest).await;
    client.hears(&longest).await;
}

#[tokio::test]
async fn bad_length_closes_that_client_and_no_other() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut bystander = server.client(1).await;
    let bad = [
        0,
        -1,
        i32::MIN,
        FRAME_BYTES_MAX as i32 + 1,
        i32::from_be_bytes(*b"ruok"),
    ];
    for (length, n) in bad.into_iter().zip(2..) {
        let mut client = server.client(n).await;
        let mut bytes = framed("echo before");
        bytes.extend(length.to_be_bytes());
        client.send(&bytes).await;
        client.hears("echo before").await;
        client.is_over().await;
        server.notes(&format!("closed {n}")).await;
    }
    bystander.say("echo still here").await;
    bystander.hears("echo still here").await;
}

#[tokio::test]
async fn frames_behind_a_close_are_not_fed() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut client = server.client(1).await;
    let bytes: Vec<u8> = ["echo 1", "close", "echo 2", "halt late"]
        .iter()
        .flat_map(|text| framed(text))
        .collect();
    client.send(&bytes).await;
    client.hears("echo 1").await;
    client.hears("bye").await;
    client.is_over().await;
    // The machine closed it itself, so it is not told; the next note is of the next client.
    server.client(2).await;
}

#[tokio::test]
async fn pause_stops_frames_and_reaches_the_clients_socket() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut paused = server.client(1).await;
    let mut other = server.client(2).await;
    let mut bytes = framed("pause");
    bytes.extend(framed("echo held in the same read"));
    paused.send(&bytes).await;

    // The machine asserts that it gets no frame now.
    let ignored = framed(&format!("ignore {}", "x".repeat(10_000)));
    let mut swallowed = 0;
    while swallowed < 1000 << 20 {
        match race(paused.write.write_all(&ignored), pass_ms(200)).await {
            Either::First(sent) => sent.expect("sends"),
            Either::Second(()) => break,
        }
        swallowed += ignored.len();
    }
    assert!(swallowed < 1000 << 20, "the pause never reached the socket");
    other.say("ignored").await;
    other.hears("0").await;

    other.say("resume 1").await;
    paused.hears("echo held in the same read").await;
    other.say("ignored").await;
    assert_ne!(other.hear().await.as_deref(), Some("0"), "it goes on");
}

#[tokio::test]
async fn client_that_does_not_read_is_closed() {
    let place = Place::new();
    let mut config = config(1, &[], &place);
    config.client_backlog_bytes_max = 64 << 10;
    let mut server = Server::start(config).await;
    let mut slow = server.client(1).await;
    let mut other = server.client(2).await;
    let flood = async {
        while slow.write.write_all(&framed("flood 1000000")).await.is_ok() {
            pass_ms(1).await;
        }
    };
    race(server.notes("closed 1"), flood).await;
    other.say("echo still here").await;
    other.hears("echo still here").await;
}

#[tokio::test]
async fn one_long_reply_is_no_slow_client() {
    let place = Place::new();
    let mut config = config(1, &[], &place);
    config.client_backlog_bytes_max = 1000;
    let mut server = Server::start(config).await;
    let mut client = server.client(1).await;
    client.say("flood 5000000").await;
    assert_eq!(client.hear().await.map(|text| text.len()), Some(5_000_000));
}

#[tokio::test]
async fn replies_before_a_close_arrive_at_a_late_reader() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut client = server.client(1).await;
    client.say("flood 8000000").await;
    client.say("close").await;
    pass_ms(50).await;
    assert_eq!(client.hear().await.map(|text| text.len()), Some(8_000_000));
    client.hears("bye").await;
    client.is_over().await;
}

#[tokio::test]
async fn too_many_clients_are_closed_at_once() {
    let place = Place::new();
    let mut config = config(1, &[], &place);
    config.clients_max = 2;
    let mut server = Server::start(config).await;
    let first = server.client(1).await;
    let mut second = server.client(2).await;
    Wire::connect(server.client_addr).await.is_over().await;
    second.say("echo still here").await;
    second.hears("echo still here").await;
    drop(first);
    server.notes("closed 1").await;
}

#[tokio::test]
async fn disk_and_timer_answer() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut client = server.client(1).await;
    client.say("store me").await;
    client.hears("me").await;
    client.say("alarm 20").await;
    client.hears("rang").await;
    client.say("alarm 0").await;
    client.hears("rang").await;
}

#[tokio::test]
async fn halt_ends_everything_and_the_server_can_be_started_again() {
    let place = Place::new();
    let mut config = config(1, &[(2, common::loopback(1))], &place);
    let mut server = Server::start(config.clone()).await;
    let mut client = server.client(1).await;
    let mut idle = server.client(2).await;
    let bytes = [
        framed("echo last"),
        framed("halt the disk is gone"),
        framed("echo no"),
    ]
    .concat();
    client.send(&bytes).await;
    client.hears("echo last").await;
    client.is_over().await;
    idle.is_over().await;
    (config.client_addr, config.peer_addr) =
        (server.client_addr, server.peer_addr.expect("it has a peer"));
    let halted = (&mut server.end).await.expect("no panic").expect("it ran");
    assert_eq!(halted.reason, "the disk is gone");
    assert!(server.rest_of_notes().await.is_empty());

    let mut again = Server::start(config).await;
    let mut client = again.client(1).await;
    client.say("echo again").await;
    client.hears("echo again").await;
}

#[tokio::test]
async fn dropped_server_leaves_no_socket_behind() {
    let place = Place::new();
    let mut server = Server::start(config(1, &[], &place)).await;
    let mut client = server.client(1).await;
    server.end.abort();
    client.is_over().await;
    let runtime = TokioRuntime::new();
    while runtime.connect(server.client_addr).await.is_ok() {
        pass_ms(1).await;
    }
}

#[tokio::test]
async fn death_between_two_outputs_keeps_the_first_and_drops_the_second() {
    let place = Place::new();
    let at_sync = |output: &Output| {
        matches!(
            output,
            Output::Disk(DiskRequest {
                op: DiskOp::Sync { .. },
                ..
            })
        )
    };
    let mut server = Server::start_to_die(config(1, &[], &place), Some(at_sync)).await;
    let mut client = server.client(1).await;
    let bytes = [
        framed("echo before"),
        framed("store it"),
        framed("echo after"),
    ]
    .concat();
    client.send(&bytes).await;
    client.hears("echo before").await;
    // Neither answered nor closed: to its peers a dead machine is silent.
    let silence = race(client.hear(), pass_ms(100)).await;
    assert_eq!(silence, Either::Second(()));
    assert!(!server.end.is_finished());
    server.end.abort();
    client.is_over().await;
    let stored = std::fs::read_to_string(format!("{}/stored", place.dir()));
    assert_eq!(stored.expect("written before"), "it");
}

#[tokio::test]
async fn operator_can_ask_for_a_rejoin() {
    let place = Place::new();
    let mut config = config(1, &[], &place);
    config.rejoin = true;
    let mut server = Server::start(config).await;
    server.notes("rejoin").await;
}

#[tokio::test]
async fn taken_address_and_directory_are_errors_in_words() {
    let (place, other) = (Place::new(), Place::new());
    let server = Server::start(config(1, &[], &place)).await;
    let in_use = config(2, &[], &place);
    let error = gamekeeper_server::serve(TokioRuntime::new(), in_use, Nothing, ()).await;
    let error = error.expect_err("one server a directory").to_string();
    assert!(error.contains("in use by another server"), "{error}");
    let mut taken = config(2, &[], &other);
    taken.client_addr = server.client_addr;
    let error = gamekeeper_server::serve(TokioRuntime::new(), taken, Nothing, ()).await;
    let error = error.expect_err("one server an address").to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:"), "{error}");
}

/// A machine that does nothing.
struct Nothing;

impl gamekeeper_core::peer::Machine for Nothing {
    fn start(&mut self, _: gamekeeper_core::base::Now, _: &mut Vec<Output>) {}
    fn step(
        &mut self,
        _: gamekeeper_core::base::Now,
        _: gamekeeper_core::peer::Input,
        _: &mut Vec<Output>,
    ) {
    }
    fn deadline(&self) -> Option<gamekeeper_core::base::Mono> {
        None
    }
}
