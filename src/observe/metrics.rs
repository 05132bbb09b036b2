//! One core's counters, gauges and histograms: one writer each, read by the admin thread.
//!
//! Every number is an atomic word that only its own core writes, by a plain load and a plain store; there
//! is never a read-modify-write instruction, a fence or a lock on the way. A reader sees each number whole
//! and at most a moment old; sums across numbers may be off by the requests of that moment. A worker that
//! is started again takes over its predecessor's block, so that counters go on.
//!
//! [`CoreMetrics::record`] is all that the end of an exchange costs here: it allocates only when a route
//! answers a method with a status for the first time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::ids::RouteId;
use crate::base::limits::{
    LIMIT_LABELS_MAX, ORIGIN_SERIES_MAX, PART_LABELS_MAX, REQUEST_SERIES_MAX, UPSTREAM_LABELS_MAX,
};
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::{Attempt, Hedge};
use crate::exchange::cached::Cached;
use crate::exchange::fault::{FaultKind, Side};
use crate::exchange::part::{CacheUse, CacheUses, REASONS};
use crate::http::Status;
use crate::http::h2::flood::Flood;
use crate::observe::grpc::GrpcMetrics;
use crate::observe::limits::LimitMetrics;
use crate::observe::names::value;
use crate::observe::origin_h2::OriginH2Metrics;
use crate::observe::plan::{Label, RecordPlan};
use crate::observe::series::{Histogram, OVERHEAD_BUCKETS, Overhead, SeriesKey, SeriesTable};

/// All that one core counts. Shared by `Arc` with the admin thread; written by its core only.
#[repr(align(128))] // two cache lines: neighbours prefetched in pairs belong to one core
#[derive(Debug)]
pub struct CoreMetrics {
    /// Requests by route, method and status, with their durations.
    pub(crate) requests: SeriesTable,
    /// Attempts by upstream and status, with their durations.
    pub(crate) origins: SeriesTable,
    /// Time of requests outside of attempts.
    pub(crate) overhead: Overhead,
    faults: [Counter; FAULTS],
    upstreams: Chunks<UpstreamCounters>,
    parts: Chunks<PartCounters>,
    /// What limits said.
    pub limits: LimitMetrics,
    /// Requests finished.
    pub(crate) finished: Counter,
    /// Bytes read from clients.
    pub(crate) bytes_in: Counter,
    /// Bytes written to clients.
    pub(crate) bytes_out: Counter,
    /// Requests being served now; raised when a head is complete, lowered when it is recorded.
    pub active_requests: Gauge,
    /// Tunnels opened.
    pub tunnels: Counter,
    /// Tunnels open now.
    pub tunnels_open: Gauge,
    /// Bytes carried from clients in tunnels, counted as they pass.
    pub tunnel_bytes_in: Counter,
    /// Bytes carried to clients in tunnels, counted as they pass.
    pub tunnel_bytes_out: Counter,
    /// Client connections accepted.
    pub connections_accepted: Counter,
    /// Client connections closed at once because a bound was reached.
    pub connections_refused: Counter,
    headers_refused: [Counter; HeaderRefusal::ALL.len()],
    handshakes: [Counter; Handshake::ALL.len()],
    /// Client connections that spoke HTTP/2.
    pub h2_connections: Counter,
    /// Streams that clients opened.
    pub h2_streams: Counter,
    h2_floods: [Counter; Flood::ALL.len()],
    /// Connections to origins that speak HTTP/2.
    pub origin_h2: OriginH2Metrics,
    /// Calls of gRPC.
    pub grpc: GrpcMetrics,
    /// Idle client connections closed to make room for others.
    pub connections_given_up: Counter,
    /// Client connections open now.
    pub connections_open: Gauge,
    /// Idle upstream connections kept; set at the core's tick.
    pub pool_idle: Gauge,
    /// Buffers in use; set at the core's tick.
    pub buffers_in_use: Gauge,
    /// What stored responses weigh; set at the first core's tick, once it has a store.
    pub cache_bytes: Gauge,
    /// Stored responses that went for want of room.
    pub cache_evicted: Counter,
    /// Requests on routes with a cache, by place in `Cached::ALL`.
    cached: [Counter; Cached::ALL.len()],
    /// Bearer tokens found among those verified before.
    pub jwt_hits: Counter,
    /// Bearer tokens whose signature had to be checked.
    pub jwt_misses: Counter,
    /// Bytes of answers before they were compressed.
    pub compress_bytes_in: Counter,
    /// Bytes of them behind it.
    pub compress_bytes_out: Counter,
    /// Answers that were not compressed because every encoder was lent.
    pub compress_skipped: Counter,
    /// Copies of requests that the second upstream answered.
    pub mirrors_answered: Counter,
    /// Those that it did not.
    pub mirrors_failed: Counter,
    /// Requests that were not copied for want of room.
    pub mirrors_left_out: Counter,
    /// Spans lost because their queue was full.
    pub spans_dropped: Counter,
    /// Connections lost to a mistake of ours.
    pub panics: Counter,
    /// Lines of the access log lost because every page of the core was on its way.
    pub log_lines_dropped: Counter,
}

