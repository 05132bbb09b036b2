//! PROXY headers, from trusted proxies and to origins.
//!
//! HAProxy is the real sender and the real receiver of PROXY headers in one test each way; elsewhere their
//! bytes are written out, so that a wrong one is as easy to send as a good one.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::edge::{OPTIONAL, REQUIRED, V1, config, connect_from, echoed, forwarding};
use crate::support::gateway::{Folder, Gateway, Port, gateway};
use crate::support::origin::{Origin, Step, ok, read_request};
use crate::support::wire::{Wire, request};
use crate::support::{Gate, eventually};

/// A version 2 header of this command and family.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, block].concat()
}

/// What `V1` says, as version 2.
fn v2_tcp4() -> Vec<u8> {
    v2(0x21, 0x11, &[203, 0, 113, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xbb])
}

fn refused(gateway: &Gateway, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    gateway.metric("ringway_proxy_headers_refused_total", &[&label])
}

#[test]
fn a_header_of_either_version_names_the_client() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    for header in [V1.to_vec(), v2_tcp4()] {
        let mut client = gateway.connect();
        client.send(&header);
        for _ in 0..2 {
            let answer = client.get("/", &[]).expect(200);
            assert_eq!(echoed(&answer, "x-forwarded-for"), "203.0.113.7");
            assert_eq!(echoed(&answer, "x-real-ip"), "203.0.113.7");
            assert_eq!(echoed(&answer, "forwarded"), "for=203.0.113.7;host=\"test\";proto=http");
        }
    }
    for line in gateway.access_log(4) {
        assert_eq!(line["client"], "203.0.113.7");
        assert_eq!(line["proxy"], "127.0.0.1");
        assert!(line.get("peer").is_none(), "{line}");
    }
}

#[test]
fn an_ipv6_client_and_its_tls_are_told() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let ip = |last: u8| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    let addresses = [&ip(1)[..], &ip(2), &[0x9c, 0x40, 0x01, 0xbb]].concat();
    let ssl = [&addresses[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    let mut client = gateway.connect();
    client.send(v2(0x21, 0x21, &ssl));
    let answer = client.get("/", &[]).expect(200);
    assert_eq!(echoed(&answer, "x-forwarded-for"), "2001:db8::1");
    assert_eq!(echoed(&answer, "x-forwarded-proto"), "https");
    assert_eq!(echoed(&answer, "x-forwarded-port"), "443");
}

#[test]
fn a_header_may_be_split_anywhere_and_requests_may_follow_at_once() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let tail = [request("GET", "/1", &[], b""), request("POST", "/2", &[], b"body")].concat();
    for header in [V1.to_vec(), v2_tcp4()] {
        for cut in 1..=header.len() {
            let bytes = [&header[..], &tail].concat();
            let mut client = gateway.connect();
            client.send(&bytes[..cut]);
            client.send(&bytes[cut..]);
            for _ in 0..2 {
                let answer = client.response().expect(200);
                assert_eq!(echoed(&answer, "x-real-ip"), "203.0.113.7", "cut at {cut}");
            }
        }
        let mut client = gateway.connect();
        for byte in header.chunks(1) {
            client.send(byte);
        }
        assert_eq!(echoed(&client.get("/", &[]).expect(200), "x-real-ip"), "203.0.113.7");
    }
    assert_eq!(refused(&gateway, ""), 0.0);
}

#[test]
fn a_connection_that_waits_behind_its_header_holds_no_buffer() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(V1));
    eventually("the headers to be read", || {
        gateway.metric("ringway_connections_open", &[]) == 8.0
            && gateway.metric("ringway_buffers_in_use", &[]) == 0.0
    });
    for client in &mut clients {
        assert_eq!(echoed(&client.get("/", &[]).expect(200), "x-real-ip"), "203.0.113.7");
    }
}

