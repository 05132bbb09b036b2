//! Attacks by clients and by origins: each is cut off as documented while honest clients are served.
//!
//! One worker, so that attackers and honest clients share a core. Nothing here measures time: what an attack
//! costs honest clients in milliseconds is `loadtest/attack`'s business. Asserted is what the attacker sees
//! (docs/limits.md), that honest requests are answered meanwhile, and that what an attacker holds is bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::Gate;
use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, ok, read_request};
use crate::support::wire::{Wire, request};

/// How many buffers are in use now, as of the worker's last tick.
const BUFFERS: &str = "ringway_buffers_in_use";

/// `/own` is answered here, everything else by the origin. `listener` holds further lines of `[[listen]]`.
fn attacked(origin: &Origin, listener: &str) -> Gateway {
    attacked_on(origin, listener, None)
}

fn attacked_on(origin: &Origin, listener: &str, driver: Option<&str>) -> Gateway {
    let config = format!(
        "workers = 1\n[[listen]]\naddress = \"@LISTEN@\"\n{listener}\n\n\
         [upstream.app]\nendpoints = [\"@app@\"]\n\n\
         [[route]]\nmatch = \"/own\"\nrespond = {{ status = 200, body = \"own\" }}\n\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
    );
    let setup = gateway(&config).with("app", origin.address);
    match driver {
        Some(driver) => setup.driver(driver).start(),
        None => setup.start(),
    }
}

/// Honest clients: a new connection for each of two requests, and one that is kept.
#[track_caller]
fn honest(gateway: &Gateway) {
    gateway.get("/own").expect(200);
    gateway.get("/honest").expect(200);
    let mut kept = gateway.connect();
    for _ in 0..5 {
        kept.get("/honest", &[]).expect(200);
    }
}

#[test]
fn slow_heads_hold_no_buffer_and_keep_nobody_out() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "timeout = { head = \"2s\" }");
    let starts =
        ["G", "GET /slow HTTP/1.1\r\nHost: te", "GET /slow HTTP/1.1\r\nHost: test\r\nX: y\r\n"];
    let mut attackers: Vec<Wire> = (0..300).map(|_| gateway.connect()).collect();
    for (number, attacker) in attackers.iter_mut().enumerate() {
        attacker.send(starts[number % 3]);
    }
    honest(&gateway);
    for attacker in &mut attackers {
        attacker.send("e");
    }
    honest(&gateway);
    eventually("slow heads to hold no buffers", || gateway.metric(BUFFERS, &[]) <= 2.0);
    // Byte by byte or not at all: from the first byte on the clock runs for all of them.
    for attacker in &mut attackers {
        attacker.response().expect_problem(408);
        attacker.expect_close();
    }
    honest(&gateway);
}

#[test]
fn a_slow_head_that_becomes_whole_is_served_as_any_other() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    let mut client = gateway.connect();
    let cookie = "c".repeat(20_000);
    let sent = request("POST", "/slow", &[("Cookie", &cookie)], b"all of it");
    // The first request of a connection and a later one, in pieces that end everywhere in the head.
    for _ in 0..2 {
        for piece in sent.chunks(1777) {
            client.send(piece);
            honest(&gateway);
        }
        assert_eq!(client.response_to("POST").expect(200).text(), "content");
    }
    let seen = origin.requests();
    let slow: Vec<_> = seen.iter().filter(|request| request.target == "/slow").collect();
    assert_eq!(slow.len(), 2);
    assert!(slow.iter().all(|r| r.body == b"all of it" && r.field("cookie") == Some(&cookie)));
}

