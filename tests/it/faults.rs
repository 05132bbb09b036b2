//! What an origin can do wrong, one by one: each fault has its status, its Proxy-Status and its word in the
//! access log; none hangs, none is passed off as a whole answer, none spoils the next request.
//!
//! The table of docs/operating.md ("When an origin fails") says the same in words. A body that is cut never
//! looks whole to the client: a chunked one lacks its last chunk, one with a length is short, one that ends
//! with its connection ends with a reset (RFC 9112 §8).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use crate::support::faults::{config, failing, next_is_served, send};
use crate::support::gateway::gateway;
use crate::support::origin::{Origin, Step, ok, read_request};
use crate::support::wire::request;
use crate::support::{Gate, PATIENCE};

/// What must become of an answer.
enum Becomes {
    /// An error of ours.
    Problem(u16, &'static str),
    /// A response that has begun and is visibly cut.
    Cut(&'static str),
    /// The whole response with this content.
    Whole(u16, &'static str),
}

use Becomes::{Cut, Problem, Whole};

/// Plays one request against `origin` and checks answer, access log, and that the next request is served.
#[track_caller]
fn plays(what: &str, origin: &Origin, upstream: &str, asked: &[u8], becomes: &Becomes) {
    let gateway = gateway(&config(upstream)).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send_perhaps(asked);
    let method = String::from_utf8_lossy(asked).split(' ').next().unwrap().to_string();
    let got = client.try_response(&method);
    let (status, fault) = match (becomes, got) {
        (Problem(status, fault), Ok(response)) => {
            let response = response.expect_problem(*status);
            let told = response.field("proxy-status").unwrap();
            assert!(told.contains(&format!("error={fault}")), "{what}: {told}");
            assert!(response.field("date").is_some(), "{what}: one Date");
            (*status, Some(*fault))
        }
        (Cut(fault), Err(_)) => (200, Some(*fault)),
        (Whole(status, body), Ok(response)) => {
            assert_eq!(response.expect(*status).text(), *body, "{what}");
            (*status, None)
        }
        (Cut(_), Ok(response)) => panic!("{what}: a cut body looked whole: {response:?}"),
        (_, Err(why)) => panic!("{what}: no answer: {why}"),
    };
    next_is_served(what, &gateway);
    let line = &gateway.access_log(2)[0];
    assert_eq!(line["status"], status, "{what}: {line}");
    match fault {
        Some(fault) => assert_eq!(line["fault"], fault, "{what}: {line}"),
        None => assert!(line["fault"].is_null(), "{what}: {line}"),
    }
}

#[track_caller]
fn get_becomes(what: &str, steps: fn() -> Vec<Step>, becomes: &Becomes) {
    let origin = failing(move |_| steps());
    plays(what, &origin, "", &request("GET", "/bad", &[], b""), becomes);
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn an_origin_that_dies_before_or_in_its_head_is_a_502() {
    let terminated = Problem(502, "connection_terminated");
    get_becomes("closed at once", || vec![Step::Close], &terminated);
    get_becomes("reset at once", || vec![Step::Reset], &terminated);
    get_becomes("half-closed at once", || vec![Step::HalfClose], &terminated);
    let incomplete = Problem(502, "http_response_incomplete");
    get_becomes(
        "closed in its head",
        || vec![send("HTTP/1.1 200 OK\r\nConte"), Step::Close],
        &incomplete,
    );
    get_becomes(
        "half-closed in its head",
        || vec![send("HTTP/1.1 2"), Step::HalfClose],
        &incomplete,
    );
}

#[test]
fn a_reset_in_the_head_is_a_502() {
    // Linux throws away what was not read when a reset comes: either word may be the right one.
    let origin = failing(|_| vec![send("HTTP/1.1 200 OK\r\nConte"), Step::Reset]);
    let gateway = gateway(&config("")).with("app", origin.address).start();
    gateway.get("/bad").expect_problem(502);
    next_is_served("reset in its head", &gateway);
    let fault = gateway.access_log(1)[0]["fault"].as_str().unwrap().to_string();
    assert!(["http_response_incomplete", "connection_terminated"].contains(&&*fault), "{fault}");
}

#[test]
fn an_origin_that_dies_after_an_interim_response_is_a_502_and_is_not_asked_again() {
    for interim in
        ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
    {
        let origin = failing(move |_| vec![send(interim), Step::Close]);
        let incomplete = Problem(502, "http_response_incomplete");
        plays(interim, &origin, "", &request("GET", "/bad", &[], b""), &incomplete);
        // Also on a kept connection, where silence before the close would be a reason to try again.
        let origin = failing(move |_| vec![send(interim), Step::Close]);
        let gateway = gateway(&config("")).with("app", origin.address).start();
        gateway.get("/fine").expect(200);
        gateway.get("/bad").expect_problem(502);
        let bad = origin.requests().iter().filter(|request| request.target == "/bad").count();
        assert_eq!(bad, 1, "{interim}");
    }
}

#[test]
fn a_body_with_a_length_that_ends_early_is_cut() {
    let cut = Cut("http_response_incomplete");
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    for ending in [|| Step::Close, || Step::Reset, || Step::HalfClose] as [fn() -> Step; 3] {
        for body in ["", "only this"] {
            let origin = failing(move |_| vec![send(&format!("{start}{body}")), ending()]);
            let gateway = gateway(&config("")).with("app", origin.address).start();
            let mut client = gateway.connect();
            client.send(request("GET", "/bad", &[], b""));
            let got = client.try_response("GET");
            // A reset may overtake the head; then the answer is a 502.
            assert!(
                got.is_err() || got.is_ok_and(|r| r.status == 502),
                "a short body looked whole"
            );
            next_is_served("cut", &gateway);
        }
    }
    get_becomes(
        "closed in its body",
        || vec![send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this"), Step::Close],
        &cut,
    );
}

#[test]
fn a_chunked_body_is_cut_wherever_it_ends() {
    let whole = "5\r\nhello\r\n7;x=y\r\n world!\r\n0\r\nX-Sum: 42\r\n\r\n";
    for at in 0..whole.len() {
        let origin = Origin::answering_then_closing(format!("{CHUNKED}{}", &whole[..at]));
        let gateway = gateway(&config("")).with("app", origin.address).start();
        let mut client = gateway.connect();
        client.send(request("GET", "/bad", &[], b""));
        assert!(client.try_response("GET").is_err(), "cut at {:?}", &whole[..at]);
        let line = &gateway.access_log(1)[0];
        assert_eq!(line["fault"], "http_response_incomplete", "{line}");
    }
}

#[test]
fn a_chunked_body_that_is_not_one_is_cut() {
    for (what, bad) in [
        ("no size", "xyz\r\n"),
        ("bare LF", "5\nhello\r\n0\r\n\r\n"),
        ("no CRLF behind data", "5\r\nhelloXX0\r\n\r\n"),
        ("a size beyond 63 bits", "ffffffffffffffff\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a framing field among the trailers", "0\r\nbad line\r\n\r\n"),
    ] {
        // What comes together with the head is seen before anything is sent: then the answer is a 502.
        let together = format!("{CHUNKED}5\r\nhello\r\n{bad}");
        let origin = failing(move |_| vec![send(&together)]);
        let asked = request("GET", "/bad", &[], b"");
        plays(what, &origin, "", &asked, &Problem(502, "http_protocol_error"));

        let seen = Gate::new();
        let held = seen.clone();
        let origin = failing(move |_| {
            let start = format!("{CHUNKED}5\r\nhello\r\n");
            vec![send(&start), Step::Wait(held.clone()), send(bad)]
        });
        let gateway = gateway(&config("")).with("app", origin.address).start();
        let mut client = gateway.connect();
        client.send(asked);
        assert_eq!(client.try_head().unwrap().status, 200);
        client.read_some(1);
        seen.open();
        let rest = client.until_close();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{what}: {:?}", String::from_utf8_lossy(&rest));
        next_is_served(what, &gateway);
        assert_eq!(gateway.access_log(1)[0]["fault"], "http_protocol_error", "{what}");
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole_after_a_close_and_cut_after_a_reset() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    get_becomes(
        "closed",
        || vec![send("HTTP/1.1 200 OK\r\n\r\nall"), Step::Close],
        &Whole(200, "all"),
    );
    get_becomes(
        "half-closed",
        || vec![send("HTTP/1.1 200 OK\r\n\r\nall"), Step::HalfClose],
        &Whole(200, "all"),
    );
    get_becomes(
        "HTTP/1.0",
        || vec![send("HTTP/1.0 200 OK\r\n\r\nall"), Step::Close],
        &Whole(200, "all"),
    );
    // The reset comes only when the client has the beginning, so that it cannot overtake it.
    let seen = Gate::new();
    let held = seen.clone();
    let origin = failing(move |_| {
        vec![send(&format!("{head}begun")), Step::Wait(held.clone()), Step::Reset]
    });
    let gateway = gateway(&config("")).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(request("GET", "/bad", &[], b""));
    assert_eq!(client.try_head().unwrap().status, 200);
    client.read_some(1);
    seen.open();
    let rest = client.until_close();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    next_is_served("reset", &gateway);
    assert_eq!(gateway.access_log(1)[0]["fault"], "http_response_incomplete");
}

#[test]
fn an_http_1_0_client_sees_a_cut_body_by_a_reset() {
    let seen = Gate::new();
    let held = seen.clone();
    let origin = failing(move |_| {
        vec![send(&format!("{CHUNKED}5\r\nhello\r\n")), Step::Wait(held.clone()), Step::Close]
    });
    let gateway = gateway(&config("")).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send("GET /bad HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 200);
    assert_eq!(client.read_some(5), b"hello");
    seen.open();
    let end = client.stream().read(&mut [0; 16]);
    let reset = matches!(&end, Err(error) if error.kind() == ErrorKind::ConnectionReset);
    assert!(reset, "a cut body that ends with its connection must end with a reset: {end:?}");
    next_is_served("cut", &gateway);
}

#[test]
fn an_answer_that_is_no_http_is_a_502() {
    let error = Problem(502, "http_protocol_error");
    get_becomes("garbage", || vec![send("complete garbage\r\n\r\n")], &error);
    get_becomes("binary", || vec![Step::Send(vec![0, 255, 1, 254, 13, 10, 13, 10])], &error);
    get_becomes("HTTP/0.9", || vec![send("<html>hello</html>\r\n"), Step::Close], &error);
    get_becomes("another version", || vec![send("HTTP/2.0 200 OK\r\n\r\n")], &error);
    get_becomes("ICY", || vec![send("ICY 200 OK\r\n\r\n")], &error);
    get_becomes("two digits", || vec![send("HTTP/1.1 20 OK\r\n\r\n")], &error);
    get_becomes("a status of 999", || vec![send("HTTP/1.1 099 No\r\n\r\n")], &error);
    get_becomes(
        "a field without a colon",
        || vec![send("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n")],
        &error,
    );
    get_becomes("NUL", || vec![send("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n")], &error);
}

#[test]
fn an_answer_whose_length_is_in_doubt_is_a_502() {
    let error = Problem(502, "http_protocol_error");
    get_becomes(
        "two lengths",
        || vec![send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")],
        &error,
    );
    get_becomes("minus", || vec![send("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")], &error);
    get_becomes("words", || vec![send("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab")], &error);
    get_becomes(
        "beyond 64 bits",
        || vec![send("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nab")],
        &error,
    );
    get_becomes(
        "a length and a coding",
        || {
            vec![send(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )]
        },
        &error,
    );
}

#[test]
fn a_head_beyond_all_bounds_is_a_502() {
    let error = Problem(502, "http_response_header_section_size");
    get_becomes(
        "one long field",
        || vec![send(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(300_000)))],
        &error,
    );
    get_becomes(
        "many fields",
        || vec![send(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(5_000)))],
        &error,
    );
    get_becomes(
        "interim without end",
        || vec![send(&"HTTP/1.1 103 Hm\r\n\r\n".repeat(50))],
        &Problem(502, "http_protocol_error"),
    );
}

#[test]
fn an_odd_answer_that_is_unambiguous_is_whole() {
    get_becomes(
        "no reason",
        || vec![send("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")],
        &Whole(200, "ok"),
    );
    get_becomes(
        "no space",
        || vec![send("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")],
        &Whole(200, "ok"),
    );
    get_becomes(
        "byte by byte",
        || vec![Step::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec())],
        &Whole(200, "hello"),
    );
    get_becomes(
        "chunks byte by byte",
        || vec![Step::Drip(format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n").into_bytes())],
        &Whole(200, "hello"),
    );
    get_becomes(
        "half-closed behind",
        || vec![send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Step::HalfClose],
        &Whole(200, "ok"),
    );
    get_becomes(
        "interim in front",
        || {
            vec![send(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hm\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            )]
        },
        &Whole(200, "ok"),
    );
}

#[test]
fn bytes_behind_an_answer_are_nobodys() {
    let stolen = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        for behind in ["garbage", stolen] {
            let origin = failing(move |_| vec![send(&format!("{first}{behind}"))]);
            let asked = request("GET", "/bad", &[], b"");
            plays(behind, &origin, "", &asked, &Whole(200, "ok"));
            assert!(origin.connections() > 1, "a connection with bytes behind is not used again");
        }
    }
}

#[test]
fn content_where_there_can_be_none_is_nobodys() {
    let stolen = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    for (method, first, status) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n", 200),
        ("GET", "HTTP/1.1 204 No\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 No\r\nContent-Length: 41\r\nETag: \"x\"\r\n\r\n", 304),
    ] {
        let origin = failing(move |_| vec![send(&format!("{first}{stolen}"))]);
        let asked = request(method, "/bad", &[], b"");
        plays(first, &origin, "", &asked, &Whole(status, ""));
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_nobodys() {
    let (quiet, heard) = mpsc::channel();
    let origin = Origin::raw(move |mut stream, connection| {
        let mut rest = Vec::new();
        while let Ok(Some(_)) = read_request(&mut stream, &mut rest) {
            let _ = stream.write_all(&ok("asked for"));
            if connection == 0 {
                // A second answer, of its own accord, when the first one has been taken.
                let _ = heard_by(&mut stream, &quiet);
            }
        }
    });
    let gateway = gateway(&config("")).with("app", origin.address).start();
    let mut client = gateway.connect();
    assert_eq!(client.get("/1", &[]).expect(200).text(), "asked for");
    heard.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/2", &[]).expect(200).text(), "asked for");
    }
    assert_eq!(origin.connections(), 2);
}

fn heard_by(stream: &mut TcpStream, quiet: &mpsc::Sender<()>) -> std::io::Result<()> {
    stream.write_all(&ok("forced upon you"))?;
    let _ = quiet.send(());
    Ok(())
}

#[test]
fn an_origin_that_stalls_is_a_504_or_a_cut() {
    let silent = Gate::new();
    for (start, becomes) in [
        ("", Problem(504, "http_response_timeout")),
        ("HTTP/1.1 200 OK\r\nConte", Problem(504, "http_response_timeout")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", Cut("http_response_timeout")),
        ("HTTP/1.1 200 OK\r\n\r\nsome", Cut("http_response_timeout")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
            Cut("http_response_timeout"),
        ),
    ] {
        let held = silent.clone();
        let origin = failing(move |_| vec![send(start), Step::Wait(held.clone()), Step::Close]);
        let timeout = "timeout = { first_byte = \"150ms\", idle = \"150ms\" }";
        plays(start, &origin, timeout, &request("GET", "/bad", &[], b""), &becomes);
    }
    silent.open();
}

#[test]
fn an_endpoint_that_refuses_is_a_502_and_one_that_never_answers_is_a_504() {
    let (_port, refusing) = Origin::refusing();
    let refused = gateway(&config("")).with("app", refusing).start();
    let told = refused.get("/").expect_problem(502);
    assert!(told.field("proxy-status").unwrap().contains("error=connection_refused"), "{told:?}");
    assert_eq!(refused.access_log(1)[0]["fault"], "connection_refused");

    let (_full, address, _waiting) = black_hole();
    let lost = gateway(&config("timeout = { connect = \"150ms\" }")).with("app", address).start();
    let told = lost.get("/").expect_problem(504);
    assert!(told.field("proxy-status").unwrap().contains("error=connection_timeout"), "{told:?}");
    assert_eq!(lost.access_log(1)[0]["fault"], "connection_timeout");
}

/// An address where connecting never ends: its queue is full and nobody accepts (listen(2): with
/// `tcp_abort_on_overflow` off, the kernel drops what it cannot queue).
fn black_hole() -> (TcpListener, std::net::SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    shrink_backlog(&listener);
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let try_for = std::time::Duration::from_millis(200);
    while let Ok(stream) = TcpStream::connect_timeout(&address, try_for) {
        waiting.push(stream);
        assert!(waiting.len() < 64, "the queue does not fill");
    }
    (listener, address, waiting)
}

#[expect(unsafe_code, reason = "std has no way to choose a backlog")]
fn shrink_backlog(listener: &TcpListener) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open; listen(2) again only changes the backlog.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0, "listen(2)");
}
