//! When a part's answer may be used again, and for which requests.
//!
//! The key is everything that the part's request is made of: its bytes, with what the client's own fields,
//! parameters and token put into them, what the plan makes of the answer, and the upstream. Only what differs
//! from request to request and never selects an answer is left out: `host`, the time that is left, trace and
//! request id. Two clients never share an answer unless their requests could not be told apart. What an origin
//! forbids is never stored, whatever the configuration says (RFC 9111 §3); its words on time (§4.2, RFC 5861)
//! give way to the operator's.

use std::time::Duration;

use crate::aggregate::partial::PartFault;
use crate::aggregate::plan::{Part, Plan};
use crate::aggregate::request::{self, Envelope};
use crate::base::limits::PART_KEY_BYTES_MAX;
use crate::exchange::Exchange;
use crate::exchange::template::{PartValues, RenderError, Sink};
use crate::http::caching::directives::RequestControl;
use crate::http::caching::{self, Asking, Freshness, Times, WhyNot};
use crate::http::chars;
use crate::http::etag::Etag;
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::http::{Method, Status};

/// What a part's `cache` and `else_stale` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRule {
    /// Whether answers that are fresh stand for new ones: `cache`.
    pub fresh: Option<Lifetime>,
    /// How long after its freshness the last answer may stand in for a failure: `else_stale`.
    pub else_stale: Duration,
}

/// How long an answer is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As the origin says.
    Origin,
    /// As the configuration says.
    Set {
        /// How long it is fresh.
        ttl: Duration,
        /// How long after that it is used while a new one is fetched.
        stale_while_revalidate: Duration,
        /// How long after that it may stand in for a failure.
        stale_if_error: Duration,
    },
}

impl CacheRule {
    /// Whether an answer may be stored, and on which terms.
    ///
    /// # Errors
    /// Why not.
    pub fn store(
        &self,
        authorization: bool,
        response: Response<'_>,
        times: &Times,
    ) -> Result<Freshness, WhyNot> {
        if varies(response) {
            return Err(WhyNot::Vary);
        }
        // The operator's word on time holds for requests with Authorization, too: the token is in the key.
        let storable = |authorization, ttl| {
            let asking =
                Asking { method: Method::Get, authorization, control: RequestControl::default() };
            caching::storable(&asking, response, times, ttl)
        };
        let kept = || storable(false, Some(Duration::ZERO));
        let mut freshness = match self.fresh {
            None => kept()?,
            Some(Lifetime::Origin) => match storable(authorization, None) {
                Err(WhyNot::NoFreshness | WhyNot::Authorization) if !self.else_stale.is_zero() => {
                    kept()?
                }
                other => other?,
            },
            Some(Lifetime::Set { ttl, stale_while_revalidate, stale_if_error }) => {
                let freshness = storable(false, Some(ttl))?;
                Freshness { stale_while_revalidate, stale_if_error, ..freshness }
            }
        };
        if self.fresh.is_none() {
            freshness.stale_while_revalidate = Duration::ZERO;
            freshness.stale_if_error = Duration::ZERO;
        }
        freshness.stale_if_error = freshness.stale_if_error.max(self.else_stale);
        Ok(freshness)
    }
}

/// Whether an answer may be given to others who asked the same at the same time: nothing says that it is one
/// user's, or one request's (RFC 9111 §4).
pub fn is_shareable(response: Response<'_>) -> bool {
    caching::may_be_shared(response) && !varies(response)
}

