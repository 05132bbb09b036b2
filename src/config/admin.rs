//! `[admin]`: the listener for operators.
//!
//! It is on loopback by default and must never be reachable by clients: an address that is neither
//! loopback nor a Unix socket is taken with a warning.

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::ADMIN;
use crate::config::listener::read_address;
use crate::config::reader::Reader;
use crate::config::span::Spanned;
use crate::config::tree::{Kind, Log, Node};
use crate::config::units::Address;

/// The listener for operators.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where; `None` when it is off. Default: `127.0.0.1:9901`.
    pub address: Option<Spanned<Address>>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: Some(Spanned::built_in(defaults::admin_address())) }
    }
}

/// Reads `[admin]`.
pub(super) fn read(node: &Node, log: &Log) -> Option<Admin> {
    let reader = Reader::open(&ADMIN, node, log)?;
    let Some(node) = reader.node("address") else { return Some(Admin::default()) };
    if matches!(&node.kind, Kind::Text(text) if text == "off") {
        return Some(Admin { address: None });
    }
    let address = read_address(node, log)?;
    let open = matches!(&address.value, Address::Tcp(tcp) if !tcp.ip().is_loopback());
    if open {
        let message = "the admin listener is reachable from other machines";
        log.push(
            Diagnostic::warning(codes::ADMIN_OPEN, node.span, message)
                .help("anybody there can read metrics and state; use `127.0.0.1:9901` or `unix:/run/ringway/admin.sock`"),
        );
    }
    Some(Admin { address: Some(address) })
}
