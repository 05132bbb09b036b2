//! The only place that reads a clock.
//!
//! It never goes backwards: deadlines use the monotonic clock; the wall clock is for logs, dates and
//! token expiry only.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::time::{Instant, Wall};

/// The monotonic clock now.
#[expect(unsafe_code, reason = "clock_gettime gives plain nanoseconds; std hides them")]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that lives through the call; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Instant::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The wall clock now; the epoch itself if the machine's clock stands before it.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
