//! Waits for a request's body before an origin is chosen, up to what the route's `buffer_request` says.
//!
//! A slow sender then holds no connection of an origin, a chunked body that came whole is sent with its
//! length, and an idempotent request can be tried again. A body that turns out larger is never refused for
//! it (`body_max` is there for that): what came is sent, and the rest streams behind it. So it does where
//! a quarter of the core's buffers is in use: many slow senders never take what all others need.

use crate::base::buffer::Buf;
use crate::base::limits::BUFFERS_GATHERING_MAX;
use crate::exchange::Exchange;
use crate::exchange::fault::Fault;
use crate::http::framing::BodyLength;
use crate::http::h1::chunked;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::attempt::FRAME_END_BYTES;
use crate::serve::body::BodyReader;
use crate::serve::duplex;
use crate::serve::forward::Passage;
use crate::serve::outgoing::Outgoing;

/// What of a body is at hand before the first attempt; kept, so that an attempt can be repeated.
#[derive(Default)]
pub struct Gathered {
    /// What came first: with the head, as a rule.
    pub first: Option<Buf>,
    /// What was waited for.
    pub more: Vec<Buf>,
}

/// Takes what came with the head and, if the route asks for it, waits for the rest.
///
/// # Errors
/// As [`BodyReader::next`].
pub async fn run<R: Runtime>(
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Gathered, Fault> {
    let Passage { core, route, .. } = *passage;
    let untouched = incoming.is_untouched();
    let mut gathered = Gathered { first: incoming.next_arrived()?, more: Vec::new() };
    let bytes_max = route.buffer_request_bytes;
    if bytes_max == 0 || x.head.body == BodyLength::None {
        return Ok(gathered);
    }
    if incoming.is_done() {
        // It came with the head, all of it: its length is known without waiting.
        tell_length(x, incoming, gathered.first.as_ref().map_or(0, |piece| piece.len() as u64));
        return Ok(gathered);
    }
    if untouched {
        duplex::invite(core, x, outgoing).await?;
    }
    let mut bytes = gathered.first.as_ref().map_or(0, |piece| piece.len() as u64);
    // A body of just so many bytes has its end still to come.
    while bytes <= bytes_max && core.buffers.in_use() < BUFFERS_GATHERING_MAX {
        let Some(piece) = incoming.next().await? else { break };
        bytes += piece.len() as u64;
        keep(core, &mut gathered, &piece)?;
    }
    // The time for the answer runs from the whole request.
    x.deadline = x.grpc.deadline.min(core.runtime.now() + route.timeout);
    tell_length(x, incoming, bytes);
    Ok(gathered)
}

/// A chunked body that is whole is sent with its length; trailers need chunks.
fn tell_length<R: Runtime>(x: &mut Exchange, incoming: &BodyReader<'_, R>, bytes: u64) {
    if incoming.is_done() && x.head.body == BodyLength::Chunked && incoming.trailers().is_empty() {
        x.head.body = BodyLength::Exact(bytes);
    }
}

/// Appends `piece`, in as few buffers as hold it: their number is bounded by its bytes.
fn keep<R: Runtime>(core: &Core<R>, gathered: &mut Gathered, piece: &Buf) -> Result<(), Fault> {
    let mut rest = piece.data();
    while !rest.is_empty() {
        let room =
            gathered.more.last().map_or(0, |last| last.spare().saturating_sub(FRAME_END_BYTES));
        if room == 0 {
            gathered.more.push(empty(core)?);
            continue;
        }
        let (now, later) = rest.split_at(rest.len().min(room));
        let fits = gathered.more.last_mut().is_some_and(|last| last.put(now));
        debug_assert!(fits, "cut to the room there is");
        rest = later;
    }
    Ok(())
}

fn empty<R: Runtime>(core: &Core<R>) -> Result<Buf, Fault> {
    let mut buf = core.buffer()?;
    buf.clear_with_headroom(chunked::FRAME_HEADROOM);
    Ok(buf)
}

/// A copy of what was kept, with room for the frame of a chunk.
///
/// # Errors
/// The core's budget of buffers is spent.
pub fn copy<R: Runtime>(core: &Core<R>, kept: &Buf) -> Result<Buf, Fault> {
    let mut copy = empty(core)?;
    let fits = copy.put(kept.data());
    debug_assert!(fits, "what is kept leaves room for its frame");
    Ok(copy)
}
