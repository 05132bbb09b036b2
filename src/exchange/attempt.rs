//! What is recorded of one try at one endpoint: for the access log, metrics and per-part timings.
//!
//! A record never decides anything; it is written by `serve/attempt.rs` and read by `observe`.

use std::net::SocketAddr;

use crate::base::ids::{EndpointId, UpstreamId};
use crate::base::time::Instant;
use crate::exchange::fault::FaultKind;
use crate::exchange::marks::LimitMarks;
use crate::http::Status;

/// One try at one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Which part of a merge it was for, by index in the plan; `None` for a forwarded request.
    pub part: Option<u16>,
    /// The upstream.
    pub upstream: UpstreamId,
    /// The endpoint chosen, if one was.
    pub endpoint: Option<EndpointId>,
    /// Its address; `None` for a Unix socket or when none was chosen.
    pub address: Option<SocketAddr>,
    /// Whether a kept connection was used.
    pub reused: bool,
    /// The origin's status, if it answered.
    pub status: Option<Status>,
    /// What went wrong, if anything did.
    pub fault: Option<FaultKind>,
    /// When the attempt began.
    pub begun: Instant,
    /// When a connection was ready.
    pub connected: Option<Instant>,
    /// When the response head was complete.
    pub answered: Option<Instant>,
    /// When the last byte of the body was here.
    pub done: Option<Instant>,
    /// Bytes of the response, head included.
    pub bytes: u64,
    /// What the limits of the upstream said.
    pub limits: LimitMarks,
}
