//! Conformance of HTTP/2 towards clients: one named case for each requirement, in cleartext and over TLS.
//!
//! RFC 9113 and RFC 7541, with what RFC 7540 asked beyond them of priorities. A case is a row of a table: what a
//! client sends, and how it must be answered. An error of the connection is GOAWAY with its code and then the
//! connection's end; an error of a stream is RST_STREAM, or the same. Nothing here passes because nothing came.

mod compression;
mod connection;
mod frames;
mod messages;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::certs::Authority;
use crate::support::gateway::{Gateway, gateway};
use crate::support::h2_wire::{
    ACK, Answer, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, H2Wire, HEADERS, PING, PREFACE,
    RST_STREAM, SETTINGS, block, frame, reason, request,
};
use crate::support::origin::{Origin, Step, ok};

/// Error codes (RFC 9113 §7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// What a client does.
enum Do {
    Send(Vec<u8>),
    /// Waits for the end of the answer to this stream.
    AwaitEnd(u32),
    /// Waits for the acknowledgement of SETTINGS.
    AwaitAck,
}

/// How it must be answered.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// GOAWAY with one of these codes, and then the end.
    ConnectionError(&'static [u32]),
    /// RST_STREAM of this stream with one of these codes, or the same as above.
    StreamError(u32, &'static [u32]),
    /// RST_STREAM of this stream with this code, and nothing else.
    Reset(u32, u32),
    /// A whole answer to this stream with this status.
    Status(u32, u16),
    /// This stream's first DATA frame has so many bytes.
    Data(u32, usize),
    /// All is well: a PING is answered.
    Alive,
    /// The connection ends.
    Closed,
}

/// A requirement.
struct Case {
    name: &'static str,
    does: Vec<Do>,
    expected: Expected,
}

/// A case in which bytes are sent at once.
fn case(name: &'static str, sends: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { name, does: vec![Do::Send(sends.into())], expected }
}

/// A case of several acts.
fn acts(name: &'static str, does: Vec<Do>, expected: Expected) -> Case {
    Case { name, does, expected }
}

/// A request without a body.
fn get(stream: u32) -> Vec<u8> {
    ask(stream, END_STREAM | END_HEADERS, &block(&request("GET", "/", &[])))
}

/// A request whose body is to come.
fn open(stream: u32) -> Vec<u8> {
    ask(stream, END_HEADERS, &block(&request("POST", "/", &[])))
}

fn ask(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// Who is asked.
struct House {
    gateway: Gateway,
    authority: Option<Authority>,
    _origin: Option<Origin>,
}

/// In front of an origin that reads what it is sent and answers.
fn forwarding(over_tls: bool) -> House {
    let origin = Origin::script(|_| vec![Step::Send(ok("an answer of some length"))]);
    let route = "[upstream.app]\nendpoints = [\"@app@\"]\n\n[[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    let address = origin.address.to_string();
    house(route, over_tls, &address, Some(origin))
}

/// With an answer of its own.
fn responding(over_tls: bool) -> House {
    let route =
        "[[route]]\nmatch = \"/{*rest}\"\nrespond = { body = \"an answer of some length\" }\n";
    house(route, over_tls, "", None)
}

fn house(route: &str, over_tls: bool, app: &str, origin: Option<Origin>) -> House {
    let authority = over_tls.then(Authority::new);
    let mut text = "[[listen]]\naddress = \"@LISTEN@\"\n".to_string();
    let mut folder = String::new();
    if let Some(authority) = &authority {
        authority.server("a", "DNS:a.test");
        folder = authority.folder();
        text.push_str(
            "[listen.tls]\ncertificates = [{ cert = \"@C@/a.pem\", key = \"@C@/a.key\" }]\n",
        );
    }
    let gateway = gateway(&format!("{text}{route}")).with("app", app).with("C", folder).start();
    House { gateway, authority, _origin: origin }
}

impl House {
    fn silent(&self) -> H2Wire {
        let address = self.gateway.address;
        match &self.authority {
            Some(authority) => H2Wire::silent_over_tls(address, &authority.path("root.pem")),
            None => H2Wire::silent(address),
        }
    }

    /// A connection on which both sides have acknowledged the other's SETTINGS.
    fn connect(&self) -> H2Wire {
        let mut wire = self.silent();
        // No table for answers, so that a status can be read.
        wire.send([PREFACE, &settings(&[(1, 0)])].concat());
        let first = wire.frame().expect("the gateway's preface");
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0), "§3.4");
        await_ack(&mut wire);
        wire
    }

    /// Goes through all cases; says which failed, and how.
    #[track_caller]
    fn passes(&self, cases: Vec<Case>) {
        let count = cases.len();
        let mut failed = Vec::new();
        for case in cases {
            let name = case.name;
            let tried = catch_unwind(AssertUnwindSafe(|| self.pass(case)));
            let said = match tried {
                Ok(Ok(())) => continue,
                Ok(Err(said)) => said,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    text.or(panic.downcast_ref::<&str>().map(ToString::to_string))
                        .unwrap_or_default()
                }
            };
            failed.push(format!("{name}: {said}"));
        }
        assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
        let mut honest = self.connect();
        honest.send(get(1));
        assert!(matches!(honest.answer(1), Answer::Response(200, _)), "others are served");
    }

    fn pass(&self, case: Case) -> Result<(), String> {
        let mut wire = self.connect();
        for act in case.does {
            match act {
                Do::Send(bytes) => {
                    wire.send_perhaps(bytes);
                }
                Do::AwaitEnd(stream) => {
                    let answer = wire.answer(stream);
                    if !matches!(answer, Answer::Response(200, _)) {
                        return Err(format!("{answer:?} to stream {stream}"));
                    }
                }
                Do::AwaitAck => await_ack(&mut wire),
            }
        }
        let mut seen = Vec::new();
        if case.expected.is_met(&mut wire, &mut seen) {
            return Ok(());
        }
        let seen: Vec<_> =
            seen.iter().map(|frame| (frame.kind, frame.flags, &frame.payload)).collect();
        Err(format!("{:?} was expected and this came: {seen:?}", case.expected))
    }
}

