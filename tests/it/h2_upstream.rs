//! HTTP/2 towards origins: streams on shared connections, and what becomes of them when an origin will not or cannot.
//!
//! RFC 9113. The origin is `nghttpd`, a second gateway in front of a scripted origin of HTTP/1.1, or raw frames; the
//! last sends whatever a test wants. Nothing here waits for a length of time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::certs::Authority;
use crate::support::gateway::{FORWARD, Folder, Gateway, Port, gateway};
use crate::support::h2_wire::{DATA, END_HEADERS, END_STREAM, H2Wire, HEADERS, request, status_of};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::tunnel::{self, Ends};
use crate::support::{PATIENCE, eventually};

/// Everything goes to `app`, in HTTP/2.
const IN_HTTP2: &str = r#"
[upstream.app]
endpoints = ["@app@"]
http2 = true

[[route]]
match = "/{*rest}"
forward = "app"
"#;

/// A gateway that speaks HTTP/2 to a second one, which speaks HTTP/1.1 to the origin.
struct Chain {
    front: Gateway,
    back: Gateway,
}

impl Chain {
    fn to(origin: &Origin) -> Chain {
        let back = gateway(FORWARD).with("app", origin.address).start();
        let front = gateway(IN_HTTP2).with("app", back.address).start();
        Chain { front, back }
    }
}

/// An origin of HTTP/1.1 that reads and writes as the test says.
struct Talk {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Talk {
    #[track_caller]
    fn expect_piece(&mut self, piece: &[u8]) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut room = [0; 4096];
        loop {
            if let Some(at) = self.seen.windows(piece.len()).position(|window| window == piece) {
                self.seen.drain(..at + piece.len());
                return;
            }
            match self.stream.read(&mut room).expect("more comes") {
                0 => panic!("closed before {piece:?}"),
                bytes => self.seen.extend(&room[..bytes]),
            }
        }
    }

    #[track_caller]
    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the gateway reads");
    }
}

#[test]
fn requests_of_many_clients_share_a_connection() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.target))]);
    let chain = Chain::to(&origin);
    for turn in 0..20 {
        let target = format!("/a/{turn}?b=%20{turn}");
        let seen =
            chain.front.get_with(&target, &[("X-A", "1"), ("Connection", "x-b"), ("X-B", "2")]);
        assert_eq!(seen.expect(200).text(), target);
    }
    let made = chain.front.metric("ringway_upstream_http2_connections_total", &[]);
    assert!((1.0..=2.0).contains(&made), "{made} connections of two cores");
    assert_eq!(chain.front.metric("ringway_upstream_http2_streams_total", &[]), 20.0);
    assert_eq!(chain.back.metric("ringway_http2_streams_total", &[]), 20.0);
    let seen = &origin.requests()[0];
    assert_eq!((seen.field("x-a"), seen.field("x-b")), (Some("1"), None));
    assert_eq!(seen.field("host"), Some("test"));
    let line = &chain.front.access_log(20)[19];
    assert_eq!(
        (&line["attempts"][0]["reused"], &line["attempts"][0]["http2"]),
        (&true.into(), &true.into())
    );
}

#[test]
fn bodies_pass_whole_both_ways_with_and_without_a_length() {
    let origin = Origin::script(|request| {
        let mut said = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in request.body.chunks(10_000) {
            said.extend(format!("{:x}\r\n", piece.len()).bytes());
            said.extend(piece);
            said.extend(b"\r\n");
        }
        said.extend(b"0\r\n\r\n");
        let length = request.field("content-length").is_some();
        vec![Step::Send(if length { ok(&request.text()) } else { said })]
    });
    let chain = Chain::to(&origin);
    let body: String = (0..60_000).map(|number| format!("{number:07}\n")).collect();
    let length = body.len().to_string();
    let counted =
        chain.front.connect().call("POST", "/", &[("Content-Length", &length)], body.as_bytes());
    assert!(counted.expect(200).text() == body);
    let mut chunked = chain.front.connect();
    chunked.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.as_bytes().chunks(7_000) {
        chunked.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    chunked.send("0\r\n\r\n");
    assert!(chunked.response().expect(200).text() == body);
    assert!(origin.requests().iter().all(|request| request.text() == body));
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n",
    );
    let chain = Chain::to(&origin);
    let mut client = chain.front.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n",
    );
    let response = client.response().expect(200);
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers, [("grpc-status".to_string(), "0".to_string())]);
    let seen = origin.request();
    assert_eq!(seen.trailers, [("x-sum".to_string(), "6".to_string())]);
    assert_eq!(seen.field("te"), Some("trailers"));
}

