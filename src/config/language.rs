//! The language: every table and every key of `ringway.toml`, once, with its meaning.
//!
//! The readers, the list of valid keys in errors, the JSON Schema and docs/configuration.md all come
//! from here. Keys of the whole language stand here even when this version cannot do them
//! ([`Key::later`]): such a key is refused by name and never ignored in silence. Numbers among the
//! defaults stand in `defaults.rs` with their reasons; a test compares the words here with them.

use crate::config::defaults::{CONCURRENCY_CEILING, REDIRECT_STATUSES, RETRIES_MAX, WORKERS_MAX};
use crate::config::language::identity::ALLOW_RULE;
use crate::config::schema::{Key, Section, Shape};

mod acme;
mod cache;
mod identity;
mod listener;
mod merge;
mod observe;
mod policies;
mod test;
mod throttles;
mod tls;
mod upstream;

pub use crate::config::language::acme::{ACME, EXTERNAL_ACCOUNT};
pub use crate::config::language::cache::{CACHE, CACHE_KEY, ROUTE_CACHE};
pub use crate::config::language::identity::{
    ALGORITHMS, ALLOW_ALL, ALLOW_CERT, ALLOW_WORDS, API_KEY, AUTH_CACHE, AUTH_REQUEST, BASIC,
    CLIENT_CERT_WORDS, JWT, REVOKED_STORE,
};
pub use crate::config::language::listener::{LIMITS, LISTEN, LISTEN_TIMEOUT, PATH};
pub use crate::config::language::merge::{
    EACH, HEDGE, ON_PARTIAL, PART_CACHE, PASS, VIEW, VIEW_WHEN,
};
pub use crate::config::language::observe::{ACCESS_LOG, LOG_FIELDS, LOG_ONLY, OTLP};
pub use crate::config::language::policies::{
    COMPRESS, COMPRESS_SHAPE, CORS, CORS_SHAPE, MAINTENANCE, MAINTENANCE_SHAPE, MIRROR,
    MIRROR_SHAPE, REQUEST_EDITS, REQUEST_EDITS_SHAPE, RESPONSE_EDITS, RESPONSE_EDITS_SHAPE,
};
pub use crate::config::language::test::{
    FAILURES, TEST, TEST_ANSWER, TEST_EXPECT, TEST_REQUEST, TEST_SENT, TEST_STEP,
};
pub use crate::config::language::throttles::{BANDWIDTH, CONCURRENCY, LIMIT, REDIS};
pub use crate::config::language::tls::{
    CERTIFICATE, CLIENT_CERTIFICATES, LISTEN_TLS, SERVED_CERTIFICATE, UPSTREAM_TLS,
};
pub use crate::config::language::upstream::{ENDPOINT, POOL, UPSTREAM, UPSTREAM_TIMEOUT};

/// The whole file.
pub static ROOT: Section = Section {
    title: "ringway.toml",
    here: "the configuration",
    doc: "The top level of the file.",
    keys: &[
        Key::new(
            "workers",
            Shape::Either(&[Shape::Integer(1, WORKERS_MAX), Shape::Text]),
            "Worker threads: `\"auto\"` is one per core that the process may use; a number; or a list of cores, `\"0-3,8\"`.",
        )
        .or("`\"auto\"`"),
        Key::new(
            "include",
            Shape::Texts,
            "Further files, merged by table: paths relative to this file, `*` and `?` in the last segment.",
        ),
        Key::new(
            "drain_timeout",
            Shape::Duration,
            "How long a stopping process waits for requests in flight.",
        )
        .or("`\"30s\"`"),
        Key::new("listen", Shape::List(&Shape::Table(&LISTEN)), "Addresses that clients connect to.")
            .required(),
        Key::new("upstream", Shape::Named(&Shape::Table(&UPSTREAM)), "Groups of endpoints, by name."),
        Key::new("jwt", Shape::Named(&Shape::Table(&JWT)), "Issuers of tokens, by name."),
        Key::new("api_key", Shape::Named(&Shape::Table(&API_KEY)), "API keys, by name."),
        Key::new("basic", Shape::Named(&Shape::Table(&BASIC)), "Users with passwords, by name."),
        Key::new("auth_request", Shape::Named(&Shape::Table(&AUTH_REQUEST)), "Services that are asked who may pass, by name."),
        Key::new("limit", Shape::Named(&Shape::Table(&LIMIT)), "Rate limits, by name."),
        Key::new("cache", Shape::Table(&CACHE), "The store of responses."),
        Key::new("acme", Shape::Table(&ACME), "Certificates that are obtained and renewed by themselves."),
        Key::new("default", Shape::Table(&DEFAULT), "Policies of every route that does not set its own."),
        Key::new("route", Shape::List(&Shape::Table(&ROUTE)), "What is answered, and how."),
        Key::new("admin", Shape::Table(&ADMIN), "The listener for operators."),
        Key::new("observe", Shape::Table(&OBSERVE), "What is written down about requests."),
        Key::new(
            "test",
            Shape::List(&Shape::Table(&TEST)),
            "What `ringway test` plays: requests, and what must come of them.",
        ),
        Key::later("tls"),
        Key::new("redis", Shape::Table(&REDIS), "The store in which limits of the whole fleet are counted."),
    ],
};

