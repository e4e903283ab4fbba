//! The pretended world: hosts with programs, roads, disks and clocks, in virtual time.
//!
//! What runs on a host is the shipping shell, generic over `gamekeeper_runtime::Runtime`;
//! [`SimRuntime`] is this world's side of that seam. madsim supplies tasks, nodes, virtual
//! time and the fence around clocks, entropy and threads; network, disks and clocks are ours,
//! and with them every fault. `docs/SIMULATION.md` tells what is simulated and what is not.
//!
//! What always holds: one world is one thread; every draw hangs on the seed and on what it is
//! for; a program whose incarnation is over reads nothing, writes nothing and starts nothing.
//!
//! ```
//! use gamekeeper_runtime::Runtime;
//! use gamekeeper_sim::world::{self, WorldConfig};
//!
//! let ns = world::run(WorldConfig::new(7), async |world: world::World| {
//!     let host = world.host("s1", [10, 0, 0, 1].into(), |runtime| async move {
//!         runtime.sleep_until(runtime.now().mono.plus_ms(5)).await;
//!     });
//!     world.start(host);
//!     world.sleep_ms(20).await;
//!     assert!(!world.is_up(host), "its program has ended");
//!     world.now_ns()
//! });
//! assert!(ns.unwrap() >= 20_000_000);
//! ```

mod alarm;
mod clock;
mod conn;
mod control;
mod dial;
mod disk;
pub(crate) mod keyed;
mod life;
mod net_faults;
mod pipe;
mod road;
mod runtime;
mod stream;

pub use disk::{DiskConfig, DiskControl, DiskFault, DiskImage, Rot, SECTOR_BYTES, SimDisk};
pub use keyed::Law;
pub use life::{Panic, run, run_here};
pub use road::NetConfig;
pub use runtime::{SimRuntime, SimTimer};
pub use stream::{SimListener, SimRead, SimWrite};

use crate::trace::{Kind, LOG_LINES_DEFAULT, LogDetail, Trace};
use alarm::{Alarms, Until, Waiter};
use clock::HostClock;
use conn::{Net, Scene};
use disk::Directory;
use keyed::Key;
use madsim::runtime::{Handle, NodeHandle};
use net_faults::Farewell;
use runtime::Process;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// A host of a world: a machine with an address, a disk and clocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(u16);

impl HostId {
    /// Nobody's: the conductor, outside of every host.
    pub const CONDUCTOR: HostId = HostId(0);

    fn at(index: usize) -> HostId {
        HostId(u16::try_from(index).expect("fewer than 65536 hosts"))
    }

    /// The host of this number, 1 for the first.
    pub const fn nth(number: u16) -> HostId {
        HostId(number)
    }

    /// Its number: 1 for the first host.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What a world is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorldConfig {
    /// The key of every draw.
    pub seed: u64,
    /// Roads and connections.
    pub network: NetConfig,
    /// Disks.
    pub disk: DiskConfig,
    /// What the short log holds.
    pub log: LogDetail,
    /// How many lines it keeps.
    pub log_lines_max: usize,
}

impl WorldConfig {
    /// A world where nothing is wrong.
    pub fn new(seed: u64) -> WorldConfig {
        WorldConfig {
            seed,
            network: NetConfig::default(),
            disk: DiskConfig::default(),
            log: LogDetail::Rare,
            log_lines_max: LOG_LINES_DEFAULT,
        }
    }
}

type Program = Pin<Box<dyn Future<Output = ()> + Send>>;
type Boot = Arc<dyn Fn(SimRuntime) -> Program + Send + Sync>;

struct Host {
    name: String,
    ip: IpAddr,
    clock: HostClock,
    paused: bool,
    /// The executor's node, and the program; none for the conductor.
    site: Option<Site>,
}

#[derive(Clone)]
struct Site {
    node: NodeHandle,
    boot: Boot,
}

/// Everything that changes.
struct State {
    hosts: Vec<Host>,
    net: Net,
    directories: Vec<Directory>,
    /// The first panic of a program, and who is to be told.
    panic: Option<Panic>,
    conductor: Option<Waker>,
}

struct Shared {
    state: State,
    trace: Trace,
}

struct Inner {
    alarms: Alarms,
    handle: Handle,
    config: WorldConfig,
    shared: Mutex<Shared>,
}

/// A world, from outside of its hosts: the conductor's and the nemesis' view. Cheap to clone.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World of seed {}", self.inner.config.seed)
    }
}

/// Locks what only one thread uses. A panic while it was locked is told elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Does something with the world as it is now. Must not wait, nor call into madsim but
    /// for its clock.
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut Scene<'_>) -> T) -> T {
        let mut shared = lock(&self.shared);
        let Shared { state, trace } = &mut *shared;
        let mut scene = Scene {
            alarms: &self.alarms,
            now_ns: self.alarms.now_ns(),
            trace,
        };
        act(state, &mut scene)
    }
}

