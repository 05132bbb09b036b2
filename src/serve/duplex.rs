//! A request whose body is still on its way: both directions at once.
//!
//! An origin may answer before it has read the whole request (RFC 9112 §9.3); the answer is passed on at
//! once, and the body goes on as long as the origin takes it. Neither direction ever waits for the other.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::grpc::Silence;
use crate::http::framing::BodyLength;
use crate::http::h1::chunked;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::attempt::Lease;
use crate::serve::body::BodyReader;
use crate::serve::forward::{self, Leg, Passage, Relayed};
use crate::serve::gather;
use crate::serve::join::{First, first};
use crate::serve::outgoing::Outgoing;
use crate::serve::pace::Pace;
use crate::serve::work::ResponseScratch;
use crate::serve::writing::{Unwritten, Writing};

/// How long an origin that stopped reading the request has for the answer that says why.
const LAST_WORDS: Duration = Duration::from_secs(1);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Sends the rest of the body while the response is awaited and passed on; says what becomes of the
/// connection.
///
/// # Errors
/// As `forward::run`; a client that broke off has the first word.
#[expect(clippy::too_many_arguments, reason = "both directions of an exchange and their records")]
pub async fn run<R: Runtime>(
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    lease: &Lease<R>,
    record: &mut Attempt,
    buf: Buf,
    more: &[Buf],
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Relayed, Fault> {
    let core = passage.core;
    if incoming.is_untouched() {
        invite(core, x, outgoing).await?;
    }
    let (until, uploading) = (Cell::new(x.grpc.deadline), Cell::new(true));
    let leg = Leg { passage, lease, until: &until, uploading: &uploading };
    // As long as the body is read, its reader sees the client's end; it may lie behind bytes not yet read.
    passage.watch.read_elsewhere.set(true);
    let length = x.head.body;
    // The time for the answer begins to run when the request is whole.
    let answer_within = passage.route.timeout.min(passage.upstream().rules.first_byte_timeout);
    let upload = pin!(upload(passage, lease, length, more, incoming));
    let mut download = pin!(forward::download(&leg, x, scratch, record, buf, outgoing));
    match first(upload, download.as_mut()).await {
        First::A(Ok(())) => {
            uploading.set(false);
            passage.watch.read_elsewhere.set(false);
            wait_until(&leg, core.runtime.now() + answer_within);
            download.await
        }
        First::A(Err(fault)) if fault.side == Side::Upstream => {
            wait_until(&leg, core.runtime.now() + LAST_WORDS);
            // An origin that did nothing yet says so (RFC 9113 §8.7).
            download.await.map_err(|said| if said.again == Again::Always { said } else { fault })
        }
        First::A(Err(fault)) => Err(fault),
        First::B(result) => result,
    }
}

/// Asks a client that waits for it to send its body (RFC 9110 §10.1.1).
///
/// # Errors
/// The client is gone.
pub async fn invite<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    if !x.head.expect_continue {
        return Ok(());
    }
    let mut interim = core.buffer()?;
    let fits = interim.put(CONTINUE);
    debug_assert!(fits, "an empty buffer holds a status line");
    outgoing.interim(interim).await
}

/// Sets how long the head of the answer may take from now on, unless it is here already.
fn wait_until<R: Runtime>(leg: &Leg<'_, R>, until: Instant) {
    let waiting = leg.until.get();
    if waiting != forward::ANSWERED {
        leg.until.set(until.min(waiting));
        leg.passage.down.rearm(until.min(waiting));
    }
}

/// Moves the body to the origin: what was gathered of it, then what the client sends.
async fn upload<R: Runtime>(
    passage: &Passage<'_, R>,
    lease: &Lease<R>,
    length: BodyLength,
    more: &[Buf],
    incoming: &mut BodyReader<'_, R>,
) -> Result<(), Fault> {
    let core = passage.core;
    let silence = incoming.silence.clone();
    let pause_max = silence.as_ref().map_or(passage.idle_timeout(), Silence::max);
    let stream = lease.stream();
    let writing = Writing { core, stream, slot: passage.up, pause_max, known: Cell::default() };
    // An origin is ours: it may creep as long as it moves at all.
    let mut pace = Pace::new(0, pause_max);
    let mut kept = more.iter();
    loop {
        let piece = match kept.next() {
            Some(piece) => Some(gather::copy(core, piece)?),
            None => incoming.next().await?,
        };
        let Some(mut piece) = piece else { break };
        if length == BodyLength::Chunked {
            let framed = chunked::frame(&mut piece);
            debug_assert!(framed, "pieces have room for a frame");
        }
        writing.all(piece, &mut pace).await.map_err(fault_of_write)?;
        if let Some(silence) = &silence {
            silence.broken(core.runtime.now());
        }
    }
    if length == BodyLength::Chunked {
        let mut end = core.buffer()?;
        let ended = chunked::finish(&mut end, &passage.trailers(incoming));
        debug_assert!(ended, "trailers are bounded below a buffer");
        writing.all(end, &mut pace).await.map_err(fault_of_write)?;
    }
    Ok(())
}

fn fault_of_write(why: Unwritten) -> Fault {
    let kind = match why {
        Unwritten::Closed => FaultKind::ConnectionTerminated,
        Unwritten::Stalled => FaultKind::HttpResponseTimeout,
    };
    Fault { kind, side: Side::Upstream, again: Again::Never }
}
