//! The parts of a merge, asked on the client's core, and the one answer made of theirs.
//!
//! Each part is asked as soon as what it needs is here: most at once, those that take values from others'
//! answers the moment the last of these has ended. The order in which parts answer never shows. A required part that fails ends the others at once; an
//! optional one never delays the answer beyond its own deadline. Bodies are collected within the bound
//! of their part and spliced, never re-encoded.

use std::cell::Cell;
use std::pin::Pin;
use std::time::Duration;

use crate::aggregate::json::Tokens;
use crate::aggregate::reference::{PartSet, Values};
use crate::aggregate::{
    Members, Part, PartFault, PartOutcome, Plan, Taken, View, merge, partial, request, view,
};
use crate::base::buffer::Buf;
use crate::base::limits::PART_TIME_MIN;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::exchange::fault::{Again, Fault, Side};
use crate::exchange::template::{PartValues, RenderError, Sink};
use crate::http::coding::Coding;
use crate::http::framing::BodyLength;
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::http::{Method, Status};
use crate::observe::trace::TraceLines;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::answer::{self, Local};
use crate::serve::attempt::{self, Asked, Lease};
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::decode;
use crate::serve::join::{self, Then};
use crate::serve::outgoing::Outgoing;
use crate::serve::work::ResponseScratch;
use crate::serve::{Core, Installed};
use crate::upstream::retry;

/// How one part ended, and every attempt made for it.
struct End {
    result: Result<Answer, Failure>,
    attempts: Vec<Attempt>,
}

/// A whole answer that was found good.
struct Answer {
    body: Body,
    /// The value written anew, if it was.
    shaped: Vec<u8>,
    taken: Taken,
    /// Field lines of its answer that go to the client.
    lines: Vec<u8>,
}

/// Why a part has no answer.
enum Failure {
    /// The origin's side.
    Part(PartFault),
    /// The client's request does not hold what the part's request needs.
    Request(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Part(fault.into())
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::Request(error.fault())
    }
}

/// A body in one place.
enum Body {
    Empty,
    /// All of it came in one piece and stays where it was received.
    Buffer(Buf),
    /// It was put together.
    Collected(Vec<u8>),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Buffer(buf) => buf.data(),
            Self::Collected(bytes) => bytes,
        }
    }
}

/// Asks all parts and sends the merged answer.
///
/// # Errors
/// A value that a part needs is missing from the request, or the client is gone.
pub async fn run<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    merging: Merging<'_>,
    x: &mut Exchange,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let Merging { plan, view, vary } = merging;
    rehearse(merging, x)?;
    let mut ends = ask_all(core, installed, merging, x).await;
    for end in ends.iter_mut().flatten() {
        for record in end.attempts.drain(..) {
            x.timeline.answered = x.timeline.answered.max(record.done);
            x.record(record);
        }
    }
    let mut outcomes = Vec::with_capacity(plan.parts.len());
    for end in &ends {
        if let Some(End { result: Err(Failure::Request(fault)), .. }) = end {
            return Err(*fault);
        }
        outcomes.push(outcome(end.as_ref()));
    }
    if let Err((_, fault)) = partial::verdict(plan, view, &outcomes) {
        answer::part_fault(core, x, fault.fault(), fault.status(), outgoing).await;
        return Ok(());
    }
    let mut fields = vary.to_vec();
    if partial::is_partial(&outcomes) {
        fields.extend_from_slice(b"gateway-partial: ");
        let fits = partial::write(plan, &outcomes, &mut fields);
        debug_assert!(fits, "a vector grows");
        fields.extend_from_slice(b"\r\ncache-control: no-store\r\n");
    }
    for end in view.shown().iter().filter_map(|part| ends[part].as_ref()) {
        fields.extend_from_slice(end.result.as_ref().map_or(&[], |answer| &answer.lines));
    }
    view.show(&mut outcomes);
    let members = core.shard(|shard| Members::of(plan, &outcomes, &mut shard.tokens));
    let document = merge(plan, &outcomes, &members);
    let local = Local { status: Status(200), fields: &fields, kind: "application/json", body: &[] };
    answer::send_pieces(core, x, &local, document.pieces(), document.len(), outgoing).await
}

