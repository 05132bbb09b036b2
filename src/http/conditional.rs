//! Conditions of a request against a response that is at hand: does the client have it already (RFC 9110 §13)?
//!
//! If-None-Match goes before If-Modified-Since (§13.2.2), and its tags are compared weakly (§13.1.2). A tag
//! without quotes is compared as it stands: some clients and origins leave them out, and the worst that can come
//! of it is a 304 for characters that are the same. If-Range, where a wrong answer would mend a file from two
//! versions, is compared strongly and to the letter (§13.1.5). What cannot be read never makes a client's copy good.

use crate::base::limits::ETAGS_MATCHED_MAX;
use crate::http::chars;
use crate::http::date;
use crate::http::head::Request;
use crate::http::names::FieldName;

/// What tells one version of a representation from another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// ETag as it stands.
    pub etag: Option<&'a [u8]>,
    /// Last-Modified. Unit: seconds since 1970.
    pub last_modified: Option<u64>,
    /// Date, or when it was received: no response was modified later (RFC 9111 §4.3.2).
    pub date: u64,
}

/// Whether the request is one for news only: the client has a response already.
pub fn is_conditional(request: Request<'_>) -> bool {
    let asks = |id| request.field(id).is_some();
    asks(FieldName::IfNoneMatch) || asks(FieldName::IfModifiedSince)
}

/// Whether the client has this version (RFC 9110 §13.1.2, §13.1.3); `now` resolves dates with two-digit years.
/// Unit of `now`: seconds since 1970.
pub fn is_known(request: Request<'_>, validators: &Validators<'_>, now: u64) -> bool {
    let mut tags = request.all(FieldName::IfNoneMatch).peekable();
    if tags.peek().is_some() {
        return tags.flat_map(tags_of).take(ETAGS_MATCHED_MAX).any(|tag| {
            tag == b"*" || validators.etag.is_some_and(|own| opaque(own) == opaque(tag))
        });
    }
    let since = request.field(FieldName::IfModifiedSince).and_then(|since| date::parse(since, now));
    since.is_some_and(|since| validators.last_modified.unwrap_or(validators.date) <= since)
}

/// Whether a range may be taken of this version (RFC 9110 §13.1.5); without If-Range it may.
pub fn range_holds(request: Request<'_>, validators: &Validators<'_>, now: u64) -> bool {
    let Some(condition) = request.field_named(b"if-range") else { return true };
    if condition.starts_with(b"\"") {
        return validators.etag == Some(condition);
    }
    // A date is strong only if the response was made well after it (RFC 9110 §8.8.2.2).
    let strong = |modified: u64| validators.date.saturating_sub(modified) >= 1;
    let said = date::parse(condition, now);
    said.is_some() && said == validators.last_modified.filter(|modified| strong(*modified))
}

/// The elements of a list of tags; a comma in quotes does not end one.
fn tags_of(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let mut quoted = false;
            let end = rest.iter().position(|byte| {
                quoted ^= *byte == b'"';
                *byte == b',' && !quoted
            });
            let element = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[][..], |end| &rest[end + 1..]);
            let element = chars::trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    })
}

/// A tag without its weakness and its quotes.
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.strip_prefix(b"W/").or_else(|| tag.strip_prefix(b"w/")).unwrap_or(tag);
    match tag {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::parse::{self, HeadLimits, Parsed};
    use crate::http::head::RequestHead;

    const NOW: u64 = 1_795_608_000;
    const MODIFIED: u64 = 784_111_777;

    fn asked(lines: &str, test: impl FnOnce(Request<'_>) -> bool) -> bool {
        let raw = format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n").into_bytes();
        let mut head = RequestHead::default();
        let parsed = parse::request(&raw, 0, &HeadLimits::default(), &mut head);
        assert!(matches!(parsed, Ok(Parsed::Done)), "{lines}");
        test(Request { head: &head, raw: &raw })
    }

    fn own(etag: &'static str) -> Validators<'static> {
        let etag = Some(etag.as_bytes());
        Validators { etag, last_modified: Some(MODIFIED), date: NOW - 100 }
    }

    #[test]
    fn a_client_that_has_this_version_is_told_so() {
        for (etag, lines, known) in [
            ("\"a\"", "if-none-match: \"a\"\r\n", true),
            ("W/\"a\"", "if-none-match: \"a\"\r\n", true),
            ("\"a\"", "if-none-match: W/\"a\"\r\n", true),
            ("\"a\"", "if-none-match: \"b\", \"c,\\\", \"a\"\r\n", true),
            ("\"a\"", "if-none-match: \"b, \"a\"\r\n", false),
            ("\"a\"", "if-none-match: \"b\",, \"a\"\r\n", true),
            ("\"a\"", "if-none-match: \"b\"\r\nif-none-match: \"a\"\r\n", true),
            ("\"a,b\"", "if-none-match: \"a,b\"\r\n", true),
            ("\"a\"", "if-none-match: *\r\n", true),
            ("\"a\"", "if-none-match: a\r\n", true),
            ("\"a\"", "if-none-match: \"A\"\r\n", false),
            ("\"a\"", "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", true),
            ("\"a\"", "if-modified-since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", true),
            ("\"a\"", "if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", false),
            ("\"a\"", "if-modified-since: soon\r\n", false),
            (
                "\"a\"",
                "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\nif-none-match: \"b\"\r\n",
                false,
            ),
            ("\"a\"", "", false),
        ] {
            let told = asked(lines, |request| is_known(request, &own(etag), NOW));
            assert_eq!(told, known, "{etag} {lines}");
        }
    }

    #[test]
    fn without_a_modification_date_the_response_was_new_when_it_came() {
        let validators = Validators { etag: None, last_modified: None, date: MODIFIED };
        let asks = |lines| asked(lines, |request| is_known(request, &validators, NOW));
        assert!(asks("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
        assert!(!asks("if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"));
        assert!(!asks("if-none-match: \"a\"\r\n"));
    }

    #[test]
    fn a_range_is_taken_of_the_very_same_version_only() {
        for (etag, condition, holds) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", false),
            ("W/\"a\"", "W/\"a\"", false),
            ("\"a\"", "\"b\"", false),
            ("\"a\"", "Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("\"a\"", "Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("\"a\"", "soon", false),
        ] {
            let lines = format!("if-range: {condition}\r\n");
            let told = asked(&lines, |request| range_holds(request, &own(etag), NOW));
            assert_eq!(told, holds, "{etag} {condition}");
        }
        assert!(asked("", |request| range_holds(request, &own("\"a\""), NOW)));
    }
}
