//! What must hold for any bytes: the bodies of the fuzz targets and of the corpus replay.
//!
//! Each function takes hostile bytes and panics when a promise of this room is broken. Not part of the
//! interface and never called by the program; it is here so that `tests/fuzz` and `tests/properties.rs`
//! share one text.

use crate::base::buffer::BufferPool;
use crate::base::limits::FIELDS_CEILING;
use crate::base::span::Span;
use crate::http::Method;
use crate::http::chars;
use crate::http::forward::{self, RequestForward, ResponseForward};
use crate::http::h1::chunked::{self, Decoder, FRAME_HEADROOM};
use crate::http::h1::parse::{self, HeadError, HeadLimits, Parsed};
use crate::http::head::{Request, RequestHead, Response, ResponseHead};
use crate::http::headers::Fields;
use crate::http::target::{self, Plus};

/// A request head: whole and in two pieces it reads the same, it holds nothing ambiguous, and what is
/// forwarded of it reads back as the same request.
pub fn request(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut head = RequestHead::default();
    let whole = parse::request(data, 0, &limits, &mut head);
    let cut = data.first().map_or(0, |&byte| usize::from(byte) * data.len() / 256);
    let mut again = RequestHead::default();
    same_in_pieces(data, cut, whole, |raw, seen| parse::request(raw, seen, &limits, &mut again));
    if whole != Ok(Parsed::Done) {
        return;
    }
    assert_eq!((again.bytes, again.body, again.host), (head.bytes, head.body, head.host));
    assert_eq!(again.fields.len(), head.fields.len());
    assert_fields_are_plain(&head.fields, &data[..head.bytes as usize]);
    assert!(!head.target.whole.of(data).iter().any(|byte| *byte <= b' ' || *byte >= 0x7f));

    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("a fresh pool has a buffer");
    let how = RequestForward { body: head.body, ..RequestForward::default() };
    if forward::request_head(&mut out, Request { head: &head, raw: data }, &how).is_err() {
        return;
    }
    let wide = HeadLimits { fields_max: FIELDS_CEILING as u32, head_bytes_max: 65_536, ..limits };
    let sent = parse::request(out.data(), 0, &wide, &mut again);
    // An HTTP/1.0 request without Host goes out with an empty one, which we would not take ourselves.
    if !head.authority.is_empty() {
        assert_eq!(sent, Ok(Parsed::Done), "{}", String::from_utf8_lossy(out.data()));
        assert_eq!((again.body, again.method), (head.body, head.method));
        assert_eq!(again.authority.of(out.data()), head.authority.of(data));
        assert_eq!(again.bytes as usize, out.len());
    }
}

/// A response head: as [`request`].
pub fn response(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut head = ResponseHead::default();
    let method = if data.last() == Some(&b'H') { Method::Head } else { Method::Get };
    let whole = parse::response(data, 0, &limits, method, &mut head);
    let cut = data.last().map_or(0, |&byte| usize::from(byte) * data.len() / 256);
    let mut again = ResponseHead::default();
    same_in_pieces(data, cut, whole, |raw, seen| {
        parse::response(raw, seen, &limits, method, &mut again)
    });
    if whole != Ok(Parsed::Done) {
        return;
    }
    assert_eq!((again.bytes, again.body, again.status), (head.bytes, head.body, head.status));
    assert_fields_are_plain(&head.fields, &data[..head.bytes as usize]);

    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("a fresh pool has a buffer");
    let keep_alive = head.keep_alive;
    let how = ResponseForward { body: head.body, keep_alive, ..ResponseForward::default() };
    if forward::response_head(&mut out, Response { head: &head, raw: data }, &how).is_err() {
        return;
    }
    let wide = HeadLimits { fields_max: FIELDS_CEILING as u32, head_bytes_max: 65_536, ..limits };
    let sent = parse::response(out.data(), 0, &wide, method, &mut again);
    assert_eq!(sent, Ok(Parsed::Done), "{}", String::from_utf8_lossy(out.data()));
    assert_eq!((again.body, again.status), (head.body, head.status));
    assert_eq!(again.reason.of(out.data()), head.reason.of(data));
}

