//! Where requests go: `[upstream.NAME]`, its endpoints, times and pool.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::config::defaults::{CONCURRENCY_CEILING, CONNECTIONS_CEILING, RETRIES_MAX, WEIGHT_MAX};
use crate::config::language::{CONCURRENCY, UPSTREAM_TLS};
use crate::config::schema::{Key, Section, Shape};

/// `[upstream.NAME]`
pub static UPSTREAM: Section = Section {
    title: "[upstream.NAME]",
    here: "this upstream",
    doc: "A group of endpoints that answer alike.",
    keys: &[
        Key::new(
            "endpoints",
            Shape::List(&Shape::Either(&[Shape::Text, Shape::Table(&ENDPOINT)])),
            "`\"ip:port\"`, `\"unix:/path\"`, or `{ address, weight }`.",
        )
        .required(),
        Key::new(
            "balance",
            Shape::Choice(&["round_robin", "least_request"]),
            "How an endpoint is chosen: in turn by weight, or the less busy of two drawn at random.",
        )
        .or("`\"round_robin\"`"),
        Key::new("timeout", Shape::Table(&UPSTREAM_TIMEOUT), "How long an endpoint may take."),
        Key::new("pool", Shape::Table(&POOL), "Idle connections that are kept."),
        Key::new(
            "retry",
            Shape::Either(&[Shape::Integer(0, RETRIES_MAX), Shape::Choice(&["none"])]),
            "Further attempts after a failed connect, or after a reused connection that closed without a byte, for requests that may be repeated (RFC 9110 §9.2.2).",
        )
        .or("`1`"),
        Key::new(
            "proxy_protocol",
            Shape::Choice(&["off", "v1", "v2"]),
            "Begins each connection with a PROXY header that names the client. Such a connection serves that client alone.",
        )
        .or("`\"off\"`"),
        Key::new(
            "limit",
            Shape::Texts,
            "Rate limits towards this upstream, by name: each attempt counts, over one the answer is 503 with `Retry-After`. Their keys are constants.",
        ),
        Key::new(
            "tls",
            Shape::Either(&[Shape::Boolean, Shape::Table(&UPSTREAM_TLS)]),
            "Connections are TLS: `true`, or a table that says whom to believe.",
        ),
        Key::new(
            "http2",
            Shape::Either(&[Shape::Boolean, Shape::Choice(&["auto"])]),
            "Whether endpoints are spoken to in HTTP/2: `true` without TLS from the first byte, and over TLS by ALPN; `\"auto\"` leaves it to them in the handshake of TLS. All requests of a core share its connections (docs/http2.md).",
        )
        .or("`false`"),
        Key::later("health"),
        Key::later("outlier"),
        Key::later("breaker"),
        Key::new(
            "concurrency",
            Shape::Either(&[
                Shape::Integer(1, CONCURRENCY_CEILING),
                Shape::Table(&CONCURRENCY),
                Shape::Choice(&["none"]),
            ]),
            "How many attempts at once, on all cores together; over it the answer is 503 with `Retry-After`. The table has no `key` here.",
        ),
        Key::later("hash"),
    ],
};

/// An endpoint with its weight.
pub static ENDPOINT: Section = Section {
    title: "endpoint",
    here: "this endpoint",
    doc: "One address of an upstream.",
    keys: &[
        Key::new("address", Shape::Text, "`\"ip:port\"` or `\"unix:/path\"`.").required(),
        Key::new(
            "weight",
            Shape::Integer(1, WEIGHT_MAX),
            "Its share of the requests, relative to the other endpoints.",
        )
        .or("`1`"),
    ],
};

/// `timeout` of an upstream.
pub static UPSTREAM_TIMEOUT: Section = Section {
    title: "upstream.timeout",
    here: "these timeouts",
    doc: "How long an endpoint may take; the route's own timeout holds as well. Over one the answer is 504.",
    keys: &[
        Key::new("connect", Shape::Duration, "To open a connection.").or("`\"1s\"`"),
        Key::new(
            "first_byte",
            Shape::Duration,
            "From the end of the request to the first byte of the answer.",
        )
        .or("`\"15s\"`"),
        Key::new("idle", Shape::Duration, "Each wait for progress of a body, either way.")
            .or("`\"30s\"`"),
    ],
};

/// `pool` of an upstream.
pub static POOL: Section = Section {
    title: "upstream.pool",
    here: "this pool",
    doc: "Idle connections to an upstream's endpoints.",
    keys: &[
        Key::new(
            "idle_max",
            Shape::Integer(0, CONNECTIONS_CEILING),
            "Idle connections that each core keeps to one endpoint; `0` closes each after its request.",
        )
        .or("`256`"),
        Key::new("idle_timeout", Shape::Duration, "How long an unused connection is kept.")
            .or("`\"60s\"`"),
    ],
};
