//! Origins in HTTP/2 that refuse, leave, break off or are slow: what clients see, and that others are served.
//!
//! RFC 9113 §5.4, §6.8, §8.7. The origin is raw frames (`support/h2_origin.rs`). Nothing here waits for a length of time.

use std::io::Write;

use crate::support::eventually;
use crate::support::h2_origin::{OK, Place, asked, expect_text, goaway, reset, say};
use crate::support::h2_wire::{
    Answer, DATA, Frame, GOAWAY, H2Wire, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
    request,
};
use crate::support::origin::{ok, read_request};
use crate::support::wire::Wire;

/// What an origin may say of itself.
const STREAMS_MAX: u16 = 3;
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

#[test]
fn answers_reach_who_asked_whatever_their_order() {
    let place = Place::new("");
    let first = place.ask("/0");
    let mut origin = place.accept();
    let mut clients = vec![(first, asked(&mut origin))];
    for turn in 1..30 {
        let client = place.ask(&format!("/{turn}"));
        clients.push((client, asked(&mut origin)));
    }
    for (_, stream) in clients.iter().rev() {
        origin.headers(*stream, OK, false);
    }
    for piece in ["a", "b"] {
        for (_, stream) in &clients {
            origin.data(*stream, format!("{piece}{stream} ").as_bytes(), piece == "b");
        }
    }
    for (client, stream) in clients {
        expect_text(client, &format!("a{stream} b{stream} "));
    }
}

#[test]
fn a_refused_stream_is_tried_again_whatever_its_method() {
    let place = Place::new("");
    let mut client = place.gateway.connect();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let mut origin = place.accept();
    let refused = asked(&mut origin);
    origin.send(reset(refused, REFUSED_STREAM));
    let stream = asked(&mut origin);
    assert!(stream > refused);
    assert_eq!(origin.expect(DATA).payload, b"abc");
    say(&mut origin, stream, "second");
    expect_text(client, "second");
    let line = &place.gateway.access_log(1)[0];
    assert_eq!(line["attempts"].as_array().map(Vec::len), Some(2), "{line}");
    assert_eq!(place.gateway.metric("ringway_upstream_http2_refused_total", &[]), 1.0);
}

#[test]
fn an_origin_that_refuses_everything_is_not_asked_for_ever() {
    let place = Place::new("");
    let mut client = place.ask("/");
    let mut origin = place.accept();
    for _ in 0..2 {
        let stream = asked(&mut origin);
        origin.send(reset(stream, REFUSED_STREAM));
    }
    client.response().expect_problem(502);
}

#[test]
fn what_was_begun_before_goaway_is_finished_and_the_rest_goes_elsewhere() {
    let place = Place::new("");
    let begun = place.ask("/begun");
    let mut old = place.accept();
    let first = asked(&mut old);
    let mut late = place.gateway.connect();
    late.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    asked(&mut old);
    old.send(goaway(first, 0));
    let mut new = place.accept();
    let stream = asked(&mut new);
    say(&mut new, stream, "elsewhere");
    expect_text(late, "elsewhere");
    say(&mut old, first, "finished");
    expect_text(begun, "finished");
    assert_eq!(old.farewell(), 0);
    let next = place.ask("/next");
    let stream = asked(&mut new);
    say(&mut new, stream, "new");
    expect_text(next, "new");
}

#[test]
fn a_reset_ends_one_request_and_no_other() {
    let place = Place::new("");
    let mut one = place.ask("/one");
    let mut origin = place.accept();
    let first = asked(&mut origin);
    let two = place.ask("/two");
    let second = asked(&mut origin);
    origin.send(reset(first, INTERNAL_ERROR));
    one.response().expect_problem(502);
    let line = &place.gateway.access_log(1)[0];
    assert_eq!(line["fault"], "http_response_incomplete", "{line}");
    say(&mut origin, second, "whole");
    expect_text(two, "whole");
}

#[test]
fn a_response_that_breaks_off_never_looks_whole() {
    let place = Place::new("");
    let mut client = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    origin.headers(stream, OK, false);
    origin.data(stream, b"half", false);
    client.try_head().expect("a head");
    assert_eq!(client.read_chunk(), b"half");
    origin.send(reset(stream, INTERNAL_ERROR));
    client.expect_close();
}

#[test]
fn a_connection_that_breaks_off_fails_what_is_open_and_is_replaced() {
    let place = Place::new("retry = \"none\"");
    let mut one = place.ask("/one");
    let mut origin = place.accept();
    asked(&mut origin);
    let mut two = place.ask("/two");
    asked(&mut origin);
    drop(origin);
    one.response().expect_problem(502);
    two.response().expect_problem(502);
    let three = place.ask("/three");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    say(&mut origin, stream, "three");
    expect_text(three, "three");
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    let place = Place::new("");
    let mut client = place.gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    origin.headers(stream, &[(":status", "413")], false);
    origin.data(stream, b"too much", true);
    origin.send(reset(stream, 0));
    assert_eq!(client.response().expect(413).text(), "too much");
    let next = place.ask("/");
    let stream = asked(&mut origin);
    say(&mut origin, stream, "next");
    expect_text(next, "next");
}

