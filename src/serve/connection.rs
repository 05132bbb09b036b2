//! A client's connection, from accept to close.
//!
//! An idle connection never holds a buffer, an exchange or the large state of a walk: it is one small
//! task that waits for readiness. All else is made when bytes arrive and given up a moment after they
//! cease (10,000 idle phones must cost almost nothing), and while only a part of a head is here. While it
//! waits for a request it stands in the core's line of idle connections (`serve/clients.rs`) and may be
//! given up.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::buffer::Buf;
use crate::base::ids::ListenerId;
use crate::base::shared::Admission;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::client_cert::Proof;
use crate::gateway::listener::Listener;
use crate::net::stream::Wire;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::arriving::{Arrived, Rest};
use crate::serve::proxy_header::{self, Preface};
use crate::serve::secure::{self, Secured};
use crate::serve::{Core, Installed, h1, h2};

/// A client's connection.
pub struct Downstream<R: Runtime> {
    /// The socket.
    pub stream: Wire<R::Stream>,
    /// The other end; 127.0.0.1 for a Unix socket.
    pub peer: IpAddr,
    /// Its port.
    pub port: u16,
    /// The PROXY header in front of its first request.
    pub preface: Preface,
    /// Whether all that came of its next request is the empty line that may stand in front of it.
    pub empty_line: Cell<bool>,
    /// Whether it should be TLS and is not: it gets one answer.
    pub unsecured: Cell<bool>,
    /// What its client proved in the handshake, where that asked for something.
    pub proof: OnceCell<Rc<Proof>>,
    /// Whether a request came on it already.
    pub asked: Cell<bool>,
    address: Arc<Address>,
    found: Cell<Option<(u64, ListenerId)>>,
    seat: Cell<u32>,
}

/// How a wait for the next request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read.
    Readable,
    /// Nothing came in time.
    InVain,
    /// The connection is of no more use, or was given up to make room.
    Close,
}

impl<R: Runtime> Downstream<R> {
    /// A connection accepted at `address`.
    pub fn new(stream: R::Stream, address: Arc<Address>) -> Self {
        let stream = Wire::plain(stream);
        let peer = stream.peer();
        let port = peer.map_or(0, |peer| peer.port());
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
        let (preface, empty_line) = (Preface::default(), Cell::new(false));
        let (unsecured, proof, asked) = (Cell::new(false), OnceCell::new(), Cell::new(false));
        let (found, seat) = (Cell::new(None), Cell::new(u32::MAX));
        Self {
            stream,
            peer,
            port,
            preface,
            empty_line,
            unsecured,
            proof,
            asked,
            address,
            found,
            seat,
        }
    }

    /// Where it was accepted.
    pub fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// Says who is at the other end of the connection, as far as it is known before a request is read.
    pub fn introduce(&self, listener: &Listener, x: &mut Exchange) {
        x.client = proxy_header::client(self, listener);
        x.proof = self.proof.get().cloned();
    }

    /// Waits for something to read, at most until `until`; holds nothing, and may be given up.
    pub async fn idle(&self, core: &Core<R>, slot: &Slot, until: Instant) -> Waited {
        core.clients.idle(self.seat.get(), slot.index());
        let waited = slot.within(until, self.stream.readable()).await;
        let kept = core.clients.busy(self.seat.get());
        match waited {
            Ok(Ok(())) if kept => Waited::Readable,
            Err(_) if kept => Waited::InVain,
            _ => Waited::Close,
        }
    }

    /// Nothing is asked on it: it may be given up, and that ends the wait at `slot`.
    pub fn rest(&self, core: &Core<R>, slot: &Slot) {
        core.clients.idle(self.seat.get(), slot.index());
    }

    /// Something is asked on it; `false` when it was given up meanwhile.
    pub fn wake(&self, core: &Core<R>) -> bool {
        core.clients.busy(self.seat.get())
    }

    /// From now on it is open only so that its client may read the answer, and may be given up.
    pub fn closing(&self, core: &Core<R>, slot: &Slot) {
        core.clients.closing(self.seat.get(), slot.index());
    }

    /// The listener it came in by, as this version has it; `None` once a reload removed it.
    pub fn listener<'i>(&self, installed: &'i Installed<R>) -> Option<&'i Listener> {
        let gateway = &installed.gateway;
        if let Some((version, id)) = self.found.get()
            && version == gateway.version
        {
            return gateway.listener(id);
        }
        let at = gateway.listeners.iter().position(|known| known.address == *self.address)?;
        let id = ListenerId(at as u32);
        self.found.set(Some((gateway.version, id)));
        gateway.listener(id)
    }
}

