//! Routes: patterns for the router, targets, policies; clashes and shadows reported.
//!
//! A route never compiles in part. Ids are places in the file, so they are the same whether or not
//! another route failed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::ids::{RouteId, UpstreamId};
use crate::base::name::Name;
use crate::base::pacing::{ByteRate, SharedPacing};
use crate::compile::aggregate;
use crate::compile::answering;
use crate::compile::codes;
use crate::compile::policy::Stock;
use crate::compile::report::{Names, Report};
use crate::compile::template::Scope;
use crate::compile::view;
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Config, Host, Text};
use crate::exchange::reply::{Reply, ReplyText};
use crate::exchange::template::TemplateKind;
use crate::gateway::route::{Bandwidth, Forward, Redirect, Route, Target};
use crate::http::Status;
use crate::http::target::{Plus, percent_decode};
use crate::http::withheld::Withheld;
use crate::route::Router;
use crate::route::matcher::{Condition, Place, Test};
use crate::route::pattern::{HostPattern, MethodName, Pattern, Segment};
use crate::route::rank::Clash;

/// The tables that routes name things of.
pub struct Tables<'a> {
    /// `[upstream.NAME]`
    pub upstreams: Names<'a>,
    /// `[jwt.NAME]`
    pub issuers: Names<'a>,
    /// `[api_key.NAME]`
    pub api_keys: Names<'a>,
    /// `[basic.NAME]`
    pub basics: Names<'a>,
    /// `[auth_request.NAME]`
    pub auth_requests: Names<'a>,
    /// `[limit.NAME]`
    pub limits: Names<'a>,
    /// Ids of upstreams by name.
    pub ids: HashMap<&'a str, UpstreamId>,
}

/// All routes, in the order of the file; `None` after an error in any.
pub fn compile(
    config: &Config,
    tables: &Tables<'_>,
    stock: &Stock<'_>,
    report: &Report,
) -> Option<Box<[Route]>> {
    let default_jwt = config.default.jwt.first();
    let routes: Vec<Option<Route>> = config
        .routes
        .iter()
        .map(|route| one(&Scope::of(route, default_jwt), tables, stock, report))
        .collect();
    routes.into_iter().collect()
}

fn one(
    scope: &Scope<'_>,
    tables: &Tables<'_>,
    stock: &Stock<'_>,
    report: &Report,
) -> Option<Route> {
    let route = scope.route();
    let policies = stock.chain(scope, tables, report);
    let answering = answering::answers(scope, report);
    let request_edits = answering::requests(scope, report);
    let mirror = answering::mirror(scope, tables, report);
    let maintenance = answering::maintenance(scope, stock);
    let target = target(scope, tables, report)?;
    Some(Route {
        name: Name::new(&route.name.value),
        policies,
        target,
        answering: answering?,
        request_edits: request_edits?,
        mirror: mirror?,
        maintenance,
        cache: None,
        timeout: route.policies.timeout.value,
        idle_timeout: route.policies.idle.as_ref().map(|idle| idle.value),
        buffer_request_bytes: route.policies.buffer_request_bytes,
        body_bytes_max: route.policies.body_bytes_max.value,
        hedge_percent: route.policies.hedge.as_ref().map(|percent| percent.value),
        retries: route.policies.retries.as_ref().map(|retries| retries.value),
        upgrades: route.policies.upgrades.iter().map(|word| Name::new(&word.value)).collect(),
        bandwidth: route.policies.bandwidth.map(bandwidth),
        tunnel_idle_timeout: route.policies.tunnel_idle.value,
    })
}

/// The routes that may send a call twice.
pub fn hedged(routes: &[Route]) -> Box<[RouteId]> {
    let is_hedged = |route: &Route| match &route.target {
        Target::Forward(_) => route.hedge_percent.is_some(),
        Target::Aggregate(merge) => {
            merge.plan.parts.iter().any(|part| part.hedge_percent.is_some())
        }
        Target::Redirect(_) | Target::Respond(_) => false,
    };
    let places = routes.iter().enumerate().filter(|(_, route)| is_hedged(route));
    places.map(|(place, _)| RouteId(place as u32)).collect()
}

