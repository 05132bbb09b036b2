//! One call of a merge: from its turn to a value that was found good, or the reason why there is none.
//!
//! Whether the call is made at all, and for how many, is decided in `serve/part_cache.rs`; what it brings is
//! judged here without regard to the client, and cut to the client's view only then.
//! Bodies are collected within the bound of their part and never re-encoded, but where a view or the part's
//! own lists cut something out. A call never reaches beyond its deadline, and is never begun when it
//! cannot be over in time; attempts are repeated as RFC 9110 §9.2.2 allows.

use std::cell::Cell;

use crate::aggregate::cache::{self, Key};
use crate::aggregate::each::Failures;
use crate::aggregate::json;
use crate::aggregate::reference::Values;
use crate::aggregate::{Part, PartFault, Plan, Taken, View, request, view};
use crate::base::buffer::Buf;
use crate::base::ids::RouteId;
use crate::base::limits::{PART_TIME_MIN, PROBLEM_BYTES_MAX};
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::{Attempt, Ledger};
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::part::CacheUses;
use crate::exchange::template::{PartValues, RenderError};
use crate::http::caching::Times;
use crate::http::coding::Coding;
use crate::http::framing::BodyLength;
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::http::{Method, Status};
use crate::net::proxy_protocol::Endpoints;
use crate::observe::trace::TraceLines;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::attempt::{self, Asked, Lease, Wants};
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::budget::Budget;
use crate::serve::merged_cache::{Keeping, Sharing};
use crate::serve::part_answer::{Answer, Body, End, Failure, Judged, Terms};
use crate::serve::work::ResponseScratch;
use crate::serve::{Core, Installed};
use crate::serve::{decode, hedge, part_cache, proxy_header};
use crate::upstream::retry;

/// What is to be asked, and for whom.
#[derive(Clone, Copy)]
pub struct Merging<'a> {
    /// All parts.
    pub plan: &'a Plan,
    /// Those that this client gets.
    pub view: &'a View,
    /// The Vary line of every answer.
    pub vary: &'a [u8],
    /// The client's body, if a part is sent it.
    pub body: &'a Body,
    /// Where every attempt is entered.
    pub ledger: &'a Ledger,
    /// What all bodies of the merge may still weigh.
    pub budget: &'a Budget,
    /// Who keeps the answer that is made of them.
    pub keeping: Option<&'a Keeping<'a>>,
}

/// One call to be made.
pub struct Order<'a> {
    pub merging: Merging<'a>,
    pub index: usize,
    /// What its request takes from other parts' answers.
    pub values: Values,
    /// Until when, if it is one of several that share a timeout.
    pub by: Option<Instant>,
}

/// Asks one part, or has its answer already; what its client gets of it.
pub async fn ask<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    order: Order<'_>,
    x: &Exchange,
) -> End {
    let Order { merging, index, values, by } = order;
    let part = &merging.plan.parts[index];
    let begun = core.runtime.now();
    let call = Call {
        core,
        installed,
        plan: merging.plan,
        index,
        route: x.route,
        deadline: by.unwrap_or_else(|| x.deadline.min(begun + part.timeout)),
        trace: TraceLines::of(&x.id, &x.trace),
        client: proxy_header::ends(&x.client),
        ledger: merging.ledger,
        budget: merging.budget,
        sharing: merging.keeping.map(|keeping| &keeping.sharing),
    };
    let key = match may_begin(&call, x, &values, begun) {
        Ok(key) => key,
        Err(failure) => {
            return End { result: Err(failure), uses: CacheUses::default() };
        }
    };
    let (result, stale, uses) = match &key {
        Some(key) => {
            let outcome = part_cache::ask(&call, key).await;
            (outcome.result, outcome.stale, outcome.uses)
        }
        None => {
            let source = Source::Exchange { x, values: &values, body: merging.body };
            (fetch(&call, source).await.result, None, CacheUses::default())
        }
    };
    let result = result.map(|judged| shown(&call, merging.view, judged, stale));
    End { result, uses }
}

/// Whether a call is worth making: its request can be written, and there is time left. A request that others
/// could share is written into its key.
fn may_begin<R: Runtime>(
    call: &Call<'_, R>,
    x: &Exchange,
    values: &Values,
    now: Instant,
) -> Result<Option<Key>, Failure> {
    let (plan, part) = (call.plan, call.part());
    let explained = |error: RenderError| match part.needs().is_empty() {
        true => Failure::from(error),
        false => Failure::Part(values.fault(error)),
    };
    let space = part_cache::space(call.installed.gateway.upstream(part.upstream), &call.client);
    let key = Key::of(plan, part, x, values.view(), &space).map_err(explained)?;
    if key.is_none() && !part.needs().is_empty() {
        request::try_to_write(plan, part, x, values.view()).map_err(explained)?;
    }
    let has_time = x.deadline.since(now) >= PART_TIME_MIN;
    if has_time { Ok(key) } else { Err(Failure::Part(PartFault::Timeout)) }
}