const SIDES: usize = 3;
const FAULTS: usize = FaultKind::ALL.len() * SIDES;

impl Default for CoreMetrics {
    fn default() -> Self {
        Self {
            requests: SeriesTable::new(REQUEST_SERIES_MAX),
            origins: SeriesTable::new(ORIGIN_SERIES_MAX),
            overhead: Histogram::default(),
            faults: [const { Counter::new() }; FAULTS],
            upstreams: Chunks::new(UPSTREAM_LABELS_MAX),
            parts: Chunks::new(PART_LABELS_MAX),
            limits: LimitMetrics::new(LIMIT_LABELS_MAX),
            finished: Counter::new(),
            bytes_in: Counter::new(),
            bytes_out: Counter::new(),
            active_requests: Gauge::default(),
            tunnels: Counter::new(),
            tunnels_open: Gauge::default(),
            tunnel_bytes_in: Counter::new(),
            tunnel_bytes_out: Counter::new(),
            connections_accepted: Counter::new(),
            connections_refused: Counter::new(),
            headers_refused: [const { Counter::new() }; HeaderRefusal::ALL.len()],
            handshakes: [const { Counter::new() }; Handshake::ALL.len()],
            h2_connections: Counter::new(),
            h2_streams: Counter::new(),
            h2_floods: [const { Counter::new() }; Flood::ALL.len()],
            origin_h2: OriginH2Metrics::default(),
            grpc: GrpcMetrics::default(),
            connections_given_up: Counter::new(),
            connections_open: Gauge::default(),
            pool_idle: Gauge::default(),
            buffers_in_use: Gauge::default(),
            cache_bytes: Gauge::default(),
            cache_evicted: Counter::new(),
            cached: [const { Counter::new() }; Cached::ALL.len()],
            jwt_hits: Counter::new(),
            jwt_misses: Counter::new(),
            compress_bytes_in: Counter::new(),
            compress_bytes_out: Counter::new(),
            compress_skipped: Counter::new(),
            mirrors_answered: Counter::new(),
            mirrors_failed: Counter::new(),
            mirrors_left_out: Counter::new(),
            spans_dropped: Counter::new(),
            panics: Counter::new(),
            log_lines_dropped: Counter::new(),
        }
    }
}

