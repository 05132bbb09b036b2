//! Content in both directions: framing, trailers, streaming, back pressure, limits, and what is cut short.
//!
//! A body that did not arrive whole is never shown to the other side as whole (RFC 9112 §8).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok, read_request};
use crate::support::wire::{find, request};
use crate::support::{Gate, PATIENCE};

const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/{*rest}"
forward = "app"
timeout = "120s"
"#;

/// How many bytes the streaming tests send: enough that a gateway which kept them would be seen.
const STREAMED: u64 = 1 << 30;

/// How much the gateway's peak memory may grow while that many bytes pass.
///
/// Unit: KiB. Four connections' buffers of 64 KiB and what the allocator keeps; far below `STREAMED`.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

/// Bytes that do not repeat with any power of two, so that a shifted or doubled block is seen.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8 ^ (n / 65_537) as u8).collect()
}

#[test]
fn a_large_body_passes_unchanged_in_both_directions() {
    let origin = Origin::script(|request| vec![Step::Send(answer(200, &[], &request.body))]);
    let gateway = forwarding_to(&origin);
    let content = pattern(3_000_001);
    let mut client = gateway.connect();
    let sent = content.clone();
    let mut half = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || half.write_all(&request("POST", "/", &[], &sent)));
    let response = client.response().expect(200);
    sender.join().unwrap().unwrap();
    assert!(response.body == content, "{} bytes came back", response.body.len());
    assert!(origin.request().body == content);
}

#[test]
fn a_chunked_upload_arrives_whole_with_its_trailers() {
    let origin = Origin::saying("");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5;ext=1\r\nhello\r\n1\r\n \r\n6\r\nworld!\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    client.response().expect(200);
    let seen = origin.request();
    assert_eq!(seen.text(), "hello world!");
    assert_eq!(seen.trailers, [("X-Sum".to_string(), "42".to_string())]);
}

