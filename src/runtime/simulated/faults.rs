//! What the simulated network and kernel may do to a program, and how often.
//!
//! Chances are per thousand, so that a plan is compared, printed and drawn as integers. A plan never makes
//! happen what a real kernel could not do.

use std::time::Duration;

/// How often what happens. [`Faults::none`] is a network that never delays or cuts anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A read returns fewer bytes than are there. Unit: of a thousand reads.
    pub short_reads: u32,
    /// A write takes fewer bytes than there is room for. Unit: of a thousand writes.
    pub short_writes: u32,
    /// What a socket's buffers and the network hold of one direction at most. Unit: bytes.
    pub pipe_bytes_max: usize,
    /// What they hold at least; the bound of each direction is drawn between the two. Unit: bytes.
    pub pipe_bytes_min: usize,
    /// How long a parcel is on its way, at most.
    pub latency_max: Duration,
    /// How long a delayed one is, at most.
    pub delay_max: Duration,
    /// A parcel is delayed. Unit: of a thousand parcels.
    pub delayed: u32,
    /// A finished operation is told to its task a turn later. Unit: of a thousand operations.
    pub told_late: u32,
    /// A read that was dropped in flight goes on until its cancellation is through. Unit: of a thousand.
    pub cancelled_late: u32,
    /// The connection is reset at a write. Unit: of a thousand writes.
    pub resets: u32,
    /// A reset destroys what arrived before it and was not read. Unit: of a thousand resets.
    pub resets_destroy: u32,
    /// A connection is refused. Unit: of a thousand connections.
    pub connects_refused: u32,
    /// A connection attempt is never answered. Unit: of a thousand connections.
    pub connects_stalled: u32,
    /// An accept fails: out of descriptors, or the peer is gone again. Unit: of a thousand.
    pub accepts_failed: u32,
    /// How late a timer may be.
    pub timer_late_max: Duration,
}

impl Faults {
    /// Nothing is ever cut, late or lost, and no time passes on the way.
    pub const fn none() -> Self {
        Self {
            short_reads: 0,
            short_writes: 0,
            pipe_bytes_max: 256 * 1024,
            pipe_bytes_min: 256 * 1024,
            latency_max: Duration::ZERO,
            delay_max: Duration::ZERO,
            delayed: 0,
            told_late: 0,
            cancelled_late: 0,
            resets: 0,
            resets_destroy: 0,
            connects_refused: 0,
            connects_stalled: 0,
            accepts_failed: 0,
            timer_late_max: Duration::ZERO,
        }
    }
}
