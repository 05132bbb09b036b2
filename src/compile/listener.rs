//! Listeners: addresses, the spelling of paths, bounds, timeouts; and which sockets cannot both be there.
//!
//! A wildcard address takes its port on every address of the family, and on Linux `[::]` takes that of
//! IPv4, too. Such a pair is never left for the kernel to refuse when the process starts. An endpoint that is a
//! listener of this process is warned about: its requests would come back until descriptors run out.

use std::net::IpAddr;

use crate::base::address::Address;
use crate::compile::codes;
use crate::compile::policy::Making;
use crate::compile::report::Report;
use crate::compile::tls;
use crate::config::diagnostic::Diagnostic;
use crate::config::listener::PathPolicy;
use crate::config::{self, Config, Span, Spelling};
use crate::exchange::client::AddressSource;
use crate::gateway::carry::Carry;
use crate::gateway::listener::{Listener, Protocols, ProxyProtocol};
use crate::http::h1::parse::HeadLimits;
use crate::route::spelling::{Delimiter, DotSegments, EmptySegments, PathSpelling};

/// All listeners, in the order of the file.
pub fn compile(config: &Config, making: &Making<'_>, carry: &mut Carry) -> Box<[Listener]> {
    let report = making.report;
    check_addresses(config, report);
    check_circles(config, report);
    check_client_certs(config, report);
    let tells_destination = config.upstreams.iter().any(|one| one.proxy_protocol.is_some());
    let mut with_tls = |listener: &config::Listener| {
        let acme = config.acme.as_ref();
        let tls = listener.tls.as_ref();
        let tls = tls.and_then(|tls| tls::listener(tls, acme, listener.protocols, making, carry));
        Listener { tls, ..one(listener, tells_destination) }
    };
    config.listeners.iter().map(&mut with_tls).collect()
}

fn one(listener: &config::Listener, tells_destination: bool) -> Listener {
    let limits = &listener.limits;
    Listener {
        address: listener.address.value.clone(),
        trusted: listener.trusted_proxies.iter().map(|network| network.value).collect(),
        proxy_protocol: match listener.proxy_protocol {
            config::listener::ProxyProtocol::Off => ProxyProtocol::Off,
            config::listener::ProxyProtocol::Optional => ProxyProtocol::Optional,
            config::listener::ProxyProtocol::Required => ProxyProtocol::Required,
        },
        client_address: listener.client_address.iter().map(|one| source(&one.value)).collect(),
        tells_destination,
        protocols: Protocols { http1: listener.protocols.http1, http2: listener.protocols.http2 },
        tls: None,
        handshake_timeout: listener.timeout.handshake,
        to_https: listener.to_https,
        spelling: spelling(listener.path),
        head_limits: HeadLimits {
            head_bytes_max: limits.head_bytes_max as u32,
            fields_max: limits.fields_max as u32,
            target_bytes_max: limits.target_bytes_max as u32,
        },
        head_timeout: listener.timeout.head,
        idle_timeout: listener.timeout.idle,
        body_timeout: listener.timeout.body,
        body_rate_min: limits.body_rate_min,
        connections_max: limits.connections_max,
        connections_per_client_max: limits.connections_per_client_max,
    }
}

fn source(source: &config::listener::AddressSource) -> AddressSource {
    match source {
        config::listener::AddressSource::ProxyProtocol => AddressSource::ProxyProtocol,
        config::listener::AddressSource::Forwarded => AddressSource::Forwarded,
        config::listener::AddressSource::XForwardedFor => AddressSource::XForwardedFor,
        config::listener::AddressSource::Field(name) => AddressSource::Field(name.as_str().into()),
    }
}

fn spelling(path: PathPolicy) -> PathSpelling {
    // `config` reads `Normalise` for dots and empty segments only, and `SameRoute` for all but dots.
    let delimiter = |spelling: Spelling| match spelling {
        Spelling::SameRoute => Delimiter::SameRoute,
        Spelling::Keep => Delimiter::Keep,
        Spelling::Refuse | Spelling::Normalise => Delimiter::Refuse,
    };
    PathSpelling {
        dot_segments: match path.dot_segments {
            Spelling::Refuse | Spelling::SameRoute => DotSegments::Refuse,
            Spelling::Keep => DotSegments::Keep,
            Spelling::Normalise => DotSegments::Resolve,
        },
        empty_segments: match path.empty_segments {
            Spelling::SameRoute => EmptySegments::SameRoute,
            Spelling::Refuse => EmptySegments::Refuse,
            Spelling::Keep => EmptySegments::Keep,
            Spelling::Normalise => EmptySegments::Merge,
        },
        encoded_slash: delimiter(path.encoded_slash),
        semicolon: delimiter(path.semicolon),
    }
}

