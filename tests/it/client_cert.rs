//! Client certificates as identities: to origins in fields, to `allow`, to limits, to the log; by host.
//!
//! The clients are `curl` and `openssl` with certificates of an authority that the test made.

use crate::support::certs::Authority;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;

const LISTEN: &str = r#"
[[listen]]
address = "@LISTEN@"
[listen.tls]
certificates = [{ cert = "@C@/a.pem", key = "@C@/a.key" }]
"#;

const ROUTES: &str = r#"
[default]
allow = "authenticated"
[upstream.app]
endpoints = ["@app@"]
[limit.per_client]
rate = "1/h"
burst = 1
key = "{client_cert.fingerprint}"
[[route]]
match = "/who"
forward = "app"
client_cert = "required"
[route.request_headers.set]
x-subject = "{client_cert.subject}"
x-issuer = "{client_cert.issuer}"
x-dns = "{client_cert.dns?}"
x-uri = "{client_cert.uri?}"
x-email = "{client_cert.email|nobody}"
x-fingerprint = "{client_cert.fingerprint}"
client-cert = "{client_cert.encoded}"
[[route]]
match = "/maybe"
forward = "app"
client_cert = "optional"
allow = "anyone"
request_headers = { set = { x-subject = "{client_cert.subject?}" } }
[[route]]
match = "/billing"
forward = "app"
client_cert = "optional"
allow = [{ client_cert = { uri = "spiffe://test/billing/*" } }, { client_cert = { dns = ["ops.test", "OPS2.test"] } }]
[[route]]
match = "/closed"
forward = "app"
[[route]]
match = "/limited"
forward = "app"
client_cert = "required"
limit = "per_client"
"#;

struct World {
    authority: Authority,
    origin: Origin,
    gateway: Gateway,
}

impl World {
    fn new(client: &str) -> World {
        let authority = Authority::new();
        authority.server("a", "DNS:a.test,DNS:b.test");
        authority.server("billing", "DNS:billing.test,URI:spiffe://test/billing/1,email:b@c.test");
        authority.server("ops", "DNS:ops2.test");
        let origin = Origin::saying("x");
        let gateway = gateway(&format!("{LISTEN}{client}\n{ROUTES}"))
            .with("app", origin.address)
            .with("C", authority.folder())
            .start();
        World { authority, origin, gateway }
    }