impl CoreMetrics {
    /// Counts an exchange that is over, however it ended. `now` stands in for the last byte's moment
    /// where the exchange never got so far.
    pub fn record(&self, x: &Exchange, plan: &RecordPlan, now: Instant) {
        let spent = Spent::of(x, now);
        let status = outcome(x).map_or(0, |status| status.0);
        let key = SeriesKey::request(plan.route_label(x.route), x.head.method, status);
        self.requests.record(key, spent.total);
        self.overhead.record(&OVERHEAD_BUCKETS, spent.overhead);
        self.finished.add(1);
        self.grpc.record(x.grpc.status);
        self.bytes_in.add(x.bytes_in);
        self.bytes_out.add(x.bytes_out);
        if let Some(fault) = x.fault {
            self.faults[fault_index(fault.kind, fault.side)].add(1);
        }
        self.record_attempts(&x.attempts, plan, now);
        self.limits.record(&x.limits, plan);
        for failure in &x.parts_failed {
            let label = plan.part_label(x.route, failure.part);
            if let Some(counters) = self.parts.at(label.index()) {
                counters.failures[failure.reason_index()].add(1);
            }
        }
        if let Some(how) = x.cached {
            self.cached[how as usize].add(1);
        }
        for cached in &x.parts_cached {
            self.record_uses(plan.part_label(x.route, cached.part), cached.uses);
        }
    }

    /// Counts the renewal of a part's stale answer, which belongs to no exchange.
    pub fn record_renewal(
        &self,
        route: RouteId,
        part: u16,
        attempts: &[Attempt],
        plan: &RecordPlan,
        now: Instant,
    ) {
        self.record_attempts(attempts, plan, now);
        let label = plan.part_label(Some(route), part);
        self.record_uses(label, CacheUses::one(CacheUse::Renewal));
    }

    /// Counts the call that renewed a stale response, which belongs to no exchange.
    pub fn record_cache_renewal(&self, attempt: &Attempt, plan: &RecordPlan, now: Instant) {
        self.record_attempts(std::slice::from_ref(attempt), plan, now);
    }

    fn record_uses(&self, part: Label, uses: CacheUses) {
        let Some(counters) = self.parts.at(part.index()) else { return };
        uses.iter().for_each(|(how, count)| counters.cached[how as usize].add(u64::from(count)));
    }

    /// A client's connection was accepted and is served.
    pub fn connection_opened(&self) {
        self.connections_accepted.add(1);
        self.connections_open.raise();
    }

    /// A client's connection is gone.
    pub fn connection_closed(&self) {
        self.connections_open.lower();
    }

    /// Forgets what a worker that died was holding; counters stay.
    pub fn reset_gauges(&self) {
        self.active_requests.set(0);
        self.connections_open.set(0);
        self.tunnels_open.set(0);
        self.limits.store_connected.set(0);
        self.pool_idle.set(0);
        self.buffers_in_use.set(0);
        self.cache_bytes.set(0);
    }

    /// Counts attempts that belong to no exchange of a client.
    pub fn record_attempts(&self, attempts: &[Attempt], plan: &RecordPlan, now: Instant) {
        let mut tried = 0_u64;
        for attempt in attempts {
            let label = plan.upstream_label(attempt.upstream);
            // Parts are numbered below 32 (`PARTS_MAX`); a forwarded request takes the last bit.
            let part = 1 << attempt.part.unwrap_or(63).min(63);
            let retry = tried & part != 0 && attempt.hedge.is_none();
            self.record_attempt(attempt, label, retry, now);
            self.limits.record(&attempt.limits, plan);
            tried |= part;
        }
    }

    fn record_attempt(&self, attempt: &Attempt, label: Label, retry: bool, now: Instant) {
        let status = attempt.status.map_or(0, |status| status.0);
        let took = attempt.done.unwrap_or(now).since(attempt.begun);
        self.origins.record(SeriesKey::origin(label, status), took);
        let Some(counters) = self.upstreams.at(label.index()) else { return };
        counters.attempts.add(1);
        counters.bytes.add(attempt.bytes);
        if retry {
            counters.retries.add(1);
        }
        if let Some(hedge) = attempt.hedge {
            counters.hedges[hedge as usize].add(1);
        }
        if attempt.reused {
            counters.reused.add(1);
        }
        // What its client did is no failure of the origin's, and neither is what our own limits refused.
        let failed = attempt.fault.is_some_and(|kind| match kind {
            // Of a part it is the answer.
            FaultKind::BodyTooLarge => attempt.part.is_some(),
            kind => !kind.is_of_client() && !kind.is_of_limit(),
        });
        if failed {
            counters.failures.add(1);
            if attempt.connected.is_none() {
                counters.connect_failures.add(1);
            }
        }
    }

