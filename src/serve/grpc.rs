//! What gRPC needs of a gateway beyond HTTP: errors that its clients understand, and their deadlines.
//!
//! gRPC over HTTP2, sections "Responses" and "Requests" (grpc/doc/PROTOCOL-HTTP2.md). A client of gRPC gets an answer
//! of ours as status and message in one header section ("Trailers-Only"), with the HTTP status 200 that it insists on;
//! what happened stands in the log as for everybody. An origin's answer is never touched.

use std::time::Duration;

use crate::exchange::Exchange;
use crate::http::names::FieldName;
use crate::http::{Status, Version};

/// The media type of gRPC.
pub const MEDIA_TYPE: &str = "application/grpc";

/// Longest value of `grpc-timeout`: eight digits and a unit.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// Whether a request is one of gRPC; gRPC-Web is not.
fn is_asked(x: &Exchange) -> bool {
    let Some(kind) = x.request().field(FieldName::ContentType) else { return false };
    let behind = kind.strip_prefix(MEDIA_TYPE.as_bytes());
    x.head.version == Version::Http2
        && behind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The media type of an error of ours to this client, where it is one of gRPC or of a translated gRPC-Web.
pub fn error_type(x: &Exchange) -> Option<&'static str> {
    match x.grpc.web {
        Some(call) => Some(call.answer.empty_answer()),
        None => is_asked(x).then_some(MEDIA_TYPE),
    }
}

/// How long the client waits, if it says so.
pub fn timeout(x: &Exchange) -> Option<Duration> {
    if x.head.version != Version::Http2 && x.grpc.web.is_none() {
        return None;
    }
    parse_timeout(x.request().field_named(b"grpc-timeout")?)
}

fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty()
        || digits.len() > TIMEOUT_DIGITS_MAX
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let count = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The code of gRPC for an error with this status of HTTP. As gRPC's own table maps them, but that who asked too
/// often, sent too much or waited too long is told so.
pub fn code(status: Status) -> u8 {
    const UNKNOWN: u8 = 2;
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    match status.0 {
        400 | 500 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 | 501 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 | 431 => RESOURCE_EXHAUSTED,
        502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        let known = [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("100m", Duration::from_millis(100)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ];
        for (text, timeout) in known {
            assert_eq!(parse_timeout(text.as_bytes()), Some(timeout), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1 S"] {
            assert_eq!(parse_timeout(text.as_bytes()), None, "{text}");
        }
    }
}
