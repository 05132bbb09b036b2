//! TLS towards clients: certificates by name, versions, tickets, client certificates, what is no TLS, reloads.
//!
//! The other side is `openssl` and `curl`, never our own code. No test waits for a length of time.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::certs::Authority;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Setup, gateway};
use crate::support::origin::Origin;

/// A listener with these lines of `tls`, and everything to an origin.
fn config(tls: &str) -> String {
    format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n[listen.tls]\n{tls}\n\n[upstream.app]\nendpoints = [\"@app@\"]\n\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
    )
}

fn setup(tls: &str, authority: &Authority, origin: &Origin) -> Setup {
    gateway(&config(tls)).with("app", origin.address).with("C", authority.folder())
}

/// One certificate for `a.test`.
const ONE: &str = "certificates = [{ cert = \"@C@/a.pem\", key = \"@C@/a.key\" }]";

fn get(authority: &Authority, gateway: &Gateway, host: &str, more: &str) -> (bool, String) {
    let port = gateway.address.port();
    authority.curl(&format!("--resolve {host}:{port}:127.0.0.1 {more} https://{host}:{port}/hello"))
}

fn a_test() -> Authority {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    authority
}

#[test]
fn a_request_over_tls_reaches_the_origin_and_says_so() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let gateway = setup(ONE, &authority, &origin).start();
    for version in ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"] {
        let (good, text) = get(&authority, &gateway, "a.test", version);
        assert!(good && text == "x", "{version}: {text}");
    }
    let requests = origin.wait_for(2);
    for request in requests {
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let authority = a_test();
    let origin = Origin::echo();
    let gateway = setup(ONE, &authority, &origin).start();
    let body: String = (0..300_000).map(|number| format!("{number:07}\n")).collect();
    std::fs::write(authority.path("body"), &body).unwrap();
    let (good, text) =
        get(&authority, &gateway, "a.test", "--data-binary @body -H Expect: -o answer");
    assert!(good, "{text}");
    let sent = origin.request();
    assert!(sent.body == body.as_bytes(), "{} of {} bytes", sent.body.len(), body.len());
    let large = Origin::saying(&body);
    let gateway = setup(ONE, &authority, &large).start();
    let (good, text) = get(&authority, &gateway, "a.test", "");
    assert!(good && text == body, "{} of {} bytes", text.len(), body.len());
}

#[test]
fn a_name_gets_its_certificate_and_a_key_that_the_client_can_check() {
    let authority = a_test();
    authority.server("w", "DNS:*.w.test").server("deep", "DNS:deep.w.test");
    authority.server_rsa("r", "DNS:a.test");
    let origin = Origin::saying("x");
    let tls = "certificates = [{ cert = \"@C@/r.pem\", key = \"@C@/r.key\" }, \
               { cert = \"@C@/a.pem\", key = \"@C@/a.key\" }, \
               { cert = \"@C@/w.pem\", key = \"@C@/w.key\" }, \
               { cert = \"@C@/deep.pem\", key = \"@C@/deep.key\" }]";
    let gateway = setup(tls, &authority, &origin).start();
    let shown = |name: &str, more: &str| {
        let name =
            if name.is_empty() { "-noservername".into() } else { format!("-servername {name}") };
        let (_, text) =
            authority.s_client(&format!("-connect {} {name} {more}", gateway.address), "");
        let line =
            |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or("").to_owned();
        (line("subject="), line("Peer signature type"), text)
    };
    for (name, more, subject, signature) in [
        ("a.test", "", "a.test", "ECDSA"),
        ("A.TEST", "", "a.test", "ECDSA"),
        ("a.test", "-sigalgs RSA-PSS+SHA256:RSA+SHA256", "a.test", "RSA"),
        ("a.test", "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "a.test", "RSA"),
        ("x.w.test", "", "any.w.test", "ECDSA"),
        ("deep.w.test", "", "deep.w.test", "ECDSA"),
        ("x.y.w.test", "", "a.test", "ECDSA"),
        ("other.test", "", "a.test", "ECDSA"),
        ("", "", "a.test", "ECDSA"),
    ] {
        let (found, how, text) = shown(name, more);
        assert!(found.contains(&format!("CN = {subject}")), "{name} {more}: {text}");
        assert!(how.contains(signature), "{name} {more}: {how}");
    }
}

#[test]
fn an_unknown_name_is_refused_where_that_is_asked_for() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let tls = format!("{ONE}\nunknown_name = \"refuse\"");
    let gateway = setup(&tls, &authority, &origin).start();
    let ask = |name: &str| authority.s_client(&format!("-connect {} {name}", gateway.address), "");
    assert!(ask("-servername a.test").0);
    assert!(ask("-noservername").0, "who names nobody gets the first");
    let (good, text) = ask("-servername b.test");
    assert!(!good && text.contains("alert"), "{text}");
}

