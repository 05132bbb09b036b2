//! The two ends of a simulated connection, and the sockets that accept them.
//!
//! A read or write is an operation that the kernel has from its first poll on; dropping its future asks
//! for its cancellation and never gives back what it has read already.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::base::buffer::Buf;
use crate::runtime::simulated::World;
use crate::runtime::simulated::link::{Link, fill};
use crate::runtime::simulated::network::Bound;
use crate::runtime::simulated::pipe::{Ended, Operation};
use crate::runtime::{Listener, Stream};

/// One end of a connection. Dropping it closes it.
pub struct SimulatedStream {
    link: Rc<Link>,
    side: usize,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    abruptly: Cell<bool>,
}

impl SimulatedStream {
    pub(super) fn new(
        link: Rc<Link>,
        side: usize,
        local: Option<SocketAddr>,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self { link, side, peer, local, abruptly: Cell::new(false) }
    }

    /// Makes closing a reset.
    pub(super) fn abandon(&self) {
        self.abruptly.set(true);
    }

    /// Operations that the kernel has, those included whose futures were dropped.
    pub fn operations(&self) -> usize {
        let reads = self.link.inward(self.side).borrow().reads.len();
        reads + self.link.outward(self.side).borrow().writes.len()
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.link.close(self.side, self.abruptly.get());
    }
}

impl Stream for SimulatedStream {
    async fn read(&self, buf: Buf, bytes_max: usize) -> (io::Result<usize>, Buf) {
        Operating::new(self, buf, bytes_max, Kind::Read).await
    }

    fn try_read(&self, mut buf: Buf, bytes_max: usize) -> (io::Result<usize>, Buf) {
        let SimulatedStream { link, side, .. } = self;
        let mut pipe = link.inward(*side).borrow_mut();
        let result = match pipe.ended {
            _ if !pipe.reads.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            _ if !pipe.arrived.is_empty() => Ok(fill(&link.world, &mut pipe, &mut buf, bytes_max)),
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Ended::Orderly) => Ok(0),
            Some(Ended::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
        };
        drop(pipe);
        // There may be room again for what the peer writes.
        link.pump_writes(1 - side);
        (result, buf)
    }

    async fn write_all(&self, buf: Buf) -> (io::Result<()>, Buf) {
        if buf.is_empty() {
            return (Ok(()), buf);
        }
        let (result, buf) = Operating::new(self, buf, usize::MAX, Kind::Write).await;
        (result.map(drop), buf)
    }

    async fn write(&self, buf: Buf) -> (io::Result<usize>, Buf) {
        if buf.is_empty() {
            return (Ok(0), buf);
        }
        Operating::new(self, buf, usize::MAX, Kind::WriteSome).await
    }

    fn unacknowledged(&self) -> usize {
        self.link.outward(self.side).borrow().unread()
    }

    fn has_hung_up(&self) -> bool {
        self.link.inward(self.side).borrow().ended.is_some()
    }

    async fn readable(&self) -> io::Result<()> {
        let world = &self.link.world;
        let mut late = world.chance(world.faults.told_late);
        poll_fn(|cx| {
            let mut pipe = self.link.inward(self.side).borrow_mut();
            if !pipe.is_readable() {
                if !pipe.watchers.iter().any(|known| known.will_wake(cx.waker())) {
                    pipe.watchers.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            if std::mem::take(&mut late) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn is_quiet(&self) -> bool {
        let broken = self.link.outward(self.side).borrow().broken;
        !broken && !self.link.inward(self.side).borrow().is_readable()
    }

    fn shutdown_write(&self) {
        self.link.end_writing(self.side);
    }

    fn reset_on_close(&self) {
        self.abandon();
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    WriteSome,
}

/// A read or write in flight.
struct Operating<'a> {
    stream: &'a SimulatedStream,
    operation: Rc<Operation>,
    kind: Kind,
    begun: bool,
    taken: bool,
}

impl<'a> Operating<'a> {
    fn new(stream: &'a SimulatedStream, buf: Buf, bytes_max: usize, kind: Kind) -> Self {
        let operation = Operation::new(buf, bytes_max, kind == Kind::WriteSome);
        Self { stream, operation, kind, begun: false, taken: false }
    }

    fn begin(&mut self) {
        self.begun = true;
        let SimulatedStream { link, side, .. } = self.stream;
        match self.kind {
            Kind::Read => {
                link.inward(*side).borrow_mut().reads.push_back(self.operation.clone());
                link.pump_reads(*side);
            }
            Kind::Write | Kind::WriteSome => {
                link.outward(*side).borrow_mut().writes.push_back(self.operation.clone());
                link.pump_writes(*side);
            }
        }
    }
}

impl Future for Operating<'_> {
    type Output = (io::Result<usize>, Buf);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let first = !self.begun;
        if first {
            self.begin();
        }
        let world = self.stream.link.world.clone();
        let late = first && world.chance(world.faults.told_late);
        let mut in_flight = self.operation.0.borrow_mut();
        if in_flight.done.is_none() {
            in_flight.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if late {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let result = in_flight.done.take().expect("looked at above");
        let buf = in_flight.buf.take().expect("a buffer is taken once, with the result");
        drop(in_flight);
        self.taken = true;
        Poll::Ready((result, buf))
    }
}

impl Drop for Operating<'_> {
    fn drop(&mut self) {
        if self.begun && !self.taken {
            self.stream.link.cancel(self.stream.side, &self.operation);
        }
    }
}

/// A socket that accepts simulated connections.
pub struct SimulatedListener {
    world: Rc<World>,
    bound: Bound,
}

impl SimulatedListener {
    pub(super) fn new(world: Rc<World>, bound: Bound) -> Self {
        Self { world, bound }
    }
}

impl Listener for SimulatedListener {
    type Stream = SimulatedStream;

    async fn accept(&self) -> Option<io::Result<SimulatedStream>> {
        let door = &self.bound.door;
        let stream = poll_fn(|cx| {
            if !door.is_open() {
                return Poll::Ready(None);
            }
            if let Some(stream) = door.backlog.borrow_mut().pop_front() {
                return Poll::Ready(Some(stream));
            }
            door.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await?;
        if self.world.chance(self.world.faults.accepts_failed) {
            self.world.network.note(|disturbed| disturbed.accepts_failed += 1);
            if self.world.chance(500) {
                // Out of descriptors: the connection goes on waiting.
                door.backlog.borrow_mut().push_front(stream);
                return Some(Err(io::Error::from_raw_os_error(libc::EMFILE)));
            }
            stream.abandon();
            return Some(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Some(Ok(stream))
    }

    fn stop(&self) {
        self.bound.door.close();
    }

    fn leave(&self) {
        self.bound.door.close();
    }
}
