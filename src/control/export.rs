//! Sends spans to a collector: OTLP over HTTP in its JSON encoding, on a thread of its own.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>, JSON Protobuf encoding. A collector that is away, slow or
//! refuses never matters to anybody: a batch is offered once and then dropped and counted, while the queue of the
//! cores stays bounded. JSON was chosen over protobuf because it needs nothing that is not here already, and only a share of
//! the requests is ever sent.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::{Value, json};
use ureq::Agent;

use crate::base::limits::SPANS_PER_BATCH_MAX;
use crate::compile::SpanFeed;
use crate::control::tell::Tell;
use crate::observe::event::Event;
use crate::observe::metrics::FlushMetrics;
use crate::observe::span::{AttemptSpan, Span};

/// How long spans wait for others to go with them.
const GATHER_FOR: Duration = Duration::from_millis(500);

/// The thread.
#[derive(Debug)]
pub struct Export {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Export {
    /// Starts sending what comes from `feed`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(feed: SpanFeed, metrics: Arc<FlushMetrics>, tell: Tell) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = thread::Builder::new().name("ringway-spans".into()).spawn(move || {
            Exporter::new(feed, metrics, tell).run(&stopped);
        })?;
        Ok(Self { stop, thread })
    }

    /// Sends what is queued and ends; a collector that does not answer in time is left behind.
    pub fn stop(self, wait: Duration) {
        let _ = self.stop.try_send(());
        let until = crate::runtime::clock::now() + wait;
        while !self.thread.is_finished() && crate::runtime::clock::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Exporter {
    feed: SpanFeed,
    metrics: Arc<FlushMetrics>,
    agent: Agent,
    tell: Tell,
    /// Spans lost since the collector began to fail; `None` while all is well.
    lost: Option<u64>,
}

impl Exporter {
    fn new(feed: SpanFeed, metrics: Arc<FlushMetrics>, tell: Tell) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(feed.timeout))
            .max_redirects(0)
            .http_status_as_error(true)
            .build();
        Self { feed, metrics, agent: config.into(), tell, lost: None }
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        let mut batch = Vec::with_capacity(SPANS_PER_BATCH_MAX);
        loop {
            let ended =
                self.gather(&mut batch) || !matches!(stopped.try_recv(), Err(e) if e.is_empty());
            if !batch.is_empty() {
                self.send(&batch);
                batch.clear();
            }
            if ended && self.feed.spans.is_empty() {
                return;
            }
        }
    }

    /// Takes spans for a while; says whether no more will come.
    fn gather(&self, batch: &mut Vec<Span>) -> bool {
        let until = crate::runtime::clock::now() + GATHER_FOR;
        while batch.len() < SPANS_PER_BATCH_MAX {
            let left = until.since(crate::runtime::clock::now());
            match self.feed.spans.recv_timeout(left) {
                Ok(span) => batch.push(span),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        false
    }

    fn send(&mut self, batch: &[Span]) {
        let count = batch.iter().map(|span| 1 + span.attempts.len() as u64).sum();
        let body = document(&self.feed.service, batch).to_string();
        let mut request =
            self.agent.post(&self.feed.endpoint).header("content-type", "application/json");
        for (name, value) in &self.feed.headers {
            request = request.header(name, value.expose());
        }
        match request.send(body) {
            // A redirection is followed nowhere: the batch is lost.
            Ok(answer) if answer.status().is_success() => {
                self.metrics.spans_exported.add(count);
                if let Some(lost) = self.lost.take() {
                    let collector = &self.feed.endpoint;
                    self.tell.event(&Event::SpansRecovered { collector, lost });
                }
            }
            Ok(answer) => self.failed(count, &format!("it answers {}", answer.status())),
            Err(error) => self.failed(count, &error.to_string()),
        }
    }

    fn failed(&mut self, count: u64, why: &str) {
        self.metrics.spans_failed.add(count);
        if self.lost.is_none() {
            let collector = &self.feed.endpoint;
            self.tell.event(&Event::SpansFailing { collector, why });
        }
        self.lost = Some(self.lost.unwrap_or(0) + count);
    }
}

/// ExportTraceServiceRequest, as JSON has it.
fn document(service: &str, batch: &[Span]) -> Value {
    let spans: Vec<Value> = batch.iter().flat_map(spans).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", service),
            text("service.version", version),
            text("telemetry.sdk.name", "ringway"),
        ] },
        "scopeSpans": [{ "scope": { "name": "ringway", "version": version }, "spans": spans }],
    }] })
}

/// SPAN_KIND_SERVER and SPAN_KIND_CLIENT; STATUS_CODE_UNSET and STATUS_CODE_ERROR.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const UNSET: u8 = 0;
const FAILED: u8 = 2;

