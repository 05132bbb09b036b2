//! Origins in HTTP/2 that mean harm or speak nonsense: what clients see, and that others are served.
//!
//! RFC 9113 §8.1.1, §10.5 and the vulnerabilities that are named at each. Nothing here waits for a length of time.

use crate::support::eventually;
use crate::support::h2_origin::{Fields, OK, Place, asked, expect_text, perhaps_asked, reset, say};
use crate::support::h2_wire::{
    DATA, END_HEADERS, END_STREAM, H2Wire, HEADERS, PING, SETTINGS, WINDOW_UPDATE, block, frame,
};

const CANCEL: u32 = 8;

#[test]
fn malformed_responses_are_refused() {
    let place = Place::new("retry = \"none\"");
    let cases: &[(&str, Fields<'_>, bool)] = &[
        ("a field of a connection", &[(":status", "200"), ("connection", "close")], true),
        ("a transfer coding", &[(":status", "200"), ("transfer-encoding", "chunked")], true),
        ("a name in upper case", &[(":status", "200"), ("X-A", "1")], true),
        ("white space around a value", &[(":status", "200"), ("x-a", " 1")], true),
        ("a control byte", &[(":status", "200"), ("x-a", "1\u{1}")], true),
        ("a line end", &[(":status", "200"), ("x-a", "1\r\nx-b: 2")], true),
        ("no status", &[("x-a", "1")], true),
        ("a status that is none", &[(":status", "2x0")], true),
        ("a switch", &[(":status", "101")], false),
        (
            "two lengths",
            &[(":status", "200"), ("content-length", "1"), ("content-length", "2")],
            false,
        ),
        ("a length that is none", &[(":status", "200"), ("content-length", "+1")], false),
        ("a length without a body", &[(":status", "200"), ("content-length", "1")], true),
    ];
    let mut origin: Option<H2Wire> = None;
    for (what, fields, ended) in cases {
        let mut client = place.ask("/");
        // What cannot be decoded costs its connection (RFC 9113 §4.3).
        let known = origin.as_mut().and_then(perhaps_asked);
        let stream = known.unwrap_or_else(|| asked(origin.insert(place.accept())));
        let wire = origin.as_mut().expect("a connection");
        wire.headers(stream, fields, *ended);
        let response = client.response();
        assert_eq!(response.status, 502, "{what}: {response:?}");
        let proxy_status = response.field("proxy-status").unwrap_or_default();
        assert!(proxy_status.contains("http_protocol_error"), "{what}: {proxy_status}");
    }
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_cut() {
    let place = Place::new("");
    for body in ["short", "far too long for it"] {
        let mut client = place.ask("/");
        let mut origin = place.accept();
        let stream = asked(&mut origin);
        origin.headers(stream, &[(":status", "200"), ("content-length", "10")], false);
        origin.data(stream, body.as_bytes(), true);
        assert!(client.try_response("GET").is_err_and(|why| !why.is_empty()), "{body}");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let place = Place::new("retry = \"none\"");
    let mut client = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    let long = "a".repeat(15_000);
    let fields = [":status", "x-a", "x-b", "x-c", "x-d"].map(|name| (name, long.as_str()));
    let mut fields = fields.to_vec();
    fields[0] = (":status", "200");
    let block = block(&fields);
    let (first, rest) = block.split_at(16_000);
    origin.send(frame(HEADERS, END_STREAM, stream, first));
    let mut rest = rest.chunks(16_000).peekable();
    while let Some(piece) = rest.next() {
        let flags = if rest.peek().is_none() { END_HEADERS } else { 0 };
        origin.send(frame(9, flags, stream, piece));
    }
    client.response().expect_problem(502);
}

#[test]
fn interim_answers_without_end_are_refused() {
    let place = Place::new("retry = \"none\"");
    let mut client = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    for _ in 0..200 {
        origin.send_perhaps(frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "103")])));
    }
    let response = client.response();
    assert_eq!(response.status, 502);
}

#[test]
fn floods_from_an_origin_end_its_connection_and_nothing_else() {
    let floods: &[(&str, Vec<u8>)] = &[
        ("pings", frame(PING, 0, 0, b"12345678")),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("unknown frames", frame(0xee, 0, 0, b"x")),
        ("priorities", frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("window updates", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    ];
    let place = Place::new("retry = \"none\"");
    for (turn, (what, flood)) in floods.iter().enumerate() {
        let mut victim = place.ask("/");
        let mut origin = place.accept();
        asked(&mut origin);
        origin.polite = false;
        let many = flood.repeat(5_000);
        origin.send_perhaps(&many);
        let response = victim.response();
        assert_eq!(response.status, 502, "{what}");
        assert_eq!(closed_for_floods(&place), (turn + 1) as f64, "{what}");
        is_serving(&place);
    }
}

#[test]
fn an_endless_header_block_ends_its_connection() {
    let place = Place::new("retry = \"none\"");
    let mut victim = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    origin.send(frame(HEADERS, 0, stream, &block(&[(":status", "200")])));
    let piece = frame(9, 0, stream, &block(&[("x-a", &"a".repeat(8_000))]));
    while origin.send_perhaps(&piece) {}
    victim.response().expect_problem(502);
}

#[test]
fn streams_that_are_reset_again_and_again_end_their_connection() {
    let place = Place::new("retry = \"none\"");
    let mut victim = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    origin.polite = false;
    origin.send_perhaps(reset(stream, CANCEL).repeat(5_000));
    victim.response().expect_problem(502);
    eventually("it is closed", || closed_for_floods(&place) == 1.0);
    is_serving(&place);
}

#[test]
fn a_body_of_empty_frames_is_cut_and_ends_its_connection() {
    // CVE-2019-9518.
    let place = Place::new("retry = \"none\"");
    let mut victim = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    origin.polite = false;
    origin.headers(stream, OK, false);
    origin.send_perhaps(frame(DATA, 0, stream, &[]).repeat(5_000));
    // Where nothing had left yet it is an error in place of an answer that breaks off.
    match victim.try_response("GET") {
        Ok(response) => drop(response.expect_problem(502)),
        Err(why) => assert!(!why.is_empty(), "never whole"),
    }
    eventually("it is closed", || closed_for_floods(&place) == 1.0);
    is_serving(&place);
}

fn closed_for_floods(place: &Place) -> f64 {
    place.gateway.metric("ringway_upstream_http2_closed_total", &["reason=\"flood\""])
}

/// The next request goes to a new connection, and is answered.
#[track_caller]
fn is_serving(place: &Place) {
    let next = place.ask("/");
    let mut honest = place.accept();
    let stream = asked(&mut honest);
    say(&mut honest, stream, "served");
    expect_text(next, "served");
}