/// A call to be made: all of it that does not live in an exchange.
pub struct Call<'a, R: Runtime> {
    pub core: &'a Core<R>,
    pub installed: &'a Installed<R>,
    pub plan: &'a Plan,
    /// Which part of the plan.
    pub index: usize,
    pub route: Option<RouteId>,
    pub deadline: Instant,
    /// Lines sent with it.
    pub trace: TraceLines,
    /// Whom it is made for, where the upstream is told.
    pub client: Endpoints,
    /// Where its attempts are entered.
    pub ledger: &'a Ledger,
    /// What its body is charged to.
    pub budget: &'a Budget,
    /// Where it is noted what its answer allows, if the whole answer is to be kept.
    pub sharing: Option<&'a Sharing>,
}

impl<R: Runtime> Call<'_, R> {
    /// The part.
    pub fn part(&self) -> &Part {
        &self.plan.parts[self.index]
    }
}

/// Where a call's request comes from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// It is written from the client's.
    Exchange { x: &'a Exchange, values: &'a Values, body: &'a Body },
    /// It is written already.
    Key(&'a Key),
}

/// How a call ended, and what its answer allows.
pub struct Fetched {
    pub result: Result<Judged, Failure>,
    pub terms: Terms,
}

/// Makes a call, again where the standard allows it.
pub async fn fetch<R: Runtime>(call: &Call<'_, R>, source: Source<'_>) -> Fetched {
    let Call { core, installed, .. } = *call;
    let part = call.part();
    let mut asked = Asked {
        upstream: part.upstream,
        part: Some(call.index as u16),
        deadline: call.deadline,
        tried: Cell::new(0),
        is_copy: false,
        may_reuse: true,
        wants: Wants::Http,
        client: call.client,
        retry_after: Cell::new(None),
        reason: Cell::new(""),
        unproven: Cell::new(""),
    };
    let upstream = installed.gateway.upstream(part.upstream);
    let origins = installed.origins(part.upstream);
    origins.state.borrow_mut().request_begun();
    let hedging = part.hedge_percent.and(call.route).and_then(|route| {
        installed.hedging(route, call.index).inspect(|known| known.borrow_mut().call_begun())
    });
    let mut scratch = core.take_scratch();
    let mut tries = 0;
    let (result, terms) = loop {
        tries += 1;
        let tried = match hedging {
            None => {
                let mut one = Try::of(call, source, &asked);
                let result = one.run(&asked, &mut scratch).await;
                one.tried(result)
            }
            Some(known) => Box::pin(hedge::run(call, source, &asked, &mut scratch, known)).await,
        };
        let Tried { result, again, terms } = tried;
        let fault = Fault { again, ..PartFault::Reset.fault() };
        let retried = result.is_err()
            && tries <= upstream.rules.retries
            && retry::may_retry(&fault, part.method)
            && origins.state.borrow_mut().retry_budget.take();
        if !retried {
            break (result, terms);
        }
        asked.may_reuse = again == Again::Always;
    };
    core.keep_scratch(scratch);
    Fetched { result, terms }
}

/// One try of a call, and what it leaves. It enters the ledger when it is dropped, however it ended.
pub struct Try<'a, R: Runtime> {
    call: &'a Call<'a, R>,
    source: Source<'a>,
    slot: Slot,
    pub record: Attempt,
    again: Again,
    terms: Terms,
}

/// How a try ended, and what may follow.
pub struct Tried {
    pub result: Result<Judged, Failure>,
    /// Whether another try may help.
    pub again: Again,
    pub terms: Terms,
}

impl<R: Runtime> Drop for Try<'_, R> {
    fn drop(&mut self) {
        self.record.cancelled = self.record.done.is_none();
        self.record.done.get_or_insert_with(|| self.call.core.runtime.now());
        self.call.ledger.enter(self.record);
    }
}

impl<'a, R: Runtime> Try<'a, R> {
    /// A try that begins now.
    pub fn of(call: &'a Call<'a, R>, source: Source<'a>, asked: &Asked) -> Self {
        let slot = call.core.deadlines.slot();
        let record = attempt::begin(asked, call.core.runtime.now());
        let terms = Terms::default();
        Self { call, source, slot, record, again: Again::Never, terms }
    }

