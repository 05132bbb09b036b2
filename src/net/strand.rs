//! What an exchange reads from and writes to: a socket, or one strand of a connection that carries several.
//!
//! A strand is a stream of bytes like any other; who makes one knows what its bytes mean, this room never does.
//! The walk of a request is compiled once for both. On a socket it pays one look which of the two it is; what
//! a strand adds to the futures is smaller than what a socket has there already.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::base::buffer::Buf;
use crate::net::stream::{Secure, Unsecured};
use crate::net::tls::Session;
use crate::runtime::{Either, Stream};

/// One of several streams within a connection.
pub trait Strand {
    /// Reads into the spare room of `buf`, at most `bytes_max`; zero bytes are the end.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>>;

    /// Ready when there is something to read, or nothing will come any more.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes some of the data of `buf`, or all of it together with its block.
    fn poll_write(&self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>>;

    /// Whether the peer has given it up.
    fn is_given_up(&self) -> bool;

    /// What has to leave before it can; it falls as long as its connection moves.
    fn ahead(&self) -> usize {
        0
    }

    /// Ends what is written.
    fn shut(&self);

    /// Gives it up, so that its peer sees a cut and no end.
    fn give_up(&self);
}

/// A socket or a strand.
pub struct Wire<S: Stream> {
    way: Way<S>,
}

enum Way<S: Stream> {
    Socket(Secure<S>),
    Strand(Rc<dyn Strand>),
}

impl<S: Stream> Wire<S> {
    /// A plain stream.
    pub fn plain(socket: S) -> Self {
        Self { way: Way::Socket(Secure::plain(socket)) }
    }

    /// One of several streams within a connection.
    pub fn strand(strand: Rc<impl Strand + 'static>) -> Self {
        Self { way: Way::Strand(strand) }
    }

    /// The socket, if it is one.
    pub fn socket(&self) -> Option<&S> {
        match &self.way {
            Way::Socket(socket) => Some(socket.socket()),
            Way::Strand(_) => None,
        }
    }

    /// Writes what a strand takes without a wait, and says how much that was; nothing to a socket.
    ///
    /// # Errors
    /// It is over.
    pub fn write_at_once(&self, cx: &mut Context<'_>, buf: &mut Buf) -> io::Result<usize> {
        let Way::Strand(strand) = &self.way else { return Ok(0) };
        let mut taken = 0;
        while !buf.is_empty() {
            match strand.poll_write(cx, buf) {
                Poll::Ready(result) => taken += result?,
                Poll::Pending => break,
            }
        }
        Ok(taken)
    }

    /// Whether it is one of several streams within a connection.
    pub fn is_strand(&self) -> bool {
        matches!(self.way, Way::Strand(_))
    }

    /// The session of TLS, once there is one.
    pub fn session(&self) -> Option<&Session> {
        match &self.way {
            Way::Socket(socket) => socket.session(),
            Way::Strand(_) => None,
        }
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        self.session().is_some()
    }

    /// Makes the handshake of `session`; everything afterwards goes through it. Not to be used any more when
    /// it fails or is given up.
    ///
    /// # Errors
    /// The peer closed, or is not one to talk to; it was told why.
    pub async fn secure(&self, session: Session) -> Result<(), Unsecured> {
        match &self.way {
            Way::Socket(socket) => socket.secure(session).await,
            Way::Strand(_) => Err(Unsecured::Gone),
        }
    }
}

/// An operation of a strand on a buffer, which is given back with its result.
struct Move<P> {
    buf: Option<Buf>,
    poll: P,
}

impl<P> Future for Move<P>
where
    P: Fn(&mut Context<'_>, &mut Buf) -> Poll<io::Result<usize>> + Unpin,
{
    type Output = (io::Result<usize>, Buf);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut buf = self.buf.take().expect("polled after it was done");
        match (self.poll)(cx, &mut buf) {
            Poll::Ready(result) => Poll::Ready((result, buf)),
            Poll::Pending => {
                self.buf = Some(buf);
                Poll::Pending
            }
        }
    }
}

impl<S: Stream> Stream for Wire<S> {
    // Not `async fn`: each would keep what it is given twice, for every request.
    fn read(&self, buf: Buf, bytes_max: usize) -> impl Future<Output = (io::Result<usize>, Buf)> {
        match &self.way {
            Way::Socket(socket) => Either::A { future: socket.read(buf, bytes_max) },
            Way::Strand(strand) => Either::B {
                future: Move {
                    buf: Some(buf),
                    poll: move |cx: &mut Context<'_>, buf: &mut Buf| {
                        strand.poll_read(cx, buf, bytes_max)
                    },
                },
            },
        }
    }