/// `[default]`
pub static DEFAULT: Section = Section {
    title: "[default]",
    here: "the defaults",
    doc: "Policies of every route that does not set its own. A route opts out by name: `jwt = \"none\"`.",
    keys: &[
        Key::new("jwt", Shape::Texts, "The issuer whose tokens are asked for; or several, of which the token's `iss` names one."),
        Key::new(
            "allow",
            Shape::Either(&[Shape::Choice(ALLOW_WORDS), ALLOW_RULE, Shape::List(&ALLOW_RULE)]),
            "Who may pass where a route does not say it: `\"authenticated\"` closes every route that asks for no credentials. See docs/policies/allow.md.",
        )
        .or("`\"anyone\"`"),
        Key::new("api_key", Shape::Text, "The `[api_key.NAME]` whose keys are asked for; `\"none\"` for none."),
        Key::new("client_cert", Shape::Choice(CLIENT_CERT_WORDS), "Whether clients prove who they are by a certificate; the listener asks for it by `tls.client`."),
        Key::new("basic", Shape::Text, "The `[basic.NAME]` whose users are asked for their passwords; `\"none\"` for none."),
        Key::new("auth_request", Shape::Text, "The `[auth_request.NAME]` that is asked who may pass; `\"none\"` for none."),
        Key::new("limit", Shape::Texts, "The rate limits that hold."),
        Key::new(
            "timeout",
            Shape::Either(&[Shape::Duration, Shape::Table(&ROUTE_TIMEOUT)]),
            "How long a request may take once its head is whole.",
        )
        .or("`\"15s\"`"),
        Key::new("body_max", Shape::Bytes, "Longest request body.").or("`\"10MiB\"`"),
        Key::new(
            "buffer_request",
            Shape::Bytes,
            "How much of a request's body is waited for before an origin is asked, at most `1MiB`; a larger body streams from there on.",
        )
        .or("`\"0B\"`"),
        Key::new(
            "retry",
            Shape::Either(&[Shape::Integer(0, RETRIES_MAX), Shape::Choice(&["none"])]),
            "Further attempts; the upstream's own word if absent.",
        ),
        Key::new(
            "hedge",
            Shape::Either(&[Shape::Boolean, Shape::Table(&HEDGE)]),
            "Sends a GET, HEAD or OPTIONS without a body a second time when its answer is late; of a `merge`, each `get` that does not say otherwise.",
        )
        .or("`false`"),
        Key::new(
            "upgrade",
            Shape::Texts,
            "Protocols that clients may leave HTTP for (`Upgrade`, RFC 9110 §7.8): `\"websocket\"`, `\"tcp\"`, `\"SPDY/3.1\"` …; `\"none\"` for none. Others are ignored, `h2c` always.",
        )
        .or("`\"websocket\"`"),
        Key::new(
            "bandwidth",
            Shape::Either(&[Shape::Text, Shape::Table(&BANDWIDTH)]),
            "How fast answers go: `\"1MiB/s\"` each, or a table; `\"none\"` for no bound.",
        ),
        Key::new(
            "concurrency",
            Shape::Either(&[
                Shape::Integer(1, CONCURRENCY_CEILING),
                Shape::Table(&CONCURRENCY),
                Shape::Choice(&["none"]),
            ]),
            "How many requests at once, of each route by itself, on all cores together.",
        ),
        Key::new("cors", CORS_SHAPE, "Which pages of other origins may read answers; `\"none\"` for none but the route's own."),
        Key::new("compress", COMPRESS_SHAPE, "Whether and how answers are compressed: `true`, `false`, or a table.").or("`false`"),
        Key::new("grpc_web", Shape::Boolean, "Translates calls in gRPC-Web to gRPC, on routes that `forward`.").or("`false`"),
        Key::new(
            "cache",
            Shape::Either(&[Shape::Choice(&["origin", "none"]), Shape::Table(&ROUTE_CACHE)]),
            "Uses answers again: `\"origin\"` as long as their Cache-Control says, `{ ttl = \"1h\" }` as long as you say.",
        )
        .or("every request is asked for"),
        Key::new("request_headers", REQUEST_EDITS_SHAPE, "Fields of requests that are set, added or removed on their way to an origin."),
        Key::new("response_headers", RESPONSE_EDITS_SHAPE, "Fields of answers that are set, added or removed."),
        Key::new("maintenance", MAINTENANCE_SHAPE, "Closed for a while: a fixed answer for everybody."),
        Key::new("mirror", MIRROR_SHAPE, "A second upstream that gets copies of the requests of a `forward`; its answers are dropped."),
        Key::later("quota"),
    ],
};

