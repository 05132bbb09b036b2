//! The request that is sent for a part, whole, written into the buffer that is sent.
//!
//! Nothing of the client's request goes inward that the plan does not name (CONFIG.md rule 8), and never
//! a field that would change how the message is framed or answered. What always goes: who asked for what
//! (`traceparent`, `x-request-id`, handed in as lines), how much time is left (`x-request-deadline-ms`),
//! `accept: application/json` and, unless the part names codings, `accept-encoding: identity`.
//!
//! All parts' requests are rehearsed before the first is sent, so that a value that the client's request
//! lacks refuses the whole and nobody is asked (CONFIG.md rule 6).

use std::time::Duration;

use crate::aggregate::plan::{Part, Pass, Plan};
use crate::exchange::Exchange;
use crate::exchange::template::{PartValues, RenderError, Sink, query_pairs};
use crate::http::Method;
use crate::http::head::Request;
use crate::http::names::FieldName;
use crate::http::withheld::Withheld;

/// Names that neither `pass` nor a part's own fields may set: framing, hop-by-hop fields (RFC 9110
/// §7.6.1), the fields that we write, and those that would make an answer something else than JSON bytes.
pub const RESERVED: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-deadline-ms",
    "x-request-id",
];

/// What a part's request takes that neither plan nor exchange know.
#[derive(Clone, Copy)]
pub struct Envelope<'a> {
    /// The value of Host: how the upstream's origins call themselves.
    pub host: &'a [u8],
    /// Time that the part has left: the least of its own timeout and what remains of the exchange's.
    pub left: Duration,
    /// Complete field lines: `traceparent: …\r\n`, `x-request-id: …\r\n`.
    pub added: &'a [u8],
    /// What its templates take from the answers of other parts.
    pub parts: PartValues<'a>,
    /// Length of the client's body, which is sent behind what is written here. Unit: bytes.
    pub client_body_bytes: usize,
}

/// Whether a field may not be set by configuration; compared without case.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Writes the request of `part`, head and body.
///
/// # Errors
/// A value is missing or unfit, or `out` is full; what was written is to be thrown away.
pub fn write<S: Sink>(
    plan: &Plan,
    part: &Part,
    x: &Exchange,
    envelope: &Envelope<'_>,
    out: &mut S,
) -> Result<(), RenderError> {
    put(out, method(part.method))?;
    part.target.render_with(x, envelope.parts, out)?;
    pass_query(plan, part, x.request(), out)?;
    put(out, b" HTTP/1.1\r\nhost: ")?;
    put(out, envelope.host)?;
    put(out, b"\r\n")?;
    put(out, &part.constant_fields)?;
    put(out, b"x-request-deadline-ms: ")?;
    let left_ms = u64::try_from(envelope.left.as_millis()).unwrap_or(u64::MAX);
    put(out, itoa::Buffer::new().format(left_ms).as_bytes())?;
    put(out, b"\r\n")?;
    put(out, envelope.added)?;
    for (name, value) in part.headers.iter().filter(|(name, _)| !is_reserved(name)) {
        put(out, name.as_bytes())?;
        put(out, b": ")?;
        value.render_with(x, envelope.parts, out)?;
        put(out, b"\r\n")?;
    }
    pass_fields(plan, part, x, out)?;
    if part.client_body {
        return end_before_client_body(part, x.request(), envelope.client_body_bytes, out);
    }
    write_body(part, x, envelope.parts, out)
}

/// Whether a part's request can be written with these values.
///
/// # Errors
/// As [`write()`].
pub fn try_to_write(
    plan: &Plan,
    part: &Part,
    x: &Exchange,
    parts: PartValues<'_>,
) -> Result<(), RenderError> {
    let (left, added, client_body_bytes) = (Duration::ZERO, &b""[..], 0);
    let envelope = Envelope { host: b"", left, added, parts, client_body_bytes };
    write(plan, part, x, &envelope, &mut Nowhere)
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: &[u8]) -> bool {
        true
    }
}

/// The field lines of a part that are the same for every request.
pub(super) fn constant_fields(part: &Part, pass: &Pass) -> Box<[u8]> {
    let own = part.headers.iter().map(|(name, _)| name);
    let mut names = own.chain(&pass.headers);
    let codings =
        if part.codings.is_empty() { "identity".to_owned() } else { part.codings.join(", ") };
    let mut lines = format!("accept-encoding: {codings}\r\n").into_bytes();
    if !names.any(|name| name.eq_ignore_ascii_case("accept")) {
        lines.extend_from_slice(b"accept: application/json\r\n");
    }
    let typed = part.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if part.body.is_some() && !typed {
        lines.extend_from_slice(b"content-type: application/json\r\n");
    }
    lines.into()
}

/// The client's query parameters that the plan names, behind those of the template.
fn pass_query<S: Sink>(
    plan: &Plan,
    part: &Part,
    request: Request<'_>,
    out: &mut S,
) -> Result<(), RenderError> {
    let Some(query) = request.query() else {
        return Ok(());
    };
    let mut lead: &[u8] = if part.target.has_query() { b"&" } else { b"?" };
    for name in &plan.pass.query {
        for pair in query_pairs(query, name.as_bytes()) {
            if !pair.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
                return Err(RenderError::Unfit);
            }
            put(out, lead)?;
            put(out, pair)?;
            lead = b"&";
        }
    }
    Ok(())
}

