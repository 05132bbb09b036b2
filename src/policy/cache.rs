//! The response cache of a route: which requests share an answer, on which terms it is stored, and what may be
//! done with it (RFC 9111, RFC 5861).
//!
//! The key is what the route makes it: scheme, authority, path and query always, then the fields and the identity
//! that it names. Two requests never share an answer unless all of it, and what `Vary` names, is
//! the same. Whoever was identified counts as one who sent Authorization, however it was proven, so that what was
//! meant for one is never given to another (RFC 9111 §3.5). It never performs I/O; `serve/cached.rs` does.

use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{CACHE_KEY_BYTES_MAX, CACHE_STALE_UNREACHABLE};
use crate::base::span::Span;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::identity::Identity;
use crate::http::Method;
use crate::http::caching::directives::RequestControl;
use crate::http::caching::{self, Asking, Freshness, Terms, Times, WhyNot};
use crate::http::head::{Request, Response};
use crate::http::names::FieldName;
use crate::policy::store::Machine;
use crate::policy::stored::Stored;

/// What a route says of its cache, compiled.
#[derive(Debug)]
pub struct Cache {
    /// Tells routes apart; another after a change of the route.
    pub space: u64,
    /// How long answers are fresh, beside what the origin says.
    pub terms: Terms,
    /// Which requests share an answer.
    pub key: KeyRule,
    /// Largest content that is stored. Unit: bytes.
    pub object_bytes_max: usize,
    /// The field that tags answers, in lower case; empty for none.
    pub tags: Box<[u8]>,
    /// In place of the origin's `stale-while-revalidate`.
    pub stale_while_revalidate: Option<Duration>,
    /// In place of the origin's `stale-if-error`.
    pub stale_if_error: Option<Duration>,
    /// Whether clients may say how fresh an answer must be.
    pub heeds_clients: bool,
    /// Where answers are.
    pub machine: Arc<Machine>,
}

/// What the key of a route is made of besides the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRule {
    /// Request fields, in lower case.
    pub fields: Box<[Box<[u8]>]>,
    /// Which parameters of the query count.
    pub query: QueryRule,
    /// Whether the order of parameters says nothing.
    pub sorted: bool,
    /// Whether each identity has answers of its own.
    pub identity: bool,
}

/// Which parameters of a query are part of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryRule {
    /// All, byte for byte.
    #[default]
    All,
    /// These only.
    Only(Box<[Box<[u8]>]>),
    /// All but these.
    Without(Box<[Box<[u8]>]>),
}

/// Parts of a query that can be told apart and sorted; a longer query is not cached by such a rule.
const PARAMETERS_MAX: usize = 64;

impl Cache {
    /// What a client says of freshness, if it is heeded.
    pub fn control(&self, request: Request<'_>) -> RequestControl {
        if !self.heeds_clients {
            return RequestControl::default();
        }
        let pragma = request.all(FieldName::Pragma);
        RequestControl::of(request.all(FieldName::CacheControl), pragma)
    }

    /// Appends the key of a request; says where its address stands. `None` if it has none: it is too long, or
    /// lacks the identity.
    pub fn write_key(&self, x: &Exchange, out: &mut Vec<u8>) -> Option<Span> {
        let request = x.request();
        out.extend_from_slice(&self.space.to_be_bytes());
        out.extend_from_slice(&x.view.as_ref().map_or(0, |view| view.index + 1).to_be_bytes());
        out.push(u8::from(x.client.tls));
        let start = out.len();
        out.extend(request.authority().iter().map(u8::to_ascii_lowercase));
        self.write_path_and_query(request.path(), request.query(), out)?;
        let url = Span::new(start, out.len());
        // What the route itself tells the origin of this request, or of this user.
        out.extend_from_slice(&x.request_lines);
        write_overriding(request, out);
        for name in &self.key.fields {
            out.push(b'\n');
            for value in request.all_named(name) {
                out.extend_from_slice(value);
                out.push(b',');
            }
        }
        if self.key.identity {
            write_identity(x.identity.as_ref()?, out)?;
        }
        (out.len() <= CACHE_KEY_BYTES_MAX).then_some(url)
    }

    /// The key that another address of the same origin would have: for what an answer to an unsafe method says in
    /// Location and Content-Location (RFC 9111 §4.4). `key` is that of its request, `url` where the address is.
    pub fn key_of(&self, key: &[u8], url: Span, target: &[u8]) -> Option<(Vec<u8>, Span)> {
        let asked = url.of(key);
        let authority = &asked[..asked.iter().position(|byte| *byte == b'/')?];
        let target = same_origin(target, authority)?;
        let target = target.split(|byte| *byte == b'#').next().unwrap_or(target);
        let mut halves = target.splitn(2, |byte| *byte == b'?');
        let path = halves.next().unwrap_or_default();
        let mut bytes = key[..url.start as usize].to_vec();
        bytes.extend_from_slice(authority);
        if path.first() != Some(&b'/') {
            // Relative to the folder of the request's path (RFC 3986 §5.2.3), without dot segments.
            let own = asked[authority.len()..].split(|byte| *byte == b'?').next().unwrap_or(b"/");
            let folder = own.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let whole = [&own[..folder], path].concat();
            self.write_path_and_query(&whole, halves.next(), &mut bytes)?;
        } else {
            self.write_path_and_query(path, halves.next(), &mut bytes)?;
        }
        let span = Span::new(url.start as usize, bytes.len());
        bytes.extend_from_slice(&key[url.end as usize..]);
        Some((bytes, span))
    }

