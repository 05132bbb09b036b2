//! PROXY headers in front of HTTP: taken from a client's connection, and sent on one to an origin.
//!
//! A header is never looked for on a connection of somebody who is not trusted, and what is malformed is
//! never answered: the sender does not speak HTTP yet (proxy-protocol.txt §2). Whether one is due is decided
//! when a connection is accepted, because that is when its proxy decided to send one: a reload that changes
//! the setting holds for connections made after it. No buffer is held before the first byte is here, and
//! none while the first request is waited for.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::buffer::Buf;
use crate::base::time::Instant;
use crate::exchange::client::Client;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::gateway::listener::{Listener, ProxyProtocol};
use crate::net::proxy_protocol::{self, Endpoints, Header, Outcome};
use crate::net::stream::Wire;
use crate::observe::metrics::HeaderRefusal;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::connection::Downstream;
use crate::serve::h1::After;
use crate::upstream::ProxyHeader;

/// A connection's header: whether it is still due, and what it said. Small, for idle connections have one.
#[derive(Default)]
pub struct Preface {
    said: OnceCell<Box<(Endpoints, bool)>>,
    due: Cell<ProxyProtocol>,
}

/// A header that was refused, for the event.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Where it was accepted.
    pub listener: Arc<Address>,
    /// Whose connection was closed.
    pub peer: IpAddr,
    /// Why.
    pub why: &'static str,
}

/// A connection of a listener that is gone is closed soon in any case.
const WITHOUT_LISTENER: Duration = Duration::from_secs(1);

/// Whether a connection just accepted may stay: where all must begin with a header, nobody else may.
pub fn admit<R: Runtime>(core: &Core<R>, connection: &Downstream<R>) -> bool {
    let installed = core.installed();
    let Some(listener) = connection.listener(&installed) else { return true };
    let mode = listener.proxy_protocol;
    if mode == ProxyProtocol::Off {
        return true;
    }
    if listener.trusts(connection.peer) {
        connection.preface.due.set(mode);
        return true;
    }
    if mode == ProxyProtocol::Required {
        refuse(core, connection, HeaderRefusal::Untrusted, "it is not in `trusted_proxies`");
    }
    mode == ProxyProtocol::Optional
}

/// Reads the header, if one is due; gives back what came behind it.
///
/// # Errors
/// What becomes of the connection instead: it waits for its first request, or it is closed.
pub async fn read<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    slot: &Slot,
) -> Result<Option<Buf>, After> {
    let due = connection.preface.due.get();
    if due == ProxyProtocol::Off {
        return Ok(None);
    }
    let refused = |how, why| {
        refuse(core, connection, how, why);
        Err(After::Close)
    };
    let until = core.runtime.now() + head_timeout(core, connection);
    let mut part = Vec::new();
    loop {
        // What waits for the rest of a header holds no buffer, only what is here of it.
        if !part.is_empty() && slot.within(until, connection.stream.readable()).await.is_err() {
            return refused(HeaderRefusal::Timeout, "it took too long");
        }
        let mut buf = core.buffer().map_err(|_| After::Close)?;
        let fits = buf.put(&part);
        debug_assert!(fits, "what is not whole is shorter than the longest header");
        let room = buf.spare();
        match slot.within(until, connection.stream.read(buf, room)).await {
            Ok((Ok(0) | Err(_), _)) if part.is_empty() => return Err(After::Close),
            Ok((Ok(0) | Err(_), _)) => {
                return refused(HeaderRefusal::Malformed, "it ended half-way");
            }
            Ok((Ok(_), filled)) => buf = filled,
            Err(_) => return refused(HeaderRefusal::Timeout, "it took too long"),
        }
        match proxy_protocol::parse(buf.data()) {
            Outcome::Partial => part = buf.data().to_vec(),
            Outcome::Absent if due == ProxyProtocol::Required => {
                return refused(HeaderRefusal::Missing, "there is none");
            }
            Outcome::Absent => {
                connection.preface.due.set(ProxyProtocol::Off);
                return Ok(Some(buf));
            }
            Outcome::Invalid(why) => return refused(HeaderRefusal::Malformed, why.text()),
            Outcome::Done(header, used) => {
                connection.preface.keep(&header);
                buf.consume(used);
                return if buf.is_empty() { Err(After::Idle) } else { Ok(Some(buf)) };
            }
        }
    }
}

