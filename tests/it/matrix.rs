//! Every golden exchange over every version: HTTP/1.1 and HTTP/2 in cleartext and TLS, from clients and to origins.
//!
//! The client is `curl`, and what speaks for a scripted origin is `nghttpx`: implementations that share nothing
//! with ours. What counts is what the messages mean (`support/message.rs`), and that the version asked for was
//! spoken. A file whose comment says `HTTP/1.1 only` is about the wire of that version.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::certs::Authority;
use crate::support::eventually;
use crate::support::gateway::{Folder, Gateway, Port, gateway};
use crate::support::golden::{self, Golden};
use crate::support::message::Message;
use crate::support::wire::Wire;

/// How one side is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    http2: bool,
    tls: bool,
}

const WAYS: [Way; 4] = [
    Way { http2: false, tls: false },
    Way { http2: true, tls: false },
    Way { http2: false, tls: true },
    Way { http2: true, tls: true },
];

#[test]
fn every_golden_exchange_means_the_same_over_every_version() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exchanges");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files.retain(|file| !Golden::read(file).comment.contains("HTTP/1.1 only"));
    let authority = Authority::new();
    authority.server("o", "DNS:test,DNS:*.example.com,IP:127.0.0.1");
    let plays: Vec<(&PathBuf, Way, Way)> = WAYS
        .iter()
        .flat_map(|client| WAYS.iter().map(move |origin| (*client, *origin)))
        .flat_map(|(client, origin)| files.iter().map(move |file| (file, client, origin)))
        .collect();
    // Below the sockets all versions are the same: on the second driver each is played with itself only.
    let second = std::env::var("RINGWAY_TEST_DRIVER").is_ok_and(|driver| driver == "epoll");
    let plays: Vec<_> =
        plays.into_iter().filter(|(_, client, origin)| !second || client == origin).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let work = || {
            while let Some((file, client, origin)) = plays.get(next.fetch_add(1, Ordering::SeqCst))
            {
                if let Err(why) = play(file, *client, *origin, &authority) {
                    let of = format!("{}: {client:?} to {origin:?}: {why}", file.display());
                    failures.lock().unwrap().push(of);
                }
            }
        };
        (0..4).for_each(|_| drop(scope.spawn(work)));
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), plays.len(), failures.join("\n"));
}

/// Something that speaks another version in front of an origin.
struct Front {
    child: Child,
    port: Port,
    _folder: Folder,
}

