//! The seam as a program on a host sees it.

use super::alarm::Waiter;
use super::disk::{Directory, SimDisk};
use super::keyed::Key;
use super::life::guarded;
use super::net_faults::Farewell;
use super::stream::{self, SimListener, SimRead, SimWrite};
use super::{HostId, Inner, Scene, State, World};
use crate::trace::Kind;
use gamekeeper_core::base::{Mono, Now};
use gamekeeper_runtime::{Runtime, Timer};
use madsim::runtime::NodeHandle;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One incarnation of a host's program.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) inner: Arc<Inner>,
    pub(super) host: HostId,
    pub(super) incarnation: u64,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {} life {}", self.host.0, self.incarnation)
    }
}

impl Process {
    /// Does something in the world, unless this program is dead.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut State, &mut Scene<'_>) -> T) -> Option<T> {
        self.inner.with(|state, scene| {
            let machine = state.net.machine(self.host);
            (machine.runs(self.incarnation)).then(|| act(state, scene))
        })
    }

    fn now(&self) -> Now {
        let clock = |state: &mut State, scene: &mut Scene<'_>| {
            state.host(self.host).clock.now(scene.now_ns)
        };
        self.inner.with(clock)
    }

    /// The program has ended by itself: its machine closes what is still open.
    pub(super) fn exit(&self) {
        let ended = self.act(|state, scene| {
            let numbers = [self.incarnation, 0, 0];
            (scene.trace).numbers(scene.now_ns, self.host.0, Kind::Exit, numbers);
            state.host_died(scene, self.host, Farewell::Closes);
        });
        if ended.is_some() {
            let inner = self.inner.clone();
            World { inner }.kill_node(self.host);
        }
    }
}

/// One program's view of the world. Dies with its incarnation.
#[derive(Clone)]
pub struct SimRuntime {
    pub(super) process: Process,
    pub(super) node: NodeHandle,
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimRuntime of {:?}", self.process)
    }
}

impl SimRuntime {
    /// The host it runs on.
    pub fn host(&self) -> HostId {
        self.process.host
    }

    /// Which of the host's lives this is, from 1.
    pub fn incarnation(&self) -> u64 {
        self.process.incarnation
    }

    /// True time, which no program could know: for histories and oracles.
    pub fn true_ns(&self) -> u64 {
        self.process.inner.alarms.now_ns()
    }

    pub(super) fn spawn_guarded(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.node.spawn(guarded(self.process.clone(), name, task));
    }
}

impl Runtime for SimRuntime {
    type Read = SimRead;
    type Write = SimWrite;
    type Listener = SimListener;
    type Timer = SimTimer;
    type Disk = SimDisk;

    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        if self.process.act(|_, _| ()).is_some() {
            self.spawn_guarded(name, task);
        }
    }

    fn now(&self) -> Now {
        self.process.now()
    }

    async fn sleep_until(&self, at: Mono) {
        let mut timer = self.timer();
        timer.arm(Some(at));
        poll_fn(|cx| timer.poll_due(cx)).await;
    }

    fn timer(&self) -> SimTimer {
        SimTimer {
            process: self.process.clone(),
            at: None,
            waiter: Waiter::default(),
        }
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<SimListener> {
        stream::listen(&self.process, addr)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(SimRead, SimWrite)> {
        stream::connect(&self.process, addr).await
    }

    fn disk(&self, dir: &str) -> io::Result<SimDisk> {
        let host = self.process.host;
        let disk = self.process.inner.config.disk;
        let seed = self.process.inner.config.seed;
        let opened = self.process.act(|state, scene| {
            let mine = |directory: &Directory| directory.host == host;
            let known = (state.directories.iter())
                .position(|directory| mine(directory) && directory.name == dir);
            let index = known.unwrap_or_else(|| {
                let nth = state.directories.iter().filter(|d| mine(d)).count();
                let key = Key::new(seed, "disk")
                    .and(host.index() as u64)
                    .and(nth as u64);
                (state.directories).push(Directory::new(host, dir, key, disk));
                state.directories.len() - 1
            });
            Some((index, state.directories[index].open(scene)?))
        });
        let Some((index, session)) = opened.flatten() else {
            return Err(io::Error::other(format!("{dir} is in use")));
        };
        Ok(SimDisk {
            process: self.process.clone(),
            index,
            session,
        })
    }
}

/// An alarm on a host's drifting clock.
pub struct SimTimer {
    process: Process,
    at: Option<Mono>,
    waiter: Waiter,
}

impl fmt::Debug for SimTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimTimer at {:?}", self.at)
    }
}

impl Timer for SimTimer {
    fn arm(&mut self, at: Option<Mono>) {
        self.at = at;
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let host = self.process.host;
        let clock = (self.process).act(|state, scene| (state.host(host).clock, scene.now_ns));
        let Some((clock, now_ns)) = clock else {
            return Poll::Pending;
        };
        if clock.mono(now_ns) >= at {
            self.at = None;
            return Poll::Ready(());
        }
        let rings_ns = clock.true_ns(at);
        self.waiter
            .wait(&self.process.inner.alarms, cx, now_ns, rings_ns);
        Poll::Pending
    }
}
