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

// ---- http ----------------------------------------------------------------------------------------

/// Digits of a Content-Length. Nineteen always fit 64 bits; RFC 9110 §8.6 asks to guard against overflow.
pub const CONTENT_LENGTH_DIGITS_MAX: usize = 19;
/// The largest body or chunk whose length we accept. Unit: bytes. 2^63 - 1, so that offsets never wrap,
/// signed or not, here or at an origin.
pub const BODY_BYTES_CEILING: u64 = i64::MAX as u64;
/// Options in the Connection fields of one head. Real messages have one or two; each is compared with
/// every unknown field of the head, so the product must stay small.
pub const CONNECTION_OPTIONS_MAX: usize = 16;
/// Hex digits of one chunk size, leading zeros included; sixteen fill 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;
/// Bytes of chunk framing that one body may have beyond 16 and twice the data of each chunk, summed.
/// Unit: bytes. Go's net/http bounds it so (CVE-2023-39326): plain tiny chunks pass, extension floods do not.
pub const CHUNK_EXCESS_BYTES_MAX: i64 = 16 * 1024;
