//! Answers compressed on their way out, by what the client takes and what may be changed.
//!
//! RFC 9110 §8.4, §12.5.3. Every body is decoded again by another implementation than the one that made it; an
//! answer must never be compressed twice, in part, or beside a secret that was not allowed.

use std::io::Read;

use crate::support::Gate;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};
use crate::support::wire::Response;

fn compressing(origin: &Origin, compress: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"/{{*rest}}\"\nforward = \"api\"\ncompress = {compress}\n"
    );
    gateway(&text).with("api", origin.address).start()
}

fn text() -> String {
    (0..4000).map(|n| format!("line {n} of a text that repeats itself\n")).collect()
}

/// An origin that answers `body` with these fields.
fn saying(fields: &'static [(&'static str, &'static str)], body: String) -> Origin {
    Origin::script(move |request| {
        let mut bytes = answer(200, fields, body.as_bytes());
        if request.method == "HEAD" {
            bytes.truncate(bytes.len() - body.len());
        }
        vec![Step::Send(bytes)]
    })
}

const PLAIN: &[(&str, &str)] = &[("Content-Type", "text/plain"), ("ETag", "\"1\"")];

fn decoded(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    let body = &response.body[..];
    let count = match response.field("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut out),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_end(&mut out),
        Some("zstd") => {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(body).expect("a frame");
            decoder.read_to_end(&mut out)
        }
        None => return body.to_vec(),
        Some(other) => panic!("{other}"),
    };
    count.expect("a whole body");
    out
}

