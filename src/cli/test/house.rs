//! The gateway that tests are played on: the one of the configuration, with the doors of the test.
//!
//! Three things differ from what `run` would serve. Issuers have a key that the test can sign with, so that
//! neither key sets nor secrets are needed and the whole of a token's judgement takes place. Endpoints are
//! addresses of the simulation, one for each, since upstreams may share one. PROXY headers are off: a test
//! says who asks. Such a gateway never leaves this process, and what it signs is worth nothing elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::base::address::Address;
use crate::base::buffer::BufferPool;
use crate::base::ids::RouteId;
use crate::compile::compile;
use crate::config::jwt::Secret;
use crate::config::{self, Config, Diagnostics, KeySource, SourceMap, Spanned, Surroundings};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::gateway::listener::ProxyProtocol;
use crate::http::h1::parse::{self, Parsed};
use crate::observe::plan::LabelBook;
use crate::policy::Policy;
use crate::policy::jwt::Jwt;
use crate::route::Found;
use crate::upstream::{Speaks, Upstream};

/// What tokens of tests are signed with. It proves nothing to anybody but a test.
const KEY: &str = "the key of `ringway test`, which no gateway takes";
/// `exp` of a token that does not say one: 2100-01-01. Unit: seconds since 1970.
const EXPIRES: u64 = 4_102_444_800;
/// Where a listener is that has no address of the network.
const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)), 80);

/// The configuration, and the gateways made of it.
pub(super) struct House<'a> {
    /// What is tested.
    pub(super) config: Config,
    /// Warnings of the configuration.
    pub(super) found: Diagnostics,
    around: &'a dyn Surroundings,
    book: LabelBook,
    gateway: Arc<Gateway>,
}

impl<'a> House<'a> {
    /// Reads the configuration at `path` with its tests.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(path: &Path, around: &'a dyn Surroundings) -> Result<Self, Diagnostics> {
        let (mut config, found) = config::load_with_tests(path, around);
        for issuer in &mut config.jwts {
            let key = KeySource::Secret(Secret::new(KEY.to_owned()));
            issuer.keys = Spanned::new(key, issuer.keys.span);
            issuer.algorithms.clear();
        }
        let mut book = LabelBook::default();
        let (gateway, found) = make(&config, found, around, &mut book);
        match gateway {
            Some(gateway) => Ok(Self { config, found, around, book, gateway }),
            None => Err(found),
        }
    }

    /// The gateway, as it is or with nothing in its limits.
    pub(super) fn gateway(&mut self, fresh: bool) -> Arc<Gateway> {
        if fresh {
            // What there is to be said was said when the house was opened.
            let found = Diagnostics::new(SourceMap::default());
            let (gateway, _) = make(&self.config, found, self.around, &mut self.book);
            self.gateway = gateway.unwrap_or_else(|| self.gateway.clone());
        }
        self.gateway.clone()
    }
}

fn make(
    config: &Config,
    found: Diagnostics,
    around: &dyn Surroundings,
    book: &mut LabelBook,
) -> (Option<Arc<Gateway>>, Diagnostics) {
    // Nothing has to be unforeseeable here, so that any seed does.
    let (compiled, found) = compile(config, found, around, 0, book, None);
    let gateway = compiled.map(|compiled| {
        let mut gateway = compiled.gateway;
        if let Some(own) = Arc::get_mut(&mut gateway) {
            move_in(own);
        }
        gateway
    });
    (gateway, found)
}

/// Puts listeners and endpoints where the simulation has them.
fn move_in(gateway: &mut Gateway) {
    for listener in &mut gateway.listeners {
        listener.proxy_protocol = ProxyProtocol::Off;
        if listener.address.tcp().is_none() {
            listener.address = Address::Tcp(LISTENER);
        }
    }
    for (number, upstream) in gateway.upstreams.iter_mut().enumerate() {
        let mut own = Upstream::clone(upstream);
        // What is played there speaks HTTP/1.1 without TLS: the request and its answer are the same.
        own.rules.proxy_header = None;
        own.rules.speaks = Speaks::Http1;
        own.tls = None;
        for (index, endpoint) in own.endpoints.iter_mut().enumerate() {
            endpoint.address = address(number, index);
        }
        *upstream = Arc::new(own);
    }
}

/// Where an endpoint is: in 240.0.0.0/4, which nobody has (RFC 1112 §4).
fn address(upstream: usize, endpoint: usize) -> Address {
    let [_, _, high, low] = (upstream as u32).to_be_bytes();
    let host = Ipv4Addr::new(240, high, low, (endpoint % 250) as u8 + 1);
    Address::Tcp(SocketAddr::new(IpAddr::V4(host), 80 + (endpoint / 250) as u16))
}

/// The route of a request, found as `serve` finds it.
pub(super) fn route_of(gateway: &Gateway, head: &[u8], from: IpAddr) -> Option<RouteId> {
    let listener = gateway.listeners.first()?;
    let mut x = Exchange::default();
    let mut bytes = BufferPool::new(1).take()?;
    if !bytes.put(head) {
        return None;
    }
    match parse::request(bytes.data(), 0, &listener.head_limits, &mut x.head) {
        Ok(Parsed::Done) => {}
        _ => return None,
    }
    x.bytes = Some(bytes);
    x.client.peer = from.to_canonical();
    listener.identify(&mut x);
    if let Some(bytes) = &mut x.bytes {
        listener.spelling.normalise(&mut x.head, bytes.data_mut());
    }
    let mut params = std::mem::take(&mut x.params);
    match gateway.router.find(x.request(), &listener.spelling, &mut params, &mut Default::default())
    {
        Found::Route(id) => Some(id),
        _ => None,
    }
}

/// A token with these claims, and what the route's issuer asks for besides.
pub(super) fn token(
    claims: &Map<String, Value>,
    gateway: &Gateway,
    route: Option<RouteId>,
) -> String {
    let mut claims = claims.clone();
    let policies = route.map_or(&[][..], |route| &gateway.route(route).policies);
    for policy in policies {
        let Policy::Jwt(jwt) = policy else { continue };
        let Some(rules) = jwt.issuers().first().map(Jwt::rules) else { continue };
        let asked = [("iss", rules.issuers.first()), ("aud", rules.audiences.first())];
        for (name, value) in asked {
            if let (Some(value), false) = (value, claims.contains_key(name)) {
                claims.insert(name.to_owned(), json!(value));
            }
        }
    }
    if !claims.contains_key("exp") {
        claims.insert("exp".to_owned(), json!(EXPIRES));
    }
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256"}"#);
    let payload = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
    let signed = format!("{header}.{payload}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}