/// The exchange's span, and one for each attempt.
fn spans(span: &Span) -> Vec<Value> {
    // A name of few values: whatever a client calls its method is none of it.
    let method = if span.is_method_known { &span.method } else { "HTTP" };
    let name = match span.route.as_str() {
        "" => method.to_owned(),
        route => format!("{method} {route}"),
    };
    let mut attributes = method_of(span);
    attributes.extend([
        text("network.protocol.version", span.version),
        text("url.scheme", if span.tls { "https" } else { "http" }),
        text("url.path", &span.path),
        text("client.address", &span.client.to_string()),
    ]);
    let (host, port) = host_and_port(&span.host);
    attributes.push(text("server.address", host));
    if let Some(port) = port {
        attributes.push(number("server.port", port));
    }
    if !span.route.is_empty() {
        attributes.push(text("http.route", &span.route));
    }
    outcome(&mut attributes, span.status, span.fault, 500);
    let failed = span.fault.is_some() || span.status >= 500;
    let began = span.began.as_micros();
    let mut out = vec![json!({
        "traceId": format!("{:032x}", span.trace_id),
        "spanId": format!("{:016x}", span.span_id),
        "parentSpanId": if span.parent_id == 0 { String::new() } else { format!("{:016x}", span.parent_id) },
        "flags": 1,
        "name": name,
        "kind": SERVER,
        "startTimeUnixNano": nanos(began),
        "endTimeUnixNano": nanos(began + span.micros),
        "attributes": attributes,
        "status": { "code": if failed { FAILED } else { UNSET } },
    })];
    out.extend(span.attempts.iter().enumerate().map(|(place, attempt)| {
        let before = span.attempts[..place].iter();
        attempt_span(span, attempt, before.filter(|other| other.part == attempt.part).count())
    }));
    out
}

/// The method, as the conventions have it: what they do not know is `_OTHER`, and what it was stands beside.
fn method_of(span: &Span) -> Vec<Value> {
    match span.is_method_known {
        true => vec![text("http.request.method", &span.method)],
        false => vec![
            text("http.request.method", "_OTHER"),
            text("http.request.method_original", &span.method),
        ],
    }
}

/// The conventions have the port apart. What is no port stays with the host, as the client wrote it.
fn host_and_port(host: &str) -> (&str, Option<u64>) {
    let split = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    match split.and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?))) {
        Some((name, port)) if !name.ends_with(':') => (name, Some(u64::from(port))),
        _ => (host, None),
    }
}

/// `resent` says how often the same was sent before.
fn attempt_span(span: &Span, attempt: &AttemptSpan, resent: usize) -> Value {
    let name = match &attempt.part {
        Some(part) => format!("part {part}"),
        None => format!("attempt {}", attempt.upstream),
    };
    let mut attributes = vec![
        text("ringway.upstream", &attempt.upstream),
        json!({ "key": "ringway.connection.reused", "value": { "boolValue": attempt.reused } }),
    ];
    match &attempt.part {
        Some(part) => attributes.push(text("ringway.part", part)),
        None => attributes.extend(method_of(span)),
    }
    if resent > 0 {
        attributes.push(number("http.request.resend_count", resent as u64));
    }
    if let Some(address) = attempt.address {
        attributes.push(text("server.address", &address.ip().to_string()));
        attributes.push(number("server.port", u64::from(address.port())));
    }
    outcome(&mut attributes, attempt.status, attempt.fault, 400);
    let failed = attempt.fault.is_some() || attempt.status >= 400;
    let began = span.began.as_micros() + attempt.start_micros;
    json!({
        "traceId": format!("{:032x}", span.trace_id),
        "spanId": format!("{:016x}", attempt.span_id),
        "parentSpanId": format!("{:016x}", span.span_id),
        "flags": 1,
        "name": name,
        "kind": CLIENT,
        "startTimeUnixNano": nanos(began),
        "endTimeUnixNano": nanos(began + attempt.micros),
        "attributes": attributes,
        "status": { "code": if failed { FAILED } else { UNSET } },
    })
}

/// The status, and the error if there was one: the fault, or the status from `error_from` on.
fn outcome(attributes: &mut Vec<Value>, status: u16, fault: Option<&str>, error_from: u16) {
    if status > 0 {
        attributes.push(number("http.response.status_code", u64::from(status)));
    }
    match fault {
        Some(fault) => attributes.push(text("error.type", fault)),
        None if status >= error_from => attributes.push(text("error.type", &status.to_string())),
        None => {}
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// 64-bit integers are texts in this encoding.
fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn nanos(micros: u64) -> String {
    (u128::from(micros) * 1000).to_string()
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_port_stands_apart_from_its_host() {
        assert_eq!(host_and_port("gw.test:8443"), ("gw.test", Some(8443)));
        assert_eq!(host_and_port("[::1]:80"), ("[::1]", Some(80)));
        for whole in ["gw.test", "[::1]", "::1", "gw.test:", "gw.test:http", "gw.test:99999"] {
            assert_eq!(host_and_port(whole), (whole, None));
        }
    }
}
