//! A response's head, given as text in HTTP/1.1, in HTTP/2 (RFC 9113 §8.2.2, §8.3.2).
//!
//! The text is what this gateway would send to a client of HTTP/1.1: checked, edited and complete. What belongs
//! to a connection stays behind; a field is never copied by itself, all of them share one copy of the text.

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::Bytes;

use crate::http::framing::content_length;
use crate::http::h2::priority::Signal;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A head in HTTP/2, and what its text said of the body.
pub struct Answer {
    /// The head.
    pub head: Response<()>,
    /// The length of the body, where it is told. Unit: bytes.
    pub length: Option<u64>,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// How urgent it is, where its origin says so (RFC 9218 §8).
    pub priority: Option<Signal>,
}

/// Where the head at the front of `text` ends; `None` when it is not whole.
pub fn end(text: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, b"\r\n\r\n").map(|at| at + 4)
}

/// The head of which `text` is all; `None` when it is none.
pub fn head(text: &Bytes) -> Option<Answer> {
    let mut lines = Lines::of(text);
    let (from, to) = lines.next()?;
    let status = text.get(from..to)?.get(9..12)?;
    let mut answer =
        Answer { head: Response::new(()), length: None, chunked: false, priority: None };
    *answer.head.status_mut() = StatusCode::from_bytes(status).ok()?;
    let fields = answer.head.headers_mut();
    fields.reserve(memchr::memchr_iter(b'\n', &text[to..]).count().saturating_sub(2));
    for (name, value) in Fields(lines) {
        let (name, mut value) = (name?, value?);
        if name == REQUEST_ID {
            // Another in every response: in the table of HPACK it would only drive out what comes again.
            value.set_sensitive(true);
        }
        match name {
            header::CONNECTION | header::UPGRADE => {}
            header::TRANSFER_ENCODING => answer.chunked = true,
            _ if matches!(name.as_str(), "keep-alive" | "proxy-connection") => {}
            _ => {
                if name == header::CONTENT_LENGTH {
                    answer.length = Some(content_length(value.as_bytes()).ok()?);
                }
                if name.as_str() == "priority" {
                    answer.priority = Some(Signal::parse(value.as_bytes()));
                }
                fields.append(name, value);
            }
        }
    }
    Some(answer)
}

/// Trailers, given as whole lines.
pub fn trailers(lines: &[u8]) -> Option<HeaderMap> {
    let text = Bytes::copy_from_slice(lines);
    let mut fields = HeaderMap::new();
    for (name, value) in Fields(Lines::of(&text)) {
        fields.append(name?, value?);
    }
    Some(fields)
}

/// Lines that end with CRLF, up to an empty one.
pub(super) struct Lines<'t> {
    text: &'t Bytes,
    at: usize,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t Bytes) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn next(&mut self) -> Option<(usize, usize)> {
        let from = self.at;
        let length = memchr::memchr(b'\n', self.text.get(from..)?)?;
        self.at = from + length + 1;
        Some((from, from + length.saturating_sub(1))).filter(|(from, to)| to > from)
    }
}

/// The fields on the lines that are left.
pub(super) struct Fields<'t>(pub(super) Lines<'t>);

impl Iterator for Fields<'_> {
    type Item = (Option<HeaderName>, Option<HeaderValue>);

    fn next(&mut self) -> Option<Self::Item> {
        let (from, to) = self.0.next()?;
        let text = self.0.text;
        let line = &text[from..to];
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let name = match &line[..colon] {
            // In every response, and not one of the names that the crate knows: it would be copied.
            b"x-request-id" => Some(REQUEST_ID),
            name => HeaderName::from_bytes(name).ok(),
        };
        let space = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let behind = line.get(colon + 1..).unwrap_or_default();
        let start = to - behind.len() + behind.iter().take_while(space).count();
        let end = to - text[start..to].iter().rev().take_while(space).count();
        Some((name, HeaderValue::from_maybe_shared(text.slice(start..end)).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_loses_what_belongs_to_the_connection() {
        let text = Bytes::from_static(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nkeep-alive: 5\r\n\
              X-A:  b \r\nset-cookie: 1\r\nset-cookie: 2\r\n\r\n",
        );
        assert_eq!(end(&text), Some(text.len()));
        let answer = head(&text).expect("a head");
        assert!(answer.chunked && answer.length.is_none());
        assert_eq!(answer.head.status(), 200);
        let fields: Vec<_> = answer.head.headers().iter().collect();
        assert_eq!(fields.len(), 3);
        assert_eq!(answer.head.headers()["x-a"], "b");
    }

    #[test]
    fn a_length_is_taken_over_and_nonsense_is_no_head() {
        let text = Bytes::from_static(b"HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\n");
        assert_eq!(head(&text).map(|answer| answer.length), Some(Some(12)));
        for text in [&b"HTTP/1.1 20\r\n\r\n"[..], b"", b"HTTP/1.1 200 \r\nno colon\r\n\r\n"] {
            assert!(head(&Bytes::from_static(text)).is_none());
        }
    }

    #[test]
    fn trailers_are_lines() {
        let fields = trailers(b"grpc-status: 0\r\ngrpc-message: \r\n").expect("fields");
        assert_eq!(fields["grpc-status"], "0");
        assert_eq!(fields["grpc-message"], "");
    }
}