/// The client's fields that the plan names and the part does not set itself.
fn pass_fields<S: Sink>(
    plan: &Plan,
    part: &Part,
    x: &Exchange,
    out: &mut S,
) -> Result<(), RenderError> {
    let request = x.request();
    for name in &plan.pass.headers {
        let set = part.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let body = part.body.is_some() && name.eq_ignore_ascii_case("content-type");
        let body = body || part.client_body && describes_body(name);
        if set || body || is_reserved(name) || is_hop_by_hop(request, name.as_bytes()) {
            continue;
        }
        if plan.pass.withheld.fields.contains(name) {
            pass_vouched(name, &x.request_lines, out)?;
            continue;
        }
        for value in request.head.fields.named(name.as_bytes(), request.raw) {
            if name.eq_ignore_ascii_case("cookie") && plan.pass.withheld.cuts_cookies(value) {
                pass_cookies(&plan.pass.withheld, value, out)?;
                continue;
            }
            put(out, name.as_bytes())?;
            put(out, b": ")?;
            put(out, value)?;
            put(out, b"\r\n")?;
        }
    }
    Ok(())
}

/// What a service said about the request by this name; the client's own word is not heard.
fn pass_vouched<S: Sink>(name: &str, lines: &[u8], out: &mut S) -> Result<(), RenderError> {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let named = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if named.eq_ignore_ascii_case(name.as_bytes()) {
            put(out, line)?;
        }
    }
    Ok(())
}

/// What may go on of a Cookie field that holds a credential of the gateway's own.
fn pass_cookies<S: Sink>(
    withheld: &Withheld,
    value: &[u8],
    out: &mut S,
) -> Result<(), RenderError> {
    let (mut fits, mut some) = (true, false);
    withheld.cookies(value, b"cookie: ", |piece| {
        some = true;
        fits &= out.put(piece);
    });
    if some {
        fits &= out.put(b"\r\n");
    }
    if fits { Ok(()) } else { Err(RenderError::Full) }
}

/// The fields that say what the client's body is; they go where it goes.
const OF_BODY: [&str; 2] = ["content-type", "content-encoding"];

fn describes_body(name: &str) -> bool {
    OF_BODY.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// The end of a head behind which the client's body is sent.
fn end_before_client_body<S: Sink>(
    part: &Part,
    request: Request<'_>,
    bytes: usize,
    out: &mut S,
) -> Result<(), RenderError> {
    let own = |name: &str| part.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    for name in OF_BODY.into_iter().filter(|name| !own(name)) {
        for value in request.head.fields.named(name.as_bytes(), request.raw) {
            for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
                put(out, piece)?;
            }
        }
    }
    put(out, b"content-length: ")?;
    put(out, itoa::Buffer::new().format(bytes).as_bytes())?;
    put(out, b"\r\n\r\n")
}

/// Whether the client's Connection field names this one: it was for us alone then (RFC 9110 §7.6.1).
fn is_hop_by_hop(request: Request<'_>, name: &[u8]) -> bool {
    let mut lists = request.head.fields.all(FieldName::Connection, request.raw);
    lists.any(|list| {
        let mut options = list.split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
    })
}

/// The end of the head, and the body with its length.
fn write_body<S: Sink>(
    part: &Part,
    x: &Exchange,
    parts: PartValues<'_>,
    out: &mut S,
) -> Result<(), RenderError> {
    let Some(template) = &part.body else {
        // A method that has a body by its meaning says that there is none (RFC 9110 §8.6).
        let none: &[u8] =
            if part.method == Method::Get { b"\r\n" } else { b"content-length: 0\r\n\r\n" };
        return put(out, none);
    };
    // Only a body with values in it is written apart first, for its length.
    let mut filled = Vec::new();
    let body = match template.constant() {
        Some(body) => body,
        None => {
            template.render_with(x, parts, &mut filled)?;
            &filled
        }
    };
    put(out, b"content-length: ")?;
    put(out, itoa::Buffer::new().format(body.len()).as_bytes())?;
    put(out, b"\r\n\r\n")?;
    put(out, body)
}

/// The method with the space behind it. A plan knows no others.
fn method(method: Method) -> &'static [u8] {
    match method {
        Method::Post => b"POST ",
        Method::Put => b"PUT ",
        Method::Patch => b"PATCH ",
        Method::Delete => b"DELETE ",
        _ => b"GET ",
    }
}