/// A chunked body: whole, byte by byte and cut once it decodes the same, and what was decoded encodes to
/// something that decodes to it again.
pub fn chunked(data: &[u8]) {
    let whole = decode_in_pieces(data, data.len().max(1));
    let piece = data.len() % 7 + 1;
    assert_eq!(decode_in_pieces(data, piece), whole);
    assert_eq!(decode_in_pieces(data, 1), whole);
    let Ok((body, trailers, Some(_))) = whole else { return };

    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("a fresh pool has a buffer");
    let mut sent = Vec::new();
    for part in body.chunks(1000) {
        out.clear_with_headroom(FRAME_HEADROOM);
        assert!(out.put(part) && chunked::frame(&mut out));
        sent.extend_from_slice(out.data());
    }
    out.clear();
    assert!(chunked::finish(&mut out, &trailers));
    sent.extend_from_slice(out.data());
    let length = sent.len();
    assert_eq!(decode_in_pieces(&sent, 1 << 20), Ok((body, trailers, Some(length))));
}

/// A request target, a query, an authority and escapes.
pub fn target(data: &[u8]) {
    let span = Span::new(0, data.len());
    for method in [Method::Get, Method::Options, Method::Connect] {
        let Some((target, authority)) = target::parse(data, span, method) else { continue };
        assert!(data.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#'));
        assert!(chars::all(target.path.of(data), chars::PATH));
        let host = authority.map(|authority| authority.host.of(data));
        assert!(host.is_none_or(|host| !host.is_empty() && !host.contains(&b'@')));
    }
    let pairs: usize =
        target::query_pairs(data).map(|(name, value)| name.len() + value.len()).sum();
    assert!(pairs <= data.len());
    let mut room = vec![0; data.len()];
    if let Ok(decoded) = target::percent_decode(data, Plus::Space, &mut room) {
        assert!(decoded.len() <= data.len());
    }
}

/// Feeds the bytes in two pieces and compares with the outcome for all at once.
fn same_in_pieces(
    data: &[u8],
    cut: usize,
    whole: Result<Parsed, HeadError>,
    mut parse: impl FnMut(&[u8], usize) -> Result<Parsed, HeadError>,
) {
    let first = parse(&data[..cut], 0);
    let pieces = if first == Ok(Parsed::Partial) { parse(data, cut) } else { first };
    // A head that cannot become good may still be waited for when only its first piece was looked at.
    let undecided = whole.is_err() && pieces == Ok(Parsed::Partial);
    assert!(undecided || pieces.is_err() == whole.is_err(), "{whole:?}, in pieces {pieces:?}");
    if let Ok(outcome) = whole {
        assert_eq!(pieces, Ok(outcome));
    }
}

/// Every line of the head is exactly one recorded field, and holds no control byte but HTAB.
fn assert_fields_are_plain(fields: &Fields, head: &[u8]) {
    let lines = memchr::memmem::find_iter(head, b"\r\n").count();
    let empty_first = usize::from(head.starts_with(b"\r\n"));
    assert_eq!(fields.len() + 2 + empty_first, lines);
    for field in fields.iter() {
        assert!(chars::is_token(field.name.of(head)));
        assert!(chars::is_field_value(field.value.of(head)));
    }
}

/// Body, trailers, and the length of the message if it ended.
type Decoded = Result<(Vec<u8>, Vec<u8>, Option<usize>), chunked::ChunkError>;

fn decode_in_pieces(data: &[u8], piece: usize) -> Decoded {
    let mut decoder = Decoder::new();
    let mut body = Vec::new();
    let mut consumed = 0;
    for part in data.chunks(piece) {
        let mut part = part.to_vec();
        let decoded = decoder.decode(&mut part)?;
        body.extend_from_slice(&part[..decoded.data]);
        consumed += decoded.consumed;
        if decoded.done {
            return Ok((body, decoder.trailers().to_vec(), Some(consumed)));
        }
        assert_eq!(decoded.consumed, part.len());
    }
    Ok((body, decoder.trailers().to_vec(), None))
}
