//! The parts of a `merge`: one call each, and what becomes of its answer.
//!
//! Parts keep the order of the file: it is the order of the answer's keys. Templates are kept as texts
//! with their places; `compile` takes them apart. A part must never be sent anything that it does not
//! name (CONFIG.md rule 8), so there is no default for its fields.

use std::time::Duration;

use serde_json::Value;

use crate::base::limits::{EACH_AT_ONCE, EACH_ELEMENTS, PARTS_MAX};
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::hedge;
use crate::config::json::to_json;
use crate::config::language::{EACH, PART, PART_CACHE};
use crate::config::reader::{Reader, text_of, wrong_type};
use crate::config::shaping::{self, Shaping};
use crate::config::span::{Span, Spanned, Text};
use crate::config::suggest::nearest;
use crate::config::tree::{Entry, Kind, Log, Node};

/// One call of a merge.
#[derive(Clone, Debug)]
pub struct Part {
    /// The key in the answer.
    pub name: Text,
    /// The call's method.
    pub method: PartMethod,
    /// Upstream and target template.
    pub call: Call,
    /// How long it may take; `None`: as long as the route.
    pub timeout: Option<Spanned<Duration>>,
    /// What stands in when it fails; `None`: the part is required.
    pub fallback: Option<Spanned<Value>>,
    /// What becomes of the answer.
    pub shaping: Shaping,
    /// Content codings that its answer may come in, as Accept-Encoding names them.
    pub codings: Vec<Text>,
    /// Fields of its answer that go to the client, in lower case.
    pub headers: Vec<Text>,
    /// Fields sent with the call: names in lower case, values are templates.
    pub request_headers: Vec<(Text, Text)>,
    /// The JSON sent with it; its texts are templates.
    pub body: Option<Spanned<Value>>,
    /// What it is called for, time and again.
    pub each: Option<Each>,
    /// Whether the client's body is sent with it; `body` is `None` then.
    pub client_body: bool,
    /// Whether its problem document goes to the client.
    pub problem_passed: bool,
    /// How long its answers are used again.
    pub cache: Option<PartCache>,
    /// How long its last answer stands in when it fails; zero: not at all.
    pub else_stale: Duration,
    /// How many of a hundred calls may be sent a second time when they are late; the outer `None`: as the route
    /// says, if it is a `get`.
    pub hedge: Option<Option<u32>>,
}

/// How long answers of a part are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartCache {
    /// As the origin says.
    Origin,
    /// As the configuration says.
    Set {
        /// How long it is fresh.
        ttl: Duration,
        /// How long after that it is used while a new one is fetched.
        stale_while_revalidate: Duration,
        /// How long after that it may stand in for a failure.
        stale_if_error: Duration,
    },
}

/// The elements that a part is called for.
#[derive(Clone, Debug)]
pub struct Each {
    /// A reference to another part, with a `[*]`.
    pub of: Text,
    /// Distinct elements at most. Default: `EACH_ELEMENTS`.
    pub elements_max: usize,
    /// Calls at once. Default: `EACH_AT_ONCE`.
    pub at_once: usize,
    /// Elements of one call at most; `None`: each has its own.
    pub batch: Option<Spanned<usize>>,
    /// Which member tells the elements of an answer apart; there if `batch` is.
    pub by: Option<Text>,
    /// The member next to an element that its answer becomes.
    pub into: Option<Text>,
}

/// Methods of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the methods of RFC 9110 §9.3 and RFC 5789")]
pub enum PartMethod {
    Get,
    Post,
    Put,
    Patch,
}

/// `"UPSTREAM PATH"`, taken apart.
#[derive(Clone, Debug)]
pub struct Call {
    /// The upstream's name.
    pub upstream: Text,
    /// The target's template, with its query; it begins with `/`. `None` only for `forward`: the request
    /// target goes on as it came.
    pub target: Option<Text>,
}

/// The methods and their keys.
const METHODS: [(&str, PartMethod); 4] = [
    ("get", PartMethod::Get),
    ("post", PartMethod::Post),
    ("put", PartMethod::Put),
    ("patch", PartMethod::Patch),
];

/// Reads `merge`.
pub(super) fn read(entries: &[Entry], place: Span, log: &Log) -> Vec<Part> {
    if entries.is_empty() {
        log.error(codes::NO_TARGET, place, "a merge has at least one part");
    }
    if entries.len() > PARTS_MAX {
        let message = format!("a merge has at most {PARTS_MAX} parts");
        log.error(codes::OUT_OF_RANGE, place, message);
    }
    entries.iter().filter_map(|entry| read_part(entry, log)).collect()
}

