//! Leaving HTTP: WebSockets, other upgrades and CONNECT, and what must never become a tunnel.
//!
//! Origins are raw sockets that a test holds in its hands, so that both ends of a tunnel are seen at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{self, Origin, Request, answer, ok, read_request};
use crate::support::tokens::Signer;
use crate::support::wire::{Response, Wire, request};
use crate::support::{PATIENCE, eventually};

/// The sample handshake of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
name = "all"
match = "/{*rest}"
forward = "app"
"#;

/// What a client sends to open a WebSocket, with further fields.
fn handshake(further: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    fields.extend_from_slice(further);
    request("GET", "/chat", &fields, b"")
}

/// What an origin says that agrees.
fn switched(protocol: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
    .into_bytes()
}

/// An origin whose connections are handed to the test once each has sent a whole request.
struct Ends {
    origin: Origin,
    opened: Receiver<(TcpStream, Request, Vec<u8>)>,
}

impl Ends {
    fn new() -> Ends {
        let (sender, opened) = channel();
        let sender = Mutex::new(sender);
        let origin = Origin::raw(move |mut stream, _| {
            let mut rest = Vec::new();
            if let Ok(Some(request)) = read_request(&mut stream, &mut rest) {
                let _ = sender.lock().unwrap().send((stream, request, rest));
            }
        });
        Ends { origin, opened }
    }

    /// The next connection with its request, and what came behind it.
    #[track_caller]
    fn next(&self) -> (TcpStream, Request, Vec<u8>) {
        self.opened.recv_timeout(PATIENCE).expect("a request at the origin")
    }
}

/// A gateway, an origin, and one open WebSocket through them.
struct Opened {
    gateway: Gateway,
    ends: Ends,
    client: Wire,
    origin: TcpStream,
}

#[track_caller]
fn open(text: &str) -> Opened {
    let ends = Ends::new();
    let gateway = gateway(text).with("app", ends.origin.address).start();
    let (client, origin) = open_one(&gateway, &ends);
    Opened { gateway, ends, client, origin }
}

#[track_caller]
fn open_one(gateway: &Gateway, ends: &Ends) -> (Wire, TcpStream) {
    let mut client = gateway.connect();
    client.send(handshake(&[]));
    let (mut origin, _, rest) = ends.next();
    assert!(rest.is_empty(), "sent before the origin agreed: {rest:?}");
    origin.write_all(&switched("websocket")).unwrap();
    assert_eq!(client.try_head().expect("a head").status, 101);
    (client, origin)
}

#[track_caller]
fn read(origin: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    origin.read_exact(&mut bytes).expect("bytes at the origin");
    bytes
}

#[track_caller]
fn expect_end(origin: &mut TcpStream) {
    assert_eq!(origin.read(&mut [0; 16]).expect("an end, not an error"), 0);
}

