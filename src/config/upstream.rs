//! `[upstream.NAME]`: endpoints, balancing, timeouts, idle connections, attempts.
//!
//! An endpoint is an address, never a host name that would be looked up behind the operator's back:
//! names come with `dns:` and `srv:`, which this version refuses by name.

use std::time::Duration;

use crate::config::codes;
use crate::config::concurrency::{self, Concurrency};
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{ENDPOINT, POOL, UPSTREAM, UPSTREAM_TIMEOUT};
use crate::config::listener::read_address;
use crate::config::policy::read_limits;
use crate::config::protocol::{self, Http2};
use crate::config::reader::{Reader, not_supported, wrong_type};
use crate::config::span::{Spanned, Text};
use crate::config::tls::{self, UpstreamTls};
use crate::config::tree::{Entry, Kind, Log, Node};
use crate::config::units::Address;

/// A group of endpoints that answer alike.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The name that routes use.
    pub name: Text,
    /// At least one, unless an error was reported.
    pub endpoints: Vec<Endpoint>,
    /// How one is chosen.
    pub balance: Balance,
    /// How long an endpoint may take.
    pub timeout: UpstreamTimeout,
    /// Idle connections.
    pub pool: Pool,
    /// Further attempts. Default: 1.
    pub retries: u32,
    /// The PROXY header that connections begin with. Default: none.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Rate limits towards it. Default: none.
    pub limits: Vec<Text>,
    /// How many attempts at once. Default: as many as come.
    pub concurrency: Option<Concurrency>,
    /// TLS towards it. Default: none.
    pub tls: Option<UpstreamTls>,
    /// Which version of HTTP. Default: HTTP/1.1.
    pub http2: Http2,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub address: Spanned<Address>,
    /// Share of the requests: 1–1000, default 1.
    pub weight: u32,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight. The default.
    RoundRobin,
    /// The less busy of two drawn at random.
    LeastRequest,
}

/// How long an endpoint may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeout {
    /// To connect. Default: 1 s.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer. Default: 15 s.
    pub first_byte: Duration,
    /// Each wait for progress of a body. Default: 30 s.
    pub idle: Duration,
}

impl Default for UpstreamTimeout {
    fn default() -> Self {
        Self {
            connect: defaults::CONNECT_TIMEOUT,
            first_byte: defaults::FIRST_BYTE_TIMEOUT,
            idle: defaults::UPSTREAM_IDLE_TIMEOUT,
        }
    }
}

/// Idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections that a core keeps to one endpoint; 0 keeps none. Default: 64.
    pub idle_max: usize,
    /// How long an unused one is kept. Default: 60 s.
    pub idle_timeout: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self { idle_max: defaults::POOL_IDLE_MAX, idle_timeout: defaults::POOL_IDLE_TIMEOUT }
    }
}

/// Reads one `[upstream.NAME]`.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<Upstream> {
    let reader = Reader::open(&UPSTREAM, &entry.node, log)?;
    let balance = match reader.choice("balance").map(|word| word.value) {
        Some("least_request") => Balance::LeastRequest,
        _ => Balance::RoundRobin,
    };
    let timeout = reader.table("timeout", &UPSTREAM_TIMEOUT).map(|table| read_timeout(&table));
    let pool = reader.table("pool", &POOL).map(|table| read_pool(&table));
    Some(Upstream {
        name: entry.key.clone(),
        endpoints: read_endpoints(&reader),
        balance,
        timeout: timeout.unwrap_or_default(),
        pool: pool.unwrap_or_default(),
        proxy_protocol: match reader.choice("proxy_protocol").map(|word| word.value) {
            Some("v1") => Some(ProxyVersion::V1),
            Some("v2") => Some(ProxyVersion::V2),
            _ => None,
        },
        limits: read_limits(&reader).unwrap_or_default(),
        concurrency: read_concurrency(&reader),
        tls: tls::read_upstream(&reader),
        http2: protocol::read(&reader),
        retries: read_retries(&reader).map_or(defaults::RETRIES, |retries| retries.value),
    })
}

/// `concurrency` of an upstream: nobody's key is known there.
fn read_concurrency(reader: &Reader<'_>) -> Option<Concurrency> {
    let said = concurrency::read(reader)??;
    let Some((key, _)) = &said.key else { return Some(said) };
    let message = "attempts at an upstream have no key: it belongs to routes";
    let diagnostic = Diagnostic::error(codes::WRONG_TARGET, key.span, message);
    reader.log.push(diagnostic.help("give it to the `concurrency` of a route"));
    None
}

