//! Every default of the language and every range, with unit, reason and source.
//!
//! A default never stands as a bare number in a reader. The words in `language.rs` repeat them for
//! people; a test compares the two.

use std::time::Duration;

use crate::base::limits;
use crate::config::compress::{CODINGS, Compress};
use crate::config::cors::Cors;
use crate::config::units::{Address, Rate};

/// Request head. Unit: bytes. See `base::limits`.
pub const HEAD_BYTES_MAX: u64 = limits::HEAD_BYTES_MAX as u64;
/// The range of `head_bytes_max`. Unit: bytes. A head must fit a buffer of 64 KiB with room to spare
/// for what a gateway adds; below 1 KiB no browser gets through.
pub const HEAD_BYTES_RANGE: (u64, u64) = (1024, 60 * 1024);
/// Fields in one head. See `base::limits`.
pub const FIELDS_MAX: usize = limits::FIELDS_MAX;
/// Most fields that may be allowed.
pub const FIELDS_CEILING: i64 = limits::FIELDS_CEILING as i64;
/// Request target. Unit: bytes. See `base::limits`.
pub const TARGET_BYTES_MAX: u64 = limits::TARGET_BYTES_MAX as u64;
/// Smallest `target_bytes_max`. Unit: bytes. Enough for an ordinary path and query.
pub const TARGET_BYTES_MIN: u64 = 256;
/// What a client must move of a body while it is waited for. Unit: bytes per second. See `base::limits`.
pub const BODY_RATE_MIN: u64 = limits::BODY_RATE_MIN;
/// Most that may be asked for. Unit: bytes per second. Above the uplink of a weak mobile connection it would
/// refuse people and not attackers.
pub const BODY_RATE_CEILING: u64 = 1024 * 1024;
/// Client connections open at once on one listener. 65,536 at about 2 KiB each is 128 MiB when all are idle;
/// the process raises its own descriptor limit to fit.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Client connections of one address. See `base::limits`.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = limits::CONNECTIONS_PER_CLIENT_MAX;
/// Most connections that may be asked for: what one Linux process can have as descriptors with
/// `fs.nr_open` at its default of 1,048,576.
pub const CONNECTIONS_CEILING: i64 = 1_048_576;

/// To the end of a request head. Unit: seconds. Envoy advises 10 s for an edge proxy; nginx has 60 s, which is
/// what slow-head attacks live on.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// To the end of a TLS handshake. Unit: seconds. See `base::limits`.
pub const HANDSHAKE_TIMEOUT: Duration = limits::TLS_HANDSHAKE_TIMEOUT;
/// Each wait for progress of a client's body. Unit: seconds. nginx and HAProxy deployments use 30–60 s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two requests. Unit: seconds. nginx's `keepalive_timeout`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// To connect. Unit: seconds. See `base::limits`.
pub const CONNECT_TIMEOUT: Duration = limits::CONNECT_TIMEOUT;
/// To the first byte of an answer. Unit: seconds. See `base::limits`.
pub const FIRST_BYTE_TIMEOUT: Duration = limits::FIRST_BYTE_TIMEOUT;
/// Each wait for progress of an origin's body. Unit: seconds. See `base::limits`.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = limits::UPSTREAM_IDLE_TIMEOUT;
/// How long an unused upstream connection is kept. Unit: seconds. See `base::limits`.
pub const POOL_IDLE_TIMEOUT: Duration = limits::POOL_IDLE_TIMEOUT;
/// Idle connections that a core keeps to one endpoint. See `base::limits`.
pub const POOL_IDLE_MAX: usize = limits::POOL_IDLE_MAX;
/// Further attempts. See `base::limits`.
pub const RETRIES: u32 = limits::UPSTREAM_RETRIES;
/// Most further attempts that may be asked for.
pub const RETRIES_MAX: i64 = limits::ATTEMPTS_MAX as i64 - 1;
/// Weight of an endpoint.
pub const WEIGHT: u32 = 1;
/// Largest weight, as in nginx and HAProxy practice (HAProxy: 256); more only lengthens the round.
pub const WEIGHT_MAX: i64 = 1_000;

