//! The production runtime: monoio 0.2.4 on io_uring, or on epoll where io_uring is refused.
//!
//! monoio is used by the house rules of RUNTIME.md A.9: an accept is never dropped in flight, a task's
//! panic never ends its thread, nothing wakes a core from another thread, and no name is ever resolved
//! here. The way out of monoio is this file.

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, Canceller};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use socket2::SockRef;

use crate::base::address::Address;
use crate::base::buffer::Buf;
use crate::base::time::{Instant, Wall};
use crate::runtime::caught::Caught;
use crate::runtime::clock;
use crate::runtime::fairness::{Either, Mapped, Turns};
use crate::runtime::probe::Driver;
use crate::runtime::{Listener, Runtime, Stream};

/// Entries of one core's submission queue; more operations in one turn are submitted in between.
const RING_ENTRIES: u32 = 1024;

/// Connections taken from one listener before others have their turn.
const ACCEPT_AT_ONCE_MAX: u32 = 16;

/// After a connection that came alone so many more are waited for before it is looked behind one again.
const WAITS_ALONE: u32 = 7;

/// The event loop of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct Uring;

/// Runs `main` to its end on an event loop made on this thread.
///
/// # Errors
/// When the kernel refuses the event loop (descriptors, memory).
pub fn run<F: Future>(driver: Driver, main: F) -> io::Result<F::Output> {
    match driver {
        Driver::IoUring(flags) => {
            let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .uring_builder(flags.builder())
                .with_entries(RING_ENTRIES)
                .enable_timer();
            Ok(builder.build()?.block_on(main))
        }
        Driver::Epoll => {
            let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
            Ok(builder.build()?.block_on(main))
        }
    }
}

impl Runtime for Uring {
    type Stream = Socket;
    type Listener = Acceptor;
    type Bound = OwnedFd;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn wall(&self) -> Wall {
        clock::wall()
    }

    async fn sleep_until(&self, at: Instant) {
        let wait = at.since(clock::now());
        if !wait.is_zero() {
            monoio::time::sleep(wait).await;
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // monoio does not catch a task's panic.
        monoio::spawn(Caught { task });
    }

    fn listen(&self, address: &Address, socket: OwnedFd) -> io::Result<Acceptor> {
        Acceptor::new(address, socket)
    }

    async fn connect(&self, address: &Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_addr(*address).await?;
                stream.set_nodelay(true)?;
                Ok(Socket::new(Io::Tcp(stream), Some(*address)))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                Ok(Socket::new(Io::Unix(stream), None))
            }
        }
    }
}

/// A connected TCP or Unix stream socket.
pub struct Socket {
    io: UnsafeCell<Io>,
    fd: RawFd,
    peer: Option<SocketAddr>,
    turns: Turns,
}

enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// As recv(2) says it: 1 if there is something to read, 0 at the end of the stream, or an error.
    #[expect(unsafe_code, reason = "a peek that does not wait")]
    fn peek(&self) -> isize {
        let mut byte = 0_u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: the descriptor is open as long as `self`, and the buffer is valid for one byte.
        unsafe { libc::recv(self.fd, (&raw mut byte).cast(), 1, flags) }
    }

    fn new(io: Io, peer: Option<SocketAddr>) -> Self {
        let fd = match &io {
            Io::Tcp(stream) => stream.as_raw_fd(),
            Io::Unix(stream) => stream.as_raw_fd(),
        };
        Self { io: UnsafeCell::new(io), fd, peer, turns: Turns::default() }
    }

    #[expect(unsafe_code, reason = "reading and writing at once, as monoio's own split halves do")]
    #[expect(clippy::mut_from_ref, reason = "see SAFETY")]
    fn io(&self) -> &mut Io {
        // SAFETY: a `Socket` never leaves its thread (it is not `Sync`), and monoio's read, write and
        // readiness operations use the exclusive reference only while they are made, to clone the
        // descriptor's handle; no two of them are being made at once. monoio's `OwnedReadHalf` and
        // `OwnedWriteHalf` rest on the same fact.
        unsafe { &mut *self.io.get() }
    }
}

/// A read into the spare room of a buffer.
struct Into {
    buf: Buf,
    bytes_max: usize,
}

// SAFETY: the spare room is initialised memory that stays where it is while the handle moves (the block
// is boxed), and `set_init` is called with what the kernel wrote there.
#[expect(unsafe_code, reason = "monoio's trait for buffers it may write to")]
unsafe impl IoBufMut for Into {
    fn write_ptr(&mut self) -> *mut u8 {
        self.buf.spare_mut().as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.buf.spare().min(self.bytes_max)
    }

    unsafe fn set_init(&mut self, n: usize) {
        self.buf.fill(n);
    }
}

/// A write of a buffer's data.
struct From(Buf);

// SAFETY: the data is initialised memory that stays where it is while the handle moves.
#[expect(unsafe_code, reason = "monoio's trait for buffers it may read from")]
unsafe impl IoBuf for From {
    fn read_ptr(&self) -> *const u8 {
        self.0.data().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }
}