impl Front {
    fn before(origin: std::net::SocketAddr, way: Way, authority: &Authority) -> Front {
        let (port, folder) = (Port::reserve(), Folder::new());
        let tls = if way.tls { "" } else { ";no-tls" };
        let alpn = if way.http2 { "h2" } else { "http/1.1" };
        let child = Command::new("nghttpx")
            .arg("--conf=/dev/null")
            .arg(format!("--frontend=127.0.0.1,{}{tls}", port.number))
            .arg(format!("--backend=127.0.0.1,{}", origin.port()))
            .arg(format!("--npn-list={alpn}"))
            .args(["--no-via", "--no-server-rewrite", "--no-location-rewrite", "--single-process"])
            .args(["--no-add-x-forwarded-proto", "--no-strip-incoming-x-forwarded-proto"])
            .args(["--workers=1", "--no-ocsp", "--log-level=FATAL", "--accesslog-file=/dev/null"])
            .args([authority.path("o.key"), authority.path("o.pem")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nghttpx is needed for this test (Debian: nghttp2-proxy)");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number));
        eventually("nghttpx to listen", || Wire::try_connect(address).is_some());
        Front { child, port, _folder: folder }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn play(file: &Path, client: Way, origin: Way, authority: &Authority) -> Result<(), String> {
    let golden = Golden::read(file);
    let origins = golden.origins();
    let mut fronts = Vec::new();
    let mut addresses = Vec::new();
    for (name, scripted) in &origins {
        let mut address = scripted.address;
        if origin.tls || origin.http2 {
            let front = Front::before(address, origin, authority);
            address.set_port(front.port.number);
            fronts.push(front);
        }
        addresses.push((name.clone(), address));
    }
    let mut setup =
        gateway(&config(&golden.config(), client, origin)).with("C", authority.folder());
    for (name, address) in &addresses {
        setup = setup.with(name, address);
    }
    let gateway = setup.start();
    let sends = golden.all("client sends");
    for (sent, expected) in sends.iter().zip(golden.all("client gets")) {
        let sent = golden::message(&golden::fill(sent, &addresses));
        let is_head = sent.starts_with("HEAD ");
        let expected = golden::message(&golden::fill(&expected, &addresses));
        let got = ask(&gateway, &sent, client, authority)?;
        compare("the client", &got, &Message::all(&expected, is_head))?;
    }
    for (name, scripted) in &origins {
        let receives = golden.all(&format!("{name} receives"));
        let mut requests = scripted.requests().into_iter();
        for expected in receives {
            let text = golden::message(&golden::fill(&expected, &addresses));
            let wanted = Message::all(&text, false);
            let got = requests.next().map(|r| String::from_utf8(r.raw).expect("UTF-8"));
            let got = got.map(|text| Message::all(&text, false)).unwrap_or_default();
            compare(name, &got, &wanted)?;
        }
    }
    let asked: usize = origins.iter().map(|(_, scripted)| scripted.requests().len()).sum();
    let streams = gateway.metric("ringway_upstream_http2_streams_total", &[]);
    if (streams > 0.0) != (origin.http2 && asked > 0) {
        return Err(format!("{asked} requests at origins, {streams} streams of HTTP/2"));
    }
    Ok(())
}

fn compare(who: &str, got: &[Message], expected: &[Message]) -> Result<(), String> {
    let alike = got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| g.is_as(e));
    if alike { Ok(()) } else { Err(format!("{who} got\n  {got:?}\nnot\n  {expected:?}")) }
}

/// The configuration of a golden exchange with its sides spoken to otherwise.
fn config(text: &str, client: Way, origin: Way) -> String {
    // Each request comes on a connection of its own, and a core knows its own caches only.
    let mut out = String::from("workers = 1\n");
    for line in text.lines() {
        out.push_str(line);
        out.push('\n');
        if line.starts_with("[upstream.") {
            if origin.tls {
                out.push_str("tls = { roots = \"@C@/root.pem\" }\n");
            }
            if origin.http2 {
                out.push_str("http2 = true\n");
            }
        }
    }
    if client.tls {
        out.push_str("\n[[listen]]\naddress = \"@LISTEN@\"\n[listen.tls]\n");
        out.push_str("certificates = [{ cert = \"@C@/o.pem\", key = \"@C@/o.key\" }]\n");
    }
    out
}

/// Sends a request of HTTP/1.1 as it would be in the client's version.
fn ask(
    gateway: &Gateway,
    sent: &str,
    client: Way,
    authority: &Authority,
) -> Result<Vec<Message>, String> {
    let folder = Folder::new();
    let message = Message::all(sent, false).remove(0);
    let (method, target) = message.first.split_once(' ').expect("method and target");
    let host = message.fields.iter().find(|(name, _)| name == "host").expect("Host");
    let scheme = if client.tls { "https" } else { "http" };
    let version = match client {
        Way { http2: false, .. } => "--http1.1",
        Way { tls: true, .. } => "--http2",
        Way { .. } => "--http2-prior-knowledge",
    };
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--path-as-is", version, "-D", "head", "-o", "body"])
        .args(["-w", "%{http_version}", "--connect-to"])
        .arg(format!("::127.0.0.1:{}", gateway.address.port()))
        .arg("--cacert")
        .arg(authority.path("root.pem"))
        .args(["-H", "Accept:", "-H", "User-Agent:", "-H", "Content-Type:", "-H", "Expect:"])
        .current_dir(folder.path());
    for (name, value) in message.fields.iter().filter(|(name, _)| name != "host") {
        curl.arg("-H").arg(format!("{name}: {value}"));
    }
    if method == "HEAD" {
        curl.arg("--head");
    } else {
        curl.args(["-X", method]);
    }
    let length = sent.to_ascii_lowercase().contains("content-length:");
    if !message.body.is_empty() || length {
        std::fs::write(folder.path().join("sent"), &message.body).unwrap();
        curl.args(["--data-binary", "@sent"]);
        if !length {
            curl.args(["-H", "Transfer-Encoding: chunked"]);
        }
    }
    let output = curl.arg(format!("{scheme}://{}{target}", host.1)).output().expect("curl");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let spoken = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || spoken != if client.http2 { "2" } else { "1.1" } {
        return Err(format!("curl: HTTP/{spoken}: {said}"));
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    // For HEAD curl writes the heads there, too.
    let body = if method == "HEAD" { String::new() } else { read("body") };
    Ok(answers(&read("head"), body))
}

/// What curl wrote: heads, then trailers; the body stands elsewhere.
fn answers(heads: &str, body: String) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    for block in heads.split("\r\n\r\n").filter(|block| !block.trim().is_empty()) {
        let block = block.trim_start_matches("\r\n");
        if block.starts_with("HTTP/") {
            all.push(Message::of_head(block));
        } else {
            let trailers = Message::of_head(&format!("T T\r\n{block}")).fields;
            all.last_mut().expect("a head first").trailers.extend(trailers);
        }
    }
    all.last_mut().expect("a head").body = body;
    all
}