/// How far clocks may differ. Unit: seconds. RFC 7519 §4.1.4: "usually no more than a few minutes"; with NTP
/// half a minute is ample.
pub const JWT_LEEWAY: Duration = Duration::from_secs(30);
/// Largest leeway. Unit: seconds. More would make `exp` meaningless for short-lived tokens.
pub const JWT_LEEWAY_MAX: Duration = Duration::from_secs(300);
/// How often a key set is fetched. Unit: seconds. Envoy's `jwt_authn` cache duration is 5 min.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);
/// Shortest refresh. Unit: seconds. An issuer must not be hammered by a slip of a finger.
pub const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);
/// The field that holds an API key: what Kong, Tyk and AWS API Gateway users send.
pub const API_KEY_HEADER: &str = "x-api-key";
/// How long the store's word about a token is remembered: as long as a revoked one may still pass.
pub const REVOKED_TTL: Duration = Duration::from_secs(5);
/// Longest time for that.
pub const REVOKED_TTL_MAX: Duration = Duration::from_secs(3600);
/// How long a service may take to say who may pass: longer, and its users are away as well.
pub const AUTH_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for which a verdict is remembered: as long as somebody who was locked out may still come in.
pub const AUTH_CACHE_TTL_MAX: Duration = Duration::from_secs(3600);
/// How long a password that was checked is remembered: as long as a person who was locked out may still come in.
pub const BASIC_TTL: Duration = Duration::from_secs(300);
/// Shortest and longest `ttl` of a password.
pub const BASIC_TTL_MIN: Duration = Duration::from_secs(1);
/// See `BASIC_TTL_MIN`.
pub const BASIC_TTL_MAX: Duration = Duration::from_secs(86_400);
/// Wrong passwords that one network may bring: nobody mistypes as often, and guessing takes years.
pub const BASIC_FAILURES: Rate = Rate { count: 20, per: Duration::from_secs(60) };
/// Shortest shared secret. Unit: bytes. RFC 7518 §3.2 asks for a key as long as the hash: 32 for HS256.
pub const SECRET_BYTES_MIN: usize = 32;

/// Keys that one limit remembers. 2^20 × 16 bytes = 16 MiB.
pub const LIMIT_KEYS_MAX: usize = 1 << 20;
/// How much of an IPv6 address one key of a limit is. Unit: bits. A host or a home is given no less than a /64
/// (RFC 4291 §2.5.1, RFC 6177 §2), within which it chooses addresses at will.
pub const LIMIT_IPV6_PREFIX: u8 = 64;
/// Most keys that may be asked for: 1 GiB of cells.
pub const KEYS_CEILING: i64 = 1 << 26;
/// Largest burst. The cell-rate arithmetic works in nanoseconds of 64 bits; a million requests at once is no limit.
pub const LIMIT_BURST_CEILING: i64 = 1_000_000_000;
/// Largest count of a rate; its period divided by it must be at least a nanosecond.
pub const LIMIT_RATE_CEILING: u64 = 1_000_000_000;

/// Most that may be there at once: what one process can have as connections.
pub const CONCURRENCY_CEILING: i64 = CONNECTIONS_CEILING;
/// How long a request may wait for a seat in a burst. Unit: milliseconds. CoDel's interval (RFC 8289 §4.3): a
/// round trip of the Internet at its worst, and what people do not notice.
pub const SEAT_WAIT: Duration = Duration::from_millis(100);
/// How long in an overload. Unit: milliseconds. CoDel's target (RFC 8289 §4.4).
pub const SEAT_TARGET: Duration = Duration::from_millis(5);
/// The least adaptive limit. Envoy's `min_concurrency` is 3; one more keeps two cores busy while a base is measured.
pub const GRADIENT_MIN: u64 = 4;

/// Least bandwidth. Unit: bytes per second. Four times what a client must take (`body_rate_min`), so that nobody is
/// slowed down and then called slow.
pub const BANDWIDTH_MIN: u64 = 1024;
/// How long the store of a fleet's limits may take. Unit: milliseconds. A hundred round trips in a data centre: what
/// is slower is not there.
pub const STORE_TIMEOUT: Duration = Duration::from_millis(50);
/// The range of that.
pub const STORE_TIMEOUT_RANGE: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_millis(500));
/// Most databases that Redis may have in practice; its own default is 16.
pub const STORE_DATABASES: i64 = 1024;

