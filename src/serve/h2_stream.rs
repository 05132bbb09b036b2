//! One stream of a client's HTTP/2 connection becomes an exchange (RFC 9113 §8.1).
//!
//! The request is told in HTTP/1.1 and goes the way of all requests: judged by the same parser, walked, answered
//! and recorded by the same lines. What is malformed is answered with 400 and never forwarded; what the `h2` crate
//! finds malformed by itself it resets.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use ::h2::ext::Protocol;
use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::buffer::Buf;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::http::h2::message::{self, Malformed, Told};
use crate::http::h2::priority::Signal;
use crate::net::strand::Wire;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::arriving::{Arrived, Cut};
use crate::serve::connection::Downstream;
use crate::serve::crew::{self, Hand};
use crate::serve::h2::InStream;
use crate::serve::h2_body::Piece;
use crate::serve::h2_strand::ServerStrand;
use crate::serve::h2_turns::{Turn, Turns};
use crate::serve::{Core, grpc, h1};

/// What ends a head in HTTP/1.1.
const EMPTY_LINE: &[u8] = b"\r\n";

/// A stream that is to be served.
pub struct Job<R: Runtime> {
    connection: Rc<Downstream<R>>,
    strand: Rc<ServerStrand>,
    arrived: Arrived,
    stream: InStream<R>,
}

/// Begins to serve a stream, by a task that serves nothing else meanwhile.
pub fn begin<R: Runtime>(
    core: &Rc<Core<R>>,
    connection: Rc<Downstream<R>>,
    request: ::http::Request<RecvStream>,
    mut respond: SendResponse<Piece>,
    stream: InStream<R>,
    turns: &Rc<Turns>,
) {
    let said = request.headers().get("priority").map(|said| Signal::parse(said.as_bytes()));
    let turn = Turn::new(turns, respond.stream_id().as_u32(), said);
    let length = request.headers().get(::http::header::CONTENT_LENGTH);
    if length.is_some_and(|length| length == "0") && !request.body().is_end_stream() {
        let runtime = core.runtime.clone();
        let core = core.clone();
        return runtime.spawn(serve_when_whole(core, connection, request, respond, stream, turn));
    }
    // Nothing was done for it: the client may ask again, elsewhere or later (§8.7).
    let Ok(mut bytes) = core.buffer() else { return respond.send_reset(Reason::REFUSED_STREAM) };
    let ended = request.body().is_end_stream();
    let (told, cut) = match tell(core, &mut bytes, &request, ended) {
        Ok(told) => (told, None),
        Err(malformed) => (Told::Length, Some(refused(malformed))),
    };
    let head_only = request.method() == ::http::Method::HEAD;
    let is_grpc = is_grpc(request.headers());
    let strand = ServerStrand::new(request.into_body(), respond, told, head_only, turn);
    let arrived = Arrived { cut, is_grpc, ..Arrived::of(core, bytes) };
    crew::give(core, Job { connection, strand: Rc::new(strand), arrived, stream });
}

/// Waits for the end of a request that said it has no body, and is malformed if it has one (§8.1.1). Nothing is held for it
/// meanwhile but its fields.
async fn serve_when_whole<R: Runtime>(
    core: Rc<Core<R>>,
    connection: Rc<Downstream<R>>,
    request: ::http::Request<RecvStream>,
    respond: SendResponse<Piece>,
    stream: InStream<R>,
    turn: Turn,
) {
    let (head, body) = request.into_parts();
    let head_only = head.method == ::http::Method::HEAD;
    let is_grpc = is_grpc(&head.headers);
    let strand = Rc::new(ServerStrand::new(body, respond, Told::Length, head_only, turn));
    let timeout = {
        let installed = core.installed();
        connection.listener(&installed).map(|listener| listener.body_timeout)
    };
    let slot = core.deadlines.slot();
    let until = core.runtime.now() + timeout.unwrap_or_default();
    let whole = slot.within(until, poll_fn(|cx| strand.poll_whole(cx))).await;
    drop(slot);
    let Ok(mut bytes) = core.buffer() else { return strand.refuse() };
    let told = tell(&core, &mut bytes, &::http::Request::from_parts(head, ()), true);
    let cut = match (told, whole) {
        (Err(malformed), _) => Some(refused(malformed)),
        (Ok(_), Ok(true)) => None,
        (Ok(_), missing) => {
            // The parser is to see that something is missing.
            bytes.truncate(bytes.len() - EMPTY_LINE.len());
            Some(match missing {
                Ok(_) => cut_for(FaultKind::HttpRequestError, message::LENGTH),
                Err(_) => cut_for(FaultKind::RequestTimeout, ""),
            })
        }
    };
    let arrived = Arrived { cut, is_grpc, ..Arrived::of(&core, bytes) };
    crew::give(&core, Job { connection, strand, arrived, stream });
}

/// Writes the request's head in HTTP/1.1.
fn tell<R: Runtime>(
    core: &Core<R>,
    out: &mut Buf,
    request: &::http::Request<impl Sized>,
    ended: bool,
) -> Result<Told, Malformed> {
    let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
    let key = protocol.map(|_| {
        // It means nothing between us and the origin but that the origin has read it (RFC 6455 §4.1).
        let bits = [core.shard(|shard| shard.rng.bits()), core.shard(|shard| shard.rng.bits())];
        STANDARD.encode([bits[0].to_be_bytes(), bits[1].to_be_bytes()].concat())
    });
    message::text(out, request, ended, protocol, key.as_deref().unwrap_or_default())
}

/// Whether a request says that it is a call of gRPC.
fn is_grpc(fields: &::http::HeaderMap) -> bool {
    let kind = fields.get(::http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| grpc::is_media_type(kind.as_bytes()))
}

fn refused(malformed: Malformed) -> Cut {
    let kind = match malformed {
        Malformed::TooLarge => FaultKind::HeadTooLarge,
        _ => FaultKind::HttpRequestError,
    };
    cut_for(kind, malformed.word())
}

fn cut_for(kind: FaultKind, reason: &'static str) -> Cut {
    Cut::Refused(Fault { kind, side: Side::Downstream, again: Again::Never }, reason)
}

/// Serves one stream after the other, as long as there is one.
pub async fn work<R: Runtime>(core: Rc<Core<R>>, first: Job<R>) {
    let slots = [core.deadlines.slot(), core.deadlines.slot(), core.deadlines.slot()];
    let hand = Rc::new(Hand::default());
    let mut next = Some(first);
    while let Some(job) = next {
        pin!(serve(&core, job, &slots)).await;
        next = core.crew.next(&hand).await;
    }
}

async fn serve<R: Runtime>(core: &Rc<Core<R>>, job: Job<R>, slots: &[Slot; 3]) {
    let Job { connection, strand, arrived, stream } = job;
    let mut work = core.take_work();
    let wire = Wire::strand(strand);
    if pin!(h1::serve_one(core, &connection, &wire, &mut work, arrived, slots)).await.is_whole() {
        stream.done();
    }
    core.keep_work(work);
}