fn read_part(entry: &Entry, log: &Log) -> Option<Part> {
    if matches!(entry.node.kind, Kind::Text(_)) {
        let advice = "write `{ get = \"UPSTREAM /path\" }`";
        wrong_type(log, &entry.node, "a table", advice);
        return None;
    }
    let reader = Reader::open(&PART, &entry.node, log)?;
    let body = reader.node("body").and_then(|node| json_value(node, log));
    let fallback = reader.node("else").and_then(|node| json_value(node, log));
    let timeout = reader.duration("timeout");
    let shaping = shaping::read(&reader);
    let codings = read_codings(&reader);
    let headers = fields::names(reader.texts("headers"), log);
    let request_headers = fields::to_send(reader.fields("request_headers"), log);
    let each = reader.node("each").and_then(|node| read_each(node, log));
    let problem = reader.choice("problem");
    let cache = reader.node("cache").and_then(|node| read_cache(&reader, node, log));
    let hedge = hedge::read(&reader);
    let else_stale = reader.duration("else_stale").map_or(Duration::ZERO, |stale| stale.value);
    let (method, call) = read_method(&reader, entry)?;
    if let Some(body) = body.as_ref().filter(|_| method == PartMethod::Get) {
        let message = "a `get` has no body (RFC 9110 §9.3.1)";
        let diagnostic = Diagnostic::error(codes::BAD_PART, body.span, message);
        log.push(diagnostic.help("use `post`, `put` or `patch`"));
    }
    if method != PartMethod::Get {
        refuse_beside_others(&reader);
    }
    if let (Some(problem), Some(fallback)) = (&problem, &fallback) {
        let message = "the problem of an optional part is never the answer's";
        let diagnostic = Diagnostic::error(codes::BAD_PART, problem.span, message);
        log.push(diagnostic.also(fallback.span, "this makes it optional"));
    }
    let is_clients =
        |body: &Spanned<Value>| body.value.as_str().is_some_and(|text| text == CLIENT_BODY);
    let client_body = body.as_ref().is_some_and(is_clients);
    Some(Part {
        name: entry.key.clone(),
        method,
        call,
        timeout,
        fallback,
        shaping,
        codings,
        headers,
        request_headers,
        body: body.filter(|body| !is_clients(body)),
        each,
        client_body,
        problem_passed: problem.is_some_and(|word| word.value == "pass"),
        cache,
        else_stale,
        hedge: hedge.map(|percent| percent.map(|percent| percent.value)),
    })
}

/// Keys that only a `get` can have.
fn refuse_beside_others(reader: &Reader<'_>) {
    for (key, why) in [
        ("cache", "answers to other methods are not used again"),
        ("else_stale", "answers to other methods are not used again"),
        ("hedge", "other methods are not sent twice (RFC 9110 §9.2.1)"),
    ] {
        if let Some(entry) = reader.entry(key) {
            let message = format!("`{key}` is for a `get`: {why}");
            reader.log.error(codes::BAD_PART, entry.key.span, message);
        }
    }
}

/// Reads `cache`, a word or a table.
fn read_cache(reader: &Reader<'_>, node: &Node, log: &Log) -> Option<PartCache> {
    if let Kind::Text(_) = node.kind {
        let word = text_of(node, log, "`\"origin\"` or a table")?;
        if word.value == "origin" {
            return Some(PartCache::Origin);
        }
        let message = format!("`{}` is no way to use answers again", word.value);
        let diagnostic = Diagnostic::error(codes::NOT_ONE_OF, word.span, message);
        log.push(diagnostic.help("write `\"origin\"` or `{ ttl = \"1m\" }`"));
        return None;
    }
    let table = reader.table("cache", &PART_CACHE)?;
    if table.node("ttl").is_none() {
        table.missing("ttl", "write `cache = { ttl = \"1m\" }`, or `cache = \"origin\"`");
    }
    let duration = |key| table.duration(key).map(|duration| duration.value);
    let (while_revalidating, if_error) =
        (duration("stale_while_revalidate"), duration("stale_if_error"));
    Some(PartCache::Set {
        ttl: duration("ttl")?,
        stale_while_revalidate: while_revalidating.unwrap_or_default(),
        stale_if_error: if_error.unwrap_or_default(),
    })
}