#[test]
fn a_client_gets_the_coding_that_it_wants_most() {
    let origin = saying(PLAIN, text());
    let gateway = compressing(&origin, "true");
    let mut client = gateway.connect();
    for (accept, coding) in [
        ("gzip", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip;q=1, br;q=0.5", Some("gzip")),
        ("br", Some("br")),
        ("*", Some("zstd")),
        ("identity", None),
        ("gzip;q=0", None),
        ("identity;q=0, br", Some("br")),
        ("deflate", None),
    ] {
        let response = client.get("/", &[("Accept-Encoding", accept)]).expect(200);
        assert_eq!(response.field("content-encoding"), coding, "{accept}");
        assert_eq!(response.field("vary"), Some("accept-encoding"), "{accept}");
        assert_eq!(decoded(&response), text().as_bytes(), "{accept}");
        match coding {
            Some(_) => {
                assert_eq!(response.field("etag"), Some("W/\"1\""));
                assert_eq!(response.field("content-length"), None);
                assert!(response.body.len() < text().len() / 4, "{}", response.body.len());
            }
            None => assert_eq!(response.field("etag"), Some("\"1\"")),
        }
    }
    let plain = client.get("/", &[]).expect(200);
    assert_eq!(
        (plain.field("content-encoding"), plain.field("vary")),
        (None, Some("accept-encoding"))
    );
}

#[test]
fn what_may_not_be_changed_is_not() {
    let long = text();
    for fields in [
        &[("Content-Type", "text/plain"), ("Content-Encoding", "gzip")][..],
        &[("Content-Type", "text/plain"), ("Cache-Control", "public, no-transform")],
        &[("Content-Type", "text/plain"), ("Content-Digest", "sha-256=:abc=:")],
        &[("Content-Type", "image/png")],
        &[],
    ] {
        let fields: &'static [(&str, &str)] = Box::leak(fields.to_vec().into_boxed_slice());
        let origin = saying(fields, long.clone());
        let gateway = compressing(&origin, "true");
        let response = gateway.get_with("/", &[("Accept-Encoding", "gzip, br, zstd")]).expect(200);
        assert_eq!(response.body, long.as_bytes(), "{fields:?}");
        let coded = fields.iter().any(|(name, _)| *name == "Content-Encoding");
        assert_eq!(response.field("content-encoding").is_some(), coded, "{fields:?}");
        assert_eq!(response.field("content-length"), Some(&*long.len().to_string()));
    }
    let origin = saying(PLAIN, "short".into());
    let gateway = compressing(&origin, "true");
    let gzip = ("Accept-Encoding", "gzip");
    assert_eq!(gateway.get_with("/", &[gzip]).expect(200).field("content-encoding"), None);
    let must = ("Accept-Encoding", "gzip, identity;q=0");
    let response = gateway.get_with("/", &[must]).expect(200);
    assert_eq!(
        (response.field("content-encoding"), decoded(&response)),
        (Some("gzip"), b"short".to_vec())
    );
    let request = ("Cache-Control", "no-transform");
    assert_eq!(gateway.get_with("/", &[must, request]).expect(200).field("content-encoding"), None);
}

#[test]
fn nothing_is_compressed_beside_a_secret_unless_allowed() {
    let gzip = ("Accept-Encoding", "gzip");
    let setting: &'static [(&str, &str)] =
        &[("Content-Type", "text/plain"), ("Set-Cookie", "id=1")];
    let (plain, cookie) = (saying(PLAIN, text()), saying(setting, text()));
    let coded = |gateway: &Gateway, fields: &[(&str, &str)]| {
        let response = gateway.get_with("/", fields).expect(200);
        // A cache must not give the plain answer to everybody, nor the compressed one to who had it plain.
        assert_eq!(response.field("vary"), Some("accept-encoding"), "{fields:?}");
        response.field("content-encoding").is_some()
    };
    let strict = compressing(&plain, "true");
    assert!(coded(&strict, &[gzip]));
    assert!(!coded(&strict, &[gzip, ("Cookie", "a=b")]));
    assert!(!coded(&strict, &[gzip, ("Authorization", "Bearer x")]));
    assert!(!coded(&compressing(&cookie, "true"), &[gzip]));
    let some = compressing(&plain, "{ allow = [\"authorization\"] }");
    assert!(coded(&some, &[gzip, ("Authorization", "Bearer x")]));
    assert!(!coded(&some, &[gzip, ("Cookie", "a=b")]));
    let all = compressing(&cookie, "{ allow = [\"cookie\", \"set-cookie\"] }");
    assert!(coded(&all, &[gzip, ("Cookie", "a=b")]));
}

#[test]
fn head_not_modified_and_parts_stay_right() {
    let origin = Origin::script(|request| {
        let fields =
            [("Content-Type", "text/plain"), ("ETag", "\"1\""), ("Accept-Ranges", "bytes")];
        let body = text();
        let bytes =
            match (request.method.as_str(), request.field("range"), request.field("if-none-match"))
            {
                (_, _, Some(_)) => b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec(),
                ("HEAD", _, _) => {
                    let whole = answer(200, &fields, body.as_bytes());
                    whole[..whole.len() - body.len()].to_vec()
                }
                (_, Some(_), _) => {
                    let range =
                        [("Content-Type", "text/plain"), ("Content-Range", "bytes 0-4999/999999")];
                    answer(206, &range, &body.as_bytes()[..5000])
                }
                _ => answer(200, &fields, body.as_bytes()),
            };
        vec![Step::Send(bytes)]
    });
    let gateway = compressing(&origin, "true");
    let mut client = gateway.connect();
    let gzip = ("Accept-Encoding", "gzip");
    let get = client.get("/", &[gzip]).expect(200);
    assert_eq!(get.field("accept-ranges"), None);
    let head = client.call("HEAD", "/", &[gzip], b"").expect(200);
    for name in
        ["content-encoding", "etag", "vary", "content-type", "accept-ranges", "content-length"]
    {
        assert_eq!(head.field(name), get.field(name), "{name}");
    }
    let unchanged = client.get("/", &[gzip, ("If-None-Match", "W/\"1\"")]).expect(304);
    assert_eq!(unchanged.field("etag"), Some("W/\"1\""));
    assert_eq!(unchanged.field("vary"), Some("accept-encoding"));
    assert_eq!(unchanged.field("content-encoding"), None);
    let part = client.get("/", &[gzip, ("Range", "bytes=0-4999")]).expect(206);
    assert_eq!((part.field("content-encoding"), part.body.len()), (None, 5000));
    // The connection is as good as before.
    client.get("/", &[gzip]).expect(200);
}

#[test]
fn an_event_reaches_its_reader_before_the_next_one_is_made() {
    for coding in ["gzip", "br", "zstd"] {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::script(move |_| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            vec![
                Step::Send(format!("{head}c\r\ndata: one\r\n\n\r\n").into_bytes()),
                Step::Wait(held.clone()),
                Step::Send(b"c\r\ndata: two\r\n\n\r\n0\r\n\r\n".to_vec()),
            ]
        });
        let gateway = compressing(&origin, "true");
        let mut client = gateway.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: {coding}\r\n\r\n"));
        let head = client.try_head().expect("a head");
        assert_eq!(head.field("content-encoding"), Some(coding));
        // The first event is here although the origin has not gone on: as many bytes as decode to it.
        let first = client.read_chunk();
        let mut begun = Vec::new();
        decode_some(coding, &first, &mut begun);
        assert_eq!(String::from_utf8_lossy(&begun), "data: one\r\n\n", "{coding}");
        gate.open();
        let mut whole = first;
        loop {
            let chunk = client.read_chunk();
            if chunk.is_empty() {
                break;
            }
            whole.extend(chunk);
        }
        let mut all = Vec::new();
        decode_some(coding, &whole, &mut all);
        assert_eq!(String::from_utf8_lossy(&all), "data: one\r\n\ndata: two\r\n\n", "{coding}");
    }
}

