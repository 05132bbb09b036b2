//! One stream of a client's HTTP/2 connection, as the bytes of one exchange in HTTP/1.1.
//!
//! What the client sent reads as a body with a length or in chunks; what is written is a head and a body in
//! HTTP/1.1, of which the head becomes HEADERS and the body DATA (RFC 9113 §8.1). So every room above serves
//! both protocols with the same lines. It never holds more than the flow control of its peer allows (§5.2): who
//! reads nothing makes the writer wait, and what nobody reads makes the peer wait. A response that ends too early
//! is cut (RST_STREAM) and never ended.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use crate::base::buffer::Buf;
use crate::base::limits::{H2_COPIED_BYTES_MAX, H2_SEND_BUFFER_BYTES};
use crate::http::h1::chunked::{Decoder, FRAME_HEADROOM, LAST_CHUNK};
use crate::http::h2::message::{self, Told};
use crate::http::h2::reply;
use crate::net::strand::Strand;

/// Room that a chunk needs around its data, and the last chunk behind it. Unit: bytes.
const CHUNK_ROOM: usize = FRAME_HEADROOM + 2 + LAST_CHUNK.len();

/// A stream that a client opened.
pub struct ServerStrand {
    inner: RefCell<Inner>,
}

struct Inner {
    body: RecvStream,
    /// What came and was not read yet.
    arrived: Bytes,
    incoming: Incoming,
    respond: SendResponse<Piece>,
    send: Option<SendStream<Piece>>,
    outgoing: Outgoing,
    /// Whether the answer to it has no body, whatever its head says.
    head_only: bool,
    /// What wakes the one task that serves it.
    waker: Option<Waker>,
}

/// What of the request is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// Bytes, as they come.
    Bytes,
    /// Chunks.
    Chunks,
    /// The end, in chunks: data is over.
    Trailers,
    /// Nothing more.
    Ended,
    /// It broke off.
    Broken,
}

/// What of the response was written.
enum Outgoing {
    /// Nothing but interim heads.
    Nothing,
    /// The head; so much of the body is to come.
    Exact(u64),
    /// The head; the body comes in chunks, of which so much at the front of the writer's buffer is decoded.
    Chunks { decoder: Decoder, decoded: usize },
    /// The head, and now bytes of another protocol.
    Tunnel,
    /// All of it.
    Ended,
}

/// What is given to the protocol to be sent. A small piece never holds a whole block: it may wait for as long as its client
/// likes, and thousands of them with it, counted by what they say and not by what they hold.
pub enum Piece {
    /// A block and all that is in it.
    Block(Buf),
    /// A copy of its own size.
    Copied(Bytes),
}

impl Piece {
    /// The end of a body.
    const END: Piece = Piece::Copied(Bytes::new());

    /// The first `bytes` of `buf`, which has the others afterwards.
    fn cut(buf: &mut Buf, bytes: usize) -> Piece {
        if bytes == buf.len() && bytes > H2_COPIED_BYTES_MAX {
            return Piece::Block(buf.take());
        }
        let copied = Bytes::copy_from_slice(&buf.data()[..bytes]);
        buf.consume(bytes);
        Piece::Copied(copied)
    }
}

impl bytes::Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Block(buf) => buf.remaining(),
            Piece::Copied(bytes) => bytes.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Block(buf) => buf.chunk(),
            Piece::Copied(bytes) => bytes.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Block(buf) => buf.advance(count),
            Piece::Copied(bytes) => bytes.advance(count),
        }
    }
}

impl ServerStrand {
    /// The stream whose request was told in HTTP/1.1 like this.
    pub fn new(
        body: RecvStream,
        respond: SendResponse<Piece>,
        told: Told,
        head_only: bool,
    ) -> Self {
        let incoming = match told {
            Told::Length | Told::Tunnel => Incoming::Bytes,
            Told::Chunks => Incoming::Chunks,
        };
        let (arrived, send, waker) = (Bytes::new(), None, None);
        let outgoing = Outgoing::Nothing;
        let inner = Inner { body, arrived, incoming, respond, send, outgoing, head_only, waker };
        Self { inner: RefCell::new(inner) }
    }
}

impl ServerStrand {
    /// Ready when the request is whole; `false` when more came, or it broke off.
    pub fn poll_whole(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.inner.borrow_mut().fill(cx).map(|incoming| incoming == Incoming::Ended)
    }
}

