//! The policies of a route, in words: what each asks for, and what this request would be told.
//!
//! It asks the policies themselves where they need nothing but the request, and never counts anything.

use crate::base::gradient::GradientRules;
use crate::base::pacing::ByteRate;
use crate::exchange::Exchange;
use crate::gateway::Throttle;
use crate::gateway::explain::{Told, filled, shown, size};
use crate::gateway::route::{Route, Target};
use crate::policy::allow::{Allow, CertValue, Networks, Rule};
use crate::policy::auth_request::AuthRequest;
use crate::policy::bearer::Bearer;
use crate::policy::concurrency::Concurrency;
use crate::policy::fleet::Away;
use crate::policy::jwt::Jwt;
use crate::policy::rate_limit::RateLimit;
use crate::policy::{Policy, Verdict};
use crate::upstream::Upstream;

/// Whether attempts at an upstream are bounded at all.
fn bounds(throttle: &Throttle) -> bool {
    throttle.concurrency.is_some() || throttle.limits.iter().next().is_some()
}

/// A rule of `allow`, as it was written.
fn rule_text(rule: &Rule) -> String {
    let mut all: Vec<String> = Vec::new();
    if rule.networks.is_some() {
        all.push("from its networks".to_owned());
    }
    for claim in &rule.claims {
        let name = if claim.path.is_empty() { "scope".to_owned() } else { claim.path.join(".") };
        let values: Vec<String> = claim.values.iter().map(ToString::to_string).collect();
        let how = if claim.all { "all of" } else { "one of" };
        match values.as_slice() {
            [one] => all.push(format!("{name} {one}")),
            some => all.push(format!("{name} {how} {}", some.join(", "))),
        }
    }
    for cert in &rule.certs {
        let values: Vec<String> = cert
            .values
            .iter()
            .map(|value| match value {
                CertValue::Is(value) => format!("`{value}`"),
                CertValue::Begins(begin) => format!("`{begin}*`"),
            })
            .collect();
        all.push(format!("client_cert.{} {}", cert.field.name(), values.join(" or ")));
    }
    if all.is_empty() { "whoever proved an identity".to_owned() } else { all.join(" and ") }
}

