//! A snapshot as text: the Prometheus exposition format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Each family stands once, with `# HELP` and `# TYPE` before its samples; label values are escaped,
//! buckets are cumulative and end in `+Inf`, durations are seconds. It never shows a value that a client
//! chose: labels are names from the configuration and words from closed sets.

use std::fmt::{self, Write};

use crate::base::name::Name;
use crate::exchange::attempt::Hedge;
use crate::exchange::cached::Cached;
use crate::exchange::fault::FaultKind;
use crate::exchange::marks::LimitSaid;
use crate::exchange::part::{CacheUse, REASONS};
use crate::http::h2::flood::Flood;
use crate::observe::grpc;
use crate::observe::limits::{self, SeatsNow};
use crate::observe::metrics::{Handshake, HeaderRefusal};
use crate::observe::names::{Metric, label, metric, value};
use crate::observe::plan::{Label, PART_SEPARATOR};
use crate::observe::series::{DURATION_BUCKETS, HistogramSum, OVERHEAD_BUCKETS};
use crate::observe::snapshot::{Snapshot, UpstreamSum, WorkerSum};

/// The media type of what [`render`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The snapshot's text.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Page { text: String::with_capacity(64 * 1024) };
    page.requests(snapshot);
    page.traffic(snapshot);
    page.upstreams(snapshot);
    page.core(snapshot);
    page.process(snapshot);
    page.text
}

/// Appends a family with one sample and no labels, for values that others find out (the process's own).
pub fn append(text: &mut String, metric: Metric, sample: f64) {
    let mut page = Page { text: std::mem::take(text) };
    page.head(metric);
    page.sample(metric.name, "", &[], Value::Float(sample));
    *text = page.text;
}

/// Until when a certificate holds.
#[derive(Clone, Debug)]
pub struct CertificateEnd {
    /// The listener that shows it.
    pub listener: String,
    /// Its first name.
    pub name: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Unit: seconds since 1970.
    pub not_after: u64,
    /// How long before its end it is worth a word. Unit: seconds.
    pub soon: u64,
}

/// Appends until when certificates hold; at most `TLS_CERTIFICATES_MAX` of each listener.
pub fn append_certificates(text: &mut String, ends: &[CertificateEnd]) {
    if ends.is_empty() {
        return;
    }
    let mut page = Page { text: std::mem::take(text) };
    page.head(metric::CERTIFICATE_END);
    for CertificateEnd { listener, name, serial, not_after, .. } in ends {
        let labels =
            [(label::LISTENER, &**listener), (label::NAME, &**name), (label::SERIAL, &**serial)];
        page.count(metric::CERTIFICATE_END, &labels, *not_after);
    }
    *text = page.text;
}

/// A certificate that is obtained by itself.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// Its first host.
    pub name: String,
    /// When it ends, if there is one. Unit: seconds since 1970.
    pub not_after: Option<u64>,
    /// When it was obtained last; 0 for unknown. Unit: seconds since 1970.
    pub last_success: u64,
    /// Attempts that failed.
    pub failures: u64,
}

/// Appends what came of obtaining certificates; at most one line of each kind for a certificate of a listener.
pub fn append_obtained(text: &mut String, all: &[Obtained]) {
    if all.is_empty() {
        return;
    }
    let mut page = Page { text: std::mem::take(text) };
    let mut add = |family: Metric, value: &dyn Fn(&Obtained) -> u64| {
        page.head(family);
        for one in all {
            page.count(family, &[(label::NAME, &*one.name)], value(one));
        }
    };
    add(metric::ACME_END, &|one| one.not_after.unwrap_or(0));
    add(metric::ACME_SUCCESS, &|one| one.last_success);
    add(metric::ACME_FAILURES, &|one| one.failures);
    *text = page.text;
}

struct Page {
    text: String,
}

/// A sample's value.
#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Float(f64),
    /// Nanoseconds, shown in seconds without rounding.
    Nanos(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Float(float) => write!(f, "{float}"),
            Self::Nanos(nanos) => {
                write!(f, "{}", nanos / 1_000_000_000)?;
                let fraction = nanos % 1_000_000_000;
                if fraction == 0 {
                    return Ok(());
                }
                let digits = format!("{fraction:09}");
                write!(f, ".{}", digits.trim_end_matches('0'))
            }
        }
    }
}

