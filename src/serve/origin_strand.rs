//! One stream of an origin's HTTP/2 connection, as the bytes of one exchange in HTTP/1.1.
//!
//! What is written is a request's head and body in HTTP/1.1, of which the head becomes HEADERS and the body DATA
//! (RFC 9113 §8.1); what the origin sends reads as heads and a body in HTTP/1.1. So every attempt serves both
//! protocols with the same lines, and one parser judges what every origin says. Both directions go on at once. The
//! bodies themselves are moved by `h2_body.rs`. A stream that is not wanted any more is cancelled, and never its
//! connection; what one stream is told never reaches another.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use ::h2::client::ResponseFuture;
use ::h2::ext::Protocol;
use ::h2::{Reason, RecvStream};
use ::http::{Method, Response};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::base::buffer::Buf;
use crate::http::framing::content_length;
use crate::http::h1::chunked::Decoder;
use crate::http::h2::answer::{self, Told};
use crate::http::h2::asking::{self, Body};
use crate::http::h2::message::Malformed;
use crate::http::h2::reply;
use crate::net::strand::Strand;
use crate::runtime::Runtime;
use crate::serve::h2_body::{Incoming, Outgoing, Receiving, Sending};
use crate::serve::origin_link::Taken;

/// A stream towards an origin.
pub struct ClientStrand<R: Runtime> {
    inner: RefCell<Inner>,
    taken: Taken<R>,
}

struct Inner {
    /// The body of the request, behind its head.
    request: Option<Sending>,
    answer: Answer,
    head_only: bool,
    /// What the answer to a WebSocket's handshake is to prove, if it is one.
    accept: Option<String>,
    /// What of the response's body is to be read, where that is known. Unit: bytes.
    left: Option<u64>,
    /// What wakes the one task that it serves.
    waker: Option<Waker>,
}

/// How far the response is.
enum Answer {
    /// Nothing was asked.
    Unasked,
    /// Its head is awaited.
    Awaited(ResponseFuture),
    /// Its head was read.
    Begun(Receiving),
    /// Nothing can be read any more, for this reason.
    Broken(ErrorKind),
}

impl<R: Runtime> ClientStrand<R> {
    /// A stream that is not open yet, at a place that was taken for it.
    pub fn new(taken: Taken<R>) -> Self {
        let inner = Inner {
            request: None,
            answer: Answer::Unasked,
            head_only: false,
            accept: None,
            left: None,
            waker: None,
        };
        Self { inner: RefCell::new(inner), taken }
    }
}

impl<R: Runtime> Strand for ClientStrand<R> {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        let before = buf.len();
        while let Answer::Awaited(response) = &mut inner.answer {
            let head = match ready!(poll_head(response, cx)) {
                Ok(head) => head,
                Err(error) => return inner.fail(self.taken.kind_of(&error)),
            };
            let written = match head {
                Head::Interim(head) => answer::text(buf, &head, Told::AsIs),
                Head::Final(head) => inner.begin(buf, head),
            };
            match written {
                Ok(()) if buf.len() - before <= bytes_max => {}
                Ok(()) | Err(Malformed::TooLarge) => return inner.fail(ErrorKind::FileTooLarge),
                Err(_) => return inner.fail(ErrorKind::InvalidData),
            }
            if matches!(inner.answer, Answer::Awaited(_)) {
                return Poll::Ready(Ok(buf.len() - before));
            }
        }
        let head_bytes = buf.len() - before;
        match inner.read(cx, buf, bytes_max - head_bytes) {
            Poll::Ready(Ok(bytes)) => Poll::Ready(Ok(head_bytes + bytes)),
            // What is wrong with the body is said when it is read for.
            _ if head_bytes > 0 => Poll::Ready(Ok(head_bytes)),
            otherwise => otherwise,
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.remember(cx);
        match &mut inner.answer {
            Answer::Begun(body) => body.fill(cx).map(|_| ()),
            // Reading shows what there is.
            Answer::Unasked | Answer::Awaited(_) | Answer::Broken(_) => Poll::Ready(()),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        inner.remember(cx);
        match &mut inner.request {
            Some(request) => request.write(cx, buf),
            None => Poll::Ready(inner.ask(&self.taken, buf)),
        }
    }

    fn is_given_up(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let waker = inner.waker.clone();
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        let Some(request) = &mut inner.request else { return false };
        request.given_up(&mut Context::from_waker(waker)).is_ready()
    }

    fn shut(&self) {
        if let Some(request) = &mut self.inner.borrow_mut().request {
            request.shut();
        }
    }

    fn give_up(&self) {
        if let Some(request) = &mut self.inner.borrow_mut().request {
            request.reset(Reason::CANCEL);
        }
    }
}

impl<R: Runtime> Drop for ClientStrand<R> {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let Some(request) = &mut inner.request else { return };
        let answer = std::mem::replace(&mut inner.answer, Answer::Unasked);
        match answer {
            Answer::Begun(body) if request.is_ended() && body.is_ended() => {}
            // All was read but the end, which comes by itself: to cancel it would look like an attack
            // (CVE-2023-44487).
            Answer::Begun(body) if request.is_ended() && inner.left == Some(0) => {
                self.taken.let_end(body);
            }
            _ => request.reset(Reason::CANCEL),
        }
    }
}