/// What is to be asked, and for whom.
#[derive(Clone, Copy)]
pub struct Merging<'a> {
    /// All parts.
    pub plan: &'a Plan,
    /// Those that this client gets.
    pub view: &'a View,
    /// The Vary line of every answer.
    pub vary: &'a [u8],
}

/// How a part ended, for the pure rooms. One without an end was cancelled because a required part failed,
/// which `verdict` finds.
fn outcome(end: Option<&End>) -> PartOutcome<'_> {
    match end.map(|end| &end.result) {
        Some(Ok(answer)) => match answer.taken {
            Taken::Value(span) => PartOutcome::Value(span.of(answer.body.bytes())),
            Taken::Shaped(_) => PartOutcome::Value(&answer.shaped),
            Taken::Empty => PartOutcome::Empty,
        },
        Some(Err(Failure::Part(fault))) => PartOutcome::Failed(*fault),
        Some(Err(Failure::Request(_))) | None => PartOutcome::Empty,
    }
}

/// The same for those who refer to the part: its value before it was shaped.
fn referred(end: Option<&End>) -> PartOutcome<'_> {
    match end.map(|end| &end.result) {
        Some(Ok(Answer { body, taken: Taken::Shaped(span), .. })) => {
            PartOutcome::Value(span.of(body.bytes()))
        }
        _ => outcome(end),
    }
}

/// Fills every part's templates before any part is asked: a request that lacks a value asks nobody
/// (CONFIG.md rule 6).
fn rehearse(merging: Merging<'_>, x: &Exchange) -> Result<(), Fault> {
    let Merging { plan, view, .. } = merging;
    for part in view.asked().iter().map(|index| &plan.parts[index]) {
        if part.templates().any(|template| template.constant().is_none()) {
            try_to_write(plan, part, x, PartValues::Unknown).map_err(RenderError::fault)?;
        }
    }
    Ok(())
}

/// Whether a part's request can be written with these values.
fn try_to_write(
    plan: &Plan,
    part: &Part,
    x: &Exchange,
    parts: PartValues<'_>,
) -> Result<(), RenderError> {
    let envelope = request::Envelope { host: b"", left: Duration::ZERO, added: b"", parts };
    request::write(plan, part, x, &envelope, &mut Nowhere)
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: &[u8]) -> bool {
        true
    }
}

/// Asks all parts, each as soon as what it needs is here; those that were cancelled have no end.
async fn ask_all<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    merging: Merging<'_>,
    x: &Exchange,
) -> Vec<Option<End>> {
    let Merging { plan, view, .. } = merging;
    let mut ends: Vec<Option<End>> = Vec::with_capacity(plan.parts.len());
    ends.resize_with(plan.parts.len(), || None);
    let (mut ended, mut waiting) = (PartSet::EMPTY, plan.waiting().within(view.asked()));
    let part =
        |index, values| Some(Box::pin(ask(core, installed, Order { merging, index, values }, x)));
    let first = |index| match view.asked().contains(index) && !waiting.contains(index) {
        true => part(index, Values::default()),
        false => None,
    };
    let mut asked: Vec<Option<Pin<Box<_>>>> = (0..plan.parts.len()).map(first).collect();
    join::all(&mut asked, |index, end, asked| {
        let go_on = match &end.result {
            Ok(_) => true,
            Err(Failure::Part(_)) => !view.is_required(plan, index),
            Err(Failure::Request(_)) => false,
        };
        ends[index] = Some(end);
        if !go_on {
            return Then::Stop;
        }
        ended.insert(index);
        let mut then = Then::GoOn;
        for next in waiting.iter().filter(|next| plan.parts[*next].needs().is_within(ended)) {
            let ended = |needed: usize| referred(ends[needed].as_ref());
            let values = core.shard(|shard| Values::gather(plan, next, ended, &mut shard.tokens));
            asked[next] = part(next, values);
            waiting.remove(next);
            then = Then::Started;
        }
        then
    })
    .await;
    ends
}

/// One call to be made.
struct Order<'a> {
    merging: Merging<'a>,
    index: usize,
    /// What its request takes from other parts' answers.
    values: Values,
}