#[test]
fn a_call_that_ends_with_its_head_keeps_the_status_of_grpc() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 5\r\nContent-Length: 0\r\n\r\n",
    );
    let chain = Chain::to(&origin);
    assert_eq!(chain.front.get("/").expect(200).field("grpc-status"), Some("5"));
    let mut client = H2Wire::connect(chain.front.address);
    client.get(1, "/", &[]);
    assert_eq!(client.expect(HEADERS).flags, END_STREAM | END_HEADERS);
}

#[test]
fn both_directions_of_a_stream_go_on_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let back = gateway(FORWARD).with("app", listener.local_addr().unwrap()).start();
    let front = gateway(IN_HTTP2).with("app", back.address).start();
    let mut client = H2Wire::connect(front.address);
    client.headers(1, &request("POST", "/", &[("content-type", "application/grpc")]), false);
    client.data(1, b"first", false);
    let mut origin = Talk { stream: listener.accept().expect("a request").0, seen: Vec::new() };
    origin.expect_piece(b"first");
    origin.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    assert_eq!(status_of(&client.expect(HEADERS).payload), 200);
    assert_eq!(client.expect(DATA).payload, b"ok");
    for turn in 0..50 {
        let piece = format!("piece {turn:03}");
        client.data(1, piece.as_bytes(), false);
        origin.expect_piece(piece.as_bytes());
        origin.say(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
        assert_eq!(client.expect(DATA).payload, piece.as_bytes());
    }
    client.data(1, b"", true);
    origin.expect_piece(b"0\r\n\r\n");
    origin.say(b"0\r\ngrpc-status: 0\r\n\r\n");
    assert_eq!(client.expect(HEADERS).flags, END_STREAM | END_HEADERS);
}

#[test]
fn answers_without_content_are_told_as_such() {
    let origin = Origin::script(|request| match request.method.as_str() {
        "HEAD" => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec())],
        _ if request.target == "/304" => vec![Step::Send(answer(304, &[("ETag", "\"a\"")], b""))],
        _ => vec![Step::Send(answer(204, &[], b""))],
    });
    let chain = Chain::to(&origin);
    let mut client = chain.front.connect();
    let head = client.call("HEAD", "/", &[], b"");
    assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
    assert_eq!(client.get("/304", &[]).expect(304).body, b"");
    assert_eq!(client.get("/204", &[]).expect(204).body, b"");
    assert_eq!(client.get("/204", &[]).expect(204).field("content-length"), None);
}

#[test]
fn interim_answers_are_passed_on_and_expectations_met() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let chain = Chain::to(&origin);
    let mut client = chain.front.connect();
    let response = client.get("/", &[]);
    assert_eq!((response.interim.as_slice(), response.text().as_str()), (&[103][..], "ok"));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.try_head().expect("a head").status, 100);
    client.send("abc");
    assert_eq!(client.response().expect(200).text(), "ok");
}

#[test]
fn a_websocket_goes_through_as_an_extended_connect() {
    let ends = Ends::new();
    let chain = Chain::to(&ends.origin);
    let (mut client, mut origin) = tunnel::open_one(&chain.front, &ends);
    tunnel::echoes(&mut client, &mut origin);
    assert_eq!(chain.back.metric("ringway_http2_streams_total", &[]), 1.0);
    drop(client);
    tunnel::expect_end(&mut origin);
}