#[test]
fn head_bombs_and_field_floods_are_refused_at_their_bounds() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    honest(&gateway);
    let before = gateway.memory_peak_kib();
    let start = "GET /bomb HTTP/1.1\r\nHost: test\r\n";
    let bombs = [
        (format!("{start}X: {}", "a".repeat(256 * 1024)), 431),
        (format!("{start}{}: x\r\n\r\n", "n".repeat(60 * 1024)), 431),
        (format!("{start}Cookie: {}\r\n\r\n", "c".repeat(40 * 1024)), 431),
        (format!("{start}{}", "X: y\r\n".repeat(40_000)), 431),
        (format!("{start}{}\r\n", "X: y\r\n".repeat(101)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "t".repeat(9 * 1024)), 414),
        (format!("GET /{}", "t".repeat(256 * 1024)), 414),
        (format!("{} / HTTP/1.1\r\n", "M".repeat(256 * 1024)), 431),
        (format!("{start}Connection: {}\r\n\r\n", "a, ".repeat(1000)), 400),
    ];
    for round in 0..5 {
        for (bomb, status) in &bombs {
            let mut attacker = gateway.connect();
            attacker.send_perhaps(bomb);
            let answer = attacker.response();
            assert_eq!(answer.status, *status, "round {round}: {}", &bomb[..60]);
            attacker.expect_close();
        }
        honest(&gateway);
    }
    let grown = gateway.memory_peak_kib() - before;
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
    assert!(origin.requests().iter().all(|request| request.target == "/honest"));
}

#[test]
fn a_flood_of_pipelined_requests_that_reads_nothing_is_held_back() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "timeout = { body = \"1s\" }");
    let mut attacker = gateway.connect().take_stream();
    let flood = request("GET", "/own", &[], b"").repeat(1000);
    // The gateway takes no more while its answers are not read, and in the end lets the attacker go: writing
    // fails with that and with nothing else.
    let flooding = std::thread::spawn(move || {
        let mut sent = 0;
        loop {
            if let Err(error) = attacker.write_all(&flood) {
                return error.kind();
            }
            sent += flood.len();
            assert!(sent < 1 << 30, "a gibibyte of requests was taken although no answer was read");
        }
    });
    honest(&gateway);
    while !flooding.is_finished() {
        honest(&gateway);
    }
    let end = flooding.join().unwrap();
    assert!(matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end:?}");
    eventually("the attacker to be forgotten", || {
        gateway.metric("ringway_connections_open", &[]) == 0.0
    });
    honest(&gateway);
}

/// One client that always has a next request ready and always reads: it must not keep the core to itself.
fn a_greedy_client_leaves_turns_to_others(driver: Option<&str>) {
    let origin = Origin::saying("content");
    let gateway = attacked_on(&origin, "", driver);
    let over = Arc::new(AtomicBool::new(false));
    let mut writing = gateway.connect().take_stream();
    let mut reading = writing.try_clone().unwrap();
    let flood = request("GET", "/own", &[], b"").repeat(1000);
    let (one, other) = (over.clone(), over.clone());
    let writer = std::thread::spawn(move || {
        while !one.load(Ordering::Relaxed) && writing.write_all(&flood).is_ok() {}
        let _ = writing.shutdown(std::net::Shutdown::Both);
    });
    let reader = std::thread::spawn(move || {
        let mut taken = 0;
        let mut piece = vec![0; 1 << 20];
        while let Ok(count @ 1..) = reading.read(&mut piece) {
            taken += count;
            if other.load(Ordering::Relaxed) {
                break;
            }
        }
        taken
    });
    for _ in 0..20 {
        honest(&gateway);
    }
    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(reader.join().unwrap() > 0, "the greedy client was served, too");
}

#[test]
fn a_greedy_client_leaves_turns_to_others_by_default() {
    a_greedy_client_leaves_turns_to_others(None);
}

#[test]
fn a_greedy_client_leaves_turns_to_others_with_epoll() {
    a_greedy_client_leaves_turns_to_others(Some("epoll"));
}