impl Strand for ServerStrand {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        self.inner.borrow_mut().read(cx, buf, bytes_max)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.remember(cx);
        if ready!(inner.fill(cx)) != Incoming::Ended {
            return Poll::Ready(());
        }
        // Nothing comes any more but its end.
        inner.given_up(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        inner.remember(cx);
        match inner.outgoing {
            Outgoing::Nothing => Poll::Ready(inner.write_head(buf)),
            Outgoing::Exact(_) | Outgoing::Tunnel => inner.write_data(cx, buf),
            Outgoing::Chunks { .. } => inner.write_chunks(cx, buf),
            Outgoing::Ended => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_given_up(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let waker = inner.waker.clone();
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        inner.given_up(&mut Context::from_waker(waker)).is_ready()
    }

    fn shut(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if let (Outgoing::Tunnel, Some(send)) = (&inner.outgoing, &mut inner.send)
            && send.send_data(Piece::END, true).is_ok()
        {
            inner.outgoing = Outgoing::Ended;
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
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }

    /// Resets the stream unless the response is whole.
    fn cut(&mut self) {
        if !matches!(self.outgoing, Outgoing::Ended) {
            self.outgoing = Outgoing::Ended;
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Waits until there is something to read, or nothing comes any more.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        while self.arrived.is_empty() && matches!(self.incoming, Incoming::Bytes | Incoming::Chunks)
        {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => self.arrived = data,
                Some(Err(_)) => self.incoming = Incoming::Broken,
                None if self.incoming == Incoming::Chunks => self.incoming = Incoming::Trailers,
                None => self.incoming = Incoming::Ended,
            }
        }
        Poll::Ready(self.incoming)
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        let before = buf.len();
        loop {
            let room = buf.spare().min((before + bytes_max).saturating_sub(buf.len()));
            let Poll::Ready(incoming) = self.fill(cx) else { break };
            match incoming {
                Incoming::Bytes if room > 0 => self.put_data(buf, room),
                Incoming::Chunks if room > CHUNK_ROOM => self.put_chunk(buf, room - CHUNK_ROOM),
                Incoming::Trailers if room >= LAST_CHUNK.len() => {
                    let Poll::Ready(ended) = self.put_trailers(cx, buf) else { break };
                    self.incoming = ended;
                    break;
                }
                Incoming::Ended => return Poll::Ready(Ok(buf.len() - before)),
                Incoming::Broken if buf.len() == before => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                _ => break,
            }
        }
        match buf.len() - before {
            0 => Poll::Pending,
            bytes => Poll::Ready(Ok(bytes)),
        }
    }

    fn put_data(&mut self, buf: &mut Buf, room: usize) {
        let bytes = room.min(self.arrived.len());
        let put = buf.put(&self.arrived[..bytes]);
        debug_assert!(put, "cut to the room there is");
        self.took(bytes);
    }

    fn put_chunk(&mut self, buf: &mut Buf, room: usize) {
        let bytes = room.min(self.arrived.len());
        let mut line = [b'0'; FRAME_HEADROOM];
        line[FRAME_HEADROOM - 2..].copy_from_slice(b"\r\n");
        for (at, digit) in line[..FRAME_HEADROOM - 2].iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[bytes >> (4 * at) & 15];
        }
        let put = buf.put(&line) && buf.put(&self.arrived[..bytes]) && buf.put(b"\r\n");
        debug_assert!(put, "cut to the room there is");
        self.took(bytes);
    }

    /// So much was read: the client may send as much more.
    fn took(&mut self, bytes: usize) {
        self.arrived.advance(bytes);
        // A stream that is reset meanwhile needs no room.
        let _ = self.body.flow_control().release_capacity(bytes);
    }

    fn put_trailers(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<Incoming> {
        let trailers = match ready!(self.body.poll_trailers(cx)) {
            Ok(trailers) => trailers.unwrap_or_default(),
            Err(_) => return Poll::Ready(Incoming::Broken),
        };
        let fits =
            buf.put(b"0\r\n") && message::trailer_lines(buf, &trailers).is_ok() && buf.put(b"\r\n");
        Poll::Ready(if fits { Incoming::Ended } else { Incoming::Broken })
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
        self.send = Some(send.map_err(broken)?);
        self.outgoing = match answer.length {
            _ if bodiless && !switched => Outgoing::Ended,
            Some(length) => Outgoing::Exact(length),
            None if tunnel => Outgoing::Tunnel,
            None => Outgoing::Chunks { decoder: Decoder::new(), decoded: 0 },
        };
        Ok(bytes)
    }

    /// How much of `wanted` bytes the client takes now.
    fn room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let Some(send) = &mut self.send else { return Poll::Ready(Err(closed())) };
        let wanted = wanted.min(H2_SEND_BUFFER_BYTES);
        send.reserve_capacity(wanted);
        loop {
            match send.capacity() {
                0 => {}
                room => return Poll::Ready(Ok(room.min(wanted))),
            }
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(closed())),
            }
        }
    }

