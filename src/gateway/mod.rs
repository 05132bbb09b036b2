//! The map of the house: everything the configuration says, compiled, immutable, versioned.
//!
//! A `Gateway` is never changed: every change is a new one, installed whole by every core. Parts that
//! did not change are shared with the version before.

pub mod answering;
pub mod carry;
pub mod explain;
pub mod listener;
pub mod mirror;
pub mod route;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::ids::{ListenerId, RouteId, UpstreamId};
use crate::gateway::carry::Carry;
use crate::gateway::listener::Listener;
use crate::gateway::route::Route;
use crate::observe::plan::RecordPlan;
use crate::policy::concurrency::Concurrency;
use crate::policy::rate_limit::Limits;
use crate::route::Router;
use crate::tls::challenge::Challenges;
use crate::upstream::Upstream;

/// The house as compiled. Shared by all cores, replaced whole.
pub struct Gateway {
    /// Rises by one with every installation; in logs and metrics.
    pub version: u64,
    /// Where requests come in; indexed by `ListenerId`.
    pub listeners: Box<[Listener]>,
    /// Finds the route of a request.
    pub router: Router,
    /// Indexed by `RouteId`.
    pub routes: Box<[Route]>,
    /// Routes with calls that may be sent twice, so that no core need look at all of them.
    pub hedged: Box<[RouteId]>,
    /// Indexed by `UpstreamId`; an unchanged one is shared with the version before.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// What bounds the attempts at each upstream; indexed by `UpstreamId`, or empty.
    pub throttles: Box<[Throttle]>,
    /// Where limits of the whole fleet are counted.
    pub store: Option<Arc<Store>>,
    /// What authorities are answered while certificates are obtained, if any are; the same in every version.
    pub challenges: Option<Arc<Challenges>>,
    /// Labels of metrics and words of the access log.
    pub record: RecordPlan,
    /// What the next version takes over if its configuration says the same.
    pub carry: Carry,
}

/// The store of the fleet's limits: Redis or Valkey.
#[derive(PartialEq, Eq)]
pub struct Store {
    /// Where it listens.
    pub address: Address,
    /// Who asks; `None`: its default user.
    pub user: Option<Box<str>>,
    /// What proves it.
    pub password: Option<StorePassword>,
    /// Which of its databases.
    pub database: u32,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A password, never shown.
#[derive(PartialEq, Eq)]
pub struct StorePassword(Box<str>);

impl StorePassword {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What bounds the attempts at one upstream.
pub struct Throttle {
    /// How many in a time.
    pub limits: Limits,
    /// How many at once.
    pub concurrency: Option<Box<Concurrency>>,
}

impl Throttle {
    /// Whether there is anything to ask.
    pub fn is_some(&self) -> bool {
        self.concurrency.is_some() || !self.limits.is_empty()
    }
}

impl Gateway {
    /// The listener of this id; ids of this version are always valid.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(id.index())
    }

    /// The route of this id.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }

    /// What bounds the attempts at this upstream, if anything does.
    pub fn throttle(&self, id: UpstreamId) -> Option<&Throttle> {
        self.throttles.get(id.index())
    }

    /// The upstream of this id.
    pub fn upstream(&self, id: UpstreamId) -> &Arc<Upstream> {
        &self.upstreams[id.index()]
    }
}
