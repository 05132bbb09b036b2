//! Deadlines on every wait: for a head, for progress of a body, between requests, for an origin.
//!
//! Only outcomes are asserted and never durations: the configured times are short so that tests are.

use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::wire::request;
use crate::support::{Gate, eventually};

/// A forwarding gateway with these further lines in its listener, its upstream and its route.
fn forwarding(origin: &Origin, listener: &str, upstream: &str, route: &str) -> Gateway {
    let config = format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n{listener}\n\n[upstream.app]\nendpoints = [\"@app@\"]\n{upstream}\n\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n{route}\n"
    );
    gateway(&config).with("app", origin.address).start()
}

#[test]
fn a_head_that_does_not_end_in_time_is_a_408_and_a_close() {
    let origin = Origin::saying("never");
    let gateway = forwarding(&origin, "timeout = { head = \"150ms\" }", "", "");
    for start in ["G", "GET / HTTP/1.1\r\nHost: te"] {
        let mut client = gateway.connect();
        client.send(start);
        client.response().expect_problem(408);
        client.expect_close();
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_head_that_drips_is_held_to_the_same_deadline() {
    let origin = Origin::saying("never");
    let gateway = forwarding(&origin, "timeout = { head = \"150ms\" }", "", "");
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\n");
    // One byte after another without end: progress does not extend a head's deadline.
    let mut half = client.stream().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        use std::io::Write;
        while half.write_all(b"X").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    client.response().expect(408);
    drop(client);
    dripping.join().unwrap();
}

/// It once took its time from the origin's: the connect had none left, and the endpoint was set aside for everybody.
#[test]
fn a_head_that_took_longer_than_the_routes_timeout_costs_no_origin_anything() {
    let (origin, mute) = (Origin::saying("in"), Origin::silent());
    let config = "[upstream.app]\nendpoints = [\"@app@\"]\n[upstream.mute]\nendpoints = [\"@mute@\"]\n\
         [default]\ntimeout = \"300ms\"\n\
         [[route]]\nmatch = \"/app\"\nforward = \"app\"\n[[route]]\nmatch = \"/mute\"\nforward = \"mute\"\n";
    let gateway = gateway(config).with("app", origin.address).with("mute", mute.address).start();
    let mut late = gateway.connect();
    late.send("GET /app HTTP/1.1\r\nhost: x\r\n");
    // Whoever waited here for an answer waited for longer than the timeout.
    gateway.get("/mute").expect_problem(504);
    late.send("\r\n");
    assert_eq!(late.response().expect(200).text(), "in");
    assert!(!gateway.stderr().contains("set aside"), "{}", gateway.stderr());
}

#[test]
fn what_clients_do_is_no_failure_of_an_upstream() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |_| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()),
            Step::Wait(opened.clone()),
        ]
    });
    let gateway = forwarding(&origin, "", "", "");
    let mut leaving = gateway.connect();
    leaving.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    leaving.try_head().expect("a head");
    drop(leaving);
    let attempts = || gateway.metric("ringway_upstream_attempts_total", &["app"]);
    eventually("it is over", || attempts() == 1.0);
    assert_eq!(gateway.metric("ringway_upstream_failures_total", &["app"]), 0.0);
    gate.open();
}

