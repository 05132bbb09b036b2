//! The caches of routes, and what of them a reload takes over.
//!
//! What is stored is found again exactly while the route leads to the same upstream in the same way and its cache
//! says the same; after any change of these the route begins anew, and an answer never outlives the upstream that
//! gave it.

use std::sync::Arc;

use crate::base::ids::UpstreamId;
use crate::config::{self, Config, Text};
use crate::gateway::carry::{CarriedCache, Carry};
use crate::gateway::route::{Route, Target};
use crate::http::caching::Terms;
use crate::policy::cache::{Cache, KeyRule, QueryRule};
use crate::policy::store::Machine;
use crate::upstream::Upstream;

/// Gives routes their caches, in the store that all versions of a process share: the last version's, or a new one.
pub fn attach(
    config: &Config,
    routes: &mut [Route],
    upstreams: &[Arc<Upstream>],
    last: Option<&Carry>,
    carry: &mut Carry,
    seed: u64,
) {
    let known = last.and_then(|last| last.machine.clone());
    let machine = known.unwrap_or_else(|| Arc::new(Machine::new(seed)));
    machine.set_budget(config.cache_bytes_max);
    carry.machine = Some(machine);
    for (route, made) in config.routes.iter().zip(routes) {
        let upstream = |id: UpstreamId| upstreams.get(id.index()).cloned();
        let (told, asked) = match (&made.target, &route.target) {
            (Target::Forward(to), config::Target::Forward(call)) => {
                let path = call.target.as_ref().map_or("", |target| target.value.as_str());
                (path.to_owned(), upstream(to.upstream).into_iter().collect())
            }
            (Target::Aggregate(merge), config::Target::Merge(_))
                if !route.stream && !route.server_timing =>
            {
                let (pass, views) = (&route.pass, &route.views);
                let made_of = (&route.target, views, pass, route.etag, &route.on_partial);
                let parts = merge.plan.parts.iter();
                let asked = parts.filter_map(|part| upstream(part.upstream)).collect();
                (format!("{made_of:?}"), asked)
            }
            _ => continue,
        };
        made.cache = compile(route, &told, asked, last, carry);
    }
}

/// The cache of a route that leads to these upstreams, `told` how.
fn compile(
    route: &config::Route,
    told: &str,
    upstreams: Vec<Arc<Upstream>>,
    last: Option<&Carry>,
    carry: &mut Carry,
) -> Option<Box<Cache>> {
    let config = route.policies.cache.as_ref()?;
    let machine = carry.machine.clone()?;
    let terms = Terms {
        ttl: config.ttl,
        negative: config.negative_ttl,
        heuristic: config.heuristic,
        cookies: config.cookies,
    };
    let key = KeyRule {
        fields: bytes_of(&config.headers),
        query: match (&config.query[..], &config.ignore_query[..]) {
            ([], []) => QueryRule::All,
            ([], ignored) => QueryRule::Without(bytes_of(ignored)),
            (only, _) => QueryRule::Only(bytes_of(only)),
        },
        sorted: config.sort_query,
        identity: config.identity,
    };
    let mut cache = Cache {
        space: 0,
        terms,
        key,
        object_bytes_max: usize::try_from(config.object_bytes_max).unwrap_or(usize::MAX),
        tags: config.tags.as_ref().map(|tags| tags.value.as_bytes().into()).unwrap_or_default(),
        stale_while_revalidate: config.stale_while_revalidate,
        stale_if_error: config.stale_if_error,
        heeds_clients: config.heeds_clients,
        machine,
    };
    let told = format!("{told} {cache:?}");
    let name = &route.name.value;
    let same = |known: &&CarriedCache| {
        let alike = known.upstreams.len() == upstreams.len();
        let mut pairs = known.upstreams.iter().zip(&upstreams);
        known.told == told && &known.route == name && alike && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
    };
    let known = last.and_then(|last| last.caches.iter().find(same));
    cache.space = known.map_or_else(crate::base::shared::unique, |known| known.space);
    let (space, route) = (cache.space, name.clone());
    carry.caches.push(CarriedCache { route, told, upstreams, space });
    Some(Box::new(cache))
}

fn bytes_of(texts: &[Text]) -> Box<[Box<[u8]>]> {
    texts.iter().map(|text| text.value.as_bytes().into()).collect()
}
