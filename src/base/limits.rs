//! Every bound in the program, with unit, reason and source. Relations between them are asserted.
//!
//! A bound never stands as a bare number elsewhere; what an operator may change is a default here and
//! a key of the configuration.

// ---- buffers -------------------------------------------------------------------------------------

/// Size of one pooled buffer. Unit: bytes. 64 KiB holds any head and moves bodies in few system calls;
/// memory behind it is only touched as far as it is used.
pub const BUFFER_BYTES: usize = 64 * 1024;
/// Buffers that one core may have in use at once. 64 KiB × 16,384 = 1 GiB of address space; a request
/// in flight holds three to five.
pub const BUFFERS_MAX: usize = 16 * 1024;
/// Free buffers that one core keeps for reuse; more are given back to the allocator.
pub const BUFFERS_KEPT_MAX: usize = 512;

// ---- request heads -------------------------------------------------------------------------------

/// Request head, request line to empty line. Unit: bytes. Default of `limits.head_bytes_max`.
/// nginx takes 32 KiB in all (4 × 8k), Envoy 60 KiB.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Fields in one head. Default of `limits.fields_max`; Envoy and nginx-like peers use 100.
pub const FIELDS_MAX: usize = 100;
/// The hard ceiling of `limits.fields_max`.
pub const FIELDS_CEILING: usize = 256;
/// Request target. Unit: bytes. Default of `limits.target_bytes_max`; RFC 9110 §4.1 asks for at least 8000.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Extensions of one chunk-size line. Unit: bytes. RFC 9112 §7.1.1 asks recipients to bound them.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;
/// Trailer section of a chunked body. Unit: bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Interim (1xx) responses accepted from an origin before the final one.
pub const INTERIM_RESPONSES_MAX: u32 = 16;

const _: () = assert!(HEAD_BYTES_MAX < BUFFER_BYTES, "a head must fit a buffer");
const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX, "a target must fit a head");

// ---- routing -------------------------------------------------------------------------------------

/// Segments of a request path that are looked at. RFC 3986 sets no bound; deeper paths are refused (400).
pub const PATH_SEGMENTS_MAX: usize = 128;
/// Captured parameters of one route.
pub const PARAMS_MAX: usize = 16;
/// Limits (rate limits) that one route may name.
pub const LIMITS_PER_ROUTE_MAX: usize = 8;

// ---- upstreams and aggregation -------------------------------------------------------------------

/// Tries of one request at one upstream, the first included.
pub const ATTEMPTS_MAX: u32 = 3;
/// Parts of one merge.
pub const PARTS_MAX: usize = 32;
/// Default bound on one part's body. Unit: bytes.
pub const PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Nesting of one part's JSON. Deeper documents are refused so that no parser can be made to recurse.
pub const JSON_DEPTH_MAX: usize = 128;
/// Attempts recorded of one exchange: every part tried as often as allowed.
pub const ATTEMPTS_RECORDED_MAX: usize = PARTS_MAX * ATTEMPTS_MAX as usize;

// ---- cores ---------------------------------------------------------------------------------------

/// Client connections open on one core; more are closed at once. The kernel's descriptor limit is
/// usually met first.
pub const CONNECTIONS_PER_CORE_MAX: usize = 100_000;
// ---- policy --------------------------------------------------------------------------------------

/// Largest count of a rate. Unit: requests per period. Above a thousand million a second one request has
/// less than a nanosecond, the clock's own unit.
pub const LIMIT_RATE_MAX: u64 = 1_000_000_000;
/// Largest burst. Unit: requests. Chosen so that a spent burst lies within half a turn of the 44-bit clock
/// of `base/gcra.rs` (asserted there).
pub const LIMIT_BURST_MAX: u64 = 1_000_000_000;
/// How much older than another core's the time of one core may be before a limit could forget a charge.
/// `now` is read after every await, so that real differences are milliseconds.
pub const GCRA_SKEW_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// How long a cell must have been past before another key may take its place: longer than the `now` of
/// two cores differs, so that both agree that it is past.
pub const GCRA_EVICTION_MARGIN: std::time::Duration = std::time::Duration::from_millis(100);
/// Keys that one limit remembers by default: 2 × 2^20 cells of 8 bytes, 16 MiB of which only the touched
/// pages are real.
pub const LIMIT_KEYS_DEFAULT: usize = 1 << 20;
/// The hard ceiling of `limit.keys_max`: 1 GiB of cells.
pub const LIMIT_KEYS_MAX: usize = 1 << 26;
/// Tries of one compare-and-swap before a request is refused. Each failure means that another core's
/// request for the same cell was decided; 64 in a row is a storm on one key.
pub const CELL_TRIES_MAX: u32 = 64;

/// A compact token in the Authorization field. Unit: bytes. Half of the default head; identity providers
/// warn from 4 KiB on (Auth0, Okta) because servers commonly stop at 8 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The header of a token, decoded. Unit: bytes. `alg`, `kid`, `typ` and a thumbprint need under 300.
pub const TOKEN_HEADER_BYTES_MAX: usize = 2 * 1024;
/// Nesting of a token's claims and of a key set. Claims of OpenID providers nest to about five.
pub const TOKEN_DEPTH_MAX: u32 = 16;
/// Keys of a set that are tried for one token that names none: a rotation has two at once, seldom three.
pub const TOKEN_KEYS_TRIED_MAX: usize = 4;
/// Verified tokens that one core remembers. With 1 KiB each, 4 MiB: half of the byte bound.
pub const TOKENS_REMEMBERED_MAX: usize = 8 * 1024;
/// What the remembered tokens of one core may weigh, claims included (counted as three times the token).
/// Unit: bytes.
pub const TOKENS_REMEMBERED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A key set as text. Unit: bytes. A key with a certificate chain is about 8 KiB.
pub const KEY_SET_BYTES_MAX: usize = 512 * 1024;
/// Keys of one set. Google publishes 2, Entra ID about 10.
pub const KEY_SET_KEYS_MAX: usize = 64;
/// Between two fetches of a key set that unknown key ids asked for, however many there are.
pub const KEY_FETCH_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
/// How long a request with an unknown key id waits for that fetch.
pub const KEY_FETCH_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// How long one fetch of a key set may take, from the name's resolution to the last byte.
pub const KEY_FETCH_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// First pause after a failed fetch; it doubles up to `KEY_FETCH_BACKOFF_MAX` or the refresh interval.
pub const KEY_FETCH_BACKOFF_MIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Longest pause after failed fetches.
pub const KEY_FETCH_BACKOFF_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// The latest `exp` that is believed: 9999-12-31. Unit: seconds since 1970. A later one is milliseconds by
/// mistake, and would never expire.
pub const TOKEN_EXP_MAX: u64 = 253_402_300_799;

const _: () = assert!(TOKEN_BYTES_MAX < HEAD_BYTES_MAX, "a token must fit a head");
const _: () = assert!(TOKENS_REMEMBERED_BYTES_MAX > 64 * TOKEN_BYTES_MAX, "large tokens must fit");

// ---- aggregate -----------------------------------------------------------------------------------

/// Steps of one `pick` path. Deeper than any API is written by hand.
pub const PICK_STEPS_MAX: usize = 16;
