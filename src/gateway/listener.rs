//! One address that requests come in by, and what it demands of them.
//!
//! Its socket is not here: sockets outlive versions of the gateway and are never closed by a reload
//! that keeps their address.

use std::time::Duration;

use crate::base::address::Address;
use crate::base::network::Network;
use crate::http::h1::parse::HeadLimits;
use crate::route::spelling::PathSpelling;

/// A listener, compiled.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens.
    pub address: Address,
    /// Peers whose forwarding fields are believed.
    pub trusted: Box<[Network]>,
    /// Which spellings of a path are refused.
    pub spelling: PathSpelling,
    /// Bounds on request heads.
    pub head_limits: HeadLimits,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// How long a kept-alive connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may pause while it sends a body or takes a response.
    pub body_timeout: Duration,
    /// Client connections open at once, on all cores together.
    pub connections_max: usize,
}
