//! The arithmetic of caching (RFC 9111, RFC 5861): may this be stored, how long is it fresh, how old is it.
//!
//! It is a shared cache's arithmetic: what is private to one user is never stored, whoever asks. It never
//! guesses unasked: without explicit freshness nothing is stored unless the caller brings a lifetime of its own
//! or allows heuristic freshness (RFC 9111 §4.2.2), and of freshness that is said twice in one way the first
//! counts (§4.2.1). No store, no clock: instants and seconds are handed in.

pub mod directives;

use std::time::Duration;

use crate::base::limits::CACHE_HEURISTIC_MAX;
use crate::base::time::{Instant, Wall};
use crate::http::caching::directives::{RequestControl, ResponseControl};
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::http::{Method, Status, date};

/// Longer than anything is kept: what `max-stale` without a value, or an overflow, counts as
/// (RFC 9111 §1.2.2 names 2^31 seconds).
pub const LONGEST: Duration = Duration::from_secs(1 << 31);

/// Why a response is not stored. The word goes to logs and to Cache-Status as a `detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Only answers to GET are stored.
    Method,
    /// Not a final status that a cache of whole responses can use again.
    Status,
    /// `no-store`, said by either side (RFC 9111 §5.2.1.5, §5.2.2.5).
    NoStore,
    /// `private` (RFC 9111 §5.2.2.7).
    Private,
    /// The request has credentials and the response does not allow sharing (RFC 9111 §3.5).
    Authorization,
    /// `Vary: *` (RFC 9111 §4.1).
    Vary,
    /// It sets a cookie and does not call itself `public`: a cookie belongs to one user (RFC 9111 §7.3).
    Cookie,
    /// Nothing says how long it is fresh.
    NoFreshness,
    /// It is larger than what is stored.
    Size,
}

impl WhyNot {
    /// The word in logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::NoStore => "no_store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::Cookie => "cookie",
            Self::NoFreshness => "no_freshness",
            Self::Size => "size",
        }
    }
}

/// What of a request matters for storing its response.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Its method.
    pub method: Method,
    /// Whether it carries Authorization.
    pub authorization: bool,
    /// Its directives.
    pub control: RequestControl,
}

/// When a request was sent and its response's head received.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the request was sent.
    pub sent: Instant,
    /// When the head of the response was here.
    pub received: Instant,
    /// The wall clock at that moment.
    pub wall: Wall,
}

/// How long a stored response may be used, and on which terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How long it is fresh after the origin made it (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// Its age when it was received (RFC 9111 §4.2.3, `corrected_initial_age`).
    pub initial_age: Duration,
    /// When it was received.
    pub received: Instant,
    /// How long after that it may still be used while a new one is fetched (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long it may still be used when the origin fails (RFC 5861 §4).
    pub stale_if_error: Duration,
    /// Never to be used stale, whatever anybody allows (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.4).
    pub strict: bool,
    /// To be validated before every use (RFC 9111 §5.2.2.4).
    pub always_validate: bool,
}

/// What may be done with a stored response now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It answers the request.
    Fresh,
    /// It answers the request, and a new one is fetched beside it (RFC 5861 §3).
    WhileRevalidating,
    /// A new one has to be asked for; should that fail, the stored one may answer (RFC 5861 §4).
    IfError,
    /// A new one has to be asked for.
    Never,
}

/// What the operator says beside the origin of whole responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// A lifetime in place of the origin's, for what succeeded.
    pub ttl: Option<Duration>,
    /// The same for what is not there: 404, 405, 410, 414 and 501.
    pub negative: Option<Duration>,
    /// Whether a response that says nothing of its freshness is fresh for a tenth of its age since
    /// Last-Modified (RFC 9111 §4.2.2).
    pub heuristic: bool,
    /// Whether a response that sets a cookie is stored; `None`: if the origin says how long it is fresh, for
    /// then RFC 9111 §7.3 leaves it to the origin to forbid it.
    pub cookies: Option<bool>,
}

/// Whether a response to GET may be stored by a shared cache (RFC 9111 §3), and its freshness then. `ttl` is a
/// lifetime that the operator sets: it takes the place of the origin's, and of a missing one, but not of
/// what forbids storing. Qualified `no-cache` and `private` count as unqualified.
///
/// # Errors
/// Why it may not.
pub fn storable(
    asking: &Asking,
    response: Response<'_>,
    times: &Times,
    ttl: Option<Duration>,
) -> Result<Freshness, WhyNot> {
    let control = ResponseControl::of(response.all(FieldName::CacheControl));
    let status = response.head.status;
    if asking.method != Method::Get {
        return Err(WhyNot::Method);
    }
    if !(is_stored(status) || (control.public && is_final(status))) {
        return Err(WhyNot::Status);
    }
    check_shared(asking, response, &control, control.private)?;
    if !control.public && response.field(FieldName::SetCookie).is_some() {
        return Err(WhyNot::Cookie);
    }
    let lifetime = match ttl {
        Some(ttl) => ttl,
        None => lifetime(&control, response, times).ok_or(WhyNot::NoFreshness)?,
    };
    Ok(freshness(lifetime, &control, response, times, control.no_cache))
}