/// `timeout` of a route.
pub static ROUTE_TIMEOUT: Section = Section {
    title: "route.timeout",
    here: "this timeout",
    doc: "How long a request may take once its head is whole.",
    keys: &[
        Key::new(
            "total",
            Shape::Duration,
            "From the whole request to the head of the answer; of a merge, to all of it. Bodies that go on are bounded by `idle`.",
        )
        .or("`\"15s\"`"),
        Key::new(
            "idle",
            Shape::Duration,
            "Each wait for progress of a body, instead of the listener's and the upstream's.",
        ),
        Key::new(
            "tunnel_idle",
            Shape::Duration,
            "Of an upgraded connection: silence in both directions, or a receiver that takes nothing. `total` and `idle` do not hold there.",
        )
        .or("`\"1h\"`"),
    ],
};

/// `[[route]]`
pub static ROUTE: Section = Section {
    title: "[[route]]",
    here: "this route",
    doc: "A match, exactly one target (`forward`, `merge`, `redirect`, `respond`) and policies.",
    keys: &[
        Key::new("match", Shape::Text, "`\"[METHOD[,METHOD…]] [host]/path\"`; a host may be `*.example.com`, a segment `{name}`, the last one `{*rest}`.")
            .required(),
        Key::new("name", Shape::Text, "The label in logs and metrics.").or("the `match`"),
        Key::new("when", Shape::Table(&WHEN), "Further conditions; all must hold."),
        Key::new("forward", Shape::Text, "Target: `\"UPSTREAM\"` sends the request on as it is, `\"UPSTREAM /path/{path.id}\"` with another path."),
        Key::new("merge", Shape::Named(&Shape::Table(&PART)), "Target: several calls at once, one JSON object with an entry for each part, in this order."),
        Key::new("redirect", Shape::Either(&[Shape::Text, Shape::Table(&REDIRECT)]), "Target: another address."),
        Key::new("respond", Shape::Table(&RESPOND), "Target: a fixed answer."),
        Key::new("jwt", Shape::Texts, "The issuer whose tokens are asked for, or several, of which the token's `iss` names one; `\"none\"` opens the route in spite of `[default]`."),
        Key::new(
            "allow",
            Shape::Either(&[Shape::Choice(ALLOW_WORDS), ALLOW_RULE, Shape::List(&ALLOW_RULE)]),
            "Who may pass: `\"anyone\"`, `\"authenticated\"`, `\"nobody\"`; a rule of which everything must hold, `{ networks = [\"10.0.0.0/8\", \"!10.9.0.0/16\"], scope = \"orders:read\", \"realm.roles\" = [\"admin\", \"ops\"] }`; or a list of rules of which one must. See docs/policies/allow.md.",
        )
        .or("`[default]`"),
        Key::new("api_key", Shape::Text, "The `[api_key.NAME]` whose keys are asked for; `\"none\"` for none."),
        Key::new(
            "client_cert",
            Shape::Choice(CLIENT_CERT_WORDS),
            "Whether clients prove who they are by a certificate that their listener asked for (`tls.client`): `\"required\"` answers 403 without one. What it says is `{client_cert.subject}` and its kin. See docs/policies/client-cert.md.",
        )
        .or("`\"none\"`"),
        Key::new("basic", Shape::Text, "The `[basic.NAME]` whose users are asked for their passwords; `\"none\"` for none."),
        Key::new("auth_request", Shape::Text, "The `[auth_request.NAME]` that is asked who may pass; `\"none\"` for none."),
        Key::new("limit", Shape::Texts, "The rate limits that hold; `\"none\"` for none."),
        Key::new("timeout", Shape::Either(&[Shape::Duration, Shape::Table(&ROUTE_TIMEOUT)]), "How long a request may take once its head is whole.")
            .or("`[default]`"),
        Key::new("body_max", Shape::Bytes, "Longest request body; over it the answer is 413.")
            .or("`[default]`"),
        Key::new(
            "buffer_request",
            Shape::Bytes,
            "How much of a request's body is waited for before an origin is asked, at most `1MiB`; a larger body streams from there on.",
        )
        .or("`[default]`"),
        Key::new(
            "retry",
            Shape::Either(&[Shape::Integer(0, RETRIES_MAX), Shape::Choice(&["none"])]),
            "Further attempts; the upstream's own word if absent.",
        ),
        Key::new(
            "hedge",
            Shape::Either(&[Shape::Boolean, Shape::Table(&HEDGE)]),
            "Sends a GET, HEAD or OPTIONS without a body a second time when its answer is late; of a `merge`, each `get` that does not say otherwise.",
        )
        .or("`[default]`"),
        Key::new("etag", Shape::Boolean, "Gives the answers of a `merge` an entity tag, and answers `if-none-match` with 304.")
            .or("`false`"),
        Key::new(
            "upgrade",
            Shape::Texts,
            "Of a `forward`: protocols that clients may leave HTTP for; `\"none\"` for none.",
        )
        .or("`[default]`"),
        Key::new("stream", Shape::Boolean, "Sends the answer of a `merge` as it becomes ready, once every required part has ended well; clients may ask for a line or an event for each part.")
            .or("`false`"),
        Key::new("server_timing", Shape::Boolean, "Tells in `server-timing` how long each part of a `merge` took.")
            .or("`false`"),
        Key::new("pass", Shape::Table(&PASS), "What of the client's request goes to the parts of a `merge`."),
        Key::new("view", Shape::Named(&Shape::Table(&VIEW)), "What kinds of clients get of a `merge`. The first that fits holds, in the order of the file; without one the whole answer."),
        Key::new("on_partial", Shape::Choice(ON_PARTIAL), "What a failed optional part of a `merge` does: `answer` puts its `else` in its place and names it in `gateway-partial`, `fail` makes the answer a 502.")
            .or("`\"answer\"`"),
        Key::new(
            "bandwidth",
            Shape::Either(&[Shape::Text, Shape::Table(&BANDWIDTH)]),
            "How fast answers go: `\"1MiB/s\"` each, or a table; `\"none\"` for no bound.",
        ),
        Key::new(
            "concurrency",
            Shape::Either(&[
                Shape::Integer(1, CONCURRENCY_CEILING),
                Shape::Table(&CONCURRENCY),
                Shape::Choice(&["none"]),
            ]),
            "How many requests of this route at once, on all cores together; over it the answer is 503 with `Retry-After`. `\"none\"` for no bound.",
        ),
        Key::new("cors", CORS_SHAPE, "Which pages of other origins may read answers; `\"none\"` for none but the route's own."),
        Key::new("compress", COMPRESS_SHAPE, "Whether and how answers are compressed: `true`, `false`, or a table.").or("`false`"),
        Key::new("grpc_web", Shape::Boolean, "Translates calls in gRPC-Web to gRPC, on routes that `forward`.").or("`[default]`"),
        Key::new(
            "cache",
            Shape::Either(&[Shape::Choice(&["origin", "none"]), Shape::Table(&ROUTE_CACHE)]),
            "Uses answers again: `\"origin\"` as long as their Cache-Control says, `{ ttl = \"1h\" }` as long as you say.",
        )
        .or("`[default]`"),
        Key::new("request_headers", REQUEST_EDITS_SHAPE, "Fields of requests that are set, added or removed on their way to an origin."),
        Key::new("response_headers", RESPONSE_EDITS_SHAPE, "Fields of answers that are set, added or removed."),
        Key::new("maintenance", MAINTENANCE_SHAPE, "Closed for a while: a fixed answer for everybody."),
        Key::new("mirror", MIRROR_SHAPE, "A second upstream that gets copies of the requests of a `forward`; its answers are dropped."),
        Key::later("quota"),
        Key::later("keep"),
        Key::later("drop"),
        Key::later("rename"),
    ],
};

