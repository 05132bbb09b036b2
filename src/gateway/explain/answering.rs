//! What is done to a request and its answer on their way, in words.
//!
//! It fills the same templates and asks the same rules that serving does; it never sends anything.

use crate::base::span::Span;
use crate::exchange::Exchange;
use crate::gateway::explain::{Told, filled, shown, size};
use crate::gateway::listener::Listener;
use crate::gateway::mirror::Mirror;
use crate::gateway::route::Route;
use crate::http::Method;
use crate::policy::compress::Compress;
use crate::policy::cors::{Cors, Headers, OriginPattern, Origins, Preflight};
use crate::policy::header_edit::HeaderEdits;
use crate::policy::maintenance::Maintenance;
use crate::route::Found;

impl Told<'_> {
    /// Everything that a route does besides deciding who may pass.
    pub(super) fn on_the_way(&mut self, route: &Route, x: &Exchange) {
        let answering = route.answering.as_deref();
        if let Some(cors) = answering.and_then(|rules| rules.cors.as_ref()) {
            self.cors(cors, x);
        }
        if let Some(edits) = &route.request_edits {
            self.line(format_args!("\nfields of the request that is sent on"));
            self.edits(edits, x);
        }
        if let Some(rules) = answering
            && !(rules.edits.lines.is_empty() && rules.edits.dropped.is_empty())
        {
            self.line(format_args!("\nfields of every answer"));
            self.edits(&rules.edits, x);
        }
        if let Some(compress) = answering.and_then(|rules| rules.compress.as_ref()) {
            self.compress(compress);
        }
        if answering.is_some_and(|rules| rules.grpc_web) {
            self.line(format_args!(
                "\ncalls in gRPC-Web are sent on as gRPC, and answered in gRPC-Web"
            ));
        }
        if let Some(mirror) = &route.mirror {
            self.mirror(mirror);
        }
    }

    /// A preflight that the gateway answers, as `serve/answering.rs` finds it: by the method that it asks for,
    /// before any policy. Says whether the request is one.
    pub(super) fn preflight(&mut self, listener: &Listener, x: &mut Exchange) -> bool {
        if x.head.method != Method::Options {
            return false;
        }
        let request = x.request();
        let Some(asked) = Preflight::of(request) else { return false };
        let method = Method::of(asked.method);
        let shown = String::from_utf8_lossy(asked.method).into_owned();
        let same = |span: Span| span.of(request.raw) == asked.method;
        let Some(span) =
            request.head.fields.iter().map(|field| field.value).find(|span| same(*span))
        else {
            return false;
        };
        let own = (x.head.method, x.head.method_text);
        (x.head.method, x.head.method_text) = (method, span);
        let (found, considered) = self.gateway.router.explain(x.request(), &listener.spelling);
        (x.head.method, x.head.method_text) = own;
        let Found::Route(id) = found else { return false };
        let route = self.gateway.route(id);
        let rules = route.answering.as_deref().and_then(|rules| rules.cors.as_ref());
        let Some(cors) = rules else { return false };
        let name = &route.name;
        self.line(format_args!(
            "a preflight for {shown}: route `{name}` takes that method, and its cors answers"
        ));
        self.losers(&considered);
        let mut lines = Vec::new();
        let request = x.request();
        let verdict = match Preflight::of(request) {
            Some(asked) => cors.preflight(request, asked, &mut lines),
            None => Ok(()),
        };
        match verdict {
            Ok(()) => self.line(format_args!("\nanswers itself with 204, before any policy")),
            Err(why) => {
                self.line(format_args!(
                    "\nanswers itself with 403, before any policy: {}",
                    why.word()
                ));
            }
        }
        self.sent_lines(&lines);
        true
    }

    /// Said first, since it comes before everything else.
    pub(super) fn maintenance(&mut self, maintenance: &Maintenance, x: &Exchange) {
        let status = maintenance.reply.status.0;
        let when = if maintenance.switch.is_some() { "while its file is there" } else { "now" };
        self.line(format_args!("\nclosed for maintenance {when}: {status}, before any policy; what follows is for when it is open"));
        if !maintenance.passing.is_empty() {
            let passes = maintenance.passing.iter().any(|net| net.contains(x.client.address));
            let who = match (self.from_somewhere, passes) {
                (false, _) => "some networks pass all the same (--from 192.0.2.7 asks for one)",
                (true, true) => "this client passes all the same",
                (true, false) => "this client does not pass",
            };
            self.line(format_args!("  {who}"));
        }
    }

    fn cors(&mut self, cors: &Cors, x: &Exchange) {
        self.line(format_args!("\npages of other origins (cors)"));
        let names: Vec<String> = match &cors.origins {
            Origins::Any => vec!["everybody's".into()],
            Origins::These(patterns) => patterns.iter().map(named).collect(),
        };
        self.line(format_args!("  may read answers: {}", names.join(", ")));
        if cors.credentials {
            self.line(format_args!("  with cookies and the like"));
        }
        let methods = match cors.methods.join(", ") {
            all if all.is_empty() => "those that routes take".to_owned(),
            some => some,
        };
        let headers = match &cors.headers {
            Headers::Any => "any".to_owned(),
            Headers::These(names) => names.join(", "),
        };
        self.line(format_args!("  a preflight may ask for methods: {methods}; fields: {headers}"));
        if let Some(origin) = x.request().field_named(b"origin") {
            let may = if cors.permits(origin) { "may" } else { "may not" };
            let origin = String::from_utf8_lossy(origin);
            self.line(format_args!("  a page of `{}` {may} read this one", origin.escape_debug()));
        }
    }

    fn edits(&mut self, edits: &HeaderEdits, x: &Exchange) {
        let set = |name: &str| edits.lines.iter().any(|line| &*line.name == name);
        let removed: Vec<&str> =
            edits.dropped.iter().map(|name| &**name).filter(|name| !set(name)).collect();
        if !removed.is_empty() {
            self.line(format_args!("  removed: {}", removed.join(", ")));
        }
        let cookies = edits.withheld.cookies.iter().map(|name| format!("cookie `{name}`"));
        let pairs = edits.withheld.query.iter().map(|name| format!("query parameter `{name}`"));
        let withheld: Vec<String> = cookies.chain(pairs).collect();
        if !withheld.is_empty() {
            self.line(format_args!("  not sent on: {}", withheld.join(", ")));
        }
        if let Some(host) = &edits.host {
            self.line(format_args!("  set host: `{host}`"));
        }
        for line in &edits.lines {
            let verb = if edits.dropped.contains(&line.name) { "set" } else { "added" };
            self.line(format_args!("  {verb} {}: {}", line.name, filled(&line.value, x)));
        }
    }

    fn compress(&mut self, compress: &Compress) {
        let codings: Vec<&str> = compress.codings.iter().map(|coding| coding.names()[0]).collect();
        self.line(format_args!(
            "\ncompressed by {} as the client asks, from {}",
            codings.join(", "),
            size(compress.bytes_min)
        ));
        let secrets = [
            (compress.with_authorization, "requests with authorization"),
            (compress.with_cookie, "requests with cookie"),
            (compress.with_set_cookie, "answers with set-cookie"),
        ];
        let left: Vec<&str> =
            secrets.iter().filter(|(allowed, _)| !allowed).map(|(_, what)| *what).collect();
        if !left.is_empty() {
            self.line(format_args!("  never for {}", left.join(", ")));
        }
    }

    fn mirror(&mut self, mirror: &Mirror) {
        let upstream = &self.gateway.upstream(mirror.to.upstream).name;
        let (whole, rest) = (mirror.millionths / 10_000, mirror.millionths % 10_000);
        let share = match rest {
            0 => format!("{whole}%"),
            _ => format!("{whole}.{rest:04}").trim_end_matches('0').to_owned() + "%",
        };
        self.line(format_args!(
            "\n{share} of requests are copied to `{upstream}`, bodies up to {}, answers dropped after {}",
            size(mirror.body_bytes_max as u64),
            shown(mirror.timeout)
        ));
    }
}

fn named(pattern: &OriginPattern) -> String {
    match pattern {
        OriginPattern::Exact(origin) => origin.to_string(),
        OriginPattern::Below { scheme, suffix } => format!("{scheme}*{suffix}"),
        OriginPattern::AnyPort(start) => format!("{start}:*"),
    }
}
