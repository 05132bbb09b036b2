//! The request target: taking it apart, its query, and percent-encoding both ways.
//!
//! RFC 9112 §3.2 for the four forms, RFC 3986 for what may stand in them. A path holds only what RFC 3986
//! allows there; a query may also hold the printable bytes that browsers leave as they are. This file
//! never decodes what is forwarded: the target goes out as it came in. What a path's spelling (`..`,
//! `//`, `%2F`) means for routing is decided by `route/`, on the decoded segments.

use crate::base::buffer::Buf;
use crate::base::span::Span;
use crate::http::{Method, Target, TargetForm, chars};

/// An authority, taken apart (RFC 3986 §3.2, without userinfo).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Authority {
    /// The host, without port; an IPv6 literal keeps its brackets.
    pub host: Span,
    /// Host and port; an empty port is left out together with its colon.
    pub whole: Span,
    /// Whether there is a port.
    pub has_port: bool,
}

/// Takes apart the target at `raw[span]`. `None` when it is not one for this method (RFC 9112 §3.2).
/// The authority is that of the absolute or authority form.
pub fn parse(raw: &[u8], span: Span, method: Method) -> Option<(Target, Option<Authority>)> {
    let text = span.of(raw);
    let empty = Span::new(span.start as usize, span.start as usize);
    let target = Target { form: TargetForm::Origin, whole: span, path: empty, query: None };
    match text {
        _ if method == Method::Connect => {
            let authority = authority(text, span.start as usize)?;
            let target = Target { form: TargetForm::Authority, ..target };
            authority.has_port.then_some((target, Some(authority)))
        }
        [b'/', ..] => Some((path_and_query(text, target, 0)?, None)),
        b"*" if method == Method::Options => {
            Some((Target { form: TargetForm::Asterisk, ..target }, None))
        }
        _ => absolute(text, target),
    }
}

/// `http://authority[/path][?query]` (RFC 9112 §3.2.2).
fn absolute(text: &[u8], target: Target) -> Option<(Target, Option<Authority>)> {
    let colon = text.iter().take("https:".len()).position(|&byte| byte == b':')?;
    let scheme = &text[..colon];
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    if !known || !text[colon..].starts_with(b"://") {
        return None;
    }
    let from = colon + "://".len();
    let length = text[from..].iter().position(|byte| matches!(byte, b'/' | b'?'));
    let to = length.map_or(text.len(), |length| from + length);
    let authority = authority(&text[from..to], target.whole.start as usize + from)?;
    let target = Target { form: TargetForm::Absolute, ..target };
    Some((path_and_query(text, target, to)?, Some(authority)))
}

/// Finds path and query in `text[from..]`, which is empty or starts with `/` or `?`.
fn path_and_query(text: &[u8], target: Target, from: usize) -> Option<Target> {
    let base = target.whole.start as usize;
    let rest = &text[from..];
    let is_path = |byte: &u8| chars::class(*byte) & chars::PATH != 0;
    let length = rest.iter().position(|byte| !is_path(byte)).unwrap_or(rest.len());
    let path = Span::new(base + from, base + from + length);
    match rest.get(length) {
        None => Some(Target { path, query: None, ..target }),
        Some(b'?') if chars::all(&rest[length + 1..], chars::QUERY) => {
            let query = Some(Span::new(base + from + length + 1, base + text.len()));
            Some(Target { path, query, ..target })
        }
        Some(_) => None,
    }
}

/// Takes apart a host with an optional port, which starts at offset `base`. Strict: a name of letters,
/// digits, `-`, `_` and single dots, or an IPv6 address in brackets; a port of at most five digits up to
/// 65535. Empty hosts and userinfo are refused.
pub fn authority(text: &[u8], base: usize) -> Option<Authority> {
    let host_length = match text {
        [b'[', ..] => bracketed(text)?,
        _ => text.iter().take_while(|byte| chars::class(**byte) & chars::HOST != 0).count(),
    };
    let host = &text[..host_length];
    let has_empty_label =
        host.is_empty() || host[0] == b'.' || host.windows(2).any(|pair| pair == b"..");
    if has_empty_label {
        return None;
    }
    let span = |length| Span::new(base, base + length);
    let whole = match &text[host_length..] {
        [] | [b':'] => span(host_length),
        [b':', port @ ..] if is_port(port) => span(text.len()),
        _ => return None,
    };
    Some(Authority { host: span(host_length), whole, has_port: whole.len() > host_length })
}