#[test]
fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let place = Place::new("");
    let gone = place.ask("/gone");
    let mut origin = place.accept();
    let first = asked(&mut origin);
    drop(gone);
    let cut = origin.expect(RST_STREAM);
    assert_eq!((cut.stream, cut.payload.as_slice()), (first, &CANCEL.to_be_bytes()[..]));
    let here = place.ask("/here");
    let second = asked(&mut origin);
    say(&mut origin, second, "here");
    expect_text(here, "here");
}

#[test]
fn a_response_whose_end_is_a_frame_of_its_own_is_not_cancelled() {
    let place = Place::new("");
    let mut origin = None;
    for _ in 0..50 {
        let client = place.ask("/");
        let origin = origin.get_or_insert_with(|| place.accept());
        let stream = asked(origin);
        origin.headers(stream, &[(":status", "200"), ("content-length", "2")], false);
        origin.data(stream, b"ok", false);
        expect_text(client, "ok");
        origin.data(stream, b"", true);
    }
    let mut origin = origin.expect("a connection");
    origin.send(frame(PING, 0, 0, b"12345678"));
    loop {
        let frame = origin.frame().expect("the connection is open");
        assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
        if frame.kind == PING {
            break;
        }
    }
}

#[test]
fn more_requests_than_an_origin_takes_at_once_make_more_connections() {
    let place = Place::new("");
    let one = place.ask("/one");
    let mut first = H2Wire::accept(&place.listener, &[(STREAMS_MAX, 1)]);
    let on_first = asked(&mut first);
    let two = place.ask("/two");
    let mut second = H2Wire::accept(&place.listener, &[(STREAMS_MAX, 1)]);
    let on_second = asked(&mut second);
    say(&mut second, on_second, "two");
    expect_text(two, "two");
    say(&mut first, on_first, "one");
    expect_text(one, "one");
    let three = place.ask("/three");
    let stream = asked(&mut first);
    say(&mut first, stream, "three");
    expect_text(three, "three");
    assert_eq!(place.gateway.metric("ringway_upstream_http2_connections_total", &[]), 2.0);
}

#[test]
fn requests_that_come_while_a_connection_is_made_share_it() {
    let place = Place::new("");
    let clients: Vec<Wire> = (0..20).map(|turn| place.ask(&format!("/{turn}"))).collect();
    let active = || place.gateway.metric("http_server_active_requests", &[]);
    eventually("all wait", || active() >= 20.0);
    let mut origin = place.accept();
    let streams: Vec<u32> = clients.iter().map(|_| asked(&mut origin)).collect();
    for stream in streams {
        say(&mut origin, stream, "shared");
    }
    for client in clients {
        expect_text(client, "shared");
    }
    assert_eq!(place.gateway.metric("ringway_upstream_http2_connections_total", &[]), 1.0);
}

#[test]
fn a_request_whose_time_is_over_takes_the_connection_from_nobody() {
    let place = Place::new(
        "timeout = { connect = \"20s\" }\n\
         [[route]]\nmatch = \"/short\"\nforward = \"app\"\ntimeout = \"300ms\"",
    );
    let mut short = place.ask("/short");
    let _silent = place.listener.accept().expect("the first is made for it");
    let long = place.ask("/long");
    short.response().expect_problem(504);
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    say(&mut origin, stream, "here");
    expect_text(long, "here");
}

#[test]
fn an_origin_that_never_says_what_it_allows_is_sent_nothing() {
    let place = Place::new("timeout = { connect = \"100ms\" }\nretry = \"none\"");
    let mut client = place.ask("/");
    let (mut stream, _) = place.listener.accept().expect("the gateway connects");
    client.response().expect_problem(504);
    let mut seen = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut seen);
    let text = String::from_utf8_lossy(&seen);
    assert!(text.starts_with("PRI * HTTP/2.0"), "{text:?}");
    assert!(seen.len() < 150, "no request: {text:?}");
}

#[test]
fn a_slow_client_holds_up_no_other_and_its_response_is_not_buffered() {
    let place = Place::new("");
    // Nobody reads these.
    let mut slow: Vec<H2Wire> = Vec::new();
    let mut origin = None;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut client = H2Wire::silent(place.address());
        let no_window = [0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        client
            .send([crate::support::h2_wire::PREFACE, &frame(SETTINGS, 0, 0, &no_window)].concat());
        client.get(1, "/slow", &[]);
        slow.push(client);
        streams.push(asked(origin.get_or_insert_with(|| place.accept())));
    }
    let origin = origin.as_mut().expect("a connection");
    // All that its window allows, and no byte more.
    const WINDOW: usize = 128 * 1024;
    for stream in &streams {
        origin.headers(*stream, OK, false);
        for piece in vec![7; WINDOW].chunks(16 * 1024) {
            origin.data(*stream, piece, false);
        }
    }
    let client = place.ask("/fast");
    let stream = next_request(origin, &streams, WINDOW);
    say(origin, stream, "fast");
    expect_text(client, "fast");
}

