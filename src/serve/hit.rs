//! An answer from the store: the whole, a range of it, or the news that the client has it already.
//!
//! Head and content are copied into one buffer and leave in one write, as long as they fit. A stored response is
//! never changed by who asks for it: conditions and ranges of a request are this answer's own (RFC 9110 §13, §14;
//! RFC 9111 §4.3.2).

use std::pin::pin;
use std::sync::Arc;

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::http::conditional;
use crate::http::framing::BodyLength;
use crate::http::names::FieldName;
use crate::http::ranges::{self, Wanted};
use crate::http::{Method, Status, Version};
use crate::policy::cache_status::CacheStatus;
use crate::policy::stored::{Stored, lines};
use crate::runtime::Runtime;
use crate::serve::outgoing::Outgoing;
use crate::serve::{Core, answering, hit_coded};

/// What of a stored response goes to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Part(usize, usize),
    Known,
    Unsatisfiable,
}

/// Which bytes its content is.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// As the origin sent it.
    Plain,
    /// The whole in another coding.
    Coded(&'a [u8]),
}

/// Sends a stored response.
///
/// # Errors
/// The client is gone, or no buffer is free.
pub async fn answer<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    stored: &Arc<Stored>,
    told: CacheStatus,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    if let Some(rules) = outgoing.answering.filter(|rules| rules.compress.is_some()) {
        return Box::pin(hit_coded::answer(core, x, stored, told, rules, outgoing)).await;
    }
    let shape = shape(x, stored, || core.runtime.wall().as_secs());
    pin!(send(core, x, stored, told, shape, Content::Plain, outgoing)).await
}

/// Sends a stored response in this shape.
///
/// # Errors
/// As [`answer`].
pub(super) async fn send<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    stored: &Stored,
    told: CacheStatus,
    shape: Shape,
    content: Content<'_>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let body = match (shape, content) {
        (Shape::Whole, Content::Coded(content)) => content,
        (Shape::Whole, Content::Plain) => &stored.body[..],
        (Shape::Part(start, end), _) => &stored.body[start..end],
        (Shape::Known | Shape::Unsatisfiable, _) => &[],
    };
    let length = BodyLength::Exact(body.len() as u64);
    outgoing.frame(shape.status(stored), length);
    let framing = match content {
        Content::Coded(_) => length,
        // What is stored says it itself.
        Content::Plain => BodyLength::None,
    };
    let mut out = head(core, x, stored, told, (shape, framing), outgoing)?;
    let bodiless = outgoing.head_only || matches!(shape.status(stored).0, 204 | 304);
    let mut left = if bodiless { &[] } else { body };
    outgoing.begun = true;
    // Where the route has a bandwidth, in pieces with a rest behind each.
    let piece_max = outgoing.piece_bytes().unwrap_or(usize::MAX);
    while left.len() > out.spare().min(piece_max) {
        let (now, later) = left.split_at(out.spare().min(piece_max));
        let fits = out.put(now);
        debug_assert!(fits, "cut to the room there is");
        left = later;
        outgoing.write(std::mem::replace(&mut out, core.buffer()?)).await?;
        outgoing.rest().await;
    }
    let fits = out.put(left);
    debug_assert!(fits, "there is room for what is left");
    outgoing.write(out).await
}

/// The head that goes out. `framing` is that of a content other than the stored one, else `None`.
///
/// # Errors
/// It has become too large, or no buffer is free.
pub(super) fn head<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    stored: &Stored,
    told: CacheStatus,
    (shape, framing): (Shape, BodyLength),
    outgoing: &Outgoing<'_, R>,
) -> Result<Buf, Fault> {
    let mut out = core.buffer()?;
    let now = outgoing.known.unwrap_or_else(|| core.runtime.now());
    let age = stored.freshness.age(now).as_secs();
    let fits = match framing {
        BodyLength::None => put_head(&mut out, stored, shape),
        other => put_coded_head(&mut out, stored, other),
    };
    let fits = fits
        && put_number(&mut out, b"age: ", age)
        && put_status(&mut out, told)
        && put_connection(&mut out, outgoing)
        && out.put(x.reply_fields.as_bytes())
        && out.put(b"\r\n");
    if !fits {
        let kind = FaultKind::HttpResponseHeaderSectionSize;
        return Err(Fault { kind, side: Side::Gateway, again: Again::Never });
    }
    let out = answering::finish_head(core, outgoing, x, out)?;
    x.status = Some(shape.status(stored));
    x.cached = Some(told.word());
    Ok(out)
}

