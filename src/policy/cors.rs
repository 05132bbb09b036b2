//! Cross-origin requests: what a browser is told about them (Fetch standard, "HTTP extensions").
//!
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>. CORS protects nobody from anything: it *lifts* the
//! browser's own protection for origins that are named. So this never refuses an ordinary request (a program
//! that is no browser sends what Origin it likes); only a preflight is refused, with the reason, because a
//! browser that gets none shows its author nothing. The gateway's word replaces that of origin servers: two
//! Access-Control-Allow-Origin fields are none to a browser. An origin is compared byte for byte with its
//! serialisation (RFC 6454 §6.2), never as a URL: that is what browsers send.

use crate::http::chars;
use crate::http::head::Request;

/// Fields of an origin server that are left out where the gateway speaks for it.
pub const REPLACED: &[&str] = &[
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-allow-private-network",
];

/// The rules of one route.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Who may read answers.
    pub origins: Origins,
    /// Whether requests with cookies, certificates or HTTP authentication are among them.
    pub credentials: bool,
    /// Methods that a preflight may ask for; empty: those that the route takes.
    pub methods: Box<[Box<str>]>,
    /// Request fields beyond the safelisted ones.
    pub headers: Headers,
    /// Response fields that scripts see, as the value of one field; empty for the safelisted ones alone.
    pub exposed: Box<str>,
    /// How long a browser remembers a preflight. Unit: seconds, as text.
    pub max_age: Box<str>,
    /// Whether pages of public networks may ask this one, where it is private.
    pub private_network: bool,
}

/// Origins that may read answers.
#[derive(Clone, Debug)]
pub enum Origins {
    /// All of them; never with credentials.
    Any,
    /// Those that fit one of these.
    These(Box<[OriginPattern]>),
}

/// One or many origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// This one; `null`, too.
    Exact(Box<str>),
    /// Every host below a domain.
    Below {
        /// `https://`
        scheme: Box<str>,
        /// `.example.com`, with the port if it has one: `.example.com:8443`.
        suffix: Box<str>,
    },
    /// One host on every port: `http://localhost:*`.
    AnyPort(Box<str>),
}

/// Request fields that a preflight may ask for.
#[derive(Clone, Debug)]
pub enum Headers {
    /// Whatever it asks for.
    Any,
    /// These, in lower case.
    These(Box<[Box<str>]>),
}

/// Why a preflight is refused; the words are those of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The origin is not among those allowed.
    Origin,
    /// The method is not.
    Method,
    /// One of the request fields is not.
    Header,
    /// The page's network is a public one and this is not for it.
    PrivateNetwork,
}

impl Refused {
    /// One word for the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Origin => "cors_origin",
            Self::Method => "cors_method",
            Self::Header => "cors_header",
            Self::PrivateNetwork => "cors_private_network",
        }
    }

    /// What the author of the page is told.
    pub fn detail(word: &str) -> Option<&'static str> {
        Some(match word {
            "cors_origin" => {
                "CORS preflight: pages of this origin may not ask here. The gateway's `cors.origins` names those that may."
            }
            "cors_method" => {
                "CORS preflight: this method is not allowed from other origins; Access-Control-Allow-Methods names those that are."
            }
            "cors_header" => {
                "CORS preflight: one of the request's header fields is not allowed from other origins; Access-Control-Allow-Headers names those that are."
            }
            "cors_private_network" => {
                "CORS preflight: pages of public networks may not ask here; the gateway's `cors.private_network` is not set."
            }
            _ => return None,
        })
    }
}

/// What a preflight asks for.
#[derive(Clone, Copy, Debug)]
pub struct Preflight<'a> {
    /// Where the page is from.
    pub origin: &'a [u8],
    /// The method of the request that would follow.
    pub method: &'a [u8],
}

impl<'a> Preflight<'a> {
    /// The preflight that an OPTIONS request is, if it is one.
    pub fn of(request: Request<'a>) -> Option<Self> {
        let origin = request.field_named(b"origin")?;
        let method = request.field_named(b"access-control-request-method")?;
        chars::is_token(method).then_some(Self { origin, method })
    }
}

impl Cors {
    /// Appends the lines that every answer to this request has.
    pub fn lines(&self, request: Request<'_>, out: &mut Vec<u8>) {
        match self.granted(request.field_named(b"origin")) {
            Granted::Any => out.extend_from_slice(b"access-control-allow-origin: *\r\n"),
            Granted::This(origin) => {
                put(out, "access-control-allow-origin", &[origin]);
                out.extend_from_slice(b"vary: origin\r\n");
            }
            // Without it a cache would give the next page an answer that is not for it.
            Granted::No => return out.extend_from_slice(b"vary: origin\r\n"),
        }
        if self.credentials {
            out.extend_from_slice(b"access-control-allow-credentials: true\r\n");
        }
        if !self.exposed.is_empty() {
            put(out, "access-control-expose-headers", &[self.exposed.as_bytes()]);
        }
    }