/// `retry` of an upstream, a route or `[default]`: a number or "none".
pub(super) fn read_retries(reader: &Reader<'_>) -> Option<Spanned<u32>> {
    let node = reader.node("retry")?;
    match &node.kind {
        Kind::Text(text) if text == "none" => Some(Spanned::new(0, node.span)),
        Kind::Text(_) if !node.substituted => {
            wrong_type(reader.log, node, "a number of further attempts, or \"none\"", "");
            None
        }
        _ => Some(reader.integer("retry")?.map(|number| number as u32)),
    }
}

fn read_endpoints(reader: &Reader<'_>) -> Vec<Endpoint> {
    let advice = "write `endpoints = [\"10.0.0.11:8080\"]`";
    let Some(node) = reader.node("endpoints") else {
        reader.missing("endpoints", advice);
        return Vec::new();
    };
    let list = reader.list("endpoints", "a list of addresses");
    if list.is_empty() && matches!(node.kind, Kind::Array(_)) {
        let message = "an upstream without endpoints cannot answer";
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, node.span, message);
        reader.log.push(diagnostic.help(advice));
    }
    list.iter().filter_map(|item| read_endpoint(item, reader.log)).collect()
}

fn read_endpoint(node: &Node, log: &Log) -> Option<Endpoint> {
    if !matches!(node.kind, Kind::Table(_)) {
        return Some(Endpoint { address: endpoint_address(node, log)?, weight: defaults::WEIGHT });
    }
    let reader = Reader::open(&ENDPOINT, node, log)?;
    let weight = reader.integer("weight").map_or(defaults::WEIGHT, |number| number.value as u32);
    if reader.node("address").is_none() {
        reader.missing("address", "write `{ address = \"10.0.0.11:8080\", weight = 2 }`");
    }
    Some(Endpoint { address: endpoint_address(reader.node("address")?, log)?, weight })
}

/// Advice where a name stands.
const BY_ADDRESS: &str = "write an IP address: `10.0.0.11:8080`";

/// The address of an endpoint: not a name, and a port that can be connected to.
fn endpoint_address(node: &Node, log: &Log) -> Option<Spanned<Address>> {
    let text = if let Kind::Text(text) = &node.kind { text.as_str() } else { "" };
    for (scheme, what) in [("dns:", "an endpoint by `dns:`"), ("srv:", "an endpoint by `srv:`")] {
        if text.starts_with(scheme) {
            not_supported(log, node.span, what, BY_ADDRESS);
            return None;
        }
    }
    for scheme in ["http://", "https://"] {
        if text.starts_with(scheme) {
            let message = "an endpoint is an address, not a URL";
            let diagnostic = Diagnostic::error(codes::BAD_ADDRESS, node.span, message);
            log.push(diagnostic.help(if scheme == "https://" {
                "write `ip:port`, and `tls = true` beside `endpoints`"
            } else {
                "write `ip:port`: `10.0.0.11:8080`"
            }));
            return None;
        }
    }
    if is_name(text) {
        let here = text.strip_prefix("localhost:").map(|port| format!("write `127.0.0.1:{port}`"));
        let advice = here.as_deref().filter(|_| !node.substituted).unwrap_or(BY_ADDRESS);
        not_supported(log, node.span, "a name as an endpoint", advice);
        return None;
    }
    let address = read_address(node, log)?;
    if matches!(&address.value, Address::Tcp(tcp) if tcp.port() == 0) {
        log.error(codes::BAD_ADDRESS, node.span, "nothing can be reached at port 0");
        return None;
    }
    Some(address)
}

/// Whether this is `name:port` or a name alone, and not an IP address with a mistake in it.
fn is_name(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let word = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = !text.starts_with("unix:") && host.split('.').all(word);
    name && host.bytes().any(|b| b.is_ascii_alphabetic())
}

fn read_timeout(reader: &Reader<'_>) -> UpstreamTimeout {
    let default = UpstreamTimeout::default();
    let or = |key: &str, default: Duration| reader.duration(key).map_or(default, |d| d.value);
    UpstreamTimeout {
        connect: or("connect", default.connect),
        first_byte: or("first_byte", default.first_byte),
        idle: or("idle", default.idle),
    }
}

fn read_pool(reader: &Reader<'_>) -> Pool {
    let default = Pool::default();
    Pool {
        idle_max: reader.integer("idle_max").map_or(default.idle_max, |n| n.value as usize),
        idle_timeout: reader.duration("idle_timeout").map_or(default.idle_timeout, |d| d.value),
    }
}
