//! What stands between us and the internet: proxies that are trusted, and strangers.
//!
//! Clients are told apart by loopback addresses: 127.0.0.1 is a trusted proxy where a test says so, others are strangers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;
use crate::support::wire::{Response, Wire};

pub const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n";

/// A gateway with these lines in its listener, forwarding everything.
pub fn forwarding(origin: &Origin, listener: &str) -> Gateway {
    gateway(&config(listener)).with("app", origin.address).start()
}

pub fn config(listener: &str) -> String {
    format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n{listener}\n\n[upstream.app]\nendpoints = [\"@app@\"]\n\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
    )
}

pub const REQUIRED: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"required\"";
pub const OPTIONAL: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"optional\"";

/// A connection from another loopback address than the usual one.
pub fn connect_from(last: u8, to: SocketAddr) -> Wire {
    Wire::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), to)
}

/// The value of a field in the head that an echoing origin sent back; all of them joined.
pub fn echoed(response: &Response, name: &str) -> String {
    let text = response.text();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let mine = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    mine.map(|(_, value)| value).collect::<Vec<_>>().join(" | ")
}
