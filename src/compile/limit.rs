//! Rate limits: their cells, made or taken over, and what a route or an upstream makes of them.
//!
//! A limit that could not be compiled never holds by half: the configuration is refused. Whose key or cost
//! names a claim stands behind authentication, and a route that asks for no token cannot have it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::gcra::Rule;
use crate::base::limits::STORE_DEBT_MAX;
use crate::base::name::Name;
use crate::base::shared::Cells;
use crate::compile::codes;
use crate::compile::policy::Making;
use crate::compile::report::{Names, Report};
use crate::compile::template::{Scope, claim_of, warn_of_variables};
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Text};
use crate::exchange::template::{SOURCES, Template, TemplateErrorKind, TemplateKind};
use crate::gateway::carry::{CarriedLimit, LimitShape};
use crate::policy::fleet::{Away, Fleet};
use crate::policy::rate_limit::{Cost, Limits, RateLimit, RateLimitRules};

/// The limits of a configuration, by name.
#[derive(Default)]
pub struct LimitStock<'a>(HashMap<&'a str, Stocked<'a>>);

struct Stocked<'a> {
    limit: &'a config::Limit,
    place: u16,
    cells: Arc<Cells>,
}

impl<'a> LimitStock<'a> {
    /// Makes the cells of a limit, or takes over the last version's; `place` is the limit's in the file. What
    /// it gives is for the next version. `None` after an error.
    pub fn add(
        &mut self,
        place: usize,
        limit: &'a config::Limit,
        making: &Making<'_>,
        seed: u64,
    ) -> Option<(Name, CarriedLimit)> {
        let rate = limit.rate.value;
        let debt_max = if limit.store.is_some() { STORE_DEBT_MAX } else { 1 };
        let Some(rule) = Rule::owing(rate.count, rate.per, limit.burst, debt_max) else {
            let message =
                "these numbers are beyond what can be counted: rate and burst are too far apart";
            making.report.error(codes::BAD_LIMIT, limit.rate.span, message);
            return None;
        };
        warn_of_bare_key(&limit.key, making.report);
        warn_of_variables(&limit.key, making.report);
        let cost = limit.cost.as_ref().is_none_or(|cost| is_sound(cost, making.report));
        if !is_sound(&limit.key, making.report) || !cost {
            return None;
        }
        let name = Name::new(&limit.name.value);
        let shape = LimitShape {
            count: rate.count,
            period: rate.per,
            burst: limit.burst,
            keys_max: limit.keys_max,
            key: limit.key.value.as_str().into(),
            ipv6_prefix: limit.ipv6_prefix,
            stored: limit.store.is_some(),
        };
        let known = making.last.and_then(|last| last.carry.limits.get(&name));
        let cells = match known.filter(|known| known.shape == shape) {
            Some(known) => known.cells.clone(),
            None => Arc::new(Cells::new(rule, limit.keys_max, seed)),
        };
        let place = place.min(usize::from(u16::MAX)) as u16;
        self.0.insert(&limit.name.value, Stocked { limit, place, cells: cells.clone() });
        Some((name, CarriedLimit { shape, cells }))
    }

    /// The limits that a route names.
    pub fn of_route(
        &self,
        scope: &Scope<'_>,
        names: &Names<'_>,
        report: &Report,
    ) -> Vec<RateLimit> {
        let named = &scope.route().policies.limits;
        let known = named.iter().filter(|name| names.check(name, report));
        let stocked = known.filter_map(|name| Some((name, self.0.get(name.value.as_str())?)));
        stocked.filter_map(|(name, stocked)| stocked.for_route(name, scope, report)).collect()
    }

    /// The limits that an upstream names; their keys cannot depend on a request.
    pub fn of_upstream(&self, named: &[Text], names: &Names<'_>, report: &Report) -> Limits {
        let known = named.iter().filter(|name| names.check(name, report));
        let stocked = known.filter_map(|name| Some((name, self.0.get(name.value.as_str())?)));
        Limits::new(stocked.filter_map(|(name, stocked)| stocked.alone(name, report)).collect())
    }
}

