//! Whatever a client sends, its access log line is one line of strict JSON that tells it truly.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crossbeam::channel::bounded;
use proptest::prelude::*;
use ringway::base::buffer::BufferPool;
use ringway::base::ids::{RouteId, UpstreamId};
use ringway::base::limits::LOG_LINE_BYTES_MAX;
use ringway::base::name::Name;
use ringway::base::random::Rng;
use ringway::base::span::Span;
use ringway::base::time::{Instant, Wall};
use ringway::exchange::attempt::{Attempt, Hedge};
use ringway::exchange::fault::FaultKind;
use ringway::exchange::{Exchange, RequestId};
use ringway::http::headers::Field;
use ringway::http::names::FieldName;
use ringway::http::{Status, Target, TargetForm};
use ringway::observe::access_log::AccessLog;
use ringway::observe::metrics::CoreMetrics;
use ringway::observe::plan::{LabelBook, RecordPlan, RouteNames};
use ringway::observe::trace::{self, TraceLines};
use serde_json::Value;

/// An exchange with these bytes as method, host, path and query.
fn exchange(method: &[u8], host: &[u8], path: &[u8], query: Option<&[u8]>) -> Exchange {
    let mut x = Exchange::default();
    let mut buf = BufferPool::new(1).take().expect("within budget");
    let mut put = |bytes: &[u8]| {
        let start = buf.len();
        assert!(buf.put(bytes));
        Span::new(start, buf.len())
    };
    x.head.method_text = put(method);
    x.head.authority = put(host);
    let path = put(path);
    let query = query.map(&mut put);
    x.head.target = Target { form: TargetForm::Origin, whole: path, path, query };
    x.bytes = Some(buf);
    x
}

fn plan(route: &str, upstream: &str) -> RecordPlan {
    let names =
        RouteNames { name: Name::new(route), parts: vec![Name::new(upstream)], views: Vec::new() };
    RecordPlan::new(&mut LabelBook::default(), &[names], &[Name::new(upstream)], true)
}

fn line(x: &Exchange, plan: &RecordPlan) -> String {
    let (full, pages) = bounded(1);
    let (mut log, metrics) = (AccessLog::new(full), CoreMetrics::default());
    log.record(x, plan, Instant::from_nanos(5_000_000), &metrics);
    log.hand_over(&metrics);
    let page = pages.try_recv().expect("every exchange has its line");
    assert_eq!(page.lines(), 1);
    String::from_utf8(page.bytes().to_vec()).expect("UTF-8")
}

/// The bytes that a logged string stands for: each of its code points is one.
fn bytes_of(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a string");
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}

fn attempt(part: Option<u16>, begun: u64, took: u64, fault: Option<FaultKind>) -> Attempt {
    let begun = Instant::from_nanos(begun);
    Attempt {
        limits: Default::default(),
        part,
        upstream: UpstreamId(0),
        endpoint: None,
        address: Some(SocketAddr::from(([127, 0, 0, 1], 80))),
        reused: false,
        http2: true,
        status: Some(Status(200)),
        fault,
        why: "",
        begun,
        connected: None,
        answered: Some(begun),
        done: Some(begun + Duration::from_nanos(took)),
        bytes: u64::MAX,
        hedge: Some(Hedge::Lost),
        cancelled: true,
    }
}

