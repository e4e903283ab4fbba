//! Running a workload: its clients, their stop signal, what they counted.

use crate::actor::{Actor, Outcome};
use crate::kinds;
use crate::recorder::Recorder;
use crate::root::Root;
use crate::spec::WorkloadSpec;
use gamekeeper_client::ClientError;
use gamekeeper_runtime::Runtime;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// A server as a workload knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its number, for the history.
    pub id: u32,
    /// Its client address.
    pub addr: SocketAddr,
}

/// Tells clients to come home. Clones share the signal.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A signal that is not set.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Sets it, for good. Clients finish the step they are in.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a workload counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Requests answered with success.
    pub ok: u64,
    /// Requests that certainly did nothing: an error answer, or never sent.
    pub failed: u64,
    /// Requests with an unknown outcome: the connection was lost.
    pub unknown: u64,
    /// Answers waited for in vain on a connection that seemed alive; the session was left.
    pub given_up: u64,
    /// Client objects opened.
    pub sessions: u64,
}

impl Stats {
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.ok += 1,
            Err(ClientError::ConnectionLoss) => self.unknown += 1,
            Err(_) => self.failed += 1,
        }
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.given_up += other.given_up;
        self.sessions += other.sessions;
    }
}

/// One client of a workload, from its first session until the stop signal (or `ops_max`);
/// then it closes its session. A simulator that wants every client on a host of its own calls
/// this on each; others call [`run`].
///
/// `index` must differ between the clients of a run that share a kind: it is part of every
/// name and value they make.
pub async fn run_client<R: Runtime>(
    rt: R,
    spec: WorkloadSpec,
    index: u32,
    servers: Vec<Server>,
    rng: ChaCha8Rng,
    recorder: Recorder,
    stop: Stop,
) -> Stats {
    live(Actor::new(rt, spec, index, servers, rng, recorder, stop)).await
}

async fn live<R: Runtime>(mut actor: Actor<R>) -> Stats {
    kinds::work(&mut actor).await;
    actor.close().await;
    actor.stats
}

/// All clients of a workload on one host, until each is home; see [`run_client`]. Every
/// client draws from a stream of its own, forked from `seed` by its index.
pub async fn run<R: Runtime>(
    rt: R,
    spec: WorkloadSpec,
    servers: Vec<Server>,
    seed: [u8; 32],
    recorder: Recorder,
    stop: Stop,
) -> Stats {
    run_below(rt, spec, Root::default(), servers, seed, recorder, stop).await
}

/// As [`run`], with every path below `root`, which exists.
pub async fn run_below<R: Runtime>(
    rt: R,
    spec: WorkloadSpec,
    root: Root,
    servers: Vec<Server>,
    seed: [u8; 32],
    recorder: Recorder,
    stop: Stop,
) -> Stats {
    let (home, mut homes) = mpsc::channel(1);
    for index in 0..spec.clients {
        let mut actor = Actor::new(
            rt.clone(),
            spec.clone(),
            index,
            servers.clone(),
            client_stream(seed, index),
            recorder.clone(),
            stop.clone(),
        );
        actor.stay_below(root.clone());
        let home = home.clone();
        rt.spawn("workload client", async move {
            let stats = live(actor).await;
            // The other side waits until every sender is gone.
            let _ = home.send(stats).await;
        });
    }
    drop(home);
    let mut total = Stats::default();
    while let Some(stats) = homes.recv().await {
        total += stats;
    }
    total
}

/// The stream of one client of a workload: the workload's key, the client's own stream number.
pub fn client_stream(seed: [u8; 32], index: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::from_seed(seed);
    rng.set_stream(u64::from(index) + 1);
    rng
}
