//! A worker's seat: its core, its mailbox, its thread, and how often it died.
//!
//! It never starts a worker; `process.rs` does, and asks here whether once more makes sense.

use std::time::Duration;

use crate::base::time::Instant;
use crate::worker::boot::Thread;
use crate::worker::mailbox::Voice;

/// A worker's seat: who sits on it may change, its core does not.
pub(super) struct Seat {
    pub(super) cpu: Option<usize>,
    pub(super) voice: Voice,
    pub(super) thread: Option<Thread>,
    /// When it died in the last `DEATHS_WITHIN`.
    pub(super) deaths: Vec<Instant>,
    pub(super) version: u64,
    pub(super) started: bool,
    /// Whether it runs short of descriptors or memory.
    pub(super) short: bool,
}

/// A worker that dies so often within that time is not started again: what kills it is still there.
const DEATHS_MAX: usize = 10;
const DEATHS_WITHIN: Duration = Duration::from_secs(60);

impl Seat {
    /// Counts a death, and says whether it was one too many.
    pub(super) fn dies_too_often(&mut self, now: Instant) -> bool {
        self.deaths.retain(|death| now.since(*death) < DEATHS_WITHIN);
        self.deaths.push(now);
        self.deaths.len() >= DEATHS_MAX
    }
}
