//! Spans at a collector: OTLP over HTTP in its JSON encoding.
//!
//! The collector is a server of the test that reads what a real one would. It must never matter to a request whether
//! there is one.

use serde_json::Value;

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};

fn collector() -> Origin {
    Origin::script(|_| {
        vec![Step::Send(answer(200, &[("Content-Type", "application/json")], b"{}"))]
    })
}

fn tracing(collector: std::net::SocketAddr, more: &str, routes: &str, api: &Origin) -> Gateway {
    let text = format!(
        "[observe]\naccess_log = \"@DIR@/access.log\"\notlp = {{ endpoint = \"http://{collector}/v1/traces\", headers = {{ x-token = \"t0ken\" }}, service = \"edge\", {more} }}\n\
         [upstream.api]\nendpoints = [\"@api@\"]\n{routes}"
    );
    gateway(&text).with("api", api.address).start()
}

/// Every span that came so far.
fn spans(collector: &Origin) -> Vec<Value> {
    let mut all = Vec::new();
    for request in collector.requests() {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(request.field("content-type"), Some("application/json"));
        assert_eq!(request.field("x-token"), Some("t0ken"));
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        for resource in body["resourceSpans"].as_array().expect("resources") {
            assert_eq!(attribute(&resource["resource"], "service.name"), "edge");
            for scope in resource["scopeSpans"].as_array().expect("scopes") {
                all.extend(scope["spans"].as_array().expect("spans").iter().cloned());
            }
        }
    }
    all
}

fn attribute(holder: &Value, key: &str) -> String {
    let list = holder["attributes"].as_array().expect("attributes");
    let value = list.iter().find(|one| one["key"] == key).map(|one| &one["value"]);
    let value = value.and_then(|value| value.as_object()).and_then(|value| value.values().next());
    value.map_or_else(String::new, |value| value.as_str().map_or(value.to_string(), str::to_owned))
}

const FORWARD: &str = "[[route]]\nname = \"orders\"\nmatch = \"/orders/{id}\"\nforward = \"api\"\n";

#[test]
fn a_request_and_its_attempt_are_spans_of_the_clients_trace() {
    let (collector, api) = (collector(), Origin::saying("{}"));
    let gateway = tracing(collector.address, "sample = \"100%\"", FORWARD, &api);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    gateway.get_with("/orders/1?token=secret", &[("traceparent", &parent)]).expect(200);
    eventually("two spans", || spans(&collector).len() >= 2);
    let spans = spans(&collector);
    let (server, attempt) = (&spans[0], &spans[1]);
    assert_eq!(
        (&server["traceId"], &server["parentSpanId"]),
        (&trace.into(), &"00f067aa0ba902b7".into())
    );
    assert_eq!((&server["kind"], &server["name"]), (&2.into(), &"GET orders".into()));
    assert_eq!(attribute(server, "http.request.method"), "GET");
    assert_eq!(attribute(server, "network.protocol.version"), "1.1");
    assert_eq!(attribute(server, "url.scheme"), "http");
    assert_eq!(attribute(server, "http.request.method_original"), "");
    assert_eq!(attribute(server, "http.route"), "orders");
    assert_eq!(attribute(server, "url.path"), "/orders/1");
    assert_eq!(attribute(server, "http.response.status_code"), "200");
    assert_eq!(server["status"]["code"], 0);
    assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&trace.into(), &server["spanId"]));
    assert_eq!((&attempt["kind"], &attempt["name"]), (&3.into(), &"attempt api".into()));
    assert_eq!(attribute(attempt, "server.port"), api.address.port().to_string());
    assert!(!format!("{spans:?}").contains("secret"));
    let nanos = |span: &Value, key: &str| {
        span[key].as_str().expect("a text").parse::<u128>().expect("nanoseconds")
    };
    let (start, end) = (nanos(server, "startTimeUnixNano"), nanos(server, "endTimeUnixNano"));
    assert!(
        start <= nanos(attempt, "startTimeUnixNano")
            && nanos(attempt, "endTimeUnixNano") <= end + 1000
    );
    // The origin continues the same trace, below our span.
    let sent = api.request().field("traceparent").expect("a traceparent").to_owned();
    assert_eq!(sent, format!("00-{trace}-{}-01", server["spanId"].as_str().expect("an id")));
    eventually("two spans to be counted", || {
        gateway.metric("ringway_spans_exported_total", &[]) == 2.0
    });
}

