//! Floods in HTTP/2: noticed, counted, closed with ENHANCE_YOUR_CALM, while honest clients are served.
//!
//! RFC 9113 §10.5 and the vulnerabilities that are named at each. Every flood runs beside an honest client on the
//! same worker, which is asked before, during and after. Nothing here measures time.

use crate::support::Gate;
use crate::support::gateway::{Gateway, gateway};
use crate::support::h2_wire::{
    Answer, CONTINUATION, DATA, END_HEADERS, END_STREAM, H2Wire, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, request,
};
use crate::support::origin::{Origin, Step, ok};

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;

const ONE_WORKER: &str = r#"
workers = 1

[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/{*rest}"
forward = "app"
"#;

struct House {
    origin: Origin,
    gateway: Gateway,
    honest: H2Wire,
    stream: u32,
}

fn house() -> House {
    house_of(ONE_WORKER, Origin::script(|_| vec![Step::Send(ok("honest"))]))
}

fn house_of(text: &str, origin: Origin) -> House {
    let gateway = gateway(text).with("app", origin.address).start();
    let honest = H2Wire::connect(gateway.address);
    let mut house = House { origin, gateway, honest, stream: 1 };
    house.is_serving();
    house
}

impl House {
    /// An honest client gets its answer, on a connection that it has and on a new one.
    #[track_caller]
    fn is_serving(&mut self) {
        self.honest.get(self.stream, "/", &[]);
        let answer = self.honest.answer(self.stream);
        assert_eq!(answer, Answer::Response(200, b"honest".to_vec()));
        self.stream += 2;
        self.gateway.get("/").expect(200);
    }

    /// Sends `bytes` in many pieces until the connection is closed; it is, for being too much.
    #[track_caller]
    fn suffers(&mut self, kind: &str, before: &[u8], mut piece: impl FnMut(u32) -> Vec<u8>) {
        let mut wire = H2Wire::connect(self.gateway.address);
        wire.polite = false;
        wire.send(before);
        let mut sent = 0;
        for round in 0..40 {
            let bytes: Vec<u8> = (0..100).flat_map(|at| piece(round * 100 + at)).collect();
            sent += 1;
            if !wire.send_perhaps(bytes) {
                break;
            }
            if round == 1 {
                self.is_serving();
            }
        }
        assert_eq!(wire.farewell(), CALM, "after {sent} rounds of a hundred");
        let counted = self.gateway.metric("ringway_http2_floods_total", &[kind]);
        assert_eq!(counted, 1.0, "{kind}");
        self.is_serving();
    }
}

#[test]
fn rapid_reset() {
    // CVE-2023-44487: streams that are opened and given up at once.
    let mut house = house();
    let head = block(&request("GET", "/", &[]));
    house.suffers("bounded", &[], |number| {
        let stream = number * 2 + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &head);
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    });
    assert!(house.origin.requests().len() < 300, "what was given up is hardly ever forwarded");
}

#[test]
fn resets_of_streams_that_were_taken_on() {
    // The same, slowly enough that each request is begun.
    let mut house = house();
    let head = block(&request("GET", "/", &[]));
    let mut wire = H2Wire::connect(house.gateway.address);
    wire.polite = false;
    for round in 0..20 {
        let streams = (0..100).map(|number| (round * 100 + number) * 2 + 1);
        let open = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &head);
        let mut bytes: Vec<u8> = streams.clone().flat_map(open).collect();
        // A PING is answered behind the HEADERS, so that they have been read.
        bytes.extend(frame(PING, 0, 0, &[0; 8]));
        if !wire.send_perhaps(bytes) {
            break;
        }
        while wire.frame().is_some_and(|frame| frame.kind != PING) {}
        let cancel = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        wire.send_perhaps(streams.flat_map(cancel).collect::<Vec<u8>>());
    }
    wire.farewell();
    assert_eq!(house.gateway.metric("ringway_http2_floods_total", &["resets"]), 1.0);
    house.is_serving();
}

