//! Writes one response to the client, in HTTP/1.1.
//!
//! It never lets a truncated response pass for a whole one: whatever fails after the head is out closes
//! the connection without the end of the body (RFC 9112 §8).

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::pacing::{Pacing, SharedPacing};
use crate::base::time::Instant;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::gateway::answering::Answering;
use crate::gateway::listener::Listener;
use crate::gateway::route::Bandwidth;
use crate::http::framing::BodyLength;
use crate::http::grpc_web;
use crate::http::h1::chunked;
use crate::http::h2::flood::Flood;
use crate::http::head::RequestHead;
use crate::http::{Method, Status, Version};
use crate::net::stream::Wire;
use crate::policy::compress::Decision;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::compressing::{self, Encoding};
use crate::serve::grpc_web as translate;
use crate::serve::pace::Pace;
use crate::serve::writing::{Unwritten, Writing};

/// The writer of one response.
pub struct Outgoing<'a, R: Runtime> {
    core: &'a Core<R>,
    stream: &'a Wire<R::Stream>,
    slot: &'a Slot,
    /// The version of the client's request.
    pub version: Version,
    /// Whether the request was HEAD: a head is sent and no body.
    pub head_only: bool,
    /// Whether the connection may serve another request after this one.
    pub keep_alive: bool,
    /// What the route does to every answer, once there is a route that does something.
    pub answering: Option<&'a Answering>,
    /// What compression does to the head of the answer.
    pub decision: Decision,
    /// The encoder that the body goes through.
    pub encoding: Option<Box<Encoding>>,
    /// How the answer to a call in gRPC-Web is written, where it is translated.
    pub grpc_web: Option<grpc_web::Form>,
    /// Whether the final head is out: no other answer can be given any more.
    pub begun: bool,
    /// Bytes written.
    pub bytes: u64,
    /// When the next write begins, if somebody has just asked the clock and nothing is waited for in between.
    pub known: Option<Instant>,
    /// Whether the end of the body is out.
    ended: bool,
    framing: BodyLength,
    pause_max: Duration,
    pace: Pace,
    held: Option<Held>,
}

/// A response that is held to a bandwidth.
struct Held {
    each: Option<Pacing>,
    all: Option<Arc<SharedPacing>>,
    /// When more may be written.
    resume: Instant,
    /// What its first bytes have a place for, until they are written; `None` before it was taken.
    reserved: Option<usize>,
}

/// Pieces of a body up to this size are copied behind the head, so that both leave in one write; the
/// copy costs less than a second system call. Larger ones get the head in front, in their headroom.
const COALESCE_BYTES_MAX: usize = 4096;

impl<'a, R: Runtime> Outgoing<'a, R> {
    /// A writer for the answer to one request.
    pub fn new(
        core: &'a Core<R>,
        stream: &'a Wire<R::Stream>,
        slot: &'a Slot,
        listener: &Listener,
    ) -> Self {
        Self {
            core,
            stream,
            slot,
            version: Version::Http11,
            head_only: false,
            keep_alive: false,
            answering: None,
            decision: Decision::default(),
            encoding: None,
            grpc_web: None,
            begun: false,
            bytes: 0,
            known: None,
            ended: false,
            framing: BodyLength::None,
            pause_max: listener.body_timeout,
            pace: Pace::new(listener.body_rate_min, listener.body_timeout),
            held: None,
        }
    }

    /// Holds the response to a bandwidth.
    pub fn hold_to(&mut self, bandwidth: &Bandwidth) {
        let each = bandwidth.each.map(Pacing::new);
        self.held = Some(Held {
            each,
            all: bandwidth.all.clone(),
            resume: Instant::ORIGIN,
            reserved: None,
        });
    }

    /// How much is to be read at once for a response that is held to a bandwidth. Unit: bytes.
    pub fn piece_bytes(&self) -> Option<usize> {
        let held = self.held.as_ref()?;
        let each = held.each.as_ref().map(|pacing| pacing.rate().piece_bytes());
        let all = held.all.as_ref().map(|all| all.rate().piece_bytes());
        each.into_iter().chain(all).min()
    }