/// A route whose clients prove who they are, and nobody asks them to: it would be closed, or open.
fn check_client_certs(config: &Config, report: &Report) {
    let asks = |listener: &config::Listener| {
        listener.tls.as_ref().is_some_and(|tls| !tls.clients.is_empty())
    };
    if config.listeners.iter().any(asks) {
        return;
    }
    for route in &config.routes {
        let Some(asked) = &route.policies.client_cert else { continue };
        let message = "no listener asks its clients for certificates";
        let diagnostic = Diagnostic::error(codes::BAD_TLS, asked.span, message);
        let diagnostic = diagnostic.also(route.matches.text.span, "this route");
        report.push(diagnostic.help(
            "say whose are believed: `[listen.tls]` with `client = { roots = \"clients-ca.pem\", mode = \"optional\" }`",
        ));
    }
}

/// Reports sockets that take each other's place. The same text twice is `config`'s to say.
fn check_addresses(config: &Config, report: &Report) {
    let mut taken: Vec<(&Address, Span)> = Vec::new();
    let admin = config.admin.address.as_ref().map(|address| (&address.value, address.span));
    let listeners = config.listeners.iter().map(|l| (&l.address.value, l.address.span));
    let count = config.listeners.len();
    for (index, (address, span)) in listeners.chain(admin).enumerate() {
        let is_admin = index == count;
        let clash = taken.iter().find(|(other, _)| {
            covers(other, address) || covers(address, other) || (is_admin && *other == address)
        });
        if let Some((other, at)) = clash {
            // A default that nobody wrote has no place of its own: the listener is the one to change.
            let (span, at) = if span.is_built_in() { (*at, span) } else { (span, *at) };
            let who = if is_admin { "the admin listener" } else { "this listener" };
            let message =
                format!("{who} at `{address}` and the listener at `{other}` want one port");
            let diagnostic = Diagnostic::error(codes::ADDRESS_TAKEN, span, message);
            report.push(if at.is_built_in() {
                diagnostic.help("give it another port, or set `[admin] address`")
            } else {
                diagnostic.also(at, "the other one")
            });
        }
        taken.push((address, span));
    }
}

/// Whether the first is a wildcard that takes the second's port.
fn covers(wildcard: &Address, address: &Address) -> bool {
    let (Some(wildcard), Some(address)) = (wildcard.tcp(), address.tcp()) else { return false };
    wildcard.port() == address.port()
        && wildcard.port() != 0
        && wildcard.ip() != address.ip()
        && match wildcard.ip() {
            IpAddr::V4(ip) => ip.is_unspecified() && address.is_ipv4(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        }
}

/// Warns of endpoints at which this gateway listens itself. It could be meant, with another path behind each
/// turn; it is hardly ever.
fn check_circles(config: &Config, report: &Report) {
    for endpoint in config.upstreams.iter().flat_map(|upstream| &upstream.endpoints) {
        let address = &endpoint.address;
        let own = config.listeners.iter().find(|own| reaches(&address.value, &own.address.value));
        if let Some(own) = own {
            let message =
                "this endpoint is this gateway's own listener: requests would go in circles";
            let diagnostic = Diagnostic::warning(codes::CIRCLE, address.span, message);
            report.push(
                diagnostic
                    .also(own.address.span, "the listener")
                    .help("name the address of the service, or give the listener another port"),
            );
        }
    }
}

/// Whether a connection to `endpoint` surely comes to `listener`: a wildcard takes all of loopback, and to
/// connect to a wildcard is to connect to loopback. Which other addresses are this machine's is not known here.
fn reaches(endpoint: &Address, listener: &Address) -> bool {
    let (Some(to), Some(at)) = (endpoint.tcp(), listener.tcp()) else {
        return endpoint == listener;
    };
    let (to_ip, at_ip) = (to.ip().to_canonical(), at.ip().to_canonical());
    let here = to_ip.is_loopback() || to_ip.is_unspecified();
    // `[::]` takes IPv4, too.
    let family = to_ip.is_ipv4() == at_ip.is_ipv4() || at_ip.is_ipv6();
    let met = if at_ip.is_unspecified() {
        here && family
    } else {
        to_ip == at_ip || (to_ip.is_unspecified() && at_ip.is_loopback() && family)
    };
    met && to.port() == at.port() && to.port() != 0
}