#[test]
fn what_names_nobody_keeps_the_real_peer() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let unix = v2(0x21, 0x31, &[0; 216]);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, b""), v2(0x21, 0, b""), unix] {
        let mut client = gateway.connect();
        client.send(&header);
        let answer = client.get("/", &[]).expect(200);
        assert_eq!(echoed(&answer, "x-forwarded-for"), "127.0.0.1");
    }
    assert!(gateway.access_log(4).iter().all(|line| line.get("proxy").is_none()));
}

#[test]
fn a_bad_header_ends_the_connection_without_an_answer() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let tail = request("GET", "/", &[], b"");
    let bad: &[&[u8]] = &[
        b"PROXY TCP4 203.0.113.07 198.51.100.1 40000 443\r\n",
        b"PROXY TCP4  203.0.113.7 198.51.100.1 40000 443\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\n",
        &v2(0x21, 0x11, b"short"),
        &v2(0x22, 0x11, &[0; 12]),
        &v2(0x21, 0x11, &[[0; 12].to_vec(), b"\x03\0\x04\0\0\0\0".to_vec()].concat()),
    ];
    for header in bad {
        let mut client = gateway.connect();
        client.send_perhaps([header, &tail[..]].concat());
        client.expect_close();
    }
    let mut client = gateway.connect();
    client.send(&V1[..20]);
    client.finish();
    client.expect_close();
    assert_eq!(refused(&gateway, "malformed"), 1.0 + bad.len() as f64);
    let mut client = gateway.connect();
    client.send_perhaps(&tail);
    client.expect_close();
    assert_eq!(refused(&gateway, "missing"), 1.0);
    let told = format!("from 127.0.0.1 to {} was closed because of its PROXY", gateway.address);
    eventually("the event", || gateway.stderr().contains(&told));
    assert!(origin.requests().is_empty());
}

#[test]
fn who_is_not_trusted_cannot_connect_where_all_must_send_one() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let mut stranger = connect_from(9, gateway.address);
    stranger.send_perhaps([V1, &request("GET", "/", &[], b"")].concat());
    stranger.expect_close();
    assert_eq!(refused(&gateway, "untrusted"), 1.0);
    eventually("the event", || gateway.stderr().contains("a connection from 127.0.0.9 to "));
    assert!(origin.requests().is_empty());
}

#[test]
fn an_optional_header_is_taken_from_trusted_peers_only() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, OPTIONAL);
    let mut client = gateway.connect();
    client.send(V1);
    assert_eq!(echoed(&client.get("/", &[]).expect(200), "x-real-ip"), "203.0.113.7");
    // Without one, also where the method begins like a header.
    for method in ["GET", "POST", "PUT", "PROPFIND"] {
        let mut client = gateway.connect();
        client.send(&method.as_bytes()[..1]);
        client.send(&request(method, "/", &[], b"")[1..]);
        assert_eq!(echoed(&client.response().expect(200), "x-real-ip"), "127.0.0.1");
    }
    let seen = origin.requests().len();
    for header in [V1.to_vec(), v2_tcp4()] {
        let mut stranger = connect_from(9, gateway.address);
        stranger.send_perhaps([&header[..], &request("GET", "/", &[], b"")].concat());
        stranger.response().expect_problem(400);
    }
    assert_eq!(origin.requests().len(), seen);
    let mut stranger = connect_from(9, gateway.address);
    assert_eq!(echoed(&stranger.get("/", &[]).expect(200), "x-real-ip"), "127.0.0.9");
}

#[test]
fn a_header_is_a_malformed_request_where_none_is_agreed_on() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, "trusted_proxies = [\"127.0.0.1\"]");
    for header in [V1.to_vec(), v2_tcp4()] {
        let mut client = gateway.connect();
        client.send_perhaps([&header[..], &request("GET", "/", &[], b"")].concat());
        client.response().expect_problem(400);
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_slow_header_ends_with_the_time_of_a_head() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, &format!("{REQUIRED}\ntimeout = {{ head = \"150ms\" }}"));
    let mut client = gateway.connect();
    client.send(&V1[..10]);
    client.expect_close();
    assert_eq!(refused(&gateway, "timeout"), 1.0);
}