    /// Sends the first `bytes` of `buf`; `last` says that the body ends with them.
    fn send(&mut self, buf: &mut Buf, bytes: usize, last: bool) -> io::Result<()> {
        let piece = Piece::cut(buf, bytes);
        let send = self.send.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        send.send_data(piece, last).map_err(broken)
    }

    fn write_data(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.room(cx, buf.len()))?;
        let mut last = false;
        if let Outgoing::Exact(left) = &mut self.outgoing {
            let Some(rest) = left.checked_sub(bytes as u64) else {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            };
            *left = rest;
            last = rest == 0;
        }
        self.send(buf, bytes, last)?;
        if last {
            self.outgoing = Outgoing::Ended;
        }
        Poll::Ready(Ok(bytes))
    }

    fn write_chunks(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let Outgoing::Chunks { decoder, decoded } = &mut self.outgoing else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        let mut framing = 0;
        if *decoded == 0 {
            let whole = buf.len();
            let found = decoder.decode(buf.data_mut());
            let found = found.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            buf.truncate(found.data);
            *decoded = found.data;
            framing = whole - found.data;
        }
        let (done, wanted) = (decoder.is_done(), *decoded);
        let plain_end = done && decoder.trailers().is_empty();
        if wanted == 0 {
            buf.clear();
            if done {
                self.end_chunks()?;
            }
            return Poll::Ready(Ok(framing));
        }
        let bytes = ready!(self.room(cx, wanted))?;
        self.send(buf, bytes, plain_end && bytes == wanted)?;
        if let Outgoing::Chunks { decoded, .. } = &mut self.outgoing {
            *decoded -= bytes;
        }
        if done && bytes == wanted {
            match plain_end {
                true => self.outgoing = Outgoing::Ended,
                false => self.end_chunks()?,
            }
        }
        Poll::Ready(Ok(framing + bytes))
    }

    /// Sends the end of a body that came in chunks.
    fn end_chunks(&mut self) -> io::Result<()> {
        let Outgoing::Chunks { decoder, .. } = &self.outgoing else { return Ok(()) };
        let trailers = reply::trailers(decoder.trailers()).ok_or(io::ErrorKind::InvalidData)?;
        let send = self.send.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        match trailers.is_empty() {
            true => send.send_data(Piece::END, true).map_err(broken)?,
            false => send.send_trailers(trailers).map_err(broken)?,
        }
        self.outgoing = Outgoing::Ended;
        Ok(())
    }
}

const SWITCHING: u16 = 101;

/// What the stream's end, or the connection's, is to who writes to it.
fn broken(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;

    #[test]
    fn a_small_piece_holds_no_block() {
        let pool = BufferPool::new(1);
        let mut buf = pool.take().expect("within budget");
        assert!(buf.put(b"hello world"));
        let pieces = [5, 6].map(|bytes| Piece::cut(&mut buf, bytes));
        assert_eq!(pieces.each_ref().map(|piece| piece.chunk()), [&b"hello"[..], b" world"]);
        assert_eq!((buf.len(), pool.in_use()), (0, 1));
        drop(buf);
        assert_eq!(pool.in_use(), 0, "while the pieces are still there");
    }

    #[test]
    fn a_large_piece_is_moved_and_not_copied() {
        let pool = BufferPool::new(1);
        let mut buf = pool.take().expect("within budget");
        assert!(buf.put(&[7; H2_COPIED_BYTES_MAX + 1]));
        let place = buf.data().as_ptr();
        let piece = Piece::cut(&mut buf, H2_COPIED_BYTES_MAX + 1);
        assert!(matches!(&piece, Piece::Block(block) if block.data().as_ptr() == place));
        assert_eq!(pool.in_use(), 1);
    }
}
