//! One JSON line per exchange, into a page that the flush thread writes out.
//!
//! A core fills its own 64 KiB page. When the page is full, or at the core's tick, it goes through a
//! bounded queue to the flush thread (`control/flush.rs`) and comes back empty through another. When the
//! flush thread is behind and the core has no other page, the lines are dropped and counted: a core never
//! waits for a disk, never allocates for a line and never writes half a line. The query of a request is
//! left out unless the operator asks for it, because queries hold what should not be kept.
//!
//! Every value that a client chose is escaped byte by byte and bounded (see [`crate::observe::line`]);
//! the member `cut` names what was too long.

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::base::ids::RouteId;
use crate::base::limits::{
    LOG_HOST_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_METHOD_BYTES_MAX, LOG_NAME_BYTES_MAX,
    LOG_PAGE_BYTES, LOG_PAGES_PER_CORE, LOG_TARGET_BYTES_MAX,
};
use crate::base::time::Instant;
use crate::exchange::attempt::Attempt;
use crate::exchange::marks::LimitSaid;
use crate::exchange::timeline::Timeline;
use crate::exchange::{Exchange, RequestId};
use crate::observe::line::Line;
use crate::observe::log_identity;
use crate::observe::log_rules::Format;
use crate::observe::metrics::{CoreMetrics, Spent, outcome};
use crate::observe::names::{field, value};
use crate::observe::plan::RecordPlan;

/// A core's side of the access log.
#[derive(Debug)]
pub struct AccessLog {
    page: LogPage,
    spare: Vec<LogPage>,
    full: Sender<LogPage>,
    returned: Receiver<LogPage>,
}

/// Lines on their way to the flush thread. Dropping a page gives its room back to the allocator;
/// `give_back` returns it to its core.
#[derive(Debug)]
pub struct LogPage {
    bytes: Box<[u8]>,
    used: usize,
    lines: u64,
    home: Sender<LogPage>,
}

impl AccessLog {
    /// A log whose pages go to `full`, the queue of the flush thread.
    pub fn new(full: Sender<LogPage>) -> Self {
        let (home, returned) = bounded(LOG_PAGES_PER_CORE);
        let page = || LogPage {
            bytes: vec![0; LOG_PAGE_BYTES].into_boxed_slice(),
            used: 0,
            lines: 0,
            home: home.clone(),
        };
        // Zeroed memory of this size is not touched by the allocator: a page costs when it is used.
        let mut spare = Vec::with_capacity(LOG_PAGES_PER_CORE);
        spare.extend((1..LOG_PAGES_PER_CORE).map(|_| page()));
        Self { page: page(), spare, full, returned }
    }

    /// Writes the line of an exchange that is over. `now` stands in for the last byte's moment where the
    /// exchange never got so far.
    pub fn record(&mut self, x: &Exchange, plan: &RecordPlan, now: Instant, metrics: &CoreMetrics) {
        if plan.log().is_some_and(|rules| !rules.wants(x, now)) {
            return;
        }
        if self.page.bytes.len() - self.page.used < LOG_LINE_BYTES_MAX {
            self.hand_over(metrics);
        }
        let end = self.page.used + LOG_LINE_BYTES_MAX;
        let room = &mut self.page.bytes[self.page.used..end];
        let written = match plan.log().filter(|rules| !matches!(rules.format, Format::Json)) {
            Some(rules) => rules.write_text(room, x, plan, now),
            None => write_line(room, x, plan, now),
        };
        match written {
            Some(len) => {
                self.page.used += len;
                self.page.lines += 1;
            }
            None => metrics.log_lines_dropped.add(1),
        }
    }

    /// Sends what there is to the flush thread; called at the core's tick, and when a page is full.
    pub fn hand_over(&mut self, metrics: &CoreMetrics) {
        // The page that came back last is used next: it is the one still in the cache.
        while let Ok(page) = self.returned.try_recv() {
            self.spare.push(page);
        }
        if self.page.lines == 0 {
            return;
        }
        let Some(empty) = self.spare.pop() else {
            metrics.log_lines_dropped.add(self.page.lines);
            self.page.clear();
            return;
        };
        let page = std::mem::replace(&mut self.page, empty);
        if let Err(refused) = self.full.try_send(page) {
            let mut page = refused.into_inner();
            metrics.log_lines_dropped.add(page.lines);
            page.clear();
            self.spare.push(page);
        }
    }
}

