//! Heads of stored responses: how one is made of what an origin sent, and how a 304 brings one up to date.
//!
//! What an origin says of a message, and not of the representation, is never stored; and what describes the bytes that are stored is
//! never changed by a message without them (RFC 9111 §3.1, §3.2).

use crate::base::buffer::Buf;
use crate::http::caching::directives::withheld;
use crate::http::forward::{self as heads, ResponseForward};
use crate::http::framing::BodyLength;
use crate::http::h1::parse::{self, HeadLimits, Parsed};
use crate::http::head::{Response, ResponseHead};
use crate::http::names::FieldName;
use crate::http::{Method, date};
use crate::policy::stored::{Stored, lines};

/// Fields that are this answer's and never the stored one's.
const OF_ONE_ANSWER: &[FieldName] =
    &[FieldName::XRequestId, FieldName::Age, FieldName::ContentLength, FieldName::Trailer];

/// Fields that describe the stored bytes: only a message with bytes changes them (RFC 9111 §3.2). The entity tag is
/// one of them: a 304 answers the one tag that was asked about, and another tag on it is not that of these bytes
/// (§4.3.4).
const OF_THE_BYTES: [&[u8]; 8] = [
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-md5",
    b"content-digest",
    b"repr-digest",
    b"digest",
    b"etag",
];

/// Status line and fields of a response as they are stored, without Content-Length, and without the fields
/// that its origin keeps out of shared caches. A Date is there. `None` when it is too large.
pub fn stored_head(out: &mut Buf, response: Response<'_>, now: u64) -> Option<Vec<u8>> {
    let left_out: Vec<&[u8]> = withheld(response.all(FieldName::CacheControl)).collect();
    let text = |name: &&[u8]| std::str::from_utf8(name).ok().map(Box::from);
    let named: Vec<Box<str>> = left_out.iter().filter_map(text).collect();
    out.clear();
    let how = ResponseForward {
        body: BodyLength::None,
        drop: OF_ONE_ANSWER,
        drop_named: &named,
        ..ResponseForward::default()
    };
    heads::response_head(out, response, &how).ok()?;
    let mut head = out.data().strip_suffix(b"\r\n").unwrap_or(out.data()).to_vec();
    if response.field(FieldName::Date).is_none() {
        for piece in [b"date: ", &date::imf_fixdate(now)[..], b"\r\n"] {
            head.extend_from_slice(piece);
        }
    }
    Some(head)
}

/// The head of a stored response with the fields of a newer answer in place of those of the same name.
pub fn merged_head(
    out: &mut Buf,
    stored: &Stored,
    response: Response<'_>,
    now: u64,
) -> Option<Vec<u8>> {
    let newer = stored_head(out, response, now)?;
    let start = newer.iter().position(|byte| *byte == b'\n')? + 1;
    let changes = |name: &[u8]| !OF_THE_BYTES.iter().any(|own| own.eq_ignore_ascii_case(name));
    let said = |name: &[u8]| {
        let mut names = lines(&newer[start..]);
        changes(name) && names.any(|(other, ..)| other.eq_ignore_ascii_case(name))
    };
    let mut head = stored.head[..stored.status_line].to_vec();
    for (.., line) in lines(stored.fields()).filter(|(name, ..)| !said(name)) {
        head.extend_from_slice(line);
    }
    for (.., line) in lines(&newer[start..]).filter(|(name, ..)| changes(name)) {
        head.extend_from_slice(line);
    }
    Some(head)
}

/// Reads a stored head as a message, for those who judge messages; `None` if it has become none.
pub fn read<T>(head: &[u8], judge: impl FnOnce(Response<'_>) -> T) -> Option<T> {
    let raw = [head, b"\r\n"].concat();
    let mut parsed = ResponseHead::default();
    match parse::response(&raw, 0, &HeadLimits::default(), Method::Head, &mut parsed) {
        Ok(Parsed::Done) => Some(judge(Response { head: &parsed, raw: &raw })),
        _ => None,
    }
}

/// Whether an answer to HEAD speaks of the stored representation (RFC 9111 §4.3.5).
pub fn is_of(stored: &Stored, response: Response<'_>) -> bool {
    let named = |name: &'static [u8]| response.head.fields.named(name, response.raw).next();
    let same = |said: Option<&[u8]>, own: Option<&[u8]>| {
        said.zip(own).is_none_or(|(said, own)| said == own)
    };
    let length = response.field(FieldName::ContentLength);
    let own = stored.body.len().to_string();
    same(response.field(FieldName::Etag), stored.validators().etag)
        && same(named(b"last-modified"), stored.modified())
        && same(length, Some(own.as_bytes()))
}
