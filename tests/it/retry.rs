//! When a request is sent a second time, and when never.
//!
//! RFC 9110 §9.2.2: only what may be repeated, only once, only before any byte of an answer came.

use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};

/// Answers the first request of a connection and does `second` at the next, except on later connections
/// whose first request is answered again.
fn tired(second: fn() -> Step) -> Origin {
    Origin::script(move |request| match request.turn {
        0 => vec![Step::Send(ok("answered"))],
        _ => vec![second()],
    })
}

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

#[test]
fn a_get_on_a_reused_connection_that_closes_is_sent_again() {
    for ending in [(|| Step::Close) as fn() -> Step, || Step::Reset] {
        let origin = tired(ending);
        let gateway = forwarding_to(&origin);
        let mut client = gateway.connect();
        client.get("/1", &[]).expect(200);
        assert_eq!(client.get("/2", &[]).expect(200).text(), "answered");
        let targets: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
        assert_eq!(targets, ["/1", "/2", "/2"]);
    }
}

#[test]
fn a_put_with_its_body_is_sent_again_or_failed_but_never_sent_half() {
    let origin = tired(|| Step::Close);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.get("/1", &[]).expect(200);
    let response = client.call("PUT", "/2", &[], b"content");
    assert!(matches!(response.status, 200 | 502), "{}", response.status);
    assert!(origin.requests().iter().skip(1).all(|request| request.text() == "content"));
}

#[test]
fn a_post_on_a_reused_connection_that_closes_is_not_sent_again() {
    let origin = tired(|| Step::Close);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.get("/1", &[]).expect(200);
    client.call("POST", "/2", &[], b"pay once").expect_problem(502);
    let targets: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/1", "/2"]);
}

#[test]
fn a_get_on_a_new_connection_that_closes_is_not_sent_again() {
    let origin = Origin::script(|_| vec![Step::Close]);
    let gateway = forwarding_to(&origin);
    gateway.get("/").expect_problem(502);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn nothing_is_sent_again_after_the_first_byte_of_an_answer() {
    let origin = Origin::script(|request| match request.turn {
        0 => vec![Step::Send(ok("answered"))],
        _ => vec![Step::Send(b"HTTP/1.1 2".to_vec()), Step::Close],
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.get("/1", &[]).expect(200);
    client.get("/2", &[]).expect_problem(502);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_status_of_the_origin_is_not_a_reason_to_send_again() {
    let origin = Origin::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let gateway = forwarding_to(&origin);
    gateway.get("/").expect(503);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_idle_connection_that_the_origin_closed_costs_nobody_an_answer() {
    let origin = Origin::script(|_| vec![Step::Send(ok("x")), Step::Close]);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..20 {
        client.get("/", &[]).expect(200);
    }
    let requests = origin.requests().len();
    assert_eq!(requests, 20, "an idle close is no lost request");
}

/// What an attempt took counts in histograms and in the gateway's own share of the time.
#[test]
fn a_failed_attempt_is_over_before_the_next_one_begins() {
    let (_port, refusing) = Origin::refusing();
    let text = FORWARD.replace("@app@", "@refusing@");
    let gateway = gateway(&text).with("refusing", refusing).start();
    gateway.get("/").expect_problem(502);
    let line = gateway.access_log(1).remove(0);
    let millis = |attempt: usize, field: &str| {
        line["attempts"][attempt][field].as_f64().unwrap_or_else(|| panic!("{field} in {line}"))
    };
    let over = millis(0, "start_ms") + millis(0, "duration_ms");
    // Numbers are cut to microseconds.
    assert!(over <= millis(1, "start_ms") + 0.002, "{line}");
}
