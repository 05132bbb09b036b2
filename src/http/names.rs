//! The known field names, once, with what an intermediary must know of each.
//!
//! A field is looked up here once, when its head is parsed; field names are never compared again on the
//! hot path. RFC 9110 §18.4 and the IANA field name registry. Lookup goes by length, then the first four
//! letters: no length has more than five names, and a hash was no faster.

use self::FieldName as F;
use crate::http::chars;

/// A field name that the gateway acts on; everything else is `Other` and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the field of that name")]
pub enum FieldName {
    Other,
    AcceptEncoding,
    Age,
    Authorization,
    CacheControl,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Etag,
    Expect,
    Expires,
    Forwarded,
    GatewayPartial,
    Host,
    IfModifiedSince,
    IfNoneMatch,
    KeepAlive,
    Location,
    MaxForwards,
    Pragma,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    ProxyStatus,
    Range,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    Vary,
    Via,
    WwwAuthenticate,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XOriginalUrl,
    XRealIp,
    XRequestId,
    XRewriteUrl,
    /// Not a name but a disguise: odd bytes (`_`, `.` and the like) in what a sloppy reader would take
    /// for a known name, such as `X_Forwarded_For`; or a forwarding field of somebody who is not trusted.
    /// Never forwarded and never found by name.
    LookAlike,
}

/// Every name that has a spelling, in the order of the enum.
const SPELLINGS: [(FieldName, &str); 47] = [
    (F::AcceptEncoding, "accept-encoding"),
    (F::Age, "age"),
    (F::Authorization, "authorization"),
    (F::CacheControl, "cache-control"),
    (F::Connection, "connection"),
    (F::ContentEncoding, "content-encoding"),
    (F::ContentLength, "content-length"),
    (F::ContentType, "content-type"),
    (F::Cookie, "cookie"),
    (F::Date, "date"),
    (F::Etag, "etag"),
    (F::Expect, "expect"),
    (F::Expires, "expires"),
    (F::Forwarded, "forwarded"),
    (F::GatewayPartial, "gateway-partial"),
    (F::Host, "host"),
    (F::IfModifiedSince, "if-modified-since"),
    (F::IfNoneMatch, "if-none-match"),
    (F::KeepAlive, "keep-alive"),
    (F::Location, "location"),
    (F::MaxForwards, "max-forwards"),
    (F::Pragma, "pragma"),
    (F::ProxyAuthenticate, "proxy-authenticate"),
    (F::ProxyAuthorization, "proxy-authorization"),
    (F::ProxyConnection, "proxy-connection"),
    (F::ProxyStatus, "proxy-status"),
    (F::Range, "range"),
    (F::RetryAfter, "retry-after"),
    (F::Server, "server"),
    (F::SetCookie, "set-cookie"),
    (F::Te, "te"),
    (F::Traceparent, "traceparent"),
    (F::Tracestate, "tracestate"),
    (F::Trailer, "trailer"),
    (F::TransferEncoding, "transfer-encoding"),
    (F::Upgrade, "upgrade"),
    (F::Vary, "vary"),
    (F::Via, "via"),
    (F::WwwAuthenticate, "www-authenticate"),
    (F::XForwardedFor, "x-forwarded-for"),
    (F::XForwardedHost, "x-forwarded-host"),
    (F::XForwardedPort, "x-forwarded-port"),
    (F::XForwardedProto, "x-forwarded-proto"),
    (F::XOriginalUrl, "x-original-url"),
    (F::XRealIp, "x-real-ip"),
    (F::XRequestId, "x-request-id"),
    (F::XRewriteUrl, "x-rewrite-url"),
];

impl FieldName {
    /// The field with this name, compared without case; `Other` when it is not a known one.
    #[inline]
    pub fn of(name: &[u8]) -> FieldName {
        let found = match name.first_chunk::<4>() {
            Some(four) => {
                let four = u32::from_ne_bytes(*four) | 0x2020_2020;
                let alike = by_length(name.len()).iter().filter(|known| known.four == four);
                alike.into_iter().find(|known| same_but_case(name, known.spelling))
            }
            None => by_length(name.len()).iter().find(|known| same_short(name, known.spelling)),
        };
        found.map_or(F::Other, |known| known.name)
    }

    /// Like [`FieldName::of`] for a name with bytes other than letters, digits and `-`: `LookAlike` when
    /// it is a known name but for such bytes, whether they stand for a `-` or are simply dropped.
    pub(crate) fn disguised(name: &[u8]) -> (FieldName, FieldName) {
        let alike = SPELLINGS.iter().find(|(_, known)| looks_like(name, known.as_bytes()));
        match alike {
            Some((known, _)) => (F::LookAlike, *known),
            None => (F::Other, F::Other),
        }
    }

    /// Whether a sloppy reader would take `name` for `known`, which is in lower case, although odd bytes
    /// stand in it.
    pub fn is_disguise(name: &[u8], known: &[u8]) -> bool {
        looks_like(name, known)
    }

