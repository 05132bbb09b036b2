//! One way through the house: policies, then a target.
//!
//! A route never names anything: ids of the same `Gateway` only.

use std::time::Duration;

use crate::base::ids::UpstreamId;
use crate::base::name::Name;
use crate::exchange::reply::Reply;
use crate::exchange::template::Template;
use crate::gateway::answering::Answering;
use crate::gateway::view::Merge;
use crate::http::Status;
use crate::policy::Policy;
use crate::policy::header_edit::HeaderEdits;

/// A route, compiled.
pub struct Route {
    /// As written, or its `match`; the label operators see.
    pub name: Name,
    /// In execution order.
    pub policies: Box<[Policy]>,
    /// What it leads to.
    pub target: Target,
    /// What it does to every answer.
    pub answering: Option<Box<Answering>>,
    /// Fields of the request that are sent on otherwise than received.
    pub request_edits: Option<Box<HeaderEdits>>,
    /// From the whole request to the head of the response.
    pub timeout: Duration,
    /// How long an origin may pause while it sends a body or takes one; `None`: the upstream's.
    pub idle_timeout: Option<Duration>,
    /// Further attempts after the first; `None`: the upstream's.
    pub retries: Option<u32>,
    /// How many of a hundred calls of a `forward` may be sent a second time when they are late; `None`: none.
    pub hedge_percent: Option<u32>,
    /// Largest request body. Unit: bytes.
    pub body_bytes_max: u64,
    /// How much of a request's body is waited for before an origin is asked; zero for none. Unit: bytes.
    pub buffer_request_bytes: u64,
    /// Protocols that HTTP may be left for, as they stand in Upgrade.
    pub upgrades: Box<[Name]>,
    /// How long a tunnel may be silent, and a receiver in it may take nothing.
    pub tunnel_idle_timeout: Duration,
}

/// What a route leads to.
pub enum Target {
    /// One upstream.
    Forward(Forward),
    /// Several, merged.
    Aggregate(Merge),
    /// Somewhere else.
    Redirect(Redirect),
    /// A fixed reply.
    Respond(Reply),
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
    /// The Location.
    pub to: Template,
    /// The status, 3xx.
    pub status: Status,
}
