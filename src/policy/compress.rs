//! Whether an answer is compressed on its way to the client, and how (RFC 9110 §8.4, §12.5.3).
//!
//! Never twice, never a part of a representation (206), never where the origin forbids a change (`no-transform`,
//! a digest or signature over the content), and never, unless it is asked for, where an answer that may show
//! what an attacker put in is coded together with a secret: their common length tells the secret (BREACH,
//! <https://breachattack.com>). A secret is suspected where the request has Cookie or Authorization, where its client
//! is known by a certificate, or where the answer has a Set-Cookie. Everything is decided from two heads; the work is `serve/compressing.rs`'s.

use crate::exchange::Exchange;
use crate::http::Status;
use crate::http::coding::Coding;
use crate::http::encoding::{Choice, choose};
use crate::http::head::Request;
use crate::http::names::FieldName;

/// The rules of one route.
#[derive(Clone, Debug)]
pub struct Compress {
    /// Codings, the preferred one first.
    pub codings: Box<[Coding]>,
    /// Shortest body that is worth it. Unit: bytes.
    pub bytes_min: u64,
    /// What is compressed.
    pub types: Box<[MediaType]>,
    /// Whether requests with Authorization, or of a client known by its certificate, are answered compressed.
    pub with_authorization: bool,
    /// Whether requests with Cookie are.
    pub with_cookie: bool,
    /// Whether answers with Set-Cookie are.
    pub with_set_cookie: bool,
}

/// Media types, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `*/*`
    All,
    /// `text/*`, as `text/`.
    Whole(Box<str>),
    /// `application/*+json`, as its two ends.
    Suffix(Box<str>, Box<str>),
    /// `application/json`
    One(Box<str>),
}

/// What the head of an answer says, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    status: u16,
    length: Option<u64>,
    content_type: &'a [u8],
    coded: bool,
    fixed: bool,
    sets_cookie: bool,
    etag: &'a [u8],
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The coding to use.
    pub coding: Option<Coding>,
    /// Whether the entity tag becomes a weak one: other bytes mean the same.
    pub weaken: bool,
    /// Whether other requests would get other bytes.
    pub vary: bool,
    /// Whether a Content-Length would be that of the plain answer, where GET has or may have another one (RFC 9110 §8.6).
    pub unmeasured: bool,
}

impl<'a> Answer<'a> {
    /// What an answer with these fields is. `length` is that of its body, if known.
    pub fn of(
        status: Status,
        length: Option<u64>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut answer = Self { status: status.0, length, ..Self::default() };
        for (name, value) in fields {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                12 if is("content-type") => answer.content_type = value,
                16 if is("content-encoding") => {
                    answer.coded |= !value.trim_ascii().eq_ignore_ascii_case(b"identity");
                }
                13 if is("cache-control") => answer.fixed |= forbids(value),
                10 if is("set-cookie") => answer.sets_cookie = true,
                4 if is("etag") => answer.etag = value.trim_ascii(),
                // What stands behind the body cannot be made weak or left out any more.
                7 if is("trailer") => answer.fixed |= announces_bytes(value),
                _ => answer.fixed |= SPEAK_OF_BYTES.iter().any(|known| is(known)),
            }
        }
        answer
    }
}

/// Fields that speak of the bytes as they are (RFC 9530, RFC 9421).
const SPEAK_OF_BYTES: [&str; 5] =
    ["content-digest", "repr-digest", "content-md5", "digest", "signature"];

/// Whether Trailer names a field that speaks of the bytes, an entity tag included.
fn announces_bytes(value: &[u8]) -> bool {
    let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.any(|name| {
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        is(&"etag") || SPEAK_OF_BYTES.iter().any(is)
    })
}

/// Whether Cache-Control holds `no-transform` (RFC 9111 §5.2.2.6).
fn forbids(value: &[u8]) -> bool {
    let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    words.any(|word| {
        // An argument that it does not have is no reason to do what it forbids (RFC 9111 §5.2).
        let name = word.split(|byte| *byte == b'=').next().unwrap_or(&[]).trim_ascii_end();
        name.eq_ignore_ascii_case(b"no-transform")
    })
}