    /// The access log, once it has so many lines.
    fn log(&self, count: usize) -> String {
        let lines = self.gateway.access_log(count);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The status of one request.
    fn ask(&self, host: &str, path: &str, more: &str) -> String {
        let port = self.gateway.address.port();
        let (_, text) = self.authority.curl(&format!(
            "--resolve a.test:{port}:127.0.0.1 --resolve b.test:{port}:127.0.0.1 {more} -o /dev/null \
             -w %{{http_code}} https://{host}:{port}{path}"
        ));
        text
    }
}

const OPTIONAL: &str = "client = { roots = \"@C@/root.pem\", mode = \"optional\" }";
const BILLING: &str = "--cert billing.pem --key billing.key";
const OPS: &str = "--cert ops.pem --key ops.key";

#[test]
fn what_a_certificate_says_reaches_the_origin_and_what_a_client_says_does_not() {
    let world = World::new(OPTIONAL);
    let forged =
        "-H X-Subject:root -H x_subject:root -H Client-Cert::AAAA: -H Client_Cert_Chain::AAAA:";
    assert_eq!(world.ask("a.test", "/who", &format!("{forged} {BILLING}")), "200");
    let request = world.origin.wait_for(1).remove(0);
    let shown = world.authority.openssl("x509 -in billing.pem -noout -fingerprint -sha256");
    let fingerprint = shown.trim().rsplit('=').next().unwrap_or("").replace(':', "");
    for (name, value) in [
        ("x-subject", "CN=billing.test,O=Test"),
        ("x-issuer", "CN=Test-Root"),
        ("x-dns", "billing.test"),
        ("x-uri", "spiffe://test/billing/1"),
        ("x-email", "b@c.test"),
        ("x-fingerprint", &*fingerprint.to_lowercase()),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    world.authority.openssl("x509 -in billing.pem -outform der -out billing.der");
    let der = world.authority.openssl("base64 -A -in billing.der");
    assert_eq!(request.field("client-cert"), Some(&*format!(":{}:", der.trim())));
    let text = request.text();
    assert!(!text.contains("root\r") && !text.contains("AAAA"), "{text}");
    // Without a certificate the client's own fields do not stand in for it.
    assert_eq!(world.ask("a.test", "/maybe", forged), "200");
    let request = world.origin.wait_for(2).remove(1);
    assert_eq!(request.field("x-subject"), None);
    assert_eq!(request.field("client-cert"), None);
}

#[test]
fn routes_ask_for_certificates_and_for_what_they_say() {
    let world = World::new(OPTIONAL);
    for (path, client, status) in [
        ("/who", "", "403"),
        ("/who", OPS, "200"),
        ("/maybe", "", "200"),
        ("/billing", "", "403"),
        ("/billing", BILLING, "200"),
        ("/billing", OPS, "200"),
        // A certificate is no identity where nobody asks for it.
        ("/closed", BILLING, "403"),
    ] {
        assert_eq!(world.ask("a.test", path, client), status, "{path} {client}");
    }
    world.authority.server("other", "DNS:other.test,URI:spiffe://test/billing");
    assert_eq!(world.ask("a.test", "/billing", "--cert other.pem --key other.key"), "403");
    let log = world.log(8);
    for reason in ["certificate_missing", "certificate_refused", "closed"] {
        assert!(log.contains(&format!("\"reason\":\"{reason}\"")), "{reason}: {log}");
    }
    assert!(log.contains("\"client_cert\":\"CN=ops2.test,O=Test\""), "{log}");
}

#[test]
fn clients_are_counted_by_their_certificate_and_keep_it_when_a_session_is_taken_up_again() {
    let world = World::new(OPTIONAL);
    assert_eq!(world.ask("a.test", "/limited", BILLING), "200");
    assert_eq!(world.ask("a.test", "/limited", BILLING), "429");
    assert_eq!(world.ask("a.test", "/limited", OPS), "200");
    let request = "GET /who HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let how = |more: &str| {
            format!(
                "-connect {} -servername a.test {version} {more} -ign_eof",
                world.gateway.address
            )
        };
        let own = "-cert billing.pem -key billing.key -sess_out own";
        let (_, text) = world.authority.s_client(&how(own), request);
        assert!(text.contains("HTTP/1.1 200"), "{text}");
        let (_, text) = world.authority.s_client(&how("-sess_in own"), request);
        assert!(text.contains("Reused, TLS") && text.contains("HTTP/1.1 200"), "{text}");
    }
}

#[test]
fn a_host_asks_for_certificates_that_another_does_not_and_no_connection_is_both() {
    let world = World::new("client = [{ hosts = [\"a.test\"], roots = \"@C@/root.pem\" }]");
    assert_eq!(world.ask("a.test", "/who", BILLING), "200");
    let told = world.ask("a.test", "/maybe", "");
    assert!(told.starts_with("000"), "no handshake without a certificate: {told}");
    assert_eq!(world.ask("b.test", "/maybe", ""), "200");
    assert_eq!(world.ask("b.test", "/who", BILLING), "403", "nobody asked for it");
    // A connection for one host is none for the other.
    for host in ["a.test", "A.TEST", "a.test.", "a.test:1"] {
        assert_eq!(world.ask("b.test", "/maybe", &format!("-H Host:{host}")), "421", "{host}");
    }
    assert_eq!(world.ask("a.test", "/maybe", &format!("{BILLING} -H Host:b.test")), "421");
    let log = world.log(8);
    assert!(log.contains("\"fault\":\"misdirected_request\""), "{log}");
}

#[test]
fn a_long_greeting_in_small_pieces_is_read_to_its_name() {
    use std::io::{Read, Write};
    let world = World::new("client = [{ hosts = [\"a.test\"], roots = \"@C@/root.pem\" }]");
    // A greeting of openssl, caught on its way and sent on byte by byte.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = world.gateway.address;
    let between = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = std::net::TcpStream::connect(target).unwrap();
        server.set_nodelay(true).unwrap();
        let mut back = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let answers = std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut bytes) {
            for byte in &bytes[..count] {
                if server.write_all(&[*byte]).is_err() {
                    break;
                }
            }
        }
        let _ = server.shutdown(std::net::Shutdown::Write);
        let _ = answers.join();
    });
    let request = "GET /maybe HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n";
    let how = format!("-connect 127.0.0.1:{port} -servername b.test -ign_eof");
    let (_, text) = world.authority.s_client(&how, request);
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    between.join().unwrap();
}

