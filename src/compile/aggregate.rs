//! Merges: parts with their upstreams, templates and what becomes of their answers.
//!
//! A part that could not be compiled is never left out in silence: its route does not compile.

use std::time::Duration;

use crate::aggregate::cache::{CacheRule, Lifetime};
use crate::aggregate::{Part, Pass, Plan, request};
use crate::base::ids::UpstreamId;
use crate::base::name::Name;
use crate::compile::codes;
use crate::compile::reference::{self, Linker};
use crate::compile::report::Report;
use crate::compile::shaping;
use crate::compile::template::Scope;
use crate::config::{self, PartCache, PartMethod, Text};
use crate::exchange::template::TemplateKind;
use crate::http::Method;
use crate::http::withheld::Withheld;

/// The plan of a merge. `upstream` finds the id of a name, or reports it.
pub fn compile(
    parts: &[config::Part],
    scope: &Scope<'_>,
    upstream: &dyn Fn(&Text) -> Option<UpstreamId>,
    report: &Report,
) -> Option<Plan> {
    let route = scope.route();
    let timeout = route.policies.timeout.value;
    for name in &route.pass.headers {
        check_reserved(name, "passed on to parts", report);
    }
    let mut links = Vec::new();
    let made = parts.iter().enumerate().map(|(index, part)| {
        let mut linker = Linker::of(parts, index, report);
        let made = one(part, scope, upstream, timeout, &mut linker, report);
        let each = part.each.as_ref().map(|each| linker.each(each));
        links.append(&mut linker.links);
        made.and_then(|mut made| {
            made.references = linker.references.into();
            made.each = match each {
                Some(each) => Some(each?),
                None => None,
            };
            // With several elements in an answer it is these that are shaped.
            if let Some(batch) = made.each.as_mut().and_then(|each| each.batch.as_mut()) {
                batch.shape = made.shape.take();
            }
            Some(made)
        })
    });
    let made: Vec<Option<Part>> = made.collect();
    shaping::check_flattened(parts, &made, report);
    reference::check_embedded(parts, &made, report);
    let made: Option<Vec<Part>> = made.into_iter().collect();
    if !reference::check_cycles(parts, &links, report) {
        return None;
    }
    let names = |list: &[Text]| list.iter().map(|name| name.value.as_str().into()).collect();
    let pass = Pass {
        headers: names(&route.pass.headers),
        query: names(&route.pass.query),
        withheld: Withheld::default(),
    };
    made.map(|parts| {
        let mut plan = Plan::new(parts, pass);
        (plan.etag, plan.stream, plan.server_timing) =
            (route.etag, route.stream, route.server_timing);
        plan
    })
}

fn one(
    part: &config::Part,
    scope: &Scope<'_>,
    upstream: &dyn Fn(&Text) -> Option<UpstreamId>,
    route_timeout: Duration,
    linker: &mut Linker<'_>,
    report: &Report,
) -> Option<Part> {
    // Everything is looked at before anything is given up, so that all mistakes are told.
    let upstream = upstream(&part.call.upstream);
    let target = part.call.target.as_ref();
    let mut template = |text: &Text, kind| {
        let template = scope.compile_in_part(text, kind, report)?;
        linker.bind(template, text)
    };
    let target = target.and_then(|text| template(text, TemplateKind::Target));
    let headers = part.request_headers.iter().map(|(name, value)| {
        check_reserved(name, "set by a part", report);
        Some((name.value.as_str().into(), template(value, TemplateKind::Field)?))
    });
    let headers: Vec<Option<_>> = headers.collect();
    let body = part.body.as_ref().map(|body| {
        let (template, text) = scope.compile_json(&body.value, body.span, report)?;
        linker.bind(template, &text)
    });
    let shape = shaping::compile(&part.shaping, report);
    let timeout = part.timeout.as_ref().map_or(route_timeout, |timeout| timeout.value);
    let mut made = Part::new(Name::new(&part.name.value), upstream?, target?, timeout);
    made.method = match part.method {
        PartMethod::Get => Method::Get,
        PartMethod::Post => Method::Post,
        PartMethod::Put => Method::Put,
        PartMethod::Patch => Method::Patch,
    };
    made.headers = headers.into_iter().collect::<Option<Vec<_>>>()?.into();
    made.body = match body {
        Some(body) => Some(body?),
        None => None,
    };
    let shape = shape?;
    (made.pick, made.shape, made.flatten) = (shape.pick, shape.selection, shape.flatten);
    made.codings = part.codings.iter().map(|coding| coding.value.as_str().into()).collect();
    made.otherwise =
        part.fallback.as_ref().map(|value| value.value.to_string().into_bytes().into());
    (made.client_body, made.problem_passed) = (part.client_body, part.problem_passed);
    part.headers.iter().for_each(|name| check_kept(name, scope.route().etag, report));
    made.cache = cache_rule(part);
    made.hedge_percent = part.hedge.unwrap_or_else(|| {
        let of_route = scope.route().policies.hedge.as_ref().map(|percent| percent.value);
        of_route.filter(|_| part.method == PartMethod::Get)
    });
    made.reply_headers = part.headers.iter().map(|name| name.value.as_str().into()).collect();
    Some(made)
}

fn cache_rule(part: &config::Part) -> Option<CacheRule> {
    let fresh = part.cache.map(|cache| match cache {
        PartCache::Origin => Lifetime::Origin,
        PartCache::Set { ttl, stale_while_revalidate, stale_if_error } => {
            Lifetime::Set { ttl, stale_while_revalidate, stale_if_error }
        }
    });
    let else_stale = part.else_stale;
    (fresh.is_some() || !else_stale.is_zero()).then_some(CacheRule { fresh, else_stale })
}

/// Fields of an answer that tell of the part's own bytes, or of its connection (RFC 9110 §7.6.1): kept, they
/// would tell the client something wrong of the whole, or how to misread it.
const NEVER_KEPT: [&str; 16] = [
    "accept-ranges",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "gateway-partial",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

fn check_kept(name: &Text, etag: bool, report: &Report) {
    let own_etag = etag && name.value == "etag";
    if own_etag || NEVER_KEPT.contains(&name.value.as_str()) {
        let message =
            format!("`{}` of a part cannot go to the client: the gateway decides it", name.value);
        report.error(codes::RESERVED_FIELD, name.span, message);
    }
}

fn check_reserved(name: &Text, how: &str, report: &Report) {
    if request::is_reserved(&name.value) {
        let message = format!("`{}` cannot be {how}: the gateway decides it", name.value);
        report.error(codes::RESERVED_FIELD, name.span, message);
    }
}