#[test]
fn an_origin_that_speaks_http_1_1_is_no_origin_of_http_2() {
    let origin = Origin::raw(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    let gateway = gateway(IN_HTTP2).with("app", origin.address).start();
    gateway.get("/").expect_problem(502);
    assert_eq!(gateway.access_log(1)[0]["fault"], "http_protocol_error");
}

/// `nghttpd` in front of a folder.
struct Nghttpd {
    child: Child,
    port: Port,
    folder: Folder,
}

impl Nghttpd {
    fn start(arguments: &[&str]) -> Nghttpd {
        Nghttpd::start_with(arguments, &[])
    }

    /// Over TLS with a key and a certificate.
    fn start_with(arguments: &[&str], files: &[&str]) -> Nghttpd {
        let (port, folder) = (Port::reserve(), Folder::new());
        let mut command = Command::new("nghttpd");
        command.args(["--address=127.0.0.1", "--echo-upload", "-d"]).arg(folder.path());
        command.args(arguments);
        command.arg(port.number.to_string()).args(files).stdout(Stdio::null());
        let child = command.spawn().expect("nghttpd is installed (Debian: nghttp2-server)");
        let nghttpd = Nghttpd { child, port, folder };
        eventually("nghttpd listens", || TcpStream::connect(nghttpd.address()).is_ok());
        nghttpd
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port.number).into()
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nghttpd_is_an_origin() {
    let nghttpd = Nghttpd::start(&["--no-tls"]);
    let large = "0123456789abcdef".repeat(100_000);
    std::fs::write(nghttpd.folder.path().join("large"), &large).unwrap();
    let gateway = gateway(IN_HTTP2).with("app", nghttpd.address()).start();
    assert!(gateway.get("/large").expect(200).text() == large);
    let mut client = gateway.connect();
    client.call("HEAD", "/large", &[], b"").expect(200);
    client.get("/none", &[]).expect(404);
    for _ in 0..20 {
        let body = &large.as_bytes()[..300_000];
        assert!(client.call("POST", "/", &[], body).expect(200).body == body);
    }
    let output = Command::new("h2load")
        .args(["-n", "2000", "-c", "8", "-m", "20"])
        .arg(format!("http://{}/none", gateway.address))
        .output()
        .expect("h2load is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2000 done"), "{text}");
    assert!(text.contains("2000 4xx"), "{text}");
}

/// Everything goes to `app` over TLS.
fn over_tls(http2: &str) -> String {
    format!(
        "[upstream.app]\nendpoints = [\"@app@\"]\ntls = {{ roots = \"@C@/root.pem\" }}\nhttp2 = {http2}\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
    )
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.server("o", "IP:127.0.0.1");
    authority
}

/// A gateway that speaks TLS and these versions in front of an origin of HTTP/1.1.
fn secure_back(authority: &Authority, protocols: &str, origin: &Origin) -> Gateway {
    let text = format!(
        "[[listen]]\naddress = \"@LISTEN@\"\nprotocols = {protocols}\n\
         tls = {{ certificates = [{{ cert = \"@C@/o.pem\", key = \"@C@/o.key\" }}] }}\n{FORWARD}"
    );
    gateway(&text).with("app", origin.address).with("C", authority.folder()).start()
}

#[test]
fn over_tls_the_endpoint_chooses_the_version() {
    let authority = authority();
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.text()))]);
    let both = "[\"http/1.1\", \"h2\"]";
    // What is offered, what is spoken there, how many streams of HTTP/2 that makes of three requests.
    for (http2, protocols, streams) in [
        ("true", both, 3.0),
        ("true", "[\"h2\"]", 3.0),
        ("\"auto\"", both, 3.0),
        ("\"auto\"", "[\"http/1.1\"]", 0.0),
        ("false", both, 0.0),
    ] {
        let back = secure_back(&authority, protocols, &origin);
        let front = gateway(&over_tls(http2));
        let front = front.with("app", back.address).with("C", authority.folder()).start();
        for body in ["a", "bc", "def"] {
            let answer = front.connect().call(
                "POST",
                "/",
                &[("Content-Length", &body.len().to_string())],
                body.as_bytes(),
            );
            assert_eq!(answer.expect(200).text(), body, "{http2} {protocols}");
        }
        let metric = |gateway: &Gateway, name| gateway.metric(name, &[]);
        assert_eq!(metric(&back, "ringway_http2_streams_total"), streams, "{http2} {protocols}");
        assert_eq!(metric(&front, "ringway_upstream_http2_streams_total"), streams);
    }
}

#[test]
fn an_endpoint_that_does_not_choose_http_2_is_not_asked_where_it_must() {
    let authority = authority();
    let origin = Origin::saying("x");
    let back = secure_back(&authority, "[\"http/1.1\"]", &origin);
    let front = gateway(&over_tls("true")).with("app", back.address);
    let front = front.with("C", authority.folder()).start();
    let answer = front.get("/").expect(502);
    let told = answer.field("proxy-status").unwrap_or_default();
    assert!(told.contains("tls_"), "{told}");
    assert!(origin.requests().is_empty());
}

