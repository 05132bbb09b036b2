//! A merged answer used again: found by everything that its parts' requests are made of (RFC 9111 §4).
//!
//! The key holds the address, the view, who was proven to ask, and the request of every part as it would be sent, with
//! what the client's fields, parameters and token put into it. What parts take from each other's answers follows from
//! these. So two clients never share an answer unless not a byte of what origins are asked could tell them apart. Only
//! whole answers are kept: a part that is missing, stands in, or forbids it (RFC 9111 §3) leaves nothing behind, and
//! no answer is ever used stale.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::cache::{CacheRule, Key as PartKey, Lifetime};
use crate::base::limits::{CACHE_FLIGHT_WAIT, CACHE_KEY_BYTES_MAX};
use crate::base::span::Span;
use crate::exchange::Exchange;
use crate::exchange::cached::Cached;
use crate::exchange::fault::Fault;
use crate::exchange::template::PartValues;
use crate::gateway::view::Merge;
use crate::http::caching::directives::RequestControl;
use crate::http::caching::{Freshness, LONGEST, Times, Use};
use crate::http::framing::BodyLength;
use crate::http::head::Response;
use crate::http::{Method, Status, date};
use crate::net::proxy_protocol::Endpoints;
use crate::policy::cache::{Cache, write_identity};
use crate::policy::cache_status::{CacheStatus, Forwarded};
use crate::policy::store::Moment;
use crate::policy::stored::{Key, Making, Stored};
use crate::runtime::Runtime;
use crate::serve::body::BodyReader;
use crate::serve::cached::{ROUNDS_MAX, nothing, wait};
use crate::serve::collapse::{Lead, Role};
use crate::serve::exchange::{Way, merged, settle};
use crate::serve::outgoing::Outgoing;
use crate::serve::{Core, Installed, hit, part_cache, proxy_header};

/// How a request stands to the store.
enum Look {
    Hit(Arc<Stored>, CacheStatus),
    Ask(Arc<Key>, Forwarded),
    Nothing,
    Pass,
}

/// What the parts' answers allow, gathered while they come.
pub struct Sharing {
    allowed: Cell<bool>,
    left: Cell<Duration>,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { allowed: Cell::new(true), left: Cell::new(LONGEST) }
    }
}

impl Sharing {
    /// An answer of which others may have what is made of it, for so long as the origin says.
    pub fn note(&self, left: Duration) {
        self.left.set(self.left.get().min(left));
    }

    /// One of which nobody else may have anything.
    pub fn forbid(&self) {
        self.allowed.set(false);
    }

    /// An answer that a core keeps for its part.
    pub fn note_kept(&self, freshness: &Freshness, now: crate::base::time::Instant) {
        self.note(freshness.lifetime.saturating_sub(freshness.age(now)));
    }

    /// An answer from an origin.
    pub fn note_answer(&self, authorization: bool, response: Response<'_>, times: &Times) {
        let none = Duration::ZERO;
        let set = Lifetime::Set { ttl: none, stale_while_revalidate: none, stale_if_error: none };
        let store = |fresh| {
            let rule = CacheRule { fresh: Some(fresh), else_stale: none };
            rule.store(authorization, response, times).ok().filter(|terms| !terms.always_validate)
        };
        if store(set).is_none() {
            self.forbid();
        }
        let said = store(Lifetime::Origin);
        let left = |terms: Freshness| terms.lifetime.saturating_sub(terms.age(times.received));
        self.note(said.map_or(none, left));
    }
}

/// An answer that is to be kept once it is made.
pub struct Keeping<'a> {
    cache: &'a Cache,
    key: Arc<Key>,
    why: Forwarded,
    moment: Moment,
    lead: Option<&'a Lead<'a>>,
    /// What the parts allow.
    pub sharing: Sharing,
}

impl Keeping<'_> {
    /// Keeps a whole answer with these fields, if it may be kept; appends what Cache-Status says of it.
    pub fn take<'p, R: Runtime>(
        &self,
        core: &Core<R>,
        fields: &mut Vec<u8>,
        pieces: impl Iterator<Item = &'p [u8]>,
        bytes: usize,
    ) {
        let lifetime = self.cache.terms.ttl.unwrap_or(self.sharing.left.get());
        let kept = self.sharing.allowed.get()
            && !lifetime.is_zero()
            && bytes <= self.cache.object_bytes_max
            && self.store(core, fields, pieces, bytes, lifetime);
        if let Some(lead) = self.lead {
            lead.land(kept);
        }
        let (forwarded, detail) = (Some(self.why), if kept { "" } else { "parts" });
        let told = CacheStatus { forwarded, stored: kept, detail, ..CacheStatus::default() };
        fields.extend_from_slice(b"cache-status: ");
        told.write(&mut |piece| fields.extend_from_slice(piece));
        fields.extend_from_slice(b"\r\n");
    }

    fn store<'p, R: Runtime>(
        &self,
        core: &Core<R>,
        fields: &[u8],
        pieces: impl Iterator<Item = &'p [u8]>,
        bytes: usize,
        lifetime: Duration,
    ) -> bool {
        let (now, received) = (core.runtime.wall().as_secs(), core.runtime.now());
        let mut body = Vec::with_capacity(bytes);
        pieces.for_each(|piece| body.extend_from_slice(piece));
        let mut head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_vec();
        head.extend_from_slice(fields);
        let length = body.len().to_string();
        let lines = [
            b"date: ",
            &date::imf_fixdate(now)[..],
            b"\r\ncontent-length: ",
            length.as_bytes(),
            b"\r\n",
        ];
        lines.iter().for_each(|piece| head.extend_from_slice(piece));
        let (none, key, body) = (Duration::ZERO, self.key.clone(), Arc::new(body));
        let freshness = Freshness {
            lifetime,
            initial_age: none,
            received,
            stale_while_revalidate: none,
            stale_if_error: none,
            strict: true,
            always_validate: false,
        };
        let (vary, tags) = (Box::default(), Box::default());
        let status = Status(200);
        let making = Making { key, status, head, body, freshness, vary, tags, now };
        let stored = Arc::new(Stored::new(making, self.cache.machine.clone()));
        core.cache
            .with(&self.cache.machine, core.seat(), |room| room.store.insert(&stored, self.moment))
    }
}

