//! What is written down about requests: the rules of the access log, compiled.
//!
//! A format that names what there is not never compiles: a line without its field would be noticed when it is
//! needed.

use std::time::Duration;

use crossbeam::channel::Receiver;

use crate::base::ids::RouteId;
use crate::compile::codes;
use crate::compile::report::Report;
use crate::compile::template::warn_of_log_variables;
use crate::compile::withheld;
use crate::config::diagnostic::Diagnostic;
use crate::config::{Config, LogRules as Written, Secret, Text, codes as reading, suggest};
use crate::gateway::Gateway;
use crate::observe::log_rules::{Format, HashKey, Keep, LogRules, Piece, TextField};
use crate::observe::span::{Span, SpanQueue};

/// The other end of the queue of spans, and where they are to go.
pub struct SpanFeed {
    /// Spans as cores finish them; it ends with the last version that fills it.
    pub spans: Receiver<Span>,
    /// The collector's URL.
    pub endpoint: String,
    /// `service.name`.
    pub service: String,
    /// Fields of each batch.
    pub headers: Vec<(String, Secret)>,
    /// How long the collector may take.
    pub timeout: Duration,
}

/// Where spans go. The queue of the last version goes on if the collector is the same; a new one has a feed.
pub fn spans(config: &Config, last: Option<&Gateway>) -> (Option<SpanQueue>, Option<SpanFeed>) {
    let Some(otlp) = &config.observe.otlp else { return (None, None) };
    let mut target = format!("{}\n{}\n{:?}", otlp.endpoint.value, otlp.service, otlp.timeout);
    for (name, value) in &otlp.headers {
        target.extend(["\n", name, ": ", value.expose()]);
    }
    let known = last.and_then(|last| last.record.spans());
    if let Some(again) = known.and_then(|known| known.again(&target, otlp.millionths)) {
        return (Some(again), None);
    }
    let (queue, spans) = SpanQueue::new(&target, otlp.millionths);
    let feed = SpanFeed {
        spans,
        endpoint: otlp.endpoint.value.clone(),
        service: otlp.service.clone(),
        headers: otlp.headers.clone(),
        timeout: otlp.timeout,
    };
    (Some(queue), Some(feed))
}

