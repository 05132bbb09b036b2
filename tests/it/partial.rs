//! What the client gets when a part of a merge fails, by every way it can fail.
//!
//! CONFIG.md rule 5. A part that failed never shows a byte of what it said.

use std::collections::BTreeSet;

use crate::support::Gate;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};

const CONFIG: &str = r#"
[upstream.user]
endpoints = ["@user@"]

[upstream.order]
endpoints = ["@order@"]

[[route]]
match = "GET /dashboard"
timeout = "10s"

[route.merge]
user   = { get = "user /user" }
orders = { get = "order /orders", @orders@ }
"#;

/// A dashboard whose `orders` part has these further settings.
fn dashboard(user: &Origin, order: &Origin, orders: &str) -> Gateway {
    let config = CONFIG
        .replace(", @orders@", &format!("{}{orders}", if orders.is_empty() { "" } else { ", " }));
    gateway(&config).with("user", user.address).with("order", order.address).start()
}

/// Every way a part can fail, with an origin that does it.
fn failures() -> Vec<(&'static str, Origin)> {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("\"{}\"", "x".repeat(20 << 20));
    let said = |bytes: &[u8]| Origin::answering(answer(200, &[], bytes));
    vec![
        ("not JSON", said(b"<html>")),
        ("two values", said(b"1 2")),
        ("a trailing comma", said(b"[1,]")),
        ("not UTF-8", said(b"\"\xff\"")),
        ("a lone surrogate byte", said(b"\"\xed\xa0\x80\"")),
        ("a truncated document", said(b"{\"a\":[1,2")),
        ("too deep", said(deep.as_bytes())),
        ("too large", said(large.as_bytes())),
        ("a 500", Origin::answering(answer(500, &[], b"{}"))),
        ("a 404", Origin::answering(answer(404, &[], b"{}"))),
        ("a redirect", Origin::answering(answer(302, &[("Location", "/x")], b"{}"))),
        ("closed before an answer", Origin::script(|_| vec![Step::Close])),
        ("reset", Origin::script(|_| vec![Step::Reset])),
        (
            "closed early",
            Origin::answering_then_closing("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1]"),
        ),
        ("not HTTP", Origin::answering_then_closing("hello\r\n\r\n")),
    ]
}

