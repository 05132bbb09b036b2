//! `[[route]]`: a match, one target, policies.
//!
//! A route has exactly one target; which one is never guessed from what else is there.

use crate::config::aggregate::{self, Call, Part};
use crate::config::answering;
use crate::config::cache;
use crate::config::codes;
use crate::config::connect;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::language::{PASS, REDIRECT, RESPOND, ROUTE};
use crate::config::matching::{self, Match, When};
use crate::config::policy::{Policies, Stated};
use crate::config::reader::{Reader, text_of};
use crate::config::span::{Span, Spanned, Text};
use crate::config::stream;
use crate::config::tree::{Entry, Kind, Log, Node};
use crate::config::units::shown_duration;
use crate::config::view::{self, View};

/// One way through the gateway.
#[derive(Clone, Debug)]
pub struct Route {
    /// The label in logs and metrics. Default: the text of the match.
    pub name: Text,
    /// Which requests it is for.
    pub matches: Match,
    /// Further conditions.
    pub when: When,
    /// Where it leads.
    pub target: Target,
    /// What holds for it, defaults filled in.
    pub policies: Policies,
    /// What goes to the parts of a merge.
    pub pass: Pass,
    /// Whether a merged answer has an entity tag. Default: no.
    pub etag: bool,
    /// Whether a merged answer goes out while optional parts are still asked. Default: no.
    pub stream: bool,
    /// Whether a merged answer tells how long each part took. Default: no.
    pub server_timing: bool,
    /// What kinds of clients get of a merge, in the order of the file.
    pub views: Vec<View>,
    /// What a failed optional part of a merge does: `answer` or `fail`. Default: `answer`.
    pub on_partial: &'static str,
    /// The table.
    pub span: Span,
}

/// Where a route leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// To an upstream.
    Forward(Call),
    /// To several, merged, in the order of the answer.
    Merge(Vec<Part>),
    /// To another address.
    Redirect(Redirect),
    /// Nowhere: a fixed answer.
    Respond(Respond),
}

/// Another address for the client.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The address; a template. `None`: the client's path.
    pub to: Option<Text>,
    /// Another scheme.
    pub scheme: Option<&'static str>,
    /// Another host.
    pub host: Option<Text>,
    /// Whether the client's query goes on. Default: yes.
    pub keep_query: bool,
    /// 301, 302, 303, 307 or 308. Default: 307.
    pub status: u16,
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub struct Respond {
    /// 200–599. Default: 200.
    pub status: u16,
    /// The body; empty by default.
    pub body: String,
    /// Fields, names in lower case; a `content-type` is there if there is a body.
    pub headers: Vec<(String, String)>,
}

/// What of the client's request goes to the parts of a merge.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Field names, in lower case.
    pub headers: Vec<Text>,
    /// Query parameters.
    pub query: Vec<Text>,
}

/// The keys that are targets.
const TARGETS: [&str; 4] = ["forward", "merge", "redirect", "respond"];
/// The statuses of a redirect (RFC 9110 §15.4).
const STATUSES: [i64; 5] = [301, 302, 303, 307, 308];