#[track_caller]
fn expect_reset(stream: &mut TcpStream) {
    let mut sink = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut sink) {
            Ok(count) => assert!(count > 0, "an end in place of a reset"),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[track_caller]
fn echoes(client: &mut Wire, origin: &mut TcpStream) {
    client.send(b"ping");
    assert_eq!(read(origin, 4), b"ping");
    origin.write_all(b"pong").unwrap();
    assert_eq!(client.read_some(4), b"pong");
}

// ---- the handshake -------------------------------------------------------------------------------

#[test]
fn a_websocket_is_opened_with_exactly_the_fields_that_open_one() {
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send(handshake(&[
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Origin", "http://example.com"),
        ("TE", "trailers"),
    ]));
    let (mut origin, seen, _) = ends.next();
    assert_eq!(seen.field("connection"), Some("Upgrade"));
    assert_eq!(seen.field("upgrade"), Some("websocket"));
    assert_eq!(seen.field("sec-websocket-key"), Some(KEY));
    assert_eq!(seen.field("sec-websocket-version"), Some("13"));
    assert_eq!(seen.field("sec-websocket-protocol"), Some("chat, superchat"));
    assert_eq!(seen.field("sec-websocket-extensions"), Some("permessage-deflate"));
    assert_eq!(seen.field("origin"), Some("http://example.com"));
    assert_eq!(seen.field("te"), None);
    origin
        .write_all(
            b"HTTP/1.1 101 Fine\r\nupgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
              Keep-Alive: timeout=5\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\
              Set-Cookie: a=1\r\n\r\n",
        )
        .unwrap();
    let head = client.try_head().expect("a head");
    assert_eq!(head.status, 101);
    assert_eq!(head.field("connection"), Some("Upgrade"));
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("keep-alive"), None);
    assert_eq!(head.field("sec-websocket-accept"), Some("x"));
    assert_eq!(head.field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(head.field("set-cookie"), Some("a=1"));
    assert!(head.field("x-request-id").is_some());
    echoes(&mut client, &mut origin);
}

#[test]
fn a_handshake_in_pieces_is_a_handshake() {
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let bytes = handshake(&[]);
    for at in 1..bytes.len() {
        let mut client = gateway.connect();
        client.send(&bytes[..at]);
        client.send(&bytes[at..]);
        let (mut origin, _, _) = ends.next();
        // The origin's answer comes in two pieces, too.
        let answer = switched("websocket");
        let cut = at % answer.len();
        origin.write_all(&answer[..cut]).unwrap();
        origin.write_all(&answer[cut..]).unwrap();
        assert_eq!(client.try_head().expect("a head").status, 101, "cut at {at}");
        echoes(&mut client, &mut origin);
    }
}

#[test]
fn bytes_behind_the_handshake_wait_for_the_origins_word() {
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send([handshake(&[]), b"early frame".to_vec()].concat());
    let (mut origin, _, rest) = ends.next();
    // The client has the interim answer: the gateway is past everything it had to send.
    origin.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert_eq!(client.try_head().expect("a head").status, 103);
    assert!(rest.is_empty(), "{rest:?}");
    origin.set_nonblocking(true).unwrap();
    let sent = origin.peek(&mut [0; 16]);
    assert!(matches!(&sent, Err(e) if e.kind() == ErrorKind::WouldBlock), "{sent:?}");
    origin.set_nonblocking(false).unwrap();
    // Bytes of the origin behind its head arrive at once.
    origin.write_all(&[switched("websocket"), b"first frame".to_vec()].concat()).unwrap();
    assert_eq!(client.try_head().expect("a head").status, 101);
    assert_eq!(client.read_some(11), b"first frame");
    assert_eq!(read(&mut origin, 11), b"early frame");
}

#[test]
fn a_refused_handshake_is_an_ordinary_answer_and_the_connection_goes_on() {
    let origin = Origin::script(|request| {
        let answer = match request.target.as_str() {
            "/chat" if request.field("sec-websocket-version") == Some("99") => answer(
                426,
                &[
                    ("Sec-WebSocket-Version", "13"),
                    ("Upgrade", "websocket"),
                    ("Connection", "upgrade"),
                ],
                b"which version?",
            ),
            "/chat" if request.field("authorization").is_none() => {
                answer(401, &[("WWW-Authenticate", "Basic")], b"who are you?")
            }
            _ => ok("plain"),
        };
        vec![origin::Step::Send(answer)]
    });
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(request(
        "GET",
        "/chat",
        &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "99")],
        b"",
    ));
    let refused = client.response().expect(426);
    assert_eq!(refused.field("sec-websocket-version"), Some("13"));
    assert_eq!(refused.field("upgrade"), Some("websocket"));
    assert_eq!(refused.field("connection"), Some("Upgrade"));
    assert_eq!(refused.text(), "which version?");
    client.send(handshake(&[]));
    assert_eq!(client.response().expect(401).text(), "who are you?");
    client.send(handshake(&[("Authorization", "Basic x")]));
    let plain = client.response().expect(200);
    assert_eq!(plain.field("upgrade"), None);
    client.get("/later", &[]).expect(200);
    assert_eq!(origin.connections(), 1, "the connection to the origin goes on as well");
}

