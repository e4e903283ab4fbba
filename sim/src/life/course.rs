//! The course of a run: warm-up, chaos, heal, converge, final reads.
//!
//! The conductor stands outside of every host. It wakes when the nemesis wants to act, when a
//! watcher rings, and at the end of a phase; what clients and operators do runs on hosts of
//! their own, as production code.

use super::hands::WorldHands;
use super::judge::NoLife;
use super::ledger::Ledger;
use super::mail::Mail;
use super::seat::{self, Cast, Player};
use super::stage::{Signal, StageHandle};
use super::watch::{Scenery, Trigger, Watcher};
use super::{Keep, Progress};
use crate::draw::fork;
use crate::nemesis::Nemesis;
use crate::scenario::{Latency, Scenario};
use crate::world::{HostId, Law, SimRuntime, World};
use bytes::Bytes;
use gamekeeper_client::{Client, ClientConfig, State};
use gamekeeper_core::base::ServerId;
use gamekeeper_core::proto::{Acl, CreateMode};
use gamekeeper_runtime::{Either, Runtime, race};
use gamekeeper_server::serve;
use gamekeeper_workload::{
    FinalReads, Recorder, Server, Stats, Stop, client_stream, final_reads, run_client,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

const NS_PER_MS: u64 = 1_000_000;
/// How often the conductor looks whether the trees are equal, ms.
const LOOK_MS: u64 = 20;
/// Longest the final reads of one server may take, ms.
const READ_MS_MAX: u64 = 30_000;
/// Addresses of the two hosts that belong to no workload: the one that writes after the
/// healing, the one that reads at the end.
const WRITER_IP: [u8; 4] = [10, 2, 0, 1];
const READER_IP: [u8; 4] = [10, 2, 0, 2];
/// The node whose creation shows that the healed ensemble commits.
const HEALED_PATH: &str = "/healed";

/// A value that a program on a host leaves for the conductor.
struct Slot<T> {
    value: Arc<Mutex<T>>,
    bell: Arc<Notify>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot {
            value: self.value.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<T: Default> Slot<T> {
    fn new() -> Slot<T> {
        Slot {
            value: Arc::default(),
            bell: Arc::new(Notify::new()),
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut value);
        self.bell.notify_one();
        done
    }
}

/// Clients that came home, and what they counted.
#[derive(Default)]
struct Home {
    clients: u64,
    stats: Stats,
}

/// A server's host, for its watcher.
struct Site {
    world: World,
    host: HostId,
}

impl Scenery for Site {
    fn now_ns(&self) -> u64 {
        self.world.now_ns()
    }

    fn note(&self, numbers: [u64; 3]) {
        self.world.note_numbers(self.host, numbers);
    }
}

/// Everything on the stage of one run.
pub(super) struct Course {
    world: World,
    scenario: Arc<Scenario>,
    cast: Cast,
    progress: Progress,
    pub(super) stage: StageHandle,
    pub(super) recorder: Recorder,
    pub(super) mail: Mail,
    pub(super) ledger: Ledger,
    pub(super) nemesis: Nemesis,
    pub(super) hands: WorldHands,
    servers: Vec<HostId>,
    clients: Vec<HostId>,
    stop: Stop,
    home: Slot<Home>,
    pub(super) no_life: Option<NoLife>,
}

impl Course {
    /// Builds hosts, roads and clocks. Nothing runs yet.
    pub(super) fn new(
        world: World,
        scenario: &Scenario,
        cast: Cast,
        keep: Keep,
        progress: &Progress,
    ) -> Course {
        let scenario = Arc::new(scenario.clone());
        let shape = &scenario.cluster;
        let keep_events = keep == Keep::Everything;
        let stage = StageHandle::new(shape.servers(), shape.voters, keep_events);
        let clock = world.clone();
        let recorder = Recorder::new(seat::header_of(&scenario), move || clock.now_ns());
        let builder = Builder {
            world: world.clone(),
            scenario: scenario.clone(),
            cast,
            stage: stage.clone(),
            mail: Mail::default(),
            ledger: Ledger::default(),
        };
        let triggers: Vec<Trigger> = (0..shape.servers()).map(|_| Trigger::default()).collect();
        let servers = builder.servers(&triggers);
        let (stop, home) = (Stop::new(), Slot::new());
        let clients = builder.clients(&recorder, &stop, &home);
        builder.lay_roads(&servers, &clients);
        let drifts = builder.set_clocks(&servers);
        let number = u32::try_from(clients.len()).expect("a few hundred at most");
        let chaos_ns = scenario.phases.warmup_ms * NS_PER_MS;
        Course {
            nemesis: Nemesis::new(&scenario, number, chaos_ns),
            hands: WorldHands::new(
                world.clone(),
                stage.clone(),
                servers.clone(),
                clients.clone(),
                triggers,
                drifts,
            ),
            world,
            scenario,
            cast,
            progress: progress.clone(),
            stage,
            recorder,
            mail: builder.mail,
            ledger: builder.ledger,
            servers,
            clients,
            stop,
            home,
            no_life: None,
        }
    }

    /// Lives the whole course; stops at the first breach.
    pub(super) async fn run(&mut self) {
        let phases = self.scenario.phases;
        for host in self.servers.iter().chain(&self.clients) {
            self.world.start(*host);
        }
        let chaos_end_ns = (phases.warmup_ms + phases.chaos_ms) * NS_PER_MS;
        self.work_until(chaos_end_ns).await;
        if self.cast == Cast::Null || self.over() {
            return;
        }
        let core = self.nemesis.heal(&mut self.hands);
        self.hands.heal();
        self.world.note(HostId::CONDUCTOR, format_args!("healed"));
        let deadline_ns = self.world.now_ns() + phases.converge_ms_max * NS_PER_MS;
        self.converge(&core, deadline_ns).await;
        if self.no_life.is_none() && !self.over() {
            self.read_everything(&core).await;
        }
    }

    /// How many operations ended how. Clients that never came home do not count.
    pub(super) fn stats(&self) -> Stats {
        self.home.with(|home| home.stats)
    }

    /// A breach ends the run.
    fn over(&self) -> bool {
        self.stage.lock().breach.is_some()
    }

    /// Lets everything work until a true instant, or until a breach.
    async fn work_until(&mut self, end_ns: u64) {
        loop {
            self.hear();
            let now_ns = self.world.now_ns();
            self.progress.reached(now_ns);
            if self.over() || now_ns >= end_ns {
                return;
            }
            self.nemesis.step(now_ns, &mut self.hands);
            let next_ns = self.nemesis.next_ns().unwrap_or(end_ns).min(end_ns);
            let stage = self.stage.clone();
            let _woken = race(stage.bell(), self.world.sleep_until_ns(next_ns)).await;
        }
    }

    /// Tells the nemesis what the watchers told.
    fn hear(&mut self) {
        let now_ns = self.world.now_ns();
        for signal in self.stage.signals() {
            match signal {
                Signal::Role(server, role) => {
                    self.nemesis.hear_role(server, role, &self.hands);
                }
                Signal::Recovered(server) => self.nemesis.hear_recovered(server),
                Signal::Halted(server) => {
                    self.nemesis.hear_halted(now_ns, server, &mut self.hands);
                }
                Signal::Point(server) => {
                    self.nemesis.hear_point(now_ns, server, &mut self.hands);
                }
                Signal::Breach => {}
            }
        }
    }

    /// Works until `done` says so; false when the deadline or a breach came first.
    async fn work_until_done(&mut self, deadline_ns: u64, done: impl Fn(&Course) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let now_ns = self.world.now_ns();
            if now_ns >= deadline_ns || self.over() {
                return false;
            }
            self.work_until((now_ns + LOOK_MS * NS_PER_MS).min(deadline_ns))
                .await;
        }
    }

    /// A new write commits, clients come home, all trees become equal.
    async fn converge(&mut self, core: &[ServerId], deadline_ns: u64) {
        let bound_ms = self.scenario.phases.converge_ms_max;
        let wrote: Slot<bool> = Slot::new();
        let (told, recorder) = (wrote.clone(), self.recorder.clone());
        let servers = self.alive(core);
        let timeout_ms = self.timeout_ms();
        self.operate("writer", WRITER_IP, move |runtime| {
            let (told, recorder, servers) = (told.clone(), recorder.clone(), servers.clone());
            async move {
                write_until_done(&runtime, servers, recorder, timeout_ms).await;
                told.with(|done| *done = true);
            }
        });
        let wrote = self
            .work_until_done(deadline_ns, |_| wrote.with(|done| *done))
            .await;
        if !wrote {
            return self.lifeless(format!(
                "no write was committed within {bound_ms} ms of the healing"
            ));
        }
        self.stop.set();
        // Clients that wait for an answer nobody owes them come home late; the trees count.
        let clients = self.clients.len() as u64;
        let all_home = |course: &Course| course.home.with(|home| home.clients) == clients;
        self.work_until_done(deadline_ns, all_home).await;
        let living: BTreeSet<ServerId> = core.iter().copied().collect();
        let equal = |course: &Course| course.trees_are_equal(&living);
        if !self.work_until_done(deadline_ns, equal).await {
            self.lifeless(format!(
                "no equal trees within {bound_ms} ms of the healing"
            ));
        }
    }

    /// Every living server serves, and all stand at the same transaction with the same digest.
    fn trees_are_equal(&self, living: &BTreeSet<ServerId>) -> bool {
        let stage = self.stage.lock();
        let mut zxids = BTreeSet::new();
        let mut digests = BTreeSet::new();
        for server in living {
            let standing = &stage.standings[server];
            let Some((zxid, digest)) = standing.applied else {
                return false;
            };
            if !standing.role.is_some_and(|role| role.serves()) {
                return false;
            }
            zxids.insert(zxid);
            digests.extend(digest);
        }
        zxids.len() == 1 && digests.len() <= 1
    }

    fn lifeless(&mut self, what: String) {
        if self.over() {
            return;
        }
        let mut records = vec![what];
        for (server, standing) in &self.stage.lock().standings {
            records.push(format!(
                "server {server} (process {}): role {:?}, tree at {:?}",
                standing.incarnation, standing.role, standing.applied
            ));
        }
        self.no_life = Some(NoLife(records));
    }

    async fn read_everything(&mut self, core: &[ServerId]) {
        let read: Slot<Option<FinalReads>> = Slot::new();
        let (told, recorder) = (read.clone(), self.recorder.clone());
        let servers = self.alive(core);
        let timeout_ms = self.timeout_ms();
        let patience_ms = READ_MS_MAX * servers.len() as u64 + READ_MS_MAX;
        self.operate("reader", READER_IP, move |runtime| {
            let (told, recorder, servers) = (told.clone(), recorder.clone(), servers.clone());
            async move {
                let reads =
                    final_reads(&runtime, &servers, &recorder, timeout_ms, READ_MS_MAX).await;
                told.with(|slot| *slot = Some(reads));
            }
        });
        let deadline_ns = self.world.now_ns() + patience_ms * NS_PER_MS;
        let done = |_: &Course| read.with(|slot| slot.is_some());
        self.work_until_done(deadline_ns, done).await;
        match read.with(Option::take) {
            Some(reads) if reads.missed.is_empty() => {}
            Some(reads) => self.lifeless(format!(
                "servers {:?} could not be read within {READ_MS_MAX} ms",
                reads.missed
            )),
            None => self.lifeless(format!("the final reads took over {patience_ms} ms")),
        }
    }

    /// Runs an operator's program on a host of its own.
    fn operate<P>(
        &self,
        name: &str,
        ip: [u8; 4],
        program: impl Fn(SimRuntime) -> P + Send + Sync + 'static,
    ) where
        P: Future<Output = ()> + Send + 'static,
    {
        let host = self.world.host(name, IpAddr::from(ip), program);
        self.world.start(host);
    }

    fn alive(&self, core: &[ServerId]) -> Vec<Server> {
        let mut servers = seat::servers_of(&self.scenario);
        servers.retain(|server| core.iter().any(|id| u32::from(id.0) == server.id));
        servers
    }

    fn timeout_ms(&self) -> u32 {
        u32::try_from(self.scenario.timing.session_timeout_ms).expect("a day at most")
    }
}

/// Builds what a course stands on.
struct Builder {
    world: World,
    scenario: Arc<Scenario>,
    cast: Cast,
    stage: StageHandle,
    mail: Mail,
    ledger: Ledger,
}

impl Builder {
    fn servers(&self, triggers: &[Trigger]) -> Vec<HostId> {
        let numbered = (1..).zip(triggers);
        numbered
            .map(|(id, trigger)| self.server(ServerId(id), trigger.clone()))
            .collect()
    }

    fn server(&self, server: ServerId, trigger: Trigger) -> HostId {
        let (scenario, stage, cast) = (self.scenario.clone(), self.stage.clone(), self.cast);
        let (world, mail) = (self.world.clone(), self.mail.clone());
        let ledger = self.ledger.clone();
        let boot = move |runtime: SimRuntime| {
            let incarnation = u32::try_from(runtime.incarnation()).expect("few restarts");
            let machine = Player::new(cast, &scenario, server, incarnation, &mail, &ledger);
            let shell = seat::shell_of(&scenario, server);
            let stage = stage.clone();
            let scenery = Arc::new(Site {
                world: world.clone(),
                host: runtime.host(),
            });
            let watcher = Watcher::new(server, stage.clone(), trigger.clone(), scenery);
            async move {
                let halted = serve(runtime, shell, machine, watcher).await;
                // A shell that cannot open its own host's sockets and disk is a bug of ours.
                halted.unwrap_or_else(|error| panic!("server {server} cannot start: {error}"));
                stage.signal(Signal::Halted(server));
            }
        };
        let name = format!("s{server}");
        self.world.host(&name, seat::server_ip(server), boot)
    }

    fn clients(&self, recorder: &Recorder, stop: &Stop, home: &Slot<Home>) -> Vec<HostId> {
        let mut clients = Vec::new();
        for (number, client) in seat::clients_of(&self.scenario).into_iter().enumerate() {
            let number = number as u32;
            let servers = seat::servers_of(&self.scenario);
            let (recorder, stop, home) = (recorder.clone(), stop.clone(), home.clone());
            let boot = move |runtime: SimRuntime| {
                let work = run_client(
                    runtime,
                    client.spec.clone(),
                    client.index,
                    servers.clone(),
                    client_stream(client.key, client.index),
                    recorder.clone(),
                    stop.clone(),
                );
                let home = home.clone();
                async move {
                    let stats = work.await;
                    home.with(|home| {
                        home.clients += 1;
                        home.stats += stats;
                    });
                }
            };
            let name = format!("c{number}");
            let host = self.world.host(&name, seat::client_ip(number), boot);
            clients.push(host);
        }
        clients
    }

    /// Roads of clients have a law of their own.
    fn lay_roads(&self, servers: &[HostId], clients: &[HostId]) {
        let law = law_of(self.scenario.network.clients);
        for server in servers {
            for client in clients {
                self.world.set_law(*server, *client, law);
                self.world.set_law(*client, *server, law);
            }
        }
    }

    /// Gives every server clocks of its own; how fast each runs.
    fn set_clocks(&self, servers: &[HostId]) -> Vec<i64> {
        let law = self.scenario.clock;
        let mut draws = fork(self.scenario.seed, "clocks");
        let mut either_way = |most: u64| {
            let size = draws.below(most + 1) as i64;
            if draws.chance(500) { size } else { -size }
        };
        let mut drifts = Vec::new();
        for server in servers {
            let offset_ms = either_way(law.wall_offset_ms_max);
            let ppm = either_way(law.drift_ppm_max);
            if offset_ms != 0 {
                self.world.jump_wall(*server, offset_ms);
            }
            if ppm != 0 {
                self.world.set_drift(*server, ppm);
            }
            drifts.push(ppm);
        }
        drifts
    }
}

/// A law of delays as the world knows it.
pub(super) fn law_of(latency: Latency) -> Law {
    Law {
        base_ns: latency.base_us * 1000,
        spread_ns: latency.spread_us * 1000,
        tail_permille: latency.tail_permille,
        tail_ns: latency.tail_us * 1000,
    }
}

/// Creates a node that was not there, on whatever session it takes.
async fn write_until_done(
    runtime: &SimRuntime,
    servers: Vec<Server>,
    recorder: Recorder,
    timeout_ms: u32,
) {
    for attempt in 0.. {
        let config = ClientConfig {
            servers: servers.iter().map(|server| server.addr).collect(),
            timeout_ms,
            rest_ms: 100,
        };
        let tap = recorder.scribe(servers.iter().map(|server| server.id).collect());
        let (client, _) = Client::open(runtime, config, tap);
        let path = format!("{HEALED_PATH}-{attempt}");
        let write = async {
            let State::Connected { .. } = client.ready().await else {
                return false;
            };
            let data = Bytes::from_static(b"healed");
            let created = client.create(&path, data, CreateMode::default(), Acl::open());
            created.await.is_ok()
        };
        let patience = runtime.now().mono.plus_ms(u64::from(timeout_ms) * 4);
        if let Either::First(true) = race(write, runtime.sleep_until(patience)).await {
            // Whether the close is heard changes nothing.
            let _closed = client.close().await;
            return;
        }
        drop(client);
        runtime.sleep_until(runtime.now().mono.plus_ms(100)).await;
    }
}