    /// How many requests the response cache treated so.
    pub(crate) fn cached(&self, how: Cached) -> u64 {
        self.cached[how as usize].read()
    }

    /// A connection was closed because of its PROXY header.
    pub fn header_refused(&self, how: HeaderRefusal) {
        self.headers_refused[how as usize].add(1);
    }

    /// How many connections were closed so.
    pub(crate) fn headers_refused(&self, how: HeaderRefusal) -> u64 {
        self.headers_refused[how as usize].read()
    }

    /// A client's TLS handshake ended so.
    pub fn handshake(&self, how: Handshake) {
        self.handshakes[how as usize].add(1);
    }

    /// How many ended so.
    pub(crate) fn handshakes(&self, how: Handshake) -> u64 {
        self.handshakes[how as usize].read()
    }

    /// A client's connection in HTTP/2 was closed, or its stream reset, for this.
    pub fn h2_flood(&self, kind: Flood) {
        self.h2_floods[kind as usize].add(1);
    }

    /// How often that was.
    pub(crate) fn h2_floods(&self, kind: Flood) -> u64 {
        self.h2_floods[kind as usize].read()
    }

    /// How often requests ended with this fault.
    pub(crate) fn faults(&self, kind: FaultKind, side: Side) -> u64 {
        self.faults[fault_index(kind, side)].read()
    }

    /// The parts that may have failed, by label.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Label, &PartCounters)> {
        self.parts.iter().map(|(index, counters)| (Label(index as u32), counters))
    }

    /// The upstreams that were ever tried, by label.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = (Label, &UpstreamCounters)> {
        let tried = self.upstreams.iter().filter(|(_, counters)| counters.attempts.read() > 0);
        tried.map(|(index, counters)| (Label(index as u32), counters))
    }
}

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRefusal {
    /// Only trusted peers may connect, and this one is none.
    Untrusted,
    /// A PROXY header was due, and something else came.
    Missing,
    /// The header is not good.
    Malformed,
    /// It took too long.
    Timeout,
}

impl HeaderRefusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [HeaderRefusal; 4] =
        [Self::Untrusted, Self::Missing, Self::Malformed, Self::Timeout];

    /// The word in the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untrusted => value::UNTRUSTED,
            Self::Missing => value::MISSING,
            Self::Malformed => value::MALFORMED,
            Self::Timeout => value::TIMEOUT,
        }
    }
}

/// How a client's TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Well, from the beginning.
    Full,
    /// Well, by taking up an earlier session.
    Resumed,
    /// The two sides do not agree, or the client could not prove who it is.
    Refused,
    /// It took too long.
    Timeout,
    /// The client closed.
    Gone,
    /// There were too many at once.
    Shed,
    /// What came was no TLS.
    PlainHttp,
}

impl Handshake {
    /// All of them, in the order of their numbers.
    pub const ALL: [Handshake; 7] = [
        Self::Full,
        Self::Resumed,
        Self::Refused,
        Self::Timeout,
        Self::Gone,
        Self::Shed,
        Self::PlainHttp,
    ];

    /// The word in the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => value::FULL,
            Self::Resumed => value::RESUMED,
            Self::Refused => value::REFUSED,
            Self::Timeout => value::TIMEOUT,
            Self::Gone => value::GONE,
            Self::Shed => value::SHED,
            Self::PlainHttp => value::PLAIN_HTTP,
        }
    }
}

/// What one core counts of one part: its failures by reason, and what the store did for it.
#[derive(Debug, Default)]
pub(crate) struct PartCounters {
    pub(crate) failures: [Counter; REASONS.len()],
    pub(crate) cached: [Counter; CacheUse::ALL.len()],
}

