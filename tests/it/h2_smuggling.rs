//! What could be read as two requests, or as another one, once it is told in HTTP/1.1: refused, every time.
//!
//! RFC 9113 §8.1.1, §8.2.1, §8.2.2, §8.3, §10.3. Each message goes out with exactly the bytes that stand here. The
//! origin must never see anything but the honest request that follows on the same connection or a new one.

use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::h2_wire::{
    Answer, END_HEADERS, END_STREAM, H2Wire, HEADERS, block, frame, request,
};
use crate::support::origin::Origin;

fn house() -> (Origin, Gateway) {
    let origin = Origin::saying("honest");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    (origin, gateway)
}

/// Sends a request with these fields and body; how it was answered.
fn attack(gateway: &Gateway, fields: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
    let mut wire = H2Wire::connect(gateway.address);
    wire.headers(1, fields, body.is_none());
    if let Some(body) = body {
        wire.send_perhaps(frame(0, END_STREAM, 1, body));
    }
    wire.answer(1)
}

/// Refused: by an answer of 4xx or 5xx of our own, a reset, or the end of the connection.
fn is_refused(answer: &Answer) -> bool {
    match answer {
        Answer::Response(status, _) => (400..600).contains(status),
        Answer::Reset(_) | Answer::Goaway(_) => true,
    }
}

#[track_caller]
fn refused(gateway: &Gateway, origin: &Origin, fields: &[(&str, &str)], body: Option<&[u8]>) {
    let answer = attack(gateway, fields, body);
    let seen = origin.requests();
    assert!(is_refused(&answer), "{fields:?}: {answer:?}");
    assert!(seen.is_empty(), "{fields:?} reached the origin: {:?}", seen[0].target);
}

#[test]
fn values_and_names_that_would_end_a_line() {
    let (origin, gateway) = house();
    let values = [
        "a\r\nx-evil: 1",
        "a\nx-evil: 1",
        "a\rb",
        "a\0b",
        "a\r\n\r\nGET /evil HTTP/1.1\r\nhost: a.test\r\n\r\n",
        "\r\n",
        " a",
        "a ",
        "\ta",
        "a\t",
        "a\x01b",
        "a\x7fb",
    ];
    for value in values {
        refused(&gateway, &origin, &request("GET", "/", &[("x-a", value)]), None);
        refused(&gateway, &origin, &request("GET", "/", &[("cookie", value)]), None);
    }
    let names = [
        "x-a\r\nx-evil",
        "x-a\n",
        "x-a\0",
        "x-a: b\r\nx",
        "x a",
        " x-a",
        "x-a ",
        "x-a:",
        "X-A",
        "",
        "x(a",
        "x\u{e4}",
        "transfer-encoding ",
        "Transfer-Encoding",
        "content-length\t",
    ];
    for name in names {
        refused(&gateway, &origin, &request("GET", "/", &[(name, "1")]), None);
    }
}

#[test]
fn pseudo_header_fields_that_are_not_what_they_should_be() {
    let (origin, gateway) = house();
    let paths = [
        "",
        "a",
        "*",
        "/a b",
        "/a\r\nx-evil: 1",
        "/a HTTP/1.1\r\nhost: evil\r\n\r\n",
        "/a\0",
        "/a\t",
        "http://evil.test/",
        "//\\evil",
        "\\evil",
        "/a\u{e4}",
        "?a",
    ];
    for path in paths {
        refused(&gateway, &origin, &request("GET", path, &[]), None);
    }
    for method in ["", "G ET", "GET /evil HTTP/1.1\r\n\r\n", "GET\r\n", "G\0", "GET:"] {
        refused(&gateway, &origin, &request(method, "/", &[]), None);
    }
    for authority in
        ["", "a.test\r\nx: y", "a b", "u@a.test", "a.test/evil", "a.test#", "a,b", "a.test:x"]
    {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", authority)];
        refused(&gateway, &origin, &fields, None);
    }
    for scheme in ["", "ht tp", "http://evil/", "http\r\n", "ftp", "javascript"] {
        let fields =
            [(":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", "a.test")];
        refused(&gateway, &origin, &fields, None);
    }
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
    for left_out in [0, 1, 2, 3] {
        let mut fields = get.to_vec();
        fields.remove(left_out);
        refused(&gateway, &origin, &fields, None);
    }
    for twice in get {
        refused(&gateway, &origin, &[&get[..], &[twice]].concat(), None);
    }
    for more in [(":status", "200"), (":evil", "1"), (":protocol", "websocket"), (":", "1")] {
        refused(&gateway, &origin, &[&get[..], &[more]].concat(), None);
    }
    let late = [get[0], get[1], get[2], ("x-a", "1"), get[3]];
    refused(&gateway, &origin, &late, None);
}

#[test]
fn hosts_that_differ() {
    let (origin, gateway) = house();
    let several: [&[(&str, &str)]; 7] = [
        &[("host", "evil.test")],
        &[("host", "a.test:80")],
        &[("host", "a.test"), ("host", "a.test")],
        &[("host", "a.test"), ("host", "evil.test")],
        &[("host", "")],
        &[("ho_st", "evil.test")],
        &[("host", "a.test evil.test")],
    ];
    for more in several {
        refused(&gateway, &origin, &request("GET", "/", more), None);
    }
    // Without `:authority` there is Host, which must be a good one.
    let bare = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    for host in ["", "a b", "a.test\r\nx: y", "u@a.test", " a.test"] {
        refused(&gateway, &origin, &[&bare[..], &[("host", host)]].concat(), None);
    }
    let good = [&bare[..], &[("host", "b.test")]].concat();
    assert!(matches!(attack(&gateway, &good, None), Answer::Response(200, _)));
    assert_eq!(origin.request().field("host"), Some("b.test"));
}