/// The length of a leading `[IPv6 address]`.
fn bracketed(text: &[u8]) -> Option<usize> {
    let close = text.iter().take(48).position(|&byte| byte == b']')?;
    let address = std::str::from_utf8(&text[1..close]).ok()?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    Some(close + 1)
}

fn is_port(port: &[u8]) -> bool {
    let digits = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let number = || port.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    digits && number() <= u32::from(u16::MAX)
}

/// The pairs of a query, still encoded, in order: `a=1&b` gives `(a, 1)` and `(b, )`. Only `&` separates;
/// empty pairs are left out.
pub fn query_pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(
        |pair| match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        },
    )
}

/// What `+` stands for where something is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    /// Itself: paths (RFC 3986).
    Literal,
    /// A space: queries as forms write them (application/x-www-form-urlencoded).
    Space,
}

/// Why something could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A `%` that two hex digits do not follow (RFC 3986 §2.1).
    Malformed,
    /// The result does not fit the buffer.
    TooLong,
}

/// Decodes `%XX` into `out` and returns the filled part. The result may hold any byte, NUL included.
pub fn percent_decode<'o>(
    encoded: &[u8],
    plus: Plus,
    out: &'o mut [u8],
) -> Result<&'o [u8], DecodeError> {
    let mut bytes = encoded.iter();
    let mut length = 0;
    while let Some(&byte) = bytes.next() {
        let decoded = match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|&digit| char::from(digit).to_digit(16));
                let high = digit().ok_or(DecodeError::Malformed)?;
                let low = digit().ok_or(DecodeError::Malformed)?;
                (high << 4 | low) as u8
            }
            b'+' if plus == Plus::Space => b' ',
            other => other,
        };
        *out.get_mut(length).ok_or(DecodeError::TooLong)? = decoded;
        length += 1;
    }
    Ok(&out[..length])
}

/// Where in a URI something is written: which bytes may stand there as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeSet {
    /// One path segment: everything but `pchar` is escaped, so `/`, `?`, `#` and `%` always are.
    PathSegment,
    /// The rest of a path: as a segment, but `/` stands.
    PathRest,
    /// A name or value in a query: everything but unreserved bytes is escaped.
    QueryValue,
}

/// Whether a segment cannot be written so that it means itself: empty, `.` and `..` change which
/// resource a path names however they are escaped (RFC 3986 §5.2.4, §6.2.2).
pub fn is_unwritable_segment(segment: &[u8]) -> bool {
    matches!(segment, b"" | b"." | b"..")
}

impl EncodeSet {
    fn keeps(self, byte: u8) -> bool {
        match self {
            Self::PathSegment => {
                chars::class(byte) & (chars::UNRESERVED | chars::SEGMENT_DELIM) != 0
            }
            Self::PathRest => byte == b'/' || Self::PathSegment.keeps(byte),
            Self::QueryValue => chars::class(byte) & chars::UNRESERVED != 0,
        }
    }
}

