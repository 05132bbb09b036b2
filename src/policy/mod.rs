//! May this exchange pass? One file per policy; each decides from values and says a [`Verdict`].
//!
//! A policy never performs I/O, never reads a clock and never knows another policy. The order of the
//! variants of [`Policy`] is the order of execution: a limit whose key needs no proven identity stands
//! before authentication, so that a flood of bad tokens is refused before a signature is checked.

pub mod allow;
pub mod api_key;
pub mod auth_request;
pub mod basic;
pub mod bearer;
pub mod cache;
pub mod cache_status;
pub mod claims;
pub mod client_cert;
pub mod compress;
pub mod concurrency;
pub mod cors;
pub mod file_cell;
pub mod fleet;
pub mod header_edit;
pub mod jose;
pub mod jwks;
pub mod jwt;
pub mod key_cell;
pub mod key_limit;
mod limit_key;
pub mod maintenance;
pub mod password;
pub mod rate_limit;
pub mod recoded;
pub mod revocation;
pub mod revoked_store;
pub mod slots;
pub mod store;
pub mod stored;

use crate::base::random::Rng;
use crate::base::time::{Instant, Wall};
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::policy::allow::{Allow, Networks};
use crate::policy::api_key::ApiKey;
use crate::policy::auth_request::AuthRequest;
use crate::policy::basic::Basic;
use crate::policy::bearer::Bearer;
use crate::policy::client_cert::ClientCerts;
use crate::policy::concurrency::Concurrency;
use crate::policy::rate_limit::{Limits, RateLimit};
use crate::policy::slots::Slots;

/// What may stop an exchange. The order of variants is the order of execution.
#[derive(Debug)]
pub enum Policy {
    /// Nobody may pass.
    Closed,
    /// From these networks only.
    Networks(Networks),
    /// Rate limits whose keys need no proven identity.
    ClientLimit(Limits),
    /// Client certificates.
    ClientCert(ClientCerts),
    /// API keys.
    ApiKey(ApiKey),
    /// Names and passwords.
    Basic(Basic),
    /// Bearer tokens.
    Jwt(Bearer),
    /// A service is asked.
    AuthRequest(AuthRequest),
    /// Scopes and claims.
    Allow(Allow),
    /// Rate limits whose keys, or costs, hold a claim.
    RateLimit(Limits),
    /// How many at once.
    Concurrency(Box<Concurrency>),
}

/// What a policy says on the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Stop; what the client shall know besides stands in `Exchange::reply_fields`.
    Refuse(Fault),
    /// Wait for a seat.
    Queue,
    /// Ask the store of the fleet.
    AskStore,
    /// Ask the service that decides.
    AskService,
    /// Ask me again in a few milliseconds, until the exchange's deadline.
    Wait,
}

/// What a policy may use besides the exchange: this moment, this core's dice, this core's memory.
pub struct Env<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock, for tokens.
    pub wall: Wall,
    /// Randomness that nobody gains by guessing.
    pub rng: &'a mut Rng,
    /// What policies remember on this core.
    pub slots: &'a mut Slots,
}

impl Policy {
    /// Limits, in the variants where they belong.
    pub fn limits(limits: Vec<RateLimit>) -> Vec<Policy> {
        let (behind, before): (Vec<_>, Vec<_>) =
            limits.into_iter().partition(RateLimit::needs_identity);
        let before = Some(before).filter(|limits| !limits.is_empty());
        let behind = Some(behind).filter(|limits| !limits.is_empty());
        let before = before.map(|limits| Self::ClientLimit(Limits::new(limits)));
        before
            .into_iter()
            .chain(behind.map(|limits| Self::RateLimit(Limits::new(limits))))
            .collect()
    }

    /// The policy's place in the order of execution; equal ones keep the order they were written in.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Networks(_) => 1,
            Self::ClientLimit(_) => 2,
            Self::ClientCert(_) | Self::ApiKey(_) => 3,
            Self::Basic(_) => 4,
            Self::Jwt(_) => 5,
            Self::AuthRequest(_) => 6,
            Self::Allow(_) => 7,
            Self::RateLimit(_) => 8,
            Self::Concurrency(_) => 9,
        }
    }

    /// Decides about a preflight of a request: it comes without credentials, and only what is asked before those
    /// holds for it as well.
    ///
    /// # Errors
    /// Nobody may pass, or not from this network.
    pub fn on_preflight(&self, x: &mut Exchange) -> Result<(), Fault> {
        let verdict = match self {
            Self::Closed => {
                x.reason = allow::CLOSED;
                refuse(FaultKind::HttpRequestDenied)
            }
            Self::Networks(networks) => networks.on_request(x),
            Self::Allow(allow) if allow.is_of_networks() => allow.on_request(x),
            _ => Verdict::Continue,
        };
        if let Verdict::Refuse(fault) = verdict { Err(fault) } else { Ok(()) }
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        match self {
            Self::Closed => {
                x.reason = allow::CLOSED;
                refuse(FaultKind::HttpRequestDenied)
            }
            Self::Networks(networks) => networks.on_request(x),
            Self::Allow(allow) => allow.on_request(x),
            Self::ClientLimit(limits) | Self::RateLimit(limits) => limits.on_request(x, env),
            Self::ClientCert(certs) => certs.on_request(x, env.wall),
            Self::ApiKey(keys) => keys.on_request(x, env),
            Self::Basic(users) => users.on_request(x, env),
            Self::Jwt(jwt) => jwt.on_request(x, env),
            Self::AuthRequest(service) => service.on_request(x, env),
            Self::Concurrency(limit) => limit.on_request(x, env),
        }
    }
}

/// The refusal of a policy for a reason that lies with the client.
fn refuse(kind: FaultKind) -> Verdict {
    Verdict::Refuse(Fault { kind, side: Side::Downstream, again: Again::Never })
}