#[test]
fn other_roots_after_a_reload_end_what_was_proven_before() {
    let world = World::new(OPTIONAL);
    let mut client = world.authority.keep_open(&format!(
        "-connect {} -servername a.test -cert billing.pem -key billing.key",
        world.gateway.address
    ));
    assert!(client.ask("GET /who HTTP/1.1\r\nHost: a.test\r\n\r\n").contains("HTTP/1.1 200"));
    let stranger = Authority::new();
    stranger.server("c", "DNS:c.test");
    for file in ["c.pem", "c.key"] {
        std::fs::copy(stranger.path(file), world.authority.path(file)).unwrap();
    }
    let server = world.authority.path("roots-before.pem");
    std::fs::copy(world.authority.path("root.pem"), &server).unwrap();
    std::fs::copy(stranger.path("root.pem"), world.authority.path("root.pem")).unwrap();
    crate::support::eventually("other roots", || {
        world.gateway.stderr().contains("configuration 2 is in force")
    });
    let text = client.ask("GET /who HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(text.contains("HTTP/1.1 421"), "{text}");
}

#[test]
fn a_listener_that_asks_no_more_believes_nothing_that_was_proven_before() {
    // A second listener asks on, so that routes may ask for certificates still.
    let second = LISTEN.replace("@LISTEN@", "unix:@DIR@/second.sock");
    let other = format!("{second}{OPTIONAL}\n");
    let world = World::new(&format!("{OPTIONAL}\n{other}"));
    let mut client = world.authority.keep_open(&format!(
        "-connect {} -servername a.test -cert billing.pem -key billing.key",
        world.gateway.address
    ));
    assert!(client.ask("GET /who HTTP/1.1\r\nHost: a.test\r\n\r\n").contains("HTTP/1.1 200"));
    world.gateway.rewrite(&format!("{LISTEN}\n{other}\n{ROUTES}"));
    world.gateway.signal("HUP");
    crate::support::eventually("the reload", || {
        world.gateway.stderr().contains("configuration 2 is in force")
    });
    let text = client.ask("GET /who HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(text.contains("HTTP/1.1 421"), "{text}");
    assert_eq!(world.origin.requests().len(), 1);
}

#[test]
fn audit_knows_that_certificates_are_credentials() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    let folder = crate::support::gateway::Folder::new();
    let text = format!("{LISTEN}{OPTIONAL}\n{ROUTES}")
        .replace("@LISTEN@", "127.0.0.1:1")
        .replace("@app@", "127.0.0.1:2")
        .replace("@C@", &authority.folder());
    std::fs::write(folder.path().join("ringway.toml"), text).unwrap();
    let (code, out, err) =
        crate::support::gateway::ringway(folder.path(), &["audit", "-c", "ringway.toml"]);
    assert!(
        out.contains("/maybe") && !out.contains("/who") && !out.contains("/limited"),
        "{out}{err}"
    );
    assert_eq!(code, 0, "{out}{err}");
}

/// What is coded beside a secret tells it by its length (BREACH), and a browser shows its certificate to whoever's page asks.
#[test]
fn an_answer_to_who_is_known_by_a_certificate_is_compressed_where_that_is_allowed() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    authority.server("ops", "DNS:ops.test");
    let origin = Origin::saying("a text that repeats itself, a text that repeats itself");
    let routes = "[upstream.app]\nendpoints = [\"@app@\"]\n\
         [default]\ncompress = { min = \"1B\", types = [\"*/*\"] }\nresponse_headers = { set = { content-type = \"text/plain\" } }\n\
         [[route]]\nmatch = \"/known\"\nforward = \"app\"\nclient_cert = \"optional\"\n\
         [[route]]\nmatch = \"/unasked\"\nforward = \"app\"\n\
         [[route]]\nmatch = \"/allowed\"\nforward = \"app\"\nclient_cert = \"optional\"\n\
         compress = { min = \"1B\", types = [\"*/*\"], allow = [\"authorization\"] }\n";
    let gateway = gateway(&format!("{LISTEN}{OPTIONAL}\n{routes}"))
        .with("app", origin.address)
        .with("C", authority.folder())
        .start();
    let port = gateway.address.port();
    let coding = |path: &str, more: &str| {
        let (_, text) = authority.curl(&format!(
            "--resolve a.test:{port}:127.0.0.1 {more} -H Accept-Encoding:gzip -o /dev/null -w %header{{content-encoding}} \
             https://a.test:{port}{path}"
        ));
        text
    };
    assert_eq!((coding("/known", ""), coding("/known", OPS)), ("gzip".into(), String::new()));
    assert_eq!((coding("/unasked", OPS), coding("/allowed", OPS)), ("gzip".into(), "gzip".into()));
}
