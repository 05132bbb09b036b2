//! Calls of gRPC as a gateway must treat them: their deadlines, their silences, and errors that their clients understand
//! (grpc/doc/PROTOCOL-HTTP2.md).
//!
//! The client speaks raw frames; what it is told is seen in the log, too, where the code stands in plain digits. Calls between a
//! real client and a real server stand in `tests/grpc`.

use crate::support::Gate;
use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::h2_wire::{
    DATA, END_HEADERS, END_STREAM, H2Wire, HEADERS, RST_STREAM, block, frame, request, status_of,
};
use crate::support::origin::{Origin, Step};

const KIND: (&str, &str) = ("content-type", "application/grpc");
const PATH: &str = "/notes.Notes/Say";
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNK: &[u8] = b"7\r\n\0\0\0\0\x02hi\r\n";
const END: &[u8] = b"0\r\ngrpc-status: 0\r\n\r\n";

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

/// An origin that begins to answer, waits, and ends as `end` says.
fn begun_then(gate: &Gate, end: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Origin {
    let held = gate.clone();
    Origin::script(move |_| {
        let mut steps = vec![Step::Send([HEAD, CHUNK].concat()), Step::Wait(held.clone())];
        steps.extend(end());
        steps
    })
}

/// Reads the head and the first message of an answer.
#[track_caller]
fn expect_begun(client: &mut H2Wire) {
    let head = client.expect(HEADERS);
    assert_eq!((status_of(&head.payload), head.flags & END_STREAM), (200, 0));
    assert_eq!(client.expect(DATA).payload, b"\0\0\0\0\x02hi");
}

/// Reads trailers.
#[track_caller]
fn expect_trailers(client: &mut H2Wire) {
    loop {
        let frame = client.frame().expect("a frame");
        assert_ne!(frame.kind, RST_STREAM, "cut and not ended");
        assert!(frame.kind != DATA || frame.payload.is_empty(), "{:?}", frame.payload);
        if frame.kind == HEADERS {
            assert_eq!(frame.flags & END_STREAM, END_STREAM);
            return;
        }
    }
}

#[test]
fn a_head_that_is_refused_is_told_as_grpc_and_logged_as_http_2() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    // Two hosts are malformed; too many fields are too large.
    let many: Vec<String> = (0..150).map(|number| format!("x-{number}")).collect();
    let mut large = vec![KIND];
    large.extend(many.iter().map(|name| (name.as_str(), "1")));
    for (stream, more) in [(1, vec![KIND, ("host", "b.test")]), (3, large)] {
        let fields = block(&request("POST", PATH, &more));
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields));
        let head = client.expect(HEADERS);
        assert_eq!((head.stream, head.flags & END_STREAM), (stream, END_STREAM));
        assert_eq!(status_of(&head.payload), 200);
    }
    let lines = gateway.access_log(2);
    for (line, (code, reason)) in lines.iter().zip([(13, "authority"), (8, "fields_max")]) {
        assert_eq!(line["grpc_status"], code, "{line}");
        assert_eq!((&line["reason"], &line["protocol"]), (&reason.into(), &"HTTP/2.0".into()));
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_deadline_ends_an_answer_that_has_begun() {
    let gate = Gate::new();
    let origin = begun_then(&gate, Vec::new);
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND, ("grpc-timeout", "2S")]), true);
    expect_begun(&mut client);
    expect_trailers(&mut client);
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (&line["grpc_status"], &line["fault"]),
        (&4.into(), &"http_response_timeout".into())
    );
    assert_eq!(gateway.metric("ringway_grpc_calls_total", &["grpc_status=\"4\""]), 1.0);
    assert_eq!(gateway.metric("ringway_grpc_calls_total", &[]), 1.0);
    // What is left of the time was told to the origin, once.
    let seen = origin.request();
    let told = seen.all("grpc-timeout");
    let left = told[0].strip_suffix('u').and_then(|digits| digits.parse::<u64>().ok());
    assert!(told.len() == 1 && left.is_some_and(|left| left < 2_000_000), "{told:?}");
    gate.open();
}

#[test]
fn a_deadline_ends_a_call_whose_client_still_speaks() {
    let origin = Origin::silent();
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND, ("grpc-timeout", "300m")]), false);
    client.data(1, b"\0\0\0\0\0", false);
    let head = client.expect(HEADERS);
    assert_eq!((status_of(&head.payload), head.flags & END_STREAM), (200, END_STREAM));
    assert_eq!(gateway.access_log(1)[0]["grpc_status"], 4);
}

#[test]
fn an_origin_that_breaks_off_is_a_status_in_the_trailers() {
    let gate = Gate::new();
    let origin = begun_then(&gate, || vec![Step::Send(b"9\r\n\0\0\0".to_vec()), Step::Reset]);
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND]), true);
    expect_begun(&mut client);
    gate.open();
    loop {
        let frame = client.frame().expect("a frame");
        assert_ne!(frame.kind, RST_STREAM);
        if frame.kind == HEADERS {
            assert_eq!(frame.flags & END_STREAM, END_STREAM);
            break;
        }
    }
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (&line["grpc_status"], &line["fault"]),
        (&14.into(), &"http_response_incomplete".into())
    );
    // What is no gRPC is cut, so that nobody takes it for whole.
    client.headers(3, &request("POST", PATH, &[]), true);
    client.expect(RST_STREAM);
}