/// `when` of a route.
pub static WHEN: Section = Section {
    title: "route.when",
    here: "this condition",
    doc: "Further conditions of a route; all must hold.",
    keys: &[
        Key::new("header", Shape::Conditions, "Header fields and their values."),
        Key::new("query", Shape::Conditions, "Query parameters and their values."),
        Key::later("sni"),
    ],
};

/// `redirect` as a table.
pub static REDIRECT: Section = Section {
    title: "route.redirect",
    here: "this redirect",
    doc: "Another address for the client.",
    keys: &[
        Key::new("to", Shape::Text, "The address; may hold `{path.…}` and `{query.…}`.")
            .or("the client's own path, beside `scheme` or `host`"),
        Key::new(
            "scheme",
            Shape::Choice(&["http", "https"]),
            "Another scheme: `{ scheme = \"https\", status = 308 }` sends the same address there.",
        )
        .or("the client's"),
        Key::new("host", Shape::Text, "Another host, perhaps with a port.").or("the client's"),
        Key::new(
            "query",
            Shape::Choice(&["keep", "drop"]),
            "What becomes of the client's query where `to` has none of its own.",
        )
        .or("`\"keep\"`"),
        Key::new(
            "status",
            Shape::Integer(REDIRECT_STATUSES.0, REDIRECT_STATUSES.1),
            "301, 302, 303, 307 or 308. 301 and 308 are remembered by clients.",
        )
        .or("`307`"),
    ],
};