/// Decodes what there is of a body, as a browser does.
fn decode_some(coding: &str, body: &[u8], out: &mut Vec<u8>) {
    let mut chunk = [0; 1];
    let mut reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(body)),
        "br" => Box::new(brotli::Decompressor::new(body, 256)),
        _ => {
            let mut room = [0; 4096];
            let mut made = zstd_safe::OutBuffer::around(&mut room[..]);
            let mut input = zstd_safe::InBuffer::around(body);
            let mut decoder = zstd_safe::DCtx::create();
            decoder.decompress_stream(&mut made, &mut input).expect("a good beginning");
            let count = made.pos();
            return out.extend_from_slice(&room[..count]);
        }
    };
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        out.extend_from_slice(&chunk[..count]);
    }
}

#[test]
fn merges_fixed_answers_and_errors_are_compressed_too() {
    let origin = Origin::saying(&format!("\"{}\"", "abc".repeat(2000)));
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[default]\ncompress = {{ min = \"10B\", codings = [\"gzip\"] }}\n\
         [[route]]\nmatch = \"GET /merged\"\netag = true\n[route.merge]\na = {{ get = \"api /a\" }}\n\
         [[route]]\nmatch = \"GET /fixed\"\nrespond = {{ body = \"{}\" }}\n\
         [[route]]\nmatch = \"GET /streamed\"\nstream = true\n[route.merge]\na = {{ get = \"api /a\" }}\n\
         [[route]]\nmatch = \"GET /off\"\nrespond = {{ body = \"{}\" }}\ncompress = \"none\"\n\
         [[route]]\nmatch = \"GET /limited\"\nrespond = {{ body = \"x\" }}\njwt = \"key\"\n\
         [jwt.key]\nsecret = \"0123456789abcdef0123456789abcdef\"\n",
        "fixed ".repeat(100),
        "fixed ".repeat(100),
    );
    let gateway = gateway(&text).with("api", origin.address).start();
    let mut client = gateway.connect();
    let gzip = ("Accept-Encoding", "gzip");
    for (target, status, start) in [
        ("/merged", 200, "{\"a\":\"abcabc"),
        ("/streamed", 200, "{\"a\":\"abcabc"),
        ("/fixed", 200, "fixed fixed"),
        ("/limited", 401, "{\"type\":\"about:blank\""),
    ] {
        let response = client.get(target, &[gzip]).expect(status);
        assert_eq!(response.field("content-encoding"), Some("gzip"), "{target}");
        assert!(decoded(&response).starts_with(start.as_bytes()), "{target}");
        assert!(response.field("etag").is_none_or(|tag| tag.starts_with("W/")), "{target}");
    }
    let off = client.get("/off", &[gzip]).expect(200);
    assert_eq!((off.field("content-encoding"), off.field("vary")), (None, None));
}

#[test]
fn a_large_answer_is_whole_and_counted() {
    let body: String = (0..200_000).map(|n| format!("{}\n", n * 7919 % 100_003)).collect();
    let expected = body.clone();
    let origin = Origin::script(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        vec![Step::Send(format!("{head}{body}").into_bytes()), Step::Close]
    });
    let gateway = compressing(&origin, "{ codings = [\"br\", \"gzip\", \"zstd\"] }");
    for coding in ["gzip", "br", "zstd"] {
        let response = gateway.get_with("/", &[("Accept-Encoding", coding)]).expect(200);
        assert_eq!(response.field("content-encoding"), Some(coding));
        assert!(decoded(&response) == expected.as_bytes(), "{coding}");
    }
    let metric = "ringway_compressed_bytes_total";
    let (before, behind) = (
        gateway.metric(metric, &["direction=\"in\""]),
        gateway.metric(metric, &["direction=\"out\""]),
    );
    assert!(
        before as usize == 3 * expected.len() && behind > 0.0 && behind < before,
        "{before} {behind}"
    );
    // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = old.response();
    assert!(response.ended_by_close && decoded(&response) == expected.as_bytes());
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let origin = Origin::script(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n";
        vec![Step::Send(format!("{head}{}", text()).into_bytes()), Step::Close]
    });
    let gateway = compressing(&origin, "true");
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(client.try_response("GET").is_err());
}