#[test]
fn an_unknown_method_is_other_and_a_repeated_attempt_is_counted() {
    // A kept connection closes instead of answering: its request is sent again.
    let api = Origin::script(|request| match request.turn {
        0 => vec![Step::Send(ok("1"))],
        _ => vec![Step::Close],
    });
    let collector = collector();
    let gateway = tracing(collector.address, "sample = \"100%\"", FORWARD, &api);
    let mut client = gateway.connect();
    client.get("/orders/1", &[]).expect(200);
    client.get("/orders/2", &[]).expect(200);
    let counts = || {
        let spans = spans(&collector);
        let counts = spans.iter().map(|span| attribute(span, "http.request.resend_count"));
        counts.collect::<Vec<_>>()
    };
    eventually("five spans", || counts().len() >= 5);
    assert_eq!(counts(), ["", "", "", "", "1"]);
    let attempt = &spans(&collector)[4];
    assert_eq!(attribute(attempt, "http.request.method"), "GET");
    gateway.connect().call("BREW", "/orders/1", &[], b"");
    eventually("two more", || counts().len() >= 7);
    let server = &spans(&collector)[5];
    assert_eq!(server["name"], "HTTP orders");
    assert_eq!(attribute(server, "http.request.method"), "_OTHER");
    assert_eq!(attribute(server, "http.request.method_original"), "BREW");
}

#[test]
fn each_part_of_a_merge_is_a_span() {
    let (collector, api) = (collector(), Origin::script(|_| vec![Step::Send(ok("1"))]));
    let merge = "[[route]]\nname = \"dash\"\nmatch = \"GET /dash\"\n[route.merge]\na = { get = \"api /a\" }\nb = { get = \"api /b\" }\n";
    let gateway = tracing(collector.address, "sample = \"100%\"", merge, &api);
    gateway.get("/dash").expect(200);
    eventually("three spans", || spans(&collector).len() >= 3);
    let spans = spans(&collector);
    let mut names: Vec<&str> =
        spans.iter().map(|span| span["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET dash", "part a", "part b"]);
    assert!(spans[1..].iter().all(|span| span["parentSpanId"] == spans[0]["spanId"]));
}

#[test]
fn failures_are_always_sent_and_others_by_their_share() {
    let (collector, api) = (
        collector(),
        Origin::script(|request| match request.target.as_str() {
            "/orders/bad" => vec![Step::Close],
            _ => vec![Step::Send(ok("{}"))],
        }),
    );
    let gateway = tracing(collector.address, "sample = \"0.0001%\"", FORWARD, &api);
    let mut client = gateway.connect();
    for _ in 0..20 {
        client.get("/orders/1", &[]).expect(200);
    }
    // A client that does not sample is believed; its failure is sent all the same.
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    gateway.get_with("/orders/bad", &[("traceparent", parent)]).expect(502);
    eventually("a span", || !spans(&collector).is_empty());
    let servers: Vec<Value> =
        spans(&collector).into_iter().filter(|span| span["kind"] == 2).collect();
    let bad: Vec<&Value> = servers.iter().filter(|span| span["status"]["code"] == 2).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!(attribute(bad[0], "error.type"), "connection_terminated");
    assert!(servers.len() <= 2, "{servers:?}");
    assert!(
        api.requests()
            .iter()
            .filter(|r| r.field("traceparent").expect("one").ends_with("-01"))
            .count()
            <= 1
    );
}

#[test]
fn a_collector_that_is_away_or_silent_never_matters() {
    let api = Origin::saying("{}");
    let (_port, refusing) = Origin::refusing();
    let silent = Origin::silent();
    // What leads elsewhere is followed nowhere, and has taken nothing.
    let elsewhere = Origin::script(|_| vec![Step::Send(answer(307, &[("Location", "/v2")], b""))]);
    for address in [refusing, silent.address, elsewhere.address] {
        let gateway = tracing(address, "sample = \"100%\", timeout = \"200ms\"", FORWARD, &api);
        let mut client = gateway.connect();
        for _ in 0..100 {
            client.get("/orders/1", &[]).expect(200);
        }
        let lost = || gateway.metric("ringway_spans_dropped_total", &["export_failed"]);
        eventually("two hundred spans to be lost", || lost() == 200.0);
        let told = gateway.stderr().matches("does not take spans").count();
        assert_eq!(told, 1, "{}", gateway.stderr());
    }
}

#[test]
fn a_reload_changes_the_collector() {
    let (first, second, api) = (collector(), collector(), Origin::saying("{}"));
    let gateway = tracing(first.address, "sample = \"100%\"", FORWARD, &api);
    gateway.get("/orders/1").expect(200);
    eventually("spans at the first", || !spans(&first).is_empty());
    let text = format!(
        "[observe]\naccess_log = \"@DIR@/access.log\"\notlp = {{ endpoint = \"http://{}/v1/traces\", headers = {{ x-token = \"t0ken\" }}, service = \"edge\", sample = \"100%\" }}\n\
         [upstream.api]\nendpoints = [\"@api@\"]\n{FORWARD}",
        second.address
    );
    gateway.rewrite(&text);
    gateway.signal("HUP");
    eventually("spans at the second", || {
        gateway.get("/orders/2").expect(200);
        !spans(&second).is_empty()
    });
}