    /// Makes it.
    pub async fn run(
        &mut self,
        asked: &Asked,
        scratch: &mut ResponseScratch,
    ) -> Result<Judged, Failure> {
        let result = once(self, asked, scratch).await;
        self.record.done = Some(self.call.core.runtime.now());
        // What a step noted is more precise than what the answer says of the part.
        let told = result.as_ref().err().and_then(Failure::part).map(|fault| fault.fault().kind);
        self.record.fault = told.and(self.record.fault).or(told);
        result
    }

    /// What it came to.
    pub fn tried(&self, result: Result<Judged, Failure>) -> Tried {
        Tried { result, again: self.again, terms: self.terms }
    }

    /// Takes over what a step says about trying again.
    fn note(&mut self, fault: Fault) -> Fault {
        self.again = fault.again;
        fault
    }

    /// The same, where the record says it, too.
    fn failed(&mut self, fault: Fault) -> Failure {
        let fault = self.note(fault);
        noted(&mut self.record, fault)
    }
}

async fn once<R: Runtime>(
    one: &mut Try<'_, R>,
    asked: &Asked,
    scratch: &mut ResponseScratch,
) -> Result<Judged, Failure> {
    let (call, source) = (one.call, one.source);
    let Call { core, installed, plan, .. } = *call;
    let part = call.part();
    let body = match source {
        Source::Exchange { body, .. } if part.client_body => body.bytes(),
        _ => &[],
    };
    let lease = attempt::connect(core, installed, asked, &one.slot, &mut one.record).await;
    let lease = lease.map_err(|fault| one.failed(fault))?;
    let mut buf = core.buffer()?;
    let upstream = installed.gateway.upstream(part.upstream);
    let sent = core.runtime.now();
    let envelope = request::Envelope {
        host: upstream.endpoints[lease.endpoint.index()].host.as_bytes(),
        left: asked.deadline.since(sent),
        added: call.trace.as_bytes(),
        parts: PartValues::Unknown,
        client_body_bytes: body.len(),
    };
    match source {
        Source::Key(key) => key.write(part, &envelope, &mut buf)?,
        Source::Exchange { x, values, .. } => {
            let envelope = request::Envelope { parts: values.view(), ..envelope };
            let written = request::write(plan, part, x, &envelope, &mut buf);
            written.map_err(|error| match part.needs().is_empty() {
                true => Failure::from(error),
                false => Failure::Part(values.fault(error)),
            })?;
        }
    }
    let written = send_with(&lease, &one.slot, asked.deadline, buf, body).await;
    let mut buf = written.map_err(|fault| one.failed(fault))?;
    lease.room_for_answer(core, &mut buf);
    let first_byte = core.runtime.now() + upstream.rules.first_byte_timeout;
    let until = Cell::new(asked.deadline.min(first_byte));
    let head = read_final_head(&lease, &one.slot, &until, part.method, buf, scratch).await;
    let buf = head.map_err(|fault| one.failed(fault))?;
    let answered = core.runtime.now();
    one.record.answered = Some(answered);
    lease.answered(&one.record, answered);
    one.record.status = Some(scratch.head.status);
    one.record.bytes = u64::from(scratch.head.bytes);
    one.terms = terms_of(one, Response { head: &scratch.head, raw: buf.data() }, sent);
    collect(one, lease, asked.deadline, scratch, buf).await
}

/// What may be done with an answer whose request was sent at `sent`.
fn terms_of<R: Runtime>(one: &Try<'_, R>, response: Response<'_>, sent: Instant) -> Terms {
    let sharing = one.call.sharing;
    let Source::Key(key) = one.source else {
        sharing.inspect(|sharing| sharing.forbid());
        return Terms::default();
    };
    let received = one.record.answered.unwrap_or(sent);
    let times = Times { sent, received, wall: one.call.core.wall(received) };
    sharing.inspect(|sharing| sharing.note_answer(key.has_authorization(), response, &times));
    let shareable = cache::is_shareable(response);
    let freshness = one
        .call
        .part()
        .cache
        .as_ref()
        .and_then(|rule| rule.store(key.has_authorization(), response, &times).ok());
    Terms { shareable, freshness }
}

/// Notes in an attempt what exactly its origin did wrong, as a forwarded request's says it. What has another
/// name in a part (it was too large or too slow for its plan) is left to the part's fault.
fn noted(record: &mut Attempt, fault: Fault) -> Failure {
    if !matches!(fault.kind, FaultKind::BodyTooLarge | FaultKind::RequestTimeout) {
        record.fault = Some(fault.kind);
    }
    Failure::from(fault)
}

