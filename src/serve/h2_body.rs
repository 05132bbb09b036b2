//! The two halves of a stream of HTTP/2, as bodies in HTTP/1.1: what comes is read, what is written is sent.
//!
//! Both ends share them: a request towards the gateway and a response towards it are received alike, and so are the
//! two that it sends. A body is told with its length or in chunks, its trailers behind the last of them (RFC 9113
//! §8.1). Neither half ever holds more than the flow control of its peer allows (§5.2): who reads nothing makes the
//! writer wait, and what nobody reads makes the peer wait.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use crate::base::buffer::Buf;
use crate::base::limits::{H2_COPIED_BYTES_MAX, H2_SEND_BUFFER_BYTES};
use crate::http::h1::chunked::{Decoder, FRAME_HEADROOM, LAST_CHUNK};
use crate::http::h2::message::{self, Malformed};
use crate::http::h2::reply;
use crate::serve::h2_turns::Turn;

/// Room that a chunk needs around its data, and the last chunk behind it. Unit: bytes.
const CHUNK_ROOM: usize = FRAME_HEADROOM + 2 + LAST_CHUNK.len();

/// What of a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
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

/// What of a body is to be written.
pub enum Outgoing {
    /// So much is to come. Unit: bytes.
    Exact(u64),
    /// Chunks, of which so much at the front of the writer's buffer is decoded.
    Chunks {
        /// Takes them apart.
        decoder: Decoder,
        /// Unit: bytes.
        decoded: usize,
    },
    /// Bytes of another protocol, to their end.
    Tunnel,
    /// Nothing more.
    Ended,
}

/// A body that comes.
pub struct Receiving {
    body: RecvStream,
    /// What came and was not read yet.
    arrived: Bytes,
    incoming: Incoming,
    /// Trailers that came and did not fit behind what was read with them.
    trailers: Option<Box<HeaderMap>>,
}

/// A body that is sent.
pub struct Sending {
    send: SendStream<Piece>,
    outgoing: Outgoing,
    /// Where it shares its connection by priorities.
    turn: Option<Turn>,
}

impl Receiving {
    /// A body that is told like this.
    pub fn new(body: RecvStream, incoming: Incoming) -> Self {
        Self { body, arrived: Bytes::new(), incoming, trailers: None }
    }

    /// Whether all of it was read, or nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.incoming == Incoming::Ended || (self.arrived.is_empty() && self.body.is_end_stream())
    }

    /// Waits until there is something to read, or nothing comes any more.
    pub fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
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

    /// Reads into `buf`, at most `bytes_max`; zero bytes are the end.
    pub fn read(
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
                    let is_first = buf.len() == before;
                    let Poll::Ready(ended) = self.put_trailers(cx, buf, is_first) else { break };
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

    /// Ready when the end behind the data came, with or without trailers.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.body.poll_trailers(cx).map(|_| ())
    }

    /// Pending when there are none yet, or when they need the next buffer, which they have for themselves.
    fn put_trailers(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        is_first: bool,
    ) -> Poll<Incoming> {
        let trailers = match self.trailers.take() {
            Some(trailers) => trailers,
            None => match ready!(self.body.poll_trailers(cx)) {
                Ok(trailers) => Box::new(trailers.unwrap_or_default()),
                Err(_) => return Poll::Ready(Incoming::Broken),
            },
        };
        let before = buf.len();
        match put_end(buf, &trailers) {
            Ok(()) => Poll::Ready(Incoming::Ended),
            Err(Malformed::TooLarge) if !is_first => {
                buf.truncate(before);
                self.trailers = Some(trailers);
                Poll::Pending
            }
            Err(_) => Poll::Ready(Incoming::Broken),
        }
    }
}

/// Writes the last chunk, and the trailers behind it.
fn put_end(buf: &mut Buf, trailers: &HeaderMap) -> Result<(), Malformed> {
    let put = |buf: &mut Buf, text: &[u8]| buf.put(text).then_some(()).ok_or(Malformed::TooLarge);
    put(buf, b"0\r\n")?;
    message::trailer_lines(buf, trailers)?;
    put(buf, b"\r\n")
}

impl Sending {
    /// A body that is told like this.
    pub fn new(send: SendStream<Piece>, outgoing: Outgoing) -> Self {
        Self { send, outgoing, turn: None }
    }

    /// The same, among others of its connection.
    pub fn in_turn(mut self, turn: Option<Turn>) -> Self {
        self.turn = turn;
        self
    }

    /// What has to leave before it can.
    pub fn ahead(&self) -> usize {
        self.turn.as_ref().map_or(0, Turn::ahead)
    }

    /// Whether it is whole.
    pub fn is_ended(&self) -> bool {
        matches!(self.outgoing, Outgoing::Ended)
    }

