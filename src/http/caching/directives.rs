//! Cache-Control, taken apart (RFC 9111 §5.2, RFC 5861).
//!
//! Unknown directives are ignored and known ones never by half: a lifetime that cannot be read counts as
//! none left, and of one given twice the first counts (RFC 9111 §4.2.1 for both). A qualified
//! `no-cache="field"` or `private="field"` sets the directive as the unqualified one does, which §5.2.2.4 and
//! §5.2.2.7 allow; whoever can leave single fields out looks at `no_cache_whole`, `private_whole` and
//! [`withheld`]. Arguments may be tokens or quoted strings (§5.2).

use std::time::Duration;

use crate::http::caching::LONGEST;
use crate::http::chars;

/// The directives of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// `max-age` (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// `s-maxage` (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// `no-store` (§5.2.2.5).
    pub no_store: bool,
    /// `no-cache` (§5.2.2.4).
    pub no_cache: bool,
    /// The same for the whole response, not for fields that it names.
    pub no_cache_whole: bool,
    /// `private` (§5.2.2.7).
    pub private: bool,
    /// The same for the whole response, not for fields that it names.
    pub private_whole: bool,
    /// `public` (§5.2.2.9).
    pub public: bool,
    /// `must-understand` (§5.2.2.3).
    pub must_understand: bool,
    /// `must-revalidate` (§5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl ResponseControl {
    /// From the values of all Cache-Control fields, in order.
    pub fn of<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut control = Self::default();
        for (name, argument) in values.flat_map(Directives) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("max-age") {
                first(&mut control.max_age, argument);
            } else if is("s-maxage") {
                first(&mut control.s_maxage, argument);
            } else if is("stale-while-revalidate") {
                first(&mut control.stale_while_revalidate, argument);
            } else if is("stale-if-error") {
                first(&mut control.stale_if_error, argument);
            }
            let whole = argument.is_none_or(<[u8]>::is_empty);
            control.no_store |= is("no-store");
            control.no_cache |= is("no-cache");
            control.no_cache_whole |= is("no-cache") && whole;
            control.private |= is("private");
            control.private_whole |= is("private") && whole;
            control.must_understand |= is("must-understand");
            control.public |= is("public");
            control.must_revalidate |= is("must-revalidate");
            control.proxy_revalidate |= is("proxy-revalidate");
        }
        control
    }
}

/// The directives of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// `max-age` (§5.2.1.1).
    pub max_age: Option<Duration>,
    /// `max-stale` (§5.2.1.2); without an argument any staleness.
    pub max_stale: Option<Duration>,
    /// `min-fresh` (§5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// `no-cache` (§5.2.1.4), or `Pragma: no-cache` where there is no Cache-Control (§5.4).
    pub no_cache: bool,
    /// `no-store` (§5.2.1.5).
    pub no_store: bool,
    /// `only-if-cached` (§5.2.1.7).
    pub only_if_cached: bool,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl RequestControl {
    /// From the values of all Cache-Control fields, in order, and those of Pragma.
    pub fn of<'a>(
        values: impl Iterator<Item = &'a [u8]>,
        pragma: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        let mut control = Self::default();
        let mut values = values.peekable();
        if values.peek().is_none() {
            let mut pragma = pragma.flat_map(chars::list);
            control.no_cache = pragma.any(|word| word.eq_ignore_ascii_case(b"no-cache"));
        }
        for (name, argument) in values.flat_map(Directives) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("max-age") {
                shorten(&mut control.max_age, argument);
            } else if is("max-stale") {
                shorten(&mut control.max_stale, Some(argument.unwrap_or(ANY)));
            } else if is("min-fresh") {
                let said = argument.and_then(seconds).unwrap_or(LONGEST);
                control.min_fresh = Some(control.min_fresh.map_or(said, |known| known.max(said)));
            } else if is("stale-if-error") {
                shorten(&mut control.stale_if_error, argument);
            }
            control.no_cache |= is("no-cache");
            control.no_store |= is("no-store");
            control.only_if_cached |= is("only-if-cached");
        }
        control
    }
}

/// More digits than any number of seconds here: [`LONGEST`].
const ANY: &[u8] = b"99999999999";

/// The fields of a response that a shared cache must not use again, or not without asking: those that
/// `no-cache` and `private` name (§5.2.2.4, §5.2.2.7).
pub fn withheld<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let naming = values.flat_map(Directives).filter(|(name, _)| {
        name.eq_ignore_ascii_case(b"no-cache") || name.eq_ignore_ascii_case(b"private")
    });
    naming.filter_map(|(_, argument)| argument).flat_map(chars::list)
}