#[test]
fn versions_and_suites_are_those_that_are_asked_for() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let tls = format!("{ONE}\nmin_version = \"1.3\"\nsuites = [\"TLS_AES_128_GCM_SHA256\"]");
    let strict = setup(&tls, &authority, &origin).start();
    let plain = setup(ONE, &authority, &origin).start();
    let ask = |gateway: &Gateway, how: &str| {
        let how = format!("-connect {} -servername a.test {how}", gateway.address);
        authority.s_client(&how, "")
    };
    let (good, text) = ask(&strict, "-tls1_3");
    assert!(good && text.contains("TLS_AES_128_GCM_SHA256"), "{text}");
    let (good, text) = ask(&strict, "-tls1_2");
    assert!(!good && text.contains("alert protocol version"), "{text}");
    assert!(!ask(&strict, "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384").0);
    assert!(ask(&plain, "-tls1_2").0);
    for old in ["-tls1_1 -cipher DEFAULT@SECLEVEL=0", "-tls1 -cipher DEFAULT@SECLEVEL=0"] {
        let (good, text) = ask(&plain, old);
        assert!(!good, "{old}: {text}");
    }
    for (offered, chosen) in
        [("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1")]
    {
        let (good, text) = ask(&plain, &format!("-alpn {offered}"));
        assert!(good && text.contains(&format!("ALPN protocol: {chosen}\n")), "{text}");
    }
    let (good, text) = ask(&plain, "-alpn spdy/3");
    assert!(!good && text.contains("no application protocol"), "{text}");
}

#[test]
fn sessions_are_taken_up_again_on_every_core_and_after_a_reload() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let gateway = setup(ONE, &authority, &origin).start();
    let ask = |how: &str| {
        let how = format!("-connect {} -servername a.test {how} -ign_eof", gateway.address);
        let request = "GET /hello HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        authority.s_client(&how, request).1
    };
    for (version, file) in [("-tls1_3", "s13"), ("-tls1_2", "s12")] {
        let text = ask(&format!("{version} -sess_out {file}"));
        assert!(text.contains("New, TLS"), "{text}");
        for _ in 0..4 {
            let text = ask(&format!("{version} -sess_in {file}"));
            assert!(text.contains("Reused, TLS"), "{text}");
        }
    }
    gateway.signal("HUP");
    eventually("the reload", || gateway.stderr().contains("configuration 2 is in force"));
    for (version, file) in [("-tls1_3", "s13"), ("-tls1_2", "s12")] {
        let text = ask(&format!("{version} -sess_in {file}"));
        assert!(text.contains("Reused, TLS"), "after a reload: {text}");
    }
    // Without tickets the session stays with us.
    let text = ask("-tls1_2 -no_ticket -sess_out id");
    assert!(text.contains("New, TLS"), "{text}");
    assert!(ask("-tls1_2 -no_ticket -sess_in id").contains("Reused, TLS"));
    let resumed = gateway.metric("ringway_tls_handshakes_total", &["result=\"resumed\""]);
    assert!((resumed - 11.0).abs() < 0.5, "{resumed}");
}