/// `respond` of a route.
pub static RESPOND: Section = Section {
    title: "route.respond",
    here: "this response",
    doc: "A fixed answer.",
    keys: &[
        Key::new("status", Shape::Integer(200, 599), "The status.").or("`200`"),
        Key::new("body", Shape::Text, "The body.").or("empty"),
        Key::new(
            "headers",
            Shape::Fields,
            "Header fields; `content-type` is `text/plain; charset=utf-8` if there is a body and none is set.",
        ),
    ],
};

/// A part of a merge.
pub static PART: Section = Section {
    title: "part",
    here: "this part",
    doc: "One call of a `merge`: exactly one of `get`, `post`, `put`, `patch`, and what becomes of its answer.",
    keys: &[
        Key::new(
            "get",
            Shape::Text,
            "`\"UPSTREAM /path?query\"` with templates `{jwt.sub}`, `{path.id}`, `{query.q}`, `{header.x}`, and `{part.user.id}` from another part's answer; `{x?}` may be absent, `{x|default}` has a default.",
        ),
        Key::new("post", Shape::Text, "The same, with POST."),
        Key::new("put", Shape::Text, "The same, with PUT."),
        Key::new("patch", Shape::Text, "The same, with PATCH."),
        Key::new("timeout", Shape::Duration, "How long the part may take; not above the route's.")
            .or("the route's"),
        Key::new(
            "else",
            Shape::Json,
            "Makes the part optional: the value that stands in when it fails.",
        ),
        Key::new(
            "pick",
            Shape::Text,
            "The value inside the answer that is taken: `\"data.items\"`, `\"items[0]\"`. All paths below begin there.",
        ),
        Key::new(
            "keep",
            Shape::Texts,
            "Paths that stay, everything else goes: `[\"name\", \"items[*].id\"]`.",
        ),
        Key::new("drop", Shape::Texts, "Paths that go, from what `keep` left."),
        Key::new(
            "rename",
            Shape::Fields,
            "New names of members: `{ \"items[*].old\" = \"new\" }`. Paths name what the origin sent.",
        ),
        Key::new(
            "flatten",
            Shape::Boolean,
            "Puts the members of the part, which has to be an object, into the answer itself.",
        )
        .or("`false`"),
        Key::new(
            "accept_encoding",
            Shape::Texts,
            "Content codings that the part may answer in: `\"gzip\"`, `\"br\"`, `\"zstd\"`.",
        )
        .or("none: `identity`"),
        Key::new("headers", Shape::Texts, "Fields of the part's answer that go to the client."),
        Key::new(
            "request_headers",
            Shape::Fields,
            "Fields sent with the call; values may hold templates.",
        ),
        Key::new(
            "body",
            Shape::Json,
            "The JSON sent with `post`, `put` or `patch`; its texts may hold templates. `\"{request.body}\"` alone is the client's body, as it came.",
        ),
        Key::new(
            "problem",
            Shape::Choice(&["hide", "pass"]),
            "Whether a problem document (RFC 9457) that a required part answers with a 4xx goes to the client.",
        )
        .or("`\"hide\"`"),
        Key::new(
            "each",
            Shape::Either(&[Shape::Text, Shape::Table(&EACH)]),
            "Calls the part once for each distinct element of another part, `{each}`: `\"{part.orders[*].user_id}\"`. Its value is an object of the answers by element; `else` stands for one of them.",
        ),
        Key::new(
            "cache",
            Shape::Either(&[Shape::Choice(&["origin"]), Shape::Table(&PART_CACHE)]),
            "Uses answers of a `get` again for requests that could not be told apart: `\"origin\"` as long as its Cache-Control says, `{ ttl = \"1m\" }` as long as you say.",
        )
        .or("every request is asked for"),
        Key::new(
            "else_stale",
            Shape::Duration,
            "When a `get` fails, its last answer stands in before `else` does, so long after it was fresh; `gateway-partial` says so.",
        )
        .or("never"),
        Key::new(
            "hedge",
            Shape::Either(&[Shape::Boolean, Shape::Table(&HEDGE)]),
            "Sends a `get` a second time, to another endpoint where there is one, when it takes longer than 95 of a hundred calls of this part lately did; the first good answer counts.",
        )
        .or("`false`"),
        Key::later("by"),
        Key::later("retry"),
        Key::later("delete"),
    ],
};

/// `[admin]`
pub static ADMIN: Section = Section {
    title: "[admin]",
    here: "this table",
    doc: "The listener for operators: `/livez`, `/readyz`, `/metrics`. Never reachable by clients.",
    keys: &[
        Key::new("address", Shape::Text, "`\"ip:port\"`, `\"unix:/path\"`, or `\"off\"`.")
            .or("`\"127.0.0.1:9901\"`"),
        Key::later("tls"),
        Key::later("token"),
    ],
};

/// `[observe]`
pub static OBSERVE: Section = Section {
    title: "[observe]",
    here: "this table",
    doc: "What is written down about requests.",
    keys: &[
        Key::new(
            "access_log",
            Shape::Either(&[Shape::Text, Shape::Table(&ACCESS_LOG)]),
            "One line for each request: `\"stdout\"`, `\"stderr\"`, `\"off\"`, `\"syslog\"`, `\"journald\"` or a file.",
        )
        .or("`\"stdout\"`"),
        Key::later("trace"),
        Key::new("otlp", Shape::Table(&OTLP), "A collector of spans (OpenTelemetry over HTTP)."),
        Key::later("metrics"),
    ],
};

#[cfg(test)]
mod tests;