#[test]
fn resets_that_a_client_provokes() {
    // CVE-2025-8671 (MadeYouReset): frames that make us reset streams which were begun.
    let mut house = house();
    let head = block(&request("POST", "/", &[]));
    house.suffers("bounded", &[], |number| {
        let stream = number * 2 + 1;
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &head);
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
        bytes
    });
}

#[test]
fn settings() {
    // CVE-2019-9515.
    house().suffers("settings", &[], |_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn pings() {
    // CVE-2019-9512.
    house().suffers("pings", &[], |_| frame(PING, 0, 0, &[7; 8]));
}

#[test]
fn answers_to_what_was_never_asked() {
    house().suffers("unknown", &[], |_| frame(PING, 1, 0, &[7; 8]));
}

#[test]
fn priorities() {
    // CVE-2019-9513.
    house().suffers("priorities", &[], |number| {
        frame(PRIORITY, 0, number * 2 + 1, &[0, 0, 0, 0, (number % 256) as u8])
    });
}

#[test]
fn window_updates() {
    // CVE-2019-9511: windows opened by one byte, again and again.
    house().suffers("window_updates", &[], |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn windows_that_open_byte_by_byte() {
    // CVE-2019-9511: each byte of an answer is asked for by itself, and comes in a frame of its own.
    let origin = Origin::script(|request| {
        vec![Step::Send(ok(&"z".repeat(if request.target == "/long" { 100_000 } else { 1 })))]
    });
    let gateway = gateway(ONE_WORKER).with("app", origin.address).start();
    let mut wire = H2Wire::silent(gateway.address);
    let no_window = [0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    wire.send([crate::support::h2_wire::PREFACE, &frame(SETTINGS, 0, 0, &no_window)].concat());
    wire.get(1, "/long", &[]);
    wire.expect(HEADERS);
    let mut bytes = 0;
    while wire.send_perhaps(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])) {
        match wire.frame() {
            Some(frame) if frame.kind == DATA => bytes += frame.payload.len(),
            Some(_) => {}
            None => break,
        }
    }
    assert!(bytes < 20_000, "{bytes}");
    assert_eq!(gateway.metric("ringway_http2_floods_total", &["window_updates"]), 1.0);
    gateway.get("/").expect(200);
}

#[test]
fn updates_of_priorities() {
    // The frames of RFC 9218 are counted with those that they replace.
    house().suffers("priorities", &[], |number| {
        frame(16, 0, 0, &[0, 0, (number / 100) as u8, (number % 100 * 2 + 1) as u8, b'i'])
    });
}

#[test]
fn empty_data() {
    // CVE-2019-9518.
    let head = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "/", &[])));
    house().suffers("empty_frames", &head, |_| frame(DATA, 0, 1, &[]));
}

#[test]
fn empty_continuation() {
    let head = frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/", &[])));
    house().suffers("", &head, |_| frame(CONTINUATION, 0, 1, &[]));
}

#[test]
fn continuation() {
    // CVE-2024-27316: a header block without an end.
    let head = frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/", &[])));
    let long = block(&[("x-long", &"y".repeat(8000))]);
    house().suffers("bounded", &head, |_| frame(CONTINUATION, 0, 1, &long));
}

#[test]
fn unknown_frames() {
    house().suffers("unknown", &[], |_| frame(0x55, 0, 0, b"what"));
}

#[test]
fn tiny_data() {
    // Frames of one byte take a hundred times the room of what they carry. Nobody reads them: their request waits in a line.
    let line = "\n[[route]]\nmatch = \"/line\"\nforward = \"app\"\nconcurrency = { max = 1, queue = 9, wait = \"30s\" }\n";
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |request| {
        if request.target == "/line" {
            held.wait();
        }
        vec![Step::Send(ok("honest"))]
    });
    let mut house = house_of(&format!("{ONE_WORKER}{line}"), origin);
    let mut first = H2Wire::connect(house.gateway.address);
    first.get(1, "/line", &[]);
    house.origin.wait_for(3);
    let head = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "/line", &[])));
    house.suffers("bounded", &head, |_| frame(DATA, 0, 1, b"x").repeat(10));
    gate.open();
    assert_eq!(first.answer(1), Answer::Response(200, b"honest".to_vec()));
}