#[test]
fn a_failed_optional_part_is_replaced_and_named_with_its_reason() {
    let user = Origin::saying("{\"name\":\"Ada\"}");
    let mut reasons = BTreeSet::new();
    for (what, order) in failures() {
        let gateway = dashboard(&user, &order, "else = [\"none\"]");
        let response = gateway.get("/dashboard");
        assert_eq!(response.status, 200, "{what}");
        assert_eq!(response.text(), r#"{"user":{"name":"Ada"},"orders":["none"]}"#, "{what}");
        let partial =
            response.field("gateway-partial").unwrap_or_else(|| panic!("{what}")).to_string();
        let reason = partial.strip_prefix("orders;").unwrap_or_else(|| panic!("{what}: {partial}"));
        assert!(!reason.is_empty() && !reason.contains("127.0.0.1"), "{what}: {partial}");
        reasons.insert(reason.to_string());
    }
    assert!(reasons.len() >= 6, "kinds of failure have reasons of their own: {reasons:?}");
}

#[test]
fn a_failed_required_part_fails_the_whole_and_shows_nothing_of_it() {
    let user = Origin::saying("{\"name\":\"Ada\"}");
    for (what, order) in failures() {
        let gateway = dashboard(&user, &order, "");
        let response = gateway.get("/dashboard");
        let expected = if what == "a 404" { 404 } else { 502 };
        assert_eq!(response.status, expected, "{what}");
        assert!(!response.text().contains("Ada") && !response.text().contains("html"), "{what}");
    }
}

#[test]
fn a_part_beyond_its_timeout_is_replaced_when_optional() {
    let (user, order) = (Origin::saying("1"), Origin::silent());
    let gateway = dashboard(&user, &order, "timeout = \"100ms\", else = []");
    let response = gateway.get("/dashboard").expect(200);
    assert_eq!(response.text(), r#"{"user":1,"orders":[]}"#);
    assert_eq!(response.field("gateway-partial"), Some("orders;timeout"));
}

#[test]
fn a_part_beyond_its_timeout_is_a_504_when_required() {
    let (user, order) = (Origin::saying("1"), Origin::silent());
    let gateway = dashboard(&user, &order, "timeout = \"100ms\"");
    gateway.get("/dashboard").expect_problem(504);
}

#[test]
fn an_upstream_that_refuses_is_replaced_when_optional() {
    let user = Origin::saying("1");
    let (_port, nobody) = Origin::refusing();
    let config = CONFIG.replace("@orders@", "else = 0");
    let gateway = gateway(&config).with("user", user.address).with("order", nobody).start();
    let response = gateway.get("/dashboard").expect(200);
    assert_eq!(response.text(), r#"{"user":1,"orders":0}"#);
    assert!(response.field("gateway-partial").unwrap().starts_with("orders;"));
}

#[test]
fn a_204_or_an_empty_body_is_else_or_null() {
    let user = Origin::saying("1");
    for empty in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    {
        let order = Origin::answering(empty);
        let gateway = dashboard(&user, &order, "else = []");
        assert_eq!(gateway.get("/dashboard").expect(200).text(), r#"{"user":1,"orders":[]}"#);
        drop(gateway);
        let gateway = dashboard(&user, &order, "");
        assert_eq!(gateway.get("/dashboard").expect(200).text(), r#"{"user":1,"orders":null}"#);
    }
}

#[test]
fn a_required_parts_failure_answers_at_once_and_does_not_wait_for_the_others() {
    let never = Gate::new();
    let held = never.clone();
    let user = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("1"))]);
    let order = Origin::answering(answer(403, &[], b"{}"));
    let gateway = dashboard(&user, &order, "");
    // `user` is still held when the answer is here.
    gateway.get("/dashboard").expect(403);
    never.open();
    let line = gateway.access_log(1).remove(0);
    let attempts = line["attempts"].as_array().expect("attempts");
    let user = attempts.iter().find(|attempt| attempt["part"] == "user").expect("it was asked");
    assert_eq!((&user["cancelled"], user.get("fault")), (&true.into(), None), "{line}");
    let order = attempts.iter().find(|attempt| attempt["part"] == "orders").expect("it failed");
    assert_eq!((order["status"].as_u64(), order.get("cancelled")), (Some(403), None), "{line}");
}

#[test]
fn a_client_that_leaves_takes_the_calls_of_its_merge_with_it() {
    let never = Gate::new();
    let (held, second) = (never.clone(), never.clone());
    let user = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("1"))]);
    let order = Origin::script(move |_| vec![Step::Wait(second.clone()), Step::Send(ok("2"))]);
    let gateway = dashboard(&user, &order, "else = 0");
    let mut client = gateway.connect();
    client.send("GET /dashboard HTTP/1.1\r\nHost: a\r\n\r\n");
    user.wait_for(1);
    order.wait_for(1);
    drop(client);
    // Nobody has answered when the exchange is over.
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["status"], 499, "{line}");
    let attempts = line["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{line}");
    assert!(attempts.iter().all(|attempt| attempt["cancelled"] == true), "{line}");
    never.open();
}