    /// Whether `name` is `known`, which is in lower case, in any spelling that some reader takes for it: other case,
    /// `_` or `.` for `-` (CGI, WSGI), or odd bytes that are dropped.
    pub fn is_spelling(name: &[u8], known: &[u8]) -> bool {
        let same = |(a, b): (&u8, &u8)| {
            a.eq_ignore_ascii_case(b) || !a.is_ascii_alphanumeric() && !b.is_ascii_alphanumeric()
        };
        name.len() == known.len() && name.iter().zip(known).all(same) || looks_like(name, known)
    }

    /// The name in lower case; empty for `Other` and `LookAlike`.
    pub fn as_str(self) -> &'static str {
        match self {
            F::Other | F::LookAlike => "",
            known => SPELLINGS[known as usize - 1].1,
        }
    }

    /// Whether it speaks of one connection only and is never forwarded as received (RFC 9110 §7.6.1).
    pub fn is_hop_by_hop(self) -> bool {
        FieldSet::HOP_BY_HOP.has(self)
    }
}

/// A set of known field names: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FieldSet(u64);

const _: () = assert!((F::LookAlike as u8) < 64, "a field name must have a bit in FieldSet");

impl FieldSet {
    /// No name.
    pub const EMPTY: FieldSet = FieldSet(0);
    /// The fields of RFC 9110 §7.6.1 and its ancestors. `Trailer` is not among them: it describes the
    /// message, and is kept where the body stays chunked.
    pub const HOP_BY_HOP: FieldSet = FieldSet::of(&[
        F::Connection,
        F::KeepAlive,
        F::ProxyAuthenticate,
        F::ProxyAuthorization,
        F::ProxyConnection,
        F::Te,
        F::TransferEncoding,
        F::Upgrade,
    ]);

    /// What proxies say about the client. Believed from trusted ones alone.
    pub const FORWARDING: FieldSet = FieldSet::of(&[
        F::Forwarded,
        F::XForwardedFor,
        F::XForwardedHost,
        F::XForwardedPort,
        F::XForwardedProto,
        F::XOriginalUrl,
        F::XRealIp,
        F::XRewriteUrl,
    ]);

    /// The set of these names.
    pub const fn of(names: &[FieldName]) -> FieldSet {
        let mut bits = 0;
        let mut at = 0;
        while at < names.len() {
            bits |= 1 << names[at] as u8;
            at += 1;
        }
        FieldSet(bits)
    }

    /// Both sets together.
    pub const fn with(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 | other.0)
    }

    /// This set without the names of the other.
    pub const fn without(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 & !other.0)
    }

    /// This set, and the name if the condition holds.
    pub(crate) const fn with_if(self, condition: bool, name: FieldName) -> FieldSet {
        FieldSet(self.0 | (condition as u64) << name as u8)
    }

    /// Whether the name is in the set.
    #[inline]
    pub const fn has(self, name: FieldName) -> bool {
        self.0 >> (name as u8) & 1 == 1
    }
}

/// A known name, ready to be compared.
struct Known {
    name: FieldName,
    /// Its first four bytes, as they lie in memory; zero for a shorter name.
    four: u32,
    spelling: &'static [u8],
}

/// The known names, each length by itself.
macro_rules! known {
    ($($name:ident),*) => {
        const { &[$(Known::of(F::$name)),*] }
    };
}

impl Known {
    const fn of(name: FieldName) -> Self {
        let spelling = SPELLINGS[name as usize - 1].1.as_bytes();
        let four = match spelling.first_chunk::<4>() {
            Some(four) => u32::from_ne_bytes(*four),
            None => 0,
        };
        Self { name, four, spelling }
    }
}

/// The known names of one length.
#[inline]
fn by_length(length: usize) -> &'static [Known] {
    match length {
        2 => known![Te],
        3 => known![Via, Age],
        4 => known![Host, Date, Etag, Vary],
        5 => known![Range],
        6 => known![Cookie, Server, Expect, Pragma],
        7 => known![Upgrade, Trailer, Expires],
        8 => known![Location],
        9 => known![Forwarded, XRealIp],
        10 => known![Connection, KeepAlive, SetCookie, Tracestate],
        11 => known![Traceparent, RetryAfter],
        12 => known![ContentType, XRequestId, ProxyStatus, MaxForwards],
        13 => known![Authorization, CacheControl, IfNoneMatch, XRewriteUrl],
        14 => known![ContentLength, XOriginalUrl],
        15 => known![AcceptEncoding, XForwardedFor, GatewayPartial],
        16 => known![
            ContentEncoding,
            XForwardedHost,
            XForwardedPort,
            WwwAuthenticate,
            ProxyConnection
        ],
        17 => known![IfModifiedSince, TransferEncoding, XForwardedProto],
        18 => known![ProxyAuthenticate],
        19 => known![ProxyAuthorization],
        _ => &[],
    }
}

