//! One address that requests come in by, what it demands of them, and whose word it takes.
//!
//! Its socket is not here: sockets outlive versions of the gateway and are never closed by a reload
//! that keeps their address.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::network::Network;
use crate::exchange::Exchange;
use crate::exchange::client::{self, AddressSource, Said};
use crate::http::h1::parse::HeadLimits;
use crate::http::names::{FieldName, FieldSet};
use crate::route::spelling::PathSpelling;
use crate::tls::server::{ProofScope, ServerTls};

/// A listener, compiled.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens.
    pub address: Address,
    /// Peers whose forwarding fields are believed.
    pub trusted: Box<[Network]>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Where the client's address is looked for in a trusted peer's request; the first that is there decides.
    pub client_address: Box<[AddressSource]>,
    /// Whether an upstream is told where its clients' connections arrived.
    pub tells_destination: bool,
    /// Certificates and rules, if it speaks TLS.
    pub tls: Option<ServerTls>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Whether every request is sent on to `https`.
    pub to_https: bool,
    /// What it speaks.
    pub protocols: Protocols,
    /// Which spellings of a path are refused.
    pub spelling: PathSpelling,
    /// Bounds on request heads.
    pub head_limits: HeadLimits,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// How long a kept-alive connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may pause while it sends a body or takes a response.
    pub body_timeout: Duration,
    /// What a client must move of a body while it is waited for; zero asks for nothing. Unit: bytes per second.
    pub body_rate_min: u64,
    /// Client connections open at once, on all cores together.
    pub connections_max: usize,
    /// Of these, connections of one client address (an IPv6 /64), unless it is a trusted proxy.
    pub connections_per_client_max: usize,
}

/// Versions of HTTP that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.0 and HTTP/1.1.
    pub http1: bool,
    /// HTTP/2.
    pub http2: bool,
}

/// Whether connections begin with a PROXY header; one is taken from trusted peers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// Never: what looks like one is a malformed request.
    #[default]
    Off,
    /// Those of trusted peers may.
    Optional,
    /// All must, and nobody else may connect.
    Required,
}

/// What a proxy in front says of a client's certificate (RFC 9440 §2.4: nobody else may).
const CERT_FIELDS: [&[u8]; 2] = [b"client-cert", b"client-cert-chain"];

/// Whether a field is of the family `X-Forwarded-…`, or looks so to a server that folds odd bytes (`_`).
fn is_x_forwarded(name: &[u8]) -> bool {
    const FAMILY: &[u8] = b"x-forwarded-";
    let same = |(byte, family): (&u8, &u8)| match family {
        b'-' => !byte.is_ascii_alphanumeric(),
        letter => byte.eq_ignore_ascii_case(letter),
    };
    name.len() > FAMILY.len() && name.iter().zip(FAMILY).all(same)
}

impl Listener {
    /// Whether `address` is trusted to speak for others.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a request is for a host that asks for other proofs than its connection gave.
    pub fn is_misdirected(&self, x: &Exchange) -> bool {
        let given = x.proof.as_ref().map(|proof| proof.scope).unwrap_or_default();
        let wanted = match self.tls.as_ref().filter(|tls| tls.asks_clients) {
            // What is no text is nobody's name.
            Some(tls) => tls.scope(std::str::from_utf8(x.request().host()).unwrap_or_default()),
            // A reload has it ask no more, and believes nothing that was proven before.
            None => ProofScope::default(),
        };
        wanted != ProofScope(given)
    }

    /// Finds out who is asking, from the peer that `x` has already and what its head says. What is not to be
    /// believed is out of everybody's sight afterwards: policies, conditions, templates and origins.
    pub fn identify(&self, x: &mut Exchange) {
        let trusted = self.trusts(x.client.peer);
        let sources = &*self.client_address;
        x.client.trusted = trusted;
        x.client.forwarded = trusted
            && sources.contains(&AddressSource::Forwarded)
            && client::forwarded_is_whole(x.request());
        let client = x.client;
        let peer = Said { address: client.peer, port: client.port, tls: None };
        let said = if trusted {
            let named = client.proxy.is_some();
            client::behind(peer, named, sources, x.request(), |address| self.trusts(address))
        } else {
            peer
        };
        x.client.address = said.address;
        x.client.address_port = said.port;
        if trusted {
            let proto = x.request().field(FieldName::XForwardedProto);
            let written = || proto.map(|proto| proto.eq_ignore_ascii_case(b"https"));
            x.client.tls = said.tls.or_else(written).unwrap_or(client.tls);
        }
        self.hide(x, trusted);
    }

    /// Takes the name from fields that are not to be believed: forwarding fields of an untrusted peer, the
    /// fields that `client_address` names among them, and disguises of the latter whoever sent them.
    fn hide(&self, x: &mut Exchange, trusted: bool) {
        let Exchange { head, bytes: Some(bytes), .. } = x else { return };
        let raw = bytes.data();
        let claimed = || self.client_address.iter().filter_map(AddressSource::field);
        if trusted && claimed().next().is_none() {
            return;
        }
        for field in head.fields.iter_mut() {
            let name = field.name.of(raw);
            let made_up = FieldSet::FORWARDING.has(field.id)
                || is_x_forwarded(name)
                || CERT_FIELDS.iter().any(|known| FieldName::is_spelling(name, known))
                || claimed().any(|claimed| claimed.as_bytes().eq_ignore_ascii_case(name));
            let disguised =
                || claimed().any(|claimed| FieldName::is_disguise(name, claimed.as_bytes()));
            if (made_up && !trusted) || disguised() {
                field.id = FieldName::LookAlike;
            }
        }
    }
}
