//! What goes out, compared with what came in. Never a field of the other hop.

use super::*;
use crate::base::buffer::BufferPool;
use crate::http::Method;
use crate::http::h1::parse::{self, HeadLimits, Parsed};
use crate::http::head::{RequestHead, ResponseHead};

const UNTRUSTED: ForwardedClient<'_> = ForwardedClient {
    address: b"192.0.2.7",
    real: b"192.0.2.7",
    proto: "http",
    trusted: false,
    forwarded: false,
};
const TRUSTED: ForwardedClient<'_> = ForwardedClient {
    address: b"2001:db8::1",
    real: b"192.0.2.2",
    proto: "https",
    trusted: true,
    forwarded: true,
};

/// What an origin sees behind the kept lines, for Host `ex.test` and an untrusted client.
const MADE: &str = "x-forwarded-for: 192.0.2.7\r\nx-real-ip: 192.0.2.7\r\nx-forwarded-proto: http\r\n\
    x-forwarded-host: ex.test\r\nx-forwarded-port: 80\r\nforwarded: for=192.0.2.7;host=\"ex.test\";proto=http\r\n\
    via: 1.1 ringway\r\n";

fn forwarded(raw: &str, how: &RequestForward<'_>) -> String {
    let mut head = RequestHead::default();
    let outcome = parse::request(raw.as_bytes(), 0, &HeadLimits::default(), &mut head);
    assert_eq!(outcome, Ok(Parsed::Done));
    let how = RequestForward { body: head.body, ..*how };
    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("within budget");
    request_head(&mut out, Request { head: &head, raw: raw.as_bytes() }, &how).expect("fits");
    String::from_utf8(out.data().to_vec()).expect("ASCII in, ASCII out")
}

fn plain(raw: &str) -> String {
    forwarded(raw, &RequestForward { client: UNTRUSTED, ..RequestForward::default() })
}

fn answered(raw: &str, method: Method, how: &ResponseForward<'_>) -> String {
    let mut head = ResponseHead::default();
    let outcome = parse::response(raw.as_bytes(), 0, &HeadLimits::default(), method, &mut head);
    assert_eq!(outcome, Ok(Parsed::Done));
    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("within budget");
    response_head(&mut out, Response { head: &head, raw: raw.as_bytes() }, how).expect("fits");
    String::from_utf8(out.data().to_vec()).expect("ASCII in, ASCII out")
}

#[test]
fn what_passes_is_copied_as_it_came() {
    let raw = "\r\nGET /a?b HTTP/1.1\r\nX-One:  1 \r\nHost: ex.test\r\nx-two:\t2\r\n";
    let sent = plain(&format!("{raw}\r\n"));
    assert_eq!(sent, format!("{}{MADE}\r\n", &raw[2..]));
}

#[test]
fn options_and_trace_count_their_hops_and_nothing_else_does() {
    let sent = |method: &str, value: &str| {
        plain(&format!("{method} / HTTP/1.1\r\nHost: ex.test\r\nMax-Forwards: {value}\r\n\r\n"))
    };
    assert!(sent("OPTIONS", "7").ends_with("\r\nmax-forwards: 6\r\n\r\n"));
    assert!(sent("TRACE", "010").ends_with("\r\nmax-forwards: 9\r\n\r\n"));
    assert!(!sent("OPTIONS", "7").contains("Max-Forwards"));
    for (method, value) in [("GET", "7"), ("OPTIONS", "x"), ("OPTIONS", "-1")] {
        assert!(
            sent(method, value).contains(&format!("\r\nMax-Forwards: {value}\r\n")),
            "{method}"
        );
    }
}

#[test]
fn hop_by_hop_and_nominated_fields_stay_behind() {
    let raw = "GET / HTTP/1.1\r\nHost: ex.test\r\nA: 1\r\nConnection: x-Foo , Upgrade\r\nX-foo: s \t\r\n\
        Keep-Alive: 5\r\nB: 2\r\nProxy-Connection: x\r\nUpgrade: websocket\r\nTE: gzip\r\n\r\n";
    let kept = "GET / HTTP/1.1\r\nHost: ex.test\r\nA: 1\r\nB: 2\r\n";
    assert_eq!(plain(raw), format!("{kept}{MADE}\r\n"));
}

#[test]
fn a_connection_option_cannot_remove_what_we_rely_on() {
    let raw = "POST / HTTP/1.1\r\nHost: ex.test\r\nAuthorization: Bearer x\r\nContent-Length: 5\r\n\
        Connection: Host, Content-Length, Authorization, X-Forwarded-For\r\n\r\n";
    let sent = plain(raw);
    assert!(
        sent.contains("Host: ex.test\r\nAuthorization: Bearer x\r\nContent-Length: 5\r\nx-forw")
    );
}