#[test]
fn either_side_of_a_call_may_be_silent_for_longer_than_bodies_may() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |asked| match asked.target.as_str() {
        PATH => vec![
            Step::Send([HEAD, CHUNK].concat()),
            Step::Wait(held.clone()),
            Step::Send([CHUNK, END].concat()),
        ],
        _ => vec![Step::Send(HEAD.to_vec()), Step::Wait(Gate::new())],
    });
    let text = "[[listen]]\naddress = \"@LISTEN@\"\ntimeout = { body = \"1s\" }\n\
        [upstream.app]\nendpoints = [\"@app@\"]\ntimeout = { idle = \"1s\", first_byte = \"1s\" }\n\
        [[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    let gateway = gateway(text).with("app", origin.address).start();
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND]), true);
    expect_begun(&mut client);
    // The body of anything else is over when its origin has paused for a second.
    for _ in 0..2 {
        let mut other = H2Wire::connect(gateway.address);
        other.headers(1, &request("POST", "/other", &[]), true);
        other.expect(RST_STREAM);
    }
    gate.open();
    assert_eq!(client.expect(DATA).payload, b"\0\0\0\0\x02hi");
    expect_trailers(&mut client);
    let lines = gateway.access_log(3);
    assert_eq!((&lines[0]["path"], &lines[0]["grpc_status"]), (&PATH.into(), &0.into()));
}

#[test]
fn a_client_may_be_silent_too_and_slow() {
    let origin = Origin::raw(move |stream, number| {
        use std::io::{Read, Write};
        let (mut stream, mut seen, mut room) = (stream, Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut room).unwrap_or(0);
            if read == 0 {
                return;
            }
            if number == 0 && seen.is_empty() {
                stream.write_all(HEAD).unwrap();
            }
            seen.extend_from_slice(&room[..read]);
            if seen.ends_with(b"\0\0\0\0\x02yo\r\n") {
                stream.write_all(&[CHUNK, END].concat()).unwrap();
            }
        }
    });
    let text = "[[listen]]\naddress = \"@LISTEN@\"\ntimeout = { body = \"1s\" }\n\
        [upstream.app]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    let gateway = gateway(text).with("app", origin.address).start();
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND]), false);
    assert_eq!(status_of(&client.expect(HEADERS).payload), 200);
    // The rest of any other body is not waited for that long.
    let mut other = H2Wire::connect(gateway.address);
    other.headers(1, &request("POST", "/other", &[]), false);
    other.expect(HEADERS);
    client.data(1, b"\0\0\0\0\x02yo", false);
    assert_eq!(client.expect(DATA).payload, b"\0\0\0\0\x02hi");
    expect_trailers(&mut client);
    let lines = gateway.access_log(2);
    assert_eq!((&lines[0]["path"], &lines[0]["grpc_status"]), (&PATH.into(), &0.into()));
    assert_eq!(lines[1]["fault"], "request_timeout");
}

#[test]
fn silence_of_both_sides_has_an_end() {
    let gate = Gate::new();
    let origin = begun_then(&gate, Vec::new);
    let text = format!("{FORWARD}timeout = {{ tunnel_idle = \"1s\" }}\n");
    let gateway = gateway(&text).with("app", origin.address).start();
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND]), true);
    expect_begun(&mut client);
    expect_trailers(&mut client);
    // Before an answer begins, and while the request goes on.
    client.headers(3, &request("POST", PATH, &[KIND]), false);
    client.data(3, b"\0\0\0\0\0", false);
    let head = client.expect(HEADERS);
    assert_eq!((head.stream, head.flags & END_STREAM), (3, END_STREAM));
    for line in gateway.access_log(2) {
        assert_eq!(line["grpc_status"], 4, "{line}");
    }
    gate.open();
}

#[test]
fn a_closed_route_is_unavailable() {
    let text = "[[route]]\nmatch = \"/{*rest}\"\nrespond = { body = \"x\" }\nmaintenance = {}\n";
    let gateway = gateway(text).start();
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", PATH, &[KIND]), true);
    let head = client.expect(HEADERS);
    assert_eq!((status_of(&head.payload), head.flags & END_STREAM), (200, END_STREAM));
    let line = &gateway.access_log(1)[0];
    assert_eq!((&line["grpc_status"], &line["reason"]), (&14.into(), &"maintenance".into()));
}

/// What holds for bodies of every kind: once an answer has begun, the time for its head is over with.
#[test]
fn the_end_of_an_upload_does_not_shorten_an_answer_that_has_begun() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::raw(move |stream, number| {
        use std::io::{Read, Write};
        let (mut stream, mut seen) = (stream, Vec::new());
        let mut room = [0; 4096];
        while !seen.ends_with(b"0\r\n\r\n") {
            let read = stream.read(&mut room).unwrap_or(0);
            if read == 0 {
                return;
            }
            if number == 0 && seen.is_empty() {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
                    .unwrap();
            }
            seen.extend_from_slice(&room[..read]);
        }
        held.wait();
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let text = "[upstream.app]\nendpoints = [\"@app@\"]\ntimeout = { first_byte = \"1s\" }\n\
        [[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    let gateway = gateway(text).with("app", origin.address).start();
    let mut wire = gateway.connect();
    let head = "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.send([head.as_bytes(), b"2\r\nab\r\n"].concat());
    assert_eq!(wire.try_head().expect("a head").status, 200);
    assert_eq!(wire.read_chunk(), b"hi");
    wire.send("0\r\n\r\n");
    // Another one, whose answer does not begin in time.
    let mut other = gateway.connect();
    other.send([head.as_bytes(), b"0\r\n\r\n"].concat());
    other.response().expect_problem(504);
    gate.open();
    assert!(wire.read_chunk().is_empty(), "the end, and no fault");
    assert_eq!(gateway.access_log(2).iter().filter(|line| line["fault"].is_null()).count(), 1);
}
