//! Three of our own servers on tokio, over loopback, on real files, to be recorded.

use gamekeeper_core::base::ServerId;
use gamekeeper_core::log::StoreConfig;
use gamekeeper_core::peer::{Peer, PeerConfig};
use gamekeeper_core::pipeline::TimeoutBounds;
use gamekeeper_core::zab::{MemberKind, ZabConfig};
use gamekeeper_runtime::tokio_rt::TokioRuntime;
use gamekeeper_server::{Observer, ShellConfig, serve};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use tokio::task::JoinHandle;

pub const TICK_MS: u64 = 200;
pub const SYNC_LIMIT: u64 = 25;

/// Nobody watches the servers from inside.
struct Nobody;

impl Observer for Nobody {
    fn event(&mut self, _: gamekeeper_core::base::Now, _: &gamekeeper_core::base::Event) {}
}

pub struct Cluster {
    rt: TokioRuntime,
    dir: tempfile::TempDir,
    clients: BTreeMap<ServerId, SocketAddr>,
    peers: BTreeMap<ServerId, SocketAddr>,
    running: BTreeMap<ServerId, JoinHandle<()>>,
    processes: u64,
}

impl Cluster {
    pub fn new() -> Cluster {
        // All are held until all are known, so that no two are the same.
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
            .collect();
        let ports: Vec<SocketAddr> = held.iter().map(|l| l.local_addr().unwrap()).collect();
        let ids = (1..=3).map(ServerId);
        let mut cluster = Cluster {
            rt: TokioRuntime::new(),
            dir: tempfile::tempdir().expect("a directory"),
            clients: ids.clone().zip(ports[..3].iter().copied()).collect(),
            peers: ids.clone().zip(ports[3..].iter().copied()).collect(),
            running: BTreeMap::new(),
            processes: 0,
        };
        drop(held);
        ids.for_each(|id| cluster.boot(id));
        cluster
    }

    pub fn boot(&mut self, me: ServerId) {
        self.processes += 1;
        let dir = self.dir.path().join(me.to_string());
        let dir = dir.to_str().expect("a plain name").to_owned();
        let (client, peer) = (self.clients[&me], self.peers[&me]);
        let shell = ShellConfig::new(me, client, peer, self.peers.clone(), dir, 7);
        let voters = self.peers.keys().map(|id| (*id, MemberKind::Voter));
        let peer = Peer::new(config(me, voters.collect(), self.processes << 20));
        let rt = self.rt.clone();
        let task = tokio::spawn(async move {
            let halted = serve(rt, shell, peer, Nobody).await.expect("it opens");
            panic!("server {me} halted: {}", halted.reason);
        });
        self.running.insert(me, task);
    }

    /// Drops the whole process at once, as SIGKILL does.
    pub async fn kill(&mut self, id: ServerId) {
        let task = self.running.remove(&id).expect("it runs");
        task.abort();
        let _ = task.await;
    }

    pub fn clients(&self) -> Vec<SocketAddr> {
        self.clients.values().copied().collect()
    }
}

fn config(me: ServerId, members: BTreeMap<ServerId, MemberKind>, seed: u64) -> PeerConfig {
    PeerConfig {
        zab: ZabConfig {
            me,
            members,
            tick_ms: TICK_MS,
            init_limit: 50,
            sync_limit: SYNC_LIMIT,
            finalize_wait_ms: 200,
            notify_wait_ms: (100, 2000),
            redial_wait_ms: (50, 500),
            history_entries_max: 500,
            history_bytes_max: 4 << 20,
        },
        store: StoreConfig {
            segment_bytes: 64 << 10,
            batch_bytes_max: 1 << 20,
            snapshots_kept: 2,
            read_bytes: 64 << 10,
        },
        timeouts: TimeoutBounds {
            min_ms: 400,
            max_ms: 8000,
        },
        snapshot_txns: 200,
        snapshot_chunk_bytes: 16 << 10,
        session_seed: seed,
    }
}
