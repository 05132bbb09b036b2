//! `[cache]`, and `cache` of a route or of `[default]`.
//!
//! A cache is never there by accident: only a route or `[default]` that names one has one.

use std::time::Duration;

use crate::base::limits::{CACHE_MEMORY, CACHE_OBJECT_BYTES};
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::language::{CACHE, CACHE_KEY, ROUTE_CACHE};
use crate::config::reader::{Reader, text_of};
use crate::config::span::{Span, Text};
use crate::config::tree::{Entry, Kind, Log, Node};
use crate::config::units;

/// The bounds of `memory`. Unit: bytes. Less holds nothing worth a store.
const MEMORY_MIN: u64 = 1024 * 1024;
const MEMORY_CEILING: u64 = 1 << 40;

/// Keys of a route's cache that say nothing of an answer made of several.
const OF_ONE_ORIGIN: [&str; 6] =
    ["heuristic", "negative_ttl", "set_cookie", "stale_if_error", "stale_while_revalidate", "tags"];

/// What a route says of its cache.
#[derive(Clone, Debug)]
pub struct Cache {
    /// In place of the origin's freshness.
    pub ttl: Option<Duration>,
    /// The same for what is not there.
    pub negative_ttl: Option<Duration>,
    /// Whether freshness is guessed. Default: no.
    pub heuristic: bool,
    /// In place of the origin's.
    pub stale_while_revalidate: Option<Duration>,
    /// In place of the origin's.
    pub stale_if_error: Option<Duration>,
    /// Largest content. Unit: bytes. Default: 1 MiB.
    pub object_bytes_max: u64,
    /// Fields of the key, in lower case.
    pub headers: Vec<Text>,
    /// The only parameters of the key, if any is named.
    pub query: Vec<Text>,
    /// Parameters that are not part of it.
    pub ignore_query: Vec<Text>,
    /// Whether parameters are sorted. Default: no.
    pub sort_query: bool,
    /// Whether each identity has its own. Default: no.
    pub identity: bool,
    /// The field of tags, in lower case.
    pub tags: Option<Text>,
    /// Whether answers with cookies are stored; `None`: as the origin's own freshness allows.
    pub cookies: Option<bool>,
    /// Whether clients are heeded. Default: yes.
    pub heeds_clients: bool,
    /// Where it is written.
    pub span: Span,
}

impl Cache {
    /// As the origin says.
    fn origin(span: Span) -> Self {
        Self {
            ttl: None,
            negative_ttl: None,
            heuristic: false,
            stale_while_revalidate: None,
            stale_if_error: None,
            object_bytes_max: CACHE_OBJECT_BYTES,
            headers: Vec::new(),
            query: Vec::new(),
            ignore_query: Vec::new(),
            sort_query: false,
            identity: false,
            tags: None,
            cookies: None,
            heeds_clients: true,
            span,
        }
    }
}

/// Reads `[cache]`: what all responses may weigh.
pub(super) fn read_memory(reader: &Reader<'_>) -> u64 {
    let table = reader.table("cache", &CACHE);
    let memory = table.and_then(|table| table.bytes("memory", MEMORY_MIN, MEMORY_CEILING));
    memory.map_or(CACHE_MEMORY, |memory| memory.value)
}

/// Reads `cache` of a route or of `[default]`, a word or a table; `Some(None)` for `"none"`.
pub(super) fn read(reader: &Reader<'_>) -> Option<Option<Cache>> {
    let node = reader.node("cache")?;
    if let Kind::Text(_) = node.kind {
        return read_word(node, reader.log);
    }
    let table = reader.table("cache", &ROUTE_CACHE)?;
    let duration = |key| table.duration(key).map(|duration| duration.value);
    let key = table.table("key", &CACHE_KEY);
    let mut cache = Cache {
        ttl: duration("ttl"),
        negative_ttl: duration("negative_ttl"),
        heuristic: table.boolean("heuristic").is_some_and(|word| word.value),
        stale_while_revalidate: duration("stale_while_revalidate"),
        stale_if_error: duration("stale_if_error"),
        tags: table.text("tags").and_then(|name| fields::names(vec![name], reader.log).pop()),
        cookies: table.choice("set_cookie").map(|word| word.value == "store"),
        heeds_clients: table.choice("client_control").is_none_or(|word| word.value == "heed"),
        ..Cache::origin(node.span)
    };
    if let Some(bytes) = table.bytes("object_max", 1, MEMORY_CEILING) {
        cache.object_bytes_max = bytes.value;
    }
    if let Some(key) = key {
        read_key(&key, &mut cache);
    }
    Some(Some(cache))
}

/// Refuses what cannot be had where several answers are made one.
pub(super) fn check_merge(reader: &Reader<'_>, stream: bool, server_timing: bool) {
    let Some(entry) = reader.entry("cache") else { return };
    if matches!(&entry.node.kind, Kind::Text(text) if text == "none") {
        return;
    }
    let refuse = |span, what: &str, help: &str| {
        let diagnostic = Diagnostic::error(codes::WRONG_TARGET, span, what.to_owned());
        reader.log.push(diagnostic.help(help));
    };
    let beside = [(stream, "stream"), (server_timing, "server_timing")];
    for (_, key) in beside.iter().filter(|(is_set, _)| *is_set) {
        let what = format!("`cache` cannot stand beside `{key}`: only whole answers are kept");
        refuse(entry.key.span, &what, "remove one of both, or give `cache` to the parts");
    }
    let Kind::Table(entries) = &entry.node.kind else { return };
    for Entry { key, .. } in
        entries.iter().filter(|entry| OF_ONE_ORIGIN.contains(&&*entry.key.value))
    {
        let what = format!("`{}` means nothing here: it is for answers of one origin", key.value);
        refuse(
            key.span,
            &what,
            "it is for routes that `forward`; `cache` of a part has keys of its own",
        );
    }
}

fn read_word(node: &Node, log: &Log) -> Option<Option<Cache>> {
    let word = text_of(node, log, "`\"origin\"`, `\"none\"` or a table")?;
    match word.value.as_str() {
        "origin" => Some(Some(Cache::origin(node.span))),
        "none" => Some(None),
        other => {
            let message = format!("`{other}` is no way to use answers again");
            let diagnostic = Diagnostic::error(codes::NOT_ONE_OF, word.span, message);
            let ttl = units::duration(other).map_or("1m", |_| other);
            log.push(
                diagnostic
                    .help(format!("write `\"origin\"`, `\"none\"` or `{{ ttl = \"{ttl}\" }}`")),
            );
            None
        }
    }
}

fn read_key(key: &Reader<'_>, cache: &mut Cache) {
    cache.headers = fields::names(key.texts("headers"), key.log);
    (cache.query, cache.ignore_query) = (key.texts("query"), key.texts("ignore_query"));
    cache.sort_query = key.boolean("sort_query").is_some_and(|word| word.value);
    cache.identity = key.boolean("identity").is_some_and(|word| word.value);
    if let (Some(ignored), true) = (key.entry("ignore_query"), key.entry("query").is_some()) {
        let message = "`query` names all parameters that count: there is nothing left to ignore";
        let diagnostic = Diagnostic::error(codes::BAD_CACHE, ignored.key.span, message);
        key.log.push(diagnostic.help("write one of both"));
    }
}