fn put<S: Sink>(out: &mut S, bytes: &[u8]) -> Result<(), RenderError> {
    if out.put(bytes) { Ok(()) } else { Err(RenderError::Full) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;
    use crate::base::ids::UpstreamId;
    use crate::base::name::Name;
    use crate::base::span::Span;
    use crate::exchange::template::{Template, TemplateKind};
    use crate::http::headers::Field;

    /// An exchange whose request has this target and these fields.
    fn exchange(target: &str, fields: &[(&str, &str)]) -> Exchange {
        let (mut x, mut raw) = (Exchange::default(), target.as_bytes().to_vec());
        let cut = target.find('?').unwrap_or(target.len());
        x.head.target.path = Span::new(0, cut);
        x.head.target.query = (cut < target.len()).then(|| Span::new(cut + 1, target.len()));
        for (name, value) in fields {
            let start = raw.len();
            raw.extend_from_slice(name.as_bytes());
            let middle = raw.len();
            raw.extend_from_slice(value.as_bytes());
            let connection = name.eq_ignore_ascii_case("connection");
            let id = if connection { FieldName::Connection } else { FieldName::Other };
            let (name, value) = (Span::new(start, middle), Span::new(middle, raw.len()));
            x.head.fields.push(Field { id, name, value });
        }
        let mut buf = BufferPool::new(1).take().expect("within budget");
        assert!(buf.put(&raw));
        x.bytes = Some(buf);
        x
    }

    fn template(text: &str, kind: TemplateKind) -> Template {
        Template::parse(text, kind, &[]).expect("the template is fine")
    }

    fn part(target: &str) -> Part {
        let target = template(target, TemplateKind::Target);
        Part::new(Name::new("a"), UpstreamId(0), target, Duration::from_secs(1))
    }

    fn written(part: Part, pass: Pass, x: &Exchange) -> Result<String, RenderError> {
        let plan = Plan::new(vec![part], pass);
        let left = Duration::from_millis(287);
        let (added, parts) = (&b"traceparent: 00-1\r\n"[..], PartValues::Unknown);
        let (host, client_body_bytes) = (&b"order"[..], 0);
        let envelope = Envelope { host, left, added, parts, client_body_bytes };
        let mut out = Vec::new();
        write(&plan, &plan.parts[0], x, &envelope, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn nothing_goes_inward_unasked() {
        let x = exchange("/d?debug=1", &[("cookie", "a=1"), ("authorization", "Bearer x")]);
        let expected = "GET /orders HTTP/1.1\r\nhost: order\r\naccept-encoding: identity\r\n\
            accept: application/json\r\nx-request-deadline-ms: 287\r\ntraceparent: 00-1\r\n\r\n";
        assert_eq!(written(part("/orders"), Pass::default(), &x).as_deref(), Ok(expected));
    }

    #[test]
    fn what_is_named_goes_and_what_is_reserved_does_not() {
        let fields = [
            ("Accept-Language", "de"),
            ("accept-language", "en"),
            ("Host", "evil"),
            ("Content-Length", "7"),
            ("X-Mine", "1"),
            ("Connection", "close, x-mine"),
        ];
        let x = exchange("/d?lang=de&debug=1&%6cang=en", &fields);
        let names = ["accept-language", "host", "content-length", "x-mine", "connection"];
        let pass = Pass {
            headers: names.map(Box::from).into(),
            query: ["lang", "none"].map(Box::from).into(),
            ..Pass::default()
        };
        let text = written(part("/o"), pass.clone(), &x).expect("fine");
        assert!(text.starts_with("GET /o?lang=de&%6cang=en HTTP/1.1\r\nhost: order\r\n"), "{text}");
        assert!(text.ends_with("\r\naccept-language: de\r\naccept-language: en\r\n\r\n"), "{text}");
        let text = written(part("/o?a=b"), pass, &x).expect("fine");
        assert!(text.starts_with("GET /o?a=b&lang=de&%6cang=en HTTP/1.1\r\n"), "{text}");
    }

    #[test]
    fn a_part_has_fields_and_a_body_of_its_own() {
        let x = exchange("/d?q=%22", &[("accept", "text/html")]);
        let mut post = part("/find");
        post.method = Method::Post;
        let text = written(post.clone(), Pass::default(), &x).expect("fine");
        assert!(text.starts_with("POST ") && text.ends_with("content-length: 0\r\n\r\n"), "{text}");
        post.body = Some(template(r#"{"q":"{query.q}"}"#, TemplateKind::Json));
        let field = |name: &str, value| (Box::from(name), template(value, TemplateKind::Field));
        post.headers = [field("x-q", "<{query.q}>"), field("te", "x")].into();
        let pass = Pass { headers: [Box::from("accept")].into(), ..Pass::default() };
        let text = written(post, pass, &x).expect("fine");
        assert!(text.contains("content-type: application/json\r\n"), "{text}");
        assert!(!text.contains("accept: application/json") && !text.contains("te: x"), "{text}");
        let end = "x-q: <\">\r\naccept: text/html\r\ncontent-length: 10\r\n\r\n{\"q\":\"\\\"\"}";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_missing_value_refuses_the_request() {
        let x = exchange("/d", &[]);
        let claim = written(part("/{jwt.sub}"), Pass::default(), &x);
        assert_eq!(claim, Err(RenderError::Missing { claim: true }));
        let query = written(part("/?q={query.q}"), Pass::default(), &x);
        assert_eq!(query, Err(RenderError::Missing { claim: false }));
    }
}
