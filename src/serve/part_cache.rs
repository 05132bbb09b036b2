//! The answers of parts that a core keeps, and how a part is asked through them.
//!
//! A fresh answer is used and nobody is asked. A stale one is used while one call renews it beside the
//! clients' requests (RFC 5861 §3), or stands in visibly when the call fails (§4). Identical calls in flight
//! are made once (`serve/flight.rs`). Nothing here is shared between cores, and no answer ever outlives the
//! upstream that gave it: an entry holds its upstream and is found under no other. Stored answers are not
//! validated (RFC 9111 §4.3): a part's answer is small, and a new one costs its origin one call.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::PartFault;
use crate::aggregate::cache::{self, Key};
use crate::base::ids::RouteId;
use crate::base::limits::{
    PART_CACHE_BYTES_MAX, PART_CACHE_ENTRIES_MAX, PART_CACHE_ENTRY_BYTES_MAX, PART_REFRESHES_MAX,
    PART_TIME_MIN,
};
use crate::base::lru::Lru;
use crate::exchange::attempt::Ledger;
use crate::exchange::part::{CacheUse, CacheUses};
use crate::gateway::route::Target;
use crate::http::caching::directives::RequestControl;
use crate::http::caching::{Freshness, Use};
use crate::net::proxy_protocol::Endpoints;
use crate::observe::trace::TraceLines;
use crate::runtime::Runtime;
use crate::serve::budget::Budget;
use crate::serve::flight::{Flights, Landing, Lead, Role};
use crate::serve::part::{self, Call, Fetched, Source};
use crate::serve::part_answer::{Failure, Judged, Kept, Terms};
use crate::serve::{Core, Installed};
use crate::upstream::Upstream;

/// What one core keeps of parts' answers, and which calls it has in flight.
pub struct PartCache {
    /// Made when first needed.
    store: RefCell<Option<Lru<Rc<Stored>>>>,
    flights: Flights,
    refreshing: Cell<usize>,
    seed: u64,
}

/// One answer.
struct Stored {
    answer: Kept,
    freshness: Freshness,
    /// Keeps the upstream's address its own, which stands in the key.
    _upstream: Arc<Upstream>,
}

/// How a part was answered.
pub struct Outcome {
    pub result: Result<Judged, Failure>,
    /// Why an older answer stands in.
    pub stale: Option<PartFault>,
    pub uses: CacheUses,
}

impl PartCache {
    /// Nothing yet. The `seed` keeps keys from being chosen that fall together.
    pub fn new(seed: u64) -> Self {
        let flights = Flights::new(seed);
        Self { store: RefCell::default(), flights, refreshing: Cell::new(0), seed }
    }

    fn find(&self, key: &Key) -> Option<Rc<Stored>> {
        self.store.borrow_mut().as_mut()?.find(0, key.bytes()).cloned()
    }

    fn insert(&self, key: &Key, stored: Stored) {
        let weight = key.bytes().len() + stored.answer.bytes() + size_of::<Stored>();
        if weight > PART_CACHE_ENTRY_BYTES_MAX {
            return self.remove(key);
        }
        let mut store = self.store.borrow_mut();
        let fresh = || Lru::new(PART_CACHE_ENTRIES_MAX, PART_CACHE_BYTES_MAX, self.seed);
        store.get_or_insert_with(fresh).insert(0, key.bytes(), Rc::new(stored), weight);
    }

    fn remove(&self, key: &Key) {
        if let Some(store) = &mut *self.store.borrow_mut() {
            store.remove(0, key.bytes());
        }
    }
}

/// What tells the answers of upstreams apart: the upstream itself, which a reload replaces when anything of it
/// changed, and the client where the upstream is told whom a connection speaks for.
pub fn space(upstream: &Arc<Upstream>, client: &Endpoints) -> Vec<u8> {
    let mut space = (Arc::as_ptr(upstream).addr() as u64).to_be_bytes().to_vec();
    if upstream.rules.proxy_header.is_some() {
        space.extend_from_slice(client.source.to_string().as_bytes());
        space.push(b' ');
        space.extend_from_slice(client.destination.to_string().as_bytes());
    }
    space
}