/// Takes what is said now if nothing was said before.
fn first(known: &mut Option<Duration>, argument: Option<&[u8]>) {
    known.get_or_insert(argument.and_then(seconds).unwrap_or_default());
}

/// Takes the shorter of what is known and what is said now.
fn shorten(known: &mut Option<Duration>, argument: Option<&[u8]>) {
    let said = argument.and_then(seconds).unwrap_or_default();
    *known = Some(known.map_or(said, |known| known.min(said)));
}

/// `delta-seconds` (RFC 9111 §1.2.2): digits only; what is too large is [`LONGEST`].
pub fn seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some(number.map_or(LONGEST, Duration::from_secs).min(LONGEST))
}

/// The directives of one field value: name, and argument without its quotes. An element that is not a
/// directive is passed over; a quoted string that does not end takes the rest of the value with it.
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let element = self.element();
            let mut halves = element.splitn(2, |&byte| byte == b'=');
            let name = halves.next().unwrap_or_default();
            // No whitespace around `=` (§5.2): with it the name is not a token.
            if chars::is_token(name) {
                return Some((name, halves.next().map(unquote)));
            }
        }
        None
    }
}

impl<'a> Directives<'a> {
    /// Cuts off the next element; commas in quoted strings do not end one (RFC 9110 §5.6.4).
    fn element(&mut self) -> &'a [u8] {
        let (mut quoted, mut escaped) = (false, false);
        let end = self.0.iter().position(|&byte| {
            let ends = byte == b',' && !quoted;
            if byte == b'"' && !escaped {
                quoted = !quoted;
            }
            escaped = quoted && byte == b'\\' && !escaped;
            ends
        });
        let (element, rest) = match end {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        chars::trim(element)
    }
}

fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(values: &[&str]) -> ResponseControl {
        ResponseControl::of(values.iter().map(|value| value.as_bytes()))
    }

    fn request(values: &[&str]) -> RequestControl {
        RequestControl::of(values.iter().map(|value| value.as_bytes()), std::iter::empty())
    }

    const fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn directives_are_found_in_any_case_over_several_fields() {
        let control = response(&["Max-Age=5, PUBLIC", "s-maxage=\"7\", unknown=\"a, no-store\""]);
        assert_eq!((control.max_age, control.s_maxage), (secs(5), secs(7)));
        assert!(control.public && !control.no_store);
    }

    #[test]
    fn a_lifetime_that_cannot_be_read_is_over() {
        for bad in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=a", "max-age='5'"]
        {
            assert_eq!(response(&[bad]).max_age, secs(0), "{bad}");
        }
        assert_eq!(response(&["max-age =5, max-age= 5"]).max_age, secs(0));
        assert_eq!(response(&["max-age=99999999999999999999999"]).max_age, Some(LONGEST));
    }

    #[test]
    fn of_two_lifetimes_the_first_counts_and_of_two_demands_the_stricter() {
        assert_eq!(response(&["max-age=9, max-age=3", "max-age=5"]).max_age, secs(9));
        assert_eq!(response(&["max-age=x, max-age=3"]).max_age, secs(0));
        assert_eq!(request(&["min-fresh=3, min-fresh=9"]).min_fresh, secs(9));
        assert_eq!(request(&["max-age=9, max-age=3"]).max_age, secs(3));
    }

    #[test]
    fn qualified_directives_count_as_unqualified() {
        let control = response(&["private=\"set-cookie\", no-cache=\"a,b\""]);
        assert!(control.private && control.no_cache);
        assert!(!control.private_whole && !control.no_cache_whole);
        let values = [b"private=\"set-cookie\", no-cache=\"a, b\", no-cache, x=\"c\"".as_slice()];
        let fields: Vec<_> = withheld(values.into_iter()).collect();
        assert_eq!(fields, [&b"set-cookie"[..], b"a", b"b"]);
        assert!(response(&["no-cache=\"a\", no-cache"]).no_cache_whole);
    }

    #[test]
    fn a_quoted_string_hides_its_commas_even_unended() {
        assert!(response(&["x=\"a\\\", no-store\", private"]).private);
        assert!(!response(&["x=\"a\\\", no-store\""]).no_store);
        assert!(!response(&["x=\"no-store, private"]).private);
    }

    #[test]
    fn max_stale_without_an_argument_takes_any_staleness() {
        assert_eq!(request(&["max-stale"]).max_stale, Some(LONGEST));
        assert_eq!(request(&["max-stale=5"]).max_stale, secs(5));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let pragma = || [b"No-Cache".as_slice()].into_iter();
        assert!(RequestControl::of(std::iter::empty(), pragma()).no_cache);
        assert!(!RequestControl::of([b"max-age=1".as_slice()].into_iter(), pragma()).no_cache);
    }
}
