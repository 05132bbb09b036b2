//! Copies of requests for a second upstream, whose answers nobody sees.
//!
//! A copy never slows, changes or fails the request it was made of: it is made from what is read anyway, goes
//! out on a task of its own, and where there is no room for one it is left out and counted. Nor does it take
//! anything from other requests to its upstream: it has a bound of its own, and neither a seat nor a part of the
//! upstream's limits. A request without a
//! body is copied before it is forwarded; one with a body once that was read, and only if it was short enough to be
//! kept. Connections, endpoints and their health are those of the upstream as for any other request.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::buffer::Buf;
use crate::base::limits::{MIRROR_ANSWER_BYTES_MAX, MIRRORS_IN_FLIGHT_MAX};
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::exchange::fault::{Fault, Side};
use crate::gateway::mirror::Mirror;
use crate::gateway::route::Route;
use crate::http::Method;
use crate::http::framing::BodyLength;
use crate::runtime::Runtime;
use crate::serve::attempt::{self, Asked};
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::exchange::Way;
use crate::serve::work::ResponseScratch;
use crate::serve::{Core, Installed, request_head};

/// A place among the copies in flight on one core.
pub struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(count: &Rc<Cell<usize>>) -> Option<Self> {
        (count.get() < MIRRORS_IN_FLIGHT_MAX).then(|| {
            count.set(count.get() + 1);
            Self(count.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What of a body has been read, while it is short enough to be copied.
pub struct Tap {
    bytes: Vec<u8>,
    bytes_max: usize,
    whole: bool,
}

impl Tap {
    /// Takes note of a piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.whole &= self.bytes.len() + piece.len() <= self.bytes_max;
        if self.whole {
            self.bytes.extend_from_slice(piece);
        } else {
            self.bytes = Vec::new();
        }
    }
}

/// Copies the request, or begins to copy its body; then `finish` has to be called with what is returned.
pub fn begin<R: Runtime>(
    way: &Way<'_, R>,
    route: &Route,
    mirror: &Mirror,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
) -> Option<Place> {
    let core = way.core;
    let drawn = core.shard(|shard| shard.rng.below(1_000_000)) < mirror.millionths;
    if !drawn || x.head.method == Method::Connect {
        return None;
    }
    let too_long =
        matches!(x.head.body, BodyLength::Exact(bytes) if bytes > mirror.body_bytes_max as u64);
    let place = Place::take(&core.mirrors).filter(|_| !too_long);
    let Some(place) = place else {
        core.metrics.mirrors_left_out.add(1);
        return None;
    };
    if x.head.body != BodyLength::None {
        let tap = Tap { bytes: Vec::new(), bytes_max: mirror.body_bytes_max, whole: true };
        incoming.tap = Some(Box::new(tap));
        return Some(place);
    }
    launch(way, route, mirror, x, None, place);
    None
}

/// Copies a request whose body has been read; one that was not read to its end, or was too long, is left out.
pub fn finish<R: Runtime>(
    way: &Way<'_, R>,
    route: &Route,
    mirror: &Mirror,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    place: Place,
) {
    let tap = incoming.tap.take().filter(|tap| tap.whole && incoming.is_done());
    match tap {
        Some(tap) => launch(way, route, mirror, x, Some(tap.bytes), place),
        None => way.core.metrics.mirrors_left_out.add(1),
    }
}

/// A copy on its way.
struct Copy<R: Runtime> {
    core: Rc<Core<R>>,
    installed: Rc<Installed<R>>,
    asked: Asked,
    method: Method,
    body: Vec<u8>,
    _place: Place,
}

fn launch<R: Runtime>(
    way: &Way<'_, R>,
    route: &Route,
    mirror: &Mirror,
    x: &mut Exchange,
    body: Option<Vec<u8>>,
    place: Place,
) {
    let installed = way.core.installed();
    // An exchange that began before a reload leaves no work to the version that is no longer there.
    let is_current = Arc::ptr_eq(&installed.gateway, &way.installed.gateway);
    let head = body.as_ref().map_or(BodyLength::None, |body| BodyLength::Exact(body.len() as u64));
    let head = written(way.core, route, mirror, x, head).filter(|_| is_current);
    let (Some(core), Some(head)) = (way.core.own(), head) else {
        return way.core.metrics.mirrors_left_out.add(1);
    };
    let deadline = core.runtime.now() + mirror.timeout;
    let asked = Asked { is_copy: true, ..Asked::of(mirror.to.upstream, deadline, &x.client) };
    let (method, body) = (x.head.method, body.unwrap_or_default());
    let copy = Copy { core, installed, asked, method, body, _place: place };
    way.core.runtime.spawn(async move { copy.run(head).await });
}

/// The head of the copy; `None` where it cannot be made.
fn written<R: Runtime>(
    core: &Core<R>,
    route: &Route,
    mirror: &Mirror,
    x: &mut Exchange,
    body: BodyLength,
) -> Option<Buf> {
    let mut head = core.buffer().ok()?;
    let own = std::mem::replace(&mut x.head.body, body);
    let edits = route.request_edits.as_deref();
    let done = request_head::write(core, x, &mirror.to, edits, None, &[], &mut head);
    x.head.body = own;
    done.ok().map(|()| head)
}

impl<R: Runtime> Copy<R> {
    async fn run(&self, head: Buf) {
        let core = self.core.clone();
        let mut record = attempt::begin(&self.asked, core.runtime.now());
        let mut scratch = core.take_scratch();
        let answered = self.ask(head, &mut record, &mut scratch).await;
        core.keep_scratch(scratch);
        let now = core.runtime.now();
        record.fault = answered.as_ref().err().map(|fault| fault.kind);
        record.done = Some(now);
        let plan = &self.installed.gateway.record;
        core.metrics.record_attempts(std::slice::from_ref(&record), plan, now);
        match answered {
            Ok(()) => core.metrics.mirrors_answered.add(1),
            Err(_) => core.metrics.mirrors_failed.add(1),
        }
    }

    async fn ask(
        &self,
        head: Buf,
        record: &mut Attempt,
        scratch: &mut ResponseScratch,
    ) -> Result<(), Fault> {
        let core = &*self.core;
        let slot = core.deadlines.slot();
        let until = self.asked.deadline;
        let lease = attempt::connect(core, &self.installed, &self.asked, &slot, record).await?;
        let mut buf = attempt::send(&lease, &slot, until, head).await?;
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            buf.clear();
            let (now, later) = rest.split_at(rest.len().min(buf.spare()));
            let fits = buf.put(now);
            debug_assert!(fits, "cut to the room there is");
            buf = attempt::send(&lease, &slot, until, buf).await?;
            rest = later;
        }
        attempt::ready_for_response(&mut buf);
        let (deadline, mut interims) = (Cell::new(until), 0);
        loop {
            let head = &mut scratch.head;
            buf = attempt::read_head(&lease, &slot, &deadline, self.method, buf, head).await?;
            if !scratch.head.status.is_interim() {
                break;
            }
            attempt::count_interim(&scratch.head, &mut interims)?;
            buf.consume(scratch.head.bytes as usize);
        }
        let head = &scratch.head;
        record.answered = Some(core.runtime.now());
        record.status = Some(head.status);
        record.bytes = u64::from(head.bytes);
        buf.consume(head.bytes as usize);
        let reusable = head.keep_alive && head.body != BodyLength::UntilClose;
        let left = until.since(core.runtime.now());
        let bytes_max = MIRROR_ANSWER_BYTES_MAX;
        let rules = BodyRules { side: Side::Upstream, pause_max: left, bytes_max };
        let (stream, length) = (lease.stream(), head.body);
        let mut body =
            BodyReader::new(core, stream, &slot, &mut scratch.chunks, length, Some(buf), rules);
        while body.next_by(until).await?.is_some() {}
        record.bytes += body.wire_bytes();
        if reusable && body.ended_cleanly() {
            lease.give_back(core.runtime.now());
        }
        Ok(())
    }
}
