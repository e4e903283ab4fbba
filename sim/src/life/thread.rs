//! A fresh thread for each life: what makes it repeatable, and what catches its panics.
//!
//! A panic or failed assertion inside a run is a violation with its place, never a crash of
//! the tool.

use super::Life;
use crate::outcome::Verdict;
use crate::scenario::Scenario;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Stack of a life's thread, bytes. Tasks are boxed; only drops of long chains go deep.
const STACK_BYTES: usize = 8 << 20;

/// How far a life is, for whoever draws a bar.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    virtual_ns: Arc<AtomicU64>,
}

impl Progress {
    /// Sets how much virtual time has passed, nanoseconds.
    pub fn reached(&self, virtual_ns: u64) {
        self.virtual_ns.store(virtual_ns, Ordering::Relaxed);
    }

    /// How much virtual time has passed, nanoseconds.
    pub fn virtual_ns(&self) -> u64 {
        self.virtual_ns.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// Message and place of the first panic of this thread.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    /// True on threads that live a life.
    static LIVING: RefCell<bool> = const { RefCell::new(false) };
}

/// Lives a scenario on a thread of its own.
pub fn live_on_fresh_thread(scenario: &Scenario, progress: &Progress) -> Life {
    install_hook();
    let (scenario, progress) = (scenario.clone(), progress.clone());
    let seed = scenario.seed;
    let thread = thread::Builder::new()
        .name(format!("seed-{seed}"))
        .stack_size(STACK_BYTES)
        .spawn(move || {
            LIVING.set(true);
            let before = thread_cpu_ns();
            let lived = panic::catch_unwind(AssertUnwindSafe(|| super::live(&scenario, &progress)));
            let mut life = lived.unwrap_or_else(|_| Life::new(seed));
            if let Some((message, place)) = PANIC.take() {
                life.outcome.verdict = Verdict::Invalid {
                    property: "panic".into(),
                    records: vec![message],
                    place: Some(place),
                };
            }
            life.outcome.cpu_ns = thread_cpu_ns().saturating_sub(before);
            life
        })
        .expect("the system has room for one more thread");
    thread.join().unwrap_or_else(|_| {
        // Only a panic while dropping what a panic left behind comes here.
        let mut life = Life::new(seed);
        life.outcome.verdict = Verdict::Invalid {
            property: "panic".into(),
            records: vec!["while a life was taken down".into()],
            place: None,
        };
        life
    })
}

/// Notes the first panic of a living thread silently; others print as ever.
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !LIVING.with(|living| *living.borrow()) {
                return usual(info);
            }
            let place = info.location().map_or_else(String::new, |l| {
                format!("{}:{}:{}", l.file(), l.line(), l.column())
            });
            let message = info
                .payload_as_str()
                .unwrap_or("a panic without a message")
                .to_string();
            PANIC.with(|first| {
                first.borrow_mut().get_or_insert((message, place));
            });
        }));
    });
}

/// Processor time of this thread, 0 where the system does not tell.
fn thread_cpu_ns() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
