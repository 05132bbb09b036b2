//! What an origin can do wrong while the body of a request is still on its way to it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::Gate;
use crate::support::faults::{config, failing, next_is_served, send};
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};

/// Reads the head of a request and hands the socket over with the body unread.
fn after_the_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    head
}

fn serves_fine(stream: &mut TcpStream, head: &[u8]) -> bool {
    let fine = head.starts_with(b"GET /fine");
    fine && stream.write_all(&answer(200, &[("Connection", "close")], b"fine")).is_ok()
}

/// A client that announces a large body and sends as much of it as anybody takes.
fn uploads(gateway: &Gateway, chunked: bool) -> Result<crate::support::wire::Response, String> {
    let mut client = gateway.connect();
    let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 20000000" };
    client.send(format!("POST /bad HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
    let mut half = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let chunk = format!("2710\r\n{}\r\n", "a".repeat(10_000));
        let piece = if chunked { chunk.into_bytes() } else { vec![b'a'; 10_000] };
        for _ in 0..1_000 {
            if half.write_all(&piece).is_err() {
                return;
            }
        }
    });
    let got = client.try_response("POST");
    let _ = client.stream().shutdown(Shutdown::Both);
    sender.join().unwrap();
    got
}

const LARGE: &str = "body_max = \"1GiB\"\n";

#[test]
fn an_early_refusal_while_the_request_still_flows_reaches_the_client() {
    for close in [false, true] {
        for chunked in [false, true] {
            let origin = Origin::raw(move |mut stream, _| {
                let head = after_the_head(&mut stream);
                if serves_fine(&mut stream, &head) {
                    return;
                }
                let refusal =
                    "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
                let _ = stream.write_all(refusal.as_bytes());
                if close {
                    // A close with bytes unread: Linux sends a reset behind the answer.
                    return;
                }
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
            let config = format!("{}{LARGE}", config(""));
            let gateway = gateway(&config).with("app", origin.address).start();
            match uploads(&gateway, chunked) {
                Ok(response) if close => assert!([413, 502].contains(&response.status)),
                Ok(response) => assert_eq!(response.expect(413).text(), "no"),
                Err(why) => panic!("close {close}, chunked {chunked}: {why}"),
            }
            next_is_served("refused", &gateway);
        }
    }
}

#[test]
fn an_origin_that_dies_while_the_request_flows_is_a_502() {
    for chunked in [false, true] {
        let origin = Origin::raw(|mut stream, _| {
            let head = after_the_head(&mut stream);
            serves_fine(&mut stream, &head);
        });
        let config = format!("{}{LARGE}", config(""));
        let gateway = gateway(&config).with("app", origin.address).start();
        let told = uploads(&gateway, chunked).unwrap().expect_problem(502);
        assert!(told.field("proxy-status").unwrap().contains("error=connection_terminated"));
        assert_eq!(gateway.access_log(1)[0]["fault"], "connection_terminated");
        next_is_served("died", &gateway);
    }
}

#[test]
fn an_origin_that_does_not_take_the_request_is_a_504() {
    let over = Gate::new();
    let held = over.clone();
    let origin = Origin::raw(move |mut stream, _| {
        let head = after_the_head(&mut stream);
        if !serves_fine(&mut stream, &head) {
            held.wait();
        }
    });
    let config = format!("{}{LARGE}", config("timeout = { idle = \"150ms\" }"));
    let gateway = gateway(&config).with("app", origin.address).start();
    let told = uploads(&gateway, false).unwrap().expect_problem(504);
    assert!(told.field("proxy-status").unwrap().contains("error=http_response_timeout"));
    next_is_served("stalled", &gateway);
    over.open();
}

#[test]
fn a_client_that_waits_for_100_gets_it_or_the_final_answer() {
    let expects =
        "POST /bad HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    // The origin's own 100 is not passed on twice.
    let origin = failing(|request| {
        assert!(request.field("expect").is_none());
        vec![send("HTTP/1.1 100 Continue\r\n\r\n"), Step::Send(ok("took it"))]
    });
    let gateway = gateway(&config("")).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(expects);
    assert_eq!(client.try_head().unwrap().status, 100);
    client.send("body");
    let response = client.response().expect(200);
    assert_eq!((response.text().as_str(), response.interim.len()), ("took it", 0));
    next_is_served("expected", &gateway);
}