/// The attack of 2019: the proxy believes in a tunnel that the origin refused, and what follows passes
/// unseen. Here what follows is a request like any other: routed, refused, logged.
#[test]
fn what_follows_a_refused_handshake_is_read_as_http() {
    let origin = Origin::script(|request| {
        let refused = request.field("sec-websocket-version") == Some("777");
        vec![origin::Step::Send(if refused { answer(426, &[], b"") } else { ok("inside") })]
    });
    let text = r#"
[upstream.app]
endpoints = ["@app@"]
[[route]]
match = "/chat"
forward = "app"
[[route]]
match = "/admin"
respond = { status = 403 }
"#;
    let gateway = gateway(text).with("app", origin.address).start();
    let mut client = gateway.connect();
    let smuggled = [
        request(
            "GET",
            "/chat",
            &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Key", KEY),
                ("Sec-WebSocket-Version", "777"),
            ],
            b"",
        ),
        request("GET", "/admin", &[], b""),
    ];
    client.send(smuggled.concat());
    client.response().expect(426);
    client.response().expect(403);
    assert_eq!(origin.requests().len(), 1);
    let log = gateway.access_log(2);
    assert_eq!(log[1]["path"], "/admin");
    assert_eq!(log[0].get("closed_by"), None, "no tunnel");
}

