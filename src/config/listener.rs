//! `[[listen]]`: addresses, trusted proxies, the spelling policy of paths, bounds and timeouts.
//!
//! Bounds are values here, never unlimited: what the file leaves out has its default from
//! `defaults.rs`. Path spellings follow RFC 3986 §2.2, §3.3 and §5.2.4; the default refuses every
//! spelling that two servers could read as two routes.

use std::time::Duration;

use crate::base::limits::CLIENT_SOURCES_MAX;
use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{LIMITS, LISTEN, LISTEN_TIMEOUT, PATH};
use crate::config::reader::{Reader, choice_of, quoted, wrong_type};
use crate::config::span::{Span, Spanned, Text};
use crate::config::suggest;
use crate::config::tls::{self, ListenTls};
use crate::config::tree::{Kind, Log, Node};
use crate::config::units::{self, Address, Network};

/// One address that clients connect to.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where; TCP port 0 takes any free port.
    pub address: Spanned<Address>,
    /// Networks whose forwarding fields are believed. Default: none.
    pub trusted_proxies: Vec<Spanned<Network>>,
    /// Whether connections begin with a PROXY header. Default: off.
    pub proxy_protocol: ProxyProtocol,
    /// Where a trusted peer says who the client is. Default: `x-forwarded-for`.
    pub client_address: Vec<Spanned<AddressSource>>,
    /// What happens to paths with more than one spelling.
    pub path: PathPolicy,
    /// Bounds on what a client may send.
    pub limits: ListenLimits,
    /// How long a client may take.
    pub timeout: ListenTimeout,
    /// What it speaks. Default: all that there is.
    pub protocols: Protocols,
    /// Certificates, if it speaks TLS.
    pub tls: Option<ListenTls>,
    /// Whether every request is sent on to `https`. Default: no.
    pub to_https: bool,
    /// The table.
    pub span: Span,
}

/// The words for versions of HTTP, as in ALPN (RFC 7301, RFC 9113 §3.1).
pub const PROTOCOLS: &[&str] = &["http/1.1", "h2"];

/// Versions of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.0 and HTTP/1.1.
    pub http1: bool,
    /// HTTP/2.
    pub http2: bool,
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// No. The default.
    Off,
    /// Those of trusted peers may.
    Optional,
    /// All must; nobody else may connect.
    Required,
}

/// Where a client's address is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The PROXY header.
    ProxyProtocol,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`. The default.
    XForwardedFor,
    /// A field with one address; its name in lower case.
    Field(String),
}

/// What happens to a spelling that origins read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Taken where every reading of it leads to one route, and answered with 400 elsewhere. The default
    /// of all but dot segments, which know only the three others.
    SameRoute,
    /// Answered with 400.
    Refuse,
    /// Routed and forwarded as it is.
    Keep,
    /// Brought into the one form that means the same, then routed and forwarded: dot segments are
    /// resolved, empty segments merged. Only for these two.
    Normalise,
}

/// The spelling policy of a listener. NUL and control bytes are always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPolicy {
    /// `/a/../b` and its encoded forms.
    pub dot_segments: Spelling,
    /// `/a//b`.
    pub empty_segments: Spelling,
    /// `/a%2Fb`; never `Normalise`.
    pub encoded_slash: Spelling,
    /// `/a;x/b`; never `Normalise`.
    pub semicolon: Spelling,
}

impl Default for PathPolicy {
    fn default() -> Self {
        Self {
            dot_segments: Spelling::Refuse,
            empty_segments: Spelling::SameRoute,
            encoded_slash: Spelling::SameRoute,
            semicolon: Spelling::SameRoute,
        }
    }
}

