//! Request ids and W3C trace context (<https://www.w3.org/TR/trace-context/>, Recommendation of 2021).
//!
//! A `traceparent` is accepted only if it is exactly as §3.2 says; anything else, or two of them, starts a
//! new trace, as §4.2 asks. Every hop has a span id of its own. What a client sends is never copied
//! further than these fixed forms: ids are numbers here, and a request id is of a closed alphabet.
//!
//! A trace that we begin is marked as sampled, which is what an OpenTelemetry SDK does by default when it
//! begins one; a service's own sampler can still drop it, but could not bring back what we mark as
//! unsampled. `tracestate` passes on only with the parent it belongs to: when
//! [`TraceContext::parent_id`] is zero it must not be forwarded (§4.3).

use crate::base::random::Rng;
use crate::exchange::{RequestId, TraceContext};
use crate::http::head::Request;
use crate::http::names::FieldName;
use crate::observe::line::write_hex;

/// `version-traceid-parentid-flags` (§3.2.2). Unit: bytes.
const TRACEPARENT_BYTES: usize = 55;
/// trace-flags: sampled (§3.2.2.5).
const SAMPLED: u8 = 1;

/// The request's id and trace context: those of the client where `accept` allows it and they are well
/// formed, else new ones. `accept` is false for clients whose word on this is not wanted.
pub fn begin(request: Request<'_>, accept: bool, rng: &mut Rng) -> (RequestId, TraceContext) {
    let given = |name| if accept { only(request, name) } else { None };
    let id = given(FieldName::XRequestId).and_then(RequestId::accept);
    let parent = given(FieldName::Traceparent).and_then(parse_traceparent);
    let id = id.unwrap_or_else(|| fresh_id(rng));
    let span_id = nonzero(rng);
    let trace = match parent {
        Some(parent) => TraceContext { span_id, ..parent },
        None => TraceContext {
            trace_id: u128::from(nonzero(rng)) << 64 | u128::from(nonzero(rng)),
            span_id,
            parent_id: 0,
            flags: SAMPLED,
        },
    };
    (id, trace)
}

/// The field lines that go to origins: `traceparent` and `x-request-id`, in place.
#[derive(Clone, Copy)]
pub struct TraceLines {
    text: [u8; Self::BYTES_MAX],
    len: usize,
}

impl TraceLines {
    const TRACEPARENT: &[u8] = b"traceparent: ";
    const REQUEST_ID: &[u8] = b"x-request-id: ";
    /// Longest text. Unit: bytes.
    pub const BYTES_MAX: usize = Self::TRACEPARENT.len()
        + TRACEPARENT_BYTES
        + Self::REQUEST_ID.len()
        + RequestId::BYTES_MAX
        + 4;

