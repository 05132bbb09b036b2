//! Connections to origins that speak HTTP/2, counted per core.
//!
//! An origin is never named here: what each upstream answers is counted with its requests, and a label per endpoint would
//! have no bound.

use crate::http::h2::flood::Flood;
use crate::observe::metrics::{Counter, Gauge};

/// The counters of one core.
#[derive(Debug, Default)]
pub struct OriginH2Metrics {
    /// Connections that are open.
    pub open: Gauge,
    /// Connections that were made.
    pub connections: Counter,
    /// Streams that were opened.
    pub streams: Counter,
    /// Streams that the origin did not begin to serve.
    pub refused: Counter,
    /// Connections given up because a PING was not answered.
    pub silent: Counter,
    floods: [Counter; Flood::ALL.len()],
}

impl OriginH2Metrics {
    /// A connection was given up because its origin does this too often.
    pub fn flood(&self, kind: Flood) {
        self.floods[kind as usize].add(1);
    }
}

/// The same of all cores together.
#[derive(Clone, Debug, Default)]
pub struct OriginH2Snapshot {
    pub(crate) open: u64,
    pub(crate) connections: u64,
    pub(crate) streams: u64,
    pub(crate) refused: u64,
    pub(crate) silent: u64,
    pub(crate) floods: u64,
}

impl OriginH2Snapshot {
    /// Adds what one core counted.
    pub fn add(&mut self, core: &OriginH2Metrics) {
        self.open += core.open.read();
        self.connections += core.connections.read();
        self.streams += core.streams.read();
        self.refused += core.refused.read();
        self.silent += core.silent.read();
        self.floods += core.floods.iter().map(Counter::read).sum::<u64>();
    }
}