#[test]
fn a_cancelled_parts_late_answer_is_never_taken_for_another() {
    let late = Gate::new();
    let held = late.clone();
    let order = Origin::script(move |request| match request.turn {
        0 if request.connection == 0 => vec![Step::Wait(held.clone()), Step::Send(ok("\"late\""))],
        _ => vec![Step::Send(ok("\"own\""))],
    });
    let user = Origin::saying("1");
    let gateway = dashboard(&user, &order, "timeout = \"100ms\", else = \"else\"");
    let mut client = gateway.connect();
    let first = client.get("/dashboard", &[]).expect(200).text();
    assert_eq!(first, r#"{"user":1,"orders":"else"}"#);
    late.open();
    for _ in 0..10 {
        let next = client.get("/dashboard", &[]).expect(200).text();
        assert_eq!(next, r#"{"user":1,"orders":"own"}"#);
    }
}

#[test]
fn several_failed_parts_are_each_named() {
    let config = r#"
[upstream.a]
endpoints = ["@a@"]

[[route]]
match = "GET /both"
[route.merge]
first  = { get = "a /500", else = 1 }
second = { get = "a /text", else = 2 }
third  = { get = "a /good", else = 3 }
"#;
    let origin = Origin::script(|request| {
        vec![Step::Send(match request.target.as_str() {
            "/500" => answer(500, &[], b"{}"),
            "/text" => answer(200, &[], b"text"),
            _ => ok("0"),
        })]
    });
    let gateway = gateway(config).with("a", origin.address).start();
    let response = gateway.get("/both").expect(200);
    assert_eq!(response.text(), r#"{"first":1,"second":2,"third":0}"#);
    let partial = response.all("gateway-partial").join(", ");
    let names: Vec<_> = partial.split(',').map(|p| p.trim().split(';').next().unwrap()).collect();
    assert_eq!(names, ["first", "second"], "{partial}");
}

#[test]
fn a_partial_answer_is_not_stored_by_caches() {
    let (user, order) = (Origin::saying("1"), Origin::answering(answer(500, &[], b"{}")));
    let gateway = dashboard(&user, &order, "else = []");
    let response = gateway.get("/dashboard").expect(200);
    assert!(response.field("etag").is_none());
    let control = response.field("cache-control").unwrap_or("no-store");
    assert!(control.contains("no-store"), "{control}");
}

#[test]
fn every_failed_part_is_in_the_log_and_in_metrics_with_its_reason() {
    let (user, order) = (Origin::saying("1"), Origin::answering(answer(503, &[], b"{}")));
    let gateway = dashboard(&user, &order, "else = []");
    for _ in 0..2 {
        gateway.get("/dashboard").expect(200);
    }
    let line = gateway.access_log(2).remove(1);
    assert_eq!(line["parts"], serde_json::json!({ "orders": "status" }));
    assert_eq!(line["partial"], 1);
    let labels = ["http_route=\"GET /dashboard\"", "part=\"orders\"", "reason=\"status\""];
    crate::support::eventually("both failures are counted", || {
        gateway.metric("ringway_part_failures_total", &labels) == 2.0
    });
}

/// An attempt says what its origin did in the words of a forwarded request, whatever the part is called.
#[test]
fn an_attempt_of_a_part_names_exactly_what_its_origin_did() {
    let user = Origin::saying("1");
    let died = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1]";
    let large = format!("\"{}\"", "x".repeat(20 << 20));
    for (order, word) in [
        (Origin::answering_then_closing("hello\r\n\r\n"), "http_protocol_error"),
        (Origin::answering_then_closing(died), "http_response_incomplete"),
        (Origin::script(|_| vec![Step::Close]), "connection_terminated"),
        (Origin::answering(answer(500, &[], b"{}")), "part_failed"),
        (Origin::answering(answer(200, &[], large.as_bytes())), "part_failed"),
    ] {
        let gateway = dashboard(&user, &order, "else = 0");
        gateway.get("/dashboard").expect(200);
        let line = gateway.access_log(1).remove(0);
        let attempts = line["attempts"].as_array().expect("attempts");
        let of_order = attempts.iter().filter(|attempt| attempt["part"] == "orders");
        let faults: Vec<_> = of_order.map(|attempt| attempt["fault"].as_str()).collect();
        assert!(!faults.is_empty() && faults.iter().all(|fault| *fault == Some(word)), "{line}");
        assert!(attempts.iter().any(|attempt| attempt["fault"].is_null()), "{line}");
    }
}