/// Reads `each`, a text or a table.
fn read_each(node: &Node, log: &Log) -> Option<Each> {
    let (elements_max, at_once) = (EACH_ELEMENTS, EACH_AT_ONCE);
    if !matches!(node.kind, Kind::Table(_)) {
        let of = text_of(node, log, "a text or a table")?;
        return Some(Each { of, elements_max, at_once, batch: None, by: None, into: None });
    }
    let reader = Reader::open(&EACH, node, log)?;
    if reader.node("of").is_none() {
        reader.missing("of", "write `of = \"{part.orders[*].user_id}\"`");
    }
    let number = |key, usual| reader.integer(key).map_or(usual, |number| number.value as usize);
    let (elements_max, at_once) = (number("max", elements_max), number("at_once", at_once));
    let batch = reader.integer("batch");
    let batch = batch.map(|size| Spanned::new(size.value as usize, size.span));
    let by = reader.text("by");
    let given = |key| reader.node(key).is_some();
    if let Some(by) = by.as_ref().filter(|_| !given("batch")) {
        let message = "`by` tells the elements of one answer apart: it needs `batch`";
        let diagnostic = Diagnostic::error(codes::BAD_PART, by.span, message);
        log.push(diagnostic.help("write `batch = 50`, or leave `by` out"));
    } else if given("batch") && !given("by") {
        reader.missing("by", "name what tells the elements of an answer apart: `by = \"id\"`");
    }
    let into = reader.text("into");
    if let Some(into) = into.as_ref().filter(|into| into.value.is_empty()) {
        log.error(codes::BAD_PART, into.span, "a name is missing");
    }
    Some(Each { of: reader.text("of")?, elements_max, at_once, batch, by, into })
}

/// The body that is the client's.
const CLIENT_BODY: &str = "{request.body}";

fn json_value(node: &Node, log: &Log) -> Option<Spanned<Value>> {
    to_json(node, log).map(|value| Spanned::new(value, node.span))
}

/// The content codings of RFC 9110 §8.4.1 that can be undone.
const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn read_codings(reader: &Reader<'_>) -> Vec<Text> {
    let mut codings = reader.texts("accept_encoding");
    codings.retain(|coding| {
        let known = CODINGS.contains(&coding.value.as_str());
        if !known {
            let message = format!("`{}` is not a coding that can be undone here", coding.value);
            let diagnostic = Diagnostic::error(codes::NOT_ONE_OF, coding.span, message);
            let near = nearest(&coding.value, CODINGS.iter().copied());
            reader.log.push(diagnostic.suggest(near, "").help("one of `gzip`, `br`, `zstd`"));
        }
        known
    });
    codings
}

/// The one method of a part and its call.
fn read_method(reader: &Reader<'_>, entry: &Entry) -> Option<(PartMethod, Call)> {
    let given: Vec<(&Entry, PartMethod)> =
        METHODS.iter().filter_map(|(key, method)| Some((reader.entry(key)?, *method))).collect();
    match given.as_slice() {
        [] => {
            let message = format!("the part `{}` calls nothing", entry.key.value);
            let diagnostic = Diagnostic::error(codes::BAD_PART, entry.key.span, message);
            reader.log.push(diagnostic.help("write `get = \"UPSTREAM /path\"`"));
            None
        }
        [(only, method)] => {
            let text = reader.text(&only.key.value)?;
            Some((*method, read_call(&text, true, reader.log)?))
        }
        [(first, _), others @ ..] => {
            let message = format!("the part `{}` makes one call, not several", entry.key.value);
            let diagnostic = Diagnostic::error(codes::BAD_PART, first.key.span, message);
            let also = |all: Diagnostic, other: &(&Entry, PartMethod)| {
                all.also(other.0.key.span, "and another")
            };
            reader.log.push(others.iter().fold(diagnostic, also));
            None
        }
    }
}

/// Takes `"UPSTREAM PATH"` apart.
pub(super) fn read_call(text: &Text, path_required: bool, log: &Log) -> Option<Call> {
    let sources = log.sources();
    let value = text.value.as_str();
    let start = value.len() - value.trim_start().len();
    let end = value.trim_end().len().max(start);
    let trimmed = &value[start..end];
    let name = trimmed.split_ascii_whitespace().next().unwrap_or("");
    let upstream = sources.part(text, start..start + name.len());
    let rest = trimmed[name.len()..].trim_start();
    let target = (!rest.is_empty()).then(|| sources.part(text, end - rest.len()..end));
    drop(sources);
    let advice = if path_required {
        "write `UPSTREAM /path`"
    } else {
        "write `UPSTREAM` or `UPSTREAM /path`"
    };
    let problem = if name.is_empty() {
        Some((text.span, "the upstream's name is missing"))
    } else if name.contains("://") {
        Some((upstream.span, "this is a URL: calls go to an upstream by its name"))
    } else if name.contains('/') {
        Some((upstream.span, "the upstream's name is missing before the path"))
    } else {
        match &target {
            None if path_required => Some((text.span, "the path is missing")),
            Some(target) if !target.value.starts_with('/') => {
                Some((target.span, "a path begins with `/`"))
            }
            Some(target) if target.value.chars().any(|c| c.is_control() || c == '#') => {
                Some((target.span, "a path has no control characters and no `#`"))
            }
            _ => None,
        }
    };
    match problem {
        None => Some(Call { upstream, target }),
        Some((span, message)) => {
            log.push(Diagnostic::error(codes::BAD_CALL, span, message).help(advice));
            None
        }
    }
}