#[test]
fn an_untrusted_client_cannot_make_up_where_it_comes_from() {
    let raw = "GET / HTTP/1.1\r\nHost: ex.test\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 1.1.1.1\r\nVia: 1.1 x\r\n\
        X-Forwarded-Port: 1\r\nX_Forwarded_For: 1.1.1.1\r\nX-Forwarded_Proto: https\r\n\r\n";
    assert_eq!(plain(raw), format!("GET / HTTP/1.1\r\nHost: ex.test\r\n{MADE}\r\n"));
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let raw = "GET / HTTP/1.1\r\nHost: in.test\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\
        X-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: ex.test\r\n\r\n";
    let sent = forwarded(raw, &RequestForward { client: TRUSTED, ..RequestForward::default() });
    let expected = "GET / HTTP/1.1\r\nHost: in.test\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: ex.test\r\nx-forwarded-for: 192.0.2.1, 192.0.2.2, 2001:db8::1\r\n\
        x-real-ip: 192.0.2.2\r\nx-forwarded-port: 443\r\nforwarded: for=192.0.2.1, for=\"[2001:db8::1]\";host=\"in.test\";proto=https\r\n\
        via: 1.1 ringway\r\n\r\n";
    assert_eq!(sent, expected);
}

#[test]
fn forwarded_passes_only_where_it_is_believed() {
    let raw = "GET / HTTP/1.1\r\nHost: in.test\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
        X-Forwarded-For: 192.0.2.2\r\n\r\n";
    let client = ForwardedClient { forwarded: false, ..TRUSTED };
    let sent = forwarded(raw, &RequestForward { client, ..RequestForward::default() });
    let line = "forwarded: for=192.0.2.2, for=\"[2001:db8::1]\";host=\"in.test\";proto=https\r\n";
    assert!(sent.contains(line), "{sent}");
    assert!(sent.contains("x-real-ip: 192.0.2.2\r\n") && !sent.contains("1.1.1.1"), "{sent}");
}

#[test]
fn the_port_is_the_one_that_the_client_asked_for() {
    let sent = |host: &str, lines: &str, client: ForwardedClient<'_>| {
        let raw = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        let sent = forwarded(&raw, &RequestForward { client, ..RequestForward::default() });
        let lines = sent.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("x-forwarded-port").then(|| value.to_owned())
        });
        lines.collect::<Vec<_>>().join("|")
    };
    let tls = ForwardedClient { proto: "https", ..UNTRUSTED };
    assert_eq!(sent("a.test:8443", "", UNTRUSTED), "8443");
    assert_eq!(sent("a.test", "", UNTRUSTED), "80");
    assert_eq!(sent("a.test", "", tls), "443");
    assert_eq!(sent("[2001:db8::1]", "", tls), "443");
    assert_eq!(sent("[2001:db8::1]:81", "", tls), "81");
    let through = "X-Forwarded-Host: b.test:444\r\nX-Forwarded-Proto: http\r\n";
    assert_eq!(sent("a.test", through, TRUSTED), "444");
    assert_eq!(sent("a.test", "X-Forwarded-Proto: http\r\n", TRUSTED), "80");
    assert_eq!(sent("a.test", "X-Forwarded-Port: 9\r\n", TRUSTED), "9");
    assert_eq!(sent("a.test", "X-Forwarded-Port: 9\r\n", UNTRUSTED), "80");
}

#[test]
fn an_absolute_target_becomes_origin_form_and_host() {
    let raw = "GET http://a.test?q HTTP/1.1\r\nHost: b.test\r\nX: 1\r\n\r\n";
    assert!(plain(raw).starts_with("GET /?q HTTP/1.1\r\nhost: a.test\r\nX: 1\r\nx-forw"));
    let raw = "OPTIONS http://a.test HTTP/1.1\r\nHost: b.test\r\n\r\n";
    assert!(plain(raw).starts_with("OPTIONS * HTTP/1.1\r\nhost: a.test\r\nx-forw"));
}

#[test]
fn target_host_and_fields_can_be_replaced() {
    let raw = "GET /a HTTP/1.1\r\nA: 1\r\nHost: ex.test\r\nCookie: c\r\nX-User: me\r\n\r\n";
    let how = RequestForward {
        target: Some(b"/b?c"),
        host: Some(b"in.test"),
        added: b"x-user: ada\r\n",
        drop: &[FieldName::Cookie],
        drop_named: &["x-user".into()],
        client: UNTRUSTED,
        ..RequestForward::default()
    };
    let line = "GET /b?c HTTP/1.1\r\nhost: in.test\r\nA: 1\r\n";
    assert_eq!(forwarded(raw, &how), format!("{line}{MADE}x-user: ada\r\n\r\n"));
    let only_host = RequestForward { host: Some(b"in.test"), ..RequestForward::default() };
    assert!(forwarded(raw, &only_host).starts_with("GET /a HTTP/1.1\r\nhost: in.test\r\nA: 1\r\n"));
}

#[test]
fn an_old_client_becomes_a_good_1_1_message() {
    let raw = "POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let sent = plain(raw);
    assert!(
        sent.starts_with("POST /a HTTP/1.1\r\nhost: \r\nContent-Length: 5\r\nx-forw"),
        "{sent}"
    );
    assert!(sent.ends_with("via: 1.0 ringway\r\n\r\n") && !sent.contains("x-forwarded-host"));
}