impl Stream for Socket {
    fn read(&self, buf: Buf, bytes_max: usize) -> impl Future<Output = (io::Result<usize>, Buf)> {
        let into = Into { buf, bytes_max };
        let read = match self.io() {
            Io::Tcp(stream) => Either::A { future: stream.read(into) },
            Io::Unix(stream) => Either::B { future: stream.read(into) },
        };
        let done = |(result, into): (io::Result<usize>, Into)| (result, into.buf);
        Mapped { future: self.turns.share(read), then: done }
    }

    #[expect(unsafe_code, reason = "recv(2) that does not wait, into a buffer we own")]
    fn try_read(&self, mut buf: Buf, bytes_max: usize) -> (io::Result<usize>, Buf) {
        let room = buf.spare_mut();
        let bytes_max = bytes_max.min(room.len());
        let to = room.as_mut_ptr().cast();
        // SAFETY: the descriptor is open as long as `self`, and `room` is valid for writes of `bytes_max`.
        let got = unsafe { libc::recv(self.fd, to, bytes_max, libc::MSG_DONTWAIT) };
        match usize::try_from(got) {
            Ok(n) => {
                buf.fill(n);
                (Ok(n), buf)
            }
            Err(_) => (Err(io::Error::last_os_error()), buf),
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
        let write = match self.io() {
            Io::Tcp(stream) => Either::A { future: stream.write(From(buf)) },
            Io::Unix(stream) => Either::B { future: stream.write(From(buf)) },
        };
        let done = |(result, From(mut buf)): (io::Result<usize>, From)| match result {
            Ok(0) => (Err(io::ErrorKind::WriteZero.into()), buf),
            Ok(n) => {
                buf.consume(n);
                (Ok(n), buf)
            }
            Err(error) => (Err(error), buf),
        };
        Mapped { future: self.turns.share(write), then: done }
    }

    #[expect(
        unsafe_code,
        reason = "send(2) that does not wait, from a slice that outlives the call"
    )]
    fn try_write(&self, bytes: &[u8]) -> usize {
        let (from, flags) = (bytes.as_ptr().cast(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        // SAFETY: the descriptor is open as long as `self`, and `bytes` is valid for reads of its length.
        let sent = unsafe { libc::send(self.fd, from, bytes.len(), flags) };
        usize::try_from(sent).unwrap_or(0)
    }

    #[expect(unsafe_code, reason = "ioctl(2) on a descriptor we own")]
    fn unacknowledged(&self) -> usize {
        let mut queued: libc::c_int = 0;
        // SAFETY: the descriptor is open as long as `self`; SIOCOUTQ (tcp(7), unix(7)) writes one int.
        let result = unsafe { libc::ioctl(self.fd, libc::TIOCOUTQ, &raw mut queued) };
        if result < 0 { 0 } else { usize::try_from(queued).unwrap_or(0) }
    }

    #[expect(unsafe_code, reason = "poll(2) that does not wait, on a descriptor we own")]
    fn has_hung_up(&self) -> bool {
        let mut asked = libc::pollfd { fd: self.fd, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: the descriptor is open as long as `self`, and `asked` is one whole entry.
        let found = unsafe { libc::poll(&raw mut asked, 1, 0) };
        found > 0
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        match self.io() {
            Io::Tcp(stream) => Either::A { future: stream.readable(false) },
            Io::Unix(stream) => Either::B { future: stream.readable(false) },
        }
    }

    fn is_quiet(&self) -> bool {
        self.peek() < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }

    fn has_unread(&self) -> bool {
        self.peek() > 0
    }

    #[expect(unsafe_code, reason = "poll(2) that does not wait, on a descriptor we own")]
    fn is_broken(&self) -> bool {
        // Errors and hang-ups are told without being asked for (poll(2)).
        let mut asked = libc::pollfd { fd: self.fd, events: 0, revents: 0 };
        // SAFETY: the descriptor is open as long as `self`, and the pointer is to one `pollfd`.
        let told = unsafe { libc::poll(&raw mut asked, 1, 0) };
        told > 0 && asked.revents & (libc::POLLERR | libc::POLLHUP) != 0
    }

    #[expect(unsafe_code, reason = "shutdown(2) on a descriptor we own")]
    fn shutdown_write(&self) {
        // SAFETY: the descriptor is open as long as `self`. The result does not matter: a socket that
        // cannot be shut down is closed already.
        unsafe { libc::shutdown(self.fd, libc::SHUT_WR) };
    }

    #[expect(unsafe_code, reason = "setsockopt(2) on a descriptor we own")]
    fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = size_of::<libc::linger>() as libc::socklen_t;
        let value = (&raw const linger).cast();
        // SAFETY: the descriptor is open as long as `self`, and the value is valid for reads of its size.
        unsafe { libc::setsockopt(self.fd, libc::SOL_SOCKET, libc::SO_LINGER, value, size) };
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn local(&self) -> Option<SocketAddr> {
        match self.io() {
            Io::Tcp(stream) => stream.local_addr().ok(),
            Io::Unix(_) => None,
        }
    }
}

/// A listening socket on this core.
pub struct Acceptor {
    io: AcceptIo,
    canceller: std::cell::RefCell<Canceller>,
    stopped: Cell<bool>,
    turns: Turns,
    /// How many of those that wait may be taken before the event loop has its turn.
    at_once: Cell<u32>,
    /// Waits to come before it is tried again whether one connection waits behind another.
    alone: Cell<u32>,
}

enum AcceptIo {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// From a bound and listening socket of the address' family.
    ///
    /// # Errors
    /// When the event loop cannot register the descriptor.
    fn new(address: &Address, socket: OwnedFd) -> io::Result<Self> {
        // An accept that is tried must not wait.
        SockRef::from(&socket).set_nonblocking(true)?;
        let io = match address {
            Address::Tcp(_) => AcceptIo::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => AcceptIo::Unix(UnixListener::from_std(socket.into())?),
        };
        let canceller = std::cell::RefCell::new(Canceller::new());
        let (stopped, at_once, alone) = (Cell::new(false), Cell::new(0), Cell::new(0));
        Ok(Self { io, canceller, stopped, turns: Turns::default(), at_once, alone })
    }

    /// Called behind an accept that was waited for: connections often come together, and each turn of the event
    /// loop gives one. To try in vain makes a socket and drops it, so that after that the next few go without. With
    /// epoll the accept itself does not wait while there is something to take.
    fn look_behind(&self) {
        match self.alone.get() {
            _ if monoio::utils::is_legacy() => {}
            0 => self.at_once.set(ACCEPT_AT_ONCE_MAX),
            waits => self.alone.set(waits - 1),
        }
    }

    /// One that waits already.
    fn take_waiting(&self) -> Option<Socket> {
        let left = self.at_once.get().checked_sub(1)?;
        let taken = self.try_accept();
        if taken.is_none() && left == ACCEPT_AT_ONCE_MAX - 1 {
            self.alone.set(WAITS_ALONE);
        }
        self.at_once.set(if taken.is_some() { left } else { 0 });
        taken
    }

    /// What fails here is said by the accept that waits.
    #[expect(unsafe_code, reason = "the event loop lends descriptors as numbers only")]
    fn try_accept(&self) -> Option<Socket> {
        // SAFETY: the descriptor is open as long as `self`.
        let listener = unsafe { BorrowedFd::borrow_raw(self.fd()) };
        let (socket, peer) = SockRef::from(&listener).accept().ok()?;
        match &self.io {
            AcceptIo::Tcp(_) => {
                let stream = TcpStream::from_std(socket.into()).ok()?;
                Some(Socket::new(Io::Tcp(stream), peer.as_socket()))
            }
            AcceptIo::Unix(_) => {
                let stream = UnixStream::from_std(socket.into()).ok()?;
                Some(Socket::new(Io::Unix(stream), None))
            }
        }
    }

    fn fd(&self) -> RawFd {
        match &self.io {
            AcceptIo::Tcp(listener) => listener.as_raw_fd(),
            AcceptIo::Unix(listener) => listener.as_raw_fd(),
        }
    }

    /// The kernel stops to take connections at once; closing alone waits for this core's next turn, and one
    /// that ends has none.
    #[expect(unsafe_code, reason = "shutdown(2) on a descriptor we own")]
    fn refuse(&self) {
        // SAFETY: the descriptor is open as long as `self`.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_RDWR) };
    }

    /// Ends the accept in flight.
    fn end(&self) {
        self.stopped.set(true);
        let canceller = self.canceller.take();
        *self.canceller.borrow_mut() = canceller.cancel();
    }
}

impl Listener for Acceptor {
    type Stream = Socket;

    async fn accept(&self) -> Option<io::Result<Socket>> {
        // The stop may have come while the last connection was handed over: nothing would end this wait.
        if self.stopped.get() {
            return None;
        }
        if let Some(waiting) = self.take_waiting() {
            return Some(Ok(waiting));
        }
        let handle = self.canceller.borrow().handle();
        let accepted = match &self.io {
            AcceptIo::Tcp(listener) => {
                let accepted = self.turns.share(listener.cancelable_accept(handle)).await;
                accepted.map(|(stream, peer)| Socket::new(Io::Tcp(stream), Some(peer)))
            }
            AcceptIo::Unix(listener) => {
                let accepted = self.turns.share(listener.cancelable_accept(handle)).await;
                accepted.map(|(stream, _)| Socket::new(Io::Unix(stream), None))
            }
        };
        match accepted {
            Ok(socket) => {
                close_on_exec(socket.fd);
                self.look_behind();
                Some(Ok(socket))
            }
            Err(_) if self.stopped.get() => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn stop(&self) {
        self.refuse();
        self.end();
    }

    fn leave(&self) {
        // Every core has a TCP socket of its own; a Unix socket is one for all of them.
        if matches!(self.io, AcceptIo::Tcp(_)) {
            self.refuse();
        }
        self.end();
    }
}

/// monoio accepts without SOCK_CLOEXEC (RUNTIME.md A.7).
#[expect(unsafe_code, reason = "fcntl(2) on a descriptor we own")]
fn close_on_exec(fd: RawFd) {
    // SAFETY: the descriptor is open; setting a flag on it has no other effect.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}