impl Stocked<'_> {
    fn for_route(&self, named: &Text, scope: &Scope<'_>, report: &Report) -> Option<RateLimit> {
        let limit = self.limit;
        let compile = |text: &Text| {
            self.has_its_claim(text, named, scope, report)?;
            scope.compile(text, TemplateKind::Plain, report)
        };
        let key = compile(&limit.key)?.with_ipv6_prefix(limit.ipv6_prefix);
        let from = match &limit.cost {
            Some(cost) => Some(compile(cost)?),
            None => None,
        };
        let cost = match from {
            Some(from) => {
                Cost { from: Some(from), default: limit.cost_default, max: limit.cost_max }
            }
            None => Cost::default(),
        };
        Some(self.made(key, cost))
    }

    /// Whether a claim in this template can be had on the route; says so if not.
    fn has_its_claim(
        &self,
        text: &Text,
        named: &Text,
        scope: &Scope<'_>,
        report: &Report,
    ) -> Option<()> {
        let needs_claim = Template::parse(&text.value, TemplateKind::Plain, &[])
            .is_ok_and(|template| template.needs_claim());
        if !needs_claim || !scope.route().policies.jwt.is_empty() {
            return Some(());
        }
        let message = format!(
            "the limit `{}` counts by a claim, and this route asks for no token",
            self.limit.name.value
        );
        let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, named.span, message)
            .also(claim_of(text, report), "the claim");
        report.push(scope.advise(diagnostic));
        None
    }

    fn alone(&self, named: &Text, report: &Report) -> Option<RateLimit> {
        let limit = self.limit;
        let parsed = Template::parse(&limit.key.value, TemplateKind::Plain, &[]);
        let key = parsed.ok().filter(|key| key.constant().is_some());
        let told = match (&limit.cost, key) {
            (None, Some(key)) => return Some(self.made(key, Cost::default())),
            (Some(cost), _) => cost,
            (None, None) => &limit.key,
        };
        let message = format!(
            "the limit `{}` looks at requests; one towards an upstream counts attempts",
            limit.name.value
        );
        let diagnostic = Diagnostic::error(codes::BAD_LIMIT, named.span, message);
        let diagnostic = diagnostic.also(told.span, "this is filled from a request");
        report.push(
            diagnostic.help("name it on the routes, or give its key no braces: `key = \"all\"`"),
        );
        None
    }

    fn fleet(&self) -> Option<Arc<Fleet>> {
        let (stored, rate) = (self.limit.store.as_ref()?, self.limit.rate.value);
        let away = match stored.away {
            "allow" => Away::Allow,
            "deny" => Away::Deny,
            _ => Away::Local,
        };
        let period_micros = rate.per.as_secs_f64() * 1e6;
        let burst = self.limit.burst;
        Some(Arc::new(Fleet::new(stored.exact, away, rate.count, period_micros, burst)))
    }

    fn made(&self, key: Template, cost: Cost) -> RateLimit {
        let name = Name::new(&self.limit.name.value);
        let (place, dry_run) = (self.place, self.limit.dry_run);
        let fleet = self.fleet();
        RateLimit::new(
            RateLimitRules { name, place, key, cost, dry_run, fleet },
            self.cells.clone(),
        )
    }
}

/// Whether a template is one in itself, whatever route it will stand in.
fn is_sound(text: &Text, report: &Report) -> bool {
    match Template::parse(&text.value, TemplateKind::Plain, &[]) {
        Ok(_) => true,
        Err(error) if matches!(error.kind, TemplateErrorKind::UnknownParam { .. }) => true,
        Err(error) => {
            let span = report.inside(text, error.offset..error.offset + error.len);
            report.error(codes::BAD_TEMPLATE, span, error.to_string());
            false
        }
    }
}

/// A key without braces is a constant: one count of all, which is rarely meant by `client.address`.
fn warn_of_bare_key(key: &Text, report: &Report) {
    let Some((first, _)) = key.value.split_once('.') else { return };
    if SOURCES.contains(&first) {
        let message = "this key is a constant: all requests are counted together";
        let near = format!("{{{}}}", key.value);
        let warning = Diagnostic::warning(codes::CONSTANT_KEY, key.span, message);
        report.push(warning.suggest(Some(&near), ""));
    }
}