/// The next request; the windows of `streams` must not have been opened for more than buffers hold meanwhile.
#[track_caller]
fn next_request(origin: &mut H2Wire, streams: &[u32], most: usize) -> u32 {
    let mut opened = 0;
    loop {
        let Frame { kind, stream, payload, .. } = origin.frame().expect("the connection is open");
        match kind {
            HEADERS => return stream,
            WINDOW_UPDATE if streams.contains(&stream) => {
                opened += u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize;
                assert!(opened <= most * streams.len(), "{opened} bytes are buffered");
            }
            _ => {}
        }
    }
}

#[test]
fn an_idle_connection_is_ended_with_a_goodbye() {
    let place = Place::new("pool = { idle_timeout = \"100ms\" }");
    let client = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    say(&mut origin, stream, "once");
    expect_text(client, "once");
    assert_eq!(reason_of(&origin.expect(GOAWAY)), 0);
    assert_eq!(origin.farewell(), 0);
    let open = || place.gateway.metric("ringway_upstream_http2_connections_open", &[]);
    eventually("it is closed", || open() == 0.0);
}

fn reason_of(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.payload[4..8].try_into().unwrap())
}

#[test]
fn a_stream_of_a_client_of_http_2_is_reset_with_its_origins() {
    let place = Place::new("");
    let mut client = H2Wire::connect(place.address());
    client.headers(1, &request("POST", "/", &[]), false);
    client.data(1, b"abc", false);
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    assert_eq!(origin.expect(DATA).payload, b"abc");
    origin.headers(stream, OK, false);
    origin.data(stream, b"half", false);
    assert_eq!(client.expect(DATA).payload, b"half");
    origin.send(reset(stream, INTERNAL_ERROR));
    assert!(matches!(client.answer(1), Answer::Reset(_)));
}

#[test]
fn a_reload_keeps_connections_of_what_did_not_change_and_ends_the_others_with_a_goodbye() {
    let place = Place::new("[[route]]\nmatch = \"/version\"\nrespond = { body = \"zero\" }");
    let text = |first_byte: &str, body: &str| {
        format!(
            "workers = 1\n[[listen]]\naddress = \"@LISTEN@\"\n[admin]\naddress = \"@ADMIN@\"\n\
             [observe]\naccess_log = \"off\"\n\
             [upstream.app]\nendpoints = [\"@app@\"]\nhttp2 = true\ntimeout = {{ first_byte = \"{first_byte}\" }}\n\
             [[route]]\nmatch = \"/version\"\nrespond = {{ body = \"{body}\" }}\n\
             [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
        )
    };
    let reload = |first_byte: &str, version: &str| {
        place.gateway.rewrite(&text(first_byte, version));
        place.gateway.signal("HUP");
        eventually("the new version", || {
            let answer = place.gateway.get("/version");
            answer.status == 200 && answer.text() == version
        });
    };
    reload("15s", "one");
    let client = place.ask("/a");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    reload("15s", "two");
    say(&mut origin, stream, "over a reload");
    expect_text(client, "over a reload");
    let client = place.ask("/b");
    let stream = asked(&mut origin);
    reload("14s", "three");
    let other = place.ask("/c");
    let mut new = place.accept();
    let on_new = asked(&mut new);
    say(&mut origin, stream, "of the old version");
    expect_text(client, "of the old version");
    assert_eq!(origin.farewell(), 0);
    say(&mut new, on_new, "of the new one");
    expect_text(other, "of the new one");
}

#[test]
fn a_drain_lets_streams_end() {
    let mut place = Place::new("");
    let client = place.ask("/");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    place.gateway.signal("TERM");
    origin.headers(stream, OK, false);
    origin.data(stream, b"to the end", true);
    expect_text(client, "to the end");
    assert!(place.gateway.wait_for_exit().success());
}

#[test]
fn an_origin_that_wants_http_1_1_gets_it() {
    let place = Place::new("");
    let client = place.ask("/once");
    let mut origin = place.accept();
    let stream = asked(&mut origin);
    const HTTP_1_1_REQUIRED: u32 = 13;
    origin.send(reset(stream, HTTP_1_1_REQUIRED));
    let (mut plain, _) = place.listener.accept().expect("a connection of its own");
    let mut rest = Vec::new();
    let request = read_request(&mut plain, &mut rest).expect("HTTP/1.1").expect("a request");
    assert_eq!(request.target, "/once");
    plain.write_all(&ok("as it wants")).unwrap();
    expect_text(client, "as it wants");
}
