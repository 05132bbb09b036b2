//! A request in HTTP/2 as the text of a head in HTTP/1.1 (RFC 9113 §8.2, §8.3).
//!
//! The text goes through the parser that judges everybody's heads, so that what it refuses is refused here, too.
//! This file refuses what would be lost on the way to it, and never puts a byte into the text that could end a
//! line. Where RFC 9113 says "malformed", nothing is mended.

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request};

use crate::base::buffer::Buf;

/// Why a request is malformed, or cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// `:authority` and Host differ (§8.3.1), or there are several of Host.
    Authority,
    /// Neither is there.
    NoAuthority,
    /// `:path` is no path (§8.3.1).
    Path,
    /// `:scheme` is neither `http` nor `https`.
    Scheme,
    /// A field that belongs to a connection (§8.2.2).
    ConnectionField,
    /// A value that begins or ends with white space, or has bytes that none may have (§8.2.1).
    FieldValue,
    /// `:protocol` names one that is not spoken here (RFC 8441).
    Protocol,
    /// It does not fit a buffer.
    TooLarge,
}

impl Malformed {
    /// The same in one word, for the access log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::NoAuthority => "no_host",
            Self::Path => "target",
            Self::Scheme => "scheme",
            Self::ConnectionField => "connection_field",
            Self::FieldValue => "field_value",
            Self::Protocol => "protocol",
            Self::TooLarge => "head_bytes_max",
        }
    }
}

/// How the body of a request is told in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There is none, or it has a length.
    Length,
    /// In chunks, for its length is not known.
    Chunks,
    /// What follows are bytes of another protocol.
    Tunnel,
}

/// The word for content that is not as long as it was said to be, for the access log.
pub const LENGTH: &str = "content_length";

/// Fields that HTTP/2 does not have (§8.2.2), and the one that begins it (RFC 7540 §3.2.1).
const OF_CONNECTIONS: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// The only protocol that an extended CONNECT may ask for (RFC 8441 §5).
const WEBSOCKET: &str = "websocket";

/// Writes the head of `request` into `out` as HTTP/1.1. `ended` says that no body follows; `protocol` is that of
/// an extended CONNECT, whose handshake gets `key`. What was written before an error is no whole head.
///
/// # Errors
/// It is malformed, or too large.
pub fn text<B>(
    out: &mut Buf,
    request: &Request<B>,
    ended: bool,
    protocol: Option<&str>,
    key: &str,
) -> Result<Told, Malformed> {
    let fields = request.headers();
    let connects = request.method() == Method::CONNECT;
    let authority = authority(request);
    let method = if protocol.is_some() { "GET" } else { request.method().as_str() };
    let path = request.uri().path_and_query().map(|path| path.as_str().as_bytes());
    let target = match path {
        _ if connects && protocol.is_none() => authority?,
        Some(path) if is_path(path, request.method()) => path,
        _ => return Err(Malformed::Path),
    };
    // The line comes first, so that the log knows what was asked for, however it is refused.
    put(out, &[method.as_bytes(), b" ", target, b" HTTP/1.1\r\n"])?;
    if request.uri().scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Malformed::Scheme);
    }
    put(out, &[b"host: ", authority?, b"\r\n"])?;
    put_fields(out, fields, protocol.is_some())?;
    let told = match protocol {
        Some(name) if name.eq_ignore_ascii_case(WEBSOCKET) => {
            put(out, &[b"connection: upgrade\r\nupgrade: websocket\r\n"])?;
            put(out, &[b"sec-websocket-key: ", key.as_bytes(), b"\r\n"])?;
            Told::Tunnel
        }
        Some(_) => return Err(Malformed::Protocol),
        None if connects => Told::Tunnel,
        None if ended || fields.contains_key(header::CONTENT_LENGTH) => Told::Length,
        None => {
            put(out, &[b"transfer-encoding: chunked\r\n"])?;
            Told::Chunks
        }
    };
    put(out, &[b"\r\n"])?;
    Ok(told)
}

/// The one authority of a request: `:authority`, or else Host, and both only when they are the same (§8.3.1).
fn authority<B>(request: &Request<B>) -> Result<&[u8], Malformed> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let said = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    match (said, hosts.next(), hosts.next()) {
        (_, _, Some(_)) => Err(Malformed::Authority),
        (Some(said), Some(host), None) if !said.eq_ignore_ascii_case(host.as_bytes()) => {
            Err(Malformed::Authority)
        }
        (Some(said), _, None) => Ok(said),
        (None, Some(host), None) if is_plain(host.as_bytes()) => Ok(host.as_bytes()),
        (None, Some(_), None) => Err(Malformed::FieldValue),
        (None, None, None) => Err(Malformed::NoAuthority),
    }
}

/// Origin-form only: an absolute target here would be a second authority.
fn is_path(path: &[u8], method: &Method) -> bool {
    let asterisk = path == b"*" && method == Method::OPTIONS;
    let clean = path.iter().all(|&byte| byte > b' ' && byte != 0x7f && byte != b'#');
    asterisk || (path.first() == Some(&b'/') && clean)
}

/// Every field but Host, crumbs of cookies in one line (§8.2.3). The handshake of an extended CONNECT has a key of ours,
/// beside which a client's own would make two (RFC 8441 §5).
fn put_fields(out: &mut Buf, fields: &HeaderMap, extended: bool) -> Result<(), Malformed> {
    let mut cookies = false;
    for (name, value) in fields {
        check(name, value)?;
        if *name == header::HOST || (extended && *name == header::SEC_WEBSOCKET_KEY) {
            continue;
        }
        if *name == header::COOKIE {
            if !std::mem::replace(&mut cookies, true) {
                put_cookies(out, fields)?;
            }
            continue;
        }
        put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"])?;
    }
    Ok(())
}

fn put_cookies(out: &mut Buf, fields: &HeaderMap) -> Result<(), Malformed> {
    let mut between: &[u8] = b"cookie: ";
    for crumb in fields.get_all(header::COOKIE) {
        put(out, &[between, crumb.as_bytes()])?;
        between = b"; ";
    }
    put(out, &[b"\r\n"])
}

/// Refuses a field that HTTP/2 does not have, or whose value could be read in two ways (§8.2).
pub(super) fn check(name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
    if OF_CONNECTIONS.contains(&name.as_str()) {
        return Err(Malformed::ConnectionField);
    }
    if *name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
        return Err(Malformed::ConnectionField);
    }
    if is_plain(value.as_bytes()) { Ok(()) } else { Err(Malformed::FieldValue) }
}

/// Whether a value has no white space around it, and no control byte but tabs.
fn is_plain(value: &[u8]) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    !space(value.first()) && !space(value.last()) && !value.iter().any(control)
}

/// The trailers of a request, as lines. Those that a trailer must not have are left out by who decodes chunks.
///
/// # Errors
/// They are malformed, or too large.
pub fn trailer_lines(out: &mut Buf, trailers: &HeaderMap) -> Result<(), Malformed> {
    for (name, value) in trailers {
        check(name, value)?;
        put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"])?;
    }
    Ok(())
}

pub(super) fn put(out: &mut Buf, pieces: &[&[u8]]) -> Result<(), Malformed> {
    for piece in pieces {
        if !out.put(piece) {
            return Err(Malformed::TooLarge);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
