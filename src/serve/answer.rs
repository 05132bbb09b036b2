//! The only place where a fault becomes a response, and where local replies are written.
//!
//! Errors are `application/problem+json` (RFC 9457) with a Proxy-Status field (RFC 9209). They never say
//! anything about the inside: no upstream, no address, no reason beyond the fault's registered name.

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::fault::{Fault, FaultKind, Side};
use crate::exchange::reply::Reply;
use crate::http::framing::BodyLength;
use crate::http::{Status, Version, date};
use crate::policy::cors;
use crate::runtime::Runtime;
use crate::serve::outgoing::Outgoing;
use crate::serve::{Core, answering, compressing, grpc, h1};

/// Our name in Proxy-Status.
const PROXY_NAME: &str = "ringway";

/// Answers a fault, if an answer can still be given.
pub async fn fault<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    fault: Fault,
    outgoing: &mut Outgoing<'_, R>,
) {
    if outgoing.begun || fault.kind == FaultKind::ClientGone {
        x.fault = Some(fault);
        outgoing.keep_alive = false;
        if x.grpc.is_any() && fault.side == Side::Upstream && outgoing.takes_trailers() {
            Box::pin(end_call(x, fault.kind, outgoing)).await;
        }
        return;
    }
    if closes(fault.kind) {
        outgoing.keep_alive = false;
    }
    part_fault(core, x, fault, fault.kind.status(), outgoing).await;
}

/// Ends a call of gRPC whose answer has begun: its client is told why in the trailers, which a whole answer would have,
/// too. Never after a fault of the client's side, which may have come in the middle of a piece.
async fn end_call<R: Runtime>(x: &mut Exchange, kind: FaultKind, outgoing: &mut Outgoing<'_, R>) {
    let mut lines = Vec::with_capacity(96);
    x.grpc.status = Some(grpc::put_status(kind.status(), detail(kind, x.reason), &mut lines));
    // A client that is gone meanwhile changes nothing.
    let _ = outgoing.end(&lines).await;
}

/// Answers a fault with a status of its own: that of a required part (CONFIG.md rule 5).
pub async fn part_fault<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    fault: Fault,
    status: Status,
    outgoing: &mut Outgoing<'_, R>,
) {
    let mut body = Vec::with_capacity(256);
    problem(&mut body, x, detail(fault.kind, x.reason), status);
    part_problem(core, x, fault, status, &body, outgoing).await;
}

/// The same with a problem document of the part's own (RFC 9457), which the configuration passes on.
pub async fn part_problem<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    fault: Fault,
    status: Status,
    body: &[u8],
    outgoing: &mut Outgoing<'_, R>,
) {
    outgoing.let_go();
    x.fault = Some(fault);
    let mut fields = Vec::with_capacity(64);
    fields.extend_from_slice(b"cache-control: no-store\r\nproxy-status: ");
    fields.extend_from_slice(PROXY_NAME.as_bytes());
    fields.extend_from_slice(b"; error=");
    fields.extend_from_slice(fault.kind.name().as_bytes());
    fields.extend_from_slice(b"\r\n");
    if let Some(kind) = grpc::error_type(x) {
        x.grpc.status = Some(grpc::put_status(status, detail(fault.kind, x.reason), &mut fields));
        let local = Local { status: Status(200), fields: &fields, kind, body: b"" };
        return send(core, x, local, outgoing).await;
    }
    send(
        core,
        x,
        Local { status, fields: &fields, kind: "application/problem+json", body },
        outgoing,
    )
    .await;
}

/// Sends a fixed reply or a redirection.
pub async fn reply<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    reply: &Reply,
    outgoing: &mut Outgoing<'_, R>,
) {
    if reply.close {
        outgoing.keep_alive = false;
    }
    let local = Local {
        status: reply.status,
        fields: reply.fields.as_bytes(),
        kind: reply.content_type,
        body: reply.body.as_bytes(),
    };
    send(core, x, local, outgoing).await;
}

/// Sends a fixed reply whose body is the gateway's own problem document.
pub async fn problem_reply<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    reply: &Reply,
    detail: &str,
    outgoing: &mut Outgoing<'_, R>,
) {
    if let Some(kind) = grpc::error_type(x) {
        let mut fields = reply.fields.as_bytes().to_vec();
        x.grpc.status = Some(grpc::put_status(reply.status, detail, &mut fields));
        let local = Local { status: Status(200), fields: &fields, kind, body: b"" };
        return send(core, x, local, outgoing).await;
    }
    let mut body = Vec::with_capacity(256);
    problem(&mut body, x, detail, reply.status);
    let (fields, kind) = (reply.fields.as_bytes(), reply.content_type);
    send(core, x, Local { status: reply.status, fields, kind, body: &body }, outgoing).await;
}

/// A response made here.
pub struct Local<'a> {
    /// Its status.
    pub status: Status,
    /// Complete field lines.
    pub fields: &'a [u8],
    /// Media type of the body; empty for none.
    pub kind: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Sends a local response whose body may be larger than a buffer.