    /// Takes a place for the first bytes of the response behind what its route wrote before; once.
    pub fn take_turn(&mut self, bytes: usize) {
        let now = self.core.runtime.now();
        if let Some(held) = &mut self.held {
            held.take_turn(bytes, now);
        }
    }

    /// Holds it to no bandwidth any more: a refusal waits for nobody.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// Waits until more may be written, without a buffer.
    pub async fn rest(&self) {
        let Some(held) = &self.held else { return };
        while self.core.runtime.now() < held.resume && !self.core.stopping.get() {
            // The deadline is the event: nothing else is waited for.
            let _ = self.slot.within(held.resume, pending::<()>()).await;
        }
    }

    /// Takes note of the request that is answered.
    pub fn answers(&mut self, head: &RequestHead) {
        self.version = head.version;
        self.head_only = head.method == Method::Head;
        // What follows a CONNECT was written for its tunnel, by whoever is to speak through it: where there is
        // none, it must never be read as this client's next request.
        self.keep_alive = head.keep_alive && head.method != Method::Connect;
    }

    /// How a body of `length` with `status` is delimited towards this client (RFC 9112 §6.3), and
    /// whether the connection survives it. To be called before the head is written.
    pub fn frame(&mut self, status: Status, length: BodyLength) -> BodyLength {
        let bodiless = !self.has_body(status);
        let framing = match length {
            BodyLength::Chunked | BodyLength::UntilClose if self.version == Version::Http10 => {
                BodyLength::UntilClose
            }
            BodyLength::UntilClose => BodyLength::Chunked,
            known => known,
        };
        // A drain may have begun while the origin was asked: the client is told before it sends more.
        if framing == BodyLength::UntilClose && !bodiless || self.core.draining.get() {
            self.keep_alive = false;
        }
        self.framing = if bodiless { BodyLength::None } else { framing };
        framing
    }

    /// Whether an answer with this status has a body (RFC 9110 §6.4.1).
    pub fn has_body(&self, status: Status) -> bool {
        !self.head_only && !matches!(status.0, 204 | 304)
    }

    /// Whether a body may leave in one piece, as it is: nothing codes it and nothing holds it back.
    pub fn is_plain(&self) -> bool {
        self.encoding.is_none() && self.held.is_none()
    }

    /// Whether a body has begun behind which trailers may still be sent.
    pub fn takes_trailers(&self) -> bool {
        self.begun && !self.ended && self.framing == BodyLength::Chunked
    }

    /// Whether the client sees the end of the body only by the end of the connection.
    pub fn ends_with_connection(&self) -> bool {
        self.begun && self.framing == BodyLength::UntilClose
    }

    /// Sends an interim (1xx) head, or 100 (Continue); HTTP/1.0 clients do not know them (RFC 9110 §15.2).
    ///
    /// # Errors
    /// The client is gone.
    pub async fn interim(&mut self, head: Buf) -> Result<(), Fault> {
        if self.version == Version::Http10 { Ok(()) } else { self.write(head).await }
    }

