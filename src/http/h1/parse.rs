//! Request and response heads: bytes to spans (RFC 9112 §2 to §6).
//!
//! One strict pass over the head. It must never accept what two readers could read differently: bare CR
//! or LF, NUL and other control bytes, folded lines, space before a colon, several or malformed framing
//! fields, a second Host, look-alikes of any of them. RFC 9112 lets a recipient repair some of these; we
//! refuse, because the origin behind us may repair them otherwise. Tolerated: one empty line before a
//! request (§2.2), a status line without reason and its space (§4), obs-text in values (RFC 9110 §5.5).

use crate::base::limits::{FIELDS_CEILING, FIELDS_MAX, HEAD_BYTES_MAX, TARGET_BYTES_MAX};
use crate::base::span::Span;
use crate::http::framing::{self, BodyLength};
use crate::http::h1::fields::{self, Marks, Sender};
use crate::http::h1::scan::{self, Scanned};
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::target::{self, Authority};
use crate::http::{Method, Status, Version, chars};

/// Bounds on a head. They hold while it is still arriving, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head with its empty line. Unit: bytes.
    pub head_bytes_max: u32,
    /// Field lines; at most `FIELDS_CEILING` whatever is asked.
    pub fields_max: u32,
    /// The request target. Unit: bytes.
    pub target_bytes_max: u32,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: HEAD_BYTES_MAX as u32,
            fields_max: FIELDS_MAX as u32,
            target_bytes_max: TARGET_BYTES_MAX as u32,
        }
    }
}

impl HeadLimits {
    pub(super) fn fields_ceiling(&self) -> usize {
        (self.fields_max as usize).min(FIELDS_CEILING)
    }
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed; the head given is in no useful state.
    Partial,
    /// The head is whole and filled in; its `bytes` are to be consumed.
    Done,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is not HTTP, or could be read in more than one way.
    Malformed(Why),
    /// Longer than `head_bytes_max`.
    TooLarge,
    /// More lines than `fields_max`.
    TooManyFields,
    /// Target longer than `target_bytes_max`.
    TargetTooLong,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A transfer coding other than chunked.
    NotImplemented,
    /// An expectation other than 100-continue (RFC 9110 §10.1.1).
    Expectation,
}

impl HeadError {
    /// The status that answers it when a client sent the head; the connection closes after each.
    pub fn status(self) -> Status {
        match self {
            HeadError::Malformed(_) => Status(400),
            HeadError::TooLarge | HeadError::TooManyFields => Status(431),
            HeadError::TargetTooLong => Status(414),
            HeadError::Version => Status(505),
            HeadError::NotImplemented => Status(501),
            HeadError::Expectation => Status(417),
        }
    }

    /// A short text for logs.
    pub fn text(self) -> &'static str {
        match self {
            HeadError::Malformed(why) => why.text(),
            HeadError::TooLarge => "head too large",
            HeadError::TooManyFields => "too many fields",
            HeadError::TargetTooLong => "target too long",
            HeadError::Version => "version not supported",
            HeadError::NotImplemented => "transfer coding not implemented",
            HeadError::Expectation => "unknown expectation",
        }
    }

    /// The same in one word, for the access log; where a bound was met, the bound's name.
    pub fn word(self) -> &'static str {
        match self {
            HeadError::Malformed(why) => why.word(),
            HeadError::TooLarge => "head_bytes_max",
            HeadError::TooManyFields => "fields_max",
            HeadError::TargetTooLong => "target_bytes_max",
            HeadError::Version => "version",
            HeadError::NotImplemented => "transfer_coding",
            HeadError::Expectation => "expectation",
        }
    }
}