    /// Decides about a preflight and appends the lines of its answer, which say what is allowed either way.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn preflight(
        &self,
        request: Request<'_>,
        asked: Preflight<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        out.extend_from_slice(
            b"vary: origin, access-control-request-method, access-control-request-headers\r\n",
        );
        let origin: &[u8] = match self.granted(Some(asked.origin)) {
            Granted::Any => b"*",
            Granted::This(origin) => origin,
            Granted::No => return Err(Refused::Origin),
        };
        put(out, "access-control-allow-origin", &[origin]);
        if self.credentials {
            out.extend_from_slice(b"access-control-allow-credentials: true\r\n");
        }
        let method = self.put_methods(asked.method, out);
        let headers = self.put_headers(request, out);
        let network = self.put_private_network(request, out);
        if !method {
            return Err(Refused::Method);
        }
        if !headers {
            return Err(Refused::Header);
        }
        if !network {
            return Err(Refused::PrivateNetwork);
        }
        put(out, "access-control-max-age", &[self.max_age.as_bytes()]);
        Ok(())
    }

    /// Whether a page of this origin may read answers.
    pub fn permits(&self, origin: &[u8]) -> bool {
        !matches!(self.granted(Some(origin)), Granted::No)
    }

    fn granted<'o>(&self, origin: Option<&'o [u8]>) -> Granted<'o> {
        let Origins::These(patterns) = &self.origins else { return Granted::Any };
        let known = |origin: &&[u8]| patterns.iter().any(|pattern| pattern.fits(origin));
        origin.filter(known).map_or(Granted::No, Granted::This)
    }

    /// Whether the method is allowed. A route is found for it, so that without a list it is.
    fn put_methods(&self, asked: &[u8], out: &mut Vec<u8>) -> bool {
        if self.methods.is_empty() {
            put(out, "access-control-allow-methods", &[asked]);
            return true;
        }
        put_list(out, "access-control-allow-methods", &self.methods);
        self.methods.iter().any(|method| method.as_bytes() == asked)
    }

    fn put_headers(&self, request: Request<'_>, out: &mut Vec<u8>) -> bool {
        let asked = || {
            let values = request.all_named(b"access-control-request-headers");
            values.flat_map(|value| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
        };
        let asked = || asked().filter(|name| !name.is_empty());
        match &self.headers {
            Headers::These(names) => {
                if !names.is_empty() {
                    put_list(out, "access-control-allow-headers", names);
                }
                let known = |asked: &[u8]| {
                    names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(asked))
                };
                asked().all(known)
            }
            Headers::Any => {
                let fine = asked().all(chars::is_token);
                if fine && asked().next().is_some() {
                    out.extend_from_slice(b"access-control-allow-headers: ");
                    for (index, name) in asked().enumerate() {
                        out.extend_from_slice(if index == 0 { b"" } else { b", " });
                        out.extend_from_slice(name);
                    }
                    out.extend_from_slice(b"\r\n");
                }
                fine
            }
        }
    }

    /// <https://wicg.github.io/private-network-access/>: asked of servers in private networks only.
    fn put_private_network(&self, request: Request<'_>, out: &mut Vec<u8>) -> bool {
        let asked = request.field_named(b"access-control-request-private-network");
        if asked != Some(b"true") {
            return true;
        }
        if self.private_network {
            out.extend_from_slice(b"access-control-allow-private-network: true\r\n");
        }
        self.private_network
    }
}

/// What an origin is told.
enum Granted<'o> {
    Any,
    This(&'o [u8]),
    No,
}

impl OriginPattern {
    /// Whether an origin, as a browser writes it, is meant.
    pub fn fits(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(known) => known.as_bytes() == origin,
            Self::Below { scheme, suffix } => {
                let host = origin.strip_prefix(scheme.as_bytes());
                let labels = host.and_then(|host| host.strip_suffix(suffix.as_bytes()));
                labels.is_some_and(|labels| !labels.is_empty() && labels.iter().all(is_label_byte))
            }
            Self::AnyPort(start) => {
                let port = origin.strip_prefix(start.as_bytes());
                port.is_some_and(|port| match port {
                    [] => true,
                    [b':', digits @ ..] => {
                        (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
                    }
                    _ => false,
                })
            }
        }
    }
}

/// What a host below a domain is made of; a `:` or `/` would make it another one.
fn is_label_byte(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
}

fn put(out: &mut Vec<u8>, name: &str, value: &[&[u8]]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    value.iter().for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(b"\r\n");
}

fn put_list(out: &mut Vec<u8>, name: &str, values: &[Box<str>]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    for (index, value) in values.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"" } else { b", " });
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_fits_by_its_bytes_and_nothing_that_only_looks_alike_does() {
        let exact = OriginPattern::Exact("https://app.example.com".into());
        assert!(exact.fits(b"https://app.example.com"));
        for other in [
            "http://app.example.com",
            "https://app.example.com:443",
            "https://app.example.com.evil",
        ] {
            assert!(!exact.fits(other.as_bytes()), "{other}");
        }
        let below =
            OriginPattern::Below { scheme: "https://".into(), suffix: ".example.com".into() };
        for fine in ["https://a.example.com", "https://a.b-c.example.com"] {
            assert!(below.fits(fine.as_bytes()), "{fine}");
        }
        for other in [
            "https://example.com",
            "https://.example.com",
            "https://evil-example.com",
            "https://evil.com/.example.com",
            "https://evil.com:80.example.com",
            "https://user@a.example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "null",
        ] {
            assert!(!below.fits(other.as_bytes()), "{other}");
        }
        let local = OriginPattern::AnyPort("http://localhost".into());
        assert!(local.fits(b"http://localhost:5173") && local.fits(b"http://localhost"));
        for other in
            ["http://localhost.evil.com", "http://localhost:5173.evil", "http://localhost:"]
        {
            assert!(!local.fits(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn every_refusal_is_explained() {
        for why in [Refused::Origin, Refused::Method, Refused::Header, Refused::PrivateNetwork] {
            assert!(Refused::detail(why.word()).is_some(), "{why:?}");
        }
        assert_eq!(Refused::detail("rate_limited"), None);
    }
}
