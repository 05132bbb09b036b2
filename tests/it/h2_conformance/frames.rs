//! Of each type of frame (RFC 9113 §6).
//!
//! Tables only; the harness is in the module above.

use super::{
    Case, Do, Expected, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, acts, ask, case, get,
    open, settings,
};
use crate::support::h2_wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, block, frame, request,
};
use Expected::{Alive, ConnectionError, Data, Reset, Status, StreamError};

const PROTOCOL: Expected = ConnectionError(&[PROTOCOL_ERROR]);
const SIZE: Expected = ConnectionError(&[FRAME_SIZE_ERROR]);
const FLOW: Expected = ConnectionError(&[FLOW_CONTROL_ERROR]);

pub(super) fn cases() -> Vec<Case> {
    [data(), headers(), priority(), rst_stream(), settings_frames(), setting_values()]
        .into_iter()
        .chain([push_promise(), ping(), goaway(), window_update(), windows(), continuation()])
        .flatten()
        .collect()
}

fn head() -> Vec<u8> {
    block(&request("GET", "/", &[]))
}

fn data() -> Vec<Case> {
    let sized = |length| block(&request("POST", "/", &[("content-length", length)]));
    vec![
        case("§6.1 DATA", [open(1), frame(DATA, END_STREAM, 1, b"test")].concat(), Status(1, 200)),
        case(
            "§6.1 several DATA",
            [open(1), frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test")].concat(),
            Status(1, 200),
        ),
        case(
            "§6.1 DATA with padding",
            [open(1), frame(DATA, END_STREAM | PADDED, 1, b"\x06test\0\0\0\0\0\0")].concat(),
            Status(1, 200),
        ),
        case(
            "§6.1 padding is not content",
            [ask(1, END_HEADERS, &sized("4")), frame(DATA, 9, 1, b"\x06test\0\0\0\0\0\0")].concat(),
            Status(1, 200),
        ),
        case(
            "§6.1 DATA of nothing but padding",
            [open(1), frame(DATA, END_STREAM | PADDED, 1, b"\x02\0\0")].concat(),
            Status(1, 200),
        ),
        case("§6.1 DATA of no stream", frame(DATA, END_STREAM, 0, b"test"), PROTOCOL),
        case(
            "§6.1 padding as long as the payload",
            [ask(1, END_HEADERS, &sized("4")), frame(DATA, 9, 1, b"\x05Test")].concat(),
            PROTOCOL,
        ),
        case(
            "§6.1 padding longer than the payload",
            [ask(1, END_HEADERS, &sized("4")), frame(DATA, 9, 1, b"\x06Test")].concat(),
            PROTOCOL,
        ),
        case(
            "§6.1 padding without a length",
            [open(1), frame(DATA, 9, 1, b"")].concat(),
            ConnectionError(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
    ]
}

fn headers() -> Vec<Case> {
    let padded = |padding: u8, behind: &[u8]| {
        ask(1, END_STREAM | END_HEADERS | PADDED, &[&[padding], &head()[..], behind].concat())
    };
    let both = [&[2, 0, 0, 0, 0, 15][..], &head(), &[0, 0]].concat();
    vec![
        case("§6.2 HEADERS", get(1), Status(1, 200)),
        case("§6.2 HEADERS with padding", padded(6, &[0; 6]), Status(1, 200)),
        case("§6.2 with padding and a priority", ask(1, 0x2d, &both), Status(1, 200)),
        case("§6.2 HEADERS of no stream", ask(0, END_STREAM | END_HEADERS, &head()), PROTOCOL),
        case("§6.2 padding longer than the block", padded(head().len() as u8 + 1, &[]), PROTOCOL),
        case(
            "§6.2 a priority that is cut",
            ask(1, END_STREAM | END_HEADERS | WITH_PRIORITY, &[0, 0]),
            ConnectionError(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
    ]
}

fn priority() -> Vec<Case> {
    let of = |stream, payload: &[u8]| frame(PRIORITY, 0, stream, payload);
    vec![
        case("§6.3 PRIORITY", of(1, &[0, 0, 0, 0, 15]), Alive),
        case("§6.3 PRIORITY of no stream", of(0, &[0, 0, 0, 0, 255]), PROTOCOL),
        case(
            "§6.3 PRIORITY of four bytes",
            [get(1), of(1, &[0x80, 0, 0, 1])].concat(),
            StreamError(1, &[FRAME_SIZE_ERROR]),
        ),
        case(
            "§6.3 PRIORITY of six bytes",
            [get(1), of(1, &[0x80, 0, 0, 1, 1, 1])].concat(),
            StreamError(1, &[FRAME_SIZE_ERROR]),
        ),
    ]
}

fn rst_stream() -> Vec<Case> {
    let of = |stream, payload: &[u8]| frame(RST_STREAM, 0, stream, payload);
    vec![
        case("§6.4 RST_STREAM", [open(1), of(1, &[0, 0, 0, 8])].concat(), Alive),
        case("§6.4 RST_STREAM of no stream", of(0, &[0, 0, 0, 8]), PROTOCOL),
        case("§6.4 RST_STREAM of an idle stream", of(1, &[0, 0, 0, 8]), PROTOCOL),
        case("§6.4 RST_STREAM of three bytes", [open(1), of(1, &[0, 0, 0])].concat(), SIZE),
        case("§6.4 RST_STREAM of five bytes", [open(1), of(1, &[0; 5])].concat(), SIZE),
    ]
}

fn settings_frames() -> Vec<Case> {
    let of = |flags, stream, payload: &[u8]| frame(SETTINGS, flags, stream, payload);
    vec![
        case("§6.5 SETTINGS", settings(&[(3, 100)]), Alive),
        case("§6.5 SETTINGS of nothing", settings(&[]), Alive),
        case("§6.5 an acknowledgement with a payload", of(ACK, 0, &[0]), SIZE),
        case("§6.5 and with a setting", of(ACK, 0, &[0, 3, 0, 0, 0, 1]), SIZE),
        case("§6.5 SETTINGS of a stream", of(0, 1, &[0, 3, 0, 0, 0, 100]), PROTOCOL),
        case("§6.5 SETTINGS of eight bytes", of(0, 0, &[0, 3, 0, 0, 0, 100, 0, 2]), SIZE),
        case("§6.5 SETTINGS of three bytes", of(0, 0, &[0, 3, 0]), SIZE),
        acts(
            "§6.5.3 SETTINGS are acknowledged",
            vec![Do::Send(settings(&[(2, 0)])), Do::AwaitAck],
            Alive,
        ),
        acts(
            "§6.5.3 each of them",
            vec![Do::Send([settings(&[]), settings(&[])].concat()), Do::AwaitAck, Do::AwaitAck],
            Alive,
        ),
        acts(
            "§6.5.3 values hold in their order",
            vec![Do::Send(settings(&[(4, 100), (4, 1)])), Do::AwaitAck, Do::Send(get(1))],
            Data(1, 1),
        ),
    ]
}

fn setting_values() -> Vec<Case> {
    let values = |name, values: &[(u16, u32)], expected| case(name, settings(values), expected);
    vec![
        values("§6.5.2 HEADER_TABLE_SIZE of 0", &[(1, 0)], Alive),
        values("§6.5.2 HEADER_TABLE_SIZE of very much", &[(1, u32::MAX)], Alive),
        values("§6.5.2 ENABLE_PUSH of 1", &[(2, 1)], Alive),
        values("§6.5.2 ENABLE_PUSH of 2", &[(2, 2)], PROTOCOL),
        values("§6.5.2 MAX_CONCURRENT_STREAMS of 0", &[(3, 0)], Alive),
        values("§6.5.2 INITIAL_WINDOW_SIZE of 2^31-1", &[(4, 0x7fff_ffff)], Alive),
        values("§6.5.2 INITIAL_WINDOW_SIZE of 2^31", &[(4, 0x8000_0000)], FLOW),
        values("§6.5.2 MAX_FRAME_SIZE below 2^14", &[(5, 16_383)], PROTOCOL),
        values("§6.5.2 MAX_FRAME_SIZE of 2^24-1", &[(5, 16_777_215)], Alive),
        values("§6.5.2 MAX_FRAME_SIZE of 2^24", &[(5, 16_777_216)], PROTOCOL),
        values("§6.5.2 MAX_HEADER_LIST_SIZE", &[(6, 1)], Alive),
        values("§6.5.2 unknown ones", &[(0xff, 1), (0, 0)], Alive),
        values("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL of 2", &[(8, 2)], PROTOCOL),
        values("RFC 9218 §2.1 NO_RFC7540_PRIORITIES", &[(9, 1)], Alive),
    ]
}

fn push_promise() -> Vec<Case> {
    let promise = [&[0, 0, 0, 2][..], &head()].concat();
    vec![
        case("§6.6 PUSH_PROMISE of an idle stream", frame(PUSH_PROMISE, 4, 1, &promise), PROTOCOL),
        case("§6.6 PUSH_PROMISE", [get(1), frame(PUSH_PROMISE, 4, 1, &promise)].concat(), PROTOCOL),
        case("§6.6 PUSH_PROMISE of no stream", frame(PUSH_PROMISE, 4, 0, &promise), PROTOCOL),
    ]
}

fn ping() -> Vec<Case> {
    vec![
        case("§6.7 PING is answered with what it says", Vec::new(), Alive),
        case("§6.7 an answer to no PING is not answered", frame(PING, ACK, 0, b"whatever"), Alive),
        case("§6.7 PING of a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        case("§6.7 PING of six bytes", frame(PING, 0, 0, &[0; 6]), SIZE),
        case("§6.7 PING of nine bytes", frame(PING, 0, 0, &[0; 9]), SIZE),
        case("§6.7 PING of nothing", frame(PING, 0, 0, &[]), SIZE),
    ]
}

fn goaway() -> Vec<Case> {
    vec![
        case("§6.8 GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        case("§6.8 GOAWAY that is cut", frame(GOAWAY, 0, 0, &[0; 7]), SIZE),
    ]
}

fn window_update() -> Vec<Case> {
    let of = |stream, payload: &[u8]| frame(WINDOW_UPDATE, 0, stream, payload);
    vec![
        case("§6.9 WINDOW_UPDATE of the connection", of(0, &[0, 0, 0, 1]), Alive),
        case(
            "§6.9 WINDOW_UPDATE of a stream",
            [get(1), of(1, &[0, 0, 0, 1])].concat(),
            Status(1, 200),
        ),
        case("§6.9 the reserved bit is ignored", of(0, &[0x80, 0, 0, 1]), Alive),
        case("§6.9 an increment of 0", of(0, &[0; 4]), PROTOCOL),
        case(
            "§6.9 an increment of 0 of a stream",
            [open(1), of(1, &[0; 4])].concat(),
            StreamError(1, &[PROTOCOL_ERROR]),
        ),
        case("§6.9 WINDOW_UPDATE of three bytes", of(0, &[0, 0, 1]), SIZE),
        case("§6.9 WINDOW_UPDATE of five bytes", of(0, &[0, 0, 0, 0, 1]), SIZE),
    ]
}

fn windows() -> Vec<Case> {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let of = |stream, payload: &[u8]| frame(WINDOW_UPDATE, 0, stream, payload);
    let first = |value| vec![Do::Send(settings(&[(4, value)])), Do::AwaitAck];
    let then = |mut does: Vec<Do>, more: Vec<Vec<u8>>| {
        does.push(Do::Send(more.concat()));
        does
    };
    vec![
        acts("§6.9.1 no more than the window", then(first(1), vec![get(1)]), Data(1, 1)),
        case("§6.9.1 a window above 2^31-1", [of(0, &most), of(0, &most)].concat(), FLOW),
        case(
            "§6.9.1 a stream's window above 2^31-1",
            [open(1), of(1, &most), of(1, &most)].concat(),
            Reset(1, FLOW_CONTROL_ERROR),
        ),
        acts(
            "§6.9.2 a change holds for streams that are open",
            then(first(0), vec![get(1), settings(&[(4, 1)])]),
            Data(1, 1),
        ),
        acts(
            "§6.9.2 a change that makes a window too large",
            then(first(0), vec![open(1), of(1, &most), settings(&[(4, 1)])]),
            FLOW,
        ),
    ]
}

fn continuation() -> Vec<Case> {
    let begun = ask(1, END_STREAM, &head());
    let more =
        |flags, stream, fields: &[(&str, &str)]| frame(CONTINUATION, flags, stream, &block(fields));
    let ended = |stream| more(END_HEADERS, stream, &[("x-b", "2")]);
    let cut = head();
    let (front, rest) = cut.split_at(7);
    vec![
        case("§6.10 CONTINUATION", [&begun[..], &ended(1)].concat(), Status(1, 200)),
        case(
            "§6.10 several CONTINUATION",
            [&begun[..], &more(0, 1, &[("x-a", "1")]), &ended(1)].concat(),
            Status(1, 200),
        ),
        case(
            "§6.10 a field that is cut",
            [ask(1, END_STREAM, front), frame(CONTINUATION, END_HEADERS, 1, rest)].concat(),
            Status(1, 200),
        ),
        case(
            "§6.10 a first frame without a piece",
            [frame(HEADERS, END_STREAM, 1, &[]), frame(CONTINUATION, 4, 1, &head())].concat(),
            Status(1, 200),
        ),
        case(
            "§6.10 CONTINUATION, and then something else",
            [&begun[..], &more(0, 1, &[("x-a", "1")]), &frame(DATA, 1, 1, b"test")].concat(),
            PROTOCOL,
        ),
        case("§6.10 CONTINUATION of no stream", [&begun[..], &ended(0)].concat(), PROTOCOL),
        case("§6.10 CONTINUATION of another stream", [&begun[..], &ended(3)].concat(), PROTOCOL),
        case("§6.10 CONTINUATION behind an ended block", [open(1), ended(1)].concat(), PROTOCOL),
        case(
            "§6.10 CONTINUATION behind an ended CONTINUATION",
            [&begun[..], &ended(1), &ended(1)].concat(),
            PROTOCOL,
        ),
        case(
            "§6.10 CONTINUATION behind DATA",
            [open(1), frame(DATA, 0, 1, b"test"), ended(1)].concat(),
            PROTOCOL,
        ),
    ]
}
