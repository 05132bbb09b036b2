//! Drives HTTP/1.1 over one connection while it is busy: heads in, exchanges, what follows them.
//!
//! Requests of one connection are answered one after the other, in order (RFC 9112 §9.3.2). A
//! connection whose framing is in doubt is never used for another request.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::gateway::listener::Listener;
use crate::http::framing::BodyLength;
use crate::http::h1::chunked;
use crate::http::h1::parse::{self, HeadError, Parsed};
use crate::http::names::FieldName;
use crate::http::{Version, h2};
use crate::net::proxy_protocol;
use crate::net::strand::Wire;
use crate::observe::trace;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::arriving::{Arrived, Begun, Cut, EMPTY_LINE};
use crate::serve::attempt::Lease;
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::connection::{Downstream, Waited};
use crate::serve::exchange::{self, Way};
use crate::serve::outgoing::Outgoing;
use crate::serve::secure::HANDSHAKE;
use crate::serve::tunnel::{self, Ends};
use crate::serve::watch::Watch;
use crate::serve::work::Work;
use crate::serve::{Core, Installed, answer, proxy_header, record};

/// Why a head is refused: it is the beginning of TLS.
pub const TLS_HANDSHAKE: &str = "tls_handshake";
/// Why a head is refused: it came without TLS to a listener that speaks nothing else.
pub const PLAIN_HTTP: &str = "plain_http";
/// Why a head is refused: it came in HTTP/1.1 to a listener that speaks HTTP/2 only.
pub const HTTP1: &str = "http1";
/// Why a head is refused: it is a PROXY header, and none is due.
pub const PROXY_HEADER: &str = "proxy_header";

/// What becomes of a connection that is not busy any more.
pub enum After {
    /// It waits for its next request.
    Idle,
    /// It waits for the rest of a head.
    Begun(Begun),
    /// Its client speaks HTTP/2, and these bytes came.
    Http2(Buf),
    /// It is closed.
    Close,
}

/// A busy connection keeps its state this long between two requests; then it becomes idle and small. To make it
/// again is a part of a microsecond, and a client that asks less often than ten times a second needs it seldom.
const LINGER_BUSY: Duration = Duration::from_millis(100);

/// A closing connection whose client may still be sending is read for at most this long and this much,
/// so that the answer is not lost to a reset (RFC 9112 §9.6).
const LINGER_CLOSE: Duration = Duration::from_secs(1);
const LINGER_CLOSE_BYTES_MAX: usize = 1024 * 1024;

/// Serves requests while they come; of the first, `arrived` is here already, or it has just begun.
pub async fn busy<R: Runtime>(
    core: &Rc<Core<R>>,
    connection: &Downstream<R>,
    mut arrived: Option<Arrived>,
) -> After {
    let slots = [core.deadlines.slot(), core.deadlines.slot(), core.deadlines.slot()];
    let [_, down, _] = &slots;
    if arrived.is_none() {
        match proxy_header::read(core, connection, down).await {
            Ok(behind) => arrived = behind.map(|bytes| Arrived::of(core, bytes)),
            Err(after) => return after,
        }
    }
    let mut work = core.take_work();
    let after = loop {
        let Ok(head) = arrived.take().map_or_else(|| Arrived::nothing(core, connection), Ok) else {
            break After::Close;
        };
        let stream = &connection.stream;
        let next = { pin!(serve_one(core, connection, stream, &mut work, head, &slots)).await };
        match next {
            Next::Request(Some(bytes)) if bytes.data() != EMPTY_LINE => {
                arrived = Some(Arrived::of(core, bytes));
            }
            Next::Rest(head) if !head.is_empty_line() => break After::Begun(head),
            Next::Close => break After::Close,
            Next::Http2(bytes) => break After::Http2(bytes),
            next @ (Next::Request(_) | Next::Rest(_)) => {
                // What is here is nothing or an empty line: the connection is idle.
                connection.empty_line.set(!matches!(next, Next::Request(None)));
                drop(next);
                let Some(_lingering) = core.linger() else { break After::Idle };
                // It became idle when its exchange was over, and nothing was waited for since.
                let over = work.x.timeline.done.unwrap_or_else(|| core.runtime.now());
                let until = over + LINGER_BUSY;
                match connection.idle(core, down, until).await {
                    Waited::Readable => {}
                    Waited::InVain => break After::Idle,
                    Waited::Close => break After::Close,
                }
            }
        }
    };
    core.keep_work(work);
    after
}

/// What follows an exchange on its connection.
pub enum Next {
    /// Another request, of which some bytes may be here.
    Request(Option<Buf>),
    /// The rest of a head that has begun to arrive.
    Rest(Begun),
    /// Frames of HTTP/2, for what came is its preface.
    Http2(Buf),
    /// Nothing.
    Close,
}

