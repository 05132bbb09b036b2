//! Exchanges for the tests of this room, made from readable pieces. Never part of the program.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::buffer::BufferPool;
use crate::base::ids::{EndpointId, RouteId, UpstreamId};
use crate::base::name::Name;
use crate::base::span::Span;
use crate::base::time::{Instant, Wall};
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::http::head::RequestHead;
use crate::http::headers::Field;
use crate::http::names::FieldName;
use crate::http::{Method, Status, Target, TargetForm};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::CoreMetrics;
use crate::observe::plan::{LabelBook, RecordPlan, RouteNames};

/// An exchange whose request has this method, target, host and fields.
pub(crate) fn exchange(
    method: &str,
    target: &str,
    host: &str,
    fields: &[(&str, &str)],
) -> Exchange {
    let mut x = Exchange::default();
    let mut buf = BufferPool::new(1).take().expect("within budget");
    let mut put = |text: &[u8]| {
        let start = buf.len();
        assert!(buf.put(text), "the head is too long for a buffer");
        Span::new(start, buf.len())
    };
    let method_text = put(method.as_bytes());
    let whole = put(target.as_bytes());
    let host = put(host.as_bytes());
    let mut head = RequestHead { method: Method::of(method.as_bytes()), ..RequestHead::default() };
    head.method_text = method_text;
    (head.host, head.authority) = (host, host);
    let mark = target.find('?').unwrap_or(target.len());
    let path = Span::new(whole.start as usize, whole.start as usize + mark);
    let query = target.contains('?').then(|| Span { start: path.end + 1, end: whole.end });
    head.target = Target { form: TargetForm::Origin, whole, path, query };
    for (name, value) in fields {
        let id = match *name {
            "traceparent" => FieldName::Traceparent,
            "x-request-id" => FieldName::XRequestId,
            _ => FieldName::Other,
        };
        head.fields.push(Field { id, name: put(name.as_bytes()), value: put(value.as_bytes()) });
    }
    x.head = head;
    x.bytes = Some(buf);
    x.timeline.begun = at(0);
    x.began = Wall::from_micros(1_764_000_000_123_456);
    x
}

/// A forwarded request that took 1.5 ms, of which its attempt took 1 ms.
pub(crate) fn forwarded() -> Exchange {
    let mut x = exchange("GET", "/users/7?token=secret", "api.example.com", &[]);
    x.route = Some(RouteId(0));
    x.status = Some(Status(200));
    (x.bytes_in, x.bytes_out) = (200, 1200);
    x.timeline.head = Some(at(10));
    x.timeline.target = Some(at(100));
    x.timeline.connected = Some(at(200));
    x.timeline.answered = Some(at(1000));
    x.timeline.done = Some(at(1500));
    x.attempts.push(attempt(None, 100, 1100));
    x
}

/// An attempt that went well between two moments, in microseconds.
pub(crate) fn attempt(part: Option<u16>, begun: u64, done: u64) -> Attempt {
    Attempt {
        limits: Default::default(),
        part,
        upstream: UpstreamId(0),
        endpoint: Some(EndpointId(0)),
        address: Some(SocketAddr::from(([127, 0, 0, 1], 8081))),
        reused: true,
        status: Some(Status(200)),
        fault: None,
        why: "",
        begun: at(begun),
        connected: Some(at(begun)),
        answered: Some(at(done)),
        done: Some(at(done)),
        bytes: 1024,
        hedge: None,
        http2: false,
        cancelled: false,
    }
}

/// A moment, in microseconds behind the beginning.
pub(crate) fn at(micros: u64) -> Instant {
    Instant::from_nanos(1_000_000_000) + Duration::from_micros(micros)
}

/// Two routes and two upstreams.
pub(crate) fn plan(book: &mut LabelBook, query: bool) -> RecordPlan {
    let parts = vec![Name::new("profile"), Name::new("orders")];
    let routes = [
        RouteNames { name: Name::new("users"), parts: Vec::new(), views: Vec::new() },
        RouteNames { name: Name::new("dash\"board"), parts, views: vec![Name::new("mobile")] },
    ];
    RecordPlan::new(book, &routes, &[Name::new("user"), Name::new("order")], query)
}

/// Hands over a page with one line.
pub(crate) fn page_of_one_line(log: &mut AccessLog) {
    let metrics = CoreMetrics::default();
    log.record(&forwarded(), &plan(&mut LabelBook::default(), false), at(0), &metrics);
    log.hand_over(&metrics);
    assert_eq!(metrics.log_lines_dropped.read(), 0, "the queue is full");
}