proptest! {
    #[test]
    fn a_line_is_one_line_of_json_that_gives_every_byte_back(
        method in prop::collection::vec(any::<u8>(), 0..10),
        host in prop::collection::vec(any::<u8>(), 0..50),
        path in prop::collection::vec(any::<u8>(), 0..340),
        query in prop::option::of(prop::collection::vec(any::<u8>(), 0..340)),
        route in "\\PC{0,30}|[\"\\\\\\x00-\\x1f]{0,30}",
        client in any::<[u8; 16]>(),
        began in 0..4_000_000_000_000_000_u64,
    ) {
        let mut x = exchange(&method, &host, &path, query.as_deref());
        x.route = Some(RouteId(0));
        x.client.address = IpAddr::from(client);
        x.began = Wall::from_micros(began);
        let text = line(&x, &plan(&route, "u"));
        prop_assert_eq!(text.matches('\n').count(), 1);
        prop_assert!(text.ends_with("}\n"), "{}", text);
        prop_assert!(text.trim_end().chars().all(|c| !c.is_control()));
        let value: Value = serde_json::from_str(&text).expect("strict JSON");
        prop_assert_eq!(bytes_of(&value["method"]), method);
        prop_assert_eq!(bytes_of(&value["host"]), host);
        prop_assert_eq!(bytes_of(&value["path"]), path);
        prop_assert_eq!(value.get("query").map(bytes_of), query);
        prop_assert_eq!(value["route"].as_str(), Some(&*route));
        prop_assert_eq!(value["client"].as_str(), Some(&*IpAddr::from(client).to_string()));
        prop_assert!(value.get("cut").is_none());
    }

    #[test]
    fn no_length_or_number_breaks_the_line(
        byte in any::<u8>(),
        lengths in prop::array::uniform4(0..6000_usize),
        attempts in prop::collection::vec(
            (prop::option::of(0..40_u16), any::<u64>(), any::<u64>(), 0..FaultKind::ALL.len()),
            0..96,
        ),
        now in any::<u64>(),
    ) {
        let bytes = vec![byte; 6000];
        let [method, host, path, query] = lengths.map(|length| &bytes[..length]);
        let mut x = exchange(method, host, path, Some(query));
        x.timeline.begun = Instant::from_nanos(now);
        x.attempts = attempts
            .into_iter()
            .map(|(part, begun, took, fault)| attempt(part, begun, took, Some(FaultKind::ALL[fault])))
            .collect();
        let text = line(&x, &plan("r", "u"));
        prop_assert!(text.len() <= LOG_LINE_BYTES_MAX);
        let value: Value = serde_json::from_str(&text).expect("strict JSON");
        let written = value.get("attempts").map_or(0, |list| list.as_array().map_or(0, Vec::len));
        let omitted = value.get("attempts_omitted").map_or(0, |n| n.as_u64().unwrap_or(0));
        prop_assert_eq!(written as u64 + omitted, x.attempts.len() as u64);
        for name in ["method", "host", "path", "query"] {
            let told = bytes_of(&value[name]);
            prop_assert!(told.iter().all(|got| *got == byte));
        }
    }

    #[test]
    fn what_goes_on_to_origins_is_always_two_field_lines(
        id in prop::collection::vec(any::<u8>(), 0..80),
        parent in "[0-9a-fA-F-]{50,60}|00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
        seed in any::<u64>(),
    ) {
        let mut x = Exchange::default();
        let mut buf = BufferPool::new(1).take().expect("within budget");
        let mut field = |id, value: &[u8]| {
            let start = buf.len();
            assert!(buf.put(value));
            Field { id, name: Span::EMPTY, value: Span::new(start, buf.len()) }
        };
        x.head.fields.push(field(FieldName::XRequestId, &id));
        x.head.fields.push(field(FieldName::Traceparent, parent.as_bytes()));
        x.bytes = Some(buf);
        let (id, context) = trace::begin(x.request(), true, &mut Rng::new(seed));
        let lines = TraceLines::of(&id, &context);
        let text = std::str::from_utf8(lines.as_bytes()).expect("ASCII");
        prop_assert_eq!(text.matches("\r\n").count(), 2);
        let (first, second) = text.split_once("\r\n").expect("two lines");
        prop_assert_eq!(first.len(), "traceparent: ".len() + 55);
        prop_assert!(context.trace_id != 0 && context.span_id != 0);
        let told = second.strip_prefix("x-request-id: ").expect("the second line");
        prop_assert!(RequestId::accept(told.trim_end().as_bytes()).is_some());
    }
}