/// Bounds on what a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenLimits {
    /// Request line and fields. Unit: bytes. Default and range in `defaults.rs`.
    pub head_bytes_max: usize,
    /// Fields of one head.
    pub fields_max: usize,
    /// Request target. Unit: bytes. Below `head_bytes_max`.
    pub target_bytes_max: usize,
    /// What a client must move of a body while it is waited for; zero: nothing. Unit: bytes per second.
    pub body_rate_min: u64,
    /// Connections open at once, on all cores together.
    pub connections_max: usize,
    /// Of these, connections of one client address.
    pub connections_per_client_max: usize,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: defaults::HEAD_BYTES_MAX as usize,
            fields_max: defaults::FIELDS_MAX,
            target_bytes_max: defaults::TARGET_BYTES_MAX as usize,
            body_rate_min: defaults::BODY_RATE_MIN,
            connections_max: defaults::CONNECTIONS_MAX,
            connections_per_client_max: defaults::CONNECTIONS_PER_CLIENT_MAX,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenTimeout {
    /// From a request's first byte to the end of its head. Default: 10 s.
    pub head: Duration,
    /// From the first byte of a TLS handshake to its end. Default: 10 s.
    pub handshake: Duration,
    /// Each wait for progress of a body. Default: 30 s.
    pub body: Duration,
    /// Between two requests. Default: 75 s.
    pub idle: Duration,
}

impl Default for ListenTimeout {
    fn default() -> Self {
        Self {
            head: defaults::HEAD_TIMEOUT,
            handshake: defaults::HANDSHAKE_TIMEOUT,
            body: defaults::BODY_TIMEOUT,
            idle: defaults::IDLE_TIMEOUT,
        }
    }
}

/// Reads one `[[listen]]`; `None` if it has no usable address.
pub(super) fn read(node: &Node, log: &Log) -> Option<Listener> {
    let reader = Reader::open(&LISTEN, node, log)?;
    let trusted_proxies = read_networks(&reader);
    let proxy_protocol = read_proxy_protocol(&reader);
    let client_address = read_client_address(&reader, proxy_protocol);
    let path = reader.table("path", &PATH).map(|table| read_path(&table)).unwrap_or_default();
    let limits = reader.table("limits", &LIMITS).map(|table| read_limits(&table));
    let protocols = read_protocols(&reader);
    let tls = tls::read_listen(&reader);
    let to_https = reader.choice("redirect").is_some();
    if let (Some(node), Some(_)) = (reader.node("redirect"), reader.node("tls")) {
        let message =
            "a listener with `tls` speaks https already: its redirections would never end";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, node.span, message);
        let advice = "put `redirect` into a listener of its own, at port 80 as a rule";
        reader.log.push(diagnostic.help(advice));
    }
    let timeout = reader.table("timeout", &LISTEN_TIMEOUT).map(|table| read_timeout(&table));
    if reader.node("address").is_none() {
        reader.missing("address", "write `address = \"0.0.0.0:8080\"`");
    }
    Some(Listener {
        address: read_address(reader.node("address")?, log)?,
        trusted_proxies,
        proxy_protocol,
        client_address,
        path,
        limits: limits.unwrap_or_default(),
        timeout: timeout.unwrap_or_default(),
        protocols,
        tls,
        to_https,
        span: node.span,
    })
}

/// An address to listen on or to connect to.
pub(super) fn read_address(node: &Node, log: &Log) -> Option<Spanned<Address>> {
    let Kind::Text(text) = &node.kind else {
        wrong_type(log, node, "an address", "write `\"127.0.0.1:8080\"` or `\"unix:/path\"`");
        return None;
    };
    match units::address(text) {
        Ok(address) => Some(Spanned::new(address, node.span)),
        Err(advice) => {
            let message = format!("{} is not an address", quoted(node, text));
            log.push(Diagnostic::error(codes::BAD_ADDRESS, node.span, message).help(advice));
            None
        }
    }
}

/// What the word `private` stands for: RFC 1918, loopback, link-local (RFC 3927, RFC 4291 §2.5.6) and unique
/// local addresses (RFC 4193).
pub(super) const PRIVATE: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1",
    "fe80::/10",
    "fc00::/7",
];

fn read_networks(reader: &Reader<'_>) -> Vec<Spanned<Network>> {
    let mut networks = Vec::new();
    for text in reader.texts("trusted_proxies") {
        let one = [text.value.as_str()];
        for word in if text.value == "private" { &PRIVATE[..] } else { &one } {
            match units::network(word) {
                Ok(network) => networks.push(Spanned::new(network, text.span)),
                Err(advice) => {
                    let message = "this is not a network";
                    let diagnostic = Diagnostic::error(codes::BAD_ADDRESS, text.span, message);
                    reader.log.push(diagnostic.help(format!("{advice}, or the word `private`")));
                }
            }
        }
    }
    networks
}