/// What is malformed about a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`text` says what each one is")]
pub enum Why {
    BareCr,
    BareLf,
    Nul,
    ControlByte,
    EmptyLines,
    Method,
    Target,
    RequestLine,
    StatusLine,
    FoldedLine,
    NoColon,
    SpaceInName,
    EmptyName,
    BadName,
    LookAlikeField,
    ContentLength,
    SeveralContentLengths,
    TransferEncoding,
    SeveralTransferEncodings,
    BothLengths,
    TransferEncodingInOldVersion,
    NoHost,
    SeveralHosts,
    Host,
    ConnectionOptions,
}

impl Why {
    /// A short text for logs.
    pub fn text(self) -> &'static str {
        match self {
            Why::BareCr => "CR without LF",
            Why::BareLf => "LF without CR",
            Why::Nul => "NUL",
            Why::ControlByte => "control byte",
            Why::EmptyLines => "more than one empty line before the request line",
            Why::Method => "method is not a token",
            Why::Target => "malformed target",
            Why::RequestLine => "malformed request line",
            Why::StatusLine => "malformed status line",
            Why::FoldedLine => "folded line or whitespace before a field name",
            Why::NoColon => "field line without colon",
            Why::SpaceInName => "whitespace in or after a field name",
            Why::EmptyName => "empty field name",
            Why::BadName => "byte not allowed in a field name",
            Why::LookAlikeField => "field name that looks like a framing field",
            Why::ContentLength => "malformed Content-Length",
            Why::SeveralContentLengths => "more than one Content-Length",
            Why::TransferEncoding => "malformed Transfer-Encoding, or chunked not final and once",
            Why::SeveralTransferEncodings => "more than one Transfer-Encoding",
            Why::BothLengths => "Transfer-Encoding and Content-Length",
            Why::TransferEncodingInOldVersion => "Transfer-Encoding in HTTP/1.0",
            Why::NoHost => "no Host",
            Why::SeveralHosts => "more than one Host",
            Why::Host => "malformed Host",
            Why::ConnectionOptions => "too many connection options",
        }
    }

    /// The same in one word.
    pub fn word(self) -> &'static str {
        match self {
            Why::BareCr => "bare_cr",
            Why::BareLf => "bare_lf",
            Why::Nul => "nul",
            Why::ControlByte => "control_byte",
            Why::EmptyLines => "empty_lines",
            Why::Method => "method",
            Why::Target => "target",
            Why::RequestLine => "request_line",
            Why::StatusLine => "status_line",
            Why::FoldedLine => "folded_line",
            Why::NoColon => "no_colon",
            Why::SpaceInName => "space_in_name",
            Why::EmptyName => "empty_name",
            Why::BadName => "bad_name",
            Why::LookAlikeField => "look_alike_field",
            Why::ContentLength => "content_length",
            Why::SeveralContentLengths => "several_content_lengths",
            Why::TransferEncoding => "transfer_encoding",
            Why::SeveralTransferEncodings => "several_transfer_encodings",
            Why::BothLengths => "both_lengths",
            Why::TransferEncodingInOldVersion => "transfer_encoding_in_http_1_0",
            Why::NoHost => "no_host",
            Why::SeveralHosts => "several_hosts",
            Why::Host => "host",
            Why::ConnectionOptions => "connection_options",
        }
    }

    /// The reason for a control byte that stands where it may not.
    pub(super) fn control(byte: u8) -> Why {
        match byte {
            b'\r' => Why::BareCr,
            b'\n' => Why::BareLf,
            0 => Why::Nul,
            _ => Why::ControlByte,
        }
    }
}

