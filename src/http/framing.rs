//! How long is this body? (RFC 9112 §6)
//!
//! It must never pick one reading of an ambiguous message: every way to be smuggled is refused. RFC 9112
//! §6.3 allows a recipient to repair some of them (equal lengths given twice, a length beside chunked);
//! we refuse those too, since the repair is only safe when every other reader repairs alike.

use crate::base::limits::{BODY_BYTES_CEILING, CONTENT_LENGTH_DIGITS_MAX};
use crate::http::{Method, Status, Version, chars};

/// How a message body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// Exactly this many bytes (Content-Length); zero is `None` for requests.
    Exact(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// What the framing fields of a head say, each already known to be well-formed and alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Content-Length. Unit: bytes.
    pub content_length: Option<u64>,
    /// Whether there is a Transfer-Encoding; then it is exactly `chunked`.
    pub chunked: bool,
}

/// Why the length of a body cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// Content-Length is not 1 to 19 digits, or too large.
    ContentLength,
    /// Transfer-Encoding is malformed, or chunked is not its final coding, or is applied twice.
    TransferEncoding,
    /// A transfer coding before the final chunked that we do not implement, or an unknown one alone.
    UnknownCoding,
    /// Transfer-Encoding and Content-Length together.
    Both,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    OldVersion,
}

/// The value of a Content-Length field: digits only, no sign, no list, at most 2^63 - 1.
pub fn content_length(value: &[u8]) -> Result<u64, FramingError> {
    if value.is_empty() || value.len() > CONTENT_LENGTH_DIGITS_MAX {
        return Err(FramingError::ContentLength);
    }
    let mut length: u64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(FramingError::ContentLength);
        }
        // Nineteen digits cannot overflow 64 bits.
        length = length * 10 + u64::from(byte - b'0');
    }
    if length > BODY_BYTES_CEILING {
        return Err(FramingError::ContentLength);
    }
    Ok(length)
}

/// Accepts the value of the only Transfer-Encoding field if it is exactly `chunked`, in any case.
pub fn transfer_encoding(value: &[u8]) -> Result<(), FramingError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.split(|&byte| byte == b',').map(chars::trim);
    let last = codings.next_back().unwrap_or_default();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let known_form = chars::is_token(last) && codings.all(|c| chars::is_token(c) && !is_chunked(c));
    let single = !value.contains(&b',');
    if known_form && (single || is_chunked(last)) {
        return Err(FramingError::UnknownCoding);
    }
    Err(FramingError::TransferEncoding)
}

/// The body of a request (RFC 9112 §6.3, rules 3 to 7).
pub fn request_body(version: Version, framing: Framing) -> Result<BodyLength, FramingError> {
    match unambiguous(version, framing)? {
        Framing { chunked: true, .. } => Ok(BodyLength::Chunked),
        Framing { content_length: None | Some(0), .. } => Ok(BodyLength::None),
        Framing { content_length: Some(length), .. } => Ok(BodyLength::Exact(length)),
    }
}

/// The body of a response to a request with the given method (RFC 9112 §6.3, rules 1 to 8).
///
/// `None` only where method or status forbid a body; an empty body is `Exact(0)`. A tunnel (2xx to
/// CONNECT) reads as `UntilClose`.
pub fn response_body(
    request_method: Method,
    status: Status,
    version: Version,
    framing: Framing,
) -> Result<BodyLength, FramingError> {
    let framing = unambiguous(version, framing)?;
    if status.is_interim() || status.0 == 204 || status.0 == 304 || request_method == Method::Head {
        return Ok(BodyLength::None);
    }
    if request_method == Method::Connect && status.0 < 300 {
        return Ok(BodyLength::UntilClose);
    }
    match framing {
        Framing { chunked: true, .. } => Ok(BodyLength::Chunked),
        Framing { content_length: Some(length), .. } => Ok(BodyLength::Exact(length)),
        Framing { content_length: None, .. } => Ok(BodyLength::UntilClose),
    }
}

fn unambiguous(version: Version, framing: Framing) -> Result<Framing, FramingError> {
    match framing {
        Framing { chunked: true, content_length: Some(_) } => Err(FramingError::Both),
        Framing { chunked: true, .. } if version == Version::Http10 => {
            Err(FramingError::OldVersion)
        }
        unambiguous => Ok(unambiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: Framing = Framing { content_length: None, chunked: true };
    const FIVE: Framing = Framing { content_length: Some(5), chunked: false };
    const NEITHER: Framing = Framing { content_length: None, chunked: false };

    #[test]
    fn content_length_is_digits_only() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b"9223372036854775807"), Ok(BODY_BYTES_CEILING));
        let bad: [&[u8]; 14] = [
            b"",
            b"-1",
            b"+1",
            b"0x5",
            b"5,5",
            b"5, 5",
            b"1_0",
            b"5 9",
            b"59;",
            b"59e0",
            b"\xa059",
            b"a",
            b"9223372036854775808",
            b"00000000000000000001",
        ];
        for value in bad {
            assert_eq!(content_length(value), Err(FramingError::ContentLength), "{value:?}");
        }
    }

    #[test]
    fn transfer_encoding_is_exactly_chunked() {
        assert_eq!(transfer_encoding(b"chunked"), Ok(()));
        assert_eq!(transfer_encoding(b"Chunked"), Ok(()));
        for value in [b"cow".as_slice(), b"identity", b"gzip, chunked", b"chunkedchunked"] {
            assert_eq!(transfer_encoding(value), Err(FramingError::UnknownCoding), "{value:?}");
        }
        let bad: [&[u8]; 9] = [
            b"",
            b"chunked, chunked",
            b"chunked, gzip",
            b"chunked;",
            b",chunked",
            b"chunked,",
            b"\"chunked\"",
            b"chun\tked",
            b"\xa0chunked",
        ];
        for value in bad {
            assert_eq!(transfer_encoding(value), Err(FramingError::TransferEncoding), "{value:?}");
        }
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let both = Framing { content_length: Some(5), chunked: true };
        assert_eq!(request_body(Version::Http11, both), Err(FramingError::Both));
        assert_eq!(request_body(Version::Http10, CHUNKED), Err(FramingError::OldVersion));
        assert_eq!(request_body(Version::Http11, CHUNKED), Ok(BodyLength::Chunked));
        assert_eq!(request_body(Version::Http10, FIVE), Ok(BodyLength::Exact(5)));
        assert_eq!(request_body(Version::Http11, NEITHER), Ok(BodyLength::None));
    }

    #[test]
    fn responses_without_content_have_none_whatever_they_say() {
        let body = |method, status, framing| {
            response_body(method, Status(status), Version::Http11, framing)
        };
        for status in [100, 103, 204, 304] {
            assert_eq!(body(Method::Get, status, FIVE), Ok(BodyLength::None));
        }
        assert_eq!(body(Method::Head, 200, FIVE), Ok(BodyLength::None));
        assert_eq!(body(Method::Get, 200, FIVE), Ok(BodyLength::Exact(5)));
        assert_eq!(body(Method::Get, 200, CHUNKED), Ok(BodyLength::Chunked));
        assert_eq!(body(Method::Get, 200, NEITHER), Ok(BodyLength::UntilClose));
        assert_eq!(body(Method::Connect, 200, FIVE), Ok(BodyLength::UntilClose));
        assert_eq!(body(Method::Connect, 403, FIVE), Ok(BodyLength::Exact(5)));
    }
}