fn head_timeout<R: Runtime>(core: &Core<R>, connection: &Downstream<R>) -> Duration {
    let installed = core.installed();
    connection.listener(&installed).map_or(WITHOUT_LISTENER, |listener| listener.head_timeout)
}

impl Preface {
    /// Whether a header may come before anything else.
    pub fn is_due(&self) -> bool {
        self.due.get() != ProxyProtocol::Off
    }

    fn keep(&self, header: &Header) {
        self.due.set(ProxyProtocol::Off);
        if let Some(endpoints) = header.endpoints {
            // A header is read once, so that the cell is empty.
            let _ = self.said.set(Box::new((endpoints, header.tls)));
        }
    }
}

fn refuse<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    how: HeaderRefusal,
    why: &'static str,
) {
    core.metrics.header_refused(how);
    // The first of a tick is told; the metric has them all.
    let first = core.refused_header.take().unwrap_or_else(|| {
        let listener = connection.address().clone();
        Refused { listener, peer: connection.peer, why }
    });
    core.refused_header.set(Some(first));
}

/// The other end of a connection, as far as it is known before a request is read.
pub fn client<R: Runtime>(connection: &Downstream<R>, listener: &Listener) -> Client {
    let (peer, port) = (connection.peer, connection.port);
    let said = connection.preface.said.get();
    let mut client = match said.map(|said| &**said) {
        None => Client { peer, port, ..Client::default() },
        Some((ends, tls)) => Client {
            peer: ends.source.ip(),
            port: ends.source.port(),
            proxy: Some(peer),
            destination: Some(ends.destination),
            tls: *tls,
            ..Client::default()
        },
    };
    client.tls |= connection.stream.is_secure();
    client.address = client.peer;
    client.address_port = client.port;
    if listener.tells_destination && client.destination.is_none() {
        client.destination = connection.stream.local();
    }
    client
}

/// Whom a connection to an origin speaks for: what its header says.
pub fn ends(client: &Client) -> Endpoints {
    let source = client.source();
    let nowhere = || match source {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    Endpoints { source, destination: client.destination.unwrap_or_else(nowhere) }
}

/// Begins a connection to an origin with its header.
///
/// # Errors
/// The origin closed or took nothing in time; nothing of a request was sent.
pub async fn send<R: Runtime>(
    core: &Core<R>,
    stream: &Wire<R::Stream>,
    version: ProxyHeader,
    ends: &Endpoints,
    slot: &Slot,
    until: Instant,
) -> Result<(), Fault> {
    let mut header = core.buffer()?;
    let fits = match version {
        ProxyHeader::V1 => proxy_protocol::write_v1(&mut header, ends),
        ProxyHeader::V2 => proxy_protocol::write_v2(&mut header, ends),
    };
    debug_assert!(fits, "a header is smaller than a buffer");
    let fault = |kind, again| Err(Fault { kind, side: Side::Upstream, again });
    match slot.within(until, stream.write_all(header)).await {
        Ok((Ok(()), _)) => Ok(()),
        Ok((Err(_), _)) => fault(FaultKind::ConnectionTerminated, Again::Always),
        Err(_) => fault(FaultKind::ConnectionTimeout, Again::Always),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_small_for_idle_connections() {
        assert!(size_of::<Preface>() <= 16);
    }

    #[test]
    fn what_nobody_knows_is_zero_in_the_clients_family() {
        let client = |address: &str| Client {
            address: address.parse().expect("an address"),
            ..Client::default()
        };
        let told = |client: Client| {
            let Endpoints { source, destination } = ends(&client);
            format!("{source} {destination}")
        };
        assert_eq!(told(client("203.0.113.5")), "203.0.113.5:0 0.0.0.0:0");
        assert_eq!(told(client("2001:db8::1")), "[2001:db8::1]:0 [::]:0");
        let destination = Some("10.0.0.1:80".parse().expect("an address"));
        let known = Client { destination, address_port: 7, ..client("203.0.113.5") };
        assert_eq!(told(known), "203.0.113.5:7 10.0.0.1:80");
    }
}
