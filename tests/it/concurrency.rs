//! How many at once, exact for the machine: every seat is given back once, whatever becomes of the request.
//!
//! Origins hold their answers behind gates, so that a test decides who is there. The waits of a queue are long
//! enough in every test that no slowness of the machine can shed what the test wants served.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::tokens::{Signer, bearer, claims};
use crate::support::wire::Wire;
use crate::support::{Gate, eventually};

/// An origin that answers `/held…` when the gate opens, and everything else at once.
fn holding(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |request| match request.target.starts_with("/held") {
        true => vec![Step::Wait(gate.clone()), Step::Send(ok("held"))],
        false => vec![Step::Send(ok("at once"))],
    })
}

fn bounded(origin: &Origin, upstream: &str, route: &str) -> Gateway {
    let config = format!(
        "[upstream.app]\nendpoints = [\"@app@\"]\n{upstream}\n\n[[route]]\nmatch = \"/{{*rest}}\"\nname = \"all\"\n\
         forward = \"app\"\n{route}\n"
    );
    gateway(&config).with("app", origin.address).start()
}

/// A request that the origin holds; returns when it is there.
fn hold(gateway: &Gateway, origin: &Origin, fields: &[(&str, &str)]) -> Wire {
    let before = origin.requests().len();
    let mut client = gateway.connect();
    let fields: String =
        fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.send(format!("GET /held HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    eventually("the origin has the request", || origin.requests().len() > before);
    client
}

fn in_flight(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metric("ringway_concurrency_in_flight", &[&format!("kind=\"concurrency_{kind}\"")])
}

#[test]
fn the_bound_holds_over_all_cores_and_every_end_gives_its_seat_back() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let gateway = bounded(&origin, "", "concurrency = 3");
    let held: Vec<Wire> = (0..3).map(|_| hold(&gateway, &origin, &[])).collect();
    for _ in 0..8 {
        let refused = gateway.get("/").expect_problem(503);
        assert_eq!(refused.field("retry-after"), Some("1"), "{:?}", refused.fields);
        assert_eq!(refused.field("proxy-status"), Some("ringway; error=concurrency_limited"));
    }
    assert_eq!(in_flight(&gateway, "route"), 3.0);
    // One client goes away, the others are answered.
    let mut held = held.into_iter();
    drop(held.next());
    eventually("the seat of the client that left is free", || gateway.get("/").status == 200);
    gate.open();
    for mut client in held {
        client.response().expect(200);
    }
    eventually("all seats are free", || in_flight(&gateway, "route") == 0.0);
    // The line of the client that left may be the first: its request is the oldest.
    let lines = gateway.access_log(12);
    let refused: Vec<_> = lines.iter().filter(|line| line["reason"] == "no_seat").collect();
    assert!(refused.len() >= 8 && refused.iter().all(|line| line["limit"] == "all"), "{lines:?}");
}

#[test]
fn a_key_has_a_bound_of_its_own() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let route = "concurrency = { max = 10, key = \"{header.x-tenant}\", key_max = 1 }";
    let gateway = bounded(&origin, "", route);
    let mut held = hold(&gateway, &origin, &[("X-Tenant", "a")]);
    gateway.get_with("/", &[("X-Tenant", "a")]).expect_problem(503);
    gateway.get_with("/", &[("X-Tenant", "b")]).expect(200);
    gateway.get("/").expect_problem(400);
    gate.open();
    held.response().expect(200);
    gateway.get_with("/", &[("X-Tenant", "a")]).expect(200);
}

#[test]
fn a_key_is_bounded_in_the_line_as_well() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let route = "concurrency = { max = 2, key = \"{header.x-tenant}\", key_max = 1, queue = 4, wait = \"15s\", \
                 target = \"15s\" }\ntimeout = \"19s\"";
    let gateway = bounded(&origin, "", route);
    let mut a = hold(&gateway, &origin, &[("X-Tenant", "a")]);
    let mut b = hold(&gateway, &origin, &[("X-Tenant", "b")]);
    // All seats are taken. Who has one is refused at once, and who has none may wait, once.
    gateway.get_with("/", &[("X-Tenant", "a")]).expect_problem(503);
    let mut waiting = gateway.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: test\r\nX-Tenant: c\r\n\r\n");
    let queue = || gateway.metric("ringway_concurrency_queue", &["limit=\"all\""]);
    eventually("it waits", || queue() == 1.0);
    for tenant in ["a", "b", "c"] {
        gateway.get_with("/", &[("X-Tenant", tenant)]).expect_problem(503);
    }
    assert_eq!(queue(), 1.0);
    gate.open();
    for client in [&mut a, &mut b, &mut waiting] {
        client.response().expect(200);
    }
    for tenant in ["a", "b", "c"] {
        gateway.get_with("/", &[("X-Tenant", tenant)]).expect(200);
    }
}