#[test]
fn lengths_go_out_in_their_shortest_form_and_once() {
    let sent = |lines: &str| plain(&format!("POST / HTTP/1.1\r\nHost: ex.test\r\n{lines}\r\n"));
    assert!(sent("Content-Length: 010\r\n").contains("\r\ncontent-length: 10\r\n\r\n"));
    assert!(sent("Content-Length: 0\r\n").contains("Host: ex.test\r\nContent-Length: 0\r\n"));
    let chunked =
        sent("Transfer-Encoding: Chunked\r\nTrailer: X\r\nTE: trailers;q=1, trailers\r\n");
    assert!(chunked.contains("Host: ex.test\r\nTrailer: X\r\nx-forw"));
    let end = "transfer-encoding: chunked\r\nte: trailers\r\nconnection: te\r\n\r\n";
    assert!(chunked.ends_with(end));
}

#[test]
fn a_response_passes_without_the_fields_of_its_hop() {
    let raw = "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: keep-alive, x-a\r\nKeep-Alive: timeout=77\r\n\
        X-A: 1\r\nVia: 1.1 in\r\nContent-Length: 2\r\n\r\n";
    let how = ResponseForward { body: BodyLength::Exact(2), ..ResponseForward::default() };
    let expected = "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(answered(raw, Method::Get, &how), expected);
}

#[test]
fn framing_towards_the_client_is_that_of_the_body_sent() {
    let raw = "HTTP/1.0 200\r\nContent-Length: 2\r\nTrailer: X\r\n\r\n";
    let how = |body| ResponseForward { body, ..ResponseForward::default() };
    let sent = |body| answered(raw, Method::Get, &how(body));
    let chunked = "HTTP/1.1 200 \r\nTrailer: X\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(sent(BodyLength::Chunked), chunked);
    assert_eq!(sent(BodyLength::Exact(7)), "HTTP/1.1 200 \r\ncontent-length: 7\r\n\r\n");
    assert_eq!(sent(BodyLength::UntilClose), "HTTP/1.1 200 \r\n\r\n");
    assert_eq!(sent(BodyLength::None), "HTTP/1.1 200 \r\n\r\n");
    let head = answered(raw, Method::Head, &how(BodyLength::None));
    assert_eq!(head, "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n", "HEAD keeps the length");
    let none = "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n";
    let sent = answered(none, Method::Get, &how(BodyLength::None));
    assert_eq!(sent, "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn persistence_is_said_as_the_client_understands_it() {
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let line = |version, keep_alive| {
        let body = BodyLength::Exact(2);
        let how = ResponseForward { version, keep_alive, body, ..ResponseForward::default() };
        answered(raw, Method::Get, &how)[36..].to_string()
    };
    assert_eq!(line(Version::Http11, true), "\r\n");
    assert_eq!(line(Version::Http11, false), "connection: close\r\n\r\n");
    assert_eq!(line(Version::Http10, true), "connection: keep-alive\r\n\r\n");
}

#[test]
fn interim_responses_speak_of_nothing_but_themselves() {
    let raw = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n";
    let how = ResponseForward { keep_alive: false, ..ResponseForward::default() };
    let sent = answered(raw, Method::Get, &how);
    assert_eq!(sent, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
}

#[test]
fn a_head_that_does_not_fit_is_not_written_at_all() {
    let raw = b"GET / HTTP/1.1\r\nHost: ex.test\r\n\r\n";
    let mut head = RequestHead::default();
    let outcome = parse::request(raw, 0, &HeadLimits::default(), &mut head);
    assert_eq!(outcome, Ok(Parsed::Done));
    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("within budget");
    out.fill(out.spare() - 60);
    let how = RequestForward::default();
    assert_eq!(request_head(&mut out, Request { head: &head, raw }, &how), Err(TooLarge));
    assert_eq!(out.spare(), 60);
}

#[test]
fn an_upgrade_is_asked_for_and_granted_in_our_own_name() {
    let raw = "GET /chat HTTP/1.1\r\nHost: ex.test\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade, X-Foo\r\n\
        X-Foo: 1\r\nTE: trailers\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let how = RequestForward {
        client: UNTRUSTED,
        upgrade: Some("websocket"),
        ..RequestForward::default()
    };
    let kept = "GET /chat HTTP/1.1\r\nHost: ex.test\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n";
    let asked = "connection: Upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(forwarded(raw, &how), format!("{kept}{MADE}{asked}\r\n"));

    let how = ResponseForward { upgrade: Some("websocket"), ..ResponseForward::default() };
    let raw = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: b\r\n\
        Keep-Alive: timeout=5\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 5\r\n\r\n";
    let kept = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: b\r\n";
    assert_eq!(answered(raw, Method::Get, &how), format!("{kept}{asked}\r\n"));

    let how = ResponseForward { keep_alive: false, body: BodyLength::Exact(0), ..how };
    let raw =
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nUpgrade: h2c, websocket\r\n\r\n";
    let kept = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n";
    let offered = "connection: close, Upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(answered(raw, Method::Get, &how), format!("{kept}{offered}\r\n"));
}
