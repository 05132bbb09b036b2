//! Who is asking: the address at the other end, and what trusted proxies say about it.
//!
//! A forwarding field is never believed unless it came from a network the operator trusts.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::base::limits::PROXIES_MAX;

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
        // It always fits: `BYTES_MAX` is the longest there is.
        let _ = write!(self, "{address}");
        &self.text[..self.len]
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

/// The address of the client behind trusted proxies: the X-Forwarded-For entries are read from the
/// right, and the first that `trusts` does not cover is the client. A proxy that is not trusted is the
/// client itself. `forwarded` yields the field's values in order of receipt.
///
/// Malformed entries end the walk: what is left of them was written by somebody unknown.
pub fn behind_proxies<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusts: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    let entries = forwarded.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for entry in entries.take(PROXIES_MAX) {
        if !trusts(client) {
            return client;
        }
        let text = std::str::from_utf8(entry.trim_ascii()).ok();
        match text.and_then(|text| text.parse::<IpAddr>().ok()) {
            Some(address) => client = address.to_canonical(),
            None => return client,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, values: &[&str]) -> String {
        let values = values.iter().map(|value| value.as_bytes());
        let trusts = |address: IpAddr| address.to_string().starts_with("10.");
        behind_proxies(peer.parse().expect("an address"), values, trusts).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client("192.0.2.1", &["203.0.113.5"]), "192.0.2.1");
    }

    #[test]
    fn the_rightmost_untrusted_entry_is_the_client() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.5, 10.0.0.2"]), "203.0.113.5");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "203.0.113.5"]), "203.0.113.5");
    }

    #[test]
    fn a_malformed_entry_ends_the_walk() {
        assert_eq!(client("10.0.0.1", &["203.0.113.5, bogus, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_longest_address_fits_its_text() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".parse().expect("an address");
        let mut text = AddressText::default();
        assert!(!text.of(longest).is_empty());
        assert_eq!(AddressText::default().of("::1".parse().expect("an address")), b"::1");
    }
}
