//! `[[listen]]`: addresses, trusted proxies, the spelling policy of paths, bounds and timeouts.
//!
//! Bounds are values here, never unlimited: what the file leaves out has its default from
//! `defaults.rs`. Path spellings follow RFC 3986 §2.2, §3.3 and §5.2.4; the default refuses every
//! spelling that two servers could read differently.

use std::time::Duration;

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{LIMITS, LISTEN, LISTEN_TIMEOUT, PATH};
use crate::config::reader::{Reader, quoted, wrong_type};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Kind, Log, Node};
use crate::config::units::{self, Address, Network};

/// One address that clients connect to.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where; TCP port 0 takes any free port.
    pub address: Spanned<Address>,
    /// Networks whose forwarding fields are believed. Default: none.
    pub trusted_proxies: Vec<Spanned<Network>>,
    /// What happens to paths with more than one spelling.
    pub path: PathPolicy,
    /// Bounds on what a client may send.
    pub limits: ListenLimits,
    /// How long a client may take.
    pub timeout: ListenTimeout,
    /// The table.
    pub span: Span,
}

/// What happens to a spelling that origins read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Answered with 400. The default everywhere.
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
        let refuse = Spelling::Refuse;
        Self {
            dot_segments: refuse,
            empty_segments: refuse,
            encoded_slash: refuse,
            semicolon: refuse,
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
    /// Connections open at once, on all cores together.
    pub connections_max: usize,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: defaults::HEAD_BYTES_MAX as usize,
            fields_max: defaults::FIELDS_MAX,
            target_bytes_max: defaults::TARGET_BYTES_MAX as usize,
            connections_max: defaults::CONNECTIONS_MAX,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenTimeout {
    /// From a request's first byte to the end of its head. Default: 10 s.
    pub head: Duration,
    /// Each wait for progress of a body. Default: 30 s.
    pub body: Duration,
    /// Between two requests. Default: 75 s.
    pub idle: Duration,
}

impl Default for ListenTimeout {
    fn default() -> Self {
        Self {
            head: defaults::HEAD_TIMEOUT,
            body: defaults::BODY_TIMEOUT,
            idle: defaults::IDLE_TIMEOUT,
        }
    }
}

/// Reads one `[[listen]]`; `None` if it has no usable address.
pub(super) fn read(node: &Node, log: &Log) -> Option<Listener> {
    let reader = Reader::open(&LISTEN, node, log)?;
    let trusted_proxies = read_networks(&reader);
    let path = reader.table("path", &PATH).map(|table| read_path(&table)).unwrap_or_default();
    let limits = reader.table("limits", &LIMITS).map(|table| read_limits(&table));
    let timeout = reader.table("timeout", &LISTEN_TIMEOUT).map(|table| read_timeout(&table));
    if reader.node("address").is_none() {
        reader.missing("address", "write `address = \"0.0.0.0:8080\"`");
    }
    Some(Listener {
        address: read_address(reader.node("address")?, log)?,
        trusted_proxies,
        path,
        limits: limits.unwrap_or_default(),
        timeout: timeout.unwrap_or_default(),
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

fn read_networks(reader: &Reader<'_>) -> Vec<Spanned<Network>> {
    let network = |text: Text| match units::network(&text.value) {
        Ok(network) => Some(text.map(|_| network)),
        Err(advice) => {
            let message = "this is not a network";
            let diagnostic = Diagnostic::error(codes::BAD_ADDRESS, text.span, message);
            reader.log.push(diagnostic.help(advice));
            None
        }
    };
    reader.texts("trusted_proxies").into_iter().filter_map(network).collect()
}

fn read_path(reader: &Reader<'_>) -> PathPolicy {
    let spelling = |key: &str| match reader.choice(key).map(|word| word.value) {
        Some("keep") => Spelling::Keep,
        Some("resolve" | "merge") => Spelling::Normalise,
        _ => Spelling::Refuse,
    };
    PathPolicy {
        dot_segments: spelling("dot_segments"),
        empty_segments: spelling("empty_segments"),
        encoded_slash: spelling("encoded_slash"),
        semicolon: spelling("semicolon"),
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
    let default_target = default.target_bytes_max.min(head_bytes_max / 2);
    let count = |key: &str, default: usize| {
        reader.integer(key).map_or(default, |number| number.value as usize)
    };
    ListenLimits {
        head_bytes_max,
        fields_max: count("fields_max", default.fields_max),
        target_bytes_max: target.map_or(default_target, |bytes| bytes.value as usize),
        connections_max: count("connections_max", default.connections_max),
    }
}

fn read_timeout(reader: &Reader<'_>) -> ListenTimeout {
    let default = ListenTimeout::default();
    let or = |key: &str, default: Duration| reader.duration(key).map_or(default, |d| d.value);
    ListenTimeout {
        head: or("head", default.head),
        body: or("body", default.body),
        idle: or("idle", default.idle),
    }
}
