//! What is recorded of a part of a merge that failed: for the access log and metrics.
//!
//! A record never decides anything. Reasons are words of a closed set, so that a metric never has more
//! series than parts times reasons.

/// A part that failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFailure {
    /// By index in the plan.
    pub part: u16,
    /// One of [`REASONS`].
    pub reason: &'static str,
}

/// Every reason, in one spelling for `gateway-partial`, log and metrics.
pub const REASONS: &[&str] = &[
    "timeout",
    "status",
    "not_json",
    "not_utf8",
    "truncated",
    "too_deep",
    "too_large",
    "pick",
    "not_object",
    "not_array",
    "missing",
    "connect",
    "unavailable",
    "reset",
    "protocol",
    "coding",
    "reference",
    "dependency",
    "unfit",
    "not_excused",
    "too_many",
    "internal",
];

impl PartFailure {
    /// The reason's place in [`REASONS`]; what is not there is our own mistake.
    pub fn reason_index(self) -> usize {
        let place = REASONS.iter().position(|reason| *reason == self.reason);
        place.unwrap_or(REASONS.len() - 1)
    }
}