impl State {
    fn host(&self, host: HostId) -> &Host {
        &self.hosts[host.index()]
    }

    fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host.index()]
    }

    /// Everything the end of a host's program means for network and disks.
    fn host_died(&mut self, scene: &mut Scene<'_>, host: HostId, farewell: Farewell) {
        self.net.host_died(scene, host, farewell);
        let mine = self.directories.iter_mut();
        for directory in mine.filter(|directory| directory.host == host) {
            match farewell {
                Farewell::Closes | Farewell::Resets => directory.program_died(scene),
                Farewell::Silent => directory.power_cut(scene),
            }
        }
    }
}

impl World {
    /// Needs to be called inside the executor's context.
    fn new(config: WorldConfig) -> World {
        let mut net = Net::new(config.network, Key::new(config.seed, "network"));
        net.add_host();
        let conductor = Host {
            name: "conductor".into(),
            ip: IpAddr::from([0, 0, 0, 0]),
            clock: HostClock::default(),
            paused: false,
            site: None,
        };
        let state = State {
            hosts: vec![conductor],
            net,
            directories: Vec::new(),
            panic: None,
            conductor: None,
        };
        let trace = Trace::new(config.log, config.log_lines_max);
        World {
            inner: Arc::new(Inner {
                alarms: Alarms::new(),
                handle: Handle::current(),
                config,
                shared: Mutex::new(Shared { state, trace }),
            }),
        }
    }

    /// A new host, switched off. `boot` is its program: called and run at each start.
    /// Names are for people; addresses must differ.
    pub fn host<F, P>(&self, name: &str, ip: IpAddr, boot: F) -> HostId
    where
        F: Fn(SimRuntime) -> P + Send + Sync + 'static,
        P: Future<Output = ()> + Send + 'static,
    {
        let node = self.inner.handle.create_node().name(name).build();
        let boot: Boot = Arc::new(move |runtime| Box::pin(boot(runtime)));
        self.inner.with(|state, _| {
            let taken = state.hosts.iter().any(|host| host.ip == ip);
            assert!(!taken, "two hosts at {ip}");
            state.net.add_host();
            state.hosts.push(Host {
                name: name.to_string(),
                ip,
                clock: HostClock::default(),
                paused: false,
                site: Some(Site { node, boot }),
            });
            HostId::at(state.hosts.len() - 1)
        })
    }

    /// Starts a host's program, switching the machine on when it is off. It must not run.
    pub fn start(&self, host: HostId) {
        let (site, incarnation) = self.inner.with(|state, scene| {
            assert!(!state.net.machine(host).up, "{host:?} runs already");
            let incarnation = state.net.host_started(scene, host);
            (scene.trace).numbers(scene.now_ns, host.0, Kind::Start, [incarnation, 0, 0]);
            state.host_mut(host).paused = false;
            let site = state.host(host).site.clone();
            (site.expect("the conductor is no host"), incarnation)
        });
        let handle = &self.inner.handle;
        // A node that was killed takes no tasks until it is restarted; restarting one that
        // was not would leave its old tasks some time to live.
        if incarnation > 1 {
            handle.restart(site.node.id());
        }
        let node = handle.get_node(site.node.id());
        let process = Process {
            inner: self.inner.clone(),
            host,
            incarnation,
        };
        let runtime = SimRuntime {
            process: process.clone(),
            node: node.expect("it was created with the host"),
        };
        let boot = site.boot;
        runtime.clone().spawn_guarded("boot", async move {
            boot(runtime).await;
            process.exit();
        });
    }

    /// Kills a host's program (row D1): its page cache survives, its peers are told nothing
    /// and get a reset for what they write next. Nothing happens when it does not run.
    pub fn crash(&self, host: HostId) {
        self.end(host, Farewell::Resets, Kind::Crash);
    }

    /// Kills a host's program as `kill -9` does it on a machine in good health: the kernel
    /// closes its connections, and peers learn at once.
    pub fn crash_closing(&self, host: HostId) {
        self.end(host, Farewell::Closes, Kind::Crash);
    }

    /// Takes the power away (row D2): the program dies, what was not synced is judged, peers
    /// hear nothing at all until the machine is started again. Also for a host whose program
    /// is dead already.
    pub fn power_cut(&self, host: HostId) {
        self.end(host, Farewell::Silent, Kind::PowerCut);
    }