#[test]
fn a_reload_holds_for_connections_made_after_it() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, "");
    let mut early = gateway.connect();
    early.get("/", &[]).expect(200);
    let mut idle = gateway.connect();
    eventually("both to be accepted", || gateway.metric("ringway_connections_open", &[]) == 2.0);
    gateway.rewrite(&config(REQUIRED));
    gateway.signal("HUP");
    eventually("the setting on every core", || {
        (0..4).all(|_| {
            let mut client = gateway.connect();
            client.send(V1);
            client.send_perhaps(request("GET", "/", &[], b""));
            client.try_response("GET").is_ok_and(|answer| answer.status == 200)
        })
    });
    assert_eq!(echoed(&early.get("/", &[]).expect(200), "x-real-ip"), "127.0.0.1");
    assert_eq!(echoed(&idle.get("/", &[]).expect(200), "x-real-ip"), "127.0.0.1");
}

#[test]
fn a_drain_waits_for_requests_behind_headers_and_for_no_header() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("late"))]);
    let mut gateway = forwarding(&origin, REQUIRED);
    let mut silent = gateway.connect();
    let mut half = gateway.connect();
    half.send(&V1[..9]);
    let mut client = gateway.connect();
    client.send([V1, &request("GET", "/", &[], b"")].concat());
    origin.wait_for(1);
    gateway.signal("TERM");
    eventually("new connections to be refused", || Wire::try_connect(gateway.address).is_none());
    gate.open();
    assert_eq!(client.response().expect(200).text(), "late");
    assert!(gateway.wait_for_exit().success());
    silent.expect_close();
    half.expect_close();
}

/// An origin whose connections begin with a version 1 line, which it keeps; and all requests by connection.
type Lines = Arc<Mutex<Vec<String>>>;

fn told_origin() -> (Origin, Lines) {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    let origin = Origin::raw(move |mut stream, _| {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => line.push(byte[0]),
                _ => return,
            }
        }
        let line = String::from_utf8(line).unwrap().trim_end().to_string();
        kept.lock().unwrap().push(line.clone());
        let mut rest = Vec::new();
        while let Ok(Some(_)) = read_request(&mut stream, &mut rest) {
            if stream.write_all(&ok(&format!("{line:?}"))).is_err() {
                return;
            }
        }
    });
    (origin, lines)
}

#[test]
fn an_origin_is_told_the_client_and_a_connection_never_serves_another() {
    let (origin, lines) = told_origin();
    let config = "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\n\n\
        [upstream.app]\nendpoints = [\"@app@\"]\nproxy_protocol = \"v1\"\n\n\
        [[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    let gateway = gateway(&format!("workers = 1\n{config}")).with("app", origin.address).start();
    let to = gateway.address;
    let mut first = connect_from(8, to);
    let mut second = connect_from(9, to);
    for _ in 0..3 {
        for client in [&mut first, &mut second] {
            let from = client.stream().local_addr().unwrap();
            let told = client.get("/", &[]).expect(200).text();
            let expected =
                format!("PROXY TCP4 {} {} {} {}", from.ip(), to.ip(), from.port(), to.port());
            assert_eq!(told, format!("{expected:?}"));
        }
    }
    assert_eq!(lines.lock().unwrap().len(), 2, "each client has one connection, used again");
    // One keep-alive connection of a trusted proxy carries several clients: each has its own.
    let mut proxy = gateway.connect();
    for address in ["203.0.113.5", "203.0.113.6", "203.0.113.5", "2001:db8::1"] {
        let told = proxy.get("/", &[("X-Forwarded-For", address)]).expect(200).text();
        let family = if address.contains(':') { "TCP6" } else { "TCP4" };
        assert!(told.starts_with(&format!("\"PROXY {family} {address} ")), "{told}");
    }
    assert_eq!(lines.lock().unwrap().len(), 5);
}

