//! Requests told in HTTP/1.1, and what is refused on the way.

use super::*;
use crate::base::buffer::BufferPool;

fn written(request: &Request<()>, ended: bool) -> Result<(String, Told), Malformed> {
    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("within budget");
    let told = text(&mut out, request, ended, None, "")?;
    Ok((String::from_utf8_lossy(out.data()).into_owned(), told))
}

fn get(fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().uri("http://a.test/p?q=1");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("well formed")
}

#[test]
fn a_request_becomes_a_head_with_one_host() {
    let expected = "GET /p?q=1 HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\n\r\n";
    let request = get(&[("accept", "*/*"), ("host", "A.test")]);
    assert_eq!(written(&request, true), Ok((expected.to_string(), Told::Length)));
}

#[test]
fn a_body_of_unknown_length_comes_in_chunks_and_one_with_a_length_does_not() {
    let (text, told) = written(&get(&[]), false).expect("well formed");
    assert!(text.ends_with("transfer-encoding: chunked\r\n\r\n"), "{text}");
    assert_eq!(told, Told::Chunks);
    let (text, told) = written(&get(&[("content-length", "3")]), false).expect("well formed");
    assert!(!text.contains("chunked"), "{text}");
    assert_eq!(told, Told::Length);
}

#[test]
fn crumbs_of_cookies_become_one_line() {
    let (text, _) = written(&get(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]), true)
        .expect("well formed");
    assert!(text.contains("\r\ncookie: a=1; b=2\r\n"), "{text}");
    assert_eq!(text.matches("cookie").count(), 1);
}

#[test]
fn what_two_servers_could_read_as_two_requests_is_refused() {
    let bad: [(&[(&str, &str)], Malformed); 10] = [
        (&[("host", "b.test")], Malformed::Authority),
        (&[("host", "a.test:80")], Malformed::Authority),
        (&[("host", "a.test"), ("host", "a.test")], Malformed::Authority),
        (&[("connection", "close")], Malformed::ConnectionField),
        (&[("transfer-encoding", "chunked")], Malformed::ConnectionField),
        (&[("upgrade", "h2c")], Malformed::ConnectionField),
        (&[("te", "gzip")], Malformed::ConnectionField),
        (&[("x", " y")], Malformed::FieldValue),
        (&[("x", "y\t")], Malformed::FieldValue),
        (&[("cookie", " a=1")], Malformed::FieldValue),
    ];
    for (fields, why) in bad {
        assert_eq!(written(&get(fields), true), Err(why), "{fields:?}");
    }
}

#[test]
fn a_target_is_a_path_and_nothing_else() {
    let at = |method: &str, uri: &str| {
        let request = Request::builder().method(method).uri(uri).header("host", "a.test");
        written(&request.body(()).expect("well formed"), true)
    };
    assert!(at("OPTIONS", "*").is_ok());
    assert_eq!(at("GET", "*"), Err(Malformed::Path));
    assert!(at("GET", "/a").is_ok());
    let (text, told) = {
        let request = Request::builder().method("CONNECT").uri("b.test:443").body(());
        written(&request.expect("well formed"), false).expect("well formed")
    };
    assert_eq!(text, "CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n\r\n");
    assert_eq!(told, Told::Tunnel);
}

#[test]
fn an_extended_connect_becomes_a_handshake() {
    let request = Request::builder().method("CONNECT").uri("https://a.test/chat");
    let request = request.header("sec-websocket-version", "13").body(()).expect("well formed");
    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("within budget");
    assert_eq!(text(&mut out, &request, false, Some("websocket"), "a2V5"), Ok(Told::Tunnel));
    let expected = "GET /chat HTTP/1.1\r\nhost: a.test\r\nsec-websocket-version: 13\r\n\
        connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: a2V5\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(out.data()), expected);
    out.clear();
    let other = text(&mut out, &request, false, Some("connect-udp"), "");
    assert_eq!(other, Err(Malformed::Protocol));
}