#[test]
fn fields_of_a_connection() {
    let (origin, gateway) = house();
    let fields = [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("te", "gzip"),
        ("te", "trailers, chunked"),
        ("transfer_encoding", "chunked"),
        ("content_length", "5"),
    ];
    for field in fields {
        refused(&gateway, &origin, &request("GET", "/", &[field]), None);
        refused(&gateway, &origin, &request("POST", "/", &[field]), Some(b"0\r\n\r\nGET /evil"));
    }
}

#[test]
fn lengths_that_do_not_fit() {
    let (origin, gateway) = house();
    let evil = b"GET /evil HTTP/1.1\r\nhost: a.test\r\n\r\n";
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a [u8]>);
    let cases: [Case<'_>; 14] = [
        (&[("content-length", "5")], Some(b"abc")),
        (&[("content-length", "2")], Some(b"abc")),
        (&[("content-length", "0")], Some(evil)),
        (&[("content-length", "5")], None),
        (&[("content-length", "3"), ("content-length", "3")], Some(b"abc")),
        (&[("content-length", "3"), ("content-length", "0")], Some(b"abc")),
        (&[("content-length", "3, 3")], Some(b"abc")),
        (&[("content-length", "+3")], Some(b"abc")),
        (&[("content-length", "-1")], Some(b"abc")),
        (&[("content-length", "0x3")], Some(b"abc")),
        (&[("content-length", "")], Some(b"abc")),
        (&[("content-length", "3 ")], Some(b"abc")),
        (&[("content-length", "18446744073709551619")], Some(b"abc")),
        (&[("content-length", "3"), ("transfer-encoding", "chunked")], Some(b"abc")),
    ];
    for (more, body) in cases {
        let answer = attack(&gateway, &request("POST", "/", more), body);
        // What begins well and breaks off may be on its way to the origin; it never becomes a request there.
        assert!(is_refused(&answer), "{more:?}: {answer:?}");
        assert!(origin.requests().is_empty(), "{more:?} reached the origin");
    }
}

#[test]
fn trailers_that_are_none() {
    let (origin, gateway) = house();
    let bad: [&[(&str, &str)]; 6] = [
        &[(":path", "/evil")],
        &[("x-a", "b\r\nx: y")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "close")],
        &[("X-A", "b")],
        &[("x-a", " b")],
    ];
    for trailers in bad {
        let mut wire = H2Wire::connect(gateway.address);
        wire.headers(1, &request("POST", "/", &[]), false);
        wire.data(1, b"abc", false);
        wire.send_perhaps(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(trailers)));
        let answer = wire.answer(1);
        assert!(is_refused(&answer), "{trailers:?}: {answer:?}");
        assert!(origin.requests().is_empty(), "{trailers:?} reached the origin");
    }
    // A second HEADERS that does not end the stream is no trailer section (§8.1).
    let mut wire = H2Wire::connect(gateway.address);
    wire.headers(1, &request("POST", "/", &[]), false);
    wire.send_perhaps(frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "b")])));
    assert!(is_refused(&wire.answer(1)));
    assert!(origin.requests().is_empty());
}

#[test]
fn bodies_that_look_like_chunks_or_requests_stay_bodies() {
    let (origin, gateway) = house();
    let bodies: [&[u8]; 3] = [
        b"0\r\n\r\n",
        b"5\r\nabcde\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n\r\n",
    ];
    for (at, body) in bodies.into_iter().enumerate() {
        let answer = attack(&gateway, &request("POST", "/", &[]), Some(body));
        assert!(matches!(answer, Answer::Response(200, _)), "{answer:?}");
        let seen = &origin.wait_for(at + 1)[at];
        assert_eq!(seen.body, body);
    }
    assert!(origin.requests().iter().all(|request| request.target == "/"));
}

#[test]
fn cookies_in_crumbs_become_one_field() {
    let (origin, gateway) = house();
    let crumbs = [("cookie", "a=1"), ("x-b", "2"), ("cookie", "c=3; d=4"), ("cookie", "e=5")];
    let answer = attack(&gateway, &request("GET", "/", &crumbs), None);
    assert!(matches!(answer, Answer::Response(200, _)), "{answer:?}");
    assert_eq!(origin.request().all("cookie"), ["a=1; c=3; d=4; e=5"]);
}

#[test]
fn empty_data_ends_no_body_early() {
    let (origin, gateway) = house();
    let mut wire = H2Wire::connect(gateway.address);
    wire.headers(1, &request("POST", "/", &[]), false);
    for piece in [&b"ab"[..], b"", b"c", b""] {
        wire.data(1, piece, false);
    }
    wire.data(1, b"", true);
    assert!(matches!(wire.answer(1), Answer::Response(200, _)));
    assert_eq!(origin.request().text(), "abc");
}