/// Appends `text` with everything escaped that may not stand there; `false` when it does not fit, and
/// then part of it may have been written.
#[must_use]
pub fn percent_encode(out: &mut Buf, text: &[u8], set: EncodeSet) -> bool {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = text;
    loop {
        let kept = rest.iter().position(|&byte| !set.keeps(byte)).unwrap_or(rest.len());
        if !out.put(&rest[..kept]) {
            return false;
        }
        let Some(&byte) = rest.get(kept) else { return true };
        let escaped = [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        if !out.put(&escaped) {
            return false;
        }
        rest = &rest[kept + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;

    fn parsed(text: &[u8], method: Method) -> Option<(Target, Option<Authority>)> {
        parse(text, Span::new(0, text.len()), method)
    }

    #[test]
    fn origin_form_is_path_and_query() {
        let text = b"/a/b?c=d?e";
        let (target, authority) = parsed(text, Method::Get).expect("a target");
        assert_eq!((target.form, authority), (TargetForm::Origin, None));
        assert_eq!(target.path.of(text), b"/a/b");
        assert_eq!(target.query.map(|query| query.of(text)), Some(&b"c=d?e"[..]));
        let (target, _) = parsed(b"/?", Method::Get).expect("a target");
        assert!(target.query.is_some_and(Span::is_empty));
    }

    #[test]
    fn absolute_form_has_an_authority_and_perhaps_no_path() {
        let text = b"HTTP://ex.test:80?q";
        let (target, authority) = parsed(text, Method::Get).expect("a target");
        let authority = authority.expect("an authority");
        assert_eq!(authority.host.of(text), b"ex.test");
        assert_eq!(authority.whole.of(text), b"ex.test:80");
        assert!(target.path.is_empty());
        assert_eq!(target.query.map(|query| query.of(text)), Some(&b"q"[..]));
        assert!(parsed(b"https://[::1]:443/x", Method::Get).is_some());
    }

    #[test]
    fn targets_that_two_readers_could_read_differently_are_refused() {
        let bad: [&[u8]; 22] = [
            b"",
            b"a",
            b"*",
            b"/a#b",
            b"/a b",
            b"/a\tb",
            b"/a\x7f",
            b"/\xc3\xa4",
            b"/a\\b",
            b"/a\"b",
            b"/a?x#y",
            b"http://u:p@ex.test/",
            b"http:///a",
            b"ht!tp://ex.test/",
            b"http:/ex.test",
            b"http://ex.test\\@evil/",
            b"ftp://ex.test/",
            b"http://ex.test:x/",
            b"//",
            b"http://[::1/",
            b"http://ex.test#/",
            b"http://ex..test/",
        ];
        for text in bad.into_iter().filter(|text| *text != b"//") {
            assert!(parsed(text, Method::Get).is_none(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn asterisk_and_authority_forms_belong_to_their_methods() {
        assert!(parsed(b"*", Method::Options).is_some() && parsed(b"*", Method::Get).is_none());
        assert!(parsed(b"ex.test:443", Method::Connect).is_some());
        for text in [&b"ex.test"[..], b"http://ex.test/", b"/a", b"ex.test:", b"ex.test:99999"] {
            assert!(parsed(text, Method::Connect).is_none());
        }
    }

    #[test]
    fn hosts_are_strict() {
        for host in
            [&b"ex.test"[..], b"ex.test:", b"ex.test.:80", b"a_b", b"10.0.0.1:0", b"[::1]:8"]
        {
            assert!(authority(host, 0).is_some(), "{}", String::from_utf8_lossy(host));
        }
        let bad: [&[u8]; 15] = [
            b"", b":80", b"a b", b"u@a", b"a#b", b"a:b", b"a:-1", b"a:+1", b"a:65536", b"[::1",
            b"[x]", b"a%2eb", b"a,b", b"a..b", b"[::1]x",
        ];
        for host in bad {
            assert!(authority(host, 0).is_none(), "{}", String::from_utf8_lossy(host));
        }
    }

    #[test]
    fn query_pairs_keep_order_and_repetition() {
        let pairs: Vec<_> = query_pairs(b"a=1&&b&a=2=3&=x").collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"a", b"1"), (b"b", b""), (b"a", b"2=3"), (b"", b"x")];
        assert_eq!(pairs, expected);
        assert_eq!(query_pairs(b"").count(), 0);
    }

    #[test]
    fn decoding_undoes_encoding_for_every_byte() {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("within budget");
        let every: Vec<u8> = (0..=255).collect();
        for set in [EncodeSet::PathSegment, EncodeSet::PathRest, EncodeSet::QueryValue] {
            out.clear();
            assert!(percent_encode(&mut out, &every, set));
            assert!(out.data().is_ascii() && !out.data().contains(&b'?'));
            assert_eq!(out.data().contains(&b'/'), set == EncodeSet::PathRest);
            let mut room = [0; 256];
            let plus = if set == EncodeSet::QueryValue { Plus::Space } else { Plus::Literal };
            assert_eq!(percent_decode(out.data(), plus, &mut room), Ok(&every[..]));
        }
    }

    #[test]
    fn malformed_escapes_are_refused() {
        let mut room = [0; 4];
        for text in [&b"%"[..], b"%1", b"%zz", b"a%+1"] {
            assert_eq!(percent_decode(text, Plus::Literal, &mut room), Err(DecodeError::Malformed));
        }
        assert_eq!(percent_decode(b"12345", Plus::Literal, &mut room), Err(DecodeError::TooLong));
        assert_eq!(percent_decode(b"a+b", Plus::Space, &mut room), Ok(&b"a b"[..]));
    }
}