    /// Whether it carries another protocol.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.outgoing, Outgoing::Tunnel)
    }

    /// Takes some of the data of `buf`.
    pub fn write(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        match self.outgoing {
            Outgoing::Exact(_) | Outgoing::Tunnel => self.write_data(cx, buf),
            Outgoing::Chunks { .. } => self.write_chunks(cx, buf),
            Outgoing::Ended => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ready when the peer gave the stream up, or is gone.
    pub fn given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(|_| ())
    }

    /// Ends what has no end of its own.
    pub fn shut(&mut self) {
        if matches!(self.outgoing, Outgoing::Tunnel)
            && self.send.send_data(Piece::END, true).is_ok()
        {
            self.outgoing = Outgoing::Ended;
        }
    }

    /// Resets the stream, and its body never looks whole.
    pub fn reset(&mut self, reason: Reason) {
        self.outgoing = Outgoing::Ended;
        self.send.send_reset(reason);
    }

    /// How much of `wanted` bytes the peer takes now.
    fn room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let send = &mut self.send;
        let wanted = wanted.min(H2_SEND_BUFFER_BYTES);
        if let Some(turn) = &mut self.turn
            && !turn.is_mine(cx)
        {
            // What it was promised belongs to whose turn it is.
            send.reserve_capacity(0);
            return Poll::Pending;
        }
        send.reserve_capacity(wanted);
        loop {
            match send.capacity() {
                0 => {}
                room => return Poll::Ready(Ok(room.min(wanted))),
            }
            let Poll::Ready(told) = send.poll_capacity(cx) else {
                self.turn.iter_mut().for_each(|turn| turn.waits(cx));
                return Poll::Pending;
            };
            match told {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// Sends the first `bytes` of `buf`; `last` says that the body ends with them.
    fn send(&mut self, buf: &mut Buf, bytes: usize, last: bool) -> io::Result<()> {
        let piece = Piece::cut(buf, bytes);
        self.turn.iter_mut().for_each(|turn| turn.took(last));
        self.send.send_data(piece, last).map_err(broken)
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
        self.turn.iter_mut().for_each(|turn| turn.took(true));
        match trailers.is_empty() {
            true => self.send.send_data(Piece::END, true).map_err(broken)?,
            false => self.send.send_trailers(trailers).map_err(broken)?,
        }
        self.outgoing = Outgoing::Ended;
        Ok(())
    }
}

/// What the stream's end, or the connection's, is to who writes to it.
pub fn broken(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
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
    pub const END: Piece = Piece::Copied(Bytes::new());

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

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::Waker;

    use ::h2::client::Connection;

    use super::*;
    use crate::base::buffer::BufferPool;
    use crate::net::poll_io::{Pipes, PollIo};

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

    /// A response that came over `pipes`, all at once, to a request of GET.
    fn response(frames: &[&[u8]]) -> RecvStream {
        let (pool, mut cx) = (BufferPool::new(8), Context::from_waker(Waker::noop()));
        let (pipes, io) = Pipes::new(pool.clone());
        let begun = pin!(::h2::client::handshake(io)).poll(&mut cx);
        let Poll::Ready(Ok((mut send, connection))) = begun else { panic!("memory is there") };
        let mut connection: Connection<PollIo, Bytes> = connection;
        let (response, _) = send.send_request(http::Request::new(()), true).expect("a stream");
        for bytes in frames {
            let mut came = pool.take().expect("within budget");
            assert!(came.put(bytes));
            while !pipes.is_hungry() {
                assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
            }
            drop(pipes.take());
            pipes.feed(came);
            assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
        }
        let Poll::Ready(Ok(head)) = pin!(response).poll(&mut cx) else { panic!("it came") };
        head.into_body()
    }

    #[test]
    fn trailers_without_room_behind_the_data_wait_for_the_next_buffer() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let head = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
        let data = [&[0, 0, 100, 0, 0, 0, 0, 0, 1][..], &[b'a'; 100]].concat();
        let field = [&[0, 3][..], b"x-t", &[0x7f, 0xe9, 0x06], &[b't'; 1000]].concat();
        let length = u16::try_from(field.len()).expect("small").to_be_bytes();
        let trailers = [&[0, length[0], length[1], 1, 5, 0, 0, 0, 1][..], &field].concat();
        let body = response(&[&settings, &head, &data, &trailers]);
        let mut receiving = Receiving::new(body, Incoming::Chunks);
        let (pool, mut cx) = (BufferPool::new(2), Context::from_waker(Waker::noop()));
        let mut buf = pool.take().expect("within budget");
        assert!(buf.put(&vec![b'.'; buf.spare() - CHUNK_ROOM - 110]));
        let (before, room) = (buf.len(), buf.spare());
        let Poll::Ready(Ok(bytes)) = receiving.read(&mut cx, &mut buf, room) else { panic!() };
        assert_eq!(buf.len(), before + bytes);
        assert!(buf.data().ends_with(b"a\r\n"), "the data and nothing else");
        let mut next = pool.take().expect("within budget");
        let room = next.spare();
        assert!(matches!(receiving.read(&mut cx, &mut next, room), Poll::Ready(Ok(1012))));
        assert!(next.data().starts_with(b"0\r\nx-t: ttt") && next.data().ends_with(b"t\r\n\r\n"));
        assert!(receiving.is_ended());
    }
}
