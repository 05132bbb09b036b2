//! Stored answers on a route that compresses (RFC 9110 §8.4, §12.5.3; RFC 9111 §4): coded as each client takes it, from
//! one stored whole. Every body is decoded again by another implementation than the one that made it.

use std::io::Read;

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};
use crate::support::wire::{Response, Wire};

const STORED: &[(&str, &str)] = &[
    ("Cache-Control", "max-age=600"),
    ("Content-Type", "text/plain"),
    ("ETag", "\"1\""),
    ("Accept-Ranges", "bytes"),
];

fn config(cache: &str) -> String {
    format!(
        "[cache]\nmemory = \"32MiB\"\n[upstream.a]\nendpoints = [\"@a@\"]\n[[route]]\nmatch = \"/{{*rest}}\"\n\
         forward = \"a\"\ncache = {cache}\ncompress = true\n"
    )
}

fn start(origin: &Origin, cache: &str) -> Gateway {
    gateway(&config(cache)).with("a", origin.address).start()
}

fn saying(fields: &'static [(&'static str, &'static str)], body: Vec<u8>) -> Origin {
    Origin::script(move |_| vec![Step::Send(answer(200, fields, &body))])
}

fn text(lines: usize) -> String {
    (0..lines).map(|n| format!("line {n} of a text that repeats itself\n")).collect()
}

fn decoded(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    let body = &response.body[..];
    match response.field("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut out).expect("gzip"),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_end(&mut out).expect("br"),
        Some("zstd") => {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(body).expect("a frame");
            decoder.read_to_end(&mut out).expect("zstd")
        }
        None => return body.to_vec(),
        Some(other) => panic!("{other}"),
    };
    out
}

#[test]
fn one_stored_answer_goes_out_in_every_coding() {
    let origin = saying(STORED, text(4000).into_bytes());
    let gateway = start(&origin, "\"origin\"");
    for (accept, coding) in [
        ("gzip", Some("gzip")),
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("identity", None),
        ("gzip;q=0", None),
        ("identity;q=0, br", Some("br")),
    ] {
        let response = gateway.get_with("/a", &[("Accept-Encoding", accept)]).expect(200);
        assert_eq!(response.field("content-encoding"), coding, "{accept}");
        assert_eq!(response.field("vary"), Some("accept-encoding"), "{accept}");
        assert_eq!(decoded(&response), text(4000).as_bytes(), "{accept}");
        let tag = if coding.is_some() { "W/\"1\"" } else { "\"1\"" };
        assert_eq!(response.field("etag"), Some(tag), "{accept}");
        assert_eq!(response.field("accept-ranges").is_some(), coding.is_none(), "{accept}");
        assert!(response.field("cache-status").is_some());
    }
    origin.request();
    // Kept, with a length of its own.
    let kept = gateway.get_with("/a", &[("Accept-Encoding", "gzip")]).expect(200);
    assert_eq!(kept.field("content-length"), Some(kept.body.len().to_string().as_str()));
    assert!(kept.field("age").is_some() && kept.body.len() < text(4000).len() / 4);
    let hits = |_: ()| gateway.metric("ringway_cache_requests_total", &["result=\"hit\""]);
    assert_eq!(hits(()), 7.0);
}

#[test]
fn conditions_ranges_and_head_of_a_coded_answer() {
    let origin = saying(STORED, text(100).into_bytes());
    let gateway = start(&origin, "\"origin\"");
    let coded = ("Accept-Encoding", "gzip");
    gateway.get_with("/a", &[coded]).expect(200);
    let known = gateway.get_with("/a", &[coded, ("If-None-Match", "W/\"1\"")]);
    assert_eq!((known.status, known.field("etag")), (304, Some("W/\"1\"")));
    assert_eq!(known.field("vary"), Some("accept-encoding"));
    let known = gateway.get_with("/a", &[("If-None-Match", "\"1\"")]);
    assert_eq!((known.status, known.field("etag")), (304, Some("\"1\"")));
    // A range is one of the plain content; who has the coded one has no tag for it.
    let part = gateway.get_with("/a", &[coded, ("Range", "bytes=0-9")]);
    assert_eq!((part.status, part.text().as_str()), (206, &text(100)[..10]));
    assert_eq!((part.field("content-encoding"), part.field("etag")), (None, Some("\"1\"")));
    assert_eq!(part.field("vary"), Some("accept-encoding"));
    let whole = gateway
        .get_with("/a", &[coded, ("Range", "bytes=0-9"), ("If-Range", "W/\"1\"")])
        .expect(200);
    assert_eq!(decoded(&whole), text(100).as_bytes());
    let head = gateway.connect().call("HEAD", "/a", &[coded], b"");
    assert_eq!((head.status, head.field("content-encoding")), (200, Some("gzip")));
    assert_eq!(head.field("content-length"), whole.field("content-length"));
    let unmade = gateway.connect().call("HEAD", "/a", &[("Accept-Encoding", "br")], b"");
    assert_eq!(
        (unmade.field("content-encoding"), unmade.field("content-length")),
        (Some("br"), None)
    );
    origin.request();
}

