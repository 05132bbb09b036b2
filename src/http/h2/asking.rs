//! A request's head, given as text in HTTP/1.1, in HTTP/2 (RFC 9113 §8.2.2, §8.3.1).
//!
//! The text is what this gateway would send to an origin in HTTP/1.1: checked, edited and complete. What belongs to
//! a connection stays behind, Host becomes `:authority`, and a WebSocket's handshake an extended CONNECT (RFC 8441
//! §5). A field is never copied by itself, all of them share one copy of the text. What tells who asks is never
//! put into the table that all requests of a connection share (RFC 7541 §7.1.3).

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{Method, Request, Uri};
use bytes::Bytes;

use crate::http::framing::content_length;
use crate::http::h2::reply::{Fields, Lines};

/// A head in HTTP/2, and what its text said of the body.
pub struct Ask {
    /// The head.
    pub head: Request<()>,
    /// How the body is told.
    pub body: Body,
    /// The key of a WebSocket's handshake, if it is one: the method is CONNECT.
    pub websocket_key: Option<HeaderValue>,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// So much. Unit: bytes.
    Length(u64),
    /// Chunks.
    Chunks,
}

/// The head of which `text` is all; `None` when it cannot be told in HTTP/2. Where the origin speaks TLS it `is_secure`.
pub fn head(text: &Bytes, is_secure: bool) -> Option<Ask> {
    let mut lines = Lines::of(text);
    let (from, to) = lines.next()?;
    let line = text.slice(from..to);
    let first = memchr::memchr(b' ', &line)?;
    let last = memchr::memrchr(b' ', &line).filter(|last| *last > first)?;
    let mut ask = Ask { head: Request::new(()), body: Body::None, websocket_key: None };
    *ask.head.method_mut() = Method::from_bytes(&line[..first]).ok()?;
    let mut uri = Uri::default().into_parts();
    uri.path_and_query = Some(path(&line.slice(first + 1..last))?);
    let fields = ask.head.headers_mut();
    fields.reserve(24);
    let (mut upgrades, mut key) = (false, None);
    for (name, value) in Fields(lines) {
        let (name, mut value) = (name?, value?);
        match name {
            header::HOST if value.is_empty() => {}
            header::HOST => {
                uri.authority = Some(Authority::try_from(value.as_bytes()).ok()?);
                uri.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
            }
            header::CONNECTION => {}
            header::TRANSFER_ENCODING => ask.body = Body::Chunks,
            header::UPGRADE => upgrades = true,
            header::SEC_WEBSOCKET_KEY => key = Some(value),
            header::TE => put_te(fields, &value),
            _ if is_of_connection(&name) => {}
            _ => {
                if name == header::CONTENT_LENGTH {
                    let length = content_length(value.as_bytes()).ok()?;
                    ask.body = if length == 0 { Body::None } else { Body::Length(length) };
                }
                value.set_sensitive(tells_who(&name));
                fields.append(name, value);
            }
        }
    }
    match key {
        Some(key) if upgrades => {
            *ask.head.method_mut() = Method::CONNECT;
            ask.websocket_key = Some(key);
        }
        Some(key) => drop(ask.head.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key)),
        None => {}
    }
    *ask.head.uri_mut() = Uri::from_parts(uri).ok()?;
    Some(ask)
}

/// Trailers may be asked for, and nothing else (RFC 9113 §8.2.2).
fn put_te(fields: &mut header::HeaderMap, value: &HeaderValue) {
    let mut codings = value.as_bytes().split(|byte| *byte == b',');
    if codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers")) {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

fn tells_who(name: &HeaderName) -> bool {
    matches!(*name, header::AUTHORIZATION | header::PROXY_AUTHORIZATION | header::COOKIE)
}

/// The target as `:path`. Some bytes pass in a query of HTTP/1.1 because browsers send them, and have no place in a URI.
fn path(target: &Bytes) -> Option<PathAndQuery> {
    if !target.iter().any(|byte| has_no_place(*byte)) {
        return PathAndQuery::from_maybe_shared(target.clone()).ok();
    }
    let mut escaped = Vec::with_capacity(target.len() + 32);
    for byte in target {
        match *byte {
            byte if has_no_place(byte) => {
                let digits = b"0123456789ABCDEF";
                let [high, low] = [byte >> 4, byte & 15].map(|digit| digits[usize::from(digit)]);
                escaped.extend_from_slice(&[b'%', high, low]);
            }
            byte => escaped.push(byte),
        }
    }
    PathAndQuery::from_maybe_shared(Bytes::from(escaped)).ok()
}

fn has_no_place(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &'static str) -> Ask {
        head(&Bytes::from_static(text.as_bytes()), false).expect("a head")
    }

    #[test]
    fn a_head_loses_what_belongs_to_the_connection() {
        let ask = told(
            "POST /a?b=<c> HTTP/1.1\r\nHost: example.com:8080\r\nte: gzip, trailers\r\nconnection: te\r\n\
             transfer-encoding: chunked\r\nX-A: 1\r\nAuthorization: secret\r\n\r\n",
        );
        assert_eq!(ask.head.uri(), "http://example.com:8080/a?b=%3Cc%3E");
        assert_eq!((ask.head.method(), ask.body), (&Method::POST, Body::Chunks));
        let names: Vec<_> = ask.head.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["te", "x-a", "authorization"]);
        assert_eq!(ask.head.headers()["te"], "trailers");
        assert!(ask.head.headers()["authorization"].is_sensitive());
        assert!(!ask.head.headers()["x-a"].is_sensitive());
    }

    #[test]
    fn a_body_is_told_by_its_length() {
        let ask = told("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n");
        assert_eq!((ask.body, ask.head.headers().len()), (Body::Length(12), 1));
        let ask = told("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        assert_eq!((ask.body, ask.head.headers().len()), (Body::None, 1));
        assert_eq!(told("GET / HTTP/1.1\r\nhost: a\r\n\r\n").body, Body::None);
    }

    #[test]
    fn a_handshake_becomes_an_extended_connect() {
        let ask = told(
            "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        assert_eq!((ask.head.method(), ask.head.uri().path()), (&Method::CONNECT, "/chat"));
        assert_eq!(ask.websocket_key.expect("a key"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(ask.head.headers().len(), 1);
    }

    #[test]
    fn what_a_query_may_hold_is_told() {
        let query: String = (b'!'..=b'~').filter(|byte| *byte != b'#').map(char::from).collect();
        let text = format!("GET /?{query} HTTP/1.1\r\nhost: a\r\n\r\n");
        let ask = head(&Bytes::from(text), true).expect("a head");
        let expected = query.replace('"', "%22").replace('<', "%3C").replace('>', "%3E");
        assert_eq!(ask.head.uri().query(), Some(&*expected));
        assert_eq!(ask.head.uri().scheme_str(), Some("https"));
    }

    #[test]
    fn nonsense_is_no_head() {
        for text in ["", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"] {
            assert!(head(&Bytes::from_static(text.as_bytes()), false).is_none(), "{text}");
        }
    }
}
