//! Who is asking: the address at the other end, and what trusted proxies say about it.
//!
//! A forwarding field is never believed unless it came from a network the operator trusts, and of several
//! fields only the first that a listener's `client_address` names and the request has is looked at: if that
//! one is malformed, no other is tried. The lists (X-Forwarded-For, and Forwarded of RFC 7239) are read from
//! the right, where our own neighbours write, through addresses that are trusted; what stands further left
//! was written by somebody unknown. The choice refused: the leftmost entry, which any client can make up.

mod forwarded;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::limits::PROXIES_MAX;
use crate::http::chars;
use crate::http::forward::ForwardedClient;
use crate::http::head::Request;
use crate::http::names::FieldName;

/// The client of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The peer: the other end of the connection or, where a PROXY header came, whom that names. For a Unix
    /// socket 127.0.0.1.
    pub peer: IpAddr,
    /// The peer's port; 0 for a Unix socket.
    pub port: u16,
    /// The other end of the connection itself, where a PROXY header names another peer.
    pub proxy: Option<IpAddr>,
    /// The client's address: the peer, or what a trusted proxy says.
    pub address: IpAddr,
    /// The client's port; 0 when a proxy tells the address alone.
    pub address_port: u16,
    /// Where the client's connection arrived, if it is known and somebody will be told.
    pub destination: Option<SocketAddr>,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// Whether a `Forwarded` field of the peer is believed.
    pub forwarded: bool,
    /// Whether the client's own connection is (or is said by a trusted proxy to be) TLS.
    pub tls: bool,
}

impl Default for Client {
    fn default() -> Self {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            peer,
            port: 0,
            proxy: None,
            address: peer,
            address_port: 0,
            destination: None,
            trusted: false,
            forwarded: false,
            tls: false,
        }
    }
}

impl Client {
    /// What forwarding fields say of it; its addresses are written into `peer` and `real`.
    pub fn forwarded_as<'a>(
        &self,
        peer: &'a mut AddressText,
        real: &'a mut AddressText,
    ) -> ForwardedClient<'a> {
        let address = peer.of(self.peer);
        ForwardedClient {
            address,
            real: if self.address == self.peer { address } else { real.of(self.address) },
            proto: if self.tls { "https" } else { "http" },
            trusted: self.trusted,
            forwarded: self.forwarded,
        }
    }

    /// The client as a socket address.
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.address_port)
    }

    /// The network that one client has to itself: a whole IPv4 address, and the /64 of an IPv6 address,
    /// because a host or a home is given no less than that (RFC 4291 §2.5.1, RFC 6177).
    pub fn network(&self) -> ClientNetwork {
        self.network_of(64)
    }

    /// The same with another prefix of an IPv6 address. Unit: bits, at most 128.
    pub fn network_of(&self, ipv6_prefix: u8) -> ClientNetwork {
        ClientNetwork { address: self.address, ipv6_prefix }
    }
}

/// A client's network as text: `203.0.113.5`, `2001:db8:1:2::/64`; with all 128 bits the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNetwork {
    address: IpAddr,
    ipv6_prefix: u8,
}

impl std::fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            IpAddr::V6(address) if self.ipv6_prefix < 128 => {
                let prefix = self.ipv6_prefix;
                let host = u128::MAX >> prefix;
                write!(f, "{}/{prefix}", Ipv6Addr::from_bits(address.to_bits() & !host))
            }
            address => write!(f, "{address}"),
        }
    }
}

/// Where a client's address may be found; in the order in which a listener's `client_address` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The PROXY header of the connection.
    ProxyProtocol,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// A field with one address, such as `CF-Connecting-IP`; its name in lower case.
    Field(Box<str>),
}

impl AddressSource {
    /// The name of a field with one address, if it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field(name) => Some(name),
            _ => None,
        }
    }
}

/// An address that somebody is said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The address; never IPv4 mapped into IPv6.
    pub address: IpAddr,
    /// Its port; 0 when it is not said.
    pub port: u16,
    /// Whether it came by TLS, where that is said of this very hop.
    pub tls: Option<bool>,
}

impl Said {
    fn of(address: IpAddr, port: u16) -> Self {
        Self { address: address.to_canonical(), port, tls: None }
    }

    /// Reads `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` or `[::1]:80`; Azure's gateways write ports.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(address) = text.parse() {
            return Some(Self::of(address, 0));
        }
        if let Ok(end) = text.parse::<SocketAddr>() {
            return Some(Self::of(end.ip(), end.port()));
        }
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(Self::of(IpAddr::V6(inside.parse().ok()?), 0))
    }
}

