//! Of messages (RFC 9113 §8).
//!
//! Tables only; the harness is in the module above. What is malformed may be answered before it is reset (§8.1.1);
//! here only what is reset.

use super::{Case, Expected, PROTOCOL_ERROR, ask, case, open};
use crate::support::h2_wire::{DATA, END_HEADERS, END_STREAM, block, frame, request};
use Expected::{ConnectionError, Status, StreamError};

const MALFORMED: Expected = StreamError(1, &[PROTOCOL_ERROR]);

pub(super) fn cases() -> Vec<Case> {
    [exchanges(), fields(), pseudo(), lengths()].into_iter().flatten().collect()
}

fn whole(fields: &[(&str, &str)]) -> Vec<u8> {
    ask(1, END_STREAM | END_HEADERS, &block(fields))
}

fn exchanges() -> Vec<Case> {
    let trailers = |flags| ask(1, flags, &block(&[("x-test", "ok")]));
    let post = |more: &[(&str, &str)]| ask(1, END_HEADERS, &block(&request("POST", "/", more)));
    vec![
        case("§8.1 GET", whole(&request("GET", "/", &[])), Status(1, 200)),
        case("§8.1 HEAD", whole(&request("HEAD", "/", &[])), Status(1, 200)),
        case("§8.1 POST", [open(1), frame(DATA, 1, 1, b"test")].concat(), Status(1, 200)),
        case(
            "§8.1 POST with trailers",
            [post(&[("trailer", "x-test")]), frame(DATA, 0, 1, b"test"), trailers(5)].concat(),
            Status(1, 200),
        ),
        case(
            "§8.1 POST with trailers and no content",
            [open(1), trailers(5)].concat(),
            Status(1, 200),
        ),
        case(
            "§8.1 a second HEADERS without END_STREAM",
            [open(1), frame(DATA, 0, 1, b"test"), trailers(END_HEADERS)].concat(),
            MALFORMED,
        ),
        case(
            "§8.1 pseudo-header fields in trailers",
            [open(1), frame(DATA, 0, 1, b"test"), whole(&[(":method", "POST")])].concat(),
            MALFORMED,
        ),
        case(
            "§8.4 a client pushes nothing",
            frame(5, 4, 1, &[0, 0, 0, 2]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn fields() -> Vec<Case> {
    let with = |name, field| case(name, whole(&request("GET", "/", &[field])), MALFORMED);
    vec![
        with("§8.2.1 upper case in a name", ("X-TEST", "ok")),
        with("§8.2.1 a space in a name", ("x test", "ok")),
        with("§8.2.1 a colon in a name", ("x:test", "ok")),
        with("§8.2.1 a name of nothing", ("", "ok")),
        with("§8.2.1 CR in a value", ("x-test", "a\rb")),
        with("§8.2.1 LF in a value", ("x-test", "a\nb")),
        with("§8.2.1 NUL in a value", ("x-test", "a\0b")),
        with("§8.2.2 connection", ("connection", "keep-alive")),
        with("§8.2.2 keep-alive", ("keep-alive", "timeout=5")),
        with("§8.2.2 proxy-connection", ("proxy-connection", "keep-alive")),
        with("§8.2.2 transfer-encoding", ("transfer-encoding", "chunked")),
        with("§8.2.2 upgrade", ("upgrade", "h2c")),
        with("§8.2.2 te that is not trailers", ("te", "trailers, deflate")),
        case(
            "§8.2.2 te: trailers",
            whole(&request("GET", "/", &[("te", "trailers")])),
            Status(1, 200),
        ),
        case(
            "§8.2.3 crumbs of a cookie",
            whole(&request("GET", "/", &[("cookie", "a=1"), ("cookie", "b=2")])),
            Status(1, 200),
        ),
    ]
}

fn pseudo() -> Vec<Case> {
    let all = request("GET", "/", &[]);
    let with = |name, more: (&'static str, &'static str)| {
        case(name, whole(&[&all[..], &[more]].concat()), MALFORMED)
    };
    let without = |name, which: &str| {
        let fields: Vec<_> = all.iter().copied().filter(|(name, _)| *name != which).collect();
        case(name, whole(&fields), MALFORMED)
    };
    let first = |more: (&'static str, &'static str)| whole(&[&[more], &all[..]].concat());
    vec![
        with("§8.3 an unknown one", (":test", "ok")),
        with("§8.3 one of responses", (":status", "200")),
        case("§8.3 one behind a field", first(("x-test", "ok")), MALFORMED),
        case("§8.3.1 an empty :path", whole(&request("GET", "", &[])), MALFORMED),
        without("§8.3.1 no :method", ":method"),
        without("§8.3.1 no :scheme", ":scheme"),
        without("§8.3.1 no :path", ":path"),
        with("§8.3.1 :method twice", (":method", "GET")),
        with("§8.3.1 :scheme twice", (":scheme", "http")),
        with("§8.3.1 :path twice", (":path", "/")),
        with("§8.3.1 :authority twice", (":authority", "a.test")),
        case(
            "§8.3.1 host takes the place of :authority",
            whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a.test")]),
            Status(1, 200),
        ),
        case("§8.3.1 OPTIONS *", whole(&request("OPTIONS", "*", &[])), Expected::Alive),
    ]
}

fn lengths() -> Vec<Case> {
    let post =
        |length| ask(1, END_HEADERS, &block(&request("POST", "/", &[("content-length", length)])));
    let data = |ended: bool, bytes: &[u8]| frame(DATA, u8::from(ended), 1, bytes);
    vec![
        case(
            "§8.1.1 the content is as long as it says",
            [post("4"), data(true, b"test")].concat(),
            Status(1, 200),
        ),
        case("§8.1.1 the content is longer", [post("1"), data(true, b"test")].concat(), MALFORMED),
        case(
            "§8.1.1 in several DATA",
            [post("1"), data(false, b"test"), data(true, b"test")].concat(),
            MALFORMED,
        ),
        case("§8.1.1 the content is shorter", [post("9"), data(true, b"test")].concat(), MALFORMED),
        case(
            "§8.1.1 and not there at all",
            whole(&request("POST", "/", &[("content-length", "4")])),
            MALFORMED,
        ),
        case(
            "§8.1.1 and there, where none should be",
            [post("0"), data(true, b"test")].concat(),
            MALFORMED,
        ),
        case(
            "§8.1.1 shorter, before trailers",
            [post("9"), data(false, b"test"), ask(1, 5, &block(&[("x-a", "1")]))].concat(),
            MALFORMED,
        ),
    ]
}
