//! What an intermediary strips, adds and keeps (RFC 9110 §7.6, RFC 9112 §9.6), from head to wire.
//!
//! Field lines that pass unchanged are copied as they came, whole runs at a time. A head must never go out
//! with framing other than the body that follows it, with a hop-by-hop field of the other side, or with a
//! forwarding field that an untrusted client made up. Choices:
//!
//! - A `Connection` option that names a field in `names.rs` (Host, Content-Length, Authorization,
//!   X-Forwarded-For, …) is ignored: only unknown fields can be nominated away.
//! - X-Forwarded-For/-Proto/-Host/-Port, Forwarded, X-Real-IP, Via, X-Original-URL and X-Rewrite-URL
//!   (by which some frameworks route) of an untrusted client are dropped, as are look-alikes such as `X_Forwarded_For`. A trusted proxy's X-Forwarded-For and Via are added to, its
//!   -Proto, -Host and -Port kept; its Forwarded is added to only where the operator said that the field is
//!   believed, because a proxy that does not know it passes on a client's. X-Real-IP is always written anew.
//! - Requests get a Via with the pseudonym `ringway` (RFC 9110 §7.6.3 demands one inwards). Responses get
//!   no Via and no Server of ours, and lose the origin's Via: the outside learns nothing of the inside.
//! - `TE: trailers` passes, every other transfer coding preference is ours to state (none).
//! - Upgrade stays behind, too. Where a protocol may change (`upgrade.rs`) the gateway asks, and answers, in
//!   its own name, with exactly that protocol.

use crate::base::buffer::Buf;
use crate::base::limits::CONNECTION_OPTIONS_MAX;
use crate::base::span::Span;
use crate::http::framing::{BodyLength, content_length};
use crate::http::head::{Request, Response};
use crate::http::headers::{Field, Fields};
use crate::http::names::{FieldName, FieldSet};
use crate::http::withheld::Withheld;
use crate::http::writer::{self, Sink};
use crate::http::{Method, TargetForm, Version, chars};

pub use crate::http::writer::TooLarge;

/// The client, as far as forwarding fields speak of it.
#[derive(Clone, Copy, Debug)]
pub struct ForwardedClient<'a> {
    /// The address at the other end of the connection, as text; an IPv6 address without brackets.
    pub address: &'a [u8],
    /// The client behind trusted proxies, as text; the same as `address` without any.
    pub real: &'a [u8],
    /// `http` or `https`: how the client's own connection was made.
    pub proto: &'a str,
    /// Whether its own forwarding fields are believed and kept.
    pub trusted: bool,
    /// Whether that goes for Forwarded, too.
    pub forwarded: bool,
}

impl Default for ForwardedClient<'_> {
    fn default() -> Self {
        let address = b"127.0.0.1";
        Self { address, real: address, proto: "http", trusted: false, forwarded: false }
    }
}

/// How a request is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct RequestForward<'a> {
    /// The method to send; `None` sends it as received.
    pub method: Option<&'a str>,
    /// The target to send; `None` sends it as received, absolute-form turned into origin-form.
    pub target: Option<&'a [u8]>,
    /// The Host to send; `None` sends the effective host of the request.
    pub host: Option<&'a [u8]>,
    /// Complete field lines to add, each with its CRLF.
    pub added: &'a [u8],
    /// Further ones.
    pub edited: &'a [u8],
    /// Whom it comes from.
    pub client: ForwardedClient<'a>,
    /// How the body is sent; never `UntilClose`.
    pub body: BodyLength,
    /// The protocol that the origin is asked to switch to, in the gateway's own name.
    pub upgrade: Option<&'a str>,
    /// Known fields to leave out.
    pub drop: &'a [FieldName],
    /// Other fields to leave out, by name in lower case, in every spelling ([`FieldName::is_spelling`]).
    pub drop_named: &'a [Box<str>],
    /// Cookies and pairs of the query to leave out.
    pub withheld: Option<&'a Withheld>,
}

impl Default for RequestForward<'_> {
    fn default() -> Self {
        Self {
            method: None,
            target: None,
            host: None,
            added: b"",
            edited: b"",
            client: ForwardedClient::default(),
            body: BodyLength::None,
            upgrade: None,
            drop: &[],
            drop_named: &[],
            withheld: None,
        }
    }
}

