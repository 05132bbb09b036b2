//! A core's changeable state: dice, policy slots, log page, and what it knows of the origins.
//!
//! It is borrowed in `Core::shard` only, and never across an await.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::aggregate::json::Tokens;
use crate::base::random::Rng;
use crate::base::time::Instant;
use crate::gateway::Gateway;
use crate::net::proxy_protocol::Endpoints;
use crate::net::stream::Wire;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::CoreMetrics;
use crate::policy::slots::Slots;
use crate::route::spelling::PathScratch;
use crate::runtime::Runtime;
use crate::serve::Installed;
use crate::serve::hedges::Hedges;
use crate::serve::origin_line::Line;
use crate::tls::client::ClientTls;
use crate::upstream::pool::Pools;
use crate::upstream::{Speaks, Upstream, UpstreamState};

/// What a core changes while it works.
pub struct Shard {
    /// Dice for balancing and identifiers.
    pub rng: Rng,
    /// Per-core state of policies.
    pub slots: Slots,
    /// The page that access log lines are written to; `None` when the log is off.
    pub log: Option<AccessLog>,
    /// Where the segments of the path at hand are.
    pub path: PathScratch,
    /// Room to look into the JSON of parts.
    pub tokens: Tokens,
}

impl Shard {
    /// Hands over what was counted and the log page, at the core's tick.
    pub fn hand_over(&mut self, metrics: &CoreMetrics) {
        let (found, checked) = self.slots.take_counts();
        metrics.jwt_hits.add(found);
        metrics.jwt_misses.add(checked);
        metrics.limits.store_missed.add(std::mem::take(&mut self.slots.store.decided_alone));
        if let Some(log) = &mut self.log {
            log.hand_over(metrics);
        }
    }
}

/// What a core knows of one upstream: balancing state and idle connections.
pub struct Origins<R: Runtime> {
    upstream: Arc<Upstream>,
    /// Whom to believe there, if it speaks TLS, and this core's sessions.
    pub tls: Option<ClientTls>,
    /// Who is busy, who failed lately.
    pub state: RefCell<UpstreamState>,
    /// Idle connections by endpoint.
    pub pools: RefCell<Pools<Box<Connection<R>>>>,
    /// Connections in HTTP/2 by endpoint; none where that is never spoken.
    pub lines: Box<[Rc<Line>]>,
}

impl<R: Runtime> Drop for Origins<R> {
    fn drop(&mut self) {
        // What is open goes on, and nothing new is begun: the upstream is not there any more.
        self.lines.iter().for_each(|line| line.retire());
    }
}

/// A connection to an origin; moved about in a box, for a socket is as large as twenty pointers.
pub struct Connection<R: Runtime> {
    /// The socket.
    pub stream: Wire<R::Stream>,
    /// When it was made.
    pub made_at: Instant,
    /// The only client it may serve, if it began with a PROXY header.
    pub client: Option<Box<Endpoints>>,
    /// Whether the last answer to a part was larger than a buffer, so that the next one may be, too.
    pub is_bulky: Cell<bool>,
}

fn lines(upstream: &Upstream) -> Box<[Rc<Line>]> {
    let endpoints = match upstream.rules.speaks {
        Speaks::Http1 => &[][..],
        Speaks::Http2 | Speaks::Either => &upstream.endpoints,
    };
    endpoints.iter().map(|_| Rc::default()).collect()
}

/// Builds the next version on this core; what did not change is carried over.
pub fn install<R: Runtime>(
    last: Option<&Installed<R>>,
    gateway: Arc<Gateway>,
    rng: &mut Rng,
) -> Installed<R> {
    // By address: an upstream that did not change is shared. One pass, for a thousand of them are found on a core
    // that serves.
    let known = last.into_iter().flat_map(|last| last.origins.iter());
    let known: HashMap<*const Upstream, &Rc<Origins<R>>> =
        known.map(|origins| (Arc::as_ptr(&origins.upstream), origins)).collect();
    let carried = |upstream: &Arc<Upstream>| known.get(&Arc::as_ptr(upstream)).copied().cloned();
    let origins = gateway.upstreams.iter().map(|upstream| {
        carried(upstream).unwrap_or_else(|| {
            Rc::new(Origins {
                upstream: upstream.clone(),
                tls: upstream.tls.as_ref().map(ClientTls::of_core),
                state: RefCell::new(UpstreamState::new(upstream, rng)),
                pools: RefCell::new(Pools::new(upstream)),
                lines: lines(upstream),
            })
        })
    });
    let origins = origins.collect();
    let hedges = Hedges::of(&gateway, last.map(|last| &last.hedges));
    Installed { gateway, origins, hedges }
}
