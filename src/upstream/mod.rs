//! Where should it go, and is that place well?
//!
//! Everything here is pure: it is told the time and the dice, and it never opens a connection. What a
//! core knows of an upstream (`UpstreamState`) is never shared with another core: evidence is local,
//! promises (limits) are not.

pub mod balance;
pub mod hedge;
pub mod pool;
pub mod retry;
pub mod turns;

use std::time::Duration;

use crate::base::address::Address;
use crate::base::ids::{EndpointId, UpstreamId};
use crate::base::limits::{
    CONNECT_TIMEOUT, FIRST_BYTE_TIMEOUT, POOL_AGE_MAX, POOL_IDLE_MAX, POOL_IDLE_TIMEOUT,
    UPSTREAM_IDLE_TIMEOUT, UPSTREAM_RETRIES,
};
use crate::base::name::Name;
use crate::base::random::Rng;
use crate::base::time::Instant;
use crate::tls::client::ClientTls;
use crate::upstream::balance::{EndpointState, Turns};
use crate::upstream::retry::RetryBudget;

/// A named group of endpoints that serve the same thing, and the rules for using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its place in the gateway.
    pub id: UpstreamId,
    /// As the user wrote it.
    pub name: Name,
    /// At least one.
    pub endpoints: Box<[Endpoint]>,
    /// Who is next.
    pub balance: Balance,
    /// Whom to believe there, if it speaks TLS.
    pub tls: Option<ClientTls>,
    /// Times and bounds.
    pub rules: Rules,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its place in the upstream.
    pub id: EndpointId,
    /// Where it listens.
    pub address: Address,
    /// What the request of a merge's part says in Host: the address as text; `localhost` for a Unix socket.
    pub host: Box<str>,
    /// Its share of requests among the endpoints of its upstream. Range: 1–1000. Default: 1.
    pub weight: u16,
}

/// How the next endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other, by weight, evenly interleaved (nginx's smooth weighted round robin).
    #[default]
    RoundRobin,
    /// Of two drawn by weight, the one with fewer requests in flight on this core (Mitzenmacher 2001).
    LeastRequest,
}

/// Times and bounds for using an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a connection may take to be made. Default: `CONNECT_TIMEOUT`.
    pub connect_timeout: Duration,
    /// From the whole request to the head of the response. Default: `FIRST_BYTE_TIMEOUT`; the route's timeout holds,
    /// too.
    pub first_byte_timeout: Duration,
    /// How long an origin may pause in the middle of a body. Default: `UPSTREAM_IDLE_TIMEOUT`.
    pub idle_timeout: Duration,
    /// Idle connections kept by one core to one endpoint. Default: `POOL_IDLE_MAX`.
    pub pool_idle_max: usize,
    /// How long an unused connection is kept. Default: `POOL_IDLE_TIMEOUT`, below what common servers have,
    /// so that we close first (RFC 9112 §9.5).
    pub pool_idle_timeout: Duration,
    /// How long a connection is used at all. Default: `POOL_AGE_MAX`, so that a changed balance of load takes effect.
    pub pool_age_max: Duration,
    /// Further attempts after the first. Default: 1; at most `ATTEMPTS_MAX` − 1.
    pub retries: u32,
    /// The PROXY header that each connection begins with. Default: none.
    pub proxy_header: Option<ProxyHeader>,
    /// Which version of HTTP is spoken there. Default: HTTP/1.1.
    pub speaks: Speaks,
}

/// Which version of HTTP endpoints are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Speaks {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// What the endpoint chooses in the handshake of TLS (RFC 7301).
    Either,
}

/// Which PROXY header a connection begins with. It names one client, so that the connection must never
/// serve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Version 1: a line of text.
    V1,
    /// Version 2: binary.
    V2,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            first_byte_timeout: FIRST_BYTE_TIMEOUT,
            idle_timeout: UPSTREAM_IDLE_TIMEOUT,
            pool_idle_max: POOL_IDLE_MAX,
            pool_idle_timeout: POOL_IDLE_TIMEOUT,
            pool_age_max: POOL_AGE_MAX,
            retries: UPSTREAM_RETRIES,
            proxy_header: None,
            speaks: Speaks::Http1,
        }
    }
}

/// What a core knows of an upstream. Never shared.
pub struct UpstreamState {
    endpoints: Box<[EndpointState]>,
    turns: Turns,
    /// How many retries this core may still make.
    pub retry_budget: RetryBudget,
}

impl UpstreamState {
    /// Nothing known yet; the first turn is drawn, so that cores do not all begin with the same endpoint.
    pub fn new(upstream: &Upstream, rng: &mut Rng) -> Self {
        let endpoints = upstream.endpoints.iter().map(|_| EndpointState::default()).collect();
        Self { endpoints, turns: Turns::new(upstream, rng), retry_budget: RetryBudget::default() }
    }

    /// The endpoint for the next attempt. `tried` has a bit for each endpoint (modulo 64) that failed this
    /// request already. Endpoints set aside are passed over; when all are set aside or tried, the one
    /// whose time ends first is tried all the same: refusing without trying helps nobody.
    pub fn choose(
        &mut self,
        upstream: &Upstream,
        now: Instant,
        rng: &mut Rng,
        tried: u64,
    ) -> Option<EndpointId> {
        let endpoints = &self.endpoints;
        let usable =
            |index: usize| endpoints[index].aside_until <= now && tried & (1 << (index % 64)) == 0;
        let chosen = match upstream.balance {
            Balance::RoundRobin => self.turns.next(upstream, usable),
            Balance::LeastRequest => balance::least_of_two(upstream, endpoints, rng, usable),
        };
        let soonest = || (0..endpoints.len()).min_by_key(|index| endpoints[*index].aside_until);
        chosen.or_else(soonest).map(|index| EndpointId(index as u32))
    }

    /// A request begins: it earns a part of a retry.
    pub fn request_begun(&mut self) {
        self.retry_budget.earn();
    }

    /// An attempt at `endpoint` begins.
    pub fn begin(&mut self, endpoint: EndpointId) {
        self.endpoints[endpoint.index()].in_flight += 1;
    }

    /// It is over.
    pub fn end(&mut self, endpoint: EndpointId) {
        let state = &mut self.endpoints[endpoint.index()];
        debug_assert!(state.in_flight > 0, "every end has its begin");
        state.in_flight = state.in_flight.saturating_sub(1);
    }

    /// Attempts that have begun and are not over.
    pub fn in_flight(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| endpoint.in_flight).sum()
    }

    /// No connection could be made: the endpoint is set aside, longer each time. Says for how long.
    pub fn connect_failed(&mut self, endpoint: EndpointId, now: Instant) -> Duration {
        self.endpoints[endpoint.index()].set_aside(now)
    }

    /// A connection was made: the endpoint is as good as any. Says whether it was not before.
    pub fn connect_succeeded(&mut self, endpoint: EndpointId) -> bool {
        self.endpoints[endpoint.index()].restore()
    }

    /// Whether the endpoint is set aside at `now`.
    pub fn is_aside(&self, endpoint: EndpointId, now: Instant) -> bool {
        self.endpoints[endpoint.index()].aside_until > now
    }
}

#[cfg(test)]
mod tests;
