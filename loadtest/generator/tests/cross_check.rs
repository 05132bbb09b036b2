//! The generator against others (wrk, h2load, oha) and against servers that do wrong: never a length of time asserted,
//! only counts that must be exact and ratios with wide bounds.
//!
//! Needs Debian's wrk, nghttp2-client, nginx and openssl; a tool that is missing fails its test, except oha: neither Debian
//! nor PyPI has it, and `cargo install oha` builds 479 packages, aws-lc and zstd in C among them, for far more than the two
//! minutes that CI could spare. It is compared where somebody has it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How far two generators may be apart in what a busy machine lets each of them do.
const APART: f64 = 10.0;

struct Server {
    child: Child,
    port: u16,
    folder: Option<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.folder.iter().for_each(|folder| drop(std::fs::remove_dir_all(folder)));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for(port: u16) {
    for _ in 0..1000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("nothing listens on {port}");
}

fn origin() -> Server {
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_origin"));
    let child = command.arg(port.to_string()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(port);
    Server { child, port, folder: None }
}

/// nginx that answers 1,000 bytes itself, over HTTP/2 and TLS.
fn nginx(tls: bool) -> Server {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("loadtest-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (at, port) = (folder.display().to_string(), free_port());
    let mut how = String::from("http2");
    let mut files = String::new();
    if tls {
        certificate(&folder);
        how += " ssl";
        files = format!("ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;");
    }
    let body = "x".repeat(1000);
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; keepalive_requests 1000000;\n\
         server {{ listen 127.0.0.1:{port} {how}; {files} location / {{ return 200 \"{body}\"; }} }} }}"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let child = Command::new("nginx")
        .args(["-p", &at, "-c", &format!("{at}/nginx.conf")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is needed: apt-get install nginx");
    wait_for(port);
    Server { child, port, folder: Some(folder) }
}

fn certificate(folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &at("key.pem"), "-out", &at("cert.pem")])
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl is needed: apt-get install openssl").success());
}

fn load(url: &str, more: &[&str]) -> Value {
    let done = Command::new(env!("CARGO_BIN_EXE_load"))
        .arg(url)
        .arg("--json")
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&done.stderr)))
}

fn tool(name: &str, arguments: &[&str]) -> String {
    let done = Command::new(name).args(arguments).output();
    let done =
        done.unwrap_or_else(|_| panic!("{name} is needed: apt-get install wrk nghttp2-client"));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The number behind a word in a tool's report.
fn behind(text: &str, word: &str) -> f64 {
    let rest =
        &text[text.find(word).unwrap_or_else(|| panic!("no `{word}` in {text}")) + word.len()..];
    let rest = rest.trim_start_matches([':', ' ']);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_else(|_| panic!("no number behind `{word}` in {text}"))
}

/// A latency with its unit, in microseconds. Percentiles are asked with the blanks before them: `90.50%` is a deviation.
fn micros(text: &str, word: &str) -> f64 {
    let value = behind(text, word);
    let line = &text[text.find(word).unwrap()..];
    let line = line.lines().next().unwrap();
    match () {
        _ if line.contains("us") => value,
        _ if line.contains("ms") => value * 1e3,
        _ => value * 1e6,
    }
}

#[track_caller]
fn close_enough(what: &str, ours: f64, theirs: f64) {
    let ratio = ours / theirs;
    assert!((1.0 / APART..=APART).contains(&ratio), "{what}: ours {ours}, theirs {theirs}");
}

#[test]
fn wrk_sees_the_same_rate_and_latency() {
    let server = origin();
    // An answer takes 5 ms, so that latency is the server's and not the machine's.
    let url = format!("http://127.0.0.1:{}/d5ms/small", server.port);
    let ours = load(&url, &["--connections", "16", "--secs", "1"]);
    let theirs = tool("wrk", &["-t1", "-c16", "-d1s", "--latency", &url]);
    assert_eq!(ours["failed"], 0, "{ours}");
    close_enough("rate", ours["rate"].as_f64().unwrap(), behind(&theirs, "Requests/sec"));
    close_enough("p50", ours["latency_us"]["p50"].as_f64().unwrap(), micros(&theirs, "  50%"));
    close_enough("p99", ours["latency_us"]["p99"].as_f64().unwrap(), micros(&theirs, "  99%"));
    // No answer can be quicker than the server makes it.
    assert!(ours["latency_us"]["counts"][0][0].as_f64().unwrap() >= 4_900.0, "{ours}");
    let per_answer = behind(&theirs, "requests in");
    assert!(per_answer > 0.0);
}

#[test]
fn h2load_counts_the_same_over_http_1() {
    let server = origin();
    let url = format!("http://127.0.0.1:{}/64k", server.port);
    let ours = load(&url, &["--requests", "2000", "--connections", "8", "--secs", "60"]);
    let theirs = tool("h2load", &["--h1", "-n2000", "-c8", "-t1", &url]);
    assert!(theirs.contains("2000 succeeded"), "{theirs}");
    assert_eq!((&ours["answers"], &ours["good"]), (&2000.into(), &2000.into()));
    assert_eq!(ours["bytes"], 2000 * 65536);
    assert_eq!(ours["connections"], 8);
    close_enough("rate", ours["rate"].as_f64().unwrap(), behind(&theirs, "s, "));
}

#[test]
fn h2load_counts_the_same_over_http_2() {
    let server = nginx(false);
    let url = format!("http://127.0.0.1:{}/", server.port);
    let ours = load(&url, &["--http2", "-m", "8", "-c", "4", "--requests", "4000", "--secs", "60"]);
    let theirs = tool("h2load", &["-n4000", "-c4", "-m8", "-t1", &url]);
    assert!(theirs.contains("4000 succeeded"), "{theirs}");
    assert_eq!((&ours["good"], &ours["connections"]), (&4000.into(), &4.into()), "{ours}");
    assert_eq!(ours["bytes"], 4_000_000);
    close_enough("rate", ours["rate"].as_f64().unwrap(), behind(&theirs, "s, "));
}

#[test]
fn tls_is_checked_and_every_connection_of_a_churn_is_new() {
    let server = nginx(true);
    let url = format!("https://127.0.0.1:{}/", server.port);
    let ca = server.folder.as_ref().unwrap().join("cert.pem").display().to_string();
    for http2 in [&[][..], &["--http2", "-m", "4"]] {
        let bounded = ["--ca", &ca, "--secs", "60", "--requests", "200", "-c", "4"];
        let kept = load(&url, &[&bounded[..], http2].concat());
        assert_eq!((&kept["good"], &kept["connections"]), (&200.into(), &4.into()), "{kept}");
        let churned =
            load(&url, &[&bounded[..], http2, &["--churn", "2", "--no-resumption"]].concat());
        assert_eq!(churned["good"], 200, "{churned}");
        assert!(churned["connections"].as_u64().unwrap() > 20, "{churned}");
    }
    // Somebody else's certificate is not believed.
    let other = nginx(true);
    let ca = other.folder.as_ref().unwrap().join("cert.pem").display().to_string();
    let refused = load(&url, &["--ca", &ca, "--secs", "60", "--requests", "3", "-c", "1"]);
    assert_eq!(
        (&refused["answers"], &refused["failures"]["handshake"]),
        (&0.into(), &3.into()),
        "{refused}"
    );
}

#[test]
fn oha_counts_the_same_where_it_is() {
    if Command::new("oha").arg("--version").output().is_err() {
        eprintln!("no oha here: cargo install oha, minutes of building for a third opinion");
        return;
    }
    let server = origin();
    let url = format!("http://127.0.0.1:{}/d5ms/small", server.port);
    let ours = load(&url, &["--requests", "2000", "--connections", "16", "--secs", "60"]);
    let theirs =
        tool("oha", &["-n", "2000", "-c", "16", "--no-tui", "--output-format", "json", &url]);
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    assert_eq!(theirs["statusCodeDistribution"]["200"], ours["good"], "{theirs}");
    close_enough(
        "rate",
        ours["rate"].as_f64().unwrap(),
        theirs["summary"]["requestsPerSec"].as_f64().unwrap(),
    );
    let p50 = theirs["latencyPercentiles"]["p50"].as_f64().unwrap() * 1e6;
    close_enough("p50", ours["latency_us"]["p50"].as_f64().unwrap(), p50);
}

/// A server on one thread: `answer` is told the number of the request and writes what it likes.
fn scripted(
    connections: usize,
    answer: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (answer, count) = (&answer, &AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..connections {
                let Ok((mut socket, _)) = listener.accept() else { return };
                scope.spawn(move || {
                    let (mut bytes, mut head) = ([0; 4096], Vec::new());
                    while let Ok(came @ 1..) = socket.read(&mut bytes) {
                        head.extend_from_slice(&bytes[..came]);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            answer(count.fetch_add(1, Ordering::SeqCst), &mut socket);
                        }
                    }
                });
            }
        });
    });
    port
}

fn say(socket: &mut TcpStream, text: &str) {
    let _ = socket.write_all(text.as_bytes());
}

#[test]
fn a_server_that_stands_still_cannot_hide_it() {
    // The hundredth request finds the server asleep for 400 ms; at 1,000 a second 400 users would have met that.
    let port = scripted(1, |number, socket| {
        if number == 100 {
            let until = Instant::now() + Duration::from_millis(400);
            while Instant::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
        say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let url = format!("http://127.0.0.1:{port}/");
    let seen = load(&url, &["-c", "1", "--rate", "1000", "--secs", "1"]);
    let slow = |histogram: &Value| -> u64 {
        let counts = histogram["counts"].as_array().unwrap().iter();
        counts.filter(|b| b[0].as_f64().unwrap() >= 100_000.0).map(|b| b[1].as_u64().unwrap()).sum()
    };
    let all = seen["answers"].as_u64().unwrap()
        + seen["unsent"].as_u64().unwrap()
        + seen["failed"].as_u64().unwrap();
    assert_eq!(all, 1000, "every start is accounted for: {seen}");
    assert!(
        slow(&seen["latency_us"]) >= 290,
        "the wait of those that came meanwhile counts: {seen}"
    );
    assert!(
        slow(&seen["latency_us"]) > slow(&seen["service_us"]),
        "a closed loop would have seen one: {seen}"
    );
}

#[test]
fn a_server_that_is_behind_is_not_credited_with_what_it_was_asked() {
    let server = origin();
    // One connection and 5 ms an answer: at most 200 a second, whatever is asked.
    let url = format!("http://127.0.0.1:{}/d5ms/small", server.port);
    let seen = load(&url, &["-c", "1", "--rate", "1000", "--secs", "0.5"]);
    assert_eq!(seen["answers"], 500, "{seen}");
    assert!(seen["rate"].as_f64().unwrap() < 210.0, "{seen}");
}

#[test]
fn wrong_answers_are_found_while_loading() {
    let port = scripted(1, |number, socket| {
        say(
            socket,
            match number % 10 {
                3 => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
                5 => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
                7 => "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nok",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            },
        );
    });
    let url = format!("http://127.0.0.1:{port}/");
    let seen = load(&url, &["-c", "1", "--requests", "1000", "--secs", "60"]);
    assert_eq!(seen["good"], 700, "{seen}");
    for kind in ["content", "length", "status"] {
        assert_eq!(seen["failures"][kind], 100, "{seen}");
    }
    assert_eq!(seen["statuses"]["500"], 100);
}

#[test]
fn connections_that_end_early_and_answers_that_never_come_are_failures() {
    let port = scripted(1000, |number, socket| match number % 4 {
        1 => drop(socket.shutdown(std::net::Shutdown::Both)),
        2 => {
            say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            drop(socket.shutdown(std::net::Shutdown::Both));
        }
        // Never answered.
        3 => {}
        _ => say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    });
    let url = format!("http://127.0.0.1:{port}/");
    let seen = load(&url, &["-c", "1", "--requests", "12", "--secs", "60", "--timeout", "0.3"]);
    assert_eq!(
        (&seen["failures"]["closed"], &seen["failures"]["timeout"]),
        (&6.into(), &3.into()),
        "{seen}"
    );
    assert_eq!((&seen["good"], &seen["answers"]), (&3.into(), &3.into()), "{seen}");
    // What never came waited at least so long, and makes the figures worse.
    assert!(seen["latency_us"]["max"].as_f64().unwrap() >= 290_000.0, "{seen}");
}

#[test]
fn nothing_but_loopback_is_asked_and_every_bound_is_said() {
    for (arguments, words) in [
        (&["http://192.0.2.1/"][..], "not loopback"),
        (&["https://127.0.0.1/"], "--ca"),
        (&["http://127.0.0.1/", "--connections", "1000000"], "--connections 1000000: from 1 to"),
        (&["http://127.0.0.1/", "--secs", "100000"], "--secs 100000: from 0 to"),
        (&["http://127.0.0.1/", "--rate", "0"], "--rate 0: from"),
    ] {
        let done = Command::new(env!("CARGO_BIN_EXE_load")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
}
