//! One way through the house: policies, then a target.
//!
//! A route never names anything: ids of the same `Gateway` only.

use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::UpstreamId;
use crate::base::name::Name;
use crate::base::pacing::{ByteRate, SharedPacing};
use crate::exchange::Exchange;
use crate::exchange::reply::Reply;
use crate::exchange::template::{RenderError, Template};
use crate::gateway::answering::Answering;
use crate::gateway::mirror::Mirror;
use crate::gateway::view::Merge;
use crate::http::Status;
use crate::http::withheld::Withheld;
use crate::policy::Policy;
use crate::policy::cache::Cache;
use crate::policy::header_edit::HeaderEdits;
use crate::policy::maintenance::Maintenance;

/// A route, compiled. Its fields stand in the order in which a request meets them, four lines of the cache in all:
/// of ten thousand routes most are not in a core's caches when they are asked for, and each further line is waited for.
#[repr(C, align(64))]
pub struct Route {
    /// In execution order.
    pub policies: Box<[Policy]>,
    /// What it leads to.
    pub target: Target,
    /// What it does to every answer.
    pub answering: Option<Box<Answering>>,
    /// What everybody gets while it is closed.
    pub maintenance: Option<Box<Maintenance>>,
    /// A second upstream that gets copies.
    pub mirror: Option<Box<Mirror>>,
    /// Fields of the request that are sent on otherwise than received.
    pub request_edits: Option<Box<HeaderEdits>>,
    /// How answers are used again.
    pub cache: Option<Box<Cache>>,
    /// From the whole request to the head of the response.
    pub timeout: Duration,
    /// Largest request body. Unit: bytes.
    pub body_bytes_max: u64,
    /// How long an origin may pause while it sends a body or takes one; `None`: the upstream's.
    pub idle_timeout: Option<Duration>,
    /// Further attempts after the first; `None`: the upstream's.
    pub retries: Option<u32>,
    /// How many of a hundred calls of a `forward` may be sent a second time when they are late; `None`: none.
    pub hedge_percent: Option<u32>,
    /// How much of a request's body is waited for before an origin is asked; zero for none. Unit: bytes.
    pub buffer_request_bytes: u64,
    /// How fast responses go.
    pub bandwidth: Option<Bandwidth>,
    /// Protocols that HTTP may be left for, as they stand in Upgrade.
    pub upgrades: Box<[Name]>,
    /// How long a tunnel may be silent, and a receiver in it may take nothing.
    pub tunnel_idle_timeout: Duration,
    /// As written, or its `match`; the label operators see.
    pub name: Name,
}

/// How fast the responses of a route go.
#[derive(Clone, Debug)]
pub struct Bandwidth {
    /// Each of them.
    pub each: Option<ByteRate>,
    /// All together, on all cores.
    pub all: Option<Arc<SharedPacing>>,
}

/// What a route leads to. In a box where it is large, so that a route is not.
pub enum Target {
    /// One upstream.
    Forward(Forward),
    /// Several, merged.
    Aggregate(Box<Merge>),
    /// Somewhere else.
    Redirect(Box<Redirect>),
    /// A fixed reply.
    Respond(Box<Reply>),
}

/// One upstream, and the target sent to it.
pub struct Forward {
    /// The upstream.
    pub upstream: UpstreamId,
    /// The path and query sent; `None` sends the request target as received.
    pub target: Option<Template>,
}

/// A redirection (RFC 9110 §15.4).
pub struct Redirect {
    /// The Location, or its path and query behind `scheme` and `host`; `None`: the client's own, as received.
    pub to: Option<Template>,
    /// The scheme of the Location, where only a part of the address changes.
    pub scheme: Option<&'static str>,
    /// Its host, perhaps with a port.
    pub host: Option<Box<str>>,
    /// Whether the client's query goes on where the template has none of its own.
    pub keep_query: bool,
    /// What of that query stays behind: an address is shown to others.
    pub withheld: Withheld,
    /// The status, 3xx.
    pub status: Status,
}

impl Route {
    /// The merge, if it is one that has views.
    pub fn views(&self) -> Option<&Merge> {
        match &self.target {
            Target::Aggregate(merge) if !merge.views.is_empty() => Some(merge),
            _ => None,
        }
    }
}

impl Redirect {
    /// Appends the address that the client of this request is sent to.
    ///
    /// # Errors
    /// A value is missing that the template needs, or the host: with an empty one, what follows in the path would
    /// be taken for it (`https:///evil.test/` is another site to browsers).
    pub fn location(&self, x: &Exchange, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let request = x.request();
        if self.scheme.is_some() || self.host.is_some() {
            if self.host.is_none() && request.host().is_empty() {
                return Err(RenderError::Missing { claim: false });
            }
            let own = if x.client.tls { "https" } else { "http" };
            let scheme = self.scheme.unwrap_or(own);
            out.extend_from_slice(scheme.as_bytes());
            out.extend_from_slice(b"://");
            match &self.host {
                Some(host) => out.extend_from_slice(host.as_bytes()),
                // Another scheme has another port; the client's own is that of the old one.
                None if scheme != own => out.extend_from_slice(request.host()),
                None => out.extend_from_slice(request.authority()),
            }
        }
        match &self.to {
            Some(to) => to.render(x, out)?,
            None => out.extend_from_slice(request.path()),
        }
        // As for a rewritten path: the client's query goes on unless the template has one of its own.
        let own_query = self.to.as_ref().is_some_and(Template::has_query);
        if let Some(query) = request.query().filter(|_| self.keep_query && !own_query) {
            self.withheld.query(query, b"?", |piece| out.extend_from_slice(piece));
        }
        Ok(())
    }
}
