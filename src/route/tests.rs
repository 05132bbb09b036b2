//! Tests of finding routes. They never look at how the tree is built, only at who wins.

use super::*;
use crate::http::h1::parse::{self, HeadLimits, Parsed};
use crate::http::head::RequestHead;
use crate::route::explain::Outcome;
use crate::route::matcher::{Condition, Place, Test};
use crate::route::pattern::{MethodName, Segment};

/// A pattern from `[METHOD,…] [host]/path`.
fn pattern(id: u32, text: &str) -> Pattern {
    let (methods, rest) = text.split_once(' ').unwrap_or(("", text));
    let slash = rest.find('/').expect("a path");
    let (host, path) = rest.split_at(slash);
    let segment = |text: &str| match text {
        "{*rest}" => Segment::Rest,
        text if text.starts_with('{') => Segment::Param,
        text => Segment::Literal(text.as_bytes().into()),
    };
    Pattern {
        route: RouteId(id),
        methods: methods
            .split(',')
            .filter(|m| !m.is_empty())
            .map(|m| MethodName(m.into()))
            .collect(),
        host: match host.strip_prefix("*.") {
            _ if host.is_empty() => HostPattern::Any,
            Some(suffix) => HostPattern::Wildcard(suffix.into()),
            None => HostPattern::Exact(host.into()),
        },
        path: path[1..].split('/').map(segment).collect(),
        conditions: Vec::new(),
    }
}

fn router(patterns: &[&str]) -> Router {
    let patterns = patterns.iter().enumerate().map(|(id, text)| pattern(id as u32, text));
    Router::build(patterns.collect()).expect("no clash").0
}

fn find_with(router: &Router, line: &str, fields: &str) -> (Found, Vec<String>) {
    let (method, rest) = line.split_once(' ').expect("METHOD host/path");
    let slash = rest.find('/').expect("a path");
    let (host, target) = rest.split_at(slash);
    let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    let parsed = parse::request(text.as_bytes(), 0, &HeadLimits::default(), &mut head);
    assert_eq!(parsed, Ok(Parsed::Done), "{text}");
    let request = Request { head: &head, raw: text.as_bytes() };
    let (mut params, mut scratch) = (Params::default(), PathScratch::default());
    let found = router.find(request, &PathSpelling::default(), &mut params, &mut scratch);
    let value = |n| String::from_utf8_lossy(params.value(n, request.path()).expect("there")).into();
    (found, (0..params.len()).map(value).collect())
}

fn find(router: &Router, line: &str) -> Option<u32> {
    match find_with(router, line, "").0 {
        Found::Route(id) => Some(id.0),
        _ => None,
    }
}

#[test]
fn an_exact_host_wins_over_a_wildcard_over_any() {
    let router = router(&[
        "/{*rest}",
        "*.example.com/{*rest}",
        "api.example.com/{*rest}",
        "*.b.example.com/x",
    ]);
    assert_eq!(find(&router, "GET api.example.com/x"), Some(2));
    assert_eq!(find(&router, "GET API.Example.COM./x"), Some(2));
    assert_eq!(find(&router, "GET api.example.com:8080/x"), Some(2));
    assert_eq!(find(&router, "GET a.b.example.com/x"), Some(3));
    assert_eq!(find(&router, "GET a.b.example.com/y"), Some(1));
    assert_eq!(find(&router, "GET example.com/x"), Some(0));
}

#[test]
fn a_host_without_a_fitting_path_leaves_the_request_to_the_next() {
    let router = router(&["/ping", "api.example.com/users"]);
    assert_eq!(find(&router, "GET api.example.com/ping"), Some(0));
}