pub async fn send<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    local: Local<'_>,
    outgoing: &mut Outgoing<'_, R>,
) {
    let written =
        send_pieces(core, x, &local, [local.body].into_iter(), local.body.len(), outgoing);
    if let Err(gone) = written.await {
        outgoing.keep_alive = false;
        x.fault.get_or_insert(gone);
    }
}

/// Sends a local response whose body is given in pieces of `body_bytes` in all.
///
/// # Errors
/// The client is gone.
pub async fn send_pieces<'p, R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    local: &Local<'_>,
    pieces: impl Iterator<Item = &'p [u8]>,
    body_bytes: usize,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let out = begin_pieces(core, x, local, body_bytes, outgoing)?;
    send_behind(core, local.status, out, pieces, outgoing).await
}

/// The head of a local response whose body of so many bytes follows in pieces. From here on it is the answer.
///
/// # Errors
/// The core's budget of buffers is spent.
pub fn begin_pieces<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    local: &Local<'_>,
    body_bytes: usize,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Buf, Fault> {
    let mut out = core.buffer()?;
    let body = BodyLength::Exact(body_bytes as u64);
    let body = compressing::choose_local(core, x, said(local), body, outgoing);
    let framing = outgoing.frame(local.status, body);
    let secs = core.runtime.wall().as_secs();
    head(&mut out, x, local, framing, outgoing.version, outgoing.keep_alive, secs);
    let out = answering::finish_head(core, outgoing, x, out)?;
    x.status = Some(local.status);
    outgoing.begun = true;
    Ok(out)
}

/// Sends the head that `begin_pieces` wrote, and the pieces behind it.
///
/// # Errors
/// The client is gone.
pub async fn send_behind<'p, R: Runtime>(
    core: &Core<R>,
    status: Status,
    mut out: Buf,
    pieces: impl Iterator<Item = &'p [u8]>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    if outgoing.encoding.is_some() {
        return Box::pin(send_coded(core, out, pieces, outgoing)).await;
    }
    if outgoing.has_body(status) {
        for piece in pieces {
            let mut piece = piece;
            while !piece.is_empty() {
                if out.spare() == 0 {
                    outgoing.write(std::mem::replace(&mut out, core.buffer()?)).await?;
                }
                let (now, later) = piece.split_at(piece.len().min(out.spare()));
                let fits = out.put(now);
                debug_assert!(fits, "cut to the room there is");
                piece = later;
            }
        }
    }
    outgoing.write(out).await
}

/// What compression asks of a local response.
fn said<'l>(local: &Local<'l>) -> (Status, &'l str, &'l [u8]) {
    (local.status, local.kind, local.fields)
}

/// Sends a local response through its encoder.
async fn send_coded<'p, R: Runtime>(
    core: &Core<R>,
    head: Buf,
    pieces: impl Iterator<Item = &'p [u8]>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    outgoing.begin(head, None, false).await?;
    let mut out = core.buffer()?;
    for piece in pieces {
        let mut piece = piece;
        while !piece.is_empty() {
            if out.spare() == 0 {
                outgoing.piece(std::mem::replace(&mut out, core.buffer()?)).await?;
            }
            let (now, later) = piece.split_at(piece.len().min(out.spare()));
            let fits = out.put(now);
            debug_assert!(fits, "cut to the room there is");
            piece = later;
        }
    }
    outgoing.piece(out).await?;
    outgoing.end(&[]).await
}

/// The head of a local response whose body follows, of a length that is not known yet.
///
/// # Errors
/// The core's budget of buffers is spent.
pub fn streamed_head<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    local: &Local<'_>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Buf, Fault> {
    let mut out = core.buffer()?;
    let body = compressing::choose_local(core, x, said(local), BodyLength::Chunked, outgoing);
    let framing = outgoing.frame(local.status, body);
    let secs = core.runtime.wall().as_secs();
    head(&mut out, x, local, framing, outgoing.version, outgoing.keep_alive, secs);
    answering::finish_head(core, outgoing, x, out)
}

/// Writes the head of a local response. It always fits: every line of it is bounded far below a buffer.
fn head(
    out: &mut Buf,
    x: &Exchange,
    local: &Local<'_>,
    framing: BodyLength,
    version: Version,
    keep_alive: bool,
    wall_secs: u64,
) {
    let mut put = |bytes: &[u8]| {
        let fits = out.put(bytes);
        debug_assert!(fits, "a local head fits a buffer");
    };
    let mut number = itoa::Buffer::new();
    put(b"HTTP/1.1 ");
    put(number.format(local.status.0).as_bytes());
    put(b" ");
    put(local.status.reason().as_bytes());
    put(b"\r\ndate: ");
    put(&date::imf_fixdate(wall_secs));
    if !local.kind.is_empty() {
        put(b"\r\ncontent-type: ");
        put(local.kind.as_bytes());
    }
    if let (BodyLength::Exact(bytes), false) = (framing, local.status.0 == 204) {
        put(b"\r\ncontent-length: ");
        put(number.format(bytes).as_bytes());
    }
    if framing == BodyLength::Chunked {
        put(b"\r\ntransfer-encoding: chunked");
    }
    match (keep_alive, version) {
        (false, _) => put(b"\r\nconnection: close\r\n"),
        (true, Version::Http10) => put(b"\r\nconnection: keep-alive\r\n"),
        (true, _) => put(b"\r\n"),
    }
    put(x.reply_fields.as_bytes());
    put(local.fields);
    put(b"\r\n");
}

