//! Parts that answer in a content coding: gzip, br and zstd are undone, within bounds; others are a fault.
//!
//! RFC 9110 §8.4. What the decoders do with damaged bodies is told by the unit tests of `http/coding`.

use std::io::Write;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, answer};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn br(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut &*text, &mut out, &Default::default()).unwrap();
    out
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

/// One required part, answered like this.
fn merging(part: &str, coding: &str, body: &[u8]) -> (Gateway, Origin) {
    let origin = Origin::answering(answer(200, &[("content-encoding", coding)], body));
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /\"\n[route.merge]\n\
         a = {{ get = \"api /\"{part} }}\n"
    );
    (gateway(&text).with("api", origin.address).start(), origin)
}

#[test]
fn a_part_in_a_coding_is_decoded_and_merged() {
    let text = br#"{"name":"Ada","n":1.0}"#;
    for (coding, body) in [("gzip", gzip(text)), ("br", br(text)), ("ZSTD", zstd(text))] {
        let (gateway, origin) = merging("", coding, &body);
        let mut client = gateway.connect();
        for _ in 0..2 {
            let response = client.get("/", &[]).expect(200);
            assert_eq!(response.text(), r#"{"a":{"name":"Ada","n":1.0}}"#, "{coding}");
            assert_eq!(response.field("content-encoding"), None);
        }
        assert_eq!(origin.requests()[0].field("accept-encoding"), Some("identity"));
        assert_eq!(origin.connections(), 1, "the connection is kept");
    }
}

#[test]
fn a_part_is_asked_for_the_codings_it_may_answer_in() {
    let part = ", accept_encoding = [\"zstd\", \"gzip\"], keep = \"name\"";
    let (gateway, origin) = merging(part, "gzip", &gzip(br#"{"name":"Ada","n":1.0}"#));
    assert_eq!(gateway.get("/").expect(200).text(), r#"{"a":{"name":"Ada"}}"#);
    assert_eq!(origin.request().field("accept-encoding"), Some("zstd, gzip"));
}

#[test]
fn a_long_part_is_decoded_piece_by_piece() {
    let text = format!("[{}0]", "\"a text that is there very often\",".repeat(100_000));
    for (coding, body) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
        let (gateway, _origin) = merging("", coding, &body);
        assert_eq!(gateway.get("/").expect(200).text(), format!("{{\"a\":{text}}}"));
    }
}

#[test]
fn bodies_that_cannot_be_decoded_are_a_fault_of_the_part() {
    let fine = gzip(b"[1,2,3]");
    let (cut, damaged) = (&fine[..fine.len() - 9], [&fine[..fine.len() - 1], b"\x7f"].concat());
    let bomb = gzip(&vec![b' '; 5 << 20]);
    for (coding, body, reason) in [
        ("gzip", &b"[1,2,3]"[..], "coding"),
        ("gzip", &damaged, "coding"),
        ("gzip", cut, "truncated"),
        ("gzip", &bomb, "too_large"),
        ("gzip", &gzip(b"<html>"), "not_json"),
        ("deflate", b"[1,2,3]", "coding"),
        ("gzip, gzip", &gzip(&fine), "coding"),
        ("br", &[&br(b"[1]")[..], b"x"].concat(), "coding"),
    ] {
        let (gateway, _origin) = merging(", else = 0", coding, body);
        let response = gateway.get("/").expect(200);
        assert_eq!(response.text(), r#"{"a":0}"#, "{coding}");
        let partial = format!("a;{reason}");
        assert_eq!(response.field("gateway-partial"), Some(partial.as_str()), "{coding}");
    }
    let (gateway, _origin) = merging("", "compress", b"[]");
    gateway.get("/").expect_problem(502);
}

#[test]
fn an_empty_body_in_a_coding_is_an_empty_body() {
    let (gateway, _origin) = merging("", "gzip", b"");
    assert_eq!(gateway.get("/").expect(200).text(), r#"{"a":null}"#);
    let (gateway, _origin) = merging("", "gzip", &gzip(b""));
    assert_eq!(gateway.get("/").expect(200).text(), r#"{"a":null}"#);
}
