//! The simulated arm of the runtime's conformance tests, on healthy and on awkward worlds.

use gamekeeper_runtime::conformance::{disk, network, timers};
use gamekeeper_sim::world::{self, Law, SimRuntime, World, WorldConfig};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// A healthy world, one with tiny windows and torn writes, one that is slow and uneven.
fn worlds() -> Vec<WorldConfig> {
    let healthy = WorldConfig::new(1);
    let mut tiny = WorldConfig::new(2);
    tiny.network.window_bytes = 7;
    tiny.network.short_write_permille = 500;
    let mut uneven = WorldConfig::new(3);
    uneven.network.law = Law {
        tail_permille: 200,
        tail_ns: 80_000_000,
        ..Law::us(1, 20_000)
    };
    vec![healthy, tiny, uneven]
}

/// A host that only lends its runtime to the conductor, and is paused by nobody.
async fn lent(world: &World, name: &str, last: u8) -> SimRuntime {
    let slot = Arc::new(Mutex::new(None));
    let lent = slot.clone();
    let host = world.host(name, [10, 0, 0, last].into(), move |runtime| {
        *lent.lock().unwrap() = Some(runtime);
        std::future::pending()
    });
    world.start(host);
    poll_fn(|cx| match slot.lock().unwrap().take() {
        Some(runtime) => Poll::Ready(runtime),
        None => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[test]
fn world_keeps_the_promises_of_timers() {
    for drift in [0, 50_000, -50_000] {
        let kept = world::run(WorldConfig::new(1), async |world: World| {
            let runtime = lent(&world, "a", 1).await;
            world.set_drift(runtime.host(), drift);
            timers::all(&runtime).await;
        });
        assert_eq!(kept, Ok(()));
    }
}

#[test]
fn world_keeps_the_promises_of_connections() {
    for config in worlds() {
        let kept = world::run(config, async |world: World| {
            let (a, b) = (lent(&world, "a", 1).await, lent(&world, "b", 2).await);
            network::all(&a, &b, SocketAddr::from(([10, 0, 0, 1], 0))).await;
            network::all(&a, &a, SocketAddr::from(([10, 0, 0, 1], 80))).await;
        });
        assert_eq!(kept, Ok(()), "{config:?}");
    }
}

#[test]
fn world_keeps_the_promises_of_the_disk() {
    for config in worlds() {
        let kept = world::run(config, async |world: World| {
            let runtime = lent(&world, "a", 1).await;
            disk::all(&runtime, "data").await;
        });
        assert_eq!(kept, Ok(()));
    }
}
