//! `concurrency` of a route, of `[default]` and of an upstream: how many at once.
//!
//! A number is the whole of it for most; the table adds a bound for each key, a line in front, and an adaptive
//! limit. It never guesses: a key that says something of another one that is missing is an error.

use std::time::Duration;

use crate::base::limits::SEAT_QUEUE_MAX;
use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::CONCURRENCY;
use crate::config::reader::{Reader, wrong_type};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::Kind;

/// How many at once.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// Where it is said.
    pub span: Span,
    /// All together; of an adaptive limit the most. Default: as many as can be counted.
    pub max: u64,
    /// What is counted apart besides, and how many of one key.
    pub key: Option<(Text, u64)>,
    /// How many may wait, on all cores. Default: 0.
    pub queue: u64,
    /// How long they may in a burst. Default: 100 ms.
    pub wait: Duration,
    /// How long they may in an overload. Default: 5 ms.
    pub target: Duration,
    /// The least limit of an adaptive one; `None`: it is fixed.
    pub adaptive_min: Option<u64>,
}

/// Reads the key `concurrency`: `None` if it is absent or wrong, `Some(None)` for `"none"`.
pub(super) fn read(reader: &Reader<'_>) -> Option<Option<Concurrency>> {
    let node = reader.node("concurrency")?;
    match &node.kind {
        Kind::Text(text) if text == "none" => Some(None),
        Kind::Table(_) => {
            let table = reader.table("concurrency", &CONCURRENCY)?;
            read_table(&table, node.span).map(Some)
        }
        Kind::Integer(_) => {
            let max = reader.integer("concurrency")?.value as u64;
            Some(Some(Concurrency { max, ..plain(node.span) }))
        }
        _ => {
            let advice = "write `concurrency = 100`, or `{ max = 100, queue = 50 }`";
            wrong_type(reader.log, node, "a number or a table", advice);
            None
        }
    }
}

fn plain(span: Span) -> Concurrency {
    Concurrency {
        span,
        max: defaults::CONCURRENCY_CEILING as u64,
        key: None,
        queue: 0,
        wait: defaults::SEAT_WAIT,
        target: defaults::SEAT_TARGET,
        adaptive_min: None,
    }
}

fn read_table(table: &Reader<'_>, span: Span) -> Option<Concurrency> {
    let number = |key: &str| table.integer(key).map(|number| number.map(|n| n as u64));
    let (max, key_max, queue) = (number("max"), number("key_max"), number("queue"));
    let (wait, target) = (table.duration("wait"), table.duration("target"));
    let (adaptive, min) = (table.boolean("adaptive"), number("min"));
    let adaptive = adaptive.is_some_and(|word| word.value);
    let key = match (table.text("key"), key_max) {
        (Some(key), Some(key_max)) => Some((key, key_max.value)),
        (Some(key), None) => return needs(table, key.span, "`key`", "`key_max = 5`"),
        (None, Some(max)) => {
            return needs(table, max.span, "`key_max`", "`key = \"{client.address}\"`");
        }
        (None, None) => None,
    };
    if max.is_none() && key.is_none() && !adaptive {
        table.missing("max", "write `max = 100`, or a `key` with its `key_max`");
        return None;
    }
    let spans = [wait.as_ref().map(|wait| wait.span), target.as_ref().map(|target| target.span)];
    if let (None, Some(lone)) = (&queue, spans.iter().flatten().next()) {
        return needs(table, *lone, "this", "`queue = 50`");
    }
    if let (false, Some(min)) = (adaptive, &min) {
        return needs(table, min.span, "`min`", "`adaptive = true`");
    }
    if let Some(max) = max.as_ref().filter(|_| adaptive || key.is_some()) {
        let above = |what: &str, number: u64, place: Span| {
            let message = format!("`{what}` is above `max`: it would never be reached");
            let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, place, message);
            table.log.push(diagnostic.also(max.span, format!("{number} is more than this")));
        };
        if let Some((_, key_max)) = key.as_ref().filter(|(_, key_max)| *key_max > max.value) {
            let place = table.node("key_max").map_or(span, |node| node.span);
            above("key_max", *key_max, place);
            return None;
        }
        if let Some(min) = min.as_ref().filter(|min| min.value > max.value) {
            above("min", min.value, min.span);
            return None;
        }
    }
    let plain = plain(span);
    let value = |number: Option<Spanned<u64>>, default| number.map_or(default, |n| n.value);
    let (max, min) = (value(max, plain.max), value(min, defaults::GRADIENT_MIN));
    let wait = wait.map_or(plain.wait, |wait| wait.value);
    let short = plain.target.min(wait);
    if let Some(target) = target.as_ref().filter(|target| target.value > wait) {
        let message = "who is next in an overload cannot wait for longer than in a burst";
        table.error(codes::OUT_OF_RANGE, target.span, message);
        return None;
    }
    Some(Concurrency {
        span,
        max,
        key,
        queue: value(queue, 0).min(SEAT_QUEUE_MAX),
        wait,
        target: target.map_or(short, |target| target.value),
        adaptive_min: adaptive.then_some(min.min(max)),
    })
}

fn needs<T>(table: &Reader<'_>, span: Span, what: &str, other: &str) -> Option<T> {
    let message = format!("{what} says something only beside another key");
    let diagnostic = Diagnostic::error(codes::MISSING_KEY, span, message);
    table.log.push(diagnostic.help(format!("add {other}")));
    None
}