impl Page {
    fn requests(&mut self, snapshot: &Snapshot) {
        self.head(metric::REQUEST_DURATION);
        for (key, sum) in &snapshot.requests {
            let labels = [
                (label::METHOD, key.method()),
                (label::ROUTE, named(&snapshot.routes, key.label())),
                (label::STATUS, &key.status().to_string()),
            ];
            self.histogram(metric::REQUEST_DURATION, &labels, &DURATION_BUCKETS, sum);
        }
        self.one(metric::ACTIVE_REQUESTS, snapshot.active_requests);
        self.head(metric::OVERHEAD);
        self.histogram(metric::OVERHEAD, &[], &OVERHEAD_BUCKETS, &snapshot.overhead);
        self.head(metric::FAULTS);
        for ((kind, side), count) in &snapshot.faults {
            let kind = FaultKind::ALL.get(*kind).map_or("", |kind| kind.name());
            self.count(metric::FAULTS, &[(label::ERROR, kind), (label::SIDE, side)], *count);
        }
        self.one(metric::LIMITED, snapshot.limited);
        self.limits(snapshot);
        self.by_word(
            metric::JWT_CACHE,
            label::RESULT,
            [(value::HIT, snapshot.jwt_hits), (value::MISS, snapshot.jwt_misses)],
        );
    }

    fn limits(&mut self, snapshot: &Snapshot) {
        self.head(metric::LIMITS);
        for ((limit, said), count) in &snapshot.limits {
            let name = named(&snapshot.limit_names, *limit);
            let (kind, name) = name.split_once(PART_SEPARATOR).unwrap_or((name, name));
            let said = LimitSaid::ALL.get(*said).map_or("", |said| limits::word(*said));
            let labels = [(label::KIND, kind), (label::LIMIT, name), (label::RESULT, said)];
            self.count(metric::LIMITS, &labels, *count);
        }
        self.one(metric::STORE_CONNECTIONS, snapshot.store_connections);
        self.one(metric::STORE_MISSED, snapshot.store_missed);
        self.one(metric::STORE_AWAY, snapshot.store_away);
        self.by_seats(metric::SEATS_TAKEN, snapshot, |now| now.taken);
        self.by_seats(metric::SEATS_WAITING, snapshot, |now| now.waiting);
        self.by_seats(metric::SEATS_LIMIT, snapshot, |now| now.limit);
    }

    fn traffic(&mut self, snapshot: &Snapshot) {
        self.by_word(
            metric::BYTES,
            label::DIRECTION,
            [(value::IN, snapshot.bytes_in), (value::OUT, snapshot.bytes_out)],
        );
        self.by_worker(metric::WORKER_REQUESTS, snapshot, |worker| worker.requests);
        self.by_worker(metric::CONNECTIONS_ACCEPTED, snapshot, |worker| worker.accepted);
        self.by_worker(metric::CONNECTIONS_OPEN, snapshot, |worker| worker.open);
        self.one(metric::CONNECTIONS_REFUSED, snapshot.connections_refused);
        let refused = |how: HeaderRefusal| (how.name(), snapshot.headers_refused[how as usize]);
        let refused = HeaderRefusal::ALL.map(refused);
        self.by_word(metric::PROXY_HEADERS_REFUSED, label::REASON, refused);
        let handshakes = |how: Handshake| (how.name(), snapshot.handshakes[how as usize]);
        self.by_word(metric::TLS_HANDSHAKES, label::RESULT, Handshake::ALL.map(handshakes));
        self.one(metric::H2_CONNECTIONS, snapshot.h2_connections);
        self.one(metric::H2_STREAMS, snapshot.h2_streams);
        let floods = |kind: Flood| (value::of_flood(kind), snapshot.h2_floods[kind as usize]);
        self.by_word(metric::H2_FLOODS, label::KIND, Flood::ALL.map(floods));
        self.head(metric::GRPC_CALLS);
        for (code, count) in grpc::CODES.iter().zip(snapshot.grpc) {
            self.count(metric::GRPC_CALLS, &[(label::GRPC_STATUS, code)], count);
        }
        let origins = &snapshot.origin_h2;
        self.one(metric::ORIGIN_H2_OPEN, origins.open);
        self.one(metric::ORIGIN_H2_CONNECTIONS, origins.connections);
        self.one(metric::ORIGIN_H2_STREAMS, origins.streams);
        self.one(metric::ORIGIN_H2_REFUSED, origins.refused);
        let closed = [(value::SILENT, origins.silent), (value::FLOOD, origins.floods)];
        self.by_word(metric::ORIGIN_H2_CLOSED, label::REASON, closed);
        self.one(metric::CONNECTIONS_GIVEN_UP, snapshot.connections_given_up);
        let [before, behind] = snapshot.compress_bytes;
        let bytes = [(value::IN, before), (value::OUT, behind)];
        self.by_word(metric::COMPRESS_BYTES, label::DIRECTION, bytes);
        self.one(metric::COMPRESS_SKIPPED, snapshot.compress_skipped);
        let [answered, failed, left_out] = snapshot.mirrored;
        let mirrored =
            [(value::ANSWERED, answered), (value::FAILED, failed), (value::LEFT_OUT, left_out)];
        self.by_word(metric::MIRRORED, label::RESULT, mirrored);
        let [exported, failed, dropped] = snapshot.spans;
        self.one(metric::SPANS, exported);
        let lost = [(value::QUEUE_FULL, dropped), (value::EXPORT_FAILED, failed)];
        self.by_word(metric::SPANS_DROPPED, label::REASON, lost);
        self.one(metric::TUNNELS, snapshot.tunnels);
        self.one(metric::TUNNELS_OPEN, snapshot.tunnels_open);
        self.by_word(
            metric::TUNNEL_BYTES,
            label::DIRECTION,
            [(value::IN, snapshot.tunnel_bytes_in), (value::OUT, snapshot.tunnel_bytes_out)],
        );
    }