impl LogPage {
    /// The lines, each with its line feed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns the page, emptied, to the core it came from.
    pub fn give_back(mut self) {
        self.clear();
        let home = self.home.clone();
        // The core may be gone; then the page goes too.
        let _ = home.try_send(self);
    }

    fn clear(&mut self) {
        self.used = 0;
        self.lines = 0;
    }
}

/// Room for one attempt (two names, two numbers of bytes, an address, times), and behind the attempts
/// for `attempts_omitted` and `cut`. Unit: bytes.
const ATTEMPT_BYTES_MAX: usize = 2 * LOG_NAME_BYTES_MAX + 384;
const TAIL_BYTES_MAX: usize = 128;

/// Writes one line into `room`; its length, or `None` if it does not fit.
fn write_line(room: &mut [u8], x: &Exchange, plan: &RecordPlan, now: Instant) -> Option<usize> {
    let spent = Spent::of(x, now);
    let mut line = Line::new(room);
    line.put(b"{");
    write_names(&mut line, x);
    if let Some(route) = x.route {
        line.plain(field::ROUTE, plan.route_json(route));
    }
    let cut = write_request(&mut line, x, plan);
    write_outcome(&mut line, x, plan);
    line.millis(field::DURATION_MS, spent.total);
    line.millis(field::OVERHEAD_MS, spent.overhead);
    write_stages(&mut line, &x.timeline);
    write_attempts(&mut line, x, plan, now);
    write_cut(&mut line, cut);
    line.put(b"}\n");
    line.finish()
}

fn write_names(line: &mut Line<'_>, x: &Exchange) {
    line.moment(field::TIME, x.began);
    // An id holds nothing that JSON escapes (`RequestId::accept`), but that is seen elsewhere.
    line.outside(field::REQUEST_ID, x.id.as_bytes(), RequestId::BYTES_MAX);
    line.hex(field::TRACE_ID, x.trace.trace_id, 32);
    line.hex(field::SPAN_ID, u128::from(x.trace.span_id), 16);
}

/// Which of the client's values were too long.
#[derive(Clone, Copy, Default)]
struct Cut {
    method: bool,
    host: bool,
    path: bool,
    query: bool,
    identity: bool,
}

fn write_request(line: &mut Line<'_>, x: &Exchange, plan: &RecordPlan) -> Cut {
    let mut cut = Cut::default();
    let request = x.request();
    line.address(field::CLIENT, x.client.address, None);
    if x.client.peer != x.client.address {
        line.address(field::PEER, x.client.peer, None);
    }
    if let Some(proxy) = x.client.proxy {
        line.address(field::PROXY, proxy, None);
    }
    cut.method = line.outside(field::METHOD, request.method_text(), LOG_METHOD_BYTES_MAX);
    cut.host = line.outside(field::HOST, request.authority(), LOG_HOST_BYTES_MAX);
    cut.path = line.outside(field::PATH, request.path(), LOG_TARGET_BYTES_MAX);
    match (plan.log(), request.query()) {
        (Some(rules), Some(query)) if rules.has_query() => {
            line.name(field::QUERY);
            line.put(b"\"");
            let mut room = LOG_TARGET_BYTES_MAX;
            rules.query_pieces(query, |piece| {
                cut.query |= line.escape(piece, room);
                room = room.saturating_sub(piece.len());
            });
            line.put(b"\"");
        }
        (None, Some(query)) if plan.query() => {
            cut.query = line.outside(field::QUERY, query, LOG_TARGET_BYTES_MAX);
        }
        _ => {}
    }
    line.plain(field::PROTOCOL, x.head.version.text().as_bytes());
    if let Some(rules) = plan.log() {
        rules.write_headers(line, x);
    }
    cut.identity = log_identity::write(line, x, plan.log());
    cut
}

