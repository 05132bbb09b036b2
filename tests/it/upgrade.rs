//! Handshakes: WebSockets and other upgrades, and what must never become a tunnel.
//!
//! Origins are raw sockets that a test holds in its hands, so that both ends of a tunnel are seen at once.

use std::io::{ErrorKind, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::PATIENCE;
use crate::support::gateway::gateway;
use crate::support::origin::{self, Origin, answer, ok};
use crate::support::tunnel::{Ends, FORWARD, KEY, echoes, handshake, read, switched};
use crate::support::wire::request;

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