impl Next {
    /// Whether request and response were whole.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Request(_))
    }
}

/// One request: its head, its walk, its record. It is read from `stream`, and answered there: that of the
/// connection, or one of several in it.
pub async fn serve_one<R: Runtime>(
    core: &Rc<Core<R>>,
    connection: &Downstream<R>,
    stream: &Wire<R::Stream>,
    work: &mut Work,
    head: Arrived,
    [up, down, aside]: &[Slot; 3],
) -> Next {
    let installed = core.installed();
    let Some(listener) = connection.listener(&installed) else { return Next::Close };
    let Work { x, chunks, response } = work;
    x.clear();
    x.timeline.begun = head.begun;
    x.began = head.began;
    connection.introduce(listener, x);
    let mut outgoing = Outgoing::new(core, stream, down, listener);
    let read = pin!(read_head(core, connection, stream, listener, down, x, head)).await;
    let buf = match read {
        Ok(buf) => buf,
        Err(Unread::Gone) => return Next::Close,
        Err(Unread::Begun(head)) => return Next::Rest(head),
        Err(Unread::Http2(bytes)) => return Next::Http2(bytes),
        Err(Unread::Refused(refused)) => {
            Box::pin(refuse(core, &installed, listener, x, refused, &mut outgoing)).await;
            return close(core, connection, stream, down).await;
        }
    };
    let Ok((arrived, bytes)) = split_body(core, x, buf) else { return Next::Close };
    x.bytes = Some(bytes);
    begin(core, &installed, listener, x);
    outgoing.answers(&x.head);
    let rules =
        BodyRules { side: Side::Downstream, pause_max: listener.body_timeout, bytes_max: u64::MAX };
    let mut incoming = BodyReader::new(core, stream, up, chunks, x.head.body, arrived, rules);
    incoming.demand(listener.body_rate_min);
    let in_flight = core.exchange();
    let watch = &Watch::new(core, stream, aside);
    let way = Way { core, installed: &installed, listener, up, down, watch };
    let switched = pin!(exchange::run(&way, x, response, &mut incoming, &mut outgoing)).await;
    let body_bytes = incoming.wire_bytes();
    let whole = incoming.is_done();
    if x.reason.is_empty() {
        x.reason = incoming.broken();
    }
    let behind_body = incoming.into_rest();
    if let Some(lease) = switched {
        let moved = (body_bytes, outgoing.bytes);
        tunnel(&way, connection, stream, x, lease, behind_body, moved).await;
        return Next::Close;
    }
    drop(in_flight);
    record::finish(core, &installed, x, body_bytes, outgoing.bytes);
    if x.fault.is_some() && outgoing.ends_with_connection() {
        stream.reset_on_close();
        return Next::Close;
    }
    if stream.is_strand() && whole && x.fault.is_none() {
        return Next::Request(None);
    }
    let behind = behind_body.or_else(|| behind_head(x));
    if whole && outgoing.keep_alive {
        return Next::Request(behind);
    }
    // Closing while bytes lie unread resets the connection, and with it what the client has not read yet.
    let unread = !whole || behind.is_some() || stream.has_unread();
    if unread && x.fault.is_none_or(|fault| fault.kind != FaultKind::ClientGone) {
        return close(core, connection, stream, down).await;
    }
    Next::Close
}

/// Closes a connection whose client may still be sending; a stream within one ends by itself.
async fn close<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    stream: &Wire<R::Stream>,
    slot: &Slot,
) -> Next {
    if !stream.is_strand() {
        linger(core, connection, slot).await;
    }
    Next::Close
}

/// Why no head was read.
enum Unread {
    /// The client closed before its request began.
    Gone,
    /// Only a part of it is here: what waits for the rest must not hold all that an exchange does.
    Begun(Begun),
    /// It is no head but the preface of HTTP/2.
    Http2(Buf),
    /// What it sent is refused.
    Refused(Refused),
}

/// A head that is refused.
struct Refused {
    fault: Fault,
    /// Why in one word, where the fault does not say it.
    reason: &'static str,
    /// What is here of it.
    bytes: Option<Buf>,
}