#[test]
fn literal_wins_over_parameter_over_rest_segment_by_segment() {
    let router = router(&[
        "/{*rest}",
        "/users/{id}",
        "/users/me",
        "/users/{id}/orders",
        "/users/me/{*rest}",
        "/{a}/{b}/{c}",
    ]);
    assert_eq!(find(&router, "GET h/users/me"), Some(2));
    assert_eq!(find(&router, "GET h/users/7"), Some(1));
    assert_eq!(find(&router, "GET h/users/7/orders"), Some(3));
    assert_eq!(find(&router, "GET h/users/me/orders"), Some(4), "the literal `me` wins first");
    assert_eq!(find(&router, "GET h/users/7/x"), Some(5), "the search turns back");
    assert_eq!(find(&router, "GET h/"), Some(0));
}

#[test]
fn parameters_are_raw_and_belong_to_the_winner() {
    let router = router(&["/a/{x}/c", "/{y}/{*rest}"]);
    assert_eq!(find_with(&router, "GET h/a/b%20b/c", "").1, ["b%20b"]);
    assert_eq!(find_with(&router, "GET h/a/b/d/e", "").1, ["a", "b/d/e"]);
    assert_eq!(find_with(&router, "GET h/a/", "").1, ["a", ""]);
}

#[test]
fn a_trailing_slash_is_another_path_and_a_parameter_is_never_empty() {
    let router = router(&["/a", "/b/", "/c/{id}"]);
    assert_eq!(find(&router, "GET h/a/"), None);
    assert_eq!(find(&router, "GET h/b"), None);
    assert_eq!(find(&router, "GET h/b/"), Some(1));
    assert_eq!(find(&router, "GET h/c/"), None);
}

#[test]
fn methods_are_told_apart_and_named_in_allow() {
    let router = router(&["GET /x", "POST,PUT /x", "/y", "DELETE /y"]);
    assert_eq!(find(&router, "GET h/x"), Some(0));
    assert_eq!(find(&router, "HEAD h/x"), Some(0));
    assert_eq!(find(&router, "PUT h/x"), Some(1));
    assert_eq!(find(&router, "DELETE h/y"), Some(3), "a method counts as a condition");
    assert_eq!(find(&router, "GET h/y"), Some(2));
    let (found, _) = find_with(&router, "PATCH h/x", "");
    let Found::MethodRefused(allow) = found else { panic!("{found:?}") };
    assert_eq!(allow.as_bytes(), b"GET, HEAD, POST, PUT");
}

#[test]
fn more_conditions_win_over_fewer() {
    let beta =
        Condition { place: Place::Header, name: "x-beta".into(), test: Test::Equals("1".into()) };
    let v2 = Condition { place: Place::Query, name: "v".into(), test: Test::Equals("a b".into()) };
    let mut patterns = vec![pattern(0, "/x"), pattern(1, "/x"), pattern(2, "/x")];
    patterns[1].conditions = vec![beta.clone()];
    patterns[2].conditions = vec![beta, v2];
    let (router, shadowed) = Router::build(patterns).expect("no clash");
    assert!(shadowed.is_empty());
    assert_eq!(find(&router, "GET h/x"), Some(0));
    let found = |line, fields| find_with(&router, line, fields).0;
    assert_eq!(found("GET h/x", "X-Beta: 1\r\n"), Found::Route(RouteId(1)));
    assert_eq!(found("GET h/x?v=a%20b", "X-Beta: 1\r\n"), Found::Route(RouteId(2)));
    assert_eq!(found("GET h/x?v=a+b", "X-Beta: 1\r\n"), Found::Route(RouteId(2)));
    assert_eq!(found("GET h/x?v=a%20b", "X-Beta: 2\r\n"), Found::Route(RouteId(0)));
}

#[test]
fn routes_that_ask_the_same_clash_and_covered_ones_are_shadowed() {
    let clash = Router::build(vec![pattern(0, "GET /a/{x}"), pattern(1, "GET /a/{y}")]);
    let expected = Clash { first: RouteId(0), second: RouteId(1) };
    assert_eq!(clash.expect_err("the same"), [expected]);
    let (_, shadowed) =
        Router::build(vec![pattern(0, "GET,POST /a"), pattern(1, "GET /a")]).expect("no clash");
    assert_eq!(shadowed, [expected]);
}

