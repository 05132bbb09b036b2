//! The edge: PROXY headers in and out, forwarding fields by trust, and whose address is the client's.
//!
//! HAProxy is the real sender and the real receiver of PROXY headers in one test each way; elsewhere their
//! bytes are written out, so that a wrong one is as easy to send as a good one. Clients are told apart by
//! loopback addresses: 127.0.0.1 is a trusted proxy where a test says so, others are strangers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::gateway::{Folder, Gateway, Port, gateway};
use crate::support::origin::{Origin, Step, ok, read_request};
use crate::support::wire::{Response, Wire, request};
use crate::support::{Gate, eventually};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n";

/// A version 2 header of this command and family.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, block].concat()
}

/// What `V1` says, as version 2.
fn v2_tcp4() -> Vec<u8> {
    v2(0x21, 0x11, &[203, 0, 113, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xbb])
}

/// A gateway with these lines in its listener, forwarding everything.
fn forwarding(origin: &Origin, listener: &str) -> Gateway {
    gateway(&config(listener)).with("app", origin.address).start()
}

fn config(listener: &str) -> String {
    format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n{listener}\n\n[upstream.app]\nendpoints = [\"@app@\"]\n\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
    )
}

const REQUIRED: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"required\"";
const OPTIONAL: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"optional\"";

/// A connection from another loopback address than the usual one.
fn connect_from(last: u8, to: SocketAddr) -> Wire {
    Wire::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), to)
}

/// The value of a field in the head that an echoing origin sent back; all of them joined.
fn echoed(response: &Response, name: &str) -> String {
    let text = response.text();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let mine = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    mine.map(|(_, value)| value).collect::<Vec<_>>().join(" | ")
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

#[test]
fn a_stranger_says_nothing_about_itself() {
    let origin = Origin::echo();
    let listener = "trusted_proxies = [\"127.0.0.1\"]\nclient_address = [\"cf-connecting-ip\", \"forwarded\", \"x-forwarded-for\"]";
    let gateway = forwarding(&origin, listener);
    let made_up = [
        ("CF-Connecting-IP", "6.6.6.6"),
        ("Cf_Connecting_Ip", "6.6.6.6"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "6.6.6.6"),
        ("X-Forwarded-Port", "6666"),
        ("X-Forwarded-Prefix", "/6.6.6.6"),
        ("X-Forwarded-Server", "6.6.6.6"),
        ("X_Forwarded_Ssl", "6.6.6.6"),
        ("X-Other", "kept"),
    ];
    let mut stranger = connect_from(9, gateway.address);
    let answer = stranger.get("/", &made_up).expect(200);
    assert!(
        !answer.text().contains("6.6.6.6") && !answer.text().contains("6666"),
        "{}",
        answer.text()
    );
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.9"),
        ("x-real-ip", "127.0.0.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "test"),
        ("x-forwarded-port", "80"),
        ("forwarded", "for=127.0.0.9;host=\"test\";proto=http"),
        ("x-other", "kept"),
    ] {
        assert_eq!(echoed(&answer, name), value, "{name}");
    }
    // The same from a trusted proxy is believed, and only its disguises go.
    let answer = gateway.get_with("/", &made_up).expect(200);
    assert_eq!(echoed(&answer, "cf-connecting-ip"), "6.6.6.6");
    assert_eq!(echoed(&answer, "x-forwarded-for"), "6.6.6.6, 127.0.0.1");
    assert_eq!(echoed(&answer, "x-forwarded-proto"), "https");
    assert_eq!(echoed(&answer, "x-forwarded-port"), "6666");
    assert_eq!(echoed(&answer, "x-real-ip"), "6.6.6.6");
    assert_eq!(echoed(&answer, "x-forwarded-prefix"), "/6.6.6.6");
    assert!(
        !answer.text().contains("_Ip:") && !answer.text().contains("_For:"),
        "{}",
        answer.text()
    );
    let log = gateway.access_log(2);
    assert_eq!((&log[0]["client"], log[0].get("peer")), (&"127.0.0.9".into(), None));
    assert_eq!((&log[1]["client"], &log[1]["peer"]), (&"6.6.6.6".into(), &"127.0.0.1".into()));
}

#[test]
fn the_configured_chain_decides_whose_address_it_is() {
    let xff = ("X-Forwarded-For", "203.0.113.5:567");
    let forwarded = ("Forwarded", "for=\"[2001:db8::5]:80\"");
    let real = ("X-Real-IP", "203.0.113.6");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        ("", &[xff, forwarded, real], "203.0.113.5"),
        ("", &[forwarded, real], "127.0.0.1"),
        ("client_address = []", &[xff, forwarded], "127.0.0.1"),
        ("client_address = [\"forwarded\", \"x-forwarded-for\"]", &[xff, forwarded], "2001:db8::5"),
        ("client_address = [\"forwarded\", \"x-forwarded-for\"]", &[xff], "203.0.113.5"),
        (
            "client_address = [\"forwarded\", \"x-forwarded-for\"]",
            &[xff, ("Forwarded", "for=_hidden")],
            "127.0.0.1",
        ),
        ("client_address = [\"x-real-ip\"]", &[xff, real], "203.0.113.6"),
        ("client_address = [\"x-real-ip\"]", &[("X-Real-IP", "1.1.1.1, 2.2.2.2")], "127.0.0.1"),
        ("client_address = \"true-client-ip\"", &[("True-Client-IP", "::1")], "::1"),
    ];
    for (line, fields, expected) in table {
        let origin = Origin::echo();
        let listener = format!("trusted_proxies = [\"private\"]\n{line}");
        let gateway = forwarding(&origin, &listener);
        let answer = gateway.get_with("/", fields).expect(200);
        assert_eq!(echoed(&answer, "x-real-ip"), *expected, "{line} {fields:?}");
        assert_eq!(gateway.access_log(1)[0]["client"], *expected, "{line} {fields:?}");
    }
}