/// The same for a store that can leave out single fields, on these terms: any final status is stored if the
/// origin says how long it is fresh.
///
/// # Errors
/// Why it may not.
pub fn assess(
    asking: &Asking,
    response: Response<'_>,
    times: &Times,
    terms: &Terms,
) -> Result<Freshness, WhyNot> {
    let control = ResponseControl::of(response.all(FieldName::CacheControl));
    let status = response.head.status;
    if asking.method != Method::Get {
        return Err(WhyNot::Method);
    }
    if !is_final(status) || (control.must_understand && !is_understood(status)) {
        return Err(WhyNot::Status);
    }
    check_shared(asking, response, &control, control.private_whole)?;
    let set = match status.0 {
        200 | 203 | 204 | 300 | 301 | 308 => terms.ttl,
        404 | 405 | 410 | 414 | 501 => terms.negative,
        _ => None,
    };
    let said = || lifetime(&control, response, times);
    let explicit = set.is_none() && said().is_some();
    let cookie = response.field(FieldName::SetCookie).is_some();
    if cookie && !control.public && !terms.cookies.unwrap_or(explicit) {
        return Err(WhyNot::Cookie);
    }
    let guessable = terms.heuristic && (is_stored(status) || control.public);
    let guessed = || guess(response, times).filter(|_| guessable);
    let lifetime = set.or_else(said).or_else(guessed);
    // Without a lifetime it may still be of use: as something to ask about (RFC 9111 §4.3.1).
    let asked_about = || {
        let validated = response.field(FieldName::Etag).is_some()
            || response.head.fields.named(b"last-modified", response.raw).next().is_some();
        (validated && control.no_cache_whole && is_stored(status)).then_some(Duration::ZERO)
    };
    let lifetime = lifetime.or_else(asked_about).ok_or(WhyNot::NoFreshness)?;
    Ok(freshness(lifetime, &control, response, times, control.no_cache_whole))
}

/// Whether the origin says how long a response is fresh.
pub fn is_explicit(response: Response<'_>, times: &Times) -> bool {
    let control = ResponseControl::of(response.all(FieldName::CacheControl));
    lifetime(&control, response, times).is_some()
}

/// What forbids a shared cache to store (RFC 9111 §3, §3.5).
fn check_shared(
    asking: &Asking,
    response: Response<'_>,
    control: &ResponseControl,
    private: bool,
) -> Result<(), WhyNot> {
    // Who understands the status need not heed the fallback for those who do not (RFC 9111 §5.2.2.3).
    let no_store =
        control.no_store && !(control.must_understand && is_understood(response.head.status));
    if no_store || asking.control.no_store {
        return Err(WhyNot::NoStore);
    }
    if private {
        return Err(WhyNot::Private);
    }
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if asking.authorization && !shared {
        return Err(WhyNot::Authorization);
    }
    let mut vary = response.all(FieldName::Vary);
    if vary.any(|value| crate::http::chars::list(value).any(|name| name == b"*")) {
        return Err(WhyNot::Vary);
    }
    Ok(())
}

fn freshness(
    lifetime: Duration,
    control: &ResponseControl,
    response: Response<'_>,
    times: &Times,
    always_validate: bool,
) -> Freshness {
    Freshness {
        lifetime,
        initial_age: initial_age(response, times),
        received: times.received,
        stale_while_revalidate: control.stale_while_revalidate.unwrap_or_default(),
        stale_if_error: control.stale_if_error.unwrap_or_default(),
        strict: control.must_revalidate || control.proxy_revalidate || control.s_maxage.is_some(),
        always_validate,
    }
}

/// Whether a response may be given to several who asked the same at the same time, stored or not: nothing in
/// it says that it belongs to one of them (RFC 9111 §4, §5.2.2.5, §5.2.2.7, §4.1, §7.3).
pub fn may_be_shared(response: Response<'_>) -> bool {
    let fields = &response.head.fields;
    let control = ResponseControl::of(fields.all(FieldName::CacheControl, response.raw));
    let mut vary = fields.all(FieldName::Vary, response.raw).flat_map(crate::http::chars::list);
    let cookie = fields.find(FieldName::SetCookie, response.raw).is_some();
    !control.no_store
        && !control.private
        && !vary.any(|name| name == b"*")
        && (!cookie || control.public)
}