fn write_outcome(line: &mut Line<'_>, x: &Exchange, plan: &RecordPlan) {
    if let Some(status) = outcome(x) {
        line.number(field::STATUS, u64::from(status.0));
    }
    if let Some(code) = x.grpc.status {
        line.number(field::GRPC_STATUS, u64::from(code));
    }
    if let Some(fault) = x.fault {
        line.plain(field::FAULT, fault.kind.name().as_bytes());
        line.plain(field::FAULT_SIDE, fault.side.name().as_bytes());
    }
    // Where nothing else says why it failed, the last handshake may.
    let handshake = || x.attempts.last().filter(|_| x.fault.is_some()).map_or("", |last| last.why);
    let reason = if x.reason.is_empty() { handshake() } else { x.reason };
    if !reason.is_empty() {
        line.plain(field::REASON, reason.as_bytes());
    }
    write_limits(line, x, plan);
    if !x.queued.is_zero() {
        line.millis(field::QUEUED_MS, x.queued);
    }
    if let Some(tunnel) = &x.tunnel {
        if let Some(protocol) = &tunnel.protocol {
            // A token (RFC 9110 §5.6.2) from the configuration holds nothing that JSON escapes.
            line.plain(field::UPGRADE, protocol.as_str().as_bytes());
        }
        line.plain(field::CLOSED_BY, tunnel.closed_by.name().as_bytes());
    }
    let failed = x.parts_failed.len() as u64;
    if failed > 0 && outcome(x).is_some_and(|status| (200..300).contains(&status.0)) {
        line.number(field::PARTIAL, failed);
    }
    if let Some(view) = &x.view {
        line.plain(field::VIEW, plan.view_json(x.route, view.index));
    }
    if failed > 0 {
        line.name(field::PARTS);
        let mut lead: &[u8] = b"{\"";
        for failure in &x.parts_failed {
            line.put(lead);
            line.put(plan.part_json(x.route, failure.part));
            line.put(b"\":\"");
            line.put(failure.reason.as_bytes());
            line.put(b"\"");
            lead = b",\"";
        }
        line.put(b"}");
    }
    if !x.parts_cached.is_empty() {
        write_cached(line, x, plan);
    }
    if let Some(how) = x.cached {
        line.plain(field::CACHED, how.word().as_bytes());
    }
    line.number(field::BYTES_IN, x.bytes_in);
    line.number(field::BYTES_OUT, x.bytes_out);
}

/// `"limit":"per_user"`, and `"limit_dry_run":["new"]`.
fn write_limits(line: &mut Line<'_>, x: &Exchange, plan: &RecordPlan) {
    let marks = || {
        let attempts = x.attempts.iter().flat_map(|attempt| attempt.limits.iter());
        x.limits.iter().chain(attempts)
    };
    if let Some(refused) = marks().find(|mark| mark.said.is_refusal()) {
        line.plain(field::LIMIT, plan.limit_json(refused.limit));
    }
    let mut lead: &[u8] = b"[\"";
    for mark in marks().filter(|mark| mark.said == LimitSaid::WouldRefuse) {
        if lead == b"[\"" {
            line.name(field::LIMIT_DRY_RUN);
        }
        line.put(lead);
        line.put(plan.limit_json(mark.limit));
        line.put(b"\"");
        lead = b",\"";
    }
    if lead == b",\"" {
        line.put(b"]");
    }
}

/// `"cache":{"orders":{"hit":1}}`.
fn write_cached(line: &mut Line<'_>, x: &Exchange, plan: &RecordPlan) {
    line.name(field::CACHE);
    let mut lead: &[u8] = b"{\"";
    for cached in &x.parts_cached {
        line.put(lead);
        line.put(plan.part_json(x.route, cached.part));
        line.put(b"\":{");
        for (how, count) in cached.uses.iter() {
            line.number(value::of_cache(how), u64::from(count));
        }
        line.put(b"}");
        lead = b",\"";
    }
    line.put(b"}");
}