#[test]
fn small_data_that_is_read_is_no_flood() {
    // As many messages of gRPC, at once.
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.body.len().to_string()))]);
    let gateway = gateway(ONE_WORKER).with("app", origin.address).start();
    let mut wire = H2Wire::connect(gateway.address);
    wire.headers(1, &request("POST", "/", &[]), false);
    // Less than a window, so that nothing has to be waited for.
    wire.send(
        [frame(DATA, 0, 1, b"\0\0\0\0\0").repeat(13_000), frame(DATA, END_STREAM, 1, b"")].concat(),
    );
    assert_eq!(wire.answer(1), Answer::Response(200, b"65000".to_vec()));
}

#[test]
fn hpack_bomb() {
    // CVE-2016-6581: one large field in the table, named thousands of times by a byte each.
    let mut house = house();
    let mut wire = H2Wire::connect(house.gateway.address);
    let mut bomb = block(&request("GET", "/", &[]));
    bomb.push(0x40);
    let value = "v".repeat(3900);
    bomb.extend(&block(&[("x-bomb", &value)])[1..]);
    bomb.extend(vec![0xbe; 12_000]);
    assert!(bomb.len() < 16_384);
    let before = house.gateway.memory_kib();
    wire.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb));
    assert_eq!(wire.farewell(), CALM);
    let grown = house.gateway.memory_kib().saturating_sub(before);
    assert!(grown < 8192, "{grown} KiB for 46 MB of fields");
    assert_eq!(house.gateway.metric("ringway_http2_floods_total", &["bounded"]), 1.0);
    house.is_serving();
}

#[test]
fn a_head_that_is_too_large_is_answered_and_the_connection_goes_on() {
    let mut house = house();
    let mut wire = H2Wire::connect(house.gateway.address);
    let long = "y".repeat(4000);
    let names: Vec<String> = (0..10).map(|number| format!("x-{number}")).collect();
    let more: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
    let fields = block(&request("GET", "/", &more));
    let (first, rest) = fields.split_at(16_000);
    let (second, third) = rest.split_at(16_000);
    wire.send(frame(HEADERS, END_STREAM, 1, first));
    wire.send(frame(CONTINUATION, 0, 1, second));
    wire.send(frame(CONTINUATION, END_HEADERS, 1, third));
    assert!(matches!(wire.answer(1), Answer::Response(431, _)));
    wire.get(3, "/", &[]);
    assert_eq!(wire.answer(3), Answer::Response(200, b"honest".to_vec()));
    house.is_serving();
}

#[test]
fn windows_that_never_open() {
    // CVE-2019-9517 and the like: answers are asked for and never taken.
    let text = format!(
        "[[listen]]\naddress = \"@LISTEN@\"\ntimeout = {{ body = \"1s\" }}\n{}",
        ONE_WORKER.replace("workers = 1\n", "")
    );
    let origin = Origin::script(|_| vec![Step::Send(ok(&"z".repeat(100_000)))]);
    let gateway = gateway(&format!("workers = 1\n{text}")).with("app", origin.address).start();
    let mut wire = H2Wire::silent(gateway.address);
    let no_window = [0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    wire.send([crate::support::h2_wire::PREFACE, &frame(SETTINGS, 0, 0, &no_window)].concat());
    let before = gateway.memory_kib();
    for number in 0..100 {
        wire.get(number * 2 + 1, "/", &[]);
    }
    let mut reset = 0;
    while reset < 100 {
        wire.expect(RST_STREAM);
        reset += 1;
    }
    let grown = gateway.memory_peak_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB for answers that nobody takes");
    assert_eq!(gateway.metric("ringway_http2_floods_total", &["stalled"]), 100.0);
    gateway.get("/").expect(200);
}