impl Shape {
    fn status(self, stored: &Stored) -> Status {
        match self {
            Self::Whole => stored.status,
            Self::Part(..) => Status(206),
            Self::Known => Status(304),
            Self::Unsatisfiable => Status(416),
        }
    }
}

/// What this request gets of it. Conditions and ranges are for what would be a 200 (RFC 9110 §13.2.1, §14.2).
pub(super) fn shape(x: &Exchange, stored: &Stored, now: impl Fn() -> u64) -> Shape {
    let request = x.request();
    if stored.status != Status(200) {
        return Shape::Whole;
    }
    if conditional::is_conditional(request)
        && conditional::is_known(request, &stored.validators(), now())
    {
        return Shape::Known;
    }
    let Some(range) = request.field(FieldName::Range) else { return Shape::Whole };
    if x.head.method != Method::Get
        || !conditional::range_holds(request, &stored.validators(), now())
    {
        return Shape::Whole;
    }
    match ranges::wanted(range, stored.body.len() as u64) {
        Wanted::Whole => Shape::Whole,
        Wanted::Part(start, end) => Shape::Part(start as usize, end as usize),
        Wanted::Nothing => Shape::Unsatisfiable,
    }
}

fn put_head(out: &mut Buf, stored: &Stored, shape: Shape) -> bool {
    let total = stored.body.len() as u64;
    match shape {
        Shape::Whole => out.put(&stored.head),
        Shape::Part(start, end) => {
            let mut number = itoa::Buffer::new();
            out.put(b"HTTP/1.1 206 Partial Content\r\n")
                && put_lines(out, stored, |name| !name.eq_ignore_ascii_case(b"content-length"))
                && out.put(b"content-range: bytes ")
                && out.put(number.format(start).as_bytes())
                && out.put(b"-")
                && out.put(number.format(end - 1).as_bytes())
                && put_number(out, b"/", total)
                && put_number(out, b"content-length: ", (end - start) as u64)
        }
        // A 304 speaks of what the client has; of the content it says nothing (RFC 9110 §15.4.5).
        Shape::Known => {
            out.put(b"HTTP/1.1 304 Not Modified\r\n") && put_lines(out, stored, says_of_no_content)
        }
        Shape::Unsatisfiable => {
            out.put(b"HTTP/1.1 416 Range Not Satisfiable\r\n")
                && put_lines(out, stored, says_of_no_content)
                && put_number(out, b"content-range: bytes */", total)
                && out.put(b"content-length: 0\r\n")
        }
    }
}

/// The head of the whole in another coding.
fn put_coded_head(out: &mut Buf, stored: &Stored, framing: BodyLength) -> bool {
    let is_length = |name: &[u8]| name.eq_ignore_ascii_case(b"content-length");
    out.put(&stored.head[..stored.status_line])
        && put_lines(out, stored, |name| !is_length(name))
        && match framing {
            BodyLength::Exact(bytes) => put_number(out, b"content-length: ", bytes),
            BodyLength::Chunked => out.put(b"transfer-encoding: chunked\r\n"),
            BodyLength::None | BodyLength::UntilClose => true,
        }
}

fn says_of_no_content(name: &[u8]) -> bool {
    let of_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    !of_content || name.eq_ignore_ascii_case(b"content-location")
}

fn put_lines(out: &mut Buf, stored: &Stored, keep: impl Fn(&[u8]) -> bool) -> bool {
    lines(stored.fields()).filter(|(name, ..)| keep(name)).all(|(.., line)| out.put(line))
}

fn put_number(out: &mut Buf, name: &[u8], number: u64) -> bool {
    out.put(name) && out.put(itoa::Buffer::new().format(number).as_bytes()) && out.put(b"\r\n")
}

fn put_status(out: &mut Buf, told: CacheStatus) -> bool {
    let mut fits = out.put(b"cache-status: ");
    told.write(&mut |piece| fits &= out.put(piece));
    fits && out.put(b"\r\n")
}

fn put_connection<R: Runtime>(out: &mut Buf, outgoing: &Outgoing<'_, R>) -> bool {
    match (outgoing.keep_alive, outgoing.version) {
        (false, _) => out.put(b"connection: close\r\n"),
        (true, Version::Http10) => out.put(b"connection: keep-alive\r\n"),
        (true, _) => true,
    }
}
