//! Upstreams: endpoints and the rules for using them.
//!
//! One that did not change is the same `Arc` as in the last version: a core keeps what it knows of it
//! and its idle connections exactly then. Numbers are taken as `config` checked them, never cut here.

use std::sync::Arc;

use crate::base::address::Address;
use crate::base::ids::{EndpointId, UpstreamId};
use crate::base::limits::POOL_AGE_MAX;
use crate::base::name::Name;
use crate::compile::codes;
use crate::compile::policy::Making;
use crate::compile::tls;
use crate::config;
use crate::config::diagnostic::Diagnostic;
use crate::config::protocol::Http2;
use crate::upstream::{Balance, Endpoint, ProxyHeader, Rules, Speaks, Upstream};

/// All upstreams, in the order of the file.
pub fn compile(list: &[config::Upstream], making: &Making<'_>) -> Box<[Arc<Upstream>]> {
    list.iter()
        .enumerate()
        .map(|(index, upstream)| {
            nameless(upstream, making);
            let tls = upstream.tls.as_ref().and_then(|tls| tls::upstream(tls, making));
            let made = Upstream { tls, ..one(upstream, UpstreamId(index as u32)) };
            let mut known = making.last.into_iter().flat_map(|last| last.upstreams.iter());
            known.find(|known| ***known == made).cloned().unwrap_or_else(|| Arc::new(made))
        })
        .collect()
}

/// Where TLS is spoken over a Unix socket no address could be proven: a name must be said.
fn nameless(upstream: &config::Upstream, making: &Making<'_>) {
    let Some(tls) = upstream.tls.as_ref().filter(|tls| tls.name.is_none()) else { return };
    let unix = |endpoint: &&config::Endpoint| endpoint.address.value.tcp().is_none();
    if let Some(endpoint) = upstream.endpoints.iter().find(unix) {
        let message =
            "the name that this upstream must prove is missing: no certificate is for a path";
        let diagnostic = Diagnostic::error(codes::BAD_TLS, tls.span, message);
        let diagnostic = diagnostic.also(endpoint.address.span, "an endpoint without an address");
        making.report.push(diagnostic.help("write `tls = { name = \"order.internal\" }`"));
    }
}

fn one(upstream: &config::Upstream, id: UpstreamId) -> Upstream {
    let endpoint = |(index, endpoint): (usize, &config::Endpoint)| Endpoint {
        id: EndpointId(index as u32),
        address: endpoint.address.value.clone(),
        host: host(&endpoint.address.value),
        weight: endpoint.weight as u16,
    };
    Upstream {
        id,
        name: Name::new(&upstream.name.value),
        endpoints: upstream.endpoints.iter().enumerate().map(endpoint).collect(),
        tls: None,
        balance: match upstream.balance {
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::LeastRequest => Balance::LeastRequest,
        },
        rules: Rules {
            connect_timeout: upstream.timeout.connect,
            first_byte_timeout: upstream.timeout.first_byte,
            idle_timeout: upstream.timeout.idle,
            pool_idle_max: upstream.pool.idle_max,
            pool_idle_timeout: upstream.pool.idle_timeout,
            retries: upstream.retries,
            proxy_header: upstream.proxy_protocol.map(|version| match version {
                config::upstream::ProxyVersion::V1 => ProxyHeader::V1,
                config::upstream::ProxyVersion::V2 => ProxyHeader::V2,
            }),
            pool_age_max: POOL_AGE_MAX,
            speaks: match upstream.http2 {
                Http2::No => Speaks::Http1,
                Http2::Yes => Speaks::Http2,
                Http2::Auto => Speaks::Either,
            },
        },
    }
}

/// What a part's request says in Host (RFC 9110 §7.2); a Unix socket has no name of its own.
fn host(address: &Address) -> Box<str> {
    match address {
        Address::Tcp(address) => address.to_string().into(),
        Address::Unix(_) => "localhost".into(),
    }
}