fn write_stages(line: &mut Line<'_>, timeline: &Timeline) {
    let stages = [
        (field::STAGE_HEAD, timeline.head),
        (field::STAGE_TARGET, timeline.target),
        (field::STAGE_CONNECTED, timeline.connected),
        (field::STAGE_ANSWERED, timeline.answered),
    ];
    if stages.iter().all(|(_, reached)| reached.is_none()) {
        return;
    }
    line.name(field::STAGES_MS);
    line.put(b"{");
    for (name, reached) in stages {
        if let Some(reached) = reached {
            line.millis(name, reached.since(timeline.begun));
        }
    }
    line.put(b"}");
}

fn write_attempts(line: &mut Line<'_>, x: &Exchange, plan: &RecordPlan, now: Instant) {
    // A forwarded request's upstream stands in the line itself: that of the last attempt.
    if let Some(last) = x.attempts.last().filter(|attempt| attempt.part.is_none()) {
        line.plain(field::UPSTREAM, plan.upstream_json(last.upstream));
        if let Some(address) = last.address {
            line.address(field::ADDRESS, address.ip(), Some(address.port()));
        }
    }
    if x.attempts.is_empty() {
        return;
    }
    line.name(field::ATTEMPTS);
    line.put(b"[");
    let mut written = 0;
    for attempt in &x.attempts {
        if line.left() < ATTEMPT_BYTES_MAX + TAIL_BYTES_MAX {
            break;
        }
        if written > 0 {
            line.put(b",");
        }
        line.put(b"{");
        write_attempt(line, attempt, x.route, plan, x.timeline.begun, now);
        line.put(b"}");
        written += 1;
    }
    line.put(b"]");
    let omitted = x.attempts.len() - written;
    if omitted > 0 {
        line.number(field::ATTEMPTS_OMITTED, omitted as u64);
    }
}

fn write_attempt(
    line: &mut Line<'_>,
    attempt: &Attempt,
    route: Option<RouteId>,
    plan: &RecordPlan,
    request_begun: Instant,
    now: Instant,
) {
    if let Some(part) = attempt.part {
        line.plain(field::PART, plan.part_json(route, part));
    }
    line.plain(field::UPSTREAM, plan.upstream_json(attempt.upstream));
    if let Some(address) = attempt.address {
        line.address(field::ADDRESS, address.ip(), Some(address.port()));
    }
    line.name(field::REUSED);
    line.put(if attempt.reused { b"true" } else { b"false" });
    if attempt.http2 {
        line.name(field::HTTP2);
        line.put(b"true");
    }
    if let Some(status) = attempt.status {
        line.number(field::STATUS, u64::from(status.0));
    }
    if let Some(fault) = attempt.fault {
        line.plain(field::FAULT, fault.name().as_bytes());
    }
    if !attempt.why.is_empty() {
        line.plain(field::REASON, attempt.why.as_bytes());
    }
    if let Some(hedge) = attempt.hedge {
        line.plain(field::HEDGED, value::of_hedge(hedge).as_bytes());
    }
    if attempt.cancelled {
        line.name(field::CANCELLED);
        line.put(b"true");
    }
    line.number(field::BYTES, attempt.bytes);
    line.millis(field::START_MS, attempt.begun.since(request_begun));
    if let Some(connected) = attempt.connected {
        line.millis(field::CONNECT_MS, connected.since(attempt.begun));
    }
    if let Some(answered) = attempt.answered {
        line.millis(field::FIRST_BYTE_MS, answered.since(attempt.begun));
    }
    line.millis(field::DURATION_MS, attempt.done.unwrap_or(now).since(attempt.begun));
}

fn write_cut(line: &mut Line<'_>, cut: Cut) {
    let fields = [
        (field::METHOD, cut.method),
        (field::HOST, cut.host),
        (field::PATH, cut.path),
        (field::QUERY, cut.query),
        (field::IDENTITY, cut.identity),
    ];
    if fields.iter().all(|(_, cut)| !cut) {
        return;
    }
    line.name(field::CUT);
    let mut before: &[u8] = b"[\"";
    for (name, _) in fields.iter().filter(|(_, cut)| *cut) {
        line.put(before);
        line.put(name.as_bytes());
        before = b"\",\"";
    }
    line.put(b"\"]");
}

#[cfg(test)]
mod tests;
