//! TLS towards origins: whom the gateway believes, what it proves, how a failure shows.
//!
//! The origin is `openssl s_server`, never our own code.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::certs::Authority;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Port, gateway};
use crate::support::wire::Wire;

/// An origin that answers every request with a page about its session.
struct Secure {
    child: Child,
    port: Port,
}

impl Secure {
    #[track_caller]
    fn start(authority: &Authority, file: &str, more: &str) -> Secure {
        let port = Port::reserve();
        let arguments = format!(
            "s_server -accept 127.0.0.1:{} -cert {file}.pem -key {file}.key -www {more}",
            port.number
        );
        let child = Command::new("openssl")
            .args(arguments.split_ascii_whitespace())
            .current_dir(authority.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is there");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number));
        eventually("the origin to listen", || Wire::try_connect(address).is_some());
        Secure { child, port }
    }

    fn gateway(&self, authority: &Authority, tls: &str) -> Gateway {
        let text = format!(
            "[upstream.app]\nendpoints = [\"127.0.0.1:{}\"]\ntls = {tls}\n\n[[route]]\nmatch = \"/{{*rest}}\"\n\
             forward = \"app\"\n",
            self.port.number
        );
        gateway(&text).with("C", authority.folder()).start()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.server("o", "DNS:order.test,IP:127.0.0.1");
    authority
}

#[test]
fn an_origin_is_asked_over_tls_by_its_address_or_a_name() {
    let authority = authority();
    for version in ["-tls1_2", "-tls1_3"] {
        let origin = Secure::start(&authority, "o", version);
        for tls in
            ["{ roots = \"@C@/root.pem\" }", "{ roots = \"@C@/root.pem\", name = \"order.test\" }"]
        {
            let gateway = origin.gateway(&authority, tls);
            let page = gateway.get("/").expect(200).text();
            assert!(page.contains("s_server"), "{version} {tls}: {page}");
        }
    }
}

#[test]
fn whoever_is_not_who_he_should_be_is_not_asked() {
    let authority = authority();
    let origin = Secure::start(&authority, "o", "");
    let pin = authority.openssl("x509 -in root.pem -pubkey -noout");
    std::fs::write(authority.path("root.pub"), pin).unwrap();
    authority.openssl("pkey -pubin -in root.pub -outform der -out root.spki");
    authority.openssl("dgst -sha256 -binary -out root.sum root.spki");
    let other = authority.openssl("base64 -in root.sum");
    let other = other.trim();
    for (tls, kind, why) in [
        ("true".to_string(), "tls_certificate_error", "issuer_unknown"),
        (
            "{ roots = \"@C@/root.pem\", name = \"other.test\" }".into(),
            "tls_certificate_error",
            "name_mismatch",
        ),
        (
            format!("{{ roots = \"@C@/root.pem\", pin = \"{other}\" }}"),
            "tls_certificate_error",
            "pin_mismatch",
        ),
    ] {
        let gateway = origin.gateway(&authority, &tls);
        is_told(&gateway, kind, why);
    }
    authority.openssl_before("-60d", "x509 -req -in o.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 -extfile extensions -out o.pem");
    let origin = Secure::start(&authority, "o", "");
    let gateway = origin.gateway(&authority, "{ roots = \"@C@/root.pem\" }");
    is_told(&gateway, "tls_certificate_error", "certificate_ended");
}

/// Why a handshake came to nothing stands in the log and is an event, and no client learns it.
#[track_caller]
fn is_told(gateway: &Gateway, kind: &str, why: &str) {
    let answer = gateway.get("/").expect(502);
    let status = answer.field("proxy-status").unwrap_or_default().to_owned();
    assert!(status.contains(kind) && !status.contains(why), "{kind}: {status}");
    assert!(!answer.text().contains(why), "{}", answer.text());
    assert_eq!(gateway.access_log(1)[0]["reason"], why, "{:?}", gateway.access_log(1));
    let told = format!("of app, {why}: ");
    eventually("the event", || gateway.stderr().contains(&told));
    gateway.get("/").expect(502);
    gateway.access_log(2);
    assert_eq!(gateway.stderr().matches(&told).count(), 1, "once: {}", gateway.stderr());
}

#[test]
fn a_pin_is_the_origins_own_key() {
    let authority = authority();
    let origin = Secure::start(&authority, "o", "");
    let key = authority.openssl("x509 -in o.pem -pubkey -noout");
    std::fs::write(authority.path("o.pub"), key).unwrap();
    authority.openssl("pkey -pubin -in o.pub -outform der -out o.spki");
    authority.openssl("dgst -sha256 -binary -out o.sum o.spki");
    let pin = authority.openssl("base64 -in o.sum");
    let tls = format!("{{ roots = \"@C@/root.pem\", pin = \"sha256/{}\" }}", pin.trim());
    let gateway = origin.gateway(&authority, &tls);
    gateway.get("/").expect(200);
}

#[test]
fn the_gateway_proves_who_it_is() {
    let authority = authority();
    authority.server("g", "DNS:gateway.test");
    let origin = Secure::start(&authority, "o", "-Verify 1 -CAfile root.pem -verify_return_error");
    let with =
        "{ roots = \"@C@/root.pem\", certificate = { cert = \"@C@/g.pem\", key = \"@C@/g.key\" } }";
    let gateway = origin.gateway(&authority, with);
    gateway.get("/").expect(200);
    let gateway = origin.gateway(&authority, "{ roots = \"@C@/root.pem\" }");
    gateway.get("/").expect(502);
}

#[test]
fn sessions_with_an_origin_are_taken_up_again() {
    let authority = authority();
    let origin = Secure::start(&authority, "o", "");
    let gateway = origin.gateway(&authority, "{ roots = \"@C@/root.pem\" }");
    // `-www` closes after each answer, so that every request is a connection; which core takes it is the
    // kernel's choice.
    eventually("a session taken up again", || {
        gateway.get("/").expect(200).text().contains("Reused, TLS")
    });
}

#[test]
fn an_origin_without_tls_is_told_apart() {
    let authority = authority();
    let plain = crate::support::origin::Origin::raw(|mut stream, _| {
        let mut bytes = [0; 64];
        let _ = stream.read(&mut bytes);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let text = format!(
        "[upstream.app]\nendpoints = [\"{}\"]\ntls = {{ roots = \"@C@/root.pem\" }}\n\n[[route]]\n\
         match = \"/{{*rest}}\"\nforward = \"app\"\n",
        plain.address
    );
    let gateway = gateway(&text).with("C", authority.folder()).start();
    let answer = gateway.get("/").expect(502);
    let status = answer.field("proxy-status").unwrap_or_default();
    assert!(status.contains("tls_protocol_error"), "{status}");
    assert_eq!(gateway.access_log(1)[0]["reason"], "no_tls");
}

/// An origin that says what the test writes, and ends as the test likes.
struct Scripted {
    child: Child,
    port: Port,
    seen: Arc<Mutex<String>>,
}

impl Scripted {
    #[track_caller]
    fn start(authority: &Authority, version: &str) -> Scripted {
        let port = Port::reserve();
        let arguments =
            format!("s_server -accept 127.0.0.1:{} -cert o.pem -key o.key {version}", port.number);
        let mut child = Command::new("openssl")
            .args(arguments.split_ascii_whitespace())
            .current_dir(authority.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is there");
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut stdout, printed) = (child.stdout.take().expect("piped above"), seen.clone());
        // Ends with the program.
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                printed.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Scripted { child, port, seen }
    }

    /// Waits until it has printed this.
    #[track_caller]
    fn wait_for(&mut self, what: &str) {
        eventually(what, || self.seen.lock().unwrap().contains(what));
    }

    fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped above");
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_body_that_ends_without_a_word_is_never_passed_off_as_whole() {
    let authority = authority();
    for version in ["-tls1_2", "-tls1_3"] {
        // `Q` closes the socket and says nothing before; who is killed says nothing either.
        for killed in [true, false] {
            let mut origin = Scripted::start(&authority, version);
            origin.wait_for("ACCEPT");
            let text = format!(
                "[upstream.app]\nendpoints = [\"127.0.0.1:{}\"]\ntls = {{ roots = \"@C@/root.pem\" }}\nretry = \"none\"\n\
                 timeout = {{ connect = \"20s\" }}\n\n\
                 [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n",
                origin.port.number
            );
            let gateway = gateway(&text).with("C", authority.folder()).start();
            let mut client = gateway.connect();
            client.send("GET /part HTTP/1.1\r\nHost: a.test\r\n\r\n");
            origin.wait_for("GET /part");
            // Its length is unknown: it ends with its connection.
            origin.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nthe first half\n");
            let head = client.try_head().expect("a head");
            assert_eq!(head.status, 200);
            assert_eq!(client.read_chunk(), b"the first half\n");
            if killed {
                origin.child.kill().unwrap();
            } else {
                origin.say("Q\n");
            }
            let rest = client.until_close();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{version}: passed off as whole");
            let line = gateway.access_log(1).remove(0);
            let fault = line["fault"].as_str().unwrap_or_default();
            assert_eq!(fault, "http_response_incomplete", "{version}: {line}");
        }
    }
}