#[test]
fn who_is_refused_otherwise_takes_no_seat() {
    let origin = Origin::saying("in");
    let secret = "0123456789abcdef0123456789abcdef";
    let config = format!(
        "[jwt.key]\nsecret = \"{secret}\"\n[upstream.app]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"/\"\n\
         name = \"all\"\nforward = \"app\"\njwt = \"key\"\nconcurrency = {{ key = \"{{jwt.sub}}\", key_max = 1 }}\n"
    );
    let gateway = gateway(&config).with("app", origin.address).start();
    for _ in 0..5 {
        gateway.get("/").expect_problem(401);
    }
    let (name, value) = bearer(&Signer::hs256("k", secret).sign(&claims("1")));
    gateway.get_with("/", &[(name, &value)]).expect(200);
    assert_eq!(gateway.metric("ringway_limit_requests_total", &["result=\"refused\""]), 0.0);
}

#[test]
fn an_upstream_has_a_bound_for_all_its_routes_and_parts() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let more =
        "[[route]]\nmatch = \"/merged\"\n[route.merge]\nx = { get = \"app /x\", else = 0 }\n";
    let gateway = bounded(&origin, "concurrency = 1", more);
    let mut held = hold(&gateway, &origin, &[]);
    gateway.get("/").expect_problem(503);
    let line = gateway.access_log(1).remove(0);
    assert!(line["fault"] == "concurrency_limited" && line["reason"] == "no_seat", "{line}");
    assert_eq!(gateway.get("/merged").expect(200).field("gateway-partial"), Some("x;unavailable"));
    gate.open();
    held.response().expect(200);
    // The place is free when its core has seen the answer go; this client may be sooner, on another core.
    eventually("the place to be free", || gateway.get("/").status == 200);
    // The origin failed nobody.
    assert_eq!(gateway.metric("ringway_upstream_failures_total", &["app"]), 0.0);
}

#[test]
fn who_waits_gets_the_seat_when_it_is_free_whatever_core_frees_it() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let route =
        "concurrency = { max = 1, queue = 8, wait = \"15s\", target = \"15s\" }\ntimeout = \"19s\"";
    let gateway = bounded(&origin, "", route);
    let mut held = hold(&gateway, &origin, &[]);
    let mut waiting: Vec<Wire> = (0..8).map(|_| gateway.connect()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    let queue = || gateway.metric("ringway_concurrency_queue", &["limit=\"all\""]);
    eventually("all wait", || queue() == 8.0);
    gateway.get("/").expect_problem(503);
    assert_eq!(origin.requests().len(), 1, "nobody else was let in");
    gate.open();
    held.response().expect(200);
    for mut client in waiting {
        client.response().expect(200);
    }
    eventually("nobody waits", || queue() == 0.0);
    let queued = ["result=\"queued\"", "limit=\"all\""];
    assert_eq!(gateway.metric("ringway_limit_requests_total", &queued), 8.0);
}

#[test]
fn who_waits_for_too_long_is_shed_and_who_leaves_makes_room() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let route = "concurrency = { max = 1, queue = 1, wait = \"300ms\" }";
    let gateway = bounded(&origin, "", route);
    let mut held = hold(&gateway, &origin, &[]);
    let shed = gateway.get("/").expect_problem(503);
    assert_eq!(shed.field("retry-after"), Some("1"), "{:?}", shed.fields);
    let line = &gateway.access_log(1)[0];
    assert_eq!((&line["reason"], &line["limit"]), (&"shed".into(), &"all".into()), "{line}");
    assert!(line["queued_ms"].as_f64().is_some_and(|waited| waited >= 300.0), "{line}");
    gate.open();
    held.response().expect(200);
    gateway.get("/").expect(200);
}

#[test]
fn an_adaptive_limit_begins_at_its_floor_and_rises_with_what_the_origin_takes() {
    let origin = Origin::saying("in");
    let gateway = bounded(&origin, "concurrency = { max = 50, adaptive = true, min = 2 }", "");
    let limit = || gateway.metric("ringway_concurrency_limit", &["kind=\"concurrency_upstream\""]);
    assert_eq!(limit(), 2.0);
    let mut client = gateway.connect();
    for _ in 0..100 {
        client.get("/", &[]).expect(200);
    }
    assert!((2.0..=50.0).contains(&limit()));
}

#[test]
fn the_example_of_the_page_does_what_the_page_says() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let page = include_str!("../../docs/policies/concurrency.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("a page begins with an example");
    let gateway = gateway(&block.replace("10.0.0.21:8080", &origin.address.to_string())).start();
    let held: Vec<Wire> = (0..5).map(|_| hold(&gateway, &origin, &[])).collect();
    gateway.get("/").expect_problem(503);
    gate.open();
    for mut client in held {
        client.response().expect(200);
    }
    gateway.get("/").expect(200);
}