/// Answers a request from the store, or asks the parts.
///
/// # Errors
/// As `fan_out::run`.
pub async fn run<R: Runtime>(
    cache: &Cache,
    way: &Way<'_, R>,
    merge: &Merge,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let core = way.core;
    let (key, why) = match look(way, cache, merge, x) {
        Look::Hit(stored, told) => {
            settle(incoming, outgoing);
            return hit::answer(core, x, &stored, told, outgoing).await;
        }
        Look::Ask(key, why) => (key, why),
        Look::Nothing => {
            settle(incoming, outgoing);
            nothing(core, x, outgoing).await;
            return Ok(());
        }
        Look::Pass => {
            x.cached = Some(Cached::Bypass);
            return merged(way, merge, x, incoming, outgoing, None).await;
        }
    };
    let until = x.deadline.min(core.runtime.now() + CACHE_FLIGHT_WAIT);
    let mut lead = None;
    if why != Forwarded::Request {
        for _ in 0..ROUNDS_MAX {
            match core.cache.flights.join(&cache.machine, key.hash) {
                Role::Leads(leads) => {
                    lead = Some(leads);
                    break;
                }
                Role::Alone => break,
                Role::Follows(flight) => wait(core, way.watch, until, flight.over()).await?,
                Role::Watches(watch) => {
                    wait(core, way.watch, until, watch.watch(core, until)).await?;
                }
            }
            if let Look::Hit(stored, told) = look(way, cache, merge, x) {
                settle(incoming, outgoing);
                let told = CacheStatus { collapsed: true, ..told };
                return hit::answer(core, x, &stored, told, outgoing).await;
            }
            if core.runtime.now() >= until {
                break;
            }
        }
    }
    let (moment, sharing) = (cache.machine.moment(key.hash), Sharing::default());
    let keeping = Keeping { cache, key, why, moment, lead: lead.as_ref(), sharing };
    x.cached = Some(Cached::Miss);
    let answered = pin!(merged(way, merge, x, incoming, outgoing, Some(&keeping))).await;
    if let Some(lead) = &lead {
        // What was not kept is of no use to those who wait; what was kept has landed already.
        lead.land(false);
    }
    answered
}

/// Looks a request up.
fn look<R: Runtime>(way: &Way<'_, R>, cache: &Cache, merge: &Merge, x: &Exchange) -> Look {
    let core = way.core;
    if !matches!(x.head.method, Method::Get | Method::Head) || x.head.body != BodyLength::None {
        return Look::Pass;
    }
    let control = cache.control(x.request());
    core.cache.with(&cache.machine, core.seat(), |room| {
        room.key.clear();
        let Some(url) = write_key(way.installed, cache, merge, x, &mut room.key) else {
            return Look::Pass;
        };
        let hash = cache.machine.hash(&room.key);
        room.store.listen();
        let found = room.store.find(hash, &room.key, x.request());
        let now = core.runtime.now();
        let usable = found.as_ref().map(|stored| stored.freshness.usable(&control, now));
        match (found, usable) {
            (Some(stored), Some(Use::Fresh)) if !control.no_store => {
                let told = CacheStatus::hit(stored.freshness.lifetime, stored.freshness.age(now));
                Look::Hit(stored, told)
            }
            _ if control.only_if_cached => Look::Nothing,
            // HEAD brings nothing to keep, and what is one client's wish is not kept for others.
            _ if x.head.method == Method::Head || control.no_store => Look::Pass,
            (found, _) => {
                let key = Arc::new(Key { bytes: room.key.as_slice().into(), url, hash });
                Look::Ask(key, why(found.as_deref(), &control, now))
            }
        }
    })
}

fn why(
    found: Option<&Stored>,
    control: &RequestControl,
    now: crate::base::time::Instant,
) -> Forwarded {
    let Some(stored) = found else { return Forwarded::UriMiss };
    let fresh = stored.freshness.usable(&RequestControl::default(), now) == Use::Fresh;
    let asked = control.no_cache || control.max_age.is_some() || control.min_fresh.is_some();
    if fresh && asked { Forwarded::Request } else { Forwarded::Stale }
}

/// Appends the key of a request; says where its address stands. `None` if there is none: it is too long, or a part's
/// request is not one that others could share.
fn write_key<R: Runtime>(
    installed: &Installed<R>,
    cache: &Cache,
    merge: &Merge,
    x: &Exchange,
    out: &mut Vec<u8>,
) -> Option<Span> {
    let url = cache.write_key(x, out)?;
    if let Some(identity) = &x.identity {
        write_identity(identity, out)?;
    }
    let chosen = x.view.as_ref().map(|view| usize::from(view.index));
    let view = merge.view(chosen);
    let client: Endpoints = proxy_header::ends(&x.client);
    for index in view.asked().iter() {
        let part = &merge.plan.parts[index];
        let space = part_cache::space(installed.gateway.upstream(part.upstream), &client);
        let key = PartKey::of(&merge.plan, part, x, PartValues::Unknown, &space).ok()??;
        out.extend_from_slice(&(key.bytes().len() as u64).to_be_bytes());
        out.extend_from_slice(key.bytes());
    }
    (out.len() <= CACHE_KEY_BYTES_MAX).then_some(url)
}
