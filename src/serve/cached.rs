//! A request on a route with a cache: answered from the store, or by the origin through it (RFC 9111 §4).
//!
//! A hit allocates nothing and waits for nobody. Everything else is rare and lives in a future of its own. One
//! fetch answers all who ask for the same meanwhile; who cannot use its answer goes on alone. What is stale is never used unless somebody
//! allowed it: the origin, the operator, the client, or the origin's absence (§4.2.4).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use crate::base::limits::CACHE_FLIGHT_WAIT;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::cached::Cached;
use crate::exchange::fault::{Fault, FaultKind, Side};
use crate::http::caching::Use;
use crate::http::caching::directives::RequestControl;
use crate::http::conditional;
use crate::http::framing::BodyLength;
use crate::http::names::FieldName;
use crate::http::{Method, Status};
use crate::policy::cache::Cache;
use crate::policy::cache_status::{CacheStatus, Forwarded};
use crate::policy::stored::{Key, Stored};
use crate::runtime::Runtime;
use crate::runtime::deadline::Elapsed;
use crate::serve::answer::{self, Local};
use crate::serve::attempt::Lease;
use crate::serve::body::BodyReader;
use crate::serve::collapse::{Lead, Role};
use crate::serve::exchange::settle;
use crate::serve::fill::{End, Errand, Fill};
use crate::serve::forward::{self, Passage};
use crate::serve::outgoing::Outgoing;
use crate::serve::watch::Watch;
use crate::serve::work::ResponseScratch;
use crate::serve::{Core, hit, renew};

/// How a request stands to the store.
enum Look {
    /// This answers it.
    Hit(Arc<Stored>, CacheStatus),
    /// This answers it, and a new one is fetched beside it (RFC 5861 §3).
    Renew(Arc<Stored>, CacheStatus, Box<Errand>),
    /// The origin is asked.
    Ask(Box<Errand>),
    /// The client wants no answer but a stored one, and there is none (RFC 9111 §5.2.1.7).
    Nothing,
    /// The store has no part in it.
    Pass,
}

/// Rounds of waiting for others before a request goes on alone: each ends with a fetch that brought nothing.
pub(super) const ROUNDS_MAX: usize = 3;

/// Answers a request from the store, or asks the origin.
///
/// # Errors
/// As `forward::run`.
pub async fn run<R: Runtime>(
    cache: &Cache,
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    let core = passage.core;
    // Nothing was waited for since the target was found.
    let now = x.timeline.target.unwrap_or_else(|| core.runtime.now());
    let (stored, told) = match look(core, cache, x, passage.upgrade.is_some(), now) {
        Look::Hit(stored, told) => (stored, told),
        Look::Renew(stored, told, errand) => {
            renew::begin(cache, passage, x, *errand);
            (stored, told)
        }
        Look::Ask(errand) => {
            return Box::pin(ask(cache, passage, &errand, x, scratch, incoming, outgoing)).await;
        }
        Look::Nothing => {
            settle(incoming, outgoing);
            nothing(core, x, outgoing).await;
            return Ok(None);
        }
        Look::Pass => {
            let told = CacheStatus { forwarded: Some(Forwarded::Bypass), ..CacheStatus::default() };
            x.cached = Some(told.word());
            return forward::run(passage, x, scratch, incoming, outgoing).await;
        }
    };
    settle(incoming, outgoing);
    outgoing.known = Some(now);
    hit::answer(core, x, &stored, told, outgoing).await?;
    Ok(None)
}

/// Looks a request up.
fn look<R: Runtime>(
    core: &Core<R>,
    cache: &Cache,
    x: &Exchange,
    upgrade: bool,
    now: Instant,
) -> Look {
    let method = x.head.method;
    let asks = matches!(method, Method::Get | Method::Head) && x.head.body == BodyLength::None;
    let changes = !matches!(method, Method::Get | Method::Head | Method::Options | Method::Trace);
    if upgrade || !(asks || changes) {
        return Look::Pass;
    }
    let control = cache.control(x.request());
    core.cache.with(&cache.machine, core.seat(), |room| {
        room.key.clear();
        let Some(url) = cache.write_key(x, &mut room.key) else { return Look::Pass };
        let hash = cache.machine.hash(&room.key);
        let errand = |stored, why, bytes: &[u8]| {
            let key = Arc::new(Key { bytes: bytes.into(), url, hash });
            Box::new(Errand { key, stored, control, asking: cache.asking(x, control), why })
        };
        if changes {
            return Look::Ask(errand(None, Forwarded::Method, &room.key));
        }
        room.store.listen();
        let found = room.store.find(hash, &room.key, x.request());
        let Some(stored) = found else {
            if control.only_if_cached {
                return Look::Nothing;
            }
            return Look::Ask(errand(None, Forwarded::UriMiss, &room.key));
        };
        if control.no_store && !control.only_if_cached {
            // Nothing of this exchange is to be kept, and what is kept is nothing to it.
            return Look::Ask(errand(None, Forwarded::Request, &room.key));
        }
        let told = CacheStatus::hit(stored.freshness.lifetime, stored.freshness.age(now));
        match stored.freshness.usable(&control, now) {
            Use::Fresh => Look::Hit(stored, told),
            Use::WhileRevalidating => {
                let errand = errand(Some(stored.clone()), Forwarded::Stale, &room.key);
                Look::Renew(stored, told, errand)
            }
            _ if control.only_if_cached => Look::Nothing,
            Use::IfError | Use::Never => {
                let stale = stored.freshness.age(now) >= stored.freshness.lifetime;
                let why = if stale { Forwarded::Stale } else { Forwarded::Request };
                Look::Ask(errand(Some(stored), why, &room.key))
            }
        }
    })
}