/// A head that came.
enum Head {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

fn poll_head(response: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Result<Head, h2::Error>> {
    match ready!(response.poll_informational(cx)) {
        Some(Ok(interim)) => return Poll::Ready(Ok(Head::Interim(interim))),
        Some(Err(error)) => return Poll::Ready(Err(error)),
        None => {}
    }
    Pin::new(response).poll(cx).map_ok(Head::Final)
}

impl Inner {
    fn remember(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn fail<T>(&mut self, kind: ErrorKind) -> Poll<io::Result<T>> {
        self.answer = Answer::Broken(kind);
        Poll::Ready(Err(kind.into()))
    }

    /// Writes the head of the response as text; behind it comes the body.
    fn begin(&mut self, buf: &mut Buf, head: Response<RecvStream>) -> Result<(), Malformed> {
        let (parts, body) = head.into_parts();
        let head = Response::from_parts(parts, ());
        let accept = self.accept.take().filter(|_| head.status().is_success());
        let told = answer::told(&head, self.head_only, body.is_end_stream());
        match &accept {
            Some(accept) => answer::switched(buf, &head, accept)?,
            None => answer::text(buf, &head, told)?,
        }
        let length = head.headers().get(::http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| content_length(length.as_bytes()).ok());
        let status = head.status().as_u16();
        self.left = match told {
            _ if accept.is_some() => None,
            _ if self.head_only || matches!(status, 204 | 304) => Some(0),
            Told::Nothing => Some(0),
            Told::AsIs => length,
            Told::Chunks => None,
        };
        let chunks = told == Told::Chunks && accept.is_none();
        let incoming = if chunks { Incoming::Chunks } else { Incoming::Bytes };
        self.answer = Answer::Begun(Receiving::new(body, incoming));
        Ok(())
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        let body = match &mut self.answer {
            Answer::Begun(body) => body,
            Answer::Broken(kind) => return Poll::Ready(Err((*kind).into())),
            Answer::Unasked | Answer::Awaited(_) => {
                return Poll::Ready(Err(ErrorKind::NotConnected.into()));
            }
        };
        let bytes = ready!(body.read(cx, buf, bytes_max))?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes as u64);
        }
        Poll::Ready(Ok(bytes))
    }

    /// Sends the head at the front of `buf`.
    fn ask<R: Runtime>(&mut self, taken: &Taken<R>, buf: &mut Buf) -> io::Result<usize> {
        let bytes = reply::end(buf.data()).ok_or(ErrorKind::InvalidInput)?;
        let text = Bytes::copy_from_slice(&buf.data()[..bytes]);
        let mut ask = asking::head(&text, taken.is_secure()).ok_or(ErrorKind::InvalidInput)?;
        buf.consume(bytes);
        self.head_only = *ask.head.method() == Method::HEAD;
        let outgoing = match ask.body {
            _ if ask.websocket_key.is_some() => Outgoing::Tunnel,
            Body::None => Outgoing::Ended,
            Body::Length(length) => Outgoing::Exact(length),
            Body::Chunks => Outgoing::Chunks { decoder: Decoder::new(), decoded: 0 },
        };
        if let Some(key) = &ask.websocket_key {
            ask.head.extensions_mut().insert(Protocol::from_static("websocket"));
            self.accept = Some(proof_of(key.as_bytes()));
        }
        let ended = matches!(outgoing, Outgoing::Ended);
        let (response, send) = taken.open(ask.head, ended)?;
        self.request = Some(Sending::new(send, outgoing));
        self.answer = Answer::Awaited(response);
        Ok(bytes)
    }
}

/// What proves that a handshake's key was read (RFC 6455 §4.2.2).
fn proof_of(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_proved_as_the_standard_says() {
        assert_eq!(proof_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
