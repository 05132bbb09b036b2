//! A stale response is renewed beside the requests that it still answers (RFC 5861 §3).
//!
//! One renewal of a key on the whole machine, a bounded number on a core, and none that outlives its time. It is
//! no client's exchange: a client never waits for it, and none is told how it ended.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use crate::base::buffer::Buf;
use crate::base::ids::RouteId;
use crate::base::limits::CACHE_RENEWALS_MAX;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::exchange::fault::{Fault, Side};
use crate::gateway::route::Target;
use crate::http::Method;
use crate::http::head::Response;
use crate::policy::cache::Cache;
use crate::runtime::Runtime;
use crate::serve::attempt::{self, Asked};
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::fill::{Errand, Fill, conditions};
use crate::serve::forward::Passage;
use crate::serve::{Core, Installed, request_head};

/// What a renewal needs when its client's exchange is over.
struct Renewal<R: Runtime> {
    core: Rc<Core<R>>,
    installed: Rc<Installed<R>>,
    route: RouteId,
    errand: Errand,
    /// The request, head and all.
    head: Buf,
    /// The exchange that it is written from, as far as the store needs it.
    x: Box<Exchange>,
}

/// Begins a renewal, unless one is under way or there are enough.
pub fn begin<R: Runtime>(cache: &Cache, passage: &Passage<'_, R>, x: &Exchange, errand: Errand) {
    let core = passage.core;
    let enough = core.cache.renewing.get() >= CACHE_RENEWALS_MAX || core.draining.get();
    if enough || cache.machine.claims.is_taken(errand.key.hash) || x.head.method != Method::Get {
        return;
    }
    let installed = core.installed();
    let is_current = std::sync::Arc::ptr_eq(&installed.gateway, &passage.installed.gateway);
    let (Some(own), Some(route), true) = (core.own(), x.route, is_current) else { return };
    let (Ok(mut head), Ok(mut bytes)) = (core.buffer(), core.buffer()) else { return };
    let conditions = errand.stored.as_deref().map(conditions).unwrap_or_default();
    // A client's own condition never decides what is stored for others.
    let conditions =
        if conditions.is_empty() { b"cache-control: max-age=0\r\n".to_vec() } else { conditions };
    let edits = passage.route.request_edits.as_deref();
    if request_head::write(core, x, passage.to, edits, None, &conditions, &mut head).is_err()
        || !bytes.put(x.request().raw)
    {
        return;
    }
    let copy = Exchange {
        head: x.head.clone(),
        bytes: Some(bytes),
        route: x.route,
        client: x.client,
        identity: x.identity.clone(),
        deadline: core.runtime.now() + passage.route.timeout,
        ..Exchange::default()
    };
    core.cache.renewing.set(core.cache.renewing.get() + 1);
    let renewal = Renewal { core: own, installed, route, errand, head, x: Box::new(copy) };
    core.runtime.spawn(async move {
        let _counted = Renewing(renewal.core.clone());
        renewal.run().await;
    });
}

impl<R: Runtime> Renewal<R> {
    async fn run(self) {
        let Self { core, installed, route, errand, head, mut x } = self;
        let route = installed.gateway.route(route);
        let (Some(cache), Target::Forward(to)) = (&route.cache, &route.target) else { return };
        let lead = core.cache.flights.lead(&cache.machine, errand.key.hash);
        let Some(lead) = lead else { return };
        let fill = Fill::new(&core, cache, &errand, Some(&lead));
        let mut asked = Asked::of(to.upstream, x.deadline, &x.client);
        let mut record = attempt::begin(&asked, core.runtime.now());
        let fetched = fetch(&core, &installed, &fill, &mut asked, &mut record, head, &mut x).await;
        if fetched.is_err() {
            fill.fails();
        }
        record.fault = fetched.err().map(|fault| fault.kind);
        record.done = Some(core.runtime.now());
        let plan = &installed.gateway.record;
        core.metrics.record_cache_renewal(&record, plan, core.runtime.now());
    }
}

/// One call, without a second try: the next request of a client makes one.
async fn fetch<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    fill: &Fill<'_, R>,
    asked: &mut Asked,
    record: &mut Attempt,
    head: Buf,
    x: &mut Exchange,
) -> Result<(), Fault> {
    let slot = core.deadlines.slot();
    let until = x.deadline;
    let lease = attempt::connect(core, installed, asked, &slot, record).await?;
    let mut buf = attempt::send(&lease, &slot, until, head).await?;
    attempt::ready_for_response(&mut buf);
    let mut scratch = core.take_scratch();
    let (until, mut interims) = (Cell::new(until), 0);
    let buf = loop {
        buf =
            attempt::read_head(&lease, &slot, &until, Method::Get, buf, &mut scratch.head).await?;
        if !scratch.head.status.is_interim() {
            break buf;
        }
        attempt::count_interim(&scratch.head, &mut interims)?;
        buf.consume(scratch.head.bytes as usize);
    };
    record.answered = Some(core.runtime.now());
    record.status = Some(scratch.head.status);
    let mut buf = buf;
    if !fill.takes_head(x, Response { head: &scratch.head, raw: buf.data() }) {
        return Ok(());
    }
    buf.consume(scratch.head.bytes as usize);
    let rules = BodyRules {
        side: Side::Upstream,
        pause_max: installed.gateway.upstream(asked.upstream).rules.idle_timeout,
        bytes_max: u64::MAX,
    };
    let length = scratch.head.body;
    let keep_alive = scratch.head.keep_alive;
    let stream = lease.stream();
    let mut body =
        BodyReader::new(core, stream, &slot, &mut scratch.chunks, length, Some(buf), rules);
    while let Some(piece) = read(&mut body, until.get()).await? {
        fill.takes_piece(piece.data());
    }
    fill.takes_end();
    let clean = keep_alive && body.ended_cleanly();
    core.keep_scratch(scratch);
    if clean {
        lease.give_back(core.runtime.now());
    }
    Ok(())
}

async fn read<R: Runtime>(
    body: &mut BodyReader<'_, R>,
    until: Instant,
) -> Result<Option<Buf>, Fault> {
    pin!(body.next_by(until)).await
}

/// A renewal, counted as long as it lasts, however it ends.
struct Renewing<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Drop for Renewing<R> {
    fn drop(&mut self) {
        let renewing = &self.0.cache.renewing;
        renewing.set(renewing.get() - 1);
    }
}
