//! The HTTP/1.1 codec: split anywhere it reads the same, what is written reads back, what the smuggling
//! corpus says must be refused is refused, and the fuzz corpus breaks no promise. Never skipped: a corpus
//! that is not there is a failure.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::inflate::decompress_to_vec_zlib;
use proptest::prelude::*;
use serde_json::Value;

use ringway::base::buffer::BufferPool;
use ringway::http::coding;
use ringway::http::framing::BodyLength;
use ringway::http::h1::chunked::{self, Decoder};
use ringway::http::h1::fuzz;
use ringway::http::h1::parse::{self, HeadLimits, Parsed};
use ringway::http::head::{RequestHead, ResponseHead};
use ringway::http::names::FieldName;
use ringway::http::target::{self, EncodeSet, Plus};
use ringway::http::{Method, Status, date, writer};

/// Where the shared corpora are: `$RINGWAY_SHARED`, a sibling of the repository, or `/work/shared`.
fn shared() -> PathBuf {
    let named = std::env::var_os("RINGWAY_SHARED").map(PathBuf::from);
    let sibling = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let candidates = named.into_iter().chain([sibling, PathBuf::from("/work/shared")]);
    let mut there = candidates.filter(|path| path.join("corpora").is_dir());
    there.next().expect("the shared corpora are needed; set RINGWAY_SHARED")
}

/// The smuggling cases of one file.
fn cases(file: &str) -> Vec<(Value, Vec<u8>)> {
    let path = shared().join("corpora/smuggling/public").join(file);
    let text = std::fs::read_to_string(&path).expect("the smuggling corpus is readable");
    let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let decoded = |text: &str| STANDARD.decode(text).expect("base64");
    let with_bytes = parsed.map(|case| {
        let bytes = match case["zbytes"].as_str() {
            Some(packed) => decompress_to_vec_zlib(&decoded(packed)).expect("zlib"),
            None => decoded(case["bytes"].as_str().expect("bytes")),
        };
        (case, bytes)
    });
    let all: Vec<_> = with_bytes.collect();
    assert!(!all.is_empty());
    all
}

/// How a connection that sends these bytes and then ends goes.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// That many messages, then the end.
    Messages(usize),
    /// That many messages, then one that is refused.
    Refused(usize),
    /// That many messages, then one that is not whole.
    Unfinished(usize),
}

fn requests(bytes: &[u8]) -> Outcome {
    let mut rest = bytes.to_vec();
    let mut head = RequestHead::default();
    for count in 0.. {
        if rest.is_empty() {
            return Outcome::Messages(count);
        }
        match parse::request(&rest, 0, &HeadLimits::default(), &mut head) {
            Err(_) => return Outcome::Refused(count),
            Ok(Parsed::Partial) => return Outcome::Unfinished(count),
            Ok(Parsed::Done) => {}
        }
        let keep_alive = head.keep_alive;
        let connect = head.method == Method::Connect;
        rest.drain(..head.bytes as usize);
        match skip_body(&mut rest, head.body) {
            // A gateway refuses CONNECT whatever it names.
            _ if connect => return Outcome::Refused(count),
            Err(()) => return Outcome::Refused(count),
            Ok(false) => return Outcome::Unfinished(count),
            Ok(true) if !keep_alive => return Outcome::Messages(count + 1),
            Ok(true) => {}
        }
    }
    unreachable!("the loop has no end")
}

/// Takes a body off the front; whether it was whole.
fn skip_body(rest: &mut Vec<u8>, body: BodyLength) -> Result<bool, ()> {
    match body {
        BodyLength::None => Ok(true),
        BodyLength::Exact(length) if length > rest.len() as u64 => Ok(false),
        BodyLength::Exact(length) => {
            rest.drain(..length as usize);
            Ok(true)
        }
        BodyLength::Chunked => {
            let decoded = Decoder::new().decode(rest).map_err(|_| ())?;
            rest.drain(..decoded.consumed);
            Ok(decoded.done)
        }
        BodyLength::UntilClose => {
            rest.clear();
            Ok(true)
        }
    }
}

