//! Time as it is handed in: a monotonic clock for every deadline, a wall clock for stamps only.

use std::fmt;
use std::ops::Add;

/// Monotonic nanoseconds since an origin of the host's choosing. Survives no restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// This instant and `ms` milliseconds.
    pub const fn plus_ms(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Whole milliseconds since `earlier`, 0 when `earlier` is later.
    pub const fn ms_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// The earlier of two deadlines, where `None` is never.
pub fn earlier(a: Option<Mono>, b: Option<Mono>) -> Option<Mono> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(at), None) | (None, Some(at)) => Some(at),
        (None, None) => None,
    }
}

impl Add<std::time::Duration> for Mono {
    type Output = Mono;

    fn add(self, d: std::time::Duration) -> Mono {
        Mono(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The two clocks at one step. `wall_ms` (Unix milliseconds) may jump both ways and is
/// used for stamps a person reads, never to decide anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic nanoseconds.
    pub mono: Mono,
    /// Wall clock, Unix milliseconds.
    pub wall_ms: i64,
}