    fn write_path_and_query(
        &self,
        path: &[u8],
        query: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        out.extend_from_slice(path);
        let Some(query) = query else { return Some(()) };
        if self.key.query == QueryRule::All && !self.key.sorted {
            out.push(b'?');
            out.extend_from_slice(query);
            return Some(());
        }
        let mut kept: [&[u8]; PARAMETERS_MAX] = [b""; PARAMETERS_MAX];
        let mut count = 0;
        for parameter in query.split(|byte| *byte == b'&').filter(|one| self.key.query.keeps(one)) {
            *kept.get_mut(count)? = parameter;
            count += 1;
        }
        if self.key.sorted {
            // Stable: values of one name keep their order.
            kept[..count].sort_by_key(|parameter| name_of(parameter));
        }
        for (index, parameter) in kept[..count].iter().enumerate() {
            out.push(if index == 0 { b'?' } else { b'&' });
            out.extend_from_slice(parameter);
        }
        Some(())
    }

    /// What of a request matters for storing its answer.
    pub fn asking(&self, x: &Exchange, control: RequestControl) -> Asking {
        let known = x.identity.is_some() || x.request().field(FieldName::Authorization).is_some();
        Asking { method: Method::Get, authorization: known && !self.key.identity, control }
    }

    /// Whether an answer is stored, and on which terms.
    ///
    /// # Errors
    /// Why it is not.
    pub fn assess(
        &self,
        asking: &Asking,
        response: Response<'_>,
        times: &Times,
    ) -> Result<Freshness, WhyNot> {
        let mut freshness = caching::assess(asking, response, times, &self.terms)?;
        if let Some(window) = self.stale_while_revalidate {
            freshness.stale_while_revalidate = window;
        }
        if let Some(window) = self.stale_if_error {
            freshness.stale_if_error = window;
        }
        Ok(freshness)
    }

    /// Whether a stored answer may stand in for an origin that cannot be reached (RFC 9111 §4.2.4).
    pub fn stands_in(&self, stored: &Stored, control: &RequestControl, now: Instant) -> bool {
        let window = self.stale_if_error.unwrap_or(CACHE_STALE_UNREACHABLE);
        let window = window.max(stored.freshness.stale_if_error);
        let window = window.max(control.stale_if_error.unwrap_or_default());
        !window.is_zero() && stored.freshness.stands_in(control, window, now)
    }
}

impl QueryRule {
    fn keeps(&self, parameter: &[u8]) -> bool {
        let is_among = |names: &[Box<[u8]>]| names.iter().any(|name| **name == *name_of(parameter));
        match self {
            Self::All => true,
            Self::Only(names) => is_among(names),
            Self::Without(names) => !is_among(names),
        }
    }
}

/// Fields by which origins take a request for another one than it says, in lower case: whoever sends one never
/// brings, nor gets, an answer to a request without. Those that have names of their own are passed on only
/// for trusted proxies.
const OVERRIDING: [&[u8]; 10] = [
    b"x-host",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-forwarded-path",
    b"x-forwarded-prefix",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-uri",
    b"x-original-host",
];

/// Appends what of [`OVERRIDING`] a request has.
fn write_overriding(request: Request<'_>, out: &mut Vec<u8>) {
    for field in request.head.fields.iter() {
        let name = field.name.of(request.raw);
        let overrides = match field.id {
            FieldName::XForwardedHost
            | FieldName::XForwardedPort
            | FieldName::XOriginalUrl
            | FieldName::XRewriteUrl => true,
            FieldName::Other => {
                matches!(name, [b'x' | b'X', ..])
                    && OVERRIDING.iter().any(|known| FieldName::is_spelling(name, known))
            }
            _ => false,
        };
        if overrides {
            out.push(b'\n');
            out.extend(name.iter().map(u8::to_ascii_lowercase));
            out.push(b':');
            out.extend_from_slice(field.value.of(request.raw));
        }
    }
}

/// Appends who an identity is: all that was proven of it, each with its length, so that no text can be taken for
/// another. `None` if nothing names it.
pub fn write_identity(identity: &Identity, out: &mut Vec<u8>) -> Option<()> {
    let issuer = identity.claim(&["iss"]).and_then(|issuer| issuer.as_str());
    let (subject, user, owner) = (identity.subject(), identity.user(), identity.key_owner());
    let cert = identity.client_cert().map(|cert| &*cert.fingerprint);
    if [subject, user, owner, cert].iter().all(Option::is_none) {
        return None;
    }
    for piece in [issuer, subject, user, owner, cert] {
        let length = piece.map_or(0, |text| text.len() as u64 + 1);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(piece.unwrap_or_default().as_bytes());
    }
    Some(())
}

/// The name of a parameter, as it is written.
fn name_of(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or(parameter)
}

/// What stands behind the authority of a reference, if that is `authority`; a relative reference is.
fn same_origin<'t>(target: &'t [u8], authority: &[u8]) -> Option<&'t [u8]> {
    let scheme_end = target.windows(3).position(|three| three == b"://");
    let rest = match (scheme_end, target.strip_prefix(b"//")) {
        (Some(at), _) => &target[at + 3..],
        (None, Some(rest)) => rest,
        (None, None) => return Some(target),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (host, path) = rest.split_at(end.unwrap_or(rest.len()));
    host.eq_ignore_ascii_case(authority).then_some(if path.is_empty() { b"/" } else { path })
}

#[cfg(test)]
mod tests;