/// Whether `name` is `known`, which is in lower case, as long, and of four bytes or more. Word by word, the last
/// word overlapping the one before.
#[inline]
fn same_but_case(name: &[u8], known: &[u8]) -> bool {
    let Some((first, first_known)) = name.first_chunk::<8>().zip(known.first_chunk::<8>()) else {
        let ends = name.first_chunk::<4>().zip(name.last_chunk::<4>());
        let known_ends = known.first_chunk::<4>().zip(known.last_chunk::<4>());
        return ends.zip(known_ends).is_some_and(|(name, known)| {
            let both = |(a, b): (&[u8; 4], &[u8; 4])| {
                u64::from(u32::from_ne_bytes(*a)) | u64::from(u32::from_ne_bytes(*b)) << 32
            };
            is_spelt(both(name), both(known))
        });
    };
    let same =
        |(a, b): (&[u8; 8], &[u8; 8])| is_spelt(u64::from_ne_bytes(*a), u64::from_ne_bytes(*b));
    let last = name.last_chunk::<8>().zip(known.last_chunk::<8>());
    let middle = || {
        name.chunks_exact(8)
            .zip(known.chunks_exact(8))
            .all(|(a, b)| a.first_chunk::<8>().zip(b.first_chunk::<8>()).is_some_and(same))
    };
    same((first, first_known)) && last.is_some_and(same) && (name.len() <= 16 || middle())
}

/// The same for the names of two and three letters.
fn same_short(name: &[u8], known: &[u8]) -> bool {
    name.iter().zip(known).all(|(a, b)| a.to_ascii_lowercase() == *b)
}

/// Whether eight bytes are `known` but for the case of letters. Bit 5 of a letter is its case; a `-` has it, and the
/// control byte that would pass for one has neither that nor bit 6, which all letters have.
#[inline]
fn is_spelt(word: u64, known: u64) -> bool {
    const BIT: u64 = 0x2020_2020_2020_2020;
    word | BIT == known && (word | word >> 1) & BIT == BIT
}

/// Whether `name` is `known` once case, `-` and every odd byte are left out of both.
fn looks_like(name: &[u8], known: &[u8]) -> bool {
    let mut wanted = known.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    for letter in letters {
        match wanted.next() {
            Some(other) if letter.to_ascii_lowercase() == *other => {}
            _ => return false,
        }
    }
    wanted.next().is_none() && !chars::all(name, chars::PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (at, (name, spelling)) in SPELLINGS.iter().enumerate() {
            assert_eq!(*name as usize, at + 1);
            assert_eq!(name.as_str(), *spelling);
            assert_eq!(FieldName::of(spelling.as_bytes()), *name);
            assert_eq!(FieldName::of(spelling.to_uppercase().as_bytes()), *name);
        }
        assert_eq!(FieldName::of(b"x-thing"), F::Other);
        assert_eq!(FieldName::of(b""), F::Other);
        assert_eq!(FieldName::of(b"hos"), F::Other);
        assert_eq!(FieldName::of(b"content\x0dlength"), F::Other);
        assert_eq!(FieldName::of(b"te"), F::Te);
        assert_eq!(FieldName::of(b"cooki"), F::Other);
        for (name, spelling) in SPELLINGS {
            for at in 0..spelling.len() {
                for byte in 0..=255u8 {
                    let mut other = spelling.as_bytes().to_vec();
                    other[at] = byte;
                    let same = other.eq_ignore_ascii_case(spelling.as_bytes());
                    assert!(same || FieldName::of(&other) != name, "{}", other.escape_ascii());
                }
            }
        }
        assert_eq!(FieldName::of(b"transfer-encodinh"), F::Other);
        assert_eq!(FieldName::of(b"transfer-xncoding"), F::Other);
    }

    #[test]
    fn names_with_odd_bytes_are_recognised_as_disguises() {
        let framing: [&[u8]; 4] = [
            b"Transfer_Encoding",
            b"Transfer-Encoding!",
            b"Transfer.-encoding",
            b"_transfer-Encoding",
        ];
        for name in framing {
            assert_eq!(FieldName::disguised(name), (F::LookAlike, F::TransferEncoding));
        }
        assert_eq!(FieldName::disguised(b"x_forwarded_for"), (F::LookAlike, F::XForwardedFor));
        assert_eq!(FieldName::disguised(b"x_thing").0, F::Other);
    }

    #[test]
    fn one_name_has_many_spellings() {
        let names: [&[u8]; 6] =
            [b"x-user", b"X-USER", b"X_User", b"x.user", b"x_-user", b"x-user!"];
        for name in names {
            assert!(FieldName::is_spelling(name, b"x-user"), "{}", name.escape_ascii());
        }
        assert!(FieldName::is_spelling(b"X-User", b"x_user"));
        let others: [&[u8]; 5] = [b"x-users", b"xuser", b"x-use", b"x-user-id", b""];
        for name in others {
            assert!(!FieldName::is_spelling(name, b"x-user"), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn hop_by_hop_fields_are_those_of_the_rfc() {
        assert!(F::Connection.is_hop_by_hop() && F::Upgrade.is_hop_by_hop());
        assert!(
            !F::Host.is_hop_by_hop() && !F::Other.is_hop_by_hop() && !F::Trailer.is_hop_by_hop()
        );
    }
}
