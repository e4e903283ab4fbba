//! What was measured to go wrong in simulations like this one, pinned. See section "Traps" of
//! `docs/SIMULATION.md`.

use gamekeeper_core::base::Mono;
use gamekeeper_runtime::{Listener, Runtime, Timer};
use gamekeeper_sim::world::{self, HostId, Law, SimRead, SimRuntime, SimWrite, World, WorldConfig};
use std::future::{pending, poll_fn};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: u64 = 1_000_000;
const PORT: u16 = 2181;

/// What hosts tell the test, with true times.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(u64, String)>>>);

impl Diary {
    fn note(&self, runtime: &SimRuntime, what: impl Into<String>) {
        self.0
            .lock()
            .unwrap()
            .push((runtime.true_ns(), what.into()));
    }

    fn all(&self) -> Vec<String> {
        let notes = self.0.lock().unwrap();
        notes.iter().map(|(_, what)| what.clone()).collect()
    }

    fn when(&self, what: &str) -> Option<u64> {
        let notes = self.0.lock().unwrap();
        notes
            .iter()
            .find(|(_, noted)| noted == what)
            .map(|(ns, _)| *ns)
    }
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// A host that accepts one connection after the other and notes what becomes of each;
/// whatever comes is sent back.
fn echo_host(world: &World, diary: &Diary) -> HostId {
    let diary = diary.clone();
    world.host("echo", ip(1), move |runtime| {
        let diary = diary.clone();
        async move {
            let mut listener = runtime
                .listen(SocketAddr::new(ip(1), PORT))
                .await
                .expect("listens");
            loop {
                let (read, write, _) = listener.accept().await.expect("accepts");
                let task = echo(runtime.clone(), diary.clone(), read, write);
                runtime.spawn("echo", task);
            }
        }
    })
}

async fn echo(runtime: SimRuntime, diary: Diary, mut read: SimRead, mut write: SimWrite) {
    let mut buffer = [0; 4096];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return diary.note(&runtime, "echo: end"),
            Ok(count) => {
                if let Err(error) = write.write_all(&buffer[..count]).await {
                    return diary.note(&runtime, format!("echo: {:?}", error.kind()));
                }
            }
            Err(error) => return diary.note(&runtime, format!("echo: {:?}", error.kind())),
        }
    }
}

/// A host that connects and says hello; then it listens, and if `writes` it says something
/// every 100 ms.
fn caller(world: &World, diary: &Diary, writes: bool) -> HostId {
    let diary = diary.clone();
    world.host("caller", ip(2), move |runtime| {
        let diary = diary.clone();
        async move {
            let connected = runtime.connect(SocketAddr::new(ip(1), PORT)).await;
            let (read, mut write) = match connected {
                Ok(halves) => halves,
                Err(error) => return diary.note(&runtime, format!("connect: {:?}", error.kind())),
            };
            write.write_all(b"hello").await.expect("says hello");
            let listens = listen_on(runtime.clone(), diary.clone(), read);
            runtime.spawn("listen", listens);
            if !writes {
                pending::<()>().await;
            }
            loop {
                let next = runtime.now().mono.plus_ms(100);
                runtime.sleep_until(next).await;
                if let Err(error) = write.write_all(b"and on").await {
                    diary.note(&runtime, format!("write: {:?}", error.kind()));
                    break;
                }
            }
            drop(write);
            pending::<()>().await;
        }
    })
}

async fn listen_on(runtime: SimRuntime, diary: Diary, mut read: SimRead) {
    let mut buffer = [0; 4096];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return diary.note(&runtime, "read: end"),
            Ok(_) => diary.note(&runtime, "read: bytes"),
            Err(error) => return diary.note(&runtime, format!("read: {:?}", error.kind())),
        }
    }
}

/// Lives a life with an echo and a caller, both started.
fn with_call<T: Send>(
    writes: bool,
    act: impl AsyncFnOnce(&World, HostId, HostId, &Diary) -> T + Send,
) -> T {
    let mut config = WorldConfig::new(3);
    config.network.law = Law::us(900, 200);
    let lived = world::run(config, async |world: World| {
        let diary = Diary::default();
        let echo = echo_host(&world, &diary);
        let caller = caller(&world, &diary, writes);
        world.start(echo);
        world.start(caller);
        world.sleep_ms(50).await;
        assert_eq!(diary.all(), ["read: bytes"], "the call did not come to be");
        act(&world, echo, caller, &diary).await
    });
    lived.unwrap_or_else(|panic| panic!("{panic}"))
}