#[test]
fn connection_floods_leave_nothing_behind() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    for round in 0..4 {
        for number in 0..200 {
            let mut attacker = gateway.connect();
            match number % 4 {
                0 => {}
                1 => attacker.send("GET"),
                2 => attacker.send(request("GET", "/own", &[], b"")),
                _ => crate::support::origin::reset(attacker.stream()),
            }
        }
        honest(&gateway);
        eventually("every connection to be forgotten", || {
            gateway.metric("ringway_connections_open", &[]) == 0.0
                && gateway.metric(BUFFERS, &[]) == 0.0
        });
        assert!(gateway.metric("ringway_panics_total", &[]) == 0.0, "round {round}");
    }
}

#[test]
fn what_is_not_http_1_is_refused_with_an_answer() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "protocols = [\"http/1.1\"]");
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20);
    let garbage: Vec<u8> =
        (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let others: [(&[u8], &[u16]); 6] = [
        (&hello, &[400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
        (&garbage, &[400]),
        (b"SSH-2.0-OpenSSH_9.2\r\n", &[400]),
        (b"\x05\x01\x00", &[400]),
        (b"\0\0\0\0\0\0\0\0\r\n\r\n", &[400]),
    ];
    for (bytes, statuses) in others {
        let mut attacker = gateway.connect();
        attacker.send_perhaps(bytes);
        attacker.response().expect_one_of(statuses);
        attacker.expect_close();
        honest(&gateway);
    }
}

#[test]
fn gigantic_numbers_are_refused_before_anything_is_read() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    let post = |fields: &str, body: &str| {
        format!("POST /big HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n{body}")
    };
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    for (sent, status) in [
        (post("Content-Length: 10485761", ""), 413),
        (post("Content-Length: 9223372036854775807", ""), 413),
        (post("Content-Length: 9223372036854775808", ""), 400),
        (post("Content-Length: 18446744073709551616", ""), 400),
        (post(&format!("Content-Length: {}", "9".repeat(4000)), ""), 400),
        (post(&format!("Content-Length: {}5", "0".repeat(4000)), "hello"), 400),
        (chunked("ffffffffffffffff\r\nx"), 400),
        (chunked("8000000000000000\r\nx"), 400),
        (chunked("10000000000000000\r\nx"), 400),
        (chunked(&format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(4000))), 400),
    ] {
        let mut attacker = gateway.connect();
        attacker.send_perhaps(&sent);
        attacker.response_to("POST").expect_problem(status);
        attacker.finish();
        attacker.expect_close();
    }
    honest(&gateway);
    assert!(origin.requests().iter().all(|request| request.target == "/honest"));
}

#[test]
fn chunks_made_of_framing_are_cut_off() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    let start = "POST /chunks HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = "x".repeat(200);
    for flood in [
        format!("1;{extension}\r\na\r\n").repeat(1000),
        format!("1;{}\r\na\r\n", "x".repeat(100_000)),
        format!("0\r\n{}", "X-T: y\r\n".repeat(100_000)),
        format!("0\r\nX-T: {}", "y".repeat(1 << 20)),
        format!("0;{}", "x".repeat(1 << 20)),
    ] {
        let mut attacker = gateway.connect();
        attacker.send(start);
        attacker.send_perhaps(&flood);
        attacker.response_to("POST").expect_one_of(&[400, 431]);
        attacker.expect_close();
        honest(&gateway);
    }
    assert!(origin.requests().iter().all(|request| request.target == "/honest"));
}

#[test]
fn a_hundred_thousand_chunks_of_one_byte_are_one_body() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    let mut attacker = gateway.connect();
    attacker.send("POST /tiny HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..10 {
        attacker.send("1\r\na\r\n".repeat(10_000));
        honest(&gateway);
    }
    attacker.send("0\r\n\r\n");
    attacker.response_to("POST").expect(200);
    let seen = origin.requests();
    let tiny = seen.iter().find(|request| request.target == "/tiny").expect("it arrived");
    assert_eq!(tiny.body.len(), 100_000);
}

