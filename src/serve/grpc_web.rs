//! Calls in gRPC-Web on their way: the request becomes one of gRPC, the answer one of gRPC-Web.
//!
//! A route says `grpc_web = true` for it (grpc/doc/PROTOCOL-WEB.md; docs/policies/grpc-web.md). The request's type is told
//! as that of gRPC, its base64 is undone where it is read; in the answer the trailers (RFC 9112 §7.1.2) become the last
//! frame of the body, whose messages pass as they are, each when it comes. An answer that is no gRPC is never touched.

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::fault::Fault;
use crate::gateway::route::Route;
use crate::http::Method;
use crate::http::framing::BodyLength;
use crate::http::grpc_web::{self, Call, Decoder, Form};
use crate::http::h1::chunked;
use crate::http::head::{Request, Response};
use crate::http::names::FieldName;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::attempt::FRAME_END_BYTES;
use crate::serve::body::BodyReader;
use crate::serve::outgoing::Outgoing;

/// Fields of an answer that are not true of its translation.
pub const REPLACED: &[FieldName] =
    &[FieldName::XRequestId, FieldName::ContentType, FieldName::Trailer];

/// Takes note of what the route does to every answer, and of a request in gRPC-Web where it translates.
#[inline]
pub fn begin<'a, R: Runtime>(
    route: &'a Route,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'a, R>,
) {
    outgoing.answering = route.answering.as_deref();
    if outgoing.answering.is_some_and(|rules| rules.grpc_web) && x.head.method == Method::Post {
        begin_call(x, incoming);
    }
}

fn begin_call<R: Runtime>(x: &mut Exchange, incoming: &mut BodyReader<'_, R>) {
    let request = x.request();
    let kind = request.field(FieldName::ContentType);
    let call = kind.and_then(|kind| Call::of(kind, request.field_named(b"accept")));
    x.grpc.web = call;
    if !call.is_some_and(|call| call.request == Form::Text) {
        return;
    }
    incoming.recode = Some(Decoder::default());
    if matches!(x.head.body, BodyLength::Exact(1..)) {
        // What is told is the length in base64.
        x.head.body = BodyLength::Chunked;
    }
}

/// Appends the lines that make a request one of gRPC, in place of its own Content-Type; `wants_trailers` says that the
/// client's own TE passes.
pub fn put_request_lines(request: Request<'_>, wants_trailers: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-type: ");
    grpc_web::put_request_kind(request.field(FieldName::ContentType).unwrap_or_default(), out);
    out.extend_from_slice(b"\r\n");
    if !wants_trailers {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
}

/// Whether an answer is to be translated: then its media type is added to the exchange's fields, and how its body is
/// delimited from here on is said.
pub fn choose<R: Runtime>(
    x: &mut Exchange,
    response: Response<'_>,
    outgoing: &mut Outgoing<'_, R>,
) -> Option<BodyLength> {
    let call = x.grpc.web?;
    let mut kind = Vec::with_capacity(48);
    let own = response.field(FieldName::ContentType)?;
    if !call.put_answer_kind(own, &mut kind) || !x.reply_fields.add("content-type", &kind) {
        return None;
    }
    if matches!(response.head.body, BodyLength::None | BodyLength::Exact(0)) {
        // "Trailers-Only": the status stands in the head, where clients look for it, too.
        return Some(response.head.body);
    }
    outgoing.grpc_web = Some(call.answer);
    Some(BodyLength::Chunked)
}

/// Sends the head and what is there of the body.
///
/// # Errors
/// As [`Outgoing::begin`].
pub async fn first<R: Runtime>(
    core: &Core<R>,
    form: Form,
    outgoing: &mut Outgoing<'_, R>,
    head: Buf,
    piece: Option<Buf>,
    last: bool,
) -> Result<(), Fault> {
    if form == Form::Binary {
        return outgoing.begin(head, piece, last).await;
    }
    outgoing.begin(head, None, false).await?;
    if let Some(piece) = piece {
        send(core, form, outgoing, piece.data()).await?;
    }
    if last { outgoing.end(&[]).await } else { Ok(()) }
}

/// Sends a further piece.
///
/// # Errors
/// As [`Outgoing::piece`].
pub async fn next<R: Runtime>(
    core: &Core<R>,
    form: Form,
    outgoing: &mut Outgoing<'_, R>,
    piece: Buf,
) -> Result<(), Fault> {
    match form {
        Form::Binary => outgoing.piece(piece).await,
        Form::Text => send(core, form, outgoing, piece.data()).await,
    }
}

/// Sends the trailers as the last frame, and the end of the body.
///
/// # Errors
/// As [`Outgoing::end`].
pub async fn end<R: Runtime>(
    core: &Core<R>,
    form: Form,
    outgoing: &mut Outgoing<'_, R>,
    trailers: &[u8],
) -> Result<(), Fault> {
    if !trailers.is_empty() {
        send(core, form, outgoing, &grpc_web::trailer_frame(trailers)).await?;
    }
    outgoing.end(&[]).await
}

/// Sends bytes of the body in this form, in as many pieces as hold them.
async fn send<R: Runtime>(
    core: &Core<R>,
    form: Form,
    outgoing: &mut Outgoing<'_, R>,
    bytes: &[u8],
) -> Result<(), Fault> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut out = core.buffer()?;
        out.clear_with_headroom(chunked::FRAME_HEADROOM);
        let room = out.spare() - FRAME_END_BYTES;
        let now = match form {
            Form::Binary => rest.len().min(room),
            Form::Text => grpc_web::encodable(rest.len(), room),
        };
        let (now, later) = rest.split_at(now);
        match form {
            Form::Binary => {
                let fits = out.put(now);
                debug_assert!(fits, "cut to the room there is");
            }
            Form::Text => grpc_web::encode(now, &mut out),
        }
        outgoing.piece(out).await?;
        rest = later;
    }
    Ok(())
}