#[test]
fn a_ticket_of_one_listener_is_no_proof_at_another_that_asks_for_certificates() {
    let authority = a_test();
    let origin = Origin::saying("x");
    let open = crate::support::gateway::Port::reserve();
    let text = config(&format!(
        "{ONE}\nclient = {{ roots = \"@C@/root.pem\" }}\n\n[[listen]]\naddress = \"127.0.0.1:{}\"\n\
         [listen.tls]\n{ONE}",
        open.number
    ));
    let gateway = gateway(&text).with("app", origin.address).with("C", authority.folder()).start();
    let request = "GET /hello HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let ask = |address: &str, how: &str| {
        authority
            .s_client(&format!("-connect {address} -servername a.test {how} -ign_eof"), request)
    };
    let open = format!("127.0.0.1:{}", open.number);
    assert!(ask(&open, "-sess_out ticket").1.contains("HTTP/1.1 200"));
    assert!(ask(&open, "-sess_in ticket").1.contains("Reused, TLS"));
    let (_, text) = ask(&gateway.address.to_string(), "-sess_in ticket");
    assert!(!text.contains("HTTP/1.1 200") && !text.contains("Reused, TLS"), "{text}");
}

#[test]
fn clients_prove_who_they_are_where_they_must() {
    let authority = a_test();
    authority.server("c", "DNS:client.test,URI:spiffe://test/c");
    let stranger = Authority::new();
    stranger.server("s", "DNS:client.test");
    for (from, to) in [("s.pem", "stranger.pem"), ("s.key", "stranger.key")] {
        std::fs::copy(stranger.path(from), authority.path(to)).unwrap();
    }
    let origin = Origin::saying("x");
    let required =
        setup(&format!("{ONE}\nclient = {{ roots = \"@C@/root.pem\" }}"), &authority, &origin)
            .start();
    let optional = setup(
        &format!("{ONE}\nclient = {{ roots = \"@C@/root.pem\", mode = \"optional\" }}"),
        &authority,
        &origin,
    )
    .start();
    let own = "--cert c.pem --key c.key";
    let strange = "--cert stranger.pem --key stranger.key";
    assert!(get(&authority, &required, "a.test", own).0);
    assert!(!get(&authority, &required, "a.test", "").0, "none");
    assert!(!get(&authority, &required, "a.test", strange).0, "one of a stranger");
    assert!(get(&authority, &optional, "a.test", "").0);
    assert!(get(&authority, &optional, "a.test", own).0);
    assert!(!get(&authority, &optional, "a.test", strange).0, "one of a stranger");
    assert_eq!(origin.requests().len(), 3, "nobody else came through");
}

#[test]
fn plain_http_gets_an_answer_that_says_so() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let gateway = setup(ONE, &authority, &origin).start();
    let answer = gateway.get("/hello").expect(400);
    assert!(answer.text().contains("https only"), "{}", answer.text());
    assert_eq!(gateway.access_log(1)[0]["reason"], "plain_http");
    assert!(origin.requests().is_empty());
    assert!(get(&authority, &gateway, "a.test", "").0, "others are served");
}

#[test]
fn a_listener_without_tls_sends_everybody_to_https() {
    let gateway = gateway(
        "[[listen]]\naddress = \"@LISTEN@\"\nredirect = \"https\"\n[[route]]\nmatch = \"/\"\n\
         respond = { status = 200, body = \"x\" }\n",
    )
    .start();
    let mut client = gateway.connect();
    for (target, host, location) in [
        ("/a%20b?c=d", "a.test", "https://a.test/a%20b?c=d"),
        ("/", "a.test:8080", "https://a.test/"),
        ("/x", "[::1]:80", "https://[::1]/x"),
        ("http://b.test:81/y", "b.test:81", "https://b.test/y"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.response().expect(308);
        assert_eq!(answer.field("location"), Some(location));
    }
}

/// Sends bytes to the gateway and reads until it closes.
fn told(gateway: &Gateway, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut all);
    all
}

#[test]
fn garbage_ends_in_an_alert_and_slowness_in_a_close() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let text =
        config(ONE).replace("[listen.tls]", "timeout = { handshake = \"100ms\" }\n[listen.tls]");
    let gateway = gateway(&text).with("app", origin.address).with("C", authority.folder()).start();
    const ALERT: u8 = 21;
    for garbage in [
        &b"\x16\x03\x03\xff\xff0123456789"[..],
        b"\x16GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    ] {
        let answer = told(&gateway, garbage);
        assert_eq!(answer.first(), Some(&ALERT), "{garbage:?}: {answer:?}");
    }
    // The rest never comes.
    assert!(told(&gateway, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").is_empty());
    let late = gateway.metric("ringway_tls_handshakes_total", &["result=\"timeout\""]);
    assert!((late - 1.0).abs() < 0.5, "{late}");
    assert!(get(&authority, &gateway, "a.test", "").0, "others are served");
}

#[test]
fn renegotiation_is_refused() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let gateway = setup(ONE, &authority, &origin).start();
    let how = format!("-connect {} -servername a.test -tls1_2", gateway.address);
    let (_, text) = authority.s_client(&how, "R\n");
    assert!(!text.contains("read R BLOCK"), "{text}");
    assert!(text.to_lowercase().contains("renegotiation"), "{text}");
}

