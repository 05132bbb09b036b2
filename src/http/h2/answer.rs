//! The head of an origin's response in HTTP/2 as the text of a head in HTTP/1.1 (RFC 9113 §8.2, §8.3.2).
//!
//! The text goes through the parser that judges every origin's heads, so that what it refuses is refused here, too.
//! What would be lost on the way to it is refused by `message.rs`, whose rules hold in both directions; nothing is
//! mended. Its framing is ours alone: the text says what the frames said, and never what a field claims beside them.

use ::http::header::{self, HeaderMap};
use ::http::{Response, StatusCode};

use crate::base::buffer::Buf;
use crate::http::h2::message::{Malformed, check, put};

/// How the body of a response is told in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// As its fields say: there is none, whatever they say, or its length is among them.
    AsIs,
    /// There is none.
    Nothing,
    /// In chunks, for its length is not known, or trailers may follow.
    Chunks,
}

/// How it is told: to a request of HEAD or not, and whether its stream `ended` with the head.
pub fn told(response: &Response<()>, head_only: bool, ended: bool) -> Told {
    let status = response.status();
    let bodiless = head_only || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let fields = response.headers();
    // Trailers stand behind chunks only.
    let may_trail = fields.contains_key(header::TRAILER) || is_grpc(fields);
    match fields.contains_key(header::CONTENT_LENGTH) {
        _ if bodiless => Told::AsIs,
        true if ended || !may_trail => Told::AsIs,
        false if ended => Told::Nothing,
        _ => Told::Chunks,
    }
}

fn is_grpc(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Writes the head of `response` into `out` as HTTP/1.1. What was written before an error is no whole head.
///
/// # Errors
/// It is malformed, or too large.
pub fn text(out: &mut Buf, response: &Response<()>, told: Told) -> Result<(), Malformed> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed::Protocol);
    }
    let reason = status.canonical_reason().unwrap_or_default();
    put(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"])?;
    for (name, value) in response.headers() {
        check(name, value)?;
        if told == Told::Chunks && *name == header::CONTENT_LENGTH {
            continue;
        }
        put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"])?;
    }
    match told {
        Told::AsIs => {}
        Told::Nothing => put(out, &[b"content-length: 0\r\n"])?,
        Told::Chunks => put(out, &[b"transfer-encoding: chunked\r\n"])?,
    }
    put(out, &[b"\r\n"])
}

/// Writes the answer that a WebSocket's handshake expects instead (RFC 6455 §4.2.2, RFC 8441 §5); `accept` proves that
/// its key was read.
///
/// # Errors
/// As `text`.
pub fn switched(out: &mut Buf, response: &Response<()>, accept: &str) -> Result<(), Malformed> {
    put(
        out,
        &[b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"],
    )?;
    put(out, &[b"sec-websocket-accept: ", accept.as_bytes(), b"\r\n"])?;
    for (name, value) in response.headers() {
        check(name, value)?;
        let ours = [header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH];
        if !ours.contains(name) {
            put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"])?;
        }
    }
    put(out, &[b"\r\n"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;

    fn response(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut builder = Response::builder().status(status);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a response")
    }

    fn written(response: &Response<()>, told: Told) -> Result<String, Malformed> {
        let mut out = BufferPool::new(1).take().expect("within budget");
        text(&mut out, response, told)?;
        Ok(String::from_utf8(out.data().to_vec()).expect("text"))
    }

    #[test]
    fn a_body_is_told_as_its_stream_goes() {
        let plain = response(200, &[]);
        let counted = response(200, &[("content-length", "5")]);
        let trailing = response(200, &[("content-length", "5"), ("trailer", "x")]);
        let grpc = response(200, &[("content-type", "application/grpc+proto")]);
        let known = [
            (&plain, false, false, Told::Chunks),
            (&plain, false, true, Told::Nothing),
            (&plain, true, true, Told::AsIs),
            (&plain, true, false, Told::AsIs),
            (&counted, false, false, Told::AsIs),
            (&counted, false, true, Told::AsIs),
            (&trailing, false, false, Told::Chunks),
            (&trailing, false, true, Told::AsIs),
            (&grpc, false, false, Told::Chunks),
            (&grpc, false, true, Told::Nothing),
        ];
        for (response, head_only, ended, expected) in known {
            assert_eq!(told(response, head_only, ended), expected, "{:?}", response.headers());
        }
        for status in [100, 103, 204, 304] {
            assert_eq!(told(&response(status, &[]), false, false), Told::AsIs, "{status}");
        }
    }

    #[test]
    fn a_head_is_told_line_by_line() {
        let plain = response(200, &[("content-type", "text/plain"), ("content-length", "5")]);
        assert_eq!(
            written(&plain, Told::AsIs).expect("a head"),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\n"
        );
        assert_eq!(
            written(&plain, Told::Chunks).expect("a head"),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let bare = response(599, &[]);
        assert_eq!(
            written(&bare, Told::Nothing).expect("a head"),
            "HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn what_has_no_place_in_a_response_is_malformed() {
        for (name, value) in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "5"),
            ("upgrade", "h2c"),
        ] {
            let told = written(&response(200, &[(name, value)]), Told::Nothing);
            assert_eq!(told, Err(Malformed::ConnectionField), "{name}");
        }
        let padded = response(200, &[("x-a", "b ")]);
        assert_eq!(written(&padded, Told::Nothing), Err(Malformed::FieldValue));
        assert_eq!(written(&response(101, &[]), Told::AsIs), Err(Malformed::Protocol));
    }

    #[test]
    fn a_granted_websocket_is_told_as_a_switch() {
        let mut out = BufferPool::new(1).take().expect("within budget");
        let granted = response(200, &[("sec-websocket-protocol", "chat"), ("content-length", "3")]);
        switched(&mut out, &granted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").expect("fits");
        assert_eq!(
            String::from_utf8_lossy(out.data()),
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n\r\n"
        );
    }
}