#[test]
fn what_follows_from_other_conditions_is_seen_as_covered() {
    let named = |name: &str, test| Condition { place: Place::Header, name: name.into(), test };
    let mut patterns = vec![pattern(0, "GET /a"), pattern(1, "HEAD /a"), pattern(2, "GET /a")];
    patterns[2].conditions = vec![named("x", Test::Present)];
    patterns.push(Pattern { route: RouteId(3), ..patterns[2].clone() });
    patterns[3].conditions = vec![named("X", Test::Equals("1".into()))];
    let (_, shadowed) = Router::build(patterns).expect("no clash");
    let covered = |first, second| Clash { first: RouteId(first), second: RouteId(second) };
    assert_eq!(shadowed, [covered(2, 3), covered(0, 1)]);
}

#[test]
fn a_name_that_an_origin_may_read_as_another_route_is_refused() {
    let router = router(&["/admin/{*rest}", "/{*rest}", "/Users/{id}", "h/files/{name}"]);
    let refused = Found::PathRefused(PathFault::LookAlike);
    for path in [
        "/Admin/x",
        "/ADMIN/x",
        "/%41dmin/x",
        "/admin./x",
        "/admin%20/x",
        "/admin%3Fx/x",
        "/admin%23/x",
        "/users/7",
        "/%EF%BD%81dmin/x",
    ] {
        assert_eq!(find_with(&router, &format!("GET h{path}"), "").0, refused, "{path}");
    }
    for (path, route) in [
        ("/%61dmin/x", 0),
        ("/Users/7", 2),
        ("/files/Report.", 3),
        ("/Other./x", 1),
        ("/administrator/x", 1),
    ] {
        assert_eq!(find(&router, &format!("GET h{path}")), Some(route), "{path}");
    }
}

#[test]
fn a_slash_more_or_less_is_refused_only_where_a_route_beside_it_would_take_the_request() {
    let beta = Condition { place: Place::Header, name: "x-beta".into(), test: Test::Present };
    for (place, asked) in
        [("/a/{x}/a/{*rest}", "/a/a/a"), ("/a/{x}/a/", "/a/a/a"), ("/a/{x}/a", "/a/a/a/")]
    {
        let mut patterns = vec![pattern(0, place), pattern(1, "/{*rest}")];
        patterns[0].conditions = vec![beta.clone()];
        let (router, _) = Router::build(patterns).expect("no clash");
        let line = format!("GET h{asked}");
        assert_eq!(find(&router, &line), Some(1), "{place}: its condition does not hold");
        let (found, _) = find_with(&router, &line, "x-beta: 1\r\n");
        assert_eq!(found, Found::PathRefused(PathFault::LookAlike), "{place}");
    }
}

#[test]
fn a_look_alike_that_no_route_takes_is_missing() {
    assert_eq!(find_with(&router(&["/admin"]), "GET h/Admin", "").0, Found::Missing);
}

#[test]
fn a_refused_path_is_refused_before_any_route_is_tried() {
    let router = router(&["/{*rest}"]);
    let (found, _) = find_with(&router, "GET h/a/..%2Fb", "");
    assert_eq!(found, Found::PathRefused(PathFault::DotSegment));
}

#[test]
fn every_loser_has_its_reason() {
    let router = router(&["/a", "h/b", "POST /b", "other/b", "/{*rest}"]);
    let text = b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut head = RequestHead::default();
    parse::request(text, 0, &HeadLimits::default(), &mut head).expect("a request");
    let request = Request { head: &head, raw: text };
    let (found, considered) = router.explain(request, &PathSpelling::default());
    assert_eq!(found, Found::Route(RouteId(1)));
    let outcomes: Vec<_> = considered.into_iter().map(|c| c.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::OtherPath { segment: 1 },
            Outcome::Won,
            Outcome::OtherMethod,
            Outcome::OtherHost,
            Outcome::Outranked
        ]
    );
}
