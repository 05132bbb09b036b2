//! The policies of routes and of `[default]`: who may pass, how often, how long, how much.
//!
//! A route's own word stands before the default's, and the default's before the language's. An open
//! route must be visible: it never becomes one by leaving something out, only by `jwt = "none"` or by
//! having no default.

use std::time::Duration;

use crate::base::limits::{ISSUERS_PER_ROUTE_MAX, LIMITS_PER_ROUTE_MAX};
use crate::config::allow::{self, Allow};
use crate::config::answering::{self, Answering};
use crate::config::bandwidth::{self, Bandwidth};
use crate::config::cache::{self, Cache};
use crate::config::client_cert::{self, Asked};
use crate::config::codes;
use crate::config::concurrency::{self, Concurrency};
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::hedge;
use crate::config::language::ROUTE_TIMEOUT;
use crate::config::reader::{Reader, duration_of};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::Kind;
use crate::config::upgrade;
use crate::config::upstream::read_retries;

/// The policies that hold for one route, defaults filled in.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The issuers whose tokens are asked for, at most `ISSUERS_PER_ROUTE_MAX`; empty: none.
    pub jwt: Vec<Text>,
    /// The table whose keys are asked for.
    pub api_key: Option<Text>,
    /// Whether clients prove who they are by a certificate; `None`: nobody asks.
    pub client_cert: Option<Spanned<Asked>>,
    /// The table whose users are asked for.
    pub basic: Option<Text>,
    /// The service that is asked.
    pub auth_request: Option<Text>,
    /// Who may pass. Default: anyone.
    pub allow: Spanned<Allow>,
    /// Where the route itself says that it may be open: `allow`, or `jwt = "none"`.
    pub says_open: Option<Span>,
    /// The limits that hold, at most `LIMITS_PER_ROUTE_MAX`.
    pub limits: Vec<Text>,
    /// How fast answers go; `None`: as fast as they can.
    pub bandwidth: Option<Bandwidth>,
    /// How many at once; `None`: as many as come.
    pub concurrency: Option<Concurrency>,
    /// The whole request. Default: 15 s.
    pub timeout: Spanned<Duration>,
    /// Each wait for progress of a body; `None`: the listener's and the upstream's.
    pub idle: Option<Spanned<Duration>>,
    /// Longest request body. Unit: bytes. Default: 10 MiB.
    pub body_bytes_max: Spanned<u64>,
    /// How much of a request's body is waited for before an origin is asked. Unit: bytes. Default: 0, none.
    pub buffer_request_bytes: u64,
    /// Further attempts; `None`: the upstream's.
    pub retries: Option<Spanned<u32>>,
    /// How many of a hundred calls may be sent a second time when they are late. Default: none.
    pub hedge: Option<Spanned<u32>>,
    /// Silence of a tunnel. Default: 1 h.
    pub tunnel_idle: Spanned<Duration>,
    /// Protocols that HTTP may be left for. Default: `websocket`.
    pub upgrades: Vec<Text>,
    /// What is done to requests and answers on their way.
    pub answering: Answering,
    /// How answers are used again. Default: not at all.
    pub cache: Option<Cache>,
}

impl Policies {
    /// Whether an identity is proven before anything is answered.
    pub fn authenticates(&self) -> bool {
        let cert = self.client_cert.as_ref().map(|asked| asked.value);
        !self.jwt.is_empty()
            || self.api_key.is_some()
            || self.basic.is_some()
            || self.auth_request.is_some()
            || cert == Some(Asked::Required)
    }
}

/// What one table says about policies; absent means "as above".
#[derive(Clone, Default)]
pub(super) struct Stated {
    jwt: Option<Vec<Text>>,
    api_key: Option<Option<Text>>,
    client_cert: Option<Option<Spanned<Asked>>>,
    basic: Option<Option<Text>>,
    auth_request: Option<Option<Text>>,
    allow: Option<Spanned<Allow>>,
    says_open: Option<Span>,
    limits: Option<Vec<Text>>,
    concurrency: Option<Option<Concurrency>>,
    bandwidth: Option<Option<Bandwidth>>,
    timeout: Option<Spanned<Duration>>,
    idle: Option<Spanned<Duration>>,
    body_bytes_max: Option<Spanned<u64>>,
    buffer_request_bytes: Option<Spanned<u64>>,
    retries: Option<Spanned<u32>>,
    hedge: Option<Option<Spanned<u32>>>,
    tunnel_idle: Option<Spanned<Duration>>,
    upgrades: Option<Vec<Text>>,
    answering: answering::Stated,
    cache: Option<Option<Cache>>,
}

