//! The rules of RFC 9112 that a head must keep, and the ways to break them. Never a lenient case.

use super::*;
use crate::http::TargetForm;
use crate::http::names::FieldName;

fn parsed(raw: &[u8]) -> Result<RequestHead, HeadError> {
    let mut head = RequestHead::default();
    let outcome = request(raw, 0, &HeadLimits::default(), &mut head)?;
    assert_eq!(outcome, Parsed::Done, "not whole: {}", String::from_utf8_lossy(raw));
    Ok(head)
}

/// A request with these lines behind its Host.
fn with_lines(lines: &[u8]) -> Result<RequestHead, HeadError> {
    parsed(&[b"POST /a HTTP/1.1\r\nHost: ex.test\r\n", lines, b"\r\n"].concat())
}

fn answered(raw: &[u8], method: Method) -> Result<ResponseHead, HeadError> {
    let mut head = ResponseHead::default();
    let outcome = response(raw, 0, &HeadLimits::default(), method, &mut head)?;
    assert_eq!(outcome, Parsed::Done, "not whole: {}", String::from_utf8_lossy(raw));
    Ok(head)
}

#[track_caller]
fn refused<T>(outcome: Result<T, HeadError>, why: Why) {
    assert_eq!(outcome.err(), Some(HeadError::Malformed(why)));
}

#[test]
fn a_request_is_taken_apart() {
    let raw = b"POST /a/b?c=d HTTP/1.1\r\nHost: Ex.test:80\r\nX-A:  one two \t\r\nX-B:\r\n\
        content-LENGTH: 5\r\n\r\nhello";
    let head = parsed(raw).expect("a good head");
    assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
    assert_eq!(head.target.path.of(raw), b"/a/b");
    assert_eq!((head.host.of(raw), head.authority.of(raw)), (&b"Ex.test"[..], &b"Ex.test:80"[..]));
    assert_eq!((head.body, head.keep_alive), (BodyLength::Exact(5), true));
    assert_eq!(&raw[head.bytes as usize..], b"hello");
    let values: Vec<_> = head.fields.iter().map(|field| field.value.of(raw)).collect();
    let expected: [&[u8]; 4] = [b"Ex.test:80", b"one two", b"", b"5"];
    assert_eq!(values, expected);
    assert_eq!(head.fields.find(FieldName::ContentLength, raw), Some(&b"5"[..]));
}

#[test]
fn lines_end_with_crlf_and_hold_no_control_bytes() {
    refused(with_lines(b"X: a\nY: b\r\n"), Why::BareLf);
    refused(with_lines(b"X: a\rY: b\r\n"), Why::BareCr);
    refused(with_lines(b"X: a\r\r\n"), Why::BareCr);
    refused(with_lines(b"X: a\0b\r\n"), Why::Nul);
    for byte in (1..0x20u8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        refused(with_lines(&[b'X', b':', byte, b'\r', b'\n']), Why::ControlByte);
        refused(with_lines(&[b'X', byte, b':', b'\r', b'\n']), Why::BadName);
    }
    refused(with_lines(b"\rX: a\r\n"), Why::BareCr);
    refused(parsed(b"GET /a HTTP/1.1\nHost: a\n\n"), Why::BareLf);
    assert!(with_lines(b"X: a\tb\xe4\r\n").is_ok(), "HTAB and obs-text are legal in values");
}