#[test]
fn alarm_ten_microseconds_ahead_is_at_most_a_hundred_nanoseconds_late() {
    let late = world::run(WorldConfig::new(1), async |world: World| {
        let lateness = Arc::new(Mutex::new(Vec::new()));
        let told = lateness.clone();
        let host = world.host("a", ip(1), move |runtime| {
            let told = told.clone();
            async move {
                let mut timer = runtime.timer();
                for _ in 0..1000 {
                    let at = Mono(runtime.now().mono.0 + 10_000);
                    timer.arm(Some(at));
                    poll_fn(|cx| timer.poll_due(cx)).await;
                    told.lock().unwrap().push(runtime.now().mono.0 - at.0);
                }
            }
        });
        world.start(host);
        world.sleep_ms(100).await;
        let lateness = lateness.lock().unwrap();
        (lateness.len(), *lateness.iter().max().unwrap())
    });
    let (rung, latest) = late.unwrap();
    assert_eq!(rung, 1000);
    assert!(latest <= 100, "{latest} ns late");
}

#[test]
fn cut_is_noticed_by_neither_side_before_its_own_timeout() {
    with_call(true, async |world, echo, caller, diary| {
        world.cut_both(echo, caller);
        let before = diary.all();
        world.sleep_ms(600_000).await;
        let in_flight = diary.all().split_off(before.len());
        assert_eq!(in_flight, Vec::<String>::new());
    });
}

#[test]
fn one_way_cut_silences_one_direction_only() {
    with_call(true, async |world, echo, caller, diary| {
        world.cut(echo, caller);
        world.sleep_ms(5).await;
        let before = diary.all().len();
        world.sleep_ms(1_000).await;
        assert_eq!(diary.all().len(), before, "the answers cannot get through");
        world.heal(echo, caller);
        world.sleep_ms(1_000).await;
        let heard = diary.all().len();
        assert!(heard > before, "what was answered comes after the heal");
        assert!(!diary.all().iter().any(|note| note.contains("Reset")));
    });
}

#[test]
fn cut_and_healed_connection_goes_on_without_a_loss() {
    with_call(true, async |world, echo, caller, diary| {
        world.cut_both(echo, caller);
        world.sleep_ms(5_000).await;
        world.heal_both(echo, caller);
        world.sleep_ms(1_000).await;
        assert!(diary.all().len() > 5, "{:?}", diary.all());
        assert!(diary.all().iter().all(|note| note == "read: bytes"));
    });
}

#[test]
fn overlapping_cuts_need_each_its_own_heal() {
    with_call(true, async |world, echo, caller, diary| {
        world.cut_both(echo, caller);
        world.isolate(echo, &[echo, caller]);
        world.heal_both(echo, caller);
        let before = diary.all();
        world.sleep_ms(5_000).await;
        assert_eq!(diary.all(), before);
        world.rejoin(echo, &[echo, caller]);
        world.sleep_ms(1_000).await;
        assert!(diary.all().len() > before.len());
    });
}

#[test]
fn clogged_road_holds_and_then_delivers_at_once() {
    with_call(true, async |world, echo, caller, diary| {
        world.clog(caller, echo);
        world.sleep_ms(5).await;
        let before = diary.all().len();
        world.sleep_ms(2_000).await;
        assert_eq!(diary.all().len(), before);
        world.unclog(caller, echo);
        world.sleep_ms(10).await;
        assert!(
            diary.all().len() > before,
            "nothing waits for a retransmission"
        );
    });
}

#[test]
fn kill_of_a_paused_host_is_silent() {
    with_call(false, async |world, echo, caller, diary| {
        world.pause(echo);
        world.sleep_ms(100).await;
        world.crash(echo);
        world.sleep_ms(600_000).await;
        assert_eq!(diary.all(), ["read: bytes"], "a destructor said goodbye");
        assert!(!world.is_up(echo) && world.is_up(caller));
    });
}

#[test]
fn killed_program_resets_the_next_write_of_its_peer() {
    with_call(true, async |world, echo, _, diary| {
        world.crash(echo);
        world.sleep_ms(500).await;
        assert!(diary.all().contains(&"read: ConnectionReset".to_string()));
        assert!(diary.all().contains(&"write: ConnectionReset".to_string()));
        assert_eq!(world.connections(), 0, "dead connections are freed");
    });
}

