//! The moments of an exchange's stages, for the access log and the overhead histogram.
//!
//! Stages never reached stay `None`; nobody ever computes with a missing moment.

use crate::base::time::Instant;

/// When each stage was reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    /// The first byte of the request was here.
    pub begun: Instant,
    /// The head was complete and parsed.
    pub head: Option<Instant>,
    /// Policies were done and the target begun.
    pub target: Option<Instant>,
    /// An upstream connection was ready.
    pub connected: Option<Instant>,
    /// The upstream's response head was here (the last one, of several parts).
    pub answered: Option<Instant>,
    /// The last byte of the response was written.
    pub done: Option<Instant>,
}