/// How a response is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct ResponseForward<'a> {
    /// The client's version: it decides how persistence is said.
    pub version: Version,
    /// Whether the client's connection persists.
    pub keep_alive: bool,
    /// How the body is sent to the client.
    pub body: BodyLength,
    /// Complete field lines to add, each with its CRLF.
    pub added: &'a [u8],
    /// The protocol that this response switches to (101) or offers (426).
    pub upgrade: Option<&'a str>,
    /// Known fields to leave out.
    pub drop: &'a [FieldName],
    /// Other fields to leave out, by name in lower case, in every spelling ([`FieldName::is_spelling`]).
    pub drop_named: &'a [Box<str>],
}

impl Default for ResponseForward<'_> {
    fn default() -> Self {
        Self {
            version: Version::Http11,
            keep_alive: true,
            body: BodyLength::None,
            upgrade: None,
            added: b"",
            drop: &[],
            drop_named: &[],
        }
    }
}

/// Fields of a request that never pass as received. Via and the forwarding fields are written anew,
/// joined to the client's where it is trusted.
const REQUEST_STRIPPED: FieldSet = FieldSet::HOP_BY_HOP
    .with(FieldSet::FORWARDING)
    .with(FieldSet::of(&[FieldName::LookAlike, FieldName::Via]));

/// What a trusted proxy's request keeps of them as it is.
const TRUSTED_KEPT: FieldSet = FieldSet::of(&[
    FieldName::XForwardedHost,
    FieldName::XForwardedPort,
    FieldName::XForwardedProto,
    FieldName::XOriginalUrl,
    FieldName::XRewriteUrl,
]);

/// Fields of a response that never pass.
const RESPONSE_STRIPPED: FieldSet =
    FieldSet::HOP_BY_HOP.with(FieldSet::of(&[FieldName::LookAlike, FieldName::Via]));

/// Appends the head of the request as it goes to the origin: always HTTP/1.1.
///
/// # Errors
/// It does not fit `out`; nothing was appended.
pub fn request_head(
    out: &mut Buf,
    request: Request<'_>,
    how: &RequestForward<'_>,
) -> Result<(), TooLarge> {
    debug_assert!(how.body != BodyLength::UntilClose, "a request body has an end");
    let head = request.head;
    let raw = request.raw;
    let own_target =
        how.target.is_none() && how.method.is_none() && head.target.form != TargetForm::Absolute;
    let own_host = how.host.is_none()
        && head.target.form != TargetForm::Absolute
        && head.fields.find(FieldName::Host, raw).is_some();
    let keep_length = keeps_length(&head.fields, raw, head.body, how.body);

    let mut stripped = REQUEST_STRIPPED.with(FieldSet::of(how.drop));
    if how.client.trusted {
        stripped = stripped.without(TRUSTED_KEPT);
    }
    stripped = stripped.with_if(!own_host, FieldName::Host);
    stripped = stripped.with_if(!keep_length, FieldName::ContentLength);
    stripped = stripped.with_if(how.body != BodyLength::Chunked, FieldName::Trailer);
    stripped = stripped.with_if(head.version < Version::Http11, FieldName::Expect);
    let forwards = max_forwards(request);
    stripped = stripped.with_if(forwards.is_some(), FieldName::MaxForwards);

    Sink::fill(out, |sink| {
        // A request line that passes unchanged is part of the first run; a new Host goes right behind it.
        let cut = how.withheld.filter(|cut| request.query().is_some_and(|q| cut.cuts_query(q)));
        // A head of HTTP/2 is here as one of HTTP/1.1.
        let own_line = own_target && own_host && head.version != Version::Http10 && cut.is_none();
        let first = if own_line {
            head.method_text.start
        } else {
            put_request_line(sink, request, how, cut);
            head.target.whole.end + HTTP_VERSION_CRLF
        };
        if !own_host {
            let host = how.host.unwrap_or(request.authority());
            writer::put_field(sink, &[b"host: "], &[host]);
        }
        let left_out = LeftOut { known: stripped, named: how.drop_named, withheld: how.withheld };
        put_kept(sink, &head.fields, raw, first, head.bytes, &left_out);
        put_forwarding(sink, request, &how.client);
        put_length(sink, how.body, keep_length);
        if let Some(forwards) = forwards {
            sink.put(b"max-forwards: ");
            sink.number(forwards.saturating_sub(1));
            sink.put(b"\r\n");
        }
        match how.upgrade {
            Some(protocol) => put_upgrade(sink, protocol, b""),
            None if wants_trailers(request) => sink.put(b"te: trailers\r\nconnection: te\r\n"),
            None => {}
        }
        sink.put(how.added);
        sink.put(how.edited);
        sink.put(b"\r\n");
    })
}