/// Takes a head that is here or comes with the next read; the buffer returned begins with it.
async fn read_head<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    stream: &Wire<R::Stream>,
    listener: &Listener,
    slot: &Slot,
    x: &mut Exchange,
    arrived: Arrived,
) -> Result<Buf, Unread> {
    let refused = |fault, reason, bytes| Unread::Refused(Refused { fault, reason, bytes });
    x.grpc.is_call = arrived.is_grpc;
    let Arrived { mut bytes, unread, mut seen, cut, .. } = arrived;
    // What came with the request before it, or in front of it, is here since it began.
    let waited = unread || seen > 0 || cut.is_some();
    if unread {
        let until = x.timeline.begun + listener.head_timeout;
        let room = bytes.spare();
        match slot.within(until, pin!(stream.read(bytes, room))).await {
            Ok((Ok(0) | Err(_), _)) => return Err(Unread::Gone),
            Ok((Ok(_), filled)) => bytes = filled,
            // It had begun, for there was something to read: only this core was too slow.
            Err(_) => return Err(refused(refusal(FaultKind::RequestTimeout), "", None)),
        }
        seen = 0;
    }
    if connection.unsecured.get() {
        return Err(refused(refusal(FaultKind::HttpRequestError), PLAIN_HTTP, Some(bytes)));
    }
    let parsed = parse::request(bytes.data(), seen, &listener.head_limits, &mut x.head);
    if stream.is_strand() {
        x.head.version = Version::Http2;
    }
    match parsed {
        Ok(Parsed::Done) if !listener.protocols.http1 && !stream.is_strand() => {
            Err(refused(refusal(FaultKind::VersionRefused), HTTP1, Some(bytes)))
        }
        Ok(Parsed::Done) => {
            if stream.is_strand() {
                // It was whole when it came.
                x.timeline.head = Some(x.timeline.begun);
            } else {
                let came = x.timeline.begun;
                x.timeline.head = Some(if waited { core.runtime.now() } else { came });
                connection.asked.set(true);
            }
            Ok(bytes)
        }
        Ok(Parsed::Partial) => Err(match cut {
            None => Unread::Begun(Begun::of(bytes, x)),
            Some(Cut::Ended) => Unread::Gone,
            Some(Cut::Refused(fault, reason)) => refused(fault, reason, Some(bytes)),
        }),
        Err(_) if may_be_http2(connection, listener, bytes.data(), cut.is_some()) => {
            Err(match h2::is_preface(bytes.data()) {
                Some(_) => Unread::Http2(bytes),
                None => Unread::Begun(Begun::of(bytes, x)),
            })
        }
        Err(error) => {
            let reason = other_protocol(bytes.data()).unwrap_or(error.word());
            Err(refused(fault_of_head(&error), reason, Some(bytes)))
        }
    }
}

/// Whether a client begins to speak HTTP/2 where it may: with the first bytes that it sends (RFC 9113 §3.3). It may
/// be too early to tell, unless nothing more comes.
fn may_be_http2<R: Runtime>(
    connection: &Downstream<R>,
    listener: &Listener,
    raw: &[u8],
    is_cut: bool,
) -> bool {
    let may = listener.protocols.http2 && !connection.stream.is_secure();
    may && !connection.asked.get() && h2::is_preface(raw).unwrap_or(!is_cut)
}

/// Another protocol that a refused head belongs to: the mistakes of a first installation.
fn other_protocol(raw: &[u8]) -> Option<&'static str> {
    match raw {
        [HANDSHAKE, ..] => Some(TLS_HANDSHAKE),
        _ if raw.starts_with(b"PRI * HTTP/2") => Some("http2"),
        _ if proxy_protocol::is_begun(raw) => Some(PROXY_HEADER),
        _ => None,
    }
}

/// Who asks, under which id, in which trace.
fn begin<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    listener: &Listener,
    x: &mut Exchange,
) {
    listener.identify(x);
    let (id, trace) = core.shard(|shard| trace::begin(x.request(), true, &mut shard.rng));
    x.id = id;
    x.reply_fields.add(FieldName::XRequestId.as_str(), id.as_bytes());
    x.trace = trace;
    if let Some(spans) = installed.gateway.record.spans() {
        spans.sample(&mut x.trace);
    }
}

/// Answers and records a request whose head is refused: known of it is why, and for the log what it asked for.
async fn refuse<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    listener: &Listener,
    x: &mut Exchange,
    refused: Refused,
    outgoing: &mut Outgoing<'_, R>,
) {
    let Refused { fault, reason, bytes } = refused;
    let version = x.head.version;
    x.head.clear();
    if let Some(bytes) = &bytes {
        parse::named(bytes.data(), &listener.head_limits, &mut x.head);
    }
    if version == Version::Http2 {
        // Its text is in HTTP/1.1, and its client is not.
        x.head.version = version;
    }
    let read_bytes = bytes.as_ref().map_or(0, Buf::len) as u64;
    x.bytes = bytes;
    x.reason = reason;
    begin(core, installed, listener, x);
    outgoing.answers(&x.head);
    answer::fault(core, x, fault, outgoing).await;
    record::finish(core, installed, x, read_bytes, outgoing.bytes);
    x.bytes = None;
}