/// Sends a head, and the client's body behind it, a buffer at a time.
async fn send_with<R: Runtime>(
    lease: &Lease<R>,
    slot: &Slot,
    until: Instant,
    mut buf: Buf,
    body: &[u8],
) -> Result<Buf, Fault> {
    let mut body = body;
    loop {
        let (now, later) = body.split_at(body.len().min(buf.spare()));
        let fits = buf.put(now);
        debug_assert!(fits, "cut to the room there is");
        buf = attempt::send(lease, slot, until, buf).await?;
        body = later;
        if body.is_empty() {
            return Ok(buf);
        }
    }
}

/// The client's body, whole; the reader bounds it by the route's `body_max`.
///
/// # Errors
/// The client closed, was too slow, or sent too much.
pub async fn client_body<R: Runtime>(
    incoming: &mut BodyReader<'_, R>,
    deadline: Instant,
) -> Result<Body, Fault> {
    // What the client says of the length is no reason to take so much memory.
    // Its bound is the route's own.
    whole(incoming, deadline, BodyLength::Chunked, &Budget::boundless()).await
}

/// Reads heads until the final one; interim ones are of no use to a merge.
async fn read_final_head<R: Runtime>(
    lease: &Lease<R>,
    slot: &Slot,
    until: &Cell<Instant>,
    method: Method,
    mut buf: Buf,
    scratch: &mut ResponseScratch,
) -> Result<Buf, Fault> {
    let mut interims = 0;
    loop {
        buf = attempt::read_head(lease, slot, until, method, buf, &mut scratch.head).await?;
        if !scratch.head.status.is_interim() {
            return Ok(buf);
        }
        attempt::count_interim(&scratch.head, &mut interims)?;
        buf.consume(scratch.head.bytes as usize);
    }
}

/// Collects the body and judges the answer; the connection goes back if its message ended exactly.
async fn collect<R: Runtime>(
    one: &mut Try<'_, R>,
    lease: Lease<R>,
    deadline: Instant,
    scratch: &mut ResponseScratch,
    mut buf: Buf,
) -> Result<Judged, Failure> {
    let Try { call, slot, record, .. } = one;
    let (core, part) = (call.core, call.part());
    let ResponseScratch { head, chunks } = scratch;
    let good = part.judge_status(head.status);
    // How a failure is encoded matters to nobody.
    let coding = match good {
        Ok(()) => coding_of(Response { head, raw: buf.data() })?,
        Err(_) => None,
    };
    let bytes_max = u64::from(part.bytes_max);
    if matches!(head.body, BodyLength::Exact(bytes) if bytes > bytes_max) {
        return Err(Failure::Part(PartFault::TooLarge));
    }
    let response = Response { head, raw: buf.data() };
    let problem = part.problem_passed && is_problem(response);
    let bytes_max = if problem { PROBLEM_BYTES_MAX as u64 } else { bytes_max };
    let lines = kept_lines(&part.reply_headers, response);
    lease.note_length(head.body);
    buf.consume(head.bytes as usize);
    let now = record.answered.unwrap_or(Instant::ORIGIN);
    let rules = BodyRules { side: Side::Upstream, pause_max: deadline.since(now), bytes_max };
    let mut reader =
        BodyReader::new(core, lease.stream(), slot, chunks, head.body, Some(buf), rules);
    let body = match (good, problem) {
        (Ok(()), _) => {
            let all = whole(&mut reader, deadline, head.body, call.budget).await;
            all.map_err(|fault| noted(record, fault))?
        }
        // A document that is not whole or too long stays hidden, and the status is what it was.
        (Err(_), true) => {
            whole(&mut reader, deadline, head.body, call.budget).await.unwrap_or(Body::Empty)
        }
        // The body of a failure is of no use but for its connection, and only if it is here already.
        (Err(_), false) => {
            let here = reader.next_arrived().map_err(|fault| noted(record, fault))?;
            here.map_or(Body::Empty, Body::Buffer)
        }
    };
    record.bytes += reader.wire_bytes();
    let kept = head.keep_alive && head.body != BodyLength::UntilClose && reader.ended_cleanly();
    drop(reader);
    if kept {
        lease.give_back(core.runtime.now());
    }
    if let Err(fault) = good {
        let shown = problem && json::check(body.bytes()).is_ok();
        return Err(match shown {
            true => Failure::Problem(fault, body.bytes().to_vec()),
            false => Failure::Part(fault),
        });
    }
    let body = match coding {
        Some(coding) if !body.bytes().is_empty() => {
            let whole =
                decode::whole(core, coding, body.bytes(), part.bytes_max as usize, deadline);
            let whole = whole.await.map_err(Failure::Part)?;
            call.budget.take(whole.len())?;
            Body::Collected(whole)
        }
        _ => body,
    };
    value(call, head.status, body, lines)
}