#[test]
fn a_switch_that_nobody_asked_for_is_refused() {
    let plain: &[(&str, &str)] = &[];
    let websocket: &[(&str, &str)] = &[("Upgrade", "websocket"), ("Connection", "Upgrade")];
    let tcp = "HTTP/1.1 101 X\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";
    for (asked, said) in [
        (plain, String::from_utf8(switched("websocket")).unwrap()),
        (websocket, tcp.into()),
        (websocket, "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n".into()),
        (websocket, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n".into()),
        (websocket, "HTTP/1.1 101 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()),
        (websocket, "HTTP/1.0 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into()),
        (
            websocket,
            "HTTP/1.1 101 X\r\nUpgrade: websocket, tcp\r\nConnection: Upgrade\r\n\r\n".into(),
        ),
    ] {
        let origin = Origin::answering(&said);
        let gateway = gateway(FORWARD).with("app", origin.address).start();
        let mut client = gateway.connect();
        client.send(request("GET", "/", asked, b""));
        let refused = client.response().expect_problem(502);
        assert!(refused.field("proxy-status").unwrap().contains("http_protocol_error"), "{said}");
        assert_eq!(gateway.metric("ringway_tunnels_total", &[]), 0.0);
    }
}

// ---- what is not an upgrade ----------------------------------------------------------------------

/// Method, fields, content.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8]);

/// Requests whose Upgrade is ignored: the origin never sees it and answers in HTTP.
#[test]
fn an_upgrade_that_is_not_allowed_is_not_forwarded() {
    let origin = Origin::saying("plain");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let key = ("Sec-WebSocket-Key", KEY);
    let cases: &[Case] = &[
        ("GET", &[("Upgrade", "tcp"), ("Connection", "Upgrade")], b""),
        (
            "GET",
            &[
                ("Upgrade", "h2c"),
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("HTTP2-Settings", "AAMAAABk"),
            ],
            b"",
        ),
        ("POST", &[("Upgrade", "h2c"), ("Connection", "Upgrade")], b"body"),
        ("GET", &[("Upgrade", "websocket, h2c"), ("Connection", "Upgrade"), key], b""),
        ("GET", &[("Upgrade", "h2c, websocket"), ("Connection", "Upgrade"), key], b""),
        ("GET", &[("Upgrade", "websocket"), ("Upgrade", "h2c"), ("Connection", "Upgrade")], b""),
        ("GET", &[("Upgrade", "websocket"), key], b""),
        ("GET", &[("Connection", "Upgrade"), key], b""),
        ("GET", &[("Upgrade", "websocket/13"), ("Connection", "Upgrade"), key], b""),
        ("POST", &[("Upgrade", "websocket"), ("Connection", "Upgrade"), key], b"body"),
        ("OPTIONS", &[("Upgrade", "websocket"), ("Connection", "Upgrade"), key], b""),
        ("HEAD", &[("Upgrade", "websocket"), ("Connection", "Upgrade"), key], b""),
    ];
    let mut client = gateway.connect();
    for (number, (method, fields, body)) in cases.iter().enumerate() {
        client.call(method, "/", fields, body).expect(200);
        let seen = origin.wait_for(number + 1).pop().expect("a request");
        assert_eq!(seen.field("upgrade"), None, "{fields:?}");
        assert_eq!(seen.field("connection"), None, "{fields:?}");
        assert_eq!(seen.field("http2-settings"), None, "{fields:?}");
        assert_eq!(seen.body, *body);
    }
    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    old.response().expect(200);
    assert_eq!(origin.requests().pop().unwrap().field("upgrade"), None);
}

#[test]
fn a_handshake_with_content_is_refused() {
    let origin = Origin::saying("plain");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    for (field, body) in
        [("Content-Length: 4", "abcd"), ("Transfer-Encoding: chunked", "0\r\n\r\n")]
    {
        let mut client = gateway.connect();
        client.send(format!(
            "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{field}\r\n\r\n{body}"
        ));
        client.response().expect_problem(400);
        client.expect_close();
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_route_decides_which_protocols_it_may_be_left_for() {
    let ends = Ends::new();
    let text = r#"
[upstream.app]
endpoints = ["@app@"]
[default]
upgrade = "none"
[[route]]
match = "/closed"
forward = "app"
[[route]]
match = "/exec"
forward = "app"
upgrade = ["tcp", "SPDY/3.1"]
"#;
    let gateway = gateway(text).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send(request(
        "GET",
        "/closed",
        &[("Upgrade", "websocket"), ("Connection", "Upgrade")],
        b"",
    ));
    let (mut origin, seen, _) = ends.next();
    assert_eq!(seen.field("upgrade"), None);
    origin.write_all(&answer(200, &[("Connection", "close")], b"")).unwrap();
    client.response().expect(200);

    // As `docker exec` does it: POST with content, then a raw stream.
    client.send(request(
        "POST",
        "/exec",
        &[("Upgrade", "spdy/3.1"), ("Connection", "Upgrade")],
        b"{}",
    ));
    let (mut origin, seen, _) = ends.next();
    assert_eq!((seen.field("upgrade"), seen.body.as_slice()), (Some("SPDY/3.1"), &b"{}"[..]));
    origin.write_all(&switched("SPDY/3.1")).unwrap();
    assert_eq!(client.try_head().expect("a head").field("upgrade"), Some("SPDY/3.1"));
    echoes(&mut client, &mut origin);
    drop((client, origin));
    assert_eq!(gateway.access_log(2)[1]["upgrade"], "SPDY/3.1");
}

/// RFC 9110 §7.8: the new protocol begins when the request is whole, and not before.
#[test]
fn an_origin_that_switches_before_the_request_is_whole_is_refused() {
    let (sender, opened) = channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |stream, _| {
        let _ = sender.lock().unwrap().send(stream);
    });
    let text = FORWARD.replace("forward = \"app\"", "forward = \"app\"\nupgrade = \"tcp\"");
    let gateway = gateway(&text).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 9\r\n\r\nfour",
    );
    let mut stream = opened.recv_timeout(PATIENCE).expect("a connection");
    let mut seen = Vec::new();
    while !seen.ends_with(b"four") {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..count]);
    }
    stream.write_all(&switched("tcp")).unwrap();
    client.response().expect_problem(502);
}

// ---- how a tunnel ends ---------------------------------------------------------------------------

#[test]
fn the_clients_half_close_is_carried_over_and_the_origin_goes_on() {
    let Opened { gateway, mut client, mut origin, .. } = open(FORWARD);
    client.send(b"last words");
    client.finish();
    assert_eq!(read(&mut origin, 10), b"last words");
    expect_end(&mut origin);
    origin.write_all(b"and mine").unwrap();
    assert_eq!(client.read_some(8), b"and mine");
    drop(origin);
    client.expect_close();
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["closed_by"], "downstream");
    assert_eq!(line.get("fault"), None, "{line}");
}

