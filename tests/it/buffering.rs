//! `buffer_request`: a body that is waited for before an origin is asked.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::wire::request;

/// The gateway, and the silent origin behind `/clock`.
fn buffering(origin: &Origin, much: &str) -> (Gateway, Origin) {
    let config = format!(
        "workers = 1\n[upstream.app]\nendpoints = [\"@app@\"]\n[upstream.silent]\nendpoints = [\"@silent@\"]\n\
         [[route]]\nmatch = \"/clock\"\nforward = \"silent\"\ntimeout = \"250ms\"\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\nbuffer_request = \"{much}\"\n"
    );
    let silent = Origin::silent();
    let gateway = gateway(&config).with("app", origin.address).with("silent", silent.address);
    (gateway.start(), silent)
}

#[test]
fn a_slow_body_takes_no_connection_of_the_origin_until_it_is_whole() {
    let origin = Origin::saying("took it");
    let (gateway, _silent) = buffering(&origin, "64KiB");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst");
    // A request that takes its time elsewhere; meanwhile the origin is left alone.
    gateway.get("/clock").expect(504);
    assert_eq!(origin.connections(), 0);
    client.send("other");
    assert_eq!(client.response().expect(200).text(), "took it");
    assert_eq!(origin.request().text(), "firstother");
    // And the connection serves on.
    client.get("/next", &[]).expect(200);
}

#[test]
fn a_chunked_body_that_came_whole_is_sent_with_its_length() {
    let origin = Origin::saying("took it");
    let (gateway, _silent) = buffering(&origin, "1MiB");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut content = Vec::new();
    for piece in ["a".repeat(3), "b".repeat(70_000), "c".repeat(100_000)] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        content.extend_from_slice(piece.as_bytes());
    }
    client.send("0\r\n\r\n");
    client.response().expect(200);
    let seen = origin.request();
    assert_eq!(seen.field("content-length"), Some("170003"));
    assert_eq!(seen.field("transfer-encoding"), None);
    assert!(seen.body == content);
}

#[test]
fn trailers_survive_and_keep_a_body_chunked() {
    let origin = Origin::saying("took it");
    let (gateway, _silent) = buffering(&origin, "64KiB");
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
    );
    client.send("5\r\nhello\r\n");
    client.send("0\r\nX-Sum: 42\r\n\r\n");
    client.response().expect(200);
    let seen = origin.request();
    assert_eq!(seen.text(), "hello");
    assert_eq!(seen.trailers, [("X-Sum".to_string(), "42".to_string())]);
}

#[test]
fn a_larger_body_streams_behind_what_was_gathered() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.body.len().to_string()))]);
    let (gateway, _silent) = buffering(&origin, "100KiB");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for chunked in [false, true] {
        let mut client = gateway.connect();
        if chunked {
            client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in content.chunks(50_000) {
                client.send(format!("{:x}\r\n", piece.len()));
                client.send(piece);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
        } else {
            client.send(request("POST", "/", &[], &content));
        }
        assert_eq!(client.response().expect(200).text(), "3000000");
    }
    assert!(origin.requests().iter().all(|request| request.body == content));
}

#[test]
fn a_put_that_came_whole_is_sent_again_when_a_kept_connection_was_closing() {
    let origin = Origin::script(|request| match request.turn {
        0 => vec![Step::Send(ok("answered"))],
        _ => vec![Step::Close],
    });
    let (gateway, _silent) = buffering(&origin, "1MiB");
    let mut client = gateway.connect();
    client.get("/1", &[]).expect(200);
    // Larger than a buffer of the gateway, and in two parts: without buffering it would have been streamed.
    let content = vec![b'p'; 200_000];
    let sent = request("PUT", "/2", &[], &content);
    let (start, rest) = sent.split_at(1_000);
    client.send(start);
    client.send(rest);
    assert_eq!(client.response().expect(200).text(), "answered");
    let seen = origin.requests();
    assert_eq!(seen.iter().map(|r| r.target.as_str()).collect::<Vec<_>>(), ["/1", "/2", "/2"]);
    assert!(seen[2].body == content);
}

#[test]
fn a_client_that_expects_100_is_invited() {
    let origin = Origin::saying("took it");
    let (gateway, _silent) = buffering(&origin, "64KiB");
    let mut client = gateway.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 100);
    assert_eq!(origin.connections(), 0);
    client.send("body");
    assert_eq!(client.response().expect(200).text(), "took it");
}

#[test]
fn a_body_that_does_not_end_in_time_never_reaches_the_origin() {
    let origin = Origin::saying("never");
    let config = "workers = 1\n[[listen]]\naddress = \"@LISTEN@\"\ntimeout = { body = \"150ms\" }\n\
                  [upstream.app]\nendpoints = [\"@app@\"]\n\
                  [[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\nbuffer_request = \"64KiB\"\n";
    let gateway = gateway(config).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst");
    client.response().expect_problem(408);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_chunked_body_has_its_length_however_its_packets_fall() {
    let origin = Origin::saying("took it");
    let (gateway, _silent) = buffering(&origin, "64KiB");
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let full = "f".repeat(65_536);
    for content in ["hello", "", &full] {
        let chunk = match content.len() {
            0 => String::new(),
            bytes => format!("{bytes:x}\r\n{content}\r\n"),
        };
        let text = format!("{head}{chunk}0\r\n\r\n");
        for cut in [text.len(), head.len(), head.len() + chunk.len()] {
            let mut client = gateway.connect();
            client.send(&text[..cut]);
            client.send(&text[cut..]);
            client.response().expect(200);
            let seen = origin.requests().pop().expect("a request");
            let told = seen.field("content-length").map(str::to_owned);
            assert_eq!(told, Some(content.len().to_string()), "cut at {cut}");
            assert_eq!(seen.field("transfer-encoding"), None);
            assert!(seen.body == content.as_bytes());
        }
    }
}