impl Told<'_> {
    pub(super) fn policies(&mut self, route: &Route, x: &Exchange) {
        if route.policies.is_empty() {
            let bounded = match &route.target {
                Target::Forward(to) => self.gateway.throttle(to.upstream).is_some_and(bounds),
                _ => false,
            };
            let often = if bounded {
                "as often as the upstream's limits let them"
            } else {
                "as often as they like"
            };
            self.line(format_args!("\npolicies\n  none: anybody may come, {often}"));
            return;
        }
        self.line(format_args!("\npolicies, in the order of execution"));
        let mut number = 0;
        for policy in &route.policies {
            number += 1;
            match policy {
                Policy::ClientLimit(limits) | Policy::RateLimit(limits) => {
                    for (further, limit) in limits.iter().enumerate() {
                        number += usize::from(further > 0);
                        self.limit(number, limit, x);
                    }
                }
                Policy::Jwt(bearer) => self.bearer(number, bearer, x),
                Policy::Concurrency(limit) => self.concurrency(number, limit, x),
                Policy::ClientCert(certs) => {
                    let must = if certs.required { "required" } else { "optional" };
                    self.line(format_args!("  {number}. client_cert, {must}"));
                }
                Policy::ApiKey(keys) => {
                    let rules = keys.rules();
                    let (name, header) = (&rules.name, &rules.header);
                    self.line(format_args!("  {number}. api_key `{name}`, in `{header}`"));
                    self.line(format_args!(
                        "     keys are not looked up here: owner and scopes are those of the real request, 401 without a known key"
                    ));
                }
                Policy::Basic(users) => {
                    let name = &users.rules().name;
                    self.line(format_args!("  {number}. basic `{name}`, name and password"));
                }
                Policy::AuthRequest(service) => self.auth_request(number, service, x),
                Policy::Closed => self.line(format_args!("  {number}. closed to everybody: 403")),
                Policy::Networks(networks) => self.networks(number, networks, x),
                Policy::Allow(allow) => self.allow(number, allow, x),
            }
        }
    }

    fn auth_request(&mut self, number: usize, service: &AuthRequest, x: &Exchange) {
        let rules = service.rules();
        let (name, within) = (&rules.name, shown(rules.timeout));
        let upstream = &self.gateway.upstream(rules.upstream).name;
        let target = filled(&rules.target, x);
        self.line(format_args!(
            "  {number}. auth_request `{name}`: GET {target} of `{upstream}`, within {within}"
        ));
        if !rules.copy.is_empty() {
            self.line(format_args!("     says {} of the request", rules.copy.join(", ")));
        }
        if let Some((key, ttl)) = &rules.cache {
            let (text, ttl) = (key.text(), shown(*ttl));
            self.line(format_args!("     remembered for {ttl} by `{text}`"));
        }
    }

    /// What bounds the attempts at an upstream.
    pub(super) fn throttle(&mut self, upstream: &Upstream) {
        let Some(throttle) = self.gateway.throttle(upstream.id) else { return };
        if let Some(limit) = &throttle.concurrency {
            let max = limit.rules().max;
            self.line(format_args!("    at most {max} attempts at once"));
        }
        for limit in throttle.limits.iter() {
            self.line(format_args!("    attempts count in limit `{}`", limit.name()));
        }
    }

    /// How fast the answer goes.
    pub(super) fn bandwidth(&mut self, route: &Route) {
        let Some(bandwidth) = &route.bandwidth else { return };
        let each = bandwidth.each.map(ByteRate::bytes_per_second);
        let all = bandwidth.all.as_ref().map(|all| all.rate().bytes_per_second());
        for (rate, whose) in [(each, "this answer"), (all, "all answers of the route together")] {
            if let Some(rate) = rate {
                self.line(format_args!("  bandwidth: {} a second for {whose}", size(rate)));
            }
        }
    }

    /// The response cache, behind all policies.
    pub(super) fn response_cache(&mut self, route: &Route, x: &Exchange) {
        let Some(cache) = &route.cache else { return };
        let mut key = Vec::new();
        let url = cache.write_key(x, &mut key);
        let terms = &cache.terms;
        let ttl = terms
            .ttl
            .map_or("as long as their origins say".to_owned(), |ttl| format!("for {}", shown(ttl)));
        self.line(format_args!("\ncache: answers are used again {ttl}"));
        if let Some(ttl) = terms.negative {
            self.line(format_args!("  what is not there, for {}", shown(ttl)));
        }
        if terms.heuristic {
            self.line(format_args!("  where nobody says: a tenth of the time since last-modified"));
        }
        match url {
            Some(url) => {
                let url = String::from_utf8_lossy(url.of(&key)).into_owned();
                self.line(format_args!("  key `{url}`"));
            }
            None => self.line(format_args!("  this request has no key: it passes the cache by")),
        }
        for name in &cache.key.fields {
            let name = String::from_utf8_lossy(name);
            self.line(format_args!("  and the field `{name}`"));
        }
        let merges = matches!(route.target, Target::Aggregate(_));
        if cache.key.identity || merges {
            self.line(format_args!("  and the user's identity"));
        }
        if merges {
            self.line(format_args!("  and every byte of the requests below; whole answers only"));
        }
    }

    /// Claims that nobody asks for: said, so that an open route is not taken for a closed one.
    pub(super) fn needless_claims(&mut self, route: &Route, x: &Exchange) {
        let asked = route.policies.iter().any(|policy| matches!(policy, Policy::Jwt(_)));
        if x.identity.is_some() && !asked {
            self.line(format_args!("  this route asks for no token: --jwt changes nothing here"));
        }
    }

    fn limit(&mut self, number: usize, limit: &RateLimit, x: &Exchange) {
        let name = limit.name();
        let Some(carried) = self.gateway.carry.limits.get(name) else { return };
        let shape = &carried.shape;
        let (count, period, burst) = (shape.count, shown(shape.period), shape.burst);
        self.line(format_args!("  {number}. limit `{name}`: {count} in {period}, burst {burst}"));
        let key = limit.key();
        self.line(format_args!("     key `{}` is {}", key.text(), filled(key, x)));
        if let Some(from) = &limit.cost().from {
            let (spent, max) = (limit.cost_of(x), limit.cost().max);
            self.line(format_args!("     cost `{}` is {spent}, at most {max}", from.text()));
        }
        if let Some(fleet) = limit.fleet() {
            let how = if fleet.exact { "exact, each request asks" } else { "leased" };
            let away = match fleet.away {
                Away::Local => "this machine counts by itself",
                Away::Allow => "everybody passes",
                Away::Deny => "nobody passes: 503",
            };
            self.line(format_args!("     for the fleet, {how}; while the store is away, {away}"));
        }
        if limit.is_dry_run() {
            self.line(format_args!("     dry run: what it would refuse is counted and passes"));
        }
    }

    fn networks(&mut self, number: usize, networks: &Networks, x: &Exchange) {
        let verdict = match (self.from_somewhere, networks.permit(x.client.address)) {
            (false, _) => "whose address is not known here (--from 192.0.2.7 gives one)",
            (true, true) => "who may pass",
            (true, false) => "who may not: 403",
        };
        self.line(format_args!("  {number}. networks: a client {verdict}"));
    }

    fn allow(&mut self, number: usize, allow: &Allow, x: &Exchange) {
        let rules = allow.rules().len();
        self.line(format_args!(
            "  {number}. allow, {}",
            if rules == 1 { "one rule".to_owned() } else { format!("one of {rules} rules") }
        ));
        for rule in allow.rules() {
            self.line(format_args!("     {}", rule_text(rule)));
        }
        let asks_where = allow.rules().iter().any(|rule| rule.networks.is_some());
        if asks_where && !self.from_somewhere {
            self.line(format_args!(
                "     decided by the client's address, too: --from 192.0.2.7 gives one"
            ));
        } else if x.identity.is_some() || asks_where {
            let mut tried =
                Exchange { identity: x.identity.clone(), client: x.client, ..Exchange::default() };
            let passes = allow.on_request(&mut tried) == Verdict::Continue;
            let told = match passes {
                true => "it holds".to_owned(),
                false => format!("it does not hold: 403, {}", tried.reason),
            };
            self.line(format_args!("     {told}"));
        }
    }

    fn concurrency(&mut self, number: usize, limit: &Concurrency, x: &Exchange) {
        let rules = limit.rules();
        match rules.adaptive {
            Some(adaptive) => {
                let GradientRules { min, max } = adaptive;
                self.line(format_args!(
                    "  {number}. concurrency: {min} to {max} at once, adaptive"
                ));
            }
            None => self.line(format_args!("  {number}. concurrency: {} at once", rules.max)),
        }
        if let Some((key, key_max)) = &rules.key {
            let of = filled(key, x);
            self.line(format_args!("     of key `{}`, which is {of}: {key_max}", key.text()));
        }
        if rules.queue > 0 {
            let (wait, target) = (shown(rules.law.interval), shown(rules.law.target));
            self.line(format_args!(
                "     {} may wait, {wait} in a burst and {target} in an overload",
                rules.queue
            ));
        }
    }

    fn bearer(&mut self, number: usize, bearer: &Bearer, x: &Exchange) {
        for jwt in bearer.issuers() {
            self.jwt(number, jwt);
        }
        self.line(format_args!(
            "     {}",
            match x.identity {
                Some(_) => "the claims given with --jwt are taken as verified",
                None => "this request has no verified token: 401 (--jwt sub=42 goes on with one)",
            }
        ));
    }

    fn jwt(&mut self, number: usize, jwt: &Jwt) {
        let rules = jwt.rules();
        self.line(format_args!("  {number}. jwt `{}`", rules.name));
        for (what, list) in [
            ("iss is one of", &rules.issuers),
            ("aud holds one of", &rules.audiences),
            ("required besides exp", &rules.required),
        ] {
            if !list.is_empty() {
                self.line(format_args!("     {what}: {}", list.join(", ")));
            }
        }
        self.line(format_args!("     clocks may differ by {}", shown(rules.leeway)));
    }
}
