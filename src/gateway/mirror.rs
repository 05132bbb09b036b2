//! A second upstream that gets copies of a route's requests.
//!
//! Values only: it never knows a request.

use std::time::Duration;

use crate::gateway::route::Forward;

/// Where copies go, and how many.
pub struct Mirror {
    /// The upstream and the target sent to it.
    pub to: Forward,
    /// How many of a million requests.
    pub millionths: u32,
    /// Longest body that is copied. Unit: bytes.
    pub body_bytes_max: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}
