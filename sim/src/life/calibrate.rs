//! What the world costs without the service: events per processor second of the server and
//! of a null server, over the same scenarios.

use super::{Cast, Keep, Progress, live_on_fresh_thread};
use crate::scenario::{self, INTENSITY_NORMAL};
use std::fmt;

/// Events and processor time of some lives.
#[derive(Clone, Copy, Default)]
struct Speed {
    events: u64,
    cpu_ns: u64,
}

impl Speed {
    fn measure(cast: Cast, seeds: u64) -> Speed {
        let mut speed = Speed::default();
        for seed in 0..seeds {
            let scenario = scenario::draw(seed, INTENSITY_NORMAL);
            let life = live_on_fresh_thread(&scenario, cast, Keep::Outcome, &Progress::default());
            speed.events += life.outcome.events;
            speed.cpu_ns += life.outcome.cpu_ns;
        }
        speed
    }

    fn events_per_s(&self) -> u64 {
        let product = u128::from(self.events) * 1_000_000_000;
        (product / u128::from(self.cpu_ns.max(1))) as u64
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9} events a second of processor ({} events, {} ms)",
            self.events_per_s(),
            self.events,
            self.cpu_ns / 1_000_000
        )
    }
}

/// Lives some seeds with the server and with a null server, and tells both speeds and their
/// ratio in hundredths.
pub fn calibrate(seeds: u64) -> String {
    let service = Speed::measure(Cast::Service, seeds);
    let null = Speed::measure(Cast::Null, seeds);
    let percent = service.events_per_s() * 100 / null.events_per_s().max(1);
    format!(
        "service    {service}\nnull       {null}\nratio      {}.{:02}\n",
        percent / 100,
        percent % 100
    )
}