/// Asks one part, again where the standard allows it.
async fn ask<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    order: Order<'_>,
    x: &Exchange,
) -> End {
    let Order { merging, index, values } = order;
    let plan = merging.plan;
    let part = &plan.parts[index];
    let begun = core.runtime.now();
    if let Err(fault) = may_begin(plan, part, x, &values, begun) {
        return End { result: Err(Failure::Part(fault)), attempts: Vec::new() };
    }
    let slot = core.deadlines.slot();
    let mut asked = Asked::of(part.upstream, x.deadline.min(begun + part.timeout), &x.client);
    asked.part = Some(index as u16);
    let upstream = installed.gateway.upstream(part.upstream);
    let origins = installed.origins(part.upstream);
    origins.state.borrow_mut().request_begun();
    let mut scratch = core.take_scratch();
    let mut attempts = Vec::with_capacity(1);
    let result = loop {
        let mut record = attempt::begin(&asked, core.runtime.now());
        let call = Call { core, installed, merging, index, values: &values, x, slot: &slot };
        let mut again = Again::Never;
        let tried = once(&call, &mut asked, &mut record, &mut scratch, &mut again).await;
        record.done = Some(core.runtime.now());
        if let Err(Failure::Part(fault)) = &tried {
            record.fault = Some(fault.fault().kind);
        }
        attempts.push(record);
        let fault = Fault { again, ..PartFault::Reset.fault() };
        let retried = tried.is_err()
            && attempts.len() <= upstream.rules.retries as usize
            && retry::may_retry(&fault, part.method)
            && origins.state.borrow_mut().retry_budget.take();
        if !retried {
            break tried;
        }
        asked.may_reuse = again == Again::Always;
    };
    core.keep_scratch(scratch);
    End { result, attempts }
}

/// Whether a call is worth making: its request can be written, and there is time left.
fn may_begin(
    plan: &Plan,
    part: &Part,
    x: &Exchange,
    values: &Values,
    now: Instant,
) -> Result<(), PartFault> {
    if !part.references.is_empty() {
        try_to_write(plan, part, x, values.view()).map_err(|error| values.fault(error))?;
    }
    if x.deadline.since(now) < PART_TIME_MIN { Err(PartFault::Timeout) } else { Ok(()) }
}

/// What all steps of one call share.
struct Call<'a, R: Runtime> {
    core: &'a Core<R>,
    installed: &'a Installed<R>,
    merging: Merging<'a>,
    index: usize,
    values: &'a Values,
    x: &'a Exchange,
    slot: &'a Slot,
}

