//! Spans of finished exchanges, on their way to the thread that sends them to a collector.
//!
//! Only what is sampled, or failed, becomes a span; whatever else is served pays one comparison. A core hands a
//! span to a bounded queue and never waits: a queue that is full loses spans, which are counted. Names and kinds
//! follow the OpenTelemetry semantic conventions for HTTP; no header, no query and no body ever stands in a span.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::base::limits::{LOG_HOST_BYTES_MAX, LOG_TARGET_BYTES_MAX, SPANS_QUEUED_MAX};
use crate::base::random::Rng;
use crate::base::time::{Instant, Wall};
use crate::exchange::{Exchange, TraceContext};
use crate::http::{Method, Version};
use crate::observe::metrics::{CoreMetrics, outcome};
use crate::observe::plan::RecordPlan;

/// A finished exchange.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace.
    pub trace_id: u128,
    /// Our span.
    pub span_id: u64,
    /// The client's, zero without one.
    pub parent_id: u64,
    /// When it began.
    pub began: Wall,
    /// How long it took. Unit: microseconds.
    pub micros: u64,
    /// The method.
    pub method: String,
    /// Whether it is one of RFC 9110, or PATCH: the conventions have no others.
    pub is_method_known: bool,
    /// The protocol's version, `1.1` for instance.
    pub version: &'static str,
    /// The effective host.
    pub host: String,
    /// The raw path.
    pub path: String,
    /// Whether the client came by TLS.
    pub tls: bool,
    /// The route's name; empty without one.
    pub route: String,
    /// Who asked.
    pub client: IpAddr,
    /// The status; zero without one.
    pub status: u16,
    /// What went wrong.
    pub fault: Option<&'static str>,
    /// Each attempt at an origin.
    pub attempts: Vec<AttemptSpan>,
}

/// One attempt at an origin, or one call of a part.
#[derive(Clone, Debug)]
pub struct AttemptSpan {
    /// Its span.
    pub span_id: u64,
    /// Its upstream.
    pub upstream: String,
    /// The part of a merge that it was for.
    pub part: Option<String>,
    /// The endpoint.
    pub address: Option<SocketAddr>,
    /// Begun behind the exchange's beginning. Unit: microseconds.
    pub start_micros: u64,
    /// How long it took. Unit: microseconds.
    pub micros: u64,
    /// The origin's status; zero without one.
    pub status: u16,
    /// What went wrong.
    pub fault: Option<&'static str>,
    /// Whether a kept connection was used.
    pub reused: bool,
}

/// A core's side of the queue, and what goes there.
#[derive(Clone)]
pub struct SpanQueue {
    queue: Sender<Span>,
    millionths: u32,
    /// What tells one collector from another; never shown.
    target: Arc<str>,
}

impl std::fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpanQueue").field("millionths", &self.millionths).finish_non_exhaustive()
    }
}

impl SpanQueue {
    /// A queue for the collector that `target` tells, and its other end.
    pub fn new(target: &str, millionths: u32) -> (Self, Receiver<Span>) {
        let (queue, feed) = bounded(SPANS_QUEUED_MAX);
        (Self { queue, millionths, target: target.into() }, feed)
    }

    /// The same queue with another share, if it is for the same collector.
    pub fn again(&self, target: &str, millionths: u32) -> Option<Self> {
        let same = *self.target == *target;
        same.then(|| Self { queue: self.queue.clone(), millionths, target: self.target.clone() })
    }

    /// Decides whether a trace that begins here is sampled; a client's word about its own stands.
    pub fn sample(&self, trace: &mut TraceContext) {
        if trace.parent_id == 0 {
            trace.flags = u8::from(trace.span_id % 1_000_000 < u64::from(self.millionths));
        }
    }

    /// Hands over the span of an exchange that is sampled or failed.
    pub fn record(
        &self,
        x: &Exchange,
        plan: &RecordPlan,
        now: Instant,
        rng: &mut Rng,
        metrics: &CoreMetrics,
    ) {
        let failed = x.fault.is_some() || outcome(x).is_some_and(|status| status.0 >= 500);
        if x.trace.flags & 1 == 0 && !failed {
            return;
        }
        if self.queue.is_full() || self.queue.try_send(Span::of(x, plan, now, rng)).is_err() {
            metrics.spans_dropped.add(1);
        }
    }
}

impl Span {
    fn of(x: &Exchange, plan: &RecordPlan, now: Instant, rng: &mut Rng) -> Self {
        let request = x.request();
        let begun = x.timeline.begun;
        let attempts = x.attempts.iter().map(|attempt| AttemptSpan {
            span_id: rng.bits() | 1,
            upstream: text(plan.upstream_json(attempt.upstream), LOG_HOST_BYTES_MAX),
            part: attempt.part.map(|part| text(plan.part_json(x.route, part), LOG_HOST_BYTES_MAX)),
            address: attempt.address,
            start_micros: attempt.begun.since(begun).as_micros() as u64,
            micros: attempt.done.unwrap_or(now).since(attempt.begun).as_micros() as u64,
            status: attempt.status.map_or(0, |status| status.0),
            fault: attempt.fault.map(|fault| fault.name()),
            reused: attempt.reused,
        });
        Self {
            trace_id: x.trace.trace_id,
            span_id: x.trace.span_id,
            parent_id: x.trace.parent_id,
            began: x.began,
            micros: x.timeline.done.unwrap_or(now).since(begun).as_micros() as u64,
            method: text(request.method_text(), LOG_HOST_BYTES_MAX),
            is_method_known: x.head.method != Method::Other,
            version: match x.head.version {
                Version::Http10 => "1.0",
                Version::Http11 => "1.1",
                Version::Http2 => "2",
            },
            host: text(request.authority(), LOG_HOST_BYTES_MAX),
            path: text(request.path(), LOG_TARGET_BYTES_MAX),
            tls: x.client.tls,
            route: x
                .route
                .map_or_else(String::new, |id| text(plan.route_json(id), LOG_HOST_BYTES_MAX)),
            client: x.client.address,
            status: outcome(x).map_or(0, |status| status.0),
            fault: x.fault.map(|fault| fault.kind.name()),
            attempts: attempts.collect(),
        }
    }
}

fn text(bytes: &[u8], bytes_max: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(bytes_max)]).into_owned()
}