#[test]
fn the_origins_half_close_is_carried_over_and_the_client_goes_on() {
    let Opened { gateway, mut client, mut origin, .. } = open(FORWARD);
    origin.write_all(b"last words").unwrap();
    origin.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_some(10), b"last words");
    client.expect_close();
    client.send(b"and mine");
    assert_eq!(read(&mut origin, 8), b"and mine");
    client.finish();
    expect_end(&mut origin);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["closed_by"], "upstream");
    assert_eq!(line.get("fault"), None, "{line}");
}

#[test]
fn a_reset_is_carried_over_as_a_reset() {
    let Opened { gateway, mut client, mut origin, ends } = open(FORWARD);
    origin::reset(client.stream());
    drop(client);
    expect_reset(&mut origin);
    let (mut client, origin) = open_one(&gateway, &ends);
    origin::reset(&origin);
    drop(origin);
    expect_reset(client.stream());
    let log = gateway.access_log(2);
    assert_eq!(
        (&log[0]["fault"], &log[0]["fault_side"]),
        (&json!("client_gone"), &json!("downstream"))
    );
    assert_eq!(
        (&log[1]["fault"], &log[1]["fault_side"]),
        (&json!("connection_terminated"), &json!("upstream"))
    );
}

/// An origin that says its last words and closes while the client still speaks: the words arrive.
#[test]
fn last_words_arrive_although_the_client_goes_on_speaking() {
    let Opened { gateway, mut client, mut origin, .. } = open(FORWARD);
    let words = vec![b'w'; 1000];
    origin.write_all(&words).unwrap();
    drop(origin);
    for _ in 0..50 {
        client.send_perhaps(vec![b'c'; 1000]);
    }
    assert_eq!(client.until_close().len(), words.len());
    assert_eq!(gateway.access_log(1)[0]["closed_by"], "upstream");
}

fn idle_after(millis: u64) -> String {
    format!("{FORWARD}timeout = {{ total = \"10s\", tunnel_idle = \"{millis}ms\" }}\n")
}

#[test]
fn silence_in_both_directions_ends_a_tunnel() {
    let Opened { gateway, mut client, mut origin, .. } = open(&idle_after(100));
    echoes(&mut client, &mut origin);
    client.expect_close();
    expect_end(&mut origin);
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["fault"]), (&json!(101), &json!("tunnel_idle")));
    assert_eq!((&line["fault_side"], &line["closed_by"]), (&json!("gateway"), &json!("gateway")));
}

#[test]
fn a_tunnel_in_which_only_one_side_speaks_is_alive_and_the_total_does_not_end_it() {
    let text = format!("{FORWARD}timeout = {{ total = \"1s\", tunnel_idle = \"1s\" }}\n");
    for origin_speaks in [true, false] {
        let Opened { gateway: _gateway, mut client, mut origin, .. } = open(&text);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            if origin_speaks {
                origin.write_all(b".").unwrap();
                assert_eq!(client.read_some(1), b".");
            } else {
                client.send(b".");
                assert_eq!(read(&mut origin, 1), b".");
            }
        }
        echoes(&mut client, &mut origin);
    }
}

