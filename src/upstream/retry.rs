//! Which requests and faults may be tried again (RFC 9110 §9.2.2), and how many of them.
//!
//! A budget keeps retries from multiplying an outage: a core never retries more than a fifth of its
//! requests, beyond a small floor.

use crate::exchange::fault::{Again, Fault};
use crate::http::Method;

/// Whether the standard allows another attempt: nothing was sent, or the method may be repeated.
pub fn may_retry(fault: &Fault, method: Method) -> bool {
    match fault.again {
        Again::Always => true,
        Again::IfIdempotent => method.is_idempotent(),
        Again::Never => false,
    }
}

/// Retries that one core may still make towards one upstream.
///
/// A request earns a fifth of a retry, a retry costs a whole one; at most `SAVED_MAX` are saved, and that
/// many are there at the start.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    fifths: u32,
}

/// Retries saved at most: enough for the kept connections of one endpoint that restarts.
const SAVED_MAX: u32 = 128;
const FIFTHS: u32 = 5;

impl Default for RetryBudget {
    fn default() -> Self {
        Self { fifths: SAVED_MAX * FIFTHS }
    }
}

impl RetryBudget {
    /// A request earns its part.
    pub fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(SAVED_MAX * FIFTHS);
    }

    /// Takes one retry if there is one.
    pub fn take(&mut self) -> bool {
        let left = self.fifths.checked_sub(FIFTHS);
        self.fifths = left.unwrap_or(self.fifths);
        left.is_some()
    }
}
