//! What one core knows of the calls that may be sent twice, by route and part.
//!
//! A reload keeps what is known of a call whose names, upstream and budget are the same: a gateway never begins
//! to learn anew because something else was changed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::ids::{RouteId, UpstreamId};
use crate::base::name::Name;
use crate::gateway::Gateway;
use crate::gateway::route::{Route, Target};
use crate::upstream::Upstream;
use crate::upstream::hedge::Hedging;

/// All of them; nothing for the calls that are never sent twice.
#[derive(Default)]
pub struct Hedges {
    by_route: HashMap<RouteId, Box<[Option<Call>]>>,
}

#[derive(Clone)]
struct Call {
    key: Key,
    known: Rc<RefCell<Hedging>>,
}

/// What makes a call the same as one of another version.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    route: Name,
    part: Option<Name>,
    /// By address: an upstream that did not change is shared, and lives as long as either version.
    upstream: usize,
    percent: u32,
}

impl Hedges {
    /// Those of a version; what the `last` one knew is carried over.
    pub fn of(gateway: &Gateway, last: Option<&Hedges>) -> Self {
        let known: HashMap<&Key, &Call> = last
            .into_iter()
            .flat_map(|last| last.by_route.values().flatten().flatten())
            .map(|call| (&call.key, call))
            .collect();
        let call = |key: Key| {
            let fresh = || Rc::new(RefCell::new(Hedging::new(key.percent)));
            let known = known.get(&key).map_or_else(fresh, |call| call.known.clone());
            Call { key, known }
        };
        let by_route = gateway.hedged.iter().map(|id| {
            let keys = keys(gateway, gateway.route(*id));
            (*id, keys.into_iter().map(|key| key.map(call)).collect())
        });
        Self { by_route: by_route.collect() }
    }

    /// What is known of a part's calls.
    pub fn find(&self, route: RouteId, part: usize) -> Option<&RefCell<Hedging>> {
        Some(&*self.by_route.get(&route)?.get(part)?.as_ref()?.known)
    }
}

fn keys(gateway: &Gateway, route: &Route) -> Vec<Option<Key>> {
    let key = |part: Option<&Name>, upstream: UpstreamId, percent: Option<u32>| {
        let upstream: *const Upstream = Arc::as_ptr(&gateway.upstreams[upstream.index()]);
        let (route, part) = (route.name.clone(), part.cloned());
        Some(Key { route, part, upstream: upstream.addr(), percent: percent? })
    };
    match &route.target {
        Target::Aggregate(merge) => {
            let parts = merge.plan.parts.iter();
            parts.map(|part| key(Some(&part.name), part.upstream, part.hedge_percent)).collect()
        }
        Target::Forward(to) => vec![key(None, to.upstream, route.hedge_percent)],
        Target::Redirect(_) | Target::Respond(_) => Vec::new(),
    }
}
