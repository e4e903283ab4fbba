//! The real thing: three servers on tokio, over loopback, on real files. Clients work a
//! register while the leader is killed and comes back; the checker judges what they saw.

use gamekeeper_checker::{Header, Options, Verdict, judge};
use gamekeeper_core::base::event::Role;
use gamekeeper_core::base::{Event, Now, ServerId};
use gamekeeper_core::log::StoreConfig;
use gamekeeper_core::peer::{Peer, PeerConfig};
use gamekeeper_core::pipeline::TimeoutBounds;
use gamekeeper_core::zab::{MemberKind, ZabConfig};
use gamekeeper_runtime::Runtime;
use gamekeeper_runtime::tokio_rt::TokioRuntime;
use gamekeeper_server::{Observer, ShellConfig, serve};
use gamekeeper_workload::{Kind, Recorder, Server, Stop, WorkloadSpec, final_reads, run};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

const TICK_MS: u64 = 200;
const TIMEOUTS: TimeoutBounds = TimeoutBounds {
    min_ms: 400,
    max_ms: 8000,
};

/// The last role of each server.
type Roles = Arc<Mutex<BTreeMap<ServerId, Role>>>;

struct Watch {
    me: ServerId,
    roles: Roles,
}

impl Observer for Watch {
    fn event(&mut self, _now: Now, event: &Event) {
        if let Event::Role(role) = event {
            self.roles.lock().unwrap().insert(self.me, *role);
        }
    }
}

struct Cluster {
    rt: TokioRuntime,
    dir: tempfile::TempDir,
    clients: BTreeMap<ServerId, SocketAddr>,
    peers: BTreeMap<ServerId, SocketAddr>,
    roles: Roles,
    running: BTreeMap<ServerId, JoinHandle<()>>,
    processes: u64,
}

impl Cluster {
    fn new(n: u8) -> Cluster {
        // All are held until all are known, so that no two are the same.
        let held: Vec<TcpListener> = (0..2 * n)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
            .collect();
        let ports: Vec<SocketAddr> = held.iter().map(|l| l.local_addr().unwrap()).collect();
        let ids: Vec<ServerId> = (1..=n).map(ServerId).collect();
        Cluster {
            rt: TokioRuntime::new(),
            dir: tempfile::tempdir().expect("a directory"),
            clients: ids.iter().copied().zip(ports.iter().copied()).collect(),
            peers: ids
                .iter()
                .copied()
                .zip(ports[usize::from(n)..].iter().copied())
                .collect(),
            roles: Roles::default(),
            running: BTreeMap::new(),
            processes: 0,
        }
    }

    fn boot(&mut self, me: ServerId) {
        self.processes += 1;
        let dir = self.dir.path().join(me.to_string());
        let shell = ShellConfig::new(
            me,
            self.clients[&me],
            self.peers[&me],
            self.peers.clone(),
            path_text(&dir),
            7,
        );
        let members = self
            .peers
            .keys()
            .map(|id| (*id, MemberKind::Voter))
            .collect();
        let peer = Peer::new(config(me, members, self.processes << 20));
        let watch = Watch {
            me,
            roles: self.roles.clone(),
        };
        let rt = self.rt.clone();
        let task = tokio::spawn(async move {
            let halted = serve(rt, shell, peer, watch).await.expect("it opens");
            panic!("server {me} halted: {}", halted.reason);
        });
        self.running.insert(me, task);
    }

    /// Drops the whole process at once, as SIGKILL does.
    async fn kill(&mut self, id: ServerId) {
        let task = self.running.remove(&id).expect("it runs");
        task.abort();
        let _ = task.await;
        self.roles.lock().unwrap().remove(&id);
    }

    async fn leader(&self) -> ServerId {
        loop {
            let leader = self
                .roles
                .lock()
                .unwrap()
                .iter()
                .find(|(_, role)| matches!(role, Role::Leading { .. }))
                .map(|(id, _)| *id);
            if let Some(leader) = leader {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn servers(&self) -> Vec<Server> {
        self.clients
            .iter()
            .map(|(id, addr)| Server {
                id: u32::from(id.0),
                addr: *addr,
            })
            .collect()
    }
}

fn path_text(path: &Path) -> String {
    path.to_str()
        .expect("a temporary directory has a plain name")
        .to_owned()
}

fn config(me: ServerId, members: BTreeMap<ServerId, MemberKind>, seed: u64) -> PeerConfig {
    PeerConfig {
        zab: ZabConfig {
            me,
            members,
            tick_ms: TICK_MS,
            init_limit: 50,
            sync_limit: 25,
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
        timeouts: TIMEOUTS,
        snapshot_txns: 200,
        snapshot_chunk_bytes: 16 << 10,
        session_seed: seed,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_survives_the_death_of_its_leader() {
    let mut cluster = Cluster::new(3);
    for id in 1..=3 {
        cluster.boot(ServerId(id));
    }
    cluster.leader().await;

    let header = Header {
        tick_ms: TICK_MS,
        sync_limit: 25,
        timeout_ms_min: u64::from(TIMEOUTS.min_ms),
        timeout_ms_max: u64::from(TIMEOUTS.max_ms),
        ..Header::default()
    };
    let clock = cluster.rt.clone();
    let recorder = Recorder::new(header, move || clock.now().mono.0);
    let stop = Stop::new();
    let spec = WorkloadSpec {
        think_ms_min: 1,
        think_ms_max: 20,
        timeout_ms: 4000,
        ..WorkloadSpec::moderate(Kind::Register)
    };
    let work = tokio::spawn(run(
        cluster.rt.clone(),
        spec,
        cluster.servers(),
        [7; 32],
        recorder.clone(),
        stop.clone(),
    ));

    // The leader dies in the middle of the work, and comes back to another's lead.
    wait_for(&recorder, 300).await;
    let first = cluster.leader().await;
    cluster.kill(first).await;
    let second = cluster.leader().await;
    assert_ne!(first, second);
    let before = recorder.len();
    wait_for(&recorder, before + 300).await;
    cluster.boot(first);
    let before = recorder.len();
    wait_for(&recorder, before + 300).await;
    stop.set();
    let stats = work.await.expect("the clients come home");
    assert!(stats.ok > 100, "{stats:?}");

    let read = final_reads(&cluster.rt, &cluster.servers(), &recorder, 4000, 60_000).await;
    assert_eq!(read.missed, Vec::<u32>::new());
    let history = recorder.take();
    match judge(&history, &Options::default()) {
        Verdict::Valid(_) => {}
        other => panic!("{other:?}"),
    }
}

async fn wait_for(recorder: &Recorder, records: usize) {
    while recorder.len() < records {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