/// Parses a request head at the start of `raw`. `seen` bytes of it were there when an earlier call
/// answered `Partial`; only the others are looked at until the end of the head has come. An empty line
/// before the request line is tolerated once and counted in `head.bytes`.
///
/// # Errors
/// The head is refused and the connection must be closed after the answer.
pub fn request(
    raw: &[u8],
    seen: usize,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Parsed, HeadError> {
    arriving(raw, seen, limits, |window| {
        let Some(mut at) = request_line(window, limits, head)? else { return Ok(Parsed::Partial) };
        head.fields.clear();
        let mut marks = Marks::default();
        let (fields, sender) = (&mut head.fields, Sender::Client);
        match fields::read(window, at, sender, limits, fields, &mut marks)? {
            Some(end) => at = end,
            None => return Ok(Parsed::Partial),
        }
        head.bytes = at as u32;
        conclude_request(window, head, &marks)
    })
}

/// Fills in what a head that is refused or unfinished names, as far as that can be read: method, target and
/// host, and nothing else. For the log; nothing may be done because of it.
#[cold]
pub fn named(raw: &[u8], limits: &HeadLimits, head: &mut RequestHead) {
    head.clear();
    let window = &raw[..raw.len().min(limits.head_bytes_max as usize)];
    let Ok(Some(at)) = request_line(window, limits, head) else {
        return name_path(window, head);
    };
    let mut marks = Marks::default();
    let read = fields::read(window, at, Sender::Client, limits, &mut head.fields, &mut marks);
    let several = matches!(read, Err(HeadError::Malformed(Why::SeveralHosts)));
    if let (Some(span), false, true) = (marks.host, several, head.host.is_empty())
        && let Some(authority) = target::authority(span.of(raw), span.start as usize)
    {
        (head.host, head.authority) = (authority.host, authority.whole);
    }
    head.fields.clear();
}

/// The path of a target that was not taken, as it stands there. Never of another form than a path: it may
/// hold a password.
fn name_path(raw: &[u8], head: &mut RequestHead) {
    if head.method_text.is_empty() || !head.target.path.is_empty() {
        return;
    }
    let from = head.method_text.end as usize + 1;
    let rest = raw.get(from..).unwrap_or_default();
    if rest.starts_with(b"/") {
        let ends = |byte: &u8| matches!(byte, b' ' | b'\r' | b'\n' | b'?');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        head.target.path = Span::new(from, from + length);
    }
}

/// Parses a response head at the start of `raw`; `seen` as for [`request`]. An interim response is
/// `Done`, too: the caller asks `head.status.is_interim()` and parses on behind it.
///
/// # Errors
/// The response is refused (502) and the connection to the origin must be closed.
pub fn response(
    raw: &[u8],
    seen: usize,
    limits: &HeadLimits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Parsed, HeadError> {
    arriving(raw, seen, limits, |window| {
        let Some(mut at) = status_line(window, head)? else { return Ok(Parsed::Partial) };
        head.fields.clear();
        let mut marks = Marks::default();
        let (fields, sender) = (&mut head.fields, Sender::Origin);
        match fields::read(window, at, sender, limits, fields, &mut marks)? {
            Some(end) => at = end,
            None => return Ok(Parsed::Partial),
        }
        head.bytes = at as u32;
        conclude_response(head, request_method, &marks)
    })
}

/// Whether the bytes behind the first `seen` can make a difference: the head may be whole now, or is to be
/// refused. What is said no to need not be parsed again.
pub fn may_be_whole(raw: &[u8], seen: usize, limits: &HeadLimits) -> bool {
    let window = &raw[..raw.len().min(limits.head_bytes_max as usize)];
    raw.len() >= limits.head_bytes_max as usize || scan::scan(window, seen) == Scanned::Parse
}

/// Runs `parse` over what the limit allows of `raw`, unless the new bytes cannot have ended the head.
fn arriving(
    raw: &[u8],
    seen: usize,
    limits: &HeadLimits,
    parse: impl FnOnce(&[u8]) -> Result<Parsed, HeadError>,
) -> Result<Parsed, HeadError> {
    if seen > 0 && !may_be_whole(raw, seen, limits) {
        return Ok(Parsed::Partial);
    }
    let bytes_max = limits.head_bytes_max as usize;
    let window = &raw[..raw.len().min(bytes_max)];
    match parse(window)? {
        Parsed::Partial if window.len() == bytes_max => Err(HeadError::TooLarge),
        parsed => Ok(parsed),
    }
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3); the offset behind it.
fn request_line(
    raw: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<usize>, HeadError> {
    let Some(start) = skip_empty_line(raw)? else { return Ok(None) };
    let rest = &raw[start..];
    let length = rest.iter().position(|&byte| chars::class(byte) & chars::TCHAR == 0);
    let Some(length) = length else { return Ok(None) };
    if length == 0 || rest[length] != b' ' {
        return Err(HeadError::Malformed(Why::Method));
    }
    head.method_text = Span::new(start, start + length);
    head.method = Method::of(&rest[..length]);

    let from = start + length + 1;
    let rest = &raw[from..];
    let length = memchr::memchr3(b' ', b'\r', b'\n', rest);
    if length.unwrap_or(rest.len()) > limits.target_bytes_max as usize {
        return Err(HeadError::TargetTooLong);
    }
    let Some(length) = length else { return Ok(None) };
    if length == 0 || rest[length] != b' ' {
        return Err(HeadError::Malformed(Why::RequestLine));
    }
    let span = Span::new(from, from + length);
    let Some((target, authority)) = target::parse(raw, span, head.method) else {
        return bad_target(&raw[start..]);
    };
    head.target = target;
    let authority = authority.unwrap_or_default();
    (head.host, head.authority) = (authority.host, authority.whole);

    let Some(version) = version(&raw[from + length + 1..], b"\r\n")? else { return Ok(None) };
    head.version = version;
    Ok(Some(from + length + 1 + "HTTP/1.1\r\n".len()))
}

/// Skips the one empty line that a request may begin with (RFC 9112 §2.2). What may become a PROXY header is
/// waited for, so that it is told apart from empty lines however its bytes were cut.
fn skip_empty_line(raw: &[u8]) -> Result<Option<usize>, HeadError> {
    const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    match raw {
        [] | [b'\r'] => Ok(None),
        _ if raw.len() < PROXY_V2.len() && PROXY_V2.starts_with(raw) => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(HeadError::Malformed(Why::EmptyLines)),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\n', ..] => Err(HeadError::Malformed(Why::BareLf)),
        [b'\r', ..] => Err(HeadError::Malformed(Why::BareCr)),
        _ => Ok(Some(0)),
    }
}

/// The version at the start of `rest`, which `end` must follow.
fn version(rest: &[u8], end: &[u8]) -> Result<Option<Version>, HeadError> {
    const NAME: &[u8] = b"HTTP/1.";
    let shown = &rest[..rest.len().min(NAME.len() + 1 + end.len())];
    let (name, tail) = shown.split_at(shown.len().min(NAME.len()));
    let (digit, closing) = tail.split_at(tail.len().min(1));
    let version = match digit {
        b"0" => Version::Http10,
        _ => Version::Http11,
    };
    let good = NAME.starts_with(name) && matches!(digit, b"" | b"0" | b"1");
    if good && end.starts_with(closing) {
        return Ok((closing.len() == end.len()).then_some(version));
    }
    bad_version(rest)
}

/// The preface of HTTP/2 (RFC 9113 §3.4) is another version, and no target of this one; what may become it
/// is waited for, so that the answer does not depend on how the bytes were cut.
#[cold]
fn bad_target(line: &[u8]) -> Result<Option<usize>, HeadError> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    if line.starts_with(PREFACE) {
        return Err(HeadError::Version);
    }
    if PREFACE.starts_with(line) { Ok(None) } else { Err(HeadError::Malformed(Why::Target)) }
}

/// Another version of HTTP (505), no version at all (400), or what may still become another version.
#[cold]
fn bad_version(rest: &[u8]) -> Result<Option<Version>, HeadError> {
    const NAME: &[u8] = b"HTTP/";
    const SHAPE_BYTES: usize = NAME.len() + "2.0\r".len();
    let shown = &rest[..rest.len().min(SHAPE_BYTES)];
    if matches!(shown, [b'H', b'T', b'T', b'P', b'/', _, b'.', _, b'\n']) {
        return Err(HeadError::Malformed(Why::BareLf));
    }
    let fits = |(at, byte): (usize, &u8)| match at {
        0..=4 => NAME[at] == *byte,
        6 => *byte == b'.',
        8 => matches!(byte, b'\r' | b' '),
        _ => byte.is_ascii_digit(),
    };
    if !shown.iter().enumerate().all(fits) || matches!(shown, [.., b'1', b'.', b'0' | b'1', _]) {
        return Err(HeadError::Malformed(Why::RequestLine));
    }
    if shown.len() < SHAPE_BYTES { Ok(None) } else { Err(HeadError::Version) }
}

/// What the request as a whole says: host, body, persistence, expectation.
fn conclude_request(
    raw: &[u8],
    head: &mut RequestHead,
    marks: &Marks,
) -> Result<Parsed, HeadError> {
    let from_field = match marks.host {
        None if head.version >= Version::Http11 => return Err(HeadError::Malformed(Why::NoHost)),
        None => Authority::default(),
        Some(span) => target::authority(span.of(raw), span.start as usize)
            .ok_or(HeadError::Malformed(Why::Host))?,
    };
    // The authority of the target, if it has one, goes before the field (RFC 9112 §3.2.2).
    if head.host.is_empty() {
        (head.host, head.authority) = (from_field.host, from_field.whole);
    }
    head.body = framing::request_body(head.version, marks.framing)?;
    head.keep_alive = persists(head.version, marks);
    // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1).
    let may_expect = head.version >= Version::Http11;
    if marks.unknown_expectation && may_expect {
        return Err(HeadError::Expectation);
    }
    head.expect_continue = marks.continue_expected && may_expect && head.body != BodyLength::None;
    Ok(Parsed::Done)
}

/// `HTTP-version SP status-code [SP reason-phrase] CRLF` (RFC 9112 §4); the offset behind it.
fn status_line(raw: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, HeadError> {
    let malformed = HeadError::Malformed(Why::StatusLine);
    let Some(version) = version(raw, b" ")? else { return Ok(None) };
    head.version = version;
    let from = "HTTP/1.1 ".len();
    let mut code = 0;
    for at in from..from + 3 {
        match raw.get(at) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') => code = code * 10 + u16::from(digit - b'0'),
            Some(_) => return Err(malformed),
        }
    }
    if code < 100 {
        return Err(malformed);
    }
    head.status = Status(code);
    let reason = match raw.get(from + 3) {
        None => return Ok(None),
        Some(b' ') => from + 4,
        Some(b'\r') => from + 3,
        Some(_) => return Err(malformed),
    };
    let Some(end) = fields::value_end(raw, reason)? else { return Ok(None) };
    head.reason = Span::new(reason, end);
    Ok(Some(end + 2))
}

/// What the response as a whole says: body and persistence.
fn conclude_response(
    head: &mut ResponseHead,
    request_method: Method,
    marks: &Marks,
) -> Result<Parsed, HeadError> {
    head.body = framing::response_body(request_method, head.status, head.version, marks.framing)?;
    // A 204 may not announce content (RFC 9110 §8.6): one that does may well send it, too.
    let announced = marks.framing.chunked || marks.framing.content_length.is_some_and(|n| n > 0);
    let suspect = head.status.0 == 204 && announced;
    let ends_with_connection = head.body == BodyLength::UntilClose || head.status.0 == 101;
    head.keep_alive = persists(head.version, marks) && !suspect && !ends_with_connection;
    Ok(Parsed::Done)
}

/// Whether the sender lets the connection persist (RFC 9112 §9.3).
fn persists(version: Version, marks: &Marks) -> bool {
    !marks.close && (version >= Version::Http11 || marks.keep_alive)
}

#[cfg(test)]
mod tests;