fn target(scope: &Scope<'_>, tables: &Tables<'_>, report: &Report) -> Option<Target> {
    let upstream = |name: &Text| {
        let known = tables.upstreams.check(name, report);
        tables.ids.get(name.value.as_str()).copied().filter(|_| known)
    };
    match &scope.route().target {
        config::Target::Forward(call) => {
            let text = call.target.as_ref();
            let target = text.map(|text| scope.compile(text, TemplateKind::Target, report));
            let upstream = upstream(&call.upstream);
            let target = match target {
                Some(target) => Some(target?),
                None => None,
            };
            Some(Target::Forward(Forward { upstream: upstream?, target }))
        }
        config::Target::Merge(parts) => {
            let plan = aggregate::compile(parts, scope, &upstream, report);
            let merge = view::compile(plan, parts, scope, report)?;
            Some(Target::Aggregate(Box::new(merge)))
        }
        config::Target::Redirect(to) => Some(Target::Redirect(Box::new(Redirect {
            to: match &to.to {
                Some(to) => Some(scope.compile(to, TemplateKind::Location, report)?),
                None => None,
            },
            scheme: to.scheme,
            host: to.host.as_ref().map(|host| host.value.as_str().into()),
            keep_query: to.keep_query,
            withheld: Withheld::default(),
            status: Status(to.status),
        }))),
        config::Target::Respond(fixed) => Some(Target::Respond(Box::new(reply(fixed)))),
    }
}

fn bandwidth(said: config::Bandwidth) -> Bandwidth {
    let all = said.all.map(|rate| Arc::new(SharedPacing::new(ByteRate::new(rate))));
    Bandwidth { each: said.each.map(ByteRate::new), all }
}

fn reply(fixed: &config::Respond) -> Reply {
    let mut lines = Vec::new();
    for (name, value) in &fixed.headers {
        for piece in [name.as_str(), ": ", value, "\r\n"] {
            lines.extend_from_slice(piece.as_bytes());
        }
    }
    Reply {
        status: Status(fixed.status),
        fields: ReplyText::Shared(lines.into()),
        body: ReplyText::Shared(fixed.body.as_bytes().into()),
        // The media type stands among the fields: `config` put it there.
        content_type: "",
        close: false,
    }
}

/// The router over all routes; `None`, and errors, when some can never be told apart.
pub fn router(config: &Config, report: &Report) -> Option<Router> {
    let patterns = config.routes.iter().enumerate().map(|(index, route)| pattern(index, route));
    match Router::build(patterns.collect()) {
        Ok((router, shadowed)) => {
            for clash in shadowed {
                report.push(overlap(config, clash, false));
            }
            Some(router)
        }
        Err(clashes) => {
            for clash in clashes {
                report.push(overlap(config, clash, true));
            }
            None
        }
    }
}

fn overlap(config: &Config, clash: Clash, same: bool) -> Diagnostic {
    let (first, second) =
        (&config.routes[clash.first.index()], &config.routes[clash.second.index()]);
    let span = second.matches.text.span;
    let diagnostic = if same {
        let message = "two routes are for exactly the same requests";
        Diagnostic::error(codes::CLASH, span, message).label("never reached")
    } else {
        let message = "this route is never reached: another one takes all of its requests";
        Diagnostic::warning(codes::SHADOWED, span, message)
    };
    let advice = "tell them apart by method, host, path or `when`, or remove one";
    diagnostic.also(first.matches.text.span, "this one takes them").help(advice)
}

/// Conditions of a route or of a view.
pub(super) fn conditions(
    headers: &[config::Condition],
    query: &[config::Condition],
) -> Vec<Condition> {
    let one = |place: Place, condition: &config::Condition| Condition {
        place,
        name: condition.name.value.as_str().into(),
        test: match &condition.value {
            Some(value) => Test::Equals(value.value.as_str().into()),
            None => Test::Present,
        },
    };
    let headers = headers.iter().map(|condition| one(Place::Header, condition));
    headers.chain(query.iter().map(|condition| one(Place::Query, condition))).collect()
}

/// A host of a route or of a view.
pub(super) fn host(host: &Host) -> HostPattern {
    match host {
        Host::Exact(name) => HostPattern::Exact(name.value.as_str().into()),
        Host::Wildcard(suffix) => HostPattern::Wildcard(suffix.value.as_str().into()),
    }
}

fn pattern(index: usize, route: &config::Route) -> Pattern {
    let conditions = conditions(&route.when.headers, &route.when.query);
    let methods = route.matches.methods.iter();
    Pattern {
        route: RouteId(index as u32),
        methods: methods.map(|method| MethodName(method.value.as_str().into())).collect(),
        host: route.matches.host.as_ref().map_or(HostPattern::Any, host),
        path: route.matches.segments.iter().map(segment).collect(),
        conditions,
    }
}

fn segment(segment: &config::Segment) -> Segment {
    match segment {
        config::Segment::Literal(text) => Segment::Literal(decoded(text.value.as_bytes())),
        config::Segment::Param(_) => Segment::Param,
        config::Segment::Rest(_) => Segment::Rest,
    }
}

/// The bytes that a literal stands for; `config` checked its escapes (RFC 3986 §2.1).
fn decoded(text: &[u8]) -> Box<[u8]> {
    let mut bytes = vec![0; text.len()];
    percent_decode(text, Plus::Literal, &mut bytes).map_or(text, |bytes| bytes).into()
}
