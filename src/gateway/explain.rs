//! What would happen to a request, in words: for `ringway explain` and for tests.
//!
//! It asks the same router, templates and plans that serve requests, so that it cannot tell another
//! story; it never sends anything and never decides a policy that needs the outside world.

mod answering;
mod merge;
mod policies;

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::buffer::BufferPool;
use crate::base::name::Name;
use crate::exchange::Exchange;
use crate::exchange::client::{AddressText, Client};
use crate::exchange::reply::Reply;
use crate::exchange::template::{RenderError, Template};
use crate::gateway::Gateway;
use crate::gateway::listener::Listener;
use crate::gateway::route::{Forward, Redirect, Route, Target};
use crate::http::forward::{self as heads, RequestForward};
use crate::http::names::FieldName;
use crate::http::{Method, upgrade};
use crate::policy::header_edit::HeaderEdits;
use crate::route::Found;
use crate::route::explain::{Considered, Outcome};
use crate::route::matcher::{Condition, Place, Test};
use crate::upstream::{Balance, Speaks, Upstream, hedge};

/// Routes that are listed one by one as losers; of more, the nearest are shown and the others counted.
const LOSERS_SHOWN_MAX: usize = 20;

/// The walk of the request in `x` (its head parsed, its bytes at hand, its identity as given) through
/// `gateway`, coming in by `listener` and, where that is said, from this peer. `x` is left with its route and
/// parameters.
pub fn explain(
    gateway: &Gateway,
    listener: &Listener,
    from: Option<IpAddr>,
    x: &mut Exchange,
) -> String {
    let mut told = Told { text: String::new(), gateway, from_somewhere: from.is_some() };
    if let Some(peer) = from {
        x.client.peer = peer.to_canonical();
        listener.identify(x);
        told.client(x);
    }
    let (found, considered) = gateway.router.explain(x.request(), &listener.spelling);
    if told.preflight(listener, x) {
        return told.text;
    }
    match found {
        Found::Route(id) => {
            let mut params = std::mem::take(&mut x.params);
            let mut scratch = Default::default();
            gateway.router.find(x.request(), &listener.spelling, &mut params, &mut scratch);
            x.params = params;
            x.route = Some(id);
            let route = gateway.route(id);
            told.line(format_args!("route `{}` wins", route.name));
            told.losers(&considered);
            route.views().inspect(|merge| merge.note(x));
            if let Some(maintenance) = &route.maintenance {
                told.maintenance(maintenance, x);
            }
            told.policies(route, x);
            told.bandwidth(route);
            told.needless_claims(route, x);
            told.response_cache(route, x);
            told.target(route, x);
            told.on_the_way(route, x);
            told.in_force(route, listener, x);
        }
        Found::MethodRefused(_) | Found::Missing if x.head.method == Method::Connect => {
            told.line(format_args!("no route is for CONNECT to this host: 501"));
            told.losers(&considered);
        }
        Found::MethodRefused(allow) => {
            let allow = String::from_utf8_lossy(allow.as_bytes()).into_owned();
            told.line(format_args!("no route takes this method: 405, allow: {allow}"));
            told.losers(&considered);
        }
        Found::Missing => {
            told.line(format_args!("no route: 404"));
            told.losers(&considered);
        }
        Found::PathRefused(fault) => {
            let why = fault.text();
            told.line(format_args!(
                "the path is refused before any route is looked at: 400, {why}"
            ));
            told.line(format_args!("  `[listen.path]` decides which spellings are taken"));
        }
    }
    told.text
}

/// The text so far.
struct Told<'a> {
    text: String,
    gateway: &'a Gateway,
    from_somewhere: bool,
}