#[test]
fn behind_a_proxy_header_fields_are_believed_from_whom_it_names() {
    let origin = Origin::echo();
    let listener =
        "trusted_proxies = [\"127.0.0.1\", \"192.0.2.0/24\"]\nproxy_protocol = \"required\"";
    let gateway = forwarding(&origin, listener);
    let asked = |header: &str| {
        let mut client = gateway.connect();
        client.send(header);
        let fields = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https")];
        client.get("/", &fields).expect(200)
    };
    // A content network behind a load balancer: it is trusted, and so is what it says.
    let answer = asked("PROXY TCP4 192.0.2.8 198.51.100.1 1 2\r\n");
    assert_eq!(echoed(&answer, "x-real-ip"), "6.6.6.6");
    assert_eq!(echoed(&answer, "x-forwarded-for"), "6.6.6.6, 192.0.2.8");
    // A client behind a load balancer: that the balancer is trusted gives the client no credit.
    let answer = asked("PROXY TCP4 203.0.113.7 198.51.100.1 1 2\r\n");
    assert_eq!(echoed(&answer, "x-real-ip"), "203.0.113.7");
    assert_eq!(echoed(&answer, "x-forwarded-proto"), "http");
}

#[test]
fn the_chain_can_end_at_the_proxy_header() {
    let origin = Origin::echo();
    let listener = "trusted_proxies = \"private\"\nproxy_protocol = \"optional\"\n\
        client_address = [\"proxy_protocol\", \"x-forwarded-for\"]";
    let gateway = forwarding(&origin, listener);
    let fields = [("X-Forwarded-For", "203.0.113.5")];
    let mut client = gateway.connect();
    client.send("PROXY TCP4 10.1.2.3 10.0.0.1 1 2\r\n");
    assert_eq!(echoed(&client.get("/", &fields).expect(200), "x-real-ip"), "10.1.2.3");
    let answer = gateway.get_with("/", &fields).expect(200);
    assert_eq!(echoed(&answer, "x-real-ip"), "203.0.113.5");
}

#[test]
fn clients_of_one_ipv6_network_share_a_limit_by_network() {
    let gateway = gateway(
        "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\n\
         [limit.it]\nrate = \"1/m\"\nburst = 2\nkey = \"{client.network}\"\n\
         [[route]]\nmatch = \"/\"\nlimit = \"it\"\nrespond = { status = 200 }\n",
    )
    .start();
    let from = |address: &str| gateway.get_with("/", &[("X-Forwarded-For", address)]).status;
    assert_eq!(from("2001:db8:0:1::1"), 200);
    assert_eq!(from("2001:db8:0:1:ffff::2"), 200);
    assert_eq!(from("2001:db8:0:1::3"), 429);
    assert_eq!(from("2001:db8:0:2::1"), 200, "another network");
    assert_eq!((from("203.0.113.1"), from("203.0.113.2"), from("203.0.113.1")), (200, 200, 200));
    assert_eq!(from("203.0.113.1"), 429);
}

#[test]
fn parts_and_templates_see_no_made_up_address() {
    let origin = Origin::script(|request| {
        let seen = format!("{:?}", String::from_utf8_lossy(&request.raw));
        vec![Step::Send(ok(&seen.replace("\\r\\n", " ").replace('\\', "")))]
    });
    let config = "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\n\
        client_address = [\"cf-connecting-ip\"]\n\n[upstream.app]\nendpoints = [\"@app@\"]\n\n\
        [[route]]\nmatch = \"/\"\npass = { headers = [\"cf-connecting-ip\", \"x-forwarded-for\", \"x-other\"] }\n\
        [route.merge]\na = { get = \"app /{header.cf-connecting-ip|nobody}\" }\n";
    let gateway = gateway(config).with("app", origin.address).start();
    let fields =
        [("CF-Connecting-IP", "6.6.6.6"), ("X-Forwarded-For", "6.6.6.6"), ("X-Other", "kept")];
    connect_from(9, gateway.address).get("/", &fields).expect(200);
    let seen = origin.request();
    assert_eq!(seen.target, "/nobody");
    assert_eq!((seen.field("cf-connecting-ip"), seen.field("x-forwarded-for")), (None, None));
    assert_eq!(seen.field("x-other"), Some("kept"));
    gateway.get_with("/", &fields).expect(200);
    assert_eq!(origin.requests()[1].target, "/6.6.6.6");
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