impl Stated {
    /// Reads the policies of a route or of `[default]`.
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let jwt = read_names(reader, "jwt", "issuer", ISSUERS_PER_ROUTE_MAX);
        let (api_key, no_keys) = read_name(reader, "api_key");
        let (basic, no_users) = read_name(reader, "basic");
        let (auth_request, no_service) = read_name(reader, "auth_request");
        let no_users = no_users.or(no_service);
        let is_none = jwt.as_ref().is_some_and(Vec::is_empty);
        let opts_out = reader.node("jwt").filter(|_| is_none).map(|node| node.span);
        let (client_cert, no_cert) = client_cert::read(reader);
        let allow = allow::read(reader);
        let Timeouts { total, idle, tunnel_idle } = read_timeout(reader);
        Self {
            jwt,
            api_key,
            client_cert,
            basic,
            auth_request,
            says_open: allow
                .as_ref()
                .map(|allow| allow.span)
                .or(opts_out)
                .or(no_keys)
                .or(no_users)
                .or(no_cert),
            allow,
            limits: read_limits(reader),
            concurrency: concurrency::read(reader),
            bandwidth: bandwidth::read(reader),
            timeout: total,
            idle,
            hedge: hedge::read(reader),
            tunnel_idle,
            upgrades: upgrade::read(reader),
            answering: answering::Stated::read(reader),
            cache: cache::read(reader),
            body_bytes_max: reader.bytes("body_max", 0, u64::MAX),
            buffer_request_bytes: reader.bytes(
                "buffer_request",
                0,
                defaults::BUFFER_REQUEST_CEILING,
            ),
            retries: read_retries(reader),
        }
    }

    /// What holds: this table's word, else the `other`'s, else the language's.
    pub(super) fn over(self, other: &Stated) -> Policies {
        let other = other.clone();
        let total = || Spanned::built_in(defaults::TOTAL_TIMEOUT);
        let body = || Spanned::built_in(defaults::BODY_BYTES_MAX);
        let tunnel = || Spanned::built_in(defaults::TUNNEL_IDLE_TIMEOUT);
        let upgrades = || defaults::UPGRADES.map(|word| Spanned::built_in(word.to_owned())).into();
        Policies {
            jwt: self.jwt.or(other.jwt).unwrap_or_default(),
            api_key: self.api_key.or(other.api_key).flatten(),
            client_cert: self.client_cert.or(other.client_cert).flatten(),
            basic: self.basic.or(other.basic).flatten(),
            auth_request: self.auth_request.or(other.auth_request).flatten(),
            allow: self.allow.or(other.allow).unwrap_or_else(|| Spanned::built_in(Allow::Anyone)),
            says_open: self.says_open,
            limits: self.limits.or(other.limits).unwrap_or_default(),
            concurrency: self.concurrency.or(other.concurrency).flatten(),
            bandwidth: self.bandwidth.or(other.bandwidth).flatten(),
            timeout: self.timeout.or(other.timeout).unwrap_or_else(total),
            idle: self.idle.or(other.idle),
            body_bytes_max: self.body_bytes_max.or(other.body_bytes_max).unwrap_or_else(body),
            buffer_request_bytes: self
                .buffer_request_bytes
                .or(other.buffer_request_bytes)
                .map_or(defaults::BUFFER_REQUEST, |bytes| bytes.value),
            retries: self.retries.or(other.retries),
            hedge: self.hedge.or(other.hedge).flatten(),
            tunnel_idle: self.tunnel_idle.or(other.tunnel_idle).unwrap_or_else(tunnel),
            upgrades: self.upgrades.or(other.upgrades).unwrap_or_else(upgrades),
            answering: self.answering.over(&other.answering),
            cache: self.cache.or(other.cache).flatten(),
        }
    }
}

/// The name under `key`; `"none"` is none, and where that is said.
fn read_name(reader: &Reader<'_>, key: &str) -> (Option<Option<Text>>, Option<Span>) {
    let name = reader.text(key);
    let none = name.as_ref().filter(|name| name.value == "none").map(|name| name.span);
    (name.map(|name| Some(name).filter(|name| name.value != "none")), none)
}

/// `limit` of a route, of an upstream or of `[default]`.
pub(super) fn read_limits(reader: &Reader<'_>) -> Option<Vec<Text>> {
    read_names(reader, "limit", "limit", LIMITS_PER_ROUTE_MAX)
}

/// The names under `key`, each once; `"none"` alone is an empty list.
fn read_names(reader: &Reader<'_>, key: &str, what: &str, max: usize) -> Option<Vec<Text>> {
    let node = reader.node(key)?;
    let names = reader.texts(key);
    if let [only] = names.as_slice()
        && only.value == "none"
    {
        return Some(Vec::new());
    }
    for (index, name) in names.iter().enumerate() {
        if name.value == "none" {
            let message = format!("`none` stands alone: it means that no {what} holds");
            reader.error(codes::BAD_CHOICE, name.span, message);
        } else if let Some(first) = names[..index].iter().find(|first| first.value == name.value) {
            let message = format!("the {what} `{}` is here twice", name.value);
            let diagnostic = Diagnostic::error(codes::DUPLICATE, name.span, message);
            reader.log.push(diagnostic.also(first.span, "first written here"));
        }
    }
    if names.len() > max {
        let message = format!("a route has at most {max} {what}s");
        reader.error(codes::OUT_OF_RANGE, node.span, message);
    }
    Some(names)
}

/// What a `timeout` says.
#[derive(Default)]
struct Timeouts {
    total: Option<Spanned<Duration>>,
    idle: Option<Spanned<Duration>>,
    tunnel_idle: Option<Spanned<Duration>>,
}

fn read_timeout(reader: &Reader<'_>) -> Timeouts {
    let Some(node) = reader.node("timeout") else { return Timeouts::default() };
    if matches!(node.kind, Kind::Table(_)) {
        let Some(table) = reader.table("timeout", &ROUTE_TIMEOUT) else {
            return Timeouts::default();
        };
        return Timeouts {
            total: table.duration("total"),
            idle: table.duration("idle"),
            tunnel_idle: table.duration("tunnel_idle"),
        };
    }
    let total = duration_of(node, Duration::from_millis(1), defaults::DURATION_MAX, reader.log);
    Timeouts { total, ..Timeouts::default() }
}