fn await_ack(wire: &mut H2Wire) {
    while wire.expect(SETTINGS).flags & ACK == 0 {}
}

impl Expected {
    fn is_met(self, wire: &mut H2Wire, seen: &mut Vec<Frame>) -> bool {
        let alive = b"ringway?";
        match self {
            Self::Alive => {
                wire.send_perhaps(frame(PING, 0, 0, alive));
            }
            Self::Status(stream, status) => {
                return matches!(wire.answer(stream), Answer::Response(got, _) if got == status);
            }
            Self::Closed => return wire.ends_well(),
            _ => {}
        }
        while let Some(frame) = wire.frame() {
            seen.push(frame.clone());
            let code = |at, codes: &[u32]| codes.contains(&reason(&frame, at));
            match (self, frame.kind) {
                (Self::ConnectionError(codes) | Self::StreamError(_, codes), GOAWAY) => {
                    return code(4, codes) && wire.ends_well();
                }
                (Self::StreamError(stream, codes), RST_STREAM) if frame.stream == stream => {
                    return code(0, codes);
                }
                (Self::Reset(stream, expected), RST_STREAM) if frame.stream == stream => {
                    return code(0, &[expected]);
                }
                (Self::Data(stream, bytes), DATA) if frame.stream == stream => {
                    return frame.payload.len() == bytes;
                }
                (Self::Alive, PING) if frame.payload == alive => return frame.flags & ACK != 0,
                _ => {}
            }
        }
        false
    }
}

#[test]
fn connections_in_cleartext() {
    forwarding(false).passes(connection::cases());
}

#[test]
fn connections_over_tls() {
    forwarding(true).passes(connection::cases());
}

#[test]
fn frames_in_cleartext() {
    forwarding(false).passes(frames::cases());
}

#[test]
fn frames_over_tls() {
    forwarding(true).passes(frames::cases());
}

#[test]
fn messages_in_cleartext() {
    forwarding(false).passes(messages::cases());
}

#[test]
fn messages_over_tls() {
    forwarding(true).passes(messages::cases());
}

#[test]
fn compression_in_cleartext() {
    forwarding(false).passes(compression::cases());
}

#[test]
fn compression_over_tls() {
    forwarding(true).passes(compression::cases());
}

#[test]
fn all_of_it_where_answers_are_fixed() {
    let house = responding(false);
    house.passes(connection::cases());
    house.passes(frames::cases());
    house.passes(messages::cases());
    house.passes(compression::cases());
}

#[test]
fn prefaces_that_are_none_end_the_connection() {
    // §3.4; over TLS, where HTTP/2 was chosen, it is the only thing that may come (§3.2).
    for over_tls in [false, true] {
        let house = responding(over_tls);
        for preface in [
            &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n",
        ] {
            let mut wire = house.silent();
            wire.send(preface);
            assert!(wire.ends_well(), "{over_tls} {}", String::from_utf8_lossy(preface));
        }
        // Behind the preface, SETTINGS come first.
        let mut wire = house.silent();
        wire.send([PREFACE, &frame(PING, 0, 0, &[0; 8])].concat());
        assert_eq!(wire.farewell(), PROTOCOL_ERROR, "{over_tls}");
    }
}

#[test]
fn more_streams_than_allowed_are_refused_one_by_one() {
    // §5.1.2. No window, so that none of them ends.
    for over_tls in [false, true] {
        let house = forwarding(over_tls);
        let mut wire = house.silent();
        wire.send([PREFACE, &settings(&[(1, 0), (4, 0)])].concat());
        let theirs = wire.frame().expect("SETTINGS");
        let limit = theirs.payload.chunks(6).find(|value| value[..2] == [0, 3]).expect("a limit");
        let limit = u32::from_be_bytes(limit[2..].try_into().unwrap());
        assert!(limit >= 100, "§6.5.2 recommends no fewer than 100");
        for number in 0..=limit {
            wire.send(get(number * 2 + 1));
        }
        let refused = wire.expect(RST_STREAM);
        assert_eq!(refused.stream, limit * 2 + 1);
        assert_eq!(reason(&refused, 0), REFUSED_STREAM);
        wire.send(frame(PING, 0, 0, &[0; 8]));
        assert_ne!(wire.expect(PING).flags & ACK, 0);
    }
}