    fn upstreams(&mut self, snapshot: &Snapshot) {
        self.head(metric::ORIGIN_DURATION);
        for (key, sum) in &snapshot.origins {
            let labels = [
                (label::STATUS, &*key.status().to_string()),
                (label::UPSTREAM, named(&snapshot.upstream_names, key.label())),
            ];
            self.histogram(metric::ORIGIN_DURATION, &labels, &DURATION_BUCKETS, sum);
        }
        self.by_upstream(metric::UPSTREAM_ATTEMPTS, snapshot, |sum| sum.attempts);
        self.head(metric::PART_FAILURES);
        for ((part, reason), count) in &snapshot.parts {
            let name = named(&snapshot.part_names, *part);
            let (route, part) = name.split_once(PART_SEPARATOR).unwrap_or((name, name));
            let reason = REASONS.get(*reason).copied().unwrap_or_default();
            let labels = [(label::ROUTE, route), (label::PART, part), (label::REASON, reason)];
            self.count(metric::PART_FAILURES, &labels, *count);
        }
        self.head(metric::PART_CACHE);
        for ((part, how), count) in &snapshot.parts_cached {
            let name = named(&snapshot.part_names, *part);
            let (route, part) = name.split_once(PART_SEPARATOR).unwrap_or((name, name));
            let how = CacheUse::ALL.get(*how).map_or("", |how| value::of_cache(*how));
            let labels = [(label::ROUTE, route), (label::PART, part), (label::RESULT, how)];
            self.count(metric::PART_CACHE, &labels, *count);
        }
        let cached = Cached::ALL.map(|how| (how.word(), snapshot.cached[how as usize]));
        self.by_word(metric::CACHE, label::RESULT, cached);
        self.one(metric::CACHE_BYTES, snapshot.cache_bytes);
        self.one(metric::CACHE_EVICTED, snapshot.cache_evicted);
        self.by_upstream(metric::UPSTREAM_RETRIES, snapshot, |sum| sum.retries);
        self.head(metric::UPSTREAM_HEDGES);
        for (upstream, sum) in &snapshot.upstreams {
            let name = named(&snapshot.upstream_names, *upstream);
            // Most upstreams are never asked twice at once: they have no series.
            for how in Hedge::ALL.into_iter().filter(|_| sum.hedges.iter().any(|count| *count > 0))
            {
                let labels = [(label::RESULT, value::of_hedge(how)), (label::UPSTREAM, name)];
                self.count(metric::UPSTREAM_HEDGES, &labels, sum.hedges[how as usize]);
            }
        }
        self.by_upstream(metric::UPSTREAM_REUSED, snapshot, |sum| sum.reused);
        self.by_upstream(metric::UPSTREAM_CONNECT_FAILURES, snapshot, |sum| sum.connect_failures);
        self.by_upstream(metric::UPSTREAM_FAILURES, snapshot, |sum| sum.failures);
        self.by_upstream(metric::UPSTREAM_BYTES, snapshot, |sum| sum.bytes);
        self.one(metric::POOL_IDLE, snapshot.pool_idle);
    }