impl Told<'_> {
    fn line(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing into a String never fails.
        let _ = self.text.write_fmt(arguments);
        self.text.push('\n');
    }

    fn client(&mut self, x: &Exchange) {
        let Client { peer, address, trusted, tls, .. } = x.client;
        let scheme = if tls { "https" } else { "http" };
        let trust = if trusted { "a trusted proxy" } else { "who is not a trusted proxy" };
        self.line(format_args!("client {address} by {scheme}, as told by {peer}, {trust}\n"));
    }

    fn losers(&mut self, considered: &[Considered]) {
        let mut losers: Vec<&Considered> =
            considered.iter().filter(|one| one.outcome != Outcome::Won).collect();
        if losers.is_empty() {
            return;
        }
        let hidden = losers.len().saturating_sub(LOSERS_SHOWN_MAX);
        if hidden > 0 {
            losers.sort_by_key(|one| distance(&one.outcome));
            losers.truncate(LOSERS_SHOWN_MAX);
            losers.sort_by_key(|one| one.route);
        }
        self.line(format_args!("\nthe others"));
        for one in losers {
            let name = &self.gateway.route(one.route).name;
            let why = self.why(one);
            let _ = writeln!(self.text, "  `{name}`: {why}");
        }
        if hidden > 0 {
            self.line(format_args!("  and {hidden} more that are further off"));
        }
    }

    fn why(&self, one: &Considered) -> String {
        match one.outcome {
            Outcome::Won => "it wins".into(),
            Outcome::OtherHost => "another host".into(),
            Outcome::OtherPath { segment } => format!("another path, at segment {segment}"),
            Outcome::OtherMethod => "another method".into(),
            Outcome::Outranked => "fits, but is less specific or comes later in the file".into(),
            Outcome::Condition { index } => {
                let pattern = &self.gateway.router.patterns()[one.route.index()];
                let condition = pattern.conditions.get(index);
                condition.map_or("a condition does not hold".into(), shown_condition)
            }
        }
    }

    fn target(&mut self, route: &Route, x: &Exchange) {
        match &route.target {
            Target::Forward(to) => self.forward(route, to, x),
            Target::Aggregate(merge) => self.merge(route, merge, x),
            Target::Redirect(to) => self.redirect(to, x),
            Target::Respond(fixed) => self.respond(fixed),
        }
    }

    fn forward(&mut self, route: &Route, to: &Forward, x: &Exchange) {
        let upstream = self.gateway.upstream(to.upstream);
        self.line(format_args!("\nforwards to one upstream"));
        self.upstream(upstream, route);
        if x.head.method == Method::Connect {
            let name = &upstream.name;
            self.line(format_args!("    CONNECT becomes a tunnel to an endpoint of `{name}`, whatever authority is asked for"));
            return;
        }
        if let Some(percent) = route.hedge_percent.filter(|_| hedge::is_safe(x.head.method)) {
            self.hedge(percent);
        }
        let upgrade = upgrade::asked(x.request(), &route.upgrades);
        let Ok(upgrade) = upgrade else {
            self.line(format_args!("    a WebSocket handshake has no content: 400"));
            return;
        };
        let mut target = Vec::new();
        if let Some(template) = &to.target
            && let Err(error) = template.render(x, &mut target)
        {
            self.refused(template, error);
            return;
        }
        if to.target.is_some() {
            keep_query(x, route.request_edits.as_deref(), &mut target);
        }
        let (mut peer, mut real) = (AddressText::default(), AddressText::default());
        let mut client = x.client.forwarded_as(&mut peer, &mut real);
        if !self.from_somewhere {
            (client.address, client.real) = (b"(client)", b"(client)");
        }
        let how = RequestForward {
            target: to.target.as_ref().map(|_| target.as_slice()),
            client,
            body: x.head.body,
            upgrade: upgrade.map(Name::as_str),
            drop: &[FieldName::Traceparent, FieldName::XRequestId, FieldName::Expect],
            withheld: route.request_edits.as_deref().map(|edits| &edits.withheld),
            ..RequestForward::default()
        };
        let pool = BufferPool::new(1);
        let Some(mut out) = pool.take() else { return };
        if heads::request_head(&mut out, x.request(), &how).is_ok() {
            self.sent(out.data());
        }
    }

    fn upstream(&mut self, upstream: &Upstream, route: &Route) {
        let endpoints: Vec<String> = upstream
            .endpoints
            .iter()
            .map(|endpoint| match endpoint.weight {
                1 => endpoint.address.to_string(),
                weight => format!("{} (weight {weight})", endpoint.address),
            })
            .collect();
        let balance = match upstream.balance {
            Balance::RoundRobin => "in turn",
            Balance::LeastRequest => "the less busy of two",
        };
        self.line(format_args!(
            "    upstream `{}`, {balance}: {}",
            upstream.name,
            endpoints.join(", ")
        ));
        let rules = &upstream.rules;
        let retries = route.retries.unwrap_or(rules.retries);
        self.line(format_args!(
            "    connect within {}, first byte within {}, pause within {}, further attempts {retries}",
            shown(rules.connect_timeout),
            shown(rules.first_byte_timeout),
            shown(rules.idle_timeout),
        ));
        match rules.speaks {
            Speaks::Http1 => {}
            Speaks::Http2 => {
                self.line(format_args!("    in HTTP/2, on connections that requests share"))
            }
            Speaks::Either => self.line(format_args!(
                "    in HTTP/2, on connections that requests share, if the endpoint chooses it"
            )),
        }
        self.throttle(upstream);
    }

    /// A request as it would be sent; bytes that are not text are shown as such.
    fn sent(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.trim_end().lines() {
            let plain: String =
                line.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
            self.line(format_args!("    > {plain}"));
        }
        self.line(format_args!("    > (traceparent and x-request-id are made for each request)"));
    }

    fn refused(&mut self, template: &Template, error: RenderError) {
        let status = error.fault().kind.status().0;
        self.line(format_args!("    > `{}` cannot be filled: {error}: {status}", template.text()));
    }

    fn redirect(&mut self, to: &Redirect, x: &Exchange) {
        self.line(format_args!("\nredirects with {}", to.status.0));
        let mut location = Vec::new();
        match to.location(x, &mut location) {
            Ok(()) => {
                let text = String::from_utf8_lossy(&location);
                self.line(format_args!("  location: `{}`", text.escape_debug()));
            }
            Err(error) => {
                let status = error.fault().kind.status().0;
                self.line(format_args!("  location: not to be had: {error}: {status}"));
            }
        }
    }

    fn respond(&mut self, fixed: &Reply) {
        self.line(format_args!("\nanswers itself with {}", fixed.status.0));
        self.sent_lines(fixed.fields.as_bytes());
        let bytes = fixed.body.as_bytes().len();
        self.line(format_args!("  body: {bytes} bytes"));
    }

    fn sent_lines(&mut self, lines: &[u8]) {
        for line in String::from_utf8_lossy(lines).lines() {
            self.line(format_args!("  {line}"));
        }
    }

    fn upgrades(&mut self, route: &Route) {
        let names: Vec<&str> = route.upgrades.iter().map(Name::as_str).collect();
        match names.as_slice() {
            [] => self.line(format_args!("  upgrades none")),
            names => self.line(format_args!(
                "  upgrades {}, silent at most {}",
                names.join(", "),
                shown(route.tunnel_idle_timeout)
            )),
        }
    }

    fn in_force(&mut self, route: &Route, listener: &Listener, x: &Exchange) {
        self.line(format_args!("\nin force, defaults included"));
        let limits = &listener.head_limits;
        self.line(format_args!("  whole request {}", shown(route.timeout)));
        let calls = matches!(route.target, Target::Forward(_) | Target::Aggregate(_));
        match route.idle_timeout {
            Some(idle) => self.line(format_args!("  pause in a body {}", shown(idle))),
            None if calls => self.line(format_args!("  pause in a body as the upstream says")),
            None => {}
        }
        if x.head.method == Method::Connect {
            let idle = shown(route.tunnel_idle_timeout);
            self.line(format_args!("  tunnel silent at most {idle}"));
        } else if matches!(route.target, Target::Forward(_)) {
            self.upgrades(route);
        }
        self.line(format_args!("  request body at most {}", size(route.body_bytes_max)));
        if route.buffer_request_bytes > 0 {
            let waited_for = size(route.buffer_request_bytes);
            self.line(format_args!("  up to {waited_for} of it before an origin is asked"));
        }
        self.line(format_args!(
            "  a client moves at least {} of a body each second, within {}",
            size(listener.body_rate_min),
            shown(listener.body_timeout),
        ));
        self.line(format_args!(
            "  request head at most {} bytes, {} fields, target {} bytes, within {}",
            limits.head_bytes_max,
            limits.fields_max,
            limits.target_bytes_max,
            shown(listener.head_timeout),
        ));
        self.line(format_args!("  listener {}", listener.address));
    }
}