/// Appends the head of the response as it goes to the client; interim responses, too.
///
/// # Errors
/// It does not fit `out`; nothing was appended.
pub fn response_head(
    out: &mut Buf,
    response: Response<'_>,
    how: &ResponseForward<'_>,
) -> Result<(), TooLarge> {
    let chunked = how.body == BodyLength::Chunked;
    debug_assert!(!chunked || how.version > Version::Http10, "HTTP/1.0 knows no chunks");
    let head = response.head;
    let raw = response.raw;
    let bodiless = head.status.is_interim() || head.status.0 == 204;
    let keep_length = !bodiless && keeps_length(&head.fields, raw, head.body, how.body);

    let mut stripped = RESPONSE_STRIPPED.with(FieldSet::of(how.drop));
    stripped = stripped.with_if(!keep_length, FieldName::ContentLength);
    stripped = stripped.with_if(!chunked, FieldName::Trailer);

    Sink::fill(out, |sink| {
        // `HTTP/1.1 200 ` with the space that a bare status line may lack.
        let own_line = head.version == Version::Http11 && raw.get(12) == Some(&b' ');
        let first = if own_line { 0 } else { head.reason.end + 2 };
        if !own_line {
            writer::put_status(sink, head.status, head.reason.of(raw));
        }
        let left_out = LeftOut { known: stripped, named: how.drop_named, withheld: None };
        put_kept(sink, &head.fields, raw, first, head.bytes, &left_out);
        if !bodiless {
            put_length(sink, how.body, keep_length);
        }
        if head.status.is_interim() {
            how.upgrade.into_iter().for_each(|protocol| put_upgrade(sink, protocol, b""));
        } else {
            put_connection(sink, how);
        }
        sink.put(how.added);
        sink.put(b"\r\n");
    })
}

/// Upgrade and the option that must go with it (RFC 9110 §7.8), behind what else Connection says. Spelt as
/// clients spell them: some origins compare the option with its case.
fn put_upgrade(sink: &mut Sink<'_>, protocol: &str, options: &[u8]) {
    for piece in [b"connection: ", options, b"Upgrade\r\nupgrade: ", protocol.as_bytes(), b"\r\n"] {
        sink.put(piece);
    }
}

/// Whether the client's connection persists, and what it may be used for instead.
fn put_connection(sink: &mut Sink<'_>, how: &ResponseForward<'_>) {
    match (how.upgrade, how.keep_alive, how.version) {
        (Some(protocol), true, _) => put_upgrade(sink, protocol, b""),
        (Some(protocol), false, _) => put_upgrade(sink, protocol, b"close, "),
        (None, false, _) => sink.put(b"connection: close\r\n"),
        (None, true, Version::Http10) => sink.put(b"connection: keep-alive\r\n"),
        (None, true, _) => {}
    }
}

/// `SP HTTP/1.1 CRLF`. Unit: bytes.
const HTTP_VERSION_CRLF: u32 = 11;

fn put_request_line(
    sink: &mut Sink<'_>,
    request: Request<'_>,
    how: &RequestForward<'_>,
    cut: Option<&Withheld>,
) {
    sink.put(how.method.map_or(request.method_text(), str::as_bytes));
    sink.put(b" ");
    match (how.target, request.head.target.form) {
        (Some(target), _) => sink.put(target),
        (None, _) if let Some(cut) = cut => {
            sink.put(request.path());
            cut.query(request.query().unwrap_or(&[]), b"?", |piece| sink.put(piece));
        }
        (None, TargetForm::Absolute) => put_origin_form(sink, request),
        (None, _) => sink.put(request.target()),
    }
    sink.put(b" HTTP/1.1\r\n");
}

/// The origin-form of an absolute target (RFC 9112 §3.2.1, §3.2.4).
fn put_origin_form(sink: &mut Sink<'_>, request: Request<'_>) {
    let target = &request.head.target;
    let whole_server =
        request.head.method == Method::Options && target.path.is_empty() && target.query.is_none();
    sink.put(if whole_server { b"*" } else { request.path() });
    if let Some(query) = request.query() {
        sink.put(b"?");
        sink.put(query);
    }
}