/// The rules; `None` where the usual line is written, or after an error.
pub fn rules(config: &Config, report: &Report) -> Option<LogRules> {
    let written = config.observe.log_rules.as_ref()?;
    let format = format(&written.format, report);
    check_secrets(written, config, format.as_ref(), report);
    let routes = routes(written, config, report);
    let keep = |list: &[(Text, &'static str)]| {
        let named = list.iter().filter(|(name, _)| name.value != "*");
        named.map(|(name, keep)| (name.value.as_str().into(), keep_of(keep))).collect::<Vec<_>>()
    };
    let others = written.query.iter().find(|(name, _)| name.value == "*");
    let query_others = others.map_or(Keep::Drop, |(_, keep)| keep_of(keep));
    let mut query: Vec<(Box<str>, Keep)> = keep(&written.query);
    // What a table calls a credential is no longer one of the others.
    for name in withheld::query_names(config).filter(|_| query_others == Keep::Keep) {
        if query.iter().all(|(known, _)| **known != *name) {
            query.push((name.into(), Keep::Drop));
        }
    }
    Some(LogRules {
        format: format?,
        headers: keep(&written.headers).into(),
        query: query.into(),
        query_others,
        identity: keep_of(written.identity),
        hash_key: written.hash_key.as_ref().map(|key| HashKey::new(key.expose().as_bytes())),
        millionths: written.millionths,
        statuses: written.statuses.as_slice().into(),
        routes: routes?.into(),
        slower_than_micros: written.slower_than_micros,
    })
}

/// Fields that prove who somebody is.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// A credential gets into the log by no slip: a format that names one without a rule is refused, a rule that
/// keeps one is warned of. So is a field that limits count by, since clients are told apart by what it holds.
fn check_secrets(written: &Written, config: &Config, format: Option<&Format>, report: &Report) {
    let help = "have its keyed hash written: `fields = { headers = { NAME = \"hash\" }, \
                hash_key = \"${file:/run/secrets/log-key}\" }`";
    let counted_by = |name: &str| {
        let text = format!("{{header.{name}");
        config.limits.iter().any(|limit| limit.key.value.to_ascii_lowercase().contains(&text))
    };
    let is_credential =
        |name: &str| CREDENTIALS.contains(&name) || withheld::is_field(config, name);
    for (name, keep) in &written.query {
        if *keep == "keep" && withheld::query_names(config).any(|known| known == name.value) {
            let message = format!("`{}` is a credential, and it is written as it is", name.value);
            report.push(Diagnostic::warning(codes::SECRET_LOGGED, name.span, message).help(help));
        }
    }
    for (name, keep) in &written.headers {
        let is_credential = is_credential(&name.value);
        if *keep == "keep" && (is_credential || counted_by(&name.value)) {
            let what = if is_credential { "a credential" } else { "what a limit knows clients by" };
            let message = format!("`{}` is {what}, and it is written as it is", name.value);
            report.push(Diagnostic::warning(codes::SECRET_LOGGED, name.span, message).help(help));
        }
    }
    let Some(Format::Template(pieces)) = format else { return };
    for piece in pieces {
        let Piece::Header(field) = piece else { continue };
        if written.headers.iter().any(|(known, _)| known.value == **field) {
            continue;
        }
        let span = written.format.span;
        if is_credential(field) {
            let message = format!("`{{header.{field}}}` writes a credential into the log");
            report.push(Diagnostic::error(reading::BAD_LOG, span, message).help(help));
        } else if counted_by(field) {
            let message = format!("`{{header.{field}}}` is what a limit knows clients by");
            report.push(Diagnostic::warning(codes::SECRET_LOGGED, span, message).help(help));
        }
    }
}

fn keep_of(word: &str) -> Keep {
    match word {
        "keep" => Keep::Keep,
        "hash" => Keep::Hash,
        _ => Keep::Drop,
    }
}

fn routes(written: &Written, config: &Config, report: &Report) -> Option<Vec<RouteId>> {
    let names = || config.routes.iter().map(|route| route.name.value.as_str());
    let find = |name: &Text| {
        let found = names().position(|known| known == name.value);
        if found.is_none() {
            let message = format!("there is no route named `{}`", name.value);
            let near = suggest::nearest(&name.value, names());
            let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, name.span, message);
            report.push(diagnostic.suggest(near, "no route has this name"));
        }
        found.map(|index| RouteId(index as u32))
    };
    let found: Vec<Option<RouteId>> = written.routes.iter().map(find).collect();
    found.into_iter().collect()
}

fn format(text: &Text, report: &Report) -> Option<Format> {
    match text.value.as_str() {
        "json" => return Some(Format::Json),
        "combined" => return Some(Format::Combined),
        _ => {}
    }
    warn_of_log_variables(text, report);
    let mut pieces = Vec::new();
    let mut good = true;
    let mut rest = text.value.as_str();
    while let Some(open) = rest.find('{') {
        put(&mut pieces, &rest[..open]);
        let at = text.value.len() - rest.len() + open;
        let Some(length) = rest[open..].find('}') else {
            let span = report.inside(text, at..at + 1);
            report.error(reading::BAD_LOG, span, "`{` without `}`");
            return None;
        };
        let name = &rest[open + 1..open + length];
        match piece(name) {
            Some(piece) => pieces.push(piece),
            None => {
                good = false;
                let span = report.inside(text, at..at + length + 1);
                let names = || TextField::ALL.iter().map(|(name, _)| *name);
                let message = format!("a line has no field `{name}`");
                let diagnostic = Diagnostic::error(reading::BAD_LOG, span, message)
                    .suggest(suggest::nearest(name, names()), "");
                let all: Vec<&str> = names().collect();
                report.push(diagnostic.note(format!("it has: {}, header.NAME", all.join(", "))));
            }
        }
        rest = &rest[open + length + 1..];
    }
    put(&mut pieces, rest);
    good.then(|| Format::Template(pieces.into()))
}

fn put(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        // A line ends where its request ends, and nowhere else.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        pieces.push(Piece::Text(text.into_bytes().into()));
    }
}

fn piece(name: &str) -> Option<Piece> {
    if let Some(header) = name.strip_prefix("header.") {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let good = !header.is_empty() && header.bytes().all(token);
        return good.then(|| Piece::Header(header.to_ascii_lowercase().into()));
    }
    let found = TextField::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, field)| Piece::Field(*field))
}
