//! Of the connection and the states of its streams (RFC 9113 §4, §5).
//!
//! Tables only; the harness is in the module above.

use super::{
    Case, Do, Expected, FRAME_SIZE_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, acts, ask, case, get,
    open, settings,
};
use crate::support::h2_wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    WINDOW_UPDATE, WITH_PRIORITY, block, frame, request,
};
use Expected::{Alive, Closed, ConnectionError, Data, Reset, Status, StreamError};

const CANCEL: [u8; 4] = 8_u32.to_be_bytes();

pub(super) fn cases() -> Vec<Case> {
    [
        format(),
        sizes(),
        blocks(),
        idle(),
        half_closed(),
        closed(),
        identifiers(),
        priorities(),
        errors(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// PRIORITY's payload: on which stream it depends, and its weight less one.
fn priority(on: u32, weight: u8) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[weight]].concat()
}

fn format() -> Vec<Case> {
    vec![
        case("§4.1 a frame of an unknown type is ignored", frame(0x16, 0, 0, &[0; 8]), Alive),
        case("§4.1 and so it is on a stream", frame(0xff, 0xff, 1, b"x"), Alive),
        case("§4.1 flags without a meaning are ignored", frame(PING, 0x16, 0, &[0; 8]), Alive),
        case("§4.1 the reserved bit is ignored", frame(PING, 0, 1 << 31, &[0; 8]), Alive),
        case("§4.1 also on a stream", frame(HEADERS, 5, 1 << 31 | 1, &head()), Status(1, 200)),
        case(
            "§5.5 settings that are unknown are ignored",
            settings(&[(0xff, 1), (0x4a4a, 7)]),
            Alive,
        ),
    ]
}

fn head() -> Vec<u8> {
    block(&request("GET", "/", &[]))
}

fn sizes() -> Vec<Case> {
    let large = vec![b'x'; 16_384];
    let larger = vec![b'x'; 16_385];
    let long = block(&request("GET", "/", &[("x-long", &"y".repeat(16_500))]));
    vec![
        case(
            "§4.2 a frame of 2^14 bytes is taken",
            [open(1), frame(DATA, END_STREAM, 1, &large)].concat(),
            Status(1, 200),
        ),
        case(
            "§4.2 DATA larger than SETTINGS_MAX_FRAME_SIZE",
            [open(1), frame(DATA, END_STREAM, 1, &larger)].concat(),
            StreamError(1, &[FRAME_SIZE_ERROR]),
        ),
        case(
            "§4.2 HEADERS larger than SETTINGS_MAX_FRAME_SIZE",
            ask(1, END_STREAM | END_HEADERS, &long),
            ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "§4.2 a frame of an unknown type that is too large",
            frame(0x16, 0, 0, &larger),
            ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
    ]
}

/// Header blocks are one unit.
fn blocks() -> Vec<Case> {
    let begun = ask(1, END_STREAM, &head());
    let rest = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-a", "1")]));
    let within = |name, between: Vec<u8>| {
        case(name, [&begun[..], &between, &rest].concat(), ConnectionError(&[PROTOCOL_ERROR]))
    };
    vec![
        within("§4.3 PRIORITY within a header block", frame(PRIORITY, 0, 1, &priority(0, 15))),
        within("§4.3 HEADERS of another stream within a header block", get(3)),
        within("§4.3 HEADERS of the same stream within a header block", get(1)),
        within("§4.3 DATA within a header block", frame(DATA, END_STREAM, 1, b"x")),
        within("§4.3 SETTINGS within a header block", settings(&[])),
        within("§4.3 PING within a header block", frame(PING, 0, 0, &[0; 8])),
        within("§4.3 RST_STREAM within a header block", frame(RST_STREAM, 0, 1, &CANCEL)),
        within(
            "§4.3 WINDOW_UPDATE within a header block",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        within("§5.5 an unknown frame within a header block", frame(0x16, 0, 0, &[0; 8])),
    ]
}

fn idle() -> Vec<Case> {
    let bad = |name, bytes: Vec<u8>| case(name, bytes, ConnectionError(&[PROTOCOL_ERROR]));
    vec![
        bad("§5.1 idle: DATA", frame(DATA, END_STREAM, 1, b"test")),
        bad("§5.1 idle: RST_STREAM", frame(RST_STREAM, 0, 1, &CANCEL)),
        bad("§5.1 idle: WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])),
        bad("§5.1 idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, &head())),
        bad("§5.1 idle, and of the gateway's: DATA", frame(DATA, END_STREAM, 2, b"test")),
        case("§5.1 idle: PRIORITY is taken", frame(PRIORITY, 0, 1, &priority(0, 255)), Alive),
    ]
}

fn half_closed() -> Vec<Case> {
    let behind = |name, more: Vec<u8>, expected| case(name, [get(1), more].concat(), expected);
    let closed = StreamError(1, &[STREAM_CLOSED]);
    let no_window = settings(&[(4, 0)]);
    let with_window = |name, more: Vec<u8>| {
        let opens = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
        case(name, [no_window.clone(), get(1), more, opens].concat(), Data(1, 1))
    };
    vec![
        behind("§5.1 half-closed: DATA", frame(DATA, END_STREAM, 1, b"test"), closed),
        behind("§5.1 half-closed: HEADERS", get(1), closed),
        behind(
            "§5.1 half-closed: CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &head()),
            StreamError(1, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case(
            "§5.1 half-closed after DATA: DATA",
            [open(1), frame(DATA, END_STREAM, 1, b"x"), frame(DATA, END_STREAM, 1, b"y")].concat(),
            closed,
        ),
        case(
            "§5.1 half-closed after trailers: HEADERS",
            [open(1), ask(1, END_STREAM | END_HEADERS, &block(&[("x-a", "1")])), get(1)].concat(),
            closed,
        ),
        with_window("§5.1 half-closed: WINDOW_UPDATE is taken", Vec::new()),
        with_window(
            "§5.1 half-closed: PRIORITY is taken",
            frame(PRIORITY, 0, 1, &priority(0, 255)),
        ),
        behind("§5.1 half-closed: RST_STREAM is taken", frame(RST_STREAM, 0, 1, &CANCEL), Alive),
    ]
}

fn closed() -> Vec<Case> {
    let reset = [open(1), frame(RST_STREAM, 0, 1, &CANCEL)].concat();
    let after_reset = |name, more: Vec<u8>, codes| {
        case(name, [&reset[..], &more].concat(), StreamError(1, codes))
    };
    let after_end = |name, more: Vec<u8>, expected| {
        acts(name, vec![Do::Send(get(1)), Do::AwaitEnd(1), Do::Send(more)], expected)
    };
    let ends = |codes| ConnectionError(codes);
    let window = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    vec![
        after_reset(
            "§5.1 closed by RST_STREAM: DATA",
            frame(DATA, 1, 1, b"test"),
            &[STREAM_CLOSED],
        ),
        after_reset("§5.1 closed by RST_STREAM: HEADERS", get(1), &[STREAM_CLOSED]),
        after_reset(
            "§5.1 closed by RST_STREAM: CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &head()),
            &[STREAM_CLOSED, PROTOCOL_ERROR],
        ),
        after_end("§5.1 closed: DATA", frame(DATA, 1, 1, b"test"), ends(&[STREAM_CLOSED])),
        after_end("§5.1 closed: HEADERS", get(1), ends(&[STREAM_CLOSED])),
        after_end(
            "§5.1 closed: CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &head()),
            ends(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        after_end(
            "§5.1 closed: PRIORITY is taken",
            frame(PRIORITY, 0, 1, &priority(0, 255)),
            Alive,
        ),
        after_end("§5.1 closed: WINDOW_UPDATE is taken for a while", window, Alive),
        after_end(
            "§5.1 closed: RST_STREAM is taken for a while",
            frame(RST_STREAM, 0, 1, &CANCEL),
            Alive,
        ),
    ]
}

fn identifiers() -> Vec<Case> {
    vec![
        case("§5.1.1 an even identifier", get(2), ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "§5.1.1 an identifier below one that was used",
            [get(5), get(3)].concat(),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "§5.1.1 the same identifier twice",
            [get(5), get(5)].concat(),
            StreamError(5, &[STREAM_CLOSED]),
        ),
        case("§5.1.1 identifiers may be left out", [get(5), get(101)].concat(), Status(101, 200)),
        case("§5.1.1 the highest identifier", get(0x7fff_ffff), Status(0x7fff_ffff, 200)),
    ]
}

/// What is left of RFC 7540 §5.3.
fn priorities() -> Vec<Case> {
    let with = |on, weight| {
        let payload = [priority(on, weight), head()].concat();
        ask(1, END_STREAM | END_HEADERS | WITH_PRIORITY, &payload)
    };
    let told = |name, stream, on, weight| {
        let tells = frame(PRIORITY, 0, stream, &priority(on, weight));
        case(name, [tells, get(1)].concat(), Status(1, 200))
    };
    vec![
        case(
            "§5.3.1 HEADERS that depend on themselves",
            with(1, 255),
            StreamError(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "§5.3.1 PRIORITY that depends on itself",
            frame(PRIORITY, 0, 1, &priority(1, 255)),
            StreamError(1, &[PROTOCOL_ERROR]),
        ),
        case("§6.2 HEADERS with a priority", with(0, 15), Status(1, 200)),
        case("§6.2 HEADERS with a priority, exclusive", with(1 << 31, 0), Status(1, 200)),
        told("§6.3 PRIORITY with weight 1", 1, 0, 0),
        told("§6.3 PRIORITY with weight 256", 1, 0, 255),
        told("§6.3 PRIORITY that depends on a stream", 3, 1, 0),
        told("§6.3 PRIORITY, exclusive", 1, 1 << 31, 0),
        told("§6.3 PRIORITY of an idle stream above", 3, 0, 255),
    ]
}

fn errors() -> Vec<Case> {
    let bad_ping = frame(PING, 0, 3, &[0; 8]);
    let opens = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
    vec![
        case(
            "§5.4.1 GOAWAY comes first, and the end then",
            bad_ping.clone(),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case("§5.4.1 and the end comes soon", bad_ping, Closed),
        case(
            "§5.4.2 an error of one stream",
            [open(1), opens(1), opens(1)].concat(),
            Reset(1, super::FLOW_CONTROL_ERROR),
        ),
        case(
            "§5.4.2 is none of the others",
            [open(1), opens(1), opens(1), get(3)].concat(),
            Status(3, 200),
        ),
        case(
            "§7 RST_STREAM with an unknown code",
            [open(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 255])].concat(),
            Alive,
        ),
        case(
            "§7 GOAWAY with an unknown code",
            frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 255]),
            Closed,
        ),
        case("§6.8 GOAWAY", frame(GOAWAY, 0, 0, &[0; 8]), Closed),
        case(
            "§6.8 GOAWAY lets what is open end",
            [get(1), frame(GOAWAY, 0, 0, &[0; 8])].concat(),
            Status(1, 200),
        ),
    ]
}
