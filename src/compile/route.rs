//! Routes: patterns for the router, policies in execution order, targets.
//!
//! Two routes that can never be told apart are an error at both places; one that is never reached is a
//! warning.

use std::sync::Arc;

use crate::base::ids::RouteId;
use crate::base::limits::PARAMS_MAX;
use crate::base::name::Name;
use crate::base::shared::Cells;
use crate::compile::jwt::Issuers;
use crate::compile::names::Sort;
use crate::compile::{Compiler, codes};
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Text};
use crate::exchange::template::TemplateKind;
use crate::gateway::route::Route;
use crate::http::target::{Plus, percent_decode};
use crate::policy::Policy;
use crate::policy::rate_limit::RateLimit;
use crate::route::Router;
use crate::route::matcher::{Condition, Place, Test};
use crate::route::pattern::{HostPattern, MethodName, Pattern, Segment};
use crate::route::rank::Clash;

impl Compiler<'_> {
    /// All routes that have no error, and the patterns of all.
    pub(super) fn routes(
        &mut self,
        issuers: &Issuers,
        limits: &[Option<Arc<Cells>>],
    ) -> (Vec<Route>, Vec<Pattern>) {
        let config = self.config;
        let mut routes = Vec::new();
        let mut patterns = Vec::new();
        for (index, written) in config.routes.iter().enumerate() {
            patterns.push(pattern(RouteId(index as u32), written));
            routes.extend(self.route(written, issuers, limits));
        }
        (routes, patterns)
    }

    fn route(
        &mut self,
        written: &config::Route,
        issuers: &Issuers,
        limits: &[Option<Arc<Cells>>],
    ) -> Option<Route> {
        let params = self.params(written);
        let jwt = written.policies.jwt.as_ref();
        let jwt = jwt.map(|name| self.resolve(Sort::Jwt, name));
        let proves = jwt.is_some();
        let mut policies: Vec<Policy> = Vec::new();
        if let Some(index) = jwt.flatten() {
            policies.extend(issuers.policies[index].clone().map(Policy::Jwt));
        }
        for name in &written.policies.limits {
            let Some(index) = self.resolve(Sort::Limit, name) else { continue };
            policies.extend(self.limit_of(written, index, limits, &params, proves));
        }
        policies.sort_by_key(Policy::rank);
        let target = self.target(written, &params, proves)?;
        let idle = written.policies.idle.as_ref().map(|idle| idle.value);
        Some(Route {
            name: Name::new(&written.name.value),
            policies: policies.into(),
            target,
            timeout: written.policies.timeout.value,
            idle_timeout: idle,
            retries: written.policies.retries.as_ref().map(|retries| retries.value),
            body_bytes_max: written.policies.body_bytes_max.value,
        })
    }

    /// The limit with its key, as this route's parameters make it.
    fn limit_of(
        &mut self,
        written: &config::Route,
        index: usize,
        limits: &[Option<Arc<Cells>>],
        params: &[&str],
        proves: bool,
    ) -> Option<Policy> {
        let limit = &self.config.limits[index];
        let key = self.template(&limit.key, TemplateKind::Plain, params, written, proves)?;
        let cells = limits[index].clone()?;
        Some(Policy::limit(RateLimit::new(Name::new(&limit.name.value), key, cells)))
    }

    /// The names of the route's path parameters, in order.
    fn params<'w>(&mut self, written: &'w config::Route) -> Vec<&'w str> {
        let mut params: Vec<&str> = Vec::new();
        for segment in &written.matches.segments {
            let (config::Segment::Param(name) | config::Segment::Rest(name)) = segment else {
                continue;
            };
            if params.contains(&name.value.as_str()) {
                let message = format!("the path parameter `{}` stands here twice", name.value);
                self.found.push(Diagnostic::error(codes::PARAM_TWICE, name.span, message));
            }
            params.push(&name.value);
        }
        if params.len() > PARAMS_MAX {
            let message = format!("more than {PARAMS_MAX} path parameters");
            let span = written.matches.text.span;
            self.found.push(Diagnostic::error(codes::TOO_MANY_PARAMS, span, message));
        }
        params
    }

    /// The router over all patterns; `None` when two routes clash.
    pub(super) fn router(&mut self, patterns: Vec<Pattern>) -> Option<Router> {
        match Router::build(patterns) {
            Ok((router, shadowed)) => {
                for Clash { first, second } in shadowed {
                    let (first, second) = (self.match_of(first), self.match_of(second));
                    let message = "this route is never reached";
                    let diagnostic = Diagnostic::warning(codes::SHADOWED, second.span, message);
                    self.found.push(diagnostic.also(first.span, "this one takes all its requests"));
                }
                Some(router)
            }
            Err(clashes) => {
                for Clash { first, second } in clashes {
                    let (first, second) = (self.match_of(first), self.match_of(second));
                    let message = "two routes that can never be told apart";
                    let diagnostic = Diagnostic::error(codes::CLASH, second.span, message);
                    let diagnostic = diagnostic.also(first.span, "this one asks for the same");
                    self.found.push(
                        diagnostic.help("change the match of one, or tell them apart with `when`"),
                    );
                }
                None
            }
        }
    }

    fn match_of(&self, route: RouteId) -> &Text {
        &self.config.routes[route.index()].matches.text
    }
}

fn pattern(route: RouteId, written: &config::Route) -> Pattern {
    let matches = &written.matches;
    let segment = |segment: &config::Segment| match segment {
        config::Segment::Literal(text) => Segment::Literal(decoded(&text.value)),
        config::Segment::Param(_) => Segment::Param,
        config::Segment::Rest(_) => Segment::Rest,
    };
    let conditions = |place, list: &[config::Condition]| -> Vec<Condition> {
        let condition = |condition: &config::Condition| Condition {
            place,
            name: condition.name.value.as_str().into(),
            test: match &condition.value {
                Some(value) => Test::Equals(value.value.as_str().into()),
                None => Test::Present,
            },
        };
        list.iter().map(condition).collect()
    };
    let mut all = conditions(Place::Header, &written.when.headers);
    all.extend(conditions(Place::Query, &written.when.query));
    Pattern {
        route,
        methods: matches.methods.iter().map(|m| MethodName(m.value.as_str().into())).collect(),
        host: match &matches.host {
            None => HostPattern::Any,
            Some(config::Host::Exact(host)) => HostPattern::Exact(host.value.as_str().into()),
            Some(config::Host::Wildcard(host)) => HostPattern::Wildcard(host.value.as_str().into()),
        },
        path: matches.segments.iter().map(segment).collect(),
        conditions: all,
    }
}

/// The bytes that a literal stands for; its percent-encoding was checked when it was read.
fn decoded(text: &str) -> Box<[u8]> {
    let mut bytes = vec![0; text.len()];
    percent_decode(text.as_bytes(), Plus::Literal, &mut bytes)
        .map_or(text.as_bytes(), |bytes| bytes)
        .into()
}