/// An origin that answers `/honest` and sends `start` and then `again` without end to everybody else; the
/// gate opens when the gateway has closed on it.
fn endless(start: &'static str, again: &'static str, closed: &Gate) -> Origin {
    let closed = closed.clone();
    Origin::raw(move |mut stream: TcpStream, _| {
        let mut rest = Vec::new();
        while let Ok(Some(request)) = read_request(&mut stream, &mut rest) {
            if request.target == "/honest" {
                let _ = stream.write_all(&ok("content"));
                continue;
            }
            let again = again.repeat(64);
            let mut sent = stream.write_all(start.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(again.as_bytes());
            }
            closed.open();
            return;
        }
    })
}

#[test]
fn an_origin_of_endless_interim_responses_is_a_502() {
    let closed = Gate::new();
    let origin = endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", &closed);
    let gateway = attacked(&origin, "");
    let answer = gateway.get("/endless").expect_problem(502);
    assert_eq!(answer.interim.len(), 16, "what came before the bound was passed on");
    closed.wait();
    honest(&gateway);
}

#[test]
fn an_origin_of_an_endless_head_is_a_502() {
    for again in ["X: y\r\n", "yyyyyyyy"] {
        let closed = Gate::new();
        let origin = endless("HTTP/1.1 200 OK\r\nX: ", again, &closed);
        let gateway = attacked(&origin, "");
        gateway.get("/endless").expect_problem(502);
        closed.wait();
        honest(&gateway);
    }
}

#[test]
fn an_endless_body_ends_with_its_client_and_takes_few_buffers() {
    let chunks = ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n");
    let plain = ("HTTP/1.1 200 OK\r\n\r\n", "hello");
    for (start, again) in [chunks, plain] {
        let closed = Gate::new();
        let origin = endless(start, again, &closed);
        let gateway = attacked(&origin, "");
        let mut client = gateway.connect();
        client.send(request("GET", "/endless", &[], b""));
        client.try_head().unwrap();
        for _ in 0..32 {
            client.read_some(64 * 1024);
        }
        honest(&gateway);
        // The request's head, and the piece on its way: four times 64 KiB in the middle of a large body.
        eventually("few buffers", || gateway.metric(BUFFERS, &[]) <= 5.0);
        drop(client);
        closed.wait();
        eventually("no buffers", || gateway.metric(BUFFERS, &[]) == 0.0);
    }
}

#[test]
fn an_endless_body_where_none_belongs_is_not_read() {
    for (method, start) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    ] {
        let closed = Gate::new();
        let origin = endless(start, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL", &closed);
        let gateway = attacked(&origin, "");
        let mut client = gateway.connect();
        client.send(request(method, "/endless", &[], b""));
        let answer = client.response_to(method);
        assert!([200, 204, 304].contains(&answer.status) && answer.body.is_empty());
        closed.wait();
        // Nothing of it is anybody's answer.
        assert_eq!(client.get("/honest", &[]).expect(200).text(), "content");
        honest(&gateway);
    }
}

#[test]
fn an_endless_trailer_section_of_an_origin_is_cut_off() {
    let closed = Gate::new();
    let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let origin = endless(start, "X-T: yyyyyyyy\r\n", &closed);
    let gateway = attacked(&origin, "");
    let mut client = gateway.connect();
    client.send(request("GET", "/endless", &[], b""));
    // Where the flood came together with the head nothing was sent yet: then the answer is a 502.
    let answer = client.try_response("GET");
    assert!(answer.is_err() || answer.is_ok_and(|r| r.status == 502), "it never looks whole");
    closed.wait();
    honest(&gateway);
}

