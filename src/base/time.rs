//! Instants and wall-clock times as plain numbers.
//!
//! These types know how to compare and add; they never ask a clock. `runtime/clock.rs` alone does, so
//! that every rule above can be tested and simulated with a time of the test's choosing.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock. Unit: nanoseconds since the process's own origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the monotonic clock.
    pub const ORIGIN: Instant = Instant(0);
    /// Later than any deadline; used for "no deadline".
    pub const NEVER: Instant = Instant(u64::MAX);

    /// From nanoseconds since the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::NEVER`].
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::ORIGIN`].
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(duration)))
    }
}

/// Without a number of 128 bits, for this is done ten times a request.
const fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(duration.subsec_nanos() as u64)
}

/// A moment on the wall clock, for logs, dates and token expiry. Unit: microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wall(u64);

impl Wall {
    /// From microseconds since 1970-01-01 UTC.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0 + span.as_micros() as u64)
    }

    /// Whole seconds since 1970-01-01 UTC.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }
}