/// Asks the origin, unless another request does already.
async fn ask<R: Runtime>(
    cache: &Cache,
    passage: &Passage<'_, R>,
    errand: &Errand,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    let core = passage.core;
    let until = x.deadline.min(core.runtime.now() + CACHE_FLIGHT_WAIT);
    let mut lead = None;
    if may_wait(errand, x) {
        for _ in 0..ROUNDS_MAX {
            match core.cache.flights.join(&cache.machine, errand.key.hash) {
                Role::Leads(leads) => {
                    lead = Some(leads);
                    break;
                }
                Role::Alone => break,
                Role::Follows(flight) => wait(core, passage.watch, until, flight.over()).await?,
                Role::Watches(watch) => {
                    wait(core, passage.watch, until, watch.watch(core, until)).await?;
                }
            }
            if let Look::Hit(stored, told) = look(core, cache, x, false, core.runtime.now()) {
                settle(incoming, outgoing);
                let told = CacheStatus { collapsed: true, ..told };
                hit::answer(core, x, &stored, told, outgoing).await?;
                return Ok(None);
            }
            if core.runtime.now() >= until {
                break;
            }
        }
    }
    fetch(cache, passage, errand, lead.as_ref(), x, scratch, incoming, outgoing).await
}

/// Whether another request's answer could be this one's: one with conditions of its own, or that wants a
/// part, gets what others cannot use.
fn may_wait(errand: &Errand, x: &Exchange) -> bool {
    let request = x.request();
    let own = errand.stored.is_none()
        && (conditional::is_conditional(request) || request.field(FieldName::Range).is_some());
    let RequestControl { no_store, no_cache, max_age, .. } = errand.control;
    x.head.method == Method::Get
        && !own
        && !no_store
        && !no_cache
        && max_age.is_none()
        && errand.why != Forwarded::Method
}

/// Waits for another request's fetch, as long as the client is there.
pub(super) async fn wait<R: Runtime>(
    core: &Core<R>,
    client: &Watch<'_, R>,
    until: Instant,
    end: impl Future<Output = ()>,
) -> Result<(), Fault> {
    let slot = core.deadlines.slot();
    let end = pin!(end);
    let waited = client.over(pin!(slot.within(until, end))).await?;
    // Too late is as good as over: the request goes on by itself.
    let _: Result<(), Elapsed> = waited;
    Ok(())
}

/// Asks the origin, and answers with what comes of it.
#[expect(
    clippy::too_many_arguments,
    reason = "both directions of an exchange and what the store says"
)]
async fn fetch<R: Runtime>(
    cache: &Cache,
    passage: &Passage<'_, R>,
    errand: &Errand,
    lead: Option<&Lead<'_>>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    let core = passage.core;
    let fill = Fill::new(core, cache, errand, lead);
    let through = Passage { fill: Some(&fill), ..*passage };
    let reply_fields = x.reply_fields.as_bytes().len();
    let result = forward::run(&through, x, scratch, incoming, outgoing).await;
    let end = fill.end.take();
    let now = core.runtime.now();
    let (stored, told) = match (result, end) {
        (Ok(None), End::Validated(stored)) => {
            let hit = CacheStatus::hit(stored.freshness.lifetime, stored.freshness.age(now));
            let forwarded = Some(errand.why);
            let origin = Some(Status(304));
            (stored, CacheStatus { forwarded, origin, stored: true, ..hit })
        }
        (Ok(None), End::Failed(status)) => {
            fill.fails();
            let Some(stored) = errand.stored.clone() else { return Ok(None) };
            let hit = CacheStatus::hit(stored.freshness.lifetime, stored.freshness.age(now));
            (stored, CacheStatus { origin: Some(status), detail: "stale_if_error", ..hit })
        }
        (Err(fault), _) => {
            fill.fails();
            let Some(stored) = errand.stored.clone().filter(|stored| {
                !outgoing.begun
                    && is_absence(&fault)
                    && cache.stands_in(stored, &errand.control, now)
            }) else {
                return Err(fault);
            };
            let hit = CacheStatus::hit(stored.freshness.lifetime, stored.freshness.age(now));
            (stored, CacheStatus { detail: "stale_unreachable", ..hit })
        }
        (result, End::Relayed) => return result,
        (result, _) => return result,
    };
    x.reply_fields.cut(reply_fields);
    settle(incoming, outgoing);
    hit::answer(core, x, &stored, told, outgoing).await?;
    Ok(None)
}

/// Whether the origin gave no answer at all.
fn is_absence(fault: &Fault) -> bool {
    fault.side == Side::Upstream || fault.kind == FaultKind::ConnectionLimitReached
}

/// 504: nothing stored answers (RFC 9111 §5.2.1.7).
pub(super) async fn nothing<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    outgoing: &mut Outgoing<'_, R>,
) {
    x.cached = Some(Cached::Miss);
    x.reason = "only_if_cached";
    let fields = b"cache-control: no-store\r\ncache-status: ringway; detail=only-if-cached\r\n";
    let local = Local { status: Status(504), fields, kind: "", body: b"" };
    answer::send(core, x, local, outgoing).await;
}