/// Reads one `[[route]]`; `None` without a match or a target: then its policies go to `loose`.
pub(super) fn read(
    node: &Node,
    default: &Stated,
    loose: &mut Vec<Policies>,
    log: &Log,
) -> Option<Route> {
    let reader = Reader::open(&ROUTE, node, log)?;
    let policies = Stated::read(&reader).over(default);
    let when = reader.node("when").and_then(|when| matching::read_when(when, log));
    let pass = reader.table("pass", &PASS).map(|table| read_pass(&table));
    let name = reader.text("name").filter(|name| check_name(name, log));
    if reader.node("match").is_none() {
        reader.missing("match", "write `match = \"GET /path\"`");
    }
    let matches = reader.text("match").and_then(|text| matching::read(text, log));
    let target = read_target(&reader);
    let views = reader.entry("view").map(|entry| {
        let entries = reader.named("view").unwrap_or_default();
        view::read(entries, entry.key.span, log)
    });
    let on_partial = reader.choice("on_partial");
    let is_set = |key| reader.boolean(key).is_some_and(|word| word.value);
    let (etag, stream, server_timing) = (is_set("etag"), is_set("stream"), is_set("server_timing"));
    if target.as_ref().is_some_and(|target| !matches!(target, Target::Merge(_))) {
        refuse_merge_keys(&reader);
    }
    if let (Some(entry), Some(target)) = (reader.entry("buffer_request"), &target)
        && !matches!(target, Target::Forward(_))
    {
        let message = "`buffer_request` means nothing here: no body is sent on";
        let diagnostic = Diagnostic::error(codes::WRONG_TARGET, entry.key.span, message);
        log.push(diagnostic.help("it is for routes that `forward`"));
    }
    if target.as_ref().is_some_and(|target| !matches!(target, Target::Forward(_))) {
        let why = "nothing of the request is sent on";
        answering::only_forwarded(&reader, "request_headers", why);
        answering::only_forwarded(&reader, "mirror", why);
        answering::only_forwarded(&reader, "grpc_web", why);
    }
    match &target {
        Some(Target::Merge(_)) => cache::check_merge(&reader, stream, server_timing),
        Some(Target::Forward(_)) | None => {}
        Some(_) => {
            let why = "an answer that is made here costs no more than a stored one";
            answering::only_forwarded(&reader, "cache", why);
        }
    }
    if let (Some(entry), Some(target)) = (reader.entry("upgrade"), &target)
        && !matches!(target, Target::Forward(_))
    {
        let message = "`upgrade` means nothing here: only a `forward` can leave HTTP";
        let diagnostic = Diagnostic::error(codes::WRONG_TARGET, entry.key.span, message);
        log.push(diagnostic.help("remove it: every other answer is made in HTTP"));
    }
    if let Some(Target::Merge(parts)) = &target {
        check_timeouts(parts, &policies, log);
        if stream {
            stream::check(&reader, parts, etag, on_partial.as_ref().map(|word| word.value));
        }
    }
    if let (Some(matches), Some(target)) = (&matches, &target) {
        connect::check(&reader, matches, target);
    }
    let (Some(matches), Some(target)) = (matches, target) else {
        loose.push(policies);
        return None;
    };
    Some(Route {
        name: name.unwrap_or_else(|| matches.text.clone()),
        when: when.unwrap_or_default(),
        pass: pass.unwrap_or_default(),
        etag,
        stream,
        server_timing,
        views: views.unwrap_or_default(),
        on_partial: on_partial.map_or(defaults::ON_PARTIAL, |word| word.value),
        span: node.span,
        matches,
        target,
        policies,
    })
}

/// Keys that mean something beside `merge` only.
fn refuse_merge_keys(reader: &Reader<'_>) {
    let keys = ["pass", "view", "on_partial", "etag", "stream", "server_timing"];
    for entry in keys.into_iter().filter_map(|key| reader.entry(key)) {
        let key = entry.key.value.as_str();
        let message = match key {
            "pass" => "`pass` means nothing here: it is for the parts of a `merge`".to_owned(),
            key => format!("`{key}` means nothing here: it is for the answer of a `merge`"),
        };
        let diagnostic = Diagnostic::error(codes::WRONG_TARGET, entry.key.span, message);
        reader.log.push(match key {
            "pass" => diagnostic.help("`forward` passes every field but those of the connection"),
            _ => diagnostic,
        });
    }
}

fn check_name(name: &Text, log: &Log) -> bool {
    let good = !name.value.is_empty() && !name.value.chars().any(char::is_control);
    if !good {
        log.error(codes::BAD_NAME, name.span, "a route's name is a line of text");
    }
    good
}

fn read_pass(reader: &Reader<'_>) -> Pass {
    let headers = fields::names(reader.texts("headers"), reader.log);
    Pass { headers, query: reader.texts("query") }
}

/// The one target of a route.
fn read_target(reader: &Reader<'_>) -> Option<Target> {
    let mut given: Vec<&Entry> = TARGETS.into_iter().filter_map(|key| reader.entry(key)).collect();
    given.sort_by_key(|entry| entry.key.span);
    let [only] = given.as_slice() else {
        if given.is_empty() && reader.is_misspelt(&TARGETS) {
            return None;
        }
        reader.log.push(not_one(reader, &given));
        // What is inside of each is read for its mistakes all the same.
        for entry in &given {
            read_one_target(reader, entry);
        }
        return None;
    };
    read_one_target(reader, only)
}

fn not_one(reader: &Reader<'_>, given: &[&Entry]) -> Diagnostic {
    let Some((first, others)) = given.split_first() else {
        return Diagnostic::error(codes::NO_TARGET, reader.place, "this route leads nowhere")
            .note("one of these must be there: forward, merge, redirect, respond");
    };
    let message = "this route has several targets: it leads to exactly one";
    let diagnostic = Diagnostic::error(codes::SEVERAL_TARGETS, first.key.span, message);
    others.iter().fold(diagnostic, |all, other| all.also(other.key.span, "and another"))
}

