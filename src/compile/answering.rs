//! What a route does to requests and answers on their way: rules for browsers, edits of fields.
//!
//! A route without any of it never gets an empty one: what is not there costs nothing.

use crate::compile::codes;
use crate::compile::policy::Stock;
use crate::compile::report::Report;
use crate::compile::route::Tables;
use crate::compile::template::Scope;
use crate::config::{self, Origin, Text};
use crate::exchange::reply::{Reply, ReplyText};
use crate::exchange::template::TemplateKind;
use crate::gateway::answering::Answering;
use crate::gateway::mirror::Mirror;
use crate::gateway::route::Forward;
use crate::http::Status;
use crate::http::coding::Coding;
use crate::http::withheld::Withheld;
use crate::policy::compress::{Compress, MediaType};
use crate::policy::cors::{Cors, Headers, OriginPattern, Origins, REPLACED};
use crate::policy::header_edit::{HeaderEdits, Line};
use crate::policy::maintenance::Maintenance;

/// What the route does to its answers; `None` outside: an error was reported.
pub fn answers(scope: &Scope<'_>, report: &Report) -> Option<Option<Box<Answering>>> {
    let written = &scope.route().policies.answering;
    let edits = match &written.response_headers {
        Some(edits) => Some(compile(edits, scope, report)?),
        None => None,
    };
    let cors = written.cors.as_ref().map(|written_cors| cors(written_cors, written.grpc_web));
    if cors.is_some()
        && let Some(edits) = &written.response_headers
        && !check_apart(edits, report)
    {
        return None;
    }
    let compress = written.compress.as_ref().map(compress);
    let grpc_web = written.grpc_web;
    if cors.is_none() && compress.is_none() && edits.is_none() && !grpc_web {
        return Some(None);
    }
    let edits = edits.unwrap_or_default();
    let replaced = REPLACED.iter().filter(|_| cors.is_some()).map(|name| Box::from(*name));
    let dropped = edits.dropped.iter().cloned().chain(replaced).collect();
    Some(Some(Box::new(Answering { cors, compress, grpc_web, edits, dropped })))
}

/// What the route does to requests that it sends on; as [`answers`].
pub fn requests(scope: &Scope<'_>, report: &Report) -> Option<Option<Box<HeaderEdits>>> {
    let edits = match &scope.route().policies.answering.request_headers {
        Some(edits) if matches!(scope.route().target, config::Target::Forward(_)) => edits,
        _ => return Some(None),
    };
    compile(edits, scope, report).map(|edits| Some(Box::new(edits)))
}

/// Where copies of the route's requests go; as [`answers`].
pub fn mirror(
    scope: &Scope<'_>,
    tables: &Tables<'_>,
    report: &Report,
) -> Option<Option<Box<Mirror>>> {
    let Some(written) = &scope.route().policies.answering.mirror else { return Some(None) };
    let name = &written.to.upstream;
    let known = tables.upstreams.check(name, report);
    if !matches!(scope.route().target, config::Target::Forward(_)) {
        return Some(None);
    }
    let upstream = tables.ids.get(name.value.as_str()).copied().filter(|_| known)?;
    let target = match &written.to.target {
        Some(text) => Some(scope.compile(text, TemplateKind::Target, report)?),
        None => None,
    };
    Some(Some(Box::new(Mirror {
        to: Forward { upstream, target },
        millionths: written.millionths,
        body_bytes_max: written.body_bytes_max as usize,
        timeout: written.timeout,
    })))
}

/// What everybody gets while the route is closed.
pub fn maintenance(scope: &Scope<'_>, stock: &Stock<'_>) -> Option<Box<Maintenance>> {
    let written = scope.route().policies.answering.maintenance.as_ref()?;
    let mut lines = String::new();
    let has = |name: &str| written.headers.iter().any(|(known, _)| known == name);
    let mut put = |name: &str, value: &str| lines.extend([name, ": ", value, "\r\n"]);
    written.headers.iter().for_each(|(name, value)| put(name, value));
    if !written.retry_after.is_zero() && !has("retry-after") {
        put("retry-after", &written.retry_after.as_millis().div_ceil(1000).to_string());
    }
    if !has("cache-control") {
        put("cache-control", "no-store");
    }
    let problem = written.body.is_none();
    if !has("content-type") {
        let kind = if problem { "application/problem+json" } else { "text/plain; charset=utf-8" };
        put("content-type", kind);
    }
    let status = Status(written.status);
    let body = written.body.clone().unwrap_or_default();
    let reply = Reply {
        status,
        fields: ReplyText::Shared(lines.into_bytes().into()),
        body: ReplyText::Shared(body.into_bytes().into()),
        content_type: "",
        close: false,
    };
    let switch = written.file.as_ref().and_then(|file| stock.switch(file));
    Some(Box::new(Maintenance { switch, reply, problem, passing: written.allow.as_slice().into() }))
}

