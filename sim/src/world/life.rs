//! One life: a fresh thread, an executor, a world, and what is left when it is over.
//!
//! A fresh thread because the order of unordered maps inside the executor is the same only on
//! a thread that has not run one before. A panic anywhere in a life is a value with its place:
//! it ends the life, never the tool, and nothing is printed.

use super::runtime::Process;
use super::{HostId, Inner, World, WorldConfig, lock};
use madsim::plugin::{Simulator, simulator};
use madsim::rand::GlobalRng;
use madsim::runtime::Runtime;
use madsim::task::NodeId;
use madsim::time::{Duration, TimeHandle};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, Once, Weak};
use std::task::Poll;
use std::thread;

/// Stack of a life's thread, bytes. Tasks are boxed; only drops of long chains go deep.
const STACK_BYTES: usize = 8 << 20;

/// A panic or failed assertion inside a life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// File, line and column; empty when unknown.
    pub location: String,
    /// Host and task; empty when it was none's.
    pub task: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.message, self.location)?;
        match self.task.is_empty() {
            true => Ok(()),
            false => write!(f, " in {}", self.task),
        }
    }
}

impl std::error::Error for Panic {}

thread_local! {
    /// True on threads that live a life.
    static LIVING: Cell<bool> = const { Cell::new(false) };
    /// The first panic of this thread that nobody has taken.
    static FIRST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Lives a life on a fresh thread: makes a world and runs `main`, its conductor, to its end.
/// A panic of the conductor or of any program ends the life at once.
pub fn run<T, M, F>(config: WorldConfig, main: M) -> Result<T, Panic>
where
    T: Send,
    M: FnOnce(World) -> F + Send,
    F: Future<Output = T>,
{
    thread::scope(|scope| {
        let life = thread::Builder::new()
            .name(format!("seed-{}", config.seed))
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || run_here(config, main))
            .expect("the system has room for one more thread");
        // Only a panic while taking down what a panic left behind comes here.
        life.join().unwrap_or_else(|_| Err(nameless()))
    })
}

/// The same on the calling thread, which must be fresh.
pub fn run_here<T, M, F>(config: WorldConfig, main: M) -> Result<T, Panic>
where
    M: FnOnce(World) -> F,
    F: Future<Output = T>,
{
    install_hook();
    LIVING.set(true);
    let executor = Runtime::with_seed_and_config(config.seed, Default::default());
    executor.add_simulator::<Fence>();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        executor.block_on(conduct(config, main))
    }));
    let lived = lived.unwrap_or_else(|_| Err(taken("")));
    // The lives of tasks hang on wakers that the world holds, and the world on the tasks:
    // without this nothing of a life would ever be freed.
    let _ = catch_unwind(AssertUnwindSafe(|| executor.block_on(take_down())));
    drop(executor);
    LIVING.set(false);
    FIRST.take();
    lived
}

/// Runs the conductor until it is done or something panics.
async fn conduct<T, M, F>(config: WorldConfig, main: M) -> Result<T, Panic>
where
    M: FnOnce(World) -> F,
    F: Future<Output = T>,
{
    let world = World::new(config);
    simulator::<Fence>().guard(&world.inner);
    let inner = world.inner.clone();
    let mut main = pin!(main(world));
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| main.as_mut().poll(cx)));
        let panicked = inner.with(|state, _| {
            state.conductor = Some(cx.waker().clone());
            state.panic.take()
        });
        match (panicked, polled) {
            (Some(panic), _) => Poll::Ready(Err(panic)),
            (None, Ok(poll)) => poll.map(Ok),
            (None, Err(_)) => Poll::Ready(Err(taken("the conductor"))),
        }
    })
    .await
}

/// Kills every host and lets the executor drop their tasks, then drops what is left.
async fn take_down() {
    let Some(inner) = simulator::<Fence>().world() else {
        return;
    };
    let world = World {
        inner: inner.clone(),
    };
    for host in world.hosts() {
        let was_up = inner.with(|state, _| {
            let machine = state.net.machine_mut(host);
            std::mem::replace(&mut machine.up, false)
        });
        if was_up {
            world.kill_node(host);
        }
    }
    let time = TimeHandle::current();
    time.sleep(Duration::from_millis(1)).await;
    let rubbish = inner.with(|state, _| {
        state.net.clear();
        for directory in &mut state.directories {
            directory.clear();
        }
        let programs = state.hosts.iter_mut().map(|host| host.site.take());
        (programs.collect::<Vec<_>>(), state.conductor.take())
    });
    drop(rubbish);
}

/// Runs a program's task; its panic ends the whole life.
pub(super) async fn guarded(process: Process, name: &'static str, task: impl Future<Output = ()>) {
    let mut task = pin!(task);
    let ended = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    });
    if ended.await.is_err() {
        let told = process.inner.with(|state, _| {
            let host = &state.host(process.host).name;
            let panic = taken(&format!("{name} of {host}"));
            state.panic.get_or_insert(panic);
            state.conductor.take()
        });
        if let Some(conductor) = told {
            conductor.wake();
        }
    }
}

fn nameless() -> Panic {
    Panic {
        message: "a panic nobody noted".into(),
        location: String::new(),
        task: String::new(),
    }
}

fn taken(task: &str) -> Panic {
    let panic = FIRST.take().unwrap_or_else(nameless);
    Panic {
        task: task.to_string(),
        ..panic
    }
}

/// Notes the first panic of a living thread silently; other threads' panics go where they
/// went before.
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !LIVING.get() {
                return usual(info);
            }
            let place = info.location();
            let location = place.map_or_else(String::new, ToString::to_string);
            let message = info.payload_as_str().unwrap_or("without a message");
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert(Panic {
                    message: message.to_string(),
                    location,
                    task: String::new(),
                });
            });
        }));
    });
}

/// The only plugin: several would be called in an order that differs between builds.
///
/// It is a safety net. `World` marks a program dead before it kills the node; a kill that did
/// not come through the world does it here. This runs under the executor's own locks, so it
/// touches nothing but our state.
struct Fence {
    world: Mutex<Weak<Inner>>,
}

impl Fence {
    fn guard(&self, inner: &Arc<Inner>) {
        *lock(&self.world) = Arc::downgrade(inner);
    }

    fn world(&self) -> Option<Arc<Inner>> {
        lock(&self.world).upgrade()
    }
}

impl Simulator for Fence {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Fence {
        Fence {
            world: Mutex::new(Weak::new()),
        }
    }

    fn reset_node(&self, id: NodeId) {
        let Some(inner) = self.world() else {
            return;
        };
        inner.with(|state, scene| {
            let is_it = |site: &super::Site| site.node.id() == id;
            let place = (state.hosts.iter()).position(|host| host.site.as_ref().is_some_and(is_it));
            if let Some(host) = place.map(HostId::at)
                && state.net.machine(host).up
            {
                state.host_died(scene, host, super::Farewell::Resets);
            }
        });
    }
}