/// Asks a part, or has its answer already.
pub async fn ask<R: Runtime>(call: &Call<'_, R>, key: &Key) -> Outcome {
    let cached = call.part().cache.is_some();
    let mut spare = None;
    if let Some(stored) = cached.then(|| call.core.parts.find(key)).flatten() {
        match stored.freshness.usable(&RequestControl::default(), call.core.runtime.now()) {
            Use::Fresh => {
                note_kept(call, &stored);
                return Outcome::of(&stored, CacheUse::Hit);
            }
            Use::WhileRevalidating => {
                note_kept(call, &stored);
                renew(call, key);
                return Outcome::of(&stored, CacheUse::Stale);
            }
            Use::IfError => spare = Some(stored),
            Use::Never => {}
        }
    }
    let mut outcome = through_flights(call, key).await;
    if cached && outcome.uses.is_empty() {
        outcome.uses.add(CacheUse::Miss);
    }
    let excused = outcome.result.as_ref().err().and_then(Failure::part);
    if let (Some(stored), Some(fault)) = (spare, excused.filter(|fault| cache::is_excused(*fault)))
    {
        outcome.result = Ok(Judged::from(&stored.answer));
        outcome.stale = Some(fault);
        outcome.uses = CacheUses::one(CacheUse::Stale);
    }
    outcome
}

/// Notes how long an answer that is kept is good, where the whole answer is to be kept.
fn note_kept<R: Runtime>(call: &Call<'_, R>, stored: &Stored) {
    let now = call.core.runtime.now();
    call.sharing.inspect(|sharing| sharing.note_kept(&stored.freshness, now));
}

impl Outcome {
    fn of(stored: &Stored, how: CacheUse) -> Self {
        let (result, uses) = (Ok(Judged::from(&stored.answer)), CacheUses::one(how));
        Self { result, stale: None, uses }
    }

    fn landed(result: Result<Judged, Failure>) -> Self {
        let uses = CacheUses::one(CacheUse::Collapsed);
        Self { result, stale: None, uses }
    }

    fn fetched(result: Result<Judged, Failure>) -> Self {
        Self { result, stale: None, uses: CacheUses::default() }
    }
}

/// Makes the call, or waits for who makes it.
async fn through_flights<R: Runtime>(call: &Call<'_, R>, key: &Key) -> Outcome {
    let core = call.core;
    loop {
        let flight = match core.parts.flights.join(key.bytes(), key.part()) {
            Role::Leads(lead) => {
                let Fetched { result, terms } = part::fetch(call, Source::Key(key)).await;
                return Outcome::fetched(settle(call, key, lead, result, terms));
            }
            Role::Alone => return alone(call, key).await,
            Role::Follows(flight) => flight,
        };
        let slot = core.deadlines.slot();
        let Ok(landing) = slot.within(call.deadline, flight.landed()).await else {
            return Outcome::landed(Err(Failure::Part(PartFault::Timeout)));
        };
        let has_time = call.deadline.since(core.runtime.now()) >= PART_TIME_MIN;
        match landing {
            // How long another one's answer is good is not told.
            Landing::Shared(kept) => {
                call.sharing.inspect(|sharing| sharing.note(Duration::ZERO));
                return Outcome::landed(Ok(Judged::from(&kept)));
            }
            // The leader had less time than this one has.
            Landing::Failed(PartFault::Timeout) if has_time => {}
            Landing::Failed(fault) => return Outcome::landed(Err(Failure::Part(fault))),
            Landing::Problem(fault, document) => {
                return Outcome::landed(Err(Failure::Problem(fault, document.to_vec())));
            }
            Landing::Unshared => return alone(call, key).await,
            Landing::Abandoned => {}
        }
    }
}

/// Makes the call for oneself.
async fn alone<R: Runtime>(call: &Call<'_, R>, key: &Key) -> Outcome {
    let Fetched { result, terms } = part::fetch(call, Source::Key(key)).await;
    if result.is_ok() || matches!(result, Err(Failure::Problem(..))) {
        call.core.parts.flights.note(key.part(), terms.shareable);
    }
    Outcome::fetched(result)
}

