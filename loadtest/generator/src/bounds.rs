//! What a run may take at most. Never a wait, a count or a buffer without its line here.

use std::time::Duration;

/// How long a run may last. A load test is watched; what runs longer is a soak test and has its own tools.
pub const RUN_MAX: Duration = Duration::from_secs(600);
/// Answers of one run: 10 minutes at 160,000 a second.
pub const REQUESTS_MAX: u64 = 100_000_000;
/// Requests a second that may be asked for. Above it the clock's own reading is a share of the load.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Connections that carry load: each takes a descriptor and about 2 KiB here.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Streams at once on a connection of HTTP/2.
pub const STREAMS_MAX: usize = 1_000;
/// Threads: a machine with more cores than this is driven by several generators.
pub const THREADS_MAX: usize = 64;
/// Bytes of a request's body; kept once, sent by all.
pub const BODY_MAX: usize = 64 << 20;
/// Different requests of a mix, ranges written out: 100,000 keys of S12e, some 300 bytes each.
pub const REQUESTS_OF_MIX_MAX: usize = 131_072;
/// Bytes of an answer's head. Gateways refuse far less.
pub const HEAD_MAX: usize = 64 << 10;
/// Fields of an answer's head, as above.
pub const FIELDS_MAX: usize = 128;
/// Bytes of an answer's body: more is taken for an endless one.
pub const ANSWER_MAX: u64 = 1 << 30;
/// Longest wait for one answer; it is recorded with what was waited, so that no failure makes a percentile better.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Failures to connect, one after the other, after which a run is given up.
pub const CONNECT_FAILURES_MAX: u32 = 1_000;
/// Bytes read at once: a large TLS record four times.
pub const READ_BYTES: usize = 64 << 10;
/// Reads of one connection before another has its turn.
pub const READS_IN_TURN_MAX: usize = 64;
/// Longest latency that is told apart: what takes longer is recorded as this.
pub const LATENCY_MAX: Duration = Duration::from_secs(120);
/// Messages of things that went wrong, in a report: the first of each kind tells the story.
pub const EXAMPLES_MAX: usize = 8;