/// A whole request. Unit: seconds. Envoy's default for a route.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence of a tunnel in both directions, and a receiver that takes nothing in one. Unit: seconds. HAProxy's
/// manual advises an hour for `timeout tunnel`; nginx's 60 s cuts every WebSocket whose ends do not ping, and
/// that is the first thing its users change. An idle tunnel holds two sockets and no buffer here.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// The protocols that a route may be left for: what browsers ask for, and nothing else.
pub const UPGRADES: [&str; 1] = ["websocket"];
/// Longest request body. Unit: bytes. nginx has 1 MB, which most API operators raise; 10 MiB is KrakenD's and AWS
/// API Gateway's ceiling.
pub const BODY_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// How much of a request's body is waited for before an origin is asked. Unit: bytes. None: bodies stream, and
/// an origin may answer before it has read all. nginx waits for all of it (`proxy_request_buffering`), on disk if
/// need be; Envoy and HAProxy stream.
pub const BUFFER_REQUEST: u64 = 0;
/// Most that may be waited for. Unit: bytes. It is held in memory, for each request in flight: 16 buffers.
pub const BUFFER_REQUEST_CEILING: u64 = limits::GATHERED_BYTES_MAX;
/// How long a browser remembers a preflight. Unit: seconds. Ten minutes; without a word of ours it is five
/// seconds (Fetch standard), and Chromium keeps none for more than two hours.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Longest that may be asked for. Unit: seconds. Firefox keeps none for more than a day.
pub const CORS_MAX_AGE_CEILING: Duration = Duration::from_secs(86_400);
/// Request fields that pages may send: what every JSON API with tokens needs.
pub const CORS_HEADERS: [&str; 2] = ["authorization", "content-type"];
/// Shortest body that is compressed. Unit: bytes. Below it the answer fits a packet either way (Traefik's
/// default; nginx has 20 bytes).
pub const COMPRESS_MIN: u64 = 1024;
/// Largest such bound. Unit: bytes.
pub const COMPRESS_MIN_CEILING: u64 = 1024 * 1024 * 1024;
/// What is compressed: text in every form that APIs and pages have it.
pub const COMPRESS_TYPES: [&str; 11] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/x-ndjson",
    "application/javascript",
    "application/xml",
    "application/*+xml",
    "application/wasm",
    "application/graphql",
    "image/svg+xml",
    "font/ttf",
];
/// Status of a route that is closed for maintenance (RFC 9110 §15.6.4).
pub const MAINTENANCE_STATUS: u16 = 503;
/// When clients are told to come back. Unit: seconds. Five minutes.
pub const MAINTENANCE_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Longest body that is copied for a mirror. Unit: bytes. What API calls have, and little memory.
pub const MIRROR_BODY: u64 = 64 * 1024;
/// How many of a million traces are sampled: 1 %, what most collectors are sized for.
pub const OTLP_SAMPLE: u32 = 10_000;
/// How long a collector may take for a batch. Unit: seconds. OpenTelemetry's own default.
pub const OTLP_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest duration in the language. Unit: seconds. Ten days; a longer one is a slip of units.
pub const DURATION_MAX: Duration = Duration::from_secs(864_000);
/// How long a stopping process waits. Unit: seconds. Kubernetes kills after 30 s by default.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Status of a redirect. 307 keeps the method and is not remembered by clients: a wrong one can be taken back.
pub const REDIRECT_STATUS: u16 = 307;
/// The range of redirect statuses (RFC 9110 §15.4); within it 301, 302, 303, 307, 308.
pub const REDIRECT_STATUSES: (i64, i64) = (301, 308);
/// What a failed optional part of a merge does: its `else` is what it was given for.
pub const ON_PARTIAL: &str = "answer";
/// Status of a fixed answer.
pub const RESPOND_STATUS: u16 = 200;
/// Most workers: what `WorkerId` and the largest machines of today (192 cores × 2 × 2 sockets) need.
pub const WORKERS_MAX: i64 = 1024;
/// The admin listener: loopback only, Envoy's usual port.
pub const ADMIN_PORT: u16 = 9901;

/// `cors` that only names origins.
pub fn cors() -> Cors {
    Cors {
        origins: Vec::new(),
        credentials: false,
        methods: Vec::new(),
        headers: Some(CORS_HEADERS.map(str::to_owned).into()),
        exposed: Vec::new(),
        max_age: CORS_MAX_AGE,
        private_network: false,
    }
}

/// `compress = true`.
pub fn compress() -> Compress {
    Compress {
        codings: CODINGS.into(),
        bytes_min: COMPRESS_MIN,
        types: COMPRESS_TYPES.map(str::to_owned).into(),
        allow: Vec::new(),
    }
}

/// The admin listener's address.
pub fn admin_address() -> Address {
    Address::Tcp(([127, 0, 0, 1], ADMIN_PORT).into())
}