#[test]
fn clients_that_never_read_hold_little_and_are_let_go() {
    let closed = Gate::new();
    let origin = endless("HTTP/1.1 200 OK\r\n\r\n", "hello", &closed);
    let gateway = attacked(&origin, "timeout = { body = \"1s\" }");
    honest(&gateway);
    let before = gateway.memory_peak_kib();
    let mut attackers: Vec<Wire> = (0..60).map(|_| gateway.connect()).collect();
    for attacker in &mut attackers {
        narrow(attacker.stream());
        attacker.send(request("GET", "/endless", &[], b""));
    }
    honest(&gateway);
    eventually("the attackers to be let go", || {
        gateway.metric("ringway_connections_open", &[]) == 0.0
    });
    closed.wait();
    honest(&gateway);
    let grown = gateway.memory_peak_kib().saturating_sub(before);
    // Three buffers of 64 KiB each, and room for the allocator.
    assert!(grown < 60 * 256 + 8 * 1024, "{grown} KiB more than before");
    eventually("no buffers", || gateway.metric(BUFFERS, &[]) == 0.0);
}

/// A receive buffer as small as the kernel allows (socket(7)).
#[expect(unsafe_code, reason = "std has no way to set SO_RCVBUF")]
fn narrow(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let bytes: libc::c_int = 1024;
    // SAFETY: the descriptor is open for as long as `stream` lives; the pointer and the length describe
    // one whole integer on this stack frame.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "setsockopt(SO_RCVBUF)");
}

#[test]
fn slow_uploads_wait_without_keeping_anybody_out() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "timeout = { body = \"2s\" }");
    let mut attackers: Vec<Wire> = (0..100).map(|_| gateway.connect()).collect();
    for attacker in &mut attackers {
        attacker.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\na");
    }
    honest(&gateway);
    for attacker in &mut attackers {
        attacker.response_to("POST").expect_problem(408);
        attacker.expect_close();
    }
    honest(&gateway);
    assert!(origin.requests().iter().all(|request| request.target == "/honest"));
}

#[test]
fn a_client_that_has_said_all_it_will_say_is_still_answered() {
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "");
    let mut client = gateway.connect();
    client.send(request("GET", "/half", &[], b""));
    client.finish();
    assert_eq!(client.response().expect(200).text(), "content");
    client.expect_close();
    let mut silent = gateway.connect();
    silent.send("GET /half HTTP/1.1\r\nHost: te");
    silent.finish();
    silent.expect_close();
}

#[test]
fn large_heads_that_do_not_end_have_a_bound_of_their_own() {
    raise_descriptor_limit();
    let origin = Origin::saying("content");
    let gateway = attacked(&origin, "timeout = { head = \"60s\" }");
    honest(&gateway);
    let before = gateway.memory_peak_kib();
    let start = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(30_000));
    let fitting = (64 << 20) / start.len();
    let mut attackers: Vec<Wire> = (0..fitting + 70).map(|_| gateway.connect()).collect();
    for attacker in &mut attackers {
        attacker.send_perhaps(&start);
    }
    // In whatever order the core reads them: those for which there is no room are answered, at once.
    eventually("those beyond the bound to be refused", || {
        attackers.iter_mut().map(|attacker| usize::from(attacker.has_something())).sum::<usize>()
            >= 70
    });
    for attacker in &mut attackers {
        if attacker.has_something() {
            attacker.response().expect_problem(503);
            attacker.expect_close();
        }
    }
    // Whole heads need no such room, and small parts of heads have theirs.
    honest(&gateway);
    let mut slow = gateway.connect();
    slow.send("GET /honest HTTP/1.1\r\nHost: te");
    honest(&gateway);
    slow.send("st\r\n\r\n");
    slow.response().expect(200);
    let grown = gateway.memory_peak_kib() - before;
    assert!(grown < 128 * 1024, "{grown} KiB more than before");
}

/// As many descriptors as the system lets this process have.
#[expect(unsafe_code, reason = "std has no way to ask for more descriptors")]
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to one whole `rlimit` on this stack frame, for both calls.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(raised, 0, "setrlimit(RLIMIT_NOFILE)");
}
