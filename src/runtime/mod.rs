//! What a core gives us: time, timers, tasks, sockets. The only folder that names monoio.
//!
//! Everything above is generic over [`Runtime`], so that the whole data plane can run on a simulated
//! network and clock. Rooms above never ask a clock or a socket for anything but through this trait.

pub mod caught;
pub mod clock;
pub mod deadline;
pub mod descriptors;
pub mod entropy;
mod fairness;
pub mod memory;
pub mod pin;
pub mod probe;
pub mod simulated;
pub mod uring;

use std::future::Future;
use std::io;

use crate::base::address::Address;
use crate::base::buffer::Buf;
use crate::base::time::{Instant, Wall};

pub use crate::runtime::fairness::Either;

/// One core's event loop, as the rest of the gateway sees it.
pub trait Runtime: Clone + 'static {
    /// A connected stream socket.
    type Stream: Stream;
    /// A socket that accepts connections.
    type Listener: Listener<Stream = Self::Stream>;
    /// What the control side hands over for a listener: bound and listening already.
    type Bound: 'static;

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The wall clock.
    fn wall(&self) -> Wall;

    /// Completes at `at` or, timers being coarse, up to two milliseconds later. Waited for inside an exchange
    /// it belongs into a box: a timer brings an alignment of 128 bytes to every future around it, and those
    /// are copied for each request.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;

    /// Runs a task on this core. A panic in it ends the task and nothing else.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Accepts on a socket that is bound and listens already.
    ///
    /// # Errors
    /// When the event loop cannot take the socket.
    fn listen(&self, address: &Address, socket: Self::Bound) -> io::Result<Self::Listener>;

    /// Connects to an address. The caller sets the deadline.
    ///
    /// # Errors
    /// As the kernel reports them: refused, unreachable, out of descriptors.
    fn connect(&self, address: &Address) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// A connected stream over owned buffers. Reading and writing may be in flight at the same time; two
/// reads, or two writes, never are.
///
/// Dropping a read that is in flight may lose the bytes it would have returned: such a stream must not
/// be used for reading again (see `serve::Connection::spoiled`).
pub trait Stream: 'static {
    /// Reads into the spare room of `buf`, at most `bytes_max` bytes. Zero bytes read means that the
    /// peer has closed (or that there was no room, which callers must not let happen).
    fn read(&self, buf: Buf, bytes_max: usize) -> impl Future<Output = (io::Result<usize>, Buf)>;

    /// Reads at once what is there, as `read` does; `WouldBlock` when nothing is, or when this stream cannot
    /// tell without waiting. Lets a buffer be taken when it is needed and not before.
    fn try_read(&self, buf: Buf, _bytes_max: usize) -> (io::Result<usize>, Buf) {
        (Err(io::ErrorKind::WouldBlock.into()), buf)
    }

    /// Writes all data of `buf`, which is empty afterwards unless the write failed.
    fn write_all(&self, buf: Buf) -> impl Future<Output = (io::Result<()>, Buf)>;

    /// Writes some of the data of `buf` and consumes it; how much counts as progress.
    fn write(&self, buf: Buf) -> impl Future<Output = (io::Result<usize>, Buf)> {
        async {
            let bytes = buf.len();
            let (result, buf) = self.write_all(buf).await;
            (result.map(|()| bytes), buf)
        }
    }

    /// Writes at once what fits, and says how much that was. For a few last words, such as an alert of TLS:
    /// never while a write is in flight.
    fn try_write(&self, _bytes: &[u8]) -> usize {
        0
    }

    /// Bytes written that the peer has not acknowledged, or not read; 0 where that cannot be known. When
    /// it falls, a peer that takes no more for the moment is alive and reading.
    fn unacknowledged(&self) -> usize {
        0
    }

    /// Whether the peer has closed, or said that it sends nothing more; bytes that it sent before may still
    /// be unread. Does not wait.
    fn has_hung_up(&self) -> bool {
        false
    }

    /// Completes when there is something to read, or the peer has closed. Holds no buffer.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Whether the peer is still there and has sent nothing: a kept connection may be used again only
    /// then. Does not wait.
    fn is_quiet(&self) -> bool;

    /// Whether bytes that the peer sent wait to be read: closing would then be a reset. Does not wait.
    fn has_unread(&self) -> bool {
        !self.is_quiet()
    }

    /// Whether the connection is over in both directions: what is written now reaches nobody. Does not wait.
    /// A stream that cannot tell says no; then the next write does.
    fn is_broken(&self) -> bool {
        false
    }

    /// Sends what was written and then the end of the stream; reading goes on.
    fn shutdown_write(&self);

    /// Makes closing a reset: the only way to tell a client that a body which ends with its connection
    /// is not whole (RFC 9112 §8).
    fn reset_on_close(&self);

    /// The address of the peer; `None` for a Unix socket.
    fn peer(&self) -> Option<std::net::SocketAddr>;

    /// The address at our end; `None` for a Unix socket, or where it is not known.
    fn local(&self) -> Option<std::net::SocketAddr> {
        None
    }
}

/// A socket that accepts connections.
pub trait Listener: 'static {
    /// What it accepts.
    type Stream: Stream;

    /// The next connection, or `None` once the listener was stopped.
    ///
    /// # Errors
    /// As the kernel reports them: out of descriptors, connection aborted.
    fn accept(&self) -> impl Future<Output = Option<io::Result<Self::Stream>>>;

    /// Ends the accept in flight and all later ones; nobody accepts at this address any more.
    fn stop(&self);

    /// The same for this core alone: others that share the socket go on.
    fn leave(&self);
}
