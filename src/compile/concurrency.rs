//! Concurrency: the seats of routes and upstreams, and their names among the limits.
//!
//! Seats are taken over from the last version whatever else has changed, so that who is there stays counted;
//! a count never begins anew because a bound did. Each route counts by itself, also where `[default]` says it.

use std::sync::Arc;

use crate::base::gradient::GradientRules;
use crate::base::name::Name;
use crate::base::queue::QueueLaw;
use crate::base::seats::Seats;
use crate::compile::policy::Making;
use crate::compile::report::Report;
use crate::compile::template::Scope;
use crate::config::{self, Config};
use crate::exchange::template::{Template, TemplateKind};
use crate::gateway::carry::Carry;
use crate::observe::limits::{LimitKind, LimitName, SeatsShown};
use crate::policy::concurrency::{Concurrency, ConcurrencyRules};

/// The seats of a configuration, in the order of [`names`].
#[derive(Default)]
pub struct SeatStock<'a> {
    stocked: Vec<Stocked<'a>>,
}

struct Stocked<'a> {
    name: LimitName,
    said: &'a config::Concurrency,
    place: u16,
    seats: Arc<Seats>,
    seed: u64,
}

/// The names of all limits, in the order of their places: rates first, then who may be there at once.
pub fn names(config: &Config) -> Vec<LimitName> {
    let rate = |limit: &config::Limit| {
        let name = Name::new(&limit.name.value);
        LimitName { kind: LimitKind::Rate, name }
    };
    let rates = config.limits.iter().map(rate);
    rates.chain(said(config).map(|(name, _)| name)).collect()
}

/// Who says how many may be there at once.
fn said(config: &Config) -> impl Iterator<Item = (LimitName, &config::Concurrency)> {
    let routes = config.routes.iter().filter_map(|route| {
        let name = Name::new(&route.name.value);
        let said = route.policies.concurrency.as_ref()?;
        Some((LimitName { kind: LimitKind::Route, name }, said))
    });
    let upstreams = config.upstreams.iter().filter_map(|upstream| {
        let name = Name::new(&upstream.name.value);
        let said = upstream.concurrency.as_ref()?;
        Some((LimitName { kind: LimitKind::Upstream, name }, said))
    });
    routes.chain(upstreams)
}

impl<'a> SeatStock<'a> {
    /// Makes the seats of all routes and upstreams, or takes them over.
    pub fn of(
        config: &'a Config,
        making: &Making<'_>,
        carry: &mut Carry,
        mut seed: impl FnMut() -> u64,
    ) -> Self {
        let mut stocked = Vec::new();
        for (index, (name, said)) in said(config).enumerate() {
            let known = making.last.and_then(|last| last.carry.seats.get(&name.full()));
            let known = known.filter(|seats| seats.is_keyed() == said.key.is_some());
            let seats = known.cloned().unwrap_or_else(|| Arc::new(Seats::new(said.key.is_some())));
            carry.seats.insert(name.full(), seats.clone());
            let place = (config.limits.len() + index).min(usize::from(u16::MAX)) as u16;
            stocked.push(Stocked { name, said, place, seats, seed: seed() });
        }
        Self { stocked }
    }

    /// What bounds a route.
    pub fn of_route(&self, scope: &Scope<'_>, report: &Report) -> Option<Concurrency> {
        let name = Name::new(&scope.route().name.value);
        let stocked = self.named(LimitKind::Route, &name)?;
        scope.route().policies.concurrency.as_ref()?;
        let key = match &stocked.said.key {
            Some((key, key_max)) => {
                let template = scope.compile(key, TemplateKind::Plain, report)?;
                Some((template.with_ipv6_prefix(config::defaults::LIMIT_IPV6_PREFIX), *key_max))
            }
            None => None,
        };
        Some(stocked.made(key))
    }

    /// What bounds an upstream.
    pub fn of_upstream(&self, upstream: &config::Upstream) -> Option<Concurrency> {
        let name = Name::new(&upstream.name.value);
        Some(self.named(LimitKind::Upstream, &name)?.made(None))
    }

    /// What the page of metrics shows.
    pub fn shown(&self) -> Vec<SeatsShown> {
        let one = |stocked: &Stocked<'a>| SeatsShown {
            name: stocked.name.clone(),
            seats: stocked.seats.clone(),
            max: stocked.said.max,
            adaptive: stocked.adaptive(),
        };
        self.stocked.iter().map(one).collect()
    }

    fn named(&self, kind: LimitKind, name: &Name) -> Option<&Stocked<'a>> {
        let is_it =
            |stocked: &&Stocked<'a>| stocked.name.kind == kind && stocked.name.name == *name;
        self.stocked.iter().find(is_it)
    }
}

impl Stocked<'_> {
    fn adaptive(&self) -> Option<GradientRules> {
        self.said.adaptive_min.map(|min| GradientRules { min, max: self.said.max })
    }

    fn made(&self, key: Option<(Template, u64)>) -> Concurrency {
        let config::Concurrency { max, queue, wait, target, .. } = *self.said;
        let rules = ConcurrencyRules {
            place: self.place,
            max,
            key,
            queue,
            law: QueueLaw { interval: wait, target },
            adaptive: self.adaptive(),
        };
        Concurrency::new(rules, self.seats.clone(), self.seed)
    }
}