    fn try_read(&self, mut buf: Buf, bytes_max: usize) -> (io::Result<usize>, Buf) {
        match &self.way {
            Way::Socket(socket) => socket.try_read(buf, bytes_max),
            Way::Strand(strand) => {
                // Whoever finds nothing waits until it is readable, and is woken by that.
                let mut cx = Context::from_waker(Waker::noop());
                match strand.poll_read(&mut cx, &mut buf, bytes_max) {
                    Poll::Ready(result) => (result, buf),
                    Poll::Pending => (Err(io::ErrorKind::WouldBlock.into()), buf),
                }
            }
        }
    }

    async fn write_all(&self, mut buf: Buf) -> (io::Result<()>, Buf) {
        while !buf.is_empty() {
            let (result, rest) = self.write(buf).await;
            buf = rest;
            if let Err(error) = result {
                return (Err(error), buf);
            }
        }
        (Ok(()), buf)
    }

    fn write(&self, buf: Buf) -> impl Future<Output = (io::Result<usize>, Buf)> {
        match &self.way {
            Way::Socket(socket) => Either::A { future: socket.write(buf) },
            Way::Strand(strand) => Either::B {
                future: Move {
                    buf: Some(buf),
                    poll: |cx: &mut Context<'_>, buf: &mut Buf| strand.poll_write(cx, buf),
                },
            },
        }
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        match &self.way {
            Way::Socket(socket) => socket.try_write(bytes),
            Way::Strand(_) => 0,
        }
    }

    fn unacknowledged(&self) -> usize {
        match &self.way {
            Way::Socket(socket) => socket.unacknowledged(),
            Way::Strand(strand) => strand.ahead(),
        }
    }

    fn has_hung_up(&self) -> bool {
        match &self.way {
            Way::Socket(socket) => socket.has_hung_up(),
            Way::Strand(strand) => strand.is_given_up(),
        }
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        match &self.way {
            Way::Socket(socket) => Either::A { future: socket.readable() },
            Way::Strand(strand) => {
                Either::B { future: poll_fn(|cx| strand.poll_readable(cx).map(Ok)) }
            }
        }
    }

    fn is_quiet(&self) -> bool {
        match &self.way {
            Way::Socket(socket) => socket.is_quiet(),
            Way::Strand(strand) => !strand.is_given_up(),
        }
    }

    fn has_unread(&self) -> bool {
        match &self.way {
            Way::Socket(socket) => socket.has_unread(),
            Way::Strand(_) => !self.is_quiet(),
        }
    }

    fn is_broken(&self) -> bool {
        match &self.way {
            Way::Socket(socket) => socket.is_broken(),
            Way::Strand(strand) => strand.is_given_up(),
        }
    }

    fn shutdown_write(&self) {
        match &self.way {
            Way::Socket(socket) => socket.shutdown_write(),
            Way::Strand(strand) => strand.shut(),
        }
    }

    fn reset_on_close(&self) {
        match &self.way {
            Way::Socket(socket) => socket.reset_on_close(),
            Way::Strand(strand) => strand.give_up(),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match &self.way {
            Way::Socket(socket) => socket.peer(),
            Way::Strand(_) => None,
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match &self.way {
            Way::Socket(socket) => socket.local(),
            Way::Strand(_) => None,
        }
    }
}