    fn core(&mut self, snapshot: &Snapshot) {
        self.one(metric::BUFFERS_IN_USE, snapshot.buffers_in_use);
        self.one(metric::PANICS, snapshot.panics);
        self.one(metric::LOG_LINES, snapshot.log_lines);
        self.by_word(
            metric::LOG_LINES_DROPPED,
            label::REASON,
            [
                (value::QUEUE_FULL, snapshot.log_lines_unqueued),
                (value::WRITE_FAILED, snapshot.log_lines_unwritten),
            ],
        );
        self.one(metric::LOG_BYTES, snapshot.log_bytes);
    }

    fn process(&mut self, snapshot: &Snapshot) {
        self.by_word(
            metric::WORKERS,
            label::STATE,
            [(value::WANTED, snapshot.workers_wanted), (value::RUNNING, snapshot.workers_running)],
        );
        self.one(metric::WORKER_RESTARTS, snapshot.worker_restarts);
        self.one(metric::CONFIG_VERSION, snapshot.config_version);
        self.by_word(
            metric::RELOADS,
            label::RESULT,
            [
                (value::INSTALLED, snapshot.reloads_installed),
                (value::REFUSED, snapshot.reloads_refused),
            ],
        );
        self.head(metric::BUILD_INFO);
        self.count(metric::BUILD_INFO, &[(label::VERSION, snapshot.version)], 1);
        self.head(metric::PROCESS_START);
        let started = Value::Nanos(snapshot.started.as_micros().saturating_mul(1000));
        self.sample(metric::PROCESS_START.name, "", &[], started);
    }

    fn head(&mut self, metric: Metric) {
        let kind = metric.kind.name();
        for piece in ["# HELP ", metric.name, " ", metric.help, "\n"] {
            self.text.push_str(piece);
        }
        for piece in ["# TYPE ", metric.name, " ", kind, "\n"] {
            self.text.push_str(piece);
        }
    }

    fn one(&mut self, metric: Metric, sample: u64) {
        self.head(metric);
        self.count(metric, &[], sample);
    }

    fn by_word<const N: usize>(&mut self, metric: Metric, label: &str, samples: [(&str, u64); N]) {
        self.head(metric);
        for (word, sample) in samples {
            self.count(metric, &[(label, word)], sample);
        }
    }

    fn by_worker(&mut self, metric: Metric, snapshot: &Snapshot, of: fn(&WorkerSum) -> u64) {
        self.head(metric);
        for (number, worker) in snapshot.workers.iter().enumerate() {
            self.count(metric, &[(label::WORKER, &number.to_string())], of(worker));
        }
    }

    fn by_upstream(&mut self, metric: Metric, snapshot: &Snapshot, of: fn(&UpstreamSum) -> u64) {
        self.head(metric);
        for (upstream, sum) in &snapshot.upstreams {
            let name = named(&snapshot.upstream_names, *upstream);
            self.count(metric, &[(label::UPSTREAM, name)], of(sum));
        }
    }

    fn by_seats(&mut self, metric: Metric, snapshot: &Snapshot, of: fn(&SeatsNow) -> u64) {
        self.head(metric);
        for seats in &snapshot.seats {
            let labels = [(label::KIND, seats.kind), (label::LIMIT, seats.name.as_str())];
            self.count(metric, &labels, of(seats));
        }
    }

    fn histogram(
        &mut self,
        metric: Metric,
        labels: &[(&str, &str)],
        bounds: &[u64],
        sum: &HistogramSum,
    ) {
        let mut cumulated = 0;
        for (index, bound) in bounds.iter().enumerate() {
            cumulated += sum.counts.get(index).copied().unwrap_or(0);
            self.bucket(metric, labels, &Value::Nanos(*bound).to_string(), cumulated);
        }
        let count = Value::Whole(sum.count());
        self.bucket(metric, labels, "+Inf", sum.count());
        self.sample(metric.name, "_sum", labels, Value::Nanos(sum.sum_nanos));
        self.sample(metric.name, "_count", labels, count);
    }

    fn bucket(&mut self, metric: Metric, labels: &[(&str, &str)], bound: &str, count: u64) {
        let labels = [labels, &[(label::LE, bound)]].concat();
        self.sample(metric.name, "_bucket", &labels, Value::Whole(count));
    }

    fn count(&mut self, metric: Metric, labels: &[(&str, &str)], sample: u64) {
        self.sample(metric.name, "", labels, Value::Whole(sample));
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], sample: Value) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (index, (label, word)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escape(word);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, " {sample}");
    }

    fn escape(&mut self, word: &str) {
        for character in word.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                _ => self.text.push(character),
            }
        }
    }
}

fn named(names: &[Name], label: Label) -> &str {
    names.get(label.index()).map_or(value::OTHER, Name::as_str)
}

#[cfg(test)]
mod tests;
