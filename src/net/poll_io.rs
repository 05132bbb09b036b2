//! Two buffers in memory between a protocol that polls and a socket that completes (RUNTIME.md B.4).
//!
//! The protocol reads and writes here as if this were its socket, by the traits of tokio, of which nothing else is
//! used; whoever owns the socket fills the one buffer and empties the other. What a protocol writes in one turn
//! leaves in one send. Neither buffer ever grows: a full one makes the protocol wait, and an unread one makes the
//! socket wait. Nobody is woken from here, for one task polls both sides: after either has moved, it polls the
//! other.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::buffer::{Buf, BufferPool};

/// The two buffers.
pub struct Pipes {
    pool: BufferPool,
    inbound: RefCell<Option<Buf>>,
    inbound_ended: Cell<bool>,
    outbound: RefCell<Option<Buf>>,
    /// Whether the protocol waits for room.
    blocked: Cell<bool>,
}

/// The protocol's end of them.
pub struct PollIo(Rc<Pipes>);

impl Pipes {
    /// Empty buffers, with the protocol's end.
    pub fn new(pool: BufferPool) -> (Rc<Self>, PollIo) {
        let pipes = Rc::new(Self {
            pool,
            inbound: RefCell::default(),
            inbound_ended: Cell::new(false),
            outbound: RefCell::default(),
            blocked: Cell::new(false),
        });
        (pipes.clone(), PollIo(pipes))
    }

    /// Whether the protocol has read all that came, so that more can be fed.
    pub fn is_hungry(&self) -> bool {
        !self.inbound_ended.get() && self.inbound.borrow().is_none()
    }

    /// Gives the protocol what came.
    pub fn feed(&self, bytes: Buf) {
        debug_assert!(self.is_hungry(), "what came before was read");
        *self.inbound.borrow_mut() = Some(bytes).filter(|bytes| !bytes.is_empty());
    }

    /// Nothing more comes.
    pub fn end(&self) {
        self.inbound_ended.set(true);
    }

    /// What the protocol has written, all at once.
    pub fn take(&self) -> Option<Buf> {
        self.outbound.borrow_mut().take()
    }

    /// Whether something is written and not taken.
    pub fn has_written(&self) -> bool {
        self.outbound.borrow().is_some()
    }

    /// Lets `change` see what the protocol has written and nobody took.
    pub fn amend(&self, change: impl FnOnce(&mut [u8])) {
        if let Some(written) = &mut *self.outbound.borrow_mut() {
            change(written.data_mut());
        }
    }

    /// Whether the protocol waits for the client to read.
    pub fn is_full(&self) -> bool {
        self.blocked.get() || self.has_written()
    }

    /// Whether the protocol waits for room that is there by now.
    pub fn may_go_on(&self) -> bool {
        self.blocked.get() && self.outbound.borrow().is_none()
    }

    fn write(&self, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut outbound = self.outbound.borrow_mut();
        if outbound.is_none() {
            *outbound = Some(self.pool.take().ok_or(io::ErrorKind::OutOfMemory)?);
        }
        let Some(buf) = outbound.as_mut() else { return Poll::Pending };
        let mut written = 0;
        for slice in slices {
            let fits = &slice[..slice.len().min(buf.spare())];
            let put = buf.put(fits);
            debug_assert!(put, "cut to the room there is");
            written += fits.len();
        }
        let wanted = slices.iter().any(|slice| !slice.is_empty());
        self.blocked.set(written == 0 && wanted);
        if self.blocked.get() { Poll::Pending } else { Poll::Ready(Ok(written)) }
    }
}

impl AsyncRead for PollIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inbound = self.0.inbound.borrow_mut();
        let Some(buf) = inbound.as_mut() else {
            let ended = self.0.inbound_ended.get();
            return if ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let bytes = buf.len().min(into.remaining());
        into.put_slice(&buf.data()[..bytes]);
        buf.consume(bytes);
        if buf.is_empty() {
            *inbound = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PollIo {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.write(&[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.write(slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::base::limits::BUFFER_BYTES;

    #[test]
    fn a_full_buffer_makes_the_protocol_wait_until_it_is_taken() {
        let (pipes, mut io) = Pipes::new(BufferPool::new(2));
        let mut cx = Context::from_waker(Waker::noop());
        let much = vec![7; BUFFER_BYTES + 1];
        let mut write = |bytes: &[u8]| Pin::new(&mut io).poll_write(&mut cx, bytes);
        assert!(matches!(write(&much), Poll::Ready(Ok(BUFFER_BYTES))));
        assert!(write(&much[..1]).is_pending() && !pipes.may_go_on());
        let taken = pipes.take().expect("written");
        assert_eq!(taken.len(), BUFFER_BYTES);
        assert!(pipes.may_go_on());
        assert!(matches!(write(&much[..1]), Poll::Ready(Ok(1))));
        assert!(pipes.has_written() && !pipes.may_go_on());
    }

    #[test]
    fn what_is_fed_is_read_once_and_then_the_end() {
        let pool = BufferPool::new(2);
        let (pipes, mut io) = Pipes::new(pool.clone());
        let mut cx = Context::from_waker(Waker::noop());
        let mut room = [0; 4];
        let mut read = |expected: &[u8]| {
            let mut into = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut io).poll_read(&mut cx, &mut into);
            assert_eq!(into.filled(), expected);
            polled.is_ready()
        };
        assert!(!read(b""));
        let mut buf = pool.take().expect("within budget");
        assert!(buf.put(b"abcdef"));
        pipes.feed(buf);
        assert!(read(b"abcd") && !pipes.is_hungry());
        assert!(read(b"ef") && pipes.is_hungry());
        pipes.end();
        assert!(read(b"") && !pipes.is_hungry());
    }
}
