//! One stream of a client's HTTP/2 connection, as the bytes of one exchange in HTTP/1.1.
//!
//! What the client sent reads as a body with a length or in chunks; what is written is a head and a body in
//! HTTP/1.1, of which the head becomes HEADERS and the body DATA (RFC 9113 §8.1). So every room above serves
//! both protocols with the same lines. The bodies themselves are moved by `h2_body.rs`. A response that ends too
//! early is cut (RST_STREAM) and never ended.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use crate::base::buffer::Buf;
use crate::http::h1::chunked::Decoder;
use crate::http::h2::message::Told;
use crate::http::h2::reply;
use crate::net::strand::Strand;
use crate::serve::h2_body::{Incoming, Outgoing, Piece, Receiving, Sending, broken};
use crate::serve::h2_turns::Turn;

/// A stream that a client opened.
pub struct ServerStrand {
    inner: RefCell<Inner>,
}

struct Inner {
    request: Receiving,
    respond: SendResponse<Piece>,
    /// The body of the response, behind its head.
    response: Option<Sending>,
    /// Until it has one.
    turn: Option<Turn>,
    /// Whether the response is over, or was given up.
    is_ended: bool,
    /// Whether the answer to it has no body, whatever its head says.
    head_only: bool,
    /// What wakes the one task that serves it.
    waker: Option<Waker>,
}

impl ServerStrand {
    /// The stream whose request was told in HTTP/1.1 like this.
    pub fn new(
        body: RecvStream,
        respond: SendResponse<Piece>,
        told: Told,
        head_only: bool,
        turn: Turn,
    ) -> Self {
        let incoming = match told {
            Told::Length | Told::Tunnel => Incoming::Bytes,
            Told::Chunks => Incoming::Chunks,
        };
        let request = Receiving::new(body, incoming);
        let (response, turn, waker) = (None, Some(turn), None);
        let inner = Inner { request, respond, response, turn, is_ended: false, head_only, waker };
        Self { inner: RefCell::new(inner) }
    }

    /// Resets it, because nothing was done for it and it may be asked again (RFC 9113 §8.7).
    pub fn refuse(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.is_ended = true;
        inner.respond.send_reset(Reason::REFUSED_STREAM);
    }

    /// Ready when the request is whole; `false` when more came, or it broke off.
    pub fn poll_whole(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.inner.borrow_mut().request.fill(cx).map(|incoming| incoming == Incoming::Ended)
    }
}

impl Strand for ServerStrand {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        self.inner.borrow_mut().request.read(cx, buf, bytes_max)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.remember(cx);
        if ready!(inner.request.fill(cx)) != Incoming::Ended {
            return Poll::Ready(());
        }
        if inner.response.as_ref().is_some_and(Sending::is_tunnel) {
            // The end of one direction is carried over (RFC 9113 §8.5).
            return Poll::Ready(());
        }
        // Nothing comes any more but its end.
        inner.given_up(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        inner.remember(cx);
        match &mut inner.response {
            Some(response) => response.write(cx, buf),
            None if inner.is_ended => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            None => Poll::Ready(inner.write_head(buf)),
        }
    }

    fn is_given_up(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let waker = inner.waker.clone();
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        inner.given_up(&mut Context::from_waker(waker)).is_ready()
    }

    fn ahead(&self) -> usize {
        self.inner.borrow().response.as_ref().map_or(0, Sending::ahead)
    }

    fn shut(&self) {
        if let Some(response) = &mut self.inner.borrow_mut().response {
            response.shut();
        }
    }

    fn give_up(&self) {
        self.inner.borrow_mut().cut();
    }
}

impl Drop for ServerStrand {
    fn drop(&mut self) {
        self.inner.borrow_mut().cut();
    }
}

impl Inner {
    fn remember(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Ready when the client gave it up, or is gone.
    fn given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.response {
            Some(response) => response.given_up(cx),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }

    /// Resets the stream unless the response is whole.
    fn cut(&mut self) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        match &mut self.response {
            Some(response) if response.is_ended() => {}
            Some(response) => response.reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Sends the head at the front of `buf`.
    fn write_head(&mut self, buf: &mut Buf) -> io::Result<usize> {
        let bytes = reply::end(buf.data()).ok_or(io::ErrorKind::InvalidData)?;
        let text = Bytes::copy_from_slice(&buf.data()[..bytes]);
        let mut answer = reply::head(&text).ok_or(io::ErrorKind::InvalidData)?;
        buf.consume(bytes);
        let status = answer.head.status().as_u16();
        let tunnel = answer.length.is_none() && !answer.chunked;
        let switched = status == SWITCHING;
        if switched {
            // There is no switching: the stream itself becomes the tunnel (RFC 8441 §5).
            *answer.head.status_mut() = ::http::StatusCode::OK;
            answer.head.headers_mut().remove(::http::header::SEC_WEBSOCKET_ACCEPT);
        } else if status < 200 {
            self.respond.send_informational(answer.head).map_err(broken)?;
            return Ok(bytes);
        }
        let bodiless = self.head_only || matches!(status, 204 | 304) || answer.length == Some(0);
        let send = self.respond.send_response(answer.head, bodiless && !switched);
        let outgoing = match answer.length {
            _ if bodiless && !switched => Outgoing::Ended,
            Some(length) => Outgoing::Exact(length),
            None if tunnel => Outgoing::Tunnel,
            None => Outgoing::Chunks { decoder: Decoder::new(), decoded: 0 },
        };
        let turn = self.turn.take().map(|mut turn| {
            answer.priority.into_iter().for_each(|said| turn.merge(said));
            turn
        });
        self.response = Some(Sending::new(send.map_err(broken)?, outgoing).in_turn(turn));
        Ok(bytes)
    }
}

const SWITCHING: u16 = 101;
