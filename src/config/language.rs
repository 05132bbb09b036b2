//! The language: every table and every key of `ringway.toml`, once, with its meaning.
//!
//! The readers, the list of valid keys in errors, the JSON Schema and docs/configuration.md all come
//! from here. Keys of the whole language stand here even when this version cannot do them
//! ([`Key::later`]): such a key is refused by name and never ignored in silence. Numbers among the
//! defaults stand in `defaults.rs` with their reasons; a test compares the words here with them.

use crate::base::limits::SEAT_QUEUE_MAX;
use crate::config::defaults::{
    CONCURRENCY_CEILING, CONNECTIONS_CEILING, FIELDS_CEILING, KEYS_CEILING, LIMIT_BURST_CEILING,
    REDIRECT_STATUSES, RETRIES_MAX, STORE_DATABASES, WEIGHT_MAX, WORKERS_MAX,
};
use crate::config::schema::{Key, Section, Shape};

mod cache;
mod merge;
mod observe;
mod policies;
mod test;

pub use crate::config::language::cache::{CACHE, CACHE_KEY, ROUTE_CACHE};
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
        Key::new("limit", Shape::Named(&Shape::Table(&LIMIT)), "Rate limits, by name."),
        Key::new("cache", Shape::Table(&CACHE), "The store of responses."),
        Key::new("default", Shape::Table(&DEFAULT), "Policies of every route that does not set its own."),
        Key::new("route", Shape::List(&Shape::Table(&ROUTE)), "What is answered, and how."),
        Key::new("admin", Shape::Table(&ADMIN), "The listener for operators."),
        Key::new("observe", Shape::Table(&OBSERVE), "What is written down about requests."),
        Key::new(
            "test",
            Shape::List(&Shape::Table(&TEST)),
            "What `ringway test` plays: requests, and what must come of them.",
        ),
        Key::later("basic"),
        Key::later("tls"),
        Key::new("redis", Shape::Table(&REDIS), "The store in which limits of the whole fleet are counted."),
    ],
};

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
        Key::later("tls"),
        Key::later("http2"),
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
        Key::new("body", Shape::Duration, "Each wait for progress of a body, either way.")
            .or("`\"30s\"`"),
        Key::new("idle", Shape::Duration, "Between two requests on a connection.").or("`\"75s\"`"),
    ],
};

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
        Key::later("tls"),
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
        Key::later("http2"),
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
        .or("`64`"),
        Key::new("idle_timeout", Shape::Duration, "How long an unused connection is kept.")
            .or("`\"60s\"`"),
    ],
};

/// `[jwt.NAME]`
pub static JWT: Section = Section {
    title: "[jwt.NAME]",
    here: "this issuer",
    doc: "An issuer of tokens, and what a token must say. Exactly one of `jwks`, `secret`, `pem` gives the keys; without one the `issuer`, a URL, tells where they are (OpenID Connect Discovery).",
    keys: &[
        Key::new(
            "jwks",
            Shape::Text,
            "Its key set: a file, relative to this one, or an `http://` or `https://` URL.",
        ),
        Key::new(
            "secret",
            Shape::Text,
            "A shared secret for HS256, HS384, HS512; best as `\"${file:…}\"` or `\"${VAR}\"`.",
        ),
        Key::new("pem", Shape::Text, "A public key in PEM; `\"${file:…}\"` reads it from a file."),
        Key::new("issuer", Shape::Texts, "The `iss` that a token must have: one of these."),
        Key::new("audience", Shape::Texts, "The `aud` that a token must have: one of these."),
        Key::new(
            "algorithms",
            Shape::List(&Shape::Choice(ALGORITHMS)),
            "The signatures that are taken. The key decides in any case: a token never chooses.",
        )
        .or("what the key can do"),
        Key::new(
            "leeway",
            Shape::DurationOrZero,
            "How far clocks may differ for `exp` and `nbf`; at most `5m`.",
        )
        .or("`\"30s\"`"),
        Key::new(
            "required",
            Shape::Texts,
            "Claims that must be there, besides `exp`, which always must.",
        ),
        Key::new("refresh", Shape::Duration, "How often a key set from a URL is fetched again.")
            .or("`\"5m\"`"),
        Key::new("header", Shape::Text, "A field that may hold the token besides `Authorization: Bearer`."),
        Key::new("cookie", Shape::Text, "A cookie that may hold the token."),
        Key::new("query", Shape::Text, "A query parameter that may hold the token. Such a URL is a password: it stands in histories and other people's logs."),
        Key::later("strip"),
        Key::new("profile", Shape::Choice(&["rfc7519", "rfc9068"]), "What a token is: any JWT, or an access token after RFC 9068 with its type and all of its claims.")
            .or("`\"rfc7519\"`"),
        Key::new("revoked", Shape::Text, "A file of tokens and subjects that are refused, one `jti:ID`, `sub:ID` or `sub:ID SECONDS` a line; read again when it changes."),
        Key::later("tls"),
    ],
};

/// Signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1). `none` is not one.
pub const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "ES512", "EdDSA",
];

/// `[api_key.NAME]`
pub static API_KEY: Section = Section {
    title: "[api_key.NAME]",
    here: "these keys",
    doc: "API keys, known by keyed hashes. `ringway hash-key` makes a key and its line. See docs/policies/api-key.md.",
    keys: &[
        Key::new("keys", Shape::Text, "The file, relative to this one: `HASH OWNER [scope=a,b] [until=2027-01-31]` a line; read again when it changes.")
            .required(),
        Key::new("secret", Shape::Text, "What keys are hashed with, at least 32 bytes; best as `\"${file:…}\"` or `\"${VAR}\"`.")
            .required(),
        Key::new("header", Shape::Text, "The field that holds a key.").or("`\"x-api-key\"`"),
        Key::new("query", Shape::Text, "A query parameter that may hold it. Such a URL is a password: it stands in histories and other people's logs."),
    ],
};

/// `[limit.NAME]`
pub static LIMIT: Section = Section {
    title: "[limit.NAME]",
    here: "this limit",
    doc: "A rate limit, exact for the whole machine. Over it the answer is 429 with `Retry-After`.",
    keys: &[
        Key::new("rate", Shape::Rate, "Requests of one key in the long run.").required(),
        Key::new(
            "burst",
            Shape::Integer(1, LIMIT_BURST_CEILING),
            "Requests that one key may make at once after a pause.",
        )
        .or("one second's worth, at least `1`"),
        Key::new(
            "key",
            Shape::Text,
            "What is counted apart: `\"{client.address}\"`, `\"{client.network}\"` (the /64 of an IPv6 client), `\"{jwt.sub}\"`, `\"{header.x-tenant}\"`, `\"{path.id}\"`, `\"{view}\"` of a merge, or a text without braces for one count of all.",
        )
        .required(),
        Key::new(
            "keys_max",
            Shape::Integer(1, KEYS_CEILING),
            "Keys that are remembered. When more come at once, some share a count: never more passes than the rule allows.",
        )
        .or("`1048576`"),
        Key::new(
            "ipv6_prefix",
            Shape::Integer(32, 128),
            "How many bits of an IPv6 client's `{client.address}` are counted as one; IPv4 addresses are whole.",
        )
        .or("`64`"),
        Key::new(
            "cost",
            Shape::Text,
            "What a request spends: a template of a whole number, `\"{header.x-cost}\"`. Let nobody but your own services set it.",
        )
        .or("1 a request"),
        Key::new(
            "cost_default",
            Shape::Integer(1, LIMIT_BURST_CEILING),
            "What a request spends that does not say it, or no number.",
        )
        .or("`1`"),
        Key::new(
            "cost_max",
            Shape::Integer(1, LIMIT_BURST_CEILING),
            "The most that one request spends, whatever it says; at most the burst.",
        )
        .or("the burst"),
        Key::new(
            "dry_run",
            Shape::Boolean,
            "Counts and logs what it would refuse, and refuses nothing.",
        )
        .or("`false`"),
        Key::new(
            "store",
            Shape::Choice(&["redis"]),
            "Counts for the whole fleet, in the store of `[redis]`.",
        )
        .or("this machine"),
        Key::new(
            "mode",
            Shape::Choice(&["leased", "exact"]),
            "With a store: `leased` decides at once and tells the store afterwards, `exact` asks it for each request.",
        )
        .or("`\"leased\"`"),
        Key::new(
            "away",
            Shape::Choice(&["local", "allow", "deny"]),
            "While the store is away: this machine counts by itself, everybody passes, or nobody does (503).",
        )
        .or("`\"local\"`"),
        Key::later("quota"),
        Key::later("status"),
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
        Key::new("limit", Shape::Texts, "The rate limits that hold."),
        Key::new(
            "timeout",
            Shape::Either(&[Shape::Duration, Shape::Table(&ROUTE_TIMEOUT)]),
            "How long a request may take.",
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
        Key::later("basic"),
        Key::later("auth_request"),
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

/// Words that `allow` may be.
pub const ALLOW_WORDS: &[&str] = &["anyone", "authenticated", "nobody"];

/// A rule of `allow`: `networks`, `scope` and ways to claims, as the user names them.
const ALLOW_RULE: Shape = Shape::Named(&Shape::Either(&[
    Shape::Texts,
    Shape::Boolean,
    Shape::Integer(i64::MIN, i64::MAX),
    Shape::Table(&ALLOW_ALL),
]));

/// What a claim must hold all of.
pub static ALLOW_ALL: Section = Section {
    title: "route.allow.CLAIM",
    here: "this claim",
    doc: "Values that a claim must hold all of; a plain list asks for any one.",
    keys: &[Key::new("all", Shape::Texts, "The values.").required()],
};

/// `bandwidth` of a route.
pub static BANDWIDTH: Section = Section {
    title: "bandwidth",
    here: "this bandwidth",
    doc: "How fast answers go, in bytes written to clients. See docs/policies/bandwidth.md.",
    keys: &[
        Key::new("each", Shape::Text, "Each answer, at least `\"1KiB/s\"`."),
        Key::new("all", Shape::Text, "All answers of the route together, on all cores."),
    ],
};

/// `[redis]`
pub static REDIS: Section = Section {
    title: "[redis]",
    here: "this store",
    doc: "Redis or Valkey, for limits with `store = \"redis\"`. See docs/policies/fleet-limits.md.",
    keys: &[
        Key::new("address", Shape::Text, "`\"ip:port\"` or `\"unix:/path\"`.").required(),
        Key::new("user", Shape::Text, "An ACL user.").or("the store's default user"),
        Key::new("password", Shape::Text, "Best as `\"${file:…}\"`."),
        Key::new("database", Shape::Integer(0, STORE_DATABASES), "The number of a database.")
            .or("`0`"),
        Key::new(
            "timeout",
            Shape::Duration,
            "How long an answer may take, `1ms` to `500ms`; a slower store is away.",
        )
        .or("`\"50ms\"`"),
        Key::later("tls"),
    ],
};

/// `concurrency` of a route or an upstream.
pub static CONCURRENCY: Section = Section {
    title: "concurrency",
    here: "this concurrency",
    doc: "How many at once, exact for the whole machine. See docs/policies/concurrency.md.",
    keys: &[
        Key::new("max", Shape::Integer(1, CONCURRENCY_CEILING), "All together; of an adaptive limit the most."),
        Key::new("key", Shape::Text, "What is counted apart besides, as in `[limit.NAME]`."),
        Key::new("key_max", Shape::Integer(1, CONCURRENCY_CEILING), "How many of one key."),
        Key::new(
            "queue",
            Shape::Integer(0, SEAT_QUEUE_MAX as i64),
            "How many may wait for a seat, on all cores together; who exceeds `key_max` never waits.",
        )
        .or("`0`"),
        Key::new(
            "wait",
            Shape::Duration,
            "How long each may wait in a burst. A queue that stands for longer is an overload.",
        )
        .or("`\"100ms\"`"),
        Key::new(
            "target",
            Shape::Duration,
            "How long each may wait in an overload, where the newest is served first.",
        )
        .or("`\"5ms\"`"),
        Key::new(
            "adaptive",
            Shape::Boolean,
            "Finds out how many the origin can take from how long it takes, between `min` and `max`.",
        )
        .or("`false`"),
        Key::new(
            "min",
            Shape::Integer(1, CONCURRENCY_CEILING),
            "The least adaptive limit; every 30 seconds it holds for a moment, to measure the origin without a queue.",
        )
        .or("`4`"),
    ],
};

/// `timeout` of a route.
pub static ROUTE_TIMEOUT: Section = Section {
    title: "route.timeout",
    here: "this timeout",
    doc: "How long a request may take.",
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
        Key::new("limit", Shape::Texts, "The rate limits that hold; `\"none\"` for none."),
        Key::new("timeout", Shape::Either(&[Shape::Duration, Shape::Table(&ROUTE_TIMEOUT)]), "How long a request may take.")
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
        Key::later("basic"),
        Key::later("auth_request"),
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
