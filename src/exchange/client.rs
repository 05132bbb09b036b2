//! Who is asking: the address at the other end, and what trusted proxies say about it.
//!
//! A forwarding field is never believed unless it came from a network the operator trusts.

use std::net::{IpAddr, Ipv4Addr};

/// The client of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The peer of the connection; for a Unix socket 127.0.0.1.
    pub peer: IpAddr,
    /// The peer's port; 0 for a Unix socket.
    pub port: u16,
    /// The client's address: the peer, or what a trusted proxy says.
    pub address: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// Whether the client's own connection is (or is said by a trusted proxy to be) TLS.
    pub tls: bool,
}

impl Default for Client {
    fn default() -> Self {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { peer, port: 0, address: peer, trusted: false, tls: false }
    }
}