impl Compress {
    /// What becomes of an answer to this request.
    pub fn decide(&self, x: &Exchange, answer: &Answer<'_>) -> Decision {
        let request = x.request();
        let asked = |request: Request<'_>| {
            let values = request.head.fields.iter();
            let values = values.filter(|field| field.id == FieldName::AcceptEncoding);
            choose(values.map(|field| field.value.of(request.raw)), &self.codings)
        };
        let Choice { coding, must } = asked(request);
        let unchanged = answer.status == 304;
        // A 304 need not say of which type the answer is that it stands for.
        let untold = unchanged && answer.content_type.is_empty();
        let wanted = self.is_long(answer) && (untold || self.fits(answer.content_type)) || must;
        if !wanted || !Self::may_be(request, answer) {
            return Decision::default();
        }
        if self.may_hold_secret(x, answer) {
            // Another request for the same may get it compressed.
            return Decision { vary: true, ..Decision::default() };
        }
        if unchanged {
            // It updates what the client has stored: the compressed answer, unless the client knows the plain
            // one's tag and nothing here says that it would not get that one again.
            let weaken = coding.is_some() && !(untold && holds(request, answer.etag));
            return Decision { coding: None, weaken, vary: true, unmeasured: coding.is_some() };
        }
        Decision { coding, weaken: coding.is_some(), vary: true, unmeasured: false }
    }

    fn is_long(&self, answer: &Answer<'_>) -> bool {
        answer.length.is_none_or(|length| length >= self.bytes_min)
    }

    fn may_be(request: Request<'_>, answer: &Answer<'_>) -> bool {
        let has_body =
            !matches!(answer.status, 0..=199 | 204 | 205 | 206) && answer.length != Some(0);
        let forbidden = request.all(FieldName::CacheControl).any(forbids);
        has_body && !answer.coded && !answer.fixed && !forbidden
    }

    fn may_hold_secret(&self, x: &Exchange, answer: &Answer<'_>) -> bool {
        let request = x.request();
        // A browser shows its certificate to whoever's page asks, as it does a cookie.
        let certified = x.identity.as_ref().is_some_and(|one| one.client_cert().is_some());
        let authorized = certified || request.field(FieldName::Authorization).is_some();
        !self.with_authorization && authorized
            || !self.with_cookie && request.field(FieldName::Cookie).is_some()
            || !self.with_set_cookie && answer.sets_cookie
    }

    fn fits(&self, content_type: &[u8]) -> bool {
        let essence = content_type.split(|byte| *byte == b';').next().unwrap_or(&[]).trim_ascii();
        !essence.is_empty() && self.types.iter().any(|known| known.fits(essence))
    }
}

/// Whether the client has said to have the answer with just this tag.
fn holds(request: Request<'_>, etag: &[u8]) -> bool {
    let mut known =
        request.all(FieldName::IfNoneMatch).flat_map(|value| value.split(|b| *b == b','));
    !etag.is_empty() && known.any(|known| known.trim_ascii() == etag)
}

impl MediaType {
    fn fits(&self, essence: &[u8]) -> bool {
        let starts = |start: &str| {
            let head = essence.get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
        };
        let ends = |end: &str| {
            let tail = essence.len().checked_sub(end.len()).map(|at| &essence[at..]);
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
        };
        match self {
            Self::All => true,
            Self::Whole(start) => starts(start),
            Self::Suffix(start, end) => starts(start) && ends(end),
            Self::One(name) => essence.eq_ignore_ascii_case(name.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_fit_by_name_half_or_suffix() {
        let types = [
            MediaType::Whole("text/".into()),
            MediaType::Suffix("application/".into(), "+json".into()),
            MediaType::One("application/json".into()),
        ];
        let fits = |text: &str| types.iter().any(|known| known.fits(text.as_bytes()));
        for fine in
            ["text/html", "TEXT/Event-Stream", "application/problem+json", "application/JSON"]
        {
            assert!(fits(fine), "{fine}");
        }
        for other in ["image/png", "application/jsonp", "application/octet-stream", "+json", "tex"]
        {
            assert!(!fits(other), "{other}");
        }
    }

    #[test]
    fn what_must_not_change_is_told_by_its_fields() {
        let of = |name: &'static str, value: &'static str| {
            let fields = [(name.as_bytes(), value.as_bytes())];
            Answer::of(Status(200), None, fields.into_iter())
        };
        assert!(of("Cache-Control", "public, No-Transform").fixed);
        assert!(!of("Cache-Control", "public, no-transforms").fixed);
        assert!(of("Cache-Control", "no-transform=1, public").fixed);
        assert!(of("Trailer", "x-sum, Content-Digest").fixed && of("Trailer", "ETag").fixed);
        assert!(!of("Trailer", "x-sum").fixed && !of("ETag", "\"1\"").fixed);
        assert!(of("content-digest", "sha-256=:x:").fixed && of("Signature", "x").fixed);
        assert!(of("Content-Encoding", "gzip").coded && !of("Content-Encoding", "identity").coded);
        assert!(of("set-cookie", "a=b").sets_cookie);
    }
}