#[test]
fn a_websocket_goes_to_an_endpoint_that_chose_http_2_as_it_grants() {
    let authority = authority();
    let ends = Ends::new();
    let back = secure_back(&authority, "[\"http/1.1\", \"h2\"]", &ends.origin);
    let front = gateway(&over_tls("\"auto\"")).with("app", back.address);
    let front = front.with("C", authority.folder()).start();
    let (mut client, mut origin) = tunnel::open_one(&front, &ends);
    tunnel::echoes(&mut client, &mut origin);
    assert_eq!(back.metric("ringway_http2_streams_total", &[]), 1.0);
}

#[test]
fn nghttpd_and_nginx_are_origins_over_tls() {
    let authority = authority();
    let folder = Folder::new();
    let (key, cert) = (authority.path("o.key"), authority.path("o.pem"));
    let (key, cert) = (key.display().to_string(), cert.display().to_string());
    let nghttpd = Nghttpd::start_with(&[], &[&key, &cert]);
    std::fs::write(nghttpd.folder.path().join("page"), "of nghttpd").unwrap();
    let nginx = Nginx::start(&folder, &key, &cert);
    for (address, text) in [(nghttpd.address(), "of nghttpd"), (nginx.address(), "of nginx")] {
        for http2 in ["true", "\"auto\""] {
            let front = gateway(&over_tls(http2)).with("app", address);
            let front = front.with("C", authority.folder()).start();
            for _ in 0..5 {
                assert_eq!(front.get("/page").expect(200).text(), text);
            }
            assert_eq!(front.metric("ringway_upstream_http2_streams_total", &[]), 5.0);
        }
    }
}

/// nginx as a server of HTTP/2 over TLS.
struct Nginx {
    child: Child,
    port: Port,
}

impl Nginx {
    fn start(folder: &Folder, key: &str, cert: &str) -> Nginx {
        let port = Port::reserve();
        let place = folder.path().display();
        std::fs::write(folder.path().join("page"), "of nginx").unwrap();
        let text = format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr;\n\
             events {{ }}\nhttp {{ access_log off; client_body_temp_path {place}; proxy_temp_path {place};\n\
             fastcgi_temp_path {place}; uwsgi_temp_path {place}; scgi_temp_path {place};\n\
             server {{ listen 127.0.0.1:{} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};\n\
             root {place}; }} }}\n",
            port.number
        );
        let conf = folder.path().join("nginx.conf");
        std::fs::write(&conf, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&conf).stderr(Stdio::null());
        let nginx = Nginx { child: command.spawn().expect("nginx is installed"), port };
        eventually("nginx listens", || TcpStream::connect(nginx.address()).is_ok());
        nginx
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port.number).into()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn merges_caches_and_hedges_ask_in_http_2() {
    let origin = Origin::script(|request| {
        let fields = [("Content-Type", "application/json"), ("Cache-Control", "max-age=60")];
        vec![Step::Send(answer(200, &fields, format!("\"{}\"", request.target).as_bytes()))]
    });
    let back = gateway(FORWARD).with("app", origin.address).start();
    let text = r#"
[[listen]]
address = "@LISTEN@"
[upstream.app]
endpoints = ["@app@"]
http2 = true
[[route]]
match = "GET /merge"
[route.merge]
a = { get = "app /a" }
b = { get = "app /b" }
[[route]]
match = "GET /cached"
forward = "app"
cache = { }
[[route]]
match = "GET /hedged"
forward = "app"
hedge = { budget = "1%" }
"#;
    let front = gateway(text).with("app", back.address).start();
    for _ in 0..5 {
        assert_eq!(front.get("/merge").expect(200).text(), r#"{"a":"/a","b":"/b"}"#);
        assert_eq!(front.get("/cached").expect(200).text(), "\"/cached\"");
        assert_eq!(front.get("/hedged").expect(200).text(), "\"/hedged\"");
    }
    let asked = |target: &str| origin.requests().iter().filter(|one| one.target == target).count();
    assert_eq!((asked("/a"), asked("/b"), asked("/cached")), (5, 5, 1));
}

#[test]
fn a_tunnel_by_connect_carries_bytes_and_no_frames() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = "[upstream.app]\nendpoints = [\"@app@\"]\nhttp2 = true\n\
                [[route]]\nmatch = \"CONNECT db.test/\"\nforward = \"app\"\n";
    let gateway = gateway(text).with("app", listener.local_addr().unwrap()).start();
    let mut client = gateway.connect();
    client.send("CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n");
    let (mut origin, _) = listener.accept().expect("a connection");
    assert_eq!(client.try_head().expect("a head").status, 200);
    tunnel::echoes(&mut client, &mut origin);
}