async fn once<R: Runtime>(
    call: &Call<'_, R>,
    asked: &mut Asked,
    record: &mut Attempt,
    scratch: &mut ResponseScratch,
    again: &mut Again,
) -> Result<Answer, Failure> {
    let Call { core, installed, merging: Merging { plan, .. }, index, values, x, slot } = *call;
    let part = &plan.parts[index];
    let mut note = |fault: Fault| {
        *again = fault.again;
        Failure::from(fault)
    };
    let lease = attempt::connect(core, installed, asked, slot, record).await.map_err(&mut note)?;
    let mut buf = core.buffer()?;
    let upstream = installed.gateway.upstream(part.upstream);
    let trace = TraceLines::of(&x.id, &x.trace);
    let envelope = request::Envelope {
        host: upstream.endpoints[lease.endpoint.index()].host.as_bytes(),
        left: asked.deadline.since(core.runtime.now()),
        added: trace.as_bytes(),
        parts: values.view(),
    };
    let written = request::write(plan, part, x, &envelope, &mut buf);
    written.map_err(|error| match part.references.is_empty() {
        true => Failure::from(error),
        false => Failure::Part(values.fault(error)),
    })?;
    let mut buf = attempt::send(&lease, slot, asked.deadline, buf).await.map_err(&mut note)?;
    attempt::ready_for_response(&mut buf);
    let first_byte = core.runtime.now() + upstream.rules.first_byte_timeout;
    let until = Cell::new(asked.deadline.min(first_byte));
    let head = read_final_head(&lease, slot, &until, part.method, buf, scratch).await;
    let buf = head.map_err(&mut note)?;
    record.answered = Some(core.runtime.now());
    record.status = Some(scratch.head.status);
    record.bytes = u64::from(scratch.head.bytes);
    collect(call, lease, asked.deadline, record, scratch, buf).await
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
    call: &Call<'_, R>,
    lease: Lease<R>,
    deadline: Instant,
    record: &mut Attempt,
    scratch: &mut ResponseScratch,
    mut buf: Buf,
) -> Result<Answer, Failure> {
    let Call { core, merging: Merging { plan, view, .. }, index, slot, .. } = *call;
    let part = &plan.parts[index];
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
    let lines = kept_lines(&part.reply_headers, Response { head, raw: buf.data() });
    buf.consume(head.bytes as usize);
    let now = core.runtime.now();
    let rules = BodyRules { side: Side::Upstream, pause_max: deadline.since(now), bytes_max };
    let mut reader =
        BodyReader::new(core, lease.stream(), slot, chunks, head.body, Some(buf), rules);
    // The body of a failure is of no use but for its connection, and only if it is here already.
    let body = if good.is_ok() {
        whole(&mut reader, deadline, head.body).await?
    } else {
        reader.next_arrived()?.map_or(Body::Empty, Body::Buffer)
    };
    record.bytes += reader.wire_bytes();
    let kept = head.keep_alive && head.body != BodyLength::UntilClose && reader.ended_cleanly();
    drop(reader);
    if kept {
        lease.give_back(core.runtime.now());
    }
    good.map_err(Failure::Part)?;
    let body = match coding {
        Some(coding) if !body.bytes().is_empty() => {
            let whole =
                decode::whole(core, coding, body.bytes(), part.bytes_max as usize, deadline);
            Body::Collected(whole.await.map_err(Failure::Part)?)
        }
        _ => body,
    };
    let mut shaped = Vec::new();
    let taken =
        core.shard(|shard| part.judge(head.status, body.bytes(), &mut shard.tokens, &mut shaped));
    let taken = taken.map_err(Failure::Part)?;
    let taken =
        core.shard(|shard| shown(taken, view, index, &body, &mut shaped, &mut shard.tokens));
    // What is not shown and not referred to either need not be kept.
    let needless = matches!(taken, Taken::Shaped(_)) && !plan.referred().contains(index);
    let body = if needless { Body::Empty } else { body };
    Ok(Answer { body, shaped, taken, lines })
}

/// What the view keeps of a part: written anew, unless it is all of it.
fn shown(
    taken: Taken,
    view: &View,
    index: usize,
    body: &Body,
    shaped: &mut Vec<u8>,
    tokens: &mut Tokens,
) -> Taken {
    let (Some(selection), Taken::Value(span) | Taken::Shaped(span)) =
        (view.selection(index), taken)
    else {
        return taken;
    };
    let mut kept = Vec::new();
    let whole = if matches!(taken, Taken::Shaped(_)) { &shaped[..] } else { span.of(body.bytes()) };
    view::cut(whole, selection, tokens, &mut kept);
    *shaped = kept;
    Taken::Shaped(span)
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

/// The whole body: where it was received if it came in one piece, else put together.
async fn whole<R: Runtime>(
    reader: &mut BodyReader<'_, R>,
    deadline: Instant,
    length: BodyLength,
) -> Result<Body, Fault> {
    let first = reader.next_by(deadline).await?;
    let Some(first) = first else { return Ok(Body::Empty) };
    if reader.is_done() {
        return Ok(Body::Buffer(first));
    }
    let capacity = match length {
        // Bounded by the part's `bytes_max`, which the length was compared with before.
        BodyLength::Exact(bytes) => usize::try_from(bytes).unwrap_or(0),
        _ => 2 * first.len(),
    };
    let mut bytes = Vec::with_capacity(capacity);
    bytes.extend_from_slice(first.data());
    drop(first);
    while let Some(piece) = reader.next_by(deadline).await? {
        bytes.extend_from_slice(piece.data());
    }
    Ok(Body::Collected(bytes))
}