impl Freshness {
    /// Its age at `now` (RFC 9111 §4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
    }

    /// Whether it may stand in at `now` for an origin that cannot be reached at all, for `window` behind its
    /// freshness (RFC 9111 §4.2.4).
    pub fn stands_in(&self, control: &RequestControl, window: Duration, now: Instant) -> bool {
        let stale_for = self.age(now).saturating_sub(self.lifetime);
        !self.strict && !self.always_validate && !control.no_cache && stale_for <= window
    }

    /// What may be done with it at `now` for a request with these directives (RFC 9111 §4.2, §5.2.1).
    pub fn usable(&self, control: &RequestControl, now: Instant) -> Use {
        let age = self.age(now);
        let demanded = control.max_age.is_none_or(|max| age <= max)
            && control.min_fresh.is_none_or(|min| age.saturating_add(min) <= self.lifetime);
        if age < self.lifetime && demanded && !self.always_validate && !control.no_cache {
            return Use::Fresh;
        }
        let stale_for = age.saturating_sub(self.lifetime);
        if self.strict || self.always_validate || control.no_cache {
            return Use::Never;
        }
        if control.max_stale.is_some_and(|max| stale_for <= max) && demanded {
            return Use::Fresh;
        }
        // Zero is no window at all: at the very end of its lifetime it is stale already.
        let within = |window: Duration| !window.is_zero() && stale_for <= window;
        if demanded && within(self.stale_while_revalidate) {
            return Use::WhileRevalidating;
        }
        let allowed = control.stale_if_error.unwrap_or_default().max(self.stale_if_error);
        if within(allowed) { Use::IfError } else { Use::Never }
    }
}

/// Final statuses whose whole responses are used again without being told so: those of RFC 9110 §15.1
/// but 206, which is a part.
fn is_stored(status: Status) -> bool {
    matches!(status.0, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Statuses whose meaning for a cache is known here (RFC 9110 §15, RFC 9111 §5.2.2.3).
fn is_understood(status: Status) -> bool {
    is_stored(status) || matches!(status.0, 302 | 303 | 307 | 400 | 401 | 403 | 500 | 502..=504)
}

/// Any final status that stands for itself: explicit freshness or `public` makes it storable (RFC 9111 §3).
fn is_final(status: Status) -> bool {
    status.0 >= 200 && !matches!(status.0, 206 | 304)
}

/// The origin's lifetime: `s-maxage`, else `max-age`, else Expires (RFC 9111 §4.2.1).
fn lifetime(control: &ResponseControl, response: Response<'_>, times: &Times) -> Option<Duration> {
    if let Some(said) = control.s_maxage.or(control.max_age) {
        return Some(said);
    }
    let now = times.wall.as_secs();
    let fields = &response.head.fields;
    let expires = fields.find(FieldName::Expires, response.raw)?;
    let made = date_of(response, now).unwrap_or(now);
    // A date that cannot be read, `0` above all, has passed (RFC 9111 §5.3); of several the first counts.
    let until = date::parse_in_any_case(expires, now).unwrap_or(0);
    Some(Duration::from_secs(until.saturating_sub(made)))
}

/// A tenth of the time since it was modified (RFC 9111 §4.2.2).
fn guess(response: Response<'_>, times: &Times) -> Option<Duration> {
    let now = times.wall.as_secs();
    let modified = response.head.fields.named(b"last-modified", response.raw).next()?;
    let modified = date::parse_in_any_case(modified, now)?;
    let made = date_of(response, now).unwrap_or(now);
    let since = Duration::from_secs(made.saturating_sub(modified));
    Some((since / 10).min(CACHE_HEURISTIC_MAX))
}

/// `corrected_initial_age` (RFC 9111 §4.2.3).
fn initial_age(response: Response<'_>, times: &Times) -> Duration {
    let now = times.wall.as_secs();
    let made = date_of(response, now).unwrap_or(now);
    let apparent = Duration::from_secs(now.saturating_sub(made));
    let age = response.head.fields.find(FieldName::Age, response.raw);
    // The first member counts; an Age that cannot be read is none (RFC 9111 §5.1).
    let first = age.and_then(|value| value.split(|&byte| byte == b',').next());
    let said = first.and_then(|text| directives::seconds(crate::http::chars::trim(text)));
    let corrected = said.unwrap_or_default() + times.received.since(times.sent);
    apparent.max(corrected)
}

/// The Date field; of a response without one, and of one from the future, the clock's time is better.
fn date_of(response: Response<'_>, now: u64) -> Option<u64> {
    let value = response.head.fields.find(FieldName::Date, response.raw)?;
    date::parse_in_any_case(value, now)
}

#[cfg(test)]
mod tests;