/// Two sources of one field would be two lines, and browsers take none then.
fn check_apart(edits: &config::HeaderEdits, report: &Report) -> bool {
    let names = edits.set.iter().chain(&edits.add).map(|(name, _)| name);
    let twice: Vec<&Text> = names.filter(|name| REPLACED.contains(&name.value.as_str())).collect();
    for name in &twice {
        let message = format!("`{}` is what `cors` of this route says", name.value);
        report.error(codes::RESERVED_FIELD, name.span, message);
    }
    twice.is_empty()
}

fn compile(
    written: &config::HeaderEdits,
    scope: &Scope<'_>,
    report: &Report,
) -> Option<HeaderEdits> {
    let line = |(name, value): &(Text, Text)| {
        let value = scope.compile(value, TemplateKind::Field, report)?;
        Some(Line { name: name.value.as_str().into(), value })
    };
    let lines: Vec<Option<Line>> = written.set.iter().chain(&written.add).map(line).collect();
    let lines: Option<Vec<Line>> = lines.into_iter().collect();
    let dropped = written.set.iter().map(|(name, _)| name).chain(&written.remove);
    Some(HeaderEdits {
        lines: lines?.into(),
        dropped: dropped.map(|name| name.value.as_str().into()).collect(),
        host: written.host.as_ref().map(|host| host.value.as_str().into()),
        withheld: Withheld::default(),
    })
}

fn compress(written: &config::Compress) -> Compress {
    let coding = |word: &&str| match *word {
        "zstd" => Coding::Zstd,
        "br" => Coding::Brotli,
        _ => Coding::Gzip,
    };
    let media = |text: &String| match text.split_once('*') {
        Some(("", _)) => MediaType::All,
        Some((start, "")) => MediaType::Whole(start.into()),
        Some((start, end)) => MediaType::Suffix(start.into(), end.into()),
        None => MediaType::One(text.as_str().into()),
    };
    Compress {
        codings: written.codings.iter().map(coding).collect(),
        bytes_min: written.bytes_min,
        types: written.types.iter().map(media).collect(),
        with_authorization: written.allow.contains(&"authorization"),
        with_cookie: written.allow.contains(&"cookie"),
        with_set_cookie: written.allow.contains(&"set-cookie"),
    }
}

/// What pages that speak gRPC-Web send beyond what all do, and read.
const GRPC_WEB_SENT: [&str; 3] = ["grpc-timeout", "x-grpc-web", "x-user-agent"];
const GRPC_WEB_READ: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

fn cors(written: &config::Cors, grpc_web: bool) -> Cors {
    let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let with = |texts: &[String], more: &[&str]| -> Vec<String> {
        let more = more.iter().filter(|name| grpc_web && !texts.iter().any(|text| text == *name));
        texts.iter().cloned().chain(more.map(|name| (*name).to_owned())).collect()
    };
    let exposed = match written.exposed.iter().any(|name| name == "*") {
        true => written.exposed.clone(),
        false => with(&written.exposed, &GRPC_WEB_READ),
    };
    let pattern = |origin: &Origin| match origin {
        Origin::Exact(text) => OriginPattern::Exact(text.as_str().into()),
        Origin::Below(scheme, suffix) => {
            OriginPattern::Below { scheme: scheme.as_str().into(), suffix: suffix.as_str().into() }
        }
        Origin::AnyPort(start) => OriginPattern::AnyPort(start.as_str().into()),
    };
    Cors {
        origins: match written.origins.as_slice() {
            [] => Origins::Any,
            these => Origins::These(these.iter().map(pattern).collect()),
        },
        credentials: written.credentials,
        methods: boxed(&written.methods),
        headers: match &written.headers {
            Some(names) => Headers::These(boxed(&with(names, &GRPC_WEB_SENT))),
            None => Headers::Any,
        },
        exposed: exposed.join(", ").into(),
        max_age: written.max_age.as_secs().to_string().into(),
        private_network: written.private_network,
    }
}