#[test]
fn a_receiver_that_takes_nothing_ends_a_tunnel_however_busy_the_other_direction_is() {
    let Opened { gateway, mut client, mut origin, .. } = open(&idle_after(300));
    let mut writer = origin.try_clone().unwrap();
    // The origin fills every buffer on the way; the client reads nothing and goes on speaking.
    let filling = std::thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
    let reading =
        std::thread::spawn(move || while origin.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
    while client.stream().write_all(b".").is_ok() {}
    filling.join().unwrap();
    reading.join().unwrap();
    let line = gateway.access_log(1).remove(0);
    assert_eq!(
        (&line["fault"], &line["fault_side"]),
        (&json!("tunnel_idle"), &json!("downstream"))
    );
}

#[test]
fn bytes_that_a_receiver_does_not_take_are_its_fault_and_no_silence() {
    for client_speaks in [true, false] {
        let Opened { gateway, mut client, origin, .. } = open(&idle_after(300));
        // One side fills every buffer on the way and the other says nothing at all.
        let (mut writer, side) = match client_speaks {
            true => (client.stream().try_clone().unwrap(), "upstream"),
            false => (origin.try_clone().unwrap(), "downstream"),
        };
        while writer.write_all(&[b'x'; 65536]).is_ok() {}
        let line = gateway.access_log(1).remove(0);
        assert_eq!((&line["fault"], &line["fault_side"]), (&json!("tunnel_idle"), &json!(side)));
    }
}

// ---- what it carries -----------------------------------------------------------------------------

#[test]
fn much_passes_both_ways_at_once_and_slow_readers_cost_one_buffer_each() {
    const BYTES: usize = 16 * 1024 * 1024;
    let Opened { gateway, client, origin, .. } = open(FORWARD);
    let mut client = client;
    let pattern = |from: u8| (0..BYTES).map(move |at| (at % 251) as u8 ^ from).collect::<Vec<u8>>();
    let (up, down) = (pattern(0), pattern(0xff));
    let spawn_write = |stream: TcpStream, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            (&stream).write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let client_writes = spawn_write(client.stream().try_clone().unwrap(), up.clone());
    let origin_writes = spawn_write(origin.try_clone().unwrap(), down.clone());
    // Nobody reads: both directions stand still, each with at most one buffer.
    eventually("both directions to hold their buffer", || {
        gateway.metric("ringway_buffers_in_use", &[]) >= 2.0
    });
    assert!(gateway.metric("ringway_buffers_in_use", &[]) <= 2.0);
    let mut origin = origin;
    let reads = std::thread::spawn(move || {
        let mut all = Vec::new();
        origin.read_to_end(&mut all).unwrap();
        all
    });
    let mut received = client.take_rest();
    client.stream().read_to_end(&mut received).unwrap();
    assert!(received == down, "what came down differs");
    assert!(reads.join().unwrap() == up, "what went up differs");
    client_writes.join().unwrap();
    origin_writes.join().unwrap();
    let line = gateway.access_log(1).remove(0);
    assert!(line["bytes_in"].as_u64() > Some(BYTES as u64), "{line}");
    assert!(line["bytes_out"].as_u64() > Some(BYTES as u64), "{line}");
    assert_eq!(gateway.metric("ringway_tunnel_bytes_total", &["=\"in\""]), BYTES as f64);
    assert_eq!(gateway.metric("ringway_tunnel_bytes_total", &["=\"out\""]), BYTES as f64);
}

#[test]
fn many_quiet_tunnels_hold_no_buffers() {
    const TUNNELS: usize = 300;
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let mut open: Vec<_> = (0..TUNNELS).map(|_| open_one(&gateway, &ends)).collect();
    assert_eq!(gateway.metric("ringway_tunnels_open", &[]), TUNNELS as f64);
    eventually("every buffer to be given back", || {
        gateway.metric("ringway_buffers_in_use", &[]) == 0.0
    });
    for (client, origin) in &mut open {
        echoes(client, origin);
    }
    drop(open);
    eventually("every tunnel to end", || gateway.metric("ringway_tunnels_open", &[]) == 0.0);
    assert_eq!(gateway.metric("ringway_tunnels_total", &[]), TUNNELS as f64);
}

#[test]
fn a_tunnel_is_logged_when_it_is_over_and_its_connections_are_never_used_again() {
    let Opened { gateway, mut client, mut origin, ends } = open(FORWARD);
    echoes(&mut client, &mut origin);
    assert_eq!(gateway.metric("http_server_active_requests", &[]), 1.0);
    client.finish();
    expect_end(&mut origin);
    drop(origin);
    client.expect_close();
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["route"]), (&json!(101), &json!("all")));
    assert_eq!((&line["method"], &line["path"]), (&json!("GET"), &json!("/chat")));
    assert_eq!((&line["upgrade"], &line["closed_by"]), (&json!("websocket"), &json!("downstream")));
    let bytes = |name: &str| line[name].as_u64().unwrap();
    assert_eq!(bytes("bytes_in"), handshake(&[]).len() as u64 + 4);
    assert!(bytes("bytes_out") > 100);
    assert_eq!(line["attempts"][0]["status"], 101);
    let labels = ["http_response_status_code=\"101\""];
    assert_eq!(gateway.metric("http_server_request_duration_seconds_count", &labels), 1.0);
    assert_eq!(gateway.metric("http_server_active_requests", &[]), 0.0);
    // The next request dials.
    let mut next = gateway.connect();
    next.send(request("GET", "/", &[], b""));
    let (mut origin, _, _) = ends.next();
    origin.write_all(&ok("new")).unwrap();
    next.response().expect(200);
    assert_eq!(ends.origin.connections(), 2);
}