#[test]
fn requests_that_must_be_refused_are_and_good_ones_pass() {
    let mut wrong = Vec::new();
    for (case, bytes) in cases("cases.jsonl") {
        let outcome = requests(&bytes);
        let up_n = case["expect"]["up_n"].as_u64().unwrap_or(1) as usize;
        // Whether a body that ends early makes the message incomplete shows at its end of stream.
        let good = match case["cls"].as_str() {
            Some("reject") => matches!(outcome, Outcome::Refused(0) | Outcome::Unfinished(0)),
            Some("accept") => outcome == Outcome::Messages(up_n),
            _ => true,
        };
        if !good {
            wrong.push(format!("{} {}: {outcome:?}", case["cls"], case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn ambiguous_requests_are_refused_although_they_might_be_repaired() {
    // What the corpus would let a gateway clean up and still pass: we refuse all of it, except for what
    // is no matter of framing.
    let names =
        ["te-then-cl", "cl-short-then-te", "te-10", "te-10-with-cl", "cl-fold-value", "ln-all-lf"];
    let cases = cases("cases.jsonl");
    for name in names {
        let (_, bytes) = cases.iter().find(|(case, _)| case["name"] == name).expect(name);
        assert_eq!(requests(bytes), Outcome::Refused(0), "{name}");
    }
    // What differs from a good message by one control byte.
    let grids = cases.iter().filter(|(case, _)| {
        let name = case["name"].as_str().unwrap_or_default();
        let byte = name.rsplit('-').next().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        case["cls"] == "either"
            && (name.starts_with("mut-")
                || (name.starts_with("grid-") && byte.is_some_and(|byte| byte < b' ')))
    });
    for (case, bytes) in grids {
        assert!(!matches!(requests(bytes), Outcome::Messages(_)), "{}", case["name"]);
    }
}

#[test]
fn responses_that_must_be_refused_are_and_good_ones_pass() {
    let mut wrong = Vec::new();
    for (case, bytes) in cases("resp_cases.jsonl") {
        let method = if case["method"] == "HEAD" { Method::Head } else { Method::Get };
        let outcome = response(&bytes, method);
        let good = match case["cls"].as_str() {
            // 101 is well-formed; that nobody asked for it is seen by who sent the request.
            Some("reject") => outcome.is_none() || case["name"] == "101-unasked",
            Some("accept") => outcome == case["expect"]["status"].as_u64().or(Some(200)),
            _ => true,
        };
        if !good {
            wrong.push(format!("{} {}: {outcome:?}", case["cls"], case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The final status of a whole response.
fn response(bytes: &[u8], method: Method) -> Option<u64> {
    let mut rest = bytes.to_vec();
    let mut head = ResponseHead::default();
    loop {
        match parse::response(&rest, 0, &HeadLimits::default(), method, &mut head) {
            Ok(Parsed::Done) => {}
            _ => return None,
        }
        rest.drain(..head.bytes as usize);
        if !head.status.is_interim() || head.status == Status(101) {
            break;
        }
    }
    let whole = skip_body(&mut rest, head.body) == Ok(true);
    whole.then_some(u64::from(head.status.0))
}

#[test]
fn every_case_reads_the_same_split_anywhere() {
    for (_, bytes) in cases("cases.jsonl").into_iter().filter(|(_, bytes)| bytes.len() < 2000) {
        let mut whole = RequestHead::default();
        let mut pieces = RequestHead::default();
        let limits = HeadLimits::default();
        let expected = parse::request(&bytes, 0, &limits, &mut whole);
        for cut in 0..=bytes.len() {
            let mut outcome = parse::request(&bytes[..cut], 0, &limits, &mut pieces);
            if outcome == Ok(Parsed::Partial) {
                outcome = parse::request(&bytes, cut, &limits, &mut pieces);
            }
            // A piece may already show that nothing good can come; which fault it names is free then.
            let same = outcome == expected || (outcome.is_err() && expected.is_err());
            let undecided = outcome == Ok(Parsed::Partial) && expected.is_err();
            assert!(same || undecided, "cut {cut}: {outcome:?} for {expected:?}");
            assert!(expected != Ok(Parsed::Done) || pieces.bytes == whole.bytes);
        }
        fuzz::chunked(&bytes);
    }
}

#[test]
fn the_fuzz_corpus_breaks_no_promise() {
    replay("h1_request", fuzz::request);
    replay("h1_response", fuzz::response);
    replay("chunked", fuzz::chunked);
    replay("target", fuzz::target);
    replay("coding", coding::fuzz::coding);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_body_in_a_coding_ends_within_its_bound(
        choice in 0u8..3,
        text in prop::collection::vec("[a-e\\{\\}\":,]{0,40}", 0..40),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..4),
    ) {
        let text = text.concat();
        let mut body = match choice {
            0 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                std::io::Write::write_all(&mut encoder, text.as_bytes()).expect("a vector takes all");
                encoder.finish().expect("a vector takes all")
            }
            1 => {
                let mut out = Vec::new();
                brotli::BrotliCompress(&mut text.as_bytes(), &mut out, &Default::default()).expect("a vector takes all");
                out
            }
            _ => ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest),
        };
        for (at, byte, cut) in edits {
            let at = at.index(body.len().max(1));
            if cut { body.truncate(at) } else if at < body.len() { body[at] = byte }
        }
        body.insert(0, choice);
        coding::fuzz::coding(&body);
    }
}

/// Runs one target over every file kept for it.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder of seeds") {
        let path = entry.expect("readable").path();
        let data = std::fs::read(&path).expect("readable");
        run(&data);
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}

/// Bytes that are often nearly HTTP: pieces of heads in any order, and noise.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"POST http://a.test/x?y HTTP/1.0\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"Host: a.test\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: X-A, close\r\n".to_vec()),
        Just(b"X_A: \t b \r\n".to_vec()),
        Just(b"X-Forwarded-For: 1.1.1.1\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"5;a=b\r\nhello\r\n".to_vec()),
        Just(b"0\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heads_and_bodies_keep_their_promises(data in nearly_http()) {
        fuzz::request(&data);
        fuzz::response(&data);
        fuzz::chunked(&data);
        fuzz::target(&data);
    }

    #[test]
    fn a_request_head_that_is_written_reads_back(
        method in "[A-Z]{1,9}",
        path in "(/[a-z0-9.~%-]{0,8}){1,4}",
        names in prop::collection::vec("x-[a-z]{1,12}", 0..20),
        values in prop::collection::vec("([!-~]([ !-~]{0,30}[!-~])?)?", 20),
    ) {
        prop_assume!(method != "CONNECT");
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("within budget");
        let line = format!("{method} {path} HTTP/1.1\r\n");
        prop_assert!(out.put(line.as_bytes()) && writer::field(&mut out, b"host", b"a.test"));
        for (name, value) in names.iter().zip(&values) {
            prop_assert!(writer::field(&mut out, name.as_bytes(), value.as_bytes()));
        }
        prop_assert!(writer::end(&mut out));
        let mut head = RequestHead::default();
        let raw = out.data();
        let outcome = parse::request(raw, 0, &HeadLimits::default(), &mut head);
        prop_assert_eq!(outcome, Ok(Parsed::Done));
        prop_assert_eq!(head.method_text.of(raw), method.as_bytes());
        prop_assert_eq!(head.target.path.of(raw), path.as_bytes());
        prop_assert_eq!(head.fields.len(), names.len() + 1);
        for (field, (name, value)) in head.fields.iter().skip(1).zip(names.iter().zip(&values)) {
            prop_assert_eq!(field.id, FieldName::of(name.as_bytes()));
            prop_assert_eq!(field.name.of(raw), name.as_bytes());
            prop_assert_eq!(field.value.of(raw), value.as_bytes());
        }
    }

    #[test]
    fn a_body_in_chunks_reads_back_split_anywhere(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        piece in 1usize..50,
    ) {
        let pool = BufferPool::new(1);
        let mut buf = pool.take().expect("within budget");
        let mut sent = Vec::new();
        for part in &parts {
            buf.clear_with_headroom(chunked::FRAME_HEADROOM);
            prop_assert!(buf.put(part) && chunked::frame(&mut buf));
            sent.extend_from_slice(buf.data());
        }
        sent.extend_from_slice(chunked::LAST_CHUNK);
        let (mut decoder, mut body) = (Decoder::new(), Vec::new());
        for bytes in sent.chunks_mut(piece) {
            let decoded = decoder.decode(bytes).expect("well-formed");
            prop_assert_eq!(decoded.consumed, bytes.len());
            body.extend_from_slice(&bytes[..decoded.data]);
        }
        prop_assert!(decoder.is_done());
        prop_assert_eq!(body, parts.concat());
    }

    #[test]
    fn what_is_escaped_decodes_to_itself(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("within budget");
        for set in [EncodeSet::PathSegment, EncodeSet::PathRest, EncodeSet::QueryValue] {
            out.clear();
            prop_assert!(target::percent_encode(&mut out, &text, set));
            let mut room = [0; 200];
            let decoded = target::percent_decode(out.data(), Plus::Literal, &mut room);
            prop_assert_eq!(decoded, Ok(&text[..]));
        }
    }

    #[test]
    fn a_date_that_is_written_reads_back(secs in 0u64..253_402_300_800) {
        prop_assert_eq!(date::parse(&date::imf_fixdate(secs), secs), Some(secs));
    }
}