/// The fields that do not pass.
struct LeftOut<'a> {
    known: FieldSet,
    named: &'a [Box<str>],
    withheld: Option<&'a Withheld>,
}

/// Copies the lines that pass, whole runs at a time: `raw[first..]` up to the empty line at the end of a
/// head of `bytes`, without the fields left out. What stands between `first` and the fields passes.
fn put_kept(
    sink: &mut Sink<'_>,
    fields: &Fields,
    raw: &[u8],
    first: u32,
    bytes: u32,
    without: &LeftOut<'_>,
) {
    let connection = fields.iter().any(|field| field.id == FieldName::Connection);
    let nominated = connection.then(|| Nominated::of(fields, raw)).filter(|all| all.count > 0);
    let names_matter = !without.named.is_empty() || nominated.is_some();
    let mut run = first;
    for field in fields.iter() {
        let name = || field.name.of(raw);
        let left_out = without.known.has(field.id)
            || (names_matter
                && (without
                    .named
                    .iter()
                    .any(|dropped| FieldName::is_spelling(name(), dropped.as_bytes()))
                    || (field.id == FieldName::Other
                        && nominated.as_ref().is_some_and(|all| all.has(name(), raw)))));
        if left_out {
            sink.put(Span { start: run, end: field.name.start }.of(raw));
            run = line_end(field, raw);
        } else if let Some(cut) = without.withheld
            && field.id == FieldName::Cookie
            && cut.cuts_cookies(field.value.of(raw))
        {
            sink.put(Span { start: run, end: field.name.start }.of(raw));
            run = line_end(field, raw);
            put_cookies(sink, field.value.of(raw), cut);
        }
    }
    sink.put(Span { start: run, end: bytes - 2 }.of(raw));
}

/// What is left of a Cookie field; a field of which nothing is left is left out.
fn put_cookies(sink: &mut Sink<'_>, value: &[u8], cut: &Withheld) {
    let mut some = false;
    cut.cookies(value, b"cookie: ", |piece| {
        some = true;
        sink.put(piece);
    });
    if some {
        sink.put(b"\r\n");
    }
}

/// Where the line behind the field begins: whitespace behind the value and CRLF are skipped.
fn line_end(field: &Field, raw: &[u8]) -> u32 {
    let mut at = field.value.end;
    while let Some(b' ' | b'\t') = raw.get(at as usize) {
        at += 1;
    }
    at + 2
}

/// The unknown fields that Connection names (RFC 9110 §7.6.1).
struct Nominated {
    names: [Span; CONNECTION_OPTIONS_MAX],
    count: usize,
}

impl Nominated {
    fn of(fields: &Fields, raw: &[u8]) -> Self {
        let mut nominated = Self { names: [Span::EMPTY; CONNECTION_OPTIONS_MAX], count: 0 };
        for field in fields.iter().filter(|field| field.id == FieldName::Connection) {
            nominated.take_in(field.value, raw);
        }
        nominated
    }

    /// Parsing has bounded the number of options, so all fit.
    fn take_in(&mut self, value: Span, raw: &[u8]) {
        let mut at = value.start as usize;
        for element in value.of(raw).split(|&byte| byte == b',') {
            let option = chars::trim(element);
            let lead = element.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let plain = option.is_empty()
                || option.eq_ignore_ascii_case(b"close")
                || FieldName::of(option) != FieldName::Other;
            if !plain && let Some(slot) = self.names.get_mut(self.count) {
                *slot = Span::new(at + lead, at + lead + option.len());
                self.count += 1;
            }
            at += element.len() + 1;
        }
    }

    fn has(&self, name: &[u8], raw: &[u8]) -> bool {
        self.names[..self.count].iter().any(|span| span.of(raw).eq_ignore_ascii_case(name))
    }
}