// ---- policies, reload, drain ---------------------------------------------------------------------

#[test]
fn a_handshake_passes_the_policies_of_its_route() {
    let ends = Ends::new();
    let text = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
issuer = "https://idp.test"
audience = "dashboard"
[limit.handshakes]
rate = "1/m"
burst = 2
key = "all"
[[route]]
match = "/chat"
forward = "app"
jwt = "idp"
limit = "handshakes"
"#;
    let gateway = gateway(text).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send(handshake(&[]));
    client.response().expect_problem(401);
    let signer = Signer::hs256("k", "0123456789abcdef0123456789abcdef");
    let token = format!("Bearer {}", signer.sign(&crate::support::tokens::claims("42")));
    client.send(handshake(&[("Authorization", &token)]));
    let (mut origin, _, _) = ends.next();
    origin.write_all(&switched("websocket")).unwrap();
    assert_eq!(client.try_head().expect("a head").status, 101);
    echoes(&mut client, &mut origin);
    let mut second = gateway.connect();
    second.send(handshake(&[("Authorization", &token)]));
    second.response().expect_problem(429);
}

#[test]
fn a_reload_leaves_tunnels_alone() {
    let Opened { gateway, mut client, mut origin, ends } = open(FORWARD);
    gateway.rewrite("[[route]]\nmatch = \"/\"\nrespond = { body = \"new\" }\n");
    gateway.signal("HUP");
    eventually("the new version", || gateway.metric("ringway_config_version", &[]) >= 2.0);
    assert_eq!(gateway.get("/").text(), "new");
    assert_eq!(gateway.get("/chat").status, 404);
    echoes(&mut client, &mut origin);
    drop(ends);
    client.finish();
    expect_end(&mut origin);
    drop(origin);
    client.expect_close();
    eventually("the tunnel's line, with its route's old name", || {
        let log = gateway.access_log(1);
        log.iter().any(|line| line["route"] == "all" && line["status"] == 101)
    });
}

#[test]
fn a_drain_leaves_tunnels_alone_until_its_deadline_and_then_records_them() {
    let text = format!("drain_timeout = \"1s\"\n{FORWARD}");
    let Opened { mut gateway, mut client, mut origin, .. } = open(&text);
    gateway.signal("TERM");
    eventually("new connections to be refused", || Wire::try_connect(gateway.address).is_none());
    echoes(&mut client, &mut origin);
    client.expect_close();
    expect_end(&mut origin);
    assert!(gateway.wait_for_exit().success());
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["fault"]), (&json!(101), &json!("gateway_stopping")));
}

#[test]
fn a_drain_ends_when_the_last_tunnel_does() {
    let text = format!("drain_timeout = \"1h\"\n{FORWARD}");
    let Opened { mut gateway, mut client, mut origin, .. } = open(&text);
    gateway.signal("TERM");
    eventually("new connections to be refused", || Wire::try_connect(gateway.address).is_none());
    echoes(&mut client, &mut origin);
    drop((client, origin));
    assert!(gateway.wait_for_exit().success());
}