/// Stores what a call brought, if it may be stored, and tells those who wait.
fn settle<R: Runtime>(
    call: &Call<'_, R>,
    key: &Key,
    lead: Lead<'_>,
    result: Result<Judged, Failure>,
    terms: Terms,
) -> Result<Judged, Failure> {
    let PartCache { flights, .. } = &call.core.parts;
    match result {
        Ok(judged) => {
            flights.note(key.part(), terms.shareable);
            if terms.freshness.is_none() && call.part().cache.is_some() {
                // The newest answer is not to be stored, so that the one before is over.
                call.core.parts.remove(key);
            }
            if terms.freshness.is_none() && !(terms.shareable && lead.is_followed()) {
                lead.land(Landing::Unshared);
                return Ok(judged);
            }
            let kept = judged.keep();
            if let Some(freshness) = terms.freshness {
                let _upstream =
                    call.installed.gateway.upstreams[call.part().upstream.index()].clone();
                call.core.parts.insert(key, Stored { answer: kept.clone(), freshness, _upstream });
            }
            let judged = Judged::from(&kept);
            lead.land(if terms.shareable { Landing::Shared(kept) } else { Landing::Unshared });
            Ok(judged)
        }
        Err(failure) => {
            if failure.part().is_some_and(cache::is_revoked) {
                call.core.parts.remove(key);
            }
            lead.land(match &failure {
                Failure::Part(fault) => Landing::Failed(*fault),
                Failure::Problem(fault, document) if terms.shareable => {
                    Landing::Problem(*fault, document.as_slice().into())
                }
                Failure::Problem(..) | Failure::Request(_) => Landing::Unshared,
            });
            Err(failure)
        }
    }
}

/// What a call beside the clients' requests is made from.
struct Renewal<R: Runtime> {
    core: Rc<Core<R>>,
    installed: Rc<Installed<R>>,
    route: RouteId,
    index: usize,
    key: Key,
    trace: TraceLines,
    client: Endpoints,
}

/// Asks for a new answer beside the clients' requests, unless somebody does already.
fn renew<R: Runtime>(call: &Call<'_, R>, key: &Key) {
    let PartCache { flights, refreshing, .. } = &call.core.parts;
    if flights.has(key.bytes())
        || refreshing.get() >= PART_REFRESHES_MAX
        || call.core.draining.get()
    {
        return;
    }
    let installed = call.core.installed();
    // An exchange that began before a reload leaves the work to those that began after it.
    let is_current = Arc::ptr_eq(&installed.gateway, &call.installed.gateway);
    let (Some(core), Some(route), true) = (call.core.own(), call.route, is_current) else { return };
    refreshing.set(refreshing.get() + 1);
    let (index, trace, client, key) = (call.index, call.trace, call.client, key.clone());
    let renewal = Renewal { core, installed, route, index, key, trace, client };
    call.core.runtime.spawn(async move {
        let _counted = Renewing(renewal.core.clone());
        renewal.run().await;
    });
}

impl<R: Runtime> Renewal<R> {
    async fn run(&self) {
        let Self { core, installed, route, index, key, trace, client } = self;
        let Target::Aggregate(merge) = &installed.gateway.route(*route).target else { return };
        let part = &merge.plan.parts[*index];
        let (ledger, budget) = (Ledger::default(), Budget::default());
        let call = Call {
            core,
            installed,
            plan: &merge.plan,
            index: *index,
            route: Some(*route),
            deadline: core.runtime.now() + part.timeout,
            trace: *trace,
            client: *client,
            ledger: &ledger,
            budget: &budget,
            sharing: None,
        };
        let Role::Leads(lead) = core.parts.flights.join(key.bytes(), key.part()) else { return };
        let Fetched { result, terms } = part::fetch(&call, Source::Key(key)).await;
        drop(settle(&call, key, lead, result, terms));
        let (record, attempts) = (&installed.gateway.record, ledger.close());
        core.metrics.record_renewal(*route, *index as u16, &attempts, record, core.runtime.now());
    }
}

/// A renewal, counted as long as it lasts, however it ends.
struct Renewing<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Drop for Renewing<R> {
    fn drop(&mut self) {
        let refreshing = &self.0.parts.refreshing;
        refreshing.set(refreshing.get() - 1);
    }
}
