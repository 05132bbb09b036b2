//! The tables of the response cache: `[cache]`, and `cache` of a route.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::config::schema::{Key, Section, Shape};

/// `[cache]`
pub static CACHE: Section = Section {
    title: "[cache]",
    here: "this table",
    doc: "The store of responses, one for the whole process. It takes memory only for what is stored.",
    keys: &[Key::new(
        "memory",
        Shape::Bytes,
        "What all stored responses may weigh together, `1MiB` to `1TiB`; the least useful ones make room.",
    )
    .or("`\"64MiB\"`")],
};

/// `cache` of a route or of `[default]`, as a table.
pub static ROUTE_CACHE: Section = Section {
    title: "route.cache",
    here: "this cache",
    doc: "How answers are used again (RFC 9111). What the origin forbids (`no-store`, `private`, `no-cache`) stays forbidden, whatever stands here. See docs/policies/cache.md.",
    keys: &[
        Key::new(
            "ttl",
            Shape::Duration,
            "How long an answer with status 200, 203, 204, 300, 301 or 308 is fresh, whatever the origin says of time.",
        )
        .or("as the origin says"),
        Key::new(
            "negative_ttl",
            Shape::Duration,
            "The same for 404, 405, 410, 414 and 501.",
        )
        .or("as the origin says"),
        Key::new(
            "heuristic",
            Shape::Boolean,
            "Where nobody says how long an answer is fresh: a tenth of the time since `last-modified`, at most a day (RFC 9111 §4.2.2).",
        )
        .or("`false`: such answers are not stored"),
        Key::new(
            "stale_while_revalidate",
            Shape::Duration,
            "How long a stale answer is still used while one request beside the clients' fetches a new one (RFC 5861).",
        )
        .or("as the origin says"),
        Key::new(
            "stale_if_error",
            Shape::Duration,
            "How long a stale answer stands in when the origin answers 5xx, or not at all.",
        )
        .or("as the origin says; `\"10m\"` when the origin cannot be reached"),
        Key::new("object_max", Shape::Bytes, "Largest content that is stored.").or("`\"1MiB\"`"),
        Key::new("key", Shape::Table(&CACHE_KEY), "Which requests share an answer."),
        Key::new(
            "tags",
            Shape::Text,
            "The field in which origins tag their answers, to remove them by tag: `\"cache-tag\"`, `\"surrogate-key\"`, `\"xkey\"`.",
        )
        .or("none"),
        Key::new(
            "set_cookie",
            Shape::Choice(&["store", "refuse"]),
            "What becomes of answers that set a cookie and are not called `public`.",
        )
        .or("stored if the origin itself says how long they are fresh"),
        Key::new(
            "client_control",
            Shape::Choice(&["heed", "ignore"]),
            "Whether a client's own `cache-control` and `pragma` count: `no-cache` makes the gateway ask, `only-if-cached` makes it not ask.",
        )
        .or("`\"heed\"`"),
    ],
};

/// `key` of a cache.
pub static CACHE_KEY: Section = Section {
    title: "route.cache.key",
    here: "this key",
    doc: "What an answer is found by, besides scheme, host, path and query, and what the answer's own `vary` names.",
    keys: &[
        Key::new("headers", Shape::Texts, "Request fields whose values tell answers apart."),
        Key::new("query", Shape::Texts, "The only parameters of the query that tell answers apart.")
            .or("all"),
        Key::new("ignore_query", Shape::Texts, "Parameters that do not: `[\"utm_source\"]`."),
        Key::new("sort_query", Shape::Boolean, "Whether the order of parameters says nothing.")
            .or("`false`"),
        Key::new(
            "identity",
            Shape::Boolean,
            "Whether each user has answers of their own; requests without a proven identity pass the cache by.",
        )
        .or("`false`"),
    ],
};