/// X-Forwarded-For, -Proto, -Host, -Port, X-Real-IP, Forwarded (RFC 7239) and Via.
fn put_forwarding(sink: &mut Sink<'_>, request: Request<'_>, client: &ForwardedClient<'_>) {
    let authority = request.authority();
    let kept = |id| request.field(id).filter(|_| client.trusted);

    sink.put(b"x-forwarded-for: ");
    if client.trusted {
        put_joined(sink, request, FieldName::XForwardedFor);
    }
    sink.put(client.address);
    sink.put(b"\r\nx-real-ip: ");
    sink.put(client.real);
    let proto = kept(FieldName::XForwardedProto);
    if proto.is_none() {
        sink.put(b"\r\nx-forwarded-proto: ");
        sink.put(client.proto.as_bytes());
    }
    let host = kept(FieldName::XForwardedHost);
    if !authority.is_empty() && host.is_none() {
        sink.put(b"\r\nx-forwarded-host: ");
        sink.put(authority);
    }
    if kept(FieldName::XForwardedPort).is_none() {
        sink.put(b"\r\nx-forwarded-port: ");
        let proto = proto.unwrap_or(client.proto.as_bytes());
        sink.put(port(host.unwrap_or(authority), proto));
    }
    sink.put(b"\r\nforwarded: ");
    if client.forwarded {
        put_joined(sink, request, FieldName::Forwarded);
    } else if client.real != client.address {
        // What was said in other fields is said here, too, so that the client is not lost (RFC 7239 §7.4).
        put_for(sink, client.real);
        sink.put(b", ");
    }
    put_for(sink, client.address);
    if !authority.is_empty() {
        sink.put(b";host=\"");
        sink.put(authority);
        sink.put(b"\"");
    }
    sink.put(b";proto=");
    sink.put(client.proto.as_bytes());
    sink.put(b"\r\nvia: ");
    if client.trusted {
        put_joined(sink, request, FieldName::Via);
    }
    sink.put(match request.head.version {
        Version::Http10 => b"1.0 ringway\r\n",
        Version::Http11 => b"1.1 ringway\r\n",
        Version::Http2 => b"2.0 ringway\r\n",
    });
}

/// The port that the client asked for: that of the authority, or what its scheme has without one.
fn port<'a>(authority: &'a [u8], proto: &[u8]) -> &'a [u8] {
    let colon = authority.iter().rposition(|byte| *byte == b':');
    let port = colon.map_or(&[][..], |at| &authority[at + 1..]);
    match port {
        port if !port.is_empty() && port.iter().all(u8::is_ascii_digit) => port,
        _ if proto.eq_ignore_ascii_case(b"https") => b"443",
        _ => b"80",
    }
}

/// The received values of a list field, each with the comma that separates it from the next.
fn put_joined(sink: &mut Sink<'_>, request: Request<'_>, id: FieldName) {
    for value in request.head.fields.all(id, request.raw).filter(|value| !value.is_empty()) {
        sink.put(value);
        sink.put(b", ");
    }
}

/// `for=address` (RFC 7239 §4); an IPv6 address is bracketed and quoted (§6).
fn put_for(sink: &mut Sink<'_>, address: &[u8]) {
    let ipv6 = address.contains(&b':');
    sink.put(if ipv6 { b"for=\"[" } else { b"for=" });
    sink.put(address);
    sink.put(if ipv6 { b"]\"" } else { b"" });
}

/// How often the request may still be forwarded. Only OPTIONS and TRACE count it (RFC 9110 §7.6.2); a
/// value that is no number says nothing.
pub fn max_forwards(request: Request<'_>) -> Option<u64> {
    if !matches!(request.head.method, Method::Options | Method::Trace) {
        return None;
    }
    content_length(request.field(FieldName::MaxForwards)?).ok()
}

/// Whether the client can take trailers (RFC 9110 §10.1.4).
pub fn wants_trailers(request: Request<'_>) -> bool {
    let mut values = request.head.fields.all(FieldName::Te, request.raw);
    values.any(|value| chars::list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")))
}

/// Whether the received Content-Length line says, in its shortest form, just what the forwarded message
/// shall say. Where both have no body it is the length that a GET would have had (HEAD, 304), or zero.
fn keeps_length(fields: &Fields, raw: &[u8], received: BodyLength, sent: BodyLength) -> bool {
    let same = received == sent && matches!(sent, BodyLength::Exact(_) | BodyLength::None);
    let canonical = |text: &[u8]| text.len() == 1 || !text.starts_with(b"0");
    same && fields.find(FieldName::ContentLength, raw).is_some_and(canonical)
}

/// The framing field of the body that follows (RFC 9112 §6).
fn put_length(sink: &mut Sink<'_>, body: BodyLength, kept: bool) {
    match body {
        BodyLength::Exact(length) if !kept => {
            sink.put(b"content-length: ");
            sink.number(length);
            sink.put(b"\r\n");
        }
        BodyLength::Chunked => sink.put(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
