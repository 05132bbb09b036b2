//! A client's connection, from accept to close.
//!
//! An idle connection never holds a buffer, an exchange or the large state of a walk: it is one small
//! task that waits for readiness. All else is made when bytes arrive and given up a moment after they
//! cease (10,000 idle phones must cost almost nothing), and while only a part of a head is here.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::ids::ListenerId;
use crate::gateway::listener::Listener;
use crate::runtime::{Runtime, Stream};
use crate::serve::proxy_header::{self, Preface};
use crate::serve::{Core, Installed, h1};

/// A client's connection.
pub struct Downstream<R: Runtime> {
    /// The socket.
    pub stream: R::Stream,
    /// The other end; 127.0.0.1 for a Unix socket.
    pub peer: IpAddr,
    /// Its port.
    pub port: u16,
    /// The PROXY header in front of its first request.
    pub preface: Preface,
    address: Arc<Address>,
    found: Cell<Option<(u64, ListenerId)>>,
}

impl<R: Runtime> Downstream<R> {
    /// A connection accepted at `address`.
    pub fn new(stream: R::Stream, address: Arc<Address>) -> Self {
        let peer = stream.peer();
        let port = peer.map_or(0, |peer| peer.port());
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
        let (preface, found) = (Preface::default(), Cell::new(None));
        Self { stream, peer, port, preface, address, found }
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

/// Counts a connection as long as it is open.
struct Open<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Open<R> {
    fn new(core: &Rc<Core<R>>) -> Self {
        core.connections.set(core.connections.get() + 1);
        core.metrics.connections_accepted.add(1);
        core.metrics.connections_open.raise();
        Self(core.clone())
    }
}

impl<R: Runtime> Drop for Open<R> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.connections_open.lower();
        if std::thread::panicking() {
            self.0.metrics.panics.add(1);
        }
    }
}

/// Waits that are refused when no listener says otherwise.
const IDLE_WITHOUT_LISTENER: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve<R: Runtime>(core: Rc<Core<R>>, stream: R::Stream, address: Arc<Address>) {
    let _open = Open::new(&core);
    let connection = Downstream::new(stream, address);
    if !proxy_header::admit(&core, &connection) {
        return;
    }
    let slot = core.deadlines.slot();
    loop {
        let idle = {
            let installed = core.installed();
            let listener = connection.listener(&installed);
            listener.map_or(IDLE_WITHOUT_LISTENER, |listener| listener.idle_timeout)
        };
        let until = core.runtime.now() + idle;
        match slot.within(until, connection.stream.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
        let mut arrived = None;
        loop {
            match Box::pin(h1::busy(&core, &connection, arrived.take())).await {
                h1::After::Idle => break,
                h1::After::Close => return,
                h1::After::Begun(head) => match head.rest(&core, &connection, &slot).await {
                    Some(whole) => arrived = Some(whole),
                    None => return,
                },
            }
        }
    }
}