#[test]
fn lost_machine_says_nothing_until_it_runs_again() {
    with_call(true, async |world, echo, _, diary| {
        world.power_cut(echo);
        world.sleep_ms(10).await;
        let before = diary.all();
        world.sleep_ms(60_000).await;
        assert_eq!(diary.all(), before, "silence");
        world.start(echo);
        world.sleep_ms(2_000).await;
        assert!(diary.all().contains(&"read: ConnectionReset".to_string()));
    });
}

#[test]
fn program_that_ends_by_itself_closes_its_connections_and_its_port() {
    let notes = world::run(WorldConfig::new(5), async |world: World| {
        let diary = Diary::default();
        let brief = world.host("brief", ip(1), |runtime| async move {
            let addr = SocketAddr::new(ip(1), PORT);
            let mut listener = runtime.listen(addr).await.expect("listens");
            let (read, write, _) = listener.accept().await.expect("accepts");
            let keep = runtime.clone();
            runtime.spawn("keep", async move {
                keep.sleep_until(Mono(u64::MAX)).await;
                drop((read, write));
            });
            runtime.sleep_until(runtime.now().mono.plus_ms(30)).await;
        });
        let caller = caller(&world, &diary, false);
        world.start(brief);
        world.start(caller);
        world.sleep_ms(100).await;
        assert!(!world.is_up(brief));
        world.crash(caller);
        world.start(caller);
        world.sleep_ms(100).await;
        diary.all()
    });
    assert_eq!(notes.unwrap(), ["read: end", "connect: ConnectionRefused"]);
}

#[test]
fn restarted_host_is_a_new_incarnation_that_binds_its_port_again() {
    with_call(false, async |world, echo, caller, diary| {
        for life in 2..5 {
            world.crash(echo);
            world.start(echo);
            assert_eq!(world.incarnation(echo), life);
            world.sleep_ms(10).await;
            world.crash(caller);
            world.start(caller);
            world.sleep_ms(50).await;
        }
        let heard = diary.all();
        assert_eq!(
            heard.iter().filter(|note| *note == "read: bytes").count(),
            4
        );
    });
}

#[test]
fn connecting_takes_a_round_trip_and_a_cut_road_swallows_it() {
    with_call(false, async |world, echo, caller, diary| {
        world.crash(caller);
        world.cut(caller, echo);
        world.start(caller);
        let before = diary.all();
        world.sleep_ms(900).await;
        assert_eq!(diary.all(), before, "no refusal comes through a partition");
        world.heal(caller, echo);
        world.sleep_ms(500).await;
        assert!(
            diary.all().len() > before.len(),
            "a later request gets through"
        );
    });
}

#[test]
fn broken_connections_are_noticed_late_or_never_and_only_a_prefix_arrives() {
    with_call(true, async |world, echo, caller, diary| {
        assert_eq!(world.break_connections(echo, caller), 1);
        world.sleep_ms(10_000).await;
        assert!(diary.all().contains(&"write: ConnectionReset".to_string()));
        assert_eq!(world.break_connections(echo, caller), 0);
    });
}

#[test]
fn forgotten_connection_leaves_the_other_side_in_silence() {
    with_call(false, async |world, echo, caller, diary| {
        assert_eq!(world.forget_connections(echo, caller), 1);
        world.sleep_ms(60_000).await;
        assert_eq!(diary.all(), ["read: bytes", "echo: ConnectionReset"]);
    });
}

#[test]
fn refusing_host_refuses_until_it_is_allowed_again() {
    with_call(false, async |world, echo, caller, diary| {
        world.refuse_connects(echo);
        world.crash(caller);
        world.start(caller);
        world.sleep_ms(50).await;
        assert!(diary.when("connect: ConnectionRefused").is_some());
        world.allow_connects(echo);
        world.start(caller);
        world.sleep_ms(50).await;
        assert_eq!(diary.all().last().unwrap(), "read: bytes");
    });
}