fn read_protocols(reader: &Reader<'_>) -> Protocols {
    let both = Protocols { http1: true, http2: true };
    let Some(node) = reader.node("protocols") else { return both };
    let list = reader.list("protocols", "a list of versions");
    let words = list.iter().filter_map(|node| match &node.kind {
        Kind::Text(text) if ["h3", "http/3", "http3"].contains(&text.as_str()) => {
            reader.not_supported(node.span, "HTTP/3");
            None
        }
        Kind::Text(text) if ["http/2", "http2", "HTTP/2"].contains(&text.as_str()) => {
            let message = format!("{} is not one of the words allowed here", quoted(node, text));
            let diagnostic = Diagnostic::error(codes::BAD_CHOICE, node.span, message);
            reader.log.push(diagnostic.help("the word for HTTP/2 is `h2`, with TLS and without"));
            None
        }
        _ => choice_of(node, PROTOCOLS, reader.log),
    });
    let (mut protocols, mut last) = (Protocols { http1: false, http2: false }, None);
    for word in words {
        let known = match word.value {
            "h2" => std::mem::replace(&mut protocols.http2, true),
            _ => std::mem::replace(&mut protocols.http1, true),
        };
        if known {
            reader.log.error(codes::DUPLICATE, word.span, "this version is there twice");
        }
        last = Some(word);
    }
    if last.is_none() && list.is_empty() && matches!(node.kind, Kind::Array(_)) {
        let message = "a listener that speaks nothing serves nobody";
        let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, node.span, message);
        reader.log.push(diagnostic.help("write `[\"http/1.1\", \"h2\"]`, or leave the key out"));
    }
    protocols
}

fn read_proxy_protocol(reader: &Reader<'_>) -> ProxyProtocol {
    let word = reader.choice("proxy_protocol");
    let mode = match word.as_ref().map(|word| word.value) {
        Some("optional") => ProxyProtocol::Optional,
        Some("required") => ProxyProtocol::Required,
        _ => ProxyProtocol::Off,
    };
    if mode != ProxyProtocol::Off {
        needs_trust(
            reader,
            "proxy_protocol",
            "a PROXY header is believed from trusted networks only",
        );
    }
    mode
}

/// A key that means nothing, or nothing good, while nobody is trusted.
fn needs_trust(reader: &Reader<'_>, key: &str, why: &str) {
    let trusted = reader.node("trusted_proxies");
    let nobody =
        trusted.is_none_or(|node| matches!(&node.kind, Kind::Array(list) if list.is_empty()));
    if let (Some(node), true) = (reader.node(key), nobody) {
        let message = format!("`{key}` needs `trusted_proxies`: {why}");
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, node.span, message);
        let advice =
            "name the networks of your load balancers: `trusted_proxies = [\"10.0.0.0/8\"]`";
        reader.log.push(diagnostic.help(advice));
    }
}

fn read_client_address(
    reader: &Reader<'_>,
    proxy_protocol: ProxyProtocol,
) -> Vec<Spanned<AddressSource>> {
    if reader.node("client_address").is_none() {
        return vec![Spanned::new(AddressSource::XForwardedFor, reader.place)];
    }
    needs_trust(reader, "client_address", "nobody else is asked for the client's address");
    let mut sources: Vec<Spanned<AddressSource>> = Vec::new();
    for text in reader.texts("client_address") {
        let Some(source) = address_source(reader, &text) else { continue };
        if source == AddressSource::ProxyProtocol && proxy_protocol == ProxyProtocol::Off {
            let message = "there is no PROXY header here to take the address from";
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, text.span, message);
            reader
                .log
                .push(diagnostic.help("set `proxy_protocol` to \"required\" or \"optional\""));
        }
        match sources.iter().find(|known| known.value == source) {
            Some(first) => {
                let message = "this source is there twice";
                let diagnostic = Diagnostic::error(codes::DUPLICATE, text.span, message);
                reader.log.push(diagnostic.also(first.span, "the first one"));
            }
            None if sources.len() == CLIENT_SOURCES_MAX => {
                let message = format!("at most {CLIENT_SOURCES_MAX} sources can be named");
                reader.log.error(codes::OUT_OF_RANGE, text.span, message);
                break;
            }
            None => sources.push(Spanned::new(source, text.span)),
        }
    }
    sources
}

/// Fields that hold something else, whatever a proxy writes into them.
const NO_ADDRESS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "host",
    "te",
    "transfer-encoding",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