/// Takes what came of the body out of the head's buffer, so that the head stays as it is.
fn split_body<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    mut buf: Buf,
) -> Result<(Option<Buf>, Buf), Fault> {
    let head_bytes = x.head.bytes as usize;
    if x.head.body == BodyLength::None || buf.len() == head_bytes {
        return Ok((None, buf));
    }
    let mut arrived = core.buffer()?;
    arrived.clear_with_headroom(chunked::FRAME_HEADROOM);
    let body = &buf.data()[head_bytes..];
    let fits = arrived.put(body);
    debug_assert!(fits, "what lay behind a head fits a buffer less the frame's room");
    buf.truncate(head_bytes);
    Ok((Some(arrived), buf))
}

/// Carries bytes both ways until the tunnel is over, and records how it ended. Its connections are never
/// used for HTTP again. `moved` are the bytes of the body read, and those written, before it began.
async fn tunnel<R: Runtime>(
    way: &Way<'_, R>,
    connection: &Downstream<R>,
    client: &Wire<R::Stream>,
    x: &mut Exchange,
    lease: Lease<R>,
    behind_body: Option<Buf>,
    moved: (u64, u64),
) {
    let Way { core, installed, up, down, .. } = *way;
    let route = x.route.map(|id| installed.gateway.route(id));
    let idle_timeout = route.map_or(Duration::ZERO, |route| route.tunnel_idle_timeout);
    let behind_head = behind_kept_head(x);
    let origin = lease.stream();
    let ends = Ends { core, client, origin, up, down, idle_timeout };
    let carried = tunnel::run(&ends, behind_body.or(behind_head)).await;
    drop(lease);
    if let Some(tunnel) = &mut x.tunnel {
        tunnel.closed_by = carried.closed_by;
    }
    x.fault = carried.fault;
    if let Some(attempt) = x.attempts.last_mut() {
        attempt.bytes += carried.down_bytes;
        attempt.done = Some(core.runtime.now());
    }
    let (read_bytes, sent_bytes) = moved;
    let (read_bytes, sent_bytes) = (read_bytes + carried.up_bytes, sent_bytes + carried.down_bytes);
    record::finish(core, installed, x, read_bytes, sent_bytes);
    if carried.lingers && !client.is_strand() {
        linger(core, connection, down).await;
    }
}

/// What lies behind a head that is kept for the log while its buffer is not.
fn behind_kept_head(x: &mut Exchange) -> Option<Buf> {
    let mut buf = x.keep_head()?;
    buf.consume((x.head.bytes as usize).min(buf.len()));
    if buf.is_empty() { None } else { Some(buf) }
}

/// What lies behind a head without a body: the next request of a pipelining client.
fn behind_head(x: &mut Exchange) -> Option<Buf> {
    let mut buf = x.bytes.take()?;
    buf.consume((x.head.bytes as usize).min(buf.len()));
    if buf.is_empty() { None } else { Some(buf) }
}

/// Sends the end of the stream and reads what the client still sends, for a while.
pub(super) async fn linger<R: Runtime>(core: &Core<R>, connection: &Downstream<R>, slot: &Slot) {
    connection.stream.shutdown_write();
    connection.closing(core, slot);
    let until = core.runtime.now() + LINGER_CLOSE;
    let mut read_bytes = 0;
    let Ok(mut buf) = core.buffer() else { return };
    while read_bytes < LINGER_CLOSE_BYTES_MAX {
        buf.clear();
        let room = buf.spare();
        match slot.within(until, connection.stream.read(buf, room)).await {
            Ok((Ok(n), filled)) if n > 0 => {
                read_bytes += n;
                buf = filled;
            }
            _ => return,
        }
    }
}

fn fault_of_head(error: &HeadError) -> Fault {
    refusal(match error {
        HeadError::Malformed(_) => FaultKind::HttpRequestError,
        HeadError::TooLarge | HeadError::TooManyFields => FaultKind::HeadTooLarge,
        HeadError::TargetTooLong => FaultKind::TargetTooLong,
        HeadError::Version => FaultKind::VersionRefused,
        HeadError::NotImplemented => FaultKind::NotImplemented,
        HeadError::Expectation => FaultKind::ExpectationRefused,
    })
}

/// A head that is not taken is its client's fault, and is not tried anywhere.
fn refusal(kind: FaultKind) -> Fault {
    Fault { kind, side: Side::Downstream, again: Again::Never }
}