#[test]
fn what_is_coded_or_short_or_beside_a_secret_stays_as_it_is() {
    let fields = &[
        ("Cache-Control", "public, max-age=600"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "gzip"),
    ];
    let twice = saying(fields, b"said to be gzip by the origin, and long enough".repeat(100));
    let gateway = start(&twice, "\"origin\"");
    for _ in 0..2 {
        let response = gateway.get_with("/a", &[("Accept-Encoding", "gzip, br")]).expect(200);
        assert_eq!(response.field("content-encoding"), Some("gzip"));
        assert_eq!(response.body, b"said to be gzip by the origin, and long enough".repeat(100));
    }
    let short = saying(STORED, b"short".to_vec());
    let gateway = start(&short, "\"origin\"");
    for _ in 0..2 {
        let response = gateway.get_with("/a", &[("Accept-Encoding", "gzip")]).expect(200);
        assert_eq!((response.field("content-encoding"), response.field("vary")), (None, None));
    }
    let secret = saying(STORED, text(100).into_bytes());
    let gateway = start(&secret, "\"origin\"");
    for _ in 0..2 {
        let fields = [("Accept-Encoding", "gzip"), ("Cookie", "session=1")];
        let response = gateway.get_with("/a", &fields).expect(200);
        assert_eq!(response.field("content-encoding"), None);
        assert_eq!(response.field("vary"), Some("accept-encoding"));
        let other = gateway.get_with("/a", &[("Accept-Encoding", "gzip")]).expect(200);
        assert_eq!(other.field("content-encoding"), Some("gzip"), "the same answer to another");
    }
}

#[test]
fn what_is_too_large_to_keep_is_coded_while_it_goes_out() {
    let body = text(150_000);
    assert!(body.len() > 5_000_000, "{}", body.len());
    let origin = saying(STORED, body.clone().into_bytes());
    let gateway = start(&origin, "{ object_max = \"16MiB\" }");
    for _ in 0..2 {
        let response = gateway.get_with("/a", &[("Accept-Encoding", "zstd")]).expect(200);
        assert_eq!(response.field("content-length"), None);
        assert!(decoded(&response) == body.as_bytes());
    }
    let mut old = gateway.connect();
    old.send("GET /a HTTP/1.0\r\nhost: test\r\naccept-encoding: gzip\r\n\r\n");
    assert!(decoded(&old.response().expect(200)) == body.as_bytes());
    origin.request();
}

#[test]
fn what_is_kept_in_other_codings_is_within_the_budget_and_leaves_with_its_answer() {
    let origin = Origin::script(|request| {
        // Does not compress well, so that what is kept weighs something.
        let mut state = request.target.len() as u64 + 88_172_645_463_325_252;
        let letters = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b"abcdefghijklmnopqrstuvwxyz0123456789"[(state % 36) as usize]
        });
        let body: Vec<u8> = letters.take(60_000).collect();
        vec![Step::Send(answer(200, STORED, &body))]
    });
    let text = config("\"origin\"").replace("32MiB", "1MiB");
    let gateway = gateway(&text).with("a", origin.address).start();
    let bytes = || gateway.metric("ringway_cache_bytes", &[]);
    for number in 0..40 {
        let target = format!("/{}", "x".repeat(number));
        for accept in ["identity", "gzip", "br", "zstd"] {
            let response = gateway.get_with(&target, &[("Accept-Encoding", accept)]).expect(200);
            assert_eq!(decoded(&response).len(), 60_000, "{accept}");
        }
        assert!(bytes() <= 1024.0 * 1024.0, "{}", bytes());
    }
    eventually("the weight to be told", || bytes() > 100_000.0);
    let purged = Wire::connect(gateway.admin).call("POST", "/cache/purge?all", &[], b"");
    assert_eq!(purged.status, 200);
    eventually("all of it to be given back", || bytes() == 0.0);
}