#[test]
fn corruption_strikes_corruptible_ports_only() {
    for (port, changed) in [(2888, true), (2181, false)] {
        let mut config = WorldConfig::new(9);
        config.network.corruptible_ports = (2888, 3888);
        let heard = world::run(config, async move |world: World| {
            let heard = Arc::new(Mutex::new(Vec::new()));
            let into = heard.clone();
            let listener = world.host("a", ip(1), move |runtime| {
                let into = into.clone();
                async move {
                    let addr = SocketAddr::new(ip(1), port);
                    let mut listener = runtime.listen(addr).await.unwrap();
                    let (mut read, _write, _) = listener.accept().await.unwrap();
                    let mut bytes = Vec::new();
                    read.read_to_end(&mut bytes).await.unwrap();
                    *into.lock().unwrap() = bytes;
                }
            });
            let speaker = world.host("b", ip(2), move |runtime| async move {
                let addr = SocketAddr::new(ip(1), port);
                let (_read, mut write) = runtime.connect(addr).await.unwrap();
                write.write_all(&[0; 1000]).await.unwrap();
            });
            world.corrupt(speaker, listener, 1000);
            world.start(listener);
            world.start(speaker);
            world.sleep_ms(100).await;
            let bytes = heard.lock().unwrap();
            bytes.iter().map(|byte| byte.count_ones()).sum::<u32>()
        });
        assert_eq!(heard, Ok(u32::from(changed)), "port {port}");
    }
}

#[test]
fn clocks_drift_and_jump_per_host() {
    let seen = world::run(WorldConfig::new(4), async |world: World| {
        let diary = Diary::default();
        let noted = diary.clone();
        let host = world.host("a", ip(1), move |runtime| {
            let diary = noted.clone();
            async move {
                let before = runtime.now();
                runtime.sleep_until(before.mono.plus_ms(10_000)).await;
                let after = runtime.now();
                assert_eq!(after.mono.ms_since(before.mono), 10_000);
                diary.note(&runtime, format!("{}", after.wall_ms - before.wall_ms));
            }
        });
        world.set_drift(host, -10_000);
        world.start(host);
        world.sleep_ms(5).await;
        world.jump_wall(host, -3_000);
        world.sleep_ms(20_000).await;
        (diary.all(), diary.when("7000").unwrap())
    });
    let (notes, true_ns) = seen.unwrap();
    assert_eq!(notes, ["7000"]);
    // 10 s on a clock that is one in a hundred slow.
    let true_ms = true_ns / MS;
    assert!((10_101..10_103).contains(&true_ms), "{true_ms}");
}

#[test]
fn panic_of_a_program_is_a_value_with_its_place() {
    let lived = world::run(WorldConfig::new(6), async |world: World| {
        let host = world.host("bad", ip(1), |runtime| async move {
            runtime.spawn("worse", async { panic!("zxid {} twice", 7) });
            pending::<()>().await;
        });
        world.start(host);
        world.sleep_ms(10).await;
    });
    let panic = lived.unwrap_err();
    assert_eq!(panic.message, "zxid 7 twice");
    assert_eq!(panic.task, "worse of bad");
    assert!(panic.location.contains("world_traps.rs"), "{panic}");
    let conductor = world::run(WorldConfig::new(6), async |world: World| {
        assert!(world.now_ns() > 1_000_000_000, "too early");
    });
    assert_eq!(conductor.unwrap_err().message, "too early");
    let idle = world::run(WorldConfig::new(6), async |_: World| pending::<()>().await);
    assert!(idle.unwrap_err().message.contains("block forever"));
}

#[test]
fn nothing_of_a_life_outlives_it() {
    let alive = Arc::new(());
    let held = alive.clone();
    let lived = world::run(WorldConfig::new(8), async move |world: World| {
        let diary = Diary::default();
        let echo = echo_host(&world, &diary);
        let caller = caller(&world, &diary, true);
        let knows = world.clone();
        let holder = world.host("holder", ip(3), move |_| {
            let (held, knows) = (held.clone(), knows.clone());
            async move {
                pending::<()>().await;
                drop((held, knows));
            }
        });
        for host in [echo, caller, holder] {
            world.start(host);
        }
        world.sleep_ms(500).await;
        world.pause(holder);
    });
    assert_eq!(lived, Ok(()));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn dead_incarnation_can_do_nothing_more() {
    let lived = world::run(WorldConfig::new(2), async |world: World| {
        let slot = Arc::new(Mutex::new(None));
        let lent = slot.clone();
        let host = world.host("a", ip(1), move |runtime| {
            lent.lock().unwrap().get_or_insert(runtime);
            pending()
        });
        world.start(host);
        world.sleep_ms(1).await;
        let ghost: SimRuntime = slot.lock().unwrap().clone().unwrap();
        world.crash(host);
        world.start(host);
        let listened = ghost.listen(SocketAddr::new(ip(1), 80)).await;
        assert_eq!(listened.unwrap_err().kind(), ErrorKind::NetworkDown);
        assert!(ghost.disk("data").is_err());
        ghost.spawn("ghost", async { panic!("a ghost ran") });
        world.sleep_ms(10).await;
    });
    assert_eq!(lived, Ok(()));
}