/// What serving does too: a target without a query of its own keeps the client's.
fn keep_query(x: &Exchange, edits: Option<&HeaderEdits>, target: &mut Vec<u8>) {
    let Some(query) = x.request().query().filter(|_| !target.contains(&b'?')) else { return };
    match edits {
        Some(edits) => edits.withheld.query(query, b"?", |piece| target.extend_from_slice(piece)),
        None => target.extend_from_slice(&[b"?", query].concat()),
    }
}

/// A size in the largest unit of the language that shows it exactly.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let exact = units.iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale));
    exact.map_or(format!("{bytes} bytes"), |(unit, scale)| format!("{} {unit}", bytes / scale))
}

/// How far from winning: smaller is nearer.
fn distance(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Won | Outcome::Outranked => 0,
        Outcome::Condition { .. } => 1,
        Outcome::OtherMethod => 2,
        Outcome::OtherPath { segment } => 1_000 - (*segment).min(900),
        Outcome::OtherHost => 2_000,
    }
}

fn shown_condition(condition: &Condition) -> String {
    let place = match condition.place {
        Place::Header => "header",
        Place::Query => "query",
    };
    match &condition.test {
        Test::Present => format!("{place} `{}` is not there", condition.name),
        Test::Absent => format!("{place} `{}` is there", condition.name),
        Test::Equals(value) => format!("{place} `{}` is not `{value}`", condition.name),
    }
}

/// A template filled from the request, or why it cannot be.
fn filled(template: &Template, x: &Exchange) -> String {
    let mut out = Vec::new();
    match template.render(x, &mut out) {
        Ok(()) => format!("`{}`", String::from_utf8_lossy(&out).escape_debug()),
        Err(error) => format!("not to be had: {error}: {}", error.fault().kind.status().0),
    }
}

/// A duration as a person would write it.
fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let exact = units.iter().find(|(_, scale)| millis >= *scale && millis.is_multiple_of(*scale));
    exact.map_or(format!("{millis}ms"), |(unit, scale)| format!("{}{unit}", millis / scale))
}