/// After these the framing of the connection cannot be trusted, or the client is better off anew.
fn closes(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::HttpRequestError
            | FaultKind::RequestTimeout
            | FaultKind::BodyTooLarge
            | FaultKind::TargetTooLong
            | FaultKind::HeadTooLarge
            | FaultKind::ExpectationRefused
            | FaultKind::NotImplemented
            | FaultKind::VersionRefused
    )
}

/// The body of an error: RFC 9457 members, and the request id to ask about.
fn problem(body: &mut Vec<u8>, x: &Exchange, detail: &str, status: Status) {
    body.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":\"");
    body.extend_from_slice(status.reason().as_bytes());
    body.extend_from_slice(b"\",\"status\":");
    body.extend_from_slice(itoa::Buffer::new().format(status.0).as_bytes());
    body.extend_from_slice(b",\"detail\":\"");
    body.extend_from_slice(detail.as_bytes());
    body.extend_from_slice(b"\"");
    if !x.id.as_bytes().is_empty() {
        body.extend_from_slice(b",\"request_id\":\"");
        body.extend_from_slice(x.id.as_bytes());
        body.extend_from_slice(b"\"");
    }
    body.extend_from_slice(b"}\n");
}

/// One sentence for the client: what happened, and what it can do.
fn detail(kind: FaultKind, reason: &str) -> &'static str {
    match kind {
        FaultKind::HttpRequestError if reason == h1::TLS_HANDSHAKE => {
            "This is TLS; this address speaks HTTP without it."
        }
        FaultKind::HttpRequestError if reason == h1::PLAIN_HTTP => {
            "This is HTTP without TLS; this address speaks https only."
        }
        FaultKind::HttpRequestError if reason == h1::PROXY_HEADER => {
            "This is a PROXY header; none is expected at this address."
        }
        FaultKind::HttpRequestError => "The request is malformed or ambiguous.",
        FaultKind::PathRefused => {
            "The path is spelt in a way that services read differently: dot segments, empty segments, encoded slashes, semicolons, invalid encoding, or the name of another route in disguise."
        }
        FaultKind::ValueMissing => "The request lacks a value that this route needs.",
        FaultKind::Unauthorized => "Valid credentials are needed; WWW-Authenticate says which.",
        FaultKind::HttpRequestDenied => {
            cors::Refused::detail(reason).unwrap_or("This request is not allowed.")
        }
        FaultKind::MisdirectedRequest => {
            "This host asks for other client certificates than this connection was made with; open a new connection."
        }
        FaultKind::RouteMissing => "Nothing is served at this address.",
        FaultKind::MethodRefused => "This method is not allowed here; Allow names those that are.",
        FaultKind::RequestTimeout => "The request did not arrive in time.",
        FaultKind::BodyTooLarge => "The request's body is larger than allowed.",
        FaultKind::TargetTooLong => "The request target is longer than allowed.",
        FaultKind::ExpectationRefused => "The Expect field asks for something unknown.",
        FaultKind::RateLimited => "Too many requests; Retry-After says when to come back.",
        FaultKind::HeadTooLarge => "The request's header section is larger than allowed.",
        FaultKind::ClientGone => "The client closed the connection.",
        FaultKind::ProxyInternalError => "The gateway made a mistake.",
        FaultKind::NotImplemented => "The request uses a coding or method that is not supported.",
        FaultKind::ConnectionRefused
        | FaultKind::ConnectionTerminated
        | FaultKind::TlsProtocolError
        | FaultKind::TlsCertificateError
        | FaultKind::TlsAlertReceived
        | FaultKind::HttpProtocolError
        | FaultKind::HttpResponseIncomplete
        | FaultKind::HttpResponseHeaderSectionSize => "The service did not answer properly.",
        FaultKind::PartFailed => "A service that this answer needs failed.",
        FaultKind::DestinationUnavailable
        | FaultKind::KeysUnavailable
        | FaultKind::UpstreamLimited
        | FaultKind::LimitStoreAway
        | FaultKind::ConcurrencyLimited
        | FaultKind::ConnectionLimitReached => "The service is not available at the moment.",
        FaultKind::TunnelIdle => "The connection was idle for too long.",
        FaultKind::GatewayStopping => "The gateway is being stopped.",
        FaultKind::ConnectionTimeout | FaultKind::HttpResponseTimeout => {
            "The service did not answer in time."
        }
        FaultKind::VersionRefused if reason == h1::HTTP1 => "This address speaks HTTP/2 only.",
        FaultKind::VersionRefused => "This HTTP version is not supported.",
    }
}
