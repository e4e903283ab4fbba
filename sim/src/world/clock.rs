//! The clocks of one host: how they run against the world's true time.
//!
//! What always holds: the monotonic clock of a host never goes back, whatever is done to it;
//! the wall clock may.

use gamekeeper_core::base::{Mono, Now};

/// Parts of a million.
const MILLION: i64 = 1_000_000;
/// No clock is further off than this, parts per million.
const DRIFT_PPM_MAX: i64 = 100_000;
/// True Unix time when a world begins, ms: 2024-01-01.
pub(super) const EPOCH_WALL_MS: i64 = 1_704_067_200_000;
/// What a host's monotonic clock shows when its world begins, ns: not 0, so that a program
/// that subtracts carelessly near its start does not go unnoticed only here.
const EPOCH_MONO_NS: u64 = 1_000_000_000;

/// A monotonic clock that may run fast or slow, and a wall clock on top of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostClock {
    since_true_ns: u64,
    since_mono_ns: u64,
    drift_ppm: i64,
    wall_offset_ms: i64,
}

impl Default for HostClock {
    fn default() -> HostClock {
        HostClock {
            since_true_ns: 0,
            since_mono_ns: EPOCH_MONO_NS,
            drift_ppm: 0,
            wall_offset_ms: 0,
        }
    }
}

impl HostClock {
    /// The monotonic clock at a true instant, ns.
    pub(super) fn mono(&self, true_ns: u64) -> Mono {
        let passed = true_ns.saturating_sub(self.since_true_ns);
        if self.drift_ppm == 0 {
            return Mono(self.since_mono_ns + passed);
        }
        let rate = (MILLION + self.drift_ppm) as u128;
        Mono(self.since_mono_ns + (u128::from(passed) * rate / MILLION as u128) as u64)
    }

    /// Both clocks at a true instant.
    pub(super) fn now(&self, true_ns: u64) -> Now {
        let mono = self.mono(true_ns);
        let passed_ms = (mono.0 - EPOCH_MONO_NS) / 1_000_000;
        Now {
            mono,
            wall_ms: EPOCH_WALL_MS + passed_ms as i64 + self.wall_offset_ms,
        }
    }

    /// The first true instant at which the monotonic clock shows `at` or more.
    pub(super) fn true_ns(&self, at: Mono) -> u64 {
        let ahead = at.0.saturating_sub(self.since_mono_ns);
        if self.drift_ppm == 0 {
            return self.since_true_ns.saturating_add(ahead);
        }
        let rate = (MILLION + self.drift_ppm) as u128;
        let passed = (u128::from(ahead) * MILLION as u128).div_ceil(rate);
        self.since_true_ns
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// From now on the clocks run `ppm` fast (or slow, when negative).
    pub(super) fn set_drift(&mut self, true_ns: u64, ppm: i64) {
        assert!(ppm.abs() <= DRIFT_PPM_MAX, "no clock is {ppm} ppm off");
        self.since_mono_ns = self.mono(true_ns).0;
        self.since_true_ns = true_ns;
        self.drift_ppm = ppm;
    }

    /// Moves the wall clock.
    pub(super) fn jump_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms = self.wall_offset_ms.saturating_add(by_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_of_a_drifting_clock_is_the_first_instant_that_shows_it() {
        for ppm in [-50_000, -37, 0, 1, 499, 100_000] {
            let mut clock = HostClock::default();
            clock.set_drift(12_345, ppm);
            for ahead in [0, 1, 17, 999_999_999, 86_400_000_000_000] {
                let at = Mono(clock.mono(12_345).0 + ahead);
                let rings = clock.true_ns(at);
                assert!(clock.mono(rings) >= at, "{ppm} {ahead}");
                assert!(
                    rings == 12_345 || clock.mono(rings - 1) < at,
                    "{ppm} {ahead}"
                );
            }
        }
    }

    #[test]
    fn change_of_drift_moves_no_hand() {
        let mut clock = HostClock::default();
        clock.set_drift(0, 500);
        let before = clock.mono(1_000_000_000);
        clock.set_drift(1_000_000_000, -500);
        assert_eq!(clock.mono(1_000_000_000), before);
        assert_eq!(before.0, EPOCH_MONO_NS + 1_000_500_000);
    }

    #[test]
    fn wall_jumps_both_ways_and_mono_does_not_care() {
        let mut clock = HostClock::default();
        let before = clock.now(5_000_000);
        clock.jump_wall(-3_600_000);
        let after = clock.now(5_000_000);
        assert_eq!(after.mono, before.mono);
        assert_eq!(after.wall_ms, before.wall_ms - 3_600_000);
        clock.jump_wall(7_200_000);
        assert_eq!(clock.now(5_000_000).wall_ms, before.wall_ms + 3_600_000);
    }
}
