//! The admin listener over real sockets: what it answers, to whom it does not listen, how it ends.

use std::io::{Read, Write};
use std::sync::Mutex;

use super::*;
use crate::base::limits::ADMIN_HEAD_BYTES_MAX;

struct Shown(Mutex<Readiness>, Mutex<Vec<String>>);

impl State for Shown {
    fn readiness(&self) -> Readiness {
        self.0.lock().expect("not poisoned").clone()
    }

    fn metrics(&self) -> String {
        "x_total 1\n".to_owned()
    }

    fn purge(&self, what: Purging<'_>) {
        self.1.lock().expect("not poisoned").push(format!("{what:?}"));
    }
}

fn started() -> (Admin, SocketAddr, Arc<Shown>) {
    let state = Arc::new(Shown(Mutex::new(Readiness::Ready), Mutex::default()));
    let any_port = AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let admin = Admin::start(any_port, state.clone()).expect("a free port");
    let AdminAddress::Tcp(address) = *admin.address() else { panic!("TCP was asked for") };
    (admin, address, state)
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"))
}

#[test]
fn the_three_pages_answer_and_nothing_else_does() {
    let (admin, address, _) = started();
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 OK\r\n"));
    let metrics = get(address, "/metrics");
    assert!(metrics.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.contains("\r\n\r\nx_total 1\n") && metrics.contains("process_open_fds"));
    assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
    let refused = ask(address, "DELETE /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nAllow: GET, HEAD\r\n"));
    admin.stop();
}

#[test]
fn stored_responses_are_removed_by_post_and_never_for_a_web_page() {
    let (admin, address, state) = started();
    let post = |target: &str, fields: &str| {
        ask(address, &format!("POST /cache/purge{target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    };
    for target in ["?all", "?key=a.example/x%3Fb=1", "?prefix=a.example/", "?tag=news"] {
        assert!(post(target, "Content-Length: 0\r\n").starts_with("HTTP/1.1 200 "), "{target}");
    }
    for target in [
        "",
        "?",
        "?key=",
        "?key=%zz",
        "?page=1",
        "?key=a&tag=b",
        "?key=/x",
        "?prefix=https://a.example/",
    ] {
        assert!(post(target, "").starts_with("HTTP/1.1 400 "), "{target}");
    }
    assert!(post("?all", "Origin: http://evil.example\r\n").starts_with("HTTP/1.1 403 "));
    let refused = get(address, "/cache/purge?all");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nAllow: POST\r\n"));
    let done = state.1.lock().expect("not poisoned");
    let [all, key, prefix, tag] = &done[..] else { panic!("{done:?}") };
    assert_eq!(all, "All");
    assert!(key.starts_with("Key(") && prefix.starts_with("Prefix(") && tag.starts_with("Tag("));
    drop(done);
    admin.stop();
}

#[test]
fn head_has_the_length_and_no_body() {
    let (admin, address, _) = started();
    let answer = ask(address, "HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.contains("\r\nContent-Length: 6\r\n") && answer.ends_with("\r\n\r\n"));
    admin.stop();
}

#[test]
fn not_ready_says_why() {
    let (admin, address, state) = started();
    *state.0.lock().expect("not poisoned") = Readiness::NotReady("draining".into());
    let answer = get(address, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready: draining\n"));
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200 "));
    admin.stop();
}

#[test]
fn slow_clients_on_every_seat_do_not_keep_a_probe_out() {
    let (admin, address, _) = started();
    let mut slow = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /livez HT").expect("it reads");
        slow.push(stream);
    }
    for _ in 0..3 {
        assert!(get(address, "/livez").starts_with("HTTP/1.1 200 "));
    }
    admin.stop();
    for mut stream in slow {
        // Closed without an answer, by its seat's next holder or by the stop.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn a_head_without_end_is_refused() {
    let (admin, address, _) = started();
    let endless = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(ADMIN_HEAD_BYTES_MAX));
    assert!(ask(address, &endless).starts_with("HTTP/1.1 431 "));
    admin.stop();
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let (admin, address, state) = started();
    let error = Admin::start(AdminAddress::Tcp(address), state).expect_err("it is taken");
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("another program listens there"),
        "{text}"
    );
    admin.stop();
    assert!(TcpStream::connect(address).is_err(), "nobody listens after the stop");
}

#[test]
fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let path = std::env::temp_dir().join(format!("ringway-admin-{}.sock", std::process::id()));
    let _ = fs::remove_file(&path);
    drop(UnixListener::bind(&path).expect("a socket can be made"));
    let (address, state) = (AdminAddress::Unix(path.clone()), started().2);
    let admin = Admin::start(address.clone(), state.clone()).expect("the old one is dead");
    assert!(Admin::start(address.clone(), state.clone()).is_err(), "this one is alive");
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    assert!(answer.ends_with("alive\n"));
    admin.stop();
    assert!(!path.exists());
    fs::write(&path, "not a socket").expect("written");
    assert!(Admin::start(address, state).is_err(), "a file that is no socket stays");
    fs::remove_file(&path).expect("still there");
}