/// What one core counts of one upstream.
#[derive(Debug, Default)]
pub(crate) struct UpstreamCounters {
    pub(crate) attempts: Counter,
    pub(crate) retries: Counter,
    pub(crate) hedges: [Counter; Hedge::ALL.len()],
    pub(crate) reused: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) failures: Counter,
    pub(crate) bytes: Counter,
}

/// What the flush thread counts; it alone writes here.
#[derive(Debug, Default)]
pub struct FlushMetrics {
    /// Lines written.
    pub lines: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Lines lost because the file or pipe did not take them.
    pub lines_dropped: Counter,
    /// Spans that a collector took.
    pub spans_exported: Counter,
    /// Spans that it did not.
    pub spans_failed: Counter,
}

/// The status that an exchange ended with: the one sent, or that of its fault where none could be sent
/// (499 when the client was gone: nginx's word, never on the wire).
pub(crate) fn outcome(x: &Exchange) -> Option<Status> {
    x.status.or_else(|| x.fault.map(|fault| fault.kind.status()))
}

/// Where the time of an exchange went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// From the first byte in to the last byte out.
    pub(crate) total: Duration,
    /// The part of it in which no attempt at an origin was under way.
    pub(crate) overhead: Duration,
}

impl Spent {
    pub(crate) fn of(x: &Exchange, now: Instant) -> Self {
        let begun = x.timeline.begun;
        let end = x.timeline.done.unwrap_or(now);
        let total = end.since(begun);
        // Attempts stand in order of beginning, so one walk finds the time that any of them covers.
        let mut covered = Duration::ZERO;
        let mut frontier = begun;
        for attempt in &x.attempts {
            let from = attempt.begun.max(frontier);
            let to = attempt.done.unwrap_or(end).min(end);
            covered += to.since(from);
            frontier = frontier.max(to);
        }
        Self { total, overhead: total.saturating_sub(covered) }
    }
}

/// A number that only rises and has one writer. Also the words of which histograms are made.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`. Only the owner may call it: two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.store(self.read().wrapping_add(n));
    }

    /// The number now.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn store(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A number that rises and falls and has one writer.
#[derive(Debug, Default)]
pub struct Gauge(Counter);

impl Gauge {
    /// One more.
    pub fn raise(&self) {
        self.0.add(1);
    }

    /// One less; stays at zero.
    pub fn lower(&self) {
        self.0.store(self.0.read().saturating_sub(1));
    }

    /// Exactly `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value);
    }

    /// The number now.
    pub fn read(&self) -> u64 {
        self.0.read()
    }
}

/// A bounded list whose items come to be, 64 at a time, when first asked for. Only its writer asks by
/// index; a reader sees what there is.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

const CHUNK: usize = 64;

impl<T: Default> Chunks<T> {
    pub(crate) fn new(items_max: usize) -> Self {
        Self { chunks: (0..items_max.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// The item at `index`; `None` past the bound.
    pub(crate) fn at(&self, index: usize) -> Option<&T> {
        let chunk = self.chunks.get(index / CHUNK)?;
        let fresh = || (0..CHUNK).map(|_| T::default()).collect();
        chunk.get_or_init(fresh).get(index % CHUNK)
    }

    /// The items that there are, with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let present = self.chunks.iter().enumerate();
        present.filter_map(|(number, chunk)| Some((number, chunk.get()?))).flat_map(
            |(number, chunk)| {
                chunk.iter().enumerate().map(move |(place, item)| (number * CHUNK + place, item))
            },
        )
    }
}

fn fault_index(kind: FaultKind, side: Side) -> usize {
    let side = match side {
        Side::Downstream => 0,
        Side::Gateway => 1,
        Side::Upstream => 2,
    };
    kind as usize * SIDES + side
}

// The kinds number themselves in the order of `ALL`; the table of faults relies on it.
const _: () = {
    let mut index = 0;
    while index < FaultKind::ALL.len() {
        assert!(FaultKind::ALL[index] as usize == index);
        index += 1;
    }
};

#[cfg(test)]
mod tests;