#[test]
fn a_new_certificate_takes_over_by_itself_and_no_connection_notices() {
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let gateway = setup(ONE, &authority, &origin).start();
    let serial = || {
        let how = format!("-connect {} -servername a.test", gateway.address);
        let (_, text) = authority.s_client(&how, "");
        std::fs::write(authority.path("shown"), text).unwrap();
        authority.openssl("x509 -in shown -noout -serial")
    };
    let before = serial();
    authority.server("a", "DNS:a.test");
    eventually("the new certificate without a signal", || serial() != before);
    assert!(get(&authority, &gateway, "a.test", "").0);
    // A key that is not the certificate's changes nothing.
    let good = serial();
    authority.server("b", "DNS:a.test");
    std::fs::copy(authority.path("b.key"), authority.path("a.key")).unwrap();
    eventually("the error", || gateway.stderr().contains("does not belong to the certificate"));
    assert_eq!(serial(), good);
}

#[test]
fn the_end_of_a_certificate_is_a_metric_and_its_nearness_a_warning() {
    let authority = Authority::new();
    authority.server_for("a", "DNS:a.test", "5");
    let origin = Origin::saying("x");
    let gateway = setup(ONE, &authority, &origin).start();
    // Less than five whole days, once a second has passed.
    let told = ["4", "5"]
        .iter()
        .any(|days| gateway.stderr().contains(&format!("this certificate ends in {days} days")));
    assert!(told, "{}", gateway.stderr());
    let ends = gateway.metric("ringway_certificate_not_after_timestamp_seconds", &["a.test"]);
    let in_days = (ends - crate::support::tokens::unix_now() as f64) / 86_400.0;
    assert!((4.9..5.1).contains(&in_days), "{in_days}");
}

#[test]
fn a_keep_alive_connection_serves_many_and_pipelined_requests() {
    let (authority, origin) = (a_test(), Origin::echo());
    let gateway = setup(ONE, &authority, &origin).start();
    let port = gateway.address.port();
    let urls = format!("https://a.test:{port}/hello?[1-50]");
    let (good, text) = authority.curl(&format!("--resolve a.test:{port}:127.0.0.1 -v {urls}"));
    assert!(good && text.contains("Re-using existing connection"), "{text}");
    assert_eq!(origin.requests().len(), 50);
    let handshakes = gateway.metric("ringway_tls_handshakes_total", &["result=\"full\""]);
    assert!((handshakes - 1.0).abs() < 0.5, "{handshakes}");
    let two = "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let how = format!("-connect {} -servername a.test -ign_eof", gateway.address);
    let (good, text) = authority.s_client(&how, two);
    assert!(good && text.matches("HTTP/1.1 200").count() == 2, "{text}");
}

#[test]
fn handshakes_beyond_the_bound_are_shed_and_the_next_client_is_served() {
    /// `TLS_HANDSHAKES_MAX` of docs/limits.md.
    const AT_ONCE: usize = 1024;
    let (authority, origin) = (a_test(), Origin::saying("x"));
    let text = format!("workers = 1\n{}", config(ONE));
    let gateway = gateway(&text).with("app", origin.address).with("C", authority.folder()).start();
    // The beginning of a greeting that never goes on.
    let begun: Vec<TcpStream> = (0..AT_ONCE + 40)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.address).unwrap();
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            stream
        })
        .collect();
    let shed = || gateway.metric("ringway_tls_handshakes_total", &["result=\"shed\""]);
    eventually("those beyond the bound to be shed", || shed() > 39.5);
    assert!(shed() < 40.5, "nobody within the bound is");
    drop(begun);
    eventually("the next to be served", || get(&authority, &gateway, "a.test", "").0);
}