#[test]
fn an_error_in_place_of_an_answer_that_was_to_be_compressed_is_plain() {
    // The head promises a body worth compressing, and what comes with it is no chunk.
    let origin = Origin::raw(|mut stream, _| {
        use std::io::Write;
        let _ = crate::support::origin::read_request(&mut stream, &mut Vec::new());
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}nonsense\r\n").as_bytes());
    });
    let gateway = compressing(&origin, "true");
    let response = gateway.get_with("/", &[("Accept-Encoding", "gzip")]);
    let response = response.expect_problem(502);
    assert_eq!(response.field("content-encoding"), None);
}

/// As `compressing`, with more lines for the route.
fn edited(origin: &Origin, more: &str) -> Gateway {
    compressing(origin, &format!("true\n{more}"))
}

#[test]
fn what_the_route_adds_and_removes_decides_too() {
    let gzip = ("Accept-Encoding", "gzip");
    let plain = saying(PLAIN, text());
    let coding = |gateway: &Gateway| {
        let response = gateway.get_with("/", &[gzip]).expect(200);
        assert_eq!(decoded(&response), text().as_bytes());
        response.field("content-encoding").is_some()
    };
    assert!(!coding(&edited(&plain, "response_headers = { set = { set-cookie = \"a=b\" } }")));
    assert!(!coding(&edited(
        &plain,
        "response_headers = { set = { cache-control = \"no-transform\" } }"
    )));
    assert!(!coding(&edited(
        &plain,
        "response_headers = { set = { content-type = \"image/png\" } }"
    )));
    let setting: &'static [(&str, &str)] =
        &[("Content-Type", "text/plain"), ("Set-Cookie", "id=1")];
    let cookie = saying(setting, text());
    assert!(coding(&edited(&cookie, "response_headers = { remove = [\"set-cookie\"] }")));
    let tagged = edited(&plain, "response_headers = { set = { etag = '\"mine\"' } }");
    assert_eq!(tagged.get_with("/", &[gzip]).expect(200).all("etag"), ["W/\"mine\""]);
    assert_eq!(tagged.get("/").expect(200).all("etag"), ["\"mine\""]);
}

#[test]
fn an_answer_whose_trailers_speak_of_its_bytes_stays_as_it_is() {
    for (name, coded) in [("X-Sum", true), ("x-sum, Content-Digest", false), ("ETag", false)] {
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: {name}\r\n\r\n"
        );
        bytes += &format!("{:x}\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", text().len(), text());
        let origin = Origin::answering(&bytes);
        let gateway = compressing(&origin, "true");
        let fields = [("Accept-Encoding", "gzip"), ("TE", "trailers")];
        let response = gateway.get_with("/", &fields).expect(200);
        assert_eq!(response.field("content-encoding").is_some(), coded, "{name}");
        assert_eq!(decoded(&response), text().as_bytes());
        assert_eq!(response.trailers, [("X-Sum".to_string(), "1".to_string())]);
    }
}

#[test]
fn not_modified_speaks_of_the_answer_that_get_would_have() {
    let not_modified = |more: &str| {
        format!("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 5000\r\n{more}\r\n")
    };
    let gzip = ("Accept-Encoding", "gzip");
    let weak = ("If-None-Match", "W/\"1\"");
    let strong = ("If-None-Match", "\"0\", \"1\"");
    for (more, fields, etag, length) in [
        ("", &[gzip, weak][..], "W/\"1\"", None),
        ("", &[gzip, strong], "\"1\"", None),
        ("", &[weak], "\"1\"", Some("5000")),
        ("", &[gzip, weak, ("Cookie", "a=b")], "\"1\"", Some("5000")),
        ("Content-Type: image/png\r\n", &[gzip, weak], "\"1\"", Some("5000")),
        ("Content-Type: text/plain\r\n", &[gzip, strong], "W/\"1\"", None),
        ("Cache-Control: no-transform\r\n", &[gzip, weak], "\"1\"", Some("5000")),
    ] {
        let origin = Origin::answering(not_modified(more));
        let gateway = compressing(&origin, "true");
        let response = gateway.get_with("/", fields).expect(304);
        assert_eq!(response.field("etag"), Some(etag), "{more} {fields:?}");
        assert_eq!(response.field("content-length"), length, "{more} {fields:?}");
    }
}
