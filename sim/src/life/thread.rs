//! A fresh thread for each life, which is what makes it repeatable.

use super::{Cast, Keep, Life, live_here};
use crate::outcome::Verdict;
use crate::scenario::Scenario;
use std::sync::Arc;
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

/// Lives a scenario on a thread of its own.
pub fn live_on_fresh_thread(
    scenario: &Scenario,
    cast: Cast,
    keep: Keep,
    progress: &Progress,
) -> Life {
    thread::scope(|scope| {
        let life = thread::Builder::new()
            .name(name_of(cast, scenario.seed))
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                let before_ns = cpu_ns();
                let mut life = live_here(scenario, cast, keep, progress);
                life.outcome.cpu_ns = cpu_ns().saturating_sub(before_ns);
                life
            })
            .expect("the system has room for one more thread");
        life.join().unwrap_or_else(|_| {
            // Only a panic while taking down what a panic left behind, or of the judge.
            let mut life = Life::new(scenario.seed);
            life.outcome.verdict = Verdict::Invalid {
                property: "panic".into(),
                records: vec!["outside of the simulated world".into()],
                place: None,
            };
            life
        })
    })
}

/// What a profiler calls the thread: the two casts of a calibration are told apart.
fn name_of(cast: Cast, seed: u64) -> String {
    match cast {
        Cast::Service => format!("seed-{seed}"),
        Cast::Null => format!("null-{seed}"),
    }
}

/// Processor time of this thread, 0 where the system does not tell.
pub(super) fn cpu_ns() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
