//! SIGTERM: finish what is here, take nothing new, end with 0; a second one ends at once.
//!
//! Requests in flight are held by the origin until the test opens its gate, so nothing depends on speed.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::wire::{Wire, request};
use crate::support::{Gate, eventually};

const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/{*rest}"
forward = "app"
timeout = "60s"
"#;

/// A gateway with one request in flight, held by the origin behind the gate.
fn with_a_request_in_flight() -> (Gateway, Origin, Wire, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |request| match request.target.as_str() {
        "/held" => vec![Step::Wait(held.clone()), Step::Send(ok("late but whole"))],
        _ => vec![Step::Send(ok("quick"))],
    });
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(request("GET", "/held", &[], b""));
    origin.wait_for(1);
    (gateway, origin, client, gate)
}

/// Waits until every core has closed its listening socket.
fn wait_until_refused(gateway: &Gateway) {
    eventually("new connections to be refused", || Wire::try_connect(gateway.address).is_none());
}

#[test]
fn an_idle_gateway_ends_at_once_with_success() {
    let origin = Origin::saying("x");
    let mut gateway = gateway(FORWARD).with("app", origin.address).start();
    gateway.get("/").expect(200);
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn a_request_in_flight_is_answered_whole_and_then_the_process_ends() {
    let (mut gateway, _origin, mut client, gate) = with_a_request_in_flight();
    gateway.signal("TERM");
    eventually("/readyz to say 503", || {
        Wire::try_connect(gateway.admin).is_some_and(|mut admin| {
            admin.send_perhaps(request("GET", "/readyz", &[], b""));
            admin.try_response("GET").is_ok_and(|response| response.status == 503)
        })
    });
    wait_until_refused(&gateway);
    assert!(!gateway.has_ended());
    gate.open();
    let response = client.response().expect(200);
    assert_eq!(response.text(), "late but whole");
    assert_eq!(response.field("connection"), Some("close"));
    client.expect_close();
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn no_new_connection_is_served_while_draining() {
    let (mut gateway, _origin, mut client, gate) = with_a_request_in_flight();
    gateway.signal("TERM");
    wait_until_refused(&gateway);
    gate.open();
    client.response().expect(200);
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn idle_kept_alive_connections_are_closed_when_draining() {
    let origin = Origin::saying("x");
    let mut gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.get("/", &[]).expect(200);
    gateway.signal("TERM");
    client.expect_close();
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let (mut gateway, _origin, _client, gate) = with_a_request_in_flight();
    gateway.signal("TERM");
    eventually("the drain to begin", || {
        Wire::try_connect(gateway.admin).is_none_or(|mut admin| {
            admin.send_perhaps(request("GET", "/readyz", &[], b""));
            admin.try_response("GET").map_or(true, |response| response.status == 503)
        })
    });
    assert!(!gateway.has_ended());
    gateway.signal("TERM");
    gateway.wait_for_exit();
    gate.open();
}

#[test]
fn what_the_end_of_a_drain_cuts_off_is_answered_and_in_the_log() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("late"))]);
    let config = format!("drain_timeout = \"200ms\"\n{FORWARD}");
    let mut gateway = gateway(&config).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(request("GET", "/held", &[], b""));
    origin.wait_for(1);
    gateway.signal("TERM");
    client.response().expect_problem(504);
    gateway.wait_for_exit();
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (line["path"].as_str(), line["status"].as_u64()),
        (Some("/held"), Some(504)),
        "{line}"
    );
    gate.open();
}

#[test]
fn sigint_stops_it_too() {
    let origin = Origin::saying("x");
    let mut gateway = gateway(FORWARD).with("app", origin.address).start();
    gateway.signal("INT");
    assert!(gateway.wait_for_exit().success());
}
