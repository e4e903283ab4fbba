//! The same seed is the same life: twice, in parallel with others, and whatever else is
//! dropped from it.

use gamekeeper_core::base::{DiskLane, DiskOp, DiskRequest, DiskToken};
use gamekeeper_runtime::{Disk, Listener, Runtime};
use gamekeeper_sim::trace::LogDetail;
use gamekeeper_sim::world::{self, HostId, Law, SimRead, SimRuntime, SimWrite, World, WorldConfig};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOSTS: u8 = 4;
const PORT: u16 = 2888;

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// Every host calls every other, says things, answers what it hears, and writes all it hears
/// to its disk.
async fn gossip(runtime: SimRuntime, me: u8) {
    let listener = runtime.listen(SocketAddr::new(ip(me), PORT)).await;
    runtime.spawn(
        "answer",
        answer(runtime.clone(), listener.expect("listens")),
    );
    for other in (1..=HOSTS).filter(|other| *other != me) {
        runtime.spawn("call", call(runtime.clone(), other));
    }
    let mut disk = runtime.disk("data").expect("opens");
    for token in 0.. {
        let ops = [
            DiskOp::Create { file: "log".into() },
            DiskOp::Write {
                file: "log".into(),
                offset: token * 100 % 5000,
                data: vec![token as u8; 100].into(),
            },
            DiskOp::Sync { file: "log".into() },
        ];
        for op in ops {
            disk.submit(DiskRequest {
                token: DiskToken(token),
                lane: DiskLane::Log,
                op,
            });
            poll_fn(|cx| disk.poll_done(cx)).await;
        }
        runtime.sleep_until(runtime.now().mono.plus_ms(7)).await;
    }
}