// ---- CONNECT -------------------------------------------------------------------------------------

fn connect(authority: &str) -> String {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

#[track_caller]
fn refused_connect(mut client: Wire, bytes: &str, status: u16) -> Response {
    client.send(bytes);
    let refused = client.response().expect_problem(status);
    client.expect_close();
    refused
}

#[test]
fn connect_is_refused_unless_a_route_names_it() {
    let origin = Origin::saying("plain");
    let text = format!(
        "{FORWARD}[[route]]\nmatch = \"CONNECT db.test/\"\nforward = \"app\"\nname = \"db\"\n"
    );
    for text in [FORWARD, &text] {
        let gateway = gateway(text).with("app", origin.address).start();
        for authority in ["other.test:443", "127.0.0.1:22", "[::1]:80"] {
            refused_connect(gateway.connect(), &connect(authority), 501);
        }
    }
    assert!(origin.requests().is_empty());
    assert_eq!(origin.connections(), 0);
}

#[test]
fn connect_tunnels_to_the_routes_upstream_and_nowhere_else() {
    let (_port, refusing) = Origin::refusing();
    let (sender, opened) = channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |stream, _| {
        let _ = sender.lock().unwrap().send(stream);
    });
    let text = r#"
[upstream.db]
endpoints = ["@refusing@", "@db@"]
[[route]]
match = "CONNECT db.test/"
forward = "db"
"#;
    let gateway = gateway(text).with("db", origin.address).with("refusing", refusing).start();
    for _ in 0..2 {
        let mut client = gateway.connect();
        client.send(format!("{}early", connect("db.test:5432")));
        let mut stream = opened.recv_timeout(PATIENCE).expect("a connection");
        let head = client.try_head().expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(head.field("content-length").or(head.field("transfer-encoding")), None);
        assert_eq!(read(&mut stream, 5), b"early");
        echoes(&mut client, &mut stream);
        client.finish();
        expect_end(&mut stream);
    }
    let line = gateway.access_log(2).remove(0);
    assert_eq!((&line["method"], &line["host"]), (&json!("CONNECT"), &json!("db.test:5432")));
    assert_eq!((&line["status"], &line["closed_by"]), (&json!(200), &json!("downstream")));
    let with_content =
        "CONNECT db.test:1 HTTP/1.1\r\nHost: db.test:1\r\nContent-Length: 1\r\n\r\nx";
    refused_connect(gateway.connect(), with_content, 400);
}

/// Whoever speaks through a tunnel may speak before it opens; refused, its words are nobody's request.
#[test]
fn what_follows_a_refused_connect_is_never_read_as_http() {
    let (_port, refusing) = Origin::refusing();
    let origin = Origin::saying("plain");
    let text = format!(
        "{FORWARD}[jwt.idp]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
         [upstream.db]\nendpoints = [\"@refusing@\"]\n\
         [[route]]\nmatch = \"CONNECT db.test/\"\nforward = \"db\"\nname = \"db\"\n\
         [[route]]\nmatch = \"CONNECT shut.test/\"\nforward = \"db\"\nname = \"shut\"\njwt = \"idp\"\n"
    );
    let gateway = gateway(&text).with("app", origin.address).with("refusing", refusing).start();
    let smuggled = String::from_utf8(request("GET", "/smuggled", &[], b"")).expect("ASCII");
    for (authority, status) in [("db.test:1", 502), ("shut.test:1", 401), ("other.test:1", 501)] {
        refused_connect(gateway.connect(), &(connect(authority) + &smuggled), status);
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_client_that_is_gone_when_the_origin_switches_has_closed_the_tunnel() {
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send(handshake(&[]));
    let (mut stream, ..) = ends.next();
    origin::reset(client.stream());
    drop(client);
    stream.write_all(&switched("websocket")).unwrap();
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["fault"], &line["closed_by"]), (&json!("client_gone"), &json!("downstream")));
}
