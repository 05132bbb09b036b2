//! What of a request ends at the gateway although the field it stands in goes on: cookies and pairs of the
//! query that hold credentials.
//!
//! A credential that was for the gateway must never reach an origin, however its name is spelt there: names in a
//! query are compared decoded (RFC 3986 §2.1), names of cookies without the blanks that readers skip (RFC 6265
//! §5.2). Everything else of a query and of a Cookie field stays byte for byte, in its order. Whole fields need
//! none of this: `forward.rs` leaves them out by name.

use crate::http::chars;

/// Names whose cookies and pairs are not sent on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Names of fields that others say something by: the client's own are never passed on. For those who pass fields by
    /// name; who passes all leaves these out among others.
    pub fields: Box<[Box<str>]>,
    /// Names of cookies; case counts.
    pub cookies: Box<[Box<str>]>,
    /// Names of query parameters, decoded; case counts.
    pub query: Box<[Box<str>]>,
}

impl Withheld {
    /// Whether nothing is withheld.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty() && self.query.is_empty()
    }

    /// Whether anything of this query is.
    pub fn cuts_query(&self, query: &[u8]) -> bool {
        !self.query.is_empty() && query.split(|byte| *byte == b'&').any(|pair| self.has_pair(pair))
    }

    /// Whether anything of this Cookie field is.
    pub fn cuts_cookies(&self, value: &[u8]) -> bool {
        !self.cookies.is_empty()
            && value.split(|byte| *byte == b';').any(|one| self.has_cookie(one))
    }

    /// Gives `put` what is left of a query, piece by piece; `lead` goes in front, unless nothing is left.
    pub fn query(&self, query: &[u8], lead: &[u8], put: impl FnMut(&[u8])) {
        let pairs = query.split(|byte| *byte == b'&');
        join(pairs.filter(|pair| !self.has_pair(pair)), lead, b"&", put);
    }

    /// The same with what is left of a Cookie field.
    pub fn cookies(&self, value: &[u8], lead: &[u8], put: impl FnMut(&[u8])) {
        let cookies = value.split(|byte| *byte == b';').map(chars::trim);
        let kept = cookies.filter(|one| !one.is_empty() && !self.has_cookie(one));
        join(kept, lead, b"; ", put);
    }

    fn has_pair(&self, pair: &[u8]) -> bool {
        self.query.iter().any(|name| is_named(pair, name.as_bytes()))
    }

    fn has_cookie(&self, cookie: &[u8]) -> bool {
        let name = chars::trim(cookie.split(|byte| *byte == b'=').next().unwrap_or(cookie));
        self.cookies.iter().any(|known| known.as_bytes() == name)
    }
}

/// Puts the pieces with what stands between them, and `lead` before the first.
fn join<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    lead: &[u8],
    between: &[u8],
    mut put: impl FnMut(&[u8]),
) {
    let mut before = lead;
    for piece in pieces {
        put(before);
        put(piece);
        before = between;
    }
}

/// Whether the decoded name of a pair (`name=value`) is `name`.
pub fn is_named(pair: &[u8], name: &[u8]) -> bool {
    let mut raw = pair.split(|byte| *byte == b'=').next().unwrap_or(pair);
    let mut known = name;
    while let Some((first, rest)) = raw.split_first() {
        let (byte, rest) = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &raw[1..]),
            },
            (b'+', rest) => (b' ', rest),
            (byte, rest) => (*byte, rest),
        };
        match known.split_first() {
            Some((wanted, further)) if *wanted == byte => known = further,
            _ => return false,
        }
        raw = rest;
    }
    known.is_empty()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withheld() -> Withheld {
        Withheld {
            fields: Box::default(),
            cookies: ["session".into()].into(),
            query: ["key".into(), "a b".into()].into(),
        }
    }

    fn query(text: &str) -> String {
        let mut left = Vec::new();
        withheld().query(text.as_bytes(), b"?", |piece| left.extend_from_slice(piece));
        String::from_utf8(left).unwrap()
    }

    fn cookies(text: &str) -> String {
        let mut left = Vec::new();
        withheld().cookies(text.as_bytes(), b"", |piece| left.extend_from_slice(piece));
        String::from_utf8(left).unwrap()
    }

    #[test]
    fn pairs_go_in_every_spelling_and_the_rest_stays() {
        for (text, left) in [
            ("key=s", ""),
            ("key", ""),
            ("a=1&key=s&b=2", "?a=1&b=2"),
            ("%6bey=s&b=%41", "?b=%41"),
            ("k%65y=s&x=key", "?x=key"),
            ("a+b=1&a%20b=2&ab=3", "?ab=3"),
            ("key=s&key=t&&keys=1&Key=2", "?&keys=1&Key=2"),
            ("%zzkey=1&%=2&=key", "?%zzkey=1&%=2&=key"),
            ("", "?"),
        ] {
            assert_eq!(query(text), left, "{text}");
            assert_eq!(
                withheld().cuts_query(text.as_bytes()),
                left != format!("?{text}"),
                "{text}"
            );
        }
    }

    #[test]
    fn cookies_go_and_the_rest_stays() {
        for (text, left) in [
            ("session=s", ""),
            ("a=1; session=s; b=2", "a=1; b=2"),
            ("a=1;session =s;b=2", "a=1; b=2"),
            ("sessions=1; Session=2; x=session", "sessions=1; Session=2; x=session"),
            ("session", ""),
        ] {
            assert_eq!(cookies(text), left, "{text}");
        }
    }
}