async fn answer(runtime: SimRuntime, mut listener: <SimRuntime as Runtime>::Listener) {
    while let Ok((mut read, mut write, _)) = listener.accept().await {
        runtime.spawn("echo", async move {
            let mut buffer = [0; 300];
            while let Ok(count @ 1..) = read.read(&mut buffer).await {
                if write.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn call(runtime: SimRuntime, other: u8) {
    loop {
        if let Ok((read, write)) = runtime.connect(SocketAddr::new(ip(other), PORT)).await {
            talk(&runtime, read, write).await;
        }
        runtime.sleep_until(runtime.now().mono.plus_ms(20)).await;
    }
}

async fn talk(runtime: &SimRuntime, mut read: SimRead, mut write: SimWrite) {
    let mut heard = [0; 200];
    loop {
        if write.write_all(&[7; 200]).await.is_err() || read.read_exact(&mut heard).await.is_err() {
            return;
        }
        runtime.sleep_until(runtime.now().mono.plus_ms(3)).await;
    }
}

/// A life with a bit of everything. Gives back fingerprint, events and the log.
fn live(seed: u64, detail: LogDetail) -> (u64, u64, String) {
    let mut config = WorldConfig::new(seed);
    config.log = detail;
    config.network.law = Law {
        tail_permille: 20,
        tail_ns: 30_000_000,
        ..Law::us(100, 900)
    };
    config.network.short_write_permille = 100;
    let lived = world::run(config, async |world: World| {
        let hosts: Vec<HostId> = (1..=HOSTS)
            .map(|me| {
                let name = format!("s{me}");
                world.host(&name, ip(me), move |runtime| gossip(runtime, me))
            })
            .collect();
        for &host in &hosts {
            world.start(host);
        }
        torment(&world, &hosts).await;
        (world.fingerprint(), world.events(), world.log())
    });
    lived.unwrap_or_else(|panic| panic!("{panic}"))
}

async fn torment(world: &World, hosts: &[HostId]) {
    world.sleep_ms(200).await;
    world.isolate(hosts[0], hosts);
    world.sleep_ms(300).await;
    world.crash(hosts[1]);
    world.pause(hosts[2]);
    world.sleep_ms(300).await;
    world.rejoin(hosts[0], hosts);
    world.power_cut(hosts[2]);
    world.start(hosts[1]);
    world.sleep_ms(300).await;
    world.start(hosts[2]);
    world.break_connections(hosts[0], hosts[3]);
    world.set_drift(hosts[3], 300);
    world.delay(hosts[1], hosts[3], 20_000_000);
    world.sleep_ms(500).await;
    world.disk(hosts[0]).set_stuck(true);
    world.crash_closing(hosts[3]);
    world.sleep_ms(500).await;
}

#[test]
fn same_seed_is_the_same_life_and_another_seed_is_another() {
    let first = live(1, LogDetail::All);
    assert_eq!(first, live(1, LogDetail::All));
    assert!(first.1 > 5_000, "{} events", first.1);
    assert_ne!(first.0, live(2, LogDetail::All).0);
    assert_eq!(
        first.0,
        live(1, LogDetail::Off).0,
        "the log is no part of it"
    );
}

#[test]
fn twenty_lives_in_parallel_are_the_same_as_one_after_the_other() {
    let serial: Vec<u64> = (0..20).map(|seed| live(seed, LogDetail::Off).0).collect();
    let parallel: Vec<u64> = thread::scope(|scope| {
        let lives: Vec<_> = (0..20)
            .map(|seed| scope.spawn(move || live(seed, LogDetail::Off).0))
            .collect();
        lives.into_iter().map(|life| life.join().unwrap()).collect()
    });
    assert_eq!(serial, parallel);
    let different: BTreeSet<u64> = serial.iter().copied().collect();
    assert_eq!(different.len(), 20);
}

/// When each byte sent by the second host arrives at the first, with or without a third that
/// talks to both.
fn arrivals(with_third: bool) -> Vec<u64> {
    use std::sync::{Arc, Mutex};
    let lived = world::run(WorldConfig::new(11), async |world: World| {
        let times = Arc::new(Mutex::new(Vec::new()));
        let into = times.clone();
        let first = world.host("first", ip(1), move |runtime| {
            let into = into.clone();
            async move {
                let addr = SocketAddr::new(ip(1), PORT);
                let mut listener = runtime.listen(addr).await.unwrap();
                loop {
                    let (mut read, _write, from) = listener.accept().await.unwrap();
                    let (task, into) = (runtime.clone(), into.clone());
                    runtime.spawn("read", async move {
                        let mut buffer = [0; 64];
                        while let Ok(1..) = read.read(&mut buffer).await {
                            if from.ip() == ip(2) {
                                into.lock().unwrap().push(task.true_ns() / 1000);
                            }
                        }
                    });
                }
            }
        });
        let second = world.host("second", ip(2), |runtime| say(runtime, 5));
        let third = world.host("third", ip(3), |runtime| say(runtime, 3));
        world.start(first);
        world.start(second);
        if with_third {
            world.start(third);
        }
        world.sleep_ms(500).await;
        times.lock().unwrap().clone()
    });
    lived.unwrap()
}

async fn say(runtime: SimRuntime, every_ms: u64) {
    let start = runtime.now().mono;
    let addr = SocketAddr::new(ip(1), PORT);
    let (_read, mut write) = runtime.connect(addr).await.unwrap();
    for turn in 1.. {
        runtime.sleep_until(start.plus_ms(turn * every_ms)).await;
        write.write_all(b"x").await.unwrap();
    }
}

#[test]
fn dropping_a_host_moves_no_latency_of_the_others() {
    let (with, without) = (arrivals(true), arrivals(false));
    assert_eq!(with.len(), without.len());
    assert!(with.len() > 80);
    // Tasks cost some tens of nanoseconds a turn, and there are more turns with a third.
    for (with, without) in with.iter().zip(&without) {
        assert!(with.abs_diff(*without) <= 2, "{with} us, {without} us");
    }
}

/// The fingerprint of one life as every build must find it. A change of the world's laws may
/// change it; then every recorded seed replays another life, and the commit says so.
const WITNESS: u64 = 2_121_122_154_433_700_705;

#[test]
fn every_build_lives_the_same_life() {
    assert_eq!(live(1, LogDetail::Off).0, WITNESS);
}