/// Who is behind a trusted peer: the first of `sources` that the request has decides. Without any the peer
/// is the client; so it is when that source is malformed.
///
/// `named` says whether the peer itself comes from a PROXY header.
pub fn behind(
    peer: Said,
    named: bool,
    sources: &[AddressSource],
    request: Request<'_>,
    trusts: impl Fn(IpAddr) -> bool,
) -> Said {
    let fields = &request.head.fields;
    for source in sources {
        let list = match source {
            AddressSource::ProxyProtocol if named => return peer,
            AddressSource::ProxyProtocol => continue,
            AddressSource::Field(name) => match one_address(request, name) {
                Some(said) => return said.unwrap_or(peer),
                None => continue,
            },
            AddressSource::Forwarded => FieldName::Forwarded,
            AddressSource::XForwardedFor => FieldName::XForwardedFor,
        };
        if fields.find(list, request.raw).is_none() {
            continue;
        }
        let values = fields.all(list, request.raw).rev();
        return match source {
            AddressSource::Forwarded => walk(peer, values.flat_map(forwarded::from_right), trusts),
            _ => walk(peer, values.flat_map(from_right), trusts),
        };
    }
    peer
}

/// Whether every Forwarded line keeps the grammar: what does not is not passed on, for an origin might read
/// an open quote of a client's as reaching into what our neighbour wrote.
pub fn forwarded_is_whole(request: Request<'_>) -> bool {
    let mut lines = request.head.fields.all(FieldName::Forwarded, request.raw);
    lines.all(forwarded::is_whole)
}

/// Walks entries, the nearest first, as long as the one before is trusted. An entry that is malformed, or
/// hides its address, ends the walk.
fn walk(
    peer: Said,
    entries: impl Iterator<Item = Option<Said>>,
    trusts: impl Fn(IpAddr) -> bool,
) -> Said {
    let mut client = peer;
    for entry in entries.take(PROXIES_MAX) {
        match entry {
            Some(said) if trusts(client.address) => client = said,
            _ => return client,
        }
    }
    client
}

/// The entries of one X-Forwarded-For line, the last first.
fn from_right(value: &[u8]) -> impl Iterator<Item = Option<Said>> {
    value.rsplit(|byte| *byte == b',').map(|entry| Said::parse(chars::trim(entry)))
}

/// The address in the field `name`: `None` without the field, `Some(None)` when it is there more than once
/// or is no address.
fn one_address(request: Request<'_>, name: &str) -> Option<Option<Said>> {
    let mut values = request.head.fields.named(name.as_bytes(), request.raw);
    let only = values.next()?;
    let said = if values.next().is_none() { Said::parse(only) } else { None };
    Some(said)
}

/// An address as text, written in place.
pub struct AddressText {
    text: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Default for AddressText {
    fn default() -> Self {
        Self { text: [0; Self::BYTES_MAX], len: 0 }
    }
}

impl AddressText {
    /// The longest text: an IPv6 address that ends in an IPv4 one.
    pub const BYTES_MAX: usize = 45;

    /// The text of `address`, an IPv6 address without brackets.
    pub fn of(&mut self, address: IpAddr) -> &[u8] {
        self.len = 0;
        // It always fits: `BYTES_MAX` is the longest there is. What formats anything is slow beside what
        // formats a byte.
        let _ = match address {
            IpAddr::V4(address) => {
                self.put_octets(address.octets());
                Ok(())
            }
            IpAddr::V6(_) => write!(self, "{address}"),
        };
        &self.text[..self.len]
    }
}

impl AddressText {
    fn put_octets(&mut self, octets: [u8; 4]) {
        let mut at = 0;
        for octet in octets {
            let (hundreds, tens) = (octet / 100, octet / 10 % 10);
            // Each digit is written; where it is not one of the number the next is written over it.
            for (digit, counts) in [(hundreds, octet > 99), (tens, octet > 9), (octet % 10, true)] {
                self.text[at] = b'0' + digit;
                at += usize::from(counts);
            }
            self.text[at] = b'.';
            at += 1;
        }
        self.len = at - 1;
    }
}

impl Write for AddressText {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        let room = self.text.get_mut(self.len..self.len + piece.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(piece.as_bytes());
        self.len += piece.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