#[test]
fn a_head_whose_deadline_passes_while_the_core_stands_still_is_a_408() {
    let origin = Origin::saying("never");
    let head = Duration::from_millis(150);
    let gateway = forwarding(&origin, "timeout = { head = \"150ms\" }", "", "");
    let mut clients: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\n");
    }
    // Bytes wait to be read and the deadline is over, both at once, when it goes on.
    gateway.signal("STOP");
    for client in &mut clients {
        client.send("X");
    }
    let stopped = Instant::now();
    eventually("the deadline to pass", || stopped.elapsed() > head);
    gateway.signal("CONT");
    for client in &mut clients {
        client.response().expect_problem(408);
        client.expect_close();
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_connection_without_a_request_is_closed_in_silence() {
    let origin = Origin::saying("x");
    let gateway = forwarding(&origin, "timeout = { idle = \"150ms\" }", "", "");
    let mut client = gateway.connect();
    client.get("/", &[]).expect(200);
    client.expect_close();
}

/// RFC 9112 §2.2: some clients send CRLF behind a body. It is no request that has begun.
#[test]
fn an_empty_line_leaves_a_connection_idle() {
    let origin = Origin::saying("x");
    let gateway = forwarding(&origin, "timeout = { head = \"150ms\" }", "", "");
    for pieces in [&["\r\n"][..], &["\r", "\n"]] {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi");
        client.response().expect(200);
        pieces.iter().for_each(|piece| client.send(piece));
        // Longer than a head may take.
        let mut clock = gateway.connect();
        clock.send("G");
        clock.response().expect(408);
        client.get("/", &[]).expect(200);
        client.send("\r\n\r\nG");
        client.response().expect_problem(400);
        client.expect_close();
    }
    let gateway = forwarding(&origin, "timeout = { idle = \"150ms\" }", "", "");
    let mut client = gateway.connect();
    client.send("\r\n");
    client.expect_close();
}

#[test]
fn an_upload_without_progress_is_a_408() {
    let origin = Origin::saying("never");
    let gateway = forwarding(&origin, "timeout = { body = \"150ms\" }", "", "");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nsome");
    client.response().expect_problem(408);
    client.expect_close();
    assert_eq!(origin.requests().len(), 0, "no whole request");
}

#[test]
fn a_download_without_progress_is_cut_and_never_looks_whole() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| {
        let start = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome".to_vec();
        vec![Step::Send(start), Step::Wait(held.clone()), Step::Close]
    });
    let gateway = forwarding(&origin, "", "timeout = { idle = \"150ms\" }", "");
    let mut client = gateway.connect();
    client.send(request("GET", "/", &[], b""));
    assert!(client.try_response("GET").is_err(), "only 4 of 100 bytes ever came");
    gate.open();
}

#[test]
fn an_origin_silent_beyond_first_byte_is_a_504() {
    let origin = Origin::silent();
    let gateway = forwarding(&origin, "", "timeout = { first_byte = \"150ms\" }", "");
    let response = gateway.get("/").expect_problem(504);
    let status = response.field("proxy-status").unwrap();
    assert!(status.contains("error=http_response_timeout"), "{status}");
}

#[test]
fn an_origin_that_stops_inside_its_head_is_a_504() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nConte".to_vec()),
            Step::Wait(held.clone()),
            Step::Close,
        ]
    });
    let gateway =
        forwarding(&origin, "", "timeout = { first_byte = \"150ms\" }", "timeout = \"1s\"");
    gateway.get("/").expect_problem(504);
    gate.open();
}

#[test]
fn a_route_beyond_its_timeout_is_a_504() {
    let origin = Origin::silent();
    let gateway = forwarding(&origin, "", "", "timeout = \"150ms\"");
    gateway.get("/").expect_problem(504);
    assert_eq!(origin.requests().len(), 1, "a timeout is not tried again");
}

#[test]
fn a_slow_origin_within_its_deadline_is_served() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("late"))]);
    let gateway = forwarding(&origin, "", "", "");
    let mut client = gateway.connect();
    client.send(request("GET", "/", &[], b""));
    origin.wait_for(1);
    client.expect_open();
    gate.open();
    assert_eq!(client.response().expect(200).text(), "late");
}

#[test]
fn a_connection_whose_answer_came_too_late_is_never_used_again() {
    let late = Gate::new();
    let held = late.clone();
    let origin = Origin::script(move |request| match request.target.as_str() {
        "/late" => vec![Step::Wait(held.clone()), Step::Send(ok("late"))],
        _ => vec![Step::Send(ok("fresh"))],
    });
    let gateway = forwarding(&origin, "", "timeout = { first_byte = \"150ms\" }", "");
    let mut client = gateway.connect();
    assert_eq!(client.get("/first", &[]).expect(200).text(), "fresh");
    client.get("/late", &[]).expect_problem(504);
    late.open();
    let mut next = gateway.connect();
    for _ in 0..10 {
        assert_eq!(next.get("/again", &[]).expect(200).text(), "fresh");
    }
}