#[test]
fn parts_of_a_merge_speak_for_the_same_client() {
    let (origin, lines) = told_origin();
    let config = "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\nproxy_protocol = \"required\"\n\n\
        [upstream.app]\nendpoints = [\"@app@\"]\nproxy_protocol = \"v1\"\n\n\
        [[route]]\nmatch = \"/\"\n[route.merge]\na = { get = \"app /a\" }\nb = { get = \"app /b\" }\n";
    let gateway = gateway(config).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(V1);
    let answer = client.get("/", &[]).expect(200).json();
    let told = "PROXY TCP4 203.0.113.7 198.51.100.1 40000 443";
    assert_eq!((&answer["a"], &answer["b"]), (&told.into(), &told.into()));
    assert_eq!(lines.lock().unwrap().len(), 2);
    // The same words from another client are another client.
    let mut other = gateway.connect();
    other.send("PROXY TCP4 203.0.113.8 198.51.100.1 40000 443\r\n");
    let answer = other.get("/", &[]).expect(200).json();
    assert_eq!(answer["a"], "PROXY TCP4 203.0.113.8 198.51.100.1 40000 443");
    assert_eq!(lines.lock().unwrap().len(), 4);
}

/// A running HAProxy, killed at the end of its test.
struct Haproxy {
    child: Child,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it with these sections and waits until it accepts on `ports`.
    fn start(sections: &str, ports: &[&Port]) -> Haproxy {
        let folder = Folder::new();
        let path = folder.path().join("haproxy.cfg");
        let head = "global\n  maxconn 100\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n";
        std::fs::write(&path, format!("{head}{sections}")).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&path).stdout(Stdio::null());
        let child = command.spawn().expect("haproxy is installed (tests/run does it)");
        for port in ports {
            let address = SocketAddr::from(([127, 0, 0, 1], port.number));
            eventually("haproxy to accept", || Wire::try_connect(address).is_some());
        }
        Haproxy { child, _folder: folder }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn haproxy_tells_us_the_client_in_both_versions() {
    let origin = Origin::echo();
    let gateway = forwarding(&origin, REQUIRED);
    let ports: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
    let to = gateway.address;
    let mut sections = String::new();
    let senders =
        ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"];
    for (port, sender) in ports.iter().zip(senders) {
        let number = port.number;
        sections.push_str(&format!(
            "frontend f{number}\n  bind 127.0.0.1:{number}\n  unique-id-format %{{+X}}o%ci\n  default_backend b{number}\n\
             backend b{number}\n  server it {to} source 127.0.0.1 {sender}\n"
        ));
    }
    let _haproxy = Haproxy::start(&sections, &ports.iter().collect::<Vec<_>>());
    for port in &ports {
        let through = SocketAddr::from(([127, 0, 0, 1], port.number));
        for last in [8, 9] {
            let mut client = connect_from(last, through);
            let answer = client.get("/", &[]).expect(200);
            assert_eq!(echoed(&answer, "x-real-ip"), format!("127.0.0.{last}"));
        }
    }
    assert_eq!(refused(&gateway, ""), 0.0);
}

#[test]
fn haproxy_understands_whom_we_tell_in_both_versions() {
    for version in ["v1", "v2"] {
        let port = Port::reserve();
        let number = port.number;
        let sections = format!(
            "frontend in\n  bind 127.0.0.1:{number} accept-proxy\n  http-request return status 200 \
             content-type text/plain lf-string \"%[src] %[src_port] %[dst] %[dst_port]\"\n"
        );
        let _haproxy = Haproxy::start(&sections, &[&port]);
        let config = format!(
            "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\n\n[upstream.app]\n\
             endpoints = [\"127.0.0.1:{number}\"]\nproxy_protocol = \"{version}\"\n\n\
             [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
        );
        let gateway = gateway(&config).start();
        let to = gateway.address;
        for last in [8, 9] {
            let mut client = connect_from(last, to);
            let from = client.stream().local_addr().unwrap();
            let expected = format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port());
            for _ in 0..2 {
                assert_eq!(client.get("/", &[]).expect(200).text(), expected, "{version}");
            }
        }
        let told = gateway.get_with("/", &[("X-Forwarded-For", "2001:db8::7")]).expect(200).text();
        // HAProxy shows a port of zero as nothing.
        assert!(told.starts_with("2001:db8::7  "), "{told}");
    }
}