    /// The lines, each with its CRLF. An empty id has no line.
    pub fn of(id: &RequestId, trace: &TraceContext) -> Self {
        let mut lines = Self { text: [0; Self::BYTES_MAX], len: 0 };
        lines.put(Self::TRACEPARENT);
        let mut value = *b"00-................................-................-..";
        write_hex(trace.trace_id, &mut value[3..35]);
        write_hex(u128::from(trace.span_id), &mut value[36..52]);
        write_hex(u128::from(trace.flags), &mut value[53..55]);
        lines.put(&value);
        lines.put(b"\r\n");
        if !id.as_bytes().is_empty() {
            lines.put(Self::REQUEST_ID);
            lines.put(id.as_bytes());
            lines.put(b"\r\n");
        }
        lines
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    /// `BYTES_MAX` is the sum of all that is ever put.
    fn put(&mut self, bytes: &[u8]) {
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// The value of a field that stands there exactly once.
fn only(request: Request<'_>, name: FieldName) -> Option<&[u8]> {
    let mut values = request.head.fields.all(name, request.raw);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// §3.2: version `ff` is invalid, version `00` has exactly this length, higher ones may go on behind a
/// dash; ids are lower-case hexadecimal and not zero. The span id is left for the caller to fill.
fn parse_traceparent(value: &[u8]) -> Option<TraceContext> {
    let (fixed, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
    let version = hex(&fixed[0..2])?;
    let dashes = fixed[2] == b'-' && fixed[35] == b'-' && fixed[52] == b'-';
    let length_fits = rest.is_empty() || (version > 0 && rest[0] == b'-');
    if version == 0xff || !dashes || !length_fits {
        return None;
    }
    let trace_id = hex(&fixed[3..35]).filter(|id| *id != 0)?;
    let parent_id = hex(&fixed[36..52]).filter(|id| *id != 0)? as u64;
    // Only the flag that version 00 defines is passed on (§3.2.2.5: others are set to zero).
    let flags = hex(&fixed[53..55])? as u8 & SAMPLED;
    Some(TraceContext { trace_id, span_id: 0, parent_id, flags })
}

/// Up to 32 lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// 128 random bits in hexadecimal digits.
fn fresh_id(rng: &mut Rng) -> RequestId {
    let mut text = [0; 32];
    write_hex(u128::from(rng.bits()) << 64 | u128::from(rng.bits()), &mut text);
    RequestId::of_digits(text)
}

/// Zero stands for "none" in trace context.
fn nonzero(rng: &mut Rng) -> u64 {
    rng.bits().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn begun(fields: &[(&str, &str)], accept: bool) -> (String, TraceContext) {
        let x = fixture::exchange("GET", "/", "a", fields);
        let (id, trace) = begin(x.request(), accept, &mut Rng::new(7));
        (String::from_utf8(id.as_bytes().to_vec()).expect("ASCII"), trace)
    }

    #[test]
    fn a_good_parent_is_continued_with_a_span_of_our_own() {
        let (_, trace) = begun(&[("traceparent", GOOD)], true);
        assert_eq!(format!("{:032x}", trace.trace_id), TRACE);
        assert_eq!(trace.parent_id, 0x00f0_67aa_0ba9_02b7);
        assert!(trace.span_id != 0 && trace.span_id != trace.parent_id);
        assert_eq!(trace.flags, 1);
    }

    #[test]
    fn later_versions_are_read_as_far_as_we_know_them() {
        for tail in ["", "-what-comes-later"] {
            let value = format!("cc-{TRACE}-00f067aa0ba902b7-0b{tail}");
            let (_, trace) = begun(&[("traceparent", &value)], true);
            assert_eq!((trace.parent_id, trace.flags), (0x00f0_67aa_0ba9_02b7, 1), "{value}");
        }
    }

    #[test]
    fn anything_but_the_exact_form_starts_a_new_trace() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_parent = format!("00-{TRACE}-0000000000000000-01");
        let upper = GOOD.to_uppercase();
        let (longer, version_ff) = (format!("{GOOD}-x"), GOOD.replacen("00", "ff", 1));
        let (glued, shorter) = (format!("cc{}x", &GOOD[2..]), &GOOD[..54]);
        let dashless = GOOD.replace('-', "_");
        let bad = [
            "",
            "00",
            &zero_trace,
            &zero_parent,
            &upper,
            &longer,
            &version_ff,
            &glued,
            shorter,
            &dashless,
        ];
        for value in bad {
            let (_, trace) = begun(&[("traceparent", value)], true);
            assert_eq!(trace.parent_id, 0, "{value}");
            assert_ne!(format!("{:032x}", trace.trace_id), TRACE, "{value}");
            assert!(trace.trace_id != 0 && trace.span_id != 0);
        }
    }

    #[test]
    fn two_parents_are_none() {
        let (_, trace) = begun(&[("traceparent", GOOD), ("traceparent", GOOD)], true);
        assert_eq!(trace.parent_id, 0);
    }

    #[test]
    fn an_id_is_accepted_only_from_its_alphabet() {
        assert_eq!(begun(&[("x-request-id", "job-7/a.b")], true).0, "job-7/a.b");
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(65)] {
            let (id, _) = begun(&[("x-request-id", bad)], true);
            assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{bad}");
        }
    }

    #[test]
    fn nothing_is_accepted_where_it_is_not_wanted() {
        let (id, trace) = begun(&[("traceparent", GOOD), ("x-request-id", "mine")], false);
        assert_ne!(id, "mine");
        assert_eq!(trace.parent_id, 0);
    }

    #[test]
    fn the_lines_are_field_lines() {
        let (id, trace) = (RequestId::accept(b"job-7"), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        let trace = TraceContext { trace_id: trace, span_id: 0xab, parent_id: 1, flags: 1 };
        let lines = TraceLines::of(&id.expect("fine"), &trace);
        let text = std::str::from_utf8(lines.as_bytes()).expect("ASCII");
        let parent = format!("traceparent: 00-{TRACE}-00000000000000ab-01\r\n");
        assert_eq!(text, parent + "x-request-id: job-7\r\n");
        let longest = RequestId::accept(&[b'x'; 64]).expect("fine");
        assert_eq!(TraceLines::of(&longest, &trace).as_bytes().len(), TraceLines::BYTES_MAX);
    }
}