#[test]
fn a_chunked_download_arrives_whole_with_its_trailers() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n7\r\n world!\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..3 {
        let response = client.get("/", &[("TE", "trailers")]).expect(200);
        assert_eq!(response.text(), "hello world!");
        assert_eq!(response.trailers, [("X-Sum".to_string(), "42".to_string())]);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_empty_chunked_upload_is_an_empty_body() {
    let origin = Origin::saying("ok");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    client.response().expect(200);
    assert_eq!(origin.request().text(), "");
}

#[test]
fn a_body_that_the_origin_ends_by_closing_is_delivered_whole() {
    let content = String::from_utf8(vec![b'z'; 200_000]).unwrap();
    let origin = Origin::answering_then_closing(format!("HTTP/1.1 200 OK\r\n\r\n{content}"));
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    let response = client.get("/", &[]).expect(200);
    assert!(response.text() == content);
    if !response.ended_by_close {
        assert!(client.get("/", &[]).expect(200).text() == content);
    }
}

#[test]
fn each_piece_goes_on_as_soon_as_it_comes() {
    let (first_seen, done) = (Gate::new(), Gate::new());
    let gates = (first_seen.clone(), done.clone());
    let origin = Origin::script(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        vec![
            Step::Send(format!("{head}8\r\ndata: 1\n\r\n").into_bytes()),
            Step::Wait(gates.0.clone()),
            Step::Send(b"8\r\ndata: 2\n\r\n".to_vec()),
            Step::Wait(gates.1.clone()),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send(request("GET", "/events", &[], b""));
    assert_eq!(client.try_head().unwrap().status, 200);
    let mut seen = Vec::new();
    while find(&seen, b"data: 1\n").is_none() {
        seen.extend(client.read_some(1));
    }
    first_seen.open();
    while find(&seen, b"data: 2\n").is_none() {
        seen.extend(client.read_some(1));
    }
    done.open();
    while !seen.ends_with(b"0\r\n\r\n") {
        seen.extend(client.read_some(1));
    }
}

#[test]
fn an_upload_goes_on_as_soon_as_it_comes() {
    let (saw, heard) = mpsc::channel();
    let origin = Origin::raw(move |mut stream, _| {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"first") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            seen.push(byte[0]);
        }
        let _ = saw.send(());
        while !seen.ends_with(b"second") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            seen.push(byte[0]);
        }
        let _ = stream.write_all(&ok("both"));
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\nfirst");
    heard.recv_timeout(PATIENCE).expect("the origin has the first piece");
    client.send("second");
    assert_eq!(client.response().expect(200).text(), "both");
}

#[test]
fn an_answer_with_a_length_that_is_cut_short_is_never_whole() {
    let origin =
        Origin::answering_then_closing("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send(request("GET", "/", &[], b""));
    let outcome = client.try_response("GET");
    assert!(
        outcome.is_err() || outcome.is_ok_and(|r| r.status == 502),
        "a short body looked whole"
    );
}

#[test]
fn a_chunked_answer_that_is_cut_short_is_never_whole() {
    for resets in [false, true] {
        let origin = Origin::script(move |_| {
            let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
            vec![Step::Send(start.into()), if resets { Step::Reset } else { Step::Close }]
        });
        let gateway = forwarding_to(&origin);
        let mut client = gateway.connect();
        client.send(request("GET", "/", &[], b""));
        let outcome = client.try_response("GET");
        assert!(outcome.is_err() || outcome.is_ok_and(|r| r.status == 502));
    }
}

#[test]
fn an_upload_that_is_cut_short_never_reaches_the_origin_as_whole() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nonly this");
    client.finish();
    client.until_close();
    let mut client = gateway.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.finish();
    client.until_close();
    gateway.get("/after").expect(200);
    assert_eq!(origin.request().target, "/after", "only the whole request counts as one");
}

#[test]
fn an_answer_before_the_upload_ends_reaches_the_client() {
    let origin = Origin::raw(|mut stream, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            head.push(byte[0]);
        }
        let refusal = "HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
        let _ = stream.write_all(refusal.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nstart");
    assert_eq!(client.response().expect(403).text(), "no");
}

#[test]
fn a_body_beyond_body_max_is_a_413() {
    let origin = Origin::saying("ok");
    let gateway =
        gateway(&format!("{FORWARD}body_max = \"1KiB\"\n")).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.call("POST", "/", &[], &[b'a'; 1024]).expect(200);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1025\r\n\r\n");
    client.response().expect_problem(413);
    assert_eq!(
        origin.requests().len(),
        1,
        "a length that is too large is refused before it is sent on"
    );

    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send_perhaps(format!("800\r\n{}\r\n", "a".repeat(2048)));
    client.response().expect(413);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_gibibyte_down_uses_no_more_memory_than_a_small_answer() {
    let origin = Origin::raw(|mut stream, _| {
        let mut rest = Vec::new();
        while let Ok(Some(request)) = read_request(&mut stream, &mut rest) {
            let count = if request.target == "/large" { STREAMED } else { 1000 };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = std::io::copy(&mut std::io::repeat(b'x').take(count), &mut stream);
        }
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..20 {
        client.get("/small", &[]).expect(200);
    }
    let before = gateway.memory_peak_kib();
    client.send(request("GET", "/large", &[], b""));
    let head = client.try_head().unwrap();
    assert_eq!(head.field("content-length"), Some(STREAMED.to_string().as_str()));
    let mut count = client.take_rest().len() as u64;
    let mut buffer = vec![0; 1 << 20];
    while count < STREAMED {
        let read = client.stream().read(&mut buffer).unwrap();
        assert!(read > 0, "closed after {count} bytes");
        assert!(buffer[..read].iter().all(|byte| *byte == b'x'));
        count += read as u64;
    }
    assert_eq!(count, STREAMED);
    let growth = gateway.memory_peak_kib() - before;
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB more than before");
}

#[test]
fn a_gibibyte_up_uses_no_more_memory_than_a_small_request() {
    let (counted, count) = mpsc::channel();
    let origin = Origin::raw(move |mut stream, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            head.push(byte[0]);
        }
        let copied = std::io::copy(&mut (&stream).take(STREAMED), &mut std::io::sink());
        let _ = counted.send(copied.unwrap_or(0));
        let _ = stream.write_all(&ok("thanks"));
    });
    let gateway =
        gateway(&format!("{FORWARD}body_max = \"4GiB\"\n")).with("app", origin.address).start();
    gateway.admin("/livez").expect(200);
    let before = gateway.memory_peak_kib();
    let mut client = gateway.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {STREAMED}\r\n\r\n"));
    std::io::copy(&mut std::io::repeat(b'x').take(STREAMED), client.stream()).unwrap();
    assert_eq!(client.response().expect(200).text(), "thanks");
    assert_eq!(count.recv_timeout(PATIENCE).unwrap(), STREAMED);
    let growth = gateway.memory_peak_kib() - before;
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB more than before");
}

#[test]
fn a_client_that_does_not_read_holds_the_origin_back() {
    let (stuck, heard) = mpsc::channel();
    let origin = Origin::raw(move |mut stream, _| {
        let mut rest = Vec::new();
        let _ = read_request(&mut stream, &mut rest);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let block = vec![b'x'; 64 * 1024];
        let mut written = 0;
        while let Ok(count) = stream.write(&block) {
            written += count;
        }
        let _ = stuck.send(written);
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send(request("GET", "/", &[], b""));
    let written = heard.recv_timeout(PATIENCE).expect("the origin's writes come to a stand");
    assert!(written < 64 << 20, "{written} bytes went into somebody's memory");
    assert_eq!(client.try_head().unwrap().status, 200);
}