/// What a whole answer is worth.
fn value<R: Runtime>(
    call: &Call<'_, R>,
    status: Status,
    body: Body,
    lines: Vec<u8>,
) -> Result<Judged, Failure> {
    let mut shaped = Vec::new();
    let taken = call
        .core
        .shard(|shard| call.part().judge(status, body.bytes(), &mut shard.tokens, &mut shaped));
    let taken = taken.map_err(Failure::Part)?;
    let (shaped, lines) = (Body::Collected(shaped), Body::Collected(lines));
    Ok(Judged { body, shaped, taken, lines })
}

/// Whether an answer is a 4xx with a problem document (RFC 9457).
fn is_problem(response: Response<'_>) -> bool {
    let kind = response.field(FieldName::ContentType).unwrap_or(b"");
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or(b"").trim_ascii();
    (400..500).contains(&response.head.status.0)
        && kind.eq_ignore_ascii_case(b"application/problem+json")
}

/// What the client gets of an answer: what its view keeps, written anew unless that is all of it.
fn shown<R: Runtime>(
    call: &Call<'_, R>,
    view: &View,
    judged: Judged,
    stale: Option<PartFault>,
) -> Answer {
    let Judged { body, mut shaped, mut taken, lines } = judged;
    if let (Some(selection), Taken::Value(span) | Taken::Shaped(span)) =
        (view.selection(call.index), taken)
    {
        let is_shaped = matches!(taken, Taken::Shaped(_));
        let whole = if is_shaped { shaped.bytes() } else { span.of(body.bytes()) };
        let mut cut = Vec::new();
        call.core.shard(|shard| view::cut(whole, selection, &mut shard.tokens, &mut cut));
        (shaped, taken) = (Body::Collected(cut), Taken::Shaped(span));
    }
    // What is not shown and not referred to either need not be kept.
    let needless = matches!(taken, Taken::Shaped(_)) && !call.plan.referred().contains(call.index);
    let body = if needless { Body::Empty } else { body };
    Answer { body, shaped, taken, lines, failures: Failures::default(), stale }
}

/// The content coding of an answer.
fn coding_of(response: Response<'_>) -> Result<Option<Coding>, Failure> {
    let coding = Coding::of(response.all(FieldName::ContentEncoding));
    coding.map_err(|fault| Failure::Part(fault.into()))
}

/// The lines of an answer's fields that survive the merge, in the order received; each value of a
/// repeated field (Set-Cookie) keeps its own line.
fn kept_lines(names: &[Box<str>], response: Response<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    for field in response.head.fields.iter().filter(|_| !names.is_empty()) {
        let name = field.name.of(response.raw);
        if names.iter().any(|kept| kept.as_bytes().eq_ignore_ascii_case(name)) {
            for piece in [name, b": ", field.value.of(response.raw), b"\r\n"] {
                lines.extend_from_slice(piece);
            }
        }
    }
    lines
}

/// The whole body: where it was received if one buffer has room for it, else put together.
async fn whole<R: Runtime>(
    reader: &mut BodyReader<'_, R>,
    deadline: Instant,
    length: BodyLength,
    budget: &Budget,
) -> Result<Body, Fault> {
    let first = reader.next_by(deadline).await?;
    let Some(first) = first else { return Ok(Body::Empty) };
    budget.take(first.len())?;
    let first = match reader.with_room(first) {
        Ok(all) => return reader.fill(all, deadline, budget).await.map(Body::Buffer),
        Err(first) => first,
    };
    let capacity = match length {
        // Bounded by the part's `bytes_max`, which the length was compared with before.
        BodyLength::Exact(bytes) => usize::try_from(bytes).unwrap_or(0),
        _ => 2 * first.len(),
    };
    let mut bytes = Vec::with_capacity(capacity);
    bytes.extend_from_slice(first.data());
    drop(first);
    while let Some(piece) = reader.next_by(deadline).await? {
        budget.take(piece.len())?;
        bytes.extend_from_slice(piece.data());
    }
    Ok(Body::Collected(bytes))
}
