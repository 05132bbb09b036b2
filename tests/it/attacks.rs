//! What an attacker tried against the gateway and once got away with: one test for each.
//!
//! RFC 9112 §8 and §9.6, RFC 9110 §9.2.2. Each test holds the other side at the very moment that did the
//! harm (half an upload, a reset after the first piece, bytes behind a last request) and then looks at what
//! both sides saw. A truncated message must never pass for a whole one, in either direction.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok, read_request};
use crate::support::wire::{Wire, find, request};
use crate::support::{Gate, PATIENCE, eventually};

const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]
timeout = { first_byte = "300ms" }

[[route]]
match = "/{*rest}"
forward = "app"
"#;

/// How many buffers are in use now.
const BUFFERS: &str = "ringway_buffers_in_use";

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

/// Reads a raw origin's socket until `wanted` has come; false when it ends before.
fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, wanted: &[u8]) -> bool {
    let mut chunk = [0; 4096];
    while find(seen, wanted).is_none() {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => seen.extend_from_slice(&chunk[..count]),
            _ => return false,
        }
    }
    true
}

/// An origin that says `content` to a first GET of a connection and is then sent an upload of
/// `hello` and `world` in two pieces: `half` opens after the first, and what it does in the end is `then`.
fn taking_halves(half: &Gate, then: impl Fn(TcpStream) + Send + Sync + 'static) -> Origin {
    let half = half.clone();
    Origin::raw(move |mut stream, _| {
        let mut seen = Vec::new();
        let Ok(Some(_)) = read_request(&mut stream, &mut seen) else { return };
        let _ = stream.write_all(&ok("content"));
        if !read_until(&mut stream, &mut seen, b"hello") {
            return;
        }
        half.open();
        if read_until(&mut stream, &mut seen, b"world") {
            then(stream);
        }
    })
}

/// One GET that leaves a kept connection to the origin behind, then a PUT in two pieces over it.
fn upload_in_halves(gateway: &Gateway, half: &Gate) -> Wire {
    let mut client = gateway.connect();
    client.get("/1", &[]).expect(200);
    client.send("PUT /2 HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello");
    half.wait();
    client.send("world");
    client
}

#[test]
fn a_put_that_was_streamed_is_not_sent_again_without_its_beginning() {
    let half = Gate::new();
    let origin = taking_halves(&half, drop);
    let gateway = forwarding_to(&origin);
    let mut client = upload_in_halves(&gateway, &half);
    client.response().expect_problem(502);
    assert_eq!(origin.connections(), 1, "the PUT went over the kept connection and nowhere else");
    assert_eq!(gateway.metric("ringway_upstream_retries_total", &[]), 0.0);
}

#[test]
fn an_origin_silent_behind_an_upload_is_a_504_and_everything_is_given_back() {
    let half = Gate::new();
    let (closed, heard) = mpsc::channel();
    let origin = taking_halves(&half, move |mut stream| {
        // Silent until the gateway gives up and closes.
        let _ = closed.send(stream.read(&mut [0]).unwrap_or(0));
    });
    let gateway = forwarding_to(&origin);
    let idle = gateway.metric(BUFFERS, &[]);
    let mut client = upload_in_halves(&gateway, &half);
    client.response().expect_problem(504);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(0), "the upstream connection is closed");
    drop(client);
    eventually("all buffers to be given back", || gateway.metric(BUFFERS, &[]) == idle);
    assert_eq!(gateway.metric("http_server_active_requests", &[]), 0.0);
}

#[test]
fn a_merge_that_lacks_a_value_of_one_part_asks_no_part() {
    let (posted, asked) = (Origin::saying("{}"), Origin::saying("{}"));
    let config = r#"
[upstream.posted]
endpoints = ["@posted@"]

[upstream.asked]
endpoints = ["@asked@"]

[[route]]
match = "GET /both"

[route.merge]
audit = { post = "posted /audit", body = { seen = true } }
found = { get = "asked /find?x={query.x}" }
"#;
    let gateway =
        gateway(config).with("posted", posted.address).with("asked", asked.address).start();
    gateway.get("/both").expect_problem(400);
    assert_eq!((posted.connections(), asked.connections()), (0, 0));
    gateway.get("/both?x=1").expect(200);
    assert_eq!(posted.request().method, "POST");
    assert_eq!(asked.request().target, "/find?x=1");
}

/// An origin that answers with `start` and then, when the gate opens, ends in this way.
fn breaking_off(start: &'static str, gate: &Gate, ending: fn() -> Step) -> Origin {
    let gate = gate.clone();
    Origin::script(move |_| {
        vec![Step::Send(start.as_bytes().to_vec()), Step::Wait(gate.clone()), ending()]
    })
}

#[test]
fn a_reset_is_not_the_end_of_a_body_that_ends_by_closing() {
    let gate = Gate::new();
    let origin = breaking_off("HTTP/1.1 200 OK\r\n\r\nhello", &gate, || Step::Reset);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send(request("GET", "/", &[], b""));
    let head = client.try_head().unwrap();
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    let first = client.read_some(b"5\r\nhello\r\n".len());
    assert_eq!(String::from_utf8_lossy(&first), "5\r\nhello\r\n");
    gate.open();
    let rest = client.until_close();
    assert!(rest.is_empty(), "{:?} after a reset", String::from_utf8_lossy(&rest));
}

