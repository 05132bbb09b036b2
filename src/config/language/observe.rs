//! The keys of what is written down: the access log and its rules, the collector of spans.
//!
//! They stand here once; the table above names them and never repeats them.

use crate::config::observe::KEEP;
use crate::config::schema::{Key, Section, Shape};

/// `access_log` as a table.
pub static ACCESS_LOG: Section = Section {
    title: "observe.access_log",
    here: "this log",
    doc: "The access log. See docs/access-log.md.",
    keys: &[
        Key::new(
            "to",
            Shape::Text,
            "`\"stdout\"`, `\"stderr\"`, `\"off\"`, a file, `\"syslog\"` (or `\"syslog:/path\"`), `\"journald\"` (or `\"journald:/path\"`).",
        )
        .or("`\"stdout\"`"),
        Key::new(
            "format",
            Shape::Text,
            "`\"json\"`; `\"combined\"`, as Apache and nginx have it; or a template: `\"{client} {method} {path} {status} {duration_ms} {header.user-agent}\"`.",
        )
        .or("`\"json\"`"),
        Key::new("fields", Shape::Table(&LOG_FIELDS), "Request fields and query keys that are written."),
        Key::new("sample", Shape::Text, "How many requests are written, `\"1%\"`; those that failed (5xx, or a fault) always are.")
            .or("`\"100%\"`"),
        Key::new("only", Shape::Table(&LOG_ONLY), "Which requests are written at all; everything named must hold."),
    ],
};

/// `fields` of the access log.
pub static LOG_FIELDS: Section = Section {
    title: "observe.access_log.fields",
    here: "these fields",
    doc: "What becomes of values that clients choose: `keep`, `drop`, or `hash`, by which equal values are equal and cannot be known.",
    keys: &[
        Key::new(
            "headers",
            Shape::Named(&Shape::Choice(KEEP)),
            "Request fields; in JSON the member `headers`.",
        )
        .or("none"),
        Key::new(
            "query",
            Shape::Named(&Shape::Choice(KEEP)),
            "Query keys; `\"*\"` for all others.",
        )
        .or("`\"*\" = \"drop\"`"),
        Key::new(
            "identity",
            Shape::Choice(KEEP),
            "Who was proven to ask: the members `user`, `subject`, `key_owner` and `client_cert`.",
        )
        .or("`\"keep\"`"),
        Key::new(
            "hash_key",
            Shape::Text,
            "The key of hashes, at least 16 bytes: `\"${file:/run/secrets/log-key}\"`.",
        ),
    ],
};

/// `only` of the access log.
pub static LOG_ONLY: Section = Section {
    title: "observe.access_log.only",
    here: "this filter",
    doc: "Which requests have a line; everything named must hold.",
    keys: &[
        Key::new("status", Shape::Texts, "`\"5xx\"`, `\"404\"`, `\"400-403\"`."),
        Key::new("route", Shape::Texts, "Names of routes."),
        Key::new("slower_than", Shape::Duration, "Requests that took at least as long."),
    ],
};

/// `otlp`
pub static OTLP: Section = Section {
    title: "observe.otlp",
    here: "this collector",
    doc: "Spans of requests, and of each attempt at an origin, in OTLP over HTTP (JSON). See docs/tracing.md.",
    keys: &[
        Key::new("endpoint", Shape::Text, "`\"http://127.0.0.1:4318/v1/traces\"`.").required(),
        Key::new("sample", Shape::Text, "How many of the traces that begin here are sampled; those of clients are as they say, failed requests always.")
            .or("`\"1%\"`"),
        Key::new("service", Shape::Text, "The `service.name` of spans.").or("`\"ringway\"`"),
        Key::new("headers", Shape::Fields, "Fields sent with each batch, for example a token."),
        Key::new("timeout", Shape::Duration, "How long the collector may take for a batch.").or("`\"10s\"`"),
    ],
};
