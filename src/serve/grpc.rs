//! What gRPC needs of a gateway beyond HTTP: errors that its clients understand, and their deadlines.
//!
//! gRPC over HTTP2, sections "Responses" and "Requests" (grpc/doc/PROTOCOL-HTTP2.md). A client of gRPC gets an answer
//! of ours as status and message in one header section ("Trailers-Only"), with the HTTP status 200 that it insists on;
//! what happened stands in the log as for everybody. An origin's answer is never touched.

use std::time::Duration;

use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::grpc::Silence;
use crate::gateway::route::{Route, Target};
use crate::http::Status;
use crate::http::head::Response;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::body::BodyReader;
use crate::serve::compressing::lines_of;

/// The media type of gRPC.
const MEDIA_TYPE: &str = "application/grpc";

/// Longest value of `grpc-timeout`: eight digits and a unit.
const TIMEOUT_DIGITS_MAX: usize = 8;
const TIMEOUT_MAX: u128 = 99_999_999;

/// Whether a Content-Type is that of gRPC; that of gRPC-Web is not.
pub fn is_media_type(kind: &[u8]) -> bool {
    let front = kind.get(..MEDIA_TYPE.len());
    front.is_some_and(|front| front.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
        && matches!(kind.get(MEDIA_TYPE.len()), None | Some(b'+' | b';' | b' '))
}

/// Takes note of a call whose route is known: when its client stops waiting, and that it may be silent.
pub fn begin<R: Runtime>(
    core: &Core<R>,
    route: &Route,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    begun: Instant,
) {
    let asked = x.request().field_named(b"grpc-timeout").and_then(parse_timeout);
    x.grpc.deadline = asked.map_or(Instant::NEVER, |asked| begun + asked);
    if !matches!(route.target, Target::Forward(_)) {
        return;
    }
    let silence = Silence::new(core.runtime.now(), route.tunnel_idle_timeout);
    if x.grpc.is_call {
        // Who listens to a stream has nothing to say, and who speaks does so when there is something to be said.
        incoming.silence = Some(silence.clone());
        incoming.demand(0);
    }
    x.grpc.silence = Some(silence);
}

/// The media type of an error of ours to this client, where it is one of gRPC or of a translated gRPC-Web.
pub fn error_type(x: &Exchange) -> Option<&'static str> {
    match x.grpc.web {
        Some(call) => Some(call.answer.empty_answer()),
        None => x.grpc.is_call.then_some(MEDIA_TYPE),
    }
}

/// Appends the lines that tell an error with this status of HTTP; returns the code of gRPC.
pub fn put_status(status: Status, message: &str, out: &mut Vec<u8>) -> u8 {
    let code = code(status);
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(code).as_bytes();
    for piece in [b"grpc-status: ", digits, b"\r\ngrpc-message: ", message.as_bytes(), b"\r\n"] {
        out.extend_from_slice(piece);
    }
    code
}

/// The status in a head, where it stands there ("Trailers-Only").
pub fn status_in(response: Response<'_>) -> Option<u8> {
    response.field_named(STATUS).map(status)
}

/// Takes note of how a call ended: by what stood in its head, or else by its trailers.
pub fn note_status(x: &mut Exchange, in_head: Option<u8>, trailers: &[u8]) {
    let mut lines = lines_of(trailers);
    let mut in_trailers = || lines.find(|(name, _)| name.eq_ignore_ascii_case(STATUS));
    x.grpc.status = in_head.or_else(|| in_trailers().map(|(_, value)| status(value)));
}

const STATUS: &[u8] = b"grpc-status";
const STATUS_MAX: u8 = 16;

/// What is no code of gRPC is `UNKNOWN` (grpc/doc/statuscodes.md).
fn status(value: &[u8]) -> u8 {
    let code = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    code.filter(|code| *code <= STATUS_MAX).unwrap_or(UNKNOWN)
}

/// Appends the line that says how long a client still waits: in the finest unit that has room for it.
pub fn put_timeout(left: Duration, out: &mut Vec<u8>) {
    let units = [(b'u', left.as_micros()), (b'm', left.as_millis()), (b'S', left.as_secs().into())];
    let hours = (b'H', u128::from(left.as_secs() / 3600).min(TIMEOUT_MAX));
    let (unit, count) = units.into_iter().find(|(_, count)| *count <= TIMEOUT_MAX).unwrap_or(hours);
    // Nobody waits for no time at all: then it would not be asked any more.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(count.max(1)).as_bytes();
    for piece in [b"grpc-timeout: ", digits, &[unit], b"\r\n"] {
        out.extend_from_slice(piece);
    }
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

const UNKNOWN: u8 = 2;

/// The code of gRPC for an error with this status of HTTP. As gRPC's own table maps them, but that who asked too
/// often, sent too much or waited too long is told so.
fn code(status: Status) -> u8 {
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
        for (text, left) in known {
            let mut line = Vec::new();
            put_timeout(left, &mut line);
            let line = String::from_utf8(line).expect("text");
            let value =
                line.strip_prefix("grpc-timeout: ").and_then(|line| line.strip_suffix("\r\n"));
            let told = value.and_then(|value| parse_timeout(value.as_bytes())).expect("a timeout");
            assert!(told <= left && left - told < Duration::from_secs(1), "{text} became {line}");
        }
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1 S"] {
            assert_eq!(parse_timeout(text.as_bytes()), None, "{text}");
        }
    }
}