    /// Sends the head of the answer that ends HTTP on this connection, and what the origin sent behind it.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn switch(&mut self, mut head: Buf, behind: Option<Buf>) -> Result<(), Fault> {
        self.begun = true;
        self.keep_alive = false;
        self.let_go();
        match behind {
            Some(behind) if !head.put(behind.data()) => {
                self.write(head).await?;
                self.write(behind).await
            }
            _ => self.write(head).await,
        }
    }

    /// Sends the head in `head`, and with it the first piece of the body if there is one. `last` says
    /// that the body ends with it.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn begin(
        &mut self,
        mut head: Buf,
        first: Option<Buf>,
        last: bool,
    ) -> Result<(), Fault> {
        self.begun = true;
        self.ended = last;
        if let Some(form) = self.grpc_web.take() {
            self.known = None;
            let told = translate::first(self.core, form, self, head, first, last);
            let told = Box::pin(told).await;
            self.grpc_web = Some(form);
            return told;
        }
        if let Some(encoding) = self.encoding.take() {
            self.known = None;
            let coded = compressing::first(self.core, encoding, self, head, first, last);
            return Box::pin(coded).await;
        }
        let first = first.filter(|_| self.framing != BodyLength::None);
        let Some(mut piece) = first else {
            if last {
                self.put_end(&mut head, &[]);
            }
            return self.write(head).await;
        };
        self.frame_piece(&mut piece, last);
        if piece.len() <= COALESCE_BYTES_MAX && head.put(piece.data()) {
            drop(piece);
        } else if piece.prepend(head.data()) {
            head = piece;
        } else {
            self.write(head).await?;
            head = piece;
        }
        self.write(head).await
    }

    /// Sends a piece of the body.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn piece(&mut self, mut piece: Buf) -> Result<(), Fault> {
        if let Some(form) = self.grpc_web.take() {
            let told = Box::pin(translate::next(self.core, form, self, piece)).await;
            self.grpc_web = Some(form);
            return told;
        }
        if let Some(encoding) = self.encoding.take() {
            return Box::pin(compressing::next(self.core, encoding, self, piece)).await;
        }
        if self.framing == BodyLength::None {
            return Ok(());
        }
        self.frame_piece(&mut piece, false);
        self.write(piece).await
    }

    /// Ends the body; not called when its end went out with the last piece.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn end(&mut self, trailers: &[u8]) -> Result<(), Fault> {
        self.ended = true;
        if let Some(form) = self.grpc_web.take() {
            return Box::pin(translate::end(self.core, form, self, trailers)).await;
        }
        if let Some(encoding) = self.encoding.take() {
            return Box::pin(compressing::end(self.core, encoding, self, trailers)).await;
        }
        if self.framing != BodyLength::Chunked {
            return Ok(());
        }
        let mut end = self.core.buffer()?;
        self.put_end(&mut end, trailers);
        self.write(end).await
    }

    fn frame_piece(&self, piece: &mut Buf, last: bool) {
        if self.framing == BodyLength::Chunked {
            let framed = chunked::frame(piece);
            debug_assert!(framed, "pieces have room for a frame");
            if last {
                self.put_end(piece, &[]);
            }
        }
    }

    fn put_end(&self, out: &mut Buf, trailers: &[u8]) {
        if self.framing == BodyLength::Chunked {
            let ended = chunked::finish(out, trailers);
            debug_assert!(ended, "trailers are bounded below a buffer");
        }
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// The client is gone, takes nothing for too long, or less than it must.
    pub async fn write(&mut self, buf: Buf) -> Result<(), Fault> {
        let bytes = buf.len();
        self.bytes += bytes as u64;
        if self.held.is_some() {
            if self.begun {
                self.take_turn(bytes);
            }
            self.known = None;
            Box::pin(self.rest()).await;
        }
        let Self { core, stream, slot, pause_max, .. } = *self;
        let known = Cell::new(self.known.take());
        let writing = Writing { core, stream, slot, pause_max, known };
        if let Err(unwritten) = pin!(writing.all(buf, &mut self.pace)).await {
            self.keep_alive = false;
            if unwritten == Unwritten::Stalled && stream.is_strand() {
                core.metrics.h2_flood(Flood::Stalled);
            }
            // Closed in order, the kernel would go on holding megabytes for whoever takes none, and no bound
            // on connections counts them any more.
            stream.reset_on_close();
            let kind = FaultKind::ClientGone;
            return Err(Fault { kind, side: Side::Downstream, again: Again::Never });
        }
        if let Some(held) = &mut self.held {
            held.wrote(bytes, self.core.runtime.now());
        }
        Ok(())
    }
}

impl Held {
    fn take_turn(&mut self, bytes: usize, now: Instant) {
        if let (Some(all), None) = (&self.all, self.reserved) {
            self.reserved = Some(bytes);
            self.resume = self.resume.max(all.reserve(bytes, now));
        }
    }

    fn wrote(&mut self, bytes: usize, now: Instant) {
        let reserved = self.reserved.as_mut().map_or(0, std::mem::take);
        let each = self.each.as_mut().map(|pacing| pacing.wrote(bytes, now));
        let all = self.all.as_ref().map(|all| {
            all.give_back(reserved.saturating_sub(bytes));
            all.wrote(bytes.saturating_sub(reserved), now)
        });
        self.resume = each.into_iter().chain(all).max().unwrap_or(now);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (Some(all), Some(reserved)) = (&self.all, self.reserved) {
            all.give_back(reserved);
        }
    }
}