fn address_source(reader: &Reader<'_>, text: &Text) -> Option<AddressSource> {
    let name = text.value.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let why = match name.as_str() {
        "proxy_protocol" => return Some(AddressSource::ProxyProtocol),
        "forwarded" => return Some(AddressSource::Forwarded),
        "x-forwarded-for" => return Some(AddressSource::XForwardedFor),
        name if name.is_empty() || !name.bytes().all(plain) => "this is not a source of addresses",
        name if NO_ADDRESS.contains(&name) => "this field holds no client's address",
        _ => {
            warn_of_slip(reader, text);
            return Some(AddressSource::Field(name));
        }
    };
    reader.log.push(Diagnostic::error(codes::BAD_CHOICE, text.span, why).note(
        "write \"x-forwarded-for\", \"forwarded\", \"proxy_protocol\", or the name of a field with one address, like \"cf-connecting-ip\"",
    ));
    None
}

/// The sources that are usual. Others may be meant, so a name that is nearly one of these is warned about.
const USUAL_SOURCES: &[&str] = &[
    "x-forwarded-for",
    "forwarded",
    "proxy_protocol",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "fastly-client-ip",
];

fn warn_of_slip(reader: &Reader<'_>, text: &Text) {
    if let Some(near) = suggest::slip(&text.value, USUAL_SOURCES) {
        let message = "this field is none of the usual ones";
        let diagnostic = Diagnostic::warning(codes::SLIP, text.span, message);
        reader.log.push(diagnostic.suggest(Some(near), ""));
    }
}

fn read_path(reader: &Reader<'_>) -> PathPolicy {
    let default = PathPolicy::default();
    let spelling = |key: &str, default: Spelling| match reader.choice(key).map(|word| word.value) {
        Some("keep") => Spelling::Keep,
        Some("resolve" | "merge") => Spelling::Normalise,
        Some("refuse") => Spelling::Refuse,
        _ => default,
    };
    PathPolicy {
        dot_segments: spelling("dot_segments", default.dot_segments),
        empty_segments: spelling("empty_segments", default.empty_segments),
        encoded_slash: spelling("encoded_slash", default.encoded_slash),
        semicolon: spelling("semicolon", default.semicolon),
    }
}

fn read_limits(reader: &Reader<'_>) -> ListenLimits {
    let default = ListenLimits::default();
    let (least, most) = defaults::HEAD_BYTES_RANGE;
    let head = reader.bytes("head_bytes_max", least, most);
    let target = reader.bytes("target_bytes_max", defaults::TARGET_BYTES_MIN, most);
    let head_bytes_max = head.as_ref().map_or(default.head_bytes_max, |bytes| bytes.value as usize);
    if let Some(target) = target.as_ref().filter(|bytes| bytes.value as usize >= head_bytes_max) {
        let message = format!(
            "`target_bytes_max` must be below `head_bytes_max` ({head_bytes_max} bytes): the target is a part of the head"
        );
        let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, target.span, message);
        reader.log.push(match &head {
            Some(head) => diagnostic.also(head.span, "the whole head"),
            None => diagnostic,
        });
    }
    let rate = reader.bytes("body_rate_min", 0, defaults::BODY_RATE_CEILING);
    let default_target = default.target_bytes_max.min(head_bytes_max / 2);
    let count = |key: &str, default: usize| {
        reader.integer(key).map_or(default, |number| number.value as usize)
    };
    ListenLimits {
        head_bytes_max,
        fields_max: count("fields_max", default.fields_max),
        target_bytes_max: target.map_or(default_target, |bytes| bytes.value as usize),
        body_rate_min: rate.map_or(default.body_rate_min, |rate| rate.value),
        connections_max: count("connections_max", default.connections_max),
        connections_per_client_max: count(
            "connections_per_client_max",
            default.connections_per_client_max,
        ),
    }
}

fn read_timeout(reader: &Reader<'_>) -> ListenTimeout {
    let default = ListenTimeout::default();
    let or = |key: &str, default: Duration| reader.duration(key).map_or(default, |d| d.value);
    ListenTimeout {
        head: or("head", default.head),
        handshake: or("handshake", default.handshake),
        body: or("body", default.body),
        idle: or("idle", default.idle),
    }
}
