//! Where clients connect: `[[listen]]`, its paths, bounds and times.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::config::defaults::{CONNECTIONS_CEILING, FIELDS_CEILING};
use crate::config::language::LISTEN_TLS;
use crate::config::schema::{Key, Section, Shape};

/// `[[listen]]`
pub static LISTEN: Section = Section {
    title: "[[listen]]",
    here: "this listener",
    doc: "An address that clients connect to. Every route is served on every listener.",
    keys: &[
        Key::new("address", Shape::Text, "`\"ip:port\"` or `\"unix:/path\"`.").required(),
        Key::new(
            "trusted_proxies",
            Shape::Texts,
            "Networks whose word about the client is taken: `client_address`, `proxy_protocol`, `X-Forwarded-Proto`, `-Host` and `-Port`; anybody else's is replaced. `\"private\"` stands for RFC 1918, RFC 4193, loopback and link-local.",
        )
        .or("nobody"),
        Key::new(
            "proxy_protocol",
            Shape::Choice(&["off", "optional", "required"]),
            "Whether connections begin with a PROXY header, version 1 or 2. `required`: all do, and who is not in `trusted_proxies` cannot connect. `optional`: those of `trusted_proxies` may.",
        )
        .or("`\"off\"`"),
        Key::new(
            "client_address",
            Shape::Texts,
            "Where a trusted peer says who the client is; the first that a request has decides. `\"x-forwarded-for\"`, `\"forwarded\"`, `\"proxy_protocol\"`, or a field with one address like `\"cf-connecting-ip\"`. See docs/client-address.md.",
        )
        .or("`[\"x-forwarded-for\"]`"),
        Key::new("path", Shape::Table(&PATH), "What happens to paths with more than one spelling."),
        Key::new("limits", Shape::Table(&LIMITS), "Bounds on what one client may send."),
        Key::new("timeout", Shape::Table(&LISTEN_TIMEOUT), "How long a client may take."),
        Key::new("tls", Shape::Table(&LISTEN_TLS), "Certificates: the listener speaks TLS."),
        Key::new(
            "redirect",
            Shape::Choice(&["https"]),
            "Answers every request with 308 and the same address over `https`, whatever the routes say. For a listener without `tls`.",
        ),
        Key::new(
            "protocols",
            Shape::List(&Shape::Choice(crate::config::listener::PROTOCOLS)),
            "Versions of HTTP that clients may speak. With `tls` they are offered by ALPN; without it, HTTP/2 is for clients that begin with its preface (docs/http2.md).",
        )
        .or("`[\"http/1.1\", \"h2\"]`"),
        Key::later("http3"),
    ],
};

/// `path` of a listener.
pub static PATH: Section = Section {
    title: "listen.path",
    here: "this path policy",
    doc: "Origins read such paths in different ways, so a path that passed one route's policies could mean \
          another route to the origin. `same_route` takes one where every reading of it leads to one route, and refuses it with 400 \
          elsewhere. Control bytes, backslashes and broken escapes are always refused.",
    keys: &[
        Key::new(
            "dot_segments",
            Shape::Choice(&["refuse", "resolve", "keep"]),
            "`/a/../b`, also percent-encoded. `resolve` applies RFC 3986 §5.2.4 before routing and forwards the result.",
        )
        .or("`\"refuse\"`"),
        Key::new(
            "empty_segments",
            Shape::Choice(&["same_route", "refuse", "merge", "keep"]),
            "`/a//b`. `merge` makes it `/a/b` before routing and forwards that.",
        )
        .or("`\"same_route\"`"),
        Key::new("encoded_slash", Shape::Choice(&["same_route", "refuse", "keep"]), "`/a%2Fb`.")
            .or("`\"same_route\"`"),
        Key::new(
            "semicolon",
            Shape::Choice(&["same_route", "refuse", "keep"]),
            "`/a;x=1/b`: path parameters. `keep` matches without them.",
        )
        .or("`\"same_route\"`"),
    ],
};

/// `limits` of a listener.
pub static LIMITS: Section = Section {
    title: "listen.limits",
    here: "these limits",
    doc: "Bounds on what one client may send. Over a bound the answer is 431 (head, fields), 414 (target) or a refused connection.",
    keys: &[
        Key::new(
            "head_bytes_max",
            Shape::Bytes,
            "Request line and fields together; `1KiB` to `60KiB`.",
        )
        .or("`\"32KiB\"`"),
        Key::new("fields_max", Shape::Integer(1, FIELDS_CEILING), "Header fields of one request.")
            .or("`100`"),
        Key::new("target_bytes_max", Shape::Bytes, "The request target; below `head_bytes_max`.")
            .or("`\"8KiB\"`"),
        Key::new(
            "body_rate_min",
            Shape::Bytes,
            "What a client must move of a body each second, either way, over a `timeout.body` in which it is waited for; at most `1MiB`, `\"0B\"` asks for nothing.",
        )
        .or("`\"240B\"`"),
        Key::new(
            "connections_max",
            Shape::Integer(1, CONNECTIONS_CEILING),
            "Connections open at once, on all cores together.",
        )
        .or("`65536`"),
        Key::new(
            "connections_per_client_max",
            Shape::Integer(1, CONNECTIONS_CEILING),
            "Of these, connections of one client address (an IPv6 /64); trusted proxies are not counted.",
        )
        .or("`16384`"),
    ],
};

/// `timeout` of a listener.
pub static LISTEN_TIMEOUT: Section = Section {
    title: "listen.timeout",
    here: "these timeouts",
    doc: "How long a client may take. Over `head` or `body` the answer is 408.",
    keys: &[
        Key::new(
            "head",
            Shape::Duration,
            "From the first byte of a request to the end of its head.",
        )
        .or("`\"10s\"`"),
        Key::new(
            "handshake",
            Shape::Duration,
            "From the first byte of a TLS handshake to its end; the connection is closed then.",
        )
        .or("`\"10s\"`"),
        Key::new("body", Shape::Duration, "Each wait for progress of a body, either way.")
            .or("`\"30s\"`"),
        Key::new("idle", Shape::Duration, "Between two requests on a connection.").or("`\"75s\"`"),
    ],
};
