//! `request_headers`, `response_headers`: fields that are set, added, removed.
//!
//! Fields of the framing and of one hop, and those that the gateway writes itself, are never taken from a
//! configuration: an edit that could change where a message ends, or who a client is, would undo what the rest
//! of the gateway promises (RFC 9110 §7.6.1, RFC 9112 §6).

use crate::base::limits::EDITS_PER_ROUTE_MAX;
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::language::{REQUEST_EDITS, RESPONSE_EDITS};
use crate::config::reader::{Reader, text_of, wrong_type};
use crate::config::span::Text;
use crate::config::tree::{Entry, Kind, Node};

/// Edits of one direction; names in lower case.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    /// Lines that replace all of that name.
    pub set: Vec<(Text, Text)>,
    /// Lines that are added.
    pub add: Vec<(Text, Text)>,
    /// Names whose lines are left out.
    pub remove: Vec<Text>,
    /// The Host of requests.
    pub host: Option<Text>,
}

/// What the gateway says of the client and of the request, in its own words.
const WRITTEN_OF_REQUESTS: [&str; 12] = [
    "expect",
    "forwarded",
    "max-forwards",
    "traceparent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
];

/// Reads `request_headers`.
pub(super) fn read_request(outer: &Reader<'_>, node: &Node) -> Option<HeaderEdits> {
    let reader = Reader::open(&REQUEST_EDITS, node, outer.log)?;
    let mut edits = read(&reader);
    let at = edits.set.iter().position(|(name, _)| name.value == "host");
    edits.host = at.map(|at| edits.set.remove(at).1);
    if let Some(host) = &edits.host {
        check_host(&reader, host);
    }
    let names = edits.set.iter().chain(&edits.add).map(|(name, _)| name).chain(&edits.remove);
    for name in
        names.filter(|name| WRITTEN_OF_REQUESTS.contains(&fields::as_cgi(&name.value).as_str()))
    {
        let message = format!("`{}` is written by the gateway itself", name.value);
        let diagnostic = Diagnostic::error(codes::BAD_EDIT, name.span, message);
        reader.log.push(diagnostic.help(
            "origins may rely on it: it says what this gateway knows of the client and the request",
        ));
    }
    check(&reader, &edits);
    Some(edits)
}

/// Reads `response_headers`.
pub(super) fn read_response(outer: &Reader<'_>, node: &Node) -> Option<HeaderEdits> {
    let reader = Reader::open(&RESPONSE_EDITS, node, outer.log)?;
    let edits = read(&reader);
    let names = edits.set.iter().chain(&edits.add).map(|(name, _)| name).chain(&edits.remove);
    for name in names.filter(|name| fields::as_cgi(&name.value) == "content-encoding") {
        let message = "`content-encoding` says how the body is to be read";
        let diagnostic = Diagnostic::error(codes::BAD_EDIT, name.span, message);
        reader
            .log
            .push(diagnostic.help("only who codes the body knows: the origin, or `compress`"));
    }
    check(&reader, &edits);
    Some(edits)
}

fn read(reader: &Reader<'_>) -> HeaderEdits {
    let request = std::ptr::eq(reader.section, &raw const REQUEST_EDITS);
    let (host, set): (Vec<_>, Vec<_>) = reader
        .fields("set")
        .into_iter()
        .partition(|(name, _)| request && name.value.eq_ignore_ascii_case("host"));
    let host = host.into_iter().map(|(name, value)| (name.map(|_| "host".to_owned()), value));
    let mut set = fields::to_send(set, reader.log);
    set.extend(host);
    let add = fields::to_send(read_added(reader), reader.log);
    let mut remove = fields::names(reader.texts("remove"), reader.log);
    remove.retain(|name| {
        fields::check_own(name, reader.log) && fields::check_alike(name, reader.log)
    });
    HeaderEdits { set, add, remove, host: None }
}

/// Names with one text each, or with several.
fn read_added(reader: &Reader<'_>) -> Vec<(Text, Text)> {
    let mut added = Vec::new();
    for Entry { key, node } in reader.named("add").unwrap_or_default() {
        match &node.kind {
            Kind::Array(list) => {
                let texts = list.iter().filter_map(|item| text_of(item, reader.log, "a text"));
                added.extend(texts.map(|text| (key.clone(), text)));
            }
            Kind::Text(text) => added.push((key.clone(), Text::new(text.clone(), node.span))),
            _ => wrong_type(reader.log, node, "a text or a list of texts", ""),
        }
    }
    added
}

fn check_host(reader: &Reader<'_>, host: &Text) {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.value.is_empty() || !host.value.bytes().all(fine) {
        let message = "this is not a host";
        let diagnostic = Diagnostic::error(codes::BAD_EDIT, host.span, message);
        reader.log.push(diagnostic.help(
            "a name or an address, perhaps with a port, without templates: `api.internal:8080`",
        ));
    }
}

/// One word for each name, and not too many.
fn check(reader: &Reader<'_>, edits: &HeaderEdits) {
    let set = || edits.set.iter().map(|(name, _)| name);
    for (index, name) in set().enumerate() {
        if let Some(first) = set().take(index).find(|first| first.value == name.value) {
            let message = format!("`{}` is set twice", name.value);
            let diagnostic = Diagnostic::error(codes::DUPLICATE, name.span, message);
            reader.log.push(diagnostic.also(first.span, "first set here"));
        }
    }
    for name in &edits.remove {
        if let Some(first) = set().find(|first| first.value == name.value) {
            let message = format!("`{}` is set and removed", name.value);
            let diagnostic = Diagnostic::error(codes::BAD_EDIT, name.span, message);
            let advice = "`set` replaces what was received; `remove` and `add` together do, too";
            reader.log.push(diagnostic.also(first.span, "set here").help(advice));
        }
    }
    if edits.set.len() + edits.add.len() > EDITS_PER_ROUTE_MAX {
        let message = format!("a route sets and adds at most {EDITS_PER_ROUTE_MAX} fields");
        reader.error(codes::OUT_OF_RANGE, reader.place, message);
    }
    let empty = edits.set.is_empty() && edits.add.is_empty() && edits.remove.is_empty();
    if empty
        && edits.host.is_none()
        && ["set", "add", "remove"].iter().all(|key| reader.node(key).is_none())
    {
        let message = "this changes nothing";
        let diagnostic = Diagnostic::error(codes::BAD_EDIT, reader.place, message);
        reader.log.push(
            diagnostic
                .help("write `set`, `add` or `remove`, or `\"none\"` to opt out of `[default]`"),
        );
    }
}