/// A connection of this core as long as it is open.
pub struct Open<R: Runtime> {
    core: Rc<Core<R>>,
    connection: Rc<Downstream<R>>,
}

impl<R: Runtime> Open<R> {
    /// Counts a connection that was admitted.
    pub fn new(core: Rc<Core<R>>, connection: Downstream<R>, admission: Admission) -> Self {
        core.connections.set(core.connections.get() + 1);
        core.metrics.connections_accepted.add(1);
        core.metrics.connections_open.raise();
        let connection = Rc::new(connection);
        connection.seat.set(core.clients.sit(connection.clone(), admission));
        Self { core, connection }
    }
}

impl<R: Runtime> Drop for Open<R> {
    fn drop(&mut self) {
        self.core.clients.rise(self.connection.seat.get());
        self.core.connections.set(self.core.connections.get() - 1);
        self.core.metrics.connections_open.lower();
        if std::thread::panicking() {
            self.core.metrics.panics.add(1);
        }
    }
}

/// Waits that are refused when no listener says otherwise.
const IDLE_WITHOUT_LISTENER: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve<R: Runtime>(open: Open<R>) {
    let Open { core, connection } = &open;
    if !proxy_header::admit(core, connection) {
        return;
    }
    let slot = core.deadlines.slot();
    let mut arrived = None;
    if secure::is_due(core, connection) {
        // Boxed: only connections that are being secured pay for it.
        match Box::pin(secure::client(core, connection, &slot)).await {
            Secured::Yes if secure::speaks_http2(connection) => {
                return multiplexed(core, connection, None).await;
            }
            Secured::Yes => {}
            Secured::Plain(bytes) => {
                connection.unsecured.set(true);
                arrived = Some(Box::new(Arrived::of(core, bytes)));
            }
            Secured::Close => return,
        }
    }
    if arrived.is_none() {
        arrived = at_once(core, connection);
    }
    loop {
        let idle = {
            let installed = core.installed();
            let listener = connection.listener(&installed);
            listener.map_or(IDLE_WITHOUT_LISTENER, |listener| listener.idle_timeout)
        };
        let until = core.runtime.now() + idle;
        if arrived.is_none() && connection.idle(core, &slot, until).await != Waited::Readable {
            return;
        }
        loop {
            // Boxed, both of them: what is large must not be a part of the task.
            let bytes = arrived.take().map(|arrived: Box<_>| *arrived);
            match Box::pin(h1::busy(core, connection, bytes)).await {
                h1::After::Idle => break,
                h1::After::Close => return,
                h1::After::Http2(first) => {
                    return multiplexed(core, connection, Some(first)).await;
                }
                h1::After::Begun(head) => {
                    match Box::pin(head.rest(core, connection, &slot)).await {
                        Rest::Arrived(head) => arrived = Some(Box::new(head)),
                        Rest::EmptyLine => {
                            connection.empty_line.set(true);
                            break;
                        }
                        Rest::Gone => return,
                    }
                }
            }
        }
    }
}

/// What is here already of the first request: most clients ask as soon as they are connected, so that to wait for
/// readiness first is in vain. The end of the stream, and what is wrong with it, is seen by that wait.
fn at_once<R: Runtime>(core: &Core<R>, connection: &Downstream<R>) -> Option<Box<Arrived>> {
    if connection.stream.is_secure() || connection.preface.is_due() {
        return None;
    }
    let bytes = core.buffer().ok()?;
    let room = bytes.spare();
    match connection.stream.try_read(bytes, room) {
        (Ok(1..), bytes) => Some(Box::new(Arrived::of(core, bytes))),
        _ => None,
    }
}

/// The same for a connection of several streams; boxed before it is awaited, so that the task does not keep
/// room for what came.
fn multiplexed<'a, R: Runtime>(
    core: &'a Rc<Core<R>>,
    connection: &'a Rc<Downstream<R>>,
    first: Option<Buf>,
) -> Pin<Box<impl Future<Output = ()> + 'a>> {
    Box::pin(h2::serve(core, connection, first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::uring::Uring;

    /// Unit: bytes. Measured with the tables of a core and monoio's own an idle connection is 800 bytes; that it may
    /// turn out to speak HTTP/2 takes 48 more.
    const TASK_BYTES_MAX: usize = 368;

    #[test]
    fn the_task_of_an_idle_connection_is_small() {
        fn bytes<F>(_: fn(Open<Uring>) -> F) -> usize {
            size_of::<F>()
        }
        let task = bytes(serve::<Uring>);
        assert!(task <= TASK_BYTES_MAX, "{task} bytes: what is large belongs into `h1::busy`");
        let connection = size_of::<Downstream<Uring>>();
        assert!(connection <= TASK_BYTES_MAX, "{connection} bytes");
    }
}