    fn end(&self, host: HostId, farewell: Farewell, kind: Kind) {
        let was = self.inner.with(|state, scene| {
            let was = *state.net.machine(host);
            let affected = match farewell {
                Farewell::Silent => was.powered,
                Farewell::Closes | Farewell::Resets => was.up,
            };
            if affected {
                (scene.trace).numbers(scene.now_ns, host.0, kind, [was.incarnation, 0, 0]);
                state.host_died(scene, host, farewell);
            }
            was
        });
        if was.up {
            self.kill_node(host);
        }
    }

    /// The streams know already that the program is dead, so the destructors of its tasks
    /// say nothing more.
    fn kill_node(&self, host: HostId) {
        let (node, paused) = self.inner.with(|state, _| {
            let host = state.host_mut(host);
            let paused = std::mem::take(&mut host.paused);
            (host.site.as_ref().map(|site| site.node.id()), paused)
        });
        let node = node.expect("the conductor is no host");
        if paused {
            // Killing drops what a paused node held back under the executor's own lock;
            // resumed first, it is dropped in its turn.
            self.inner.handle.resume(node);
        }
        self.inner.handle.kill(node);
    }

    /// Stops a host's program where it stands; its machine goes on taking bytes in.
    pub fn pause(&self, host: HostId) {
        self.set_paused(host, true);
    }

    /// Lets a paused program go on.
    pub fn resume(&self, host: HostId) {
        self.set_paused(host, false);
    }

    fn set_paused(&self, host: HostId, paused: bool) {
        let node = self.inner.with(|state, scene| {
            if !state.net.machine(host).up || state.host(host).paused == paused {
                return None;
            }
            let kind = if paused { Kind::Pause } else { Kind::Resume };
            (scene.trace).numbers(scene.now_ns, host.0, kind, [0; 3]);
            let host = state.host_mut(host);
            host.paused = paused;
            host.site.as_ref().map(|site| site.node.id())
        });
        match (node, paused) {
            (Some(node), true) => self.inner.handle.pause(node),
            (Some(node), false) => self.inner.handle.resume(node),
            (None, _) => {}
        }
    }

    /// True while a host's program runs, paused or not.
    pub fn is_up(&self, host: HostId) -> bool {
        self.inner.with(|state, _| state.net.machine(host).up)
    }

    /// True while a host's program is paused.
    pub fn is_paused(&self, host: HostId) -> bool {
        self.inner.with(|state, _| state.host(host).paused)
    }

    /// How often a host was started.
    pub fn incarnation(&self, host: HostId) -> u64 {
        self.inner
            .with(|state, _| state.net.machine(host).incarnation)
    }

    /// A host's name.
    pub fn name(&self, host: HostId) -> String {
        self.inner.with(|state, _| state.host(host).name.clone())
    }

    /// A host's address.
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.inner.with(|state, _| state.host(host).ip)
    }

    /// Every host, in the order they were made.
    pub fn hosts(&self) -> Vec<HostId> {
        let count = self.inner.with(|state, _| state.hosts.len());
        (1..count).map(HostId::at).collect()
    }

    /// True time, nanoseconds since the world began.
    pub fn now_ns(&self) -> u64 {
        self.inner.alarms.now_ns()
    }

    /// Sleeps until a true instant.
    pub async fn sleep_until_ns(&self, at_ns: u64) {
        Until {
            alarms: &self.inner.alarms,
            at_ns,
            waiter: Waiter::default(),
        }
        .await;
    }

    /// Sleeps for so long in true time.
    pub async fn sleep_ns(&self, ns: u64) {
        self.sleep_until_ns(self.now_ns().saturating_add(ns)).await;
    }

    /// Sleeps for so long in true time.
    pub async fn sleep_ms(&self, ms: u64) {
        self.sleep_ns(ms.saturating_mul(1_000_000)).await;
    }

    /// Adds an event from outside the world to the trace.
    pub fn note(&self, host: HostId, text: fmt::Arguments<'_>) {
        self.inner.with(|_, scene| {
            (scene.trace).text(scene.now_ns, host.0, Kind::Note, text);
        });
    }

    /// Adds an event from outside the world to the trace, as three numbers.
    pub fn note_numbers(&self, host: HostId, numbers: [u64; 3]) {
        self.inner.with(|_, scene| {
            (scene.trace).numbers(scene.now_ns, host.0, Kind::Note, numbers);
        });
    }

    /// The fingerprint of everything so far.
    pub fn fingerprint(&self) -> u64 {
        self.inner.with(|_, scene| scene.trace.fingerprint())
    }

    /// How many events of the world's own there were.
    pub fn events(&self) -> u64 {
        self.inner.with(|_, scene| scene.trace.events())
    }

    /// The short log: virtual ms, host, kind, text.
    pub fn log(&self) -> String {
        self.inner.with(|state, scene| {
            let name = |host: u16| state.hosts[usize::from(host)].name.clone();
            scene.trace.log(name)
        })
    }
}
