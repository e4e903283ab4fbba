//! What the world costs without the service: events per processor second of the server and
//! of a null server, over the same scenarios.
//!
//! What always holds: the two are measured in turn, seed by seed, so that a machine that is
//! busy for a while slows both; the judge's time counts as the service's.

use super::{Cast, Keep, Progress, live_on_fresh_thread};
use crate::scenario::{self, INTENSITY_NORMAL, Scenario};
use std::fmt;

/// Events and processor time of some lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Speed {
    lives: u64,
    events: u64,
    cpu_ns: u64,
    judge_ns: u64,
}

impl Speed {
    fn live(&mut self, scenario: &Scenario, cast: Cast) {
        let life = live_on_fresh_thread(scenario, cast, Keep::Outcome, &Progress::default());
        self.lives += 1;
        self.events += life.outcome.events;
        self.cpu_ns += life.outcome.cpu_ns;
        self.judge_ns += life.outcome.judge_ns;
    }

    fn events_per_s(&self) -> u64 {
        per(self.events, self.cpu_ns, 1_000_000_000)
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

/// `count` per `unit_ns` of a span.
fn per(count: u64, span_ns: u64, unit_ns: u64) -> u64 {
    let product = u128::from(count) * u128::from(unit_ns);
    u64::try_from(product / u128::from(span_ns.max(1))).unwrap_or(u64::MAX)
}

/// What a calibration measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Calibration {
    service: Speed,
    null: Speed,
}

impl Calibration {
    /// Events per processor second of the service, in thousandths of the null server's.
    pub fn ratio_permille(&self) -> u64 {
        per(self.service.events_per_s(), self.null.events_per_s(), 1000)
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.ratio_permille() / 10;
        let Speed {
            lives,
            cpu_ns,
            judge_ns,
            ..
        } = self.service;
        writeln!(f, "service    {}", self.service)?;
        writeln!(f, "null       {}", self.null)?;
        writeln!(f, "ratio      {}.{:02}", ratio / 100, ratio % 100)?;
        writeln!(
            f,
            "seeds      {} a minute of processor, {} % of it in the judge",
            per(lives, cpu_ns, 60_000_000_000),
            per(judge_ns, cpu_ns, 100)
        )
    }
}

/// Lives the seeds from `first` on, `count` of them, as drawn, with the server and with a
/// null server in turn. `told` hears of each seed that is done.
pub fn calibrate(first: u64, count: u64, told: impl Fn(u64)) -> Calibration {
    let mut calibration = Calibration::default();
    for seed in first..first.saturating_add(count) {
        let scenario = scenario::draw(seed, INTENSITY_NORMAL);
        calibration.service.live(&scenario, Cast::Service);
        calibration.null.live(&scenario, Cast::Null);
        told(seed);
    }
    calibration
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_of_speeds_and_not_of_times() {
        let speed = |events, cpu_ns| Speed {
            lives: 2,
            events,
            cpu_ns,
            judge_ns: cpu_ns / 4,
        };
        let calibration = Calibration {
            service: speed(1_000_000, 2_000_000_000),
            null: speed(2_000_000, 2_000_000_000),
        };
        assert_eq!(calibration.ratio_permille(), 500);
        let told = calibration.to_string();
        assert!(told.contains("ratio      0.50\n"), "{told}");
        assert!(told.contains("60 a minute of processor, 25 %"), "{told}");
        assert_eq!(Calibration::default().ratio_permille(), 0, "nothing lived");
    }
}
