//! Finding a route among 10, 1,000 and 10,000: the cost must be that of the path, never of the table.
//!
//! Each table is asked for the same eight requests' worth of routes, spread over it, so that what differs
//! is its size and not how much of it is warm; and once (`hit_of_many`) for up to 4,096 of them in turn, so that
//! what a table of this size costs whose routes are not in the nearest caches is seen, too.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

use ringway::base::ids::RouteId;
use ringway::exchange::params::Params;
use ringway::http::h1::parse::{self, HeadLimits, Parsed};
use ringway::http::head::{Request, RequestHead};
use ringway::route::pattern::{HostPattern, MethodName, Pattern, Segment};
use ringway::route::spelling::{PathScratch, PathSpelling};
use ringway::route::{Found, Router};

/// Requests that take turns.
const ASKED: usize = 8;
/// The same where the table does not stay warm.
const ASKED_OF_MANY: usize = 4096;

/// `GET api.example.com/api/v1/service-N/items/{id}`, a fourth of them with `{*rest}` behind, and one
/// route for everything else.
fn table(count: usize) -> Router {
    let literal = |text: &str| Segment::Literal(text.as_bytes().into());
    let pattern = |n: usize| {
        let service = format!("service-{n:05}");
        let mut path = vec![literal("api"), literal("v1"), literal(&service), literal("items")];
        path.push(Segment::Param);
        if n.is_multiple_of(4) {
            path.push(Segment::Rest);
        }
        Pattern {
            route: RouteId(n as u32),
            methods: vec![MethodName("GET".into())],
            host: HostPattern::Exact("api.example.com".into()),
            path,
            conditions: Vec::new(),
        }
    };
    let rest = Pattern {
        route: RouteId(count as u32),
        methods: Vec::new(),
        host: HostPattern::Any,
        path: vec![Segment::Rest],
        conditions: Vec::new(),
    };
    let patterns = (0..count - 1).map(pattern).chain([rest]);
    Router::build(patterns.collect()).expect("no clash").0
}

fn parsed(text: &[u8]) -> RequestHead {
    let mut head = RequestHead::default();
    let outcome = parse::request(text, 0, &HeadLimits::default(), &mut head);
    assert_eq!(outcome, Ok(Parsed::Done));
    head
}

fn finding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router");
    let spelling = PathSpelling::default();
    let (mut params, mut scratch) = (Params::default(), PathScratch::default());
    for count in [10, 1_000, 10_000] {
        let router = table(count);
        let mut measure = |name: &str, asked: usize, target: &dyn Fn(usize) -> String| {
            let text = |n| {
                let target = target(n * (count - 1) / asked);
                format!("GET {target} HTTP/1.1\r\nhost: api.example.com\r\n\r\n").into_bytes()
            };
            let texts: Vec<_> = (0..asked).map(text).collect();
            let heads: Vec<_> = texts.iter().map(|text| parsed(text)).collect();
            let mut turn = 0;
            group.bench_function(format!("{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % asked;
                    let request = Request { head: &heads[turn], raw: &texts[turn] };
                    let found =
                        router.find(black_box(request), &spelling, &mut params, &mut scratch);
                    assert!(matches!(found, Found::Route(_)));
                    found
                });
            });
        };
        let hit = |n: usize| {
            let end = if n.is_multiple_of(4) { "/x" } else { "" };
            format!("/api/v1/service-{n:05}/items/18446{end}")
        };
        measure("hit", ASKED, &hit);
        measure("hit_of_many", ASKED_OF_MANY.min(count - 1), &hit);
        measure("hit_encoded", ASKED, &|n| {
            let end = if n.is_multiple_of(4) { "/x" } else { "" };
            format!("/api/v1/service-{n:05}/%69tems/caf%C3%A9{end}")
        });
        measure("fall_to_rest", ASKED, &|n| format!("/api/v1/service-{n:05}/else/18446"));
    }
    group.finish();
}

criterion_group!(benches, finding);
criterion_main!(benches);