#[test]
fn field_names_are_tokens_right_before_the_colon() {
    refused(with_lines(b"X : a\r\n"), Why::SpaceInName);
    refused(with_lines(b"X Y: a\r\n"), Why::SpaceInName);
    refused(with_lines(b": a\r\n"), Why::EmptyName);
    refused(with_lines(b"justaword\r\n"), Why::NoColon);
    refused(with_lines(b"X(y): a\r\n"), Why::BadName);
    refused(with_lines(b"\xefX: a\r\n"), Why::BadName);
    refused(with_lines(b"X: a\r\n b\r\n"), Why::FoldedLine);
    refused(with_lines(b"X: a\r\n\tb\r\n"), Why::FoldedLine);
    refused(parsed(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"), Why::FoldedLine);
}

#[test]
fn content_length_comes_once_and_plain() {
    assert_eq!(with_lines(b"Content-Length: 0\r\n").map(|head| head.body), Ok(BodyLength::None));
    assert_eq!(with_lines(b"Content-Length:\t7 \r\n").map(|h| h.body), Ok(BodyLength::Exact(7)));
    for value in ["", "-1", "+1", "0x1", "1,1", "1, 1", "1 1", "18446744073709551616", "1;"] {
        let line = format!("Content-Length: {value}\r\n");
        refused(with_lines(line.as_bytes()), Why::ContentLength);
    }
    let twice = b"Content-Length: 5\r\nContent-Length: 5\r\n";
    refused(with_lines(twice), Why::SeveralContentLengths);
}

#[test]
fn transfer_encoding_is_one_final_chunked_alone() {
    let chunked = with_lines(b"Transfer-Encoding: CHUNKED\r\n").map(|head| head.body);
    assert_eq!(chunked, Ok(BodyLength::Chunked));
    refused(with_lines(b"Transfer-Encoding: chunked, chunked\r\n"), Why::TransferEncoding);
    refused(with_lines(b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), Why::BothLengths);
    refused(with_lines(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), Why::BothLengths);
    let twice = b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    refused(with_lines(twice), Why::SeveralTransferEncodings);
    let coded = with_lines(b"Transfer-Encoding: gzip, chunked\r\n").err();
    assert_eq!(coded, Some(HeadError::NotImplemented));
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(parsed(old), Why::TransferEncodingInOldVersion);
}

#[test]
fn fields_that_pose_as_framing_are_refused() {
    for name in
        ["Transfer_Encoding", "Content_Length", "Content-Length_", "Ho.st", "transfer-encoding'"]
    {
        let line = format!("{name}: chunked\r\n");
        refused(with_lines(line.as_bytes()), Why::LookAlikeField);
    }
    assert!(with_lines(b"X_Y: a\r\n").is_ok());
}

#[test]
fn a_request_has_exactly_one_good_host() {
    refused(parsed(b"GET / HTTP/1.1\r\n\r\n"), Why::NoHost);
    refused(with_lines(b"Host: ex.test\r\n"), Why::SeveralHosts);
    refused(parsed(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Why::SeveralHosts);
    for host in
        ["", "a b", "u@a", "a#b", "a:b", "a,", "a,b", "[::1", "a%2e", "\u{e4}", "a/b", "a:99999"]
    {
        let raw = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refused(parsed(raw.as_bytes()), Why::Host);
    }
    let old = parsed(b"GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.0 may lack a Host");
    assert!(old.host.is_empty() && !old.keep_alive);
}

#[test]
fn the_authority_of_an_absolute_target_wins() {
    let raw = b"GET http://a.test:81/x?y HTTP/1.1\r\nHost: b.test\r\n\r\n";
    let head = parsed(raw).expect("a good head");
    assert_eq!((head.host.of(raw), head.authority.of(raw)), (&b"a.test"[..], &b"a.test:81"[..]));
    assert_eq!((head.target.form, head.target.path.of(raw)), (TargetForm::Absolute, &b"/x"[..]));
    refused(parsed(b"GET http://a.test/ HTTP/1.1\r\nHost: b c\r\n\r\n"), Why::Host);
    refused(parsed(b"GET http://a.test/ HTTP/1.1\r\n\r\n"), Why::NoHost);
}

#[test]
fn the_request_line_is_exact() {
    let line = |line: &str| parsed(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
    for bad in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET / HTTP/11.1",
        "GET / http/1.1",
        "GET / HTTP/1.32",
        "GET / HTTP /1.1",
        "GET / HTTP/1,1",
        "GET / HTTP/+1.1",
        "GET / IHTTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1\0",
    ] {
        assert!(matches!(line(bad), Err(HeadError::Malformed(_))), "{bad:?}");
    }
    for bad in ["GET\t/ HTTP/1.1", " / HTTP/1.1", "GET: / HTTP/1.1", "GE\0T / HTTP/1.1"] {
        refused(line(bad), Why::Method);
    }
    for bad in ["GET /#a HTTP/1.1", "GET a HTTP/1.1", "GET * HTTP/1.1", "GET /\u{e4} HTTP/1.1"] {
        refused(line(bad), Why::Target);
    }
    for other in ["HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/3.1"] {
        assert_eq!(line(&format!("GET / {other}")).err(), Some(HeadError::Version), "{other}");
    }
    let preface = parsed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(preface.err(), Some(HeadError::Version));
    assert!(line("get / HTTP/1.1").is_ok_and(|head| head.method == Method::Other));
}

#[test]
fn one_empty_line_before_a_request_is_tolerated_and_counted() {
    let raw = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(parsed(raw).map(|head| head.bytes as usize), Ok(raw.len()));
    refused(parsed(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Why::EmptyLines);
    refused(parsed(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Why::BareLf);
}

#[test]
fn persistence_follows_version_and_connection() {
    let keeps = |version: &str, connection: &str| {
        let raw = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
        parsed(raw.as_bytes()).map(|head| head.keep_alive)
    };
    assert_eq!(keeps("1.1", "x"), Ok(true));
    assert_eq!(keeps("1.1", "x, Close"), Ok(false));
    assert_eq!(keeps("1.0", "x"), Ok(false));
    assert_eq!(keeps("1.0", "Keep-Alive"), Ok(true));
    assert_eq!(keeps("1.0", "keep-alive, close"), Ok(false));
    assert_eq!(keeps("1.1", &"x,".repeat(17)), Err(HeadError::Malformed(Why::ConnectionOptions)));
}

#[test]
fn expectations_are_100_continue_or_refused() {
    let lines = b"Expect: 100-Continue\r\nContent-Length: 5\r\n";
    assert_eq!(with_lines(lines).map(|head| head.expect_continue), Ok(true));
    let without_body = with_lines(b"Expect: 100-continue\r\n").map(|head| head.expect_continue);
    assert_eq!(without_body, Ok(false));
    assert_eq!(with_lines(b"Expect: magic\r\n").err(), Some(HeadError::Expectation));
    let old = parsed(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(old.map(|head| head.expect_continue), Ok(false));
}

#[test]
fn limits_hold_while_the_head_is_still_arriving() {
    let limits = HeadLimits { head_bytes_max: 100, fields_max: 3, target_bytes_max: 20 };
    let mut head = RequestHead::default();
    let mut outcome = |raw: &[u8], seen| request(raw, seen, &limits, &mut head);
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 200]].concat();
    assert_eq!(outcome(&endless[..99], 50), Ok(Parsed::Partial));
    assert_eq!(outcome(&endless[..100], 99), Err(HeadError::TooLarge));
    assert_eq!(outcome(&endless, 0), Err(HeadError::TooLarge));
    let many = b"GET / HTTP/1.1\r\nA: a\r\nB: b\r\nC: c\r\nD";
    assert_eq!(outcome(many, 0), Err(HeadError::TooManyFields));
    assert_eq!(outcome(b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaa", 0), Err(HeadError::TargetTooLong));
    let exact = b"GET / HTTP/1.1\r\nHost: a\r\nA: a\r\nB: b\r\n\r\n";
    assert_eq!(outcome(exact, 0), Ok(Parsed::Done));
}

#[test]
fn a_head_that_cannot_become_good_is_refused_before_its_end() {
    let mut head = RequestHead::default();
    let limits = HeadLimits::default();
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb";
    assert!(request(raw, 27, &limits, &mut head).is_err());
    assert!(request(b"\x16\x03\x01\x02\x00", 0, &limits, &mut head).is_err());
}

#[test]
fn a_response_is_taken_apart() {
    let raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
    let head = answered(raw, Method::Get).expect("a good head");
    assert_eq!((head.status, head.reason.of(raw)), (Status(404), &b"Not Found"[..]));
    assert_eq!((head.body, head.keep_alive), (BodyLength::Exact(2), true));
    assert_eq!(&raw[head.bytes as usize..], b"no");
    let bare = answered(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", Method::Get);
    assert!(bare.is_ok_and(|head| head.reason.is_empty()));
    assert!(answered(b"HTTP/1.1 200 \r\n\r\n", Method::Get).is_ok());
}

#[test]
fn a_response_that_needs_the_connection_to_end_does_not_persist() {
    let ends = answered(b"HTTP/1.1 200 OK\r\n\r\n", Method::Get).expect("a good head");
    assert_eq!((ends.body, ends.keep_alive), (BodyLength::UntilClose, false));
    let old = answered(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Method::Get);
    assert!(old.is_ok_and(|head| !head.keep_alive && head.body == BodyLength::Exact(0)));
    let lying = answered(b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", Method::Get);
    assert!(lying.is_ok_and(|head| !head.keep_alive && head.body == BodyLength::None));
    let head = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Head);
    assert!(head.is_ok_and(|head| head.keep_alive && head.body == BodyLength::None));
    let interim = answered(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200", Method::Get);
    assert!(interim.is_ok_and(|head| head.status.is_interim() && head.body == BodyLength::None));
}

#[test]
fn malformed_responses_are_refused() {
    let line = |line: &str| answered(format!("{line}\r\n\r\n").as_bytes(), Method::Get);
    for bad in [
        "HTTX/1.1 200 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 099 x",
        "\r\nHTTP/1.1 200 OK",
        "http/1.1 200 OK",
    ] {
        assert!(line(bad).is_err(), "{bad:?}");
    }
    for bad in [
        "X: a\r\n b",
        "X",
        "X(y): 1",
        "X: a\0b",
        "X: a\nY: b",
        "Content-Length: -2",
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 2, 2",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Transfer-Encoding: gzip",
    ] {
        assert!(line(&format!("HTTP/1.1 200 OK\r\n{bad}")).is_err(), "{bad:?}");
    }
    let old = line("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked");
    refused(old, Why::TransferEncodingInOldVersion);
}