/// Whether an answer was selected by what differs with every request (RFC 9111 §4.1).
fn varies(response: Response<'_>) -> bool {
    let mut names = response.all(FieldName::Vary).flat_map(chars::list);
    names.any(|name| OF_ONE_REQUEST.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// Fields of a part's request that are no part of its key.
const OF_ONE_REQUEST: [&[u8]; 4] =
    [b"traceparent", b"tracestate", b"x-request-id", b"x-request-deadline-ms"];

/// Whether a stored answer may stand in for this failure (RFC 5861 §4): what the origin said on purpose, a
/// 404 for instance, always stands.
pub fn is_excused(fault: PartFault) -> bool {
    match fault {
        PartFault::Status(status) => status.0 >= 500,
        _ => true,
    }
}

/// Whether an answer tells that a stored one must not be used any more.
pub fn is_revoked(fault: PartFault) -> bool {
    match fault {
        PartFault::Status(Status(status)) => {
            (400..500).contains(&status) && !matches!(status, 408 | 429)
        }
        _ => false,
    }
}

/// What a part makes of an answer, told apart from what others do, in a few bytes.
pub(super) fn identity(part: &Part) -> Box<[u8]> {
    let told = format!(
        "{:?}",
        (
            (&part.target, &part.pick, &part.shape, part.flatten, &part.reply_headers),
            (&part.each, part.bytes_max, part.problem_passed, &part.cache),
        )
    );
    Etag::of(std::iter::once(told.as_bytes())).as_bytes().into()
}

/// A part's request with all that selects its answer.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    /// Where the request begins, behind what else the key is made of.
    request: usize,
}

impl Key {
    /// The key of a part's request; `space` tells upstreams apart, and clients where they are told to them.
    /// `None` if its request is not one that others could share, or too long.
    ///
    /// # Errors
    /// A value is missing or unfit.
    pub fn of(
        plan: &Plan,
        part: &Part,
        x: &Exchange,
        parts: PartValues<'_>,
        space: &[u8],
    ) -> Result<Option<Self>, RenderError> {
        if part.method != Method::Get {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&part.identity);
        bytes.extend_from_slice(&(space.len() as u64).to_be_bytes());
        bytes.extend_from_slice(space);
        let request = bytes.len();
        let (host, left, added) = (&b""[..], Duration::ZERO, &b""[..]);
        let envelope = Envelope { host, left, added, parts, client_body_bytes: 0 };
        request::write(plan, part, x, &envelope, &mut bytes)?;
        Ok((bytes.len() <= PART_KEY_BYTES_MAX).then_some(Self { bytes, request }))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What of it is the same for all requests of the part.
    pub fn part(&self) -> &[u8] {
        &self.bytes[..self.request]
    }

    /// Whether the request carries Authorization.
    pub fn has_authorization(&self) -> bool {
        let lines = self.bytes[self.request..].split(|byte| *byte == b'\n');
        let mut names = lines.map(|line| line.split(|byte| *byte == b':').next().unwrap_or(line));
        names.any(|name| name.eq_ignore_ascii_case(b"authorization"))
    }

    /// Writes the request, with what this call adds to it: the same bytes as [`request::write`].
    ///
    /// # Errors
    /// `out` is full.
    pub fn write<S: Sink>(
        &self,
        part: &Part,
        envelope: &Envelope<'_>,
        out: &mut S,
    ) -> Result<(), RenderError> {
        let request = &self.bytes[self.request..];
        // A target has no line end in it.
        let line = request.iter().position(|byte| *byte == b'\r').unwrap_or(request.len());
        let host = line + b"\r\nhost: ".len();
        let number =
            host + b"\r\n".len() + part.constant_fields.len() + b"x-request-deadline-ms: ".len();
        let rest = number + b"0\r\n".len();
        let left = u64::try_from(envelope.left.as_millis()).unwrap_or(u64::MAX);
        let mut digits = itoa::Buffer::new();
        let pieces = [
            &request[..host],
            envelope.host,
            &request[host..number],
            digits.format(left).as_bytes(),
            b"\r\n",
            envelope.added,
            &request[rest..],
        ];
        let fits = pieces.iter().all(|piece| out.put(piece));
        if fits { Ok(()) } else { Err(RenderError::Full) }
    }
}

#[cfg(test)]
mod tests;