fn read_one_target(reader: &Reader<'_>, entry: &Entry) -> Option<Target> {
    let log = reader.log;
    match entry.key.value.as_str() {
        "forward" => {
            let text = reader.text("forward")?;
            aggregate::read_call(&text, false, log).map(Target::Forward)
        }
        "merge" => {
            let parts = reader.named("merge")?;
            Some(Target::Merge(aggregate::read(parts, entry.key.span, log)))
        }
        "redirect" => read_redirect(&entry.node, log).map(Target::Redirect),
        _ => Reader::open(&RESPOND, &entry.node, log)
            .map(|table| Target::Respond(read_respond(&table))),
    }
}

fn read_redirect(node: &Node, log: &Log) -> Option<Redirect> {
    let status = defaults::REDIRECT_STATUS;
    if matches!(node.kind, Kind::Text(_)) {
        let to = check_address(text_of(node, log, "an address")?, false, log)?;
        return Some(Redirect { to: Some(to), scheme: None, host: None, keep_query: true, status });
    }
    let reader = Reader::open(&REDIRECT, node, log)?;
    let (scheme, host) = (reader.choice("scheme"), reader.text("host"));
    let in_part = scheme.is_some() || host.is_some();
    let keep_query = reader.choice("query").is_none_or(|word| word.value == "keep");
    if reader.node("to").is_none() && !in_part {
        reader.missing("to", "write `redirect = { to = \"/new/{path.rest}\", status = 308 }`");
    }
    let chosen = reader.integer("status").filter(|status| check_status(status, log));
    let to = match reader.text("to") {
        Some(to) => Some(check_address(to, in_part, log)?),
        None if in_part && reader.node("to").is_none() => None,
        None => return None,
    };
    if let Some(host) = &host
        && !check_host(host, log)
    {
        return None;
    }
    Some(Redirect {
        to,
        scheme: scheme.map(|scheme| scheme.value),
        host,
        keep_query,
        status: chosen.map_or(status, |chosen| chosen.value as u16),
    })
}

/// An address that is one; beside a scheme or a host it is a path.
fn check_address(to: Text, in_part: bool, log: &Log) -> Option<Text> {
    if to.value.trim().is_empty() {
        log.error(codes::BAD_CALL, to.span, "the address is missing");
        return None;
    }
    if in_part && !to.value.starts_with('/') {
        let message = "beside `scheme` or `host`, `to` is a path";
        let diagnostic = Diagnostic::error(codes::BAD_CALL, to.span, message);
        log.push(diagnostic.help("begin it with `/`, or write the whole address in `to` alone"));
        return None;
    }
    fields::check_value(&to, log).then_some(to)
}

fn check_host(host: &Text, log: &Log) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let good = !host.value.is_empty() && host.value.bytes().all(fine);
    if !good {
        let diagnostic = Diagnostic::error(codes::BAD_CALL, host.span, "this is not a host");
        log.push(diagnostic.help("a name or an address, perhaps with a port, without templates"));
    }
    good
}

fn check_status(status: &Spanned<i64>, log: &Log) -> bool {
    let good = STATUSES.contains(&status.value);
    if !good {
        let message = format!("{} is not a redirect that clients follow", status.value);
        let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, status.span, message);
        log.push(diagnostic.note("valid here: 301, 302, 303, 307, 308"));
    }
    good
}

fn read_respond(reader: &Reader<'_>) -> Respond {
    let status = reader.integer("status");
    let body = reader.text("body");
    let code = status.as_ref().map_or(defaults::RESPOND_STATUS, |status| status.value as u16);
    if let Some(body) = body.as_ref().filter(|body| !body.value.is_empty())
        && matches!(code, 204 | 205 | 304)
    {
        let message = format!("an answer with status {code} has no body (RFC 9110 §15)");
        reader.error(codes::WRONG_TARGET, body.span, message);
    }
    let body = body.map_or_else(String::new, |body| body.value);
    let sent = fields::to_send(reader.fields("headers"), reader.log);
    let mut headers: Vec<(String, String)> =
        sent.into_iter().map(|(name, value)| (name.value, value.value)).collect();
    if !body.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".into(), "text/plain; charset=utf-8".into()));
    }
    Respond { status: code, body, headers }
}

/// A part cannot take longer than its route: the larger number would never hold.
fn check_timeouts(parts: &[Part], policies: &Policies, log: &Log) {
    let total = &policies.timeout;
    for part in parts {
        let Some(timeout) = part.timeout.as_ref().filter(|timeout| timeout.value > total.value)
        else {
            continue;
        };
        let message = format!(
            "the part `{}` may take {}, its route only {}",
            part.name.value,
            shown_duration(timeout.value),
            shown_duration(total.value)
        );
        let diagnostic = Diagnostic::error(codes::PART_TIMEOUT, timeout.span, message);
        log.push(if total.span.is_built_in() {
            diagnostic.help("the route has no `timeout` of its own: give it one")
        } else {
            diagnostic.also(total.span, "the route's timeout")
        });
    }
}
