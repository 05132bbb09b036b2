//! What the configuration asks of a host: threads, connections, ports. Without one: what the defaults ask.
//!
//! It never reads anything: a compiled configuration comes in, numbers go out.

use crate::base::address::Address;
use crate::compile::{Compiled, Workers};
use crate::config::defaults::{CONNECTIONS_MAX, DRAIN_TIMEOUT};
use crate::control::cpus::KEPT_BACK;
use crate::upstream::Rules;

/// The limit of open files of tuning/ringway.service and tuning/limits.conf, the kernel's own (fs.nr_open).
pub const UNIT_LIMIT: u64 = 1_048_576;

/// What is asked of a host.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The configuration, as it was named; `None`: there is none.
    pub source: Option<String>,
    /// Which threads.
    pub workers: Workers,
    /// Client connections at once, over all listeners.
    pub clients: u64,
    /// Whether the configuration itself says how many.
    pub clients_are_written: bool,
    /// TCP ports of listeners and of the admin listener.
    pub ports: Vec<u16>,
    /// Connections that one worker keeps to the busiest endpoint.
    pub kept_per_endpoint: u64,
    /// How long requests in flight have at the end.
    pub drain_seconds: u64,
    /// An upstream whose connections begin with a PROXY header, and so serve one client each.
    pub unshared: Option<String>,
}

impl Demand {
    /// Of the defaults: one listener, nothing else known.
    pub fn of_defaults() -> Self {
        Self {
            source: None,
            workers: Workers::Auto,
            clients: CONNECTIONS_MAX as u64,
            clients_are_written: false,
            ports: Vec::new(),
            kept_per_endpoint: Rules::default().pool_idle_max as u64,
            drain_seconds: DRAIN_TIMEOUT.as_secs(),
            unshared: None,
        }
    }

    /// Of a configuration.
    pub fn of(source: String, compiled: &Compiled) -> Self {
        let gateway = &compiled.gateway;
        let listeners = || gateway.listeners.iter();
        let admin = compiled.process.admin.iter();
        let addresses = listeners().map(|listener| &listener.address).chain(admin);
        let mut ports: Vec<u16> =
            addresses.filter_map(Address::tcp).map(|address| address.port()).collect();
        ports.retain(|port| *port != 0);
        ports.sort_unstable();
        ports.dedup();
        let far = || {
            let is_far = |upstream: &crate::upstream::Upstream| {
                upstream.endpoints.iter().any(|endpoint| endpoint.address.tcp().is_some())
            };
            gateway.upstreams.iter().filter(move |upstream| is_far(upstream))
        };
        let unshared = far().find(|upstream| upstream.rules.proxy_header.is_some());
        Self {
            source: Some(source),
            workers: compiled.process.workers.clone(),
            clients: listeners().map(|listener| listener.connections_max as u64).sum(),
            clients_are_written: listeners()
                .any(|listener| listener.connections_max != CONNECTIONS_MAX),
            ports,
            kept_per_endpoint: far()
                .map(|upstream| upstream.rules.pool_idle_max as u64)
                .max()
                .unwrap_or(0),
            drain_seconds: compiled.process.drain_timeout.as_secs(),
            unshared: unshared.map(|upstream| upstream.name.to_string()),
        }
    }

    /// How many threads there will be where `cpus` may be used.
    pub fn workers_on(&self, cpus: &[usize]) -> usize {
        match &self.workers {
            Workers::Auto => cpus.len().max(1),
            Workers::Count(count) => *count,
            Workers::Cores(cores) => cores.len(),
        }
    }

    /// Open files with which every client that is let in finds room: the inverse of `connections_of_one`.
    pub fn descriptors(&self) -> u64 {
        self.clients.saturating_mul(4) / 3 + KEPT_BACK + 4
    }

    /// The limit of open files to set: what the unit has, or more where more is asked.
    pub fn limit(&self) -> u64 {
        self.descriptors().next_power_of_two().max(UNIT_LIMIT)
    }
}