#[test]
fn a_client_of_http_1_0_sees_a_reset_when_the_response_was_cut_off() {
    let gate = Gate::new();
    let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = breaking_off(start, &gate, || Step::Close);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    let head = client.try_head().unwrap();
    assert_eq!((head.field("transfer-encoding"), head.field("content-length")), (None, None));
    assert_eq!(client.read_some(5), b"hello");
    gate.open();
    let end = client.stream().read(&mut [0]).expect_err("a clean end would make it look whole");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn bytes_behind_the_last_request_do_not_cut_its_response() {
    let content: Vec<u8> = (0..3_000_000).map(|n: usize| (n % 251) as u8).collect();
    let said = answer(200, &[], &content);
    let origin = Origin::script(move |_| vec![Step::Send(said.clone())]);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    let mut sent = request("GET", "/", &[("Connection", "close")], b"");
    // More than the gateway's own buffer holds: some of it stays in the kernel, unread.
    for _ in 0..4000 {
        sent.extend(request("GET", "/behind", &[], b""));
    }
    let mut half = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || half.write_all(&sent));
    let head = client.try_head().unwrap();
    assert_eq!((head.status, head.field("connection")), (200, Some("close")));
    let mut body = client.take_rest();
    let mut piece = [0; 1024];
    // In small pieces: much of the response is still on its way when the gateway has written its end.
    while body.len() < content.len() {
        let count = client.stream().read(&mut piece).expect("no reset before the whole body");
        assert!(count > 0, "closed after {} bytes", body.len());
        body.extend_from_slice(&piece[..count]);
    }
    assert!(body == content, "{} bytes came", body.len());
    client.expect_close();
    // How much of what nobody asked for the gateway still took is its own affair.
    let _ = sender.join().unwrap();
    assert_eq!(origin.request().target, "/");
}

/// A gateway whose `/fixed` is a 200 of its own and whose `/locked` wants a token; the rest is a 404.
fn answering_itself() -> Gateway {
    let config = r#"
[jwt.key]
secret = "0123456789abcdef0123456789abcdef"

[[route]]
match = "/fixed"
respond = { status = 200, body = "fixed" }

[[route]]
match = "/locked"
jwt = "key"
respond = { status = 200, body = "locked" }
"#;
    gateway(config).start()
}

const OWN_ANSWERS: [(&str, u16); 3] = [("/fixed", 200), ("/nowhere", 404), ("/locked", 401)];

#[test]
fn a_body_that_nobody_reads_does_not_end_the_connection() {
    let gateway = answering_itself();
    for (target, status) in OWN_ANSWERS {
        let mut client = gateway.connect();
        let posted = request("POST", target, &[], b"GET /smuggled HTTP/1.1\r\n\r\n");
        client.send([posted, request("GET", "/fixed", &[], b"")].concat());
        let first = client.response_to("POST").expect(status);
        assert_eq!(first.field("connection"), None, "{target}");
        assert_eq!(client.response().expect(200).text(), "fixed", "behind {target}");
        client.expect_open();
    }
}

#[test]
fn a_body_that_nobody_reads_and_that_is_still_to_come_ends_the_connection() {
    let gateway = answering_itself();
    for (target, status) in OWN_ANSWERS {
        let mut client = gateway.connect();
        client.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n"));
        let response = client.response_to("POST").expect(status);
        assert_eq!(response.field("connection"), Some("close"), "{target}");
        client.finish();
        client.expect_close();
    }
}

#[test]
fn a_refused_reload_names_its_error_and_not_a_warning_before_it() {
    let good = "[[route]]\nmatch = \"/\"\nrespond = { status = 200, body = \"x\" }\n";
    let gateway = gateway(good).start();
    let bad = "[[route]]\nmatch = \"/b\"\nforward = \"nobody\"\n";
    gateway.rewrite(&format!("include = [\"absent/*.toml\"]\n{good}{bad}"));
    gateway.signal("HUP");
    eventually("the refusal", || gateway.stderr().contains("stays in force"));
    let stderr = gateway.stderr();
    let (warning, error) = (stderr.find("warning["), stderr.find("error["));
    assert!(warning.is_some() && warning < error, "the warning comes first: {stderr}");
    let refusal = stderr.lines().find(|line| line.contains("stays in force")).unwrap();
    assert!(refusal.contains("has 1 error,") && refusal.contains("nobody"), "{refusal}");
    assert!(!refusal.contains("absent"), "{refusal}");
}

#[test]
fn a_unix_socket_stops_in_silence_and_leaves_no_file() {
    for _ in 0..5 {
        let config = "[[listen]]\naddress = \"unix:@DIR@/gate.sock\"\n\n\
             [[route]]\nmatch = \"/\"\nrespond = { status = 200, body = \"in\" }\n";
        let mut gateway = gateway(config).start();
        let socket = gateway.folder.path().join("gate.sock");
        let mut client = UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nin"), "{answer}");
        gateway.signal("TERM");
        assert!(gateway.wait_for_exit().success());
        let said = gateway.stderr() + &gateway.stdout();
        assert!(!said.contains("accepting") && !said.contains("fails"), "{said}");
        assert!(!socket.exists(), "the socket file is still there");
    }
}
